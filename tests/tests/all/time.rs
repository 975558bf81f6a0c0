//! Time and turns: executions that sleep and wait for events, schedules, entities.

use std::time::{Duration, Instant};

use scaigrid_tests::{CORES, Client, Db, Place, eventually, on, on_both_databases, programs};
use serde_json::{Value, json};

on_both_databases!(
    who_sleeps_wakes_in_time_also_after_a_crash,
    short_sleeps_are_short,
    an_event_ends_a_wait,
    schedules_come_with_the_program,
    cores_hear_each_other,
    entities_take_turns_and_tell_who_is_active,
    who_waits_for_a_person_holds_nobody_up,
);

#[test]
fn turns_survive_the_death_of_nodes() {
    on(Db::Postgres, |place| die_again_and_again(place, 2));
}

#[test]
fn turns_survive_the_death_of_the_only_node() {
    on(Db::Sqlite, |place| die_again_and_again(place, 1));
}

fn rigid(statements: &Value) -> Value {
    json!({"kind": "rigid", "statements": statements})
}

/// A flow `main` of these statements.
fn statements(params: &Value, statements: &Value) -> Value {
    programs::program("Time", &[programs::flow("main", params, &json!([rigid(statements)]))])
}

fn start(client: &Client, core: &str, flow: &str, input: &Value) -> String {
    let body = json!({"flow": flow, "input": input});
    let started = client.post(&format!("{CORES}/{core}/invoke")).json(&body).answer(202).data();
    started["id"].as_str().unwrap().to_owned()
}

fn send(client: &Client, core: &str, name: &str, data: &Value) -> Value {
    let body = json!({"event_name": name, "data": data});
    client.post(&format!("{CORES}/{core}/events")).json(&body).answer(202).data()
}

fn who_sleeps_wakes_in_time_also_after_a_crash(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let program = statements(
        &json!([]),
        &json!([{"kind": "sleep", "duration": "4s"}, {"kind": "return", "value": "'awake'"}]),
    );
    let core = admin.run("Sleep", &program);
    let begun = Instant::now();
    let id = start(&admin, &core, "main", &json!({}));
    admin.execution_becomes(&id, "suspended");
    server.kill();
    let server = place.start();
    let admin = server.admin();
    assert_eq!(admin.execution(&id)["status"], "suspended");
    assert_eq!(admin.execution_becomes(&id, "completed")["output"], "awake");
    let took = begun.elapsed();
    assert!((Duration::from_secs(4)..Duration::from_secs(7)).contains(&took), "{took:?}");
    // One that is cancelled leaves nothing that wakes it.
    let id = start(&admin, &core, "main", &json!({}));
    admin.execution_becomes(&id, "suspended");
    admin.post(&format!("/v1/modules/scaicore/executions/{id}/cancel")).answer(200);
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(admin.execution(&id)["status"], "cancelled");
    server.stop();
}

fn short_sleeps_are_short(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let program = statements(
        &json!([]),
        &json!([{"kind": "sleep", "duration": "50ms"}, {"kind": "sleep", "until": "now()"},
            {"kind": "return", "value": "1"}]),
    );
    let core = admin.run("Nap", &program);
    let begun = Instant::now();
    for _ in 0..5 {
        assert_eq!(admin.invoke(&core, "main", &json!({}))["output"], 1);
    }
    let took = begun.elapsed();
    println!("five naps of 50 ms took {took:?}");
    assert!(took >= Duration::from_millis(250) && took < Duration::from_secs(4), "{took:?}");
    server.stop();
}

fn an_event_ends_a_wait(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let program = statements(
        &json!([{"name": "order", "type": "string"}]),
        &json!([{"kind": "wait_event", "name": "paid", "filter": "data.order == order", "timeout": "2s",
                "result_binding": "paid"},
            {"kind": "return", "value": "paid.data.amount"}]),
    );
    let core = admin.run("Wait", &program);
    let waiting: Vec<String> =
        ["a", "b"].iter().map(|order| start(&admin, &core, "main", &json!({"order": order}))).collect();
    for id in &waiting {
        admin.execution_becomes(id, "suspended");
    }
    send(&admin, &core, "paid", &json!({"order": "b", "amount": 7}));
    assert_eq!(admin.execution_becomes(&waiting[1], "completed")["output"], 7);
    let late = admin.execution_becomes(&waiting[0], "failed");
    assert_eq!(late["error"]["code"], "WAIT_TIMEOUT", "{late}");
    // An event that came before is not waited for.
    send(&admin, &core, "paid", &json!({"order": "c", "amount": 1}));
    let id = start(&admin, &core, "main", &json!({"order": "c"}));
    assert_eq!(admin.execution_becomes(&id, "failed")["error"]["code"], "WAIT_TIMEOUT");
    server.stop();
}

