//! What starts the flows of a Core by itself: what its program declares, and what was registered beside it.
//!
//! Names are unique among all of them. Where a new program declares a name that was registered before, the program's counts
//! and the other one rests ([`Entry::problem`]).

pub mod api;
pub mod event;
pub mod hook;
pub mod input;
pub mod listening;
pub mod openapi;
pub mod schedule;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use scaigrid_ir::module::{self, CatchUp, Module, TriggerKind};
use scaigrid_scope::{CoreId, Instant, Name, TriggerId, UserId};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use ulid::Ulid;

use crate::core::FieldProblem;
use api::Endpoint;
use event::EventFilter;
use hook::Hook;
use schedule::Schedule;

/// How many triggers may be registered on a Core: each event is compared with all of them.
pub const TRIGGERS_AT_MOST: usize = 100;

/// What a trigger listens to, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A call of the Core's own API.
    Api,
    /// A signed HTTP message from another system.
    Webhook,
    /// Points in time.
    Schedule,
    /// An event by name.
    Event,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Api, Self::Webhook, Self::Schedule, Self::Event];

    /// The word, as it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Webhook => "webhook",
            Self::Schedule => "schedule",
            Self::Event => "event",
        }
    }

    /// What the flow gets, by name; none where it gets whatever its parameters are.
    const fn given(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Api => None,
            Self::Webhook => Some(&["body", "headers", "message_id"]),
            Self::Schedule => Some(&["fired_at", "scheduled_at"]),
            Self::Event => Some(&["data", "event"]),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no kind of triggers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be one of api, webhook, schedule, event")]
pub struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UnknownKind)
    }
}

/// What a trigger listens to.
#[derive(Debug, Clone, PartialEq)]
pub enum Listens {
    /// Calls of the Core's own API.
    Api(Endpoint),
    /// Signed HTTP messages from another system.
    Webhook(Hook),
    /// Points in time.
    Schedule {
        /// Five fields.
        cron: String,
        /// An IANA time zone.
        timezone: String,
        /// What becomes of points that passed while nobody could serve them.
        catch_up: CatchUp,
    },
    /// Events by name.
    Event(EventFilter),
}

static WAYS: [(CatchUp, &str); 3] =
    [(CatchUp::Skip, "skip"), (CatchUp::Latest, "latest"), (CatchUp::All, "all")];

impl Listens {
    /// In a word.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Api(_) => Kind::Api,
            Self::Webhook(_) => Kind::Webhook,
            Self::Schedule { .. } => Kind::Schedule,
            Self::Event(_) => Kind::Event,
        }
    }

    /// Reads what somebody has written, without the secret of a webhook unless it is one of the environment's.
    ///
    /// # Errors
    /// What is wrong, field by field; unknown fields are.
    pub fn parse(kind: Kind, config: &Map<String, Value>) -> Result<Self, Vec<FieldProblem>> {
        let mut fields = Fields { config, problems: Vec::new() };
        let allowed: &[&str] = match kind {
            Kind::Api => &["method", "path", "public"],
            Kind::Webhook => &["secret", "scheme"],
            Kind::Schedule => &["cron", "timezone", "catch_up"],
            Kind::Event => &["event", "filter"],
        };
        fields.only(allowed);
        let listens = match kind {
            Kind::Api => Endpoint::read(&mut fields).map(Self::Api),
            Kind::Webhook => Hook::read(&mut fields).map(Self::Webhook),
            Kind::Event => EventFilter::read(&mut fields).map(Self::Event),
            Kind::Schedule => {
                let cron = fields.required("cron");
                let timezone = fields.text("timezone").unwrap_or("UTC");
                let catch_up = fields.text("catch_up").map(|text| WAYS.iter().find(|(_, way)| *way == text));
                if catch_up == Some(None) {
                    fields.problem("catch_up", "must be one of skip, latest, all");
                }
                let catch_up = catch_up.flatten().map_or(CatchUp::default(), |(way, _)| *way);
                cron.and_then(|cron| match Schedule::parse(cron, timezone, catch_up) {
                    Ok(_) => Some(Self::Schedule {
                        cron: cron.to_owned(),
                        timezone: timezone.to_owned(),
                        catch_up,
                    }),
                    Err((field, error)) => {
                        fields.problem(field, error.to_string());
                        None
                    }
                })
            }
        };
        match listens {
            Some(listens) if fields.problems.is_empty() => Ok(listens),
            _ => Err(fields.problems),
        }
    }

    /// What a program declares, or why it cannot be.
    fn declared(kind: &TriggerKind) -> Result<Self, String> {
        Ok(match kind {
            TriggerKind::Api { method, path, public } => {
                Self::Api(Endpoint::new(method, path, *public).map_err(|problem| problem.to_string())?)
            }
            TriggerKind::Webhook { secret, scheme } => {
                Self::Webhook(Hook::declared(secret.as_deref(), scheme.as_deref())?)
            }
            TriggerKind::Schedule { cron, timezone, catch_up } => {
                Self::Schedule { cron: cron.to_string(), timezone: timezone.to_string(), catch_up: *catch_up }
            }
            TriggerKind::Event { event, filter } => {
                Self::Event(EventFilter::declared(event, filter.as_ref()))
            }
        })
    }

    /// As it is written; no secret is in it.
    pub fn config(&self) -> Map<String, Value> {
        let config = match self {
            Self::Api(endpoint) => endpoint.config(),
            Self::Webhook(hook) => hook.config(),
            Self::Schedule { cron, timezone, catch_up } => {
                let way = WAYS.iter().find(|(way, _)| way == catch_up).map_or("latest", |(_, text)| text);
                json!({"cron": cron, "timezone": timezone, "catch_up": way})
            }
            Self::Event(filter) => filter.config(),
        };
        match config {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }
}

