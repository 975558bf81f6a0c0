//! Answers that come bit by bit and are wanted whole: put together, and told meanwhile to whoever listens.
//!
//! Programs ask so: giving a call up in the middle of an answer then closes the connection while the model still writes,
//! and what it has written until then is known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use scaigrid_catalog::ModelSlug;
use scaigrid_outbound::models::{ModelError, Part, Parts, Reply};
use scaigrid_runtime::EffectId;
use scaigrid_scope::ExecutionId;
use serde_json::{Map, Value, json};

use super::ask::broken_off;
use super::call::CallError;
use super::spend::Spend;
use crate::said::{Said, Voices};

/// How long an answer may take in all where the call does not say.
const LONGEST: Duration = Duration::from_mins(30);
/// The most choices, and calls of tools, of one answer: each is kept by its number, which the server says.
const PLACES: u64 = 256;

/// Whom an answer is told to while it comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ear<'a> {
    pub(crate) voices: &'a Voices,
    pub(crate) execution: ExecutionId,
    pub(crate) effect: EffectId,
    pub(crate) role: &'a Arc<str>,
}

impl Ear<'_> {
    fn began(&self, model: &ModelSlug) {
        let (effect, role) = (self.effect, self.role);
        self.voices.say(self.execution, || Said::Began {
            effect,
            role: Arc::clone(role),
            model: model.clone(),
        });
    }

    fn text(&self, choices: &[Value]) {
        let first = choices.iter().find(|choice| choice["index"].as_u64().unwrap_or(0) == 0);
        let text = first.and_then(|choice| choice["delta"]["content"].as_str());
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.voices.say(self.execution, || Said::Text { effect: self.effect, text: text.into() });
        }
    }

    fn ended(&self) {
        self.voices.say(self.execution, || Said::Ended { effect: self.effect });
    }
}

/// Why an answer is not whole.
pub(super) enum Broken {
    /// By what came of the backend.
    By(ModelError),
    /// The call has no more time for it, while the backend still writes.
    Late,
}

impl From<ModelError> for Broken {
    fn from(error: ModelError) -> Self {
        Self::By(error)
    }
}

/// The whole of an answer whose first piece is there. What was seen, and what it is said to have used, is noted as it comes.
/// The call may say how long the answer may take in all; the backend how long it may be silent.
pub(super) async fn gather(
    spend: &mut Spend,
    first: Part,
    mut rest: Parts,
    (within, silent): (Option<Duration>, Duration),
    ear: &Ear<'_>,
) -> Result<Reply, Broken> {
    let mut heard = tokio::time::Instant::now();
    let until = heard + within.unwrap_or(LONGEST);
    ear.began(spend.model());
    let (mut choices, mut tokens) = (Choices::default(), None);
    let mut waiting = Some(first);
    loop {
        let part = match waiting.take() {
            Some(part) => part,
            None => match tokio::time::timeout_at(until, rest.next()).await {
                Err(_) if heard.elapsed() < silent => return Err(Broken::Late),
                Err(_) => return Err(ModelError::TimedOut.into()),
                Ok(None) => return Err(ModelError::Connection("the answer broke off".to_owned()).into()),
                Ok(Some(part)) => part?,
            },
        };
        heard = tokio::time::Instant::now();
        match part {
            Part::Choices(pieces) => {
                spend.saw(&pieces);
                ear.text(&pieces);
                choices.take(&pieces)?;
            }
            Part::Tokens(counted) => {
                spend.reported(counted);
                tokens = Some(counted);
            }
            Part::End => {
                let choices = choices.into_values();
                if choices.is_empty() {
                    return Err(ModelError::Shape("it has no choices".to_owned()).into());
                }
                ear.ended();
                return Ok(Reply { choices, tokens });
            }
        }
    }
}

/// Puts an answer together of the pieces that a stream passes on.
#[derive(Debug, Default)]
pub struct Gathered(Choices);

impl Gathered {
    /// Adds what a piece has that is new of the choices.
    ///
    /// # Errors
    /// [`CallError::Failed`] for a piece that is of no choice that there can be.
    pub fn take(&mut self, choices: &[Value], model: &ModelSlug) -> Result<(), CallError> {
        self.0.take(choices).map_err(|error| broken_off(error, model.as_str()))
    }

    /// The choices, as whole answers have them.
    pub fn into_choices(self) -> Vec<Value> {
        self.0.into_values()
    }
}

/// The choices of an answer, by their numbers.
#[derive(Debug, Default)]
struct Choices(BTreeMap<u64, Choice>);

#[derive(Debug, Default)]
struct Choice {
    /// Texts by the names of their fields: `content`, `refusal`, `reasoning_content`, …
    texts: Map<String, Value>,
    tool_calls: BTreeMap<u64, Map<String, Value>>,
    finish_reason: Option<String>,
}

