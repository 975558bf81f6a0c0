//! The inside view: logs, the history of events, an execution's state at any step, breakpoints and steps, going on from the
//! past.

use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, Changes, RequestContext, diff};
use scaigrid_cores::debugging::{BREAKPOINTS_AT_MOST, CONDITION_AT_MOST};
pub use scaigrid_cores::debugging::{Breakpoint, Debugging, Pause, PauseReason, StepMode};
use scaigrid_cores::execution::{ExecutionStatus, Standing};
pub use scaigrid_cores::logs::{KeptEntry, Level, LogEntry, LogPlace, LogPosition};
use scaigrid_engine::{Engine, Inspection, RuntimePlace};
pub use scaigrid_engine::{Followed, Forked, Inspected, LogFollower, LogQuery, RuntimeEvent};
use scaigrid_ir::expr::{self, Expr};
use scaigrid_ir::{Module, verify};
use scaigrid_persistence::events::{self, CoreEvent, EventFilter};
use scaigrid_persistence::executions::JournalFilter;
use scaigrid_persistence::{audit, breakpoints, executions, instances, timers};
use scaigrid_scope::{Authorized, BreakpointId, CoreId, EventId, ExecutionId, Permission, Principal, perm};
use serde_json::json;

use crate::modules::TunnelPlace;
use crate::{App, Cursor, CursorPart, Error, FieldError, Page, PageRequest, Resource};

/// What the types of events of the runtime begin with.
const RUNTIME: &str = "scaicore.runtime.";
/// How soon it is worth trying again where too many streams are open.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Something that happened to a Core.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// An event that was sent to it, or that it published.
    Event(CoreEvent),
    /// What the runtime tells of its executions.
    Runtime(RuntimeEvent),
}

/// A breakpoint that is to be set.
#[derive(Debug, Clone, PartialEq)]
pub struct NewBreakpoint {
    /// The flow.
    pub flow: String,
    /// The block.
    pub block: String,
    /// The condition.
    pub condition: Option<String>,
    /// Whether it counts.
    pub enabled: bool,
}

/// How a Core stands, counted just now.
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    /// Its executions by status; of the newest ones, where there are very many.
    pub executions: Vec<(ExecutionStatus, i64)>,
    /// Whether there are more executions than were counted.
    pub more: bool,
    /// Its active instances.
    pub instances: i64,
    /// The timers that are set for it.
    pub timers: i64,
}

impl App {
    /// The log of a Core, newest first.
    ///
    /// # Errors
    /// There is no such Core.
    #[boxed]
    pub async fn core_logs(
        &self,
        by: &Authorized<perm::CoresView>,
        core: CoreId,
        query: &LogQuery,
        page: &PageRequest,
    ) -> Result<Page<KeptEntry>, Error> {
        self.require_core(by.tenant_scope(), core).await?;
        let from = match &page.cursor {
            None => None,
            Some(cursor) => {
                let position = cursor.text(0).and_then(|text| text.parse::<LogPosition>().ok());
                Some(position.ok_or_else(foreign_cursor)?)
            }
        };
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let (items, next) = self.0.engine.logs(by.tenant_scope(), core, query, from, limit).await?;
        Ok(Page { items, next: next.map(|next| Cursor::new([next.to_string().into()])) })
    }

    /// What is said of an execution, newest first.
    ///
    /// # Errors
    /// There is no such execution.
    #[boxed]
    pub async fn execution_logs(
        &self,
        by: &Authorized<perm::CoresView>,
        id: ExecutionId,
        query: &LogQuery,
        page: &PageRequest,
    ) -> Result<Page<KeptEntry>, Error> {
        self.execution(by, id).await?;
        let from = match &page.cursor {
            None => None,
            Some(cursor) => {
                let place = (|| {
                    let lane = u16::try_from(cursor.int(1)?).ok()?;
                    let at = scaigrid_scope::Instant::from_micros(cursor.int(0)?);
                    Some((at, LogPlace { lane, number: cursor.int(2)? }))
                })();
                Some(place.ok_or_else(foreign_cursor)?)
            }
        };
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let (items, next) = self.0.engine.execution_logs(by.tenant_scope(), id, query, from, limit).await?;
        let next = next.map(|(at, place)| {
            let lane = CursorPart::Int(i64::from(place.lane));
            Cursor::new([CursorPart::Int(at.micros()), lane, CursorPart::Int(place.number)])
        });
        Ok(Page { items, next })
    }

