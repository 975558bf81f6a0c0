//! A mixed load that goes on for long: whether the last quarter of it is like the first.

use serde::Serialize;

use super::table::short;
use crate::options::Engine;

/// A load that went on for so many minutes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Soak {
    /// The database.
    pub(crate) database: Engine,
    /// Seconds between two looks.
    pub(crate) period_seconds: f64,
    /// What was due, and how much of it in a second.
    pub(crate) paces: Vec<(&'static str, f64)>,
    /// What was seen at each look.
    pub(crate) looks: Vec<Look>,
}

/// What is seen at the end of a minute.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Look {
    /// Resident memory of the server in bytes.
    pub(crate) resident_bytes: u64,
    /// Files and connections that it has open.
    pub(crate) descriptors: u64,
    /// Processors that it used in that minute.
    pub(crate) processors: f64,
    /// How large what it keeps is.
    pub(crate) kept: Kept,
    /// What was done in that minute.
    pub(crate) stretches: Vec<Stretch>,
}

/// How large what a server keeps is.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Kept {
    /// The database, in bytes.
    pub(crate) database_bytes: u64,
    /// The objects beside it, in bytes.
    pub(crate) object_bytes: u64,
    /// The rows of journals.
    pub(crate) journal_rows: u64,
}

/// What was done of one kind.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Stretch {
    /// The kind.
    pub(crate) name: &'static str,
    /// How often.
    pub(crate) operations: u64,
    /// How long it took from the instants that it was due at: the median, in milliseconds.
    pub(crate) p50_ms: f64,
    /// The 99th percentile.
    pub(crate) p99_ms: f64,
    /// The longest.
    pub(crate) max_ms: f64,
}

impl Soak {
    /// The columns of its table.
    pub(super) const COLUMNS: [&str; 7] =
        ["database", "mixed load", "looks", "first quarter", "last quarter", "ratio", "least..greatest"];

    /// Its rows in the table: for each figure its mean in the first and in the last quarter.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        self.figures()
            .into_iter()
            .enumerate()
            .filter_map(|(number, (name, figures))| {
                let quarter = figures.len().div_ceil(4);
                let first = mean(figures.get(..quarter)?)?;
                let last = mean(figures.get(figures.len() - quarter..)?)?;
                let lowest = figures.iter().copied().fold(f64::INFINITY, f64::min);
                let greatest = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let ratio = if first > 0.0 { format!("{:.2}", last / first) } else { String::new() };
                Some(vec![
                    if number == 0 { self.database.name().to_owned() } else { String::new() },
                    name,
                    figures.len().to_string(),
                    short(first),
                    short(last),
                    ratio,
                    format!("{}..{}", short(lowest), short(greatest)),
                ])
            })
            .collect()
    }

    /// Every figure, look by look. Of what only grows it is told by how much in a minute, too.
    fn figures(&self) -> Vec<(String, Vec<f64>)> {
        let each =
            |name: &str, of: &dyn Fn(&Look) -> f64| (name.to_owned(), self.looks.iter().map(of).collect());
        let growth = |name: &str, of: &dyn Fn(&Look) -> f64| {
            let minutes = self.period_seconds / 60.0;
            let pairs = self.looks.iter().zip(self.looks.iter().skip(1));
            (name.to_owned(), pairs.map(|(before, after)| (of(after) - of(before)) / minutes).collect())
        };
        let database = |look: &Look| megabytes(look.kept.database_bytes);
        let objects = |look: &Look| megabytes(look.kept.object_bytes);
        let journal = |look: &Look| thousands(look.kept.journal_rows);
        let mut figures: Vec<(String, Vec<f64>)> = vec![
            each("resident memory, MB", &|look| megabytes(look.resident_bytes)),
            each("open files", &|look| thousands(look.descriptors) * 1e3),
            each("processors", &|look| look.processors),
            each("database, MB", &database),
            growth("database, MB a minute", &database),
            each("objects, MB", &objects),
            each("rows of journals, thousands", &journal),
            growth("rows of journals, thousands a minute", &journal),
        ];
        let names = self.looks.first().map(|look| look.stretches.iter().map(|stretch| stretch.name));
        for (number, name) in names.into_iter().flatten().enumerate() {
            let of = |value: fn(&Stretch) -> f64| {
                move |look: &Look| look.stretches.get(number).map(value).unwrap_or_default()
            };
            figures.push(each(&format!("{name}, p50 ms"), &of(|stretch| stretch.p50_ms)));
            figures.push(each(&format!("{name}, p99 ms"), &of(|stretch| stretch.p99_ms)));
        }
        figures
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody keeps 2^53 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[expect(clippy::cast_precision_loss, reason = "nobody keeps 2^53 rows")]
fn thousands(count: u64) -> f64 {
    count as f64 / 1e3
}

/// Nothing of nothing.
#[expect(clippy::cast_precision_loss, reason = "as many as there are minutes")]
fn mean(figures: &[f64]) -> Option<f64> {
    (!figures.is_empty()).then(|| figures.iter().sum::<f64>() / figures.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(number: u32) -> Look {
        let kept = Kept { database_bytes: u64::from(number) << 20, object_bytes: 0, journal_rows: 1_000 };
        let stretch = Stretch { name: "flow", operations: 9, p50_ms: 2.0, p99_ms: 4.0, max_ms: 8.0 };
        Look { resident_bytes: 50 << 20, descriptors: 30, processors: 0.5, kept, stretches: vec![stretch] }
    }

    #[test]
    fn the_last_quarter_is_compared_with_the_first() {
        let looks = (1..=8).map(look).collect();
        let soak = Soak { database: Engine::Sqlite, period_seconds: 30.0, paces: Vec::new(), looks };
        let rows = soak.rows();
        let row = |name: &str| rows.iter().find(|row| row[1] == name).unwrap()[2..].join(" ");
        assert_eq!(row("resident memory, MB"), "8 50.0 50.0 1.00 50.0..50.0");
        assert_eq!(row("open files"), "8 30.0 30.0 1.00 30.0..30.0");
        // The means of 1 and 2, and of 7 and 8; each half minute one more.
        assert_eq!(row("database, MB"), "8 1.50 7.50 5.00 1.00..8.00");
        assert_eq!(row("database, MB a minute"), "7 2.00 2.00 1.00 2.00..2.00");
        assert_eq!(row("objects, MB"), "8 0.00 0.00  0.00..0.00");
        assert_eq!(row("flow, p99 ms"), "8 4.00 4.00 1.00 4.00..4.00");
        assert!(rows.iter().all(|row| row.len() == Soak::COLUMNS.len()));
    }

    #[test]
    fn a_run_that_was_ended_at_once_tells_nothing() {
        let soak =
            Soak { database: Engine::Sqlite, period_seconds: 60.0, paces: Vec::new(), looks: Vec::new() };
        assert!(soak.rows().is_empty());
    }
}
