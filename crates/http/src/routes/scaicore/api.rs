//! The API that a Core has of its own: what it looks like, and calls of it.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::web;
use actix_web::{FromRequest as _, HttpRequest, HttpResponse, Responder as _};
use scaigrid_app::cores::{Endpoint, Meant, WAIT};
use scaigrid_app::executions::LONGEST_WAIT;
use scaigrid_app::{App, Resource};
use scaigrid_cores::execution::Standing;
use scaigrid_cores::triggers::input::Call;
use scaigrid_http_macros::{delete, get, patch, post, put};
use scaigrid_scope::{CoreId, perm};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use utoipa::{IntoParams, ToSchema};

use super::executions::LONGEST_WAIT_MS;
use super::wire::ExecutionView;
use crate::Error;
use crate::auth::{Allowed, known};
use crate::body::{self, JSON_LIMIT};
use crate::envelope::{DataOf, Reply};
use crate::filters::Filters;
use crate::limits::count_for;
use crate::openapi::kinds;
use crate::path::PathId;
use crate::server::Edge;

/// What stands before the path of a call.
const BELOW: &str = "/api/invoke/";
/// How long a call is waited for where it does not say.
const WAIT_MS: u64 = 30_000;
/// Headers that say who somebody is: no flow gets them.
const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// A description of a Core's API.
#[derive(Debug, Serialize, ToSchema)]
#[schema(value_type = Object)]
pub(super) struct DescriptionView(Json);

/// Parameters of a flow, by name; or any JSON, where the flow takes the whole request. For the document only.
#[derive(Debug, ToSchema)]
#[schema(value_type = Object)]
#[expect(dead_code, reason = "for the document only")]
pub(super) struct Parameters(Json);

/// Which description of a Core's API is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SpecQuery {
    /// `compact`, also where left out, or `openapi`.
    #[param(value_type = Option<kinds::SpecFormat>)]
    format: Option<String>,
}

/// Get the description of a Core's API
///
/// In short, the flows with what they take and return, and the calls that start them; or an OpenAPI document (3.1) made of the
/// types of the flows.
#[utoipa::path(
    tag = "api",
    operation_id = "get_core_api_spec",
    params(("core_id" = kinds::CoreId, Path, description = "The Core"), SpecQuery),
    responses((status = 200, description = "The description", body = DataOf<DescriptionView>))
)]
#[get("/v1/modules/scaicore/cores/{core_id}/api/spec")]
pub(super) async fn spec(
    caller: Allowed<perm::CoresView>,
    id: PathId<CoreId>,
    filters: Filters<SpecQuery>,
    app: web::Data<App>,
) -> Result<Reply<DescriptionView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let as_openapi = match filters.read()?.format.as_deref() {
        None | Some("compact") => false,
        Some("openapi") => true,
        Some(_) => return Err(Error::invalid("format", "must be compact or openapi")),
    };
    Ok(Reply::ok(DescriptionView(app.api_spec(&caller, id.0, as_openapi).await?)))
}

/// Get the OpenAPI document of a Core's API
///
/// As it is, for tools: without an envelope.
#[utoipa::path(
    tag = "api",
    operation_id = "get_core_api_document",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    responses((status = 200, description = "The document", body = DescriptionView))
)]
#[get("/v1/modules/scaicore/cores/{core_id}/api/openapi.json")]
pub(super) async fn document(
    caller: Allowed<perm::CoresView>,
    id: PathId<CoreId>,
    app: web::Data<App>,
) -> Result<HttpResponse, Error> {
    Ok(HttpResponse::Ok().json(app.api_spec(&caller, id.0, true).await?))
}

/// What came of a call that nobody has signed in for.
#[derive(Debug, Serialize)]
struct PublicResult {
    id: String,
    status: String,
    output: Option<Json>,
    error: Option<Json>,
}

impl From<Standing> for PublicResult {
    fn from(standing: Standing) -> Self {
        let execution = standing.execution;
        let error = execution.error.map(|error| {
            let error = error.to_json();
            // Where in the program it went wrong is nobody's business outside.
            serde_json::json!({"code": error["code"], "message": error["message"]})
        });
        Self {
            id: execution.id.to_string(),
            status: execution.status.to_string(),
            output: execution.output.map(|output| output.to_json()),
            error,
        }
    }
}

/// What a request says beside its credentials, before its body is read.
struct Asked<'a> {
    request: &'a HttpRequest,
    core: CoreId,
    method: &'static str,
    path: String,
}

