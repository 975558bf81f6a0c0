//! The functions of the language.
//!
//! A conversion that cannot be made is an error here; the `to_…` methods of text give null instead.

use rust_decimal::prelude::ToPrimitive as _;

use super::evaluate::{Arg, Eval, Evaluator, Halt, fault};
use super::questions::Question;
use super::{methods, operators};
use crate::types::Type;
use crate::value::{Value, text, whole};

/// Every function, with how many arguments it takes at least and at most.
static FUNCTIONS: [(&str, usize, usize); 31] = [
    ("abs", 1, 1),
    ("bool", 1, 1),
    ("ceil", 1, 1),
    ("coalesce", 1, usize::MAX),
    ("conforms", 2, 2),
    ("date", 1, 3),
    ("datetime", 1, 1),
    ("duration", 1, 1),
    ("entries", 1, 1),
    ("float", 1, 1),
    ("floor", 1, 1),
    ("hash", 1, 1),
    ("int", 1, 1),
    ("json", 1, 1),
    ("keys", 1, 1),
    ("length", 1, 1),
    ("max", 1, usize::MAX),
    ("merge", 2, 2),
    ("min", 1, usize::MAX),
    ("money", 1, 1),
    ("now", 0, 0),
    ("parse_json", 1, 1),
    ("random", 0, 0),
    ("range", 1, 3),
    ("round", 1, 2),
    ("string", 1, 1),
    ("sum", 1, 1),
    ("today", 0, 0),
    ("type_of", 1, 1),
    ("uuid", 0, 0),
    ("values", 1, 1),
];

/// Whether the language has a function of that name.
pub fn is_function(name: &str) -> bool {
    function_arity(name).is_some()
}

/// How many arguments a function takes at least and at most; none where there is no such function.
pub fn function_arity(name: &str) -> Option<(usize, usize)> {
    FUNCTIONS.iter().find(|(known, ..)| *known == name).map(|(_, least, most)| (*least, *most))
}

/// The names of all functions, in order.
pub fn functions() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|(name, ..)| *name)
}

/// The value of a function for its arguments.
pub(super) fn call(evaluator: &mut Evaluator<'_>, name: &str, args: &[Arg<'_>]) -> Eval {
    match (name, args) {
        ("now", []) => evaluator.ask(|| Question::Now),
        ("today", []) => match evaluator.ask(|| Question::Now)? {
            Value::Datetime(micros) => Ok(Value::Date(text::to_offset_datetime(micros).date())),
            other => Err(mismatch("a datetime", &other)),
        },
        ("uuid", []) => evaluator.ask(|| Question::Uuid),
        ("random", []) => evaluator.ask(|| Question::Random),
        ("json", [value]) => json(evaluator, value.value()?),
        ("parse_json", [text]) => parse_json(evaluator, text.value()?),
        ("hash", [value]) => hash(evaluator, value.value()?),
        ("string", [value]) => string(evaluator, value.value()?),
        ("int", [value]) => int(value.value()?),
        ("float", [value]) => float(value.value()?),
        ("bool", [value]) => bool(value.value()?),
        ("money", [value]) => money(value.value()?),
        ("date", [value]) => date(value.value()?),
        ("date", [year, month, day]) => civil(year.value()?, month.value()?, day.value()?),
        ("datetime", [value]) => datetime(value.value()?),
        ("duration", [value]) => duration(value.value()?),
        ("type_of", [value]) => Ok(Value::from(value.value()?.type_name())),
        ("conforms", [value, ty]) => conforms(evaluator, value.value()?, ty.value()?),
        ("range", [end]) => range(evaluator, &Value::Int(0), end.value()?, &Value::Int(1)),
        ("range", [start, end]) => range(evaluator, start.value()?, end.value()?, &Value::Int(1)),
        ("range", [start, end, step]) => range(evaluator, start.value()?, end.value()?, step.value()?),
        ("coalesce", [_, ..]) => {
            for arg in args {
                if !arg.value()?.is_null() {
                    return arg.value().cloned();
                }
            }
            Ok(Value::Null)
        }
        ("min" | "max", [_, _, ..]) => {
            let values = args.iter().map(|arg| arg.value().cloned()).collect::<Eval<Vec<_>>>()?;
            methods::call(evaluator, &Value::array(values), name, &[])
        }
        (
            "abs" | "ceil" | "entries" | "floor" | "keys" | "length" | "max" | "merge" | "min" | "round"
            | "sum" | "values",
            [value, rest @ ..],
        ) => methods::call(evaluator, value.value()?, name, rest),
        _ => match function_arity(name) {
            Some(_) => {
                Err(fault("WRONG_ARGUMENTS", format!("`{name}` does not take {} arguments", args.len())))
            }
            None => Err(fault("NO_SUCH_FUNCTION", format!("there is no function `{name}`"))),
        },
    }
}

