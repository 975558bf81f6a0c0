//! Outgoing webhooks: what happens is told, signed, at least once, to those who want it, and to no place that nobody
//! may call.

use std::time::Duration;

use scaigrid_tests::{
    CORES, Client, Launch, Place, Reaction, Received, Receiver, on_both_databases, programs,
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

on_both_databases!(
    what_happens_is_told_and_signed,
    executions_and_checkpoints_are_told,
    who_has_called_an_execution_is_told,
    what_fails_is_tried_again_by_the_timetable,
    what_was_committed_is_told_after_a_crash,
    a_receiver_that_is_gone_is_told_nothing_more,
    what_a_former_receiver_says_is_not_the_present_ones,
    a_suspended_tenants_deliveries_wait,
    webhooks_are_changed_like_everything_else,
    places_that_nobody_may_call_are_refused,
    redirects_lead_nowhere,
);

pub(crate) const SOON: Duration = Duration::from_secs(10);

/// How a server is started that may call a receiver on this machine.
pub(crate) fn allowing<'a>(place: &'a Place, receivers: &[&Receiver]) -> Launch<'a> {
    let allowed: Vec<String> = receivers.iter().map(|receiver| receiver.address().to_string()).collect();
    place.launch().set("SCAIGRID_EGRESS_ALLOW", &allowed.join(","))
}

