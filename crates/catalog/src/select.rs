//! In which order the backends of a model are asked.

use crate::model::Mapping;

/// The backends in the order in which they are asked: by priority, and within one by lot, a backend of twice the weight
/// being first twice as often. `draw` gives numbers from 0 to below its argument.
pub fn order(mut mappings: Vec<Mapping>, mut draw: impl FnMut(u32) -> u32) -> Vec<Mapping> {
    mappings.sort_by_key(|mapping| mapping.priority);
    let mut ordered = Vec::with_capacity(mappings.len());
    while let Some(priority) = mappings.first().map(|first| first.priority) {
        let same = mappings.iter().take_while(|mapping| mapping.priority == priority).count();
        let mut turn: Vec<Mapping> = mappings.drain(..same).collect();
        while !turn.is_empty() {
            let all: u32 = turn.iter().map(|mapping| u32::from(mapping.weight.get())).sum();
            let mut lot = draw(all);
            let taken = turn.iter().position(|mapping| {
                let weight = u32::from(mapping.weight.get());
                let here = lot < weight;
                lot = lot.saturating_sub(weight);
                here
            });
            ordered.push(turn.remove(taken.unwrap_or(0)));
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use scaigrid_scope::BackendId;
    use ulid::Ulid;

    use super::*;
    use crate::{Priority, Weight};

    fn mapping(n: u128, priority: i64, weight: i64) -> Mapping {
        Mapping {
            backend_id: BackendId::from_ulid(Ulid(n)),
            priority: Priority::new(priority).unwrap(),
            weight: Weight::new(weight).unwrap(),
        }
    }

    fn ids(mappings: &[Mapping]) -> Vec<u128> {
        mappings.iter().map(|mapping| mapping.backend_id.ulid().0).collect()
    }

    #[test]
    fn the_lowest_priority_is_first_whatever_the_weights() {
        let all = vec![mapping(1, 5, 1000), mapping(2, 1, 1), mapping(3, 9, 1)];
        assert_eq!(ids(&order(all, |_| 0)), [2, 1, 3]);
    }

    #[test]
    fn within_a_priority_the_weight_decides_how_often() {
        let first = |lot: u32| {
            let mut lots = [lot, 0, 0].into_iter();
            ids(&order(vec![mapping(1, 1, 1), mapping(2, 1, 3)], |_| lots.next().unwrap()))[0]
        };
        let times = (0..4).filter(|lot| first(*lot) == 2).count();
        assert_eq!(times, 3);
        let all = order(vec![mapping(1, 1, 1), mapping(2, 1, 3), mapping(3, 1, 2)], |most| most - 1);
        let mut found = ids(&all);
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3], "none is lost");
    }
}
