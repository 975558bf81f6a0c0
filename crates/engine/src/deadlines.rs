//! Checkpoints whose time is up: expired, escalated or decided, to the second, on whichever node is first.

use scaigrid_audit::{AuditAction, AuditRecord, diff};
use scaigrid_checkpoints::{Change, Checkpoint, CheckpointError};
use scaigrid_persistence::tenants;
use scaigrid_scope::{AuditId, CheckpointId, Instant, PartnerId, TenantScope};

use crate::asking::described;
use crate::decide::Decider;
use crate::{Engine, Error};

/// The clock's word, and whose tenant it is said in.
struct TimeIsUp<'a>(&'a Engine, Option<PartnerId>);

impl Decider for TimeIsUp<'_> {
    fn decide(&self, checkpoint: Checkpoint, now: Instant) -> Result<Change, CheckpointError> {
        checkpoint.expire(now)
    }

    fn audit(&self, before: &Checkpoint, after: &Checkpoint, now: Instant) -> Option<AuditRecord> {
        let engine = &self.0.0;
        let action = match after.status() {
            scaigrid_checkpoints::CheckpointStatus::Pending => AuditAction::CheckpointEscalate,
            scaigrid_checkpoints::CheckpointStatus::Resolved => AuditAction::CheckpointResolve,
            _ => AuditAction::CheckpointExpire,
        };
        let id = AuditId::from_ulid(engine.ids.draw(now));
        let changes = diff(&described(before), &described(after), &[]);
        let tenant = (after.tenant_id, self.1);
        Some(
            AuditRecord::by_the_system((id, now), tenant, action, after.id.to_string(), changes)
                .of_module("scaicore"),
        )
    }
}

impl Engine {
    /// Carries out what follows from a checkpoint's time being up, if it is.
    pub(crate) async fn expire(&self, scope: TenantScope, id: CheckpointId) -> Result<(), Error> {
        let partner = {
            let mut connection = self.0.database.read().await?;
            let tenant = tenants::lookup(&mut connection, scope.into(), scope.tenant_id()).await?;
            tenant.map(|tenant| tenant.partner_id)
        };
        match Box::pin(self.decide(scope, id, &TimeIsUp(self, partner), None)).await {
            // Another node, or a person a moment before the deadline, may have been faster.
            Ok(_)
            | Err(
                Error::NoCheckpoint
                | Error::Checkpoint(CheckpointError::NotPending { .. } | CheckpointError::NotDue),
            ) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
