//! What documents say, thing by thing, in values of the domain and in the order in which it can be done.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use scaigrid_cores::{ConcurrencyMode, Environment, RuntimeMode};
use scaigrid_engine::Engine;
use scaigrid_ir::{Diagnostic, bundle};
use scaigrid_modules::ModuleId;
use scaigrid_scope::{
    Description, Email, Features, Name, PartnerLimits, PartnerStatus, PermissionKey, Permissions, Role,
    Roles, Slug, TenantLimits, TenantStatus, UserKind, UserStatus,
};
use scaigrid_webhooks::{Retries, Secret, Subscription, Subscriptions, WebhookStatus, WebhookUrl};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::document::{
    API_VERSION, CoreEntry, Document, ModuleEntry, PartnerEntry, RoleEntry, TenantEntry, UserEntry,
    WebhookEntry,
};
use super::plan::{Fields, Key, Kind};
use super::spec::{
    CoreSpec, CoreState, GroupSpec, Level, PartnerSpec, RoleSpec, Spec, TenantSpec, UserSpec, WebhookSpec,
};
use crate::FieldError;

/// What a secret is shown as.
pub(super) const MASK: &str = "***";

/// A thing as it is wanted.
#[derive(Debug, Clone)]
pub(super) struct Thing {
    pub(super) key: Key,
    pub(super) fields: Fields,
    pub(super) spec: Spec,
    /// Where the document speaks of it.
    pub(super) place: String,
}

/// All things that documents speak of, in the order in which they are dealt with.
#[derive(Debug, Clone, Default)]
pub struct Desired(pub(super) Vec<Thing>);

impl Desired {
    /// Puts together what documents say; each with what its places are told behind, as the name of its file.
    ///
    /// # Errors
    /// Everything in them that is no value of the domain, or said twice.
    pub fn of(documents: Vec<(String, Document)>) -> Result<Self, Vec<FieldError>> {
        let mut reading = Reading::default();
        for (file, document) in documents {
            reading.root = if file.is_empty() { file } else { format!("{file}: ") };
            reading.document(document);
        }
        let Reading { mut things, problems, .. } = reading;
        if !problems.is_empty() {
            return Err(problems);
        }
        things.sort_by_key(|thing| thing.spec.rank());
        Ok(Self(things))
    }

    /// How many things there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the documents say nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Default)]
struct Reading {
    root: String,
    things: Vec<Thing>,
    problems: Vec<FieldError>,
    seen: BTreeMap<Key, String>,
}

/// Puts a field among those that are compared, if something is said of it.
fn put(fields: &mut Fields, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        fields.insert(name.to_owned(), value.into());
    }
}

pub(super) fn partner_limits(limits: &PartnerLimits) -> Value {
    json!({"max_tenants": limits.max_tenants, "max_users_per_tenant": limits.max_users_per_tenant})
}

pub(super) fn tenant_limits(limits: &TenantLimits) -> Value {
    json!({
        "max_users": limits.max_users,
        "max_cores": limits.max_cores,
        "max_participants": limits.max_participants,
        "max_rooms": limits.max_rooms,
        "max_storage_bytes": limits.max_storage_bytes,
        "monthly_ai_tokens": limits.monthly_ai_tokens,
        "max_queued_executions": limits.max_queued_executions,
        "execution_retention_days": limits.execution_retention_days,
    })
}

pub(super) fn permissions(permissions: &Permissions) -> Value {
    permissions.iter().map(|key| key.to_string()).collect::<BTreeSet<_>>().into_iter().collect()
}

pub(super) fn roles(roles: Roles) -> Value {
    roles.iter().map(Role::as_str).collect::<BTreeSet<_>>().into_iter().collect()
}

pub(super) fn events(events: &Subscriptions) -> Value {
    events.iter().map(|wish| wish.to_string()).collect::<BTreeSet<_>>().into_iter().collect()
}

