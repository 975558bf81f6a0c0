//! A run made of named steps: what passed, what failed, what was left out and why.

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It found nothing wrong.
    Passed,
    /// It found something wrong, which it has printed.
    Failed,
    /// It could not run; the text says why.
    Skipped(String),
    /// xtask was asked to stop.
    Interrupted,
}

/// The account of a run.
#[derive(Debug, Default)]
pub(crate) struct Account {
    steps: Vec<(String, Verdict, Duration)>,
}

impl Account {
    /// Runs a step, unless the run was interrupted. An error of the step itself counts as a failure, so that the
    /// later steps still tell what they know.
    pub(crate) fn step(&mut self, name: &str, work: impl FnOnce() -> anyhow::Result<Verdict>) {
        if self.interrupted() {
            return;
        }
        eprintln!("── {name}");
        let begun = Instant::now();
        let verdict = work().unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            Verdict::Failed
        });
        self.steps.push((name.to_owned(), verdict, begun.elapsed()));
    }

    /// Notes something that did not run.
    pub(crate) fn skipped(&mut self, name: &str, reason: &str) {
        self.steps.push((name.to_owned(), Verdict::Skipped(reason.to_owned()), Duration::ZERO));
    }

    /// Whether the run was asked to stop.
    pub(crate) fn interrupted(&self) -> bool {
        self.steps.iter().any(|(_, verdict, _)| *verdict == Verdict::Interrupted)
    }

    /// Success when no step failed. What was skipped does not fail a run; it is named.
    pub(crate) fn finish(&self) -> ExitCode {
        eprintln!("{self}");
        let bad = |verdict: &Verdict| matches!(verdict, Verdict::Failed | Verdict::Interrupted);
        if self.steps.iter().any(|(_, verdict, _)| bad(verdict)) {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "── summary")?;
        let mut skipped = 0;
        for (name, verdict, time) in &self.steps {
            let seconds = time.as_secs_f64();
            match verdict {
                Verdict::Passed => writeln!(f, "passed       {name} ({seconds:.1} s)")?,
                Verdict::Failed => writeln!(f, "FAILED       {name} ({seconds:.1} s)")?,
                Verdict::Interrupted => writeln!(f, "interrupted  {name} ({seconds:.1} s)")?,
                Verdict::Skipped(reason) => {
                    skipped += 1;
                    writeln!(f, "SKIPPED      {name}: {reason}")?;
                }
            }
        }
        if self.interrupted() {
            return write!(f, "interrupted: what is not listed did not run");
        }
        match skipped {
            0 => write!(f, "nothing was skipped"),
            1 => write!(f, "1 thing was skipped"),
            many => write!(f, "{many} things were skipped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_breaks_is_a_failure_and_the_rest_still_runs() {
        let mut account = Account::default();
        account.step("first", || anyhow::bail!("broken"));
        account.step("second", || Ok(Verdict::Passed));
        account.skipped("third", "there is no such machine");
        let text = account.to_string();
        assert!(text.contains("FAILED       first"), "{text}");
        assert!(text.contains("passed       second"), "{text}");
        assert!(text.contains("SKIPPED      third: there is no such machine\n1 thing was skipped"), "{text}");
        assert_eq!(account.finish(), ExitCode::FAILURE);
    }

    #[test]
    fn nothing_runs_after_an_interrupt() {
        let mut account = Account::default();
        account.step("first", || Ok(Verdict::Interrupted));
        account.step("second", || panic!("must not run"));
        assert!(account.to_string().ends_with("what is not listed did not run"));
        assert_eq!(account.finish(), ExitCode::FAILURE);
    }
}
