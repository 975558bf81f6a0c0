//! `cargo xtask admin`: the server's own administration, from a checkout.
//!
//! The tasks are in the server's program; this builds it and runs `scaigrid-server admin` with the same arguments, so
//! that there is one grammar and one code path, and this crate still builds in seconds.

use std::process::{Command, ExitCode};

use crate::check::run_cargo;
use crate::process::{self, Outcome, Signals};
use crate::steps::Verdict;
use crate::workspace::Metadata;

/// What `cargo xtask admin` takes.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// What `scaigrid-server admin` takes
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds the server and has it do the task; its exit code is the answer.
pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<ExitCode> {
    let metadata = Metadata::read()?;
    if run_cargo(&["build", "--quiet", "--package", "scaigrid-server"], &[], signals)? != Verdict::Passed {
        return Ok(ExitCode::FAILURE);
    }
    let mut command = Command::new(metadata.binary("debug", "scaigrid-server"));
    command.arg("admin").args(&arguments.arguments);
    // Documents and secrets may come from standard input.
    Ok(match process::run_interactively(&mut command, signals)? {
        Outcome::Exited(status) => {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            code.map_or(ExitCode::FAILURE, ExitCode::from)
        }
        Outcome::Interrupted => ExitCode::FAILURE,
    })
}
