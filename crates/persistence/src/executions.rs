//! Executions: their rows, their journals, and which node holds them.

mod entries;
mod reached;

use std::num::NonZeroU32;

use async_recursion::async_recursion as boxed;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::RunQueryDsl;
use scaigrid_cores::execution::{Execution, ExecutionStatus, Parent};
use scaigrid_ir::Value;
use scaigrid_scope::{CoreId, ExecutionId, Instant, NodeId, TenantScope, UserId};

use crate::database::{Connection, Transaction, find, rows, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::json::text_storable;
use crate::large::Object;
use crate::schema::{cores, execution_inbox, execution_snapshots, executions};
use crate::stable::page;

pub use entries::{
    JournalFilter, JournalRow, chunk_of, journal, journal_rows, journal_start, journal_within, kept_machine,
    row_end,
};
pub use reached::{Reached, reached};

const TABLE: &str = "executions";

/// A row of the table, its machine included.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = executions)]
#[diesel(treat_none_as_default_value = false)]
pub(crate) struct ExecutionRow {
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    pub(crate) core_id: String,
    pub(crate) flow: String,
    pub(crate) source_version: i32,
    pub(crate) status: String,
    pub(crate) origin: String,
    pub(crate) instance_key: Option<String>,
    pub(crate) parent_id: Option<String>,
    pub(crate) parent_effect: Option<i32>,
    pub(crate) depth: i32,
    pub(crate) input: Vec<u8>,
    pub(crate) output: Option<Vec<u8>>,
    pub(crate) error: Option<Vec<u8>>,
    pub(crate) snapshot: Option<Vec<u8>>,
    pub(crate) next_seq: i64,
    pub(crate) snapshot_seq: i64,
    pub(crate) owner: Option<String>,
    pub(crate) epoch: i64,
    pub(crate) started_at: Stamp,
    pub(crate) finished_at: Option<Stamp>,
    pub(crate) slots: Option<i32>,
    pub(crate) debugging: Option<String>,
    pub(crate) trace: Option<String>,
    pub(crate) delegation_id: Option<String>,
    pub(crate) requested_by: Option<String>,
}

/// A row without its machine.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = executions)]
pub(crate) struct ShownRow {
    id: String,
    tenant_id: String,
    core_id: String,
    flow: String,
    source_version: i32,
    status: String,
    origin: String,
    instance_key: Option<String>,
    parent_id: Option<String>,
    parent_effect: Option<i32>,
    depth: i32,
    input: Vec<u8>,
    output: Option<Vec<u8>>,
    error: Option<Vec<u8>>,
    started_at: Stamp,
    finished_at: Option<Stamp>,
    slots: Option<i32>,
    debugging: Option<String>,
    trace: Option<String>,
    delegation_id: Option<String>,
    requested_by: Option<String>,
}

/// A value as a column holds it.
pub(crate) fn encode(value: &Value) -> Result<Vec<u8>> {
    rmp_serde::to_vec(value).map_err(|error| Error::Setup(format!("a value cannot be encoded: {error}")))
}

/// Reads a column's bytes as a value.
pub(crate) fn decode(table: &'static str, name: &'static str, id: &str, bytes: &[u8]) -> Result<Value> {
    rmp_serde::from_slice(bytes).map_err(|error| Error::inconsistent(table, name, id, error))
}

/// What is shown in the place of a large value that is not read: how large it is.
fn omitted(object: &Object) -> Result<Vec<u8>> {
    let bytes = i64::try_from(object.length).unwrap_or(i64::MAX);
    encode(&Value::from([("omitted", Value::Bool(true)), ("bytes", Value::Int(bytes))]))
}

/// Users as a column holds them: their ids with a space between, or null.
pub(crate) fn users_text(users: &[UserId]) -> Option<String> {
    let ids: Vec<String> = users.iter().map(ToString::to_string).collect();
    (!ids.is_empty()).then(|| ids.join(" "))
}

/// Reads users from a column.
pub(crate) fn users_of(
    table: &'static str,
    name: &'static str,
    id: &str,
    text: Option<&str>,
) -> Result<Vec<UserId>> {
    text.unwrap_or_default().split_whitespace().map(|user| column(table, name, id, user)).collect()
}

impl ExecutionRow {
    /// The row of an execution that has no machine yet and that no node holds.
    pub(crate) fn of(execution: &Execution) -> Result<Self> {
        Ok(Self {
            id: execution.id.to_string(),
            tenant_id: execution.tenant_id.to_string(),
            core_id: execution.core_id.to_string(),
            flow: text_storable(execution.flow.to_string()),
            source_version: execution.source_version.cast_signed(),
            status: execution.status.as_str().to_owned(),
            origin: text_storable(execution.origin.to_string()),
            instance_key: execution.instance_key.as_ref().map(|key| text_storable(key.to_string())),
            parent_id: execution.parent.map(|parent| parent.execution.to_string()),
            parent_effect: execution.parent.map(|parent| parent.effect.cast_signed()),
            depth: i32::from(execution.depth),
            input: encode(&execution.input)?,
            output: execution.output.as_ref().map(encode).transpose()?,
            error: execution.error.as_ref().map(encode).transpose()?,
            snapshot: None,
            next_seq: 0,
            snapshot_seq: 0,
            owner: None,
            epoch: 0,
            started_at: execution.started_at.into(),
            finished_at: execution.finished_at.map(Stamp),
            slots: execution.slots.map(|slots| i32::try_from(slots.get()).unwrap_or(i32::MAX)),
            debugging: execution.debugging.as_ref().map(ToString::to_string),
            trace: execution.trace.map(|trace| trace.to_string()),
            delegation_id: execution.delegation.map(|id| id.to_string()),
            requested_by: users_text(&execution.requested_by),
        })
    }
}

impl ShownRow {
    /// The row with what it refers to.
    async fn open(mut self, c: &Connection, scope: TenantScope) -> Result<Self> {
        let tenant = scope.tenant_id();
        self.input = c.open(tenant, self.input).await?;
        self.output = c.open_maybe(tenant, self.output).await?;
        self.error = c.open_maybe(tenant, self.error).await?;
        Ok(self)
    }
    /// The row without what it refers to: what is large shows how large it is.
    fn closed(mut self) -> Result<Self> {
        for column in [Some(&mut self.input), self.output.as_mut(), self.error.as_mut()].into_iter().flatten()
        {
            if let Some(object) = Object::referred(column) {
                *column = omitted(&object)?;
            }
        }
        Ok(self)
    }
}

impl TryFrom<ShownRow> for Execution {
    type Error = Error;
    fn try_from(row: ShownRow) -> Result<Self> {
        let id = row.id.as_str();
        let parent = match (&row.parent_id, row.parent_effect) {
            (Some(parent), Some(effect)) => Some(Parent {
                execution: column(TABLE, "parent_id", id, parent)?,
                effect: effect.cast_unsigned(),
            }),
            _ => None,
        };
        Ok(Self {
            id: column(TABLE, "id", id, id)?,
            tenant_id: column(TABLE, "tenant_id", id, &row.tenant_id)?,
            core_id: column(TABLE, "core_id", id, &row.core_id)?,
            flow: row.flow.into(),
            source_version: row.source_version.cast_unsigned(),
            status: column(TABLE, "status", id, &row.status)?,
            origin: column(TABLE, "origin", id, &row.origin)?,
            instance_key: row.instance_key.map(Into::into),
            slots: row.slots.and_then(|slots| NonZeroU32::new(slots.cast_unsigned())),
            parent,
            depth: u16::try_from(row.depth)
                .map_err(|error| Error::inconsistent(TABLE, "depth", id, error))?,
            input: decode(TABLE, "input", id, &row.input)?,
            output: row.output.as_deref().map(|bytes| decode(TABLE, "output", id, bytes)).transpose()?,
            error: row.error.as_deref().map(|bytes| decode(TABLE, "error", id, bytes)).transpose()?,
            started_at: row.started_at.into(),
            finished_at: row.finished_at.map(Instant::from),
            debugging: row.debugging.map(|text| column(TABLE, "debugging", id, &text)).transpose()?,
            // What is damaged here costs a trace, and no execution.
            trace: row.trace.and_then(|trace| trace.parse().ok()),
            delegation: row
                .delegation_id
                .map(|text| column(TABLE, "delegation_id", id, &text))
                .transpose()?,
            requested_by: users_of(TABLE, "requested_by", id, row.requested_by.as_deref())?,
        })
    }
}

/// Which executions a list shows.
#[derive(Debug, Clone, Default)]
pub struct ExecutionFilter {
    /// Of this Core.
    pub core_id: Option<CoreId>,
    /// In this status.
    pub status: Option<ExecutionStatus>,
    /// Of this flow.
    pub flow: Option<String>,
    /// Accepted at or after this instant.
    pub since: Option<Instant>,
    /// Accepted before this instant.
    pub until: Option<Instant>,
}

/// An execution by its id.
///
/// # Errors
/// The database's; the object store's, where it has large values.
#[boxed]
pub async fn lookup(c: &mut Connection, scope: TenantScope, id: ExecutionId) -> Result<Option<Execution>> {
    match shown(c, scope, id).await? {
        Some(row) => row.open(c, scope).await?.try_into().map(Some),
        None => Ok(None),
    }
}

/// An execution by its id, without its large values, as [`list`] shows it: where it stands costs no look into the object store.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn glance(c: &mut Connection, scope: TenantScope, id: ExecutionId) -> Result<Option<Execution>> {
    shown(c, scope, id).await?.map(|row| Execution::try_from(row.closed()?)).transpose()
}

