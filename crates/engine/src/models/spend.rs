//! What a call may spend, held back before it, and what it has spent.
//!
//! A [`Spend`] is a call that goes on. Before anything is asked, what it may use is written down, whether or not a budget
//! bounds it: should this node die, the others know what to settle ([`settle`](super::settle)). However it ends, also when
//! whoever has asked goes away, it is settled: once, by a task of its own that nobody can break off.

use std::time::Duration;

use rust_decimal::Decimal;
use scaigrid_catalog::budget::{self, Grant, Limit, Need, Spent};
use scaigrid_catalog::usage::{CallStatus, Usage, estimate};
use scaigrid_catalog::{Backend, Modality, Model, ModelSlug};
use scaigrid_outbound::models::Tokens;
use scaigrid_persistence::commit::Delivery;
use scaigrid_persistence::conversations::Told;
use scaigrid_persistence::model_reservations::{self, Reservation};
use scaigrid_persistence::model_usage::{self, BudgetOwner};
use scaigrid_persistence::{self as persistence, Transaction};
use scaigrid_runtime::{EffectId, ModelAnswer, Outcome};
use scaigrid_scope::{BackendId, ExecutionId, TenantScope, UsageId};
use scaigrid_telemetry::Span;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::call::{CallError, ModelCall, Used};
use super::settle::Account;
use super::{Models, Routed, trace};
use crate::drive::encode_outcome;

/// The most tokens that an answer is thought to have where nothing bounds it, and a budget must.
const UNBOUNDED: u64 = 4_096;
/// A call that goes on.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and most go together with each other"
)]
pub(super) struct Spend {
    models: Models,
    scope: TenantScope,
    model: Model,
    usage: Usage,
    month: String,
    reserved: bool,
    begun: std::time::Instant,
    /// The tokens of the question, about.
    question: u64,
    /// What attempts have used that broke off in the middle.
    lost: Tokens,
    /// What other models have used that were asked before, in vain. It has records of its own.
    before: Used,
    /// How many answers are asked for at once.
    choices: u64,
    /// Whether a budget bounds the call.
    limited: bool,
    /// Whether a backend is being asked that somebody pays for.
    asked: bool,
    /// The type of the backend that was asked last.
    provider: &'static str,
    /// Whether anything has come back, so that the question was read.
    answered: bool,
    /// The bytes of the answer so far.
    seen: usize,
    /// What the backend says.
    reported: Option<Tokens>,
    /// Where what is used is counted already, for the model is a Core of the tenant that asks, whose own calls are: what those
    /// have cost.
    within: Option<Decimal>,
    /// The most tokens of one choice of the answer, where something bounds them.
    pub(super) bound: Option<u64>,
    settled: bool,
    /// The call, as traces have it.
    pub(super) span: Span,
}

/// What bounds a call.
struct Bounds {
    limit: Limit,
    of_core: Limit,
    of_call: Limit,
    need: Need,
    choices: u64,
    explicit: bool,
}

fn number(call: &ModelCall, name: &str) -> Option<u64> {
    call.params.get(name).and_then(Value::as_u64)
}

impl Bounds {
    fn of(call: &ModelCall, routed: &Routed) -> Self {
        let model = &routed.route.model;
        let asked =
            [call.max_output_tokens, number(call, "max_tokens"), number(call, "max_completion_tokens")];
        let default = |name: &str| model.default_params.as_map().get(name).and_then(Value::as_u64);
        let asked = asked.into_iter().flatten().min();
        let asked = asked.or_else(|| default("max_tokens")).or_else(|| default("max_completion_tokens"));
        let own = model.max_output_tokens.map(u64::from);
        let embeds = model.modality == Modality::Embedding;
        // Who makes vectors writes nothing; a grant is of one token at least.
        let wanted = if embeds { Some(1) } else { [asked, own].into_iter().flatten().min() };
        let wanted = wanted.unwrap_or(UNBOUNDED);
        let choices = number(call, "n").unwrap_or(1).clamp(1, 128);
        let tools = call.params.get("tools").map_or(0, |tools| tools.to_string().len());
        let bytes: usize = call.messages.iter().map(|message| message.to_string().len()).sum();
        let core = call.asking.core.as_ref();
        let of_core = core.map(|core| Limit::of_resource_limits(&core.core.resource_limits));
        Self {
            limit: routed.limit,
            of_core: of_core.unwrap_or_default(),
            of_call: Limit { tokens: None, cost: call.max_cost },
            need: Need {
                input_tokens: estimate(bytes + tools),
                output_tokens: wanted.saturating_mul(choices),
                input_price: model.input_price,
                output_price: model.output_price,
            },
            choices,
            explicit: asked.is_some(),
        }
    }

