//! Calls of models: prompts, what becomes of bad answers, budgets.

use std::sync::Arc;

use rust_decimal::Decimal;

use crate::block::{
    Budget, Example, FailureAction, FailureHandler, FailureKind, Generation, ModelCall, Person, Prompt,
};
use crate::diagnostic::codes;
use crate::expr::{Expr, Template};
use crate::module::Constraints;
use crate::types::Type;
use crate::value::{Value, text};

use super::checkpoints::PRIORITIES;
use super::form::{Findings, Node, expression, shape};
use super::keys;

/// The most times that a block may have a model asked again.
const MAX_RETRIES: u32 = 100;

pub(super) fn model_call(node: &Node<'_>, findings: &mut Findings) -> ModelCall {
    let prompt = match (node.expr("messages", findings), node.template("prompt", findings)) {
        (Some(messages), None) => Prompt::Messages(messages),
        (None, Some(prompt)) => Prompt::Text(prompt),
        (Some(messages), Some(_)) => {
            let message = "a model_call has messages or a prompt, not both";
            findings.error(codes::INVALID_VALUE, &node.at("prompt"), message);
            Prompt::Messages(messages)
        }
        (None, None) => {
            node.missing("prompt", findings);
            Prompt::Text(Template(Vec::new()))
        }
    };
    ModelCall {
        role: node.text("role", findings),
        prompt,
        output_type: node.ty("output_type", findings),
        params: node.exprs("params", findings),
    }
}

/// What `flexible` and `guarded` share.
pub(super) fn generation(node: &Node<'_>, findings: &mut Findings) -> Generation {
    if node.get("output_type").is_none() {
        node.missing("output_type", findings);
    }
    let (constraints, inherit_constraints) = own_constraints(node, findings);
    let (budget, max_retries) = own_budget(node, findings);
    Generation {
        goal: node.required_template("goal", findings),
        output_type: node.ty("output_type", findings).unwrap_or(Type::Json),
        role: node.text("llm_role", findings),
        input_bindings: bindings(node, "input_bindings", "input", findings),
        context_bindings: bindings(node, "context_bindings", "context", findings),
        guidance: node.template("guidance", findings),
        identity: identity(node, findings),
        constraints,
        inherit_constraints,
        examples: examples(node, findings),
        on_failure: on_failure(node, findings),
        budget,
        max_retries,
        guard: None,
    }
}

/// An object of expressions; a single expression is bound to the name.
fn bindings(node: &Node<'_>, key: &str, alone: &str, findings: &mut Findings) -> Vec<(Arc<str>, Expr)> {
    match node.get(key) {
        Some(value) if !value.is_object() => {
            vec![(Arc::from(alone), expression(value, &node.at(key), findings))]
        }
        _ => node.exprs(key, findings),
    }
}

/// `core.identity`, as the language has it, or false.
fn identity(node: &Node<'_>, findings: &mut Findings) -> bool {
    match node.get("identity_ref") {
        None => true,
        Some(serde_json::Value::Bool(speaks)) => *speaks,
        Some(value) if value == "core.identity" || value == "identity" => true,
        Some(_) => {
            let message = "must be core.identity, the only identity there is, or false";
            findings.error(codes::INVALID_VALUE, &node.at("identity_ref"), message);
            true
        }
    }
}

fn own_constraints(node: &Node<'_>, findings: &mut Findings) -> (Constraints, bool) {
    let value = node.get("constraints");
    let Some(node) = value.and_then(|value| Node::new(value, node.at("constraints"), findings)) else {
        return (Constraints::default(), true);
    };
    node.only(&[keys::OWN_CONSTRAINTS], findings);
    let constraints = Constraints {
        never: node.texts("never", findings),
        always: node.texts("always", findings),
        prefer: node.texts("prefer", findings),
    };
    (constraints, node.flag("inherit", findings).unwrap_or(true))
}

fn examples(node: &Node<'_>, findings: &mut Findings) -> Vec<Example> {
    let nodes = node.nodes("examples", findings);
    let mut read = Vec::with_capacity(nodes.len());
    for node in nodes {
        node.only(&[keys::EXAMPLE], findings);
        let mut literal = |key: &str| {
            let value = node.map.get(key);
            if value.is_none() {
                node.missing(key, findings);
            }
            value.map(Value::from_json).unwrap_or_default()
        };
        read.push(Example { input: literal("input"), output: literal("output") });
    }
    read
}

fn on_failure(node: &Node<'_>, findings: &mut Findings) -> Vec<FailureHandler> {
    let kinds = FailureKind::ALL.map(|kind| (kind.name(), kind));
    let nodes = node.nodes("on_failure", findings);
    let mut read = Vec::with_capacity(nodes.len());
    for node in nodes {
        node.only(&[keys::FAILURE], findings);
        for key in ["kind", "actions"] {
            if node.get(key).is_none() {
                node.missing(key, findings);
            }
        }
        let actions = node.list("actions", findings);
        let actions =
            actions.into_iter().filter_map(|(value, pointer)| action(value, pointer, findings)).collect();
        let Some(kind) = node.word("kind", &kinds, findings) else { continue };
        read.push(FailureHandler { kind, when: node.expr("when", findings), actions });
    }
    read
}

