//! Budgets: reserved before the spend, settled after it.
//!
//! A call says what it will need: the tokens that it sends are known, those that it gets can be bounded. [`grant`] says how
//! many it may get so that no budget is exceeded even if everything that was granted so far is used up, or that there is
//! too little left for the call to make sense.

use rust_decimal::Decimal;
use scaigrid_scope::Instant;

use crate::price::{Price, cost, decimal};

/// What may be spent in a period. What is left out has no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limit {
    /// Tokens, read and written.
    pub tokens: Option<u64>,
    /// In the currency of the catalogue's prices.
    pub cost: Option<Decimal>,
}

impl Limit {
    /// Whether there is none.
    pub const fn is_none(&self) -> bool {
        self.tokens.is_none() && self.cost.is_none()
    }

    /// The limit that a Core's `resource_limits` name: `monthly_tokens` and `monthly_cost`. What cannot be read as such a
    /// number is none: the limits are in a free form.
    pub fn of_resource_limits(limits: &serde_json::Map<String, serde_json::Value>) -> Self {
        Self {
            tokens: limits.get("monthly_tokens").and_then(serde_json::Value::as_u64),
            cost: limits.get("monthly_cost").and_then(Self::amount),
        }
    }

    /// An amount as a number or as decimal text, `2.5e-3` included; none where it is negative, or no such number.
    pub fn amount(value: &serde_json::Value) -> Option<Decimal> {
        let amount = match value {
            serde_json::Value::String(text) => decimal(text),
            serde_json::Value::Number(number) => decimal(&number.to_string()),
            _ => None,
        };
        amount.filter(|amount| !amount.is_sign_negative())
    }
}

/// What has been spent, or is held back for calls that go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Tokens.
    pub tokens: u64,
    /// Cost.
    pub cost: Decimal,
}

impl Spent {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            cost: self.cost.checked_add(other.cost).unwrap_or(Decimal::MAX),
        }
    }

    /// This without a part of it.
    #[must_use]
    pub fn without(self, part: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_sub(part.tokens),
            cost: self.cost.checked_sub(part.cost).unwrap_or_default().max(Decimal::ZERO),
        }
    }
}

/// What a call will need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// The tokens that it sends, about.
    pub input_tokens: u64,
    /// The most that it wants to get.
    pub output_tokens: u64,
    /// What a million of the one cost.
    pub input_price: Option<Price>,
    /// And of the other.
    pub output_price: Option<Price>,
}

impl Need {
    fn held(&self, output_tokens: u64) -> Spent {
        Spent {
            tokens: self.input_tokens.saturating_add(output_tokens),
            cost: cost(self.input_price, self.output_price, self.input_tokens, output_tokens),
        }
    }
}

/// What a call may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The most tokens that it may get.
    pub output_tokens: u64,
    /// What is held back for it.
    pub held: Spent,
}

/// There is not enough left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the budget is used up")]
pub struct Exceeded;

/// What a call may do under all of some budgets, given what each has spent and holds back.
///
/// # Errors
/// [`Exceeded`] where not one token could be got.
pub fn grant(need: &Need, budgets: &[(Limit, Spent)]) -> Result<Grant, Exceeded> {
    let mut output = need.output_tokens;
    for (limit, spent) in budgets {
        if let Some(tokens) = limit.tokens {
            let left = tokens.saturating_sub(spent.tokens);
            output = output.min(left.checked_sub(need.input_tokens).ok_or(Exceeded)?);
        }
        if let Some(most) = limit.cost {
            let input = need.input_price.unwrap_or_default().of(need.input_tokens);
            let left = most.checked_sub(spent.cost).and_then(|left| left.checked_sub(input));
            let left = left.filter(|left| !left.is_sign_negative()).ok_or(Exceeded)?;
            // Once the whole budget is spent, what is free is not granted either.
            if spent.cost >= most {
                return Err(Exceeded);
            }
            if let Some(tokens) = need.output_price.and_then(|price| price.buys(left)) {
                output = output.min(tokens);
            }
        }
    }
    if output == 0 { Err(Exceeded) } else { Ok(Grant { output_tokens: output, held: need.held(output) }) }
}

