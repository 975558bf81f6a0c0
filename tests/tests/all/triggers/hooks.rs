//! Messages from other systems.

use std::time::{SystemTime, UNIX_EPOCH};

use scaigrid_tests::{CORES, Client, Db, Place, Request, eventually, on, on_both_databases};
use serde_json::{Value, json};

use super::{PATIENCE, executions, register, shop};

on_both_databases!(
    a_verified_message_starts_its_flow_once,
    a_message_that_is_not_verified_is_told_nothing,
    secrets_change_without_a_gap,
    other_schemes_are_verified_too,
    a_program_brings_its_own_webhooks,
    a_core_that_rests_is_told_of_later,
    what_is_public_rests_with_its_tenant_and_its_module,
    messages_count_against_the_tenant_once_they_are_verified,
);

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// A message as Standard Webhooks have it.
fn signed(client: &Client, url: &str, secret: &str, id: &str, seconds: i64, body: &[u8]) -> Request {
    let signature = standardwebhooks::Webhook::new(secret).unwrap().sign(id, seconds, body).unwrap();
    client
        .post(url)
        .body("application/json", body.to_vec())
        .header("webhook-id", id)
        .header("webhook-timestamp", &seconds.to_string())
        .header("webhook-signature", &signature)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// What the history tells of messages, newest first: the result and the reason of each.
fn history(client: &Client, core: &str) -> Vec<String> {
    let path = format!("{CORES}/{core}/events/history?type=scaicore.webhook.received");
    let events = client.pages(&path, "events");
    events.iter().map(|event| text(&event["listeners"][0]["result"])).collect()
}

fn a_verified_message_starts_its_flow_once(place: &Place) {
    let server = place.start();
    let (admin, anyone) = (server.admin(), server.anyone());
    let core = admin.run("Shop", &shop(&json!([])));
    let hook = register(&admin, &core, "webhook", "in", "hook", &json!({}));
    let (url, secret) = (text(&hook["url"]), text(&hook["secret"]));
    let send = |id: &str, body: &[u8]| {
        signed(&anyone, &url, &secret, id, now(), body)
            .header("X-Kind", "order")
            .header("Authorization", "Bearer theirs")
    };
    let first = send("msg_1", b"{\"total\":7}").answer(202).data();
    let execution = text(&first["execution_id"]);
    assert_eq!(first["message_id"], "msg_1");
    let ended = admin.execution_becomes(&execution, "completed");
    assert_eq!(
        ended["output"],
        json!({"body": {"total": 7}, "id": "msg_1", "kind": "order", "seen": "nothing"})
    );
    assert_eq!(ended["trigger"], "webhook:in");
    assert!(!ended.to_string().contains("webhook-signature"), "what vouches for it is not passed on");
    // Again: the first answer, and nothing runs. The id counts, whatever else is in it.
    for body in [&b"{\"total\":7}"[..], b"{\"total\":8}"] {
        assert_eq!(send("msg_1", body).answer(202).data(), first);
    }
    // Many at once begin one.
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| send("msg_2", b"{}").answer(202).data())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    admin.execution_becomes(&text(&answers[0]["execution_id"]), "completed");
    assert_eq!(executions(&admin, &core, "hook").len(), 2);
    let told = history(&admin, &core);
    assert_eq!(told.iter().filter(|result| *result == "started").count(), 2, "{told:?}");
    assert_eq!(told.iter().filter(|result| *result == "duplicate").count(), 9, "{told:?}");
    // After a restart it is known still.
    server.stop();
    let server = place.start();
    let again = signed(&server.anyone(), &url, &secret, "msg_1", now(), b"{}").answer(202).data();
    assert_eq!(again, first);
    // What does not fit the flow is refused by name, and may come again when it does.
    let admin = server.admin();
    let strict = register(&admin, &core, "webhook", "strict", "strict", &json!({}));
    let (url, secret, anyone) = (text(&strict["url"]), text(&strict["secret"]), server.anyone());
    let send = |body: &[u8]| signed(&anyone, &url, &secret, "msg_3", now(), body);
    assert_eq!(send(b"{\"total\":\"x\"}").refused(422, "VALIDATION_ERROR").fields(), ["body.total"]);
    assert_eq!(send(b"{").refused(422, "VALIDATION_ERROR").fields(), ["body"]);
    let taken = send(b"{\"total\":5}").answer(202).data();
    assert_eq!(admin.execution_becomes(&text(&taken["execution_id"]), "completed")["output"], 5);
    assert_eq!(history(&admin, &core)[..2], ["started", "unfit"]);
    server.stop();
}

