//! Whoever started an execution does not decide what it asks, whichever way it was started and whichever way they come.

use std::time::Duration;

use scaigrid_tests::{
    Behaviour, CORES, Client, Place, Plugin, SCAICORE, eventually, on_both_databases, programs,
};
use serde_json::{Value, json};

use crate::approvals::{at, decide, history, inbox, people};

on_both_databases!(
    whoever_started_it_does_not_decide_it,
    who_asked_is_known_on_every_path,
    whoever_tries_again_has_asked_too,
    a_public_call_with_credentials_is_its_callers,
);

const PATIENCE: Duration = Duration::from_secs(15);

/// That somebody may look at a checkpoint and do nothing else, whichever way they come.
fn kept_out(client: &Client, checkpoint: &str) {
    assert_eq!(client.checkpoint(checkpoint)["exclude_requester"], true);
    assert!(!inbox(client).contains(&checkpoint.to_owned()), "it does not wait for them");
    for (what, body) in [
        ("resolve", json!({"decision": "approve"})),
        ("cancel", Value::Null),
        ("claim", Value::Null),
        ("release", Value::Null),
        ("reassign", json!({"assignee": "role:tenant_viewer"})),
        ("link", Value::Null),
    ] {
        let request = client.post(&at(checkpoint, what));
        let request = if body.is_null() { request } else { request.json(&body) };
        let refused = request.refused(403, "AUTHZ_PERMISSION_DENIED");
        assert!(refused.text().contains("started the execution"), "{what}: {refused}");
    }
    for (action, body) in [
        ("resolve", json!({"decision": "approve"})),
        ("cancel", json!({})),
        ("claim", json!({})),
        ("reassign", json!({"assignee": "role:tenant_viewer"})),
    ] {
        let mut bulk = json!({"ids": [checkpoint], "action": action});
        bulk.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let done = client.post(&format!("{SCAICORE}/checkpoints/bulk")).json(&bulk).answer(200).data();
        assert_eq!(done["results"][0]["code"], "AUTHZ_PERMISSION_DENIED", "{done}");
    }
    assert_eq!(history(client, checkpoint), ["created"]);
}

fn whoever_started_it_does_not_decide_it(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let [(_, ada), (bob, bob_client)] = people(&server, &admin);
    let more =
        json!({"options": ["approve", "reject"], "exclude_requester": true, "assignee": "role:tenant_admin"});
    let core = admin.host("Own request", &programs::asking(&more));
    let links = json!({"metadata": {"checkpoints": {"links": true}}});
    admin.put(&format!("{SCAICORE}/cores/{core}"), &links).answer(200);
    admin.act(&core, "start");
    admin.status_becomes(&core, "running");
    let (_, checkpoint) = ada.invoke_to_checkpoint(&core, "ask", &json!({}));
    kept_out(&ada, &checkpoint);
    assert!(inbox(&bob_client).contains(&checkpoint));
    // Another key of the same person is the same person.
    let key = ada.post("/v1/api-keys").json(&json!({"name": "another"})).answer(201).data();
    kept_out(&server.client(key["key"].as_str().unwrap()), &checkpoint);
    let done = decide(&bob_client, &checkpoint, "approve").data();
    assert_eq!((&done["status"], &done["resolved_by"]), (&json!("resolved"), &json!(bob)));
    let record = admin.get(&at(&checkpoint, "decision")).answer(200).data();
    assert_eq!(record["excluded"].as_array().unwrap().len(), 1, "{record}");
    server.stop();
}

