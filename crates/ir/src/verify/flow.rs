//! The blocks of a flow, in the order in which they run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::block::{Block, BlockKind, Body, Catch, Checkpoint, MatchArm, OnTimeout, StatementKind};
use crate::diagnostic::codes;
use crate::module::Flow;
use crate::types::Type;

use super::expressions::{ROOTS, optional};
use super::scope::{Branch, Scope, bound_in, bound_in_pattern};
use super::{Verifier, child, known};

impl<'m> Verifier<'m> {
    pub(super) fn flow(&mut self, flow: &'m Flow) {
        self.flow = Some(flow);
        self.scope = Scope::default();
        self.loops = 0;
        let mut names = BTreeSet::new();
        for (index, param) in flow.params.iter().enumerate() {
            let pointer = format!("{}/params/{index}", flow.pointer);
            if !names.insert(&param.name) {
                let message = format!("two parameters have the name {:?}", param.name);
                self.error(codes::DUPLICATE_NAME, &child(&pointer, "name"), message);
            }
            if &*param.name == "memory" {
                let message = "\"memory\" is always there and cannot be a parameter";
                self.error(codes::RESERVED_WORD, &child(&pointer, "name"), message);
            } else if ROOTS.contains(&&*param.name) {
                let message = format!("the parameter hides what {:?} otherwise stands for", param.name);
                self.warning(codes::HIDDEN_NAME, &child(&pointer, "name"), message);
            }
            self.types(&param.ty, &child(&pointer, "type"));
            self.scope.bind(&param.name, known::remembered(&param.ty));
        }
        if let Some(returns) = &flow.returns {
            self.types(returns, &child(&flow.pointer, "returns"));
        }
        self.body(&flow.body);
        if self.scope.live {
            self.ends_with_value(flow);
        }
        let mut ids = BTreeMap::new();
        self.ids(&flow.body, &mut ids);
        self.flow = None;
        self.scope = Scope::default();
    }

    /// A flow that can reach its end has its last block's value.
    fn ends_with_value(&mut self, flow: &Flow) {
        let takes_null = |ty: &Type| {
            matches!(
                known::resolve(ty, &self.module.types),
                Type::Json | Type::Null | Type::Optional(_) | Type::Union(_)
            )
        };
        if flow.returns.as_ref().is_none_or(takes_null) {
            return;
        }
        let without = flow.body.last().is_none_or(|block| {
            matches!(&block.kind, BlockKind::Rigid { statements } if statements.last().is_none_or(|last| matches!(
                last.kind,
                StatementKind::Let { .. } | StatementKind::Assign { .. } | StatementKind::Emit { .. } | StatementKind::Log { .. }
            )))
        });
        if without {
            let message = "the flow declares what it returns, but its end is reached without a value";
            self.warning(codes::NO_VALUE, &child(&flow.pointer, "body"), message);
        }
    }

    fn ids(&mut self, body: &'m Body, seen: &mut BTreeMap<&'m str, &'m str>) {
        for block in body {
            if let Some(first) = seen.insert(&block.id, &block.pointer) {
                self.location = block.source_location.as_ref();
                let message = format!("the block at {first} has the id {:?} too", block.id);
                self.error(codes::DUPLICATE_ID, &child(&block.pointer, "id"), message);
                self.location = None;
            }
            for body in block.kind.bodies() {
                self.ids(body, seen);
            }
        }
    }

    pub(super) fn body(&mut self, body: &'m Body) {
        let mut ended = false;
        for block in body {
            if !self.scope.live {
                if !ended {
                    let message = "this is never reached: what stands before always leaves";
                    self.warning(codes::UNREACHABLE, &block.pointer, message);
                }
                ended = true;
                self.scope.live = true;
            }
            let outer = self.location;
            self.location = block.source_location.as_ref().or(outer);
            self.block(block);
            self.location = outer;
        }
        self.scope.live &= !ended;
    }

