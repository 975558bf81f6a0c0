//! What is different between two states of a resource, fit to be kept.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::mask::{MASK, is_secret_name, is_secret_object};

/// How many bytes of one side of one field are kept.
const SIDE_BYTES: usize = 4096;
/// How many characters of one text are kept.
const TEXT_CHARS: usize = 1000;
/// How many fields are kept.
const FIELDS: usize = 64;
/// How many levels of one value are kept.
const DEPTH: usize = 32;
/// What stands for what was left out.
const ELLIPSIS: &str = "…";

/// A field before and after. `null` where there was or is nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FieldChange {
    /// Before.
    pub before: Value,
    /// After.
    pub after: Value,
}

/// The fields that are different, with secrets hidden and long values cut.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changes(BTreeMap<String, FieldChange>);

impl Changes {
    /// Whether nothing is different. Such a change leaves no record.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &FieldChange)> {
        self.0.iter().map(|(field, change)| (field.as_str(), change))
    }

    /// The form that is stored and sent: `{field: {before, after}}`.
    pub fn to_json(&self) -> Value {
        let field = |(name, change): (&String, &FieldChange)| {
            (name.clone(), json!({"before": change.before, "after": change.after}))
        };
        Value::Object(self.0.iter().map(field).collect())
    }

    /// Reads the stored form; `None` if it is not one.
    pub fn from_json(stored: &Value) -> Option<Self> {
        let field = |(name, change): (&String, &Value)| {
            let side = |side| change.as_object()?.get(side).cloned();
            Some((name.clone(), FieldChange { before: side("before")?, after: side("after")? }))
        };
        stored.as_object()?.iter().map(field).collect::<Option<_>>().map(Self)
    }
}

/// Compares two states of a resource, field by field. `null` is the state of what does not exist.
///
/// The comparison sees everything, so that a changed secret is a change; what is kept of it is `"***"` on both sides.
/// Secret is what has a secret's name ([`crate::is_secret_name`]), what says `{"type":"secret"}` of itself, and what
/// the JSON Pointers (RFC 6901) in `masked` name. A state that is no object counts as one with the field `value`.
///
/// Whatever the states hold, the result is bounded: texts are cut with an ellipsis and their length, and of long lists
/// and deep structures the rest is an ellipsis.
pub fn diff(before: &Value, after: &Value, masked: &[&str]) -> Changes {
    let (before, after) = (fields(before), fields(after));
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    let mut changes = BTreeMap::new();
    for name in names {
        let (before, after) = (before.get(name).copied(), after.get(name).copied());
        let (before, after) = (before.unwrap_or(&Value::Null), after.unwrap_or(&Value::Null));
        if before == after {
            continue;
        }
        if changes.len() == FIELDS {
            let rest = FieldChange { before: ELLIPSIS.into(), after: ELLIPSIS.into() };
            changes.insert(ELLIPSIS.to_owned(), rest);
            break;
        }
        let keep = |value: &Value| {
            let pointer = format!("/{}", escape(name));
            if !value.is_null() && (is_secret_name(name) || masked.contains(&pointer.as_str())) {
                return MASK.into();
            }
            Keeper { masked, pointer, bytes_left: SIDE_BYTES }.keep(value, 0)
        };
        changes.insert(shorten(name, 128), FieldChange { before: keep(before), after: keep(after) });
    }
    Changes(changes)
}

fn fields(state: &Value) -> BTreeMap<&str, &Value> {
    match state {
        Value::Null => BTreeMap::new(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.as_str(), value)).collect(),
        value => BTreeMap::from([("value", value)]),
    }
}

/// A name as a part of a JSON Pointer.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}{ELLIPSIS} ({} characters)", &text[..end], text.chars().count()),
    }
}

/// Copies a value with secrets hidden, as far as the space goes.
struct Keeper<'a> {
    masked: &'a [&'a str],
    /// Where in the state the value is.
    pointer: String,
    bytes_left: usize,
}

