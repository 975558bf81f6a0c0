//! Secrets at rest, and changing the keys that they are sealed under.

use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use scaigrid_tests::{
    CORES, Client, Db, Launch, Place, Receiver, Server, on_both_databases, programs, run, seal_as_before,
    spawn,
};
use serde_json::{Value, json};

on_both_databases!(
    a_master_key_is_changed_beside_a_running_server,
    whatever_is_sealed_is_sealed_anew,
    a_change_of_keys_that_is_killed_under_load_is_gone_on_with,
    only_a_super_admin_changes_keys,
);

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
    json!({"renewed_data_keys": renewed, "resealed_cores": resealed, "resealed_module_configs": 0,
        "resealed_webhooks": 0, "resealed_answers": 0, "resealed_signing_keys": 0, "resealed_plugins": 0, "resealed_backends": 0, "resealed_settings": 0, "removed_data_keys": renewed, "left_data_keys": 0,
        "wrapped_data_keys": wrapped, "master_key_changed": changed})
}

const MANIFEST: &str = r#"{"module_id": "vaulted", "display_name": "Vaulted", "version": "1.0.0",
    "description": "Keeps secrets", "endpoint": "http://127.0.0.1:9", "config_schema": {"properties":
    {"token": {"type": "string", "writeOnly": true}, "plain": {"type": "integer"}}}}"#;
const VAULTED: &str = "/v1/modules/vaulted/config";

/// How a server is started that knows a module with secrets and may call a receiver.
fn launch<'a>(place: &'a Place, receiver: &Receiver) -> Launch<'a> {
    let folder = place.folder().join("modules");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("vaulted.json"), MANIFEST).unwrap();
    place
        .launch()
        .set("SCAIGRID_MODULES_DIR", &folder.to_string_lossy())
        .set("SCAIGRID_EGRESS_ALLOW", &receiver.address().to_string())
}

fn secret(number: usize) -> Value {
    json!({"KEY": {"type": "secret", "value": format!("hush-{number}")}, "PLAIN": number})
}

const FIRST: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SECOND: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn webhook(client: &Client, receiver: &Receiver) -> String {
    let body = json!({"url": receiver.url("/"), "events": ["tenant.updated"], "secret": FIRST});
    client.post("/v1/webhooks").json(&body).answer(201).data()["id"].as_str().unwrap().to_owned()
}

/// Whether a webhook's letters are signed by a secret.
fn signs(client: &Client, receiver: &Receiver, webhook: &str, secret: &str) {
    let before = receiver.received().len();
    client.post(&format!("/v1/webhooks/{webhook}/test")).answer(200);
    receiver.wait_for(before + 1, Duration::from_secs(10))[before].verify(secret);
}

