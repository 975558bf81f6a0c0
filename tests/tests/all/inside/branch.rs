//! Going on from the past: a failed execution from where it failed, and new ones that share what was recorded.

use std::collections::BTreeSet;

use scaigrid_tests::programs::{flow, program, rigid};
use scaigrid_tests::{
    Behaviour, CORES, Client, Place, Plugin, PluginCall, SCAICORE, on_both_databases, programs,
};
use serde_json::{Value, json};

on_both_databases!(
    a_failed_call_is_made_again_and_nothing_else,
    of_many_who_retry_one_does,
    a_fork_shares_what_was_recorded,
    state_is_shown_as_it_stood,
    what_is_tried_again_is_told_of,
    a_name_that_was_used_is_no_other_calls,
    what_may_have_been_carried_out_is_not_done_twice,
    what_was_allowed_once_is_asked_again,
    a_fork_of_what_is_large_shows_what_it_was_given,
);

const REGISTRY: &str = "/v1/modules/scaicore/plugins/registry";

fn history(client: &Client, execution: &str) -> Vec<Value> {
    client.pages(&format!("{SCAICORE}/executions/{execution}/history"), "items")
}

/// A flow that counts in memory, says so, makes an unsafe call, and counts once more.
fn counting() -> Value {
    let mut program = program(
        "Counting",
        &[flow(
            "go",
            &json!([]),
            &json!([
                rigid(
                    "before",
                    &json!([
                        {"kind": "memory", "op": "update", "target": "count", "value": "n => (n ?? 0) + 1"},
                        {"kind": "emit", "event": "begun"},
                    ])
                ),
                rigid(
                    "calls",
                    &json!([{"kind": "plugin_call", "alias": "stub", "method": "shout", "args": {"n": "1"},
                "result_binding": "got"}])
                ),
                rigid(
                    "after",
                    &json!([
                        {"kind": "memory", "op": "update", "target": "count", "value": "n => (n ?? 0) + 1"},
                        {"kind": "return", "value": "{count: memory.count, got: got}"},
                    ])
                ),
            ]),
        )],
    );
    program["memory"] = json!({"count": {"type": "int", "default": 0}});
    program["plugins"] = json!([{"alias": "stub", "plugin": "acme/stub", "config": {}, "required": true}]);
    program
}

fn settle(place: &Place) -> (scaigrid_tests::Server, Plugin, String) {
    let server = place.launch().set("SCAIGRID_EGRESS_ALLOW", "127.0.0.1").start();
    let admin = server.admin();
    let plugin = Plugin::start();
    let entry = json!({"plugin": "acme/stub", "kind": "http", "endpoint": plugin.http(), "manifest": Plugin::manifest()});
    admin.post(REGISTRY).json(&entry).answer(201);
    let core = admin.run("Count", &counting());
    (server, plugin, core)
}

fn refusal() -> Behaviour {
    Behaviour::Status(
        400,
        String::new(),
        "{\"error\": {\"code\": \"NO\", \"message\": \"not now\"}}".to_owned(),
    )
}

