//! What a call may spend, held back before it, and what it has spent, settled after it.
//!
//! A [`Spend`] is a call that goes on. However it ends, also when whoever has asked goes away, it is settled: once, by a
//! task of its own that nobody can break off. What a node holds back that dies is freed when its lease has ended.

use std::time::Duration;

use rust_decimal::Decimal;
use scaigrid_catalog::budget::{self, Grant, Limit, Need, Spent};
use scaigrid_catalog::usage::{CallStatus, Usage, estimate};
use scaigrid_catalog::{Backend, Model, ModelSlug};
use scaigrid_outbound::models::Tokens;
use scaigrid_persistence::model_usage::{self, BudgetOwner, Reservation};
use scaigrid_persistence::{self as persistence, Transaction};
use scaigrid_scope::{BackendId, TenantScope, UsageId};
use scaigrid_telemetry::Span;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::call::{CallError, ModelCall, Used};
use super::{Models, Routed, trace};

/// The most tokens that an answer is thought to have where nothing bounds it, and a budget must.
const UNBOUNDED: u64 = 4_096;
/// The pauses before an account is settled again that could not be.
const AGAIN: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_mins(1),
];

/// A call that goes on.
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
    /// The type of the backend that was asked last.
    provider: &'static str,
    /// Whether anything has come back, so that the question was read.
    answered: bool,
    /// The bytes of the answer so far.
    seen: usize,
    /// What the backend says.
    reported: Option<Tokens>,
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
        let wanted = [asked, own].into_iter().flatten().min().unwrap_or(UNBOUNDED);
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

    fn bound(&self, granted: &Grant) -> Option<u64> {
        let limited = !self.limit.is_none() || !self.of_core.is_none() || !self.of_call.is_none();
        (self.explicit || limited).then(|| granted.output_tokens / self.choices)
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
        let bounds = Bounds::of(call, routed);
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
            provider: "none",
            answered: false,
            seen: 0,
            reported: None,
            bound: None,
            settled: true,
            span: trace::begin(&self.0.tracing, call, &routed.route.model),
        };
        if bounds.limit.is_none() && bounds.of_core.is_none() {
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
        let of_tenant = model_usage::lock(tx, scope, BudgetOwner::Tenant, month).await?;
        let of_core = match core {
            Some(core) => model_usage::lock(tx, scope, BudgetOwner::Core(core), month).await?,
            None => Spent::default(),
        };
        let now = self.0.clock.now();
        let (held, held_of_core) = model_usage::held(tx, scope, core, month, self.0.node, now).await?;
        let granted = bounds.grant(of_tenant.and(held), of_core.and(held_of_core))?;
        let reservation = Reservation {
            id: spend.usage.id,
            core_id: core,
            month: month.to_owned(),
            node: self.0.node,
            held: granted.held,
            at: now,
        };
        model_usage::reserve(tx, scope, &reservation).await?;
        Ok(granted)
    }

    /// Writes what a call has used, and frees what was held back for it.
    async fn settle(&self, account: &Account) -> Result<(), persistence::Error> {
        let Account { scope, usage, month, reserved } = account;
        let scope = *scope;
        let mut tx = self.0.database.begin().await?;
        // Whoever cannot know whether the last attempt was durable finds out here.
        if model_usage::add(&mut tx, scope, usage).await? {
            let used =
                Spent { tokens: usage.input_tokens.saturating_add(usage.output_tokens), cost: usage.cost };
            let owners = [Some(BudgetOwner::Tenant), usage.core_id.map(BudgetOwner::Core)];
            for owner in owners.into_iter().flatten() {
                let spent = model_usage::lock(&mut tx, scope, owner, month).await?;
                model_usage::spend(&mut tx, scope, owner, month, spent.and(used)).await?;
            }
        }
        if *reserved {
            model_usage::release(&mut tx, scope, usage.id).await?;
        }
        tx.commit().await
    }

    /// Settles an account by a task of its own. The task ends its first part, for which is waited, with the first attempt.
    fn settle_apart(&self, account: Account) -> JoinHandle<()> {
        let models = self.clone();
        self.0.runtime.spawn(async move {
            let Err(error) = models.settle(&account).await else { return };
            tracing::warn!(error = %error, usage = %account.usage.id, "what a model call used could not be written and is tried again");
            let behind = models.clone();
            models.0.runtime.spawn(async move {
                for pause in AGAIN {
                    tokio::time::sleep(pause).await;
                    if behind.settle(&account).await.is_ok() {
                        return;
                    }
                }
                tracing::error!(
                    usage = %account.usage.id,
                    input_tokens = account.usage.input_tokens,
                    output_tokens = account.usage.output_tokens,
                    "what a model call used could not be written"
                );
            });
        })
    }
}

/// What is written at the end of a call.
struct Account {
    scope: TenantScope,
    usage: Usage,
    month: String,
    reserved: bool,
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

    /// Notes what the backend says that was used.
    pub(super) fn reported(&mut self, tokens: Tokens) {
        self.answered = true;
        self.reported = Some(tokens);
    }

    /// Ends the call with its answer.
    pub(super) async fn completed(mut self) -> Used {
        self.end(CallStatus::Completed).await
    }

    /// Ends the call without one.
    pub(super) async fn failed(mut self) {
        self.end(CallStatus::Failed).await;
    }

    async fn end(&mut self, status: CallStatus) -> Used {
        let (used, settling) = self.close(status);
        if settling.await.is_err() {
            tracing::debug!("the runtime ended before an account was settled");
        }
        used
    }

    fn close(&mut self, status: CallStatus) -> (Used, JoinHandle<()>) {
        self.settled = true;
        let counted = match (self.reported, self.answered) {
            (Some(tokens), _) => tokens,
            (None, true) => Tokens { input: self.question, output: estimate(self.seen) },
            (None, false) => Tokens { input: 0, output: 0 },
        };
        let usage = &mut self.usage;
        (usage.input_tokens, usage.output_tokens) = (counted.input, counted.output);
        usage.estimated = self.answered && self.reported.is_none();
        usage.cost = self.model.cost(counted.input, counted.output);
        usage.latency = self.begun.elapsed();
        usage.status = status;
        measure(self.provider, usage);
        trace::end(&mut self.span, &self.usage);
        let account = Account {
            scope: self.scope,
            usage: self.usage.clone(),
            month: self.month.clone(),
            reserved: self.reserved,
        };
        let used = Used { input_tokens: counted.input, output_tokens: counted.output, cost: self.usage.cost };
        (used, self.models.settle_apart(account))
    }
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
            drop(self.close(CallStatus::Cancelled));
        }
    }
}
