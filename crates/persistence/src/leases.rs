//! Which node holds which executions.
//!
//! A node holds a lease of its own, renewed in one row; the executions it runs name it. When its lease has ended, any
//! other node may take them, and raises their epoch as it does: what the old one still writes then fails.

use std::collections::HashSet;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use diesel::QueryableByName;
use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use diesel_async::RunQueryDsl;
use scaigrid_scope::{CoreId, ExecutionId, Instant, NodeId, SystemScope, TenantId, TenantScope};

use crate::database::{Connection, Engine, Transaction, with};
use crate::error::{Result, column};
use crate::instant::{Moment, Stamp};
use crate::schema::{cores, executions, nodes};

/// An execution that a node takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimed {
    /// Whose it is.
    pub tenant_id: TenantId,
    /// Its Core.
    pub core_id: CoreId,
    /// The execution.
    pub id: ExecutionId,
}

/// Those that are to be run, in the words of the partial index: a planner does not find it by parameters. Executions that
/// run in turn within an instance are taken by [`crate::instances`].
fn to_run() -> SqlLiteral<Bool> {
    sql("(executions.status IN ('queued', 'running') AND executions.slots IS NULL)")
}

/// Those that wait to run, in the words of their index.
const QUEUED: &str = "e.status = 'queued' AND e.slots IS NULL";
/// Those of instances, likewise.
const QUEUED_IN_TURN: &str = "e.status = 'queued' AND e.slots IS NOT NULL";

/// Those that run in turn, in the words of their own index.
fn in_turn() -> SqlLiteral<Bool> {
    sql("(executions.status IN ('queued', 'running') AND executions.slots IS NOT NULL)")
}

/// What time it is by the clock of a database that several nodes share, and by how much that may be wrong; nothing where the
/// database is one process's alone.
#[boxed]
pub async fn time(c: &mut Connection) -> Result<Option<(Instant, Duration)>> {
    let asked_at = std::time::Instant::now();
    let told: Stamp = match c.engine()? {
        Engine::Postgres(c) => diesel::select(sql::<Moment>("clock_timestamp()")).get_result(c).await?,
        Engine::Sqlite(_) => return Ok(None),
    };
    // It was told at some moment between question and answer.
    let half = asked_at.elapsed() / 2;
    Ok(Some((Instant::from(told).plus(half), half)))
}

/// Writes a node's lease for the first time.
#[boxed]
pub async fn register(tx: &mut Transaction, node: NodeId, now: Instant, until: Instant) -> Result<()> {
    let row = (
        nodes::id.eq(node.to_string()),
        nodes::started_at.eq(Stamp(now)),
        nodes::lease_until.eq(Stamp(until)),
    );
    with!(tx, c => diesel::insert_into(nodes::table).values(row).execute(c).await)?;
    Ok(())
}

/// Prolongs a node's lease; false when somebody has declared the node dead and removed it.
#[boxed]
pub async fn renew(tx: &mut Transaction, node: NodeId, until: Instant) -> Result<bool> {
    let update = diesel::update(nodes::table.find(node.to_string())).set(nodes::lease_until.eq(Stamp(until)));
    Ok(with!(tx, c => update.execute(c).await)? == 1)
}

/// Ends a node's lease and lets go of all it holds, so that others take it at once.
#[boxed]
pub async fn release(tx: &mut Transaction, node: NodeId) -> Result<()> {
    for kind in [to_run, in_turn] {
        let held = executions::table.filter(kind()).filter(executions::owner.eq(node.to_string()));
        let free = (executions::owner.eq(None::<String>), executions::status.eq("queued"));
        with!(tx, c => diesel::update(held).set(free).execute(c).await)?;
    }
    with!(tx, c => diesel::delete(nodes::table.find(node.to_string())).execute(c).await)?;
    Ok(())
}

