//! Secrets at rest, and changing the keys that they are sealed under.

use std::process::Output;

use scaigrid_tests::{CORES, Place, on_both_databases, programs, run};
use serde_json::{Value, json};

on_both_databases!(a_master_key_is_changed_beside_a_running_server, only_a_super_admin_changes_keys);

const NEW: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn rotate(place: &Place, keys: &str, more: &[&str]) -> Output {
    let variables = [
        ("SCAIGRID_DATA_DIR", "data"),
        ("SCAIGRID_DATABASE_URL", place.database_url()),
        ("SCAIGRID_MASTER_KEY", keys),
    ];
    run(place.folder(), &[&["admin", "secrets", "rotate", "--json"], more].concat(), &variables)
}

fn rotated(place: &Place, keys: &str, more: &[&str]) -> Value {
    let output = rotate(place, keys, more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn done(renewed: u64, resealed: u64, wrapped: u64, changed: bool) -> Value {
    json!({"renewed_data_keys": renewed, "resealed_cores": resealed, "wrapped_data_keys": wrapped,
        "master_key_changed": changed})
}

fn a_master_key_is_changed_beside_a_running_server(place: &Place) {
    let server = place.start();
    let old = std::fs::read_to_string(place.data().join("master.key")).unwrap().trim().to_owned();
    let admin = server.admin();
    admin.tenant("acme");
    let secret = json!({"environment": {"KEY": {"type": "secret", "value": "hush-hush"}, "PLAIN": 1}});
    let cores: Vec<String> = [admin.clone(), admin.in_tenant("acme"), admin.in_tenant("acme")]
        .iter()
        .enumerate()
        .map(|(number, client)| {
            let id = client.host(&format!("Core {number}"), &programs::echo(1));
            client.put(&format!("{CORES}/{id}"), &secret).answer(200);
            id
        })
        .collect();
    server.stop();

    // Every server learns the new key before anything stands under it.
    let both = format!("{NEW},{old}");
    let server = place.launch().set("SCAIGRID_MASTER_KEY", &both).start();
    let admin = server.admin();
    let shows = |client: &scaigrid_tests::Client, id: &str| {
        let core = client.get(&format!("{CORES}/{id}")).answer(200);
        assert_eq!(core.data()["environment"]["KEY"], "***");
        core.header("etag").unwrap().to_owned()
    };
    let etag = shows(&admin, &cores[0]);
    assert_eq!(rotated(place, &both, &[]), done(0, 0, 2, true));
    assert_eq!(rotated(place, &both, &[]), done(0, 0, 0, false), "there is nothing left to do");
    assert_eq!(rotated(place, &both, &["--data-keys"]), done(2, 3, 0, false));
    assert_eq!(shows(&admin, &cores[0]), etag, "for whoever uses the Core nothing has changed");
    let records = admin.pages("/v1/audit/events?action=secrets.rotate", "items");
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!(records[0]["changes"]["resealed"]["after"], 3);
    server.stop();

    // The old key is needed no more, and does not do any more.
    let server = place.launch().set("SCAIGRID_MASTER_KEY", NEW).start();
    let admin = server.admin();
    shows(&admin, &cores[0]);
    for id in &cores[1..] {
        shows(&admin.in_tenant("acme"), id);
    }
    server.stop();
    let variables = [
        ("SCAIGRID_DATA_DIR", "data"),
        ("SCAIGRID_DATABASE_URL", place.database_url()),
        ("SCAIGRID_MASTER_KEY", old.as_str()),
        ("SCAIGRID_BIND", "127.0.0.1:0"),
    ];
    let refused = run(place.folder(), &[], &variables);
    assert_eq!(refused.status.code(), Some(2));
    let line = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(line.contains("SCAIGRID_MASTER_KEY") && !line.contains(&old), "{line}");
    assert!(!place.log().contains("hush-hush"));
}

fn only_a_super_admin_changes_keys(place: &Place) {
    let server = place.start();
    let master = std::fs::read_to_string(place.data().join("master.key")).unwrap();
    let (_, key) = server.admin().user("boss@example.org", &["tenant_admin"]);
    let refused = rotate(place, master.trim(), &["--key", &key]);
    assert_eq!(refused.status.code(), Some(1));
    let line = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(line.contains("admin:access"), "{line}");
    server.stop();
}
