//! Triggers that are registered beside those of the program.

use scaigrid_tests::{CORES, Db, Place, eventually, on, on_both_databases};
use serde_json::{Value, json};

use super::{PATIENCE, executions, listed, register, shop};

on_both_databases!(
    all_four_kinds_are_registered_shown_and_removed,
    what_is_wrong_is_named_and_changes_nothing,
    a_trigger_is_at_work_at_once_and_no_longer_than_it_is_there,
    a_new_program_may_stand_in_the_way,
);

fn names(triggers: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    triggers.iter().map(|trigger| (text(&trigger["name"]), text(&trigger["origin"]))).collect()
}

fn all_four_kinds_are_registered_shown_and_removed(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let declared = json!([
        {"kind": "event", "name": "declared", "target_flow": "heard", "event": "declared", "filter": "data.n > 1"},
    ]);
    let core = admin.run("Shop", &shop(&declared));
    let before = admin.get(&format!("{CORES}/{core}")).answer(200);
    let schedule = register(
        &admin,
        &core,
        "schedule",
        "morning",
        "tick",
        &json!({"cron": "0 8 * * 1-5", "timezone": "Europe/Berlin"}),
    );
    assert_eq!(
        (&schedule["config"]["catch_up"], &schedule["origin"], &schedule["problem"]),
        (&json!("latest"), &json!("registered"), &Value::Null)
    );
    register(&admin, &core, "event", "orders", "heard", &json!({"event": "order.*"}));
    let hook = register(&admin, &core, "webhook", "in", "hook", &json!({}));
    let secret = hook["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"), "{hook}");
    assert_eq!(hook["config"]["secret"], json!(secret));
    assert_eq!(hook["url"], format!("/v1/hooks/{core}/{}", hook["id"].as_str().unwrap()));
    let api =
        register(&admin, &core, "api", "get", "order", &json!({"method": "get", "path": "/orders/{id}"}));
    assert_eq!(api["url"], format!("{CORES}/{core}/api/invoke/orders/{{id}}"));
    let named = register(
        &admin,
        &core,
        "webhook",
        "named",
        "hook",
        &json!({"secret": "0123456789abcdef", "scheme": "github"}),
    );
    assert_eq!(
        (named.get("secret"), &named["config"]["scheme"]["header"]),
        (None, &json!("x-hub-signature-256"))
    );

    let all = listed(&admin, &core);
    let expected = [
        ("declared", "program"),
        ("morning", "registered"),
        ("orders", "registered"),
        ("in", "registered"),
        ("get", "registered"),
        ("named", "registered"),
    ];
    let expected = expected.map(|(name, origin)| (name.to_owned(), origin.to_owned()));
    assert_eq!(names(&all), expected);
    assert_eq!(all[0]["config"]["filter"], "data.n > 1");
    assert!(
        all.iter()
            .all(|trigger| trigger.get("secret").is_none() && trigger["config"].get("secret").is_none()),
        "{all:?}"
    );

    // They are shown on the Core, which has changed by them; what is shown can be written back.
    let after = admin.get(&format!("{CORES}/{core}")).answer(200);
    assert_ne!(before.header("etag"), after.header("etag"));
    let shown = after.data();
    assert_eq!(shown["environment"]["triggers"].as_array().unwrap().len(), 5);
    assert!(!shown.to_string().contains(secret));
    let path = format!("{CORES}/{core}");
    admin.put(&path, &json!({"environment": shown["environment"]})).answer(200);
    let refused =
        admin.put(&path, &json!({"environment": {"triggers": []}})).refused(422, "VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["environment.triggers"]);
    admin.put(&path, &json!({"environment": {"A": 1}})).answer(200);
    assert_eq!(listed(&admin, &core).len(), 6);
    let of_list = admin.pages(CORES, "items");
    assert_eq!(of_list[0]["environment"]["triggers"].as_array().unwrap().len(), 5);

    let id = schedule["id"].as_str().unwrap();
    let path = format!("{CORES}/{core}/triggers/{id}");
    assert_eq!(admin.get(&path).answer(200).data(), schedule);
    admin.delete(&path).answer(204);
    admin.delete(&path).refused(404, "TRIGGER_NOT_FOUND");
    admin.get(&path).refused(404, "TRIGGER_NOT_FOUND");
    let of_program = format!("{CORES}/{core}/triggers/{}", all[0]["id"].as_str().unwrap());
    admin.delete(&of_program).refused(409, "CONFLICT");
    let records = admin.pages(&format!("/v1/audit/events?resource_id={id}"), "items");
    let actions: Vec<&Value> = records.iter().map(|record| &record["action"]).collect();
    assert_eq!(actions, ["trigger.delete", "trigger.create"]);
    assert_eq!(records[1]["changes"]["flow"]["after"], "tick");
    let all = admin.pages("/v1/audit/events?resource_type=trigger", "items");
    assert!(!json!(all).to_string().contains(secret), "no secret is in the audit log");

    // What is gone with its Core is gone.
    let id = hook["id"].as_str().unwrap();
    admin.post(&format!("{CORES}/{core}/stop")).answer(200);
    admin.status_becomes(&core, "stopped");
    admin.delete(&format!("{CORES}/{core}")).answer(204);
    server.anyone().post(&format!("/v1/hooks/{core}/{id}")).json(&json!({})).refused(404, "NOT_FOUND");
    server.stop();
}

