//! What ends a checkpoint's wait, or an execution: decisions, deadlines, cancellations.

use std::sync::Arc;
use std::time::{self, Duration};

use async_recursion::async_recursion as boxed;
use scaigrid_audit::AuditRecord;
use scaigrid_checkpoints::{Change, Checkpoint, CheckpointError, EventKind, HistoryEvent, State};
use scaigrid_cores::execution::{Execution, ExecutionStatus, Standing};
use scaigrid_ir::Value;
use scaigrid_persistence::checkpoints::{self, StoredCheckpoint};
use scaigrid_persistence::commit::{self, Believed, Delivery, Unit, Verdict};
use scaigrid_persistence::executions::Stored;
use scaigrid_persistence::timers;
use scaigrid_runtime::{Failure, Outcome};
use scaigrid_scope::{CheckpointId, ExecutionId, Instant, TenantScope};

use crate::calls::Driven;
use crate::cores::Turn;
use crate::drive::{Committed, encode_outcome};
use crate::rested::Waiting;
use crate::resume::{ATTEMPTS, CANCEL, answer, cancel};
use crate::run::Run;
use crate::{Engine, Error};

/// How often a checkpoint may be handed on and reserved: its history is kept whole.
const MOVES_AT_MOST: usize = 200;

/// What somebody, or time, does to a checkpoint: asked again for every attempt, with the checkpoint as it then stands.
pub trait Decider: Send + Sync {
    /// The checkpoint after the change.
    ///
    /// # Errors
    /// Why it cannot be.
    fn decide(&self, checkpoint: Checkpoint, now: Instant) -> Result<Change, CheckpointError>;

    /// What the audit says of it.
    fn audit(&self, before: &Checkpoint, after: &Checkpoint, now: Instant) -> Option<AuditRecord>;
}

/// A checkpoint that was decided, and its execution as it stands after going on.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// The checkpoint.
    pub checkpoint: StoredCheckpoint,
    /// Its execution.
    pub standing: Standing,
}

/// What a decision means for the execution.
enum Consequence {
    Answer(Outcome),
    Cancel,
}

/// The execution that has asked at a checkpoint.
enum Asked {
    /// As it stood a moment ago, and free to go on.
    Kept(Box<Waiting>),
    /// As it is stored.
    Stored(Box<Stored>),
}

impl Asked {
    fn execution(&self) -> &Execution {
        match self {
            Self::Kept(waiting) => waiting.execution(),
            Self::Stored(stored) => &stored.execution,
        }
    }
}

