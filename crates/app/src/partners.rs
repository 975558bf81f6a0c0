//! Partners: who owns tenants, and how far they may grow.
//!
//! The platform's admins make partners and set their limits and status; a partner's admins see their own and may change
//! what it is called and where it is reached.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_persistence::{self as persistence, Transaction, audit, partners};
use scaigrid_scope::{
    AuthorizedAtLevel, CoreId, Email, Level, LevelScope, Name, Partner, PartnerChanges, PartnerId,
    PartnerLimits, PartnerScope, PartnerStatus, Permission, PlatformScope, Role, Slug, perm,
};
use serde_json::{Value, json};

use crate::page::{Cursor, Page, PageRequest};
use crate::transaction::{Expected, check_expected, ended, written};
use crate::{App, Error, Resource};

pub use scaigrid_persistence::partners::PartnerFilter;

/// A partner as it is asked for.
#[derive(Debug, Clone)]
pub struct NewPartner {
    /// Its slug.
    pub slug: Slug,
    /// What people call it.
    pub name: Name,
    /// Where its operator is reached.
    pub contact_email: Option<Email>,
    /// Whether its tenants may work.
    pub status: PartnerStatus,
    /// How far it may grow.
    pub limits: PartnerLimits,
}

/// A partner as the audit log tells of it.
pub(crate) fn state(partner: &Partner) -> Value {
    json!({
        "slug": partner.slug.as_str(),
        "name": partner.name.as_str(),
        "contact_email": partner.contact_email.as_ref().map(Email::as_str),
        "status": partner.status.as_str(),
        "limits": {
            "max_tenants": partner.limits.max_tenants,
            "max_users_per_tenant": partner.limits.max_users_per_tenant,
        },
    })
}

/// The refusal of someone who administers, but not that high.
pub(crate) fn above(level: &'static str) -> Error {
    let permission = Permission::AdminAccess.as_str();
    Error::PermissionDenied { permission: format!("{permission} at the level of the {level}").into() }
}

fn platform(caller: &AuthorizedAtLevel<perm::AdminAccess>) -> Result<PlatformScope, Error> {
    caller.platform().ok_or_else(|| above("platform"))
}

/// The right to a partner's own affairs: a super admin has it to all, a partner's admin to their own.
fn reach(caller: &AuthorizedAtLevel<perm::AdminAccess>, id: PartnerId) -> Result<PartnerScope, Error> {
    match caller.level_scope() {
        LevelScope::Platform(platform) => Ok(platform.partner(id)),
        LevelScope::Partner(own) if own.partner_id() == id => Ok(own),
        LevelScope::Partner(_) => Err(Error::NotFound(Resource::Partner)),
        LevelScope::Tenant(_) => Err(above("partner")),
    }
}

impl App {
    /// Whether the caller may add partners, to be told before anything is said of what they ask for.
    pub fn may_create_partners(caller: &AuthorizedAtLevel<perm::AdminAccess>) -> Result<(), Error> {
        platform(caller).map(drop)
    }

    /// The partners that the caller sees, newest first: a partner's admin sees their own.
    #[boxed]
    pub async fn partners(
        &self,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        filter: &PartnerFilter,
        page: &PageRequest,
    ) -> Result<Page<Partner>, Error> {
        let mut connection = self.0.database.read().await?;
        let platform = match caller.level_scope() {
            LevelScope::Platform(platform) => platform,
            LevelScope::Partner(own) => {
                let partner = partners::lookup(&mut connection, own).await?;
                let shown =
                    partner.filter(|partner| filter.status.is_none_or(|status| partner.status == status));
                let items = shown.filter(|_| page.cursor.is_none()).into_iter().collect();
                return Ok(Page { items, next: None });
            }
            LevelScope::Tenant(_) => return Err(above("partner")),
        };
        let rows = partners::list(&mut connection, platform, filter, page.after()?, page.rows()).await?;
        Ok(Page::of_rows(rows, page, |partner| Cursor::new([partner.id.to_string().into()])))
    }

