//! The use cases: one function per thing a user does.
//!
//! A use case authorises, asks the domain, persists the change together with its audit record, and publishes
//! what follows. It knows nothing of HTTP: what can go wrong is told in the domain's words by [`Error`], and
//! the edge decides how that looks on the wire.
//!
//! Whoever calls one shows a token that proves a permission ([`scaigrid_scope::Authorized`]), so that no use case can be
//! reached without the check. What a use case needs beyond the token and its arguments is in [`App`].

pub mod api_keys;
pub mod audit;
mod auth;
pub mod backup;
pub mod bootstrap;
mod caches;
pub mod catalog;
pub mod checkpoints;
pub mod conversations;
pub mod cores;
pub mod custom_roles;
pub mod desired;
pub mod error;
pub mod executions;
pub mod groups;
pub mod idempotency;
pub mod inside;
mod mails;
pub mod me;
mod measure;
pub mod memory;
pub mod modules;
pub mod own_store;
pub mod page;
pub mod partners;
pub mod permissions;
mod planner;
pub mod plugins;
pub mod readiness;
mod retention;
pub mod rights;
pub mod secrets;
pub mod tenants;
pub mod tokens;
mod transaction;
mod turns;
pub mod users;
pub mod webhooks;
pub mod workspace;

use std::sync::Arc;

use scaigrid_bus::{Bus, Heard, Signal};
use scaigrid_engine::{Engine, Ids};
use scaigrid_outbound::Client;
use scaigrid_persistence::sealing::Vault;
use scaigrid_persistence::{Bell, Database};
use scaigrid_scope::{AuditId, Clock, CoreId, Instant, SystemScope};
use scaigrid_storage::ObjectStore;

pub use error::{Error, FieldError, Resource};
pub use page::{Cursor, CursorPart, Page, PageRequest};
pub use retention::Swept;
pub use scaigrid_audit::RequestContext;
pub use scaigrid_telemetry as telemetry;
pub use transaction::Expected;

use caches::Caches;
use modules::{InvalidModules, ModuleHealth, Modules, RemoteSettings, Tunnels};
use turns::Turns;

/// What the application stands on.
pub struct Parts {
    /// Where everything is kept.
    pub database: Database,
    /// Where large values and files are kept.
    pub objects: Arc<dyn ObjectStore>,
    /// How nodes tell each other.
    pub bus: Bus,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The source of ids.
    pub ids: Arc<Ids>,
    /// What runs the Cores.
    pub engine: Engine,
    /// The keys to the secrets at rest.
    pub vault: Arc<Vault>,
    /// The modules that there are; see [`built_in_modules`].
    pub catalogue: Modules,
    /// What knows a good bearer token of a trusted issuer; none where no issuer is trusted.
    pub tokens: Option<Arc<dyn tokens::TokenVerifier>>,
    /// The way out, to whatever a tenant can name.
    pub outbound: Client,
    /// How remote modules are called.
    pub remote: RemoteSettings,
    /// The right to find out who is calling, and to do what the process does by itself.
    pub system: SystemScope,
}

/// The application of one node. Cheap to clone.
#[derive(Clone)]
pub struct App(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) database: Database,
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) bus: Bus,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) engine: Engine,
    pub(crate) vault: Arc<Vault>,
    pub(crate) catalogue: Modules,
    pub(crate) tokens: Option<Arc<dyn tokens::TokenVerifier>>,
    pub(crate) outbound: Client,
    pub(crate) remote: RemoteSettings,
    pub(crate) system: SystemScope,
    pub(crate) caches: Caches,
    pub(crate) webhook_tests: webhooks::Tests,
    pub(crate) config_turns: Turns,
    pub(crate) health: ModuleHealth,
    pub(crate) tunnels: Tunnels,
    pub(crate) streams: Tunnels,
    pub(crate) rooms: workspace::rooms::RoomEars,
    pub(crate) started: Instant,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("database", &self.0.database.kind()).finish_non_exhaustive()
    }
}

