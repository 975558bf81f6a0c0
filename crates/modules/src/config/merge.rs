//! JSON Merge Patch (RFC 7396).

use serde_json::{Map, Value};

/// Carries a merge patch out: objects are merged name by name, `null` takes a name away, and everything else takes the
/// place of what was there.
///
/// Recurses as deep as the patch, whose depth its reader has bounded.
pub fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (name, change) in patch {
        if change.is_null() {
            fields.remove(name);
        } else {
            merge_patch(fields.entry(name).or_insert(Value::Null), change);
        }
    }
}

/// How deep a value is: 0 for what has no parts.
pub(crate) fn depth(value: &Value) -> usize {
    let deepest = |parts: &mut dyn Iterator<Item = &Value>| 1 + parts.map(depth).max().unwrap_or(0);
    match value {
        Value::Array(items) => deepest(&mut items.iter()),
        Value::Object(fields) => deepest(&mut fields.values()),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::config::tests::any_json;

    fn merged(mut target: Value, patch: &Value) -> Value {
        merge_patch(&mut target, patch);
        target
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 7396, appendix A: target, patch, result.
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a": "b"}), json!(["c"]), json!(["c"])),
            (json!({"a": "foo"}), json!(null), json!(null)),
            (json!({"a": "foo"}), json!("bar"), json!("bar")),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            assert_eq!(merged(target.clone(), &patch), result, "{target} {patch}");
        }
    }

    #[test]
    fn depth_counts_what_is_around_the_deepest() {
        assert_eq!(depth(&json!(1)), 0);
        assert_eq!(depth(&json!({})), 1);
        assert_eq!(depth(&json!({"a": [1, {"b": 2}], "c": 3})), 3);
    }

    fn holds_null(value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Object(fields) => fields.values().any(holds_null),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_patch_carried_out_twice_is_a_patch_carried_out_once(target in any_json(), patch in any_json()) {
            let once = merged(target, &patch);
            prop_assert_eq!(merged(once.clone(), &patch), once);
        }

        #[test]
        fn null_takes_away_and_nothing_else_is_touched(target in any_json(), name in "[a-c]") {
            let patch = json!({name.clone(): null});
            let after = merged(target.clone(), &patch);
            prop_assert!(after.get(&name).is_none());
            if let Value::Object(fields) = target {
                for (other, value) in fields.iter().filter(|(other, _)| **other != name) {
                    prop_assert_eq!(after.get(other), Some(value));
                }
            }
        }

        #[test]
        fn what_is_laid_over_nothing_holds_no_null(patch in any_json()) {
            if patch.is_object() {
                let laid = merged(json!({}), &patch);
                prop_assert!(!holds_null(&laid));
            }
        }
    }
}
