//! Reading objects strictly: what is not as it must be is told by its place, what is not known by its name.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::core::FieldProblem;

/// What was found wrong so far. At most [`Problems::MOST`] are kept.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<FieldProblem>);

impl Problems {
    const MOST: usize = 50;

    pub(super) fn note(&mut self, field: impl Into<String>, message: impl Display) {
        if self.0.len() < Self::MOST {
            self.0.push(FieldProblem::new(field, message.to_string()));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_inner(self) -> Vec<FieldProblem> {
        self.0
    }
}

/// An object, of which fields are taken one after the other; what is left is unknown.
pub(super) struct Fields<'p> {
    left: Map<String, Value>,
    at: String,
    problems: &'p mut Problems,
}

impl<'p> Fields<'p> {
    /// Takes a value apart; none when it is no object, which is noted.
    pub(super) fn of(value: Value, at: impl Into<String>, problems: &'p mut Problems) -> Option<Self> {
        let at = at.into();
        let Value::Object(fields) = value else {
            problems.note(at, "must be an object");
            return None;
        };
        Some(Self { left: fields, at, problems })
    }

    pub(super) fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    pub(super) fn note(&mut self, name: &str, message: impl Display) {
        let path = self.path(name);
        self.problems.note(path, message);
    }

    pub(super) fn problems(&mut self) -> &mut Problems {
        self.problems
    }

    /// A field that may be left out; null is the same.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    /// A text that may be left out.
    pub(super) fn text(&mut self, name: &str, most: usize) -> Option<String> {
        match self.take(name)? {
            Value::String(text) if text.chars().count() <= most => Some(text),
            Value::String(_) => {
                self.note(name, format!("must have at most {most} characters"));
                None
            }
            _ => {
                self.note(name, "must be a text");
                None
            }
        }
    }

    /// A text that must be there.
    pub(super) fn required_text(&mut self, name: &str, most: usize) -> Option<String> {
        if self.left.get(name).is_none_or(Value::is_null) {
            self.note(name, "is required");
            return None;
        }
        self.text(name, most)
    }

    /// A value that a text spells, and that must be there.
    pub(super) fn required<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let text = self.required_text(name, 4096)?;
        self.parse(name, &text)
    }

    /// A value that a text spells, and that may be left out.
    pub(super) fn maybe<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let text = self.text(name, 4096)?;
        self.parse(name, &text)
    }

    fn parse<T: FromStr<Err: Display>>(&mut self, name: &str, text: &str) -> Option<T> {
        text.parse().map_err(|error: T::Err| self.note(name, error)).ok()
    }

    /// A list that may be left out; each of its values with its place.
    pub(super) fn list(&mut self, name: &str, most: usize) -> Vec<(String, Value)> {
        match self.take(name) {
            None => Vec::new(),
            Some(Value::Array(items)) if items.len() <= most => {
                let at = self.path(name);
                items.into_iter().enumerate().map(|(index, item)| (format!("{at}[{index}]"), item)).collect()
            }
            Some(Value::Array(_)) => {
                self.note(name, format!("must have at most {most} elements"));
                Vec::new()
            }
            Some(_) => {
                self.note(name, "must be a list");
                Vec::new()
            }
        }
    }

    /// Notes every field that nobody has taken.
    pub(super) fn done(self) {
        for name in self.left.keys() {
            let shown: String = name.chars().take(100).collect();
            let path = if self.at.is_empty() { shown } else { format!("{}.{shown}", self.at) };
            self.problems.note(path, "is not known");
        }
    }
}
