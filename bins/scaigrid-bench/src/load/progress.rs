//! How far a measurement is, for whoever waits for it.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Extent;

/// A bar on a terminal, else a line per measurement.
pub(super) struct Progress {
    bar: ProgressBar,
    total: u64,
    counts: bool,
}

impl Progress {
    /// Begins one.
    pub(super) fn new(title: &str, extent: Extent) -> Self {
        let (total, counts) = match extent {
            Extent::Time { window, .. } => (u64::try_from(window.as_millis()).unwrap_or(u64::MAX), false),
            Extent::Count { operations, .. } => (operations, true),
        };
        let bar = if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{prefix:44} {bar:30} {percent:>3} % {msg}");
            let bar = ProgressBar::new(total).with_prefix(title.to_owned());
            match style {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        } else {
            eprintln!("{title} …");
            ProgressBar::hidden()
        };
        Self { bar, total, counts }
    }

    /// How far it is.
    pub(super) fn show(&self, elapsed: Duration, ended: u64) {
        let position =
            if self.counts { ended } else { u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX) };
        self.bar.set_position(position.min(self.total));
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        self.bar.set_message(format!("{}/s", ended.saturating_mul(1000) / millis));
    }

    /// It is over.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
