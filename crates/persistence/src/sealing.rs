//! Secrets at rest: sealed under a key of their tenant, opened where they are used.
//!
//! Secrets are sealed under the tenants' data keys ([`crate::data_keys`]), which a master key wraps. Those of earlier
//! versions, and what has no data key, are sealed under a key that is derived from the master key (HKDF-SHA256, RFC 5869),
//! so that no two tenants' secrets are sealed under one key either way. The cipher is XChaCha20-Poly1305 with a random nonce; the tenant and the place of the secret
//! are bound in as associated data, so that a sealed text which is copied to another row does not open there. Every sealed
//! text names the master key that it stands under: with several keys listed, the first seals and all open.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use data_encoding::HEXLOWER;
use hkdf::Hkdf;
use scaigrid_scope::TenantId;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// How many bytes a master key has.
pub const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const VERSION: &str = "1";

/// Why a secret cannot be sealed or opened, or a key not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealingError {
    /// A master key must be 32 bytes in base64.
    #[error("a master key must be 32 bytes in base64 (RFC 4648)")]
    BadKey,
    /// The list of keys is empty.
    #[error("at least one master key is needed")]
    NoKey,
    /// The key that the text names is not among the keys of this process.
    #[error("sealed under the master key {0}, which this process does not have")]
    UnknownKey(String),
    /// The data key that the text names is not the tenant's.
    #[error("sealed under the data key {0}, which the tenant does not have")]
    UnknownDataKey(String),
    /// The text was changed, moved here from elsewhere, or is none of ours.
    #[error("the sealed text does not open")]
    Broken,
}

