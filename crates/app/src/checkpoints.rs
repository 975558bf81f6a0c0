//! Checkpoints: seeing what waits for a person, reserving it, deciding it, handing it on.

mod bulk;
mod follow;
mod links;
mod record;

use std::sync::OnceLock;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_checkpoints::{
    Access, Change, Checkpoint, CheckpointError, CheckpointStatus, Decision, FormFinding, HistoryEvent,
    Routing, Warning, assignees_of,
};
pub use scaigrid_engine::Decided;
use scaigrid_engine::{Decider, Error as EngineError, described, forms};
use scaigrid_persistence::checkpoints;
pub use scaigrid_persistence::checkpoints::{CheckpointFilter, StoredCheckpoint};
use scaigrid_scope::{Authorized, CheckpointId, Instant, PermissionMarker, Principal, perm};
use serde_json::Value;

use crate::cores::after;
use crate::{App, Cursor, Error, FieldError, Page, PageRequest, Resource};

pub use bulk::BulkAction;
pub use follow::{InboxEvent, InboxFollower, InboxPiece, InboxPosition};
pub use links::{MadeLink, OpenedLink};
pub use record::{Approval, DecisionRecord};

impl App {
    /// What waits for the caller: pending checkpoints that ask them, their groups or their roles and that they may decide; for
    /// those who run the tenant also what asks nobody.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn inbox(
        &self,
        by: &Authorized<perm::CoresView>,
        filter: CheckpointFilter,
        page: &PageRequest,
    ) -> Result<Page<StoredCheckpoint>, Error> {
        let filter = CheckpointFilter {
            status: Some(CheckpointStatus::Pending),
            assignees: Some(assignees_of(by.principal())),
            open_to: Some(by.user_id()),
            ..filter
        };
        self.list_checkpoints(by, &filter, page).await
    }

    /// Every checkpoint of the tenant, for those who run it.
    ///
    /// # Errors
    /// The caller does not run the tenant.
    #[boxed]
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

    /// What whoever looks after a checkpoint that was read should know of those whom it asks.
    ///
    /// # Errors
    /// The database's.
    pub async fn checkpoint_warnings<P: PermissionMarker>(
        &self,
        by: &Authorized<P>,
        checkpoint: &Checkpoint,
    ) -> Result<Vec<Warning>, Error> {
        Ok(self.0.engine.warnings(by.tenant_scope(), checkpoint).await?)
    }

    /// What happened to a checkpoint, in order.
    ///
    /// # Errors
    /// There is none that the caller may see.
    #[boxed]
    pub async fn checkpoint_history(
        &self,
        by: &Authorized<perm::CoresView>,
        id: CheckpointId,
    ) -> Result<Vec<HistoryEvent>, Error> {
        let stored = self.checkpoint(by, id).await?;
        Ok(HistoryEvent::whole(&stored.checkpoint, stored.between))
    }

    /// Decides a checkpoint; its execution goes on. Where several must decide alike it may have to wait for others. With a wait
    /// the answer comes when that has ended, or waits again.
    ///
    /// # Errors
    /// There is none that the caller may see; it does not ask them, or excludes them; somebody else has claimed it; it is decided
    /// already, or was by them; the decision is no option; its data does not fit the form.
    #[boxed]
    pub async fn resolve_checkpoint(
        &self,
        by: &Authorized<perm::CheckpointsResolve>,
        request: &RequestContext,
        id: CheckpointId,
        decision: Decision,
        wait: Option<Duration>,
    ) -> Result<Decided, Error> {
        let way = Way { by, request, id, link: false };
        self.resolve_by(way, decision, wait).await
    }

    async fn resolve_by(
        &self,
        way: Way<'_>,
        decision: Decision,
        wait: Option<Duration>,
    ) -> Result<Decided, Error> {
        let by = way.by.principal();
        // Forms are the tenant's, data is large, and decisions are taken under locks: what does not fit is found out before, apart.
        // Whether there is a form is known once all else was found to be right.
        let form = OnceLock::new();
        let unknown = |found: &Value, _: &Value| {
            form.get_or_init(|| found.clone());
            vec![FormFinding { pointer: String::new(), message: "is yet to be looked at".to_owned() }]
        };
        let tried = self.decide(way, AuditAction::CheckpointResolve, wait, |checkpoint, now| {
            checkpoint.resolve(decision.clone(), by, now, &unknown)
        });
        let tried = tried.await;
        let Some(form) = form.into_inner() else { return Ok(tried?) };
        let data = decision.response_data.clone().unwrap_or_default();
        let checked = tokio::task::spawn_blocking(move || forms::check(&form, &data)).await;
        let findings = checked.map_err(Error::internal)?;
        let decided = self.decide(way, AuditAction::CheckpointResolve, wait, |checkpoint, now| {
            checkpoint.resolve(decision.clone(), by, now, &|_, _| findings.clone())
        });
        Ok(decided.await?)
    }

    /// Gives a checkpoint up; its execution ends as cancelled.
    ///
    /// # Errors
    /// As for [`App::resolve_checkpoint`].
    #[boxed]
    pub async fn cancel_checkpoint(
        &self,
        by: &Authorized<perm::CheckpointsResolve>,
        request: &RequestContext,
        id: CheckpointId,
    ) -> Result<Decided, Error> {
        let way = Way { by, request, id, link: false };
        let cancelled = self.decide(way, AuditAction::CheckpointCancel, None, |checkpoint, now| {
            checkpoint.cancel(by.principal(), now)
        });
        Ok(cancelled.await?)
    }

    /// Asks somebody else.
    ///
    /// # Errors
    /// As for [`App::resolve_checkpoint`]; or the assignee cannot exist.
    #[boxed]
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
        let way = Way { by, request, id, link: false };
        let moved = self.decide(way, AuditAction::CheckpointReassign, None, |checkpoint, now| {
            checkpoint.reassign(routing.clone(), comment, by.principal(), now)
        });
        Ok(moved.await?)
    }

    /// Reserves a checkpoint for the caller: until they let go nobody else may act on it. Who holds it already holds it still.
    ///
    /// # Errors
    /// As for [`App::resolve_checkpoint`].
    #[boxed]
    pub async fn claim_checkpoint(
        &self,
        by: &Authorized<perm::CheckpointsResolve>,
        request: &RequestContext,
        id: CheckpointId,
    ) -> Result<StoredCheckpoint, Error> {
        let way = Way { by, request, id, link: false };
        let claimed = self.decide(way, AuditAction::CheckpointClaim, None, |checkpoint, now| {
            checkpoint.claim(by.principal(), now)
        });
        self.or_as_it_was(by, id, claimed.await).await
    }

    /// Lets a checkpoint go that was reserved. Those who run the tenant may do so for whoever holds it.
    ///
    /// # Errors
    /// As for [`App::resolve_checkpoint`].
    #[boxed]
    pub async fn release_checkpoint(
        &self,
        by: &Authorized<perm::CheckpointsResolve>,
        request: &RequestContext,
        id: CheckpointId,
    ) -> Result<StoredCheckpoint, Error> {
        let way = Way { by, request, id, link: false };
        let released = self.decide(way, AuditAction::CheckpointRelease, None, |checkpoint, now| {
            checkpoint.release(by.principal(), now)
        });
        self.or_as_it_was(by, id, released.await).await
    }

    /// A checkpoint after a change, or as it stands where nothing had to change.
    async fn or_as_it_was(
        &self,
        by: &Authorized<perm::CheckpointsResolve>,
        id: CheckpointId,
        decided: Result<Decided, EngineError>,
    ) -> Result<StoredCheckpoint, Error> {
        match decided {
            Ok(decided) => Ok(decided.checkpoint),
            Err(EngineError::Checkpoint(CheckpointError::Unchanged)) => self.checkpoint(by, id).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn decide<F>(
        &self,
        way: Way<'_>,
        action: AuditAction,
        wait: Option<Duration>,
        change: F,
    ) -> Result<Decided, EngineError>
    where
        F: Fn(Checkpoint, Instant) -> Result<Change, CheckpointError> + Send + Sync,
    {
        let scope = way.by.tenant_scope();
        let id = way.id;
        let decider = ByAPerson { app: self, way, action, change };
        // In a box, for an execution in motion is large and stands in many futures.
        Box::pin(self.0.engine.decide(scope, id, &decider, wait)).await
    }
}

/// Who acts on which checkpoint, and how they came to.
#[derive(Clone, Copy)]
struct Way<'a> {
    by: &'a Authorized<perm::CheckpointsResolve>,
    request: &'a RequestContext,
    id: CheckpointId,
    /// Whether by a link, without logging in.
    link: bool,
}

