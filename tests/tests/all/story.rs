//! What a newcomer does in their first five minutes, with a power cut in the middle.

use std::collections::BTreeSet;

use scaigrid_tests::{CORES, Place, SCAICORE, on_both_databases, programs};
use serde_json::{Value, json};

on_both_databases!(
    a_program_is_hosted_killed_started_again_resolved_and_read,
    small_reports_need_nobody,
    an_event_starts_the_flow_that_listens_to_it,
    bundles_are_read_and_broken_ones_refused,
);

fn report(employee: &str, amounts: &[i64]) -> Value {
    let lines: Vec<Value> = amounts.iter().map(|amount| json!({"label": "x", "amount": amount})).collect();
    json!({"employee": employee, "lines": lines})
}

fn a_program_is_hosted_killed_started_again_resolved_and_read(place: &Place) {
    let server = place.start();
    let admin = server.admin();

    let bundle = programs::bundle(&programs::expenses_with_ledger());
    let made = admin.post(CORES).form(&bundle, &[("name", "Expense approval")]).answer(201);
    let core = made.data();
    assert_eq!(core["slug"], "expense-approval");
    assert_eq!(core["status"], "created");
    assert_eq!(core["source_version"], 1);
    assert_eq!(core["diagnostics"], json!([]));
    let core = core["id"].as_str().unwrap().to_owned();
    assert_eq!(made.header("location"), Some(format!("{CORES}/{core}").as_str()));
    assert_eq!(admin.act(&core, "start"), "running");

    let input = report("Ada", &[1200, 300]);
    let (execution, checkpoint) = admin.invoke_to_checkpoint(&core, "submit", &input);
    let waiting = admin.checkpoint(&checkpoint);
    assert_eq!(waiting["prompt"], "Approve 1500 for Ada?");
    assert_eq!(waiting["options"], json!(["approve", "reject"]));
    assert_eq!(waiting["context"], json!({"employee": "Ada", "total": 1500}));
    assert_eq!(waiting["priority"], "high");
    let before = admin.pages(&format!("{SCAICORE}/executions/{execution}/history"), "items");

    server.kill();
    let server = place.start();
    let admin = server.admin();

    // Nothing was lost, nothing was done twice, and the Core runs without anyone's help.
    assert_eq!(admin.checkpoint(&checkpoint), waiting);
    assert_eq!(admin.execution(&execution)["status"], "suspended");
    assert_eq!(admin.pages(&format!("{SCAICORE}/executions/{execution}/history"), "items"), before);
    admin.status_becomes(&core, "running");
    let inbox = admin.pages(&format!("{SCAICORE}/checkpoints"), "items");
    assert_eq!(inbox.iter().map(|item| &item["id"]).collect::<Vec<_>>(), [&json!(checkpoint)]);

    let resolved = admin.resolve(&checkpoint, "approve");
    assert_eq!(resolved["status"], "resolved");
    assert_eq!(resolved["resolution"]["decision"], "approve");
    assert_eq!(resolved["execution"]["status"], "completed", "{resolved}");
    let done = admin.execution(&execution);
    assert_eq!(done["output"], json!({"decision": "approve", "total": 1500}));
    assert_eq!(done["input"], input);
    assert_eq!(done["error"], Value::Null);
    assert_eq!(done["checkpoints"], json!([]));

    let journal = admin.pages(&format!("{SCAICORE}/executions/{execution}/history"), "items");
    let kinds: Vec<&str> = journal.iter().map(|entry| entry["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["started", "effect", "effect", "outcome", "effect", "effect", "completed"]);
    let seqs: Vec<i64> = journal.iter().map(|entry| entry["seq"].as_i64().unwrap()).collect();
    assert_eq!(seqs, (0..7).collect::<Vec<_>>());
    assert_eq!(journal[..before.len()], before[..], "what was written stays as it is");

    let events = admin.pages(&format!("{CORES}/{core}/events/history?type=expense.booked"), "events");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["payload"]["execution_id"], json!(execution));
    let ledger = admin.invoke(&core, "ledger", &json!({}));
    assert_eq!(ledger["output"], json!({ execution: {"employee": "Ada", "total": 1500} }));

    let history = admin.get(&format!("{SCAICORE}/checkpoints/{checkpoint}/history")).answer(200).data();
    let history: Vec<&str> =
        history["items"].as_array().unwrap().iter().map(|entry| entry["event"].as_str().unwrap()).collect();
    assert_eq!(history, ["created", "resolved"]);
    let audit = admin.pages("/v1/audit/events", "items");
    let actions: BTreeSet<&str> = audit.iter().map(|record| record["action"].as_str().unwrap()).collect();
    for action in ["core.create", "core.start", "checkpoint.resolve", "api_key.create", "tenant.create"] {
        assert!(actions.contains(action), "{action} is not among {actions:?}");
    }
    let of_start: Vec<&Value> = audit.iter().filter(|record| record["action"] == "core.start").collect();
    assert_eq!(of_start.len(), 1, "a restart of the server is nobody's start");
    assert_eq!(of_start[0]["resource_id"], json!(core));
    server.stop();
}

fn small_reports_need_nobody(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Expenses", &programs::expenses_with_ledger());
    let done = admin.invoke(&core, "submit", &report("Bo", &[400, 600]));
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(done["output"], json!({"decision": "approve", "total": 1000}));

    let (execution, checkpoint) = admin.invoke_to_checkpoint(&core, "submit", &report("Cy", &[1001]));
    let rejected = admin.resolve(&checkpoint, "reject");
    assert_eq!(rejected["execution"]["output"], json!({"decision": "reject", "total": 1001}));
    let ledger = admin.invoke(&core, "ledger", &json!({}))["output"].clone();
    let id = done["id"].as_str().unwrap();
    assert_eq!(ledger, json!({ id: {"employee": "Bo", "total": 1000} }), "{execution} was rejected");
    server.stop();
}

fn an_event_starts_the_flow_that_listens_to_it(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Expenses", &programs::expenses_with_ledger());
    let body = json!({"event_name": "expense.submitted", "data": report("Di", &[5000])});
    let taken = admin.post(&format!("{CORES}/{core}/events")).json(&body).answer(202).data();
    let started = taken["executions"].as_array().unwrap();
    assert_eq!(started.len(), 1, "{taken}");
    let parent = started[0].as_str().unwrap();

    // The checkpoint is the called flow's; the caller's execution shows it too.
    let waiting = admin.execution_becomes(parent, "suspended");
    let checkpoint = scaigrid_tests::eventually("a checkpoint", std::time::Duration::from_secs(10), || {
        admin.execution(parent)["checkpoints"].as_array().and_then(|all| all.first().cloned())
    });
    assert_eq!(waiting["flow"], "on_submitted");
    let child = admin.checkpoint(checkpoint.as_str().unwrap())["execution_id"].as_str().unwrap().to_owned();
    assert_ne!(child, parent);
    assert_eq!(admin.execution(&child)["parent_execution_id"], json!(parent));
    admin.resolve(checkpoint.as_str().unwrap(), "approve");
    let done = admin.execution_becomes(parent, "completed");
    assert_eq!(done["trigger"], "event:expense.submitted");
    assert_eq!(admin.execution(&child)["output"], json!({"decision": "approve", "total": 5000}));

    // An event that nobody listens to is taken and starts nothing.
    let body = json!({"event_name": "nobody.listens", "data": {"n": 1}});
    let taken = admin.post(&format!("{CORES}/{core}/events")).json(&body).answer(202).data();
    assert_eq!(taken["executions"], json!([]));
    let events = admin.pages(&format!("{CORES}/{core}/events/history"), "events");
    let names = events.iter().map(|event| event["type"].as_str().unwrap());
    let names: Vec<&str> = names.filter(|name| !name.starts_with("scaicore.runtime.")).collect();
    assert_eq!(names, ["nobody.listens", "expense.booked", "expense.submitted"], "newest first");
    server.stop();
}

fn bundles_are_read_and_broken_ones_refused(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let parse = |file: &[u8]| admin.post(&format!("{CORES}/parse-bundle")).form(file, &[]);

    let program = programs::expense_approval();
    for file in [programs::bundle(&program), serde_json::to_vec(&program).unwrap()] {
        let parsed = parse(&file).answer(200).data();
        assert_eq!(parsed["source"], program);
        let summary = &parsed["summary"];
        assert_eq!(summary["name"], "ExpenseApproval");
        assert_eq!(summary["flows"], json!(["submit", "on_submitted"]));
        assert_eq!(summary["identity"]["name"], "Ledger");
        assert_eq!((&summary["has_triggers"], &summary["has_plugins"]), (&json!(true), &json!(false)));
        assert_eq!(summary["avatar"], Value::Null);
        assert_eq!(summary["diagnostics"], json!([]));
    }
    let findings = parse(&programs::bundle(&programs::broken())).answer(200).data();
    assert_eq!(findings["summary"]["diagnostics"][0]["severity"], "error");
    // A program that is at hand needs no form.
    let check = |body: &Value| admin.post(&format!("{CORES}/parse-bundle")).json(body);
    assert_eq!(check(&json!({"source": programs::broken()})).answer(200).data(), findings);
    assert_eq!(check(&json!({"source": program})).answer(200).data()["summary"]["diagnostics"], json!([]));
    assert_eq!(check(&json!({})).refused(422, "VALIDATION_ERROR").fields(), ["source"]);
    assert_eq!(check(&json!({"source": [1]})).refused(422, "VALIDATION_ERROR").fields(), ["source"]);

    let whole = programs::bundle(&program);
    for file in [&b""[..], b"S", b"SCIR", b"SCIX????", b"{", b"[1]", &whole[..whole.len() / 2], &[0xff; 64]] {
        parse(file).refused(422, "VALIDATION_ERROR");
    }
    // An array of four thousand million elements, and arrays in arrays in arrays.
    parse(b"SCIR\xdd\xff\xff\xff\xff").refused(422, "VALIDATION_ERROR");
    let deep = [b"SCIR".to_vec(), vec![0x91; 100_000]].concat();
    parse(&deep).refused(422, "VALIDATION_ERROR");
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    parse(&deep).refused(422, "VALIDATION_ERROR");
    parse(&vec![b' '; 10 * 1024 * 1024 + 1]).refused(400, "FILE_TOO_LARGE");
    server.stop();
}
