//! What `await_responses` waits for.

use crate::block::{Await, AwaitEntry, AwaitMode, Awaited};
use crate::diagnostic::codes;
use crate::expr::Expr;
use crate::value::Value;

use super::form::{Findings, Node, expression};
use super::keys;

pub(super) fn awaited(node: &Node<'_>, findings: &mut Findings) -> Await {
    Await { of: of(node, findings), mode: mode(node, findings) }
}

/// A list of entries, or one expression that gives the handles.
fn of(node: &Node<'_>, findings: &mut Findings) -> Awaited {
    match node.get("of") {
        None => {
            node.missing("of", findings);
            Awaited::Handles(Expr::Literal(Value::Null))
        }
        Some(value) if value.is_array() => {
            let items = node.list("of", findings);
            Awaited::Entries(
                items.into_iter().map(|(item, pointer)| entry(item, pointer, findings)).collect(),
            )
        }
        Some(value) => Awaited::Handles(expression(value, &node.at("of"), findings)),
    }
}

fn entry(value: &serde_json::Value, pointer: String, findings: &mut Findings) -> AwaitEntry {
    let named = |key: &str| value.as_object().is_some_and(|map| map.contains_key(key));
    if !named("kind") && (named("event") || named("timer")) {
        if let Some(node) = Node::new(value, pointer, findings) {
            if named("event") {
                node.only(&[keys::AWAIT_EVENT], findings);
                return AwaitEntry::Event {
                    name: node.required_template("event", findings),
                    filter: node.expr("filter", findings),
                };
            }
            node.only(&[keys::AWAIT_TIMER], findings);
            return AwaitEntry::Timer(node.required_expr("timer", findings));
        }
        return AwaitEntry::Handle(Expr::Literal(Value::Null));
    }
    AwaitEntry::Handle(expression(value, &pointer, findings))
}

/// `all`, `any`, a count, or `n` with the count in the field of that name.
fn mode(node: &Node<'_>, findings: &mut Findings) -> AwaitMode {
    match node.get("mode") {
        Some(value) if value.is_number() => AwaitMode::Count(node.count("mode", findings).unwrap_or(1)),
        Some(value) if value == "n" => {
            if node.get("n").is_none() {
                node.missing("n", findings);
            }
            AwaitMode::Count(node.count("n", findings).unwrap_or(1))
        }
        _ => {
            if node.get("n").is_some() {
                findings.error(codes::INVALID_VALUE, &node.at("n"), "goes with the mode n only");
            }
            let words = [("all", AwaitMode::All), ("any", AwaitMode::Any)];
            node.word("mode", &words, findings).unwrap_or_default()
        }
    }
}
