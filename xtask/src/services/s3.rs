//! The S3 server that the tests use: s3s-fs, a program of crates.io, built into the target folder.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::workspace;

/// The variable that tells the tests which program it is.
pub(crate) const VARIABLE: &str = "SCAIGRID_TEST_S3";
/// The package, and the version that the tests are written for.
const PACKAGE: (&str, &str) = ("s3s-fs", "0.14.1");

/// The server's program, which is built where it is missing.
///
/// The error says, for the list of what was skipped, why there is none.
pub(crate) fn provide(target: &Path) -> Result<PathBuf, String> {
    if let Some(given) = std::env::var_os(VARIABLE).filter(|program| !program.is_empty()) {
        return Ok(given.into());
    }
    let (name, version) = PACKAGE;
    // Each version has a folder of its own, and a program is in it only once it is whole.
    let folder = target.join(format!("{name}-{version}"));
    let program = folder.join("bin").join(name);
    if program.is_file() {
        return Ok(program);
    }
    eprintln!("building {name} from crates.io");
    let mut cargo = workspace::cargo();
    cargo.args([
        "install",
        name,
        "--version",
        version,
        "--features",
        "binary",
        "--locked",
        "--debug",
        "--quiet",
    ]);
    cargo.arg("--root").arg(&folder).env("CARGO_TARGET_DIR", folder.join("build"));
    // What a debugger would want of it fills disks.
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_INCREMENTAL", "0");
    let output = cargo.stdin(Stdio::null()).output().map_err(|error| format!("cannot run cargo: {error}"))?;
    // What it was built from is of no more use.
    let _ = std::fs::remove_dir_all(folder.join("build"));
    if output.status.success() && program.is_file() {
        return Ok(program);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let line = complaint.lines().find(|line| line.contains("error")).unwrap_or("it gave no reason");
    Err(format!("cargo cannot build {name}: {line}"))
}
