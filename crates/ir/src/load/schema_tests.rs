//! The published JSON Schema against what loading knows, and against the example programs.

use serde_json::{Value as Json, json};

use super::keys;

fn schema() -> Json {
    serde_json::from_str(include_str!("../../../../docs/ir.schema.json")).unwrap()
}

#[test]
fn every_key_and_kind_is_in_the_published_schema() {
    let schema = schema();
    let definitions = schema["$defs"].as_object().unwrap();
    let properties = |name: &str| -> Vec<&str> {
        let properties = definitions[name]["properties"].as_object().unwrap_or_else(|| panic!("{name}"));
        properties.keys().map(String::as_str).collect()
    };
    let same = |name: &str, lists: &[&[&str]]| {
        let mut listed = lists.concat();
        listed.sort_unstable();
        listed.dedup();
        let mut published = properties(name);
        published.sort_unstable();
        assert_eq!(published, listed, "{name}");
    };
    let root: Vec<_> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    assert!(root.iter().all(|key| keys::MODULE.contains(key)) && root.len() == keys::MODULE.len());
    for (name, list) in [
        ("identity", keys::IDENTITY),
        ("avatar", keys::AVATAR),
        ("model", keys::MODEL),
        ("fallback", keys::FALLBACK),
        ("plugin", keys::PLUGIN),
        ("memory", keys::MEMORY),
        ("config", keys::CONFIG),
        ("constraints", keys::CONSTRAINTS),
        ("instance", keys::INSTANCE),
        ("subscription", keys::SUBSCRIPTION),
        ("flow", keys::FLOW),
        ("param", keys::PARAM),
        ("retry", keys::RETRY),
        ("backoff", keys::BACKOFF),
        ("present", keys::PRESENT),
        ("arm", keys::ARM),
        ("catch", keys::CATCH),
        ("branch", keys::BRANCH),
        ("action", keys::ACTION),
        ("await_event", keys::AWAIT_EVENT),
        ("await_timer", keys::AWAIT_TIMER),
        ("own_constraints", keys::OWN_CONSTRAINTS),
        ("example", keys::EXAMPLE),
        ("failure", keys::FAILURE),
        ("failure_action", keys::FAILURE_ACTION),
        ("own_budget", keys::OWN_BUDGET),
    ] {
        same(name, &[list]);
    }
    for (kind, list) in keys::TRIGGERS {
        same(&format!("trigger_{kind}"), &[keys::TRIGGER, list]);
    }
    for (kind, list) in keys::BLOCKS {
        same(&format!("block_{kind}"), &[keys::BLOCK, list]);
    }
    for (kind, list) in keys::STATEMENTS {
        same(&format!("statement_{kind}"), &[keys::STATEMENT, list]);
    }
}

/// Whether a value fits a schema, for the keywords that the published one uses; `pattern`, the lengths and the
/// annotations are passed over.
fn fits(value: &Json, schema: &Json, root: &Json) -> Result<(), String> {
    for (keyword, argument) in schema.as_object().unwrap() {
        let list = || argument.as_array().unwrap().iter();
        let fine = match keyword.as_str() {
            "$ref" => {
                let target = argument.as_str().unwrap().strip_prefix('#').unwrap();
                fits(value, root.pointer(target).unwrap(), root)?;
                true
            }
            "type" => match argument.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "number" => value.is_number(),
                "integer" => value.is_i64() || value.is_u64(),
                "null" => value.is_null(),
                other => panic!("the type {other}"),
            },
            "const" => value == argument,
            "enum" => list().any(|allowed| allowed == value),
            "anyOf" => list().any(|option| fits(value, option, root).is_ok()),
            "oneOf" => {
                let fitting = list().filter(|option| fits(value, option, root).is_ok()).count();
                if fitting != 1 {
                    return Err(format!("{fitting} of the alternatives fit {value}"));
                }
                true
            }
            "required" => list().all(|key| value.get(key.as_str().unwrap()).is_some()),
            "properties" => {
                for (key, schema) in argument.as_object().unwrap() {
                    if let Some(member) = value.get(key) {
                        fits(member, schema, root).map_err(|error| format!("{key}: {error}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let declared = schema.get("properties");
                let others = value.as_object().into_iter().flatten();
                for (key, member) in others.filter(|(key, _)| declared.is_none_or(|d| d.get(key).is_none())) {
                    if argument == &json!(false) {
                        return Err(format!("{key} is not allowed"));
                    }
                    fits(member, argument, root).map_err(|error| format!("{key}: {error}"))?;
                }
                true
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    fits(item, argument, root)?;
                }
                true
            }
            "minimum" => value.as_f64() >= argument.as_f64(),
            "maximum" => value.as_f64() <= argument.as_f64(),
            "pattern" | "minLength" | "maxLength" | "maxItems" | "propertyNames" | "default"
            | "description" | "contentEncoding" | "$schema" | "title" | "$defs" => true,
            other => panic!("the keyword {other}"),
        };
        if !fine {
            return Err(format!("{value} does not fit {keyword} {argument}"));
        }
    }
    Ok(())
}

#[test]
fn the_example_programs_fit_the_schema() {
    let schema = schema();
    for text in [
        include_str!("../../../../examples/expense-approval.json"),
        include_str!("../../../../examples/support-triage.json"),
        include_str!("everything.json"),
    ] {
        let document: Json = serde_json::from_str(text).unwrap();
        assert_eq!(fits(&document, &schema, &schema), Ok(()));
        for (pointer, wrong) in [
            ("/flows/0/body/0/kind", json!("jump")),
            ("/schema_version", json!("9")),
            ("/flows/0/params/0", json!({"name": "a"})),
        ] {
            let mut document = document.clone();
            *document.pointer_mut(pointer).unwrap() = wrong;
            assert!(fits(&document, &schema, &schema).is_err(), "{pointer}");
        }
    }
}
