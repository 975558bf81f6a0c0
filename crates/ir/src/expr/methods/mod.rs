//! The methods of values, by the value's type.
//!
//! Values never change: what "modifies" one gives a new one. Arguments that make no sense are errors; what is
//! merely not found is null.

mod array;
mod moment;
mod number;
mod object;
mod text;

use super::evaluate::{Arg, Eval, Evaluator, Halt, fault};
use super::options::SearchOptions;
use super::{Stop, functions};
use crate::search::Search;
use crate::value::Value;

/// A method's name, and how many arguments it takes at least and at most.
pub(super) type Method = (&'static str, usize, usize);

/// The methods that every value has.
static UNIVERSAL: [Method; 4] = [("hash", 0, 0), ("json", 0, 0), ("to_string", 0, 0), ("type_of", 0, 0)];

/// The methods without arguments that may also be read like fields: `lines.length`.
static PROPERTIES: [&str; 18] = [
    "day",
    "days",
    "first",
    "hour",
    "hours",
    "is_empty",
    "last",
    "length",
    "millisecond",
    "milliseconds",
    "minute",
    "minutes",
    "month",
    "second",
    "seconds",
    "unix",
    "weekday",
    "year",
];

/// The methods by type: string, array, object, number, date, datetime, duration; and those of all.
pub(super) fn tables() -> [&'static [Method]; 8] {
    [
        &text::METHODS,
        &array::METHODS,
        &object::METHODS,
        &number::METHODS,
        &moment::DATE,
        &moment::DATETIME,
        &moment::DURATION,
        &UNIVERSAL,
    ]
}

/// Whether values of some type, or persistent variables, have a method of that name.
pub fn is_method(name: &str) -> bool {
    name == "list" || tables().into_iter().flatten().any(|(known, ..)| *known == name)
}

/// The names of all methods, some of them more than once.
pub fn methods() -> impl Iterator<Item = &'static str> {
    tables().into_iter().flatten().map(|(name, ..)| *name).chain(["list"])
}

/// Whether a method may be read like a field.
pub fn is_property(name: &str) -> bool {
    PROPERTIES.contains(&name)
}

fn methods_of(value: &Value) -> &'static [Method] {
    match value {
        Value::Null | Value::Bool(_) => &[],
        Value::Int(_) | Value::Float(_) | Value::Money(_) => &number::METHODS,
        Value::String(_) => &text::METHODS,
        Value::Date(_) => &moment::DATE,
        Value::Datetime(_) => &moment::DATETIME,
        Value::Duration(_) => &moment::DURATION,
        Value::Array(_) => &array::METHODS,
        Value::Object(_) => &object::METHODS,
    }
}

/// `value.name`, where the value is no object.
pub(super) fn property(evaluator: &mut Evaluator<'_>, value: &Value, name: &str) -> Eval {
    if is_property(name) && methods_of(value).iter().any(|(known, ..)| *known == name) {
        return call(evaluator, value, name, &[]);
    }
    let known = methods_of(value).iter().chain(&UNIVERSAL).any(|(known, ..)| *known == name);
    let hint = if known { format!("; the method is called as `{name}(…)`") } else { String::new() };
    Err(fault("NO_SUCH_MEMBER", format!("{} has no field `{name}`{hint}", value.type_name())))
}

/// `value.name(args)`.
pub(super) fn call(evaluator: &mut Evaluator<'_>, value: &Value, name: &str, args: &[Arg<'_>]) -> Eval {
    evaluator.work(1)?;
    match (name, args) {
        ("to_string", []) => return functions::string(evaluator, value),
        ("json", []) => return functions::json(evaluator, value),
        ("hash", []) => return functions::hash(evaluator, value),
        ("type_of", []) => return Ok(Value::from(value.type_name())),
        _ => {}
    }
    let answer = match value {
        Value::Null => {
            return Err(fault(
                "NULL_MEMBER",
                format!("there is no `{name}` of null; `?.{name}(…)` gives null"),
            ));
        }
        Value::Bool(_) => None,
        Value::Int(_) | Value::Float(_) | Value::Money(_) => number::call(value, name, args)?,
        Value::String(text) => text::call(evaluator, text, name, args)?,
        Value::Date(date) => moment::date(*date, name, args)?,
        Value::Datetime(micros) => moment::datetime(*micros, name, args)?,
        Value::Duration(micros) => moment::duration(*micros, name, args)?,
        Value::Array(items) => array::call(evaluator, items, name, args)?,
        Value::Object(fields) => object::call(evaluator, fields, name, args)?,
    };
    answer.ok_or_else(|| unfit(value, name, args.len()))
}

