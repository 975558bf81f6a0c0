//! Calling plugins, for Cores and for users: what an alias means, whether the method is what was accepted, who is calling and
//! with what credentials, and whether what goes out and comes in is as the method's schemas say.
//!
//! Whether a call is made again is for whoever asks for it: an error says whether the plugin may have heard of the call, and
//! [`Plugins::effect_class`] what a repetition costs.

mod ask;
mod caller;
mod fault;
mod known;
mod mask;
mod reading;
mod recheck;
mod registered;
mod required;
mod target;

use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use metrics::{counter, histogram};
use scaigrid_bus::{Bus, Signal};
use scaigrid_cores::plugins::{
    EffectClass, PluginKind, Registration, Resolution, ResolvedCredentials, Standing, resolve, resolve_value,
};
use scaigrid_cores::{Core, EnvValue, Environment, SecretText};
use scaigrid_ir::Value;
use scaigrid_ir::module::PluginDecl;
use scaigrid_outbound::Client;
use scaigrid_outbound::plugins::{CallFault, Limits, http as plain, openapi};
use scaigrid_persistence::Database;
use scaigrid_persistence::sealing::Vault;
use scaigrid_runtime::Failure;
use scaigrid_runtime::effect::PluginCallRequest;
use scaigrid_scope::{Clock, Instant, SystemScope, TenantScope};
use serde_json::{Map, Value as Json};

use crate::caller_tokens::CallerTokens;
use crate::ids::Ids;

pub use ask::Asked;
pub use fault::CallError;
pub use reading::ReadFault;
pub use registered::{Offer, OfferedMethod, RegisteredCall};
pub use required::Lacking;

use caller::Caller;
use known::Known;
pub(crate) use known::Shelf;
pub(crate) use mask::Masked;
pub(crate) use target::{APPROVAL_MISMATCH, Leave, Target};

/// How long one attempt of a call may take where it does not say itself.
const DEFAULT_TIME: Duration = Duration::from_secs(30);
/// The longest that one attempt may take, whatever it says.
const MAX_TIME: Duration = Duration::from_mins(10);
/// The most bytes of an answer.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// The most bytes of the configuration that goes with a call.
const MAX_CONFIG: usize = 4096;

/// What calls plugins. Cheap to clone.
#[derive(Clone)]
pub struct Plugins(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) database: Database,
    pub(crate) bus: Bus,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) system: SystemScope,
    pub(crate) outbound: Client,
    pub(crate) tokens: CallerTokens,
    /// What the platform signs as.
    pub(crate) issuer: String,
    pub(crate) shelf: Shelf,
}

impl std::fmt::Debug for Plugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Plugins")
    }
}

/// What a name and a method mean for a caller: all of a call but its arguments.
struct Equipped {
    known: Arc<Known>,
    /// The position of the method in the accepted manifest.
    method: usize,
    config: Map<String, Json>,
    credentials: Option<ResolvedCredentials>,
    masked: Masked,
}

/// A call, ready to go out.
struct Ready {
    known: Arc<Known>,
    /// The position of the method in the accepted manifest.
    method: usize,
    args: Map<String, Json>,
    config: Map<String, Json>,
    headers: HeaderMap,
    masked: Masked,
    /// The way out.
    outbound: Client,
}

impl Ready {
    fn registration(&self) -> &Registration {
        &self.known.registration
    }
}

impl Plugins {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Forgets what plugins there are.
    pub fn forget(&self) {
        self.0.shelf.forget();
    }

    /// After a commit that made, changed or removed a plugin: every node looks again, this one first.
    pub fn changed(&self) {
        self.forget();
        self.0.bus.publish(Signal::PluginsChanged);
    }

