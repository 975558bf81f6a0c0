//! A method of a plugin: what it takes and gives, and what a repetition of a call costs.

use std::sync::Arc;

use scaigrid_scope::text_enum;
use serde_json::{Map, Value, json};

use super::fields::{Fields, Problems};
use super::name::MethodName;
use super::pin::Pin;

text_enum! {
    /// What a repetition of a call costs, and so what is done when nobody knows whether one was carried out.
    pub enum EffectClass {
        /// Nothing: it is called again.
        Idempotent => "idempotent",
        /// Nothing, as long as the idempotency key is the same: it is called again with it.
        Keyed => "keyed",
        /// Too much, but there is a method that tells what became of a call: that one is asked.
        Queryable => "queryable",
        /// Too much: a person is asked.
        Unsafe => "unsafe",
    }
}

text_enum! {
    /// Where an argument goes in a request that an OpenAPI document describes.
    pub enum Place {
        /// A part of the path.
        Path => "path",
        /// A parameter of the query.
        Query => "query",
        /// A header.
        Header => "header",
        /// The body, as JSON.
        Body => "body",
    }
}

/// An argument of a method, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// What the method calls it.
    pub name: Box<str>,
    /// Where it goes.
    pub place: Place,
    /// What it is called there.
    pub wire_name: Box<str>,
}

/// The request that a method is, where an OpenAPI document describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The URL that the path is appended to.
    pub base: Box<str>,
    /// The HTTP method, in capitals.
    pub verb: Box<str>,
    /// The path with its parameters in braces, beginning with `/`.
    pub path: Box<str>,
    /// Where the arguments go.
    pub arguments: Vec<Argument>,
}

/// A method.
#[derive(Debug, Clone, PartialEq)]
pub struct Method {
    /// What it is called.
    pub name: MethodName,
    /// What it does, for people.
    pub description: Box<str>,
    /// What a repetition costs.
    pub effect: EffectClass,
    /// What it takes: a JSON Schema (2020-12) of an object.
    pub input_schema: Arc<Value>,
    /// What it gives, if that is told.
    pub output_schema: Option<Arc<Value>>,
    /// The method that tells what became of a call, for those that are queryable.
    pub query_method: Option<MethodName>,
    /// The request that it is, where it is not plainly called by its name.
    pub binding: Option<Binding>,
}

impl Method {
    /// The greatest number of characters of a description; what is read from elsewhere is cut.
    pub const MAX_DESCRIPTION: usize = 4096;
    /// The greatest size of a schema as JSON text, in bytes.
    pub const MAX_SCHEMA: usize = 128 * 1024;

    /// Reads what [`Method::to_json`] writes; what a client writes has no `request`.
    pub(super) fn read(value: Value, at: &str, own_requests: bool, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, at, problems)?;
        let name = fields.required::<MethodName>("name");
        let description = fields.text("description", Self::MAX_DESCRIPTION).unwrap_or_default();
        let effect = fields.required::<EffectClass>("effect");
        let input_schema = if let Some(schema) = fields.take("input_schema") {
            self::schema(schema, "input_schema", &mut fields)
        } else {
            fields.note("input_schema", "is required");
            None
        };
        let output_schema = fields.take("output_schema");
        let output_schema = output_schema.map(|schema| self::schema(schema, "output_schema", &mut fields));
        let query_method = fields.maybe::<MethodName>("query_method");
        if (effect == Some(EffectClass::Queryable)) != query_method.is_some() && effect.is_some() {
            fields.note("query_method", "is for the effect queryable, which needs it");
        }
        let request = if own_requests { fields.take("request") } else { None };
        let at = fields.path("request");
        let binding = request.map(|request| Binding::read(request, &at, fields.problems()));
        fields.done();
        Some(Self {
            name: name?,
            description: description.into(),
            effect: effect?,
            input_schema: input_schema?,
            output_schema: given(output_schema)?,
            query_method,
            binding: given(binding)?,
        })
    }

    /// The method as JSON: what is kept, and what its pin is made of.
    pub fn to_json(&self) -> Value {
        let mut json = self.shown();
        if let Some(binding) = &self.binding {
            json["request"] = binding.to_json();
        }
        json
    }

    /// The method as JSON, as far as it concerns those who call it.
    pub fn shown(&self) -> Value {
        let mut json = json!({
            "name": self.name.as_str(),
            "description": &*self.description,
            "effect": self.effect.as_str(),
            "input_schema": *self.input_schema,
        });
        if let Some(schema) = &self.output_schema {
            json["output_schema"] = (**schema).clone();
        }
        if let Some(query) = &self.query_method {
            json["query_method"] = query.as_str().into();
        }
        json
    }

    /// What the method is known by: it changes with anything about it.
    pub fn pin(&self) -> Pin {
        Pin::of(&self.to_json())
    }
}

/// What was left out, or was read; none when it was given and could not be read.
#[expect(clippy::option_option, reason = "left out, wrong and read are three things")]
fn given<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

fn schema(schema: Value, name: &str, fields: &mut Fields<'_>) -> Option<Arc<Value>> {
    if !schema.is_object() {
        fields.note(name, "must be an object: a JSON Schema");
        return None;
    }
    if crate::core::json_size(&schema) > Method::MAX_SCHEMA {
        fields.note(name, format!("must have at most {} bytes", Method::MAX_SCHEMA));
        return None;
    }
    Some(Arc::new(schema))
}

impl Binding {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, at, problems)?;
        let base = fields.required_text("base", 2048);
        let verb = fields.required_text("verb", 16);
        let path = fields.required_text("path", 2048);
        let arguments = fields.list("arguments", 500);
        let arguments = arguments.into_iter().map(|(at, value)| {
            let mut fields = Fields::of(value, at, fields.problems())?;
            let name = fields.required_text("name", 300);
            let place = fields.required::<Place>("place");
            let wire_name = fields.required_text("wire_name", 300);
            fields.done();
            Some(Argument { name: name?.into(), place: place?, wire_name: wire_name?.into() })
        });
        let arguments = arguments.collect::<Option<Vec<_>>>();
        fields.done();
        Some(Self { base: base?.into(), verb: verb?.into(), path: path?.into(), arguments: arguments? })
    }

    fn to_json(&self) -> Value {
        let argument = |argument: &Argument| json!({"name": &*argument.name, "place": argument.place.as_str(), "wire_name": &*argument.wire_name});
        let arguments: Vec<Value> = self.arguments.iter().map(argument).collect();
        let mut json = Map::new();
        json.insert("base".to_owned(), (*self.base).into());
        json.insert("verb".to_owned(), (*self.verb).into());
        json.insert("path".to_owned(), (*self.path).into());
        json.insert("arguments".to_owned(), arguments.into());
        Value::Object(json)
    }
}