async fn shown(c: &mut Connection, scope: TenantScope, id: ExecutionId) -> Result<Option<ShownRow>> {
    macro_rules! query {
        () => {
            executions::table
                .find(id.to_string())
                .filter(executions::tenant_id.eq(scope.tenant_id().to_string()))
        };
    }
    Ok(with!(c, c => query!().select(ShownRow::as_select()).get_result(c).await.optional())?)
}

/// Keeps executions that are queued, of one tenant.
#[boxed]
pub async fn add(tx: &mut Transaction, scope: TenantScope, queued: &[Execution]) -> Result<()> {
    for execution in queued {
        debug_assert_eq!(execution.tenant_id, scope.tenant_id(), "they are of one tenant");
        let row = ExecutionRow::of(execution)?;
        with!(tx, c => diesel::insert_into(executions::table).values(&row).execute(c).await)?;
    }
    Ok(())
}

/// The executions that a filter shows, newest first, after the one that the last page ended with. In the place of a large value
/// stands how large it is: a page is no more than the database holds, and no object that is missing hides the others.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: TenantScope,
    filter: &ExecutionFilter,
    after: Option<ExecutionId>,
    rows: i64,
) -> Result<Vec<Execution>> {
    macro_rules! query {
        () => {{
            let mut query = executions::table
                .filter(executions::tenant_id.eq(scope.tenant_id().to_string()))
                .order(executions::id.desc())
                .select(ShownRow::as_select())
                .into_boxed();
            if let Some(core) = filter.core_id {
                query = query.filter(executions::core_id.eq(core.to_string()));
            }
            if let Some(status) = filter.status {
                query = query.filter(executions::status.eq(status.as_str()));
            }
            if let Some(flow) = &filter.flow {
                query = query.filter(executions::flow.eq(flow.clone()));
            }
            if let Some(since) = filter.since {
                query = query.filter(executions::started_at.ge(Stamp(since)));
            }
            if let Some(until) = filter.until {
                query = query.filter(executions::started_at.lt(Stamp(until)));
            }
            if let Some(after) = after {
                query = query.filter(executions::id.lt(after.to_string()));
            }
            page(query, rows)
        }};
    }
    let found: Vec<ShownRow> = rows!(c, query!())?;
    found.into_iter().map(|row| Execution::try_from(row.closed()?)).collect()
}

