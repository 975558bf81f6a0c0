//! Who may give what to whom: the rules by which roles, custom roles and grants are handed out and taken back.
//!
//! Two rules make it impossible to rise by handing out. Nobody gives what they lack; and nobody changes, or takes
//! over, somebody who may do more than they could give.

use crate::permission::{Permission, PermissionKey, Permissions};
use crate::principal::Principal;
use crate::role::{Role, Roles};

/// A permission that the principal would need, to give or to take it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the permission {permission} is needed")]
pub struct Lacking {
    /// The permission.
    pub permission: PermissionKey,
}

impl Principal {
    /// Whether the principal may give these built-in roles, all of them: see [`Principal::may_assign`].
    ///
    /// # Errors
    /// The first permission of the first role beyond them that they lack themselves.
    pub fn check_assign(&self, roles: Roles) -> Result<(), Lacking> {
        roles.iter().try_for_each(|role| {
            if self.may_assign(role) {
                return Ok(());
            }
            let bundle = role.permissions();
            let lacking = bundle.iter().find(|key| !self.may_grant(key));
            // A role may reach farther than the principal without holding more; no permission names that.
            let permission = lacking.unwrap_or(Permission::UsersManage.into());
            Err(Lacking { permission })
        })
    }

    /// Whether the principal may give these permissions, all of them, directly or in a custom role.
    ///
    /// # Errors
    /// The first that they lack themselves.
    pub fn check_grant(&self, permissions: &Permissions) -> Result<(), Lacking> {
        let lacking = permissions.iter().find(|key| !self.may_grant(key));
        lacking.map_or(Ok(()), |permission| Err(Lacking { permission }))
    }

