//! Calls of a Core's own API, and messages that come in through its webhooks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use data_encoding::HEXLOWER;
use metrics::counter;
use scaigrid_cores::execution::{Execution, ExecutionStatus, Origin, Standing};
use scaigrid_cores::triggers::api::{self, Found};
use scaigrid_cores::triggers::hook::{Hook, HookSecret};
use scaigrid_cores::triggers::input::{self, Call};
use scaigrid_cores::triggers::listening::{Listening, Verdict, noted};
use scaigrid_cores::triggers::{self, Entry, Listens};
use scaigrid_cores::{EnvValue, FieldProblem, Status};
use scaigrid_ir::Value;
use scaigrid_persistence::events::{self, CoreEvent};
use scaigrid_persistence::{cores, data_keys, delegations, hook_messages, triggers as stored};
use scaigrid_runtime::Program;
use scaigrid_scope::{CoreId, EventId, ExecutionId, Instant, TenantScope, TriggerId, UserId};
use scaigrid_webhooks::Secret;
use sha2::{Digest as _, Sha256};

use crate::cores::HostedCore;
use crate::instances::instances;
use crate::invoke::{Invocation, begin};
use crate::traces::{kind, note_begun};
use crate::{Engine, Error};

/// The name of the events that tell of messages which came in through webhooks.
pub const RECEIVED: &str = "scaicore.webhook.received";
/// Headers that say who somebody is: no flow needs them.
const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// A trigger that a call of a Core's API means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meant {
    /// The trigger's name.
    pub name: Arc<str>,
    /// The flow that it starts.
    pub flow: Arc<str>,
    /// Whether it answers without credentials.
    pub public: bool,
    /// Whether the flow has a parameter of its own for how long to wait.
    pub own_wait: bool,
    /// The parameters of the path.
    pub params: Vec<(String, String)>,
}

/// The parameter that says how long to wait, unless the flow has one of that name.
pub const WAIT: &str = "wait_ms";

/// What a call of a Core's API means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// This trigger.
    Meant(Meant),
    /// The path has other methods: these.
    OtherMethods(Vec<&'static str>),
    /// There is no such path.
    Nothing,
}

/// A message that came in and is from whom it says.
pub struct Verified {
    ready: Ready,
    headers: BTreeMap<String, String>,
    id: String,
}

impl Verified {
    /// Whose webhook it came to.
    pub const fn tenant(&self) -> TenantScope {
        self.ready.scope
    }
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Its id.
    pub message_id: String,
    /// What it began, now or when it first came.
    pub execution: Option<ExecutionId>,
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// There is no such webhook.
    #[error("no such webhook")]
    Unknown,
    /// It is not from whom it says.
    #[error("the message is not verified")]
    NotVerified,
    /// The Core takes no work.
    #[error("the Core is {0} and takes no work")]
    NotRunning(Status),
    /// The engine's.
    #[error(transparent)]
    Engine(#[from] Error),
}

impl From<scaigrid_persistence::Error> for NotTaken {
    fn from(error: scaigrid_persistence::Error) -> Self {
        Self::Engine(error.into())
    }
}

/// A webhook of a Core, ready to take messages.
struct Ready {
    scope: TenantScope,
    hosted: Arc<HostedCore>,
    program: Arc<Program>,
    entry: Entry,
    hook: Hook,
}

impl Engine {
    async fn with_entries(
        &self,
        scope: TenantScope,
        core: CoreId,
    ) -> Result<(Arc<HostedCore>, Arc<Program>, Vec<Entry>), Error> {
        let hosted = self.hosted(scope, core).await?;
        let program = self.program(scope, core, hosted.core.source.version).await?;
        let entries = triggers::entries(core, program.module(), &hosted.core.triggers);
        Ok((hosted, program, entries))
    }

