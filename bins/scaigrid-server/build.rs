//! Tells the linker which functions to put beside each other, where somebody has found that out: `cargo xtask release`.

use std::env;

/// The file with their names, one in a line. Only LLD knows what to do with it.
const FUNCTIONS: &str = "SCAIGRID_FUNCTIONS";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={FUNCTIONS}");
    if let Ok(file) = env::var(FUNCTIONS) {
        println!("cargo::rerun-if-changed={file}");
        println!("cargo::rustc-link-arg-bins=-Wl,--symbol-ordering-file={file}");
        // A function that is gone since is passed over.
        println!("cargo::rustc-link-arg-bins=-Wl,--no-warn-symbol-ordering");
    }
}
