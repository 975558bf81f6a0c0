//! What can go wrong: failures inside a program, which are values that programs catch, and errors of the
//! machinery around it.

mod cause;

use std::collections::BTreeMap;
use std::sync::Arc;

use rust_decimal::Decimal;
use scaigrid_ir::Value;
use scaigrid_ir::types::TypeError;
use serde::{Deserialize, Serialize};

use crate::effect::EffectId;
use crate::limits::MAX_DETAILS;

pub use cause::Cause;

/// An error inside a program: raised by it, or by what it asked for. A `try` can catch it by its code.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Failure {
    /// What programs catch it by, e.g. `TYPE_MISMATCH`, `CHECKPOINT_EXPIRED`, or a code of the program's own.
    pub code: Arc<str>,
    /// What a person reads.
    pub message: Arc<str>,
    /// The block in which it arose.
    pub block: Option<Arc<str>>,
    /// Where that is in the document (RFC 6901).
    pub pointer: Option<Arc<str>>,
    /// The places in a value that do not fit its type, where that is what went wrong.
    pub details: Box<[TypeError]>,
    /// What a call of a model has used though it failed. It counts against the budgets around the call, and no program
    /// sees it.
    #[serde(default)]
    pub spent: Option<Box<Expense>>,
    /// What went wrong in the execution that was called here, where that is how it arose.
    #[serde(default)]
    pub cause: Option<Box<Cause>>,
}

/// What a call of a model has used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expense {
    /// Tokens, read and written.
    pub tokens: u64,
    /// What they cost, in the currency of the catalogue's prices.
    pub cost: Decimal,
}

impl Failure {
    /// A failure that knows no place yet; the machine fills in the block that runs.
    pub fn new(code: impl Into<Arc<str>>, message: impl Into<Arc<str>>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            block: None,
            pointer: None,
            details: Box::default(),
            spent: None,
            cause: None,
        }
    }

    /// A value that does not fit its type; lists at most 20 places.
    pub fn mismatch(code: &str, what: &str, details: impl IntoIterator<Item = TypeError>) -> Self {
        let details: Box<[TypeError]> = details.into_iter().take(MAX_DETAILS).collect();
        let message = match details.first() {
            Some(first) if first.path.is_empty() => {
                format!("{what} should be {}, but is {}", first.expected, first.found)
            }
            Some(first) => {
                format!(
                    "{what} does not fit: {} should be {}, but is {}",
                    first.path, first.expected, first.found
                )
            }
            None => format!("{what} does not fit its type"),
        };
        Self { details, ..Self::new(code, message) }
    }

    /// The same failure, placed, where it knows no place yet.
    #[must_use]
    pub(crate) fn at(mut self, block: &Arc<str>, pointer: &Arc<str>) -> Self {
        if self.block.is_none() {
            self.block = Some(Arc::clone(block));
            self.pointer = Some(Arc::clone(pointer));
        }
        self
    }

    /// What a `catch` binds: `{code, message, block}`. The block is one of the program's own, whatever the error came of.
    pub fn to_value(&self) -> Value {
        let mut fields = BTreeMap::new();
        fields.insert("code".into(), Value::String(Arc::clone(&self.code)));
        fields.insert("message".into(), Value::String(Arc::clone(&self.message)));
        fields.insert("block".into(), self.block.clone().map_or(Value::Null, Value::String));
        Value::Object(Arc::new(fields))
    }

    /// The failure as the API shows it: `{code, message, block?, pointer?, details?, cause?}`.
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::json!({ "code": &*self.code, "message": &*self.message });
        let (block, pointer) = (self.block.as_deref(), self.pointer.as_deref());
        cause::place(&mut json, block, pointer, self.cause.as_deref());
        if !self.details.is_empty() {
            json["details"] = self
                .details
                .iter()
                .map(|detail| {
                    serde_json::json!({ "path": detail.path, "expected": detail.expected, "found": detail.found })
                })
                .collect();
        }
        json
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// An outcome came for an effect that the machine does not wait for: never asked, answered before, or abandoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the execution does not wait for effect {}", .effect.0)]
pub struct NotWaiting {
    /// The effect that was answered.
    pub effect: EffectId,
}

/// Why bytes are not the state of a machine, or a journal chunk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// More bytes than a state may have.
    #[error("{found} bytes are more than the {limit} that are read")]
    TooLarge {
        /// How many there are.
        found: usize,
        /// How many are read.
        limit: usize,
    },
    /// Written in a format that this version does not know, or nothing at all.
    #[error("the format version {found:?} is unknown")]
    UnknownVersion {
        /// The first byte.
        found: Option<u8>,
    },
    /// Not what the version's format allows.
    #[error("the encoding is damaged: {reason}")]
    Damaged {
        /// What the decoder met.
        reason: String,
    },
}

/// Why a journal does not lead to a machine.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ReplayError {
    /// The journal does not begin with the start of an execution, or has a second one.
    #[error("entry {seq}: a journal begins with its start, and has one")]
    NoStart {
        /// The entry, counted from 0.
        seq: usize,
    },
    /// The recorded start is refused.
    #[error("entry {seq}: the start is refused: {failure}")]
    StartRefused {
        /// The entry, counted from 0.
        seq: usize,
        /// Why.
        failure: Failure,
    },
    /// The program does something else than what is recorded.
    #[error("entry {seq}: recorded is {recorded}, the program does {found}")]
    Diverged {
        /// The entry, counted from 0.
        seq: usize,
        /// What the journal says.
        recorded: String,
        /// What the machine did.
        found: String,
    },
}
