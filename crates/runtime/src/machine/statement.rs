//! The steps of statements.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use scaigrid_ir::block::{AssignStep, MemoryOp, MemoryStatement, PluginCall, TimeSpan};
use scaigrid_ir::expr::Expr;
use scaigrid_ir::{Type, Value};

use super::approval::approve;
use super::assign::{Key, assign};
use super::awaiting::{event, timer};
use super::pattern::Bound;
use super::schedule::Run;
use super::scope;
use super::script::{Halt, Script, mismatch, text_key};
use super::state::{Completion, Frame, Then};
use crate::effect::{EffectKind, MemoryRequest, PluginCallRequest};
use crate::failure::Failure;
use crate::program::{ListNo, Program, StatementNode, StatementOp};

/// What a statement comes to, once its expressions have their values.
enum Action<'p> {
    Value(Value),
    Bind(&'p Arc<str>, Value),
    Assign(&'p Arc<str>, Vec<Key>, Value),
    Branch(ListNo),
    Leave(Completion),
}

impl Run<'_> {
    pub(super) fn statement(&mut self, f: usize, node: &StatementNode) {
        let place = (&node.block, &node.pointer);
        let Some(action) = self.evaluate(f, place, |script| action(script, &node.op)) else { return };
        let done = match action {
            Action::Value(value) => Ok(value),
            Action::Bind(name, value) => self.bind(f, name, value).map(|()| Value::Null),
            Action::Assign(name, path, value) => self.assign(f, name, &path, value).map(|()| Value::Null),
            Action::Branch(list) => {
                if let Some(fiber) = self.state.fibers.get_mut(f) {
                    fiber.frames.push(Frame::statements(list));
                }
                return;
            }
            Action::Leave(completion) => return self.complete(f, completion),
        };
        self.settle(f, node, done);
    }

    /// Takes up the outcome of the effect that a statement ends with.
    pub(super) fn finish_statement(
        &mut self,
        f: usize,
        node: &StatementNode,
        kind: EffectKind,
        value: Value,
    ) {
        let done = match (&node.op, kind) {
            (StatementOp::Memory(statement), EffectKind::Memory(request)) => {
                let value = match request.op {
                    MemoryOp::Set | MemoryOp::Update | MemoryOp::Add => request.value.unwrap_or_default(),
                    MemoryOp::Delete => Value::Null,
                    MemoryOp::Get | MemoryOp::List | MemoryOp::Search | MemoryOp::Last | MemoryOp::Count => {
                        value
                    }
                };
                self.bound(f, statement.result_binding.as_ref(), value)
            }
            (StatementOp::PluginCall { call, .. }, _) => self.bound(f, call.result_binding.as_ref(), value),
            (StatementOp::WaitEvent(wait), _) => self.bound(f, wait.result_binding.as_ref(), value),
            (StatementOp::Sleep(_), _) => Ok(value),
            _ => Ok(Value::Null),
        };
        self.settle(f, node, done);
    }

    /// Binds a statement's value, where it has a name for it.
    fn bound(&mut self, f: usize, name: Option<&Arc<str>>, value: Value) -> Result<Value, Failure> {
        if let Some(name) = name {
            self.bind(f, name, value.clone())?;
        }
        Ok(value)
    }

    fn settle(&mut self, f: usize, node: &StatementNode, done: Result<Value, Failure>) {
        let completion = match done {
            Ok(value) => Completion::Value(value),
            Err(failure) => Completion::Error(failure.at(&node.block, &node.pointer)),
        };
        self.complete(f, completion);
    }

    fn assign(&mut self, f: usize, name: &Arc<str>, path: &[Key], value: Value) -> Result<(), Failure> {
        self.fit(&value)?;
        assign(scope::variable(self.program, self.state, f, name)?, path, value)
    }
}

