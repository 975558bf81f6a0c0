//! What every request gets, whatever route it takes: an id, a span, one log line, metrics, and an answer in the
//! envelope.
//!
//! Only the middleware that lets requests outlive their connections is farther out. Those inside never fail; they answer, and leave the error with the answer
//! so that it is written here, where the request id is known.

mod trace;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use metrics::SharedString;
use scaigrid_app::RequestContext;
use scaigrid_app::telemetry::under;
use scaigrid_scope as scope;
use tracing::Instrument as _;

use crate::dispatch::pattern_of;
use crate::error::{self, Error, Family};
use crate::server::Edge;

/// The header that carries the request id both ways.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a request is called in answers and logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The id that the client gave, when it is well-formed: 8 to 128 characters of `[A-Za-z0-9_-]`.
    fn given(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(X_REQUEST_ID)?.to_str().ok()?;
        let well_formed = (8..=128).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        well_formed.then(|| Self(text.into()))
    }

    fn drawn(now: scope::Instant) -> Self {
        let ulid = ulid::Ulid::from_parts(now.unix_millis(), rand::random());
        Self(scope::RequestId::from_ulid(ulid).to_string().into())
    }

    /// The id of a request. Empty only outside the middleware, where there is none.
    pub fn of_request(request: &HttpRequest) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_else(|| Self("".into()))
    }

    /// The id as a text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The method that a request was asked with, where it is treated as another one: HEAD as GET.
pub(crate) struct AskedWith(Method);

impl AskedWith {
    /// The method of a request as it came.
    pub(crate) fn of_request(request: &HttpRequest) -> Method {
        let asked = request.extensions().get::<Self>().map(|asked| asked.0.clone());
        asked.unwrap_or_else(|| request.method().clone())
    }
}

/// Marks an answer that is passed back as it is, even if it tells of an error and has no body.
pub(crate) struct Verbatim;

/// Where a request comes from, as audit records keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The request's id.
    pub request_id: Arc<str>,
    /// The peer's address. Forwarding headers are not believed: anyone can write them.
    pub address: Option<IpAddr>,
    /// What the client calls itself, at most 256 characters.
    pub user_agent: Option<String>,
}

impl Origin {
    /// The origin of a request.
    pub fn of_request(request: &HttpRequest) -> Self {
        let agent = request.headers().get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        Self {
            request_id: RequestId::of_request(request).0,
            address: peer_of(request.peer_addr()),
            user_agent: agent.map(|agent| agent.chars().take(256).collect()),
        }
    }
}

/// The address of a peer. A socket for both protocols shows those of IPv4 wrapped (`::ffff:192.0.2.7`, RFC 4291 section
/// 2.5.5.2); they are the same.
pub(crate) fn peer_of(address: Option<SocketAddr>) -> Option<IpAddr> {
    address.map(|peer| peer.ip().to_canonical())
}

/// Whether only the headers of an answer are wanted (HEAD): for routes whose body costs something, or is taken out of the
/// house.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadersOnly(pub(crate) bool);

impl actix_web::FromRequest for HeadersOnly {
    type Error = Error;
    type Future = std::future::Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        let marked = request.extensions().get::<Self>().copied();
        std::future::ready(Ok(marked.unwrap_or(Self(false))))
    }
}

impl Origin {
    /// What the audit is told of the request.
    pub fn context(&self) -> RequestContext {
        self.into()
    }
}

impl actix_web::FromRequest for Origin {
    type Error = Error;
    type Future = std::future::Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        std::future::ready(Ok(Self::of_request(request)))
    }
}

/// The outermost middleware but the one that lets a request outlive its connection.
pub(crate) async fn observe(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let started = Instant::now();
    let now = Edge::of(request.request())?.clock.now();
    let id = RequestId::given(request.headers()).unwrap_or_else(|| RequestId::drawn(now));
    request.extensions_mut().insert(id.clone());
    let method = request.method().clone();
    if method == Method::HEAD {
        // HEAD is GET without the body (RFC 9110, 9.3.2); the protocol layer leaves the body out.
        request.extensions_mut().insert(AskedWith(Method::HEAD));
        request.head_mut().method = Method::GET;
        request.extensions_mut().insert(HeadersOnly(true));
    }
    let path = request.path().to_owned();
    let span = tracing::info_span!("request", request_id = %id);
    let mut traced = trace::begin(&request)?;

    let answered = under(traced.context(), next.call(request).instrument(span.clone())).await;
    let _entered = span.enter();
    let mut note = |pattern: Option<Arc<str>>, status: StatusCode| {
        trace::end(&mut traced, (&method, pattern.as_deref()), status, &id);
        let latency = started.elapsed();
        measure(&method, pattern, status, latency.as_secs_f64());
        tracing::info!(
            method = %method,
            path,
            status = status.as_u16(),
            latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
            "answered"
        );
    };
    match answered {
        Ok(response) => {
            let mut response = dress(response.map_into_boxed_body(), &path, &id);
            add_headers(response.headers_mut(), &path, &id);
            note(pattern_of(response.request(), &path), response.status());
            Ok(response)
        }
        // The request is lost with the task that held it. The answer goes as the error's own.
        Err(raised) => {
            let mut response = error_of(&raised, Family::of_path(&path), &id);
            add_headers(response.headers_mut(), &path, &id);
            note(None, response.status());
            Err(InternalError::from_response(raised, response).into())
        }
    }
}

