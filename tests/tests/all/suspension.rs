//! Users who are suspended, and what keeps people from locking everybody out.

use std::time::{Duration, Instant};

use scaigrid_tests::{Client, Db, Launch, Place, SCAICORE, eventually, on, on_both_databases, programs, run};
use serde_json::{Value, json};

on_both_databases!(
    a_suspended_user_is_nobody_until_they_are_active_again,
    of_two_super_admins_one_stays,
    the_command_line_suspends_beside_a_server,
);

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn a_suspended_user_is_nobody_until_they_are_active_again(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let (id, key) = admin.user("ada@example.org", &["tenant_admin"]);
    let ada = server.client(&key);
    let core = ada.run("Ada's", &programs::asking(&json!({"assignee": format!("user:{id}")})));
    let (execution, checkpoint) = ada.invoke_to_checkpoint(&core, "ask", &json!({}));
    let path = format!("/v1/users/{id}");
    let shown =
        admin.put(&path, &json!({"status": "suspended", "display_name": "Ada L."})).answer(200).data();
    assert_eq!((&shown["status"], &shown["display_name"]), (&json!("suspended"), &json!("Ada L.")));
    ada.get("/v1/me").refused(401, "AUTH_TOKEN_INVALID");
    ada.post(&format!("{SCAICORE}/checkpoints/{checkpoint}/resolve"))
        .json(&json!({"decision": "x"}))
        .refused(401, "AUTH_TOKEN_INVALID");
    assert_eq!(admin.pages("/v1/users?status=suspended", "items").len(), 1);
    let body = json!({"name": "for later", "assigned_user_id": id});
    let refusal = admin.post("/v1/api-keys").json(&body).refused(422, "VALIDATION_ERROR");
    assert_eq!(refusal.fields(), ["assigned_user_id"]);

    // What she started runs as before; what asks her waits where those who run the tenant see it.
    assert_eq!(admin.status(&core), "running");
    assert_eq!(admin.execution(&execution)["status"], "suspended");
    let all = admin.pages(&format!("{SCAICORE}/checkpoints/all?status=pending"), "items");
    assert!(all.iter().any(|item| item["id"] == json!(checkpoint)));
    let (second, _) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));

    for (body, fields) in [
        (json!({"status": "deleted"}), vec!["status"]),
        (json!({"status": "asleep"}), vec!["status"]),
        (json!({"email": "x@example.org"}), vec!["email"]),
        (json!({"display_name": "\u{7}"}), vec!["display_name"]),
    ] {
        assert_eq!(admin.put(&path, &body).refused(422, "VALIDATION_ERROR").fields(), fields, "{body}");
    }
    admin.put(&path, &json!({"status": "active", "display_name": null})).answer(200);
    assert_eq!(ada.get("/v1/me").answer(200).data()["user"]["display_name"], "ada");
    let inbox = ada.pages(&format!("{SCAICORE}/checkpoints"), "items");
    assert!(inbox.iter().any(|item| item["id"] == json!(checkpoint)));
    ada.resolve(&checkpoint, "back");
    ada.execution_becomes(&execution, "completed");
    ada.put(&path, &json!({"status": "suspended"})).refused(409, "CONFLICT");
    let records = admin.pages(&format!("/v1/audit/events?resource_id={id}"), "items");
    let actions: Vec<String> = records.iter().map(|record| text(&record["action"])).collect();
    assert_eq!(actions, ["user.update", "user.update", "user.create"]);

    // Who is deleted leaves what they started, too.
    admin.delete(&path).answer(204);
    assert_eq!(admin.status(&core), "running");
    assert_eq!(admin.execution(&second)["status"], "suspended");
    server.stop();
}

