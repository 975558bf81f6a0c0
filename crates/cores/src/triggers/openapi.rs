//! What a Core's API looks like from outside: in short, and as an OpenAPI document (3.1) made of the types of its flows.

use scaigrid_ir::Type;
use scaigrid_ir::module::{Flow, Module, Param};
use serde_json::{Map, Value, json};

use super::api::Endpoint;
use super::{Entry, Listens, input};

/// A flow that can be called, and how.
struct Operation<'a> {
    name: &'a str,
    endpoint: &'a Endpoint,
    flow: &'a Flow,
}

fn operations<'a>(module: &'a Module, entries: &'a [Entry]) -> impl Iterator<Item = Operation<'a>> {
    entries.iter().filter_map(|entry| match entry.at_work()? {
        Listens::Api(endpoint) => {
            Some(Operation { name: &entry.name, endpoint, flow: module.flow(&entry.flow)? })
        }
        _ => None,
    })
}

/// The flows of a program, with what they take and return, and the calls that start them.
pub fn compact(module: &Module, entries: &[Entry]) -> Value {
    let endpoints: Vec<Operation<'_>> = operations(module, entries).collect();
    let flows = module.flows.iter().map(|flow| {
        let params = flow.params.iter().map(|param| {
            json!({
                "name": &*param.name,
                "type": param.ty.to_string(),
                "required": is_required(module, param),
                "default": param.default.as_ref().map(scaigrid_ir::Value::to_json),
            })
        });
        let calls = endpoints.iter().filter(|operation| operation.flow.name == flow.name).map(|operation| {
            json!({
                "trigger": operation.name,
                "method": operation.endpoint.method(),
                "path": operation.endpoint.path(),
                "public": operation.endpoint.is_public(),
            })
        });
        json!({
            "name": &*flow.name,
            "description": flow.description.as_deref(),
            "params": params.collect::<Vec<_>>(),
            "returns": flow.returns.as_ref().map(ToString::to_string),
            "endpoints": calls.collect::<Vec<_>>(),
        })
    });
    json!({
        "name": &*module.name,
        "version": &*module.version,
        "description": module.description.as_deref(),
        "flows": flows.collect::<Vec<_>>(),
    })
}

/// The document. `server` is where the paths begin.
pub fn document(module: &Module, entries: &[Entry], server: &str) -> Value {
    let mut schemas = Map::new();
    let mut paths = Map::new();
    for operation in operations(module, entries) {
        let described = described(module, &operation, &mut schemas);
        let path = paths.entry(operation.endpoint.path().to_owned()).or_insert_with(|| json!({}));
        path[operation.endpoint.method().to_ascii_lowercase()] = described;
    }
    schemas.insert("scaigrid.Error".to_owned(), error_schema());
    let mut info = json!({"title": &*module.name, "version": &*module.version});
    if let Some(description) = &module.description {
        info["description"] = (**description).into();
    }
    json!({
        "openapi": "3.1.0",
        "info": info,
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}],
    })
}

fn is_required(module: &Module, param: &Param) -> bool {
    param.default.is_none() && !input::admits_null(&param.ty, &module.types)
}

/// The schema of a type; the named types that it leads to are put among the components.
fn schema(module: &Module, ty: &Type, schemas: &mut Map<String, Value>) -> Value {
    let mut schema = ty.to_json_schema(&module.types);
    if let Value::Object(fields) = &mut schema {
        fields.remove("$schema");
        if let Some(Value::Object(definitions)) = fields.remove("$defs") {
            for (name, mut definition) in definitions {
                relocate(&mut definition);
                schemas.insert(name, definition);
            }
        }
    }
    relocate(&mut schema);
    schema
}

/// Has references point to the components.
fn relocate(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref")
                && let Some(name) = reference.strip_prefix("#/$defs/")
            {
                *reference = format!("#/components/schemas/{name}");
            }
            fields.values_mut().for_each(relocate);
        }
        Value::Array(items) => items.iter_mut().for_each(relocate),
        _ => {}
    }
}

