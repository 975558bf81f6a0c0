//! The backend that needs no server: it repeats what it is told, fills schemas, or follows a script. The same question
//! always has the same answer.

mod embed;
mod fill;

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::usage::estimate;

pub use embed::{DIMENSIONS, MOST_DIMENSIONS, embed};
pub use fill::fill;

/// The most entries of a script.
const MAX_ENTRIES: usize = 200;
/// How many characters a piece of a streamed answer has where the script does not say.
const CHUNK: usize = 12;

/// One answer of a script.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    /// What the last message of the user must hold.
    when: Option<Box<str>>,
    content: Option<Value>,
    tool_calls: Option<Value>,
    finish_reason: Option<Box<str>>,
}

/// What is answered. Entries that say `when` come first, where their text is in the last message of the user; of the others
/// the first answers the first turn, the second the second, and the last all that follow.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Script {
    entries: Vec<Entry>,
    chunk_chars: Option<u16>,
    delay: Option<Duration>,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The messages, as `OpenAI`'s chat completions have them.
    pub messages: &'a [Value],
    /// The other parameters.
    pub params: &'a Map<String, Value>,
    /// The most tokens of the answer.
    pub max_output_tokens: Option<u64>,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The text.
    pub content: Option<String>,
    /// The tools that are to be called, as `OpenAI`'s chat completions have them.
    pub tool_calls: Vec<Value>,
    /// Why it ends.
    pub finish_reason: String,
    /// Tokens of the question.
    pub input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
}

type Refused = (&'static str, String);

impl Entry {
    fn read(value: &Value) -> Result<Self, Refused> {
        let wrong = |message: &str| ("script", message.to_owned());
        let plain = |content: Value| Self {
            when: None,
            content: Some(content),
            tool_calls: None,
            finish_reason: None,
        };
        let fields = match value {
            Value::String(_) => return Ok(plain(value.clone())),
            Value::Object(fields) => fields,
            _ => return Err(wrong("must hold texts, or objects with when and content")),
        };
        let known = ["when", "content", "tool_calls", "finish_reason"];
        if let Some(name) = fields.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(wrong(&format!("has an entry with {name}; known are {}", known.join(", "))));
        }
        let text = |name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(Box::<str>::from(text.as_str()))),
            Some(_) => Err(wrong(&format!("has an entry whose {name} is no text"))),
        };
        let tool_calls = fields.get("tool_calls").filter(|calls| !calls.is_null()).cloned();
        if tool_calls.as_ref().is_some_and(|calls| !calls.is_array()) {
            return Err(wrong("has an entry whose tool_calls are no array"));
        }
        let content = fields.get("content").filter(|content| !content.is_null()).cloned();
        if content.is_none() && tool_calls.is_none() {
            return Err(wrong("has an entry that says nothing"));
        }
        Ok(Self { when: text("when")?, content, tool_calls, finish_reason: text("finish_reason")? })
    }

    fn to_json(&self) -> Value {
        let mut written = Map::new();
        let fields = [
            ("when", self.when.as_deref().map(Value::from)),
            ("content", self.content.clone()),
            ("tool_calls", self.tool_calls.clone()),
            ("finish_reason", self.finish_reason.as_deref().map(Value::from)),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                written.insert(name.to_owned(), value);
            }
        }
        Value::Object(written)
    }
}

