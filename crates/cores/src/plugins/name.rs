//! What plugins and their methods are called.

use std::fmt;
use std::str::FromStr;

/// Why a text is no such name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {most} of A-Z, a-z, 0-9, {also}, beginning with a letter or a digit")]
pub struct InvalidName {
    most: usize,
    also: &'static str,
}

/// The name of a plugin in a tenant's registry: 1 to 100 of `A-Z a-z 0-9 . _ - / @`, beginning with a letter or a digit,
/// e.g. `acme.crm` or `acme/crm@2`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginName(Box<str>);

/// The name of a method: 1 to 128 of `A-Z a-z 0-9 . _ - /`, beginning with a letter, a digit or `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MethodName(Box<str>);

macro_rules! name {
    ($name:ident, $most:literal, $first:expr, $also:literal, $told:literal) => {
        impl $name {
            /// The greatest number of characters.
            pub const MAX_CHARS: usize = $most;

            /// The name as a text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let first: fn(u8) -> bool = $first;
                let good = (1..=$most).contains(&text.len())
                    && text.bytes().next().is_some_and(first)
                    && text.bytes().all(|c| c.is_ascii_alphanumeric() || $also.contains(&c));
                good.then(|| Self(text.into())).ok_or(InvalidName { most: $most, also: $told })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(PluginName, 100, |c| c.is_ascii_alphanumeric(), b"._-/@", "., _, -, / and @");
name!(MethodName, 128, |c| c.is_ascii_alphanumeric() || c == b'_', b"._-/", "., _, - and /");

impl MethodName {
    /// Whether it can stand in a path as one segment.
    pub fn is_segment(&self) -> bool {
        !self.0.contains('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_they_say() {
        for good in ["a", "acme.crm", "acme/crm@2.0", "0x", &"a".repeat(100)] {
            assert_eq!(good.parse::<PluginName>().unwrap().as_str(), good);
        }
        for bad in ["", ".a", "/a", "a b", "ä", "a\n", "a%2F", &"a".repeat(101)] {
            assert!(bad.parse::<PluginName>().is_err(), "{bad}");
        }
        assert!("_private/x".parse::<MethodName>().is_ok());
        assert!("a@b".parse::<MethodName>().is_err());
        assert!(!"a/b".parse::<MethodName>().unwrap().is_segment());
    }
}
