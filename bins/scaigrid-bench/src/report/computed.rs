//! What was computed in the generator's own process, in several ways that are compared.

use std::time::Duration;

use serde::Serialize;

use super::Report;
use super::table::short;

/// One way of computing something, in the generator's own process.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Computed {
    /// What.
    pub(crate) task: String,
    /// Who.
    pub(crate) by: &'static str,
    /// Expressions evaluated in a run.
    pub(crate) expressions: u64,
    /// Processor time of each run, in ascending order, in milliseconds.
    pub(crate) run_ms: Vec<f64>,
    /// Expressions per second of processor time, by the median run.
    pub(crate) per_second: f64,
    /// How many times as fast as each other one that was measured with it.
    pub(crate) against: Vec<(&'static str, f64)>,
}

impl Computed {
    /// The columns of its table.
    pub(super) const COLUMNS: [&str; 7] = [
        "computed",
        "by",
        "expressions/s",
        "ns each",
        "ms a run (median)",
        "fastest..slowest",
        "times as fast as",
    ];

    /// What the runs came to.
    pub(crate) fn of(task: &str, by: &'static str, expressions: u64, runs: Vec<Duration>) -> Self {
        let mut run_ms: Vec<f64> = runs.into_iter().map(|run| run.as_secs_f64() * 1e3).collect();
        run_ms.sort_by(f64::total_cmp);
        let median = run_ms.get(run_ms.len() / 2).copied().unwrap_or(f64::INFINITY);
        #[expect(clippy::cast_precision_loss, reason = "no run has 2^53 expressions")]
        let per_second = expressions as f64 * 1e3 / median.max(1e-6);
        Self { task: task.to_owned(), by, expressions, run_ms, per_second, against: Vec::new() }
    }

    /// Its row in the table.
    pub(super) fn row(&self) -> Vec<String> {
        let at = |index: usize| self.run_ms.get(index).copied().unwrap_or_default();
        let last = self.run_ms.len().saturating_sub(1);
        let against: Vec<_> = self.against.iter().map(|(by, ratio)| format!("{by} {ratio:.2}")).collect();
        vec![
            self.task.clone(),
            self.by.to_owned(),
            short(self.per_second),
            short(1e9 / self.per_second.max(1e-6)),
            short(at(self.run_ms.len() / 2)),
            format!("{}..{}", short(at(0)), short(at(last))),
            against.join(", "),
        ]
    }
}

impl Report {
    /// Keeps what was computed in several ways, each compared with the others.
    pub(crate) fn keep_computed(&mut self, computed: Vec<Computed>) {
        let all: Vec<_> = computed.iter().map(|one| (one.by, one.per_second)).collect();
        self.computed.extend(computed.into_iter().map(|mut one| {
            let others = all.iter().filter(|(by, _)| *by != one.by);
            one.against =
                others.map(|&(by, per_second)| (by, one.per_second / per_second.max(1e-6))).collect();
            one
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_run_counts_and_each_is_compared_with_the_others() {
        let runs = |millis: [u64; 3]| millis.map(Duration::from_millis).to_vec();
        let mut report = Report::default();
        report.keep_computed(vec![
            Computed::of("program", "one", 1_000, runs([50, 5, 10])),
            Computed::of("program", "other", 1_000, runs([20, 20, 20])),
        ]);
        let [one, other] = report.computed.as_slice() else { panic!("{report:?}") };
        assert!((one.per_second - 100_000.0).abs() < 1e-6 && one.run_ms[0] < one.run_ms[2]);
        assert!(matches!(one.against.as_slice(), [("other", ratio)] if (ratio - 2.0).abs() < 1e-9));
        assert!(matches!(other.against.as_slice(), [("one", ratio)] if (ratio - 0.5).abs() < 1e-9));
        let table = report.table();
        assert!(table.lines().nth(1).unwrap().ends_with("other 2.00"), "{table}");
    }
}
