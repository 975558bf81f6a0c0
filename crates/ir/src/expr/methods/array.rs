//! The methods of arrays.
//!
//! Lambdas get an element and its index, except that of `reduce`, which gets what was made so far before them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::evaluate::{Arg, Eval, Evaluator, Function, fault, truth};
use super::super::operators;
use super::{Method, count_arg, int_arg, place_at, search, slice_range, text_arg};
use crate::value::Value;

pub(super) static METHODS: [Method; 46] = [
    ("all", 1, 1),
    ("any", 0, 1),
    ("append", 1, usize::MAX),
    ("at", 1, 1),
    ("avg", 0, 1),
    ("chunk", 1, 1),
    ("compact", 0, 0),
    ("concat", 1, usize::MAX),
    ("contains", 1, 1),
    ("count", 0, 1),
    ("filter", 1, 1),
    ("find", 1, 1),
    ("find_index", 1, 1),
    ("first", 0, 0),
    ("flat_map", 1, 1),
    ("flatten", 0, 0),
    ("get", 1, 2),
    ("group_by", 1, 1),
    ("includes", 1, 1),
    ("index_of", 1, 1),
    ("is_empty", 0, 0),
    ("join", 0, 1),
    ("key_by", 1, 1),
    ("last", 0, 1),
    ("length", 0, 0),
    ("map", 1, 1),
    ("max", 0, 1),
    ("max_by", 1, 1),
    ("min", 0, 1),
    ("min_by", 1, 1),
    ("none", 1, 1),
    ("prepend", 1, usize::MAX),
    ("reduce", 1, 2),
    ("reverse", 0, 0),
    ("search", 1, 3),
    ("set", 2, 2),
    ("skip", 1, 1),
    ("slice", 1, 2),
    ("sort", 0, 1),
    ("sort_by", 1, 2),
    ("sum", 0, 1),
    ("take", 1, 1),
    ("to_object", 0, 0),
    ("unique", 0, 1),
    ("unique_by", 1, 1),
    ("zip", 1, 1),
];

type Items = Arc<Vec<Value>>;

pub(super) fn call(
    evaluator: &mut Evaluator<'_>,
    items: &Items,
    name: &str,
    args: &[Arg<'_>],
) -> Eval<Option<Value>> {
    Ok(Some(match (name, args) {
        ("length" | "count", []) => items.len().into(),
        ("is_empty", []) => items.is_empty().into(),
        ("any", []) => (!items.is_empty()).into(),
        ("first", []) => items.first().cloned().into(),
        ("last", []) => items.last().cloned().into(),
        ("at" | "get", [index]) => {
            place_at(items.len(), int_arg(index)?).and_then(|place| items.get(place)).cloned().into()
        }
        ("get", [index, default]) => {
            let found = place_at(items.len(), int_arg(index)?).and_then(|place| items.get(place));
            found.map_or_else(|| default.value().cloned(), |value| Ok(value.clone()))?
        }
        ("contains" | "includes", [item]) => {
            operators::contains(evaluator, &Value::Array(items.clone()), item.value()?)?.into()
        }
        ("index_of", [wanted]) => {
            let wanted = wanted.value()?;
            for (index, item) in items.iter().enumerate() {
                evaluator.work(1)?;
                if operators::equal(evaluator, item, wanted)? {
                    return Ok(Some(index.into()));
                }
            }
            Value::Null
        }
        _ => {
            // What follows looks at every element.
            evaluator.work(items.len() / 8)?;
            if let Some(value) = fold(evaluator, items, name, args)? {
                return Ok(Some(value));
            }
            return reshape(evaluator, items, name, args);
        }
    }))
}

/// The methods that ask all elements for one value.
fn fold(evaluator: &mut Evaluator<'_>, items: &Items, name: &str, args: &[Arg<'_>]) -> Eval<Option<Value>> {
    Ok(Some(match (name, args) {
        ("sum", by) if by.len() < 2 => {
            let values = mapped(evaluator, items, by)?;
            sum(evaluator, &values)?
        }
        ("avg", by) if by.len() < 2 => {
            if items.is_empty() {
                return Ok(Some(Value::Null));
            }
            let values = mapped(evaluator, items, by)?;
            let total = sum(evaluator, &values)?;
            operators::divide(&total, &values.len().into())?
        }
        ("min", by) if by.len() < 2 => extreme(evaluator, items, by, Ordering::Less)?.0,
        ("max", by) if by.len() < 2 => extreme(evaluator, items, by, Ordering::Greater)?.0,
        ("min_by", [_]) => extreme(evaluator, items, args, Ordering::Less)?.1,
        ("max_by", [_]) => extreme(evaluator, items, args, Ordering::Greater)?.1,
        ("reduce", [Arg::Function(function)]) => {
            let Some((first, rest)) = items.split_first() else { return Ok(Some(Value::Null)) };
            reduce(evaluator, function, first.clone(), rest, 1)?
        }
        (
            "reduce",
            [Arg::Function(function), Arg::Value(initial)] | [Arg::Value(initial), Arg::Function(function)],
        ) => reduce(evaluator, function, initial.clone(), items, 0)?,
        ("any", [function]) => position(evaluator, items, function, true)?.is_some().into(),
        ("none", [function]) => position(evaluator, items, function, true)?.is_none().into(),
        ("all", [function]) => position(evaluator, items, function, false)?.is_none().into(),
        ("find_index", [function]) => position(evaluator, items, function, true)?.into(),
        ("find", [function]) => {
            position(evaluator, items, function, true)?.and_then(|index| items.get(index)).cloned().into()
        }
        ("count", [Arg::Function(function)]) => {
            let mut count = 0_usize;
            for (index, item) in items.iter().enumerate() {
                count += usize::from(truth(&each(evaluator, function, item, index)?)?);
            }
            count.into()
        }
        ("count", [Arg::Value(wanted)]) => {
            let mut count = 0_usize;
            for item in items.iter() {
                evaluator.work(1)?;
                count += usize::from(operators::equal(evaluator, item, wanted)?);
            }
            count.into()
        }
        ("join", separator) if separator.len() < 2 => {
            join(evaluator, items, separator.first().map_or(Ok(", "), text_arg)?)?
        }
        _ => return Ok(None),
    }))
}

