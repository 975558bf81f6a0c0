//! What a machine wants from the world, and what it gets.
//!
//! *Inside* effects (memory, events, log, recorded values) are the platform's own data: a driver answers them at
//! once and commits them with the journal. *Outside* effects may take for ever; their intent is durable before
//! anything happens, and the outcome comes when it comes.

use std::sync::Arc;
use std::time::Duration;

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
    /// Another flow. Outside; answered with its value, or for asynchronous calls with a handle.
    #[serde(rename = "f")]
    CoreCall(Box<CoreCallRequest>),
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
            Self::Checkpoint(_) | Self::CoreCall(_) => false,
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
}

/// A call of a flow as an execution of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CoreCallRequest {
    /// `core://tenant/slug`, or `core://self`.
    pub target: Arc<str>,
    /// The flow.
    pub flow_name: Arc<str>,
    /// Its input: an object by parameter.
    pub input: Value,
    /// The instance, for entity Cores.
    pub instance_key: Option<Arc<str>>,
    /// The target's version; its newest where absent.
    pub version: Option<u32>,
    /// Whether the flow goes on without waiting.
    pub is_async: bool,
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
