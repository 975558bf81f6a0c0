//! The memory of a Core, as its executions read and write it.
//!
//! An execution sees what is durable ([`persistence::memory`](scaigrid_persistence::memory)), and over it what it has
//! written itself ([`Pending`]), which becomes durable with its next commit. Maps and arrays are kept entry by entry, all
//! else as one value ([`Form`]). Each file here has one part: what is *pending*, which *form* a variable has, how entries
//! are *walked* over, *read*, *written* and *searched*, by words and by *meaning*, what *bounds* hold, and how people *look* at it and
//! are *shown* it.
//!
//! The bounds and the words of errors are documented in `docs/api.md`, "Memory".

mod bounds;
mod fields;
mod form;
mod look;
mod meaning;
mod pending;
mod read;
mod search;
mod shown;
mod walk;
mod write;

use scaigrid_ir::Value;
use scaigrid_ir::block::MemoryOp;
use scaigrid_persistence::memory::Variable;
use scaigrid_runtime::{Failure, MemoryRequest, Outcome};
use scaigrid_scope::{CoreId, Instant};

use crate::run::Run;
use crate::{Engine, Error};

pub(crate) use bounds::Room;
pub(crate) use look::Looked;
pub(crate) use pending::Pending;
pub use shown::{
    EntryPlace, Remembering, ShownEntries, ShownEntry, ShownVariable, VariableKind, WantedEntries,
};

use meaning::Making;

/// Where the memory of an execution lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    core_id: CoreId,
    partition: String,
}

impl Place {
    fn of(run: &Run) -> Self {
        Self::of_instance(run.execution.core_id, run.execution.instance_key.as_deref())
    }

    /// That of an instance, or of what belongs to none.
    pub(crate) fn of_instance(core_id: CoreId, key: Option<&str>) -> Self {
        Self { core_id, partition: key.unwrap_or_default().to_owned() }
    }

    fn variable<'a>(&'a self, name: &'a str) -> Variable<'a> {
        Variable { core_id: self.core_id, partition: &self.partition, name }
    }
}

/// Why an operation was not done.
enum Trouble {
    /// The program asked for what cannot be; it can catch that.
    Program(Failure),
    /// The platform could not.
    Platform(Error),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Program(failure)
    }
}

impl From<scaigrid_persistence::Error> for Trouble {
    fn from(error: scaigrid_persistence::Error) -> Self {
        Self::Platform(error.into())
    }
}

type Done<T = Value> = Result<T, Trouble>;

impl Engine {
    /// Does what a program asks of its memory.
    pub(crate) async fn remember(
        &self,
        run: &mut Run,
        request: &MemoryRequest,
        now: Instant,
    ) -> Result<Outcome, Error> {
        self.operated(run, request, now, Making::New).await
    }

    /// What memory gives to a question that nothing is to change by: a search asks no model, and costs nothing.
    pub(crate) async fn recall(
        &self,
        run: &mut Run,
        request: &MemoryRequest,
        now: Instant,
    ) -> Result<Outcome, Error> {
        self.operated(run, request, now, Making::KeptOnly).await
    }

    async fn operated(
        &self,
        run: &mut Run,
        request: &MemoryRequest,
        now: Instant,
        making: Making,
    ) -> Result<Outcome, Error> {
        match self.operate(run, request, now, making).await {
            Ok(value) => Ok(Outcome::Value(value)),
            Err(Trouble::Program(failure)) => Ok(Outcome::Error(failure)),
            Err(Trouble::Platform(error)) => Err(error),
        }
    }

    async fn operate(&self, run: &mut Run, request: &MemoryRequest, now: Instant, making: Making) -> Done {
        bounds::check(request)?;
        let place = Place::of(run);
        match request.op {
            MemoryOp::Get => self.get(run, &place, request).await,
            MemoryOp::Set | MemoryOp::Update | MemoryOp::Delete | MemoryOp::Add => {
                self.write(run, &place, request, now).await.map(|()| Value::Null)
            }
            MemoryOp::List | MemoryOp::Last => self.list(run, &place, request).await,
            // Large, for it may ask a model, and rare beside the others.
            MemoryOp::Search => Box::pin(self.search(run, &place, request, making)).await,
            MemoryOp::Count => self.count(run, &place, request).await,
        }
    }
}
