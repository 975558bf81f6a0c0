//! Calls of plugins by programs: made durably, once, whatever comes between; given up with their connection.

use std::time::Duration;

use scaigrid_tests::{
    Behaviour, CORES, Client, Place, Plugin, SCAICORE, Server, eventually, on_both_databases,
};
use serde_json::{Value, json};

on_both_databases!(
    what_was_not_written_down_is_done_once,
    a_person_is_asked_what_became_of_an_unsafe_call,
    a_person_may_have_it_made_again,
    errors_can_be_caught_and_passing_ones_pass,
    cancelling_closes_the_connection_and_nothing_follows,
    what_is_deleted_tears_its_calls,
    who_goes_away_tears_no_call,
    a_held_core_ends_its_call_and_begins_no_other,
    many_calls_go_out_side_by_side,
    a_budget_for_three_lets_three_through,
    an_approval_is_for_these_arguments_and_for_once,
    an_approval_is_for_where_the_call_goes,
    an_approval_that_is_over_repeats_no_call,
    side_by_side_and_answered_in_reverse,
    a_question_in_a_call_in_a_branch,
    sigterm_lets_calls_end,
    another_core_of_the_tenant_is_called,
    what_fails_in_a_call_is_the_cause_and_not_the_place,
    what_calls_gave_survives_conflicts_over_memory,
    what_a_call_gave_that_cannot_be_stored_leaves_no_doubt,
);

const SOON: Duration = Duration::from_secs(20);
const REGISTRY: &str = "/v1/modules/scaicore/plugins/registry";

fn start(place: &Place) -> Server {
    place.launch().set("SCAIGRID_EGRESS_ALLOW", "127.0.0.1").start()
}

/// A server, its admin, and a plugin that is registered there.
fn settle(place: &Place) -> (Server, Client, Plugin) {
    let server = start(place);
    let admin = server.admin();
    let plugin = Plugin::start();
    let entry = json!({"plugin": "acme/stub", "kind": "http", "endpoint": plugin.http(), "manifest": Plugin::manifest()});
    admin.post(REGISTRY).json(&entry).answer(201);
    (server, admin, plugin)
}

fn program(flows: &Value) -> Value {
    json!({
        "schema_version": "0.2", "name": "Caller", "version": "1.0.0",
        "plugins": [{"alias": "stub", "plugin": "acme/stub", "config": {}, "required": true}],
        "flows": flows,
    })
}

fn call(method: &str, args: &Value, binding: &str) -> Value {
    json!({"kind": "plugin_call", "alias": "stub", "method": method, "args": args, "result_binding": binding})
}

/// A flow that makes one call and returns what it gave.
fn one_call(method: &str) -> Value {
    json!([{"name": "go", "params": [], "body": [
        {"kind": "rigid", "id": "calls", "statements": [
            call(method, &json!({"n": "1"}), "got"),
            {"kind": "return", "value": "got"},
        ]},
    ]}])
}

fn begin(client: &Client, core: &str, flow: &str) -> String {
    let body = json!({"flow": flow, "input": {}});
    let execution = client.post(&format!("{CORES}/{core}/invoke")).json(&body).answer(202).data();
    execution["execution_id"].as_str().unwrap_or_else(|| execution["id"].as_str().unwrap()).to_owned()
}

fn called(plugin: &Plugin, times: usize) {
    eventually(&format!("{times} calls"), SOON, || (plugin.calls().len() >= times).then_some(()));
}

/// Has a call begin, kills the server once the plugin has carried it out, and starts it again.
fn killed_in_the_midst(place: &Place, method: &str) -> (Server, Client, Plugin, String) {
    let (server, admin, plugin) = settle(place);
    let core = admin.run("caller", &program(&one_call(method)));
    plugin.then([Behaviour::Late(Duration::from_secs(30))]);
    let execution = begin(&admin, &core, "go");
    eventually("the call is carried out", SOON, || (plugin.carried_out() == 1).then_some(()));
    server.kill();
    let server = start(place);
    let admin = server.admin();
    (server, admin, plugin, execution)
}