fn whatever_is_sealed_is_sealed_anew(place: &Place) {
    let receiver = Receiver::start();
    let server = launch(place, &receiver).start();
    let master = std::fs::read_to_string(place.data().join("master.key")).unwrap().trim().to_owned();
    let root = server.admin();
    root.tenant("acme");
    let acme = root.in_tenant("acme");
    let tenant = acme.get("/v1/me").answer(200).data()["tenant"]["id"].as_str().unwrap().to_owned();
    for client in [&root, &acme] {
        client.put(VAULTED, &json!({"token": "hush-token", "plain": 1})).answer(200);
    }
    let partner = root.get("/v1/me").answer(200).data()["partner"]["id"].as_str().unwrap().to_owned();
    root.with("X-Scaigrid-Partner", &partner).put(VAULTED, &json!({"token": "hush-partner"})).answer(200);
    let hooks = [webhook(&acme, &receiver), webhook(&acme, &receiver)];
    let core = acme.host("One", &programs::echo(1));
    acme.put(&format!("{CORES}/{core}"), &json!({"environment": secret(0)})).answer(200);
    let keyed = |client: &Client| {
        client.post("/v1/groups").json(&json!({"name": "Once"})).header("Idempotency-Key", "once").answer(201)
    };
    let first = keyed(&acme).data();

    // A webhook and a Core from the time before data keys.
    let at = format!("webhooks/{}/secret", hooks[1]);
    let old = seal_as_before(&master, &tenant, &at, SECOND);
    place.run_sql(&format!("UPDATE webhooks SET secret = '{old}' WHERE id = '{}'", hooks[1]));
    let at = format!("cores/{core}/environment/KEY");
    let old = json!({"KEY": {"sealed": seal_as_before(&master, &tenant, &at, "hush-old")}});
    let stored = if place.db() == Db::Sqlite { format!("jsonb('{old}')") } else { format!("'{old}'::jsonb") };
    place.run_sql(&format!("UPDATE cores SET environment = {stored} WHERE id = '{core}'"));

    let rotate = |more: &[&str]| rotated(place, &master, more);
    let expected = |renewed: u64, resealed: [u64; 4], removed: u64| {
        let [cores, configs, hooks, answers] = resealed;
        json!({"renewed_data_keys": renewed, "resealed_cores": cores, "resealed_module_configs": configs,
            "resealed_webhooks": hooks, "resealed_answers": answers, "resealed_signing_keys": 0, "resealed_plugins": 0, "resealed_backends": 0, "resealed_settings": 0, "removed_data_keys": removed,
            "left_data_keys": 0, "wrapped_data_keys": 0, "master_key_changed": false})
    };
    let works = |server: &Server| {
        let root = server.admin();
        let acme = root.in_tenant("acme");
        for client in [&root, &acme, &root.with("X-Scaigrid-Partner", &partner)] {
            assert_eq!(client.get(VAULTED).answer(200).data()["scope_config"]["token"], "***");
        }
        assert_eq!(acme.get(&format!("{CORES}/{core}")).answer(200).data()["environment"]["KEY"], "***");
        signs(&acme, &receiver, &hooks[0], FIRST);
        signs(&acme, &receiver, &hooks[1], SECOND);
        assert_eq!(keyed(&acme).data(), first);
    };
    // What is under no data key at all is brought under one by any run.
    assert_eq!(rotate(&[]), expected(0, [1, 0, 1, 0], 0));
    works(&server);
    let etags = |client: &Client| {
        let paths = [VAULTED.to_owned(), format!("/v1/webhooks/{}", hooks[0]), format!("{CORES}/{core}")];
        paths.map(|path| client.get(&path).answer(200).header("etag").unwrap().to_owned())
    };
    let before = etags(&acme);
    // The platform, its partner and the tenant.
    assert_eq!(rotate(&["--data-keys"]), expected(3, [1, 3, 2, 1], 3));
    assert_eq!(etags(&acme), before, "for those who use it nothing has changed");
    works(&server);
    assert_eq!(rotate(&[]), expected(0, [0; 4], 0), "there is nothing left to do");
    let records = root.pages("/v1/audit/events?action=secrets.rotate", "items");
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!(records[0]["changes"]["removed"]["after"], 3);
    server.stop();
    // A process that remembers nothing finds every key that it needs.
    let server = launch(place, &receiver).start();
    works(&server);
    let refused = rotate_with(place, NEW);
    assert!(refused.contains("SCAIGRID_MASTER_KEY"), "{refused}");
    server.stop();
    assert!(!place.log().contains("hush-"));
}

/// What a change of keys says that has the wrong master key.
fn rotate_with(place: &Place, keys: &str) -> String {
    let refused = rotate(place, keys, &[]);
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
    String::from_utf8_lossy(&refused.stderr).into_owned()
}

