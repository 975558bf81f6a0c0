//! Users: the accounts of a tenant, and what they are allowed by their roles.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_persistence::{
    self as persistence, Connection, Transaction, audit, custom_roles, grants, groups, partners,
    platform_facts, tenants, users,
};
use scaigrid_scope::{
    Authorized, CustomRoleId, Email, Name, Permissions, Principal, Role, Roles, TenantScope, User,
    UserChanges, UserId, UserKind, UserStatus, perm,
};
use serde_json::{Value, json};

use crate::bootstrap::SET_UP_BY;
use crate::page::{Cursor, Page, PageRequest};
use crate::transaction::{Expected, check_expected, ended, written};
use crate::workspace::participants::check_place;
use crate::{App, Error, Resource};

pub use scaigrid_persistence::users::UserFilter;

/// A user as they are asked for.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// Their address.
    pub email: Email,
    /// Their name, if they gave one.
    pub display_name: Option<Name>,
    /// Person or program.
    pub kind: UserKind,
    /// Their built-in roles.
    pub roles: Roles,
    /// Their custom roles.
    pub custom_roles: Vec<CustomRoleId>,
}

/// A user with the custom roles that they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub user: User,
    /// Their custom roles, by id.
    pub custom_roles: Vec<CustomRoleId>,
}

/// A user as the audit log tells of them.
pub(crate) fn state(user: &User) -> Value {
    json!({
        "email": user.email.as_str(),
        "display_name": user.display_name.as_ref().map(Name::as_str),
        "kind": user.kind.as_str(),
        "status": user.status.as_str(),
        "roles": user.roles.iter().map(Role::as_str).collect::<Vec<_>>(),
    })
}

/// A user with their custom roles, as the audit log tells of them.
pub(crate) fn account_state(account: &Account) -> Value {
    let mut state = state(&account.user);
    state["custom_role_ids"] = account.custom_roles.iter().map(ToString::to_string).collect();
    state
}

/// Whether the caller may change someone: nobody changes those who may do more than they could give.
pub(crate) async fn may_manage(c: &mut Connection, caller: &Principal, user: &User) -> Result<(), Error> {
    let granted = grants::held(c, caller.tenant_scope(), user.id).await?;
    Ok(caller.check_manage(user.roles, &granted)?)
}

/// A user with their custom roles.
pub(crate) async fn account(c: &mut Connection, scope: TenantScope, user: User) -> Result<Account, Error> {
    let mut held = custom_roles::held_by(c, scope, &[user.id]).await?;
    Ok(Account { custom_roles: held.remove(&user.id).unwrap_or_default(), user })
}

/// How many users a tenant may have: the smaller of its own limit and its partner's.
pub(crate) fn user_limit(own: Option<u32>, partners: Option<u32>) -> Option<u32> {
    match (own, partners) {
        (Some(own), Some(partners)) => Some(own.min(partners)),
        (own, partners) => own.or(partners),
    }
}

impl App {
    /// The users of the tenant, newest first.
    #[boxed]
    pub async fn users(
        &self,
        caller: &Authorized<perm::UsersManage>,
        filter: &UserFilter,
        page: &PageRequest,
    ) -> Result<Page<Account>, Error> {
        let scope = caller.tenant_scope();
        let mut connection = self.0.database.read().await?;
        let rows = users::list(&mut connection, scope, filter, page.after()?, page.rows()).await?;
        let page = Page::of_rows(rows, page, |user| Cursor::new([user.id.to_string().into()]));
        let ids: Vec<UserId> = page.items.iter().map(|user| user.id).collect();
        let mut held = custom_roles::held_by(&mut connection, scope, &ids).await?;
        Ok(page.map(|user| Account { custom_roles: held.remove(&user.id).unwrap_or_default(), user }))
    }

    /// A user of the tenant, or the caller themselves.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] for somebody else without `users:manage`, [`Error::NotFound`].
    #[boxed]
    pub async fn user(&self, caller: &Arc<Principal>, id: UserId) -> Result<Account, Error> {
        if id != caller.user_id() {
            caller.authorize::<perm::UsersManage>()?;
        }
        let mut connection = self.0.database.read().await?;
        let scope = caller.tenant_scope();
        let user = present(&mut connection, scope, id).await?;
        account(&mut connection, scope, user).await
    }

