//! What is not known of a module that is verified though its document has mistakes of form.
//!
//! Where something could not be read a stand-in is in its place, or nothing. What the rules would say because of that is no finding
//! but an echo of one that is there already, so it is left out: at and around such a place, of names that may have been meant
//! there, and of lists that are not whole. What is left is true of the program whatever the author meant, as far as that can be told; in
//! doubt it is left out and told when the form is right.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::diagnostic::codes;
use crate::load::{is_below, step};

/// Kinds of objects within an expression or a pattern, which belong to the block or statement around them.
const INNER: &[&str] = &[
    "literal",
    "name",
    "member",
    "index",
    "unary",
    "binary",
    "conditional",
    "call",
    "method",
    "lambda",
    "object",
    "array",
    "template",
    "wildcard",
    "type",
    "any",
    "bind",
];
/// Mistakes in whose place something may have been that binds names.
const MAY_BIND: &[&str] = &[
    codes::WRONG_SHAPE,
    codes::MISSING_FIELD,
    codes::UNKNOWN_KIND,
    codes::EXPECTED_IDENTIFIER,
    codes::INVALID_PATTERN,
    codes::MODEL_IN_RIGID,
];

/// The mistakes of form, by place, and what follows from them. Of a document without any nothing does.
#[derive(Debug, Default)]
pub(crate) struct Doubts<'d> {
    document: Option<&'d Json>,
    places: BTreeMap<Arc<str>, &'static str>,
    /// The blocks, statements and declarations in which they are.
    parts: BTreeSet<String>,
    /// Lists of these that may lack elements, so that those behind them are counted wrongly.
    lists: BTreeSet<String>,
    /// Words that stand where a name may have been bound.
    words: BTreeSet<&'d str>,
}

impl<'d> Doubts<'d> {
    /// What is not known of a document with mistakes of form at these places.
    pub(crate) fn of(document: &'d Json, places: &[(Arc<str>, &'static str)]) -> Self {
        let mut doubts = Self { document: Some(document), ..Self::default() };
        for (place, code) in places {
            let part = part(document, place);
            let inside = place.get(part.len()..).unwrap_or_default();
            let mut end = part.len();
            for token in inside.split('/').skip(1) {
                if token.parse::<u64>().is_ok() {
                    doubts.lists.extend(place.get(..end).map(str::to_owned));
                    break;
                }
                end += 1 + token.len();
            }
            doubts.parts.insert(part.to_owned());
            doubts.may_bind(document, place, code);
            doubts.places.insert(Arc::clone(place), *code);
        }
        doubts
    }

    fn may_bind(&mut self, document: &'d Json, place: &str, code: &str) {
        if !MAY_BIND.contains(&code) {
            return;
        }
        if let Some(there) = at(document, place) {
            words(there, &mut self.words);
        }
        let Some((around, key)) = place.rsplit_once('/') else { return };
        match at(document, around) {
            // It was left out whole.
            Some(around) if key == "kind" => words(around, &mut self.words),
            Some(Json::Object(map)) => {
                map.values()
                    .filter(|value| value.is_string())
                    .for_each(|value| words(value, &mut self.words));
            }
            _ => {}
        }
    }

    /// Whether something at a place, or inside it, could not be read.
    pub(super) fn at(&self, pointer: &str) -> bool {
        !self.places.is_empty() && (self.places.contains_key(pointer) || self.below(pointer))
    }

    fn below(&self, pointer: &str) -> bool {
        let bounds = (Bound::Included(pointer), Bound::Unbounded);
        let from = self.places.range::<str, (Bound<&str>, Bound<&str>)>(bounds);
        let mut near = from.map(|(place, _)| place).take_while(|place| place.starts_with(pointer));
        near.any(|place| is_below(place, pointer))
    }

    /// Whether something of a block or statement itself could not be read.
    pub(super) fn in_part(&self, pointer: &str) -> bool {
        self.parts.contains(pointer)
    }

    /// Whether a name may have been bound where something could not be read.
    pub(super) fn may_name(&self, name: &str) -> bool {
        self.words.contains(name)
    }

    /// Whether a map of declarations may have had an entry that could not be read.
    pub(super) fn may_declare(&self, map: &str, name: &str) -> bool {
        let is = |place: &str| self.places.contains_key(place);
        !self.places.is_empty() && (is(map) || is(&super::child(map, name)))
    }

    /// Whether the names in a list of declarations are not all known.
    pub(super) fn may_list(&self, list: &str, key: &str) -> bool {
        self.places.keys().any(|place| {
            let Some(rest) = place.strip_prefix(list) else { return false };
            let mut tokens = rest.split('/').skip(1);
            let (_, field, more) = (tokens.next(), tokens.next(), tokens.next());
            more.is_none()
                && field.is_none_or(|field| field == key)
                && (rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Whether parameters of any flow could not be read.
    pub(super) fn in_parameters(&self) -> bool {
        let params = |place: &str| is_below(place, "/flows") && place.contains("/params");
        self.may_list("/flows", "params") || self.places.keys().any(|place| params(place))
    }

    /// Whether nothing is in doubt.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether a finding may only be an echo of what could not be read.
    pub(super) fn silence(&self, code: &str, pointer: &str) -> bool {
        let Some(document) = self.document.filter(|_| !self.places.is_empty()) else { return false };
        let above = |pointer: &str| self.places.contains_key(pointer);
        if above(pointer) || pointer.match_indices('/').any(|(end, _)| above(&pointer[..end])) {
            return true;
        }
        let own = part(document, pointer);
        let in_list = |(end, _): (usize, &str)| end >= own.len() && self.lists.contains(&pointer[..end]);
        if pointer.match_indices('/').any(in_list) {
            return true;
        }
        match code {
            // Whether a name is bound on every way depends on each step of the flow.
            codes::MAYBE_UNBOUND => self.below(first_two(pointer)),
            codes::NO_VALUE => self.below(pointer),
            code if code.starts_with("E2") => self.below(pointer),
            _ => self.in_part(own),
        }
    }
}

/// The pointer of the block, statement or declaration that a place belongs to.
fn part<'p>(document: &Json, pointer: &'p str) -> &'p str {
    let mut found = first_two(pointer);
    let (mut node, mut end) = (document, 0);
    for token in pointer.split('/').skip(1) {
        let Some(next) = step(node, token) else { break };
        (node, end) = (next, end + 1 + token.len());
        let kind = node.get("kind").and_then(Json::as_str);
        if kind.is_some_and(|kind| !INNER.contains(&kind)) {
            found = pointer.get(..end).unwrap_or(found);
        }
    }
    found
}

/// What stands directly in the document, of lists and maps their entry: `/flows/0`.
fn first_two(pointer: &str) -> &str {
    let end = pointer.match_indices('/').nth(2).map_or(pointer.len(), |(end, _)| end);
    pointer.get(..end).unwrap_or(pointer)
}

fn at<'d>(document: &'d Json, pointer: &str) -> Option<&'d Json> {
    pointer.split('/').skip(1).try_fold(document, step)
}

