//! Chance that can be repeated.

use std::time::{SystemTime, UNIX_EPOCH};

/// `SplitMix64`: small, and the same everywhere.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The dice of a seed.
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed, and its dice: the seed that a variable names, else the time. It is printed, so that the run can be repeated.
    pub fn seeded_by(variable: &str) -> (u64, Self) {
        let given = std::env::var(variable).ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| {
            u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
        });
        println!("{variable}={seed}");
        (seed, Self::of(seed))
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    /// A place among so many.
    pub fn place(&mut self, among: usize) -> usize {
        usize::try_from(self.roll(u64::try_from(among).unwrap())).unwrap()
    }
}
