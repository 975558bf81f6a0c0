//! The same windows, kept where several nodes count together.
//!
//! While the shared counts cannot be reached, each node counts for itself: limits stay, and become those of a node. That
//! it has come to this is logged once, and once that it is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use scaigrid_scope::Instant;

use super::window::{Window, Windows};
use super::{Quota, RateLimiter, Subject, Verdict};

/// How long nobody asks after the counts could not be reached, in microseconds.
const PAUSE: i64 = 1_000_000;

/// What a subject is called where it is counted.
fn name(subject: Subject) -> String {
    match subject {
        Subject::ApiKey(id) => id.to_string(),
        Subject::User(id) => id.to_string(),
        Subject::Tenant(id) => id.to_string(),
        Subject::Partner(id) => id.to_string(),
        Subject::Address(address) => address.to_string(),
    }
}

/// What was counted under a name before a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// When the present minute began, in microseconds since 1970.
    pub start: i64,
    /// Requests of the minute before.
    pub before: u32,
    /// Requests of the present minute.
    pub present: u32,
}

/// What a store answers: the first name that is used up, if one is, and the counts of all.
pub type Answer = Result<(Option<usize>, Vec<Counts>), String>;

/// A store that counts a request under all of several names, or under none of them when one has as many as its limit.
pub trait SharedCounts: Send + Sync + 'static {
    /// Counts a request at `now`, in microseconds since 1970. The error is for the log.
    fn count<'a>(&'a self, names: &'a [(String, u32)], now: i64) -> BoxFuture<'a, Answer>;
}

/// Counts with other nodes as long as that is possible, else alone.
pub struct Shared {
    store: Arc<dyn SharedCounts>,
    alone: Windows,
    away: AtomicBool,
    /// When the store may be asked again.
    again: AtomicI64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("away", &self.away).finish_non_exhaustive()
    }
}

impl Shared {
    /// A limiter over a store.
    pub fn new(store: Arc<dyn SharedCounts>) -> Self {
        Self {
            store,
            alone: Windows::default(),
            away: AtomicBool::new(false),
            again: AtomicI64::new(i64::MIN),
        }
    }

    /// Counts a request; see [`RateLimiter::take`].
    pub async fn count(&self, quotas: &[Quota], now: Instant) -> Option<Verdict> {
        if quotas.is_empty() {
            return None;
        }
        let micros = now.micros();
        let again = self.again.load(Ordering::Relaxed);
        // While it is away one request per pause asks; the others do not wait for it.
        let asks = !self.away.load(Ordering::Relaxed)
            || micros >= again
                && self
                    .again
                    .compare_exchange(again, micros + PAUSE, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok();
        if !asks {
            return self.alone.count(quotas, now);
        }
        let names: Vec<(String, u32)> =
            quotas.iter().map(|quota| (name(quota.subject), quota.limit)).collect();
        match self.store.count(&names, micros).await {
            Ok((refused, counts)) => {
                if self.away.swap(false, Ordering::Relaxed) {
                    tracing::info!("rate limits are counted together again");
                }
                verdict(quotas, refused, &counts, micros)
            }
            Err(reason) => {
                self.again.store(micros + PAUSE, Ordering::Relaxed);
                if !self.away.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        reason,
                        "rate limits are counted by each node for itself, until Redis is back"
                    );
                }
                self.alone.count(quotas, now)
            }
        }
    }
}

impl RateLimiter for Shared {
    fn take<'a>(&'a self, quotas: &'a [Quota], now: Instant) -> BoxFuture<'a, Option<Verdict>> {
        self.count(quotas, now).boxed()
    }
}

/// What a request is told of what was counted before it.
fn verdict(quotas: &[Quota], refused: Option<usize>, counts: &[Counts], now: i64) -> Option<Verdict> {
    let of = |(quota, counts): (&Quota, &Counts)| {
        let window = Window { start: counts.start, before: counts.before, present: counts.present };
        window.verdict(quota.limit, now)
    };
    match refused {
        Some(index) => quotas.get(index).zip(counts.get(index)).map(of),
        None => quotas.iter().zip(counts).map(of).reduce(Verdict::tighter),
    }
}