/// The methods that give another array, or an object.
fn reshape(
    evaluator: &mut Evaluator<'_>,
    items: &Items,
    name: &str,
    args: &[Arg<'_>],
) -> Eval<Option<Value>> {
    let part = |items: &[Value]| Ok(Some(Value::array(items.to_vec())));
    let new = match (name, args) {
        ("map", [_]) => Value::array(mapped(evaluator, items, args)?),
        ("filter", [function]) => return filtered(evaluator, items, function.function()?).map(Some),
        ("slice", [_] | [_, _]) => return part(&items[slice_range(items.len(), args)?]),
        ("take", [count]) => return part(&items[..count_arg(count)?.min(items.len())]),
        ("skip", [count]) => return part(&items[count_arg(count)?.min(items.len())..]),
        ("last", [count]) => return part(&items[items.len().saturating_sub(count_arg(count)?)..]),
        ("reverse", []) => return Ok(Some(Value::array(items.iter().rev().cloned().collect()))),
        ("compact", []) => {
            return Ok(Some(Value::array(items.iter().filter(|item| !item.is_null()).cloned().collect())));
        }
        ("sort", order) if order.len() < 2 => {
            return sorted(evaluator, items, items.to_vec(), order).map(Some);
        }
        ("sort_by", [_, order @ ..]) if order.len() < 2 => {
            let keys = mapped(evaluator, items, &args[..1])?;
            return sorted(evaluator, items, keys, order).map(Some);
        }
        ("unique", by) if by.len() < 2 => return unique(evaluator, items, by).map(Some),
        ("unique_by", [_]) => return unique(evaluator, items, args).map(Some),
        ("append", [_, ..]) => {
            let mut longer = items.to_vec();
            for arg in args {
                longer.push(arg.value()?.clone());
            }
            Value::array(longer)
        }
        ("prepend", [_, ..]) => {
            let mut longer = args.iter().map(|arg| arg.value().cloned()).collect::<Eval<Vec<_>>>()?;
            longer.extend(items.iter().cloned());
            Value::array(longer)
        }
        ("concat", [_, ..]) => {
            let mut longer = items.to_vec();
            for arg in args {
                longer.extend_from_slice(array_of(arg.value()?)?);
                evaluator.work(longer.len() / 8)?;
            }
            Value::array(longer)
        }
        ("set", [index, value]) => {
            let mut changed = items.to_vec();
            let index = int_arg(index)?;
            match place_at(changed.len(), index).and_then(|place| changed.get_mut(place)) {
                Some(item) => *item = value.value()?.clone(),
                None => return Err(fault("INDEX_OUT_OF_RANGE", format!("there is no element {index}"))),
            }
            Value::array(changed)
        }
        ("flatten", []) => flattened(evaluator, items)?,
        ("flat_map", [_]) => {
            let parts = mapped(evaluator, items, args)?;
            flattened(evaluator, &parts)?
        }
        ("zip", [other]) => {
            let pairs = items.iter().zip(array_of(other.value()?)?);
            Value::array(pairs.map(|(a, b)| Value::array(vec![a.clone(), b.clone()])).collect())
        }
        ("chunk", [size]) => {
            let size = count_arg(size)?;
            if size == 0 {
                return Err(fault("INVALID_VALUE", "chunks have at least one element"));
            }
            Value::array(items.chunks(size).map(|chunk| Value::array(chunk.to_vec())).collect())
        }
        ("group_by" | "key_by", [_]) => by_key(evaluator, items, args, name == "group_by")?,
        ("to_object", []) => to_object(items)?,
        ("search", [_, ..]) if args.len() <= 3 => {
            evaluator.built(Value::Array(items.clone()))?;
            let values = items.iter().enumerate().map(|(place, value)| (Value::from(place), value));
            search(evaluator, values, args)?
        }
        _ => return Ok(None),
    };
    evaluator.built(new).map(Some)
}

fn each(evaluator: &mut Evaluator<'_>, function: &Function<'_>, item: &Value, index: usize) -> Eval {
    evaluator.apply(function, &[item.clone(), index.into()])
}

/// What a lambda gives for each element; the elements where there is no lambda.
fn mapped(evaluator: &mut Evaluator<'_>, items: &[Value], by: &[Arg<'_>]) -> Eval<Vec<Value>> {
    let Some(function) = by.first() else { return Ok(items.to_vec()) };
    let function = function.function()?;
    items.iter().enumerate().map(|(index, item)| each(evaluator, function, item, index)).collect()
}

