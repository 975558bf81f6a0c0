//! What is deleted because its time is over, or because what it belonged to is gone: in bounded pieces, each in a transaction of
//! whoever asks.

use std::collections::HashSet;

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;
use scaigrid_scope::{CoreId, EventId, Instant, NodeId, SystemScope, TenantId, TenantScope, UsageId};
use ulid::Ulid;

use crate::database::{Connection, Engine, Transaction, with};
use crate::error::{Result, column};
use crate::instant::{Moment, Stamp};
use crate::schema::{
    checkpoint_links, checkpoint_votes, checkpoints, conversation_turns as turns, conversations, core_logs,
    cores, duties, event_waits, execution_inbox, execution_snapshots, executions, journal, mails,
    removed_cores,
};

/// Executions whose rows are named in one statement.
const AT_ONCE: usize = 250;

/// Takes a duty, or keeps it, until an instant; false while another node has it.
#[boxed]
pub async fn take_duty(
    tx: &mut Transaction,
    _system: &SystemScope,
    name: &str,
    (node, now, until): (NodeId, Instant, Instant),
) -> Result<bool> {
    let row = (duties::name.eq(name), duties::node_id.eq(node.to_string()), duties::until.eq(Stamp(until)));
    let made = diesel::insert_into(duties::table).values(row).on_conflict_do_nothing();
    if with!(tx, c => made.execute(c).await)? == 1 {
        return Ok(true);
    }
    let free = duties::table
        .filter(duties::name.eq(name))
        .filter(duties::node_id.eq(node.to_string()).or(duties::until.lt(Stamp(now))));
    let taken =
        diesel::update(free).set((duties::node_id.eq(node.to_string()), duties::until.eq(Stamp(until))));
    Ok(with!(tx, c => taken.execute(c).await)? == 1)
}

/// Deletes up to `most` executions of a tenant that ended before an instant, with all that belongs to them, what was said in
/// conversations that they have answered included; how many. What others are at just now is left to the next time.
#[boxed]
pub async fn purge_executions(
    tx: &mut Transaction,
    scope: TenantScope,
    before: Instant,
    most: i64,
) -> Result<usize> {
    let tenant = scope.tenant_id().to_string();
    macro_rules! oldest {
        () => {
            executions::table
                .filter(executions::tenant_id.eq(&tenant))
                .filter(executions::finished_at.is_not_null())
                .filter(executions::finished_at.lt(Stamp(before)))
                .order(executions::finished_at)
                .limit(most)
                .select(executions::id)
        };
    }
    let mut ids: Vec<String> = match tx.engine()? {
        // Locked, so that none goes on after all before it is removed. Nothing is waited for.
        Engine::Postgres(c) => oldest!().for_update().skip_locked().load(c).await?,
        Engine::Sqlite(c) => oldest!().load(c).await?,
    };
    let mut talks = conversations_of(tx, scope, &ids).await?;
    if let Engine::Postgres(c) = tx.engine()? {
        // Whoever begins or ends a turn, or erases a conversation, holds it.
        let named: HashSet<String> = talks.iter().map(|(_, talk)| talk.clone()).collect();
        let free: Vec<String> = conversations::table
            .filter(conversations::tenant_id.eq(&tenant))
            .filter(conversations::id.eq_any(named))
            .select(conversations::id)
            .for_update()
            .skip_locked()
            .load(c)
            .await?;
        let free: HashSet<String> = free.into_iter().collect();
        let held: HashSet<String> =
            talks.iter().filter(|(_, talk)| !free.contains(talk)).map(|(id, _)| id.clone()).collect();
        ids.retain(|id| !held.contains(id));
        talks.retain(|(id, _)| !held.contains(id));
    }
    remove_turns(tx, scope, &talks).await?;
    remove_executions(tx, scope, &ids).await?;
    Ok(ids.len())
}

/// The conversations in which executions have answered, with the execution.
async fn conversations_of(
    tx: &mut Transaction,
    scope: TenantScope,
    ids: &[String],
) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for ids in ids.chunks(AT_ONCE) {
        let query = turns::table
            .filter(turns::tenant_id.eq(scope.tenant_id().to_string()))
            .filter(turns::execution_id.eq_any(ids.to_vec()))
            .select((turns::execution_id, turns::conversation_id))
            .distinct();
        let some: Vec<(String, String)> = with!(tx, c => query.load(c).await)?;
        found.extend(some);
    }
    Ok(found)
}

