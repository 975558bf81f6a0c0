//! The texts that people choose: names, slugs, e-mail addresses. A value of these types is always valid.

use std::fmt;
use std::str::FromStr;

/// Why a text cannot be a name, a slug or an e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing is left once the surrounding white space is gone.
    #[error("must not be empty")]
    Empty,
    /// More characters than the field holds.
    #[error("must have at most {max} characters")]
    TooLong {
        /// The greatest number of characters.
        max: usize,
    },
    /// Control characters, which no one can see or type.
    #[error("must not contain control characters")]
    ControlCharacter,
    /// Not a slug.
    #[error("must consist of a-z, 0-9 and inner hyphens, at most 63 characters")]
    NotASlug,
    /// Not an e-mail address.
    #[error("must be an e-mail address")]
    NotAnEmail,
}

macro_rules! text_value {
    ($name:ident) => {
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text, owned.
            pub fn into_string(self) -> String {
                self.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }
    };
}

/// What people call a thing: 1 to 200 characters without control characters, trimmed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

text_value!(Name);

impl Name {
    /// The greatest number of characters.
    pub const MAX_CHARS: usize = 200;

    /// Trims and checks a name. The white space around it counts: what is too long is so before anybody has trimmed it.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if text.chars().count() > Self::MAX_CHARS {
            return Err(InvalidName::TooLong { max: Self::MAX_CHARS });
        }
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidName::ControlCharacter);
        }
        Ok(Self(text.into()))
    }
}

/// What is said of a thing in a sentence or a few: 1 to 1000 characters, trimmed, in lines but without other control
/// characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description(Box<str>);

text_value!(Description);

impl Description {
    /// The greatest number of characters.
    pub const MAX_CHARS: usize = 1000;

    /// Trims and checks a description, whose length is that before.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if text.chars().count() > Self::MAX_CHARS {
            return Err(InvalidName::TooLong { max: Self::MAX_CHARS });
        }
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.chars().any(|c| c.is_control() && c != '\n') {
            return Err(InvalidName::ControlCharacter);
        }
        Ok(Self(text.into()))
    }
}

/// A name for addresses: 1 to 63 of `a-z`, `0-9` and `-`, neither beginning nor ending with a hyphen.
///
/// That is a DNS label (RFC 1035), so a slug can become part of a host name. It holds no underscore, so it is
/// never mistaken for an identifier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(Box<str>);

text_value!(Slug);

impl Slug {
    /// The greatest number of characters.
    pub const MAX_CHARS: usize = 63;

    /// Checks a slug.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let good = (1..=Self::MAX_CHARS).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if good { Ok(Self(text.into())) } else { Err(InvalidName::NotASlug) }
    }

    /// The slug that a name suggests: transliterated, in lower case, with one hyphen for whatever is neither
    /// letter nor digit. `None` when nothing is left, as of `"!?"`.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut slug = String::with_capacity(Self::MAX_CHARS);
        let latin = deunicode::deunicode(&german_first(name));
        for c in latin.chars() {
            if slug.len() == Self::MAX_CHARS {
                break;
            }
            if c.is_ascii_alphanumeric() {
                slug.push(c.to_ascii_lowercase());
            } else if !slug.is_empty() && !slug.ends_with('-') {
                slug.push('-');
            }
        }
        Self::parse(slug.trim_end_matches('-')).ok()
    }
}

/// Writes German umlauts the way their readers do; the general table would drop the dots.
fn german_first(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            'ä' | 'Ä' => text.push_str("ae"),
            'ö' | 'Ö' => text.push_str("oe"),
            'ü' | 'Ü' => text.push_str("ue"),
            _ => text.push(c),
        }
    }
    text
}

/// An e-mail address, at most 254 characters (RFC 5321), its domain in lower case.
///
/// The check is pragmatic: it refuses what is surely no address and leaves it to a delivered message to prove the
/// rest. The domain may be one label (`alice@acme`), as in closed networks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(Box<str>);

