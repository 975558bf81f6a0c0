//! Finding programs, and installing the distribution's package where that is allowed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::{find_program, is_root};

/// Finds a program, installing packages when it is not there and xtask may. `service` is what these packages start by themselves.
///
/// The error says, for the list of what was skipped, why there is none.
pub(super) fn provide<T>(
    name: &str,
    packages: &[&str],
    service: Option<&str>,
    find: impl Fn() -> Option<T>,
) -> Result<T, String> {
    if let Some(found) = find() {
        return Ok(found);
    }
    let wanted = packages.join(" ");
    if find_program("apt-get").is_none() {
        return Err(format!("{name} is not installed, and there is no apt-get to install it with"));
    }
    if !is_root() {
        return Err(format!("{name} is not installed; as root: apt-get install {wanted}"));
    }
    eprintln!("installing {wanted}");
    install(packages)?;
    if let Some(service) = service {
        silence(service);
    }
    find()
        .ok_or_else(|| format!("{name} was installed ({wanted}), but its programs are not where they belong"))
}

fn install(packages: &[&str]) -> Result<(), String> {
    if !has_lists() {
        apt_get(&["update"])?;
        return install_listed(packages);
    }
    // Lists that are older than the archive name files that are gone: read them again and try once more.
    install_listed(packages).or_else(|_| {
        apt_get(&["update"])?;
        install_listed(packages)
    })
}

fn install_listed(packages: &[&str]) -> Result<(), String> {
    let arguments = [&["install", "--yes", "--no-install-recommends"], packages].concat();
    apt_get(&arguments)
}

fn has_lists() -> bool {
    let Ok(entries) = fs::read_dir("/var/lib/apt/lists") else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let call = format!("apt-get {}", arguments.join(" "));
    let output = Command::new("apt-get")
        .args(["-o", "DPkg::Lock::Timeout=120"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Scripts of packages start no services in this runlevel.
        .env("RUNLEVEL", "1")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run {call}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let line = complaint.lines().find(|line| line.starts_with("E:")).unwrap_or("it gave no reason");
    Err(format!("{call} failed: {line}"))
}

/// Stops the service that a package has just brought, and keeps it from starting with the machine.
fn silence(service: &str) {
    let mut command = if Path::new("/run/systemd/system").is_dir() {
        let mut command = Command::new("systemctl");
        command.args(["disable", "--now", service]);
        command
    } else {
        let mut command = Command::new("service");
        command.args([service, "stop"]);
        command
    };
    // That the service was not running is the usual case and no failure.
    let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_installed_again() {
        assert_eq!(provide("It", &["no-such-package"], None, || Some(7)), Ok(7));
    }
}
