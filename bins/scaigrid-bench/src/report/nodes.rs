//! How late sleeping executions woke, and how soon others went on with what a killed node had.

use serde::Serialize;

use super::table::{megabytes, short};
use crate::options::Engine;

/// Many executions that sleep, and what those waited that woke one after the other.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sleeping {
    /// The database.
    pub(crate) database: Engine,
    /// How many slept.
    pub(crate) executions: u64,
    /// How many of them woke.
    pub(crate) woken: u64,
    /// How many were to wake in a second.
    pub(crate) due_per_second: u32,
    /// How many did, from the first that was due to the last that ended.
    pub(crate) woken_per_second: f64,
    /// From the instant that each was due at to its end: the median, the 99th percentile and the longest, in milliseconds.
    pub(crate) late_ms: [f64; 3],
    /// Resident memory before they were begun, with all of them asleep, and after those had woken, in bytes.
    pub(crate) resident_bytes: [u64; 3],
    /// Processor time of the server for each that woke, in microseconds.
    pub(crate) processor_us: f64,
}

impl Sleeping {
    /// The columns of its table.
    pub(super) const COLUMNS: [&str; 11] = [
        "database",
        "asleep",
        "woken",
        "due/s",
        "woken/s",
        "late p50 ms",
        "p99 ms",
        "max ms",
        "cpu us each",
        "rss MB before",
        "asleep..after",
    ];

    /// Its row in the table.
    pub(super) fn row(&self) -> Vec<String> {
        let [before, asleep, after] = self.resident_bytes.map(megabytes);
        let [p50, p99, longest] = self.late_ms.map(short);
        vec![
            self.database.name().to_owned(),
            self.executions.to_string(),
            self.woken.to_string(),
            self.due_per_second.to_string(),
            short(self.woken_per_second),
            p50,
            p99,
            longest,
            short(self.processor_us),
            before,
            format!("{asleep}..{after}"),
        ]
    }
}

/// Kills of a node, and when others had gone on with what it had.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Takeover {
    /// The database.
    pub(crate) database: Engine,
    /// How many executions it had each time.
    pub(crate) executions: u32,
    /// From each kill to the end of the first of them, in ascending order, in milliseconds.
    pub(crate) first_ms: Vec<f64>,
    /// From each kill to the end of the last of them, likewise.
    pub(crate) last_ms: Vec<f64>,
}

impl Takeover {
    /// The columns of its table.
    pub(super) const COLUMNS: [&str; 6] =
        ["database", "kills", "executions each", "first ms (median)", "last ms (median)", "slowest"];

    /// Its row in the table.
    pub(super) fn row(&self) -> Vec<String> {
        let median = |times: &[f64]| times.get(times.len() / 2).copied().unwrap_or_default();
        vec![
            self.database.name().to_owned(),
            self.last_ms.len().to_string(),
            self.executions.to_string(),
            short(median(&self.first_ms)),
            short(median(&self.last_ms)),
            short(self.last_ms.last().copied().unwrap_or_default()),
        ]
    }
}
