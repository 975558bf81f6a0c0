//! From what a program asks to the checkpoint that people see.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use scaigrid_checkpoints::{
    AllowedCall, Checkpoint, Expiry, ExpiryAction, NewCheckpoint, Routing, Rules, State, Vote,
};
use scaigrid_ir::Value;
use scaigrid_ir::block::{self, OnTimeout, Priority};
use scaigrid_persistence::storable;
use scaigrid_runtime::{CheckpointRequest, Effect};
use scaigrid_scope::{CheckpointId, Instant, UserId};
use serde_json::json;

use crate::cores::HostedCore;
use crate::plugins::Target;
use crate::run::Run;
use crate::{Engine, Error};

/// The longest interval between reminders: a year.
const LONGEST_INTERVAL_M: u64 = 366 * 24 * 60;

impl Engine {
    /// The checkpoint that a request means.
    pub(crate) async fn open(
        &self,
        run: &Run,
        effect: &Effect,
        (request, target): (&CheckpointRequest, Option<Target>),
        (acts_for, now): (Option<UserId>, Instant),
    ) -> Result<Checkpoint, Error> {
        let hosted = self.hosted(run.scope, run.execution.core_id).await?;
        let routing = |raw: Option<&Arc<str>>| Routing::of_program(raw.map(|raw| &**raw), acts_for);
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
            context: Arc::new(shown(request, target)),
            priority: priority(request.priority),
            expiry,
            rules: Rules {
                notify: self.0.tells_people.load(std::sync::atomic::Ordering::Relaxed),
                ..rules(run, effect, request, &hosted)
            },
        };
        let mut checkpoint = Checkpoint::open(question, now).checkpoint;
        checkpoint.question.rules.shown = Some(print_of(&checkpoint));
        Ok(checkpoint)
    }
}

/// The SHA-256 of what a person is shown.
pub(crate) fn print_of(checkpoint: &Checkpoint) -> String {
    Value::from_json(&shown_content(checkpoint)).sha256()
}

/// What a person is shown before they decide, whose hash tells what was decided about. As it is kept.
pub fn shown_content(checkpoint: &Checkpoint) -> serde_json::Value {
    storable(json!({
        "checkpoint_type": checkpoint.checkpoint_type,
        "prompt": checkpoint.prompt,
        "options": checkpoint.options,
        "context": *checkpoint.context,
        "form": checkpoint.rules.form.as_deref(),
    }))
}

/// What the audit sees of a checkpoint: of a decision also what was shown, and what it authorised, by their hashes.
pub fn described(checkpoint: &Checkpoint) -> serde_json::Value {
    let mut fields = json!({
        "status": checkpoint.status().as_str(),
        "assignee": checkpoint.routing.assignee.to_string(),
        "claimed_by": checkpoint.claim.map(|claim| claim.by),
    });
    if checkpoint.rules.takes_several() {
        let vote = |vote: &Vote| json!({"user_id": vote.by, "decision": vote.decision});
        fields["approvals"] = checkpoint.votes.iter().map(vote).collect();
    }
    if let State::Resolved(resolution) = &checkpoint.state {
        fields["decision"] = json!(resolution.decision);
        fields["shown_sha256"] = json!(checkpoint.rules.shown);
        let allowed = checkpoint.rules.allowed_by(&resolution.decision);
        fields["authorised_sha256"] = json!(allowed.map(|call| &call.hash));
    }
    fields
}

/// What an answer must be, and whose: by the program, and by what the Core says of all its checkpoints
/// (`metadata.checkpoints`: `links`, `reminder_interval_m`).
fn rules(run: &Run, effect: &Effect, request: &CheckpointRequest, hosted: &HostedCore) -> Rules {
    let block = run.program.checkpoints().find(|(pointer, _)| *pointer == &*effect.pointer);
    let block = block.map(|(_, block)| block);
    let of_core = hosted.core.metadata.get("checkpoints");
    let interval = block.and_then(|block| block.reminder_interval_m).map(u64::from);
    let interval = interval.or_else(|| of_core?.get("reminder_interval_m")?.as_u64());
    let interval = interval.filter(|minutes| *minutes > 0).map(|minutes| minutes.min(LONGEST_INTERVAL_M));
    let allows = request.action.as_ref().map(|action| AllowedCall {
        alias: action.alias.to_string(),
        method: action.method.to_string(),
        hash: action.hash.to_string(),
        decisions: decisions(block),
        expires_in: block.and_then(|block| block.action.as_ref()?.expires_in),
    });
    Rules {
        form: request.form.as_ref().map(|form| Arc::new(form.to_json())),
        required_approvals: request.required_approvals.and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN),
        excluded: if request.exclude_requester { run.execution.requested_by.clone() } else { Vec::new() },
        allows,
        reminder: interval.map(|minutes| Duration::from_secs(minutes * 60)),
        links: of_core.and_then(|of_core| of_core.get("links")).and_then(serde_json::Value::as_bool)
            == Some(true),
        shown: None,
        notify: false,
    }
}

/// The decisions that allow a checkpoint's call.
fn decisions(block: Option<&block::Checkpoint>) -> Vec<String> {
    let action = block.and_then(|block| block.action.as_ref());
    action.map(|action| action.decisions.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

/// What a person is shown: the payload, and beside it the call that the answer allows.
fn shown(request: &CheckpointRequest, target: Option<Target>) -> serde_json::Value {
    let payload = request.payload.to_json();
    let Some(action) = &request.action else { return payload };
    let (target, pin) = target.map(|target| (target.shown, target.pin)).unzip();
    let action = json!({
        "alias": &*action.alias, "method": &*action.method, "args": action.args.to_json(), "hash": &*action.hash,
        "target": target, "target_hash": pin,
    });
    match payload {
        serde_json::Value::Object(mut fields) => {
            fields.insert("action".to_owned(), action);
            fields.into()
        }
        serde_json::Value::Null => json!({ "action": action }),
        other => json!({ "payload": other, "action": action }),
    }
}

fn priority(priority: Priority) -> scaigrid_checkpoints::Priority {
    match priority {
        Priority::Low => scaigrid_checkpoints::Priority::Low,
        Priority::Normal => scaigrid_checkpoints::Priority::Normal,
        Priority::High => scaigrid_checkpoints::Priority::High,
        Priority::Critical => scaigrid_checkpoints::Priority::Critical,
    }
}
