//! Links by which a person decides a checkpoint without logging in. GET only shows, POST acts.
//!
//! The token stands in the query, which is neither logged nor traced, and goes nowhere else: pages load nothing, tell nobody
//! where they were come from, and stand in no frame. There is nothing to forge for another site: no cookie or other standing
//! right is used, and whoever has the token needs no forgery.

use std::fmt::Write as _;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use scaigrid_app::{self as app, App, Resource};
use scaigrid_checkpoints::{CheckpointStatus, Decision};
use scaigrid_http_macros::{get, post};
use scaigrid_scope::{CheckpointId, perm};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::checkpoint_views::CheckpointView;
use crate::Error;
use crate::auth::Allowed;
use crate::body::{JSON_LIMIT, parse, receive};
use crate::envelope::{DataOf, Reply};
use crate::filters::Filters;
use crate::openapi::kinds;
use crate::path::PathId;
use crate::request::Origin;

/// What a page of a link may do: show itself, and send its form back.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; \
                           frame-ancestors 'none'";

/// A link that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LinkView {
    /// The address to open. It is shown once, and whoever has it can decide the checkpoint in the caller's name.
    url: String,
    /// From when on it is of no use (RFC 3339, UTC).
    expires_at: String,
}

/// Make a link by which the caller decides a checkpoint
///
/// For another device, without logging in there: if the Core allows it, once, and for seven days at most. It takes the place of the one
/// that the caller has made before and not used.
#[utoipa::path(
    tag = "checkpoints",
    operation_id = "link_checkpoint",
    params(("checkpoint_id" = kinds::CheckpointId, Path, description = "The checkpoint")),
    responses((status = 201, description = "The link", body = DataOf<LinkView>))
)]
#[post("/v1/modules/scaicore/checkpoints/{checkpoint_id}/link")]
pub(super) async fn make(
    caller: Allowed<perm::CheckpointsResolve>,
    id: PathId<CheckpointId>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<LinkView>, Error> {
    app.checkpoint(&caller, id.0).await?;
    let made = app.link_checkpoint(&caller, &origin.context(), id.0).await?;
    let view = LinkView { url: made.url, expires_at: made.expires_at.to_string() };
    Ok(Reply::created(format!("/v1/modules/scaicore/checkpoints/{}", id.0), view))
}

/// Which link.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LinkQuery {
    /// The token of the link.
    #[param(value_type = String)]
    token: Option<String>,
}

impl LinkQuery {
    fn token(self) -> Result<String, Error> {
        self.token.ok_or_else(|| Error::not_found(Resource::CheckpointLink))
    }
}

/// What a link leads to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OpenedView {
    /// The checkpoint.
    checkpoint: CheckpointView,
    /// Whether the link has decided already.
    used: bool,
}

/// See what a link asks
///
/// Nothing changes. A page for browsers, JSON for programs.
#[utoipa::path(
    tag = "checkpoints",
    operation_id = "show_checkpoint_link",
    security(()),
    params(LinkQuery),
    responses(
        (status = 200, description = "What is asked", body = DataOf<OpenedView>),
        (status = 403, description = "The person may not decide it"),
        (status = 404, description = "There is no such link, or not any more")
    )
)]
#[get("/v1/checkpoint-link")]
pub(super) async fn show(
    query: Filters<LinkQuery>,
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, Error> {
    let shown = async {
        let token = query.read()?.token()?;
        Ok::<_, Error>(app.open_link(&token).await?)
    };
    let opened = match shown.await {
        Ok(opened) => opened,
        Err(error) => return refused(&request, error),
    };
    let view = OpenedView { checkpoint: opened.checkpoint.into(), used: opened.used };
    if wants_page(&request) {
        return Ok(page(StatusCode::OK, &question(&view)));
    }
    Ok(respond(&request, Reply::ok(view)))
}

/// A decision by a link.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct LinkBody {
    /// What is decided: one of the checkpoint's options, if it has any.
    #[validate(length(min = 1, max = 1000))]
    #[schema(min_length = 1, max_length = 1000)]
    decision: String,
    /// More for the program.
    response_data: Option<Value>,
    /// A note for people; the program sees it too.
    #[validate(length(max = 10_000))]
    #[schema(max_length = 10000)]
    comment: Option<String>,
}

/// Decide a checkpoint by a link
///
/// Once, in the name of the person that the link was made for. Takes JSON, and the form of the page.
#[utoipa::path(
    tag = "checkpoints",
    operation_id = "resolve_by_checkpoint_link",
    security(()),
    params(LinkQuery),
    request_body = LinkBody,
    responses(
        (status = 200, description = "The checkpoint", body = DataOf<OpenedView>),
        (status = 403, description = "The person may not decide it"),
        (status = 404, description = "There is no such link, or not any more"),
        (status = 409, description = "It is decided already, or the link was used")
    )
)]
#[post("/v1/checkpoint-link")]
pub(super) async fn resolve(
    query: Filters<LinkQuery>,
    origin: Origin,
    request: HttpRequest,
    payload: web::Payload,
    app: web::Data<App>,
) -> Result<HttpResponse, Error> {
    let resolved = async {
        let token = query.read()?.token()?;
        // Whether there is such a link is told before anything about the body.
        drop(app.open_link(&token).await?);
        let body = read(&request, payload).await?;
        let decision =
            Decision { decision: body.decision, response_data: body.response_data, comment: body.comment };
        // In a box: what goes on with an execution is large.
        Ok::<_, Error>(Box::pin(app.resolve_by_link(&origin.context(), &token, decision)).await?)
    };
    let decided = match resolved.await {
        Ok(decided) => decided,
        Err(error) => return refused(&request, error),
    };
    let waits = decided.checkpoint.checkpoint.status() == CheckpointStatus::Pending;
    let view = OpenedView { checkpoint: decided.checkpoint.into(), used: true };
    if wants_page(&request) {
        let text =
            if waits { "Your decision counts. Others are asked now." } else { "Your decision was taken." };
        return Ok(page(StatusCode::OK, &format!("<h1>Thank you</h1><p>{text}</p>")));
    }
    Ok(respond(&request, Reply::ok(view)))
}

