//! What keeps a platform within bounds: objects, fair turns, full queues, journals that are cut, retention.

use std::path::Path;
use std::time::Duration;

use scaigrid_tests::{CORES, Client, Db, Place, SCAICORE, eventually, on_both_databases, programs, run};
use serde_json::{Value, json};

on_both_databases!(
    who_floods_waits_behind_themselves,
    a_full_queue_says_when_to_ask_again,
    a_long_life_keeps_a_bounded_journal,
    what_is_kept_of_a_long_life_can_be_followed,
    what_is_over_is_deleted,
    what_is_large_lies_in_the_object_store,
    a_store_that_is_away_fails_what_is_large_and_nothing_else,
    who_waits_does_not_read_what_is_large_again_and_again,
);

const PATIENCE: Duration = Duration::from_mins(8);

fn start(client: &Client, core: &str, flow: &str, input: &Value) -> String {
    let body = json!({"flow": flow, "input": input});
    let started = client.post(&format!("{CORES}/{core}/invoke")).json(&body).answer(202).data();
    started["id"].as_str().unwrap().to_owned()
}

/// Waits until an execution has completed, however busy the machine is.
fn has_run(client: &Client, id: &str) -> Value {
    eventually("it has run", PATIENCE, || {
        let execution = client.execution(id);
        assert_ne!(execution["status"], "failed", "{execution}");
        (execution["status"] == "completed").then_some(execution)
    })
}

/// A program whose flow `flood` publishes so many events, each of which starts a flow that goes round for a while.
fn flooding() -> Value {
    let mut program = programs::spinning();
    let flood = programs::flow(
        "flood",
        &json!([{"name": "n", "type": "int"}]),
        &json!([
            {"kind": "rigid", "statements": [{"kind": "let", "name": "i", "value": "0"}]},
            {"kind": "while", "condition": "i < n", "max_iterations": 10_000, "body": [
                {"kind": "rigid", "statements": [
                    {"kind": "assign", "target": "i", "value": "i + 1"},
                    {"kind": "emit", "event": "go", "data": "{rounds: 80}"}
                ]}
            ]}
        ]),
    );
    let work = programs::flow(
        "work",
        &json!([{"name": "data", "type": "json"}]),
        &json!([
            {"kind": "rigid", "statements": [{"kind": "let", "name": "i", "value": "0"}]},
            {"kind": "while", "condition": "i < data.rounds", "max_iterations": 1_000, "body": [
                {"kind": "rigid", "statements": [
                    {"kind": "assign", "target": "i", "value": "i + 1"},
                    {"kind": "log", "message": "round ${i}"}
                ]}
            ]}
        ]),
    );
    program["flows"].as_array_mut().unwrap().extend([flood, work]);
    program["subscriptions"] = json!([{"event": "go", "flow": "work"}]);
    program
}