fn a_failed_call_is_made_again_and_nothing_else(place: &Place) {
    let (server, plugin, core) = settle(place);
    let admin = server.admin();
    plugin.then([refusal(), refusal()]);
    let failed = admin.invoke(&core, "go", &json!({}));
    assert_eq!(
        (&failed["status"], &failed["error"]["code"]),
        (&json!("failed"), &json!("PLUGIN_ERROR")),
        "{failed}"
    );
    let id = failed["id"].as_str().unwrap();
    let path = format!("{SCAICORE}/executions/{id}/retry");
    // It fails once more, then it goes through; each time under a name of its own, for under the old one a plugin would repeat
    // what it said.
    let again = admin.post(&path).answer(202).data();
    assert!(again["error"].is_null() && again["finished_at"].is_null(), "{again}");
    admin.execution_becomes(id, "failed");
    // The power goes before anybody has seen to it.
    admin.act(&core, "pause");
    admin.post(&path).answer(202);
    server.kill();
    let server = place.launch().set("SCAIGRID_EGRESS_ALLOW", "127.0.0.1").start();
    let admin = server.admin();
    assert_eq!(admin.execution(id)["status"], "queued");
    admin.act(&core, "resume");
    let done = admin.execution_becomes(id, "completed");
    assert_eq!(done["output"]["count"], 2, "what was before is not done again");
    let keys: BTreeSet<String> = plugin.calls().iter().map(PluginCall::key).collect();
    assert_eq!((plugin.calls().len(), keys.len()), (3, 3), "{keys:?}");
    let events = admin.pages(&format!("{CORES}/{core}/events/history?type=begun"), "events");
    assert_eq!(events.len(), 1, "nothing is published twice");
    let entries = history(&admin, id);
    assert_eq!(entries.iter().filter(|entry| entry["type"] == "retried").count(), 2);
    assert!(entries.iter().zip(0..).all(|(entry, seq)| entry["seq"] == seq), "no number is missing");
    // Each time that a block was entered is told of.
    let told =
        admin.pages(&format!("{CORES}/{core}/events/history?type=scaicore.runtime.block.failed"), "events");
    assert_eq!(told.len(), 2);
    // What has not failed is not tried again.
    admin.post(&path).refused(409, "CONFLICT");
    let records = admin.get("/v1/audit/events?action=execution.retry").answer(200).json();
    assert_eq!(records["data"]["items"].as_array().unwrap().len(), 2);
    server.stop();
}

fn of_many_who_retry_one_does(place: &Place) {
    let (server, plugin, core) = settle(place);
    let admin = server.admin();
    plugin.then([refusal()]);
    let failed = admin.invoke(&core, "go", &json!({}));
    let id = failed["id"].as_str().unwrap();
    let statuses: Vec<u16> = std::thread::scope(|threads| {
        let asking: Vec<_> = (0..6)
            .map(|_| {
                let admin = &admin;
                threads
                    .spawn(move || admin.post(&format!("{SCAICORE}/executions/{id}/retry")).exchange().status)
            })
            .collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 202).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [202, 409].contains(status)), "{statuses:?}");
    assert_eq!(admin.execution_becomes(id, "completed")["output"]["count"], 2);
    assert_eq!(plugin.calls().len(), 2);
    server.stop();
}

fn a_fork_shares_what_was_recorded(place: &Place) {
    let (server, plugin, core) = settle(place);
    let admin = server.admin();
    let done = admin.invoke(&core, "go", &json!({}));
    assert_eq!(done["output"]["count"], 2, "{done}");
    let id = done["id"].as_str().unwrap();
    let entries = history(&admin, id);
    let answered = entries.iter().position(|entry| entry["type"] == "outcome").unwrap();
    // Behind the call: that is not made again, and what was counted before is not counted again.
    let body = json!({"at": answered});
    let forked = admin.post(&format!("{SCAICORE}/executions/{id}/fork")).json(&body).answer(202).data();
    assert_eq!(forked["forked_from"], json!({"execution_id": id, "at": answered}));
    let new = forked["id"].as_str().unwrap();
    assert_ne!(new, id);
    let done = admin.execution_becomes(new, "completed");
    assert_eq!(done["output"]["count"], 3, "one more, and not two");
    assert_eq!(plugin.calls().len(), 1);
    // Before it: it is made under the new execution's name.
    let intent = entries.iter().position(|entry| entry["kind"] == "plugin_call").unwrap();
    for at in [intent, intent - 1] {
        let body = json!({"at": at});
        let forked = admin.post(&format!("{SCAICORE}/executions/{id}/fork")).json(&body).answer(202).data();
        let new = forked["id"].as_str().unwrap();
        admin.execution_becomes(new, "completed");
        assert!(plugin.calls().last().unwrap().key().starts_with(new));
    }
    assert_eq!(plugin.calls().len(), 3);
    let path = format!("{SCAICORE}/executions/{id}/fork");
    for body in [json!({"at": entries.len()}), json!({"at": -1}), json!({"at": 1})] {
        // The second entry is the first half of an update.
        let refused = admin.post(&path).json(&body).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), ["at"], "{body}");
    }
    // The original is as it was.
    assert_eq!(history(&admin, id), entries);

    // A checkpoint that was open by then is opened anew; another input must lead the same way.
    let asks = program(
        "Ask",
        &[flow(
            "ask",
            &json!([{"name": "n", "type": "int"}]),
            &json!([
                programs::rigid("say", &json!([{"kind": "log", "message": "${n > 5}"}])),
                programs::checkpoint(&json!({})),
                rigid("end", &json!([{"kind": "return", "value": "{n: n, answer: answer.decision}"}])),
            ]),
        )],
    );
    let core = admin.run("Ask", &asks);
    let (original, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({"n": 7}));
    let path = format!("{SCAICORE}/executions/{original}/fork");
    let last = history(&admin, &original).len() - 1;
    let body = json!({"at": last, "input": {"n": 9}});
    let forked = admin.post(&path).json(&body).answer(202).data();
    let new = forked["id"].as_str().unwrap();
    let waits = admin.execution_becomes(new, "suspended");
    let own = waits["checkpoints"][0].as_str().unwrap();
    assert_ne!(own, checkpoint);
    admin.resolve(own, "second");
    assert_eq!(admin.execution(new)["output"], json!({"n": 9, "answer": "second"}));
    assert_eq!(admin.execution(&original)["status"], "suspended");
    admin.resolve(&checkpoint, "first");
    assert_eq!(admin.execution(&original)["output"], json!({"n": 7, "answer": "first"}));
    let refused =
        admin.post(&path).json(&json!({"at": last, "input": {"n": 1}})).refused(422, "VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["input"]);
    // A Core that takes no work takes no fork either.
    admin.act(&core, "stop");
    admin.post(&path).json(&json!({"at": 0})).refused(409, "CORE_NOT_RUNNING");
    server.stop();
}