fn schedules_come_with_the_program(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let scheduled = |cron: &str, timezone: &str| {
        let mut program = statements(
            &json!([{"name": "scheduled_at", "type": "datetime"}, {"name": "fired_at", "type": "datetime"}]),
            &json!([{"kind": "return", "value": "scheduled_at"}]),
        );
        program["triggers"] = json!([{"kind": "schedule", "name": "tick", "target_flow": "main", "cron": cron,
            "timezone": timezone, "catch_up": "skip"}]);
        program
    };
    for (cron, timezone, field) in [("61 * * * *", "UTC", "cron"), ("* * * * *", "Mars/Olympus", "timezone")]
    {
        let core = admin.host(&format!("Bad {field}"), &scheduled(cron, timezone));
        let refused = admin.post(&format!("{CORES}/{core}/start")).refused(422, "INVALID_SOURCE_IR");
        let pointer = format!("/triggers/0/{field}");
        assert!(refused.to_string().contains(&pointer), "{refused}");
    }
    let core = admin.run("Tick", &scheduled("* * * * *", "Asia/Kolkata"));
    let executions = || admin.pages(&format!("{CORES}/{core}/executions"), "items");
    let ran = eventually("the next minute begins", Duration::from_secs(70), || {
        let found = executions();
        (found.first()?["status"] == "completed").then_some(found)
    });
    assert_eq!(ran.len(), 1, "{ran:?}");
    assert_eq!(ran[0]["trigger"], "schedule:tick", "{}", ran[0]);
    assert!(ran[0]["output"].as_str().unwrap().ends_with(":00Z"), "{}", ran[0]);
    server.stop();
}

fn cores_hear_each_other(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let mut teller = statements(
        &json!([]),
        &json!([{"kind": "emit", "event": "told", "data": "{n: 3}"}, {"kind": "return", "value": "1"}]),
    );
    teller["name"] = "Teller".into();
    let teller = admin.run("Teller", &teller);
    let mut listener = statements(
        &json!([{"name": "event", "type": "string"}, {"name": "data", "type": "json"}]),
        &json!([{"kind": "return", "value": "data.n"}]),
    );
    listener["subscriptions"] =
        json!([{"event": "told", "from": "core://teller", "filter": "data.n > 2", "flow": "main"}]);
    let listener = admin.run("Listener", &listener);
    admin.invoke(&teller, "main", &json!({}));
    let heard = eventually("it is heard", Duration::from_secs(10), || {
        let found = admin.pages(&format!("{CORES}/{listener}/executions"), "items");
        (found.first()?["status"] == "completed").then(|| found[0].clone())
    });
    assert_eq!((&heard["output"], &heard["trigger"]), (&json!(3), &json!("event:told")));
    server.stop();
}

/// Counts the calls of an entity, in a way that two at once would get wrong.
fn counting(bounds: &Value) -> Value {
    let mut program = programs::program(
        "Count",
        &[programs::flow(
            "count",
            &json!([{"name": "customer", "type": "string"}, {"name": "rounds", "type": "int", "default": 200}]),
            &json!([
                rigid(&json!([{"kind": "memory", "op": "get", "target": "calls", "result_binding": "before"},
                    {"kind": "let", "name": "i", "value": "0"}])),
                {"kind": "while", "condition": "i < rounds", "max_iterations": 100_000, "body": [
                    rigid(&json!([{"kind": "assign", "target": "i", "value": "i + 1"},
                        {"kind": "log", "message": "round"}]))]},
                rigid(&json!([{"kind": "memory", "op": "set", "target": "calls", "value": "before + 1"},
                    {"kind": "return", "value": "before + 1"}])),
            ]),
        )],
    );
    program["memory"] = json!({"calls": {"type": "int", "default": 0}});
    program["instance"] = json!({"mode": "entity", "key": "customer"});
    for (name, value) in bounds.as_object().unwrap() {
        program["instance"][name] = value.clone();
    }
    program
}

