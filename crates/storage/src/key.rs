//! The names of objects.

use std::fmt;
use std::str::FromStr;

/// The name of an object: parts of letters, digits and `._-`, separated by slashes. It names the same object in a folder and in
/// a bucket, and never one outside of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// The most bytes of a key.
const MAX_KEY: usize = 512;
/// The most bytes of a part, as file systems have it.
const MAX_PART: usize = 200;

/// A text is no key of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a key is at most {MAX_KEY} bytes: parts of 1 to {MAX_PART} of A-Z a-z 0-9 . _ - that begin with no dot, separated by slashes"
)]
pub struct InvalidKey;

impl Key {
    /// Reads a key.
    ///
    /// # Errors
    /// [`InvalidKey`].
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidKey> {
        let text = text.into();
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let part = |part: &str| {
            (1..=MAX_PART).contains(&part.len()) && !part.starts_with('.') && part.bytes().all(letter)
        };
        if text.len() <= MAX_KEY && text.split('/').all(part) { Ok(Self(text)) } else { Err(InvalidKey) }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        Self::new(text)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_leads_elsewhere_is_no_key() {
        for text in
            ["", "/", "/a", "a/", "a//b", "..", "a/../b", ".hidden", "a/.b", "a\\b", "a b", "ä", "a\0"]
        {
            assert_eq!(Key::new(text), Err(InvalidKey), "{text:?}");
        }
        assert_eq!(Key::new("a/".repeat(300)), Err(InvalidKey));
        assert!(Key::new("tenants/ten_01/values/ab/abcdef-01.bin").is_ok());
    }

    proptest! {
        #[test]
        fn a_key_stays_below_its_folder(text in "[./a-c_-]{0,12}|\\PC{0,12}") {
            if let Ok(key) = Key::new(text) {
                let below = Path::new(key.as_str()).components().all(|part| matches!(part, Component::Normal(_)));
                prop_assert!(below);
                prop_assert!(!key.as_str().is_empty());
            }
        }
    }
}
