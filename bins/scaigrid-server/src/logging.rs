//! The process's own log: on standard error, for people or for programs.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, fmt};

use crate::settings::{LogFormat, Settings};

/// What is not logged unless a setting names it: anybody can send bytes that are no HTTP, and any plugin can be none.
const QUIET: &str = "actix_http::h1=off,rmcp=off";

/// Starts the log. A second start in the same process changes nothing.
pub(crate) fn start(settings: &Settings) {
    // The filter was checked when the settings were read.
    let filter = EnvFilter::new(format!("{QUIET},{}", settings.log));
    let log = fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let started = match settings.log_format {
        LogFormat::Pretty => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    drop(started);
}
