//! How much a program may keep, and how much of it one operation gives.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use moka::sync::Cache;
use scaigrid_persistence::memory;
use scaigrid_runtime::{Failure, MemoryRequest};

use super::{Done, Place};
use crate::Engine;
use crate::run::Run;

/// Bytes of a key. The databases' indices bound it.
const KEY_AT_MOST: usize = 512;
/// Bytes of one entry, or of a variable that is kept as one value.
const VALUE_AT_MOST: usize = 1024 * 1024;
/// Entries that a list gives.
pub(super) const LIST_AT_MOST: u32 = 1_000;
/// Entries of a map or an array that is read, or written, as a whole.
pub(super) const WHOLE_AT_MOST: usize = 10_000;
/// Bytes that one read gives.
pub(super) const READ_AT_MOST: usize = 16 * 1024 * 1024;
/// Entries that a search looks at.
pub(super) const SEARCH_AT_MOST: usize = 10_000;
/// Bytes that a search looks at.
pub(super) const SEARCH_BYTES_AT_MOST: usize = 32 * 1024 * 1024;
/// Variables whose number of entries is kept in mind.
const COUNTED_AT_MOST: u64 = 100_000;
/// How long a full variable counts as full before it is counted again.
const FULL_FOR: Duration = Duration::from_secs(1);

/// The failure of an operation that goes beyond a bound.
pub(super) fn exceeded(message: impl Into<String>) -> Failure {
    Failure::new("MEMORY_LIMIT", message.into())
}

/// What can be said before anything is looked up.
pub(super) fn check(request: &MemoryRequest) -> Result<(), Failure> {
    let name = &request.target;
    if let Some(limit) = request.limit.filter(|limit| *limit > LIST_AT_MOST) {
        let message = format!("a read of memory.{name} gives at most {LIST_AT_MOST} entries, not {limit}");
        return Err(exceeded(message));
    }
    key(name, request.key.as_deref().unwrap_or_default())
}

/// Refuses a key that is too long.
pub(super) fn key(name: &str, key: &str) -> Result<(), Failure> {
    if key.len() <= KEY_AT_MOST {
        return Ok(());
    }
    let message = format!("a key of memory.{name} has at most {KEY_AT_MOST} bytes, not {}", key.len());
    Err(exceeded(message))
}

/// Refuses an entry that is too large.
pub(super) fn value(name: &str, value: &scaigrid_ir::Value) -> Result<(), Failure> {
    if value.extent(VALUE_AT_MOST).is_some() {
        return Ok(());
    }
    Err(exceeded(format!("an entry of memory.{name} takes at most {VALUE_AT_MOST} bytes")))
}

/// How many more entries variables take, by estimate.
///
/// Counting each time would cost more than writing. A variable is counted once, and again when as many entries may have
/// been added as were left room for: half of what is left, so that several nodes together hardly exceed the bound, and
/// not at all by much.
pub(crate) struct Room {
    most: u64,
    known: Cache<(String, String, String), std::sync::Arc<Mutex<Known>>>,
}

struct Known {
    left: u64,
    full_since: Option<Instant>,
}

impl Room {
    /// For variables of at most so many entries.
    pub(crate) fn new(most: u64) -> Self {
        Self { most, known: Cache::new(COUNTED_AT_MOST) }
    }

    /// Takes room for entries; false where it must be counted first.
    fn take(&self, place: &(String, String, String), entries: u64) -> Result<bool, Failure> {
        let Some(known) = self.known.get(place) else { return Ok(false) };
        let mut known = known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if known.full_since.is_some_and(|since| since.elapsed() < FULL_FOR) {
            return Err(self.full(&place.2));
        }
        let enough = known.left >= entries;
        if enough {
            known.left -= entries;
        }
        Ok(enough)
    }

    /// Notes a count, and takes room for entries.
    fn counted(&self, place: (String, String, String), count: u64, entries: u64) -> Result<(), Failure> {
        let left = self.most.saturating_sub(count);
        let fits = left >= entries;
        let name = place.2.clone();
        let known = Known { left: left.saturating_sub(entries) / 2, full_since: (!fits).then(Instant::now) };
        self.known.insert(place, std::sync::Arc::new(Mutex::new(known)));
        if fits { Ok(()) } else { Err(self.full(&name)) }
    }

    fn full(&self, name: &str) -> Failure {
        exceeded(format!("memory.{name} holds at most {} entries; delete some first", self.most))
    }
}

impl Engine {
    /// Takes room for new entries of a variable.
    pub(super) async fn take_room(&self, run: &Run, place: &Place, name: &str, entries: usize) -> Done<()> {
        if entries == 0 {
            return Ok(());
        }
        let entries = u64::try_from(entries).unwrap_or(u64::MAX);
        let counted = (place.core_id.to_string(), place.partition.clone(), name.to_owned());
        if self.0.memory_room.take(&counted, entries)? {
            return Ok(());
        }
        let mut connection = self.0.database.read().await?;
        let stored = memory::count(&mut connection, run.scope, place.variable(name)).await?;
        let ours = run.done.memory.of(name).filter(|(_, value)| value.is_some()).count();
        let count = stored.saturating_add(u64::try_from(ours).unwrap_or(u64::MAX));
        Ok(self.0.memory_room.counted(counted, count, entries)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_until_there_is_none() {
        let room = Room::new(10);
        let place = || ("core".to_owned(), String::new(), "list".to_owned());
        assert_eq!(room.take(&place(), 1), Ok(false), "it is counted first");
        room.counted(place(), 4, 1).unwrap();
        assert_eq!(room.take(&place(), 2), Ok(true));
        assert_eq!(room.take(&place(), 1), Ok(false), "half of what is left is gone: it is counted again");
        room.counted(place(), 9, 1).unwrap();
        assert_eq!(room.take(&place(), 1), Ok(false));
        let full = room.counted(place(), 10, 1).unwrap_err();
        assert_eq!(&*full.code, "MEMORY_LIMIT");
        assert!(room.take(&place(), 1).is_err(), "for a moment it is known to be full");
        assert_eq!(room.take(&("core".to_owned(), "other".to_owned(), "list".to_owned()), 1), Ok(false));
    }
}
