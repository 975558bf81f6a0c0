//! What is there, put beside what is wanted of it. Secrets are compared here and never leave.

use std::collections::BTreeSet;

use scaigrid_cores::{EnvValue, Environment, Status};
use scaigrid_modules::{Enablement, ModuleId};
use scaigrid_persistence::{custom_roles, groups, module_settings, partners, tenants, users};
use scaigrid_scope::{Authorized, Email, LevelScope, Name, Partner, Slug, Tenant, TenantStatus, perm};
use scaigrid_webhooks::Webhook;
use serde_json::{Value, json};

use super::plan::{Fields, Kind, Step, Verdict};
use super::spec::{CoreSpec, CoreState, GroupSpec, Level, Spec, UserSpec, WebhookSpec};
use super::thing::{MASK, Thing, digest, events, partner_limits, permissions, roles, strings, tenant_limits};
use super::{Desk, thing};
use crate::users::{Account, account};
use crate::{Error, PageRequest, Resource};

/// What a secret is shown as that is not the wanted one.
const OTHER: &str = "*** (another)";
/// How many items are read at once.
const PAGE: u32 = 200;

/// What was found of a thing.
pub(super) enum Seen {
    /// It is not there, or cannot be looked at yet.
    Nothing,
    /// It is there, with these fields.
    There(Fields),
    /// What would be, and what is.
    Compared { wanted: Fields, there: Fields },
}

