//! Asking an AI: its model, the tools that it calls, its model again, until it has said what it has to say.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use futures_util::StreamExt as _;
use scaigrid_catalog::ModelSlug;
use scaigrid_engine::{Asking, Completion, Gathered, ModelCall, Piece, Thread, Used};
use scaigrid_workspace::{MessageText, Who};
use serde_json::{Map, Value, json};

use super::tools::{Asker, Tool};
use crate::{App, Error, Resource};

/// How often the model is asked for one answer; the last time it may call no tools.
const ROUNDS: usize = 8;
/// How many tools it may call in a round.
const CALLS: usize = 16;
/// The most bytes of what it is told of a call.
const RESULT: usize = 32 * 1024;
/// How long an answer may take in all.
const WITHIN: Duration = Duration::from_mins(10);

/// Who hears an answer while it comes: the next piece, and whether it begins the answer, so that what was heard before is void.
pub(crate) type Ear<'a> = &'a (dyn Fn(&str, bool) + Send + Sync);

/// How an AI is asked.
#[derive(Default)]
pub(crate) struct Manner<'a> {
    /// Parameters of the model, by the names that OpenAI's chat completions have for them.
    pub(crate) params: Map<String, Value>,
    /// The most tokens that an answer of the model may have.
    pub(crate) max_output_tokens: Option<u64>,
    /// Whether it may call tools.
    pub(crate) tools: bool,
    /// Who hears what it says while it says it. What it says before it calls tools is heard, and is no part of its answer.
    pub(crate) on_piece: Option<Ear<'a>>,
}

/// What an AI has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// The text, not blank.
    pub(crate) text: String,
    /// The model that has answered last.
    pub(crate) model: ModelSlug,
    /// The tokens that models have read for it, all rounds together.
    pub(crate) input_tokens: u64,
    /// The tokens that models have written for it.
    pub(crate) output_tokens: u64,
}

/// A call of a tool, as a model asks for it.
struct Wanted {
    id: Value,
    name: String,
    arguments: Result<Value, &'static str>,
}

impl Wanted {
    fn read(call: &Value) -> Self {
        let arguments = match &call["function"]["arguments"] {
            Value::String(text) if text.trim().is_empty() => Ok(json!({})),
            Value::String(text) => serde_json::from_str(text).map_err(|_| "the arguments are no JSON"),
            Value::Null => Ok(json!({})),
            other => Ok(other.clone()),
        };
        let arguments = arguments.and_then(|value: Value| {
            if value.is_object() { Ok(value) } else { Err("the arguments are no JSON object") }
        });
        let name = call["function"]["name"].as_str().unwrap_or_default().to_owned();
        Self { id: call["id"].clone(), name, arguments }
    }
}

/// What a message of a model says, whichever way it is written.
fn text_of(message: &Value) -> String {
    let written = match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    };
    if written.trim().is_empty() {
        return message["refusal"].as_str().unwrap_or_default().to_owned();
    }
    written
}

/// As many bytes of a text as are allowed.
fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

fn offered(tools: &[Tool]) -> Value {
    let offer = |tool: &Tool| {
        let (name, description) = (&tool.name, &tool.description);
        json!({"type": "function", "function": {"name": name, "description": description, "parameters": tool.parameters}})
    };
    tools.iter().map(offer).collect()
}

