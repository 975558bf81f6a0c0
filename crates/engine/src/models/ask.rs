//! Asking: one backend after the other, each as often as makes sense.

use std::sync::PoisonError;
use std::time::Duration;

use scaigrid_catalog::breaker::Breaker;
use scaigrid_catalog::echo::{Question, Script};
use scaigrid_catalog::{Backend, ConnectionConfig, Model, OpenAiConfig, order, retry};
use scaigrid_cores::EnvValue;
use scaigrid_outbound::models::{Ask, ModelError, Part, Parts, Reply, Tokens, Vectors};
use scaigrid_scope::{BackendId, TenantScope};
use serde_json::{Map, Value, json};

use super::call::{CallError, ModelCall, Unanswered};
use super::gather::{Broken, Ear, gather};
use super::spend::Spend;
use super::{Models, Routed, embed};
use crate::chat::Hearing;
use crate::traces::note_again;

/// How long a backend may take where neither it nor the call says.
const TIMEOUT: Duration = Duration::from_mins(1);

/// How an answer is wanted.
#[derive(Clone, Copy)]
pub(super) enum Manner<'a> {
    /// Whole, as the backend gives it.
    Whole,
    /// Bit by bit, from its first piece on.
    Streamed,
    /// Whole, but asked for bit by bit.
    Gathered(&'a Ear<'a>),
    /// As a vector for each message, which is a text.
    Vectors,
}

impl Manner<'_> {
    const fn is_whole(self) -> bool {
        matches!(self, Self::Whole)
    }

    /// Whether models are asked for vectors, which others cannot give than those who are asked for answers.
    pub(super) const fn is_of_vectors(self) -> bool {
        matches!(self, Self::Vectors)
    }
}

/// What a backend has answered.
pub(super) enum Answered {
    Whole(Reply),
    /// The first piece, and those that follow.
    Parts(Part, Parts),
    Vectors(Vectors),
    /// What a published Core says, while it says it.
    Core(Hearing),
}

/// Why a backend does not answer, and what follows.
struct Trouble {
    error: CallError,
    /// Whether it may answer in a moment.
    passes: bool,
    /// When it wants to be asked again.
    retry_after: Option<Duration>,
    verdict: Verdict,
}

/// What a failure says of the backend.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is ill.
    Ill,
    /// Nothing.
    Nothing,
}

/// What a call gives a backend, beside what that has of its own. All tenants share a breaker: nobody opens it by giving a
/// backend less time than it says that it takes, or a key that it does not know.
#[derive(Debug, Clone, Copy)]
struct Terms {
    /// How long it may take to begin its answer, and for each further piece of it, by what it says itself.
    own_time: Duration,
    /// How long it may take in this call.
    time: Duration,
    /// Whether the key that it is shown is of whoever calls.
    callers_key: bool,
}

impl Terms {
    fn of(call: &ModelCall, config: &ConnectionConfig) -> Self {
        let ConnectionConfig::OpenAi(config) = config else {
            return Self { own_time: TIMEOUT, time: TIMEOUT, callers_key: false };
        };
        let own_time = config.timeout.unwrap_or(TIMEOUT);
        let time = call.timeout.unwrap_or(own_time);
        Self { own_time, time, callers_key: config.is_shown_the_callers_own() }
    }

    /// What it says of the backend that its time is up.
    fn verdict_on_time(self) -> Verdict {
        if self.time < self.own_time { Verdict::Nothing } else { Verdict::Ill }
    }

    /// What it says of the backend that it answers with a status.
    const fn verdict_on(self, status: u16) -> Verdict {
        if self.callers_key && matches!(status, 401..=403) { Verdict::Nothing } else { Verdict::Ill }
    }
}

/// A backend that is being asked. Dropped without a word, nothing was found out.
struct Trying<'a> {
    models: &'a Models,
    backend: BackendId,
    told: bool,
}

impl Trying<'_> {
    fn tell(mut self, turn: impl FnOnce(Breaker) -> Breaker) {
        self.told = true;
        self.models.turn(self.backend, turn);
    }
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        if !self.told {
            let now = self.models.0.clock.now();
            self.models.turn(self.backend, |breaker| breaker.undecided(now));
        }
    }
}