fn what_was_not_written_down_is_done_once(place: &Place) {
    for method in ["keep", "echo", "pay"] {
        let place = Place::fresh(place.db()).unwrap();
        let (_server, admin, plugin, execution) = killed_in_the_midst(&place, method);
        let ended = admin.execution_becomes(&execution, "completed");
        assert_eq!(ended["output"]["args"], json!({"n": 1}), "{method}: {ended}");
        assert_eq!(plugin.carried_out(), 1, "{method}");
        let calls = plugin.calls();
        let key = format!("{execution}:");
        if method == "pay" {
            // The plugin was asked what became of it, and it was not made again.
            assert_eq!((calls.len(), calls[1].method.as_str()), (2, "status"));
        } else {
            assert_eq!(calls.len(), 2, "{method}");
            assert_eq!(calls[0].key(), calls[1].key(), "{method}");
            assert!(calls[0].key().starts_with(&key), "{method}: {}", calls[0].key());
        }
        place.leave();
    }
}

fn question(admin: &Client, execution: &str) -> Value {
    let all = format!("{SCAICORE}/checkpoints/all?status=pending");
    eventually("a person is asked", SOON, || {
        let pending = admin.get(&all).answer(200).data();
        pending["items"].as_array().unwrap().iter().find(|one| one["execution_id"] == *execution).cloned()
    })
}

fn a_person_is_asked_what_became_of_an_unsafe_call(place: &Place) {
    let (_server, admin, plugin, execution) = killed_in_the_midst(place, "shout");
    let asked = question(&admin, &execution);
    assert_eq!(asked["checkpoint_type"], "call_in_doubt", "{asked}");
    assert_eq!(asked["options"], json!(["completed", "failed", "retry"]));
    assert_eq!(asked["context"]["args"], json!({"n": 1}));
    assert_eq!(admin.execution(&execution)["status"], "suspended");
    assert_eq!(plugin.calls().len(), 1);
    let id = asked["id"].as_str().unwrap();
    let body = json!({"decision": "completed", "response_data": {"receipt": 7}, "wait_ms": 20_000});
    let done = admin.post(&format!("{SCAICORE}/checkpoints/{id}/resolve")).json(&body).answer(200).data();
    assert_eq!(done["execution"]["status"], "completed", "{done}");
    assert_eq!(done["execution"]["output"], json!({"receipt": 7}));
    assert_eq!((plugin.calls().len(), plugin.carried_out()), (1, 1));
}

fn a_person_may_have_it_made_again(place: &Place) {
    let (server, admin, plugin, execution) = killed_in_the_midst(place, "shout");
    // The question survives a crash too, and is not asked twice.
    let asked = question(&admin, &execution);
    server.kill();
    let server = start(place);
    let admin = server.admin();
    let again = question(&admin, &execution);
    assert_eq!(asked["id"], again["id"]);
    let all = admin.get(&format!("{SCAICORE}/checkpoints/all?status=pending")).answer(200).data();
    assert_eq!(all["items"].as_array().unwrap().len(), 1, "{all}");
    let done = admin.resolve(asked["id"].as_str().unwrap(), "retry");
    assert_eq!(done["execution"]["status"], "completed", "{done}");
    assert_eq!(plugin.calls().len(), 2);
}

