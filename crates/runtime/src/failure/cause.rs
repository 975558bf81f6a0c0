//! What an execution is told of the failure of one that it has called.

use std::sync::Arc;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use super::Failure;
use crate::limits::{MAX_CAUSE_TEXT, MAX_CAUSES};

/// The failure of an execution that was called, for whoever called it. No program sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The Core whose execution it was.
    pub core_id: Arc<str>,
    /// The execution.
    pub execution_id: Arc<str>,
    /// The error's code.
    pub code: Arc<str>,
    /// What a person reads.
    pub message: Arc<str>,
    /// The block of that execution's program in which it arose.
    pub block: Option<Arc<str>>,
    /// Where that is in that program's document (RFC 6901).
    pub pointer: Option<Arc<str>>,
    /// What that execution was told in turn, where it failed by a call of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<Cause>>,
}

impl Cause {
    /// The same with at most so many causes in a row, itself among them.
    fn within(&self, most: usize) -> Option<Box<Self>> {
        let below = most.checked_sub(1)?;
        let cause = self.cause.as_deref().and_then(|cause| cause.within(below));
        Some(Box::new(Self { cause, ..self.clone() }))
    }

    fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::json!({
            "core_id": &*self.core_id,
            "execution_id": &*self.execution_id,
            "code": &*self.code,
            "message": &*self.message,
        });
        place(&mut json, self.block.as_deref(), self.pointer.as_deref(), self.cause.as_deref());
        json
    }
}

/// Adds where a failure arose, and what it came of, as far as that is known.
pub(super) fn place(
    json: &mut serde_json::Value,
    block: Option<&str>,
    pointer: Option<&str>,
    cause: Option<&Cause>,
) {
    if let Some(block) = block {
        json["block"] = block.into();
    }
    if let Some(pointer) = pointer {
        json["pointer"] = pointer.into();
    }
    if let Some(cause) = cause {
        json["cause"] = cause.to_json();
    }
}

impl Failure {
    /// The failure of an execution as the one that called it gets it: code and message are the same, the place is where it calls,
    /// which the machine fills in, and the place where it arose is in the cause.
    #[must_use]
    pub fn told_to_caller(&self, core_id: &str, execution_id: &str) -> Self {
        let cut = |text: &Arc<str>| match text.char_indices().nth(MAX_CAUSE_TEXT) {
            Some((end, _)) => Arc::from(text.get(..end).unwrap_or_default()),
            None => Arc::clone(text),
        };
        let cause = Cause {
            core_id: core_id.into(),
            execution_id: execution_id.into(),
            code: cut(&self.code),
            message: cut(&self.message),
            block: self.block.clone(),
            pointer: self.pointer.clone(),
            cause: self.cause.as_deref().and_then(|cause| cause.within(MAX_CAUSES - 1)),
        };
        Self {
            code: Arc::clone(&self.code),
            message: Arc::clone(&self.message),
            block: None,
            pointer: None,
            details: self.details.clone(),
            spent: None,
            cause: Some(Box::new(cause)),
        }
    }
}

/// Structures are written as arrays, so of the last fields only those are left out behind which there is nothing.
impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let more = if self.cause.is_some() { 2 } else { usize::from(self.spent.is_some()) };
        let mut fields = serializer.serialize_struct("Failure", 5 + more)?;
        fields.serialize_field("code", &self.code)?;
        fields.serialize_field("message", &self.message)?;
        fields.serialize_field("block", &self.block)?;
        fields.serialize_field("pointer", &self.pointer)?;
        fields.serialize_field("details", &self.details)?;
        if more > 0 {
            fields.serialize_field("spent", &self.spent)?;
        }
        if more > 1 {
            fields.serialize_field("cause", &self.cause)?;
        }
        fields.end()
    }
}
