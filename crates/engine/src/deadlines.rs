//! Checkpoints whose time is up: expired, escalated or decided, to the second, on whichever node is first.

use std::time::Duration;

use scaigrid_audit::{AuditAction, AuditRecord, diff};
use scaigrid_checkpoints::{Change, Checkpoint, CheckpointError};
use scaigrid_persistence::{checkpoints, tenants};
use scaigrid_scope::{AuditId, CheckpointId, Instant, PartnerId, TenantScope};
use serde_json::json;

use crate::decide::Decider;
use crate::{Engine, Error};

/// The longest sleep between two looks at the deadlines; another node may have set a nearer one.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Overdue checkpoints that are taken up at once.
const AT_ONCE: i64 = 100;

/// The clock's word, and whose tenant it is said in.
struct TimeIsUp<'a>(&'a Engine, Option<PartnerId>);

impl Decider for TimeIsUp<'_> {
    fn decide(&self, checkpoint: Checkpoint, now: Instant) -> Result<Change, CheckpointError> {
        checkpoint.expire(now)
    }

    fn audit(&self, before: &Checkpoint, after: &Checkpoint, now: Instant) -> Option<AuditRecord> {
        let engine = &self.0.0;
        let shown = |checkpoint: &Checkpoint| json!({"status": checkpoint.status().as_str(), "assignee": checkpoint.routing.assignee.to_string()});
        let action = match after.status() {
            scaigrid_checkpoints::CheckpointStatus::Pending => AuditAction::CheckpointEscalate,
            scaigrid_checkpoints::CheckpointStatus::Resolved => AuditAction::CheckpointResolve,
            _ => AuditAction::CheckpointExpire,
        };
        let id = AuditId::from_ulid(engine.ids.draw(now));
        let changes = diff(&shown(before), &shown(after), &[]);
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
            Ok(_) | Err(Error::Checkpoint(CheckpointError::NotPending { .. } | CheckpointError::NotDue)) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Watches the deadlines for as long as the process lives.
    pub(crate) async fn watch_deadlines(&self) {
        loop {
            let sleep = match self.meet_deadlines().await {
                Ok(sleep) => sleep,
                Err(error) => {
                    tracing::warn!(%error, "the deadlines cannot be looked at");
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                () = self.0.deadlines.notified() => {}
            }
        }
    }

    /// Takes up what is overdue; says how long nothing else will be.
    async fn meet_deadlines(&self) -> Result<Duration, Error> {
        let now = self.0.clock.now();
        let mut connection = self.0.database.read().await?;
        let overdue = checkpoints::overdue(&mut connection, &self.0.system, now, AT_ONCE).await?;
        let mut failed = false;
        let more = i64::try_from(overdue.len()).unwrap_or(i64::MAX) >= AT_ONCE;
        if overdue.is_empty() {
            let next = checkpoints::next_deadline(&mut connection, &self.0.system).await?;
            let until = next.map_or(LOOK_EVERY, |next| next.since(self.0.clock.now()));
            return Ok(until.clamp(Duration::from_millis(1), LOOK_EVERY));
        }
        drop(connection);
        for (tenant, id) in overdue {
            if let Err(error) = self.expire(self.0.system.tenant(tenant), id).await {
                tracing::warn!(%error, checkpoint = %id, "an overdue checkpoint is tried again");
                failed = true;
            }
        }
        Ok(if failed || !more { Duration::from_millis(100) } else { Duration::ZERO })
    }
}
