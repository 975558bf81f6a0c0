//! The prompt studio: whether it is switched on, and who may use it.
//!
//! That it is on is one of the tenant's feature flags; who may use it is a setting beside them. Both are read and written
//! together, under the tenant's row lock.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_persistence::workspace_settings::{self as settings, SettingName};
use scaigrid_persistence::{Connection, Transaction, audit, custom_roles, groups, tenants, users};
use scaigrid_scope::{
    Authorized, CustomRoleId, Email, Features, GroupId, Role, Slug, Tenant, TenantChanges, TenantScope,
    UserId, UserStatus, perm,
};
use scaigrid_workspace::studio::{AllowLists, AllowedRole, Visitor};
use serde_json::Value;

use super::{check_fingerprint, fingerprint};
use crate::transaction::{Expected, ended, written};
use crate::{App, Error, FieldError, Resource};

pub use scaigrid_workspace::studio::{Access, PromptStudio, Reason};

/// The feature whose flag switches the studio.
const FEATURE: &str = "prompt_studio";

/// What is to be changed of the studio; what is left out stays.
#[derive(Debug, Clone, Default)]
pub struct StudioEdits {
    /// Whether it is switched on.
    pub enabled: Option<bool>,
    /// The roles that open it, all of them: built-in ones by name, the tenant's own by id or slug.
    pub allowed_roles: Option<Vec<String>>,
    /// The groups, all of them, by id or slug.
    pub allowed_groups: Option<Vec<String>>,
    /// The users, all of them, by id or address.
    pub allowed_users: Option<Vec<String>>,
}

/// The studio of a tenant, and what tells this state of it from others.
async fn studio_of(
    c: &mut Connection,
    scope: TenantScope,
    tenant: &Tenant,
) -> Result<(PromptStudio, u64), Error> {
    let kept = settings::read(c, scope, SettingName::PromptStudio).await?;
    let studio = PromptStudio {
        enabled: tenant.features.is_enabled(FEATURE),
        allowed: kept.map(|kept| AllowLists::of_document(&kept.document)).unwrap_or_default(),
    };
    let mark = fingerprint(&studio.document());
    Ok((studio, mark))
}

/// The tenant's feature flags with the studio switched; the others stay.
fn switched(features: &Features, enabled: bool) -> Result<Features, Error> {
    let mut flags = features.as_map().clone();
    let mut own = flags.get(FEATURE).and_then(Value::as_object).cloned().unwrap_or_default();
    own.insert("enabled".to_owned(), enabled.into());
    flags.insert(FEATURE.to_owned(), Value::Object(own));
    Features::new(flags)
        .map_err(|error| Error::invalid("enabled", format!("has no room: the tenant's features {error}")))
}

/// A list that a caller has given: each entry is looked up, and what is not there is told.
struct Listed<'a> {
    field: &'static str,
    given: &'a [String],
    problems: Vec<FieldError>,
}

impl<'a> Listed<'a> {
    fn of(field: &'static str, given: &'a [String]) -> Result<Self, Error> {
        if given.len() > AllowLists::MAX_ENTRIES {
            let most = AllowLists::MAX_ENTRIES;
            return Err(Error::invalid(field, format!("must have at most {most} entries")));
        }
        Ok(Self { field, given, problems: Vec::new() })
    }

    /// Takes what an entry was found to mean, once; or notes that it means nothing.
    fn take<T: PartialEq>(&mut self, index: usize, found: Option<T>, into: &mut Vec<T>, wanted: &str) {
        match found {
            Some(found) if into.contains(&found) => {}
            Some(found) => into.push(found),
            None => self.problems.push(FieldError::new(format!("{}[{index}]", self.field), wanted)),
        }
    }

    fn checked<T>(self, found: T) -> Result<T, Error> {
        if self.problems.is_empty() { Ok(found) } else { Err(Error::Invalid(self.problems)) }
    }
}

