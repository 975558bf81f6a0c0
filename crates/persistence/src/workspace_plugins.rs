//! What tenants have said of the plugins of their workspaces: enabled or disabled. Of others they have said nothing.

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{Instant, TenantScope};

use crate::database::{Connection, Transaction, with};
use crate::error::Result;
use crate::instant::Stamp;
use crate::schema::workspace_plugins;

const ENABLED: &str = "enabled";
const DISABLED: &str = "disabled";

const fn state(is_enabled: bool) -> &'static str {
    if is_enabled { ENABLED } else { DISABLED }
}

/// What the tenant has said of some plugins: whether each is enabled.
#[boxed]
pub async fn said_of(
    c: &mut Connection,
    scope: TenantScope,
    plugins: &[String],
) -> Result<BTreeMap<String, bool>> {
    if plugins.is_empty() {
        return Ok(BTreeMap::new());
    }
    let query = workspace_plugins::table
        .filter(workspace_plugins::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(workspace_plugins::plugin_id.eq_any(plugins.to_vec()))
        .select((workspace_plugins::plugin_id, workspace_plugins::state));
    let found: Vec<(String, String)> = with!(c, c => query.load(c).await)?;
    Ok(found.into_iter().map(|(plugin, state)| (plugin, state == ENABLED)).collect())
}

/// The plugins that the tenant has enabled, by name, the first of them.
#[boxed]
pub async fn enabled(c: &mut Connection, scope: TenantScope, rows: i64) -> Result<Vec<String>> {
    let query = workspace_plugins::table
        .filter(workspace_plugins::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(workspace_plugins::state.eq(ENABLED))
        .order(workspace_plugins::plugin_id)
        .limit(rows)
        .select(workspace_plugins::plugin_id);
    Ok(with!(c, c => query.load(c).await)?)
}

/// Says for a tenant whether a plugin is enabled.
#[boxed]
pub async fn say(
    tx: &mut Transaction,
    scope: TenantScope,
    plugin: &str,
    is_enabled: bool,
    at: Instant,
) -> Result<()> {
    let row = (
        workspace_plugins::tenant_id.eq(scope.tenant_id().to_string()),
        workspace_plugins::plugin_id.eq(plugin),
        workspace_plugins::state.eq(state(is_enabled)),
        workspace_plugins::changed_at.eq(Stamp(at)),
    );
    let insert = diesel::insert_into(workspace_plugins::table)
        .values(row)
        .on_conflict((workspace_plugins::tenant_id, workspace_plugins::plugin_id))
        .do_update()
        .set((workspace_plugins::state.eq(state(is_enabled)), workspace_plugins::changed_at.eq(Stamp(at))));
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// Forgets what the tenant has said of a plugin.
#[boxed]
pub async fn forget(tx: &mut Transaction, scope: TenantScope, plugin: &str) -> Result<()> {
    let delete = diesel::delete(workspace_plugins::table.find((scope.tenant_id().to_string(), plugin)));
    with!(tx, c => delete.execute(c).await)?;
    Ok(())
}
