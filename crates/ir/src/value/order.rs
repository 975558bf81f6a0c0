//! The language's equality, and one total order over all values.

use std::cmp::Ordering;

use rust_decimal::Decimal;

use super::{Value, text};

impl Value {
    /// Whether the language holds them equal: numbers by what they amount to, whatever their type; values of
    /// different types never, otherwise.
    pub fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Array(a), Self::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.equals(b))
            }
            (Self::Object(a), Self::Object(b)) => {
                a.len() == b.len()
                    && a.iter().zip(b.iter()).all(|((name, a), (other, b))| name == other && a.equals(b))
            }
            _ => self.compare(other) == Ordering::Equal,
        }
    }

    /// A total order: null, bools, numbers, texts, dates, instants, durations, arrays, objects; within each by
    /// value. Consistent with [`Value::equals`].
    pub fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b))
            | (Self::Datetime(a), Self::Datetime(b))
            | (Self::Duration(a), Self::Duration(b)) => a.cmp(b),
            (Self::String(a), Self::String(b)) => a.cmp(b),
            (Self::Date(a), Self::Date(b)) => a.cmp(b),
            (Self::Array(a), Self::Array(b)) => {
                for (a, b) in a.iter().zip(b.iter()) {
                    let order = a.compare(b);
                    if order != Ordering::Equal {
                        return order;
                    }
                }
                a.len().cmp(&b.len())
            }
            (Self::Object(a), Self::Object(b)) => {
                for ((name, a), (other, b)) in a.iter().zip(b.iter()) {
                    let order = name.cmp(other).then_with(|| a.compare(b));
                    if order != Ordering::Equal {
                        return order;
                    }
                }
                a.len().cmp(&b.len())
            }
            _ => self.compare_numbers(other).unwrap_or_else(|| self.rank().cmp(&other.rank())),
        }
    }

    /// The order of two numbers; none where one of them is no number.
    pub fn compare_numbers(&self, other: &Self) -> Option<Ordering> {
        Some(match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => floats(*a, *b),
            (Self::Money(a), Self::Money(b)) => a.cmp(b),
            (Self::Int(a), Self::Float(b)) => int_float(*a, *b),
            (Self::Float(a), Self::Int(b)) => int_float(*b, *a).reverse(),
            (Self::Int(a), Self::Money(b)) => Decimal::from(*a).cmp(b),
            (Self::Money(a), Self::Int(b)) => a.cmp(&Decimal::from(*b)),
            (Self::Money(a), Self::Float(b)) => money_float(*a, *b),
            (Self::Float(a), Self::Money(b)) => money_float(*b, *a).reverse(),
            _ => return None,
        })
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Int(_) | Self::Float(_) | Self::Money(_) => 2,
            Self::String(_) => 3,
            Self::Date(_) => 4,
            Self::Datetime(_) => 5,
            Self::Duration(_) => 6,
            Self::Array(_) => 7,
            Self::Object(_) => 8,
        }
    }
}

fn floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.total_cmp(&b))
}

// The order of numbers of different types must be transitive, or sorting breaks. Each number stands for a
// pair: its nearest double, then its exact decimal (a double's being the one its shortest notation writes).
// Both parts are monotone, so comparing pairs is a total order, and equal means equal in both.

#[expect(clippy::cast_precision_loss, reason = "the nearest double is the first key")]
fn int_float(int: i64, float: f64) -> Ordering {
    floats(int as f64, float).then_with(|| {
        // Equal as doubles, so the float is whole and at most 2^63: exact as an i128.
        #[expect(clippy::cast_possible_truncation, reason = "whole and at most 2^63")]
        i128::from(int).cmp(&(float as i128))
    })
}

fn money_float(money: Decimal, float: f64) -> Ordering {
    let nearest: f64 = money.to_string().parse().unwrap_or(0.0);
    floats(nearest, float)
        .then_with(|| text::money_of_float(float).map_or(Ordering::Equal, |decimal| money.cmp(&decimal)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(text: &str) -> Value {
        Value::Money(text.parse().unwrap())
    }

    #[test]
    fn numbers_are_equal_by_what_they_amount_to() {
        assert!(Value::Int(3).equals(&Value::Float(3.0)));
        assert!(Value::Float(0.1).equals(&money("0.10")));
        assert!(Value::Int(12).equals(&money("12.00")));
        assert!(!Value::Int(9_007_199_254_740_993).equals(&Value::Float(9_007_199_254_740_992.0)));
        assert!(!Value::Int(i64::MAX).equals(&Value::Float(9_223_372_036_854_775_808.0)));
        assert!(!Value::from("3").equals(&Value::Int(3)));
        assert!(Value::Float(-0.0).equals(&Value::Int(0)));
    }

    #[test]
    fn the_order_is_total_even_where_doubles_are_coarse() {
        let numbers = [
            Value::Float(-1e300),
            Value::Int(i64::MIN),
            Value::Float(1e-40),
            money("0.0000000000000000000000000001"),
            money("0"),
            Value::Int(0),
            Value::Float(0.1),
            money("0.1"),
            money("0.1000000000000000000000000001"),
            Value::Int(9_007_199_254_740_993),
            Value::Float(9_007_199_254_740_992.0),
            money("9007199254740993"),
            Value::Int(i64::MAX),
            Value::Float(9_223_372_036_854_775_808.0),
            Value::Float(1e300),
        ];
        for a in &numbers {
            for b in &numbers {
                assert_eq!(a.compare(b), b.compare(a).reverse(), "{a:?} {b:?}");
                for c in &numbers {
                    if a.compare(b) != Ordering::Greater && b.compare(c) != Ordering::Greater {
                        assert_ne!(a.compare(c), Ordering::Greater, "{a:?} {b:?} {c:?}");
                    }
                }
            }
        }
    }
}
