//! Checkpoints: seeing what waits for a person, deciding it, handing it on.

use std::time::Duration;

use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_checkpoints::{
    Access, Change, Checkpoint, CheckpointError, CheckpointStatus, Decision, HistoryEvent, Routing, State,
    assignees_of,
};
pub use scaigrid_engine::Decided;
use scaigrid_engine::Decider;
use scaigrid_persistence::checkpoints;
pub use scaigrid_persistence::checkpoints::{CheckpointFilter, StoredCheckpoint};
use scaigrid_scope::{Authorized, CheckpointId, Instant, PermissionMarker, Principal, perm};
use serde_json::json;

use crate::cores::after;
use crate::{App, Cursor, Error, Page, PageRequest, Resource};

impl App {
    /// What waits for the caller: pending checkpoints that ask them, their groups or their roles; for those who run the tenant
    /// also what asks nobody.
    ///
    /// # Errors
    /// The database's.
    pub async fn inbox(
        &self,
        by: &Authorized<perm::CoresView>,
        filter: CheckpointFilter,
        page: &PageRequest,
    ) -> Result<Page<StoredCheckpoint>, Error> {
        let filter = CheckpointFilter {
            status: Some(CheckpointStatus::Pending),
            assignees: Some(assignees_of(by.principal())),
            ..filter
        };
        self.list_checkpoints(by, &filter, page).await
    }

    /// Every checkpoint of the tenant, for those who run it.
    ///
    /// # Errors
    /// The caller does not run the tenant.
    pub async fn all_checkpoints(
        &self,
        by: &Authorized<perm::CoresView>,
        filter: CheckpointFilter,
        page: &PageRequest,
    ) -> Result<Page<StoredCheckpoint>, Error> {
        self.require_tenant_admin(by)?;
        self.list_checkpoints(by, &filter, page).await
    }

    /// Whether the caller runs the tenant.
    ///
    /// # Errors
    /// They do not.
    pub fn require_tenant_admin(&self, by: &Principal) -> Result<(), Error> {
        let denied = || Error::PermissionDenied { permission: "scaicore:admin".into() };
        by.administers_tenant().then_some(()).ok_or_else(denied)
    }

    async fn list_checkpoints(
        &self,
        by: &Principal,
        filter: &CheckpointFilter,
        page: &PageRequest,
    ) -> Result<Page<StoredCheckpoint>, Error> {
        let after = after(page)?;
        let mut connection = self.0.database.read().await?;
        let rows = checkpoints::list(&mut connection, by.tenant_scope(), filter, after, page.rows()).await?;
        Ok(Page::of_rows(rows, page, |stored| Cursor::new([stored.checkpoint.id.to_string().into()])))
    }

    /// One checkpoint.
    ///
    /// # Errors
    /// There is none that the caller may see.
    pub async fn checkpoint<P: PermissionMarker>(
        &self,
        by: &Authorized<P>,
        id: CheckpointId,
    ) -> Result<StoredCheckpoint, Error> {
        let mut connection = self.0.database.read().await?;
        let found = checkpoints::lookup(&mut connection, by.tenant_scope(), id).await?;
        found
            .filter(|stored| stored.checkpoint.access(by.principal()) != Access::Hidden)
            .ok_or(Error::NotFound(Resource::Checkpoint))
    }

    /// What happened to a checkpoint, in order.
    ///
    /// # Errors
    /// There is none that the caller may see.
    pub async fn checkpoint_history(
        &self,
        by: &Authorized<perm::CoresView>,
        id: CheckpointId,
    ) -> Result<Vec<HistoryEvent>, Error> {
        let stored = self.checkpoint(by, id).await?;
        Ok(HistoryEvent::whole(&stored.checkpoint, stored.between))
    }

    /// Decides a checkpoint; its execution goes on. With a wait the answer comes when that has ended, or waits again.
    ///
    /// # Errors
    /// There is none that the caller may see; it does not ask them; it is decided already; the decision is no option.
    pub async fn resolve_checkpoint(
        &self,
        by: &Authorized<perm::CheckpointsResolve>,
        request: &RequestContext,
        id: CheckpointId,
        decision: Decision,
        wait: Option<Duration>,
    ) -> Result<Decided, Error> {
        self.decide(by, request, id, AuditAction::CheckpointResolve, wait, |checkpoint, now| {
            checkpoint.resolve(decision.clone(), by.principal(), now)
        })
        .await
    }