impl Choices {
    /// Adds what a piece has that is new.
    fn take(&mut self, pieces: &[Value]) -> Result<(), ModelError> {
        for piece in pieces {
            let choice = self.0.entry(place(&piece["index"])?).or_default();
            if let Some(reason) = piece["finish_reason"].as_str() {
                choice.finish_reason = Some(reason.to_owned());
            }
            let Some(delta) = piece["delta"].as_object() else { continue };
            for (name, value) in delta {
                match (name.as_str(), value) {
                    ("role", _) => {}
                    ("tool_calls", Value::Array(calls)) => {
                        for call in calls {
                            let known = choice.tool_calls.entry(place(&call["index"])?).or_default();
                            if let Some(new) = call.as_object() {
                                add(known, new);
                            }
                        }
                    }
                    (_, Value::String(text)) => append(&mut choice.texts, name, text),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// As whole answers have them.
    fn into_values(self) -> Vec<Value> {
        let whole = |(index, choice): (u64, Choice)| {
            let mut message = choice.texts;
            message.insert("role".into(), "assistant".into());
            message.entry("content").or_insert(Value::Null);
            if !choice.tool_calls.is_empty() {
                let calls = choice.tool_calls.into_values().map(Value::Object);
                message.insert("tool_calls".into(), calls.collect());
            }
            let reason = choice.finish_reason.unwrap_or_else(|| "stop".to_owned());
            json!({"index": index, "message": message, "finish_reason": reason})
        };
        self.0.into_iter().map(whole).collect()
    }
}

/// Which choice, or call of a tool, a piece is of; the first where it does not say.
fn place(index: &Value) -> Result<u64, ModelError> {
    match index {
        Value::Null => Ok(0),
        index => index
            .as_u64()
            .filter(|index| *index < PLACES)
            .ok_or_else(|| ModelError::Shape(format!("{index} is no number of a choice"))),
    }
}

fn append(known: &mut Map<String, Value>, name: &str, text: &str) {
    match known.get_mut(name) {
        Some(Value::String(so_far)) => so_far.push_str(text),
        _ => drop(known.insert(name.to_owned(), text.into())),
    }
}

/// Adds to a call of a tool: its arguments come in pieces, everything else at once.
fn add(known: &mut Map<String, Value>, new: &Map<String, Value>) {
    for (name, value) in new {
        match (name.as_str(), value) {
            ("index", _) | (_, Value::Null) => {}
            ("function", Value::Object(function)) => {
                let slot = known.entry("function").or_insert_with(|| json!({}));
                if let Some(so_far) = slot.as_object_mut() {
                    for (name, value) in function {
                        match value {
                            Value::String(text) if name == "arguments" => append(so_far, name, text),
                            Value::Null => {}
                            other => drop(so_far.insert(name.clone(), other.clone())),
                        }
                    }
                }
            }
            (_, value) => drop(known.insert(name.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gathered(pieces: &[Value]) -> Vec<Value> {
        let mut choices = Choices::default();
        for piece in pieces {
            choices.take(std::slice::from_ref(piece)).unwrap();
        }
        choices.into_values()
    }

    #[test]
    fn texts_and_calls_of_tools_are_put_together() {
        let call = |call: Value| json!({"index": 0, "delta": {"tool_calls": [call]}});
        let whole = gathered(&[
            json!({"index": 0, "delta": {"role": "assistant", "content": ""}}),
            json!({"index": 1, "delta": {"content": "other"}, "finish_reason": "length"}),
            call(
                json!({"index": 0, "id": "a", "type": "function", "function": {"name": "add", "arguments": "{\"n\""}}),
            ),
            call(json!({"index": 1, "id": "b", "function": {"name": "sub", "arguments": ""}})),
            call(json!({"index": 0, "function": {"arguments": ":1}"}})),
            json!({"delta": {}, "finish_reason": "tool_calls"}),
        ]);
        let calls = json!([
            {"id": "a", "type": "function", "function": {"name": "add", "arguments": "{\"n\":1}"}},
            {"id": "b", "function": {"name": "sub", "arguments": ""}},
        ]);
        let expected = json!([
            {"index": 0, "message": {"role": "assistant", "content": "", "tool_calls": calls}, "finish_reason": "tool_calls"},
            {"index": 1, "message": {"role": "assistant", "content": "other"}, "finish_reason": "length"},
        ]);
        assert_eq!(Value::Array(whole), expected);
        assert!(
            Choices::default().take(&[json!({"index": 4_000_000_000_u64})]).is_err(),
            "no room for so many"
        );
    }

    proptest! {
        #[test]
        fn an_answer_is_the_same_however_it_is_cut(text in "\\PC{0,40}", cuts in prop::collection::vec(0usize..40, 0..6)) {
            let chars: Vec<char> = text.chars().collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(chars.len())).collect();
            cuts.extend([0, chars.len()]);
            cuts.sort_unstable();
            let piece = |from: usize, to: usize| chars[from..to].iter().collect::<String>();
            let pieces: Vec<Value> = cuts
                .windows(2)
                .map(|cut| json!({"index": 0, "delta": {"content": piece(cut[0], cut[1])}}))
                .collect();
            let whole = gathered(&pieces);
            prop_assert_eq!(whole[0]["message"]["content"].as_str(), Some(text.as_str()));
        }
    }
}
