//! The same done to many checkpoints: each by itself, with an answer of its own.

use async_recursion::async_recursion as boxed;
use scaigrid_checkpoints::Decision;
use scaigrid_scope::{Authorized, CheckpointId, perm};

use super::StoredCheckpoint;
use crate::{App, Error, RequestContext};

/// What is done to each.
#[derive(Debug, Clone, PartialEq)]
pub enum BulkAction {
    /// It is decided.
    Resolve(Decision),
    /// It is given up.
    Cancel,
    /// Somebody else is asked.
    Reassign {
        /// Who.
        assignee: String,
        /// Why.
        comment: Option<String>,
    },
    /// It is reserved.
    Claim,
    /// It is let go.
    Release,
}

impl App {
    /// The most checkpoints of one call.
    pub const BULK_AT_MOST: usize = 100;

    /// Does the same to many checkpoints, in their order: each is a change of its own, under the same rules as by itself, and what
    /// is refused for one holds up no other.
    #[boxed]
    pub async fn act_on_checkpoints(
        &self,
        by: &Authorized<perm::CheckpointsResolve>,
        request: &RequestContext,
        ids: &[CheckpointId],
        action: &BulkAction,
    ) -> Vec<(CheckpointId, Result<StoredCheckpoint, Error>)> {
        let mut done = Vec::with_capacity(ids.len());
        for id in ids.iter().copied() {
            done.push((id, Box::pin(self.act_on_checkpoint(by, request, id, action)).await));
        }
        done
    }

    async fn act_on_checkpoint(
        &self,
        by: &Authorized<perm::CheckpointsResolve>,
        request: &RequestContext,
        id: CheckpointId,
        action: &BulkAction,
    ) -> Result<StoredCheckpoint, Error> {
        let decided = match action {
            BulkAction::Resolve(decision) => {
                self.resolve_checkpoint(by, request, id, decision.clone(), None).await?
            }
            BulkAction::Cancel => self.cancel_checkpoint(by, request, id).await?,
            BulkAction::Reassign { assignee, comment } => {
                self.reassign_checkpoint(by, request, id, assignee, comment.as_deref()).await?
            }
            BulkAction::Claim => return self.claim_checkpoint(by, request, id).await,
            BulkAction::Release => return self.release_checkpoint(by, request, id).await,
        };
        Ok(decided.checkpoint)
    }
}
