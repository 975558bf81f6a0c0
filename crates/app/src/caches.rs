//! What is asked for again and again and hardly ever changes: who a credential is, which modules are on, and how a Core
//! is written.
//!
//! An entry is believed for a second at most, and only as long as nothing of its kind has been changed on this node or, as
//! far as the bus has told, on another. Forgetting is counting: an entry remembers the count that it was looked up under,
//! so one that was read before a change and stored after it is not believed either.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use scaigrid_engine::Lookups;
use scaigrid_modules::{Effective, ModuleId, Reason};
use scaigrid_scope::{CoreId, Instant, Level, Principal, TenantId};

/// How long an entry is believed when nobody says that it has changed.
const BELIEVED: Duration = Duration::from_secs(1);
/// How many callers, and how many levels, are kept in mind.
const CALLERS: u64 = 50_000;
const LEVELS: u64 = 50_000;
/// How many bytes of written Cores are kept in mind, and of one of them.
const CORES: u64 = 8 << 20;
const CORE: usize = 1 << 20;
/// Changes of Cores are counted in so many places, so that those of one tenant do not make all others be forgotten.
const CORE_COUNTS: usize = 64;

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
pub type ModuleStates = Arc<States>;

/// The states of all modules, and what else is to be told of them.
#[derive(Debug, Default)]
pub struct States {
    /// By module.
    pub effective: BTreeMap<ModuleId, Effective>,
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

/// A Core as the edge writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenCore {
    /// The revision that it stood at.
    pub revision: i64,
    /// What the edge made of it.
    pub text: Arc<[u8]>,
}

pub(crate) struct Caches {
    people: AtomicU64,
    modules: AtomicU64,
    cores: [AtomicU64; CORE_COUNTS],
    callers: Cache<CallerKey, KnownCaller>,
    states: Cache<Level, (Begun, ModuleStates)>,
    written: Cache<(TenantId, CoreId), (Begun, WrittenCore)>,
    /// Who looks up which caller, and the states of which level.
    pub(crate) caller_lookups: Lookups<CallerKey>,
    pub(crate) state_lookups: Lookups<Level>,
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
        let weight = |_: &(TenantId, CoreId), (_, core): &(Begun, WrittenCore)| {
            u32::try_from(core.text.len()).unwrap_or(u32::MAX)
        };
        Self {
            people: AtomicU64::new(0),
            modules: AtomicU64::new(0),
            cores: [const { AtomicU64::new(0) }; CORE_COUNTS],
            callers: Cache::builder().max_capacity(CALLERS).time_to_live(BELIEVED).build(),
            states: Cache::builder().max_capacity(LEVELS).time_to_live(BELIEVED).build(),
            written: Cache::builder().weigher(weight).max_capacity(CORES).time_to_live(BELIEVED).build(),
            caller_lookups: Lookups::new(),
            state_lookups: Lookups::new(),
        }
    }

    pub(crate) fn forget_people(&self) {
        self.people.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn forget_modules(&self) {
        self.modules.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn forget_core(&self, core: CoreId) {
        self.core_count(core).fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn forget_cores(&self) {
        for count in &self.cores {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn core_count(&self, core: CoreId) -> &AtomicU64 {
        // The last bits of an id are drawn.
        &self.cores[core.ulid().0 as usize % CORE_COUNTS]
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

    pub(crate) fn written_core(&self, tenant: TenantId, core: CoreId) -> Option<WrittenCore> {
        let (begun, written) = self.written.get(&(tenant, core))?;
        begun.is_believed(self.core_count(core)).then_some(written)
    }

    /// To be called before the Core is looked up.
    pub(crate) fn begin_core(&self, core: CoreId) -> Begun {
        Begun::now(self.core_count(core))
    }

    /// Keeps how a Core is written, unless that is long.
    pub(crate) fn keep_core(&self, begun: Begun, tenant: TenantId, core: CoreId, written: &WrittenCore) {
        if written.text.len() <= CORE {
            self.written.insert((tenant, core), (begun, written.clone()));
        }
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

    #[test]
    fn a_core_is_remembered_in_its_tenant_until_it_changes() {
        let caches = Caches::new();
        let draw = |at| scaigrid_engine::Ids::new().draw(Instant::from_micros(at));
        let (tenant, other) = (TenantId::from_ulid(draw(1)), TenantId::from_ulid(draw(2)));
        let (core, neighbour) = (CoreId::from_ulid(ulid::Ulid(1)), CoreId::from_ulid(ulid::Ulid(2)));
        let written = WrittenCore { revision: 1, text: Arc::from(*b"{}") };
        let begun = caches.begin_core(core);
        caches.keep_core(begun, tenant, core, &written);
        assert_eq!(caches.written_core(tenant, core), Some(written.clone()));
        assert_eq!(caches.written_core(other, core), None);

        caches.forget_core(neighbour);
        assert_eq!(
            caches.written_core(tenant, core),
            Some(written.clone()),
            "another one's change is no reason"
        );
        caches.forget_core(core);
        assert_eq!(caches.written_core(tenant, core), None);
        caches.keep_core(begun, tenant, core, &written);
        assert_eq!(caches.written_core(tenant, core), None, "it was looked up before the change");

        let long = WrittenCore { revision: 1, text: vec![b' '; CORE + 1].into() };
        caches.keep_core(caches.begin_core(core), tenant, core, &long);
        assert_eq!(caches.written_core(tenant, core), None);
        caches.keep_core(caches.begin_core(core), tenant, core, &written);
        caches.forget_cores();
        assert_eq!(caches.written_core(tenant, core), None);
    }
}