    /// A partner.
    #[boxed]
    pub async fn partner(
        &self,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        id: PartnerId,
    ) -> Result<Partner, Error> {
        let scope = reach(caller, id)?;
        let mut connection = self.0.database.read().await?;
        partners::lookup(&mut connection, scope).await?.ok_or(Error::NotFound(Resource::Partner))
    }

    /// Adds a partner.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] for all but super admins at their own level, [`Error::SlugConflict`].
    #[boxed]
    pub async fn create_partner(
        &self,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        request: &RequestContext,
        new: NewPartner,
    ) -> Result<Partner, Error> {
        let scope = platform(caller)?;
        let mut tx = self.0.database.begin().await?;
        let created = self.add_partner(&mut tx, scope, caller, request, new).await;
        let created = ended(tx, created).await?;
        self.people_changed();
        Ok(created)
    }

    async fn add_partner(
        &self,
        tx: &mut Transaction,
        scope: PlatformScope,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        request: &RequestContext,
        new: NewPartner,
    ) -> Result<Partner, Error> {
        let now = self.now();
        let partner = Partner {
            id: PartnerId::from_ulid(self.0.ids.draw(now)),
            slug: new.slug,
            name: new.name,
            contact_email: new.contact_email,
            status: new.status,
            limits: new.limits,
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        partners::add(tx, scope, &partner).await.map_err(|error| match error {
            persistence::Error::Duplicate(_) => Error::slug_taken(&partner.slug),
            other => other.into(),
        })?;
        let record = AuditRecord {
            partner_id: Some(partner.id),
            ..AuditRecord::at_level(
                self.audit_stamp(now),
                caller,
                request,
                AuditAction::PartnerCreate,
                partner.id.to_string(),
                diff(&Value::Null, &state(&partner), &[]),
            )
        };
        audit::add(tx, &record).await?;
        Ok(partner)
    }

    /// Changes a partner. Its status counts at once: a suspended partner's tenants are refused and their Cores stand
    /// still.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`], and [`Error::PermissionDenied`] when a partner's admin names
    /// limits or status.
    pub async fn update_partner(
        &self,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        request: &RequestContext,
        id: PartnerId,
        expected: Expected<'_>,
        changes: PartnerChanges,
    ) -> Result<Partner, Error> {
        let scope = reach(caller, id)?;
        let reserved = changes.status.is_some() || changes.limits.is_some();
        if reserved && !caller.identity().roles.contains(Role::SuperAdmin) {
            return Err(above("platform"));
        }
        let mut tx = self.0.database.begin().await?;
        let after = self.change_partner(&mut tx, scope, caller, request, expected, changes).await;
        let (partner, cores) = ended(tx, after).await?;
        self.people_changed();
        self.cores_moved(&cores);
        Ok(partner)
    }

    async fn change_partner(
        &self,
        tx: &mut Transaction,
        scope: PartnerScope,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        request: &RequestContext,
        expected: Expected<'_>,
        changes: PartnerChanges,
    ) -> Result<(Partner, Vec<CoreId>), Error> {
        let now = self.now();
        let before = partners::lock(tx, scope).await?.ok_or(Error::NotFound(Resource::Partner))?;
        check_expected(expected, before.revision)?;
        let mut after = before.clone();
        let PartnerChanges { name, contact_email, status, limits } = changes.clone();
        after.name = name.unwrap_or(after.name);
        after.contact_email = contact_email.unwrap_or(after.contact_email);
        after.status = status.unwrap_or(after.status);
        after.limits = limits.unwrap_or(after.limits);
        if after == before {
            return Ok((before, Vec::new()));
        }
        written(partners::update(tx, scope, None, &changes, now).await?, Resource::Partner)?;
        (after.revision, after.updated_at) = (before.revision + 1, now);
        let record = AuditRecord {
            partner_id: Some(before.id),
            ..AuditRecord::at_level(
                self.audit_stamp(now),
                caller,
                request,
                AuditAction::PartnerUpdate,
                before.id.to_string(),
                diff(&state(&before), &state(&after), &[]),
            )
        };
        audit::add(tx, &record).await?;
        let cores = if after.status == before.status {
            Vec::new()
        } else {
            self.settle_cores(tx, Level::Partner(before.id), caller, request).await?
        };
        Ok((after, cores))
    }
}