/// The body: JSON, or the form of the page.
async fn read(request: &HttpRequest, payload: web::Payload) -> Result<LinkBody, Error> {
    let kind =
        request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let form = kind == "application/x-www-form-urlencoded";
    if !form && kind != "application/json" {
        return Err(Error::UnsupportedMediaType { expected: "application/json" });
    }
    let bytes = receive(request.headers(), payload.into_inner(), JSON_LIMIT).await?;
    if !form {
        return parse(&bytes);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| Error::invalid("body", "must be UTF-8"))?;
    let pairs = web::Query::<Vec<(String, String)>>::from_query(text);
    let pairs = pairs.map_err(|error| Error::invalid("body", error.to_string()))?.into_inner();
    // What is left empty in a form was not given.
    let given = |name: &str| {
        pairs.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value)
    };
    let mut body = serde_json::Map::new();
    for name in ["decision", "comment"] {
        if let Some(value) = given(name) {
            body.insert(name.to_owned(), value.as_str().into());
        }
    }
    if let Some(data) = given("response_data") {
        let data: Value =
            serde_json::from_str(data).map_err(|error| Error::invalid("response_data", error.to_string()))?;
        body.insert("response_data".to_owned(), data);
    }
    parse(Value::Object(body).to_string().as_bytes())
}

fn respond<T: Serialize>(request: &HttpRequest, reply: Reply<T>) -> HttpResponse {
    use actix_web::Responder as _;
    reply.respond_to(request)
}

/// Whether a browser asks.
fn wants_page(request: &HttpRequest) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.split(',').any(|kind| kind.trim().starts_with("text/html")))
}

/// A refusal, as a page for browsers.
fn refused(request: &HttpRequest, error: Error) -> Result<HttpResponse, Error> {
    use actix_web::ResponseError as _;
    if !wants_page(request) || matches!(error, Error::App(app::Error::Internal(_))) {
        return Err(error);
    }
    let mut text = escaped(&error.to_string());
    if let Error::App(app::Error::Invalid(fields)) = &error {
        for field in fields.iter().take(20) {
            let _ = write!(text, "<br>{}: {}", escaped(&field.field), escaped(&field.message));
        }
    }
    Ok(page(error.status_code(), &format!("<h1>That does not work</h1><p>{text}</p>")))
}

/// What is asked, and the form to answer it.
fn question(view: &OpenedView) -> String {
    let checkpoint = &view.checkpoint;
    let mut html = format!(
        "<h1>{}</h1><p class=\"prompt\">{}</p>",
        escaped(&checkpoint.checkpoint_type),
        escaped(&checkpoint.prompt)
    );
    if !checkpoint.context.is_null() {
        let context = serde_json::to_string_pretty(&checkpoint.context).unwrap_or_default();
        let _ = write!(html, "<pre>{}</pre>", escaped(&context));
    }
    if view.used || checkpoint.status != "pending" {
        let _ = write!(html, "<p>The checkpoint is {}.</p>", escaped(&checkpoint.status));
        return html;
    }
    html.push_str("<form method=\"post\">");
    if let Some(form) = &checkpoint.form {
        let form = serde_json::to_string_pretty(form).unwrap_or_default();
        let _ = write!(
            html,
            "<label>Data, as JSON<textarea name=\"response_data\" rows=\"6\"></textarea></label><details><summary>What it must \
             look like</summary><pre>{}</pre></details>",
            escaped(&form)
        );
    }
    html.push_str("<label>Comment<textarea name=\"comment\" rows=\"3\"></textarea></label>");
    if checkpoint.options.is_empty() {
        html.push_str("<label>Decision<input name=\"decision\" required maxlength=\"1000\"></label><button>Send</button>");
    }
    for option in &checkpoint.options {
        let option = escaped(option);
        let _ = write!(html, "<button name=\"decision\" value=\"{option}\">{option}</button> ");
    }
    html.push_str("</form>");
    html
}

fn page(status: StatusCode, body: &str) -> HttpResponse {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Checkpoint</title><style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 \
         1rem}}label,textarea,input{{display:block;width:100%;box-sizing:border-box;margin:.5rem 0}}pre{{overflow:auto;\
         border:1px solid;padding:.5rem}}.prompt{{white-space:pre-wrap}}button{{font:inherit;padding:.5rem 1rem;margin:.5rem \
         .5rem 0 0}}</style>{body}</html>"
    );
    HttpResponse::build(status)
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, PAGE_POLICY))
        .body(html)
}

/// A text within HTML, also within an attribute in double quotes.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_is_markup() {
        assert_eq!(escaped("<b a=\"x\">&'</b>"), "&lt;b a=&quot;x&quot;&gt;&amp;&#39;&lt;/b&gt;");
    }
}
