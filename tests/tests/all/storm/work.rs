//! What a storm has to do: its programs, and the plugin and the model that they call.

use scaigrid_tests::{Client, ModelServer, Plugin, SCAICORE, Told, programs};
use serde_json::{Value, json};

/// Memory is read in so many parts: a list has an end.
pub(super) const SHELVES: usize = 64;
/// What some flows keep that is too large for the database.
const PAGE: &str = "string(n + 10000).repeat(20000)";
/// Which flows ask a model: none of those that ask a person.
const ASKS: &str = "n % 2 == 1";
/// The model that they ask.
const MODEL: &str = "m";
/// How long the model may be silent, in milliseconds: long for a busy machine, and not for a test.
const SILENCE: u32 = 3_000;

/// A plugin, registered.
pub(crate) fn plugin(admin: &Client) -> Plugin {
    let plugin = Plugin::start();
    let entry = json!({"plugin": "acme/stub", "kind": "http", "endpoint": plugin.http(), "manifest": Plugin::manifest()});
    admin.post(&format!("{SCAICORE}/plugins/registry")).json(&entry).answer(201);
    plugin
}

/// A program that calls the plugin.
pub(crate) fn calling(body: &Value) -> Value {
    json!({
        "schema_version": "0.2", "name": "Caller", "version": "1.0.0",
        "plugins": [{"alias": "stub", "plugin": "acme/stub", "config": {}, "required": true}],
        "flows": [{"name": "work", "params": [{"name": "n", "type": "int"}], "body": body}],
    })
}

/// A call of the plugin.
pub(crate) fn call(method: &str) -> Value {
    json!({"kind": "plugin_call", "alias": "stub", "method": method, "args": {"n": "n"}, "result_binding": method})
}

/// A model that says what it is asked, for the tenant's programs.
pub(super) fn model(admin: &Client) -> ModelServer {
    let server = ModelServer::start();
    server.always(Told::Back);
    let config = json!({"base_url": server.base_url(), "timeout_ms": SILENCE});
    let backend = admin.backend("openai", &config);
    admin.global_model(MODEL, &[json!({"backend_id": backend})]);
    admin.enable_model(MODEL);
    server
}

/// The execution that a question to the model is of.
pub(super) fn asker(question: &str) -> &str {
    question.rsplit_once(' ').unwrap().1
}

/// Whether an execution asks the model.
pub(super) fn asks(execution: &Value) -> bool {
    execution["input"]["n"].as_i64().unwrap() % 2 == 1
}

/// The program of a storm; where much may fail, every second of its flows asks a model, and a few keep something large.
pub(super) fn program(amid_failures: bool) -> Value {
    let of_some = |then: Value| json!({"kind": "if", "condition": "n % 16 == 5", "then": then});
    let mut begin = vec![call("keep")];
    let mut end = vec![
        json!({"kind": "memory", "op": "update", "target": "count", "value": "c => (c ?? 0) + 1"}),
        call("shout"),
        call("pay"),
        json!({"kind": "memory", "op": "set", "target": "done", "value": "n",
            "key": format!("string(n % {SHELVES}) + '/' + execution.id")}),
        json!({"kind": "emit", "event": "worked", "data": {"n": "n"}}),
        json!({"kind": "return", "value": "n"}),
    ];
    if amid_failures {
        let write =
            json!({"kind": "memory", "op": "set", "target": "pages", "key": "string(n)", "value": PAGE});
        begin.insert(0, of_some(json!([write])));
        end.insert(0, of_some(json!([
            {"kind": "memory", "op": "get", "target": "pages", "key": "string(n)", "result_binding": "page"},
            {"kind": "if", "condition": format!("page != {PAGE}"), "then": [{"kind": "fail", "code": "PAGE_LOST"}]},
        ])));
        let other = format!("{ASKS} && told != 'Tell me of ' + string(n) + ' for ' + execution.id");
        let lost = json!([{"kind": "fail", "code": "ANSWER_LOST"}]);
        end.insert(0, json!({"kind": "if", "condition": other, "then": lost}));
    }
    let mut blocks = vec![
        json!({"kind": "rigid", "statements": begin}),
        json!({"kind": "checkpoint", "id": "ask", "checkpoint_type": "approval", "when": "n % 4 == 0",
            "present": {"prompt": "Shall it be?"}, "options": ["yes", "no"], "result_binding": "answer"}),
        json!({"kind": "rigid", "statements": end}),
    ];
    if amid_failures {
        // The model says what it is asked: an answer to another question is found out.
        let tell = json!({"kind": "model_call", "id": "tell", "role": "primary", "when": ASKS,
            "prompt": "Tell me of ${n} for ${execution.id}", "result_binding": "told"});
        blocks.insert(2, tell);
    }
    let mut program = calling(&json!(blocks));
    if amid_failures {
        program["models"] = json!([{"role": "primary", "provider": "scaigrid", "model": MODEL}]);
    }
    program["memory"] = json!({
        "count": {"type": "int", "default": 0}, "done": {"type": "map[string, int]"}, "pages": {"type": "map[string, string]"},
    });
    let recall = json!([{"kind": "rigid", "statements": [
        {"kind": "memory", "op": "list", "target": "done", "prefix": "shelf", "limit": 1000, "result_binding": "found"},
        {"kind": "return", "value": "{count: memory.count, found: found}"},
    ]}]);
    let recall = programs::flow("recall", &json!([{"name": "shelf", "type": "string"}]), &recall);
    program["flows"].as_array_mut().unwrap().push(recall);
    program
}
