//! Checkpoints. They are opened, and mostly decided, together with the journal of their execution, by [`crate::commit`].

use async_recursion::async_recursion as boxed;
use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use diesel_async::RunQueryDsl;
use scaigrid_checkpoints::{Assignee, Checkpoint, CheckpointStatus, Priority};
use scaigrid_scope::{CheckpointId, CoreId, ExecutionId, Instant, TenantScope, UserId};

use crate::database::{Connection, Engine, Transaction, find, planned, rows, with};
use crate::error::Result;
use crate::executions::{LoadedRow, Stored};
use crate::schema::{checkpoints, cores, executions};
use crate::stable::page;
use crate::timers::{self, Owner, Timer};
use newest::Newest;

pub mod changes;
pub mod links;
mod newest;
mod stored;
mod votes;

pub use stored::StoredCheckpoint;
pub(crate) use stored::{CheckpointRow, history_json};
pub(crate) use votes::VoteRow;
pub use votes::add as add_vote;

/// Those that wait, in the words of the partial indexes: a planner does not find them by a parameter.
fn pending() -> SqlLiteral<Bool> {
    sql("checkpoints.status = 'pending'")
}

/// Those that wait no more, likewise.
fn ended() -> SqlLiteral<Bool> {
    sql("checkpoints.status <> 'pending'")
}

/// Those that are more urgent or less than most, likewise.
fn unusual() -> SqlLiteral<Bool> {
    sql("checkpoints.priority <> 'normal'")
}

/// A pattern that fits whom a checkpoint excludes if a user is among them. Ids hold no character that means something in a
/// pattern but the underscore, which fits itself.
fn excluding(user: UserId) -> String {
    format!("%{user}%")
}

/// Which checkpoints a list shows.
#[derive(Debug, Clone, Default)]
pub struct CheckpointFilter {
    /// In this status.
    pub status: Option<CheckpointStatus>,
    /// Of this Core.
    pub core_id: Option<CoreId>,
    /// This urgent.
    pub priority: Option<Priority>,
    /// Of this type.
    pub checkpoint_type: Option<String>,
    /// Asking one of these.
    pub assignees: Option<Vec<Assignee>>,
    /// That this user may decide as far as the checkpoint itself goes: it does not exclude them, and they have not yet decided
    /// it as one of several.
    pub open_to: Option<UserId>,
}

/// A checkpoint by its id.
#[boxed]
pub async fn lookup(
    c: &mut Connection,
    scope: TenantScope,
    id: CheckpointId,
) -> Result<Option<StoredCheckpoint>> {
    macro_rules! query {
        () => {
            checkpoints::table
                .find(id.to_string())
                .filter(checkpoints::tenant_id.eq(scope.tenant_id().to_string()))
                .select(CheckpointRow::as_select())
        };
    }
    let row: Option<CheckpointRow> = with!(c, c => query!().get_result(c).await.optional())?;
    Ok(votes::whole(c, scope, row.into_iter().collect()).await?.pop())
}

/// The checkpoint that an effect of an execution opened.
#[boxed]
pub async fn of_effect(
    c: &mut Connection,
    scope: TenantScope,
    execution: ExecutionId,
    effect: u32,
) -> Result<Option<StoredCheckpoint>> {
    macro_rules! query {
        () => {
            checkpoints::table
                .filter(checkpoints::execution_id.eq(execution.to_string()))
                .filter(checkpoints::effect.eq(effect.cast_signed()))
                .filter(checkpoints::tenant_id.eq(scope.tenant_id().to_string()))
                .order(checkpoints::id)
                .select(CheckpointRow::as_select())
        };
    }
    let row: Option<CheckpointRow> = with!(c, c => query!().first(c).await.optional())?;
    Ok(votes::whole(c, scope, row.into_iter().collect()).await?.pop())
}

