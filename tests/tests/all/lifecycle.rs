//! The life of a Core: the whole table of transitions, versions, and what a stop, a pause and a deletion mean to what runs.

use std::time::Duration;

use scaigrid_tests::{CORES, Client, Place, SCAICORE, eventually, on_both_databases, programs};
use serde_json::{Value, json};

on_both_databases!(
    every_action_is_legal_where_the_table_says,
    a_broken_program_does_not_start_until_it_is_mended,
    a_paused_core_holds_what_was_decided_meanwhile,
    a_stop_waits_for_what_runs_and_not_for_people,
    a_forced_stop_cancels_what_runs,
    every_program_is_kept_and_can_be_had_back,
    a_change_on_top_of_another_one_is_refused,
    a_core_is_shown_as_it_is_and_only_at_home,
    secrets_are_written_and_never_read,
    the_environment_gives_the_configuration_as_it_is_typed,
    limits_that_nobody_understands_are_refused,
    what_is_deleted_leaves_nothing_but_its_record,
    whoever_waits_for_what_is_deleted_is_told,
    a_cancelled_execution_ends_and_asks_nobody,
);

const ACTIONS: [&str; 5] = ["start", "stop", "restart", "pause", "resume"];

/// A Core in a status, made for the purpose.
fn core_that_is(admin: &Client, status: &str, name: &str) -> String {
    match status {
        "created" => admin.host(name, &programs::echo(1)),
        "configuring" => {
            let made = admin.post(CORES).json(&json!({"name": name})).answer(201).data();
            made["id"].as_str().unwrap().to_owned()
        }
        "error" => {
            let core = admin.host(name, &programs::broken());
            admin.post(&format!("{CORES}/{core}/start")).refused(422, "INVALID_SOURCE_IR");
            core
        }
        "running" => admin.run(name, &programs::echo(1)),
        "paused" => {
            let core = admin.run(name, &programs::echo(1));
            admin.act(&core, "pause");
            core
        }
        "stopped" => {
            let core = admin.run(name, &programs::echo(1));
            admin.act(&core, "stop");
            admin.status_becomes(&core, "stopped");
            core
        }
        "stopping" => {
            let core = admin.run(name, &programs::spinning());
            spin(admin, &core, 30_000);
            assert_eq!(admin.act(&core, "stop"), "stopping");
            core
        }
        other => panic!("no way is known to {other}"),
    }
}

/// Starts an execution that runs for a good while.
fn spin(admin: &Client, core: &str, rounds: u32) -> String {
    let body = json!({"flow": "spin", "input": {"rounds": rounds}});
    let execution = admin.post(&format!("{CORES}/{core}/invoke")).json(&body).answer(202).data();
    execution["id"].as_str().unwrap().to_owned()
}

fn every_action_is_legal_where_the_table_says(place: &Place) {
    // As the module's reference prints it.
    let table: [(&str, &[&str]); 5] = [
        ("start", &["created", "configuring", "stopped", "error"]),
        ("stop", &["running"]),
        ("restart", &["created", "configuring", "stopped", "error", "running", "paused", "stopping"]),
        ("pause", &["running"]),
        ("resume", &["paused"]),
    ];
    let server = place.start();
    let admin = server.admin();
    for status in ["created", "configuring", "error", "running", "paused", "stopped", "stopping"] {
        let legal: Vec<&str> =
            table.iter().filter(|(_, from)| from.contains(&status)).map(|(action, _)| *action).collect();
        for action in ACTIONS {
            let core = core_that_is(&admin, status, &format!("{status} {action}"));
            let answer = admin.post(&format!("{CORES}/{core}/{action}")).exchange();
            if !legal.contains(&action) {
                assert_eq!(
                    (answer.status, answer.code().as_str()),
                    (409, "INVALID_CORE_TRANSITION"),
                    "{answer}"
                );
                let body = answer.json();
                let said = body["error"].to_string();
                assert!(said.contains(status), "the status is not told: {said}");
                for action in &legal {
                    assert!(body["error"]["details"].to_string().contains(action), "{action}: {said}");
                }
                assert_eq!(admin.status(&core), status, "a refused action changes nothing");
            } else if matches!(status, "configuring" | "error") {
                assert_eq!((answer.status, answer.code().as_str()), (422, "INVALID_SOURCE_IR"), "{answer}");
                assert_eq!(admin.status(&core), "error");
            } else {
                assert_eq!(answer.status, 200, "{answer}");
                let becomes = match action {
                    "stop" => "stopped",
                    "pause" => "paused",
                    _ => "running",
                };
                admin.status_becomes(&core, becomes);
            }
            admin.delete(&format!("{CORES}/{core}?force=true")).answer(204);
        }
    }
    server.stop();
}

