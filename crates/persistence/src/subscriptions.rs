//! Which Cores listen to events of other Cores of their tenant, as their programs declared when they last started or were
//! given a new one.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{CoreId, TenantScope};

use crate::database::{Connection, Transaction, with};
use crate::error::{Result, column};
use crate::json::text_storable;
use crate::schema::core_subscriptions;

/// A Core listens to an event of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The Core that listens.
    pub core_id: CoreId,
    /// The slug of the Core that publishes.
    pub from_slug: String,
    /// The name of the event.
    pub event: String,
}

/// Those of the tenant's Cores, by Core; of those that do not run as they were when they last did.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn list(c: &mut Connection, scope: TenantScope) -> Result<Vec<Subscription>> {
    let query = core_subscriptions::table
        .filter(core_subscriptions::tenant_id.eq(scope.tenant_id().to_string()))
        .order((core_subscriptions::core_id, core_subscriptions::from_slug, core_subscriptions::event))
        .limit(100_000)
        .select((core_subscriptions::core_id, core_subscriptions::from_slug, core_subscriptions::event));
    let rows: Vec<(String, String, String)> = with!(c, c => query.load(c).await)?;
    rows.into_iter()
        .map(|(core, from_slug, event)| {
            let core_id = column("core_subscriptions", "core_id", &core, &core)?;
            Ok(Subscription { core_id, from_slug, event })
        })
        .collect()
}

/// Replaces those of a Core.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn replace(
    tx: &mut Transaction,
    scope: TenantScope,
    core: CoreId,
    subscriptions: &[(String, String)],
) -> Result<()> {
    let (tenant, core) = (scope.tenant_id().to_string(), core.to_string());
    let old = core_subscriptions::table
        .filter(core_subscriptions::tenant_id.eq(&tenant))
        .filter(core_subscriptions::core_id.eq(&core));
    with!(tx, c => diesel::delete(old).execute(c).await)?;
    for (from_slug, event) in subscriptions {
        let row = (
            core_subscriptions::tenant_id.eq(&tenant),
            core_subscriptions::core_id.eq(&core),
            core_subscriptions::from_slug.eq(text_storable(from_slug.clone())),
            core_subscriptions::event.eq(text_storable(event.clone())),
        );
        let insert = diesel::insert_into(core_subscriptions::table).values(row).on_conflict_do_nothing();
        with!(tx, c => insert.execute(c).await)?;
    }
    Ok(())
}
