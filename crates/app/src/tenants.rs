//! Tenants: made by the partner that owns them, or by the platform.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_persistence::{self as persistence, Transaction, audit, partners, tenants};
use scaigrid_scope::{
    AuthorizedAtLevel, CoreId, Features, Level, LevelScope, Name, PartnerId, PartnerScope, Role, Slug,
    Tenant, TenantChanges, TenantId, TenantLimits, TenantScope, TenantStatus, perm,
};
use serde_json::{Value, json};

use crate::bootstrap::FIRST_PARTNER;
use crate::page::{Cursor, Page, PageRequest};
use crate::partners::above;
use crate::transaction::{Expected, check_expected, ended, written};
use crate::{App, Error, Resource};

pub use scaigrid_persistence::tenants::TenantFilter;

/// A tenant as it is asked for.
#[derive(Debug, Clone)]
pub struct NewTenant {
    /// Its slug, unique on the whole platform.
    pub slug: Slug,
    /// What people call it.
    pub name: Name,
    /// The partner that will own it; left out, the one at whose level the caller acts, or the platform's own.
    pub partner_id: Option<PartnerId>,
    /// Its identifier at the identity provider.
    pub scaikey_tenant_id: Option<Name>,
    /// How far it may grow.
    pub limits: TenantLimits,
    /// Which features are switched on for it.
    pub features: Features,
}

/// A tenant as the audit log tells of it.
pub(crate) fn state(tenant: &Tenant) -> Value {
    let limits = &tenant.limits;
    json!({
        "slug": tenant.slug.as_str(),
        "name": tenant.name.as_str(),
        "partner_id": tenant.partner_id,
        "status": tenant.status.as_str(),
        "scaikey_tenant_id": tenant.scaikey_tenant_id.as_ref().map(Name::as_str),
        "limits": {
            "max_users": limits.max_users,
            "max_cores": limits.max_cores,
            "max_participants": limits.max_participants,
            "max_rooms": limits.max_rooms,
            "max_storage_bytes": limits.max_storage_bytes,
            "monthly_ai_tokens": limits.monthly_ai_tokens,
            "max_queued_executions": limits.max_queued_executions,
            "execution_retention_days": limits.execution_retention_days,
        },
        "features": tenant.features.as_map(),
    })
}

/// Tenants are administered from above them.
fn above_tenants(caller: &AuthorizedAtLevel<perm::AdminAccess>) -> Result<LevelScope, Error> {
    match caller.level_scope() {
        LevelScope::Tenant(_) => Err(above("partner")),
        scope => Ok(scope),
    }
}

impl App {
    /// Whether the caller administers tenants at all, to be told before anything is said of what they ask for.
    pub fn may_administer_tenants(caller: &AuthorizedAtLevel<perm::AdminAccess>) -> Result<(), Error> {
        above_tenants(caller).map(drop)
    }

    /// The tenants under the caller, newest first.
    #[boxed]
    pub async fn tenants(
        &self,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        filter: &TenantFilter,
        page: &PageRequest,
    ) -> Result<Page<Tenant>, Error> {
        let scope = above_tenants(caller)?;
        let mut connection = self.0.database.read().await?;
        let rows = tenants::list(&mut connection, scope, filter, page.after()?, page.rows()).await?;
        Ok(Page::of_rows(rows, page, |tenant| Cursor::new([tenant.id.to_string().into()])))
    }

    /// A tenant under the caller.
    #[boxed]
    pub async fn tenant(
        &self,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        id: TenantId,
    ) -> Result<Tenant, Error> {
        let scope = above_tenants(caller)?;
        let mut connection = self.0.database.read().await?;
        tenants::lookup(&mut connection, scope, id).await?.ok_or(Error::NotFound(Resource::Tenant))
    }

    /// Adds a tenant: a partner's admin to their partner, a super admin to any.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] for those who act in a tenant, [`Error::NotFound`] for a partner that is not the
    /// caller's, [`Error::Capacity`] when the partner may have no more, [`Error::SlugConflict`].
    #[boxed]
    pub async fn create_tenant(
        &self,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        request: &RequestContext,
        new: NewTenant,
    ) -> Result<Tenant, Error> {
        let mut tx = self.0.database.begin().await?;
        let created = self.add_tenant(&mut tx, caller, request, new).await;
        let created = ended(tx, created).await?;
        self.people_changed();
        Ok(created)
    }