fn mismatch(expected: &str, found: &Value) -> Halt {
    fault("TYPE_MISMATCH", format!("{expected} is expected, not {}", found.type_name()))
}

fn invalid(value: &Value, what: &str) -> Halt {
    fault("INVALID_VALUE", format!("{} cannot be read as {what}", value.type_name()))
}

/// Text of JSON, fields in the order of their names.
pub(super) fn json(evaluator: &mut Evaluator<'_>, value: &Value) -> Eval {
    evaluator.built(value.clone())?;
    let text = value.to_json().to_string();
    evaluator.grow(text.len())?;
    Ok(Value::from(text))
}

pub(super) fn parse_json(evaluator: &mut Evaluator<'_>, value: &Value) -> Eval {
    let text = value.as_str().ok_or_else(|| mismatch("text of JSON", value))?;
    evaluator.grow(text.len())?;
    evaluator.work(text.len() / 16)?;
    let json: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| fault("INVALID_VALUE", format!("this is no JSON: {error}")))?;
    evaluator.built(Value::from_json(&json))
}

/// SHA-256 of the value's JSON, in lower-case hexadecimal.
pub(super) fn hash(evaluator: &mut Evaluator<'_>, value: &Value) -> Eval {
    evaluator.built(value.clone())?;
    Ok(Value::from(value.sha256()))
}

pub(super) fn string(evaluator: &mut Evaluator<'_>, value: &Value) -> Eval {
    if let Value::String(_) = value {
        return Ok(value.clone());
    }
    evaluator.built(value.clone())?;
    let text = value.to_string();
    evaluator.grow(text.len())?;
    Ok(Value::from(text))
}

pub(super) fn int(value: &Value) -> Eval {
    match value {
        Value::Int(_) => Ok(value.clone()),
        Value::Float(float) => whole(float.trunc()).map(Value::Int).ok_or_else(operators::overflow),
        Value::Money(amount) => amount.trunc().to_i64().map(Value::Int).ok_or_else(operators::overflow),
        Value::String(text) => text.trim().parse().map(Value::Int).map_err(|_| invalid(value, "an int")),
        other => Err(mismatch("a number or text", other)),
    }
}

pub(super) fn float(value: &Value) -> Eval {
    match value {
        Value::Int(_) | Value::Float(_) => Ok(value.as_float().map_or(Value::Null, Value::Float)),
        Value::Money(amount) => amount.to_f64().map(Value::Float).ok_or_else(|| invalid(value, "a float")),
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(float) if float.is_finite() => Ok(Value::Float(float)),
            _ => Err(invalid(value, "a float")),
        },
        other => Err(mismatch("a number or text", other)),
    }
}

pub(super) fn bool(value: &Value) -> Eval {
    match value {
        Value::Bool(_) => Ok(value.clone()),
        Value::String(text) if &**text == "true" => Ok(Value::Bool(true)),
        Value::String(text) if &**text == "false" => Ok(Value::Bool(false)),
        Value::String(_) => Err(invalid(value, "a bool")),
        other => Err(mismatch("a bool or text", other)),
    }
}

