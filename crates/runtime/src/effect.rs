//! What a machine wants from the world, and what it gets.
//!
//! *Inside* effects (memory, events, log, recorded values) are the platform's own data: a driver answers them at
//! once and commits them with the journal. *Outside* effects may take for ever; their intent is durable before
//! anything happens, and the outcome comes when it comes.

use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use scaigrid_ir::Value;
use scaigrid_ir::block::{LogLevel, MemoryOp, OnTimeout, Priority};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

mod names;

pub use names::{log_level_name, memory_op_name, on_timeout_name, priority_name};

/// The number of an effect within its execution, in the order in which effects are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EffectId(pub u32);

/// Something that a machine wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Its number.
    pub id: EffectId,
    /// The flow that asks.
    pub flow: Arc<str>,
    /// The block that asks.
    pub block: Arc<str>,
    /// The block or statement in the document (RFC 6901).
    pub pointer: Arc<str>,
    /// What is wanted.
    pub kind: EffectKind,
}

/// What is wanted. The names that the encodings use are short, and never change meaning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EffectKind {
    /// Persistent variables. Inside; answered with the value read, or with null for writes.
    #[serde(rename = "m")]
    Memory(MemoryRequest),
    /// An event. Inside; answered with null.
    #[serde(rename = "e")]
    Emit {
        /// Its name.
        event: Arc<str>,
        /// What it carries.
        data: Value,
    },
    /// A log entry. Inside; answered with null.
    #[serde(rename = "l")]
    Log {
        /// How grave.
        #[serde(with = "names::LogLevelCode")]
        level: LogLevel,
        /// The text.
        message: Arc<str>,
        /// Further fields, or null.
        fields: Value,
    },
    /// The present instant. Inside; answered with a `Value::Datetime`.
    #[serde(rename = "n")]
    Now,
    /// A new UUID. Inside; answered with a `Value::String`.
    #[serde(rename = "u")]
    Uuid,
    /// A number from 0 to below 1. Inside; answered with a `Value::Float`.
    #[serde(rename = "r")]
    Random,
    /// A person's decision. Outside; answered with `{decision, response_data, comment, resolved_by, resolved_at}`,
    /// or with the error `CHECKPOINT_EXPIRED`.
    #[serde(rename = "c")]
    Checkpoint(Box<CheckpointRequest>),
    /// Another flow. Outside; answered with its value once it has ended, for asynchronous calls too.
    #[serde(rename = "f")]
    CoreCall(Box<CoreCallRequest>),
    /// A method of a plugin. Outside; answered with its result, or with one of the errors `PLUGIN_ERROR`,
    /// `PLUGIN_TIMEOUT`, `PLUGIN_UNREACHABLE`, `PLUGIN_RESULT_INVALID`, `PLUGIN_TOOL_CHANGED`, `PLUGIN_NOT_FOUND`.
    #[serde(rename = "p")]
    PluginCall(Box<PluginCallRequest>),
    /// One call of a model. Outside; answered with [`ModelAnswer`] as a value, or with one of the errors
    /// `MODEL_NOT_FOUND`, `MODEL_ERROR`, `MODEL_TIMEOUT`, `MODEL_UNAVAILABLE`, `BUDGET_EXCEEDED`.
    #[serde(rename = "o")]
    ModelCall(Box<ModelCallRequest>),
    /// A span of time, or an instant to come. Outside; answered with the `Value::Datetime` at which it was due.
    #[serde(rename = "t")]
    Timer(TimerRequest),
    /// An event that is still to come to the Core. Outside; answered with `{event, data}`, or with the error
    /// `WAIT_TIMEOUT`.
    #[serde(rename = "w")]
    WaitEvent(Box<WaitEventRequest>),
}

impl EffectKind {
    /// Whether the driver answers it at once from the platform's own data.
    pub fn is_inside(&self) -> bool {
        match self {
            Self::Memory(_)
            | Self::Emit { .. }
            | Self::Log { .. }
            | Self::Now
            | Self::Uuid
            | Self::Random => true,
            Self::Checkpoint(_)
            | Self::CoreCall(_)
            | Self::PluginCall(_)
            | Self::ModelCall(_)
            | Self::Timer(_)
            | Self::WaitEvent(_) => false,
        }
    }

