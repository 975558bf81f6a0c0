//! Reading JSON by form: what is missing, of the wrong shape or unknown becomes a finding with its place.
//!
//! A reader that has reported something goes on with a stand-in value, so that one pass finds everything. The
//! stand-ins reach nobody but the verifier, which knows where they are: a document with such a finding gives no module.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use crate::diagnostic::{Diagnostic, Severity, codes};
use crate::expr::{self, Expr, Template, TemplatePart};
use crate::near;
use crate::types::Type;

/// More findings than anybody reads.
pub(crate) const MAX_FINDINGS: usize = 200;

/// Messages quote what they are about; what is quoted may be as long as the document.
const MAX_MESSAGE: usize = 600;
/// The longest name that may lead to other parts of a document: pointers repeat it for each of them.
pub(super) const MAX_KEY: usize = 128;

/// What has been found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Diagnostic>,
    errors: usize,
    malformed: bool,
    /// Where something could not be read, and why: as many places as are told.
    places: Vec<(Arc<str>, &'static str)>,
}

impl Findings {
    /// Adds a finding. Past the bound, warnings and then further errors are only counted.
    pub(crate) fn push(&mut self, finding: Diagnostic) {
        let place = Arc::clone(&finding.pointer);
        self.push_about(finding, place);
    }

    /// Adds a finding about a place that is not there to be pointed at.
    fn push_about(&mut self, mut finding: Diagnostic, place: Arc<str>) {
        if let Some((end, _)) = finding.message.char_indices().nth(MAX_MESSAGE) {
            finding.message.truncate(end);
            finding.message.push('…');
        }
        let error = finding.is_error();
        let unread = error && !finding.code.starts_with("E4");
        self.malformed |= unread;
        if (unread || finding.code == codes::MODEL_IN_RIGID) && self.places.len() < MAX_FINDINGS {
            self.places.push((place, finding.code));
        }
        self.errors += usize::from(error);
        if self.list.len() < MAX_FINDINGS {
            self.list.push(finding);
        } else if error
            && let Some(place) = self.list.iter().position(|old| old.severity == Severity::Warning)
        {
            self.list[place] = finding;
        }
    }

    pub(crate) fn error(&mut self, code: &'static str, pointer: &str, message: impl Into<String>) {
        self.push(Diagnostic::error(code, pointer, message));
    }

    pub(crate) fn warning(&mut self, code: &'static str, pointer: &str, message: impl Into<String>) {
        self.push(Diagnostic::warning(code, pointer, message));
    }

    /// What may have been meant by a name that is not there, to be put behind a message; nothing where a message is only counted.
    pub(crate) fn hint<'k>(&self, name: &str, known: impl IntoIterator<Item = &'k str>) -> String {
        if self.list.len() < MAX_FINDINGS { near::hint(name, known) } else { String::new() }
    }

    /// Whether something keeps the document from being a module at all.
    pub(crate) fn malformed(&self) -> bool {
        self.malformed
    }

    /// Where something could not be read, with the code that says why.
    pub(crate) fn places(&self) -> &[(Arc<str>, &'static str)] {
        &self.places
    }

    /// Whether something at a place, or below it, could not be read.
    pub(crate) fn unread(&self, pointer: &str) -> bool {
        self.places.iter().any(|(place, _)| **place == *pointer || super::is_below(place, pointer))
    }

    pub(crate) fn into_list(self) -> Vec<Diagnostic> {
        self.list
    }
}

/// The pointer of a child (RFC 6901).
pub(crate) fn child(pointer: &str, key: &str) -> String {
    if key.contains(['~', '/']) {
        return format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
    }
    format!("{pointer}/{key}")
}

/// What kind of JSON value it is, with an article.
pub(crate) fn shape(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a truth value",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

/// Whether a text can name a variable: `[A-Za-z_][A-Za-z0-9_]*`, at most 128 characters.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// A JSON object with its place.
#[derive(Debug, Clone)]
pub(super) struct Node<'d> {
    pub(super) map: &'d Map<String, Json>,
    pub(super) pointer: String,
}

impl<'d> Node<'d> {
    /// The value as an object. Keys that are not listed are warnings; a list is given once its kind is known.
    pub(super) fn new(value: &'d Json, pointer: String, findings: &mut Findings) -> Option<Self> {
        if let Some(map) = value.as_object() {
            return Some(Self { map, pointer });
        }
        findings.error(codes::WRONG_SHAPE, &pointer, format!("must be an object, not {}", shape(value)));
        None
    }