fn state_is_shown_as_it_stood(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Talk", &super::talking());
    let id = admin.invoke(&core, "talk", &json!({"times": 3}))["id"].as_str().unwrap().to_owned();
    let path = format!("{SCAICORE}/executions/{id}/state");
    let mut counted = Vec::new();
    for entry in history(&admin, &id) {
        let state = admin.get(&format!("{path}?at={}", entry["seq"])).answer(200).data();
        assert_eq!(state["at"], entry["seq"]);
        if entry["kind"] == "log" {
            // The step after the entry has been taken: the write of memory is next.
            assert_eq!(state["frames"][0]["frames"][0]["block"], "say", "{state}");
            assert_eq!(state["frames"][0]["frames"][1]["kind"], "while", "{state}");
            counted.push(state["variables"]["i"].as_i64().unwrap());
        }
    }
    assert_eq!(counted, [1, 2, 3]);
    let end = admin.get(&path).answer(200).data();
    assert_eq!(
        (&end["variables"]["i"], &end["status"], &end["frames"]),
        (&json!(3), &json!("completed"), &json!([]))
    );
    for at in ["-1", "1000", "x"] {
        let refused = admin.get(&format!("{path}?at={at}")).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), ["at"]);
    }
    admin.in_tenant(&admin.tenant("other")).get(&path).refused(404, "EXECUTION_NOT_FOUND");
    server.stop();
}

fn what_is_tried_again_is_told_of(place: &Place) {
    let (server, plugin, _) = settle(place);
    let admin = server.admin();
    let mut program = program(
        "Again",
        &[flow(
            "go",
            &json!([]),
            &json!([{"kind": "rigid", "id": "calls", "retry": {"max": 1}, "statements": [
                {"kind": "plugin_call", "alias": "stub", "method": "echo", "args": {"n": "1"}}]}]),
        )],
    );
    program["plugins"] = json!([{"alias": "stub", "plugin": "acme/stub", "config": {}, "required": true}]);
    let core = admin.run("Again", &program);
    let busy = || Behaviour::Status(503, String::new(), "{}".to_owned());
    plugin.then([busy(), refusal()]);
    let done = admin.invoke(&core, "go", &json!({}));
    assert_eq!(done["status"], "completed", "{done}");
    let id = done["id"].as_str().unwrap();
    let told = admin.pages(&format!("{SCAICORE}/executions/{id}/logs?level=warn"), "logs");
    let messages: Vec<&str> = told.iter().rev().map(|entry| entry["message"].as_str().unwrap()).collect();
    let expected =
        ["stub.echo is called again after PLUGIN_ERROR", "block calls is tried again after PLUGIN_ERROR"];
    assert_eq!(messages, expected);
    assert_eq!(told[0]["block"], "calls");
    server.stop();
}

