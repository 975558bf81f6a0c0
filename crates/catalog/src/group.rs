//! Groups of models.

use scaigrid_scope::{Instant, Level, ModelGroupId, Name, Slug, text_enum};

text_enum! {
    /// Which tenants a group shows its models to.
    pub enum GroupScope {
        /// All.
        Global => "global",
        /// Those of one partner.
        Partner => "partner",
        /// One.
        Tenant => "tenant",
    }
}

impl GroupScope {
    /// The scope that groups of a level have.
    pub const fn of_level(level: Level) -> Self {
        match level {
            Level::Platform => Self::Global,
            Level::Partner(_) => Self::Partner,
            Level::Tenant(_) => Self::Tenant,
        }
    }
}

/// A group of models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelGroup {
    /// Its identifier.
    pub id: ModelGroupId,
    /// At which level it was made; the tenants at and below it are those that it shows its models to.
    pub owner: Level,
    /// Its slug, unique at its level.
    pub slug: Slug,
    /// What people call it.
    pub name: Name,
    /// Counts the changes, its members included, from 1.
    pub revision: i64,
    /// When it was made.
    pub created_at: Instant,
    /// When it was last changed.
    pub updated_at: Instant,
}

impl ModelGroup {
    /// The most models that one may hold.
    pub const MAX_MODELS: usize = 500;

    /// Which tenants it shows its models to.
    pub const fn scope(&self) -> GroupScope {
        GroupScope::of_level(self.owner)
    }
}
