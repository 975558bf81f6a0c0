//! What can go wrong, and how a seed chooses among it.

use std::fmt;
use std::time::Duration;

use scaigrid_tests::Dice;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A node is killed.
    NodeKilled,
    /// A node is asked to end.
    NodeTerminated,
    /// A node stands still for longer than its lease lasts.
    NodePaused,
    /// A node and the database are cut off from each other.
    DatabaseCut,
    /// Nothing comes through between a node and the database.
    DatabaseStalled,
    /// A node is heard by the database and hears nothing.
    DatabaseMuted,
    /// A node's connections to the database end in the midst, and it finishes what it was asked.
    DatabaseHalfClosed,
    /// The database ends all sessions of all nodes, in the midst of their transactions.
    SessionsEnded,
    /// The database crashes and recovers.
    DatabaseCrashed,
    /// The database's machine is lost, and its replica takes its place.
    DatabaseLost,
    /// A node and Redis are cut off from each other.
    RedisCut,
    /// A plugin does as it was asked and answers late.
    PluginLate,
    /// A plugin does as it was asked and never answers.
    PluginHung,
    /// A plugin does as it was asked and dies.
    PluginCut,
    /// A plugin does as it was asked and dies in the midst of its answer.
    PluginHalf,
    /// A plugin does as it was asked and answers garbage.
    PluginGarbage,
    /// A model never answers, or not to the end.
    ModelHung,
    /// A model dies without an answer.
    ModelCut,
    /// A model dies in the midst of its answer.
    ModelHalf,
    /// A model answers garbage.
    ModelGarbage,
    /// A model says that it fails.
    ModelFailing,
    /// The store of large values is gone: a folder.
    ObjectsAway,
    /// The store of large values says that it fails.
    ObjectsFailing,
    /// The store of large values answers slowly.
    ObjectsSlow,
    /// The store of large values dies in the midst of its answers.
    ObjectsHalf,
    /// A node's disk is full.
    DiskFull,
    /// A node's clock is set forth and back.
    ClockStepped,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 27] = [
        Self::NodeKilled,
        Self::NodeTerminated,
        Self::NodePaused,
        Self::DatabaseCut,
        Self::DatabaseStalled,
        Self::DatabaseMuted,
        Self::DatabaseHalfClosed,
        Self::SessionsEnded,
        Self::DatabaseCrashed,
        Self::DatabaseLost,
        Self::RedisCut,
        Self::PluginLate,
        Self::PluginHung,
        Self::PluginCut,
        Self::PluginHalf,
        Self::PluginGarbage,
        Self::ModelHung,
        Self::ModelCut,
        Self::ModelHalf,
        Self::ModelGarbage,
        Self::ModelFailing,
        Self::ObjectsAway,
        Self::ObjectsFailing,
        Self::ObjectsSlow,
        Self::ObjectsHalf,
        Self::DiskFull,
        Self::ClockStepped,
    ];

    /// As reports call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::NodeKilled => "node_killed",
            Self::NodeTerminated => "node_terminated",
            Self::NodePaused => "node_paused",
            Self::DatabaseCut => "database_cut",
            Self::DatabaseStalled => "database_stalled",
            Self::DatabaseMuted => "database_muted",
            Self::DatabaseHalfClosed => "database_half_closed",
            Self::SessionsEnded => "sessions_ended",
            Self::DatabaseCrashed => "database_crashed",
            Self::DatabaseLost => "database_lost",
            Self::RedisCut => "redis_cut",
            Self::PluginLate => "plugin_late",
            Self::PluginHung => "plugin_hung",
            Self::PluginCut => "plugin_cut",
            Self::PluginHalf => "plugin_half",
            Self::PluginGarbage => "plugin_garbage",
            Self::ModelHung => "model_hung",
            Self::ModelCut => "model_cut",
            Self::ModelHalf => "model_half",
            Self::ModelGarbage => "model_garbage",
            Self::ModelFailing => "model_failing",
            Self::ObjectsAway => "objects_away",
            Self::ObjectsFailing => "objects_failing",
            Self::ObjectsSlow => "objects_slow",
            Self::ObjectsHalf => "objects_half",
            Self::DiskFull => "disk_full",
            Self::ClockStepped => "clock_stepped",
        }
    }
}

/// A fault.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// The node that it befalls, where it is one node's.
    pub(super) node: usize,
    /// How long the load goes on before it comes; for some also a part of how long it lasts.
    pub(super) moment: Duration,
    /// How many times it happens at once, where it is a matter of times.
    pub(super) times: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (node {}, {:?}, {} times)", self.kind.name(), self.node, self.moment, self.times)
    }
}

/// Draws faults: every kind comes once before one comes again.
pub(super) fn drawn(dice: &mut Dice, kinds: &[Kind], nodes: usize, count: usize) -> Vec<Fault> {
    let mut deck = Vec::new();
    let mut draw = || {
        if deck.is_empty() {
            deck = kinds.to_vec();
        }
        let kind = deck.swap_remove(dice.place(deck.len()));
        let (node, times) = (dice.place(nodes), 2 + dice.place(4));
        Fault { kind, node, moment: Duration::from_millis(dice.roll(900)), times }
    };
    (0..count).map(|_| draw()).collect()
}

#[test]
fn the_same_seed_draws_the_same_faults() {
    let draw = |seed| -> Vec<String> {
        let faults = drawn(&mut Dice::of(seed), &Kind::ALL, 2, 40);
        faults.iter().map(ToString::to_string).collect()
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
    let once = drawn(&mut Dice::of(7), &Kind::ALL, 2, Kind::ALL.len());
    let first: Vec<Kind> = once.iter().map(|fault| fault.kind).collect();
    assert!(Kind::ALL.iter().all(|kind| first.contains(kind)), "each comes once: {first:?}");
}