    /// Adds a user to the tenant.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] for a role that the caller cannot give, [`Error::Invalid`] for a custom role that there is
    /// not, [`Error::Capacity`] when the tenant is full, [`Error::Conflict`] when the address is taken.
    #[boxed]
    pub async fn create_user(
        &self,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        new: NewUser,
    ) -> Result<Account, Error> {
        let mut tx = self.0.database.begin().await?;
        let created = self.add_user(&mut tx, caller, request, new).await;
        let created = ended(tx, created).await?;
        self.people_changed();
        Ok(created)
    }

    async fn add_user(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        new: NewUser,
    ) -> Result<Account, Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        // Whoever adds a user holds the tenant meanwhile, so that two do not both take the last place.
        let tenant = tenants::lock(tx, scope).await?.ok_or(Error::NotFound(Resource::Tenant))?;
        let caller = &self.anew(tx, caller).await?;
        caller.check_assign(new.roles)?;
        let partner = partners::lookup(tx, self.0.system.partner(tenant.partner_id)).await?;
        let partners_limit = partner.and_then(|partner| partner.limits.max_users_per_tenant);
        if let Some(limit) = user_limit(tenant.limits.max_users, partners_limit) {
            let present = users::count(tx, scope, &UserFilter::default()).await?;
            if present >= i64::from(limit) {
                return Err(Error::Capacity { what: "users".into(), limit: limit.into() });
            }
        }
        if users::find_by_email(tx, scope, &new.email).await?.is_some() {
            return Err(address_taken(&new.email));
        }
        check_place(tx, scope, &tenant.limits).await?;
        let custom_roles = crate::rights::assignable(tx, caller, &new.custom_roles, &[]).await?;
        let user = User {
            id: UserId::from_ulid(self.0.ids.draw(now)),
            tenant_id: scope.tenant_id(),
            email: new.email,
            display_name: new.display_name,
            kind: new.kind,
            status: UserStatus::Active,
            roles: new.roles,
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        users::add(tx, scope, &user).await.map_err(|error| match error {
            persistence::Error::Duplicate(_) => address_taken(&user.email),
            other => other.into(),
        })?;
        custom_roles::set_held(tx, scope, user.id, &custom_roles).await?;
        let account = Account { user, custom_roles };
        let changes = diff(&Value::Null, &account_state(&account), &[]);
        let stamp = self.audit_stamp(now);
        let action = AuditAction::UserCreate;
        let id = account.user.id.to_string();
        let record = AuditRecord::in_tenant(stamp, caller, request, action, id, changes);
        audit::add(tx, &record).await?;
        Ok(account)
    }

    /// Removes a user: they and their keys count no more at once, and they are in no group and hold nothing any more. What
    /// names them goes on to do so.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PermissionDenied`] for someone who may do more than the caller,
    /// [`Error::PreconditionFailed`], [`Error::Conflict`] for the caller themselves and for the last active super admin.
    pub async fn delete_user(
        &self,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        id: UserId,
        expected: Expected<'_>,
    ) -> Result<(), Error> {
        let mut tx = self.0.database.begin().await?;
        let removed = self.remove_user(&mut tx, caller, request, id, expected).await;
        ended(tx, removed).await?;
        self.people_changed();
        Ok(())
    }

    async fn remove_user(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        id: UserId,
        expected: Expected<'_>,
    ) -> Result<(), Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        let before = held(tx, scope, id).await?;
        let caller = &self.anew(tx, caller).await?;
        if id == caller.user_id() {
            return Err(Error::Conflict("Nobody can remove themselves".to_owned()));
        }
        may_manage(tx, caller, &before).await?;
        check_expected(expected, before.revision)?;
        self.keep_a_super_admin(tx, &before).await?;
        let changes = UserChanges { status: Some(UserStatus::Deleted), ..UserChanges::default() };
        written(users::update(tx, scope, id, None, &changes, now).await?, Resource::User)?;
        let revoked = persistence::api_keys::revoke_all_of(tx, scope, id, now).await?;
        persistence::workspace_memories::forget_all(tx, scope, id).await?;
        let left = groups::remove_from_all(tx, scope, id, now).await?;
        let granted = grants::lookup(tx, scope, id).await?;
        grants::put(tx, scope, id, &Permissions::default()).await?;
        let before = account(tx, scope, before).await?;
        custom_roles::set_held(tx, scope, id, &[]).await?;

