//! `cargo xtask conformance`: Schemathesis over the whole `OpenAPI` document, for longer than the tests take for it.
//!
//! What runs is the test `conformance`, against the release build, and told how many examples it may make and by what they are
//! drawn. The same numbers make the same examples.

use std::process::ExitCode;

use anyhow::bail;

use crate::check::run_cargo;
use crate::process::Signals;
use crate::release;
use crate::services::{Durability, Services, schemathesis};
use crate::steps::{Account, Verdict};
use crate::workspace::Metadata;

/// What `cargo xtask conformance` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many examples are made for each operation
    #[arg(long, default_value_t = 20)]
    max_examples: u32,
    /// What the examples are drawn by
    #[arg(long, default_value_t = 8)]
    seed: u32,
    /// Leave PostgreSQL out
    #[arg(long)]
    sqlite_only: bool,
}

/// Builds the server and runs the test on it.
pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<ExitCode> {
    let metadata = Metadata::read()?;
    let environment = match schemathesis::provide(&metadata.target_directory) {
        Ok(folder) => folder,
        Err(reason) => bail!("there is no Schemathesis: {reason}"),
    };
    let mut account = Account::default();
    account.step("build", || release::build(&metadata, signals));
    if account.interrupted() {
        return Ok(account.finish());
    }
    let mut variables = vec![
        (
            "SCAIGRID_TEST_SERVER".to_owned(),
            metadata.binary("release", "scaigrid-server").display().to_string(),
        ),
        (schemathesis::VARIABLE.to_owned(), environment.display().to_string()),
        ("SCAIGRID_CONFORMANCE_EXAMPLES".to_owned(), arguments.max_examples.to_string()),
        ("SCAIGRID_CONFORMANCE_SEED".to_owned(), arguments.seed.to_string()),
        ("RUST_BACKTRACE".to_owned(), "0".to_owned()),
    ];
    let services = if arguments.sqlite_only {
        account.skipped("conformance on PostgreSQL", "--sqlite-only was given");
        None
    } else {
        let services = Services::for_tests(Durability::Fast)?;
        for (name, reason) in services.missing() {
            account.skipped(&format!("conformance with {name}"), reason);
        }
        variables.extend(services.environment());
        Some(services)
    };
    let call = ["test", "--package", "scaigrid-tests", "--test", "all", "conformance", "--", "--nocapture"];
    account.step("conformance", || run_cargo(&call, &variables, signals));
    if let Some(services) = services {
        account.step("services stop", || services.stop().map(|()| Verdict::Passed));
    }
    Ok(account.finish())
}
