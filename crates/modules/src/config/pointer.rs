//! Places in a configuration, as JSON Pointers (RFC 6901).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

/// The place of a part of what is at a place.
pub(crate) fn child(parent: &str, name: &str) -> String {
    format!("{parent}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// The parts of a pointer, as they are called.
pub(crate) fn parts(pointer: &str) -> impl Iterator<Item = String> {
    pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~"))
}

/// A place as people read it: `smtp.hosts[0].name`; `body` for the whole.
///
/// Names that would be misread stand in brackets and quotes.
pub fn field_name(pointer: &str) -> String {
    let mut text = String::new();
    for part in parts(pointer) {
        let simple = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let written = if !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit()) {
            write!(text, "[{part}]")
        } else if part.is_empty() || !part.chars().all(simple) {
            write!(text, "[{part:?}]")
        } else if text.is_empty() {
            write!(text, "{part}")
        } else {
            write!(text, ".{part}")
        };
        debug_assert!(written.is_ok(), "a text takes whatever is written to it");
    }
    if text.is_empty() { "body".to_owned() } else { text }
}

/// The place among these that the given one is at or below.
pub(crate) fn covering<'a>(places: &'a BTreeSet<String>, pointer: &str) -> Option<&'a str> {
    let ends = pointer.match_indices('/').map(|(index, _)| index).skip(1).chain([pointer.len()]);
    ends.map(|end| &pointer[..end]).find_map(|prefix| places.get(prefix)).map(String::as_str)
}

/// Replaces what is at some places. Places where there is nothing are left alone.
pub(crate) fn replace(value: &mut Value, places: &BTreeSet<String>, by: &Value) {
    for place in places {
        if let Some(part) = value.pointer_mut(place) {
            part.clone_from(by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written_in_programs() {
        let place = child(&child(&child("", "smtp"), "0"), "a/b~c");
        assert_eq!(place, "/smtp/0/a~1b~0c");
        assert_eq!(field_name(&place), "smtp[0][\"a/b~c\"]");
        assert_eq!(field_name("/smtp/host"), "smtp.host");
        assert_eq!(field_name(""), "body");
        assert_eq!(field_name("/"), "[\"\"]");
    }

    #[test]
    fn a_place_covers_what_is_below_it() {
        let places = BTreeSet::from(["/a/b".to_owned(), "/c".to_owned()]);
        assert_eq!(covering(&places, "/a/b"), Some("/a/b"));
        assert_eq!(covering(&places, "/a/b/c/0"), Some("/a/b"));
        assert_eq!(covering(&places, "/c/x"), Some("/c"));
        for outside in ["", "/", "/a", "/a/bc", "/cc"] {
            assert_eq!(covering(&places, outside), None, "{outside}");
        }
    }
}
