//! The language, as its users see it.

mod laws;
mod library;
mod questions;
mod semantics;
mod syntax;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{EvalError, Limits, Scope, Stop, evaluate, parse};
use crate::types::Type;
use crate::value::Value;

/// Variables for tests.
#[derive(Default)]
struct Variables {
    values: BTreeMap<Arc<str>, Value>,
    types: BTreeMap<Arc<str>, Type>,
}

impl Variables {
    fn with(mut self, name: &str, text: &str) -> Self {
        let value = self.eval(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        self.values.insert(name.into(), value);
        self
    }

    fn usual() -> Self {
        let mut variables = Self::default()
            .with("n", "null")
            .with("i", "7")
            .with("s", "'héllo wörld'")
            .with("xs", "[3, 1, 2]")
            .with(
                "lines",
                "[{label: 'a', amount: 5, tags: ['x']}, {label: 'b', amount: 7, tags: ['x', 'y']}]",
            )
            .with("o", "{b: 2, a: 1, c: {d: null}}")
            .with("day", "2026-01-31")
            .with("at", "2026-01-31T10:20:30.250Z")
            .with("price", "money('12.50')");
        variables.types.insert("Line".into(), Type::parse("{label: string, amount: int}").unwrap());
        variables
    }

    fn eval(&self, text: &str) -> Result<Value, EvalError> {
        let expr = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        match evaluate(&expr, self, &[], &Limits::default()) {
            Ok(value) => Ok(value),
            Err(Stop::Error(error)) => Err(error),
            Err(Stop::Asks(question)) => panic!("{text} asks {question:?}"),
        }
    }
}

impl Scope for Variables {
    fn lookup(&self, name: &str) -> Option<Value> {
        self.values.get(name).cloned()
    }

    fn types(&self) -> &BTreeMap<Arc<str>, Type> {
        &self.types
    }
}

/// Each text must have the value of the other, in type as well.
fn check(cases: &[(&str, &str)]) {
    let variables = Variables::usual();
    for (text, expected) in cases {
        let expected = variables.eval(expected).unwrap_or_else(|error| panic!("{expected}: {error}"));
        assert_eq!(variables.eval(text), Ok(expected), "{text}");
    }
}

/// Each text must fail with the code.
fn check_errors(cases: &[(&str, &str)]) {
    let variables = Variables::usual();
    for (text, code) in cases {
        match variables.eval(text) {
            Ok(value) => panic!("{text} is {value}"),
            Err(error) => assert_eq!(&*error.code, *code, "{text}: {error}"),
        }
    }
}
