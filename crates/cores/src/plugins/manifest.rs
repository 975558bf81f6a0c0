//! What a plugin offers.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::fields::{Fields, Problems};
use super::method::{EffectClass, Method};
use super::name::MethodName;
use super::pin::Pin;
use crate::core::{FieldProblem, json_size};

/// What a plugin offers: methods with names of their own.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    version: Box<str>,
    methods: Vec<Method>,
    hosts: Vec<Box<str>>,
    left_out: Vec<Box<str>>,
}

impl Manifest {
    /// The greatest number of methods.
    pub const MAX_METHODS: usize = 1000;
    /// The greatest size as JSON text, in bytes.
    pub const MAX_BYTES: usize = 2 * 1024 * 1024;
    const MAX_HOSTS: usize = 100;
    const MAX_LEFT_OUT: usize = 100;

    /// Reads what a client wrote: `{version, methods: [{name, description, effect, input_schema, output_schema?,
    /// query_method?}], hosts?}`. Unknown fields are refused by name.
    ///
    /// # Errors
    /// Everything that is wrong with it, by field.
    pub fn parse(written: Value, at: &str) -> Result<Self, Vec<FieldProblem>> {
        Self::read(written, at, false)
    }

    /// Reads what [`Manifest::to_json`] wrote.
    ///
    /// # Errors
    /// As [`Manifest::parse`].
    pub fn from_stored(stored: Value) -> Result<Self, Vec<FieldProblem>> {
        Self::read(stored, "manifest", true)
    }

    fn read(value: Value, at: &str, stored: bool) -> Result<Self, Vec<FieldProblem>> {
        let mut problems = Problems::default();
        if json_size(&value) > Self::MAX_BYTES {
            problems.note(at, format!("must have at most {} bytes", Self::MAX_BYTES));
            return Err(problems.into_inner());
        }
        let read = Self::read_fields(value, at, stored, &mut problems);
        match read {
            Some((version, methods, hosts, left_out)) if problems.is_empty() => {
                let mut manifest = Self::of(version, methods, at)?;
                (manifest.hosts, manifest.left_out) = (hosts, left_out);
                Ok(manifest)
            }
            _ => Err(problems.into_inner()),
        }
    }

    #[expect(clippy::type_complexity, reason = "the parts of a manifest, before they are one")]
    fn read_fields(
        value: Value,
        at: &str,
        stored: bool,
        problems: &mut Problems,
    ) -> Option<(Box<str>, Vec<Method>, Vec<Box<str>>, Vec<Box<str>>)> {
        let mut fields = Fields::of(value, at, problems)?;
        let version = fields.required_text("version", 100);
        let listed = fields.list("methods", Self::MAX_METHODS);
        let methods =
            listed.into_iter().map(|(at, value)| Method::read(value, &at, stored, fields.problems()));
        let methods: Vec<Option<Method>> = methods.collect();
        let hosts = texts(&mut fields, "hosts", Self::MAX_HOSTS);
        let left_out = if stored { texts(&mut fields, "left_out", Self::MAX_LEFT_OUT) } else { Vec::new() };
        fields.done();
        Some((version?.into(), methods.into_iter().collect::<Option<_>>()?, hosts, left_out))
    }

    /// A manifest of these methods.
    ///
    /// # Errors
    /// A name twice, too many methods, or a query method that is none or is not idempotent.
    pub fn of(
        version: impl Into<Box<str>>,
        methods: Vec<Method>,
        at: &str,
    ) -> Result<Self, Vec<FieldProblem>> {
        let mut problems = Problems::default();
        if methods.len() > Self::MAX_METHODS {
            problems
                .note(format!("{at}.methods"), format!("must have at most {} elements", Self::MAX_METHODS));
        }
        let mut names = BTreeSet::new();
        for (index, method) in methods.iter().enumerate() {
            if !names.insert(&method.name) {
                problems.note(format!("{at}.methods[{index}].name"), "must differ from the other names");
            }
            let Some(query) = &method.query_method else { continue };
            let asked = methods.iter().find(|other| other.name == *query);
            if asked.is_none_or(|asked| asked.effect != EffectClass::Idempotent) {
                let field = format!("{at}.methods[{index}].query_method");
                problems.note(field, "must name a method of the manifest that is idempotent");
            }
        }
        if problems.is_empty() {
            Ok(Self { version: version.into(), methods, hosts: Vec::new(), left_out: Vec::new() })
        } else {
            Err(problems.into_inner())
        }
    }

