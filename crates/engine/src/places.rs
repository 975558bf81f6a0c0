//! The places of executions that a node runs in the background, given round robin by tenant, then by Core, then in the order in
//! which they were asked for. Who asks for many waits behind nobody but themselves.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scaigrid_scope::{CoreId, TenantId};
use tokio::sync::{Notify, oneshot};

/// The places of a node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Places(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    all: usize,
    /// Rung when all are free.
    quiet: Notify,
}

struct State {
    free: usize,
    /// Whether nobody gets a place any more.
    closed: bool,
    waiting: Ring<TenantId, Ring<Option<CoreId>, VecDeque<oneshot::Sender<Place>>>>,
}

/// A place. It is free again when the value is dropped.
pub(crate) struct Place(Option<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(places) = self.0.take() {
            places.give();
        }
    }
}

impl Places {
    pub(crate) fn new(all: usize) -> Self {
        let state = State { free: all, closed: false, waiting: Ring::default() };
        Self(Arc::new(Inner { state: Mutex::new(state), all, quiet: Notify::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are free.
    pub(crate) fn free(&self) -> usize {
        self.state().free
    }

    /// A place, if one is free and nobody waits for it.
    pub(crate) fn at_once(&self) -> Option<Place> {
        let mut state = self.state();
        if state.closed || state.free == 0 || !state.waiting.is_empty() {
            return None;
        }
        state.free -= 1;
        Some(Place(Some(self.clone())))
    }

    /// A place, when it is this tenant's and Core's turn.
    pub(crate) async fn take(&self, tenant: TenantId, core: Option<CoreId>) -> Place {
        if let Some(place) = self.at_once() {
            return place;
        }
        let told = {
            let mut state = self.state();
            let (tell, told) = oneshot::channel();
            state.waiting.entry(tenant).entry(core).push_back(tell);
            told
        };
        // One may have become free between the two looks.
        self.hand_out();
        match told.await {
            Ok(place) => place,
            // Nobody gets one any more.
            Err(_) => std::future::pending().await,
        }
    }

    /// Gives places to nobody any more.
    pub(crate) fn close(&self) {
        self.state().closed = true;
    }

    /// Waits until all are free.
    pub(crate) async fn quiet(&self) {
        loop {
            let rung = self.0.quiet.notified();
            if self.free() == self.0.all {
                return;
            }
            rung.await;
        }
    }

    fn give(&self) {
        let quiet = {
            let mut state = self.state();
            state.free += 1;
            state.free == self.0.all
        };
        if quiet {
            self.0.quiet.notify_waiters();
        }
        self.hand_out();
    }

    /// Gives what is free to whoever's turn it is.
    fn hand_out(&self) {
        loop {
            let next = {
                let mut state = self.state();
                if state.closed || state.free == 0 {
                    return;
                }
                let Some(next) = state.waiting.next() else { return };
                state.free -= 1;
                next
            };
            // Who has gone away in between gives it back, without a call of a call of a call.
            if let Err(mut refused) = next.send(Place(Some(self.clone())))
                && refused.0.take().is_some()
            {
                self.state().free += 1;
            }
        }
    }
}

/// What gives out one thing after the other.
trait Turns: Default {
    type Item;
    fn next(&mut self) -> Option<Self::Item>;
    fn is_empty(&self) -> bool;
}

impl<T> Turns for VecDeque<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.pop_front()
    }

    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

/// Things that belong to somebody, given out round robin.
struct Ring<K, Q> {
    /// Whose turn it is, and who comes next.
    order: VecDeque<K>,
    of: HashMap<K, Q>,
}

impl<K, Q> Default for Ring<K, Q> {
    fn default() -> Self {
        Self { order: VecDeque::new(), of: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash, Q: Turns> Ring<K, Q> {
    /// What belongs to somebody, who gets a turn if they had none.
    fn entry(&mut self, key: K) -> &mut Q {
        self.of.entry(key).or_insert_with(|| {
            self.order.push_back(key);
            Q::default()
        })
    }
}

impl<K: Copy + Eq + Hash, Q: Turns> Turns for Ring<K, Q> {
    type Item = Q::Item;

    fn next(&mut self) -> Option<Q::Item> {
        loop {
            let key = self.order.pop_front()?;
            let Some(things) = self.of.get_mut(&key) else { continue };
            let next = things.next();
            if things.is_empty() {
                self.of.remove(&key);
            } else {
                self.order.push_back(key);
            }
            if next.is_some() {
                return next;
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::sync::mpsc;
    use ulid::Ulid;

    use super::*;

    fn tenant(number: u128) -> TenantId {
        TenantId::from_ulid(Ulid(number))
    }

    fn core(number: u128) -> CoreId {
        CoreId::from_ulid(Ulid(number))
    }

    #[tokio::test]
    async fn who_floods_waits_behind_themselves() {
        let places = Places::new(1);
        let held = places.at_once().unwrap();
        let (tell, mut told) = mpsc::unbounded_channel();
        // Tenant 1 asks a hundred times for Core 1 and once for Core 2; tenant 2 asks once.
        let asked = (0..100).map(|_| (1, 1)).chain([(1, 2), (2, 3)]);
        for (whose, which) in asked {
            let (places, tell) = (places.clone(), tell.clone());
            tokio::spawn(async move {
                let place = places.take(tenant(whose), Some(core(which))).await;
                tell.send((whose, which)).unwrap();
                drop(place);
            });
            tokio::task::yield_now().await;
        }
        drop(held);
        let mut order = Vec::new();
        for _ in 0..102 {
            order.push(tokio::time::timeout(Duration::from_secs(10), told.recv()).await.unwrap().unwrap());
        }
        let at = |wanted| order.iter().position(|one| *one == wanted).unwrap();
        assert!(at((2, 3)) <= 2 && at((1, 2)) <= 3, "{:?}", &order[..6]);
        places.quiet().await;
        assert_eq!(places.free(), 1);
    }

    #[tokio::test]
    async fn who_goes_away_leaves_no_place_behind() {
        let places = Places::new(2);
        let held = [places.at_once().unwrap(), places.at_once().unwrap()];
        assert!(places.at_once().is_none());
        for number in 0..50 {
            let waiting = places.take(tenant(number % 3), None);
            assert!(tokio::time::timeout(Duration::from_millis(1), waiting).await.is_err());
        }
        drop(held);
        assert_eq!(places.free(), 2);
        let place = places.take(tenant(1), None).await;
        places.close();
        assert!(places.at_once().is_none());
        drop(place);
        places.quiet().await;
    }

    proptest! {
        #[test]
        fn a_ring_gives_everything_and_nobody_gets_two_while_another_waits(
            asked in proptest::collection::vec(0_u16..4, 0..60)
        ) {
            let mut ring: Ring<u16, VecDeque<usize>> = Ring::default();
            for (at, whose) in asked.iter().enumerate() {
                ring.entry(*whose).push_back(at);
            }
            let mut left: Vec<usize> = (0..4).map(|who| asked.iter().filter(|one| **one == who).count()).collect();
            let (mut given, mut last) = (0, None);
            while let Some(at) = ring.next() {
                let whose = usize::from(asked[at]);
                let others = left.iter().enumerate().any(|(who, left)| who != whose && *left > 0);
                prop_assert!(!(last == Some(whose) && others));
                left[whose] -= 1;
                last = Some(whose);
                given += 1;
            }
            prop_assert_eq!(given, asked.len());
            prop_assert!(Turns::is_empty(&ring));
        }
    }
}
