//! What every request needs and hardly ever changes: who a credential is, and which modules are on.
//!
//! An entry is believed for a second at most, and only as long as nothing of its kind has been changed on this node or, as
//! far as the bus has told, on another. Forgetting is counting: an entry remembers the count that it was looked up under,
//! so one that was read before a change and stored after it is not believed either.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use scaigrid_modules::{Effective, ModuleId};
use scaigrid_scope::{Instant, Level, Principal};

/// How long an entry is believed when nobody says that it has changed.
const BELIEVED: Duration = Duration::from_secs(1);
/// How many callers, and how many levels, are kept in mind.
const CALLERS: u64 = 50_000;
const LEVELS: u64 = 50_000;

/// What a caller is known by: the digest of their key, and where they say they want to act.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CallerKey {
    pub(crate) hash: [u8; 32],
    pub(crate) tenant: Option<Box<str>>,
    pub(crate) partner: Option<Box<str>>,
}

#[derive(Clone)]
struct KnownCaller {
    begun: Begun,
    principal: Arc<Principal>,
    expires_at: Option<Instant>,
}

/// The states of all modules at one level.
pub(crate) type ModuleStates = Arc<BTreeMap<ModuleId, Effective>>;

pub(crate) struct Caches {
    people: AtomicU64,
    modules: AtomicU64,
    callers: Cache<CallerKey, KnownCaller>,
    states: Cache<Level, (Begun, ModuleStates)>,
}

/// When a look-up began, and the count that it began under.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    count: u64,
    at: std::time::Instant,
}

impl Begun {
    fn now(count: &AtomicU64) -> Self {
        Self { count: count.load(Ordering::SeqCst), at: std::time::Instant::now() }
    }

    /// Whether what was looked up since then is still believed. A look-up may take long, so it does not count from its end.
    fn is_believed(self, count: &AtomicU64) -> bool {
        self.count == count.load(Ordering::SeqCst) && self.at.elapsed() < BELIEVED
    }
}

/// What the cache says of a caller.
pub(crate) enum Remembered {
    Known(Arc<Principal>),
    Expired,
    Nothing,
}

impl Caches {
    pub(crate) fn new() -> Self {
        Self {
            people: AtomicU64::new(0),
            modules: AtomicU64::new(0),
            callers: Cache::builder().max_capacity(CALLERS).time_to_live(BELIEVED).build(),
            states: Cache::builder().max_capacity(LEVELS).time_to_live(BELIEVED).build(),
        }
    }

    pub(crate) fn forget_people(&self) {
        self.people.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn forget_modules(&self) {
        self.modules.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn caller(&self, key: &CallerKey, now: Instant) -> Remembered {
        match self.callers.get(key) {
            Some(known) if known.begun.is_believed(&self.people) => {
                if known.expires_at.is_some_and(|expiry| expiry <= now) {
                    Remembered::Expired
                } else {
                    Remembered::Known(known.principal)
                }
            }
            _ => Remembered::Nothing,
        }
    }

    /// To be called before the caller is looked up.
    pub(crate) fn begin_caller(&self) -> Begun {
        Begun::now(&self.people)
    }

    pub(crate) fn keep_caller(
        &self,
        begun: Begun,
        key: CallerKey,
        principal: &Arc<Principal>,
        expires_at: Option<Instant>,
    ) {
        let principal = Arc::clone(principal);
        self.callers.insert(key, KnownCaller { begun, principal, expires_at });
    }

    pub(crate) fn states(&self, level: Level) -> Option<ModuleStates> {
        let (begun, states) = self.states.get(&level)?;
        begun.is_believed(&self.modules).then_some(states)
    }

    /// To be called before the states are looked up.
    pub(crate) fn begin_states(&self) -> Begun {
        Begun::now(&self.modules)
    }

    pub(crate) fn keep_states(&self, begun: Begun, level: Level, states: &ModuleStates) {
        self.states.insert(level, (begun, Arc::clone(states)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_change_is_not_believed_after_it() {
        let caches = Caches::new();
        let ulid = scaigrid_engine::Ids::new().draw(Instant::from_micros(1));
        let tenant = Level::Tenant(scaigrid_scope::TenantId::from_ulid(ulid));
        let states = ModuleStates::default();
        let begun = caches.begin_states();
        caches.keep_states(begun, tenant, &states);
        assert!(caches.states(tenant).is_some());

        let begun = caches.begin_states();
        caches.forget_modules();
        assert!(caches.states(tenant).is_none());
        caches.keep_states(begun, tenant, &states);
        assert!(caches.states(tenant).is_none());
        caches.keep_states(caches.begin_states(), tenant, &states);
        assert!(caches.states(tenant).is_some());
    }
}