    /// Runs the body on its own, and takes it back.
    pub(super) fn branch(&mut self, body: &'m Body) -> Branch {
        let mark = self.scope.mark();
        self.body(body);
        self.scope.undo(mark)
    }

    fn block(&mut self, block: &'m Block) {
        self.asked_before(block);
        let at = |field: &str| child(&block.pointer, field);
        if let Some(label) = &block.label {
            self.template(label, &at("label"));
        }
        let Some(when) = &block.when else {
            let ty = self.kind(block);
            if let Some(name) = &block.result_binding {
                self.bind(name, ty, &at("result_binding"));
            }
            return;
        };
        self.condition(when, &at("when"));
        let mark = self.scope.mark();
        let ty = self.kind(block);
        let run = self.scope.undo(mark);
        self.scope.join(&[run, Scope::untouched()]);
        // A block that is skipped has the value null, so its name is bound either way.
        if let Some(name) = &block.result_binding {
            self.bind(name, ty.map(optional), &at("result_binding"));
        }
    }

    /// Checks what the block does; gives the type of its value.
    fn kind(&mut self, block: &'m Block) -> Option<Type> {
        let pointer = &*block.pointer;
        let at = |field: &str| child(pointer, field);
        let ty = match &block.kind {
            BlockKind::Rigid { statements } => {
                self.statements(statements);
                None
            }
            BlockKind::Debug { statements } => {
                let mark = self.scope.mark();
                self.statements(statements);
                let run = self.scope.undo(mark);
                self.scope.join(&[run, Scope::untouched()]);
                None
            }
            BlockKind::Match { subject, arms, otherwise } => {
                let ty = self.expr(subject, &at("subject"));
                self.arms(ty.as_ref(), arms, otherwise.is_some(), pointer);
                let mut branches: Vec<_> = arms
                    .iter()
                    .enumerate()
                    .map(|(i, arm)| self.arm(arm, &format!("{pointer}/arms/{i}")))
                    .collect();
                branches.extend(otherwise.as_ref().map(|body| self.branch(body)));
                // Where no arm fits and there is no else, the block fails.
                self.scope.join(&branches);
                None
            }
            BlockKind::Foreach { items, var, index_var, body, max_concurrent, .. } => {
                let ty = self.expr(items, &at("items"));
                self.wants(ty.as_ref(), &Type::Array(Box::new(Type::Json)), &at("items"), "what is iterated");
                let item = ty.and_then(|ty| match known::present(&ty, &self.module.types) {
                    Type::Array(element) => known::remembered(element),
                    _ => None,
                });
                let mark = self.scope.mark();
                self.may_bind_in(body);
                self.bind(var, item, &at("var"));
                if let Some(index) = index_var {
                    self.bind(index, Some(Type::Int), &at("index_var"));
                }
                self.loop_body(body);
                let mut run = self.scope.undo(mark);
                run.forget(var);
                if let Some(index) = index_var {
                    run.forget(index);
                }
                if max_concurrent.is_none_or(|most| most == 1) {
                    self.scope.may_have(&run);
                }
                Some(Type::Array(Box::new(Type::Json)))
            }
            BlockKind::While { condition, body, .. } => {
                let mark = self.scope.mark();
                self.may_bind_in(body);
                self.condition(condition, &at("condition"));
                self.loop_body(body);
                let run = self.scope.undo(mark);
                self.scope.may_have(&run);
                None
            }
            BlockKind::Try { body, catch, finally } => {
                self.attempt(body, catch, finally.as_ref(), pointer);
                None
            }
            BlockKind::Checkpoint(checkpoint) => Some(self.checkpoint(block, checkpoint)),
            BlockKind::CoreCall(call) => self.core_call(call, pointer),
            BlockKind::Parallel { branches, .. } => Some(self.parallel(branches, pointer)),
            BlockKind::AwaitResponses(wait) => {
                self.await_responses(wait, pointer);
                Some(Type::Array(Box::new(Type::Json)))
            }
            BlockKind::ModelCall(call) => self.model_call(call, pointer),
            BlockKind::Generate(generation) => self.generation(generation, pointer),
            BlockKind::Budget { limits, body, on_exceeded } => {
                if limits.is_empty() {
                    let message = "a budget needs max_tokens, max_cost, max_calls or max_duration";
                    self.error(codes::BUDGET, pointer, message);
                }
                self.spend(body, on_exceeded.as_ref());
                None
            }
        };
        ty.filter(|_| !self.doubts.in_part(pointer))
    }