/// The calendar month of an instant in UTC, as `2026-11`: what budgets are counted by.
pub fn month(at: Instant) -> String {
    let date = at.to_datetime();
    format!("{:04}-{:02}", date.year(), u8::from(date.month()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn need(input_tokens: u64, output_tokens: u64) -> Need {
        let price = |text: &str| Some(text.parse().unwrap());
        Need { input_tokens, output_tokens, input_price: price("1"), output_price: price("10") }
    }

    fn tokens(limit: u64, spent: u64) -> (Limit, Spent) {
        (Limit { tokens: Some(limit), cost: None }, Spent { tokens: spent, cost: Decimal::ZERO })
    }

    #[test]
    fn a_call_gets_what_is_left_of_every_budget() {
        let granted = |budgets: &[(Limit, Spent)]| grant(&need(10, 100), budgets).map(|it| it.output_tokens);
        assert_eq!(granted(&[]), Ok(100));
        assert_eq!(granted(&[tokens(1000, 0)]), Ok(100));
        assert_eq!(granted(&[tokens(1000, 950)]), Ok(40));
        assert_eq!(granted(&[tokens(1000, 950), tokens(20, 5)]), Ok(5));
        assert_eq!(granted(&[tokens(1000, 990)]), Err(Exceeded));
        assert_eq!(granted(&[tokens(1000, 2000)]), Err(Exceeded));
        let cost = |most: &str, spent: &str| {
            let limit = Limit { tokens: None, cost: decimal(most) };
            granted(&[(limit, Spent { tokens: 0, cost: decimal(spent).unwrap() })])
        };
        // Ten tokens cost 0.00001 to read, and one 0.00001 to write.
        assert_eq!(cost("1", "0"), Ok(100));
        assert_eq!(cost("0.00005", "0"), Ok(4));
        assert_eq!(cost("0.00005", "0.00004"), Err(Exceeded));
        assert_eq!(cost("0", "0"), Err(Exceeded));
    }

    #[test]
    fn limits_are_read_from_a_free_form() {
        let limit = |value: serde_json::Value| Limit::of_resource_limits(value.as_object().unwrap());
        let both = limit(json!({"monthly_tokens": 5, "monthly_cost": "0.5", "cpu": 1}));
        assert_eq!(both, Limit { tokens: Some(5), cost: decimal("0.5") });
        assert_eq!(limit(json!({"monthly_cost": 1.25})).cost, decimal("1.25"));
        assert!(limit(json!({"monthly_tokens": "many", "monthly_cost": -1})).is_none());
    }

    #[test]
    fn months_are_those_of_utc() {
        let month = |text: &str| month(Instant::parse(text).unwrap());
        assert_eq!(month("2026-11-30T23:59:59Z"), "2026-11");
        assert_eq!(month("2026-12-01T00:30:00+01:00"), "2026-11");
    }

    proptest! {
        /// However many calls are granted one after the other, and whatever they use of it, no budget is exceeded.
        #[test]
        fn no_budget_is_exceeded(
            limit_tokens in 0u64..5_000, limit_cost in 0i64..5_000,
            calls in prop::collection::vec((0u64..300, 1u64..300, 0u64..=100), 0..40),
        ) {
            let limit = Limit { tokens: Some(limit_tokens), cost: Some(Decimal::new(limit_cost, 6)) };
            let (mut spent, mut held) = (Spent::default(), Vec::new());
            for (input, output, percent) in calls {
                let all = held.iter().fold(spent, |all: Spent, one: &Grant| all.and(one.held));
                if let Ok(granted) = grant(&need(input, output), &[(limit, all)]) {
                    prop_assert!(granted.output_tokens <= output);
                    held.push(granted);
                }
                // Every now and then one ends, having used a part.
                if percent % 2 == 0 && let Some(ended) = held.pop() {
                    let used = ended.output_tokens * percent / 100;
                    let input = ended.held.tokens - ended.output_tokens;
                    spent = spent.and(need(input, 0).held(used));
                }
                let all = held.iter().fold(spent, |all, one| all.and(one.held));
                prop_assert!(all.tokens <= limit_tokens || held.is_empty() && spent == Spent::default());
                prop_assert!(all.cost <= Decimal::new(limit_cost, 6));
            }
        }
    }
}