/// A checkpoint by its id, with the execution that waits at it.
#[boxed]
pub async fn lookup_with_execution(
    c: &mut Connection,
    scope: TenantScope,
    id: CheckpointId,
) -> Result<Option<(StoredCheckpoint, Stored)>> {
    macro_rules! query {
        () => {
            checkpoints::table
                .inner_join(executions::table.on(executions::id.eq(checkpoints::execution_id)))
                .inner_join(cores::table.on(cores::id.eq(checkpoints::core_id)))
                .filter(checkpoints::id.eq(id.to_string()))
                .filter(checkpoints::tenant_id.eq(scope.tenant_id().to_string()))
                .select((CheckpointRow::as_select(), LoadedRow::as_select(), cores::status))
        };
    }
    let row: Option<(CheckpointRow, LoadedRow, String)> = find!(c, query!())?;
    let Some((checkpoint, execution, core_status)) = row else { return Ok(None) };
    let Some(checkpoint) = votes::whole(c, scope, vec![checkpoint]).await?.pop() else { return Ok(None) };
    Ok(Some((checkpoint, Stored::of(execution, &core_status)?)))
}

/// The checkpoints that a filter shows, newest first, after the one that the last page ended with.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: TenantScope,
    filter: &CheckpointFilter,
    after: Option<CheckpointId>,
    rows: i64,
) -> Result<Vec<StoredCheckpoint>> {
    if let Some(newest) = Newest::of(scope, filter, after, rows) {
        // The tenant is among its conditions. Here it would offer a planner the way through all that the tenant has.
        macro_rules! query {
            () => {
                checkpoints::table
                    .filter(newest)
                    .order(checkpoints::id.desc())
                    .limit(rows)
                    .select(CheckpointRow::as_select())
            };
        }
        let found: Vec<CheckpointRow> = with!(c, c => query!().load(c).await)?;
        return votes::whole(c, scope, found).await;
    }
    macro_rules! query {
        () => {{
            let mut query = checkpoints::table
                .filter(checkpoints::tenant_id.eq(scope.tenant_id().to_string()))
                .order(checkpoints::id.desc())
                .select(CheckpointRow::as_select())
                .into_boxed();
            match filter.status {
                None => {}
                Some(CheckpointStatus::Pending) => query = query.filter(pending()),
                Some(status) => {
                    query = query.filter(ended()).filter(checkpoints::status.eq(status.as_str()));
                }
            }
            if let Some(core) = filter.core_id {
                query = query.filter(planned("checkpoints.core_id = ").bind::<Text, _>(core.to_string()));
            }
            if let Some(priority) = filter.priority {
                if priority != Priority::Normal {
                    query = query.filter(unusual());
                }
                query = query.filter(checkpoints::priority.eq(priority.as_str()));
            }
            if let Some(kind) = &filter.checkpoint_type {
                let kind = planned("checkpoints.checkpoint_type = ").bind::<Text, _>(kind.clone());
                query = query.filter(kind);
            }
            if let Some(assignees) = &filter.assignees {
                // `kind:value`, the same spelling on both sides.
                let spelled: Vec<String> = assignees.iter().map(ToString::to_string).collect();
                let spelling = sql::<Text>(
                    "(checkpoints.assignee_type || coalesce(':' || checkpoints.assignee_value, ''))",
                );
                query = query.filter(spelling.eq_any(spelled));
            }
            if let Some(user) = filter.open_to {
                let open = sql::<Bool>("(checkpoints.excluded IS NULL OR checkpoints.excluded NOT LIKE ")
                    .bind::<Text, _>(excluding(user))
                    .sql(
                        ") AND NOT EXISTS (SELECT 1 FROM checkpoint_votes v WHERE v.tenant_id = checkpoints.tenant_id \
                         AND v.checkpoint_id = checkpoints.id AND v.user_id = ",
                    )
                    .bind::<Text, _>(user.to_string())
                    .sql(")");
                query = query.filter(open);
            }
            if let Some(after) = after {
                query = query.filter(checkpoints::id.lt(after.to_string()));
            }
            page(query, rows)
        }};
    }
    let found: Vec<CheckpointRow> = rows!(c, query!())?;
    votes::whole(c, scope, found).await
}

