//! What a module's JSON Schema (2020-12) says beside the rules that a validator checks: which values are secret, and
//! which stand where nobody has said anything.
//!
//! Only references within the schema are followed; others are refused when it is read. Where a schema leaves open which
//! of its parts applies (`anyOf`, `oneOf`, `if`, `patternProperties`), a value is secret when any of them says so: too
//! much is hidden rather than too little.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value, json};

use super::merge::merge_patch;
use super::pointer::child;

/// The dialect of configurations' schemas.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// The keywords that hold one schema, those that hold a list of them, and those that hold schemas by name.
const ONE: [&str; 11] = [
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
const LISTS: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
const NAMED: [&str; 5] = ["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"];
/// How many fields the defaults may fill in, all in all.
const MAX_DEFAULTS: usize = 1000;
/// How deep they may lie.
const MAX_DEFAULT_DEPTH: usize = 16;

/// A schema that configurations cannot be described by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {problem}")]
pub struct InvalidSchema {
    /// Where in the schema, as a JSON Pointer; `/` for the whole.
    pub at: String,
    /// What is wrong there.
    pub problem: String,
}

/// The schema of a module's configuration.
#[derive(Clone, PartialEq)]
pub struct ConfigSchema(Value);

impl fmt::Debug for ConfigSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl ConfigSchema {
    /// The most bytes of a schema, as JSON.
    pub const MAX_BYTES: usize = 256 * 1024;

    /// Checks what is asked of a schema beyond being one, which a validator checks: an object for objects, of the one
    /// dialect, with references to its own parts only, and no secret that is everything.
    pub fn parse(schema: Value) -> Result<Self, InvalidSchema> {
        let invalid =
            |at: &str, problem: &str| InvalidSchema { at: at.to_owned(), problem: problem.to_owned() };
        let whole = |problem| Err(invalid("/", problem));
        let Value::Object(fields) = &schema else { return whole("must be an object") };
        if schema.to_string().len() > Self::MAX_BYTES {
            return whole("is too long");
        }
        if fields
            .get("$schema")
            .is_some_and(|dialect| dialect.as_str().map(|d| d.trim_end_matches('#')) != Some(DIALECT))
        {
            return Err(invalid("/$schema", &format!("must be {DIALECT}")));
        }
        if fields.get("type").is_some_and(|kind| kind != "object") {
            return Err(invalid("/type", "must be object: a configuration is one"));
        }
        if fields.get("writeOnly") == Some(&Value::Bool(true)) {
            return Err(invalid(
                "/writeOnly",
                "cannot be said of the whole: mark the fields that are secret",
            ));
        }
        check_parts(&schema, &schema, "", true)?;
        Ok(Self(schema))
    }

    /// The schema of a module that has nothing to configure.
    pub fn nothing() -> Self {
        Self(json!({"type": "object", "properties": {}, "additionalProperties": false}))
    }

    /// The schema as JSON.
    pub const fn as_value(&self) -> &Value {
        &self.0
    }

    /// The places in a configuration whose values are secret, the outermost only.
    pub fn secrets_in(&self, config: &Value) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        self.mark(&self.0, config, "", &mut Vec::new(), &mut found);
        found
    }

    /// What stands in a configuration where nobody has said anything: `default` of the fields, of the parts of what is
    /// there, and of the parts of what is itself there by default.
    pub fn defaults_for(&self, config: &Value) -> Value {
        let mut left = MAX_DEFAULTS;
        self.default_of(&self.0, Some(config), 0, &mut left)
            .filter(Value::is_object)
            .unwrap_or_else(|| Value::Object(Map::new()))
    }

    /// Walks a schema and a value together. `passed` are the schemas that were looked at for the same value.
    fn mark<'a>(
        &'a self,
        schema: &'a Value,
        value: &Value,
        at: &str,
        passed: &mut Vec<*const Value>,
        found: &mut BTreeSet<String>,
    ) {
        let Value::Object(keywords) = schema else { return };
        let this: *const Value = schema;
        if passed.contains(&this) || found.contains(at) {
            return;
        }
        passed.push(this);
        if keywords.get("writeOnly") == Some(&Value::Bool(true)) {
            // Below it nothing is told apart any more.
            found.retain(|place| !place.starts_with(&format!("{at}/")));
            found.insert(at.to_owned());
            return;
        }
        for reference in ["$ref", "$dynamicRef"] {
            if let Some(Value::String(reference)) = keywords.get(reference) {
                match self.resolve(reference) {
                    Some(target) => self.mark(target, value, at, passed, found),
                    // Refused when the schema was read.
                    None => drop(found.insert(at.to_owned())),
                }
            }
        }
        for keyword in ["allOf", "anyOf", "oneOf"] {
            for part in list(keywords, keyword) {
                self.mark(part, value, at, passed, found);
            }
        }
        for keyword in ["if", "then", "else"] {
            if let Some(part) = keywords.get(keyword) {
                self.mark(part, value, at, passed, found);
            }
        }
        for (_, part) in named(keywords, "dependentSchemas") {
            self.mark(part, value, at, passed, found);
        }
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let at = child(at, name);
                    for part in parts_for_name(keywords, name) {
                        self.mark(part, value, &at, &mut Vec::new(), found);
                    }
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    let at = child(at, &index.to_string());
                    let prefix = list(keywords, "prefixItems").nth(index);
                    let rest = ["items", "contains", "unevaluatedItems"]
                        .iter()
                        .filter_map(|name| keywords.get(*name));
                    for part in prefix.into_iter().chain(rest) {
                        self.mark(part, value, &at, &mut Vec::new(), found);
                    }
                }
            }
            _ => {}
        }
    }

    fn default_of(
        &self,
        schema: &Value,
        value: Option<&Value>,
        depth: usize,
        left: &mut usize,
    ) -> Option<Value> {
        if depth > MAX_DEFAULT_DEPTH || *left == 0 {
            return None;
        }
        *left -= 1;
        let mut sources = Vec::new();
        self.unconditional(schema, &mut sources);
        let given = sources.iter().find_map(|keywords| keywords.get("default")).cloned();
        let descends = given.as_ref().is_some_and(Value::is_object) || value.is_some_and(Value::is_object);
        if !descends || given.as_ref().is_some_and(|given| !given.is_object()) {
            return given;
        }
        let mut filled = Value::Object(Map::new());
        for keywords in sources {
            for (name, part) in named(keywords, "properties") {
                let there = value.and_then(|value| value.get(name));
                let by_default = given.as_ref().and_then(|given| given.get(name));
                if let Some(default) = self.default_of(part, there.or(by_default), depth + 1, left)
                    && let Value::Object(fields) = &mut filled
                {
                    fields.entry(name).or_insert(default);
                }
            }
        }
        // What the whole says by default is nearer than what its parts say.
        if let Some(given) = &given {
            merge_patch(&mut filled, given);
        }
        let says_something = given.is_some() || filled.as_object().is_some_and(|fields| !fields.is_empty());
        says_something.then_some(filled)
    }

    /// The schemas that certainly apply where one does: itself, what it refers to, and what `allOf` lists.
    fn unconditional<'a>(&'a self, schema: &'a Value, found: &mut Vec<&'a Map<String, Value>>) {
        let Value::Object(keywords) = schema else { return };
        if found.iter().any(|other| std::ptr::eq(*other, keywords)) {
            return;
        }
        found.push(keywords);
        if let Some(target) = keywords.get("$ref").and_then(Value::as_str).and_then(|text| self.resolve(text))
        {
            self.unconditional(target, found);
        }
        for part in list(keywords, "allOf") {
            self.unconditional(part, found);
        }
    }

    fn resolve(&self, reference: &str) -> Option<&Value> {
        resolve(&self.0, reference)
    }
}

