//! Errors as OpenAI's clients know them: `{"error": {"message", "type", "param", "code"}}`.

use scaigrid_app as app;
use scaigrid_app::Resource;
use serde_json::{Value, json};

use super::Error;
use super::table::{Family, row};

/// The body of an error's answer.
pub(super) fn body_of(error: &Error) -> Value {
    let Shape { kind, code, param, message } = shape(error);
    json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
}

struct Shape {
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
}

fn shape(error: &Error) -> Shape {
    const INVALID: &str = "invalid_request_error";
    let of = |kind, code| Shape { kind, code, param: None, message: error.to_string() };
    let Error::App(inner) = error else { return of(INVALID, None) };
    match inner {
        app::Error::TokenMissing => Shape {
            message: "You didn't provide an API key. Send it in the header: Authorization: Bearer YOUR_KEY."
                .to_owned(),
            ..of(INVALID, Some("invalid_api_key"))
        },
        app::Error::TokenInvalid | app::Error::TokenExpired => Shape {
            message: "Incorrect API key provided. It is unknown, revoked or expired.".to_owned(),
            ..of(INVALID, Some("invalid_api_key"))
        },
        app::Error::NotFound(Resource::Model) => Shape {
            param: Some("model".to_owned()),
            message: "The model does not exist or you do not have access to it.".to_owned(),
            ..of(INVALID, Some("model_not_found"))
        },
        app::Error::NotFound(Resource::Route) => of(INVALID, Some("unknown_url")),
        app::Error::Invalid(fields) => {
            let first = fields.first();
            let told = fields.iter().map(|field| match field.field.as_str() {
                "body" => field.message.clone(),
                name => format!("{name} {}", field.message),
            });
            let message = told.collect::<Vec<_>>().join("; ");
            let param = first.map(|field| field.field.clone()).filter(|field| field != "body");
            Shape { param, message, ..of(INVALID, None) }
        }
        app::Error::BudgetExceeded { .. } => of("insufficient_quota", Some("insufficient_quota")),
        app::Error::RateLimited { .. } | app::Error::BackendRateLimited { .. } => {
            of("requests", Some("rate_limit_exceeded"))
        }
        _ => {
            let row = row(error);
            let kind = match row.status {
                status if status.is_server_error() => "server_error",
                actix_web::http::StatusCode::FORBIDDEN => "permission_error",
                _ => INVALID,
            };
            of(kind, Some(row.code(Family::OpenAi)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_look_as_openais_clients_know_them() {
        let errors = [
            app::Error::TokenMissing,
            app::Error::TokenInvalid,
            app::Error::NotFound(Resource::Model),
            app::Error::invalid("messages", "is required"),
            app::Error::invalid("body", "is no JSON"),
            app::Error::BudgetExceeded { of: "the tenant" },
            app::Error::RateLimited { retry_after: std::time::Duration::from_secs(1) },
            app::Error::PermissionDenied { permission: "models:use".into() },
            app::Error::BackendTimeout { model: "m".to_owned() },
            app::Error::internal("hunter2"),
        ];
        let shown: Vec<Value> = errors
            .into_iter()
            .map(Error::App)
            .map(|error| {
                let mut body = body_of(&error)["error"].take();
                body["status"] = row(&error).status(Family::OpenAi).as_u16().into();
                body
            })
            .collect();
        insta::assert_json_snapshot!(shown);
    }
}
