//! The open loop: operations are due at instants that are given beforehand, and whether those before have ended does not move them.
//!
//! What was due while all clients were busy is done by whichever is free first, and took as long as it is late. So a server that
//! stands still for a second is seen by all who would have asked meanwhile, not by those alone who were waiting already
//! ("coordinated omission").

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{Laps, Work};

/// The most clients that wait for what is due.
const MOST_CLIENTS: f64 = 256.0;

/// Who keeps account of what is done.
pub(crate) trait Record {
    /// An operation has just ended well that was due at this instant. What it waited for a client is in the first of its parts.
    fn ended(&self, due: Instant, laps: &Laps);

    /// One has failed.
    fn failed(&self, error: &anyhow::Error);
}

/// Instants, one after the other, at which operations are due.
#[derive(Debug)]
pub(crate) struct Pace {
    due: Mutex<UnboundedReceiver<Instant>>,
    over: Arc<AtomicBool>,
}

impl Pace {
    /// So many in each second from now on.
    pub(crate) fn start(per_second: f64) -> anyhow::Result<Self> {
        ensure!(per_second > 0.0, "nothing is ever due at {per_second} operations a second");
        let (sender, receiver) = unbounded_channel();
        let over = Arc::new(AtomicBool::new(false));
        let (flag, begun) = (Arc::clone(&over), Instant::now());
        let tell = move || {
            for number in 0_u32..=u32::MAX {
                let due = begun + Duration::from_secs_f64(f64::from(number) / per_second);
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if flag.load(Ordering::Relaxed) || sender.send(due).is_err() {
                    break;
                }
            }
        };
        // A thread of its own, since the timer of the clients' thread knows whole milliseconds only.
        thread::Builder::new().name("pace".to_owned()).spawn(tell).context("cannot start a thread")?;
        Ok(Self { due: Mutex::new(receiver), over })
    }

    /// Nothing further is due. What was due before is still to be done.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Waits until something is due that nobody does yet; nothing when it has ended.
    async fn next(&self) -> Option<Instant> {
        self.due.lock().await.recv().await
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.end();
    }
}

/// How many clients such a pace needs. They take turns, and each has something to do about once a second: servers close connections
/// over which nothing is asked for longer.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 256")]
pub(crate) fn clients_for(per_second: f64) -> usize {
    per_second.ceil().clamp(1.0, MOST_CLIENTS) as usize
}

/// Does what is due, as long as something will be. A client that meets an error stops there.
pub(crate) async fn follow<W: Work>(mut client: W, pace: &Pace, record: &impl Record) {
    let mut laps = Laps::default();
    while let Some(due) = pace.next().await {
        laps.0.clear();
        let late = due.elapsed();
        match client.once(&mut laps).await {
            Ok(()) => {
                if let Some(first) = laps.0.first_mut() {
                    *first += late;
                }
                record.ended(due, &laps);
            }
            Err(error) => {
                record.failed(&error);
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_is_used_about_once_a_second() {
        assert_eq!([0.2, 5.0, 99.5, 10_000.0].map(clients_for), [1, 5, 100, 256]);
    }

    #[tokio::test]
    async fn what_was_due_before_the_end_is_still_told() {
        let pace = Pace::start(500.0).unwrap();
        let mut last = pace.next().await.unwrap();
        let begun = Instant::now();
        while pace.due.lock().await.len() < 3 {
            assert!(begun.elapsed() < Duration::from_secs(30), "nothing is due");
            thread::sleep(Duration::from_millis(5));
        }
        pace.end();
        let mut count = 0;
        while let Some(due) = pace.next().await {
            assert!(due > last);
            last = due;
            count += 1;
        }
        assert!(count >= 3, "{count}");
        assert!(Pace::start(0.0).is_err());
    }
}
