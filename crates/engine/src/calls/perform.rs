//! One call, from its first attempt to its outcome.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use scaigrid_cores::Delegation;
use scaigrid_cores::logs::Level;
use scaigrid_cores::plugins::EffectClass;
use scaigrid_outbound::Gate;
use scaigrid_persistence::checkpoints;
use scaigrid_runtime::{
    Effect, EffectId, EffectKind, Failure, ModelCallRequest, Outcome, PluginCallRequest, Program,
};
use scaigrid_scope::{DelegationId, ExecutionId, Instant, Permission, TenantScope, TraceContext};
use scaigrid_telemetry::{Kind, under};

use super::Ended;
use crate::cores::HostedCore;
use crate::inside::Said;
use crate::lease::Term;
use crate::models::{Asking, Ear, ModelCall};
use crate::plugins::{APPROVAL_MISMATCH, Asked, CallError, Leave};
use crate::traces::note_again;
use crate::{Engine, Error};

/// Attempts after the first, where a repeat costs nothing.
const RETRIES: u32 = 3;
/// The wait before the second attempt; each further one is twice as long, and each is drawn from half its length upwards.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The pause before another look at a database that is away, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
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
    /// The delegation that it was begun under.
    pub(super) delegation: Option<DelegationId>,
    /// The epoch in which this node took it.
    pub(super) epoch: i64,
    /// The term of the node's lease in which it was last known to be its own.
    pub(super) ours_in: Option<Term>,
    pub(super) effect: Effect,
    /// Whether it may have been made before.
    pub(super) in_doubt: bool,
    /// Whether the program has a budget for what it costs.
    pub(super) budgeted: bool,
    /// Where it says what the log is to tell.
    pub(super) said: Arc<Mutex<Vec<Said>>>,
    /// Where it stands in a trace.
    pub(super) parent: Option<TraceContext>,
}

/// What a call is named by wherever it goes: the same for each attempt, and for none but this call.
pub(super) fn call_key(execution: ExecutionId, effect: EffectId) -> String {
    format!("{execution}:{}", effect.0)
}

impl Call {
    /// Makes the call; tries again where that can do no harm.
    pub(super) async fn outcome(mut self) -> Ended {
        match self.effect.kind.clone() {
            EffectKind::PluginCall(request) => self.plugin_traced(&request).await,
            EffectKind::ModelCall(request) => under(self.parent, self.model(&request)).await,
            other => {
                let message = format!("{} is not a call", other.name());
                Ended::With(Outcome::Error(Failure::new("NOT_SUPPORTED", message)))
            }
        }
    }

    /// Whether the call may go out now: whether the execution is this node's still. Where that cannot be told because the
    /// database is away, it is waited for.
    async fn may_go_out(&mut self) -> bool {
        let mut pause = PAUSES.0;
        loop {
            match self.engine.still_ours(self.scope, self.execution, self.epoch, self.ours_in).await {
                Ok(term) => {
                    self.ours_in = term;
                    return term.is_some();
                }
                Err(error) if self.asks_again(&error, &mut pause).await => {}
                Err(_) => return false,
            }
        }
    }

    /// Waits where the database is away, and says whether it is to be asked again. A node whose lease has ended does not ask: its
    /// calls are made by whoever has taken their executions.
    async fn asks_again(&self, error: &Error, pause: &mut Duration) -> bool {
        if !error.is_passing() {
            tracing::error!(%error, execution = %self.execution, "a call is not made");
            return false;
        }
        if self.engine.0.lease.has_ended() {
            tracing::warn!(%error, execution = %self.execution, "a call is left to others");
            return false;
        }
        tracing::warn!(%error, execution = %self.execution, "a call waits for the database");
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(PAUSES.1);
        true
    }

    /// For whom the call may go out now, where it goes out for a user; what comes of it instead, where it may not. A database
    /// that is away is waited for.
    async fn authority(&self, needed: Option<Permission>) -> Result<Option<Delegation>, Ended> {
        let core = self.hosted.core.id;
        let mut pause = PAUSES.0;
        loop {
            match self.engine.authority(self.scope, core, self.delegation, needed).await {
                Ok(Ok(authority)) => return Ok(authority),
                Ok(Err(failure)) => return Err(Ended::With(Outcome::Error(failure))),
                Err(error) if self.asks_again(&error, &mut pause).await => {}
                Err(_) => return Err(Ended::NotOurs),
            }
        }
    }

