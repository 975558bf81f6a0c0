//! A PostgreSQL of a test's own with a replica, and a wire in front that leads to the one of the two that is the first.
//!
//! Nothing is acknowledged that the replica does not have as well, so that nothing is lost when it takes the other one's place. What
//! ends is gone for good, as a machine would be: a new replica is made of the one that is left.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::database::administer;
use crate::{Proxy, child, eventually};

/// Names the folder of PostgreSQL's programs, where a test may have it to itself.
const VARIABLE: &str = "SCAIGRID_CHAOS_POSTGRES";
/// The account that Debian's packages make, which runs it when the test is root: PostgreSQL refuses to be root.
const ACCOUNT: &str = "postgres";
const USER: &str = "scaigrid";
/// How long each step may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// Fails where there is no replica that receives what is written.
const IS_FOLLOWED: &str = "DO $$ BEGIN \
     IF NOT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming') \
     THEN RAISE EXCEPTION 'there is no replica'; END IF; END $$";
/// Fails where commits do not wait for one.
const IS_WAITED_FOR: &str = "DO $$ BEGIN \
     IF NOT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync') \
     THEN RAISE EXCEPTION 'nobody waits for a replica'; END IF; END $$";
/// Has a replica take over, and waits for that.
const PROMOTE: &str = "DO $$ BEGIN \
     IF NOT pg_promote(true, 60) THEN RAISE EXCEPTION 'it was not promoted'; END IF; END $$";

/// How servers are made and started.
#[derive(Debug)]
struct Means {
    programs: PathBuf,
    /// What all are in.
    home: PathBuf,
    account: Option<&'static str>,
    password: String,
}

/// One of the two. Dropped, it ends at once, and its files go.
#[derive(Debug)]
struct One {
    child: Child,
    address: SocketAddr,
    /// Where it is reached without the wire.
    url: String,
    data: PathBuf,
}

#[derive(Debug)]
struct Both {
    first: One,
    second: One,
    /// How many there have been.
    made: usize,
}

/// Both of them, running. Dropped, they end.
#[derive(Debug)]
pub struct Replicated {
    wire: Proxy,
    url: String,
    means: Means,
    // Before the folder: they end before their files go.
    both: Mutex<Both>,
    _folder: TempDir,
}

impl Replicated {
    /// The folder of PostgreSQL's programs, where a test may have one to itself, and they are all there.
    pub fn programs() -> Option<PathBuf> {
        let folder = PathBuf::from(std::env::var_os(VARIABLE).filter(|named| !named.is_empty())?);
        let complete = ["postgres", "initdb", "pg_basebackup"].iter().all(|name| folder.join(name).is_file());
        complete.then_some(folder)
    }

    /// Makes one and a replica of it.
    pub fn start(programs: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("scaigrid-replicated-").tempdir().unwrap();
        // As another account it must reach its own folder in here.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let means = Means::of(programs, folder.path());
        let data = means.home.join("1");
        means.make(&data);
        let first = means.start(data);
        let second = means.follow(&first, means.home.join("2"));
        let wire = Proxy::to(first.address);
        let url = means.url(wire.address);
        Self { wire, url, means, both: Mutex::new(Both { first, second, made: 2 }), _folder: folder }
    }

    /// The URL of whichever is the first.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends the first one at once, has the other one take its place, and makes a new replica of that.
    pub fn fail_over(&self) {
        let mut both = self.both.lock().unwrap();
        let both = &mut *both;
        both.first.end();
        // Nobody hears what is left of it any more.
        self.wire.cut();
        administer(&both.second.url, PROMOTE).unwrap();
        self.wire.lead_to(both.second.address);
        self.wire.mend();
        both.made += 1;
        let third = self.means.follow(&both.second, self.means.home.join(both.made.to_string()));
        both.first = std::mem::replace(&mut both.second, third);
    }
}

