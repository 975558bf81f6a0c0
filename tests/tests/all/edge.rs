//! What every route has in common: envelope, request ids, refusals, paging, idempotency, limits.

use std::collections::BTreeSet;

use scaigrid_tests::{Answer, CORES, Place, SCAICORE, on_both_databases, programs};
use serde_json::{Value, json};

on_both_databases!(
    every_answer_wears_the_envelope,
    pages_are_stable_while_things_are_added,
    what_is_wrong_with_a_body_is_told_by_name,
    requests_of_the_wrong_kind_are_refused_as_such,
    a_post_that_is_sent_again_is_not_done_again,
    too_many_requests_are_told_when_to_come_back,
    no_text_breaks_the_server,
    what_is_written_comes_back_as_it_was,
);

fn every_answer_wears_the_envelope(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let good = admin.get("/v1/me").answer(200);
    let body = good.json();
    assert_eq!(body["status"], "ok");
    assert!(body["meta"]["request_id"].as_str().unwrap().starts_with("req_"), "{good}");
    assert_eq!(good.header("content-type"), Some("application/json"));
    assert_eq!(good.header("x-content-type-options"), Some("nosniff"));

    // A well-formed id of the client's is kept, any other is replaced.
    for id in ["abcdefgh", "A-b_c-9999", &"x".repeat(128)] {
        let answer = admin.get("/v1/me").header("X-Request-Id", id).answer(200);
        assert_eq!(answer.header("x-request-id"), Some(id));
        assert_eq!(answer.json()["meta"]["request_id"], id);
        let refusal =
            server.anyone().get("/v1/me").header("X-Request-Id", id).refused(401, "AUTH_TOKEN_MISSING");
        assert_eq!(refusal.header("x-request-id"), Some(id));
    }
    for id in ["short", "with space", "semi;colon", "ключключ", &"x".repeat(129), ""] {
        let answer = admin.get("/v1/me").header("X-Request-Id", id).answer(200);
        let used = answer.header("x-request-id").unwrap();
        assert!(used.starts_with("req_") && used != id, "{id:?} became {used}");
    }
    let ids: BTreeSet<String> =
        (0..20).map(|_| admin.get("/v1/me").answer(200).header("x-request-id").unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 20);

    for path in
        ["/v1", "/v1/nothing", "/v1/modules/scaicore/nothing", "/v1/modules/scaicore/cores/", "/v2/me"]
    {
        admin.get(path).refused(404, "NOT_FOUND");
    }
    admin.get("/v1/admin/nothing").refused(404, "SW_NOT_FOUND");
    for (method, path) in
        [("DELETE", "/v1/me"), ("PATCH", CORES), ("PUT", CORES), ("POST", "/v1/audit/events")]
    {
        let refusal = admin.request(method, path).refused(405, "METHOD_NOT_ALLOWED");
        let allowed = refusal.header("allow").unwrap_or_else(|| panic!("no Allow: {refusal}"));
        assert!(allowed.contains("GET") && !allowed.contains(method), "{allowed}");
    }
    for id in [
        "core_",
        "core_01",
        "core_01J00000000000000000000000",
        "x",
        "usr_01J00000000000000000000000",
        "%00",
        "..%2f",
    ] {
        admin.get(&format!("{CORES}/{id}")).refused(404, "CORE_NOT_FOUND");
    }
    let head = admin.request("HEAD", "/v1/me").exchange();
    assert_eq!((head.status, head.body.len()), (200, 0));

    // Public pages.
    let anyone = server.anyone();
    assert_eq!(anyone.get("/health").answer(200).json(), json!({"status": "ok"}));
    let ready = anyone.get("/health/ready").answer(200).json();
    assert_eq!(ready["status"], "ready");
    for check in ["database", "bus", "modules"] {
        assert_eq!(ready["checks"][check], "ok", "{ready}");
    }
    anyone.get("/health/detailed").refused(401, "AUTH_TOKEN_MISSING");
    assert_eq!(admin.get("/health/detailed").answer(200).data()["database"]["reachable"], true);
    let metrics = anyone.get("/metrics").answer(200).text();
    assert!(metrics.contains("http_requests_total{") && metrics.contains("route=\"/v1/me\""), "{metrics}");
    assert_eq!(anyone.get("/openapi.json").answer(200).json()["openapi"], "3.1.0");
    server.stop();
}

