//! A private server process on a free port of the loopback address.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::Signal;

use super::tail;
use crate::process;

/// How long a server may take until it answers.
const START: Duration = Duration::from_mins(1);

/// How long a server lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// As long as xtask, however xtask ends.
    WithXtask,
    /// Until `cargo xtask services down`.
    UntilDown,
}

/// A server that answers. It stops when the value is dropped.
pub(super) struct Server {
    name: &'static str,
    /// Gone once the server was stopped or left alone.
    child: Option<Child>,
    farewell: Signal,
    url: String,
}

/// How to start a server.
pub(super) struct Plan<'a> {
    /// What it is called in messages.
    pub(super) name: &'static str,
    /// Its program and arguments; `{port}` was put in already.
    pub(super) command: Command,
    /// Where its output goes.
    pub(super) log: PathBuf,
    /// The signal that makes it stop without waiting for its clients.
    pub(super) farewell: Signal,
    /// Where clients find it.
    pub(super) url: String,
    /// Text for its standard input.
    pub(super) input: String,
    /// Whether it answers.
    pub(super) ready: &'a dyn Fn() -> bool,
}

impl Server {
    /// Starts a server and waits until it answers.
    pub(super) fn start(mut plan: Plan<'_>) -> anyhow::Result<Self> {
        let log = File::create(&plan.log)?;
        plan.command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let mut child = plan.command.spawn().with_context(|| format!("cannot start {}", plan.name))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A server that is gone already is reported below, with its log.
            let _ = io::Write::write_all(&mut stdin, plan.input.as_bytes());
        }
        let mut server = Self { name: plan.name, child: Some(child), farewell: plan.farewell, url: plan.url };
        let deadline = Instant::now() + START;
        while !(plan.ready)() {
            let ended = match &mut server.child {
                Some(child) => child.try_wait()?,
                None => None,
            };
            if let Some(status) = ended {
                anyhow::bail!("{} ended ({status}):\n{}", plan.name, tail(&plan.log));
            }
            if Instant::now() >= deadline {
                anyhow::bail!("{} does not answer:\n{}", plan.name, tail(&plan.log));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// Where clients find it.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Its process.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Stops it.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        self.end().with_context(|| format!("cannot stop {}", self.name))
    }

    /// Lets it run on.
    pub(super) fn leave(mut self) {
        self.child = None;
    }

    fn end(&mut self) -> io::Result<()> {
        match self.child.take() {
            Some(mut child) => process::stop(&mut child, self.farewell),
            None => Ok(()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("cannot stop {}: {error}", self.name);
        }
    }
}

/// A call of `program`, as another user where one is named, that ends with xtask where it shall.
pub(super) fn command(program: &Path, user: Option<&str>, lifetime: Lifetime, farewell: &str) -> Command {
    let mut command = match process::find_program("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            if let Some(user) = user {
                command.args(["--reuid", user, "--regid", user, "--init-groups"]);
            }
            if lifetime == Lifetime::WithXtask {
                command.args(["--pdeathsig", farewell]);
            }
            command.arg("--").arg(program);
            command
        }
        // Without it a root user cannot start PostgreSQL, which says so itself.
        None => Command::new(program),
    };
    command.current_dir("/").env_remove("LC_ALL").env("LANG", "C.UTF-8");
    command
}

/// A port of the loopback address that nobody listens on now.
pub(super) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A password of 128 random bits.
pub(super) fn password() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// The user id and group id of an account of this machine.
pub(super) fn account(name: &str) -> Option<(u32, u32)> {
    let accounts = fs::read_to_string("/etc/passwd").ok()?;
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let mut numbers = fields.skip(1).map_while(|field| field.parse().ok());
        Some((numbers.next()?, numbers.next()?))
    })
}
