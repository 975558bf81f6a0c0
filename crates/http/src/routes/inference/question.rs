//! What can be asked of a model, whatever shape it came in.

use scaigrid_app::catalog::{Asking, ModelCall, Thread};
use scaigrid_catalog::ModelSlug;
use scaigrid_cores::conversation::KEY_AT_MOST;
use serde_json::{Map, Value};

use super::super::Problems;
use crate::error::Error;

/// The most messages of a conversation.
const MESSAGES: usize = 2_000;
/// Who can speak.
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// A question that was found good.
#[derive(Debug)]
pub(in super::super) struct Question {
    model: ModelSlug,
    messages: Vec<Value>,
    params: Map<String, Value>,
    thread: Thread,
}

impl Question {
    /// With what it says of the conversation that it belongs to.
    ///
    /// # Errors
    /// `metadata.conversation_id` or `metadata.entity_id` is none.
    pub(in super::super) fn within(
        self,
        metadata: Option<&Map<String, Value>>,
        user: Option<&str>,
    ) -> Result<Self, Error> {
        let mut problems = Problems::default();
        let mut named = |name: &str| {
            let text = match metadata?.get(name)? {
                Value::Null => return None,
                Value::String(text) => text.trim().to_owned(),
                Value::Number(number) => number.to_string(),
                _ => String::new(),
            };
            if (1..=KEY_AT_MOST).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
                return Some(text);
            }
            let message = format!("must be a text of 1 to {KEY_AT_MOST} characters");
            problems.note(&format!("metadata.{name}"), message);
            None
        };
        let conversation = named("conversation_id");
        let entity = named("entity_id")
            .or_else(|| user.map(str::trim).filter(|user| !user.is_empty()).map(Into::into));
        problems.check()?;
        Ok(Self { thread: Thread { conversation, entity }, ..self })
    }

    /// The call that asks it.
    pub(in super::super) fn into_call(self) -> ModelCall {
        ModelCall {
            models: vec![self.model],
            messages: self.messages,
            params: self.params,
            max_output_tokens: None,
            max_cost: None,
            timeout: None,
            asking: Asking::default(),
            thread: self.thread,
        }
    }
}

/// Reads a question. A model that nobody can have is one that there is not; everything else that is wrong is told at once.
///
/// # Errors
/// What is wrong.
pub(in super::super) fn read(
    model: &str,
    messages: Vec<Value>,
    params: Map<String, Value>,
) -> Result<Question, Error> {
    let mut problems = Problems::default();
    if messages.is_empty() || messages.len() > MESSAGES {
        problems.note("messages", format!("must be 1 to {MESSAGES}"));
    }
    for (index, message) in messages.iter().take(MESSAGES).enumerate() {
        let field = |name: &str| format!("messages[{index}]{name}");
        if !message.is_object() {
            problems.note(&field(""), "must be an object with role and content");
            continue;
        }
        if !message["role"].as_str().is_some_and(|role| ROLES.contains(&role)) {
            problems.note(&field(".role"), format!("must be one of {}", ROLES.join(", ")));
        }
        let content = &message["content"];
        let objects = |value: &Value| value.as_array().is_some_and(|all| all.iter().all(Value::is_object));
        let called = objects(&message["tool_calls"]) || message["function_call"].is_object();
        if !(content.is_string() || objects(content) || content.is_null() && called) {
            problems.note(&field(".content"), "must be a text, or an array of parts, which are objects");
        }
    }
    check(&mut problems, &params);
    problems.check()?;
    let model = model.parse().map_err(|_| Error::not_found(scaigrid_app::Resource::Model))?;
    Ok(Question { model, messages, params, thread: Thread::default() })
}