    /// What the call may do, given what has been spent.
    fn grant(&self, tenant: Spent, core: Spent) -> Result<Grant, CallError> {
        let exceeded = |of| move |_: budget::Exceeded| CallError::BudgetExceeded { of };
        // One after the other, to be able to say whose it is.
        budget::grant(&self.need, &[(self.of_call, Spent::default())]).map_err(exceeded("the call"))?;
        budget::grant(&self.need, &[(self.limit, tenant)]).map_err(exceeded("the tenant"))?;
        budget::grant(&self.need, &[(self.of_core, core)]).map_err(exceeded("the Core"))?;
        let all = [(self.of_call, Spent::default()), (self.limit, tenant), (self.of_core, core)];
        let granted = budget::grant(&self.need, &all).map_err(exceeded("the call"))?;
        if granted.output_tokens < self.choices {
            Err(exceeded("the call")(budget::Exceeded))
        } else {
            Ok(granted)
        }
    }

    fn are_any(&self) -> bool {
        !self.limit.is_none() || !self.of_core.is_none() || !self.of_call.is_none()
    }

    fn bound(&self, granted: &Grant) -> Option<u64> {
        (self.explicit || self.are_any()).then(|| granted.output_tokens / self.choices)
    }
}

impl Models {
    /// Begins a call: holds back what it may spend, where anything bounds that.
    pub(super) async fn begin(
        &self,
        scope: TenantScope,
        call: &ModelCall,
        routed: &Routed,
    ) -> Result<Spend, CallError> {
        let now = self.0.clock.now();
        let counted_within = routed.is_of_cores_of(scope.tenant_id());
        let mut bounds = Bounds::of(call, routed);
        if counted_within {
            // Held back twice, one part would keep the other from what is left.
            (bounds.limit, bounds.of_core) = (Limit::default(), Limit::default());
        }
        let model = routed.route.model.clone();
        let core_id = call.asking.core.as_ref().map(|core| core.core.id);
        let usage = Usage {
            id: UsageId::from_ulid(self.0.ids.draw(now)),
            tenant_id: scope.tenant_id(),
            model_id: model.id,
            model: model.slug.clone(),
            backend_id: None,
            user_id: call.asking.user_id,
            core_id,
            execution_id: call.asking.execution_id,
            effect: call.asking.effect.map(|effect| effect.0),
            input_tokens: 0,
            output_tokens: 0,
            estimated: false,
            cost: Decimal::ZERO,
            latency: Duration::ZERO,
            status: CallStatus::Failed,
            at: now,
        };
        let mut spend = Spend {
            models: self.clone(),
            scope,
            model,
            usage,
            month: budget::month(now),
            reserved: false,
            begun: std::time::Instant::now(),
            question: bounds.need.input_tokens,
            lost: Tokens { input: 0, output: 0 },
            before: Used::default(),
            choices: bounds.choices,
            limited: bounds.are_any() || call.asking.budgeted,
            asked: false,
            provider: "none",
            answered: false,
            seen: 0,
            reported: None,
            within: counted_within.then_some(Decimal::ZERO),
            bound: None,
            settled: true,
            span: trace::begin(&self.0.tracing, call, &routed.route.model),
        };
        let offline = routed.route.backends.iter().all(|(_, backend)| backend.config.is_built_in());
        if offline && bounds.limit.is_none() && bounds.of_core.is_none() {
            // Nothing is spent anywhere that somebody would have to know of.
            let granted = bounds.grant(Spent::default(), Spent::default())?;
            spend.bound = bounds.bound(&granted);
            spend.settled = false;
            return Ok(spend);
        }
        // By a task of its own: broken off in the moment of the commit, it would hold back for nobody.
        let models = self.clone();
        let reserving = self.0.runtime.spawn(async move {
            let mut tx = models.0.database.begin().await?;
            match models.reserve(&mut tx, &spend, &bounds).await {
                Ok(granted) => {
                    tx.commit().await?;
                    spend.bound = bounds.bound(&granted);
                    (spend.reserved, spend.settled) = (true, false);
                    Ok(spend)
                }
                Err(error) => {
                    if let Err(lost) = tx.rollback().await {
                        tracing::debug!(error = %lost, "a transaction could not be taken back and was dropped");
                    }
                    Err(error)
                }
            }
        });
        let gone = |_| persistence::Error::Unavailable("the node is shutting down".into());
        reserving.await.map_err(gone)?
    }

