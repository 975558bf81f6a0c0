//! Takes one execution from step to step until it waits or has ended, and makes what it does durable.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scaigrid_cores::execution::{Execution, ExecutionStatus};
use scaigrid_persistence::commit::{Change, Delivery, JournalChunk, Mark, Progress, Snapshot, Unit, Verdict};
use scaigrid_persistence::large::LARGE;
use scaigrid_runtime::journal::{self, Entry};
use scaigrid_runtime::{End, Failure, Outcome, Step};
use scaigrid_scope::{CheckpointId, ExecutionId};

use crate::calls::tell_caller;
use crate::inside::ended;
use crate::instances::{idle, idle_timeout};
use crate::resume::{CANCEL, cancel};
use crate::run::{Held, Run};
use crate::traces::{Tally, end_stretch, note_again};
use crate::{Engine, Error};

/// Steps that a machine takes before other executions get their turn on the thread.
const FUEL: u32 = 10_000;
/// Entries after which what was done is made durable, though nothing shows outside yet.
const ENTRIES_AT_MOST: usize = 2_000;

/// Entries after which an execution that makes one call after the other stores its state whole again.
const UNSNAPPED_AT_MOST: usize = 200;

/// States that are kept along the part of a journal that is kept.
const MARKS: i64 = 8;

/// How long an execution may go on before what it did is made durable, and it is looked whether somebody wants to cancel it.
const UNSEEN_AT_MOST: Duration = Duration::from_millis(200);

/// How a commit of a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Committed {
    /// It is durable.
    Yes,
    /// It is durable, and goes on: something it waits for has come.
    AndAwaited,
    /// It is durable and has not come to a rest, and its caller waits no longer.
    Unfinished,
    /// Nothing was written, and it is worth doing it again from what is durable.
    Again,
    /// Somebody else decided the checkpoint, or has taken the execution on.
    Overtaken,
    /// The Core takes no work any more.
    Refused,
}

impl Engine {
    /// Runs an execution until it waits or has ended, and makes that durable.
    pub(crate) async fn drive(&self, run: &mut Run) -> Result<Committed, Error> {
        self.begin_stretch(run);
        let driven = self.drive_to_rest(run).await;
        end_stretch(run, &driven);
        match driven {
            // Dropped, it would be done again by somebody who knows nothing of what its calls gave.
            Err(error) if error.is_of_the_store() && run.is_durable() && !run.supervised => {
                tracing::warn!(%error, execution = %run.execution.id, "an execution cannot go on");
                Box::pin(self.give_up(run.scope, run.execution.id, &error)).await;
                self.0.bus.publish(scaigrid_bus::Signal::ExecutionMoved(run.execution.id));
                Ok(Committed::Overtaken)
            }
            driven => driven,
        }
    }

    async fn drive_to_rest(&self, run: &mut Run) -> Result<Committed, Error> {
        loop {
            let driven = self.drive_on(run).await;
            let undone = match &driven {
                Ok(committed) => *committed == Committed::Again,
                Err(error) => error.is_passing(),
            };
            // What was not written down is done again from what is durable; but calls are not.
            if !undone || !run.is_durable() || !run.calls.may_be_kept() {
                return driven;
            }
            note_again("conflict");
            if !Box::pin(self.redo(run)).await? {
                return Ok(Committed::Overtaken);
            }
        }
    }

