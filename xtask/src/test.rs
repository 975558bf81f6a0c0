//! `cargo xtask test`: the whole proof, from formatting to the tests on both databases.
//!
//! The workspace is built once for the tests, so that the server that the black-box tests start comes from the same build. Lints are
//! a second build, since they keep other artefacts.

use std::process::{Command, ExitCode, Stdio};

use crate::check::{self, run_cargo};
use crate::docs;
use crate::process::{self, Signals};
use crate::services::{Durability, Services, mail, mcp, openai_clients, provider, s3, schemathesis};
use crate::steps::{Account, Verdict};
use crate::workspace::{self, Metadata};

/// What `cargo xtask test` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Leave PostgreSQL and Redis out; what needs them is named as skipped
    #[arg(long)]
    sqlite_only: bool,
    /// Run the tests only, without format check, layers and lints
    #[arg(long)]
    tests_only: bool,
    /// Arguments for `cargo nextest run` (or for `cargo test` where nextest is not installed)
    #[arg(last = true)]
    runner: Vec<String>,
}

/// Runs everything and prints what ran and what was skipped.
pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<ExitCode> {
    let metadata = Metadata::read()?;
    let mut account = Account::default();
    if !arguments.tests_only {
        check::steps(&mut account, signals);
    }
    account.step("build", || run_cargo(&build(), &[], signals));
    if account.interrupted() {
        return Ok(account.finish());
    }

    let server = metadata.binary("debug", "scaigrid-server");
    let mut environment = vec![("SCAIGRID_TEST_SERVER".to_owned(), server.display().to_string())];
    let services = if arguments.sqlite_only {
        for name in ["tests on PostgreSQL", "tests with Redis"] {
            account.skipped(name, "--sqlite-only was given");
        }
        None
    } else {
        let services = Services::for_tests(Durability::Fast)?;
        for (name, reason) in services.missing() {
            account.skipped(&format!("tests with {name}"), reason);
        }
        environment.extend(services.environment());
        Some(services)
    };

    match provider::provide(&metadata.target_directory) {
        Ok(folder) => environment.push((provider::VARIABLE.to_owned(), folder.display().to_string())),
        Err(reason) => account.skipped("tests with an OpenID provider", &reason),
    }
    match mcp::provide(&metadata.target_directory) {
        Ok(folder) => environment.push((mcp::VARIABLE.to_owned(), folder.display().to_string())),
        Err(reason) => account.skipped("tests with an MCP server", &reason),
    }
    match mail::provide(&metadata.target_directory) {
        Ok(folder) => environment.push((mail::VARIABLE.to_owned(), folder.display().to_string())),
        Err(reason) => account.skipped("tests with a mail server", &reason),
    }
    match s3::provide(&metadata.target_directory) {
        Ok(program) => environment.push((s3::VARIABLE.to_owned(), program.display().to_string())),
        Err(reason) => account.skipped("tests with an S3 server", &reason),
    }

    match schemathesis::provide(&metadata.target_directory) {
        Ok(folder) => environment.push((schemathesis::VARIABLE.to_owned(), folder.display().to_string())),
        Err(reason) => account.skipped("the test with Schemathesis", &reason),
    }

    for (name, variable, client) in openai_clients::provide(&metadata.target_directory) {
        match client {
            Ok(place) => environment.push((variable.to_owned(), place.display().to_string())),
            Err(reason) => account.skipped(&format!("tests with {name}"), &reason),
        }
    }

    // A failed test says where it failed; pages of stack below bury what it said.
    environment.push(("RUST_BACKTRACE".to_owned(), "0".to_owned()));

    account.step("openapi", || docs::openapi(&server, docs::Mode::Check));
    let (nextest, tests) = (has_nextest(), tests());
    let runner: Vec<&str> = arguments.runner.iter().map(String::as_str).collect();
    if nextest {
        let at_once = at_once().to_string();
        let beside = ["--test-threads", &at_once];
        let beside = if runner.iter().any(|argument| is_threads(argument)) { &[] } else { &beside[..] };
        let call = [tests, &["--workspace", "--no-fail-fast"], beside, runner.as_slice()].concat();
        account.step("tests", || run_cargo(&call, &environment, signals));
        account.step("examples in the documentation", || {
            run_cargo(&["test", "--workspace", "--doc", "--quiet"], &environment, signals)
        });
    } else {
        let call = [tests, &["--workspace", "--no-fail-fast"], runner.as_slice()].concat();
        account.step("tests", || run_cargo(&call, &environment, signals));
    }
    if let Some(services) = services {
        account.step("services stop", || services.stop().map(|()| Verdict::Passed));
    }
    Ok(account.finish())
}

/// How cargo is told to run tests, by what there is.
fn tests() -> &'static [&'static str] {
    if has_nextest() { &["nextest", "run"] } else { &["test"] }
}

/// The call that builds what the tests are, and the server that they start: cargo builds a package's program for its tests in
/// `tests/`, of which the server has some. `cargo build` would have the edge, which has macros of its own, built twice: what it makes of a
/// library of macros is another thing to cargo than what the tests of that library belong to.
pub(crate) fn build() -> Vec<&'static str> {
    [tests(), &["--workspace", "--no-run"]].concat()
}

/// Tests that run side by side: two for each processor, since many of them wait most of the time, for servers and for time to pass.
fn at_once() -> usize {
    2 * std::thread::available_parallelism().map_or(1, usize::from)
}

fn is_threads(argument: &str) -> bool {
    ["-j", "--jobs", "--test-threads"].iter().any(|name| argument.starts_with(name))
}

/// Whether `cargo nextest` is there.
pub(crate) fn has_nextest() -> bool {
    // Asked quietly: cargo complains at length about a subcommand that is not there.
    let mut command = Command::new(workspace::cargo().get_program());
    command.args(["nextest", "--version"]).current_dir(workspace::root()).stderr(Stdio::null());
    process::output(&mut command).is_ok()
}