    /// Calls a method for a Core, once, whose program declares these plugins. The key is that of the effect,
    /// `<execution>:<seq>`; it is the same for every attempt. Dropped, it closes the connection.
    ///
    /// # Errors
    /// Why there is no value: whether the plugin may have heard of the call, and whether it can be made again.
    #[boxed]
    pub async fn call(
        &self,
        scope: TenantScope,
        core: &Core,
        declared: &[PluginDecl],
        call: &PluginCallRequest,
        key: &str,
    ) -> Result<Value, CallError> {
        self.call_through(Leave::default(), scope, core, declared, call, key).await
    }

    /// As [`Plugins::call`]. Nothing leaves unless what must hold holds in that moment.
    pub(crate) async fn call_through(
        &self,
        leave: Leave,
        scope: TenantScope,
        core: &Core,
        declared: &[PluginDecl],
        call: &PluginCallRequest,
        key: &str,
    ) -> Result<Value, CallError> {
        let begun = self.0.clock.now();
        let called = self.call_once(leave, scope, core, declared, call, key).await;
        self.count(begun, &called);
        called
    }

    /// Counts a call that has ended.
    fn count<T>(&self, begun: Instant, called: &Result<T, CallError>) {
        let result = match called {
            Ok(_) => "answered",
            Err(error) if !error.sent => "not_sent",
            Err(_) => "failed",
        };
        counter!("scaigrid_plugin_calls_total", "result" => result).increment(1);
        histogram!("scaigrid_plugin_call_seconds").record(self.0.clock.now().since(begun).as_secs_f64());
    }

    async fn call_once(
        &self,
        leave: Leave,
        scope: TenantScope,
        core: &Core,
        declared: &[PluginDecl],
        call: &PluginCallRequest,
        key: &str,
    ) -> Result<Value, CallError> {
        let args = arguments(call)?;
        let equipped = self.equip(scope, core, declared, (&call.alias, &call.method)).await?;
        equipped.check_target(leave.target.as_deref(), &call.alias)?;
        let caller = Caller::Core(core);
        let mut ready = self.make_ready(scope, caller, &call.alias, equipped, args, key).await?;
        ready.outbound = self.0.outbound.through(leave.gate);
        let value = self.send(scope, caller, &ready, limits(call.timeout), key).await?;
        Ok(Value::from_json(&value))
    }

    /// What a repetition of a call costs, by what was accepted of the plugin.
    ///
    /// # Errors
    /// The plugin or the method is not there, or not what was accepted.
    #[boxed]
    pub async fn effect_class(
        &self,
        scope: TenantScope,
        core: &Core,
        declared: &[PluginDecl],
        call: &PluginCallRequest,
    ) -> Result<EffectClass, CallError> {
        let (known, _) = self.find(scope, core, declared, &call.alias).await?;
        let position = standing(&known, &call.method)?;
        Ok(known.registration.accepted.methods()[position].effect)
    }

    /// The plugin that an alias means, and the configuration that goes with it.
    async fn find(
        &self,
        scope: TenantScope,
        core: &Core,
        declared: &[PluginDecl],
        alias: &str,
    ) -> Result<(Arc<Known>, Map<String, Json>), CallError> {
        let Resolution { plugin, config } = resolve(alias, &core.plugins, declared)
            .map_err(|why| CallError::before("PLUGIN_NOT_FOUND", why.to_string()))?;
        let known = self.known(scope, &plugin).await?;
        let known = known.ok_or_else(|| {
            CallError::before("PLUGIN_NOT_FOUND", format!("the plugin {alias}, {plugin}, is not registered"))
        })?;
        Ok((known, config))
    }

    /// Makes a call ready: everything that can be wrong before anything goes out is told here.
    async fn prepare(
        &self,
        scope: TenantScope,
        core: &Core,
        declared: &[PluginDecl],
        (alias, method): (&str, &str),
        args: Map<String, Json>,
        key: &str,
    ) -> Result<Ready, CallError> {
        let equipped = self.equip(scope, core, declared, (alias, method)).await?;
        self.make_ready(scope, Caller::Core(core), alias, equipped, args, key).await
    }

