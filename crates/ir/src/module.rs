//! The module: everything that one program declares.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::block::Body;
use crate::expr::Expr;
use crate::types::{Type, TypeError};
use crate::value::Value;

/// A program. Immutable once loaded; shared by every execution that runs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    /// `"0.2"`, or `"0.1"` for programs of the older schema.
    pub schema_version: Arc<str>,
    /// The program's name.
    pub name: Arc<str>,
    /// The program's own version (semver).
    pub version: Arc<str>,
    /// What the program is for.
    pub description: Option<Arc<str>>,
    /// Who the program is when it speaks.
    pub identity: Option<Identity>,
    /// An embedded picture.
    pub avatar: Option<Avatar>,
    /// Named types.
    pub types: BTreeMap<Arc<str>, Type>,
    /// Models by role; the first is the primary one.
    pub models: Vec<ModelDecl>,
    /// Plugins that the program calls.
    pub plugins: Vec<PluginDecl>,
    /// Persistent variables.
    pub memory: BTreeMap<Arc<str>, MemoryDecl>,
    /// Read-only data that comes with the program.
    pub reference: BTreeMap<Arc<str>, Value>,
    /// Parameters that a tenant may set.
    pub config: BTreeMap<Arc<str>, ConfigDecl>,
    /// Standing rules for model calls.
    pub constraints: Constraints,
    /// How instances are formed.
    pub instance: Instance,
    /// What starts flows from outside.
    pub triggers: Vec<Trigger>,
    /// The flows, in their written order.
    pub flows: Vec<Flow>,
    /// Events of this or other Cores that start flows.
    pub subscriptions: Vec<Subscription>,
}

impl Module {
    /// The flow of that name.
    pub fn flow(&self, name: &str) -> Option<&Flow> {
        self.flows.iter().find(|flow| &*flow.name == name)
    }

    /// The configuration that comes of what a tenant has set: values as the types have them, defaults where none is set, secrets left
    /// out. What is set and is no parameter stays as it is.
    ///
    /// # Errors
    /// What does not fit its type; at most 20 findings for each parameter.
    pub fn configured(&self, mut set: BTreeMap<Arc<str>, Value>) -> Result<Value, Vec<TypeError>> {
        let mut findings = Vec::new();
        for (name, declared) in &self.config {
            let value = match set.remove(name) {
                _ if declared.secret => continue,
                None => declared.default.clone().unwrap_or_default(),
                Some(value) => match declared.ty.admit(value, &self.types) {
                    Ok(value) => value,
                    Err(errors) => {
                        findings.extend(errors.into_iter().map(|error| error.under(name)));
                        continue;
                    }
                },
            };
            set.insert(Arc::clone(name), value);
        }
        if findings.is_empty() { Ok(Value::Object(Arc::new(set))) } else { Err(findings) }
    }

    /// The model by which texts are compared by what they mean: the first one whose modalities name `embedding`.
    pub fn embedding(&self) -> Option<&ModelDecl> {
        self.models.iter().find(|model| model.modalities.iter().any(|modality| &**modality == "embedding"))
    }
}

/// Who the program is when it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name it goes by.
    pub name: Arc<str>,
    /// How it behaves, in a sentence or more.
    pub persona: Option<Arc<str>>,
    /// BCP 47 tags of the languages it speaks.
    pub languages: Vec<Arc<str>>,
}

/// An embedded picture, still in base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Avatar {
    /// The declared media type.
    pub content_type: Arc<str>,
    /// The picture in base64 (RFC 4648, section 4).
    pub data_b64: Arc<str>,
}

/// A model by the role it plays in the program.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelDecl {
    /// The role that blocks name; `primary` when the first has none.
    pub role: Arc<str>,
    /// Who provides it; `scaigrid` is the platform's own catalogue.
    pub provider: Arc<str>,
    /// The model's slug at the provider.
    pub model: Arc<str>,
    /// Sampling temperature, 0 to 2.
    pub temperature: Option<f64>,
    /// What it can take and give, e.g. `text`, `structured_output`.
    pub modalities: Vec<Arc<str>>,
    /// Models to try when this one fails: (provider, model).
    pub fallback: Vec<(Arc<str>, Arc<str>)>,
    /// A text that goes before every prompt of this role.
    pub system_context: Option<Arc<str>>,
}

/// A plugin that the program calls by an alias.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginDecl {
    /// The name that statements use.
    pub alias: Arc<str>,
    /// The plugin's name in the tenant's registry.
    pub plugin: Arc<str>,
    /// Configuration that goes with each call.
    pub config: Value,
    /// Whether the program can start without it.
    pub required: bool,
}

