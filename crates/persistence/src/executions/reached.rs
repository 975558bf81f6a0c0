//! How far an execution is, in as few words as whoever follows it needs to see whether it has moved.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_cores::debugging::Debugging;
use scaigrid_cores::execution::ExecutionStatus;
use scaigrid_scope::{CoreId, ExecutionId, Instant, TenantScope};

use super::TABLE;
use crate::database::{Connection, with};
use crate::error::{Result, column};
use crate::instant::Stamp;
use crate::schema::executions;

/// How far an execution is. Whatever becomes of it, one of these is another one then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// Its Core.
    pub core_id: CoreId,
    /// How far it has come.
    pub status: ExecutionStatus,
    /// The number of the next journal entry.
    pub next_seq: i64,
    /// Its fencing epoch.
    pub epoch: i64,
    /// What a debugger has made of it.
    pub debugging: Option<Debugging>,
    /// When it ended.
    pub finished_at: Option<Instant>,
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = executions)]
struct ReachedRow {
    core_id: String,
    status: String,
    next_seq: i64,
    epoch: i64,
    debugging: Option<String>,
    finished_at: Option<Stamp>,
}

/// How far an execution is.
#[boxed]
pub async fn reached(c: &mut Connection, scope: TenantScope, id: ExecutionId) -> Result<Option<Reached>> {
    let id = id.to_string();
    macro_rules! query {
        () => {
            executions::table
                .find(id.as_str())
                .filter(executions::tenant_id.eq(scope.tenant_id().to_string()))
                .select(ReachedRow::as_select())
        };
    }
    let found: Option<ReachedRow> = with!(c, c => query!().get_result(c).await.optional())?;
    let Some(row) = found else { return Ok(None) };
    Ok(Some(Reached {
        core_id: column(TABLE, "core_id", &id, &row.core_id)?,
        status: column(TABLE, "status", &id, &row.status)?,
        next_seq: row.next_seq,
        epoch: row.epoch,
        debugging: row.debugging.map(|text| column(TABLE, "debugging", &id, &text)).transpose()?,
        finished_at: row.finished_at.map(Instant::from),
    }))
}
