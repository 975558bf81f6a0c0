//! One call, from its first attempt to its outcome.

use std::sync::Arc;
use std::time::Duration;

use scaigrid_cores::plugins::EffectClass;
use scaigrid_runtime::{
    Effect, EffectId, EffectKind, Failure, ModelCallRequest, Outcome, PluginCallRequest, Program,
};
use scaigrid_scope::{ExecutionId, TenantScope, TraceContext};
use scaigrid_telemetry::{Kind, under};

use crate::Engine;
use crate::cores::HostedCore;
use crate::models::{self, Asking, ModelCall};
use crate::plugins::{Asked, CallError};
use crate::traces::note_again;

/// Attempts after the first, where a repeat costs nothing.
const RETRIES: u32 = 3;
/// The wait before the second attempt; each further one is twice as long, and each is drawn from half its length upwards.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// How often a plugin is asked what became of a call, with growing pauses: for about ten minutes.
const QUESTIONS: u32 = 16;
/// The longest wait that a plugin may ask for (`Retry-After`, RFC 9110 section 10.2.3) without failing the call.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// A call that is made.
pub(super) struct Call {
    pub(super) engine: Engine,
    pub(super) scope: TenantScope,
    pub(super) hosted: Arc<HostedCore>,
    pub(super) program: Arc<Program>,
    pub(super) execution: ExecutionId,
    pub(super) effect: Effect,
    /// Whether it may have been made before.
    pub(super) in_doubt: bool,
    /// Where it stands in a trace.
    pub(super) parent: Option<TraceContext>,
}

/// What a call is named by wherever it goes: the same for each attempt, and for none but this call.
pub(super) fn call_key(execution: ExecutionId, effect: EffectId) -> String {
    format!("{execution}:{}", effect.0)
}

impl Call {
    /// Makes the call; tries again where that can do no harm. Without an outcome, nobody knows what became of it.
    pub(super) async fn outcome(self) -> Option<Outcome> {
        match &self.effect.kind {
            EffectKind::PluginCall(request) => self.plugin_traced(request).await,
            EffectKind::ModelCall(request) => Some(under(self.parent, self.model(request)).await),
            other => {
                let message = format!("{} is not a call", other.name());
                Some(Outcome::Error(Failure::new("NOT_SUPPORTED", message)))
            }
        }
    }

    /// The call as a span, under which each attempt goes out.
    async fn plugin_traced(&self, request: &PluginCallRequest) -> Option<Outcome> {
        let tool = || format!("{}.{}", request.alias, request.method);
        let tracing = &self.engine.0.tracing;
        // Without a place above it there is no trace that it belongs to.
        let Some(parent) = self.parent else { return self.plugin(request).await };
        let mut span = tracing.span(Kind::Client, Some(parent), || format!("execute_tool {}", tool()).into());
        if let Some(live) = span.live() {
            live.set("gen_ai.operation.name", "execute_tool")
                .text("gen_ai.tool.name", tool())
                .text("gen_ai.tool.call.id", call_key(self.execution, self.effect.id))
                .text("scaigrid.block.id", &*self.effect.block)
                .set("scaigrid.effect", i64::from(self.effect.id.0));
        }
        let outcome = under(span.context(), self.plugin(request)).await;
        if let Some(live) = span.live() {
            match &outcome {
                Some(Outcome::Value(_)) => {}
                Some(Outcome::Error(failure)) => drop(live.fail(&*failure.code)),
                None => drop(live.fail("IN_DOUBT")),
            }
        }
        outcome
    }

    async fn plugin(&self, request: &PluginCallRequest) -> Option<Outcome> {
        let (plugins, core) = (&self.engine.0.plugins, &*self.hosted.core);
        let declared = &self.program.module().plugins;
        let key = call_key(self.execution, self.effect.id);
        let class = match plugins.effect_class(self.scope, core, declared, request).await {
            Ok(class) => class,
            Err(error) => return Some(Outcome::Error(error.failure)),
        };
        if self.in_doubt && class == EffectClass::Queryable {
            match self.became(request, &key).await {
                Became::Over(outcome) => return Some(outcome),
                Became::Unknown => return None,
                Became::Nothing => {}
            }
        }
        let harmless = matches!(class, EffectClass::Idempotent | EffectClass::Keyed);
        let (mut left, mut wait) = (RETRIES, FIRST_WAIT);
        loop {
            let CallError { failure, sent, retry_after, retryable } =
                match plugins.call(self.scope, core, declared, request, &key).await {
                    Ok(value) => return Some(Outcome::Value(value)),
                    Err(error) => error,
                };
            let asked = retry_after.unwrap_or_default();
            if left == 0 || !retryable || (sent && !harmless) || asked > LONGEST_WAIT {
                return Some(Outcome::Error(failure));
            }
            note_again("plugin");
            tracing::debug!(code = %failure.code, left, "a plugin is called again");
            tokio::time::sleep(asked.max(wait.mul_f64(rand::random_range(0.5..1.0)))).await;
            wait *= 2;
            left -= 1;
        }
    }

    /// What became of a call that was made before, as the plugin says; one that is under way is waited for.
    async fn became(&self, request: &PluginCallRequest, key: &str) -> Became {
        let (plugins, core) = (&self.engine.0.plugins, &*self.hosted.core);
        let declared = &self.program.module().plugins;
        let mut wait = FIRST_WAIT;
        for _ in 0..QUESTIONS {
            match plugins.query(self.scope, core, declared, request, key).await {
                Ok(Asked::Done(value)) => return Became::Over(Outcome::Value(value)),
                Ok(Asked::Failed(failure)) => return Became::Over(Outcome::Error(failure)),
                Ok(Asked::Unknown) => return Became::Nothing,
                Ok(Asked::Pending) => {}
                Err(error) if error.retryable => {}
                Err(_) => return Became::Unknown,
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        Became::Unknown
    }

    async fn model(&self, request: &ModelCallRequest) -> Outcome {
        let asking = Asking {
            user_id: None,
            core: Some(Arc::clone(&self.hosted)),
            execution_id: Some(self.execution),
        };
        let call = match ModelCall::of_core(request, self.program.module(), asking) {
            Ok(call) => call,
            Err(error) => return failed(&error).unwrap_or_else(unavailable),
        };
        let (mut left, mut wait) = (RETRIES, FIRST_WAIT);
        loop {
            let error = match self.engine.0.models.call(self.scope, call.clone()).await {
                Ok(answer) => return Outcome::Value(answer.to_value()),
                Err(error) => error,
            };
            if let Some(outcome) = failed(&error) {
                return outcome;
            }
            tracing::warn!(%error, left, "a model is asked again");
            if left == 0 {
                return unavailable();
            }
            note_again("model");
            tokio::time::sleep(wait).await;
            wait *= 2;
            left -= 1;
        }
    }
}

/// What became of a call that may have been made before.
enum Became {
    /// It is over.
    Over(Outcome),
    /// It was never made.
    Nothing,
    /// Nobody can tell.
    Unknown,
}

/// What a program is told; nothing where it was the platform that failed.
fn failed(error: &models::CallError) -> Option<Outcome> {
    error.to_failure().map(Outcome::Error)
}

fn unavailable() -> Outcome {
    Outcome::Error(Failure::new("MODEL_UNAVAILABLE", "the platform could not make the call just now"))
}
