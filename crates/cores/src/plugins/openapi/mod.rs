//! What an OpenAPI document (3.0 or 3.1) offers, as a manifest: its operations become methods.
//!
//! Arguments are the operation's parameters by name, and `body` for what it takes as JSON. `GET`, `PUT` and `DELETE` can
//! be repeated (RFC 9110 section 9.2.2); others cannot, unless the operation says so itself by `x-scaigrid-effect`
//! (and `x-scaigrid-query-method`). What cannot be called from here is left out, with the reason.

mod schemas;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use url::Url;

use self::schemas::Schemas;
use super::manifest::Manifest;
use super::method::{Argument, Binding, EffectClass, Method, Place};
use super::name::MethodName;
use crate::core::{FieldProblem, json_size};

/// The verbs that are called.
const VERBS: [&str; 5] = ["get", "put", "post", "delete", "patch"];
/// Headers that are no parameters, whatever a document says (OpenAPI 3.1.0, "Parameter Object").
const NO_PARAMETERS: [&str; 3] = ["accept", "authorization", "content-type"];
/// What the body is called among the arguments.
const BODY: &str = "body";
/// How many references are followed to what they lead to.
const HOPS: usize = 10;

/// A document that cannot be read as OpenAPI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOpenApi {
    /// It does not say that it is.
    #[error("it is no OpenAPI document of version 3.0 or 3.1")]
    Version,
    /// It has no paths.
    #[error("it has no paths")]
    NoPaths,
    /// What it offers is no manifest.
    #[error("{0}")]
    Manifest(String),
}

impl From<Vec<FieldProblem>> for NotOpenApi {
    fn from(problems: Vec<FieldProblem>) -> Self {
        let first = problems.into_iter().next();
        Self::Manifest(first.map_or_else(String::new, |first| format!("{} {}", first.field, first.message)))
    }
}

/// What a document that was read at a URL offers.
///
/// # Errors
/// It is no such document.
pub fn manifest(document: &Value, location: &Url) -> Result<Manifest, NotOpenApi> {
    let version = document.get("openapi").and_then(Value::as_str).unwrap_or_default();
    if !version.starts_with("3.0") && !version.starts_with("3.1") {
        return Err(NotOpenApi::Version);
    }
    let paths = document.get("paths").and_then(Value::as_object).ok_or(NotOpenApi::NoPaths)?;
    let reader = Reader { document, location, old: version.starts_with("3.0") };
    let (mut methods, mut left_out, mut hosts) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut names = BTreeSet::new();
    for (path, item) in paths.iter().filter(|(path, _)| path.starts_with('/')) {
        for verb in VERBS {
            let Some(operation) = item.get(verb).filter(|operation| operation.is_object()) else { continue };
            match reader.method(path, verb, item, operation) {
                Ok(method) if names.insert(method.name.clone()) => {
                    let base = method.binding.as_ref().and_then(|binding| Url::parse(&binding.base).ok());
                    hosts.extend(base.as_ref().and_then(Url::host_str).map(Box::<str>::from));
                    methods.push(method);
                }
                Ok(method) => left_out.push(told(
                    path,
                    verb,
                    &format!("another operation is called {} too", method.name),
                )),
                Err(reason) => left_out.push(told(path, verb, &reason)),
            }
        }
    }
    // A query method that was left out leaves those that need it without one.
    let idempotent: BTreeSet<MethodName> = methods
        .iter()
        .filter(|method| method.effect == EffectClass::Idempotent)
        .map(|method| method.name.clone())
        .collect();
    for method in &mut methods {
        if method.query_method.as_ref().is_some_and(|query| !idempotent.contains(query)) {
            (method.effect, method.query_method) = (EffectClass::Unsafe, None);
        }
    }
    let own = document.pointer("/info/version").and_then(Value::as_str).unwrap_or("0");
    let own: String = own.chars().take(100).collect();
    Ok(Manifest::of(own, methods, "manifest")?.with_hosts(hosts).with_left_out(left_out))
}

fn told(path: &str, verb: &str, reason: &str) -> Box<str> {
    let text = format!("{} {path}: {reason}", verb.to_uppercase());
    text.chars().take(500).collect::<String>().into()
}

struct Reader<'d> {
    document: &'d Value,
    location: &'d Url,
    /// Whether schemas are those of OpenAPI 3.0, which are not quite JSON Schema.
    old: bool,
}

/// The arguments of a method, as they are gathered.
#[derive(Default)]
struct Arguments {
    places: Vec<Argument>,
    properties: Map<String, Value>,
    required: Vec<Value>,
}

