//! Events by name: which a trigger hears.

use scaigrid_ir::expr::{self, Expr};
use serde_json::{Value, json};

use super::Fields;

/// The most characters of a pattern.
const PATTERN_AT_MOST: usize = 200;
/// The most characters of a filter.
const FILTER_AT_MOST: usize = 2_000;

/// The names of events that a trigger hears: `*` stands for any characters, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Whether a name is one of them.
    pub fn fits(&self, name: &str) -> bool {
        fits(&self.0, name)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a name fits a pattern, in a time that is bounded by the product of their lengths.
pub fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        // The earliest place leaves the most to what comes after.
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// Which events a trigger hears.
#[derive(Debug, Clone, PartialEq)]
pub struct EventFilter {
    /// Their names.
    pub pattern: Pattern,
    /// Heard only where this is true, as it was written and as it is computed; `event` and `data` are in scope.
    pub filter: Option<(Value, Expr)>,
}

impl EventFilter {
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let pattern = fields.required("event").filter(|text| {
            let good =
                (1..=PATTERN_AT_MOST).contains(&text.chars().count()) && !text.chars().any(char::is_control);
            if !good {
                fields.problem("event", format!("must have 1 to {PATTERN_AT_MOST} characters"));
            }
            good
        });
        let filter = match fields.get("filter") {
            None => None,
            Some(written) => match filter(written) {
                Ok(filter) => Some((written.clone(), filter)),
                Err(problem) => {
                    fields.problem("filter", problem);
                    return None;
                }
            },
        };
        pattern.map(|pattern| Self { pattern: Pattern(pattern.into()), filter })
    }

    pub(super) fn declared(event: &str, filter: Option<&Expr>) -> Self {
        let filter = filter.map(|filter| (expr::to_json(filter), filter.clone()));
        Self { pattern: Pattern(event.into()), filter }
    }

    pub(super) fn config(&self) -> Value {
        json!({"event": self.pattern.0, "filter": self.filter.as_ref().map(|(written, _)| written)})
    }
}

/// An expression that can be computed from an event alone.
fn filter(written: &Value) -> Result<Expr, String> {
    let filter = match written.as_str() {
        Some(text) if text.chars().count() > FILTER_AT_MOST => {
            return Err(format!("must be at most {FILTER_AT_MOST} characters long"));
        }
        Some(text) => expr::parse(text).map_err(|error| error.to_string())?,
        None => return Err("must be an expression, as a text".to_owned()),
    };
    if expr::is_nondeterministic(&filter) {
        return Err("must not ask for the time, or for chance".to_owned());
    }
    let strange = expr::free_names(&filter).into_iter().find(|name| !matches!(*name, "event" | "data"));
    if let Some(name) = strange {
        return Err(format!("names {name}: only event and data are there"));
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name) in [
            ("order.created", "order.created"),
            ("order.*", "order.created"),
            ("order.*", "order."),
            ("*", ""),
            ("*", "anything"),
            ("*.created", "order.created"),
            ("a*b*c", "abc"),
            ("a*b*c", "aXbYbZc"),
            ("**", "x"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("order.created", "order.createdx"),
            ("order.*", "orders.created"),
            ("*.created", "order.created.late"),
            ("a*b*c", "acb"),
            ("ab*ba", "aba"),
            ("", "x"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_fits_what_it_was_made_from(parts in prop::collection::vec("[ab.]{0,4}", 1..5), fill in "[ab.]{0,3}") {
            prop_assert!(fits(&parts.join("*"), &parts.join(&fill)));
        }

        #[test]
        fn no_text_is_too_strange(pattern in ".{0,30}", name in ".{0,30}") {
            fits(&pattern, &name);
        }
    }
}
