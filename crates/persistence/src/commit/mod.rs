//! What executions write: the journal and everything that must become true together with it.
//!
//! A [`Unit`] is one step of one execution: its journal entries, its new standing, the checkpoints it opens or
//! answers, its memory writes, the events it publishes, the executions it starts. Units of many executions are
//! committed in one transaction ([`apply`]), because one flush to disk costs the same for one as for a hundred.
//! Each stands for itself all the same: one whose expectations no longer hold is left out and told so, and the others go on.
//!
//! First all expectations are read, and locked, in one order for every transaction; then they are judged, unit
//! by unit, against what the units before them would change; then what passed is written, a statement per table.

mod columns;
mod judge;
mod postgres;
mod rows;
mod sqlite;

use std::collections::HashMap;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::AuditRecord;
use scaigrid_checkpoints::Checkpoint;
use scaigrid_cores::debugging::Debugging;
use scaigrid_cores::execution::{Execution, ExecutionStatus};
use scaigrid_cores::logs::LogEntry;
use scaigrid_ir::Value;
use scaigrid_scope::{CheckpointId, CoreId, ExecutionId, Instant, NodeId, TenantId};
use scaigrid_webhooks::{Event, EventType};

use crate::database::{Bell, Database, Engine, Transaction};
use crate::error::Result;
use crate::event_waits::EventWait;
use crate::events::CoreEvent;
use crate::large::{Hash, Object};
use crate::outbox;
use crate::timers::{Owner, Timer};

/// One step of one execution, to become durable as a whole or not at all.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Whose execution it is.
    pub tenant_id: TenantId,
    /// When the step ended.
    pub at: Instant,
    /// The execution's new standing.
    pub change: Change,
    /// The entries that led there.
    pub journal: Vec<JournalChunk>,
    /// Objects in the store, by their hashes: values of the unit that lie in one are written as references.
    pub objects: HashMap<Hash, Object>,
    /// The machine as it stands after the journal's entries, kept for good, and how far back the journal is kept.
    pub mark: Option<Mark>,
    /// Checkpoints that open.
    pub opened: Vec<(Checkpoint, u32)>,
    /// The checkpoint that this step answers, as it stands afterwards. It must still be pending, and in the revision that was
    /// read.
    pub decided: Option<Checkpoint>,
    /// What of its Core must be so, and has only been believed.
    pub believed: Believed,
    /// Checkpoints that nobody waits for any more; those still pending are cancelled.
    pub abandoned: Vec<CheckpointId>,
    /// Writes to the Core's memory, in order.
    pub memory: Vec<MemoryWrite>,
    /// Events that are published.
    pub events: Vec<CoreEvent>,
    /// Executions that begin: of subscribed flows, and of calls. Those of flows whose Core is gone are left out.
    pub started: Vec<Execution>,
    /// Deliveries from the inbox that this step has taken, by effect.
    pub taken: Vec<u32>,
    /// What other executions wait for, or are to be told.
    pub delivered: Vec<Delivery>,
    /// Timers that are set, or set anew. Those of checkpoints go with their checkpoints.
    pub timers: Vec<Timer>,
    /// What has no timer any more.
    pub cleared: Vec<Owner>,
    /// The timer that this step carries out. It must still stand as it was seen, and is gone afterwards.
    pub fired: Option<Timer>,
    /// Events that are waited for from now on.
    pub waits: Vec<EventWait>,
    /// Effects that wait for no event any more.
    pub unwaited: Vec<(ExecutionId, u32)>,
    /// What changed, for the audit.
    pub audit: Vec<AuditRecord>,
    /// What webhooks are told of it: what the audit says included, where somebody listens.
    pub told: Vec<Event>,
    /// Its Core, where the journal and the log are to say so.
    pub core_id: Option<CoreId>,
    /// What a debugger has made of the execution, where its standing changes.
    pub debugging: Option<Debugging>,
    /// What is said of the step, for the Core's log.
    pub logs: Vec<LogEntry>,
    /// The lane of the log.
    pub lane: u16,
}

