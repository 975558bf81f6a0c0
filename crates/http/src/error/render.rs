//! How an error is written: envelope, headers, and a log line for what broke inside.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header;
use scaigrid_app as app;
use serde::Serialize;
use serde_json::{Value, json};

use super::Error;
use super::table::{self, Family};

/// The most details that one answer lists.
const MAX_DETAILS: usize = 100;

#[derive(Serialize)]
struct Envelope<'a> {
    status: &'static str,
    error: Failure,
    meta: Meta<'a>,
}

#[derive(Serialize)]
struct Failure {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Value>,
}

#[derive(Serialize)]
struct Meta<'a> {
    request_id: &'a str,
}

/// The answer that an error gets in a family of routes. What broke inside goes to the log, under the span of
/// the request, and nowhere else.
pub(crate) fn response(error: &Error, family: Family, request_id: &str) -> HttpResponse {
    let row = table::row(error);
    if let Error::App(app::Error::Internal(source)) = error {
        tracing::error!(error = %chain(source.as_ref()), "the request failed inside");
    }
    let mut response = HttpResponse::build(row.status(family));
    if let Some(seconds) = retry_after(error) {
        response.insert_header((header::RETRY_AFTER, seconds));
    }
    match error {
        Error::MethodNotAllowed { allow } => {
            response.insert_header((header::ALLOW, allow.as_str()));
        }
        Error::App(app::Error::TokenMissing) => {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        Error::App(app::Error::TokenInvalid | app::Error::TokenExpired) => {
            response.insert_header((header::WWW_AUTHENTICATE, r#"Bearer error="invalid_token""#));
        }
        _ => {}
    }
    response
        .content_type(mime_json())
        .body(serde_json::to_vec(&body_of(error, family, request_id)).unwrap_or_default())
}

/// The body of an error's answer.
pub(crate) fn body_of(error: &Error, family: Family, request_id: &str) -> Value {
    if family == Family::OpenAi {
        return super::openai::body_of(error);
    }
    serde_json::to_value(envelope(error, family, request_id)).unwrap_or_default()
}

fn envelope<'a>(error: &Error, family: Family, request_id: &'a str) -> Envelope<'a> {
    Envelope {
        status: "error",
        error: Failure {
            code: table::row(error).code(family),
            message: error.to_string(),
            retry_after: retry_after(error),
            details: details(error),
        },
        meta: Meta { request_id },
    }
}

const fn mime_json() -> header::HeaderValue {
    header::HeaderValue::from_static("application/json")
}

/// Whole seconds, at least one: a client that waits that long is not early.
fn retry_after(error: &Error) -> Option<u64> {
    let Error::App(
        app::Error::RateLimited { retry_after }
        | app::Error::QueueFull { retry_after, .. }
        | app::Error::Unavailable { retry_after }
        | app::Error::ModuleFailed { retry_after, .. }
        | app::Error::ModelUnavailable { retry_after: Some(retry_after), .. }
        | app::Error::BackendRateLimited { retry_after: Some(retry_after), .. },
    ) = error
    else {
        return None;
    };
    Some(seconds(*retry_after))
}

fn seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)).max(1)
}

fn details(error: &Error) -> Vec<Value> {
    let Error::App(error) = error else { return Vec::new() };
    match error {
        app::Error::Invalid(fields)
        | app::Error::PluginsMissing(fields)
        | app::Error::ModelsMissing(fields)
        | app::Error::DelegationInvalid(fields) => fields
            .iter()
            .take(MAX_DETAILS)
            .map(|field| json!({ "field": field.field, "message": field.message }))
            .collect(),
        app::Error::InvalidSource(diagnostics) => diagnostics.iter().take(MAX_DETAILS).cloned().collect(),
        app::Error::InvalidTransition { from, attempted, legal } => vec![json!({
            "field": "status",
            "message": format!("{attempted} is not possible now; possible: {}", list(legal)),
            "status": from,
            "attempted": attempted,
            "legal_actions": legal,
        })],
        app::Error::CoreNotRunning { status } | app::Error::CheckpointAlreadyResolved { status } => {
            vec![json!({ "field": "status", "message": status })]
        }
        app::Error::PermissionDenied { permission } | app::Error::InsufficientScope { permission } => {
            vec![json!({ "field": "permission", "message": permission })]
        }
        app::Error::SlugConflict { field, slug } => {
            vec![json!({ "field": field, "message": format!("{slug} is taken") })]
        }
        app::Error::Taken { field, message } => vec![json!({ "field": field, "message": message })],
        app::Error::ModuleDependencyUnavailable { dependency, .. } => {
            vec![json!({ "field": "dependencies", "message": dependency })]
        }
        app::Error::EgressDenied { field, reason, .. } => {
            vec![json!({ "field": field, "message": reason })]
        }
        app::Error::Capacity { what, limit } => {
            vec![json!({ "field": what, "message": format!("at most {limit}") })]
        }
        _ => Vec::new(),
    }
}

fn list(legal: &[std::borrow::Cow<'static, str>]) -> String {
    if legal.is_empty() { "nothing".to_owned() } else { legal.join(", ") }
}

/// An error and all that caused it, on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_shape() -> Vec<Error> {
        let secs = Duration::from_millis;
        [
            app::Error::TokenMissing,
            app::Error::TokenExpired,
            app::Error::PermissionDenied { permission: "users:manage".into() },
            app::Error::InsufficientScope { permission: "scaicore:view".into() },
            app::Error::NotFound(app::Resource::Tenant),
            app::Error::Invalid(vec![app::FieldError::new("roles[1]", "is not a role")]),
            app::Error::InvalidSource(vec![json!({ "code": "E301", "pointer": "/flows/0" })]),
            app::Error::InvalidTransition {
                from: "created".into(),
                attempted: "pause".into(),
                legal: vec!["start".into(), "delete".into()],
            },
            app::Error::CheckpointAlreadyResolved { status: "resolved".into() },
            app::Error::ModuleDependencyUnavailable {
                module: "scaicore".into(),
                dependency: "scaibus".into(),
                enabling: false,
            },
            app::Error::Capacity { what: "cores".into(), limit: 5 },
            app::Error::RateLimited { retry_after: secs(14_200) },
            app::Error::internal("the password is hunter2"),
        ]
        .into_iter()
        .map(Error::App)
        .chain([Error::PayloadTooLarge { limit: 1024 }, Error::MethodNotAllowed { allow: "GET".into() }])
        .collect()
    }

    #[test]
    fn errors_look_the_same_everywhere() {
        let written: Vec<Value> = every_shape()
            .iter()
            .map(|error| {
                let mut written = body_of(error, Family::Grid, "req_1")["error"].take();
                let row = table::row(error);
                written["http"] = row.status.as_u16().into();
                written["admin"] = row.workspace.into();
                written
            })
            .collect();
        insta::assert_json_snapshot!(written);
    }

    #[test]
    fn what_broke_inside_is_not_told() {
        let error = Error::App(app::Error::internal("the password is hunter2"));
        assert!(!body_of(&error, Family::Grid, "req_1").to_string().contains("hunter2"));
        assert_eq!(chain(std::io::Error::other("a").get_ref().unwrap()), "a");
    }
}
