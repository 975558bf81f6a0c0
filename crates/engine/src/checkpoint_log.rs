//! What a Core's log says of its checkpoints.

use scaigrid_checkpoints::{Checkpoint, EventKind, State};
use scaigrid_cores::logs::{Level, LogEntry};
use scaigrid_persistence::checkpoints::StoredCheckpoint;
use scaigrid_persistence::commit::{Change, Unit};
use scaigrid_scope::TenantScope;
use serde_json::{Value, json};

use crate::inside::{Said, said};
use crate::{Engine, Error};

impl Engine {
    /// What the log says of a checkpoint whose wait is over.
    pub(crate) async fn decided_entry(
        &self,
        scope: TenantScope,
        checkpoint: &Checkpoint,
    ) -> Result<Option<LogEntry>, Error> {
        let (level, message, by) = match &checkpoint.state {
            State::Resolved(resolution) => (
                Level::Info,
                format!("a checkpoint was decided: {}", resolution.decision),
                resolution.by.user(),
            ),
            State::Expired { .. } => (Level::Warn, "a checkpoint's time was up".to_owned(), None),
            State::Cancelled { .. } => (Level::Warn, "a checkpoint was cancelled".to_owned(), None),
            State::Pending => return Ok(None),
        };
        let fields = json!({ "checkpoint_id": checkpoint.id, "resolved_by": by });
        self.entry_about(scope, checkpoint, level, message, fields).await.map(Some)
    }

    async fn entry_about(
        &self,
        scope: TenantScope,
        checkpoint: &Checkpoint,
        level: Level,
        message: String,
        fields: Value,
    ) -> Result<LogEntry, Error> {
        let hosted = self.hosted(scope, checkpoint.core_id).await?;
        let what = Said { level, block: Some(checkpoint.block_id.as_str().into()), message, fields };
        let flow = checkpoint.flow_name.as_str().into();
        Ok(said(&flow, self.0.clock.now(), &hosted.inside.masked, what))
    }

    /// Has the log say that a checkpoint asks somebody else. Its history says so whatever becomes of this.
    pub(crate) async fn log_handing_on(&self, scope: TenantScope, stored: &StoredCheckpoint) {
        let checkpoint = &stored.checkpoint;
        let (level, what) = match stored.between.last().map(|event| event.kind) {
            Some(EventKind::Escalated) => {
                (Level::Warn, "a checkpoint's time was up, and it was escalated to")
            }
            _ => (Level::Info, "a checkpoint was handed on to"),
        };
        let assignee = checkpoint.routing.assignee.to_string();
        let fields = json!({ "checkpoint_id": checkpoint.id, "assignee": assignee });
        let told = async {
            let entry =
                self.entry_about(scope, checkpoint, level, format!("{what} {assignee}"), fields).await?;
            let kept = Change::Keep { id: checkpoint.execution_id };
            let mut unit = Unit::new(checkpoint.tenant_id, self.0.clock.now(), kept);
            unit.core_id = Some(checkpoint.core_id);
            unit.logs.push(entry);
            self.commit_and_tell(unit, None).await
        };
        if let Err(error) = told.await {
            let checkpoint = checkpoint.id;
            tracing::warn!(%error, %checkpoint, "the log cannot tell that a checkpoint was handed on");
        }
    }
}