fn with_stub(body: &Value) -> Value {
    let mut program =
        program("Stubbed", &[flow("go", &json!([{"name": "text", "type": "string", "default": ""}]), body)]);
    program["plugins"] = json!([{"alias": "stub", "plugin": "acme/stub", "config": {}, "required": true}]);
    program
}

fn call(method: &str, what: &str) -> Value {
    rigid(
        what,
        &json!([{"kind": "plugin_call", "alias": "stub", "method": method, "args": {"what": format!("'{what}'")},
            "result_binding": "got"}]),
    )
}

fn retry(client: &Client, id: &str) -> String {
    client.post(&format!("{SCAICORE}/executions/{id}/retry")).answer(202).data()["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn a_name_that_was_used_is_no_other_calls(place: &Place) {
    let (server, plugin, _) = settle(place);
    let admin = server.admin();
    // The plugin remembers what it did under each key.
    let body = json!([
        {"kind": "try", "body": [call("keep", "pack")], "finally": [call("keep", "unlock")]},
        call("keep", "ship"),
        rigid("end", &json!([{"kind": "return", "value": "got.args.what"}])),
    ]);
    let core = admin.run("Ships", &with_stub(&body));
    plugin.then([refusal()]);
    let failed = admin.invoke(&core, "go", &json!({}));
    assert_eq!(failed["status"], "failed", "{failed}");
    let id = retry(&admin, failed["id"].as_str().unwrap());
    assert_eq!(admin.execution_becomes(&id, "completed")["output"], "ship");
    let calls = plugin.calls();
    let what: Vec<&str> = calls.iter().map(|call| call.args["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["pack", "unlock", "pack", "unlock", "ship"]);
    assert_eq!(calls.iter().map(PluginCall::key).collect::<BTreeSet<_>>().len(), 5);
    assert_eq!(plugin.carried_out(), 4, "all but the one that was refused");
    server.stop();
}

fn what_may_have_been_carried_out_is_not_done_twice(place: &Place) {
    let (server, plugin, _) = settle(place);
    let admin = server.admin();
    let end = rigid("end", &json!([{"kind": "return", "value": "got"}]));
    let program = |method: &str| with_stub(&json!([call(method, "once"), end]));
    let failed_at = |core: &str| {
        let failed = admin.invoke(core, "go", &json!({}));
        assert_eq!(
            (&failed["status"], &failed["error"]["code"]),
            (&json!("failed"), &json!("PLUGIN_UNREACHABLE"))
        );
        failed["id"].as_str().unwrap().to_owned()
    };
    // A keyed one is called again under its key, and says what it gave.
    let keyed = admin.run("Keyed", &program("keep"));
    plugin.then(std::iter::repeat_n(Behaviour::Cut, 4));
    let id = retry(&admin, &failed_at(&keyed));
    admin.execution_becomes(&id, "completed");
    assert_eq!(plugin.carried_out(), 1);
    let keys: BTreeSet<String> = plugin.calls().iter().map(PluginCall::key).collect();
    assert_eq!((plugin.calls().len(), keys.len()), (5, 1));
    // A queryable one is asked.
    let queryable = admin.run("Queryable", &program("pay"));
    plugin.then([Behaviour::Cut]);
    let id = retry(&admin, &failed_at(&queryable));
    admin.execution_becomes(&id, "completed");
    assert_eq!((plugin.carried_out(), plugin.calls().last().unwrap().method.as_str()), (2, "status"));
    // Of an unsafe one a person is.
    let blunt = admin.run("Blunt", &program("shout"));
    plugin.then([Behaviour::Cut]);
    let id = retry(&admin, &failed_at(&blunt));
    let waits = admin.execution_becomes(&id, "suspended");
    let checkpoint = waits["checkpoints"][0].as_str().unwrap();
    assert_eq!(admin.checkpoint(checkpoint)["checkpoint_type"], "call_in_doubt");
    let answer = json!({"decision": "completed", "response_data": "it was heard"});
    admin.post(&format!("{SCAICORE}/checkpoints/{checkpoint}/resolve")).json(&answer).answer(200);
    assert_eq!(admin.execution_becomes(&id, "completed")["output"], "it was heard");
    assert_eq!(plugin.carried_out(), 3);
    server.stop();
}

fn what_was_allowed_once_is_asked_again(place: &Place) {
    let (server, plugin, _) = settle(place);
    let admin = server.admin();
    let approval = json!({"options": ["approve", "reject"],
        "action": {"alias": "stub", "method": "shout", "args": {"what": "'pay'"}}});
    let body = json!([
        programs::checkpoint(&approval),
        rigid("waits", &json!([{"kind": "log", "message": "allowed"}])),
        call("shout", "pay"),
        rigid("end", &json!([{"kind": "return", "value": "got.args.what"}])),
    ]);
    let core = admin.run("Pays", &with_stub(&body));
    plugin.then([refusal()]);
    let (id, checkpoint) = admin.invoke_to_checkpoint(&core, "go", &json!({}));
    admin.resolve(&checkpoint, "approve");
    let failed = admin.execution_becomes(&id, "failed");
    assert_eq!(failed["error"]["code"], "PLUGIN_ERROR", "{failed}");
    // Once more would be a second call on one approval.
    let refused = admin.post(&format!("{SCAICORE}/executions/{id}/retry")).refused(409, "CONFLICT");
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("stub.shout"), "{refused}");
    let entries = history(&admin, &id);
    let answered = entries.iter().position(|entry| entry["type"] == "outcome").unwrap();
    let called = entries.iter().position(|entry| entry["kind"] == "plugin_call").unwrap();
    let path = format!("{SCAICORE}/executions/{id}/fork");
    for at in answered..=called {
        let refused = admin.post(&path).json(&json!({"at": at})).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), ["at"], "{at}");
    }
    // Before the answer somebody is asked again.
    let body = json!({"at": answered - 1});
    let forked = admin.post(&path).json(&body).answer(202).data();
    let new = forked["id"].as_str().unwrap();
    let waits = admin.execution_becomes(new, "suspended");
    assert_eq!(plugin.calls().len(), 1);
    admin.resolve(waits["checkpoints"][0].as_str().unwrap(), "approve");
    assert_eq!(admin.execution_becomes(new, "completed")["output"], "pay");
    assert_eq!(plugin.calls().len(), 2);
    server.stop();
}

