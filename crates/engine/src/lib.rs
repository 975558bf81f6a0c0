//! Drives machines: takes executions, performs their effects, makes what happened durable, and hands them on.
//!
//! A machine runs in memory until it must wait, ends, or wants something from outside; all that it did by then,
//! journal, memory, events, checkpoints, becomes durable in one commit ([`persistence::commit`](scaigrid_persistence::commit)), together with
//! those of other executions that are ready at the same time. If the process dies before, nothing has happened, and nobody
//! was told otherwise; after, everything has.
//!
//! Who may do what is decided above this room, and what a program means below it. The engine knows neither HTTP nor
//! permissions.

mod agreed_clock;
mod asking;
mod authority;
mod caller_tokens;
mod calls;
mod chat;
mod checkpoint_log;
mod committer;
mod core_calls;
mod cores;
mod deadlines;
mod decide;
mod deciders;
mod depth;
mod drive;
mod effects;
mod error;
mod event_waits;
mod events;
pub mod forms;
mod ids;
mod inside;
mod instances;
mod invoke;
mod journal;
mod large;
mod lease;
mod memory;
mod models;
mod node;
mod notices;
mod places;
pub mod plugins;
mod reminders;
mod rested;
mod resume;
mod run;
mod said;
mod schedules;
mod start;
mod timers;
mod told;
mod traces;
mod triggers;
mod turns;
mod wait;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

use scaigrid_bus::Bus;
use scaigrid_outbound::Client;
use scaigrid_persistence::Database;
use scaigrid_persistence::sealing::Vault;
use scaigrid_scope::{Clock, CoreId, ExecutionId, NodeId, SystemScope, TenantScope};
use scaigrid_storage::ObjectStore;
use scaigrid_telemetry::Tracing;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify, Semaphore, mpsc};

pub use agreed_clock::AgreedClock;
pub use asking::{described, shown_content};
pub use caller_tokens::{CallerTokens, PUBLISHED_AHEAD, TOKEN_LIFE};
pub use chat::{CoreState, Question, WaitsFor};
pub use cores::{HostedCore, Refusal};
pub use decide::{Decided, Decider};
pub use error::Error;
pub use events::Delivered;
pub use ids::Ids;
pub use inside::{
    ExecutionFollower, Followed, Forked, Happening, Inside, Inspected, Inspection, LogFollower, LogQuery,
    Reported, RuntimeEvent, RuntimePage, RuntimePlace, StatusReport,
};
pub use invoke::Invocation;
pub use journal::{HistoryEntry, HistoryPage};
pub use memory::{
    EntryPlace, Remembering, ShownEntries, ShownEntry, ShownVariable, VariableKind, WantedEntries,
};
pub use models::{
    Asking, Breakers, CallError, Completion, EmbedCall, Embedded, Gathered, ModelCall, Models, Piece,
    Streaming, Thread, Used,
};
pub use said::{Hearing, Said};
pub use schedules::Declared;
pub use start::{OtherCall, Wants};
pub use triggers::{Endpoint, Meant, NotTaken, RECEIVED, Receipt, Verified, WAIT};

use calls::Awaited;
use committer::Committer;
use cores::Hosted;
use deciders::Deciders;
use depth::Depths;
use lease::Lease;
use places::Places;
use plugins::Plugins;
use rested::Rested;
use told::Listeners;

/// How many executions of this node may be under way in the background at once.
const BACKGROUND: usize = 64;

/// What an engine stands on.
pub struct Parts {
    /// Where everything is kept.
    pub database: Database,
    /// Where large values are kept.
    pub objects: Arc<dyn ObjectStore>,
    /// How nodes tell each other.
    pub bus: Bus,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The source of ids.
    pub ids: Arc<Ids>,
    /// The keys to the Cores' secrets.
    pub vault: Arc<Vault>,
    /// The right to work for every tenant.
    pub system: SystemScope,
    /// The way out, to whatever a tenant can name.
    pub outbound: Client,
    /// What the platform signs as.
    pub issuer: String,
    /// The most entries that a variable of a Core's memory has, in each instance.
    pub memory_entries: u64,
    /// How many executions of a tenant may be waiting to run.
    pub max_queued: u64,
    /// How many of the last entries of its journal an execution keeps at least.
    pub journal_entries: u64,
    /// What records traces.
    pub tracing: Tracing,
}

/// The engine of one node. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

