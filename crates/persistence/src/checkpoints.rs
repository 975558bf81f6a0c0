//! Checkpoints. They are opened, and mostly decided, together with the journal of their execution, by [`crate::commit`].

use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use diesel_async::RunQueryDsl;
use scaigrid_checkpoints::{
    Assignee, AssigneeKind, By, Checkpoint, CheckpointStatus, EventKind, Expiry, ExpiryAction, HistoryEvent,
    NewCheckpoint, Priority, Resolution, Routing, State,
};
use scaigrid_scope::{CheckpointId, CoreId, ExecutionId, Instant, TenantScope, UserId};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::database::{Connection, Engine, Transaction, with};
use crate::error::{Error, Result, column};
use crate::executions::{LoadedRow, Stored};
use crate::instant::Stamp;
use crate::json::{storable, text_storable};
use crate::schema::{checkpoints, cores, executions};
use crate::timers::{self, Owner, Timer};

const TABLE: &str = "checkpoints";

/// A row of the table. `history` holds what happened between the beginning and the end, which the other columns tell.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = checkpoints)]
#[diesel(treat_none_as_default_value = false)]
pub(crate) struct CheckpointRow {
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    pub(crate) core_id: String,
    pub(crate) execution_id: String,
    pub(crate) effect: i32,
    pub(crate) flow_name: String,
    pub(crate) block_id: String,
    pub(crate) instance_key: Option<String>,
    pub(crate) checkpoint_type: String,
    pub(crate) prompt: String,
    pub(crate) options: Value,
    pub(crate) context: Value,
    pub(crate) assignee_raw: Option<String>,
    pub(crate) assignee_type: String,
    pub(crate) assignee_value: Option<String>,
    pub(crate) priority: String,
    pub(crate) status: String,
    pub(crate) expires_at: Option<Stamp>,
    pub(crate) expiry_action: String,
    pub(crate) escalation_target: Option<String>,
    pub(crate) decision: Option<String>,
    pub(crate) response_data: Option<Value>,
    pub(crate) comment: Option<String>,
    pub(crate) resolved_by: Option<String>,
    pub(crate) resolved_at: Option<Stamp>,
    pub(crate) history: Value,
    pub(crate) created_at: Stamp,
    pub(crate) updated_at: Stamp,
}

/// A checkpoint with what the table holds beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCheckpoint {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The number of the effect, in its execution, that it answers.
    pub effect: u32,
    /// What happened between its opening and its end: notifications, reassignments, escalations.
    pub between: Vec<HistoryEvent>,
}

impl CheckpointRow {
    pub(crate) fn of(checkpoint: &Checkpoint, effect: u32) -> Self {
        let question = &checkpoint.question;
        let expiry = question.expiry.as_ref();
        let target = expiry.and_then(|expiry| expiry.action.escalation_target());
        let (decision, response_data, comment, by, at) = match &checkpoint.state {
            State::Pending => (None, None, None, None, None),
            State::Resolved(resolution) => (
                Some(text(&resolution.decision)),
                resolution.response_data.as_deref().cloned().map(storable),
                resolution.comment.as_deref().map(text),
                resolution.by.user(),
                Some(resolution.at),
            ),
            State::Expired { at } => (None, None, None, None, Some(*at)),
            State::Cancelled { by, at } => (None, None, None, by.user(), Some(*at)),
        };
        Self {
            id: question.id.to_string(),
            tenant_id: question.tenant_id.to_string(),
            core_id: question.core_id.to_string(),
            execution_id: question.execution_id.to_string(),
            effect: effect.cast_signed(),
            flow_name: text(&question.flow_name),
            block_id: text(&question.block_id),
            instance_key: question.instance_key.as_deref().map(text),
            checkpoint_type: text(&question.checkpoint_type),
            prompt: text(&question.prompt),
            options: storable(json!(question.options)),
            context: storable((*question.context).clone()),
            assignee_raw: question.routing.raw.as_deref().map(text),
            assignee_type: question.routing.assignee.kind().to_string(),
            assignee_value: question.routing.assignee.value().map(text_storable),
            priority: question.priority.to_string(),
            status: checkpoint.status().to_string(),
            expires_at: expiry.map(|expiry| Stamp(expiry.at)),
            expiry_action: expiry
                .map_or_else(|| "expire".to_owned(), |expiry| text_storable(expiry.action.text())),
            escalation_target: target.map(|routing| text(routing.raw.as_deref().unwrap_or_default())),
            decision,
            response_data,
            comment,
            resolved_by: by.map(|user: UserId| user.to_string()),
            resolved_at: at.map(Stamp),
            history: json!([]),
            created_at: checkpoint.created_at.into(),
            updated_at: checkpoint.updated_at.into(),
        }
    }
}