impl Keeper<'_> {
    fn keep(&mut self, value: &Value, depth: usize) -> Value {
        if self.bytes_left == 0 || depth == DEPTH {
            return ELLIPSIS.into();
        }
        self.bytes_left = self.bytes_left.saturating_sub(8);
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
            Value::String(text) => {
                let kept = shorten(text, TEXT_CHARS);
                self.bytes_left = self.bytes_left.saturating_sub(kept.len());
                kept.into()
            }
            Value::Array(items) => {
                let mut kept = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    if self.bytes_left == 0 {
                        kept.push(format!("{ELLIPSIS} ({} more)", items.len() - index).into());
                        break;
                    }
                    let item = self.keep_part(&index.to_string(), item, depth);
                    kept.push(item);
                }
                Value::Array(kept)
            }
            Value::Object(fields) if is_secret_object(fields) => MASK.into(),
            Value::Object(fields) => {
                let mut kept = Map::new();
                for (index, (name, value)) in fields.iter().enumerate() {
                    if self.bytes_left == 0 {
                        kept.insert(ELLIPSIS.to_owned(), format!("{} more", fields.len() - index).into());
                        break;
                    }
                    let short = shorten(name, 128);
                    self.bytes_left = self.bytes_left.saturating_sub(short.len());
                    let value = if !value.is_null() && is_secret_name(name) {
                        MASK.into()
                    } else {
                        self.keep_part(&escape(name), value, depth)
                    };
                    kept.insert(short, value);
                }
                Value::Object(kept)
            }
        }
    }

    fn keep_part(&mut self, name: &str, part: &Value, depth: usize) -> Value {
        let parent = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(name);
        let kept = if !part.is_null() && self.masked.contains(&self.pointer.as_str()) {
            MASK.into()
        } else {
            self.keep(part, depth + 1)
        };
        self.pointer.truncate(parent);
        kept
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_is_different_is_kept() {
        let before = json!({"name": "a", "slug": "a", "limit": 1});
        let after = json!({"name": "b", "slug": "a", "note": "new"});
        let changes = diff(&before, &after, &[]);
        assert_eq!(
            changes.to_json(),
            json!({
                "name": {"before": "a", "after": "b"},
                "limit": {"before": 1, "after": null},
                "note": {"before": null, "after": "new"}
            })
        );
        assert_eq!(Changes::from_json(&changes.to_json()), Some(changes));
        assert!(diff(&before, &before, &[]).is_empty());
        let created = diff(&Value::Null, &before, &[]).to_json();
        assert_eq!(created["slug"], json!({"before": null, "after": "a"}));
        assert_eq!(diff(&json!(1), &json!(2), &[]).to_json(), json!({"value": {"before": 1, "after": 2}}));
        assert_eq!(Changes::from_json(&json!({"a": 1})), None);
    }

    #[test]
    fn a_changed_secret_is_a_change_without_a_secret() {
        let before = json!({
            "api_key": "sgk_old", "environment": {"KEY": "hush-1", "URL": "u", "PW": {"type": "secret", "value": "hush-2"}},
            "headers": [{"authorization": "hush-3"}], "a/b": {"c": "hush-4"}
        });
        let after = json!({
            "api_key": "sgk_new", "environment": {"KEY": "hush-5", "URL": "v", "PW": {"type": "secret", "value": "hush-6"}},
            "headers": [{"authorization": "hush-7"}], "a/b": {"c": "hush-8"}
        });
        let kept = diff(&before, &after, &["/environment/KEY", "/a~1b/c"]).to_json();
        assert_eq!(kept["api_key"], json!({"before": "***", "after": "***"}));
        assert_eq!(kept["environment"]["after"], json!({"KEY": "***", "URL": "v", "PW": "***"}));
        assert!(!kept.to_string().contains("hush") && !kept.to_string().contains("sgk_"));
        assert_eq!(diff(&Value::Null, &after, &["/headers"]).to_json()["headers"]["after"], "***");
    }

    #[test]
    fn long_values_are_cut_and_say_so() {
        let after = json!({"text": "ü".repeat(5000), "list": vec![0; 5000], "fine": "short"});
        let kept = diff(&Value::Null, &after, &[]).to_json();
        assert!(kept["text"]["after"].as_str().unwrap().ends_with("ü… (5000 characters)"));
        let list = kept["list"]["after"].as_array().unwrap();
        assert!(list.len() < 1000 && list.last().unwrap().as_str().unwrap().ends_with("more)"));
        assert_eq!(kept["fine"]["after"], "short");
        let wide: Map<String, Value> = (0..1000).map(|n| (format!("f{n}"), json!(n))).collect();
        let kept = diff(&Value::Null, &Value::Object(wide), &[]);
        assert_eq!(kept.iter().count(), FIELDS + 1);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,40}".prop_map(Value::from),
            (0..3000_usize).prop_map(|n| Value::from("x".repeat(n))),
        ];
        leaf.prop_recursive(5, 200, 20, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
                prop::collection::vec(("[a-z]{0,8}", inner), 0..20)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_compared_the_record_is_bounded(before in any_json(), after in any_json()) {
            let changes = diff(&before, &after, &[]);
            for (_, change) in changes.iter() {
                prop_assert!(change.before.to_string().len() < 8 * SIDE_BYTES);
                prop_assert!(change.after.to_string().len() < 8 * SIDE_BYTES);
            }
            prop_assert_eq!(changes.is_empty(), before == after || both_empty(&before, &after));
        }
    }

    /// Nothing and an object without fields do not differ in any field; nor do fields that are missing and `null`.
    fn both_empty(before: &Value, after: &Value) -> bool {
        let set = |state: &Value| match state {
            Value::Object(fields) => {
                fields.iter().filter(|(_, v)| !v.is_null()).map(|(n, v)| (n.clone(), v.clone())).collect()
            }
            Value::Null => Map::new(),
            other => Map::from_iter([("value".to_owned(), other.clone())]),
        };
        set(before) == set(after)
    }
}
