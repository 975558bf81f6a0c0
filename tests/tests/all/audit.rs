//! The audit log: every change has its record, nobody sees another tenant's, and what was refused is no change.

use std::collections::BTreeSet;

use scaigrid_tests::{CORES, Client, Place, SCAICORE, on_both_databases, programs};
use serde_json::{Value, json};

on_both_databases!(
    every_change_has_one_record,
    records_are_found_by_what_they_say,
    levels_keep_their_own_log
);

fn log(client: &Client, query: &str) -> Vec<Value> {
    client.pages(&format!("/v1/audit/events{query}"), "items")
}

fn actions(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["action"].as_str().unwrap()).collect()
}

fn every_change_has_one_record(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let acme = root.tenant("acme");
    let (boss_id, key) = root.in_tenant(&acme).user("boss@acme.example", &["tenant_admin"]);
    let boss = server.client(&key);
    let before = log(&boss, "").len();
    // Each of these changes something once; the number of records goes up by one each time.
    let core = boss.host("One", &programs::asking(&json!({})));
    let path = format!("{CORES}/{core}");
    let (user, _) = boss.user("ada@acme.example", &[]);
    let keys = boss.pages("/v1/api-keys", "items").len();
    assert_eq!(keys, 1, "the other key is ada's");
    boss.act(&core, "start");
    boss.status_becomes(&core, "running");
    let (_, checkpoint) = boss.invoke_to_checkpoint(&core, "ask", &json!({}));
    boss.put(&path, &json!({"metadata": {"a": 1}})).answer(200);
    boss.put(&path, &json!({"metadata": {"a": 1}})).answer(200);
    boss.put(&format!("/v1/users/{user}/roles"), &json!({"roles": ["tenant_user"]})).answer(200);
    boss.put(&format!("/v1/users/{user}/roles"), &json!({"roles": ["tenant_user"]})).answer(200);
    boss.act(&core, "pause");
    boss.act(&core, "resume");
    boss.post(&format!("{SCAICORE}/checkpoints/{checkpoint}/resolve"))
        .header("X-Request-Id", "the-request-of-the-test")
        .json(&json!({"decision": "ok", "comment": "fine", "wait_ms": 5000}))
        .answer(200);
    boss.delete(&path).answer(204);
    // And these nothing.
    boss.get(CORES).answer(200);
    boss.delete(&path).refused(404, "CORE_NOT_FOUND");
    boss.post("/v1/users").json(&json!({"email": "x"})).refused(422, "VALIDATION_ERROR");
    boss.put(&format!("/v1/users/{boss_id}/roles"), &json!({"roles": ["super_admin"]}))
        .refused(403, "AUTHZ_PERMISSION_DENIED");

    let records = log(&boss, "");
    let new = &records[..records.len() - before];
    assert_eq!(
        actions(new),
        [
            "core.delete",
            "checkpoint.resolve",
            "core.resume",
            "core.pause",
            "user.role_updated",
            "core.update",
            "core.start",
            "api_key.create",
            "user.create",
            "core.create",
        ],
        "newest first, one each; a change that changes nothing writes none"
    );
    let resolved = &new[1];
    assert_eq!(resolved["resource_id"], json!(checkpoint));
    assert_eq!(resolved["request_id"], "the-request-of-the-test");
    assert_eq!(resolved["actor_id"], json!(boss_id));
    assert_eq!(resolved["actor_email"], "boss@acme.example");
    assert_eq!(resolved["tenant_id"], json!(acme));
    assert_eq!(resolved["ip_address"], "127.0.0.1");
    assert_eq!(resolved["module"], "scaicore");
    assert_eq!(resolved["changes"]["status"], json!({"before": "pending", "after": "resolved"}));
    let roles = &new[4]["changes"]["roles"];
    assert_eq!(roles, &json!({"before": [], "after": ["tenant_user"]}));
    for record in &records {
        assert!(!record.to_string().contains(&key[8..]), "a key is in the log: {record}");
        assert_eq!(record["tenant_id"], json!(acme));
    }
    // The log is there under its other name too, and nobody writes it.
    assert_eq!(boss.pages("/v1/audit-log", "items"), records);
    for method in ["POST", "PUT", "DELETE"] {
        boss.request(method, "/v1/audit/events").refused(405, "METHOD_NOT_ALLOWED");
    }
    server.stop();
}

