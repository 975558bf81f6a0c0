//! Partners: who owns tenants.

use crate::{Email, Instant, Name, PartnerId, PartnerStatus, Slug};

/// A reseller or a division that owns tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partner {
    /// Its identifier.
    pub id: PartnerId,
    /// Its slug; no two partners have the same.
    pub slug: Slug,
    /// What people call it.
    pub name: Name,
    /// Where its operator is reached.
    pub contact_email: Option<Email>,
    /// Whether its tenants may work.
    pub status: PartnerStatus,
    /// How far it may grow.
    pub limits: PartnerLimits,
    /// Counts the changes, from 1; what an entity tag is made of.
    pub revision: i64,
    /// When it was added.
    pub created_at: Instant,
    /// When it was last changed.
    pub updated_at: Instant,
}

/// How far a partner may grow. What is left out has no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartnerLimits {
    /// How many tenants it may own, the suspended ones included.
    pub max_tenants: Option<u32>,
    /// How many users each of its tenants may have.
    pub max_users_per_tenant: Option<u32>,
}

/// What is to be changed of a partner; what is left out stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartnerChanges {
    /// The new name.
    pub name: Option<Name>,
    /// The new address, or none from now on.
    pub contact_email: Option<Option<Email>>,
    /// The new status.
    pub status: Option<PartnerStatus>,
    /// The new limits, all of them.
    pub limits: Option<PartnerLimits>,
}
