//! The API that a Core has of its own.

use scaigrid_tests::{CORES, Place, SCAICORE, on_both_databases, programs};
use serde_json::{Value, json};

use super::{register, shop};

on_both_databases!(
    a_call_becomes_the_input_of_a_flow,
    what_does_not_fit_is_named,
    a_call_waits_or_tells_where_to_look,
    what_is_public_needs_no_credentials_and_nothing_else_is,
    the_api_describes_itself,
);

/// The API's triggers of most tests here: two of the program's.
fn declared() -> Value {
    json!([
        {"kind": "api", "name": "get_order", "target_flow": "order", "method": "GET", "path": "/orders/{id}"},
        {"kind": "api", "name": "put_order", "target_flow": "order", "method": "PUT", "path": "/orders/{id}"},
        {"kind": "api", "name": "mine", "target_flow": "whole", "method": "GET", "path": "/orders/mine"},
    ])
}

fn a_call_becomes_the_input_of_a_flow(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Shop", &shop(&declared()));
    register(&admin, &core, "api", "any", "whole", &json!({"path": "/any/{x}"}));
    let base = format!("{CORES}/{core}/api/invoke");
    let got = admin.get(&format!("{base}/orders/7?deep=true&tags=a&tags=b")).answer(200).data();
    assert_eq!(got["output"], json!({"id": 7, "deep": true, "tags": ["a", "b"]}));
    assert_eq!((&got["status"], &got["trigger"]), (&json!("completed"), &json!("api:get_order")));
    // The path goes before the body.
    let put = admin.put(&format!("{base}/orders/8"), &json!({"id": 9, "tags": null})).answer(200).data();
    assert_eq!(
        (&put["output"], &put["trigger"]),
        (&json!({"id": 8, "deep": false, "tags": null}), &json!("api:put_order"))
    );
    // Literal segments go before parameters.
    let mine = admin.get(&format!("{base}/orders/mine?q=%C3%A9")).answer(200).data();
    let request = &mine["output"];
    assert_eq!((&request["method"], &request["path"]), (&json!("GET"), &json!("/orders/mine")));
    assert_eq!(request["query"], json!({"q": "é"}));
    assert_eq!(request["headers"].get("authorization"), None, "no flow sees a credential");
    let any =
        admin.post(&format!("{base}/any/a%2Fb")).header("X-Own", "1").json(&json!([1, {"a": 2}])).answer(200);
    let any = any.data();
    let request = &any["output"];
    assert_eq!((&request["params"], &request["body"]), (&json!({"x": "a/b"}), &json!([1, {"a": 2}])));
    assert_eq!(request["headers"]["x-own"], "1");
    // HEAD is GET without a body.
    assert_eq!(admin.request("HEAD", &format!("{base}/orders/7")).answer(200).body, b"");
    server.stop();
}