/// A person's change to a checkpoint, and the record of it.
struct ByAPerson<'a, F> {
    app: &'a App,
    way: Way<'a>,
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
        let mut shown = described(after);
        if let Some(fields) = shown.as_object_mut().filter(|_| self.way.link) {
            fields.insert("by_link".to_owned(), true.into());
        }
        let changes = diff(&described(before), &shown, &[]);
        let stamp = self.app.audit_stamp(now);
        // One of several who must decide alike has decided nothing yet.
        let action = match (self.action, after.status()) {
            (AuditAction::CheckpointResolve, CheckpointStatus::Pending) => AuditAction::CheckpointVote,
            (action, _) => action,
        };
        let (by, request) = (self.way.by.principal(), self.way.request);
        let record = AuditRecord::in_tenant(stamp, by, request, action, after.id.to_string(), changes);
        Some(record.of_module("scaicore"))
    }
}

/// The field of a request that a place in the data of an answer is: `response_data.lines[0].amount`.
fn field_of(finding: &FormFinding) -> String {
    let parts = finding.pointer.split('/').skip(1);
    parts.fold("response_data".to_owned(), |path, part| {
        let part = part.replace("~1", "/").replace("~0", "~");
        if part.parse::<usize>().is_ok() { format!("{path}[{part}]") } else { format!("{path}.{part}") }
    })
}

impl From<CheckpointError> for Error {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::NotPending { status } => {
                Self::CheckpointAlreadyResolved { status: status.as_str().into() }
            }
            CheckpointError::TimeIsUp { .. } => Self::CheckpointAlreadyResolved { status: "expired".into() },
            CheckpointError::NotDue | CheckpointError::Unchanged => Self::Conflict(error.to_string()),
            CheckpointError::NotAsked => Self::NotAssignee,
            CheckpointError::Excluded => Self::RequesterExcluded,
            CheckpointError::Claimed { .. } => Self::CheckpointClaimed,
            CheckpointError::AlreadyVoted => Self::CheckpointAlreadyVoted,
            CheckpointError::FormInvalid { findings } => Self::Invalid(
                findings
                    .iter()
                    .map(|found| FieldError::new(field_of(found), found.message.clone()))
                    .collect(),
            ),
            CheckpointError::Hidden => Self::NotFound(Resource::Checkpoint),
            CheckpointError::NotAnOption { .. } | CheckpointError::EmptyDecision => {
                Self::invalid("decision", error.to_string())
            }
            CheckpointError::TooLong { field, .. } => Self::invalid(field, error.to_string()),
        }
    }
}
