//! Standing still at breakpoints, and going on step by step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_recursion::async_recursion as boxed;
use scaigrid_audit::AuditRecord;
use scaigrid_cores::debugging::{Debugging, Pause, PauseReason, StepMode};
use scaigrid_cores::execution::{ExecutionStatus, Standing};
use scaigrid_cores::logs::Level;
use scaigrid_ir::Module;
use scaigrid_ir::block::Body;
use scaigrid_persistence::commit::{Change, Progress, Snapshot, Unit, Verdict};
use scaigrid_runtime::Step;
use scaigrid_runtime::machine::Stand;
use scaigrid_scope::{ExecutionId, TenantScope};
use serde_json::json;

use super::{Said, Stop};
use crate::drive::Committed;
use crate::plugins::Masked;
use crate::resume::ATTEMPTS;
use crate::run::Run;
use crate::{Engine, Error};

/// The pause before another look at an execution that is about to stand still.
const PAUSE: Duration = Duration::from_millis(50);

/// Where an execution stops, as far as was known a moment ago.
pub(crate) struct Debugger {
    stops: Arc<[Stop]>,
    masked: Arc<Masked>,
}

impl Debugger {
    /// As [`scaigrid_runtime::Machine::advance`]; none where the execution is to stand still.
    pub(crate) fn advance(
        &self,
        run: &mut Run,
        fuel: &mut u32,
        now: scaigrid_scope::Instant,
    ) -> Option<Step> {
        if run.execution.debugging.is_none() && self.stops.is_empty() {
            return Some(run.machine.advance(&run.program, fuel));
        }
        if run.machine.cancel_reason().is_some() {
            // What is being cancelled comes to its end.
            run.execution.debugging = None;
            return Some(run.machine.advance(&run.program, fuel));
        }
        let stepping = match run.execution.debugging.clone() {
            Some(Debugging::Paused(_)) => return None,
            Some(Debugging::Stepping { mode, from }) => Some((mode, from)),
            None => None,
        };
        let mut hit: Option<Pause> = None;
        let step = run.machine.advance_until(&run.program, fuel, &mut |stand| {
            let reason = self.reason(stepping.as_ref(), stand);
            hit = reason.map(|reason| Pause {
                reason,
                flow: Arc::clone(stand.flow),
                block: Arc::clone(stand.block),
                strand: stand.strand,
                depth: u32::try_from(stand.depth).unwrap_or(u32::MAX),
                steps: stand.steps,
                at: now,
            });
            hit.is_some()
        });
        if step.is_none()
            && let Some(pause) = hit
        {
            run.say(&self.masked, now, stands(&pause));
            run.execution.debugging = Some(Debugging::Paused(pause));
            return None;
        }
        if let Some((StepMode::Continue, from)) = &stepping
            && run.machine.steps() > from.steps
        {
            run.execution.debugging = None;
        }
        step
    }

    /// Why to stop there, where that is so.
    fn reason(&self, stepping: Option<&(StepMode, Pause)>, stand: &Stand<'_>) -> Option<PauseReason> {
        if let Some((mode, from)) = stepping {
            // There it was told to go on.
            if stand.steps <= from.steps {
                return None;
            }
            if arrived(*mode, from, stand) {
                return Some(PauseReason::Step);
            }
        }
        let stop = self.stops.iter().find(|stop| {
            *stop.flow == **stand.flow
                && *stop.block == **stand.block
                && stop.condition.as_ref().is_none_or(|condition| stand.holds(condition))
        });
        stop.map(|stop| PauseReason::Breakpoint(stop.id))
    }
}

/// Whether an execution has gone as far as it was told to.
fn arrived(mode: StepMode, from: &Pause, stand: &Stand<'_>) -> bool {
    let depth = usize::try_from(from.depth).unwrap_or(usize::MAX);
    match mode {
        StepMode::Into => true,
        StepMode::Continue => false,
        // Its branch or iteration is over.
        StepMode::Over | StepMode::Out if !stand.has_strand(from.strand) => true,
        StepMode::Over => stand.strand == from.strand && stand.depth <= depth,
        StepMode::Out => stand.strand == from.strand && stand.depth < depth,
    }
}

