//! One call, from its first attempt to its outcome.

use std::sync::Arc;
use std::time::Duration;

use scaigrid_cores::plugins::EffectClass;
use scaigrid_runtime::{
    Effect, EffectId, EffectKind, Failure, ModelCallRequest, Outcome, PluginCallRequest, Program,
};
use scaigrid_scope::{ExecutionId, TenantScope};

use crate::Engine;
use crate::cores::HostedCore;
use crate::plugins::{Asked, CallError};

/// Attempts after the first, where a repeat costs nothing.
const RETRIES: u32 = 3;
/// The wait before the second attempt; each further one is twice as long, and each is drawn from half its length upwards.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait that a plugin may ask for (`Retry-After`, RFC 9110 section 10.2.3) without failing the call.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

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
}

/// What a call is named by wherever it goes: the same for each attempt, and for none but this call.
pub(super) fn call_key(execution: ExecutionId, effect: EffectId) -> String {
    format!("{execution}:{}", effect.0)
}

impl Call {
    /// Makes the call; tries again where that can do no harm.
    pub(super) async fn outcome(self) -> Outcome {
        match &self.effect.kind {
            EffectKind::PluginCall(request) => self.plugin(request).await,
            EffectKind::ModelCall(request) => self.model(request).await,
            other => {
                let message = format!("{} is not a call", other.name());
                Outcome::Error(Failure::new("NOT_SUPPORTED", message))
            }
        }
    }

    async fn plugin(&self, request: &PluginCallRequest) -> Outcome {
        let (plugins, core) = (&self.engine.0.plugins, &*self.hosted.core);
        let declared = &self.program.module().plugins;
        let key = call_key(self.execution, self.effect.id);
        let class = match plugins.effect_class(self.scope, core, declared, request).await {
            Ok(class) => class,
            Err(error) => return Outcome::Error(error.failure),
        };
        if self.in_doubt && class == EffectClass::Queryable {
            match plugins.ask(self.scope, core, declared, request, &key).await {
                Ok(Asked::Done(value)) => return Outcome::Value(value),
                Ok(Asked::NotDone) => {}
                Err(error) => return Outcome::Error(error.failure),
            }
        }
        let harmless = matches!(class, EffectClass::Idempotent | EffectClass::Keyed);
        let (mut left, mut wait) = (RETRIES, FIRST_WAIT);
        loop {
            let CallError { failure, sent, retry_after, retryable } =
                match plugins.call(self.scope, core, declared, request, &key).await {
                    Ok(value) => return Outcome::Value(value),
                    Err(error) => error,
                };
            let asked = retry_after.unwrap_or_default();
            if left == 0 || !retryable || (sent && !harmless) || asked > LONGEST_WAIT {
                return Outcome::Error(failure);
            }
            tracing::debug!(code = %failure.code, left, "a plugin is called again");
            tokio::time::sleep(asked.max(wait.mul_f64(rand::random_range(0.5..1.0)))).await;
            wait *= 2;
            left -= 1;
        }
    }

    async fn model(&self, request: &ModelCallRequest) -> Outcome {
        let key = call_key(self.execution, self.effect.id);
        let answer = self.engine.0.models.answer(
            self.scope,
            &self.hosted,
            self.program.module(),
            (self.execution, self.effect.id),
            request,
            &key,
        );
        match answer.await {
            Ok(answer) => Outcome::Value(answer.to_value()),
            Err(failure) => Outcome::Error(failure),
        }
    }
}
