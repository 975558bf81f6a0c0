//! Calls of models: what goes into the prompt, what must hold of the answer, and what it may cost.

use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;

use super::{Body, Priority};
use crate::expr::{Expr, Template};
use crate::module::Constraints;
use crate::types::Type;
use crate::value::Value;

/// One call of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelCall {
    /// The role that the module declares for the model; the primary one where absent.
    pub role: Option<Arc<str>>,
    /// What it is asked.
    pub prompt: Prompt,
    /// What the answer must be; its text where absent.
    pub output_type: Option<Type>,
    /// Parameters of the model, by name.
    pub params: Vec<(Arc<str>, Expr)>,
}

/// What a model is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// A conversation: an array of `{role, content}`.
    Messages(Expr),
    /// One text of the user's.
    Text(Template),
}

/// Structured generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// What is to be done.
    pub goal: Template,
    /// What the answer must be.
    pub output_type: Type,
    /// The role that the module declares for the model; the primary one where absent.
    pub role: Option<Arc<str>>,
    /// What it is to be done with, by name.
    pub input_bindings: Vec<(Arc<str>, Expr)>,
    /// What is good to know, by name.
    pub context_bindings: Vec<(Arc<str>, Expr)>,
    /// How it is to be done.
    pub guidance: Option<Template>,
    /// Whether the model speaks as the program's identity.
    pub identity: bool,
    /// The block's own constraints.
    pub constraints: Constraints,
    /// Whether the module's constraints hold too.
    pub inherit_constraints: bool,
    /// What good answers look like.
    pub examples: Vec<Example>,
    /// What is done about answers that will not do.
    pub on_failure: Vec<FailureHandler>,
    /// What it may cost.
    pub budget: Option<Budget>,
    /// How often the model is asked again, in all.
    pub max_retries: Option<u32>,
    /// The conditions before and after, of `guarded`.
    pub guard: Option<Guard>,
}

/// An input with the answer that is wanted to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The input.
    pub input: Value,
    /// The answer.
    pub output: Value,
}

/// Conditions before and after a generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    /// What must hold before the model is asked; the inputs are in scope.
    pub before: Vec<Expr>,
    /// What must hold of the answer; `output` and the inputs are in scope.
    pub after: Vec<Expr>,
    /// What runs where one does not hold; the block fails where absent.
    pub on_failure: Option<Body>,
}

/// What can be wrong with a model's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// The model would not answer.
    Refusal,
    /// The answer is not of the type.
    ParseError,
    /// The answer breaks a condition.
    ConstraintViolation,
    /// The model is not sure enough.
    LowConfidence,
    /// The answer is made up.
    Hallucination,
}

impl FailureKind {
    /// All of them, in the order in which answers are judged.
    pub const ALL: [Self; 5] = [
        Self::Refusal,
        Self::ParseError,
        Self::ConstraintViolation,
        Self::LowConfidence,
        Self::Hallucination,
    ];

    /// Its name in the document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refusal => "refusal",
            Self::ParseError => "parse_error",
            Self::ConstraintViolation => "constraint_violation",
            Self::LowConfidence => "low_confidence",
            Self::Hallucination => "hallucination",
        }
    }

    /// Whether the platform sees it by itself; the others need a condition.
    pub fn is_seen(self) -> bool {
        matches!(self, Self::Refusal | Self::ParseError)
    }
}

/// What is done about one kind of answer that will not do.
#[derive(Debug, Clone, PartialEq)]
pub struct FailureHandler {
    /// The kind.
    pub kind: FailureKind,
    /// What tells it, over `output` and the inputs.
    pub when: Option<Expr>,
    /// What is done, one after the other, until an answer will do.
    pub actions: Vec<FailureAction>,
}

/// What is done about an answer that will not do.
#[derive(Debug, Clone, PartialEq)]
pub enum FailureAction {
    /// The model is asked again.
    Retry {
        /// How often.
        max: u32,
        /// What it is told beside what is wrong.
        with: Option<Template>,
    },
    /// A person answers in the model's place.
    Escalate(Person),
    /// A person sees the answer, and takes, mends or rejects it.
    FlagAndCheckpoint(Person),
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Person {
    /// As in a checkpoint.
    pub assignee: Option<Template>,
    /// How urgent it is.
    pub priority: Priority,
    /// How long it may wait.
    pub timeout: Option<Duration>,
}

/// Bounds on what is spent. Each holds only where it is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Budget {
    /// Tokens read and written by models.
    pub max_tokens: Option<u64>,
    /// What models cost, in the currency of the catalogue's prices.
    pub max_cost: Option<Decimal>,
    /// Calls of models and plugins.
    pub max_calls: Option<u32>,
    /// How long it takes.
    pub max_duration: Option<Duration>,
}

impl Budget {
    /// Whether it bounds nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
