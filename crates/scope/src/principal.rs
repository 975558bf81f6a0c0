//! The principal: a user, by a credential, acting at one place.

use crate::permission::Permissions;
use crate::reach::{Level, TenantScope};
use crate::role::{Role, RoleLevel, Roles};
use crate::{
    ApiKeyId, Email, Membership, Name, PartnerId, PermissionKey, Slug, TenantId, TenantStatus, UserId,
    UserKind, UserStatus,
};

/// What must be known of a tenant to decide who acts in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRef {
    /// The tenant.
    pub id: TenantId,
    /// Its slug.
    pub slug: Slug,
    /// The partner that it belongs to.
    pub partner_id: PartnerId,
    /// The status that counts, the partner's included: see [`TenantStatus::under`].
    pub status: TenantStatus,
}

/// What the caller presented, once it was found valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// An API key.
    ApiKey {
        /// Which one.
        id: ApiKeyId,
        /// What the key is limited to; `None` for all that its holder may do.
        scopes: Option<Permissions>,
    },
    /// A token of a trusted issuer.
    Token {
        /// The issuer: `iss`.
        issuer: Box<str>,
        /// Who acts for the user, if it is not they themselves: the `sub` of `act` (RFC 8693).
        actor: Option<Box<str>>,
        /// What the token is limited to; `None` for all that its holder may do.
        scopes: Option<Permissions>,
    },
}

impl Credential {
    /// What the credential is limited to, if it is.
    pub const fn scopes(&self) -> Option<&Permissions> {
        match self {
            Self::ApiKey { scopes, .. } | Self::Token { scopes, .. } => scopes.as_ref(),
        }
    }
}

/// Who is calling, as found by their credential, before it is settled where they act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user_id: UserId,
    /// Their address.
    pub email: Email,
    /// Their name.
    pub display_name: Name,
    /// Person or program.
    pub kind: UserKind,
    /// Whether they may call.
    pub status: UserStatus,
    /// The tenant that they live in.
    pub home: TenantRef,
    /// Their built-in roles.
    pub roles: Roles,
    /// Their groups, all of the home tenant.
    pub groups: Vec<Membership>,
    /// What custom roles and direct grants give them, in the home tenant only.
    pub grants: Permissions,
    /// What they presented.
    pub credential: Credential,
}

/// Where a caller wants to act. What a request names has been looked up before; what does not exist is answered
/// like [`CannotAct::NotReachable`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nothing was named: the caller's own level, and the tenant that they live in.
    Own,
    /// A tenant was named.
    Tenant(TenantRef),
    /// A partner's level was named.
    Partner(PartnerId),
}

/// Why a caller cannot act where they want to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotAct {
    /// The place does not exist or is out of the caller's reach; they are not told which.
    #[error("no such tenant or partner")]
    NotReachable,
    /// The caller's tenant, or the one named, is suspended.
    #[error("the tenant is suspended")]
    TenantSuspended,
    /// The user is suspended or deleted.
    #[error("the user is not active")]
    UserNotActive,
}

impl Identity {
    /// The level at which the user acts when they name no place: the platform for super admins, the partner for its
    /// admins, else their tenant. A partner's viewers look into tenants, they do not act at the partner's level.
    pub const fn own_level(&self) -> Level {
        if self.roles.contains(Role::SuperAdmin) {
            Level::Platform
        } else if self.roles.contains(Role::PartnerAdmin) {
            Level::Partner(self.home.partner_id)
        } else {
            Level::Tenant(self.home.id)
        }
    }

    /// Whether the user may act in a tenant: super admins in any, holders of a partner role in those of their own
    /// partner, everyone at home.
    pub fn reaches_tenant(&self, tenant: &TenantRef) -> bool {
        tenant.id == self.home.id || self.counting_in(tenant).iter().next().is_some()
    }

    fn reaches_partner(&self, partner: PartnerId) -> bool {
        match self.own_level() {
            Level::Platform => true,
            Level::Partner(own) => own == partner,
            Level::Tenant(_) => false,
        }
    }

    /// The roles that count in a tenant. A tenant role counts at home and nowhere else.
    fn counting_in(&self, tenant: &TenantRef) -> Roles {
        let counts = |role: &Role| match role.level() {
            RoleLevel::Platform => true,
            RoleLevel::Partner => tenant.partner_id == self.home.partner_id,
            RoleLevel::Tenant => tenant.id == self.home.id,
        };
        self.roles.iter().filter(counts).collect()
    }

    /// What the user may do at a level above their tenants. What they hold in a tenant does not count there.
    fn permissions_above(&self, reach: RoleLevel) -> Permissions {
        let roles: Roles = self.roles.iter().filter(|role| role.level() >= reach).collect();
        roles.permissions()
    }