impl Unit {
    /// A unit in which nothing but an execution's standing changes.
    pub fn new(tenant_id: TenantId, at: Instant, change: Change) -> Self {
        Self {
            tenant_id,
            at,
            change,
            journal: Vec::new(),
            objects: HashMap::new(),
            mark: None,
            opened: Vec::new(),
            decided: None,
            believed: Believed::Nothing,
            abandoned: Vec::new(),
            memory: Vec::new(),
            events: Vec::new(),
            started: Vec::new(),
            taken: Vec::new(),
            delivered: Vec::new(),
            timers: Vec::new(),
            cleared: Vec::new(),
            fired: None,
            waits: Vec::new(),
            unwaited: Vec::new(),
            audit: Vec::new(),
            told: Vec::new(),
            core_id: None,
            debugging: None,
            logs: Vec::new(),
            lane: 0,
        }
    }
}

/// What whoever brings a unit believes of its Core, as far as it counts. Where it is not so, nothing is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Believed {
    /// Nothing that counts.
    #[default]
    Nothing,
    /// That this one lets its executions take steps, and that the unit's execution waits.
    Runs(CoreId),
    /// That it acts under the delegation of the execution that begins, or under none where that has none.
    LentSo,
}

/// An execution's new standing.
#[derive(Debug, Clone)]
pub enum Change {
    /// It begins: its row is written for the first time. Its Core must be running.
    Begin {
        /// The row.
        execution: Box<Execution>,
        /// Its state.
        progress: Progress,
    },
    /// No execution of the unit's own: something came to a Core from outside. The Core must be running.
    Accept {
        /// The Core.
        core_id: CoreId,
    },
    /// It stays as it is; something else changes, and is delivered to it.
    Keep {
        /// The execution.
        id: ExecutionId,
    },
    /// It goes on from where the same epoch left it.
    Proceed {
        /// The execution.
        id: ExecutionId,
        /// The epoch that it must still have.
        expected_epoch: i64,
        /// The number that its next journal entry must still have.
        expected_seq: i64,
        /// How far it is now.
        status: ExecutionStatus,
        /// Its output, once it completed.
        output: Option<Value>,
        /// Its error, once it failed.
        error: Option<Value>,
        /// When it ended, once it did.
        finished_at: Option<Instant>,
        /// Its state.
        progress: Progress,
    },
}

impl Change {
    /// The execution, where it is one's.
    pub fn execution_id(&self) -> Option<ExecutionId> {
        match self {
            Self::Begin { execution, .. } => Some(execution.id),
            Self::Keep { id } | Self::Proceed { id, .. } => Some(*id),
            Self::Accept { .. } => None,
        }
    }
}

/// Where an execution's state stands.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Its encoded machine; none when it ended, or when the journal since the last one is short.
    pub snapshot: Snapshot,
    /// The number of the next journal entry.
    pub next_seq: i64,
    /// The node that holds it; none when it waits or ended.
    pub owner: Option<NodeId>,
    /// Its fencing epoch from now on.
    pub epoch: i64,
}

/// What becomes of an execution's stored machine.
#[derive(Debug, Clone)]
pub enum Snapshot {
    /// The last one stays; replay begins there.
    Keep,
    /// This one takes its place.
    Store(Vec<u8>),
    /// None is needed any more.
    Drop,
}

impl Snapshot {
    /// The one that is stored.
    pub fn stored(&self) -> Option<&[u8]> {
        match self {
            Self::Store(machine) => Some(machine),
            Self::Keep | Self::Drop => None,
        }
    }
}

/// Entries of a journal, encoded.
#[derive(Debug, Clone)]
pub struct JournalChunk {
    /// The number of the first.
    pub seq: i64,
    /// The entries.
    pub entries: Vec<u8>,
    /// Whether it is one entry that is large.
    pub alone: bool,
}

