//! Calling remote modules: requests below a module's path that are none of the platform's own are passed on to it, and
//! its answers are passed back, bit by bit.

mod body;

use actix_web::body::{BodyStream, SizedStream};
use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::http::uri::Authority;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, delete, get, guard, patch, post, put, web};
use scaigrid_app::modules::{Arrival, BodyError, CallFailed, ModuleAnswer, ModuleRequest, Passing};
use scaigrid_app::{self as app, App, Resource};
use scaigrid_scope::perm;

use crate::auth::{Allowed, Standing};
use crate::error::Error;
use crate::openapi::{RouteTable, ServiceConfig};
use crate::request::{AskedWith, RequestId, Verbatim};
use crate::server::Edge;

/// The path of these routes, as the document has it.
pub(crate) const PASSED_ON: &str = "/v1/modules/{module_id}/{path}";
/// The most bytes of a body that is passed on: 1 GiB.
pub(crate) const BODY_LIMIT: u64 = 1024 * 1024 * 1024;

/// The module that a path belongs to and what follows it; none for other paths.
fn parts(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("/v1/modules/")?.split_once('/').filter(|(module, _)| !module.is_empty())
}

/// Whether a request for a path is passed on: the platform's own routes come first, whatever the method is.
pub(crate) fn is_passed_on(table: &RouteTable, path: &str) -> bool {
    parts(path).is_some() && table.allowed(path).is_none()
}

fn not_own(context: &guard::GuardContext<'_>) -> bool {
    let table = context.app_data::<web::Data<RouteTable>>();
    table.is_some_and(|table| is_passed_on(table, context.head().uri.path()))
}

/// As the application counts its versions; there are no others here.
const fn version(version: actix_web::http::Version) -> &'static str {
    match version {
        actix_web::http::Version::HTTP_10 => "1.0",
        actix_web::http::Version::HTTP_2 => "2.0",
        _ => "1.1",
    }
}

fn onward(headers: &HeaderMap) -> http::HeaderMap {
    let mut passed = http::HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let name = http::HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, http::HeaderValue::from_bytes(value.as_bytes())) {
            passed.append(name, value);
        }
    }
    passed
}

/// The body's length as the request names it; `None` where it comes in chunks.
fn length(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    let given = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    Some(given.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}

fn asks_for_tunnel(request: &HttpRequest) -> bool {
    request.version() == actix_web::http::Version::HTTP_11
        && *request.method() == Method::GET
        && request.head().upgrade()
        && request.headers().contains_key(header::SEC_WEBSOCKET_KEY)
}

/// Passes a request on.
async fn pass_on(
    caller: &Allowed<perm::ModulesUse>,
    request: &HttpRequest,
    payload: Payload,
    app: &App,
) -> Result<HttpResponse, Error> {
    let nowhere = || Error::not_found(Resource::Route);
    let (module, path) = parts(request.uri().path()).ok_or_else(nowhere)?;
    let method = AskedWith::of_request(request);
    let length = length(request.headers());
    if length.is_some_and(|length| length > BODY_LIMIT) {
        return Err(too_large());
    }
    let tunnel = asks_for_tunnel(request);
    let (body, rest) = if length == Some(0) || tunnel {
        (Passing { pieces: Box::pin(futures_util::stream::empty()), length: Some(0) }, Some(payload))
    } else {
        (Passing { pieces: body::pieces(payload, length), length }, None)
    };
    let onward = ModuleRequest {
        method: http::Method::from_bytes(method.as_str().as_bytes()).map_err(app::Error::internal)?,
        path: path.to_owned(),
        query: request.uri().query().map(str::to_owned),
        headers: onward(request.headers()),
        body,
        arrival: Arrival {
            request_id: RequestId::of_request(request).as_str().into(),
            address: request.peer_addr().map(|peer| peer.ip()),
            host: host(request),
            version: version(request.version()),
        },
    };
    let answer = app.call_module(caller, module, onward).await.map_err(|failed| match failed {
        CallFailed::App(error) => error.into(),
        CallFailed::Body(BodyError::TooLarge) => too_large(),
        CallFailed::Body(BodyError::BrokenOff) => Error::invalid("body", "broke off before its end"),
    })?;
    let standing = Standing::of_request(request);
    let still = body::still(standing, Edge::of(request)?, app.clone(), module.to_owned());
    Ok(answered(answer, &method, rest, still))
}

fn too_large() -> Error {
    Error::PayloadTooLarge { limit: usize::try_from(BODY_LIMIT).unwrap_or(usize::MAX) }
}

fn host(request: &HttpRequest) -> Option<String> {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    named.or_else(|| request.uri().authority().map(Authority::as_str)).map(str::to_owned)
}

/// The module's answer as ours. How it is framed is decided anew.
fn answered(
    answer: ModuleAnswer,
    method: &Method,
    payload: Option<Payload>,
    still: body::Still,
) -> HttpResponse {
    let ModuleAnswer { status, headers, length, body: pieces, tunnel } = answer;
    let status = StatusCode::from_u16(status.as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = HttpResponse::build(status);
    for (name, value) in &headers {
        response.append_header((name.as_str(), value.as_bytes()));
    }
    let mut response = if let Some((tunnel, place)) = tunnel {
        response.upgrade("websocket");
        response.body(BodyStream::new(body::tunnel(tunnel, place, payload, still)))
    } else if *method == Method::HEAD
        || status == StatusCode::NOT_MODIFIED
        || status == StatusCode::NO_CONTENT
    {
        match length {
            // What the body would have, had it been asked for.
            Some(length) if *method == Method::HEAD && length > 0 => {
                response.body(SizedStream::new(length, body::nothing()))
            }
            Some(length) if status == StatusCode::NOT_MODIFIED => {
                response.insert_header((header::CONTENT_LENGTH, length)).body(actix_web::body::None::new())
            }
            _ => response.body(actix_web::body::None::new()),
        }
    } else {
        let pieces = body::until(pieces, still);
        match length {
            Some(length) => response.body(SizedStream::new(length, pieces)),
            None => response.body(BodyStream::new(pieces)),
        }
    };
    // Errors too are the module's own.
    response.extensions_mut().insert(Verbatim);
    response
}

macro_rules! passed_on {
    ($($name:ident $method:ident $summary:literal $((body $content:literal))?;)*) => {$(
        #[doc = $summary]
        ///
        /// Everything below a remote module's path that is none of the operations above is passed on to the module, with
        /// any method, and its answers are passed back as they are; see the reference of the API. `path` may have any
        /// number of segments.
        #[utoipa::path(
            tag = "modules",
            operation_id = stringify!($name),
            params(
                ("module_id" = String, Path, example = "weather"),
                ("path" = String, Path, example = "forecasts/today")
            ),
            $(request_body(
                content = Vec<u8>, content_type = $content, description = "Whatever the module takes, at most 1 GiB"
            ),)?
            responses((
                status = 200, body = Vec<u8>, content_type = "*/*",
                description = "What the module answers; other statuses of its own are passed back just so"
            ))
        )]
        #[$method("/v1/modules/{module_id}/{path:.*}", guard = "not_own")]
        async fn $name(
            caller: Allowed<perm::ModulesUse>,
            request: HttpRequest,
            payload: web::Payload,
            app: web::Data<App>,
        ) -> Result<HttpResponse, Error> {
            pass_on(&caller, &request, payload.into_inner(), &app).await
        }
    )*};
}

