//! The checkpoint and its transitions.

use std::sync::Arc;

use scaigrid_scope::{CheckpointId, CoreId, ExecutionId, Instant, Principal, TenantId, UserId, text_enum};
use serde_json::Value;

use crate::assignee::Routing;
use crate::decide::{Access, access};
use crate::expiry::{Expiry, ExpiryAction};
use crate::history::{Change, EventKind, HistoryEvent};

text_enum! {
    /// How urgent a checkpoint is.
    pub enum Priority {
        /// Whenever there is time.
        Low => "low",
        /// As usual.
        Normal => "normal",
        /// Before the usual.
        High => "high",
        /// At once.
        Critical => "critical",
    }
}

text_enum! {
    /// The state of a checkpoint without its particulars.
    pub enum CheckpointStatus {
        /// It waits.
        Pending => "pending",
        /// A decision was made.
        Resolved => "resolved",
        /// Time was up.
        Expired => "expired",
        /// It was given up.
        Cancelled => "cancelled",
    }
}

/// Who did something to a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A user.
    User(UserId),
    /// The platform: time, or the end of what the checkpoint belongs to.
    System,
}

impl By {
    /// The user, if it was one.
    pub const fn user(self) -> Option<UserId> {
        match self {
            Self::User(user) => Some(user),
            Self::System => None,
        }
    }
}

impl From<Option<UserId>> for By {
    fn from(user: Option<UserId>) -> Self {
        user.map_or(Self::System, Self::User)
    }
}

/// An answer, as someone gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What is decided: one of the options, if there are any.
    pub decision: String,
    /// More for the program.
    pub response_data: Option<Value>,
    /// A note for people; the program sees it too.
    pub comment: Option<String>,
}

impl Decision {
    /// The greatest number of characters of a decision.
    pub const MAX_CHARS: usize = 1000;
    /// The greatest number of characters of a comment.
    pub const MAX_COMMENT_CHARS: usize = 10_000;
}

/// An answer that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolution {
    /// What was decided.
    pub decision: String,
    /// More for the program.
    pub response_data: Option<Arc<Value>>,
    /// A note.
    pub comment: Option<String>,
    /// Who decided: a user, or the platform when an option was taken because time was up.
    pub by: By,
    /// When.
    pub at: Instant,
}

/// Where a checkpoint is in its life. Everything but `Pending` is final.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// It waits.
    Pending,
    /// A decision was made.
    Resolved(Resolution),
    /// Time was up; the flow gets an error.
    Expired {
        /// When that was carried out.
        at: Instant,
    },
    /// It was given up; its execution ends.
    Cancelled {
        /// By whom.
        by: By,
        /// When.
        at: Instant,
    },
}

impl State {
    /// The state without its particulars.
    pub const fn status(&self) -> CheckpointStatus {
        match self {
            Self::Pending => CheckpointStatus::Pending,
            Self::Resolved(_) => CheckpointStatus::Resolved,
            Self::Expired { .. } => CheckpointStatus::Expired,
            Self::Cancelled { .. } => CheckpointStatus::Cancelled,
        }
    }
}

/// Why something cannot be done with a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Someone, or time, was faster.
    #[error("the checkpoint is {status} already")]
    NotPending {
        /// What it is.
        status: CheckpointStatus,
    },
    /// Time is up, though what follows from that has not been carried out yet. [`Checkpoint::expire`] does that;
    /// after an escalation the attempt may be repeated.
    #[error("the checkpoint's time is up")]
    TimeIsUp {
        /// Since when.
        since: Instant,
    },
    /// Time is not up yet, or there is no limit.
    #[error("the checkpoint's time is not up")]
    NotDue,
    /// The principal can see the checkpoint, but it does not ask them.
    #[error("the checkpoint asks someone else")]
    NotAsked,
    /// The principal cannot know of the checkpoint.
    #[error("no such checkpoint")]
    Hidden,
    /// The decision is none of the options.
    #[error("expected one of {}", options.join(", "))]
    NotAnOption {
        /// What is allowed.
        options: Vec<String>,
    },
    /// The decision is empty.
    #[error("the decision must not be empty")]
    EmptyDecision,
    /// A text is too long.
    #[error("{field} must have at most {max} characters")]
    TooLong {
        /// `decision` or `comment`.
        field: &'static str,
        /// The greatest number of characters.
        max: usize,
    },
}