struct MasterKey {
    /// The first eight bytes of the key's SHA-256, in hex.
    id: String,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

/// A key that seals a tenant's secrets. Its bytes are wiped when nobody needs them any more.
pub(crate) type DataKey = Zeroizing<[u8; KEY_BYTES]>;

/// The most unwrapped data keys that are remembered; past it all are forgotten, since any can be unwrapped again.
const REMEMBERED: usize = 10_000;

/// The data keys that were unwrapped, by owner and name.
type Unwrapped = Mutex<HashMap<(Box<str>, Box<str>), Arc<DataKey>>>;

/// The master keys of this process, and the data keys that it has unwrapped with them.
pub struct Vault(Vec<MasterKey>, Unwrapped);

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

impl Vault {
    /// Reads keys in base64, separated by commas or white space; the first is the one that seals.
    ///
    /// # Errors
    /// When one is no key, or there is none.
    pub fn parse(text: &str) -> Result<Self, SealingError> {
        let keys = text
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|part| !part.is_empty())
            .map(|part| {
                let decoded = Zeroizing::new(STANDARD.decode(part).map_err(|_| SealingError::BadKey)?);
                let bytes = <[u8; KEY_BYTES]>::try_from(decoded.as_slice());
                let bytes = Zeroizing::new(bytes.map_err(|_| SealingError::BadKey)?);
                Ok(MasterKey { id: HEXLOWER.encode(&Sha256::digest(bytes.as_slice())[..8]), bytes })
            })
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(SealingError::NoKey) } else { Ok(Self(keys, Mutex::default())) }
    }

    /// A new key, drawn at random, in the form that [`Vault::parse`] reads.
    pub fn generate() -> String {
        STANDARD.encode(rand::random::<[u8; KEY_BYTES]>())
    }

    /// The names of the keys, the sealing one first. They tell nothing about the keys.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|key| key.id.as_str())
    }

    /// A key for another purpose, the same on every node that has the same first master key.
    ///
    /// # Errors
    /// [`SealingError::NoKey`] when there is no master key.
    pub fn derive(&self, purpose: &str) -> Result<[u8; KEY_BYTES], SealingError> {
        let key = self.0.first().ok_or(SealingError::NoKey)?;
        expand(key, &format!("scaigrid {purpose}"))
    }

    /// The keys for another purpose that the master keys give, each with the name of its master key, in their order.
    ///
    /// # Errors
    /// As [`Vault::derive`].
    pub fn derive_each(&self, purpose: &str) -> Result<Vec<(String, [u8; KEY_BYTES])>, SealingError> {
        let derived = |key: &MasterKey| Ok((key.id.clone(), expand(key, &format!("scaigrid {purpose}"))?));
        self.0.iter().map(derived).collect()
    }

    /// Seals as versions before data keys did.
    #[cfg(test)]
    fn seal(&self, tenant: TenantId, place: &str, secret: &str) -> Result<String, SealingError> {
        let key = self.0.first().ok_or(SealingError::NoKey)?;
        let body = seal_under(&tenant_key(key, tenant)?, &bound(tenant, place), secret.as_bytes())?;
        Ok(format!("{VERSION}.{}.{}", key.id, URL_SAFE_NO_PAD.encode(body)))
    }

    /// Opens what a version before data keys has sealed for the same tenant and place.
    ///
    /// # Errors
    /// When the key is missing or the text is not what was sealed.
    pub fn open(&self, tenant: TenantId, place: &str, sealed: &str) -> Result<String, SealingError> {
        let mut parts = sealed.splitn(3, '.');
        let (Some(VERSION), Some(id), Some(body)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(SealingError::Broken);
        };
        let key = self.master_key(id)?;
        let body = URL_SAFE_NO_PAD.decode(body).map_err(|_| SealingError::Broken)?;
        let secret = open_under(&tenant_key(key, tenant)?, &bound(tenant, place), &body)?;
        String::from_utf8(secret).map_err(|_| SealingError::Broken)
    }

    fn master_key(&self, id: &str) -> Result<&MasterKey, SealingError> {
        let key = self.0.iter().find(|key| key.id == id);
        key.ok_or_else(|| SealingError::UnknownKey(id.to_owned()))
    }

    /// Wraps a data key by the first master key, and names that.
    pub(crate) fn wrap(&self, bound: &str, key: &DataKey) -> Result<(String, Vec<u8>), SealingError> {
        let master = self.0.first().ok_or(SealingError::NoKey)?;
        let wrapped = seal_under(&wrapping_key(master)?, bound, key.as_slice())?;
        Ok((master.id.clone(), wrapped))
    }

    /// Unwraps what [`Vault::wrap`] wrapped by the master key of a name.
    pub(crate) fn unwrap(&self, master: &str, bound: &str, wrapped: &[u8]) -> Result<DataKey, SealingError> {
        let bytes = Zeroizing::new(open_under(&wrapping_key(self.master_key(master)?)?, bound, wrapped)?);
        let bytes = <[u8; KEY_BYTES]>::try_from(bytes.as_slice());
        bytes.map(Zeroizing::new).map_err(|_| SealingError::Broken)
    }

    /// A data key that was unwrapped before.
    pub(crate) fn remembered(&self, owner: &str, id: &str) -> Option<Arc<DataKey>> {
        let unwrapped = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        unwrapped.get(&(Box::from(owner), Box::from(id))).cloned()
    }

    /// A data key that was unwrapped before, or is now.
    pub(crate) fn remember(
        &self,
        owner: &str,
        id: &str,
        unwrap: impl FnOnce() -> Result<DataKey, SealingError>,
    ) -> Result<Arc<DataKey>, SealingError> {
        if let Some(key) = self.remembered(owner, id) {
            return Ok(key);
        }
        let key = Arc::new(unwrap()?);
        let mut unwrapped = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        if unwrapped.len() >= REMEMBERED {
            unwrapped.clear();
        }
        unwrapped.insert((Box::from(owner), Box::from(id)), Arc::clone(&key));
        Ok(key)
    }
}

fn bound(tenant: TenantId, place: &str) -> String {
    format!("{tenant}\n{place}")
}

fn tenant_key(key: &MasterKey, tenant: TenantId) -> Result<DataKey, SealingError> {
    expand(key, &format!("scaigrid tenant key {tenant}")).map(Zeroizing::new)
}

fn wrapping_key(key: &MasterKey) -> Result<DataKey, SealingError> {
    expand(key, "scaigrid wrapping of data keys").map(Zeroizing::new)
}

