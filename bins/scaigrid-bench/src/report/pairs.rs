//! Two ways of doing the same, measured in turns: what the one costs beside the other, and how far that may be believed.

use serde::Serialize;

use super::Load;
use super::table::{millis, short};
use crate::options::Engine;

/// Figures of several runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// The one in the middle; of an even number the mean of the two.
    pub(crate) median: f64,
    /// The least.
    pub(crate) least: f64,
    /// The greatest.
    pub(crate) greatest: f64,
}

impl Spread {
    fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut all: Vec<f64> = figures.into_iter().collect();
        all.sort_by(f64::total_cmp);
        let at = |index: usize| all.get(index).copied().unwrap_or_default();
        let last = all.len().saturating_sub(1);
        Self { median: f64::midpoint(at(last / 2), at(all.len() / 2)), least: at(0), greatest: at(last) }
    }

    fn text(self, unit: impl Fn(f64) -> String) -> [String; 2] {
        [unit(self.median), format!("{}..{}", unit(self.least), unit(self.greatest))]
    }
}

/// Two ways, and their runs, of which each of the one has one of the other right beside it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Paired {
    /// The database.
    pub(crate) database: Engine,
    /// The one whose cost is asked for.
    pub(crate) scenario: String,
    /// What it is compared with.
    pub(crate) against: String,
    /// Clients, each waiting for each answer.
    pub(crate) clients: usize,
    /// Operations per second of the one.
    pub(crate) per_second: Spread,
    /// Operations per second of the other.
    pub(crate) against_per_second: Spread,
    /// What of the other's operations per second the one comes to, pair by pair.
    pub(crate) ratio: Spread,
    /// How many times the other's processor time the server spends on an operation, pair by pair.
    pub(crate) processor_ratio: Spread,
    /// The median time of the one, in milliseconds.
    pub(crate) p50_ms: Spread,
    /// The median time of the other, likewise.
    pub(crate) against_p50_ms: Spread,
    /// All runs, in pairs: the one, the other.
    pub(crate) runs: Vec<[Load; 2]>,
}

impl Paired {
    /// The columns of its table.
    pub(super) const COLUMNS: [&str; 13] = [
        "database",
        "in turns",
        "clients",
        "pairs",
        "ops/s (median)",
        "the other's",
        "ratio (median)",
        "least..greatest",
        "cpu ratio (median)",
        "least..greatest",
        "p50 ms (median)",
        "least..greatest",
        "the other's",
    ];

    /// What the runs came to; none where there is no pair.
    pub(crate) fn of(database: Engine, runs: Vec<[Load; 2]>) -> Option<Self> {
        let [first, other] = runs.first()?;
        let (scenario, against, clients) = (first.scenario.clone(), other.scenario.clone(), first.clients);
        let p50 = |load: &Load| load.latency_ms.first().map_or(0.0, |times| times.p50);
        Some(Self {
            database,
            scenario,
            against,
            clients,
            per_second: Spread::of(runs.iter().map(|[own, _]| own.per_second)),
            against_per_second: Spread::of(runs.iter().map(|[_, other]| other.per_second)),
            ratio: Spread::of(runs.iter().map(|[own, other]| own.compared_with(other).per_second)),
            processor_ratio: Spread::of(runs.iter().filter_map(processor_ratio)),
            p50_ms: Spread::of(runs.iter().map(|[own, _]| p50(own))),
            against_p50_ms: Spread::of(runs.iter().map(|[_, other]| p50(other))),
            runs,
        })
    }

    /// Operations that failed, in all runs.
    pub(super) fn errors(&self) -> u64 {
        self.runs.iter().flatten().map(|load| load.errors).sum()
    }

    /// Its row in the table.
    pub(super) fn row(&self) -> Vec<String> {
        let [ratio, ratios] = self.ratio.text(|ratio| format!("{ratio:.3}"));
        let [processor, processors] = self.processor_ratio.text(|ratio| format!("{ratio:.2}"));
        let [p50, p50s] = self.p50_ms.text(millis);
        vec![
            self.database.name().to_owned(),
            format!("{} : {}", self.scenario, self.against),
            self.clients.to_string(),
            self.runs.len().to_string(),
            short(self.per_second.median),
            short(self.against_per_second.median),
            ratio,
            ratios,
            processor,
            processors,
            p50,
            p50s,
            millis(self.against_p50_ms.median),
        ]
    }
}

/// Nothing where the other was too short to be seen in the kernel's hundredths of a second.
fn processor_ratio([own, other]: &[Load; 2]) -> Option<f64> {
    let (own, other) = (own.processor_us.process, other.processor_us.process);
    (other > 0.0).then(|| own / other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::load::sample;

    #[test]
    fn every_run_is_compared_with_the_one_beside_it() {
        let pair = |own, other| [sample(own, 1.0), sample(other, 1.0)];
        let paired = Paired::of(Engine::Sqlite, vec![pair(50, 100), pair(100, 100), pair(75, 100)]).unwrap();
        assert!((paired.ratio.median - 0.75).abs() < 1e-9 && (paired.ratio.least - 0.5).abs() < 1e-9);
        // Both took a second of the processor, the one for half as many operations.
        assert!((paired.processor_ratio.greatest - 2.0).abs() < 1e-9);
        assert_eq!(paired.row().len(), Paired::COLUMNS.len());
    }

    #[test]
    fn a_spread_has_its_middle_between_its_ends() {
        let near = |own: f64, other: f64| (own - other).abs() < 1e-9;
        let odd = Spread::of([3.0, 1.0, 2.0]);
        assert!(near(odd.median, 2.0) && near(odd.least, 1.0) && near(odd.greatest, 3.0));
        assert!(near(Spread::of([4.0, 1.0]).median, 2.5));
        assert!(near(Spread::of([]).median, 0.0));
    }
}
