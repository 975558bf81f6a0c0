//! What a model has said of a note.

use serde_json::{Map, Value};

/// What a model has said of a note; of what was not asked for, nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NoteAnswer {
    /// Under which category it is filed.
    pub category: Option<String>,
    /// What it could be called.
    pub title: Option<String>,
    /// What it says in short.
    pub summary: Option<String>,
    /// What is to be done.
    pub todos: Vec<String>,
    /// What it could be tagged with.
    pub tags: Vec<String>,
}

/// A model's answer is not what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its answer is not the JSON object that it was asked for")]
pub struct Unreadable;

const MAX_CATEGORY: usize = 100;
const MAX_TITLE: usize = 200;
const MAX_SUMMARY: usize = 4_000;
const MAX_TODOS: usize = 50;
const MAX_TODO: usize = 500;
const MAX_TAGS: usize = 20;
const MAX_TAG: usize = 50;

/// Reads an answer: the fields that were asked for, within bounds.
pub(super) fn read(text: &str, asked: &[&str]) -> Result<NoteAnswer, Unreadable> {
    let fields = object_in(text).ok_or(Unreadable)?;
    if !asked.iter().any(|name| fields.contains_key(*name)) {
        return Err(Unreadable);
    }
    let of = |name: &str| fields.get(name).filter(|_| asked.contains(&name)).unwrap_or(&Value::Null);
    Ok(NoteAnswer {
        category: bounded(of("category"), MAX_CATEGORY),
        title: bounded(of("title"), MAX_TITLE),
        summary: bounded(of("summary"), MAX_SUMMARY),
        todos: each(of("todos"), MAX_TODOS, MAX_TODO),
        tags: tags(of("tags")),
    })
}

/// The JSON object that a text is, or holds between its first and its last curly bracket: models like to fence what they say.
fn object_in(text: &str) -> Option<Map<String, Value>> {
    let of = |text: &str| serde_json::from_str::<Map<String, Value>>(text).ok();
    let within = || {
        let (start, end) = (text.find('{')?, text.rfind('}')?);
        of(text.get(start..=end)?)
    };
    of(text.trim()).or_else(within)
}

/// A text, without what surrounds it and what no database keeps, cut to so many characters; none where nothing is left.
fn bounded(value: &Value, most: usize) -> Option<String> {
    let text = value.as_str()?.trim();
    let cut: String = text.chars().filter(|c| *c != '\0').take(most).collect();
    (!cut.trim().is_empty()).then_some(cut)
}

/// The texts of a list. An item may also be an object that has one, as `{"text": "…"}`.
fn each(value: &Value, most: usize, chars: usize) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |item: &Value| {
        let inner = ["text", "title", "task", "todo", "name"].iter().find_map(|name| item.get(name));
        bounded(inner.unwrap_or(item), chars)
    };
    items.iter().filter_map(text).take(most).collect()
}

/// Tags, without `#`, each once whatever its letters' case.
fn tags(value: &Value) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for text in each(value, MAX_TAGS, MAX_TAG) {
        let tag = text.trim_start_matches('#').trim();
        if !tag.is_empty() && !tags.iter().any(|other| other.to_lowercase() == tag.to_lowercase()) {
            tags.push(tag.to_owned());
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ALL: [&str; 5] = ["category", "title", "summary", "todos", "tags"];

    #[test]
    fn an_answer_may_be_fenced() {
        let said =
            "Here you are:\n```json\n{\"summary\": \" Milk. \", \"tags\": [\"#food\", \"Food\", \"\"]}\n```";
        let answer = read(said, &ALL).unwrap();
        assert_eq!(answer.summary.as_deref(), Some("Milk."));
        assert_eq!(answer.tags, ["food"]);
        assert_eq!(answer.title, None);
    }

    #[test]
    fn only_what_was_asked_for_is_taken() {
        let said = json!({"summary": "Milk.", "title": "Shopping", "todos": ["buy milk"]}).to_string();
        let answer = read(&said, &["summary"]).unwrap();
        assert_eq!(answer, NoteAnswer { summary: Some("Milk.".into()), ..NoteAnswer::default() });
        assert_eq!(read(&said, &["tags"]), Err(Unreadable));
    }

    #[test]
    fn items_may_be_objects_and_are_bounded() {
        let many: Vec<Value> = (0..60).map(|n| json!({"task": format!("do {n}"), "done": false})).collect();
        let said = json!({"todos": many, "category": "x".repeat(500)}).to_string();
        let answer = read(&said, &ALL).unwrap();
        assert_eq!(answer.todos.len(), MAX_TODOS);
        assert_eq!(answer.todos[0], "do 0");
        assert_eq!(answer.category.map(|category| category.len()), Some(MAX_CATEGORY));
    }

    #[test]
    fn what_is_no_object_is_told() {
        for said in ["", "I would rather not.", "[1]", "{\"summary\": ", "} {", "```\n```", "{}"] {
            assert_eq!(read(said, &ALL), Err(Unreadable), "{said}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_read_or_refused(text: String) {
            let _ = read(&text, &ALL);
        }
    }
}