fn a_change_of_keys_that_is_killed_under_load_is_gone_on_with(place: &Place) {
    const CORES_HOSTED: usize = 24;
    let receiver = Receiver::start();
    let server = launch(place, &receiver).set("SCAIGRID_RATE_LIMITS", "off").start();
    let master = std::fs::read_to_string(place.data().join("master.key")).unwrap().trim().to_owned();
    let root = server.admin();
    let clients: Vec<Client> = ["acme", "beta", "gamma"]
        .iter()
        .map(|slug| {
            root.tenant(slug);
            root.in_tenant(slug)
        })
        .collect();
    let cores: Vec<(Client, String)> = (0..CORES_HOSTED)
        .map(|number| {
            let client = clients[number % clients.len()].clone();
            let id = client.host(&format!("Core {number}"), &programs::echo(1));
            client.put(&format!("{CORES}/{id}"), &json!({"environment": secret(number)})).answer(200);
            client.put(VAULTED, &json!({"token": format!("hush-{number}")})).answer(200);
            (client, id)
        })
        .collect();
    let hooks: Vec<(Client, String)> =
        clients.iter().map(|client| (client.clone(), webhook(client, &receiver))).collect();
    let variables = [
        ("SCAIGRID_DATA_DIR", "data"),
        ("SCAIGRID_DATABASE_URL", place.database_url()),
        ("SCAIGRID_MASTER_KEY", master.as_str()),
    ];
    let over = AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        // Meanwhile everything is written, all the time.
        let writers: Vec<_> = clients
            .iter()
            .enumerate()
            .map(|(writer, client)| {
                let (over, cores, hook) = (&over, &cores, &hooks[writer].1);
                scope.spawn(move || {
                    let mut round = 0;
                    while !over.load(Ordering::Relaxed) {
                        round += 1;
                        let (_, core) = &cores[writer + clients_apart(round)];
                        let change = json!({"environment": secret(round)});
                        client.put(&format!("{CORES}/{core}"), &change).answer(200);
                        let token = json!({"token": format!("hush-{round}"), "plain": round});
                        client.put(VAULTED, &token).answer(200);
                        let signed = if round % 2 == 0 { SECOND } else { FIRST };
                        client.put(&format!("/v1/webhooks/{hook}"), &json!({"secret": signed})).answer(200);
                        let made = client
                            .post("/v1/groups")
                            .json(&json!({"name": format!("Group {round}")}))
                            .header("Idempotency-Key", &format!("key-{round}"));
                        let id = made.answer(201).data()["id"].clone();
                        assert_eq!(made.answer(201).data()["id"], id);
                    }
                    round
                })
            })
            .collect();
        // Killed ever later, until it comes to its end before.
        let mut killed = 0;
        for patience in (1..).map(|n| Duration::from_millis(60 * n)) {
            let arguments = ["admin", "secrets", "rotate", "--data-keys"];
            let mut child = spawn(place.folder(), &arguments, &variables);
            std::thread::sleep(patience);
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            killed += 1;
        }
        assert!(killed > 2, "it was killed {killed} times");
        over.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<usize>>()
    });
    let left = rotated(place, &master, &[]);
    for (name, value) in left.as_object().unwrap() {
        assert!(*value == json!(0) || *value == json!(false), "{name} is {value} after a run that ended");
    }
    server.stop();
    // A process that remembers nothing opens everything, and finds what was written last.
    let server = launch(place, &receiver).set("SCAIGRID_RATE_LIMITS", "off").start();
    let inside: Vec<Client> = ["acme", "beta", "gamma"].map(|slug| server.admin().in_tenant(slug)).into();
    for (number, (_, id)) in cores.iter().enumerate() {
        let shown = inside[number % inside.len()].get(&format!("{CORES}/{id}")).answer(200).data();
        assert_eq!(shown["environment"]["KEY"], "***");
    }
    for (writer, client) in inside.iter().enumerate() {
        let round = rounds[writer];
        assert!(round > 0);
        let config = client.get(VAULTED).answer(200).data()["scope_config"].clone();
        assert_eq!(config, json!({"token": "***", "plain": round}));
        signs(client, &receiver, &hooks[writer].1, if round % 2 == 0 { SECOND } else { FIRST });
        for number in 1..=round {
            let again = client
                .post("/v1/groups")
                .json(&json!({"name": format!("Group {number}")}))
                .header("Idempotency-Key", &format!("key-{number}"));
            assert_eq!(again.answer(201).header("idempotency-replayed"), Some("true"));
        }
    }
    server.stop();
}

/// Which of a tenant's Cores is the next, in a list that goes through the tenants in turn.
const fn clients_apart(round: usize) -> usize {
    3 * (round % 8)
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
