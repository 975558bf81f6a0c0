//! Events and who listens: the flows that an event's name starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use scaigrid_cores::execution::{Execution, ExecutionStatus, Origin};
use scaigrid_cores::instances::Place;
use scaigrid_cores::subscription;
use scaigrid_ir::expr::{self, Expr, Limits, Scope};
use scaigrid_ir::module::TriggerKind;
use scaigrid_ir::{Type, Value};
use scaigrid_persistence::commit::Verdict;
use scaigrid_persistence::event_waits::EventWait;
use scaigrid_persistence::events::CoreEvent;
use scaigrid_runtime::{Failure, Program};
use scaigrid_scope::{CoreId, EventId, ExecutionId, TenantScope, UserId};

use crate::cores::HostedCore;
use crate::drive::describe;
use crate::event_waits::arrival;
use crate::instances::instances;
use crate::traces::{kind, note_begun};
use crate::{Engine, Error};

/// Who hears an event.
pub(crate) struct Heard {
    /// The executions that it starts.
    pub(crate) started: Vec<Execution>,
    /// The executions that wait for it.
    pub(crate) awaited: Vec<EventWait>,
}

/// An event that was taken, and the executions that it started.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    /// The event.
    pub event_id: EventId,
    /// The executions, in the order of the flows.
    pub executions: Vec<ExecutionId>,
}

impl Engine {
    /// Sends an event to a Core from outside, at a user's wish: it is kept, and each flow that listens gets an execution.
    ///
    /// # Errors
    /// The Core takes no work, or the database.
    pub async fn send_event(
        &self,
        scope: TenantScope,
        core: CoreId,
        name: &str,
        data: Value,
        by: Option<UserId>,
    ) -> Result<Delivered, Error> {
        let hosted = self.accepting(scope, core).await?;
        let now = self.0.clock.now();
        let event = CoreEvent {
            id: EventId::from_ulid(self.0.ids.draw(now)),
            core_id: core,
            execution_id: None,
            name: name.to_owned(),
            data,
            at: now,
        };
        let mut heard = self.hear_event(scope, &event, (0, None)).await?;
        for begun in &mut heard.started {
            self.may_queue(scope, &hosted).await?;
            begun.trace = self.begun_trace();
            begun.requested_by = by.into_iter().collect();
        }
        let executions = heard.started.iter().map(|execution| execution.id).collect();
        let begun: Vec<_> = heard.started.iter().map(|execution| kind(&execution.origin)).collect();
        let waits = !(heard.started.is_empty() && heard.awaited.is_empty());
        let event_id = event.id;
        // Events that come at the same time share a transaction, like everything else.
        match self.commit_and_tell(arrival(scope, event, heard), None).await? {
            Verdict::Done | Verdict::Awaited => {}
            _ => return Err(Error::NotRunning(self.status_now(scope, core).await?)),
        }
        begun.into_iter().for_each(note_begun);
        if waits {
            self.work_waits();
        }
        Ok(Delivered { event_id, executions })
    }

    /// Who hears an event: flows of its Core that listen, flows of other Cores that listen to this one, and executions of
    /// its Core that wait for it.
    pub(crate) async fn hear_event(
        &self,
        scope: TenantScope,
        event: &CoreEvent,
        (depth, emitted_by): (u16, Option<&str>),
    ) -> Result<Heard, Error> {
        let hosted = self.hosted(scope, event.core_id).await?;
        let program = self.program(scope, event.core_id, hosted.core.source.version).await?;
        let mut started = self.listeners(&program, &hosted, event, &hosted, (depth, emitted_by))?;
        for subscriber in self.subscribers(scope, &hosted, &event.name).await? {
            match self.foreign_listeners(scope, subscriber, event, &hosted, depth).await {
                Ok(found) => started.extend(found),
                Err(error) if error.is_passing() => return Err(error),
                // What is wrong with one Core must not keep another from publishing.
                Err(error) => tracing::warn!(%error, core = %subscriber, "a subscriber cannot hear an event"),
            }
        }
        let awaited = self.awaiting(scope, &hosted, event).await?;
        Ok(Heard { started, awaited })
    }

    async fn foreign_listeners(
        &self,
        scope: TenantScope,
        subscriber: CoreId,
        event: &CoreEvent,
        emitter: &HostedCore,
        depth: u16,
    ) -> Result<Vec<Execution>, Error> {
        let hosted = self.hosted(scope, subscriber).await?;
        if !hosted.core.status.can_accept_work() {
            return Ok(Vec::new());
        }
        let program = self.program(scope, subscriber, hosted.core.source.version).await?;
        self.listeners(&program, &hosted, event, emitter, (depth, None))
    }

