//! Findings about a program.

pub mod codes;

use std::fmt;
use std::sync::Arc;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The program runs, but perhaps not as meant.
    Warning,
    /// The program cannot run.
    Error,
}

/// One finding about a program, with the place it is about.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Diagnostic {
    /// `E` and three digits: 0xx text, 1xx form, 2xx names, 3xx types, 4xx rules; warnings begin with `W`.
    pub code: &'static str,
    /// How grave it is.
    pub severity: Severity,
    /// What is wrong, and what would be right.
    pub message: String,
    /// Where, as a JSON pointer (RFC 6901).
    pub pointer: Arc<str>,
    /// Where the author wrote it, as the author's tools named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_location: Option<serde_json::Value>,
}

impl Diagnostic {
    /// Whether it keeps the program from running.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// A finding that keeps the program from running.
    pub fn error(code: &'static str, pointer: impl Into<Arc<str>>, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            pointer: pointer.into(),
            source_location: None,
        }
    }

    /// A finding that does not.
    pub fn warning(code: &'static str, pointer: impl Into<Arc<str>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, pointer, message) }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.code, self.pointer, self.message)
    }
}

/// Puts findings into the order in which they are told: errors before warnings, each by place.
pub fn in_order(findings: &mut [Diagnostic]) {
    findings.sort_by(|a, b| {
        let graver_first = b.severity.cmp(&a.severity);
        graver_first.then_with(|| by_place(&a.pointer, &b.pointer)).then_with(|| a.code.cmp(b.code))
    });
}

/// Pointers in the order of the document as far as they show it: indices count as numbers.
fn by_place(a: &str, b: &str) -> std::cmp::Ordering {
    let key = |token: &str| {
        token.parse::<u64>().map_or((1, 0, token.to_owned()), |index| (0, index, String::new()))
    };
    a.split('/').map(key).cmp(b.split('/').map(key))
}