        let user = User { status: UserStatus::Deleted, ..before.user.clone() };
        let after = Account { user, custom_roles: Vec::new() };
        let (mut was, mut is) = (account_state(&before), account_state(&after));
        was["keys"] = revoked.iter().map(ToString::to_string).collect();
        was["groups"] = left.iter().map(ToString::to_string).collect();
        was["module_permissions"] = granted.iter().map(|key| key.to_string()).collect();
        for gone in ["keys", "groups", "module_permissions"] {
            is[gone] = json!([]);
        }
        let stamp = self.audit_stamp(now);
        let changes = diff(&was, &is, &[]);
        let record =
            AuditRecord::in_tenant(stamp, caller, request, AuditAction::UserDelete, id.to_string(), changes);
        audit::add(tx, &record).await?;
        Ok(())
    }

    /// Changes a user's name or status. A suspended user and their keys count no more at once, and do again when they are
    /// made active; what was started for them goes on, and what asks them waits.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::PermissionDenied`] for someone who may do more than the caller;
    /// [`Error::PreconditionFailed`]; [`Error::Conflict`] for the caller's own status, and for the last active super admin.
    pub async fn update_user(
        &self,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        id: UserId,
        expected: Expected<'_>,
        changes: UserChanges,
    ) -> Result<Account, Error> {
        let mut tx = self.0.database.begin().await?;
        let user = self.change_user(&mut tx, caller, request, id, expected, changes).await;
        let user = ended(tx, user).await?;
        self.people_changed();
        Ok(user)
    }

    async fn change_user(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        id: UserId,
        expected: Expected<'_>,
        changes: UserChanges,
    ) -> Result<Account, Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        let before = held(tx, scope, id).await?;
        let caller = &self.anew(tx, caller).await?;
        may_manage(tx, caller, &before).await?;
        check_expected(expected, before.revision)?;
        let mut after = before.clone();
        after.display_name = changes.display_name.unwrap_or(after.display_name);
        after.status = changes.status.unwrap_or(after.status);
        if after == before {
            return account(tx, scope, before).await;
        }
        if after.status != before.status && id == caller.user_id() {
            return Err(Error::Conflict("Nobody can change their own status".to_owned()));
        }
        if after.status != UserStatus::Active {
            self.keep_a_super_admin(tx, &before).await?;
        }
        let changes = UserChanges {
            display_name: Some(after.display_name.clone()),
            status: Some(after.status),
            roles: None,
        };
        written(users::update(tx, scope, id, None, &changes, now).await?, Resource::User)?;
        (after.revision, after.updated_at) = (before.revision + 1, now);
        let stamp = self.audit_stamp(now);
        let changes = diff(&state(&before), &state(&after), &[]);
        let action = AuditAction::UserUpdate;
        let record = AuditRecord::in_tenant(stamp, caller, request, action, id.to_string(), changes);
        audit::add(tx, &record).await?;
        account(tx, scope, after).await
    }

    /// To be asked before an active super admin stops being one: somebody has to be left who can undo it.
    pub(crate) async fn keep_a_super_admin(&self, tx: &mut Transaction, user: &User) -> Result<(), Error> {
        if user.status != UserStatus::Active || !user.roles.contains(Role::SuperAdmin) {
            return Ok(());
        }
        // One at a time on the whole platform: of two who take each other down, the second must see what the first did.
        platform_facts::lock(tx, SET_UP_BY).await?;
        if users::another_super_admin(tx, &self.0.system, user.id).await? {
            return Ok(());
        }
        Err(Error::Conflict("The last active super admin must stay one".to_owned()))
    }
}

fn address_taken(email: &Email) -> Error {
    Error::Taken { field: "email", message: format!("A user with the address {email} exists already") }
}

/// A user who was not deleted.
async fn present(c: &mut Connection, scope: TenantScope, id: UserId) -> Result<User, Error> {
    let user = users::lookup(c, scope, id).await?.filter(|user| user.status != UserStatus::Deleted);
    user.ok_or(Error::NotFound(Resource::User))
}

/// A user who was not deleted, held until the transaction ends, and the tenant with them: whatever changes who people are
/// and what they hold is done one at a time in a tenant, so that nothing is given behind the back of whoever checks it.
pub(crate) async fn held(tx: &mut Transaction, scope: TenantScope, id: UserId) -> Result<User, Error> {
    tenants::lock(tx, scope).await?.ok_or(Error::NotFound(Resource::Tenant))?;
    let user = users::lock(tx, scope, id).await?.filter(|user| user.status != UserStatus::Deleted);
    user.ok_or(Error::NotFound(Resource::User))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_limit_counts() {
        assert_eq!(user_limit(None, None), None);
        assert_eq!(user_limit(Some(3), None), Some(3));
        assert_eq!(user_limit(None, Some(4)), Some(4));
        assert_eq!(user_limit(Some(3), Some(2)), Some(2));
    }
}
