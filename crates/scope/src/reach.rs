//! Levels, and the tokens that stand for a reach that has been earned.
//!
//! The persistence functions of tenant data take a [`TenantScope`]. It has no public constructor: it comes from a
//! principal that acts in that tenant, or from the one [`SystemScope`] of the process.

use crate::{PartnerId, TenantId};

/// Where a caller acts, for what exists at every level (module state and configuration, the catalogue).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// The whole platform.
    Platform,
    /// One partner.
    Partner(PartnerId),
    /// One tenant.
    Tenant(TenantId),
}

/// The right to touch the data of one tenant.
///
/// Knowing the tenant's id is not enough to have it:
///
/// ```compile_fail,E0624
/// # let id: scaigrid_scope::TenantId = "ten_01J00000000000000000000000".parse().unwrap();
/// scaigrid_scope::TenantScope::new(id);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TenantScope(TenantId);

impl TenantScope {
    pub(crate) const fn new(tenant: TenantId) -> Self {
        Self(tenant)
    }

    /// The tenant.
    pub const fn tenant_id(self) -> TenantId {
        self.0
    }
}

/// The right to touch what belongs to one partner itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartnerScope(PartnerId);

impl PartnerScope {
    pub(crate) const fn new(partner: PartnerId) -> Self {
        Self(partner)
    }

    /// The partner.
    pub const fn partner_id(self) -> PartnerId {
        self.0
    }

    /// The scope of a tenant, given the partner that it is known to belong to; `None` if that is another one.
    pub fn tenant(self, tenant: TenantId, its_partner: PartnerId) -> Option<TenantScope> {
        (its_partner == self.0).then_some(TenantScope(tenant))
    }
}

/// The right to touch what belongs to the platform, and whatever is under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlatformScope(());

impl PlatformScope {
    pub(crate) const fn new() -> Self {
        Self(())
    }

    /// The scope of any tenant.
    pub const fn tenant(self, tenant: TenantId) -> TenantScope {
        TenantScope(tenant)
    }

    /// The scope of any partner.
    pub const fn partner(self, partner: PartnerId) -> PartnerScope {
        PartnerScope(partner)
    }
}

/// The right to act at the level where a caller acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LevelScope {
    /// At the platform's level.
    Platform(PlatformScope),
    /// At a partner's level.
    Partner(PartnerScope),
    /// In a tenant.
    Tenant(TenantScope),
}

impl From<TenantScope> for LevelScope {
    fn from(scope: TenantScope) -> Self {
        Self::Tenant(scope)
    }
}

impl LevelScope {
    pub(crate) const fn new(level: Level) -> Self {
        match level {
            Level::Platform => Self::Platform(PlatformScope(())),
            Level::Partner(partner) => Self::Partner(PartnerScope(partner)),
            Level::Tenant(tenant) => Self::Tenant(TenantScope(tenant)),
        }
    }

    /// The level as plain data.
    pub const fn level(self) -> Level {
        match self {
            Self::Platform(_) => Level::Platform,
            Self::Partner(scope) => Level::Partner(scope.0),
            Self::Tenant(scope) => Level::Tenant(scope.0),
        }
    }
}

/// The process acting for itself: first start, authentication, recovery, timers, sealing, administration from the
/// command line.
///
/// It reaches every tenant, so it is made once, where the process is put together, and handed only to what works in
/// the background. What serves a request must never hold one, except to find out who is calling.
#[derive(Debug, Clone)]
pub struct SystemScope(());

impl SystemScope {
    /// Makes the token. For the composition root and for tests.
    pub const fn for_the_process() -> Self {
        Self(())
    }

    /// The scope of the tenant that a piece of background work belongs to.
    pub const fn tenant(&self, tenant: TenantId) -> TenantScope {
        TenantScope(tenant)
    }

    /// The scope of the partner that a piece of background work belongs to.
    pub const fn partner(&self, partner: PartnerId) -> PartnerScope {
        PartnerScope(partner)
    }

    /// The scope of the platform.
    pub const fn platform(&self) -> PlatformScope {
        PlatformScope(())
    }
}
