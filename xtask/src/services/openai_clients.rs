//! The official clients of OpenAI that the tests try: a package of npm, brought into the target folder as a lockfile says, and
//! one of `PyPI` in an environment of its own, by its version.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::find_program;
use crate::workspace;

/// The variable that tells the tests in which folder the client for Node is.
const NODE: &str = "SCAIGRID_TEST_OPENAI_NODE";
/// The variable that tells the tests which Python has the client.
const PYTHON: &str = "SCAIGRID_TEST_OPENAI_PYTHON";
/// What npm installs by.
const FILES: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];
/// What pip installs by.
const REQUIREMENTS: &str = "requirements.txt";

/// A client by what it is called, the variable that tells where it is, and where that is or why it is nowhere.
type Client = (&'static str, &'static str, Result<PathBuf, String>);

fn folder_of_files() -> PathBuf {
    workspace::root().join("tests").join("clients")
}

/// The clients, each installed where it is missing and can be.
pub(crate) fn provide(target: &Path) -> [Client; 2] {
    [
        ("the official OpenAI client for Python", PYTHON, given(PYTHON).map_or_else(|| python(target), Ok)),
        ("the official OpenAI client for Node", NODE, given(NODE).map_or_else(|| node(target), Ok)),
    ]
}

fn given(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|place| !place.is_empty()).map(Into::into)
}

fn copy(files: &[&str], to: &Path) -> Result<(), String> {
    std::fs::create_dir_all(to).map_err(|error| format!("{}: {error}", to.display()))?;
    for name in files {
        let from = folder_of_files().join(name);
        std::fs::copy(&from, to.join(name)).map_err(|error| format!("{}: {error}", from.display()))?;
    }
    Ok(())
}

/// Whether a file that was installed by is the one that is committed. It is copied last where it marks the end.
fn is_by(name: &str, folder: &Path) -> bool {
    let (wanted, present) = (std::fs::read(folder_of_files().join(name)), std::fs::read(folder.join(name)));
    matches!((wanted, present), (Ok(wanted), Ok(present)) if wanted == present)
}

fn run(command: &mut Command, what: &str) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("cannot run {what}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let line = complaint.lines().find(|line| line.to_lowercase().contains("error"));
    Err(format!("{what} fails: {}", line.unwrap_or("it gives no reason")))
}

fn node(target: &Path) -> Result<PathBuf, String> {
    for program in ["node", "npm"] {
        find_program(program).ok_or_else(|| format!("{program} is not installed"))?;
    }
    let folder = target.join("openai-node");
    let there =
        || is_by("package-lock.json", &folder) && folder.join("node_modules/.package-lock.json").is_file();
    if there() {
        return Ok(folder);
    }
    eprintln!("installing openai from npm");
    copy(&FILES, &folder)?;
    // Exactly what the lockfile names, or nothing; and none of it runs while it is installed.
    let arguments =
        ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=optional", "--omit=peer", "--prefix"];
    run(Command::new("npm").args(arguments).arg(&folder), "npm ci")?;
    if there() { Ok(folder) } else { Err("npm has installed something else".to_owned()) }
}

fn python(target: &Path) -> Result<PathBuf, String> {
    find_program("python3").ok_or("python3 is not installed")?;
    let folder = target.join("openai-python");
    let program = folder.join("bin").join("python");
    if program.is_file() && is_by(REQUIREMENTS, &folder) {
        return Ok(program);
    }
    eprintln!("installing openai from PyPI");
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), "python3 -m venv")?;
    let arguments =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "-r"];
    run(Command::new(&program).args(arguments).arg(folder_of_files().join(REQUIREMENTS)), "pip install")?;
    copy(&[REQUIREMENTS], &folder)?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_package_is_one_version() {
        let read = |name: &str| std::fs::read_to_string(folder_of_files().join(name)).unwrap();
        let wanted: Value = serde_json::from_str(&read("package.json")).unwrap();
        let lock: Value = serde_json::from_str(&read("package-lock.json")).unwrap();
        assert_eq!(wanted["dependencies"], lock["packages"][""]["dependencies"]);
        for (place, package) in lock["packages"].as_object().unwrap() {
            assert!(package.get("resolved").is_none(), "{place}");
            let checksum = package["integrity"].as_str().unwrap_or_default();
            assert!(place.is_empty() || checksum.starts_with("sha512-"), "{place}");
        }
        assert!(read(REQUIREMENTS).lines().all(|line| line.contains("==")));
    }
}
