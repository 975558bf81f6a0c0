//! The environment of a Core: named values, some of them secret.
//!
//! Secrets are in the clear here and nowhere else; whoever stores an environment encrypts them. What is shown to
//! people is [`Environment::shown`], and writing that back changes nothing.

use std::collections::BTreeMap;
use std::fmt;

use scaigrid_ir::near::nearest;
use serde_json::{Map, Value};

use crate::core::{FieldProblem, json_size};

const MASK: &str = "***";

/// A secret text. `Debug` hides it and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Box<str>);

impl SecretText {
    /// Takes a text into keeping.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text, for encryption and for the effect that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// A value of an environment.
#[derive(Debug, Clone, PartialEq)]
pub enum EnvValue {
    /// Anything that people may see.
    Plain(Value),
    /// A secret.
    Secret(SecretText),
}

/// The environment of a Core, by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Environment(BTreeMap<Box<str>, EnvValue>);

impl Environment {
    /// The greatest number of values.
    pub const MAX_VALUES: usize = 256;
    /// The greatest number of characters of a name.
    pub const MAX_NAME_CHARS: usize = 128;
    /// The greatest size of all plain values together, as JSON text, in bytes.
    pub const MAX_PLAIN_BYTES: usize = 256 * 1024;
    /// The greatest size of one secret, in bytes.
    pub const MAX_SECRET_BYTES: usize = 64 * 1024;

    /// Reads what a client wrote, with what is stored as the source of the secrets that it did not write out.
    ///
    /// `{"type":"secret","value":"…"}` is a secret. `"***"`, alone or as such a value, keeps the stored secret of
    /// that name, and is an error where there is none: it would otherwise store three asterisks as someone's
    /// password. Every other value is plain. What the client leaves out is gone.
    pub fn merge(written: Map<String, Value>, stored: &Self) -> Result<Self, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let mut values = BTreeMap::new();
        if written.len() > Self::MAX_VALUES {
            let message = format!("must have at most {} values", Self::MAX_VALUES);
            return Err(vec![FieldProblem::new("environment", message)]);
        }
        let plain_bytes: usize = written.values().map(json_size).sum();
        if plain_bytes > Self::MAX_PLAIN_BYTES + Self::MAX_SECRET_BYTES {
            problems.push(FieldProblem::new("environment", "is too large"));
        }
        for (name, value) in written {
            let result = if good_name(&name) {
                read_value(value, stored.0.get(name.as_str()))
            } else {
                Err("a name must be 1 to 128 of A-Z, a-z, 0-9, _, . and -, beginning with no digit")
            };
            match result {
                Ok(value) => {
                    values.insert(name.into_boxed_str(), value);
                }
                Err(message) => {
                    let shown: String = name.chars().take(Self::MAX_NAME_CHARS).collect();
                    problems.push(FieldProblem::new(format!("environment.{shown}"), message));
                }
            }
        }
        if problems.is_empty() { Ok(Self(values)) } else { Err(problems) }
    }

    /// Puts a stored environment together again.
    pub fn from_stored(values: impl IntoIterator<Item = (String, EnvValue)>) -> Self {
        Self(values.into_iter().map(|(name, value)| (name.into_boxed_str(), value)).collect())
    }

    /// The values, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &EnvValue)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&EnvValue> {
        self.0.get(name)
    }

    /// The environment with `"***"` for every secret.
    pub fn shown(&self) -> Map<String, Value> {
        let show = |value: &EnvValue| match value {
            EnvValue::Plain(value) => value.clone(),
            EnvValue::Secret(_) => Value::from(MASK),
        };
        self.0.iter().map(|(name, value)| (name.to_string(), show(value))).collect()
    }
}

fn good_name(name: &str) -> bool {
    (1..=Environment::MAX_NAME_CHARS).contains(&name.len())
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(&c))
}