fn list<'a>(keywords: &'a Map<String, Value>, keyword: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    keywords.get(keyword).and_then(Value::as_array).into_iter().flatten()
}

fn named<'a>(
    keywords: &'a Map<String, Value>,
    keyword: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
    keywords.get(keyword).and_then(Value::as_object).into_iter().flatten()
}

/// The parts of an object's schema that may apply to the field of a name.
fn parts_for_name<'a>(
    keywords: &'a Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = &'a Value> + use<'a> {
    let own = keywords.get("properties").and_then(|properties| properties.get(name));
    let others = ["additionalProperties", "unevaluatedProperties"];
    let others =
        others.into_iter().filter(move |_| own.is_none()).filter_map(|keyword| keywords.get(keyword));
    own.into_iter().chain(named(keywords, "patternProperties").map(|(_, part)| part)).chain(others)
}

/// What a reference within a schema refers to: a JSON Pointer, or an anchor.
fn resolve<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let fragment = reference.strip_prefix('#')?;
    if fragment.contains('%') {
        return None;
    }
    if fragment.is_empty() || fragment.starts_with('/') {
        return root.pointer(fragment);
    }
    anchored(root, fragment)
}

fn anchored<'a>(schema: &'a Value, anchor: &str) -> Option<&'a Value> {
    let Value::Object(keywords) = schema else { return None };
    let is = |keyword| keywords.get(keyword).and_then(Value::as_str) == Some(anchor);
    if is("$anchor") || is("$dynamicAnchor") {
        return Some(schema);
    }
    parts_of(keywords).find_map(|(_, part)| anchored(part, anchor))
}