impl Models {
    fn turn(&self, backend: BackendId, turn: impl FnOnce(Breaker) -> Breaker) {
        let mut breakers = self.0.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        match turn(breakers.get(&backend).copied().unwrap_or_default()) {
            Breaker::Closed => drop(breakers.remove(&backend)),
            other => drop(breakers.insert(backend, other)),
        }
    }

    /// The right to ask a backend; for how long it is left alone, where it is.
    fn admit(&self, backend: BackendId) -> Result<Trying<'_>, Duration> {
        let now = self.0.clock.now();
        let mut breakers = self.0.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let breaker = breakers.get(&backend).copied().unwrap_or_default();
        let Some(admitted) = breaker.admit(now) else { return Err(breaker.rest(now)) };
        if admitted != Breaker::Closed {
            breakers.insert(backend, admitted);
        }
        Ok(Trying { models: self, backend, told: false })
    }

    /// Asks the backends of a model, until one answers.
    pub(super) async fn ask_model(
        &self,
        scope: TenantScope,
        call: &ModelCall,
        routed: &Routed,
        manner: Manner<'_>,
    ) -> Result<(Spend, Answered), Unanswered> {
        let model = &routed.route.model;
        let mut spend = self.begin(scope, call, routed).await?;
        let mappings = routed.route.backends.iter().map(|(mapping, _)| *mapping).collect();
        let (mut last, mut soonest) = (None, None::<Duration>);
        for mapping in order(mappings, |most| rand::random_range(0..most.max(1))) {
            let found = routed.route.backends.iter().find(|(known, _)| *known == mapping);
            let Some((_, backend)) = found else { continue };
            match self.ask_backend(scope, call, model, backend, &mut spend, manner).await {
                Ok(answered) => return Ok((spend, answered)),
                Err(Left::Alone(rest)) => soonest = Some(soonest.map_or(rest, |soonest| soonest.min(rest))),
                Err(Left::Failed(error)) if error.is_of_the_model() => last = Some(error),
                Err(Left::Failed(error)) => {
                    let used = spend.failed().await;
                    return Err(Unanswered { error, used });
                }
            }
        }
        let used = spend.failed().await;
        let alone = || CallError::Unavailable { model: model.slug.to_string(), retry_after: soonest };
        Err(Unanswered { error: last.unwrap_or_else(alone), used })
    }

    async fn ask_backend(
        &self,
        scope: TenantScope,
        call: &ModelCall,
        model: &Model,
        backend: &Backend,
        spend: &mut Spend,
        manner: Manner<'_>,
    ) -> Result<Answered, Left> {
        let mut failed = 0;
        loop {
            let trying = self.admit(backend.id).map_err(Left::Alone)?;
            spend.asks(backend);
            let trouble = match self.ask_once(scope, call, model, backend, spend, manner).await {
                Ok(answered) => {
                    trying.tell(Breaker::succeeded);
                    return Ok(answered);
                }
                Err(trouble) => trouble,
            };
            let now = self.0.clock.now();
            trying.tell(|breaker| match trouble.verdict {
                Verdict::Ill => breaker.failed(now),
                Verdict::Nothing => breaker.undecided(now),
            });
            failed += 1;
            tracing::info!(backend = %backend.id, error = %trouble.error, failed, "a backend of a model does not answer");
            if !spend.breaks_off() {
                return Err(Left::Failed(CallError::BudgetExceeded { of: "the call" }));
            }
            let pause = retry::pause(failed, trouble.retry_after, rand::random());
            match pause.filter(|_| trouble.passes) {
                Some(pause) => {
                    note_again("backend");
                    tokio::time::sleep(pause).await;
                }
                None => return Err(Left::Failed(trouble.error)),
            }
        }
    }

    async fn ask_once(
        &self,
        scope: TenantScope,
        call: &ModelCall,
        model: &Model,
        backend: &Backend,
        spend: &mut Spend,
        manner: Manner<'_>,
    ) -> Result<Answered, Trouble> {
        let terms = Terms::of(call, &backend.config);
        let trouble = |error| Trouble::of(error, model, terms);
        let answered = match &backend.config {
            ConnectionConfig::Echo(script) => {
                let mut params = model.default_params.as_map().clone();
                params.extend(call.params.clone());
                if manner.is_of_vectors() {
                    return Ok(Answered::Vectors(embed::of_echo(&call.messages, &params)));
                }
                echo(script, &call.messages, &params, spend.bound, !manner.is_whole()).await
            }
            ConnectionConfig::ScaiCore(core) => {
                let streamed = matches!(manner, Manner::Streamed);
                let asked = self.ask_core(scope, call, model, (backend, *core), streamed).await;
                Answered::Core(asked.map_err(Trouble::of_core)?)
            }
            ConnectionConfig::OpenAi(config) => {
                let (key, mut headers) = config
                    .secrets(|name| secret(call, name))
                    .map_err(|name| Trouble::unknown_secret(&name, model))?;
                headers.extend(spend.span.context().map(|place| ("traceparent", place.to_string())));
                let body = if manner.is_of_vectors() {
                    embed::body(call, model, backend)
                } else {
                    body(call, model, backend, config, spend.bound, !manner.is_whole())
                };
                let ask = Ask {
                    base_url: &config.base_url,
                    key: key.as_deref(),
                    headers: &headers,
                    body: &body,
                    timeout: terms.time,
                };
                if manner.is_of_vectors() {
                    let vectors = self.0.outbound.embed(&ask, call.messages.len()).await;
                    return vectors.map(Answered::Vectors).map_err(trouble);
                }
                if manner.is_whole() {
                    return self.0.outbound.chat(&ask).await.map(Answered::Whole).map_err(trouble);
                }
                let mut parts = self.0.outbound.chat_in_parts(&ask).await.map_err(trouble)?;
                // Until the first piece is there, another backend can be asked.
                match futures_util::StreamExt::next(&mut parts).await {
                    Some(Ok(first)) => Answered::Parts(first, parts),
                    Some(Err(error)) => return Err(trouble(error)),
                    None => return Err(trouble(ModelError::Connection("the answer broke off".to_owned()))),
                }
            }
        };
        match (answered, manner) {
            (Answered::Parts(first, rest), Manner::Gathered(ear)) => {
                let within = (call.timeout, terms.own_time);
                let gathered = gather(spend, first, rest, within, ear).await;
                gathered.map(Answered::Whole).map_err(|broken| match broken {
                    Broken::By(error) => trouble(error),
                    Broken::Late => Trouble::late(model),
                })
            }
            (answered, _) => Ok(answered),
        }
    }
}

