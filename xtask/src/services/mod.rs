//! The two services that the tests and measurements need, started privately for one purpose and stopped again.
//!
//! Neither the distribution's own PostgreSQL cluster nor its Redis is used or touched: only their programs are.
//! Each service listens on a free port of the loopback address, behind a password drawn for the occasion, with
//! its files in a temporary folder. Services of a test run also end when xtask is killed outright, since the
//! kernel tells them (`setpriv --pdeathsig`).

pub(crate) mod fake_time;
pub(crate) mod mail;
pub(crate) mod mcp;
pub(crate) mod openai_clients;
mod packages;
mod postgres;
pub(crate) mod provider;
mod redis;
pub(crate) mod s3;
pub(crate) mod schemathesis;
mod server;
mod state;
pub(crate) mod valgrind;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::process::{self, Signals};
use server::{Lifetime, Server};

/// The variable that tells the tests where PostgreSQL is.
pub(crate) const POSTGRES_VARIABLE: &str = "SCAIGRID_TEST_POSTGRES_URL";
/// The variable that tells the tests where Redis is.
const REDIS_VARIABLE: &str = "SCAIGRID_TEST_REDIS_URL";

/// What `cargo xtask services` takes.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Start both and print what to export; they run until `down`
    Up {
        /// Keep PostgreSQL's promises about durability, as measurements want it
        #[arg(long)]
        durable: bool,
    },
    /// Stop what `up` has started
    Down,
    /// Run one command with both, and stop them when it ends
    Run {
        /// Keep PostgreSQL's promises about durability, as measurements want it
        #[arg(long)]
        durable: bool,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

/// Whether PostgreSQL may lose what it has promised to keep when the machine fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It may: tests throw the data away in any case.
    Fast,
    /// It may not.
    Durable,
}

impl Durability {
    fn of(durable: bool) -> Self {
        if durable { Self::Durable } else { Self::Fast }
    }
}

/// The services of one run. They stop when the value is dropped.
pub(crate) struct Services {
    // Before the folder: a server ends before its files go.
    postgres: Found,
    redis: Found,
    folder: TempDir,
}

/// What became of one service.
enum Found {
    /// It was started here.
    Started(Server),
    /// The environment names one; it is somebody else's.
    Given(String),
    /// There is none, for this reason.
    Missing(String),
}

impl Found {
    fn url(&self) -> Option<&str> {
        match self {
            Self::Started(server) => Some(server.url()),
            Self::Given(url) => Some(url),
            Self::Missing(_) => None,
        }
    }
}

impl Services {
    /// The services of a test run: those that the environment names, else started here and ended with xtask.
    pub(crate) fn for_tests(durability: Durability) -> anyhow::Result<Self> {
        Self::start(durability, Lifetime::WithXtask, |name| {
            std::env::var(name).ok().filter(|url| !url.is_empty())
        })
    }

    /// Services that nobody else uses, whatever the environment names, ended with xtask.
    pub(crate) fn private(durability: Durability) -> anyhow::Result<Self> {
        Self::start(durability, Lifetime::WithXtask, |_| None)
    }

    fn start(
        durability: Durability,
        lifetime: Lifetime,
        given: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("scaigrid-services-").tempdir()?;
        // PostgreSQL runs as another user when xtask is root, and must reach its own folder in here.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let postgres = match given(POSTGRES_VARIABLE) {
            Some(url) => Found::Given(url),
            None => {
                match packages::provide("PostgreSQL", &["postgresql"], Some("postgresql"), postgres::find) {
                    Ok(programs) => {
                        Found::Started(postgres::start(&programs, folder.path(), durability, lifetime)?)
                    }
                    Err(reason) => Found::Missing(reason),
                }
            }
        };
        let redis = match given(REDIS_VARIABLE) {
            Some(url) => Found::Given(url),
            None => match packages::provide("Redis", &["redis-server"], Some("redis-server"), redis::find) {
                Ok(program) => Found::Started(redis::start(&program, folder.path(), lifetime)?),
                Err(reason) => Found::Missing(reason),
            },
        };
        Ok(Self { postgres, redis, folder })
    }

    /// What the tests need in their environment to find the services.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        [(POSTGRES_VARIABLE, &self.postgres), (REDIS_VARIABLE, &self.redis)]
            .into_iter()
            .filter_map(|(name, found)| Some((name.to_owned(), found.url()?.to_owned())))
            .collect()
    }

    /// The services that are not there, with the reason.
    pub(crate) fn missing(&self) -> Vec<(&'static str, &str)> {
        [("PostgreSQL", &self.postgres), ("Redis", &self.redis)]
            .into_iter()
            .filter_map(|(name, found)| match found {
                Found::Missing(reason) => Some((name, reason.as_str())),
                Found::Started(_) | Found::Given(_) => None,
            })
            .collect()
    }

    /// Stops what was started here and removes its files, and says what went wrong with that.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        for found in [self.postgres, self.redis] {
            if let Found::Started(server) = found {
                server.stop()?;
            }
        }
        self.folder.close().context("cannot remove the services' folder")
    }
}

/// The folder of PostgreSQL's programs, for who makes clusters of their own of it.
pub(crate) fn postgres_programs() -> Option<PathBuf> {
    postgres::find()
}

/// `cargo xtask services`.
pub(crate) fn run(task: &Task, signals: &Signals) -> anyhow::Result<ExitCode> {
    match task {
        Task::Up { durable } => up(Durability::of(*durable)),
        Task::Down => down(),
        Task::Run { durable, command } => with(Durability::of(*durable), command, signals),
    }
}

fn up(durability: Durability) -> anyhow::Result<ExitCode> {
    let state = match state::State::read()? {
        Some(state) if state.alive() => {
            eprintln!("the services are up already; `cargo xtask services down` stops them");
            state
        }
        rest => {
            if let Some(state) = rest {
                // One of them has died: what is left goes, and both start afresh.
                state.end()?;
            }
            let services = Services::start(durability, Lifetime::UntilDown, |_| None)?;
            for (name, reason) in services.missing() {
                eprintln!("skipped: {name} ({reason})");
            }
            let state = state::State::of(&services)?;
            state.write()?;
            services.leave();
            state
        }
    };
    for (name, url) in state.environment() {
        println!("export {name}='{url}'");
    }
    Ok(ExitCode::SUCCESS)
}

fn down() -> anyhow::Result<ExitCode> {
    match state::State::read()? {
        Some(state) => state.end()?,
        None => eprintln!("the services are not up"),
    }
    Ok(ExitCode::SUCCESS)
}

fn with(durability: Durability, command: &[String], signals: &Signals) -> anyhow::Result<ExitCode> {
    let [program, arguments @ ..] = command else { anyhow::bail!("no command was given") };
    let services = Services::for_tests(durability)?;
    for (name, reason) in services.missing() {
        eprintln!("skipped: {name} ({reason})");
    }
    let mut command = Command::new(program);
    command.args(arguments).envs(services.environment());
    let outcome = process::run_interactively(&mut command, signals);
    services.stop()?;
    Ok(match outcome? {
        process::Outcome::Exited(status) => {
            status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
        }
        process::Outcome::Interrupted => ExitCode::FAILURE,
    })
}

impl Services {
    /// Lets the services run on after xtask.
    fn leave(self) {
        for found in [self.postgres, self.redis] {
            if let Found::Started(server) = found {
                server.leave();
            }
        }
        // The folder stays with them; `down` removes it.
        let _kept = self.folder.keep();
    }
}

/// The last lines of a server's log, for an error message.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