/// `{action: …}`, or the action's name alone.
fn action(value: &serde_json::Value, pointer: String, findings: &mut Findings) -> Option<FailureAction> {
    if let Some(name) = value.as_str() {
        return match name {
            "retry" => Some(FailureAction::Retry { max: 1, with: None }),
            "escalate" => Some(FailureAction::Escalate(Person::default())),
            "flag_and_checkpoint" => Some(FailureAction::FlagAndCheckpoint(Person::default())),
            _ => {
                findings.error(codes::INVALID_VALUE, &pointer, unknown_action(name));
                None
            }
        };
    }
    let node = Node::new(value, pointer, findings)?;
    node.only(&[keys::FAILURE_ACTION], findings);
    let name = node.required_text("action", findings);
    match &*name {
        "retry" => {
            let max = node.count("max", findings).unwrap_or(1);
            if max > MAX_RETRIES {
                let message = format!("must be from 1 to {MAX_RETRIES}");
                findings.error(codes::INVALID_VALUE, &node.at("max"), message);
            }
            Some(FailureAction::Retry { max, with: node.template("with", findings) })
        }
        "escalate" => Some(FailureAction::Escalate(person(&node, findings))),
        "flag_and_checkpoint" => Some(FailureAction::FlagAndCheckpoint(person(&node, findings))),
        _ => {
            if node.get("action").is_some() {
                findings.error(codes::INVALID_VALUE, &node.at("action"), unknown_action(&name));
            }
            None
        }
    }
}

fn unknown_action(name: &str) -> String {
    let hint = crate::near::hint(name, ["retry", "escalate", "flag_and_checkpoint"]);
    format!("{name:?} is not one of retry, escalate, flag_and_checkpoint{hint}")
}

fn person(node: &Node<'_>, findings: &mut Findings) -> Person {
    Person {
        assignee: node.template("assignee", findings),
        priority: node.word("priority", PRIORITIES, findings).unwrap_or_default(),
        timeout: node.duration("timeout", findings),
    }
}

/// A generation's own budget, and how often it asks again.
fn own_budget(node: &Node<'_>, findings: &mut Findings) -> (Option<Budget>, Option<u32>) {
    let value = node.get("budget");
    let Some(node) = value.and_then(|value| Node::new(value, node.at("budget"), findings)) else {
        return (None, None);
    };
    node.only(&[keys::OWN_BUDGET], findings);
    let limits = Budget {
        max_tokens: tokens(&node, findings),
        max_cost: cost(&node, findings),
        max_calls: None,
        max_duration: node.duration("max_duration", findings),
    };
    let retries = node.get("max_retries").map(|value| {
        let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
        count.filter(|count| *count <= MAX_RETRIES).unwrap_or_else(|| {
            let message = format!("must be an integer from 0 to {MAX_RETRIES}");
            findings.error(codes::INVALID_VALUE, &node.at("max_retries"), message);
            0
        })
    });
    (Some(limits).filter(|limits| !limits.is_empty()), retries)
}

/// The bounds of a `budget` block.
pub(super) fn budget(node: &Node<'_>, findings: &mut Findings) -> Budget {
    Budget {
        max_tokens: tokens(node, findings),
        max_cost: cost(node, findings),
        max_calls: node.count("max_calls", findings),
        max_duration: node.duration("max_duration", findings),
    }
}

fn tokens(node: &Node<'_>, findings: &mut Findings) -> Option<u64> {
    let value = node.get("max_tokens")?;
    let count = value.as_u64().filter(|count| (1..=i64::MAX.unsigned_abs()).contains(count));
    if count.is_none() {
        findings.error(codes::INVALID_VALUE, &node.at("max_tokens"), "must be an integer from 1 on");
    }
    count
}

/// A positive amount, as a number or a decimal text.
fn cost(node: &Node<'_>, findings: &mut Findings) -> Option<Decimal> {
    let value = node.get("max_cost")?;
    let amount = match value {
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => Some(Decimal::from(whole)),
            None => number.as_f64().and_then(text::money_of_float),
        },
        serde_json::Value::String(written) => text::parse_money(written),
        _ => None,
    };
    let amount = amount.filter(|amount| *amount > Decimal::ZERO);
    if amount.is_none() {
        let message = format!("must be an amount above zero, not {}", shape(value));
        findings.error(codes::INVALID_VALUE, &node.at("max_cost"), message);
    }
    amount
}

/// One condition, or a list of them.
pub(super) fn conditions(node: &Node<'_>, key: &str, findings: &mut Findings) -> Vec<Expr> {
    match node.get(key) {
        None => Vec::new(),
        Some(value) if value.is_array() => {
            let items = node.list(key, findings);
            items.into_iter().map(|(item, pointer)| expression(item, &pointer, findings)).collect()
        }
        Some(value) => vec![expression(value, &node.at(key), findings)],
    }
}
