//! A record as bytes, in one way only, and the link made of them.
//!
//! The encoding is unambiguous by construction: every part says what it is and how long it is before it comes, and all
//! parts stand in one order. Integers are big-endian.
//!
//! ```text
//! text      = 0x01, length in bytes (u64), UTF-8 bytes       absent = 0x00
//! value     = 'n' | 't' | 'f' | 'i' i64 | 'u' u64 | 'd' f64 (IEEE 754 bits) | 's' length bytes
//!           | 'a' count (u64) value… | 'o' count (u64) (length bytes value)…, by ascending bytes of the names
//! record    = id, tenant_id, partner_id, at (i64, microseconds since 1970), action, actor_id, actor_email, actor_type,
//!             resource_type, resource_id, status, changes (value), request_id, ip_address, user_agent, module
//! link      = SHA-256("scaigrid.audit.link.1" 0x00, chain (text), position (u64), link before (32 bytes), record)
//! ```
//!
//! The link before the first is 32 zero bytes. Of `u` are integers that do not fit `i`.

use std::fmt;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Chain;

/// 32 bytes: a link of a chain, or a code under a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// What stands before the first link of a chain.
    pub const ZERO: Self = Self([0; 32]);

    /// Reads stored bytes; `None` if there are not 32 of them.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Digest {
    /// Hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// All fields of a record as they are stored. They need not be valid: what was tampered with is hashed as it is.
#[derive(Debug, Clone, Copy)]
pub struct RecordFields<'a> {
    /// The record.
    pub id: &'a str,
    /// The tenant.
    pub tenant_id: Option<&'a str>,
    /// The partner.
    pub partner_id: Option<&'a str>,
    /// When, in microseconds since 1970.
    pub at: i64,
    /// What was done.
    pub action: &'a str,
    /// By whom.
    pub actor_id: Option<&'a str>,
    /// Their address.
    pub actor_email: Option<&'a str>,
    /// What kind of actor.
    pub actor_type: &'a str,
    /// To what kind of thing.
    pub resource_type: &'a str,
    /// To what.
    pub resource_id: &'a str,
    /// How it ended.
    pub status: &'a str,
    /// What was different afterwards.
    pub changes: &'a Value,
    /// The request.
    pub request_id: Option<&'a str>,
    /// Where it came from.
    pub ip_address: Option<&'a str>,
    /// What sent it.
    pub user_agent: Option<&'a str>,
    /// The module.
    pub module: Option<&'a str>,
}

/// A record, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry(Vec<u8>);

impl Entry {
    /// Encodes a record.
    pub fn of(record: &RecordFields<'_>) -> Self {
        let mut out = Vec::with_capacity(512);
        put_text(&mut out, Some(record.id));
        put_text(&mut out, record.tenant_id);
        put_text(&mut out, record.partner_id);
        out.extend(record.at.to_be_bytes());
        put_text(&mut out, Some(record.action));
        put_text(&mut out, record.actor_id);
        put_text(&mut out, record.actor_email);
        put_text(&mut out, Some(record.actor_type));
        put_text(&mut out, Some(record.resource_type));
        put_text(&mut out, Some(record.resource_id));
        put_text(&mut out, Some(record.status));
        put_value(&mut out, record.changes);
        put_text(&mut out, record.request_id);
        put_text(&mut out, record.ip_address);
        put_text(&mut out, record.user_agent);
        put_text(&mut out, record.module);
        Self(out)
    }

    /// What stands for a record that could not be read when its turn came: nothing but its id. No record encodes to it.
    pub fn lost(id: &str) -> Self {
        let mut out = Vec::new();
        put_text(&mut out, Some(id));
        Self(out)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The link of a record in a chain. Positions count from 1.
pub fn link(chain: &Chain, position: u64, before: &Digest, entry: &Entry) -> Digest {
    let mut head = Vec::with_capacity(96);
    head.extend_from_slice(b"scaigrid.audit.link.1\0");
    put_text(&mut head, Some(&chain.to_string()));
    head.extend(position.to_be_bytes());
    head.extend(before.0);
    let mut hash = Sha256::new();
    hash.update(&head);
    hash.update(&entry.0);
    Digest(hash.finalize().into())
}

pub(super) fn put_text(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        None => out.push(0),
        Some(text) => {
            out.push(1);
            put_bytes(out, text.as_bytes());
        }
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    // No machine of ours counts beyond 64 bits.
    out.extend(u64::try_from(count).unwrap_or(u64::MAX).to_be_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// The depth is that of JSON that was read, which its reader bounds.
fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(b'n'),
        Value::Bool(true) => out.push(b't'),
        Value::Bool(false) => out.push(b'f'),
        Value::Number(number) => {
            if let Some(number) = number.as_i64() {
                out.push(b'i');
                out.extend(number.to_be_bytes());
            } else if let Some(number) = number.as_u64() {
                out.push(b'u');
                out.extend(number.to_be_bytes());
            } else {
                out.push(b'd');
                out.extend(number.as_f64().unwrap_or(f64::NAN).to_bits().to_be_bytes());
            }
        }
        Value::String(text) => {
            out.push(b's');
            put_bytes(out, text.as_bytes());
        }
        Value::Array(items) => {
            out.push(b'a');
            put_count(out, items.len());
            for item in items {
                put_value(out, item);
            }
        }
        Value::Object(fields) => {
            out.push(b'o');
            put_count(out, fields.len());
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
            for (name, value) in fields {
                put_bytes(out, name.as_bytes());
                put_value(out, value);
            }
        }
    }
}
