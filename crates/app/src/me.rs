//! Who the caller is, as the platform sees them.

use std::sync::Arc;

use scaigrid_persistence::{partners, tenants};
use scaigrid_scope::{LevelScope, Name, PartnerId, Principal, Slug, TenantId};

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
    pub async fn me(&self, caller: &Arc<Principal>) -> Result<Me, Error> {
        let scope = caller.tenant_scope();
        let mut connection = self.0.database.read().await?;
        let tenant = tenants::lookup(&mut connection, LevelScope::Tenant(scope), scope.tenant_id()).await?;
        let tenant = tenant.ok_or(Error::NotFound(Resource::Tenant))?;
        let partner = partners::lookup(&mut connection, self.0.system.partner(tenant.partner_id)).await?;
        let partner = partner.ok_or(Error::NotFound(Resource::Partner))?;
        Ok(Me {
            principal: Arc::clone(caller),
            tenant: Named { id: tenant.id, slug: tenant.slug, name: tenant.name },
            partner: Named { id: partner.id, slug: partner.slug, name: partner.name },
        })
    }
}