fn fields<const N: usize>(pairs: [(&str, Value); N]) -> Fields {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl Desk<'_> {
    /// What there is of a thing.
    pub(super) async fn observe(&self, thing: &Thing) -> Result<Seen, Error> {
        match self.observed(thing).await {
            // It is to be made by these documents, and what is in it afterwards.
            Err(Error::NotFound(Resource::Tenant)) if self.is_coming(Kind::Tenant, &thing.spec) => {
                Ok(Seen::Nothing)
            }
            Err(Error::NotFound(Resource::Partner)) if self.is_coming(Kind::Partner, &thing.spec) => {
                Ok(Seen::Nothing)
            }
            // It is let work again before its turn comes.
            Err(Error::TenantSuspended) if self.is_resumed(&thing.spec) => Ok(Seen::Nothing),
            other => other,
        }
    }

    fn is_coming(&self, kind: Kind, spec: &Spec) -> bool {
        let place = match (spec, kind) {
            (Spec::Partner(spec), Kind::Partner) => Some(&spec.slug),
            (
                Spec::PartnerStatus(slug, _)
                | Spec::Module(Level::Partner(slug), ..)
                | Spec::ModuleConfig(Level::Partner(slug), ..),
                Kind::Partner,
            )
            | (Spec::TenantStatus(slug, _), Kind::Tenant) => Some(slug),
            (Spec::Tenant(spec), Kind::Partner) => spec.partner.as_ref(),
            (Spec::Tenant(spec), Kind::Tenant) => Some(&spec.slug),
            (spec, Kind::Tenant) => tenant_of(spec),
            _ => None,
        };
        place.is_some_and(|slug| self.coming.contains(&(kind, slug.to_string())))
    }

    fn is_resumed(&self, spec: &Spec) -> bool {
        let Some(tenant) = tenant_of(spec) else { return false };
        self.desired.0.iter().any(|thing| match &thing.spec {
            Spec::TenantStatus(slug, TenantStatus::Active) => slug == tenant,
            // Which partner's tenant it is, is not looked at: if it is another's, the next look tells.
            Spec::PartnerStatus(_, scaigrid_scope::PartnerStatus::Active) => true,
            _ => false,
        })
    }

    async fn observed(&self, thing: &Thing) -> Result<Seen, Error> {
        Ok(match &thing.spec {
            Spec::Partner(spec) => {
                let Some(partner) = self.partner(&spec.slug).await? else { return Ok(Seen::Nothing) };
                Seen::There(fields([
                    ("name", partner.name.as_str().into()),
                    ("contact_email", json!(partner.contact_email.as_ref().map(Email::as_str))),
                    ("limits", partner_limits(&partner.limits)),
                ]))
            }
            Spec::PartnerStatus(slug, _) => {
                let partner = self.partner(slug).await?.ok_or(Error::NotFound(Resource::Partner))?;
                Seen::There(fields([("status", partner.status.as_str().into())]))
            }
            Spec::Tenant(spec) => match self.tenant(&spec.slug).await? {
                None => Seen::Nothing,
                Some(tenant) => Seen::There(fields([
                    ("name", tenant.name.as_str().into()),
                    ("partner", self.owner(&tenant).await?),
                    ("limits", tenant_limits(&tenant.limits)),
                    ("features", tenant.features.as_map().clone().into()),
                ])),
            },
            Spec::TenantStatus(slug, _) => {
                let tenant = self.tenant(slug).await?.ok_or(Error::NotFound(Resource::Tenant))?;
                Seen::There(fields([("status", tenant.status.as_str().into())]))
            }
            Spec::Module(level, id, _) => self.observed_module(level, id).await?,
            Spec::ModuleConfig(level, id, patch) => self.observed_config(level, id, patch).await?,
            Spec::Role(tenant, spec) => {
                let caller = self.in_tenant::<perm::UsersManage>(tenant).await?;
                let mut c = self.app.0.database.read().await?;
                let found = custom_roles::find_by_slug(&mut c, caller.tenant_scope(), &spec.slug).await?;
                let Some(role) = found else { return Ok(Seen::Nothing) };
                Seen::There(fields([
                    ("name", role.name.as_str().into()),
                    (
                        "description",
                        json!(role.description.as_ref().map(scaigrid_scope::Description::as_str)),
                    ),
                    ("permissions", permissions(&role.permissions)),
                ]))
            }
            Spec::User(tenant, spec) => self.observed_user(tenant, spec).await?,
            Spec::Group(tenant, spec) => self.observed_group(tenant, spec).await?,
            Spec::Webhook(tenant, spec) => {
                let caller = self.in_tenant::<perm::WebhooksManage>(tenant).await?;
                let Some(webhook) = self.webhook(&caller, spec).await? else { return Ok(Seen::Nothing) };
                let secret = match &spec.secret {
                    Some(secret) if self.app.webhook_has_secret(&caller, webhook.id, secret).await? => MASK,
                    _ => OTHER,
                };
                Seen::There(fields([
                    ("events", events(&webhook.events)),
                    ("secret", secret.into()),
                    ("status", webhook.standing.status().as_str().into()),
                    ("max_retries", webhook.max_retries.get().into()),
                ]))
            }
            Spec::Core(tenant, spec) => match self.core(tenant, &spec.slug).await? {
                None => Seen::Nothing,
                Some(core) => Seen::There(core_fields(spec, &core)?),
            },
            Spec::CoreState(tenant, slug, wanted) => match self.core(tenant, slug).await? {
                None => Seen::Nothing,
                // What failed to start stands still.
                Some(core) if core.status == Status::Error && *wanted == CoreState::Stopped => {
                    Seen::There(fields([("state", wanted.as_str().into())]))
                }
                Some(core) => Seen::There(fields([("state", state_of(core.status).into())])),
            },
        })
    }

    async fn observed_module(&self, level: &Level, id: &ModuleId) -> Result<Seen, Error> {
        self.app.require_module(id.as_str())?;
        let caller = self.at_level::<perm::ModulesManage>(level).await?;
        let mut c = self.app.0.database.read().await?;
        let said = module_settings::lookup(&mut c, caller.level_scope(), id).await?;
        let enabled = said.map(|setting| setting.enablement == Enablement::Enabled);
        Ok(Seen::There(fields([("enabled", json!(enabled))])))
    }

    async fn observed_config(&self, level: &Level, id: &ModuleId, patch: &Value) -> Result<Seen, Error> {
        self.app.require_module(id.as_str())?;
        let caller = self.at_level::<perm::ModulesManage>(level).await?;
        let tried = self.app.try_module_config(&caller, id.as_str(), patch.clone()).await?;
        let wanted = fields([("config", tried.after)]);
        // What differs in nothing that can be shown differs in a secret.
        let before =
            if tried.changed && wanted["config"] == tried.before { OTHER.into() } else { tried.before };
        Ok(Seen::Compared { wanted, there: fields([("config", before)]) })
    }

    async fn observed_user(&self, tenant: &Slug, spec: &UserSpec) -> Result<Seen, Error> {
        let caller = self.in_tenant::<perm::UsersManage>(tenant).await?;
        let Some(account) = self.account(&caller, &spec.email).await? else { return Ok(Seen::Nothing) };
        let mut c = self.app.0.database.read().await?;
        let held = custom_roles::find_all(&mut c, caller.tenant_scope(), &account.custom_roles).await?;
        let mut held: Vec<&str> = held.iter().map(|role| role.slug.as_str()).collect();
        held.sort_unstable();
        Ok(Seen::There(fields([
            ("display_name", json!(account.user.display_name.as_ref().map(Name::as_str))),
            ("kind", account.user.kind.as_str().into()),
            ("status", account.user.status.as_str().into()),
            ("roles", roles(account.user.roles)),
            ("custom_roles", strings(held.into_iter())),
        ])))
    }

    async fn observed_group(&self, tenant: &Slug, spec: &GroupSpec) -> Result<Seen, Error> {
        let caller = self.in_tenant::<perm::UsersManage>(tenant).await?;
        let mut c = self.app.0.database.read().await?;
        let scope = caller.tenant_scope();
        let Some(group) = groups::find_by_slug(&mut c, scope, &spec.slug).await? else {
            return Ok(Seen::Nothing);
        };
        let members = groups::members(&mut c, scope, group.id).await?;
        let emails = users::emails(&mut c, LevelScope::Tenant(scope), &members).await?;
        let emails: BTreeSet<&str> = emails.values().map(Email::as_str).collect();
        Ok(Seen::There(fields([
            ("name", group.name.as_str().into()),
            ("members", strings(emails.into_iter())),
        ])))
    }

    /// Whether a step can be done at all, as far as that is known before anything is done.
    pub(super) async fn possible(&self, thing: &Thing, step: &Step) -> Result<(), Error> {
        let fixed = |field: &str| {
            if step.verdict == Verdict::Update && step.changes.iter().any(|change| change.field == field) {
                return Err(Error::invalid(field, "cannot be changed once it is there"));
            }
            Ok(())
        };
        match &thing.spec {
            Spec::Tenant(spec) => {
                fixed("partner")?;
                if let Some(partner) = &spec.partner
                    && step.verdict == Verdict::Create
                    && !self.coming.contains(&(Kind::Partner, partner.to_string()))
                {
                    self.partner(partner).await?.ok_or(Error::NotFound(Resource::Partner))?;
                }
                Ok(())
            }
            Spec::User(tenant, spec) => {
                fixed("kind")?;
                self.check_custom_roles(tenant, spec).await
            }
            Spec::Group(tenant, spec) => self.check_members(tenant, spec).await,
            Spec::Webhook(_, spec) if step.verdict == Verdict::Create => match (&spec.events, &spec.secret) {
                (None, _) => Err(Error::invalid("events", "is needed for a new webhook")),
                (_, None) => Err(Error::invalid("secret", "is needed for a new webhook")),
                _ => Ok(()),
            },
            Spec::Core(tenant, spec) => self.check_core(tenant, spec).await,
            _ => Ok(()),
        }
    }

    fn speaks_of(&self, kind: Kind, tenant: &Slug, name: &str) -> bool {
        let name = format!("{tenant}/{name}");
        self.desired.0.iter().any(|thing| thing.key.kind == kind && thing.key.name == name)
    }

    async fn check_custom_roles(&self, tenant: &Slug, spec: &UserSpec) -> Result<(), Error> {
        for slug in spec.custom_roles.iter().flatten() {
            if !self.speaks_of(Kind::Role, tenant, slug.as_str())
                && self.custom_role(tenant, slug).await?.is_none()
            {
                return Err(Error::invalid("custom_roles", format!("there is no custom role {slug}")));
            }
        }
        Ok(())
    }

    async fn check_members(&self, tenant: &Slug, spec: &GroupSpec) -> Result<(), Error> {
        for email in spec.members.iter().flatten() {
            let missing = || Error::invalid("members", format!("there is no user {email}"));
            if self.speaks_of(Kind::User, tenant, email.as_str()) {
                continue;
            }
            let caller = self.in_tenant::<perm::UsersManage>(tenant).await;
            let caller = caller.map_err(|error| match error {
                Error::NotFound(Resource::Tenant) => missing(),
                other => other,
            })?;
            self.account(&caller, email).await?.ok_or_else(missing)?;
        }
        Ok(())
    }

    /// Whether a Core can become as it is wanted, as its own rules have it.
    async fn check_core(&self, tenant: &Slug, spec: &CoreSpec) -> Result<(), Error> {
        let there = match self.core(tenant, &spec.slug).await {
            Err(Error::NotFound(Resource::Tenant) | Error::TenantSuspended) => None,
            other => other?,
        };
        let now = self.app.now();
        if let Some(core) = there {
            core.change(super::carry_out::core_changes(spec), now)?;
        } else {
            let nobody = scaigrid_scope::UserId::from_ulid(self.app.0.ids.draw(now));
            let tenant = scaigrid_scope::TenantId::from_ulid(self.app.0.ids.draw(now));
            let id = scaigrid_scope::CoreId::from_ulid(self.app.0.ids.draw(now));
            scaigrid_cores::Core::create(id, tenant, nobody, now, super::carry_out::new_core(spec))?;
        }
        Ok(())
    }

    pub(super) async fn partner(&self, slug: &Slug) -> Result<Option<Partner>, Error> {
        let principal = self.app.authenticate(self.bearer, None, None).await?;
        let caller = principal.authorize_at_level::<perm::AdminAccess>()?;
        let id = {
            let mut c = self.app.0.database.read().await?;
            partners::find_by_slug(&mut c, self.app.0.system.platform(), slug).await?
        };
        let Some(found) = id else {
            crate::App::may_create_partners(&caller)?;
            return Ok(None);
        };
        // Whether the caller may see it.
        Ok(Some(self.app.partner(&caller, found.id).await?))
    }

    pub(super) async fn tenant(&self, slug: &Slug) -> Result<Option<Tenant>, Error> {
        let principal = self.app.authenticate(self.bearer, None, None).await?;
        let caller = principal.authorize_at_level::<perm::AdminAccess>()?;
        let id = {
            let mut c = self.app.0.database.read().await?;
            tenants::reference_by_slug(&mut c, &self.app.0.system, slug).await?
        };
        let Some(found) = id else {
            crate::App::may_administer_tenants(&caller)?;
            return Ok(None);
        };
        Ok(Some(self.app.tenant(&caller, found.id).await?))
    }

    async fn owner(&self, tenant: &Tenant) -> Result<Value, Error> {
        let mut c = self.app.0.database.read().await?;
        let found = partners::lookup(&mut c, self.app.0.system.partner(tenant.partner_id)).await?;
        Ok(json!(found.map(|partner| partner.slug.to_string())))
    }

    pub(super) async fn account(
        &self,
        caller: &Authorized<perm::UsersManage>,
        email: &Email,
    ) -> Result<Option<Account>, Error> {
        let mut c = self.app.0.database.read().await?;
        let scope = caller.tenant_scope();
        match users::find_by_email(&mut c, scope, email).await? {
            Some(user) => Ok(Some(account(&mut c, scope, user).await?)),
            None => Ok(None),
        }
    }

    pub(super) async fn custom_role(
        &self,
        tenant: &Slug,
        slug: &Slug,
    ) -> Result<Option<scaigrid_scope::CustomRole>, Error> {
        let caller = match self.in_tenant::<perm::UsersManage>(tenant).await {
            Err(Error::NotFound(Resource::Tenant)) => return Ok(None),
            other => other?,
        };
        let mut c = self.app.0.database.read().await?;
        Ok(custom_roles::find_by_slug(&mut c, caller.tenant_scope(), slug).await?)
    }

    /// The webhook of a URL, the oldest if there are several.
    pub(super) async fn webhook(
        &self,
        caller: &Authorized<perm::WebhooksManage>,
        spec: &WebhookSpec,
    ) -> Result<Option<Webhook>, Error> {
        let (mut cursor, mut oldest) = (None, None);
        loop {
            let page = self.app.webhooks(caller, &PageRequest { limit: PAGE, cursor }).await?;
            let found = page.items.into_iter().rfind(|webhook| webhook.url == spec.url);
            oldest = found.or(oldest);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(oldest);
            }
        }
    }

    pub(super) async fn core(
        &self,
        tenant: &Slug,
        slug: &Slug,
    ) -> Result<Option<scaigrid_cores::Core>, Error> {
        let caller = self.in_tenant::<perm::CoresManage>(tenant).await?;
        let viewer = self.in_tenant::<perm::CoresView>(tenant).await?;
        let filter = crate::cores::CoreFilter { status: None, q: Some(slug.to_string()) };
        let mut cursor = None;
        loop {
            let page = self.app.cores(&viewer, &filter, &PageRequest { limit: PAGE, cursor }).await?;
            if let Some(core) = page.items.iter().find(|core| core.slug == *slug) {
                return Ok(Some(self.app.find_core(caller.tenant_scope(), core.id).await?.value));
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(None);
            }
        }
    }
}

