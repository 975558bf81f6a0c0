//! Executions from start to end, driven as a platform would drive them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should fail")]

mod approvals;
mod bounds;
mod branches;
mod budgets;
mod cancelling;
mod constructs;
mod expense;
mod formats;
mod generator;
mod inside;
mod loops;
mod memory;
mod models;
mod properties;
mod retries;
mod waiting;
mod world;
