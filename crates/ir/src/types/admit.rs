//! Whether a value is of a type, and what it becomes as one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Type;
use crate::value::{Value, text};

/// How many findings one check reports.
const MAX_FINDINGS: usize = 20;

/// How many steps into values and types one check goes. Each level of a value takes up to three.
const MAX_DEPTH: usize = 400;

/// How many comparisons of a value with a type one check makes. Only unions inside recursive types come near.
const MAX_CHECKS: usize = 4_000_000;

/// One place at which a value is not of its type.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TypeError {
    /// Where: `lines[2].amount`; empty for the value itself.
    pub path: String,
    /// What the type asks for.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl TypeError {
    /// A finding about a value, as one about what holds it under a name.
    #[must_use]
    pub fn under(self, name: &str) -> Self {
        let separator = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        Self { path: format!("{name}{separator}{}", self.path), ..self }
    }
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

impl Type {
    /// The value as one of this type, or what is wrong with it (at most 20 findings).
    ///
    /// What JSON cannot say becomes what was meant: text becomes a date, an instant, a duration or an amount,
    /// whole floats become ints, ints become floats, missing optional fields become null. Fields that an
    /// object type does not name are kept. A member of a union that takes the value as it is goes before one
    /// that has to convert it. Admitting a value again changes nothing.
    pub fn admit(&self, value: Value, types: &BTreeMap<Arc<str>, Self>) -> Result<Value, Vec<TypeError>> {
        let mut check = Check { types, path: Vec::new(), findings: Vec::new(), left: MAX_CHECKS };
        match check.admit(self, value, 0) {
            Some(value) if check.findings.is_empty() => Ok(value),
            _ => Err(check.findings),
        }
    }
}

enum Step {
    Field(Arc<str>),
    Index(usize),
}

struct Check<'a> {
    types: &'a BTreeMap<Arc<str>, Type>,
    path: Vec<Step>,
    findings: Vec<TypeError>,
    left: usize,
}

impl Check<'_> {
    fn fail(&mut self, expected: impl fmt::Display, found: String) -> Option<Value> {
        if self.findings.len() < MAX_FINDINGS {
            let mut path = String::new();
            for step in &self.path {
                match step {
                    Step::Field(name) => {
                        if !path.is_empty() {
                            path.push('.');
                        }
                        path.push_str(name);
                    }
                    Step::Index(index) => {
                        path.push('[');
                        path.push_str(&index.to_string());
                        path.push(']');
                    }
                }
            }
            self.findings.push(TypeError { path, expected: clipped(&expected.to_string()), found });
        }
        None
    }

    /// The value as one of the type; none where a finding says why not.
    fn admit(&mut self, ty: &Type, value: Value, depth: usize) -> Option<Value> {
        if matches!(ty, Type::Json) {
            return Some(value);
        }
        // Named types that name each other, and values beyond all bounds, end here.
        if depth > MAX_DEPTH || self.left == 0 {
            return self.fail("a value that can be checked", "one nested too deeply".to_owned());
        }
        self.left -= 1;
        match ty {
            Type::Array(element) => match value {
                Value::Array(items) => self.array(element, items, depth),
                other => self.fail(ty, described(&other)),
            },
            Type::Map(entry) => match value {
                Value::Object(fields) => self.map(entry, fields, depth),
                other => self.fail(ty, described(&other)),
            },
            Type::Object(declared) => match value {
                Value::Object(fields) => self.object(declared, fields, depth),
                other => self.fail("object", described(&other)),
            },
            Type::Optional(inner) => {
                if value.is_null() {
                    Some(value)
                } else {
                    self.admit(inner, value, depth + 1)
                }
            }
            Type::Union(members) => self.union(ty, members, value, depth),
            Type::Named(name) => match self.types.get(name) {
                Some(declared) => self.admit(declared, value, depth + 1),
                None => self.fail(format!("the type `{name}`"), "no such type".to_owned()),
            },
            scalar => match convert(scalar, &value) {
                Fits::AsIs => Some(value),
                Fits::Converted(value) => Some(value),
                Fits::Not => self.fail(scalar, described(&value)),
            },
        }
    }

    fn array(&mut self, element: &Type, items: Arc<Vec<Value>>, depth: usize) -> Option<Value> {
        if matches!(element, Type::Json) {
            return Some(Value::Array(items));
        }
        let mut admitted = true;
        let mut items = Arc::unwrap_or_clone(items);
        for (index, item) in items.iter_mut().enumerate() {
            self.path.push(Step::Index(index));
            match self.admit(element, std::mem::take(item), depth + 1) {
                Some(value) => *item = value,
                None => admitted = false,
            }
            self.path.pop();
            if self.findings.len() >= MAX_FINDINGS {
                return None;
            }
        }
        admitted.then(|| Value::array(items))
    }

    fn map(&mut self, entry: &Type, fields: Arc<BTreeMap<Arc<str>, Value>>, depth: usize) -> Option<Value> {
        if matches!(entry, Type::Json) {
            return Some(Value::Object(fields));
        }
        let mut admitted = true;
        let mut fields = Arc::unwrap_or_clone(fields);
        for (name, field) in &mut fields {
            self.path.push(Step::Field(name.clone()));
            match self.admit(entry, std::mem::take(field), depth + 1) {
                Some(value) => *field = value,
                None => admitted = false,
            }
            self.path.pop();
            if self.findings.len() >= MAX_FINDINGS {
                return None;
            }
        }
        admitted.then(|| Value::object(fields))
    }

    fn object(
        &mut self,
        declared: &BTreeMap<Arc<str>, Type>,
        fields: Arc<BTreeMap<Arc<str>, Value>>,
        depth: usize,
    ) -> Option<Value> {
        let mut admitted = true;
        let mut fields = Arc::unwrap_or_clone(fields);
        for (name, ty) in declared {
            self.path.push(Step::Field(name.clone()));
            let given = fields.get_mut(name);
            let missing = given.is_none();
            let value = given.map(std::mem::take).unwrap_or_default();
            if missing && !self.admits_null(ty) {
                self.fail(ty, "nothing".to_owned());
                admitted = false;
            } else {
                match self.admit(ty, value, depth + 1) {
                    Some(value) => {
                        fields.insert(name.clone(), value);
                    }
                    None => admitted = false,
                }
            }
            self.path.pop();
            if self.findings.len() >= MAX_FINDINGS {
                return None;
            }
        }
        admitted.then(|| Value::object(fields))
    }

    fn admits_null(&self, ty: &Type) -> bool {
        let mut ty = ty;
        for _ in 0..MAX_DEPTH {
            match ty {
                Type::Named(name) => match self.types.get(name) {
                    Some(declared) => ty = declared,
                    None => return false,
                },
                other => return other.is_optional(),
            }
        }
        false
    }

    fn union(&mut self, ty: &Type, members: &[Type], value: Value, depth: usize) -> Option<Value> {
        let path = std::mem::take(&mut self.path);
        let findings = std::mem::take(&mut self.findings);
        let mut converted = None;
        let mut unchanged = false;
        for member in members {
            let admitted = self.admit(member, value.clone(), depth + 1);
            self.findings.clear();
            self.path.clear();
            if let Some(admitted) = admitted {
                unchanged = admitted == value;
                if unchanged {
                    break;
                }
                converted.get_or_insert(admitted);
            }
        }
        self.path = path;
        self.findings = findings;
        if unchanged {
            return Some(value);
        }
        converted.or_else(|| self.fail(ty, described(&value)))
    }
}

