//! The methods of objects and maps. Entries come in the order of their keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::evaluate::{Arg, Eval, Evaluator, fault, truth};
use super::{Method, search};
use crate::value::Value;

pub(super) static METHODS: [Method; 14] = [
    ("entries", 0, 0),
    ("filter", 1, 1),
    ("get", 1, 2),
    ("has", 1, 1),
    ("is_empty", 0, 0),
    ("keys", 0, 0),
    ("length", 0, 0),
    ("map_values", 1, 1),
    ("merge", 1, 1),
    ("omit", 1, usize::MAX),
    ("pick", 1, usize::MAX),
    ("search", 1, 3),
    ("set", 2, 2),
    ("values", 0, 0),
];

type Fields = Arc<BTreeMap<Arc<str>, Value>>;

pub(super) fn call(
    evaluator: &mut Evaluator<'_>,
    fields: &Fields,
    name: &str,
    args: &[Arg<'_>],
) -> Eval<Option<Value>> {
    Ok(Some(match (name, args) {
        ("length", []) => fields.len().into(),
        ("is_empty", []) => fields.is_empty().into(),
        ("has", [key]) => fields.contains_key(&*key_arg(key)?).into(),
        ("get", [key]) => fields.get(&*key_arg(key)?).cloned().unwrap_or_default(),
        ("get", [key, default]) => {
            let found = fields.get(&*key_arg(key)?).filter(|value| !value.is_null());
            found.map_or_else(|| default.value().cloned(), |value| Ok(value.clone()))?
        }
        _ => {
            // What follows looks at every entry.
            evaluator.work(fields.len())?;
            return entries(evaluator, fields, name, args);
        }
    }))
}

fn entries(
    evaluator: &mut Evaluator<'_>,
    fields: &Fields,
    name: &str,
    args: &[Arg<'_>],
) -> Eval<Option<Value>> {
    let new = match (name, args) {
        ("keys", []) => Value::array(fields.keys().cloned().map(Value::String).collect()),
        ("values", []) => Value::array(fields.values().cloned().collect()),
        ("entries", []) => Value::array(fields.iter().map(entry).collect()),
        ("merge", [other]) => {
            let other = other.value()?;
            let Some(others) = other.as_object() else {
                return Err(fault(
                    "TYPE_MISMATCH",
                    format!("an object is expected, not {}", other.type_name()),
                ));
            };
            evaluator.work(others.len())?;
            let mut merged = (**fields).clone();
            merged.extend(others.iter().map(|(name, value)| (name.clone(), value.clone())));
            Value::object(merged)
        }
        ("set", [key, value]) => {
            let mut changed = (**fields).clone();
            changed.insert(key_arg(key)?, value.value()?.clone());
            Value::object(changed)
        }
        ("pick" | "omit", [_, ..]) => {
            let keys = keys_arg(args)?;
            evaluator.work(fields.len().saturating_mul(keys.len()) / 8)?;
            let picks = name == "pick";
            let kept = fields.iter().filter(|(name, _)| keys.contains(&&***name) == picks);
            return Ok(Some(Value::object(
                kept.map(|(name, value)| (name.clone(), value.clone())).collect(),
            )));
        }
        ("map_values", [function]) => {
            let function = function.function()?;
            let mut mapped = BTreeMap::new();
            for (name, value) in fields.iter() {
                let value = evaluator.apply(function, &[value.clone(), Value::String(name.clone())])?;
                mapped.insert(name.clone(), value);
            }
            Value::object(mapped)
        }
        ("filter", [function]) => {
            let function = function.function()?;
            let mut kept = BTreeMap::new();
            for (name, value) in fields.iter() {
                let keep = evaluator.apply(function, &[value.clone(), Value::String(name.clone())])?;
                if truth(&keep)? {
                    kept.insert(name.clone(), value.clone());
                }
            }
            return Ok(Some(Value::object(kept)));
        }
        ("search", [_, ..]) if args.len() <= 3 => {
            evaluator.built(Value::Object(fields.clone()))?;
            let values = fields.iter().map(|(name, value)| (Value::String(name.clone()), value));
            search(evaluator, values, args)?
        }
        _ => return Ok(None),
    };
    evaluator.built(new).map(Some)
}

fn entry((name, value): (&Arc<str>, &Value)) -> Value {
    Value::from([("key", Value::String(name.clone())), ("value", value.clone())])
}

/// A key: text, or a scalar that stands for its text.
fn key_arg(arg: &Arg<'_>) -> Eval<Arc<str>> {
    match arg.value()? {
        Value::String(text) => Ok(text.clone()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(fault("TYPE_MISMATCH", "a key is text, or a scalar that is shown as text"))
        }
        scalar => Ok(scalar.to_string().into()),
    }
}

/// Keys as arguments, or as one array.
fn keys_arg<'a>(args: &'a [Arg<'_>]) -> Eval<Vec<&'a str>> {
    let mut keys = Vec::new();
    for arg in args {
        match arg.value()? {
            Value::String(key) => keys.push(&**key),
            Value::Array(items) => {
                for item in items.iter() {
                    keys.push(item.as_str().ok_or_else(|| fault("TYPE_MISMATCH", "keys are text"))?);
                }
            }
            other => return Err(fault("TYPE_MISMATCH", format!("keys are text, not {}", other.type_name()))),
        }
    }
    Ok(keys)
}
