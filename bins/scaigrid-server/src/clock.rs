//! The system's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use scaigrid_scope::{Clock, Instant};

/// The time that the system tells.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Instant::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}
