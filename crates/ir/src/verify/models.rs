//! Calls of models: declared roles, prompts, conditions, and what is done about bad answers.

use std::sync::Arc;

use crate::block::{FailureAction, FailureHandler, FailureKind, Generation, ModelCall, Person, Prompt};
use crate::diagnostic::codes;
use crate::expr::Expr;
use crate::types::Type;

use super::{Verifier, child, known};

impl<'m> Verifier<'m> {
    /// Reports a role without a model.
    fn role(&mut self, role: Option<&Arc<str>>, pointer: &str, field: &str) {
        let models = &self.module.models;
        match role {
            _ if self.doubts.may_list("/models", "role") => {}
            None if models.is_empty() => {
                self.error(codes::UNKNOWN_ROLE, pointer, "the module declares no model");
            }
            Some(role) if !models.iter().any(|model| model.role == *role) => {
                let hint = self.findings.hint(role, models.iter().map(|model| &*model.role));
                let message = format!("no model is declared for the role {role:?}{hint}");
                self.error(codes::UNKNOWN_ROLE, &child(pointer, field), message);
            }
            _ => {}
        }
    }

    fn named(&mut self, entries: &[(Arc<str>, Expr)], pointer: &str) -> Vec<(Arc<str>, Option<Type>)> {
        let mut types = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            types.push((Arc::clone(name), self.expr(value, &child(pointer, name))));
        }
        types
    }

    pub(super) fn model_call(&mut self, call: &ModelCall, pointer: &str) -> Option<Type> {
        self.role(call.role.as_ref(), pointer, "role");
        match &call.prompt {
            Prompt::Messages(messages) => {
                let place = child(pointer, "messages");
                let ty = self.expr(messages, &place);
                self.wants(ty.as_ref(), &Type::Array(Box::new(Type::Json)), &place, "the conversation");
            }
            Prompt::Text(prompt) => self.template(prompt, &child(pointer, "prompt")),
        }
        self.named(&call.params, &child(pointer, "params"));
        match &call.output_type {
            Some(ty) => {
                self.types(ty, &child(pointer, "output_type"));
                known::remembered(ty)
            }
            None => Some(Type::String),
        }
    }

    pub(super) fn generation(&mut self, generation: &'m Generation, pointer: &str) -> Option<Type> {
        let at = |field: &str| child(pointer, field);
        self.role(generation.role.as_ref(), pointer, "llm_role");
        self.types(&generation.output_type, &at("output_type"));
        self.template(&generation.goal, &at("goal"));
        if let Some(guidance) = &generation.guidance {
            self.template(guidance, &at("guidance"));
        }
        let inputs = self.named(&generation.input_bindings, &at("input_bindings"));
        self.named(&generation.context_bindings, &at("context_bindings"));
        for (index, example) in generation.examples.iter().enumerate() {
            if let Err(errors) = generation.output_type.admit(example.output.clone(), &self.module.types)
                && let Some(first) = errors.first()
            {
                let place = format!("{}/{index}/output", at("examples"));
                self.error(codes::TYPE_MISMATCH, &place, format!("the example does not fit: {first}"));
            }
        }

        // The conditions see the inputs by name, and what the model has answered.
        let mark = self.scope.mark();
        for (name, ty) in inputs {
            self.scope.bind(&name, ty);
        }
        if let Some(guard) = &generation.guard {
            self.conditions(&guard.before, &at("guard"));
        }
        self.scope.bind(&Arc::from("output"), known::remembered(&generation.output_type));
        if let Some(guard) = &generation.guard {
            self.conditions(&guard.after, &at("validate"));
        }
        self.handlers(generation, &at("on_failure"));
        self.scope.undo(mark);

        let Some(instead) = generation.guard.as_ref().and_then(|guard| guard.on_failure.as_ref()) else {
            return known::remembered(&generation.output_type);
        };
        let mark = self.scope.mark();
        self.scope.bind(&Arc::from("output"), None);
        self.scope.bind(&Arc::from("violation"), Some(Type::String));
        self.body(instead);
        let mut run = self.scope.undo(mark);
        run.forget("output");
        run.forget("violation");
        self.scope.join(&[run, super::scope::Scope::untouched()]);
        None
    }

    /// A list of conditions; one alone stands in the field itself.
    fn conditions(&mut self, conditions: &[Expr], pointer: &str) {
        match conditions {
            [alone] => self.condition(alone, pointer),
            several => {
                for (index, condition) in several.iter().enumerate() {
                    self.condition(condition, &format!("{pointer}/{index}"));
                }
            }
        }
    }

    fn handlers(&mut self, generation: &Generation, pointer: &str) {
        let validated = generation.guard.as_ref().is_some_and(|guard| !guard.after.is_empty());
        for (index, handler) in generation.on_failure.iter().enumerate() {
            let place = format!("{pointer}/{index}");
            let kind = handler.kind;
            match &handler.when {
                Some(when) if kind.is_seen() => {
                    let message =
                        format!("{} is what the platform sees by itself; it takes no when", kind.name());
                    self.error(codes::FAILURE_HANDLER, &child(&place, "when"), message);
                    self.condition(when, &child(&place, "when"));
                }
                Some(when) => self.condition(when, &child(&place, "when")),
                None if kind.is_seen() || (kind == FailureKind::ConstraintViolation && validated) => {
                    let earlier = generation.on_failure.iter().take(index);
                    if earlier.into_iter().any(|other| other.kind == kind && other.when.is_none()) {
                        let message = "an earlier handler takes every failure of the kind";
                        self.warning(codes::UNREACHABLE_HANDLER, &place, message);
                    }
                }
                None => {
                    let message =
                        format!("the platform cannot see {} by itself; a when must tell it", kind.name());
                    self.error(codes::FAILURE_HANDLER, &place, message);
                }
            }
            self.actions(handler, &child(&place, "actions"));
        }
    }

    fn actions(&mut self, handler: &FailureHandler, pointer: &str) {
        if handler.actions.is_empty() {
            self.error(codes::FAILURE_HANDLER, pointer, "nothing is done about the failure");
        }
        let mut asked = false;
        for (index, action) in handler.actions.iter().enumerate() {
            let place = format!("{pointer}/{index}");
            if asked {
                let message = "this is never reached: the person who is asked before has the last word";
                self.warning(codes::UNREACHABLE_HANDLER, &place, message);
            }
            match action {
                FailureAction::Retry { with, .. } => {
                    if let Some(with) = with {
                        self.template(with, &child(&place, "with"));
                    }
                }
                FailureAction::Escalate(person) | FailureAction::FlagAndCheckpoint(person) => {
                    asked = true;
                    self.person(person, &place);
                }
            }
        }
    }

    fn person(&mut self, person: &Person, pointer: &str) {
        if let Some(assignee) = &person.assignee {
            self.template(assignee, &child(pointer, "assignee"));
        }
    }
}
