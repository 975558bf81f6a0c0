//! The audit log's chains: what was recorded verifies, whatever happens to the servers, and what somebody has done to it in
//! the database does not.

use std::time::Duration;

use scaigrid_tests::{Client, Db, Place, Server, eventually, on, on_both_databases, run};
use serde_json::{Value, json};

on_both_databases!(
    what_is_done_to_the_database_is_named,
    a_level_verifies_its_own,
    a_kill_before_the_seal_loses_nothing,
    what_is_too_old_goes_and_the_rest_verifies,
);

const PATIENCE: Duration = Duration::from_secs(20);

fn verified(client: &Client) -> Value {
    client.get("/v1/audit/verify").answer(200).data()
}

/// Waits until nothing waits to be sealed; what was found then.
fn sealed(client: &Client) -> Value {
    eventually("sealed", PATIENCE, || Some(verified(client)).filter(|found| found["pending"] == 0))
}

fn log(client: &Client) -> Vec<Value> {
    client.pages("/v1/audit/events", "items")
}

/// The administration from the command line: its exit code, and what it says on standard output.
fn administer(place: &Place, arguments: &[&str]) -> (Option<i32>, String) {
    let data = place.data();
    let variables =
        [("SCAIGRID_DATA_DIR", data.to_str().unwrap()), ("SCAIGRID_DATABASE_URL", place.database_url())];
    let output = run(place.folder(), &[&["admin"], arguments].concat(), &variables);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn kinds(report: &Value) -> Vec<&str> {
    report["problems"].as_array().unwrap().iter().map(|problem| problem["kind"].as_str().unwrap()).collect()
}

fn some_changes(server: &Server) -> Client {
    let admin = server.admin();
    for number in 0..5 {
        admin.user(&format!("user-{number}@example.org"), &[]);
    }
    admin
}

fn what_is_done_to_the_database_is_named(place: &Place) {
    let server = place.start();
    let admin = some_changes(&server);
    let whole = sealed(&admin);
    assert_eq!(whole["valid"], true, "{whole}");
    let records = log(&admin);
    assert_eq!(whole["records"], json!(records.len()));
    assert_eq!((&whole["problems"], &whole["purged"]), (&json!([]), &json!(0)));
    assert_eq!(whole["head"].as_str().unwrap().len(), 64);
    let again = sealed(&admin);
    assert_eq!(again["head"], whole["head"], "who only looks changes nothing");
    let (code, text) = administer(place, &["audit", "verify", "--json"]);
    let by_command: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &by_command["head"]), (Some(0), &whole["head"]));

    // While the server runs, as somebody would do it.
    let victim = records[3]["id"].as_str().unwrap();
    let tenant = records[3]["tenant_id"].as_str().unwrap();
    let actor = records[3]["actor_id"].as_str().unwrap();
    place.run_sql(&format!("UPDATE audit_records SET actor_id = 'somebody' WHERE id = '{victim}'"));
    let found = verified(&admin);
    assert_eq!((&found["valid"], kinds(&found)), (&json!(false), vec!["changed"]), "{found}");
    assert_eq!(found["problems"][0]["record_id"], victim);
    assert_eq!(found["problems"][0]["chain"], tenant);
    let (code, text) = administer(place, &["audit", "verify"]);
    assert_eq!(code, Some(1));
    assert!(text.contains(victim), "{text}");
    // Put right again, it is right again.
    place.run_sql(&format!("UPDATE audit_records SET actor_id = '{actor}' WHERE id = '{victim}'"));
    assert_eq!(verified(&admin)["valid"], true);

    // Records that nobody has written.
    let columns = "tenant_id, partner_id, at, action, actor_id, actor_email, actor_type, resource_type, resource_id, \
                   status, changes, request_id, ip_address, user_agent, module";
    let forged = victim.replace("audit_", "audit_0");
    let forged = &forged[..victim.len()];
    place.run_sql(&format!(
        "INSERT INTO audit_records (id, {columns}) SELECT '{forged}', {columns} FROM audit_records \
         WHERE id = '{victim}'"
    ));
    let found = verified(&admin);
    assert_eq!((kinds(&found), &found["problems"][0]["record_id"]), (vec!["unsealed"], &json!(forged)));
    place.run_sql(&format!("DELETE FROM audit_records WHERE id = '{forged}'"));

    // The newest record, its link, and the head as it would be without: the key is missing.
    let last = format!("(SELECT max(position) FROM audit_seals WHERE chain = '{tenant}')");
    place.run_sql(&format!(
        "DELETE FROM audit_records WHERE id IN (SELECT record_id FROM audit_seals WHERE chain = '{tenant}' \
         AND position = {last}); DELETE FROM audit_seals WHERE chain = '{tenant}' AND position = {last}; \
         UPDATE audit_chains SET links = links - 1, last = (SELECT digest FROM audit_seals WHERE chain = '{tenant}' \
         AND position = {last}) WHERE chain = '{tenant}'"
    ));
    assert_eq!(kinds(&verified(&admin)), ["root", "head"]);
    // The server goes on to record and to seal, and does not paper over it.
    place.allow_in_log("the audit chain does not end where its head says");
    admin.user("one-more@example.org", &[]);
    assert_eq!(kinds(&sealed(&admin)), ["root", "head"]);
    assert_eq!(administer(place, &["audit", "verify"]).0, Some(1));
    server.stop();
}

