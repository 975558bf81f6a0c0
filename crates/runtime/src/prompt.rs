//! How the prompt of a generation is put together. The same parts always give the same messages.
//!
//! The system's message says who speaks and which rules hold, the user's what is to be done. A part that is absent
//! leaves no trace.
//!
//! - system: the role's `system_context`; `You are NAME. PERSONA`; `Speak LANGUAGES.`; `# Rules` with the constraints of
//!   the module and then of the block, each as a line beginning with `Never:`, `Always:` or `Prefer:`.
//! - user: `# Goal`, `# Guidance`, `# Context` (JSON), `# Examples` (`Input:` and `Output:` in JSON, in turn), `# Input`
//!   (JSON), `# Output` (what the answer must look like, with its JSON Schema).

use std::fmt::Write as _;
use std::sync::Arc;

use scaigrid_ir::Value;
use scaigrid_ir::block::Example;
use scaigrid_ir::module::{Constraints, Identity};

/// What goes into a prompt.
pub(crate) struct Parts<'a> {
    pub(crate) system_context: Option<&'a str>,
    pub(crate) identity: Option<&'a Identity>,
    /// Those that hold, the module's first.
    pub(crate) constraints: &'a [&'a Constraints],
    pub(crate) goal: &'a str,
    pub(crate) guidance: Option<&'a str>,
    pub(crate) context: &'a [(Arc<str>, Value)],
    pub(crate) examples: &'a [Example],
    pub(crate) input: &'a [(Arc<str>, Value)],
    /// The JSON Schema of the answer; plain text where absent.
    pub(crate) schema: Option<&'a Value>,
}

/// A message of a conversation.
pub(crate) fn message(role: &str, content: impl Into<Arc<str>>) -> Value {
    let fields = [("role", Value::from(role)), ("content", Value::String(content.into()))];
    Value::object(fields.into_iter().map(|(name, value)| (Arc::from(name), value)).collect())
}

/// The messages of a prompt.
pub(crate) fn assemble(parts: &Parts<'_>) -> Vec<Value> {
    let system = system(parts);
    let mut messages = Vec::with_capacity(2);
    if !system.is_empty() {
        messages.push(message("system", system));
    }
    messages.push(message("user", user(parts)));
    messages
}

fn system(parts: &Parts<'_>) -> String {
    let mut paragraphs: Vec<String> = Vec::new();
    paragraphs.extend(parts.system_context.map(str::to_owned));
    if let Some(identity) = parts.identity {
        let mut line = format!("You are {}.", identity.name);
        if let Some(persona) = &identity.persona {
            line.push(' ');
            line.push_str(persona);
        }
        if !identity.languages.is_empty() {
            let languages: Vec<&str> = identity.languages.iter().map(AsRef::as_ref).collect();
            line.push_str("\nSpeak ");
            line.push_str(&languages.join(", "));
            line.push('.');
        }
        paragraphs.push(line);
    }
    let mut rules = String::new();
    for constraints in parts.constraints {
        let lists =
            [("Never", &constraints.never), ("Always", &constraints.always), ("Prefer", &constraints.prefer)];
        for (word, rule) in lists.iter().flat_map(|(word, list)| list.iter().map(move |rule| (word, rule))) {
            // Writing to a string does not fail.
            let _ = write!(rules, "\n{word}: {rule}");
        }
    }
    if !rules.is_empty() {
        paragraphs.push(format!("# Rules{rules}"));
    }
    paragraphs.join("\n\n")
}

fn user(parts: &Parts<'_>) -> String {
    let mut sections = vec![format!("# Goal\n{}", parts.goal)];
    sections.extend(parts.guidance.map(|guidance| format!("# Guidance\n{guidance}")));
    if !parts.context.is_empty() {
        sections.push(format!("# Context\n{}", together(parts.context)));
    }
    if !parts.examples.is_empty() {
        let mut section = "# Examples".to_owned();
        for example in parts.examples {
            let _ =
                write!(section, "\nInput: {}\nOutput: {}", example.input.to_json(), example.output.to_json());
        }
        sections.push(section);
    }
    if !parts.input.is_empty() {
        sections.push(format!("# Input\n{}", together(parts.input)));
    }
    sections.extend(parts.schema.map(|schema| {
        format!(
            "# Output\nAnswer with JSON alone, without any text around it. It must fit this JSON Schema:\n{}",
            schema.to_json()
        )
    }));
    sections.join("\n\n")
}

/// Named values as one JSON object.
fn together(values: &[(Arc<str>, Value)]) -> serde_json::Value {
    Value::object(values.iter().cloned().collect()).to_json()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_stands_in_its_place_and_absent_ones_leave_no_trace() {
        let text = |texts: &[&str]| texts.iter().map(|text| Arc::from(*text)).collect::<Vec<Arc<str>>>();
        let identity = Identity {
            name: "Ada".into(),
            persona: Some("Calm and exact.".into()),
            languages: text(&["en", "de"]),
        };
        let module = Constraints { never: text(&["guess"]), always: text(&["cite"]), prefer: Vec::new() };
        let own = Constraints { prefer: text(&["short words"]), ..Constraints::default() };
        let example = Example { input: Value::from("hi"), output: Value::from(1) };
        let schema = Value::from_json(&serde_json::json!({"type": "integer"}));
        let input = [(Arc::from("b"), Value::from(2)), (Arc::from("a"), Value::from("x"))];
        let full = Parts {
            system_context: Some("House rules."),
            identity: Some(&identity),
            constraints: &[&module, &own],
            goal: "Count.",
            guidance: Some("Slowly."),
            context: &[(Arc::from("now"), Value::from(true))],
            examples: &[example],
            input: &input,
            schema: Some(&schema),
        };
        let messages = assemble(&full);
        assert_eq!(
            messages[0],
            message(
                "system",
                "House rules.\n\nYou are Ada. Calm and exact.\nSpeak en, de.\n\n\
                 # Rules\nNever: guess\nAlways: cite\nPrefer: short words"
            )
        );
        assert_eq!(
            messages[1],
            message(
                "user",
                "# Goal\nCount.\n\n# Guidance\nSlowly.\n\n# Context\n{\"now\":true}\n\n\
                 # Examples\nInput: \"hi\"\nOutput: 1\n\n# Input\n{\"a\":\"x\",\"b\":2}\n\n\
                 # Output\nAnswer with JSON alone, without any text around it. It must fit this JSON Schema:\n\
                 {\"type\":\"integer\"}"
            )
        );
        let bare = Parts {
            system_context: None,
            identity: None,
            constraints: &[],
            guidance: None,
            context: &[],
            examples: &[],
            input: &[],
            schema: None,
            ..full
        };
        assert_eq!(assemble(&bare), [message("user", "# Goal\nCount.")]);
    }
}