    /// Each branch reads what the flow has bound, and keeps what it binds.
    fn parallel(&mut self, branches: &'m [crate::block::Branch], pointer: &str) -> Type {
        let mut names = BTreeMap::new();
        for (index, branch) in branches.iter().enumerate() {
            if names.insert(Arc::clone(&branch.name), Type::Json).is_some() {
                let place = format!("{pointer}/branches/{index}/name");
                self.error(
                    codes::DUPLICATE_NAME,
                    &place,
                    format!("two branches are called {:?}", branch.name),
                );
            }
            let mark = self.scope.mark();
            let loops = std::mem::take(&mut self.loops);
            let outer = self.branch.replace(mark);
            self.body(&branch.body);
            self.branch = outer;
            self.loops = loops;
            self.scope.undo(mark);
        }
        Type::Object(names)
    }

    /// A body, and what runs in its place once a bound is met.
    fn spend(&mut self, body: &'m Body, on_exceeded: Option<&'m Body>) {
        let run = self.branch(body);
        let Some(instead) = on_exceeded else {
            self.scope.join(&[run]);
            return;
        };
        let mark = self.scope.mark();
        self.scope.may_have(&run);
        self.body(instead);
        let instead = self.scope.undo(mark);
        self.scope.join(&[run, instead]);
    }

    /// A later round of a loop sees what an earlier one has bound.
    fn may_bind_in(&mut self, body: &Body) {
        let mut names = BTreeSet::new();
        bound_in(body, &mut names);
        for name in &names {
            self.scope.may_bind(name);
        }
    }

    fn loop_body(&mut self, body: &'m Body) {
        self.loops += 1;
        self.body(body);
        self.loops -= 1;
        self.scope.live = true;
    }

    fn arm(&mut self, arm: &'m MatchArm, pointer: &str) -> Branch {
        let mark = self.scope.mark();
        let mut names = BTreeSet::new();
        bound_in_pattern(&arm.pattern, &mut names);
        for name in &names {
            self.bind(name, None, &child(pointer, "pattern"));
        }
        if let Some(guard) = &arm.guard {
            self.condition(guard, &child(pointer, "guard"));
        }
        self.body(&arm.body);
        self.scope.undo(mark)
    }

    fn attempt(&mut self, body: &'m Body, catch: &'m [Catch], finally: Option<&'m Body>, pointer: &str) {
        let run = self.branch(body);
        let mut all_taken = false;
        let mut branches = Vec::new();
        let start = self.scope.mark();
        // A handler does not know how far the body came.
        self.scope.may_have(&run);
        for (index, handler) in catch.iter().enumerate() {
            let place = format!("{pointer}/catch/{index}");
            if all_taken {
                let message = "an earlier handler takes every error, so this one is never reached";
                self.warning(codes::UNREACHABLE_HANDLER, &place, message);
            }
            all_taken |= handler.code.is_none();
            let mark = self.scope.mark();
            if let Some(name) = &handler.bind {
                let fields = ["code", "message"].map(|field| (Arc::from(field), Type::String));
                let block = (Arc::from("block"), Type::Optional(Box::new(Type::String)));
                let ty = Type::Object(fields.into_iter().chain([block]).collect());
                self.bind(name, Some(ty), &child(&place, "as"));
            }
            self.body(&handler.body);
            branches.push(self.scope.undo(mark));
        }
        // What runs in any case runs after any part of the body and of a handler.
        let last = finally.map(|body| {
            let mark = self.scope.mark();
            for branch in &branches {
                self.scope.may_have(branch);
            }
            let inner = self.scope.mark();
            self.body(body);
            let last = self.scope.undo(inner);
            self.scope.undo(mark);
            last
        });
        self.scope.undo(start);
        branches.insert(0, run);
        self.scope.join(&branches);
        if let Some(last) = last {
            let live = self.scope.live;
            self.scope.join(&[last]);
            self.scope.live &= live;
        }
    }