    pub(crate) async fn drive_on(&self, run: &mut Run) -> Result<Committed, Error> {
        let mut durable_at = Instant::now();
        let mut debugger = self.debugger(run).await?;
        loop {
            let mut fuel = FUEL;
            let Some(step) = debugger.advance(run, &mut fuel, self.0.clock.now()) else {
                return self.stand_still(run).await;
            };
            self.abandon(run).await?;
            self.say_what_failed(run).await?;
            let spent = step == Step::OutOfFuel;
            match step {
                Step::Effects(effects) => {
                    for effect in effects {
                        self.perform(run, effect).await?;
                    }
                    if std::mem::take(&mut run.done.asks_nobody) {
                        cancel(run, Arc::from("its checkpoint asks nobody"));
                    }
                }
                Step::OutOfFuel => tokio::task::yield_now().await,
                Step::Suspended if run.calls.any() => {
                    if let Some(committed) = self.attend(run).await? {
                        return Ok(committed);
                    }
                    debugger = self.debugger(run).await?;
                    durable_at = Instant::now();
                    continue;
                }
                Step::Suspended => return self.commit(run, ExecutionStatus::Suspended).await,
                Step::Completed(value) => {
                    run.execution.output = Some(value.clone());
                    return self.end(run, End::Completed(value), ExecutionStatus::Completed).await;
                }
                Step::Failed(failure) => {
                    run.execution.error = Some(describe(&failure));
                    return self.end(run, End::Failed(failure), ExecutionStatus::Failed).await;
                }
                Step::Cancelled => {
                    return self.end(run, End::Cancelled, ExecutionStatus::Cancelled).await;
                }
            }
            let waited_for = run.patience.is_none_or(|until| Instant::now() < until);
            let is_due = run.done.entries.len() >= ENTRIES_AT_MOST
                || durable_at.elapsed() >= UNSEEN_AT_MOST
                || run.done.is_awaited
                || (!waited_for && spent);
            if is_due && !run.done.memory.must_not_be_parted() {
                let status = self.may_go_on(run).await?;
                match self.commit(run, status).await? {
                    Committed::Yes if status == ExecutionStatus::Running => {}
                    Committed::AndAwaited if status == ExecutionStatus::Running => {
                        self.take_inbox(run).await?;
                    }
                    other => return Ok(other),
                }
                if !waited_for {
                    return Ok(Committed::Unfinished);
                }
                tell_caller(run);
                debugger = self.debugger(run).await?;
                durable_at = Instant::now();
            }
        }
    }

    /// What an execution is to be between two of its steps: running, or put back where its Core is held, or where the node is
    /// on its way out and others can take it at once.
    async fn may_go_on(&self, run: &Run) -> Result<ExecutionStatus, Error> {
        if self.is_stopping() && !run.calls.in_hand() {
            return Ok(ExecutionStatus::Queued);
        }
        let hosted = self.hosted(run.scope, run.execution.core_id).await?;
        // A call that is under way is not torn; none begins while the Core is held.
        let runs =
            hosted.core.status.can_run() || run.machine.cancel_reason().is_some() || run.calls.in_hand();
        Ok(if runs { ExecutionStatus::Running } else { ExecutionStatus::Queued })
    }

    async fn end(&self, run: &mut Run, end: End, status: ExecutionStatus) -> Result<Committed, Error> {
        let failure = match &end {
            End::Failed(failure) => Some(failure.clone()),
            End::Completed(_) | End::Cancelled => None,
        };
        run.done.entries.push(Entry::Ended(end));
        let now = self.0.clock.now();
        run.execution.finished_at = Some(now);
        run.execution.status = status;
        run.execution.debugging = None;
        let how = ended(&run.execution);
        run.say(&*self.masked(run).await?, now, how);
        let committed = self.commit(run, status).await?;
        if matches!(committed, Committed::Yes | Committed::AndAwaited) {
            self.note_end(&run.execution);
            if let Some(failure) = failure {
                Box::pin(self.hold_lapsed(run, &failure)).await;
            }
        }
        Ok(committed)
    }

    /// Has a run that the database is about to call this node's be found again where it is dropped.
    fn hold(&self, run: &mut Run, status: ExecutionStatus) {
        if status == ExecutionStatus::Running && !run.supervised && run.held.is_none() {
            run.held = Some(Held::of(run, self.0.dropped.clone()));
        }
    }