/// Whether a node holds an execution, in the epoch in which it took it.
#[boxed]
pub async fn holds(
    c: &mut Connection,
    scope: TenantScope,
    node: NodeId,
    id: ExecutionId,
    epoch: i64,
) -> Result<bool> {
    let query = executions::table
        .filter(executions::id.eq(id.to_string()))
        .filter(executions::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(executions::owner.eq(node.to_string()))
        .filter(executions::epoch.eq(epoch))
        .filter(executions::status.eq("running"))
        .select(executions::id);
    let found: Option<String> = with!(c, c => query.first(c).await.optional())?;
    Ok(found.is_some())
}

/// Removes the leases of nodes that have been silent since an instant.
#[boxed]
pub async fn forget(tx: &mut Transaction, silent_since: Instant) -> Result<usize> {
    let dead = nodes::table.filter(nodes::lease_until.lt(Stamp(silent_since)));
    Ok(with!(tx, c => diesel::delete(dead).execute(c).await)?)
}

/// Removes every lease but one's own: for a database that only one process can have open.
#[boxed]
pub async fn forget_others(tx: &mut Transaction, node: NodeId) -> Result<usize> {
    let others = nodes::table.filter(nodes::id.ne(node.to_string()));
    Ok(with!(tx, c => diesel::delete(others).execute(c).await)?)
}

/// Whether there may be executions to take: a cheap look before the write that taking is.
#[boxed]
pub async fn waiting(c: &mut Connection, _system: &SystemScope, node: NodeId) -> Result<bool> {
    let query = executions::table
        .filter(to_run())
        .filter(executions::owner.is_null().or(executions::owner.ne(node.to_string())))
        .select(executions::id);
    let found: Option<String> = with!(c, c => query.first(c).await.optional())?;
    Ok(found.is_some())
}

/// Takes executions, as far as nobody else has in between and their Cores let them go on: they are running on `node` from then
/// on. The answer is in the order in which they were named.
#[boxed]
pub async fn claim(
    tx: &mut Transaction,
    _system: &SystemScope,
    node: NodeId,
    now: Instant,
    wanted: &[Claimed],
) -> Result<Vec<Claimed>> {
    let alive: Vec<String> = {
        let query = nodes::table.filter(nodes::lease_until.ge(Stamp(now))).select(nodes::id);
        with!(tx, c => query.load(c).await)?
    };
    let ids: Vec<String> = wanted.iter().map(|one| one.id.to_string()).collect();
    macro_rules! free {
        () => {{
            let running_core = cores::table
                .filter(cores::id.eq(executions::core_id))
                .filter(cores::status.eq_any(["running", "stopping"]));
            executions::table
                .filter(executions::id.eq_any(ids))
                .filter(to_run())
                .filter(executions::owner.is_null().or(executions::owner.ne_all(alive)))
                .filter(diesel::dsl::exists(running_core))
                .order(executions::id)
                .select(executions::id)
        }};
    }
    let found: Vec<String> = match tx.engine()? {
        Engine::Postgres(c) => free!().for_update().skip_locked().load(c).await?,
        Engine::Sqlite(c) => free!().load(c).await?,
    };
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let free: HashSet<String> = found.iter().cloned().collect();
    let taken = (
        executions::owner.eq(Some(node.to_string())),
        executions::status.eq("running"),
        executions::epoch.eq(executions::epoch + 1),
    );
    with!(tx, c => diesel::update(executions::table.filter(executions::id.eq_any(found))).set(taken).execute(c).await)?;
    Ok(wanted.iter().filter(|one| free.contains(&one.id.to_string())).copied().collect())
}

/// Executions that a dead node left behind, oldest first, of Cores that let them go on.
#[boxed]
pub async fn orphans(
    c: &mut Connection,
    _system: &SystemScope,
    now: Instant,
    most: i64,
) -> Result<Vec<Claimed>> {
    let alive: Vec<String> = {
        let query = nodes::table.filter(nodes::lease_until.ge(Stamp(now))).select(nodes::id);
        with!(c, c => query.load(c).await)?
    };
    macro_rules! query {
        () => {{
            let running_core = cores::table
                .filter(cores::id.eq(executions::core_id))
                .filter(cores::status.eq_any(["running", "stopping"]));
            executions::table
                .filter(to_run())
                .filter(sql::<Bool>("executions.status = 'running'"))
                .filter(executions::owner.is_null().or(executions::owner.ne_all(alive)))
                .filter(diesel::dsl::exists(running_core))
                .order(executions::id)
                .limit(most)
                .select((executions::tenant_id, executions::core_id, executions::id))
        }};
    }
    let found: Vec<(String, String, String)> = with!(c, c => query!().load(c).await)?;
    found.iter().map(|(tenant, core, id)| claimed(tenant, core, id)).collect()
}

fn claimed(tenant: &str, core: &str, id: &str) -> Result<Claimed> {
    Ok(Claimed {
        tenant_id: column("executions", "tenant_id", id, tenant)?,
        core_id: column("executions", "core_id", id, core)?,
        id: column("executions", "id", id, id)?,
    })
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Text)]
    id: String,
}

