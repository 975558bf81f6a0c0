//! Executions from start to end, driven as a platform would drive them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should fail"
)]

mod cancelling;
mod constructs;
mod expense;
mod generator;
mod loops;
mod memory;
mod properties;
mod world;
