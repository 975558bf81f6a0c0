//! The document that says what is to be there, as it is written down.
//!
//! Only its form is known here; whether the values are ones of the domain is found out by [`super::thing`]. What a
//! document leaves out, or gives as null, is left as it is.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// The form that this version reads.
pub const API_VERSION: &str = "scaigrid/v1";

/// What is to be there.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Which form the document has: [`API_VERSION`].
    pub api_version: String,
    /// What the platform says of modules.
    #[serde(default)]
    pub modules: BTreeMap<String, ModuleEntry>,
    /// Partners.
    #[serde(default)]
    pub partners: Vec<PartnerEntry>,
    /// Tenants, and what is in them.
    #[serde(default)]
    pub tenants: Vec<TenantEntry>,
}

/// What a level says of a module.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleEntry {
    /// Whether it is on.
    pub enabled: Option<bool>,
    /// What is configured of it, as a merge patch (RFC 7396): a null takes a value back.
    pub config: Option<Map<String, Value>>,
}

/// A partner.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartnerEntry {
    /// Its slug, which it is known by.
    pub slug: String,
    /// Its name; the slug for a new one that has none.
    pub name: Option<String>,
    /// Where its operator is reached.
    pub contact_email: Option<String>,
    /// `active` or `suspended`.
    pub status: Option<String>,
    /// How far it may grow, all of it.
    pub limits: Option<PartnerLimitsEntry>,
    /// What it says of modules.
    #[serde(default)]
    pub modules: BTreeMap<String, ModuleEntry>,
}

/// How far a partner may grow. What is left out is not limited.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartnerLimitsEntry {
    /// Tenants.
    pub max_tenants: Option<u32>,
    /// Users in each.
    pub max_users_per_tenant: Option<u32>,
}

/// A tenant. One of which nothing is said but the slug must be there already.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantEntry {
    /// Its slug, which it is known by.
    pub slug: String,
    /// The slug of its partner, which cannot be changed later; for a new one the platform's own, if it is left out.
    pub partner: Option<String>,
    /// Its name; the slug for a new one that has none.
    pub name: Option<String>,
    /// `active` or `suspended`.
    pub status: Option<String>,
    /// How far it may grow, all of it.
    pub limits: Option<TenantLimitsEntry>,
    /// Its features, all of them.
    pub features: Option<Map<String, Value>>,
    /// What it says of modules.
    #[serde(default)]
    pub modules: BTreeMap<String, ModuleEntry>,
    /// Its custom roles.
    #[serde(default)]
    pub roles: Vec<RoleEntry>,
    /// Its users.
    #[serde(default)]
    pub users: Vec<UserEntry>,
    /// Its groups.
    #[serde(default)]
    pub groups: Vec<GroupEntry>,
    /// Whom it lets know.
    #[serde(default)]
    pub webhooks: Vec<WebhookEntry>,
    /// Its Cores.
    #[serde(default)]
    pub cores: Vec<CoreEntry>,
}

/// How far a tenant may grow. What is left out is not limited.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantLimitsEntry {
    /// Users.
    pub max_users: Option<u32>,
    /// Cores.
    pub max_cores: Option<u32>,
    /// Participants.
    pub max_participants: Option<u32>,
    /// Rooms.
    pub max_rooms: Option<u32>,
    /// Bytes that are kept.
    pub max_storage_bytes: Option<u64>,
    /// Tokens of models in a month.
    pub monthly_ai_tokens: Option<u64>,
    /// Executions that wait to run.
    pub max_queued_executions: Option<u32>,
    /// Days for which executions that have ended are kept.
    pub execution_retention_days: Option<u32>,
}

