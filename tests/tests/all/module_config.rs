//! What is configured of modules: in layers, checked, explained, and with secrets that nobody sees again.

use std::fs;
use std::time::Duration;

use scaigrid_tests::{Client, Db, Place, Server, eventually, on, on_both_databases, run};
use serde_json::{Value, json};

on_both_databases!(
    each_level_covers_those_above_it,
    a_change_is_checked_tried_and_guarded,
    a_tag_belongs_to_its_level,
    a_secret_goes_in_and_never_comes_out,
    an_explanation_names_nobody_above,
    a_module_is_installed_by_a_manifest_in_the_folder,
    many_writers_lose_nothing,
);

const BOT: &str = "/v1/modules/scaibot/config";
const VAULTED: &str = "/v1/modules/vaulted/config";

fn put(client: &Client, path: &str, body: &Value) -> Value {
    client.put(path, body).answer(200).data()
}

fn fields(answer: &Value) -> Vec<&str> {
    answer["error"]["details"].as_array().unwrap().iter().map(|one| one["field"].as_str().unwrap()).collect()
}

fn records(client: &Client) -> Vec<Value> {
    client.pages("/v1/audit/events?action=module.configure", "items")
}

/// A partner's admin, and the admin and a user of a tenant of theirs.
fn settle(server: &Server) -> (Client, Client, Client) {
    let root = server.admin();
    let partner = root.post("/v1/admin/partners").json(&json!({"slug": "p", "name": "P"})).answer(201).data();
    let tenant = json!({"slug": "t", "name": "T", "partner_id": partner["id"]});
    root.post("/v1/admin/tenants").json(&tenant).answer(201);
    let inside = root.in_tenant("t");
    let of = |email: &str, role: &str| server.client(&inside.user(email, &[role]).1);
    (
        of("partner@p.example", "partner_admin"),
        of("boss@t.example", "tenant_admin"),
        of("user@t.example", "tenant_user"),
    )
}

fn each_level_covers_those_above_it(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let (partner, boss, user) = settle(&server);
    let empty =
        json!({"global_config": {}, "partner_config": {}, "scope_config": {}, "effective_config": {}});
    assert_eq!(user.get(BOT).answer(200).data(), empty);
    put(&root, BOT, &json!({"default_model": "scailabs/poolnoodle-omni", "default_knowledge_top_k": 3}));
    put(&partner, BOT, &json!({"default_knowledge_top_k": 5}));
    let body = json!({"default_knowledge_top_k": 8, "escalation_email": "support@acme.example"});
    assert_eq!(put(&boss, BOT, &body)["scope_config"], body);
    let shown = user.get(BOT).answer(200).data();
    assert_eq!(
        shown,
        json!({
            "global_config": {"default_model": "scailabs/poolnoodle-omni", "default_knowledge_top_k": 3},
            "partner_config": {"default_knowledge_top_k": 5},
            "scope_config": {"default_knowledge_top_k": 8, "escalation_email": "support@acme.example"},
            "effective_config": {
                "default_model": "scailabs/poolnoodle-omni", "default_knowledge_top_k": 8,
                "escalation_email": "support@acme.example"
            }
        })
    );
    // What is left out stays, null goes back to what is above.
    let back = put(&boss, BOT, &json!({"default_knowledge_top_k": null}));
    assert_eq!(back["scope_config"], json!({"escalation_email": "support@acme.example"}));
    assert_eq!(back["effective_config"]["default_knowledge_top_k"], 5);
    let back = put(&partner, BOT, &json!({"default_knowledge_top_k": null}));
    assert_eq!(back["scope_config"], back["partner_config"]);
    assert_eq!(boss.get(BOT).answer(200).data()["effective_config"]["default_knowledge_top_k"], 3);
    // Others are not touched, and the caller who acts in the tenant is at its level.
    assert_eq!(root.in_tenant("default").get(BOT).answer(200).data()["scope_config"], json!({}));
    put(&root.in_tenant("t"), BOT, &json!({"escalation_email": "root@acme.example"}));
    assert_eq!(boss.get(BOT).answer(200).data()["scope_config"]["escalation_email"], "root@acme.example");
    assert_eq!(records(&boss).len(), 3, "those of the tenant");
    // Defaults of a schema are the lowest layer.
    let link = boss.get("/v1/modules/scailink/config").answer(200).data();
    assert_eq!(link["effective_config"]["heartbeat_interval_s"], 30);
    assert_eq!(link["global_config"], json!({}));
    server.kill();
    let server = place.start();
    let root = server.admin();
    assert_eq!(
        root.in_tenant("t").get(BOT).answer(200).data()["effective_config"]["default_knowledge_top_k"],
        3
    );
    server.stop();
}