    /// Follows the log of a Core, and has a place among this node's streams as long as that lives.
    ///
    /// # Errors
    /// There is no such Core, or too many streams are open.
    #[boxed]
    pub async fn follow_logs(
        &self,
        by: &Authorized<perm::CoresView>,
        core: CoreId,
        from: Option<LogPosition>,
        tail: usize,
    ) -> Result<(LogFollower, TunnelPlace), Error> {
        let place = self.stream_place(by)?;
        Ok((self.0.engine.follow_logs(by.tenant_scope(), core, from, tail).await?, place))
    }

    /// A place among this node's streams.
    ///
    /// # Errors
    /// There are too many open.
    pub fn stream_place(&self, by: &Principal) -> Result<TunnelPlace, Error> {
        let place = self.0.streams.place(by.tenant_scope().tenant_id());
        place.ok_or(Error::Unavailable { retry_after: RETRY_AFTER })
    }

    /// Whether somebody may go on with a stream of the module.
    #[boxed]
    pub async fn may_follow(&self, principal: &Principal) -> Result<bool, Error> {
        if !principal.permissions().contains(Permission::ScaicoreView) {
            return Ok(false);
        }
        self.check_module(principal, "scaicore").await.map(|()| true)
    }

    /// What happened to a Core, newest first: events that were sent to it and that it published, and what the runtime tells of
    /// its executions.
    ///
    /// # Errors
    /// There is no such Core.
    #[boxed]
    pub async fn core_history(
        &self,
        by: &Authorized<perm::CoresView>,
        core: CoreId,
        filter: &EventFilter,
        page: &PageRequest,
    ) -> Result<Page<Happened>, Error> {
        let scope = by.tenant_scope();
        self.require_core(scope, core).await?;
        let (mut stored_after, mut told_before) = read_cursor(page)?;
        let of_runtime = filter.name.as_deref().map(|name| name.starts_with(RUNTIME));
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let mut stored = Vec::new();
        if of_runtime != Some(true) {
            let mut connection = self.0.database.read().await?;
            stored = events::list(&mut connection, scope, core, filter, stored_after, page.rows()).await?;
        }
        let mut told = scaigrid_engine::RuntimePage { events: Vec::new(), looked: None };
        if of_runtime != Some(false) {
            let wanted =
                JournalFilter { execution_id: filter.execution_id, since: filter.since, until: filter.until };
            let kind = filter.name.as_deref();
            let engine = &self.0.engine;
            told = engine.runtime_events(scope, core, &wanted, kind, told_before, limit).await?;
        }
        let mut items = Vec::new();
        let (mut stored, mut events) = (stored.into_iter().peekable(), told.events.into_iter().peekable());
        while items.len() < limit {
            let stored_at = stored.peek().map(|event| event.at.micros());
            // Behind what was looked through there may be events that are newer than what is stored.
            let told_at = events.peek().map(|event| event.at.micros()).or(told.looked.map(|place| place.at));
            match (stored_at, told_at) {
                (Some(stored_at), told_at) if told_at.is_none_or(|told_at| stored_at >= told_at) => {
                    if let Some(event) = stored.next() {
                        stored_after = Some(event.id);
                        items.push(Happened::Event(event));
                    }
                }
                (_, Some(_)) => {
                    let Some(event) = events.next() else { break };
                    told_before = Some(event.place);
                    items.push(Happened::Runtime(event));
                }
                _ => break,
            }
        }
        let left = stored.peek().is_some() || events.peek().is_some();
        if events.peek().is_none() {
            told_before = told.looked.or(told_before);
        }
        let goes_on = left || told.looked.is_some();
        let next = goes_on.then(|| {
            let stored = stored_after.map(|id| id.to_string()).unwrap_or_default();
            let told = told_before.map(|place| place.to_string()).unwrap_or_default();
            Cursor::new([stored.into(), told.into()])
        });
        Ok(Page { items, next })
    }

