//! What the framework raises by itself, as errors of ours.

use actix_web::error::{PayloadError, QueryPayloadError, UrlencodedError};
use actix_web::http::StatusCode;
use scaigrid_app as app;

use super::Error;

/// The error of ours that tells best what the framework's says.
pub(crate) fn of_framework(error: &actix_web::Error) -> Error {
    if let Some(error) = error.as_error::<QueryPayloadError>() {
        return Error::invalid("query", error.to_string());
    }
    if let Some(error) = error.as_error::<UrlencodedError>() {
        return Error::invalid("body", error.to_string());
    }
    if let Some(error) = error.as_error::<PayloadError>() {
        return of_payload(error, crate::body::JSON_LIMIT);
    }
    of_status(error.as_response_error().status_code(), || error.to_string())
}

/// The error of ours for a body that could not be received.
pub(crate) fn of_payload(error: &PayloadError, limit: usize) -> Error {
    match error {
        PayloadError::Overflow => Error::PayloadTooLarge { limit },
        error => Error::invalid("body", format!("could not be received: {error}")),
    }
}

/// The error of ours that a bare status stands for. `text` is asked only for what goes to the log.
pub(crate) fn of_status(status: StatusCode, text: impl FnOnce() -> String) -> Error {
    match status {
        StatusCode::UNAUTHORIZED => Error::App(app::Error::TokenInvalid),
        StatusCode::NOT_FOUND => Error::not_found(app::Resource::Route),
        StatusCode::METHOD_NOT_ALLOWED => Error::MethodNotAllowed { allow: String::new() },
        StatusCode::PAYLOAD_TOO_LARGE => Error::PayloadTooLarge { limit: crate::body::JSON_LIMIT },
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Error::UnsupportedMediaType { expected: "application/json" },
        status if status.is_client_error() => Error::invalid("request", "could not be understood"),
        _ => Error::App(app::Error::internal(text())),
    }
}