fn a_message_that_is_not_verified_is_told_nothing(place: &Place) {
    let server = place.start();
    let (admin, anyone) = (server.admin(), server.anyone());
    let core = admin.run("Shop", &shop(&json!([])));
    let hook = register(&admin, &core, "webhook", "in", "hook", &json!({}));
    let event = register(&admin, &core, "event", "other", "heard", &json!({"event": "x"}));
    let (url, secret) = (text(&hook["url"]), text(&hook["secret"]));
    let other = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let refused = |request: Request| {
        let answer = request.refused(401, "WEBHOOK_SIGNATURE_INVALID");
        (answer.json()["error"].clone(), answer.status)
    };
    let reasons = [
        refused(signed(&anyone, &url, other, "msg_1", now(), b"{}")),
        refused(signed(&anyone, &url, &secret, "msg_1", now() - 400, b"{}")),
        refused(signed(&anyone, &url, &secret, "msg_1", now() + 400, b"{}")),
        refused(signed(&anyone, &url, &secret, "", now(), b"{}")),
        refused(anyone.post(&url).json(&json!({}))),
        // Not even whoever owns the Core, without a signature.
        refused(admin.post(&url).json(&json!({}))),
        refused(
            anyone
                .post(&url)
                .body("application/json", b"{\"n\":2}".to_vec())
                .header("webhook-id", "msg_1")
                .header("webhook-timestamp", &now().to_string())
                .header(
                    "webhook-signature",
                    &standardwebhooks::Webhook::new(&secret)
                        .unwrap()
                        .sign("msg_1", now(), b"{\"n\":1}")
                        .unwrap(),
                ),
        ),
    ];
    assert!(reasons.iter().all(|reason| *reason == reasons[0]), "{reasons:?}");
    // What is no webhook is not there, however it is not.
    let nowhere: Vec<Value> = [
        format!("/v1/hooks/{core}/0197d17f-9740-0000-0000-00000000000a"),
        format!("/v1/hooks/{core}/{}", text(&event["id"])),
        format!("/v1/hooks/core_01J00000000000000000000000/{}", text(&hook["id"])),
        "/v1/hooks/nothing/nobody".to_owned(),
    ]
    .iter()
    .map(|url| {
        signed(&anyone, url, &secret, "msg_1", now(), b"{}").refused(404, "NOT_FOUND").json()["error"].clone()
    })
    .collect();
    assert!(nowhere.iter().all(|answer| *answer == nowhere[0]), "{nowhere:?}");
    let big = vec![b' '; 1024 * 1024 + 1];
    signed(&anyone, &url, &secret, "msg_1", now(), &big).refused(413, "PAYLOAD_TOO_LARGE");
    assert!(executions(&admin, &core, "hook").is_empty() && history(&admin, &core).is_empty());
    // With all this the id is still free.
    signed(&anyone, &url, &secret, "msg_1", now(), b"{}").answer(202);
    server.stop();
}

fn secrets_change_without_a_gap(place: &Place) {
    let server = place.start();
    let (admin, anyone) = (server.admin(), server.anyone());
    let core = admin.run("Shop", &shop(&json!([])));
    let hook = register(&admin, &core, "webhook", "in", "hook", &json!({}));
    let (url, first) = (text(&hook["url"]), text(&hook["secret"]));
    let path = format!("{CORES}/{core}/triggers/{}/secret", text(&hook["id"]));
    let rotate = |body: &Value| admin.post(&path).json(body).answer(200).data();
    let rotated = rotate(&json!({}));
    let second = text(&rotated["secret"]);
    assert!(second != first && rotated["previous_until"].is_string(), "{rotated}");
    let send = |secret: &str, id: &str| signed(&anyone, &url, secret, id, now(), b"{}");
    send(&first, "msg_1").answer(202);
    send(&second, "msg_2").answer(202);
    // One more change, and the first is nobody's any more.
    let third = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    assert_eq!(rotate(&json!({"secret": third}))["secret"], third);
    send(&first, "msg_3").refused(401, "WEBHOOK_SIGNATURE_INVALID");
    send(&second, "msg_4").answer(202);
    send(third, "msg_5").answer(202);
    assert_eq!(
        admin.post(&path).json(&json!({"secret": third})).refused(409, "CONFLICT").fields(),
        ["secret"]
    );
    assert_eq!(
        admin.post(&path).json(&json!({"secret": "x"})).refused(422, "VALIDATION_ERROR").fields(),
        ["secret"]
    );
    let records = admin.pages("/v1/audit/events?resource_type=trigger", "items");
    assert_eq!(records.iter().filter(|record| record["action"] == "trigger.rotate_secret").count(), 2);
    assert!(!json!(records).to_string().contains("whsec_"));
    server.stop();
}

