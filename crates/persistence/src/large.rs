//! Large values: what is longer than [`LARGE`] lies in the object store by its hash, and the column holds a reference.
//!
//! A unit's large pieces are put there before the unit is committed ([`pieces`]); the commit then writes references in their place.
//! Who reads a column gets what it refers to. A value that nobody has put away before stays in its column, however large it is.

use std::collections::BTreeMap;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures_util::future::BoxFuture;
use scaigrid_ir::Value;
use scaigrid_scope::TenantId;
use sha2::{Digest as _, Sha256};
use ulid::Ulid;

use crate::commit::{Change, Unit};
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::executions::encode;

/// What is longer than so many bytes, encoded, does not lie in a column.
pub const LARGE: usize = 64 * 1024;

/// What a reference begins with: no value in MessagePack begins so, and no chunk of a journal.
const MARK: [u8; 2] = [0xc1, 1];

/// The hash of an object.
pub type Hash = [u8; 32];

/// An object that a value lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// Draws it apart from others of the same content that were there before.
    pub id: Ulid,
    /// The SHA-256 of its bytes.
    pub hash: Hash,
    /// How many bytes it has.
    pub length: u64,
}

impl Object {
    /// Its key in the store.
    pub fn key(&self, tenant: TenantId) -> String {
        let hash = hex(&self.hash);
        format!("tenants/{tenant}/values/{}/{hash}-{}", hash.get(..2).unwrap_or_default(), self.id)
    }

    /// What a column holds in its place.
    pub(crate) fn reference(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(58);
        bytes.extend(MARK);
        bytes.extend(self.id.0.to_be_bytes());
        bytes.extend(self.hash);
        bytes.extend(self.length.to_le_bytes());
        bytes
    }

    /// The object that a column refers to, if it does.
    pub(crate) fn referred(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MARK)?;
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let (hash, rest) = rest.split_first_chunk::<32>()?;
        let length = u64::from_le_bytes(rest.try_into().ok()?);
        Some(Self { id: Ulid(u128::from_be_bytes(*id)), hash: *hash, length })
    }
}

/// The hash of an object's bytes.
pub fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// A hash as text.
pub fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// Where objects are read.
pub trait Objects: Send + Sync + 'static {
    /// The bytes under a key; none where there are none. The error says what is wrong with the store.
    fn get(&self, key: String) -> BoxFuture<'_, Result<Option<Bytes>, String>>;
}

/// The parts of a unit that are too large for columns, encoded, by their hashes, and in the order of these: of two nodes that put
/// the same away each waits once.
///
/// # Errors
/// A value cannot be encoded.
pub fn pieces(unit: &Unit) -> Result<BTreeMap<Hash, Vec<u8>>> {
    let mut pieces = BTreeMap::new();
    let mut value = |value: &Value| -> Result<()> {
        // The walk ends at the bound, so small values, which are nearly all, cost little.
        if value.extent(LARGE).is_none() {
            let bytes = encode(value)?;
            if bytes.len() > LARGE {
                pieces.insert(hash(&bytes), bytes);
            }
        }
        Ok(())
    };
    match &unit.change {
        Change::Begin { execution, .. } => {
            value(&execution.input)?;
            execution.output.iter().chain(&execution.error).try_for_each(&mut value)?;
        }
        Change::Proceed { output, error, .. } => output.iter().chain(error).try_for_each(&mut value)?,
        Change::Accept { .. } | Change::Keep { .. } => {}
    }
    for child in &unit.started {
        value(&child.input)?;
    }
    unit.memory.iter().filter_map(|write| write.value.as_ref()).try_for_each(&mut value)?;
    unit.events.iter().try_for_each(|event| value(&event.data))?;
    let chunks = unit.journal.iter().filter(|chunk| chunk.alone).map(|chunk| &chunk.entries);
    let outcomes = unit.delivered.iter().map(|delivery| &delivery.outcome);
    for bytes in chunks.chain(outcomes).filter(|bytes| bytes.len() > LARGE) {
        pieces.insert(hash(bytes), bytes.clone());
    }
    Ok(pieces)
}

impl Connection {
    /// What a column holds, or what it refers to.
    pub(crate) async fn open(&self, tenant: TenantId, bytes: Vec<u8>) -> Result<Vec<u8>> {
        let Some(object) = Object::referred(&bytes) else { return Ok(bytes) };
        let Some(objects) = self.objects() else {
            return Err(Error::Objects("there is none".to_owned()));
        };
        let found = objects.get(object.key(tenant)).await.map_err(Error::Objects)?;
        let found = found.ok_or_else(|| Error::Lost(format!("{} is missing", object.key(tenant))))?;
        if hash(&found) != object.hash {
            return Err(Error::Lost(format!("{} is not what was put there", object.key(tenant))));
        }
        Ok(found.into())
    }

    /// The same of a column that may be empty.
    pub(crate) async fn open_maybe(
        &self,
        tenant: TenantId,
        bytes: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>> {
        match bytes {
            Some(bytes) => self.open(tenant, bytes).await.map(Some),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_no_value_and_comes_back() {
        let object = Object { id: Ulid(7 << 64), hash: hash(b"what"), length: 70_000 };
        let reference = object.reference();
        assert_eq!(Object::referred(&reference), Some(object));
        assert!(rmp_serde::from_slice::<Value>(&reference).is_err());
        for value in [Value::Null, Value::Int(-1), Value::from("text"), Value::array(vec![])] {
            assert_eq!(Object::referred(&encode(&value).unwrap()), None);
        }
        assert_eq!(Object::referred(&[1, 0x90]), None);
        assert_eq!(Object::referred(&reference[..57]), None);
    }
}
