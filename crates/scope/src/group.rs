//! Groups: several users of a tenant under one name, so that they can be asked together.

use crate::{GroupId, Instant, Name, Slug, TenantId};

/// A group of users of one tenant. It gives them nothing; it says who is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its identifier.
    pub id: GroupId,
    /// The tenant that it belongs to.
    pub tenant_id: TenantId,
    /// Its name for programs, unique in the tenant. It never changes: programs are written with it.
    pub slug: Slug,
    /// Its name for people.
    pub name: Name,
    /// Counts the changes, those of its membership too, from 1; what an entity tag is made of.
    pub revision: i64,
    /// When it was made.
    pub created_at: Instant,
    /// When it, or its membership, was last changed.
    pub updated_at: Instant,
}

impl Group {
    /// The most users that a group has.
    pub const MAX_MEMBERS: usize = 1000;
    /// The most groups that a user is in. Every request of theirs carries them.
    pub const MAX_OF_USER: usize = 200;
}

/// What is to be changed of a group itself; what is left out stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupChanges {
    /// The new name.
    pub name: Option<Name>,
}

/// A group as its members carry it, by both names that it can be meant by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The group.
    pub id: GroupId,
    /// Its slug.
    pub slug: Slug,
}
