//! What operators do with values.

use rust_decimal::Decimal;

use super::BinaryOp;
use super::evaluate::{Eval, Evaluator, Halt, fault};
use crate::value::Value;
use crate::value::text::{self, DAY};

/// `-x`.
pub(super) fn negate(value: &Value) -> Eval {
    match value {
        Value::Int(int) => int.checked_neg().map(Value::Int).ok_or_else(overflow),
        Value::Float(float) => Ok(Value::Float(-float)),
        Value::Money(amount) => Ok(Value::Money(-*amount)),
        Value::Duration(micros) => micros.checked_neg().map(Value::Duration).ok_or_else(overflow),
        other => Err(fault("TYPE_MISMATCH", format!("`-` does not apply to {}", other.type_name()))),
    }
}

/// An operator whose operands are both evaluated.
pub(super) fn binary(evaluator: &mut Evaluator<'_>, op: BinaryOp, left: &Value, right: &Value) -> Eval {
    match op {
        BinaryOp::Eq => equal(evaluator, left, right).map(Value::Bool),
        BinaryOp::Ne => equal(evaluator, left, right).map(|equal| Value::Bool(!equal)),
        BinaryOp::Lt => ordered(op, left, right).map(|order| Value::Bool(order.is_lt())),
        BinaryOp::Le => ordered(op, left, right).map(|order| Value::Bool(order.is_le())),
        BinaryOp::Gt => ordered(op, left, right).map(|order| Value::Bool(order.is_gt())),
        BinaryOp::Ge => ordered(op, left, right).map(|order| Value::Bool(order.is_ge())),
        BinaryOp::In => contains(evaluator, right, left).map(Value::Bool),
        BinaryOp::Add => add(evaluator, left, right),
        BinaryOp::Sub => subtract(left, right),
        BinaryOp::Mul => multiply(left, right),
        BinaryOp::Div => divide(left, right),
        BinaryOp::Rem => remainder(left, right),
        // The evaluator decides these by the left operand.
        BinaryOp::And | BinaryOp::Or | BinaryOp::Coalesce => Err(mismatch(op, left, right)),
    }
}

/// `object[index]`.
pub(super) fn index(object: &Value, index: &Value) -> Eval {
    match object {
        Value::Array(items) => {
            let place = place(index)?;
            let found = usize::try_from(place).ok().and_then(|place| items.get(place));
            found.cloned().ok_or_else(|| out_of_range(place, items.len()))
        }
        Value::String(text) => {
            let place = place(index)?;
            let found = usize::try_from(place).ok().and_then(|place| text.chars().nth(place));
            found
                .map(|character| Value::from(character.encode_utf8(&mut [0; 4]) as &str))
                .ok_or_else(|| out_of_range(place, text.chars().count()))
        }
        Value::Object(fields) => match index {
            Value::String(key) => Ok(fields.get(key).cloned().unwrap_or_default()),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                Err(fault("TYPE_MISMATCH", format!("{} is no key", index.type_name())))
            }
            scalar => Ok(fields.get(scalar.to_string().as_str()).cloned().unwrap_or_default()),
        },
        Value::Null => Err(fault("NULL_MEMBER", "there is no element of null; `?.[…]` gives null instead")),
        other => Err(fault("TYPE_MISMATCH", format!("{} has no elements", other.type_name()))),
    }
}

fn place(index: &Value) -> Eval<i64> {
    index
        .as_int()
        .ok_or_else(|| fault("TYPE_MISMATCH", format!("an index is an int, not {}", index.type_name())))
}

#[cold]
fn out_of_range(place: i64, length: usize) -> Halt {
    fault("INDEX_OUT_OF_RANGE", format!("there is no element {place} among {length}"))
}

/// Whether two values are equal; comparing large ones is work.
pub(super) fn equal(evaluator: &mut Evaluator<'_>, left: &Value, right: &Value) -> Eval<bool> {
    if let (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) = (left, right) {
        evaluator.built(left.clone())?;
    }
    Ok(left.equals(right))
}

/// The order of two values that have one.
fn ordered(op: BinaryOp, left: &Value, right: &Value) -> Eval<std::cmp::Ordering> {
    match (left, right) {
        (Value::String(_), Value::String(_))
        | (Value::Date(_), Value::Date(_))
        | (Value::Datetime(_), Value::Datetime(_))
        | (Value::Duration(_), Value::Duration(_)) => Ok(left.compare(right)),
        _ => left.compare_numbers(right).ok_or_else(|| mismatch(op, left, right)),
    }
}

