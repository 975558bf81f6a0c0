//! Calls of models: single ones, and the rounds of a generation.

use std::collections::BTreeMap;
use std::sync::Arc;

use scaigrid_ir::block::{ModelCall, Prompt};
use scaigrid_ir::module::ModelDecl;
use scaigrid_ir::{Type, Value};

use super::judge::{Next, content, judge, parsed, settled};
use super::pattern::Bound;
use super::schedule::Run;
use super::script::{Halt, Script, mismatch};
use super::state::{Completion, Frame, Generating, Names, Then};
use crate::effect::{EffectKind, ModelAnswer, ModelCallRequest};
use crate::failure::Failure;
use crate::program::{BlockNode, GenerateNode, ListNo, ModelCallNode, Program};
use crate::prompt::{Parts, assemble, message};

/// How a generation begins.
pub(super) enum Begun {
    /// With a prompt.
    Asking(Box<Generating>),
    /// A condition does not hold: what is said of it.
    Invalid(Arc<str>),
}

/// The model of a role; the first one where none is named.
fn model<'p>(program: &'p Program, role: Option<&Arc<str>>) -> Result<&'p ModelDecl, Failure> {
    let models = &program.module().models;
    let found = match role {
        Some(role) => models.iter().find(|model| model.role == *role),
        None => models.first(),
    };
    found.ok_or_else(|| {
        let role = role.map_or("primary", |role| role);
        Failure::new("MODEL_NOT_FOUND", format!("no model is declared for the role {role}"))
    })
}

/// The parameters that a declared model has of its own.
fn declared(model: &ModelDecl) -> Names {
    let temperature =
        model.temperature.map(|temperature| (Arc::from("temperature"), Value::Float(temperature)));
    temperature.into_iter().collect()
}

/// The request of a `model_call`.
pub(super) fn model_call(
    script: &mut Script<'_>,
    node: &BlockNode,
    call: &ModelCallNode,
) -> Result<ModelCallRequest, Halt> {
    let ModelCallNode { call: ModelCall { role, prompt, params, .. }, schema } = call;
    let model = model(script.program, role.as_ref())?;
    let mut messages = Vec::new();
    if let Some(context) = &model.system_context {
        messages.push(message("system", Arc::clone(context)));
    }
    match prompt {
        Prompt::Text(template) => {
            let text = script.render(template)?;
            messages.push(message("user", text));
        }
        Prompt::Messages(expr) => match script.eval(expr)? {
            Value::Array(given) => {
                for (index, message) in given.iter().enumerate() {
                    if message.get("role").and_then(Value::as_str).is_none()
                        || message.get("content").is_none()
                    {
                        let wanted = format!("message {index} should be an object with role and content");
                        return Err(mismatch(&wanted, message).into());
                    }
                }
                messages.extend(given.iter().cloned());
            }
            other => return Err(mismatch("the messages should be an array", &other).into()),
        },
    }
    let mut values = declared(model);
    for (name, value) in params {
        values.insert(Arc::clone(name), script.eval(value)?);
    }
    // A bound on the answer's length goes where budgets can see it.
    let mut max_output_tokens = None;
    for name in ["max_tokens", "max_output_tokens", "max_completion_tokens"] {
        match values.remove(name) {
            None | Some(Value::Null) => {}
            Some(Value::Int(count)) if count > 0 => max_output_tokens = Some(count.unsigned_abs()),
            Some(other) => {
                return Err(mismatch(&format!("{name} should be an int above zero"), &other).into());
            }
        }
    }
    Ok(ModelCallRequest {
        role: Arc::clone(&model.role),
        messages: Value::array(messages),
        schema: schema.clone(),
        params: Value::object(values),
        max_output_tokens,
        max_cost: None,
        timeout: node.timeout,
    })
}

/// The value of a `model_call`: the answer's text, or what its type makes of it.
pub(super) fn model_value(program: &Program, call: &ModelCallNode, answer: &Value) -> Result<Value, Failure> {
    let answer = model_answer(answer)?;
    match &call.call.output_type {
        None => Ok(Value::String(answer.content)),
        Some(ty) => parsed(&answer.content, ty, &program.module().types).map_err(|reason| {
            Failure::new("OUTPUT_INVALID", format!("the model's answer will not do: {reason}"))
        }),
    }
}

fn model_answer(value: &Value) -> Result<ModelAnswer, Failure> {
    let answer = ModelAnswer::of_value(value);
    answer.ok_or_else(|| Failure::new("MODEL_ERROR", "what came is no answer of a model"))
}

/// Begins a generation: its inputs, the conditions on them, and the prompt.
pub(super) fn begin(script: &mut Script<'_>, node: &GenerateNode) -> Result<Begun, Halt> {
    let generation = &node.generation;
    let model = model(script.program, generation.role.as_ref())?;
    let mut inputs: Bound = Vec::with_capacity(generation.input_bindings.len());
    for (name, value) in &generation.input_bindings {
        inputs.push((Arc::clone(name), script.eval(value)?));
    }
    if let Some(guard) = &generation.guard {
        for (index, condition) in guard.before.iter().enumerate() {
            if !script.truth(condition, &inputs)? {
                return Ok(Begun::Invalid(
                    format!("the condition {} of guard does not hold", index + 1).into(),
                ));
            }
        }
    }
    let mut context: Bound = Vec::with_capacity(generation.context_bindings.len());
    for (name, value) in &generation.context_bindings {
        context.push((Arc::clone(name), script.eval(value)?));
    }
    let goal = script.render(&generation.goal)?;
    let guidance = script.render_opt(generation.guidance.as_ref())?;
    let module = script.program.module();
    let both = [&module.constraints, &generation.constraints];
    let messages = assemble(&Parts {
        system_context: model.system_context.as_deref(),
        identity: module.identity.as_ref().filter(|_| generation.identity),
        constraints: if generation.inherit_constraints { &both } else { &both[1..] },
        goal: &goal,
        guidance: guidance.as_deref(),
        context: &context,
        examples: &generation.examples,
        input: &inputs,
        schema: node.schema.as_ref(),
    });
    Ok(Begun::Asking(Box::new(Generating {
        inputs,
        messages: Value::array(messages),
        again: Vec::new(),
        retries: 0,
        tried: BTreeMap::new(),
        answer: None,
        flaw: None,
    })))
}

