//! What a Core may use at most. The map is in a free form; what is enforced of it must be as it is read, for a limit that nobody
//! understands holds nobody back.

use scaigrid_catalog::budget::Limit;
use scaigrid_ir::near::nearest;
use serde_json::{Map, Value};

use crate::FieldProblem;

/// Limits that are counts.
const COUNTS: [&str; 2] = ["max_queued_executions", "monthly_tokens"];
/// The limit that is an amount, in the currency of the catalogue's prices.
const COST: &str = "monthly_cost";

/// What is wrong with limits that somebody has written. A limit that is null is none.
pub(crate) fn problems(limits: &Map<String, Value>) -> Vec<FieldProblem> {
    let problem = |(name, value): (&String, &Value)| {
        let message = match name.as_str() {
            _ if value.is_null() => return None,
            known if COUNTS.contains(&known) => {
                (!value.is_u64()).then(|| "must be a whole number, at least 0".to_owned())
            }
            COST => Limit::amount(value).is_none().then(|| "must be a decimal number, at least 0".to_owned()),
            unknown => nearest(unknown, COUNTS.into_iter().chain([COST]))
                .map(|meant| format!("is no limit; did you mean {meant:?}?")),
        };
        message.map(|message| FieldProblem::new(format!("resource_limits.{name}"), message))
    };
    limits.iter().filter_map(problem).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(limits: &Value) -> Vec<String> {
        let found = problems(limits.as_object().unwrap());
        found.into_iter().map(|problem| format!("{} {}", problem.field, problem.message)).collect()
    }

    #[test]
    fn limits_that_are_enforced_are_understood() {
        let good = json!({"monthly_tokens": 5, "monthly_cost": "12.50", "max_queued_executions": 0, "cpu": "2 cores"});
        assert!(found(&good).is_empty());
        assert!(found(&json!({"monthly_cost": 12.5, "monthly_tokens": null})).is_empty());
        for bad in [
            json!({"monthly_tokens": "5"}),
            json!({"monthly_tokens": -5}),
            json!({"monthly_cost": "12,50"}),
            json!({"monthly_cost": "."}),
            json!({"monthly_cost": 1e300}),
            json!({"monthly_cost": "9".repeat(40)}),
            json!({"monthly_cost": -1}),
            json!({"max_queued_executions": 1.5}),
        ] {
            assert_eq!(found(&bad).len(), 1, "{bad}");
        }
        let slip = found(&json!({"monthly_tokns": 5}));
        assert_eq!(slip, [r#"resource_limits.monthly_tokns is no limit; did you mean "monthly_tokens"?"#]);
    }
}