/// Tenants with executions that are queued, in the order of their ids, behind one. Each is one step in the index, however many
/// it has.
#[boxed]
pub async fn queued_tenants(
    c: &mut Connection,
    _system: &SystemScope,
    after: Option<TenantId>,
    most: i64,
) -> Result<Vec<TenantId>> {
    let query = format!(
        "WITH RECURSIVE found (id) AS (\
           SELECT (SELECT min(e.tenant_id) FROM executions e WHERE {QUEUED} AND e.tenant_id > $1) \
           UNION ALL \
           SELECT (SELECT min(e.tenant_id) FROM executions e WHERE {QUEUED} AND e.tenant_id > found.id) \
           FROM found WHERE found.id IS NOT NULL\
         ) SELECT id FROM found WHERE id IS NOT NULL LIMIT $2"
    );
    let after = after.map(|tenant| tenant.to_string()).unwrap_or_default();
    let query = diesel::sql_query(query).bind::<Text, _>(after).bind::<BigInt, _>(most);
    let found: Vec<Found> = with!(c, c => query.load(c).await)?;
    found.iter().map(|row| column("executions", "tenant_id", &row.id, &row.id)).collect()
}

/// Cores of a tenant that let executions go on and have some that are queued, in the order of their ids, behind one.
#[boxed]
pub async fn queued_cores(
    c: &mut Connection,
    scope: TenantScope,
    after: Option<CoreId>,
    most: i64,
) -> Result<Vec<CoreId>> {
    let query = format!(
        "WITH RECURSIVE found (id) AS (\
           SELECT (SELECT min(e.core_id) FROM executions e WHERE {QUEUED} AND e.tenant_id = $1 AND e.core_id > $2) \
           UNION ALL \
           SELECT (SELECT min(e.core_id) FROM executions e WHERE {QUEUED} AND e.tenant_id = $1 \
             AND e.core_id > found.id) \
           FROM found WHERE found.id IS NOT NULL\
         ) SELECT id FROM found WHERE EXISTS (SELECT 1 FROM cores c WHERE c.id = found.id \
           AND c.status IN ('running', 'stopping')) LIMIT $3"
    );
    let after = after.map(|core| core.to_string()).unwrap_or_default();
    let query = diesel::sql_query(query)
        .bind::<Text, _>(scope.tenant_id().to_string())
        .bind::<Text, _>(after)
        .bind::<BigInt, _>(most);
    let found: Vec<Found> = with!(c, c => query.load(c).await)?;
    found.iter().map(|row| column("executions", "core_id", &row.id, &row.id)).collect()
}

/// The executions of a Core that are queued, oldest first.
#[boxed]
pub async fn queued(c: &mut Connection, scope: TenantScope, core: CoreId, most: i64) -> Result<Vec<Claimed>> {
    let query = format!(
        "SELECT e.id FROM executions e WHERE {QUEUED} AND e.tenant_id = $1 AND e.core_id = $2 ORDER BY e.id LIMIT $3"
    );
    let (tenant, core) = (scope.tenant_id().to_string(), core.to_string());
    let query = diesel::sql_query(query)
        .bind::<Text, _>(tenant.clone())
        .bind::<Text, _>(core.clone())
        .bind::<BigInt, _>(most);
    let found: Vec<Found> = with!(c, c => query.load(c).await)?;
    found.iter().map(|row| claimed(&tenant, &core, &row.id)).collect()
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// How many executions of a tenant, or of one of its Cores, are queued, counted no further than `most`.
#[boxed]
pub async fn count_queued(
    c: &mut Connection,
    scope: TenantScope,
    core: Option<CoreId>,
    most: i64,
) -> Result<i64> {
    let of_core = if core.is_some() { "AND e.core_id = $2" } else { "AND $2 = ''" };
    let part = |kind: &str| {
        format!(
            "(SELECT count(*) FROM (SELECT 1 FROM executions e WHERE {kind} AND e.tenant_id = $1 {of_core} LIMIT $3) AS q)"
        )
    };
    let query = format!("SELECT {} + {} AS number", part(QUEUED), part(QUEUED_IN_TURN));
    let query = diesel::sql_query(query)
        .bind::<Text, _>(scope.tenant_id().to_string())
        .bind::<Text, _>(core.map(|core| core.to_string()).unwrap_or_default())
        .bind::<BigInt, _>(most);
    let counted: Counted = with!(c, c => query.get_result(c).await)?;
    Ok(counted.number)
}

/// Cores in a passing state (`starting`, `stopping`, `restarting`, `crashed`) whose node may be gone: somebody must see
/// them through.
#[boxed]
pub async fn cores_in_passing(c: &mut Connection, _system: &SystemScope) -> Result<Vec<(TenantId, CoreId)>> {
    let query = cores::table
        .filter(cores::status.eq_any(["starting", "stopping", "restarting", "crashed"]))
        .order(cores::id)
        .limit(100)
        .select((cores::tenant_id, cores::id));
    let rows: Vec<(String, String)> = with!(c, c => query.load(c).await)?;
    rows.into_iter()
        .map(|(tenant, id)| {
            Ok((column("cores", "tenant_id", &id, &tenant)?, column("cores", "id", &id, &id)?))
        })
        .collect()
}
