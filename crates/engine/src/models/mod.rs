//! The gateway to models: finds what answers for one, asks it, asks the next one where that does not answer, and counts
//! what is used.
//!
//! [`Models::answer`], [`Models::chat`] and [`Models::stream`] are the ways in, for programs and for people alike. Dropping
//! the future, or the stream, closes the connection, and what was used until then is settled.

mod ask;
mod call;
mod embed;
mod gather;
mod hosted;
mod settle;
mod spend;
mod streaming;
mod trace;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_recursion::async_recursion as boxed;
use scaigrid_bus::Recent;
use scaigrid_catalog::breaker::Breaker;
use scaigrid_catalog::budget::Limit;
use scaigrid_catalog::{Backend, ConnectionConfig, Modality, ModelSlug};
use scaigrid_outbound::Client;
use scaigrid_persistence::models::Route;
use scaigrid_persistence::sealing::Vault;
use scaigrid_persistence::{self as persistence, Database, models, tenants};
use scaigrid_runtime::ModelAnswer;
use scaigrid_scope::{BackendId, Clock, Level, NodeId, TenantId, TenantScope};
use scaigrid_telemetry::Tracing;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::ids::Ids;

pub use call::{Asking, CallError, Completion, ModelCall, Thread, Used};
pub use embed::{EmbedCall, Embedded};
pub use gather::Gathered;
pub use streaming::{Piece, Streaming};

pub(crate) use gather::Ear;

use ask::{Answered, Manner};
use call::Unanswered;
use spend::Spend;

/// How many ways are kept in mind.
const ROUTES: u64 = 10_000;

/// What the gateway stands on.
pub(crate) struct Parts {
    pub(crate) database: Database,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) outbound: Client,
    pub(crate) node: NodeId,
    pub(crate) engine: Weak<crate::Inner>,
    pub(crate) tracing: Tracing,
}

/// How many circuit breakers stand how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breakers {
    /// Backends that are left alone.
    pub open: usize,
    /// Backends that one call tries.
    pub half_open: usize,
}

/// The gateway of one node. Cheap to clone.
#[derive(Clone)]
pub struct Models(Arc<Inner>);

struct Inner {
    database: Database,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
    vault: Arc<Vault>,
    outbound: Client,
    node: NodeId,
    /// What runs the Cores that are published as models.
    engine: Weak<crate::Inner>,
    tracing: Tracing,
    /// Those that have failed of late. What is not here is well.
    breakers: Mutex<HashMap<BackendId, Breaker>>,
    routes: Recent<(), (TenantId, ModelSlug), Arc<Routed>>,
    /// Where accounts are settled when whoever has asked is gone.
    runtime: Handle,
    /// Room for accounts that cannot be written just now.
    unwritten: Arc<Semaphore>,
}

/// The way to a model, and what its tenant may spend.
struct Routed {
    route: Route,
    limit: Limit,
}

impl Routed {
    /// Whether nothing but published Cores of a tenant answers.
    fn is_of_cores_of(&self, tenant: TenantId) -> bool {
        let mut backends = self.route.backends.iter().map(|(_, backend)| backend);
        let of_core = |backend: &Backend| {
            backend.owner == Level::Tenant(tenant) && matches!(backend.config, ConnectionConfig::ScaiCore(_))
        };
        !self.route.backends.is_empty() && backends.all(of_core)
    }
}

impl std::fmt::Debug for Models {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Models").field("node", &self.0.node).finish_non_exhaustive()
    }
}

