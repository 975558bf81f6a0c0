//! A condition, as filters and `when` have them: evaluated for one order after the other.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use cel::{Context, Program};
use scaigrid_ir::expr::{self, Expr, Limits, Scope};
use scaigrid_ir::{Type, Value};

use super::Compute;

const OURS: &str = "order.total > limit && order.customer.level in [1, 2] && order.customer.name.starts_with('ad') \
                    && order.lines.any(l => l.amount * 2 > limit)";
const RHAI: &str = r#"order.total > limit && order.customer.level in [1, 2] && order.customer.name.starts_with("ad")
                      && order.lines.some(|l| l.amount * 2 > limit)"#;
const CEL: &str = "order.total > limit && order.customer.level in [1, 2] && order.customer.name.startsWith('ad') \
                   && order.lines.exists(l, l.amount * 2 > limit)";

/// The order, which all of them get as their own kind of value.
fn order() -> serde_json::Value {
    serde_json::json!({
        "total": 900,
        "customer": { "name": "ada", "level": 2 },
        "lines": [{ "amount": 40 }, { "amount": 300 }, { "amount": 450 }, { "amount": 110 }]
    })
}

/// What the total is compared with this time.
fn limit(number: u32) -> i64 {
    i64::from(number % 1_000)
}

/// How often a condition held, among so many times.
fn held(times: u32, mut holds: impl FnMut(u32) -> anyhow::Result<bool>) -> anyhow::Result<serde_json::Value> {
    let mut held = 0_u32;
    for number in 0..times {
        held += u32::from(holds(number)?);
    }
    Ok(held.into())
}

/// Our evaluator.
pub(super) struct Ours {
    condition: Expr,
    order: Value,
    limits: Limits,
    times: u32,
}

impl Ours {
    pub(super) fn new(times: u32) -> anyhow::Result<Self> {
        let condition = expr::parse(OURS).context("the condition")?;
        Ok(Self { condition, order: Value::from_json(&order()), limits: Limits::default(), times })
    }
}

/// What the condition sees.
struct Seen<'a> {
    order: &'a Value,
    limit: i64,
    types: &'a BTreeMap<Arc<str>, Type>,
}

impl Scope for Seen<'_> {
    fn lookup(&self, name: &str) -> Option<Value> {
        match name {
            "order" => Some(self.order.clone()),
            "limit" => Some(Value::Int(self.limit)),
            _ => None,
        }
    }

    fn types(&self) -> &BTreeMap<Arc<str>, Type> {
        self.types
    }
}

impl Compute for Ours {
    const BY: &'static str = "scaigrid";

    fn run(&mut self) -> anyhow::Result<serde_json::Value> {
        let types = BTreeMap::new();
        held(self.times, |number| {
            let seen = Seen { order: &self.order, limit: limit(number), types: &types };
            match expr::evaluate(&self.condition, &seen, &[], &self.limits)? {
                Value::Bool(holds) => Ok(holds),
                other => bail!("the condition came to {other}"),
            }
        })
    }
}

/// rhai.
pub(super) struct InRhai {
    engine: rhai::Engine,
    condition: rhai::AST,
    order: rhai::Dynamic,
    times: u32,
}

impl InRhai {
    pub(super) fn new(times: u32) -> anyhow::Result<Self> {
        let engine = rhai::Engine::new();
        let condition = engine.compile_expression(RHAI)?;
        let order: rhai::Map = engine
            .parse_json(order().to_string(), false)
            .map_err(|error| anyhow::anyhow!("the order: {error}"))?;
        Ok(Self { engine, condition, order: order.into(), times })
    }
}

impl Compute for InRhai {
    const BY: &'static str = "rhai";

    fn run(&mut self) -> anyhow::Result<serde_json::Value> {
        // The order goes into the scope once: rhai would copy it whole each time.
        let mut scope = rhai::Scope::new();
        scope.push_dynamic("order", self.order.clone());
        scope.push("limit", 0_i64);
        held(self.times, |number| {
            scope.set_value("limit", limit(number));
            let holds = self.engine.eval_ast_with_scope(&mut scope, &self.condition);
            holds.map_err(|error| anyhow::anyhow!("{error}"))
        })
    }
}

/// CEL.
pub(super) struct InCel {
    condition: Program,
    times: u32,
}

impl InCel {
    pub(super) fn new(times: u32) -> anyhow::Result<Self> {
        let condition = Program::compile(CEL).map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(Self { condition, times })
    }
}

/// A value as CEL has it. Its own reading of JSON makes unsigned numbers, which it does not compare with others.
fn as_cel(value: &serde_json::Value) -> cel::Value {
    match value {
        serde_json::Value::Object(fields) => {
            let fields = fields.iter().map(|(name, field)| (name.clone(), as_cel(field)));
            fields.collect::<HashMap<String, cel::Value>>().into()
        }
        serde_json::Value::Array(items) => items.iter().map(as_cel).collect::<Vec<_>>().into(),
        serde_json::Value::String(text) => text.as_str().into(),
        number => number.as_i64().map_or(cel::Value::Null, Into::into),
    }
}

impl Compute for InCel {
    const BY: &'static str = "cel";

    fn run(&mut self) -> anyhow::Result<serde_json::Value> {
        let mut context = Context::default();
        context.add_variable_from_value("order", as_cel(&order()));
        held(self.times, |number| {
            context.add_variable_from_value("limit", limit(number));
            match self.condition.execute(&context) {
                Ok(cel::Value::Bool(holds)) => Ok(holds),
                other => bail!("the condition came to {other:?}"),
            }
        })
    }
}
