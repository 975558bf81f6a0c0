//! The `OpenID` provider that the tests log in at: a package of npm, brought into the target folder by its name.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::find_program;

/// The variable that tells the tests in which folder the package is.
pub(crate) const VARIABLE: &str = "SCAIGRID_TEST_OIDC_PROVIDER";
/// The package, in the version that the tests are written for.
const PACKAGE: &str = "oidc-provider";
const VERSION: &str = "9.13.3";

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
    let folder = target.join("oidc-provider");
    if is_there(&folder) {
        return Ok(folder);
    }
    eprintln!("installing {PACKAGE} {VERSION} from npm");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let output = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "--prefix"])
        .arg(&folder)
        .arg(format!("{PACKAGE}@{VERSION}"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run npm: {error}"))?;
    if output.status.success() && is_there(&folder) {
        return Ok(folder);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let line = complaint.lines().find(|line| line.contains("error")).unwrap_or("it gave no reason");
    Err(format!("npm cannot install {PACKAGE}: {line}"))
}

fn is_there(folder: &Path) -> bool {
    let manifest = folder.join("node_modules").join(PACKAGE).join("package.json");
    let text = std::fs::read(manifest).unwrap_or_default();
    let manifest = serde_json::from_slice::<serde_json::Value>(&text).unwrap_or_default();
    manifest["version"] == VERSION
}
