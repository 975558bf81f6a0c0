//! What a Core must find before it starts: the models that its program names, and the permissions of whom it acts for; and what it is only
//! warned of: calls that nothing would answer.

use scaigrid_tests::{CORES, Client, Place, on_both_databases, programs};
use serde_json::{Value, json};

use crate::published::chatting;

on_both_databases!(
    a_core_starts_only_where_its_models_are,
    a_fallback_is_enough,
    cores_that_ask_each_other_start_one_after_the_other,
    what_a_delegation_does_not_cover_is_told_at_the_start,
    a_core_that_ran_goes_on_without_its_model,
    calls_that_nothing_would_answer_are_told_at_the_start,
);

/// A program that passes on what it is asked to a model by these declarations.
fn asking(models: &Value) -> Value {
    let mut program = chatting(&json!([
        {"kind": "model_call", "id": "asked", "role": "primary", "prompt": "${message}", "result_binding": "said"},
        programs::rigid("end", &json!([{"kind": "return", "value": "said"}]))
    ]));
    program["models"] = models.clone();
    program
}

fn of_model(model: &str) -> Value {
    asking(&json!([{"role": "primary", "provider": "scaigrid", "model": model}]))
}

/// Has a Core started that cannot be; what is told.
fn refused(client: &Client, core: &str, status: u16, code: &str) -> Vec<String> {
    let refusal = client.post(&format!("{CORES}/{core}/start")).refused(status, code);
    let shown = client.get(&format!("{CORES}/{core}")).answer(200).data();
    assert_eq!((&shown["status"], &shown["last_error"]["code"]), (&json!("error"), &json!(code)), "{shown}");
    refusal.fields()
}

fn a_core_starts_only_where_its_models_are(place: &Place) {
    let server = place.start();
    let root = server.admin();
    root.tenant("acme");
    let acme = root.in_tenant("acme");
    let backend = root.backend("echo", &json!({}));
    root.global_model("m", &[json!({"backend_id": backend})]);

    let nowhere = acme.host("Nowhere", &of_model("none/such"));
    assert_eq!(refused(&acme, &nowhere, 422, "MODEL_NOT_FOUND"), ["models.primary"]);
    // A name that no model can have.
    let odd = acme.host("Odd", &of_model("no such"));
    assert_eq!(refused(&acme, &odd, 422, "MODEL_NOT_FOUND"), ["models.primary"]);
    // One that is there and that the tenant has not enabled, until it does.
    let core = acme.host("Asking", &of_model("m"));
    refused(&acme, &core, 422, "MODEL_NOT_FOUND");
    let shown = acme.get(&format!("{CORES}/{core}")).answer(200).data();
    let told = shown["last_error"]["message"].as_str().unwrap();
    assert!(told.contains("primary") && told.contains('m'), "{told}");
    acme.post(&format!("{CORES}/{core}/restart")).refused(422, "MODEL_NOT_FOUND");
    acme.enable_model("m");
    acme.act(&core, "start");
    acme.status_becomes(&core, "running");
    assert_eq!(acme.invoke(&core, "chat", &json!({"message": "Hi"}))["output"], "Hi");
    // Each role that has none is told.
    let two = asking(&json!([
        {"role": "primary", "provider": "scaigrid", "model": "m"},
        {"role": "second", "provider": "elsewhere", "model": "m"},
        {"role": "third", "provider": "scaigrid", "model": "other"},
    ]));
    let two = acme.host("Two", &two);
    assert_eq!(refused(&acme, &two, 422, "MODEL_NOT_FOUND"), ["models.second", "models.third"]);
    server.stop();
}

fn a_fallback_is_enough(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let models = json!([{"role": "primary", "provider": "elsewhere", "model": "gone",
        "fallback": [{"provider": "scaigrid", "model": "echo"}]}]);
    let core = root.run("Asking", &asking(&models));
    assert_eq!(root.invoke(&core, "chat", &json!({"message": "Hi"}))["output"], "Hi");
    server.stop();
}

fn cores_that_ask_each_other_start_one_after_the_other(place: &Place) {
    let server = place.start();
    let root = server.admin();
    // The one that is asked is no model of the catalogue yet, and there is no second one at all.
    let first = root.host("First", &of_model("scaicore/default/second"));
    assert_eq!(refused(&root, &first, 422, "MODEL_NOT_FOUND"), ["models.primary"]);
    let second = root.host("Second", &of_model("scaicore/default/first"));
    for core in [&first, &second] {
        root.act(core, "start");
        root.status_becomes(core, "running");
    }
    // One that is published is a model also while it stands still.
    root.post(&format!("{CORES}/{first}/publish")).answer(200);
    root.act(&first, "stop");
    root.status_becomes(&first, "stopped");
    root.act(&second, "restart");
    root.status_becomes(&second, "running");
    // Another tenant's Core is none unless it is shown there.
    root.tenant("acme");
    let acme = root.in_tenant("acme");
    let third = acme.host("Third", &of_model("scaicore/default/first"));
    refused(&acme, &third, 422, "MODEL_NOT_FOUND");
    server.stop();
}

