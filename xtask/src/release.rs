//! `cargo xtask release`: the server's program as it is installed.
//!
//! It is built with optimisation, watched on valgrind while it starts and does what it does most, and linked once more with the
//! functions that it ran beside each other (`docs/decisions/0050-functions-in-order.md`). Measurements take the same program.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, ensure};

use crate::check::run_cargo;
use crate::process::{self, Signals};
use crate::services::{Durability, Services, valgrind};
use crate::steps::Verdict;
use crate::workspace::Metadata;

/// What `cargo xtask release` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Watch the server on SQLite only
    #[arg(long)]
    sqlite_only: bool,
}

const SERVER: &str = "scaigrid-server";
const GENERATOR: &str = "scaigrid-bench";
/// The variable that names the file of functions to the server's build script.
const VARIABLE: &str = "SCAIGRID_FUNCTIONS";
/// What the linker that can order functions leaves in a program.
const LINKER: &[u8] = b"Linker: LLD";

/// Builds, watches and links.
pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<ExitCode> {
    let metadata = Metadata::read()?;
    if build(&metadata, signals)? != Verdict::Passed
        || order(&metadata, arguments.sqlite_only, signals)? != Verdict::Passed
    {
        return Ok(ExitCode::FAILURE);
    }
    println!("{}", metadata.binary("release", SERVER).display());
    Ok(ExitCode::SUCCESS)
}

/// The same for whoever needs the program and not the newest order: one that was found before is taken.
pub(crate) fn provide(metadata: &Metadata, signals: &Signals) -> anyhow::Result<Verdict> {
    match build(metadata, signals)? {
        Verdict::Passed if !functions(metadata).exists() => order(metadata, false, signals),
        verdict => Ok(verdict),
    }
}

/// Builds the server and the load generator, the server in the order that was found last, if one was.
///
/// Both at once: by itself, either would have libraries built with other features, and once more. What was written since an order was
/// found stands behind it.
pub(crate) fn build(metadata: &Metadata, signals: &Signals) -> anyhow::Result<Verdict> {
    let file = functions(metadata);
    let order = file.exists().then(|| (VARIABLE.to_owned(), file.display().to_string()));
    let build = ["build", "--release", "--package", SERVER, "--package", GENERATOR];
    run_cargo(&build, order.as_slice(), signals)
}

/// Finds the order of the program that is there, and links it with that.
fn order(metadata: &Metadata, sqlite_only: bool, signals: &Signals) -> anyhow::Result<Verdict> {
    if let Err(reason) = possible(metadata)? {
        eprintln!("skipped: the order of functions ({reason})");
        return Ok(Verdict::Passed);
    }
    let file = functions(metadata);
    let mut command = Command::new(metadata.binary("release", GENERATOR));
    command.arg("functions").arg("--scratch").arg(&metadata.target_directory).arg("--file").arg(&file);
    command.arg("--server").arg(metadata.binary("release", SERVER));
    let services = if sqlite_only { None } else { Some(Services::private(Durability::Fast)?) };
    command.envs(services.iter().flat_map(Services::environment));
    let outcome = process::run(&mut command, signals)?;
    if let Some(services) = services {
        services.stop()?;
    }
    ensure!(outcome.success(), "it was not found out which functions the server runs");
    build(metadata, signals)
}

/// Whether functions can be put in order here. If not, the reason.
fn possible(metadata: &Metadata) -> anyhow::Result<Result<(), String>> {
    let program = metadata.binary("release", SERVER);
    let program = fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    if !program.windows(LINKER.len()).any(|bytes| bytes == LINKER) {
        return Ok(Err("the linker of this platform is not LLD".to_owned()));
    }
    Ok(valgrind::provide())
}

/// Where the names of the functions are, beside the program.
fn functions(metadata: &Metadata) -> PathBuf {
    metadata.target_directory.join("release").join("functions.txt")
}