    /// Makes what was done durable, as one unit.
    pub(crate) async fn commit(&self, run: &mut Run, status: ExecutionStatus) -> Result<Committed, Error> {
        let done = std::mem::take(&mut run.done);
        let (now, term) = (self.0.clock.now(), self.0.lease.term());
        run.execution.status = status;
        let started = !done.started.is_empty();
        let tally = Tally::of(run, &done);
        let opened: Vec<CheckpointId> = done.opened.iter().map(|(checkpoint, _)| checkpoint.id).collect();
        let opened_last = done.opened_alone();
        // The watch looks every second by itself.
        let soon = now.plus(crate::timers::LOOK_EVERY);
        let mut expiries = done.opened.iter().filter_map(|(checkpoint, _)| checkpoint.expiry.as_ref());
        let timed =
            expiries.any(|expiry| expiry.at <= soon) || done.timers.iter().any(|timer| timer.due_at <= soon);
        let next_seq = run.next_seq + i64::try_from(done.entries.len()).unwrap_or(i64::MAX);
        run.unsnapped += done.entries.len();
        let snapshot = snapshot(run, status);
        let snapped = !matches!(snapshot, Snapshot::Keep);
        let stored_whole = snapshot.stored().map(<[u8]>::len);
        let mark = self.mark(run, &snapshot, next_seq);
        let progress = Progress {
            snapshot,
            next_seq,
            owner: (status == ExecutionStatus::Running).then_some(self.0.node),
            epoch: run.epoch,
        };
        let mut timers = done.timers;
        let turn_ends = run.execution.slots.is_some() && status != ExecutionStatus::Running;
        timers.extend(turn_ends.then(|| idle(&run.execution, idle_timeout(&run.program), now)));
        let mut delivered = cancellations(&done.orphaned);
        delivered.extend(done.delivered);
        delivered.extend(status.is_final().then(|| answer(run)).flatten());
        let woken = !delivered.is_empty();
        let unit = Unit {
            tenant_id: run.execution.tenant_id,
            at: now,
            change: change(run, progress),
            journal: chunks(run.next_seq, &done.entries),
            objects: HashMap::new(),
            mark,
            opened: done.opened,
            decided: done.decided,
            believed: done.believed,
            abandoned: done.abandoned,
            memory: done.memory.into_writes(),
            events: done.events,
            started: done.started,
            taken: done.taken,
            delivered,
            timers,
            cleared: done.cleared,
            fired: None,
            waits: done.waits,
            unwaited: done.unwaited,
            audit: done.audit,
            told: Vec::new(),
            core_id: Some(run.execution.core_id),
            debugging: run.execution.debugging.clone(),
            logs: done.logs,
            lane: 0,
        };
        self.hold(run, status);
        let verdict = self.commit_and_tell(unit, Some(&run.execution)).await?;
        if matches!(verdict, Verdict::Done | Verdict::Awaited) {
            run.next_seq = next_seq;
            tally.count(status == ExecutionStatus::Suspended && verdict == Verdict::Done);
            run.stored_epoch = Some(run.epoch);
            run.calls.are_durable(term);
            run.stored_whole = stored_whole;
            if snapped {
                run.unsnapped = 0;
                run.mark_due = false;
            }
            run.opened.extend(opened);
            run.opened_last = opened_last;
            self.leave(done.left);
            if status != ExecutionStatus::Running
                && let Some(held) = run.held.take()
            {
                held.let_go();
            }
            if started
                || woken
                || turn_ends
                || verdict == Verdict::Awaited
                || status == ExecutionStatus::Queued
            {
                self.work_waits();
            }
            if timed {
                self.0.timers.notify_one();
            }
        } else if !run.is_durable()
            && let Some(held) = run.held.take()
        {
            // Refused before it ever became durable: there is nothing that anybody would have to go on with.
            held.let_go();
        }
        Ok(self.committed(verdict))
    }

    /// What a verdict means for a run.
    fn committed(&self, verdict: Verdict) -> Committed {
        match verdict {
            Verdict::Done => Committed::Yes,
            Verdict::Awaited => Committed::AndAwaited,
            Verdict::MemoryChanged => Committed::Again,
            Verdict::CoreGone | Verdict::LentAnew => {
                // The program is told so when it calls again; an execution begins as things stand now.
                self.0.hosted.forget_all();
                Committed::Again
            }
            Verdict::Fenced | Verdict::CheckpointDecided | Verdict::TimerGone => Committed::Overtaken,
            Verdict::CoreNotRunning => Committed::Refused,
        }
    }