/// Why no answer came of a backend.
enum Left {
    /// It has failed so often that it is left alone for so long.
    Alone(Duration),
    Failed(CallError),
}

impl Trouble {
    /// Why a Core does not answer. It says nothing of what it would say to others.
    fn of_core(error: CallError) -> Self {
        Self { error, passes: false, retry_after: None, verdict: Verdict::Nothing }
    }

    /// Why an answer is not waited for that still comes.
    fn late(model: &Model) -> Self {
        let error = CallError::Timeout { model: model.slug.to_string() };
        Self { error, passes: false, retry_after: None, verdict: Verdict::Nothing }
    }

    fn of(error: ModelError, model: &Model, terms: Terms) -> Self {
        let name = model.slug.to_string();
        let failed = |reason: String, status| CallError::Failed { model: name.clone(), reason, status };
        let ill = |error, passes, retry_after| Self { error, passes, retry_after, verdict: Verdict::Ill };
        match error {
            ModelError::TimedOut => Self {
                error: CallError::Timeout { model: name },
                passes: false,
                retry_after: None,
                verdict: terms.verdict_on_time(),
            },
            ModelError::Refused(_) | ModelError::Shape(_) => {
                ill(failed(error.to_string(), None), false, None)
            }
            // What a connection says of its end is for the log: it may name addresses.
            ModelError::Connection(reason) => {
                tracing::info!(reason, "the connection to a backend of a model failed");
                ill(failed("its backend cannot be reached".to_owned(), None), true, None)
            }
            ModelError::Status { status: 429, retry_after, .. } => Self {
                error: CallError::Busy { model: name, retry_after },
                passes: true,
                retry_after,
                verdict: Verdict::Nothing,
            },
            ModelError::Status { status: 400 | 413 | 415 | 422, message, .. } => Self {
                error: CallError::rejected(message),
                passes: false,
                retry_after: None,
                verdict: Verdict::Nothing,
            },
            ModelError::Status { status, message, retry_after } => {
                let passes = status >= 500 || status == 408 || status == 409;
                let verdict = terms.verdict_on(status);
                Self { error: failed(message, Some(status)), passes, retry_after, verdict }
            }
        }
    }

