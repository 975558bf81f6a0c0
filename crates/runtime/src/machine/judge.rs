//! Whether a model's answer will do, and what is done where it will not.

use std::collections::BTreeMap;
use std::sync::Arc;

use scaigrid_ir::block::{FailureAction, FailureHandler, FailureKind, Person};
use scaigrid_ir::{Type, Value};

use super::generate::is_plain;
use super::pattern::Bound;
use super::script::{Halt, Script};
use super::state::Generating;
use crate::effect::{CheckpointRequest, ModelAnswer};
use crate::failure::Failure;
use crate::program::{BlockNode, GenerateNode, Program};
use crate::prompt::message;

/// How often a model is asked again where the program says nothing.
const RETRIES: u32 = 2;

/// What follows upon an answer.
pub(super) enum Next {
    /// It will do.
    Good(Value),
    /// The model is asked again, with these messages behind its prompt.
    Again { handler: Option<u32>, messages: Vec<Value> },
    /// A person is asked; what is wrong, as the failure that it is.
    Ask(Box<CheckpointRequest>, (Arc<str>, Arc<str>)),
    /// A condition of a `guarded` does not hold.
    Invalid { output: Value, violation: Arc<str> },
}

/// What is wrong with an answer.
struct Flaw {
    kind: FailureKind,
    told: String,
    /// The handler that takes it, by its place.
    handler: Option<usize>,
    /// Whether a condition of `validate` found it.
    validated: bool,
    /// The answer as far as it could be read.
    output: Value,
}

/// The text of an answer.
pub(super) fn content(answer: Option<&Value>) -> Arc<str> {
    answer.and_then(|answer| answer.get("content")).and_then(Value::as_text).cloned().unwrap_or_default()
}

/// Judges an answer.
pub(super) fn judge(
    script: &mut Script<'_>,
    node: &BlockNode,
    generate: &GenerateNode,
    state: &Generating,
    answer: &Value,
) -> Result<Next, Halt> {
    let Some(answer) = ModelAnswer::of_value(answer) else { return Err(Halt::Lost) };
    let flaw = match flaw(script, generate, state, &answer)? {
        Ok(value) => return Ok(Next::Good(value)),
        Err(flaw) => flaw,
    };
    let retries_left = |default: u32| {
        generate.generation.max_retries.unwrap_or(default).saturating_sub(state.retries) > 0
    };
    let told = |with: Option<Arc<str>>| {
        let mut text = format!("Your answer will not do: {}.", flaw.told);
        if let Some(with) = with {
            text.push(' ');
            text.push_str(&with);
        }
        text.push_str(" Answer again, in full.");
        vec![message("assistant", Arc::clone(&answer.content)), message("user", text)]
    };
    let handlers = &generate.generation.on_failure;
    if let Some((index, handler)) = flaw.handler.and_then(|index| Some((index, handlers.get(index)?))) {
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let mut tried = state.tried.get(&number).copied().unwrap_or(0);
        for action in &handler.actions {
            match action {
                FailureAction::Retry { max, with } if tried < *max && retries_left(u32::MAX) => {
                    let with = script.render_opt(with.as_ref())?;
                    return Ok(Next::Again { handler: Some(number), messages: told(with) });
                }
                FailureAction::Retry { max, .. } => tried = tried.saturating_sub(*max),
                FailureAction::Escalate(person) => {
                    let request = person_asked(script, node, state, &flaw, person, false)?;
                    return Ok(Next::Ask(Box::new(request), failure_of(&flaw)));
                }
                FailureAction::FlagAndCheckpoint(person) => {
                    let request = person_asked(script, node, state, &flaw, person, true)?;
                    return Ok(Next::Ask(Box::new(request), failure_of(&flaw)));
                }
            }
        }
    } else if flaw.kind == FailureKind::ParseError && retries_left(RETRIES) {
        return Ok(Next::Again { handler: None, messages: told(None) });
    }
    let (code, message) = failure_of(&flaw);
    if flaw.validated {
        return Ok(Next::Invalid { output: flaw.output, violation: message });
    }
    Err(Failure::new(code, message).into())
}

