//! The statements of `rigid` blocks.

use crate::block::{AssignStep, AssignTarget, Statement, StatementKind, TimeSpan};
use crate::diagnostic::codes;
use crate::expr::Expr;
use crate::types::Type;

use super::expressions::ROOTS;
use super::waiting::event;
use super::{Verifier, child};

impl Verifier<'_> {
    pub(super) fn statements(&mut self, statements: &[Statement]) {
        let mut ended = false;
        for statement in statements {
            if !self.scope.live {
                if !ended {
                    let message = "this is never reached: what stands before always leaves";
                    self.warning(codes::UNREACHABLE, &statement.pointer, message);
                }
                ended = true;
                // What is never reached is checked all the same, as if it were.
                self.scope.live = true;
            }
            self.statement(statement);
        }
        self.scope.live &= !ended;
    }

    fn statement(&mut self, statement: &Statement) {
        let pointer = &*statement.pointer;
        let at = |field: &str| child(pointer, field);
        match &statement.kind {
            StatementKind::Let { name, value } => {
                let ty = self.expr(value, &at("value"));
                self.bind(name, ty, &at("name"));
            }
            StatementKind::Assign { target, value } => {
                let ty = self.expr(value, &at("value"));
                self.assign(target, &at("target"));
                if target.path.is_empty()
                    && self.scope.get(&target.name).is_some_and(|variable| variable.certain)
                {
                    self.scope.bind(&target.name, ty);
                }
            }
            StatementKind::Expression { value } => {
                self.expr(value, &at("value"));
            }
            StatementKind::If { condition, then, otherwise } => {
                self.condition(condition, &at("condition"));
                let branches = [then, otherwise].map(|statements| {
                    let mark = self.scope.mark();
                    self.statements(statements);
                    self.scope.undo(mark)
                });
                self.scope.join(&branches);
            }
            StatementKind::Return { value } => {
                let ty = value.as_ref().and_then(|value| self.expr(value, &at("value")));
                if let Some(wanted) = self.flow.and_then(|flow| flow.returns.as_ref()) {
                    self.wants(ty.as_ref(), wanted, &at("value"), "what the flow returns");
                }
                self.scope.live = false;
            }
            StatementKind::Break | StatementKind::Continue => {
                if self.loops == 0 {
                    let message = "there is no loop around this that could be left or continued";
                    self.error(codes::OUTSIDE_LOOP, pointer, message);
                }
                self.scope.live = false;
            }
            StatementKind::Emit { event, data } => {
                self.template(event, &at("event"));
                self.optional(data.as_ref(), &at("data"));
            }
            StatementKind::Log { message, fields, .. } => {
                self.template(message, &at("message"));
                self.optional(fields.as_ref(), &at("fields"));
            }
            StatementKind::Memory(memory) => self.memory_statement(memory, pointer),
            StatementKind::Fail { code, message } => {
                self.template(code, &at("code"));
                if let Some(message) = message {
                    self.template(message, &at("message"));
                }
                self.scope.live = false;
            }
            StatementKind::PluginCall(call) => {
                self.plugin(&call.alias, &at("alias"));
                if let Some(args) = &call.args {
                    let ty = self.expr(args, &at("args"));
                    self.wants(ty.as_ref(), &Type::Map(Box::new(Type::Json)), &at("args"), "the arguments");
                }
                if let Some(name) = &call.result_binding {
                    self.bind(name, None, &at("result_binding"));
                }
            }
            StatementKind::Sleep(TimeSpan::For(span)) => {
                self.time(span, &Type::Duration, &at("duration"));
            }
            StatementKind::Sleep(TimeSpan::Until(instant)) => {
                self.time(instant, &Type::Datetime, &at("until"));
            }
            StatementKind::WaitEvent(wait) => {
                self.template(&wait.name, &at("name"));
                if let Some(filter) = &wait.filter {
                    self.event_filter(filter, &at("filter"));
                }
                if let Some(name) = &wait.result_binding {
                    self.bind(name, Some(event()), &at("result_binding"));
                }
            }
        }
    }

    pub(super) fn optional(&mut self, expr: Option<&Expr>, pointer: &str) {
        if let Some(expr) = expr {
            self.expr(expr, pointer);
        }
    }

    fn assign(&mut self, target: &AssignTarget, pointer: &str) {
        for step in &target.path {
            if let AssignStep::Index(index) = step {
                self.expr(index, pointer);
            }
        }
        let name = &*target.name;
        if let Some(mark) = self.branch
            && self.scope.get(name).is_some()
            && !self.scope.bound_since(mark, name)
        {
            let message = format!("{name:?} is the flow's; a branch of a parallel only reads it");
            self.error(codes::READ_ONLY, pointer, message);
            return;
        }
        match self.scope.get(name) {
            Some(variable) if variable.certain => {}
            Some(_) => {
                let message = format!("{name:?} is bound on some of the ways that lead here only");
                self.warning(codes::MAYBE_UNBOUND, pointer, message);
            }
            None if name == "memory" => {
                let message = "memory is written by memory statements, not by assignment";
                self.error(codes::READ_ONLY, pointer, message);
            }
            None if ROOTS.contains(&name) => {
                self.error(codes::READ_ONLY, pointer, format!("{name} is read-only"));
            }
            None if self.doubts.may_name(name) => {}
            None => {
                let hint = self.findings.hint(name, self.scope.names());
                let message = format!("the name {name:?} is not bound here; bind it with let first{hint}");
                self.error(codes::UNKNOWN_NAME, pointer, message);
            }
        }
    }
}
