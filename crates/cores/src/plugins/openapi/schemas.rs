//! Schemas of an OpenAPI document as schemas that stand alone: what they refer to goes with them under `$defs`, and what
//! OpenAPI 3.0 spells in its own way is spelt as JSON Schema 2020-12 does.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

const COMPONENTS: &str = "#/components/schemas/";
/// How deep a schema may be nested.
const DEPTH: usize = 64;
/// How many schemas one method may refer to.
const MOST: usize = 500;

pub(super) struct Schemas<'d> {
    document: &'d Value,
    old: bool,
    /// What was referred to, as it is spelt in references.
    wanted: BTreeSet<String>,
}

impl<'d> Schemas<'d> {
    pub(super) const fn of(document: &'d Value, old: bool) -> Self {
        Self { document, old, wanted: BTreeSet::new() }
    }

    /// A schema, with its references turned to `$defs`. A schema that is `true` is `{}`.
    pub(super) fn take(&mut self, schema: &Value) -> Result<Value, String> {
        match self.convert(schema, 0)? {
            Value::Bool(true) => Ok(json!({})),
            Value::Bool(false) => Ok(json!({"not": {}})),
            schema => Ok(schema),
        }
    }

    /// All that was referred to, and what that refers to.
    pub(super) fn finish(mut self) -> Result<Map<String, Value>, String> {
        let mut definitions = Map::new();
        while let Some(name) = self.wanted.pop_first() {
            let key = name.replace("~1", "/").replace("~0", "~");
            if definitions.contains_key(&key) {
                continue;
            }
            if definitions.len() == MOST {
                return Err("it refers to too many schemas".to_owned());
            }
            let schema = self.document.pointer(&format!("/components/schemas/{name}"));
            let schema =
                schema.ok_or_else(|| format!("it refers to the schema {key}, which is not there"))?;
            let converted = self.convert(schema, 0)?;
            definitions.insert(key, converted);
        }
        Ok(definitions)
    }

    fn convert(&mut self, schema: &Value, depth: usize) -> Result<Value, String> {
        if depth > DEPTH {
            return Err("its schemas are nested too deep".to_owned());
        }
        match schema {
            Value::Array(items) => items.iter().map(|item| self.convert(item, depth + 1)).collect(),
            Value::Object(fields) => {
                let mut converted = Map::new();
                for (name, field) in fields {
                    let field = match (name.as_str(), field) {
                        ("$ref", Value::String(reference)) => self.reference(reference)?.into(),
                        // What is an example or a value is no schema.
                        ("example" | "examples", _) => continue,
                        ("enum" | "const" | "default", value) => value.clone(),
                        (_, field) => self.convert(field, depth + 1)?,
                    };
                    converted.insert(name.clone(), field);
                }
                if self.old {
                    modernise(&mut converted);
                }
                Ok(Value::Object(converted))
            }
            other => Ok(other.clone()),
        }
    }

    fn reference(&mut self, reference: &str) -> Result<String, String> {
        let name = reference.strip_prefix(COMPONENTS).filter(|name| !name.contains('/'));
        let name = name.ok_or("it refers to a schema that is not among the document's own")?;
        self.wanted.insert(name.to_owned());
        Ok(format!("#/$defs/{name}"))
    }
}

/// From the schemas of OpenAPI 3.0 to those of JSON Schema.
fn modernise(schema: &mut Map<String, Value>) {
    for (limit, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
        match schema.get(exclusive) {
            Some(Value::Bool(true)) => {
                let bound = schema.remove(limit).unwrap_or(Value::Null);
                schema.insert(exclusive.to_owned(), bound);
            }
            Some(Value::Bool(false)) => drop(schema.remove(exclusive)),
            _ => {}
        }
    }
    if schema.get("nullable").is_some_and(Value::is_boolean)
        && schema.remove("nullable") == Some(Value::Bool(true))
    {
        if let Some(kind) = schema.get("type").filter(|kind| kind.is_string()).cloned() {
            schema.insert("type".to_owned(), json!([kind, "null"]));
        }
        if let Some(options) = schema.get_mut("enum").and_then(Value::as_array_mut)
            && !options.contains(&Value::Null)
        {
            options.push(Value::Null);
        }
    }
}
