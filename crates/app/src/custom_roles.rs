//! Custom roles: permissions that a tenant gives together.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_persistence::{self as persistence, Transaction, api_keys, audit, custom_roles, tenants};
use scaigrid_scope::{
    Authorized, CustomRole, CustomRoleChanges, CustomRoleId, Description, Name, Permissions, Roles, Slug,
    TenantScope, perm,
};
use serde_json::{Value, json};

use crate::page::{Cursor, Page, PageRequest};
use crate::rights::{comes_to_govern, keys, lose_keys, stays_in};
use crate::transaction::{Expected, check_expected, ended, written};
use crate::{App, Error, Resource};

/// A custom role as it is asked for.
#[derive(Debug, Clone)]
pub struct NewCustomRole {
    /// Its name for people.
    pub name: Name,
    /// Its name for programs; made of the name when left out.
    pub slug: Option<Slug>,
    /// What it is for.
    pub description: Option<Description>,
    /// What it gives.
    pub permissions: Permissions,
}

/// What is to be changed of a custom role; what is left out stays.
#[derive(Debug, Clone, Default)]
pub struct CustomRoleEdits {
    /// The new name.
    pub name: Option<Name>,
    /// The new description, or none from now on.
    pub description: Option<Option<Description>>,
    /// The platform's permissions that it gives from now on, all of them.
    pub core: Option<Permissions>,
    /// The modules' permissions that it gives from now on, all of them.
    pub modules: Option<Permissions>,
}

/// A custom role as the audit log tells of it.
fn state(role: &CustomRole) -> Value {
    json!({
        "name": role.name.as_str(),
        "slug": role.slug.as_str(),
        "description": role.description.as_ref().map(Description::as_str),
        "permissions": keys(&role.permissions),
    })
}

/// The slug that was asked for, else the one that the name suggests.
pub(crate) fn slug_of(slug: Option<Slug>, name: &Name) -> Result<Slug, Error> {
    let suggested = slug.or_else(|| Slug::from_name(name.as_str()));
    suggested.ok_or_else(|| Error::invalid("slug", "is needed, since the name has neither letter nor digit"))
}

/// Whether a role, or a direct grant, may give so much.
pub(crate) fn bounded(permissions: &Permissions) -> Result<(), Error> {
    if permissions.iter().count() <= CustomRole::MAX_PERMISSIONS {
        return Ok(());
    }
    Err(Error::invalid("permissions", format!("must be at most {}", CustomRole::MAX_PERMISSIONS)))
}

impl App {
    /// The custom roles of the tenant, newest first.
    #[boxed]
    pub async fn custom_roles(
        &self,
        caller: &Authorized<perm::UsersManage>,
        page: &PageRequest,
    ) -> Result<Page<CustomRole>, Error> {
        let mut connection = self.0.database.read().await?;
        let rows =
            custom_roles::list(&mut connection, caller.tenant_scope(), page.after()?, page.rows()).await?;
        Ok(Page::of_rows(rows, page, |role| Cursor::new([role.id.to_string().into()])))
    }

    /// A custom role of the tenant.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[boxed]
    pub async fn custom_role(
        &self,
        caller: &Authorized<perm::UsersManage>,
        id: CustomRoleId,
    ) -> Result<CustomRole, Error> {
        let mut connection = self.0.database.read().await?;
        let found = custom_roles::lookup(&mut connection, caller.tenant_scope(), id).await?;
        found.ok_or(Error::NotFound(Resource::CustomRole))
    }

    /// Makes a custom role.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] for a permission that the caller lacks, [`Error::SlugConflict`], [`Error::Invalid`] for too
    /// many permissions, and when the name suggests no slug.
    #[boxed]
    pub async fn create_custom_role(
        &self,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        new: NewCustomRole,
    ) -> Result<CustomRole, Error> {
        bounded(&new.permissions)?;
        let mut tx = self.0.database.begin().await?;
        let role = self.add_custom_role(&mut tx, caller, request, new).await;
        ended(tx, role).await
    }

    async fn add_custom_role(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        new: NewCustomRole,
    ) -> Result<CustomRole, Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        tenants::lock(tx, scope).await?.ok_or(Error::NotFound(Resource::Tenant))?;
        let caller = &self.anew(tx, caller).await?;
        caller.check_grant(&new.permissions)?;
        let slug = slug_of(new.slug, &new.name)?;
        let taken = || Error::slug_taken(&slug);
        if custom_roles::find_by_slug(tx, scope, &slug).await?.is_some() {
            return Err(taken());
        }
        let role = CustomRole {
            id: CustomRoleId::from_ulid(self.0.ids.draw(now)),
            tenant_id: scope.tenant_id(),
            slug: slug.clone(),
            name: new.name,
            description: new.description,
            permissions: new.permissions,
            created_by: caller.user_id(),
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        custom_roles::add(tx, scope, &role).await.map_err(|error| match error {
            persistence::Error::Duplicate(_) => taken(),
            other => other.into(),
        })?;
        let stamp = self.audit_stamp(now);
        let changes = diff(&Value::Null, &state(&role), &[]);
        let action = AuditAction::CustomRoleCreate;
        let record = AuditRecord::in_tenant(stamp, caller, request, action, role.id.to_string(), changes);
        audit::add(tx, &record).await?;
        Ok(role)
    }

