//! The stretches of a measurement, and which of them count.
//!
//! Where a machine is shared, its host keeps its processors for others now and then. What is measured in such seconds is the
//! others' doing. So a closed loop is measured in stretches; it goes on while too few of them were calm, and the calmest count.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::Extent;
use crate::probe::Sample;

/// About how long a stretch is, where there are several.
const LENGTH: Duration = Duration::from_secs(1);
/// The share of the processors that the host may keep in a calm stretch.
const CALM: f64 = 0.05;
/// How many times as many stretches as are wanted are waited for, at most.
const PATIENCE: usize = 4;

/// How a measurement is divided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Division {
    /// How long each stretch is.
    pub(super) length: Duration,
    /// How many count.
    wanted: usize,
    /// How many there are at most.
    most: usize,
}

impl Division {
    /// One stretch that counts whatever happens.
    pub(super) fn whole(extent: Extent) -> Self {
        let (Extent::Time { window: length, .. } | Extent::Count { limit: length, .. }) = extent;
        Self { length, wanted: 1, most: 1 }
    }

    /// Stretches of which the calmest count; one for a number of operations, which would be another number otherwise.
    pub(super) fn calm(extent: Extent) -> Self {
        let Extent::Time { window, .. } = extent else { return Self::whole(extent) };
        let wanted =
            u32::try_from(window.as_millis().div_ceil(LENGTH.as_millis())).unwrap_or(u32::MAX).max(1);
        let count = usize::try_from(wanted).unwrap_or(usize::MAX);
        Self { length: window / wanted, wanted: count, most: count.saturating_mul(PATIENCE) }
    }

    /// Whether there is but one stretch, which counts.
    pub(super) fn is_whole(&self) -> bool {
        self.most == 1
    }

    /// Whether no further stretch is needed.
    pub(super) fn is_done(&self, stretches: &[Stretch]) -> bool {
        let calm = stretches.iter().filter(|stretch| stretch.spent.stolen_share() <= CALM).count();
        calm >= self.wanted || stretches.len() >= self.most
    }

    /// What counts, as one: the calmest. None of none.
    pub(super) fn counted(&self, mut stretches: Vec<Stretch>) -> Option<Stretch> {
        stretches.sort_by(|one, other| one.spent.stolen_share().total_cmp(&other.spent.stolen_share()));
        stretches.truncate(self.wanted);
        stretches.into_iter().reduce(Stretch::and)
    }
}

/// What came of a stretch.
#[derive(Debug)]
pub(super) struct Stretch {
    /// How long it was.
    pub(super) seconds: f64,
    /// Operations that ended well in it.
    pub(super) operations: u64,
    /// What it cost.
    pub(super) spent: Sample,
    /// The times of the whole, then of its parts.
    pub(super) recorded: Vec<Histogram<u64>>,
}

impl Stretch {
    fn and(mut self, Self { seconds, operations, spent, recorded }: Self) -> Self {
        self.seconds += seconds;
        self.operations += operations;
        self.spent = self.spent.and(&spent);
        self.add(&recorded);
        self
    }

    /// Adds times that belong to it.
    pub(super) fn add(&mut self, recorded: &[Histogram<u64>]) {
        for (own, other) in self.recorded.iter_mut().zip(recorded) {
            // They have the same bounds, which is all that could be wrong.
            let _ = own.add(other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(operations: u64, stolen: f64) -> Stretch {
        let spent =
            Sample { stolen, available: 1.0, process: 0.5, resident: operations, ..Sample::default() };
        let mut histogram = Histogram::new_with_bounds(1, 1_000, 3).unwrap();
        histogram.record(operations).unwrap();
        Stretch { seconds: 1.0, operations, spent, recorded: vec![histogram] }
    }

    #[test]
    fn it_goes_on_while_too_few_stretches_were_calm_and_the_calmest_count() {
        let extent = Extent::Time { warm_up: Duration::ZERO, window: Duration::from_millis(1_500) };
        let division = Division::calm(extent);
        assert_eq!(division.length, Duration::from_millis(750));
        let mut all = vec![stretch(1, 0.3), stretch(20, 0.02)];
        assert!(!division.is_done(&all));
        all.push(stretch(300, 0.01));
        assert!(division.is_done(&all));
        let counted = division.counted(all).unwrap();
        assert_eq!((counted.operations, counted.recorded[0].len()), (320, 2));
        assert!((counted.seconds - 2.0).abs() < 1e-9 && (counted.spent.process - 1.0).abs() < 1e-9);
        assert!((counted.spent.stolen_share() - 0.015).abs() < 1e-9);
    }

    #[test]
    fn on_a_machine_that_is_never_calm_it_ends_as_well() {
        let extent = Extent::Time { warm_up: Duration::ZERO, window: Duration::from_secs(1) };
        let division = Division::calm(extent);
        let all: Vec<_> =
            (1..=4).map(|number| stretch(number, 0.5 / f64::from(u8::try_from(number).unwrap()))).collect();
        assert!(!division.is_done(&all[..3]) && division.is_done(&all));
        assert_eq!(division.counted(all).unwrap().operations, 4);
    }

    #[test]
    fn a_number_of_operations_is_not_divided() {
        let extent = Extent::Count { operations: 5, limit: Duration::from_mins(1) };
        assert!(Division::calm(extent).is_done(&[stretch(5, 0.9)]));
    }
}
