//! Going on with an execution from what is durable.

use std::sync::Arc;
use std::time::Duration;

use scaigrid_cores::execution::{Execution, ExecutionStatus};
use scaigrid_cores::logs::Level;
use scaigrid_persistence::commit::{Change, Delivery, Progress, Snapshot, Unit, Verdict};
use scaigrid_persistence::executions::{self, Stored};
use scaigrid_persistence::{checkpoints, event_waits, timers};
use scaigrid_runtime::journal::{self, Base, Entry};
use scaigrid_runtime::{EffectId, EffectKind, Failure, Machine, Outcome};
use scaigrid_scope::{ExecutionId, TenantScope};

use crate::calls::{Meaning, meaning};
use crate::drive::{Committed, cancellations, describe, encode_outcome, told_to_caller};
use crate::inside::{Bound, Kept, Said, said};
use crate::instances::idle;
use crate::invoke;
use crate::places::Place;
use crate::run::Run;
use crate::traces::note_again;
use crate::{Engine, Error};

/// How often something is done again because others changed the same in between.
pub(crate) const ATTEMPTS: u32 = 20;
/// The pause before another attempt in the background, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));
/// Chunks of a journal that are read at once.
const CHUNKS: i64 = 500;
/// The same where it is counted how large they are.
const CHUNKS_BOUNDED: i64 = 16;
/// The effect that stands in the inbox for the wish to cancel.
pub(crate) const CANCEL: u32 = u32::MAX;