fn action<'p>(script: &mut Script<'_>, op: &'p StatementOp) -> Result<Action<'p>, Halt> {
    Ok(match op {
        StatementOp::Let { name, value } => Action::Bind(name, script.eval(value)?),
        StatementOp::Assign { target, value } => {
            let path = target.path.iter().map(|step| match step {
                AssignStep::Member(name) => Ok(Key::Member(Arc::clone(name))),
                AssignStep::Index(index) => script.eval(index).map(Key::Index),
            });
            let path = path.collect::<Result<_, Halt>>()?;
            Action::Assign(&target.name, path, script.eval(value)?)
        }
        StatementOp::Expression { value } => Action::Value(script.eval(value)?),
        StatementOp::If { condition, then, otherwise } => {
            Action::Branch(if script.truth(condition, &Bound::new())? { *then } else { *otherwise })
        }
        StatementOp::Return { value } => {
            Action::Leave(Completion::Return(script.eval_opt(value.as_ref())?.unwrap_or_default()))
        }
        StatementOp::Break => Action::Leave(Completion::Break),
        StatementOp::Continue => Action::Leave(Completion::Continue),
        StatementOp::Emit { event, data } => {
            let event = script.render(event)?;
            let data = script.eval_opt(data.as_ref())?.unwrap_or_default();
            return Err(Halt::Ask(EffectKind::Emit { event, data }, Then::Finish));
        }
        StatementOp::Log { level, message, fields } => {
            let message = script.render(message)?;
            let fields = script.eval_opt(fields.as_ref())?.unwrap_or_default();
            return Err(Halt::Ask(EffectKind::Log { level: *level, message, fields }, Then::Finish));
        }
        StatementOp::Memory(statement) => {
            let request = memory(script, statement)?;
            return Err(Halt::Ask(EffectKind::Memory(request), Then::Finish));
        }
        StatementOp::Fail { code, message } => {
            let code = script.render(code)?;
            let message = script.render_opt(message.as_ref())?.unwrap_or_else(|| Arc::clone(&code));
            return Err(Failure::new(code, message).into());
        }
        StatementOp::PluginCall { call, timeout } => {
            let mut request = plugin_call(script, call, *timeout)?;
            approve(script, &mut request)?;
            return Err(Halt::Ask(EffectKind::PluginCall(Box::new(request)), Then::Finish));
        }
        StatementOp::Sleep(TimeSpan::For(expr) | TimeSpan::Until(expr)) => {
            let request = timer(script.eval(expr)?)?;
            return Err(Halt::Ask(EffectKind::Timer(request), Then::Finish));
        }
        StatementOp::WaitEvent(wait) => {
            let name = script.render(&wait.name)?;
            let request = event(script, name, wait.filter.as_ref(), wait.timeout);
            return Err(Halt::Ask(EffectKind::WaitEvent(Box::new(request)), Then::Finish));
        }
    })
}

fn plugin_call(
    script: &mut Script<'_>,
    call: &PluginCall,
    timeout: Option<Duration>,
) -> Result<PluginCallRequest, Halt> {
    let args = match script.eval_opt(call.args.as_ref())? {
        None | Some(Value::Null) => Value::object(BTreeMap::new()),
        Some(args @ Value::Object(_)) => args,
        Some(other) => return Err(mismatch("the arguments should be an object", &other).into()),
    };
    Ok(PluginCallRequest {
        alias: Arc::clone(&call.alias),
        method: Arc::clone(&call.method),
        args,
        timeout,
        approved_by: None,
        approved_until: None,
    })
}

/// The request of a memory statement; for an update that of its second half.
fn memory(script: &mut Script<'_>, statement: &MemoryStatement) -> Result<MemoryRequest, Halt> {
    let program = script.program;
    script.declared(&statement.target)?;
    let key = match script.eval_opt(statement.key.as_ref())? {
        Some(key) => Some(text_key("a key", key)?),
        None => None,
    };
    let mut request = MemoryRequest {
        op: statement.op,
        target: Arc::clone(&statement.target),
        key,
        value: None,
        prefix: text(script, "a prefix", statement.prefix.as_ref())?,
        query: text(script, "a query", statement.query.as_ref())?,
        limit: limit(script, statement.limit.as_ref())?,
        descending: statement.descending,
        for_update: false,
        min_similarity: share(script, statement.min_similarity.as_ref())?,
    };
    let written = match statement.op {
        MemoryOp::Set | MemoryOp::Add => script.eval_opt(statement.value.as_ref())?.unwrap_or_default(),
        MemoryOp::Update => {
            let present = script.effect(|| {
                EffectKind::Memory(MemoryRequest { op: MemoryOp::Get, for_update: true, ..request.clone() })
            })?;
            match &statement.value {
                Some(lambda @ Expr::Lambda { .. }) => script.apply(lambda, &present)?,
                Some(value) => merged(present, script.eval(value)?),
                None => Value::Null,
            }
        }
        MemoryOp::Get
        | MemoryOp::Delete
        | MemoryOp::List
        | MemoryOp::Search
        | MemoryOp::Last
        | MemoryOp::Count => return Ok(request),
    };
    request.value = Some(admit(program, &request, written)?);
    Ok(request)
}

