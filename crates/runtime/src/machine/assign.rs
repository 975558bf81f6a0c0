//! Assignment to a part of a value.

use std::sync::Arc;

use scaigrid_ir::Value;
use scaigrid_ir::value::MAX_DEPTH;

use crate::failure::Failure;

/// A step towards the part, its index computed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Key {
    Member(Arc<str>),
    Index(Value),
}

/// Puts a value into the part of `whole` that `path` leads to. The last step may name a field that is not there
/// yet; everything before it must be. Where this fails, `whole` is as it was.
pub(super) fn assign(whole: &mut Value, path: &[Key], value: Value) -> Result<(), Failure> {
    if !path.is_empty() {
        let depth = value.extent(usize::MAX).map_or(MAX_DEPTH, |extent| extent.depth);
        if depth + path.len() > MAX_DEPTH {
            return Err(Failure::new("EVALUATION_LIMIT", "the value would be nested too deeply"));
        }
    }
    let mut part = whole;
    for (step, key) in path.iter().enumerate() {
        let last = step + 1 == path.len();
        part = match (part, key) {
            (Value::Object(fields), key) => {
                let name = match key {
                    Key::Member(name) | Key::Index(Value::String(name)) => name,
                    Key::Index(other) => return Err(mismatch("a field's name", other)),
                };
                let fields = Arc::make_mut(fields);
                if last {
                    fields.insert(Arc::clone(name), value);
                    return Ok(());
                }
                fields.get_mut(name).ok_or_else(|| {
                    Failure::new("UNKNOWN_NAME", format!("there is no field {name} to change"))
                })?
            }
            (Value::Array(items), Key::Index(index)) => {
                let Value::Int(wanted) = index else { return Err(mismatch("an index", index)) };
                let length = items.len();
                usize::try_from(*wanted).ok().and_then(|at| Arc::make_mut(items).get_mut(at)).ok_or_else(
                    || {
                        Failure::new(
                            "INDEX_OUT_OF_RANGE",
                            format!("index {wanted} is outside of an array of {length}"),
                        )
                    },
                )?
            }
            (Value::Null, _) => {
                return Err(Failure::new("NULL_MEMBER", "null has no parts that could be changed"));
            }
            (other, Key::Member(name)) => {
                let found = other.type_name();
                return Err(Failure::new(
                    "TYPE_MISMATCH",
                    format!("a value of type {found} has no field {name}"),
                ));
            }
            (other, Key::Index(_)) => {
                let found = other.type_name();
                return Err(Failure::new(
                    "TYPE_MISMATCH",
                    format!("a value of type {found} has no elements"),
                ));
            }
        };
    }
    *part = value;
    Ok(())
}

fn mismatch(wanted: &str, found: &Value) -> Failure {
    Failure::new(
        "TYPE_MISMATCH",
        format!("{wanted} is wanted, a value of type {} is given", found.type_name()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Value {
        Value::from_json(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn parts_change_and_failures_change_nothing() {
        let mut whole = of(r#"{"a": [1, {"b": 2}], "n": null}"#);
        let path = [Key::Member("a".into()), Key::Index(Value::Int(1)), Key::Member("b".into())];
        assign(&mut whole, &path, Value::Int(9)).unwrap();
        assign(&mut whole, &[Key::Index("new".into())], Value::Bool(true)).unwrap();
        assert_eq!(whole, of(r#"{"a": [1, {"b": 9}], "n": null, "new": true}"#));

        let before = whole.clone();
        for (path, code) in [
            (vec![Key::Member("a".into()), Key::Index(Value::Int(2))], "INDEX_OUT_OF_RANGE"),
            (vec![Key::Member("a".into()), Key::Index(Value::Int(-1))], "INDEX_OUT_OF_RANGE"),
            (vec![Key::Member("a".into()), Key::Member("x".into())], "TYPE_MISMATCH"),
            (vec![Key::Member("n".into()), Key::Member("x".into())], "NULL_MEMBER"),
            (vec![Key::Member("z".into()), Key::Member("x".into())], "UNKNOWN_NAME"),
            (vec![Key::Index(Value::Int(0))], "TYPE_MISMATCH"),
        ] {
            assert_eq!(&*assign(&mut whole, &path, Value::Null).unwrap_err().code, code, "{path:?}");
            assert_eq!(whole, before);
        }
    }
}
