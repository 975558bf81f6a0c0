//! What happened in executions is told afterwards, though nothing of it was stored.

use scaigrid_tests::programs::{flow, program, rigid};
use scaigrid_tests::{CORES, Place, eventually, on_both_databases, programs};
use serde_json::{Value, json};

use super::{PATIENCE, instant, talking};

on_both_databases!(
    every_block_is_told_of,
    a_long_history_is_paged_through,
    a_core_tells_how_much_it_has_to_do
);

fn kinds(events: &[Value]) -> Vec<String> {
    let told = events.iter().rev().map(|event| {
        let kind = event["type"].as_str().unwrap();
        let kind = kind.strip_prefix("scaicore.runtime.").unwrap_or(kind);
        match event["payload"]["node_id"].as_str() {
            Some(node) => format!("{kind} {node}"),
            None => kind.to_owned(),
        }
    });
    told.collect()
}

fn every_block_is_told_of(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let flows = [flow(
        "main",
        &json!([{"name": "n", "type": "int"}]),
        &json!([
            {"kind": "try", "id": "safe", "result_binding": "saved", "body": [
                rigid("divide", &json!([{"kind": "expression", "value": "1 / n"}]))
            ], "catch": [{"body": [rigid("caught", &json!([{"kind": "expression", "value": "'saved'"}]))]}]},
            rigid("tell", &json!([{"kind": "emit", "event": "done", "data": "{n: n}"}])),
            programs::checkpoint(&json!({})),
            {"kind": "rigid", "id": "big", "result_binding": "long", "statements": [
                {"kind": "expression", "value": "'x'.repeat(5000)"}]},
            rigid("end", &json!([{"kind": "return", "value": "n"}])),
        ]),
    )];
    let core = admin.run("Told", &program("Told", &flows));
    let (execution, checkpoint) = admin.invoke_to_checkpoint(&core, "main", &json!({"n": 0}));
    let path = format!("{CORES}/{core}/events/history");
    let so_far = kinds(&admin.pages(&path, "events"));
    let until_then = [
        "invocation.started",
        "block.entered safe",
        "block.entered divide",
        "block.failed divide",
        "block.entered caught",
        "block.exited caught",
        "block.exited safe",
        "block.entered tell",
    ];
    let runtime: Vec<&String> = so_far.iter().filter(|kind| *kind != "done").collect();
    assert_eq!(runtime[..8], until_then);
    assert!(so_far.contains(&"block.entered ask".to_owned()), "{so_far:?}");
    admin.resolve(&checkpoint, "go");
    let all = admin.pages(&path, "events");
    let names = kinds(&all);
    let end = [
        "block.exited ask",
        "block.entered big",
        "block.exited big",
        "block.entered end",
        "block.exited end",
        "invocation.completed",
    ];
    assert_eq!(names[names.len() - 6..], end, "{names:?}");
    assert_eq!(names.iter().filter(|name| *name == "done").count(), 1);
    for event in &all {
        assert_eq!((&event["core_id"], &event["payload"]["execution_id"]), (&json!(core), &json!(execution)));
    }
    let one = |kind: &str| {
        let found =
            admin.pages(&format!("{path}?type=scaicore.runtime.{kind}&execution_id={execution}"), "events");
        assert!(!found.is_empty(), "{kind}");
        found.into_iter().map(|event| event["payload"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(one("invocation.started")[0]["input"], json!({"n": 0}));
    let completed = &one("invocation.completed")[0];
    assert_eq!(completed["output"], 0);
    assert!(completed["duration_ms"].is_i64(), "{completed}");
    let failed = one("block.failed");
    assert_eq!((failed.len(), &failed[0]["block_kind"]), (1, &json!("rigid")));
    assert_eq!(failed[0]["error"]["block"], "divide");
    let exited = one("block.exited");
    let by_binding = |name: &str| exited.iter().find(|payload| payload["result_binding"] == name).unwrap();
    assert_eq!(by_binding("saved")["result_binding_value"], "saved");
    assert_eq!(by_binding("long")["result_binding_truncated"], true);
    // The program's own events by their own name.
    let own = admin.pages(&format!("{path}?type=done"), "events");
    assert_eq!((own.len(), &own[0]["payload"]["data"]), (1, &json!({"n": 0})));
    server.stop();
}

fn a_long_history_is_paged_through(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Talk", &talking());
    for times in [0, 40, 1] {
        admin.invoke(&core, "talk", &json!({"times": times}));
    }
    let path = format!("{CORES}/{core}/events/history");
    let all = admin.pages(&path, "events");
    let ids: std::collections::BTreeSet<&str> =
        all.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), all.len(), "no event twice");
    // `begin`, `loop` and `end`, and `say` as often as it says something; each entered and exited.
    assert_eq!(all.len(), (2 + 6) * 3 + 2 * 41);
    assert!(all.is_sorted_by(|a, b| instant(a) >= instant(b)));
    // The same by small pages.
    let mut small = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = admin.get(&format!("{path}?limit=7{cursor}")).answer(200).data();
        small.extend(page["events"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(small, all);
    server.stop();
}

fn a_core_tells_how_much_it_has_to_do(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Ask", &programs::asking(&json!({"timeout": "1h"})));
    let (_, first) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    admin.resolve(&first, "yes");
    eventually("it is counted", PATIENCE, || {
        let state = admin.get(&format!("{CORES}/{core}/state")).answer(200).data();
        let counts = &state["executions"];
        let right = counts["suspended"] == 1 && counts["completed"] == 1 && state["timers"] == 1;
        assert_eq!((&state["executions_more"], &state["last_error"]), (&json!(false), &Value::Null));
        right.then_some(())
    });
    server.stop();
}
