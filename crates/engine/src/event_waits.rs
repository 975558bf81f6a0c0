//! Executions that wait for events. A wait and its end are written with the commit that they belong to; an event that comes
//! takes up the waits that were durable before it was published.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use scaigrid_ir::Value;
use scaigrid_persistence::commit::{Change, Delivery, Unit};
use scaigrid_persistence::cores;
use scaigrid_persistence::event_waits::{self, EventWait};
use scaigrid_persistence::events::CoreEvent;
use scaigrid_persistence::timers::{Owner, Timer};
use scaigrid_runtime::journal::Entry;
use scaigrid_runtime::{Effect, EffectKind, Failure, Outcome, Program};
use scaigrid_scope::{Instant, TenantScope};

use crate::cores::HostedCore;
use crate::drive::encode_outcome;
use crate::effects::answer_now;
use crate::events::Heard;
use crate::resume::answer;
use crate::run::{Run, Timed};
use crate::{Engine, Error};

/// The most characters of the name of an event that can be waited for.
const NAME_AT_MOST: usize = 200;
/// Past so many versions it is asked each time who waits.
const VERSIONS_AT_MOST: u32 = 20;
/// Executions that one event wakes at most, the oldest first.
const WOKEN_AT_MOST: i64 = 20_000;

impl Engine {
    /// The waits for an event of a Core that it ends.
    pub(crate) async fn awaiting(
        &self,
        scope: TenantScope,
        hosted: &HostedCore,
        event: &CoreEvent,
    ) -> Result<Vec<EventWait>, Error> {
        if !self.may_wait(scope, hosted).await? {
            return Ok(Vec::new());
        }
        let mut connection = self.0.database.read().await?;
        let waiting =
            event_waits::list(&mut connection, scope, event.core_id, &event.name, WOKEN_AT_MOST).await?;
        drop(connection);
        let mut awaited = Vec::with_capacity(waiting.len());
        for wait in waiting {
            // A program is loaded for its filter alone.
            if wait.captured.is_none() {
                awaited.push(wait);
                continue;
            }
            let program = self.program(scope, wait.core_id, wait.source_version).await?;
            if passes(&program, &wait, event) {
                awaited.push(wait);
            }
        }
        Ok(awaited)
    }

    /// Whether any program that the Core has had can wait for events; where none can, publishing asks nobody.
    async fn may_wait(&self, scope: TenantScope, hosted: &HostedCore) -> Result<bool, Error> {
        let (core, newest) = (hosted.core.id, hosted.core.source.version);
        if newest > VERSIONS_AT_MOST {
            return Ok(true);
        }
        if let Some(known) = self.0.hosted.may_wait.get(&(core, newest)) {
            return Ok(known);
        }
        let mut may_wait = waits(&hosted.core.source.program);
        let mut connection = self.0.database.read().await?;
        for version in (1..newest).rev() {
            if may_wait {
                break;
            }
            let found = cores::lookup_version(&mut connection, scope, core, version).await?;
            may_wait = found.is_none_or(|found| waits(&found.source.program));
        }
        self.0.hosted.may_wait.insert((core, newest), may_wait);
        Ok(may_wait)
    }
}

/// Whether something in a program waits for events.
fn waits(program: &serde_json::Value) -> bool {
    match program {
        serde_json::Value::Object(fields) => {
            let kind = fields.get("kind").and_then(serde_json::Value::as_str);
            matches!(kind, Some("wait_event" | "await_responses")) || fields.values().any(waits)
        }
        serde_json::Value::Array(items) => items.iter().any(waits),
        _ => false,
    }
}

