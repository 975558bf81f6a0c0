//! How a note is put to a model, and in which language the answer is wanted.

use std::fmt;
use std::str::FromStr;

/// What stands for something else in a template.
const PLACEHOLDERS: [&str; 3] = ["note", "title", "language"];

/// How a note is put to a model: up to 16 KiB, with `{{note}}` and, where they are wanted, `{{title}}` and `{{language}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Box<str>);

/// Why a text cannot be a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// It is too long.
    #[error("must be at most {} bytes", Template::MAX_BYTES)]
    TooLong,
    /// It holds U+0000.
    #[error("must not contain the character U+0000")]
    NulCharacter,
    /// The note is not in it.
    #[error("must contain {{{{note}}}}")]
    NoNote,
    /// It holds a placeholder that stands for nothing.
    #[error("knows the placeholders {{{{note}}}}, {{{{title}}}} and {{{{language}}}} only, not {0}")]
    UnknownPlaceholder(String),
}

impl Template {
    /// The most bytes.
    pub const MAX_BYTES: usize = 16 * 1024;
    /// The most characters of an unknown placeholder that are told.
    const MAX_TOLD: usize = 40;

    /// Checks a template.
    ///
    /// # Errors
    /// [`InvalidTemplate`].
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidTemplate::TooLong);
        }
        if text.contains('\0') {
            return Err(InvalidTemplate::NulCharacter);
        }
        let mut with_note = false;
        for piece in Pieces(text) {
            match piece {
                Piece::Text(_) => {}
                Piece::Placeholder { name, .. } if PLACEHOLDERS.contains(&name) => {
                    with_note |= name == "note";
                }
                Piece::Placeholder { whole, .. } => {
                    let told = whole.chars().take(Self::MAX_TOLD).collect();
                    return Err(InvalidTemplate::UnknownPlaceholder(told));
                }
            }
        }
        if with_note { Ok(Self(text.into())) } else { Err(InvalidTemplate::NoNote) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Template {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// A piece of a template.
enum Piece<'a> {
    /// A text that stands for itself.
    Text(&'a str),
    /// What stands between `{{` and `}}`, and with them.
    Placeholder { name: &'a str, whole: &'a str },
}

/// What of a template is left.
struct Pieces<'a>(&'a str);

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let placeholder = self.0.strip_prefix("{{").and_then(|inner| inner.split_once("}}"));
        if let Some((name, rest)) = placeholder {
            let (whole, _) = self.0.split_at(self.0.len() - rest.len());
            self.0 = rest;
            return Some(Piece::Placeholder { name: name.trim(), whole });
        }
        // Two brackets that are never closed stand for themselves, to the end.
        let closed = self.0.contains("}}") && !self.0.starts_with("{{");
        let until = if closed { self.0.find("{{").unwrap_or(self.0.len()) } else { self.0.len() };
        let (text, rest) = self.0.split_at(until);
        self.0 = rest;
        Some(Piece::Text(text))
    }
}

/// A template with what its placeholders stand for. What is put in is not looked at again.
pub(super) fn filled<'a>(template: &'a str, stands_for: impl Fn(&str) -> Option<&'a str>) -> String {
    let each = Pieces(template).map(|piece| match piece {
        Piece::Text(text) => text,
        Piece::Placeholder { name, whole } => stands_for(name).unwrap_or(whole),
    });
    each.collect()
}

/// A language as BCP 47 names it, in its shape: `nl`, `de-AT`, `zh-Hant`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Language(Box<str>);

/// Why a text cannot be a [`Language`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a language tag such as nl or de-AT")]
pub struct InvalidLanguage;

impl Language {
    /// The most characters.
    pub const MAX_CHARS: usize = 35;

    /// Checks a tag.
    ///
    /// # Errors
    /// [`InvalidLanguage`].
    pub fn parse(text: &str) -> Result<Self, InvalidLanguage> {
        let first = text.split('-').next().unwrap_or_default();
        let good = text.len() <= Self::MAX_CHARS
            && (2..=8).contains(&first.len())
            && first.chars().all(|c| c.is_ascii_alphabetic())
            && text
                .split('-')
                .all(|part| (1..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric()));
        if good { Ok(Self(text.into())) } else { Err(InvalidLanguage) }
    }

    /// The tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Language {
    type Err = InvalidLanguage;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_template_has_the_note_and_no_unknown_placeholder() {
        assert!(Template::parse("{{note}}").is_ok());
        assert!(Template::parse("{{ title }}: {{note}} in {{language}} {").is_ok());
        assert_eq!(Template::parse("{{title}}"), Err(InvalidTemplate::NoNote));
        let unknown = InvalidTemplate::UnknownPlaceholder("{{user}}".into());
        assert_eq!(Template::parse("{{note}} {{user}}"), Err(unknown.clone()));
        assert_eq!(
            unknown.to_string(),
            "knows the placeholders {{note}}, {{title}} and {{language}} only, not {{user}}"
        );
        assert_eq!(Template::parse("{{note}}\0"), Err(InvalidTemplate::NulCharacter));
        let long = format!("{{{{note}}}}{}", "x".repeat(Template::MAX_BYTES));
        assert_eq!(Template::parse(&long), Err(InvalidTemplate::TooLong));
    }

    #[test]
    fn languages_look_like_tags() {
        for good in ["nl", "de-AT", "zh-Hant", "en-GB-oxendict"] {
            assert!(Language::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "n", "de_AT", "de-", "12", "nl ignore all", &"aa-".repeat(20)] {
            assert!(Language::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_template_whose_placeholders_stand_for_themselves_stays(text in "[a{} ]{0,40}") {
            prop_assert_eq!(filled(&text, |_| None), text);
        }
    }
}
