//! The architecture document held against the tree: it names every crate, and none that is gone.

use std::collections::BTreeSet;

use super::edges::Member;

/// What the document leaves out or still names.
///
/// A crate is named by its folder (`crates/ir`) or by its package (`scaigrid-ir`).
pub(super) fn problems(text: &str, members: &[Member]) -> Vec<String> {
    let words = words(text);
    let folders: BTreeSet<String> =
        members.iter().map(|member| member.folder.display().to_string()).collect();
    let names: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let mut problems = Vec::new();
    for member in members {
        let folder = member.folder.display().to_string();
        if !words.contains(folder.as_str()) && !words.contains(member.name.as_str()) {
            problems.push(format!("docs/architecture.md does not name {folder}"));
        }
    }
    for word in words {
        let room = word.starts_with("crates/") || word.starts_with("bins/");
        if (room && !folders.contains(word)) || (word.starts_with("scaigrid-") && !names.contains(word)) {
            problems.push(format!("docs/architecture.md names {word}, which is not there"));
        }
    }
    problems
}

/// The words that may name a crate: `crates/<name>`, `bins/<name>`, and words of letters and hyphens.
fn words(text: &str) -> BTreeSet<&str> {
    let part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '/' | '.');
    let mut words = BTreeSet::new();
    for word in text.split(|letter| !part(letter)) {
        let word = word.trim_matches(['.', '/', '-']);
        let mut parts = word.split('/');
        match (parts.next(), parts.next()) {
            // A path into a crate names the crate: `crates/ir/src/lib.rs`.
            (Some(room @ ("crates" | "bins")), Some(name)) if !name.is_empty() => {
                words.insert(&word[..room.len() + 1 + name.len()]);
            }
            (Some(first), _) if !first.contains('.') => {
                words.insert(first);
            }
            _ => {}
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Vec<Member> {
        [("scaigrid-ir", "crates/ir"), ("scaigrid-server", "bins/scaigrid-server"), ("xtask", "xtask")]
            .map(|(name, folder)| Member { name: name.to_owned(), folder: folder.into(), edges: Vec::new() })
            .into()
    }

    #[test]
    fn a_crate_is_named_by_folder_or_package_or_a_path_into_it() {
        for text in [
            "`crates/ir`, `bins/scaigrid-server/`, xtask.",
            "scaigrid-ir; scaigrid-server reads scaigrid.toml; see xtask/src/main.rs",
            "[ir](../crates/ir/src/lib.rs) scaigrid-server xtask",
        ] {
            assert_eq!(
                problems(text.replace("../", "").as_str(), &members()),
                Vec::<String>::new(),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_missing_and_what_is_gone_are_named() {
        let found = problems("crates/ir crates/queue scaigrid-server scaigrid-mail", &members());
        assert_eq!(
            found,
            [
                "docs/architecture.md does not name xtask",
                "docs/architecture.md names crates/queue, which is not there",
                "docs/architecture.md names scaigrid-mail, which is not there",
            ]
        );
    }
}