impl<'a> Asked<'a> {
    async fn of(request: &'a HttpRequest, method: &'static str) -> Result<Self, Error> {
        let core = PathId::<CoreId>::extract(request).await?.0;
        let nowhere = || Error::not_found(Resource::Route);
        let path = request.uri().path().split_once(BELOW).map(|(_, path)| path.to_owned());
        Ok(Self { request, core, method, path: path.ok_or_else(nowhere)? })
    }

    fn place(&self) -> (&str, &str) {
        (self.method, &self.path)
    }

    /// The call, and how long to wait for what comes of it; none where it is not waited for.
    async fn read(self, meant: &Meant, payload: web::Payload) -> Result<(Call, Option<Duration>), Error> {
        let headers = self.request.headers();
        let bytes = body::receive(headers, payload.into_inner(), JSON_LIMIT).await?;
        let body = if bytes.is_empty() {
            None
        } else {
            body::require_json(headers)?;
            let read = serde_json::from_slice(&bytes);
            Some(read.map_err(|error| Error::from(body::findings::malformed(&error)))?)
        };
        let query = web::Query::<Vec<(String, String)>>::from_query(self.request.query_string());
        let mut query = query.map_err(|_| Error::invalid("query", "cannot be read"))?.into_inner();
        let mut wait = preferred(headers, Duration::from_millis(WAIT_MS));
        if !meant.own_wait
            && let Some(at) = query.iter().position(|(name, _)| name == WAIT)
        {
            let (_, text) = query.remove(at);
            let millis = text.parse().ok().filter(|millis| *millis <= LONGEST_WAIT_MS);
            let message = format!("must be a number of milliseconds from 0 to {LONGEST_WAIT_MS}");
            let millis = millis.ok_or_else(|| Error::invalid(WAIT, message))?;
            wait = (millis > 0).then(|| Duration::from_millis(millis));
        }
        let call = Call {
            method: self.method.to_owned(),
            path: format!("/{}", self.path),
            params: meant.params.clone(),
            query,
            headers: texts(headers, &CREDENTIALS),
            body,
        };
        Ok((call, wait))
    }
}

/// The headers that are texts, by names in lower case, but for some. Several of a name stand in one, with commas between them
/// (RFC 9110, section 5.3).
pub(crate) fn texts(headers: &HeaderMap, but: &[&str]) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let Ok(value) = value.to_str() else { continue };
        if but.contains(&name.as_str()) {
            continue;
        }
        found
            .entry(name.as_str().to_owned())
            .and_modify(|known| {
                known.push_str(", ");
                known.push_str(value);
            })
            .or_insert_with(|| value.to_owned());
    }
    found
}

/// How long the caller prefers to wait (RFC 7240): `respond-async` is not at all, or `wait=` seconds; as long as usual where
/// nothing is said.
fn preferred(headers: &HeaderMap, usual: Duration) -> Option<Duration> {
    const PREFER: HeaderName = HeaderName::from_static("prefer");
    let said: Vec<&str> = headers
        .get_all(PREFER)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .map(str::trim)
        .collect();
    let wait = said.iter().find_map(|one| {
        let (name, seconds) = one.split_once('=')?;
        let seconds = seconds.trim().trim_matches('"').parse().ok();
        seconds.filter(|_| name.trim().eq_ignore_ascii_case("wait")).map(Duration::from_secs)
    });
    let at_once = said.iter().any(|one| one.eq_ignore_ascii_case("respond-async"));
    match wait {
        // Both together: at once, unless it is done within that time.
        Some(wait) => Some(wait.min(LONGEST_WAIT)).filter(|wait| !wait.is_zero()),
        None => (!at_once).then_some(usual),
    }
}

async fn call(
    method: &'static str,
    request: &HttpRequest,
    payload: web::Payload,
    app: &App,
) -> Result<HttpResponse, Error> {
    // What is public is so for everybody, whoever they are elsewhere.
    if let Ok(asked) = Asked::of(request, method).await
        && let Some(endpoint) = app.public_endpoint(asked.core, asked.place()).await?
    {
        let edge = Edge::of(request)?;
        count_for(&edge, endpoint.tenant().tenant_id()).await?;
        // Whoever does say who they are has asked for what is done.
        let tenant = endpoint.tenant().tenant_id();
        let by = known(request).filter(|caller| caller.tenant_scope().tenant_id() == tenant);
        let by = by.map(|caller| caller.user_id());
        let core = asked.core;
        let (call, wait) = asked.read(endpoint.meant(), payload).await?;
        let standing = app.call_public_api(core, &endpoint, (&call, by), wait).await?;
        let ended = standing.execution.status.is_final();
        let result = PublicResult::from(standing);
        let reply = if ended { Reply::ok(result) } else { Reply::accepted(result) };
        return Ok(reply.respond_to(request));
    }
    let caller = Allowed::<perm::CoresInvoke>::extract(request).await?;
    let asked = Asked::of(request, method).await?;
    let meant = match app.endpoint(&caller, asked.core, asked.place()).await? {
        Endpoint::Meant(meant) => meant,
        Endpoint::OtherMethods(methods) => {
            return Err(Error::MethodNotAllowed { allow: allowed(&methods) });
        }
        Endpoint::Nothing => return Err(Error::not_found(Resource::Route)),
    };
    let core = asked.core;
    let (call, wait) = asked.read(&meant, payload).await?;
    let standing = app.call_api(&caller, core, &meant, &call, wait).await?;
    let ended = standing.execution.status.is_final();
    let location = format!("/v1/modules/scaicore/executions/{}", standing.execution.id);
    let view = ExecutionView::from(standing);
    let reply = if ended { Reply::ok(view) } else { Reply::accepted(view).with_location(location) };
    Ok(reply.respond_to(request))
}