fn errors_can_be_caught_and_passing_ones_pass(place: &Place) {
    let (_server, admin, plugin) = settle(place);
    let flows = json!([
        {"name": "careful", "params": [{"name": "method", "type": "string", "default": ""}], "body": [
            {"kind": "try", "id": "try", "body": [
                {"kind": "rigid", "id": "calls", "timeout": "1s", "statements": [call("shout", &json!({}), "got")]},
            ], "catch": [{"as": "problem", "body": [
                {"kind": "rigid", "id": "caught", "statements": [{"kind": "return", "value": "problem.code"}]},
            ]}]},
            {"kind": "rigid", "id": "end", "statements": [{"kind": "return", "value": "'no error'"}]},
        ]},
        {"name": "patient", "params": [], "body": [
            {"kind": "rigid", "id": "calls", "statements": [call("keep", &json!({"n": "2"}), "got"), {"kind": "return", "value": "got.args.n"}]},
        ]},
    ]);
    let core = admin.run("caller", &program(&flows));
    let status = |code: u16, headers: &str| Behaviour::Status(code, headers.to_owned(), "{}".to_owned());
    for (behaviour, code) in [
        (status(500, ""), "PLUGIN_ERROR"),
        (status(400, ""), "PLUGIN_ERROR"),
        (Behaviour::Cut, "PLUGIN_UNREACHABLE"),
        (Behaviour::Hang, "PLUGIN_TIMEOUT"),
    ] {
        plugin.then([behaviour.clone()]);
        let before = plugin.calls().len();
        let ended = admin.invoke(&core, "careful", &json!({}));
        assert!(
            ended["output"] == code || (code == "PLUGIN_TIMEOUT" && ended["output"] == "TIMEOUT"),
            "{behaviour:?}: {ended}"
        );
        // What is unsafe is not repeated by itself.
        assert_eq!(plugin.calls().len(), before + 1, "{behaviour:?}");
    }
    let before = plugin.calls().len();
    plugin.then([status(503, ""), status(429, "Retry-After: 1\r\n"), Behaviour::Cut]);
    let begun = std::time::Instant::now();
    let ended = admin.invoke(&core, "patient", &json!({}));
    assert_eq!(ended["output"], 2, "{ended}");
    assert_eq!(plugin.calls().len(), before + 4);
    assert!(begun.elapsed() >= Duration::from_secs(1), "Retry-After is honoured");
    let keys: std::collections::BTreeSet<String> =
        plugin.calls()[before..].iter().map(scaigrid_tests::PluginCall::key).collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
}

fn five_calls() -> Value {
    let calls: Vec<Value> = (1..=5).map(|n| call("shout", &json!({"n": n.to_string()}), "got")).collect();
    program(
        &json!([{"name": "go", "params": [], "body": [{"kind": "rigid", "id": "calls", "statements": calls}]}]),
    )
}

