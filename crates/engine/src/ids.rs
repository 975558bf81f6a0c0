//! New identifiers: ULIDs that ascend within a process, so that a list in the order of ids is one in the order of time.

use std::sync::Mutex;

use scaigrid_scope::Instant;
use ulid::Ulid;

/// A source of ULIDs.
#[derive(Debug, Default)]
pub struct Ids(Mutex<u128>);

/// The random bits below the 48 bits of milliseconds.
const RANDOM_BITS: u32 = 80;

impl Ids {
    /// A source that has drawn nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Draws the next one. When the clock stands or steps back, ids go on from the last one all the same.
    pub fn draw(&self, now: Instant) -> Ulid {
        let fresh = Ulid::from_parts(now.unix_millis(), rand::random::<u128>() >> (128 - RANDOM_BITS)).0;
        // A thread that panicked while it held the lock left a number behind, and any number will do.
        let mut last = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *last = if fresh > *last { fresh } else { last.saturating_add(1) };
        Ulid(*last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_ascend_though_the_clock_does_not() {
        let ids = Ids::new();
        let times = [5_000_000, 5_000_000, 4_000_000, 4_000_001, 6_000_000];
        let drawn: Vec<Ulid> = times.map(|micros| ids.draw(Instant::from_micros(micros))).to_vec();
        assert!(drawn.is_sorted_by(|a, b| a < b), "{drawn:?}");
        assert_eq!(drawn[4].timestamp_ms(), 6_000);
    }
}
