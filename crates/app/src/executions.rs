//! Executions: starting flows, and seeing how far they have come.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, Changes, RequestContext};
use scaigrid_cores::execution::{Execution, Standing};
pub use scaigrid_cores::progress::{ExecutionPosition, NotAnExecutionPosition};
use scaigrid_engine::Error as EngineError;
pub use scaigrid_engine::{
    Delivered, ExecutionFollower, Happening, HistoryEntry, Invocation, Reported, StatusReport,
};
use scaigrid_ir::Value;
pub use scaigrid_persistence::events::{CoreEvent, EventFilter};
pub use scaigrid_persistence::executions::ExecutionFilter;
use scaigrid_persistence::{executions, model_usage};
use scaigrid_runtime::journal::BranchError;
use scaigrid_scope::{Authorized, CoreId, ExecutionId, Principal, perm};

use crate::conversations::Told;
use crate::cores::after;
use crate::modules::TunnelPlace;
use crate::{App, Cursor, Error, FieldError, Page, PageRequest, Resource};

/// The longest that a call waits for an execution.
pub const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How soon it is worth trying again what failed for a passing reason.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// When a queue that is full may have room again.
const QUEUE_RETRY_AFTER: Duration = Duration::from_secs(5);

impl App {
    /// Starts a flow of a Core.
    ///
    /// # Errors
    /// There is no such Core or flow, the Core takes no work, or the input does not fit.
    #[boxed]
    pub async fn invoke(
        &self,
        by: &Authorized<perm::CoresInvoke>,
        core: CoreId,
        invocation: Invocation,
    ) -> Result<Standing, Error> {
        let invocation = Invocation { by: Some(by.user_id()), ..invocation };
        Ok(self.0.engine.invoke(by.tenant_scope(), core, invocation).await?)
    }

    /// Sends an event to a Core.
    ///
    /// # Errors
    /// There is no such Core, or it takes no work.
    #[boxed]
    pub async fn send_event(
        &self,
        by: &Authorized<perm::CoresInvoke>,
        core: CoreId,
        name: &str,
        data: Value,
    ) -> Result<Delivered, Error> {
        let sent = self.0.engine.send_event(by.tenant_scope(), core, name, data, Some(by.user_id())).await;
        sent.map_err(|error| match error {
            EngineError::EntityKey(problem) => {
                Error::invalid(format!("data.{}", problem.field()), problem.to_string())
            }
            other => other.into(),
        })
    }

    /// The executions of a Core, newest first.
    ///
    /// # Errors
    /// There is no such Core.
    #[boxed]
    pub async fn executions(
        &self,
        by: &Authorized<perm::CoresView>,
        core: CoreId,
        filter: ExecutionFilter,
        page: &PageRequest,
    ) -> Result<Page<Execution>, Error> {
        self.require_core(by.tenant_scope(), core).await?;
        let filter = ExecutionFilter { core_id: Some(core), ..filter };
        let after = after(page)?;
        let mut connection = self.0.database.read().await?;
        let rows = executions::list(&mut connection, by.tenant_scope(), &filter, after, page.rows()).await?;
        Ok(Page::of_rows(rows, page, |execution| Cursor::new([execution.id.to_string().into()])))
    }

    /// One execution, with the checkpoints that it waits at.
    ///
    /// # Errors
    /// There is none of that id in the tenant.
    #[boxed]
    pub async fn execution(
        &self,
        by: &Authorized<perm::CoresView>,
        id: ExecutionId,
    ) -> Result<Standing, Error> {
        Ok(self.0.engine.standing(by.tenant_scope(), id).await?)
    }

