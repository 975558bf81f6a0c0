//! The six built-in roles and what each of them bundles.

use crate::permission::{Permission, PermissionKey, Permissions};
use crate::text_enum;

text_enum! {
    /// A built-in role.
    pub enum Role {
        /// Runs the platform: every permission, everywhere.
        SuperAdmin => "super_admin",
        /// Runs a partner and its tenants.
        PartnerAdmin => "partner_admin",
        /// Looks after a partner's figures.
        PartnerViewer => "partner_viewer",
        /// Runs a tenant.
        TenantAdmin => "tenant_admin",
        /// Works in a tenant.
        TenantUser => "tenant_user",
        /// Looks on in a tenant.
        TenantViewer => "tenant_viewer",
    }
}

/// How far a role reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoleLevel {
    /// The tenant that its holder lives in.
    Tenant,
    /// Every tenant of the partner that its holder's tenant belongs to.
    Partner,
    /// Everything.
    Platform,
}

const VIEW: &[Permission] = &[Permission::ModelsList, Permission::AccountingViewOwn];
const USE: &[Permission] = &[Permission::ModelsUse, Permission::ApiKeysManage, Permission::ModulesUse];
const RUN: &[Permission] = &[
    Permission::RoutingView,
    Permission::AccountingViewTenant,
    Permission::AccountingManageBudgets,
    Permission::UsersManage,
    Permission::WebhooksManage,
    Permission::ModulesManage,
    Permission::AdminAccess,
];
const PARTNER_VIEW: &[Permission] = &[Permission::AccountingViewTenant, Permission::AccountingViewPartner];
const PARTNER_RUN: &[Permission] = &[
    Permission::AccountingManageBudgets,
    Permission::UsersManage,
    Permission::AdminAccess,
    // A partner's admin must be able to use the modules page for the tenants under the partner.
    Permission::ModulesManage,
    Permission::WebhooksManage,
];

/// What a viewer may look at in the modules of the catalogue, beside Cores.
const VIEWER_OF_MODULES: [&str; 10] = [
    "scaibot:bots:read",
    "scaibot:conversations:read",
    "scaiecho:transcribe",
    "scaimatrix:view",
    "scaimatrix:search",
    "scaimind:view",
    "scaipersona:view",
    "scaiqueue:view",
    "scaiskills:view",
    "scaispeak:voice.read",
];

impl Role {
    /// How far the role reaches.
    pub const fn level(self) -> RoleLevel {
        match self {
            Self::SuperAdmin => RoleLevel::Platform,
            Self::PartnerAdmin | Self::PartnerViewer => RoleLevel::Partner,
            Self::TenantAdmin | Self::TenantUser | Self::TenantViewer => RoleLevel::Tenant,
        }
    }

    /// Whether the role holds every permission of every module within its reach, those of modules to come
    /// included.
    pub const fn holds_every_module_permission(self) -> bool {
        matches!(self, Self::SuperAdmin | Self::PartnerAdmin | Self::TenantAdmin)
    }

    /// What the role bundles, within its reach.
    ///
    /// The bundles of core permissions contain one another; the module permissions do not: a viewer may look at
    /// Cores while a user gets what they need of a module by grant.
    pub fn permissions(self) -> Permissions {
        let bundles: &[&[Permission]] = match self {
            Self::SuperAdmin => &[Permission::ALL],
            Self::PartnerAdmin => &[VIEW, USE, PARTNER_VIEW, PARTNER_RUN],
            Self::PartnerViewer => &[VIEW, PARTNER_VIEW],
            Self::TenantAdmin => &[VIEW, USE, RUN],
            Self::TenantUser => &[VIEW, USE],
            Self::TenantViewer => &[VIEW, &[Permission::ScaicoreView]],
        };
        let permissions: Permissions = bundles.iter().copied().flatten().copied().collect();
        if self.holds_every_module_permission() {
            permissions.with_every_module()
        } else if matches!(self, Self::TenantViewer) {
            permissions.union(
                &VIEWER_OF_MODULES.iter().filter_map(|key| key.parse::<PermissionKey>().ok()).collect(),
            )
        } else {
            permissions
        }
    }
}

/// A set of built-in roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Roles(u8);

impl Roles {
    /// No role.
    pub const NONE: Self = Self(0);

    /// Whether a role is in the set.
    pub const fn contains(self, role: Role) -> bool {
        self.0 & (1 << role as u8) != 0
    }

    /// The set with one more role.
    #[must_use]
    pub const fn with(self, role: Role) -> Self {
        Self(self.0 | (1 << role as u8))
    }

    /// Whether there is no role in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The roles, from the one that reaches farthest.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.iter().copied().filter(move |role| self.contains(*role))
    }

    /// What the roles bundle together.
    pub fn permissions(self) -> Permissions {
        self.iter().fold(Permissions::default(), |all, role| all.union(&role.permissions()))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<T: IntoIterator<Item = Role>>(roles: T) -> Self {
        roles.into_iter().fold(Self::NONE, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(role: Role) -> Vec<String> {
        let permissions = role.permissions();
        let mut keys: Vec<_> = Permission::CORE
            .iter()
            .filter(|permission| permissions.contains(**permission))
            .map(ToString::to_string)
            .collect();
        keys.sort();
        keys
    }

    #[test]
    fn the_bundles_are_as_documented() {
        assert_eq!(keys(Role::SuperAdmin).len(), 15);
        assert_eq!(keys(Role::TenantViewer), ["accounting:view_own", "models:list"]);
        let viewer = Role::TenantViewer.permissions();
        for key in VIEWER_OF_MODULES {
            assert!(viewer.contains_key(&key.parse().unwrap()), "{key}");
            assert!(!Role::TenantUser.permissions().contains_key(&key.parse().unwrap()), "{key}");
        }
        assert!(!viewer.contains_key(&"scaibot:bots:create".parse().unwrap()));
        let user = ["accounting:view_own", "api_keys:manage", "models:list", "models:use", "modules:use"];
        assert_eq!(keys(Role::TenantUser), user);
        assert_eq!(
            keys(Role::TenantAdmin),
            [
                "accounting:manage_budgets",
                "accounting:view_own",
                "accounting:view_tenant",
                "admin:access",
                "api_keys:manage",
                "models:list",
                "models:use",
                "modules:manage",
                "modules:use",
                "routing:view",
                "users:manage",
                "webhooks:manage",
            ]
        );
        assert_eq!(
            keys(Role::PartnerViewer),
            ["accounting:view_own", "accounting:view_partner", "accounting:view_tenant", "models:list"]
        );
        assert_eq!(
            keys(Role::PartnerAdmin),
            [
                "accounting:manage_budgets",
                "accounting:view_own",
                "accounting:view_partner",
                "accounting:view_tenant",
                "admin:access",
                "api_keys:manage",
                "models:list",
                "models:use",
                "modules:manage",
                "modules:use",
                "users:manage",
                "webhooks:manage",
            ]
        );
    }

    #[test]
    fn only_admins_hold_module_permissions_and_viewers_look_at_cores() {
        for role in Role::ALL {
            let permissions = role.permissions();
            let admin = role.holds_every_module_permission();
            assert_eq!(permissions.contains(Permission::ScaicoreManage), admin, "{role}");
            assert_eq!(permissions.contains_key(&"scaibot:bots:create".parse().unwrap()), admin, "{role}");
            let view = admin || *role == Role::TenantViewer;
            assert_eq!(permissions.contains(Permission::ScaicoreView), view, "{role}");
        }
    }
}