fn allowed(methods: &[&'static str]) -> String {
    let mut all = methods.to_vec();
    if all.contains(&"GET") {
        all.push("HEAD");
    }
    all.sort_unstable();
    all.join(", ")
}

macro_rules! calls {
    ($($name:ident $operation:literal $method:ident $upper:literal $summary:literal $((body $content:ident))?;)*) => {$(
        #[doc = $summary]
        ///
        /// Starts the flow of the `api` trigger whose method and path fit. Path, query and body become its parameters, by name. 200
        /// when it has ended within `wait_ms` (30000 where left out), or the `wait` of `Prefer`; else 202, and `Location` says where
        /// it goes on. A trigger that is `public` needs no credentials, and answers with `id`, `status`, `output` and `error`
        /// alone. `path` may have any number of segments.
        #[utoipa::path(
            tag = "api",
            operation_id = $operation,
            params(
                ("core_id" = kinds::CoreId, Path, description = "The Core"),
                ("path" = String, Path, example = "orders/7"),
                ("wait_ms" = Option<u64>, Query, description = "How long to wait; 0 is not at all"),
                ("Prefer" = Option<String>, Header, description = "`respond-async` or `wait=SECONDS` (RFC 7240)")
            ),
            $(request_body(content = $content, description = "Parameters of the flow"),)?
            responses(
                (status = 200, description = "It has ended", body = DataOf<ExecutionView>),
                (status = 202, description = "It goes on, or waits", body = DataOf<ExecutionView>),
                (status = 405, description = "The path has other methods")
            )
        )]
        #[$method("/v1/modules/scaicore/cores/{core_id}/api/invoke/{path}")]
        pub(super) async fn $name(
            request: HttpRequest,
            payload: web::Payload,
            app: web::Data<App>,
        ) -> Result<HttpResponse, Error> {
            call($upper, &request, payload, &app).await
        }
    )*};
}

calls! {
    call_get "call_core_api_get" get "GET" "Call a Core's API with GET";
    call_post "call_core_api_post" post "POST" "Call a Core's API with POST" (body Parameters);
    call_put "call_core_api_put" put "PUT" "Call a Core's API with PUT" (body Parameters);
    call_patch "call_core_api_patch" patch "PATCH" "Call a Core's API with PATCH" (body Parameters);
    call_delete "call_core_api_delete" delete "DELETE" "Call a Core's API with DELETE";
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn prefer(values: &[&str]) -> Option<u64> {
        let mut request = TestRequest::default();
        for value in values {
            request = request.append_header(("Prefer", *value));
        }
        let usual = Duration::from_secs(30);
        preferred(request.to_http_request().headers(), usual).map(|wait| wait.as_secs())
    }

    #[test]
    fn a_preference_is_read() {
        assert_eq!(prefer(&[]), Some(30));
        assert_eq!(prefer(&["return=minimal"]), Some(30));
        assert_eq!(prefer(&["respond-async"]), None);
        assert_eq!(prefer(&["wait=10"]), Some(10));
        assert_eq!(prefer(&["return=minimal", "Wait=\"5\", respond-async"]), Some(5));
        assert_eq!(prefer(&["wait=100000"]), Some(60));
        assert_eq!(prefer(&["wait=0"]), None);
        assert_eq!(prefer(&["wait=soon"]), Some(30));
    }

    #[test]
    fn headers_of_a_name_stand_in_one() {
        let request = TestRequest::default()
            .append_header(("Accept", "a"))
            .append_header(("accept", "b"))
            .append_header(("Authorization", "Bearer x"))
            .to_http_request();
        let found = texts(request.headers(), &CREDENTIALS);
        assert_eq!(found, BTreeMap::from([("accept".to_owned(), "a, b".to_owned())]));
    }
}