fn cancelling_closes_the_connection_and_nothing_follows(place: &Place) {
    let (_server, admin, plugin) = settle(place);
    let core = admin.run("caller", &five_calls());
    plugin.then([Behaviour::Hang]);
    let execution = begin(&admin, &core, "go");
    called(&plugin, 1);
    admin.post(&format!("{SCAICORE}/executions/{execution}/cancel")).json(&json!({})).answer(202);
    admin.execution_becomes(&execution, "cancelled");
    eventually("the connection is closed", SOON, || (plugin.hung_up() == 1).then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(plugin.calls().len(), 1);
}

fn what_is_deleted_tears_its_calls(place: &Place) {
    let (_server, admin, plugin) = settle(place);
    let core = admin.run("caller", &five_calls());
    plugin.then([Behaviour::Hang]);
    begin(&admin, &core, "go");
    called(&plugin, 1);
    admin.delete(&format!("{CORES}/{core}")).refused(409, "CONFLICT");
    admin.delete(&format!("{CORES}/{core}?force=true")).answer(204);
    eventually("the connection is closed", SOON, || (plugin.hung_up() == 1).then_some(()));
    assert_eq!(plugin.calls().len(), 1);
}

fn who_goes_away_tears_no_call(place: &Place) {
    let (_server, admin, plugin) = settle(place);
    let core = admin.run("caller", &five_calls());
    plugin.then([Behaviour::Late(Duration::from_millis(800))]);
    let body = json!({"flow": "go", "input": {}, "wait_ms": 100});
    let execution = admin.post(&format!("{CORES}/{core}/invoke")).json(&body).answer(202).data();
    let id = execution["execution_id"].as_str().unwrap_or_else(|| execution["id"].as_str().unwrap());
    assert_eq!(execution["status"], "running", "{execution}");
    admin.execution_becomes(id, "completed");
    assert_eq!((plugin.calls().len(), plugin.carried_out(), plugin.hung_up()), (5, 5, 0));
}

fn a_held_core_ends_its_call_and_begins_no_other(place: &Place) {
    let (_server, admin, plugin) = settle(place);
    let core = admin.run("caller", &five_calls());
    plugin.then([Behaviour::Late(Duration::from_millis(1500))]);
    let execution = begin(&admin, &core, "go");
    called(&plugin, 1);
    admin.act(&core, "pause");
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!((plugin.calls().len(), plugin.hung_up()), (1, 0));
    assert_eq!(admin.execution(&execution)["status"], "queued");
    admin.act(&core, "resume");
    admin.execution_becomes(&execution, "completed");
    assert_eq!((plugin.calls().len(), plugin.carried_out()), (5, 5));
}

fn many_calls_go_out_side_by_side(place: &Place) {
    let (_server, admin, plugin) = settle(place);
    let flows = json!([{"name": "go", "params": [], "body": [
        {"kind": "foreach", "id": "each", "items": "range(0, 40)", "var": "n", "max_concurrent": 16, "result_binding": "all", "body": [
            {"kind": "rigid", "id": "calls", "statements": [
                {"kind": "plugin_call", "alias": "stub", "method": "add", "args": {"a": "n", "b": "1"}, "result_binding": "sum"},
                {"kind": "expression", "value": "sum.sum"},
            ]},
        ]},
        {"kind": "rigid", "id": "end", "statements": [{"kind": "return", "value": "all"}]},
    ]}]);
    let core = admin.run("caller", &program(&flows));
    let ended = admin.invoke(&core, "go", &json!({}));
    let expected: Vec<i64> = (1..=40).collect();
    assert_eq!(ended["output"], json!(expected), "{ended}");
    assert_eq!(plugin.calls().len(), 40);
}

fn a_budget_for_three_lets_three_through(place: &Place) {
    let (_server, admin, plugin) = settle(place);
    let flows = json!([{"name": "go", "params": [], "body": [
        {"kind": "budget", "id": "budget", "max_calls": 3, "body": [
            {"kind": "foreach", "id": "each", "items": "range(0, 50)", "var": "n", "max_concurrent": 50, "on_error": "collect", "result_binding": "all", "body": [
                {"kind": "rigid", "id": "calls", "statements": [call("keep", &json!({"n": "n"}), "got"), {"kind": "expression", "value": "'done'"}]},
            ]},
        ]},
        {"kind": "rigid", "id": "end", "statements": [{"kind": "return", "value": "all"}]},
    ]}]);
    let core = admin.run("caller", &program(&flows));
    let ended = admin.invoke(&core, "go", &json!({}));
    let all = ended["output"].as_array().unwrap_or_else(|| panic!("{ended}"));
    let done = all.iter().filter(|one| **one == "done").count();
    let refused = all.iter().filter(|one| one["error"]["code"] == "BUDGET_EXCEEDED").count();
    assert_eq!((done, refused), (3, 47), "{ended}");
    assert_eq!(plugin.carried_out(), 3);
}

fn an_approval_is_for_these_arguments_and_for_once(place: &Place) {
    let (_server, admin, plugin) = settle(place);
    let flows = json!([{"name": "pay", "params": [{"name": "paid", "type": "int"}, {"name": "times", "type": "int", "default": 1}], "body": [
        {"kind": "checkpoint", "id": "ask", "checkpoint_type": "approval", "present": {"prompt": "Pay 10?"},
         "options": ["approve", "reject"], "assignee": "role:tenant_admin", "result_binding": "answer",
         "action": {"alias": "stub", "method": "shout", "args": {"amount": "10"}}},
        {"kind": "foreach", "id": "each", "items": "range(0, times)", "var": "n", "body": [
            {"kind": "rigid", "id": "pay", "statements": [call("shout", &json!({"amount": "paid"}), "got")]},
        ]},
    ]}]);
    let core = admin.run("caller", &program(&flows));
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "pay", &json!({"paid": 10}));
    let shown = admin.checkpoint(&checkpoint);
    let action = &shown["context"]["action"];
    assert_eq!((&action["alias"], &action["method"]), (&json!("stub"), &json!("shout")), "{shown}");
    assert!(action["hash"].as_str().is_some_and(|hash| hash.len() >= 64), "{shown}");
    let done = admin.resolve(&checkpoint, "approve");
    assert_eq!(done["execution"]["status"], "completed", "{done}");
    assert_eq!(plugin.carried_out(), 1);
    for (input, decision, code, carried_out) in [
        (json!({"paid": 11}), "approve", "APPROVAL_MISMATCH", 1),
        (json!({"paid": 10}), "reject", "APPROVAL_REQUIRED", 1),
        (json!({"paid": 10, "times": 2}), "approve", "APPROVAL_USED", 2),
    ] {
        let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "pay", &input);
        let done = admin.resolve(&checkpoint, decision);
        assert_eq!(done["execution"]["status"], "failed", "{input}: {done}");
        assert_eq!(done["execution"]["error"]["code"], code, "{input}: {done}");
        assert_eq!(plugin.carried_out(), carried_out, "{input}");
    }
}

