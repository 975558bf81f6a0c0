//! What is said before the first build, and what stops it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// What the preparation says on a machine whose compiler is of this version.
fn prepare(folder: &Path, version: &str, goal: &str) -> Output {
    for (name, text) in
        [("cargo", "exit 1".to_owned()), ("cc", "exit 1".to_owned()), ("rustc", format!("echo '{version}'"))]
    {
        let program = folder.join(name);
        std::fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("xtask/prepare.sh");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("sh");
    command.arg(script).arg(goal).env("PATH", path).env("CARGO_TARGET_DIR", folder.join("target"));
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_compiler_that_is_too_old_is_told_before_anything_is_built() {
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    let folder = tempfile::tempdir().unwrap();
    for version in ["rustc 1.9.0 (0000000 2016-05-23)", "rustc 1.85.1", "no compiler"] {
        let output = prepare(folder.path(), version, "run");
        assert_eq!(output.status.code(), Some(1), "{version}: {}", said(&output));
        assert!(said(&output).contains(&format!("{wanted} or newer is needed")), "{}", said(&output));
    }
    for version in [format!("rustc {wanted}.0 (0000000 2026-01-01)"), "rustc 1.1000.0-nightly".to_owned()] {
        let output = prepare(folder.path(), &version, "run");
        assert!(output.status.success(), "{version}: {}", said(&output));
    }
}

#[test]
fn the_first_build_is_announced_and_later_ones_are_not() {
    let version = format!("rustc {}.0", env!("CARGO_PKG_RUST_VERSION"));
    let folder = tempfile::tempdir().unwrap();
    let announced = |goal: &str| {
        let output = prepare(folder.path(), &version, goal);
        assert!(output.status.success(), "{}", said(&output));
        said(&output).contains("the first build")
    };
    assert!(announced("run"));
    std::fs::create_dir_all(folder.path().join("target/debug")).unwrap();
    assert!(!announced("test"));
    assert!(announced("bench"), "another build");
}