/// `item in container`.
pub(super) fn contains(evaluator: &mut Evaluator<'_>, container: &Value, item: &Value) -> Eval<bool> {
    match (container, item) {
        (Value::Array(items), _) => {
            evaluator.work(items.len())?;
            for candidate in items.iter() {
                if equal(evaluator, candidate, item)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        (Value::Object(fields), Value::String(key)) => Ok(fields.contains_key(key)),
        (Value::String(text), Value::String(part)) => {
            evaluator.work(text.len() / 64)?;
            Ok(text.contains(&**part))
        }
        _ => Err(mismatch(BinaryOp::In, item, container)),
    }
}

/// `left + right`.
pub(super) fn add(evaluator: &mut Evaluator<'_>, left: &Value, right: &Value) -> Eval {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => a.checked_add(*b).map(Value::Int).ok_or_else(overflow),
        (Value::String(a), Value::String(b)) => {
            evaluator.grow(a.len() + b.len())?;
            Ok(Value::String([&**a, &**b].concat().into()))
        }
        (Value::Array(a), Value::Array(b)) => {
            evaluator.work((a.len() + b.len()) / 8)?;
            let mut items = Vec::with_capacity(a.len() + b.len());
            items.extend(a.iter().cloned());
            items.extend(b.iter().cloned());
            evaluator.built(Value::array(items))
        }
        (Value::Duration(a), Value::Duration(b)) => {
            a.checked_add(*b).map(Value::Duration).ok_or_else(overflow)
        }
        (Value::Datetime(a), Value::Duration(b)) | (Value::Duration(b), Value::Datetime(a)) => moved(*a, *b),
        (Value::Date(a), Value::Duration(b)) | (Value::Duration(b), Value::Date(a)) => moved_date(*a, *b),
        _ => match numbers(left, right) {
            Some(Numbers::Floats(a, b)) => float(a + b),
            Some(Numbers::Money(a, b)) => a.checked_add(b).map(Value::Money).ok_or_else(overflow),
            _ if left.as_str().or(right.as_str()).is_some() => {
                let (left, right) = (left.type_name(), right.type_name());
                let message = format!("`+` does not join {left} and {right}; a template in backquotes does");
                Err(fault("TYPE_MISMATCH", message))
            }
            _ => Err(mismatch(BinaryOp::Add, left, right)),
        },
    }
}

/// `left - right`.
pub(super) fn subtract(left: &Value, right: &Value) -> Eval {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => a.checked_sub(*b).map(Value::Int).ok_or_else(overflow),
        (Value::Duration(a), Value::Duration(b)) | (Value::Datetime(a), Value::Datetime(b)) => {
            a.checked_sub(*b).map(Value::Duration).ok_or_else(overflow)
        }
        (Value::Datetime(a), Value::Duration(b)) => moved(*a, b.checked_neg().ok_or_else(overflow)?),
        (Value::Date(a), Value::Duration(b)) => moved_date(*a, b.checked_neg().ok_or_else(overflow)?),
        (Value::Date(a), Value::Date(b)) => {
            // Ten thousand years of days fit by far.
            Ok(Value::Duration(i64::from(a.to_julian_day() - b.to_julian_day()) * DAY))
        }
        _ => match numbers(left, right) {
            Some(Numbers::Floats(a, b)) => float(a - b),
            Some(Numbers::Money(a, b)) => a.checked_sub(b).map(Value::Money).ok_or_else(overflow),
            _ => Err(mismatch(BinaryOp::Sub, left, right)),
        },
    }
}

fn multiply(left: &Value, right: &Value) -> Eval {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => a.checked_mul(*b).map(Value::Int).ok_or_else(overflow),
        (Value::Duration(a), Value::Int(b)) | (Value::Int(b), Value::Duration(a)) => {
            a.checked_mul(*b).map(Value::Duration).ok_or_else(overflow)
        }
        (Value::Duration(a), Value::Float(b)) | (Value::Float(b), Value::Duration(a)) => scaled(*a, *b),
        _ => match numbers(left, right) {
            Some(Numbers::Floats(a, b)) => float(a * b),
            Some(Numbers::Money(a, b)) => a.checked_mul(b).map(Value::Money).ok_or_else(overflow),
            _ => Err(mismatch(BinaryOp::Mul, left, right)),
        },
    }
}

