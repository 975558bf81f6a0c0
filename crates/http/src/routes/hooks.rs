//! Messages from other systems, to the webhooks of Cores. Whoever sends one needs no credentials: the message vouches for itself.

use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpRequest, web};
use scaigrid_app::{App, Resource};
use scaigrid_http_macros::post;
use scaigrid_ir::Value;
use scaigrid_scope::{CoreId, TriggerId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Error;
use crate::body::{self, JSON_LIMIT};
use crate::envelope::{DataOf, Reply};
use crate::limits::count_for;
use crate::openapi::{ServiceConfig, kinds};
use crate::path;
use crate::path::Path;
use crate::routes::scaicore::texts;
use crate::server::Edge;

/// A message that was taken.
#[derive(Debug, Serialize, ToSchema)]
struct ReceiptView {
    /// The message's id; of one that names none, of its contents.
    message_id: String,
    /// What it has begun, now or when it first came.
    #[schema(required = true, example = "exec_01JZ8QZ5T0000000000000000A")]
    execution_id: Option<String>,
}

/// Whether a body is JSON; what is neither that nor a text is refused.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.starts_with("application/") && essence.ends_with("+json")
}

/// The body as the flow gets it: JSON as what it is, anything else as the text that it is.
fn contents(headers: &HeaderMap, raw: &[u8]) -> Result<Value, Error> {
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    if is_json(headers) {
        let read: Result<serde_json::Value, _> = serde_json::from_slice(raw);
        return match read {
            Ok(json) => Ok(Value::from_json(&json)),
            Err(error) => Err(Error::from(body::findings::malformed(&error))),
        };
    }
    match std::str::from_utf8(raw) {
        Ok(text) => Ok(Value::from(text)),
        Err(_) => Err(Error::UnsupportedMediaType { expected: "application/json, or a text in UTF-8" }),
    }
}

/// Send a message to a webhook of a Core
///
/// It is verified as Standard Webhooks (`webhook-id`, `webhook-timestamp`, `webhook-signature`; five minutes' tolerance), or as its
/// trigger says, and starts the trigger's flow: once for each id. A message that comes again gets the first answer. Of what does
/// not exist nothing is told.
#[utoipa::path(
    tag = "triggers",
    operation_id = "receive_message",
    security(()),
    params(
        ("core_id" = kinds::CoreId, Path, description = "The Core"),
        ("trigger_id" = kinds::TriggerId, Path, description = "The trigger, a webhook"),
        ("webhook-id" = Option<String>, Header, description = "What tells the message from others"),
        ("webhook-timestamp" = Option<String>, Header, description = "When it was sent, in seconds since 1970"),
        ("webhook-signature" = Option<String>, Header, description = "`v1,` and the base64 of HMAC-SHA256"),
    ),
    request_body(content = Vec<u8>, content_type = "*/*", description = "Whatever is to be told, 1 MiB at most"),
    responses(
        (status = 202, description = "It was taken, now or before", body = DataOf<ReceiptView>),
        (status = 401, description = "It is not verified (`WEBHOOK_SIGNATURE_INVALID`)"),
    )
)]
#[post("/v1/hooks/{core_id}/{trigger_id}")]
async fn receive(
    request: HttpRequest,
    place: Path<(String, String)>,
    payload: web::Payload,
    app: web::Data<App>,
) -> Result<Reply<ReceiptView>, Error> {
    let core: CoreId = path::id(&place.0, Resource::Route)?;
    let trigger: TriggerId = path::id(&place.1, Resource::Route)?;
    let headers = request.headers();
    let raw = body::receive(headers, payload.into_inner(), JSON_LIMIT).await?;
    let verified = app.verify_message((core, trigger), texts(headers, &[]), &raw).await?;
    // What is not verified counts against nobody but the address that it comes from.
    let edge = Edge::of(&request)?;
    count_for(&edge, verified.tenant().tenant_id()).await?;
    let receipt = app.take_message(verified, contents(headers, &raw)?).await?;
    let execution_id = receipt.execution.map(|id| id.to_string());
    Ok(Reply::accepted(ReceiptView { message_id: receipt.message_id, execution_id }))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(receive);
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_body_is_what_it_says_that_it_is() {
        let read = |kind: &str, raw: &[u8]| {
            let request =
                TestRequest::default().insert_header((header::CONTENT_TYPE, kind)).to_http_request();
            contents(request.headers(), raw).map(|value| value.to_json()).ok()
        };
        let one = Some(serde_json::json!({"a": 1}));
        assert_eq!(read("application/json; charset=utf-8", b"{\"a\":1}"), one);
        assert_eq!(read("application/vnd.x+json", b"{\"a\":1}"), one);
        assert_eq!(read("application/json", b"{"), None);
        assert_eq!(read("application/x-www-form-urlencoded", b"a=1"), Some("a=1".into()));
        assert_eq!(read("text/plain", b"\xff"), None);
        assert_eq!(read("application/json", b""), Some(serde_json::Value::Null));
    }
}