fn described(module: &Module, operation: &Operation<'_>, schemas: &mut Map<String, Value>) -> Value {
    let Operation { name, endpoint, flow } = operation;
    let whole = input::takes_request(flow);
    let in_path: Vec<&str> = endpoint.parameters().collect();
    let with_body = !matches!(endpoint.method(), "GET" | "DELETE");
    let mut parameters = Vec::new();
    for path in &in_path {
        let param = flow.params.iter().find(|param| *param.name == **path);
        let schema =
            param.map_or_else(|| json!({"type": "string"}), |param| schema(module, &param.ty, schemas));
        parameters.push(json!({"name": path, "in": "path", "required": true, "schema": schema}));
    }
    let rest: Vec<&Param> =
        flow.params.iter().filter(|param| !whole && !in_path.contains(&&*param.name)).collect();
    let mut described = json!({
        "operationId": name,
        "responses": responses(module, flow, schemas),
    });
    if let Some(description) = &flow.description {
        described["summary"] = (**description).into();
    }
    if endpoint.is_public() {
        described["security"] = json!([]);
    }
    if whole && with_body {
        described["requestBody"] = json!({"content": {"application/json": {"schema": {}}}});
    } else if with_body && !rest.is_empty() {
        let required: Vec<&str> =
            rest.iter().filter(|param| is_required(module, param)).map(|param| &*param.name).collect();
        let properties: Map<String, Value> = rest
            .iter()
            .map(|param| {
                let mut schema = schema(module, &param.ty, schemas);
                if let (Some(default), Value::Object(fields)) = (&param.default, &mut schema) {
                    fields.insert("default".to_owned(), default.to_json());
                }
                (param.name.to_string(), schema)
            })
            .collect();
        let body = json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
        described["requestBody"] =
            json!({"required": !required.is_empty(), "content": {"application/json": {"schema": body}}});
    } else {
        for param in rest {
            let schema = schema(module, &param.ty, schemas);
            let required = is_required(module, param);
            parameters
                .push(json!({"name": &*param.name, "in": "query", "required": required, "schema": schema}));
        }
    }
    let wait = json!({"type": "integer", "minimum": 0, "maximum": 60_000});
    if flow.params.iter().all(|param| &*param.name != "wait_ms") {
        parameters.push(json!({"name": "wait_ms", "in": "query", "required": false, "schema": wait,
            "description": "How long to wait for the end, in milliseconds; 30000 where left out"}));
    }
    let key = json!({"type": "string", "minLength": 1, "maxLength": 255});
    if endpoint.method() == "POST" && !endpoint.is_public() {
        parameters.push(json!({"name": "Idempotency-Key", "in": "header", "required": false, "schema": key}));
    }
    described["parameters"] = parameters.into();
    described
}

fn responses(module: &Module, flow: &Flow, schemas: &mut Map<String, Value>) -> Value {
    let output = flow.returns.as_ref().map_or_else(|| json!({}), |ty| schema(module, ty, schemas));
    let execution = |statuses: &[&str], output: Value| {
        let data = json!({
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "status": {"type": "string", "enum": statuses},
                "output": output,
                "error": {"type": ["object", "null"]},
            },
            "required": ["id", "status", "output", "error"],
        });
        let envelope = json!({
            "type": "object",
            "properties": {"status": {"const": "ok"}, "data": data, "meta": {"type": "object"}},
            "required": ["status", "data", "meta"],
        });
        json!({"application/json": {"schema": envelope}})
    };
    let ended =
        execution(&["completed", "failed", "cancelled"], json!({"anyOf": [output, {"type": "null"}]}));
    let goes_on = execution(&["queued", "running", "suspended"], json!({"type": "null"}));
    let error = |description: &str| {
        let content =
            json!({"application/json": {"schema": {"$ref": "#/components/schemas/scaigrid.Error"}}});
        json!({"description": description, "content": content})
    };
    json!({
        "200": {"description": "It has ended", "content": ended},
        "202": {
            "description": "It goes on, or waits for a person",
            "headers": {"Location": {"description": "Where the execution is", "schema": {"type": "string"}}},
            "content": goes_on,
        },
        "409": error("The Core does not run"),
        "422": error("The call is not as the flow wants it; the details name the fields"),
        "429": error("Too many calls"),
    })
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "status": {"const": "error"},
            "error": {
                "type": "object",
                "properties": {
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                    "details": {"type": "array", "items": {"type": "object"}},
                },
                "required": ["code", "message"],
            },
            "meta": {"type": "object"},
        },
        "required": ["status", "error", "meta"],
    })
}