    async fn reserve(
        &self,
        tx: &mut Transaction,
        spend: &Spend,
        bounds: &Bounds,
    ) -> Result<Grant, CallError> {
        let (scope, month, core) = (spend.scope, spend.month.as_str(), spend.usage.core_id);
        let granted = if bounds.limit.is_none() && bounds.of_core.is_none() {
            bounds.grant(Spent::default(), Spent::default())?
        } else {
            let of_tenant = model_usage::lock(tx, scope, BudgetOwner::Tenant, month).await?;
            let of_core = match core {
                Some(core) => model_usage::lock(tx, scope, BudgetOwner::Core(core), month).await?,
                None => Spent::default(),
            };
            let (held, held_of_core) = model_reservations::held(tx, scope, core, month).await?;
            bounds.grant(of_tenant.and(held), of_core.and(held_of_core))?
        };
        // What is written down is what will have been used, as far as anybody can know, should this node die; nothing where the
        // calls within hold it back, and are counted, themselves.
        let (input_tokens, output_tokens, cost) = match spend.within {
            Some(_) => (0, 0, Decimal::ZERO),
            None => (bounds.need.input_tokens, granted.output_tokens, granted.held.cost),
        };
        let usage = Usage {
            input_tokens,
            output_tokens,
            cost,
            estimated: true,
            status: CallStatus::Unknown,
            ..spend.usage.clone()
        };
        let reservation = Reservation { usage, month: month.to_owned(), node: self.0.node };
        model_reservations::add(tx, scope, &reservation).await?;
        Ok(granted)
    }
}

impl Spend {
    /// The model that is asked.
    pub(super) fn model(&self) -> &ModelSlug {
        &self.usage.model
    }

    /// The backend that was asked last.
    pub(super) fn backend(&self) -> BackendId {
        self.usage.backend_id.unwrap_or_else(|| BackendId::from_ulid(self.usage.id.ulid()))
    }

    /// Notes which backend is asked.
    pub(super) fn asks(&mut self, backend: &Backend) {
        self.usage.backend_id = Some(backend.id);
        self.asked = !backend.config.is_built_in();
        self.provider = backend.config.provider_type().as_str();
        if let Some(live) = self.span.live() {
            live.set("gen_ai.provider.name", trace::provider(self.provider));
        }
    }

    /// Notes in the trace what the answer is made of.
    pub(super) fn traced(&mut self, choices: &[Value]) {
        trace::answered(&mut self.span, choices);
    }

    /// Notes what has come back.
    pub(super) fn saw(&mut self, choices: &[Value]) {
        self.answered = true;
        for choice in choices {
            let said = if choice["message"].is_object() { &choice["message"] } else { &choice["delta"] };
            self.seen += said["content"].as_str().map_or(0, str::len);
            self.seen += if said["tool_calls"].is_array() { said["tool_calls"].to_string().len() } else { 0 };
        }
    }

    /// Notes what other models have used that were asked before, in vain: whoever asks pays for that as well.
    pub(super) fn follows(&mut self, before: Used) {
        self.before = before;
    }

    /// Notes what the backend says that was used.
    pub(super) fn reported(&mut self, tokens: Tokens) {
        self.answered = true;
        self.reported = Some(tokens);
    }

    /// Notes that an attempt has ended without an answer, and counts what came of it all the same. False when nothing is left
    /// for another one.
    pub(super) fn breaks_off(&mut self) -> bool {
        self.asked = false;
        if !self.answered {
            return true;
        }
        let seen = self.seen_so_far();
        self.lost = and(self.lost, seen);
        (self.answered, self.seen, self.reported) = (false, 0, None);
        match &mut self.bound {
            Some(bound) if self.limited => {
                let gone = seen.input.saturating_add(seen.output).div_ceil(self.choices.max(1));
                *bound = bound.saturating_sub(gone);
                *bound > 0
            }
            _ => true,
        }
    }

