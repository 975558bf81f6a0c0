//! `cargo xtask release`: the server's program as it is installed.
//!
//! It is built with optimisation, watched on valgrind while it starts and does what it does most, and linked once more with the
//! functions that it ran beside each other (`docs/decisions/0050-functions-together.md`). Measurements take the same program.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context as _;

use crate::check::{run_cargo, verdict};
use crate::process::{self, Signals};
use crate::services::{Durability, POSTGRES_VARIABLE, Services, valgrind};
use crate::steps::Verdict;
use crate::workspace::{self, Metadata};

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
/// What the linker that can put functions beside each other leaves in a program.
const LINKER: &[u8] = b"Linker: LLD";

/// Builds, watches and links.
pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<ExitCode> {
    let metadata = Metadata::read()?;
    if programs(&metadata, signals)? != Verdict::Passed
        || arrange(&metadata, arguments.sqlite_only, signals)? != Verdict::Passed
    {
        return Ok(ExitCode::FAILURE);
    }
    println!("{}", metadata.binary("release", SERVER).display());
    Ok(ExitCode::SUCCESS)
}

/// The server as it is installed, for whoever measures it, and the load generator. Functions that were found with the same compiler
/// and libraries are not looked for again.
pub(crate) fn provide(metadata: &Metadata, signals: &Signals) -> anyhow::Result<Verdict> {
    match programs(metadata, signals)? {
        Verdict::Passed if found(metadata)?.is_none() => arrange(metadata, false, signals),
        verdict => Ok(verdict),
    }
}

/// Builds the server, arranged by the functions that were found last, if they belong to this compiler and these libraries.
pub(crate) fn build(metadata: &Metadata, signals: &Signals) -> anyhow::Result<Verdict> {
    let arguments = ["build", "--release", "--package", SERVER];
    let Some(file) = found(metadata)? else { return run_cargo(&arguments, &[], signals) };
    let built = run_cargo(&arguments, &[(VARIABLE.to_owned(), file.display().to_string())], signals)?;
    if built != Verdict::Failed {
        return Ok(built);
    }
    // It may be for the linker, which is another now and knows no such option.
    eprintln!("once more, without {}", file.display());
    fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    run_cargo(&arguments, &[], signals)
}

/// Builds the server, and the load generator, which watches it too.
///
/// One after the other: built together, the server would have libraries with features that only the generator wants.
pub(crate) fn programs(metadata: &Metadata, signals: &Signals) -> anyhow::Result<Verdict> {
    match build(metadata, signals)? {
        Verdict::Passed => run_cargo(&["build", "--release", "--package", GENERATOR], &[], signals),
        verdict => Ok(verdict),
    }
}

/// Watches the server that is there, and links it anew. Where that cannot be, it says why and leaves the server as it is.
fn arrange(metadata: &Metadata, sqlite_only: bool, signals: &Signals) -> anyhow::Result<Verdict> {
    if let Err(reason) = possible(metadata)? {
        eprintln!("skipped: functions beside each other ({reason})");
        return Ok(Verdict::Passed);
    }
    let names = folder(metadata).join("functions.new");
    let mut command = Command::new(metadata.binary("release", GENERATOR));
    command.arg("functions").arg("--scratch").arg(&metadata.target_directory).arg("--file").arg(&names);
    command.arg("--server").arg(metadata.binary("release", SERVER));
    // A database that the environment names is somebody else's.
    command.env_remove(POSTGRES_VARIABLE);
    let services = if sqlite_only { None } else { services() };
    command.envs(services.iter().flat_map(Services::environment));
    let watched = verdict(process::run(&mut command, signals)?);
    if let Some(services) = services {
        services.stop()?;
    }
    match watched {
        Verdict::Passed => {}
        Verdict::Failed => {
            eprintln!("skipped: functions beside each other (the server could not be watched, see above)");
            return Ok(Verdict::Passed);
        }
        verdict => return Ok(verdict),
    }
    let text = fs::read_to_string(&names).with_context(|| format!("cannot read {}", names.display()))?;
    fs::write(&names, format!("{}\n{text}", stamp()?))?;
    fs::rename(&names, file(metadata)).context("cannot keep the names of the functions")?;
    build(metadata, signals)
}

/// A PostgreSQL of our own. What the server runs with one is missed where there is none.
fn services() -> Option<Services> {
    let services = Services::private(Durability::Fast);
    let missing = match &services {
        Ok(services) => services
            .missing()
            .iter()
            .find(|(name, _)| *name == "PostgreSQL")
            .map(|(_, reason)| (*reason).to_owned()),
        Err(error) => Some(format!("{error:#}")),
    };
    if let Some(reason) = missing {
        eprintln!("skipped: functions that are run with PostgreSQL ({reason})");
    }
    services.ok()
}

/// Whether functions can be put beside each other here. If not, the reason.
fn possible(metadata: &Metadata) -> anyhow::Result<Result<(), String>> {
    let program = metadata.binary("release", SERVER);
    let program = fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    if !program.windows(LINKER.len()).any(|bytes| bytes == LINKER) {
        return Ok(Err("the server was linked by another linker than LLD".to_owned()));
    }
    Ok(valgrind::provide())
}

/// The functions that were found last, if they are of this compiler and these libraries: with others, they have other names.
fn found(metadata: &Metadata) -> anyhow::Result<Option<PathBuf>> {
    let file = file(metadata);
    let stamp = stamp()?;
    let kept = fs::read_to_string(&file).unwrap_or_default();
    Ok((kept.lines().next() == Some(stamp.as_str())).then_some(file))
}

/// The first line of the file, which is a comment to the linker.
fn stamp() -> anyhow::Result<String> {
    let compiler = process::output(Command::new("rustc").arg("--version").current_dir(workspace::root()))?;
    let mut libraries = DefaultHasher::new();
    fs::read(workspace::root().join("Cargo.lock")).context("cannot read Cargo.lock")?.hash(&mut libraries);
    Ok(format!("# {}, Cargo.lock {:016x}", compiler.trim(), libraries.finish()))
}

fn file(metadata: &Metadata) -> PathBuf {
    folder(metadata).join("functions.txt")
}

fn folder(metadata: &Metadata) -> PathBuf {
    metadata.target_directory.join("release")
}
