//! The parts of a variable that is kept as one value: fields of an object, elements of an array in a `json`.

use std::sync::Arc;

use scaigrid_ir::Value;
use scaigrid_persistence::memory::EntryFilter;
use scaigrid_runtime::Failure;

fn no_parts(name: &str, whole: &Value) -> Failure {
    let message = format!("memory.{name} is a value of type {}, which has no entries", whole.type_name());
    Failure::new("TYPE_MISMATCH", message)
}

/// A field, or an element by its place; null where there is none.
pub(super) fn get(name: &str, whole: &Value, key: &str) -> Result<Value, Failure> {
    match whole {
        Value::Null => Ok(Value::Null),
        Value::Object(fields) => Ok(fields.get(key).cloned().unwrap_or_default()),
        Value::Array(items) => {
            let Ok(index) = key.parse::<i64>() else {
                let message = format!("an index of memory.{name} is an int, not {key:?}");
                return Err(Failure::new("TYPE_MISMATCH", message));
            };
            let distance = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
            let place = if index < 0 { items.len().checked_sub(distance) } else { Some(distance) };
            Ok(place.and_then(|place| items.get(place)).cloned().unwrap_or_default())
        }
        other => Err(no_parts(name, other)),
    }
}

/// The value with a field set, or without it.
pub(super) fn set(name: &str, whole: Value, key: &str, field: Option<Value>) -> Result<Value, Failure> {
    let mut fields = match whole {
        Value::Null => Arc::default(),
        Value::Object(fields) => fields,
        other => return Err(no_parts(name, &other)),
    };
    let changed = Arc::make_mut(&mut fields);
    match field {
        Some(field) => drop(changed.insert(Arc::from(key), field)),
        None => drop(changed.remove(key)),
    }
    Ok(Value::Object(fields))
}

/// The parts, and whether they have keys.
pub(super) fn parts(name: &str, whole: &Value) -> Result<(Vec<(String, Value)>, bool), Failure> {
    match whole {
        Value::Null => Ok((Vec::new(), false)),
        Value::Object(fields) => {
            Ok((fields.iter().map(|(key, value)| (key.to_string(), value.clone())).collect(), true))
        }
        Value::Array(items) => {
            Ok((items.iter().map(|value| (String::new(), value.clone())).collect(), false))
        }
        other => Err(no_parts(name, other)),
    }
}

/// Some of the parts, and whether they have keys.
pub(super) fn list(
    name: &str,
    whole: &Value,
    filter: &EntryFilter,
    limit: usize,
) -> Result<(Vec<(String, Value)>, bool), Failure> {
    let (mut parts, keyed) = parts(name, whole)?;
    if let (Some(prefix), true) = (&filter.prefix, keyed) {
        parts.retain(|(key, _)| key.starts_with(prefix.as_str()));
    }
    if filter.descending {
        parts.reverse();
    }
    parts.truncate(limit);
    Ok((parts, keyed))
}

/// How many parts there are, or characters.
pub(super) fn length(name: &str, whole: &Value) -> Result<Value, Failure> {
    match whole {
        Value::Null => Ok(Value::Int(0)),
        Value::Array(items) => Ok(items.len().into()),
        Value::Object(fields) => Ok(fields.len().into()),
        Value::String(text) => Ok(text.chars().count().into()),
        other => {
            let message =
                format!("memory.{name} is a value of type {}, which has no length", other.type_name());
            Err(Failure::new("TYPE_MISMATCH", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_elements_are_found_by_key() {
        let object = Value::from([("a", Value::Int(1))]);
        assert_eq!(get("m", &object, "a"), Ok(Value::Int(1)));
        assert_eq!(get("m", &object, "b"), Ok(Value::Null));
        let array = Value::array(vec![Value::Int(1), Value::Int(2)]);
        assert_eq!(get("m", &array, "-1"), Ok(Value::Int(2)));
        assert_eq!(get("m", &array, "2"), Ok(Value::Null));
        assert_eq!(get("m", &array, "-3"), Ok(Value::Null));
        assert!(get("m", &array, "x").is_err());
        assert!(get("m", &Value::Int(1), "x").is_err());
    }

    #[test]
    fn fields_are_set_and_removed() {
        let one = set("m", Value::Null, "a", Some(Value::Int(1))).unwrap();
        assert_eq!(one, Value::from([("a", Value::Int(1))]));
        assert_eq!(set("m", one, "a", None), Ok(Value::Object(Arc::default())));
        assert!(set("m", Value::Int(1), "a", None).is_err());
    }
}