    /// Settles where the user acts, and with it what they may do.
    ///
    /// In a suspended tenant only super admins act, and only they keep working when their own is suspended: no one
    /// else could lift it.
    pub fn act(self, place: Place) -> Result<Principal, CannotAct> {
        if self.status != UserStatus::Active {
            return Err(CannotAct::UserNotActive);
        }
        let unstoppable = self.roles.contains(Role::SuperAdmin);
        if self.home.status == TenantStatus::Suspended && !unstoppable {
            return Err(CannotAct::TenantSuspended);
        }
        let (level, tenant) = match place {
            Place::Own => (self.own_level(), self.home.clone()),
            Place::Tenant(tenant) if self.reaches_tenant(&tenant) => (Level::Tenant(tenant.id), tenant),
            Place::Partner(partner) if self.reaches_partner(partner) => {
                (Level::Partner(partner), self.home.clone())
            }
            Place::Tenant(_) | Place::Partner(_) => return Err(CannotAct::NotReachable),
        };
        if tenant.status == TenantStatus::Suspended && !unstoppable {
            return Err(CannotAct::TenantSuspended);
        }

        let roles = self.counting_in(&tenant);
        let mut permissions = roles.permissions();
        if tenant.id == self.home.id {
            permissions = permissions.union(&self.grants);
        }
        let mut level_permissions = match level {
            Level::Platform => self.permissions_above(RoleLevel::Platform),
            Level::Partner(_) => self.permissions_above(RoleLevel::Partner),
            Level::Tenant(_) => permissions.clone(),
        };
        if let Some(scopes) = self.credential.scopes() {
            permissions = permissions.intersection(scopes);
            level_permissions = level_permissions.intersection(scopes);
        }
        Ok(Principal { identity: self, level, tenant, roles, permissions, level_permissions })
    }
}

/// A user who acts at one place, and what they may do there. Made by [`Identity::act`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    identity: Identity,
    level: Level,
    tenant: TenantRef,
    roles: Roles,
    permissions: Permissions,
    level_permissions: Permissions,
}

impl Principal {
    /// The user.
    pub const fn user_id(&self) -> UserId {
        self.identity.user_id
    }

    /// Who they are, wherever they act.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Their address.
    pub const fn email(&self) -> &Email {
        &self.identity.email
    }

    /// The tenant that the user acts in. Not always the one that they live in.
    pub const fn tenant(&self) -> &TenantRef {
        &self.tenant
    }

    /// The right to touch the data of the tenant that the user acts in.
    pub const fn tenant_scope(&self) -> TenantScope {
        TenantScope::new(self.tenant.id)
    }

    /// The level that the user acts at, for what exists at every level.
    pub const fn level(&self) -> Level {
        self.level
    }

    /// The built-in roles that count in the tenant that the user acts in.
    pub const fn roles(&self) -> Roles {
        self.roles
    }

    /// The groups of that tenant that the user is in.
    pub fn groups(&self) -> &[Membership] {
        if self.tenant.id == self.identity.home.id { &self.identity.groups } else { &[] }
    }

    /// What the user may do in that tenant.
    pub const fn permissions(&self) -> &Permissions {
        &self.permissions
    }

    /// What the user may do at the level that they act at.
    pub const fn level_permissions(&self) -> &Permissions {
        &self.level_permissions
    }

    /// Whether the user runs the tenant that they act in, be it from above.
    pub const fn administers_tenant(&self) -> bool {
        self.roles.contains(Role::TenantAdmin)
            || self.roles.contains(Role::PartnerAdmin)
            || self.roles.contains(Role::SuperAdmin)
    }

    /// Whether the user may give a permission to someone in the tenant that they act in. No one gives what they
    /// lack.
    pub fn may_grant(&self, permission: &PermissionKey) -> bool {
        self.permissions.contains_key(permission)
    }

