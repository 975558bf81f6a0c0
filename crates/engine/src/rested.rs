//! Executions that have begun to wait at a checkpoint a moment ago, as they stood when that was made durable: whoever decides soon need
//! not read them again, which a program that asks another one does.
//!
//! What is kept may have been overtaken by what others did since, on this node or another one. So it may lead to a commit, which is
//! refused where the execution or the checkpoint is not as it was; whatever else it leads to is found out anew from what is stored.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use scaigrid_cores::execution::{Execution, ExecutionStatus};
use scaigrid_persistence::checkpoints::StoredCheckpoint;
use scaigrid_runtime::{Machine, Program};
use scaigrid_scope::{CheckpointId, TenantId, TenantScope};

use crate::run::Run;

/// How long an execution is kept.
const KEPT: Duration = Duration::from_secs(10);
/// How much all of them take, as far as is known, in bytes.
const ROOM: u64 = 8 << 20;
/// The largest state that is kept, in bytes as it is stored.
const LARGEST: usize = 64 << 10;
/// How many times as much a state takes in memory as it does where it is stored, and what an execution takes beside it in bytes.
const WEIGHT: (usize, usize) = (6, 2 << 10);

/// The executions that are kept, each under the one checkpoint that it waits at.
pub(crate) struct Rested(Cache<(TenantId, CheckpointId), Kept>);

/// One of them. Whoever takes it has it alone.
type Kept = (u32, Arc<Mutex<Option<Box<Waiting>>>>);

/// An execution that waits at a checkpoint.
pub(crate) struct Waiting {
    /// The checkpoint as it was opened.
    pub(crate) at: StoredCheckpoint,
    execution: Execution,
    program: Arc<Program>,
    machine: Machine,
    standing: (i64, i64),
}

impl Rested {
    pub(crate) fn new() -> Self {
        let kept = Cache::builder()
            .max_capacity(ROOM)
            .weigher(|_, (weight, _): &Kept| *weight)
            // One that comes is worth more than one that has waited: the other way round a full cache takes none.
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(KEPT);
        Self(kept.build())
    }

    /// Keeps an execution that waits at one checkpoint, and for nothing else. Others are not kept, nor is one that runs in turn:
    /// what decides its checkpoint does not go on with it.
    pub(crate) fn keep(&self, run: Run) {
        let (Some(bytes), Some((checkpoint, _))) = (run.stored_whole, &run.opened_last) else { return };
        let execution = &run.execution;
        let rests = execution.status == ExecutionStatus::Suspended
            && execution.debugging.is_none()
            && execution.slots.is_none()
            && run.is_durable()
            && run.waits_at() == Some(&[checkpoint.id]);
        if !rests || bytes > LARGEST {
            return;
        }
        let weight = u32::try_from(WEIGHT.0 * bytes + WEIGHT.1).unwrap_or(u32::MAX);
        let standing = (run.epoch, run.next_seq);
        let Run { scope, program, machine, execution, opened_last, .. } = run;
        let Some((checkpoint, effect)) = opened_last else { return };
        let key = (scope.tenant_id(), checkpoint.id);
        let at = StoredCheckpoint { checkpoint, effect, between: Vec::new() };
        let waiting = Waiting { at, execution, program, machine, standing };
        self.0.insert(key, (weight, Arc::new(Mutex::new(Some(Box::new(waiting))))));
    }

    /// Takes the execution that waits at a checkpoint, if it is kept: whoever comes second finds it no more.
    pub(crate) fn take(&self, scope: TenantScope, id: CheckpointId) -> Option<Box<Waiting>> {
        let (_, kept) = self.0.remove(&(scope.tenant_id(), id))?;
        kept.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Lets go of those whose time is up, if nobody has come since.
    pub(crate) fn tidy(&self) {
        self.0.run_pending_tasks();
    }
}

impl Waiting {
    pub(crate) fn execution(&self) -> &Execution {
        &self.execution
    }

    /// The execution in motion again, in its next epoch.
    pub(crate) fn wake(self, scope: TenantScope) -> Run {
        let Self { execution, program, machine, standing, .. } = self;
        let run = Run::durable(scope, program, machine, execution, standing);
        Run { epoch: run.epoch + 1, ..run }
    }
}