/// The modules that this program knows of: the one that it brings itself, and those that can be installed.
///
/// # Errors
/// Never as long as their manifests go together, which a test proves.
pub fn built_in_modules() -> Result<Modules, InvalidModules> {
    Modules::new(scaigrid_modules::shipped())
}

impl App {
    /// An application that serves calls at once. Must be made inside a Tokio runtime: it listens to the bus, to forget
    /// what other nodes have changed.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            database,
            objects,
            bus,
            clock,
            ids,
            engine,
            vault,
            catalogue,
            tokens,
            outbound,
            remote,
            system,
        } = parts;
        let mut listener = bus.listen();
        let (health, tunnels, started) = (ModuleHealth::default(), Tunnels::new(), clock.now());
        let inner = Inner {
            database,
            objects,
            bus,
            clock,
            ids,
            engine,
            vault,
            catalogue,
            tokens,
            outbound,
            remote,
            system,
            caches: Caches::new(),
            webhook_tests: webhooks::Tests::default(),
            config_turns: Turns::new(),
            health,
            tunnels,
            streams: Tunnels::streams(),
            rooms: workspace::rooms::RoomEars::default(),
            started,
        };
        let app = Self(Arc::new(inner));
        // The listener must not keep alive what it listens for.
        let listening = Arc::downgrade(&app.0);
        tokio::spawn(async move {
            loop {
                let heard = listener.next().await;
                let Some(inner) = listening.upgrade() else { return };
                match heard {
                    Heard::Signal(Signal::PeopleChanged) => inner.caches.callers.forget_all(),
                    Heard::Signal(Signal::ModulesChanged) => inner.caches.states.forget_all(),
                    Heard::Signal(Signal::CoreChanged(core)) => inner.caches.cores.forget(&core),
                    Heard::Signal(Signal::RoomChanged(room)) => inner.rooms.look(room),
                    Heard::Signal(_) => {}
                    Heard::Missed => {
                        inner.caches.callers.forget_all();
                        inner.caches.states.forget_all();
                        inner.caches.cores.forget_all();
                        inner.rooms.look_at_all();
                    }
                    Heard::Closed => return,
                }
            }
        });
        app
    }

    /// What time it is.
    pub fn now(&self) -> Instant {
        self.0.clock.now()
    }

    /// The engine, for what runs beside the use cases.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// The id of a new audit record, and the instant that it tells of.
    pub(crate) fn audit_stamp(&self, now: Instant) -> (AuditId, Instant) {
        (AuditId::from_ulid(self.0.ids.draw(now)), now)
    }

    /// After a commit that changed users, what they hold, their groups, keys, tenants or partners: nobody is known by what they were before.
    pub(crate) fn people_changed(&self) {
        self.0.caches.callers.forget_all();
        self.0.bus.publish(Signal::PeopleChanged);
    }

    /// After a commit that made, changed or removed a webhook.
    pub(crate) fn webhooks_changed(&self) {
        self.0.engine.forget_listeners();
        self.0.bus.publish(Signal::WebhooksChanged);
        // One that was switched on may have been waited for.
        self.0.database.ring(Bell::Outbox);
    }

    /// After a commit that made, changed, moved or removed a Core.
    pub(crate) fn core_changed(&self, core: CoreId) {
        self.0.caches.cores.forget(&core);
        self.0.engine.core_changed(core);
    }

    /// After a commit that changed models, backends, groups of models, or what a tenant has enabled of them.
    pub(crate) fn catalog_changed(&self) {
        self.0.engine.models().forget();
        self.0.bus.publish(Signal::CatalogChanged);
    }

    /// After a commit that switched a module.
    pub(crate) fn modules_changed(&self) {
        self.0.caches.states.forget_all();
        self.0.bus.publish(Signal::ModulesChanged);
    }
}
