//! Which units may be written: each expectation against what was read, and against what the units before change.

use std::collections::{HashMap, HashSet};

use scaigrid_checkpoints::Checkpoint;
use scaigrid_scope::{CheckpointId, CoreId, DelegationId, ExecutionId, Instant, TenantId};

use super::{Believed, Change, MemoryWrite, Unit, Verdict};
use crate::json::text_storable;
use crate::timers::Owner;
use scaigrid_cores::Status as CoreStatus;
use scaigrid_cores::execution::{Execution, ExecutionStatus};

/// The place of a memory entry.
pub(super) type MemoryKey = (CoreId, String, String, String);

/// The version that an entry is expected to have where there is none.
pub(super) const NO_VERSION: i64 = 0;

/// What the database holds of all that the units expect or touch.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Where executions stand.
    pub(super) executions: HashMap<ExecutionId, Standing>,
    /// Checkpoints that are pending, by how often they were changed.
    pub(super) pending: HashMap<CheckpointId, i64>,
    /// Versions of memory entries; those that are not there are left out.
    pub(super) memory: HashMap<MemoryKey, i64>,
    /// Entries of memory that this transaction keeps a place for, and whose they are.
    pub(super) places: Vec<(MemoryKey, String)>,
    /// The Cores that are there.
    pub(super) cores: HashMap<CoreId, CoreStatus>,
    /// Under which delegations Cores act; those that act under none are left out.
    pub(super) delegations: HashMap<CoreId, DelegationId>,
    /// Executions with something in their inbox, by effect.
    pub(super) inbox: HashMap<ExecutionId, HashSet<u32>>,
    /// When the timers are due that units carry out.
    pub(super) timers: HashMap<(TenantId, Owner), Instant>,
}

/// Where an execution stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    pub(super) epoch: i64,
    pub(super) next_seq: i64,
    pub(super) status: ExecutionStatus,
}

/// The place that a write goes to, as both databases can keep it.
pub(super) fn memory_key(write: &MemoryWrite) -> MemoryKey {
    let storable = |text: &String| text_storable(text.clone());
    (write.core_id, storable(&write.partition), write.name.clone(), storable(&write.key))
}

/// What must be read before [`judge`] can say anything, in the order in which it is locked.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) executions: Vec<ExecutionId>,
    pub(super) checkpoints: Vec<CheckpointId>,
    pub(super) memory: Vec<MemoryKey>,
    pub(super) cores: Vec<CoreId>,
    /// Cores whose delegations count.
    pub(super) lent: Vec<(TenantId, CoreId)>,
    pub(super) inboxes: Vec<ExecutionId>,
    pub(super) timers: Vec<(TenantId, Owner)>,
}

impl Wanted {
    pub(super) fn of(units: &[Unit]) -> Self {
        let mut wanted = Self::default();
        for unit in units {
            match &unit.change {
                Change::Begin { execution, .. } => {
                    wanted.cores.push(execution.core_id);
                    if unit.believed == Believed::LentSo {
                        wanted.lent.push((unit.tenant_id, execution.core_id));
                    }
                }
                Change::Accept { core_id } => wanted.cores.push(*core_id),
                Change::Keep { .. } => {}
                Change::Proceed { id, status, .. } => {
                    wanted.executions.push(*id);
                    if matches!(status, ExecutionStatus::Suspended | ExecutionStatus::Running) {
                        wanted.inboxes.push(*id);
                    }
                }
            }
            if let Believed::Runs(core) = unit.believed {
                wanted.cores.push(core);
            }
            // Whoever deletes a Core waits, and then finds what begins here; or this finds that it is gone.
            wanted.cores.extend(unit.started.iter().map(|execution| execution.core_id));
            wanted.executions.extend(unit.delivered.iter().map(|delivery| delivery.to));
            wanted.timers.extend(unit.fired.as_ref().map(|timer| (unit.tenant_id, timer.owner.clone())));
            wanted.checkpoints.extend(unit.decided.as_ref().map(|checkpoint| checkpoint.id));
            wanted
                .memory
                .extend(unit.memory.iter().filter(|write| write.expected_version.is_some()).map(memory_key));
        }
        tidy(&mut wanted.executions);
        tidy(&mut wanted.checkpoints);
        tidy(&mut wanted.memory);
        tidy(&mut wanted.cores);
        tidy(&mut wanted.lent);
        tidy(&mut wanted.inboxes);
        tidy(&mut wanted.timers);
        wanted
    }
}

/// Brings a list into the order in which everybody locks.
fn tidy<T: Ord>(list: &mut Vec<T>) {
    list.sort_unstable();
    list.dedup();
}

/// Judges the units in order and updates the facts with what each that passes will change. Sets the standing of those
/// that would wait for what has already come.
pub(super) fn judge(units: &mut [Unit], facts: &mut Facts) -> Vec<Verdict> {
    units.iter_mut().map(|unit| judge_one(unit, facts)).collect()
}

