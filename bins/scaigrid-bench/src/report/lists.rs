//! Pages of long lists against the same pages of short ones.

use serde::Serialize;

use super::Load;
use super::table::{millis, short};
use crate::options::Engine;

/// A page of a list, of a tenant that has few of what is listed and of one that has many.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct LongList {
    /// The database.
    pub(crate) database: Engine,
    /// Which list.
    pub(crate) list: String,
    /// How many there are, of few and of many.
    pub(crate) of: [u32; 2],
    /// The median time of a page, likewise, in milliseconds.
    pub(crate) p50_ms: [f64; 2],
    /// The 99th percentile.
    pub(crate) p99_ms: [f64; 2],
    /// How many times as long it takes of many as of few, by the median and the 99th percentile.
    pub(crate) ratio: [f64; 2],
}

impl LongList {
    /// The columns of its table.
    pub(super) const COLUMNS: [&str; 9] = [
        "database",
        "page of a list",
        "few",
        "p50 ms",
        "p99 ms",
        "many",
        "p50 ms",
        "p99 ms",
        "times as long, p50, p99",
    ];

    /// What two loads came to, each with as many as there were to list.
    pub(crate) fn of(database: Engine, list: &str, few: (u32, &Load), many: (u32, &Load)) -> Self {
        let times = |load: &Load| load.latency_ms.first().map_or((0.0, 0.0), |times| (times.p50, times.p99));
        let ((short_p50, short_p99), (long_p50, long_p99)) = (times(few.1), times(many.1));
        let ratio = |long: f64, short: f64| if short > 0.0 { long / short } else { 0.0 };
        Self {
            database,
            list: list.to_owned(),
            of: [few.0, many.0],
            p50_ms: [short_p50, long_p50],
            p99_ms: [short_p99, long_p99],
            ratio: [ratio(long_p50, short_p50), ratio(long_p99, short_p99)],
        }
    }

    /// Its row in the table.
    pub(super) fn row(&self) -> Vec<String> {
        let [by_median, by_p99] = self.ratio.map(short);
        vec![
            self.database.name().to_owned(),
            self.list.clone(),
            self.of[0].to_string(),
            millis(self.p50_ms[0]),
            millis(self.p99_ms[0]),
            self.of[1].to_string(),
            millis(self.p50_ms[1]),
            millis(self.p99_ms[1]),
            format!("{by_median}, {by_p99}"),
        ]
    }
}
