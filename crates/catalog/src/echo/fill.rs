//! A value that fits a JSON Schema (2020-12), always the same for the same schema.

use serde_json::{Map, Number, Value};

/// How deep values are filled; below it, what may be empty is.
const DEPTH: usize = 12;
/// The most items of an array.
const ITEMS: u64 = 16;

/// A value that fits a schema, as far as it says plainly what fits: types, `enum`, `const`, `default`, bounds, `format`,
/// `anyOf`, `allOf` and references within it. Texts are what was said.
pub fn fill(schema: &Value, said: &str) -> Value {
    value(schema, schema, said, 0)
}

fn value(root: &Value, schema: &Value, said: &str, depth: usize) -> Value {
    let Some(fields) = schema.as_object() else { return Value::Object(Map::new()) };
    if depth > DEPTH {
        return empty(fields);
    }
    for name in ["const", "default"] {
        if let Some(given) = fields.get(name) {
            return given.clone();
        }
    }
    for name in ["enum", "examples"] {
        if let Some(first) = fields.get(name).and_then(Value::as_array).and_then(|all| all.first()) {
            return first.clone();
        }
    }
    if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
        let target = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.map_or(Value::Null, |target| value(root, target, said, depth + 1));
    }
    for name in ["anyOf", "oneOf"] {
        let options = fields.get(name).and_then(Value::as_array);
        // What is not null tells more.
        let told = |option: &&Value| option["type"] != "null";
        if let Some(option) = options.and_then(|all| all.iter().find(told).or(all.first())) {
            return value(root, option, said, depth + 1);
        }
    }
    let typed = type_of(fields).is_some() || !fields.contains_key("allOf");
    let own = if typed { of_type(root, fields, said, depth) } else { Value::Null };
    match fields.get("allOf").and_then(Value::as_array) {
        None => own,
        Some(parts) => {
            parts.iter().fold(own, |whole, part| match (whole, value(root, part, said, depth + 1)) {
                (Value::Object(mut whole), Value::Object(part)) => {
                    whole.extend(part);
                    Value::Object(whole)
                }
                (Value::Null, part) => part,
                (whole, _) => whole,
            })
        }
    }
}

fn type_of(fields: &Map<String, Value>) -> Option<&str> {
    match fields.get("type") {
        Some(Value::String(name)) => Some(name),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).find(|name| *name != "null").or(Some("null"))
        }
        _ if fields.contains_key("properties") || fields.contains_key("required") => Some("object"),
        _ if fields.contains_key("items") => Some("array"),
        _ => None,
    }
}

fn empty(fields: &Map<String, Value>) -> Value {
    match type_of(fields) {
        Some("object") => Value::Object(Map::new()),
        Some("array") => Value::Array(Vec::new()),
        Some("string") => Value::String(String::new()),
        Some("integer" | "number") => Value::from(0),
        Some("boolean") => Value::Bool(false),
        _ => Value::Null,
    }
}

fn of_type(root: &Value, fields: &Map<String, Value>, said: &str, depth: usize) -> Value {
    let count = |name: &str| fields.get(name).and_then(Value::as_u64);
    match type_of(fields) {
        Some("object") => {
            let properties = fields.get("properties").and_then(Value::as_object);
            let named = properties.into_iter().flatten().filter(|(name, _)| {
                // Deep down only what must be there, so that a schema that holds itself comes to an end.
                depth < DEPTH / 2
                    || fields
                        .get("required")
                        .and_then(Value::as_array)
                        .is_some_and(|all| all.iter().any(|required| required.as_str() == Some(name)))
            });
            Value::Object(
                named.map(|(name, schema)| (name.clone(), value(root, schema, said, depth + 1))).collect(),
            )
        }
        Some("array") => {
            let wanted = u64::from(depth < DEPTH / 2);
            let number = count("minItems").unwrap_or(wanted).max(wanted);
            let number = number.min(count("maxItems").unwrap_or(u64::MAX)).min(ITEMS);
            let prefix = fields.get("prefixItems").and_then(Value::as_array);
            let item = |index: u64| {
                let place = usize::try_from(index).unwrap_or(usize::MAX);
                let schema = prefix.and_then(|all| all.get(place)).or_else(|| fields.get("items"));
                schema.map_or(Value::Null, |schema| value(root, schema, said, depth + 1))
            };
            let number = prefix.map_or(number, |all| number.max(all.len() as u64));
            (0..number).map(item).collect()
        }
        Some("string") => Value::String(text(fields, said, count("minLength"), count("maxLength"))),
        Some("integer") => whole(fields),
        Some("number") => {
            let bound = |name: &str| fields.get(name).and_then(Value::as_f64);
            let least = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|above| above + 0.5));
            let number = least.or_else(|| bound("maximum").map(|most| most.min(0.5))).unwrap_or(0.5);
            Number::from_f64(number).map_or(Value::from(0), Value::Number)
        }
        Some("boolean") => Value::Bool(true),
        Some("null") => Value::Null,
        _ => Value::String(said.to_owned()),
    }
}