fn judge_one(unit: &mut Unit, facts: &mut Facts) -> Verdict {
    let accepts = |core: &CoreId| facts.cores.get(core).is_some_and(|status| status.can_accept_work());
    let runs = |core: &CoreId| facts.cores.get(core).is_some_and(|status| status.can_run());
    if matches!(&unit.believed, Believed::Runs(core) if !runs(core)) {
        return Verdict::CoreNotRunning;
    }
    match &unit.change {
        Change::Begin { execution, .. } => {
            if !accepts(&execution.core_id) {
                return Verdict::CoreNotRunning;
            }
            let lent = facts.delegations.get(&execution.core_id);
            if unit.believed == Believed::LentSo && lent != execution.delegation.as_ref() {
                return Verdict::LentAnew;
            }
        }
        Change::Accept { core_id } => {
            if !accepts(core_id) {
                return Verdict::CoreNotRunning;
            }
        }
        Change::Keep { id } => {
            // What only tells an execution something comes too late where it has ended.
            let lives = facts.executions.get(id).is_some_and(|standing| !standing.status.is_final());
            let tells = unit.decided.is_none() && unit.delivered.iter().any(|delivery| delivery.to == *id);
            if tells && !lives {
                return Verdict::Fenced;
            }
        }
        Change::Proceed { id, expected_epoch, expected_seq, .. } => {
            // What was believed to wait, and is queued, has something in its inbox that comes first.
            let must_wait = matches!(unit.believed, Believed::Runs(_));
            let stands = facts.executions.get(id).is_some_and(|standing| {
                standing.epoch == *expected_epoch
                    && standing.next_seq == *expected_seq
                    && !standing.status.is_final()
                    && (!must_wait || standing.status == ExecutionStatus::Suspended)
            });
            if !stands {
                return Verdict::Fenced;
            }
        }
    }
    let as_read = |checkpoint: &Checkpoint| facts.pending.get(&checkpoint.id) == Some(&checkpoint.revision);
    if unit.decided.as_ref().is_some_and(|checkpoint| !as_read(checkpoint)) {
        return Verdict::CheckpointDecided;
    }
    if let Some(timer) = &unit.fired {
        let place = (unit.tenant_id, timer.owner.clone());
        if facts.timers.get(&place) != Some(&timer.due_at) {
            return Verdict::TimerGone;
        }
    }
    let changed = unit.memory.iter().any(|write| {
        write.expected_version.is_some_and(|version| {
            facts.memory.get(&memory_key(write)).copied().unwrap_or(NO_VERSION) != version
        })
    });
    if changed {
        return Verdict::MemoryChanged;
    }
    let gone = |child: &Execution| !facts.cores.contains_key(&child.core_id);
    if unit.started.iter().any(|child| child.parent.is_some() && gone(child)) {
        return Verdict::CoreGone;
    }
    // Nobody waits for what an event was to begin.
    unit.started.retain(|child| !gone(child));
    record(unit, facts)
}

/// The version of a memory entry after a write. It never comes back, also when the entry is removed and made again in
/// between: what was computed from the old one must not pass for computed from the new one.
pub(super) fn next_version(version: i64, at: Instant) -> i64 {
    version.saturating_add(1).max(at.micros())
}

fn record(unit: &mut Unit, facts: &mut Facts) -> Verdict {
    let mut verdict = Verdict::Done;
    if let Some(checkpoint) = &unit.decided {
        facts.pending.remove(&checkpoint.id);
    }
    for id in &unit.abandoned {
        facts.pending.remove(id);
    }
    if let Some(timer) = &unit.fired {
        facts.timers.remove(&(unit.tenant_id, timer.owner.clone()));
    }
    for timer in &unit.timers {
        let place = (unit.tenant_id, timer.owner.clone());
        facts.timers.entry(place).and_modify(|due_at| *due_at = timer.due_at);
    }
    for owner in &unit.cleared {
        facts.timers.remove(&(unit.tenant_id, owner.clone()));
    }
    for write in &unit.memory {
        let key = memory_key(write);
        match write.value {
            Some(_) => {
                let version = facts.memory.entry(key).or_insert(0);
                *version = next_version(*version, unit.at);
            }
            None => drop(facts.memory.remove(&key)),
        }
    }
    let (id, new_status) = match &mut unit.change {
        Change::Begin { execution, progress } => {
            let standing =
                Standing { epoch: progress.epoch, next_seq: progress.next_seq, status: execution.status };
            facts.executions.insert(execution.id, standing);
            deliver(unit, facts);
            return verdict;
        }
        Change::Accept { .. } | Change::Keep { .. } => {
            deliver(unit, facts);
            return verdict;
        }
        Change::Proceed { id, status, progress, .. } => {
            let waiting = facts
                .inbox
                .get(id)
                .is_some_and(|effects| effects.iter().any(|effect| !unit.taken.contains(effect)));
            if waiting && !status.is_final() {
                verdict = Verdict::Awaited;
                if *status == ExecutionStatus::Suspended {
                    *status = ExecutionStatus::Queued;
                }
            }
            let standing = Standing { epoch: progress.epoch, next_seq: progress.next_seq, status: *status };
            facts.executions.insert(*id, standing);
            (*id, *status)
        }
    };
    if let Some(effects) = facts.inbox.get_mut(&id) {
        effects.retain(|effect| !unit.taken.contains(effect));
    }
    if new_status.is_final() {
        facts.inbox.remove(&id);
    }
    deliver(unit, facts);
    verdict
}

/// Wakes whoever waits. What nobody will ever read is left out.
fn deliver(unit: &mut Unit, facts: &mut Facts) {
    unit.delivered.retain(|delivery| match facts.executions.get_mut(&delivery.to) {
        None => false,
        Some(standing) if standing.status.is_final() => false,
        Some(standing) => {
            if standing.status == ExecutionStatus::Suspended {
                standing.status = ExecutionStatus::Queued;
            }
            facts.inbox.entry(delivery.to).or_default().insert(delivery.effect);
            true
        }
    });
}
