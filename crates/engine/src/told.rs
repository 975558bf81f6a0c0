//! What webhooks are told of executions and checkpoints. It is written in the commit that makes it true, and only where
//! somebody listens: otherwise it costs a look into memory, and once a second one into the database.

use std::pin::Pin;
use std::sync::Arc;

use scaigrid_bus::Recent;
use scaigrid_checkpoints::Checkpoint;
use scaigrid_cores::execution::{Execution, ExecutionStatus};
use scaigrid_cores::publication::TOKEN_EVENT;
use scaigrid_persistence::commit::{Unit, Verdict};
use scaigrid_persistence::{Connection, Result, webhooks};
use scaigrid_scope::{EventId, ExecutionId, TenantId};
use scaigrid_webhooks::{Event, EventType, Subscriptions};
use serde_json::{Value, json};

use crate::{Engine, Error};

/// How many tenants are kept in mind.
const TENANTS: u64 = 50_000;
/// The most characters of a text that is told.
const TEXT: usize = 2_000;

/// What the webhooks of tenants want.
pub(crate) struct Listeners(Recent<(), TenantId, Arc<[Subscriptions]>>);

impl Listeners {
    pub(crate) fn new() -> Self {
        Self(Recent::new(TENANTS))
    }
}

impl Engine {
    /// Forgets who listens to what, for a webhook was changed.
    pub fn forget_listeners(&self) {
        self.0.listeners.0.forget_all();
    }

    /// Tells an execution that makes calls, on whichever node, that something has come for it.
    fn news_for(&self, id: ExecutionId) {
        self.0.awaited.tell(id);
        self.0.bus.publish(scaigrid_bus::Signal::ExecutionAwaited(id));
    }

    pub(crate) async fn listening_webhooks(&self, tenant: TenantId) -> Result<Arc<[Subscriptions]>> {
        let (listeners, key) = (&self.0.listeners.0, ((), tenant));
        if let Some(known) = listeners.get(&key) {
            return Ok(known);
        }
        let look_up = listeners.look_up(key).await;
        if let Some(known) = look_up.kept() {
            return Ok(known);
        }
        let mut connection = self.0.database.read().await?;
        self.listening_webhooks_through(&mut connection, tenant).await
    }

    /// The same for whoever has a connection: to wait for a second one while holding a first would have all wait for each other
    /// when the pool is empty.
    pub(crate) async fn listening_webhooks_through(
        &self,
        connection: &mut Connection,
        tenant: TenantId,
    ) -> Result<Arc<[Subscriptions]>> {
        let (listeners, key) = (&self.0.listeners.0, ((), tenant));
        if let Some(known) = listeners.get(&key) {
            return Ok(known);
        }
        // Whoever has a connection waits for nobody who may want one.
        let look_up = listeners.look_up_beside(key);
        let found = webhooks::listening(connection, self.0.system.tenant(tenant)).await?;
        let found: Arc<[Subscriptions]> = found.into();
        look_up.keep(Arc::clone(&found));
        Ok(found)
    }

