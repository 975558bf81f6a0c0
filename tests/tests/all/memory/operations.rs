//! Every operation, as a statement and as an expression, over every form that a variable can have.

use scaigrid_tests::{Client, Place, on_both_databases, programs};
use serde_json::{Value, json};

on_both_databases!(
    maps_are_kept_entry_by_entry,
    arrays_are_kept_element_by_element,
    single_values_are_kept_whole,
    defaults_hold_until_something_is_written,
    what_passes_a_bound_is_refused,
    a_variable_takes_so_many_entries_and_no_more,
    long_variables_are_read_in_parts,
);

/// A Core with a flow `main` of these statements, and this memory.
pub(super) fn core(client: &Client, memory: &Value, flows: &[(&str, Value)]) -> String {
    let flows: Vec<Value> = flows
        .iter()
        .map(|(name, statements)| {
            let params = json!([{"name": "n", "type": "json", "default": null}]);
            programs::flow(name, &params, &json!([{"kind": "rigid", "statements": statements}]))
        })
        .collect();
    let mut program = programs::program("Memory", &flows);
    program["memory"] = memory.clone();
    program["types"] = json!({
        "Log": "array[string]",
        "Totals": "map[string, int]",
        "State": {"step": "int", "note": "string?", "tags": "array[string]?"},
    });
    client.run("Memory", &program)
}

pub(super) fn output(client: &Client, core: &str, flow: &str, n: &Value) -> Value {
    let done = client.invoke(core, flow, &json!({"n": n}));
    assert_eq!(done["status"], "completed", "{done:#}");
    done["output"].clone()
}

/// How a flow fails.
fn failure(client: &Client, core: &str, flow: &str, n: &Value) -> Value {
    let done = client.invoke(core, flow, &json!({"n": n}));
    assert_eq!(done["status"], "failed", "{done:#}");
    done["error"].clone()
}

