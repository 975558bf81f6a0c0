//! Executions: one run of one flow, as it is kept and shown. How it runs is the `runtime` room's business.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;

use scaigrid_ir::Value;
use scaigrid_scope::{
    CheckpointId, CoreId, DelegationId, ExecutionId, Instant, TenantId, TracedSpan, UserId,
};

use crate::debugging::Debugging;

/// How far an execution has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExecutionStatus {
    /// Accepted; a node will take it.
    Queued,
    /// A node is running it.
    Running,
    /// It waits for something outside: a person, or another execution.
    Suspended,
    /// It ended with an output.
    Completed,
    /// It ended with an error.
    Failed,
    /// It was ended before its end.
    Cancelled,
}

impl ExecutionStatus {
    /// Every status, in the order of a life.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::Suspended, Self::Completed, Self::Failed, Self::Cancelled];

    /// The status as it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing will ever happen to the execution again.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for ExecutionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no execution status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be one of queued, running, suspended, completed, failed, cancelled")]
pub struct UnknownExecutionStatus;

impl FromStr for ExecutionStatus {
    type Err = UnknownExecutionStatus;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(UnknownExecutionStatus)
    }
}

/// What started an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A call of `invoke`.
    Invoke,
    /// An event, by its name.
    Event(Arc<str>),
    /// A slot of a schedule, by the name of its trigger.
    Schedule(Arc<str>),
    /// A `core_call` of another execution.
    Call,
    /// Something that was said to the published Core.
    Chat,
    /// A call of the Core's own API, by the name of its trigger.
    Api(Arc<str>),
    /// A message of another system, by the name of its trigger.
    Webhook(Arc<str>),
    /// Another execution, from which it branched off after an entry of its journal.
    Fork {
        /// The other one.
        execution: ExecutionId,
        /// The entry.
        at: i64,
    },
}

impl fmt::Display for Origin {
    /// The stored and shown form: `invoke`, `event:<name>`, `schedule:<name>`, `core_call`, `chat`, `api:<name>`,
    /// `webhook:<name>`, `fork:<execution>@<entry>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invoke => f.write_str("invoke"),
            Self::Event(name) => write!(f, "event:{name}"),
            Self::Schedule(name) => write!(f, "schedule:{name}"),
            Self::Call => f.write_str("core_call"),
            Self::Fork { execution, at } => write!(f, "fork:{execution}@{at}"),
            Self::Chat => f.write_str("chat"),
            Self::Api(name) => write!(f, "api:{name}"),
            Self::Webhook(name) => write!(f, "webhook:{name}"),
        }
    }
}

/// A text that names no origin of an execution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be invoke, event:<name>, schedule:<name>, api:<name>, webhook:<name>, core_call, chat or fork:<execution>@<entry>"
)]
pub struct UnknownOrigin;

impl FromStr for Origin {
    type Err = UnknownOrigin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "invoke" => Ok(Self::Invoke),
            "core_call" => Ok(Self::Call),
            "chat" => Ok(Self::Chat),
            _ => match text.split_once(':') {
                Some(("event", name)) => Ok(Self::Event(name.into())),
                Some(("schedule", name)) => Ok(Self::Schedule(name.into())),
                Some(("api", name)) => Ok(Self::Api(name.into())),
                Some(("webhook", name)) => Ok(Self::Webhook(name.into())),
                Some(("fork", place)) => {
                    let (execution, at) = place.split_once('@').ok_or(UnknownOrigin)?;
                    let execution = execution.parse().map_err(|_| UnknownOrigin)?;
                    Ok(Self::Fork { execution, at: at.parse().map_err(|_| UnknownOrigin)? })
                }
                _ => Err(UnknownOrigin),
            },
        }
    }
}

/// The execution, and the effect in it, that waits for this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The waiting execution.
    pub execution: ExecutionId,
    /// The number of the effect in it that this execution answers.
    pub effect: u32,
}

/// One run of one flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// Its id; ids of one node ascend with time.
    pub id: ExecutionId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The Core.
    pub core_id: CoreId,
    /// The flow.
    pub flow: Arc<str>,
    /// The version of the source that it began with and stays on.
    pub source_version: u32,
    /// How far it has come.
    pub status: ExecutionStatus,
    /// What started it.
    pub origin: Origin,
    /// The instance it belongs to; none for stateless Cores.
    pub instance_key: Option<Arc<str>>,
    /// How many executions of the same instance may run at once; none where its Core has no such bound.
    pub slots: Option<NonZeroU32>,
    /// Who waits for it.
    pub parent: Option<Parent>,
    /// How many executions and events lie between it and the call from outside; bounds recursion.
    pub depth: u16,
    /// What it was given.
    pub input: Value,
    /// What it returned.
    pub output: Option<Value>,
    /// Why it failed: an object with `code`, `message` and where.
    pub error: Option<Value>,
    /// When it was accepted.
    pub started_at: Instant,
    /// When it ended.
    pub finished_at: Option<Instant>,
    /// What a debugger has made of it.
    pub debugging: Option<Debugging>,
    /// Its span in the trace that it is a part of, where it was begun while traces were recorded.
    pub trace: Option<TracedSpan>,
    /// The delegation under which it was begun, and stays; none where its Core acted for its tenant.
    pub delegation: Option<DelegationId>,
    /// The users who asked for it: who invoked it, sent the event or chatted, also where that was of the execution that led to
    /// this one; and who branched it off. None where a schedule did.
    pub requested_by: Vec<UserId>,
}

/// What an execution stands at after a call has waited for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// The execution.
    pub execution: Execution,
    /// The checkpoints at which it waits.
    pub checkpoints: Vec<CheckpointId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_values_agree() {
        for status in ExecutionStatus::ALL {
            assert_eq!(status.to_string().parse(), Ok(status));
        }
        for origin in [
            Origin::Invoke,
            Origin::Call,
            Origin::Chat,
            Origin::Event("expense.submitted".into()),
            Origin::Schedule("a:b".into()),
            Origin::Api("get order".into()),
            Origin::Webhook("a:b".into()),
            Origin::Fork { execution: "exec_00000000000000000000000001".parse().unwrap(), at: 7 },
        ] {
            assert_eq!(origin.to_string().parse(), Ok(origin));
        }
        assert!("cron".parse::<Origin>().is_err());
    }
}
