//! Entries as people see them in an execution's history.

use serde_json::{Value as Json, json};

use super::Entry;
use crate::effect::{
    Effect, EffectKind, Outcome, TimerRequest, log_level_name, memory_op_name, on_timeout_name, priority_name,
};
use crate::machine::End;

impl Entry {
    /// The entry's name in histories.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started(_) => "started",
            Self::Effect { .. } => "effect",
            Self::Outcome { .. } => "outcome",
            Self::Cancel { .. } => "cancel",
            Self::Ended(End::Completed(_)) => "completed",
            Self::Ended(End::Failed(_)) => "failed",
            Self::Ended(End::Cancelled) => "cancelled",
            Self::Retried { .. } => "retried",
        }
    }

    /// The entry as the API shows it: `type` and what belongs to it.
    pub fn to_json(&self) -> Json {
        let mut json = match self {
            Self::Started(start) => json!({
                "flow": &*start.flow,
                "input": start.input.to_json(),
                "config": start.config.to_json(),
                "execution_id": &*start.context.execution_id,
                "core_id": &*start.context.core_id,
                "trigger": start.context.trigger.to_json(),
                "started_at": scaigrid_ir::Value::Datetime(start.context.started_at).to_json(),
                "debug": start.debug,
            }),
            Self::Effect { effect, outcome } => {
                let mut json = effect.to_json();
                if let Some(outcome) = outcome {
                    json["outcome"] = outcome.to_json();
                }
                json
            }
            Self::Outcome { id, outcome } => json!({ "effect": id.0, "outcome": outcome.to_json() }),
            Self::Cancel { reason, .. } => json!({ "reason": &**reason }),
            Self::Ended(End::Completed(value)) => json!({ "output": value.to_json() }),
            Self::Ended(End::Failed(failure)) => json!({ "error": failure.to_json() }),
            Self::Ended(End::Cancelled) => json!({}),
            Self::Retried { from, again, .. } => json!({
                "from": from,
                "again": again.iter().map(|id| id.0).collect::<Vec<_>>(),
            }),
        };
        json["type"] = self.name().into();
        json
    }
}

impl Outcome {
    /// `{"value": …}` or `{"error": …}`.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Value(value) => json!({ "value": value.to_json() }),
            Self::Error(failure) => json!({ "error": failure.to_json() }),
        }
    }
}

impl Effect {
    /// The effect as the API shows it: its number, where it was asked for, its kind and what it asks.
    pub fn to_json(&self) -> Json {
        json!({
            "effect": self.id.0,
            "flow": &*self.flow,
            "block": &*self.block,
            "pointer": &*self.pointer,
            "kind": self.kind.name(),
            "request": self.kind.to_json(),
        })
    }
}

impl EffectKind {
    /// What is asked, by the names that the language uses; what is absent is left out.
    pub fn to_json(&self) -> Json {
        let json = match self {
            Self::Now | Self::Uuid | Self::Random => json!({}),
            Self::Emit { event, data } => json!({ "event": &**event, "data": data.to_json() }),
            Self::Log { level, message, fields } => json!({
                "level": log_level_name(*level),
                "message": &**message,
                "fields": fields.to_json(),
            }),
            Self::Memory(request) => json!({
                "op": memory_op_name(request.op),
                "target": &*request.target,
                "key": request.key.as_deref(),
                "value": request.value.as_ref().map(scaigrid_ir::Value::to_json),
                "prefix": request.prefix.as_deref(),
                "query": request.query.as_deref(),
                "limit": request.limit,
                "descending": request.descending.then_some(true),
                "for_update": request.for_update.then_some(true),
            }),
            Self::Checkpoint(request) => json!({
                "checkpoint_type": &*request.checkpoint_type,
                "prompt": &*request.prompt,
                "payload": request.payload.to_json(),
                "options": request.options.iter().map(|option| &**option).collect::<Vec<_>>(),
                "assignee": request.assignee.as_deref(),
                "priority": priority_name(request.priority),
                "timeout_s": request.timeout.map(|timeout| timeout.as_secs_f64()),
                "on_timeout": on_timeout_name(&request.on_timeout),
                "escalation_target": request.escalation_target.as_deref(),
                "label": request.label.as_deref(),
                "form": request.form.as_ref().map(scaigrid_ir::Value::to_json),
                "required_approvals": request.required_approvals,
                "exclude_requester": request.exclude_requester.then_some(true),
                "action": request.action.as_ref().map(|action| json!({
                    "alias": &*action.alias,
                    "method": &*action.method,
                    "args": action.args.to_json(),
                    "hash": &*action.hash,
                })),
            }),
            Self::CoreCall(request) => json!({
                "target": &*request.target,
                "flow_name": &*request.flow_name,
                "input": request.input.to_json(),
                "instance_key": request.instance_key.as_deref(),
                "version": request.version,
                "is_async": request.is_async,
            }),
            Self::PluginCall(request) => json!({
                "alias": &*request.alias,
                "method": &*request.method,
                "args": request.args.to_json(),
                "timeout_s": request.timeout.map(|timeout| timeout.as_secs_f64()),
                "approved_by": request.approved_by.map(|checkpoint| checkpoint.0),
            }),
            Self::ModelCall(request) => json!({
                "role": &*request.role,
                "messages": request.messages.to_json(),
                "schema": request.schema.as_ref().map(scaigrid_ir::Value::to_json),
                "params": request.params.to_json(),
                "max_output_tokens": request.max_output_tokens,
                "max_cost": request.max_cost.as_ref().map(scaigrid_ir::Value::to_json),
                "timeout_s": request.timeout.map(|timeout| timeout.as_secs_f64()),
            }),
            Self::Timer(TimerRequest::After(span)) => json!({ "after_s": span.as_secs_f64() }),
            Self::Timer(TimerRequest::Until(at)) => {
                json!({ "until": scaigrid_ir::Value::Datetime(*at).to_json() })
            }
            Self::WaitEvent(request) => json!({
                "name": &*request.name,
                "captured": request.filtered.then(|| request.captured.to_json()),
                "timeout_s": request.timeout.map(|timeout| timeout.as_secs_f64()),
            }),
        };
        match json {
            Json::Object(fields) => {
                Json::Object(fields.into_iter().filter(|(_, value)| !value.is_null()).collect())
            }
            other => other,
        }
    }
}
