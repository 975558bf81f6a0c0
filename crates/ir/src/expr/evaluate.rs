//! The evaluation of expressions.
//!
//! Recursion is bounded by the height of the tree, which the parser bounds; steps and the size of what is
//! built are bounded by [`Limits`]. Values are shared, not copied.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::questions::Question;
use super::{BinaryOp, Expr, Template, TemplatePart, UnaryOp, functions, methods, operators};
use crate::types::Type;
use crate::value::Value;

/// The variables that an expression sees.
pub trait Scope {
    /// The value of a variable, if there is one of that name.
    fn lookup(&self, name: &str) -> Option<Value>;

    /// The named types of the module.
    fn types(&self) -> &BTreeMap<Arc<str>, Type>;
}

/// How much one evaluation may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Operations, and elements looked at.
    pub steps: u32,
    /// How deeply evaluation may be nested.
    pub depth: u32,
    /// Bytes of one value, and of all text that is built on the way.
    pub size: usize,
}

impl Default for Limits {
    /// A million steps, 256 levels, 16 MiB.
    fn default() -> Self {
        Self { steps: 1_000_000, depth: 256, size: 16 * 1024 * 1024 }
    }
}

/// Why an evaluation has no value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Stop {
    /// The expression fails.
    #[error(transparent)]
    Error(#[from] EvalError),
    /// It needs one answer more.
    #[error("a question is open")]
    Asks(Question),
}

/// A failure of an expression, which a program can catch by its code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct EvalError {
    /// What kind of failure: `TYPE_MISMATCH`, `DIVISION_BY_ZERO`, …
    pub code: Arc<str>,
    /// What happened.
    pub message: Arc<str>,
}

/// The value of an expression.
pub fn evaluate(expr: &Expr, scope: &dyn Scope, answers: &[Value], limits: &Limits) -> Result<Value, Stop> {
    Evaluator::new(scope, answers, limits).eval(expr, &Env::EMPTY).map_err(Halt::into_stop)
}

/// The text of a template.
pub fn render(
    template: &Template,
    scope: &dyn Scope,
    answers: &[Value],
    limits: &Limits,
) -> Result<Arc<str>, Stop> {
    if let [TemplatePart::Text(text)] = template.0.as_slice() {
        return Ok(text.clone());
    }
    Evaluator::new(scope, answers, limits).text(template, &Env::EMPTY).map_err(Halt::into_stop)
}

/// The value of a lambda for these arguments. An expression that is no lambda is evaluated as it is, without
/// looking at the arguments.
pub fn evaluate_lambda(
    lambda: &Expr,
    args: &[Value],
    scope: &dyn Scope,
    answers: &[Value],
    limits: &Limits,
) -> Result<Value, Stop> {
    let mut evaluator = Evaluator::new(scope, answers, limits);
    match lambda {
        Expr::Lambda { params, body } => {
            evaluator.apply(&Function { params, body, env: &Env::EMPTY }, args).map_err(Halt::into_stop)
        }
        other => evaluator.eval(other, &Env::EMPTY).map_err(Halt::into_stop),
    }
}

/// A stop on its way out, boxed so that the way of success stays narrow.
#[derive(Debug)]
pub(super) struct Halt(Box<Stop>);

impl Halt {
    pub(super) fn into_stop(self) -> Stop {
        *self.0
    }
}

impl From<Stop> for Halt {
    fn from(stop: Stop) -> Self {
        Self(Box::new(stop))
    }
}

/// What evaluation gives inside.
pub(super) type Eval<T = Value> = Result<T, Halt>;

/// A failure with its code.
#[cold]
pub(super) fn fault(code: &str, message: impl Into<String>) -> Halt {
    Stop::Error(EvalError { code: code.into(), message: message.into().into() }).into()
}

/// The parameters of the lambdas around an expression.
pub(super) struct Env<'a> {
    names: &'a [Arc<str>],
    values: &'a [Value],
    outer: Option<&'a Env<'a>>,
}

impl Env<'_> {
    const EMPTY: Env<'static> = Env { names: &[], values: &[], outer: None };

    pub(super) fn lookup(&self, name: &str) -> Option<&Value> {
        let mut env = Some(self);
        while let Some(here) = env {
            if let Some(index) = here.names.iter().position(|known| &**known == name) {
                return Some(here.values.get(index).unwrap_or(&Value::Null));
            }
            env = here.outer;
        }
        None
    }
}

/// A lambda with what it sees.
pub(super) struct Function<'a> {
    params: &'a [Arc<str>],
    body: &'a Expr,
    env: &'a Env<'a>,
}

/// An argument: a value, or a lambda.
pub(super) enum Arg<'a> {
    Value(Value),
    Function(Function<'a>),
}

impl<'a> Arg<'a> {
    pub(super) fn value(&self) -> Eval<&Value> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Function(_) => Err(fault("WRONG_ARGUMENTS", "a value is expected, not a lambda")),
        }
    }

    pub(super) fn function(&self) -> Eval<&Function<'a>> {
        match self {
            Self::Function(function) => Ok(function),
            Self::Value(_) => Err(fault("WRONG_ARGUMENTS", "a lambda such as `x => x.name` is expected")),
        }
    }
}

