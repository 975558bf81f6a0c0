//! The two encodings of a module document, and the bounds that keep a hostile one harmless.
//!
//! A document arrives as an SCIR bundle or as JSON text; both are the same map and become the same
//! [`serde_json::Value`]. [`decode`] never trusts what it reads: input, unpacked size, nesting and the memory
//! taken are bounded, and nothing is allocated because a header says so. [`encode`] is canonical, so equal
//! documents have equal bytes. What the document means is the business of [`crate::load`].
//!
//! The header is twelve bytes after the magic, all integers little-endian:
//!
//! | offset | size | content |
//! |---|---|---|
//! | 0 | 4 | `SCIR` |
//! | 4 | 1 | format version, 1 |
//! | 5 | 1 | flags: bit 0 says that the body is one Zstandard frame (RFC 8878) |
//! | 6 | 2 | reserved, 0 |
//! | 8 | 4 | length of the body |
//! | 12 | 4 | CRC-32C (RFC 3720, appendix B.4) of the body as it stands |
//! | 16 | … | the body: a `MessagePack` map |
//!
//! The short form is the magic followed directly by the map. The two cannot be confused, because no
//! `MessagePack` map begins with the byte 1.

mod budget;
mod json;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

use serde_json::Value;

use budget::Budget;

/// What every bundle begins with.
pub const MAGIC: &[u8; 4] = b"SCIR";
/// The only format version there is.
pub const FORMAT_VERSION: u8 = 1;
/// The most bytes that are accepted.
pub const MAX_RECEIVED: usize = 10 * 1024 * 1024;
/// The most bytes that a document may take, both unpacked and as a tree in memory.
pub const MAX_UNPACKED: usize = 64 * 1024 * 1024;
/// The deepest nesting: the root is on level 1, and whatever it holds directly on level 2. Containers end one
/// level earlier, so that every accepted leaf is within the bound.
pub const MAX_DEPTH: usize = 128;

const FLAG_ZSTD: u8 = 1;
const HEADER: usize = 16;

/// Why bytes are not a module document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// More than a bound allows.
    #[error("{what} exceeds the limit of {limit}")]
    TooLarge {
        /// What is too much.
        what: &'static str,
        /// The bound, in the unit that `what` is counted in.
        limit: usize,
    },
    /// The bytes are neither a bundle nor JSON text.
    #[error("neither a bundle (it does not begin with SCIR) nor a JSON object")]
    Unrecognised,
    /// The header says something impossible.
    #[error("malformed bundle header at byte {offset}: {message}")]
    Header {
        /// Where, in bytes from the beginning.
        offset: usize,
        /// What is wrong.
        message: String,
    },
    /// The body is not the bytes that were written.
    #[error("the checksum of the body is {found:08x}, but the header says {expected:08x}")]
    Checksum {
        /// What the header says.
        expected: u32,
        /// What the body gives.
        found: u32,
    },
    /// The body is not a document.
    #[error("malformed body at byte {offset} (at {pointer:?}): {message}")]
    Body {
        /// Where, in bytes from the beginning of the unpacked body.
        offset: usize,
        /// The value that was being read, as a JSON pointer (RFC 6901).
        pointer: String,
        /// What is wrong.
        message: String,
    },
    /// The text is not a document.
    #[error("malformed JSON at line {line}, column {column}: {message}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1; 0 where the line had not begun.
        column: usize,
        /// What is wrong.
        message: String,
    },
}

impl BundleError {
    /// Whether a bound was exceeded, as opposed to a malformed input.
    pub fn is_too_large(&self) -> bool {
        matches!(self, Self::TooLarge { .. })
    }
}

/// Reads a document: an SCIR bundle, its short form, or JSON text (RFC 8259).
///
/// Integers within 64 bits are kept exactly. A JSON integer beyond them becomes a double, as does anything with
/// a fraction or an exponent; infinities and NaN are refused. Keys must be texts and must not repeat.
pub fn decode(bytes: &[u8]) -> Result<Value, BundleError> {
    if bytes.len() > MAX_RECEIVED {
        return Err(BundleError::TooLarge { what: "the input in bytes", limit: MAX_RECEIVED });
    }
    let document = match bytes.strip_prefix(MAGIC) {
        None => {
            let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
            return if first == Some(&b'{') { json::read(bytes) } else { Err(BundleError::Unrecognised) };
        }
        Some(body @ [0x80..=0x8f | 0xde | 0xdf, ..]) => reader::read(body, &mut Budget::default())?,
        Some(_) => full_form(bytes)?,
    };
    if document.is_object() {
        return Ok(document);
    }
    Err(BundleError::Body {
        offset: 0,
        pointer: String::new(),
        message: "a module document is a map".to_owned(),
    })
}

fn full_form(bytes: &[u8]) -> Result<Value, BundleError> {
    let malformed = |offset, message: String| BundleError::Header { offset, message };
    let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(malformed(bytes.len(), format!("the header is {HEADER} bytes long")));
    };
    let [_, _, _, _, version, flags, r0, r1, l0, l1, l2, l3, c0, c1, c2, c3] = *header;
    if version != FORMAT_VERSION {
        return Err(malformed(4, format!("format version {version} is not known, only {FORMAT_VERSION}")));
    }
    if flags & !FLAG_ZSTD != 0 {
        return Err(malformed(5, format!("unknown flags {flags:#04x}")));
    }
    if [r0, r1] != [0, 0] {
        return Err(malformed(6, "the reserved bytes are not zero".to_owned()));
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    if usize::try_from(length).ok() != Some(body.len()) {
        return Err(malformed(8, format!("the body has {} bytes, not the declared {length}", body.len())));
    }
    let expected = u32::from_le_bytes([c0, c1, c2, c3]);
    let found = crc32c::crc32c(body);
    if expected != found {
        return Err(BundleError::Checksum { expected, found });
    }
    if flags & FLAG_ZSTD == 0 {
        return reader::read(body, &mut Budget::default());
    }
    reader::read_compressed(body, &mut Budget::default())
}

/// Writes a document as a bundle with a plain body. Keys are in bytewise order and integers as short as they
/// can be; doubles always take nine bytes. [`decode`] gives the same document again.
pub fn encode(document: &Value) -> Vec<u8> {
    with_header(0, &writer::write(document))
}

/// Writes a document as a bundle with a compressed body. The body within the frame is that of [`encode`].
pub fn encode_compressed(document: &Value) -> Vec<u8> {
    let body = writer::write(document);
    match zstd::bulk::compress(&body, 3) {
        Ok(frame) => with_header(FLAG_ZSTD, &frame),
        // Compression only fails for want of memory; the plain form says the same.
        Err(_) => with_header(0, &body),
    }
}

fn with_header(flags: u8, body: &[u8]) -> Vec<u8> {
    // A body of 4 GiB is far beyond what any reader takes; the saturated length makes it refuse.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[FORMAT_VERSION, flags, 0, 0]);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}