    /// An execution as it stood after an entry of its journal, or as it stands.
    ///
    /// # Errors
    /// There is no such execution or entry.
    #[boxed]
    pub async fn execution_state(
        &self,
        by: &Authorized<perm::CoresView>,
        id: ExecutionId,
        at: Option<i64>,
    ) -> Result<Inspected, Error> {
        let inspection = Inspection { at, expression: None, memory: false };
        Ok(self.0.engine.inspect(by.tenant_scope(), id, inspection).await?)
    }

    /// Looks into an execution of a Core, and computes an expression where it stands.
    ///
    /// # Errors
    /// There is no such execution of that Core, no such entry, or the expression is none.
    #[boxed]
    pub async fn inspect(
        &self,
        by: &Authorized<perm::CoresDebug>,
        core: CoreId,
        id: ExecutionId,
        at: Option<i64>,
        expression: Option<&str>,
    ) -> Result<Inspected, Error> {
        self.require_execution(by, core, id).await?;
        let expression = expression.map(|text| parse("expression", text)).transpose()?;
        let inspection = Inspection { at, expression, memory: true };
        Ok(self.0.engine.inspect(by.tenant_scope(), id, inspection).await?)
    }

    /// Lets an execution go on that stands still.
    ///
    /// # Errors
    /// There is no such execution of that Core, or it does not stand still.
    #[boxed]
    pub async fn step(
        &self,
        by: &Authorized<perm::CoresDebug>,
        request: &RequestContext,
        core: CoreId,
        id: ExecutionId,
        mode: StepMode,
        wait: Duration,
    ) -> Result<Standing, Error> {
        self.require_execution(by, core, id).await?;
        let changes = diff(&json!({}), &json!({ "mode": mode.as_str() }), &[]);
        let record = self.inside_record(by, request, AuditAction::ExecutionStep, id.to_string(), changes);
        Ok(self.0.engine.step(by.tenant_scope(), id, mode, record, wait).await?)
    }

    /// The breakpoints of a Core, oldest first.
    ///
    /// # Errors
    /// There is no such Core.
    #[boxed]
    pub async fn breakpoints(
        &self,
        by: &Authorized<perm::CoresDebug>,
        core: CoreId,
        page: &PageRequest,
    ) -> Result<Page<Breakpoint>, Error> {
        self.require_core(by.tenant_scope(), core).await?;
        let after: Option<BreakpointId> = crate::cores::after(page)?;
        let mut connection = self.0.database.read().await?;
        let mut rows = breakpoints::list(&mut connection, by.tenant_scope(), core).await?;
        rows.retain(|breakpoint| after.is_none_or(|after| breakpoint.id > after));
        Ok(Page::of_rows(rows, page, |breakpoint| Cursor::new([breakpoint.id.to_string().into()])))
    }

