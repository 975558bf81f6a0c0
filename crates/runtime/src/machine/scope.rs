//! What names mean where a fiber stands, and where a name that is bound or assigned to lives.

use std::collections::BTreeMap;
use std::sync::Arc;

use scaigrid_ir::expr::Scope;
use scaigrid_ir::{Type, Value};

use super::state::{Fiber, Frame, Names, State};
use crate::failure::Failure;
use crate::program::{ForkNode, Program};

/// The names that a fiber sees.
pub(super) struct View<'a> {
    pub(super) program: &'a Program,
    pub(super) state: &'a State,
    pub(super) fiber: usize,
    /// Names that a pattern has bound, for its guard.
    pub(super) bound: &'a [(Arc<str>, Value)],
}

impl Scope for View<'_> {
    fn lookup(&self, name: &str) -> Option<Value> {
        if let Some((_, value)) = self.bound.iter().rev().find(|(bound, _)| &**bound == name) {
            return Some(value.clone());
        }
        let mut fiber = self.state.fibers.get(self.fiber);
        while let Some(strand) = fiber {
            if let Some(value) = loop_variable(self.program, strand, name) {
                return Some(value);
            }
            if let Some(value) = strand.locals.get(name) {
                return Some(value.clone());
            }
            fiber = strand.parent.and_then(|id| self.state.fibers.get(self.state.fiber_index(id)?));
        }
        if let Some(value) = self.state.names.get(name) {
            return Some(value.clone());
        }
        if let Some(value) = parameter(self.program, self.state, name) {
            return Some(value.clone());
        }
        match name {
            "input" => Some(self.state.input.clone()),
            "config" => Some(self.state.config.clone()),
            "env" => Some(self.state.env.clone()),
            "reference" => Some(self.program.reference().clone()),
            "identity" => Some(self.program.identity().clone()),
            "execution" => Some(execution(self.program, self.state).clone()),
            _ => None,
        }
    }

    fn types(&self) -> &BTreeMap<Arc<str>, Type> {
        &self.program.module().types
    }
}

/// The value of a loop variable of this name, of the innermost loop that has one.
fn loop_variable(program: &Program, fiber: &Fiber, name: &str) -> Option<Value> {
    fiber.frames.iter().rev().find_map(|frame| {
        if let Frame::Invalid { output, violation } = frame {
            return match name {
                "output" => Some(output.clone()),
                "violation" => Some(violation.clone()),
                _ => None,
            };
        }
        let (list, at, index, item) = loop_frame(frame)?;
        let foreach = program.foreach(list, at)?;
        if *foreach.var == *name {
            return Some(item.clone());
        }
        (foreach.index_var.as_deref() == Some(name)).then(|| Value::Int(i64::from(index)))
    })
}

/// The variables of the loops that a fiber is in, an inner one's in the place of an outer one's of the same name.
pub(super) fn loop_variables(program: &Program, fiber: &Fiber) -> Names {
    let mut names = Names::new();
    for frame in &fiber.frames {
        if let Frame::Invalid { output, violation } = frame {
            names.insert("output".into(), output.clone());
            names.insert("violation".into(), violation.clone());
        }
        if let Some((list, at, index, item)) = loop_frame(frame)
            && let Some(foreach) = program.foreach(list, at)
        {
            names.insert(Arc::clone(&foreach.var), item.clone());
            if let Some(name) = &foreach.index_var {
                names.insert(Arc::clone(name), Value::Int(i64::from(index)));
            }
        }
    }
    names
}

fn loop_frame(frame: &Frame) -> Option<(u32, u32, u32, &Value)> {
    match frame {
        Frame::Foreach { list, at, index, item, .. } | Frame::Iteration { list, at, index, item } => {
            Some((*list, *at, *index, item))
        }
        _ => None,
    }
}

/// A parameter's value, where it has not been changed since the start.
fn parameter<'s>(program: &Program, state: &'s State, name: &str) -> Option<&'s Value> {
    let (flow, _) = program.flow(state.flow)?;
    if flow.params.iter().any(|param| &*param.name == name) { state.input.get(name) } else { None }
}

/// What the program sees as `execution`.
fn execution<'s>(program: &Program, state: &'s State) -> &'s Value {
    state.execution.0.get_or_init(|| {
        let context = &state.context;
        let flow =
            program.flow(state.flow).map_or(Value::Null, |(flow, _)| Value::String(Arc::clone(&flow.name)));
        let mut fields = Names::new();
        fields.insert("id".into(), Value::String(Arc::clone(&context.execution_id)));
        fields.insert("core_id".into(), Value::String(Arc::clone(&context.core_id)));
        fields.insert("flow".into(), flow);
        fields.insert("trigger".into(), context.trigger.clone());
        fields.insert("started_at".into(), Value::Datetime(context.started_at));
        Value::Object(Arc::new(fields))
    })
}