impl Means {
    fn of(programs: &Path, folder: &Path) -> Self {
        let home = folder.join("postgres");
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, Permissions::from_mode(0o700)).unwrap();
        let mut bytes = [0; 16];
        File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
        let password = format!("{:032x}", u128::from_ne_bytes(bytes));
        let account = rustix::process::geteuid().is_root().then_some(ACCOUNT);
        let means = Self { programs: programs.to_owned(), home, account, password };
        means.give_away(&means.home);
        means
    }

    /// Has a file belong to whom the servers run as.
    fn give_away(&self, file: &Path) {
        if let Some(account) = self.account {
            let given = Command::new("chown").arg(format!("{account}:")).arg(file).status().unwrap();
            assert!(given.success(), "chown: {given}");
        }
    }

    fn url(&self, address: SocketAddr) -> String {
        format!("postgres://{USER}:{}@{address}/postgres", self.password)
    }

    /// A call of one of the programs, which writes what it has to say into a file.
    fn command(&self, program: &str, arguments: &[&str], log: &Path) -> Command {
        let mut words = vec![self.programs.join(program).into_os_string()];
        words.extend(arguments.iter().map(OsString::from));
        // At once, as everything here ends.
        let mut command = child::command(&words, self.account, "QUIT");
        let log = File::create(log).unwrap();
        command.current_dir("/").env_remove("LC_ALL").env("LANG", "C.UTF-8");
        command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null());
        command
    }

    /// Runs one of the programs to its end.
    fn run(&self, program: &str, arguments: &[&str]) {
        let log = self.home.join(format!("{program}.log"));
        let mut command = self.command(program, arguments, &log);
        let mut child = command.env("PGPASSWORD", &self.password).spawn().unwrap();
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                let _ = child.kill();
                break child.wait().unwrap();
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(status.success(), "{program}: {status}: {}", fs::read_to_string(log).unwrap_or_default());
    }

    /// Makes a new cluster of databases.
    fn make(&self, data: &Path) {
        let secret = self.home.join("password");
        fs::write(&secret, &self.password).unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        self.give_away(&secret);
        let files = ["--pgdata", data.to_str().unwrap(), "--pwfile", secret.to_str().unwrap()];
        let how = ["--auth", "password", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"];
        self.run("initdb", &[&["--username", USER][..], &files, &how].concat());
    }

    /// Starts the server of a cluster, and waits until it answers.
    fn start(&self, data: PathBuf) -> One {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let settings = [
            format!("port={}", address.port()),
            "listen_addresses=127.0.0.1".to_owned(),
            "unix_socket_directories=".to_owned(),
            "max_connections=200".to_owned(),
            "log_min_messages=warning".to_owned(),
            // Commits wait for a replica: one that has lost its connection looks for another soon.
            "wal_retrieve_retry_interval=200ms".to_owned(),
        ];
        let mut arguments = vec!["-D", data.to_str().unwrap()];
        arguments.extend(settings.iter().flat_map(|setting| ["-c", setting.as_str()]));
        let log = data.with_extension("log");
        let child = self.command("postgres", &arguments, &log).spawn().unwrap();
        let mut one = One { child, address, url: self.url(address), data };
        eventually("PostgreSQL answers", PATIENCE, || {
            let ended = one.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", fs::read_to_string(&log).unwrap_or_default());
            administer(&one.url, "SELECT 1").ok()
        });
        one
    }

    /// Makes a replica of a server, for which its commits wait from then on.
    fn follow(&self, first: &One, data: PathBuf) -> One {
        let port = first.address.port().to_string();
        let of = ["--host", "127.0.0.1", "--port", port.as_str(), "--username", USER, "--no-password"];
        let how = ["--wal-method", "stream", "--checkpoint", "fast", "--write-recovery-conf", "--no-sync"];
        let folder = ["--pgdata", data.to_str().unwrap()];
        self.run("pg_basebackup", &[&folder[..], &of, &how].concat());
        let second = self.start(data);
        eventually("the replica follows", PATIENCE, || administer(&first.url, IS_FOLLOWED).ok());
        // Each by itself: neither can be part of a transaction.
        administer(&first.url, "ALTER SYSTEM SET synchronous_standby_names = '*'").unwrap();
        administer(&first.url, "SELECT pg_reload_conf()").unwrap();
        eventually("the replica is waited for", PATIENCE, || administer(&first.url, IS_WAITED_FOR).ok());
        second
    }
}

impl One {
    /// Ends it and all that belongs to it, without a word to anybody and with nothing written that was not.
    fn end(&mut self) {
        // Failing means that it has ended already.
        let _ = rustix::process::kill_process(Pid::from_child(&self.child), Signal::QUIT);
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if begun.elapsed() > PATIENCE {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for One {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.end();
        }
        // What stays goes with the folder around it.
        let _ = fs::remove_dir_all(&self.data);
    }
}
