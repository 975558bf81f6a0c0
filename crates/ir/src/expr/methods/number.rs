//! The methods of numbers: ints, floats and money.

use rust_decimal::{Decimal, RoundingStrategy};

use super::super::evaluate::{Arg, Eval, fault};
use super::super::{functions, operators};
use super::{Method, int_arg};
use crate::value::{Value, whole};

pub(super) static METHODS: [Method; 17] = [
    ("abs", 0, 0),
    ("ceil", 0, 0),
    ("clamp", 2, 2),
    ("div", 1, 1),
    ("floor", 0, 0),
    ("is_even", 0, 0),
    ("is_odd", 0, 0),
    ("max", 1, 1),
    ("min", 1, 1),
    ("pow", 1, 1),
    ("round", 0, 1),
    ("sign", 0, 0),
    ("sqrt", 0, 0),
    ("to_fixed", 1, 1),
    ("to_float", 0, 0),
    ("to_int", 0, 0),
    ("to_money", 0, 0),
];

/// The most digits after the point that rounding knows.
const MAX_DIGITS: u32 = 28;

pub(super) fn call(value: &Value, name: &str, args: &[Arg<'_>]) -> Eval<Option<Value>> {
    Ok(Some(match (name, args) {
        ("abs", []) => match value {
            Value::Int(int) => Value::Int(int.checked_abs().ok_or_else(operators::overflow)?),
            Value::Float(float) => Value::Float(float.abs()),
            Value::Money(amount) => Value::Money(amount.abs()),
            _ => return Ok(None),
        },
        ("sign", []) => Value::Int(value.compare(&Value::Int(0)) as i64),
        ("round", []) => to_whole(value, Towards::Nearest)?,
        ("floor", []) => to_whole(value, Towards::Down)?,
        ("ceil", []) => to_whole(value, Towards::Up)?,
        ("round", [digits]) => rounded(value, digits_arg(digits)?)?,
        ("to_fixed", [digits]) => fixed(value, digits_arg(digits)?)?,
        ("min", [other]) => nearer(value, other.value()?, true)?,
        ("max", [other]) => nearer(value, other.value()?, false)?,
        ("clamp", [low, high]) => {
            let (low, high) = (low.value()?, high.value()?);
            if order(low, high)?.is_gt() {
                return Err(fault("INVALID_VALUE", "the lower bound is above the upper one"));
            }
            nearer(&nearer(value, low, false)?, high, true)?
        }
        ("pow", [exponent]) => power(value, exponent.value()?)?,
        ("div", [divisor]) => quotient(value, divisor.value()?)?,
        ("sqrt", []) => match functions::float(value)? {
            Value::Float(float) if float >= 0.0 => Value::Float(float.sqrt()),
            _ => return Err(fault("INVALID_VALUE", "a negative number has no square root")),
        },
        ("is_even", []) => Value::Bool(int(value)? % 2 == 0),
        ("is_odd", []) => Value::Bool(int(value)? % 2 != 0),
        ("to_int", []) => functions::int(value)?,
        ("to_float", []) => functions::float(value)?,
        ("to_money", []) => functions::money(value)?,
        _ => return Ok(None),
    }))
}

fn int(value: &Value) -> Eval<i64> {
    value
        .as_int()
        .ok_or_else(|| fault("TYPE_MISMATCH", format!("an int is expected, not {}", value.type_name())))
}

fn digits_arg(arg: &Arg<'_>) -> Eval<u32> {
    let int = int_arg(arg)?;
    u32::try_from(int).ok().filter(|digits| *digits <= MAX_DIGITS).ok_or_else(|| {
        fault("INVALID_VALUE", format!("digits after the point are 0 to {MAX_DIGITS}, not {int}"))
    })
}

fn order(a: &Value, b: &Value) -> Eval<std::cmp::Ordering> {
    a.compare_numbers(b).ok_or_else(|| fault("TYPE_MISMATCH", "a number is expected"))
}

fn nearer(a: &Value, b: &Value, smaller: bool) -> Eval {
    let keep = if smaller { order(a, b)?.is_le() } else { order(a, b)?.is_ge() };
    Ok(if keep { a.clone() } else { b.clone() })
}

#[derive(Clone, Copy)]
enum Towards {
    Nearest,
    Down,
    Up,
}

/// Without a fraction: ints of ints and floats, money of money. Halves go away from zero.
fn to_whole(value: &Value, towards: Towards) -> Eval {
    Ok(match value {
        Value::Float(float) => {
            let rounded = match towards {
                Towards::Nearest => float.round(),
                Towards::Down => float.floor(),
                Towards::Up => float.ceil(),
            };
            Value::Int(whole(rounded).ok_or_else(operators::overflow)?)
        }
        Value::Money(amount) => Value::Money(match towards {
            Towards::Nearest => amount.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero),
            Towards::Down => amount.floor(),
            Towards::Up => amount.ceil(),
        }),
        other => other.clone(),
    })
}

