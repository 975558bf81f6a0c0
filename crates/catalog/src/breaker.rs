//! The circuit breaker of a backend: one that keeps failing is left alone for a while, and then tried by one call.

use std::time::Duration;

use scaigrid_scope::Instant;

/// How many calls in a row must fail before a backend is left alone.
pub const THRESHOLD: u32 = 5;
/// For how long it is left alone at first; twice as long whenever the trial fails.
pub const FIRST_REST: Duration = Duration::from_secs(10);
/// For how long at most.
pub const LONGEST_REST: Duration = Duration::from_mins(5);
/// After how long a trial that nobody has told the end of counts as lost.
pub const TRIAL: Duration = Duration::from_mins(2);

/// How a backend is, as its callers have found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Breaker {
    /// It is asked.
    #[default]
    Closed,
    /// It is asked, and has failed some times in a row.
    Failing {
        /// How many times.
        times: u32,
    },
    /// It is left alone.
    Open {
        /// Until then.
        until: Instant,
        /// For how long that is.
        rest: Duration,
    },
    /// One call tries it.
    Trial {
        /// Since when.
        since: Instant,
        /// For how long it was left alone.
        rest: Duration,
    },
}

impl Breaker {
    /// Whether it may be asked now; none where not. Whoever gets an answer makes the call, and tells how it ended.
    pub fn admit(self, now: Instant) -> Option<Self> {
        match self {
            Self::Closed | Self::Failing { .. } => Some(self),
            Self::Open { until, rest } => (until <= now).then_some(Self::Trial { since: now, rest }),
            Self::Trial { since, rest } => {
                (now.since(since) >= TRIAL).then_some(Self::Trial { since: now, rest })
            }
        }
    }

    /// After a call that went well.
    #[must_use]
    pub fn succeeded(self) -> Self {
        Self::Closed
    }

    /// After a call that failed by the backend's fault.
    #[must_use]
    pub fn failed(self, now: Instant) -> Self {
        match self {
            Self::Closed => Self::Failing { times: 1 },
            Self::Failing { times } if times + 1 < THRESHOLD => Self::Failing { times: times + 1 },
            Self::Failing { .. } => Self::Open { until: now.plus(FIRST_REST), rest: FIRST_REST },
            // Of calls that began before it was opened.
            Self::Open { .. } => self,
            Self::Trial { rest, .. } => {
                let rest = rest.saturating_mul(2).min(LONGEST_REST);
                Self::Open { until: now.plus(rest), rest }
            }
        }
    }

    /// After a call whose end says nothing of the backend: it was broken off, or was wrong in itself.
    #[must_use]
    pub fn undecided(self, now: Instant) -> Self {
        match self {
            // The next one may try.
            Self::Trial { rest, .. } => Self::Open { until: now, rest },
            other => other,
        }
    }

    /// In how long it may be asked again; zero where it may be now.
    pub fn rest(self, now: Instant) -> Duration {
        match self {
            Self::Closed | Self::Failing { .. } => Duration::ZERO,
            Self::Open { until, .. } => until.since(now),
            Self::Trial { since, .. } => since.plus(TRIAL).since(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn open() -> Breaker {
        (0..THRESHOLD).fold(Breaker::default(), |breaker, _| breaker.failed(at(0)))
    }

    #[test]
    fn it_opens_after_some_failures_in_a_row() {
        let four = (1..THRESHOLD).fold(Breaker::default(), |breaker, _| breaker.failed(at(0)));
        assert!(four.admit(at(0)).is_some());
        assert_eq!(four.succeeded(), Breaker::Closed);
        assert_eq!(four.failed(at(0)), Breaker::Open { until: at(10), rest: FIRST_REST });
        assert_eq!(open().admit(at(9)), None);
        assert_eq!(open().rest(at(4)), Duration::from_secs(6));
    }

    #[test]
    fn one_call_tries_it_again() {
        let trial = open().admit(at(10)).unwrap();
        assert_eq!(trial.admit(at(11)), None, "only one");
        assert_eq!(trial.succeeded(), Breaker::Closed);
        let longer = Breaker::Open { until: at(31), rest: Duration::from_secs(20) };
        assert_eq!(trial.failed(at(11)), longer);
        assert!(trial.undecided(at(11)).admit(at(11)).is_some(), "the next one may try");
        assert!(trial.admit(at(10 + 120)).is_some(), "a trial that was lost holds nobody up");
    }

    proptest! {
        /// Whatever happens, it is asked again some day, and the rest is bounded.
        #[test]
        fn nothing_is_left_alone_for_ever(events in prop::collection::vec((0u8..4, 0i64..100), 0..60)) {
            let (mut breaker, mut now) = (Breaker::default(), 0);
            for (event, pause) in events {
                now += pause;
                breaker = match event {
                    0 => breaker.succeeded(),
                    1 => breaker.failed(at(now)),
                    2 => breaker.undecided(at(now)),
                    _ => breaker.admit(at(now)).unwrap_or(breaker),
                };
                prop_assert!(breaker.rest(at(now)) <= LONGEST_REST);
                prop_assert!(breaker.admit(at(now + 301)).is_some());
            }
        }
    }
}