async fn role(tx: &mut Transaction, scope: TenantScope, text: &str) -> Result<Option<AllowedRole>, Error> {
    if let Ok(role) = text.parse::<Role>() {
        return Ok(Some(AllowedRole::BuiltIn(role)));
    }
    let found = match (text.parse::<CustomRoleId>(), text.parse::<Slug>()) {
        (Ok(id), _) => custom_roles::lookup(tx, scope, id).await?,
        (_, Ok(slug)) => custom_roles::find_by_slug(tx, scope, &slug).await?,
        _ => None,
    };
    Ok(found.map(|role| AllowedRole::Custom(role.id)))
}

async fn group(tx: &mut Transaction, scope: TenantScope, text: &str) -> Result<Option<GroupId>, Error> {
    let found = match (text.parse::<GroupId>(), text.parse::<Slug>()) {
        (Ok(id), _) => groups::lookup(tx, scope, id).await?,
        (_, Ok(slug)) => groups::find_by_slug(tx, scope, &slug).await?,
        _ => None,
    };
    Ok(found.map(|group| group.id))
}

async fn user(tx: &mut Transaction, scope: TenantScope, text: &str) -> Result<Option<UserId>, Error> {
    let found = match (text.parse::<UserId>(), text.parse::<Email>()) {
        (Ok(id), _) => users::lookup(tx, scope, id).await?,
        (_, Ok(email)) => users::find_by_email(tx, scope, &email).await?,
        _ => None,
    };
    Ok(found.filter(|user| user.status != UserStatus::Deleted).map(|user| user.id))
}

/// The lists with what a caller has given in the place of what was.
async fn listed(
    tx: &mut Transaction,
    scope: TenantScope,
    edits: &StudioEdits,
    before: &AllowLists,
) -> Result<AllowLists, Error> {
    let mut after = before.clone();
    if let Some(given) = &edits.allowed_roles {
        let (mut list, mut roles) = (Listed::of("allowed_roles", given)?, Vec::new());
        for (index, text) in list.given.iter().enumerate() {
            let found = role(tx, scope, text).await?;
            list.take(index, found, &mut roles, "must be a built-in role, or a custom role by id or slug");
        }
        after.roles = list.checked(roles)?;
    }
    if let Some(given) = &edits.allowed_groups {
        let (mut list, mut named) = (Listed::of("allowed_groups", given)?, Vec::new());
        for (index, text) in list.given.iter().enumerate() {
            let found = group(tx, scope, text).await?;
            list.take(index, found, &mut named, "must be a group of the tenant, by id or slug");
        }
        after.groups = list.checked(named)?;
    }
    if let Some(given) = &edits.allowed_users {
        let (mut list, mut named) = (Listed::of("allowed_users", given)?, Vec::new());
        for (index, text) in list.given.iter().enumerate() {
            let found = user(tx, scope, text).await?;
            list.take(index, found, &mut named, "must be a user of the tenant, by id or e-mail address");
        }
        after.users = list.checked(named)?;
    }
    Ok(after)
}

