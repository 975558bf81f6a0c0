//! What users are given: built-in roles, custom roles, direct grants. The rules are the domain's, see
//! [`scaigrid_scope::Principal::check_manage`] and its siblings.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_persistence::{Connection, Transaction, api_keys, audit, custom_roles, grants, users};
use scaigrid_scope::{
    ApiKeyId, Authorized, CustomRole, CustomRoleId, Permission, PermissionKey, Permissions, Principal, Role,
    RoleLevel, Roles, User, UserChanges, UserId, perm,
};
use serde_json::{Value, json};

use crate::custom_roles::bounded;
use crate::transaction::{Expected, check_expected, ended, written};
use crate::users::{Account, account, account_state, held, may_manage};
use crate::{App, Error, FieldError, Resource};

/// The roles that a user is to have; what is left out stays.
#[derive(Debug, Clone, Default)]
pub struct RoleChanges {
    /// The built-in roles, all of them.
    pub roles: Option<Roles>,
    /// The custom roles, all of them.
    pub custom_roles: Option<Vec<CustomRoleId>>,
}

/// What a user was granted directly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectGrants {
    /// Permissions of modules.
    pub permissions: Permissions,
    /// The revision of the user, which counts these too.
    pub revision: i64,
}

impl App {
    /// Gives a user other roles, all at once. A set that they hold already changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::PermissionDenied`] for a role, given or taken, that the caller cannot give;
    /// [`Error::Invalid`] for a custom role that there is not; [`Error::PreconditionFailed`]; [`Error::Conflict`] for a super
    /// admin who would stop being one by their own hand or as the last, and for whoever would lock themselves out.
    pub async fn set_user_roles(
        &self,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        id: UserId,
        expected: Expected<'_>,
        changes: RoleChanges,
    ) -> Result<Account, Error> {
        let mut tx = self.0.database.begin().await?;
        let user = self.change_roles(&mut tx, caller, request, id, expected, changes).await;
        let user = ended(tx, user).await?;
        self.people_changed();
        Ok(user)
    }

    async fn change_roles(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        id: UserId,
        expected: Expected<'_>,
        changes: RoleChanges,
    ) -> Result<Account, Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        let user = held(tx, scope, id).await?;
        let caller = &self.anew(tx, caller).await?;
        may_manage(tx, caller, &user).await?;
        let before = account(tx, scope, user).await?;
        let roles = changes.roles.unwrap_or(before.user.roles);
        caller.check_assign(roles)?;
        let custom_roles = match changes.custom_roles {
            Some(wanted) => assignable(tx, caller, &wanted, &before.custom_roles).await?,
            None => before.custom_roles.clone(),
        };
        check_expected(expected, before.user.revision)?;
        if before.user.roles == roles && before.custom_roles == custom_roles {
            return Ok(before);
        }
        // Someone has to be left who can undo it.
        if before.user.roles.contains(Role::SuperAdmin) && !roles.contains(Role::SuperAdmin) {
            if id == caller.user_id() {
                let message = "A super admin cannot give up that role by themselves";
                return Err(Error::Conflict(message.to_owned()));
            }
            self.keep_a_super_admin(tx, &before.user).await?;
        }
        let granted_before = grants::held(tx, scope, id).await?;
        let changes = UserChanges { roles: Some(roles), ..UserChanges::default() };
        written(users::update(tx, scope, id, None, &changes, now).await?, Resource::User)?;
        if before.custom_roles != custom_roles {
            custom_roles::set_held(tx, scope, id, &custom_roles).await?;
        }
        if id == caller.user_id() {
            stays_in(tx, caller).await?;
        }
        let granted = grants::held(tx, scope, id).await?;
        let lost = if comes_to_govern(before.user.roles, &granted_before, roles, &granted) {
            api_keys::revoke_made_by_others(tx, scope, &[id], Some(caller.user_id()), now).await?
        } else {
            Vec::new()
        };
        let revision = before.user.revision + 1;
        let user = User { roles, revision, updated_at: now, ..before.user.clone() };
        let after = Account { user, custom_roles };
        let stamp = self.audit_stamp(now);
        let (mut was, mut is) = (account_state(&before), account_state(&after));
        lose_keys(&mut was, &mut is, &lost);
        let changes = diff(&was, &is, &[]);
        let action = AuditAction::UserRoleUpdated;
        let record = AuditRecord::in_tenant(stamp, caller, request, action, id.to_string(), changes);
        audit::add(tx, &record).await?;
        Ok(after)
    }

    /// What a user was granted directly.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[boxed]
    pub async fn user_grants(
        &self,
        caller: &Authorized<perm::UsersManage>,
        id: UserId,
    ) -> Result<DirectGrants, Error> {
        let user = self.user(caller.principal(), id).await?.user;
        let mut connection = self.0.database.read().await?;
        let permissions = grants::lookup(&mut connection, caller.tenant_scope(), id).await?;
        Ok(DirectGrants { permissions, revision: user.revision })
    }

    /// Grants a user these permissions directly, and no others. A set that they have already changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for a permission that is no module's, and for more than
    /// [`CustomRole::MAX_PERMISSIONS`]; [`Error::PermissionDenied`] for one that the caller lacks, and for someone who may do
    /// more than they; [`Error::PreconditionFailed`].
    pub async fn set_user_grants(
        &self,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        id: UserId,
        expected: Expected<'_>,
        permissions: &[PermissionKey],
    ) -> Result<DirectGrants, Error> {
        let core = permissions.iter().enumerate().filter(|(_, key)| key.is_core());
        let problems: Vec<FieldError> = core
            .map(|(index, _)| {
                let message = "must be a permission of a module; the platform's own are given with roles";
                FieldError::new(format!("permissions[{index}]"), message)
            })
            .collect();
        if !problems.is_empty() {
            return Err(Error::Invalid(problems));
        }
        let permissions: Permissions = permissions.iter().cloned().collect();
        let mut tx = self.0.database.begin().await?;
        let granted = self.change_grants(&mut tx, caller, request, id, expected, permissions).await;
        let granted = ended(tx, granted).await?;
        self.people_changed();
        Ok(granted)
    }

    async fn change_grants(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        id: UserId,
        expected: Expected<'_>,
        permissions: Permissions,
    ) -> Result<DirectGrants, Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        let user = held(tx, scope, id).await?;
        let caller = &self.anew(tx, caller).await?;
        may_manage(tx, caller, &user).await?;
        let before = grants::lookup(tx, scope, id).await?;
        caller.check_grant(&permissions.without(&before))?;
        bounded(&permissions)?;
        check_expected(expected, user.revision)?;
        if before == permissions {
            return Ok(DirectGrants { permissions, revision: user.revision });
        }
        grants::put(tx, scope, id, &permissions).await?;
        written(users::update(tx, scope, id, None, &UserChanges::default(), now).await?, Resource::User)?;
        let told = |granted: &Permissions| json!({"module_permissions": keys(granted)});
        let stamp = self.audit_stamp(now);
        let changes = diff(&told(&before), &told(&permissions), &[]);
        let action = AuditAction::UserRoleUpdated;
        let record = AuditRecord::in_tenant(stamp, caller, request, action, id.to_string(), changes);
        audit::add(tx, &record).await?;
        Ok(DirectGrants { permissions, revision: user.revision + 1 })
    }
}

