//! Instances of Cores: those that are active, and the executions that run in turn within each.
//!
//! How many executions of an instance run is counted from their rows and the leases of the nodes that hold them, each time
//! that one is taken: a slot that a dead node held is free as soon as its lease has ended. Whoever takes one locks the
//! instance's row, so that two nodes count one after the other.
//!
//! Locks are taken in the order Core, instances by key, executions; for the last nobody waits.

use async_recursion::async_recursion as boxed;
use diesel::QueryableByName;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Text};
use diesel_async::RunQueryDsl;
use scaigrid_scope::{CoreId, ExecutionId, Instant, NodeId, SystemScope, TenantId, TenantScope};

use crate::database::{Connection, Engine, Transaction, with};
use crate::error::{Result, column};
use crate::instant::{Moment, Stamp};
use crate::json::text_storable;
use crate::schema::{core_instances, cores, executions};
use crate::timers::{self, Owner};

/// Executions that run in turn, in the words of the partial index.
const IN_TURN: &str = "e.status IN ('queued', 'running') AND e.slots IS NOT NULL";

/// An instance's place for one more execution, as far as could be seen without a lock.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ready {
    /// The key; empty for the only instance of a Core.
    pub key: String,
}

/// How many instances of a Core may be active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// At most so many.
    pub max_active: u32,
    /// Whether the one that was idle longest makes room for another.
    pub deactivate: bool,
}

/// What was taken, and what became of instances on the way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken {
    /// Executions that run on the node from now on.
    pub executions: Vec<ExecutionId>,
    /// Instances that became active.
    pub activated: Vec<String>,
    /// Instances that made room.
    pub passivated: Vec<String>,
}

#[derive(QueryableByName)]
struct CoreRow {
    #[diesel(sql_type = Text)]
    tenant_id: String,
    #[diesel(sql_type = Text)]
    core_id: String,
}

#[derive(QueryableByName)]
struct KeyRow {
    #[diesel(sql_type = Text)]
    key: String,
}

#[derive(QueryableByName)]
struct FreeRow {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Integer)]
    slots: i32,
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// The n-th bound value in the words of a database.
fn bound(c: &mut Connection) -> Result<impl Fn(usize) -> String + use<>> {
    let sign = match c.engine()? {
        Engine::Postgres(_) => '$',
        Engine::Sqlite(_) => '?',
    };
    Ok(move |number| format!("{sign}{number}"))
}

/// An execution of an instance, by the bound value that is its key. The only instance of a Core has none.
fn of_key(key: &str, bound: &str) -> String {
    if key.is_empty() {
        format!("e.instance_key IS NULL AND {bound} = ''")
    } else {
        format!("e.instance_key = {bound}")
    }
}

/// Whether a live node holds it, by the number of the bound value that is the present.
fn held(now: &str) -> String {
    format!("EXISTS (SELECT 1 FROM nodes n WHERE n.id = e.owner AND n.lease_until >= {now})")
}

/// Running Cores with executions in turn that nobody holds, those with the oldest first.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn with_work(
    c: &mut Connection,
    _system: &SystemScope,
    now: Instant,
    rows: i64,
) -> Result<Vec<(TenantId, CoreId)>> {
    let at = bound(c)?;
    let (held, limit) = (held(&at(1)), at(2));
    // A Core has one tenant. Grouped by both, SQLite reads every execution there ever was, in the order of another index.
    let query = format!(
        "SELECT min(e.tenant_id) AS tenant_id, e.core_id FROM executions e JOIN cores c ON c.id = e.core_id \
         WHERE {IN_TURN} AND c.status IN ('running', 'stopping') AND (e.owner IS NULL OR NOT {held}) \
         GROUP BY e.core_id ORDER BY min(e.id) LIMIT {limit}"
    );
    let query = diesel::sql_query(query).bind::<Moment, _>(Stamp(now)).bind::<BigInt, _>(rows);
    let found: Vec<CoreRow> = with!(c, c => query.load(c).await)?;
    found
        .into_iter()
        .map(|row| {
            let tenant = column("executions", "tenant_id", &row.core_id, &row.tenant_id)?;
            Ok((tenant, column("executions", "core_id", &row.core_id, &row.core_id)?))
        })
        .collect()
}

