//! What happens to executions that are at work when something happens to their Core, their caller or their server.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use scaigrid_tests::{CORES, Client, Db, Place, SCAICORE, eventually, on, on_both_databases, programs};
use serde_json::{Value, json};

on_both_databases!(
    what_computes_is_held_by_a_pause_and_goes_on_afterwards,
    what_computes_keeps_its_program,
    who_waits_a_little_is_answered_then,
    who_hangs_up_changes_nothing,
    what_ran_when_the_power_went_runs_on_where_it_was,
    what_expires_while_its_core_is_held_counts_afterwards,
    a_called_flow_can_be_cancelled_and_told_of,
    big_values_pass_through,
);

const ROUNDS: u32 = 100_000;

fn start(client: &Client, core: &str, rounds: u32) -> String {
    let body = json!({"flow": "spin", "input": {"rounds": rounds}});
    let started = client.post(&format!("{CORES}/{core}/invoke")).json(&body).answer(202).data();
    started["id"].as_str().unwrap().to_owned()
}

fn effects(client: &Client, execution: &str) -> usize {
    let journal = client.pages(&format!("{SCAICORE}/executions/{execution}/history"), "items");
    let seqs: BTreeSet<i64> = journal.iter().map(|entry| entry["seq"].as_i64().unwrap()).collect();
    assert_eq!(seqs.len(), journal.len(), "no number twice");
    journal.iter().filter(|entry| entry["type"] == "effect").count()
}

fn what_computes_is_held_by_a_pause_and_goes_on_afterwards(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Spin", &programs::spinning());
    let execution = start(&admin, &core, ROUNDS);
    assert_eq!(admin.act(&core, "pause"), "paused");
    // It stops where it is, soon; it does not run to its end.
    let rests = eventually("it rests", Duration::from_secs(5), || {
        let shown = admin.execution(&execution);
        (shown["status"] != "running").then_some(shown)
    });
    assert_ne!(rests["status"], "completed", "it was paused");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(admin.execution(&execution)["status"], rests["status"]);
    admin.act(&core, "resume");
    assert_eq!(admin.execution_becomes(&execution, "completed")["output"], ROUNDS);
    server.stop();
}

fn what_computes_keeps_its_program(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Spin", &programs::spinning());
    let execution = start(&admin, &core, 20_000);
    admin.put(&format!("{CORES}/{core}"), &json!({"source": programs::echo(2)})).answer(200);
    admin.act(&core, "restart");
    let done = admin.execution_becomes(&execution, "completed");
    assert_eq!((&done["output"], &done["source_version"]), (&json!(20_000), &json!(1)));
    assert_eq!(admin.invoke(&core, "echo", &json!({"value": 1}))["source_version"], 2);
    let body = json!({"flow": "spin", "input": {"rounds": 1}});
    let refusal = admin.post(&format!("{CORES}/{core}/invoke")).json(&body).refused(422, "VALIDATION_ERROR");
    assert_eq!(refusal.fields(), ["flow"]);
    server.stop();
}

fn who_waits_a_little_is_answered_then(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Spin", &programs::spinning());
    for wait in [0, 50] {
        let body = json!({"flow": "spin", "input": {"rounds": ROUNDS}, "wait_ms": wait});
        let answer = admin.post(&format!("{CORES}/{core}/invoke")).json(&body).answer(202).data();
        assert_ne!(answer["status"], "completed", "{answer}");
        let id = answer["id"].as_str().unwrap();
        admin.post(&format!("{SCAICORE}/executions/{id}/cancel")).exchange();
        admin.execution_becomes(id, "cancelled");
    }
    // The same where an answer sets it going.
    let mut program = programs::spinning();
    let body = program["flows"][0]["body"].as_array_mut().unwrap();
    body.insert(0, programs::checkpoint(&json!({})));
    let asks = admin.run("Ask and spin", &program);
    let (execution, checkpoint) = admin.invoke_to_checkpoint(&asks, "spin", &json!({"rounds": ROUNDS}));
    let path = format!("{SCAICORE}/checkpoints/{checkpoint}/resolve");
    let decided = admin.post(&path).json(&json!({"decision": "go", "wait_ms": 50})).answer(200).data();
    assert_eq!(decided["status"], "resolved");
    assert_ne!(decided["execution"]["status"], "completed", "{decided}");
    assert_eq!(admin.execution_becomes(&execution, "completed")["output"], ROUNDS);
    server.stop();
}

fn who_hangs_up_changes_nothing(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Spin", &programs::spinning());
    for (rounds, patience) in [(5000, 0), (5000, 5), (5001, 30), (5002, 120), (5003, 300)] {
        let body = json!({"flow": "spin", "input": {"rounds": rounds}, "wait_ms": 30_000});
        let request = admin.post(&format!("{CORES}/{core}/invoke")).json(&body);
        request.abandon(Duration::from_millis(patience));
    }
    // Those that were accepted end as if somebody had waited for them: the patient ones at least. What a busy server has not
    // begun yet may still come.
    let all = eventually("all have ended", Duration::from_secs(20), || {
        let all = admin.pages(&format!("{CORES}/{core}/executions"), "items");
        let ended = all.len() >= 2 && all.iter().all(|execution| execution["status"] == "completed");
        ended.then_some(all)
    });
    for execution in all {
        assert_eq!(execution["output"], execution["input"]["rounds"], "{execution}");
    }
    server.stop();
}