    /// What the calls of models have used that an execution made itself.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn execution_usage(
        &self,
        by: &Authorized<perm::CoresView>,
        id: ExecutionId,
    ) -> Result<Told, Error> {
        let mut connection = self.0.database.read().await?;
        let used = model_usage::of_executions(&mut connection, by.tenant_scope(), &[id]).await?;
        let (input_tokens, output_tokens, cost) = used;
        Ok(Told { input_tokens, output_tokens, cost })
    }

    /// What an execution did, in order, from an entry on.
    ///
    /// # Errors
    /// There is none of that id in the tenant.
    #[boxed]
    pub async fn execution_history(
        &self,
        by: &Authorized<perm::CoresView>,
        id: ExecutionId,
        page: &PageRequest,
    ) -> Result<Page<HistoryEntry>, Error> {
        let from = match &page.cursor {
            None => 0,
            Some(cursor) => {
                cursor.int(0).ok_or_else(|| Error::invalid("cursor", "is not a cursor of this list"))?
            }
        };
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let found = self.0.engine.history(by.tenant_scope(), id, from, limit).await?;
        let last = found.entries.last().map(|entry| entry.seq + 1);
        let next = last.filter(|_| found.more).map(|seq| Cursor::new([seq.into()]));
        Ok(Page { items: found.entries, next })
    }

    /// Follows an execution, and has a place among this node's streams as long as that lives.
    ///
    /// # Errors
    /// There is none of that id in the tenant, the position is none of it, or too many streams are open.
    #[boxed]
    pub async fn follow_execution(
        &self,
        by: &Authorized<perm::CoresView>,
        id: ExecutionId,
        from: Option<ExecutionPosition>,
    ) -> Result<(ExecutionFollower, TunnelPlace), Error> {
        let follower = self.0.engine.follow_execution(by.tenant_scope(), id, from).await?;
        let foreign = || Error::invalid("Last-Event-ID", NotAnExecutionPosition.to_string());
        Ok((follower.ok_or_else(foreign)?, self.stream_place(by)?))
    }

    /// Ends an execution before its end.
    ///
    /// # Errors
    /// There is none of that id in the tenant, or it has ended.
    #[boxed]
    pub async fn cancel_execution(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        id: ExecutionId,
    ) -> Result<Standing, Error> {
        let record = self.execution_record(by, request, AuditAction::ExecutionCancel, id);
        let reason = format!("cancelled by {}", by.email());
        Ok(self.0.engine.cancel(by.tenant_scope(), id, &reason, Some(record)).await?)
    }

    pub(crate) fn execution_record(
        &self,
        by: &Principal,
        request: &RequestContext,
        action: AuditAction,
        id: ExecutionId,
    ) -> AuditRecord {
        let stamp = self.audit_stamp(self.now());
        AuditRecord::in_tenant(stamp, by, request, action, id.to_string(), Changes::default())
            .of_module("scaicore")
    }
}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Database(error) => error.into(),
            EngineError::NoCore => Self::NotFound(Resource::Core),
            EngineError::NoExecution => Self::NotFound(Resource::Execution),
            EngineError::NoCheckpoint => Self::NotFound(Resource::Checkpoint),
            EngineError::NotRunning(status) => Self::CoreNotRunning { status: status.as_str().into() },
            EngineError::BadProgram(findings) => Self::InvalidSource(
                findings.iter().map(|finding| serde_json::to_value(finding).unwrap_or_default()).collect(),
            ),
            EngineError::Start(failure) => start_refused(&failure),
            EngineError::EntityKey(problem) => {
                Self::invalid(format!("input.{}", problem.field()), problem.to_string())
            }
            EngineError::Input(problems) => Self::Invalid(
                problems.into_iter().map(|problem| FieldError::new(problem.field, problem.message)).collect(),
            ),
            EngineError::Checkpoint(error) => error.into(),
            error @ (EngineError::Misconfigured
            | EngineError::HandedOnTooOften
            | EngineError::InstancesFull(_)
            | EngineError::NotFailed(_)
            | EngineError::NotPaused
            | EngineError::NoJournal
            | EngineError::JournalCut
            | EngineError::JournalTooLarge) => Self::Conflict(error.to_string()),
            EngineError::QueueFull { of, limit } => {
                Self::QueueFull { of, limit, retry_after: QUEUE_RETRY_AFTER }
            }
            EngineError::Ended(status) => Self::Conflict(format!("The execution is {status} already")),
            EngineError::Branch(error) => no_way(error),
            EngineError::Contended | EngineError::ShuttingDown | EngineError::Busy => {
                Self::Unavailable { retry_after: RETRY_AFTER }
            }
            EngineError::StorageFull(limit) => Self::Capacity { what: "bytes".into(), limit },
            EngineError::Storage(reason) => {
                tracing::warn!(%reason, "a large value cannot be kept");
                Self::Storage
            }
            error @ EngineError::Journal { .. } => Self::internal(error),
        }
    }
}

/// Why there is no way from a point of the past, by the field of the request that it is about.
fn no_way(error: BranchError) -> Error {
    match &error {
        BranchError::NoEntry { entries } => Error::invalid(
            "at",
            format!("must be the number of an entry, from 0 to {}", entries.saturating_sub(1)),
        ),
        BranchError::Cancelled | BranchError::InUpdate | BranchError::Allowed { .. } => {
            Error::invalid("at", error.to_string())
        }
        BranchError::OtherWay { .. } | BranchError::InputGone => Error::invalid("input", error.to_string()),
        BranchError::NotFailed | BranchError::AllowedOnce { .. } | BranchError::Before { .. } => {
            Error::Conflict(error.to_string())
        }
        BranchError::Replay(_) => Error::internal(error),
    }
}

/// What is wrong with a start, by the field of the request that it is about.
fn start_refused(failure: &scaigrid_runtime::Failure) -> Error {
    if &*failure.code == "FLOW_NOT_FOUND" {
        return Error::invalid("flow", &*failure.message);
    }
    if failure.details.is_empty() {
        return Error::invalid("input", &*failure.message);
    }
    let details = failure.details.iter().map(|detail| {
        let field =
            if detail.path.is_empty() { "input".to_owned() } else { format!("input.{}", detail.path) };
        FieldError::new(field, format!("expected {}, found {}", detail.expected, detail.found))
    });
    Error::Invalid(details.collect())
}