    /// Has the executions of a Core stop before a block, on every node within a second.
    ///
    /// # Errors
    /// There is no such Core, flow or block; the condition is none; or there are very many already.
    #[boxed]
    pub async fn set_breakpoint(
        &self,
        by: &Authorized<perm::CoresDebug>,
        request: &RequestContext,
        core: CoreId,
        new: NewBreakpoint,
    ) -> Result<Breakpoint, Error> {
        let scope = by.tenant_scope();
        let found = self.find_core(scope, core).await?;
        let mut problems = Vec::new();
        let program = Arc::clone(&found.value.source.program);
        let loaded = tokio::task::spawn_blocking(move || scaigrid_ir::load::module(&program).module).await;
        let module = loaded.map_err(Error::internal)?;
        let module = module.as_deref();
        let block = module.and_then(|module| Engine::block_of(module, &new.flow, &new.block));
        match block {
            None => problems.push(FieldError::new("flow", "must be a flow of the Core's program")),
            Some(false) => problems.push(FieldError::new("block", "must be the id of a block of the flow")),
            Some(true) => {}
        }
        if let Some(condition) = &new.condition {
            let checked = check_condition(condition)
                .and_then(|condition| module.map_or(Ok(()), |module| check_names(module, &new, &condition)));
            problems.extend(checked.err());
        }
        if !problems.is_empty() {
            return Err(Error::Invalid(problems));
        }
        let now = self.now();
        let breakpoint = Breakpoint {
            id: BreakpointId::from_ulid(self.0.ids.draw(now)),
            tenant_id: scope.tenant_id(),
            core_id: core,
            flow: new.flow,
            block: new.block,
            condition: new.condition,
            enabled: new.enabled,
            created_by: by.user_id(),
            created_at: now,
        };
        let changes = diff(&json!({}), &described(&breakpoint), &[]);
        let id = breakpoint.id.to_string();
        let record = self.inside_record(by, request, AuditAction::BreakpointCreate, id, changes);
        let mut transaction = self.0.database.begin().await?;
        if !breakpoints::lock_core(&mut transaction, scope, core).await? {
            return Err(Error::NotFound(Resource::Core));
        }
        if breakpoints::list(&mut transaction, scope, core).await?.len() >= BREAKPOINTS_AT_MOST {
            return Err(Error::Conflict(format!("A Core has at most {BREAKPOINTS_AT_MOST} breakpoints")));
        }
        breakpoints::add(&mut transaction, scope, &breakpoint).await?;
        audit::add(&mut transaction, &record).await?;
        transaction.commit().await?;
        self.core_changed(core);
        Ok(breakpoint)
    }

    /// Takes a breakpoint away. What stands still at it goes on standing still.
    ///
    /// # Errors
    /// There is no such breakpoint.
    #[boxed]
    pub async fn remove_breakpoint(
        &self,
        by: &Authorized<perm::CoresDebug>,
        request: &RequestContext,
        core: CoreId,
        id: BreakpointId,
    ) -> Result<(), Error> {
        let scope = by.tenant_scope();
        self.require_core(scope, core).await?;
        let mut transaction = self.0.database.begin().await?;
        let removed = breakpoints::remove(&mut transaction, scope, core, id).await?;
        let removed = removed.ok_or(Error::NotFound(Resource::Breakpoint))?;
        let changes = diff(&described(&removed), &json!({}), &[]);
        let record = self.inside_record(by, request, AuditAction::BreakpointDelete, id.to_string(), changes);
        audit::add(&mut transaction, &record).await?;
        transaction.commit().await?;
        self.core_changed(core);
        Ok(())
    }

    /// Has a failed execution go on from where it failed.
    ///
    /// # Errors
    /// There is no such execution, or it has not failed.
    #[boxed]
    pub async fn retry_execution(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        id: ExecutionId,
    ) -> Result<Standing, Error> {
        let record = self.execution_record(by, request, AuditAction::ExecutionRetry, id);
        Ok(self.0.engine.retry(by.tenant_scope(), id, by.user_id(), record).await?)
    }

    /// Starts an execution that shares what another one has recorded up to an entry.
    ///
    /// # Errors
    /// There is no such execution or entry, or the Core takes no work.
    #[boxed]
    pub async fn fork_execution(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        id: ExecutionId,
        forked: Forked,
    ) -> Result<Standing, Error> {
        let origin = json!({ "execution_id": id, "at": forked.at });
        let record = |new: ExecutionId| {
            let changes = diff(&json!({}), &origin, &[]);
            self.inside_record(by, request, AuditAction::ExecutionFork, new.to_string(), changes)
        };
        Ok(self.0.engine.fork(by.tenant_scope(), id, forked, record).await?)
    }