fn a_change_is_checked_tried_and_guarded(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let (_, boss, user) = settle(&server);
    user.put(BOT, &json!({"default_model": "m"})).refused(403, "AUTHZ_PERMISSION_DENIED");
    boss.put("/v1/modules/nothing/config", &json!([])).refused(404, "MODULE_NOT_FOUND");
    boss.get("/v1/modules/nothing/config").refused(404, "MODULE_NOT_FOUND");
    let wrong = json!({"default_knowledge_top_k": 0, "escalation_email": "nobody", "colour": "red"});
    let refused = boss.put(BOT, &wrong).refused(422, "VALIDATION_ERROR").json();
    let mut told = fields(&refused);
    told.sort_unstable();
    assert_eq!(told, ["colour", "default_knowledge_top_k", "escalation_email"]);
    for body in ["[]", "1", "null", "{"] {
        let answer = boss.request("PUT", BOT).body("application/json", body).refused(422, "VALIDATION_ERROR");
        assert_eq!(fields(&answer.json()), ["body"], "{body}");
    }
    let deep = format!("{}1{}", r#"{"a":"#.repeat(17), "}".repeat(17));
    boss.request("PUT", BOT).body("application/json", deep).refused(422, "VALIDATION_ERROR");
    let long = json!({"default_model": "x".repeat(70_000)});
    boss.put(BOT, &long).refused(422, "VALIDATION_ERROR");
    let nothing =
        boss.put("/v1/modules/scaimcp/config", &json!({"a": 1})).refused(422, "VALIDATION_ERROR").json();
    let told = json!([{"field": "a", "message": "is not a setting of this module"}]);
    assert_eq!(nothing["error"]["details"], told, "a module without a schema has nothing to configure");
    boss.put(&format!("{BOT}?dry_run=perhaps"), &json!({})).refused(422, "VALIDATION_ERROR");
    assert_eq!(records(&boss).len(), 0, "what was refused is no change");

    // Trying keeps nothing.
    let before = boss.get(BOT).answer(200);
    let tried = boss.put(&format!("{BOT}?dry_run=true"), &json!({"default_model": "m"})).answer(200);
    assert_eq!(tried.data()["effective_config"], json!({"default_model": "m"}));
    assert_eq!(tried.header("etag"), None);
    boss.put(&format!("{BOT}?dry_run=true"), &wrong).refused(422, "VALIDATION_ERROR");
    let after = boss.get(BOT).answer(200);
    assert_eq!((after.data(), after.header("etag")), (before.data(), before.header("etag")));
    assert_eq!(records(&boss).len(), 0);

    // A change that changes nothing is none.
    put(&boss, BOT, &json!({"default_model": "m"}));
    let tag = boss.get(BOT).answer(200).header("etag").unwrap().to_owned();
    let again = boss.put(BOT, &json!({"default_model": "m", "escalation_email": null})).answer(200);
    assert_eq!(again.header("etag"), Some(tag.as_str()));
    assert_eq!(records(&boss).len(), 1);
    assert_eq!(records(&boss)[0]["changes"], json!({"default_model": {"before": null, "after": "m"}}));

    // The tag is of all that is shown: a change above is a change.
    boss.get(BOT).header("If-None-Match", &tag).answer(304);
    put(&root, BOT, &json!({"default_knowledge_top_k": 4}));
    boss.get(BOT).header("If-None-Match", &tag).answer(200);
    boss.put(BOT, &json!({"default_model": "n"}))
        .header("If-Match", &tag)
        .refused(412, "PRECONDITION_FAILED");
    let tag = boss.get(BOT).answer(200).header("etag").unwrap().to_owned();
    boss.put(BOT, &json!({"default_model": "n"})).header("If-Match", &tag).answer(200);
    boss.put(BOT, &json!({"default_model": "o"}))
        .header("If-Match", &tag)
        .refused(412, "PRECONDITION_FAILED");
    server.stop();
}

fn a_tag_belongs_to_its_level(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let [one, two] = ["one", "two"].map(|slug| root.in_tenant(&root.tenant(slug)));
    let tag = |client: &Client| client.get(BOT).answer(200).header("etag").unwrap().to_owned();
    assert_ne!(tag(&one), tag(&two), "also where neither has said anything");
    put(&one, BOT, &json!({"default_model": "m1"}));
    put(&two, BOT, &json!({"default_model": "m2"}));
    // Both were changed once, and what one has is not what the other has.
    let theirs = tag(&one);
    let answer = two.get(BOT).header("If-None-Match", &theirs).answer(200);
    assert_eq!(answer.data()["effective_config"], json!({"default_model": "m2"}));
    two.put(BOT, &json!({"default_model": "m3"}))
        .header("If-Match", &theirs)
        .refused(412, "PRECONDITION_FAILED");
    one.get(BOT).header("If-None-Match", &theirs).answer(304);
    assert_ne!(tag(&root), tag(&one));
    // Whoever keeps answers is told what they depend on.
    let vary = answer.header("vary").unwrap_or_default().to_ascii_lowercase();
    for name in ["authorization", "x-scaigrid-tenant", "x-scaigrid-partner"] {
        assert!(vary.contains(name), "{vary}");
    }
    server.stop();
}

/// A folder with a manifest whose configuration has secrets.
fn vaulted(place: &Place) -> String {
    let folder = place.folder().join("modules");
    fs::create_dir_all(&folder).unwrap();
    let manifest = json!({
        "module_id": "vaulted", "display_name": "Vaulted", "version": "1.0.0",
        "endpoint": "http://127.0.0.1:9", "health_path": "/well",
        "config_schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$defs": {"secret": {"type": "string", "minLength": 4, "writeOnly": true}},
            "type": "object", "additionalProperties": false,
            "properties": {
                "token": {"$ref": "#/$defs/secret"},
                "smtp": {
                    "type": "object", "additionalProperties": false, "required": ["host"],
                    "properties": {"host": {"type": "string"}, "pin": {"allOf": [{"$ref": "#/$defs/secret"}]}}
                },
                "whole": {"type": "object", "writeOnly": true, "additionalProperties": {"type": "integer"}},
                "hooks": {"type": "array", "items": {"properties": {"pin": {"$ref": "#/$defs/secret"}}}}
            }
        }
    });
    fs::write(folder.join("vaulted.json"), manifest.to_string()).unwrap();
    folder.to_string_lossy().into_owned()
}

