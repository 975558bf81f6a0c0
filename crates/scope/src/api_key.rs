//! API keys as their holder knows them. Only the digest is ever stored.

use std::fmt;

use sha2::{Digest, Sha256};

const MARK: &str = "sgk_";
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A text that cannot be an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an API key is sgk_ and 32 to 128 letters and digits")]
pub struct InvalidApiKey;

/// An API key in the clear: `sgk_` and base62 characters.
///
/// It is shown once when it is made and read when it is presented. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct PlaintextKey(Box<str>);

impl PlaintextKey {
    /// How many characters of a generated key are random; 62⁴⁰ is a little more than 2²³⁸.
    pub const GENERATED_CHARS: usize = 40;

    /// How many characters of a key may be shown later, to tell keys apart.
    pub const PREFIX_CHARS: usize = 12;

    /// Makes a key of random bytes that the caller has drawn.
    ///
    /// The bytes are stretched with SHA-256 in counter mode. A stretched byte that would favour some characters is
    /// passed over, so that all characters are equally likely.
    pub fn generate(random: &[u8; 32]) -> Self {
        // The greatest multiple of 62 that a byte can hold.
        const FAIR: u8 = 248;
        let stream = (0_u32..).flat_map(|counter| {
            let block = Sha256::new().chain_update(random).chain_update(counter.to_be_bytes()).finalize();
            <[u8; 32]>::from(block)
        });
        let characters = stream
            .filter(|byte| *byte < FAIR)
            .map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]))
            .take(Self::GENERATED_CHARS);
        Self(MARK.chars().chain(characters).collect::<String>().into())
    }

    /// Reads a key. Keys that an operator has chosen may have another length than generated ones.
    pub fn parse(text: &str) -> Result<Self, InvalidApiKey> {
        let secret = text.strip_prefix(MARK).ok_or(InvalidApiKey)?;
        let good = (32..=128).contains(&secret.len()) && secret.bytes().all(|c| c.is_ascii_alphanumeric());
        if good { Ok(Self(text.into())) } else { Err(InvalidApiKey) }
    }

    /// The SHA-256 digest under which the key is stored and found. A salt would add nothing to so random a secret.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The beginning, which may be shown later.
    pub fn prefix(&self) -> &str {
        self.0.get(..Self::PREFIX_CHARS).unwrap_or(MARK)
    }

    /// The whole key, to be shown to its holder and to no one else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PlaintextKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlaintextKey({}…)", self.prefix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_made() {
        let key = PlaintextKey::generate(&[7; 32]);
        assert_eq!(key.reveal().len(), 44);
        assert_eq!(PlaintextKey::parse(key.reveal()), Ok(key.clone()));
        assert_ne!(key, PlaintextKey::generate(&[8; 32]));
        assert_ne!(key.hash(), PlaintextKey::generate(&[8; 32]).hash());
        assert!(key.reveal().starts_with(key.prefix()) && key.prefix().len() == 12);
        assert!(!format!("{key:?}").contains(&key.reveal()[12..]));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let odd = format!("sgk_{}", "ü".repeat(20));
        let long = format!("sgk_{}", "a".repeat(129));
        for text in ["", "sgk_", "sgk_short", "abc_0123456789012345678901234567890123456789", &odd, &long] {
            assert_eq!(PlaintextKey::parse(text), Err(InvalidApiKey), "{text}");
        }
    }

    #[test]
    fn all_characters_are_equally_likely() {
        let mut seen = [0_u32; 128];
        for n in 0..2000_u16 {
            let mut random = [0; 32];
            random[..2].copy_from_slice(&n.to_be_bytes());
            for c in PlaintextKey::generate(&random).reveal()[4..].bytes() {
                seen[usize::from(c)] += 1;
            }
        }
        // 80,000 characters, 1290 of each expected; eight standard deviations are 285.
        assert!(ALPHABET.iter().all(|c| (1000..1580).contains(&seen[usize::from(*c)])));
    }
}
