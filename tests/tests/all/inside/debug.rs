//! Executions stop where they are told to, stay there whatever happens, and go on step by step.

use std::time::Duration;

use scaigrid_tests::programs::{flow, program, rigid};
use scaigrid_tests::{CORES, Client, Db, Place, SCAICORE, eventually, on, on_both_databases, programs};
use serde_json::{Value, json};

use super::PATIENCE;

on_both_databases!(
    an_execution_stops_durably_and_others_go_on,
    steps_lead_over_into_and_out,
    what_waits_when_it_stops_is_not_lost,
    what_is_there_can_be_looked_into,
    the_past_is_as_it_was_and_memory_as_programs_see_it,
    breakpoints_are_kept_in_order,
);

fn set(client: &Client, core: &str, block: &str, condition: Option<&str>) -> String {
    let body = json!({"flow": "main", "block": block, "condition": condition});
    let set = client.post(&format!("{CORES}/{core}/debug/breakpoint")).json(&body).answer(201).data();
    set["id"].as_str().unwrap().to_owned()
}

fn step(client: &Client, core: &str, execution: &str, mode: &str) -> Value {
    let body = json!({"execution_id": execution, "mode": mode, "wait_ms": 30_000});
    client.post(&format!("{CORES}/{core}/debug/step")).json(&body).answer(200).data()
}

fn inspect(client: &Client, core: &str, body: &Value) -> Value {
    client.post(&format!("{CORES}/{core}/debug/inspect")).json(body).answer(200).data()
}

/// A flow of blocks that each note in `seen` that they ran, with a loop and a decision in the middle.
fn walking() -> Value {
    let note = |id: &str| {
        rigid(id, &json!([{"kind": "assign", "target": "seen", "value": format!("seen + ['{id}']")}]))
    };
    let mut walking = program(
        "Walking",
        &[flow(
            "main",
            &json!([{"name": "n", "type": "int", "default": 0}]),
            &json!([
                rigid("first", &json!([{"kind": "let", "name": "seen", "value": "['first']"}])),
                {"kind": "foreach", "id": "loop", "items": "[1, 2]", "var": "item", "body": [note("inner"), note("deeper")]},
                {"kind": "match", "id": "choice", "subject": "n", "arms": [{"pattern": 7, "body": [note("seven")]}], "else": []},
                {"kind": "debug", "id": "only", "statements": [
                    {"kind": "assign", "target": "seen", "value": "seen + ['debug']"}]},
                rigid("last", &json!([
                    {"kind": "memory", "op": "set", "target": "walked", "value": "n"},
                    {"kind": "return", "value": "seen"},
                ])),
            ]),
        )],
    );
    walking["memory"] = json!({"walked": {"type": "int", "default": 0}});
    walking
}

fn an_execution_stops_durably_and_others_go_on(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Walk", &walking());
    let breakpoint = set(&admin, &core, "last", Some("n == 7"));
    let stopped = admin.invoke(&core, "main", &json!({"n": 7}));
    assert_eq!(stopped["status"], "suspended", "{stopped}");
    let paused = &stopped["paused"];
    assert_eq!(
        (&paused["reason"], &paused["breakpoint_id"], &paused["flow"], &paused["block"]),
        (&json!("breakpoint"), &json!(breakpoint), &json!("main"), &json!("last"))
    );
    let id = stopped["id"].as_str().unwrap();
    // Where the condition does not hold, nothing stops; `debug` blocks run.
    let other = admin.invoke(&core, "main", &json!({"n": 6}));
    assert_eq!(other["output"], json!(["first", "inner", "deeper", "inner", "deeper", "debug"]));
    // It outlives the process, and goes on once.
    server.kill();
    let server = place.start();
    let admin = server.admin();
    assert_eq!(admin.execution(id)["paused"]["block"], "last");
    admin.status_becomes(&core, "running");
    let done = step(&admin, &core, id, "continue");
    assert_eq!((&done["status"], &done["paused"]), (&json!("completed"), &Value::Null), "{done}");
    assert_eq!(done["output"], json!(["first", "inner", "deeper", "inner", "deeper", "seven", "debug"]));
    let body = json!({"execution_id": id, "mode": "continue"});
    let path = format!("{CORES}/{core}/debug/step");
    admin.post(&path).json(&body).refused(409, "CONFLICT");
    // Without a breakpoint nothing stops, and `debug` blocks do not run.
    admin.delete(&format!("{CORES}/{core}/debug/breakpoint/{breakpoint}")).answer(204);
    eventually("nothing stops any more", PATIENCE, || {
        let free = admin.invoke(&core, "main", &json!({"n": 7}));
        (free["output"] == json!(["first", "inner", "deeper", "inner", "deeper", "seven"])).then_some(())
    });
    let told = admin.pages(&format!("{SCAICORE}/executions/{id}/logs"), "logs");
    assert!(
        told.iter().any(|entry| entry["message"] == "stands still before block last, after a breakpoint"),
        "{told:?}"
    );
    for action in ["breakpoint.create", "execution.step", "breakpoint.delete"] {
        let records = admin.get(&format!("/v1/audit/events?action={action}")).answer(200).json();
        assert_eq!(records["data"]["items"].as_array().unwrap().len(), 1, "{action}");
    }
    server.stop();
}

