//! Programs that are measured: started for the purpose, and ended by their process id in every case.
//!
//! A child that is dropped is killed. When the generator itself is killed outright, the kernel ends the child
//! (`setpriv --pdeathsig`, where there is such a program).

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStdout, Command};
use tokio::time::timeout;

use crate::client::{Connection, Target};

/// How long a child may take until it tells its address, and until it is ready.
const START: Duration = Duration::from_mins(2);
/// How long a child may take to end: the server finishes what it has begun for up to 30 s.
const FAREWELL: Duration = Duration::from_secs(40);
/// How long a program that has closed its output may take to end.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Between two questions whether a server is ready.
const GLANCE: Duration = Duration::from_millis(1);

/// A program to start: its file, arguments, variables and working folder.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The file.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) arguments: Vec<String>,
    /// Variables beside those of this process; `SCAIGRID_*` of this process are not passed on.
    pub(crate) variables: Vec<(&'static str, String)>,
    /// Its working folder.
    pub(crate) folder: PathBuf,
    /// Where its standard error goes.
    pub(crate) log: PathBuf,
}

/// A running program that listens.
#[derive(Debug)]
pub(crate) struct Child {
    process: tokio::process::Child,
    spawned: Instant,
    log: PathBuf,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its process id.
    pub(crate) pid: u32,
}

impl Child {
    /// Starts the program and waits until it has printed where it listens.
    pub(crate) async fn start(plan: &Plan) -> anyhow::Result<Self> {
        let log = File::create(&plan.log).with_context(|| format!("cannot write {}", plan.log.display()))?;
        let mut command = command(&plan.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SCAIGRID_") {
                command.env_remove(name);
            }
        }
        command
            .args(&plan.arguments)
            .envs(plan.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&plan.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        let spawned = Instant::now();
        let mut process =
            command.spawn().with_context(|| format!("cannot run {}", plan.program.display()))?;
        let pid = process.id().context("the program ended at once")?;
        let stdout = process.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let told = timeout(START, address(&mut lines)).await;
        let Ok(Ok(address)) = told else {
            // One that is ending already tells why by its status; any other is ended here.
            if timeout(LAST_WORDS, process.wait()).await.is_err() {
                let _ = process.start_kill();
            }
            let status = process.wait().await?;
            bail!("{} told no address ({status}):\n{}", plan.program.display(), tail(&plan.log));
        };
        // A pipe that nobody reads would fill up and stop the program.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { process, spawned, log: plan.log.clone(), address, pid })
    }

    /// Waits until `/health/ready` answers 200; the time since the program was started.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<Duration> {
        let target = Target { address: self.address, key: String::new() };
        let mut request = Vec::new();
        target.get(&mut request, "/health/ready");
        let mut connection = Connection::open(self.address).await?;
        loop {
            let answer = connection.exchange(&request).await?;
            if answer.status == 200 {
                return Ok(self.spawned.elapsed());
            }
            if self.spawned.elapsed() > START {
                bail!("not ready: {}\n{}", answer.excerpt(), tail(&self.log));
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("the program ended before it was ready ({status}):\n{}", tail(&self.log));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Ends the program as a power cut would.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.process.kill().await?)
    }

    /// Asks the program to end, and kills it if it does not.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
            && self.process.try_wait()?.is_none()
        {
            // A failure means that the program has just ended; the waiting below sees that.
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        if let Ok(status) = timeout(FAREWELL, self.process.wait()).await {
            let status = status?;
            // A bare program may simply die of the signal; the server must end well.
            if status.code().is_some_and(|code| code != 0) {
                bail!("the program ended badly ({status}):\n{}", tail(&self.log));
            }
            return Ok(());
        }
        self.process.kill().await?;
        bail!("the program did not end within {} s and was killed", FAREWELL.as_secs())
    }

    /// What the program wrote last to its standard error.
    pub(crate) fn tail(&self) -> String {
        tail(&self.log)
    }
}

fn command(program: &Path) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let setpriv =
        std::env::split_paths(&path).map(|folder| folder.join("setpriv")).find(|file| file.is_file());
    match setpriv {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// The first `http://IP:PORT` that the program prints.
async fn address(lines: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<SocketAddr> {
    while let Some(line) = lines.next_line().await? {
        if let Some(address) = address_in(&line) {
            return Ok(address);
        }
    }
    bail!("the program closed its output")
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://")?;
    let end = rest.find(|c: char| !(c.is_ascii_hexdigit() || ".:[]".contains(c))).unwrap_or(rest.len());
    rest.get(..end)?.trim_end_matches(['.', ':']).parse().ok()
}

fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let from = text.len().saturating_sub(4000);
    String::from_utf8_lossy(text.get(from..).unwrap_or_default()).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_a_sentence() {
        let found = |line| address_in(line).map(|address| address.to_string());
        assert_eq!(found("listening on http://127.0.0.1:4711").as_deref(), Some("127.0.0.1:4711"));
        assert_eq!(found("see http://[::1]:80/docs.").as_deref(), Some("[::1]:80"));
        assert_eq!(found("at http://127.0.0.1:8080.").as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(found("admin key in ./data/admin.key"), None);
        assert_eq!(found("http://example.org/"), None);
    }

    #[tokio::test]
    async fn a_program_that_ends_early_is_an_error_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let plan = Plan {
            program: "sh".into(),
            arguments: vec!["-c".to_owned(), "echo no such luck >&2; exit 2".to_owned()],
            variables: Vec::new(),
            folder: folder.path().to_owned(),
            log: folder.path().join("log"),
        };
        let error = Child::start(&plan).await.unwrap_err().to_string();
        assert!(error.contains("no such luck"), "{error}");
    }
}