    /// Its name in histories.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Emit { .. } => "emit",
            Self::Log { .. } => "log",
            Self::Now => "now",
            Self::Uuid => "uuid",
            Self::Random => "random",
            Self::Checkpoint(_) => "checkpoint",
            Self::CoreCall(_) => "core_call",
            Self::PluginCall(_) => "plugin_call",
            Self::ModelCall(_) => "model_call",
            Self::Timer(_) => "timer",
            Self::WaitEvent(_) => "wait_event",
        }
    }
}

/// A read or a write of a persistent variable.
///
/// An `update` of a program is two requests: a `Get` with `for_update`, and an `Update` that carries the new
/// value whole. Whoever stores memory makes the pair one step by checking, when the second commits, that the
/// entry is still what the first gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemoryRequest {
    /// Which operation.
    #[serde(with = "names::MemoryOpCode")]
    pub op: MemoryOp,
    /// The variable.
    pub target: Arc<str>,
    /// The entry, for maps.
    pub key: Option<Arc<str>>,
    /// What is written; checked against the declared type.
    pub value: Option<Value>,
    /// Keys must begin with this, for `list`.
    pub prefix: Option<Arc<str>>,
    /// The text to find, for `search`.
    pub query: Option<Arc<str>>,
    /// How many at most, for `list`, `search` and `last`.
    pub limit: Option<u32>,
    /// Whether `list` begins at the end.
    pub descending: bool,
    /// Whether this `Get` is the first half of an update.
    pub for_update: bool,
    /// How well entries must fit at least, from 0 to 1, for `search`.
    #[serde(default)]
    pub min_similarity: Option<f64>,
}

/// A question to a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointRequest {
    /// The program's own word for what is asked.
    pub checkpoint_type: Arc<str>,
    /// The question.
    pub prompt: Arc<str>,
    /// What the person needs to see, or null.
    pub payload: Value,
    /// The allowed decisions; any where empty.
    pub options: Vec<Arc<str>>,
    /// Who may answer.
    pub assignee: Option<Arc<str>>,
    /// How urgent it is.
    #[serde(with = "names::PriorityCode")]
    pub priority: Priority,
    /// How long it may wait, from when it is opened.
    pub timeout: Option<Duration>,
    /// What happens then.
    #[serde(with = "names::OnTimeoutCode")]
    pub on_timeout: OnTimeout,
    /// Who is asked next.
    pub escalation_target: Option<Arc<str>>,
    /// What a person sees in the block's place.
    pub label: Option<Arc<str>>,
    /// The JSON Schema (2020-12) that the data of an answer must fit.
    #[serde(default)]
    pub form: Option<Value>,
    /// How many different people must decide alike; one where absent.
    #[serde(default)]
    pub required_approvals: Option<u32>,
    /// Whether whoever started the execution may not answer.
    #[serde(default)]
    pub exclude_requester: bool,
    /// The plugin call that the answer allows; the person is shown it.
    #[serde(default)]
    pub action: Option<Box<ActionRequest>>,
}

/// A plugin call that waits for approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionRequest {
    /// The plugin's alias.
    pub alias: Arc<str>,
    /// The method.
    pub method: Arc<str>,
    /// The arguments: an object by name.
    pub args: Value,
    /// The SHA-256 of the canonical JSON of `{alias, method, args}`: see [`action_hash`].
    pub hash: Arc<str>,
}

/// What tells one plugin call from another: the SHA-256 of `{alias, method, args}` as canonical JSON
/// ([`Value::sha256`]), in lower-case hexadecimal.
pub fn action_hash(alias: &Arc<str>, method: &Arc<str>, args: &Value) -> Arc<str> {
    let fields = [
        ("alias", Value::String(Arc::clone(alias))),
        ("method", Value::String(Arc::clone(method))),
        ("args", args.clone()),
    ];
    let call = Value::object(fields.into_iter().map(|(name, value)| (Arc::from(name), value)).collect());
    call.sha256().into()
}

/// A call of a flow as an execution of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CoreCallRequest {
    /// `core://slug`, `core://tenant/slug`, or `core://self`.
    pub target: Arc<str>,
    /// The flow.
    pub flow_name: Arc<str>,
    /// Its input: an object by parameter.
    pub input: Value,
    /// The instance, for entity Cores.
    pub instance_key: Option<Arc<str>>,
    /// The target's version; its newest where absent.
    pub version: Option<u32>,
    /// Whether the flow goes on without waiting; the answer comes all the same.
    pub is_async: bool,
}