    /// What is asked once more when the first byte is about to leave.
    fn gate(&self) -> Gate {
        let (lease, term) = (Arc::clone(&self.engine.0.lease), self.ours_in);
        Gate::new(move || lease.holds_since(term))
    }

    /// The call as a span, under which each attempt goes out.
    async fn plugin_traced(&mut self, request: &PluginCallRequest) -> Ended {
        let tool = || format!("{}.{}", request.alias, request.method);
        let tracing = self.engine.0.tracing.clone();
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
                Ended::With(Outcome::Value(_)) | Ended::NotOurs => {}
                Ended::With(Outcome::Error(failure)) => drop(live.fail(&*failure.code)),
                Ended::InDoubt | Ended::Broken => drop(live.fail("IN_DOUBT")),
            }
        }
        outcome
    }

    async fn plugin(&mut self, request: &PluginCallRequest) -> Ended {
        if !self.may_go_out().await {
            return Ended::NotOurs;
        }
        let engine = self.engine.clone();
        let (plugins, hosted, program) =
            (&engine.0.plugins, Arc::clone(&self.hosted), Arc::clone(&self.program));
        let declared = &program.module().plugins;
        let key = call_key(self.execution, self.effect.id);
        let class = match plugins.effect_class(self.scope, &hosted.core, declared, request).await {
            Ok(class) => class,
            Err(error) => return Ended::With(Outcome::Error(error.failure)),
        };
        if self.in_doubt && class == EffectClass::Queryable {
            match self.became(request, &key).await {
                Ok(Became::Over(outcome)) => return Ended::With(outcome),
                Ok(Became::Unknown) => return Ended::InDoubt,
                Ok(Became::Nothing) => {}
                Err(ended) => return ended,
            }
        }
        let harmless = matches!(class, EffectClass::Idempotent | EffectClass::Keyed);
        let Some(target) = self.allowed_target(request).await else { return Ended::NotOurs };
        let (mut left, mut wait) = (RETRIES, FIRST_WAIT);
        loop {
            if !self.may_go_out().await {
                return Ended::NotOurs;
            }
            if let Some(over) = self.approval_is_over(request) {
                return self.not_allowed(over, harmless);
            }
            let core = match self.authority(None).await {
                Ok(authority) => hosted.core.acting_for(authority),
                Err(Ended::With(Outcome::Error(refused))) => return self.not_allowed(refused, harmless),
                Err(ended) => return ended,
            };
            let leave = Leave { gate: self.gate(), target: target.clone() };
            let called = plugins.call_through(leave, self.scope, &core, declared, request, &key).await;
            let CallError { failure, sent, retry_after, retryable, .. } = match called {
                Ok(value) => return Ended::With(Outcome::Value(value)),
                Err(error) if &*error.failure.code == APPROVAL_MISMATCH => {
                    return self.not_allowed(error.failure, harmless);
                }
                Err(error) => error,
            };
            if !sent && !self.engine.0.lease.holds_since(self.ours_in) {
                // It did not go out because it may not be this node's to make.
                continue;
            }
            let asked = retry_after.unwrap_or_default();
            if left == 0 || !retryable || (sent && !harmless) || asked > LONGEST_WAIT {
                return Ended::With(Outcome::Error(failure));
            }
            note_again("plugin");
            tracing::debug!(code = %failure.code, left, "a plugin is called again");
            self.say(format!("{}.{} is called again after {}", request.alias, request.method, failure.code));
            tokio::time::sleep(asked.max(wait.mul_f64(rand::random_range(0.5..1.0)))).await;
            wait *= 2;
            left -= 1;
        }
    }

    /// The pin of the target that a person allowed, where the call goes out by a person's leave. Where the database is away it is
    /// waited for; none where the execution is not this node's any more by then.
    async fn allowed_target(&mut self, request: &PluginCallRequest) -> Option<Option<String>> {
        let Some(checkpoint) = request.approved_by else { return Some(None) };
        let mut pause = PAUSES.0;
        loop {
            let asked = async {
                let mut connection = self.engine.0.database.read().await?;
                let found = checkpoints::of_effect(&mut connection, self.scope, self.execution, checkpoint.0);
                Ok::<_, Error>(found.await?)
            };
            let asked = match asked.await {
                Ok(asked) => asked,
                Err(error) if self.asks_again(&error, &mut pause).await && self.may_go_out().await => {
                    continue;
                }
                Err(_) => return None,
            };
            // Nobody was asked, so nothing is the target that they allowed.
            let Some(asked) = asked else { return Some(Some(String::new())) };
            let action = asked.checkpoint.context.get("action");
            // Those that were asked by an older version say nothing of a target.
            let pin = action.and_then(|action| action.get("target_hash"));
            return Some(pin.map(|pin| pin.as_str().unwrap_or_default().to_owned()));
        }
    }

    /// Why the call may not go out any more, where the time is over for which a person has allowed it.
    fn approval_is_over(&self, request: &PluginCallRequest) -> Option<Failure> {
        let until = Instant::from_micros(request.approved_until?);
        let message = || format!("the approval of {}.{} has expired", request.alias, request.method);
        (self.engine.0.clock.now() > until).then(|| Failure::new("APPROVAL_EXPIRED", message()))
    }

    /// What becomes of a call that is not allowed as it stands. Whether one that may have been made was carried out while it
    /// was, is for a person to find out.
    fn not_allowed(&self, why: Failure, harmless: bool) -> Ended {
        if self.in_doubt && harmless { Ended::InDoubt } else { Ended::With(Outcome::Error(why)) }
    }

    /// Has the log tell that a call is made once more.
    fn say(&self, message: String) {
        let block = Some(Arc::clone(&self.effect.block));
        let fields = serde_json::json!({ "effect": self.effect.id.0 });
        let what = Said { level: Level::Warn, block, message, fields };
        self.said.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// What became of a call that was made before, as the plugin says; one that is under way is waited for, as long as the plugin may
    /// be asked.
    async fn became(&self, request: &PluginCallRequest, key: &str) -> Result<Became, Ended> {
        let plugins = &self.engine.0.plugins;
        let declared = &self.program.module().plugins;
        let mut wait = FIRST_WAIT;
        for _ in 0..QUESTIONS {
            let core = match self.authority(None).await {
                Ok(authority) => self.hosted.core.acting_for(authority),
                // Nobody may ask the plugin for the user any more what became of it.
                Err(Ended::With(_)) => return Ok(Became::Unknown),
                Err(ended) => return Err(ended),
            };
            match plugins.query(self.scope, &core, declared, request, key).await {
                Ok(Asked::Done(value)) => return Ok(Became::Over(Outcome::Value(value))),
                Ok(Asked::Failed(failure)) => return Ok(Became::Over(Outcome::Error(failure))),
                Ok(Asked::Unknown) => return Ok(Became::Nothing),
                Ok(Asked::Pending) => {}
                Err(error) if error.retryable => {}
                Err(_) => return Ok(Became::Unknown),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        Ok(Became::Unknown)
    }

    async fn model(&mut self, request: &ModelCallRequest) -> Ended {
        let asking = Asking {
            user_id: None,
            core: Some(Arc::clone(&self.hosted)),
            execution_id: Some(self.execution),
            effect: Some(self.effect.id),
            in_doubt: self.in_doubt,
            budgeted: self.budgeted,
        };
        let engine = self.engine.clone();
        let ear = Ear {
            voices: &engine.0.voices,
            execution: self.execution,
            effect: self.effect.id,
            role: &request.role,
        };
        let mut call = match ModelCall::of_core(request, self.program.module(), asking) {
            Ok(call) => call,
            Err(error) => {
                return Ended::With(error.to_failure().map_or_else(unavailable, Outcome::Error));
            }
        };
        let (mut left, mut wait) = (RETRIES, FIRST_WAIT);
        loop {
            if !self.may_go_out().await {
                return Ended::NotOurs;
            }
            match self.authority(Some(Permission::ModelsUse)).await {
                Ok(authority) => call.asking.user_id = authority.map(|delegation| delegation.user_id),
                Err(ended) => return ended,
            }
            let unanswered = match engine.0.models.answer(self.scope, call.clone(), &ear).await {
                Ok(answer) => return Ended::With(Outcome::Value(answer.to_value())),
                Err(unanswered) => unanswered,
            };
            if let Some(failure) = unanswered.to_failure() {
                return Ended::With(Outcome::Error(failure));
            }
            // It was the platform that failed: perhaps after a published Core had been asked.
            call.asking.in_doubt = true;
            tracing::warn!(error = %unanswered.error, left, "a model is asked again");
            if left == 0 {
                return Ended::With(unavailable());
            }
            self.say(format!("the model for {} is asked again", request.role));
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

/// What a program is told where the platform could not have a model answer.
pub(super) fn unavailable() -> Outcome {
    Outcome::Error(Failure::new("MODEL_UNAVAILABLE", "the platform could not make the call just now"))
}