    /// Whether the principal may change, suspend, remove or lend a key to a user of the tenant that they act in, who holds
    /// these roles and was given these permissions beside them: none may be beyond what the principal could give, be it
    /// with a role that they may assign.
    ///
    /// # Errors
    /// The first permission that is beyond them.
    pub fn check_manage(&self, roles: Roles, granted: &Permissions) -> Result<(), Lacking> {
        self.check_assign(roles)?;
        let assignable: Roles = Role::ALL.iter().copied().filter(|role| self.may_assign(*role)).collect();
        let within = self.permissions().union(&assignable.permissions());
        let beyond = granted.iter().find(|key| !within.contains_key(key));
        beyond.map_or(Ok(()), |permission| Err(Lacking { permission }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};
    use ulid::Ulid;

    use super::*;
    use crate::principal::tests::{identity, tenant};
    use crate::{ApiKeyId, Credential, Identity, Place};

    /// Permissions of all kinds: the platform's, the own module's, a foreign module's.
    const KEYS: [&str; 8] = [
        "users:manage",
        "models:manage",
        "modules:manage",
        "api_keys:manage",
        "scaicore:manage",
        "scaicore:checkpoint_resolve",
        "scaibot:bots:read",
        "scaibot:bots:create",
    ];

    fn some_permissions() -> impl Strategy<Value = Permissions> {
        subsequence(&KEYS[..], 0..=KEYS.len())
            .prop_map(|keys| keys.into_iter().map(|key| key.parse::<PermissionKey>().unwrap()).collect())
    }

    fn some_roles(of: &'static [Role]) -> impl Strategy<Value = Roles> {
        subsequence(of, 0..=of.len().min(2)).prop_map(|roles| roles.into_iter().collect())
    }

    const OF_A_TENANT: &[Role] = &[Role::TenantAdmin, Role::TenantUser, Role::TenantViewer];

    /// A user as the rules see them.
    #[derive(Debug, Clone, Default)]
    struct Person {
        roles: Roles,
        custom: Vec<usize>,
        grants: Permissions,
    }

    /// A tenant's people and custom roles.
    #[derive(Debug, Clone)]
    struct Town {
        people: Vec<Person>,
        customs: Vec<Permissions>,
    }

    impl Town {
        fn granted(&self, person: &Person) -> Permissions {
            person.custom.iter().fold(person.grants.clone(), |all, role| all.union(&self.customs[*role]))
        }

        fn effective(&self, person: &Person) -> Permissions {
            person.roles.permissions().union(&self.granted(person))
        }

        /// All that anybody here may do.
        fn reach(&self) -> Permissions {
            self.people.iter().fold(Permissions::default(), |all, person| all.union(&self.effective(person)))
        }

        fn principal(&self, who: usize, scopes: Option<Permissions>) -> Principal {
            let person = &self.people[who];
            let credential = Credential::ApiKey { id: ApiKeyId::from_ulid(Ulid(1)), scopes };
            let grants = self.granted(person);
            let identity = Identity { roles: person.roles, grants, credential, ..identity(&[]) };
            identity.act(Place::Own).unwrap()
        }
    }

    /// What somebody tries.
    #[derive(Debug, Clone)]
    enum Attempt {
        Roles { of: usize, to: Roles },
        Custom { of: usize, to: Vec<usize> },
        Grants { of: usize, to: Permissions },
        NewCustom { to: Permissions },
        ChangeCustom { role: usize, to: Permissions },
        RemoveCustom { role: usize },
    }

    fn attempts() -> impl Strategy<Value = Attempt> {
        let who = 0..3_usize;
        prop_oneof![
            (who.clone(), some_roles(Role::ALL)).prop_map(|(of, to)| Attempt::Roles { of, to }),
            (who.clone(), vec(0..2_usize, 0..3)).prop_map(|(of, to)| Attempt::Custom { of, to }),
            (who, some_permissions()).prop_map(|(of, to)| Attempt::Grants { of, to }),
            some_permissions().prop_map(|to| Attempt::NewCustom { to }),
            (0..2_usize, some_permissions()).prop_map(|(role, to)| Attempt::ChangeCustom { role, to }),
            (0..2_usize).prop_map(|role| Attempt::RemoveCustom { role }),
        ]
    }

    /// Does what is attempted, if the rules allow it, as the use cases do.
    fn attempt(town: &mut Town, by: &Principal, attempt: Attempt) -> Result<(), Lacking> {
        let may_manage = |town: &Town, of: usize| {
            let person = &town.people[of];
            by.check_manage(person.roles, &town.granted(person))
        };
        match attempt {
            Attempt::Roles { of, to } => {
                may_manage(town, of)?;
                by.check_assign(to)?;
                town.people[of].roles = to;
            }
            Attempt::Custom { of, to } => {
                may_manage(town, of)?;
                for role in to.iter().filter(|role| !town.people[of].custom.contains(role)) {
                    by.check_grant(&town.customs[*role])?;
                }
                town.people[of].custom = to;
            }
            Attempt::Grants { of, to } => {
                may_manage(town, of)?;
                by.check_grant(&to.without(&town.people[of].grants))?;
                town.people[of].grants = to;
            }
            Attempt::NewCustom { to } => {
                by.check_grant(&to)?;
                town.customs.push(to);
            }
            Attempt::ChangeCustom { role, to } => {
                by.check_manage(Roles::NONE, &town.customs[role])?;
                by.check_grant(&to.without(&town.customs[role]))?;
                town.customs[role] = to;
            }
            Attempt::RemoveCustom { role } => {
                by.check_manage(Roles::NONE, &town.customs[role])?;
                town.customs[role] = Permissions::default();
            }
        }
        Ok(())
    }

    proptest! {
        /// Whatever the people of a tenant do to each other's rights, with whatever keys, in whatever order: no one comes to
        /// what none of them had.
        #[test]
        fn no_sequence_of_edits_makes_more_than_there_was(
            roles in vec(some_roles(OF_A_TENANT), 3),
            grants in vec(some_permissions(), 3),
            customs in vec(some_permissions(), 2),
            steps in vec((0..3_usize, proptest::option::of(some_permissions()), attempts()), 1..30),
        ) {
            let people = roles.into_iter().zip(grants);
            let people = people.map(|(roles, grants)| Person { roles, grants, custom: Vec::new() }).collect();
            let mut town = Town { people, customs: customs.clone() };
            // A role that nobody here could have made is part of what there was once someone holds it.
            town.people[0].custom = vec![0, 1];
            let there_was = town.reach();
            for (who, scopes, step) in steps {
                let by = town.principal(who, scopes);
                let before = town.clone();
                if attempt(&mut town, &by, step).is_ok() {
                    for (person, was) in town.people.iter().zip(&before.people) {
                        // One comes to nothing but what the one who gave it has, or could give with a role.
                        let assignable: Roles =
                            Role::ALL.iter().copied().filter(|role| by.may_assign(*role)).collect();
                        let given = by.permissions().union(&assignable.permissions());
                        let before = before.effective(was);
                        prop_assert!(before.union(&given).covers(&town.effective(person)));
                    }
                }
                prop_assert!(there_was.covers(&town.reach()), "{:?}", town.reach());
            }
        }

        /// What one may do is the union of roles, custom roles and grants, within the key's scopes.
        #[test]
        fn what_one_may_do_is_the_union_within_the_scopes(
            roles in some_roles(Role::ALL),
            grants in some_permissions(),
            scopes in proptest::option::of(some_permissions()),
            asked in select(&KEYS[..]),
        ) {
            let credential =
                Credential::ApiKey { id: ApiKeyId::from_ulid(Ulid(1)), scopes: scopes.clone() };
            let identity = Identity { roles, grants: grants.clone(), credential, ..identity(&[]) };
            let key: PermissionKey = asked.parse().unwrap();
            let held = roles.iter().any(|role| role.permissions().contains_key(&key)) || grants.contains_key(&key);
            let expected = held && scopes.is_none_or(|scopes| scopes.contains_key(&key));
            let at_home = identity.clone().act(Place::Own).unwrap();
            prop_assert_eq!(at_home.permissions().contains_key(&key), expected);
            // Elsewhere the grants do not count.
            if let Ok(away) = identity.act(Place::Tenant(tenant(2, 1))) {
                let by_role = away.roles().iter().any(|role| role.permissions().contains_key(&key));
                prop_assert!(by_role || !away.permissions().contains_key(&key));
            }
        }

        /// The difference of two sets is what one adds to the other.
        #[test]
        fn a_difference_is_what_is_added(one in some_permissions(), other in some_permissions()) {
            let added = one.without(&other);
            prop_assert!(one.covers(&added));
            prop_assert_eq!(added.union(&other), one.union(&other));
            prop_assert!(added.intersection(&other).is_empty());
            let (core, modules) = one.split();
            prop_assert!(core.iter().all(|key| key.is_core()) && !modules.iter().any(|key| key.is_core()));
            prop_assert_eq!(core.union(&modules), one);
            prop_assert!(added.without(&other.clone().with_every_module()).iter().all(|key| key.is_core()));
        }
    }

    #[test]
    fn those_above_manage_whom_they_could_have_appointed() {
        let routing: Permissions = [Permission::RoutingView].into_iter().collect();
        let models: Permissions = [Permission::ModelsManage].into_iter().collect();
        let partner = identity(&[Role::PartnerAdmin]).act(Place::Own).unwrap();
        // Not theirs to give, but part of a role that they appoint people to.
        assert_eq!(
            partner.check_grant(&routing),
            Err(Lacking { permission: Permission::RoutingView.into() })
        );
        assert_eq!(partner.check_manage(Roles::NONE, &routing), Ok(()));
        assert_eq!(
            partner.check_manage(Roles::NONE, &models),
            Err(Lacking { permission: Permission::ModelsManage.into() })
        );
        let boss = identity(&[Role::TenantAdmin]).act(Place::Own).unwrap();
        let chief: Roles = [Role::PartnerViewer].into_iter().collect();
        assert_eq!(
            boss.check_assign(chief),
            Err(Lacking { permission: Permission::AccountingViewPartner.into() })
        );
    }
}