/// The value has no such method, or not with so many arguments.
#[cold]
fn unfit(value: &Value, name: &str, given: usize) -> Halt {
    match methods_of(value).iter().chain(&UNIVERSAL).find(|(known, ..)| *known == name) {
        Some((_, least, most)) => {
            let takes = match (*least, *most) {
                (least, usize::MAX) => format!("at least {least}"),
                (least, most) if least == most => least.to_string(),
                (least, most) => format!("{least} to {most}"),
            };
            fault("WRONG_ARGUMENTS", format!("`{name}` takes {takes} arguments, not {given}"))
        }
        None => fault("NO_SUCH_METHOD", format!("{} has no method `{name}`", value.type_name())),
    }
}

/// A text argument.
fn text_arg<'a>(arg: &'a Arg<'_>) -> Eval<&'a str> {
    let value = arg.value()?;
    value
        .as_str()
        .ok_or_else(|| fault("TYPE_MISMATCH", format!("text is expected, not {}", value.type_name())))
}

/// An int argument.
fn int_arg(arg: &Arg<'_>) -> Eval<i64> {
    let value = arg.value()?;
    value
        .as_int()
        .ok_or_else(|| fault("TYPE_MISMATCH", format!("an int is expected, not {}", value.type_name())))
}

/// A count argument: an int that is not negative.
fn count_arg(arg: &Arg<'_>) -> Eval<usize> {
    let int = int_arg(arg)?;
    usize::try_from(int).map_err(|_| fault("INVALID_VALUE", format!("a count is not negative: {int}")))
}

/// The range that `slice(start, end)` means among a number of elements: negative places count from the end,
/// and places beyond either end are that end.
fn slice_range(length: usize, args: &[Arg<'_>]) -> Eval<std::ops::Range<usize>> {
    let place = |arg: &Arg<'_>| -> Eval<usize> {
        let int = int_arg(arg)?;
        let distance = usize::try_from(int.unsigned_abs()).unwrap_or(usize::MAX);
        Ok(if int < 0 { length.saturating_sub(distance) } else { distance.min(length) })
    };
    let start = args.first().map_or(Ok(0), place)?;
    let end = args.get(1).map_or(Ok(length), place)?;
    Ok(start..end.max(start))
}

/// The place that `at(index)` means; none beyond the ends.
fn place_at(length: usize, index: i64) -> Option<usize> {
    let distance = usize::try_from(index.unsigned_abs()).ok()?;
    let place = if index < 0 { length.checked_sub(distance)? } else { distance };
    (place < length).then_some(place)
}

/// What a failed conversion gives in a method: null for what cannot be read, the error for all else.
fn or_null(converted: Eval) -> Eval {
    match converted {
        Err(halt) => match halt.into_stop() {
            Stop::Error(error) if matches!(&*error.code, "INVALID_VALUE" | "INTEGER_OVERFLOW") => {
                Ok(Value::Null)
            }
            other => Err(other.into()),
        },
        converted => converted,
    }
}

/// The best of a number of values for a query: `{key, value, similarity}` of each.
fn search<'v>(
    evaluator: &mut Evaluator<'_>,
    values: impl Iterator<Item = (Value, &'v Value)> + Clone,
    args: &[Arg<'_>],
) -> Eval {
    let SearchOptions { query, limit, min_similarity } = SearchOptions::new(args)?;
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut search = Search::new(&query);
    for (key, value) in values.clone() {
        // Every word is looked at; a step does more than that for one.
        evaluator.work(1 + value.approximate_size() / 32)?;
        search.add_value(key.as_str(), value);
    }
    let values: Vec<(Value, &Value)> = values.collect();
    let found = search.finish(limit, min_similarity.unwrap_or(0.0)).into_iter().filter_map(|found| {
        let (key, value) = values.get(found.place)?;
        Some(Value::from([
            ("key", key.clone()),
            ("value", (*value).clone()),
            ("similarity", Value::Float(found.similarity)),
        ]))
    });
    Ok(Value::array(found.collect()))
}