fn whole(fields: &Map<String, Value>) -> Value {
    let bound = |name: &str| fields.get(name).and_then(Value::as_i64);
    let least = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|above| above.saturating_add(1)));
    let most = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|below| below.saturating_sub(1)));
    let number = least.unwrap_or_else(|| most.map_or(1, |most| most.min(1)));
    let step = bound("multipleOf").filter(|step| *step > 0).unwrap_or(1);
    let over = number.rem_euclid(step);
    Value::from(if over == 0 { number } else { number.saturating_add(step - over) })
}

fn text(fields: &Map<String, Value>, said: &str, least: Option<u64>, most: Option<u64>) -> String {
    let known = match fields.get("format").and_then(Value::as_str) {
        Some("date-time") => Some("2026-01-01T00:00:00Z"),
        Some("date") => Some("2026-01-01"),
        Some("time") => Some("00:00:00Z"),
        Some("duration") => Some("P1D"),
        Some("email") => Some("echo@example.org"),
        Some("uri") => Some("https://example.org/"),
        Some("uuid") => Some("00000000-0000-4000-8000-000000000000"),
        Some("hostname") => Some("example.org"),
        Some("ipv4") => Some("192.0.2.1"),
        Some("ipv6") => Some("2001:db8::1"),
        _ => None,
    };
    if let Some(known) = known {
        return known.to_owned();
    }
    let length = |count: u64| usize::try_from(count.min(100_000)).unwrap_or(0);
    let mut text: String = said.chars().take(most.map_or(100_000, length)).collect();
    let missing = least.map_or(0, length).saturating_sub(text.chars().count());
    text.extend(std::iter::repeat_n('x', missing));
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_is_filled() {
        let schema = json!({"type": "object", "required": ["a"], "properties": {
            "a": {"type": "string", "minLength": 4, "maxLength": 5},
            "b": {"type": ["null", "integer"], "minimum": 7, "multipleOf": 5},
            "c": {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 2},
            "d": {"$ref": "#/$defs/day"},
            "e": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
            "f": {"const": 3},
            "g": {"allOf": [{"type": "object", "properties": {"h": {"type": "number", "minimum": 1.5}}}]},
        }, "$defs": {"day": {"type": "string", "format": "date"}}});
        let filled = json!({"a": "hixx", "b": 10, "c": ["x", "x"], "d": "2026-01-01", "e": true, "f": 3,
            "g": {"h": 1.5}});
        assert_eq!(fill(&schema, "hi"), filled);
        assert_eq!(fill(&json!({"type": "string", "maxLength": 2}), "said"), json!("sa"));
        assert_eq!(fill(&json!({"type": "integer", "maximum": -2}), ""), json!(-2));
    }

    #[test]
    fn a_schema_that_holds_itself_comes_to_an_end() {
        let tree = json!({"type": "object", "required": ["children", "first"], "properties": {
            "children": {"type": "array", "items": {"$ref": "#"}}, "first": {"$ref": "#"}}});
        let size = fill(&tree, "").to_string().len();
        assert!(size < 1_000_000, "{size}");
        assert_eq!(fill(&json!({"$ref": "#"}), ""), Value::Null);
    }
}