/// Removes what was said in conversations that executions have answered, and conversations in which nothing is left.
async fn remove_turns(tx: &mut Transaction, scope: TenantScope, talks: &[(String, String)]) -> Result<()> {
    let tenant = scope.tenant_id().to_string();
    for some in talks.chunks(AT_ONCE) {
        let rows = turns::table
            .filter(turns::tenant_id.eq(&tenant))
            .filter(turns::execution_id.eq_any(some.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>()));
        with!(tx, c => diesel::delete(rows).execute(c).await)?;
    }
    for some in talks.chunks(AT_ONCE) {
        let named: Vec<String> = some.iter().map(|(_, talk)| talk.clone()).collect();
        let left = turns::table
            .filter(turns::tenant_id.eq(&tenant))
            .filter(turns::conversation_id.eq_any(named.clone()))
            .select(turns::conversation_id)
            .distinct();
        let left: Vec<String> = with!(tx, c => left.load(c).await)?;
        let rows = conversations::table
            .filter(conversations::tenant_id.eq(&tenant))
            .filter(conversations::id.eq_any(named))
            .filter(conversations::id.ne_all(left));
        with!(tx, c => diesel::delete(rows).execute(c).await)?;
    }
    Ok(())
}

/// Removes all that is kept of executions but what they have published, and their timers.
pub(crate) async fn remove_executions(
    tx: &mut Transaction,
    scope: TenantScope,
    ids: &[String],
) -> Result<()> {
    let tenant = scope.tenant_id().to_string();
    for ids in ids.chunks(AT_ONCE) {
        macro_rules! remove {
            ($($table:ident),+) => {$(
                let rows = $table::table
                    .filter($table::tenant_id.eq(&tenant))
                    .filter($table::execution_id.eq_any(ids.to_vec()));
                with!(tx, c => diesel::delete(rows).execute(c).await)?;
            )+};
        }
        remove!(journal, execution_snapshots, execution_inbox, event_waits, checkpoints, core_logs);
        remove!(checkpoint_votes, checkpoint_links, mails);
        let rows = executions::table
            .filter(executions::id.eq_any(ids.to_vec()))
            .filter(executions::tenant_id.eq(&tenant));
        with!(tx, c => diesel::delete(rows).execute(c).await)?;
    }
    Ok(())
}

/// Deletes up to `most` events of a Core from before an instant; how many.
#[boxed]
pub async fn purge_events(
    tx: &mut Transaction,
    scope: TenantScope,
    core: CoreId,
    before: Instant,
    most: i64,
) -> Result<usize> {
    let end = EventId::from_ulid(first_of(before)).to_string();
    let query = "DELETE FROM core_events WHERE id IN (SELECT id FROM core_events \
                 WHERE tenant_id = $1 AND core_id = $2 AND id < $3 ORDER BY id LIMIT $4)";
    let query = diesel::sql_query(query)
        .bind::<Text, _>(scope.tenant_id().to_string())
        .bind::<Text, _>(core.to_string())
        .bind::<Text, _>(end)
        .bind::<BigInt, _>(most);
    Ok(with!(tx, c => query.execute(c).await)?)
}

/// Deletes up to `most` rows of a tenant's logs that were written before an instant, of executions that go on too; how many.
#[boxed]
pub async fn purge_logs(
    tx: &mut Transaction,
    scope: TenantScope,
    before: Instant,
    most: i64,
) -> Result<usize> {
    let query = "DELETE FROM core_logs WHERE (tenant_id, core_id, lane, last) IN (\
                 SELECT tenant_id, core_id, lane, last FROM core_logs \
                 WHERE tenant_id = $1 AND at < $2 ORDER BY at LIMIT $3)";
    let query = diesel::sql_query(query)
        .bind::<Text, _>(scope.tenant_id().to_string())
        .bind::<Moment, _>(Stamp(before))
        .bind::<BigInt, _>(most);
    Ok(with!(tx, c => query.execute(c).await)?)
}

/// Deletes up to `most` records of what a tenant's calls of models used, from before an instant; how many.
#[boxed]
pub async fn purge_usage(
    tx: &mut Transaction,
    scope: TenantScope,
    before: Instant,
    most: i64,
) -> Result<usize> {
    let end = UsageId::from_ulid(first_of(before)).to_string();
    let query = "DELETE FROM model_usage WHERE id IN (SELECT id FROM model_usage \
                 WHERE tenant_id = $1 AND id < $2 ORDER BY id LIMIT $3)";
    let query = diesel::sql_query(query)
        .bind::<Text, _>(scope.tenant_id().to_string())
        .bind::<Text, _>(end)
        .bind::<BigInt, _>(most);
    Ok(with!(tx, c => query.execute(c).await)?)
}

/// The least id of an instant: ids ascend with time.
fn first_of(at: Instant) -> Ulid {
    Ulid::from_parts(u64::try_from(at.micros() / 1000).unwrap_or_default(), 0)
}