    /// The executions that an event of a Core starts in a Core, which may be the same: one for each trigger and
    /// subscription that fits.
    fn listeners(
        &self,
        program: &Program,
        hosted: &HostedCore,
        event: &CoreEvent,
        emitter: &HostedCore,
        (depth, emitted_by): (u16, Option<&str>),
    ) -> Result<Vec<Execution>, Error> {
        let module = program.module();
        let instances = instances(hosted, program);
        let own = hosted.core.id == emitter.core.id;
        let triggers = module.triggers.iter().filter(|_| own).filter_map(|trigger| match &trigger.kind {
            TriggerKind::Event { event: name, filter } if **name == *event.name => {
                Some((&trigger.target_flow, filter.as_ref()))
            }
            _ => None,
        });
        let subscriptions = module
            .subscriptions
            .iter()
            .filter(|subscription| *subscription.event == *event.name)
            .filter(|subscription| match subscription.from.as_deref() {
                None | Some("core://self") => own,
                Some(from) => subscription::slug(from) == Some(emitter.core.slug.as_str()),
            })
            .map(|subscription| (&subscription.flow, subscription.filter.as_ref()));
        let scope = EventScope { event, types: &module.types };
        triggers
            .chain(subscriptions)
            .filter(|(_, filter)| filter.is_none_or(|filter| passes(filter, &scope)))
            .map(|(flow, _)| {
                let (place, problem) = match instances.place(None, &event.data) {
                    Ok(place) => (place, None),
                    Err(problem) => match emitted_by.filter(|_| own) {
                        // What an entity publishes is about itself, where it does not say otherwise.
                        Some(key) => (instances.place(Some(key), &event.data).unwrap_or_default(), None),
                        None if own && event.execution_id.is_none() => return Err(Error::EntityKey(problem)),
                        None => (Place::default(), Some(problem)),
                    },
                };
                let status =
                    if problem.is_some() { ExecutionStatus::Failed } else { ExecutionStatus::Queued };
                Ok(Execution {
                    id: ExecutionId::from_ulid(self.0.ids.draw(event.at)),
                    tenant_id: hosted.core.tenant_id,
                    core_id: hosted.core.id,
                    flow: Arc::clone(flow),
                    source_version: hosted.core.source.version,
                    status,
                    origin: Origin::Event(event.name.as_str().into()),
                    instance_key: place.key,
                    slots: place.slots,
                    parent: None,
                    depth,
                    input: input(program, flow, event),
                    output: None,
                    debugging: None,
                    finished_at: problem.is_some().then_some(event.at),
                    error: problem.map(|problem| {
                        let message = format!("data.{} {problem}", problem.field());
                        describe(&Failure::new("ENTITY_KEY_INVALID", message))
                    }),
                    started_at: event.at,
                    trace: None,
                    requested_by: Vec::new(),
                })
            })
            .collect()
    }
}

/// `event` and `data`, as far as the flow declares them.
fn input(program: &Program, flow: &str, event: &CoreEvent) -> Value {
    let params = program.module().flow(flow).map(|flow| flow.params.as_slice()).unwrap_or_default();
    let fields = params.iter().filter_map(|param| {
        let value = match &*param.name {
            "event" => Value::String(event.name.as_str().into()),
            "data" => event.data.clone(),
            _ => return None,
        };
        Some((Arc::clone(&param.name), value))
    });
    Value::Object(Arc::new(fields.collect::<BTreeMap<_, _>>()))
}

/// A filter that fails does not fit.
fn passes(filter: &Expr, scope: &EventScope<'_>) -> bool {
    matches!(expr::evaluate(filter, scope, &[], &Limits::default()), Ok(Value::Bool(true)))
}

/// What a filter sees: `event` and `data`.
struct EventScope<'a> {
    event: &'a CoreEvent,
    types: &'a BTreeMap<Arc<str>, Type>,
}

impl Scope for EventScope<'_> {
    fn lookup(&self, name: &str) -> Option<Value> {
        match name {
            "event" => Some(Value::String(self.event.name.as_str().into())),
            "data" => Some(self.event.data.clone()),
            _ => None,
        }
    }

    fn types(&self) -> &BTreeMap<Arc<str>, Type> {
        self.types
    }
}