    fn unknown_secret(name: &str, model: &Model) -> Self {
        let reason =
            format!("its backend wants ${{env.{name}}}, which the caller's environment does not have");
        let error = CallError::Failed { model: model.slug.to_string(), reason, status: None };
        Self { error, passes: false, retry_after: None, verdict: Verdict::Nothing }
    }
}

/// A failure in the middle of a stream.
pub(super) fn broken_off(error: ModelError, model: &str) -> CallError {
    let model = model.to_owned();
    match error {
        ModelError::TimedOut => CallError::Timeout { model },
        ModelError::Status { status, message, .. } => {
            CallError::Failed { model, reason: message, status: Some(status) }
        }
        ModelError::Shape(_) => CallError::Failed { model, reason: error.to_string(), status: None },
        ModelError::Refused(_) | ModelError::Connection(_) => {
            CallError::Failed { model, reason: "the answer broke off".to_owned(), status: None }
        }
    }
}

/// A value of the environment of the Core that calls.
fn secret(call: &ModelCall, name: &str) -> Option<String> {
    match call.asking.core.as_ref()?.core.environment.get(name)? {
        EnvValue::Secret(secret) => Some(secret.reveal().to_owned()),
        EnvValue::Plain(Value::String(text)) => Some(text.clone()),
        EnvValue::Plain(_) => None,
    }
}

/// What is sent to a server.
fn body(
    call: &ModelCall,
    model: &Model,
    backend: &Backend,
    config: &OpenAiConfig,
    bound: Option<u64>,
    streamed: bool,
) -> Value {
    let mut body: Map<String, Value> = model.default_params.as_map().clone();
    body.extend(call.params.clone());
    if let Some(bound) = bound {
        let (old, new) = ("max_tokens", "max_completion_tokens");
        let named = if body.contains_key(new) {
            new
        } else if body.contains_key(old) {
            old
        } else {
            config.max_tokens_param.as_deref().unwrap_or(old)
        };
        body.insert(named.to_owned(), json!(bound));
    }
    body.insert("model".into(), backend.model.as_str().into());
    body.insert("messages".into(), Value::Array(call.messages.clone()));
    if streamed {
        body.insert("stream".into(), true.into());
        body.insert("stream_options".into(), json!({"include_usage": true}));
    }
    Value::Object(body)
}

async fn echo(
    script: &Script,
    messages: &[Value],
    params: &Map<String, Value>,
    bound: Option<u64>,
    streamed: bool,
) -> Answered {
    let reply = script.answer(&Question { messages, params, max_output_tokens: bound });
    let tokens = Tokens { input: reply.input_tokens, output: reply.output_tokens };
    let delay = script.delay().unwrap_or_default();
    let mut said = json!({"role": "assistant", "content": reply.content});
    if !reply.tool_calls.is_empty() {
        said["tool_calls"] = Value::Array(reply.tool_calls.clone());
    }
    if !streamed {
        tokio::time::sleep(delay).await;
        let choice =
            json!({"index": 0, "message": said, "logprobs": null, "finish_reason": reply.finish_reason});
        return Answered::Whole(Reply { choices: vec![choice], tokens: Some(tokens) });
    }
    let piece = |delta: Value, reason: Option<&str>| {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason});
        Part::Choices(vec![choice])
    };
    let mut parts = Vec::new();
    for text in reply.content.iter().flat_map(|text| script.pieces(text)) {
        parts.push(piece(json!({"content": text}), None));
    }
    for (index, call) in reply.tool_calls.iter().enumerate() {
        let mut call = call.clone();
        call["index"] = json!(index);
        parts.push(piece(json!({"tool_calls": [call]}), None));
    }
    parts.push(piece(json!({}), Some(&reply.finish_reason)));
    parts.extend([Part::Tokens(tokens), Part::End]);
    let rest = futures_util::stream::unfold(parts.into_iter(), move |mut parts| async move {
        let part = parts.next()?;
        if matches!(part, Part::Choices(_)) && !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        Some((Ok(part), parts))
    });
    Answered::Parts(piece(json!({"role": "assistant", "content": ""}), None), Box::pin(rest))
}