fn a_broken_program_does_not_start_until_it_is_mended(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let made = admin.post(CORES).json(&json!({"name": "B", "source": programs::broken()})).answer(201).data();
    assert_eq!(made["diagnostics"][0]["severity"], "error", "{made}");
    let core = made["id"].as_str().unwrap();
    let refusal = admin.post(&format!("{CORES}/{core}/start")).refused(422, "INVALID_SOURCE_IR").json();
    assert!(!refusal["error"]["details"].as_array().unwrap().is_empty(), "{refusal}");
    let shown = admin.get(&format!("{CORES}/{core}")).answer(200).data();
    assert_eq!(shown["status"], "error");
    assert_eq!(shown["last_error"]["code"], "INVALID_SOURCE_IR");
    let body = json!({"flow": "main", "input": {}});
    admin.post(&format!("{CORES}/{core}/invoke")).json(&body).refused(409, "CORE_NOT_RUNNING");

    let mended =
        admin.put(&format!("{CORES}/{core}"), &json!({"source": programs::echo(1)})).answer(200).data();
    assert_eq!((&mended["diagnostics"], &mended["source_version"]), (&json!([]), &json!(2)));
    admin.act(core, "start");
    admin.status_becomes(core, "running");
    assert_eq!(admin.get(&format!("{CORES}/{core}")).answer(200).data()["last_error"], Value::Null);
    let said = |value: i64| admin.invoke(core, "echo", &json!({"value": value}))["output"].clone();
    assert_eq!(said(7), json!({"version": 1, "value": 7}));
    // One that runs keeps what it runs, whichever way a broken program comes.
    let path = format!("{CORES}/{core}");
    let refused = admin.put(&path, &json!({"source": programs::broken()})).refused(422, "INVALID_SOURCE_IR");
    assert!(!refused.json()["error"]["details"].as_array().unwrap().is_empty(), "{refused}");
    admin.post(&format!("{path}/rollback")).json(&json!({"version": 1})).refused(422, "INVALID_SOURCE_IR");
    // What only a start finds out counts, too: a schedule that never comes, and a vote of more than may vote.
    let mut never = programs::echo(1);
    never["triggers"] =
        json!([{"kind": "schedule", "name": "never", "cron": "61 * * * *", "target_flow": "echo"}]);
    let all = programs::asking(&json!({"required_approvals": 101}));
    for unfit in [never, all] {
        let refused = admin.put(&path, &json!({"source": unfit})).refused(422, "INVALID_SOURCE_IR");
        assert_eq!(refused.json()["error"]["details"].as_array().unwrap().len(), 1, "{refused}");
    }
    assert_eq!(admin.get(&path).answer(200).data()["source_version"], 2);
    assert_eq!(said(8), json!({"version": 1, "value": 8}));
    admin.act(core, "stop");
    admin.status_becomes(core, "stopped");
    let kept = admin.put(&path, &json!({"source": programs::broken()})).answer(200).data();
    assert_eq!(kept["diagnostics"][0]["severity"], "error", "{kept}");
    server.stop();
}

