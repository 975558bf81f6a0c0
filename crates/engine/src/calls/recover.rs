//! Calls in doubt: begun by a node that died before it could write down what came of them.
//!
//! What a repeat costs is declared by the plugin: *idempotent* and *keyed* calls are made again, *keyed* ones under the same
//! key; for *queryable* ones the plugin is asked what became of the first; for *unsafe* ones a person is asked, by a
//! checkpoint on the same effect. Calls of models change nothing but their bill, and are made again.

use std::collections::BTreeSet;
use std::sync::Arc;

use scaigrid_checkpoints::{Checkpoint, NewCheckpoint, Priority, Routing, Rules};
use scaigrid_cores::plugins::EffectClass;
use scaigrid_ir::Value;
use scaigrid_persistence::{self as persistence, checkpoints};
use scaigrid_runtime::{Effect, EffectId, EffectKind, Failure, Outcome, PluginCallRequest};
use scaigrid_scope::{CheckpointId, Instant};
use serde_json::json;

use super::is_call;
use super::perform::call_key;
use crate::asking::print_of;
use crate::run::Run;
use crate::{Engine, Error};

/// The type of checkpoints that ask what became of a call.
const TYPE: &str = "call_in_doubt";
/// The call was made, and this is what it gave.
const COMPLETED: &str = "completed";
/// The call was not made, or failed.
const FAILED: &str = "failed";
/// The call is to be made again.
const RETRY: &str = "retry";

/// What a decision says about a call in doubt.
pub(crate) enum Meaning {
    /// It is over, with this outcome.
    Over(Outcome),
    /// It is to be made again.
    Again,
}

impl Engine {
    /// Takes up the calls that the journal knows to have been intended and not what came of them.
    pub(crate) async fn recover_calls(&self, run: &mut Run) -> Result<(), Error> {
        let unrecorded = std::mem::take(&mut run.unrecorded);
        let in_doubt: Vec<Effect> = run
            .machine
            .pending()
            .into_iter()
            .filter(|effect| is_call(&effect.kind) && !unrecorded.contains(&effect.id))
            .filter(|effect| !run.calls.knows(effect.id))
            .cloned()
            .collect();
        if in_doubt.is_empty() {
            return Ok(());
        }
        let mut connection = self.0.database.read().await?;
        let pending = checkpoints::pending_of(&mut connection, run.scope, run.execution.id).await?;
        drop(connection);
        let asked: BTreeSet<u32> = pending.into_iter().map(|stored| stored.effect).collect();
        for effect in in_doubt {
            // A person is being asked already.
            if asked.contains(&effect.id.0) {
                continue;
            }
            if self.may_repeat(run, &effect).await? {
                run.calls.want_again(effect);
            } else {
                self.ask_a_person(run, effect.id);
            }
        }
        if run.calls.in_hand() && run.news.is_none() {
            run.news = Some(self.0.awaited.listen(run.execution.id));
        }
        Ok(())
    }

    /// Opens the question what became of a call.
    pub(super) fn ask_a_person(&self, run: &mut Run, id: EffectId) {
        let pending = run.machine.pending();
        let effect = pending.into_iter().find(|effect| effect.id == id);
        if let Some(effect) = effect
            && let EffectKind::PluginCall(request) = &effect.kind
        {
            let question = self.question(run, effect, request);
            run.done.opened.push((question, id.0));
        }
    }

    async fn may_repeat(&self, run: &Run, effect: &Effect) -> Result<bool, Error> {
        let EffectKind::PluginCall(request) = &effect.kind else { return Ok(true) };
        let hosted = self.hosted(run.scope, run.execution.core_id).await?;
        let declared = &run.program.module().plugins;
        match self.0.plugins.effect_class(run.scope, &hosted.core, declared, request).await {
            Ok(EffectClass::Idempotent | EffectClass::Keyed | EffectClass::Queryable) => Ok(true),
            Err(error) if error.retryable => {
                Err(persistence::Error::Unavailable(error.failure.message.to_string()).into())
            }
            // A tool that is gone, or has changed, can say nothing about the past either.
            Ok(EffectClass::Unsafe) | Err(_) => Ok(false),
        }
    }

    /// What a person is asked about a call in doubt.
    fn question(&self, run: &Run, effect: &Effect, request: &PluginCallRequest) -> Checkpoint {
        let now = self.0.clock.now();
        let tool = format!("{}.{}", request.alias, request.method);
        // A call that needs leave can be made again while that lasts.
        let lasts = request.approved_until.is_none_or(|until| now <= Instant::from_micros(until));
        let (again, options): (_, &[&str]) = if lasts {
            (format!("; or \"{RETRY}\", to have it called again"), &[COMPLETED, FAILED, RETRY])
        } else {
            (String::new(), &[COMPLETED, FAILED])
        };
        let question = NewCheckpoint {
            id: CheckpointId::from_ulid(self.0.ids.draw(now)),
            tenant_id: run.execution.tenant_id,
            core_id: run.execution.core_id,
            execution_id: run.execution.id,
            flow_name: effect.flow.to_string(),
            block_id: effect.block.to_string(),
            instance_key: run.execution.instance_key.as_ref().map(ToString::to_string),
            checkpoint_type: TYPE.to_owned(),
            prompt: format!(
                "{tool} was called, and nobody knows whether the call was carried out: the server stopped meanwhile, or no \
                 answer came that tells. Look there. Then answer \"{COMPLETED}\", with what it gave as response_data; or \
                 \"{FAILED}\"{again}."
            ),
            options: options.iter().map(ToString::to_string).collect(),
            routing: Routing::of_program(Some("role:tenant_admin"), None),
            context: Arc::new(json!({
                "plugin": &*request.alias,
                "method": &*request.method,
                "args": request.args.to_json(),
                "idempotency_key": call_key(run.execution.id, effect.id),
            })),
            priority: Priority::High,
            expiry: None,
            rules: Rules::default(),
        };
        let mut checkpoint = Checkpoint::open(question, now).checkpoint;
        checkpoint.question.rules.shown = Some(print_of(&checkpoint));
        checkpoint
    }
}

/// What the answer to such a question means for the call.
pub(crate) fn meaning(answer: Outcome) -> Meaning {
    let Outcome::Value(value) = answer else { return Meaning::Over(answer) };
    let field = |name: &str| value.get(name).cloned().unwrap_or_default();
    match field("decision") {
        Value::String(decision) if &*decision == COMPLETED => {
            Meaning::Over(Outcome::Value(field("response_data")))
        }
        Value::String(decision) if &*decision == RETRY => Meaning::Again,
        _ => {
            let said = match field("comment") {
                Value::String(comment) => comment,
                _ => Arc::from("somebody found that the call was not carried out"),
            };
            Meaning::Over(Outcome::Error(Failure::new("PLUGIN_ERROR", said)))
        }
    }
}
