//! What a machine wants, done: events and values of the moment, at once; checkpoints and calls, opened. Memory is in
//! [`memory`](crate::memory).

use std::sync::Arc;

use scaigrid_checkpoints::{Assignee, Checkpoint};
use scaigrid_cores::CheckpointMode;
use scaigrid_cores::logs::Level;
use scaigrid_ir::Value;
use scaigrid_ir::block::MemoryOp;
use scaigrid_persistence::events::CoreEvent;
use scaigrid_persistence::timers::{self, Owner, Timer};
use scaigrid_persistence::{self as persistence, event_waits, executions};
use scaigrid_runtime::journal::Entry;
use scaigrid_runtime::{CheckpointRequest, Effect, EffectId, EffectKind, Failure, Outcome, TimerRequest};
use scaigrid_scope::{EventId, Instant};
use serde_json::json;
use ulid::Ulid;

use crate::event_waits::{wait_for_event, wake_for_event};
use crate::inside::{Said, of_program};
use crate::plugins::Target;
use crate::run::{Run, Timed};
use crate::{Engine, Error};

/// Calls and events that may lie between an execution and the call from outside.
pub(crate) const DEPTH_AT_MOST: u16 = 32;

impl Engine {
    /// Does, or opens, what an effect asks for, and notes it in the journal.
    pub(crate) async fn perform(&self, run: &mut Run, effect: Effect) -> Result<(), Error> {
        let now = self.0.clock.now();
        let outcome = match &effect.kind {
            EffectKind::Now => Outcome::Value(Value::Datetime(now.micros())),
            EffectKind::Uuid => Outcome::Value(Value::String(uuid(self.0.ids.draw(now)).into())),
            EffectKind::Random => Outcome::Value(Value::Float(rand::random::<f64>())),
            EffectKind::Log { level, message, fields } => {
                let place = (&effect.flow, &effect.block);
                let entry = of_program(place, now, &*self.masked(run).await?, (*level, message, fields));
                run.done.logs.push(entry);
                Outcome::Value(Value::Null)
            }
            EffectKind::Emit { event, data } => self.emit(run, event, data, now).await?,
            EffectKind::Memory(request) => {
                match request.op {
                    MemoryOp::Get if request.for_update => run.done.memory.begin_update(&effect.pointer),
                    MemoryOp::Update => run.done.memory.end_update(&effect.pointer),
                    _ => {}
                }
                self.remember(run, request, now).await?
            }
            EffectKind::Checkpoint(request) => {
                let target = self.target_of(run, request).await?;
                let acts_for = self.acts_for(run).await?;
                let checkpoint = self.open(run, &effect, (request, target), (acts_for, now)).await?;
                let mode = self.hosted(run.scope, run.execution.core_id).await?.core.checkpoint_mode;
                if mode == CheckpointMode::Routed && checkpoint.routing.assignee == Assignee::Unrouted {
                    run.say(&*self.masked(run).await?, now, asks_nobody(&checkpoint, &effect.block));
                    run.done.asks_nobody = true;
                    run.done.entries.push(Entry::Effect { effect, outcome: None });
                    return Ok(());
                }
                run.say(&*self.masked(run).await?, now, waits_at(&checkpoint, &effect.block));
                run.done.opened.push((checkpoint, effect.id.0));
                run.done.entries.push(Entry::Effect { effect, outcome: None });
                return Ok(());
            }
            EffectKind::PluginCall(_) | EffectKind::ModelCall(_) => return self.want(run, effect).await,
            EffectKind::Timer(request) => {
                let (id, due_at) = (effect.id, due(*request, now));
                run.done.entries.push(Entry::Effect { effect, outcome: None });
                if due_at > now {
                    run.timed.insert(id.0, Timed::Sleep);
                    run.done.timers.push(sleep(run, id, due_at));
                    return Ok(());
                }
                return answer_now(run, id, Outcome::Value(Value::Datetime(due_at.micros())));
            }
            EffectKind::WaitEvent(_) => return wait_for_event(run, effect, now),
            EffectKind::CoreCall(request) => match self.call(run, &effect, request, now).await? {
                Ok(child) => {
                    run.done.started.push(child);
                    run.done.entries.push(Entry::Effect { effect, outcome: None });
                    return Ok(());
                }
                Err(failure) => {
                    let id = effect.id;
                    run.done.entries.push(Entry::Effect { effect, outcome: None });
                    return answer_now(run, id, Outcome::Error(failure));
                }
            },
        };
        let id = effect.id;
        run.done.entries.push(Entry::Effect { effect, outcome: Some(outcome.clone()) });
        deliver(run, id, outcome)
    }

