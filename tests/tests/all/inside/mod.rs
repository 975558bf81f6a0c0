//! The inside view: logs, the history of events, an execution's state at any step, breakpoints and steps, going on from the
//! past.

mod branch;
mod debug;
mod events;
mod logs;
mod progress;

use std::time::Duration;

use scaigrid_tests::programs::{flow, program, rigid};
use serde_json::{Value, json};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A flow `talk` that says something `times` times, each with its number, and in between writes to memory.
fn talking() -> Value {
    let mut program = program(
        "Talking",
        &[flow(
            "talk",
            &json!([{"name": "times", "type": "int"}, {"name": "who", "type": "string", "default": "x"}]),
            &json!([
                {"kind": "rigid", "id": "begin", "statements": [{"kind": "let", "name": "i", "value": "0"}]},
                {"kind": "while", "id": "loop", "condition": "i < times", "max_iterations": 100_000, "body": [
                    rigid("say", &json!([
                        {"kind": "assign", "target": "i", "value": "i + 1"},
                        {"kind": "log", "level": "info", "message": "${who} says ${i}", "fields": "{n: i}"},
                        {"kind": "memory", "op": "set", "target": "last", "value": "i"},
                    ]))
                ]},
                rigid("end", &json!([{"kind": "return", "value": "i"}])),
            ]),
        )],
    );
    program["memory"] = json!({"last": {"type": "int", "default": 0}});
    program
}

/// When something was, as a text that sorts: seconds may have any number of places.
fn instant(of: &Value) -> &str {
    of["timestamp"].as_str().unwrap().trim_end_matches('Z')
}
