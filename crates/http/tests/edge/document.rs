//! The document, and the reference that is made of it.

use scaigrid_http::health::Condition;
use scaigrid_http::openapi::{DocumentError, document};
use serde_json::{Value, json};

use crate::support::{call, house, routes};

#[actix_web::test]
async fn the_document_tells_what_each_operation_can_answer() {
    let app = app!(house(None, Condition::Ok));
    let document = send!(app, call("GET", "/openapi.json")).json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(document["security"], json!([{ "bearer": [] }]));
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    assert_eq!(document["paths"]["/health"]["get"]["security"], json!([]));

    let answers = |path: &str, method: &str| {
        let responses = document["paths"][path][method]["responses"].as_object().unwrap();
        responses.keys().cloned().collect::<Vec<_>>().join(" ")
    };
    insta::assert_debug_snapshot!([
        answers("/health", "get"),
        answers("/v1/things", "get"),
        answers("/v1/things", "post"),
        answers("/v1/things/{id}", "get"),
        answers("/v1/things/{id}", "put"),
        answers("/v1/things/{id}", "delete"),
        answers("/v1/modules/{module_id}", "get"),
    ]);
    let put = document["paths"]["/v1/things/{id}"]["put"].to_string();
    assert!(put.contains("If-Match") && !put.contains("Idempotency-Key"));
    assert!(document["paths"]["/v1/things"]["post"].to_string().contains("Idempotency-Key"));
    let refusal = &document["paths"]["/v1/admin/things"]["get"]["responses"]["403"]["$ref"];
    assert_eq!(refusal, "#/components/responses/WorkspaceForbidden");
    let example =
        &document["components"]["responses"]["WorkspaceForbidden"]["content"]["application/json"]["example"];
    assert_eq!(example["error"]["code"], "SW_AUTH_INSUFFICIENT_PERMISSION");
}

#[actix_web::test]
async fn every_reference_in_the_document_leads_somewhere() {
    fn walk(value: &Value, document: &Value) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                object.values().for_each(|value| walk(value, document));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, document)),
            _ => {}
        }
    }
    let document = serde_json::to_value(document(routes).unwrap()).unwrap();
    walk(&document, &document);
}

#[actix_web::test]
async fn two_operations_of_one_name_make_no_document() {
    let error = document(|config| {
        routes(config);
        crate::support::routes_again(config);
    });
    let expected = DocumentError::DuplicateOperationId {
        id: "get_thing".to_owned(),
        first: "GET /v1/again".to_owned(),
        second: "GET /v1/things/{id}".to_owned(),
    };
    assert_eq!(error.err(), Some(expected));
}

#[actix_web::test]
async fn the_reference_needs_nothing_from_outside() {
    let app = app!(house(None, Condition::Ok));
    let seen = send!(app, call("GET", "/"));
    assert_eq!((seen.status, seen.header("location")), (302, "/docs/"), "who opens the address alone");
    let seen = send!(app, call("GET", "/docs"));
    assert_eq!((seen.status, seen.header("location")), (308, "/docs/"));
    let page = send!(app, call("GET", "/docs/"));
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-security-policy").contains("script-src 'self';"));
    let html = String::from_utf8(page.body).unwrap();
    let mut linked = 0;
    for attribute in html.split(['"', '\'']).filter(|text| text.starts_with("./") || text.contains("//")) {
        let Some(file) = attribute.strip_prefix("./") else { panic!("{attribute} is elsewhere") };
        assert_eq!(send!(app, call("GET", &format!("/docs/{file}"))).status, 200, "{file}");
        linked += 1;
    }
    assert!(linked >= 4, "{html}");
    assert!(!html.contains("<script>"), "the policy lets no inline script run: {html}");
    let script = send!(app, call("GET", "/docs/swagger-initializer.js"));
    let script = String::from_utf8(script.body).unwrap();
    assert!(
        script.contains("\"/openapi.json\"") && script.contains("\"validatorUrl\": \"none\""),
        "{script}"
    );
}
