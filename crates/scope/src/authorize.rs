//! Permission checks whose success is a value.
//!
//! A use case asks for `Authorized<perm::CoresManage>`. There is one way to come by it, so there is no way to forget
//! the check, and none to make it for another tenant than the one that is then changed.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use crate::permission::Permission;
use crate::principal::Principal;
use crate::reach::{Level, LevelScope, PartnerScope, PlatformScope};

/// A permission that the caller lacks where they act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the permission {permission} is needed")]
pub struct Denied {
    /// The permission.
    pub permission: Permission,
}

mod sealed {
    pub trait Sealed {}
}

/// A permission as a type. The implementations are those of [`perm`].
pub trait PermissionMarker: sealed::Sealed + Send + Sync + 'static {
    /// The permission.
    const PERMISSION: Permission;
}

macro_rules! markers {
    ($($name:ident = $permission:ident),+ $(,)?) => {
        /// The permissions as types, to be named in `Authorized<perm::…>`.
        pub mod perm {
            use super::{Permission, PermissionMarker, sealed};
            $(
                #[doc = concat!("See [`Permission::", stringify!($permission), "`].")]
                #[derive(Debug, Clone, Copy)]
                pub enum $name {}

                impl sealed::Sealed for $name {}

                impl PermissionMarker for $name {
                    const PERMISSION: Permission = Permission::$permission;
                }
            )+
        }
    };
}

markers! {
    ModelsList = ModelsList,
    ModelsUse = ModelsUse,
    ModelsManage = ModelsManage,
    RoutingView = RoutingView,
    RoutingManage = RoutingManage,
    AccountingViewOwn = AccountingViewOwn,
    AccountingViewTenant = AccountingViewTenant,
    AccountingViewPartner = AccountingViewPartner,
    AccountingManageBudgets = AccountingManageBudgets,
    UsersManage = UsersManage,
    ApiKeysManage = ApiKeysManage,
    WebhooksManage = WebhooksManage,
    ModulesUse = ModulesUse,
    ModulesManage = ModulesManage,
    AdminAccess = AdminAccess,
    CoresView = ScaicoreView,
    CoresManage = ScaicoreManage,
    CoresDebug = ScaicoreDebug,
    CheckpointsResolve = ScaicoreCheckpointResolve,
    CoresDelegate = ScaicoreDelegate,
    CoresAdmin = ScaicoreAdmin,
    CoresInvoke = ScaicoreInvoke,
}

/// A principal who holds `P` in the tenant that they act in. Cheap to clone.
pub struct Authorized<P> {
    principal: Arc<Principal>,
    permission: PhantomData<fn() -> P>,
}

/// A principal who holds `P` at the level that they act at. Cheap to clone.
pub struct AuthorizedAtLevel<P> {
    principal: Arc<Principal>,
    permission: PhantomData<fn() -> P>,
}

macro_rules! token {
    ($name:ident) => {
        impl<P> $name<P> {
            /// The principal.
            pub const fn principal(&self) -> &Arc<Principal> {
                &self.principal
            }
        }

        impl<P> Clone for $name<P> {
            fn clone(&self) -> Self {
                Self { principal: Arc::clone(&self.principal), permission: PhantomData }
            }
        }

        impl<P> Deref for $name<P> {
            type Target = Principal;

            fn deref(&self) -> &Principal {
                &self.principal
            }
        }

        impl<P: PermissionMarker> fmt::Debug for $name<P> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({} for {})", stringify!($name), P::PERMISSION, self.principal.user_id())
            }
        }
    };
}

token!(Authorized);
token!(AuthorizedAtLevel);

impl<P> AuthorizedAtLevel<P> {
    /// The right to act at the level where the principal acts.
    pub fn level_scope(&self) -> LevelScope {
        LevelScope::new(self.principal.level())
    }

    /// The right to act for the platform, if the principal acts there.
    pub fn platform(&self) -> Option<PlatformScope> {
        matches!(self.principal.level(), Level::Platform).then(PlatformScope::new)
    }

    /// The right to act for a partner, if the principal acts at its level.
    pub fn partner(&self) -> Option<PartnerScope> {
        match self.principal.level() {
            Level::Partner(partner) => Some(PartnerScope::new(partner)),
            Level::Platform | Level::Tenant(_) => None,
        }
    }
}

impl Principal {
    /// Checks a permission in the tenant that the principal acts in.
    pub fn authorize<P: PermissionMarker>(self: &Arc<Self>) -> Result<Authorized<P>, Denied> {
        if self.permissions().contains(P::PERMISSION) {
            Ok(Authorized { principal: Arc::clone(self), permission: PhantomData })
        } else {
            Err(Denied { permission: P::PERMISSION })
        }
    }

    /// Checks a permission at the level that the principal acts at. For what exists at every level; what a
    /// principal holds in their own tenant does not count above it.
    pub fn authorize_at_level<P: PermissionMarker>(self: &Arc<Self>) -> Result<AuthorizedAtLevel<P>, Denied> {
        if self.level_permissions().contains(P::PERMISSION) {
            Ok(AuthorizedAtLevel { principal: Arc::clone(self), permission: PhantomData })
        } else {
            Err(Denied { permission: P::PERMISSION })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::tests::{identity, tenant};
    use crate::{Place, Role};

    #[test]
    fn a_token_is_given_for_what_is_held_and_nothing_else() {
        let principal = Arc::new(identity(&[Role::TenantViewer]).act(Place::Own).unwrap());
        let token = principal.authorize::<perm::CoresView>().unwrap();
        assert_eq!(token.tenant_scope(), principal.tenant_scope());
        let denied = principal.authorize::<perm::CoresManage>().unwrap_err();
        assert_eq!(denied.to_string(), "the permission scaicore:manage is needed");
    }

    #[test]
    fn the_level_of_a_token_is_where_its_principal_acts() {
        let manage = |role, place| {
            let principal = Arc::new(identity(&[role]).act(place).unwrap());
            principal.authorize_at_level::<perm::ModulesManage>().unwrap()
        };
        assert!(manage(Role::SuperAdmin, Place::Own).platform().is_some());
        let partner = manage(Role::PartnerAdmin, Place::Own).partner().unwrap();
        assert_eq!(partner.partner_id(), tenant(1, 1).partner_id);
        assert_eq!(partner.tenant(tenant(3, 2).id, tenant(3, 2).partner_id), None);
        let in_tenant = manage(Role::SuperAdmin, Place::Tenant(tenant(3, 2)));
        assert_eq!(in_tenant.level_scope().level(), Level::Tenant(tenant(3, 2).id));
        assert!(in_tenant.platform().is_none() && in_tenant.partner().is_none());
    }
}
