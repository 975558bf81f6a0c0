//! Which node holds which executions.
//!
//! A node holds a lease of its own, renewed in one row; the executions it runs name it. When its lease has ended, any
//! other node may take them, and raises their epoch as it does: what the old one still writes then fails.

use std::time::Duration;

use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{CoreId, ExecutionId, Instant, NodeId, SystemScope, TenantId, TenantScope};

use crate::database::{Connection, Engine, Transaction, with};
use crate::error::{Result, column};
use crate::instant::{Moment, Stamp};
use crate::schema::{cores, executions, nodes};

/// An execution that a node has just taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimed {
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The execution.
    pub id: ExecutionId,
}

/// Those that are to be run, in the words of the partial index: a planner does not find it by parameters. Executions that
/// run in turn within an instance are taken by [`crate::instances`].
fn to_run() -> SqlLiteral<Bool> {
    sql("(executions.status IN ('queued', 'running') AND executions.slots IS NULL)")
}

/// Those that run in turn, in the words of their own index.
fn in_turn() -> SqlLiteral<Bool> {
    sql("(executions.status IN ('queued', 'running') AND executions.slots IS NOT NULL)")
}

/// What time it is by the clock of a database that several nodes share, and by how much that may be wrong; nothing where the
/// database is one process's alone.
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
pub async fn renew(tx: &mut Transaction, node: NodeId, until: Instant) -> Result<bool> {
    let update = diesel::update(nodes::table.find(node.to_string())).set(nodes::lease_until.eq(Stamp(until)));
    Ok(with!(tx, c => update.execute(c).await)? == 1)
}

/// Ends a node's lease and lets go of all it holds, so that others take it at once.
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
pub async fn forget(tx: &mut Transaction, silent_since: Instant) -> Result<usize> {
    let dead = nodes::table.filter(nodes::lease_until.lt(Stamp(silent_since)));
    Ok(with!(tx, c => diesel::delete(dead).execute(c).await)?)
}

/// Removes every lease but one's own: for a database that only one process can have open.
pub async fn forget_others(tx: &mut Transaction, node: NodeId) -> Result<usize> {
    let others = nodes::table.filter(nodes::id.ne(node.to_string()));
    Ok(with!(tx, c => diesel::delete(others).execute(c).await)?)
}

/// Whether there may be executions to take: a cheap look before the write that taking is.
pub async fn waiting(c: &mut Connection, _system: &SystemScope, node: NodeId) -> Result<bool> {
    let query = executions::table
        .filter(to_run())
        .filter(executions::owner.is_null().or(executions::owner.ne(node.to_string())))
        .select(executions::id);
    let found: Option<String> = with!(c, c => query.first(c).await.optional())?;
    Ok(found.is_some())
}

/// Takes up to `most` executions that nobody holds, oldest first, of Cores that let them go on: they are running on `node`
/// from then on.
pub async fn claim(
    tx: &mut Transaction,
    _system: &SystemScope,
    node: NodeId,
    now: Instant,
    most: i64,
) -> Result<Vec<Claimed>> {
    let alive: Vec<String> = {
        let query = nodes::table.filter(nodes::lease_until.ge(Stamp(now))).select(nodes::id);
        with!(tx, c => query.load(c).await)?
    };
    macro_rules! free {
        () => {{
            let running_core = cores::table
                .filter(cores::id.eq(executions::core_id))
                .filter(cores::status.eq_any(["running", "stopping"]));
            executions::table
                .filter(to_run())
                .filter(executions::owner.is_null().or(executions::owner.ne_all(alive)))
                .filter(diesel::dsl::exists(running_core))
                .order(executions::id)
                .limit(most)
                .select((executions::tenant_id, executions::id))
        }};
    }
    let found: Vec<(String, String)> = match tx.engine()? {
        Engine::Postgres(c) => free!().for_update().skip_locked().load(c).await?,
        Engine::Sqlite(c) => free!().load(c).await?,
    };
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = found.iter().map(|(_, id)| id.clone()).collect();
    let taken = (
        executions::owner.eq(Some(node.to_string())),
        executions::status.eq("running"),
        executions::epoch.eq(executions::epoch + 1),
    );
    with!(tx, c => diesel::update(executions::table.filter(executions::id.eq_any(ids))).set(taken).execute(c).await)?;
    found
        .into_iter()
        .map(|(tenant, id)| {
            Ok(Claimed {
                tenant_id: column("executions", "tenant_id", &id, &tenant)?,
                id: column("executions", "id", &id, &id)?,
            })
        })
        .collect()
}

/// Cores in a passing state (`starting`, `stopping`, `restarting`, `crashed`) whose node may be gone: somebody must see
/// them through.
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