text_value!(Email);

impl Email {
    /// The greatest number of characters (octets, in the words of RFC 5321).
    pub const MAX_CHARS: usize = 254;

    /// Checks an address and writes its domain in lower case.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let text = text.trim();
        if text.len() > Self::MAX_CHARS {
            return Err(InvalidName::TooLong { max: Self::MAX_CHARS });
        }
        let (local, domain) = text.split_once('@').ok_or(InvalidName::NotAnEmail)?;
        let odd = |c: char| c.is_whitespace() || c.is_control() || "\"(),:;<>@[\\]".contains(c);
        let good_local = (1..=64).contains(&local.len())
            && !local.contains(odd)
            && !local.starts_with('.')
            && !local.ends_with('.')
            && !local.contains("..");
        let good_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if !good_local || !domain.split('.').all(good_label) {
            return Err(InvalidName::NotAnEmail);
        }
        let email = format!("{local}@{}", domain.to_lowercase());
        if email.len() > Self::MAX_CHARS {
            return Err(InvalidName::TooLong { max: Self::MAX_CHARS });
        }
        Ok(Self(email.into()))
    }

    /// What stands before the `@`, as a name. It always is one: at most 64 characters, none of them white or control.
    pub fn local_name(&self) -> Name {
        Name(self.0.split('@').next().unwrap_or(&self.0).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_comes_of_any_name_that_has_a_letter() {
        let slug = |name: &str| Slug::from_name(name).map(Slug::into_string);
        assert_eq!(slug("  Spesen & Auslagen (Übersicht) "), Some("spesen-auslagen-uebersicht".to_owned()));
        assert_eq!(slug("Żółw d'été"), Some("zolw-d-ete".to_owned()));
        assert!(slug("東京").is_some());
        assert_eq!(slug("!?—"), None);
        let long = Slug::from_name(&"ab ".repeat(100)).unwrap();
        assert!(long.as_str().len() <= Slug::MAX_CHARS);
        assert_eq!(Slug::parse(long.as_str()), Ok(long));
    }

    #[test]
    fn a_slug_is_never_an_identifier_or_a_path() {
        for text in ["", "-a", "a-", "A", "ten_x", "a/b", "a.b", "é", &"a".repeat(64)] {
            assert_eq!(Slug::parse(text), Err(InvalidName::NotASlug), "{text}");
        }
    }

    #[test]
    fn an_address_is_checked_pragmatically() {
        assert_eq!(Email::parse(" Alice@ACME.Example ").unwrap().as_str(), "Alice@acme.example");
        for good in ["alice@acme", "a.b+c@x-y.de", "o'neill@a.b", "jörg@müller.de"] {
            assert!(Email::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "@", "a@", "@b", "a@b@c", "a b@c", "a@b..c", "a@-b", ".a@b", "a\n@b", "a@b c"] {
            assert!(Email::parse(bad).is_err(), "{bad}");
        }
        assert!(Email::parse(&format!("a@{}", "b.".repeat(200))).is_err());
    }

    #[test]
    fn a_name_is_trimmed_and_visible() {
        assert_eq!(Name::parse("  Ledger ").unwrap().as_str(), "Ledger");
        assert_eq!(Name::parse(" \t"), Err(InvalidName::Empty));
        assert_eq!(Name::parse("a\u{7}b"), Err(InvalidName::ControlCharacter));
        assert!(Name::parse(&"é".repeat(200)).is_ok());
        assert!(Name::parse(&"é".repeat(201)).is_err());
        assert!(Name::parse(&format!(" {}", "é".repeat(200))).is_err());
        assert_eq!(Description::parse(" a\nb ").unwrap().as_str(), "a\nb");
        assert_eq!(Description::parse("a\u{0}b"), Err(InvalidName::ControlCharacter));
        assert!(Description::parse(&"é".repeat(1001)).is_err() && Description::parse(" ").is_err());
    }
}
