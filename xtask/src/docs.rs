//! `cargo xtask docs`: the Rust documentation, and `docs/openapi.json` as the server prints it.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context as _;

use crate::check::run_cargo;
use crate::process::{self, Signals};
use crate::steps::{Account, Verdict};
use crate::workspace::{self, Metadata};

/// What `cargo xtask docs` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Change nothing; fail if docs/openapi.json is not what the server prints
    #[arg(long)]
    check: bool,
}

/// Whether a generated file is written or only compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Write it.
    Write,
    /// Fail if it would change.
    Check,
}

/// Builds the documentation and the server, then takes the OpenAPI document from the server.
pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<ExitCode> {
    let metadata = Metadata::read()?;
    let mode = if arguments.check { Mode::Check } else { Mode::Write };
    let mut account = Account::default();
    account.step("rust documentation", || run_cargo(&["doc", "--workspace", "--no-deps"], &[], signals));
    account.step("server", || run_cargo(&["build", "--package", "scaigrid-server"], &[], signals));
    account.step("openapi", || openapi(&metadata.binary("debug", "scaigrid-server"), mode));
    Ok(account.finish())
}

/// Compares or replaces `docs/openapi.json` with what `scaigrid-server openapi` prints.
pub(crate) fn openapi(server: &Path, mode: Mode) -> anyhow::Result<Verdict> {
    let printed = process::output(Command::new(server).arg("openapi"))?;
    serde_json::from_str::<serde_json::Value>(&printed).context("the server printed no JSON")?;
    let file = workspace::root().join("docs/openapi.json");
    keep(&file, &printed, mode)
}

fn keep(file: &Path, text: &str, mode: Mode) -> anyhow::Result<Verdict> {
    let present = fs::read_to_string(file).unwrap_or_default();
    if present == text {
        return Ok(Verdict::Passed);
    }
    match mode {
        Mode::Check => {
            eprintln!("{} is not what the routes say: run `make docs`", file.display());
            Ok(Verdict::Failed)
        }
        Mode::Write => {
            fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
            eprintln!("wrote {}", file.display());
            Ok(Verdict::Passed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_changes_nothing_and_a_write_makes_the_check_pass() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("openapi.json");
        assert_eq!(keep(&file, "{}\n", Mode::Check).unwrap(), Verdict::Failed);
        assert!(!file.exists());
        assert_eq!(keep(&file, "{}\n", Mode::Write).unwrap(), Verdict::Passed);
        assert_eq!(keep(&file, "{}\n", Mode::Check).unwrap(), Verdict::Passed);
        assert_eq!(keep(&file, "{ }\n", Mode::Check).unwrap(), Verdict::Failed);
    }
}
