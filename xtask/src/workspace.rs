//! Where the workspace is, what cargo says about it, and how cargo is called.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde::Deserialize;

use crate::process;

/// The workspace as `cargo metadata` describes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    /// The packages of the workspace.
    pub(crate) packages: Vec<Package>,
    /// Where cargo puts what it builds.
    pub(crate) target_directory: PathBuf,
    /// The folder of the workspace.
    pub(crate) workspace_root: PathBuf,
}

/// A package of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// The package's name.
    pub(crate) name: String,
    /// Its `Cargo.toml`.
    pub(crate) manifest_path: PathBuf,
    /// What it says it depends on.
    pub(crate) dependencies: Vec<Dependency>,
}

/// A line of a package's dependencies.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The package that is depended on.
    pub(crate) name: String,
    /// `dev`, `build`, or none for an ordinary dependency.
    pub(crate) kind: Option<String>,
}

impl Metadata {
    /// Asks cargo, without resolving what lies outside the workspace.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let text = process::output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
        serde_json::from_str(&text).context("cargo metadata printed something unknown")
    }

    /// The server's binary of a profile's folder, `debug` or `release`.
    pub(crate) fn binary(&self, profile: &str, name: &str) -> PathBuf {
        self.target_directory.join(profile).join(name)
    }
}

/// The folder of the workspace: the parent of this crate's.
pub(crate) fn root() -> PathBuf {
    // What cargo says when it runs xtask comes first: two clones that share a target folder share the binary too,
    // and the folder that was compiled in may be the other clone's.
    let told =
        std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).filter(|folder| folder.ends_with("xtask"));
    let here = told.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    here.parent().map_or_else(|| here.clone(), Path::to_owned)
}

/// A call of cargo in the workspace's folder.
pub(crate) fn cargo() -> Command {
    // Cargo names itself to what it runs; `cargo` does where xtask was started by hand.
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root());
    // What `cargo run` told xtask about xtask's own package must not reach the builds that xtask starts:
    // build scripts that watch these variables would run again.
    for (name, _) in std::env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}
