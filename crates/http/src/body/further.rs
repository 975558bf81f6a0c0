//! All that keeps a value from being read, rather than the first of it.
//!
//! serde ends at its first finding. What was found is put right in a copy, by a value that the type takes there, and the copy is read
//! again, until it is read or nothing fits. Whoever sends much that is wrong is answered once, not once for each field.

use scaigrid_app::FieldError;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serde_path_to_error::{Path, Segment};

use super::findings::{MAX_FINDINGS, missing, of_type, of_unknown, read_value};

/// The most times that a value is put right: it bounds the work, which a client chooses.
const MAX_TRIES: usize = 64;

/// A body with more bytes is told its first finding only: each try reads all of it.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// What a value was put right by, at one place.
struct Mending {
    at: Vec<Step>,
    /// How many of the candidates have been tried.
    tried: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// The findings about a value in the order in which it is read, the first of them included; then what the type does not know.
pub(super) fn findings<T: DeserializeOwned>(mut value: Value) -> Vec<FieldError> {
    let mut found = Vec::new();
    let mut mended: Vec<Vec<Step>> = Vec::new();
    let mut mending: Option<Mending> = None;
    for _ in 0..MAX_TRIES {
        let Err((error, path)) = read_value::<T>(value.clone()) else {
            found.extend(unknown::<T>(value));
            break;
        };
        let at = place(&path, &error.to_string());
        match (at, &mut mending) {
            // The value that was put there does not fit either.
            (Some(at), Some(mending)) if mending.at == at => mending.tried += 1,
            (at, _) => {
                // What is wrong within what was put there is not the client's mistake.
                let ours = at.as_ref().is_some_and(|at| mended.iter().any(|mended| at.starts_with(mended)));
                if !ours {
                    found.push(of_type(&error, &path));
                }
                let Some(at) = at else { break };
                mended.push(at.clone());
                mending = Some(Mending { at, tried: 0 });
            }
        }
        let Some(now) = &mending else { break };
        let candidate = candidate(now.tried, &error.to_string());
        let is_put = candidate.is_some_and(|candidate| put(&mut value, &now.at, candidate));
        if !is_put || found.len() >= MAX_FINDINGS {
            break;
        }
    }
    found
}

/// The fields that the type does not know.
fn unknown<T: DeserializeOwned>(value: Value) -> Vec<FieldError> {
    let mut found = Vec::new();
    let read: Result<T, _> = serde_ignored::deserialize(value, |path| {
        if found.len() < MAX_FINDINGS {
            found.push(of_unknown(&path));
        }
    });
    drop(read);
    found
}

/// What may fit somewhere, one after the other; what the message itself names is tried before all.
fn candidate(tried: usize, message: &str) -> Option<Value> {
    if let Some((_, choices)) =
        message.split_once("`, expected ").filter(|_| message.starts_with("unknown variant"))
        && let Some(choice) = choices.split('`').nth(1)
    {
        return Some(choice.into());
    }
    let plain = [json!("a"), json!(1), json!(false), json!([]), json!({}), Value::Null];
    plain.get(tried).cloned()
}

/// Where a finding is, or where the field that is missing should be; none within what has no place of its own in JSON.
fn place(path: &Path, message: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for segment in path {
        steps.push(match segment {
            Segment::Map { key } => Step::Key(key.clone()),
            Segment::Seq { index } => Step::Index(*index),
            Segment::Enum { .. } | Segment::Unknown => return None,
        });
    }
    steps.extend(missing(message).map(|name| Step::Key(name.to_owned())));
    (!steps.is_empty()).then_some(steps)
}

/// Puts a value at a place; false where the value has no such place.
fn put(root: &mut Value, at: &[Step], candidate: Value) -> bool {
    let Some((last, above)) = at.split_last() else { return false };
    let holder = above.iter().try_fold(root, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
    });
    match (holder, last) {
        (Some(Value::Object(fields)), Step::Key(key)) => {
            fields.insert(key.clone(), candidate);
            true
        }
        (Some(Value::Array(items)), Step::Index(index)) => {
            items.get_mut(*index).map(|item| *item = candidate).is_some()
        }
        _ => false,
    }
}