fn what_is_wrong_is_named_and_changes_nothing(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let declared = json!([{"kind": "api", "name": "get", "target_flow": "order", "method": "GET", "path": "/orders/{id}"}]);
    let core = admin.host("Shop", &shop(&declared));
    let path = format!("{CORES}/{core}/triggers");
    let schedule =
        |cron: &str| json!({"kind": "schedule", "name": "x", "flow": "tick", "config": {"cron": cron}});
    for (body, fields) in [
        (json!({"kind": "chat", "name": "x", "flow": "tick"}), vec!["kind"]),
        (json!({"kind": "schedule", "flow": "tick"}), vec!["name"]),
        (json!({"kind": "event", "name": "x", "flow": "nothing", "config": {"event": "e"}}), vec!["flow"]),
        (json!({"kind": "event", "name": "x", "flow": "order", "config": {"event": "e"}}), vec!["flow"]),
        (schedule("every day"), vec!["config.cron"]),
        (
            json!({"kind": "schedule", "name": "x", "flow": "tick", "config": {"cron": "* * * * *", "timezone": "Mars"}}),
            vec!["config.timezone"],
        ),
        (
            json!({"kind": "api", "name": "x", "flow": "order", "config": {"path": "/a/{no}"}}),
            vec!["config.path"],
        ),
        (json!({"kind": "api", "name": "x", "flow": "order", "config": {"path": "a"}}), vec!["config.path"]),
        (
            json!({"kind": "webhook", "name": "x", "flow": "hook", "config": {"secret": "short"}}),
            vec!["config.secret"],
        ),
        (
            json!({"kind": "webhook", "name": "x", "flow": "hook", "config": {"scheme": "rot13", "more": 1}}),
            vec!["config.more", "config.scheme"],
        ),
        (
            json!({"kind": "event", "name": "x", "flow": "heard", "config": {"event": "e", "filter": "data.("}}),
            vec!["config.filter"],
        ),
        (
            json!({"kind": "event", "name": "x", "flow": "heard", "config": {"event": "e"}, "colour": 1}),
            vec!["colour"],
        ),
    ] {
        let refused = admin.post(&path).json(&body).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), fields, "{body}");
    }
    // Names, and calls, are taken once.
    let same = json!({"kind": "event", "name": "get", "flow": "heard", "config": {"event": "e"}});
    assert_eq!(admin.post(&path).json(&same).refused(409, "CONFLICT").fields(), ["name"]);
    let same = json!({"kind": "api", "name": "other", "flow": "order", "config": {"method": "GET", "path": "/orders/{id}"}});
    assert_eq!(admin.post(&path).json(&same).refused(409, "CONFLICT").fields(), ["config"]);
    assert_eq!(listed(&admin, &core).len(), 1);
    assert!(admin.pages("/v1/audit/events?resource_type=trigger", "items").is_empty());
    // Whoever may only look may not.
    let (_, key) = admin.user("viewer@example.org", &["tenant_viewer"]);
    let viewer = server.client(&key);
    assert_eq!(listed(&viewer, &core).len(), 1);
    viewer.post(&path).json(&json!({})).refused(403, "AUTHZ_PERMISSION_DENIED");
    // The same key makes one trigger.
    let body = json!({"kind": "webhook", "name": "once", "flow": "hook"});
    let once = || admin.post(&path).header("Idempotency-Key", "once").json(&body).answer(201).data();
    assert_eq!(once(), once());
    assert_eq!(listed(&admin, &core).len(), 2);
    server.stop();
}