/// What an answer is as a value, or what is wrong with it.
fn flaw(
    script: &mut Script<'_>,
    generate: &GenerateNode,
    state: &Generating,
    answer: &ModelAnswer,
) -> Result<Result<Value, Flaw>, Halt> {
    let generation = &generate.generation;
    let unconditional = |kind: FailureKind| {
        let fits = |handler: &FailureHandler| handler.kind == kind && handler.when.is_none();
        generation.on_failure.iter().position(fits)
    };
    let text = || Value::String(Arc::clone(&answer.content));
    let seen = |kind, told: String, output| Flaw { kind, told, handler: unconditional(kind), validated: false, output };
    if matches!(&*answer.finish_reason, "content_filter" | "refusal") {
        let told = format!("the model would not answer ({})", answer.finish_reason);
        return Ok(Err(seen(FailureKind::Refusal, told, text())));
    }
    let value = match parsed(&answer.content, &generation.output_type, &script.program.module().types) {
        Ok(value) => value,
        Err(reason) => return Ok(Err(seen(FailureKind::ParseError, reason, text()))),
    };
    let mut bound: Bound = state.inputs.clone();
    bound.push((Arc::from("output"), value.clone()));
    if let Some(guard) = &generation.guard {
        for (index, condition) in guard.after.iter().enumerate() {
            if !script.truth(condition, &bound)? {
                let told = format!("the condition {} of validate does not hold", index + 1);
                let kind = FailureKind::ConstraintViolation;
                return Ok(Err(Flaw { validated: true, ..seen(kind, told, value) }));
            }
        }
    }
    for (index, handler) in generation.on_failure.iter().enumerate() {
        let Some(when) = &handler.when else { continue };
        if script.truth(when, &bound)? {
            let told = match handler.kind {
                FailureKind::LowConfidence => "it is not sure enough",
                FailureKind::Hallucination => "it says what the input does not bear out",
                _ => "it breaks a rule",
            };
            let kind = handler.kind;
            let flaw = Flaw { kind, told: told.to_owned(), handler: Some(index), validated: false, output: value };
            return Ok(Err(flaw));
        }
    }
    Ok(Ok(value))
}

/// The failure that a flaw is, where nothing is done about it.
fn failure_of(flaw: &Flaw) -> (Arc<str>, Arc<str>) {
    let code = match flaw.kind {
        FailureKind::Refusal => "MODEL_REFUSED",
        FailureKind::ParseError => "OUTPUT_INVALID",
        FailureKind::ConstraintViolation if flaw.validated => "GuardViolationError",
        FailureKind::ConstraintViolation => "CONSTRAINT_VIOLATION",
        FailureKind::LowConfidence => "LOW_CONFIDENCE",
        FailureKind::Hallucination => "HALLUCINATION",
    };
    let message = if flaw.validated { flaw.told.clone() } else { format!("the model's answer will not do: {}", flaw.told) };
    (code.into(), message.into())
}

/// The checkpoint at which a person mends an answer, or gives one.
fn person_asked(
    script: &mut Script<'_>,
    node: &BlockNode,
    state: &Generating,
    flaw: &Flaw,
    person: &Person,
    flagged: bool,
) -> Result<CheckpointRequest, Halt> {
    let assignee = script.render_opt(person.assignee.as_ref())?;
    let label = script.render_opt(node.label.as_ref())?;
    let (checkpoint_type, options): (_, &[&str]) = if flagged {
        ("flagged_output", &["accept", "mend", "reject"])
    } else {
        ("escalation", &["answer", "reject"])
    };
    let fields = [
        ("input", Value::object(state.inputs.iter().cloned().collect())),
        ("output", flaw.output.clone()),
        ("violation", Value::from(flaw.told.as_str())),
        ("kind", Value::from(flaw.kind.name())),
    ];
    Ok(CheckpointRequest {
        checkpoint_type: checkpoint_type.into(),
        prompt: format!("The model's answer in {} will not do: {}.", node.id, flaw.told).into(),
        payload: Value::object(fields.into_iter().map(|(name, value)| (Arc::from(name), value)).collect()),
        options: options.iter().map(|option| Arc::from(*option)).collect(),
        assignee,
        priority: person.priority,
        timeout: person.timeout,
        on_timeout: scaigrid_ir::block::OnTimeout::Expire,
        escalation_target: None,
        label,
        form: None,
        required_approvals: None,
        exclude_requester: false,
        action: None,
    })
}

