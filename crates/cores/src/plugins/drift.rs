//! What is otherwise than it was accepted.

use std::collections::BTreeMap;

use super::manifest::Manifest;
use super::method::Method;
use super::name::MethodName;

/// How what was found differs from what was accepted, method by method.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drift {
    /// Methods that are new.
    pub added: Vec<MethodName>,
    /// Methods that are gone.
    pub removed: Vec<MethodName>,
    /// Methods that are not what they were: their description, schemas, effect or request.
    pub changed: Vec<MethodName>,
}

impl Drift {
    /// Compares what was accepted with what was found.
    pub fn between(accepted: &Manifest, found: &Manifest) -> Self {
        let before: BTreeMap<&MethodName, _> = accepted.pins().collect();
        let after: BTreeMap<&MethodName, _> = found.pins().collect();
        let only = |these: &BTreeMap<&MethodName, _>, those: &BTreeMap<&MethodName, _>| {
            these.keys().filter(|name| !those.contains_key(*name)).map(|name| (*name).clone()).collect()
        };
        let changed = before.iter().filter(|(name, pin)| after.get(*name).is_some_and(|other| other != *pin));
        let changed = changed.map(|(name, _)| (*name).clone()).collect();
        Self { added: only(&after, &before), removed: only(&before, &after), changed }
    }

    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// Whether a method of this name is not what was accepted.
    pub fn concerns(&self, name: &str) -> bool {
        let all = self.added.iter().chain(&self.removed).chain(&self.changed);
        all.into_iter().any(|method| method.as_str() == name)
    }
}

/// How a method stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Standing<'m> {
    /// It is as it was accepted, and can be called.
    Accepted(&'m Method),
    /// It is not what was accepted, or not yet accepted: it is not called until it is.
    Drifted,
    /// The plugin has no such method.
    Missing,
}

impl<'m> Standing<'m> {
    /// How a method stands, given what was accepted and how what was found differs from it.
    pub fn of(name: &str, accepted: &'m Manifest, drift: &Drift) -> Self {
        if drift.concerns(name) {
            return Self::Drifted;
        }
        accepted.method(name).map_or(Self::Missing, Self::Accepted)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn manifest(methods: &[(&str, &str)]) -> Manifest {
        let method = |(name, text): &(&str, &str)| json!({"name": name, "description": text, "effect": "unsafe", "input_schema": {"title": text}});
        let methods: Vec<Value> = methods.iter().map(method).collect();
        Manifest::parse(json!({"version": "1", "methods": methods}), "manifest").unwrap()
    }

    fn names(methods: &[MethodName]) -> Vec<&str> {
        methods.iter().map(MethodName::as_str).collect()
    }

    #[test]
    fn what_is_new_gone_or_otherwise_is_told_and_not_called() {
        let accepted = manifest(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let found = manifest(&[("c", "2"), ("d", "1"), ("a", "1")]);
        let drift = Drift::between(&accepted, &found);
        assert_eq!(
            (names(&drift.added), names(&drift.removed), names(&drift.changed)),
            (vec!["d"], vec!["b"], vec!["c"])
        );
        assert!(matches!(Standing::of("a", &accepted, &drift), Standing::Accepted(_)));
        for name in ["b", "c", "d"] {
            assert_eq!(Standing::of(name, &accepted, &drift), Standing::Drifted, "{name}");
        }
        assert_eq!(Standing::of("e", &accepted, &drift), Standing::Missing);
    }

    fn manifests() -> impl Strategy<Value = Manifest> {
        prop::collection::btree_map("[a-d]", "[0-2]", 0..4).prop_map(|methods| {
            let methods: Vec<(&str, &str)> =
                methods.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
            manifest(&methods)
        })
    }

    proptest! {
        #[test]
        fn only_what_is_the_same_in_both_is_called(accepted in manifests(), found in manifests()) {
            let drift = Drift::between(&accepted, &found);
            prop_assert_eq!(drift.is_empty(), accepted.methods().iter().all(|method| found.method(method.name.as_str()) == Some(method))
                && accepted.methods().len() == found.methods().len());
            for name in ["a", "b", "c", "d"] {
                let same = accepted.method(name).is_some() && accepted.method(name) == found.method(name);
                let called = matches!(Standing::of(name, &accepted, &drift), Standing::Accepted(_));
                prop_assert_eq!(same, called);
            }
            prop_assert!(Drift::between(&found, &found).is_empty());
        }
    }
}