    /// Publishes an event: it is kept, and starts the flows of the Core that listen to it.
    async fn emit(&self, run: &mut Run, name: &str, data: &Value, now: Instant) -> Result<Outcome, Error> {
        if run.execution.depth >= DEPTH_AT_MOST {
            let message = format!("{DEPTH_AT_MOST} events and calls led here; there may be no more");
            return Ok(Outcome::Error(Failure::new("EVENT_DEPTH_EXCEEDED", message)));
        }
        let mut event = CoreEvent {
            id: EventId::from_ulid(self.0.ids.draw(now)),
            core_id: run.execution.core_id,
            execution_id: Some(run.execution.id),
            name: name.to_owned(),
            data: data.clone(),
            at: now,
            heard: None,
        };
        let key = run.execution.instance_key.clone();
        let mut heard = self.hear_event(run.scope, &event, (run.execution.depth + 1, key.as_deref())).await?;
        for started in &mut heard.started {
            started.trace = self.trace_under(run);
            started.requested_by.clone_from(&run.execution.requested_by);
            // What one execution sets off in its own Core is done for whom it acts, also where that is over by now.
            if started.core_id == run.execution.core_id {
                started.delegation = run.execution.delegation;
            }
        }
        note_event(run, name);
        event.heard = heard.noted.take();
        run.done.started.extend(heard.started);
        wake_for_event(run, heard.awaited, &event);
        run.done.events.push(event);
        Ok(Outcome::Value(Value::Null))
    }

    /// Where the plugin call goes that a checkpoint asks about; none where there is no such plugin now, and then the answer allows
    /// nothing.
    async fn target_of(&self, run: &Run, request: &CheckpointRequest) -> Result<Option<Target>, Error> {
        let Some(action) = &request.action else { return Ok(None) };
        let hosted = self.hosted(run.scope, run.execution.core_id).await?;
        let (declared, called) = (&run.program.module().plugins, (&*action.alias, &*action.method));
        match self.0.plugins.target(run.scope, &hosted.core, declared, called).await {
            Ok(target) => Ok(Some(target)),
            Err(error) if error.retryable => {
                Err(persistence::Error::Unavailable(error.failure.message.to_string()).into())
            }
            Err(_) => Ok(None),
        }
    }

    /// Closes what the machine has given up: checkpoints, calls, timers and waits that it opened and waits for no more.
    pub(crate) async fn abandon(&self, run: &mut Run) -> Result<(), Error> {
        let ended = run.machine.end().is_some();
        let mut given_up = run.machine.take_abandoned();
        if ended {
            given_up.extend(run.machine.pending().iter().map(|effect| effect.id));
        }
        if given_up.is_empty() {
            return Ok(());
        }
        let fresh = run.done.effects();
        run.calls.give_up(&given_up);
        let unborn = |effect: u32| given_up.iter().any(|id| id.0 == effect);
        run.done.opened.retain(|(_, effect)| !unborn(*effect));
        run.done.timers.retain(|timer| !effect_of(&timer.owner).is_some_and(unborn));
        run.done.waits.retain(|wait| !unborn(wait.effect));
        run.done.started.retain(|child| !child.parent.is_some_and(|parent| unborn(parent.effect)));
        // What was opened since the last commit has cost nothing; the rest is durable.
        given_up.retain(|id| {
            let durable = !fresh.contains(&id.0);
            if !durable {
                run.timed.remove(&id.0);
            }
            durable
        });
        if given_up.is_empty() || run.stored_epoch.is_none() {
            return Ok(());
        }
        // Most often it is the time-out of a block that came to its end in time.
        let execution = run.execution.id;
        given_up.retain(|EffectId(effect)| {
            let effect = *effect;
            match run.timed.remove(&effect) {
                Some(Timed::Sleep) => run.done.cleared.push(Owner::Sleep { execution, effect }),
                Some(Timed::Event) => {
                    run.done.cleared.push(Owner::EventWait { execution, effect });
                    run.done.unwaited.push((execution, effect));
                }
                None => return true,
            }
            false
        });
        if given_up.is_empty() {
            return Ok(());
        }
        let unborn = |effect: u32| given_up.iter().any(|id| id.0 == effect);
        let mut connection = self.0.database.read().await?;
        let pending =
            scaigrid_persistence::checkpoints::pending_of(&mut connection, run.scope, run.execution.id);
        for stored in pending.await? {
            if unborn(stored.effect) {
                run.done.abandoned.push(stored.checkpoint.id);
            }
        }
        let called = executions::children_at_work(&mut connection, run.scope, run.execution.id).await?;
        let orphaned = called.into_iter().filter(|(_, effect, _)| unborn(*effect));
        run.done.orphaned.extend(orphaned.map(|(id, ..)| id));
        let id = run.execution.id;
        let timers = timers::of_execution(&mut connection, run.scope, id).await?;
        run.done.cleared.extend(timers.into_iter().filter(|owner| effect_of(owner).is_some_and(unborn)));
        let waits = event_waits::of_execution(&mut connection, run.scope, id).await?;
        run.done
            .unwaited
            .extend(waits.into_iter().filter(|effect| unborn(*effect)).map(|effect| (id, effect)));
        drop(connection);
        let asked = self.asked_by(run.scope, &run.program, id, Some(&given_up)).await?;
        let (own, others): (Vec<_>, Vec<_>) =
            asked.into_iter().partition(|(scope, _)| scope.tenant_id() == run.scope.tenant_id());
        run.done.orphaned.extend(own.into_iter().map(|(_, id)| id));
        run.done.left.extend(others);
        Ok(())
    }
}