#[expect(clippy::cast_precision_loss, reason = "the quotient of ints and of durations is a float")]
pub(super) fn divide(left: &Value, right: &Value) -> Eval {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) | (Value::Duration(a), Value::Duration(b)) => {
            if *b == 0 {
                return Err(division_by_zero());
            }
            float(*a as f64 / *b as f64)
        }
        (Value::Duration(a), Value::Int(b)) => {
            if *b == 0 {
                return Err(division_by_zero());
            }
            a.checked_div(*b).map(Value::Duration).ok_or_else(overflow)
        }
        (Value::Duration(a), Value::Float(b)) => {
            if *b == 0.0 {
                return Err(division_by_zero());
            }
            scaled(*a, 1.0 / b)
        }
        _ => match numbers(left, right) {
            Some(Numbers::Floats(_, 0.0)) => Err(division_by_zero()),
            Some(Numbers::Floats(a, b)) => float(a / b),
            Some(Numbers::Money(_, b)) if b.is_zero() => Err(division_by_zero()),
            Some(Numbers::Money(a, b)) => a.checked_div(b).map(Value::Money).ok_or_else(overflow),
            None => Err(mismatch(BinaryOp::Div, left, right)),
        },
    }
}

fn remainder(left: &Value, right: &Value) -> Eval {
    match (left, right) {
        (Value::Int(_), Value::Int(0)) | (Value::Duration(_), Value::Duration(0)) => Err(division_by_zero()),
        // The one overflow, of the smallest int by -1, has the remainder 0.
        (Value::Int(a), Value::Int(b)) => Ok(Value::Int(a.checked_rem(*b).unwrap_or(0))),
        (Value::Duration(a), Value::Duration(b)) => Ok(Value::Duration(a.checked_rem(*b).unwrap_or(0))),
        _ => match numbers(left, right) {
            Some(Numbers::Floats(_, 0.0)) => Err(division_by_zero()),
            Some(Numbers::Floats(a, b)) => float(a % b),
            Some(Numbers::Money(_, b)) if b.is_zero() => Err(division_by_zero()),
            Some(Numbers::Money(a, b)) => a.checked_rem(b).map(Value::Money).ok_or_else(overflow),
            None => Err(mismatch(BinaryOp::Rem, left, right)),
        },
    }
}

/// Two numbers of which at least one is no int, as the kind that both can be.
enum Numbers {
    Floats(f64, f64),
    Money(Decimal, Decimal),
}

fn numbers(left: &Value, right: &Value) -> Option<Numbers> {
    if let (Some(a), Some(b)) = (left.as_float(), right.as_float()) {
        return Some(Numbers::Floats(a, b));
    }
    // A float beside money is the decimal that it shows, so that `price * 0.19` is what it says.
    Some(Numbers::Money(decimal(left)?, decimal(right)?))
}

/// The exact amount of a number.
pub(super) fn decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::Int(int) => Some((*int).into()),
        Value::Float(float) => text::money_of_float(*float),
        Value::Money(amount) => Some(*amount),
        _ => None,
    }
}

/// A float, if it is one.
pub(super) fn float(float: f64) -> Eval {
    if float.is_finite() {
        Ok(Value::Float(float))
    } else {
        Err(fault("FLOAT_OVERFLOW", "the result is not a finite number"))
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "rounded to whole microseconds, and in range"
)]
fn scaled(micros: i64, factor: f64) -> Eval {
    let scaled = (micros as f64 * factor).round();
    if scaled.abs() < 9.2e18 { Ok(Value::Duration(scaled as i64)) } else { Err(overflow()) }
}

/// An instant moved by microseconds.
pub(super) fn moved(instant: i64, micros: i64) -> Eval {
    instant
        .checked_add(micros)
        .filter(|moved| (text::MIN_DATETIME..=text::MAX_DATETIME).contains(moved))
        .map(Value::Datetime)
        .ok_or_else(date_out_of_range)
}

/// A date moved by whole days.
pub(super) fn moved_date(date: time::Date, micros: i64) -> Eval {
    if micros % DAY != 0 {
        return Err(fault("TYPE_MISMATCH", "a date moves by whole days; `datetime(date)` moves by anything"));
    }
    i32::try_from(micros / DAY)
        .ok()
        .and_then(|days| date.to_julian_day().checked_add(days))
        .and_then(|day| time::Date::from_julian_day(day).ok())
        .filter(|date| date.year() >= 0)
        .map(Value::Date)
        .ok_or_else(date_out_of_range)
}

#[cold]
pub(super) fn date_out_of_range() -> Halt {
    fault("DATE_OUT_OF_RANGE", "dates go from the year 0 to the year 9999")
}

#[cold]
pub(super) fn overflow() -> Halt {
    fault("INTEGER_OVERFLOW", "the result does not fit into its type")
}

#[cold]
pub(super) fn division_by_zero() -> Halt {
    fault("DIVISION_BY_ZERO", "division by zero")
}

#[cold]
fn mismatch(op: BinaryOp, left: &Value, right: &Value) -> Halt {
    let message =
        format!("`{}` does not apply to {} and {}", op.symbol(), left.type_name(), right.type_name());
    fault("TYPE_MISMATCH", message)
}
