//! Turns: who changes the same thing on one node does so one after the other.
//!
//! That what was read is still so is proved by each write, on every node. Taking turns only spares those who would be refused
//! by it the second attempt, of which there would be as many as there are of them.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};

use tokio::sync::Mutex;

/// Whoever shares a place waits without need, which many places make rare.
const PLACES: usize = 512;

/// Where to wait for one's turn: a place for each thing, which a few things share.
pub(crate) struct Turns {
    places: Box<[Mutex<()>]>,
    hasher: RandomState,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self { places: (0..PLACES).map(|_| Mutex::new(())).collect(), hasher: RandomState::new() }
    }

    /// The place of a thing.
    pub(crate) fn of(&self, thing: &impl Hash) -> &Mutex<()> {
        let hash = self.hasher.hash_one(thing);
        &self.places[usize::try_from(hash % PLACES as u64).unwrap_or_default()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_has_one_place_and_different_things_mostly_different_ones() {
        let turns = Turns::new();
        let place = |thing: u32| std::ptr::from_ref(turns.of(&thing));
        assert_eq!(place(7), place(7));
        let places: std::collections::BTreeSet<_> = (0..100).map(place).collect();
        assert!(places.len() > 50, "{}", places.len());
    }
}