impl Script {
    /// Reads a configuration: `script`, which is a text, an array of texts and of `{when?, content, tool_calls?,
    /// finish_reason?}`, or an object of answers by what they answer; `chunk_chars`, how long the pieces of a streamed
    /// answer are; and `delay_ms`, how long is waited before each of them.
    pub(crate) fn read(written: &Map<String, Value>) -> Result<Self, Refused> {
        let entries = match written.get("script") {
            None | Some(Value::Null) => Vec::new(),
            Some(text @ Value::String(_)) => vec![Entry::read(text)?],
            Some(Value::Array(entries)) => entries.iter().map(Entry::read).collect::<Result<_, _>>()?,
            Some(Value::Object(answers)) => answers
                .iter()
                .map(|(when, content)| Entry {
                    when: Some(when.as_str().into()),
                    content: Some(content.clone()),
                    tool_calls: None,
                    finish_reason: None,
                })
                .collect(),
            Some(_) => return Err(("script", "must be a text, an array or an object".to_owned())),
        };
        if entries.len() > MAX_ENTRIES {
            return Err(("script", format!("must have at most {MAX_ENTRIES} entries")));
        }
        let number = |name: &'static str, most: u64| match written.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64().filter(|number| (1..=most).contains(number)) {
                Some(number) => Ok(Some(number)),
                None => Err((name, format!("must be a whole number from 1 to {most}"))),
            },
        };
        let chunk_chars = number("chunk_chars", 10_000)?.and_then(|number| u16::try_from(number).ok());
        let delay = number("delay_ms", 60_000)?.map(Duration::from_millis);
        Ok(Self { entries, chunk_chars, delay })
    }

    pub(crate) fn to_json(&self) -> Map<String, Value> {
        let mut written = Map::new();
        if !self.entries.is_empty() {
            written.insert("script".into(), self.entries.iter().map(Entry::to_json).collect());
        }
        if let Some(chars) = self.chunk_chars {
            written.insert("chunk_chars".into(), chars.into());
        }
        if let Some(delay) = self.delay {
            let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            written.insert("delay_ms".into(), millis.into());
        }
        written
    }

    /// How long is waited before each piece of an answer.
    pub const fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// The pieces that a text is streamed in.
    pub fn pieces(&self, text: &str) -> Vec<String> {
        let length = self.chunk_chars.map_or(CHUNK, usize::from);
        let chars: Vec<char> = text.chars().collect();
        chars.chunks(length).map(|piece| piece.iter().collect()).collect()
    }

    fn entry(&self, said: &str, turn: usize) -> Option<&Entry> {
        let asked = |entry: &&Entry| entry.when.as_deref().is_some_and(|when| said.contains(when));
        self.entries.iter().find(asked).or_else(|| {
            let mut plain = self.entries.iter().filter(|entry| entry.when.is_none());
            let last = plain.clone().next_back();
            plain.nth(turn).or(last)
        })
    }

    /// The answer to a question.
    pub fn answer(&self, question: &Question<'_>) -> Reply {
        let said = last_of_user(question.messages);
        let turn = question.messages.iter().filter(|message| message["role"] == "assistant").count();
        let (content, tool_calls, reason) = match self.entry(&said, turn) {
            Some(entry) => {
                let content = entry.content.as_ref().map(|content| match content {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                });
                let calls = entry.tool_calls.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
                (content, calls, entry.finish_reason.as_deref().map(str::to_owned))
            }
            None => match called_tool(question.params, &said) {
                Some(call) => (None, vec![call], None),
                None => (
                    Some(
                        schema(question.params)
                            .map_or_else(|| said.clone(), |schema| fill(schema, &said).to_string()),
                    ),
                    Vec::new(),
                    None,
                ),
            },
        };
        let (content, cut) = match content {
            Some(content) => {
                let (content, cut) = bounded(content, question.max_output_tokens);
                (Some(content), cut)
            }
            None => (None, false),
        };
        let finish_reason = match reason {
            _ if cut => "length".to_owned(),
            Some(reason) => reason,
            None if tool_calls.is_empty() => "stop".to_owned(),
            None => "tool_calls".to_owned(),
        };
        let calls = tool_calls.iter().map(|call| estimate(call.to_string().len())).sum::<u64>();
        let output_tokens = content.as_deref().map_or(0, |text| estimate(text.len())) + calls;
        let input_tokens = question.messages.iter().map(|message| estimate(text_of(message).len())).sum();
        Reply { content, tool_calls, finish_reason, input_tokens, output_tokens }
    }
}