fn who_floods_waits_behind_themselves(place: &Place) {
    const FLOOD: usize = 2000;
    let server = place.start();
    let root = server.admin();
    for slug in ["loud", "quiet", "keyed"] {
        root.tenant(slug);
    }
    let (loud, quiet, keyed) = (root.in_tenant("loud"), root.in_tenant("quiet"), root.in_tenant("keyed"));
    let of_loud = loud.run("Loud", &flooding());
    let of_quiet = quiet.run("Quiet", &flooding());
    let mut by_entity = programs::spinning();
    by_entity["flows"][0]["params"].as_array_mut().unwrap().push(json!({"name": "who", "type": "string"}));
    by_entity["instance"] = json!({"mode": "entity", "key": "who"});
    let of_keyed = keyed.run("Keyed", &by_entity);
    let flood = start(&loud, &of_loud, "flood", &json!({"n": FLOOD}));
    has_run(&loud, &flood);
    let waiting = |client: &Client, core: &str| {
        client.pages(&format!("{CORES}/{core}/executions?status=queued"), "items").len()
    };
    let before = waiting(&loud, &of_loud);
    // What comes by way of the database, and what comes from a caller.
    let body = json!({"event_name": "go", "data": {"rounds": 80}});
    let heard = quiet.post(&format!("{CORES}/{of_quiet}/events")).json(&body).answer(202).data();
    let heard = heard["executions"][0].as_str().unwrap().to_owned();
    let asked = start(&quiet, &of_quiet, "spin", &json!({"rounds": 80}));
    // What waits for its entity's turn waits behind no others either.
    let in_turn = start(&keyed, &of_keyed, "spin", &json!({"rounds": 80, "who": "ada"}));
    let of_others = [(&quiet, &heard), (&quiet, &asked), (&keyed, &in_turn)];
    for (client, id) in of_others {
        has_run(client, id);
    }
    assert!(before > 500, "the flood was over before it could hold anybody up: {before}");
    eventually("all have run", PATIENCE, || (waiting(&loud, &of_loud) == 0).then_some(()));
    // Those that run at once when it comes, and as many again while it runs itself, and some.
    let instant = |execution: &Value, field: &str| {
        let text = execution[field].as_str().unwrap_or("9").trim_end_matches('Z');
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        format!("{whole}.{part:0<9}")
    };
    let all = loud.pages(&format!("{CORES}/{of_loud}/executions"), "items");
    assert_eq!(all.len(), FLOOD + 1);
    for (client, id) in of_others {
        let one = client.execution(id);
        let (came, ended) = (instant(&one, "started_at"), instant(&one, "finished_at"));
        let between = |other: &&Value| (came.clone()..ended.clone()).contains(&instant(other, "finished_at"));
        let before_it = all.iter().filter(between).count();
        println!("{before_it} of {FLOOD} ended between its coming and its end");
        assert!(before_it < 400, "{before_it} of {FLOOD} came first");
    }
}

fn a_full_queue_says_when_to_ask_again(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let tenant = root.tenant("small");
    root.put(&format!("/v1/admin/tenants/{tenant}"), &json!({"limits": {"max_queued_executions": 3}}))
        .answer(200);
    let small = root.in_tenant("small");
    let mut program = programs::spinning();
    program["instance"] = json!({"mode": "singleton"});
    let core = small.run("Small", &program);
    let body = json!({"flow": "spin", "input": {"rounds": 5_000}});
    let invoke = || small.post(&format!("{CORES}/{core}/invoke")).json(&body).exchange();
    let (mut accepted, mut refused) = (Vec::new(), None);
    for _ in 0..40 {
        let answer = invoke();
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status, 202, "{answer}");
        accepted.push(answer.data()["id"].as_str().unwrap().to_owned());
    }
    let refused = refused.unwrap();
    let said = refused.json();
    assert_eq!((refused.status, refused.code().as_str()), (429, "QUEUE_FULL"), "{said}");
    assert_eq!(said["error"]["retry_after"], 5);
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert!(accepted.len() >= 3, "{accepted:?}");
    // Another tenant is not concerned.
    let other = root.run("Other", &programs::echo(1));
    assert_eq!(root.invoke(&other, "echo", &json!({"value": 1}))["status"], "completed");
    // A Core's own limit.
    let limits = json!({"resource_limits": {"max_queued_executions": 0}});
    small.put(&format!("{CORES}/{core}"), &limits).answer(200);
    eventually("the Core's limit counts", Duration::from_secs(15), || {
        let answer = invoke();
        (answer.status == 429 && answer.json()["error"]["message"].as_str().unwrap().contains("Core"))
            .then_some(())
    });
    // A fork waits its turn like others, and is refused like others.
    let fork = format!("{SCAICORE}/executions/{}/fork", accepted[0]);
    let refused = eventually("a fork is refused", PATIENCE, || {
        let answer = small.post(&fork).json(&json!({"at": 0})).exchange();
        (answer.status == 429).then_some(answer)
    });
    assert_eq!(refused.json()["error"]["code"], "QUEUE_FULL");
    small.put(&format!("{CORES}/{core}"), &json!({"resource_limits": {}})).answer(200);
    // Nothing that was accepted is lost, and there is room again.
    for id in &accepted {
        has_run(&small, id);
    }
    eventually("there is room again", Duration::from_secs(15), || (invoke().status == 202).then_some(()));
}

