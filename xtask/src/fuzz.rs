//! `cargo xtask fuzz`: the fuzz targets, each in a process of its own, guided by what they reach.
//!
//! The targets are `fuzz/fuzz_targets`, what they look at stands in `crates/runtime/tests/fuzz/properties.rs`. They are built
//! by the compiler that builds everything else: the instrumentation is asked of LLVM by flags, and libFuzzer comes as source
//! with its crate, for which a C++ compiler is needed and nothing else.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};

use crate::check::verdict;
use crate::process::{self, Signals};
use crate::steps::{Account, Verdict};
use crate::workspace::{self, Metadata, cargo};

/// The targets.
const TARGETS: [&str; 6] = ["bundle", "expression", "verifier", "program", "machine", "journal"];

/// What the compiler adds so that libFuzzer sees which edges a run takes and what is compared.
const INSTRUMENTATION: &str = "--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 \
     -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
     -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// The longest input, in bytes.
const LONGEST: u32 = 64 * 1024;
/// The longest that one input may take, in seconds; the most memory that a target may take, in MiB.
const TIMEOUT: u32 = 10;
const MEMORY: u32 = 1024;

/// What `cargo xtask fuzz` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// The targets; all where none is named
    #[arg(value_parser = TARGETS)]
    targets: Vec<String>,
}

/// Builds the targets and runs them one after the other. What is found is kept in `fuzz/artifacts`, what was reached in
/// `fuzz/corpus`.
pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<ExitCode> {
    let folder = workspace::root().join("fuzz");
    let target_directory = Metadata::read()?.target_directory.join("fuzz");
    let mut account = Account::default();
    account.step("seeds", || {
        let mut command = cargo();
        command.args(["test", "--quiet", "--package", "scaigrid-runtime", "--test", "fuzz", "every_target"]);
        command.env("SCAIGRID_FUZZ_SEEDS", folder.join("corpus"));
        Ok(verdict(process::run(&mut command, signals)?))
    });
    let host = host()?;
    let mut built = false;
    account.step("build", || {
        let mut command = cargo();
        command.current_dir(&folder);
        // With a named target the flags reach no build script.
        command.args(["build", "--release", "--target", &host, "--target-dir"]).arg(&target_directory);
        command.env("RUSTFLAGS", INSTRUMENTATION);
        let outcome = verdict(process::run(&mut command, signals)?);
        built = outcome == Verdict::Passed;
        Ok(outcome)
    });
    if !built {
        return Ok(account.finish());
    }
    let binaries: PathBuf = target_directory.join(&host).join("release");
    let all: Vec<String> = TARGETS.iter().map(|&name| name.to_owned()).collect();
    let wanted = if arguments.targets.is_empty() { &all } else { &arguments.targets };
    for name in wanted {
        account.step(name, || {
            let (corpus, artifacts) = (folder.join("corpus").join(name), folder.join("artifacts").join(name));
            std::fs::create_dir_all(&artifacts).with_context(|| artifacts.display().to_string())?;
            let mut command = Command::new(binaries.join(name));
            command.arg(&corpus).arg(format!("-artifact_prefix={}/", artifacts.display()));
            command.arg(format!("-max_total_time={}", arguments.seconds)).arg(format!("-max_len={LONGEST}"));
            command.arg(format!("-timeout={TIMEOUT}")).arg(format!("-rss_limit_mb={MEMORY}"));
            command.args(["-print_final_stats=1", "-verbosity=1"]);
            Ok(verdict(process::run(&mut command, signals)?))
        });
    }
    Ok(account.finish())
}

/// The machine that this compiler builds for.
fn host() -> anyhow::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = process::output(Command::new(rustc).arg("-vV"))?;
    match said.lines().find_map(|line| line.strip_prefix("host: ")) {
        Some(host) => Ok(host.to_owned()),
        None => bail!("rustc does not say what it builds for"),
    }
}
