//! `Idempotency-Key`: a POST that is sent again is not done again.
//!
//! The key belongs to the tenant and the endpoint, which is the method and the whole path. The first request
//! with a key runs, and its answer is kept; the same request again gets that answer, another request with the
//! same key is refused. A request that has begun runs to its end even when the client hangs up, since that is
//! when clients ask again. Where claims and answers are kept, and for how long, is behind [`IdempotencyStore`].

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::{self, Bytes};
use futures_util::future::BoxFuture;
use scaigrid_app as app;
use scaigrid_scope::{Instant, Permissions, Principal, TenantId};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use crate::auth;
use crate::body::{self, JSON_LIMIT};
use crate::error::Error;
use crate::hang_up::HangUp;
use crate::openapi::RouteTable;
use crate::request::{self, RequestId};
use crate::routes::modules::call::is_passed_on;
use crate::server::{self, Edge};
use crate::upload::Upload;

/// The header that carries the key.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header that marks an answer as one given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The pauses, in seconds, between attempts to settle a key that the database did not take.
const SETTLE_AGAIN: [u64; 8] = [1, 2, 5, 10, 20, 40, 80, 160];
/// Claims in doubt that are seen to at once.
static IN_DOUBT: Semaphore = Semaphore::const_new(4096);
/// The most bytes of an answer that is kept.
pub const ANSWER_LIMIT: u64 = 1024 * 1024;

/// One request's claim to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The tenant that the caller acts in.
    pub tenant: TenantId,
    /// The method and the path.
    pub endpoint: String,
    /// The key: 1 to 255 visible ASCII characters.
    pub key: String,
    /// SHA-256 of who asks for what: two requests are the same when this is.
    pub fingerprint: [u8; 32],
    /// When it was made, which tells it from a later one to the same key, after this one was lost.
    pub begun_at: Instant,
}

/// An answer that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers that belong to the content, by their lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body; `None` when it was too large or a stream, and the request must not run again all the same.
    pub body: Option<Vec<u8>>,
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// The key is free and now this claim's.
    Fresh,
    /// The same request was answered before.
    Replay(Answer),
    /// The key belongs to another request.
    Reused,
    /// The same request is still running.
    InUse,
}

/// Keeps claims and answers, for 24 hours, on every node alike.
pub trait IdempotencyStore: Send + Sync + 'static {
    /// Claims the key, or tells what it was used for. Of two claims at once exactly one is fresh.
    fn begin<'a>(&'a self, claim: &'a Claim) -> BoxFuture<'a, Result<Begun, app::Error>>;
    /// Keeps the answer of a claim that was fresh.
    fn finish<'a>(&'a self, claim: &'a Claim, answer: Answer) -> BoxFuture<'a, Result<(), app::Error>>;
    /// Frees the key of a claim that was fresh: the request did nothing that must not happen again.
    fn abandon<'a>(&'a self, claim: &'a Claim) -> BoxFuture<'a, Result<(), app::Error>>;
}

