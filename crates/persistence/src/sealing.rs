//! Secrets at rest: sealed under a key of their tenant, opened where they are used.
//!
//! A tenant's key is derived from the master key (HKDF-SHA256, RFC 5869), so that no two tenants' secrets are sealed
//! under one key. The cipher is XChaCha20-Poly1305 with a random nonce; the tenant and the place of the secret
//! are bound in as associated data, so that a sealed text which is copied to another row does not open there. Every sealed
//! text names the master key that it stands under: with several keys listed, the first seals and all open.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use scaigrid_scope::TenantId;
use sha2::{Digest, Sha256};

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
    /// The text was changed, moved here from elsewhere, or is none of ours.
    #[error("the sealed text does not open")]
    Broken,
}

struct MasterKey {
    /// The first eight bytes of the key's SHA-256, in hex.
    id: String,
    bytes: [u8; KEY_BYTES],
}

/// The master keys of this process.
pub struct Vault(Vec<MasterKey>);

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
                let bytes = STANDARD.decode(part).map_err(|_| SealingError::BadKey)?;
                let bytes = <[u8; KEY_BYTES]>::try_from(bytes).map_err(|_| SealingError::BadKey)?;
                Ok(MasterKey { id: hex(&Sha256::digest(bytes)[..8]), bytes })
            })
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(SealingError::NoKey) } else { Ok(Self(keys)) }
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

    /// Seals a secret of a tenant for one place, e.g. `cores/core_…/environment/API_KEY`.
    ///
    /// # Errors
    /// [`SealingError::Broken`] when the secret is longer than the cipher can take (256 GiB).
    pub fn seal(&self, tenant: TenantId, place: &str, secret: &str) -> Result<String, SealingError> {
        let key = self.0.first().ok_or(SealingError::NoKey)?;
        let nonce = rand::random::<[u8; NONCE_BYTES]>();
        let bound = bound(tenant, place);
        let payload = Payload { msg: secret.as_bytes(), aad: bound.as_bytes() };
        let sealed =
            cipher(key, tenant)?.encrypt(&XNonce::from(nonce), payload).map_err(|_| SealingError::Broken)?;
        let body = [&nonce[..], &sealed].concat();
        Ok(format!("{VERSION}.{}.{}", key.id, URL_SAFE_NO_PAD.encode(body)))
    }

    /// Opens what [`Vault::seal`] made for the same tenant and place.
    ///
    /// # Errors
    /// When the key is missing or the text is not what was sealed.
    pub fn open(&self, tenant: TenantId, place: &str, sealed: &str) -> Result<String, SealingError> {
        let mut parts = sealed.splitn(3, '.');
        let (Some(VERSION), Some(id), Some(body)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(SealingError::Broken);
        };
        let key = self.0.iter().find(|key| key.id == id);
        let key = key.ok_or_else(|| SealingError::UnknownKey(id.to_owned()))?;
        let body = URL_SAFE_NO_PAD.decode(body).map_err(|_| SealingError::Broken)?;
        let (nonce, sealed) = body.split_first_chunk::<NONCE_BYTES>().ok_or(SealingError::Broken)?;
        let bound = bound(tenant, place);
        let payload = Payload { msg: sealed, aad: bound.as_bytes() };
        let secret =
            cipher(key, tenant)?.decrypt(&XNonce::from(*nonce), payload).map_err(|_| SealingError::Broken)?;
        String::from_utf8(secret).map_err(|_| SealingError::Broken)
    }
}

fn bound(tenant: TenantId, place: &str) -> String {
    format!("{tenant}\n{place}")
}

fn cipher(key: &MasterKey, tenant: TenantId) -> Result<XChaCha20Poly1305, SealingError> {
    let derived = expand(key, &format!("scaigrid tenant key {tenant}"))?;
    XChaCha20Poly1305::new_from_slice(&derived).map_err(|_| SealingError::Broken)
}

fn expand(key: &MasterKey, purpose: &str) -> Result<[u8; KEY_BYTES], SealingError> {
    let mut derived = [0; KEY_BYTES];
    Hkdf::<Sha256>::new(None, &key.bytes)
        .expand(purpose.as_bytes(), &mut derived)
        .map_err(|_| SealingError::Broken)?;
    Ok(derived)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
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
}
