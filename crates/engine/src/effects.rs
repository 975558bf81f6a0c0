//! What a machine wants, done: events and values of the moment, at once; checkpoints and calls, opened. Memory is in
//! [`memory`](crate::memory).

use std::sync::Arc;

use scaigrid_checkpoints::{Checkpoint, Expiry, ExpiryAction, NewCheckpoint, Routing};
use scaigrid_cores::execution::{Execution, ExecutionStatus, Origin, Parent};
use scaigrid_ir::Value;
use scaigrid_ir::block::{MemoryOp, OnTimeout, Priority};
use scaigrid_persistence::events::CoreEvent;
use scaigrid_persistence::executions;
use scaigrid_runtime::journal::Entry;
use scaigrid_runtime::{CheckpointRequest, CoreCallRequest, Effect, EffectKind, Failure, Outcome};
use scaigrid_scope::{CheckpointId, EventId, ExecutionId, Instant};
use ulid::Ulid;

use crate::drive::Run;
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
            // The journal is where a program's log is kept.
            EffectKind::Log { .. } => Outcome::Value(Value::Null),
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
                let checkpoint = self.open(run, &effect, request, now);
                run.done.opened.push((checkpoint, effect.id.0));
                run.done.entries.push(Entry::Effect { effect, outcome: None });
                return Ok(());
            }
            EffectKind::PluginCall(_)
            | EffectKind::ModelCall(_)
            | EffectKind::Timer(_)
            | EffectKind::WaitEvent(_) => {
                run.done.entries.push(Entry::Effect { effect, outcome: None });
                return Ok(());
            }
            EffectKind::CoreCall(request) => match self.call(run, &effect, request, now) {
                Ok(child) => {
                    run.done.started.push(child);
                    run.done.entries.push(Entry::Effect { effect, outcome: None });
                    return Ok(());
                }
                Err(failure) => {
                    let (id, outcome) = (effect.id, Outcome::Error(failure));
                    run.done.entries.push(Entry::Effect { effect, outcome: None });
                    run.done.entries.push(Entry::Outcome { id, outcome: outcome.clone() });
                    return deliver(run, id, outcome);
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
        let event = CoreEvent {
            id: EventId::from_ulid(self.0.ids.draw(now)),
            core_id: run.execution.core_id,
            execution_id: Some(run.execution.id),
            name: name.to_owned(),
            data: data.clone(),
            at: now,
        };
        let hosted = self.hosted(run.scope, run.execution.core_id).await?;
        let program = self.program(run.scope, run.execution.core_id, hosted.core.source.version).await?;
        let started = self.listeners(&program, &hosted, &event, run.execution.depth + 1);
        run.done.started.extend(started);
        run.done.events.push(event);
        Ok(Outcome::Value(Value::Null))
    }

    /// The checkpoint that a request means.
    fn open(&self, run: &Run, effect: &Effect, request: &CheckpointRequest, now: Instant) -> Checkpoint {
        let routing = |raw: Option<&Arc<str>>| Routing::of_program(raw.map(|raw| &**raw), None);
        let expiry = request.timeout.map(|timeout| Expiry {
            at: now.plus(timeout),
            action: match &request.on_timeout {
                OnTimeout::Expire => ExpiryAction::Expire,
                OnTimeout::Escalate => {
                    ExpiryAction::Escalate { to: routing(request.escalation_target.as_ref()) }
                }
                OnTimeout::Resolve(option) => ExpiryAction::Resolve { option: option.to_string() },
            },
        });
        let question = NewCheckpoint {
            id: CheckpointId::from_ulid(self.0.ids.draw(now)),
            tenant_id: run.execution.tenant_id,
            core_id: run.execution.core_id,
            execution_id: run.execution.id,
            flow_name: effect.flow.to_string(),
            block_id: effect.block.to_string(),
            instance_key: run.execution.instance_key.as_ref().map(ToString::to_string),
            checkpoint_type: request.checkpoint_type.to_string(),
            prompt: request.prompt.to_string(),
            options: request.options.iter().map(ToString::to_string).collect(),
            routing: routing(request.assignee.as_ref()),
            context: Arc::new(request.payload.to_json()),
            priority: priority(request.priority),
            expiry,
        };
        Checkpoint::open(question, now).checkpoint
    }

    /// The execution that a call starts.
    fn call(
        &self,
        run: &Run,
        effect: &Effect,
        request: &CoreCallRequest,
        now: Instant,
    ) -> Result<Execution, Failure> {
        if &*request.target != "core://self" {
            let message = format!("{} cannot be called: only core://self can", request.target);
            return Err(Failure::new("CORE_NOT_FOUND", message));
        }
        if run.execution.depth >= DEPTH_AT_MOST {
            let message = format!("{DEPTH_AT_MOST} events and calls led here; there may be no more");
            return Err(Failure::new("CALL_DEPTH_EXCEEDED", message));
        }
        Ok(Execution {
            id: ExecutionId::from_ulid(self.0.ids.draw(now)),
            flow: Arc::clone(&request.flow_name),
            status: ExecutionStatus::Queued,
            origin: Origin::Call,
            parent: Some(Parent { execution: run.execution.id, effect: effect.id.0 }),
            depth: run.execution.depth + 1,
            input: request.input.clone(),
            output: None,
            error: None,
            started_at: now,
            finished_at: None,
            ..run.execution.clone()
        })
    }

    /// Closes what the machine has given up: checkpoints that it opened and waits for no more.
    pub(crate) async fn abandon(&self, run: &mut Run) -> Result<(), Error> {
        let ended = run.machine.end().is_some();
        let mut given_up = run.machine.take_abandoned();
        if ended && run.stored_epoch.is_some() {
            given_up.extend(run.machine.pending().iter().map(|effect| effect.id));
        }
        if given_up.is_empty() {
            return Ok(());
        }
        let unborn = |effect: u32| given_up.iter().any(|id| id.0 == effect);
        run.done.opened.retain(|(_, effect)| !unborn(*effect));
        run.done.started.retain(|child| !child.parent.is_some_and(|parent| unborn(parent.effect)));
        if run.stored_epoch.is_none() {
            return Ok(());
        }
        let mut connection = self.0.database.read().await?;
        let pending =
            scaigrid_persistence::checkpoints::pending_of(&mut connection, run.scope, run.execution.id);
        for stored in pending.await? {
            if unborn(stored.effect) {
                run.done.abandoned.push(stored.checkpoint.id);
            }
        }
        let called = executions::children(&mut connection, run.scope, run.execution.id).await?;
        let orphaned = called.into_iter().filter(|(_, effect, status)| unborn(*effect) && !status.is_final());
        run.done.orphaned.extend(orphaned.map(|(id, ..)| id));
        Ok(())
    }
}

/// Gives an outcome to the machine that has just asked for it.
fn deliver(run: &mut Run, id: scaigrid_runtime::EffectId, outcome: Outcome) -> Result<(), Error> {
    run.machine
        .deliver(id, outcome)
        .map_err(|error| Error::Journal { id: run.execution.id, reason: error.to_string() })
}

fn priority(priority: Priority) -> scaigrid_checkpoints::Priority {
    match priority {
        Priority::Low => scaigrid_checkpoints::Priority::Low,
        Priority::Normal => scaigrid_checkpoints::Priority::Normal,
        Priority::High => scaigrid_checkpoints::Priority::High,
        Priority::Critical => scaigrid_checkpoints::Priority::Critical,
    }
}

/// A ULID in the form of a UUID: unique, and in the order of time like a version 7 UUID (RFC 9562), of which it bears the
/// version and variant bits.
fn uuid(ulid: Ulid) -> String {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0b11 << 62;
    let bits = (ulid.0 & !VERSION & !VARIANT) | (7 << 76) | (0b10 << 62);
    uuid::Uuid::from_u128(bits).to_string()
}