/// A flow that asks before it makes one call.
fn asking_first(method: &str, action: &Value) -> Value {
    json!([{"name": "pay", "params": [], "body": [
        {"kind": "checkpoint", "id": "ask", "checkpoint_type": "approval", "present": {"prompt": "Pay 10?"},
         "options": ["approve", "reject"], "assignee": "role:tenant_admin", "result_binding": "answer", "action": action},
        {"kind": "rigid", "id": "pay", "statements": [call(method, &json!({"amount": "10"}), "got")]},
    ]}])
}

fn an_approval_is_for_where_the_call_goes(place: &Place) {
    let (_server, admin, plugin) = settle(place);
    let action = json!({"alias": "stub", "method": "shout", "args": {"amount": "10"}});
    let core = admin.run("caller", &program(&asking_first("shout", &action)));
    let target = |checkpoint: &str| admin.checkpoint(checkpoint)["context"]["action"]["target"].clone();
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "pay", &json!({}));
    let shown = target(&checkpoint);
    assert_eq!((&shown["plugin"], &shown["config"]), (&json!("acme/stub"), &json!({})), "{shown}");
    assert!(shown["endpoint"].as_str().is_some_and(|url| url.starts_with(&plugin.http())), "{shown}");
    let other = json!({"alias": "stub", "plugin": "acme/stub", "config": {"account": "another"}});
    admin.post(&format!("{CORES}/{core}/plugins")).json(&other).answer(201);
    let done = admin.resolve(&checkpoint, "approve");
    assert_eq!(done["execution"]["error"]["code"], "APPROVAL_MISMATCH", "{done}");
    assert_eq!(plugin.carried_out(), 0);
    // Asked as it stands now, it is allowed.
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "pay", &json!({}));
    assert_eq!(target(&checkpoint)["config"], json!({"account": "another"}));
    let done = admin.resolve(&checkpoint, "approve");
    assert_eq!(done["execution"]["status"], "completed", "{done}");
    assert_eq!(plugin.carried_out(), 1);
}

fn an_approval_that_is_over_repeats_no_call(place: &Place) {
    const HOLDS: Duration = Duration::from_secs(10);
    let (server, admin, plugin) = settle(place);
    let action = json!({"alias": "stub", "method": "keep", "args": {"amount": "10"}, "expires_in": "10s"});
    let core = admin.run("caller", &program(&asking_first("keep", &action)));
    plugin.then([Behaviour::Late(Duration::from_mins(1))]);
    let (execution, checkpoint) = admin.invoke_to_checkpoint(&core, "pay", &json!({}));
    let decision = json!({"decision": "approve"});
    admin.post(&format!("{SCAICORE}/checkpoints/{checkpoint}/resolve")).json(&decision).answer(200);
    eventually("the call is carried out", SOON, || (plugin.carried_out() == 1).then_some(()));
    server.kill();
    std::thread::sleep(HOLDS + Duration::from_millis(100));
    let server = start(place);
    let admin = server.admin();
    // A call with this effect class would be repeated, were it still allowed.
    let asked = question(&admin, &execution);
    assert_eq!(asked["options"], json!(["completed", "failed"]), "{asked}");
    assert_eq!(plugin.calls().len(), 1);
    let done = admin.resolve(asked["id"].as_str().unwrap(), "failed");
    assert_eq!(done["execution"]["status"], "failed", "{done}");
    assert_eq!(plugin.carried_out(), 1);
}

