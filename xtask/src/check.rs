//! What can be told about the code without running it: formatting, lints, layers, and where the documents' links lead.

use std::process::ExitCode;

use crate::layers;
use crate::links;
use crate::process::{self, Outcome, Signals};
use crate::steps::{Account, Verdict};
use crate::workspace::cargo;

/// `cargo xtask check`.
pub(crate) fn run(signals: &Signals) -> ExitCode {
    let mut account = Account::default();
    steps(&mut account, signals);
    // Only here: no distribution package brings the target, so the tests cannot set it up for themselves.
    layers::portability(&mut account, signals);
    account.finish()
}

/// The steps of the check, as the tests run them too.
pub(crate) fn steps(account: &mut Account, signals: &Signals) {
    account.step("format", || run_cargo(&["fmt", "--all", "--check"], &[], signals));
    account.step("layers", || Ok(if layers::hold()? { Verdict::Passed } else { Verdict::Failed }));
    account.step("links", || Ok(if links::lead_somewhere()? { Verdict::Passed } else { Verdict::Failed }));
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    account.step("lints", || run_cargo(&clippy, &[], signals));
}

/// Runs cargo with additions to its environment.
pub(crate) fn run_cargo(
    arguments: &[&str],
    environment: &[(String, String)],
    signals: &Signals,
) -> anyhow::Result<Verdict> {
    let mut command = cargo();
    command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
    Ok(verdict(process::run(&mut command, signals)?))
}

/// What a program's end says about its step.
pub(crate) fn verdict(outcome: Outcome) -> Verdict {
    match outcome {
        Outcome::Interrupted => Verdict::Interrupted,
        outcome if outcome.success() => Verdict::Passed,
        Outcome::Exited(_) => Verdict::Failed,
    }
}