/// Instances of a Core with executions that nobody holds and room for one more, those with the oldest first.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn ready(
    c: &mut Connection,
    scope: TenantScope,
    core: CoreId,
    now: Instant,
    rows: i64,
) -> Result<Vec<Ready>> {
    let at = bound(c)?;
    let (now_at, core_at, tenant_at, limit) = (at(1), at(2), at(3), at(4));
    let query = format!(
        "SELECT COALESCE(e.instance_key, '') AS key FROM executions e \
         LEFT JOIN nodes n ON n.id = e.owner AND n.lease_until >= {now_at} \
         WHERE {IN_TURN} AND e.core_id = {core_at} AND e.tenant_id = {tenant_at} GROUP BY e.instance_key \
         HAVING count(*) > count(n.id) AND count(n.id) < max(e.slots) \
         ORDER BY min(CASE WHEN n.id IS NULL THEN e.id END) LIMIT {limit}"
    );
    let query = diesel::sql_query(query)
        .bind::<Moment, _>(Stamp(now))
        .bind::<Text, _>(core.to_string())
        .bind::<Text, _>(scope.tenant_id().to_string())
        .bind::<BigInt, _>(rows);
    let found: Vec<KeyRow> = with!(c, c => query.load(c).await)?;
    Ok(found.into_iter().map(|row| Ready { key: row.key }).collect())
}

/// Takes executions of instances, the oldest of each first and as many as it has room for: they are running on `node` from
/// then on. An instance that is not active becomes so, where there is room.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn take(
    tx: &mut Transaction,
    scope: TenantScope,
    core: CoreId,
    mut ready: Vec<Ready>,
    room: Option<Room>,
    (node, now): (NodeId, Instant),
) -> Result<Taken> {
    let mut taken = Taken::default();
    if room.is_some()
        && let Engine::Postgres(c) = tx.engine()?
    {
        // Who counts the active ones does so alone.
        let lock = cores::table.find(core.to_string()).select(cores::id).for_update();
        let _: Option<String> = lock.get_result(c).await.optional()?;
    }
    ready.sort_unstable();
    for Ready { key } in ready {
        let active = lock(tx, scope, core, &key).await?;
        if !active {
            if let Some(room) = room
                && !make_room(tx, scope, core, room, &mut taken).await?
            {
                continue;
            }
            activate(tx, scope, core, &key, now).await?;
        }
        let ids = free(tx, core, &key, now).await?;
        if ids.is_empty() {
            // Somebody else was faster.
            if !active {
                passivate(tx, scope, core, &key).await?;
            }
            continue;
        }
        let held = (
            executions::owner.eq(Some(node.to_string())),
            executions::status.eq("running"),
            executions::epoch.eq(executions::epoch + 1),
        );
        let rows = executions::table.filter(executions::id.eq_any(ids.clone()));
        with!(tx, c => diesel::update(rows).set(held).execute(c).await)?;
        for id in &ids {
            taken.executions.push(column("executions", "id", id, id)?);
        }
        if !active {
            taken.activated.push(key);
        }
    }
    Ok(taken)
}

