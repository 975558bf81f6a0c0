//! Users, human and service, and the API keys that they hold.

use crate::{ApiKeyId, Email, Instant, Name, Permissions, Roles, TenantId, UserId, UserKind, UserStatus};

/// A user of exactly one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Their identifier.
    pub id: UserId,
    /// The tenant that they live in.
    pub tenant_id: TenantId,
    /// Their address; no two users of a tenant that are not deleted have the same.
    pub email: Email,
    /// Their name, if they gave one.
    pub display_name: Option<Name>,
    /// Person or program.
    pub kind: UserKind,
    /// Whether they may call.
    pub status: UserStatus,
    /// Their built-in roles.
    pub roles: Roles,
    /// Counts the changes, from 1; what an entity tag is made of.
    pub revision: i64,
    /// When they were added.
    pub created_at: Instant,
    /// When they were last changed.
    pub updated_at: Instant,
}

impl User {
    /// What to call the user: their name, else what stands before the `@` of their address.
    pub fn shown_name(&self) -> Name {
        self.display_name.clone().unwrap_or_else(|| self.email.local_name())
    }
}

/// What is to be changed of a user; what is left out stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserChanges {
    /// The new name, or none from now on.
    pub display_name: Option<Option<Name>>,
    /// The new status.
    pub status: Option<UserStatus>,
    /// The new built-in roles, all of them.
    pub roles: Option<Roles>,
}

/// An API key as it is kept. The key itself is not: only its digest is, and that never leaves the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its identifier.
    pub id: ApiKeyId,
    /// The tenant of its holder.
    pub tenant_id: TenantId,
    /// Its holder.
    pub user_id: UserId,
    /// What the holder calls it.
    pub name: Name,
    /// How it begins, to tell keys apart.
    pub prefix: String,
    /// What it is limited to; `None` for all that its holder may do.
    pub scopes: Option<Permissions>,
    /// From when on it counts no more.
    pub expires_at: Option<Instant>,
    /// When it was taken back.
    pub revoked_at: Option<Instant>,
    /// When it was made.
    pub created_at: Instant,
    /// Who made it; `None` where that is not known.
    pub created_by: Option<UserId>,
}

impl ApiKey {
    /// Whether the key counts at an instant: not taken back, and not at or after its expiry.
    pub fn is_valid_at(&self, now: Instant) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|expiry| now < expiry)
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    #[test]
    fn a_key_counts_until_its_expiry_or_its_revocation() {
        let at = Instant::from_micros;
        let key = ApiKey {
            id: ApiKeyId::from_ulid(Ulid(1)),
            tenant_id: TenantId::from_ulid(Ulid(2)),
            user_id: UserId::from_ulid(Ulid(3)),
            name: Name::parse("laptop").unwrap(),
            prefix: "sgk_12345678".to_owned(),
            scopes: None,
            expires_at: Some(at(10)),
            revoked_at: None,
            created_at: at(0),
            created_by: None,
        };
        assert!(key.is_valid_at(at(9)) && !key.is_valid_at(at(10)));
        assert!(ApiKey { expires_at: None, ..key.clone() }.is_valid_at(Instant::MAX));
        assert!(!ApiKey { revoked_at: Some(at(5)), ..key }.is_valid_at(at(6)));
    }
}