impl Engine {
    /// Changes a checkpoint. A change that ends its wait goes to the execution: at once, in the same commit, where nobody holds
    /// it; into its inbox where a node is running it, or where its Core lets nothing go on.
    ///
    /// # Errors
    /// There is no such checkpoint, it cannot be changed so, or the database.
    #[boxed]
    pub async fn decide(
        &self,
        scope: TenantScope,
        id: CheckpointId,
        decider: &dyn Decider,
        wait: Option<Duration>,
    ) -> Result<Decided, Error> {
        let until = time::Instant::now() + wait.unwrap_or_default();
        let (mut turn, mut core) = (None, None);
        for attempt in 0..ATTEMPTS {
            if let Some(core) = core {
                self.take_turn(&mut turn, attempt, core).await;
            }
            let (stored, execution) = self.asked_at(scope, id).await?;
            core = Some(stored.checkpoint.core_id);
            let now = self.0.clock.now();
            let before = stored.checkpoint.clone();
            let change = match decider.decide(stored.checkpoint.clone(), now) {
                Ok(change) => change,
                // The checkpoint may stand otherwise by now.
                Err(_) if matches!(execution, Asked::Kept(_)) => continue,
                Err(CheckpointError::TimeIsUp { .. }) => {
                    // The clock was faster than the sweeper: what follows from it comes first.
                    self.expire(scope, id).await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let audit = decider.audit(&before, &change.checkpoint, now);
            if !change.ends_the_wait() {
                if let Some(decided) = self.move_on(scope, id, decider).await? {
                    return Ok(decided);
                }
                continue;
            }
            let stored = StoredCheckpoint { checkpoint: change.checkpoint, ..stored };
            let concluded = self.conclude(scope, stored, execution, audit, until, &mut turn);
            // In a box: much of what an execution is stands in this future.
            if let Some(decided) = Box::pin(concluded).await? {
                return Ok(decided);
            }
        }
        Err(Error::Contended)
    }

    /// A checkpoint, and the execution that has asked there: as this node has kept it, which is once, or as it is stored.
    async fn asked_at(
        &self,
        scope: TenantScope,
        id: CheckpointId,
    ) -> Result<(StoredCheckpoint, Asked), Error> {
        if let Some(waiting) = self.0.rested.take(scope, id)
            && let Ok(hosted) = self.hosted(scope, waiting.at.checkpoint.core_id).await
            && hosted.core.status.can_run()
        {
            return Ok((waiting.at.clone(), Asked::Kept(waiting)));
        }
        let mut connection = self.0.database.read().await?;
        let found = checkpoints::lookup_with_execution(&mut connection, scope, id).await?;
        let (stored, execution) = found.ok_or(Error::NoCheckpoint)?;
        Ok((stored, Asked::Stored(Box::new(execution))))
    }

    /// Writes whom a checkpoint asks now, who looks after it, or what one of several has said; the execution goes on waiting.
    async fn move_on(
        &self,
        scope: TenantScope,
        id: CheckpointId,
        decider: &dyn Decider,
    ) -> Result<Option<Decided>, Error> {
        let now = self.0.clock.now();
        let mut transaction = self.0.database.begin().await?;
        let mut stored = checkpoints::lock(&mut transaction, scope, id).await?.ok_or(Error::NoCheckpoint)?;
        let before = stored.checkpoint.clone();
        let change = match decider.decide(stored.checkpoint, now) {
            // Its time was up in between: what follows from that comes first.
            Err(CheckpointError::TimeIsUp { .. }) => return Ok(None),
            other => other?,
        };
        if change.ends_the_wait() {
            return Ok(None);
        }
        if !has_room(&stored.between, change.event.kind) {
            return Err(Error::HandedOnTooOften);
        }
        let audit = decider.audit(&before, &change.checkpoint, now);
        let (asks, voted) = (change.asks_someone_new(), change.event.kind == EventKind::Voted);
        stored.checkpoint = change.checkpoint;
        stored.between.push(change.event);
        checkpoints::save_moved(&mut transaction, scope, &stored).await?;
        if let Some(vote) = stored.checkpoint.votes.last().filter(|_| voted) {
            checkpoints::add_vote(&mut transaction, &stored.checkpoint, vote).await?;
        }
        if let Some(timer) = checkpoints::reminder(&stored.checkpoint, now).filter(|_| asks) {
            timers::set(&mut transaction, scope, &timer).await?;
        }
        if let Some(timer) = checkpoints::notice(&stored.checkpoint, now).filter(|_| asks) {
            timers::set(&mut transaction, scope, &timer).await?;
        }
        if let Some(record) = audit {
            scaigrid_persistence::audit::add(&mut transaction, &record).await?;
        }
        transaction.commit().await?;
        self.0.timers.notify_one();
        if asks {
            self.log_handing_on(scope, &stored).await;
            if self.0.deciders.wonders(&stored.checkpoint) {
                self.look_for_deciders(vec![stored.checkpoint.clone()]);
            }
        }
        let standing = self.standing(scope, stored.checkpoint.execution_id).await?;
        Ok(Some(Decided { checkpoint: stored, standing }))
    }

    /// Carries a final change out. None when somebody else was faster with something, and it must be looked at anew.
    async fn conclude(
        &self,
        scope: TenantScope,
        stored: StoredCheckpoint,
        asked: Asked,
        audit: Option<AuditRecord>,
        until: time::Instant,
        turn: &mut Turn,
    ) -> Result<Option<Decided>, Error> {
        let execution = stored.checkpoint.execution_id;
        let consequence = consequence(&stored.checkpoint);
        let trace = asked.execution().trace;
        let effect = stored.effect;
        let free = match asked {
            Asked::Kept(waiting) => Some(waiting.wake(scope)),
            Asked::Stored(held) => {
                self.free(scope, *held, matches!(consequence, Consequence::Cancel)).await?
            }
        };
        let Some(mut run) = free else {
            let mut unit =
                Unit::new(scope.tenant_id(), self.0.clock.now(), commit::Change::Keep { id: execution });
            unit.decided = Some(stored.checkpoint.clone());
            unit.core_id = Some(stored.checkpoint.core_id);
            unit.logs.extend(self.decided_entry(scope, &stored.checkpoint).await?);
            unit.audit.extend(audit);
            unit.delivered.push(delivery(execution, effect, &consequence));
            return match self.commit_and_tell(unit, None).await? {
                Verdict::Done | Verdict::Awaited => {
                    self.note_decided(trace, &stored);
                    self.work_waits();
                    *turn = None;
                    let standing = self.standing(scope, execution).await?;
                    let standing = self.settle(scope, standing.execution, until).await?;
                    Ok(Some(Decided { checkpoint: stored, standing }))
                }
                _ => Ok(None),
            };
        };
        match consequence {
            Consequence::Answer(outcome) => {
                answer(&mut run, effect, outcome);
                run.done.believed = Believed::Runs(run.execution.core_id);
            }
            Consequence::Cancel => {
                cancel(&mut run, Arc::from("its checkpoint was cancelled"));
            }
        }
        run.done.decided = Some(stored.checkpoint.clone());
        run.done.logs.extend(self.decided_entry(scope, &stored.checkpoint).await?);
        run.done.audit.extend(audit);
        let (mut run, committed) = match self.drive_for(run, until).await? {
            Driven::Rested(run, committed) => (run, committed),
            Driven::GoesOn(execution) => {
                self.note_decided(trace, &stored);
                *turn = None;
                let standing = Standing { execution: *execution, checkpoints: Vec::new() };
                return Ok(Some(Decided { checkpoint: stored, standing }));
            }
        };
        match committed {
            Committed::Yes | Committed::AndAwaited | Committed::Unfinished => {}
            // The decision had become durable on the way; the rest goes on in other hands.
            _ if run.is_durable() => run.execution.status = ExecutionStatus::Running,
            Committed::Again | Committed::Overtaken | Committed::Refused => return Ok(None),
        }
        self.note_decided(trace, &stored);
        // The others need not wait while this one does.
        *turn = None;
        let standing = self.settle_run(*run, committed, until).await?;
        Ok(Some(Decided { checkpoint: stored, standing }))
    }

    /// The execution, to go on with here and now; none where it is not free.
    async fn free(
        &self,
        scope: TenantScope,
        stored: Stored,
        whatever_the_core: bool,
    ) -> Result<Option<Run>, Error> {
        let waits = stored.execution.status == ExecutionStatus::Suspended;
        // One that runs in turn is taken when it is its turn; where its Core stands still, nobody has one.
        let in_turn = stored.execution.slots.is_some() && stored.core_runs;
        if !waits || in_turn || !(stored.core_runs || whatever_the_core) {
            return Ok(None);
        }
        let run = self.restore(scope, stored).await?;
        Ok(run.map(|mut run| {
            run.epoch += 1;
            run
        }))
    }

    /// Ends an execution before its end; `finally` bodies run.
    ///
    /// # Errors
    /// There is no such execution, it has ended already, or the database.
    #[boxed]
    pub async fn cancel(
        &self,
        scope: TenantScope,
        id: ExecutionId,
        reason: &str,
        audit: Option<AuditRecord>,
    ) -> Result<Standing, Error> {
        for _ in 0..ATTEMPTS {
            let stored = self.load(scope, id).await?.ok_or(Error::NoExecution)?;
            if stored.execution.status.is_final() {
                return Err(Error::Ended(stored.execution.status));
            }
            let Some(mut run) = self.free(scope, stored, true).await? else {
                let mut unit = Unit::new(scope.tenant_id(), self.0.clock.now(), commit::Change::Keep { id });
                let outcome = Outcome::Error(Failure::new("CANCELLED", reason));
                unit.delivered.push(Delivery { to: id, effect: CANCEL, outcome: encode_outcome(&outcome) });
                unit.audit.extend(audit.clone());
                match self.commit_and_tell(unit, None).await? {
                    Verdict::Done | Verdict::Awaited => {
                        self.work_waits();
                        return self.standing(scope, id).await;
                    }
                    // It has ended in between.
                    _ => continue,
                }
            };
            cancel(&mut run, Arc::from(reason));
            run.done.audit.extend(audit.clone());
            match self.drive(&mut run).await? {
                Committed::Yes | Committed::AndAwaited => {
                    return Ok(Standing { execution: run.execution, checkpoints: Vec::new() });
                }
                _ if run.is_durable() => return self.standing(scope, id).await,
                Committed::Unfinished | Committed::Again | Committed::Overtaken | Committed::Refused => {}
            }
        }
        Err(Error::Contended)
    }
}

/// Whether one more event of a kind may be added to what happened to a checkpoint while it waits.
///
/// Votes, reminders and escalations have bounds of their own: what the program itself demands is never refused. Nor is letting
/// go: there is one of it for each claim at most, and a claim that nobody can end would keep everybody from deciding.
fn has_room(between: &[HistoryEvent], kind: EventKind) -> bool {
    let moves = |kind| matches!(kind, EventKind::Reassigned | EventKind::Claimed);
    !moves(kind) || between.iter().filter(|event| moves(event.kind)).count() < MOVES_AT_MOST
}

/// What an ended checkpoint means for the flow that waits at it.
fn consequence(checkpoint: &Checkpoint) -> Consequence {
    match &checkpoint.state {
        State::Resolved(resolution) => {
            let text = |text: &str| Value::String(text.into());
            let by = resolution.by.user().map_or(Value::Null, |user| text(&user.to_string()));
            let data = resolution.response_data.as_deref().map_or(Value::Null, Value::from_json);
            let fields = [
                ("decision", text(&resolution.decision)),
                ("response_data", data),
                ("comment", resolution.comment.as_deref().map_or(Value::Null, text)),
                ("resolved_by", by),
                ("resolved_at", Value::Datetime(resolution.at.micros())),
            ];
            let fields = fields.into_iter().map(|(name, value)| (Arc::from(name), value)).collect();
            Consequence::Answer(Outcome::Value(Value::Object(Arc::new(fields))))
        }
        State::Expired { .. } => {
            let failure = Failure::new("CHECKPOINT_EXPIRED", "nobody decided in time");
            Consequence::Answer(Outcome::Error(failure))
        }
        State::Cancelled { .. } | State::Pending => Consequence::Cancel,
    }
}

fn delivery(to: ExecutionId, effect: u32, consequence: &Consequence) -> Delivery {
    match consequence {
        Consequence::Answer(outcome) => Delivery { to, effect, outcome: encode_outcome(outcome) },
        Consequence::Cancel => {
            let outcome = Outcome::Error(Failure::new("CANCELLED", "its checkpoint was cancelled"));
            Delivery { to, effect: CANCEL, outcome: encode_outcome(&outcome) }
        }
    }
}

#[cfg(test)]
mod tests {
    use scaigrid_checkpoints::By;

    use super::*;

    #[test]
    fn a_claim_can_always_be_let_go() {
        let happened = |kind| HistoryEvent {
            kind,
            at: Instant::from_micros(1),
            by: By::System,
            details: serde_json::Map::new(),
        };
        let mut between = vec![happened(EventKind::Reassigned)];
        for _ in 1..MOVES_AT_MOST {
            assert!(has_room(&between, EventKind::Claimed));
            between.extend([happened(EventKind::Claimed), happened(EventKind::Released)]);
        }
        for kind in [EventKind::Claimed, EventKind::Reassigned] {
            assert!(!has_room(&between, kind), "{kind}");
        }
        between.pop();
        for kind in [EventKind::Released, EventKind::Voted, EventKind::Reminded, EventKind::Escalated] {
            assert!(has_room(&between, kind), "{kind}");
        }
    }
}
