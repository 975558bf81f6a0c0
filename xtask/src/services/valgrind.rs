//! Valgrind, on which instructions are counted: the distribution's package.

use super::packages;
use crate::process::find_program;

/// Sees to it that it is there, with the program that talks to it.
///
/// The error says why it is not.
pub(crate) fn provide() -> Result<(), String> {
    let find = || ["valgrind", "vgdb"].iter().all(|name| find_program(name).is_some()).then_some(());
    packages::provide("valgrind", &["valgrind"], None, find)
}
