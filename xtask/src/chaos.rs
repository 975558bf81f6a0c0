//! `cargo xtask chaos`: faults of all kinds under load, and a model that what came of it is held against.
//!
//! The runs are the tests in `tests/tests/all/chaos`, of which `cargo xtask test` has a short form. Here they have as many faults as
//! are wanted, and a PostgreSQL of their own, durable, with a replica where that can be made, which may crash and be lost.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::check::run_cargo;
use crate::process::Signals;
use crate::services::{Durability, Services, fake_time, postgres_programs, s3};
use crate::steps::{Account, Verdict};
use crate::test::{build, has_nextest};
use crate::workspace::Metadata;

/// What `cargo xtask chaos` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What the faults are drawn from; the time where none is given
    #[arg(long)]
    seed: Option<u64>,
    /// How many faults a run has
    #[arg(long, default_value_t = 20)]
    faults: u32,
    /// Only faults of these kinds, by the names that reports have for them, with commas in between
    #[arg(long, value_delimiter = ',')]
    kinds: Vec<String>,
    /// How many runs each database has, each with the seed after that of the one before
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Leave PostgreSQL and Redis out
    #[arg(long)]
    sqlite_only: bool,
}

/// Builds, runs, and writes `chaos.json` into the target folder.
pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<ExitCode> {
    let metadata = Metadata::read()?;
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?,
    };
    let mut account = Account::default();
    let mut built = false;
    account.step("build", || {
        let verdict = run_cargo(&build(), &[], signals)?;
        built = verdict == Verdict::Passed;
        Ok(verdict)
    });
    if !built {
        return Ok(account.finish());
    }
    let (mut object_server, mut postgres) = (String::new(), String::new());
    let services = if arguments.sqlite_only {
        account.skipped("faults on PostgreSQL", "--sqlite-only was given");
        None
    } else {
        let services = Services::private(Durability::Durable)?;
        for (name, reason) in services.missing() {
            account.skipped(&format!("faults with {name}"), reason);
        }
        // Where there is none, it was looked for with the services and has been named.
        postgres = postgres_programs().map(|folder| folder.display().to_string()).unwrap_or_default();
        match s3::provide(&metadata.target_directory) {
            Ok(program) => object_server = program.display().to_string(),
            Err(reason) => account.skipped("faults with an S3 server", &reason),
        }
        Some(services)
    };
    let fake_time = fake_time::provide().map(|library| library.display().to_string());
    let fake_time = fake_time.unwrap_or_else(|reason| {
        account.skipped("clocks that are set", &reason);
        String::new()
    });
    let folder = tempfile::tempdir()?;
    let lines = folder.path().join("runs.jsonl");
    let told = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    for round in 0..arguments.rounds {
        let seed = seed.wrapping_add(round.into());
        let mut environment = vec![
            told("SCAIGRID_TEST_SERVER", &metadata.binary("debug", "scaigrid-server").display().to_string()),
            // What xtask was started with is somebody else's.
            told("SCAIGRID_TEST_POSTGRES_URL", ""),
            told("SCAIGRID_TEST_REDIS_URL", ""),
            told(s3::VARIABLE, &object_server),
            told("SCAIGRID_CHAOS_POSTGRES", &postgres),
            told(fake_time::VARIABLE, &fake_time),
            told("SCAIGRID_CHAOS_PRIVATE", "1"),
            told("SCAIGRID_CHAOS_SEED", &seed.to_string()),
            told("SCAIGRID_CHAOS_FAULTS", &arguments.faults.to_string()),
            told("SCAIGRID_CHAOS_KINDS", &arguments.kinds.join(",")),
            told("SCAIGRID_CHAOS_REPORT", &lines.display().to_string()),
            told("RUST_BACKTRACE", "0"),
        ];
        environment.extend(services.iter().flat_map(Services::environment));
        account.step(&format!("faults drawn from {seed}"), || run_cargo(&tests(), &environment, signals));
    }
    if let Some(services) = services {
        account.step("services stop", || services.stop().map(|()| Verdict::Passed));
    }
    account.step("report", || report(&lines, &metadata.target_directory.join("chaos.json")));
    Ok(account.finish())
}

/// The call that runs these tests alone, one after the other, and shows what they print.
fn tests() -> Vec<&'static str> {
    let chosen = "package(scaigrid-tests) & test(/^chaos::/)";
    if has_nextest() {
        vec!["nextest", "run", "--workspace", "--no-fail-fast", "--no-capture", "-E", chosen]
    } else {
        let chosen = ["--test", "all", "chaos::", "--", "--nocapture", "--test-threads", "1"];
        [&["test", "--workspace", "--no-fail-fast"][..], &chosen].concat()
    }
}

/// Puts together what the runs have told.
fn report(lines: &Path, file: &Path) -> anyhow::Result<Verdict> {
    let lines = fs::read_to_string(lines).context("no run has told anything")?;
    let runs: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let sum = |of: fn(&Value) -> u64| runs.iter().map(of).sum::<u64>();
    let faults = sum(|run| {
        run["faults"].as_object().into_iter().flat_map(|kinds| kinds.values()).filter_map(Value::as_u64).sum()
    });
    let executions = sum(|run| run["executions"].as_u64().unwrap_or_default());
    let violations = sum(|run| run["violations"].as_array().map_or(0, |all| all.len() as u64));
    let report = json!({"faults": faults, "executions": executions, "violations": violations, "runs": runs});
    fs::write(file, serde_json::to_vec_pretty(&report)?)?;
    eprintln!("{faults} faults, {executions} executions, {violations} violations: {}", file.display());
    Ok(if violations == 0 { Verdict::Passed } else { Verdict::Failed })
}