impl Models {
    /// A gateway. Must be made inside a Tokio runtime.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { database, clock, ids, vault, outbound, node, engine, tracing } = parts;
        Self(Arc::new(Inner {
            database,
            clock,
            ids,
            vault,
            outbound,
            node,
            engine,
            tracing,
            breakers: Mutex::default(),
            routes: Recent::new(ROUTES),
            runtime: Handle::current(),
            unwritten: Arc::new(Semaphore::new(settle::UNWRITTEN_AT_MOST)),
        }))
    }

    /// Forgets the ways to the models, for the catalogue was changed.
    pub fn forget(&self) {
        self.0.routes.forget_all();
    }

    /// How many of some backends are asked at present, as far as this node has found.
    pub fn active(&self, backends: impl IntoIterator<Item = BackendId>) -> usize {
        let now = self.0.clock.now();
        let breakers = self.0.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = |id: &BackendId| breakers.get(id).is_some_and(|breaker| !breaker.rest(now).is_zero());
        backends.into_iter().filter(|id| !rests(id)).count()
    }

    /// How many backends this node leaves alone at present, and how many it tries again by one call.
    pub fn breakers(&self) -> Breakers {
        let breakers = self.0.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |of: fn(&Breaker) -> bool| breakers.values().filter(|breaker| of(breaker)).count();
        Breakers {
            open: count(|breaker| matches!(breaker, Breaker::Open { .. })),
            half_open: count(|breaker| matches!(breaker, Breaker::Trial { .. })),
        }
    }

    /// Asks a model, for an effect of a program. The answer is asked for bit by bit, and `ear` is told of it as it comes.
    ///
    /// What is answered is durable, in the inbox of the execution that asks, together with the record of what it used: an
    /// execution that goes on elsewhere finds it there, and does not ask again.
    pub(crate) async fn answer(
        &self,
        scope: TenantScope,
        call: ModelCall,
        ear: &Ear<'_>,
    ) -> Result<ModelAnswer, Unanswered> {
        let (spend, answered) = self.first_that_answers(scope, &call, Manner::Gathered(ear)).await?;
        let (mut spend, choices) = match answered {
            Answered::Whole(reply) => (spend, reply.choices),
            Answered::Core(hearing) => {
                let (spend, choice, _) = hosted::whole(spend, hearing).await?;
                (spend, vec![choice])
            }
            Answered::Parts(..) | Answered::Vectors(_) => {
                return Err(CallError::rejected("it was asked for a whole answer").into());
            }
        };
        spend.traced(&choices);
        let (model, backend_id) = (spend.model().clone(), spend.backend());
        let answer = |used| Completion { model, backend_id, choices, used, core: None }.into_answer();
        Ok(spend.answered(ear.execution, ear.effect, answer).await)
    }

    /// Asks a model for a whole answer.
    ///
    /// # Errors
    /// Why it does not answer.
    #[boxed]
    pub async fn chat(&self, scope: TenantScope, call: ModelCall) -> Result<Completion, CallError> {
        let (mut spend, answered) = self.first_that_answers(scope, &call, Manner::Whole).await?;
        let reply = match answered {
            Answered::Whole(reply) => reply,
            Answered::Core(hearing) => return hosted::completion(spend, hearing).await,
            Answered::Parts(..) | Answered::Vectors(_) => {
                return Err(CallError::rejected("it was asked for a whole answer"));
            }
        };
        spend.saw(&reply.choices);
        spend.traced(&reply.choices);
        if let Some(tokens) = reply.tokens {
            spend.reported(tokens);
        }
        let (model, backend_id) = (spend.model().clone(), spend.backend());
        let used = spend.completed().await;
        Ok(Completion { model, backend_id, choices: reply.choices, used, core: None })
    }

    /// Asks a model for an answer bit by bit.
    ///
    /// # Errors
    /// Why it does not begin. Why it does not go on is told by the last piece.
    #[boxed]
    pub async fn stream(&self, scope: TenantScope, call: ModelCall) -> Result<Streaming, CallError> {
        let (spend, answered) = self.first_that_answers(scope, &call, Manner::Streamed).await?;
        match answered {
            Answered::Parts(first, rest) => Ok(streaming::of(spend, first, rest)),
            Answered::Core(hearing) => Ok(hosted::streaming(spend, hearing)),
            Answered::Whole(_) | Answered::Vectors(_) => {
                Err(CallError::rejected("it was asked for a streamed answer"))
            }
        }
    }

    /// The answer of the first model that gives one.
    async fn first_that_answers(
        &self,
        scope: TenantScope,
        call: &ModelCall,
        manner: Manner<'_>,
    ) -> Result<(Spend, Answered), Unanswered> {
        let (mut last, mut vain) = (None, Used::default());
        for slug in &call.models {
            let answered = match self.routed(scope, slug).await? {
                Some(routed) => {
                    let embeds = routed.route.model.modality == Modality::Embedding;
                    if embeds != manner.is_of_vectors() {
                        let what = if embeds { "gives vectors, not answers" } else { "gives no vectors" };
                        let error = CallError::rejected(format!("the model {slug} {what}"));
                        return Err(Unanswered { error, used: vain });
                    }
                    self.ask_model(scope, call, &routed, manner).await
                }
                None => Err(CallError::NotFound { model: slug.to_string() }.into()),
            };
            match answered {
                Ok((mut spend, answered)) => {
                    spend.follows(vain);
                    return Ok((spend, answered));
                }
                Err(Unanswered { error, used }) => {
                    vain = vain.and(used);
                    if !error.is_of_the_model() {
                        return Err(Unanswered { error, used: vain });
                    }
                    last = Some(error);
                }
            }
        }
        let error = last.unwrap_or_else(|| CallError::rejected("it names no model"));
        Err(Unanswered { error, used: vain })
    }

    /// The tenants whose published Cores answer for a model.
    pub(crate) async fn tenants_behind(
        &self,
        scope: TenantScope,
        slug: &ModelSlug,
    ) -> Result<Vec<TenantId>, CallError> {
        let Some(routed) = self.routed(scope, slug).await? else { return Ok(Vec::new()) };
        let of_core = |backend: &Backend| match backend.owner {
            Level::Tenant(tenant) if matches!(backend.config, ConnectionConfig::ScaiCore(_)) => Some(tenant),
            _ => None,
        };
        Ok(routed.route.backends.iter().filter_map(|(_, backend)| of_core(backend)).collect())
    }

    /// The way to a model that a tenant sees, as it stood at most a second ago.
    async fn routed(&self, scope: TenantScope, slug: &ModelSlug) -> Result<Option<Arc<Routed>>, CallError> {
        let key = ((), (scope.tenant_id(), slug.clone()));
        if let Some(known) = self.0.routes.get(&key) {
            return Ok(Some(known));
        }
        let look_up = self.0.routes.look_up(key).await;
        if let Some(known) = look_up.kept() {
            return Ok(Some(known));
        }
        // By a task of its own: whoever asks may go away in the middle of a question to the database.
        let (models, slug) = (self.clone(), slug.clone());
        let finding = self.0.runtime.spawn(async move { models.find_route(scope, &slug).await });
        let gone = |_| persistence::Error::Unavailable("the node is shutting down".into());
        let found = finding.await.map_err(gone)??;
        let Some(routed) = found.map(Arc::new) else { return Ok(None) };
        look_up.keep(Arc::clone(&routed));
        Ok(Some(routed))
    }

    async fn find_route(
        &self,
        scope: TenantScope,
        slug: &ModelSlug,
    ) -> Result<Option<Routed>, persistence::Error> {
        let mut connection = self.0.database.read().await?;
        let tenant = tenants::lookup(&mut connection, scope.into(), scope.tenant_id()).await?;
        let Some(tenant) = tenant else { return Ok(None) };
        let vault = &self.0.vault;
        let found = models::route(&mut connection, scope, tenant.partner_id, slug, vault).await?;
        let Some(route) = found else { return Ok(None) };
        let limit = Limit { tokens: tenant.limits.monthly_ai_tokens, cost: None };
        Ok(Some(Routed { route, limit }))
    }
}
