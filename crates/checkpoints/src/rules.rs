//! What an answer must be, whose it may be, how many it takes, and what it allows.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use scaigrid_scope::{Instant, UserId};
use serde_json::Value;

use crate::checkpoint::Resolution;

/// Decisions that refuse, where a checkpoint allows no call that would tell: one person is enough for them.
const REFUSALS: [&str; 5] = ["reject", "deny", "decline", "refuse", "no"];

/// A plugin call that an answer allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedCall {
    /// The plugin's alias.
    pub alias: String,
    /// The method.
    pub method: String,
    /// The SHA-256 of the call, in lower-case hexadecimal: what was shown, and what alone may run.
    pub hash: String,
    /// The decisions that allow it.
    pub decisions: Vec<String>,
    /// How long after the decision it may run; as long as the execution where absent.
    pub expires_in: Option<Duration>,
}

/// What holds for a checkpoint for as long as it is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// The JSON Schema (2020-12) that the data of an answer must fit.
    pub form: Option<Arc<Value>>,
    /// How many different people must decide alike.
    pub required_approvals: NonZeroU32,
    /// Who may neither answer nor hand on: whoever started the execution, where the program says so.
    pub excluded: Vec<UserId>,
    /// The call that an answer allows.
    pub allows: Option<AllowedCall>,
    /// How often whoever is asked is reminded.
    pub reminder: Option<Duration>,
    /// Whether people may decide by a link, without logging in.
    pub links: bool,
    /// Whether whoever is asked is told by mail.
    pub notify: bool,
    /// The SHA-256 of what is shown, in lower-case hexadecimal; none of a checkpoint from before that was kept.
    pub shown: Option<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            form: None,
            required_approvals: NonZeroU32::MIN,
            excluded: Vec::new(),
            allows: None,
            reminder: None,
            links: false,
            notify: false,
            shown: None,
        }
    }
}

impl Rules {
    /// The most reminders of one checkpoint: who has not answered by then is not waiting for another.
    pub const MAX_REMINDERS: u32 = 50;
    /// The greatest number of people who must decide alike.
    pub const MAX_APPROVALS: u32 = 100;

    /// How many people must decide so before it counts.
    ///
    /// An approval takes as many as the program asks for, a refusal one: what allows nothing needs no second pair of eyes.
    /// Where the answer allows a call, every decision that does not allow it refuses; else `reject`, `deny`, `decline`,
    /// `refuse` and `no` do.
    pub fn needed(&self, decision: &str) -> u32 {
        let refuses = match &self.allows {
            Some(call) => !call.decisions.iter().any(|allowing| allowing == decision),
            None => REFUSALS.contains(&decision),
        };
        if refuses { 1 } else { self.required_approvals.get() }
    }

    /// Whether more than one person is asked to decide alike.
    pub fn takes_several(&self) -> bool {
        self.required_approvals.get() > 1
    }

    /// The call that a decision allows.
    pub fn allowed_by(&self, decision: &str) -> Option<&AllowedCall> {
        self.allows.as_ref().filter(|call| call.decisions.iter().any(|allowing| allowing == decision))
    }
}

/// What one person has said of a checkpoint that several must decide alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Vote {
    /// Who.
    pub by: UserId,
    /// What they decided.
    pub decision: String,
    /// More for the program; that of the last vote goes to it.
    pub response_data: Option<Arc<Value>>,
    /// A note.
    pub comment: Option<String>,
    /// When.
    pub at: Instant,
}

impl Vote {
    /// What somebody's decision says, as one of several.
    pub(crate) fn of(by: UserId, said: &Resolution) -> Self {
        Self {
            by,
            decision: said.decision.clone(),
            response_data: said.response_data.clone(),
            comment: said.comment.clone(),
            at: said.at,
        }
    }
}

/// Somebody looks after a checkpoint, and nobody else may act until they let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Who.
    pub by: UserId,
    /// Since when.
    pub at: Instant,
}

/// One thing that is wrong with the data of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormFinding {
    /// Where: a JSON Pointer (RFC 6901) into the data; empty for the whole.
    pub pointer: String,
    /// What is wrong there, and what would be right.
    pub message: String,
}

/// Checks data against a form: the schema, then the data; without findings it fits. Checkers are not the business of this room.
pub type FormCheck<'a> = &'a dyn Fn(&Value, &Value) -> Vec<FormFinding>;