fn entities_take_turns_and_tell_who_is_active(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Count", &counting(&json!({"idle_timeout": "2s"})));
    let path = format!("{CORES}/{core}/invoke");
    let body = json!({"flow": "count", "input": {"rounds": 1}});
    let refused = admin.post(&path).json(&body).refused(422, "VALIDATION_ERROR");
    assert!(refused.to_string().contains("input.customer"), "{refused}");
    let ids: Vec<String> =
        (0..10).map(|_| start(&admin, &core, "count", &json!({"customer": "eve"}))).collect();
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(admin.execution_becomes(id, "completed")["output"], number + 1);
    }
    assert_eq!(admin.invoke(&core, "count", &json!({"customer": "adam"}))["output"], 1);
    let told = |kind: &str| {
        let events = admin.pages(&format!("{CORES}/{core}/events/history?type={kind}"), "events");
        events.iter().map(|event| event["payload"].clone()).collect::<Vec<_>>()
    };
    let activated = told("scaicore.activated");
    assert_eq!(activated.len(), 2, "{activated:?}");
    let passivated = eventually("both rest", Duration::from_secs(10), || {
        let told = told("scaicore.passivated");
        (told.len() == 2).then_some(told)
    });
    assert!(json!(passivated).to_string().contains("eve"), "{passivated:?}");
    assert_eq!(admin.invoke(&core, "count", &json!({"customer": "eve"}))["output"], 11, "its memory stays");
    assert_eq!(told("scaicore.activated").len(), 3);
    server.stop();
}

fn who_waits_for_a_person_holds_nobody_up(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let mut program = programs::asking(&json!({}));
    program["flows"].as_array_mut().unwrap().push(programs::flow(
        "quick",
        &json!([{"name": "customer", "type": "string"}]),
        &json!([rigid(&json!([{"kind": "return", "value": "customer"}]))]),
    ));
    let body = json!({"name": "Ask", "source": program, "concurrency_mode": "entity", "entity_key_field": "customer"});
    let made = admin.post(CORES).json(&body).answer(201).data();
    let core = made["id"].as_str().unwrap();
    admin.act(core, "start");
    admin.status_becomes(core, "running");
    let (execution, checkpoint) = admin.invoke_to_checkpoint(core, "ask", &json!({"customer": "eve"}));
    assert_eq!(admin.invoke(core, "quick", &json!({"customer": "eve"}))["output"], "eve");
    let resolved = admin.resolve(&checkpoint, "yes");
    assert_eq!(resolved["execution"]["status"], "completed", "{resolved}");
    assert_eq!(admin.execution(&execution)["instance_key"], "eve");
    server.stop();
}

fn die_again_and_again(place: &Place, nodes: usize) {
    // SQLite's one process starts again where it was.
    let launch = |number: usize| match nodes {
        1 => place.start(),
        _ => place.further_node(&format!("node-{number}")).start(),
    };
    let first = place.start();
    let admin = first.admin();
    let core = admin.run("Count", &counting(&json!({})));
    let ids: Vec<(String, String)> = (0..24)
        .map(|number| {
            let customer = format!("customer {}", number % 3);
            (start(&admin, &core, "count", &json!({"customer": customer, "rounds": 8_000})), customer)
        })
        .collect();
    let mut alive = vec![first];
    let (mut number, mut at_work) = (0, 0);
    for _ in 0..4 {
        while alive.len() < nodes {
            number += 1;
            alive.push(launch(number));
        }
        std::thread::sleep(Duration::from_millis(400));
        let admin = alive[0].admin();
        at_work += ids.iter().filter(|(id, _)| admin.execution(id)["status"] == "running").count();
        alive.remove(0).kill();
        number += 1;
        alive.push(launch(number));
    }
    println!("{at_work} executions held slots when nodes were killed");
    assert!(at_work >= 3, "they were too quick to be killed");
    let admin = alive[0].admin();
    let mut outputs = std::collections::BTreeMap::<&str, Vec<i64>>::new();
    for (id, customer) in &ids {
        let done = admin.execution_becomes(id, "completed");
        outputs.entry(customer).or_default().push(done["output"].as_i64().unwrap());
    }
    for (customer, outputs) in outputs {
        assert_eq!(outputs, (1..=8).collect::<Vec<i64>>(), "{customer}");
    }
    for server in alive {
        server.stop();
    }
}
