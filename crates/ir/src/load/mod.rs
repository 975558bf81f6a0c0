//! From a document to a typed [`Module`], with a finding for everything that is not as it must be.
//!
//! Loading decides *form*: kinds, fields, shapes, the text of expressions, types and patterns. Whether names
//! exist and rules hold is decided by [`crate::verify`], on the module that comes out here. [`check`] does
//! both and is what hosts use.

mod blocks;
mod checkpoints;
mod declarations;
mod duration;
pub(crate) mod form;
pub(crate) mod keys;
mod models;
mod pattern;
mod statements;
mod summary;
mod waiting;

#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value as Json;

use crate::bundle::MAX_DEPTH;
use crate::diagnostic::{Diagnostic, codes, in_order};
use crate::module::Module;
use crate::verify::Doubts;

use form::{Findings, MAX_FINDINGS};

pub use summary::{Avatar, Identity, Summary, summary};

/// What loading gives.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The module; absent where the document's form is wrong.
    pub module: Option<Arc<Module>>,
    /// What was found: errors first, each by place. Findings E49x (what this version does not do) leave the module intact.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a document. All findings of the form are reported together, at most 200.
pub fn module(document: &Json) -> Loaded {
    let (module, findings) = read(document);
    let module = module.filter(|_| !findings.malformed()).map(Arc::new);
    Loaded { module, diagnostics: finish(findings.into_list(), Some(document)) }
}

/// Reads a document and verifies the module: the module where the form is right, and all findings, errors first and each
/// by place, at most 200. The program can run if there is a module and none of the findings is an error.
///
/// Where the form is wrong what could be read is verified all the same, so that mistakes of meaning need not wait for a second round;
/// what may only be an echo of a mistake of form is left out.
pub fn check(document: &Json) -> (Option<Arc<Module>>, Vec<Diagnostic>) {
    let (module, findings) = read(document);
    let malformed = findings.malformed();
    let doubts = Doubts::of(document, findings.places());
    let mut diagnostics = findings.into_list();
    // Rules follow types, so these must end somewhere; and more is not told than that.
    let endless = diagnostics.iter().any(|finding| finding.code == codes::ENDLESS_TYPE);
    let full = diagnostics.iter().filter(|finding| finding.is_error()).count() >= MAX_FINDINGS;
    if let Some(module) = module.as_ref().filter(|_| !endless && !full) {
        diagnostics.extend(crate::verify::beside(module, doubts));
    }
    let module = module.filter(|_| !malformed).map(Arc::new);
    (module, finish(diagnostics, Some(document)))
}

/// What could be read of a document, with stand-ins for what could not.
fn read(document: &Json) -> (Option<Module>, Findings) {
    let mut findings = Findings::default();
    if !within_depth(document, MAX_DEPTH) {
        findings.error(codes::TOO_DEEP, "", format!("the document is nested deeper than {MAX_DEPTH} levels"));
        return (None, findings);
    }
    let module = declarations::module(document, &mut findings);
    (module, findings)
}

/// Findings as they are told: errors before warnings, also where there are too many to tell, each by place and with the
/// nearest `source_location` around it.
pub(crate) fn finish(mut list: Vec<Diagnostic>, document: Option<&Json>) -> Vec<Diagnostic> {
    if list.len() > MAX_FINDINGS {
        list.sort_by_key(|finding| std::cmp::Reverse(finding.is_error()));
        list.truncate(MAX_FINDINGS);
    }
    if let Some(document) = document {
        for finding in &mut list {
            finding.source_location = nearest_location(document, &finding.pointer)
                .cloned()
                .or_else(|| finding.source_location.take());
        }
    }
    in_order(&mut list);
    list.dedup();
    list
}

fn nearest_location<'d>(document: &'d Json, pointer: &str) -> Option<&'d Json> {
    let mut nearest = None;
    let mut node = Some(document);
    let mut tokens = pointer.split('/').skip(1);
    while let Some(present) = node {
        nearest = present.get("source_location").filter(|location| is_small(location)).or(nearest);
        let Some(token) = tokens.next() else { break };
        node = step(present, token);
    }
    nearest
}

/// What a token of a pointer leads to.
pub(crate) fn step<'d>(value: &'d Json, token: &str) -> Option<&'d Json> {
    match value {
        Json::Object(map) if token.contains('~') => map.get(&token.replace("~1", "/").replace("~0", "~")),
        Json::Object(map) => map.get(token),
        Json::Array(list) => token.parse().ok().and_then(|index: usize| list.get(index)),
        _ => None,
    }
}

/// Whether a pointer leads further than another one on the same way.
pub(crate) fn is_below(pointer: &str, above: &str) -> bool {
    pointer.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a location can be repeated with each finding: a place, not a payload.
pub(crate) fn is_small(location: &Json) -> bool {
    fn spend(value: &Json, left: &mut usize) -> bool {
        let own = match value {
            Json::String(text) => text.len(),
            Json::Object(map) => map.keys().map(String::len).sum(),
            _ => 0,
        };
        let Some(rest) = left.checked_sub(own + 16) else { return false };
        *left = rest;
        match value {
            Json::Array(list) => list.iter().all(|item| spend(item, left)),
            Json::Object(map) => map.values().all(|item| spend(item, left)),
            _ => true,
        }
    }
    !location.is_null() && spend(location, &mut 2048)
}

fn within_depth(value: &Json, levels: usize) -> bool {
    levels > 0
        && match value {
            Json::Array(list) => list.iter().all(|item| within_depth(item, levels - 1)),
            Json::Object(map) => map.values().all(|item| within_depth(item, levels - 1)),
            _ => true,
        }
}