/// What a program asks.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCheckpoint {
    /// The checkpoint.
    pub id: CheckpointId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The Core that asks.
    pub core_id: CoreId,
    /// The execution that waits.
    pub execution_id: ExecutionId,
    /// The flow that it waits in.
    pub flow_name: String,
    /// The block that it waits at.
    pub block_id: String,
    /// The instance of an entity Core.
    pub instance_key: Option<String>,
    /// The program's own word for what is asked.
    pub checkpoint_type: String,
    /// The question.
    pub prompt: String,
    /// The allowed decisions; any where empty.
    pub options: Vec<String>,
    /// Who is asked.
    pub routing: Routing,
    /// What one needs to know to answer.
    pub context: Arc<Value>,
    /// How urgent it is.
    pub priority: Priority,
    /// Until when it waits; for ever where `None`.
    pub expiry: Option<Expiry>,
}

/// A durable wait for a person's decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// What is asked, of whom, until when. A reassignment and an escalation change `routing`, an escalation takes
    /// `expiry` away.
    pub question: NewCheckpoint,
    /// Where it is in its life.
    pub state: State,
    /// When it was opened.
    pub created_at: Instant,
    /// When it last changed.
    pub updated_at: Instant,
}

impl std::ops::Deref for Checkpoint {
    type Target = NewCheckpoint;

    fn deref(&self) -> &NewCheckpoint {
        &self.question
    }
}

impl Checkpoint {
    /// The greatest number of characters of a prompt; the rest of a longer one is cut off with an ellipsis.
    pub const MAX_PROMPT_CHARS: usize = 16_000;

    /// Opens a checkpoint.
    pub fn open(mut question: NewCheckpoint, now: Instant) -> Change {
        if let Some((end, _)) = question.prompt.char_indices().nth(Self::MAX_PROMPT_CHARS) {
            question.prompt.truncate(end);
            question.prompt.push('…');
        }
        let event = HistoryEvent::created(&question.routing, now);
        let checkpoint = Self { question, state: State::Pending, created_at: now, updated_at: now };
        Change { checkpoint, event }
    }

    /// The state without its particulars.
    pub const fn status(&self) -> CheckpointStatus {
        self.state.status()
    }

    /// What a principal may do with the checkpoint, if it is of the tenant that they act in.
    pub fn access(&self, principal: &Principal) -> Access {
        if principal.tenant().id == self.tenant_id {
            access(principal, &self.routing.assignee)
        } else {
            Access::Hidden
        }
    }

    /// Takes a decision.
    ///
    /// Only while the checkpoint is pending and its time is not up, whether or not the expiry has been carried out:
    /// what counts is the clock, not how busy the platform is.
    pub fn resolve(self, decision: Decision, by: &Principal, at: Instant) -> Result<Change, CheckpointError> {
        self.check_act(by, at)?;
        self.check_decision(&decision)?;
        Ok(self.resolved(Resolution {
            decision: decision.decision,
            response_data: decision.response_data.map(Arc::new),
            comment: decision.comment,
            by: By::User(by.user_id()),
            at,
        }))
    }

    /// Gives the checkpoint up at someone's wish.
    pub fn cancel(self, by: &Principal, at: Instant) -> Result<Change, CheckpointError> {
        self.check_act(by, at)?;
        Ok(self.ended_by(By::User(by.user_id()), at))
    }

    /// Gives the checkpoint up because what it belongs to has ended, or because the Core's mode wants no question
    /// that asks no one. Its time may be up.
    pub fn withdraw(self, at: Instant) -> Result<Change, CheckpointError> {
        self.check_pending()?;
        Ok(self.ended_by(By::System, at))
    }

