//! Doing what has to be done about a thing, by the use cases that everybody calls.

use scaigrid_cores::{Action, CoreChanges, NewCore, Status};
use scaigrid_scope::{
    CustomRoleId, Description, Name, PartnerChanges, PartnerStatus, Roles, Slug, TenantChanges, UserChanges,
    UserId, UserKind, perm,
};
use scaigrid_webhooks::{WebhookChanges, WebhookStatus};

use super::Desk;
use super::spec::{
    CoreSpec, CoreState, GroupSpec, Level, PartnerSpec, RoleSpec, Spec, TenantSpec, UserSpec, WebhookSpec,
};
use super::thing::Thing;
use crate::custom_roles::{CustomRoleEdits, NewCustomRole};
use crate::groups::{GroupEdits, NewGroup};
use crate::partners::NewPartner;
use crate::rights::RoleChanges;
use crate::tenants::NewTenant;
use crate::users::NewUser;
use crate::webhooks::NewWebhook;
use crate::{Error, Resource};

/// A name for people; the slug where none is given.
fn named(name: Option<&Name>, slug: &Slug) -> Result<Name, Error> {
    name.map_or_else(|| Name::parse(slug.as_str()).map_err(Error::internal), |name| Ok(name.clone()))
}

impl Desk<'_> {
    pub(super) async fn carry_out(&self, thing: &Thing) -> Result<(), Error> {
        match &thing.spec {
            Spec::Partner(spec) => self.make_partner(spec).await,
            Spec::PartnerStatus(slug, status) => self.set_partner_status(slug, *status).await,
            Spec::Tenant(spec) => self.make_tenant(spec).await,
            Spec::TenantStatus(slug, status) => {
                let changes = TenantChanges { status: Some(*status), ..TenantChanges::default() };
                self.change_tenant(slug, changes).await
            }
            Spec::Module(level, id, enabled) => {
                let caller = self.at_level::<perm::ModulesManage>(level).await?;
                if *enabled {
                    self.app.enable_module(&caller, self.request, id.as_str()).await.map(drop)
                } else {
                    self.app.disable_module(&caller, self.request, id.as_str()).await.map(drop)
                }
            }
            Spec::ModuleConfig(level, id, patch) => {
                let caller = self.at_level::<perm::ModulesManage>(level).await?;
                let (app, patch) = (self.app, patch.clone());
                app.configure_module(&caller, self.request, id.as_str(), None, patch, false).await.map(drop)
            }
            Spec::Role(tenant, spec) => self.make_role(tenant, spec).await,
            Spec::User(tenant, spec) => self.make_user(tenant, spec).await,
            Spec::Group(tenant, spec) => self.make_group(tenant, spec).await,
            Spec::Webhook(tenant, spec) => self.make_webhook(tenant, spec).await,
            Spec::Core(tenant, spec) => self.make_core(tenant, spec).await,
            Spec::CoreState(tenant, slug, state) => self.move_core(tenant, slug, *state).await,
        }
    }

    async fn make_partner(&self, spec: &PartnerSpec) -> Result<(), Error> {
        let caller = self.at_level::<perm::AdminAccess>(&Level::Platform).await;
        let Some(there) = self.partner(&spec.slug).await? else {
            let new = NewPartner {
                slug: spec.slug.clone(),
                name: named(spec.name.as_ref(), &spec.slug)?,
                contact_email: spec.contact_email.clone(),
                status: PartnerStatus::Active,
                limits: spec.limits.unwrap_or_default(),
            };
            return self.app.create_partner(&caller?, self.request, new).await.map(drop);
        };
        let changes = PartnerChanges {
            name: spec.name.clone(),
            contact_email: spec.contact_email.clone().map(Some),
            status: None,
            limits: spec.limits,
        };
        let own = self.own_level().await?;
        self.app.update_partner(&own, self.request, there.id, None, changes).await.map(drop)
    }

    async fn own_level(&self) -> Result<scaigrid_scope::AuthorizedAtLevel<perm::AdminAccess>, Error> {
        let principal = self.app.authenticate(self.bearer, None, None).await?;
        Ok(principal.authorize_at_level()?)
    }

    async fn set_partner_status(&self, slug: &Slug, status: PartnerStatus) -> Result<(), Error> {
        let there = self.partner(slug).await?.ok_or(Error::NotFound(Resource::Partner))?;
        let changes = PartnerChanges { status: Some(status), ..PartnerChanges::default() };
        let own = self.own_level().await?;
        self.app.update_partner(&own, self.request, there.id, None, changes).await.map(drop)
    }

    async fn make_tenant(&self, spec: &TenantSpec) -> Result<(), Error> {
        if self.tenant(&spec.slug).await?.is_some() {
            let changes = TenantChanges {
                name: spec.name.clone(),
                limits: spec.limits,
                features: spec.features.clone(),
                ..TenantChanges::default()
            };
            return self.change_tenant(&spec.slug, changes).await;
        }
        let partner_id = match &spec.partner {
            Some(slug) => Some(self.partner(slug).await?.ok_or(Error::NotFound(Resource::Partner))?.id),
            None => None,
        };
        let new = NewTenant {
            slug: spec.slug.clone(),
            name: named(spec.name.as_ref(), &spec.slug)?,
            partner_id,
            scaikey_tenant_id: None,
            limits: spec.limits.unwrap_or_default(),
            features: spec.features.clone().unwrap_or_default(),
        };
        let own = self.own_level().await?;
        self.app.create_tenant(&own, self.request, new).await.map(drop)
    }

    async fn change_tenant(&self, slug: &Slug, changes: TenantChanges) -> Result<(), Error> {
        let there = self.tenant(slug).await?.ok_or(Error::NotFound(Resource::Tenant))?;
        let own = self.own_level().await?;
        self.app.update_tenant(&own, self.request, there.id, None, changes).await.map(drop)
    }

    async fn make_role(&self, tenant: &Slug, spec: &RoleSpec) -> Result<(), Error> {
        let caller = self.in_tenant::<perm::UsersManage>(tenant).await?;
        let Some(there) = self.custom_role(tenant, &spec.slug).await? else {
            let new = NewCustomRole {
                name: named(spec.name.as_ref(), &spec.slug)?,
                slug: Some(spec.slug.clone()),
                description: spec.description.clone(),
                permissions: spec.permissions.clone().unwrap_or_default(),
            };
            return self.app.create_custom_role(&caller, self.request, new).await.map(drop);
        };
        let (core, modules) = spec.permissions.as_ref().map(scaigrid_scope::Permissions::split).unzip();
        let description: Option<Option<Description>> = spec.description.clone().map(Some);
        let edits = CustomRoleEdits { name: spec.name.clone(), description, core, modules };
        self.app.update_custom_role(&caller, self.request, there.id, None, edits).await.map(drop)
    }

    async fn make_user(&self, tenant: &Slug, spec: &UserSpec) -> Result<(), Error> {
        let caller = self.in_tenant::<perm::UsersManage>(tenant).await?;
        let mut custom_roles: Option<Vec<CustomRoleId>> = None;
        for slug in spec.custom_roles.iter().flatten() {
            let role = self.custom_role(tenant, slug).await?;
            let missing = || Error::invalid("custom_roles", format!("there is no custom role {slug}"));
            custom_roles.get_or_insert_default().push(role.ok_or_else(missing)?.id);
        }
        if spec.custom_roles.is_some() {
            custom_roles.get_or_insert_default().sort_unstable();
        }
        let there = self.account(&caller, &spec.email).await?;
        let id = if let Some(account) = there {
            let changes = RoleChanges { roles: spec.roles, custom_roles };
            self.app.set_user_roles(&caller, self.request, account.user.id, None, changes).await?;
            account.user.id
        } else {
            let new = NewUser {
                email: spec.email.clone(),
                display_name: spec.display_name.clone(),
                kind: spec.kind.unwrap_or(UserKind::Human),
                roles: spec.roles.unwrap_or(Roles::NONE),
                custom_roles: custom_roles.unwrap_or_default(),
            };
            self.app.create_user(&caller, self.request, new).await?.user.id
        };
        let changes = UserChanges {
            display_name: spec.display_name.clone().map(Some),
            status: spec.status,
            roles: None,
        };
        self.app.update_user(&caller, self.request, id, None, changes).await.map(drop)
    }

    async fn make_group(&self, tenant: &Slug, spec: &GroupSpec) -> Result<(), Error> {
        let caller = self.in_tenant::<perm::UsersManage>(tenant).await?;
        let mut members: Option<Vec<UserId>> = spec.members.as_ref().map(|_| Vec::new());
        for email in spec.members.iter().flatten() {
            let missing = || Error::invalid("members", format!("there is no user {email}"));
            let account = self.account(&caller, email).await?.ok_or_else(missing)?;
            members.get_or_insert_default().push(account.user.id);
        }
        let there = {
            let mut c = self.app.0.database.read().await?;
            scaigrid_persistence::groups::find_by_slug(&mut c, caller.tenant_scope(), &spec.slug).await?
        };
        let Some(there) = there else {
            let new = NewGroup {
                name: named(spec.name.as_ref(), &spec.slug)?,
                slug: Some(spec.slug.clone()),
                members: members.unwrap_or_default(),
            };
            return self.app.create_group(&caller, self.request, new).await.map(drop);
        };
        let edits = GroupEdits { name: spec.name.clone(), members };
        self.app.update_group(&caller, self.request, there.id, None, edits).await.map(drop)
    }

    async fn make_webhook(&self, tenant: &Slug, spec: &WebhookSpec) -> Result<(), Error> {
        let caller = self.in_tenant::<perm::WebhooksManage>(tenant).await?;
        if let Some(there) = self.webhook(&caller, spec).await? {
            let changes = WebhookChanges {
                url: None,
                events: spec.events.clone(),
                status: spec.status,
                max_retries: spec.max_retries,
            };
            let changes = (changes, spec.secret.clone());
            return self.app.update_webhook(&caller, self.request, there.id, None, changes).await.map(drop);
        }
        let needed = |field: &'static str| Error::invalid(field, "is needed for a new webhook");
        let new = NewWebhook {
            url: spec.url.clone(),
            events: spec.events.clone().ok_or_else(|| needed("events"))?,
            secret: Some(spec.secret.clone().ok_or_else(|| needed("secret"))?),
            status: spec.status.unwrap_or(WebhookStatus::Active),
            max_retries: spec.max_retries.unwrap_or_default(),
        };
        self.app.create_webhook_once(&caller, self.request, new).await.map(drop)
    }

    async fn make_core(&self, tenant: &Slug, spec: &CoreSpec) -> Result<(), Error> {
        let caller = self.in_tenant::<perm::CoresManage>(tenant).await?;
        self.app.check_module(&caller, crate::cores::MODULE).await?;
        match self.core(tenant, &spec.slug).await? {
            None => self.app.create_core(&caller, self.request, new_core(spec)).await.map(drop),
            Some(core) => {
                let changes = core_changes(spec);
                self.app.change_core(&caller, self.request, core.id, None, changes).await.map(drop)
            }
        }
    }

    async fn move_core(&self, tenant: &Slug, slug: &Slug, state: CoreState) -> Result<(), Error> {
        let caller = self.in_tenant::<perm::CoresManage>(tenant).await?;
        self.app.check_module(&caller, crate::cores::MODULE).await?;
        let core = self.core(tenant, slug).await?.ok_or(Error::NotFound(Resource::Core))?;
        for action in way(core.status, state) {
            self.app.move_core(&caller, self.request, core.id, *action, false).await?;
        }
        Ok(())
    }
}

