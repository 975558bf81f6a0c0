//! What is deleted because its time is over, or because what it belonged to is gone: in bounded pieces, each in a transaction of
//! whoever asks.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;
use scaigrid_scope::{CoreId, EventId, Instant, NodeId, SystemScope, TenantId, TenantScope, UsageId};
use ulid::Ulid;

use crate::database::{Connection, Transaction, with};
use crate::error::{Result, column};
use crate::instant::Stamp;
use crate::schema::{
    checkpoint_links, checkpoint_votes, checkpoints, core_logs, cores, duties, event_waits, execution_inbox,
    execution_snapshots, executions, journal, mails, removed_cores,
};

/// Executions whose rows are named in one statement.
const AT_ONCE: usize = 250;

/// Takes a duty, or keeps it, until an instant; false while another node has it.
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

/// Deletes up to `most` executions of a tenant that ended before an instant, with all that belongs to them; how many.
pub async fn purge_executions(
    tx: &mut Transaction,
    scope: TenantScope,
    before: Instant,
    most: i64,
) -> Result<usize> {
    let ended = executions::table
        .filter(executions::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(executions::finished_at.is_not_null())
        .filter(executions::finished_at.lt(Stamp(before)))
        .order(executions::finished_at)
        .limit(most)
        .select(executions::id);
    let ids: Vec<String> = with!(tx, c => ended.load(c).await)?;
    remove_executions(tx, scope, &ids).await?;
    Ok(ids.len())
}

async fn remove_executions(tx: &mut Transaction, scope: TenantScope, ids: &[String]) -> Result<()> {
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

/// Deletes up to `most` records of what a tenant's calls of models used, from before an instant; how many.
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

/// Deletes up to `most` of the rows of each kind that belong to a Core without a row; whether that was all.
pub async fn remove_rows(tx: &mut Transaction, scope: TenantScope, core: CoreId, most: i64) -> Result<bool> {
    /// Tables and their keys.
    const TABLES: [(&str, &str); 13] = [
        ("timers", "tenant_id, kind, owner, effect"),
        ("event_waits", "tenant_id, execution_id, effect"),
        ("core_memory", "tenant_id, core_id, partition, name, key"),
        ("core_vectors", "tenant_id, core_id, space, hash"),
        ("core_events", "id"),
        ("core_logs", "tenant_id, core_id, lane, last"),
        ("core_log_lanes", "tenant_id, core_id, lane"),
        ("core_breakpoints", "id"),
        ("checkpoint_votes", "tenant_id, checkpoint_id, user_id"),
        ("checkpoint_links", "id"),
        ("mails", "id"),
        ("conversation_turns", "tenant_id, conversation_id, turn"),
        ("conversations", "id"),
    ];
    let (tenant, id) = (scope.tenant_id().to_string(), core.to_string());
    let mut all = true;
    let limit = usize::try_from(most).unwrap_or(usize::MAX);
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
    let run = executions::table
        .filter(executions::tenant_id.eq(&tenant))
        .filter(executions::core_id.eq(&id))
        .order(executions::id)
        .limit(most)
        .select(executions::id);
    let ids: Vec<String> = with!(tx, c => run.load(c).await)?;
    remove_executions(tx, scope, &ids).await?;
    all &= ids.len() < limit;
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

/// Notes that there is more of a Core that was deleted.
pub async fn remember_removed(tx: &mut Transaction, scope: TenantScope, core: CoreId) -> Result<()> {
    let row = (
        removed_cores::tenant_id.eq(scope.tenant_id().to_string()),
        removed_cores::core_id.eq(core.to_string()),
    );
    with!(tx, c => diesel::insert_into(removed_cores::table).values(row).execute(c).await)?;
    Ok(())
}

/// Cores that were deleted and of which there is more.
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
