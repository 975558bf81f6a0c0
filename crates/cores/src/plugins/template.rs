//! Texts with values of a Core's environment in them: `${env.NAME}`.

use std::fmt;

use serde_json::{Map, Value};

use crate::environment::{EnvValue, Environment, SecretText};

const OPENING: &str = "${env.";

/// A text in which `${env.NAME}` stands for a value of the environment of the Core that calls. It is not shown, since it
/// may be a secret itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Template(SecretText);

/// An environment lacks a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("${{env.{name}}} is not in the Core's environment")]
pub struct MissingVariable {
    /// What it is called.
    pub name: String,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A part of a text.
enum Part<'t> {
    Plain(&'t str),
    Variable(&'t str),
}

/// The parts of a text. What is opened and not closed is plain.
fn parts(mut text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    while let Some((before, rest)) = text.split_once(OPENING) {
        let Some((name, after)) = rest.split_once('}') else { break };
        parts.push(Part::Plain(before));
        parts.push(Part::Variable(name.trim()));
        text = after;
    }
    parts.push(Part::Plain(text));
    parts
}

fn resolved(
    text: &str,
    environment: &Environment,
    secrets: &mut Vec<SecretText>,
) -> Result<String, MissingVariable> {
    let mut resolved = String::with_capacity(text.len());
    for part in parts(text) {
        match part {
            Part::Plain(text) => resolved.push_str(text),
            Part::Variable(name) => match environment.get(name) {
                None => return Err(MissingVariable { name: name.chars().take(128).collect() }),
                Some(EnvValue::Plain(Value::String(text))) => resolved.push_str(text),
                Some(EnvValue::Plain(value)) => resolved.push_str(&value.to_string()),
                Some(EnvValue::Secret(secret)) => {
                    secrets.push(secret.clone());
                    resolved.push_str(secret.reveal());
                }
            },
        }
    }
    Ok(resolved)
}

impl Template {
    /// A text that may refer to the environment.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(SecretText::new(text))
    }

    /// The text as it was given, for encryption.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// Whether it needs an environment.
    pub fn refers(&self) -> bool {
        parts(self.reveal()).iter().any(|part| matches!(part, Part::Variable(_)))
    }

    /// The text with the values in it, which is a secret whatever they are.
    ///
    /// # Errors
    /// The environment lacks one.
    pub fn resolve(&self, environment: &Environment) -> Result<SecretText, MissingVariable> {
        resolved(self.reveal(), environment, &mut Vec::new()).map(SecretText::new)
    }
}

/// A configuration with the values of an environment in its texts, and the secrets among them. A text that is nothing but
/// one reference becomes the value itself, of whatever kind that is.
///
/// # Errors
/// The environment lacks one.
pub fn resolve_value(
    value: &Value,
    environment: &Environment,
    secrets: &mut Vec<SecretText>,
) -> Result<Value, MissingVariable> {
    Ok(match value {
        Value::String(text) => {
            let whole = text.strip_prefix(OPENING).and_then(|rest| rest.strip_suffix('}'));
            let whole =
                whole.filter(|name| !name.contains('}')).and_then(|name| environment.get(name.trim()));
            match whole {
                Some(EnvValue::Plain(value)) => value.clone(),
                _ => resolved(text, environment, secrets)?.into(),
            }
        }
        Value::Array(items) => {
            let items = items.iter().map(|item| resolve_value(item, environment, secrets));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, field)| Ok((name.clone(), resolve_value(field, environment, secrets)?)));
            Value::Object(fields.collect::<Result<Map<_, _>, _>>()?)
        }
        other => other.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn environment() -> Environment {
        let secret = EnvValue::Secret(SecretText::new("hush"));
        Environment::from_stored([
            ("KEY".to_owned(), secret),
            ("HOST".to_owned(), EnvValue::Plain(json!("eu"))),
            ("PORT".to_owned(), EnvValue::Plain(json!(8))),
        ])
    }

    #[test]
    fn references_become_values_and_the_rest_stays() {
        let environment = environment();
        let resolve =
            |text: &str| Template::new(text).resolve(&environment).map(|text| text.reveal().to_owned());
        assert_eq!(resolve("a ${env.KEY}-${env.HOST}:${ env.X ${env.PORT}").unwrap(), "a hush-eu:${ env.X 8");
        assert_eq!(resolve("${env.KEY").unwrap(), "${env.KEY");
        assert_eq!(
            resolve("${env.NONE}").unwrap_err().to_string(),
            "${env.NONE} is not in the Core's environment"
        );
        assert!(Template::new("x${env.KEY}").refers() && !Template::new("x${env").refers());
        assert!(!format!("{:?}", Template::new("token")).contains("token"));
    }

    #[test]
    fn a_configuration_is_resolved_through_and_through() {
        let mut secrets = Vec::new();
        let config = json!({"a": ["${env.PORT}", "n${env.PORT}", 1], "b": {"c": "${env.KEY}"}});
        let resolved = resolve_value(&config, &environment(), &mut secrets).unwrap();
        assert_eq!(resolved, json!({"a": [8, "n8", 1], "b": {"c": "hush"}}));
        assert_eq!(secrets, [SecretText::new("hush")]);
        assert!(resolve_value(&json!(["${env.NONE}"]), &environment(), &mut secrets).is_err());
    }
}