fn stands(pause: &Pause) -> Said {
    let (why, breakpoint) = match pause.reason {
        PauseReason::Breakpoint(id) => ("a breakpoint", Some(id.to_string())),
        PauseReason::Step => ("a step", None),
    };
    Said {
        level: Level::Info,
        block: Some(Arc::clone(&pause.block)),
        message: format!("stands still before block {}, after {why}", pause.block),
        fields: json!({ "breakpoint_id": breakpoint }),
    }
}

impl Engine {
    /// Where an execution stops.
    pub(crate) async fn debugger(&self, run: &Run) -> Result<Debugger, Error> {
        match self.hosted(run.scope, run.execution.core_id).await {
            Ok(hosted) => Ok(Debugger {
                stops: Arc::clone(&hosted.inside.stops),
                masked: Arc::clone(&hosted.inside.masked),
            }),
            // What belongs to a Core that is gone is found to be gone when it is written.
            Err(Error::NoCore) => Ok(Debugger { stops: Arc::default(), masked: Arc::default() }),
            Err(error) => Err(error),
        }
    }

    /// The secrets that are to be seen nowhere.
    pub(crate) async fn masked(&self, run: &Run) -> Result<Arc<Masked>, Error> {
        Ok(self.debugger(run).await?.masked)
    }

    /// Makes durable that an execution stands still. Calls under way come to their end first.
    pub(crate) async fn stand_still(&self, run: &mut Run) -> Result<Committed, Error> {
        while run.calls.in_hand() {
            if let Some(committed) = self.attend(run).await? {
                return Ok(committed);
            }
            if run.machine.cancel_reason().is_some() {
                run.execution.debugging = None;
                return Box::pin(self.drive_on(run)).await;
            }
        }
        let held = run.calls.is_held_back();
        self.commit(run, if held { ExecutionStatus::Queued } else { ExecutionStatus::Suspended }).await
    }

    /// Whether a program has a block in a flow; none where it has not even the flow.
    pub fn block_of(program: &Module, flow: &str, block: &str) -> Option<bool> {
        fn holds(body: &Body, block: &str) -> bool {
            body.iter().any(|one| {
                *one.id == *block || one.kind.bodies().into_iter().any(|inner| holds(inner, block))
            })
        }
        program.flow(flow).map(|flow| holds(&flow.body, block))
    }

    /// Lets an execution go on that stands still, and waits for a while for where it comes to.
    ///
    /// # Errors
    /// There is no such execution, it does not stand still, or the database.
    #[boxed]
    pub async fn step(
        &self,
        scope: TenantScope,
        id: ExecutionId,
        mode: StepMode,
        audit: AuditRecord,
        wait: Duration,
    ) -> Result<Standing, Error> {
        let until = Instant::now() + wait;
        for _ in 0..ATTEMPTS {
            let stored = self.load(scope, id).await?.ok_or(Error::NoExecution)?;
            let mut execution = stored.execution;
            if execution.status.is_final() {
                return Err(Error::Ended(execution.status));
            }
            let Some(Debugging::Paused(pause)) = execution.debugging.take() else {
                return Err(Error::NotPaused);
            };
            if execution.status != ExecutionStatus::Suspended {
                // Something has come for it, and is being written down.
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let change = Change::Proceed {
                id,
                expected_epoch: stored.epoch,
                expected_seq: stored.next_seq,
                status: ExecutionStatus::Queued,
                output: None,
                error: None,
                finished_at: None,
                progress: Progress {
                    snapshot: Snapshot::Keep,
                    next_seq: stored.next_seq,
                    owner: None,
                    epoch: stored.epoch + 1,
                },
            };
            let debugging = Debugging::Stepping { mode, from: pause };
            let mut unit = Unit::new(scope.tenant_id(), self.0.clock.now(), change);
            unit.core_id = Some(execution.core_id);
            unit.debugging = Some(debugging.clone());
            unit.audit.push(audit.clone());
            match self.commit_and_tell(unit, None).await? {
                Verdict::Done | Verdict::Awaited => {
                    self.work_waits();
                    execution.status = ExecutionStatus::Queued;
                    execution.debugging = Some(debugging);
                    return self.settle(scope, execution, until).await;
                }
                // Somebody else was faster with something.
                _ => {}
            }
        }
        Err(Error::Contended)
    }
}