/// One evaluation under way.
pub(super) struct Evaluator<'s> {
    pub(super) scope: &'s dyn Scope,
    pub(super) answers: &'s [Value],
    pub(super) asked: usize,
    limits: Limits,
    steps: u32,
    depth: u32,
    size: usize,
}

impl<'s> Evaluator<'s> {
    fn new(scope: &'s dyn Scope, answers: &'s [Value], limits: &Limits) -> Self {
        Self { scope, answers, asked: 0, limits: *limits, steps: 0, depth: 0, size: 0 }
    }

    /// Counts work of a number of steps.
    pub(super) fn work(&mut self, steps: usize) -> Eval<()> {
        self.steps = self.steps.saturating_add(u32::try_from(steps).unwrap_or(u32::MAX));
        if self.steps > self.limits.steps { Err(exceeded("steps")) } else { Ok(()) }
    }

    /// Counts bytes that are about to be built.
    pub(super) fn grow(&mut self, bytes: usize) -> Eval<()> {
        self.size = self.size.saturating_add(bytes);
        if self.size > self.limits.size { Err(exceeded("bytes")) } else { Ok(()) }
    }

    /// A value of parts, if it keeps the bounds on size and nesting.
    pub(super) fn built(&mut self, value: Value) -> Eval {
        match value.extent(self.limits.size) {
            Some(extent) => {
                // Looking at a node is a fraction of what evaluating one takes.
                self.work(extent.nodes / 8)?;
                Ok(value)
            }
            None => Err(exceeded("bytes or levels of one value")),
        }
    }

    /// The value of a lambda for these arguments; parameters without one are null.
    pub(super) fn apply(&mut self, function: &Function<'_>, args: &[Value]) -> Eval {
        let env = Env { names: function.params, values: args, outer: Some(function.env) };
        self.eval(function.body, &env)
    }

    pub(super) fn eval(&mut self, expr: &Expr, env: &Env<'_>) -> Eval {
        self.steps += 1;
        if self.steps > self.limits.steps {
            return Err(exceeded("steps"));
        }
        if self.depth >= self.limits.depth {
            return Err(exceeded("levels of evaluation"));
        }
        self.depth += 1;
        let value = match expr {
            Expr::Literal(value) => Ok(value.clone()),
            Expr::Name(name) => self.name(name, env),
            Expr::Member { .. } | Expr::Index { .. } | Expr::Method { .. } => {
                self.chain(expr, env).map(Option::unwrap_or_default)
            }
            Expr::Unary { op, operand } => self.unary(*op, operand, env),
            Expr::Binary { op, left, right } => self.binary(*op, left, right, env),
            Expr::Conditional { condition, then, otherwise } => {
                self.conditional(condition, then, otherwise, env)
            }
            Expr::Call { function, args } => self.call(function, args, env),
            Expr::Lambda { .. } => {
                Err(fault("TYPE_MISMATCH", "a lambda is no value; it can only be an argument"))
            }
            Expr::Object(fields) => self.object(fields, env),
            Expr::Array(items) => self.array(items, env),
            Expr::Template(template) => self.text(template, env).map(Value::String),
        };
        self.depth -= 1;
        value
    }

    fn name(&mut self, name: &Arc<str>, env: &Env<'_>) -> Eval {
        if let Some(value) = env.lookup(name) {
            return Ok(value.clone());
        }
        self.scope.lookup(name).ok_or_else(|| fault("UNKNOWN_NAME", format!("there is no variable `{name}`")))
    }

    fn unary(&mut self, op: UnaryOp, operand: &Expr, env: &Env<'_>) -> Eval {
        let value = self.eval(operand, env)?;
        match op {
            UnaryOp::Not => Ok(Value::Bool(!truth(&value)?)),
            UnaryOp::Neg => operators::negate(&value),
        }
    }

    fn binary(&mut self, op: BinaryOp, left: &Expr, right: &Expr, env: &Env<'_>) -> Eval {
        let left = self.eval(left, env)?;
        match op {
            BinaryOp::And if !truth(&left)? => return Ok(left),
            BinaryOp::Or if truth(&left)? => return Ok(left),
            BinaryOp::Coalesce if !left.is_null() => return Ok(left),
            _ => {}
        }
        let right = self.eval(right, env)?;
        match op {
            BinaryOp::And | BinaryOp::Or => Ok(Value::Bool(truth(&right)?)),
            BinaryOp::Coalesce => Ok(right),
            op => operators::binary(self, op, &left, &right),
        }
    }

    fn conditional(&mut self, condition: &Expr, then: &Expr, otherwise: &Expr, env: &Env<'_>) -> Eval {
        let condition = self.eval(condition, env)?;
        self.eval(if truth(&condition)? { then } else { otherwise }, env)
    }

    fn call(&mut self, function: &str, args: &[Expr], env: &Env<'_>) -> Eval {
        let args = self.arguments(args, env)?;
        functions::call(self, function, &args)
    }