fn what_ran_when_the_power_went_runs_on_where_it_was(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Spin", &programs::spinning());
    let executions: Vec<String> = (0..3).map(|_| start(&admin, &core, 15_000)).collect();
    std::thread::sleep(Duration::from_millis(400));
    server.kill();
    let server = place.start();
    let admin = server.admin();
    let begun = Instant::now();
    for execution in &executions {
        assert_eq!(admin.execution_becomes(execution, "completed")["output"], 15_000);
    }
    println!("finished {:?} after the start", begun.elapsed());
    assert_eq!(effects(&admin, &executions[0]), 15_000, "each round once");
    server.stop();
}

fn what_expires_while_its_core_is_held_counts_afterwards(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Ask", &programs::asking(&json!({"timeout": "1s"})));
    let (execution, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    admin.act(&core, "pause");
    std::thread::sleep(Duration::from_millis(2500));
    assert_ne!(admin.execution(&execution)["status"], "failed", "it is paused");
    admin.act(&core, "resume");
    let failed = admin.execution_becomes(&execution, "failed");
    assert_eq!(failed["error"]["code"], "CHECKPOINT_EXPIRED");
    assert_eq!(admin.checkpoint(&checkpoint)["status"], "expired");
    server.stop();
}

fn a_called_flow_can_be_cancelled_and_told_of(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let call = json!({"kind": "core_call", "id": "call", "target": "core://self", "flow_name": "ask"});
    let caught = json!([{"kind": "try", "body": [call],
        "catch": [{"as": "e", "body": [{"kind": "rigid", "statements": [{"kind": "return", "value": "e.code"}]}]}]}]);
    let mut program = programs::asking(&json!({}));
    let caller = programs::flow("caller", &json!([]), &caught);
    program["flows"].as_array_mut().unwrap().push(caller);
    let core = admin.run("Calls", &program);
    // The called one is cancelled: the caller is told.
    let waiting = admin.invoke(&core, "caller", &json!({}));
    let parent = waiting["id"].as_str().unwrap().to_owned();
    let checkpoint = eventually("a checkpoint", Duration::from_secs(10), || {
        admin.execution(&parent)["checkpoints"][0].as_str().map(str::to_owned)
    });
    let child = admin.checkpoint(&checkpoint)["execution_id"].as_str().unwrap().to_owned();
    admin.post(&format!("{SCAICORE}/executions/{child}/cancel")).exchange();
    assert_eq!(admin.execution_becomes(&child, "cancelled")["output"], Value::Null);
    assert_eq!(admin.execution_becomes(&parent, "completed")["output"], "CALL_CANCELLED");
    // The caller is cancelled: nobody waits for the called one any more, and nobody is asked.
    let waiting = admin.invoke(&core, "caller", &json!({}));
    let parent = waiting["id"].as_str().unwrap().to_owned();
    let checkpoint = eventually("a checkpoint", Duration::from_secs(10), || {
        admin.execution(&parent)["checkpoints"][0].as_str().map(str::to_owned)
    });
    let child = admin.checkpoint(&checkpoint)["execution_id"].as_str().unwrap().to_owned();
    admin.post(&format!("{SCAICORE}/executions/{parent}/cancel")).exchange();
    admin.execution_becomes(&parent, "cancelled");
    admin.execution_becomes(&child, "cancelled");
    assert_eq!(admin.checkpoint(&checkpoint)["status"], "cancelled");
    server.stop();
}

fn big_values_pass_through(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Echo", &programs::echo(1));
    let value = json!({"text": "é".repeat(300_000), "list": (0..20_000).collect::<Vec<u32>>()});
    let done = admin.invoke(&core, "echo", &json!({"value": value}));
    assert_eq!(done["output"]["value"], value);
    let id = done["id"].as_str().unwrap();
    server.kill();
    let server = place.start();
    assert_eq!(server.admin().execution(id)["output"]["value"], value);
    server.stop();
}

#[test]
fn what_expires_is_told_once_though_two_nodes_see_it() {
    on(Db::Postgres, |place| {
        let first = place.start();
        let second = place.further_node("second").start();
        let admin = first.admin();
        let (target, _) = admin.user("second@example.org", &["tenant_admin"]);
        let more =
            json!({"timeout": "1s", "on_timeout": "escalate", "escalation_target": format!("user:{target}")});
        let core = admin.run("Escalates", &programs::asking(&more));
        let expires =
            admin.run("Expires", &programs::asking(&json!({"timeout": "1s", "on_timeout": "expire"})));
        let waiting: Vec<_> =
            (0..10).map(|_| admin.invoke_to_checkpoint(&core, "ask", &json!({})).1).collect();
        let failing: Vec<_> =
            (0..10).map(|_| admin.invoke_to_checkpoint(&expires, "ask", &json!({})).0).collect();
        for execution in &failing {
            second.admin().execution_becomes(execution, "failed");
        }
        std::thread::sleep(Duration::from_millis(1500));
        for checkpoint in &waiting {
            let told = admin.get(&format!("{SCAICORE}/checkpoints/{checkpoint}/history")).answer(200).data();
            let told = told["items"].as_array().unwrap().clone();
            assert_eq!(told.len(), 2, "created and escalated, once: {told:?}");
        }
        first.stop();
        second.stop();
    });
}
