//! Calling plugins: plain HTTP, services that an OpenAPI document describes, and servers of the Model Context Protocol.
//!
//! Every call has a connection of its own, to an address that the guard has judged in that moment. Answers are bounded in
//! size and time, redirects are answers, and whoever drops a call closes its connection. What goes wrong is told with
//! whether the request may have reached the plugin, since what is to be done then depends on it.

pub mod http;
pub mod mcp;
pub mod openapi;

use std::time::Duration;

use ::http::header::{ACCEPT, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use ::http::{Method, Request, StatusCode};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::client::{Client, NotOpened, Opened, SendError};
use crate::guard::Refusal;

/// The most characters of what a plugin says of its own errors.
const MAX_MESSAGE: usize = 500;
/// The longest wait that a plugin may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// How much a call may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long it may take, from looking up the name to the last byte.
    pub time: Duration,
    /// How many bytes of an answer are read. A longer one is none.
    pub body: usize,
}

/// What went wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The guard does not let it through.
    #[error(transparent)]
    Refused(Refusal),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// There was no connection, or it broke.
    #[error("{0}")]
    Unreachable(String),
    /// What came is no answer to such a call.
    #[error("{0}")]
    Nonsense(String),
    /// The plugin answered that it did not do it.
    #[error("{}{message}", .status.map_or_else(String::new, |status| format!("HTTP {status}: ")))]
    Told {
        /// The status, where it is one of HTTP.
        status: Option<u16>,
        /// What the plugin says, shortened.
        message: String,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
}

/// A call that gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct CallFault {
    /// What went wrong.
    pub fault: Fault,
    /// Whether the request may have reached the plugin.
    pub sent: bool,
}

impl CallFault {
    const fn before(fault: Fault) -> Self {
        Self { fault, sent: false }
    }

    const fn after(fault: Fault) -> Self {
        Self { fault, sent: true }
    }
}

impl From<SendError> for Fault {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Refused(Refusal::Unresolvable) => Self::Unreachable(Refusal::Unresolvable.to_string()),
            SendError::Refused(refusal) => Self::Refused(refusal),
            SendError::TimedOut => Self::TimedOut,
            SendError::Failed(reason) => Self::Unreachable(reason),
            SendError::Body(error) => Self::Unreachable(error.to_string()),
        }
    }
}

impl From<NotOpened> for CallFault {
    fn from(error: NotOpened) -> Self {
        Self { fault: error.why.into(), sent: error.sent }
    }
}

/// An answer, read to its end.
struct Whole {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// A request with JSON in it, or without a body.
fn request(verb: Method, headers: &HeaderMap, body: Option<&Value>) -> Request<Bytes> {
    let bytes = body.map_or_else(Bytes::new, |body| body.to_string().into());
    let mut request = Request::new(bytes);
    *request.method_mut() = verb;
    *request.headers_mut() = headers.clone();
    let headers = request.headers_mut();
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static("scaigrid"));
    if body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    request
}

/// Sends a request and reads the whole answer. One that breaks off, is too long or too slow, is none.
async fn exchange(
    client: &Client,
    url: &Url,
    request: Request<Bytes>,
    limits: Limits,
) -> Result<Whole, CallFault> {
    let until = Instant::now() + limits.time;
    let Opened { status, headers, body } = client.open(url, request, until).await?;
    let body = read(body, limits.body, until).await.map_err(CallFault::after)?;
    Ok(Whole { status, headers, body })
}

async fn read(mut body: Incoming, most: usize, until: Instant) -> Result<Bytes, Fault> {
    let mut read = BytesMut::new();
    loop {
        let frame = match timeout_at(until, body.frame()).await {
            Err(_) => return Err(Fault::TimedOut),
            Ok(None) => return Ok(read.freeze()),
            Ok(Some(Err(_))) => return Err(Fault::Unreachable("the answer broke off".to_owned())),
            Ok(Some(Ok(frame))) => frame,
        };
        if let Some(data) = frame.data_ref() {
            if read.len() + data.len() > most {
                return Err(Fault::Nonsense(format!("the answer is longer than {most} bytes")));
            }
            read.extend_from_slice(data);
        }
    }
}

/// The answer where all is well; else what the plugin says.
fn judge(answer: Whole) -> Result<Whole, CallFault> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    let status = Some(answer.status.as_u16());
    let retry_after = retry_after(&answer.headers);
    Err(CallFault::after(Fault::Told { status, message: message(&answer.body), retry_after }))
}

/// What an answer says went wrong: the usual fields of errors, else its beginning.
fn message(body: &[u8]) -> String {
    let told = serde_json::from_slice::<Value>(body).ok();
    let places = ["/error/message", "/message", "/detail", "/title", "/error_description", "/error"];
    let told = told.as_ref().and_then(|told| {
        places.iter().find_map(|place| told.pointer(place).and_then(Value::as_str)).map(str::to_owned)
    });
    shorten(&told.unwrap_or_else(|| String::from_utf8_lossy(body.get(..2048).unwrap_or(body)).into_owned()))
}

fn shorten(text: &str) -> String {
    let text: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.char_indices().nth(MAX_MESSAGE) {
        None if text.is_empty() => "no more is said".to_owned(),
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// How long the plugin wants to be left alone (RFC 9110 section 10.2.3): seconds, or a date, seen from the answer's own.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::trim);
    let wait = if let Ok(seconds) = text(RETRY_AFTER)?.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let date = |name| text(name).and_then(|text| httpdate::parse_http_date(text).ok());
        date(RETRY_AFTER)?.duration_since(date(DATE)?).unwrap_or_default()
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The value of an answer: JSON, text where it is no JSON and does not say that it is, null where there is none.
fn value(answer: &Whole) -> Result<Value, CallFault> {
    if answer.body.is_empty() {
        return Ok(Value::Null);
    }
    let kind = answer.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = kind.is_empty() || kind == "application/json" || kind.ends_with("+json");
    match serde_json::from_slice(&answer.body) {
        Ok(value) => Ok(value),
        Err(_) if is_json => Err(CallFault::after(Fault::Nonsense("the answer is no JSON".to_owned()))),
        Err(_) if kind.starts_with("text/") => match std::str::from_utf8(&answer.body) {
            Ok(text) => Ok(text.into()),
            Err(_) => Err(CallFault::after(Fault::Nonsense("the answer is no UTF-8".to_owned()))),
        },
        Err(_) => Err(CallFault::after(Fault::Nonsense(format!("the answer is {}", shorten(&kind))))),
    }
}
