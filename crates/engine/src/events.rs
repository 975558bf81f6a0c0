//! Events and who listens: the flows that an event's name starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use scaigrid_cores::execution::{Execution, ExecutionStatus, Origin};
use scaigrid_cores::instances::Place;
use scaigrid_cores::triggers::listening::{Listening, NOTED_AT_MOST, Verdict, noted};
use scaigrid_cores::triggers::{self, Listens, event};
use scaigrid_ir::core_uri;
use scaigrid_ir::expr::{self, Expr, Limits, Scope, Stop};
use scaigrid_ir::module::TriggerKind;
use scaigrid_ir::{Type, Value};
use scaigrid_persistence::commit::Verdict as Judged;
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
    /// What became of it with each who listens, as it is kept with it.
    pub(crate) noted: Option<serde_json::Value>,
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
    #[boxed]
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
        let mut event = CoreEvent {
            id: EventId::from_ulid(self.0.ids.draw(now)),
            core_id: core,
            execution_id: None,
            name: name.to_owned(),
            data,
            at: now,
            heard: None,
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
        event.heard = heard.noted.take();
        // Events that come at the same time share a transaction, like everything else.
        match self.commit_and_tell(arrival(scope, event, heard), None).await? {
            Judged::Done | Judged::Awaited => {}
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
        let mut listened = Vec::new();
        let depth_and_key = (depth, emitted_by);
        let tenant = self.tenant_named_by(scope, &program, &event.name).await?;
        let emitter = (&*hosted, tenant.as_deref());
        let mut started = self.listeners(&program, &hosted, event, emitter, depth_and_key, &mut listened)?;
        if event.execution_id.is_none() {
            // What an execution publishes is heard under its own delegation.
            self.bind(scope, event.core_id, &mut started).await?;
        }
        for subscriber in self.subscribers(scope, &hosted, &event.name).await? {
            match self.foreign_listeners(scope, subscriber, event, &hosted, depth, &mut listened).await {
                Ok(found) => started.extend(found),
                Err(error) if error.is_passing() => return Err(error),
                // What is wrong with one Core must not keep another from publishing.
                Err(error) => {
                    tracing::warn!(%error, core = %subscriber, "a subscriber cannot hear an event");
                    // What else is wrong is the platform's, and for its own log alone.
                    let why = match &error {
                        Error::BadProgram(_) => error.to_string(),
                        _ => "the Core cannot be read".to_owned(),
                    };
                    listened.push(of_subscription(subscriber, None, Verdict::Broken(why)));
                }
            }
        }
        let awaited = self.awaiting(scope, &hosted, event).await?;
        listened.extend(awaited.iter().take(NOTED_AT_MOST).map(|wait| Listening {
            listener: "wait".to_owned(),
            core_id: wait.core_id,
            flow: None,
            verdict: Verdict::Woke(wait.execution_id),
        }));
        let noted = noted(&listened, awaited.len().saturating_sub(NOTED_AT_MOST));
        Ok(Heard { started, awaited, noted })
    }

    async fn foreign_listeners(
        &self,
        scope: TenantScope,
        subscriber: CoreId,
        event: &CoreEvent,
        emitter: &HostedCore,
        depth: u16,
        listened: &mut Vec<Listening>,
    ) -> Result<Vec<Execution>, Error> {
        let hosted = self.hosted(scope, subscriber).await?;
        if !hosted.core.status.can_accept_work() {
            let status = hosted.core.status.as_str().to_owned();
            listened.push(of_subscription(subscriber, None, Verdict::CoreNotRunning(status)));
            return Ok(Vec::new());
        }
        let program = self.program(scope, subscriber, hosted.core.source.version).await?;
        let tenant = self.tenant_named_by(scope, &program, &event.name).await?;
        let emitter = (emitter, tenant.as_deref());
        let mut started = self.listeners(&program, &hosted, event, emitter, (depth, None), listened)?;
        self.bind(scope, subscriber, &mut started).await?;
        Ok(started)
    }

    /// The slug of the tenant, where a program's subscription to this event names one.
    async fn tenant_named_by(
        &self,
        scope: TenantScope,
        program: &Program,
        event: &str,
    ) -> Result<Option<String>, Error> {
        let subscriptions = program.module().subscriptions.iter().filter(|one| *one.event == *event);
        let mut sources = subscriptions.filter_map(|one| one.from.as_deref());
        if sources.any(|from| core_uri::tenant(from).is_some()) {
            self.tenant_slug(scope).await
        } else {
            Ok(None)
        }
    }

    /// Binds executions that begin in a Core to what that is lent.
    async fn bind(&self, scope: TenantScope, core: CoreId, begun: &mut [Execution]) -> Result<(), Error> {
        if begun.is_empty() {
            return Ok(());
        }
        let delegation = self.begun_under(scope, core).await?;
        for execution in begun {
            execution.delegation = delegation;
        }
        Ok(())
    }

    /// The executions that an event of a Core starts in a Core, which may be the same: one for each trigger and
    /// subscription that fits. They are bound to no delegation yet. The tenant's slug is wanted where the program names one.
    fn listeners(
        &self,
        program: &Program,
        hosted: &HostedCore,
        event: &CoreEvent,
        (emitter, tenant): (&HostedCore, Option<&str>),
        (depth, emitted_by): (u16, Option<&str>),
        listened: &mut Vec<Listening>,
    ) -> Result<Vec<Execution>, Error> {
        let module = program.module();
        let instances = instances(hosted, program);
        let own = hosted.core.id == emitter.core.id;
        let named = |name: &str| format!("trigger:{name}");
        let triggers = module.triggers.iter().filter(|_| own).filter_map(|trigger| match &trigger.kind {
            TriggerKind::Event { event: pattern, filter } if event::fits(pattern, &event.name) => {
                Some((named(&trigger.name), Arc::clone(&trigger.target_flow), filter.as_ref()))
            }
            _ => None,
        });
        let mut broken = Vec::new();
        let registered = hosted.core.triggers.iter().filter(|_| own).filter_map(|trigger| {
            let Listens::Event(heard) = &trigger.listens else { return None };
            if !heard.pattern.fits(&event.name) {
                return None;
            }
            let (by, flow) = (named(trigger.name.as_str()), Arc::from(trigger.flow.as_str()));
            if let Some(problem) = triggers::hindrance(module, trigger) {
                let (core_id, flow) = (hosted.core.id, Some(trigger.flow.clone()));
                broken.push(Listening { listener: by, core_id, flow, verdict: Verdict::Broken(problem) });
                return None;
            }
            Some((by, flow, heard.filter.as_ref().map(|(_, filter)| filter)))
        });
        let registered: Vec<_> = registered.collect();
        listened.extend(broken);
        let subscriptions = module
            .subscriptions
            .iter()
            .filter(|subscription| *subscription.event == *event.name)
            .filter(|subscription| match subscription.from.as_deref() {
                None | Some(core_uri::SELF) => own,
                Some(from) => core_uri::names(from, tenant, emitter.core.slug.as_str()),
            })
            .map(|subscription| {
                (SUBSCRIPTION.to_owned(), Arc::clone(&subscription.flow), subscription.filter.as_ref())
            });
        let scope = EventScope { event, types: &module.types };
        let mut started = Vec::new();
        for (listener, flow, filter) in triggers.chain(registered).chain(subscriptions) {
            let mut note = |verdict| {
                let (core_id, flow) = (hosted.core.id, Some(flow.to_string()));
                listened.push(Listening { listener: listener.clone(), core_id, flow, verdict });
            };
            match filter.map_or(Passing::Yes, |filter| passing(filter, &scope)) {
                Passing::Yes => {}
                Passing::No => {
                    note(Verdict::FilterFalse);
                    continue;
                }
                Passing::Unknown(reason) => {
                    note(Verdict::FilterError(reason));
                    continue;
                }
            }
            let (place, problem) = match instances.place(None, &event.data) {
                Ok(place) => (place, None),
                Err(problem) => match emitted_by.filter(|_| own) {
                    // What an entity publishes is about itself, where it does not say otherwise.
                    Some(key) => (instances.place(Some(key), &event.data).unwrap_or_default(), None),
                    None if own && event.execution_id.is_none() => return Err(Error::EntityKey(problem)),
                    None => (Place::default(), Some(problem)),
                },
            };
            let status = if problem.is_some() { ExecutionStatus::Failed } else { ExecutionStatus::Queued };
            let id = ExecutionId::from_ulid(self.0.ids.draw(event.at));
            let problem = problem.map(|problem| format!("data.{} {problem}", problem.field()));
            note(match &problem {
                None => Verdict::Started(id),
                Some(problem) => Verdict::Unfit(problem.clone(), Some(id)),
            });
            started.push(Execution {
                id,
                tenant_id: hosted.core.tenant_id,
                core_id: hosted.core.id,
                flow: Arc::clone(&flow),
                source_version: hosted.core.source.version,
                status,
                origin: Origin::Event(event.name.as_str().into()),
                instance_key: place.key,
                slots: place.slots,
                parent: None,
                depth,
                input: input(program, &flow, event),
                output: None,
                debugging: None,
                finished_at: problem.is_some().then_some(event.at),
                error: problem.map(|problem| describe(&Failure::new("ENTITY_KEY_INVALID", problem))),
                started_at: event.at,
                trace: None,
                delegation: None,
                requested_by: Vec::new(),
            });
        }
        Ok(started)
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

/// What a filter says.
enum Passing {
    Yes,
    No,
    /// It cannot be computed, or is no truth value.
    Unknown(String),
}

/// A filter that fails does not fit, but is told apart.
fn passing(filter: &Expr, scope: &EventScope<'_>) -> Passing {
    match expr::evaluate(filter, scope, &[], &Limits::default()) {
        Ok(Value::Bool(true)) => Passing::Yes,
        Ok(Value::Bool(false)) => Passing::No,
        Ok(other) => Passing::Unknown(format!("it is {}, not a truth value", other.type_name())),
        Err(Stop::Error(error)) => Passing::Unknown(error.to_string()),
        Err(Stop::Asks(_)) => Passing::Unknown("it asks for more than the event".to_owned()),
    }
}

/// What a subscription is called among those who listen.
const SUBSCRIPTION: &str = "subscription";

fn of_subscription(core_id: CoreId, flow: Option<String>, verdict: Verdict) -> Listening {
    Listening { listener: SUBSCRIPTION.to_owned(), core_id, flow, verdict }
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
