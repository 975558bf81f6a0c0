//! Several who write at once: nothing that was computed from what was there is lost.

use std::time::Duration;

use scaigrid_tests::{CORES, Client, Place, eventually, on_both_databases, programs};
use serde_json::{Value, json};

use super::operations::{core, output};

on_both_databases!(
    changes_of_the_whole_are_not_lost,
    of_two_who_replace_the_whole_one_is_last,
    a_change_that_takes_long_is_one_step,
    the_first_write_over_a_default_is_one_step,
    changes_of_the_whole_survive_kills,
);

/// Runs a flow from several clients at once, each several times with its own number.
fn at_once(client: &Client, core: &str, flow: &str, clients: u32, times: u32) -> Vec<Value> {
    let running: Vec<_> = (0..clients)
        .map(|me| {
            let (client, core, flow) = (client.clone(), core.to_owned(), flow.to_owned());
            std::thread::spawn(move || {
                (0..times).map(|_| output(&client, &core, &flow, &json!(me.to_string()))).collect::<Vec<_>>()
            })
        })
        .collect();
    running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
}

fn changes_of_the_whole_are_not_lost(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let memory = json!({"by": {"type": "map[string, int]"}, "log": {"type": "array[string]"}});
    let core = core(
        &admin,
        &memory,
        &[
            (
                "change",
                json!([
                    {"kind": "memory", "op": "update", "target": "by", "value": "m => m.set(n, m.get(n, 0) + 1).set('all', m.get('all', 0) + 1)"},
                    {"kind": "memory", "op": "update", "target": "log", "value": "xs => xs.append(n)"},
                    {"kind": "memory", "op": "add", "target": "log", "value": "'+' + n"},
                ]),
            ),
            ("read", json!([{"kind": "return", "value": "{by: memory.by, log: memory.log}"}])),
        ],
    );
    at_once(&admin, &core, "change", 5, 4);
    let read = output(&admin, &core, "read", &Value::Null);
    assert_eq!(read["by"], json!({"0": 4, "1": 4, "2": 4, "3": 4, "4": 4, "all": 20}), "{read}");
    let log = read["log"].as_array().unwrap();
    for me in 0..5 {
        for word in [me.to_string(), format!("+{me}")] {
            assert_eq!(log.iter().filter(|found| **found == *word).count(), 4, "{word} in {log:?}");
        }
    }
    server.stop();
}

fn of_two_who_replace_the_whole_one_is_last(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let memory = json!({"m": {"type": "map[string, string]"}, "l": {"type": "array[string]"}});
    let core = core(
        &admin,
        &memory,
        &[
            (
                "replace",
                json!([
                    {"kind": "memory", "op": "set", "target": "m", "value": "{}.set(n + 'a', n).set(n + 'b', n)"},
                    {"kind": "memory", "op": "set", "target": "l", "value": "[n, n]"},
                ]),
            ),
            ("read", json!([{"kind": "return", "value": "{m: memory.m, l: memory.l}"}])),
        ],
    );
    for _ in 0..5 {
        at_once(&admin, &core, "replace", 4, 2);
        let read = output(&admin, &core, "read", &Value::Null);
        let last = read["l"][0].as_str().unwrap();
        assert_eq!(read["l"], json!([last, last]), "not a mixture: {read}");
        assert_eq!(read["m"], json!({format!("{last}a"): last, format!("{last}b"): last}), "{read}");
    }
    server.stop();
}

fn a_change_that_takes_long_is_one_step(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let memory = json!({"n": {"type": "int", "default": 0}});
    let core = core(
        &admin,
        &memory,
        &[
            // Many questions take longer than what was done stays unseen otherwise.
            (
                "count",
                json!([
                    {"kind": "memory", "op": "update", "target": "n", "value": "n => n + (range(500).map(x => now()).length - 499)"},
                    {"kind": "return", "value": "memory.n"},
                ]),
            ),
            ("read", json!([{"kind": "return", "value": "memory.n"}])),
        ],
    );
    at_once(&admin, &core, "count", 4, 3);
    assert_eq!(output(&admin, &core, "read", &Value::Null), 12);
    server.stop();
}

fn the_first_write_over_a_default_is_one_step(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let memory = json!({
        "m": {"type": "map[string, int]", "default": {"all": 100}}, "l": {"type": "array[string]", "default": ["first"]},
    });
    let core = core(
        &admin,
        &memory,
        &[
            (
                "change",
                json!([
                    {"kind": "memory", "op": "update", "target": "m", "key": "'all'", "value": "v => v + 1"},
                    {"kind": "memory", "op": "add", "target": "l", "value": "n"},
                ]),
            ),
            (
                "reset",
                json!([
                    {"kind": "memory", "op": "delete", "target": "m"},
                    {"kind": "memory", "op": "delete", "target": "l"},
                ]),
            ),
            ("read", json!([{"kind": "return", "value": "[memory.m, memory.l.length, memory.l[0]]"}])),
        ],
    );
    for _ in 0..3 {
        at_once(&admin, &core, "change", 5, 1);
        assert_eq!(output(&admin, &core, "read", &Value::Null), json!([{"all": 105}, 6, "first"]));
        output(&admin, &core, "reset", &Value::Null);
        assert_eq!(output(&admin, &core, "read", &Value::Null), json!([{"all": 100}, 1, "first"]));
    }
    server.stop();
}

fn changes_of_the_whole_survive_kills(place: &Place) {
    const ROUNDS: u64 = 400;
    const ACCEPTED: Duration = Duration::from_secs(45);
    let mut server = place.start();
    let body = json!([
        {"kind": "rigid", "statements": [{"kind": "let", "name": "i", "value": "0"}]},
        {"kind": "while", "condition": "i < rounds", "max_iterations": 100_000, "body": [
            {"kind": "rigid", "statements": [
                {"kind": "memory", "op": "update", "target": "m", "value": "m => {up: m.get('up', 0) + 1, down: m.get('down', 0) - 1}"},
                {"kind": "memory", "op": "add", "target": "log", "value": "i"},
                {"kind": "assign", "target": "i", "value": "i + 1"},
            ]},
        ]},
    ]);
    let read = json!([{"kind": "rigid", "statements": [{"kind": "return", "value": "{m: memory.m, log: memory.log.length}"}]}]);
    let mut program = programs::program(
        "Whole",
        &[
            programs::flow("change", &json!([{"name": "rounds", "type": "int"}]), &body),
            programs::flow("read", &json!([]), &read),
        ],
    );
    program["memory"] = json!({"m": {"type": "map[string, int]"}, "log": {"type": "array[int]"}});
    let core = server.admin().run("Whole", &program);
    let mut accepted = 0;
    for kill in 0..3 {
        for _ in 0..2 {
            let body = json!({"flow": "change", "input": {"rounds": ROUNDS}, "wait_ms": 0});
            let admin = server.admin();
            eventually("a flow is accepted", ACCEPTED, || {
                let answer = admin.post(&format!("{CORES}/{core}/invoke")).json(&body).send().unwrap();
                // The others change the same; what is not accepted has done nothing.
                (answer.status != 503).then(|| assert_eq!(answer.status, 202, "{answer}"))
            });
            accepted += ROUNDS;
        }
        std::thread::sleep(Duration::from_millis(80 * kill));
        server.kill();
        server = place.start();
    }
    let admin = server.admin();
    super::all_end(&admin, &core);
    let found = admin.invoke(&core, "read", &json!({}))["output"].clone();
    let counted = i64::try_from(accepted).unwrap();
    assert_eq!(found, json!({"m": {"up": counted, "down": -counted}, "log": counted}));
    server.stop();
}
