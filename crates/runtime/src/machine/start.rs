//! The first state of an execution: input checked against the flow's parameters, configuration completed.

use std::collections::VecDeque;
use std::sync::Arc;

use scaigrid_ir::types::TypeError;
use scaigrid_ir::value::MAX_DEPTH;
use scaigrid_ir::{Flow, Type, Value};

use super::Start;
use super::state::{Execution, Fiber, Frame, Names, State};
use crate::failure::Failure;
use crate::program::Program;

pub(super) fn state(program: &Program, start: Start) -> Result<State, Failure> {
    let Start { flow: name, input, config, context, env, debug } = start;
    let module = program.module();
    let found = module.flows.iter().position(|flow| flow.name == name).and_then(|index| {
        let index = u32::try_from(index).ok()?;
        let (flow, body) = program.flow(index)?;
        Some((index, flow, body))
    });
    let Some((index, flow, body)) = found else {
        return Err(Failure::new("FLOW_NOT_FOUND", format!("the program has no flow {name}")));
    };
    let input = admit(program, flow, input)?;
    for (what, value, inside) in
        [("configuration", &config, 0), ("environment", &env, 0), ("trigger", &context.trigger, 1)]
    {
        // The trigger stands one level down, in `execution`.
        if value.extent(usize::MAX).is_none_or(|extent| extent.depth + inside > MAX_DEPTH) {
            return Err(Failure::new("INPUT_INVALID", format!("the {what} is nested too deeply")));
        }
    }
    Ok(State {
        flow: index,
        input,
        config: effective(program, config),
        env,
        context,
        execution: Execution::default(),
        names: Names::new(),
        fibers: vec![Fiber::new(0, None, vec![Frame::blocks(body)])],
        next_fiber: 1,
        next_effect: 0,
        inbox: VecDeque::new(),
        steps: 0,
        grown: 0,
        measured: 0,
        cancelled: None,
        end: None,
        open: Vec::new(),
        grants: Vec::new(),
        debug,
    })
}

/// The input as the flow declares it. Fields that are no parameters stay in `input`.
fn admit(program: &Program, flow: &Flow, input: Value) -> Result<Value, Failure> {
    let mut fields = match input {
        Value::Null => Names::new(),
        Value::Object(fields) => Arc::unwrap_or_clone(fields),
        other => {
            let detail = TypeError {
                path: String::new(),
                expected: "an object".to_owned(),
                found: other.type_name().to_owned(),
            };
            return Err(Failure::mismatch("INPUT_INVALID", "the input", [detail]));
        }
    };
    let mut details = Vec::new();
    for param in &flow.params {
        let value = match (fields.remove(&param.name), &param.default) {
            (Some(value), _) => value,
            (None, Some(default)) => default.clone(),
            (None, None) if is_optional(&param.ty, program) => Value::Null,
            (None, None) => {
                details.push(TypeError {
                    path: param.name.to_string(),
                    expected: param.ty.to_string(),
                    found: "nothing".to_owned(),
                });
                continue;
            }
        };
        match param.ty.admit(value, &program.module().types) {
            Ok(value) => {
                fields.insert(Arc::clone(&param.name), value);
            }
            Err(errors) => {
                details.extend(errors.into_iter().map(|error| error.under(&param.name)));
            }
        }
    }
    if !details.is_empty() {
        return Err(Failure::mismatch("INPUT_INVALID", "the input", details));
    }
    let input = Value::Object(Arc::new(fields));
    if input.extent(usize::try_from(crate::limits::MAX_STATE_BYTES).unwrap_or(usize::MAX)).is_none() {
        return Err(Failure::new("INPUT_INVALID", "the input is too large, or nested too deeply"));
    }
    Ok(input)
}

/// Whether a parameter of this type may be left out.
fn is_optional(ty: &Type, program: &Program) -> bool {
    let mut ty = ty;
    // Named types may lead to one another; a program cannot make this walk longer than that.
    for _ in 0..32 {
        match ty {
            Type::Optional(_) | Type::Null => return true,
            Type::Union(options) => {
                return options.iter().any(|option| matches!(option, Type::Null | Type::Optional(_)));
            }
            Type::Named(name) => match program.module().types.get(name) {
                Some(named) => ty = named,
                None => return false,
            },
            _ => return false,
        }
    }
    false
}

/// The configuration with declared defaults, without secrets.
fn effective(program: &Program, config: Value) -> Value {
    let mut fields = match config {
        Value::Object(fields) => Arc::unwrap_or_clone(fields),
        _ => Names::new(),
    };
    for (name, decl) in &program.module().config {
        if decl.secret {
            fields.remove(name);
        } else if !fields.contains_key(name) {
            fields.insert(Arc::clone(name), decl.default.clone().unwrap_or_default());
        }
    }
    Value::Object(Arc::new(fields))
}