fn filtered(evaluator: &mut Evaluator<'_>, items: &[Value], function: &Function<'_>) -> Eval {
    let mut kept = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if truth(&each(evaluator, function, item, index)?)? {
            kept.push(item.clone());
        }
    }
    Ok(Value::array(kept))
}

fn reduce(
    evaluator: &mut Evaluator<'_>,
    function: &Function<'_>,
    initial: Value,
    items: &[Value],
    first: usize,
) -> Eval {
    items.iter().enumerate().try_fold(initial, |made, (index, item)| {
        evaluator.apply(function, &[made, item.clone(), (first + index).into()])
    })
}

/// The first place where a condition is as wanted.
fn position(
    evaluator: &mut Evaluator<'_>,
    items: &[Value],
    function: &Arg<'_>,
    wanted: bool,
) -> Eval<Option<usize>> {
    let function = function.function()?;
    for (index, item) in items.iter().enumerate() {
        if truth(&each(evaluator, function, item, index)?)? == wanted {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

fn sum(evaluator: &mut Evaluator<'_>, values: &[Value]) -> Eval {
    let mut total: Option<Value> = None;
    for value in values {
        if !matches!(value, Value::Int(_) | Value::Float(_) | Value::Money(_) | Value::Duration(_)) {
            return Err(fault("TYPE_MISMATCH", format!("a sum is of numbers, not of {}", value.type_name())));
        }
        total = Some(match total {
            None => value.clone(),
            Some(total) => operators::add(evaluator, &total, value)?,
        });
    }
    Ok(total.unwrap_or(Value::Int(0)))
}

/// The smallest or largest value, and the first element that has it; null for both where there are none.
fn extreme(
    evaluator: &mut Evaluator<'_>,
    items: &[Value],
    by: &[Arg<'_>],
    wanted: Ordering,
) -> Eval<(Value, Value)> {
    let keys = mapped(evaluator, items, by)?;
    let mut best: Option<(Value, Value)> = None;
    for (key, item) in keys.into_iter().zip(items) {
        if best.as_ref().is_none_or(|(known, _)| key.compare(known) == wanted) {
            best = Some((key, item.clone()));
        }
    }
    Ok(best.unwrap_or_default())
}

fn join(evaluator: &mut Evaluator<'_>, items: &[Value], separator: &str) -> Eval {
    let mut text = String::new();
    for (index, item) in items.iter().enumerate() {
        evaluator.built(item.clone())?;
        if index > 0 {
            text.push_str(separator);
        }
        let before = text.len();
        match item {
            Value::String(part) => text.push_str(part),
            other => text.push_str(&other.to_string()),
        }
        evaluator.grow(text.len() - before + separator.len())?;
    }
    Ok(Value::from(text))
}

/// The elements in the order of their keys; equal ones stay in theirs.
fn sorted(evaluator: &mut Evaluator<'_>, items: &[Value], keys: Vec<Value>, order: &[Arg<'_>]) -> Eval {
    let descending = match order.first().map_or(Ok("asc"), text_arg)? {
        "asc" => false,
        "desc" => true,
        _ => return Err(fault("INVALID_VALUE", "the order is `asc` or `desc`")),
    };
    evaluator.work(keys.len())?;
    let Value::Array(keys) = evaluator.built(Value::array(keys))? else { return Ok(Value::Null) };
    let mut pairs: Vec<(&Value, &Value)> = keys.iter().zip(items).collect();
    pairs.sort_by(|(a, _), (b, _)| if descending { b.compare(a) } else { a.compare(b) });
    Ok(Value::array(pairs.into_iter().map(|(_, item)| item.clone()).collect()))
}

/// A value in the language's own order.
struct Ordered(Value);

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.compare(&other.0)
    }
}

/// The first element of each value, or of each key.
fn unique(evaluator: &mut Evaluator<'_>, items: &[Value], by: &[Arg<'_>]) -> Eval {
    let keys = mapped(evaluator, items, by)?;
    evaluator.work(keys.len())?;
    let Value::Array(keys) = evaluator.built(Value::array(keys))? else { return Ok(Value::Null) };
    let mut seen = BTreeSet::new();
    let kept = keys.iter().zip(items).filter(|(key, _)| seen.insert(Ordered((*key).clone())));
    Ok(Value::array(kept.map(|(_, item)| item.clone()).collect()))
}

