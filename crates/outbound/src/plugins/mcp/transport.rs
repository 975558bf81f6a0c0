//! How what the SDK says goes out: through the guarded client.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use ::http::{Method, Request, StatusCode};
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, JsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use sse_stream::{Sse, SseStream};
use tokio::sync::{Notify, watch};
use tokio::time::{Duration, Instant, timeout_at};
use url::Url;

use crate::client::{Client, Opened};
use crate::plugins::{Fault, Limits, message, read, request, retry_after, shorten};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const BOTH_KINDS: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
/// How long the end of a session may take; nobody waits for it.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a session and its transport know together.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Whether a call of a tool may have reached the server.
    sent: AtomicBool,
    /// What went wrong last.
    fault: Mutex<Option<Fault>>,
    /// How many requests have been sent.
    asked: AtomicU64,
    /// The youngest request whose stream of events has ended.
    ended: AtomicU64,
    /// Rung when one has.
    bell: Notify,
}

impl Shared {
    pub(super) fn sent(&self) -> bool {
        self.sent.load(Ordering::SeqCst)
    }

    /// What went wrong last, in the transport's own words.
    pub(super) fn take(&self) -> Option<Fault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep(&self, fault: &Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault.clone());
    }

    /// How many requests have been sent.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Waits until the stream of events that answers a request has ended, of one that was sent after so many others.
    pub(super) async fn broken(&self, after: u64) {
        loop {
            let rung = self.bell.notified();
            if self.ended.load(Ordering::SeqCst) > after {
                return;
            }
            rung.await;
        }
    }
}

/// The guarded client, as the SDK wants one.
#[derive(Clone)]
pub(super) struct Guarded {
    client: Client,
    endpoint: Url,
    headers: HeaderMap,
    limits: Limits,
    until: Instant,
    shared: Arc<Shared>,
    gone: watch::Receiver<()>,
}

type Failed = StreamableHttpError<Fault>;

/// Waits until nobody is interested any more.
async fn abandoned(mut gone: watch::Receiver<()>) {
    while gone.changed().await.is_ok() {}
}

impl Guarded {
    pub(super) fn new(
        client: &Client,
        endpoint: &Url,
        headers: &HeaderMap,
        (limits, until): (Limits, Instant),
        shared: Arc<Shared>,
        gone: watch::Receiver<()>,
    ) -> Self {
        Self {
            client: client.clone(),
            endpoint: endpoint.clone(),
            headers: headers.clone(),
            limits,
            until,
            shared,
            gone,
        }
    }

    fn failed(&self, fault: Fault) -> Failed {
        self.shared.keep(&fault);
        StreamableHttpError::Client(fault)
    }

