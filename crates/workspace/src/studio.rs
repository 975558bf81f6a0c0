//! The prompt studio: who may try out what AIs are told.

use std::fmt;
use std::str::FromStr;

use scaigrid_scope::{CustomRoleId, GroupId, Role, Roles, UserId};
use serde_json::{Value, json};

/// A role that opens the studio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AllowedRole {
    /// One of the platform's.
    BuiltIn(Role),
    /// One of the tenant's own.
    Custom(CustomRoleId),
}

impl fmt::Display for AllowedRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(role) => role.fmt(f),
            Self::Custom(id) => id.fmt(f),
        }
    }
}

/// A text that names no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a built-in role or a custom role's id")]
pub struct UnknownRole;

impl FromStr for AllowedRole {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let built_in = text.parse().map(Self::BuiltIn);
        built_in.or_else(|_| text.parse().map(Self::Custom)).map_err(|_| UnknownRole)
    }
}

/// Who may use the studio while it is switched on. With no entry at all it is everybody who may use models; entries narrow that.
/// Whoever runs the tenant may in any case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowLists {
    /// Holders of these roles.
    pub roles: Vec<AllowedRole>,
    /// Members of these groups.
    pub groups: Vec<GroupId>,
    /// These users.
    pub users: Vec<UserId>,
}

/// The studio as a tenant has set it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PromptStudio {
    /// Whether it is switched on.
    pub enabled: bool,
    /// Who may use it then.
    pub allowed: AllowLists,
}

/// What must be known of somebody to tell whether the studio is open to them.
#[derive(Debug, Clone, Copy)]
pub struct Visitor<'a> {
    /// Who it is.
    pub user_id: UserId,
    /// Whether they run the tenant.
    pub administers: bool,
    /// The built-in roles that they have in the tenant.
    pub roles: Roles,
    /// The tenant's own roles that they hold.
    pub custom_roles: &'a [CustomRoleId],
    /// The groups that they are in.
    pub groups: &'a [GroupId],
}

scaigrid_scope::text_enum! {
    /// Why the studio is open to somebody, or is not.
    pub enum Reason {
        /// It is open.
        Allowed => "allowed",
        /// It is switched off.
        Disabled => "disabled",
        /// Neither they nor a group or a role of theirs is listed.
        NotListed => "not_listed",
    }
}

/// Whether the studio is open to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Whether it is.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
}

impl From<Reason> for Access {
    fn from(reason: Reason) -> Self {
        Self { allowed: reason == Reason::Allowed, reason }
    }
}

impl AllowLists {
    /// The most entries of a list.
    pub const MAX_ENTRIES: usize = 200;

    /// Whether nobody is named.
    pub fn are_empty(&self) -> bool {
        self.roles.is_empty() && self.groups.is_empty() && self.users.is_empty()
    }

    /// Whether somebody is named, by themselves, a group or a role.
    pub fn name(&self, visitor: &Visitor<'_>) -> bool {
        let holds = |role: &AllowedRole| match role {
            AllowedRole::BuiltIn(role) => visitor.roles.contains(*role),
            AllowedRole::Custom(id) => visitor.custom_roles.contains(id),
        };
        self.users.contains(&visitor.user_id)
            || self.groups.iter().any(|group| visitor.groups.contains(group))
            || self.roles.iter().any(holds)
    }

    /// As they are kept, and shown.
    pub fn document(&self) -> Value {
        let roles: Vec<String> = self.roles.iter().map(ToString::to_string).collect();
        let groups: Vec<String> = self.groups.iter().map(ToString::to_string).collect();
        let users: Vec<String> = self.users.iter().map(ToString::to_string).collect();
        json!({"allowed_roles": roles, "allowed_groups": groups, "allowed_users": users})
    }

