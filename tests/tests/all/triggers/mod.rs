//! What starts the flows of Cores by itself: triggers of the four kinds, a Core's own API, messages from other systems, and what
//! is told of events that started nothing.

mod api;
mod heard;
mod hooks;
mod registered;

use std::time::Duration;

use scaigrid_tests::programs::{flow, program, rigid};
use scaigrid_tests::{CORES, Client};
use serde_json::{Value, json};

/// Longer than anything takes here, also on a slow machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// A flow that returns an expression in its parameters.
fn returning(name: &str, params: &Value, value: &str) -> Value {
    flow(name, params, &json!([rigid("end", &json!([{"kind": "return", "value": value}]))]))
}

/// A program that can be started in every way, and declares some of them.
fn shop(triggers: &Value) -> Value {
    let mut program = program(
        "Shop",
        &[
            returning("tick", &json!([{"name": "fired_at", "type": "datetime"}]), "'ticked'"),
            returning(
                "heard",
                &json!([{"name": "event", "type": "string"}, {"name": "data", "type": "json"}]),
                "{event: event, data: data}",
            ),
            returning(
                "hook",
                &json!([{"name": "body", "type": "json"}, {"name": "message_id", "type": "string"}, {"name": "headers", "type": "map[string, string]"}]),
                "{body: body, id: message_id, kind: headers['x-kind'] ?? 'none', seen: headers['authorization'] ?? 'nothing'}",
            ),
            returning("strict", &json!([{"name": "body", "type": "{total: int}"}]), "body.total"),
            returning(
                "order",
                &json!([{"name": "id", "type": "int"}, {"name": "deep", "type": "bool", "default": false}, {"name": "tags", "type": "array[string]?"}]),
                "{id: id, deep: deep, tags: tags}",
            ),
            returning("whole", &json!([{"name": "request", "type": "json"}]), "request"),
            flow("ask", &json!([]), &json!([scaigrid_tests::programs::checkpoint(&json!({}))])),
        ],
    );
    program["triggers"] = triggers.clone();
    program["flows"][4]["returns"] = json!("{id: int, deep: bool, tags: array[string]?}");
    program
}

/// Registers a trigger.
fn register(client: &Client, core: &str, kind: &str, name: &str, flow: &str, config: &Value) -> Value {
    let body = json!({"kind": kind, "name": name, "flow": flow, "config": config});
    client.post(&format!("{CORES}/{core}/triggers")).json(&body).answer(201).data()
}

/// The triggers of a Core.
fn listed(client: &Client, core: &str) -> Vec<Value> {
    client.pages(&format!("{CORES}/{core}/triggers"), "items")
}

/// The executions of a flow of a Core.
fn executions(client: &Client, core: &str, flow: &str) -> Vec<Value> {
    client.pages(&format!("{CORES}/{core}/executions?flow={flow}"), "items")
}