/// The text of a message; of one in parts, those that are text.
fn text_of(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part["text"].as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

fn last_of_user(messages: &[Value]) -> String {
    let of_user = messages.iter().rev().find(|message| message["role"] == "user");
    of_user.or(messages.last()).map(text_of).unwrap_or_default()
}

/// The schema that the answer must fit.
fn schema(params: &Map<String, Value>) -> Option<&Value> {
    let format = params.get("response_format")?;
    match format["type"].as_str()? {
        "json_schema" => Some(&format["json_schema"]["schema"]),
        _ => None,
    }
}

/// The call of a tool that must be called.
fn called_tool(params: &Map<String, Value>, said: &str) -> Option<Value> {
    let tools = params.get("tools")?.as_array()?;
    let choice = params.get("tool_choice")?;
    let tool = match choice.as_str() {
        Some("required") => tools.first()?,
        Some(_) => return None,
        None => {
            let name = choice["function"]["name"].as_str()?;
            tools.iter().find(|tool| tool["function"]["name"] == name)?
        }
    };
    let arguments = fill(&tool["function"]["parameters"], said).to_string();
    let function = json!({"name": tool["function"]["name"], "arguments": arguments});
    Some(json!({"id": "call_echo_1", "type": "function", "function": function}))
}

/// A text of at most so many tokens, and whether it was cut.
fn bounded(text: String, tokens: Option<u64>) -> (String, bool) {
    let most =
        tokens.map_or(usize::MAX, |tokens| usize::try_from(tokens.saturating_mul(4)).unwrap_or(usize::MAX));
    if text.len() <= most {
        return (text, false);
    }
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    (text[..end].to_owned(), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "the calls read better")]
    fn script(value: Value) -> Script {
        Script::read(value.as_object().unwrap()).unwrap()
    }

    #[expect(clippy::needless_pass_by_value, reason = "the calls read better")]
    fn ask(script: &Script, messages: Value, params: Value) -> Reply {
        let messages = messages.as_array().unwrap().clone();
        let params = params.as_object().unwrap().clone();
        script.answer(&Question { messages: &messages, params: &params, max_output_tokens: None })
    }

    fn content(reply: &Reply) -> &str {
        reply.content.as_deref().unwrap()
    }

    #[test]
    fn without_a_script_the_last_message_of_the_user_is_repeated() {
        let echo = Script::default();
        let messages = json!([{"role": "user", "content": "one"}, {"role": "assistant", "content": "x"},
            {"role": "user", "content": [{"type": "text", "text": "two"}, {"type": "image_url"}]},
            {"role": "system", "content": "y"}]);
        let reply = ask(&echo, messages.clone(), json!({}));
        assert_eq!((content(&reply), reply.finish_reason.as_str()), ("two", "stop"));
        assert_eq!(reply, ask(&echo, messages, json!({})), "it is the same each time");
        assert_eq!(content(&ask(&echo, json!([]), json!({}))), "");
    }

    #[test]
    fn a_script_is_followed_by_what_is_said_and_by_turns() {
        let script =
            script(json!({"script": ["first", {"when": "weather", "content": {"sun": true}}, "then"]}));
        let turns = |said: &str, assistants: usize| {
            let mut messages = vec![json!({"role": "assistant", "content": ""}); assistants];
            messages.push(json!({"role": "user", "content": said}));
            content(&ask(&script, messages.into(), json!({}))).to_owned()
        };
        assert_eq!(turns("hello", 0), "first");
        assert_eq!(turns("hello", 1), "then");
        assert_eq!(turns("hello", 7), "then");
        assert_eq!(turns("the weather?", 1), r#"{"sun":true}"#);
        let kept = Script::read(&script.to_json()).unwrap();
        assert_eq!(kept, script);
        let by_word = self::script(json!({"script": {"a": "b"}}));
        assert_eq!(content(&ask(&by_word, json!([{"role": "user", "content": "a"}]), json!({}))), "b");
    }

    #[test]
    fn tools_are_called_where_they_must_be() {
        let tool = json!({"type": "function", "function": {"name": "add",
            "parameters": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}}}});
        let messages = json!([{"role": "user", "content": "go"}]);
        let reply =
            ask(&Script::default(), messages.clone(), json!({"tools": [tool], "tool_choice": "required"}));
        assert_eq!(reply.finish_reason, "tool_calls");
        assert_eq!(reply.tool_calls[0]["function"]["arguments"], r#"{"n":3}"#);
        let reply = ask(&Script::default(), messages, json!({"tools": [tool], "tool_choice": "auto"}));
        assert_eq!(content(&reply), "go");
    }

    #[test]
    fn an_answer_is_bounded_and_streamed_in_pieces() {
        let echo = script(json!({"chunk_chars": 2}));
        let messages = vec![json!({"role": "user", "content": "äöüßxyz"})];
        let question = Question { messages: &messages, params: &Map::new(), max_output_tokens: Some(1) };
        let reply = echo.answer(&question);
        assert_eq!((content(&reply), reply.finish_reason.as_str(), reply.output_tokens), ("äö", "length", 1));
        assert_eq!(echo.pieces("äöüß!"), ["äö", "üß", "!"]);
        assert!(echo.pieces("").is_empty());
    }

    #[test]
    fn what_is_no_script_is_refused() {
        for wrong in [
            json!({"script": 1}),
            json!({"script": [1]}),
            json!({"script": [{}]}),
            json!({"script": [{"content": "a", "if": "b"}]}),
            json!({"chunk_chars": 0}),
            json!({"delay_ms": "1"}),
        ] {
            assert!(Script::read(wrong.as_object().unwrap()).is_err(), "{wrong}");
        }
    }
}