fn a_long_life_keeps_a_bounded_journal(place: &Place) {
    const ROUNDS: i64 = 100_000;
    let launch = || place.launch().set("SCAIGRID_JOURNAL_ENTRIES", "1000");
    let server = launch().start();
    let admin = server.admin();
    let core = admin.run("Long", &programs::spinning());
    let id = start(&admin, &core, "spin", &json!({"rounds": ROUNDS}));
    // As far as its journal has been cut, in the middle of it.
    let history = format!("{SCAICORE}/executions/{id}/history?limit=1");
    let first = |client: &Client| client.get(&history).answer(200).data()["items"][0].clone();
    eventually("the journal is cut", PATIENCE, || (first(&admin)["type"] == "cut").then_some(()));
    assert_ne!(admin.execution(&id)["status"], "completed", "it was over before it could be killed");
    server.kill();
    let server = launch().start();
    let admin = server.admin();
    assert_eq!(has_run(&admin, &id)["output"], ROUNDS);
    let cut = first(&admin);
    let gone = cut["entries"].as_i64().unwrap();
    assert_eq!(cut["seq"], gone - 1);
    // Each round is one entry; the first and the last are the beginning and the end.
    assert!(gone > ROUNDS - 20_000, "{cut}");
    let kept = admin.pages(&format!("{SCAICORE}/executions/{id}/history"), "items");
    println!("{gone} entries are gone, {} are kept", kept.len() - 1);
    assert!((1000..20_000).contains(&kept.len()), "{}", kept.len());
    let numbers: Vec<i64> = kept.iter().map(|entry| entry["seq"].as_i64().unwrap()).collect();
    assert!(numbers.windows(2).all(|two| two[1] == two[0] + 1), "there are gaps");
    assert_eq!(kept.last().unwrap()["type"], "completed");
    assert_eq!(gone + i64::try_from(kept.len()).unwrap() - 1, ROUNDS + 2);
}

/// A flow that goes round for so long, then counts itself in memory, and fails for as long as nobody has let it pass.
fn tiring() -> Value {
    let spin = programs::spinning()["flows"][0]["body"].as_array().unwrap().clone();
    let mut body = spin[..2].to_vec();
    body.push(json!({"kind": "rigid", "id": "last", "statements": [
        {"kind": "memory", "op": "update", "target": "runs", "value": "n => (n ?? 0) + 1"},
        {"kind": "memory", "op": "get", "target": "open", "result_binding": "open"},
        {"kind": "if", "condition": "open != true", "then": [
            {"kind": "fail", "code": "SHUT", "message": "it is shut"}]},
        {"kind": "return", "value": "{rounds: i, runs: memory.runs}"}
    ]}));
    let params = json!([{"name": "rounds", "type": "int"}]);
    let open = json!([{"kind": "rigid", "statements": [
        {"kind": "memory", "op": "set", "target": "open", "value": "true"}, {"kind": "return", "value": "true"}]}]);
    let flows = [programs::flow("tire", &params, &json!(body)), programs::flow("open", &json!([]), &open)];
    let mut program = programs::program("Tiring", &flows);
    program["memory"] =
        json!({"runs": {"type": "int", "default": 0}, "open": {"type": "bool", "default": false}});
    program
}