fn a_trigger_is_at_work_at_once_and_no_longer_than_it_is_there(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Shop", &shop(&json!([])));
    // An event, by a pattern and a filter.
    let trigger = register(
        &admin,
        &core,
        "event",
        "big",
        "heard",
        &json!({"event": "order.*", "filter": "data.n > 5"}),
    );
    let send = |name: &str, n: i64| {
        let body = json!({"event_name": name, "data": {"n": n}});
        admin.post(&format!("{CORES}/{core}/events")).json(&body).answer(202).data()["executions"].clone()
    };
    assert_eq!(send("order.created", 5), json!([]));
    assert_eq!(send("payment.created", 9), json!([]));
    let started = send("order.created", 9);
    let id = started[0].as_str().unwrap();
    let ended = admin.execution_becomes(id, "completed");
    assert_eq!(
        (&ended["output"]["event"], &ended["trigger"]),
        (&json!("order.created"), &json!("event:order.created"))
    );
    admin.delete(&format!("{CORES}/{core}/triggers/{}", trigger["id"].as_str().unwrap())).answer(204);
    assert_eq!(send("order.created", 9), json!([]));

    // A schedule sets its timer, and takes it away with itself, and with its Core's rest.
    let timers = || admin.get(&format!("{CORES}/{core}/state")).answer(200).data()["timers"].clone();
    assert_eq!(timers(), 0);
    let trigger = register(&admin, &core, "schedule", "yearly", "tick", &json!({"cron": "0 0 1 1 *"}));
    assert_eq!(timers(), 1);
    admin.act(&core, "pause");
    assert_eq!(timers(), 0);
    admin.act(&core, "resume");
    assert_eq!(timers(), 1);
    admin.delete(&format!("{CORES}/{core}/triggers/{}", trigger["id"].as_str().unwrap())).answer(204);
    assert_eq!(timers(), 0);
    // One that is due every minute comes, once for each minute.
    register(&admin, &core, "schedule", "minutely", "tick", &json!({"cron": "* * * * *"}));
    let fired = eventually("the minute comes", 2 * PATIENCE, || {
        let found = executions(&admin, &core, "tick");
        found.into_iter().find(|execution| execution["status"] == "completed")
    });
    assert_eq!((&fired["trigger"], &fired["output"]), (&json!("schedule:minutely"), &json!("ticked")));
    server.stop();
}

fn a_new_program_may_stand_in_the_way(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Shop", &shop(&json!([])));
    register(&admin, &core, "schedule", "yearly", "tick", &json!({"cron": "0 0 1 1 *"}));
    register(&admin, &core, "event", "orders", "heard", &json!({"event": "order"}));
    let mut without =
        shop(&json!([{"kind": "event", "name": "orders", "target_flow": "heard", "event": "other"}]));
    without["flows"].as_array_mut().unwrap().remove(0);
    admin.put(&format!("{CORES}/{core}"), &json!({"source": without})).answer(200);
    let problems: Vec<Value> =
        listed(&admin, &core).into_iter().map(|trigger| trigger["problem"].clone()).collect();
    assert_eq!(problems[0], Value::Null);
    assert!(problems[1].as_str().unwrap().contains("flow"), "{problems:?}");
    assert!(problems[2].as_str().unwrap().contains("declares"), "{problems:?}");
    let state = admin.get(&format!("{CORES}/{core}/state")).answer(200).data();
    assert_eq!(state["timers"], 0, "what has no flow has no timer");
    // With the old program they are back at work.
    admin.post(&format!("{CORES}/{core}/rollback")).json(&json!({"version": 1})).answer(200);
    assert!(listed(&admin, &core).iter().all(|trigger| trigger["problem"] == Value::Null));
    let state = admin.get(&format!("{CORES}/{core}/state")).answer(200).data();
    assert_eq!(state["timers"], 1);
    server.stop();
}

#[test]
fn what_one_node_registers_another_hears() {
    on(Db::Postgres, |place| {
        let (first, second) = (place.start(), place.further_node("second").start());
        let (one, two) = (first.admin(), second.admin());
        let core = one.run("Shop", &shop(&json!([])));
        // The second knows the Core as it is.
        let send = || {
            let body = json!({"event_name": "order", "data": {}});
            two.post(&format!("{CORES}/{core}/events")).json(&body).answer(202).data()["executions"].clone()
        };
        assert_eq!(send(), json!([]));
        register(&one, &core, "event", "orders", "heard", &json!({"event": "order"}));
        eventually("the other node hears of it", PATIENCE, || (send() != json!([])).then_some(()));
        // Of two who register the same at once one does.
        let body = json!({"kind": "event", "name": "same", "flow": "heard", "config": {"event": "x"}});
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let each = [&one, &two].map(|client| {
                let (body, core) = (&body, &core);
                scope.spawn(move || {
                    client.post(&format!("{CORES}/{core}/triggers")).json(body).exchange().status
                })
            });
            each.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(statuses.contains(&201) && statuses.contains(&409), "{statuses:?}");
        first.stop();
        second.stop();
    });
}