fn what_a_delegation_does_not_cover_is_told_at_the_start(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let (ada, _) = root.user("ada@example.org", &["tenant_admin"]);
    let callee = root.run("Callee", &programs::echo(1));
    let call = json!({"kind": "core_call", "id": "call", "target": "core://default/callee", "flow_name": "echo",
        "input_bindings": {"value": "1"}, "result_binding": "got"});
    let own = json!({"kind": "core_call", "id": "own", "target": "core://self", "flow_name": "inner",
        "input_bindings": {}, "result_binding": "got"});
    let end = programs::rigid("end", &json!([{"kind": "return", "value": "got"}]));
    let inner = programs::rigid("in", &json!([{"kind": "return", "value": "1"}]));
    let of = |call: &Value| {
        let flows = [
            programs::flow("inner", &json!([]), &json!([inner])),
            programs::flow("go", &json!([]), &json!([call, end])),
        ];
        programs::program("Calling", &flows)
    };
    let lent = |core: &str, scopes: &Value| {
        let body = json!({"user_id": ada, "scopes": scopes});
        root.post(&format!("{CORES}/{core}/delegate")).json(&body).answer(200);
    };

    let asks = root.host("Asks", &of_model("echo"));
    lent(&asks, &json!(["scaicore:view"]));
    assert_eq!(refused(&root, &asks, 400, "DELEGATION_VALIDATION_ERROR"), ["delegation_scopes"]);
    root.put(&format!("{CORES}/{asks}/delegation"), &json!({"scopes": ["models:use"]})).answer(200);
    root.act(&asks, "start");
    root.status_becomes(&asks, "running");

    let calls = root.host("Calls", &of(&call));
    lent(&calls, &json!(["models:use"]));
    assert_eq!(refused(&root, &calls, 400, "DELEGATION_VALIDATION_ERROR"), ["delegation_scopes"]);
    root.put(&format!("{CORES}/{calls}/delegation"), &json!({"scopes": ["scaicore:invoke"]})).answer(200);
    root.act(&calls, "start");
    root.status_becomes(&calls, "running");

    // What calls nobody but itself needs nothing, and what acts for its tenant lacks nothing.
    let alone = root.host("Alone", &of(&own));
    lent(&alone, &json!(["scaicore:view"]));
    root.act(&alone, "start");
    root.status_becomes(&alone, "running");
    root.run("Of the tenant", &of(&call));
    assert_eq!(root.status(&callee), "running");
    server.stop();
}

fn a_core_that_ran_goes_on_without_its_model(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let backend = root.backend("echo", &json!({}));
    root.global_model("m", &[json!({"backend_id": backend})]);
    root.enable_model("m");
    let core = root.run("Asking", &of_model("m"));
    root.delete("/v1/model-access/m").answer(204);
    server.kill();
    let server = place.start();
    let root = server.admin();
    root.status_becomes(&core, "running");
    server.stop();
}

/// What the start of a Core warns of, as code and pointer.
fn warned(client: &Client, core: &str, action: &str) -> Vec<(String, String)> {
    let started = client.post(&format!("{CORES}/{core}/{action}")).answer(200).data();
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let findings = started["diagnostics"].as_array().unwrap_or_else(|| panic!("no diagnostics: {started}"));
    assert!(findings.iter().all(|finding| finding["severity"] == "warning"), "{started}");
    findings.iter().map(|finding| (text(finding, "code"), text(finding, "pointer"))).collect()
}

fn calls_that_nothing_would_answer_are_told_at_the_start(place: &Place) {
    let server = place.start();
    let root = server.admin();
    root.tenant("acme");
    root.in_tenant("acme").run("Hidden", &programs::echo(1));
    let callee = |flow: &str| {
        let params = json!([{"name": "text", "type": "string"}, {"name": "note", "type": "string?"},
            {"name": "count", "type": "int", "default": 1}]);
        let body = json!([programs::rigid("end", &json!([{"kind": "return", "value": "text"}]))]);
        programs::program("Callee", &[programs::flow(flow, &params, &body)])
    };
    root.run("Callee", &callee("answer"));
    let call = |target: &str, flow: &str, more: &Value| {
        let mut block = json!({"kind": "core_call", "target": target, "flow_name": flow,
            "input_bindings": {"text": "'Hi'"}});
        for (key, value) in more.as_object().unwrap() {
            block[key] = value.clone();
        }
        block
    };
    let there = "core://default/callee";
    let none = json!({});
    let body = json!([
        call(there, "answer", &none),
        call("core://default/nobody", "answer", &none),
        call("core://acme/hidden", "echo", &none),
        call(there, "anwser", &none),
        call(there, "answer", &json!({"version": 7})),
        call(there, "answer", &json!({"input_bindings": {}})),
        call(there, "answer", &json!({"input_bindings": {"text": "5", "further": "1"}})),
        call("core://default/calling", "go", &none),
        call("core://nobody", "answer", &none),
    ]);
    let core =
        root.host("Calling", &programs::program("Calling", &[programs::flow("go", &json!([]), &body)]));
    let at = |code: &str, place: &str| (code.to_owned(), format!("/flows/0/body/{place}"));
    let expected = [
        at("W202", "1/target"),
        at("W202", "2/target"),
        at("W202", "3/flow_name"),
        at("W202", "4/version"),
        at("W301", "5"),
        at("W301", "6/input_bindings/text"),
        at("W202", "8/target"),
    ];
    assert_eq!(warned(&root, &core, "start"), expected);
    root.status_becomes(&core, "running");
    assert_eq!(warned(&root, &core, "restart"), expected);
    root.status_becomes(&core, "running");
    // What has come is not missed any more.
    root.host("Nobody", &callee("answer"));
    root.act(&core, "stop");
    root.status_becomes(&core, "stopped");
    assert_eq!(warned(&root, &core, "start"), expected[1..6]);
    root.status_becomes(&core, "running");
    // Whoever is gone is missed, and what ran goes on.
    server.kill();
    let server = place.start();
    let root = server.admin();
    root.status_becomes(&core, "running");
    server.stop();
}