/// Runs a POST with a key at most once.
pub(crate) async fn once(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let Some(header) = request.headers().get(IDEMPOTENCY_KEY).cloned() else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    // What is passed on to a module is the module's to do once, and may be too long to be kept.
    let table = request.app_data::<web::Data<RouteTable>>();
    if table.is_some_and(|table| is_passed_on(table, request.path())) {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    // Who is not known is refused behind this, or uses a public route, which has its own protection.
    let caller = auth::known(request.request()).filter(|_| *request.method() == Method::POST);
    let Some(principal) = caller else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let edge = Edge::of(request.request())?;
    let claim = match claim(&mut request, &principal, &header, &edge).await {
        Ok(claim) => claim,
        Err(error) => return Ok(server::refuse(request, error)),
    };
    let refusal = match edge.idempotency.begin(&claim).await {
        Ok(Begun::Fresh) => None,
        Ok(Begun::Replay(answer)) => {
            let response = replay(answer, RequestId::of_request(request.request()).as_str());
            return Ok(server::answer(request, response));
        }
        Ok(Begun::Reused) => Some(app::Error::IdempotencyKeyReused),
        Ok(Begun::InUse) => Some(app::Error::IdempotencyKeyInUse),
        Err(error) => {
            give_back(edge, claim);
            return Ok(server::refuse(request, error.into()));
        }
    };
    if let Some(error) = refusal {
        return Ok(server::refuse(request, error.into()));
    }

    // Whoever has asked with a key hangs up to ask again: the call goes on.
    HangUp::ignore(&request);
    // Two tasks of their own: one that a client which hangs up does not end, and in it one whose panic does
    // not keep the key.
    let path = request.path().to_owned();
    let id = RequestId::of_request(request.request());
    let supervised = async move {
        let work = async move { next.call(request).await };
        let Ok(Ok(response)) = actix_web::rt::spawn(work.in_current_span()).await else {
            free(&edge, &claim).await;
            return Err(Error::from(app::Error::internal("the request ended without an answer")));
        };
        let response = request::dress(response.map_into_boxed_body(), &path, &id);
        Ok(keep(response, &edge, &claim).await)
    };
    match actix_web::rt::spawn(supervised.in_current_span()).await {
        Ok(response) => Ok(response?),
        Err(lost) => Err(Error::from(app::Error::internal(lost)).into()),
    }
}

async fn claim(
    request: &mut ServiceRequest,
    principal: &Principal,
    header: &HeaderValue,
    edge: &Edge,
) -> Result<Claim, Error> {
    let key = header.as_bytes();
    if key.is_empty() || key.len() > 255 || !key.iter().all(u8::is_ascii_graphic) {
        return Err(Error::invalid("Idempotency-Key", "must be 1 to 255 visible ASCII characters"));
    }
    let is_form = Upload::is_form(request.headers());
    let limit = if is_form { edge.upload_limit + JSON_LIMIT } else { JSON_LIMIT };
    let payload = request.parts_mut().1.take();
    let content = body::receive(request.headers(), payload, limit).await?;
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    // Another user, or the same one acting elsewhere, asks for something else: nobody gets an answer that
    // was made for someone else's rights.
    part(principal.user_id().to_string().as_bytes());
    part(format!("{:?}", principal.level()).as_bytes());
    // Nor one that was made for a credential that may do more.
    let scopes = principal.identity().credential.scopes();
    part(scopes.is_some().to_string().as_bytes());
    for key in scopes.into_iter().flat_map(Permissions::iter) {
        part(key.to_string().as_bytes());
    }
    part(&[]);
    part(request.query_string().as_bytes());
    match boundary(request).filter(|_| is_form) {
        // A form that is sent again has another boundary around the same parts.
        Some(boundary) => pieces(&content, boundary.as_bytes()).into_iter().for_each(&mut part),
        None => part(&content),
    }
    let fingerprint = hash.finalize().into();
    let whole = futures_util::stream::once(std::future::ready(Ok(content)));
    request.set_payload(Payload::Stream { payload: Box::pin(whole) });
    Ok(Claim {
        tenant: principal.tenant().id,
        endpoint: format!("{} {}", request.method(), request.path()),
        key: String::from_utf8_lossy(key).into_owned(),
        fingerprint,
        begun_at: edge.clock.now(),
    })
}

fn boundary(request: &ServiceRequest) -> Option<String> {
    let kind = request.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    let boundary = kind.split(';').find_map(|part| part.trim().strip_prefix("boundary="))?;
    let boundary = boundary.trim_matches('"');
    (!boundary.is_empty()).then(|| boundary.to_owned())
}

fn pieces<'a>(mut content: &'a [u8], boundary: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while let Some(at) = content.windows(boundary.len()).position(|window| window == boundary) {
        let (piece, rest) = content.split_at(at);
        pieces.push(piece);
        content = &rest[boundary.len()..];
    }
    pieces.push(content);
    pieces
}

/// Whether the answer is the request's for good. What says *not you* or *not now* may be otherwise next time.
fn is_final(status: StatusCode) -> bool {
    !status.is_server_error()
        && !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS)
}