/// The executions of a Core that are queued or running, oldest first, a thousand at most.
#[boxed]
pub async fn active(c: &mut Connection, scope: TenantScope, core: CoreId) -> Result<Vec<ExecutionId>> {
    let query = executions::table
        .filter(executions::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(executions::core_id.eq(core.to_string()))
        .filter(sql::<Bool>("executions.status IN ('queued', 'running')"))
        .order(executions::id)
        .limit(1000)
        .select(executions::id);
    let rows: Vec<String> = with!(c, c => query.load(c).await)?;
    rows.iter().map(|id| column(TABLE, "id", id, id)).collect()
}

/// How many executions of a Core are queued or running.
#[boxed]
pub async fn count_active(c: &mut Connection, scope: TenantScope, core: CoreId) -> Result<i64> {
    let query = executions::table
        .filter(executions::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(executions::core_id.eq(core.to_string()))
        .filter(sql::<Bool>("executions.status IN ('queued', 'running')"))
        .count();
    Ok(with!(c, c => query.get_result(c).await)?)
}

/// Whether executions of a Core have not ended.
#[boxed]
pub async fn any_unfinished(c: &mut Connection, scope: TenantScope, core: CoreId) -> Result<bool> {
    let query = executions::table
        .filter(executions::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(executions::core_id.eq(core.to_string()))
        .filter(executions::finished_at.is_null())
        .limit(1)
        .select(executions::id);
    let found: Vec<String> = with!(c, c => query.load(c).await)?;
    Ok(!found.is_empty())
}

/// An execution with all that is needed to go on with it.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The execution.
    pub execution: Execution,
    /// Its encoded machine; none before the first one was kept.
    pub snapshot: Option<Vec<u8>>,
    /// The number of the first journal entry that the machine does not hold.
    pub snapshot_seq: i64,
    /// The number of the next journal entry.
    pub next_seq: i64,
    /// Its fencing epoch.
    pub epoch: i64,
    /// The node that holds it.
    pub owner: Option<NodeId>,
    /// Whether its Core lets executions go on.
    pub core_runs: bool,
    /// Where its input lies, if that is large: going on takes no look at it, so until [`open_input`] is asked it shows how large
    /// it is, as in lists.
    large_input: Option<Vec<u8>>,
}

/// A row with its machine, as much of both as going on takes.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = executions)]
pub(crate) struct LoadedRow {
    #[diesel(embed)]
    shown: ShownRow,
    snapshot: Option<Vec<u8>>,
    snapshot_seq: i64,
    next_seq: i64,
    epoch: i64,
    owner: Option<String>,
}

impl Stored {
    /// An execution from its row and its Core's status.
    pub(crate) fn of(mut row: LoadedRow, core_status: &str) -> Result<Self> {
        let mut large_input = None;
        if let Some(object) = Object::referred(&row.shown.input) {
            large_input = Some(std::mem::replace(&mut row.shown.input, omitted(&object)?));
        }
        // What it came to is not looked at by those who go on.
        for column in [&mut row.shown.output, &mut row.shown.error] {
            if column.as_deref().is_some_and(|bytes| Object::referred(bytes).is_some()) {
                *column = None;
            }
        }
        let owner =
            row.owner.as_deref().map(|node| column(TABLE, "owner", &row.shown.id, node)).transpose()?;
        Ok(Self {
            execution: row.shown.try_into()?,
            snapshot: row.snapshot,
            snapshot_seq: row.snapshot_seq,
            next_seq: row.next_seq,
            epoch: row.epoch,
            owner,
            core_runs: matches!(core_status, "running" | "stopping"),
            large_input,
        })
    }

    /// Whether its input is large, and was not read yet.
    pub const fn has_closed_input(&self) -> bool {
        self.large_input.is_some()
    }
}

/// An execution with all that is needed to go on with it.
#[boxed]
pub async fn load(c: &mut Connection, scope: TenantScope, id: ExecutionId) -> Result<Option<Stored>> {
    macro_rules! query {
        () => {
            executions::table
                .inner_join(cores::table.on(cores::id.eq(executions::core_id)))
                .filter(executions::id.eq(id.to_string()))
                .filter(executions::tenant_id.eq(scope.tenant_id().to_string()))
                .select((LoadedRow::as_select(), cores::status))
        };
    }
    let row: Option<(LoadedRow, String)> = find!(c, query!())?;
    row.map(|(row, core_status)| Stored::of(row, &core_status)).transpose()
}

/// Reads the input of an execution that was loaded, where it is large.
///
/// # Errors
/// The object store's.
#[boxed]
pub async fn open_input(c: &mut Connection, scope: TenantScope, stored: &mut Stored) -> Result<()> {
    if let Some(reference) = stored.large_input.clone() {
        let bytes = c.open(scope.tenant_id(), reference).await?;
        stored.execution.input = decode(TABLE, "input", &stored.execution.id.to_string(), &bytes)?;
        stored.large_input = None;
    }
    Ok(())
}

/// An execution that another one has called: its id, the effect that it answers, its status.
pub type Child = (ExecutionId, u32, ExecutionStatus);

/// The executions that an execution has called, oldest first, ten thousand at most.
#[boxed]
pub async fn children(c: &mut Connection, scope: TenantScope, parent: ExecutionId) -> Result<Vec<Child>> {
    children_of(c, scope, parent, "executions.parent_id IS NOT NULL").await
}

/// Those among them that have not ended: however many have, none of these is left out before ten thousand.
#[boxed]
pub async fn children_at_work(
    c: &mut Connection,
    scope: TenantScope,
    parent: ExecutionId,
) -> Result<Vec<Child>> {
    children_of(c, scope, parent, "executions.status NOT IN ('completed', 'failed', 'cancelled')").await
}

async fn children_of(
    c: &mut Connection,
    scope: TenantScope,
    parent: ExecutionId,
    which: &'static str,
) -> Result<Vec<Child>> {
    let query = executions::table
        .filter(executions::parent_id.eq(parent.to_string()))
        .filter(executions::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(sql::<Bool>(which))
        .order(executions::id)
        .limit(10_000)
        .select((executions::id, executions::parent_effect, executions::status));
    let rows: Vec<(String, Option<i32>, String)> = with!(c, c => query.load(c).await)?;
    rows.into_iter()
        .map(|(id, effect, status)| {
            let effect = effect.unwrap_or_default().cast_unsigned();
            Ok((column(TABLE, "id", &id, &id)?, effect, column(TABLE, "status", &id, &status)?))
        })
        .collect()
}

/// What has come for an execution and was not taken yet: outcomes by effect.
#[boxed]
pub async fn inbox(c: &mut Connection, scope: TenantScope, id: ExecutionId) -> Result<Vec<(u32, Vec<u8>)>> {
    let query = execution_inbox::table
        .filter(execution_inbox::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(execution_inbox::execution_id.eq(id.to_string()))
        .order(execution_inbox::effect)
        .limit(1000)
        .select((execution_inbox::effect, execution_inbox::outcome));
    let rows: Vec<(i32, Vec<u8>)> = with!(c, c => query.load(c).await)?;
    let mut arrived = Vec::with_capacity(rows.len());
    for (effect, outcome) in rows {
        arrived.push((effect.cast_unsigned(), c.open(scope.tenant_id(), outcome).await?));
    }
    Ok(arrived)
}

/// Leaves the outcome of a call in the inbox of the execution that makes it, so that it is durable before the journal has
/// it. Where the execution has come to a rest meanwhile, nobody waits for it, and nothing is left.
#[boxed]
pub async fn leave_outcome(
    tx: &mut Transaction,
    scope: TenantScope,
    id: ExecutionId,
    effect: u32,
    outcome: &[u8],
) -> Result<()> {
    let tenant = scope.tenant_id().to_string();
    let going_on = executions::table
        .filter(executions::id.eq(id.to_string()))
        .filter(executions::tenant_id.eq(&tenant))
        .filter(executions::status.eq_any(["queued", "running"]))
        .select(executions::id);
    let found: Option<String> = with!(tx, c => going_on.get_result(c).await.optional())?;
    if found.is_none() {
        return Ok(());
    }
    let insert = diesel::insert_into(execution_inbox::table)
        .values((
            execution_inbox::tenant_id.eq(tenant),
            execution_inbox::execution_id.eq(id.to_string()),
            execution_inbox::effect.eq(effect.cast_signed()),
            execution_inbox::outcome.eq(outcome),
        ))
        .on_conflict_do_nothing();
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// Has a failed execution go on: it is queued as it stood, with one entry more in its journal, which takes back what comes from the
/// entry `from` on, and with who has asked for it as they stand with it now. False when it has not failed, or has gone on since it was read.
#[boxed]
pub async fn revive(
    tx: &mut Transaction,
    scope: TenantScope,
    failed: &Stored,
    (from, entry): (i64, Vec<u8>),
    at: Instant,
) -> Result<bool> {
    let execution = &failed.execution;
    let target = executions::table
        .filter(executions::id.eq(execution.id.to_string()))
        .filter(executions::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(executions::status.eq("failed"))
        .filter(executions::epoch.eq(failed.epoch))
        .filter(executions::next_seq.eq(failed.next_seq));
    let standing = (
        executions::status.eq("queued"),
        executions::error.eq(None::<Vec<u8>>),
        executions::output.eq(None::<Vec<u8>>),
        executions::finished_at.eq(None::<Stamp>),
        executions::owner.eq(None::<String>),
        executions::snapshot.eq(None::<Vec<u8>>),
        executions::debugging.eq(None::<String>),
        executions::snapshot_seq.eq(0_i64),
        executions::next_seq.eq(failed.next_seq + 1),
        executions::epoch.eq(failed.epoch + 1),
        executions::requested_by.eq(users_text(&execution.requested_by)),
    );
    let changed = with!(tx, c => diesel::update(target).set(standing).execute(c).await)?;
    if changed == 0 {
        return Ok(false);
    }
    entries::write_row(tx, scope, execution, (failed.next_seq, entry), at).await?;
    // Machines that were kept in what does not count lead nowhere.
    let astray = execution_snapshots::table
        .filter(execution_snapshots::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(execution_snapshots::execution_id.eq(execution.id.to_string()))
        .filter(execution_snapshots::seq.gt(from));
    with!(tx, c => diesel::delete(astray).execute(c).await)?;
    // What had come for it while it ended was for effects that are asked for once more.
    let stale = execution_inbox::table
        .filter(execution_inbox::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(execution_inbox::execution_id.eq(execution.id.to_string()));
    with!(tx, c => diesel::delete(stale).execute(c).await)?;
    Ok(true)
}

/// Executions that are counted by status at most: the newest of a Core.
const COUNTED: i64 = 10_000;

/// How many of a Core's executions are in each status, and whether there are more than were counted.
#[boxed]
pub async fn count_by_status(
    c: &mut Connection,
    scope: TenantScope,
    core: CoreId,
) -> Result<(Vec<(ExecutionStatus, i64)>, bool)> {
    let query = executions::table
        .filter(executions::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(executions::core_id.eq(core.to_string()))
        .order(executions::id.desc())
        .limit(COUNTED)
        .select(executions::status);
    let rows: Vec<String> = with!(c, c => query.load(c).await)?;
    let more = i64::try_from(rows.len()).is_ok_and(|count| count >= COUNTED);
    let count = |status: ExecutionStatus| {
        let count = rows.iter().filter(|text| *text == status.as_str()).count();
        (status, i64::try_from(count).unwrap_or(i64::MAX))
    };
    Ok((ExecutionStatus::ALL.into_iter().map(count).collect(), more))
}
