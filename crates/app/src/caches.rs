//! What is asked for again and again and hardly ever changes: who a credential is, which modules are on, and how a Core
//! is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use scaigrid_bus::Recent;
use scaigrid_modules::{Effective, ModuleId, Reason};
use scaigrid_scope::{CoreId, Instant, Level, Principal, TenantId};

/// How many callers, and how many levels, are kept in mind.
const CALLERS: u64 = 50_000;
const LEVELS: u64 = 50_000;
/// How many bytes of written Cores are kept in mind, and of one of them.
const CORES: u64 = 8 << 20;
pub(crate) const CORE: usize = 1 << 20;

/// What a caller is known by: the digest of their key, and where they say they want to act.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CallerKey {
    pub(crate) hash: [u8; 32],
    pub(crate) tenant: Option<Box<str>>,
    pub(crate) partner: Option<Box<str>>,
}

/// Who a credential is, and until when.
#[derive(Clone)]
pub(crate) struct KnownCaller {
    pub(crate) principal: Arc<Principal>,
    pub(crate) expires_at: Option<Instant>,
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
    /// Who a credential is.
    pub(crate) callers: Recent<(), CallerKey, KnownCaller>,
    /// Which modules are on at a level.
    pub(crate) states: Recent<(), Level, ModuleStates>,
    /// How a Core of a tenant is written.
    pub(crate) cores: Recent<CoreId, TenantId, WrittenCore>,
}

impl Caches {
    pub(crate) fn new() -> Self {
        Self {
            callers: Recent::new(CALLERS),
            states: Recent::new(LEVELS),
            cores: Recent::of_bytes(CORES, |core| core.text.len()),
        }
    }
}
