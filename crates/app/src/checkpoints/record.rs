//! The record of a decision: what was shown, who decided, and what that authorised.

use async_recursion::async_recursion as boxed;
use scaigrid_checkpoints::{AllowedCall, Checkpoint, State};
use scaigrid_engine::shown_content;
use scaigrid_scope::{Authorized, CheckpointId, Instant, UserId, perm};
use serde_json::Value;

use crate::{App, Error};

/// What one person has decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    /// Who; none where the platform did, because time was up.
    pub by: Option<UserId>,
    /// What.
    pub decision: String,
    /// A note.
    pub comment: Option<String>,
    /// When.
    pub at: Instant,
}

/// All that there is to say of one decision.
#[derive(Debug, Clone, PartialEq)]
pub struct DecisionRecord {
    /// The checkpoint, with what became of it.
    pub checkpoint: Checkpoint,
    /// What was shown. Nothing of it changes while the checkpoint waits.
    pub content: Value,
    /// Everyone who has decided, in order, also those who decided otherwise.
    pub approvals: Vec<Approval>,
    /// The call that the decision authorised.
    pub authorised: Option<AllowedCall>,
    /// Until when that may run; none for as long as the execution goes on.
    pub authorised_until: Option<Instant>,
}

impl App {
    /// The record of a checkpoint's decision, as far as one was made.
    ///
    /// # Errors
    /// There is none that the caller may see.
    #[boxed]
    pub async fn checkpoint_decision(
        &self,
        by: &Authorized<perm::CoresView>,
        id: CheckpointId,
    ) -> Result<DecisionRecord, Error> {
        let checkpoint = self.checkpoint(by, id).await?.checkpoint;
        let voted = checkpoint.votes.iter().map(|vote| Approval {
            by: Some(vote.by),
            decision: vote.decision.clone(),
            comment: vote.comment.clone(),
            at: vote.at,
        });
        let mut approvals: Vec<Approval> = voted.collect();
        let mut authorised = None;
        let mut authorised_until = None;
        if let State::Resolved(resolution) = &checkpoint.state {
            let last = Approval {
                by: resolution.by.user(),
                decision: resolution.decision.clone(),
                comment: resolution.comment.clone(),
                at: resolution.at,
            };
            if !approvals.contains(&last) {
                approvals.push(last);
            }
            authorised = checkpoint.rules.allowed_by(&resolution.decision).cloned();
            let span = authorised.as_ref().and_then(|call| call.expires_in);
            authorised_until = span.map(|span| resolution.at.plus(span));
        }
        let content = shown_content(&checkpoint);
        Ok(DecisionRecord { checkpoint, content, approvals, authorised, authorised_until })
    }
}