fn a_paused_core_holds_what_was_decided_meanwhile(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Asking", &programs::asking(&json!({"options": ["yes", "no"]})));
    let (execution, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    assert_eq!(admin.act(&core, "pause"), "paused");

    let path = format!("{SCAICORE}/checkpoints/{checkpoint}/resolve");
    let decided = admin.post(&path).json(&json!({"decision": "yes", "wait_ms": 300})).answer(200).data();
    assert_eq!(decided["status"], "resolved");
    assert_ne!(decided["execution"]["status"], "completed", "it is paused");
    let body = json!({"flow": "ask", "input": {}});
    admin.post(&format!("{CORES}/{core}/invoke")).json(&body).refused(409, "CORE_NOT_RUNNING");

    // Not even a new server lets it go on.
    server.kill();
    let server = place.start();
    let admin = server.admin();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(admin.status(&core), "paused");
    assert_ne!(admin.execution(&execution)["status"], "completed");
    assert_eq!(admin.act(&core, "resume"), "running");
    let done = admin.execution_becomes(&execution, "completed");
    assert_eq!(done["output"]["decision"], "yes");
    server.stop();
}

fn a_stop_waits_for_what_runs_and_not_for_people(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let mut program = programs::spinning();
    let ask = programs::asking(&json!({}))["flows"][0].clone();
    program["flows"].as_array_mut().unwrap().push(ask);
    let core = admin.run("Both", &program);
    let (waiting, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let running = spin(&admin, &core, 40_000);
    assert_eq!(admin.act(&core, "stop"), "stopping");
    let body = json!({"flow": "ask", "input": {}});
    admin.post(&format!("{CORES}/{core}/invoke")).json(&body).refused(409, "CORE_NOT_RUNNING");
    let ended = eventually("the Core stops", Duration::from_mins(1), || {
        (admin.status(&core) == "stopped").then(|| admin.execution(&running))
    });
    assert_eq!((&ended["status"], &ended["output"]), (&json!("completed"), &json!(40_000)));
    // Each of the two moves has its record: that of the caller, and that of the platform.
    let records = admin.pages(&format!("/v1/audit/events?action=core.stop&resource_id={core}"), "items");
    let moves: Vec<_> =
        records.iter().map(|record| (&record["actor_type"], &record["changes"]["status"])).collect();
    let (by_itself, by_admin) = (json!("system"), records[1]["actor_type"].clone());
    let to = |before: &str, after: &str| json!({"before": before, "after": after});
    let (second, first) = (to("stopping", "stopped"), to("running", "stopping"));
    assert_eq!(moves, [(&by_itself, &second), (&by_admin, &first)]);
    assert_ne!(by_admin, by_itself);
    assert_eq!(records[0]["partner_id"], records[1]["partner_id"]);

    // A decision that is made while it is stopped is kept, and counts after the next start.
    assert_eq!(admin.execution(&waiting)["status"], "suspended");
    let path = format!("{SCAICORE}/checkpoints/{checkpoint}/resolve");
    admin.post(&path).json(&json!({"decision": "fine", "wait_ms": 200})).answer(200);
    assert_ne!(admin.execution(&waiting)["status"], "completed", "it is stopped");
    admin.act(&core, "start");
    assert_eq!(admin.execution_becomes(&waiting, "completed")["output"]["decision"], "fine");
    server.stop();
}

fn a_forced_stop_cancels_what_runs(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Spinning", &programs::spinning());
    let running = spin(&admin, &core, 100_000);
    admin.post(&format!("{CORES}/{core}/stop?force=maybe")).refused(422, "VALIDATION_ERROR");
    admin.post(&format!("{CORES}/{core}/stop?force=true")).answer(200);
    admin.status_becomes(&core, "stopped");
    assert_eq!(admin.execution_becomes(&running, "cancelled")["output"], Value::Null);
    server.stop();
}

fn every_program_is_kept_and_can_be_had_back(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let asks = |version: i64| {
        let mut program = programs::asking(&json!({}));
        program["flows"][0]["body"][1]["statements"][0]["value"] = json!(version.to_string());
        program
    };
    let core = admin.run("Versions", &asks(1));
    let (_, old) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let path = format!("{CORES}/{core}");
    let changed = admin.put(&path, &json!({"source": asks(2)})).answer(200).data();
    assert_eq!((&changed["source_version"], &changed["status"]), (&json!(2), &json!("running")));
    let same = admin.put(&path, &json!({"source": asks(2), "name": "Versions"})).answer(200).data();
    assert_eq!(same["source_version"], 2, "the same program is no new version");

    let (execution, new) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    assert_eq!(admin.execution(&execution)["source_version"], 2);
    assert_eq!(admin.resolve(&new, "ok")["execution"]["output"], 2);
    let went_on = admin.resolve(&old, "ok");
    assert_eq!(went_on["execution"]["output"], 1, "it stays on the program that it began with");
    assert_eq!(went_on["execution"]["source_version"], 1);

    let versions = admin.pages(&format!("{path}/versions"), "items");
    let numbers: Vec<i64> = versions.iter().map(|version| version["version"].as_i64().unwrap()).collect();
    assert_eq!(numbers, [2, 1]);
    assert_eq!(admin.get(&format!("{path}/versions/1")).answer(200).data()["source"], asks(1));
    admin.get(&format!("{path}/versions/3")).refused(404, "CORE_VERSION_NOT_FOUND");
    admin
        .post(&format!("{path}/rollback"))
        .json(&json!({"version": 9}))
        .refused(404, "CORE_VERSION_NOT_FOUND");
    let back = admin.post(&format!("{path}/rollback")).json(&json!({"version": 1})).answer(200).data();
    assert_eq!((&back["source_version"], &back["source"]), (&json!(3), &asks(1)));
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    assert_eq!(admin.resolve(&checkpoint, "ok")["execution"]["output"], 1);
    server.stop();
}

fn a_change_on_top_of_another_one_is_refused(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.host("Etag", &programs::echo(1));
    let path = format!("{CORES}/{core}");
    let first = admin.get(&path).answer(200).header("etag").unwrap().to_owned();
    let body = json!({"metadata": {"a": 1}});
    let changed = admin.put(&path, &body).header("If-Match", &first).answer(200);
    let second = changed.header("etag").unwrap().to_owned();
    assert_ne!(first, second);
    assert_eq!(admin.get(&path).answer(200).header("etag"), Some(second.as_str()));
    let late = json!({"metadata": {"a": 2}});
    admin.put(&path, &late).header("If-Match", &first).refused(412, "PRECONDITION_FAILED");
    admin.delete(&path).header("If-Match", &first).refused(412, "PRECONDITION_FAILED");
    assert_eq!(admin.get(&path).answer(200).data()["metadata"], json!({"a": 1}));
    admin.put(&path, &late).header("If-Match", &format!("{first}, {second}")).answer(200);
    admin.put(&path, &late).header("If-Match", "*").answer(200);

    // Of many who change the same thing at once exactly one wins.
    let tag = admin.get(&path).answer(200).header("etag").unwrap().to_owned();
    let rivals: Vec<_> = (0..8)
        .map(|me| {
            let body = json!({"metadata": {"winner": me}});
            let request = admin.put(&path, &body).header("If-Match", &tag);
            std::thread::spawn(move || (me, request.exchange().status))
        })
        .collect();
    let outcomes: Vec<(i32, u16)> = rivals.into_iter().map(|rival| rival.join().unwrap()).collect();
    let winners: Vec<i32> = outcomes.iter().filter(|(_, status)| *status == 200).map(|(me, _)| *me).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert!(outcomes.iter().all(|(_, status)| matches!(status, 200 | 412)), "{outcomes:?}");
    assert_eq!(admin.get(&path).answer(200).data()["metadata"], json!({"winner": winners[0]}));

    for field in ["slug", "tenant_id", "id", "identity_mode"] {
        let refusal = admin.put(&path, &json!({field: "x"})).refused(422, "VALIDATION_ERROR");
        assert_eq!(refusal.fields(), [field]);
    }
    server.stop();
}

fn a_core_is_shown_as_it_is_and_only_at_home(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.host("Before", &programs::echo(1));
    let path = format!("{CORES}/{core}");
    let tag = |answer: &scaigrid_tests::Answer| answer.header("etag").unwrap().to_owned();
    let first = admin.get(&path).answer(200);
    assert_eq!(first.data()["source"]["flows"].as_array().map(Vec::len), Some(1));
    // Again and again the same, but for the request's id; and not at all for those who have it.
    let again = admin.get(&path).answer(200);
    assert_eq!((again.data(), tag(&again)), (first.data(), tag(&first)));
    admin.get(&path).header("if-none-match", &tag(&first)).answer(304);
    // Another tenant sees none of it, also right after it was shown.
    admin.tenant("elsewhere");
    admin.in_tenant("elsewhere").get(&path).answer(404);
    admin.get(&path).answer(200);
    admin.in_tenant("elsewhere").get(&path).answer(404);
    // Every change is seen at once.
    admin.put(&path, &json!({"name": "After"})).answer(200);
    let renamed = admin.get(&path).header("if-none-match", &tag(&first)).answer(200);
    assert_eq!(renamed.data()["name"], "After");
    assert_ne!(tag(&renamed), tag(&first));
    for (action, status) in [("start", "running"), ("pause", "paused"), ("resume", "running")] {
        admin.act(&core, action);
        assert_eq!(admin.get(&path).answer(200).data()["status"], status);
    }
    admin.post("/v1/modules/scaicore/disable").answer(200);
    admin.get(&path).refused(403, "MODULE_NOT_ENABLED");
    admin.post("/v1/modules/scaicore/enable").answer(200);
    assert_eq!(admin.get(&path).answer(200).data()["status"], "running");
    admin.delete(&path).answer(204);
    admin.get(&path).answer(404);
    server.stop();
}

fn secrets_are_written_and_never_read(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let secret = "hunter2-and-some-more";
    let environment = json!({"REGION": "north", "TOKEN": {"type": "secret", "value": secret}});
    let body = json!({"name": "Env", "source": programs::echo(1), "environment": environment});
    let made = admin.post(CORES).json(&body).answer(201);
    assert!(!made.text().contains(secret), "{made}");
    let shown = made.data()["environment"].clone();
    assert_eq!(shown["REGION"], "north");
    assert!(shown["TOKEN"].to_string().contains("***"), "{shown}");
    let core = made.data()["id"].as_str().unwrap().to_owned();
    let path = format!("{CORES}/{core}");
    let mut again = shown.clone();
    again["REGION"] = json!("south");
    let kept = admin.put(&path, &json!({"environment": again})).answer(200);
    assert!(!kept.text().contains(secret), "{kept}");
    assert_eq!(kept.data()["environment"]["REGION"], "south");
    assert_eq!(kept.data()["environment"]["TOKEN"], shown["TOKEN"]);
    let audit = admin.get("/v1/audit/events?resource_type=core").answer(200).text();
    assert!(audit.contains("core.update") && !audit.contains(secret), "{audit}");
    // Nor does the file of the database hold it, nor a log.
    let holds = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
    server.stop();
    for entry in std::fs::read_dir(place.data()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            assert!(!holds(&std::fs::read(&path).unwrap()), "{} holds the secret", path.display());
        }
    }
    assert!(!holds(place.log().as_bytes()));
}

/// A program that returns its limit, and how it compares with an amount.
fn limited() -> Value {
    let statements = json!([{"kind": "return", "value": "[config.limit, type_of(config.limit), input.total > config.limit]"}]);
    let main = json!({"name": "main", "params": [{"name": "total", "type": "money"}],
        "body": [programs::rigid("say", &statements)]});
    json!({"schema_version": "0.2", "name": "Limited", "version": "1.0.0", "flows": [main],
        "config": {"limit": {"type": "money", "default": "500"}}})
}

fn the_environment_gives_the_configuration_as_it_is_typed(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("limited", &limited());
    let path = format!("{CORES}/{core}");
    let said = |total: &str| admin.invoke(&core, "main", &json!({"total": total}))["output"].clone();
    assert_eq!(said("600"), json!(["500", "money", true]));
    admin.put(&path, &json!({"environment": {"limit": "700"}})).answer(200);
    assert_eq!(said("600"), json!(["700", "money", false]));
    // What does not fit is told to whoever starts the Core; to whoever begins something, that it is so, and no value.
    admin.put(&path, &json!({"environment": {"limit": "lots"}})).answer(200);
    let begin = json!({"flow": "main", "input": {"total": "1"}, "wait_ms": 10_000});
    for wait in [json!(10_000), Value::Null] {
        let begin = json!({"flow": begin["flow"], "input": begin["input"], "wait_ms": wait});
        let refused = admin.post(&format!("{path}/invoke")).json(&begin).refused(409, "CONFLICT");
        assert!(!refused.text().contains("lots"), "{refused}");
    }
    admin.post(&format!("{path}/publish")).json(&json!({})).answer(200);
    let question =
        json!({"model": "scaicore/default/limited", "messages": [{"role": "user", "content": "1"}]});
    let refused = admin.post("/v1/inference/chat").json(&question).refused(502, "BACKEND_ERROR");
    assert!(!refused.text().contains("lots"), "{refused}");
    let refused = admin.post(&format!("{path}/restart")).refused(422, "VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["environment.limit"]);
    assert_eq!(admin.get(&path).answer(200).data()["last_error"]["code"], "VALIDATION_ERROR");
    admin.put(&path, &json!({"environment": {}})).answer(200);
    admin.post(&format!("{path}/restart")).answer(200);
    assert_eq!(said("600"), json!(["500", "money", true]));
    server.stop();
}

fn limits_that_nobody_understands_are_refused(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let body =
        json!({"name": "Mean", "resource_limits": {"monthly_tokns": 5, "monthly_cost": "a lot", "cpu": "2"}});
    let refused = admin.post(CORES).json(&body).refused(422, "VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["resource_limits.monthly_cost", "resource_limits.monthly_tokns"]);
    let core = admin.host("Mean", &programs::echo(1));
    let path = format!("{CORES}/{core}");
    let slip = json!({"environment": {"TOKEN": {"type": "secrt", "value": "hush"}}});
    let refused = admin.put(&path, &slip).refused(422, "VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["environment.TOKEN"]);
    assert!(!refused.text().contains("hush"), "{refused}");
    let good = json!({"resource_limits": {"monthly_tokens": 5, "monthly_cost": "0.50", "cpu": "2"}});
    assert_eq!(admin.put(&path, &good).answer(200).data()["resource_limits"], good["resource_limits"]);
    server.stop();
}

fn what_is_deleted_leaves_nothing_but_its_record(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Gone", &programs::asking(&json!({})));
    admin.post(CORES).json(&json!({"name": "Gone"})).refused(409, "SLUG_CONFLICT");
    let (execution, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    // Not by the way: somebody waits for an answer.
    let refused = admin.delete(&format!("{CORES}/{core}")).refused(409, "CONFLICT");
    assert!(refused.text().contains("force=true"), "{refused}");
    let odd = admin.delete(&format!("{CORES}/{core}?force=maybe")).refused(422, "VALIDATION_ERROR");
    assert_eq!(odd.fields(), ["force"]);
    assert_eq!(admin.checkpoint(&checkpoint)["status"], "pending");
    admin.delete(&format!("{CORES}/{core}?force=true")).answer(204);
    for rest in ["", "/versions", "/versions/1", "/state", "/executions", "/events/history"] {
        admin.get(&format!("{CORES}/{core}{rest}")).refused(404, "CORE_NOT_FOUND");
    }
    admin.delete(&format!("{CORES}/{core}")).refused(404, "CORE_NOT_FOUND");
    for rest in ["", "/history"] {
        admin.get(&format!("{SCAICORE}/executions/{execution}{rest}")).refused(404, "EXECUTION_NOT_FOUND");
        admin.get(&format!("{SCAICORE}/checkpoints/{checkpoint}{rest}")).refused(404, "CHECKPOINT_NOT_FOUND");
    }
    let body = json!({"decision": "x"});
    let path = format!("{SCAICORE}/checkpoints/{checkpoint}/resolve");
    admin.post(&path).json(&body).refused(404, "CHECKPOINT_NOT_FOUND");
    assert!(admin.pages(&format!("{SCAICORE}/checkpoints/all"), "items").is_empty());
    let records = admin.pages(&format!("/v1/audit/events?resource_id={core}"), "items");
    assert_eq!(records[0]["action"], "core.delete");
    admin.host("Gone", &programs::echo(1));

    // A Core that is at work can be deleted too.
    let busy = admin.run("Busy", &programs::spinning());
    let running = spin(&admin, &busy, 40_000);
    admin.delete(&format!("{CORES}/{busy}?force=true")).answer(204);
    admin.get(&format!("{SCAICORE}/executions/{running}")).refused(404, "EXECUTION_NOT_FOUND");
    std::thread::sleep(Duration::from_millis(300));
    admin.get(&format!("{SCAICORE}/executions/{running}")).refused(404, "EXECUTION_NOT_FOUND");
    server.stop();
}

fn whoever_waits_for_what_is_deleted_is_told(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let call = |target: &str| {
        let call = json!({"kind": "core_call", "id": "call", "target": target, "flow_name": "ask", "input_bindings": {}});
        let caught = programs::rigid("caught", &json!([{"kind": "return", "value": "problem.code"}]));
        let safe = json!({"kind": "try", "id": "safe", "body": [call], "catch": [{"as": "problem", "body": [caught]}]});
        programs::program("Asking", &[programs::flow("ask", &json!([]), &json!([safe]))])
    };
    // The first calls the second, which calls the third, where somebody is asked.
    let first = admin.run("First", &call("core://default/second"));
    let second = admin.run("Second", &call("core://default/third"));
    let third = admin.run("Third", &programs::asking(&json!({})));
    let body = json!({"flow": "ask", "input": {}});
    let begun = admin.post(&format!("{CORES}/{first}/invoke")).json(&body).answer(202).data();
    let asked = || {
        let all = admin.pages(&format!("{SCAICORE}/checkpoints/all?status=pending"), "items");
        all.first().map(|one| one["execution_id"].as_str().unwrap().to_owned())
    };
    let asking = eventually("somebody is asked", Duration::from_mins(1), asked);
    admin.delete(&format!("{CORES}/{second}")).refused(409, "CONFLICT");
    admin.delete(&format!("{CORES}/{second}?force=true")).answer(204);
    let ended = admin.execution_becomes(begun["id"].as_str().unwrap(), "completed");
    assert_eq!(ended["output"], "CORE_NOT_FOUND", "{ended}");
    admin.execution_becomes(&asking, "cancelled");
    assert_eq!(asked(), None, "nobody is asked for nobody");
    assert_eq!((admin.status(&first), admin.status(&third)), ("running".into(), "running".into()));
    server.stop();
}

fn a_cancelled_execution_ends_and_asks_nobody(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let body = json!([{"kind": "try", "body": [programs::checkpoint(&json!({}))],
        "catch": [{"body": [{"kind": "rigid", "statements": [
            {"kind": "emit", "event": "wrongly.caught", "data": "1"}]}]}],
        "finally": [{"kind": "rigid", "statements": [{"kind": "emit", "event": "tidied.up", "data": "1"}]}]}]);
    let core = admin.run("Tidy", &programs::program("Tidy", &[programs::flow("main", &json!([]), &body)]));
    let (execution, checkpoint) = admin.invoke_to_checkpoint(&core, "main", &json!({}));
    let path = format!("{SCAICORE}/executions/{execution}/cancel");
    let cancelled = admin.post(&path).exchange();
    assert!(matches!(cancelled.status, 200 | 202), "{cancelled}");
    admin.execution_becomes(&execution, "cancelled");
    assert_eq!(admin.checkpoint(&checkpoint)["status"], "cancelled");
    let events = admin.pages(&format!("{CORES}/{core}/events/history"), "events");
    let names = events.iter().map(|event| event["type"].as_str().unwrap());
    let names: Vec<&str> = names.filter(|name| !name.starts_with("scaicore.runtime.")).collect();
    assert_eq!(names, ["tidied.up"]);
    let resolve = format!("{SCAICORE}/checkpoints/{checkpoint}/resolve");
    admin.post(&resolve).json(&json!({"decision": "x"})).refused(409, "CHECKPOINT_ALREADY_RESOLVED");
    let records = admin.pages(&format!("/v1/audit/events?resource_id={execution}"), "items");
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["action"], "execution.cancel");
    let again = admin.post(&path).exchange();
    assert!(matches!(again.status, 200 | 409), "{again}");

    let core = admin.run("Spinning", &programs::spinning());
    let running = spin(&admin, &core, 100_000);
    admin.post(&format!("{SCAICORE}/executions/{running}/cancel")).exchange();
    admin.execution_becomes(&running, "cancelled");
    server.stop();
}
