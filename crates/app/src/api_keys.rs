//! API keys: what a user, or a program of theirs, calls with.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_persistence::{Transaction, api_keys, audit, grants, tenants, users};
use scaigrid_scope::{
    ApiKey, ApiKeyId, Authorized, Instant, Name, Permission, PermissionKey, Permissions, PlaintextKey,
    Principal, UserId, UserStatus, perm,
};
use serde_json::{Value, json};

use crate::page::{Cursor, Page, PageRequest};
use crate::transaction::ended;
use crate::{App, Error, FieldError, Resource};

/// A key as it is asked for.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// What its holder calls it.
    pub name: Name,
    /// From when on it counts no more; never when left out.
    pub expires_at: Option<Instant>,
    /// What it is limited to. Left out, it can do what its holder may, or what the key can that it is made with.
    pub scopes: Option<Vec<PermissionKey>>,
    /// Whose it will be, when not the caller's own.
    pub assigned_user_id: Option<UserId>,
}

/// A key that was just made: the only time that it is seen.
#[derive(Debug, Clone)]
pub struct CreatedApiKey {
    /// What is kept.
    pub key: ApiKey,
    /// What its holder presents from now on.
    pub plaintext: PlaintextKey,
}

/// A key as the audit log tells of it.
pub(crate) fn state(key: &ApiKey) -> Value {
    json!({
        "name": key.name.as_str(),
        "user_id": key.user_id,
        "prefix": key.prefix,
        "scopes": key.scopes.as_ref().map(|scopes| scopes.iter().map(|key| key.to_string()).collect::<Vec<_>>()),
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    })
}

impl App {
    /// The caller's own keys, newest first, without those that were taken back.
    #[boxed]
    pub async fn api_keys(
        &self,
        caller: &Authorized<perm::ApiKeysManage>,
        page: &PageRequest,
    ) -> Result<Page<ApiKey>, Error> {
        let filter = api_keys::ApiKeyFilter { user_id: Some(caller.user_id()), revoked_too: false };
        let mut connection = self.0.database.read().await?;
        let rows =
            api_keys::list(&mut connection, caller.tenant_scope(), &filter, page.after()?, page.rows())
                .await?;
        Ok(Page::of_rows(rows, page, |key| Cursor::new([key.id.to_string().into()])))
    }