/// A custom role.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleEntry {
    /// Its slug, which it is known by.
    pub slug: String,
    /// Its name; the slug for a new one that has none.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// All that it gives.
    pub permissions: Option<Vec<String>>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserEntry {
    /// Their mail address, which they are known by.
    pub email: String,
    /// Their name.
    pub display_name: Option<String>,
    /// `human` or `service`; cannot be changed later.
    pub kind: Option<String>,
    /// `active` or `suspended`.
    pub status: Option<String>,
    /// All built-in roles that they hold.
    pub roles: Option<Vec<String>>,
    /// The slugs of all custom roles that they hold.
    pub custom_roles: Option<Vec<String>>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupEntry {
    /// Its slug, which it is known by.
    pub slug: String,
    /// Its name; the slug for a new one that has none.
    pub name: Option<String>,
    /// The mail addresses of all who are in it.
    pub members: Option<Vec<String>>,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookEntry {
    /// Where events are posted; what it is known by.
    pub url: String,
    /// All that it is told.
    pub events: Option<Vec<String>>,
    /// What deliveries are signed with. A new webhook needs one: nobody would see one that was drawn.
    pub secret: Option<String>,
    /// `active` or `inactive`.
    pub status: Option<String>,
    /// How often a delivery is tried again.
    pub max_retries: Option<i64>,
}

/// A Core.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoreEntry {
    /// Its name. Its slug follows from the name that it is made with, and is what it is known by.
    pub name: String,
    /// Its program; where it is written as a file's name, whoever reads the document puts the program in its place.
    pub source: Option<Value>,
    /// What starts its flows.
    pub runtime_mode: Option<String>,
    /// How its executions share memory.
    pub concurrency_mode: Option<String>,
    /// The input field that names the entity, with and only with the mode `entity`.
    pub entity_key_field: Option<String>,
    /// All values of its environment; `{"type": "secret", "value": …}` for a secret.
    pub environment: Option<Map<String, Value>>,
    /// Its plugins, all of them.
    pub plugins: Option<Vec<Value>>,
    /// Its limits, all of them.
    pub resource_limits: Option<Map<String, Value>>,
    /// What else is noted about it.
    pub metadata: Option<Map<String, Value>>,
    /// `running`, `paused` or `stopped`.
    pub state: Option<String>,
}

/// A value that may refer to something outside the document, and where it stands.
#[derive(Debug)]
pub struct Slot<'a> {
    /// Where it stands, as in `tenants[0].cores[1].environment`.
    pub place: String,
    /// The value.
    pub value: SlotValue<'a>,
}

/// A value that may refer to something outside the document.
#[derive(Debug)]
pub enum SlotValue<'a> {
    /// A text.
    Text(&'a mut String),
    /// Values in whose texts, at any depth, there may be references.
    Fields(&'a mut Map<String, Value>),
    /// A program, or the name of the file that it is in.
    Program(&'a mut Value),
}

impl Document {
    /// All values that may refer to something outside the document: configuration, environments, secrets, programs.
    pub fn slots(&mut self) -> Vec<Slot<'_>> {
        fn of_modules<'a>(
            slots: &mut Vec<Slot<'a>>,
            place: &str,
            modules: &'a mut BTreeMap<String, ModuleEntry>,
        ) {
            for (module, entry) in modules {
                if let Some(config) = &mut entry.config {
                    let place = format!("{place}modules.{module}.config");
                    slots.push(Slot { place, value: SlotValue::Fields(config) });
                }
            }
        }
        let mut slots = Vec::new();
        of_modules(&mut slots, "", &mut self.modules);
        for (index, partner) in self.partners.iter_mut().enumerate() {
            of_modules(&mut slots, &format!("partners[{index}]."), &mut partner.modules);
        }
        for (index, tenant) in self.tenants.iter_mut().enumerate() {
            let place = format!("tenants[{index}].");
            of_modules(&mut slots, &place, &mut tenant.modules);
            for (index, webhook) in tenant.webhooks.iter_mut().enumerate() {
                if let Some(secret) = &mut webhook.secret {
                    let place = format!("{place}webhooks[{index}].secret");
                    slots.push(Slot { place, value: SlotValue::Text(secret) });
                }
            }
            for (index, core) in tenant.cores.iter_mut().enumerate() {
                if let Some(environment) = &mut core.environment {
                    let place = format!("{place}cores[{index}].environment");
                    slots.push(Slot { place, value: SlotValue::Fields(environment) });
                }
                if let Some(source) = &mut core.source {
                    let place = format!("{place}cores[{index}].source");
                    slots.push(Slot { place, value: SlotValue::Program(source) });
                }
            }
        }
        slots
    }
}