enum Fits {
    AsIs,
    Converted(Value),
    Not,
}

impl From<Option<Value>> for Fits {
    fn from(converted: Option<Value>) -> Self {
        converted.map_or(Self::Not, Self::Converted)
    }
}

fn convert(ty: &Type, value: &Value) -> Fits {
    let as_is = |fits: bool| if fits { Fits::AsIs } else { Fits::Not };
    match (ty, value) {
        (Type::String, Value::String(_))
        | (Type::Int, Value::Int(_))
        | (Type::Float, Value::Float(_))
        | (Type::Bool, Value::Bool(_))
        | (Type::Date, Value::Date(_))
        | (Type::Datetime, Value::Datetime(_))
        | (Type::Duration, Value::Duration(_))
        | (Type::Money, Value::Money(_))
        | (Type::Null, Value::Null) => Fits::AsIs,
        (Type::Int, Value::Float(_)) => value.as_int().map(Value::Int).into(),
        (Type::Float, Value::Int(_)) => value.as_float().map(Value::Float).into(),
        (Type::Date, Value::String(text)) => text::parse_date(text).map(Value::Date).into(),
        (Type::Datetime, Value::String(text)) => text::parse_datetime(text).map(Value::Datetime).into(),
        (Type::Duration, Value::String(text)) => text::parse_duration(text).map(Value::Duration).into(),
        (Type::Money, Value::String(text)) => text::parse_money(text).map(Value::Money).into(),
        (Type::Money, Value::Int(int)) => Fits::Converted(Value::Money((*int).into())),
        (Type::Money, Value::Float(float)) => text::money_of_float(*float).map(Value::Money).into(),
        (Type::Email, Value::String(text)) => as_is(is_email(text)),
        (Type::Url, Value::String(text)) => as_is(is_url(text)),
        (Type::Uuid, Value::String(text)) => as_is(is_uuid(text)),
        (Type::Enum(members), Value::String(text)) => as_is(members.contains(text)),
        _ => Fits::Not,
    }
}

/// What is there, in a few words: short texts and numbers as they are, everything else by its type.
fn described(value: &Value) -> String {
    match value {
        Value::String(text) if text.len() <= 40 => format!("\"{text}\""),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => format!("{} {value}", value.type_name()),
        other => other.type_name().to_owned(),
    }
}

