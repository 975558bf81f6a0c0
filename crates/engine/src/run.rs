//! One execution in motion: the machine, and all that it has done since the last commit.
//!
//! Until a commit everything here can be thrown away and done again from what is durable, and that is what happens when
//! somebody else was faster: nothing of it has been seen outside.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use scaigrid_audit::AuditRecord;
use scaigrid_checkpoints::Checkpoint;
use scaigrid_cores::execution::Execution;
use scaigrid_cores::logs::LogEntry;
use scaigrid_persistence::commit::{Believed, Delivery};
use scaigrid_persistence::event_waits::EventWait;
use scaigrid_persistence::events::CoreEvent;
use scaigrid_persistence::timers::{Owner, Timer};
use scaigrid_runtime::journal::Entry;
use scaigrid_runtime::{Effect, EffectId, EffectKind, Machine, Program};
use scaigrid_scope::{CheckpointId, ExecutionId, TenantScope};
use scaigrid_telemetry::Span;
use tokio::sync::mpsc;

use crate::calls::{Caller, Calls, News};
use crate::effects::effect_of;
use crate::memory::Pending;
use crate::places::Place;

/// An execution in motion.
pub(crate) struct Run {
    pub(crate) scope: TenantScope,
    pub(crate) program: Arc<Program>,
    pub(crate) machine: Machine,
    /// The execution as it stands; written with each commit.
    pub(crate) execution: Execution,
    /// The epoch that the stored row must have; none while there is no row.
    pub(crate) stored_epoch: Option<i64>,
    /// The epoch that the row gets.
    pub(crate) epoch: i64,
    /// The number of the first entry that is not durable.
    pub(crate) next_seq: i64,
    pub(crate) done: Done,
    /// The checkpoints that it has opened, and made durable, since it is in motion.
    pub(crate) opened: Vec<CheckpointId>,
    /// The checkpoint that its last commit has opened, if that was only one, with the effect that it answers.
    pub(crate) opened_last: Option<(Checkpoint, u32)>,
    /// Held while the row says that this node is running it.
    pub(crate) held: Option<Held>,
    /// Whether somebody sees it through, whatever comes.
    pub(crate) supervised: bool,
    /// Until when its caller waits; from then on it goes on in other hands.
    pub(crate) patience: Option<Instant>,
    /// Who waits for it while it runs in a task of its own.
    pub(crate) caller: Option<Caller>,
    /// The calls of plugins and models that it has under way.
    pub(crate) calls: Calls,
    /// What tells it that something has come, while it waits for calls.
    pub(crate) news: Option<News>,
    /// Effects that a replay found without a record: the machine asks for them once more.
    pub(crate) unrecorded: Vec<EffectId>,
    /// Its place among those that run in the background.
    pub(crate) place: Option<Place>,
    /// Journal entries since its state was last stored whole.
    pub(crate) unsnapped: usize,
    /// How many bytes its state has, where the last commit stored it whole.
    pub(crate) stored_whole: Option<usize>,
    /// Effects that wait for a time or an event, and for nothing else: what giving one up takes is known without asking.
    pub(crate) timed: HashMap<u32, Timed>,
    /// Whether its state is to be kept for good when it is next stored whole.
    pub(crate) mark_due: bool,
    /// This stretch of it, from when it was picked up until it comes to a rest.
    pub(crate) span: Span,
}

/// What an effect waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timed {
    /// A time.
    Sleep,
    /// An event, perhaps not for ever.
    Event,
}

/// The effects among these that wait for a time or an event.
pub(crate) fn timed<'a>(effects: impl IntoIterator<Item = &'a Effect>) -> HashMap<u32, Timed> {
    let timed = |effect: &Effect| match effect.kind {
        EffectKind::Timer(_) => Some((effect.id.0, Timed::Sleep)),
        EffectKind::WaitEvent(_) => Some((effect.id.0, Timed::Event)),
        _ => None,
    };
    effects.into_iter().filter_map(timed).collect()
}