fn error_of(raised: &actix_web::Error, family: Family, id: &RequestId) -> HttpResponse {
    match raised.as_error::<Error>() {
        Some(error) => error::response(error, family, id.as_str()),
        None => error::response(&error::of_framework(raised), family, id.as_str()),
    }
}

/// Writes the answer of an error, ours or the framework's; leaves every other answer as it is.
pub(crate) fn dress(response: ServiceResponse, path: &str, id: &RequestId) -> ServiceResponse {
    let status = response.status();
    let verbatim = response.response().extensions().contains::<Verbatim>();
    if verbatim || !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let family = Family::of_path(path);
    let written = match response.response().error() {
        Some(raised) => error_of(raised, family, id),
        // An answer that somebody wrote is theirs; one without a body nobody wrote.
        None if is_empty(response.response().body().size()) => {
            let error = error::of_status(status, || format!("a bare {status}"));
            error::response(&error, family, id.as_str())
        }
        None => return response,
    };
    let (request, raised) = response.into_parts();
    let mut written = written;
    for (name, value) in raised.headers() {
        if !written.headers().contains_key(name) && name != header::CONTENT_LENGTH {
            written.headers_mut().append(name.clone(), value.clone());
        }
    }
    ServiceResponse::new(request, written)
}

const fn is_empty(size: BodySize) -> bool {
    matches!(size, BodySize::None | BodySize::Sized(0))
}

/// The headers of every answer. A route that sets one itself, as the documentation's pages do, keeps it.
fn add_headers(headers: &mut HeaderMap, path: &str, id: &RequestId) {
    let mut add = |name: HeaderName, value: &'static str| {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    };
    add(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    add(header::X_FRAME_OPTIONS, "DENY");
    add(header::REFERRER_POLICY, "no-referrer");
    add(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    if crate::server::is_api(path) {
        add(header::CACHE_CONTROL, "no-store");
        // The path does not say who asks, nor where they act.
        add(header::VARY, "Authorization, X-Scaigrid-Tenant, X-Scaigrid-Partner");
    }
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(X_REQUEST_ID, value);
    }
}

/// Counts the request. The labels are bounded: patterns of routes, known methods, classes of status.
fn measure(method: &Method, pattern: Option<Arc<str>>, status: StatusCode, seconds: f64) {
    let route = pattern.map_or(SharedString::const_str("unmatched"), SharedString::from_shared);
    let method = match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    };
    let class = match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    metrics::counter!("http_requests_total", "route" => route.clone(), "method" => method, "status" => class)
        .increment(1);
    metrics::histogram!("http_request_duration_seconds", "route" => route, "method" => method)
        .record(seconds);
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn an_address_is_the_same_on_a_socket_for_both_protocols() {
        for (peer, shown) in [
            ("192.0.2.7:1", "192.0.2.7"),
            ("[::ffff:192.0.2.7]:1", "192.0.2.7"),
            ("[2001:db8::7]:1", "2001:db8::7"),
        ] {
            let request = TestRequest::default().peer_addr(peer.parse().unwrap()).to_http_request();
            assert_eq!(Origin::of_request(&request).address, Some(shown.parse().unwrap()), "{peer}");
        }
    }

    #[test]
    fn only_a_well_formed_id_is_kept() {
        let given = |text: &str| {
            let request = TestRequest::default().insert_header((X_REQUEST_ID, text)).to_http_request();
            RequestId::given(request.headers()).is_some()
        };
        assert!(given("req-1234") && given(&"a".repeat(128)));
        for replaced in ["req-123", &"a".repeat(129), "req 12345", "req.12345", "réq12345"] {
            assert!(!given(replaced), "{replaced}");
        }
        let drawn = RequestId::drawn(scope::Instant::from_micros(1));
        assert!(drawn.as_str().parse::<scope::RequestId>().is_ok());
    }
}
