//! What a domain crate is built from, read from `cargo tree --prefix depth`, and the way to what it must not reach.
//!
//! `cargo metadata` cannot answer this: it unites the features that all crates of the workspace ask for, so that a
//! dependency which only the server switches on would seem to belong to the domain.

use super::rules;

/// The ways from `package` to crates of the outside world, shortest mention of each.
pub(super) fn problems(package: &str, tree: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut reached = Vec::new();
    let mut way: Vec<&str> = Vec::new();
    for line in tree.lines() {
        let Some((depth, name)) = parse(line) else { continue };
        way.truncate(depth);
        way.push(name);
        if rules::outside(name) && !reached.contains(&name) {
            reached.push(name);
            problems.push(format!("{package} must not reach {name}, and does: {}", way.join(" → ")));
        }
    }
    problems
}

/// Whether a tree with build dependencies compiles C code.
pub(super) fn brings_c(tree: &str) -> bool {
    tree.lines().filter_map(parse).any(|(_, name)| name == "cc")
}

/// `2serde_core v1.0.229 (*)` is depth 2 and name `serde_core`.
fn parse(line: &str) -> Option<(usize, &str)> {
    let digits = line.find(|letter: char| !letter.is_ascii_digit())?;
    let (depth, rest) = line.split_at(digits);
    Some((depth.parse().ok()?, rest.split_whitespace().next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_forbidden_crate_is_told() {
        let tree = "0scaigrid-scope v0.1.0 (/x)\n1serde v1.0.0\n1ulid v3.0.0\n2rand v0.10.3\n3rand_core v0.10.1\n\
                    2serde v1.0.0 (*)\n1uuid v1.0.0\n2getrandom v0.4.3\n";
        assert_eq!(
            problems("scaigrid-scope", tree),
            [
                "scaigrid-scope must not reach rand, and does: scaigrid-scope → ulid → rand",
                "scaigrid-scope must not reach getrandom, and does: scaigrid-scope → uuid → getrandom",
            ]
        );
    }

    #[test]
    fn c_code_is_known_by_its_compiler() {
        assert!(brings_c("0scaigrid-ir v0.1.0\n1zstd v0.14.0\n2zstd-sys v3.0.0\n3cc v1.2.0\n"));
        assert!(!brings_c("0scaigrid-scope v0.1.0\n1web-time v1.0.0\n2js-sys v0.3.0\n"));
    }

    #[test]
    fn a_pure_tree_has_no_problems() {
        assert!(
            problems("scaigrid-ir", "0scaigrid-ir v0.1.0\n1serde v1.0.0\n2serde_core v1.0.0\n").is_empty()
        );
    }
}
