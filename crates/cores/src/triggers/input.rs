//! What a call of a Core's API gives to the flow that it starts: path, query and body, by the names of its parameters.

use std::collections::BTreeMap;
use std::sync::Arc;

use scaigrid_ir::module::{Flow, Param};
use scaigrid_ir::{Type, Value};
use serde_json::Value as Json;

use crate::core::FieldProblem;

/// Named types may lead to one another; a program cannot make a walk longer than that.
const WALK_AT_MOST: usize = 32;
/// The most fields that are refused by name.
const REFUSED_AT_MOST: usize = 50;

/// A call, taken apart.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Call {
    /// The method, in upper case.
    pub method: String,
    /// The path below the Core's API, beginning with a slash.
    pub path: String,
    /// The parameters of the path.
    pub params: Vec<(String, String)>,
    /// The parameters behind it, in their order.
    pub query: Vec<(String, String)>,
    /// The headers, by names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body; none where there is none.
    pub body: Option<Json>,
}

/// Whether a flow gets the call as a whole: its only parameter is `request`.
pub fn takes_request(flow: &Flow) -> bool {
    matches!(flow.params.as_slice(), [only] if &*only.name == "request")
}

/// Whether a value of a type may be left out.
pub(crate) fn admits_null(ty: &Type, types: &BTreeMap<Arc<str>, Type>) -> bool {
    let mut ty = ty;
    for _ in 0..WALK_AT_MOST {
        match ty {
            Type::Optional(_) | Type::Null => return true,
            Type::Union(members) => {
                return members.iter().any(|member| matches!(member, Type::Null | Type::Optional(_)));
            }
            Type::Named(name) => match types.get(name) {
                Some(declared) => ty = declared,
                None => return false,
            },
            _ => return false,
        }
    }
    false
}

/// The input of a flow. Of what is given twice the path goes before the query, and that before the body. Whether the values
/// are of their types is looked at where the flow begins.
///
/// # Errors
/// What is no parameter of the flow, by name.
pub fn of_call(
    flow: &Flow,
    types: &BTreeMap<Arc<str>, Type>,
    call: &Call,
) -> Result<Value, Vec<FieldProblem>> {
    if takes_request(flow) {
        return Ok(Value::from([("request", whole(call))]));
    }
    let mut problems = Vec::new();
    let mut fields: BTreeMap<Arc<str>, Value> = BTreeMap::new();
    let declared = |name: &str| flow.params.iter().find(|param| *param.name == *name);
    let mut refuse = |name: &str| {
        if problems.len() < REFUSED_AT_MOST {
            let shown: String = name.chars().take(100).collect();
            problems.push(FieldProblem::new(shown, "is no parameter of the flow"));
        }
    };
    match &call.body {
        None | Some(Json::Null) => {}
        Some(Json::Object(given)) => {
            for (name, value) in given {
                match declared(name) {
                    Some(param) => drop(fields.insert(Arc::clone(&param.name), Value::from_json(value))),
                    None => refuse(name),
                }
            }
        }
        Some(_) => return Err(vec![FieldProblem::new("body", "must be an object")]),
    }
    let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in &call.query {
        by_name.entry(name).or_default().push(value);
    }
    for (name, texts) in by_name {
        match declared(name) {
            Some(param) => drop(fields.insert(Arc::clone(&param.name), of_texts(param, types, &texts))),
            None => refuse(name),
        }
    }
    for (name, text) in &call.params {
        match declared(name) {
            Some(param) => drop(fields.insert(Arc::clone(&param.name), of_text(&param.ty, types, text))),
            None => refuse(name),
        }
    }
    if problems.is_empty() { Ok(Value::object(fields)) } else { Err(problems) }
}

/// The call as a value.
fn whole(call: &Call) -> Value {
    let mut query: BTreeMap<Arc<str>, Value> = BTreeMap::new();
    for (name, text) in &call.query {
        let text = Value::from(text.as_str());
        match query.get_mut(name.as_str()) {
            None => drop(query.insert(name.as_str().into(), text)),
            Some(Value::Array(items)) => Arc::make_mut(items).push(text),
            Some(first) => *first = Value::array(vec![std::mem::take(first), text]),
        }
    }
    Value::from([
        ("method", Value::from(call.method.as_str())),
        ("path", Value::from(call.path.as_str())),
        ("params", texts(call.params.iter().map(|(name, text)| (name, text)))),
        ("query", Value::object(query)),
        ("headers", texts(call.headers.iter())),
        ("body", call.body.as_ref().map_or(Value::Null, Value::from_json)),
    ])
}

/// Texts by name.
fn texts<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>) -> Value {
    Value::object(pairs.map(|(name, text)| (name.as_str().into(), Value::from(text.as_str()))).collect())
}

/// Texts as a parameter has them: what stands several times is a list, and so is anything of a list.
fn of_texts(param: &Param, types: &BTreeMap<Arc<str>, Type>, texts: &[&str]) -> Value {
    match (element(&param.ty, types), texts) {
        (None, [text]) => of_text(&param.ty, types, text),
        (element, texts) => {
            let element = element.unwrap_or(&Type::String);
            Value::array(texts.iter().map(|text| of_text(element, types, text)).collect())
        }
    }
}

