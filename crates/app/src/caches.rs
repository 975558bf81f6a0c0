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
use scaigrid_modules::{Effective, ModuleId, Reason};
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
    count: u64,
    principal: Arc<Principal>,
    expires_at: Option<Instant>,
}

/// The states of all modules at one level.
pub(crate) type ModuleStates = Arc<States>;

/// The states of all modules, and what else is to be told of them.
#[derive(Debug, Default)]
pub(crate) struct States {
    pub(crate) effective: BTreeMap<ModuleId, Effective>,
    /// When those were disabled that are.
    pub(crate) disabled: BTreeMap<ModuleId, Instant>,
}

impl States {
    /// Since when a module has not been active: since it failed or was disabled, or since the module that it depends on
    /// was not. Unknown for one that nobody has ever enabled.
    pub(crate) fn since(&self, id: &ModuleId) -> Option<Instant> {
        match &self.effective.get(id)?.reason {
            Reason::Failed(failure) => Some(failure.at),
            // Dependencies are in no circle: the catalogue sees to that.
            Reason::DependencyNotActive(dependency) => self.since(dependency),
            _ => self.disabled.get(id).copied(),
        }
    }
}

pub(crate) struct Caches {
    people: AtomicU64,
    modules: AtomicU64,
    callers: Cache<CallerKey, KnownCaller>,
    states: Cache<Level, (u64, ModuleStates)>,
}

/// The count that a look-up began under.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun(u64);

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
            Some(known) if known.count == self.people.load(Ordering::SeqCst) => {
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
        Begun(self.people.load(Ordering::SeqCst))
    }

    pub(crate) fn keep_caller(
        &self,
        Begun(count): Begun,
        key: CallerKey,
        principal: &Arc<Principal>,
        expires_at: Option<Instant>,
    ) {
        let principal = Arc::clone(principal);
        self.callers.insert(key, KnownCaller { count, principal, expires_at });
    }

    pub(crate) fn states(&self, level: Level) -> Option<ModuleStates> {
        let (count, states) = self.states.get(&level)?;
        (count == self.modules.load(Ordering::SeqCst)).then_some(states)
    }

    /// To be called before the states are looked up.
    pub(crate) fn begin_states(&self) -> Begun {
        Begun(self.modules.load(Ordering::SeqCst))
    }

    pub(crate) fn keep_states(&self, Begun(count): Begun, level: Level, states: &ModuleStates) {
        self.states.insert(level, (count, Arc::clone(states)));
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
