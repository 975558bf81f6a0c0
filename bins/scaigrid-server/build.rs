//! Tells the linker which functions to put beside each other, where somebody has found that out: `cargo xtask release`.

use std::env;

/// The file with their names, one in a line. Only LLD knows what to do with it.
const FUNCTIONS: &str = "SCAIGRID_FUNCTIONS";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={FUNCTIONS}");
    let Some(file) = env::var(FUNCTIONS).ok().filter(|file| !file.is_empty()) else { return };
    println!("cargo::rerun-if-changed={file}");
    // A function that is gone since is passed over.
    for option in [format!("--symbol-ordering-file={file}"), "--no-warn-symbol-ordering".to_owned()] {
        // Not by `-Wl`, which takes a comma in the path for the end of the option.
        println!("cargo::rustc-link-arg-bins=-Xlinker");
        println!("cargo::rustc-link-arg-bins={option}");
    }
}