pub(crate) struct Inner {
    database: Database,
    objects: Arc<dyn ObjectStore>,
    bus: Bus,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
    vault: Arc<Vault>,
    system: SystemScope,
    node: NodeId,
    /// What this node knows of its own lease.
    lease: Arc<Lease>,
    committer: Committer,
    hosted: Hosted,
    /// Executions that have begun to wait at a checkpoint a moment ago.
    rested: Rested,
    listeners: Listeners,
    /// What is known of who can decide checkpoints.
    deciders: Deciders,
    /// Whose logs somebody follows.
    watched: inside::Watched<CoreId>,
    /// Executions that somebody follows.
    watched_executions: inside::Watched<ExecutionId>,
    /// The places of those who follow journals to look at something.
    followers: Arc<Semaphore>,
    /// Where this node's entries of logs go.
    lane: u16,
    caller_tokens: CallerTokens,
    /// Executions of this node that listen for what comes for them.
    awaited: Awaited,
    /// Executions that wait for calls.
    calling: Semaphore,
    /// Whether the process is to end.
    stopping: AtomicBool,
    /// Whether people are told of checkpoints by mail.
    tells_people: AtomicBool,
    /// Where executions run that outlive the request that began them: requests are served on threads that end first.
    runtime: Handle,
    plugins: Plugins,
    models: Models,
    /// Who listens to what models say in executions.
    voices: said::Voices,
    /// Who follows logs.
    audiences: inside::Audiences,
    /// How much more the variables of Cores take.
    memory_room: memory::Room,
    /// What records traces.
    tracing: Tracing,
    /// Rung when there may be executions to take.
    work: Notify,
    /// Rung when a timer may be nearer than the one slept for.
    timers: Notify,
    /// Executions under way in the background.
    background: Places,
    /// Whose queued executions were taken last.
    last_taken: Mutex<turns::Last>,
    /// The same of those that run in turn within an instance.
    last_in_turn: Mutex<turns::Last>,
    /// Whether those that do not are taken first the next time that both kinds wait.
    any_first: AtomicBool,
    /// How many wait to run.
    depths: Depths,
    /// How many of the last entries of its journal an execution keeps at least.
    journal_entries: i64,
    /// Where runs go that were dropped while the database says that this node is running them.
    dropped: mpsc::UnboundedSender<(TenantScope, ExecutionId)>,
    /// The other end, until [`Engine::run`] takes it.
    dropped_runs: Mutex<Option<mpsc::UnboundedReceiver<(TenantScope, ExecutionId)>>>,
}

impl Engine {
    /// An engine at rest. It serves calls at once; [`Engine::run`] lets it work by itself.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            database,
            objects,
            bus,
            clock,
            ids,
            vault,
            system,
            outbound,
            issuer,
            memory_entries,
            max_queued,
            journal_entries,
            tracing,
        } = parts;
        database.read_large_values_from(Arc::new(large::Shelf(Arc::clone(&objects))));
        let node = NodeId::from_ulid(ids.draw(clock.now()));
        let (dropped, dropped_runs) = mpsc::unbounded_channel();
        let caller_tokens =
            CallerTokens::new(database.clone(), Arc::clone(&clock), Arc::clone(&vault), system.clone());
        let plugins = Plugins::new(plugins::Inner {
            database: database.clone(),
            bus: bus.clone(),
            clock: Arc::clone(&clock),
            ids: Arc::clone(&ids),
            vault: Arc::clone(&vault),
            system: system.clone(),
            outbound: outbound.clone(),
            tokens: caller_tokens.clone(),
            issuer,
            shelf: plugins::Shelf::new(),
        });
        // The gateway asks Cores, and is itself what Cores ask.
        Self(Arc::new_cyclic(|engine| Inner {
            lease: Arc::new(Lease::new(database.is_shared())),
            committer: Committer::start(database.clone()),
            hosted: Hosted::new(),
            rested: Rested::new(),
            memory_room: memory::Room::new(memory_entries),
            listeners: Listeners::new(),
            deciders: Deciders::new(),
            watched: inside::Watched::new(),
            watched_executions: inside::Watched::new(),
            followers: inside::followers(),
            lane: if database.is_shared() {
                rand::random_range(0..scaigrid_persistence::logs::LANES)
            } else {
                0
            },
            caller_tokens,
            plugins,
            awaited: Awaited::default(),
            calling: calls::calling(),
            stopping: AtomicBool::new(false),
            tells_people: AtomicBool::new(false),
            voices: said::Voices::default(),
            audiences: inside::Audiences::default(),
            runtime: Handle::current(),
            models: Models::new(models::Parts {
                database: database.clone(),
                clock: Arc::clone(&clock),
                ids: Arc::clone(&ids),
                vault: Arc::clone(&vault),
                outbound,
                node,
                engine: Weak::clone(engine),
                tracing: tracing.clone(),
            }),
            tracing,
            work: Notify::new(),
            timers: Notify::new(),
            background: Places::new(BACKGROUND),
            last_taken: Mutex::default(),
            last_in_turn: Mutex::default(),
            any_first: AtomicBool::new(false),
            depths: Depths::new(max_queued),
            journal_entries: i64::try_from(journal_entries).unwrap_or(i64::MAX),
            dropped,
            dropped_runs: Mutex::new(Some(dropped_runs)),
            database,
            objects,
            bus,
            clock,
            ids,
            vault,
            system,
            node,
        }))
    }

    /// What tells those who are called for whom they are.
    pub fn caller_tokens(&self) -> &CallerTokens {
        &self.0.caller_tokens
    }

    /// What calls plugins.
    pub fn plugins(&self) -> &Plugins {
        &self.0.plugins
    }

    /// The way to the models.
    pub fn models(&self) -> &Models {
        &self.0.models
    }

    /// Listens to what models say in an execution, from now on, as far as it runs at this node. For an execution that is yet
    /// to begin, see [`Engine::invoke_as`].
    pub fn listen_to(&self, execution: ExecutionId) -> Hearing {
        self.0.voices.listen(execution)
    }

    /// What records traces.
    pub fn tracing(&self) -> &Tracing {
        &self.0.tracing
    }

    /// This node's name.
    pub fn node(&self) -> NodeId {
        self.0.node
    }
}
