//! How much memory a document may take while it is read.
//!
//! One byte of input can stand for a tree node of hundreds of bytes, so a bound on the input alone bounds
//! nothing. Readers charge what they are about to allocate and give back what they free; both the total and
//! the ratio to what has been read are limited.

use serde_json::Value;

use super::{BundleError, MAX_UNPACKED};

/// What any document may take, however short it is: trees have a fixed overhead.
const ALLOWANCE: usize = 12 * 1024 * 1024;
/// How many bytes a byte of input may grow to beyond that.
const GROWTH: usize = 10;
/// A leaf of a map holds up to eleven entries and is allocated as one.
const MAP_LEAF: usize = 11 * ENTRY + 16;
const ENTRY: usize = size_of::<String>() + size_of::<Value>();
/// What the allocator adds to a small allocation.
const HEAP: usize = 16;

/// The memory taken so far.
#[derive(Debug, Default)]
pub(super) struct Budget {
    taken: usize,
}

impl Budget {
    /// Takes memory, having read so many bytes of the unpacked document.
    pub(super) fn charge(&mut self, bytes: usize, read: usize) -> Result<(), BundleError> {
        let taken = self.taken.saturating_add(bytes);
        if taken > MAX_UNPACKED {
            return Err(BundleError::TooLarge {
                what: "the unpacked document in bytes",
                limit: MAX_UNPACKED,
            });
        }
        let limit = read.saturating_mul(GROWTH).saturating_add(ALLOWANCE);
        if taken > limit {
            return Err(BundleError::TooLarge {
                what: "the document's memory in relation to its length",
                limit,
            });
        }
        self.taken = taken;
        Ok(())
    }

    /// Gives memory back.
    pub(super) fn release(&mut self, bytes: usize) {
        self.taken = self.taken.saturating_sub(bytes);
    }

    /// Takes what a text of that capacity takes.
    pub(super) fn text(&mut self, capacity: usize, read: usize) -> Result<(), BundleError> {
        self.charge(if capacity == 0 { 0 } else { capacity + HEAP }, read)
    }

    /// Makes room for one more element, counting that the old and the new room exist side by side while the
    /// elements move.
    pub(super) fn element(&mut self, list: &mut Vec<Value>, read: usize) -> Result<(), BundleError> {
        if list.len() < list.capacity() {
            return Ok(());
        }
        let old = list.capacity() * size_of::<Value>();
        let room = list.capacity().max(2);
        self.charge(old + room * size_of::<Value>() + if old == 0 { HEAP } else { 0 }, read)?;
        list.reserve_exact(room);
        self.release(old);
        Ok(())
    }

    /// Takes what the next entry of a map with so many entries takes, without its key's text and its value's
    /// own contents.
    pub(super) fn entry(&mut self, entries: usize, read: usize) -> Result<(), BundleError> {
        // Leaves split in the middle, so entries in ascending order leave each one about half full.
        let bytes = match entries {
            0 => MAP_LEAF + HEAP,
            1..=10 => 0,
            _ => 2 * ENTRY + HEAP,
        };
        self.charge(bytes, read)
    }
}
