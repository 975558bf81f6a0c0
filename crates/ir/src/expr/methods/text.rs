//! The methods of text. Places and lengths count characters (Unicode scalar values), not bytes.

use std::sync::Arc;

use super::super::evaluate::{Arg, Eval, Evaluator, fault};
use super::super::functions;
use super::{Method, count_arg, int_arg, or_null, place_at, slice_range, text_arg};
use crate::value::Value;

pub(super) static METHODS: [Method; 39] = [
    ("at", 1, 1),
    ("capitalize", 0, 0),
    ("chars", 0, 0),
    ("concat", 1, usize::MAX),
    ("contains", 1, 1),
    ("count", 1, 1),
    ("ends_with", 1, 1),
    ("includes", 1, 1),
    ("index_of", 1, 1),
    ("is_empty", 0, 0),
    ("length", 0, 0),
    ("lines", 0, 0),
    ("lower", 0, 0),
    ("matches", 1, 1),
    ("pad_end", 1, 2),
    ("pad_start", 1, 2),
    ("parse_json", 0, 0),
    ("repeat", 1, 1),
    ("replace", 2, 2),
    ("replace_first", 2, 2),
    ("reverse", 0, 0),
    ("slice", 1, 2),
    ("split", 1, 1),
    ("starts_with", 1, 1),
    ("to_bool", 0, 0),
    ("to_date", 0, 0),
    ("to_datetime", 0, 0),
    ("to_duration", 0, 0),
    ("to_float", 0, 0),
    ("to_int", 0, 0),
    ("to_lower", 0, 0),
    ("to_money", 0, 0),
    ("to_upper", 0, 0),
    ("trim", 0, 0),
    ("trim_end", 0, 0),
    ("trim_start", 0, 0),
    ("upper", 0, 0),
    ("words", 0, 0),
    ("last_index_of", 1, 1),
];