fn records_are_found_by_what_they_say(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("One", &programs::echo(1));
    admin.act(&core, "pause");
    admin.user("ada@example.org", &[]);
    let me = admin.get("/v1/me").answer(200).data()["user"]["id"].as_str().unwrap().to_owned();
    assert_eq!(actions(&log(&admin, "?action=core.pause")), ["core.pause"]);
    assert_eq!(
        actions(&log(&admin, &format!("?resource_id={core}"))),
        ["core.pause", "core.start", "core.create"]
    );
    assert_eq!(actions(&log(&admin, "?resource_type=user&module=")).len(), 0);
    assert_eq!(actions(&log(&admin, "?module=scaicore")), ["core.pause", "core.start", "core.create"]);
    assert_eq!(log(&admin, &format!("?actor_id={me}")).len(), 5, "what the system did is not theirs");
    assert_eq!(log(&admin, "?status=SUCCESS").len(), log(&admin, "").len());
    assert_eq!(log(&admin, "?ip_address=127.0.0.1").len(), 5);
    assert_eq!(log(&admin, "?ip_address=::ffff:127.0.0.1").len(), 5, "the same address, wrapped");

    let all = log(&admin, "");
    let middle = all[2]["timestamp"].as_str().unwrap();
    let (since, until) = (log(&admin, &format!("?since={middle}")), log(&admin, &format!("?until={middle}")));
    assert_eq!(since.len() + until.len(), all.len(), "since includes the instant and until does not");
    assert_eq!(since[..], all[..since.len()]);
    // Page by page the same.
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = admin.get(&format!("/v1/audit/events?limit=2{cursor}")).answer(200).json();
        paged.extend(page["data"]["items"].as_array().unwrap().iter().cloned());
        match page["pagination"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paged, all);
    for (query, field) in [("since=yesterday", "since"), ("limit=0", "limit"), ("status=maybe", "status")] {
        let refusal = admin.get(&format!("/v1/audit/events?{query}")).refused(422, "VALIDATION_ERROR");
        assert_eq!(refusal.fields(), [field]);
    }
    server.stop();
}

fn levels_keep_their_own_log(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let partner =
        root.post("/v1/admin/partners").json(&json!({"slug": "north", "name": "N"})).answer(201).data();
    let body = json!({"slug": "acme", "name": "A", "partner_id": partner["id"]});
    root.post("/v1/admin/tenants").json(&body).answer(201);
    let inside = root.in_tenant("acme");
    inside.host("One", &json!({}));
    assert!(actions(&log(&inside, "")).contains(&"core.create"));
    // Who runs the platform sees all of it, who runs a tenant their own part.
    assert!(actions(&log(&root, "")).contains(&"core.create"));
    let (_, key) = root.user("boss@example.org", &["tenant_admin"]);
    let own = log(&server.client(&key), "");
    let tenants: BTreeSet<&str> = own.iter().map(|record| record["tenant_id"].as_str().unwrap()).collect();
    assert_eq!(tenants.len(), 1, "{tenants:?}");
    assert!(!actions(&own).contains(&"core.create"), "{:?}", actions(&own));
    // At a partner's level, what is done counts for its tenants.
    let at_partner = root.with("X-Scaigrid-Partner", "north");
    assert_eq!(at_partner.get("/v1/me").answer(200).data()["level"], "partner");
    assert_eq!(at_partner.post("/v1/modules/scaicore/disable").answer(200).data()["status"], "disabled");
    inside.get(CORES).refused(403, "MODULE_NOT_ENABLED");
    root.get(CORES).answer(200);
    at_partner.post("/v1/modules/scaicore/enable").answer(200);
    inside.get(CORES).answer(200);
    root.with("X-Scaigrid-Partner", "nobody").get("/v1/me").refused(404, "PARTNER_NOT_FOUND");
    server.stop();
}
