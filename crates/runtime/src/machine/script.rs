//! One step under evaluation: expressions and effects in an order that the step's code fixes.
//!
//! Where an expression asks a question, or a step needs an effect half way, the step halts; with the answer it is
//! run again from its beginning, and gets the values that it had before from the fiber's scratch. So an
//! expression is never computed twice from scopes that differ.

use std::sync::Arc;

use scaigrid_ir::Value;
use scaigrid_ir::expr::{self, EvalError, Expr, MemoryRead, Question, Stop, Template};

use super::pattern::Bound;
use super::scope::View;
use super::state::{Scratch, State, Then};
use crate::effect::{EffectKind, MemoryRequest};
use crate::failure::Failure;
use crate::program::Program;

/// Why a step does not go on.
#[derive(Debug)]
pub(super) enum Halt {
    /// It wants an effect.
    Ask(EffectKind, Then),
    /// It has failed.
    Fail(Failure),
    /// The position leads nowhere in this program.
    Lost,
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Fail(failure)
    }
}

pub(super) struct Script<'a> {
    pub(super) program: &'a Program,
    pub(super) state: &'a State,
    pub(super) fiber: usize,
    scratch: &'a mut Scratch,
    cursor: usize,
}

impl<'a> Script<'a> {
    pub(super) fn new(
        program: &'a Program,
        state: &'a State,
        fiber: usize,
        scratch: &'a mut Scratch,
    ) -> Self {
        Self { program, state, fiber, scratch, cursor: 0 }
    }

    /// The value of an expression.
    pub(super) fn eval(&mut self, expr: &Expr) -> Result<Value, Halt> {
        self.eval_with(expr, &Bound::new())
    }

    /// The value of an expression that also sees what a pattern has bound.
    pub(super) fn eval_with(&mut self, expr: &Expr, bound: &Bound) -> Result<Value, Halt> {
        let limits = self.program.limits();
        self.next(bound, |view, answers| expr::evaluate(expr, view, answers, limits))
    }

    /// The value of an expression, where there is one.
    pub(super) fn eval_opt(&mut self, expr: Option<&Expr>) -> Result<Option<Value>, Halt> {
        expr.map(|expr| self.eval(expr)).transpose()
    }

    /// The value of an expression that must be a truth.
    pub(super) fn truth(&mut self, expr: &Expr, bound: &Bound) -> Result<bool, Halt> {
        match self.eval_with(expr, bound)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(mismatch("a condition should be a bool", &other).into()),
        }
    }

    /// The text of a template.
    pub(super) fn render(&mut self, template: &Template) -> Result<Arc<str>, Halt> {
        let limits = self.program.limits();
        let value = self.next(&Bound::new(), |view, answers| {
            expr::render(template, view, answers, limits).map(Value::String)
        })?;
        match value {
            Value::String(text) => Ok(text),
            // Only a damaged state holds anything else here.
            _ => Err(Halt::Lost),
        }
    }

    /// The text of a template, where there is one.
    pub(super) fn render_opt(&mut self, template: Option<&Template>) -> Result<Option<Arc<str>>, Halt> {
        template.map(|template| self.render(template)).transpose()
    }

    /// The variables that the filter of a wait reads, as they stand now.
    pub(super) fn captured(&self, filter: &Expr) -> Value {
        let view = View { program: self.program, state: self.state, fiber: self.fiber, bound: &[] };
        crate::program::captured(self.program, filter, &view)
    }

    /// What a lambda makes of a value.
    pub(super) fn apply(&mut self, lambda: &Expr, argument: &Value) -> Result<Value, Halt> {
        let limits = self.program.limits();
        let args = std::slice::from_ref(argument);
        self.next(&Bound::new(), |view, answers| expr::evaluate_lambda(lambda, args, view, answers, limits))
    }

    /// The outcome of an effect half way through the step.
    pub(super) fn effect(&mut self, kind: impl FnOnce() -> EffectKind) -> Result<Value, Halt> {
        match self.remembered() {
            Some(value) => Ok(value),
            None => Err(Halt::Ask(kind(), Then::Go)),
        }
    }

    fn remembered(&mut self) -> Option<Value> {
        let value = self.scratch.values.get(self.cursor)?.clone();
        self.cursor += 1;
        Some(value)
    }

    fn next(
        &mut self,
        bound: &Bound,
        compute: impl FnOnce(&View<'_>, &[Value]) -> Result<Value, Stop>,
    ) -> Result<Value, Halt> {
        if let Some(value) = self.remembered() {
            return Ok(value);
        }
        let view = View { program: self.program, state: self.state, fiber: self.fiber, bound };
        match compute(&view, &self.scratch.answers) {
            Ok(value) => {
                self.scratch.answers.clear();
                self.scratch.values.push(value.clone());
                self.cursor += 1;
                Ok(value)
            }
            Err(Stop::Asks(question)) => Err(Halt::Ask(self.asked(question)?, Then::Answer)),
            Err(Stop::Error(EvalError { code, message })) => Err(Failure::new(code, message).into()),
        }
    }

    fn asked(&self, question: Question) -> Result<EffectKind, Failure> {
        Ok(match question {
            Question::Now => EffectKind::Now,
            Question::Uuid => EffectKind::Uuid,
            Question::Random => EffectKind::Random,
            Question::Memory(read) => {
                let MemoryRead { op, target, key, prefix, query, min_similarity, limit, descending } = read;
                self.declared(&target)?;
                EffectKind::Memory(MemoryRequest {
                    op,
                    target,
                    key,
                    value: None,
                    prefix,
                    query,
                    limit,
                    descending,
                    for_update: false,
                    min_similarity,
                })
            }
        })
    }

    /// Refuses persistent variables that the module does not declare.
    pub(super) fn declared(&self, target: &str) -> Result<(), Failure> {
        if self.program.module().memory.contains_key(target) {
            return Ok(());
        }
        Err(Failure::new("UNKNOWN_NAME", format!("memory.{target} is not declared")))
    }
}

/// A value of the wrong type.
pub(super) fn mismatch(what: &str, found: &Value) -> Failure {
    Failure::new("TYPE_MISMATCH", format!("{what}, but is a value of type {}", found.type_name()))
}

/// A scalar as text, for keys.
pub(super) fn text_key(what: &str, value: Value) -> Result<Arc<str>, Failure> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(mismatch(&format!("{what} should be a text or another scalar"), &value))
        }
        scalar => Ok(scalar.to_string().into()),
    }
}