impl Engine {
    /// Runs an execution that this node holds until it waits or has ended, whatever comes in between.
    ///
    /// It gives its place to others while it waits for calls.
    pub(crate) async fn see_through(&self, scope: TenantScope, id: ExecutionId, place: Place) {
        let mut pause = PAUSES.0;
        let mut place = Some(place);
        loop {
            if place.is_none() {
                place = Some(self.0.background.take(scope.tenant_id(), None).await);
            }
            match self.go_on(scope, id, &mut place).await {
                Ok(()) => break,
                Err(error) if error.is_passing() => {
                    note_again("execution");
                    tracing::warn!(%error, execution = %id, "an execution is tried again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
                Err(error) => {
                    if error.is_of_the_store() {
                        // The operator's trouble, which readiness tells, or the tenant's; the program is told by its own failure.
                        tracing::warn!(%error, execution = %id, "an execution cannot go on");
                    } else {
                        tracing::error!(%error, execution = %id, "an execution cannot go on");
                    }
                    self.give_up(scope, id, &error).await;
                    break;
                }
            }
        }
        self.0.bus.publish(scaigrid_bus::Signal::ExecutionMoved(id));
    }

    /// One attempt of [`Engine::see_through`], again and again while it is overtaken by its own news.
    async fn go_on(
        &self,
        scope: TenantScope,
        id: ExecutionId,
        place: &mut Option<Place>,
    ) -> Result<(), Error> {
        let mut turn = None;
        for attempt in 0..ATTEMPTS {
            let Some(stored) = self.load(scope, id).await? else { return Ok(()) };
            self.take_turn(&mut turn, attempt, stored.execution.core_id).await;
            // Somebody else has it, or it has ended: it is not ours to run.
            if stored.execution.status != ExecutionStatus::Running || stored.owner != Some(self.0.node) {
                return Ok(());
            }
            let Some(mut run) = self.restore(scope, stored).await? else { return Ok(()) };
            run.supervised = true;
            self.take_inbox(&mut run).await?;
            self.recover_calls(&mut run).await?;
            run.place = place.take();
            let committed = self.drive(&mut run).await;
            *place = run.place.take();
            match committed? {
                Committed::Yes => {
                    self.0.rested.keep(run);
                    return Ok(());
                }
                // One that is awaited is queued: whoever takes it next finds what it waits for.
                Committed::AndAwaited | Committed::Overtaken | Committed::Refused => {
                    return Ok(());
                }
                Committed::Again | Committed::Unfinished => {}
            }
        }
        Err(Error::Contended)
    }

    pub(crate) async fn load(&self, scope: TenantScope, id: ExecutionId) -> Result<Option<Stored>, Error> {
        let mut connection = self.0.database.read().await?;
        Ok(executions::load(&mut connection, scope, id).await?)
    }

    /// The execution as it stood when it was last durable. None when it could not even begin: it has failed then.
    pub(crate) async fn restore(&self, scope: TenantScope, mut stored: Stored) -> Result<Option<Run>, Error> {
        let begins = stored.snapshot.is_none() && stored.next_seq == 0;
        if stored.has_closed_input() {
            let mut connection = self.0.database.read().await?;
            let opened = executions::open_input(&mut connection, scope, &mut stored).await;
            // One that has begun has it in its machine, and whoever waits for it is shown how large it is.
            if begins {
                opened?;
            }
        }
        let execution = stored.execution;
        let program = self.program(scope, execution.core_id, execution.source_version).await?;
        if stored.snapshot.is_none() && stored.next_seq == 0 {
            let hosted = self.hosted(scope, execution.core_id).await?;
            return match invoke::begin(scope, program, &hosted, execution.clone()) {
                Ok(mut run) => {
                    run.stored_epoch = Some(stored.epoch);
                    run.epoch = stored.epoch;
                    Ok(Some(run))
                }
                Err(error) => {
                    let failure = match error {
                        Error::Start(failure) => failure,
                        Error::Misconfigured => Failure::new("CONFIG_INVALID", error.to_string()),
                        other => return Err(other),
                    };
                    self.fail(scope, execution, (stored.epoch, stored.next_seq), &failure).await?;
                    Ok(None)
                }
            };
        }
        let id = execution.id;
        let standing = (stored.snapshot.as_deref(), stored.snapshot_seq);
        let kept = self.as_stored(scope, id, standing, stored.next_seq, Bound::NONE).await?;
        let unsnapped = kept.entries.len();
        let (machine, unrecorded) = match kept {
            Kept { base: Some(base), entries } if entries.is_empty() => (base.machine, Vec::new()),
            Kept { base, entries } => {
                let replayed = journal::resume(&program, base.as_ref(), &entries)
                    .map_err(|error| Error::replay(id, &error))?;
                (replayed.machine, replayed.unrecorded)
            }
        };
        let run = Run::durable(scope, program, machine, execution, (stored.epoch, stored.next_seq));
        Ok(Some(Run { unrecorded, unsnapped, ..run }))
    }

    /// The journal behind an execution's stored machine; where there is none, because it has ended, has been taken back or has not
    /// come to a rest, behind the last one that is kept.
    pub(crate) async fn as_stored(
        &self,
        scope: TenantScope,
        id: ExecutionId,
        (snapshot, seq): (Option<&[u8]>, i64),
        until: i64,
        bound: Bound,
    ) -> Result<Kept, Error> {
        let Some(snapshot) = snapshot else { return self.kept(scope, id, until, until, bound).await };
        let machine = Machine::decode(snapshot).map_err(|error| Error::state(id, &error))?;
        let entries = self.read_journal(scope, id, (seq, until), bound.bytes).await?;
        let base = Base { machine, seq: usize::try_from(seq).unwrap_or_default() };
        Ok(Kept { base: Some(base), entries })
    }

    /// The entries of a journal from one on, which begins a chunk, to the end of the chunk that holds the one before `until`.
    pub(crate) async fn read_journal(
        &self,
        scope: TenantScope,
        id: ExecutionId,
        (mut from, until): (i64, i64),
        most: usize,
    ) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        let mut left = most;
        let rows = if most == usize::MAX { CHUNKS } else { CHUNKS_BOUNDED };
        while from < until {
            let mut connection = self.0.database.read().await?;
            let place = (from, until);
            let chunks = executions::journal_within(&mut connection, scope, id, place, rows, left).await?;
            let chunks = chunks.ok_or(Error::JournalTooLarge)?;
            if chunks.is_empty() {
                let start = executions::journal_start(&mut connection, scope, id).await?;
                if start.is_some_and(|start| start > from) {
                    return Err(Error::JournalCut);
                }
                let reason = format!("entries from {from} to {until} are missing");
                return Err(Error::Journal { id, reason });
            }
            drop(connection);
            for (seq, bytes) in chunks {
                if seq > from {
                    return Err(Error::JournalCut);
                }
                left = left.saturating_sub(bytes.len());
                let chunk = journal::decode_chunk(&bytes).map_err(|error| Error::state(id, &error))?;
                from += i64::try_from(chunk.len()).unwrap_or(i64::MAX);
                entries.extend(chunk);
            }
        }
        Ok(entries)
    }

    /// Gives the machine what has come for it.
    pub(crate) async fn take_inbox(&self, run: &mut Run) -> Result<(), Error> {
        let mut connection = self.0.database.read().await?;
        let arrived = executions::inbox(&mut connection, run.scope, run.execution.id).await?;
        drop(connection);
        for (effect, bytes) in arrived {
            run.done.taken.push(effect);
            let outcome = decode_outcome(&bytes).map_err(|error| Error::state(run.execution.id, &error))?;
            if effect == CANCEL {
                let reason = match outcome {
                    Outcome::Error(failure) => failure.message,
                    Outcome::Value(_) => Arc::from(""),
                };
                cancel(run, reason);
                continue;
            }
            // One that is not waited for any more was given up in the meantime.
            answer(run, effect, outcome);
        }
        Ok(())
    }

    /// Ends an execution that could not begin.
    async fn fail(
        &self,
        scope: TenantScope,
        execution: Execution,
        standing: (i64, i64),
        failure: &Failure,
    ) -> Result<(), Error> {
        let ended = Execution {
            status: ExecutionStatus::Failed,
            error: Some(describe(failure)),
            finished_at: Some(self.0.clock.now()),
            ..execution.clone()
        };
        // A program that cannot be read has asked nobody.
        let asked = match self.program(scope, execution.core_id, execution.source_version).await {
            Ok(program) => self.asked_by(scope, &program, execution.id, None).await?,
            Err(_) => Vec::new(),
        };
        let unit = self.failure_unit(scope, execution, standing, failure).await?;
        if self.commit_and_tell(unit, Some(&ended)).await? == Verdict::Done {
            self.note_end(&ended);
            self.leave(asked);
        }
        self.work_waits();
        Ok(())
    }

    /// Marks an execution that cannot go on as failed, as well as that can be done.
    pub(crate) async fn give_up(&self, scope: TenantScope, id: ExecutionId, error: &Error) {
        let failure = Failure::new(error.code(), error.to_string());
        let given_up = async {
            if let Some(stored) = self.load(scope, id).await?
                && stored.execution.status == ExecutionStatus::Running
                && stored.owner == Some(self.0.node)
            {
                self.fail(scope, stored.execution, (stored.epoch, stored.next_seq), &failure).await?;
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = given_up.await {
            tracing::error!(%error, execution = %id, "an execution cannot be given up either");
        }
    }

    /// What ends an execution from outside: nobody is asked for it any more, and what it called is told to end.
    async fn failure_unit(
        &self,
        scope: TenantScope,
        mut execution: Execution,
        (epoch, next_seq): (i64, i64),
        failure: &Failure,
    ) -> Result<Unit, Error> {
        let now = self.0.clock.now();
        let mut connection = self.0.database.read().await?;
        let pending = checkpoints::pending_of(&mut connection, scope, execution.id).await?;
        let called = executions::children_at_work(&mut connection, scope, execution.id).await?;
        let cleared = timers::of_execution(&mut connection, scope, execution.id).await?;
        let waits = event_waits::of_execution(&mut connection, scope, execution.id).await?;
        drop(connection);
        let timers = execution
            .slots
            .map(|_| idle(&execution, scaigrid_cores::instances::IDLE_TIMEOUT, now))
            .into_iter()
            .collect();
        let unwaited = waits.into_iter().map(|effect| (execution.id, effect)).collect();
        let orphaned: Vec<ExecutionId> = called.into_iter().map(|(id, ..)| id).collect();
        execution.error = Some(describe(failure));
        let mut delivered = cancellations(&orphaned);
        delivered.extend(execution.parent.map(|parent| Delivery {
            to: parent.execution,
            effect: parent.effect,
            outcome: encode_outcome(&Outcome::Error(told_to_caller(&execution, failure))),
        }));
        let change = Change::Proceed {
            id: execution.id,
            expected_epoch: epoch,
            expected_seq: next_seq,
            status: ExecutionStatus::Failed,
            output: None,
            error: execution.error,
            finished_at: Some(now),
            progress: Progress { snapshot: Snapshot::Keep, next_seq, owner: None, epoch },
        };
        let abandoned = pending.into_iter().map(|stored| stored.checkpoint.id).collect();
        let logs = match self.hosted(scope, execution.core_id).await {
            Ok(hosted) => {
                let what = Said {
                    level: Level::Error,
                    block: None,
                    message: format!("the execution failed: {}: {}", failure.code, failure.message),
                    fields: serde_json::json!({ "code": &*failure.code }),
                };
                vec![said(&execution.flow, now, &hosted.inside.masked, what)]
            }
            Err(_) => Vec::new(),
        };
        Ok(Unit {
            core_id: Some(execution.core_id),
            logs,
            delivered,
            abandoned,
            timers,
            cleared,
            unwaited,
            ..Unit::new(scope.tenant_id(), now, change)
        })
    }

    /// Lets an execution that is in motion go on without anybody waiting for it.
    pub(crate) fn go_on_in_background(&self, mut run: Run, place: Place) {
        let engine = self.clone();
        self.0.runtime.spawn(async move {
            run.place = Some(place);
            // Where it does not come to a rest, dropping the run hands it on.
            if engine.drive(&mut run).await.is_ok_and(|committed| committed == Committed::Yes) {
                engine.0.bus.publish(scaigrid_bus::Signal::ExecutionMoved(run.execution.id));
            }
        });
    }
}

/// Notes an answer in the journal and gives it to the machine; false when nobody waits for it.
pub(crate) fn answer(run: &mut Run, effect: u32, outcome: Outcome) -> bool {
    let id = EffectId(effect);
    run.timed.remove(&effect);
    let pending = run.machine.pending();
    let asked_about = |kind: &EffectKind| matches!(kind, EffectKind::PluginCall(_));
    let call = pending.into_iter().find(|effect| effect.id == id && asked_about(&effect.kind)).cloned();
    let outcome = match call {
        // People are asked about calls in doubt; what they answer is not the call's own outcome.
        Some(call) => match meaning(outcome) {
            Meaning::Over(outcome) => outcome,
            Meaning::Again => {
                run.calls.want(call);
                return true;
            }
        },
        None => outcome,
    };
    if run.machine.deliver(id, outcome.clone()).is_err() {
        return false;
    }
    // A model whose answer has come already, from a node that was thought dead, is asked no further.
    run.calls.give_up(&[id]);
    run.done.entries.push(Entry::Outcome { id, outcome });
    true
}

/// Notes the wish to cancel in the journal and tells the machine; false when it has ended or is being cancelled.
pub(crate) fn cancel(run: &mut Run, reason: Arc<str>) -> bool {
    let steps = run.machine.steps();
    if !run.machine.cancel(Arc::clone(&reason)) {
        return false;
    }
    run.done.entries.push(Entry::Cancel { reason, steps });
    true
}

fn decode_outcome(bytes: &[u8]) -> Result<Outcome, scaigrid_runtime::StateError> {
    let entries = journal::decode_chunk(bytes)?;
    match entries.into_iter().next() {
        Some(Entry::Outcome { outcome, .. }) => Ok(outcome),
        _ => Err(scaigrid_runtime::StateError::Damaged { reason: "not an outcome".into() }),
    }
}
