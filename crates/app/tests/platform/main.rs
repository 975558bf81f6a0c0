//! The use cases of the platform on an SQLite file: who may come in, and what follows from what they change.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
mod backup;
mod house;
mod models;
mod modules;
mod own_store;
mod people;
mod plugins;
mod rights;
mod signing;
mod starting;
mod webhooks;

/// The plugin that the black-box tests have, too.
#[expect(
    dead_code,
    unreachable_pub,
    reason = "it is the whole of another crate's, and not all is asked for here"
)]
#[path = "../../../../tests/src/plugin.rs"]
mod stub;
