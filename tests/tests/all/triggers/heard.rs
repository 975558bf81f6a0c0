//! Every event keeps what became of it with each who listens to its name.

use scaigrid_tests::programs::{flow, program, rigid};
use scaigrid_tests::{CORES, Client, Place, eventually, on_both_databases};
use serde_json::{Value, json};

use super::{PATIENCE, register, returning, shop};

on_both_databases!(an_event_keeps_why_it_started_what, what_a_flow_publishes_keeps_it_too);

/// What became of the only event of a name.
fn listeners(client: &Client, core: &str, name: &str) -> Vec<Value> {
    let events = client.pages(&format!("{CORES}/{core}/events/history?type={name}"), "events");
    assert_eq!(events.len(), 1, "{events:?}");
    events[0]["listeners"].as_array().unwrap().clone()
}

fn results(listeners: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    listeners.iter().map(|one| (text(&one["listener"]), text(&one["result"]))).collect()
}

fn pair(listener: &str, result: &str) -> (String, String) {
    (listener.to_owned(), result.to_owned())
}

fn an_event_keeps_why_it_started_what(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let mut source = shop(&json!([
        {"kind": "event", "name": "all", "target_flow": "heard", "event": "order"},
        {"kind": "event", "name": "big", "target_flow": "heard", "event": "order", "filter": "data.n > 5"},
        {"kind": "event", "name": "odd", "target_flow": "heard", "event": "order", "filter": "data.n.x > 5"},
        {"kind": "event", "name": "elsewhere", "target_flow": "heard", "event": "payment"},
    ]));
    let wait = json!([{"kind": "wait_event", "name": "order", "result_binding": "heard"}, {"kind": "return", "value": "heard.data.n"}]);
    source["flows"].as_array_mut().unwrap().push(flow("wait", &json!([]), &json!([rigid("wait", &wait)])));
    let core = admin.run("Shop", &source);
    register(
        &admin,
        &core,
        "event",
        "patterned",
        "heard",
        &json!({"event": "ord*", "filter": "event == 'order'"}),
    );
    let send = |name: &str, n: i64| {
        let body = json!({"event_name": name, "data": {"n": n}});
        admin.post(&format!("{CORES}/{core}/events")).json(&body).answer(202).data()
    };
    let body = json!({"flow": "wait", "input": {}});
    let waiting = admin.post(&format!("{CORES}/{core}/invoke")).json(&body).answer(202).data();
    let waiting = waiting["id"].as_str().unwrap().to_owned();
    admin.execution_becomes(&waiting, "suspended");

    let accepted = send("order", 3);
    let heard = listeners(&admin, &core, "order");
    assert_eq!(
        results(&heard),
        [
            pair("trigger:all", "started"),
            pair("trigger:big", "filter_false"),
            pair("trigger:odd", "filter_error"),
            pair("trigger:patterned", "started"),
            pair("wait", "woke"),
        ]
    );
    assert_eq!(json!([heard[0]["execution_id"], heard[3]["execution_id"]]), accepted["executions"]);
    assert_eq!((&heard[0]["flow"], &heard[0]["core_id"]), (&json!("heard"), &json!(core)));
    assert!(!heard[2]["reason"].as_str().unwrap().is_empty());
    assert_eq!(heard[4]["execution_id"], json!(waiting));
    assert_eq!(admin.execution_becomes(&waiting, "completed")["output"], 3);
    send("nobody.listens", 1);
    assert_eq!(listeners(&admin, &core, "nobody.listens"), [] as [Value; 0]);
    server.stop();
}

fn what_a_flow_publishes_keeps_it_too(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let publishing = program(
        "Publisher",
        &[flow(
            "say",
            &json!([]),
            &json!([rigid("say", &json!([{"kind": "emit", "event": "said", "data": "{n: 1}"}]))]),
        )],
    );
    let publisher = admin.run("Publisher", &publishing);
    let listening = |name: &str| {
        let mut program =
            program(name, &[returning("heard", &json!([{"name": "data", "type": "json"}]), "data.n")]);
        program["subscriptions"] = json!([{"event": "said", "from": "core://publisher", "flow": "heard"}]);
        program
    };
    let awake = admin.run("Awake", &listening("Awake"));
    let asleep = admin.run("Asleep", &listening("Asleep"));
    admin.act(&asleep, "pause");
    // What listens is known within a second.
    let heard = eventually("both are known", PATIENCE, || {
        let id = admin.invoke(&publisher, "say", &json!({}))["id"].clone();
        let path =
            format!("{CORES}/{publisher}/events/history?type=said&execution_id={}", id.as_str().unwrap());
        let events = admin.pages(&path, "events");
        let heard = events[0]["listeners"].as_array().unwrap().clone();
        let of = |core: &str| heard.iter().find(|one| one["core_id"] == json!(core)).cloned();
        let (awake, asleep) = (of(&awake)?, of(&asleep)?);
        (asleep["result"] == "core_not_running").then_some((awake, asleep))
    });
    assert_eq!((&heard.0["listener"], &heard.0["result"]), (&json!("subscription"), &json!("started")));
    assert_eq!(heard.1["status"], "paused");
    admin.execution_becomes(heard.0["execution_id"].as_str().unwrap(), "completed");
    server.stop();
}
