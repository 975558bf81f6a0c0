//! Executions that wait for an event of their Core. A wait is written with the commit that begins it, and removed with the
//! one that ends it ([`crate::commit`]).

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_ir::Value;
use scaigrid_scope::{CoreId, ExecutionId, TenantScope};

use crate::database::{Connection, with};
use crate::error::{Result, column};
use crate::executions::{decode, encode};
use crate::json::text_storable;
use crate::schema::event_waits;

const TABLE: &str = "event_waits";

/// A wait for an event.
#[derive(Debug, Clone, PartialEq)]
pub struct EventWait {
    /// The execution that waits.
    pub execution_id: ExecutionId,
    /// The number of its effect.
    pub effect: u32,
    /// The Core.
    pub core_id: CoreId,
    /// The name of the event.
    pub name: String,
    /// The version of the program that it runs.
    pub source_version: u32,
    /// The place in it that waits (RFC 6901).
    pub pointer: String,
    /// What the filter reads beside the event, where that place has one.
    pub captured: Option<Value>,
}

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = event_waits)]
#[diesel(treat_none_as_default_value = false)]
pub(crate) struct WaitRow {
    pub(crate) tenant_id: String,
    pub(crate) execution_id: String,
    pub(crate) effect: i32,
    pub(crate) core_id: String,
    pub(crate) name: String,
    pub(crate) source_version: i32,
    pub(crate) pointer: String,
    pub(crate) captured: Option<Vec<u8>>,
}

impl WaitRow {
    pub(crate) fn of(tenant_id: String, wait: &EventWait) -> Result<Self> {
        Ok(Self {
            tenant_id,
            execution_id: wait.execution_id.to_string(),
            effect: wait.effect.cast_signed(),
            core_id: wait.core_id.to_string(),
            name: text_storable(wait.name.clone()),
            source_version: wait.source_version.cast_signed(),
            pointer: text_storable(wait.pointer.clone()),
            captured: wait.captured.as_ref().map(encode).transpose()?,
        })
    }
}

impl TryFrom<WaitRow> for EventWait {
    type Error = crate::Error;

    fn try_from(row: WaitRow) -> Result<Self> {
        let id = row.execution_id.as_str();
        Ok(Self {
            execution_id: column(TABLE, "execution_id", id, id)?,
            effect: row.effect.cast_unsigned(),
            core_id: column(TABLE, "core_id", id, &row.core_id)?,
            source_version: row.source_version.cast_unsigned(),
            captured: row
                .captured
                .as_deref()
                .map(|bytes| decode(TABLE, "captured", id, bytes))
                .transpose()?,
            name: row.name,
            pointer: row.pointer,
        })
    }
}

/// Who waits for an event of a Core by its name, the oldest executions first.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: TenantScope,
    core: CoreId,
    name: &str,
    rows: i64,
) -> Result<Vec<EventWait>> {
    macro_rules! query {
        () => {
            event_waits::table
                .filter(event_waits::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(event_waits::core_id.eq(core.to_string()))
                .filter(event_waits::name.eq(text_storable(name.to_owned())))
                .order((event_waits::execution_id, event_waits::effect))
                .limit(rows)
                .select(WaitRow::as_select())
        };
    }
    let found: Vec<WaitRow> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(EventWait::try_from).collect()
}

/// The effects of an execution that wait for events.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn of_execution(c: &mut Connection, scope: TenantScope, id: ExecutionId) -> Result<Vec<u32>> {
    let query = event_waits::table
        .filter(event_waits::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(event_waits::execution_id.eq(id.to_string()))
        .limit(10_000)
        .select(event_waits::effect);
    let found: Vec<i32> = with!(c, c => query.load(c).await)?;
    Ok(found.into_iter().map(i32::cast_unsigned).collect())
}