fn maps_are_kept_entry_by_entry(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let memory = json!({"m": {"type": "Totals"}, "o": {"type": "map[string, json]?"}});
    let core = core(
        &admin,
        &memory,
        &[
            (
                "fill",
                json!([
                    {"kind": "memory", "op": "set", "target": "m", "key": "'b'", "value": "2"},
                    {"kind": "memory", "op": "set", "target": "m", "key": "'a/1'", "value": "1"},
                    {"kind": "memory", "op": "set", "target": "m", "key": "'a/2'", "value": "1"},
                    {"kind": "memory", "op": "update", "target": "m", "key": "'a/2'", "value": "v => v + 1"},
                    {"kind": "memory", "op": "set", "target": "m", "key": "''", "value": "0"},
                    {"kind": "memory", "op": "set", "target": "m", "key": "'é'", "value": "5"},
                    {"kind": "memory", "op": "set", "target": "m", "key": "'Z'", "value": "6"},
                    {"kind": "memory", "op": "set", "target": "o", "key": "'x'", "value": "[1]"},
                ]),
            ),
            (
                "read",
                json!([
                    {"kind": "memory", "op": "get", "target": "m", "result_binding": "whole"},
                    {"kind": "memory", "op": "get", "target": "m", "key": "'a/2'", "result_binding": "one"},
                    {"kind": "memory", "op": "list", "target": "m", "prefix": "'a/'", "result_binding": "some"},
                    {"kind": "memory", "op": "list", "target": "m", "limit": 2, "order": "desc", "result_binding": "last"},
                    {"kind": "return", "value": "{whole: whole, one: one, some: some, last: last, empty: memory.m[''], \
                        by: memory.m['b'], none: memory.m.get('q', 7), has: [memory.m.has('b'), memory.m.has('q')], \
                        length: memory.m.length, list: memory.m.list(prefix = 'a/', limit = 1, order = 'desc'), \
                        keys: memory.m.keys(), x: memory.o.x}"},
                ]),
            ),
            (
                "both",
                json!([
                    {"kind": "memory", "op": "set", "target": "m", "key": "'c'", "value": "3"},
                    {"kind": "memory", "op": "delete", "target": "m", "key": "'b'"},
                    {"kind": "let", "name": "seen", "value": "{keys: memory.m.keys(), n: memory.m.length, \
                        desc: memory.m.list(order = 'desc', limit = 3).map(e => e.key), \
                        one: memory.m.list(limit = 1).map(e => e.key), b: memory.m['b']}"},
                    {"kind": "return", "value": "seen"},
                ]),
            ),
            (
                "replace",
                json!([
                    {"kind": "memory", "op": "set", "target": "m", "value": "{k: 1, l: 2}"},
                    {"kind": "return", "value": "memory.m"},
                ]),
            ),
            (
                "change",
                json!([
                    {"kind": "memory", "op": "update", "target": "m", "value": "m => m.map_values(v => v * 10)"},
                    {"kind": "memory", "op": "update", "target": "m", "value": "{z: 1}"},
                    {"kind": "return", "value": "memory.m"},
                ]),
            ),
            (
                "clear",
                json!([
                    {"kind": "memory", "op": "delete", "target": "m"},
                    {"kind": "return", "value": "{m: memory.m, n: memory.m.length}"},
                ]),
            ),
            ("whole", json!([{"kind": "return", "value": "{m: memory.m, n: memory.m.length}"}])),
        ],
    );
    output(&admin, &core, "fill", &Value::Null);
    let read = output(&admin, &core, "read", &Value::Null);
    assert_eq!(read["whole"], json!({"": 0, "Z": 6, "a/1": 1, "a/2": 2, "b": 2, "é": 5}), "{read:#}");
    assert_eq!(read["keys"], json!(["", "Z", "a/1", "a/2", "b", "é"]));
    assert_eq!(
        (&read["one"], &read["empty"], &read["by"], &read["none"]),
        (&json!(2), &json!(0), &json!(2), &json!(7))
    );
    assert_eq!((&read["has"], &read["length"], &read["x"]), (&json!([true, false]), &json!(6), &json!([1])));
    assert_eq!(read["some"], json!([{"key": "a/1", "value": 1}, {"key": "a/2", "value": 2}]));
    assert_eq!(read["last"], json!([{"key": "é", "value": 5}, {"key": "b", "value": 2}]));
    assert_eq!(read["list"], json!([{"key": "a/2", "value": 2}]));
    let both = output(&admin, &core, "both", &Value::Null);
    assert_eq!(both["keys"], json!(["", "Z", "a/1", "a/2", "c", "é"]), "its own writes are seen at once");
    assert_eq!((&both["n"], &both["b"]), (&json!(6), &Value::Null));
    assert_eq!((&both["desc"], &both["one"]), (&json!(["é", "c", "a/2"]), &json!([""])));
    assert_eq!(
        output(&admin, &core, "replace", &Value::Null),
        json!({"k": 1, "l": 2}),
        "all of it is replaced"
    );
    assert_eq!(output(&admin, &core, "whole", &Value::Null), json!({"m": {"k": 1, "l": 2}, "n": 2}));
    assert_eq!(output(&admin, &core, "change", &Value::Null), json!({"k": 10, "l": 20, "z": 1}));
    assert_eq!(output(&admin, &core, "clear", &Value::Null), json!({"m": {}, "n": 0}));
    server.kill();
    let server = place.start();
    assert_eq!(output(&server.admin(), &core, "whole", &Value::Null), json!({"m": {}, "n": 0}));
    server.stop();
}

fn arrays_are_kept_element_by_element(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let memory = json!({"log": {"type": "Log"}, "rows": {"type": "array[State]"}});
    let core = core(
        &admin,
        &memory,
        &[
            (
                "add",
                json!([
                    {"kind": "memory", "op": "add", "target": "log", "value": "n"},
                    {"kind": "memory", "op": "add", "target": "rows", "value": "{step: 1, note: n}"},
                    {"kind": "return", "value": "memory.log"},
                ]),
            ),
            (
                "read",
                json!([
                    {"kind": "memory", "op": "last", "target": "log", "limit": 2, "result_binding": "newest"},
                    {"kind": "memory", "op": "list", "target": "log", "limit": 2, "result_binding": "oldest"},
                    {"kind": "return", "value": "{newest: newest, oldest: oldest, length: memory.log.length, \
                        at: [memory.log[0], memory.log[2], memory.log.get(9), memory.log.get(-1)], last: memory.log.last(1), \
                        end: memory.log.last, desc: memory.log.list(order = 'desc'), notes: memory.rows.map(r => r.note)}"},
                ]),
            ),
            (
                "filter",
                json!([
                    {"kind": "memory", "op": "update", "target": "log", "value": "xs => xs.filter(x => x != 'b').append('d')"},
                    {"kind": "memory", "op": "add", "target": "log", "value": "'e'"},
                    {"kind": "return", "value": "memory.log"},
                ]),
            ),
            (
                "set",
                json!([
                    {"kind": "memory", "op": "set", "target": "log", "value": "n"},
                    {"kind": "return", "value": "[memory.log, memory.log.length]"},
                ]),
            ),
            (
                "delete",
                json!([
                    {"kind": "memory", "op": "delete", "target": "log"},
                    {"kind": "memory", "op": "add", "target": "log", "value": "'z'"},
                    {"kind": "return", "value": "memory.log"},
                ]),
            ),
        ],
    );
    for word in ["a", "b", "c"] {
        output(&admin, &core, "add", &json!(word));
    }
    let read = output(&admin, &core, "read", &Value::Null);
    assert_eq!((&read["newest"], &read["oldest"]), (&json!(["b", "c"]), &json!(["a", "b"])), "{read:#}");
    assert_eq!(read["at"], json!(["a", "c", null, "c"]));
    assert_eq!((&read["last"], &read["end"], &read["length"]), (&json!(["c"]), &json!("c"), &json!(3)));
    assert_eq!((&read["desc"], &read["notes"]), (&json!(["c", "b", "a"]), &json!(["a", "b", "c"])));
    assert_eq!(output(&admin, &core, "filter", &Value::Null), json!(["a", "c", "d", "e"]));
    assert_eq!(output(&admin, &core, "add", &json!("f")), json!(["a", "c", "d", "e", "f"]));
    assert_eq!(output(&admin, &core, "set", &json!(["q", "p"])), json!([["q", "p"], 2]));
    assert_eq!(output(&admin, &core, "add", &json!("r")), json!(["q", "p", "r"]));
    assert_eq!(output(&admin, &core, "delete", &Value::Null), json!(["z"]));
    assert_eq!(output(&admin, &core, "add", &json!("y")), json!(["z", "y"]));
    assert_eq!(failure(&admin, &core, "set", &json!([1]))["code"], "TYPE_MISMATCH");
    server.stop();
}

