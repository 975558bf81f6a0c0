//! The blocks of a flow.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;

use crate::block::{
    Block, BlockKind, Body, Branch, Catch, CoreCall, Generation, Guard, MatchArm, OnError, Retry, Statement,
};
use crate::core_uri;
use crate::diagnostic::{Diagnostic, codes};
use crate::expr::Expr;
use crate::value::Value;

use super::form::{Findings, MAX_KEY, Node};
use super::{keys, models, pattern, statements, waiting};

/// The most iterations that a `while` may ask for.
pub(crate) const MAX_ITERATIONS: u32 = 100_000;

/// Reads the blocks of one flow and gives ids to those that have none.
pub(super) struct FlowReader<'f> {
    pub(super) findings: &'f mut Findings,
    ids: BTreeSet<Arc<str>>,
}

impl<'f> FlowReader<'f> {
    /// A reader for a flow with this body; ids that are given are kept free.
    pub(super) fn new(body: Option<&Json>, findings: &'f mut Findings) -> Self {
        let mut ids = BTreeSet::new();
        if let Some(body) = body {
            given_ids(body, &mut ids);
        }
        Self { findings, ids }
    }

    /// The blocks in a field; those without an id get the prefix and their index as one.
    pub(super) fn body(&mut self, node: &Node<'_>, key: &str, prefix: &str) -> Body {
        let nodes = node.nodes(key, self.findings);
        let mut body = Vec::with_capacity(nodes.len());
        for node in &nodes {
            // The index is the place in the document, also where a neighbour is no object.
            let index = node.pointer.rsplit('/').next().unwrap_or_default().to_owned();
            body.extend(self.block(node, &format!("{prefix}{index}")));
        }
        body
    }

    fn required_body(&mut self, node: &Node<'_>, key: &str, prefix: &str) -> Body {
        if node.get(key).is_none() {
            node.missing(key, self.findings);
        }
        self.body(node, key, prefix)
    }

    fn optional_body(&mut self, node: &Node<'_>, key: &str, prefix: &str) -> Option<Body> {
        node.get(key).is_some().then(|| self.body(node, key, prefix))
    }

    fn id(&mut self, node: &Node<'_>, place: &str) -> Arc<str> {
        let mut given = node.text("id", self.findings);
        if given.as_ref().is_some_and(|id| id.is_empty() || id.len() > MAX_KEY) {
            let message = format!("must be an id of 1 to {MAX_KEY} bytes");
            self.findings.error(codes::INVALID_VALUE, &node.at("id"), message);
            given = None;
        }
        given.unwrap_or_else(|| {
            let mut id = place.to_owned();
            while self.ids.contains(id.as_str()) {
                id.push('_');
            }
            let id: Arc<str> = Arc::from(id);
            self.ids.insert(Arc::clone(&id));
            id
        })
    }

    fn block(&mut self, node: &Node<'_>, place: &str) -> Option<Block> {
        let id = self.id(node, place);
        let kind_name = node.required_text("kind", self.findings);
        let kind = if let Some(further) = keys::of(keys::BLOCKS, &kind_name) {
            node.only(&[keys::BLOCK, further], self.findings);
            self.kind(&kind_name, node, &id)
        } else {
            self.unknown_kind(node, &kind_name);
            return None;
        };
        Some(Block {
            id,
            kind,
            result_binding: node.name("result_binding", self.findings),
            when: node.expr("when", self.findings),
            timeout: node.duration("timeout", self.findings),
            retry: self.retry(node),
            label: node.template("label", self.findings),
            source_location: node.get("source_location").cloned(),
            pointer: Arc::from(node.pointer.as_str()),
        })
    }

    fn unknown_kind(&mut self, node: &Node<'_>, kind: &str) {
        if !node.get("kind").is_some_and(Json::is_string) {
            return;
        }
        let message = if keys::of(keys::STATEMENTS, kind).is_some() {
            format!("{kind:?} is a statement; it belongs into the statements of a rigid block")
        } else {
            let known: Vec<_> = keys::BLOCKS.iter().map(|(name, _)| *name).collect();
            let hint = self.findings.hint(kind, known.iter().copied());
            format!("there is no block kind {kind:?}{hint} (kinds are {})", known.join(", "))
        };
        self.findings.error(codes::UNKNOWN_KIND, &node.at("kind"), message);
    }