fn clipped(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A mailbox as mail servers take it in practice: RFC 5321 without quoted local parts and address literals.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let local_ok = !local.is_empty()
        && local.len() <= 64
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && local.chars().all(|c| c.is_alphanumeric() || "!#$%&'*+/=?^_`{|}~.-".contains(c));
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    text.len() <= 254 && local_ok && domain.split('.').all(label_ok)
}

/// An absolute URL (RFC 3986): a scheme, and something after its colon, without blanks or control characters.
fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let authority = rest.strip_prefix("//");
    let rest_ok = match authority {
        Some(after) => !after.is_empty() && !after.starts_with(['/', '?', '#', ':']),
        None => !rest.is_empty(),
    };
    scheme_ok
        && rest_ok
        && text.len() <= 8192
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// RFC 9562 in its usual notation, in either case.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn types() -> BTreeMap<Arc<str>, Type> {
        [
            ("Line", "{label: string, amount: int, note?: string}"),
            ("Tree", "{value: int, children: array[Tree]}"),
            ("Loop", "Loop"),
            ("Many", "{a: Many} | {a: Many, b?: int} | int"),
        ]
        .into_iter()
        .map(|(name, text)| (Arc::from(name), Type::parse(text).unwrap()))
        .collect()
    }

    fn admit(ty: &str, json: &serde_json::Value) -> Result<Value, Vec<TypeError>> {
        Type::parse(ty).unwrap().admit(Value::from_json(json), &types())
    }

    #[test]
    fn json_becomes_what_was_meant() {
        for (ty, json, value) in [
            ("date", json!("2026-01-31"), Value::Date(text::parse_date("2026-01-31").unwrap())),
            ("datetime", json!("1970-01-01T00:00:01Z"), Value::Datetime(1_000_000)),
            ("duration", json!("1h"), Value::Duration(3_600_000_000)),
            ("money", json!("12.50"), Value::Money("12.50".parse().unwrap())),
            ("money", json!(3), Value::Money(3.into())),
            ("money", json!(0.1), Value::Money("0.1".parse().unwrap())),
            ("int", json!(3.0), Value::Int(3)),
            ("float", json!(3), Value::Float(3.0)),
            ("int?", json!(null), Value::Null),
            ("date | string", json!("2026-01-31"), Value::from("2026-01-31")),
            ("date | int", json!("2026-01-31"), Value::Date(text::parse_date("2026-01-31").unwrap())),
            ("json", json!({"a": [1]}), Value::from_json(&json!({"a": [1]}))),
            ("map[string, float]", json!({"a": 1}), Value::from([("a", Value::Float(1.0))])),
        ] {
            assert_eq!(admit(ty, &json), Ok(value), "{ty} {json}");
        }
    }

    #[test]
    fn findings_name_their_places() {
        let errors = admit(
            "{lines: array[Line], who: string}",
            &json!({"lines": [{"label": "a", "amount": 1}, {"label": 5, "amount": 1.5}], "extra": 1}),
        )
        .unwrap_err();
        let places: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(places, ["lines[1].amount", "lines[1].label", "who"]);
        assert_eq!(errors[0].to_string(), "lines[1].amount: expected int, found float 1.5");
        assert_eq!(errors[2].found, "nothing");
        assert_eq!(admit("array[int]", &json!(vec!["x"; 100])).unwrap_err().len(), MAX_FINDINGS);
    }

    #[test]
    fn objects_are_completed_and_keep_what_they_have() {
        let value = admit("Line", &json!({"label": "a", "amount": 1, "more": true})).unwrap();
        assert_eq!(value.to_json(), json!({"label": "a", "amount": 1, "more": true, "note": null}));
    }

    #[test]
    fn checks_end_on_any_types() {
        assert!(admit("Loop", &json!(1)).is_err());
        assert!(admit("Missing", &json!(1)).is_err());
        assert!(admit("Tree", &json!({"value": 1, "children": [{"value": 2, "children": []}]})).is_ok());
        let deep = (0..100).fold(json!("no int"), |inner, _| json!({"a": inner}));
        assert!(admit("Many", &deep).is_err());
    }

    #[test]
    fn texts_have_their_forms() {
        for (ty, good, bad) in [
            (
                "email",
                &["a@b.eu", "x.y+z@sub.example.org"][..],
                &["a", "@b", "a@", "a b@c", "a@b..c", "a@-b"][..],
            ),
            ("url", &["https://a.eu/x?y#z", "mailto:a@b"], &["a.eu", "https://", "http:// x", "1a:b", "//a"]),
            ("uuid", &["123e4567-e89b-12d3-a456-426614174000"], &["123e4567e89b12d3a456426614174000", ""]),
            ("enum[a, b]", &["a", "b"], &["c", "A"]),
        ] {
            for text in good {
                assert!(admit(ty, &json!(text)).is_ok(), "{ty} {text}");
            }
            for text in bad {
                assert!(admit(ty, &json!(text)).is_err(), "{ty} {text}");
            }
        }
    }
}
