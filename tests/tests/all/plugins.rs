//! The registry of plugins, the plugins of Cores, and what a start requires of them.

use std::net::TcpListener;
use std::time::Duration;

use scaigrid_tests::{CORES, Client, Db, Place, Plugin, Server, eventually, on_both_databases, programs};
use serde_json::{Value, json};

on_both_databases!(
    a_registration_is_kept_changed_and_removed,
    what_a_plugin_offers_is_read_from_it,
    what_cannot_be_registered_is_refused,
    another_tenants_plugins_are_not_there,
    a_core_has_plugins_of_its_own,
    a_start_requires_what_the_program_requires,
    credentials_are_sealed_and_survive,
);

pub(crate) const REGISTRY: &str = "/v1/modules/scaicore/plugins/registry";
const AVAILABLE: &str = "/v1/modules/scaicore/plugins/available";

fn launch(place: &Place) -> Server {
    place.launch().set("SCAIGRID_EGRESS_ALLOW", "127.0.0.1").start()
}

fn http(plugin: &Plugin) -> Value {
    json!({"plugin": "acme/crm@2", "kind": "http", "endpoint": plugin.http(), "manifest": Plugin::manifest(),
        "credentials": {"type": "bearer", "token": "hush-hush"}})
}

const ONE: &str = "/v1/modules/scaicore/plugins/registry/acme%2Fcrm@2";

fn actions(client: &Client) -> Vec<String> {
    let events = client.get("/v1/audit/events?limit=10&module=scaicore").answer(200).data();
    let action = |event: &Value| event["action"].as_str().unwrap().to_owned();
    events["items"].as_array().unwrap().iter().map(action).collect()
}

fn a_registration_is_kept_changed_and_removed(place: &Place) {
    let server = launch(place);
    let admin = server.admin();
    let plugin = Plugin::start();
    assert_eq!(admin.get(AVAILABLE).answer(200).data()["items"], json!([]));
    let answer = admin.post(REGISTRY).json(&http(&plugin)).answer(201);
    assert_eq!(answer.header("location"), Some(ONE));
    let made = answer.data();
    assert_eq!(made["credentials"], json!({"type": "bearer", "token": "***"}));
    assert_eq!(
        (&made["status"], &made["version"], &made["drift"]),
        (&json!("ready"), &json!("1.0.0"), &Value::Null)
    );
    let echo = &made["methods"][0];
    assert_eq!(
        (&echo["name"], &echo["effect"], &echo["status"]),
        (&json!("echo"), &json!("idempotent"), &json!("accepted"))
    );
    assert!(echo["pin"].as_str().unwrap().starts_with("sha256:"));
    let got = admin.get(ONE).answer(200);
    assert_eq!((got.data(), got.header("etag")), (made.clone(), answer.header("etag")));
    let available = admin.get(AVAILABLE).answer(200).data();
    assert_eq!(available["items"][0]["methods"], made["methods"]);
    assert!(available["items"][0].get("credentials").is_none());
    assert_eq!(admin.get(REGISTRY).answer(200).data()["items"], json!([made]));
    assert_eq!(actions(&admin)[0], "plugin.create");

    // What is written back as it was shown changes nothing, and writes no record.
    let same = json!({"endpoint": plugin.http(), "credentials": made["credentials"], "manifest": Plugin::manifest()});
    assert_eq!(admin.put(ONE, &same).answer(200).header("etag"), got.header("etag"));
    assert_eq!(actions(&admin)[0], "plugin.create");
    let mut manifest = Plugin::manifest();
    manifest["methods"][0]["description"] = "Says it again".into();
    let wanted = json!({"manifest": manifest, "credentials": {"type": "header", "name": "X-Api-Key", "value": "other"}});
    let stale = admin.put(ONE, &wanted).header("If-Match", "\"r7\"");
    stale.refused(412, "PRECONDITION_FAILED");
    let changed = admin.put(ONE, &wanted).header("If-Match", got.header("etag").unwrap()).answer(200).data();
    assert_ne!(changed["methods"][0]["pin"], echo["pin"]);
    assert_eq!(changed["methods"][1]["pin"], made["methods"][1]["pin"]);
    assert_eq!(changed["credentials"], json!({"type": "header", "name": "x-api-key", "value": "***"}));
    assert_eq!(actions(&admin)[0], "plugin.update");
    let none = admin.put(ONE, &json!({"credentials": null})).answer(200).data();
    assert_eq!(none["credentials"], Value::Null);
    let log = admin.get("/v1/audit/events?limit=50").answer(200).text();
    assert!(!log.contains("hush-hush") && !log.contains("other\""), "{log}");

    admin.post(&format!("{ONE}/refresh")).refused(409, "CONFLICT");
    admin.delete(ONE).header("If-Match", "\"r1\"").refused(412, "PRECONDITION_FAILED");
    admin.delete(ONE).answer(204);
    admin.get(ONE).refused(404, "PLUGIN_NOT_FOUND");
    admin.delete(ONE).refused(404, "PLUGIN_NOT_FOUND");
    assert_eq!(actions(&admin)[0], "plugin.delete");
    assert_eq!(plugin.calls().len(), 0);
    server.stop();
}