impl Reading {
    fn wrong(&mut self, place: &str, message: impl fmt::Display) {
        self.problems.push(FieldError::new(format!("{}{place}", self.root), message.to_string()));
    }

    fn read<T: FromStr<Err: fmt::Display>>(&mut self, place: &str, text: &str) -> Option<T> {
        text.parse().map_err(|rule| self.wrong(place, rule)).ok()
    }

    fn maybe<T: FromStr<Err: fmt::Display>>(&mut self, place: &str, text: Option<&str>) -> Option<T> {
        text.and_then(|text| self.read(place, text))
    }

    fn all<T: FromStr<Err: fmt::Display>>(&mut self, place: &str, texts: &[String]) -> Vec<T> {
        let read = |(index, text): (usize, &String)| self.read(&format!("{place}[{index}]"), text);
        texts.iter().enumerate().filter_map(read).collect()
    }

    fn add(&mut self, place: &str, kind: Kind, name: String, fields: Fields, spec: Spec) {
        let (key, place) = (Key { kind, name }, format!("{}{place}", self.root));
        if let Some(first) = self.seen.get(&key) {
            let message = format!("speaks of {key}, as {first} does already");
            self.problems.push(FieldError::new(place, message));
            return;
        }
        self.seen.insert(key.clone(), place.clone());
        self.things.push(Thing { key, fields, spec, place });
    }

    fn document(&mut self, document: Document) {
        if document.api_version != API_VERSION {
            self.wrong("api_version", format!("must be {API_VERSION}"));
        }
        self.modules("", &Level::Platform, document.modules);
        for (index, entry) in document.partners.into_iter().enumerate() {
            self.partner(&format!("partners[{index}]"), entry);
        }
        for (index, entry) in document.tenants.into_iter().enumerate() {
            self.tenant(&format!("tenants[{index}]"), entry);
        }
    }

    fn modules(&mut self, place: &str, level: &Level, modules: BTreeMap<String, ModuleEntry>) {
        for (module, entry) in modules {
            let place = format!("{place}modules.{module}");
            let Some(id) = self.read::<ModuleId>(&place, &module) else { continue };
            let name = format!("{level}/{id}");
            if let Some(config) = entry.config {
                let fields = Fields::from_iter([("config".to_owned(), MASK.into())]);
                let spec = Spec::ModuleConfig(level.clone(), id.clone(), Value::Object(config));
                self.add(&format!("{place}.config"), Kind::ModuleConfig, name.clone(), fields, spec);
            }
            if let Some(enabled) = entry.enabled {
                let fields = Fields::from_iter([("enabled".to_owned(), enabled.into())]);
                let spec = Spec::Module(level.clone(), id, enabled);
                self.add(&format!("{place}.enabled"), Kind::Module, name, fields, spec);
            }
        }
    }

    fn partner(&mut self, place: &str, entry: PartnerEntry) {
        let Some(slug) = self.read::<Slug>(&format!("{place}.slug"), &entry.slug) else { return };
        let name: Option<Name> = self.maybe(&format!("{place}.name"), entry.name.as_deref());
        let contact_email: Option<Email> =
            self.maybe(&format!("{place}.contact_email"), entry.contact_email.as_deref());
        let status: Option<PartnerStatus> = self.maybe(&format!("{place}.status"), entry.status.as_deref());
        let limits = entry.limits.map(|limits| PartnerLimits {
            max_tenants: limits.max_tenants,
            max_users_per_tenant: limits.max_users_per_tenant,
        });
        let mut fields = Fields::new();
        put(&mut fields, "name", name.as_ref().map(Name::as_str));
        put(&mut fields, "contact_email", contact_email.as_ref().map(Email::as_str));
        put(&mut fields, "limits", limits.as_ref().map(partner_limits));
        // One of which only modules or status are told is there already.
        let mentioned = fields.is_empty() && (status.is_some() || !entry.modules.is_empty());
        if !mentioned {
            let spec = PartnerSpec { slug: slug.clone(), name, contact_email, limits };
            self.add(place, Kind::Partner, slug.to_string(), fields, Spec::Partner(spec));
        }
        if let Some(status) = status {
            let fields = Fields::from_iter([("status".to_owned(), status.as_str().into())]);
            let spec = Spec::PartnerStatus(slug.clone(), status);
            self.add(&format!("{place}.status"), Kind::PartnerStatus, slug.to_string(), fields, spec);
        }
        self.modules(&format!("{place}."), &Level::Partner(slug), entry.modules);
    }

