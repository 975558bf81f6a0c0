//! What deliveries are signed with.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The key that a webhook's deliveries are signed with. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A text that is no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be whsec_ and the base64 of 24 to 64 bytes, or {} to {} visible ASCII characters without that beginning",
    Secret::MIN_CHARS,
    Secret::MAX_CHARS
)]
pub struct InvalidSecret;

impl Secret {
    /// What a secret in the form of Standard Webhooks begins with.
    pub const PREFIX: &'static str = "whsec_";
    /// The fewest characters of a secret in another form.
    pub const MIN_CHARS: usize = 16;
    /// The most characters of a secret in another form.
    pub const MAX_CHARS: usize = 256;

    /// Reads a secret. After `whsec_` stands the key in base64; without it the characters are the key.
    ///
    /// # Errors
    /// The key is too short or too long, or the text is not of either form.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let fits = match text.strip_prefix(Self::PREFIX) {
            Some(encoded) => STANDARD.decode(encoded).is_ok_and(|key| (24..=64).contains(&key.len())),
            None => {
                (Self::MIN_CHARS..=Self::MAX_CHARS).contains(&text.len())
                    && text.bytes().all(|byte| byte.is_ascii_graphic())
            }
        };
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidSecret) }
    }

    /// The secret of 32 bytes that somebody has drawn.
    pub fn of_bytes(key: &[u8; 32]) -> Self {
        Self(format!("{}{}", Self::PREFIX, STANDARD.encode(key)))
    }

    /// The text that the receiver is given, once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The bytes that sign.
    pub(crate) fn key(&self) -> Vec<u8> {
        match self.0.strip_prefix(Self::PREFIX) {
            // What was parsed decodes.
            Some(encoded) => STANDARD.decode(encoded).unwrap_or_default(),
            None => self.0.clone().into_bytes(),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_one_of_two_forms() {
        let drawn = Secret::of_bytes(&[7; 32]);
        assert_eq!(Secret::parse(drawn.reveal()).unwrap(), drawn);
        assert_eq!(drawn.key(), [7; 32]);
        let plain = Secret::parse("0123456789abcdef").unwrap();
        assert_eq!(plain.key(), b"0123456789abcdef");
        for text in [
            "",
            "short",
            "whsec_",
            "whsec_c2hvcnQ=",
            "whsec_not base64 at all, but long enough",
            "a space is not visible",
            "schlüssel-schlüssel",
        ] {
            assert!(Secret::parse(text).is_err(), "{text}");
        }
        assert!(Secret::parse(&"x".repeat(257)).is_err());
        assert!(!format!("{drawn:?}{plain:?}").contains("0123"));
    }
}
