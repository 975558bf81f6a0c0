//! Many readers of one log: how late they heard of entries, and what they cost.

use serde::Serialize;

use super::table::{megabytes, short};
use crate::options::Engine;

/// Readers of the log of one Core. All of them heard every entry once.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Readers {
    /// The database.
    pub(crate) database: Engine,
    /// How many.
    pub(crate) connections: u32,
    /// Entries that each of them heard.
    pub(crate) entries: u64,
    /// From an entry's own time to its arrival at a reader: the median, the 99th percentile and the longest, in milliseconds.
    pub(crate) since_said_ms: [f64; 3],
    /// The same from the request that had the program say it.
    pub(crate) since_asked_ms: [f64; 3],
    /// Resident memory before there were readers, with all of them, and after they had heard everything, in bytes.
    pub(crate) resident_bytes: [u64; 3],
    /// Processors that the server took while all were connected and nothing was said.
    pub(crate) quiet_processors: f64,
    /// The same while it told them.
    pub(crate) loud_processors: f64,
}

impl Readers {
    /// The columns of its table.
    pub(super) const COLUMNS: [&str; 12] = [
        "database",
        "readers of one log",
        "entries",
        "said→heard p50 ms",
        "p99 ms",
        "max ms",
        "asked→heard p99 ms",
        "rss MB before",
        "with..after",
        "kB a reader",
        "cpus, nothing said",
        "telling",
    ];

    /// Its row in the table.
    pub(super) fn row(&self) -> Vec<String> {
        let [before, with, after] = self.resident_bytes;
        let [p50, p99, longest] = self.since_said_ms.map(short);
        vec![
            self.database.name().to_owned(),
            self.connections.to_string(),
            self.entries.to_string(),
            p50,
            p99,
            longest,
            short(self.since_asked_ms[1]),
            megabytes(before),
            format!("{}..{}", megabytes(with), megabytes(after)),
            short(self.kilobytes_each()),
            short(self.quiet_processors),
            short(self.loud_processors),
        ]
    }

    /// What the server's memory grew by, for each.
    #[expect(clippy::cast_precision_loss, reason = "memory is less than 2^53 bytes")]
    fn kilobytes_each(&self) -> f64 {
        let [before, with, after] = self.resident_bytes;
        with.max(after).saturating_sub(before) as f64 / 1e3 / f64::from(self.connections.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_for_each_reader_at_its_most() {
        let row = Readers {
            database: Engine::Sqlite,
            connections: 1_000,
            entries: 8,
            since_said_ms: [1.0, 2.0, 3.0],
            since_asked_ms: [2.0, 4.0, 6.0],
            resident_bytes: [50_000_000, 60_000_000, 70_000_000],
            quiet_processors: 0.5,
            loud_processors: 1.5,
        };
        assert!((row.kilobytes_each() - 20.0).abs() < 1e-9);
        assert_eq!(row.row().len(), Readers::COLUMNS.len());
    }
}
