//! The time that all nodes of a database have.
//!
//! Leases, timers and deadlines are instants that one node writes and others compare with their present. The clocks of machines
//! differ, by minutes where nobody looks after them, and are set while processes run. So the time of a platform of several nodes
//! is its database's: each node asks for it at its start and with every renewal of its lease, and counts on from there by a clock
//! that nobody sets.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant as Moment};

use metrics::gauge;
use scaigrid_scope::{Clock, Instant};

/// Differences that are left alone, beyond what the asking itself may have made of them: time goes on evenly rather than
/// following every breath of the network.
const TOLERANCE: Duration = Duration::from_millis(20);
/// From here on an operator is told that a machine's clock is wrong.
const REMARKABLE: Duration = Duration::from_secs(1);

/// A clock that keeps the time of others, once it was told.
pub struct AgreedClock {
    own: Arc<dyn Clock>,
    /// What time it was, and when.
    agreed: RwLock<Option<(Instant, Moment)>>,
}

impl AgreedClock {
    /// A clock that tells its own time until it is told another.
    pub fn new(own: Arc<dyn Clock>) -> Self {
        Self { own, agreed: RwLock::new(None) }
    }
}

impl std::fmt::Debug for AgreedClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AgreedClock").field(&self.now()).finish()
    }
}

impl Clock for AgreedClock {
    fn now(&self) -> Instant {
        let agreed = *self.agreed.read().unwrap_or_else(PoisonError::into_inner);
        agreed.map_or_else(|| self.own.now(), |(then, since)| then.plus(since.elapsed()))
    }

    fn agree(&self, theirs: Instant, within: Duration) {
        let (ours, own) = (self.now(), self.own.now());
        let mut agreed = self.agreed.write().unwrap_or_else(PoisonError::into_inner);
        if agreed.is_none() || apart(ours, theirs) > within + TOLERANCE {
            if agreed.is_some() {
                tracing::warn!(%ours, %theirs, "the database's clock was set, or this machine stood still");
            } else if apart(own, theirs) > within + REMARKABLE {
                tracing::warn!(%own, %theirs, "this machine's clock is wrong; the database's counts");
            }
            *agreed = Some((theirs, Moment::now()));
        }
        let offset = own.since(theirs).as_secs_f64() - theirs.since(own).as_secs_f64();
        gauge!("scaigrid_clock_offset_seconds").set(offset);
    }
}

fn apart(one: Instant, other: Instant) -> Duration {
    one.since(other).max(other.since(one))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    struct Wall(AtomicI64);

    impl Clock for Wall {
        fn now(&self) -> Instant {
            Instant::from_micros(self.0.load(Ordering::SeqCst))
        }
    }

    const HOUR: Duration = Duration::from_hours(1);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn once_told_it_does_not_follow_the_wall() {
        let wall = Arc::new(Wall(AtomicI64::new(0)));
        let clock = AgreedClock::new(Arc::clone(&wall) as Arc<dyn Clock>);
        assert_eq!(clock.now(), Instant::from_micros(0));
        wall.0.store(7, Ordering::SeqCst);
        assert_eq!(clock.now(), Instant::from_micros(7), "alone it has only the wall");
        let theirs = Instant::from_micros(0).plus(HOUR);
        clock.agree(theirs, Duration::ZERO);
        wall.0.store(i64::MAX / 2, Ordering::SeqCst);
        assert!(apart(clock.now(), theirs) < 30 * SECOND, "{clock:?}");
    }

    #[test]
    fn it_is_put_right_where_the_difference_is_no_accident_of_the_asking() {
        let clock = AgreedClock::new(Arc::new(Wall(AtomicI64::new(0))));
        let start = Instant::from_micros(0).plus(HOUR);
        clock.agree(start, Duration::ZERO);
        clock.agree(start.plus(HOUR), 2 * HOUR);
        assert!(apart(clock.now(), start) < 30 * SECOND, "as uncertain as it is different: {clock:?}");
        clock.agree(start.plus(HOUR), SECOND);
        assert!(apart(clock.now(), start.plus(HOUR)) < 30 * SECOND, "{clock:?}");
    }
}
