//! Following journals to look at what they tell of.
//!
//! Whoever asks for that may ask for a lot: so it begins at the nearest machine that is kept, is bounded in bytes, and few are
//! under way at once on a node.

use std::sync::Arc;
use std::time::Duration;

use scaigrid_persistence::executions;
use scaigrid_runtime::Machine;
use scaigrid_runtime::journal::{Base, Entry};
use scaigrid_scope::{ExecutionId, TenantScope};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Engine, Error};

/// Journals that are followed at once, for whoever wants to look at something.
const FOLLOWED_AT_ONCE: usize = 3;
/// How long one may wait for the others.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much of a journal may be followed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    /// Entries.
    pub(crate) entries: i64,
    /// Bytes, encoded.
    pub(crate) bytes: usize,
}

impl Bound {
    /// As much as there is: for an execution that goes on.
    pub(crate) const NONE: Self = Self { entries: i64::MAX, bytes: usize::MAX };
    /// What is looked at.
    pub(crate) const SHOWN: Self = Self { entries: i64::MAX, bytes: 64 * 1024 * 1024 };
}

/// A journal as far as it is needed: its entries, behind a machine that is kept where they do not begin with the start.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) base: Option<Base>,
    pub(crate) entries: Vec<Entry>,
}

impl Kept {
    /// The number of the first of the entries.
    pub(crate) fn first(&self) -> usize {
        self.base.as_ref().map_or(0, |base| base.seq)
    }
}

/// The places of those who follow journals.
pub(crate) fn followers() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(FOLLOWED_AT_ONCE))
}

/// A place among those who follow journals.
pub(super) struct Following(OwnedSemaphorePermit);

impl Following {
    /// Does what takes long, beside the threads that serve others. The place is kept until it is over, whoever goes away.
    pub(super) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, Self), Error> {
        let Self(place) = self;
        let done = tokio::task::spawn_blocking(move || (work(), place)).await;
        done.map(|(result, place)| (result, Self(place))).map_err(|_| Error::ShuttingDown)
    }
}

impl Engine {
    /// A place among those who follow journals.
    ///
    /// # Errors
    /// [`Error::Busy`] where none becomes free for a while.
    pub(super) async fn follow(&self) -> Result<Following, Error> {
        let place = Arc::clone(&self.0.followers).acquire_owned();
        match tokio::time::timeout(PATIENCE, place).await {
            Ok(Ok(place)) => Ok(Following(place)),
            Ok(Err(_)) => Err(Error::ShuttingDown),
            Err(_) => Err(Error::Busy),
        }
    }

    /// A journal up to the entry `until`, which is left out, from the last machine that is kept before the entry `at_most`.
    ///
    /// # Errors
    /// [`Error::JournalCut`] where nothing leads there any more, [`Error::JournalTooLarge`] where it is more than may be.
    pub(crate) async fn kept(
        &self,
        scope: TenantScope,
        id: ExecutionId,
        at_most: i64,
        until: i64,
        bound: Bound,
    ) -> Result<Kept, Error> {
        let mut at_most = at_most.min(until);
        loop {
            let mut connection = self.0.database.read().await?;
            let kept = executions::kept_machine(&mut connection, scope, id, at_most).await?;
            drop(connection);
            let from = kept.as_ref().map_or(0, |(seq, _)| *seq);
            if until - from > bound.entries {
                return Err(Error::JournalTooLarge);
            }
            let mut entries = self.read_journal(scope, id, (from, until), bound.bytes).await?;
            entries.truncate(usize::try_from(until - from).unwrap_or(usize::MAX));
            // A machine of what a retry took back leads to nothing behind that.
            let back = entries.iter().filter_map(|entry| match entry {
                Entry::Retried { from, .. } => i64::try_from(*from).ok(),
                _ => None,
            });
            match (kept, back.min()) {
                (Some(_), Some(back)) if back < from => at_most = back,
                (Some((seq, machine)), _) => {
                    let machine = Machine::decode(&machine).map_err(|error| Error::state(id, &error))?;
                    let base = Base { machine, seq: usize::try_from(seq).unwrap_or_default() };
                    return Ok(Kept { base: Some(base), entries });
                }
                (None, _) => return Ok(Kept { base: None, entries }),
            }
        }
    }
}
