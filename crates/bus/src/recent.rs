//! What is asked for all the time and hardly ever changes: kept for a second at most, and only as long as no signal says that it has
//! changed. When it has grown old, one looks it up and the others wait for that.
//!
//! Forgetting is counting: an entry remembers the count that it was looked up under, so one that was read before a change and
//! kept after it is not believed either.

use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::sync::{Cache, CacheBuilder};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// How long an entry is believed when nobody says that it has changed.
const BELIEVED: Duration = Duration::from_secs(1);
/// How long one waits for what another one looks up.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many things have a queue at the same time, and for how long when nobody comes. Past it some are looked up side by side.
const QUEUES: u64 = 50_000;
const IDLE: Duration = Duration::from_secs(10);
/// Changes are counted in so many places by what has changed, so that one does not make everything be forgotten.
const COUNTS: u8 = 64;

/// What was looked up lately. An entry has a key of two parts: what it is about, which is forgotten as a whole when it changes, and what
/// else chooses it. Cheap to ask.
pub struct Recent<S, K, V> {
    entries: Entries<S, K, V>,
    queues: Cache<(S, K), Arc<Mutex<()>>>,
    changes: [AtomicU64; COUNTS as usize],
}

type Entries<S, K, V> = Cache<(S, K), (Begun, V)>;
type EntriesBuilder<S, K, V> = CacheBuilder<(S, K), (Begun, V), Entries<S, K, V>>;

/// When a look-up began, and the count that it began under.
#[derive(Debug, Clone, Copy)]
struct Begun {
    count: u64,
    at: Instant,
}

/// A look-up under way. Whoever waits for the same goes on when it is dropped.
pub struct LookUp<'a, S, K, V> {
    recent: &'a Recent<S, K, V>,
    key: (S, K),
    begun: Begun,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl<S, K, V> Recent<S, K, V>
where
    S: Hash + Eq + Clone + Send + Sync + 'static,
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Nothing yet, and never more than so many entries.
    pub fn new(entries: u64) -> Self {
        Self::built(Cache::builder().max_capacity(entries))
    }

    /// Nothing yet, and never more than so many bytes, of which an entry has as many as `bytes_of` says.
    pub fn of_bytes(bytes: u64, bytes_of: fn(&V) -> usize) -> Self {
        let weight =
            move |_: &(S, K), (_, value): &(Begun, V)| u32::try_from(bytes_of(value)).unwrap_or(u32::MAX);
        Self::built(Cache::builder().max_capacity(bytes).weigher(weight))
    }

    fn built(entries: EntriesBuilder<S, K, V>) -> Self {
        Self {
            entries: entries.time_to_live(BELIEVED).build(),
            queues: Cache::builder().max_capacity(QUEUES).time_to_idle(IDLE).build(),
            changes: [const { AtomicU64::new(0) }; COUNTS as usize],
        }
    }

    /// What is kept, if it is still believed.
    pub fn get(&self, key: &(S, K)) -> Option<V> {
        let (begun, value) = self.entries.get(key)?;
        // A look-up may take long, so it does not count from its end.
        let believed =
            begun.count == self.count(&key.0).load(Ordering::SeqCst) && begun.at.elapsed() < BELIEVED;
        believed.then_some(value)
    }

    /// Begins a look-up once nobody else looks up the same, after a second at most. Whoever has waited asks first whether it is
    /// kept now.
    pub async fn look_up(&self, key: (S, K)) -> LookUp<'_, S, K, V> {
        let queue = self.queues.get_with_by_ref(&key, Arc::default);
        let turn = tokio::time::timeout(PATIENCE, queue.lock_owned()).await.ok();
        LookUp { _turn: turn, ..self.look_up_beside(key) }
    }

    /// Begins a look-up whoever else does the same.
    pub fn look_up_beside(&self, key: (S, K)) -> LookUp<'_, S, K, V> {
        let begun = Begun { count: self.count(&key.0).load(Ordering::SeqCst), at: Instant::now() };
        LookUp { recent: self, key, begun, _turn: None }
    }

    /// Forgets everything about something, for it has changed. What is being looked up now is not kept.
    pub fn forget(&self, about: &S) {
        self.count(about).fetch_add(1, Ordering::SeqCst);
    }

    /// Forgets everything.
    pub fn forget_all(&self) {
        for count in &self.changes {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn count(&self, about: &S) -> &AtomicU64 {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(about);
        &self.changes[usize::from(hash.to_le_bytes()[0] % COUNTS)]
    }
}

impl<S, K, V> LookUp<'_, S, K, V>
where
    S: Hash + Eq + Clone + Send + Sync + 'static,
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// What somebody else has found while this one waited.
    pub fn kept(&self) -> Option<V> {
        self.recent.get(&self.key)
    }

    /// Keeps what was found.
    pub fn keep(self, found: V) {
        self.recent.entries.insert(self.key, (self.begun, found));
    }
}

impl<S, K, V> fmt::Debug for Recent<S, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent").finish_non_exhaustive()
    }
}

impl<S, K, V> fmt::Debug for LookUp<'_, S, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookUp").field("begun", &self.begun).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    #[test]
    fn what_was_read_before_a_change_is_not_believed_after_it() {
        let recent = Recent::new(10);
        let (key, neighbour) = (("core", 1), ("other", 1));
        recent.look_up_beside(key).keep("as it was");
        recent.look_up_beside(neighbour).keep("the other");
        assert_eq!(recent.get(&key), Some("as it was"));
        assert_eq!(recent.get(&("core", 2)), None);

        let begun = recent.look_up_beside(key);
        recent.forget(&"core");
        assert_eq!(recent.get(&key), None);
        assert_eq!(recent.get(&neighbour), Some("the other"), "another one's change is no reason");
        begun.keep("as it was");
        assert_eq!(recent.get(&key), None, "it was looked up before the change");
        recent.look_up_beside(key).keep("as it is");
        assert_eq!(recent.get(&key), Some("as it is"));

        recent.forget_all();
        assert_eq!((recent.get(&key), recent.get(&neighbour)), (None, None));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let recent = Recent::of_bytes(10, |text: &&str| text.len());
        recent.look_up_beside(((), 1)).keep("a dozen bytes");
        recent.entries.run_pending_tasks();
        assert_eq!(recent.get(&((), 1)), None);
        recent.look_up_beside(((), 1)).keep("few");
        assert_eq!(recent.get(&((), 1)), Some("few"));
    }

    #[tokio::test]
    async fn who_wants_the_same_waits_but_not_for_ever() {
        let recent = Recent::new(10);
        let first = recent.look_up(((), "a")).await;
        assert_eq!(first.kept(), None);
        drop(recent.look_up(((), "b")).await);
        let mut second = pin!(recent.look_up(((), "a")));
        assert!(poll!(&mut second).is_pending());
        first.keep(1);
        let second = second.await;
        assert_eq!(second.kept(), Some(1), "the first one has found it");
        // The second one takes long: the third goes on beside it.
        let third = recent.look_up(((), "a")).await;
        drop((second, third));
    }
}