impl Arguments {
    fn add(&mut self, place: Place, wire_name: &str, schema: Value, required: bool) {
        let mut name = wire_name.to_owned();
        if self.properties.contains_key(&name) || (name == BODY && place != Place::Body) {
            name = format!("{place}_{wire_name}");
        }
        if required {
            self.required.push(name.as_str().into());
        }
        self.properties.insert(name.clone(), schema);
        self.places.push(Argument { name: name.into(), place, wire_name: wire_name.into() });
    }
}

impl<'d> Reader<'d> {
    /// What a value is once its references within the document are followed.
    fn follow(&self, mut value: &'d Value) -> Result<&'d Value, String> {
        for _ in 0..HOPS {
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return Ok(value) };
            let pointer = reference.strip_prefix('#').ok_or("it refers to another document")?;
            value = self.document.pointer(pointer).ok_or("it refers to what is not there")?;
        }
        Err("its references lead nowhere".to_owned())
    }

    fn method(
        &self,
        path: &str,
        verb: &str,
        item: &'d Value,
        operation: &'d Value,
    ) -> Result<Method, String> {
        let name = operation.get("operationId").and_then(Value::as_str).map_or_else(
            || format!("{verb}_{}", path.trim_matches('/').replace(['{', '}'], "")),
            str::to_owned,
        );
        let name = name_of(&name).ok_or("it has no name that can be called")?;
        let mut schemas = Schemas::of(self.document, self.old);
        let mut arguments = Arguments::default();
        // The body first, so that it has the name.
        if let Some(body) = operation.get("requestBody") {
            let body = self.follow(body)?;
            let schema = json_schema(body.get("content")).ok_or("it takes no JSON")?;
            let required = body.get("required") == Some(&Value::Bool(true));
            arguments.add(Place::Body, BODY, schemas.take(schema)?, required);
        }
        for (place, name, parameter) in self.parameters(item, operation)? {
            let schema =
                parameter.get("schema").map_or_else(|| Ok(json!({})), |schema| schemas.take(schema))?;
            let required = place == Place::Path || parameter.get("required") == Some(&Value::Bool(true));
            arguments.add(place, name, schema, required);
        }
        check_path(path, &arguments)?;
        let output_schema = self.output(operation, &mut schemas)?;
        let definitions = schemas.finish()?;
        let mut input = json!({
            "type": "object",
            "properties": arguments.properties,
            "required": arguments.required,
            "additionalProperties": false,
        });
        let with_definitions = |schema: &mut Value| {
            if !definitions.is_empty() && schema.is_object() {
                schema["$defs"] = Value::Object(definitions.clone());
            }
        };
        with_definitions(&mut input);
        let output_schema = output_schema.map(|mut schema| {
            with_definitions(&mut schema);
            schema
        });
        if [Some(&input), output_schema.as_ref()]
            .into_iter()
            .flatten()
            .any(|schema| json_size(schema) > Method::MAX_SCHEMA)
        {
            return Err("its schemas are too large".to_owned());
        }
        let (effect, query_method) = effect(verb, operation)?;
        Ok(Method {
            name,
            description: description(operation),
            effect,
            input_schema: Arc::new(input),
            output_schema: output_schema.map(Arc::new),
            query_method,
            binding: Some(Binding {
                base: self.base(item, operation)?.into(),
                verb: verb.to_uppercase().into(),
                path: path.into(),
                arguments: arguments.places,
            }),
        })
    }

    /// The parameters that can be sent; those of the operation go before those of its path.
    fn parameters(
        &self,
        item: &'d Value,
        operation: &'d Value,
    ) -> Result<Vec<(Place, &'d str, &'d Value)>, String> {
        let mut found: BTreeMap<(Place, &str), &Value> = BTreeMap::new();
        for list in [item, operation] {
            for parameter in list.get("parameters").and_then(Value::as_array).into_iter().flatten() {
                let parameter = self.follow(parameter)?;
                let name = parameter.get("name").and_then(Value::as_str).ok_or("a parameter has no name")?;
                let required = parameter.get("required") == Some(&Value::Bool(true));
                let place = match parameter.get("in").and_then(Value::as_str) {
                    Some("path") => Place::Path,
                    Some("query") => Place::Query,
                    Some("header") if NO_PARAMETERS.contains(&name.to_ascii_lowercase().as_str()) => continue,
                    Some("header") => Place::Header,
                    _ if required => return Err(format!("its parameter {name} cannot be sent")),
                    _ => continue,
                };
                if !plainly_written(parameter, place) {
                    if required {
                        return Err(format!(
                            "its parameter {name} is written in a way that is not known here"
                        ));
                    }
                    continue;
                }
                found.insert((place, name), parameter);
            }
        }
        Ok(found.into_iter().map(|((place, name), parameter)| (place, name, parameter)).collect())
    }