/// Every word of the texts and keys of a value.
fn words<'d>(value: &'d Json, found: &mut BTreeSet<&'d str>) {
    fn split<'d>(text: &'d str, found: &mut BTreeSet<&'d str>) {
        let ends = |letter: char| !letter.is_ascii_alphanumeric() && letter != '_';
        found.extend(text.split(ends).filter(|word| !word.is_empty()));
    }
    match value {
        Json::String(text) => split(text, found),
        Json::Array(items) => items.iter().for_each(|item| words(item, found)),
        Json::Object(map) => {
            for (key, item) in map {
                split(key, found);
                words(item, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places_belong_to_the_block_or_statement_around_them() {
        let document = json!({"flows": [{"name": "f", "body": [
            {"kind": "rigid", "statements": [
                {"kind": "let", "name": "a", "value": {"kind": "binary", "op": "?", "left": "1", "right": "2"}}]}]}],
            "config": {"limit": {"type": "int"}}});
        for (place, belongs) in [
            ("/flows/0/body/0/statements/0/value/op", "/flows/0/body/0/statements/0"),
            ("/flows/0/body/0/statements", "/flows/0/body/0"),
            ("/flows/0/params/1/name", "/flows/0"),
            ("/config/limit/default", "/config/limit"),
            ("/version", "/version"),
        ] {
            assert_eq!(part(&document, place), belongs);
        }
    }

    #[test]
    fn lists_of_declarations_are_doubted_for_their_names_only() {
        let places = |place: &str| [(Arc::from(place), codes::WRONG_SHAPE)];
        let document = json!({});
        for (place, doubted) in [
            ("/flows", true),
            ("/flows/0", true),
            ("/flows/0/name", true),
            ("/flows/0/body", false),
            ("/flows/0/name/x", false),
            ("/flowsy", false),
        ] {
            assert_eq!(Doubts::of(&document, &places(place)).may_list("/flows", "name"), doubted, "{place}");
        }
    }
}