fn check(problems: &mut Problems, params: &Map<String, Value>) {
    let mut number = |name: &str, from: f64, to: f64| {
        if let Some(value) = params.get(name)
            && !value.as_f64().is_some_and(|number| (from..=to).contains(&number))
        {
            problems.note(name, format!("must be a number from {from} to {to}"));
        }
    };
    number("temperature", 0.0, 2.0);
    number("top_p", 0.0, 1.0);
    number("frequency_penalty", -2.0, 2.0);
    number("presence_penalty", -2.0, 2.0);
    let mut whole = |name: &str, from: u64, to: u64| {
        if let Some(value) = params.get(name)
            && !value.as_u64().is_some_and(|number| (from..=to).contains(&number))
        {
            problems.note(name, format!("must be a whole number from {from} to {to}"));
        }
    };
    whole("max_tokens", 1, 1_000_000_000);
    whole("max_completion_tokens", 1, 1_000_000_000);
    whole("top_logprobs", 0, 20);
    let mut shape = |name: &str, what: &str, fits: fn(&Value) -> bool| {
        if params.get(name).is_some_and(|value| !fits(value)) {
            problems.note(name, format!("must be {what}"));
        }
    };
    let stop = |value: &Value| {
        let texts = |all: &Vec<Value>| (1..=4).contains(&all.len()) && all.iter().all(Value::is_string);
        value.is_string() || value.as_array().is_some_and(texts)
    };
    shape("stop", "a text, or up to four", stop);
    shape("n", "1: an answer has one choice", |value| value.as_u64() == Some(1));
    shape("seed", "a whole number", Value::is_i64);
    let tools = |value: &Value| {
        let tool = |tool: &Value| tool["type"].is_string();
        value
            .as_array()
            .is_some_and(|tools| !tools.is_empty() && tools.len() <= 128 && tools.iter().all(tool))
    };
    shape("tools", "1 to 128 objects with a type", tools);
    shape("tool_choice", "a text or an object", |value| value.is_string() || value.is_object());
    let format = |value: &Value| match value["type"].as_str() {
        Some("text" | "json_object") => true,
        Some("json_schema") => value["json_schema"]["schema"].is_object(),
        _ => false,
    };
    let formats =
        "an object whose type is text, json_object or json_schema, the last with json_schema.schema";
    shape("response_format", formats, format);
    let objects = ["logit_bias", "prediction"];
    for name in objects {
        shape(name, "an object", Value::is_object);
    }
    let flags = ["logprobs", "parallel_tool_calls"];
    for name in flags {
        shape(name, "true or false", Value::is_boolean);
    }
    let texts =
        ["user", "reasoning_effort", "verbosity", "service_tier", "prompt_cache_key", "safety_identifier"];
    for name in texts {
        shape(name, "a text", Value::is_string);
    }
}

#[cfg(test)]
mod tests {
    use scaigrid_app as app;
    use serde_json::json;

    use super::*;

    fn fields(messages: Value, params: Value) -> Vec<String> {
        let (Value::Array(messages), Value::Object(params)) = (messages, params) else { panic!("a test") };
        match read("echo", messages, params) {
            Ok(_) => Vec::new(),
            Err(Error::App(app::Error::Invalid(found))) => found.into_iter().map(|one| one.field).collect(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": null, "tool_calls": []},
            {"role": "user", "content": [{"type": "text", "text": "b"}]}]);
        let all = json!({"temperature": 0, "top_p": 1, "stop": ["a"], "seed": -1, "n": 1, "tool_choice": "auto",
            "tools": [{"type": "function", "function": {"name": "f"}}], "response_format": {"type": "text"}});
        assert_eq!(fields(good.clone(), all), [""; 0]);
        assert_eq!(fields(json!([]), json!({})), ["messages"]);
        let wrong = json!([1, {"role": "king", "content": 1}, {"role": "user", "content": null}]);
        assert_eq!(
            fields(wrong, json!({})),
            ["messages[0]", "messages[1].role", "messages[1].content", "messages[2].content"]
        );
        let wrong = json!({"temperature": 3, "top_p": "1", "max_tokens": 0, "n": 2, "stop": [], "seed": "a",
            "tools": [], "tool_choice": 1, "response_format": {"type": "json_schema"}, "user": 1, "logprobs": 1});
        let found = fields(good, wrong.clone());
        assert_eq!(found.len(), wrong.as_object().unwrap().len(), "{found:?}");
    }

    #[test]
    fn a_name_that_no_model_can_have_is_one_that_there_is_not() {
        let asked = read("no such model", vec![json!({"role": "user", "content": "a"})], Map::new());
        assert!(matches!(asked, Err(Error::App(app::Error::NotFound(app::Resource::Model)))));
    }
}