/// Locks an instance; false where it is not active.
async fn lock(tx: &mut Transaction, scope: TenantScope, core: CoreId, key: &str) -> Result<bool> {
    macro_rules! query {
        () => {
            core_instances::table
                .filter(core_instances::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(core_instances::core_id.eq(core.to_string()))
                .filter(core_instances::key.eq(text_storable(key.to_owned())))
                .select(core_instances::key)
        };
    }
    let found: Option<String> = match tx.engine()? {
        Engine::Postgres(c) => query!().for_update().get_result(c).await.optional()?,
        Engine::Sqlite(c) => query!().get_result(c).await.optional()?,
    };
    Ok(found.is_some())
}

/// Makes an instance active, and locks it. One that somebody else activates at the same time is waited for.
async fn activate(
    tx: &mut Transaction,
    scope: TenantScope,
    core: CoreId,
    key: &str,
    now: Instant,
) -> Result<()> {
    let row = (
        core_instances::tenant_id.eq(scope.tenant_id().to_string()),
        core_instances::core_id.eq(core.to_string()),
        core_instances::key.eq(text_storable(key.to_owned())),
        core_instances::activated_at.eq(Stamp(now)),
    );
    let insert = diesel::insert_into(core_instances::table).values(row).on_conflict_do_nothing();
    if with!(tx, c => insert.execute(c).await)? == 0 {
        lock(tx, scope, core, key).await?;
    }
    Ok(())
}

/// Sees to it that one more instance may be active; false where that cannot be. The Core is locked.
async fn make_room(
    tx: &mut Transaction,
    scope: TenantScope,
    core: CoreId,
    room: Room,
    taken: &mut Taken,
) -> Result<bool> {
    if count(tx, scope, core).await? < i64::from(room.max_active) {
        return Ok(true);
    }
    if !room.deactivate {
        return Ok(false);
    }
    let at = bound(tx)?;
    let locking = match tx.engine()? {
        Engine::Postgres(_) => "FOR UPDATE OF i SKIP LOCKED",
        Engine::Sqlite(_) => "",
    };
    let (core_at, tenant_at) = (at(1), at(2));
    // An instance without a timer has had nothing to do since it became active.
    let query = format!(
        "SELECT i.key FROM core_instances i WHERE i.core_id = {core_at} AND i.tenant_id = {tenant_at} \
         AND NOT EXISTS (SELECT 1 FROM executions e WHERE {IN_TURN} AND e.core_id = i.core_id \
             AND COALESCE(e.instance_key, '') = i.key) \
         ORDER BY COALESCE((SELECT t.due_at FROM timers t WHERE t.tenant_id = i.tenant_id \
             AND t.kind = 'instance' AND t.owner = i.core_id || '/' || i.key AND t.effect = 0), i.activated_at) \
         LIMIT 1 {locking}"
    );
    let query = diesel::sql_query(query)
        .bind::<Text, _>(core.to_string())
        .bind::<Text, _>(scope.tenant_id().to_string());
    let idle: Option<KeyRow> = with!(tx, c => query.get_result(c).await.optional())?;
    let Some(KeyRow { key }) = idle else { return Ok(false) };
    passivate(tx, scope, core, &key).await?;
    timers::clear(tx, scope, &Owner::Instance { core, key: key.clone() }).await?;
    taken.passivated.push(key);
    Ok(true)
}

/// How many instances of a Core are active.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn count(c: &mut Connection, scope: TenantScope, core: CoreId) -> Result<i64> {
    let query = core_instances::table
        .filter(core_instances::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(core_instances::core_id.eq(core.to_string()))
        .count();
    Ok(with!(c, c => query.get_result(c).await)?)
}

/// Whether an instance is active, and how many others are, or will be because executions wait for them.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn demand(c: &mut Connection, scope: TenantScope, core: CoreId, key: &str) -> Result<(bool, i64)> {
    let at = bound(c)?;
    let (core_at, tenant_at) = (at(1), at(2));
    let query = format!(
        "SELECT i.key FROM core_instances i WHERE i.core_id = {core_at} AND i.tenant_id = {tenant_at} \
         UNION SELECT COALESCE(e.instance_key, '') AS key FROM executions e \
         WHERE {IN_TURN} AND e.core_id = {core_at} AND e.tenant_id = {tenant_at}"
    );
    let query = diesel::sql_query(query)
        .bind::<Text, _>(core.to_string())
        .bind::<Text, _>(scope.tenant_id().to_string());
    let found: Vec<KeyRow> = with!(c, c => query.load(c).await)?;
    let known = found.iter().any(|row| row.key == key);
    Ok((known, i64::try_from(found.len()).unwrap_or(i64::MAX)))
}

