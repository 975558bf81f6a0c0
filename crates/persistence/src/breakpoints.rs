//! Where executions of a Core stop.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_cores::debugging::Breakpoint;
use scaigrid_scope::{BreakpointId, CoreId, TenantScope};

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::json::text_storable;
use crate::schema::{core_breakpoints, cores};

const TABLE: &str = "core_breakpoints";

type Row = (String, String, String, String, String, Option<String>, i32, String, Stamp);

fn breakpoint(row: Row) -> Result<Breakpoint> {
    let (id, tenant, core, flow, block, condition, enabled, by, at) = row;
    Ok(Breakpoint {
        id: column(TABLE, "id", &id, &id)?,
        tenant_id: column(TABLE, "tenant_id", &id, &tenant)?,
        core_id: column(TABLE, "core_id", &id, &core)?,
        flow,
        block,
        condition,
        enabled: enabled != 0,
        created_by: column(TABLE, "created_by", &id, &by)?,
        created_at: at.into(),
    })
}

/// The breakpoints of a Core, oldest first; there are few.
#[boxed]
pub async fn list(c: &mut Connection, scope: TenantScope, core: CoreId) -> Result<Vec<Breakpoint>> {
    let query = core_breakpoints::table
        .filter(core_breakpoints::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(core_breakpoints::core_id.eq(core.to_string()))
        .order(core_breakpoints::id);
    let rows: Vec<Row> = with!(c, c => query.load(c).await)?;
    rows.into_iter().map(breakpoint).collect()
}

/// Locks a Core, so that its breakpoints are changed one at a time; false where there is none.
#[boxed]
pub async fn lock_core(tx: &mut Transaction, scope: TenantScope, core: CoreId) -> Result<bool> {
    macro_rules! query {
        () => {
            cores::table
                .filter(cores::id.eq(core.to_string()))
                .filter(cores::tenant_id.eq(scope.tenant_id().to_string()))
                .select(cores::id)
        };
    }
    let found: Option<String> = match tx.engine()? {
        crate::database::Engine::Postgres(c) => query!().for_update().get_result(c).await.optional()?,
        crate::database::Engine::Sqlite(c) => query!().get_result(c).await.optional()?,
    };
    Ok(found.is_some())
}

/// Keeps a breakpoint.
#[boxed]
pub async fn add(tx: &mut Transaction, scope: TenantScope, new: &Breakpoint) -> Result<()> {
    debug_assert_eq!(new.tenant_id, scope.tenant_id(), "it is the tenant's");
    let row = (
        core_breakpoints::id.eq(new.id.to_string()),
        core_breakpoints::tenant_id.eq(new.tenant_id.to_string()),
        core_breakpoints::core_id.eq(new.core_id.to_string()),
        core_breakpoints::flow.eq(text_storable(new.flow.clone())),
        core_breakpoints::block.eq(text_storable(new.block.clone())),
        core_breakpoints::condition.eq(new.condition.clone().map(text_storable)),
        core_breakpoints::enabled.eq(i32::from(new.enabled)),
        core_breakpoints::created_by.eq(new.created_by.to_string()),
        core_breakpoints::created_at.eq(Stamp(new.created_at)),
    );
    let written = with!(tx, c => diesel::insert_into(core_breakpoints::table).values(row).execute(c).await)?;
    if written == 1 { Ok(()) } else { Err(Error::Setup("a breakpoint was not written".into())) }
}

/// Removes a breakpoint; what it was, where there was one.
#[boxed]
pub async fn remove(
    tx: &mut Transaction,
    scope: TenantScope,
    core: CoreId,
    id: BreakpointId,
) -> Result<Option<Breakpoint>> {
    macro_rules! target {
        () => {
            core_breakpoints::table
                .filter(core_breakpoints::id.eq(id.to_string()))
                .filter(core_breakpoints::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(core_breakpoints::core_id.eq(core.to_string()))
        };
    }
    let row: Option<Row> = with!(tx, c => target!().get_result(c).await.optional())?;
    let Some(row) = row else { return Ok(None) };
    let removed = with!(tx, c => diesel::delete(target!()).execute(c).await)?;
    if removed == 0 { Ok(None) } else { breakpoint(row).map(Some) }
}
