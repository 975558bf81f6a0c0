//! The edge: extract, call the use case, answer in the envelope.
//!
//! This crate turns requests into calls of the application and what comes back into answers. It decides how
//! things look on the wire, and who is let in; it decides nothing that the domain could decide. Handlers are a
//! few lines, made of the parts here:
//!
//! - extractors: [`auth::Allowed`], [`auth::Caller`], [`path::PathId`], [`paging::Paging`],
//!   [`filters::Filters`],
//!   [`conditional::IfMatch`], [`body::Body`], [`upload::Upload`], in this order, so that missing rights are
//!   told before mistakes are;
//! - answers: [`envelope::Reply`], [`envelope::Listed`], [`envelope::NoContent`], or an [`Error`];
//! - [`server::Router`] puts them together with what every request gets.

pub mod auth;
pub mod body;
pub mod conditional;
mod dispatch;
pub mod envelope;
pub mod error;
pub mod export;
pub mod filters;
mod hang_up;
pub mod health;
pub mod idempotency;
pub mod limits;
pub mod openapi;
pub mod paging;
pub mod path;
pub mod request;
pub mod routes;
mod seams;
pub mod server;
mod sse;
pub mod upload;

// The attributes of endpoints name this crate, in it as elsewhere.
extern crate self as scaigrid_http;

pub use dispatch::{Endpoint, register_alone};
pub use error::Error;