fn other_schemes_are_verified_too(place: &Place) {
    let server = place.start();
    let (admin, anyone) = (server.admin(), server.anyone());
    let core = admin.run("Shop", &shop(&json!([])));
    // GitHub's own example, whose secret has spaces: the same bytes in base64.
    let config = json!({"scheme": "github", "secret": "whsec_SXQncyBhIFNlY3JldCB0byBFdmVyeWJvZHk="});
    let hook = register(&admin, &core, "webhook", "github", "hook", &config);
    let url = text(&hook["url"]);
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let send = |signature: &str, id: &str| {
        anyone
            .post(&url)
            .body("text/plain", "Hello, World!")
            .header("X-Hub-Signature-256", signature)
            .header("X-GitHub-Delivery", id)
    };
    let taken = send(signature, "72d3162e").answer(202).data();
    assert_eq!(taken["message_id"], "72d3162e");
    let ended = admin.execution_becomes(&text(&taken["execution_id"]), "completed");
    assert_eq!(ended["output"]["body"], "Hello, World!");
    assert_eq!(send(signature, "72d3162e").answer(202).data(), taken);
    let wrong = signature.replace("757107", "757108");
    send(&wrong, "72d3162f").refused(401, "WEBHOOK_SIGNATURE_INVALID");

    let config =
        json!({"scheme": {"type": "token", "header": "X-Gitlab-Token"}, "secret": "0123456789abcdef"});
    let hook = register(&admin, &core, "webhook", "gitlab", "hook", &config);
    let url = text(&hook["url"]);
    let send = |token: &str, n: i64| anyone.post(&url).json(&json!({"n": n})).header("X-Gitlab-Token", token);
    let one = send("0123456789abcdef", 1).answer(202).data();
    // Without an id of its own the body tells a message from others.
    assert_eq!(send("0123456789abcdef", 1).answer(202).data(), one);
    assert_ne!(send("0123456789abcdef", 2).answer(202).data()["execution_id"], one["execution_id"]);
    send("0123456789abcdee", 1).refused(401, "WEBHOOK_SIGNATURE_INVALID");
    server.stop();
}

fn a_program_brings_its_own_webhooks(place: &Place) {
    let server = place.start();
    let (admin, anyone) = (server.admin(), server.anyone());
    let program = shop(&json!([
        {"kind": "webhook", "name": "in", "target_flow": "hook", "secret": "${env.HOOK}"},
        {"kind": "webhook", "name": "bare", "target_flow": "hook"},
    ]));
    let (old, new) = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
    let environment = |text: &str| json!({"HOOK": {"type": "secret", "value": text}});
    let made = json!({"name": "Shop", "source": program, "environment": environment(old)});
    let made = admin.post(CORES).json(&made).answer(201).data();
    let core = text(&made["id"]);
    assert!(made["diagnostics"].as_array().unwrap().iter().any(|found| found["code"] == "W490"), "{made}");
    admin.act(&core, "start");
    let triggers = super::listed(&admin, &core);
    assert_eq!(triggers[0]["config"]["secret"], "${env.HOOK}");
    assert!(triggers[1]["problem"].as_str().unwrap().contains("secret"), "{triggers:?}");
    let url = text(&triggers[0]["url"]);
    signed(&anyone, &url, old, "msg_1", now(), b"{}").answer(202);
    signed(&anyone, &url, new, "msg_2", now(), b"{}").refused(401, "WEBHOOK_SIGNATURE_INVALID");
    // Several, while they are changed.
    admin
        .put(&format!("{CORES}/{core}"), &json!({"environment": environment(&format!("{new} {old}"))}))
        .answer(200);
    signed(&anyone, &url, old, "msg_3", now(), b"{}").answer(202);
    signed(&anyone, &url, new, "msg_4", now(), b"{}").answer(202);
    let bare = text(&triggers[1]["url"]);
    signed(&anyone, &bare, old, "msg_1", now(), b"{}").refused(404, "NOT_FOUND");
    let path = format!("{CORES}/{core}/triggers/{}/secret", text(&triggers[0]["id"]));
    admin.post(&path).json(&json!({})).refused(409, "CONFLICT");
    server.stop();
}

fn a_core_that_rests_is_told_of_later(place: &Place) {
    let server = place.start();
    let (admin, anyone) = (server.admin(), server.anyone());
    let core = admin.run("Shop", &shop(&json!([])));
    let hook = register(&admin, &core, "webhook", "in", "hook", &json!({}));
    let (url, secret) = (text(&hook["url"]), text(&hook["secret"]));
    admin.act(&core, "pause");
    let send = || signed(&anyone, &url, &secret, "msg_1", now(), b"{}");
    let refused = send().refused(503, "SERVICE_UNAVAILABLE");
    assert!(refused.header("retry-after").is_some());
    assert!(!refused.text().contains("paused"), "the sender is not told why");
    assert_eq!(history(&admin, &core), ["core_not_running"]);
    admin.act(&core, "resume");
    let taken = send().answer(202).data();
    admin.execution_becomes(&text(&taken["execution_id"]), "completed");
    assert_eq!(history(&admin, &core), ["started", "core_not_running"]);
    server.stop();
}