    /// Warns of every key that is in none of the lists.
    pub(super) fn only(&self, lists: &[&[&str]], findings: &mut Findings) {
        for key in self.map.keys() {
            if !lists.iter().any(|list| list.contains(&key.as_str())) {
                let known = lists.concat();
                let hint = findings.hint(key, known.iter().copied());
                let known = known.join(", ");
                let message =
                    format!("the key {key:?} is not known here and has no effect{hint} (known are {known})");
                findings.warning(codes::UNKNOWN_KEY, &child(&self.pointer, key), message);
            }
        }
    }

    pub(super) fn at(&self, key: &str) -> String {
        child(&self.pointer, key)
    }

    /// The field, where null stands for its absence.
    pub(super) fn get(&self, key: &str) -> Option<&'d Json> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn missing(&self, key: &str, findings: &mut Findings) {
        let message = format!("the field {key:?} is missing");
        let finding = Diagnostic::error(codes::MISSING_FIELD, self.pointer.as_str(), message);
        findings.push_about(finding, Arc::from(self.at(key)));
    }

    fn wrong(&self, key: &str, wanted: &str, value: &Json, findings: &mut Findings) {
        let message = format!("must be {wanted}, not {}", shape(value));
        findings.error(codes::WRONG_SHAPE, &self.at(key), message);
    }

    pub(super) fn text(&self, key: &str, findings: &mut Findings) -> Option<Arc<str>> {
        let value = self.get(key)?;
        let text = value.as_str().map(Arc::from);
        if text.is_none() {
            self.wrong(key, "a text", value, findings);
        }
        text
    }

    pub(super) fn required_text(&self, key: &str, findings: &mut Findings) -> Arc<str> {
        if self.get(key).is_none() {
            self.missing(key, findings);
        }
        self.text(key, findings).unwrap_or_default()
    }

    /// A variable's name.
    pub(super) fn name(&self, key: &str, findings: &mut Findings) -> Option<Arc<str>> {
        let name = self.text(key, findings)?;
        if !is_name(&name) {
            let message = format!("{name:?} is no name: letters, digits and _, not beginning with a digit");
            findings.error(codes::EXPECTED_IDENTIFIER, &self.at(key), message);
        }
        Some(name)
    }

    pub(super) fn required_name(&self, key: &str, findings: &mut Findings) -> Arc<str> {
        if self.get(key).is_none() {
            self.missing(key, findings);
        }
        self.name(key, findings).unwrap_or_default()
    }

    pub(super) fn flag(&self, key: &str, findings: &mut Findings) -> Option<bool> {
        let value = self.get(key)?;
        if value.as_bool().is_none() {
            self.wrong(key, "true or false", value, findings);
        }
        value.as_bool()
    }

    /// A positive count.
    pub(super) fn count(&self, key: &str, findings: &mut Findings) -> Option<u32> {
        let value = self.get(key)?;
        let count = value.as_u64().and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
        if count.is_none() {
            findings.error(codes::INVALID_VALUE, &self.at(key), "must be an integer from 1 to 4294967295");
        }
        count
    }

    pub(super) fn number(&self, key: &str, findings: &mut Findings) -> Option<f64> {
        let value = self.get(key)?;
        if value.as_f64().is_none() {
            self.wrong(key, "a number", value, findings);
        }
        value.as_f64()
    }

    /// A span of time as text.
    pub(super) fn duration(&self, key: &str, findings: &mut Findings) -> Option<Duration> {
        let text = self.text(key, findings)?;
        let duration = super::duration::parse(&text);
        if duration.is_none() {
            let message = format!(
                "{text:?} is no span of time that can be waited for; write e.g. 30s, 1h30m, 2d or PT1H (at most 10 years)"
            );
            findings.error(codes::INVALID_VALUE, &self.at(key), message);
        }
        duration
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)], findings: &mut Findings) -> Option<T> {
        let text = self.text(key, findings)?;
        let found = words.iter().find(|(word, _)| *word == &*text).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let allowed: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            let hint = findings.hint(&text, allowed.iter().copied());
            let message = format!("{text:?} is not one of {}{hint}", allowed.join(", "));
            findings.error(codes::INVALID_VALUE, &self.at(key), message);
        }
        found
    }

    /// The elements with their places; none where the field is absent.
    pub(super) fn list(&self, key: &str, findings: &mut Findings) -> Vec<(&'d Json, String)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(items) = value.as_array() else {
            self.wrong(key, "an array", value, findings);
            return Vec::new();
        };
        let pointer = self.at(key);
        items.iter().enumerate().map(|(index, item)| (item, format!("{pointer}/{index}"))).collect()
    }

    /// The elements that are objects.
    pub(super) fn nodes(&self, key: &str, findings: &mut Findings) -> Vec<Node<'d>> {
        let items = self.list(key, findings);
        items.into_iter().filter_map(|(item, pointer)| Node::new(item, pointer, findings)).collect()
    }

    /// The entries with their places; none where the field is absent.
    pub(super) fn entries(&self, key: &str, findings: &mut Findings) -> Vec<(&'d str, &'d Json, String)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(map) = value.as_object() else {
            self.wrong(key, "an object", value, findings);
            return Vec::new();
        };
        let pointer = self.at(key);
        map.iter().map(|(name, item)| (name.as_str(), item, child(&pointer, name))).collect()
    }

    pub(super) fn texts(&self, key: &str, findings: &mut Findings) -> Vec<Arc<str>> {
        let mut texts = Vec::new();
        for (item, pointer) in self.list(key, findings) {
            if let Some(text) = item.as_str() {
                texts.push(Arc::from(text));
            } else {
                let message = format!("must be a text, not {}", shape(item));
                findings.error(codes::WRONG_SHAPE, &pointer, message);
            }
        }
        texts
    }

    /// An expression, where null stands for its absence.
    pub(super) fn expr(&self, key: &str, findings: &mut Findings) -> Option<Expr> {
        self.get(key).map(|value| expression(value, &self.at(key), findings))
    }

    /// An expression that must be there; null is the literal.
    pub(super) fn required_expr(&self, key: &str, findings: &mut Findings) -> Expr {
        let Some(value) = self.map.get(key) else {
            self.missing(key, findings);
            return Expr::Literal(crate::Value::Null);
        };
        expression(value, &self.at(key), findings)
    }

    /// Expressions by name, in the order of the names; none where the field is absent.
    pub(super) fn exprs(&self, key: &str, findings: &mut Findings) -> Vec<(Arc<str>, Expr)> {
        let entries = self.entries(key, findings);
        let read = entries.into_iter();
        read.map(|(name, value, pointer)| (Arc::from(name), expression(value, &pointer, findings))).collect()
    }

    /// A template: a text with `${…}`, or any other expression in tree form.
    pub(super) fn template(&self, key: &str, findings: &mut Findings) -> Option<Template> {
        let value = self.get(key)?;
        let pointer = self.at(key);
        let Some(text) = value.as_str() else {
            return Some(match expression(value, &pointer, findings) {
                Expr::Template(template) => template,
                other => Template(vec![TemplatePart::Expr(other)]),
            });
        };
        match expr::parse_template(text) {
            Ok(template) => Some(template),
            Err(error) => {
                let message = format!("{} (at character {} of the text)", error.message, error.offset);
                findings.error(error.code, &pointer, message);
                Some(Template(Vec::new()))
            }
        }
    }

    pub(super) fn required_template(&self, key: &str, findings: &mut Findings) -> Template {
        if self.get(key).is_none() {
            self.missing(key, findings);
        }
        self.template(key, findings).unwrap_or(Template(Vec::new()))
    }

    /// A type.
    pub(super) fn ty(&self, key: &str, findings: &mut Findings) -> Option<Type> {
        self.get(key).map(|value| declared_type(value, &self.at(key), findings))
    }
}

/// An expression in any of its forms.
pub(super) fn expression(value: &Json, pointer: &str, findings: &mut Findings) -> Expr {
    match expr::from_json(value) {
        Ok(expression) => expression,
        Err(error) => {
            findings.error(error.code, &format!("{pointer}{}", error.pointer), error.message);
            Expr::Literal(crate::Value::Null)
        }
    }
}

/// A type in any of its forms.
pub(super) fn declared_type(value: &Json, pointer: &str, findings: &mut Findings) -> Type {
    match Type::from_json(value) {
        Ok(ty) => ty,
        Err(error) => {
            findings.error(error.code, pointer, error.message);
            Type::Json
        }
    }
}
