//! Circles in graphs of names.

use std::collections::{BTreeMap, BTreeSet};

/// The edges that lead back to a node from which they can be reached: one at least for each circle, as the node
/// and the edge's index there. Edges to names that are no nodes lead nowhere. Without recursion, since a
/// program may chain any number of names.
pub(crate) fn back_edges<'g>(edges: &BTreeMap<&'g str, Vec<&'g str>>) -> Vec<(&'g str, usize)> {
    let mut found = Vec::new();
    let mut finished: BTreeSet<&str> = BTreeSet::new();
    for start in edges.keys() {
        if finished.contains(start) {
            continue;
        }
        let mut path: Vec<(&'g str, usize)> = vec![(*start, 0)];
        let mut on_path = BTreeSet::from([*start]);
        while let Some((node, next)) = path.last_mut() {
            let Some(to) = edges.get(node).and_then(|own| own.get(*next)).copied() else {
                on_path.remove(node);
                finished.insert(*node);
                path.pop();
                continue;
            };
            *next += 1;
            if on_path.contains(to) {
                found.push((*node, *next - 1));
            } else if edges.contains_key(to) && !finished.contains(to) {
                on_path.insert(to);
                path.push((to, 0));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found_once_and_chains_are_none() {
        let graph = BTreeMap::from([
            ("a", vec!["b", "c"]),
            ("b", vec!["c"]),
            ("c", vec!["a", "x"]),
            ("d", vec!["d"]),
        ]);
        assert_eq!(back_edges(&graph), [("c", 0), ("d", 0)]);
        let names: Vec<String> = (0..200_000).map(|n| format!("n{n:06}")).collect();
        let chain = names.windows(2).map(|pair| (pair[0].as_str(), vec![pair[1].as_str()])).collect();
        assert_eq!(back_edges(&chain), []);
    }
}
