//! Who is asked.

use std::fmt;

use scaigrid_scope::{Email, GroupId, Role, Slug, UserId, text_enum};

text_enum! {
    /// What kind of assignee it is.
    pub enum AssigneeKind {
        /// One user.
        User => "user",
        /// Any member of a group.
        Group => "group",
        /// Any holder of a role.
        Role => "role",
        /// The user who lent their identity to the Core.
        DelegatedUser => "delegated_user",
        /// No one in particular; the tenant's admins look after it.
        Unrouted => "unrouted",
    }
}

/// A user by id or by address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserRef {
    /// By id.
    Id(UserId),
    /// By address; the user may come later than the checkpoint.
    Email(Email),
}

/// A group by id or by slug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupRef {
    /// By id.
    Id(GroupId),
    /// By slug; the group may come later than the checkpoint.
    Slug(Slug),
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assignee {
    /// One user.
    User(UserRef),
    /// Any member of a group.
    Group(GroupRef),
    /// Any holder of a built-in role.
    Role(Role),
    /// The user who lent their identity to the Core.
    DelegatedUser(UserId),
    /// No one in particular.
    Unrouted,
}

/// A text that names an assignee of a known kind, but none that can exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAssignee {
    /// Neither a user id nor an e-mail address.
    #[error("expected user:<id or e-mail address>")]
    User,
    /// Neither a group id nor a slug.
    #[error("expected group:<id or slug>")]
    Group,
    /// Not a built-in role.
    #[error("expected role:<built-in role>")]
    Role,
    /// Something else before the colon.
    #[error("expected user:…, group:… or role:…")]
    Kind,
    /// Too long a text.
    #[error("an assignee has at most 512 bytes")]
    TooLong,
}

impl Assignee {
    /// Reads `user:…`, `group:…` or `role:…`. A text without a prefix, and none, means the delegated user if the
    /// Core has one, else no one in particular.
    pub fn parse(text: Option<&str>, delegated: Option<UserId>) -> Result<Self, InvalidAssignee> {
        let without_prefix = delegated.map_or(Self::Unrouted, Self::DelegatedUser);
        let Some(text) = text.map(str::trim) else { return Ok(without_prefix) };
        if text.len() > Routing::MAX_BYTES {
            return Err(InvalidAssignee::TooLong);
        }
        match text.split_once(':') {
            Some(("user", user)) => parse_user(user).map(Self::User).ok_or(InvalidAssignee::User),
            Some(("group", group)) => parse_group(group).map(Self::Group).ok_or(InvalidAssignee::Group),
            Some(("role", role)) => role.trim().parse().map(Self::Role).map_err(|_| InvalidAssignee::Role),
            Some(_) => Err(InvalidAssignee::Kind),
            None => Ok(without_prefix),
        }
    }

    /// Puts a stored assignee together again; `None` if the parts do not fit.
    pub fn from_stored(kind: AssigneeKind, value: Option<&str>) -> Option<Self> {
        match (kind, value) {
            (AssigneeKind::User, Some(value)) => parse_user(value).map(Self::User),
            (AssigneeKind::Group, Some(value)) => parse_group(value).map(Self::Group),
            (AssigneeKind::Role, Some(value)) => value.parse().ok().map(Self::Role),
            (AssigneeKind::DelegatedUser, Some(value)) => value.parse().ok().map(Self::DelegatedUser),
            (AssigneeKind::Unrouted, None) => Some(Self::Unrouted),
            _ => None,
        }
    }

    /// The kind.
    pub const fn kind(&self) -> AssigneeKind {
        match self {
            Self::User(_) => AssigneeKind::User,
            Self::Group(_) => AssigneeKind::Group,
            Self::Role(_) => AssigneeKind::Role,
            Self::DelegatedUser(_) => AssigneeKind::DelegatedUser,
            Self::Unrouted => AssigneeKind::Unrouted,
        }
    }

    /// The user, group or role, in the one spelling that it is stored and compared in.
    pub fn value(&self) -> Option<String> {
        match self {
            Self::User(UserRef::Id(id)) | Self::DelegatedUser(id) => Some(id.to_string()),
            Self::User(UserRef::Email(email)) => Some(email.to_string()),
            Self::Group(GroupRef::Id(id)) => Some(id.to_string()),
            Self::Group(GroupRef::Slug(slug)) => Some(slug.to_string()),
            Self::Role(role) => Some(role.to_string()),
            Self::Unrouted => None,
        }
    }
}

impl fmt::Display for Assignee {
    /// `kind:value`, or the kind alone where there is no value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value() {
            Some(value) => write!(f, "{}:{value}", self.kind()),
            None => write!(f, "{}", self.kind()),
        }
    }
}