    fn tenant(&mut self, place: &str, entry: TenantEntry) {
        let Some(slug) = self.read::<Slug>(&format!("{place}.slug"), &entry.slug) else { return };
        let name: Option<Name> = self.maybe(&format!("{place}.name"), entry.name.as_deref());
        let partner: Option<Slug> = self.maybe(&format!("{place}.partner"), entry.partner.as_deref());
        let status: Option<TenantStatus> = self.maybe(&format!("{place}.status"), entry.status.as_deref());
        let limits = entry.limits.map(|limits| TenantLimits {
            max_users: limits.max_users,
            max_cores: limits.max_cores,
            max_participants: limits.max_participants,
            max_rooms: limits.max_rooms,
            max_storage_bytes: limits.max_storage_bytes,
            monthly_ai_tokens: limits.monthly_ai_tokens,
            max_queued_executions: limits.max_queued_executions,
            execution_retention_days: limits.execution_retention_days,
        });
        let features = entry.features.map(Features::new).transpose();
        let features = features.map_err(|rule| self.wrong(&format!("{place}.features"), rule)).ok().flatten();
        let mut fields = Fields::new();
        put(&mut fields, "name", name.as_ref().map(Name::as_str));
        put(&mut fields, "partner", partner.as_ref().map(Slug::as_str));
        put(&mut fields, "limits", limits.as_ref().map(tenant_limits));
        put(&mut fields, "features", features.as_ref().map(|features| features.as_map().clone()));
        if !fields.is_empty() {
            let spec = TenantSpec { slug: slug.clone(), partner, name, limits, features };
            self.add(place, Kind::Tenant, slug.to_string(), fields, Spec::Tenant(spec));
        }
        if let Some(status) = status {
            let fields = Fields::from_iter([("status".to_owned(), status.as_str().into())]);
            let spec = Spec::TenantStatus(slug.clone(), status);
            self.add(&format!("{place}.status"), Kind::TenantStatus, slug.to_string(), fields, spec);
        }
        self.modules(&format!("{place}."), &Level::Tenant(slug.clone()), entry.modules);
        for (index, role) in entry.roles.into_iter().enumerate() {
            self.role(&format!("{place}.roles[{index}]"), &slug, role);
        }
        for (index, user) in entry.users.into_iter().enumerate() {
            self.user(&format!("{place}.users[{index}]"), &slug, user);
        }
        for (index, group) in entry.groups.into_iter().enumerate() {
            let place = format!("{place}.groups[{index}]");
            let Some(own) = self.read::<Slug>(&format!("{place}.slug"), &group.slug) else { continue };
            let name: Option<Name> = self.maybe(&format!("{place}.name"), group.name.as_deref());
            let members = group.members.map(|members| {
                self.all::<Email>(&format!("{place}.members"), &members).into_iter().collect::<BTreeSet<_>>()
            });
            let mut fields = Fields::new();
            put(&mut fields, "name", name.as_ref().map(Name::as_str));
            put(&mut fields, "members", members.as_ref().map(|all| strings(all.iter().map(Email::as_str))));
            let (key, spec) = (format!("{slug}/{own}"), GroupSpec { slug: own, name, members });
            self.add(&place, Kind::Group, key, fields, Spec::Group(slug.clone(), spec));
        }
        for (index, webhook) in entry.webhooks.into_iter().enumerate() {
            self.webhook(&format!("{place}.webhooks[{index}]"), &slug, webhook);
        }
        for (index, core) in entry.cores.into_iter().enumerate() {
            self.core(&format!("{place}.cores[{index}]"), &slug, core);
        }
    }