/// Elements by the text of a key: all of them, or the last of each.
fn by_key(evaluator: &mut Evaluator<'_>, items: &[Value], by: &[Arg<'_>], all: bool) -> Eval {
    let keys = mapped(evaluator, items, by)?;
    let mut groups: BTreeMap<Arc<str>, Vec<Value>> = BTreeMap::new();
    for (key, item) in keys.into_iter().zip(items) {
        let key: Arc<str> = match key {
            Value::String(text) => text,
            Value::Array(_) | Value::Object(_) => {
                return Err(fault("TYPE_MISMATCH", format!("{} is no key", key.type_name())));
            }
            scalar => scalar.to_string().into(),
        };
        let group = groups.entry(key).or_default();
        if !all {
            group.clear();
        }
        group.push(item.clone());
    }
    let value =
        |mut group: Vec<Value>| if all { Value::array(group) } else { group.pop().unwrap_or_default() };
    Ok(Value::object(groups.into_iter().map(|(key, group)| (key, value(group))).collect()))
}

/// Entries `{key, value}` or pairs `[key, value]` as an object.
fn to_object(items: &[Value]) -> Eval {
    let mut fields = BTreeMap::new();
    for item in items {
        let (key, value) = match item {
            Value::Object(entry) => (entry.get("key"), entry.get("value")),
            Value::Array(pair) => (pair.first(), pair.get(1)),
            _ => (None, None),
        };
        let (Some(Value::String(key)), value) = (key, value) else {
            return Err(fault("INVALID_VALUE", "an object is made of entries `{key, value}` or pairs"));
        };
        fields.insert(key.clone(), value.cloned().unwrap_or_default());
    }
    Ok(Value::object(fields))
}

/// The elements of elements; those that are no arrays as they are.
fn flattened(evaluator: &mut Evaluator<'_>, items: &[Value]) -> Eval {
    let mut flat = Vec::new();
    for item in items {
        match item {
            Value::Array(inner) => {
                // Parts may be shared, so their number says nothing yet about the whole.
                evaluator.work(1 + inner.len() / 8)?;
                evaluator.grow(inner.len() * size_of::<Value>())?;
                flat.extend(inner.iter().cloned());
            }
            other => flat.push(other.clone()),
        }
    }
    Ok(Value::array(flat))
}

fn array_of(value: &Value) -> Eval<&[Value]> {
    value
        .as_array()
        .ok_or_else(|| fault("TYPE_MISMATCH", format!("an array is expected, not {}", value.type_name())))
}