    /// Finds what a call needs beside its arguments.
    async fn equip(
        &self,
        scope: TenantScope,
        core: &Core,
        declared: &[PluginDecl],
        (alias, method): (&str, &str),
    ) -> Result<Equipped, CallError> {
        let (known, config) = self.find(scope, core, declared, alias).await?;
        let method = standing(&known, method)?;
        equip_with(known, method, config, &core.environment, alias)
    }

    async fn make_ready(
        &self,
        scope: TenantScope,
        caller: Caller<'_>,
        alias: &str,
        equipped: Equipped,
        mut args: Map<String, Json>,
        key: &str,
    ) -> Result<Ready, CallError> {
        let Equipped { known, method: position, config, credentials, masked } = equipped;
        let registration = &known.registration;
        let method = &registration.accepted.methods()[position];
        // What the configuration says of an argument counts where the call says nothing.
        let named = method.input_schema.get("properties").and_then(Json::as_object);
        for (name, value) in &config {
            if named.is_some_and(|named| named.contains_key(name)) && !args.contains_key(name) {
                args.insert(name.clone(), value.clone());
            }
        }

        known.check_input(position, &args, alias).map_err(|error| error.masked(&masked))?;
        let mut headers = HeaderMap::new();
        set(&mut headers, "idempotency-key", key);
        if let Some(place) = scaigrid_telemetry::current() {
            set(&mut headers, "traceparent", &place.to_string());
        }
        let token = self.introduce(scope, caller, registration, method.name.as_str(), key).await?;
        set(&mut headers, "x-scaigrid-identity", &token);
        if let Some(credentials) = &credentials {
            show(&mut headers, credentials).ok_or_else(|| {
                not_configured(alias, &"its credentials cannot be sent: they hold what a header cannot")
            })?;
        }
        let outbound = self.0.outbound.clone();
        Ok(Ready { known, method: position, args, config, headers, masked, outbound })
    }

    /// Sends a call and checks what comes back.
    async fn send(
        &self,
        scope: TenantScope,
        caller: Caller<'_>,
        ready: &Ready,
        limits: Limits,
        key: &str,
    ) -> Result<Json, CallError> {
        let registration = ready.registration();
        let method = &registration.accepted.methods()[ready.method];
        let alias = registration.plugin.as_str();
        let answered = match registration.kind {
            PluginKind::Http => {
                let mut headers = ready.headers.clone();
                if !ready.config.is_empty() {
                    let config = Json::Object(ready.config.clone()).to_string();
                    tell_config(&mut headers, &config)?;
                }
                let args = Json::Object(ready.args.clone());
                let url = registration.endpoint.url();
                plain::call(&ready.outbound, url, &method.name, &args, &headers, limits).await
            }
            PluginKind::OpenApi => match &method.binding {
                Some(binding) => {
                    openapi::call(&ready.outbound, binding, &ready.args, &ready.headers, limits).await
                }
                None => {
                    return Err(CallError::before(
                        "PLUGIN_NOT_FOUND",
                        "the operation is not described".to_owned(),
                    ));
                }
            },
            PluginKind::Mcp => {
                let mut meta = Map::new();
                meta.insert("scaigrid/idempotency-key".to_owned(), key.into());
                if !ready.config.is_empty() {
                    meta.insert("scaigrid/config".to_owned(), Json::Object(ready.config.clone()));
                }
                self.call_tool(scope, caller, ready, meta, limits).await?
            }
        };
        let value = answered.map_err(|fault: CallFault| CallError::of(fault, alias).masked(&ready.masked))?;
        ready.known.check_output(ready.method, &value).map_err(|error| error.masked(&ready.masked))?;
        Ok(ready.masked.value(value))
    }
}