pub(super) fn call(
    evaluator: &mut Evaluator<'_>,
    text: &Arc<str>,
    name: &str,
    args: &[Arg<'_>],
) -> Eval<Option<Value>> {
    evaluator.work(text.len() / 64)?;
    Ok(Some(match (name, args) {
        ("length", []) => text.chars().count().into(),
        ("is_empty", []) => text.is_empty().into(),
        ("contains" | "includes", [part]) => text.contains(text_arg(part)?).into(),
        ("starts_with", [part]) => text.starts_with(text_arg(part)?).into(),
        ("ends_with", [part]) => text.ends_with(text_arg(part)?).into(),
        ("index_of", [part]) => text.find(text_arg(part)?).map(|at| text[..at].chars().count()).into(),
        ("last_index_of", [part]) => text.rfind(text_arg(part)?).map(|at| text[..at].chars().count()).into(),
        ("count", [part]) => text.matches(text_arg(part)?).count().into(),
        ("matches", [pattern]) => matches(evaluator, text, text_arg(pattern)?)?.into(),
        ("at", [index]) => {
            let index = int_arg(index)?;
            let place = place_at(text.chars().count(), index);
            place.and_then(|place| text.chars().nth(place)).map(String::from).into()
        }
        ("to_int", []) => or_null(functions::int(&Value::String(text.clone())))?,
        ("to_float", []) => or_null(functions::float(&Value::String(text.clone())))?,
        ("to_bool", []) => or_null(functions::bool(&Value::String(text.clone())))?,
        ("to_money", []) => or_null(functions::money(&Value::String(text.clone())))?,
        ("to_date", []) => or_null(functions::date(&Value::String(text.clone())))?,
        ("to_datetime", []) => or_null(functions::datetime(&Value::String(text.clone())))?,
        ("to_duration", []) => or_null(functions::duration(&Value::String(text.clone())))?,
        ("parse_json", []) => functions::parse_json(evaluator, &Value::String(text.clone()))?,
        _ => return reshape(evaluator, text, name, args),
    }))
}

/// The methods that give text, or an array of texts.
fn reshape(
    evaluator: &mut Evaluator<'_>,
    text: &Arc<str>,
    name: &str,
    args: &[Arg<'_>],
) -> Eval<Option<Value>> {
    let new = match (name, args) {
        ("lower" | "to_lower", []) => text.to_lowercase(),
        ("upper" | "to_upper", []) => text.to_uppercase(),
        ("capitalize", []) => {
            let mut rest = text.chars();
            let first: String = rest.next().into_iter().flat_map(char::to_uppercase).collect();
            first + rest.as_str()
        }
        ("trim", []) => return Ok(Some(part(text, text.trim()))),
        ("trim_start", []) => return Ok(Some(part(text, text.trim_start()))),
        ("trim_end", []) => return Ok(Some(part(text, text.trim_end()))),
        ("reverse", []) => text.chars().rev().collect(),
        ("slice", [_] | [_, _]) => {
            let range = slice_range(text.chars().count(), args)?;
            text.chars().skip(range.start).take(range.len()).collect()
        }
        ("replace", [from, to]) => {
            let (from, to) = (text_arg(from)?, text_arg(to)?);
            evaluator.grow(text.matches(from).count().saturating_mul(to.len()))?;
            text.replace(from, to)
        }
        ("replace_first", [from, to]) => text.replacen(text_arg(from)?, text_arg(to)?, 1),
        ("repeat", [count]) => {
            let count = count_arg(count)?;
            evaluator.grow(text.len().saturating_mul(count))?;
            text.repeat(count)
        }
        ("pad_start", [length, fill @ ..]) if fill.len() < 2 => {
            padding(evaluator, text, length, fill)? + text
        }
        ("pad_end", [length, fill @ ..]) if fill.len() < 2 => {
            let padding = padding(evaluator, text, length, fill)?;
            text.as_ref().to_owned() + &padding
        }
        ("concat", [_, ..]) => {
            let mut joined = text.as_ref().to_owned();
            for arg in args {
                let part = text_arg(arg)?;
                evaluator.grow(part.len())?;
                joined.push_str(part);
            }
            joined
        }
        ("split", [separator]) => {
            let separator = text_arg(separator)?;
            return if separator.is_empty() {
                pieces(evaluator, text.split("").filter(|piece| !piece.is_empty()))
            } else {
                pieces(evaluator, text.split(separator))
            };
        }
        ("chars", []) => return pieces(evaluator, text.split("").filter(|piece| !piece.is_empty())),
        ("lines", []) => return pieces(evaluator, text.lines()),
        ("words", []) => return pieces(evaluator, text.split_whitespace()),
        _ => return Ok(None),
    };
    evaluator.grow(new.len())?;
    Ok(Some(Value::from(new)))
}

/// A part of a text; the text itself where that is all of it.
fn part(whole: &Arc<str>, part: &str) -> Value {
    if part.len() == whole.len() { Value::String(whole.clone()) } else { Value::from(part) }
}

fn pieces<'t>(evaluator: &mut Evaluator<'_>, pieces: impl Iterator<Item = &'t str>) -> Eval<Option<Value>> {
    let mut items = Vec::new();
    for piece in pieces {
        evaluator.work(1)?;
        evaluator.grow(piece.len() + size_of::<Value>())?;
        items.push(Value::from(piece));
    }
    Ok(Some(Value::array(items)))
}

fn padding(evaluator: &mut Evaluator<'_>, text: &str, length: &Arg<'_>, fill: &[Arg<'_>]) -> Eval<String> {
    let missing = count_arg(length)?.saturating_sub(text.chars().count());
    let fill = fill.first().map_or(Ok(" "), text_arg)?;
    if fill.is_empty() {
        return Err(fault("INVALID_VALUE", "the text to fill with is empty"));
    }
    evaluator.grow(missing.saturating_mul(4))?;
    Ok(fill.chars().cycle().take(missing).collect())
}

/// Whether all of a text fits a pattern in which `*` stands for any characters and `?` for one.
fn matches(evaluator: &mut Evaluator<'_>, text: &str, pattern: &str) -> Eval<bool> {
    let text: Vec<char> = text.chars().collect();
    let pattern: Vec<char> = pattern.chars().collect();
    let (mut at, mut wanted) = (0, 0);
    // The last `*`, and where the text it stands for ends at present.
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        evaluator.work(1)?;
        match pattern.get(wanted) {
            Some('*') => {
                star = Some((wanted, at));
                wanted += 1;
            }
            Some(character) if *character == '?' || *character == text[at] => {
                at += 1;
                wanted += 1;
            }
            _ => match &mut star {
                Some((place, end)) => {
                    *end += 1;
                    at = *end;
                    wanted = *place + 1;
                }
                None => return Ok(false),
            },
        }
    }
    Ok(pattern[wanted..].iter().all(|character| *character == '*'))
}
