//! The `OpenID` provider that the tests log in at: a package of npm, brought into the target folder as a lockfile says.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::find_program;
use crate::workspace;

/// The variable that tells the tests in which folder the package is.
pub(crate) const VARIABLE: &str = "SCAIGRID_TEST_OIDC_PROVIDER";
/// The package that the tests are written for. Its version, and the checksums of all that it needs, are in the files of
/// [`folder_of_files`].
const PACKAGE: &str = "oidc-provider";
/// What npm installs by.
const FILES: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];

/// Where the committed files are.
fn folder_of_files() -> PathBuf {
    workspace::root().join("tests").join("provider")
}

/// The folder with the package, which is installed where it is missing and npm is there.
///
/// The error says, for the list of what was skipped, why there is none.
pub(crate) fn provide(target: &Path) -> Result<PathBuf, String> {
    if let Some(given) = std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) {
        return Ok(given.into());
    }
    for program in ["node", "npm"] {
        find_program(program).ok_or_else(|| format!("{program} is not installed"))?;
    }
    let (files, folder) = (folder_of_files(), target.join("oidc-provider"));
    if is_there(&files, &folder) {
        return Ok(folder);
    }
    eprintln!("installing {PACKAGE} from npm");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for name in FILES {
        let copied = std::fs::copy(files.join(name), folder.join(name));
        copied.map_err(|error| format!("{}: {error}", files.join(name).display()))?;
    }
    // Exactly what the lockfile names, or nothing; and none of it runs while it is installed.
    let output = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
        .arg(&folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run npm: {error}"))?;
    if output.status.success() && is_there(&files, &folder) {
        return Ok(folder);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let line = complaint.lines().find(|line| line.contains("error")).unwrap_or("it gave no reason");
    Err(format!("npm cannot install {PACKAGE}: {line}"))
}

/// Whether what the lockfile names was installed to its end, which is when npm writes down what it did.
fn is_there(files: &Path, folder: &Path) -> bool {
    const LOCK: &str = "package-lock.json";
    let modules = folder.join("node_modules");
    let (wanted, present) = (std::fs::read(files.join(LOCK)), std::fs::read(folder.join(LOCK)));
    matches!((wanted, present), (Ok(wanted), Ok(present)) if wanted == present)
        && modules.join(".package-lock.json").is_file()
        && modules.join(PACKAGE).join("package.json").is_file()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_package_is_pinned_by_its_checksum_and_by_no_place() {
        let read = |name: &str| -> Value {
            serde_json::from_slice(&std::fs::read(folder_of_files().join(name)).unwrap()).unwrap()
        };
        let (wanted, lock) = (read("package.json"), read("package-lock.json"));
        assert_eq!(wanted["dependencies"], lock["packages"][""]["dependencies"]);
        let version = wanted["dependencies"][PACKAGE].as_str().unwrap();
        assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{version} is no single version");
        for (place, package) in lock["packages"].as_object().unwrap() {
            assert!(package.get("resolved").is_none(), "{place}");
            let checksum = package["integrity"].as_str().unwrap_or_default();
            assert!(place.is_empty() || checksum.starts_with("sha512-"), "{place}");
        }
    }

    #[test]
    fn what_was_installed_by_another_lockfile_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let (files, target) = (folder.path().join("files"), folder.path().join("target"));
        let package = target.join("node_modules").join(PACKAGE);
        std::fs::create_dir_all(&package).unwrap();
        std::fs::create_dir_all(&files).unwrap();
        std::fs::write(package.join("package.json"), "{}").unwrap();
        std::fs::write(target.join("node_modules/.package-lock.json"), "{}").unwrap();
        for (wanted, present, there) in [("{}", "{}", true), ("{} ", "{}", false)] {
            std::fs::write(files.join("package-lock.json"), wanted).unwrap();
            std::fs::write(target.join("package-lock.json"), present).unwrap();
            assert_eq!(is_there(&files, &target), there);
        }
        std::fs::remove_file(target.join("node_modules/.package-lock.json")).unwrap();
        std::fs::write(files.join("package-lock.json"), "{}").unwrap();
        assert!(!is_there(&files, &target), "it was broken off");
    }
}
