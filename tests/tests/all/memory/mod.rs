//! Memory that many executions share: nothing is lost, nothing counts twice, whatever happens to the server.

mod looked_at;
mod operations;
mod search;
mod together;

use std::time::Duration;

use scaigrid_tests::{CORES, Client, Place, eventually, on_both_databases, programs};
use serde_json::{Value, json};

on_both_databases!(
    many_who_count_at_once_count_right,
    a_count_that_is_killed_over_and_over_comes_out_right,
    every_operation_does_what_it_says,
);

/// Flows over a counter `total` and a map `by`: `count` adds one to both, `rounds` times; `read` gives both.
fn counting() -> Value {
    let count = programs::flow(
        "count",
        &json!([{"name": "rounds", "type": "int"}, {"name": "who", "type": "string"}]),
        &json!([
            {"kind": "rigid", "statements": [{"kind": "let", "name": "i", "value": "0"}]},
            {"kind": "while", "condition": "i < rounds", "max_iterations": 100_000, "body": [
                {"kind": "rigid", "statements": [
                    {"kind": "memory", "op": "update", "target": "total", "value": "n => (n ?? 0) + 1"},
                    {"kind": "memory", "op": "update", "target": "by", "key": "who", "value": "n => (n ?? 0) + 1"},
                    {"kind": "assign", "target": "i", "value": "i + 1"}
                ]}
            ]}
        ]),
    );
    let read = programs::flow(
        "read",
        &json!([]),
        &json!([{"kind": "rigid", "statements": [{"kind": "return", "value": "{total: memory.total, by: memory.by}"}]}]),
    );
    let mut program = programs::program("Counting", &[count, read]);
    program["memory"] = json!({"total": {"type": "int", "default": 0}, "by": {"type": "map[string, int]"}});
    program
}

fn invoke(client: &Client, core: &str, rounds: u32, who: &str, wait_ms: u32) -> Value {
    let body = json!({"flow": "count", "input": {"rounds": rounds, "who": who}, "wait_ms": wait_ms});
    let answer = client.post(&format!("{CORES}/{core}/invoke")).json(&body).exchange();
    assert!(matches!(answer.status, 200 | 202), "{answer}");
    answer.data()
}

fn all_end(client: &Client, core: &str) {
    eventually("all have ended", Duration::from_secs(40), || client.all_ended(core).then_some(()));
    let failed = client.pages(&format!("{CORES}/{core}/executions?status=failed"), "items");
    assert!(failed.is_empty(), "{failed:#?}");
}

fn many_who_count_at_once_count_right(place: &Place) {
    const CLIENTS: u32 = 8;
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Counting", &counting());
    let counters: Vec<_> = (0..CLIENTS)
        .map(|me| {
            let (client, core) = (admin.clone(), core.clone());
            std::thread::spawn(move || {
                for _ in 0..5 {
                    let ended = invoke(&client, &core, 4, &format!("client {me}"), 30_000);
                    assert_eq!(ended["status"], "completed", "{ended}");
                }
            })
        })
        .collect();
    for counter in counters {
        counter.join().unwrap();
    }
    let found = admin.invoke(&core, "read", &json!({}))["output"].clone();
    assert_eq!(found["total"], CLIENTS * 20, "{found}");
    let by = found["by"].as_object().unwrap();
    assert_eq!(by.len(), usize::try_from(CLIENTS).unwrap());
    assert!(by.values().all(|count| count == 20), "{found}");
    server.stop();
}

fn a_count_that_is_killed_over_and_over_comes_out_right(place: &Place) {
    let mut server = place.start();
    let core = server.admin().run("Counting", &counting());
    let mut expected = 0;
    for kill in 0..4 {
        let admin = server.admin();
        for one in 0..3 {
            // What was accepted counts, whether or not the server lives to tell.
            invoke(&admin, &core, 1500, &format!("{kill} {one}"), 0);
            expected += 1500;
        }
        std::thread::sleep(Duration::from_millis(60 * kill));
        server.kill();
        server = place.start();
    }
    let admin = server.admin();
    all_end(&admin, &core);
    let found = admin.invoke(&core, "read", &json!({}))["output"].clone();
    assert_eq!(found["total"], expected, "{found}");
    assert!(found["by"].as_object().unwrap().values().all(|count| count == 1500), "{found}");
    server.stop();
}

fn every_operation_does_what_it_says(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let steps = json!([
        {"kind": "memory", "op": "set", "target": "map", "key": "'a'", "value": "1"},
        {"kind": "memory", "op": "set", "target": "map", "key": "'b'", "value": "{n: 2}"},
        {"kind": "memory", "op": "set", "target": "map", "key": "'c/\\u0000x'", "value": "3"},
        {"kind": "memory", "op": "delete", "target": "map", "key": "'a'"},
        {"kind": "memory", "op": "update", "target": "map", "key": "'b'", "value": "{m: 3}"},
        {"kind": "memory", "op": "add", "target": "list", "value": "'x'"},
        {"kind": "memory", "op": "add", "target": "list", "value": "'y'"},
        {"kind": "memory", "op": "add", "target": "list", "value": "'z'"},
        {"kind": "memory", "op": "last", "target": "list", "limit": 2, "result_binding": "newest"},
        {"kind": "memory", "op": "get", "target": "map", "key": "'nothing'", "result_binding": "nothing"},
        {"kind": "return", "value": "{map: memory.map, list: memory.list, newest: newest, nothing: nothing}"}
    ]);
    let body = json!([{"kind": "rigid", "statements": steps}]);
    let mut program = programs::program("Memory", &[programs::flow("main", &json!([]), &body)]);
    program["memory"] = json!({"map": {"type": "map[string, json]"}, "list": {"type": "array[string]"}});
    let core = admin.run("Memory", &program);
    let done = admin.invoke(&core, "main", &json!({}));
    assert_eq!(done["status"], "completed", "{done}");
    let output = &done["output"];
    assert_eq!(output["map"]["b"], json!({"n": 2, "m": 3}), "{output}");
    assert_eq!(output["map"].as_object().unwrap().len(), 2, "{output}");
    assert_eq!((&output["list"], &output["newest"]), (&json!(["x", "y", "z"]), &json!(["y", "z"])));
    assert_eq!(output["nothing"], Value::Null);
    server.kill();
    let server = place.start();
    let again = server.admin().invoke(&core, "main", &json!({}))["output"].clone();
    assert_eq!(again["list"], json!(["x", "y", "z", "x", "y", "z"]), "it was kept");
    server.stop();
}
