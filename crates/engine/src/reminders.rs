//! Reminders: whoever a checkpoint asks is told again and again, each time once, on whichever node is first.

use scaigrid_audit::{AuditAction, AuditRecord, diff};
use scaigrid_persistence::timers::{self, Timer};
use scaigrid_persistence::{audit, checkpoints, tenants};
use scaigrid_scope::{AuditId, CheckpointId, TenantScope};
use serde_json::json;

use crate::{Engine, Error};

impl Engine {
    /// Reminds whoever a checkpoint asks, and says when that is to be done again. A timer that somebody else was faster with is
    /// left alone; the timer of a checkpoint that nobody waits at any more goes.
    pub(crate) async fn remind(
        &self,
        scope: TenantScope,
        timer: &Timer,
        id: CheckpointId,
    ) -> Result<(), Error> {
        let partner = {
            let mut connection = self.0.database.read().await?;
            let tenant = tenants::lookup(&mut connection, scope.into(), scope.tenant_id()).await?;
            tenant.map(|tenant| tenant.partner_id)
        };
        let now = self.0.clock.now();
        let mut transaction = self.0.database.begin().await?;
        // Checkpoints are locked before timers by everybody.
        let stored = checkpoints::lock(&mut transaction, scope, id).await?;
        if !timers::take(&mut transaction, scope, timer).await? {
            return Ok(());
        }
        let change = stored.as_ref().map(|stored| stored.checkpoint.clone().remind(now));
        if let (Some(mut stored), Some(Ok(change))) = (stored, change) {
            let count = (stored.checkpoint.reminders, change.checkpoint.reminders);
            stored.checkpoint = change.checkpoint;
            stored.between.push(change.event);
            checkpoints::save_moved(&mut transaction, scope, &stored).await?;
            if let Some(next) = checkpoints::reminder(&stored.checkpoint, now) {
                timers::set(&mut transaction, scope, &next).await?;
            }
            if let Some(notice) = checkpoints::notice(&stored.checkpoint, now) {
                timers::set(&mut transaction, scope, &notice).await?;
            }
            let stamp = (AuditId::from_ulid(self.0.ids.draw(now)), now);
            let changes = diff(&json!({"reminder_count": count.0}), &json!({"reminder_count": count.1}), &[]);
            let tenant = (scope.tenant_id(), partner);
            let record = AuditRecord::by_the_system(
                stamp,
                tenant,
                AuditAction::CheckpointRemind,
                id.to_string(),
                changes,
            );
            audit::add(&mut transaction, &record.of_module("scaicore")).await?;
        }
        transaction.commit().await?;
        self.0.timers.notify_one();
        Ok(())
    }
}
