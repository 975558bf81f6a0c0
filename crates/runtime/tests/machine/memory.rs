//! Persistent variables.

use serde_json::json;

use crate::world::{World, completed, failure, flow, result, rigid};
use scaigrid_runtime::journal::Entry;
use scaigrid_runtime::{EffectKind, MemoryRequest};

#[test]
fn writes_reads_and_questions() {
    let body = rigid(&json!([
        { "kind": "memory", "op": "set", "target": "counts", "key": "'a'", "value": "1" },
        { "kind": "memory", "op": "set", "target": "counts", "key": "5", "value": "2" },
        { "kind": "memory", "op": "get", "target": "counts", "key": "'a'", "result_binding": "a" },
        { "kind": "memory", "op": "get", "target": "total", "result_binding": "t" },
        { "kind": "memory", "op": "add", "target": "turns", "value": "'hi'" },
        { "kind": "memory", "op": "last", "target": "turns", "limit": "5", "result_binding": "turns" },
        { "kind": "memory", "op": "delete", "target": "counts", "key": "'a'" },
        { "kind": "expression", "value": "[a, t, turns, memory.counts.get('a'), memory.counts.get('5'), memory.total]" }
    ]));
    assert_eq!(result(&body, &json!({})), json!([1, 7, ["hi"], null, 2, 7]));
}

#[test]
fn an_update_is_a_marked_read_and_a_write_of_the_whole() {
    let body = rigid(&json!([
        { "kind": "memory", "op": "update", "target": "total", "value": "n => n + x" },
        { "kind": "memory", "op": "update", "target": "profile", "value": "{name: 'Bo', age: 3}" },
        { "kind": "memory", "op": "update", "target": "profile", "value": "{age: 4}", "result_binding": "p" },
        { "kind": "expression", "value": "[memory.total, p]" }
    ]));
    let program = flow(&body);
    let mut world = World::start(&program, &json!({ "x": 5 }));
    assert_eq!(completed(&world.run(&program)), json!([12, { "name": "Bo", "age": 4 }]));
    let requests: Vec<&MemoryRequest> = world
        .journal
        .iter()
        .filter_map(|entry| match entry {
            Entry::Effect { effect, .. } => match &effect.kind {
                EffectKind::Memory(request) => Some(request),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert!(requests[0].for_update && requests[0].value.is_none());
    assert_eq!(requests[1].value, Some(12.into()));
    assert!(!requests[1].for_update);
}

#[test]
fn what_is_written_must_fit_the_declaration() {
    for (statement, code) in [
        (json!({ "op": "set", "target": "counts", "key": "'a'", "value": "'text'" }), "TYPE_MISMATCH"),
        (json!({ "op": "set", "target": "counts", "value": "3" }), "TYPE_MISMATCH"),
        (json!({ "op": "add", "target": "turns", "value": "3" }), "TYPE_MISMATCH"),
        (json!({ "op": "add", "target": "total", "value": "3" }), "TYPE_MISMATCH"),
        (json!({ "op": "update", "target": "total", "value": "n => 'text'" }), "TYPE_MISMATCH"),
        (json!({ "op": "set", "target": "counts", "key": "null", "value": "3" }), "TYPE_MISMATCH"),
        (json!({ "op": "last", "target": "turns", "limit": "0 - 1" }), "TYPE_MISMATCH"),
        (json!({ "op": "get", "target": "nothing" }), "UNKNOWN_NAME"),
    ] {
        let mut statement = statement;
        statement["kind"] = json!("memory");
        let failure = failure(&rigid(&json!([statement])), &json!({}));
        assert_eq!(&*failure.code, code, "{statement}");
        assert_eq!(failure.block.as_deref(), Some("r"));
    }
}
