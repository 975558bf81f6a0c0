//! What became of an event with those who listen to its name: kept with the event, for whoever asks why.

use scaigrid_scope::{CoreId, ExecutionId};
use serde_json::{Map, Value, json};

/// The most listeners that are noted with one event.
pub const NOTED_AT_MOST: usize = 100;
/// The most characters of an error that are noted.
const MESSAGE_AT_MOST: usize = 500;

/// What became of an event with one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It started an execution.
    Started(ExecutionId),
    /// It ended the wait of an execution.
    Woke(ExecutionId),
    /// The filter is not true.
    FilterFalse,
    /// The filter cannot be computed, or is no truth value: why.
    FilterError(String),
    /// The Core of the listener takes no work: its status.
    CoreNotRunning(String),
    /// The flow cannot be started with it: why. Where an execution tells of that, it is named.
    Unfit(String, Option<ExecutionId>),
    /// It was here before: what it started then.
    Duplicate(Option<ExecutionId>),
    /// The listener cannot listen: why.
    Broken(String),
}

/// A listener, and what became of an event with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// What listens: `trigger:<name>`, `subscription`, `wait`.
    pub listener: String,
    /// Its Core.
    pub core_id: CoreId,
    /// The flow that it starts; none of an execution that waits.
    pub flow: Option<String>,
    /// What became of it.
    pub verdict: Verdict,
}

fn short(text: &str) -> String {
    text.chars().take(MESSAGE_AT_MOST).collect()
}

impl Listening {
    /// As it is kept and shown: `listener`, `core_id`, `flow`, `result`, and `execution_id`, `reason` or `status` with it.
    pub fn to_json(&self) -> Value {
        let id = |id: &ExecutionId| Value::from(id.to_string());
        let (result, more) = match &self.verdict {
            Verdict::Started(execution) => ("started", json!({"execution_id": id(execution)})),
            Verdict::Woke(execution) => ("woke", json!({"execution_id": id(execution)})),
            Verdict::FilterFalse => ("filter_false", json!({})),
            Verdict::FilterError(reason) => ("filter_error", json!({"reason": short(reason)})),
            Verdict::CoreNotRunning(status) => ("core_not_running", json!({"status": status})),
            Verdict::Unfit(reason, execution) => {
                let mut more = json!({"reason": short(reason)});
                if let Some(execution) = execution {
                    more["execution_id"] = id(execution);
                }
                ("unfit", more)
            }
            Verdict::Duplicate(first) => ("duplicate", json!({"execution_id": first.as_ref().map(id)})),
            Verdict::Broken(reason) => ("broken", json!({"reason": short(reason)})),
        };
        let mut fields = Map::new();
        fields.insert("listener".to_owned(), self.listener.as_str().into());
        fields.insert("core_id".to_owned(), self.core_id.to_string().into());
        fields.insert("flow".to_owned(), self.flow.as_deref().into());
        fields.insert("result".to_owned(), result.into());
        if let Value::Object(more) = more {
            fields.extend(more);
        }
        Value::Object(fields)
    }
}

/// As they are kept with an event: the first of very many, and how many more there were, with `further` that are not among
/// them. None where nobody listened.
pub fn noted(listened: &[Listening], further: usize) -> Option<Value> {
    if listened.is_empty() {
        return None;
    }
    let mut noted: Vec<Value> = listened.iter().take(NOTED_AT_MOST).map(Listening::to_json).collect();
    let more = listened.len().saturating_sub(NOTED_AT_MOST) + further;
    if more > 0 {
        noted.push(json!({"more": more}));
    }
    Some(Value::Array(noted))
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    #[test]
    fn every_verdict_has_a_word_of_its_own() {
        let execution = ExecutionId::from_ulid(Ulid(1));
        let verdicts = [
            Verdict::Started(execution),
            Verdict::Woke(execution),
            Verdict::FilterFalse,
            Verdict::FilterError("x".repeat(1000)),
            Verdict::CoreNotRunning("stopped".to_owned()),
            Verdict::Unfit("why".to_owned(), None),
            Verdict::Duplicate(Some(execution)),
            Verdict::Broken("why".to_owned()),
        ];
        let mut words = std::collections::BTreeSet::new();
        for verdict in verdicts {
            let one = Listening {
                listener: "trigger:a".to_owned(),
                core_id: CoreId::from_ulid(Ulid(2)),
                flow: Some("f".to_owned()),
                verdict,
            };
            let shown = one.to_json();
            assert!(words.insert(shown["result"].as_str().unwrap().to_owned()), "{shown}");
            assert!(shown["reason"].as_str().unwrap_or_default().len() <= MESSAGE_AT_MOST);
            let many = noted(&vec![one; NOTED_AT_MOST + 3], 4).unwrap();
            assert_eq!(many.as_array().unwrap().last(), Some(&json!({"more": 7})));
        }
        assert_eq!(noted(&[], 0), None);
    }
}