/// The flow's variables, parameters among them.
pub(super) fn variables(program: &Program, state: &State) -> Value {
    let mut names = Names::new();
    if let Some((flow, _)) = program.flow(state.flow) {
        for param in &flow.params {
            if let Some(value) = state.input.get(&param.name) {
                names.insert(Arc::clone(&param.name), value.clone());
            }
        }
    }
    names.extend(state.names.iter().map(|(name, value)| (Arc::clone(name), value.clone())));
    Value::Object(Arc::new(names))
}

/// Where a loop variable lives in a fiber.
enum LoopPlace {
    Item(usize),
    /// It cannot be changed.
    Fixed,
}

fn loop_place(program: &Program, fiber: &Fiber, name: &str) -> Option<LoopPlace> {
    fiber.frames.iter().enumerate().rev().find_map(|(level, frame)| {
        if let Frame::Invalid { .. } = frame {
            return matches!(name, "output" | "violation").then_some(LoopPlace::Fixed);
        }
        let (list, at, ..) = loop_frame(frame)?;
        let foreach = program.foreach(list, at)?;
        if *foreach.var == *name {
            return Some(LoopPlace::Item(level));
        }
        (foreach.index_var.as_deref() == Some(name)).then_some(LoopPlace::Fixed)
    })
}

fn read_only(name: &str) -> Failure {
    Failure::new("READ_ONLY", format!("{name} cannot be changed"))
}

/// Binds a name: in the loop whose variable it is, else in the iteration's own scope, else in the flow's.
pub(super) fn bind(
    program: &Program,
    state: &mut State,
    fiber: usize,
    name: &Arc<str>,
    value: Value,
) -> Result<(), Failure> {
    let Some(strand) = state.fibers.get_mut(fiber) else { return Ok(()) };
    match loop_place(program, strand, name) {
        Some(LoopPlace::Fixed) => return Err(read_only(name)),
        Some(LoopPlace::Item(level)) => {
            if let Some(Frame::Foreach { item, .. } | Frame::Iteration { item, .. }) =
                strand.frames.get_mut(level)
            {
                *item = value;
            }
        }
        None if strand.parent.is_some() => {
            strand.locals.insert(Arc::clone(name), value);
        }
        None => {
            state.names.insert(Arc::clone(name), value);
        }
    }
    Ok(())
}

/// The variable of this name, to be changed in place, wherever it lives.
pub(super) fn variable<'s>(
    program: &Program,
    state: &'s mut State,
    fiber: usize,
    name: &Arc<str>,
) -> Result<&'s mut Value, Failure> {
    let mut at = Some(fiber);
    // Whether the variable would be one that a branch of a `parallel` only reads.
    let mut outside = false;
    while let Some(index) = at {
        let Some(strand) = state.fibers.get(index) else { break };
        if outside && (loop_place(program, strand, name).is_some() || strand.locals.contains_key(name)) {
            return Err(read_only(name));
        }
        match loop_place(program, strand, name) {
            Some(LoopPlace::Fixed) => return Err(read_only(name)),
            Some(LoopPlace::Item(level)) => {
                let frame = state.fibers.get_mut(index).and_then(|strand| strand.frames.get_mut(level));
                return match frame {
                    Some(Frame::Foreach { item, .. } | Frame::Iteration { item, .. }) => Ok(item),
                    _ => Err(unknown(name)),
                };
            }
            None => {}
        }
        if strand.locals.contains_key(name) {
            let local = state.fibers.get_mut(index).and_then(|strand| strand.locals.get_mut(name));
            return local.ok_or_else(|| unknown(name));
        }
        outside |= is_branch(program, strand);
        at = strand.parent.and_then(|id| state.fiber_index(id));
    }
    if outside && (state.names.contains_key(name) || parameter(program, state, name).is_some()) {
        return Err(read_only(name));
    }
    if !state.names.contains_key(name) {
        // A parameter leaves the input only when it is changed.
        let value = match parameter(program, state, name) {
            Some(value) => value.clone(),
            None if matches!(
                &**name,
                "input" | "config" | "env" | "reference" | "identity" | "execution"
            ) =>
            {
                return Err(read_only(name));
            }
            None => return Err(unknown(name)),
        };
        state.names.insert(Arc::clone(name), value);
    }
    state.names.get_mut(name).ok_or_else(|| unknown(name))
}

/// Whether a fiber is a branch of a `parallel`.
fn is_branch(program: &Program, fiber: &Fiber) -> bool {
    match fiber.frames.first() {
        Some(Frame::Iteration { list, at, .. }) => {
            matches!(program.fork(*list, *at), Some(ForkNode::Parallel(_)))
        }
        _ => false,
    }
}

fn unknown(name: &str) -> Failure {
    Failure::new("UNKNOWN_NAME", format!("{name} is not bound"))
}