fn what_is_kept_of_a_long_life_can_be_followed(place: &Place) {
    const ROUNDS: i64 = 9_000;
    let server = place.launch().set("SCAIGRID_JOURNAL_ENTRIES", "1000").start();
    let admin = server.admin();
    let core = admin.run("Tiring", &tiring());
    let id = start(&admin, &core, "tire", &json!({"rounds": ROUNDS}));
    let failed = eventually("it has failed", PATIENCE, || {
        let execution = admin.execution(&id);
        (execution["status"] == "failed").then_some(execution)
    });
    assert_eq!(failed["error"]["code"], "SHUT", "{failed}");
    let kept = admin.pages(&format!("{SCAICORE}/executions/{id}/history"), "items");
    assert_eq!(kept[0]["type"], "cut", "{}", kept[0]);
    let (first, last) = (kept[1]["seq"].as_i64().unwrap(), kept.last().unwrap()["seq"].as_i64().unwrap());
    // Where it stood, as far as it is kept: each round is an entry, and the next one has begun by then.
    let state = |at: i64| admin.get(&format!("{SCAICORE}/executions/{id}/state?at={at}"));
    for at in [first, first + 5, i64::midpoint(first, last)] {
        assert_eq!(state(at).answer(200).data()["variables"]["i"], at + 1, "after {at}");
    }
    let end = admin.get(&format!("{SCAICORE}/executions/{id}/state")).answer(200).data();
    assert_eq!((&end["status"], &end["variables"]["i"]), (&json!("failed"), &json!(ROUNDS)));
    for gone in [0, first - 2] {
        let refused = state(gone).answer(409).json();
        assert!(refused["error"]["message"].as_str().unwrap().contains("no longer kept"), "{refused}");
    }
    let look = json!({"execution_id": id, "expression": "i + 1", "at": first + 3});
    let seen = admin.post(&format!("{CORES}/{core}/debug/inspect")).json(&look).answer(200).data();
    assert_eq!(seen["value"], first + 5, "{seen}");
    // How it ended is told, and what happened before.
    let told = |client: &Client, what: &str| {
        client.pages(&format!("{CORES}/{core}/events/history?type=scaicore.runtime.{what}"), "events")
    };
    let ends = told(&admin, "invocation.failed");
    assert_eq!((ends.len(), &ends[0]["payload"]["error"]["code"]), (1, &json!("SHUT")), "{ends:?}");
    assert_eq!(told(&admin, "block.failed").len(), 1);
    // A new one shares what is kept, and goes on from there.
    let path = format!("{SCAICORE}/executions/{id}/fork");
    let refused = admin.post(&path).json(&json!({"at": 0})).answer(409).json();
    assert!(refused["error"]["message"].as_str().unwrap().contains("no longer kept"), "{refused}");
    let other = json!({"at": first + 7, "input": {"rounds": ROUNDS}});
    assert_eq!(admin.post(&path).json(&other).refused(422, "VALIDATION_ERROR").fields(), ["input"]);
    admin.invoke(&core, "open", &json!({}));
    let forked = admin.post(&path).json(&json!({"at": first + 7})).answer(202).data();
    let new = forked["id"].as_str().unwrap().to_owned();
    assert_eq!(forked["input"]["rounds"], ROUNDS);
    assert_eq!(has_run(&admin, &new)["output"], json!({"rounds": ROUNDS, "runs": 2}));
    let shared = admin.get(&format!("{SCAICORE}/executions/{new}/history?limit=2")).answer(200).data();
    assert_eq!(shared["items"][0]["type"], "cut", "{shared}");
    // The failed one goes on from what it read, and counts nothing twice.
    admin.post(&format!("{SCAICORE}/executions/{id}/retry")).answer(202);
    assert_eq!(has_run(&admin, &id)["output"], json!({"rounds": ROUNDS, "runs": 2}));
    assert_eq!(state(first + 5).answer(200).data()["variables"]["i"], first + 6);
    assert_eq!(told(&admin, "invocation.completed").len(), 3);
    server.stop();
}

