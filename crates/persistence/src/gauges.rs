//! What the gauges of the metrics show of the whole database. Every query is one look into an index, and every count ends
//! at a bound, so that looking costs the same however much there is.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};
use diesel_async::RunQueryDsl;
use scaigrid_scope::{Instant, SystemScope};

use crate::database::{Connection, Database, Engine, with};
use crate::error::Result;
use crate::instant::{Moment, Stamp};

/// Where counting ends: more is told as this many.
pub const COUNTED_AT_MOST: i64 = 10_000;

/// How the whole installation stands. Counts end at [`COUNTED_AT_MOST`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Executions that wait to be taken.
    pub queued: i64,
    /// Executions that nodes drive.
    pub running: i64,
    /// When the oldest of those that wait to be taken was accepted.
    pub oldest_queued: Option<Instant>,
    /// Checkpoints that nobody has decided.
    pub open_checkpoints: i64,
    /// When the oldest of them was opened.
    pub oldest_checkpoint: Option<Instant>,
    /// Timers whose time has come.
    pub timers_due: i64,
    /// When the time of the first of all timers comes, or came.
    pub first_timer: Option<Instant>,
    /// Letters to webhooks whose time has come.
    pub deliveries_due: i64,
    /// Since when the first of them is due.
    pub first_delivery: Option<Instant>,
    /// Audit records that are not linked into their chain yet.
    pub unsealed: i64,
    /// Nodes whose lease holds.
    pub nodes: i64,
    /// When the first lease of all ends, or ended; leases that have ended long ago are removed.
    pub first_lease: Option<Instant>,
}

/// The connections to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStanding {
    /// How many are open.
    pub open: usize,
    /// How many of them nobody uses.
    pub idle: usize,
    /// How many there may be.
    pub most: usize,
    /// How many callers wait for one.
    pub waiting: usize,
}

impl Database {
    /// How the pool stands: of PostgreSQL's connections, or of the readers of an SQLite file.
    pub fn pool(&self) -> PoolStanding {
        let status = self.pool_status();
        PoolStanding {
            open: status.size,
            idle: status.available,
            most: status.max_size,
            waiting: status.waiting,
        }
    }
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[derive(QueryableByName)]
struct First {
    #[diesel(sql_type = Nullable<Moment>)]
    at: Option<Stamp>,
}

macro_rules! count {
    ($c:expr, $from:literal) => {{
        let query = concat!("SELECT count(*) AS number FROM (SELECT 1 AS one FROM ", $from, " LIMIT 10000) AS found");
        let found: Counted = with!($c, c => diesel::sql_query(query).get_result(c).await)?;
        found.number
    }};
    ($c:expr, $from:literal, $now:expr) => {{
        let query = concat!("SELECT count(*) AS number FROM (SELECT 1 AS one FROM ", $from, " LIMIT 10000) AS found");
        let found: Counted = match $c.engine()? {
            Engine::Postgres(c) => {
                diesel::sql_query(query.replace("?1", "$1")).bind::<Moment, _>($now).get_result(c).await?
            }
            Engine::Sqlite(c) => {
                diesel::sql_query(query).bind::<Moment, _>($now).get_result(c).await?
            }
        };
        found.number
    }};
}

macro_rules! first {
    ($c:expr, $query:literal) => {{
        let found: Option<First> = with!($c, c => diesel::sql_query($query).get_result(c).await.optional())?;
        found.and_then(|first| first.at).map(Instant::from)
    }};
}

/// How the whole installation stands now.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn look(c: &mut Connection, _system: &SystemScope, now: Instant) -> Result<Gauges> {
    let now = Stamp(now);
    Ok(Gauges {
        queued: count!(
            c,
            "executions WHERE status IN ('queued', 'running') AND status = 'queued' AND slots IS NULL"
        ) + count!(
            c,
            "executions WHERE status IN ('queued', 'running') AND status = 'queued' AND slots IS NOT NULL"
        ),
        running: count!(
            c,
            "executions WHERE status IN ('queued', 'running') AND status = 'running' AND slots IS NULL"
        ) + count!(
            c,
            "executions WHERE status IN ('queued', 'running') AND status = 'running' AND slots IS NOT NULL"
        ),
        // Ids ascend with time, and nobody owns what is queued: the first by id is the oldest.
        oldest_queued: first!(
            c,
            "SELECT started_at AS at FROM executions WHERE status IN ('queued', 'running') AND slots IS NULL \
             AND status = 'queued' AND owner IS NULL ORDER BY id LIMIT 1"
        )
        .into_iter()
        // Those of instances lie by Core and tenant in their indexes: one step for each Core, of a thousand at most.
        .chain(first!(
            c,
            "WITH RECURSIVE found (id) AS (\
               SELECT (SELECT min(e.core_id) FROM executions e \
                 WHERE e.status IN ('queued', 'running') AND e.slots IS NOT NULL) \
               UNION ALL \
               SELECT (SELECT min(e.core_id) FROM executions e \
                 WHERE e.status IN ('queued', 'running') AND e.slots IS NOT NULL AND e.core_id > found.id) \
               FROM found WHERE found.id IS NOT NULL\
             ) SELECT o.started_at AS at FROM executions o WHERE o.id = (SELECT min((SELECT min(q.id) \
               FROM executions q WHERE q.status = 'queued' AND q.slots IS NOT NULL \
               AND q.tenant_id = k.tenant_id AND q.core_id = k.id)) \
             FROM (SELECT id FROM found WHERE id IS NOT NULL LIMIT 1000) f JOIN cores k ON k.id = f.id)"
        ))
        .min(),
        open_checkpoints: count!(c, "checkpoints WHERE status = 'pending'"),
        oldest_checkpoint: first!(
            c,
            "SELECT created_at AS at FROM checkpoints WHERE status = 'pending' ORDER BY created_at LIMIT 1"
        ),
        timers_due: count!(c, "timers WHERE due_at <= ?1", now),
        first_timer: first!(c, "SELECT due_at AS at FROM timers ORDER BY due_at LIMIT 1"),
        deliveries_due: count!(c, "webhook_deliveries WHERE status = 'pending' AND next_at <= ?1", now),
        first_delivery: first!(
            c,
            "SELECT next_at AS at FROM webhook_deliveries WHERE status = 'pending' ORDER BY next_at LIMIT 1"
        ),
        unsealed: count!(c, "audit_unsealed"),
        nodes: count!(c, "nodes WHERE lease_until >= ?1", now),
        first_lease: first!(c, "SELECT lease_until AS at FROM nodes ORDER BY lease_until LIMIT 1"),
    })
}