    fn kind(&mut self, kind: &str, node: &Node<'_>, id: &str) -> BlockKind {
        match kind {
            "rigid" => BlockKind::Rigid { statements: self.statements(node) },
            "debug" => BlockKind::Debug { statements: self.statements(node) },
            "match" => BlockKind::Match {
                subject: node.required_expr("subject", self.findings),
                arms: self.arms(node, id),
                otherwise: self.optional_body(node, "else", &format!("{id}.else")),
            },
            "foreach" => self.foreach(node, id),
            "while" => BlockKind::While {
                condition: node.required_expr("condition", self.findings),
                max_iterations: self.max_iterations(node),
                body: self.required_body(node, "body", &format!("{id}.do")),
            },
            "try" => BlockKind::Try {
                body: self.required_body(node, "body", &format!("{id}.try")),
                catch: self.catch(node, id),
                finally: self.optional_body(node, "finally", &format!("{id}.finally")),
            },
            "checkpoint" => BlockKind::Checkpoint(Box::new(self.checkpoint(node, id))),
            "parallel" => self.parallel(node, id),
            "await_responses" => BlockKind::AwaitResponses(Box::new(waiting::awaited(node, self.findings))),
            "model_call" => BlockKind::ModelCall(Box::new(models::model_call(node, self.findings))),
            "flexible" | "guarded" => BlockKind::Generate(Box::new(self.generation(kind, node, id))),
            "budget" => BlockKind::Budget {
                limits: models::budget(node, self.findings),
                body: self.required_body(node, "body", &format!("{id}.do")),
                on_exceeded: self.optional_body(node, "on_exceeded", &format!("{id}.exceeded")),
            },
            _ => BlockKind::CoreCall(Box::new(self.core_call(node))),
        }
    }

    fn statements(&mut self, node: &Node<'_>) -> Vec<Statement> {
        if node.get("statements").is_none() {
            node.missing("statements", self.findings);
        }
        statements::list(node, "statements", self.findings)
    }

    fn parallel(&mut self, node: &Node<'_>, id: &str) -> BlockKind {
        if node.get("branches").is_none() {
            node.missing("branches", self.findings);
        }
        let branches = node.nodes("branches", self.findings);
        let mut read = Vec::with_capacity(branches.len());
        for (index, branch) in branches.iter().enumerate() {
            branch.only(&[keys::BRANCH], self.findings);
            let name = branch.required_text("name", self.findings);
            if name.is_empty() || name.len() > MAX_KEY {
                let message = format!("must be a name of 1 to {MAX_KEY} bytes");
                self.findings.error(codes::INVALID_VALUE, &branch.at("name"), message);
            }
            let body = self.required_body(branch, "body", &format!("{id}.branch{index}."));
            read.push(Branch { name, body });
        }
        BlockKind::Parallel {
            branches: read,
            max_concurrent: node.count("max_concurrent", self.findings),
            fail_fast: node.flag("fail_fast", self.findings).unwrap_or(false),
        }
    }

    fn generation(&mut self, kind: &str, node: &Node<'_>, id: &str) -> Generation {
        let mut generation = models::generation(node, self.findings);
        if kind == "guarded" {
            generation.guard = Some(Guard {
                before: models::conditions(node, "guard", self.findings),
                after: models::conditions(node, "validate", self.findings),
                on_failure: self.optional_body(node, "on_validation_failure", &format!("{id}.invalid")),
            });
        }
        generation
    }

    fn arms(&mut self, node: &Node<'_>, id: &str) -> Vec<MatchArm> {
        if node.get("arms").is_none() {
            node.missing("arms", self.findings);
        }
        let arms = node.nodes("arms", self.findings);
        let mut read = Vec::with_capacity(arms.len());
        for (index, arm) in arms.iter().enumerate() {
            arm.only(&[keys::ARM], self.findings);
            read.push(MatchArm {
                pattern: pattern::field(arm, "pattern", self.findings),
                guard: arm.expr("guard", self.findings),
                body: self.body(arm, "body", &format!("{id}.arm{index}.")),
            });
        }
        read
    }

    fn foreach(&mut self, node: &Node<'_>, id: &str) -> BlockKind {
        let words = [("fail", OnError::Fail), ("collect", OnError::Collect), ("skip", OnError::Skip)];
        BlockKind::Foreach {
            items: node.required_expr("items", self.findings),
            var: node.required_name("var", self.findings),
            index_var: node.name("index_var", self.findings),
            body: self.required_body(node, "body", &format!("{id}.do")),
            max_concurrent: node.count("max_concurrent", self.findings),
            on_error: node.word("on_error", &words, self.findings).unwrap_or_default(),
        }
    }