fn single_values_are_kept_whole(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let memory = json!({
        "n": {"type": "int", "default": 5}, "text": {"type": "string?"}, "state": {"type": "State"},
        "any": {"type": "json"}, "price": {"type": "money", "default": "1.10"}, "at": {"type": "datetime?"},
    });
    let core = core(
        &admin,
        &memory,
        &[
            (
                "scalars",
                json!([
                    {"kind": "memory", "op": "update", "target": "n", "value": "n => n + 1"},
                    {"kind": "memory", "op": "set", "target": "text", "value": "'é!'"},
                    {"kind": "memory", "op": "update", "target": "price", "value": "p => p + p"},
                    {"kind": "memory", "op": "set", "target": "at", "value": "datetime('2026-01-31T10:00:00Z')"},
                    {"kind": "return", "value": "[memory.n, memory.text.length, memory.text.upper(), memory.price, memory.at.year]"},
                ]),
            ),
            (
                "forget",
                json!([
                    {"kind": "memory", "op": "delete", "target": "n"},
                    {"kind": "memory", "op": "delete", "target": "text"},
                    {"kind": "return", "value": "[memory.n, memory.text ?? 'none']"},
                ]),
            ),
            (
                "object",
                json!([
                    {"kind": "memory", "op": "set", "target": "state", "value": "{step: 1, note: 'x'}"},
                    {"kind": "memory", "op": "set", "target": "state", "key": "'note'", "value": "'y'"},
                    {"kind": "memory", "op": "update", "target": "state", "key": "'step'", "value": "s => s + 1"},
                    {"kind": "memory", "op": "update", "target": "state", "value": "{tags: ['a']}"},
                    {"kind": "memory", "op": "get", "target": "state", "key": "'step'", "result_binding": "step"},
                    {"kind": "return", "value": "{step: step, state: memory.state, note: memory.state['note'], \
                        tag: memory.state.tags[0], fields: memory.state.length, list: memory.state.list(prefix = 'st')}"},
                ]),
            ),
            (
                "remove",
                json!([
                    {"kind": "memory", "op": "delete", "target": "state", "key": "'note'"},
                    {"kind": "return", "value": "memory.state"},
                ]),
            ),
            ("needed", json!([{"kind": "memory", "op": "delete", "target": "state", "key": "'step'"}])),
            (
                "any",
                json!([
                    {"kind": "memory", "op": "set", "target": "any", "value": "n"},
                    {"kind": "return", "value": "memory.any"},
                ]),
            ),
            ("part", json!([{"kind": "return", "value": "[memory.any[n], memory.any.list(limit = 1)]"}])),
        ],
    );
    assert_eq!(output(&admin, &core, "scalars", &Value::Null), json!([6, 2, "É!", "2.20", 2026]));
    assert_eq!(output(&admin, &core, "forget", &Value::Null), json!([5, "none"]));
    let object = output(&admin, &core, "object", &Value::Null);
    assert_eq!(object["state"], json!({"step": 2, "note": "y", "tags": ["a"]}), "{object:#}");
    assert_eq!((&object["step"], &object["note"], &object["tag"]), (&json!(2), &json!("y"), &json!("a")));
    assert_eq!((&object["fields"], &object["list"]), (&json!(3), &json!([{"key": "step", "value": 2}])));
    let removed = output(&admin, &core, "remove", &Value::Null);
    assert_eq!((&removed["step"], &removed["note"]), (&json!(2), &Value::Null), "{removed}");
    assert_eq!(failure(&admin, &core, "needed", &Value::Null)["code"], "TYPE_MISMATCH");
    output(&admin, &core, "any", &json!({"a": 1, "b": 2}));
    assert_eq!(output(&admin, &core, "part", &json!("b")), json!([2, [{"key": "a", "value": 1}]]));
    output(&admin, &core, "any", &json!(["x", "y"]));
    assert_eq!(output(&admin, &core, "part", &json!(1)), json!(["y", ["x"]]));
    output(&admin, &core, "any", &json!(7));
    assert_eq!(failure(&admin, &core, "part", &json!(1))["code"], "TYPE_MISMATCH");
    server.stop();
}