fn what_does_not_fit_is_named(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Shop", &shop(&declared()));
    let base = format!("{CORES}/{core}/api/invoke");
    let invalid = |path: &str| admin.get(&format!("{base}/{path}")).refused(422, "VALIDATION_ERROR").fields();
    assert_eq!(invalid("orders/seven"), ["id"]);
    assert_eq!(invalid("orders/7?deep=perhaps"), ["deep"]);
    assert_eq!(invalid("orders/7?colour=red&size=2"), ["colour", "size"]);
    assert_eq!(invalid("orders/7?wait_ms=forever"), ["wait_ms"]);
    let put = |body: &Value| admin.put(&format!("{base}/orders/7"), body);
    assert_eq!(put(&json!({"deep": 1})).refused(422, "VALIDATION_ERROR").fields(), ["deep"]);
    assert_eq!(put(&json!({"x": 1})).refused(422, "VALIDATION_ERROR").fields(), ["x"]);
    assert_eq!(put(&json!([])).refused(422, "VALIDATION_ERROR").fields(), ["body"]);
    let put =
        |kind: &str, body: &[u8]| admin.request("PUT", &format!("{base}/orders/7")).body(kind, body.to_vec());
    assert_eq!(put("application/json", b"{").refused(422, "VALIDATION_ERROR").fields(), ["body"]);
    put("text/plain", b"id=7").refused(415, "UNSUPPORTED_MEDIA_TYPE");
    put("application/json", &vec![b' '; 1024 * 1024 + 1]).refused(413, "PAYLOAD_TOO_LARGE");
    // Nothing of all this began anything.
    assert!(admin.pages(&format!("{CORES}/{core}/executions"), "items").is_empty());

    let wrong = admin.post(&format!("{base}/orders/7")).json(&json!({})).refused(405, "METHOD_NOT_ALLOWED");
    assert_eq!(wrong.header("allow"), Some("GET, HEAD, PUT"));
    admin.get(&format!("{base}/nothing")).refused(404, "NOT_FOUND");
    admin.get(&format!("{base}/")).refused(404, "NOT_FOUND");
    let (_, key) = admin.user("nobody@example.org", &[]);
    server.client(&key).get(&format!("{base}/orders/7")).refused(403, "AUTHZ_PERMISSION_DENIED");
    server.anyone().get(&format!("{base}/orders/7")).refused(401, "AUTH_TOKEN_MISSING");
    admin.act(&core, "pause");
    admin.get(&format!("{base}/orders/7")).refused(409, "CORE_NOT_RUNNING");
    server.stop();
}