    /// Those that a document holds. What names nothing any more is left out.
    pub fn of_document(document: &Value) -> Self {
        fn each<T: FromStr>(texts: &Value) -> Vec<T> {
            let texts = texts.as_array().map(Vec::as_slice).unwrap_or_default();
            texts.iter().filter_map(|text| text.as_str()?.parse().ok()).collect()
        }
        let of = |name: &str| document.get(name).unwrap_or(&Value::Null);
        Self {
            roles: each(of("allowed_roles")),
            groups: each(of("allowed_groups")),
            users: each(of("allowed_users")),
        }
    }
}

impl PromptStudio {
    /// Whether the studio is open to somebody.
    pub fn may(&self, visitor: &Visitor<'_>) -> Access {
        let open = visitor.administers || self.allowed.are_empty() || self.allowed.name(visitor);
        match (self.enabled, open) {
            (false, _) => Reason::Disabled.into(),
            (true, true) => Reason::Allowed.into(),
            (true, false) => Reason::NotListed.into(),
        }
    }

    /// As it is shown.
    pub fn document(&self) -> Value {
        let mut document = self.allowed.document();
        if let Value::Object(fields) = &mut document {
            fields.insert("enabled".to_owned(), self.enabled.into());
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    fn visitor<'a>(custom_roles: &'a [CustomRoleId], groups: &'a [GroupId]) -> Visitor<'a> {
        Visitor {
            user_id: UserId::from_ulid(Ulid(1)),
            administers: false,
            roles: Roles::NONE.with(Role::TenantUser),
            custom_roles,
            groups,
        }
    }

    fn studio(allowed: AllowLists) -> PromptStudio {
        PromptStudio { enabled: true, allowed }
    }

    #[test]
    fn off_is_off_for_everybody() {
        let off = PromptStudio::default();
        let admin = Visitor { administers: true, ..visitor(&[], &[]) };
        assert_eq!(off.may(&admin), Access { allowed: false, reason: Reason::Disabled });
    }

    #[test]
    fn without_entries_it_is_open_and_entries_narrow() {
        let someone = visitor(&[], &[]);
        assert!(studio(AllowLists::default()).may(&someone).allowed);
        let other = UserId::from_ulid(Ulid(2));
        let narrow = studio(AllowLists { users: vec![other], ..AllowLists::default() });
        assert_eq!(narrow.may(&someone).reason, Reason::NotListed);
        assert!(narrow.may(&Visitor { user_id: other, ..someone }).allowed);
        assert!(narrow.may(&Visitor { administers: true, ..someone }).allowed);
    }

    #[test]
    fn a_role_or_a_group_is_enough() {
        let (role, group) = (CustomRoleId::from_ulid(Ulid(3)), GroupId::from_ulid(Ulid(4)));
        let by = |roles: &[AllowedRole], groups: &[GroupId], who: &Visitor<'_>| {
            let lists = AllowLists { roles: roles.into(), groups: groups.into(), users: Vec::new() };
            studio(lists).may(who).allowed
        };
        let (nobody, holder) = (visitor(&[], &[]), [role]);
        assert!(by(&[AllowedRole::BuiltIn(Role::TenantUser)], &[], &nobody));
        assert!(!by(&[AllowedRole::BuiltIn(Role::TenantViewer)], &[], &nobody));
        assert!(by(&[AllowedRole::Custom(role)], &[], &visitor(&holder, &[])));
        assert!(!by(&[AllowedRole::Custom(role)], &[], &nobody));
        assert!(by(&[], &[group], &visitor(&[], &[group])));
        assert!(!by(&[], &[group], &nobody));
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let lists = AllowLists {
            roles: vec![
                AllowedRole::BuiltIn(Role::TenantUser),
                AllowedRole::Custom(CustomRoleId::from_ulid(Ulid(3))),
            ],
            groups: vec![GroupId::from_ulid(Ulid(4))],
            users: vec![UserId::from_ulid(Ulid(5))],
        };
        assert_eq!(AllowLists::of_document(&lists.document()), lists);
        assert_eq!(AllowLists::of_document(&Value::Null), AllowLists::default());
        assert_eq!(studio(lists).document()["enabled"], true);
    }
}