fn ids(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

fn pages_are_stable_while_things_are_added(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let mut made: Vec<String> = (0..45).map(|n| admin.host(&format!("Core {n}"), &json!({}))).collect();
    made.reverse();

    let first = admin.get(CORES).answer(200).json();
    assert_eq!(ids(first["data"]["items"].as_array().unwrap()), made[..20]);
    assert!(first["data"]["items"][0].get("source").is_none(), "lists leave the program out");
    assert_eq!(first["pagination"]["has_more"], true);
    let cursor = first["pagination"]["next_cursor"].as_str().unwrap().to_owned();
    // Something is added in front, and something is taken away that the next page would have begun with.
    admin.host("Late", &json!({}));
    admin.delete(&format!("{CORES}/{}", made[20])).answer(204);
    let second = admin.get(&format!("{CORES}?cursor={cursor}&limit=10")).answer(200).json();
    assert_eq!(ids(second["data"]["items"].as_array().unwrap()), made[21..31]);
    let cursor_two = second["pagination"]["next_cursor"].as_str().unwrap();
    let third = admin.get(&format!("{CORES}?cursor={cursor_two}&limit=100")).answer(200).json();
    assert_eq!(ids(third["data"]["items"].as_array().unwrap()), made[31..]);
    assert_eq!(
        (&third["pagination"]["has_more"], &third["pagination"]["next_cursor"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(admin.pages(&format!("{CORES}?q=core%204"), "items").len(), 6, "4, 40 to 44");
    assert_eq!(admin.pages(&format!("{CORES}?status=running"), "items").len(), 0);

    // A page as long as what is left says that nothing follows.
    let exact = admin.get(&format!("{CORES}?limit=45")).answer(200).json();
    assert_eq!(exact["pagination"]["has_more"], false, "44 and the late one");

    for limit in ["0", "101", "-1", "ten", "", "1.5", "99999999999999999999"] {
        let refusal = admin.get(&format!("{CORES}?limit={limit}")).refused(422, "VALIDATION_ERROR");
        assert_eq!(refusal.fields(), ["limit"], "{limit}");
    }
    admin.get("/v1/audit/events?limit=1000").answer(200);
    admin.get("/v1/audit/events?limit=1001").refused(422, "VALIDATION_ERROR");

    let one = cursor.chars().nth(5).unwrap();
    let flipped = cursor.replace(one, if one == '_' { "-" } else { "_" });
    let tenant = admin.tenant("other");
    let other = admin.in_tenant(&tenant);
    for broken in ["x", "", "%00", &cursor[1..], &flipped, &format!("{cursor}A"), &"A".repeat(3000)] {
        let refusal = admin.get(&format!("{CORES}?cursor={broken}")).refused(422, "VALIDATION_ERROR");
        assert_eq!(refusal.fields(), ["cursor"], "{broken}");
    }
    other.get(&format!("{CORES}?cursor={cursor}")).refused(422, "VALIDATION_ERROR");
    admin.get(&format!("{SCAICORE}/checkpoints?cursor={cursor}")).refused(422, "VALIDATION_ERROR");

    // Under the administration a page looks as that product's clients know it.
    let page = admin.get("/v1/admin/tenants?limit=1").answer(200).json();
    assert_eq!(page["data"].as_array().unwrap().len(), 1);
    assert_eq!(page["meta"]["has_more"], true);
    assert!(page["meta"]["next_cursor"].is_string());
    assert!(page.get("pagination").is_none(), "{page}");
    server.stop();
}

fn what_is_wrong_with_a_body_is_told_by_name(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let told = |body: &Value| admin.post(CORES).json(body).refused(422, "VALIDATION_ERROR").fields();
    assert_eq!(told(&json!({"name": "x", "colour": 1, "taste": 2})), ["colour", "taste"]);
    assert_eq!(told(&json!({})), ["name"]);
    assert_eq!(told(&json!({"name": ""})), ["name"]);
    assert_eq!(told(&json!({"name": "x".repeat(201)})), ["name"]);
    assert_eq!(told(&json!({"name": 7})), ["name"]);
    assert_eq!(told(&json!({"name": "x", "runtime_mode": "sideways"})), ["runtime_mode"]);
    assert_eq!(told(&json!({"name": "x", "environment": []})), ["environment"]);
    assert_eq!(told(&json!({"name": "x", "plugins": {"a": 1}})), ["plugins"]);
    assert_eq!(told(&json!({"name": "x", "concurrency_mode": "entity"})), ["entity_key_field"]);
    let user = json!({"email": "nobody", "roles": ["king"], "kind": "cat"});
    let refusal = admin.post("/v1/users").json(&user).refused(422, "VALIDATION_ERROR");
    assert_eq!(refusal.fields(), ["email", "kind", "roles[0]"]);
    let refusal = admin.post("/v1/admin/tenants").json(&json!({"slug": "UPPER case"}));
    let refusal = refusal.refused(422, "SW_VALIDATION_ERROR");
    assert!(!refusal.fields().is_empty());
    // An array is no object, however well its items fit.
    let partner = json!({"slug": "arrays", "name": "Arrays", "limits": [1, 2]});
    let refusal = admin.post("/v1/admin/partners").json(&partner).refused(422, "SW_VALIDATION_ERROR");
    assert_eq!(refusal.fields(), ["limits"]);
    let templates = json!({"system_prompt_templates": [["a", "b"]]});
    let refusal = admin.put("/v1/admin/ai-config", &templates).refused(422, "SW_VALIDATION_ERROR");
    assert_eq!(refusal.fields(), ["system_prompt_templates[0]"]);

    for broken in [
        "",
        "{",
        "nul",
        "{\"name\":\"x\"",
        "{\"name\":\"x\"}}",
        "\u{feff}{}",
        "{'name':'x'}",
        "[]",
        "null",
        "7",
    ] {
        let answer = admin.post(CORES).body("application/json", broken).refused(422, "VALIDATION_ERROR");
        assert!(!answer.text().contains(place.folder().to_str().unwrap()));
    }
    admin.post(CORES).body("application/json", vec![0xff, 0xfe, b'{']).refused(422, "VALIDATION_ERROR");
    assert!(admin.pages(CORES, "items").is_empty(), "nothing of this was kept");
    server.stop();
}

fn requests_of_the_wrong_kind_are_refused_as_such(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let body = r#"{"name":"x"}"#;
    for kind in ["text/plain", "application/xml", "application/x-www-form-urlencoded", "nonsense"] {
        admin.post(CORES).body(kind, body).refused(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    admin
        .post(&format!("{CORES}/parse-bundle"))
        .body("text/plain", "{}")
        .refused(415, "UNSUPPORTED_MEDIA_TYPE");
    admin.post(CORES).body("application/json; charset=utf-8", body).answer(201);
    let big = json!({"name": "big", "metadata": {"a": "x".repeat(1024 * 1024)}});
    admin.post(CORES).json(&big).refused(413, "PAYLOAD_TOO_LARGE");
    let core = admin.host("plain", &json!({}));
    admin.put(&format!("{CORES}/{core}"), &big).refused(413, "PAYLOAD_TOO_LARGE");
    let almost = json!({"source": {"name": "x".repeat(1024 * 1024 - 100)}});
    admin.put(&format!("{CORES}/{core}"), &almost).answer(200);

    // What is not there is told before what is wrong with the question, and missing rights before both.
    let nowhere = "core_01J00000000000000000000000";
    admin.put(&format!("{CORES}/{nowhere}"), &json!({"colour": 1})).refused(404, "CORE_NOT_FOUND");
    admin.post(&format!("{CORES}/{nowhere}/invoke")).body("text/plain", "x").refused(404, "CORE_NOT_FOUND");
    let (_, viewer) = admin.user("viewer@example.org", &["tenant_viewer"]);
    let viewer = server.client(&viewer);
    viewer.put(&format!("{CORES}/{nowhere}"), &json!({"colour": 1})).refused(403, "AUTHZ_PERMISSION_DENIED");
    viewer.post(CORES).body("text/plain", "x").refused(403, "AUTHZ_PERMISSION_DENIED");
    server.stop();
}

fn a_post_that_is_sent_again_is_not_done_again(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let create =
        |key: &str, name: &str| admin.post(CORES).json(&json!({"name": name})).header("Idempotency-Key", key);
    let first = create("k1", "One").answer(201);
    let again = create("k1", "One").answer(201);
    assert_eq!(but_for_its_id(&first), but_for_its_id(&again));
    assert_ne!(first.header("x-request-id"), again.header("x-request-id"));
    assert_eq!(again.json()["meta"]["request_id"].as_str(), again.header("x-request-id"));
    assert_eq!((first.header(REPLAYED), again.header(REPLAYED)), (None, Some("true")));
    assert_eq!(first.header("location"), again.header("location"));
    assert_eq!(first.header("etag"), again.header("etag"));
    create("k1", "Two").refused(422, "IDEMPOTENCY_KEY_REUSED");
    create("k2", "Two").answer(201);
    // A refusal is an answer too: it is not tried again under the same key.
    let refused = create("k3", "One").refused(409, "SLUG_CONFLICT");
    let again = create("k3", "One").refused(409, "SLUG_CONFLICT");
    assert_eq!(but_for_its_id(&again), but_for_its_id(&refused));
    for bad in ["", " ", &"x".repeat(256), "ключ"] {
        create(bad, "Bad").refused(422, "VALIDATION_ERROR");
    }
    // The key belongs to the tenant and the endpoint, and survives a power cut.
    let body = json!({"email": "a@example.org", "roles": []});
    admin.post("/v1/users").json(&body).header("Idempotency-Key", "k1").answer(201);
    let other = admin.in_tenant(&admin.tenant("other"));
    let elsewhere =
        other.post(CORES).json(&json!({"name": "One"})).header("Idempotency-Key", "k1").answer(201);
    assert_ne!(elsewhere.data()["id"], first.data()["id"]);

    // Many at once: one does it, the others get its answer or are told to wait.
    let core = admin.run("Echo", &programs::echo(1));
    let path = format!("{CORES}/{core}/invoke");
    let body = json!({"flow": "echo", "input": {"value": 1}, "wait_ms": 10_000});
    let request = admin.post(&path).json(&body).header("Idempotency-Key", "many");
    let rivals: Vec<_> = (0..10)
        .map(|_| {
            let request = request.clone();
            std::thread::spawn(move || request.exchange())
        })
        .collect();
    let mut bodies = BTreeSet::new();
    for rival in rivals {
        let answer = rival.join().unwrap();
        match answer.status {
            200 => drop(bodies.insert(but_for_its_id(&answer))),
            _ => assert_eq!(
                (answer.status, answer.code().as_str()),
                (409, "IDEMPOTENCY_KEY_IN_USE"),
                "{answer}"
            ),
        }
    }
    assert_eq!(bodies.len(), 1);
    assert_eq!(admin.pages(&format!("{CORES}/{core}/executions"), "items").len(), 1);

    server.kill();
    let server = place.start();
    let replayed = server.admin().post(CORES).json(&json!({"name": "One"})).header("Idempotency-Key", "k1");
    assert_eq!(but_for_its_id(&replayed.answer(201)), but_for_its_id(&first));
    let replayed = server.admin().post(&path).json(&body).header("Idempotency-Key", "many").answer(200);
    assert!(bodies.contains(&but_for_its_id(&replayed)));
    server.stop();
}

const REPLAYED: &str = "idempotency-replayed";

/// An answer's body without the id of the request.
fn but_for_its_id(answer: &scaigrid_tests::Answer) -> String {
    answer.text().replace(answer.header("x-request-id").unwrap(), "ID")
}

fn too_many_requests_are_told_when_to_come_back(place: &Place) {
    let server =
        place.launch().set("SCAIGRID_RATE_LIMITS", "key=6,user=1000,tenant=1000,partner=1000").start();
    let admin = server.admin();
    let mut left = Vec::new();
    let refusal = loop {
        let answer = admin.get("/v1/me").exchange();
        let number = |name: &str| answer.header(name).unwrap().parse::<u64>().unwrap();
        assert_eq!(number("x-scaigrid-ratelimit-limit"), 6);
        left.push(number("x-scaigrid-ratelimit-remaining"));
        assert!(number("x-scaigrid-ratelimit-reset") > 1_700_000_000);
        if answer.status != 200 {
            break answer;
        }
        assert!(left.len() <= 12, "no limit: {left:?}");
    };
    assert!(left.windows(2).all(|pair| pair[1] <= pair[0]) && left.last() == Some(&0), "{left:?}");
    assert_eq!((refusal.status, refusal.code().as_str()), (429, "RATE_LIMITED"), "{refusal}");
    let seconds: u64 = refusal.header("retry-after").unwrap().parse().unwrap();
    // The window slides over two of its lengths at most.
    assert!((1..=120).contains(&seconds), "{seconds}");
    assert_eq!(refusal.json()["error"]["retry_after"], json!(seconds));
    admin.get("/v1/admin/tenants").refused(429, "SW_RATE_LIMIT_EXCEEDED");
    // Whoever presents nothing is not counted as the admin, and health is not counted at all.
    for _ in 0..20 {
        server.anyone().get("/health").answer(200);
    }
    server.stop();
}

/// Texts that break programs: NUL, lone surrogates' escapes, the ends of planes, direction marks, very long ones.
fn nasty() -> Vec<Value> {
    let mut nasty: Vec<Value> = [
        "\0",
        "a\0b",
        "\u{fffe}\u{ffff}",
        "\u{202e}abc",
        "😀👨‍👩‍👧",
        "'; DROP TABLE cores; --",
        "\u{1}\u{1f}\u{7f}",
        "${1+1}",
        "%s%n",
    ]
    .iter()
    .map(|text| json!(text))
    .collect();
    nasty.push(json!("x".repeat(100_000)));
    nasty.push(json!({"\0": "\0", "": "", "a\0": [null, {"\u{0}b": 1}]}));
    nasty.push(json!([i64::MAX, i64::MIN, u64::MAX, 0.1, -0.0, 1e308, 5e-324]));
    nasty
}

/// Answers that say that something went wrong inside.
#[derive(Default)]
struct Failures(BTreeSet<String>);

impl Failures {
    fn takes(&mut self, answer: &Answer) {
        if answer.status >= 500 {
            self.0.insert(answer.to_string());
        }
    }
}

fn no_text_breaks_the_server(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let mut sees = Failures::default();
    let core = admin.run("Echo", &programs::echo(1));
    let mut ask = programs::asking(&json!({}));
    ask["name"] = json!("Ask");
    let asking = admin.run("Ask", &ask);
    for value in nasty() {
        sees.takes(&admin.post(CORES).json(&json!({"name": value})).exchange());
        let everywhere = json!({"name": "x", "source": value, "environment": {"A": value}, "metadata": {"m": value},
            "plugins": [value], "resource_limits": {"r": value}});
        let made = admin.post(CORES).json(&everywhere).exchange();
        sees.takes(&made);
        if made.status == 201 {
            let id = made.data()["id"].as_str().unwrap().to_owned();
            sees.takes(&admin.get(&format!("{CORES}/{id}")).exchange());
            sees.takes(&admin.put(&format!("{CORES}/{id}"), &json!({"metadata": {"a": value}})).exchange());
            sees.takes(&admin.post(&format!("{CORES}/{id}/start")).exchange());
            admin.delete(&format!("{CORES}/{id}")).answer(204);
        }
        let invoke = json!({"flow": "echo", "input": {"value": value}, "wait_ms": 10_000});
        let answer = admin.post(&format!("{CORES}/{core}/invoke")).json(&invoke).exchange();
        sees.takes(&answer);
        if answer.status == 200 {
            let id = answer.data()["id"].as_str().unwrap().to_owned();
            sees.takes(&admin.get(&format!("{SCAICORE}/executions/{id}/history")).exchange());
        }
        let event = json!({"event_name": "x", "data": value});
        sees.takes(&admin.post(&format!("{CORES}/{core}/events")).json(&event).exchange());
        if let Some(text) = value.as_str() {
            let event = json!({"event_name": text, "data": null});
            sees.takes(&admin.post(&format!("{CORES}/{core}/events")).json(&event).exchange());
            let key = json!({"flow": text, "instance_key": text});
            sees.takes(&admin.post(&format!("{CORES}/{core}/invoke")).json(&key).exchange());
            let user = json!({"email": format!("{text}@example.org"), "display_name": text, "roles": [text]});
            sees.takes(&admin.post("/v1/users").json(&user).exchange());
            sees.takes(&admin.post("/v1/api-keys").json(&json!({"name": text})).exchange());
            let tenant = json!({"slug": "s", "name": text, "features": {"f": text}});
            sees.takes(&admin.post("/v1/admin/tenants").json(&tenant).exchange());
        }
        let (_, checkpoint) = admin.invoke_to_checkpoint(&asking, "ask", &json!({}));
        let path = format!("{SCAICORE}/checkpoints/{checkpoint}");
        let reassign = json!({"assignee": value, "comment": value});
        sees.takes(&admin.post(&format!("{path}/reassign")).json(&reassign).exchange());
        let resolve = json!({"decision": value, "response_data": value, "comment": value, "wait_ms": 5000});
        sees.takes(&admin.post(&format!("{path}/resolve")).json(&resolve).exchange());
        let resolve = json!({"decision": "ok", "response_data": value, "wait_ms": 5000});
        sees.takes(&admin.post(&format!("{path}/resolve")).json(&resolve).exchange());
        sees.takes(&admin.get(&format!("{path}/history")).exchange());
    }
    for text in ["%00", "%ff%fe", "%F0%9F%98%80", "%27", "%25", "a%00b"] {
        for path in [
            format!("{CORES}?q={text}"),
            format!("{CORES}?status={text}"),
            format!("{CORES}/{text}"),
            format!("{CORES}/{core}/executions?flow={text}"),
            format!("{CORES}/{core}/events/history?type={text}"),
            format!("{SCAICORE}/checkpoints?type={text}"),
            format!("{SCAICORE}/checkpoints/{text}"),
            format!("{SCAICORE}/executions/{text}"),
            format!("/v1/users/{text}"),
            format!("/v1/modules/{text}"),
            format!("/v1/admin/tenants/{text}"),
            format!("/v1/audit/events?action={text}&actor_id={text}"),
            format!("/v1/audit/events?resource_id={text}&ip_address={text}&module={text}"),
            format!("{CORES}/{core}/events/history?since={text}"),
            format!("/{text}"),
        ] {
            sees.takes(&admin.get(&path).exchange());
        }
        sees.takes(&admin.in_tenant(text).get("/v1/me").exchange());
        sees.takes(&admin.with("User-Agent", text).post(CORES).json(&json!({"name": text})).exchange());
    }
    // JSON as deep as the body is long.
    for depth in [100, 127, 128, 129, 1000, 100_000] {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let body = format!(
            "{{\"name\":\"deep {depth}\",\"metadata\":{{\"a\":{deep}}},\"source\":{{\"b\":{deep}}}}}"
        );
        sees.takes(&admin.post(CORES).body("application/json", body).exchange());
        let body = format!("{{\"flow\":\"echo\",\"input\":{{\"value\":{deep}}},\"wait_ms\":10000}}");
        sees.takes(&admin.post(&format!("{CORES}/{core}/invoke")).body("application/json", body).exchange());
    }
    assert_eq!(admin.invoke(&core, "echo", &json!({"value": 1}))["status"], "completed", "it still works");
    assert!(sees.0.is_empty(), "{:#?}", sees.0);
    server.stop();
}

fn what_is_written_comes_back_as_it_was(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let metadata = json!({"größe": "ß ✓ 😀", "empty": "", "list": [1, 2.5, true, null, {"a": []}], "n": -7});
    let body = json!({"name": "Ärger & Söhne 😀", "metadata": metadata, "source": programs::echo(1)});
    let made = admin.post(CORES).json(&body).answer(201).data();
    assert_eq!((&made["name"], &made["metadata"]), (&body["name"], &metadata));
    assert_eq!(made["slug"], "aerger-soehne-grinning", "{}", made["slug"]);
    let id = made["id"].as_str().unwrap();
    let read = admin.get(&format!("{CORES}/{id}")).answer(200).data();
    assert_eq!((&read["metadata"], &read["source"]), (&metadata, &body["source"]));
    for field in ["created_at", "updated_at"] {
        let time = read[field].as_str().unwrap();
        assert!(time.ends_with('Z') && time.len() >= 20, "{time}");
    }
    admin.act(id, "start");
    let value =
        json!({"deep": [[[["x"]]]], "float": 0.1, "int": 9_007_199_254_740_993_i64, "text": "日本\n語"});
    assert_eq!(admin.invoke(id, "echo", &json!({"value": value}))["output"]["value"], value);
    server.stop();
}
