//! Servers of the Model Context Protocol, by its official SDK over the guarded client.
//!
//! The SDK speaks the protocol: which version, initialisation or discovery, sessions, requests and their answers. What it
//! sends goes out here, request by request, each on a connection to an address that the guard has judged. A [`Session`] is
//! for one call; dropped, it closes whatever is open.

mod transport;

use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderMap;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, ContentBlock, Implementation,
    MetaObject, PaginatedRequestParams, ProtocolVersion, Tool,
};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, ClientServiceExt as _, RoleClient, RunningService,
    ServiceError,
};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use scaigrid_cores::plugins::{EffectClass, Manifest, Method, MethodName};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use url::Url;

use self::transport::{Guarded, Shared};
use super::{CallFault, Fault, Limits, shorten};
use crate::client::Client;

/// The most pages of tools that are asked for.
const PAGES: usize = 100;
/// How long an answer that has come may take to get through once its connection has ended.
const GRACE: Duration = Duration::from_millis(500);
/// What a tool's own metadata may say of what a repetition of it costs.
const EFFECT: &str = "scaigrid/effect";
const QUERY_METHOD: &str = "scaigrid/query-method";

/// How a server is greeted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Greeting {
    /// By `initialize`, as before 2026-07-28.
    Initialize,
    /// By `server/discover`.
    Discover,
}

/// A conversation with a server.
pub struct Session {
    running: RunningService<RoleClient, ClientConfig>,
    shared: Arc<Shared>,
    greeting: Greeting,
    until: Instant,
    /// Once it is gone, so is everything that is open.
    _alive: watch::Sender<()>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("greeting", &self.greeting).finish_non_exhaustive()
    }
}

fn us() -> ClientConfig {
    ClientConfig::new(
        ClientCapabilities::default(),
        Implementation::new("scaigrid", env!("CARGO_PKG_VERSION")),
    )
}

impl Session {
    /// Begins a conversation. A server of which it is not known how it is to be greeted is initialised, as those of before
    /// 2026-07-28 are, and asked what it is where it does not know that.
    ///
    /// # Errors
    /// What went wrong; no tool has been called.
    pub async fn begin(
        client: &Client,
        endpoint: &Url,
        headers: &HeaderMap,
        limits: Limits,
        greeting: Option<Greeting>,
    ) -> Result<Self, CallFault> {
        let until = Instant::now() + limits.time;
        let greet = |greeting| Self::greet(client, endpoint, headers, limits, (until, greeting));
        let first = greet(greeting.unwrap_or(Greeting::Initialize)).await;
        match first {
            // An answer that is none of the protocol's, or a refusal: perhaps it was greeted in the wrong way.
            Err(Fault::Nonsense(_) | Fault::Told { status: None | Some(400 | 404 | 405 | 501), .. })
                if greeting.is_none() =>
            {
                greet(Greeting::Discover).await
            }
            first => first,
        }
        .map_err(CallFault::before)
    }

    async fn greet(
        client: &Client,
        endpoint: &Url,
        headers: &HeaderMap,
        limits: Limits,
        (until, greeting): (Instant, Greeting),
    ) -> Result<Self, Fault> {
        let (alive, gone) = watch::channel(());
        let shared = Arc::new(Shared::default());
        let guarded = Guarded::new(client, endpoint, headers, (limits, until), Arc::clone(&shared), gone);
        let mut config = StreamableHttpClientTransportConfig::with_uri(endpoint.as_str());
        config.reinit_on_expired_session = false;
        config.max_sse_event_size = limits.body;
        let transport = StreamableHttpClientTransport::with_client(guarded, config);
        let lifecycle = match greeting {
            Greeting::Initialize => ClientLifecycleMode::Initialize,
            Greeting::Discover => {
                ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
            }
        };
        match timeout_at(until, us().serve_with_lifecycle(transport, lifecycle)).await {
            Err(_) => Err(Fault::TimedOut),
            Ok(Ok(running)) => Ok(Self { running, shared, greeting, until, _alive: alive }),
            Ok(Err(error)) => Err(shared.take().unwrap_or_else(|| not_greeted(&error))),
        }
    }

    /// How the server was greeted.
    pub const fn greeting(&self) -> Greeting {
        self.greeting
    }

    /// What the server offers.
    ///
    /// # Errors
    /// What went wrong; no tool has been called.
    pub async fn manifest(&self) -> Result<Manifest, CallFault> {
        self.tools().await.and_then(|tools| self.manifest_of(tools)).map_err(CallFault::before)
    }