impl App {
    /// The studio as the tenant has set it, and what tells this state of it from others.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn prompt_studio(
        &self,
        caller: &Authorized<perm::AdminAccess>,
    ) -> Result<(PromptStudio, u64), Error> {
        self.read_studio(caller.tenant_scope()).await
    }

    async fn read_studio(&self, scope: TenantScope) -> Result<(PromptStudio, u64), Error> {
        let mut connection = self.0.database.read().await?;
        let tenant = tenants::lookup(&mut connection, scope.into(), scope.tenant_id()).await?;
        let tenant = tenant.ok_or(Error::NotFound(Resource::Tenant))?;
        studio_of(&mut connection, scope, &tenant).await
    }

    /// Switches the studio, and says who may use it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for roles, groups and users that are not there, entry by entry; [`Error::PreconditionFailed`].
    pub async fn update_prompt_studio(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        request: &RequestContext,
        expected: Expected<'_>,
        edits: StudioEdits,
    ) -> Result<(PromptStudio, u64), Error> {
        let mut tx = self.0.database.begin().await?;
        let after = self.change_studio(&mut tx, caller, request, expected, edits).await;
        ended(tx, after).await
    }

    async fn change_studio(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::AdminAccess>,
        request: &RequestContext,
        expected: Expected<'_>,
        edits: StudioEdits,
    ) -> Result<(PromptStudio, u64), Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        let tenant = tenants::lock(tx, scope).await?.ok_or(Error::NotFound(Resource::Tenant))?;
        let (before, mark) = studio_of(tx, scope, &tenant).await?;
        check_fingerprint(expected, mark)?;
        let allowed = listed(tx, scope, &edits, &before.allowed).await?;
        let after = PromptStudio { enabled: edits.enabled.unwrap_or(before.enabled), allowed };
        if after == before {
            return Ok((before, mark));
        }
        if after.enabled != before.enabled {
            let features = Some(switched(&tenant.features, after.enabled)?);
            let changes = TenantChanges { features, ..TenantChanges::default() };
            written(tenants::update(tx, scope, None, &changes, now).await?, Resource::Tenant)?;
        }
        if after.allowed != before.allowed {
            let (name, document) = (SettingName::PromptStudio, after.allowed.document());
            settings::write(tx, scope, name, document, None, &self.0.vault, now).await?;
        }
        let changes = diff(&before.document(), &after.document(), &[]);
        let (stamp, id) = (self.audit_stamp(now), scope.tenant_id().to_string());
        let action = AuditAction::PromptStudioUpdate;
        audit::add(tx, &AuditRecord::in_tenant(stamp, caller, request, action, id, changes)).await?;
        let mark = fingerprint(&after.document());
        Ok((after, mark))
    }

    /// Whether the studio is open to the caller, and why.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn studio_access(&self, caller: &Authorized<perm::ModelsUse>) -> Result<Access, Error> {
        let scope = caller.tenant_scope();
        let (studio, _) = self.read_studio(scope).await?;
        let user_id = caller.user_id();
        // What the tenant's own roles are for is held at home only, as groups are.
        let mut custom_roles = Vec::new();
        if studio.allowed.roles.iter().any(|role| matches!(role, AllowedRole::Custom(_))) {
            let mut connection = self.0.database.read().await?;
            let mut held = custom_roles::held_by(&mut connection, scope, &[user_id]).await?;
            custom_roles = held.remove(&user_id).unwrap_or_default();
        }
        let groups: Vec<GroupId> = caller.groups().iter().map(|group| group.id).collect();
        let visitor = Visitor {
            user_id,
            administers: caller.administers_tenant(),
            roles: caller.roles(),
            custom_roles: &custom_roles,
            groups: &groups,
        };
        Ok(studio.may(&visitor))
    }

    /// Whether the caller may try out prompts.
    ///
    /// # Errors
    /// [`Error::StudioDisabled`], [`Error::StudioForbidden`].
    #[boxed]
    pub(crate) async fn check_studio(&self, caller: &Authorized<perm::ModelsUse>) -> Result<(), Error> {
        match self.studio_access(caller).await?.reason {
            Reason::Allowed => Ok(()),
            Reason::Disabled => Err(Error::StudioDisabled),
            Reason::NotListed => Err(Error::StudioForbidden),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn features(flags: Value) -> Features {
        let Value::Object(flags) = flags else { panic!("no object") };
        Features::new(flags).unwrap()
    }

    #[test]
    fn switching_leaves_other_flags() {
        let before = features(json!({"beta": true, "prompt_studio": {"limit": 3}}));
        let after = switched(&before, true).unwrap();
        let wanted = json!({"beta": true, "prompt_studio": {"limit": 3, "enabled": true}});
        assert_eq!(Value::Object(after.as_map().clone()), wanted);
        let odd = switched(&features(json!({"prompt_studio": "on"})), false).unwrap();
        assert_eq!(Value::Object(odd.as_map().clone()), json!({"prompt_studio": {"enabled": false}}));
    }
}
