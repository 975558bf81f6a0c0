//! `cargo xtask bench`: builds the server as it is installed and the load generator, and runs the generator.
//!
//! The generator is a program of its own, `scaigrid-bench`. It finds the server in `SCAIGRID_TEST_SERVER` and the
//! services as the tests do; PostgreSQL keeps its promises about durability here, since that is what is measured.

use std::process::{Command, ExitCode};

use crate::process::{self, Signals};
use crate::release;
use crate::services::{Durability, Services, valgrind};
use crate::steps::Verdict;
use crate::workspace::Metadata;

/// Where the instructions of the last release are written down.
const INSTRUCTIONS: &str = "bins/scaigrid-bench/instructions.json";

/// What `cargo xtask bench` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Leave PostgreSQL and Redis out
    #[arg(long)]
    sqlite_only: bool,
    /// Count the instructions of hot paths on valgrind instead, and fail where they are more than those of the last release
    #[arg(long)]
    instructions: bool,
    /// Write them down as those of this release
    #[arg(long, requires = "instructions")]
    write: bool,
    /// Arguments for the load generator
    #[arg(last = true)]
    generator: Vec<String>,
}

/// Builds and runs the load generator; its exit status is the answer.
pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<ExitCode> {
    let metadata = Metadata::read()?;
    // Instructions are as many wherever functions stand.
    let build = if arguments.instructions { release::programs } else { release::provide };
    if build(&metadata, signals)? != Verdict::Passed {
        return Ok(ExitCode::FAILURE);
    }
    let mut command = Command::new(metadata.binary("release", "scaigrid-bench"));
    command.env("SCAIGRID_TEST_SERVER", metadata.binary("release", "scaigrid-server"));
    if arguments.instructions {
        valgrind::provide().map_err(anyhow::Error::msg)?;
        command.args(["instructions", "--file"]).arg(metadata.workspace_root.join(INSTRUCTIONS));
        command.args(arguments.write.then_some("--write")).args(&arguments.generator);
        let outcome = process::run(&mut command, signals)?;
        return Ok(if outcome.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    command.args(&arguments.generator);
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
