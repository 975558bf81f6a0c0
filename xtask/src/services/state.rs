//! What `services up` leaves behind for `services down`.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use super::{Found, POSTGRES_VARIABLE, REDIS_VARIABLE, Services};
use crate::workspace::Metadata;

/// How long a service may take to stop.
const GRACE: Duration = Duration::from_secs(15);

/// The services that run, as a file in the target folder.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    folder: PathBuf,
    services: Vec<Service>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Service {
    variable: String,
    url: String,
    pid: i32,
    /// When the process began, in the kernel's ticks since boot. It tells the process from a later one that got
    /// the same number.
    begun: u64,
}

impl State {
    /// What runs now.
    pub(super) fn of(services: &Services) -> anyhow::Result<Self> {
        let mut running = Vec::new();
        for (variable, found) in [(POSTGRES_VARIABLE, &services.postgres), (REDIS_VARIABLE, &services.redis)]
        {
            let Found::Started(server) = found else { continue };
            let Some(pid) = server.pid().and_then(|pid| i32::try_from(pid).ok()) else { continue };
            let begun = begun(pid).with_context(|| format!("process {pid} has ended"))?;
            running.push(Service { variable: variable.to_owned(), url: server.url().to_owned(), pid, begun });
        }
        Ok(Self { folder: services.folder.path().to_owned(), services: running })
    }

    /// What an earlier `up` has left, if anything.
    pub(super) fn read() -> anyhow::Result<Option<Self>> {
        let file = file()?;
        match fs::read(&file) {
            Ok(bytes) => {
                let state = serde_json::from_slice(&bytes);
                Ok(Some(state.with_context(|| format!("{} is damaged", file.display()))?))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// Leaves this for a later `down`, readable by its owner only: the URLs hold passwords.
    pub(super) fn write(&self) -> anyhow::Result<()> {
        let file = file()?;
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut options = fs::OpenOptions::new();
        let mut open = options.write(true).create(true).truncate(true).mode(0o600).open(&file)?;
        open.write_all(&serde_json::to_vec_pretty(self)?)?;
        Ok(())
    }

    /// Whether every service still runs.
    pub(super) fn alive(&self) -> bool {
        self.services.iter().all(Service::runs)
    }

    /// What to export.
    pub(super) fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.services.iter().map(|service| (service.variable.as_str(), service.url.as_str()))
    }

    /// Stops the services, removes their files and this record.
    pub(super) fn end(&self) -> anyhow::Result<()> {
        for service in &self.services {
            service.stop();
        }
        // Only a folder that `up` can have made is removed, whatever the file says.
        let ours = self
            .folder
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("scaigrid-services-"));
        if ours && self.folder.is_dir() {
            fs::remove_dir_all(&self.folder)
                .with_context(|| format!("cannot remove {}", self.folder.display()))?;
        }
        fs::remove_file(file()?).context("cannot remove the record of the services")
    }
}

impl Service {
    fn runs(&self) -> bool {
        begun(self.pid) == Some(self.begun)
    }

    fn stop(&self) {
        let Some(pid) = Pid::from_raw(self.pid) else { return };
        // PostgreSQL leaves its clients on SIGINT and waits for them on SIGTERM; Redis stops on both.
        for signal in [Signal::INT, Signal::KILL] {
            let deadline = Instant::now() + GRACE;
            if self.runs() {
                // A failure means that it has just ended.
                let _ = rustix::process::kill_process(pid, signal);
            }
            while self.runs() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

fn file() -> anyhow::Result<PathBuf> {
    Ok(Metadata::read()?.target_directory.join("services.json"))
}

/// When a process that is no zombie began: field 22 of `/proc/<pid>/stat` (proc(5)).
fn begun(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    // The second field is the program's name in brackets, which may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_known_by_its_beginning() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let begun = begun(pid).unwrap();
        let service = |begun| Service { variable: String::new(), url: String::new(), pid, begun };
        assert!(service(begun).runs());
        assert!(!service(begun + 1).runs());
        service(begun + 1).stop();
        assert!(child.try_wait().unwrap().is_none());
        service(begun).stop();
        assert!(!child.wait().unwrap().success());
    }
}
