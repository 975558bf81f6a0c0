//! `cargo xtask layers`: the dependency rules of the house, checked against what cargo says.
//!
//! The rules themselves are in [`rules`]; this module gathers the facts and prints what breaks a rule. It checks
//! crates, not modules: what happens inside a crate is left to its reviewers and to clippy.

mod book;
mod edges;
mod reach;
mod rules;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;

use crate::check::run_cargo;
use crate::process::{self, Signals};
use crate::steps::{Account, Verdict};
use crate::workspace::{self, Metadata, cargo};
use edges::Member;
use rules::Layer;

/// The lints of the domain crates.
const DOMAIN_CLIPPY: &str = include_str!("domain-clippy.toml");
/// The target that has no files, sockets or clock.
const BARE_TARGET: &str = "wasm32-unknown-unknown";

/// What `cargo xtask layers` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Copy the domain crates' clippy.toml where it is missing or differs, before checking
    #[arg(long)]
    write: bool,
}

/// Checks the rules and prints what breaks them.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.write {
        let metadata = Metadata::read()?;
        for folder in domain_folders(&members(&metadata)) {
            let file = workspace::root().join(folder).join("clippy.toml");
            fs::write(&file, DOMAIN_CLIPPY).with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    Ok(if hold()? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether every rule holds; what does not is printed.
pub(crate) fn hold() -> anyhow::Result<bool> {
    let metadata = Metadata::read()?;
    let members = members(&metadata);
    let mut problems = edges::problems(&members);
    problems.extend(strangers(&members)?);
    for folder in domain_folders(&members) {
        let package = package_of(&members, &folder);
        problems.extend(reach::problems(package, &tree(package, "normal,no-proc-macro", "all")?));
        let lints =
            fs::read_to_string(workspace::root().join(&folder).join("clippy.toml")).unwrap_or_default();
        if lints != DOMAIN_CLIPPY {
            problems.push(format!(
                "{}/clippy.toml is not that of the domain crates: run `cargo xtask layers --write`",
                folder.display()
            ));
        }
    }
    let book = workspace::root().join("docs/architecture.md");
    match fs::read_to_string(&book) {
        Ok(text) => problems.extend(book::problems(&text, &members)),
        Err(error) => problems.push(format!("docs/architecture.md cannot be read: {error}")),
    }
    for problem in &problems {
        eprintln!("layers: {problem}");
    }
    Ok(problems.is_empty())
}

/// Compiles the domain crates for a target without an operating system, and notes which could not be tried.
pub(crate) fn portability(account: &mut Account, signals: &Signals) {
    let step = format!("domain crates compile for {BARE_TARGET}");
    if !has_bare_target() {
        account.skipped(&step, &format!("the target is not installed (rustup target add {BARE_TARGET})"));
        return;
    }
    // A crate that brings C code needs a compiler that knows the target, which the usual cc does not.
    let mut without_c_compiler = Vec::new();
    account.step(&step, || {
        let members = members(&Metadata::read()?);
        let mut packages = Vec::new();
        for folder in domain_folders(&members) {
            let package = package_of(&members, &folder).to_owned();
            if process::find_program("clang").is_some()
                || !reach::brings_c(&tree(&package, "normal,build,no-proc-macro", BARE_TARGET)?)
            {
                packages.push(package);
            } else {
                without_c_compiler.push(package);
            }
        }
        let mut arguments = vec!["check", "--target", BARE_TARGET];
        for package in &packages {
            arguments.extend(["--package", package]);
        }
        if packages.is_empty() { Ok(Verdict::Passed) } else { run_cargo(&arguments, &[], signals) }
    });
    for package in without_c_compiler {
        let step = format!("{package} compiles for {BARE_TARGET}");
        account.skipped(&step, "it brings C code, and clang is not installed");
    }
}

/// The packages of the workspace as the rules see them.
fn members(metadata: &Metadata) -> Vec<Member> {
    let known = |name: &str| metadata.packages.iter().any(|package| package.name == name);
    metadata
        .packages
        .iter()
        .map(|package| Member {
            name: package.name.clone(),
            folder: package
                .manifest_path
                .parent()
                .and_then(|folder| folder.strip_prefix(&metadata.workspace_root).ok())
                .map(Path::to_owned)
                .unwrap_or_default(),
            edges: package
                .dependencies
                .iter()
                .filter(|dependency| known(&dependency.name))
                .map(|dependency| (dependency.name.clone(), dependency.kind.as_deref() == Some("dev")))
                .collect(),
        })
        .collect()
}

fn domain_folders(members: &[Member]) -> Vec<PathBuf> {
    let domain = members.iter().filter(|member| rules::layer(&member.folder) == Some(Layer::Domain));
    domain.map(|member| member.folder.clone()).collect()
}

fn package_of<'a>(members: &'a [Member], folder: &Path) -> &'a str {
    members.iter().find(|member| member.folder == folder).map_or("", |member| member.name.as_str())
}

/// Folders beside the crates that are none.
fn strangers(members: &[Member]) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for room in ["crates", "bins"] {
        let Ok(entries) = fs::read_dir(workspace::root().join(room)) else { continue };
        for entry in entries {
            let entry = entry?;
            let folder = Path::new(room).join(entry.file_name());
            if entry.file_type()?.is_dir() && !members.iter().any(|member| member.folder == folder) {
                problems.push(format!("{} is no crate of the workspace", folder.display()));
            }
        }
    }
    Ok(problems)
}

/// What a package is built from on a target (or on `all`), over certain kinds of dependencies.
fn tree(package: &str, edges: &str, target: &str) -> anyhow::Result<String> {
    let arguments = ["tree", "--package", package, "--prefix", "depth", "--edges", edges, "--target", target];
    process::output(cargo().args(arguments))
}

fn has_bare_target() -> bool {
    let mut ask = Command::new("rustc");
    ask.args(["--print", "target-libdir", "--target", BARE_TARGET]).current_dir(workspace::root());
    process::output(&mut ask).is_ok_and(|folder| Path::new(folder.trim()).is_dir())
}