/// The fields of a configuration, while they are read.
pub(crate) struct Fields<'a> {
    config: &'a Map<String, Value>,
    problems: Vec<FieldProblem>,
}

impl<'a> Fields<'a> {
    fn only(&mut self, allowed: &[&str]) {
        let unknown: Vec<&String> =
            self.config.keys().filter(|name| !allowed.contains(&name.as_str())).collect();
        for name in unknown {
            let shown: String = name.chars().take(100).collect();
            self.problem(&shown, "is unknown");
        }
    }

    pub(crate) fn problem(&mut self, field: &str, message: impl Into<String>) {
        let field = if field.is_empty() { "config".to_owned() } else { format!("config.{field}") };
        self.problems.push(FieldProblem::new(field, message));
    }

    /// A value that is there and not null.
    pub(crate) fn get(&self, field: &str) -> Option<&'a Value> {
        self.config.get(field).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&mut self, field: &str) -> Option<&'a str> {
        let value = self.get(field)?;
        if value.as_str().is_none() {
            self.problem(field, "must be a text");
        }
        value.as_str()
    }

    pub(crate) fn required(&mut self, field: &str) -> Option<&'a str> {
        if self.get(field).is_none() {
            self.problem(field, "is required");
        }
        self.text(field)
    }

    pub(crate) fn flag(&mut self, field: &str) -> bool {
        match self.get(field) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.problem(field, "must be true or false");
                false
            }
        }
    }
}

/// A trigger that was registered on a Core.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    /// Its id.
    pub id: TriggerId,
    /// Its name, unique among those that were registered.
    pub name: Name,
    /// The flow that it starts.
    pub flow: String,
    /// What it listens to.
    pub listens: Listens,
    /// Who registered it.
    pub created_by: UserId,
    /// When.
    pub created_at: Instant,
}

impl Trigger {
    /// As it is shown on its Core.
    pub fn shown(&self) -> Value {
        json!({
            "id": self.id.to_string(),
            "kind": self.listens.kind().as_str(),
            "name": self.name.as_str(),
            "flow": self.flow,
            "config": self.listens.config(),
        })
    }
}

/// Where a trigger comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// The Core's program declares it.
    Program,
    /// Somebody has registered it.
    Registered {
        /// Who.
        by: UserId,
        /// When.
        at: Instant,
    },
}

/// A trigger of a Core, wherever it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its id.
    pub id: TriggerId,
    /// Its name.
    pub name: Arc<str>,
    /// The flow that it starts.
    pub flow: Arc<str>,
    /// In a word.
    pub kind: Kind,
    /// What it listens to, or why it cannot listen.
    pub listens: Result<Listens, String>,
    /// As it is written; empty where that cannot be read. No secret is in it.
    pub config: Map<String, Value>,
    /// Where it comes from.
    pub source: Source,
}

impl Entry {
    /// What it listens to, unless something keeps it from that.
    pub fn at_work(&self) -> Option<&Listens> {
        self.listens.as_ref().ok()
    }