fn steps_lead_over_into_and_out(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Walk", &walking());
    set(&admin, &core, "first", None);
    let begin = || admin.invoke(&core, "main", &json!({"n": 7}))["id"].as_str().unwrap().to_owned();
    let walk = |modes: &[(&str, &str)]| {
        let id = begin();
        for (mode, block) in modes {
            let stands = step(&admin, &core, &id, mode);
            assert_eq!(stands["paused"]["block"], *block, "{mode}: {stands}");
            assert_eq!(stands["paused"]["reason"], "step");
        }
        let done = step(&admin, &core, &id, "continue");
        assert_eq!(done["status"], "completed", "{done}");
    };
    walk(&[("over", "loop"), ("over", "choice"), ("over", "only"), ("over", "last")]);
    walk(&[("into", "loop"), ("into", "inner"), ("into", "deeper"), ("into", "inner"), ("out", "choice")]);
    walk(&[
        ("over", "loop"),
        ("into", "inner"),
        ("over", "deeper"),
        ("over", "inner"),
        ("over", "deeper"),
        ("over", "choice"),
        ("into", "seven"),
        ("over", "only"),
    ]);
    let id = begin();
    assert_eq!(step(&admin, &core, &id, "out")["status"], "completed", "there is nothing further out");
    let body = json!({"execution_id": id, "mode": "sideways"});
    let refused =
        admin.post(&format!("{CORES}/{core}/debug/step")).json(&body).refused(422, "VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["mode"]);
    server.stop();
}

fn what_waits_when_it_stops_is_not_lost(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    // One branch asks a person, the other one stops.
    let branches = program(
        "Branches",
        &[flow(
            "main",
            &json!([]),
            &json!([
                {"kind": "parallel", "id": "both", "result_binding": "all", "branches": [
                    {"name": "asks", "body": [programs::checkpoint(&json!({}))]},
                    {"name": "stops", "body": [
                        rigid("one", &json!([{"kind": "expression", "value": "1"}])),
                        rigid("two", &json!([{"kind": "expression", "value": "2"}]))]},
                ]},
                rigid("end", &json!([{"kind": "return", "value": "{asks: all.asks.decision, stops: all.stops}"}])),
            ]),
        )],
    );
    let core = admin.run("Branches", &branches);
    set(&admin, &core, "two", None);
    let stopped = admin.invoke(&core, "main", &json!({}));
    assert_eq!(
        (&stopped["status"], &stopped["paused"]["block"]),
        (&json!("suspended"), &json!("two")),
        "{stopped}"
    );
    let id = stopped["id"].as_str().unwrap();
    let checkpoint = stopped["checkpoints"][0].as_str().unwrap();
    // The person answers; it stands still all the same.
    assert_eq!(admin.resolve(checkpoint, "yes")["status"], "resolved");
    eventually("it stands still again", PATIENCE, || {
        let shown = admin.execution(id);
        assert_eq!(shown["paused"]["block"], "two", "{shown}");
        (shown["status"] == "suspended").then_some(())
    });
    let done = step(&admin, &core, id, "continue");
    assert_eq!(done["output"], json!({"asks": "yes", "stops": 2}), "{done}");
    // One that stands still can be cancelled.
    let stopped = admin.invoke(&core, "main", &json!({}));
    let id = stopped["id"].as_str().unwrap();
    admin.post(&format!("{SCAICORE}/executions/{id}/cancel")).exchange();
    assert_eq!(admin.execution_becomes(id, "cancelled")["paused"], Value::Null);
    server.stop();
}

fn what_is_there_can_be_looked_into(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let hosted = json!({"name": "Walk", "source": walking(),
        "environment": {"TOKEN": {"type": "secret", "value": "hush-hush"}}});
    let core = admin.post(CORES).json(&hosted).answer(201).data()["id"].as_str().unwrap().to_owned();
    admin.act(&core, "start");
    admin.status_becomes(&core, "running");
    admin.invoke(&core, "main", &json!({"n": 41}));
    set(&admin, &core, "deeper", Some("item == 2"));
    let id = admin.invoke(&core, "main", &json!({"n": 7}))["id"].as_str().unwrap().to_owned();
    let look =
        |expression: &str| inspect(&admin, &core, &json!({"execution_id": id, "expression": expression}));
    let seen = look("item + n + memory.walked");
    assert_eq!(seen["value"], 2 + 7 + 41, "{seen}");
    assert_eq!(seen["variables"]["seen"], json!(["first", "inner", "deeper", "inner"]));
    assert_eq!(seen["memory"], json!({"walked": 41}));
    let blocks: Vec<&str> = seen["frames"][0]["frames"]
        .as_array()
        .unwrap()
        .iter()
        .map(|frame| frame["block"].as_str().unwrap())
        .collect();
    assert_eq!(blocks, ["deeper", "loop"]);
    assert_eq!(seen["frames"][0]["frames"][0]["iteration"], 1);
    // Secrets are seen nowhere, and nothing is changed.
    assert_eq!(look("'say hush-hush'")["value"], "say ***");
    assert_eq!(look("1 / 0")["error"]["code"], "DIVISION_BY_ZERO");
    assert_eq!(look("now()")["error"]["code"], "NOT_RECORDED");
    assert_eq!(look("nobody")["error"]["code"], "UNKNOWN_NAME");
    let past = inspect(&admin, &core, &json!({"execution_id": id, "at": 0, "expression": "n"}));
    assert_eq!((&past["at"], &past["value"]), (&json!(0), &json!(7)));
    for (body, field) in [
        (json!({"execution_id": id, "expression": "1 +"}), "expression"),
        (json!({"execution_id": id, "at": 99}), "at"),
        (json!({"execution_id": "x"}), "execution_id"),
    ] {
        let refused =
            admin.post(&format!("{CORES}/{core}/debug/inspect")).json(&body).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), [field]);
    }
    // Through another Core it is not there.
    let other = admin.run("Other", &walking());
    let body = json!({"execution_id": id});
    admin.post(&format!("{CORES}/{other}/debug/inspect")).json(&body).refused(404, "EXECUTION_NOT_FOUND");
    assert_eq!(admin.execution(&id)["paused"]["block"], "deeper");
    server.stop();
}