    /// Asks someone else. Naming the one who is asked already reminds them.
    pub fn reassign(
        mut self,
        to: Routing,
        comment: Option<&str>,
        by: &Principal,
        at: Instant,
    ) -> Result<Change, CheckpointError> {
        self.check_act(by, at)?;
        check_length("comment", comment, Decision::MAX_COMMENT_CHARS)?;
        let who = (By::User(by.user_id()), at);
        let event = HistoryEvent::moved(EventKind::Reassigned, (&self.routing, &to), comment, who);
        self.question.routing = to;
        self.updated_at = at;
        Ok(Change { checkpoint: self, event })
    }

    /// Carries out what follows from time being up: expiry, the decision for that case, or escalation. After an
    /// escalation the checkpoint waits for ever.
    pub fn expire(mut self, now: Instant) -> Result<Change, CheckpointError> {
        self.check_pending()?;
        let due = self.question.expiry.as_ref().filter(|expiry| expiry.is_due(now));
        let action = due.map(|expiry| expiry.action.clone()).ok_or(CheckpointError::NotDue)?;
        match action {
            ExpiryAction::Expire => {
                self.state = State::Expired { at: now };
                self.updated_at = now;
                let event = HistoryEvent::ended(EventKind::Expired, By::System, now);
                Ok(Change { checkpoint: self, event })
            }
            ExpiryAction::Escalate { to } => {
                let who = (By::System, now);
                let event = HistoryEvent::moved(EventKind::Escalated, (&self.routing, &to), None, who);
                self.question.routing = to;
                self.question.expiry = None;
                self.updated_at = now;
                Ok(Change { checkpoint: self, event })
            }
            ExpiryAction::Resolve { option } => Ok(self.resolved(Resolution {
                decision: option,
                response_data: None,
                comment: None,
                by: By::System,
                at: now,
            })),
        }
    }

    fn resolved(mut self, resolution: Resolution) -> Change {
        let event = HistoryEvent::resolved(&resolution);
        self.updated_at = resolution.at;
        self.state = State::Resolved(resolution);
        Change { checkpoint: self, event }
    }

    fn ended_by(mut self, by: By, at: Instant) -> Change {
        self.state = State::Cancelled { by, at };
        self.updated_at = at;
        Change { checkpoint: self, event: HistoryEvent::ended(EventKind::Cancelled, by, at) }
    }

    /// Who cannot know of the checkpoint learns nothing of its state, so access is asked first.
    fn check_act(&self, by: &Principal, at: Instant) -> Result<(), CheckpointError> {
        match self.access(by) {
            Access::Hidden => return Err(CheckpointError::Hidden),
            Access::See => return Err(CheckpointError::NotAsked),
            Access::Act => {}
        }
        self.check_pending()?;
        match &self.expiry {
            Some(expiry) if expiry.is_due(at) => Err(CheckpointError::TimeIsUp { since: expiry.at }),
            _ => Ok(()),
        }
    }

    const fn check_pending(&self) -> Result<(), CheckpointError> {
        match self.state {
            State::Pending => Ok(()),
            _ => Err(CheckpointError::NotPending { status: self.state.status() }),
        }
    }

    fn check_decision(&self, decision: &Decision) -> Result<(), CheckpointError> {
        if decision.decision.is_empty() {
            return Err(CheckpointError::EmptyDecision);
        }
        if !self.options.is_empty() && !self.options.contains(&decision.decision) {
            return Err(CheckpointError::NotAnOption { options: self.options.clone() });
        }
        check_length("decision", Some(&decision.decision), Decision::MAX_CHARS)?;
        check_length("comment", decision.comment.as_deref(), Decision::MAX_COMMENT_CHARS)
    }
}

fn check_length(field: &'static str, text: Option<&str>, max: usize) -> Result<(), CheckpointError> {
    match text {
        Some(text) if text.chars().count() > max => Err(CheckpointError::TooLong { field, max }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
