//! Users: the accounts of a tenant, and what they are allowed by their roles.

use std::sync::Arc;

use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_persistence::{self as persistence, Connection, Transaction, audit, partners, tenants, users};
use scaigrid_scope::{
    Authorized, Email, Name, Permission, Principal, Role, Roles, TenantScope, User, UserChanges, UserId,
    UserKind, UserStatus, perm,
};
use serde_json::{Value, json};

use crate::page::{Cursor, Page, PageRequest};
use crate::transaction::{Expected, check_expected, ended, written};
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

/// Whether the caller may change someone: nobody changes those who hold a role that they could not give.
pub(crate) fn may_manage(caller: &Principal, user: &User) -> Result<(), Error> {
    user.roles.iter().try_for_each(|role| may_assign(caller, role))
}

fn may_assign(caller: &Principal, role: Role) -> Result<(), Error> {
    if caller.may_assign(role) {
        return Ok(());
    }
    let bundle = role.permissions();
    let lacking = bundle.iter().find(|key| !caller.may_grant(key));
    let permission =
        lacking.map_or_else(|| Permission::UsersManage.as_str().to_owned(), |key| key.to_string());
    Err(Error::PermissionDenied { permission: permission.into() })
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
    pub async fn users(
        &self,
        caller: &Authorized<perm::UsersManage>,
        filter: &UserFilter,
        page: &PageRequest,
    ) -> Result<Page<User>, Error> {
        let mut connection = self.0.database.read().await?;
        let rows =
            users::list(&mut connection, caller.tenant_scope(), filter, page.after()?, page.rows()).await?;
        Ok(Page::of_rows(rows, page, |user| Cursor::new([user.id.to_string().into()])))
    }

    /// A user of the tenant, or the caller themselves.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] for somebody else without `users:manage`, [`Error::NotFound`].
    pub async fn user(&self, caller: &Arc<Principal>, id: UserId) -> Result<User, Error> {
        if id != caller.user_id() {
            caller.authorize::<perm::UsersManage>()?;
        }
        let mut connection = self.0.database.read().await?;
        present(&mut connection, caller.tenant_scope(), id).await
    }

    /// Adds a user to the tenant.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] for a role that the caller cannot give, [`Error::Capacity`] when the tenant is full,
    /// [`Error::Conflict`] when the address is taken.
    pub async fn create_user(
        &self,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        new: NewUser,
    ) -> Result<User, Error> {
        new.roles.iter().try_for_each(|role| may_assign(caller, role))?;
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
    ) -> Result<User, Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        // Whoever adds a user holds the tenant meanwhile, so that two do not both take the last place.
        let tenant = tenants::lock(tx, scope).await?.ok_or(Error::NotFound(Resource::Tenant))?;
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
        let changes = diff(&Value::Null, &state(&user), &[]);
        let stamp = self.audit_stamp(now);
        let action = AuditAction::UserCreate;
        let record = AuditRecord::in_tenant(stamp, caller, request, action, user.id.to_string(), changes);
        audit::add(tx, &record).await?;
        Ok(user)
    }

    /// Removes a user: they and their keys count no more at once. What names them goes on to do so.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PermissionDenied`] for someone who may do more than the caller, [`Error::Conflict`]
    /// for the caller themselves.
    pub async fn delete_user(
        &self,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        id: UserId,
    ) -> Result<(), Error> {
        let mut tx = self.0.database.begin().await?;
        let removed = self.remove_user(&mut tx, caller, request, id).await;
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
    ) -> Result<(), Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        let before = held(tx, scope, id).await?;
        if id == caller.user_id() {
            return Err(Error::Conflict("Nobody can remove themselves".to_owned()));
        }
        may_manage(caller, &before)?;
        let changes = UserChanges { status: Some(UserStatus::Deleted), ..UserChanges::default() };
        written(users::update(tx, scope, id, None, &changes, now).await?, Resource::User)?;
        let revoked = persistence::api_keys::revoke_all_of(tx, scope, id, now).await?;

        let after = User { status: UserStatus::Deleted, ..before.clone() };
        let (mut was, mut is) = (state(&before), state(&after));
        was["keys"] = revoked.iter().map(ToString::to_string).collect();
        is["keys"] = json!([]);
        let stamp = self.audit_stamp(now);
        let changes = diff(&was, &is, &[]);
        let record =
            AuditRecord::in_tenant(stamp, caller, request, AuditAction::UserDelete, id.to_string(), changes);
        audit::add(tx, &record).await?;
        Ok(())
    }

    /// Gives a user other roles, all at once. A set that they hold already changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::PermissionDenied`] for a role, given or taken, that the caller cannot give;
    /// [`Error::PreconditionFailed`]; [`Error::Conflict`] for a super admin who would stop being one by their own hand.
    pub async fn set_user_roles(
        &self,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        id: UserId,
        expected: Expected<'_>,
        roles: Roles,
    ) -> Result<User, Error> {
        let mut tx = self.0.database.begin().await?;
        let user = self.change_roles(&mut tx, caller, request, id, expected, roles).await;
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
        roles: Roles,
    ) -> Result<User, Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        let before = held(tx, scope, id).await?;
        may_manage(caller, &before)?;
        roles.iter().try_for_each(|role| may_assign(caller, role))?;
        check_expected(expected, before.revision)?;
        if before.roles == roles {
            return Ok(before);
        }
        // Someone has to be left who can undo it.
        if id == caller.user_id()
            && before.roles.contains(Role::SuperAdmin)
            && !roles.contains(Role::SuperAdmin)
        {
            return Err(Error::Conflict("A super admin cannot give up that role by themselves".to_owned()));
        }
        let changes = UserChanges { roles: Some(roles), ..UserChanges::default() };
        written(users::update(tx, scope, id, None, &changes, now).await?, Resource::User)?;
        let after = User { roles, revision: before.revision + 1, updated_at: now, ..before.clone() };
        let stamp = self.audit_stamp(now);
        let changes = diff(&state(&before), &state(&after), &[]);
        let action = AuditAction::UserRoleUpdated;
        let record = AuditRecord::in_tenant(stamp, caller, request, action, id.to_string(), changes);
        audit::add(tx, &record).await?;
        Ok(after)
    }
}

fn address_taken(email: &Email) -> Error {
    Error::Conflict(format!("A user with the address {email} exists already"))
}

/// A user who was not deleted.
async fn present(c: &mut Connection, scope: TenantScope, id: UserId) -> Result<User, Error> {
    let user = users::lookup(c, scope, id).await?.filter(|user| user.status != UserStatus::Deleted);
    user.ok_or(Error::NotFound(Resource::User))
}

/// A user who was not deleted, held until the transaction ends.
async fn held(tx: &mut Transaction, scope: TenantScope, id: UserId) -> Result<User, Error> {
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
