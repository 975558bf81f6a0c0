//! Pages of a very long log, and how much of which indexes they cost.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Load;
use super::table::{millis, short};
use crate::options::Engine;

/// A page.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Walk {
    /// The database.
    pub(crate) database: Engine,
    /// Which page.
    pub(crate) page: String,
    /// How many records there are.
    pub(crate) records: u32,
    /// The median time, in milliseconds.
    pub(crate) p50_ms: f64,
    /// The 99th percentile.
    pub(crate) p99_ms: f64,
    /// How many entries of which indexes a page costs; nothing where the database does not count them.
    pub(crate) entries: BTreeMap<String, f64>,
}

impl Walk {
    /// The columns of its table.
    pub(super) const COLUMNS: [&str; 6] =
        ["database", "page of the administration", "audit records", "p50 ms", "p99 ms", "entries of indexes"];

    /// What a load came to, between two counts of the entries that were read.
    pub(crate) fn of(
        database: Engine,
        page: &str,
        records: u32,
        load: &Load,
        (before, after): (&BTreeMap<String, i64>, &BTreeMap<String, i64>),
    ) -> Self {
        let (p50_ms, p99_ms) = load.latency_ms.first().map_or((0.0, 0.0), |times| (times.p50, times.p99));
        #[expect(clippy::cast_precision_loss, reason = "nobody reads 2^53 entries")]
        let each = |entries: i64| entries as f64 / load.operations.max(1) as f64;
        let entries = after.iter().filter_map(|(index, count)| {
            let more = count - before.get(index).copied().unwrap_or_default();
            (more > 0).then(|| (index.clone(), each(more)))
        });
        Self { database, page: page.to_owned(), records, p50_ms, p99_ms, entries: entries.collect() }
    }

    /// Its row in the table.
    pub(super) fn row(&self) -> Vec<String> {
        let entries = self.entries.iter().map(|(index, each)| format!("{index} {}", short(*each)));
        vec![
            self.database.name().to_owned(),
            self.page.clone(),
            self.records.to_string(),
            millis(self.p50_ms),
            millis(self.p99_ms),
            entries.collect::<Vec<_>>().join(", "),
        ]
    }
}
