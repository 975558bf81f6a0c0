//! Programs that do not outlive the test that has started them.

use std::ffi::OsString;
use std::process::{Command, Stdio};

/// A call of a program, its arguments behind it, as another account where one is named. The kernel sends it a signal when the thread
/// ends that has started it, where there is `setpriv`.
pub(crate) fn command(words: &[OsString], account: Option<&str>, farewell: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let setpriv =
        std::env::split_paths(&path).map(|folder| folder.join("setpriv")).find(|file| file.is_file());
    let mut all: Vec<OsString> = Vec::new();
    if let Some(setpriv) = setpriv {
        all.push(setpriv.into());
        if let Some(account) = account {
            all.extend(["--reuid", account, "--regid", account, "--init-groups"].map(OsString::from));
        }
        all.extend(["--pdeathsig", farewell, "--"].map(OsString::from));
    }
    all.extend_from_slice(words);
    let mut command = Command::new(&all[0]);
    command.args(&all[1..]).stdin(Stdio::null());
    command
}
