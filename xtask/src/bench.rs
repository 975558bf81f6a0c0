//! `cargo xtask bench`: builds the release server and the load generator, and runs the generator.
//!
//! The generator is a program of its own, `scaigrid-bench`. It finds the server in `SCAIGRID_TEST_SERVER` and the
//! services as the tests do; PostgreSQL keeps its promises about durability here, since that is what is measured.

use std::process::{Command, ExitCode};

use crate::check::run_cargo;
use crate::process::{self, Signals};
use crate::services::{Durability, Services};
use crate::steps::Verdict;
use crate::workspace::Metadata;

/// What `cargo xtask bench` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Leave PostgreSQL and Redis out
    #[arg(long)]
    sqlite_only: bool,
    /// Arguments for the load generator
    #[arg(last = true)]
    generator: Vec<String>,
}

/// Builds and runs the load generator; its exit status is the answer.
pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<ExitCode> {
    let metadata = Metadata::read()?;
    let build = ["build", "--release", "--package", "scaigrid-server", "--package", "scaigrid-bench"];
    if run_cargo(&build, &[], signals)? != Verdict::Passed {
        return Ok(ExitCode::FAILURE);
    }
    let mut command = Command::new(metadata.binary("release", "scaigrid-bench"));
    command.args(&arguments.generator);
    command.env("SCAIGRID_TEST_SERVER", metadata.binary("release", "scaigrid-server"));
    let services = if arguments.sqlite_only {
        eprintln!("skipped: measurements on PostgreSQL and with Redis (--sqlite-only was given)");
        None
    } else {
        let services = Services::for_tests(Durability::Durable)?;
        for (name, reason) in services.missing() {
            eprintln!("skipped: measurements with {name} ({reason})");
        }
        command.envs(services.environment());
        Some(services)
    };
    let outcome = process::run(&mut command, signals)?;
    if let Some(services) = services {
        services.stop()?;
    }
    Ok(if outcome.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
