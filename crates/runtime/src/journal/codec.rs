//! Entries as bytes: a version byte, then an array of entries in MessagePack, structures as arrays.

use super::Entry;
use crate::failure::StateError;
use crate::machine::read_versioned;

/// The format that is written.
const VERSION: u8 = 2;

/// The older format that is read: it lacks the last fields of some structures, which then have their defaults.
const OLDER: u8 = 1;

/// Entries that were appended together, as bytes. The same entries always give the same bytes.
pub fn encode_chunk(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + 96 * entries.len());
    bytes.push(VERSION);
    // Writing to memory does not fail, and nothing in an entry refuses to be written.
    let written = rmp_serde::encode::write(&mut bytes, entries);
    debug_assert!(written.is_ok(), "entries can always be written");
    bytes
}

/// The entries of [`encode_chunk`].
///
/// # Errors
/// The bytes are too many, of an unknown version, or damaged.
pub fn decode_chunk(bytes: &[u8]) -> Result<Vec<Entry>, StateError> {
    read_versioned(bytes, &[VERSION, OLDER])
}