/// How a Core gets from where it stands to where it is to be.
fn way(from: Status, to: CoreState) -> &'static [Action] {
    match (from, to) {
        (Status::Paused, CoreState::Running) => &[Action::Resume],
        (_, CoreState::Running) => &[Action::Start],
        (Status::Running, CoreState::Paused) => &[Action::Pause],
        (_, CoreState::Paused) => &[Action::Start, Action::Pause],
        (Status::Paused, CoreState::Stopped) => &[Action::Resume, Action::Stop],
        (_, CoreState::Stopped) => &[Action::Stop],
    }
}

/// A Core as it is made.
pub(super) fn new_core(spec: &CoreSpec) -> NewCore {
    let bare = NewCore::named(spec.name.as_str());
    NewCore {
        runtime_mode: spec.runtime_mode.unwrap_or(bare.runtime_mode),
        concurrency_mode: spec.concurrency_mode.unwrap_or(bare.concurrency_mode),
        entity_key_field: spec.entity_key_field.clone(),
        source: spec.source.clone().unwrap_or_else(|| bare.source.clone()),
        plugins: spec.plugins.clone().unwrap_or_default(),
        environment: spec.environment.clone().unwrap_or_default(),
        resource_limits: spec.resource_limits.clone().unwrap_or_default(),
        metadata: spec.metadata.clone().unwrap_or_default(),
        ..bare
    }
}

