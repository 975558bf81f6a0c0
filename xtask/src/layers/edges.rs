//! The dependencies between the crates of the house, held against the rules.

use std::path::{Path, PathBuf};

use super::rules;

/// A package of the workspace.
#[derive(Debug)]
pub(super) struct Member {
    /// The package's name.
    pub(super) name: String,
    /// Its folder below the workspace.
    pub(super) folder: PathBuf,
    /// The packages of the workspace that it names, and whether only its tests do.
    pub(super) edges: Vec<(String, bool)>,
}

/// What breaks a rule: crates without a place, misnamed crates, dependencies that go the wrong way.
pub(super) fn problems(members: &[Member]) -> Vec<String> {
    let mut problems = Vec::new();
    for member in members {
        let folder = member.folder.display();
        if rules::layer(&member.folder).is_none() {
            problems.push(format!("{folder} has no layer: give it a place in xtask/src/layers/rules.rs"));
            continue;
        }
        if let Some(name) = expected_name(&member.folder)
            && name != member.name
        {
            problems.push(format!("the package in {folder} is called {}, not {name}", member.name));
        }
        for (name, dev) in &member.edges {
            let Some(target) = members.iter().find(|member| member.name == *name) else { continue };
            // A place that is missing is reported once, for the crate itself.
            if rules::layer(&target.folder).is_some() && !rules::allowed(&member.folder, &target.folder, *dev)
            {
                let kind = if *dev { " (in its tests)" } else { "" };
                problems.push(format!("{folder} may not depend on {}{kind}", target.folder.display()));
            }
        }
    }
    problems
}

/// What a package must be called, for its folder: `crates/ir` is `scaigrid-ir`, `bins/x` is `x`.
fn expected_name(folder: &Path) -> Option<String> {
    let last = folder.file_name()?.to_str()?;
    match folder.parent()?.to_str()? {
        "crates" => Some(format!("scaigrid-{last}")),
        "bins" => Some(last.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(folder: &str, edges: &[&str]) -> Member {
        Member {
            name: expected_name(Path::new(folder)).unwrap_or_else(|| folder.to_owned()),
            folder: folder.into(),
            edges: edges.iter().map(|name| ((*name).to_owned(), false)).collect(),
        }
    }

    #[test]
    fn a_house_in_order_has_no_problems() {
        let members = [
            member("crates/scope", &[]),
            member("crates/cores", &["scaigrid-scope"]),
            member("crates/persistence", &["scaigrid-cores"]),
            member("crates/app", &["scaigrid-persistence", "scaigrid-cores"]),
            member("crates/http", &["scaigrid-app", "scaigrid-scope"]),
            member("bins/scaigrid-server", &["scaigrid-http", "scaigrid-persistence"]),
            member("xtask", &[]),
        ];
        assert_eq!(problems(&members), Vec::<String>::new());
    }

    #[test]
    fn an_edge_up_is_named() {
        let members = [member("crates/cores", &["scaigrid-bus"]), member("crates/bus", &[])];
        assert_eq!(problems(&members), ["crates/cores may not depend on crates/bus"]);
    }

    #[test]
    fn a_crate_that_nobody_declared_is_refused() {
        let members = [member("crates/misc", &[]), member("crates/app", &["scaigrid-misc"])];
        let problems = problems(&members);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("crates/misc has no layer"), "{problems:?}");
    }

    #[test]
    fn a_crate_is_called_like_its_folder() {
        let members = [Member { name: "core".to_owned(), folder: "crates/cores".into(), edges: Vec::new() }];
        assert_eq!(problems(&members), ["the package in crates/cores is called core, not scaigrid-cores"]);
    }
}
