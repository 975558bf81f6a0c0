//! A private PostgreSQL cluster.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use rustix::process::Signal;

use super::server::{self, Lifetime, Plan, Server};
use super::{Durability, tail};
use crate::process;

/// The account that Debian's packages make, which runs the cluster when xtask is root: PostgreSQL refuses to be root.
const ACCOUNT: &str = "postgres";
/// The superuser of the cluster.
const USER: &str = "scaigrid";

/// The folder of the newest PostgreSQL's programs.
pub(super) fn find() -> Option<PathBuf> {
    let complete =
        |folder: &Path| ["postgres", "initdb", "pg_isready"].iter().all(|name| folder.join(name).is_file());
    let version = |folder: &Path| -> Option<u32> { folder.parent()?.file_name()?.to_str()?.parse().ok() };
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    debian
        .map(|entry| entry.path().join("bin"))
        .filter(|folder| complete(folder))
        .max_by_key(|folder| version(folder))
        .or_else(|| {
            let program = process::find_program("postgres")?;
            program.parent().filter(|folder| complete(folder)).map(Path::to_owned)
        })
}

/// Makes a cluster below `folder` and starts it.
pub(super) fn start(
    programs: &Path,
    folder: &Path,
    durability: Durability,
    lifetime: Lifetime,
) -> anyhow::Result<Server> {
    let home = folder.join("postgres");
    fs::create_dir(&home)?;
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700))?;
    let user = if process::is_root() {
        let (uid, gid) = server::account(ACCOUNT)
            .with_context(|| format!("PostgreSQL does not run as root, and there is no account {ACCOUNT}"))?;
        chown(&home, Some(uid), Some(gid))?;
        Some((ACCOUNT, uid, gid))
    } else {
        None
    };
    let account = user.map(|(name, ..)| name);

    let password = server::password()?;
    let secret = home.join("password");
    fs::write(&secret, &password)?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    if let Some((_, uid, gid)) = user {
        chown(&secret, Some(uid), Some(gid))?;
    }

    let data = home.join("data");
    let log = folder.join("initdb.log");
    let output = fs::File::create(&log)?;
    // `password` keeps the check cheap for clients, which connect thousands of times; the loopback hides the text.
    let status = server::command(&programs.join("initdb"), account, Lifetime::WithXtask, "TERM")
        .args([
            "--username",
            USER,
            "--auth",
            "password",
            "--encoding",
            "UTF8",
            "--locale",
            "C.UTF-8",
            "--no-sync",
        ])
        .arg("--pgdata")
        .arg(&data)
        .arg("--pwfile")
        .arg(&secret)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()
        .context("cannot run initdb")?;
    anyhow::ensure!(status.success(), "initdb failed:\n{}", tail(&log));

    let port = server::free_port()?;
    let mut command = server::command(&programs.join("postgres"), account, lifetime, "INT");
    command.arg("-D").arg(&data);
    for setting in settings(port, durability) {
        command.args(["-c", &setting]);
    }
    let answers = programs.join("pg_isready");
    Server::start(Plan {
        name: "PostgreSQL",
        command,
        log: folder.join("postgres.log"),
        farewell: Signal::INT,
        url: format!("postgres://{USER}:{password}@{}:{port}/postgres", Ipv4Addr::LOCALHOST),
        input: String::new(),
        ready: &|| {
            Command::new(&answers)
                .args(["--quiet", "--host", "127.0.0.1", "--port", &port.to_string()])
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        },
    })
}

fn settings(port: u16, durability: Durability) -> Vec<String> {
    let mut settings = vec![
        format!("port={port}"),
        format!("listen_addresses={}", Ipv4Addr::LOCALHOST),
        "unix_socket_directories=".to_owned(),
        // Every test has connections of its own, and many tests run at once.
        "max_connections=400".to_owned(),
        "log_min_messages=warning".to_owned(),
    ];
    if durability == Durability::Fast {
        settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(str::to_owned));
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_waits_for_the_disk_and_a_test_does_not() {
        assert!(settings(1, Durability::Fast).contains(&"fsync=off".to_owned()));
        assert!(!settings(1, Durability::Durable).iter().any(|setting| setting.contains("off")));
    }
}