fn what_is_public_rests_with_its_tenant_and_its_module(place: &Place) {
    let server = place.start();
    let (root, anyone) = (server.admin(), server.anyone());
    let tenant = root.tenant("acme");
    let (_, key) = root.in_tenant(&tenant).user("boss@acme.example", &["tenant_admin"]);
    let boss = server.client(&key);
    let core = boss.run("Shop", &shop(&json!([])));
    register(
        &boss,
        &core,
        "api",
        "open",
        "order",
        &json!({"method": "GET", "path": "/open/{id}", "public": true}),
    );
    let hook = register(&boss, &core, "webhook", "in", "hook", &json!({}));
    let (url, secret) = (text(&hook["url"]), text(&hook["secret"]));
    let send = |id: &str| signed(&anyone, &url, &secret, id, now(), b"{}");
    let call = anyone.get(&format!("{CORES}/{core}/api/invoke/open/7"));
    send("before").answer(202);
    call.answer(200);
    let path = format!("/v1/admin/tenants/{tenant}");
    let of_tenant = |status: &str| drop(root.put(&path, &json!({"status": status})).answer(200));
    let of_module = |word: &str| drop(boss.post(&format!("/v1/modules/scaicore/{word}")).answer(200));
    let begun = || boss.pages(&format!("{CORES}/{core}/executions"), "items").len();
    for what in ["tenant", "module"] {
        let of_tenants = what == "tenant";
        if of_tenants {
            of_tenant("suspended");
        } else {
            of_module("disable");
        }
        eventually("nothing is taken", PATIENCE, || (call.exchange().status == 409).then_some(()));
        call.refused(409, "CORE_NOT_RUNNING");
        let refused = send(what).refused(503, "SERVICE_UNAVAILABLE");
        assert!(refused.header("retry-after").is_some(), "{refused}");
        if of_tenants {
            of_tenant("active");
        } else {
            of_module("enable");
        }
        boss.status_becomes(&core, "running");
        let before = begun();
        // The message that was refused is taken now, as if it came for the first time.
        eventually("messages are taken", PATIENCE, || (send(what).exchange().status == 202).then_some(()));
        eventually("calls are taken", PATIENCE, || (call.exchange().status == 200).then_some(()));
        assert_eq!(begun(), before + 2, "{what}: each has begun one");
    }
    server.stop();
}

fn messages_count_against_the_tenant_once_they_are_verified(place: &Place) {
    let limits = "key=5000,user=5000,tenant=40,partner=5000,address=5000";
    let server = place.launch().set("SCAIGRID_RATE_LIMITS", limits).start();
    let (root, anyone) = (server.admin(), server.anyone());
    let tenant = root.tenant("limited");
    let admin = root.in_tenant(&tenant);
    let core = admin.run("Shop", &shop(&json!([])));
    let hook = register(&admin, &core, "webhook", "in", "hook", &json!({}));
    let (url, secret) = (text(&hook["url"]), text(&hook["secret"]));
    for _ in 0..50 {
        anyone.post(&url).json(&json!({})).refused(401, "WEBHOOK_SIGNATURE_INVALID");
    }
    let send = |n: usize| signed(&anyone, &url, &secret, &format!("msg_{n}"), now(), b"{}").exchange();
    assert_eq!(send(0).status, 202);
    let refused = (1..100).map(send).find(|answer| answer.status != 202).unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (429, "RATE_LIMITED"), "{refused}");
    assert!(refused.header("retry-after").is_some());
    server.stop();
}

#[test]
fn of_two_nodes_that_get_a_message_one_takes_it() {
    on(Db::Postgres, |place| {
        let (first, second) = (place.start(), place.further_node("second").start());
        let admin = first.admin();
        let core = admin.run("Shop", &shop(&json!([])));
        let hook = register(&admin, &core, "webhook", "in", "hook", &json!({}));
        let (url, secret) = (text(&hook["url"]), text(&hook["secret"]));
        let clients = [first.anyone(), second.anyone()];
        for round in 0..10 {
            let id = format!("msg_{round}");
            let answers: Vec<Value> = std::thread::scope(|scope| {
                let send = |client| {
                    let (url, secret, id) = (&url, &secret, &id);
                    scope.spawn(move || signed(client, url, secret, id, now(), b"{}").answer(202).data())
                };
                let threads: Vec<_> = clients.iter().chain(&clients).map(send).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        }
        assert_eq!(executions(&admin, &core, "hook").len(), 10);
        first.stop();
        second.stop();
    });
}
