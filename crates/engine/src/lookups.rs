//! One looks something up, the others wait for it: when what many ask for all the time has grown old, whoever comes first asks the
//! database, and the rest take what is kept then.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// How long one waits for what another one looks up.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many things have a queue at the same time, and for how long when nobody comes. Past it some are looked up side by side.
const QUEUES: u64 = 50_000;
const IDLE: Duration = Duration::from_secs(10);

/// Whose turn it is to look something up.
pub struct Lookups<K>(Cache<K, Arc<Mutex<()>>>);

impl<K: Hash + Eq + Send + Sync + 'static> Lookups<K> {
    /// Nobody looks anything up.
    pub fn new() -> Self {
        Self(Cache::builder().max_capacity(QUEUES).time_to_idle(IDLE).build())
    }

    /// Waits while somebody else looks up the same, a second at most; what is held until it is found and kept. Whoever has
    /// waited looks first whether it is kept now.
    pub async fn turn(&self, key: K) -> Option<OwnedMutexGuard<()>> {
        let queue = self.0.get_with(key, Arc::default);
        tokio::time::timeout(PATIENCE, queue.lock_owned()).await.ok()
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> Default for Lookups<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> fmt::Debug for Lookups<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookups").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn who_wants_the_same_waits_but_not_for_ever() {
        let lookups = Lookups::new();
        let first = lookups.turn("a").await;
        assert!(first.is_some());
        assert!(lookups.turn("b").await.is_some(), "that is something else");
        let mut second = pin!(lookups.turn("a"));
        assert!(poll!(&mut second).is_pending());
        drop(first);
        let second = second.await;
        assert!(second.is_some());
        assert!(lookups.turn("a").await.is_none(), "the other one takes long");
    }
}