fn a_fork_of_what_is_large_shows_what_it_was_given(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let asks = program(
        "Ask",
        &[flow(
            "ask",
            &json!([{"name": "text", "type": "string"}]),
            &json!([
                programs::checkpoint(&json!({})),
                rigid("end", &json!([{"kind": "return", "value": "text"}]))
            ]),
        )],
    );
    let core = admin.run("Ask", &asks);
    let text = "ä".repeat(100_000);
    let (id, _) = admin.invoke_to_checkpoint(&core, "ask", &json!({"text": text}));
    let at = history(&admin, &id).len() - 1;
    let path = format!("{SCAICORE}/executions/{id}/fork");
    for input in [None, Some("ö".repeat(100_000))] {
        let given = input.clone().unwrap_or_else(|| text.clone());
        let mut body = json!({"at": at});
        if let Some(input) = input {
            body["input"] = json!({"text": input});
        }
        let forked = admin.post(&path).json(&body).answer(202).data();
        assert_eq!(forked["input"]["text"], given);
        let new = forked["id"].as_str().unwrap();
        let waits = admin.execution_becomes(new, "suspended");
        assert_eq!(waits["input"]["text"], given);
        admin.resolve(waits["checkpoints"][0].as_str().unwrap(), "yes");
        assert_eq!(admin.execution_becomes(new, "completed")["output"], given);
        assert_eq!(history(&admin, new)[0]["input"]["text"], given);
    }
    server.stop();
}
