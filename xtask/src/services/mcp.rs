//! The SDK of the Model Context Protocol for Python, of which the tests make servers: packages of the Python Package Index,
//! brought into a virtual environment in the target folder as a list with their checksums says.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::find_program;
use crate::workspace;

/// The variable that tells the tests in which folder the environment is.
pub(crate) const VARIABLE: &str = "SCAIGRID_TEST_MCP";
/// What pip installs by, and, beside it in the environment, what was installed to its end.
const LIST: &str = "requirements.txt";

fn list() -> PathBuf {
    workspace::root().join("tests").join("mcp").join(LIST)
}

/// The folder with the environment, which is made where it is missing and Python is there.
///
/// The error says, for the list of what was skipped, why there is none.
pub(crate) fn provide(target: &Path) -> Result<PathBuf, String> {
    if let Some(given) = std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) {
        return Ok(given.into());
    }
    install(&list(), target.join("mcp-sdk"), "mcp")
}

/// The environment in a folder with exactly what a list names, which is made where it is missing and Python is there.
pub(super) fn install(list: &Path, folder: PathBuf, package: &str) -> Result<PathBuf, String> {
    let python = find_program("python3").ok_or("python3 is not installed")?;
    if is_there(list, &folder) {
        return Ok(folder);
    }
    eprintln!("installing {package} from the Python Package Index");
    run(
        Command::new(python).args(["-m", "venv", "--clear"]).arg(&folder),
        "python3 cannot make an environment",
    )?;
    // Exactly what the list names, or nothing; and none of it runs while it is installed.
    let mut pip = Command::new(folder.join("bin").join("python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"])
        .args(["--only-binary", ":all:", "--requirement"])
        .arg(list);
    run(&mut pip, &format!("pip cannot install {package}"))?;
    std::fs::copy(list, folder.join(LIST)).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}

fn run(command: &mut Command, what: &str) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{what}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let line = complaint.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
    Err(format!("{what}: {line}"))
}

/// Whether what the list names was installed to its end, which is when the list is put beside it.
fn is_there(list: &Path, folder: &Path) -> bool {
    let (wanted, present) = (std::fs::read(list), std::fs::read(folder.join(LIST)));
    matches!((wanted, present), (Ok(wanted), Ok(present)) if wanted == present)
        && folder.join("bin").join("python").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_pinned_by_checksums_and_by_no_place() {
        let tests = workspace::root().join("tests");
        for (folder, wanted) in [("mcp", "mcp=="), ("mail", "aiosmtpd=="), ("conformance", "schemathesis==")]
        {
            let text = std::fs::read_to_string(tests.join(folder).join(LIST)).unwrap();
            assert!(!text.contains("://") && !text.contains("--find-links") && !text.contains("--index"));
            let packages: Vec<&str> = text.lines().filter(|line| line.contains("==")).collect();
            assert!(packages.iter().any(|line| line.starts_with(wanted)));
            for (package, next) in text.lines().zip(text.lines().skip(1)) {
                assert!(!package.contains("==") || next.trim().starts_with("--hash=sha256:"), "{package}");
            }
        }
    }

    #[test]
    fn what_was_installed_by_another_list_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let (list, environment) = (folder.path().join("list"), folder.path().join("environment"));
        std::fs::create_dir_all(environment.join("bin")).unwrap();
        std::fs::write(environment.join("bin").join("python"), "").unwrap();
        std::fs::write(&list, "a").unwrap();
        assert!(!is_there(&list, &environment), "it was broken off");
        for (installed, there) in [("b", false), ("a", true)] {
            std::fs::write(environment.join(LIST), installed).unwrap();
            assert_eq!(is_there(&list, &environment), there);
        }
    }
}