    async fn add_tenant(
        &self,
        tx: &mut Transaction,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        request: &RequestContext,
        new: NewTenant,
    ) -> Result<Tenant, Error> {
        let now = self.now();
        let owner = self.owner(tx, caller, new.partner_id).await?;
        // Whoever names a tenant to an issuer decides where that one's users go.
        if new.scaikey_tenant_id.is_some() && !caller.identity().roles.contains(Role::SuperAdmin) {
            return Err(above("platform"));
        }
        // Whoever adds a tenant holds the partner meanwhile, so that two do not both take the last place.
        let partner = partners::lock(tx, owner).await?.ok_or(Error::NotFound(Resource::Partner))?;
        if let Some(limit) = partner.limits.max_tenants {
            let present = tenants::count(tx, LevelScope::Partner(owner), &TenantFilter::default()).await?;
            if present >= i64::from(limit) {
                return Err(Error::Capacity { what: "tenants".into(), limit: limit.into() });
            }
        }
        let tenant = Tenant {
            id: TenantId::from_ulid(self.0.ids.draw(now)),
            partner_id: partner.id,
            slug: new.slug,
            name: new.name,
            status: TenantStatus::Active,
            scaikey_tenant_id: new.scaikey_tenant_id,
            limits: new.limits,
            features: new.features,
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        tenants::add(tx, owner, &tenant).await.map_err(|error| match error {
            persistence::Error::Duplicate(_) => Error::slug_taken(&tenant.slug),
            other => other.into(),
        })?;
        let record = AuditRecord {
            partner_id: Some(partner.id),
            ..AuditRecord::at_level(
                self.audit_stamp(now),
                caller,
                request,
                AuditAction::TenantCreate,
                tenant.id.to_string(),
                diff(&Value::Null, &state(&tenant), &[]),
            )
        };
        audit::add(tx, &record).await?;
        Ok(tenant)
    }

    /// The partner that a new tenant goes to.
    async fn owner(
        &self,
        tx: &mut Transaction,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        named: Option<PartnerId>,
    ) -> Result<PartnerScope, Error> {
        let missing = || Error::NotFound(Resource::Partner);
        match (above_tenants(caller)?, named) {
            (LevelScope::Platform(platform), Some(id)) => Ok(platform.partner(id)),
            (LevelScope::Platform(platform), None) => {
                let slug = Slug::parse(FIRST_PARTNER).map_err(Error::internal)?;
                let first = partners::find_by_slug(tx, platform, &slug).await?.ok_or_else(missing)?;
                Ok(platform.partner(first.id))
            }
            (LevelScope::Partner(own), named) if named.is_none_or(|id| id == own.partner_id()) => Ok(own),
            _ => Err(missing()),
        }
    }

    /// Changes a tenant. Its status counts at once: a suspended tenant's calls are refused and its Cores stand still.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn update_tenant(
        &self,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        request: &RequestContext,
        id: TenantId,
        expected: Expected<'_>,
        changes: TenantChanges,
    ) -> Result<Tenant, Error> {
        let above = above_tenants(caller)?;
        let mut tx = self.0.database.begin().await?;
        let after = self.change_tenant(&mut tx, above, id, caller, request, expected, changes).await;
        let (tenant, cores) = ended(tx, after).await?;
        self.people_changed();
        self.cores_moved(&cores);
        Ok(tenant)
    }

    #[expect(clippy::too_many_arguments, reason = "the transaction, and what its one caller was given")]
    async fn change_tenant(
        &self,
        tx: &mut Transaction,
        above: LevelScope,
        id: TenantId,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        request: &RequestContext,
        expected: Expected<'_>,
        changes: TenantChanges,
    ) -> Result<(Tenant, Vec<CoreId>), Error> {
        let now = self.now();
        let missing = || Error::NotFound(Resource::Tenant);
        let seen = tenants::lookup(tx, above, id).await?.ok_or_else(missing)?;
        let scope: TenantScope = match above {
            LevelScope::Platform(platform) => platform.tenant(id),
            LevelScope::Partner(own) => own.tenant(id, seen.partner_id).ok_or_else(missing)?,
            LevelScope::Tenant(scope) => scope,
        };
        let before = tenants::lock(tx, scope).await?.ok_or_else(missing)?;
        check_expected(expected, before.revision)?;
        let mut after = before.clone();
        let TenantChanges { name, status, scaikey_tenant_id, limits, features } = changes.clone();
        after.name = name.unwrap_or(after.name);
        after.status = status.unwrap_or(after.status);
        after.scaikey_tenant_id = scaikey_tenant_id.unwrap_or(after.scaikey_tenant_id);
        after.limits = limits.unwrap_or(after.limits);
        after.features = features.unwrap_or(after.features);
        if after == before {
            return Ok((before, Vec::new()));
        }
        let renamed = after.scaikey_tenant_id != before.scaikey_tenant_id;
        if renamed && !caller.identity().roles.contains(Role::SuperAdmin) {
            return Err(crate::partners::above("platform"));
        }
        written(tenants::update(tx, scope, None, &changes, now).await?, Resource::Tenant)?;
        (after.revision, after.updated_at) = (before.revision + 1, now);
        let record = AuditRecord {
            tenant_id: Some(id),
            partner_id: Some(before.partner_id),
            ..AuditRecord::at_level(
                self.audit_stamp(now),
                caller,
                request,
                AuditAction::TenantUpdate,
                id.to_string(),
                diff(&state(&before), &state(&after), &[]),
            )
        };
        audit::add(tx, &record).await?;
        let cores = if after.status == before.status {
            Vec::new()
        } else {
            self.settle_cores(tx, Level::Tenant(id), caller, request).await?
        };
        Ok((after, cores))
    }
}
