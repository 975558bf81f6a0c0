//! The checkpoint and its transitions.

use std::sync::Arc;

use scaigrid_scope::{CheckpointId, CoreId, ExecutionId, Instant, Principal, TenantId, UserId, text_enum};
use serde_json::Value;

use crate::assignee::{Assignee, Routing};
use crate::decide::{Access, access};
use crate::error::CheckpointError;
use crate::expiry::{Expiry, ExpiryAction};
use crate::history::{Change, EventKind, HistoryEvent};
use crate::rules::{Claim, FormCheck, Rules, Vote};
use crate::warning::Turn;

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
    /// What an answer must be, and whose.
    pub rules: Rules,
}

/// A durable wait for a person's decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// What is asked, of whom, until when. A reassignment and an escalation change `routing`, an escalation takes
    /// `expiry` away.
    pub question: NewCheckpoint,
    /// Where it is in its life.
    pub state: State,
    /// Who looks after it.
    pub claim: Option<Claim>,
    /// What people have said so far, where several must decide alike; the vote that decides included.
    pub votes: Vec<Vote>,
    /// How often whoever is asked was reminded.
    pub reminders: u32,
    /// How often it was changed while it waits. A write must find it as it was read.
    pub revision: i64,
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
        let checkpoint = Self {
            question,
            state: State::Pending,
            claim: None,
            votes: Vec::new(),
            reminders: 0,
            revision: 0,
            created_at: now,
            updated_at: now,
        };
        Change { checkpoint, event }
    }

    /// The state without its particulars.
    pub const fn status(&self) -> CheckpointStatus {
        self.state.status()
    }

    /// What a principal may do with the checkpoint, if it is of the tenant that they act in. Whichever way they come, by the
    /// API, by many at once, by a link or by a stream, this is what is asked.
    pub fn access(&self, principal: &Principal) -> Access {
        self.access_if_asking(principal, &self.routing.assignee)
    }

    /// What a principal may do with the checkpoint while it asks an assignee: the present one, or who is asked upon an escalation.
    pub fn access_if_asking(&self, principal: &Principal, assignee: &Assignee) -> Access {
        if principal.tenant().id != self.tenant_id {
            return Access::Hidden;
        }
        let access = access(principal, assignee);
        if self.excludes(principal) { access.min(Access::See) } else { access }
    }

    /// Whether a principal may decide the checkpoint now, whatever they decide.
    ///
    /// # Errors
    /// Why not.
    pub fn may_act(&self, by: &Principal, at: Instant) -> Result<(), CheckpointError> {
        self.check_act(by, at)?;
        let voted = self.votes.iter().any(|vote| vote.by == by.user_id());
        if voted { Err(CheckpointError::AlreadyVoted) } else { Ok(()) }
    }

    /// Whom the checkpoint asks, and whom it asks once its time is up, if anybody.
    pub fn asked(&self) -> impl Iterator<Item = (Turn, &Routing)> {
        let expiry = self.expiry.as_ref();
        let then = expiry.and_then(|expiry| expiry.action.escalation_target());
        std::iter::once((Turn::Now, &self.routing)).chain(then.map(|routing| (Turn::Escalated, routing)))
    }

    fn excludes(&self, principal: &Principal) -> bool {
        self.rules.excluded.contains(&principal.user_id())
    }

    /// Takes a decision. Where several must decide alike and this is not the last of them, it is kept and the wait goes on.
    ///
    /// Only while the checkpoint is pending and its time is not up, whether or not the expiry has been carried out:
    /// what counts is the clock, not how busy the platform is.
    pub fn resolve(
        mut self,
        decision: Decision,
        by: &Principal,
        at: Instant,
        fits: FormCheck<'_>,
    ) -> Result<Change, CheckpointError> {
        self.may_act(by, at)?;
        let user = by.user_id();
        self.check_decision(&decision, fits)?;
        let Decision { decision, response_data, comment } = decision;
        let response_data = response_data.map(Arc::new);
        let resolution = Resolution { decision, response_data, comment, by: By::User(user), at };
        if !self.rules.takes_several() {
            return Ok(self.resolved(resolution));
        }
        let needed = self.rules.needed(&resolution.decision);
        let vote = Vote::of(user, &resolution);
        let event = HistoryEvent::voted(&vote, needed);
        let alike = self.votes.iter().filter(|other| other.decision == vote.decision).count() + 1;
        self.votes.push(vote);
        if alike >= usize::try_from(needed).unwrap_or(usize::MAX) {
            return Ok(self.resolved(resolution));
        }
        // They have done their part.
        self.claim = None;
        self.updated_at = at;
        Ok(Change { checkpoint: self, event })
    }

    /// Gives the checkpoint up at someone's wish.
    pub fn cancel(self, by: &Principal, at: Instant) -> Result<Change, CheckpointError> {
        self.check_act(by, at)?;
        Ok(self.ended_by(By::User(by.user_id()), at))
    }

    /// Reserves the checkpoint: until it is let go, handed on or escalated nobody else may act on it. So nobody may who could not
    /// decide it: whoever has done so, as one of several, would keep the others from it.
    pub fn claim(mut self, by: &Principal, at: Instant) -> Result<Change, CheckpointError> {
        self.may_act(by, at)?;
        if self.claim.is_some() {
            return Err(CheckpointError::Unchanged);
        }
        self.claim = Some(Claim { by: by.user_id(), at });
        self.updated_at = at;
        let event = HistoryEvent::claimed(EventKind::Claimed, (By::User(by.user_id()), at));
        Ok(Change { checkpoint: self, event })
    }

    /// Lets the checkpoint go. Those who run the tenant may do so for whoever holds it.
    pub fn release(mut self, by: &Principal, at: Instant) -> Result<Change, CheckpointError> {
        self.check_asked(by, at)?;
        let Some(claim) = self.claim else { return Err(CheckpointError::Unchanged) };
        if claim.by != by.user_id() && !by.administers_tenant() {
            return Err(CheckpointError::Claimed { by: claim.by });
        }
        self.claim = None;
        self.updated_at = at;
        let event = HistoryEvent::claimed(EventKind::Released, (By::User(by.user_id()), at));
        Ok(Change { checkpoint: self, event })
    }

    /// Tells whoever is asked once more. Not past the time that it may wait, and not for ever.
    pub fn remind(mut self, now: Instant) -> Result<Change, CheckpointError> {
        self.check_in_time(now)?;
        if self.reminders >= Rules::MAX_REMINDERS || self.rules.reminder.is_none() {
            return Err(CheckpointError::Unchanged);
        }
        self.reminders += 1;
        self.updated_at = now;
        let event = HistoryEvent::reminded(&self.routing, self.reminders, now);
        Ok(Change { checkpoint: self, event })
    }

    /// When whoever is asked is to be reminded next, if they were told at an instant.
    pub fn next_reminder(&self, told: Instant) -> Option<Instant> {
        let left = self.reminders < Rules::MAX_REMINDERS && self.status() == CheckpointStatus::Pending;
        self.rules.reminder.filter(|_| left).map(|interval| told.plus(interval))
    }

    /// Gives the checkpoint up because what it belongs to has ended. Its time may be up.
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
        self.claim = None;
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
                self.claim = None;
                self.updated_at = now;
                let event = HistoryEvent::ended(EventKind::Expired, By::System, now);
                Ok(Change { checkpoint: self, event })
            }
            ExpiryAction::Escalate { to } => {
                let who = (By::System, now);
                let event = HistoryEvent::moved(EventKind::Escalated, (&self.routing, &to), None, who);
                self.question.routing = to;
                self.question.expiry = None;
                self.claim = None;
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
        self.claim = None;
        self.updated_at = resolution.at;
        self.state = State::Resolved(resolution);
        Change { checkpoint: self, event }
    }

    fn ended_by(mut self, by: By, at: Instant) -> Change {
        self.state = State::Cancelled { by, at };
        self.claim = None;
        self.updated_at = at;
        Change { checkpoint: self, event: HistoryEvent::ended(EventKind::Cancelled, by, at) }
    }

    /// Whether somebody may act now, and nobody else has reserved it.
    fn check_act(&self, by: &Principal, at: Instant) -> Result<(), CheckpointError> {
        self.check_asked(by, at)?;
        match self.claim {
            Some(claim) if claim.by != by.user_id() => Err(CheckpointError::Claimed { by: claim.by }),
            _ => Ok(()),
        }
    }

    /// Who cannot know of the checkpoint learns nothing of its state, so access is asked first.
    fn check_asked(&self, by: &Principal, at: Instant) -> Result<(), CheckpointError> {
        match self.access(by) {
            Access::Hidden => return Err(CheckpointError::Hidden),
            Access::See if self.excludes(by) => return Err(CheckpointError::Excluded),
            Access::See => return Err(CheckpointError::NotAsked),
            Access::Act => {}
        }
        self.check_in_time(at)
    }

    fn check_in_time(&self, at: Instant) -> Result<(), CheckpointError> {
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

    fn check_decision(&self, decision: &Decision, fits: FormCheck<'_>) -> Result<(), CheckpointError> {
        if decision.decision.is_empty() {
            return Err(CheckpointError::EmptyDecision);
        }
        if !self.options.is_empty() && !self.options.contains(&decision.decision) {
            return Err(CheckpointError::NotAnOption { options: self.options.clone() });
        }
        check_length("decision", Some(&decision.decision), Decision::MAX_CHARS)?;
        check_length("comment", decision.comment.as_deref(), Decision::MAX_COMMENT_CHARS)?;
        let Some(form) = &self.rules.form else { return Ok(()) };
        let findings = fits(form, decision.response_data.as_ref().unwrap_or(&Value::Null));
        if findings.is_empty() { Ok(()) } else { Err(CheckpointError::FormInvalid { findings }) }
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
