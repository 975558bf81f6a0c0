//! Errors at the edge: what a handler returns when it does not answer.
//!
//! [`Error`] is the application's error, or one that only HTTP knows. Which status and code it has is in
//! [`table`], how it is written is in `render`, and what the framework raises by itself is made one of ours in
//! `foreign`. Nothing here decides *whether* something is an error.

pub mod table;

mod foreign;
mod openai;
mod render;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use scaigrid_app as app;

pub(crate) use foreign::{of_framework, of_payload, of_status};
pub(crate) use render::{body_of, response};
pub use table::Family;

/// Why a request was not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the use case said.
    #[error(transparent)]
    App(#[from] app::Error),
    /// The route is there, but not for this method (RFC 9110, 15.5.6).
    #[error("The method is not allowed here")]
    MethodNotAllowed {
        /// The methods that are, as the `Allow` header lists them.
        allow: String,
    },
    /// The body is of a kind that is not taken here (RFC 9110, 15.5.16).
    #[error("The body must be {expected}")]
    UnsupportedMediaType {
        /// The media type that is taken.
        expected: &'static str,
    },
    /// The body is bigger than it may be (RFC 9110, 15.5.14).
    #[error("The body is larger than {limit} bytes")]
    PayloadTooLarge {
        /// The most bytes that are taken.
        limit: usize,
    },
}

impl Error {
    /// One field is not as it must be.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::App(app::Error::invalid(field, message))
    }

    /// There is no such thing, or none that the caller may see.
    pub const fn not_found(resource: app::Resource) -> Self {
        Self::App(app::Error::NotFound(resource))
    }
}

impl actix_web::ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        table::row(self).status
    }

    /// The error without what belongs to one request. The outermost middleware, which knows the request id
    /// and the family of the route, writes it anew; see `request`.
    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
    }
}
