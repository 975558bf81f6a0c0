//! The steps of blocks.

use std::sync::Arc;
use std::time::Duration;

use scaigrid_ir::Value;
use scaigrid_ir::block::{Checkpoint, CoreCall};
use scaigrid_ir::expr::Expr;

use super::approval::grant;
use super::awaiting::{Wanted, wanted};
use super::generate::{self, Begun, model_call, model_value};
use super::pattern::{Bound, fits};
use super::schedule::Run;
use super::script::{Halt, Script, mismatch, text_key};
use super::state::{Completion, Frame, Names, Phase, Then};
use crate::effect::{ActionRequest, CheckpointRequest, CoreCallRequest, Effect, EffectKind, action_hash};
use crate::failure::Failure;
use crate::program::{ArmNode, BlockNode, BlockOp, GenerateNode, ListNo, ParallelNode};

/// What a block comes to, once its expressions have their values.
enum Action<'p> {
    /// It is done.
    Value(Value),
    Statements(ListNo),
    /// A body runs, with names bound before.
    Body(ListNo, Bound),
    Foreach(Arc<Vec<Value>>),
    While,
    Try(ListNo),
    Parallel(&'p ParallelNode),
    Await(Wanted),
    Budget(ListNo, Option<Duration>),
    Generate(&'p GenerateNode, Begun),
}

impl Run<'_> {
    /// Begins the block at `at` of `list`, which the top frame is at.
    pub(super) fn block(&mut self, f: usize, node: &BlockNode, list: ListNo, at: u32) {
        if node.retry.is_some() || node.bound().is_some() {
            self.guarded(f, node, list, at);
        } else {
            self.begin(f, node, list, at);
        }
    }

    /// Begins a block, or an attempt of one.
    pub(super) fn begin(&mut self, f: usize, node: &BlockNode, list: ListNo, at: u32) {
        let place = (&node.id, &node.pointer);
        let Some(action) = self.evaluate(f, place, |script| action(script, node)) else { return };
        let (first, second) = match action {
            Action::Value(value) => return self.complete(f, Completion::Value(value)),
            Action::Statements(list) => (Frame::statements(list), None),
            Action::Body(body, bound) => {
                for (name, value) in bound {
                    if let Err(failure) = self.bind(f, &name, value) {
                        return self.complete(f, Completion::Error(failure.at(&node.id, &node.pointer)));
                    }
                }
                (Frame::blocks(body), None)
            }
            Action::Foreach(items) => return self.foreach(f, list, at, items),
            Action::While => (Frame::While { list, at, count: 0, value: Value::Null }, None),
            Action::Try(body) => (Frame::Try { list, at, phase: Phase::Body }, Some(Frame::blocks(body))),
            Action::Parallel(parallel) => return self.parallel(f, list, at, parallel),
            Action::Await(wanted) => return self.wait_for(f, node, list, at, wanted),
            Action::Budget(body, span) => {
                let spent = self.fresh_budget(node, span);
                (Frame::Budget { list, at, spent }, Some(Frame::blocks(body)))
            }
            Action::Generate(generate, Begun::Invalid(violation)) => {
                return self.invalid(f, node, generate, Value::Null, violation);
            }
            Action::Generate(generate, Begun::Asking(state)) => {
                for (_, value) in &state.inputs {
                    if let Err(failure) = self.fit(value) {
                        return self.complete(f, Completion::Error(failure.at(&node.id, &node.pointer)));
                    }
                }
                let frame = Frame::Generate { list, at, state };
                match &generate.generation.budget {
                    Some(budget) => {
                        let spent = self.fresh_budget(node, budget.max_duration);
                        (Frame::Budget { list, at, spent }, Some(frame))
                    }
                    None => (frame, None),
                }
            }
        };
        if let Some(fiber) = self.state.fibers.get_mut(f) {
            fiber.frames.push(first);
            fiber.frames.extend(second);
        }
    }

    /// Whether the `while` at the top runs once more.
    pub(super) fn condition(&mut self, f: usize, list: ListNo, at: u32, count: u32) {
        let program = self.program;
        let Some(node) = program.block(list, at) else { return self.lost() };
        let BlockOp::While { condition, max_iterations, body } = &node.op else { return self.lost() };
        let place = (&node.id, &node.pointer);
        let holds = self.evaluate(f, place, |script| {
            let holds = script.truth(condition, &Bound::new())?;
            if holds && count >= *max_iterations {
                let message =
                    format!("the loop has run {max_iterations} times, and its condition still holds");
                return Err(Failure::new("ITERATION_LIMIT", message).into());
            }
            Ok(holds)
        });
        let Some(fiber) = self.state.fibers.get_mut(f) else { return };
        match holds {
            Some(true) => {
                if let Some(Frame::While { count, .. }) = fiber.frames.last_mut() {
                    *count = count.saturating_add(1);
                }
                fiber.frames.push(Frame::blocks(*body));
            }
            Some(false) => {
                let value = match fiber.frames.pop() {
                    Some(Frame::While { value, .. }) => value,
                    _ => Value::Null,
                };
                self.complete(f, Completion::Value(value));
            }
            None => {}
        }
    }

    /// Takes up the outcome of the effect that a block is.
    pub(super) fn finish_block(&mut self, f: usize, node: &BlockNode, effect: &Effect, value: Value) {
        if let BlockOp::ModelCall(call) = &node.op {
            let completion = match model_value(self.program, call, &value) {
                Ok(value) => Completion::Value(value),
                Err(failure) => Completion::Error(failure.at(&node.id, &node.pointer)),
            };
            return self.complete(f, completion);
        }
        if let BlockOp::Checkpoint { checkpoint, on_response } = &node.op {
            if let EffectKind::Checkpoint(request) = &effect.kind {
                grant(self.state, effect.id, checkpoint, request, &value);
            }
            let decision = value.get("decision").and_then(Value::as_str);
            let body =
                on_response.iter().find(|(option, _)| Some(&**option) == decision).map(|(_, body)| *body);
            if let Some(body) = body {
                // The body may read the answer under the block's own name.
                if let Some(name) = &node.result_binding
                    && let Err(failure) = self.bind(f, name, value.clone())
                {
                    return self.complete(f, Completion::Error(failure.at(&node.id, &node.pointer)));
                }
                if let Some(fiber) = self.state.fibers.get_mut(f) {
                    fiber.frames.push(Frame::Respond { answer: value });
                    fiber.frames.push(Frame::blocks(body));
                }
                return;
            }
        }
        self.complete(f, Completion::Value(value));
    }
}