fn text(text: &str) -> String {
    text_storable(text.to_owned())
}

impl TryFrom<CheckpointRow> for StoredCheckpoint {
    type Error = Error;

    fn try_from(row: CheckpointRow) -> Result<Self> {
        let id = row.id.as_str();
        let bad = |name, reason: &'static str| Error::inconsistent(TABLE, name, id, reason);
        let kind: AssigneeKind = column(TABLE, "assignee_type", id, &row.assignee_type)?;
        let assignee = Assignee::from_stored(kind, row.assignee_value.as_deref())
            .ok_or_else(|| bad("assignee_value", "does not fit the type"))?;
        let target = row.escalation_target.as_deref().map(|raw| Routing::of_program(Some(raw), None));
        let expiry = row
            .expires_at
            .map(|at| {
                let action = ExpiryAction::from_stored(&row.expiry_action, target)
                    .ok_or_else(|| bad("expiry_action", "does not fit the escalation target"))?;
                Ok::<_, Error>(Expiry { at: at.into(), action })
            })
            .transpose()?;
        let by = row
            .resolved_by
            .as_deref()
            .map(|user| column::<UserId>(TABLE, "resolved_by", id, user))
            .transpose()?;
        let at = row.resolved_at.map(Instant::from);
        let ended = || at.ok_or_else(|| bad("resolved_at", "is missing"));
        let state = match column(TABLE, "status", id, &row.status)? {
            CheckpointStatus::Pending => State::Pending,
            CheckpointStatus::Resolved => State::Resolved(Resolution {
                decision: row.decision.clone().ok_or_else(|| bad("decision", "is missing"))?,
                response_data: row.response_data.clone().map(Arc::new),
                comment: row.comment.clone(),
                by: By::from(by),
                at: ended()?,
            }),
            CheckpointStatus::Expired => State::Expired { at: ended()? },
            CheckpointStatus::Cancelled => State::Cancelled { by: By::from(by), at: ended()? },
        };
        let question = NewCheckpoint {
            id: column(TABLE, "id", id, id)?,
            tenant_id: column(TABLE, "tenant_id", id, &row.tenant_id)?,
            core_id: column(TABLE, "core_id", id, &row.core_id)?,
            execution_id: column(TABLE, "execution_id", id, &row.execution_id)?,
            flow_name: row.flow_name.clone(),
            block_id: row.block_id.clone(),
            instance_key: row.instance_key.clone(),
            checkpoint_type: row.checkpoint_type.clone(),
            prompt: row.prompt.clone(),
            options: serde_json::from_value(row.options.clone())
                .map_err(|error| Error::inconsistent(TABLE, "options", id, error))?,
            routing: Routing { raw: row.assignee_raw.clone(), assignee },
            context: Arc::new(row.context.clone()),
            priority: column::<Priority>(TABLE, "priority", id, &row.priority)?,
            expiry,
        };
        let between = history(id, &row.history)?;
        let checkpoint = Checkpoint {
            question,
            state,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        };
        Ok(Self { checkpoint, effect: row.effect.cast_unsigned(), between })
    }
}

fn history(id: &str, stored: &Value) -> Result<Vec<HistoryEvent>> {
    let bad = |reason: &str| Error::inconsistent(TABLE, "history", id, reason);
    let entries = stored.as_array().ok_or_else(|| bad("not an array"))?;
    entries
        .iter()
        .map(|entry| {
            let kind = entry["kind"].as_str().ok_or_else(|| bad("an entry without kind"))?;
            let by =
                entry["by"].as_str().map(|user| column::<UserId>(TABLE, "history", id, user)).transpose()?;
            Ok(HistoryEvent {
                kind: column::<EventKind>(TABLE, "history", id, kind)?,
                at: Instant::from_micros(entry["at"].as_i64().ok_or_else(|| bad("an entry without time"))?),
                by: By::from(by),
                details: entry["details"].as_object().cloned().unwrap_or_default(),
            })
        })
        .collect()
}

