//! What is wrong with a body, as a list of fields: unknown names, wrong types, broken rules.

use std::borrow::Cow;

use scaigrid_app as app;
use scaigrid_app::FieldError;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::{Path, Track};
use validator::{ValidationError, ValidationErrors, ValidationErrorsKind};

use super::{further, wording};

/// The most findings about one body.
pub(super) const MAX_FINDINGS: usize = 50;
/// The most characters of one message: messages quote what the client sent.
const MAX_MESSAGE: usize = 300;

/// Reads a value, or tells everything that keeps the text from being one.
pub(crate) fn deserialize<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Vec<FieldError>> {
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        // An array would pass as the fields in their order, which nobody means.
        return Err(vec![match serde_json::from_slice::<serde::de::IgnoredAny>(bytes) {
            Ok(_) => FieldError::new("body", "must be a JSON object"),
            Err(error) => malformed_field(&error),
        }]);
    }
    let mut found = Vec::new();
    let mut track = Track::new();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let result = serde_ignored::deserialize(tracked, |path| {
        if found.len() < MAX_FINDINGS {
            found.push(of_unknown(&path));
        }
    });
    let result: Result<T, _> = result.and_then(|value| json.end().map(|()| value));
    match result {
        Ok(value) if found.is_empty() => Ok(value),
        Ok(_) => Err(found),
        Err(error) if error.classify() == Category::Data => {
            let mut all = match serde_json::from_slice(bytes) {
                Ok(value) if bytes.len() <= further::MAX_BYTES => further::findings::<T>(value),
                _ => Vec::new(),
            };
            // Some of what is wrong is in the text alone, a field that is given twice for one.
            let first = of_type(&error, &track.path());
            if all.iter().all(|known| known.field != first.field) {
                all.insert(0, first);
            }
            found.retain(|unknown| all.iter().all(|known| known.field != unknown.field));
            all.append(&mut found);
            all.truncate(MAX_FINDINGS);
            Err(all)
        }
        Err(error) => Err(vec![malformed_field(&error)]),
    }
}

pub(super) fn of_unknown(path: &serde_ignored::Path<'_>) -> FieldError {
    FieldError::new(bounded(path_of(path)), "is not a field of this request")
}

/// Reads a value that is in memory already, or tells what keeps it from being one.
pub(crate) fn of_value<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, FieldError> {
    read_value(value).map_err(|(error, path)| of_type(&error, &path))
}

/// Reads a value, or tells what serde says first, and where.
pub(super) fn read_value<T: DeserializeOwned>(
    value: serde_json::Value,
) -> Result<T, (serde_json::Error, Path)> {
    let mut track = Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    T::deserialize(tracked).map_err(|error| (error, track.path()))
}

/// The error for a text that is not JSON.
pub(crate) fn malformed(error: &serde_json::Error) -> app::Error {
    app::Error::Invalid(vec![malformed_field(error)])
}

fn malformed_field(error: &serde_json::Error) -> FieldError {
    FieldError::new("body", bounded(format!("is not JSON: {error}")))
}

pub(super) fn of_type(error: &serde_json::Error, path: &Path) -> FieldError {
    let text = error.to_string();
    // The position is of use to nobody who is told the field.
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    let at = path.to_string();
    let at = if at == "." { "" } else { at.as_str() };
    if let Some(name) = missing(message) {
        return FieldError::new(join(at, name), "is required");
    }
    FieldError::new(if at.is_empty() { "body" } else { at }, wording::of(message))
}

/// The field that is not there: it is named by the message, and the path ends at what should hold it.
pub(super) fn missing(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.split_once('`').map(|(name, _)| name)
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

fn path_of(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", path_of(parent)),
        Path::Map { parent, key } => join(&path_of(parent), key),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            path_of(parent)
        }
    }
}

/// The rules that a value breaks, in the order of the fields' names.
pub(crate) fn of_rules(errors: &ValidationErrors) -> Vec<FieldError> {
    let mut found = Vec::new();
    collect(errors, "", &mut found);
    found.sort_by(|a, b| a.field.cmp(&b.field));
    found.truncate(MAX_FINDINGS);
    found
}

fn collect(errors: &ValidationErrors, parent: &str, found: &mut Vec<FieldError>) {
    for (name, kind) in errors.errors() {
        // Rules about a whole value stand under a name that no field has.
        let at = if name == "__all__" { parent.to_owned() } else { join(parent, name) };
        match kind {
            ValidationErrorsKind::Field(broken) => {
                let field = if at.is_empty() { "body" } else { &at };
                found.extend(broken.iter().map(|rule| FieldError::new(field, bounded(rule_message(rule)))));
            }
            ValidationErrorsKind::Struct(inner) => collect(inner, &at, found),
            ValidationErrorsKind::List(items) => {
                for (index, inner) in items {
                    collect(inner, &format!("{at}[{index}]"), found);
                }
            }
        }
    }
}

fn rule_message(rule: &ValidationError) -> Cow<'static, str> {
    if let Some(message) = &rule.message {
        return message.clone();
    }
    let param = |name: &str| rule.params.get(name);
    let bounds = |what: &str| match (param("min"), param("max"), param("equal")) {
        (_, _, Some(equal)) => format!("must be exactly {equal}{what}"),
        (Some(min), Some(max), _) => format!("must be {min} to {max}{what}"),
        (Some(min), None, _) => format!("must be at least {min}{what}"),
        (None, Some(max), _) => format!("must be at most {max}{what}"),
        (None, None, None) => format!("is out of bounds{what}"),
    };
    match rule.code.as_ref() {
        "length" => bounds(" long").into(),
        "range" => bounds("").into(),
        "email" => "must be an e-mail address".into(),
        "url" => "must be a URL".into(),
        "required" => "is required".into(),
        other => format!("breaks the rule {other}").into(),
    }
}

pub(super) fn bounded(text: impl Into<String>) -> String {
    let mut text = text.into();
    if let Some((end, _)) = text.char_indices().nth(MAX_MESSAGE) {
        text.truncate(end);
        text.push('…');
    }
    text
}