    /// The keys of the tenant, or of one user in it, newest first, without those that were taken back.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn tenant_api_keys(
        &self,
        caller: &Authorized<perm::UsersManage>,
        user: Option<UserId>,
        page: &PageRequest,
    ) -> Result<Page<ApiKey>, Error> {
        let filter = api_keys::ApiKeyFilter { user_id: user, revoked_too: false };
        let scope = caller.tenant_scope();
        let mut connection = self.0.database.read().await?;
        let rows = api_keys::list(&mut connection, scope, &filter, page.after()?, page.rows()).await?;
        Ok(Page::of_rows(rows, page, |key| Cursor::new([key.id.to_string().into()])))
    }

    /// Makes a key, for the caller or, with `users:manage`, for someone in the tenant.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an expiry that has passed, for a scope that is not held by both the author and the holder, and
    /// for a user who is not there; [`Error::PermissionDenied`] when the holder may do more than the author.
    #[boxed]
    pub async fn create_api_key(
        &self,
        caller: &Authorized<perm::ApiKeysManage>,
        request: &RequestContext,
        new: NewApiKey,
    ) -> Result<CreatedApiKey, Error> {
        let mut tx = self.0.database.begin().await?;
        let created = self.add_api_key(&mut tx, caller, request, new).await;
        let created = ended(tx, created).await?;
        self.people_changed();
        Ok(created)
    }

    async fn add_api_key(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::ApiKeysManage>,
        request: &RequestContext,
        new: NewApiKey,
    ) -> Result<CreatedApiKey, Error> {
        let now = self.now();
        let scope = caller.tenant_scope();
        tenants::lock(tx, scope).await?.ok_or(Error::NotFound(Resource::Tenant))?;
        let caller = &self.anew(tx, caller).await?;
        let holder_id = new.assigned_user_id.unwrap_or(caller.user_id());
        let own = holder_id == caller.user_id();
        if !own && !caller.permissions().contains(Permission::UsersManage) {
            return Err(Error::PermissionDenied { permission: Permission::UsersManage.as_str().into() });
        }
        // Someone who acts in a tenant from above has no account there that a key could belong to.
        let nobody = || Error::invalid("assigned_user_id", "must be an active user of the tenant");
        let holder = users::lock(tx, scope, holder_id).await?;
        let holder = holder.filter(|user| user.status == UserStatus::Active).ok_or_else(nobody)?;
        if !own {
            crate::users::may_manage(tx, caller, &holder).await?;
        }
        if new.expires_at.is_some_and(|expiry| expiry <= now) {
            return Err(Error::invalid("expires_at", "must be in the future"));
        }
        let held = holder.roles.permissions().union(&grants::held(tx, scope, holder.id).await?);
        let scopes = scopes(caller, &held, new.scopes)?;

        let plaintext = PlaintextKey::generate(&rand::random());
        let key = ApiKey {
            id: ApiKeyId::from_ulid(self.0.ids.draw(now)),
            tenant_id: scope.tenant_id(),
            user_id: holder.id,
            name: new.name,
            prefix: plaintext.prefix().to_owned(),
            scopes,
            expires_at: new.expires_at,
            revoked_at: None,
            created_at: now,
            created_by: Some(caller.user_id()),
        };
        api_keys::add(tx, scope, &key, &plaintext.hash()).await?;
        let changes = diff(&Value::Null, &state(&key), &[]);
        let stamp = self.audit_stamp(now);
        let action = AuditAction::ApiKeyCreate;
        let record = AuditRecord::in_tenant(stamp, caller, request, action, key.id.to_string(), changes);
        audit::add(tx, &record).await?;
        Ok(CreatedApiKey { key, plaintext })
    }

    /// Takes a key back: one's own, or with `users:manage` one of somebody in the tenant. It counts no more at once.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, it is somebody else's, or it was taken back before.
    #[boxed]
    pub async fn revoke_api_key(
        &self,
        caller: &Authorized<perm::ApiKeysManage>,
        request: &RequestContext,
        id: ApiKeyId,
    ) -> Result<(), Error> {
        let mut tx = self.0.database.begin().await?;
        let revoked = self.take_back(&mut tx, caller, request, id).await;
        ended(tx, revoked).await?;
        self.people_changed();
        Ok(())
    }

    async fn take_back(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::ApiKeysManage>,
        request: &RequestContext,
        id: ApiKeyId,
    ) -> Result<(), Error> {
        let missing = || Error::NotFound(Resource::ApiKey);
        let (now, scope) = (self.now(), caller.tenant_scope());
        let before = api_keys::lookup(tx, scope, id).await?.ok_or_else(missing)?;
        if before.user_id != caller.user_id() {
            if !caller.permissions().contains(Permission::UsersManage) {
                return Err(missing());
            }
            let holder = users::lookup(tx, scope, before.user_id).await?.ok_or_else(missing)?;
            crate::users::may_manage(tx, caller, &holder).await?;
        }
        if !api_keys::revoke(tx, scope, id, now).await? {
            return Err(missing());
        }
        let after = ApiKey { revoked_at: Some(now), ..before.clone() };
        let changes = diff(&state(&before), &state(&after), &[]);
        let stamp = self.audit_stamp(now);
        let record = AuditRecord::in_tenant(
            stamp,
            caller,
            request,
            AuditAction::ApiKeyDelete,
            id.to_string(),
            changes,
        );
        audit::add(tx, &record).await?;
        Ok(())
    }
}

/// What a new key is limited to.
///
/// Nobody gives what they lack: each scope is held by the author, and by the holder, whom it would be of no use to
/// otherwise. A key that is made with a limited one is limited as that is, unless it is asked to be narrower still.
fn scopes(
    author: &Principal,
    held: &Permissions,
    asked: Option<Vec<PermissionKey>>,
) -> Result<Option<Permissions>, Error> {
    let Some(asked) = asked else { return Ok(author.identity().credential.scopes().cloned()) };
    if asked.is_empty() {
        return Err(Error::invalid(
            "scopes",
            "must not be empty; leave it out for all that the holder may do",
        ));
    }
    let problems: Vec<FieldError> = asked
        .iter()
        .enumerate()
        .filter_map(|(index, key)| {
            let whose = if !author.may_grant(key) {
                "you do not hold this permission"
            } else if !held.contains_key(key) {
                "the holder does not have this permission"
            } else {
                return None;
            };
            Some(FieldError::new(format!("scopes[{index}]"), whose))
        })
        .collect();
    if problems.is_empty() { Ok(Some(asked.into_iter().collect())) } else { Err(Error::Invalid(problems)) }
}