    /// What the attempt that goes on has used, as far as that is known.
    fn seen_so_far(&self) -> Tokens {
        match (self.reported, self.answered) {
            (Some(tokens), _) => tokens,
            (None, true) => Tokens { input: self.question, output: estimate(self.seen) },
            (None, false) => Tokens { input: 0, output: 0 },
        }
    }

    /// Notes what a published Core has used, and what that has cost.
    pub(super) fn told(&mut self, told: Told) {
        self.reported(Tokens { input: told.input_tokens, output: told.output_tokens });
        self.within = self.within.map(|_| told.cost);
    }

    /// Ends the call with its answer.
    pub(super) async fn completed(mut self) -> Used {
        let used = self.close(CallStatus::Completed);
        self.settle(None).await;
        used
    }

    /// Ends the call of an execution with its answer, which becomes durable together with what it used.
    pub(super) async fn answered(
        mut self,
        execution: ExecutionId,
        effect: EffectId,
        answer: impl FnOnce(Used) -> ModelAnswer,
    ) -> ModelAnswer {
        let answer = answer(self.close(CallStatus::Completed));
        let outcome = encode_outcome(&Outcome::Value(answer.to_value()));
        self.settle(Some(Delivery { to: execution, effect: effect.0, outcome })).await;
        answer
    }

    /// Ends the call without one; what it has used all the same.
    pub(super) async fn failed(mut self) -> Used {
        let used = self.close(CallStatus::Failed);
        self.settle(None).await;
        used
    }

    async fn settle(&mut self, answer: Option<Delivery>) {
        if self.settle_apart(answer).await.is_err() {
            tracing::debug!("the runtime ended before an account was settled");
        }
    }

    fn settle_apart(&mut self, answer: Option<Delivery>) -> JoinHandle<()> {
        self.settled = true;
        self.models.settle_apart(Account {
            scope: self.scope,
            usage: self.usage.clone(),
            month: self.month.clone(),
            reserved: self.reserved,
            answer,
        })
    }

    /// Fills in the record of the call.
    fn close(&mut self, status: CallStatus) -> Used {
        // Given up while a backend is being asked, the question was read, as far as anybody can know.
        let given_up = status == CallStatus::Cancelled && self.asked && !self.answered;
        let mut counted = and(self.lost, self.seen_so_far());
        if given_up {
            counted.input = counted.input.saturating_add(self.question);
        }
        let usage = &mut self.usage;
        (usage.input_tokens, usage.output_tokens) = (counted.input, counted.output);
        let broke_off = self.lost != Tokens { input: 0, output: 0 };
        usage.estimated = broke_off || given_up || self.answered && self.reported.is_none();
        usage.cost = self.model.cost(counted.input, counted.output);
        let mut used = Used { input_tokens: counted.input, output_tokens: counted.output, cost: usage.cost };
        if let Some(cost) = self.within {
            used.cost = cost;
            (usage.input_tokens, usage.output_tokens, usage.cost) = (0, 0, Decimal::ZERO);
        }
        usage.latency = self.begun.elapsed();
        usage.status = status;
        measure(self.provider, usage);
        trace::end(&mut self.span, &self.usage);
        self.before.and(used)
    }
}

fn and(one: Tokens, other: Tokens) -> Tokens {
    Tokens { input: one.input.saturating_add(other.input), output: one.output.saturating_add(other.output) }
}

/// Counts a call that has ended.
fn measure(provider: &'static str, usage: &Usage) {
    let status = usage.status.as_str();
    metrics::counter!("scaigrid_model_calls_total", "provider" => provider, "status" => status).increment(1);
    metrics::histogram!("scaigrid_model_call_seconds", "provider" => provider)
        .record(usage.latency.as_secs_f64());
    metrics::counter!("scaigrid_model_tokens_total", "provider" => provider, "direction" => "input")
        .increment(usage.input_tokens);
    metrics::counter!("scaigrid_model_tokens_total", "provider" => provider, "direction" => "output")
        .increment(usage.output_tokens);
    // In millionths, since counters are whole numbers.
    let millionths = usage.cost.saturating_mul(Decimal::from(1_000_000)).round();
    let millionths = u64::try_from(millionths).unwrap_or_default();
    metrics::counter!("scaigrid_model_cost_millionths_total", "provider" => provider).increment(millionths);
}

impl Drop for Spend {
    fn drop(&mut self) {
        if !self.settled {
            self.close(CallStatus::Cancelled);
            drop(self.settle_apart(None));
        }
    }
}