fn the_past_is_as_it_was_and_memory_as_programs_see_it(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let add = |value: &str| json!({"kind": "memory", "op": "add", "target": "log", "value": value});
    let mut program = program(
        "Past",
        &[flow(
            "main",
            &json!([]),
            &json!([
                rigid(
                    "notes",
                    &json!([
                        add("'a'"),
                        add("'b'"),
                        {"kind": "memory", "op": "set", "target": "by", "key": "'x'", "value": "1"},
                    ])
                ),
                programs::checkpoint(&json!({})),
                rigid("end", &json!([add("'c'"), {"kind": "return", "value": "memory.log"}])),
            ]),
        )],
    );
    program["memory"] = json!({
        "log": {"type": "array[string]"}, "by": {"type": "map[string, int]"}, "total": {"type": "int", "default": 7},
        "known": {"type": "array[int]", "default": [1, 2]}, "none": {"type": "string?"},
    });
    let core = admin.run("Past", &program);
    let (id, checkpoint) = admin.invoke_to_checkpoint(&core, "main", &json!({}));
    let waits = inspect(&admin, &core, &json!({"execution_id": id}));
    assert_eq!(waits["status"], "suspended", "{waits}");
    let memory = json!({"log": ["a", "b"], "by": {"x": 1}, "total": 7, "known": [1, 2], "none": null});
    assert_eq!(waits["memory"], memory);
    admin.resolve(&checkpoint, "yes");
    assert_eq!(admin.execution_becomes(&id, "completed")["output"], json!(["a", "b", "c"]));
    let now = inspect(&admin, &core, &json!({"execution_id": id}));
    assert_eq!((&now["status"], &now["memory"]["log"]), (&json!("completed"), &json!(["a", "b", "c"])));
    let (waited, last) = (waits["at"].as_i64().unwrap(), now["at"].as_i64().unwrap());
    assert!(0 < waited && waited < last, "{waited} {last}");
    for at in 0..=last {
        let seen = inspect(&admin, &core, &json!({"execution_id": id, "at": at}));
        let expected = match at {
            // After the entry before it asks by itself.
            at if at == waited || at == waited - 1 => "suspended",
            at if at == last => "completed",
            _ => "running",
        };
        assert_eq!(seen["status"], expected, "{at}: {seen}");
        let state = admin.get(&format!("{SCAICORE}/executions/{id}/state?at={at}")).answer(200).data();
        assert_eq!((&state["status"], &state["frames"]), (&seen["status"], &seen["frames"]));
    }
    let seen = inspect(&admin, &core, &json!({"execution_id": id, "at": waited}));
    assert_eq!(seen["frames"][0]["frames"][0]["block"], "ask", "{seen}");
    server.stop();
}