    fn role(&mut self, place: &str, tenant: &Slug, entry: RoleEntry) {
        let Some(slug) = self.read::<Slug>(&format!("{place}.slug"), &entry.slug) else { return };
        let name: Option<Name> = self.maybe(&format!("{place}.name"), entry.name.as_deref());
        let description: Option<Description> =
            self.maybe(&format!("{place}.description"), entry.description.as_deref());
        let given = entry.permissions.map(|keys| {
            self.all::<PermissionKey>(&format!("{place}.permissions"), &keys).into_iter().collect()
        });
        let mut fields = Fields::new();
        put(&mut fields, "name", name.as_ref().map(Name::as_str));
        put(&mut fields, "description", description.as_ref().map(Description::as_str));
        put(&mut fields, "permissions", given.as_ref().map(permissions));
        let key = format!("{tenant}/{slug}");
        let spec = RoleSpec { slug, name, description, permissions: given };
        self.add(place, Kind::Role, key, fields, Spec::Role(tenant.clone(), spec));
    }

    fn user(&mut self, place: &str, tenant: &Slug, entry: UserEntry) {
        let Some(email) = self.read::<Email>(&format!("{place}.email"), &entry.email) else { return };
        let display_name: Option<Name> =
            self.maybe(&format!("{place}.display_name"), entry.display_name.as_deref());
        let kind: Option<UserKind> = self.maybe(&format!("{place}.kind"), entry.kind.as_deref());
        let status: Option<UserStatus> = self.maybe(&format!("{place}.status"), entry.status.as_deref());
        if status.is_some_and(|status| !matches!(status, UserStatus::Active | UserStatus::Suspended)) {
            self.wrong(&format!("{place}.status"), "must be active or suspended");
        }
        let held = entry
            .roles
            .map(|names| self.all::<Role>(&format!("{place}.roles"), &names).into_iter().collect::<Roles>());
        let custom_roles = entry.custom_roles.map(|slugs| {
            self.all::<Slug>(&format!("{place}.custom_roles"), &slugs).into_iter().collect::<BTreeSet<_>>()
        });
        let mut fields = Fields::new();
        put(&mut fields, "display_name", display_name.as_ref().map(Name::as_str));
        put(&mut fields, "kind", kind.map(UserKind::as_str));
        put(&mut fields, "status", status.map(UserStatus::as_str));
        put(&mut fields, "roles", held.map(roles));
        let shown = custom_roles.as_ref().map(|all| strings(all.iter().map(Slug::as_str)));
        put(&mut fields, "custom_roles", shown);
        let key = format!("{tenant}/{email}");
        let spec = UserSpec { email, display_name, kind, status, roles: held, custom_roles };
        self.add(place, Kind::User, key, fields, Spec::User(tenant.clone(), spec));
    }