/// Two super admins who suspend, demote and delete each other at the same time: one of them always is left.
fn of_two_super_admins_one_stays(place: &Place) {
    let server = place.start();
    let first = server.admin();
    let first_id = text(&first.get("/v1/me").answer(200).data()["user"]["id"]);
    let elsewhere = first.tenant("elsewhere");
    let inside = first.in_tenant(&elsewhere);
    for (round, (method, path, body)) in [
        ("PUT", "", json!({"status": "suspended"})),
        ("PUT", "/roles", json!({"roles": ["tenant_admin"]})),
        ("DELETE", "", Value::Null),
        ("PUT", "", json!({"status": "suspended"})),
        ("PUT", "/roles", json!({"roles": []})),
    ]
    .iter()
    .enumerate()
    {
        let (second_id, key) = inside.user(&format!("second{round}@example.org"), &["super_admin"]);
        let second = server.client(&key).in_tenant("default");
        second.get("/v1/me").answer(200);
        let attack = |client: &Client, id: &str| {
            let request = client.request(method, &format!("/v1/users/{id}{path}"));
            let request = if body.is_null() { request } else { request.json(body) };
            std::thread::spawn(move || request.exchange())
        };
        let rivals = [attack(&inside, &second_id), attack(&second, &first_id)];
        let answers = rivals.map(|rival| rival.join().unwrap());
        let done = answers.iter().filter(|answer| answer.status < 300).count();
        assert_eq!(done, 1, "{}\n{}", answers[0], answers[1]);
        for answer in answers.iter().filter(|answer| answer.status >= 300) {
            // 404 where the tenant is out of reach by now.
            assert!(matches!(answer.status, 401 | 403 | 404 | 409), "{answer}");
        }
        if answers[1].status < 300 {
            // The first has lost; the second is in charge and the rounds are over.
            second.get("/v1/users").answer(200);
            break;
        }
        first.get("/v1/users").answer(200);
    }
    server.stop();
}

fn the_command_line_suspends_beside_a_server(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let (id, key) = admin.user("ada@example.org", &["tenant_user"]);
    let ada = server.client(&key);
    let data = place.data();
    let task = |task: &str, user: &str| {
        let variables =
            [("SCAIGRID_DATA_DIR", data.to_str().unwrap()), ("SCAIGRID_DATABASE_URL", place.database_url())];
        run(place.folder(), &["admin", "user", task, user, "--json"], &variables)
    };
    for (verb, status, expected) in [("suspend", "suspended", 401), ("resume", "active", 200)] {
        ada.get("/v1/me").exchange();
        let done = task(verb, &id);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let shown: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!((&shown["status"], &shown["custom_role_ids"]), (&json!(status), &json!([])));
        eventually("the server knows", Duration::from_secs(3), || {
            (ada.get("/v1/me").exchange().status == expected).then_some(())
        });
    }
    let me = text(&admin.get("/v1/me").answer(200).data()["user"]["id"]);
    let refused = task("suspend", &me);
    assert_eq!(refused.status.code(), Some(1), "nobody suspends themselves");
    admin.get("/v1/me").answer(200);
    server.stop();
}

/// On every node, with what it remembers warm, and without anything but the database between the nodes.
#[test]
fn a_suspension_counts_on_every_node_within_a_second() {
    on(Db::Postgres, |place| {
        let redis = Place::redis();
        for redis in [None, redis.as_deref()] {
            let launch = |launch: Launch| match redis {
                Some(redis) => launch.set("SCAIGRID_REDIS_URL", redis).start(),
                None => launch.start(),
            };
            let (first, second) = (launch(place.launch()), launch(place.further_node("second")));
            let admin = first.admin();
            let email = if redis.is_some() { "with@example.org" } else { "without@example.org" };
            let (id, key) = admin.user(email, &["tenant_user"]);
            let there = second.client(&key);
            let path = format!("/v1/users/{id}");
            for status in ["suspended", "active"] {
                let expected = if status == "suspended" { 401 } else { 200 };
                there.get("/v1/me").exchange();
                admin.put(&path, &json!({"status": status})).answer(200);
                let begun = Instant::now();
                eventually("the status counts", Duration::from_secs(3), || {
                    (there.get("/v1/me").exchange().status == expected).then_some(())
                });
                assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
            }
            first.stop();
            second.stop();
        }
    });
}