fn what_a_plugin_offers_is_read_from_it(place: &Place) {
    let server = launch(place);
    let admin = server.admin();
    let plugin = Plugin::start();
    let new =
        |name: &str, kind: &str, endpoint: &str| json!({"plugin": name, "kind": kind, "endpoint": endpoint});
    let made = admin.post(REGISTRY).json(&new("tools", "mcp", &plugin.mcp())).answer(201).data();
    assert_eq!((&made["version"], made["methods"].as_array().unwrap().len()), (&json!("2.0"), 6));
    assert_eq!(made["methods"][2]["query_method"], "status");
    let service = admin.post(REGISTRY).json(&new("service", "openapi", &plugin.openapi())).answer(201).data();
    assert_eq!((&service["version"], &service["hosts"]), (&json!("3"), &json!(["127.0.0.1"])));

    plugin.change_tools(|tool| {
        if tool["name"] == "add" {
            tool["inputSchema"]["properties"]["to"] = json!({"type": "string"});
        }
    });
    let tools = format!("{REGISTRY}/tools");
    let drifted = admin.post(&format!("{tools}/refresh")).answer(200);
    assert_eq!(drifted.data()["status"], "drifted");
    assert_eq!(drifted.data()["drift"]["changed"][0]["name"], "add");
    assert_eq!(actions(&admin)[0], "plugin.refresh");
    // Reading the same again is no news.
    assert_eq!(admin.post(&format!("{tools}/refresh")).answer(200).header("etag"), drifted.header("etag"));
    admin.post(&format!("{tools}/accept")).header("If-Match", "\"r1\"").refused(412, "PRECONDITION_FAILED");
    let etag = drifted.header("etag").unwrap();
    let accepted = admin.post(&format!("{tools}/accept")).header("If-Match", etag).answer(200).data();
    assert_eq!((&accepted["status"], &accepted["drift"]), (&json!("ready"), &Value::Null));
    assert_eq!(actions(&admin)[0], "plugin.accept");

    // One that is away says so, and what is known of it stays.
    plugin.change_document(|document| *document = json!("no document"));
    admin.post(&format!("{REGISTRY}/service/refresh")).refused(502, "PLUGIN_UNREACHABLE");
    assert_eq!(admin.get(&format!("{REGISTRY}/service")).answer(200).data()["status"], "ready");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    admin
        .post(REGISTRY)
        .json(&new("gone", "mcp", &format!("http://{gone}/")))
        .refused(502, "PLUGIN_UNREACHABLE");
    admin.get(&format!("{REGISTRY}/gone")).refused(404, "PLUGIN_NOT_FOUND");
    server.stop();
}

