//! Cores that the platform holds: many at once, when a module is switched off or a tenant suspended.
//!
//! Which Cores are to be held is decided above. What is written here carries the status that it expects, so a Core that
//! someone else moves at the same time is left alone.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::RunQueryDsl;
use scaigrid_cores::{Action, LastError, Status};
use scaigrid_scope::{
    CoreId, Instant, LevelScope, PartnerId, PartnerStatus, TenantId, TenantScope, TenantStatus,
};
use serde_json::{Value, json};

use crate::database::{Connection, Transaction, with};
use crate::error::{Result, column};
use crate::instant::Stamp;
use crate::schema::{cores, partners, tenants};

/// How many tenants are looked up in one query.
const AT_ONCE: usize = 500;

/// A tenant that has Cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantWithCores {
    /// The tenant.
    pub id: TenantId,
    /// Its partner.
    pub partner_id: PartnerId,
    /// The status that counts, the partner's included.
    pub status: TenantStatus,
}

/// The tenants of a scope that have Cores at all.
#[boxed]
pub async fn tenants_with_cores(c: &mut Connection, scope: LevelScope) -> Result<Vec<TenantWithCores>> {
    let (partner, tenant) = match scope {
        LevelScope::Platform(_) => (None, None),
        LevelScope::Partner(scope) => (Some(scope.partner_id().to_string()), None),
        LevelScope::Tenant(scope) => (None, Some(scope.tenant_id().to_string())),
    };
    let owners = cores::table
        .filter(tenant.is_none().into_sql::<Bool>().or(cores::tenant_id.eq(tenant.unwrap_or_default())))
        .select(cores::tenant_id)
        .distinct()
        .order(cores::tenant_id);
    let owners: Vec<String> = with!(c, c => owners.load(c).await)?;
    let mut found = Vec::new();
    for ids in owners.chunks(AT_ONCE) {
        let any = partner.is_none();
        let query = tenants::table
            .inner_join(partners::table.on(partners::id.eq(tenants::partner_id)))
            .filter(tenants::id.eq_any(ids.to_vec()))
            .filter(any.into_sql::<Bool>().or(tenants::partner_id.eq(partner.clone().unwrap_or_default())))
            .order(tenants::id)
            .select((tenants::id, tenants::partner_id, tenants::status, partners::status));
        let rows: Vec<(String, String, String, String)> = with!(c, c => query.load(c).await)?;
        for (id, partner, status, its_status) in rows {
            let status: TenantStatus = column("tenants", "status", &id, &status)?;
            let its_status: PartnerStatus = column("partners", "status", &partner, &its_status)?;
            found.push(TenantWithCores {
                id: column("tenants", "id", &id, &id)?,
                partner_id: column("tenants", "partner_id", &id, &partner)?,
                status: status.under(its_status),
            });
        }
    }
    Ok(found)
}

/// Suspends the Cores of a tenant that the platform may hold, and says which, and what they were before.
#[boxed]
pub async fn hold(
    tx: &mut Transaction,
    scope: TenantScope,
    why: &LastError,
) -> Result<Vec<(CoreId, Status)>> {
    let reason = json!({"code": why.code, "message": why.message, "at": why.at.micros()});
    let mut held = Vec::new();
    for status in Status::ALL.iter().copied().filter(|status| status.allows(Action::PlatformSuspend)) {
        let update = diesel::update(cores::table)
            .filter(cores::tenant_id.eq(scope.tenant_id().to_string()))
            .filter(cores::status.eq(status.as_str()))
            .set((
                cores::status.eq(Status::Suspended.as_str()),
                cores::last_error.eq(Some(reason.clone())),
                cores::revision.eq(cores::revision + 1),
                cores::updated_at.eq(Stamp(why.at)),
            ))
            .returning(cores::id);
        let ids: Vec<String> = with!(tx, c => update.get_results(c).await)?;
        for id in ids {
            held.push((column("cores", "id", &id, &id)?, status));
        }
    }
    Ok(held)
}

/// Suspends one Core, if the platform may hold it; what it was before.
#[boxed]
pub async fn hold_core(
    tx: &mut Transaction,
    scope: TenantScope,
    core: CoreId,
    why: &LastError,
) -> Result<Option<Status>> {
    let reason = json!({"code": why.code, "message": why.message, "at": why.at.micros()});
    for status in Status::ALL.iter().copied().filter(|status| status.allows(Action::PlatformSuspend)) {
        let update = diesel::update(cores::table.find(core.to_string()))
            .filter(cores::tenant_id.eq(scope.tenant_id().to_string()))
            .filter(cores::status.eq(status.as_str()))
            .set((
                cores::status.eq(Status::Suspended.as_str()),
                cores::last_error.eq(Some(reason.clone())),
                cores::revision.eq(cores::revision + 1),
                cores::updated_at.eq(Stamp(why.at)),
            ));
        if with!(tx, c => update.execute(c).await)? == 1 {
            return Ok(Some(status));
        }
    }
    Ok(None)
}

/// Lets the Cores of a tenant run again that were held for one of these reasons, and says which.
#[boxed]
pub async fn release(
    tx: &mut Transaction,
    scope: TenantScope,
    reasons: &[&str],
    at: Instant,
) -> Result<Vec<CoreId>> {
    let tenant = scope.tenant_id().to_string();
    let query = cores::table
        .filter(cores::tenant_id.eq(tenant.clone()))
        .filter(cores::status.eq(Status::Suspended.as_str()))
        .filter(cores::last_error.is_not_null())
        .select((cores::id, cores::last_error));
    let suspended: Vec<(String, Option<Value>)> = with!(tx, c => query.load(c).await)?;
    let waiting = suspended.into_iter().filter(|(_, why)| {
        let code = why.as_ref().and_then(|why| why["code"].as_str());
        code.is_some_and(|code| reasons.contains(&code))
    });
    let mut released = Vec::new();
    for (id, _) in waiting {
        let update = diesel::update(cores::table.find(id.clone()))
            .filter(cores::tenant_id.eq(tenant.clone()))
            .filter(cores::status.eq(Status::Suspended.as_str()))
            .set((
                cores::status.eq(Status::Running.as_str()),
                cores::last_error.eq(None::<Value>),
                cores::revision.eq(cores::revision + 1),
                cores::updated_at.eq(Stamp(at)),
            ));
        if with!(tx, c => update.execute(c).await)? == 1 {
            released.push(column("cores", "id", &id, &id)?);
        }
    }
    Ok(released)
}
