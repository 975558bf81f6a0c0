//! Sliding windows of one minute, kept in this process.
//!
//! Each subject has two counts, of the present minute and of the one before. The minute before counts with the
//! share of it that is still within the last 60 seconds, as if its requests had come evenly. This needs a few
//! words per subject, whatever the limit. The windows of subjects that fell silent are let go, and there is a
//! bound on how many are kept at all.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use scaigrid_scope::Instant;

use super::{Quota, RateLimiter, Subject, Verdict};

const WINDOW: i64 = 60_000_000;
const SHARDS: usize = 64;
/// The most subjects of one shard: about a quarter of a million altogether.
const MAX_PER_SHARD: usize = 4096;

#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) start: i64,
    pub(super) before: u32,
    pub(super) present: u32,
}

impl Window {
    /// The window that `now` falls in.
    fn at(self, now: i64) -> Self {
        let start = now.div_euclid(WINDOW) * WINDOW;
        if start <= self.start {
            self
        } else if start - self.start == WINDOW {
            Self { start, before: self.present, present: 0 }
        } else {
            Self { start, before: 0, present: 0 }
        }
    }

    /// The requests of the last 60 seconds, rounded up.
    fn used(&self, now: i64) -> u32 {
        let left = (self.start + WINDOW - now).clamp(0, WINDOW);
        let before = (i64::from(self.before) * left).div_euclid(WINDOW)
            + i64::from((i64::from(self.before) * left).rem_euclid(WINDOW) > 0);
        u32::try_from(before).unwrap_or(u32::MAX).saturating_add(self.present)
    }

    /// What one more request is told.
    pub(super) fn verdict(&self, limit: u32, now: i64) -> Verdict {
        let used = self.used(now);
        Verdict {
            limit,
            remaining: limit.saturating_sub(used.saturating_add(1)),
            reset: Instant::from_micros(self.start + 2 * WINDOW),
            retry_after: (used >= limit).then(|| self.until_free(limit, now)),
        }
    }

    /// How long until one more request fits.
    fn until_free(&self, limit: u32, now: i64) -> Duration {
        let allowed = i64::from(limit) - 1;
        // Within this minute, while the share of the minute before shrinks …
        let room = allowed - i64::from(self.present);
        let at = if room >= 0 && self.before > 0 {
            self.start + WINDOW - room.saturating_mul(WINDOW) / i64::from(self.before)
        } else {
            // … or in the next, when this one has become the minute before.
            let present = i64::from(self.present.max(1));
            self.start + 2 * WINDOW - allowed.min(present).saturating_mul(WINDOW) / present
        };
        Duration::from_micros(u64::try_from(at - now).unwrap_or(0)).max(Duration::from_millis(1))
    }
}

#[derive(Debug, Default)]
struct Shard {
    windows: HashMap<Subject, Window>,
    /// When the silent ones were last let go: looking through all for every newcomer would be too dear.
    swept: i64,
}

impl Shard {
    fn window(&mut self, subject: Subject, now: i64) -> &mut Window {
        if self.windows.len() >= MAX_PER_SHARD && !self.windows.contains_key(&subject) {
            if now - self.swept >= WINDOW {
                self.windows.retain(|_, window| window.start + 2 * WINDOW > now);
                self.swept = now;
            }
            if self.windows.len() >= MAX_PER_SHARD {
                // A flood of subjects: rather forget one than grow.
                let any = self.windows.keys().next().copied();
                any.and_then(|subject| self.windows.remove(&subject));
            }
        }
        let fresh = Window { start: now.div_euclid(WINDOW) * WINDOW, before: 0, present: 0 };
        let window = self.windows.entry(subject).or_insert(fresh);
        *window = window.at(now);
        window
    }
}

/// Counts in this process, spread over many locks that are held for an instant each.
#[derive(Debug)]
pub struct Windows {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
}

impl Default for Windows {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new() }
    }
}

impl Windows {
    /// Counts a request; see [`RateLimiter::take`].
    pub fn count(&self, quotas: &[Quota], now: Instant) -> Option<Verdict> {
        let now = now.micros();
        let mut tightest: Option<Verdict> = None;
        for (index, quota) in quotas.iter().enumerate() {
            let verdict = self.with(quota.subject, now, |window| {
                let verdict = window.verdict(quota.limit, now);
                if verdict.retry_after.is_none() {
                    window.present = window.present.saturating_add(1);
                }
                verdict
            });
            if verdict.retry_after.is_some() {
                for taken in quotas.get(..index).unwrap_or_default() {
                    self.with(taken.subject, now, |window| window.present = window.present.saturating_sub(1));
                }
                return Some(verdict);
            }
            tightest = Some(tightest.map_or(verdict, |other| other.tighter(verdict)));
        }
        tightest
    }

    fn with<R>(&self, subject: Subject, now: i64, f: impl FnOnce(&mut Window) -> R) -> R {
        let index = usize::try_from(self.hasher.hash_one(subject) % SHARDS as u64).unwrap_or(0);
        // Counts are whole after every step, so a lock whose holder panicked is as good as any.
        let mut shard = self.shards[index].lock().unwrap_or_else(PoisonError::into_inner);
        f(shard.window(subject, now))
    }
}

impl RateLimiter for Windows {
    fn take<'a>(&'a self, quotas: &'a [Quota], now: Instant) -> BoxFuture<'a, Option<Verdict>> {
        ready(self.count(quotas, now)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn quota(n: u32, limit: u32) -> Quota {
        Quota { subject: Subject::Address(IpAddr::V4(Ipv4Addr::from_bits(n))), limit }
    }

    const START: Instant = Instant::from_micros(1_000 * WINDOW);

    fn passes(windows: &Windows, quotas: &[Quota], now: Instant) -> bool {
        windows.count(quotas, now).unwrap().retry_after.is_none()
    }

    #[test]
    fn whoever_waits_as_long_as_told_is_let_in() {
        let states = (0..=9).flat_map(|before| (0..=9).map(move |present| (before, present)));
        for (before, present) in states {
            for (limit, elapsed) in (1..=9).flat_map(|limit| (0..60).map(move |s| (limit, s * 1_000_000 + 7)))
            {
                let window = Window { start: 0, before, present };
                if window.used(elapsed) < limit {
                    continue;
                }
                let wait = i64::try_from(window.until_free(limit, elapsed).as_micros()).unwrap();
                let later = elapsed + wait;
                assert!(window.at(later).used(later) < limit, "{window:?} {limit} {elapsed} {wait}");
                assert!(wait <= 2 * WINDOW, "{window:?} {limit} {elapsed} {wait}");
            }
        }
    }

    #[test]
    fn a_flood_of_subjects_does_not_grow_without_bound() {
        let windows = Windows::default();
        let flood = u32::try_from(SHARDS * MAX_PER_SHARD).unwrap() + 50_000;
        for n in 0..flood {
            assert!(passes(&windows, &[quota(n, 1)], START));
        }
        let kept: usize = windows.shards.iter().map(|shard| shard.lock().unwrap().windows.len()).sum();
        assert!(kept <= SHARDS * MAX_PER_SHARD);
    }
}