fn what_cannot_be_registered_is_refused(place: &Place) {
    let server = launch(place);
    let admin = server.admin();
    let plugin = Plugin::start();
    let good = http(&plugin);
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        admin.post(REGISTRY).json(&body)
    };
    let fields = |field: &str, value: Value| with(field, value).refused(422, "VALIDATION_ERROR").fields();
    assert_eq!(fields("plugin", json!("a b")), ["plugin"]);
    assert_eq!(fields("kind", json!("soap")), ["kind"]);
    assert_eq!(fields("endpoint", json!("nowhere")), ["endpoint"]);
    assert_eq!(fields("colour", json!(1)), ["colour"]);
    assert_eq!(fields("manifest", Value::Null), ["manifest"]);
    assert_eq!(fields("kind", json!("mcp")), ["manifest"]);
    assert_eq!(fields("credentials", json!({"type": "bearer", "token": "***"})), ["credentials.token"]);
    let method = |schema: Value| json!({"version": "1", "methods": [{"name": "a", "effect": "unsafe", "input_schema": schema}]});
    assert_eq!(fields("manifest", method(json!({"type": "nothing"}))), ["manifest.methods[0].input_schema"]);
    assert_eq!(
        fields("manifest", method(json!({"$ref": "https://elsewhere.example/x"}))),
        ["manifest.methods[0].input_schema"]
    );
    let denied = |endpoint: &str| with("endpoint", json!(endpoint)).refused(422, "EGRESS_DENIED").fields();
    for endpoint in
        ["https://10.0.0.1/", "https://169.254.169.254/", "http://example.org/", "https://u:p@example.org/"]
    {
        assert_eq!(denied(endpoint), ["endpoint"], "{endpoint}");
    }
    // A document may not lead where its reader may not go.
    plugin.change_document(|document| document["servers"][0]["url"] = "https://10.0.0.1/api".into());
    let led = json!({"plugin": "led", "kind": "openapi", "endpoint": plugin.openapi()});
    admin.post(REGISTRY).json(&led).refused(422, "EGRESS_DENIED");
    admin.post(REGISTRY).json(&good).answer(201);
    assert_eq!(admin.post(REGISTRY).json(&good).refused(409, "CONFLICT").fields(), ["plugin"]);
    assert_eq!(admin.put(ONE, &json!({"kind": "mcp"})).refused(422, "VALIDATION_ERROR").fields(), ["kind"]);
    assert_eq!(admin.get(REGISTRY).answer(200).data()["items"].as_array().unwrap().len(), 1);
    server.stop();
}

fn another_tenants_plugins_are_not_there(place: &Place) {
    let server = launch(place);
    let root = server.admin();
    let (here, there) = (root.tenant("here"), root.tenant("there"));
    let plugin = Plugin::start();
    let (ours, theirs) = (root.in_tenant(&here), root.in_tenant(&there));
    ours.post(REGISTRY).json(&http(&plugin)).answer(201);
    theirs.get(ONE).refused(404, "PLUGIN_NOT_FOUND");
    theirs.put(ONE, &json!({})).refused(404, "PLUGIN_NOT_FOUND");
    assert_eq!(theirs.get(AVAILABLE).answer(200).data()["items"], json!([]));
    theirs.post(REGISTRY).json(&http(&plugin)).answer(201);
    theirs.delete(ONE).answer(204);
    ours.get(ONE).answer(200);
    // Whoever may look may not change.
    let viewer = server.client(&ours.user("viewer@here.example", &["tenant_viewer"]).1);
    viewer.get(ONE).answer(200);
    viewer.delete(ONE).refused(403, "AUTHZ_PERMISSION_DENIED");
    viewer.post(REGISTRY).json(&json!({"nonsense": 1})).refused(403, "AUTHZ_PERMISSION_DENIED");
    server.stop();
}