/// The schemas directly within a schema, with their places relative to it.
fn parts_of(keywords: &Map<String, Value>) -> impl Iterator<Item = (String, &Value)> {
    let one = ONE.iter().filter_map(|keyword| Some((child("", keyword), keywords.get(*keyword)?)));
    let lists = LISTS.iter().flat_map(|keyword| {
        let place = child("", keyword);
        list(keywords, keyword)
            .enumerate()
            .map(move |(index, part)| (child(&place, &index.to_string()), part))
    });
    let by_name = NAMED.iter().flat_map(|keyword| {
        let place = child("", keyword);
        named(keywords, keyword).map(move |(name, part)| (child(&place, name), part))
    });
    one.chain(lists).chain(by_name)
}

/// Checks the references of a schema and of all that is in it. Recurses as deep as the schema, whose depth the reader of
/// JSON has bounded.
fn check_parts(root: &Value, schema: &Value, at: &str, is_root: bool) -> Result<(), InvalidSchema> {
    let Value::Object(keywords) = schema else { return Ok(()) };
    let invalid = |keyword: &str, problem: &str| {
        Err(InvalidSchema { at: child(at, keyword), problem: problem.to_owned() })
    };
    for keyword in ["$ref", "$dynamicRef"] {
        match keywords.get(keyword) {
            None => {}
            Some(Value::String(reference)) if resolve(root, reference).is_some() => {}
            Some(_) => return invalid(keyword, "must refer to a part of this schema, such as #/$defs/name"),
        }
    }
    for keyword in ["$id", "$vocabulary", "$recursiveRef"] {
        if !is_root && keywords.contains_key(keyword) {
            return invalid(keyword, "is not supported within a schema");
        }
    }
    parts_of(keywords).try_for_each(|(place, part)| check_parts(root, part, &format!("{at}{place}"), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(value: Value) -> ConfigSchema {
        ConfigSchema::parse(value).unwrap()
    }

    fn secrets(given: Value, config: &Value) -> Vec<String> {
        schema(given).secrets_in(config).into_iter().collect()
    }

    #[test]
    fn secrets_are_found_wherever_a_schema_can_say_so() {
        let password = json!({"type": "string", "writeOnly": true});
        let config =
            json!({"a": "x", "b": {"c": "y"}, "list": [{"token": "z"}, {"token": "w", "name": "n"}]});
        let given = json!({"properties": {
            "a": password,
            "b": {"properties": {"c": password, "absent": password}},
            "list": {"items": {"properties": {"token": password}}}
        }});
        assert_eq!(secrets(given, &config), ["/a", "/b/c", "/list/0/token", "/list/1/token"]);
        for given in [
            json!({"$ref": "#/$defs/all", "$defs": {"all": {"properties": {"a": password}}}}),
            json!({"properties": {"a": {"$ref": "#secret"}}, "$defs": {"x": {"$anchor": "secret", "writeOnly": true}}}),
            json!({"allOf": [{"anyOf": [{"properties": {"a": password}}]}]}),
            json!({"oneOf": [{}, {"properties": {"a": password}}]}),
            json!({"if": {}, "else": {"properties": {"a": password}}}),
            json!({"dependentSchemas": {"b": {"properties": {"a": password}}}}),
            json!({"patternProperties": {"^z": password}, "properties": {"b": true, "list": true}}),
            json!({"properties": {"b": true, "list": true}, "additionalProperties": password}),
        ] {
            let found = secrets(given.clone(), &config);
            assert!(found.contains(&"/a".to_owned()), "{given}");
        }
        let additional =
            json!({"properties": {"a": true, "b": true, "list": true}, "additionalProperties": password});
        assert!(secrets(additional, &config).is_empty(), "the names that are told of are no others");
        assert!(secrets(json!({}), &config).is_empty());
    }

    #[test]
    fn only_the_outermost_secret_is_named() {
        let given = json!({
            "properties": {"a": {"properties": {"b": {"writeOnly": true}}}},
            "allOf": [{"properties": {"a": {"writeOnly": true}}}]
        });
        assert_eq!(secrets(given, &json!({"a": {"b": 1}})), ["/a"]);
    }

    #[test]
    fn a_schema_that_refers_to_itself_comes_to_an_end() {
        let given = json!({
            "properties": {"child": {"$ref": "#"}, "key": {"writeOnly": true}, "loop": {"$ref": "#/properties/loop"}}
        });
        let config = json!({"child": {"child": {"key": 1}}, "loop": {"loop": {}}});
        assert_eq!(secrets(given, &config), ["/child/child/key"]);
        let endless = json!({"$ref": "#/$defs/n", "$defs": {"n": {
            "default": {}, "properties": {"l": {"$ref": "#/$defs/n"}, "r": {"$ref": "#/$defs/n"}}
        }}});
        assert!(schema(endless).defaults_for(&json!({})).to_string().len() < 100_000);
    }

    #[test]
    fn defaults_fill_in_what_is_there_and_make_nothing_else() {
        let given = schema(json!({
            "$defs": {"port": {"type": "integer", "default": 25}},
            "allOf": [{"properties": {"retries": {"default": 3}}}],
            "properties": {
                "model": {"default": "m"},
                "smtp": {"required": ["host"], "properties": {"host": {}, "port": {"$ref": "#/$defs/port"}}},
                "box": {"default": {"width": 1}, "properties": {"height": {"default": 2}, "width": {"default": 9}}}
            }
        }));
        let rest = json!({"model": "m", "retries": 3, "box": {"width": 1, "height": 2}});
        assert_eq!(given.defaults_for(&json!({})), rest);
        let with_smtp = given.defaults_for(&json!({"smtp": {"host": "h"}}));
        assert_eq!(with_smtp["smtp"], json!({"port": 25}));
        assert_eq!(ConfigSchema::nothing().defaults_for(&json!({"x": 1})), json!({}));
    }

    #[test]
    fn what_cannot_describe_a_configuration_is_refused_with_its_place() {
        for (given, at) in [
            (json!(true), "/"),
            (json!({"type": "array"}), "/type"),
            (json!({"writeOnly": true}), "/writeOnly"),
            (json!({"$schema": "http://json-schema.org/draft-07/schema#"}), "/$schema"),
            (
                json!({"properties": {"a": {"$ref": "https://elsewhere.example/schema"}}}),
                "/properties/a/$ref",
            ),
            (json!({"properties": {"a": {"$ref": "#/$defs/absent"}}}), "/properties/a/$ref"),
            (json!({"allOf": [{"$dynamicRef": "#absent"}]}), "/allOf/0/$dynamicRef"),
            (json!({"$defs": {"a": {"$id": "https://a.example/"}}}), "/$defs/a/$id"),
            (json!({"description": "x".repeat(ConfigSchema::MAX_BYTES)}), "/"),
        ] {
            assert_eq!(ConfigSchema::parse(given).unwrap_err().at, at);
        }
        // A field may be called like a keyword.
        let named = json!({"properties": {"$ref": {"type": "string"}, "default": {"default": 1}}});
        assert_eq!(schema(named).defaults_for(&json!({})), json!({"default": 1}));
    }
}