passed_on! {
    call_module_get get "Call a remote module with GET, or open a WebSocket to it";
    call_module_post post "Call a remote module with POST" (body "*/*");
    call_module_put put "Call a remote module with PUT" (body "*/*");
    call_module_patch patch "Call a remote module with PATCH" (body "*/*");
    call_module_delete delete "Call a remote module with DELETE";
}

/// Any other method. HEAD comes as GET.
async fn call_module(
    caller: Allowed<perm::ModulesUse>,
    request: HttpRequest,
    payload: web::Payload,
    app: web::Data<App>,
) -> Result<HttpResponse, Error> {
    pass_on(&caller, &request, payload.into_inner(), &app).await
}

/// Methods that are none of one resource's: a way through, and an echo of the request, credentials and all.
fn passable(context: &guard::GuardContext<'_>) -> bool {
    not_own(context) && !matches!(context.head().method, Method::CONNECT | Method::TRACE)
}

/// Adds the routes, for what is none of the others.
pub(crate) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .guarded(call_module_get)
        .guarded(call_module_post)
        .guarded(call_module_put)
        .guarded(call_module_patch)
        .guarded(call_module_delete)
        .route(
            "/v1/modules/{module_id}/{path:.*}",
            web::route().guard(guard::fn_guard(passable)).to(call_module),
        );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_routes_come_first_whatever_the_method() {
        let table = crate::openapi::table(crate::routes::all);
        for own in [
            "/v1/modules/weather",
            "/v1/modules/weather/config",
            "/v1/modules/weather/enable",
            "/v1/modules/weather/disable",
            "/v1/modules/weather/enablement",
            "/v1/modules/weather/explain",
            "/v1/modules/scaicore/cores",
            "/v1/modules/scaicore/cores/core_1",
            "/v1/modules//config",
            "/v1/modules//a/b",
            "/v1/modules",
            "/v1/users/a/b",
        ] {
            assert!(!is_passed_on(&table, own), "{own}");
        }
        for passed in [
            "/v1/modules/weather/",
            "/v1/modules/weather/config/",
            "/v1/modules/weather/config/more",
            "/v1/modules/weather//config",
            "/v1/modules/weather/cores",
            "/v1/modules/weather/Config",
        ] {
            assert!(is_passed_on(&table, passed), "{passed}");
        }
    }

    #[test]
    fn the_length_is_what_the_framing_says() {
        let headers = |lines: &[(header::HeaderName, &'static str)]| -> HeaderMap {
            lines
                .iter()
                .map(|(name, value)| (name.clone(), header::HeaderValue::from_static(value)))
                .collect()
        };
        assert_eq!(length(&headers(&[])), Some(0));
        assert_eq!(length(&headers(&[(header::CONTENT_LENGTH, "12")])), Some(12));
        assert_eq!(length(&headers(&[(header::TRANSFER_ENCODING, "chunked")])), None);
    }
}
