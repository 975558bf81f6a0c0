//! Checkpoints: the question, what may be answered, and what the answer allows.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::block::{Action, Checkpoint, OnTimeout, Priority};
use crate::diagnostic::codes;
use crate::expr::Expr;
use crate::value::Value;

use super::blocks::FlowReader;
use super::form::{MAX_KEY, Node, shape};
use super::keys;

/// How urgent something is, by name.
pub(super) const PRIORITIES: &[(&str, Priority)] = &[
    ("low", Priority::Low),
    ("normal", Priority::Normal),
    ("high", Priority::High),
    ("critical", Priority::Critical),
];

impl FlowReader<'_> {
    pub(super) fn checkpoint(&mut self, node: &Node<'_>, id: &str) -> Checkpoint {
        if node.get("hitl_target").is_some() {
            let message = "queues for people are no part of this platform; the assignee says who is asked";
            self.findings.error(codes::FIELD_NOT_RUN, &node.at("hitl_target"), message);
        }
        let (prompt, payload) = self.present(node);
        let mut on_response = Vec::new();
        let arms = node.get("on_response").and_then(|v| Node::new(v, node.at("on_response"), self.findings));
        for (option, arms) in arms.iter().flat_map(|arms| arms.map.keys().map(move |option| (option, arms))) {
            if option.len() > MAX_KEY {
                let message = format!("an option has at most {MAX_KEY} bytes");
                self.findings.error(codes::INVALID_VALUE, &arms.pointer, message);
                continue;
            }
            let body = self.body(arms, option, &format!("{id}.on_{option}."));
            on_response.push((Arc::from(option.as_str()), body));
        }
        Checkpoint {
            checkpoint_type: node.required_text("checkpoint_type", self.findings),
            prompt,
            payload,
            options: node.texts("options", self.findings),
            assignee: node.template("assignee", self.findings),
            priority: node.word("priority", PRIORITIES, self.findings).unwrap_or_default(),
            timeout: node.duration("timeout", self.findings),
            on_timeout: self.on_timeout(node),
            escalation_target: node.template("escalation_target", self.findings),
            on_response,
            form: self.form(node),
            required_approvals: node.count("required_approvals", self.findings),
            exclude_requester: node.flag("exclude_requester", self.findings).unwrap_or(false),
            reminder_interval_m: node.count("reminder_interval_m", self.findings),
            action: self.action(node),
        }
    }

    /// A JSON Schema: an object, or true or false.
    fn form(&mut self, node: &Node<'_>) -> Option<Value> {
        let form = node.get("form")?;
        if !form.is_object() && !form.is_boolean() {
            let message = format!("must be a JSON Schema, not {}", shape(form));
            self.findings.error(codes::WRONG_SHAPE, &node.at("form"), message);
        }
        Some(Value::from_json(form))
    }

    fn action(&mut self, node: &Node<'_>) -> Option<Action> {
        let node = Node::new(node.get("action")?, node.at("action"), self.findings)?;
        node.only(&[keys::ACTION], self.findings);
        let mut decisions = node.texts("decisions", self.findings);
        if node.get("decisions").is_none() {
            decisions.push(Arc::from("approve"));
        }
        Some(Action {
            alias: node.required_text("alias", self.findings),
            method: node.required_text("method", self.findings),
            args: node.exprs("args", self.findings),
            decisions,
            expires_in: node.duration("expires_in", self.findings),
        })
    }

    fn present(&mut self, node: &Node<'_>) -> (crate::expr::Template, Option<Expr>) {
        let Some(value) = node.get("present") else {
            node.missing("present", self.findings);
            return (crate::expr::Template(Vec::new()), None);
        };
        let Some(present) = Node::new(value, node.at("present"), self.findings) else {
            return (crate::expr::Template(Vec::new()), None);
        };
        present.only(&[keys::PRESENT], self.findings);
        let prompt = present.required_template("prompt", self.findings);
        (prompt, present.expr("payload", self.findings))
    }

    /// `expire`, `escalate`, `resolve:<option>` or `{"resolve": "<option>"}`.
    fn on_timeout(&mut self, node: &Node<'_>) -> OnTimeout {
        let option = match node.get("on_timeout") {
            None => return OnTimeout::Expire,
            Some(Json::String(word)) if word == "expire" => return OnTimeout::Expire,
            Some(Json::String(word)) if word == "escalate" => return OnTimeout::Escalate,
            Some(Json::String(word)) => word.strip_prefix("resolve:"),
            Some(Json::Object(map)) if map.len() == 1 => map.get("resolve").and_then(Json::as_str),
            Some(_) => None,
        };
        let Some(option) = option else {
            let message = "must be expire, escalate, resolve:<option> or {\"resolve\": \"<option>\"}";
            self.findings.error(codes::INVALID_VALUE, &node.at("on_timeout"), message);
            return OnTimeout::Expire;
        };
        OnTimeout::Resolve(Arc::from(option))
    }
}
