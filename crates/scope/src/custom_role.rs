//! Roles that a tenant makes for itself, beside the built-in ones.

use crate::{CustomRoleId, Description, Instant, Name, Permissions, Slug, TenantId, UserId};

/// A role of one tenant: permissions that are given together. It adds to what its holders have and takes nothing away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomRole {
    /// Its identifier.
    pub id: CustomRoleId,
    /// The tenant that it belongs to.
    pub tenant_id: TenantId,
    /// Its name for programs, unique in the tenant; it never changes.
    pub slug: Slug,
    /// Its name for people.
    pub name: Name,
    /// What it is for, if that was said.
    pub description: Option<Description>,
    /// What it gives, in its tenant only.
    pub permissions: Permissions,
    /// Who made it.
    pub created_by: UserId,
    /// Counts the changes, from 1; what an entity tag is made of.
    pub revision: i64,
    /// When it was made.
    pub created_at: Instant,
    /// When it was last changed.
    pub updated_at: Instant,
}

impl CustomRole {
    /// The most permissions that a role gives, and that are granted to a user directly.
    pub const MAX_PERMISSIONS: usize = 200;
    /// The most custom roles that a user has.
    pub const MAX_OF_USER: usize = 20;
}

/// What is to be changed of a custom role; what is left out stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CustomRoleChanges {
    /// The new name.
    pub name: Option<Name>,
    /// The new description, or none from now on.
    pub description: Option<Option<Description>>,
    /// What it gives from now on, all of it.
    pub permissions: Option<Permissions>,
}