    /// The schema of what it answers when all is well.
    fn output(&self, operation: &'d Value, schemas: &mut Schemas<'_>) -> Result<Option<Value>, String> {
        let Some(responses) = operation.get("responses").and_then(Value::as_object) else { return Ok(None) };
        let first = responses.iter().find(|(status, _)| status.starts_with('2'));
        let Some((_, response)) = first else { return Ok(None) };
        let schema = json_schema(self.follow(response)?.get("content"));
        schema.map(|schema| schemas.take(schema)).transpose()
    }

    /// The URL that paths are appended to.
    fn base(&self, item: &Value, operation: &Value) -> Result<String, String> {
        let servers =
            [operation, item, self.document].into_iter().find_map(|level| level.pointer("/servers/0"));
        let mut url = servers.and_then(|server| server.get("url")?.as_str()).unwrap_or("/").to_owned();
        let variables = servers.and_then(|server| server.get("variables")?.as_object());
        for (name, variable) in variables.into_iter().flatten() {
            let default = variable.get("default").and_then(Value::as_str).unwrap_or_default();
            url = url.replace(&format!("{{{name}}}"), default);
        }
        let base = self.location.join(&url).map_err(|_| "its server's URL is none")?;
        if base.as_str().len() > 2048 || base.query().is_some() || base.fragment().is_some() {
            return Err("its server's URL is none that paths can be appended to".to_owned());
        }
        Ok(base.as_str().trim_end_matches('/').to_owned())
    }
}

/// A name that a text can be made into.
fn name_of(text: &str) -> Option<MethodName> {
    let kept: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-/".contains(c) { c } else { '_' })
        .take(MethodName::MAX_CHARS)
        .collect();
    kept.trim_start_matches(['.', '-', '/']).parse().ok()
}

/// Whether each parameter of the path is an argument, and the other way round.
fn check_path(path: &str, arguments: &Arguments) -> Result<(), String> {
    let named: BTreeSet<&str> =
        path.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect();
    let given: BTreeSet<&str> = arguments
        .places
        .iter()
        .filter(|argument| argument.place == Place::Path)
        .map(|argument| &*argument.wire_name)
        .collect();
    if named == given { Ok(()) } else { Err("its path and its parameters do not go together".to_owned()) }
}

/// Whether a parameter is written in the usual way of its place.
fn plainly_written(parameter: &Value, place: Place) -> bool {
    let usual = if place == Place::Query { "form" } else { "simple" };
    let style = parameter.get("style").and_then(Value::as_str).unwrap_or(usual);
    let explode = parameter.get("explode").and_then(Value::as_bool);
    style == usual
        && explode.is_none_or(|explode| explode == (place == Place::Query))
        && parameter.get("content").is_none()
}

/// The schema of what is written as JSON.
fn json_schema(content: Option<&Value>) -> Option<&Value> {
    const ANYTHING: &Value = &Value::Bool(true);
    let content = content?.as_object()?;
    let is_json = |kind: &str| {
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
    };
    let media = content.iter().find(|(kind, _)| is_json(kind)).map(|(_, media)| media)?;
    Some(media.get("schema").unwrap_or(ANYTHING))
}

fn effect(verb: &str, operation: &Value) -> Result<(EffectClass, Option<MethodName>), String> {
    let Some(said) = operation.get("x-scaigrid-effect") else {
        let idempotent = matches!(verb, "get" | "put" | "delete");
        return Ok((if idempotent { EffectClass::Idempotent } else { EffectClass::Unsafe }, None));
    };
    let effect = said.as_str().and_then(|said| said.parse().ok()).ok_or("its x-scaigrid-effect is none")?;
    let query = operation.get("x-scaigrid-query-method").and_then(Value::as_str).and_then(name_of);
    match (effect, query) {
        (EffectClass::Queryable, None) => Err("it needs an x-scaigrid-query-method".to_owned()),
        (EffectClass::Queryable, query) => Ok((effect, query)),
        (effect, _) => Ok((effect, None)),
    }
}

fn description(operation: &Value) -> Box<str> {
    let text = |name: &str| operation.get(name).and_then(Value::as_str).unwrap_or_default().trim();
    let (summary, more) = (text("summary"), text("description"));
    let whole = if summary.is_empty() || more.is_empty() {
        format!("{summary}{more}")
    } else {
        format!("{summary}\n\n{more}")
    };
    whole.chars().take(Method::MAX_DESCRIPTION).collect::<String>().into()
}

#[cfg(test)]
mod tests;