    /// How many executions, instances and timers a Core has just now.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn core_counts(&self, by: &Authorized<perm::CoresView>, core: CoreId) -> Result<Counts, Error> {
        let scope = by.tenant_scope();
        let mut connection = self.0.database.read().await?;
        let (executions, more) = executions::count_by_status(&mut connection, scope, core).await?;
        Ok(Counts {
            executions,
            more,
            instances: instances::count(&mut connection, scope, core).await?,
            timers: timers::count(&mut connection, scope, core).await?,
        })
    }

    /// Finds that there is such an execution.
    ///
    /// # Errors
    /// There is none.
    #[boxed]
    pub async fn require_known_execution(&self, by: &Principal, id: ExecutionId) -> Result<(), Error> {
        let mut connection = self.0.database.read().await?;
        let found = executions::glance(&mut connection, by.tenant_scope(), id).await?;
        found.map(drop).ok_or(Error::NotFound(Resource::Execution))
    }

    /// Finds that an execution is one of a Core.
    async fn require_execution(&self, by: &Principal, core: CoreId, id: ExecutionId) -> Result<(), Error> {
        let mut connection = self.0.database.read().await?;
        let found = executions::glance(&mut connection, by.tenant_scope(), id).await?;
        match found {
            Some(execution) if execution.core_id == core => Ok(()),
            _ => Err(Error::NotFound(Resource::Execution)),
        }
    }

    fn inside_record(
        &self,
        by: &Principal,
        request: &RequestContext,
        action: AuditAction,
        id: String,
        changes: Changes,
    ) -> AuditRecord {
        let stamp = self.audit_stamp(self.now());
        AuditRecord::in_tenant(stamp, by, request, action, id, changes).of_module("scaicore")
    }
}

fn foreign_cursor() -> Error {
    Error::invalid("cursor", "is not a cursor of this list")
}

/// How far the stored events were read, and how far what is told of executions.
fn read_cursor(page: &PageRequest) -> Result<(Option<EventId>, Option<RuntimePlace>), Error> {
    let Some(cursor) = &page.cursor else { return Ok((None, None)) };
    let part = |index: usize| cursor.text(index).ok_or_else(foreign_cursor);
    let stored = match part(0)? {
        "" => None,
        text => Some(text.parse().map_err(|_| foreign_cursor())?),
    };
    let told = match part(1)? {
        "" => None,
        text => Some(text.parse().map_err(|()| foreign_cursor())?),
    };
    Ok((stored, told))
}

fn parse(field: &'static str, text: &str) -> Result<Expr, Error> {
    expr::parse(text).map_err(|error| Error::invalid(field, error.to_string()))
}

/// Whether a text is an expression that can be computed where an execution stands, without anything from outside.
fn check_condition(text: &str) -> Result<Expr, FieldError> {
    let problem = |message: String| FieldError::new("condition", message);
    if text.chars().count() > CONDITION_AT_MOST {
        return Err(problem(format!("must be at most {CONDITION_AT_MOST} characters long")));
    }
    let condition = expr::parse(text).map_err(|error| problem(error.to_string()))?;
    if expr::is_nondeterministic(&condition) {
        return Err(problem("must not ask for the time, or for chance".to_owned()));
    }
    if !expr::memory_names(&condition).is_empty() {
        return Err(problem("must not read memory".to_owned()));
    }
    Ok(condition)
}

/// Whether a condition can hold before the block, by the rules of the language for the program's own conditions there.
fn check_names(module: &Module, new: &NewBreakpoint, condition: &Expr) -> Result<(), FieldError> {
    match verify::condition(module, &new.flow, &new.block, condition).first() {
        Some(finding) => Err(FieldError::new("condition", format!("{}: {}", finding.code, finding.message))),
        None => Ok(()),
    }
}

fn described(breakpoint: &Breakpoint) -> serde_json::Value {
    json!({
        "core_id": breakpoint.core_id,
        "flow": breakpoint.flow,
        "block": breakpoint.block,
        "condition": breakpoint.condition,
        "enabled": breakpoint.enabled,
    })
}