fn text(script: &mut Script<'_>, what: &str, expr: Option<&Expr>) -> Result<Option<Arc<str>>, Halt> {
    match script.eval_opt(expr)? {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(mismatch(&format!("{what} should be a text"), &other).into()),
    }
}

fn limit(script: &mut Script<'_>, expr: Option<&Expr>) -> Result<Option<u32>, Halt> {
    match script.eval_opt(expr)? {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Int(count)) if count >= 0 => Ok(Some(u32::try_from(count).unwrap_or(u32::MAX))),
        Some(other) => Err(mismatch("a limit should be an int from 0", &other).into()),
    }
}

fn share(script: &mut Script<'_>, expr: Option<&Expr>) -> Result<Option<f64>, Halt> {
    let Some(value) = script.eval_opt(expr)?.filter(|value| !value.is_null()) else { return Ok(None) };
    match value.as_float() {
        Some(share) if (0.0..=1.0).contains(&share) => Ok(Some(share)),
        Some(_) => {
            let message = format!("the least similarity is a number from 0 to 1, not {value}");
            Err(Failure::new("INVALID_VALUE", message).into())
        }
        None => Err(mismatch("the least similarity should be a number from 0 to 1", &value).into()),
    }
}

/// What an update without a lambda writes: the fields of both, where both are objects, the new ones first.
fn merged(present: Value, change: Value) -> Value {
    match (present, change) {
        (Value::Object(mut present), Value::Object(change)) => {
            let fields = Arc::make_mut(&mut present);
            fields.extend(change.iter().map(|(name, value)| (Arc::clone(name), value.clone())));
            Value::Object(present)
        }
        (_, change) => change,
    }
}

/// A value as the variable's declared type has it.
fn admit(program: &Program, request: &MemoryRequest, value: Value) -> Result<Value, Failure> {
    let types = &program.module().types;
    let Some(decl) = program.module().memory.get(&request.target) else { return Ok(value) };
    let is_part = request.key.is_some() || request.op == MemoryOp::Add;
    let ty = if is_part { part(&decl.ty, request, program)? } else { &decl.ty };
    ty.admit(value, types).map_err(|errors| {
        let what = format!("the value for memory.{}", request.target);
        Failure::mismatch("TYPE_MISMATCH", &what, errors)
    })
}

/// The type of an entry or an element of a persistent variable.
fn part<'p>(ty: &'p Type, request: &MemoryRequest, program: &'p Program) -> Result<&'p Type, Failure> {
    let mut whole = ty;
    // Named types may lead to one another without end.
    for _ in 0..32 {
        match (whole, &request.key) {
            (Type::Json, _) => return Ok(whole),
            (Type::Map(entry), Some(_)) => return Ok(entry),
            (Type::Object(fields), Some(key)) if fields.contains_key(key) => {
                return fields.get(key).ok_or_else(|| no_part(request));
            }
            (Type::Array(element), None) => return Ok(element),
            (Type::Optional(inner), _) => whole = inner,
            (Type::Named(name), _) => {
                whole = program.module().types.get(name).ok_or_else(|| no_part(request))?;
            }
            _ => break,
        }
    }
    Err(no_part(request))
}

fn no_part(request: &MemoryRequest) -> Failure {
    let what = if request.key.is_some() { "entries" } else { "elements" };
    Failure::new("TYPE_MISMATCH", format!("memory.{} has no such {what}", request.target))
}
