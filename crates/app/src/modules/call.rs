//! Calling a remote module: a request of a caller who may is passed on, with word of who they are, and what comes back is
//! passed back. Nothing of either is kept.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use http::header::{CONNECTION, FORWARDED, HeaderMap, HeaderName, HeaderValue, UPGRADE, VIA};
use http::{Method, Request, StatusCode};
use metrics::counter;
use scaigrid_modules::{ModuleKind, below};
use scaigrid_outbound::{
    BodyError, Forwarded, Passing, Patience, Received, Refusal, SendError, Tunnel, content_length,
    for_caller, for_module, wants_websocket,
};
use scaigrid_scope::{Authorized, Credential, Principal, TraceContext, perm};
use scaigrid_telemetry::{Kind, current};
use serde_json::{Value, json};
use url::Url;

use super::trace;
use super::tunnels::TunnelPlace;
use crate::{App, Error, Resource};

/// What the platform calls itself among those who pass messages on (RFC 9110 section 7.6.3).
const PSEUDONYM: &str = "scaigrid";
/// When it is worth trying again where there are too many tunnels.
const TUNNELS_FULL: Duration = Duration::from_secs(5);
/// How many times as long as the beginning of an answer its next piece is waited for.
const PIECE: u32 = 5;

/// How remote modules are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSettings {
    /// How long is waited for an answer to begin; for each further piece of it, five times as long.
    pub patience: Duration,
    /// The address at which people and modules find the platform, if it is known.
    pub public_url: Option<Url>,
}

impl Default for RemoteSettings {
    fn default() -> Self {
        Self { patience: Duration::from_mins(1), public_url: None }
    }
}

impl RemoteSettings {
    /// What the platform signs as: `iss`.
    pub fn issuer(&self) -> &str {
        self.public_url.as_ref().map_or(PSEUDONYM, |url| url.as_str().trim_end_matches('/'))
    }
}

/// How a request came to the platform.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The request's id.
    pub request_id: Arc<str>,
    /// The peer's address.
    pub address: Option<IpAddr>,
    /// The host that it was sent to, as the request names it.
    pub host: Option<String>,
    /// The version of HTTP that it came in: `1.1`.
    pub version: &'static str,
}

/// A request to a remote module.
#[derive(Debug)]
pub struct ModuleRequest {
    /// The method.
    pub method: Method,
    /// The path below the module's own, without the `/` before it, as it stood in the request.
    pub path: String,
    /// The query, as it stood in the request.
    pub query: Option<String>,
    /// The headers, all of them.
    pub headers: HeaderMap,
    /// The body.
    pub body: Passing,
    /// How it came here.
    pub arrival: Arrival,
}

/// What a remote module answered.
pub struct ModuleAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers that the caller is to see.
    pub headers: HeaderMap,
    /// How long the body is, or would be (RFC 9110 section 8.6), if the module says so.
    pub length: Option<u64>,
    /// The body.
    pub body: Received,
    /// The way through to the module, where the answer is a WebSocket.
    pub tunnel: Option<(Tunnel, TunnelPlace)>,
}