/// What a list is a list of; none of what is no list.
fn element<'a>(ty: &'a Type, types: &'a BTreeMap<Arc<str>, Type>) -> Option<&'a Type> {
    let mut ty = ty;
    for _ in 0..WALK_AT_MOST {
        match ty {
            Type::Array(element) => return Some(element),
            Type::Optional(inner) => ty = inner,
            Type::Named(name) => ty = types.get(name)?,
            _ => return None,
        }
    }
    None
}

/// A text as a value of a type, where it can be one; else the text, which says best what is wrong.
fn of_text(ty: &Type, types: &BTreeMap<Arc<str>, Type>, text: &str) -> Value {
    read(ty, types, text, WALK_AT_MOST).unwrap_or_else(|| Value::from(text))
}

fn read(ty: &Type, types: &BTreeMap<Arc<str>, Type>, text: &str, left: usize) -> Option<Value> {
    let left = left.checked_sub(1)?;
    match ty {
        Type::Int => text.parse().ok().map(Value::Int),
        Type::Float => text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::Float),
        Type::Bool => text.parse().ok().map(Value::Bool),
        Type::Null => (text == "null").then_some(Value::Null),
        Type::Optional(inner) => read(inner, types, text, left),
        Type::Named(name) => read(types.get(name)?, types, text, left),
        // Texts are the last resort: anything is one.
        Type::Union(members) => {
            let fits = |value: &Value, member: &Type| member.admit(value.clone(), types).is_ok();
            members
                .iter()
                .find_map(|member| read(member, types, text, left).filter(|value| fits(value, member)))
        }
        Type::Array(_) | Type::Map(_) | Type::Object(_) => {
            serde_json::from_str(text).ok().map(|json: Json| Value::from_json(&json))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use scaigrid_ir::load;
    use scaigrid_ir::module::Module;
    use serde_json::json;

    use super::*;

    fn module(params: &Json) -> std::sync::Arc<Module> {
        let program = json!({
            "schema_version": "0.2", "name": "T", "version": "1.0.0",
            "types": {"Many": "array[int]", "Either": "int | string", "Row": "{a: int}"},
            "flows": [{"name": "f", "params": params, "body": []}],
        });
        load::module(&program).module.unwrap()
    }

    fn of(params: &Json, call: &Call) -> Result<Json, Vec<String>> {
        let module = module(params);
        let found = of_call(&module.flows[0], &module.types, call);
        found
            .map(|value| value.to_json())
            .map_err(|problems| problems.into_iter().map(|problem| problem.field).collect())
    }

    fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
        given.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn texts_become_what_their_parameters_are() {
        let params = json!([
            {"name": "id", "type": "int"}, {"name": "rate", "type": "float?"}, {"name": "on", "type": "bool"},
            {"name": "many", "type": "Many"}, {"name": "either", "type": "Either"}, {"name": "text", "type": "string"},
            {"name": "row", "type": "Row"}, {"name": "day", "type": "date"},
        ]);
        let call = Call {
            params: pairs(&[("id", "7")]),
            query: pairs(&[
                ("rate", "1.5"),
                ("on", "true"),
                ("many", "1"),
                ("many", "2"),
                ("either", "8"),
                ("text", "9"),
                ("row", "{\"a\":1}"),
                ("day", "2026-11-21"),
            ]),
            ..Call::default()
        };
        let expected = json!({"id": 7, "rate": 1.5, "on": true, "many": [1, 2], "either": 8, "text": "9",
            "row": {"a": 1}, "day": "2026-11-21"});
        assert_eq!(of(&params, &call), Ok(expected));
        let wrong = Call { query: pairs(&[("id", "seven"), ("many", "x")]), ..Call::default() };
        assert_eq!(of(&params, &wrong), Ok(json!({"id": "seven", "many": ["x"]})));
    }

    #[test]
    fn the_path_goes_first_and_strangers_are_named() {
        let params = json!([{"name": "id", "type": "int"}, {"name": "note", "type": "string"}]);
        let call = Call {
            params: pairs(&[("id", "1")]),
            query: pairs(&[("id", "2"), ("note", "q")]),
            body: Some(json!({"id": 3, "note": "b"})),
            ..Call::default()
        };
        assert_eq!(of(&params, &call), Ok(json!({"id": 1, "note": "q"})));
        let strange = Call { query: pairs(&[("x", "1")]), body: Some(json!({"y": 1})), ..Call::default() };
        assert_eq!(of(&params, &strange), Err(vec!["y".to_owned(), "x".to_owned()]));
        let list = Call { body: Some(json!([1])), ..Call::default() };
        assert_eq!(of(&params, &list), Err(vec!["body".to_owned()]));
    }

    #[test]
    fn a_flow_may_take_the_whole_request() {
        let call = Call {
            method: "PUT".to_owned(),
            path: "/a/1".to_owned(),
            params: pairs(&[("id", "1")]),
            query: pairs(&[("q", "x"), ("q", "y"), ("q", "z"), ("r", "1")]),
            headers: BTreeMap::from([("accept".to_owned(), "*/*".to_owned())]),
            body: Some(json!([1])),
        };
        let expected = json!({"request": {"method": "PUT", "path": "/a/1", "params": {"id": "1"},
            "query": {"q": ["x", "y", "z"], "r": "1"}, "headers": {"accept": "*/*"}, "body": [1]}});
        assert_eq!(of(&json!([{"name": "request", "type": "json"}]), &call), Ok(expected));
    }
}