/// A call of a plugin's method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginCallRequest {
    /// The plugin, by the alias that the module declares.
    pub alias: Arc<str>,
    /// The method.
    pub method: Arc<str>,
    /// Its arguments: an object by name.
    pub args: Value,
    /// How long one attempt may take; the driver's own bound where absent.
    pub timeout: Option<Duration>,
    /// The checkpoint, by its effect, whose approval this call uses up, where the program asks for one.
    pub approved_by: Option<EffectId>,
    /// Until when that approval holds, in microseconds since the Unix epoch, where it ends: no attempt begins after it.
    #[serde(default)]
    pub approved_until: Option<i64>,
}

/// One call of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCallRequest {
    /// The role that the module declares for the model.
    pub role: Arc<str>,
    /// The conversation: an array of `{role, content}`, as `OpenAI`'s chat completions have it.
    pub messages: Value,
    /// The JSON Schema (2020-12) that the answer must fit, where it is to be structured.
    pub schema: Option<Value>,
    /// Parameters of the model (`temperature`, `top_p`, `seed`, `stop`, …): an object.
    pub params: Value,
    /// The most tokens that the answer may have, where a budget or a parameter bounds it.
    pub max_output_tokens: Option<u64>,
    /// The most that the call may cost, in the currency of the catalogue's prices, where a budget bounds it.
    pub max_cost: Option<Value>,
    /// How long one attempt may take; the driver's own bound where absent.
    pub timeout: Option<Duration>,
}

/// What a model has answered.
///
/// As the outcome of an effect: `{content, model, finish_reason, usage: {input_tokens, output_tokens, cost}}`,
/// where `cost` is a `Value::Money`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelAnswer {
    /// The text.
    pub content: Arc<str>,
    /// The model that answered, by its slug in the catalogue.
    pub model: Arc<str>,
    /// Why it stopped: `stop`, `length`, `content_filter`, …
    pub finish_reason: Arc<str>,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// What it cost, in the currency of the catalogue's prices.
    pub cost: Decimal,
}

impl ModelAnswer {
    /// As the outcome of an effect.
    pub fn to_value(&self) -> Value {
        let count = |tokens: u64| Value::Int(i64::try_from(tokens).unwrap_or(i64::MAX));
        let usage = [
            ("input_tokens", count(self.input_tokens)),
            ("output_tokens", count(self.output_tokens)),
            ("cost", Value::Money(self.cost)),
        ];
        let usage = usage.into_iter().map(|(name, value)| (Arc::from(name), value)).collect();
        let fields = [
            ("content", Value::String(Arc::clone(&self.content))),
            ("model", Value::String(Arc::clone(&self.model))),
            ("finish_reason", Value::String(Arc::clone(&self.finish_reason))),
            ("usage", Value::object(usage)),
        ];
        Value::object(fields.into_iter().map(|(name, value)| (Arc::from(name), value)).collect())
    }

    /// The answer in an effect's outcome; none where it is not one.
    pub fn of_value(value: &Value) -> Option<Self> {
        let text = |name: &str| match value.get(name) {
            Some(Value::String(text)) => Some(Arc::clone(text)),
            _ => None,
        };
        let usage = value.get("usage")?;
        let count = |name: &str| match usage.get(name) {
            Some(Value::Int(tokens)) => u64::try_from(*tokens).ok(),
            _ => None,
        };
        let Some(Value::Money(cost)) = usage.get("cost") else { return None };
        Some(Self {
            content: text("content")?,
            model: text("model")?,
            finish_reason: text("finish_reason")?,
            input_tokens: count("input_tokens")?,
            output_tokens: count("output_tokens")?,
            cost: *cost,
        })
    }
}

/// A time to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimerRequest {
    /// So long from when it is made durable.
    #[serde(rename = "a")]
    After(Duration),
    /// Until this instant, in microseconds since the Unix epoch, UTC; at once where it has passed.
    #[serde(rename = "u")]
    Until(i64),
}

/// A wait for an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaitEventRequest {
    /// The event's name.
    pub name: Arc<str>,
    /// Whether the place in the document that asks has a filter: see
    /// [`Program::event_passes`](crate::Program::event_passes).
    pub filtered: bool,
    /// The variables that the filter reads, as they stood when the wait began: an object.
    pub captured: Value,
    /// How long to wait; for ever where absent.
    pub timeout: Option<Duration>,
}

/// How an effect ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// With a value.
    #[serde(rename = "v")]
    Value(Value),
    /// With an error, which the program can catch.
    #[serde(rename = "x")]
    Error(Failure),
}