fn defaults_hold_until_something_is_written(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let memory = json!({
        "rates": {"type": "map[string, int]", "default": {"a": 1, "b": 2}},
        "steps": {"type": "array[string]", "default": ["one", "two"]},
    });
    let core = core(
        &admin,
        &memory,
        &[
            (
                "read",
                json!([{"kind": "return", "value": "{rates: memory.rates, b: memory.rates['b'], n: memory.rates.length, \
            steps: memory.steps, first: memory.steps[0], last: memory.steps.last(1)}"}]),
            ),
            (
                "write",
                json!([
                    {"kind": "memory", "op": "update", "target": "rates", "key": "'a'", "value": "a => a + 10"},
                    {"kind": "memory", "op": "add", "target": "steps", "value": "'three'"},
                ]),
            ),
            (
                "empty",
                json!([
                    {"kind": "memory", "op": "set", "target": "rates", "value": "{}"},
                    {"kind": "memory", "op": "set", "target": "steps", "value": "[]"},
                ]),
            ),
            (
                "delete",
                json!([
                    {"kind": "memory", "op": "delete", "target": "rates"},
                    {"kind": "memory", "op": "delete", "target": "steps"},
                ]),
            ),
        ],
    );
    let read = || output(&admin, &core, "read", &Value::Null);
    let default = json!({"rates": {"a": 1, "b": 2}, "b": 2, "n": 2, "steps": ["one", "two"], "first": "one", "last": ["two"]});
    assert_eq!(read(), default);
    output(&admin, &core, "write", &Value::Null);
    let written = read();
    assert_eq!(written["rates"], json!({"a": 11, "b": 2}));
    assert_eq!((&written["steps"], &written["first"]), (&json!(["one", "two", "three"]), &json!("one")));
    output(&admin, &core, "empty", &Value::Null);
    let empty = read();
    assert_eq!((&empty["rates"], &empty["steps"], &empty["n"]), (&json!({}), &json!([]), &json!(0)));
    output(&admin, &core, "delete", &Value::Null);
    assert_eq!(read(), default, "what is deleted holds its default again, as scalars do");
    server.stop();
}

fn what_passes_a_bound_is_refused(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let memory = json!({"m": {"type": "map[string, json]"}, "v": {"type": "json"}});
    let core = core(
        &admin,
        &memory,
        &[
            (
                "key",
                json!([
                    {"kind": "memory", "op": "set", "target": "m", "key": "'k'.repeat(n)", "value": "1"},
                    {"kind": "return", "value": "memory.m['k'.repeat(n)]"},
                ]),
            ),
            (
                "large",
                json!([{"kind": "memory", "op": "set", "target": "m", "key": "'large'", "value": "'x'.repeat(n)"}]),
            ),
            ("single", json!([{"kind": "memory", "op": "set", "target": "v", "value": "'x'.repeat(n)"}])),
            ("list", json!([{"kind": "return", "value": "memory.m.list(limit = n)"}])),
            ("caught", json!([{"kind": "return", "value": "memory.m.keys()"}])),
        ],
    );
    assert_eq!(output(&admin, &core, "key", &json!(512)), json!(1));
    let refused = failure(&admin, &core, "key", &json!(513));
    assert_eq!(refused["code"], "MEMORY_LIMIT", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("512 bytes"), "{refused}");
    output(&admin, &core, "large", &json!(1_000_000));
    for flow in ["large", "single"] {
        assert_eq!(failure(&admin, &core, flow, &json!(1_100_000))["code"], "MEMORY_LIMIT", "{flow}");
    }
    output(&admin, &core, "list", &json!(1000));
    assert_eq!(failure(&admin, &core, "list", &json!(1001))["code"], "MEMORY_LIMIT");
    assert_eq!(output(&admin, &core, "caught", &Value::Null).as_array().unwrap().len(), 2);
    server.stop();
}