    /// What a call of a Core's API means. `path` is what stands behind the API's own.
    ///
    /// # Errors
    /// There is no such Core, or its program cannot be read.
    #[boxed]
    pub async fn find_endpoint(
        &self,
        scope: TenantScope,
        core: CoreId,
        (method, path): (&str, &str),
    ) -> Result<Endpoint, Error> {
        let (_, program, entries) = self.with_entries(scope, core).await?;
        let endpoints = entries.iter().enumerate().filter_map(|(at, entry)| match entry.at_work()? {
            Listens::Api(endpoint) => Some((at, endpoint.clone())),
            _ => None,
        });
        Ok(match api::find(endpoints, method, path) {
            Found::Nothing => Endpoint::Nothing,
            Found::OtherMethods(methods) => Endpoint::OtherMethods(methods),
            Found::One(at, params) => match entries.get(at) {
                Some(Entry { name, flow, listens: Ok(Listens::Api(endpoint)), .. }) => {
                    Endpoint::Meant(Meant {
                        name: Arc::clone(name),
                        flow: Arc::clone(flow),
                        public: endpoint.is_public(),
                        own_wait: program
                            .module()
                            .flow(flow)
                            .is_some_and(|flow| flow.params.iter().any(|param| &*param.name == WAIT)),
                        params,
                    })
                }
                _ => Endpoint::Nothing,
            },
        })
    }

