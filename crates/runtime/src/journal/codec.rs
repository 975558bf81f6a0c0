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

/// A part of what was appended together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// How many entries come before it.
    pub before: usize,
    /// The entries, as of [`encode_chunk`].
    pub bytes: Vec<u8>,
    /// Whether it is one entry that is large.
    pub large: bool,
}

/// How many times as large as a large entry a chunk of small ones may become.
const SMALL_ONES: usize = 16;

/// Entries that were appended together, as bytes: each entry of more than `large` bytes has a chunk of its own, and the others
/// stand together in chunks of a bounded size, one where they are few.
pub fn encode_chunks(entries: &[Entry], large: usize) -> Vec<Chunk> {
    let whole = encode_chunk(entries);
    if whole.len() <= large {
        return if entries.is_empty() {
            Vec::new()
        } else {
            vec![Chunk { before: 0, bytes: whole, large: false }]
        };
    }
    drop(whole);
    let mut chunks = Vec::new();
    let (mut begin, mut bytes_since) = (0, 0);
    let flush = |chunks: &mut Vec<Chunk>, begin: usize, end: usize| {
        if let Some(some) = entries.get(begin..end).filter(|some| !some.is_empty()) {
            chunks.push(Chunk { before: begin, bytes: encode_chunk(some), large: false });
        }
    };
    for (at, entry) in entries.iter().enumerate() {
        let bytes = encode_chunk(std::slice::from_ref(entry));
        let is_large = bytes.len() > large;
        if is_large || bytes_since + bytes.len() > large.saturating_mul(SMALL_ONES) {
            flush(&mut chunks, begin, at);
            (begin, bytes_since) = (at, 0);
        }
        if is_large {
            chunks.push(Chunk { before: at, bytes, large: true });
            begin = at + 1;
        } else {
            bytes_since += bytes.len();
        }
    }
    flush(&mut chunks, begin, entries.len());
    chunks
}

/// The entries of [`encode_chunk`].
///
/// # Errors
/// The bytes are too many, of an unknown version, or damaged.
pub fn decode_chunk(bytes: &[u8]) -> Result<Vec<Entry>, StateError> {
    read_versioned(bytes, &[VERSION, OLDER])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn cancel(length: usize) -> Entry {
        Entry::Cancel { reason: Arc::from("x".repeat(length)), steps: 1 }
    }

    #[test]
    fn a_large_entry_has_a_chunk_of_its_own() {
        for (lengths, expected) in [
            (vec![], vec![]),
            (vec![1, 2], vec![(0, false)]),
            (vec![500], vec![(0, true)]),
            (vec![1, 500, 2, 3], vec![(0, false), (1, true), (2, false)]),
            (vec![500, 600, 1], vec![(0, true), (1, true), (2, false)]),
            // Many small ones are not large, but a chunk does not grow without end.
            (vec![40; 9], vec![(0, false)]),
            (vec![100; 70], vec![(0, false), (29, false), (58, false)]),
            (vec![100; 29], vec![(0, false)]),
        ] {
            let entries: Vec<Entry> = lengths.into_iter().map(cancel).collect();
            let chunks = encode_chunks(&entries, 200);
            let shape: Vec<(usize, bool)> = chunks.iter().map(|chunk| (chunk.before, chunk.large)).collect();
            assert_eq!(shape, expected);
            let read: Vec<Entry> =
                chunks.iter().flat_map(|chunk| decode_chunk(&chunk.bytes).unwrap()).collect();
            assert_eq!(read, entries);
        }
    }
}