#[cfg(test)]
mod tests {
    use scaigrid_ir::load;
    use scaigrid_scope::CoreId;
    use ulid::Ulid;

    use super::super::entries;
    use super::*;

    fn module() -> std::sync::Arc<Module> {
        let program = json!({
            "schema_version": "0.2", "name": "Shop", "version": "1.2.0", "description": "Sells",
            "types": {"Order": "{id: int, lines: array[Line]}", "Line": "{sku: string}"},
            "triggers": [
                {"kind": "api", "name": "get_order", "target_flow": "get", "method": "GET", "path": "/orders/{id}"},
                {"kind": "api", "name": "put_order", "target_flow": "put", "method": "PUT", "path": "/orders/{id}"},
                {"kind": "api", "name": "anything", "target_flow": "whole", "path": "/any/{x}", "public": true},
            ],
            "flows": [
                {"name": "get", "description": "Finds an order", "returns": "Order?", "body": [],
                 "params": [{"name": "id", "type": "int"}, {"name": "deep", "type": "bool", "default": false}]},
                {"name": "put", "body": [],
                 "params": [{"name": "id", "type": "int"}, {"name": "order", "type": "Order"}, {"name": "note", "type": "string?"}]},
                {"name": "whole", "body": [], "params": [{"name": "request", "type": "json"}]},
                {"name": "inner", "body": [], "params": []},
            ],
        });
        load::module(&program).module.unwrap()
    }

    #[test]
    fn a_document_is_made_of_types() {
        let module = module();
        let entries = entries(CoreId::from_ulid(Ulid(1)), &module, &[]);
        let document = document(&module, &entries, "/api");
        assert_eq!(document["openapi"], "3.1.0");
        let get = &document["paths"]["/orders/{id}"]["get"];
        let names: Vec<(&str, &str, bool)> = get["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|parameter| {
                (
                    parameter["name"].as_str().unwrap(),
                    parameter["in"].as_str().unwrap(),
                    parameter["required"].as_bool().unwrap(),
                )
            })
            .collect();
        assert_eq!(names, [("id", "path", true), ("deep", "query", false), ("wait_ms", "query", false)]);
        assert_eq!(get["parameters"][0]["schema"]["type"], "integer");
        let put = &document["paths"]["/orders/{id}"]["put"]["requestBody"];
        let body = &put["content"]["application/json"]["schema"];
        assert_eq!((&body["required"], &put["required"]), (&json!(["order"]), &json!(true)));
        assert_eq!(body["properties"]["order"]["$ref"], "#/components/schemas/Order");
        let line = &document["components"]["schemas"]["Order"]["properties"]["lines"]["items"];
        assert_eq!(line["$ref"], "#/components/schemas/Line");
        assert!(!document.to_string().contains("$defs"));
        let any = &document["paths"]["/any/{x}"]["post"];
        assert_eq!((&any["security"], &any["parameters"][0]["name"]), (&json!([]), &json!("x")));
    }

    #[test]
    fn in_short_every_flow_stands_with_its_calls() {
        let module = module();
        let entries = entries(CoreId::from_ulid(Ulid(1)), &module, &[]);
        let compact = compact(&module, &entries);
        let flows = compact["flows"].as_array().unwrap();
        assert_eq!(flows.len(), 4);
        assert_eq!(flows[0]["description"], "Finds an order");
        assert_eq!(flows[0]["endpoints"][0]["path"], "/orders/{id}");
        assert_eq!(
            flows[0]["params"][1],
            json!({"name": "deep", "type": "bool", "required": false, "default": false})
        );
        assert_eq!(flows[3]["endpoints"], json!([]));
    }
}
