//! Why something cannot be done with a checkpoint.

use scaigrid_scope::{Instant, UserId};

use crate::checkpoint::CheckpointStatus;
use crate::rules::FormFinding;

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
    /// The principal has started the execution, and whoever has may not decide what it asks.
    #[error("whoever started the execution may not act on its checkpoint")]
    Excluded,
    /// Somebody else looks after the checkpoint.
    #[error("somebody else has claimed the checkpoint")]
    Claimed {
        /// Who.
        by: UserId,
    },
    /// Several people must decide alike, and the principal has decided.
    #[error("you have decided already; other people are asked now")]
    AlreadyVoted,
    /// It is so already.
    #[error("nothing changes")]
    Unchanged,
    /// The data of the answer does not fit the form.
    #[error("the data does not fit the form")]
    FormInvalid {
        /// What is wrong with it.
        findings: Vec<FormFinding>,
    },
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
