//! What a node knows of its own lease, without asking anybody.
//!
//! A node that stood still for a while, or was cut off, does not know what others have taken on meanwhile. Whatever it writes is
//! refused by the epoch; a call to the outside is refused by nobody. So before a call goes out the node looks whether its lease has
//! held without a break since it last knew the execution for its own, by a clock that counts while the process stands still.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a node's lease holds. Others take its executions when it has ended: within ten seconds of its death.
pub(crate) const LEASE: Duration = Duration::from_secs(6);
/// How long a node believes in its own: less, by more than what nodes differ in what time it is.
const BELIEVED: Duration = Duration::from_secs(5);
/// Longer than it takes from a look at the leases to the end of the transaction that acts on it.
const SETTLING: Duration = Duration::from_millis(500);

/// A stretch of time in which a lease held without a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Term(u64);

/// The lease of this node, as it knows of it.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Whether others could take this node's executions at all.
    shared: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    good_until: Option<Instant>,
    term: Term,
    began: Instant,
    ended: bool,
}

impl Lease {
    pub(crate) fn new(shared: bool) -> Self {
        // The first renewal begins the first term: nothing was ever known in the one before.
        let state = State { good_until: None, term: Term(0), began: Instant::now(), ended: false };
        Self { shared, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was renewed by what was asked at an instant. `taken_anew`: others had declared the node dead.
    pub(crate) fn renewed(&self, asked_at: Instant, taken_anew: bool) {
        let mut state = self.state();
        if taken_anew || state.good_until.is_none_or(|until| until <= Instant::now()) {
            state.term.0 += 1;
            state.began = Instant::now();
        }
        let until = asked_at + BELIEVED;
        state.good_until = Some(state.good_until.map_or(until, |known| known.max(until)));
    }

    /// It is given back: nothing begins any more.
    pub(crate) fn end(&self) {
        self.state().ended = true;
    }

    /// Whether it was given back.
    pub(crate) fn has_ended(&self) -> bool {
        self.state().ended
    }

    /// The present term; none while the lease is over as far as this node knows.
    pub(crate) fn term(&self) -> Option<Term> {
        let state = self.state();
        let good = !self.shared || state.good_until.is_some_and(|until| Instant::now() < until);
        (good && !state.ended).then_some(state.term)
    }

    /// How long the present term is too young for what the database says to be the last word: somebody who found the lease ended
    /// may be about to act on that.
    pub(crate) fn unsettled(&self) -> Duration {
        let settled = self.state().began + SETTLING;
        if self.shared { settled.saturating_duration_since(Instant::now()) } else { Duration::ZERO }
    }

    /// Whether it has held since a term that was asked for before.
    pub(crate) fn holds_since(&self, term: Option<Term>) -> bool {
        term.is_some() && self.term() == term
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ago(time: Duration) -> Instant {
        Instant::now().checked_sub(time).unwrap()
    }

    #[test]
    fn it_is_believed_for_less_than_it_holds() {
        assert!(BELIEVED < LEASE);
    }

    #[test]
    fn a_lease_that_is_renewed_in_time_is_one_term() {
        let lease = Lease::new(true);
        assert_eq!(lease.term(), None, "before the first");
        lease.renewed(ago(Duration::from_secs(2)), false);
        let term = lease.term();
        assert!(lease.holds_since(term));
        lease.renewed(Instant::now(), false);
        assert!(lease.holds_since(term));
        lease.renewed(Instant::now(), true);
        assert!(!lease.holds_since(term), "others had taken it for dead");
        assert!(!lease.holds_since(None));
    }

    #[test]
    fn a_lease_that_was_over_for_a_moment_is_another_term() {
        let lease = Lease::new(true);
        lease.renewed(ago(Duration::from_millis(4_900)), false);
        let term = lease.term();
        assert!(term.is_some());
        std::thread::sleep(Duration::from_millis(200));
        assert!(!lease.holds_since(term), "it is over");
        lease.renewed(Instant::now(), false);
        assert!(!lease.holds_since(term), "and what happened meanwhile is not known");
        assert!(lease.holds_since(lease.term()));
        lease.end();
        assert_eq!(lease.term(), None);
    }

    #[test]
    fn where_nobody_else_is_nothing_is_lost() {
        let lease = Lease::new(false);
        let term = lease.term();
        assert!(lease.holds_since(term));
        lease.end();
        assert!(!lease.holds_since(term));
    }
}