fn action<'p>(script: &mut Script<'_>, node: &'p BlockNode) -> Result<Action<'p>, Halt> {
    // The condition of a block that is bounded or tried again was looked at before.
    if let Some(when) = &node.when
        && node.retry.is_none()
        && node.bound().is_none()
        && script.eval(when)? != Value::Bool(true)
    {
        return Ok(Action::Value(Value::Null));
    }
    Ok(match &node.op {
        BlockOp::Rigid { statements } => Action::Statements(*statements),
        BlockOp::Match { subject, arms, otherwise } => {
            let subject = script.eval(subject)?;
            choose(script, &subject, arms, *otherwise)?
        }
        BlockOp::Foreach(foreach) => match script.eval(&foreach.items)? {
            Value::Array(items) if items.is_empty() => Action::Value(Value::Array(items)),
            Value::Array(items) => Action::Foreach(items),
            other => return Err(mismatch("the items should be an array", &other).into()),
        },
        BlockOp::While { .. } => Action::While,
        BlockOp::Try { body, .. } => Action::Try(*body),
        BlockOp::Checkpoint { checkpoint, .. } => {
            let request = question(script, checkpoint, node)?;
            return Err(Halt::Ask(EffectKind::Checkpoint(Box::new(request)), Then::Finish));
        }
        BlockOp::CoreCall(call) => {
            let request = core_call(script, call)?;
            let then = if call.is_async { Then::Handle } else { Then::Finish };
            return Err(Halt::Ask(EffectKind::CoreCall(Box::new(request)), then));
        }
        BlockOp::Parallel(parallel) if parallel.bodies.is_empty() => Action::Value(Value::object(Names::new())),
        BlockOp::Parallel(parallel) => Action::Parallel(parallel),
        BlockOp::Await(wait) => Action::Await(wanted(script, wait, node)?),
        BlockOp::ModelCall(call) => {
            let request = model_call(script, node, call)?;
            return Err(Halt::Ask(EffectKind::ModelCall(Box::new(request)), Then::Finish));
        }
        BlockOp::Generate(generate) => Action::Generate(generate, generate::begin(script, generate)?),
        BlockOp::Budget { limits, body, .. } => Action::Budget(*body, limits.max_duration),
        BlockOp::Debug { statements } if script.state.debug => Action::Statements(*statements),
        BlockOp::Debug { .. } => Action::Value(Value::Null),
    })
}