    /// Gives a checkpoint up; its execution ends as cancelled.
    ///
    /// # Errors
    /// As for [`App::resolve_checkpoint`].
    pub async fn cancel_checkpoint(
        &self,
        by: &Authorized<perm::CheckpointsResolve>,
        request: &RequestContext,
        id: CheckpointId,
    ) -> Result<Decided, Error> {
        self.decide(by, request, id, AuditAction::CheckpointCancel, None, |checkpoint, now| {
            checkpoint.cancel(by.principal(), now)
        })
        .await
    }

    /// Asks somebody else.
    ///
    /// # Errors
    /// As for [`App::resolve_checkpoint`]; or the assignee cannot exist.
    pub async fn reassign_checkpoint(
        &self,
        by: &Authorized<perm::CheckpointsResolve>,
        request: &RequestContext,
        id: CheckpointId,
        assignee: &str,
        comment: Option<&str>,
    ) -> Result<Decided, Error> {
        let routing =
            Routing::parse(assignee, None).map_err(|error| Error::invalid("assignee", error.to_string()))?;
        self.decide(by, request, id, AuditAction::CheckpointReassign, None, |checkpoint, now| {
            checkpoint.reassign(routing.clone(), comment, by.principal(), now)
        })
        .await
    }

    async fn decide<F>(
        &self,
        by: &Authorized<perm::CheckpointsResolve>,
        request: &RequestContext,
        id: CheckpointId,
        action: AuditAction,
        wait: Option<Duration>,
        change: F,
    ) -> Result<Decided, Error>
    where
        F: Fn(Checkpoint, Instant) -> Result<Change, CheckpointError> + Send + Sync,
    {
        let decider = ByAPerson { app: self, by: by.principal(), request, action, change };
        // In a box, for an execution in motion is large and stands in many futures.
        Ok(Box::pin(self.0.engine.decide(by.tenant_scope(), id, &decider, wait)).await?)
    }
}

/// A person's change to a checkpoint, and the record of it.
struct ByAPerson<'a, F> {
    app: &'a App,
    by: &'a Principal,
    request: &'a RequestContext,
    action: AuditAction,
    change: F,
}

impl<F> Decider for ByAPerson<'_, F>
where
    F: Fn(Checkpoint, Instant) -> Result<Change, CheckpointError> + Send + Sync,
{
    fn decide(&self, checkpoint: Checkpoint, now: Instant) -> Result<Change, CheckpointError> {
        (self.change)(checkpoint, now)
    }

    fn audit(&self, before: &Checkpoint, after: &Checkpoint, now: Instant) -> Option<AuditRecord> {
        let changes = diff(&described(before), &described(after), &[]);
        let stamp = self.app.audit_stamp(now);
        let record =
            AuditRecord::in_tenant(stamp, self.by, self.request, self.action, after.id.to_string(), changes);
        Some(record.of_module("scaicore"))
    }
}

/// What the audit sees of a checkpoint.
fn described(checkpoint: &Checkpoint) -> serde_json::Value {
    let decision = match &checkpoint.state {
        State::Resolved(resolution) => Some(&resolution.decision),
        _ => None,
    };
    json!({
        "status": checkpoint.status().as_str(),
        "assignee": checkpoint.routing.assignee.to_string(),
        "decision": decision,
    })
}

impl From<CheckpointError> for Error {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::NotPending { status } => {
                Self::CheckpointAlreadyResolved { status: status.as_str().into() }
            }
            CheckpointError::TimeIsUp { .. } => Self::CheckpointAlreadyResolved { status: "expired".into() },
            CheckpointError::NotDue => Self::Conflict(error.to_string()),
            CheckpointError::NotAsked => Self::NotAssignee,
            CheckpointError::Hidden => Self::NotFound(Resource::Checkpoint),
            CheckpointError::NotAnOption { .. } | CheckpointError::EmptyDecision => {
                Self::invalid("decision", error.to_string())
            }
            CheckpointError::TooLong { field, .. } => Self::invalid(field, error.to_string()),
        }
    }
}