async fn keep(response: ServiceResponse, edge: &Edge, claim: &Claim) -> ServiceResponse {
    if !is_final(response.status()) {
        free(edge, claim).await;
        return response;
    }
    let kept = [header::CONTENT_TYPE, header::LOCATION, header::ETAG];
    let headers = kept.into_iter().filter_map(|name| {
        let value = response.headers().get(&name)?.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    let mut answer = Answer { status: response.status().as_u16(), headers: headers.collect(), body: None };
    let size = response.response().body().size();
    let small = matches!(size, BodySize::None | BodySize::Sized(..=ANSWER_LIMIT));
    let response = if small {
        let (request, response) = response.into_parts();
        let (response, content) = response.into_parts();
        let content = actix_web::body::to_bytes(content).await.unwrap_or_default();
        answer.body = Some(content.to_vec());
        ServiceResponse::new(request, response.set_body(content).map_into_boxed_body())
    } else {
        response
    };
    settle(edge, claim, Some(answer)).await;
    response
}

async fn free(edge: &Edge, claim: &Claim) {
    settle(edge, claim, None).await;
}

/// Frees the key of a claim of which nobody knows whether it was taken: what was lost may be the answer to the commit, or the commit
/// itself is still on its way. So that is done more than once.
fn give_back(edge: Arc<Edge>, claim: Claim) {
    let Ok(place) = IN_DOUBT.try_acquire() else {
        tracing::warn!(
            "too many idempotency keys are in doubt; one may be held until it expires or the node ends"
        );
        return;
    };
    actix_web::rt::spawn(async move {
        let _place = place;
        for seconds in SETTLE_AGAIN {
            actix_web::rt::time::sleep(Duration::from_secs(seconds)).await;
            if let Err(error) = edge.idempotency.abandon(&claim).await {
                tracing::debug!(%error, "an idempotency key in doubt could not be freed yet");
            }
        }
    });
}

/// Keeps the answer of a claim, or frees its key where there is none to keep. A claim that is left as it is holds its key
/// for as long as this node lives, so what fails now is tried again behind the answer, for some minutes.
async fn settle(edge: &Edge, claim: &Claim, answer: Option<Answer>) {
    let once = async |edge: &Edge, claim: &Claim, answer: Option<Answer>| match answer {
        Some(answer) => edge.idempotency.finish(claim, answer).await,
        None => edge.idempotency.abandon(claim).await,
    };
    let Err(error) = once(edge, claim, answer.clone()).await else { return };
    tracing::warn!(error = %error, "an idempotency key could not be settled and is tried again");
    let (edge, claim) = (edge.clone(), claim.clone());
    actix_web::rt::spawn(async move {
        for seconds in SETTLE_AGAIN {
            actix_web::rt::time::sleep(Duration::from_secs(seconds)).await;
            if once(&edge, &claim, answer.clone()).await.is_ok() {
                return;
            }
        }
        tracing::error!(
            "an idempotency key could not be settled; it is held until it expires or the node ends"
        );
    });
}

/// An answer as the present request gets it: under its own id, which its line in the log has, not under that of the first.
fn under_id(body: Vec<u8>, id: &str) -> Vec<u8> {
    #[derive(Deserialize)]
    struct Enveloped {
        meta: Meta,
    }
    #[derive(Deserialize)]
    struct Meta {
        request_id: String,
    }
    let Ok(Enveloped { meta }) = serde_json::from_slice(&body) else { return body };
    let Ok(text) = std::str::from_utf8(&body) else { return body };
    // The envelope writes `meta` behind the data, which may well quote the same words.
    let first = format!("\"request_id\":\"{}\"", meta.request_id);
    let Some((before, after)) = text.rsplit_once(&first) else { return body };
    format!("{before}\"request_id\":\"{id}\"{after}").into_bytes()
}

fn replay(answer: Answer, id: &str) -> HttpResponse {
    let Some(body) = answer.body else {
        let error = app::Error::Conflict("The request was done; its answer was too large to keep".to_owned());
        return HttpResponse::from_error(Error::from(error));
    };
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = HttpResponse::build(status);
    for (name, value) in answer.headers {
        response.insert_header((name, value));
    }
    response.insert_header((REPLAYED, "true"));
    if body.is_empty() { response.finish() } else { response.body(Bytes::from(under_id(body, id))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_given_again_under_the_present_id() {
        let given = |body: &str| String::from_utf8(under_id(body.as_bytes().to_vec(), "req_new")).unwrap();
        assert_eq!(
            given(r#"{"data":{"request_id":"req_old"},"meta":{"request_id":"req_old","has_more":false}}"#),
            r#"{"data":{"request_id":"req_old"},"meta":{"request_id":"req_new","has_more":false}}"#
        );
        for other in ["", "text", "[]", r#"{"id":1}"#, r#"{"meta":{}}"#, r#"{"meta":{"request_id":7}}"#] {
            assert_eq!(given(other), other);
        }
    }
}