/// The first arm that fits.
fn choose<'p>(
    script: &mut Script<'_>,
    subject: &Value,
    arms: &'p [ArmNode],
    otherwise: Option<ListNo>,
) -> Result<Action<'p>, Halt> {
    for arm in arms {
        let mut bound = Bound::new();
        if !fits(&arm.pattern, subject, &script.program.module().types, &mut bound) {
            continue;
        }
        let holds = match &arm.guard {
            Some(guard) => script.truth(guard, &bound)?,
            None => true,
        };
        if holds {
            return Ok(Action::Body(arm.body, bound));
        }
    }
    match otherwise {
        Some(body) => Ok(Action::Body(body, Bound::new())),
        None => Err(Failure::new("NO_MATCH", "no arm fits the value").into()),
    }
}

fn question(
    script: &mut Script<'_>,
    checkpoint: &Checkpoint,
    node: &BlockNode,
) -> Result<CheckpointRequest, Halt> {
    Ok(CheckpointRequest {
        checkpoint_type: Arc::clone(&checkpoint.checkpoint_type),
        prompt: script.render(&checkpoint.prompt)?,
        payload: script.eval_opt(checkpoint.payload.as_ref())?.unwrap_or_default(),
        options: checkpoint.options.clone(),
        assignee: script.render_opt(checkpoint.assignee.as_ref())?,
        priority: checkpoint.priority,
        timeout: checkpoint.timeout.or(node.timeout),
        on_timeout: checkpoint.on_timeout.clone(),
        escalation_target: script.render_opt(checkpoint.escalation_target.as_ref())?,
        label: script.render_opt(node.label.as_ref())?,
        form: checkpoint.form.clone(),
        required_approvals: checkpoint.required_approvals,
        exclude_requester: checkpoint.exclude_requester,
        action: match &checkpoint.action {
            Some(action) => Some(Box::new(allowed(script, action)?)),
            None => None,
        },
    })
}

/// The call that a checkpoint's answer allows.
fn allowed(script: &mut Script<'_>, action: &scaigrid_ir::block::Action) -> Result<ActionRequest, Halt> {
    let args = named(script, &action.args)?;
    Ok(ActionRequest {
        hash: action_hash(&action.alias, &action.method, &args),
        alias: Arc::clone(&action.alias),
        method: Arc::clone(&action.method),
        args,
    })
}

/// Named values as one object.
fn named(script: &mut Script<'_>, entries: &[(Arc<str>, Expr)]) -> Result<Value, Halt> {
    let mut fields = Names::new();
    for (name, value) in entries {
        fields.insert(Arc::clone(name), script.eval(value)?);
    }
    let value = Value::Object(Arc::new(fields));
    if value.extent(usize::MAX).is_none() {
        return Err(Failure::new("EVALUATION_LIMIT", "the value is nested too deeply").into());
    }
    Ok(value)
}

fn core_call(script: &mut Script<'_>, call: &CoreCall) -> Result<CoreCallRequest, Halt> {
    let input = named(script, &call.input_bindings)?;
    let instance_key = match script.eval_opt(call.instance_key.as_ref())? {
        None | Some(Value::Null) => None,
        Some(key) => Some(text_key("an instance key", key)?),
    };
    Ok(CoreCallRequest {
        target: Arc::clone(&call.target),
        flow_name: Arc::clone(&call.flow_name),
        input,
        instance_key,
        version: call.version,
        is_async: call.is_async,
    })
}