    /// The machine to be kept beside the journal, where it is stored whole and the last one that was kept lies far back.
    fn mark(&self, run: &mut Run, snapshot: &Snapshot, next_seq: i64) -> Option<Mark> {
        run.mark_due |= self.step_of(run.next_seq) != self.step_of(next_seq);
        match snapshot {
            Snapshot::Store(machine) if run.mark_due => {
                let keep_from = next_seq.saturating_sub(self.0.journal_entries).max(0);
                Some(Mark { seq: next_seq, machine: machine.clone(), keep_from })
            }
            _ => None,
        }
    }

    /// In which step of its journal an entry lies. A state is kept for good in each.
    fn step_of(&self, seq: i64) -> i64 {
        seq / (self.0.journal_entries / MARKS).max(1)
    }

    /// Tells this node, and the others, that there are executions to take.
    pub(crate) fn work_waits(&self) {
        self.0.work.notify_one();
        self.0.bus.publish(scaigrid_bus::Signal::WorkWaits);
    }
}

/// Entries as the journal keeps them, from a number on.
pub(crate) fn chunks(from: i64, entries: &[Entry]) -> Vec<JournalChunk> {
    let chunk = |chunk: journal::Chunk| JournalChunk {
        seq: from + i64::try_from(chunk.before).unwrap_or(i64::MAX),
        entries: chunk.bytes,
        alone: chunk.large,
    };
    journal::encode_chunks(entries, LARGE).into_iter().map(chunk).collect()
}

/// Whether a commit stores the machine whole. A run that goes on relies on its journal for a while; so does one that must be
/// asked again for what was held back, as a stored machine would take that for recorded.
fn snapshot(run: &Run, status: ExecutionStatus) -> Snapshot {
    let goes_on = status == ExecutionStatus::Running && run.calls.any();
    if status.is_final() {
        Snapshot::Drop
    } else if run.machine.asks_again()
        || run.calls.is_held_back()
        || (goes_on && run.unsnapped < UNSNAPPED_AT_MOST)
    {
        Snapshot::Keep
    } else {
        Snapshot::Store(run.machine.encode())
    }
}

fn change(run: &Run, progress: Progress) -> Change {
    match run.stored_epoch {
        None => Change::Begin { execution: Box::new(run.execution.clone()), progress },
        Some(expected_epoch) => Change::Proceed {
            id: run.execution.id,
            expected_epoch,
            expected_seq: run.next_seq,
            status: run.execution.status,
            output: run.execution.output.clone(),
            error: run.execution.error.clone(),
            finished_at: run.execution.finished_at,
            progress,
        },
    }
}

/// What tells executions that nobody waits for them any more.
pub(crate) fn cancellations(orphaned: &[ExecutionId]) -> Vec<Delivery> {
    let failure = Failure::new("CANCELLED", "the calling execution does not wait for it any more");
    let outcome = encode_outcome(&Outcome::Error(failure));
    orphaned.iter().map(|id| Delivery { to: *id, effect: CANCEL, outcome: outcome.clone() }).collect()
}

/// What the execution that waits for this one gets.
fn answer(run: &Run) -> Option<Delivery> {
    let parent = run.execution.parent?;
    let outcome = match run.machine.end()? {
        End::Completed(value) => Outcome::Value(value.clone()),
        End::Failed(failure) => Outcome::Error(told_to_caller(&run.execution, failure)),
        End::Cancelled => {
            Outcome::Error(Failure::new("CALL_CANCELLED", "the called execution was cancelled"))
        }
    };
    Some(Delivery { to: parent.execution, effect: parent.effect, outcome: encode_outcome(&outcome) })
}

/// The failure of an execution as the one that called it gets it.
pub(crate) fn told_to_caller(execution: &Execution, failure: &Failure) -> Failure {
    failure.told_to_caller(&execution.core_id.to_string(), &execution.id.to_string())
}

/// An outcome as the inbox keeps it.
pub(crate) fn encode_outcome(outcome: &Outcome) -> Vec<u8> {
    journal::encode_chunk(&[Entry::Outcome { id: scaigrid_runtime::EffectId(0), outcome: outcome.clone() }])
}

/// A failure as an execution's row keeps it.
pub(crate) fn describe(failure: &Failure) -> scaigrid_ir::Value {
    scaigrid_ir::Value::from_json(&failure.to_json())
}
