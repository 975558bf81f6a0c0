//! What a checkpoint asks, and what its answer allows.

use std::sync::Arc;
use std::time::Duration;

use super::Body;
use crate::expr::{Expr, Template};
use crate::value::Value;

/// A durable wait for a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The program's own word for what is asked: `approval`, `choice`, `freeform`, …
    pub checkpoint_type: Arc<str>,
    /// The question.
    pub prompt: Template,
    /// What the person needs to see to answer.
    pub payload: Option<Expr>,
    /// The allowed decisions; any where empty.
    pub options: Vec<Arc<str>>,
    /// Who may answer: `user:…`, `group:…`, `role:…`, or a text without a prefix.
    pub assignee: Option<Template>,
    /// How urgent it is.
    pub priority: Priority,
    /// How long it may wait.
    pub timeout: Option<Duration>,
    /// What happens then.
    pub on_timeout: OnTimeout,
    /// Who is asked next, for [`OnTimeout::Escalate`].
    pub escalation_target: Option<Template>,
    /// What runs upon a decision, by option, before the flow goes on.
    pub on_response: Vec<(Arc<str>, Body)>,
    /// The JSON Schema that the data of an answer must fit.
    pub form: Option<Value>,
    /// How many different people must decide alike; one where absent.
    pub required_approvals: Option<u32>,
    /// Whether whoever started the execution may not answer.
    pub exclude_requester: bool,
    /// How often whoever is asked is reminded, in minutes; as the Core says where absent.
    pub reminder_interval_m: Option<u32>,
    /// The plugin call that the answer allows.
    pub action: Option<Action>,
}

/// How urgent a checkpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// Whenever there is time.
    Low,
    /// As usual.
    #[default]
    Normal,
    /// Before the usual.
    High,
    /// At once.
    Critical,
}

/// What happens when a checkpoint's time is up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OnTimeout {
    /// The flow gets the error `CHECKPOINT_EXPIRED`, which it can catch.
    #[default]
    Expire,
    /// The escalation target is asked.
    Escalate,
    /// The option is taken as if a person had decided so.
    Resolve(Arc<str>),
}

/// A plugin call that waits for approval: it runs once, with exactly these arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// The plugin's alias.
    pub alias: Arc<str>,
    /// The method.
    pub method: Arc<str>,
    /// The arguments, by name.
    pub args: Vec<(Arc<str>, Expr)>,
    /// The decisions that grant it.
    pub decisions: Vec<Arc<str>>,
    /// How long the grant lasts; as long as the execution where absent.
    pub expires_in: Option<Duration>,
}