    fn checkpoint(&mut self, block: &Block, checkpoint: &'m Checkpoint) -> Type {
        let at = |field: &str| child(&block.pointer, field);
        let present = at("present");
        self.template(&checkpoint.prompt, &child(&present, "prompt"));
        self.optional(checkpoint.payload.as_ref(), &child(&present, "payload"));
        if let Some(assignee) = &checkpoint.assignee {
            self.template(assignee, &at("assignee"));
        }
        if let Some(target) = &checkpoint.escalation_target {
            self.template(target, &at("escalation_target"));
        }
        self.checkpoint_options(block, checkpoint);
        if let Some(action) = &checkpoint.action {
            self.action(action, checkpoint, &at("action"));
        }
        let answer = answer();
        let mut branches = Vec::new();
        for (option, body) in &checkpoint.on_response {
            if !checkpoint.options.is_empty() && !checkpoint.options.contains(option) {
                let hint = self.findings.hint(option, checkpoint.options.iter().map(AsRef::as_ref));
                let message = format!("{option:?} is not one of the options, so this never runs{hint}");
                self.error(codes::CHECKPOINT_OPTION, &child(&at("on_response"), option), message);
            }
            let mark = self.scope.mark();
            if let Some(name) = &block.result_binding {
                self.scope.bind(name, Some(answer.clone()));
            }
            self.body(body);
            branches.push(self.scope.undo(mark));
        }
        let handled = |option| checkpoint.on_response.iter().any(|(handled, _)| handled == option);
        if checkpoint.options.is_empty() || !checkpoint.options.iter().all(handled) {
            branches.push(Scope::untouched());
        }
        self.scope.join(&branches);
        answer
    }

    fn checkpoint_options(&mut self, block: &Block, checkpoint: &Checkpoint) {
        let at = |field: &str| child(&block.pointer, field);
        let mut seen = BTreeSet::new();
        for (index, option) in checkpoint.options.iter().enumerate() {
            if !seen.insert(option) {
                let place = format!("{}/{index}", at("options"));
                self.error(codes::CHECKPOINT_OPTION, &place, format!("the option {option:?} stands twice"));
            }
        }
        match &checkpoint.on_timeout {
            OnTimeout::Resolve(option) if !checkpoint.options.is_empty() && !seen.contains(option) => {
                let hint = self.findings.hint(option, checkpoint.options.iter().map(AsRef::as_ref));
                let message = format!("{option:?} is not one of the options{hint}");
                self.error(codes::CHECKPOINT_TIMEOUT, &at("on_timeout"), message);
            }
            OnTimeout::Escalate if checkpoint.escalation_target.is_none() => {
                let message = "escalating needs an escalation_target";
                self.error(codes::CHECKPOINT_TIMEOUT, &at("on_timeout"), message);
            }
            _ => {}
        }
        if checkpoint.on_timeout != OnTimeout::Expire && block.timeout.is_none() {
            let message = "on_timeout needs a timeout";
            self.error(codes::CHECKPOINT_TIMEOUT, &at("on_timeout"), message);
        }
    }
}

/// What a person's answer looks like.
fn answer() -> Type {
    let text = |name: &str| (Arc::from(name), Type::String);
    let perhaps = |name: &str| (Arc::from(name), Type::Optional(Box::new(Type::String)));
    Type::Object(
        [
            text("decision"),
            (Arc::from("response_data"), Type::Json),
            perhaps("comment"),
            perhaps("resolved_by"),
            (Arc::from("resolved_at"), Type::Json),
        ]
        .into_iter()
        .collect(),
    )
}