fn who_asked_is_known_on_every_path(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let [(_, ada), (_, bob)] = people(&server, &admin);
    let ask = programs::checkpoint(&json!({"exclude_requester": true, "assignee": "role:tenant_admin"}));
    let back = json!({"kind": "rigid", "statements": [{"kind": "return", "value": "answer"}]});
    let mut program = programs::program(
        "Paths",
        &[
            programs::flow("ask", &json!([]), &json!([ask.clone(), back.clone()])),
            programs::flow(
                "call",
                &json!([]),
                &json!([{"kind": "core_call", "target": "core://self", "flow_name": "ask"}]),
            ),
            programs::flow(
                "emit",
                &json!([]),
                &json!([{"kind": "rigid", "statements": [{"kind": "emit", "event": "wanted", "data": "1"}]}]),
            ),
            programs::flow("hear", &json!([]), &json!([ask, back])),
        ],
    );
    program["triggers"] =
        json!([{"kind": "event", "name": "wanted", "event": "wanted", "target_flow": "hear"}]);
    let core = admin.run("Paths", &program);
    let waiting = |known: &[String]| {
        eventually("another one waits", PATIENCE, || inbox(&bob).into_iter().find(|id| !known.contains(id)))
    };
    let mut known: Vec<String> = Vec::new();
    // By a call of another flow, by an event that was sent, by one that was published.
    ada.invoke(&core, "call", &json!({}));
    known.push(waiting(&known));
    let event = json!({"event_name": "wanted", "data": {}});
    ada.post(&format!("{SCAICORE}/cores/{core}/events")).json(&event).answer(202);
    known.push(waiting(&known));
    ada.invoke(&core, "emit", &json!({}));
    known.push(waiting(&known));
    for checkpoint in &known {
        let body = json!({"decision": "x"});
        let refused =
            ada.post(&at(checkpoint, "resolve")).json(&body).refused(403, "AUTHZ_PERMISSION_DENIED");
        assert!(refused.text().contains("started the execution"), "{refused}");
    }
    // Who branches an execution off has asked for it too, and so has whoever had before.
    let (execution, first) = ada.invoke_to_checkpoint(&core, "ask", &json!({}));
    known.push(first);
    bob.post(&format!("{SCAICORE}/executions/{execution}/fork")).json(&json!({"at": 0})).answer(202);
    let pages = || admin.pages(&format!("{SCAICORE}/checkpoints/all?status=pending"), "items");
    let forked = eventually("the branch waits", PATIENCE, || {
        let ids = pages().into_iter().map(|item| item["id"].as_str().unwrap().to_owned());
        ids.into_iter().find(|id| !known.contains(id))
    });
    for client in [&ada, &bob] {
        let body = json!({"decision": "x"});
        client.post(&at(&forked, "resolve")).json(&body).refused(403, "AUTHZ_PERMISSION_DENIED");
    }
    assert_eq!(decide(&admin, &forked, "x").status, 200);
    for checkpoint in &known {
        assert_eq!(decide(&bob, checkpoint, "x").status, 200);
    }
    server.stop();
}

fn whoever_tries_again_has_asked_too(place: &Place) {
    let server = place.launch().set("SCAIGRID_EGRESS_ALLOW", "127.0.0.1").start();
    let admin = server.admin();
    let [(_, ada), (_, bob), (_, eve)] = people(&server, &admin);
    let plugin = Plugin::start();
    let entry = json!({"plugin": "acme/stub", "kind": "http", "endpoint": plugin.http(), "manifest": Plugin::manifest()});
    admin.post(&format!("{SCAICORE}/plugins/registry")).json(&entry).answer(201);
    let call = json!({"kind": "plugin_call", "alias": "stub", "method": "shout", "args": {"n": "1"}, "result_binding": "got"});
    let ask = programs::checkpoint(&json!({"exclude_requester": true, "assignee": "role:tenant_admin"}));
    let body = json!([programs::rigid("calls", &json!([call])), ask]);
    let mut program = programs::program("Again", &[programs::flow("go", &json!([]), &body)]);
    program["plugins"] = json!([{"alias": "stub", "plugin": "acme/stub", "config": {}, "required": true}]);
    let core = admin.run("Again", &program);
    let refusal = "{\"error\": {\"code\": \"NO\", \"message\": \"not now\"}}";
    plugin.then([Behaviour::Status(400, String::new(), refusal.to_owned())]);
    let failed = ada.invoke(&core, "go", &json!({}));
    assert_eq!(failed["status"], "failed", "{failed}");
    let id = failed["id"].as_str().unwrap();
    bob.post(&format!("{SCAICORE}/executions/{id}/retry")).answer(202);
    let checkpoint = eventually("it waits", PATIENCE, || inbox(&eve).first().cloned());
    for client in [&ada, &bob] {
        let body = json!({"decision": "x"});
        client.post(&at(&checkpoint, "resolve")).json(&body).refused(403, "AUTHZ_PERMISSION_DENIED");
    }
    assert_eq!(decide(&eve, &checkpoint, "x").status, 200);
    server.stop();
}

fn a_public_call_with_credentials_is_its_callers(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let [(_, ada), (_, bob)] = people(&server, &admin);
    let more = json!({"exclude_requester": true, "assignee": "role:tenant_admin"});
    let mut program = programs::asking(&more);
    program["triggers"] = json!([{"kind": "api", "name": "asks", "method": "POST", "path": "/ask",
        "public": true, "target_flow": "ask"}]);
    let core = admin.run("Public", &program);
    let path = format!("{CORES}/{core}/api/invoke/ask?wait_ms=0");
    let told = ada.post(&path).answer(202).json();
    assert_eq!(told["data"]["checkpoints"], Value::Null, "it is answered like everybody's: {told}");
    let checkpoint = eventually("it waits", PATIENCE, || inbox(&bob).first().cloned());
    let body = json!({"decision": "x"});
    ada.post(&at(&checkpoint, "resolve")).json(&body).refused(403, "AUTHZ_PERMISSION_DENIED");
    assert_eq!(decide(&bob, &checkpoint, "x").status, 200);
    // Of one that nobody known has called nothing is known.
    server.anyone().post(&path).answer(202);
    let checkpoint = eventually("it waits", PATIENCE, || inbox(&ada).first().cloned());
    assert_eq!(decide(&ada, &checkpoint, "x").status, 200);
    server.stop();
}