/// A machine that is kept beside the journal. What is kept of the journal begins at one.
#[derive(Debug, Clone)]
pub struct Mark {
    /// The number of the journal entry that comes after it.
    pub seq: i64,
    /// The machine, encoded.
    pub machine: Vec<u8>,
    /// Entries from this number on stay; so do those before, back to a machine that is kept.
    pub keep_from: i64,
}

/// A write to one entry of a Core's memory.
#[derive(Debug, Clone)]
pub struct MemoryWrite {
    /// The Core.
    pub core_id: CoreId,
    /// The instance; empty for stateless Cores.
    pub partition: String,
    /// The variable.
    pub name: String,
    /// The entry; empty for scalars.
    pub key: String,
    /// The new value; none to remove the entry.
    pub value: Option<Value>,
    /// The version that the entry must still have (0: none there), where the new value was computed from the old.
    pub expected_version: Option<i64>,
}

/// An outcome for an execution that waits.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The execution that waits.
    pub to: ExecutionId,
    /// The effect that is answered.
    pub effect: u32,
    /// The outcome, encoded.
    pub outcome: Vec<u8>,
}

/// What became of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is durable.
    Done,
    /// It is durable, and something is in the execution's inbox. One that would wait is queued instead.
    Awaited,
    /// Somebody else has taken the execution on in the meantime, or it has ended; nothing was written.
    Fenced,
    /// The checkpoint was decided or changed by somebody else; nothing was written.
    CheckpointDecided,
    /// A memory entry changed since it was read; nothing was written.
    MemoryChanged,
    /// The Core takes no new work, or lets nothing go on; nothing was written.
    CoreNotRunning,
    /// The Core acts under another delegation than the execution was to begin under; nothing was written.
    LentAnew,
    /// A Core that is called was deleted in the meantime; nothing was written.
    CoreGone,
    /// Somebody else has fired, moved or removed the timer; nothing was written.
    TimerGone,
}

/// Applies units in a transaction of their own, in order; says what became of each. It is still to be committed.
///
/// # Errors
/// The database's. Nothing is written then.
pub async fn begin(database: &Database, units: Vec<Unit>) -> Result<(Transaction, Vec<Verdict>)> {
    let (mut transaction, opening) = database.group().await?;
    let verdicts = write(&mut transaction, opening, units).await?;
    Ok((transaction, verdicts))
}

/// Applies units in one transaction, in order; says what became of each.
///
/// # Errors
/// The database's. Nothing is written once the transaction is given up.
pub async fn apply(transaction: &mut Transaction, units: Vec<Unit>) -> Result<Vec<Verdict>> {
    write(transaction, None, units).await
}

/// The same, in a transaction that begins with `opening` where that is given.
#[boxed]
async fn write(
    transaction: &mut Transaction,
    opening: Option<&'static str>,
    mut units: Vec<Unit>,
) -> Result<Vec<Verdict>> {
    let told: Vec<Vec<Event>> = units.iter_mut().map(|unit| std::mem::take(&mut unit.told)).collect();
    if units.iter().any(|unit| !unit.audit.is_empty()) {
        transaction.note(Bell::Audit);
    }
    let verdicts = match transaction.engine()? {
        Engine::Postgres(connection) => postgres::apply(connection, opening, units).await?,
        Engine::Sqlite(connection) => sqlite::apply(connection, units).await?,
    };
    let passed = |verdict: &Verdict| matches!(verdict, Verdict::Done | Verdict::Awaited);
    let told = told.into_iter().zip(&verdicts).filter(|(_, verdict)| passed(verdict));
    let told = told.flat_map(|(events, verdict)| {
        // One that finds what it would wait for does not wait.
        let waits = *verdict != Verdict::Awaited;
        events.into_iter().filter(move |event| waits || event.event_type != EventType::ExecutionSuspended)
    });
    let told: Vec<Event> = told.collect();
    outbox::write(transaction, &told).await?;
    Ok(verdicts)
}