fn read_value(value: Value, stored: Option<&EnvValue>) -> Result<EnvValue, &'static str> {
    let keep = || match stored {
        Some(secret @ EnvValue::Secret(_)) => Ok(secret.clone()),
        _ => Err("there is no stored secret to keep"),
    };
    match value {
        Value::String(text) if text == MASK => keep(),
        Value::Object(mut fields) if fields.get("type").is_some_and(|kind| kind == "secret") => {
            match (fields.remove("value"), fields.len()) {
                (Some(Value::String(text)), 1) if text == MASK => keep(),
                (Some(Value::String(text)), 1) if text.len() <= Environment::MAX_SECRET_BYTES => {
                    Ok(EnvValue::Secret(SecretText::new(text)))
                }
                (Some(Value::String(_)), 1) => Err("a secret must have at most 64 KiB"),
                _ => Err("a secret must have the fields type and value, and its value must be a text"),
            }
        }
        Value::Object(fields) if is_nearly_a_secret(&fields) => {
            Err("looks like a secret, which has the type \"secret\"; it would be shown to everybody as it is")
        }
        value => Ok(EnvValue::Plain(value)),
    }
}

/// Whether somebody seems to have meant a secret and made a slip.
fn is_nearly_a_secret(fields: &Map<String, Value>) -> bool {
    let kind = fields.get("type").and_then(Value::as_str);
    fields.len() == 2
        && fields.contains_key("value")
        && kind.is_some_and(|kind| nearest(kind, ["secret"]).is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merge(written: Value, stored: &Environment) -> Result<Environment, Vec<FieldProblem>> {
        let Value::Object(written) = written else { panic!("an object") };
        Environment::merge(written, stored)
    }

    fn secret(text: &str) -> EnvValue {
        EnvValue::Secret(SecretText::new(text))
    }

    #[test]
    fn what_is_shown_can_be_written_back() {
        let written =
            json!({"URL": "https://x", "KEY": {"type": "secret", "value": "hush"}, "list": [1, null]});
        let stored = merge(written, &Environment::default()).unwrap();
        assert_eq!(stored.get("KEY"), Some(&secret("hush")));
        let shown = Value::Object(stored.shown());
        assert_eq!(shown, json!({"URL": "https://x", "KEY": "***", "list": [1, null]}));
        assert_eq!(merge(shown, &stored).unwrap(), stored);
        let kept = merge(json!({"KEY": {"type": "secret", "value": "***"}}), &stored).unwrap();
        assert_eq!(kept, Environment::from_stored([("KEY".to_owned(), secret("hush"))]));
        let changed = merge(json!({"KEY": {"type": "secret", "value": "new"}}), &stored).unwrap();
        assert_eq!(changed.get("KEY"), Some(&secret("new")));
        assert!(!format!("{stored:?}").contains("hush"));
    }

    #[test]
    fn a_mask_is_never_stored_and_problems_name_their_value() {
        let stored = merge(json!({"URL": "https://x"}), &Environment::default()).unwrap();
        for written in [
            json!({"URL": "***"}),
            json!({"URL": {"type": "secret", "value": "***"}}),
            json!({"URL": {"type": "secret"}}),
            json!({"URL": {"type": "secret", "value": 1}}),
            json!({"URL": {"type": "secret", "value": "x", "more": 1}}),
            json!({"URL": {"type": "secret", "value": "x".repeat(65 * 1024)}}),
            json!({"URL": {"type": "secrt", "value": "x"}}),
            json!({"URL": {"type": "Secret", "value": "x"}}),
        ] {
            let problems = merge(written, &stored).unwrap_err();
            assert_eq!(problems[0].field, "environment.URL");
        }
        assert!(merge(json!({"1a": 1}), &stored).is_err());
        assert!(merge(json!({"a b": 1}), &stored).is_err());
        assert!(merge(json!({"a": "x".repeat(400_000)}), &stored).is_err());
        let many: Map<String, Value> = (0..257).map(|n| (format!("v{n}"), json!(n))).collect();
        assert!(merge(Value::Object(many), &stored).is_err());
    }
}
