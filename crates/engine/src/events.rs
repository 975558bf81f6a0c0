//! Events and who listens: the flows of a Core that an event's name starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use scaigrid_cores::execution::{Execution, ExecutionStatus, Origin};
use scaigrid_ir::expr::{self, Expr, Limits, Scope};
use scaigrid_ir::module::TriggerKind;
use scaigrid_ir::{Type, Value};
use scaigrid_persistence::cores;
use scaigrid_persistence::events::{self, CoreEvent};
use scaigrid_runtime::Program;
use scaigrid_scope::{CoreId, EventId, ExecutionId, TenantScope};

use crate::cores::HostedCore;
use crate::{Engine, Error};

/// An event that was taken, and the executions that it started.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    /// The event.
    pub event_id: EventId,
    /// The executions, in the order of the flows.
    pub executions: Vec<ExecutionId>,
}

impl Engine {
    /// Sends an event to a Core from outside: it is kept, and each flow that listens gets an execution.
    ///
    /// # Errors
    /// The Core takes no work, or the database.
    pub async fn send_event(
        &self,
        scope: TenantScope,
        core: CoreId,
        name: &str,
        data: Value,
    ) -> Result<Delivered, Error> {
        let hosted = self.accepting(scope, core).await?;
        let program = self.program(scope, core, hosted.core.source.version).await?;
        let now = self.0.clock.now();
        let event = CoreEvent {
            id: EventId::from_ulid(self.0.ids.draw(now)),
            core_id: core,
            execution_id: None,
            name: name.to_owned(),
            data,
            at: now,
        };
        let started = self.listeners(&program, &hosted, &event, 0);
        let mut transaction = self.0.database.begin().await?;
        // What was believed a moment ago is looked at once more, where it counts.
        let (status, _) = cores::hold_standing(&mut transaction, scope, core).await?.ok_or(Error::NoCore)?;
        if !status.can_accept_work() {
            return Err(Error::NotRunning(status));
        }
        events::add(&mut transaction, scope, &event, &started).await?;
        transaction.commit().await?;
        if !started.is_empty() {
            self.work_waits();
        }
        Ok(Delivered {
            event_id: event.id,
            executions: started.iter().map(|execution| execution.id).collect(),
        })
    }

    /// The executions that an event starts: one for each trigger and subscription of its Core that fits.
    pub(crate) fn listeners(
        &self,
        program: &Program,
        hosted: &HostedCore,
        event: &CoreEvent,
        depth: u16,
    ) -> Vec<Execution> {
        let module = program.module();
        let triggers = module.triggers.iter().filter_map(|trigger| match &trigger.kind {
            TriggerKind::Event { event: name, filter } if **name == *event.name => {
                Some((&trigger.target_flow, filter.as_ref()))
            }
            _ => None,
        });
        let subscriptions = module
            .subscriptions
            .iter()
            .filter(|subscription| *subscription.event == *event.name)
            .filter(|subscription| subscription.from.as_deref().is_none_or(|from| from == "core://self"))
            .map(|subscription| (&subscription.flow, subscription.filter.as_ref()));
        let scope = EventScope { event, types: &module.types };
        triggers
            .chain(subscriptions)
            .filter(|(_, filter)| filter.is_none_or(|filter| passes(filter, &scope)))
            .map(|(flow, _)| Execution {
                id: ExecutionId::from_ulid(self.0.ids.draw(event.at)),
                tenant_id: hosted.core.tenant_id,
                core_id: event.core_id,
                flow: Arc::clone(flow),
                source_version: hosted.core.source.version,
                status: ExecutionStatus::Queued,
                origin: Origin::Event(event.name.as_str().into()),
                instance_key: None,
                parent: None,
                depth,
                input: input(program, flow, event),
                output: None,
                error: None,
                started_at: event.at,
                finished_at: None,
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