    /// Makes a unit durable together with what webhooks are told of it; of the execution, where its standing is part of
    /// the unit.
    ///
    /// In a box, for a unit is large and stands in many futures.
    pub(crate) fn commit_and_tell<'a>(
        &'a self,
        mut unit: Unit,
        execution: Option<&'a Execution>,
    ) -> Pin<Box<dyn Future<Output = Result<Verdict, Error>> + Send + 'a>> {
        Box::pin(async move {
            let listeners = self.listening_webhooks(unit.tenant_id).await?;
            if !listeners.is_empty() {
                unit.told = self.tellable(&unit, execution);
                unit.told.retain(|event| listeners.iter().any(|wishes| wishes.want(event.event_type)));
            }
            let says = unit.events.iter().find(|event| event.name == TOKEN_EVENT);
            let says = says.and_then(|event| event.execution_id);
            // Before anything refers to them.
            self.put_away(&mut unit).await?;
            let reached: Vec<ExecutionId> = unit.delivered.iter().map(|delivery| delivery.to).collect();
            unit.lane = self.0.lane;
            let logged = unit.core_id.filter(|core| !unit.logs.is_empty() && self.0.watched.has(*core));
            let opened = unit.opened.iter().map(|(checkpoint, _)| checkpoint);
            let unsure: Vec<Checkpoint> =
                opened.filter(|checkpoint| self.0.deciders.wonders(checkpoint)).cloned().collect();
            let followed = unit.change.execution_id().filter(|id| self.0.watched_executions.has(*id));
            let verdict = self.0.committer.commit(unit).await?;
            if matches!(verdict, Verdict::Done | Verdict::Awaited) {
                for id in reached {
                    self.news_for(id);
                }
                if let Some(core) = logged {
                    self.0.bus.publish(scaigrid_bus::Signal::CoreLogged(core));
                }
                self.look_for_deciders(unsure);
                // Whoever chats with it, or follows it, wants to hear it at once.
                if let Some(id) = says.or(followed) {
                    self.0.bus.publish(scaigrid_bus::Signal::ExecutionMoved(id));
                }
            }
            Ok(verdict)
        })
    }

    fn tellable(&self, unit: &Unit, execution: Option<&Execution>) -> Vec<Event> {
        let event = |event_type, payload| Event {
            id: EventId::from_ulid(self.0.ids.draw(unit.at)),
            event_type,
            tenant_id: unit.tenant_id,
            at: unit.at,
            source: "scaicore".to_owned(),
            payload,
        };
        let mut told: Vec<Event> = unit.audit.iter().filter_map(Event::of_record).collect();
        let opened = unit.opened.iter().map(|(checkpoint, _)| checkpoint);
        told.extend(opened.map(|checkpoint| event(EventType::CheckpointPending, describe(checkpoint))));
        if let Some(execution) = execution {
            let event_type = match execution.status {
                ExecutionStatus::Completed => EventType::ExecutionCompleted,
                ExecutionStatus::Failed => EventType::ExecutionFailed,
                ExecutionStatus::Cancelled => EventType::ExecutionCancelled,
                ExecutionStatus::Suspended => EventType::ExecutionSuspended,
                ExecutionStatus::Queued | ExecutionStatus::Running => return told,
            };
            told.push(event(event_type, standing(execution)));
        }
        told
    }
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT).collect()
}

/// What is told of a checkpoint: enough to notify whom it asks.
fn describe(checkpoint: &Checkpoint) -> Value {
    json!({
        "checkpoint_id": checkpoint.id,
        "core_id": checkpoint.core_id,
        "execution_id": checkpoint.execution_id,
        "flow": checkpoint.flow_name,
        "checkpoint_type": checkpoint.checkpoint_type,
        "prompt": cut(&checkpoint.prompt),
        "options": checkpoint.options.iter().take(50).map(|option| cut(option)).collect::<Vec<_>>(),
        "assignee": checkpoint.routing.assignee.to_string(),
        "priority": checkpoint.priority.as_str(),
        "expires_at": checkpoint.expiry.as_ref().map(|expiry| expiry.at),
    })
}

/// What is told of an execution: how it stands. What it computed is asked for where permissions are checked.
fn standing(execution: &Execution) -> Value {
    let error = execution.error.as_ref().map(scaigrid_ir::Value::to_json).map(|error| {
        let text = |field: &str| error[field].as_str().map(cut);
        json!({"code": text("code"), "message": text("message")})
    });
    json!({
        "execution_id": execution.id,
        "core_id": execution.core_id,
        "flow": execution.flow,
        "status": execution.status.as_str(),
        "parent_execution_id": execution.parent.map(|parent| parent.execution),
        "source_version": execution.source_version,
        "instance_key": execution.instance_key.as_deref().map(cut),
        "error": error,
        "started_at": execution.started_at,
        "finished_at": execution.finished_at,
    })
}
