//! The use cases of the platform on an SQLite file: who may come in, and what follows from what they change.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
mod house;
mod models;
mod modules;
mod people;
mod rights;
mod signing;
mod starting;
mod webhooks;
