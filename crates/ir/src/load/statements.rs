//! The statements of a `rigid` block.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::block::{
    AssignStep, AssignTarget, LogLevel, MemoryOp, MemoryStatement, PluginCall, Statement, StatementKind,
    TimeSpan, WaitEvent,
};
use crate::diagnostic::codes;
use crate::expr::Expr;
use crate::value::Value;

use super::form::{Findings, Node, expression};
use super::keys;

/// Kinds of blocks that call a model: named as statements they get the language's own finding.
const MODEL_KINDS: &[&str] = &["model_call", "flexible", "guarded"];

/// The statements in a field.
pub(super) fn list(node: &Node<'_>, key: &str, findings: &mut Findings) -> Vec<Statement> {
    let nodes = node.nodes(key, findings);
    nodes.iter().filter_map(|node| statement(node, findings)).collect()
}

fn statement(node: &Node<'_>, findings: &mut Findings) -> Option<Statement> {
    let kind_name = node.required_text("kind", findings);
    let kind = if let Some(further) = keys::of(keys::STATEMENTS, &kind_name) {
        node.only(&[keys::STATEMENT, further], findings);
        kind(&kind_name, node, findings)
    } else {
        unknown_kind(node, &kind_name, findings);
        return None;
    };
    Some(Statement { kind, pointer: Arc::from(node.pointer.as_str()) })
}

fn unknown_kind(node: &Node<'_>, kind: &str, findings: &mut Findings) {
    if !node.get("kind").is_some_and(Json::is_string) {
        return;
    }
    if MODEL_KINDS.contains(&kind) {
        let message = format!("{kind} calls a model; it must be a block of its own, not part of rigid");
        findings.error(codes::MODEL_IN_RIGID, &node.at("kind"), message);
        return;
    }
    let message = if keys::of(keys::BLOCKS, kind).is_some() {
        format!("{kind:?} is a block; it belongs into a body, not into statements")
    } else {
        let known: Vec<_> = keys::STATEMENTS.iter().map(|(name, _)| *name).collect();
        let hint = findings.hint(kind, known.iter().copied());
        format!("there is no statement kind {kind:?}{hint} (kinds are {})", known.join(", "))
    };
    findings.error(codes::UNKNOWN_KIND, &node.at("kind"), message);
}

fn kind(kind: &str, node: &Node<'_>, findings: &mut Findings) -> StatementKind {
    match kind {
        "let" => StatementKind::Let {
            name: node.required_name("name", findings),
            value: node.required_expr("value", findings),
        },
        "assign" => StatementKind::Assign {
            target: target(node, findings),
            value: node.required_expr("value", findings),
        },
        // The original's own name of the field is `expression`.
        "expression" if node.map.contains_key("expression") => {
            StatementKind::Expression { value: node.required_expr("expression", findings) }
        }
        "expression" => StatementKind::Expression { value: node.required_expr("value", findings) },
        "if" => {
            if node.get("then").is_none() {
                node.missing("then", findings);
            }
            StatementKind::If {
                condition: node.required_expr("condition", findings),
                then: list(node, "then", findings),
                otherwise: list(node, "else", findings),
            }
        }
        "return" => StatementKind::Return { value: node.expr("value", findings) },
        "break" => StatementKind::Break,
        "continue" => StatementKind::Continue,
        "emit" => StatementKind::Emit {
            event: node.required_template("event", findings),
            data: node.expr("data", findings),
        },
        "log" => {
            let levels = [
                ("debug", LogLevel::Debug),
                ("info", LogLevel::Info),
                ("warn", LogLevel::Warn),
                ("error", LogLevel::Error),
            ];
            StatementKind::Log {
                level: node.word("level", &levels, findings).unwrap_or(LogLevel::Info),
                message: node.required_template("message", findings),
                fields: node.expr("fields", findings),
            }
        }
        "memory" => StatementKind::Memory(Box::new(memory(node, findings))),
        "plugin_call" => StatementKind::PluginCall(Box::new(PluginCall {
            alias: node.required_text("alias", findings),
            method: node.required_text("method", findings),
            args: node.expr("args", findings),
            result_binding: node.name("result_binding", findings),
        })),
        "sleep" => StatementKind::Sleep(sleep(node, findings)),
        "wait_event" => StatementKind::WaitEvent(Box::new(WaitEvent {
            name: node.required_template("name", findings),
            filter: node.expr("filter", findings),
            timeout: node.duration("timeout", findings),
            result_binding: node.name("result_binding", findings),
        })),
        _ => StatementKind::Fail {
            code: node.required_template("code", findings),
            message: node.template("message", findings),
        },
    }
}

/// Either of `duration` and `until`.
fn sleep(node: &Node<'_>, findings: &mut Findings) -> TimeSpan {
    let (duration, until) = (node.expr("duration", findings), node.expr("until", findings));
    match (duration, until) {
        (Some(duration), None) => TimeSpan::For(duration),
        (None, Some(until)) => TimeSpan::Until(until),
        (Some(duration), Some(_)) => {
            let message = "a sleep has a duration or an until, not both";
            findings.error(codes::INVALID_VALUE, &node.at("until"), message);
            TimeSpan::For(duration)
        }
        (None, None) => {
            node.missing("duration", findings);
            TimeSpan::For(Expr::Literal(Value::Null))
        }
    }
}

fn memory(node: &Node<'_>, findings: &mut Findings) -> MemoryStatement {
    let ops = [
        ("get", MemoryOp::Get),
        ("set", MemoryOp::Set),
        ("update", MemoryOp::Update),
        ("delete", MemoryOp::Delete),
        ("add", MemoryOp::Add),
        ("list", MemoryOp::List),
        ("search", MemoryOp::Search),
        ("last", MemoryOp::Last),
    ];
    if node.get("op").is_none() {
        node.missing("op", findings);
    }
    let op = node.word("op", &ops, findings).unwrap_or(MemoryOp::Get);
    // Null is a value that can be written; only an absent field says nothing.
    let value = node.map.get("value").map(|value| expression(value, &node.at("value"), findings));
    MemoryStatement {
        op,
        target: node.required_name("target", findings),
        key: node.expr("key", findings),
        value,
        prefix: node.expr("prefix", findings),
        query: node.expr("query", findings),
        min_similarity: node.expr("min_similarity", findings),
        limit: node.expr("limit", findings),
        descending: node.word("order", &[("asc", false), ("desc", true)], findings).unwrap_or(false),
        result_binding: node.name("result_binding", findings),
    }
}

/// `a`, `a.b`, `a[0].b`: an expression that is a place.
fn target(node: &Node<'_>, findings: &mut Findings) -> AssignTarget {
    let mut expression = node.required_expr("target", findings);
    let mut path = Vec::new();
    loop {
        expression = match expression {
            Expr::Name(name) => {
                path.reverse();
                return AssignTarget { name, path };
            }
            Expr::Member { object, name, optional: false } => {
                path.push(AssignStep::Member(name));
                *object
            }
            Expr::Index { object, index, optional: false } => {
                path.push(AssignStep::Index(*index));
                *object
            }
            _ => {
                // A missing or unreadable target has its finding already; its stand-in is null.
                if expression != Expr::Literal(Value::Null) || node.map.get("target") == Some(&Json::Null) {
                    let message = "must be a variable or a part of one, e.g. order.lines[0]";
                    findings.error(codes::INVALID_VALUE, &node.at("target"), message);
                }
                return AssignTarget { name: Arc::from(""), path: Vec::new() };
            }
        }
    }
}