fn breakpoints_are_kept_in_order(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Walk", &walking());
    let path = format!("{CORES}/{core}/debug/breakpoint");
    let off = json!({"flow": "main", "block": "last", "enabled": false});
    let set = admin.post(&path).json(&off).answer(201);
    assert_eq!(set.header("location").unwrap(), format!("{path}/{}", set.data()["id"].as_str().unwrap()));
    assert_eq!(
        admin.invoke(&core, "main", &json!({}))["status"],
        "completed",
        "one that does not count stops nothing"
    );
    for (body, fields) in [
        (json!({"flow": "nothing", "block": "last"}), vec!["flow"]),
        (json!({"flow": "main", "block": "nothing"}), vec!["block"]),
        (json!({"flow": "main", "block": "nothing", "condition": "n >"}), vec!["block", "condition"]),
        (json!({"flow": "main", "block": "last", "condition": "now() > x"}), vec!["condition"]),
        (json!({"flow": "main", "block": "last", "condition": "memory.walked > 1"}), vec!["condition"]),
        (json!({"flow": "main"}), vec!["block"]),
    ] {
        assert_eq!(admin.post(&path).json(&body).refused(422, "VALIDATION_ERROR").fields(), fields, "{body}");
    }
    // What no execution could know there is refused by the rule that the program's own conditions are under.
    for (block, condition, rule) in [
        ("last", "nobody > 1", "E200"),
        ("first", "seen.length > 1", "E200"),
        ("last", "item == 2", "E200"),
        ("last", "config.nothing", "E204"),
        ("last", "absent(n)", "E207"),
        ("last", "n", "E300"),
    ] {
        let body = json!({"flow": "main", "block": block, "condition": condition});
        let refused = admin.post(&path).json(&body).refused(422, "VALIDATION_ERROR");
        let details = &refused.json()["error"]["details"];
        assert_eq!(details[0]["field"], "condition", "{refused}");
        let message = details[0]["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("{rule}: ")), "{condition}: {message}");
    }
    let known = json!({"flow": "main", "block": "deeper", "condition": "item == 2 && seen.length > n && input.n == 0", "enabled": false});
    let known = admin.post(&path).json(&known).answer(201).data();
    admin.delete(&format!("{path}/{}", known["id"].as_str().unwrap())).answer(204);
    for _ in 0..3 {
        admin.post(&path).json(&off).answer(201);
    }
    let all = admin.pages(&path, "items");
    assert_eq!(all.len(), 4);
    assert_eq!(
        (&all[0]["block"], &all[0]["enabled"], &all[0]["condition"]),
        (&json!("last"), &json!(false), &Value::Null)
    );
    let first = format!("{path}/{}", all[0]["id"].as_str().unwrap());
    admin.delete(&first).answer(204);
    admin.delete(&first).refused(404, "BREAKPOINT_NOT_FOUND");
    assert_eq!(admin.pages(&path, "items"), all[1..]);
    server.stop();
}

/// What is set on one node counts on the other, which goes on with what the first one has stopped.
#[test]
fn any_node_stops_and_goes_on() {
    on(Db::Postgres, |place| {
        let first = place.start();
        let second = place.further_node("second").start();
        let (one, two) = (first.admin(), second.admin());
        let core = one.run("Walk", &walking());
        set(&one, &core, "last", None);
        let stopped = eventually("it stops on the other node", PATIENCE, || {
            let body = json!({"flow": "main", "input": {"n": 1}, "wait_ms": 20_000});
            let answer = two.post(&format!("{CORES}/{core}/invoke")).json(&body).exchange();
            let data = (answer.status == 202).then(|| answer.data())?;
            (data["paused"]["block"] == "last").then_some(data)
        });
        let id = stopped["id"].as_str().unwrap();
        second.kill();
        let done = step(&one, &core, id, "over");
        assert_eq!(done["status"], "completed", "{done}");
        std::thread::sleep(Duration::from_millis(1));
        first.stop();
    });
}