impl std::fmt::Debug for ModuleAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModuleAnswer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Why there is no answer of the module's.
#[derive(Debug, thiserror::Error)]
pub enum CallFailed {
    /// The platform's or the module's fault.
    #[error(transparent)]
    App(#[from] Error),
    /// The body did not come to its end.
    #[error(transparent)]
    Body(#[from] BodyError),
}

impl App {
    /// Passes a request on to a remote module, as far as it is active in the tenant that the caller acts in.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a module that does not exist or is built in, and for a path that leads out of the module;
    /// those of [`App::check_module`]; [`Error::EgressDenied`], [`Error::ModuleUnreachable`], [`Error::ModuleTimeout`];
    /// [`Error::Unavailable`] when too many tunnels are open.
    #[boxed]
    pub async fn call_module(
        &self,
        caller: &Authorized<perm::ModulesUse>,
        id: &str,
        request: ModuleRequest,
    ) -> Result<ModuleAnswer, CallFailed> {
        let manifest = self.manifest(id)?;
        self.check_module(caller, id).await?;
        let ModuleKind::Remote { endpoint, .. } = &manifest.kind else {
            return Err(Error::NotFound(Resource::Route).into());
        };
        let ModuleRequest { method, path, query, headers, body, arrival } = request;
        let nowhere = |_| Error::NotFound(Resource::Route);
        let here = below(endpoint, &path, None).map_err(nowhere)?;
        let url = below(endpoint, &path, query.as_deref()).map_err(nowhere)?;
        // What the HTTP library cannot write is no path either.
        url.parse::<http::Uri>().map_err(|_| Error::NotFound(Resource::Route))?;

        let tunnels = method == Method::GET && wants_websocket(&headers);
        let place = if tunnels {
            let place = self.0.tunnels.place(caller.tenant().id);
            Some(place.ok_or(Error::Unavailable { retry_after: TUNNELS_FULL })?)
        } else {
            None
        };
        let mut passed = for_module(&headers);
        if tunnels {
            passed.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            passed.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        self.introduce(&mut passed, caller, id, (&method, &here)).await?;
        let tracing = self.0.engine.tracing();
        let mut span = tracing.span(Kind::Client, current(), || format!("module {id}").into());
        self.tell_way(&mut passed, &headers, &arrival, span.context());

        let mut onward = Request::new(body);
        *onward.method_mut() = method;
        *onward.headers_mut() = passed;
        let piece = self.0.remote.patience.saturating_mul(PIECE);
        let patience = Patience { answer: self.0.remote.patience, piece };
        let answer = self.0.outbound.forward(&url, onward, patience).await;
        let result = match &answer {
            Ok(_) => "answered",
            Err(SendError::TimedOut) => "timed_out",
            Err(SendError::Body(_)) => "broken_off",
            Err(SendError::Refused(_) | SendError::Failed(_)) => "failed",
        };
        if let Some(live) = span.live().filter(|_| result != "answered") {
            live.fail(result);
        }
        drop(span);
        counter!("scaigrid_module_calls_total", "module" => id.to_owned(), "result" => result).increment(1);
        Ok(answered(answer.map_err(|error| failed(id, error))?, place))
    }

    /// Ends every tunnel and every stream of this node, since it is to end.
    pub fn end_tunnels(&self) {
        self.0.tunnels.end();
        self.0.streams.end();
    }

    /// Who is calling: for those who believe the network, and signed for those who do not.
    async fn introduce(
        &self,
        headers: &mut HeaderMap,
        caller: &Principal,
        module: &str,
        target: (&Method, &str),
    ) -> Result<(), Error> {
        let claims = self.claims(caller, module, target);
        let token = self.0.engine.caller_tokens().sign(&claims, None).await.map_err(Error::from)?;
        let roles: Vec<&str> = caller.roles().iter().map(scaigrid_scope::Role::as_str).collect();
        set(headers, "x-scaigrid-user", &caller.user_id().to_string());
        set(headers, "x-scaigrid-tenant", &caller.tenant().id.to_string());
        set(headers, "x-scaigrid-roles", &roles.join(","));
        set(headers, "x-scaigrid-identity", &token);
        Ok(())
    }

    /// The claims of the token: who, in which tenant, with which rights, to whom, and for which request (as RFC 9449
    /// section 4.2 names that).
    fn claims(&self, caller: &Principal, module: &str, (method, url): (&Method, &str)) -> Value {
        let scope: Vec<String> = caller.permissions().iter().map(|key| key.to_string()).collect();
        let roles: Vec<&str> = caller.roles().iter().map(scaigrid_scope::Role::as_str).collect();
        let mut claims = json!({
            "iss": self.0.remote.issuer(),
            "aud": module,
            "sub": caller.user_id().to_string(),
            "tenant_id": caller.tenant().id.to_string(),
            "partner_id": caller.tenant().partner_id.to_string(),
            "roles": roles,
            "scope": scope.join(" "),
            "jti": self.0.ids.draw(self.now()).to_string(),
            "htm": method.as_str(),
            "htu": url,
        });
        if let Credential::Token { actor: Some(actor), .. } = &caller.identity().credential {
            claims["act"] = json!({"sub": actor});
        }
        claims
    }

    /// How the request came here, and what it is a part of.
    fn tell_way(
        &self,
        headers: &mut HeaderMap,
        inbound: &HeaderMap,
        arrival: &Arrival,
        step: Option<TraceContext>,
    ) {
        let scheme = self.0.remote.public_url.as_ref().map_or("http", Url::scheme);
        set(headers, "x-forwarded-proto", scheme);
        let mut forwarded = String::new();
        if let Some(address) = arrival.address.map(|address| address.to_canonical()) {
            set(headers, "x-forwarded-for", &address.to_string());
            // Writing to a text cannot fail.
            let _ = match address {
                IpAddr::V4(address) => write!(forwarded, "for={address};"),
                IpAddr::V6(address) => write!(forwarded, "for=\"[{address}]\";"),
            };
        }
        if let Some(host) = arrival.host.as_deref().filter(|host| !host.contains(['"', '\\'])) {
            set(headers, "x-forwarded-host", host);
            let _ = write!(forwarded, "host=\"{host}\";");
        }
        let _ = write!(forwarded, "proto={scheme}");
        set(headers, FORWARDED.as_str(), &forwarded);
        via(headers, arrival.version);
        set(headers, "x-request-id", &arrival.request_id);
        let (parent, goes_on) = trace::parent(inbound, step);
        set(headers, "traceparent", &parent);
        if goes_on {
            for state in inbound.get_all("tracestate") {
                headers.append(HeaderName::from_static("tracestate"), state.clone());
            }
        }
    }
}

/// Sets a header, if its value can be one.
fn set(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

fn via(headers: &mut HeaderMap, version: &str) {
    if let Ok(value) = HeaderValue::from_str(&format!("{version} {PSEUDONYM}")) {
        headers.append(VIA, value);
    }
}

fn answered(answer: Forwarded, place: Option<TunnelPlace>) -> ModuleAnswer {
    let mut headers = for_caller(&answer.headers);
    via(&mut headers, "1.1");
    let length = content_length(&answer.headers);
    headers.remove(http::header::CONTENT_LENGTH);
    let tunnel = answer.tunnel.zip(place);
    ModuleAnswer { status: answer.status, headers, length, body: answer.body, tunnel }
}

/// What the caller is told. What lies behind it is for the log: addresses are nobody's business.
fn failed(module: &str, error: SendError) -> CallFailed {
    match error {
        SendError::Body(error) => CallFailed::Body(error),
        SendError::TimedOut => {
            tracing::warn!(module, "the module does not answer in time");
            Error::ModuleTimeout { module: module.to_owned() }.into()
        }
        SendError::Refused(refusal) if refusal != Refusal::Unresolvable => {
            tracing::warn!(module, %refusal, "the module's endpoint may not be called");
            let (field, reason) = ("endpoint".into(), refusal.to_string());
            Error::EgressDenied { field, reason, calling: true }.into()
        }
        error @ (SendError::Refused(_) | SendError::Failed(_)) => {
            tracing::warn!(module, %error, "the module cannot be called");
            Error::ModuleUnreachable { module: module.to_owned() }.into()
        }
    }
}