    fn arguments<'e>(&mut self, args: &'e [Expr], env: &'e Env<'e>) -> Eval<Vec<Arg<'e>>> {
        args.iter()
            .map(|arg| match arg {
                Expr::Lambda { params, body } => Ok(Arg::Function(Function { params, body, env })),
                other => self.eval(other, env).map(Arg::Value),
            })
            .collect()
    }

    fn object(&mut self, fields: &[(Arc<str>, Expr)], env: &Env<'_>) -> Eval {
        let mut object = BTreeMap::new();
        for (name, field) in fields {
            object.insert(name.clone(), self.eval(field, env)?);
        }
        self.built(Value::object(object))
    }

    fn array(&mut self, items: &[Expr], env: &Env<'_>) -> Eval {
        let items = items.iter().map(|item| self.eval(item, env)).collect::<Eval<Vec<_>>>()?;
        self.built(Value::array(items))
    }

    pub(super) fn text(&mut self, template: &Template, env: &Env<'_>) -> Eval<Arc<str>> {
        let mut text = String::new();
        for part in &template.0 {
            let before = text.len();
            match part {
                TemplatePart::Text(part) => text.push_str(part),
                TemplatePart::Expr(expr) => {
                    let value = self.eval(expr, env)?;
                    // What a large value takes as text is about what it takes as a value.
                    self.work(value.extent(self.limits.size).map_or(usize::MAX, |extent| extent.nodes))?;
                    // Writing to a string cannot fail.
                    let _ = write!(text, "{value}");
                }
            }
            self.grow(text.len() - before)?;
        }
        Ok(text.into())
    }

    /// The value of a chain of members, indices and methods; none where a `?.` in it met null, which ends the
    /// whole chain.
    fn chain(&mut self, expr: &Expr, env: &Env<'_>) -> Eval<Option<Value>> {
        match expr {
            Expr::Member { object, name, optional } => self.member(expr, object, name, *optional, env),
            Expr::Index { object, index, optional } => self.index(object, index, *optional, env),
            Expr::Method { object, name, args, optional } => self.method(object, name, args, *optional, env),
            other => self.eval(other, env).map(Some),
        }
    }

    /// What a member, an index or a method is of; none where the chain ends before it.
    fn receiver(&mut self, object: &Expr, optional: bool, env: &Env<'_>) -> Eval<Option<Value>> {
        self.work(1)?;
        if self.depth >= self.limits.depth {
            return Err(exceeded("levels of evaluation"));
        }
        self.depth += 1;
        let value = self.chain(object, env)?;
        self.depth -= 1;
        Ok(value.filter(|value| !(optional && value.is_null())))
    }

    fn member(
        &mut self,
        whole: &Expr,
        object: &Expr,
        name: &Arc<str>,
        optional: bool,
        env: &Env<'_>,
    ) -> Eval<Option<Value>> {
        if let Some(target) = Self::memory_target(whole, env) {
            return self.memory_whole(target).map(Some);
        }
        if &**name == "length"
            && let Some(target) = Self::memory_target(object, env)
        {
            return self.memory_method(target, "length", &[]);
        }
        let Some(value) = self.receiver(object, optional, env)? else { return Ok(None) };
        match &value {
            // A field that is not there is null, as in JSON.
            Value::Object(fields) => Ok(Some(fields.get(name).cloned().unwrap_or_default())),
            Value::Null => Err(fault(
                "NULL_MEMBER",
                format!("there is no `{name}` of null; `?.{name}` gives null instead"),
            )),
            value => methods::property(self, value, name).map(Some),
        }
    }

    fn index(&mut self, object: &Expr, index: &Expr, optional: bool, env: &Env<'_>) -> Eval<Option<Value>> {
        if let Some(target) = Self::memory_target(object, env) {
            let key = self.eval(index, env)?;
            return self.memory_entry(target, &key).map(Some);
        }
        let Some(value) = self.receiver(object, optional, env)? else { return Ok(None) };
        let index = self.eval(index, env)?;
        operators::index(&value, &index).map(Some)
    }

    fn method(
        &mut self,
        object: &Expr,
        name: &Arc<str>,
        args: &[Expr],
        optional: bool,
        env: &Env<'_>,
    ) -> Eval<Option<Value>> {
        if let Some(target) = Self::memory_target(object, env) {
            let args = self.arguments(args, env)?;
            if let Some(value) = self.memory_method(target, name, &args)? {
                return Ok(Some(value));
            }
            let value = self.memory_whole(target)?;
            return methods::call(self, &value, name, &args).map(Some);
        }
        let Some(value) = self.receiver(object, optional, env)? else { return Ok(None) };
        let args = self.arguments(args, env)?;
        methods::call(self, &value, name, &args).map(Some)
    }
}

#[cold]
fn exceeded(what: &str) -> Halt {
    fault("EVALUATION_LIMIT", format!("the expression takes too many {what}"))
}

/// The truth of a bool; there is no truth in other values.
pub(super) fn truth(value: &Value) -> Eval<bool> {
    value
        .as_bool()
        .ok_or_else(|| fault("TYPE_MISMATCH", format!("a bool is expected, not {}", value.type_name())))
}