fn a_level_verifies_its_own(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let partner = json!({"slug": "north", "name": "N"});
    let partner = root.post("/v1/admin/partners").json(&partner).answer(201).data();
    for slug in ["a", "b"] {
        let tenant = json!({"slug": slug, "name": slug, "partner_id": partner["id"]});
        root.post("/v1/admin/tenants").json(&tenant).answer(201);
    }
    let at_partner = root.with("X-Scaigrid-Partner", "north");
    at_partner.post("/v1/modules/scaicore/disable").answer(200);
    let (_, key) = root.in_tenant("a").user("boss@a.example", &["tenant_admin"]);
    let (_, nobody) = root.in_tenant("a").user("nobody@a.example", &["tenant_user"]);
    root.in_tenant("b").user("boss@b.example", &[]);
    let boss = server.client(&key);
    server.client(&nobody).get("/v1/audit/verify").refused(403, "AUTHZ_PERMISSION_DENIED");
    for client in [&root, &at_partner, &boss] {
        let report = sealed(client);
        assert_eq!(report["valid"], true, "{report}");
        assert_eq!(report["records"], json!(log(client).len()));
    }
    assert_ne!(verified(&root)["head"], verified(&boss)["head"]);
    // What is wrong in one tenant is seen there and above, and not beside.
    let other = log(&root.in_tenant("b"))[0]["id"].as_str().unwrap().to_owned();
    place.run_sql(&format!("UPDATE audit_records SET status = 'FAILURE' WHERE id = '{other}'"));
    assert_eq!(verified(&boss)["valid"], true);
    for client in [root.clone(), at_partner, root.in_tenant("b")] {
        let report = verified(&client);
        assert_eq!(kinds(&report), ["changed"]);
        assert_eq!(report["problems"][0]["record_id"], json!(other));
    }
    // A chain that is gone as a whole shows at the root, which concerns everyone.
    let tenant = root.get("/v1/admin/tenants").answer(200).json()["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|tenant| tenant["slug"] == "b")
        .map(|tenant| tenant["id"].as_str().unwrap().to_owned())
        .unwrap();
    place.run_sql(&format!(
        "DELETE FROM audit_records WHERE tenant_id = '{tenant}'; DELETE FROM audit_seals WHERE chain = '{tenant}'; \
         DELETE FROM audit_chains WHERE chain = '{tenant}'"
    ));
    for client in [&root, &boss] {
        let report = verified(client);
        assert_eq!(kinds(&report), ["root"]);
        assert_eq!(report["problems"][0]["chain"], Value::Null);
    }
    server.stop();
}

fn a_kill_before_the_seal_loses_nothing(place: &Place) {
    for round in 0..4 {
        let server = place.start();
        let admin = server.admin();
        for number in 0..3 {
            admin.user(&format!("user-{round}-{number}@example.org"), &[]);
        }
        // At different distances from the last write: before, amid and after its being sealed.
        std::thread::sleep(Duration::from_millis(70 * round));
        server.kill();
    }
    let server = place.start();
    let admin = server.admin();
    let report = sealed(&admin);
    assert_eq!(report["valid"], true, "{report}");
    assert_eq!(report["records"], json!(log(&admin).len()));
    assert!(report["records"].as_u64().unwrap() >= 24, "{report}");
    server.stop();
}

#[test]
fn two_nodes_keep_one_chain() {
    on(Db::Postgres, |place| {
        let first = place.start();
        let second = place.further_node("second").start();
        let (one, key) = (first.admin(), place.admin_key());
        let two = second.client(&key);
        std::thread::scope(|scope| {
            for (name, client) in [("one", &one), ("two", &two)] {
                scope.spawn(move || {
                    for number in 0..30 {
                        client.user(&format!("{name}-{number}@example.org"), &[]);
                    }
                });
            }
        });
        let report = sealed(&one);
        assert_eq!(report["valid"], true, "{report}");
        assert_eq!(report["records"], json!(log(&two).len()));
        // Whoever of them is left goes on.
        first.kill();
        two.user("last@example.org", &[]);
        let report = sealed(&two);
        assert_eq!((&report["valid"], &report["records"]), (&json!(true), &json!(log(&two).len())));
        second.stop();
    });
}

fn what_is_too_old_goes_and_the_rest_verifies(place: &Place) {
    let server = place.start();
    let tenant = server.admin().get("/v1/me").answer(200).data()["tenant"]["id"].as_str().unwrap().to_owned();
    sealed(&server.admin());
    server.stop();
    // Of 2020, into the queue as the server puts them there.
    let (at, changes) = match place.db() {
        Db::Sqlite => ("1600000000000000", "jsonb('{}')"),
        Db::Postgres => ("to_timestamp(1600000000)", "'{}'::jsonb"),
    };
    let old: Vec<String> = (0..1200)
        .map(|number| {
            format!(
                "INSERT INTO audit_records (id, tenant_id, at, action, actor_type, resource_type, resource_id, status, \
                 changes) VALUES ('audit_01EJ00000000000000000{number:05}', '{tenant}', {at}, 'core.update', 'system', \
                 'core', 'x', 'SUCCESS', {changes}); \
                 INSERT INTO audit_unsealed VALUES ('audit_01EJ00000000000000000{number:05}', '{tenant}');"
            )
        })
        .collect();
    // The chain's oldest records are those that were sealed first: begin it anew.
    place.run_sql(&format!(
        "DELETE FROM audit_records; DELETE FROM audit_seals; DELETE FROM audit_chains; DELETE FROM audit_root; {}",
        old.concat()
    ));
    let server = place.start();
    let admin = server.admin();
    admin.user("young@example.org", &[]);
    let report = sealed(&admin);
    assert_eq!((&report["valid"], &report["records"]), (&json!(true), &json!(1202)), "{report}");
    server.stop();

    let server = place.launch().set("SCAIGRID_AUDIT_RETENTION_DAYS", "30").start();
    let admin = server.admin();
    let report = eventually("purged", PATIENCE, || {
        Some(sealed(&admin)).filter(|report| report["purged"] == 1200 && report["records"] == 5)
    });
    assert_eq!(report["valid"], true, "{report}");
    let records = log(&admin);
    let purges: Vec<&Value> = records.iter().filter(|record| record["action"] == "audit.purge").collect();
    assert_eq!((records.len(), purges.len()), (5, 3), "500, 500 and 200 at once");
    assert_eq!(purges[0]["resource_id"], json!(tenant));
    assert_eq!(purges[0]["actor_type"], "system");
    assert_eq!(purges[0]["changes"]["through"]["after"], 1200);
    server.stop();
    let refused = place.data();
    let variables =
        [("SCAIGRID_DATA_DIR", refused.to_str().unwrap()), ("SCAIGRID_AUDIT_RETENTION_DAYS", "0")];
    assert_eq!(run(place.folder(), &[], &variables).status.code(), Some(2));
}