/// Begins to wait for an event.
pub(crate) fn wait_for_event(run: &mut Run, effect: Effect, now: Instant) -> Result<(), Error> {
    let EffectKind::WaitEvent(request) = &effect.kind else { return Ok(()) };
    let id = effect.id;
    if request.name.chars().count() > NAME_AT_MOST {
        let message = format!("the name of an event has at most {NAME_AT_MOST} characters");
        run.done.entries.push(Entry::Effect { effect, outcome: None });
        return answer_now(run, id, Outcome::Error(Failure::new("EVENT_NAME_INVALID", message)));
    }
    let core_id = run.execution.core_id;
    run.timed.insert(id.0, Timed::Event);
    run.done.waits.push(EventWait {
        execution_id: run.execution.id,
        effect: id.0,
        core_id,
        name: request.name.to_string(),
        source_version: run.execution.source_version,
        pointer: effect.pointer.to_string(),
        captured: request.filtered.then(|| request.captured.clone()),
    });
    if let Some(timeout) = request.timeout {
        let owner = Owner::EventWait { execution: run.execution.id, effect: id.0 };
        run.done.timers.push(Timer { owner, core_id, due_at: now.plus(timeout) });
    }
    run.done.entries.push(Entry::Effect { effect, outcome: None });
    Ok(())
}

/// Ends the waits for an event that an execution publishes, its own among them.
pub(crate) fn wake_for_event(run: &mut Run, awaited: Vec<EventWait>, event: &CoreEvent) {
    let mut own: Vec<u32> = Vec::new();
    let mut over: HashSet<_> = run.done.unwaited.iter().copied().collect();
    for wait in awaited {
        let owner = Owner::EventWait { execution: wait.execution_id, effect: wait.effect };
        let place = (wait.execution_id, wait.effect);
        // One and the same run may publish a name twice before anything is durable.
        if !over.insert(place) {
            continue;
        }
        run.done.unwaited.push(place);
        run.done.cleared.push(owner);
        if wait.execution_id == run.execution.id {
            own.push(wait.effect);
        } else {
            run.done.delivered.push(delivery(&wait, event));
        }
    }
    // Waits of this run that are not durable yet.
    let program = Arc::clone(&run.program);
    let (heard, waiting) = std::mem::take(&mut run.done.waits)
        .into_iter()
        .partition(|wait| wait.name == event.name && passes(&program, wait, event));
    run.done.waits = waiting;
    for wait in heard {
        own.push(wait.effect);
        let effect = wait.effect;
        run.done.timers.retain(
            |timer| !matches!(timer.owner, Owner::EventWait { effect: timed, .. } if timed == effect),
        );
    }
    for effect in own {
        answer(run, effect, Outcome::Value(told(event)));
    }
}

/// Whether an event is the one that is waited for.
fn passes(program: &Program, wait: &EventWait, event: &CoreEvent) -> bool {
    let Some(captured) = &wait.captured else { return true };
    program.event_passes(&wait.pointer, captured, &event.name, &event.data)
}

/// What an execution that waited gets: `{event, data}`.
fn told(event: &CoreEvent) -> Value {
    let fields = [("event", Value::String(event.name.as_str().into())), ("data", event.data.clone())];
    Value::Object(Arc::new(
        fields.into_iter().map(|(name, value)| (Arc::from(name), value)).collect::<BTreeMap<_, _>>(),
    ))
}

fn delivery(wait: &EventWait, event: &CoreEvent) -> Delivery {
    let outcome = encode_outcome(&Outcome::Value(told(event)));
    Delivery { to: wait.execution_id, effect: wait.effect, outcome }
}

/// An event that came from outside, with all that follows from it.
pub(crate) fn arrival(scope: TenantScope, event: CoreEvent, heard: Heard) -> Unit {
    let mut unit = Unit::new(scope.tenant_id(), event.at, Change::Accept { core_id: event.core_id });
    for wait in &heard.awaited {
        unit.delivered.push(delivery(wait, &event));
        unit.unwaited.push((wait.execution_id, wait.effect));
        unit.cleared.push(Owner::EventWait { execution: wait.execution_id, effect: wait.effect });
    }
    unit.started = heard.started;
    unit.events.push(event);
    unit
}