    /// The headers of a request: the SDK's own, over which go those of this call.
    fn headers(&self, own: HashMap<HeaderName, HeaderValue>, session: Option<&str>) -> HeaderMap {
        let mut headers: HeaderMap = own.into_iter().collect();
        headers.extend(self.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        headers.insert(ACCEPT, BOTH_KINDS);
        if let Some(session) = session.and_then(|session| HeaderValue::from_str(session).ok()) {
            headers.insert(SESSION, session);
        }
        headers
    }

    async fn post(
        &self,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        own: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let is_request = matches!(message, JsonRpcMessage::Request(_));
        let number = is_request.then(|| self.shared.asked.fetch_add(1, Ordering::SeqCst) + 1);
        let is_call = matches!(&message, JsonRpcMessage::Request(asked)
            if matches!(asked.request, ClientRequest::CallToolRequest(_)));
        let body = serde_json::to_value(&message)?;
        let headers = self.headers(own, session.as_deref());
        let request = request(Method::POST, &headers, Some(&body));
        let opened = self.client.open(&self.endpoint, request, self.until).await;
        let Opened { status, headers, body } = match opened {
            Ok(opened) => {
                self.note(is_call, true);
                opened
            }
            Err(error) => {
                self.note(is_call, error.sent);
                return Err(self.failed(error.why.into()));
            }
        };
        if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let session = headers.get(SESSION).and_then(|id| id.to_str().ok()).map(str::to_owned);
        if status.is_success() && kind == "text/event-stream" {
            let events = SseStream::from_bytes_stream(self.pieces(body, number.unwrap_or_default()));
            return Ok(StreamableHttpPostResponse::Sse(events.boxed(), session));
        }
        let whole = read(body, self.limits.body, self.until).await.map_err(|fault| self.failed(fault))?;
        if status.is_success() && whole.is_empty() && !is_request {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        let told = serde_json::from_slice::<ServerJsonRpcMessage>(&whole);
        match told {
            Ok(told) if status.is_success() || matches!(told, JsonRpcMessage::Error(_)) && is_request => {
                Ok(StreamableHttpPostResponse::Json(told, session))
            }
            _ if !status.is_success() => {
                let retry_after = retry_after(&headers);
                let status = Some(status.as_u16());
                Err(self.failed(Fault::Told { status, message: self::message(&whole), retry_after }))
            }
            _ if kind == "application/json" => {
                Err(self.failed(Fault::Nonsense("the answer is no message of the protocol".to_owned())))
            }
            _ => Err(self.failed(Fault::Nonsense(format!("the answer is {}", shorten(&kind))))),
        }
    }

    fn note(&self, is_call: bool, sent: bool) {
        if is_call && sent {
            self.shared.sent.store(true, Ordering::SeqCst);
        }
    }

    /// The pieces of a body, until it ends, is too long, takes too long, or nobody is interested any more.
    fn pieces(&self, body: Incoming, number: u64) -> BoxStream<'static, io::Result<Bytes>> {
        let (until, most) = (self.until, self.limits.body);
        let end = End(Arc::clone(&self.shared), number);
        let pieces = unfold(Some((body, 0_usize, end)), move |state| async move {
            let (mut body, mut length, end) = state?;
            loop {
                let frame = match timeout_at(until, body.frame()).await {
                    Err(_) => return Some((Err(io::ErrorKind::TimedOut.into()), None)),
                    Ok(None) => return None,
                    Ok(Some(Err(error))) => return Some((Err(io::Error::other(error)), None)),
                    Ok(Some(Ok(frame))) => frame,
                };
                let Ok(piece) = frame.into_data() else { continue };
                length += piece.len();
                if length > most {
                    end.0.keep(&Fault::Nonsense(format!("the answer is longer than {most} bytes")));
                    return Some((Err(io::Error::other("too long")), None));
                }
                return Some((Ok(piece), Some((body, length, end))));
            }
        });
        pieces.take_until(Box::pin(abandoned(self.gone.clone()))).boxed()
    }
}

/// Rings when the stream of events that answers a request is over, however that came.
struct End(Arc<Shared>, u64);

impl Drop for End {
    fn drop(&mut self) {
        self.0.ended.fetch_max(self.1, Ordering::SeqCst);
        self.0.bell.notify_waiters();
    }
}

impl StreamableHttpClient for Guarded {
    type Error = Fault;

    async fn post_message(
        &self,
        _uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        tokio::select! {
            biased;
            () = abandoned(self.gone.clone()) => Err(StreamableHttpError::TransportChannelClosed),
            answer = self.post(message, session_id, custom_headers) => answer,
        }
    }

    async fn delete_session(
        &self,
        _uri: Arc<str>,
        session_id: Arc<str>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failed> {
        let headers = self.headers(custom_headers, Some(&session_id));
        let mut farewell = Request::new(Bytes::new());
        *farewell.method_mut() = Method::DELETE;
        *farewell.headers_mut() = headers;
        // Servers end sessions by themselves, too.
        let _ = self.client.open(&self.endpoint, farewell, Instant::now() + FAREWELL).await;
        Ok(())
    }

    async fn get_stream(
        &self,
        _uri: Arc<str>,
        _session_id: Option<Arc<str>>,
        _last_event_id: Option<String>,
        _auth_header: Option<String>,
        _custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Failed> {
        // Nothing that a server might say unasked is of interest in the time of one call.
        Err(StreamableHttpError::ServerDoesNotSupportSse)
    }
}