/// What a person has made of an answer: theirs is the last word, as long as it is of the type.
pub(super) fn settled(
    program: &Program,
    generate: &GenerateNode,
    answered: &str,
    flaw: Option<(Arc<str>, Arc<str>)>,
    resolution: &Value,
) -> Result<Value, Failure> {
    let types = &program.module().types;
    let ty = &generate.generation.output_type;
    let invalid = |reason| Failure::new("OUTPUT_INVALID", format!("the output is not of the type: {reason}"));
    match resolution.get("decision").and_then(Value::as_str) {
        Some("accept") => parsed(answered, ty, types).map_err(invalid),
        Some("mend" | "answer") => {
            let given = resolution.get("response_data").cloned().unwrap_or_default();
            ty.admit(given, types).map_err(|errors| Failure::mismatch("OUTPUT_INVALID", "the output", errors))
        }
        _ => {
            let (code, message) = flaw.unwrap_or_else(|| ("OUTPUT_INVALID".into(), "the output was rejected".into()));
            Err(Failure::new(code, message))
        }
    }
}

/// An answer's text as a value of the type: as JSON, also between fences; types that are written as text take it bare.
pub(super) fn parsed(
    content: &str,
    ty: &Type,
    types: &BTreeMap<Arc<str>, Type>,
) -> Result<Value, String> {
    if is_plain(ty) {
        return Ok(Value::from(content));
    }
    let text = unfenced(content.trim());
    let value = match serde_json::from_str::<serde_json::Value>(text) {
        Ok(json) => Value::from_json(&json),
        Err(error) => {
            let bare = ty.admit(Value::from(text), types);
            return match bare {
                Ok(value) if !takes_anything(ty, types) => Ok(value),
                _ => Err(format!("it is no JSON ({error})")),
            };
        }
    };
    ty.admit(value, types).map_err(|errors| {
        let told: Vec<String> = errors.iter().take(5).map(ToString::to_string).collect();
        format!("it does not fit: {}", told.join("; "))
    })
}

/// Whether a type takes any text, so that a bare one says nothing.
fn takes_anything(ty: &Type, types: &BTreeMap<Arc<str>, Type>) -> bool {
    let probe = Value::from("\u{0}");
    ty.admit(probe, types).is_ok()
}

/// What stands between the first pair of Markdown fences, where there is one; else the text.
fn unfenced(text: &str) -> &str {
    let Some((_, rest)) = text.split_once("```") else { return text };
    let rest = rest.split_once('\n').map_or(rest, |(language, body)| {
        if language.trim().chars().all(char::is_alphanumeric) { body } else { rest }
    });
    rest.split_once("```").map_or(text, |(inside, _)| inside.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_bare_fenced_or_as_text() {
        let types = BTreeMap::new();
        let read = |content: &str, ty: &str| parsed(content, &Type::parse(ty).unwrap(), &types).map(|value| value.to_json());
        assert_eq!(read("{\"a\": 1}", "{a: int}").unwrap(), serde_json::json!({"a": 1}));
        assert_eq!(read("Sure:\n```json\n{\"a\": 1}\n```\nDone.", "{a: int}").unwrap(), serde_json::json!({"a": 1}));
        assert_eq!(read("```\n[1]\n```", "array[int]").unwrap(), serde_json::json!([1]));
        assert_eq!(read("  hello", "string").unwrap(), serde_json::json!("  hello"));
        assert_eq!(read(" billing ", "enum[billing, other]").unwrap(), serde_json::json!("billing"));
        assert_eq!(read("\"billing\"", "enum[billing, other]").unwrap(), serde_json::json!("billing"));
        assert_eq!(read("2026-01-31", "date").unwrap(), serde_json::json!("2026-01-31"));
        assert!(read("hello", "json").is_err());
        assert!(read("hello", "string?").is_err());
        assert!(read("", "{a: int}").is_err());
        assert!(read("```", "int").is_err());
        assert!(read("{\"a\": \"x\"}", "{a: int}").unwrap_err().contains("a: expected int"));
    }
}
