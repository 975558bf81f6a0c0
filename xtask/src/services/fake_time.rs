//! The library that shows a program another time than it is, for clocks that are set forth and back: the distribution's package.

use std::fs;
use std::path::PathBuf;

use super::packages;

/// Tells tests where the library is.
pub(crate) const VARIABLE: &str = "SCAIGRID_CHAOS_FAKE_TIME";

/// The library, for programs with threads, in the folder of the machine's kind.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// Where the library is, once it has been seen to that it is there.
///
/// The error says why it is not.
pub(crate) fn provide() -> Result<PathBuf, String> {
    packages::provide("libfaketime", &["libfaketime"], None, find)
}

fn find() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?;
    folders.flatten().map(|folder| folder.path().join(LIBRARY)).find(|file| file.is_file())
}