fn side_by_side_and_answered_in_reverse(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let ask = |id: &str| json!({"kind": "checkpoint", "id": id, "checkpoint_type": "choice", "present": {"prompt": id}, "options": ["yes", "no"], "assignee": "role:tenant_admin", "result_binding": "answer"});
    let branch = |id: &str| json!({"name": id, "body": [ask(id), {"kind": "rigid", "id": format!("{id}-end"), "statements": [{"kind": "expression", "value": "answer.decision"}]}]});
    let program = json!({"schema_version": "0.2", "name": "Both", "version": "1.0.0", "flows": [{"name": "go", "params": [], "body": [
        {"kind": "parallel", "id": "both", "branches": [branch("first"), branch("second")], "result_binding": "all"},
        {"kind": "rigid", "id": "end", "statements": [{"kind": "return", "value": "all"}]},
    ]}]});
    let core = admin.run("both", &program);
    let execution = admin.invoke(&core, "go", &json!({}));
    let checkpoints: Vec<Value> = execution["checkpoints"].as_array().unwrap().clone();
    assert_eq!(checkpoints.len(), 2, "{execution}");
    let second = admin.resolve(checkpoints[1].as_str().unwrap(), "no");
    assert_eq!(second["execution"]["status"], "suspended", "{second}");
    let first = admin.resolve(checkpoints[0].as_str().unwrap(), "yes");
    assert_eq!(first["execution"]["output"], json!({"first": "yes", "second": "no"}), "{first}");
}

fn a_question_in_a_call_in_a_branch(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let ask = json!({"kind": "checkpoint", "id": "ask", "checkpoint_type": "choice", "present": {"prompt": "Well?"}, "options": ["yes", "no"], "assignee": "role:tenant_admin", "result_binding": "answer"});
    let program = json!({"schema_version": "0.2", "name": "Deep", "version": "1.0.0", "flows": [
        {"name": "inner", "params": [], "body": [ask, {"kind": "rigid", "id": "end", "statements": [{"kind": "return", "value": "answer.decision"}]}]},
        {"name": "outer", "params": [], "body": [
            {"kind": "parallel", "id": "both", "result_binding": "all", "branches": [
                {"name": "asks", "body": [{"kind": "core_call", "id": "call", "target": "core://self", "flow_name": "inner", "input_bindings": {}}]},
                {"name": "sleeps", "body": [{"kind": "rigid", "id": "sleep", "statements": [{"kind": "sleep", "duration": "'1s'"}, {"kind": "expression", "value": "'slept'"}]}]},
            ]},
            {"kind": "rigid", "id": "end", "statements": [{"kind": "return", "value": "all"}]},
        ]},
    ]});
    let core = admin.run("deep", &program);
    let outer = begin(&admin, &core, "outer");
    let all = format!("{SCAICORE}/checkpoints/all?status=pending");
    let checkpoint = eventually("somebody is asked", SOON, || {
        let pending = admin.get(&all).answer(200).data();
        pending["items"].as_array().unwrap().first().cloned()
    });
    admin.resolve(checkpoint["id"].as_str().unwrap(), "yes");
    let ended = admin.execution_becomes(&outer, "completed");
    assert_eq!(ended["output"], json!({"asks": "yes", "sleeps": "slept"}), "{ended}");
}

fn sigterm_lets_calls_end(place: &Place) {
    let (server, admin, plugin) = settle(place);
    let core = admin.run("caller", &five_calls());
    plugin.then([Behaviour::Late(Duration::from_millis(1500))]);
    let execution = begin(&admin, &core, "go");
    called(&plugin, 1);
    server.stop();
    assert_eq!((plugin.calls().len(), plugin.hung_up()), (1, 0));
    let server = start(place);
    let admin = server.admin();
    admin.execution_becomes(&execution, "completed");
    assert_eq!((plugin.calls().len(), plugin.carried_out()), (5, 5));
}