/// Nonce and ciphertext of a secret that opens only with what it is bound to.
pub(crate) fn seal_under(key: &DataKey, bound: &str, secret: &[u8]) -> Result<Vec<u8>, SealingError> {
    let nonce = rand::random::<[u8; NONCE_BYTES]>();
    let payload = Payload { msg: secret, aad: bound.as_bytes() };
    let cipher = XChaCha20Poly1305::new_from_slice(key.as_slice()).map_err(|_| SealingError::Broken)?;
    let sealed = cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| SealingError::Broken)?;
    Ok([&nonce[..], &sealed].concat())
}

/// What [`seal_under`] sealed.
pub(crate) fn open_under(key: &DataKey, bound: &str, body: &[u8]) -> Result<Vec<u8>, SealingError> {
    let (nonce, sealed) = body.split_first_chunk::<NONCE_BYTES>().ok_or(SealingError::Broken)?;
    let payload = Payload { msg: sealed, aad: bound.as_bytes() };
    let cipher = XChaCha20Poly1305::new_from_slice(key.as_slice()).map_err(|_| SealingError::Broken)?;
    cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| SealingError::Broken)
}

fn expand(key: &MasterKey, purpose: &str) -> Result<[u8; KEY_BYTES], SealingError> {
    let mut derived = [0; KEY_BYTES];
    Hkdf::<Sha256>::new(None, key.bytes.as_slice())
        .expand(purpose.as_bytes(), &mut derived)
        .map_err(|_| SealingError::Broken)?;
    Ok(derived)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(n: u128) -> TenantId {
        TenantId::from_ulid(ulid::Ulid(n))
    }

    #[test]
    fn a_secret_opens_only_where_it_was_sealed() {
        let (old, new) = (Vault::generate(), Vault::generate());
        let vault = Vault::parse(&old).unwrap();
        let sealed = vault.seal(tenant(1), "a/b", "hush").unwrap();
        assert_eq!(vault.open(tenant(1), "a/b", &sealed).unwrap(), "hush");
        assert_eq!(vault.open(tenant(2), "a/b", &sealed), Err(SealingError::Broken));
        assert_eq!(vault.open(tenant(1), "a/c", &sealed), Err(SealingError::Broken));
        assert_ne!(vault.seal(tenant(1), "a/b", "hush").unwrap(), sealed, "a nonce is used once");

        let rotated = Vault::parse(&format!("{new},\n{old}")).unwrap();
        assert_eq!(rotated.open(tenant(1), "a/b", &sealed).unwrap(), "hush");
        assert!(matches!(
            Vault::parse(&new).unwrap().open(tenant(1), "a/b", &sealed),
            Err(SealingError::UnknownKey(_))
        ));
    }

    #[test]
    fn no_text_opens_by_accident_and_no_text_is_a_key_by_accident() {
        let vault = Vault::parse(&Vault::generate()).unwrap();
        let id = vault.key_ids().next().unwrap().to_owned();
        for text in
            ["", "1", "1.x", "2.x.y", &format!("1.{id}."), &format!("1.{id}.AAAA"), &format!("1.{id}.?")]
        {
            assert!(vault.open(tenant(1), "a", text).is_err(), "{text}");
        }
        assert_eq!(Vault::parse(" , ").err(), Some(SealingError::NoKey));
        assert_eq!(Vault::parse("c2hvcnQ=").err(), Some(SealingError::BadKey));
        assert!(!format!("{vault:?}").contains("bytes"));
    }

    #[test]
    fn a_data_key_is_unwrapped_by_its_master_key_only() {
        let (old, new) = (Vault::generate(), Vault::generate());
        let vault = Vault::parse(&old).unwrap();
        let key = DataKey::new([7; KEY_BYTES]);
        let (master, wrapped) = vault.wrap("a", &key).unwrap();
        assert_eq!(vault.unwrap(&master, "a", &wrapped).unwrap(), key);
        assert!(!wrapped.windows(KEY_BYTES).any(|window| window == key.as_slice()));
        assert_eq!(vault.unwrap(&master, "b", &wrapped), Err(SealingError::Broken));
        let both = Vault::parse(&format!("{new},{old}")).unwrap();
        assert_eq!(both.unwrap(&master, "a", &wrapped).unwrap(), key);
        let (young, wrapped) = both.wrap("a", &key).unwrap();
        assert_ne!(young, master);
        assert_eq!(vault.unwrap(&young, "a", &wrapped), Err(SealingError::UnknownKey(young)));
    }
}