fn parse_user(text: &str) -> Option<UserRef> {
    let text = text.trim();
    text.parse().map(UserRef::Id).ok().or_else(|| Email::parse(text).map(UserRef::Email).ok())
}

fn parse_group(text: &str) -> Option<GroupRef> {
    let text = text.trim();
    text.parse().map(GroupRef::Id).ok().or_else(|| Slug::parse(text).map(GroupRef::Slug).ok())
}

/// What a program or a person wrote, and whom that means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routing {
    /// The text, if there was one.
    pub raw: Option<String>,
    /// Whom it means.
    pub assignee: Assignee,
}

impl Routing {
    /// The greatest length of a text that names an assignee, in bytes.
    pub const MAX_BYTES: usize = 512;

    /// Routes by what a person wrote, who is told when it cannot be.
    pub fn parse(raw: &str, delegated: Option<UserId>) -> Result<Self, InvalidAssignee> {
        let assignee = Assignee::parse(Some(raw), delegated)?;
        Ok(Self { raw: Some(raw.to_owned()), assignee })
    }

    /// Routes by what a program computed. What cannot exist is left to the tenant's admins: the question must be put
    /// to someone, and the raw text shows them what went wrong.
    pub fn of_program(raw: Option<&str>, delegated: Option<UserId>) -> Self {
        let assignee = Assignee::parse(raw, delegated).unwrap_or(Assignee::Unrouted);
        let raw =
            raw.map(|raw| raw.get(..raw.floor_char_boundary(Self::MAX_BYTES)).unwrap_or(raw).to_owned());
        Self { raw, assignee }
    }

    /// Why the text of a program could not be read, where the tenant's admins are asked for that reason.
    pub fn unreadable(&self) -> Option<InvalidAssignee> {
        let raw = self.raw.as_deref().filter(|_| self.assignee == Assignee::Unrouted)?;
        Assignee::parse(Some(raw), None).err()
    }

    /// Whether whoever runs the tenant, or stands above it, is asked by what was written. Those are never found to be missing: the
    /// platform always has somebody.
    pub fn asks_those_above(&self) -> bool {
        match &self.assignee {
            Assignee::Role(role) => !matches!(role, Role::TenantUser | Role::TenantViewer),
            Assignee::Unrouted => self.unreadable().is_none(),
            Assignee::User(_) | Assignee::Group(_) | Assignee::DelegatedUser(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignees_are_read_stored_and_read_again() {
        let id = "01J00000000000000000000000";
        let delegated = format!("usr_{id}").parse().ok();
        for (text, kind, value) in [
            (format!("user:usr_{id}"), AssigneeKind::User, Some(format!("usr_{id}"))),
            ("user:alice@ACME".into(), AssigneeKind::User, Some("alice@acme".into())),
            (format!("group: grp_{id}"), AssigneeKind::Group, Some(format!("grp_{id}"))),
            ("group:approvers".into(), AssigneeKind::Group, Some("approvers".into())),
            ("role:tenant_admin".into(), AssigneeKind::Role, Some("tenant_admin".into())),
            ("the boss".into(), AssigneeKind::DelegatedUser, Some(format!("usr_{id}"))),
        ] {
            let assignee = Assignee::parse(Some(&text), delegated).unwrap();
            assert_eq!((assignee.kind(), assignee.value()), (kind, value.clone()), "{text}");
            assert_eq!(Assignee::from_stored(kind, value.as_deref()), Some(assignee));
        }
        assert_eq!(Assignee::parse(Some("the boss"), None), Ok(Assignee::Unrouted));
        assert_eq!(Assignee::parse(None, None), Ok(Assignee::Unrouted));
        assert_eq!(Assignee::from_stored(AssigneeKind::Unrouted, None), Some(Assignee::Unrouted));
        assert_eq!(Assignee::from_stored(AssigneeKind::Unrouted, Some("x")), None);
        assert_eq!(Assignee::from_stored(AssigneeKind::User, None), None);
    }

    #[test]
    fn a_person_is_told_and_a_program_is_helped() {
        for (text, error) in [
            ("user:", InvalidAssignee::User),
            ("user:nobody", InvalidAssignee::User),
            ("group:A B", InvalidAssignee::Group),
            ("role:king", InvalidAssignee::Role),
            ("users:ada@acme", InvalidAssignee::Kind),
        ] {
            assert_eq!(Routing::parse(text, None), Err(error), "{text}");
            let routing = Routing::of_program(Some(text), None);
            assert_eq!((routing.raw.as_deref(), routing.assignee), (Some(text), Assignee::Unrouted));
        }
        let long = "ü".repeat(400);
        assert_eq!(Routing::parse(&long, None), Err(InvalidAssignee::TooLong));
        assert_eq!(Routing::of_program(Some(&long), None).raw.map(|raw| raw.len()), Some(512));
    }
}