/// A persistent variable.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryDecl {
    /// What it holds; maps and arrays are stored entry by entry.
    pub ty: Type,
    /// What a scalar holds before it is first set.
    pub default: Option<Value>,
}

/// A parameter that a tenant may set.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigDecl {
    /// What it holds.
    pub ty: Type,
    /// Its value where the tenant sets none.
    pub default: Option<Value>,
    /// Whether its value is a secret, usable only in plugin and model configuration.
    pub secret: bool,
    /// Whether it may change while the Core runs.
    pub runtime_configurable: bool,
    /// What it is for.
    pub description: Option<Arc<str>>,
}

/// Standing rules for model calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Constraints {
    /// What a model must never do.
    pub never: Vec<Arc<str>>,
    /// What a model must always do.
    pub always: Vec<Arc<str>>,
    /// What a model should do where it can.
    pub prefer: Vec<Arc<str>>,
}

/// How instances of the program are formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InstanceMode {
    /// Any number of executions side by side over one memory.
    #[default]
    Stateless,
    /// One instance, with a memory of its own, for each value of a key.
    Entity,
    /// One instance.
    Singleton,
}

/// What happens when an entity Core has no room for another execution or instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The execution waits its turn.
    #[default]
    Queue,
    /// The caller is refused.
    Reject,
    /// The instance that was idle longest makes room.
    DeactivateLru,
}

/// The program's instance declaration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Instance {
    /// How instances are formed.
    pub mode: InstanceMode,
    /// The input field that is the key, for entities.
    pub key: Option<Arc<str>>,
    /// How long an idle instance is kept active.
    pub idle_timeout: Option<Duration>,
    /// How many executions of one instance may run at once.
    pub max_concurrent: Option<u32>,
    /// How many instances may be active at once.
    pub max_active_instances: Option<u32>,
    /// What happens past these.
    pub overflow: Overflow,
}

/// What starts a flow from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    /// Its name, unique in the module.
    pub name: Arc<str>,
    /// The flow it starts.
    pub target_flow: Arc<str>,
    /// What it listens to.
    pub kind: TriggerKind,
    /// Where it stands in the document.
    pub pointer: Arc<str>,
}

/// What becomes of a schedule's points in time that passed while no node was there to serve them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CatchUp {
    /// They are left out.
    Skip,
    /// The last of them is served.
    #[default]
    Latest,
    /// All of them are served, within bounds.
    All,
}

/// What a trigger listens to.
#[derive(Debug, Clone, PartialEq)]
pub enum TriggerKind {
    /// A call of the Core's own API.
    Api {
        /// The HTTP method, upper case.
        method: Arc<str>,
        /// The path, with `{name}` for parameters.
        path: Arc<str>,
        /// Whether it answers without credentials.
        public: bool,
    },
    /// A signed HTTP message from another system.
    Webhook {
        /// What it is verified with, as `${env.NAME}`.
        secret: Option<Arc<str>>,
        /// What it must carry, as the host reads it.
        scheme: Option<Arc<serde_json::Value>>,
    },
    /// Points in time.
    Schedule {
        /// Five fields.
        cron: Arc<str>,
        /// An IANA time zone.
        timezone: Arc<str>,
        /// What becomes of points that passed while nobody could serve them.
        catch_up: CatchUp,
    },
    /// An event by name.
    Event {
        /// The event's name.
        event: Arc<str>,
        /// Starts the flow only where this is true; `event` and `data` are in scope.
        filter: Option<Expr>,
    },
}

/// An event of this or another Core that starts a flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// The event's name.
    pub event: Arc<str>,
    /// The Core that it must come from, as [`core_uri`](crate::core_uri) has it; the program's own where absent.
    pub from: Option<Arc<str>>,
    /// Starts the flow only where this is true; `event` and `data` are in scope.
    pub filter: Option<Expr>,
    /// The flow it starts.
    pub flow: Arc<str>,
    /// Where it stands in the document.
    pub pointer: Arc<str>,
}

/// A flow: a named, typed entry into the program.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// Its name, unique in the module.
    pub name: Arc<str>,
    /// What it does.
    pub description: Option<Arc<str>>,
    /// Its parameters, in order.
    pub params: Vec<Param>,
    /// What it returns, checked when it does.
    pub returns: Option<Type>,
    /// Its blocks.
    pub body: Body,
    /// Where it stands in the document.
    pub pointer: Arc<str>,
}

/// A parameter of a flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its name, in scope in the flow.
    pub name: Arc<str>,
    /// What it holds.
    pub ty: Type,
    /// Its value when the caller gives none; without one the parameter must be given, unless it is optional.
    pub default: Option<Value>,
}