fn a_secret_goes_in_and_never_comes_out(place: &Place) {
    let folder = vaulted(place);
    let server = place.launch().set("SCAIGRID_MODULES_DIR", &folder).start();
    let root = server.admin();
    let (_, boss, _) = settle(&server);
    put(&root, VAULTED, &json!({"token": "HUSH-platform", "smtp": {"host": "up", "pin": "HUSH-up"}}));
    let body = json!({
        "smtp": {"pin": "HUSH-down"}, "whole": {"HUSHname": 1},
        "hooks": [{"url": "a", "pin": "HUSH-a"}, {"url": "b", "pin": "HUSH-b"}]
    });
    let mut told = vec![boss.put(VAULTED, &body).answer(200)];
    assert_eq!(
        told[0].data()["effective_config"],
        json!({
            "token": "***", "smtp": {"host": "up", "pin": "***"}, "whole": "***",
            "hooks": [{"url": "a", "pin": "***"}, {"url": "b", "pin": "***"}]
        })
    );
    // What is shown can be written back; stars keep what they stand for, also what only a level above has.
    let shown = told[0].data();
    told.push(boss.put(VAULTED, &shown["scope_config"]).answer(200));
    told.push(boss.put(VAULTED, &shown["effective_config"]).answer(200));
    assert_eq!(told[2].data()["scope_config"]["smtp"], json!({"host": "up", "pin": "***"}));
    assert!(told[2].data()["scope_config"]["token"].is_null(), "it is the platform's still");
    told.push(
        boss.put(VAULTED, &json!({"hooks": [{"url": "elsewhere", "pin": "***"}]}))
            .refused(422, "VALIDATION_ERROR"),
    );
    told.push(root.put(VAULTED, &json!({"whole": "***"})).refused(422, "VALIDATION_ERROR"));
    // What is wrong with a secret is told without it.
    for (body, field) in [
        (json!({"token": ["HUSH"]}), "token"),
        (json!({"token": "HU"}), "token"),
        (json!({"smtp": {"pin": 5}}), "smtp.pin"),
        (json!({"whole": {"HUSHname": "HUSH"}}), "whole"),
        (json!({"hooks": [{"pin": {"HUSH": "HUSH"}}]}), "hooks[0].pin"),
    ] {
        let refused = boss.put(VAULTED, &body).refused(422, "VALIDATION_ERROR");
        assert_eq!(fields(&refused.json()), [field]);
        told.push(refused);
    }
    told.push(boss.put(VAULTED, &json!({"smtp": {"pin": "HUSH-new"}})).answer(200));
    told.push(boss.put(&format!("{VAULTED}?dry_run=true"), &json!({"token": "HUSH-tried"})).answer(200));
    for client in [&boss, &root] {
        for path in [VAULTED, "/v1/modules/vaulted/explain", "/v1/modules/vaulted", "/v1/audit/events"] {
            told.push(client.get(path).answer(200));
        }
    }
    for answer in &told {
        assert!(!format!("{answer}").contains("HUSH"), "{answer}");
    }
    let changed = &records(&boss)[0]["changes"];
    let side = json!({"host": "up", "pin": "***"});
    assert_eq!(changed, &json!({"smtp": {"before": side, "after": side}}), "that it changed is told");
    assert!(!server.log().contains("HUSH"));
    server.stop();
    if place.db() == Db::Sqlite {
        for entry in fs::read_dir(place.data()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let bytes = fs::read(&path).unwrap();
                assert!(!bytes.windows(4).any(|four| four == b"HUSH"), "it is kept in the clear");
            }
        }
    }
    let server = place.launch().set("SCAIGRID_MODULES_DIR", &folder).start();
    let kept = server.admin().in_tenant("t").get(VAULTED).answer(200).data();
    assert_eq!(kept["effective_config"]["smtp"], json!({"host": "up", "pin": "***"}));
    server.stop();

    // A later manifest that calls nothing secret does not bring out what an earlier one did.
    let file = std::path::Path::new(&folder).join("vaulted.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    manifest["config_schema"] = json!({"type": "object"});
    fs::write(&file, manifest.to_string()).unwrap();
    let server = place.launch().set("SCAIGRID_MODULES_DIR", &folder).start();
    let inside = server.admin().in_tenant("t");
    let turned = json!([{"url": "b", "pin": "***"}, {"url": "a", "pin": "***"}]);
    let patch = json!({"whole": {"x": 1}, "smtp": {"x": 1}, "hooks": turned});
    for path in [&format!("{VAULTED}?dry_run=true"), VAULTED] {
        let answer = inside.put(path, &patch).answer(200);
        assert!(!format!("{answer}").contains("HUSH"), "{answer}");
        let scope = &answer.data()["scope_config"];
        assert_eq!((&scope["whole"], &scope["smtp"]["pin"]), (&json!("***"), &json!("***")));
        assert_eq!(scope["hooks"], turned);
    }
    server.stop();
}