fn another_core_of_the_tenant_is_called(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let flow = |name: &str, body: Value| json!({"schema_version": "0.2", "name": name, "version": "1.0.0", "flows": [{"name": "go", "params": [{"name": "n", "type": "int", "default": 1}], "body": body}]});
    let callee = flow(
        "Callee",
        json!([{"kind": "rigid", "id": "add", "statements": [{"kind": "return", "value": "n + 1"}]}]),
    );
    let calls = |target: &str, more: Value| {
        let mut call = json!({"kind": "core_call", "id": "call", "target": target, "flow_name": "go", "input_bindings": {"n": "n"}, "result_binding": "got"});
        call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        flow(
            "Caller",
            json!([call, {"kind": "rigid", "id": "end", "statements": [{"kind": "return", "value": "got"}]}]),
        )
    };
    let one = admin.host("callee", &callee);
    let stopped = admin.run("stopped", &calls("core://default/callee", json!({})));
    let ended = admin.invoke(&stopped, "go", &json!({"n": 4}));
    assert_eq!(ended["error"]["code"], "CORE_NOT_RUNNING", "{ended}");
    admin.act(&one, "start");
    admin.status_becomes(&one, "running");
    let ended = admin.invoke(&stopped, "go", &json!({"n": 4}));
    assert_eq!(ended["output"], 5, "{ended}");
    let acme = admin.tenant("acme");
    let boss = admin.in_tenant(&acme);
    let hidden = boss.run("hidden", &callee);
    // One program for every tenant: a slug alone is a Core of the tenant that runs it.
    let other = json!([{"kind": "rigid", "id": "add", "statements": [{"kind": "return", "value": "n + 2"}]}]);
    boss.run("callee", &flow("Callee", other));
    let portable = calls("core://callee", json!({}));
    for (someone, output) in [(&admin, 5), (&boss, 6)] {
        let core = someone.run("portable", &portable);
        let ended = someone.invoke(&core, "go", &json!({"n": 4}));
        assert_eq!(ended["output"], output, "{ended}");
    }
    assert_eq!(boss.status(&hidden), "running");
    for (name, target, more, code) in [
        ("missing", "core://default/nobody", json!({}), "CORE_NOT_FOUND"),
        ("unknown", "core://nobody", json!({}), "CORE_NOT_FOUND"),
        ("foreign-by-slug", "core://hidden", json!({}), "CORE_NOT_FOUND"),
        ("foreign", "core://acme/hidden", json!({}), "CORE_NOT_FOUND"),
        ("elsewhere", "core://nowhere/callee", json!({}), "CORE_NOT_FOUND"),
        ("old", "core://default/callee", json!({"version": 9}), "VERSION_NOT_FOUND"),
    ] {
        let core = admin.run(name, &calls(target, more));
        let ended = admin.invoke(&core, "go", &json!({}));
        assert_eq!(ended["error"]["code"], code, "{name}: {ended}");
    }
}

fn what_fails_in_a_call_is_the_cause_and_not_the_place(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let program = |name: &str, body: Value| json!({"schema_version": "0.2", "name": name, "version": "1.0.0", "flows": [{"name": "go", "params": [], "body": body}]});
    let nothing =
        |id: &str| json!({"kind": "rigid", "id": id, "statements": [{"kind": "expression", "value": "1"}]});
    let fails = json!({"kind": "rigid", "id": "breaks", "statements": [{"kind": "fail", "code": "BROKEN", "message": "no luck"}]});
    let call = |target: &str| json!({"kind": "core_call", "id": "call", "target": target, "flow_name": "go"});
    let callee = admin.run("callee", &program("Callee", json!([nothing("one"), nothing("two"), fails])));
    let between =
        admin.run("between", &program("Between", json!([nothing("one"), call("core://default/callee")])));
    let caller = admin.run("caller", &program("Caller", json!([call("core://default/between")])));
    let ended = admin.invoke(&caller, "go", &json!({}));
    let error = &ended["error"];
    let place_of = |error: &Value| (error["code"].clone(), error["block"].clone(), error["pointer"].clone());
    assert_eq!(place_of(error), (json!("BROKEN"), json!("call"), json!("/flows/0/body/0")), "{ended}");
    assert_eq!(error["message"], "no luck");
    let cause = &error["cause"];
    assert_eq!(place_of(cause), (json!("BROKEN"), json!("call"), json!("/flows/0/body/1")), "{ended}");
    assert_eq!((&cause["core_id"], &cause["message"]), (&json!(between), &json!("no luck")));
    let cause = &cause["cause"];
    assert_eq!((&cause["core_id"], &cause["block"]), (&json!(callee), &json!("breaks")), "{ended}");
    assert!(cause["pointer"].as_str().unwrap().starts_with("/flows/0/body/2"), "{ended}");
    assert_eq!(cause.get("cause"), None);
    let failed = admin.execution(cause["execution_id"].as_str().unwrap());
    assert_eq!((&failed["core_id"], &failed["status"]), (&json!(callee), &json!("failed")));
    assert_eq!(failed["error"].get("cause"), None, "{failed}");
    // A program that catches it is told of its own block, and no more than of any error.
    let caught = json!([{"kind": "try", "id": "tries", "body": [call("core://default/callee")], "catch": [
        {"code": "BROKEN", "as": "error", "body": [{"kind": "rigid", "id": "gives", "statements": [{"kind": "return", "value": "error"}]}]},
    ]}]);
    let careful = admin.run("careful", &program("Careful", caught));
    let ended = admin.invoke(&careful, "go", &json!({}));
    assert_eq!(ended["output"], json!({"code": "BROKEN", "message": "no luck", "block": "call"}), "{ended}");
}