/// The Cores of a tenant, in the order of their ids, behind one.
#[boxed]
pub async fn cores_of(
    c: &mut Connection,
    scope: TenantScope,
    after: Option<CoreId>,
    rows: i64,
) -> Result<Vec<CoreId>> {
    let query = cores::table
        .filter(cores::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(cores::id.gt(after.map(|core| core.to_string()).unwrap_or_default()))
        .order(cores::id)
        .limit(rows)
        .select(cores::id);
    let found: Vec<String> = with!(c, c => query.load(c).await)?;
    found.iter().map(|id| column("cores", "id", id, id)).collect()
}

/// Deletes up to `most` of the rows of each kind that belong to a Core without a row; whether that was all. Whoever waits for its
/// executions has been told ([`partings::tell_others`](crate::partings::tell_others)).
#[boxed]
pub async fn remove_rows(tx: &mut Transaction, scope: TenantScope, core: CoreId, most: i64) -> Result<bool> {
    /// Tables and their keys.
    const TABLES: [(&str, &str); 14] = [
        ("timers", "tenant_id, kind, owner, effect"),
        ("event_waits", "tenant_id, execution_id, effect"),
        ("core_memory", "tenant_id, core_id, partition, name, key"),
        ("core_vectors", "tenant_id, core_id, space, hash"),
        ("core_events", "id"),
        ("core_logs", "tenant_id, core_id, lane, last"),
        ("core_log_lanes", "tenant_id, core_id, lane"),
        ("core_breakpoints", "id"),
        ("hook_messages", "tenant_id, core_id, trigger_id, message"),
        ("checkpoint_votes", "tenant_id, checkpoint_id, user_id"),
        ("checkpoint_links", "id"),
        ("mails", "id"),
        ("conversation_turns", "tenant_id, conversation_id, turn"),
        ("conversations", "id"),
    ];
    let (tenant, id) = (scope.tenant_id().to_string(), core.to_string());
    let limit = usize::try_from(most).unwrap_or(usize::MAX);
    // Executions first, locked: who commits a step of one locks it before it writes to the log or the memory. In another order
    // the two would wait for each other.
    let ids = hold_executions(tx, &tenant, &id, most).await?;
    remove_executions(tx, scope, &ids).await?;
    let mut all = ids.len() < limit;
    for (table, key) in TABLES {
        let query = format!(
            "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} \
             WHERE tenant_id = $1 AND core_id = $2 LIMIT $3)"
        );
        let query = diesel::sql_query(query)
            .bind::<Text, _>(tenant.clone())
            .bind::<Text, _>(id.clone())
            .bind::<BigInt, _>(most);
        all &= with!(tx, c => query.execute(c).await)? < limit;
    }
    if all {
        // Those of executions that are gone went with them; whatever is left is the Core's own.
        let left = checkpoints::table
            .filter(checkpoints::tenant_id.eq(&tenant))
            .filter(checkpoints::core_id.eq(&id));
        with!(tx, c => diesel::delete(left).execute(c).await)?;
        let done = removed_cores::table.find((tenant, id));
        with!(tx, c => diesel::delete(done).execute(c).await)?;
    }
    Ok(all)
}

/// The first executions of a Core, which nobody else changes until the transaction ends.
async fn hold_executions(tx: &mut Transaction, tenant: &str, core: &str, most: i64) -> Result<Vec<String>> {
    macro_rules! query {
        () => {
            executions::table
                .filter(executions::tenant_id.eq(tenant))
                .filter(executions::core_id.eq(core))
                .order(executions::id)
                .limit(most)
                .select(executions::id)
        };
    }
    Ok(match tx.engine()? {
        Engine::Postgres(c) => query!().for_update().load(c).await?,
        Engine::Sqlite(c) => query!().load(c).await?,
    })
}

/// Notes that there is more of a Core that was deleted.
#[boxed]
pub async fn remember_removed(tx: &mut Transaction, scope: TenantScope, core: CoreId) -> Result<()> {
    let row = (
        removed_cores::tenant_id.eq(scope.tenant_id().to_string()),
        removed_cores::core_id.eq(core.to_string()),
    );
    with!(tx, c => diesel::insert_into(removed_cores::table).values(row).execute(c).await)?;
    Ok(())
}

/// Cores that were deleted and of which there is more.
#[boxed]
pub async fn removed(
    c: &mut Connection,
    _system: &SystemScope,
    rows: i64,
) -> Result<Vec<(TenantId, CoreId)>> {
    let query = removed_cores::table.limit(rows).select((removed_cores::tenant_id, removed_cores::core_id));
    let found: Vec<(String, String)> = with!(c, c => query.load(c).await)?;
    let read = |(tenant, core): (String, String)| {
        Ok((
            column("removed_cores", "tenant_id", &core, &tenant)?,
            column("removed_cores", "core_id", &core, &core)?,
        ))
    };
    found.into_iter().map(read).collect()
}