    fn webhook(&mut self, place: &str, tenant: &Slug, entry: WebhookEntry) {
        let Some(url) = self.read::<WebhookUrl>(&format!("{place}.url"), &entry.url) else { return };
        let wanted = entry.events.map(|texts| {
            let wishes = self.all::<Subscription>(&format!("{place}.events"), &texts);
            let wishes = Subscriptions::new(wishes);
            if wishes.is_none() {
                let rule = format!("must be 1 to {} events", Subscriptions::MAX);
                self.wrong(&format!("{place}.events"), rule);
            }
            wishes
        });
        let wanted = wanted.flatten();
        let secret = entry.secret.as_deref().map(Secret::parse).transpose();
        let secret = secret.map_err(|rule| self.wrong(&format!("{place}.secret"), rule)).ok().flatten();
        let status: Option<WebhookStatus> = self.maybe(&format!("{place}.status"), entry.status.as_deref());
        let max_retries = entry.max_retries.map(Retries::new).transpose();
        let max_retries =
            max_retries.map_err(|rule| self.wrong(&format!("{place}.max_retries"), rule)).ok().flatten();
        let mut fields = Fields::new();
        put(&mut fields, "events", wanted.as_ref().map(events));
        put(&mut fields, "secret", secret.as_ref().map(|_| MASK));
        put(&mut fields, "status", status.map(WebhookStatus::as_str));
        put(&mut fields, "max_retries", max_retries.map(Retries::get));
        let key = format!("{tenant}/{}", url.as_str());
        let spec = WebhookSpec { url, events: wanted, secret, status, max_retries };
        self.add(place, Kind::Webhook, key, fields, Spec::Webhook(tenant.clone(), spec));
    }

    fn core(&mut self, place: &str, tenant: &Slug, entry: CoreEntry) {
        let Some(name) = self.read::<Name>(&format!("{place}.name"), &entry.name) else { return };
        let Some(slug) = Slug::from_name(name.as_str()) else {
            return self.wrong(&format!("{place}.name"), "must contain a letter or a digit");
        };
        let runtime_mode: Option<RuntimeMode> =
            self.maybe(&format!("{place}.runtime_mode"), entry.runtime_mode.as_deref());
        let concurrency_mode: Option<ConcurrencyMode> =
            self.maybe(&format!("{place}.concurrency_mode"), entry.concurrency_mode.as_deref());
        // As it will be read back: two spellings of one number are one.
        let source = entry.source.map(|program| bundle::decode(&bundle::encode_compressed(&program)));
        let source = source.transpose();
        let source = source.map_err(|rule| self.wrong(&format!("{place}.source"), rule)).ok().flatten();
        let mut shown = None;
        if let Some(environment) = &entry.environment {
            match Environment::merge(environment.clone(), &Environment::default()) {
                Ok(environment) => shown = Some(environment.shown()),
                Err(problems) => {
                    for problem in problems {
                        self.wrong(&format!("{place}.{}", problem.field), problem.message);
                    }
                }
            }
        }
        let state = entry.state.as_deref().and_then(|text| match text {
            "running" => Some(CoreState::Running),
            "paused" => Some(CoreState::Paused),
            "stopped" => Some(CoreState::Stopped),
            _ => {
                self.wrong(&format!("{place}.state"), "must be running, paused or stopped");
                None
            }
        });
        if matches!(state, Some(CoreState::Running | CoreState::Paused))
            && let Some(program) = &source
        {
            for fault in Engine::findings(program).into_iter().filter(Diagnostic::is_error) {
                self.wrong(&format!("{place}.source"), fault.to_string());
            }
        }
        let mut fields = Fields::from_iter([("name".to_owned(), name.as_str().into())]);
        put(&mut fields, "source", source.as_ref().map(digest));
        put(&mut fields, "runtime_mode", runtime_mode.map(RuntimeMode::as_str));
        put(&mut fields, "concurrency_mode", concurrency_mode.map(ConcurrencyMode::as_str));
        put(&mut fields, "entity_key_field", entry.entity_key_field.as_deref());
        put(&mut fields, "environment", shown);
        put(&mut fields, "plugins", entry.plugins.clone());
        put(&mut fields, "resource_limits", entry.resource_limits.clone());
        put(&mut fields, "metadata", entry.metadata.clone());
        let key = format!("{tenant}/{slug}");
        let spec = CoreSpec {
            slug: slug.clone(),
            name,
            source,
            runtime_mode,
            concurrency_mode,
            entity_key_field: entry.entity_key_field,
            environment: entry.environment,
            plugins: entry.plugins,
            resource_limits: entry.resource_limits,
            metadata: entry.metadata,
        };
        self.add(place, Kind::Core, key.clone(), fields, Spec::Core(tenant.clone(), spec));
        if let Some(state) = state {
            let fields = Fields::from_iter([("state".to_owned(), state.as_str().into())]);
            let spec = Spec::CoreState(tenant.clone(), slug, state);
            self.add(&format!("{place}.state"), Kind::CoreState, key, fields, spec);
        }
    }
}