fn what_is_over_is_deleted(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let tenant = root.tenant("brief");
    let brief = root.in_tenant("brief");
    let (theirs, ours) =
        (brief.run("Brief", &programs::asking(&json!({}))), root.run("Ours", &programs::echo(1)));
    let old: Vec<String> = (0..3)
        .map(|_| {
            let (id, checkpoint) = brief.invoke_to_checkpoint(&theirs, "ask", &json!({}));
            brief.resolve(&checkpoint, "yes");
            brief.execution_becomes(&id, "completed");
            id
        })
        .collect();
    let (waiting, checkpoint) = brief.invoke_to_checkpoint(&theirs, "ask", &json!({}));
    let of_ours = root.invoke(&ours, "echo", &json!({"value": 1}))["id"].as_str().unwrap().to_owned();
    let ages = match place.db() {
        Db::Sqlite => "UPDATE executions SET finished_at = finished_at - 172800000000",
        Db::Postgres => "UPDATE executions SET finished_at = finished_at - interval '2 days'",
    };
    place.run_sql(&format!("{ages} WHERE finished_at IS NOT NULL"));
    // What is said of those that go on is kept for as long, too.
    place.run_sql(&ages.replace("executions", "core_logs").replace("finished_at", "at"));
    let said = |client: &Client, id: &str| {
        let logs = client.pages(&format!("{SCAICORE}/executions/{id}/logs"), "logs");
        logs.iter().map(|entry| entry["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(said(&brief, &waiting), ["waits at a checkpoint: Shall it be?"]);
    let (young, young_checkpoint) = brief.invoke_to_checkpoint(&theirs, "ask", &json!({}));
    brief.resolve(&young_checkpoint, "yes");
    let bad = json!({"limits": {"execution_retention_days": 0}});
    let refused = root.put(&format!("/v1/admin/tenants/{tenant}"), &bad).answer(422).json();
    assert!(refused.to_string().contains("execution_retention_days"), "{refused}");
    root.put(&format!("/v1/admin/tenants/{tenant}"), &json!({"limits": {"execution_retention_days": 1}}))
        .answer(200);
    server.stop();
    // The platform keeps everything for longer than the tenant wants: the shorter time counts.
    let server = place.launch().set("SCAIGRID_EXECUTION_RETENTION_DAYS", "30").start();
    let root = server.admin();
    let brief = root.in_tenant("brief");
    let gone = |id: &str| brief.get(&format!("{SCAICORE}/executions/{id}")).exchange().status == 404;
    eventually("what is over is deleted", Duration::from_secs(30), || {
        old.iter().all(|id| gone(id)).then_some(())
    });
    assert!(!gone(&young) && !gone(&waiting));
    assert_eq!(said(&brief, &waiting), Vec::<String>::new());
    assert_eq!(said(&brief, &young).len(), 3);
    assert_eq!(said(&root, &of_ours), ["the execution completed"], "another tenant's stays");
    assert_eq!(root.execution(&of_ours)["status"], "completed", "another tenant's stays");
    assert_eq!(brief.checkpoint(&checkpoint)["status"], "pending");
    assert_eq!(brief.pages(&format!("{SCAICORE}/checkpoints/all"), "items").len(), 2);
    brief.resolve(&checkpoint, "yes");
    brief.execution_becomes(&waiting, "completed");
    let records = brief.get("/v1/audit/events?action=execution.purge").answer(200).data();
    let records = records["items"].as_array().unwrap();
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["changes"]["executions"]["after"], 3);
}

/// A store that is not there, or not for us, is told of at once; one that is there keeps the server ready.
#[test]
fn objects_are_where_the_operator_says() {
    let Some(place) = Place::fresh(Db::Sqlite) else { return };
    let folder = place.folder().join("elsewhere");
    let server = place.launch().set("SCAIGRID_OBJECT_STORE", &format!("file://{}", folder.display())).start();
    let ready = server.anyone().get("/health/ready").answer(200).json();
    assert_eq!(ready["checks"]["object_store"], "ok");
    assert!(folder.is_dir());
    // The folder goes away, and comes back.
    let aside = place.folder().join("aside");
    std::fs::rename(&folder, &aside).unwrap();
    let ready = server.anyone().get("/health/ready").answer(503).json();
    assert_eq!(ready["checks"]["object_store"], "failing");
    assert_eq!(ready["checks"]["database"], "ok");
    std::fs::rename(&aside, &folder).unwrap();
    assert_eq!(server.anyone().get("/health/ready").answer(200).json()["checks"]["object_store"], "ok");
    server.stop();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let data = place.folder().join("other");
    let output = run(
        place.folder(),
        &[],
        &[
            ("SCAIGRID_DATA_DIR", data.to_str().unwrap()),
            ("SCAIGRID_BIND", "127.0.0.1:0"),
            ("SCAIGRID_OBJECT_STORE", "s3://bucket"),
            ("SCAIGRID_S3_ENDPOINT", &format!("http://{nobody}")),
            ("HOME", place.folder().to_str().unwrap()),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ],
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("SCAIGRID_OBJECT_STORE")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(lines[0].contains("credentials"), "{said}");
    place.leave();
}

const LARGE: usize = 200_000;

/// A program that takes, remembers, publishes and gives back what is large, and waits for a person in between.
fn heavy() -> Value {
    let keep = programs::flow(
        "keep",
        &json!([{"name": "value", "type": "string"}]),
        &json!([
            {"kind": "rigid", "statements": [
                {"kind": "memory", "op": "set", "target": "kept", "value": "value"},
                {"kind": "emit", "event": "kept", "data": "{value: value}"}
            ]},
            programs::checkpoint(&json!({})),
            {"kind": "rigid", "statements": [
                {"kind": "memory", "op": "get", "target": "kept", "result_binding": "again"},
                {"kind": "return", "value": "{input: value, memory: again, answer: answer.response_data}"}
            ]}
        ]),
    );
    let grow = programs::flow(
        "grow",
        &json!([]),
        &json!([
            {"kind": "rigid", "statements": [
                {"kind": "let", "name": "s", "value": "'x'"}, {"kind": "let", "name": "i", "value": "0"}
            ]},
            {"kind": "while", "condition": "i < 17", "max_iterations": 20, "body": [
                {"kind": "rigid", "statements": [
                    {"kind": "assign", "target": "i", "value": "i + 1"},
                    {"kind": "assign", "target": "s", "value": "s + s"}
                ]}
            ]},
            {"kind": "rigid", "statements": [{"kind": "return", "value": "s"}]}
        ]),
    );
    let mut program = programs::program("Heavy", &[keep, grow]);
    program["memory"] = json!({"kept": {"type": "string"}});
    program
}

/// The files below a folder.
fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.map(|entry| entry.unwrap().path()).map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

fn what_is_large_lies_in_the_object_store(place: &Place) {
    let folder = place.data().join("objects").join("tenants");
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Heavy", &heavy());
    let value = "ä".repeat(LARGE / 2);
    let execution = admin.invoke(&core, "keep", &json!({"value": value}));
    assert_eq!(execution["input"]["value"], value);
    let (id, checkpoint) = (
        execution["id"].as_str().unwrap().to_owned(),
        execution["checkpoints"][0].as_str().unwrap().to_owned(),
    );
    let before = files(&folder);
    assert!(before >= 3, "the input, its entry in the journal, memory and the event make {before} objects");
    // After a crash all of it is there.
    server.kill();
    let server = place.start();
    let admin = server.admin();
    let answer = "b".repeat(LARGE);
    let body = json!({"decision": "approved", "response_data": {"text": answer}, "wait_ms": 30_000});
    admin.post(&format!("{SCAICORE}/checkpoints/{checkpoint}/resolve")).json(&body).answer(200);
    let ended = has_run(&admin, &id);
    assert_eq!(ended["output"]["input"], value);
    assert_eq!(ended["output"]["memory"], value);
    assert_eq!(ended["output"]["answer"]["text"], answer);
    let history = admin.pages(&format!("{SCAICORE}/executions/{id}/history"), "items");
    assert_eq!(history[0]["input"]["value"], value);
    let events = admin.get(&format!("{CORES}/{core}/events/history?type=kept")).answer(200).data();
    assert_eq!(events["events"][0]["payload"]["data"]["value"], value);
    // What is there is not put there again.
    let there = files(&folder);
    let again = admin.invoke(&core, "keep", &json!({"value": value}));
    assert_eq!(again["input"]["value"], value);
    assert!(files(&folder) <= there + 2, "{there} became {}", files(&folder));
    // A backup holds them; what was put back reads as before.
    let file = place.folder().join("grid.backup");
    let data = place.data();
    let own =
        [("SCAIGRID_DATA_DIR", data.to_str().unwrap()), ("SCAIGRID_DATABASE_URL", place.database_url())];
    let made = run(place.folder(), &["admin", "backup", "--output", file.to_str().unwrap()], &own);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let elsewhere = place.folder().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    for name in ["master.key", "admin.key"] {
        std::fs::copy(data.join(name), elsewhere.join(name)).unwrap();
    }
    let other = [("SCAIGRID_DATA_DIR", elsewhere.to_str().unwrap())];
    let restored = run(place.folder(), &["admin", "restore", file.to_str().unwrap()], &other);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let copy = place
        .launch()
        .set("SCAIGRID_DATA_DIR", elsewhere.to_str().unwrap())
        .set("SCAIGRID_DATABASE_URL", &format!("sqlite://{}", elsewhere.join("scaigrid.db").display()))
        .start();
    assert_eq!(copy.admin().execution(&id)["output"]["answer"]["text"], answer);
    copy.stop();
    server.stop();
    // Once the Core is gone nothing refers to them, and nothing of them stays.
    let server = place.start();
    let admin = server.admin();
    let waiting = again["checkpoints"][0].as_str().unwrap();
    admin.resolve(waiting, "approved");
    admin.act(&core, "stop");
    admin.status_becomes(&core, "stopped");
    admin.delete(&format!("{CORES}/{core}")).answer(204);
    server.stop();
    let ages = match place.db() {
        Db::Sqlite => "UPDATE objects SET touched_at = touched_at - 172800000000",
        Db::Postgres => "UPDATE objects SET touched_at = touched_at - interval '2 days'",
    };
    place.run_sql(ages);
    let server = place.start();
    eventually("nothing is left", Duration::from_secs(30), || (files(&folder) == 0).then_some(()));
    drop(server);
}

fn a_store_that_is_away_fails_what_is_large_and_nothing_else(place: &Place) {
    let folder = place.data().join("objects");
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Heavy", &heavy());
    let execution = admin.invoke(&core, "keep", &json!({"value": "y".repeat(LARGE)}));
    let id = execution["id"].as_str().unwrap().to_owned();
    let aside = place.folder().join("aside");
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "no folder").unwrap();
    // What comes with the call is refused, and what a program makes fails it.
    let body = json!({"flow": "keep", "input": {"value": "z".repeat(LARGE)}});
    let refused = admin.post(&format!("{CORES}/{core}/invoke")).json(&body).answer(502).json();
    assert_eq!(refused["error"]["code"], "STORAGE_ERROR");
    let grown = start(&admin, &core, "grow", &json!({}));
    let failed = eventually("it fails", Duration::from_mins(1), || {
        let execution = admin.execution(&grown);
        (execution["status"] == "failed").then_some(execution)
    });
    assert_eq!(failed["error"]["code"], "STORAGE_ERROR", "{failed}");
    let unread = admin.get(&format!("{SCAICORE}/executions/{id}")).answer(502).json();
    assert_eq!(unread["error"]["code"], "STORAGE_ERROR");
    // What is small goes on.
    let small = admin.invoke(&core, "keep", &json!({"value": "small"}));
    assert_eq!(small["status"], "suspended", "{small}");
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    assert_eq!(admin.execution(&id)["input"]["value"], "y".repeat(LARGE));
    let grown = start(&admin, &core, "grow", &json!({}));
    let ended = has_run(&admin, &grown);
    assert_eq!(ended["output"].as_str().unwrap().len(), 1 << 17);
}

fn who_waits_does_not_read_what_is_large_again_and_again(place: &Place) {
    let folder = place.data().join("objects");
    let server = place.start();
    let admin = server.admin();
    let wait = programs::flow(
        "wait",
        &json!([{"name": "value", "type": "string"}]),
        &json!([{"kind": "rigid", "statements": [
            {"kind": "wait_event", "name": "go", "timeout": "1h", "result_binding": "heard"},
            {"kind": "return", "value": "heard.data"}
        ]}]),
    );
    let core = admin.run("Wait", &programs::program("Wait", &[wait]));
    let executions = || admin.get(&format!("{CORES}/{core}/executions")).answer(200).data();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let input = json!({"value": "v".repeat(LARGE)});
            let body = json!({"flow": "wait", "input": input, "wait_ms": 60_000});
            admin.post(&format!("{CORES}/{core}/invoke")).json(&body).answer(200).data()
        });
        eventually("it waits", Duration::from_secs(30), || {
            (executions()["items"][0]["status"] == "suspended").then_some(())
        });
        // While the store is away, somebody looks several times; and a list tells how large it is.
        let aside = place.folder().join("aside");
        std::fs::rename(&folder, &aside).unwrap();
        std::fs::write(&folder, "no folder").unwrap();
        std::thread::sleep(Duration::from_secs(1));
        let shown = executions()["items"][0]["input"].clone();
        assert!(shown["omitted"] == true && shown["bytes"].as_u64().unwrap() > LARGE as u64, "{shown}");
        std::fs::remove_file(&folder).unwrap();
        std::fs::rename(&aside, &folder).unwrap();
        let body = json!({"event_name": "go", "data": 7});
        admin.post(&format!("{CORES}/{core}/events")).json(&body).answer(202);
        let ended = asked.join().unwrap();
        assert_eq!((&ended["status"], &ended["output"]), (&json!("completed"), &json!(7)), "{ended}");
        assert_eq!(ended["input"]["value"].as_str().unwrap().len(), LARGE);
    });
}
