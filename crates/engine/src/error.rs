//! What can go wrong in the engine, apart from what goes wrong inside programs.

use std::num::NonZeroU32;

use scaigrid_checkpoints::CheckpointError;
use scaigrid_cores::execution::ExecutionStatus;
use scaigrid_cores::instances::KeyProblem;
use scaigrid_cores::{FieldProblem, Status};
use scaigrid_ir::Diagnostic;
use scaigrid_persistence as persistence;
use scaigrid_runtime::journal::BranchError;
use scaigrid_runtime::{Failure, ReplayError, StateError};
use scaigrid_scope::ExecutionId;

/// What an execution fails with whose large values cannot be kept or read.
pub(crate) const STORAGE: &str = "STORAGE_ERROR";

/// What an execution fails with whose large values its tenant has no room for.
pub(crate) const CAPACITY: &str = "TENANT_CAPACITY";

/// Why the engine did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Database(#[from] persistence::Error),
    /// There is no such Core in the tenant.
    #[error("no such Core")]
    NoCore,
    /// There is no such execution in the tenant.
    #[error("no such execution")]
    NoExecution,
    /// There is no such checkpoint in the tenant.
    #[error("no such checkpoint")]
    NoCheckpoint,
    /// The Core takes no work.
    #[error("the Core is {0} and takes no work")]
    NotRunning(Status),
    /// The program does not pass.
    #[error("the program does not pass verification")]
    BadProgram(Vec<Diagnostic>),
    /// What the Core's environment sets does not fit its program. Whoever starts the Core is told what; the values are nobody
    /// else's affair.
    #[error(
        "the environment of the Core does not fit the configuration of its program; a start of the Core tells where"
    )]
    Misconfigured,
    /// The flow cannot be started as asked: there is none of that name, or the input does not fit.
    #[error("{0}")]
    Start(Failure),
    /// Something is given that the flow does not take. Never empty.
    #[error("{}", crate::triggers::listed(.0))]
    Input(Vec<FieldProblem>),
    /// The input names no entity, or none that can be.
    #[error("{problem}: {field}", problem = .0, field = .0.field())]
    EntityKey(KeyProblem),
    /// The Core has as many active instances as it may have, and takes no work for another.
    #[error("the Core has {0} active instances already, and takes no work for another")]
    InstancesFull(NonZeroU32),
    /// As many executions wait to run as may.
    #[error("{limit} executions of the {of} are waiting to run already")]
    QueueFull {
        /// Whose: `tenant` or `Core`.
        of: &'static str,
        /// How many may.
        limit: u64,
    },
    /// The checkpoint cannot be changed as asked.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint was given to others so often that it may not be any more.
    #[error("the checkpoint was handed on too often")]
    HandedOnTooOften,
    /// The execution has ended.
    #[error("the execution is {0} already")]
    Ended(ExecutionStatus),
    /// It has not failed.
    #[error("the execution is {0} and has not failed")]
    NotFailed(ExecutionStatus),
    /// It does not stand still.
    #[error("the execution does not stand still")]
    NotPaused,
    /// It has not begun yet: there is nothing to see.
    #[error("the execution has not begun")]
    NoJournal,
    /// The beginning of its journal is gone, because it has run for so long.
    #[error(
        "what led there is no longer kept: the execution has run for so long that the beginning of its journal is gone"
    )]
    JournalCut,
    /// What leads to where one wants to look is more than is followed at once.
    #[error("what leads there in the execution's journal is more than can be followed at once")]
    JournalTooLarge,
    /// So many look into journals that there was no turn.
    #[error("too many journals are being looked into")]
    Busy,
    /// There is no way from that point of the past.
    #[error(transparent)]
    Branch(#[from] BranchError),
    /// The journal and the program disagree: the execution cannot go on.
    #[error("the journal of {id} does not lead anywhere: {reason}")]
    Journal {
        /// The execution.
        id: ExecutionId,
        /// What is wrong.
        reason: String,
    },
    /// Others changed the same things so often in between that it was given up.
    #[error("too many others are changing the same at the same time")]
    Contended,
    /// A large value cannot be kept: the object store does not take it.
    #[error("{0}")]
    Storage(String),
    /// A large value cannot be kept: the tenant may have no more bytes in the object store.
    #[error("the tenant may have {0} bytes in the object store, and a large value would be past that")]
    StorageFull(u64),
    /// The process is ending.
    #[error("the node is shutting down")]
    ShuttingDown,
}

impl Error {
    pub(crate) fn state(id: ExecutionId, error: &StateError) -> Self {
        Self::Journal { id, reason: error.to_string() }
    }

    pub(crate) fn replay(id: ExecutionId, error: &ReplayError) -> Self {
        Self::Journal { id, reason: error.to_string() }
    }

    /// What an execution fails with that cannot go on because of it.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Storage(_)
            | Self::Database(persistence::Error::Objects(_) | persistence::Error::Lost(_)) => STORAGE,
            Self::StorageFull(_) => CAPACITY,
            _ => "EXECUTION_BROKEN",
        }
    }

    /// Whether it is about what cannot be kept in, or read from, the object store.
    pub(crate) fn is_of_the_store(&self) -> bool {
        matches!(self.code(), STORAGE | CAPACITY)
    }

    /// Whether the same call may succeed later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Database(error) => error.is_passing(),
            Self::Contended | Self::ShuttingDown | Self::Busy => true,
            _ => false,
        }
    }
}