fn a_call_waits_or_tells_where_to_look(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run(
        "Shop",
        &shop(&json!([
            {"kind": "api", "name": "ask", "target_flow": "ask", "path": "/ask"},
            {"kind": "api", "name": "order", "target_flow": "order", "path": "/orders"},
        ])),
    );
    let base = format!("{CORES}/{core}/api/invoke");
    // A person is asked.
    let asked = admin.post(&format!("{base}/ask")).answer(202);
    let waits = asked.data();
    let id = waits["id"].as_str().unwrap();
    assert_eq!(asked.header("location"), Some(format!("{SCAICORE}/executions/{id}").as_str()));
    assert_eq!((&waits["status"], waits["checkpoints"].as_array().unwrap().len()), (&json!("suspended"), 1));
    admin.resolve(waits["checkpoints"][0].as_str().unwrap(), "go");
    admin.execution_becomes(id, "completed");
    // At once, by either way to say so.
    let order = |path: &str| admin.post(&format!("{base}/{path}")).json(&json!({"id": 1}));
    for request in [order("orders?wait_ms=0"), order("orders").header("Prefer", "respond-async")] {
        let answer = request.answer(202);
        let location = answer.header("location").unwrap().to_owned();
        let id = answer.data()["id"].as_str().unwrap().to_owned();
        assert_eq!(location, format!("{SCAICORE}/executions/{id}"));
        assert_eq!(admin.execution_becomes(&id, "completed")["output"]["id"], 1);
        admin.get(&location).answer(200);
    }
    order("orders?wait_ms=20000").answer(200);
    order("orders").header("Prefer", "wait=20").answer(200);
    // The same key begins one execution.
    let before = admin.pages(&format!("{CORES}/{core}/executions"), "items").len();
    let once = || order("orders").header("Idempotency-Key", "once").answer(200).data()["id"].clone();
    assert_eq!(once(), once());
    let other =
        admin.post(&format!("{base}/orders")).header("Idempotency-Key", "once").json(&json!({"id": 2}));
    other.refused(422, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(admin.pages(&format!("{CORES}/{core}/executions"), "items").len(), before + 1);
    server.stop();
}

fn what_is_public_needs_no_credentials_and_nothing_else_is(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let here = root.tenant("here");
    let there = root.tenant("there");
    let (_, owner) = root.in_tenant(&here).user("owner@here.example", &["tenant_admin"]);
    let (_, stranger) = root.in_tenant(&there).user("boss@there.example", &["tenant_admin"]);
    let (owner, stranger, anyone) = (server.client(&owner), server.client(&stranger), server.anyone());
    let core = owner.run("Shop", &shop(&json!([
        {"kind": "api", "name": "open", "target_flow": "order", "method": "GET", "path": "/open/{id}", "public": true},
        {"kind": "api", "name": "closed", "target_flow": "order", "method": "GET", "path": "/closed/{id}"},
    ])));
    let base = format!("{CORES}/{core}/api/invoke");
    for client in [&anyone, &stranger, &owner] {
        let answer = client.get(&format!("{base}/open/7")).answer(200);
        let result = answer.data();
        assert_eq!((&result["status"], &result["output"]["id"]), (&json!("completed"), &json!(7)));
        let mut fields: Vec<&String> = result.as_object().unwrap().keys().collect();
        fields.sort();
        assert_eq!(fields, ["error", "id", "output", "status"], "nothing of the inside is told");
        assert_eq!(answer.header("location"), None);
    }
    assert_eq!(anyone.get(&format!("{base}/open/x")).refused(422, "VALIDATION_ERROR").fields(), ["id"]);
    anyone.get(&format!("{base}/closed/7")).refused(401, "AUTH_TOKEN_MISSING");
    anyone.get(&format!("{base}/nothing")).refused(401, "AUTH_TOKEN_MISSING");
    stranger.get(&format!("{base}/closed/7")).refused(404, "CORE_NOT_FOUND");
    let unknown = format!("{CORES}/core_01J00000000000000000000000/api/invoke/open/7");
    anyone.get(&unknown).refused(401, "AUTH_TOKEN_MISSING");
    stranger.get(&unknown).refused(404, "CORE_NOT_FOUND");
    server.stop();
}

fn the_api_describes_itself(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Shop", &shop(&declared()));
    register(&admin, &core, "api", "any", "whole", &json!({"path": "/any/{x}", "public": true}));
    let path = format!("{CORES}/{core}/api");
    let compact = admin.get(&format!("{path}/spec")).answer(200).data();
    assert_eq!((&compact["name"], &compact["core_id"]), (&json!("Shop"), &json!(core)));
    let order = compact["flows"].as_array().unwrap().iter().find(|flow| flow["name"] == "order").unwrap();
    assert_eq!(order["params"][0], json!({"name": "id", "type": "int", "required": true, "default": null}));
    assert_eq!(
        order["endpoints"][0],
        json!({"trigger": "get_order", "method": "GET", "path": "/orders/{id}", "public": false})
    );

    let document = admin.get(&format!("{path}/spec?format=openapi")).answer(200).data();
    assert_eq!(admin.get(&format!("{path}/openapi.json")).answer(200).json(), document);
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"][0]["url"], format!("{path}/invoke"));
    let get = &document["paths"]["/orders/{id}"]["get"];
    assert_eq!(
        (&get["parameters"][0]["in"], &get["parameters"][0]["schema"]["type"]),
        (&json!("path"), &json!("integer"))
    );
    let output = &get["responses"]["200"]["content"]["application/json"]["schema"]["properties"]["data"]["properties"]
        ["output"];
    assert_eq!(output["anyOf"][0]["properties"]["id"]["type"], "integer", "{output}");
    assert_eq!(document["paths"]["/any/{x}"]["post"]["security"], json!([]));
    admin.get(&format!("{path}/spec?format=raml")).refused(422, "VALIDATION_ERROR");
    // A Core without a program offers nothing.
    let empty = admin.post(CORES).json(&json!({"name": "Empty"})).answer(201).data();
    let empty = empty["id"].as_str().unwrap();
    let compact = admin.get(&format!("{CORES}/{empty}/api/spec")).answer(200).data();
    assert_eq!((&compact["name"], &compact["flows"]), (&json!("Empty"), &json!([])));
    // What cannot be read, too.
    let broken = admin.host("Broken", &programs::broken());
    admin.get(&format!("{CORES}/{broken}/api/spec")).answer(200);
    server.stop();
}