fn a_variable_takes_so_many_entries_and_no_more(place: &Place) {
    let server = place.launch().set("SCAIGRID_MEMORY_ENTRIES", "5").start();
    let admin = server.admin();
    let memory = json!({"m": {"type": "map[string, int]"}, "log": {"type": "array[int]"}});
    let core = core(
        &admin,
        &memory,
        &[
            ("set", json!([{"kind": "memory", "op": "set", "target": "m", "key": "n", "value": "1"}])),
            ("add", json!([{"kind": "memory", "op": "add", "target": "log", "value": "n"}])),
            ("drop", json!([{"kind": "memory", "op": "delete", "target": "m", "key": "n"}])),
            ("sizes", json!([{"kind": "return", "value": "[memory.m.length, memory.log.length]"}])),
        ],
    );
    for number in 0..5 {
        output(&admin, &core, "set", &json!(number.to_string()));
        output(&admin, &core, "add", &json!(number));
    }
    let refused = failure(&admin, &core, "set", &json!("six"));
    assert_eq!(refused["code"], "MEMORY_LIMIT", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("at most 5 entries"), "{refused}");
    assert_eq!(failure(&admin, &core, "add", &json!(6))["code"], "MEMORY_LIMIT");
    output(&admin, &core, "set", &json!("0"));
    output(&admin, &core, "drop", &json!("0"));
    // For a second a variable that was full counts as full.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    output(&admin, &core, "set", &json!("six"));
    assert_eq!(output(&admin, &core, "sizes", &Value::Null), json!([5, 5]));
    server.stop();
}

fn long_variables_are_read_in_parts(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let memory = json!({"log": {"type": "array[int]"}, "m": {"type": "map[string, int]"}});
    let mut program = programs::program(
        "Long",
        &[
            programs::flow(
                "fill",
                &json!([]),
                &json!([
                    {"kind": "rigid", "statements": [{"kind": "let", "name": "i", "value": "0"}]},
                    {"kind": "while", "condition": "i < 10001", "max_iterations": 100_000, "body": [
                        {"kind": "rigid", "statements": [
                            {"kind": "memory", "op": "add", "target": "log", "value": "i"},
                            {"kind": "assign", "target": "i", "value": "i + 1"},
                        ]},
                    ]},
                ]),
            ),
            programs::flow(
                "parts",
                &json!([]),
                &json!([{"kind": "rigid", "statements": [
                    {"kind": "return", "value": "{n: memory.log.length, last: memory.log.last(1), at: memory.log[700], \
                        end: memory.log.get(-1), list: memory.log.list().length, \
                        found: memory.log.search('10000').map(f => [f.key, f.value])}"},
                ]}]),
            ),
            programs::flow(
                "whole",
                &json!([]),
                &json!([{"kind": "rigid", "statements": [
                    {"kind": "return", "value": "memory.log.sum()"},
                ]}]),
            ),
            programs::flow(
                "trim",
                &json!([]),
                &json!([{"kind": "rigid", "statements": [
                    {"kind": "memory", "op": "set", "target": "log", "value": "memory.log.last(3)"},
                ]}]),
            ),
        ],
    );
    program["memory"] = memory;
    let core = admin.run("Long", &program);
    let filled = admin
        .post(&format!("{}/{core}/invoke", scaigrid_tests::CORES))
        .json(&json!({"flow": "fill", "input": {}, "wait_ms": 30_000}))
        .exchange();
    assert_eq!(filled.data()["status"], "completed", "{filled}");
    place.allow_in_log("a search has not looked at all entries");
    let parts = output_of(&admin, &core, "parts");
    assert_eq!((&parts["n"], &parts["last"], &parts["at"]), (&json!(10_001), &json!([10_000]), &json!(700)));
    assert_eq!((&parts["end"], &parts["list"]), (&json!(10_000), &json!(1000)));
    assert_eq!(
        parts["found"],
        json!([[10_000, 10_000]]),
        "a search looks at the newest, and counts from the oldest"
    );
    let refused = admin.invoke(&core, "whole", &json!({}))["error"].clone();
    assert_eq!(refused["code"], "MEMORY_LIMIT", "nothing is left out silently: {refused}");
    server.stop();
}

fn output_of(client: &Client, core: &str, flow: &str) -> Value {
    let done = client.invoke(core, flow, &json!({}));
    assert_eq!(done["status"], "completed", "{done:#}");
    done["output"].clone()
}