/// The tenant that a thing is in, if it is in one.
pub(super) fn tenant_of(spec: &Spec) -> Option<&Slug> {
    match spec {
        Spec::Module(Level::Tenant(slug), ..)
        | Spec::ModuleConfig(Level::Tenant(slug), ..)
        | Spec::Role(slug, _)
        | Spec::User(slug, _)
        | Spec::Group(slug, _)
        | Spec::Webhook(slug, _)
        | Spec::Core(slug, _)
        | Spec::CoreState(slug, ..) => Some(slug),
        _ => None,
    }
}

/// How a Core stands, in the words of documents where they have one for it. One that the platform holds runs again by
/// itself as soon as the reason is gone.
const fn state_of(status: Status) -> &'static str {
    match status {
        Status::Starting | Status::Running | Status::Restarting | Status::Suspended | Status::Crashed => {
            CoreState::Running.as_str()
        }
        Status::Paused => CoreState::Paused.as_str(),
        Status::Created | Status::Configuring | Status::Stopping | Status::Stopped => {
            CoreState::Stopped.as_str()
        }
        Status::Error => "error",
    }
}

/// A Core's fields, with the secrets of its environment held against the wanted ones.
fn core_fields(spec: &CoreSpec, core: &scaigrid_cores::Core) -> Result<Fields, Error> {
    let mut environment = core.environment.shown();
    if let Some(wanted) = &spec.environment {
        let wanted = Environment::merge(wanted.clone(), &core.environment);
        let wanted = wanted.map_err(|problems| scaigrid_cores::CoreError::Invalid { problems })?;
        for (name, value) in wanted.iter() {
            let is_secret = matches!(core.environment.get(name), Some(EnvValue::Secret(_)));
            if is_secret && core.environment.get(name) != Some(value) {
                environment.insert(name.to_owned(), OTHER.into());
            }
        }
    }
    let source = match &spec.source {
        Some(wanted) if *wanted == *core.source.program => thing::digest(wanted),
        _ => digest(&core.source.program),
    };
    Ok(fields([
        ("name", core.name.as_str().into()),
        ("source", source.into()),
        ("runtime_mode", core.runtime_mode.as_str().into()),
        ("concurrency_mode", core.concurrency.mode().as_str().into()),
        (
            "entity_key_field",
            json!(core.concurrency.entity_key_field().map(scaigrid_cores::EntityKeyField::as_str)),
        ),
        ("environment", environment.into()),
        ("plugins", core.plugins.as_slice().into()),
        ("resource_limits", (*core.resource_limits).clone().into()),
        ("metadata", (*core.metadata).clone().into()),
    ]))
}