pub(super) fn money(value: &Value) -> Eval {
    match value {
        Value::String(text) => {
            text::parse_money(text.trim()).map(Value::Money).ok_or_else(|| invalid(value, "money"))
        }
        Value::Int(_) | Value::Float(_) | Value::Money(_) => {
            operators::decimal(value).map(Value::Money).ok_or_else(operators::overflow)
        }
        other => Err(mismatch("a number or text", other)),
    }
}

pub(super) fn date(value: &Value) -> Eval {
    match value {
        Value::Date(_) => Ok(value.clone()),
        Value::Datetime(micros) => Ok(Value::Date(text::to_offset_datetime(*micros).date())),
        Value::String(text) => {
            text::parse_date(text.trim()).map(Value::Date).ok_or_else(|| invalid(value, "a date"))
        }
        other => Err(mismatch("a datetime or text", other)),
    }
}

fn civil(year: &Value, month: &Value, day: &Value) -> Eval {
    let date = || {
        let year = i32::try_from(year.as_int()?).ok().filter(|year| *year >= 0)?;
        let month = time::Month::try_from(u8::try_from(month.as_int()?).ok()?).ok()?;
        time::Date::from_calendar_date(year, month, u8::try_from(day.as_int()?).ok()?).ok()
    };
    date().map(Value::Date).ok_or_else(|| fault("INVALID_VALUE", "there is no such day"))
}

pub(super) fn datetime(value: &Value) -> Eval {
    match value {
        Value::Datetime(_) => Ok(value.clone()),
        Value::Date(date) => Ok(Value::Datetime(text::midnight(*date))),
        Value::Int(seconds) => {
            let micros = seconds.checked_mul(text::SECOND).ok_or_else(operators::date_out_of_range)?;
            operators::moved(micros, 0)
        }
        Value::String(text) => text::parse_datetime(text.trim())
            .map(Value::Datetime)
            .ok_or_else(|| invalid(value, "a date-time (RFC 3339, with an offset)")),
        other => Err(mismatch("a date, seconds since 1970, or text", other)),
    }
}

pub(super) fn duration(value: &Value) -> Eval {
    match value {
        Value::Duration(_) => Ok(value.clone()),
        Value::Int(seconds) => {
            seconds.checked_mul(text::SECOND).map(Value::Duration).ok_or_else(operators::overflow)
        }
        Value::String(text) => text::parse_duration(text.trim())
            .map(Value::Duration)
            .ok_or_else(|| invalid(value, "a duration such as `1h30m`")),
        other => Err(mismatch("seconds or text", other)),
    }
}

/// Whether a value is of a type, given as text; named types are those of the module.
fn conforms(evaluator: &mut Evaluator<'_>, value: &Value, ty: &Value) -> Eval {
    let text = ty.as_str().ok_or_else(|| mismatch("the text of a type", ty))?;
    let ty =
        Type::parse(text).map_err(|error| fault("INVALID_VALUE", format!("this is no type: {error}")))?;
    evaluator.built(value.clone())?;
    Ok(Value::Bool(ty.admit(value.clone(), evaluator.scope.types()).is_ok()))
}

fn range(evaluator: &mut Evaluator<'_>, start: &Value, end: &Value, step: &Value) -> Eval {
    let int = |value: &Value| value.as_int().ok_or_else(|| mismatch("an int", value));
    let (start, end, step) = (int(start)?, int(end)?, int(step)?);
    if step == 0 {
        return Err(fault("INVALID_VALUE", "a range needs a step other than 0"));
    }
    let mut items = Vec::new();
    let mut next = start;
    while if step > 0 { next < end } else { next > end } {
        evaluator.work(1)?;
        evaluator.grow(size_of::<Value>())?;
        items.push(Value::Int(next));
        match next.checked_add(step) {
            Some(following) => next = following,
            None => break,
        }
    }
    Ok(Value::array(items))
}