fn a_core_has_plugins_of_its_own(place: &Place) {
    let server = launch(place);
    let admin = server.admin();
    let core = admin.host("Caller", &programs::echo(1));
    let entries = format!("{CORES}/{core}/plugins");
    let entry = json!({"alias": "our crm", "plugin": "acme/crm@2", "config": {"region": "eu"}});
    let made = admin.post(&entries).json(&entry).answer(201);
    let location = format!("{entries}/our%20crm");
    assert_eq!(made.header("location"), Some(location.as_str()));
    let mut whole = entry.clone();
    whole["enabled"] = true.into();
    assert_eq!(made.data(), whole);
    assert_eq!(admin.post(&entries).json(&entry).refused(409, "CONFLICT").fields(), ["alias"]);
    assert_eq!(admin.get(&entries).answer(200).data()["items"], json!([whole]));
    let changed = admin.put(&location, &json!({"config": {"region": "us"}, "enabled": false})).answer(200);
    assert_eq!(
        changed.data(),
        json!({"alias": "our crm", "plugin": "acme/crm@2", "config": {"region": "us"}, "enabled": false})
    );
    let shown = admin.get(&format!("{CORES}/{core}")).answer(200);
    assert_eq!(
        (&shown.data()["plugins"], shown.header("etag")),
        (&json!([changed.data()]), changed.header("etag"))
    );
    assert_eq!(actions(&admin)[0], "core.update");
    admin
        .put(&location, &json!({"plugin": null}))
        .header("If-Match", "\"r1\"")
        .refused(412, "PRECONDITION_FAILED");
    for (body, field) in [
        (json!({"plugin": "a b"}), "plugin"),
        (json!({"config": 1}), "config"),
        (json!({"alias": "x"}), "alias"),
    ] {
        assert_eq!(admin.put(&location, &body).refused(422, "VALIDATION_ERROR").fields(), [field]);
    }
    admin.put(&format!("{entries}/none"), &json!({})).refused(404, "PLUGIN_NOT_FOUND");
    admin.delete(&format!("{entries}/none")).refused(404, "PLUGIN_NOT_FOUND");
    admin.delete(&location).answer(204);
    assert_eq!(admin.get(&entries).answer(200).data()["items"], json!([]));
    // The list as a whole is as strict.
    let odd = json!({"plugins": [{"alias": "a", "plugin": "not a name", "more": 1}]});
    let refused = admin.put(&format!("{CORES}/{core}"), &odd).refused(422, "VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["plugins[0].more", "plugins[0].plugin"]);
    server.stop();
}

fn a_start_requires_what_the_program_requires(place: &Place) {
    let server = launch(place);
    let admin = server.admin();
    let plugin = Plugin::start();
    let mut program = programs::echo(1);
    program["plugins"] = json!([{"alias": "crm", "plugin": "acme/crm@2"}, {"alias": "mail", "plugin": "none", "required": false}]);
    let core = admin.host("Requires", &program);
    let start = format!("{CORES}/{core}/start");
    let refused = admin.post(&start).refused(422, "PLUGIN_NOT_FOUND");
    assert_eq!(refused.fields(), ["plugins.crm"]);
    let shown = admin.get(&format!("{CORES}/{core}")).answer(200).data();
    assert_eq!(
        (&shown["status"], &shown["last_error"]["code"]),
        (&json!("error"), &json!("PLUGIN_NOT_FOUND"))
    );
    assert_eq!(shown["last_error"]["message"], "plugins.crm acme/crm@2 is not registered");

    let mut needs = http(&plugin);
    needs["credentials"]["token"] = "${env.CRM_TOKEN}".into();
    admin.post(REGISTRY).json(&needs).answer(201);
    let refused = admin.post(&start).refused(422, "VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["environment.CRM_TOKEN"]);
    let environment = json!({"environment": {"CRM_TOKEN": {"type": "secret", "value": "x"}}});
    admin.put(&format!("{CORES}/{core}"), &environment).answer(200);
    assert_eq!(admin.act(&core, "start"), "running");
    let shown = admin.get(&format!("{CORES}/{core}")).answer(200).data();
    assert_eq!(shown["last_error"], Value::Null);

    // One that is switched off is not there.
    let off = json!({"alias": "crm", "enabled": false});
    admin.post(&format!("{CORES}/{core}/plugins")).json(&off).answer(201);
    admin.post(&format!("{CORES}/{core}/restart")).refused(422, "PLUGIN_NOT_FOUND");
    let shown = admin.get(&format!("{CORES}/{core}")).answer(200).data();
    assert_eq!(shown["last_error"]["message"], "plugins.crm the plugin crm is switched off");
    server.stop();
}

fn credentials_are_sealed_and_survive(place: &Place) {
    let mut server = launch(place);
    let plugin = Plugin::start();
    server.admin().post(REGISTRY).json(&http(&plugin)).answer(201);
    server.stop();
    if place.db() == Db::Sqlite {
        let file = std::fs::read(place.data().join("scaigrid.db")).unwrap();
        let holds = |text: &str| file.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(holds("acme/crm@2") && !holds("hush-hush"));
    }
    server = launch(place);
    let admin = server.admin();
    eventually("it is there again", Duration::from_secs(5), || {
        (admin.get(ONE).answer(200).data()["credentials"]["token"] == "***").then_some(())
    });
    server.stop();
}
