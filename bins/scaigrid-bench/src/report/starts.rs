//! How long starts took, what an idle server needs, and what suspended executions cost.

use serde::Serialize;

use super::table::{megabytes, short};
use crate::options::Engine;

/// How long a start took, and what an idle server needs.
#[derive(Debug, Serialize)]
pub(crate) struct Start {
    /// The database.
    pub(crate) database: Engine,
    /// What was in it.
    pub(crate) state: String,
    /// From spawn to ready, for each start in ascending order, in milliseconds.
    pub(crate) ready_ms: Vec<f64>,
    /// Resident memory of the last of them after a rest, in bytes.
    pub(crate) idle_resident_bytes: u64,
}

impl Start {
    /// What is in a database that an earlier start has set up.
    pub(crate) const EXISTING: &'static str = "existing database";
    /// The columns of its table.
    pub(super) const COLUMNS: [&str; 5] =
        ["database", "start on", "ready ms (median)", "fastest..slowest", "idle rss MB"];

    /// Its row in the table.
    pub(super) fn row(&self) -> Vec<String> {
        let [first, last] =
            [self.ready_ms.first(), self.ready_ms.last()].map(|time| time.copied().unwrap_or_default());
        vec![
            self.database.name().to_owned(),
            self.state.clone(),
            short(self.median().unwrap_or_default()),
            format!("{}..{}", short(first), short(last)),
            megabytes(self.idle_resident_bytes),
        ]
    }

    /// The time in the middle.
    pub(super) fn median(&self) -> Option<f64> {
        self.ready_ms.get(self.ready_ms.len().saturating_sub(1) / 2).copied()
    }
}

/// What suspended executions cost.
#[derive(Debug, Serialize)]
pub(crate) struct Suspended {
    /// The database.
    pub(crate) database: Engine,
    /// How many.
    pub(crate) executions: u64,
    /// Resident memory before, in bytes; the server had run flows already.
    pub(crate) resident_before_bytes: u64,
    /// Resident memory with all of them suspended, in bytes.
    pub(crate) resident_after_bytes: u64,
    /// Flows per second before.
    pub(crate) flows_per_second_before: f64,
    /// Flows per second with all of them suspended.
    pub(crate) flows_per_second_after: f64,
    /// From spawn to ready when the server is started again, in milliseconds.
    pub(crate) restart_ready_ms: f64,
    /// Resident memory after that start and a rest, in bytes.
    pub(crate) restart_resident_bytes: u64,
}

impl Suspended {
    /// The columns of its table.
    pub(super) const COLUMNS: [&str; 9] = [
        "database",
        "suspended",
        "rss MB before",
        "after",
        "bytes each",
        "flows/s before",
        "after",
        "restart ms",
        "rss MB after it",
    ];

    /// Its row in the table.
    pub(super) fn row(&self) -> Vec<String> {
        let growth = self.resident_after_bytes.saturating_sub(self.resident_before_bytes);
        vec![
            self.database.name().to_owned(),
            self.executions.to_string(),
            megabytes(self.resident_before_bytes),
            megabytes(self.resident_after_bytes),
            (growth / self.executions.max(1)).to_string(),
            short(self.flows_per_second_before),
            short(self.flows_per_second_after),
            short(self.restart_ready_ms),
            megabytes(self.restart_resident_bytes),
        ]
    }
}
