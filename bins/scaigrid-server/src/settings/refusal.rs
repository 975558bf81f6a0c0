//! Why a setting is refused, in one line.

use std::fmt;

/// A setting, or the command line, that cannot be used: where it came from, and the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    origin: String,
    rule: String,
}

impl Refusal {
    /// A refusal of what stands at `origin`.
    pub(super) fn new(origin: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { origin: origin.into(), rule: rule.into() }
    }

    /// Where the refused value came from: a flag, a variable or a key of the file.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

impl fmt::Display for Refusal {
    /// One line, whatever the value held.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = format!("{}: {}", self.origin, self.rule);
        for letter in line.chars() {
            let letter = if letter.is_control() { ' ' } else { letter };
            fmt::Write::write_char(f, letter)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}