    /// What keeps it from listening.
    pub fn problem(&self) -> Option<&str> {
        self.listens.as_ref().err().map(String::as_str)
    }
}

/// The id of what a program declares under a name: the same for as long as Core and name are.
pub fn declared_id(core: CoreId, name: &str) -> TriggerId {
    let digest = Sha256::digest(format!("scaigrid trigger\n{core}\n{name}"));
    let bytes = digest.first_chunk::<16>().copied().unwrap_or_default();
    TriggerId::from_ulid(Ulid(u128::from_be_bytes(bytes)))
}

/// All triggers of a Core: first what its program declares, then what was registered.
pub fn entries(core: CoreId, module: &Module, registered: &[Trigger]) -> Vec<Entry> {
    let declared = module.triggers.iter().map(|trigger| {
        let listens = Listens::declared(&trigger.kind);
        Entry {
            id: declared_id(core, &trigger.name),
            name: Arc::clone(&trigger.name),
            flow: Arc::clone(&trigger.target_flow),
            kind: kind_of(trigger),
            config: listens.as_ref().map(Listens::config).unwrap_or_default(),
            listens,
            source: Source::Program,
        }
    });
    let registered = registered.iter().map(|trigger| Entry {
        id: trigger.id,
        name: trigger.name.as_str().into(),
        flow: trigger.flow.as_str().into(),
        kind: trigger.listens.kind(),
        config: trigger.listens.config(),
        listens: match hindrance(module, trigger) {
            None => Ok(trigger.listens.clone()),
            Some(problem) => Err(problem),
        },
        source: Source::Registered { by: trigger.created_by, at: trigger.created_at },
    });
    let mut all: Vec<Entry> = declared.chain(registered).collect();
    one_of_each_path(&mut all);
    all
}

const fn kind_of(trigger: &module::Trigger) -> Kind {
    match trigger.kind {
        TriggerKind::Api { .. } => Kind::Api,
        TriggerKind::Webhook { .. } => Kind::Webhook,
        TriggerKind::Schedule { .. } => Kind::Schedule,
        TriggerKind::Event { .. } => Kind::Event,
    }
}

/// Of two that take the same calls only the first does.
fn one_of_each_path(entries: &mut [Entry]) {
    let mut taken: Vec<(String, Arc<str>)> = Vec::new();
    for entry in entries {
        let Some(Listens::Api(endpoint)) = entry.at_work() else { continue };
        let place = endpoint.place();
        match taken.iter().find(|(other, _)| *other == place) {
            Some((_, name)) => entry.listens = Err(format!("the trigger {name} takes the same calls")),
            None => taken.push((place, Arc::clone(&entry.name))),
        }
    }
}

/// What keeps a registered trigger from listening, with the program as it is.
pub fn hindrance(module: &Module, trigger: &Trigger) -> Option<String> {
    if module.triggers.iter().any(|declared| *declared.name == *trigger.name.as_str()) {
        return Some("the program declares a trigger of this name".to_owned());
    }
    let problem = starts(module, &trigger.flow, &trigger.listens).err()?;
    Some(format!("{} {}", problem.field, problem.message))
}

/// Whether a flow can be started by what a trigger gives it.
///
/// # Errors
/// Why not, by the field of the trigger.
pub fn starts(module: &Module, flow: &str, listens: &Listens) -> Result<(), FieldProblem> {
    let problem = |field: &str, message: String| Err(FieldProblem::new(field, message));
    let Some(found) = module.flow(flow) else {
        return problem("flow", "must be a flow of the Core's program".to_owned());
    };
    if let Listens::Api(endpoint) = listens {
        if input::takes_request(found) {
            return Ok(());
        }
        let unknown =
            endpoint.parameters().find(|name| found.params.iter().all(|param| *param.name != **name));
        return match unknown {
            Some(name) => problem("config.path", format!("names {name}, which is no parameter of the flow")),
            None => Ok(()),
        };
    }
    let given = listens.kind().given().unwrap_or_default();
    let lacking = found.params.iter().find(|param| {
        param.default.is_none()
            && !input::admits_null(&param.ty, &module.types)
            && !given.contains(&&*param.name)
    });
    match lacking {
        Some(param) => problem(
            "flow",
            format!(
                "requires {}, which a trigger of this kind does not give: it gives {}",
                param.name,
                given.join(", ")
            ),
        ),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