impl App {
    /// Asks an AI, and calls the tools that it wants to have called: at most eight rounds, and ten minutes.
    ///
    /// # Errors
    /// Why its model does not answer; [`Error::BackendFailed`] also where it says nothing.
    #[boxed]
    pub(crate) async fn ask_ai<'a>(
        &'a self,
        asker: &'a Asker,
        messages: Vec<Value>,
        manner: Manner<'a>,
    ) -> Result<Said, Error> {
        let Who::Ai { model, .. } = &asker.participant.who else {
            return Err(Error::NotFound(Resource::Participant));
        };
        let asking = self.ask_in_rounds(asker, model, messages, manner);
        match tokio::time::timeout(WITHIN, asking).await {
            Ok(said) => said,
            Err(_) => Err(Error::BackendTimeout { model: model.to_string() }),
        }
    }

    async fn ask_in_rounds(
        &self,
        asker: &Asker,
        model: &ModelSlug,
        mut messages: Vec<Value>,
        manner: Manner<'_>,
    ) -> Result<Said, Error> {
        let tools = if manner.tools { self.tools_of(asker).await? } else { Vec::new() };
        let (mut input_tokens, mut output_tokens) = (0_u64, 0_u64);
        for round in 1..=ROUNDS {
            let mut params = manner.params.clone();
            if !tools.is_empty() {
                params.insert("tools".into(), offered(&tools));
                if round == ROUNDS {
                    params.insert("tool_choice".into(), "none".into());
                }
            }
            let call = self.call_of(asker, model, messages.clone(), params, manner.max_output_tokens).await?;
            let (answered, message, used) = self.ask_once(asker, call, manner.on_piece).await?;
            input_tokens = input_tokens.saturating_add(used.input_tokens);
            output_tokens = output_tokens.saturating_add(used.output_tokens);
            let wanted: Vec<Wanted> =
                message["tool_calls"].as_array().into_iter().flatten().map(Wanted::read).collect();
            if wanted.is_empty() || tools.is_empty() || round == ROUNDS {
                let text = text_of(&message);
                if text.trim().is_empty() {
                    let reason = "it has said nothing".to_owned();
                    return Err(Error::BackendFailed { model: answered.to_string(), reason });
                }
                let text = cut(&text, MessageText::MAX_BYTES).to_owned();
                return Ok(Said { text, model: answered, input_tokens, output_tokens });
            }
            messages.push(message);
            for (place, wanted) in wanted.into_iter().enumerate() {
                let told = self.perform(asker, &tools, place, &wanted).await;
                messages
                    .push(json!({"role": "tool", "tool_call_id": wanted.id, "content": cut(&told, RESULT)}));
            }
        }
        Err(Error::BackendFailed { model: model.to_string(), reason: "it calls tools without end".into() })
    }

    /// Calls a tool, if it is one that was offered; what the model is told of it.
    async fn perform(&self, asker: &Asker, tools: &[Tool], place: usize, wanted: &Wanted) -> String {
        if place >= CALLS {
            return format!("error: at most {CALLS} calls at once");
        }
        let Some(tool) = tools.iter().find(|tool| tool.name == wanted.name) else {
            return "error: there is no such tool".to_owned();
        };
        tracing::debug!(tool = tool.name, room = ?asker.room_id, answer = ?asker.answer_id, "an AI calls a tool");
        match &wanted.arguments {
            Ok(arguments) => self.call_tool(asker, tool, arguments.clone()).await,
            Err(reason) => format!("error: {reason}"),
        }
    }

    async fn call_of(
        &self,
        asker: &Asker,
        model: &ModelSlug,
        messages: Vec<Value>,
        params: Map<String, Value>,
        max_output_tokens: Option<u64>,
    ) -> Result<ModelCall, Error> {
        let user_id = self.asking_user(asker.scope, asker.user_id).await?;
        let asking = Asking { user_id, ..Asking::default() };
        Ok(ModelCall {
            models: vec![model.clone()],
            messages,
            params,
            max_output_tokens,
            max_cost: None,
            timeout: None,
            asking,
            thread: Thread::default(),
        })
    }

    /// Asks the model once: who has answered, its message, and what was used.
    async fn ask_once(
        &self,
        asker: &Asker,
        call: ModelCall,
        ear: Option<Ear<'_>>,
    ) -> Result<(ModelSlug, Value, Used), Error> {
        let Some(ear) = ear else {
            let Completion { model, choices, used, .. } =
                self.0.engine.models().chat(asker.scope, call).await?;
            return Ok((model, first(choices), used));
        };
        let mut begun = self.0.engine.models().stream(asker.scope, call).await?;
        let (mut gathered, mut heard) = (Gathered::default(), 0_usize);
        let mut used = Used::default();
        while let Some(piece) = begun.pieces.next().await {
            match piece? {
                Piece::Choices(choices) | Piece::Core(choices, _) => {
                    gathered.take(&choices, &begun.model)?;
                    let new = choices.iter().find(|choice| choice["index"].as_u64().unwrap_or(0) == 0);
                    let new = new.and_then(|choice| choice["delta"]["content"].as_str()).unwrap_or_default();
                    let so_far = heard.saturating_add(new.len());
                    if !new.is_empty() && so_far <= MessageText::MAX_BYTES {
                        ear(new, heard == 0);
                    }
                    // Counted also where it is not heard: nothing is heard behind a gap.
                    heard = so_far;
                }
                Piece::End(all) => used = all,
            }
        }
        Ok((begun.model, first(gathered.into_choices()), used))
    }
}

/// The message of the first choice.
fn first(choices: Vec<Value>) -> Value {
    let first = choices.into_iter().next();
    first.and_then(|mut choice| choice.get_mut("message").map(Value::take)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_says_is_read_whichever_way_it_is_written() {
        assert_eq!(text_of(&json!({"content": "a"})), "a");
        assert_eq!(text_of(&json!({"content": [{"type": "text", "text": "a"}, {"text": "b"}]})), "ab");
        assert_eq!(text_of(&json!({"content": null, "refusal": "no"})), "no");
        assert_eq!(text_of(&json!({})), "");
    }

    #[test]
    fn arguments_are_an_object() {
        let read = |arguments: Value| Wanted::read(&json!({"function": {"arguments": arguments}})).arguments;
        assert_eq!(read(json!("{\"a\": 1}")), Ok(json!({"a": 1})));
        assert_eq!(read(json!("")), Ok(json!({})));
        assert_eq!(read(json!({"a": 1})), Ok(json!({"a": 1})));
        assert!(read(json!("[1]")).is_err() && read(json!("{")).is_err() && read(json!(3)).is_err());
    }
}