fn what_calls_gave_survives_conflicts_over_memory(place: &Place) {
    let (_server, admin, plugin) = settle(place);
    let mut program = program(&json!([{"name": "go", "params": [], "body": [
        {"kind": "foreach", "id": "each", "items": "range(0, 8)", "var": "n", "max_concurrent": 4, "body": [
            {"kind": "rigid", "id": "count", "statements": [
                call("shout", &json!({"n": "n"}), "got"),
                {"kind": "memory", "op": "update", "target": "total", "value": "n => n + 1"},
            ]},
        ]},
    ]}]));
    program["memory"] = json!({"total": {"type": "int", "default": 0}});
    let core = admin.run("caller", &program);
    std::thread::scope(|threads| {
        for _ in 0..5 {
            threads.spawn(|| {
                let ended = admin.invoke(&core, "go", &json!({}));
                assert_eq!(ended["status"], "completed", "{ended}");
            });
        }
    });
    // None was made twice, and nobody is asked about any.
    assert_eq!((plugin.calls().len(), plugin.carried_out()), (40, 40));
    let pending = admin.get(&format!("{SCAICORE}/checkpoints/all?status=pending")).answer(200).data();
    assert_eq!(pending["items"], json!([]));
    let mut reader = program.clone();
    reader["flows"] = json!([{"name": "go", "params": [], "body": [{"kind": "rigid", "id": "read", "statements": [{"kind": "return", "value": "memory.total"}]}]}]);
    let document = json!({"source": reader});
    admin.put(&format!("{CORES}/{core}"), &document).answer(200);
    assert_eq!(admin.invoke(&core, "go", &json!({}))["output"], 40);
}

fn what_a_call_gave_that_cannot_be_stored_leaves_no_doubt(place: &Place) {
    let (_server, admin, plugin) = settle(place);
    let core = admin.run("caller", &program(&one_call("shout")));
    let (objects, aside) = (place.data().join("objects"), place.folder().join("aside"));
    std::fs::rename(&objects, &aside).unwrap();
    std::fs::write(&objects, "no folder").unwrap();
    let large = json!({"text": "x".repeat(100_000)});
    plugin.then([Behaviour::Value(large.clone()), Behaviour::Value(large)]);
    // Whether somebody waits for it or not.
    let began = begin(&admin, &core, "go");
    let failed = admin.execution_becomes(&began, "failed");
    assert_eq!(failed["error"]["code"], "STORAGE_ERROR", "{failed}");
    let failed = admin.invoke(&core, "go", &json!({}));
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("STORAGE_ERROR")));
    // Nobody is asked what became of a call whose answer was here, and none was made twice.
    let pending = admin.get(&format!("{SCAICORE}/checkpoints/all?status=pending")).answer(200).data();
    assert_eq!(pending["items"], json!([]));
    assert_eq!((plugin.calls().len(), plugin.carried_out()), (2, 2));
    std::fs::remove_file(&objects).unwrap();
    std::fs::rename(&aside, &objects).unwrap();
}