/// Texts as JSON.
pub(super) fn strings<'a>(texts: impl Iterator<Item = &'a str>) -> Value {
    texts.map(Value::from).collect()
}

/// What a program is shown as: long ones say little to people.
pub(super) fn digest(program: &Value) -> String {
    let hash = Sha256::digest(program.to_string().as_bytes());
    format!("sha256:{}", HEXLOWER.encode(&hash[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(document: Value) -> Result<Vec<String>, Vec<String>> {
        let document: Document = serde_json::from_value(document).unwrap();
        let told = |problem: FieldError| format!("{} {}", problem.field, problem.message);
        Desired::of(vec![("a".to_owned(), document)])
            .map(|desired| desired.0.iter().map(|thing| thing.key.to_string()).collect())
            .map_err(|problems| problems.into_iter().map(told).collect())
    }

    #[test]
    fn what_others_stand_on_comes_first_and_what_shuts_the_door_last() {
        let order = desired(json!({
            "api_version": API_VERSION,
            "tenants": [{
                "slug": "acme", "partner": "north", "status": "suspended",
                "cores": [{"name": "One", "state": "running"}],
                "groups": [{"slug": "g", "members": ["a@b.c"]}],
                "users": [{"email": "a@b.c", "custom_roles": ["r"]}],
                "roles": [{"slug": "r"}],
                "modules": {"scaicore": {"enabled": true, "config": {}}},
            }],
            "partners": [{"slug": "north", "status": "active", "name": "N"}],
            "modules": {"scaicore": {"enabled": true}},
        }));
        let expected = [
            "partner north",
            "partner_status north",
            "module platform/scaicore",
            "tenant acme",
            "module_config acme/scaicore",
            "module acme/scaicore",
            "role acme/r",
            "user acme/a@b.c",
            "group acme/g",
            "core acme/one",
            "core_state acme/one",
            "tenant_status acme",
        ];
        assert_eq!(order.unwrap(), expected);
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_and_where() {
        let found = desired(json!({
            "api_version": "1",
            "tenants": [
                {"slug": "Acme"},
                {"slug": "b", "users": [{"email": "x"}, {"email": "a@b.c", "status": "deleted"}]},
                {"slug": "b", "users": [{"email": "a@b.c"}]},
            ],
        }));
        let found = found.unwrap_err();
        let places: Vec<&str> = found.iter().filter_map(|line| line.split(' ').nth(1)).collect();
        let expected = [
            "api_version",
            "tenants[0].slug",
            "tenants[1].users[0].email",
            "tenants[1].users[1].status",
            "tenants[2].users[0]",
        ];
        assert_eq!(places, expected, "{found:?}");
    }

    #[test]
    fn a_secret_is_never_among_what_can_be_shown() {
        let document: Document = serde_json::from_value(json!({
            "api_version": API_VERSION,
            "tenants": [{"slug": "t",
                "webhooks": [{"url": "https://a.example/", "events": ["*"],
                    "secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}],
                "cores": [{"name": "C", "environment": {"K": {"type": "secret", "value": "hush"}, "P": 1}}],
                "modules": {"scaibot": {"config": {"key": "hush"}}},
            }],
        }))
        .unwrap();
        let desired = Desired::of(vec![(String::new(), document)]).unwrap();
        assert_eq!(desired.len(), 3);
        for thing in &desired.0 {
            let shown = Value::Object(thing.fields.clone()).to_string();
            assert!(shown.contains(MASK) && !shown.contains("hush") && !shown.contains("whsec"), "{shown}");
        }
    }
}