fn an_explanation_names_nobody_above(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let (partner, boss, user) = settle(&server);
    put(&root, BOT, &json!({"default_model": "m", "default_knowledge_top_k": 2}));
    put(&boss, BOT, &json!({"default_model": "n"}));
    partner.post("/v1/modules/scaicore/disable").answer(200);
    boss.post("/v1/modules/scaicore/enable").answer(200);

    let explained = user.get("/v1/modules/scaibot/explain").answer(200).data();
    let config = explained["config"].as_array().unwrap();
    assert_eq!(config.len(), 2);
    let (top, model) = (&config[0], &config[1]);
    assert_eq!(
        (&top["field"], &top["value"], &top["level"]),
        (&json!("default_knowledge_top_k"), &json!(2), &json!("platform"))
    );
    assert!(top["by"].is_null() && top["since"].is_string() && top["overrides"] == json!([]), "{top}");
    assert_eq!((&model["value"], &model["level"]), (&json!("n"), &json!("tenant")));
    assert_eq!(model["by"]["email"], "boss@t.example");
    let over = &model["overrides"][0];
    assert_eq!((&over["value"], &over["level"]), (&json!("m"), &json!("platform")));
    assert!(over["by"].is_null() && over["since"].is_string());
    let state = &user.get("/v1/modules/scaicore/explain").answer(200).data()["state"];
    assert_eq!(
        (&state["status"], &state["reason"], &state["level"]),
        (&json!("disabled"), &json!("disabled"), &json!("partner"))
    );
    let levels = state["levels"].as_array().unwrap();
    let told: Vec<_> = levels
        .iter()
        .map(|one| {
            (
                one["level"].as_str().unwrap(),
                one["enablement"].as_str(),
                one["decides"] == true,
                one["by"]["email"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("platform", None, false, None),
            ("partner", Some("disabled"), true, None),
            ("tenant", Some("enabled"), false, Some("boss@t.example"))
        ]
    );
    // Who said it is told at the level itself, and nothing of what is below.
    let state = &partner.get("/v1/modules/scaicore/explain").answer(200).data()["state"];
    assert_eq!(state["levels"].as_array().unwrap().len(), 2);
    assert_eq!(state["levels"][1]["by"]["email"], "partner@p.example");
    let of_root = root.get("/v1/modules/scaibot/explain").answer(200).data();
    assert_eq!(of_root["config"][1]["by"]["email"], "admin@scaigrid.local");
    assert_eq!(of_root["config"][1]["overrides"], json!([]));
    // Whoever is gone has no address any more.
    let boss_id = boss.get("/v1/me").answer(200).data()["user"]["id"].clone();
    root.in_tenant("t").delete(&format!("/v1/users/{}", boss_id.as_str().unwrap())).answer(204);
    let model = user.get("/v1/modules/scaibot/explain").answer(200).data()["config"][1].clone();
    assert_eq!(model["by"], json!({"user_id": boss_id, "email": null}));
    user.get("/v1/modules/nothing/explain").refused(404, "MODULE_NOT_FOUND");
    server.stop();
}

fn a_module_is_installed_by_a_manifest_in_the_folder(place: &Place) {
    let folder = place.folder().join("modules");
    fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    let persona = json!({
        "module_id": "scaipersona", "display_name": "Personas", "version": "2.1.0", "dependencies": ["scaimatrix"],
        "endpoint": "https://persona.example/base"
    });
    write("scaipersona.json", &persona.to_string());
    write(
        "scaimatrix.toml",
        "module_id = 'scaimatrix'\ndisplay_name = 'Matrix'\nversion = '3.0.0'\nendpoint = 'https://matrix.example'\n",
    );
    let path = folder.to_string_lossy().into_owned();
    let server = place.launch().set("SCAIGRID_MODULES_DIR", &path).start();
    let root = server.admin();
    let status = |id: &str| root.get(&format!("/v1/modules/{id}")).answer(200).data()["status"].clone();
    assert_eq!((status("scaipersona"), status("scaimatrix")), (json!("available"), json!("available")));
    let refused = root.post("/v1/modules/scaipersona/enable").refused(409, "MODULE_DEPENDENCY_UNAVAILABLE");
    assert_eq!(
        refused.json()["error"]["details"],
        json!([{"field": "dependencies", "message": "scaimatrix"}])
    );
    assert_eq!(root.post("/v1/modules/scaimatrix/enable").answer(200).data()["status"], "active");
    assert_eq!(root.post("/v1/modules/scaipersona/enable").answer(200).data()["version"], "2.1.0");
    assert_eq!(status("scaipersona"), "active");
    // What it depends on goes, and it is in error as long as that lasts.
    root.delete("/v1/modules/scaimatrix/enablement").answer(204);
    let shown = root.get("/v1/modules/scaipersona").answer(200).data();
    assert_eq!(shown["status"], "error");
    assert!(shown["last_error"]["message"].as_str().unwrap().contains("scaimatrix"), "{shown}");
    let state = root.get("/v1/modules/scaipersona/explain").answer(200).data()["state"].clone();
    assert_eq!(state["reason"], "dependency_not_active");
    assert_eq!(state["dependencies"], json!([{"module_id": "scaimatrix", "status": "available"}]));
    let listed = root.get("/v1/modules").answer(200).data();
    let listed = listed.as_array().unwrap().iter().find(|one| one["module_id"] == "scaipersona").unwrap();
    assert_eq!(listed["status"], "error");
    root.post("/v1/modules/scaimatrix/enable").answer(200);
    assert_eq!(status("scaipersona"), "active");
    server.stop();

    // A manifest that cannot be taken ends the start.
    for (name, text, said) in [
        ("scaibot.json", r#"{"module_id": "scaibot", "display_name": "x", "version": "1"}"#, "version: "),
        (
            "scaicore.toml",
            "module_id = 'scaicore'\ndisplay_name = 'x'\nversion = '1.0.0'",
            "module_id: scaicore is a part",
        ),
    ] {
        write(name, text);
        let (data, url) = (place.data(), place.database_url().to_owned());
        let variables = [
            ("SCAIGRID_DATA_DIR", data.to_string_lossy().into_owned()),
            ("SCAIGRID_DATABASE_URL", url),
            ("SCAIGRID_MODULES_DIR", path.clone()),
            ("SCAIGRID_BIND", "127.0.0.1:0".to_owned()),
        ];
        let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
        let ended = run(place.folder(), &["serve"], &variables);
        let complaint = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{complaint}");
        let line = complaint.lines().last().unwrap();
        assert!(
            line.starts_with("SCAIGRID_MODULES_DIR: ") && line.contains(name) && line.contains(said),
            "{line}"
        );
        fs::remove_file(folder.join(name)).unwrap();
    }
}

fn many_writers_lose_nothing(place: &Place) {
    let server = place.start();
    let (_, boss, _) = settle(&server);
    let bodies = [
        json!({"rediscovery_interval_m": 2}),
        json!({"heartbeat_interval_s": 6}),
        json!({"reconnect_grace_s": 7}),
        json!({"rediscovery_interval_m": 2}),
        json!({"heartbeat_interval_s": 6}),
    ];
    let rivals: Vec<_> = bodies
        .iter()
        .map(|body| {
            let request = boss.put("/v1/modules/scailink/config", body);
            std::thread::spawn(move || request.answer(200))
        })
        .collect();
    for rival in rivals {
        rival.join().unwrap();
    }
    let kept = boss.get("/v1/modules/scailink/config").answer(200).data();
    let all = json!({"rediscovery_interval_m": 2, "heartbeat_interval_s": 6, "reconnect_grace_s": 7});
    assert_eq!(kept["scope_config"], all);
    assert_eq!(records(&boss).len(), 3, "one for each value; the same again is no change");
    server.stop();
}

#[test]
fn many_writers_on_two_nodes_are_all_heard() {
    on(Db::Postgres, |place| {
        let (first, second) = (place.start(), place.further_node("second").start());
        let nodes = [first.admin(), second.admin()];
        let rivals: Vec<_> = (0..8)
            .map(|me| {
                let node = nodes[me % 2].clone();
                std::thread::spawn(move || {
                    for turn in 0..6 {
                        let body = json!({"default_model": format!("m{me}-{turn}")});
                        node.put(BOT, &body).answer(200);
                    }
                })
            })
            .collect();
        for rival in rivals {
            rival.join().unwrap();
        }
        let configured = nodes[0].pages("/v1/audit/events?action=module.configure", "items");
        assert_eq!(configured.len(), 8 * 6, "each change has its record");
        // Each record tells what the one before it left behind: no change was made on top of something else.
        let values = |record: &Value, side: &str| record["changes"]["default_model"][side].clone();
        let mut left = std::collections::BTreeMap::new();
        for record in &configured {
            *left.entry(values(record, "after").to_string()).or_insert(0) += 1;
            *left.entry(values(record, "before").to_string()).or_insert(0) -= 1;
        }
        left.retain(|_, count| *count != 0);
        let last = nodes[1].get(BOT).answer(200).data()["global_config"]["default_model"].to_string();
        assert_eq!(left, [(last, 1), ("null".to_owned(), -1)].into());
        first.stop();
        second.stop();
    });
}

#[test]
fn another_node_knows_within_a_second_without_a_bus() {
    on(Db::Postgres, |place| {
        let (first, second) = (place.start(), place.further_node("second").start());
        let (one, two) = (first.admin(), second.admin());
        put(&one, BOT, &json!({"default_model": "m"}));
        assert_eq!(two.get(BOT).answer(200).data()["global_config"], json!({"default_model": "m"}));
        let status =
            |client: &Client| client.get("/v1/modules/scaicore").answer(200).data()["status"].clone();
        assert_eq!(status(&two), "active");
        for (method, path, expected) in [
            ("POST", "/v1/modules/scaicore/disable", "disabled"),
            ("DELETE", "/v1/modules/scaicore/enablement", "active"),
        ] {
            let answer = one.request(method, path).exchange();
            assert!(matches!(answer.status, 200 | 204), "{answer}");
            assert_eq!(status(&one), expected, "at once where it was said");
            let begun = std::time::Instant::now();
            eventually("the other node knows", Duration::from_secs(3), || {
                (status(&two) == expected).then_some(())
            });
            assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
        }
        first.stop();
        second.stop();
    });
}