    /// Whether the user may give a built-in role to someone in the tenant that they act in.
    ///
    /// No one gives a role that reaches farther than their own or holds more than they do. An administrator from
    /// above appoints those below all the same: a partner's admin makes tenant admins, whose bundle is not part of
    /// the partner's. A key with scopes holds too little to do that.
    pub fn may_assign(&self, role: Role) -> bool {
        let within_reach = self.roles.iter().any(|own| own.level() >= role.level());
        let unlimited = self.identity.credential.scopes().is_none();
        let appoints = |own: Role| own.holds_every_module_permission() && own.level() > role.level();
        within_reach
            && (self.permissions.covers(&role.permissions()) || unlimited && self.roles.iter().any(appoints))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use ulid::Ulid;

    use super::*;
    use crate::{GroupId, Permission};

    pub(crate) fn tenant(n: u128, partner: u128) -> TenantRef {
        TenantRef {
            id: TenantId::from_ulid(Ulid(n)),
            slug: Slug::parse(&format!("tenant-{n}")).unwrap(),
            partner_id: PartnerId::from_ulid(Ulid(partner)),
            status: TenantStatus::Active,
        }
    }

    pub(crate) fn identity(roles: &[Role]) -> Identity {
        Identity {
            user_id: UserId::from_ulid(Ulid(1)),
            email: Email::parse("ada@acme.example").unwrap(),
            display_name: Name::parse("Ada").unwrap(),
            kind: UserKind::Human,
            status: UserStatus::Active,
            home: tenant(1, 1),
            roles: roles.iter().copied().collect(),
            groups: vec![Membership {
                id: GroupId::from_ulid(Ulid(1)),
                slug: Slug::parse("approvers").unwrap(),
            }],
            grants: Permissions::default(),
            credential: Credential::ApiKey { id: ApiKeyId::from_ulid(Ulid(1)), scopes: None },
        }
    }

    #[test]
    fn everyone_acts_as_far_as_their_roles_reach() {
        let (sibling, stranger) = (tenant(2, 1), tenant(3, 2));
        for (role, to_sibling, to_stranger) in [
            (Role::SuperAdmin, true, true),
            (Role::PartnerAdmin, true, false),
            (Role::PartnerViewer, true, false),
            (Role::TenantAdmin, false, false),
            (Role::TenantUser, false, false),
            (Role::TenantViewer, false, false),
        ] {
            let who = identity(&[role]);
            assert!(who.clone().act(Place::Tenant(tenant(1, 1))).is_ok());
            for (place, reached) in [(&sibling, to_sibling), (&stranger, to_stranger)] {
                let principal = who.clone().act(Place::Tenant(place.clone()));
                assert_eq!(principal.is_ok(), reached, "{role}");
                if let Ok(principal) = principal {
                    assert_eq!(principal.tenant_scope().tenant_id(), place.id);
                    assert_eq!(principal.level(), Level::Tenant(place.id));
                    assert!(principal.groups().is_empty());
                }
            }
        }
    }

    #[test]
    fn what_is_held_at_home_is_not_carried_elsewhere() {
        let mut who = identity(&[Role::PartnerViewer, Role::TenantAdmin]);
        who.grants.insert(Permission::ModelsManage.into());
        let home = who.clone().act(Place::Own).unwrap();
        assert!(home.permissions().contains(Permission::UsersManage) && home.administers_tenant());
        assert!(home.permissions().contains(Permission::ModelsManage));
        let away = who.act(Place::Tenant(tenant(2, 1))).unwrap();
        assert_eq!(away.permissions(), &Role::PartnerViewer.permissions());
        assert!(!away.administers_tenant());
    }

    #[test]
    fn a_level_counts_only_what_reaches_it() {
        let mut who = identity(&[Role::PartnerAdmin]);
        who.grants.insert(Permission::ModelsManage.into());
        let own = who.clone().act(Place::Own).unwrap();
        assert_eq!(own.level(), Level::Partner(who.home.partner_id));
        assert!(own.permissions().contains(Permission::ModelsManage));
        assert!(!own.level_permissions().contains(Permission::ModelsManage));
        let foreign = PartnerId::from_ulid(Ulid(2));
        assert_eq!(who.act(Place::Partner(foreign)), Err(CannotAct::NotReachable));
        let root = identity(&[Role::SuperAdmin]).act(Place::Partner(foreign)).unwrap();
        assert_eq!((root.level(), root.tenant().id), (Level::Partner(foreign), tenant(1, 1).id));
    }

    #[test]
    fn a_key_holds_no_more_than_its_scopes() {
        let mut who = identity(&[Role::TenantUser]);
        let scopes = [Permission::ModelsList, Permission::AdminAccess].into_iter().collect();
        who.credential = Credential::ApiKey { id: ApiKeyId::from_ulid(Ulid(1)), scopes: Some(scopes) };
        let principal = who.act(Place::Own).unwrap();
        assert_eq!(principal.permissions(), &[Permission::ModelsList].into_iter().collect());
    }

    #[test]
    fn in_a_suspended_tenant_only_super_admins_act() {
        let mut shut = tenant(2, 1);
        shut.status = TenantStatus::Suspended;
        let by = |role| identity(&[role]).act(Place::Tenant(shut.clone())).err();
        assert_eq!(by(Role::SuperAdmin), None);
        assert_eq!(by(Role::PartnerAdmin), Some(CannotAct::TenantSuspended));
        // A stranger learns nothing of the suspension.
        assert_eq!(by(Role::TenantAdmin), Some(CannotAct::NotReachable));
        let mut who = identity(&[Role::TenantAdmin]);
        who.status = UserStatus::Suspended;
        assert_eq!(who.act(Place::Own), Err(CannotAct::UserNotActive));
    }

    #[test]
    fn no_one_gives_a_role_beyond_their_own() {
        use Role::{PartnerAdmin, PartnerViewer, SuperAdmin, TenantAdmin, TenantUser, TenantViewer};

        let assignable = |role| {
            let principal = identity(&[role]).act(Place::Own).unwrap();
            Role::ALL.iter().copied().filter(|role| principal.may_assign(*role)).collect::<Vec<_>>()
        };
        assert_eq!(assignable(SuperAdmin), Role::ALL);
        assert_eq!(
            assignable(PartnerAdmin),
            [PartnerAdmin, PartnerViewer, TenantAdmin, TenantUser, TenantViewer]
        );
        assert_eq!(assignable(TenantAdmin), [TenantAdmin, TenantUser, TenantViewer]);
        assert_eq!(assignable(TenantViewer), [TenantViewer]);
    }
}