    /// The same with the hosts that the plugin is at.
    #[must_use]
    pub fn with_hosts(mut self, hosts: impl IntoIterator<Item = Box<str>>) -> Self {
        self.hosts = hosts.into_iter().take(Self::MAX_HOSTS).collect();
        self
    }

    /// The same with word of what the plugin offers beside, and that cannot be called from here.
    #[must_use]
    pub fn with_left_out(mut self, left_out: impl IntoIterator<Item = Box<str>>) -> Self {
        self.left_out = left_out.into_iter().take(Self::MAX_LEFT_OUT).collect();
        self
    }

    /// The plugin's own version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The methods, in the order in which they were given.
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// A method by its name.
    pub fn method(&self, name: &str) -> Option<&Method> {
        self.methods.iter().find(|method| method.name.as_str() == name)
    }

    /// The hosts that the plugin says it is at, or speaks to.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(|host| &**host)
    }

    /// What the plugin offers beside, with the reason why it cannot be called from here.
    pub fn left_out(&self) -> impl Iterator<Item = &str> {
        self.left_out.iter().map(|text| &**text)
    }

    /// The methods with what they are pinned by.
    pub fn pins(&self) -> impl Iterator<Item = (&MethodName, Pin)> {
        self.methods.iter().map(|method| (&method.name, method.pin()))
    }

    /// The manifest as JSON: what is kept.
    pub fn to_json(&self) -> Value {
        json!({
            "version": &*self.version,
            "methods": self.methods.iter().map(Method::to_json).collect::<Vec<_>>(),
            "hosts": self.hosts.iter().map(|host| &**host).collect::<Vec<&str>>(),
            "left_out": self.left_out.iter().map(|text| &**text).collect::<Vec<&str>>(),
        })
    }
}

fn texts(fields: &mut Fields<'_>, name: &str, most: usize) -> Vec<Box<str>> {
    let listed = fields.list(name, most);
    let read = listed.into_iter().filter_map(|(at, value)| match value {
        Value::String(text) if text.chars().count() <= 500 => Some(text.into_boxed_str()),
        _ => {
            fields.problems().note(at, "must be a text of at most 500 characters");
            None
        }
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(problems: Vec<FieldProblem>) -> Vec<String> {
        problems.into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn what_is_written_is_kept_and_read_again() {
        let written = json!({"version": "1", "hosts": ["crm.example"], "methods": [
            {"name": "find", "description": "Finds", "effect": "idempotent", "input_schema": {"type": "object"}},
            {"name": "pay", "description": "", "effect": "queryable", "query_method": "find", "input_schema": {},
             "output_schema": {"type": "object"}},
        ]});
        let manifest = Manifest::parse(written, "manifest").unwrap();
        assert_eq!(manifest.method("pay").unwrap().query_method.as_ref().unwrap().as_str(), "find");
        assert_eq!(Manifest::from_stored(manifest.to_json()).unwrap(), manifest);
    }

    #[test]
    fn everything_that_is_wrong_is_told_by_its_place() {
        let wrong = json!({"version": 1, "colour": 2, "methods": [
            {"name": "a b", "effect": "often", "input_schema": [], "request": {}},
            {"name": "a", "effect": "queryable", "input_schema": {}},
            7,
        ]});
        let mut told = fields(Manifest::parse(wrong, "manifest").unwrap_err());
        told.sort();
        let wanted = [
            "manifest.colour",
            "manifest.methods[0].effect",
            "manifest.methods[0].input_schema",
            "manifest.methods[0].name",
            "manifest.methods[0].request",
            "manifest.methods[1].query_method",
            "manifest.methods[2]",
            "manifest.version",
        ];
        assert_eq!(told, wanted);
        let method = |name: &str, effect: &str| json!({"name": name, "effect": effect, "input_schema": {}});
        let twice = json!({"version": "1", "methods": [method("a", "unsafe"), method("a", "unsafe")]});
        assert_eq!(fields(Manifest::parse(twice, "m").unwrap_err()), ["m.methods[1].name"]);
        let mut asks = method("b", "queryable");
        asks["query_method"] = "a".into();
        let unsafe_query = json!({"version": "1", "methods": [method("a", "unsafe"), asks]});
        assert_eq!(fields(Manifest::parse(unsafe_query, "m").unwrap_err()), ["m.methods[1].query_method"]);
    }
}