/// What the log says of a checkpoint that opens.
fn waits_at(checkpoint: &Checkpoint, block: &Arc<str>) -> Said {
    Said {
        level: Level::Info,
        block: Some(Arc::clone(block)),
        message: format!("waits at a checkpoint: {}", checkpoint.prompt),
        fields: json!({
            "checkpoint_id": checkpoint.id,
            "checkpoint_type": checkpoint.checkpoint_type,
            "assignee": checkpoint.routing.assignee.to_string(),
        }),
    }
}

/// What the log says of a checkpoint that does not open.
fn asks_nobody(checkpoint: &Checkpoint, block: &Arc<str>) -> Said {
    Said {
        level: Level::Warn,
        block: Some(Arc::clone(block)),
        message: format!("asks nobody, and its Core is routed: {}", checkpoint.prompt),
        fields: json!({ "checkpoint_type": checkpoint.checkpoint_type }),
    }
}

/// Notes in the span of a run that it has published an event.
fn note_event(run: &mut Run, name: &str) {
    if let Some(live) = run.span.live() {
        live.event("emit", "scaigrid.event", name);
    }
}

/// The effect that a timer belongs to, where it belongs to one.
pub(crate) fn effect_of(owner: &Owner) -> Option<u32> {
    match owner {
        Owner::Sleep { effect, .. } | Owner::EventWait { effect, .. } => Some(*effect),
        Owner::Checkpoint(_)
        | Owner::Reminder(_)
        | Owner::Notice(_)
        | Owner::Schedule { .. }
        | Owner::Instance { .. } => None,
    }
}

/// When a time that is asked for comes.
fn due(request: TimerRequest, now: Instant) -> Instant {
    match request {
        TimerRequest::After(span) => now.plus(span),
        TimerRequest::Until(micros) => Instant::from_micros(micros),
    }
}

fn sleep(run: &Run, id: EffectId, due_at: Instant) -> Timer {
    let owner = Owner::Sleep { execution: run.execution.id, effect: id.0 };
    Timer { owner, core_id: run.execution.core_id, due_at }
}

/// Answers an effect that the journal holds already.
pub(crate) fn answer_now(run: &mut Run, id: EffectId, outcome: Outcome) -> Result<(), Error> {
    run.done.entries.push(Entry::Outcome { id, outcome: outcome.clone() });
    deliver(run, id, outcome)
}

/// Gives an outcome to the machine that has just asked for it.
fn deliver(run: &mut Run, id: EffectId, outcome: Outcome) -> Result<(), Error> {
    run.machine
        .deliver(id, outcome)
        .map_err(|error| Error::Journal { id: run.execution.id, reason: error.to_string() })
}

/// A ULID in the form of a UUID: unique, and in the order of time like a version 7 UUID (RFC 9562), of which it bears the
/// version and variant bits.
fn uuid(ulid: Ulid) -> String {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0b11 << 62;
    let bits = (ulid.0 & !VERSION & !VARIANT) | (7 << 76) | (0b10 << 62);
    uuid::Uuid::from_u128(bits).to_string()
}
