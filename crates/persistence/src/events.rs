//! Events of Cores: those that were sent to them and those that they published.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{CoreId, EventId, ExecutionId, Instant, TenantScope};

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::executions::{decode, encode};
use crate::instant::Stamp;
use crate::json::text_storable;
use crate::outbox;
use crate::schema::core_events;
use scaigrid_cores::execution::Execution;
use scaigrid_ir::Value;
use scaigrid_webhooks::Event;
use ulid::Ulid;

const TABLE: &str = "core_events";

/// An event of a Core.
#[derive(Debug, Clone, PartialEq)]
pub struct CoreEvent {
    /// Its id.
    pub id: EventId,
    /// The Core that it belongs to.
    pub core_id: CoreId,
    /// The execution that published it; none when it came from outside.
    pub execution_id: Option<ExecutionId>,
    /// Its name.
    pub name: String,
    /// What it carries.
    pub data: Value,
    /// When.
    pub at: Instant,
    /// What became of it with those who listen to its name: an array of objects; none where nobody does.
    pub heard: Option<serde_json::Value>,
}

/// Which events a list shows.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// By name.
    pub name: Option<String>,
    /// Published by this execution.
    pub execution_id: Option<ExecutionId>,
    /// At or after this instant.
    pub since: Option<Instant>,
    /// Before this instant.
    pub until: Option<Instant>,
}

type Row = (String, String, Option<String>, String, Vec<u8>, Stamp, Option<String>);

/// The events of a Core, newest first, after the one that the last page ended with.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: TenantScope,
    core: CoreId,
    filter: &EventFilter,
    after: Option<EventId>,
    rows: i64,
) -> Result<Vec<CoreEvent>> {
    macro_rules! query {
        () => {{
            let mut query = core_events::table
                .filter(core_events::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(core_events::core_id.eq(core.to_string()))
                .order(core_events::id.desc())
                .limit(rows)
                .select((
                    core_events::id,
                    core_events::core_id,
                    core_events::execution_id,
                    core_events::name,
                    core_events::data,
                    core_events::at,
                    core_events::heard,
                ))
                .into_boxed();
            if let Some(name) = &filter.name {
                query = query.filter(core_events::name.eq(name.clone()));
            }
            if let Some(id) = filter.execution_id {
                query = query.filter(core_events::execution_id.eq(id.to_string()));
            }
            if let Some(since) = filter.since {
                query = query.filter(core_events::at.ge(Stamp(since)));
            }
            if let Some(until) = filter.until {
                query = query.filter(core_events::at.lt(Stamp(until)));
            }
            if let Some(after) = after {
                query = query.filter(core_events::id.lt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<Row> = with!(c, c => query!().load(c).await)?;
    opened(c, scope, found).await
}

fn event((id, core, execution, name, data, at, heard): Row) -> Result<CoreEvent> {
    let heard = heard.map(|text| serde_json::from_str(&text));
    let heard = heard.transpose().map_err(|error| Error::inconsistent(TABLE, "heard", &id, error))?;
    Ok(CoreEvent {
        heard,
        id: column(TABLE, "id", &id, &id)?,
        core_id: column(TABLE, "core_id", &id, &core)?,
        execution_id: execution.map(|text| column(TABLE, "execution_id", &id, &text)).transpose()?,
        data: decode(TABLE, "data", &id, &data)?,
        name,
        at: at.into(),
    })
}

/// An id that lies before those of all events of an execution: ids ascend with time, and no node's clock is a minute behind.
pub const fn before(execution: ExecutionId) -> EventId {
    EventId::from_ulid(Ulid(execution.ulid().0.saturating_sub(MINUTE)))
}

/// A minute, as ULIDs count it: milliseconds above 80 bits of chance.
const MINUTE: u128 = 60_000 << 80;

/// The events of a name that an execution of a Core has published, oldest first, after one.
#[boxed]
pub async fn of_execution(
    c: &mut Connection,
    scope: TenantScope,
    (core, execution, name): (CoreId, ExecutionId, &str),
    after: EventId,
    rows: i64,
) -> Result<Vec<CoreEvent>> {
    let query = core_events::table
        .filter(core_events::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(core_events::core_id.eq(core.to_string()))
        .filter(core_events::id.gt(after.to_string()))
        .filter(core_events::execution_id.eq(execution.to_string()))
        .filter(core_events::name.eq(name))
        .order(core_events::id)
        .limit(rows)
        .select((
            core_events::id,
            core_events::core_id,
            core_events::execution_id,
            core_events::name,
            core_events::data,
            core_events::at,
            core_events::heard,
        ));
    let found: Vec<Row> = with!(c, c => query.load(c).await)?;
    opened(c, scope, found).await
}

/// The events of rows, large ones as the object store has them.
async fn opened(c: &mut Connection, scope: TenantScope, rows: Vec<Row>) -> Result<Vec<CoreEvent>> {
    let mut events = Vec::with_capacity(rows.len());
    for (id, core, execution, name, data, at, heard) in rows {
        let data = c.open(scope.tenant_id(), data).await?;
        events.push(event((id, core, execution, name, data, at, heard))?);
    }
    Ok(events)
}

/// Writes what webhooks are told, to be told once the transaction is durable.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn tell(tx: &mut Transaction, told: &[Event]) -> Result<()> {
    outbox::write(tx, told).await
}

/// Keeps an event that came from outside, and the executions that it starts.
#[boxed]
pub async fn add(
    tx: &mut Transaction,
    scope: TenantScope,
    event: &CoreEvent,
    started: &[Execution],
) -> Result<()> {
    let row = (
        core_events::id.eq(event.id.to_string()),
        core_events::tenant_id.eq(scope.tenant_id().to_string()),
        core_events::core_id.eq(event.core_id.to_string()),
        core_events::execution_id.eq(event.execution_id.map(|id| id.to_string())),
        core_events::name.eq(text_storable(event.name.clone())),
        core_events::data.eq(encode(&event.data)?),
        core_events::at.eq(Stamp(event.at)),
        core_events::heard.eq(event.heard.as_ref().map(|heard| text_storable(heard.to_string()))),
    );
    with!(tx, c => diesel::insert_into(core_events::table).values(row).execute(c).await)?;
    crate::executions::add(tx, scope, started).await
}