/// What a call of a method needs beside its arguments, given the environment of whoever calls.
fn equip_with(
    known: Arc<Known>,
    method: usize,
    config: Map<String, Json>,
    environment: &Environment,
    alias: &str,
) -> Result<Equipped, CallError> {
    let mut secrets = Vec::new();
    let config = resolve_value(&Json::Object(config), environment, &mut secrets);
    let Json::Object(config) = config.map_err(|missing| not_configured(alias, &missing))? else {
        return Err(not_configured(alias, &"its configuration is none"));
    };
    // A secret that is an argument must not be told on by what the schema says of it either.
    let credentials = known.registration.credentials.as_ref();
    let credentials = credentials.map(|credentials| credentials.resolve(environment));
    let credentials = credentials.transpose().map_err(|missing| not_configured(alias, &missing))?;
    secrets.extend(credentials.iter().map(|credentials| credentials.secret().clone()));
    secrets.extend(environment.iter().filter_map(|(_, value)| match value {
        EnvValue::Secret(secret) => Some(secret.clone()),
        EnvValue::Plain(_) => None,
    }));
    let masked = Masked::new(secrets.iter().map(SecretText::reveal));
    Ok(Equipped { known, method, config, credentials, masked })
}

/// What is said of a plugin is not enough to call it.
fn not_configured(alias: &str, why: &dyn std::fmt::Display) -> CallError {
    CallError::before("PLUGIN_ERROR", format!("the plugin {alias}: {why}"))
}

/// The arguments of a call.
fn arguments(call: &PluginCallRequest) -> Result<Map<String, Json>, CallError> {
    match call.args.to_json() {
        Json::Object(args) => Ok(args),
        Json::Null => Ok(Map::new()),
        _ => Err(CallError::before("PLUGIN_ERROR", "the arguments of a plugin must be an object".to_owned())),
    }
}

fn limits(timeout: Option<Duration>) -> Limits {
    Limits { time: timeout.unwrap_or(DEFAULT_TIME).min(MAX_TIME), body: MAX_ANSWER }
}

/// Where a method stands among those that were accepted, if it can be called.
fn standing(known: &Known, method: &str) -> Result<usize, CallError> {
    let registration = &known.registration;
    match Standing::of(method, &registration.accepted, &known.drift) {
        Standing::Accepted(_) => {}
        Standing::Drifted => return Err(CallError::drifted(registration.plugin.as_str(), method)),
        Standing::Missing => {
            let message = format!("the plugin {} has no method {method}", registration.plugin);
            return Err(CallError::before("PLUGIN_NOT_FOUND", message));
        }
    }
    let position = registration.accepted.methods().iter().position(|other| other.name.as_str() == method);
    position.ok_or_else(|| CallError::drifted(registration.plugin.as_str(), method))
}

/// Sets a header, if its value can be one; secrets are marked, so that nothing writes them down.
fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(mut value) = HeaderValue::from_str(value) {
        value.set_sensitive(true);
        headers.insert(HeaderName::from_static(name), value);
    }
}

pub(crate) fn show(headers: &mut HeaderMap, credentials: &ResolvedCredentials) -> Option<()> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let (name, text) = match credentials {
        ResolvedCredentials::Bearer(token) => (AUTHORIZATION, format!("Bearer {}", token.reveal())),
        ResolvedCredentials::Basic(username, password) => {
            let both = format!("{username}:{}", password.reveal());
            (AUTHORIZATION, format!("Basic {}", STANDARD.encode(both)))
        }
        ResolvedCredentials::Header(name, value) => {
            (HeaderName::from_bytes(name.as_bytes()).ok()?, value.reveal().to_owned())
        }
    };
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Some(())
}

/// Puts a configuration into the header in which plugins over plain HTTP get it: JSON in base64url (RFC 4648).
fn tell_config(headers: &mut HeaderMap, config: &str) -> Result<(), CallError> {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    if config.len() > MAX_CONFIG {
        let message = format!("the plugin's configuration has more than {MAX_CONFIG} bytes");
        return Err(CallError::before("PLUGIN_ERROR", message));
    }
    set(headers, "x-scaigrid-config", &URL_SAFE_NO_PAD.encode(config));
    Ok(())
}

/// A failure that a program can catch.
fn failure(code: &'static str, message: impl Into<Arc<str>>) -> Failure {
    Failure::new(code, message)
}
