//! The arms of `match`: whether they cover everything, and whether each can be reached.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::block::{MatchArm, Pattern};
use crate::diagnostic::codes;
use crate::types::Type;
use crate::value::Value;

use super::known;
use super::{Verifier, child};

/// Enums beyond this are not looked through.
const MAX_MEMBERS: usize = 1000;

impl<'m> Verifier<'m> {
    /// Checks the arms of a `match` together. What an arm binds and does is checked with the arm.
    pub(super) fn arms(&mut self, subject: Option<&Type>, arms: &[MatchArm], has_else: bool, pointer: &str) {
        let mut open = true;
        for (index, arm) in arms.iter().enumerate() {
            let place = format!("{pointer}/arms/{index}");
            if !open {
                let message = "an earlier arm takes every value, so this one is never reached";
                self.warning(codes::UNREACHABLE_HANDLER, &place, message);
            }
            self.pattern_types(&arm.pattern, &child(&place, "pattern"));
            open &= arm.guard.is_some() || !takes_all(&arm.pattern);
        }
        if !open || has_else {
            if !open && has_else {
                let message = "an arm takes every value, so else is never reached";
                self.warning(codes::UNREACHABLE_HANDLER, &child(pointer, "else"), message);
            }
            return;
        }
        let Some(members) = subject.and_then(|ty| self.members(ty)) else { return };
        let mut taken = BTreeSet::new();
        for arm in arms.iter().filter(|arm| arm.guard.is_none()) {
            self.taken(&arm.pattern, &mut taken);
        }
        let left: Vec<_> =
            members.iter().filter(|member| !taken.contains(*member)).copied().take(20).collect();
        if !left.is_empty() {
            let message = format!("no arm takes {}; add arms for them or an else", left.join(", "));
            self.error(codes::NOT_EXHAUSTIVE, pointer, message);
        }
    }

    /// All values of a type, as texts, where they can be told.
    fn members<'t>(&self, ty: &'t Type) -> Option<Vec<&'t str>>
    where
        'm: 't,
    {
        let types = &self.module.types;
        let mut members = match known::present(ty, types) {
            Type::Enum(members) if members.len() <= MAX_MEMBERS => {
                members.iter().map(AsRef::as_ref).collect()
            }
            Type::Bool => vec!["true", "false"],
            _ => return None,
        };
        if matches!(known::resolve(ty, types), Type::Optional(_)) {
            members.push("null");
        }
        Some(members)
    }

    /// What a pattern surely takes of the values of a type with countable values.
    fn taken<'t>(&self, pattern: &'t Pattern, taken: &mut BTreeSet<&'t str>)
    where
        'm: 't,
    {
        match pattern {
            Pattern::Literal(Value::String(text)) => {
                taken.insert(text);
            }
            Pattern::Literal(Value::Bool(truth)) => {
                taken.insert(if *truth { "true" } else { "false" });
            }
            Pattern::Literal(Value::Null) => {
                taken.insert("null");
            }
            Pattern::Any(members) => {
                for member in members {
                    self.taken(member, taken);
                }
            }
            Pattern::Type(ty) => taken.extend(self.members(ty).unwrap_or_default()),
            Pattern::Literal(_) | Pattern::Object(_) | Pattern::Wildcard | Pattern::Bind(_) => {}
        }
    }

    fn pattern_types(&mut self, pattern: &Pattern, pointer: &str) {
        match pattern {
            Pattern::Type(ty) => self.types(ty, pointer),
            Pattern::Object(fields) => {
                for (_, inner) in fields {
                    self.pattern_types(inner, pointer);
                }
            }
            Pattern::Any(members) => {
                let names = |pattern: &Pattern| {
                    let mut names = BTreeSet::<Arc<str>>::new();
                    super::scope::bound_in_pattern(pattern, &mut names);
                    names
                };
                if members.windows(2).any(|pair| names(&pair[0]) != names(&pair[1])) {
                    let message = "alternatives must bind the same names";
                    self.error(codes::INVALID_PATTERN, pointer, message);
                }
                for inner in members {
                    self.pattern_types(inner, pointer);
                }
            }
            Pattern::Wildcard | Pattern::Literal(_) | Pattern::Bind(_) => {}
        }
    }
}

/// Whether a pattern fits every value.
fn takes_all(pattern: &Pattern) -> bool {
    match pattern {
        Pattern::Wildcard | Pattern::Bind(_) | Pattern::Type(Type::Json) => true,
        Pattern::Any(members) => members.iter().any(takes_all),
        _ => false,
    }
}