/// What is to be different about a Core that is there.
pub(super) fn core_changes(spec: &CoreSpec) -> CoreChanges {
    CoreChanges {
        name: Some(spec.name.to_string()),
        runtime_mode: spec.runtime_mode,
        concurrency_mode: spec.concurrency_mode,
        entity_key_field: spec.entity_key_field.clone().map(Some),
        source: spec.source.clone(),
        plugins: spec.plugins.clone(),
        environment: spec.environment.clone(),
        resource_limits: spec.resource_limits.clone(),
        metadata: spec.metadata.clone(),
        ..CoreChanges::default()
    }
}

#[cfg(test)]
mod tests {
    use scaigrid_cores::Outcome;

    use super::*;

    /// Where a Core stands once the checks of a start are through and a drain has ended.
    fn settled(status: Status) -> Status {
        match status {
            Status::Starting | Status::Restarting => Status::Running,
            Status::Stopping => Status::Stopped,
            other => other,
        }
    }

    #[test]
    fn every_way_is_legal_and_leads_where_it_shall() {
        for from in [Status::Created, Status::Stopped, Status::Error, Status::Running, Status::Paused] {
            for (to, arrived) in [
                (CoreState::Running, Status::Running),
                (CoreState::Paused, Status::Paused),
                (CoreState::Stopped, Status::Stopped),
            ] {
                let there = from == arrived || (from == Status::Created && to == CoreState::Stopped);
                // A Core in error is stopped by nobody; it is told.
                if there || (from == Status::Error && to == CoreState::Stopped) {
                    continue;
                }
                let end = way(from, to).iter().fold(from, |status, action| {
                    match status.apply(*action).unwrap().to {
                        Outcome::Status(status) => settled(status),
                        Outcome::Deleted => panic!("{from} to {arrived}"),
                    }
                });
                assert_eq!(end, arrived, "{from}");
            }
        }
    }
}