/// A webhook, and its secret.
pub(crate) fn hook(client: &Client, url: &str, events: &[&str]) -> (String, String) {
    let made = client.post("/v1/webhooks").json(&json!({"url": url, "events": events})).answer(201).data();
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

pub(crate) fn deliveries(client: &Client, hook: &str, query: &str) -> Vec<Value> {
    client.pages(&format!("/v1/webhooks/{hook}/deliveries{query}"), "items")
}

/// The deliveries once none is pending any more.
fn all_over(client: &Client, hook: &str) -> Vec<Value> {
    scaigrid_tests::eventually("nothing is pending", SOON, || {
        deliveries(client, hook, "?status=pending").is_empty().then_some(())
    });
    deliveries(client, hook, "")
}

fn types(letters: &[Received]) -> Vec<String> {
    letters.iter().map(Received::event_type).collect()
}

fn what_happens_is_told_and_signed(place: &Place) {
    let receiver = Receiver::start();
    let server = allowing(place, &[&receiver]).start();
    let root = server.admin();
    let (id, secret) = hook(&root, &receiver.url("/hook?a=1"), &["scaikey.*", "api_key.created"]);
    assert!(secret.starts_with("whsec_"), "{secret}");
    let (user, key) = root.user("ada@example.org", &["tenant_user"]);
    root.put(&format!("/v1/users/{user}/roles"), &json!({"roles": ["tenant_viewer"]})).answer(200);
    root.put(&format!("/v1/users/{user}/roles"), &json!({"roles": ["tenant_viewer"]})).answer(200);
    // A tenant beside it has nothing to do with it.
    let other = root.in_tenant(&root.tenant("other"));
    other.user("bob@other.example", &[]);
    let letters = receiver.wait_for(3, SOON);
    let mut told = types(&letters);
    told.sort();
    assert_eq!(told, ["api_key.created", "scaikey.user.created", "scaikey.user.updated"]);
    let tenant = root.get("/v1/me").answer(200).data()["tenant"].clone();
    for one in &letters {
        one.verify(&secret);
        assert_eq!(one.path, "/hook?a=1");
        let text = String::from_utf8(one.body.clone()).unwrap();
        assert!(!text.contains(&key[8..]), "a key was told");
        let body = one.json();
        assert_eq!((&body["tenant_id"], &body["source"]), (&tenant["id"], &json!("scaigrid")));
        assert!(body["partner_id"].as_str().unwrap().starts_with("prt_"));
    }
    let made = letters.iter().find(|one| one.event_type() == "scaikey.user.created").unwrap().json();
    assert_eq!(made["payload"]["resource_id"], json!(user));
    assert_eq!(made["payload"]["changes"]["email"], json!({"before": null, "after": "ada@example.org"}));

    // What was told is what the log says.
    let log = all_over(&root, &id);
    assert_eq!(log.len(), 3);
    for one in &log {
        assert_eq!(
            (&one["status"], &one["status_code"], &one["attempts"]),
            (&json!("success"), &json!(200), &json!(1))
        );
        assert_eq!(one["log"][0]["response"], "heard, 200");
        assert!(one["next_attempt_at"].is_null() && one["finished_at"].is_string() && one["error"].is_null());
        let there = letters.iter().filter(|sent| sent.header("webhook-id") == one["event_id"]);
        assert_eq!(there.count(), 1);
    }
    assert_eq!(deliveries(&root, &id, "?status=failed").len(), 0);
    assert_eq!(deliveries(&root, &id, "?status=success&since=2020-01-01T00:00:00Z").len(), 3);
    assert_eq!(deliveries(&root, &id, "?since=2999-01-01T00:00:00Z").len(), 0);

    // Once more is under the same id.
    let again = log[0]["id"].as_str().unwrap();
    let asked = root.post(&format!("/v1/webhooks/{id}/deliveries/{again}/redeliver")).answer(202).data();
    assert_eq!((&asked["status"], &asked["attempts"]), (&json!("pending"), &json!(0)));
    let letters = receiver.wait_for(4, SOON);
    letters[3].verify(&secret);
    assert_eq!(letters[3].header("webhook-id"), log[0]["event_id"]);
    assert_eq!(
        letters[3].body,
        letters.iter().find(|one| one.header("webhook-id") == log[0]["event_id"]).unwrap().body
    );
    let over = all_over(&root, &id);
    assert_eq!(over[0]["log"].as_array().unwrap().len(), 2);

    // A test is told whatever the webhook wants.
    let tried = root.post(&format!("/v1/webhooks/{id}/test")).answer(200).data();
    assert_eq!((&tried["status_code"], &tried["error"]), (&json!(200), &Value::Null));
    let letters = receiver.wait_for(5, SOON);
    letters[4].verify(&secret);
    assert_eq!(letters[4].event_type(), "webhook.test");
    assert_eq!(deliveries(&root, &id, "")[0]["id"], tried["delivery_id"]);
    receiver.then([Reaction::Answer(500, String::new())]);
    let tried = root.post(&format!("/v1/webhooks/{id}/test")).answer(200).data();
    assert_eq!((&tried["status_code"], &tried["error"]), (&json!(500), &json!("the receiver answered 500")));
    assert_eq!(deliveries(&root, &id, "?status=failed").len(), 1, "a test is not tried again");

    // The secret was shown once.
    assert!(!place.log().contains(&secret[6..]));
    let everywhere = format!(
        "{:?}{:?}{:?}{:?}",
        root.get(&format!("/v1/webhooks/{id}")).answer(200).json(),
        root.pages("/v1/webhooks", "items"),
        root.pages("/v1/audit/events", "items"),
        deliveries(&root, &id, "")
    );
    assert!(!everywhere.contains(&secret[6..]) && !everywhere.contains("whsec_"));
    server.stop();
}

fn who_has_called_an_execution_is_told(place: &Place) {
    let receiver = Receiver::start();
    let server = allowing(place, &[&receiver]).start();
    let root = server.admin();
    let inner = programs::flow(
        "inner",
        &json!([]),
        &json!([programs::rigid("say", &json!([{"kind": "return", "value": "1"}]))]),
    );
    let call = json!({"kind": "core_call", "id": "call", "target": "core://self", "flow_name": "inner"});
    let core = root.run(
        "Calls",
        &programs::program("Calls", &[programs::flow("outer", &json!([]), &json!([call])), inner]),
    );
    hook(&root, &receiver.url("/"), &["scaicore.execution_completed"]);
    let outer = root.invoke(&core, "outer", &json!({}))["id"].clone();
    let letters = receiver.wait_for(2, SOON);
    let of = |flow: &str| {
        let letter =
            letters.iter().map(|one| one.json()["payload"].clone()).find(|told| told["flow"] == flow);
        letter.unwrap_or_else(|| panic!("nothing of {flow}"))
    };
    assert_eq!(
        (&of("outer")["execution_id"], of("outer").get("parent_execution_id")),
        (&outer, Some(&Value::Null))
    );
    assert_eq!(of("inner")["parent_execution_id"], outer);
    server.stop();
}

fn executions_and_checkpoints_are_told(place: &Place) {
    let receiver = Receiver::start();
    let server = allowing(place, &[&receiver]).start();
    let root = server.admin();
    let core = root.run("Told", &programs::asking(&json!({})));
    let (_, secret) = hook(&root, &receiver.url("/"), &["scaicore.*"]);
    let (execution, checkpoint) = root.invoke_to_checkpoint(&core, "ask", &json!({}));
    let mut told = types(&receiver.wait_for(2, SOON));
    told.sort();
    assert_eq!(told, ["scaicore.checkpoint_pending", "scaicore.execution_suspended"]);
    root.resolve(&checkpoint, "ok");
    root.execution_becomes(&execution, "completed");
    let letters = receiver.wait_for(4, SOON);
    for one in &letters {
        one.verify(&secret);
    }
    let mut later = types(&letters[2..]);
    later.sort();
    assert_eq!(later, ["scaicore.checkpoint_resolved", "scaicore.execution_completed"]);
    let of =
        |name: &str| letters.iter().find(|one| one.event_type() == name).unwrap().json()["payload"].clone();
    let pending = of("scaicore.checkpoint_pending");
    assert_eq!(pending["checkpoint_id"], json!(checkpoint));
    assert_eq!(pending["execution_id"], json!(execution));
    assert_eq!(of("scaicore.checkpoint_resolved")["resource_id"], json!(checkpoint));
    let completed = of("scaicore.execution_completed");
    assert_eq!((&completed["execution_id"], &completed["status"]), (&json!(execution), &json!("completed")));
    assert!(completed.get("output").is_none());
    root.delete(&format!("{CORES}/{core}")).answer(204);
    let letters = receiver.wait_for(5, SOON);
    assert_eq!(letters[4].event_type(), "scaicore.deleted");
    server.stop();
}

fn what_fails_is_tried_again_by_the_timetable(place: &Place) {
    let receiver = Receiver::start();
    let server = allowing(place, &[&receiver]).start();
    let root = server.admin();
    let (id, secret) = hook(&root, &receiver.url("/"), &["scaikey.user.created"]);
    let fails = Reaction::Answer(500, String::new());
    let redirects = Reaction::Answer(302, "Location: /elsewhere\r\n".to_owned());
    receiver.then([fails.clone(), redirects]);
    root.user("ada@example.org", &[]);
    let letters = receiver.wait_for(3, Duration::from_secs(20));
    for one in &letters {
        one.verify(&secret);
    }
    assert!(letters.iter().all(|one| one.header("webhook-id") == letters[0].header("webhook-id")));
    assert!(letters.iter().all(|one| one.body == letters[0].body && one.path == "/"));
    let waited = |n: usize| letters[n].at - letters[n - 1].at;
    assert!((Duration::from_millis(900)..Duration::from_secs(4)).contains(&waited(1)), "{:?}", waited(1));
    assert!((Duration::from_millis(4900)..Duration::from_secs(9)).contains(&waited(2)), "{:?}", waited(2));
    let log = all_over(&root, &id);
    let codes: Vec<_> =
        log[0]["log"].as_array().unwrap().iter().map(|one| one["status_code"].clone()).collect();
    assert_eq!(codes, [500, 302, 200]);
    assert_eq!((&log[0]["status"], &log[0]["attempts"]), (&json!("success"), &json!(3)));

    // With no retries, one failure is the end; and a receiver may ask for more time.
    root.put(&format!("/v1/webhooks/{id}"), &json!({"max_retries": 0})).answer(200);
    receiver.then([fails]);
    root.user("bob@example.org", &[]);
    receiver.wait_for(4, SOON);
    let over = all_over(&root, &id);
    assert_eq!((&over[0]["status"], &over[0]["attempts"]), (&json!("failed"), &json!(1)));
    assert_eq!(over[0]["error"], "the receiver answered 500");
    root.put(&format!("/v1/webhooks/{id}"), &json!({"max_retries": 8})).answer(200);
    receiver.then([Reaction::Answer(503, "Retry-After: 3600\r\n".to_owned())]);
    root.user("eve@example.org", &[]);
    receiver.wait_for(5, SOON);
    let pending = scaigrid_tests::eventually("the attempt is written down", SOON, || {
        deliveries(&root, &id, "?status=pending").into_iter().find(|one| one["status_code"] == 503)
    });
    let instant = |value: &Value| OffsetDateTime::parse(value.as_str().unwrap(), &Rfc3339).unwrap();
    // What was asked for counts from the answer on, which came a moment after the attempt began.
    let wait = instant(&pending["next_attempt_at"]) - instant(&pending["log"][0]["timestamp"]);
    assert!((3600.0..3610.0).contains(&wait.as_seconds_f64()), "{pending}");
    server.stop();
}

fn what_was_committed_is_told_after_a_crash(place: &Place) {
    let receiver = Receiver::start();
    let server = allowing(place, &[&receiver]).start();
    let root = server.admin();
    let (id, secret) = hook(&root, &receiver.url("/"), &["scaikey.user.created"]);
    // In the middle of the first delivery the power fails.
    receiver.always(Reaction::Silence(Duration::from_secs(30)));
    let (user, _) = root.user("ada@example.org", &[]);
    receiver.wait_for(1, SOON);
    server.kill();
    receiver.always(Reaction::Answer(204, String::new()));
    let server = allowing(place, &[&receiver]).start();
    let letters = receiver.wait_for(2, Duration::from_secs(20));
    letters[1].verify(&secret);
    assert_eq!(letters[1].header("webhook-id"), letters[0].header("webhook-id"));
    assert_eq!(letters[1].json()["payload"]["resource_id"], json!(user));
    let root = server.admin();
    let log = all_over(&root, &id);
    assert_eq!((log.len(), &log[0]["status"]), (1, &json!("success")));
    // And one that is written while nobody can be told is told later.
    root.put(&format!("/v1/webhooks/{id}"), &json!({"status": "inactive"})).answer(200);
    root.user("nobody@example.org", &[]);
    root.put(&format!("/v1/webhooks/{id}"), &json!({"status": "active"})).answer(200);
    root.user("bob@example.org", &[]);
    let letters = receiver.wait_for(3, SOON);
    assert_eq!(letters[2].json()["payload"]["changes"]["email"]["after"], "bob@example.org");
    server.stop();
}

fn a_receiver_that_is_gone_is_told_nothing_more(place: &Place) {
    let receiver = Receiver::start();
    let server = allowing(place, &[&receiver]).start();
    let root = server.admin();
    let (id, _) = hook(&root, &receiver.url("/"), &["scaikey.user.created"]);
    let path = format!("/v1/webhooks/{id}");
    receiver.then([Reaction::Answer(410, String::new())]);
    root.user("ada@example.org", &[]);
    let off = scaigrid_tests::eventually("it is switched off", SOON, || {
        let now = root.get(&path).answer(200).data();
        (now["status"] == "inactive").then_some(now)
    });
    assert_eq!(off["disabled_reason"], "gone");
    assert!(off["disabled_at"].is_string());
    let record = root.pages("/v1/audit/events?action=webhook.disable", "items");
    assert_eq!((record.len(), &record[0]["actor_type"]), (1, &json!("system")));
    assert_eq!(record[0]["changes"]["status"], json!({"before": "active", "after": "inactive"}));
    root.user("bob@example.org", &[]);
    let delivery = deliveries(&root, &id, "")[0]["id"].as_str().unwrap().to_owned();
    root.post(&format!("{path}/deliveries/{delivery}/redeliver")).refused(409, "CONFLICT");
    assert_eq!(receiver.received().len(), 1);
    // Somebody has seen to it.
    let on = root.put(&path, &json!({"status": "active"})).answer(200).data();
    assert_eq!((&on["status"], &on["disabled_reason"]), (&json!("active"), &Value::Null));
    root.user("eve@example.org", &[]);
    receiver.wait_for(2, SOON);
    server.stop();
}

fn what_a_former_receiver_says_is_not_the_present_ones(place: &Place) {
    let (former, present) = (Receiver::start(), Receiver::start());
    let server = allowing(place, &[&former, &present]).start();
    let root = server.admin();
    let (id, _) = hook(&root, &former.url("/"), &["scaikey.user.created"]);
    let path = format!("/v1/webhooks/{id}");
    former.then([Reaction::Late(Duration::from_secs(2), 410)]);
    root.user("ada@example.org", &[]);
    former.wait_for(1, SOON);
    // While it thinks about it, the webhook moves.
    root.put(&path, &json!({"url": present.url("/")})).answer(200);
    let letters = present.wait_for(1, SOON);
    assert_eq!(letters[0].header("webhook-id"), former.received()[0].header("webhook-id"));
    let log = all_over(&root, &id);
    assert_eq!((log.len(), &log[0]["status"]), (1, &json!("success")));
    assert_eq!(log[0]["log"][0]["status_code"], 410, "what was said is kept");
    let now = root.get(&path).answer(200).data();
    assert_eq!((&now["status"], &now["disabled_reason"]), (&json!("active"), &Value::Null));
    assert!(root.pages("/v1/audit/events?action=webhook.disable", "items").is_empty());
    server.stop();
}

fn a_suspended_tenants_deliveries_wait(place: &Place) {
    let receiver = Receiver::start();
    let server = allowing(place, &[&receiver]).start();
    let root = server.admin();
    let acme = root.tenant("acme");
    let inside = root.in_tenant(&acme);
    let (id, _) = hook(&inside, &receiver.url("/"), &["scaikey.user.created", "tenant.updated"]);
    receiver.then([Reaction::Answer(503, "Retry-After: 2\r\n".to_owned())]);
    inside.user("ada@acme.example", &[]);
    scaigrid_tests::eventually("the attempt is written down", SOON, || {
        deliveries(&inside, &id, "?status=pending").into_iter().find(|one| one["status_code"] == 503)
    });
    let path = format!("/v1/admin/tenants/{acme}");
    root.put(&path, &json!({"status": "suspended"})).answer(200);
    // Both the second attempt and what tells of the suspension are due in this time.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(types(&receiver.received()), ["scaikey.user.created"]);
    root.put(&path, &json!({"status": "active"})).answer(200);
    let mut told = types(&receiver.wait_for(4, SOON)[1..]);
    told.sort();
    assert_eq!(told, ["scaikey.user.created", "tenant.updated", "tenant.updated"]);
    server.stop();
}

fn webhooks_are_changed_like_everything_else(place: &Place) {
    let receiver = Receiver::start();
    let server = allowing(place, &[&receiver]).start();
    let root = server.admin();
    let body = json!({"url": receiver.url("/a"), "events": ["module.enabled", "*"], "secret": "a-secret-of-our-own", "status": "inactive", "max_retries": 3});
    let made = root.post("/v1/webhooks").json(&body).header("Idempotency-Key", "one").answer(201);
    let data = made.data();
    assert_eq!(data["secret"], "a-secret-of-our-own");
    assert_eq!(
        (&data["status"], &data["max_retries"], &data["events"]),
        (&json!("inactive"), &json!(3), &json!(["*", "module.enabled"]))
    );
    let path = made.header("location").unwrap().to_owned();
    assert_eq!(path, format!("/v1/webhooks/{}", data["id"].as_str().unwrap()));
    let again = root.post("/v1/webhooks").json(&body).header("Idempotency-Key", "one").answer(201);
    assert_eq!(again.data()["id"], data["id"], "it was made once");
    let read = root.get(&path).answer(200);
    let tag = read.header("etag").unwrap().to_owned();
    assert!(read.data().get("secret").is_none());
    let changed = root.put(&path, &json!({"status": "active"})).header("If-Match", &tag).answer(200);
    assert_ne!(changed.header("etag").unwrap(), tag);
    root.put(&path, &json!({"max_retries": 1})).header("If-Match", &tag).refused(412, "PRECONDITION_FAILED");
    // What changes nothing leaves no trace; a new secret does, and is not shown.
    root.put(&path, &json!({"status": "active", "secret": "a-secret-of-our-own"})).answer(200);
    root.put(&path, &json!({"secret": "another-of-our-own"})).answer(200);
    let records =
        root.pages(&format!("/v1/audit/events?resource_id={}", data["id"].as_str().unwrap()), "items");
    let actions: Vec<&str> = records.iter().map(|record| record["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["webhook.update", "webhook.update", "webhook.create"]);
    assert_eq!(records[0]["changes"], json!({"secret": {"before": "***", "after": "***"}}));
    assert!(!json!(records).to_string().contains("of-our-own"));
    // Every field that is wrong is named.
    for (body, field) in [
        (json!({"url": "not a url", "events": ["*"]}), "url"),
        (json!({"url": receiver.url("/#a"), "events": ["*"]}), "url"),
        (json!({"url": receiver.url("/"), "events": []}), "events"),
        (json!({"url": receiver.url("/"), "events": ["user.exploded"]}), "events[0]"),
        (json!({"url": receiver.url("/"), "events": ["*"], "secret": "short"}), "secret"),
        (json!({"url": receiver.url("/"), "events": ["*"], "max_retries": 9}), "max_retries"),
        (json!({"url": receiver.url("/"), "events": ["*"], "status": "gone"}), "status"),
        (json!({"url": receiver.url("/"), "events": ["*"], "colour": "red"}), "colour"),
    ] {
        let refusal = root.post("/v1/webhooks").json(&body).refused(422, "VALIDATION_ERROR");
        assert_eq!(refusal.fields(), [field], "{body}");
    }
    // Another tenant sees nothing of it, and a member without the right neither.
    let stranger = root.in_tenant(&root.tenant("other"));
    stranger.get(&path).refused(404, "WEBHOOK_NOT_FOUND");
    stranger.put(&path, &json!({"url": "x"})).refused(404, "WEBHOOK_NOT_FOUND");
    stranger.get(&format!("{path}/deliveries")).refused(404, "WEBHOOK_NOT_FOUND");
    assert!(stranger.pages("/v1/webhooks", "items").is_empty());
    let (_, key) = root.user("member@example.org", &["tenant_user"]);
    server.client(&key).get("/v1/webhooks").refused(403, "AUTHZ_PERMISSION_DENIED");
    // It goes with its deliveries, if it still is what somebody saw.
    root.post(&format!("{path}/test")).answer(200);
    root.delete(&path).header("If-Match", &tag).refused(412, "PRECONDITION_FAILED");
    let tag = root.get(&path).answer(200).header("etag").unwrap().to_owned();
    root.delete(&path).header("If-Match", &tag).answer(204);
    for path in [path.clone(), format!("{path}/deliveries")] {
        root.get(&path).refused(404, "WEBHOOK_NOT_FOUND");
    }
    root.delete(&path).refused(404, "WEBHOOK_NOT_FOUND");
    assert!(root.pages("/v1/webhooks", "items").is_empty());
    server.stop();
}

fn places_that_nobody_may_call_are_refused(place: &Place) {
    let receiver = Receiver::start();
    let port = receiver.address().port();
    // Another port than the receiver's is allowed, which allows nothing here.
    let server = place.launch().set("SCAIGRID_EGRESS_ALLOW", "127.0.0.1:1 *.allowed.invalid").start();
    let root = server.admin();
    for host in [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "[fe80::1]",
        "10.0.0.1",
        "172.16.3.4",
        "192.168.1.1",
        "100.64.0.1",
        "[fd00::1]",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "240.0.0.1",
    ] {
        for scheme in ["https", "http"] {
            let body = json!({"url": format!("{scheme}://{host}:{port}/"), "events": ["*"]});
            let refusal = root.post("/v1/webhooks").json(&body).refused(422, "EGRESS_DENIED");
            assert_eq!(refusal.fields(), ["url"], "{body}");
            // How it can be allowed is told, and what a name resolves to is not.
            assert!(refusal.text().contains("SCAIGRID_EGRESS_ALLOW"), "{refusal}");
            assert!(host != "localhost" || !refusal.text().contains("127.0.0.1"), "{refusal}");
        }
    }
    for url in [
        "ftp://example.org/",
        "https://user:password@8.8.8.8/",
        "http://8.8.8.8/",
        "https://8.8.8.8:0/",
        "http://unknown.invalid/",
    ] {
        let body = json!({"url": url, "events": ["*"]});
        root.post("/v1/webhooks").json(&body).refused(422, "EGRESS_DENIED");
    }
    // A name that has no address yet may get one; a public address is fine.
    let (id, _) = hook(&root, "https://unknown.invalid/", &["scaikey.user.deleted"]);
    let path = format!("/v1/webhooks/{id}");
    let tried = root.post(&format!("{path}/test")).answer(200).data();
    assert_eq!(
        (&tried["status_code"], &tried["error"]),
        (&Value::Null, &json!("the name cannot be resolved"))
    );
    let body = json!({"url": receiver.url("/")});
    root.put(&path, &body).refused(422, "EGRESS_DENIED");
    assert_eq!(root.get(&path).answer(200).data()["url"], "https://unknown.invalid/");
    let body = json!({"url": "https://8.8.8.8/hook", "events": ["*"], "status": "inactive"});
    root.post("/v1/webhooks").json(&body).answer(201);
    server.stop();

    // What was allowed once is refused when it is called, once it is not allowed any more.
    let server = place.launch().set("SCAIGRID_EGRESS_ALLOW_PRIVATE", "true").start();
    let root = server.admin();
    let (id, _) = hook(&root, &receiver.url("/"), &["scaikey.user.created"]);
    let path = format!("/v1/webhooks/{id}");
    assert_eq!(root.post(&format!("{path}/test")).answer(200).data()["status_code"], 200);
    server.stop();
    let server = place.start();
    let root = server.admin();
    root.post(&format!("{path}/test")).refused(502, "EGRESS_DENIED");
    root.user("ada@example.org", &[]);
    let failed = scaigrid_tests::eventually("it was refused", SOON, || {
        let pending = deliveries(&root, &id, "?status=pending");
        pending.into_iter().find(|one| !one["error"].is_null())
    });
    let told = failed["error"].as_str().unwrap();
    assert!(told.starts_with("EGRESS_DENIED") && told.contains("SCAIGRID_EGRESS_ALLOW"), "{failed}");
    assert_eq!(receiver.received().len(), 1, "nobody knocked");
    server.stop();
}

fn redirects_lead_nowhere(place: &Place) {
    let (outer, inner) = (Receiver::start(), Receiver::start());
    let server = allowing(place, &[&outer]).start();
    let root = server.admin();
    let (id, _) = hook(&root, &outer.url("/"), &["scaikey.user.created"]);
    for status in [301, 302, 303, 307, 308] {
        outer.then([Reaction::Answer(status, format!("Location: {}\r\n", inner.url("/secret")))]);
        let tried = root.post(&format!("/v1/webhooks/{id}/test")).answer(200).data();
        assert_eq!(tried["status_code"], status);
        assert!(tried["error"].is_string());
    }
    assert!(inner.received().is_empty());
    server.stop();
}
