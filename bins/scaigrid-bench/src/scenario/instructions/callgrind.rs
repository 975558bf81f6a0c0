//! Callgrind (<https://valgrind.org>): a processor in software that counts the instructions of a program, and is told while the program
//! runs when to.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::process::Command;
use tokio::time::timeout;

/// How long valgrind may take to do what it is told.
const PATIENCE: Duration = Duration::from_mins(1);
/// The file in the server's folder that counts are written beside.
const FILE: &str = "callgrind.out";

/// What runs a program there.
pub(super) const PROGRAM: &str = "valgrind";

/// How that is called, with a program and its arguments behind it. Nothing is counted until it is told to.
pub(super) fn arguments(folder: &Path, program: &Path, further: &[&str]) -> Vec<String> {
    let file = folder.join(FILE);
    let mut arguments = vec![
        "--tool=callgrind".to_owned(),
        "--instr-atstart=no".to_owned(),
        // Else a thread that has much to do keeps the others waiting for long.
        "--fair-sched=yes".to_owned(),
        format!("--callgrind-out-file={}", file.display()),
        program.display().to_string(),
    ];
    arguments.extend(further.iter().map(|&argument| argument.to_owned()));
    arguments
}

/// The version that is there.
pub(super) async fn version() -> anyhow::Result<String> {
    let output = Command::new(PROGRAM).arg("--version").stdin(Stdio::null()).output().await;
    let output = output.context("valgrind is not installed")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A program that runs there.
pub(super) struct Counter {
    pid: u32,
    file: PathBuf,
    /// How often counts were written; each time beside the others.
    written: u32,
}

impl Counter {
    /// The program of this process id, which was given this folder.
    pub(super) fn of(pid: u32, folder: &Path) -> Self {
        Self { pid, file: folder.join(FILE), written: 0 }
    }

    /// Counts from now on, from zero.
    pub(super) async fn begin(&self) -> anyhow::Result<()> {
        self.tell(&["instrumentation", "on"]).await?;
        self.tell(&["zero"]).await
    }

    /// Counts no more; the instructions of all threads since it began.
    pub(super) async fn end(&mut self) -> anyhow::Result<u64> {
        self.tell(&["dump"]).await?;
        self.tell(&["instrumentation", "off"]).await?;
        self.written += 1;
        let file = format!("{}.{}", self.file.display(), self.written);
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        total(&text).with_context(|| format!("{file} tells no sum"))
    }

    async fn tell(&self, words: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new("vgdb");
        command.arg(format!("--pid={}", self.pid)).args(words).stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(PATIENCE, command.output()).await;
        let output =
            output.with_context(|| format!("valgrind does not {words:?}"))?.context("cannot run vgdb")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "valgrind does not {words:?}: {}", said.trim());
        Ok(())
    }
}

/// The sum of a file of counts: its header names the events (one, instructions) and their sums.
fn total(text: &str) -> Option<u64> {
    let sums = text.lines().find_map(|line| line.strip_prefix("summary:"))?;
    sums.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_stands_in_the_header() {
        let text = "# callgrind format\nversion: 1\npid: 7\npart: 1\n\nevents: Ir\nsummary: 120980\n\nfn=(0) main\n1 2\n";
        assert_eq!(total(text), Some(120_980));
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn what_is_counted_comes_behind_what_counts() {
        let arguments = arguments(Path::new("/folder"), Path::new("/bin/server"), &["serve"]);
        assert_eq!(arguments[3..], ["--callgrind-out-file=/folder/callgrind.out", "/bin/server", "serve"]);
    }
}
