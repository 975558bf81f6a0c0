//! Who may do what with a checkpoint.

use scaigrid_scope::{Permission, Principal, Role};

use crate::assignee::{Assignee, GroupRef, UserRef};

/// What a principal may do with a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Nothing: to them it does not exist.
    Hidden,
    /// Look at it.
    See,
    /// Resolve, cancel and reassign it.
    Act,
}

/// Every assignee that means this principal: their inbox is the pending checkpoints with one of these. For those who
/// run the tenant that includes its admins' and what is addressed to no one.
pub fn assignees_of(principal: &Principal) -> Vec<Assignee> {
    let user = principal.user_id();
    let mut assignees = vec![
        Assignee::User(UserRef::Id(user)),
        Assignee::User(UserRef::Email(principal.email().clone())),
        Assignee::DelegatedUser(user),
    ];
    for group in principal.groups() {
        // A program may have named the group by either, and before there was one.
        assignees.push(Assignee::Group(GroupRef::Id(group.id)));
        assignees.push(Assignee::Group(GroupRef::Slug(group.slug.clone())));
    }
    assignees.extend(principal.roles().iter().map(Assignee::Role));
    if principal.administers_tenant() {
        // Who stands above the tenant's admins is one of them, in whatever tenant they act.
        let admins = Assignee::Role(Role::TenantAdmin);
        if !assignees.contains(&admins) {
            assignees.push(admins);
        }
        assignees.push(Assignee::Unrouted);
    }
    assignees
}

/// What a principal may do with a checkpoint of the tenant that they act in, by whom it asks.
///
/// To act, one must be asked, or run the tenant, and hold `scaicore:checkpoint_resolve`. To see it, one must be
/// asked, or hold that permission or `scaicore:view`.
pub(crate) fn access(principal: &Principal, assignee: &Assignee) -> Access {
    let asked = principal.administers_tenant() || assignees_of(principal).contains(assignee);
    let holds = |permission| principal.permissions().contains(permission);
    if asked && holds(Permission::ScaicoreCheckpointResolve) {
        Access::Act
    } else if asked || holds(Permission::ScaicoreCheckpointResolve) || holds(Permission::ScaicoreView) {
        Access::See
    } else {
        Access::Hidden
    }
}