    async fn tools(&self) -> Result<Vec<Tool>, Fault> {
        let (mut tools, mut cursor) = (Vec::new(), None);
        for _ in 0..PAGES {
            let params = PaginatedRequestParams::default().with_cursor(cursor);
            let page = self.watched(self.running.list_tools(Some(params))).await?;
            tools.extend(page.tools);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(tools);
            }
            if tools.len() > Manifest::MAX_METHODS {
                break;
            }
        }
        Err(Fault::Nonsense("it has too many tools".to_owned()))
    }

    fn manifest_of(&self, tools: Vec<Tool>) -> Result<Manifest, Fault> {
        let version =
            self.running.peer_info().and_then(|info| info.server_info.as_ref().map(|us| us.version.clone()));
        let version: String = version.unwrap_or_default().chars().take(100).collect();
        let (mut methods, mut left_out) = (Vec::new(), Vec::new());
        for tool in tools {
            let name: String = tool.name.chars().take(100).collect();
            match method(tool) {
                Ok(method) => methods.push(method),
                Err(reason) => left_out.push(format!("{name}: {reason}").into_boxed_str()),
            }
        }
        let manifest = Manifest::of(version, methods, "manifest").map_err(|problems| {
            let first = problems.into_iter().next();
            Fault::Nonsense(
                first.map_or_else(String::new, |first| format!("{} {}", first.field, first.message)),
            )
        })?;
        Ok(manifest.with_left_out(left_out))
    }

    /// Calls a tool. Its value is the structured content, or the text.
    ///
    /// # Errors
    /// What went wrong, and whether the server may have heard of it.
    pub async fn call(
        &self,
        tool: &MethodName,
        args: Map<String, Value>,
        meta: Map<String, Value>,
    ) -> Result<Value, CallFault> {
        let mut params = CallToolRequestParams::new(tool.as_str().to_owned()).with_arguments(args);
        params.meta = Some(MetaObject(meta).into());
        let called = self.watched(self.running.call_tool(params)).await;
        let fault = |fault| CallFault { fault, sent: self.shared.sent() };
        value(called.map_err(fault)?).map_err(fault)
    }

    /// Waits for an answer, until time is up or it is clear that none will come.
    async fn watched<T>(&self, ask: impl Future<Output = Result<T, ServiceError>>) -> Result<T, Fault> {
        let asked = self.shared.asked();
        let mut ask = std::pin::pin!(ask);
        let answer = tokio::select! {
            biased;
            answer = timeout_at(self.until, &mut ask) => answer.map_err(|_| Fault::TimedOut)?,
            () = self.shared.broken(asked) => {
                // What has come may be on its way through still.
                let until = self.until.min(Instant::now() + GRACE);
                match timeout_at(until, &mut ask).await {
                    Ok(answer) => answer,
                    Err(_) => return Err(self.shared.take().unwrap_or_else(broke_off)),
                }
            }
        };
        answer.map_err(|error| match error {
            ServiceError::McpError(error) => {
                Fault::Told { status: None, message: shorten(&error.message), retry_after: None }
            }
            other => self.shared.take().unwrap_or_else(|| match other {
                ServiceError::TransportClosed
                | ServiceError::TransportSend(_)
                | ServiceError::Cancelled { .. } => broke_off(),
                ServiceError::Timeout { .. } => Fault::TimedOut,
                other => Fault::Nonsense(shorten(&other.to_string())),
            }),
        })
    }
}

fn broke_off() -> Fault {
    Fault::Unreachable("the answer broke off".to_owned())
}

fn not_greeted(error: &ClientInitializeError) -> Fault {
    match error {
        ClientInitializeError::JsonRpcError(error) => {
            Fault::Told { status: None, message: shorten(&error.message), retry_after: None }
        }
        ClientInitializeError::ConnectionClosed(_) | ClientInitializeError::Cancelled => broke_off(),
        other => Fault::Nonsense(shorten(&other.to_string())),
    }
}

/// A tool as a method. What is said of its effect are the server's own words; whoever accepts the tool accepts them.
fn method(tool: Tool) -> Result<Method, String> {
    let name = tool.name.parse::<MethodName>().map_err(|error| format!("its name {error}"))?;
    let own = |key: &str| tool.meta.as_ref().and_then(|meta| meta.0.get(key)?.as_str());
    let (effect, query_method) = if let Some(said) = own(EFFECT) {
        let effect = said.parse::<EffectClass>().map_err(|error| format!("its {EFFECT} {error}"))?;
        let query = own(QUERY_METHOD).map(str::parse::<MethodName>).transpose();
        let query = query.map_err(|error| format!("its {QUERY_METHOD} {error}"))?;
        if (effect == EffectClass::Queryable) != query.is_some() {
            return Err(format!("its {QUERY_METHOD} is for the effect queryable, which needs it"));
        }
        (effect, query)
    } else {
        let hints = tool.annotations.as_ref();
        let reads = hints.and_then(|hints| hints.read_only_hint).unwrap_or_default();
        let repeats = hints.and_then(|hints| hints.idempotent_hint).unwrap_or_default();
        (if reads || repeats { EffectClass::Idempotent } else { EffectClass::Unsafe }, None)
    };
    let input_schema = Value::Object((*tool.input_schema).clone());
    let output_schema = tool.output_schema.as_deref().cloned().map(Value::Object);
    for schema in [Some(&input_schema), output_schema.as_ref()].into_iter().flatten() {
        if schema.to_string().len() > Method::MAX_SCHEMA {
            return Err("its schemas are too large".to_owned());
        }
    }
    let description = tool.description.unwrap_or_default();
    Ok(Method {
        name,
        description: description.chars().take(Method::MAX_DESCRIPTION).collect::<String>().into(),
        effect,
        input_schema: Arc::new(input_schema),
        output_schema: output_schema.map(Arc::new),
        query_method,
        binding: None,
    })
}

/// What a tool has given.
fn value(result: CallToolResult) -> Result<Value, Fault> {
    let texts: Vec<&str> = result
        .content
        .iter()
        .filter_map(|block| match block {
            ContentBlock::Text(text) => Some(text.text.as_str()),
            _ => None,
        })
        .collect();
    if result.is_error == Some(true) {
        return Err(Fault::Told { status: None, message: shorten(&texts.join("\n")), retry_after: None });
    }
    if let Some(structured) = result.structured_content {
        return Ok(structured);
    }
    if texts.is_empty() && !result.content.is_empty() {
        let content = serde_json::to_value(&result.content);
        return content.map_err(|error| Fault::Nonsense(error.to_string()));
    }
    Ok(json!(texts.join("\n")))
}