fn round_decimal(amount: Decimal, digits: u32) -> Decimal {
    amount.round_dp_with_strategy(digits, RoundingStrategy::MidpointAwayFromZero)
}

fn rounded(value: &Value, digits: u32) -> Eval {
    match value {
        Value::Money(amount) => Ok(Value::Money(round_decimal(*amount, digits))),
        // Rounded as it is written, so that 1.005 becomes 1.01; floats beyond decimals have no fraction.
        Value::Float(_) => match operators::decimal(value) {
            Some(amount) => functions::float(&Value::Money(round_decimal(amount, digits))),
            None => Ok(value.clone()),
        },
        other => Ok(other.clone()),
    }
}

/// Text with exactly so many digits after the point.
fn fixed(value: &Value, digits: u32) -> Eval {
    let amount = operators::decimal(value).ok_or_else(operators::overflow)?;
    let amount = round_decimal(amount, digits);
    Ok(Value::from(format!("{amount:.digits$}", digits = digits as usize)))
}

fn power(base: &Value, exponent: &Value) -> Eval {
    match (base, exponent) {
        (Value::Int(base), Value::Int(exponent)) if *exponent >= 0 => {
            // Beyond 64 only 0, 1 and -1 have powers that fit, and theirs depend on the parity alone.
            let small = if *exponent > 64 { 64 + exponent % 2 } else { *exponent };
            let small = u32::try_from(small).map_err(|_| operators::overflow())?;
            base.checked_pow(small).map(Value::Int).ok_or_else(operators::overflow)
        }
        (Value::Money(base), Value::Int(exponent)) => {
            if base.is_zero() && *exponent < 0 {
                return Err(operators::division_by_zero());
            }
            let times = exponent.unsigned_abs();
            if times > 10_000 {
                return Err(fault("INVALID_VALUE", "powers of money have exponents of at most 10000"));
            }
            let power = (0..times).try_fold(Decimal::ONE, |power, _| power.checked_mul(*base));
            let power =
                if *exponent < 0 { power.and_then(|power| Decimal::ONE.checked_div(power)) } else { power };
            power.map(Value::Money).ok_or_else(operators::overflow)
        }
        _ => match (base.as_float(), exponent.as_float()) {
            (Some(base), Some(exponent)) => operators::float(base.powf(exponent)),
            _ => Err(fault("TYPE_MISMATCH", "powers are of ints, floats, and money with an int")),
        },
    }
}

/// How many times one number goes into another, without a fraction.
fn quotient(dividend: &Value, divisor: &Value) -> Eval {
    match (dividend, divisor) {
        (Value::Int(_), Value::Int(0)) => Err(operators::division_by_zero()),
        (Value::Int(a), Value::Int(b)) => a.checked_div(*b).map(Value::Int).ok_or_else(operators::overflow),
        _ => match operators::divide(dividend, divisor)? {
            Value::Float(float) => Ok(Value::Int(whole(float.trunc()).ok_or_else(operators::overflow)?)),
            Value::Money(amount) => functions::int(&Value::Money(amount)),
            other => Err(fault("TYPE_MISMATCH", format!("numbers are divided, not {}", other.type_name()))),
        },
    }
}
