//! Callgrind (<https://valgrind.org>): a processor in software that counts the instructions of a program by its functions, and is told
//! while the program runs when to.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::process::Command;
use tokio::time::timeout;

use super::host::Host;
use crate::load::{self, Extent, Work};
use crate::probe::Probe;
use crate::scratch::Place;

/// How long valgrind may take to do what it is told.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long operations may take: a processor in software is some fifty times as slow.
const LIMIT: Duration = Duration::from_mins(5);
/// The file in the server's folder that counts are written beside.
const FILE: &str = "callgrind.out";
const PROGRAM: &str = "valgrind";

/// How valgrind is called, with a program and its arguments behind it.
fn arguments(folder: &Path, mode: Mode, program: &Path, further: &[&str]) -> Vec<String> {
    let at_start = match mode {
        Mode::WhenTold => "no",
        Mode::FromTheStart => "yes",
    };
    let mut arguments = vec![
        "--tool=callgrind".to_owned(),
        format!("--instr-atstart={at_start}"),
        // Functions are known by what the linker calls them, and not by their lines.
        "--demangle=no".to_owned(),
        "--dump-line=no".to_owned(),
        // Else a thread that has much to do keeps the others waiting for long.
        "--fair-sched=yes".to_owned(),
        format!("--callgrind-out-file={}", folder.join(FILE).display()),
        program.display().to_string(),
    ];
    arguments.extend(further.iter().map(|&argument| argument.to_owned()));
    arguments
}

/// When the counting begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    /// With the program.
    FromTheStart,
    /// With [`Counter::begin`].
    WhenTold,
}

/// Starts a server there, on a place that is fresh or not.
pub(super) async fn start(server: &Path, place: &Place, mode: Mode) -> anyhow::Result<(Host, Counter)> {
    let arguments = arguments(place.folder(), mode, server, &["serve"]);
    let host = Host::start_by(Path::new(PROGRAM), arguments, place).await?;
    let counter = Counter { pid: host.child.pid, file: place.folder().join(FILE), written: 0 };
    Ok((host, counter))
}

/// Has a server there do so many operations.
pub(super) async fn operate<W: Work>(
    host: &Host,
    name: &str,
    operations: u64,
    clients: Vec<W>,
) -> anyhow::Result<()> {
    let extent = Extent::Count { operations, limit: LIMIT };
    let outcome = load::run(name, clients, extent, &Probe::new(host.child.pid, None)).await?;
    ensure!(
        outcome.operations == operations,
        "{name}: {} of {operations}: {}",
        outcome.operations,
        outcome.first_error.unwrap_or_default()
    );
    Ok(())
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
    /// Counts from now on, from zero.
    pub(super) async fn begin(&self) -> anyhow::Result<()> {
        self.tell(&["instrumentation", "on"]).await?;
        self.tell(&["zero"]).await
    }

    /// Counts no more; the instructions of all threads since it began.
    pub(super) async fn end(&mut self) -> anyhow::Result<u64> {
        let text = self.dump().await?;
        self.tell(&["instrumentation", "off"]).await?;
        total(&text).context("valgrind tells no sum")
    }

    /// The names of the functions that were run since it began, or since this was last asked. They are those that the linker knows.
    pub(super) async fn functions(&mut self) -> anyhow::Result<Vec<String>> {
        Ok(functions(&self.dump().await?))
    }

    /// What was counted, in callgrind's format; from now on it counts from zero.
    async fn dump(&mut self) -> anyhow::Result<String> {
        self.tell(&["dump"]).await?;
        self.written += 1;
        let file = format!("{}.{}", self.file.display(), self.written);
        std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))
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

/// The names that stand in a file of counts: `fn=(7) name` of a function, `cfn=(7) name` of one that is called, and later only
/// `(7)`. One that calls itself by way of others has `'2` behind its name. Where there is no symbol, callgrind writes an address or `???`.
fn functions(text: &str) -> Vec<String> {
    let named = text.lines().filter_map(|line| {
        let (_, name) = line.strip_prefix('c').unwrap_or(line).strip_prefix("fn=(")?.split_once(") ")?;
        let name = name.split('\'').next().unwrap_or(name);
        let symbol = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        symbol.then(|| name.to_owned())
    });
    named.collect()
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
    fn a_function_is_named_where_it_is_met_first() {
        let text = "ob=(1) /bin/server\nfl=(1) ???\nfn=(1) main\n0 2\ncob=(2) /lib/libc.so\ncfn=(2) _ZN4core3runE\ncalls=1 0\n\
                    0 7\nfn=(2)\n0 1\nfn=(3) _ZN4core4turnE'2\nfn=(4) 0x0000000000024e90\nfn=(5) ???\nfn=(6) (below main)\n";
        assert_eq!(functions(text), ["main", "_ZN4core3runE", "_ZN4core4turnE"]);
    }

    #[test]
    fn what_is_counted_comes_behind_what_counts() {
        let called = |mode| arguments(Path::new("/folder"), mode, Path::new("/bin/server"), &["serve"]);
        let told = called(Mode::WhenTold);
        assert_eq!(told[1], "--instr-atstart=no");
        assert_eq!(told[5..], ["--callgrind-out-file=/folder/callgrind.out", "/bin/server", "serve"]);
        assert_eq!(called(Mode::FromTheStart)[1], "--instr-atstart=yes");
    }
}
