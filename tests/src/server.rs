//! Servers as child processes.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::{Client, Place, child, eventually};

/// How long a server may take to tell where it listens and to become ready.
const START: Duration = Duration::from_mins(1);
/// How long a server may take to end.
const FAREWELL: Duration = Duration::from_secs(45);

/// Starts a program that is told of a file that has become too large by an error, and not by a signal.
const IGNORING: [&str; 2] = ["env", "--ignore-signal=XFSZ"];

/// The server's program: what `SCAIGRID_TEST_SERVER` names, else the one of the build that the test belongs to.
pub fn server_binary() -> PathBuf {
    if let Some(named) = std::env::var_os("SCAIGRID_TEST_SERVER").filter(|named| !named.is_empty()) {
        return named.into();
    }
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap().join("scaigrid-server");
    assert!(built.is_file(), "{} is not there: run `cargo build -p scaigrid-server`", built.display());
    built
}

/// A call of the server's program.
fn command() -> Command {
    command_through(&[])
}

/// A call of the server's program, by way of another one that becomes it, without the variables of whoever runs the tests.
fn command_through(other: &[&str]) -> Command {
    let mut words: Vec<OsString> = other.iter().map(OsString::from).collect();
    words.push(server_binary().into());
    let mut command = child::command(&words, None, "KILL");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SCAIGRID_") {
            command.env_remove(name);
        }
    }
    command
}

/// Starts the program; its output goes nowhere.
pub fn spawn(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Child {
    let mut command = command();
    command.current_dir(folder).args(arguments).envs(variables.iter().copied());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Runs the program to its end, which must come within a minute.
pub fn run(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut child = command()
        .current_dir(folder)
        .args(arguments)
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reading = std::thread::spawn(move || {
        let mut text = Vec::new();
        stdout.read_to_end(&mut text).map(|_| text)
    });
    let complaints = std::thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).map(|_| text)
    });
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > START {
            let _ = child.kill();
            let _ = child.wait();
            panic!("scaigrid-server {arguments:?} did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Output { status, stdout: reading.join().unwrap().unwrap(), stderr: complaints.join().unwrap().unwrap() }
}

/// How a server is to be started.
#[derive(Debug)]
pub struct Launch<'a> {
    place: &'a Place,
    variables: Vec<(OsString, OsString)>,
    through: &'static [&'static str],
}

impl<'a> Launch<'a> {
    pub(crate) fn of(place: &'a Place) -> Self {
        Self { place, variables: Vec::new(), through: &[] }
            .set("SCAIGRID_BIND", "127.0.0.1:0")
            .set("SCAIGRID_DATA_DIR", &place.data().to_string_lossy())
            .set("SCAIGRID_DATABASE_URL", place.database_url())
            .set("SCAIGRID_RATE_LIMITS", "off")
            .set("SCAIGRID_LOG_FORMAT", "json")
    }

    /// A variable of the server's environment; the last word counts.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Starts the server in such a way that [`Server::limit_files`] makes its writing fail rather than ends it.
    #[must_use]
    pub fn with_limits(self) -> Self {
        Self { through: &IGNORING, ..self }
    }

    /// Whether this machine has what it takes to limit a server's files.
    pub fn can_limit_files() -> bool {
        Command::new(IGNORING[0])
            .args(&IGNORING[1..])
            .args(["prlimit", "--version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Starts the server and waits until it is ready.
    pub fn start(self) -> Server {
        let log = self.place.new_log();
        let mut child = command_through(self.through)
            .current_dir(self.place.folder())
            .envs(self.variables)
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            // Read to the end: a pipe that nobody reads would stop the program one day.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let address =
                    line.strip_prefix("scaigrid listens on http://").and_then(|text| text.parse().ok());
                if let Some(address) = address {
                    let _ = tell.send(address);
                }
            }
        });
        let mut server = Server { child, address: ([127, 0, 0, 1], 0).into(), log, admin_key: String::new() };
        let told = told.recv_timeout(START);
        let Ok(address) = told else {
            let log = server.log();
            panic!("the server did not say where it listens:\n{log}")
        };
        server.address = address;
        let anyone = Client::new(address, None);
        eventually("ready", START, || {
            anyone.get("/health/ready").send().ok().filter(|answer| answer.status == 200)
        });
        // A second node of the same database has no such file of its own.
        server.admin_key = self.place.admin_key();
        server
    }
}

/// A running server. Dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
    admin_key: String,
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A client that presents the first admin's key.
    pub fn admin(&self) -> Client {
        self.client(&self.admin_key)
    }

    /// A client that presents a key.
    pub fn client(&self, key: &str) -> Client {
        Client::new(self.address, Some(key))
    }

    /// Whoever a client is, as a client of this server.
    pub fn of(&self, client: &Client) -> Client {
        client.moved(self.address)
    }

    /// A client that presents nothing.
    pub fn anyone(&self) -> Client {
        Client::new(self.address, None)
    }

    /// Ends it as a power cut would: SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
    }

    /// Has it stand still as it is, unable to notice anything: SIGSTOP.
    pub fn pause(&self) {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    /// Has it go on as if nothing had been: SIGCONT.
    pub fn resume(&self) {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }

    /// Lets no file of it grow past so many bytes, as if the disk were full; none lifts the limit.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let bytes = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        let pid = self.pid().to_string();
        let set =
            Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status().unwrap();
        assert!(set.success(), "{set}");
    }

    /// Waits until it has ended.
    pub fn ended(mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < FAREWELL, "the server did not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to end, which it must do well.
    pub fn stop(self) {
        self.terminate();
        let status = self.ended();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Failing means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