/// The executions of a locked instance to take now, the oldest first: those that nobody holds, as long as there are slots.
async fn free(tx: &mut Transaction, core: CoreId, key: &str, now: Instant) -> Result<Vec<String>> {
    let key = text_storable(key.to_owned());
    let at = bound(tx)?;
    let (held, core_at, of_key) = (held(&at(1)), at(2), of_key(&key, &at(3)));
    let query = format!(
        "SELECT count(*) AS number FROM executions e WHERE {IN_TURN} AND e.core_id = {core_at} AND {of_key} AND {held}"
    );
    let query = diesel::sql_query(query)
        .bind::<Moment, _>(Stamp(now))
        .bind::<Text, _>(core.to_string())
        .bind::<Text, _>(key.clone());
    let Counted { number } = with!(tx, c => query.get_result(c).await)?;
    let query = format!(
        "SELECT e.id, e.slots FROM executions e WHERE {IN_TURN} AND e.core_id = {core_at} AND {of_key} \
         AND (e.owner IS NULL OR NOT {held}) ORDER BY e.id LIMIT 64"
    );
    let query = diesel::sql_query(query)
        .bind::<Moment, _>(Stamp(now))
        .bind::<Text, _>(core.to_string())
        .bind::<Text, _>(key);
    let found: Vec<FreeRow> = with!(tx, c => query.load(c).await)?;
    let slots = found.as_slice().first().map_or(0, |row| i64::from(row.slots));
    let room = usize::try_from(slots - number).unwrap_or(0);
    let mut wanted: Vec<String> = found.into_iter().take(room).map(|row| row.id).collect();
    if let Engine::Postgres(c) = tx.engine()? {
        // One that is being written at the moment holds up those behind it: they are taken in order, or not at all.
        let locked: Vec<String> = executions::table
            .filter(executions::id.eq_any(wanted.clone()))
            .filter(diesel::dsl::sql::<diesel::sql_types::Bool>("executions.status IN ('queued', 'running')"))
            .order(executions::id)
            .select(executions::id)
            .for_update()
            .skip_locked()
            .load(c)
            .await?;
        let agreeing = wanted.iter().zip(&locked).take_while(|(wanted, locked)| wanted == locked).count();
        wanted.truncate(agreeing);
    }
    Ok(wanted)
}

/// Makes an instance passive; false where it was.
async fn passivate(tx: &mut Transaction, scope: TenantScope, core: CoreId, key: &str) -> Result<bool> {
    let row = core_instances::table
        .filter(core_instances::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(core_instances::core_id.eq(core.to_string()))
        .filter(core_instances::key.eq(text_storable(key.to_owned())));
    Ok(with!(tx, c => diesel::delete(row).execute(c).await)? == 1)
}

/// Makes an instance passive that has nothing to do; false where it has, or was passive.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn rest(tx: &mut Transaction, scope: TenantScope, core: CoreId, key: &str) -> Result<bool> {
    if !lock(tx, scope, core, key).await? {
        return Ok(false);
    }
    let at = bound(tx)?;
    let key = text_storable(key.to_owned());
    let (core_at, of_key) = (at(1), of_key(&key, &at(2)));
    let query = format!(
        "SELECT count(*) AS number FROM executions e WHERE {IN_TURN} AND e.core_id = {core_at} AND {of_key}"
    );
    let query = diesel::sql_query(query).bind::<Text, _>(core.to_string()).bind::<Text, _>(key.clone());
    let Counted { number } = with!(tx, c => query.get_result(c).await)?;
    if number > 0 {
        return Ok(false);
    }
    passivate(tx, scope, core, &key).await
}