    fn max_iterations(&mut self, node: &Node<'_>) -> u32 {
        let bound = node.get("max_iterations").and_then(Json::as_u64);
        let bound = bound.and_then(|bound| u32::try_from(bound).ok()).unwrap_or(0);
        if !(1..=MAX_ITERATIONS).contains(&bound) {
            let message = format!("a while needs max_iterations, an integer from 1 to {MAX_ITERATIONS}");
            self.findings.error(codes::LOOP_BOUND, &node.at("max_iterations"), message);
        }
        bound
    }

    fn catch(&mut self, node: &Node<'_>, id: &str) -> Vec<Catch> {
        if node.get("catch").is_none() && node.get("finally").is_none() {
            node.missing("catch", self.findings);
        }
        let handlers = node.nodes("catch", self.findings);
        let mut read = Vec::with_capacity(handlers.len());
        for (index, handler) in handlers.iter().enumerate() {
            handler.only(&[keys::CATCH], self.findings);
            read.push(Catch {
                code: handler.text("code", self.findings),
                bind: handler.name("as", self.findings),
                body: self.body(handler, "body", &format!("{id}.catch{index}.")),
            });
        }
        read
    }

    fn core_call(&mut self, node: &Node<'_>) -> CoreCall {
        let target = node.required_text("target", self.findings);
        if node.get("target").is_some_and(Json::is_string) && !core_uri::is_well_formed(&target) {
            self.findings.error(codes::INVALID_VALUE, &node.at("target"), core_uri::RULE);
        }
        CoreCall {
            target,
            flow_name: node.required_text("flow_name", self.findings),
            input_bindings: node.exprs("input_bindings", self.findings),
            instance_key: node.expr("instance_key", self.findings),
            version: node.count("version", self.findings),
            is_async: node.flag("is_async", self.findings).unwrap_or(false),
        }
    }

    fn retry(&mut self, node: &Node<'_>) -> Option<Retry> {
        let node = Node::new(node.get("retry")?, node.at("retry"), self.findings)?;
        node.only(&[keys::RETRY], self.findings);
        if node.get("max").is_none() {
            node.missing("max", self.findings);
        }
        let mut retry = Retry {
            max: node.count("max", self.findings).unwrap_or(1),
            initial: Duration::from_secs(1),
            factor: 2.0,
            max_wait: Duration::from_mins(1),
            jitter: true,
            on: node.texts("on", self.findings),
        };
        if retry.max > 100 {
            self.findings.error(codes::INVALID_VALUE, &node.at("max"), "must be from 1 to 100");
        }
        let backoff = node.get("backoff").and_then(|b| Node::new(b, node.at("backoff"), self.findings));
        if let Some(node) = backoff {
            node.only(&[keys::BACKOFF], self.findings);
            retry.initial = node.duration("initial", self.findings).unwrap_or(retry.initial);
            retry.max_wait = node.duration("max", self.findings).unwrap_or(retry.max_wait.max(retry.initial));
            retry.jitter = node.flag("jitter", self.findings).unwrap_or(retry.jitter);
            retry.factor = node.number("factor", self.findings).unwrap_or(retry.factor);
            if !(1.0..=100.0).contains(&retry.factor) {
                let finding =
                    Diagnostic::error(codes::INVALID_VALUE, node.at("factor"), "must be from 1 to 100");
                self.findings.push(finding);
            }
        }
        Some(retry)
    }
}

/// Every id that is written anywhere within.
fn given_ids(value: &Json, ids: &mut BTreeSet<Arc<str>>) {
    match value {
        Json::Array(list) => list.iter().for_each(|item| given_ids(item, ids)),
        Json::Object(map) => {
            if let (Some(Json::String(id)), true) = (map.get("id"), map.contains_key("kind")) {
                ids.insert(Arc::from(id.as_str()));
            }
            map.values().for_each(|item| given_ids(item, ids));
        }
        _ => {}
    }
}

/// A literal value for a pattern or a default.
pub(super) fn literal(expression: &Expr) -> Option<Value> {
    match expression {
        Expr::Literal(value) => Some(value.clone()),
        Expr::Unary { op: crate::expr::UnaryOp::Neg, operand } => match literal(operand)? {
            Value::Int(value) => value.checked_neg().map(Value::Int),
            Value::Float(value) => Some(Value::Float(-value)),
            _ => None,
        },
        Expr::Template(template) => match template.0.as_slice() {
            [] => Some(Value::String(Arc::from(""))),
            [crate::expr::TemplatePart::Text(text)] => Some(Value::String(Arc::clone(text))),
            _ => None,
        },
        _ => None,
    }
}