impl Run<'_> {
    /// The step of a generation at the top: the model is asked, or its answer judged.
    pub(super) fn generate(&mut self, f: usize, list: ListNo, at: u32) {
        let program = self.program;
        let Some((node, generate)) = program.generate(list, at) else { return self.lost() };
        let frame = self.state.fibers.get(f).and_then(|fiber| fiber.frames.last());
        let Some(Frame::Generate { state, .. }) = frame else { return self.lost() };
        let state = state.clone();
        let next = self.evaluate(f, (&node.id, &node.pointer), |script| match &state.answer {
            None => Err(Halt::Ask(
                EffectKind::ModelCall(Box::new(request(program, node, generate, &state)?)),
                Then::Finish,
            )),
            Some(answer) => judge(script, node, generate, &state, answer),
        });
        match next {
            None => {}
            Some(Next::Good(value)) => {
                self.pop(f);
                let completion = match self.fit(&value) {
                    Ok(()) => Completion::Value(value),
                    Err(failure) => Completion::Error(failure.at(&node.id, &node.pointer)),
                };
                self.complete(f, completion);
            }
            Some(Next::Again { handler, messages }) => {
                for value in &messages {
                    if let Err(failure) = self.fit(value) {
                        return self.complete(f, Completion::Error(failure.at(&node.id, &node.pointer)));
                    }
                }
                let Some(state) = self.generating(f) else { return self.lost() };
                state.retries = state.retries.saturating_add(1);
                if let Some(handler) = handler {
                    let tried = state.tried.entry(handler).or_default();
                    *tried = tried.saturating_add(1);
                }
                state.again = messages;
                state.answer = None;
            }
            Some(Next::Ask(request, flaw)) => {
                let Some(state) = self.generating(f) else { return self.lost() };
                state.flaw = Some(flaw);
                self.ask(f, (&node.id, &node.pointer), EffectKind::Checkpoint(request), Then::Finish);
            }
            Some(Next::Invalid { output, violation }) => {
                self.pop(f);
                self.invalid(f, node, generate, output, violation);
            }
        }
    }

    /// What the model has answered, or a person in its place.
    pub(super) fn generated(&mut self, f: usize, list: ListNo, at: u32, kind: &EffectKind, value: Value) {
        let program = self.program;
        let Some((node, generate)) = program.generate(list, at) else { return self.lost() };
        if let EffectKind::ModelCall(_) = kind {
            let answer = model_answer(&value);
            let failure = match (answer, self.generating(f)) {
                (Ok(_), Some(state)) => {
                    state.answer = Some(value);
                    return;
                }
                (Ok(_), None) => return self.lost(),
                (Err(failure), _) => failure,
            };
            return self.complete(f, Completion::Error(failure.at(&node.id, &node.pointer)));
        }
        let Some(state) = self.generating(f) else { return self.lost() };
        let answered = content(state.answer.as_ref());
        let flaw = state.flaw.take();
        let value = settled(program, generate, &answered, flaw, &value).and_then(|value| {
            self.fit(&value)?;
            Ok(value)
        });
        self.pop(f);
        self.complete(
            f,
            match value {
                Ok(value) => Completion::Value(value),
                Err(failure) => Completion::Error(failure.at(&node.id, &node.pointer)),
            },
        );
    }

    /// A condition does not hold: what the program has for that, or an error.
    pub(super) fn invalid(
        &mut self,
        f: usize,
        node: &BlockNode,
        generate: &GenerateNode,
        output: Value,
        violation: Arc<str>,
    ) {
        let Some(body) = generate.on_invalid else {
            let failure = Failure::new("GuardViolationError", violation).at(&node.id, &node.pointer);
            return self.complete(f, Completion::Error(failure));
        };
        if let Some(fiber) = self.state.fibers.get_mut(f) {
            fiber.frames.push(Frame::Invalid { output, violation: Value::String(violation) });
            fiber.frames.push(Frame::blocks(body));
        }
    }

    fn generating(&mut self, f: usize) -> Option<&mut Generating> {
        match self.state.fibers.get_mut(f)?.frames.last_mut() {
            Some(Frame::Generate { state, .. }) => Some(state),
            _ => None,
        }
    }

    fn pop(&mut self, f: usize) {
        if let Some(fiber) = self.state.fibers.get_mut(f) {
            fiber.frames.pop();
        }
    }
}

/// The next request of a generation: its prompt, and what was wrong with the last answer.
fn request(
    program: &Program,
    node: &BlockNode,
    generate: &GenerateNode,
    state: &Generating,
) -> Result<ModelCallRequest, Failure> {
    let model = model(program, generate.generation.role.as_ref())?;
    let prompt = state.messages.as_array().unwrap_or_default();
    Ok(ModelCallRequest {
        role: Arc::clone(&model.role),
        messages: Value::array(prompt.iter().chain(&state.again).cloned().collect()),
        schema: generate.schema.clone(),
        params: Value::object(declared(model)),
        max_output_tokens: None,
        max_cost: None,
        timeout: node.timeout,
    })
}

/// Whether an answer is taken as the text that it is.
pub(super) fn is_plain(ty: &Type) -> bool {
    *ty == Type::String
}