/// The pending checkpoints of an execution, oldest first.
#[boxed]
pub async fn pending_of(
    c: &mut Connection,
    scope: TenantScope,
    execution: scaigrid_scope::ExecutionId,
) -> Result<Vec<StoredCheckpoint>> {
    macro_rules! query {
        () => {
            checkpoints::table
                .filter(checkpoints::execution_id.eq(execution.to_string()))
                .filter(checkpoints::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(pending())
                .order(checkpoints::id)
                .limit(1000)
                .select(CheckpointRow::as_select())
        };
    }
    let found: Vec<CheckpointRow> = with!(c, c => query!().load(c).await)?;
    votes::whole(c, scope, found).await
}

/// Reads a checkpoint and keeps others from changing it until the transaction ends.
#[boxed]
pub async fn lock(
    tx: &mut Transaction,
    scope: TenantScope,
    id: CheckpointId,
) -> Result<Option<StoredCheckpoint>> {
    macro_rules! query {
        () => {
            checkpoints::table
                .filter(checkpoints::id.eq(id.to_string()))
                .filter(checkpoints::tenant_id.eq(scope.tenant_id().to_string()))
                .select(CheckpointRow::as_select())
        };
    }
    let row: Option<CheckpointRow> = match tx.engine()? {
        Engine::Postgres(c) => query!().for_update().get_result(c).await.optional()?,
        Engine::Sqlite(c) => query!().get_result(c).await.optional()?,
    };
    Ok(votes::whole(tx, scope, row.into_iter().collect()).await?.pop())
}

/// Writes whom a pending checkpoint asks and until when, who looks after it and how often it was told of, with the event
/// that says so, and counts its revision up. Lock it before.
#[boxed]
pub async fn save_moved(tx: &mut Transaction, scope: TenantScope, stored: &StoredCheckpoint) -> Result<()> {
    let row = CheckpointRow::of(&stored.checkpoint, stored.effect);
    let target = checkpoints::table
        .find(row.id.clone())
        .filter(checkpoints::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(checkpoints::status.eq("pending"));
    let update = diesel::update(target).set((
        checkpoints::assignee_raw.eq(row.assignee_raw),
        checkpoints::assignee_type.eq(row.assignee_type),
        checkpoints::assignee_value.eq(row.assignee_value),
        checkpoints::expires_at.eq(row.expires_at),
        checkpoints::expiry_action.eq(row.expiry_action),
        checkpoints::escalation_target.eq(row.escalation_target),
        checkpoints::history.eq(history_json(&stored.between)),
        checkpoints::updated_at.eq(row.updated_at),
        checkpoints::standing.eq(row.standing),
        checkpoints::revision.eq(checkpoints::revision + 1),
    ));
    with!(tx, c => update.execute(c).await)?;
    let owner = Owner::Checkpoint(stored.checkpoint.id);
    match deadline(&stored.checkpoint) {
        Some(timer) => timers::set(tx, scope, &timer).await,
        None => timers::clear(tx, scope, &owner).await,
    }
}

/// The timer by which whoever a checkpoint asks is told of it by mail, where people are told so.
pub fn notice(checkpoint: &Checkpoint, due_at: Instant) -> Option<Timer> {
    let owner = Owner::Notice(checkpoint.id);
    checkpoint.rules.notify.then_some(Timer { owner, core_id: checkpoint.core_id, due_at })
}

/// The timer that reminds whoever a checkpoint asks, if they were told at an instant.
pub fn reminder(checkpoint: &Checkpoint, told: Instant) -> Option<Timer> {
    checkpoint.next_reminder(told).map(|due_at| Timer {
        owner: Owner::Reminder(checkpoint.id),
        core_id: checkpoint.core_id,
        due_at,
    })
}

/// The timer of a checkpoint that has a deadline.
pub(crate) fn deadline(checkpoint: &Checkpoint) -> Option<Timer> {
    checkpoint.expiry.as_ref().map(|expiry| Timer {
        owner: Owner::Checkpoint(checkpoint.id),
        core_id: checkpoint.core_id,
        due_at: expiry.at,
    })
}
