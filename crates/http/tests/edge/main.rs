//! The edge's common parts, through HTTP: what every route gets, shown on routes made up for the purpose.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[macro_use]
mod support;

mod answers;
mod document;
mod idempotency;
mod limits;
mod records;
mod refusals;
mod wire;
