//! Prices and costs, as exact decimals.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde_json::Value;

/// The tokens that a price is for.
const PER: u64 = 1_000_000;

/// Why something is not a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a decimal number from 0 to 1000000 with at most 9 decimal places")]
pub struct InvalidPrice;

/// What a million tokens cost: 0 to 1 000 000, to nine decimal places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Price(Decimal);

impl Price {
    /// The most decimal places.
    pub const MAX_SCALE: u32 = 9;

    /// Checks a price.
    pub fn new(amount: Decimal) -> Result<Self, InvalidPrice> {
        let amount = amount.normalize();
        let good = !amount.is_sign_negative() || amount.is_zero();
        if good && amount <= Decimal::from(1_000_000) && amount.scale() <= Self::MAX_SCALE {
            Ok(Self(amount.abs()))
        } else {
            Err(InvalidPrice)
        }
    }

    /// Reads a price from JSON: a text, or a number.
    pub fn of_json(value: &Value) -> Result<Self, InvalidPrice> {
        match value {
            Value::String(text) => text.parse(),
            Value::Number(number) => decimal(&number.to_string()).ok_or(InvalidPrice).and_then(Self::new),
            _ => Err(InvalidPrice),
        }
    }

    /// The amount.
    pub const fn amount(self) -> Decimal {
        self.0
    }

    /// What so many tokens cost.
    pub fn of(self, tokens: u64) -> Decimal {
        let whole = self.0.checked_mul(Decimal::from(tokens)).unwrap_or(Decimal::MAX);
        whole.checked_div(Decimal::from(PER)).unwrap_or(Decimal::MAX).normalize()
    }

    /// How many tokens an amount buys; none where they are free.
    pub fn buys(self, amount: Decimal) -> Option<u64> {
        if self.0.is_zero() {
            return None;
        }
        let tokens = amount.checked_mul(Decimal::from(PER)).and_then(|all| all.checked_div(self.0));
        let tokens = tokens.map_or(Decimal::MAX, |tokens| tokens.floor());
        Some(u64::try_from(tokens.max(Decimal::ZERO)).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Price {
    type Err = InvalidPrice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        decimal(text).ok_or(InvalidPrice).and_then(Self::new)
    }
}

/// Reads a decimal number exactly, also `2.5e-3`; none where it is no such number, or longer than can be kept.
pub fn decimal(text: &str) -> Option<Decimal> {
    let scientific = || Decimal::from_scientific(text).ok();
    Decimal::from_str_exact(text).ok().or_else(scientific)
}

/// What a call costs. A price that is not known counts as none.
pub fn cost(input: Option<Price>, output: Option<Price>, input_tokens: u64, output_tokens: u64) -> Decimal {
    let input = input.unwrap_or_default().of(input_tokens);
    let output = output.unwrap_or_default().of(output_tokens);
    input.checked_add(output).unwrap_or(Decimal::MAX).normalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn price(text: &str) -> Price {
        text.parse().unwrap()
    }

    #[test]
    fn costs_are_exact() {
        let cost = cost(Some(price("2.50")), Some(price("10")), 1_234, 419);
        assert_eq!(cost.to_string(), "0.007275");
        assert_eq!(super::cost(None, Some(price("10")), 5, 1).to_string(), "0.00001");
        assert_eq!(super::cost(None, None, 5, 1), Decimal::ZERO);
        assert_eq!(price("0.000000001").of(1).to_string(), "0.000000000000001");
        assert_eq!(price("1000000").of(u64::MAX).to_string(), "18446744073709551615");
    }

    #[test]
    fn prices_are_read_from_texts_and_numbers() {
        for (value, text) in [
            (json!("2.50"), "2.5"),
            (json!(2.5), "2.5"),
            (json!(3), "3"),
            (json!("0"), "0"),
            (json!(1e-7), "0.0000001"),
        ] {
            assert_eq!(Price::of_json(&value).unwrap().to_string(), text);
        }
        for bad in [json!("-1"), json!("x"), json!(""), json!(null), json!(1_000_001), json!("0.0000000001")]
        {
            assert_eq!(Price::of_json(&bad), Err(InvalidPrice), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_an_amount_buys_costs_no_more(nanos in 1u64..1_000_000_000_000, amount in 0u64..1_000_000_000) {
            let price = Price::new(Decimal::new(i64::try_from(nanos).unwrap(), 9)).unwrap();
            let amount = Decimal::new(i64::try_from(amount).unwrap(), 6);
            let tokens = price.buys(amount).unwrap();
            prop_assert!(price.of(tokens) <= amount);
            prop_assert!(price.of(tokens + 1) > amount);
        }
    }
}
