//! Who the caller is, as the platform sees them.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use scaigrid_persistence::{custom_roles, partners, tenants};
use scaigrid_scope::{CustomRoleId, LevelScope, Name, PartnerId, Principal, Slug, TenantId};

use crate::{App, Error, Resource};

/// The caller, and the place that they act at by its names.
#[derive(Debug, Clone)]
pub struct Me {
    /// Who, where, and what they may do there.
    pub principal: Arc<Principal>,
    /// The tenant that they act in.
    pub tenant: Named<TenantId>,
    /// The partner of that tenant.
    pub partner: Named<PartnerId>,
    /// The custom roles of that tenant that they hold.
    pub custom_roles: Vec<Named<CustomRoleId>>,
}

/// Something by its names.
#[derive(Debug, Clone)]
pub struct Named<T> {
    /// Its identifier.
    pub id: T,
    /// Its slug.
    pub slug: Slug,
    /// What people call it.
    pub name: Name,
}

impl App {
    /// Who the caller is.
    #[boxed]
    pub async fn me(&self, caller: &Arc<Principal>) -> Result<Me, Error> {
        let scope = caller.tenant_scope();
        let mut connection = self.0.database.read().await?;
        let tenant = tenants::lookup(&mut connection, LevelScope::Tenant(scope), scope.tenant_id()).await?;
        let tenant = tenant.ok_or(Error::NotFound(Resource::Tenant))?;
        let partner = partners::lookup(&mut connection, self.0.system.partner(tenant.partner_id)).await?;
        let partner = partner.ok_or(Error::NotFound(Resource::Partner))?;
        // Whoever lives elsewhere holds none of this tenant's roles, and is not found among their holders.
        let held = custom_roles::held_by(&mut connection, scope, &[caller.user_id()]).await?;
        let held = held.into_values().next().unwrap_or_default();
        let custom_roles = if held.is_empty() {
            Vec::new()
        } else {
            custom_roles::find_all(&mut connection, scope, &held).await?
        };
        let named = custom_roles.into_iter();
        let custom_roles =
            named.map(|role| Named { id: role.id, slug: role.slug, name: role.name }).collect();
        Ok(Me {
            custom_roles,
            principal: Arc::clone(caller),
            tenant: Named { id: tenant.id, slug: tenant.slug, name: tenant.name },
            partner: Named { id: partner.id, slug: partner.slug, name: partner.name },
        })
    }
}