impl Run {
    /// An execution as it is durable, in the epoch and with as many entries of its journal as these say.
    pub(crate) fn durable(
        scope: TenantScope,
        program: Arc<Program>,
        machine: Machine,
        execution: Execution,
        (epoch, next_seq): (i64, i64),
    ) -> Self {
        Self {
            scope,
            program,
            timed: timed(machine.pending()),
            machine,
            execution,
            stored_epoch: Some(epoch),
            epoch,
            next_seq,
            done: Done::default(),
            opened: Vec::new(),
            opened_last: None,
            held: None,
            supervised: false,
            patience: None,
            caller: None,
            calls: Calls::default(),
            news: None,
            unrecorded: Vec::new(),
            place: None,
            unsnapped: 0,
            stored_whole: None,
            mark_due: false,
            span: Span::none(),
        }
    }

    /// Whether anything that it did since it was picked up is durable: its epoch is in the database from the first commit on.
    pub(crate) fn is_durable(&self) -> bool {
        self.stored_epoch == Some(self.epoch)
    }

    /// The checkpoints that the execution waits at, where it waits for nothing else and all were opened by this run.
    pub(crate) fn waits_at(&self) -> Option<&[CheckpointId]> {
        let pending = self.machine.pending();
        let all = pending.iter().all(|effect| matches!(effect.kind, EffectKind::Checkpoint(_)));
        (all && pending.len() == self.opened.len()).then_some(&self.opened)
    }
}

/// The duty to go on with an execution that the database says this node is running. When the run is dropped without
/// having come to a rest, because its caller went away or an error came between, somebody else takes it over.
pub(crate) struct Held {
    execution: Option<(TenantScope, ExecutionId)>,
    dropped: mpsc::UnboundedSender<(TenantScope, ExecutionId)>,
}

impl Held {
    /// The duty to go on with an execution, which falls to whoever listens at the other end of `dropped`.
    pub(crate) fn of(run: &Run, dropped: mpsc::UnboundedSender<(TenantScope, ExecutionId)>) -> Self {
        Self { execution: Some((run.scope, run.execution.id)), dropped }
    }

    /// The execution is at rest: nobody has to go on with it.
    pub(crate) fn let_go(mut self) {
        self.execution = None;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(execution) = self.execution.take() {
            // Once the engine is gone the lease ends, and another node takes the execution.
            let _ = self.dropped.send(execution);
        }
    }
}

/// What an execution has done since the last commit.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) entries: Vec<Entry>,
    pub(crate) memory: Pending,
    pub(crate) events: Vec<CoreEvent>,
    pub(crate) opened: Vec<(Checkpoint, u32)>,
    pub(crate) decided: Option<Checkpoint>,
    /// What of its Core is only believed.
    pub(crate) believed: Believed,
    pub(crate) abandoned: Vec<CheckpointId>,
    /// Executions that were called and are not waited for any more.
    pub(crate) orphaned: Vec<ExecutionId>,
    /// Executions of other tenants' Cores that were asked and are not waited for any more.
    pub(crate) left: Vec<(TenantScope, ExecutionId)>,
    pub(crate) started: Vec<Execution>,
    pub(crate) taken: Vec<u32>,
    pub(crate) timers: Vec<Timer>,
    /// What has no timer any more.
    pub(crate) cleared: Vec<Owner>,
    pub(crate) waits: Vec<EventWait>,
    /// Effects, of this and other executions, that wait for no event any more.
    pub(crate) unwaited: Vec<(ExecutionId, u32)>,
    /// What others get of what this execution did.
    pub(crate) delivered: Vec<Delivery>,
    pub(crate) audit: Vec<AuditRecord>,
    /// What is said of it.
    pub(crate) logs: Vec<LogEntry>,
    /// Whether it is known that something has come which is to be heard soon.
    pub(crate) is_awaited: bool,
    /// Whether a checkpoint was left unopened, since nobody would be asked: the execution is to be cancelled.
    pub(crate) asks_nobody: bool,
}

impl Done {
    /// The checkpoint that has opened, with the effect that it answers, if that is only one.
    pub(crate) fn opened_alone(&self) -> Option<(Checkpoint, u32)> {
        match self.opened.as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        }
    }

    /// The effects that have opened something.
    pub(crate) fn effects(&self) -> HashSet<u32> {
        let opened = self.opened.iter().map(|(_, effect)| *effect);
        let called = self.started.iter().filter_map(|child| child.parent).map(|parent| parent.effect);
        let timed = self.timers.iter().filter_map(|timer| effect_of(&timer.owner));
        opened.chain(called).chain(timed).chain(self.waits.iter().map(|wait| wait.effect)).collect()
    }
}