    /// The trigger that a call without credentials means, and the right to start it; none where that is none that is public.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn find_public_endpoint(
        &self,
        core: CoreId,
        asked: (&str, &str),
    ) -> Result<Option<(TenantScope, Meant)>, Error> {
        let Some(scope) = self.scope_of(core).await? else { return Ok(None) };
        match self.find_endpoint(scope, core, asked).await {
            Ok(Endpoint::Meant(meant)) if meant.public => Ok(Some((scope, meant))),
            Ok(_) | Err(Error::NoCore | Error::BadProgram(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Starts the flow of a trigger of a Core's API, for a user where one calls.
    ///
    /// # Errors
    /// As [`Engine::invoke`]; [`Error::Input`] where something is given that the flow does not take.
    #[boxed]
    pub async fn call_api(
        &self,
        scope: TenantScope,
        core: CoreId,
        meant: &Meant,
        (call, by): (&Call, Option<UserId>),
        wait: Option<Duration>,
    ) -> Result<Standing, Error> {
        let hosted = self.accepting(scope, core).await?;
        let program = self.program(scope, core, hosted.core.source.version).await?;
        let module = program.module();
        // It was there a moment ago.
        let flow = module.flow(&meant.flow).ok_or(Error::Contended)?;
        let input = input::of_call(flow, &module.types, call).map_err(Error::Input)?;
        let invocation =
            Invocation { flow: Some(meant.flow.to_string()), input, instance_key: None, wait, by };
        let origin = Origin::Api(Arc::clone(&meant.name));
        self.invoke_from(scope, core, self.execution_id(), origin, invocation).await
    }

    /// Whether a message to a webhook is from whom it says: its headers by names in lower case, and its body as it was sent.
    ///
    /// # Errors
    /// [`NotTaken::Unknown`], [`NotTaken::NotVerified`], or the engine's.
    #[boxed]
    pub async fn verify_message(
        &self,
        (core, trigger): (CoreId, TriggerId),
        headers: BTreeMap<String, String>,
        raw: &[u8],
    ) -> Result<Verified, NotTaken> {
        let ready = self.ready_for_messages(core, trigger).await?.ok_or(NotTaken::Unknown)?;
        let secrets = self.secrets_of(&ready).await?;
        let header = |name: &str| headers.get(name).map(String::as_str);
        let verified = ready.hook.scheme.verify(&secrets, header, raw, self.0.clock.now());
        let id = verified.map_err(|reason| {
            tracing::info!(%core, trigger = %ready.entry.name, %reason, "a message was not verified");
            note_message("not_verified");
            NotTaken::NotVerified
        })?;
        Ok(Verified { ready, headers, id })
    }

    async fn ready_for_messages(&self, core: CoreId, trigger: TriggerId) -> Result<Option<Ready>, Error> {
        let Some(scope) = self.scope_of(core).await? else { return Ok(None) };
        let (hosted, program, entries) = match self.with_entries(scope, core).await {
            Ok(found) => found,
            Err(Error::NoCore | Error::BadProgram(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let entry = entries.into_iter().find(|entry| entry.id == trigger);
        Ok(entry.and_then(|entry| {
            let hook = match entry.at_work() {
                Some(Listens::Webhook(hook)) => hook.clone(),
                _ => return None,
            };
            Some(Ready { scope, hosted, program, entry, hook })
        }))
    }

    /// What messages may be verified with: none where nothing is kept, or nothing of it can be opened.
    async fn secrets_of(&self, ready: &Ready) -> Result<Vec<Secret>, Error> {
        let id = ready.entry.id;
        let texts: Vec<String> = match &ready.hook.secret {
            HookSecret::Environment(name) => match ready.hosted.core.environment.get(name) {
                Some(EnvValue::Secret(secret)) => {
                    secret.reveal().split_whitespace().map(str::to_owned).collect()
                }
                _ => Vec::new(),
            },
            HookSecret::Own => {
                let mut c = self.0.database.read().await?;
                let core = ready.hosted.core.id;
                let Some((secret, previous)) = stored::secrets(&mut c, ready.scope, core, id).await? else {
                    return Ok(Vec::new());
                };
                let now = self.0.clock.now();
                let previous =
                    previous.filter(|previous| previous.until > now).map(|previous| previous.sealed);
                let sealed = [secret.as_str()].into_iter().chain(previous.as_deref());
                let opener = data_keys::opener(&mut c, ready.scope, &self.0.vault, sealed).await?;
                let id = id.to_string();
                let secret = opener.open(&stored::sealing_place(&id), &secret).ok();
                let previous =
                    previous.and_then(|sealed| opener.open(&stored::previous_place(&id), &sealed).ok());
                [secret, previous].into_iter().flatten().collect()
            }
        };
        Ok(texts.iter().filter_map(|text| Secret::parse(text).ok()).collect())
    }

    /// Takes a message: starts the flow of the trigger, once for each message however often it comes and at how many nodes.
    ///
    /// # Errors
    /// [`NotTaken::NotRunning`], or the engine's: what it carries does not fit, or there is no room.
    #[boxed]
    pub async fn take_message(&self, message: Verified, body: Value) -> Result<Receipt, NotTaken> {
        let Verified { ready, headers, id: message_id } = message;
        let ready = &ready;
        let (scope, core) = (ready.scope, ready.hosted.core.id);
        let hash = hashed(&message_id);
        let place = (core, ready.entry.id, hash.as_str());
        let known = {
            let mut connection = self.0.database.read().await?;
            hook_messages::first(&mut connection, scope, place).await?
        };
        if let Some(execution) = known {
            return self.again(ready, message_id, execution).await;
        }
        if !ready.hosted.core.status.can_accept_work() {
            return Err(self.not_running(ready, &message_id, ready.hosted.core.status).await?);
        }
        let mut execution = match self.of_message(ready, headers, body, &message_id) {
            Ok(execution) => execution,
            Err(error) => {
                note_message("unfit");
                self.note_message(ready, &message_id, Verdict::Unfit(error.to_string(), None)).await?;
                return Err(error.into());
            }
        };
        self.may_queue(scope, &ready.hosted).await?;
        let (id, at) = (execution.id, execution.started_at);
        let begun = kind(&execution.origin);
        let mut transaction = self.0.database.begin().await?;
        // First the Core, as everywhere.
        match cores::hold_standing(&mut transaction, scope, core).await? {
            Some((status, _)) if status.can_accept_work() => {}
            Some((status, _)) => {
                transaction.rollback().await?;
                return Err(self.not_running(ready, &message_id, status).await?);
            }
            None => return Err(NotTaken::Unknown),
        }
        let lent = delegations::lookup(&mut transaction, scope, core).await?;
        execution.delegation = lent.map(|delegation| delegation.id);
        if !hook_messages::note(&mut transaction, scope, place, Some(id), at).await? {
            // It came twice at once; the other one is durable, or this would have waited for it.
            transaction.rollback().await?;
            let mut connection = self.0.database.read().await?;
            let first = hook_messages::first(&mut connection, scope, place).await?;
            drop(connection);
            return self.again(ready, message_id, first.flatten()).await;
        }
        let event = self.received(ready, &message_id, Verdict::Started(id), at);
        events::add(&mut transaction, scope, &event, &[execution]).await?;
        transaction.commit().await?;
        note_message("taken");
        note_begun(begun);
        self.work_waits();
        Ok(Receipt { message_id, execution: Some(id) })
    }

    async fn again(
        &self,
        ready: &Ready,
        message_id: String,
        execution: Option<ExecutionId>,
    ) -> Result<Receipt, NotTaken> {
        note_message("duplicate");
        self.note_message(ready, &message_id, Verdict::Duplicate(execution)).await?;
        Ok(Receipt { message_id, execution })
    }

    async fn not_running(&self, ready: &Ready, message_id: &str, status: Status) -> Result<NotTaken, Error> {
        note_message("not_running");
        self.note_message(ready, message_id, Verdict::CoreNotRunning(status.as_str().to_owned())).await?;
        Ok(NotTaken::NotRunning(status))
    }

    /// The execution that a message is to begin; checked as at its beginning, and bound to no delegation yet.
    fn of_message(
        &self,
        ready: &Ready,
        headers: BTreeMap<String, String>,
        body: Value,
        message_id: &str,
    ) -> Result<Execution, Error> {
        let (hosted, program) = (&ready.hosted, &ready.program);
        let now = self.0.clock.now();
        let place = instances(hosted, program).place(None, &body).map_err(Error::EntityKey)?;
        let vouching = ready.hook.scheme.vouching();
        let params = program.module().flow(&ready.entry.flow).map(|flow| flow.params.as_slice());
        let headers = headers
            .into_iter()
            .filter(|(name, _)| !CREDENTIALS.contains(&name.as_str()) && !vouching.contains(&name.as_str()));
        let headers = headers.map(|(name, value)| (Arc::from(name), Value::from(value))).collect();
        let mut given = BTreeMap::from([
            ("body", body),
            ("headers", Value::object(headers)),
            ("message_id", Value::from(message_id)),
        ]);
        let fields = params
            .unwrap_or_default()
            .iter()
            .filter_map(|param| given.remove(&*param.name).map(|value| (Arc::clone(&param.name), value)));
        let execution = Execution {
            id: ExecutionId::from_ulid(self.0.ids.draw(now)),
            tenant_id: hosted.core.tenant_id,
            core_id: hosted.core.id,
            flow: Arc::clone(&ready.entry.flow),
            source_version: hosted.core.source.version,
            status: ExecutionStatus::Queued,
            origin: Origin::Webhook(Arc::clone(&ready.entry.name)),
            instance_key: place.key,
            slots: place.slots,
            parent: None,
            depth: 0,
            input: Value::object(fields.collect()),
            output: None,
            error: None,
            started_at: now,
            finished_at: None,
            debugging: None,
            trace: self.begun_trace(),
            delegation: None,
            requested_by: Vec::new(),
        };
        begin(ready.scope, Arc::clone(program), hosted, execution.clone())?;
        Ok(execution)
    }

    /// Keeps what became of a message that began nothing.
    async fn note_message(&self, ready: &Ready, message_id: &str, verdict: Verdict) -> Result<(), Error> {
        let event = self.received(ready, message_id, verdict, self.0.clock.now());
        let mut transaction = self.0.database.begin().await?;
        // Of a Core that was deleted a moment ago nothing is kept.
        if cores::hold_standing(&mut transaction, ready.scope, event.core_id).await?.is_none() {
            return Ok(transaction.rollback().await?);
        }
        events::add(&mut transaction, ready.scope, &event, &[]).await?;
        Ok(transaction.commit().await?)
    }

    fn received(&self, ready: &Ready, message_id: &str, verdict: Verdict, at: Instant) -> CoreEvent {
        let core_id = ready.hosted.core.id;
        let listening = Listening {
            listener: format!("trigger:{}", ready.entry.name),
            core_id,
            flow: Some(ready.entry.flow.to_string()),
            verdict,
        };
        CoreEvent {
            id: EventId::from_ulid(self.0.ids.draw(at)),
            core_id,
            execution_id: None,
            name: RECEIVED.to_owned(),
            data: Value::from([
                ("trigger_id", Value::from(ready.entry.id.to_string())),
                ("trigger", Value::from(&*ready.entry.name)),
                ("message_id", Value::from(message_id)),
            ]),
            at,
            heard: noted(&[listening], 0),
        }
    }
}

/// Counts a message that came in.
fn note_message(result: &'static str) {
    counter!("scaigrid_hook_messages_total", "result" => result).increment(1);
}

/// Ids are somebody else's, and may be of any length.
fn hashed(id: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(id))
}

/// What is wrong with a call, as a list.
pub(crate) fn listed(problems: &[FieldProblem]) -> String {
    let each = problems.iter().map(|problem| format!("{} {}", problem.field, problem.message));
    each.collect::<Vec<_>>().join("; ")
}