    /// Changes a custom role, for all who hold it at once.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::PermissionDenied`] for a permission that the caller lacks, new or old;
    /// [`Error::PreconditionFailed`]; [`Error::Conflict`] for whoever would lock themselves out.
    pub async fn update_custom_role(
        &self,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        id: CustomRoleId,
        expected: Expected<'_>,
        edits: CustomRoleEdits,
    ) -> Result<CustomRole, Error> {
        let mut tx = self.0.database.begin().await?;
        let role = self.change_custom_role(&mut tx, caller, request, id, expected, edits).await;
        let role = ended(tx, role).await?;
        self.people_changed();
        Ok(role)
    }

    async fn change_custom_role(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        id: CustomRoleId,
        expected: Expected<'_>,
        edits: CustomRoleEdits,
    ) -> Result<CustomRole, Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        let before = held(tx, scope, id).await?;
        let caller = &self.anew(tx, caller).await?;
        caller.check_manage(Roles::NONE, &before.permissions)?;
        let mut after = before.clone();
        after.name = edits.name.unwrap_or(after.name);
        after.description = edits.description.unwrap_or(after.description);
        let (core, modules) = before.permissions.split();
        after.permissions = edits.core.unwrap_or(core).union(&edits.modules.unwrap_or(modules));
        caller.check_grant(&after.permissions.without(&before.permissions))?;
        bounded(&after.permissions)?;
        check_expected(expected, before.revision)?;
        if after == before {
            return Ok(before);
        }
        let changes = CustomRoleChanges {
            name: Some(after.name.clone()),
            description: Some(after.description.clone()),
            permissions: Some(after.permissions.clone()),
        };
        written(custom_roles::update(tx, scope, id, &changes, now).await?, Resource::CustomRole)?;
        stays_in(tx, caller).await?;
        let governs = comes_to_govern(Roles::NONE, &before.permissions, Roles::NONE, &after.permissions);
        let lost = if governs {
            let holders = custom_roles::holders(tx, scope, id).await?;
            api_keys::revoke_made_by_others(tx, scope, &holders, Some(caller.user_id()), now).await?
        } else {
            Vec::new()
        };
        (after.revision, after.updated_at) = (before.revision + 1, now);
        let stamp = self.audit_stamp(now);
        let (mut was, mut is) = (state(&before), state(&after));
        lose_keys(&mut was, &mut is, &lost);
        let changes = diff(&was, &is, &[]);
        let action = AuditAction::CustomRoleUpdate;
        let record = AuditRecord::in_tenant(stamp, caller, request, action, id.to_string(), changes);
        audit::add(tx, &record).await?;
        Ok(after)
    }

    /// Removes a custom role, and takes it from all who hold it, at once.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::PermissionDenied`] for a permission of the role that the caller lacks;
    /// [`Error::PreconditionFailed`]; [`Error::Conflict`] for whoever would lock themselves out.
    pub async fn delete_custom_role(
        &self,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        id: CustomRoleId,
        expected: Expected<'_>,
    ) -> Result<(), Error> {
        let mut tx = self.0.database.begin().await?;
        let removed = self.remove_custom_role(&mut tx, caller, request, id, expected).await;
        ended(tx, removed).await?;
        self.people_changed();
        Ok(())
    }

    async fn remove_custom_role(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        id: CustomRoleId,
        expected: Expected<'_>,
    ) -> Result<(), Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        let before = held(tx, scope, id).await?;
        let caller = &self.anew(tx, caller).await?;
        caller.check_manage(Roles::NONE, &before.permissions)?;
        check_expected(expected, before.revision)?;
        let holders = custom_roles::take_from_all(tx, scope, id, now).await?;
        if !custom_roles::remove(tx, scope, id).await? {
            return Err(Error::NotFound(Resource::CustomRole));
        }
        stays_in(tx, caller).await?;
        let mut was = state(&before);
        was["holders"] = holders.iter().map(ToString::to_string).collect();
        let changes = diff(&was, &Value::Null, &[]);
        let action = AuditAction::CustomRoleDelete;
        let stamp = self.audit_stamp(now);
        let record = AuditRecord::in_tenant(stamp, caller, request, action, id.to_string(), changes);
        audit::add(tx, &record).await?;
        // What happened to a user is found by the user too.
        for holder in holders {
            let lost = json!({"custom_role_ids": [id.to_string()]});
            let changes = diff(&lost, &json!({"custom_role_ids": []}), &[]);
            let (action, stamp) = (AuditAction::UserRoleUpdated, self.audit_stamp(now));
            let record = AuditRecord::in_tenant(stamp, caller, request, action, holder.to_string(), changes);
            audit::add(tx, &record).await?;
        }
        Ok(())
    }
}

/// A custom role, held until the transaction ends, and the tenant with it: see [`crate::users::held`].
async fn held(tx: &mut Transaction, scope: TenantScope, id: CustomRoleId) -> Result<CustomRole, Error> {
    tenants::lock(tx, scope).await?.ok_or(Error::NotFound(Resource::Tenant))?;
    let role = custom_roles::lookup(tx, scope, id).await?;
    role.ok_or(Error::NotFound(Resource::CustomRole))
}
