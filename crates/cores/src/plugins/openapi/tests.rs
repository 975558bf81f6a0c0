use proptest::prelude::*;

use super::*;

fn read(document: &Value) -> Manifest {
    manifest(document, &Url::parse("https://shop.example/v1/openapi.json").unwrap()).unwrap()
}

fn shop() -> Value {
    json!({
        "openapi": "3.0.3",
        "info": {"title": "Shop", "version": "7"},
        "servers": [{"url": "https://{region}.shop.example/api/", "variables": {"region": {"default": "eu"}}}],
        "paths": {
            "/orders/{id}": {
                "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}],
                "get": {
                    "operationId": "getOrder", "summary": "An order",
                    "parameters": [
                        {"name": "fields", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                        {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
                        {"name": "Authorization", "in": "header", "required": true, "schema": {"type": "string"}},
                        {"name": "taste", "in": "cookie", "schema": {"type": "string"}},
                    ],
                    "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}}},
                },
                "delete": {"responses": {"204": {}}},
            },
            "/orders": {
                "post": {
                    "operationId": "create order",
                    "requestBody": {"required": true, "content": {"application/json; charset=utf-8": {"schema": {"$ref": "#/components/schemas/Order"}}}},
                    "responses": {"201": {"$ref": "#/components/responses/Made"}},
                },
                "put": {
                    "operationId": "pay", "x-scaigrid-effect": "queryable", "x-scaigrid-query-method": "getOrder",
                    "parameters": [{"name": "body", "in": "query", "required": true}], "responses": {},
                },
            },
            "/files": {
                "post": {"operationId": "upload", "requestBody": {"content": {"multipart/form-data": {}}}},
                "get": {"operationId": "far", "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "other.json"}}}}}},
            },
            "/rest": {"patch": {"operationId": "getOrder"}},
        },
        "components": {
            "responses": {"Made": {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Order"}}}}},
            "schemas": {
                "Order": {"type": "object", "properties": {
                    "total": {"type": "number", "minimum": 0, "exclusiveMinimum": true},
                    "note": {"type": "string", "nullable": true, "enum": ["a"], "example": {"$ref": "nowhere"}},
                    "parent": {"$ref": "#/components/schemas/Order"},
                    "lines": {"type": "array", "items": {"$ref": "#/components/schemas/Line"}},
                }},
                "Line": {"type": "object"},
                "Unused": {"type": "object"},
            },
        },
    })
}

#[test]
fn operations_become_methods() {
    let manifest = read(&shop());
    let names: Vec<&str> = manifest.methods().iter().map(|method| method.name.as_str()).collect();
    assert_eq!(names, ["pay", "create_order", "getOrder", "delete_orders/id"]);
    assert_eq!((manifest.version(), manifest.hosts().collect::<Vec<_>>()), ("7", vec!["eu.shop.example"]));

    let get = manifest.method("getOrder").unwrap();
    assert_eq!((get.effect, &*get.description), (EffectClass::Idempotent, "An order"));
    let binding = get.binding.as_ref().unwrap();
    assert_eq!(
        (&*binding.base, &*binding.verb, &*binding.path),
        ("https://eu.shop.example/api", "GET", "/orders/{id}")
    );
    let places: Vec<_> = binding.arguments.iter().map(|argument| (&*argument.name, argument.place)).collect();
    assert_eq!(places, [("id", Place::Path), ("fields", Place::Query), ("X-Trace", Place::Header)]);
    assert_eq!(get.input_schema["required"], json!(["id"]));
    let output = get.output_schema.as_ref().unwrap();
    assert_eq!(output["$ref"], "#/$defs/Order");
    let definitions = output["$defs"].as_object().unwrap();
    assert_eq!(definitions.keys().collect::<Vec<_>>(), ["Line", "Order"]);
    let order = &definitions["Order"]["properties"];
    assert_eq!(order["total"], json!({"type": "number", "exclusiveMinimum": 0}));
    assert_eq!(order["note"], json!({"type": ["string", "null"], "enum": ["a", null]}));

    let create = manifest.method("create_order").unwrap();
    assert_eq!((create.effect, &create.input_schema["required"]), (EffectClass::Unsafe, &json!(["body"])));
    assert!(create.output_schema.is_some());
    let pay = manifest.method("pay").unwrap();
    assert_eq!(
        (pay.effect, pay.query_method.as_ref().unwrap().as_str()),
        (EffectClass::Queryable, "getOrder")
    );
    assert_eq!(pay.input_schema["required"], json!(["query_body"]));
    assert_eq!(manifest.method("delete_orders/id").unwrap().effect, EffectClass::Idempotent);

    let left_out: Vec<&str> = manifest.left_out().collect();
    assert_eq!(left_out.len(), 3, "{left_out:?}");
    assert!(left_out[0].starts_with("GET /files: it refers to a schema"), "{left_out:?}");
    assert_eq!(Manifest::from_stored(manifest.to_json()).unwrap(), manifest);
}

#[test]
fn another_server_or_path_is_a_change_of_what_is_called() {
    let before = read(&shop());
    let mut moved = shop();
    moved["servers"][0]["url"] = "https://elsewhere.example".into();
    let drift = super::super::Drift::between(&before, &read(&moved));
    assert_eq!(drift.changed.len(), before.methods().len());
    let mut relative = shop();
    relative["servers"] = json!([{"url": "../v2"}]);
    assert_eq!(
        &*read(&relative).method("pay").unwrap().binding.as_ref().unwrap().base,
        "https://shop.example/v2"
    );
    relative.as_object_mut().unwrap().remove("servers");
    assert_eq!(
        &*read(&relative).method("pay").unwrap().binding.as_ref().unwrap().base,
        "https://shop.example"
    );
}

#[test]
fn what_is_no_such_document_is_refused() {
    let at = Url::parse("https://a.example/").unwrap();
    assert_eq!(manifest(&json!({"swagger": "2.0", "paths": {}}), &at), Err(NotOpenApi::Version));
    assert_eq!(manifest(&json!([]), &at), Err(NotOpenApi::Version));
    assert_eq!(manifest(&json!({"openapi": "3.1.0"}), &at), Err(NotOpenApi::NoPaths));
}

fn anything() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "get",
        "post",
        "parameters",
        "name",
        "in",
        "path",
        "query",
        "schema",
        "$ref",
        "#/components/schemas/A",
        "A",
        "components",
        "schemas",
        "/a/{b}",
        "/a",
        "b",
        "content",
        "application/json",
        "requestBody",
        "responses",
        "200",
        "#/paths",
        "operationId",
        "nullable",
        "type",
        "string",
        "servers",
        "url",
        "paths",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        word.clone().prop_map(Value::from)
    ];
    leaf.prop_recursive(8, 96, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(word.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_a_document_says_what_is_read_can_be_kept(paths in anything(), components in anything(), servers in anything()) {
        let document = json!({"openapi": "3.0.0", "paths": {"/a/{b}": paths, "/c": {"get": components.clone()}}, "components": components, "servers": servers});
        let read = manifest(&document, &Url::parse("https://a.example/x").unwrap());
        if let Ok(manifest) = read {
            prop_assert_eq!(Manifest::from_stored(manifest.to_json()).unwrap(), manifest);
        }
    }
}
