//! The HTTP client behind the guard.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::rustls::RootCertStore;
use url::Url;

use crate::connect::{ConnectError, Connector};
use crate::forward::{BodyError, Outgoing};
use crate::gate::Gate;
use crate::guard::{Guard, Refusal};
use crate::target::Target;
use crate::tls;

/// The most header lines of an answer, and the most bytes of them.
const HEADERS: usize = 100;
const HEADER_BYTES: usize = 64 * 1024;
/// Connections that wait for their next use, per host, where a tenant names it: none. Addresses are judged when a connection
/// is made, so that each call needs one of its own; a name that has moved to where nobody may call must not be called by an
/// old one.
const IDLE_PER_HOST: usize = 0;
/// The same where the operator names it: remote modules are asked by many at once.
const KEPT_PER_HOST: usize = 32;
/// How long such a connection may wait. A name that has moved is looked up again after that.
const KEPT: Duration = Duration::from_secs(30);

/// How much an answer may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long the whole exchange may take, from looking up the name to the last byte of the body.
    pub time: Duration,
    /// How many bytes of the body are read. What follows is not.
    pub body: usize,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status. Redirects are answers like any other.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, as far as the limit reaches and it came in time.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The guard does not let it through.
    #[error(transparent)]
    Refused(Refusal),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// There was no connection, or it broke, or what came was no HTTP.
    #[error("{0}")]
    Failed(String),
    /// The body of the request that was to be passed on did not come to its end.
    #[error(transparent)]
    Body(BodyError),
}

/// An HTTP/1.1 client that goes only where the guard lets it. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    guard: Guard,
    http: legacy::Client<Connector, Outgoing>,
    /// For endpoints of the operator's, whose connections are used again.
    pub(crate) kept: legacy::Client<Connector, Outgoing>,
    /// What is asked before a request of [`Client::open`] leaves.
    gate: Gate,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// A client behind a guard, which trusts the roots of the web and those of this machine.
    ///
    /// # Errors
    /// When TLS cannot be set up, which a test rules out.
    pub fn new(guard: Guard) -> Result<Self, SendError> {
        Self::trusting(guard, tls::roots())
    }

    fn trusting(guard: Guard, roots: RootCertStore) -> Result<Self, SendError> {
        let tls = tls::connector(roots).map_err(|error| SendError::Failed(error.to_string()))?;
        let connector = Connector { guard: guard.clone(), tls };
        let client = |idle_per_host: usize| {
            legacy::Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(KEPT)
                .pool_max_idle_per_host(idle_per_host)
                .http1_max_headers(HEADERS)
                .http1_max_buf_size(HEADER_BYTES)
                .build(connector.clone())
        };
        Ok(Self { guard, http: client(IDLE_PER_HOST), kept: client(KEPT_PER_HOST), gate: Gate::default() })
    }

    /// The same client for somebody whose calls of plugins and models leave only through a gate.
    #[must_use]
    pub fn through(&self, gate: Gate) -> Self {
        Self { gate, ..self.clone() }
    }

    /// The guard that it stands behind.
    pub const fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn send(
        &self,
        url: &Url,
        mut request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Answer, SendError> {
        let until = Instant::now() + limits.time;
        // What cannot be right is told before anything is looked up.
        Target::of(url).map_err(SendError::Refused)?;
        *request.uri_mut() = url.as_str().parse().map_err(|_| SendError::Refused(Refusal::Scheme))?;
        let asked = timeout_at(until, self.http.request(request.map(Outgoing::whole))).await;
        let answer = asked.map_err(|_| SendError::TimedOut)?.map_err(|error| failed(&error))?;
        let (head, body) = answer.into_parts();
        let body = read(body, limits.body, until).await;
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

/// An answer that has begun.
pub(crate) struct Opened {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
}

/// Why no answer has begun, and whether the request may have reached whom it was for.
#[derive(Debug)]
pub(crate) struct NotOpened {
    pub(crate) why: SendError,
    pub(crate) sent: bool,
}

impl Client {
    /// Sends a request on a connection of its own, and gives back the answer as soon as it begins. Whoever drops it, or the
    /// future, closes the connection.
    pub(crate) async fn open(
        &self,
        url: &Url,
        mut request: Request<Bytes>,
        until: Instant,
    ) -> Result<Opened, NotOpened> {
        let not_sent = |why| NotOpened { why, sent: false };
        Target::of(url).map_err(|refusal| not_sent(SendError::Refused(refusal)))?;
        let uri = url.as_str().parse().map_err(|_| not_sent(SendError::Refused(Refusal::Scheme)))?;
        *request.uri_mut() = uri;
        let sent = Arc::new(AtomicBool::new(false));
        if !self.gate.is_open() {
            return Err(not_sent(SendError::Body(BodyError::BrokenOff)));
        }
        let request = request.map(|body| Outgoing::noted(body, Arc::clone(&sent), self.gate.clone()));
        match timeout_at(until, self.http.request(request)).await {
            Ok(Ok(answer)) => {
                let (head, body) = answer.into_parts();
                Ok(Opened { status: head.status, headers: head.headers, body })
            }
            Ok(Err(error)) => {
                let sent = !error.is_connect() && sent.load(Ordering::SeqCst);
                Err(NotOpened { why: failed(&error), sent })
            }
            Err(_) => Err(NotOpened { why: SendError::TimedOut, sent: sent.load(Ordering::SeqCst) }),
        }
    }
}

/// The beginning of a body. The status has been told already: a body that breaks off or takes too long is a short one.
async fn read(mut body: Incoming, most: usize, until: Instant) -> Bytes {
    let mut read = BytesMut::new();
    while read.len() < most {
        let Ok(Some(Ok(frame))) = timeout_at(until, body.frame()).await else { break };
        if let Some(data) = frame.data_ref() {
            let room = most - read.len();
            read.extend_from_slice(data.get(..room).unwrap_or(data));
        }
    }
    read.freeze()
}

/// What lies behind an error of the HTTP library.
pub(crate) fn failed(error: &legacy::Error) -> SendError {
    let mut cause = error.source();
    let mut deepest = error.to_string();
    while let Some(inner) = cause {
        if let Some(connect) = inner.downcast_ref::<ConnectError>() {
            return match connect {
                ConnectError::Refused(refusal) => SendError::Refused(*refusal),
                ConnectError::TimedOut => SendError::TimedOut,
                other => SendError::Failed(other.to_string()),
            };
        }
        deepest = inner.to_string();
        cause = inner.source();
    }
    SendError::Failed(deepest)
}

#[cfg(test)]
mod tests;