fn history_json(events: &[HistoryEvent]) -> Value {
    events
        .iter()
        .map(|event| {
            let by = event.by.user().map(|user| user.to_string());
            let details = storable(Value::Object(event.details.clone()));
            json!({"kind": event.kind.as_str(), "at": event.at.micros(), "by": by, "details": details})
        })
        .collect()
}

/// Those that wait, in the words of the partial indexes: a planner does not find them by a parameter.
fn pending() -> SqlLiteral<Bool> {
    sql("checkpoints.status = 'pending'")
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
}

/// A checkpoint by its id.
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
    let row = with!(c, c => query!().get_result(c).await.optional())?;
    row.map(StoredCheckpoint::try_from).transpose()
}

/// The checkpoint that an effect of an execution opened.
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
    let row = with!(c, c => query!().first(c).await.optional())?;
    row.map(StoredCheckpoint::try_from).transpose()
}

/// A checkpoint by its id, with the execution that waits at it.
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
    let row: Option<(CheckpointRow, LoadedRow, String)> =
        with!(c, c => query!().get_result(c).await.optional())?;
    let Some((checkpoint, execution, core_status)) = row else { return Ok(None) };
    Ok(Some((checkpoint.try_into()?, Stored::of(execution, &core_status)?)))
}

/// The checkpoints that a filter shows, newest first, after the one that the last page ended with.
pub async fn list(
    c: &mut Connection,
    scope: TenantScope,
    filter: &CheckpointFilter,
    after: Option<CheckpointId>,
    rows: i64,
) -> Result<Vec<StoredCheckpoint>> {
    macro_rules! query {
        () => {{
            let mut query = checkpoints::table
                .filter(checkpoints::tenant_id.eq(scope.tenant_id().to_string()))
                .order(checkpoints::id.desc())
                .limit(rows)
                .select(CheckpointRow::as_select())
                .into_boxed();
            match filter.status {
                None => {}
                Some(CheckpointStatus::Pending) => query = query.filter(pending()),
                Some(status) => query = query.filter(checkpoints::status.eq(status.as_str())),
            }
            if let Some(core) = filter.core_id {
                query = query.filter(checkpoints::core_id.eq(core.to_string()));
            }
            if let Some(priority) = filter.priority {
                query = query.filter(checkpoints::priority.eq(priority.as_str()));
            }
            if let Some(kind) = &filter.checkpoint_type {
                query = query.filter(checkpoints::checkpoint_type.eq(kind.clone()));
            }
            if let Some(assignees) = &filter.assignees {
                // `kind:value`, the same spelling on both sides.
                let spelled: Vec<String> = assignees.iter().map(ToString::to_string).collect();
                let spelling = sql::<Text>(
                    "(checkpoints.assignee_type || coalesce(':' || checkpoints.assignee_value, ''))",
                );
                query = query.filter(spelling.eq_any(spelled));
            }
            if let Some(after) = after {
                query = query.filter(checkpoints::id.lt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<CheckpointRow> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(StoredCheckpoint::try_from).collect()
}

/// The pending checkpoints of an execution, oldest first.
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
    found.into_iter().map(StoredCheckpoint::try_from).collect()
}

/// Reads a checkpoint and keeps others from changing it until the transaction ends.
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
    let row = match tx.engine()? {
        Engine::Postgres(c) => query!().for_update().get_result(c).await.optional()?,
        Engine::Sqlite(c) => query!().get_result(c).await.optional()?,
    };
    row.map(StoredCheckpoint::try_from).transpose()
}

/// Writes whom a pending checkpoint asks and until when, with the event that says so. Lock it before.
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
    ));
    with!(tx, c => update.execute(c).await)?;
    let owner = Owner::Checkpoint(stored.checkpoint.id);
    match deadline(&stored.checkpoint) {
        Some(timer) => timers::set(tx, scope, &timer).await,
        None => timers::clear(tx, scope, &owner).await,
    }
}

/// The timer of a checkpoint that has a deadline.
pub(crate) fn deadline(checkpoint: &Checkpoint) -> Option<Timer> {
    checkpoint.expiry.as_ref().map(|expiry| Timer {
        owner: Owner::Checkpoint(checkpoint.id),
        core_id: checkpoint.core_id,
        due_at: expiry.at,
    })
}