/// Whether somebody comes to decide about others by a change: they get `users:manage`, or a role that reaches beyond their
/// tenant. Keys that others made for them end then, for whoever made one may have kept it.
pub(crate) fn comes_to_govern(
    roles_before: Roles,
    granted_before: &Permissions,
    roles: Roles,
    granted: &Permissions,
) -> bool {
    let manages = |roles: Roles, granted: &Permissions| {
        roles.permissions().union(granted).contains(Permission::UsersManage)
    };
    let above =
        |roles: Roles| roles.iter().filter(|role| role.level() > RoleLevel::Tenant).collect::<Roles>();
    (manages(roles, granted) && !manages(roles_before, granted_before))
        || above(roles).iter().any(|role| !roles_before.contains(role))
}

/// Notes in two states that keys have ended between them.
pub(crate) fn lose_keys(was: &mut Value, is: &mut Value, keys: &[ApiKeyId]) {
    if !keys.is_empty() {
        was["keys"] = keys.iter().map(ToString::to_string).collect();
        is["keys"] = json!([]);
    }
}

/// Permissions as the audit log tells of them.
pub(crate) fn keys(permissions: &Permissions) -> Value {
    permissions.iter().map(|key| key.to_string()).collect()
}

/// The custom roles that someone is to hold, by id and each once: those that they hold already, and new ones that the
/// caller could make themselves.
pub(crate) async fn assignable(
    tx: &mut Transaction,
    caller: &Principal,
    wanted: &[CustomRoleId],
    present: &[CustomRoleId],
) -> Result<Vec<CustomRoleId>, Error> {
    let new: Vec<CustomRoleId> = wanted.iter().copied().filter(|id| !present.contains(id)).collect();
    if !new.is_empty() {
        let found = custom_roles::find_all(tx, caller.tenant_scope(), &new).await?;
        let known = |id: &CustomRoleId| present.contains(id) || found.iter().any(|role| role.id == *id);
        let missing = wanted.iter().enumerate().filter(|(_, id)| !known(id));
        let problems: Vec<FieldError> = missing
            .map(|(index, _)| FieldError::new(format!("custom_role_ids[{index}]"), "is no custom role here"))
            .collect();
        if !problems.is_empty() {
            return Err(Error::Invalid(problems));
        }
        found.iter().try_for_each(|role| caller.check_grant(&role.permissions))?;
    }
    let mut roles = wanted.to_vec();
    roles.sort_unstable();
    roles.dedup();
    if roles.len() > CustomRole::MAX_OF_USER {
        let message = format!("must be at most {}", CustomRole::MAX_OF_USER);
        return Err(Error::invalid("custom_role_ids", message));
    }
    Ok(roles)
}

/// Whether the caller, as they stand now in the transaction, could still undo what they are about to do to their own
/// rights.
pub(crate) async fn stays_in(c: &mut Connection, caller: &Principal) -> Result<(), Error> {
    let scope = caller.tenant_scope();
    if caller.identity().home.id != scope.tenant_id() {
        return Ok(());
    }
    let Some(user) = users::lookup(c, scope, caller.user_id()).await? else { return Ok(()) };
    let held = user.roles.permissions().union(&grants::held(c, scope, user.id).await?);
    if held.contains(Permission::UsersManage) {
        return Ok(());
    }
    Err(Error::Conflict("Nobody can take users:manage from themselves".to_owned()))
}
