//! Programs to host.

use serde_json::{Value, json};

/// The example that the guide hosts.
pub fn expense_approval() -> Value {
    serde_json::from_str(include_str!("../../examples/expense-approval.json")).unwrap()
}

/// The same, with a flow `ledger` that gives all that was booked.
pub fn expenses_with_ledger() -> Value {
    let mut program = expense_approval();
    program["flows"].as_array_mut().unwrap().push(flow(
        "ledger",
        &json!([]),
        &json!([{"kind": "rigid", "statements": [
            {"kind": "memory", "op": "get", "target": "booked", "result_binding": "all"},
            {"kind": "return", "value": "all ?? {}"}
        ]}]),
    ));
    program
}

/// A program of these flows.
pub fn program(name: &str, flows: &[Value]) -> Value {
    json!({"schema_version": "0.2", "name": name, "version": "1.0.0", "flows": flows})
}

/// A flow.
pub fn flow(name: &str, params: &Value, body: &Value) -> Value {
    json!({"name": name, "params": params, "body": body})
}

/// A block of statements.
pub fn rigid(id: &str, statements: &Value) -> Value {
    json!({"kind": "rigid", "id": id, "statements": statements})
}

/// A flow `echo` that returns its parameter `value`, and says which `version` of it ran.
pub fn echo(version: i64) -> Value {
    program(
        "Echo",
        &[flow(
            "echo",
            &json!([{"name": "value", "type": "json"}]),
            &json!([{"kind": "rigid", "statements": [
                {"kind": "return", "value": format!("{{version: {version}, value: value}}")}
            ]}]),
        )],
    )
}

/// A checkpoint block `ask` that binds `answer`; `more` adds to it or replaces parts.
pub fn checkpoint(more: &Value) -> Value {
    let mut block = json!({
        "kind": "checkpoint", "id": "ask", "checkpoint_type": "approval",
        "present": {"prompt": "Shall it be?"}, "result_binding": "answer",
    });
    for (name, value) in more.as_object().unwrap() {
        block[name] = value.clone();
    }
    block
}

/// A flow `ask` that waits at a checkpoint and returns the answer.
pub fn asking(more: &Value) -> Value {
    program(
        "Asking",
        &[flow(
            "ask",
            &json!([]),
            &json!([checkpoint(more), {"kind": "rigid", "statements": [{"kind": "return", "value": "answer"}]}]),
        )],
    )
}

/// A flow `spin` that goes round for `rounds` rounds, each a step of the journal.
pub fn spinning() -> Value {
    program(
        "Spinning",
        &[flow(
            "spin",
            &json!([{"name": "rounds", "type": "int"}]),
            &json!([
                {"kind": "rigid", "statements": [{"kind": "let", "name": "i", "value": "0"}]},
                {"kind": "while", "condition": "i < rounds", "max_iterations": 100_000, "body": [
                    {"kind": "rigid", "statements": [
                        {"kind": "assign", "target": "i", "value": "i + 1"},
                        {"kind": "log", "message": "round ${i}"}
                    ]}
                ]},
                {"kind": "rigid", "statements": [{"kind": "return", "value": "i"}]}
            ]),
        )],
    )
}

/// A program that loads and does not pass the verifier.
pub fn broken() -> Value {
    program(
        "Broken",
        &[flow(
            "main",
            &json!([]),
            &json!([{"kind": "rigid", "statements": [{"kind": "return", "value": "nobody.knows"}]}]),
        )],
    )
}

/// A program as a bundle in its shortest form: the magic, and MessagePack after it.
pub fn bundle(program: &Value) -> Vec<u8> {
    let mut bytes = b"SCIR".to_vec();
    bytes.extend(rmp_serde::to_vec(program).unwrap());
    bytes
}
