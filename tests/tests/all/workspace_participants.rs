//! Participants: the AIs that tenants set up, beside their people, and how many of both there may be.

use scaigrid_tests::{Place, Provider, on_both_databases};
use serde_json::{Value, json};

use crate::workspace_models::{LONG, PARTICIPANTS, etag, listed, records, settled, text, wrong};

on_both_databases!(
    a_model_has_an_ai_of_its_own,
    ais_are_added_and_changed,
    people_and_ais_are_listed_together,
    no_more_participants_than_the_limit,
    people_who_come_by_token_are_counted_too,
);

fn a_model_has_an_ai_of_its_own(place: &Place) {
    let (server, _, admin) = settled(place);
    let path = format!("/v1/admin/models/{LONG}/participant");
    let body = json!({"local_id": "code-helper", "display_name": "Code Helper", "system_prompt": "Be brief.",
        "default_response_mode": "conversational", "enabled": true});
    admin.put(&path, &body).header("If-Match", "\"r1\"").refused(412, "SW_PRECONDITION_FAILED");
    let made = admin.put(&path, &body).answer(201);
    let own = made.data();
    let id = text(&own["id"]);
    assert_eq!(made.header("location"), Some(format!("{PARTICIPANTS}/{id}").as_str()));
    let expected = json!({"id": id, "local_id": "code-helper", "server_name": "localhost", "fqid": "@code-helper:localhost",
        "display_name": "Code Helper", "participant_type": "model", "avatar_url": null, "enabled": true, "user_id": null,
        "model": LONG, "system_prompt": "Be brief.", "default_response_mode": "conversational", "plugins": null,
        "temperature": null, "helper": null, "created_at": own["created_at"], "updated_at": own["updated_at"]});
    assert_eq!(own, expected);
    assert!(id.starts_with("par_"));
    assert_eq!(admin.get(&format!("{PARTICIPANTS}/{id}")).answer(200).data(), own);
    let entry = admin.post(&format!("/v1/admin/models/{LONG}/enable")).answer(200).data();
    assert_eq!(entry["participant"], own);

    // The same call changes it; what is left out stays.
    let changed =
        admin.put(&path, &json!({"temperature": 0.3, "enabled": false})).header("If-Match", &etag(&made));
    let changed = changed.answer(200);
    assert_eq!(
        (changed.data()["temperature"].as_f64(), &changed.data()["enabled"]),
        (Some(0.3), &json!(false))
    );
    assert_eq!(
        (&changed.data()["id"], &changed.data()["system_prompt"]),
        (&own["id"], &own["system_prompt"])
    );
    admin
        .put(&path, &json!({"enabled": true}))
        .header("If-Match", &etag(&made))
        .refused(412, "SW_PRECONDITION_FAILED");
    let same = admin.put(&path, &json!({"temperature": 0.3, "local_id": "code-helper"})).answer(200);
    assert_eq!(etag(&same), etag(&changed), "nothing is different");
    let cleared = admin
        .put(&path, &json!({"temperature": null, "plugins": ["scaiwave.calculator"]}))
        .answer(200)
        .data();
    assert_eq!(
        (&cleared["temperature"], &cleared["plugins"]),
        (&Value::Null, &json!(["scaiwave.calculator"]))
    );
    let told = records(&admin, "participant.update");
    assert_eq!(told.len(), 2);
    assert_eq!(told[1]["changes"]["enabled"], json!({"before": true, "after": false}));
    assert_eq!(records(&admin, "participant.create").len(), 1);

    // Without names it has those that the model suggests, unlike others.
    let plain = admin.put("/v1/admin/models/plain/participant", &json!({})).answer(201).data();
    assert_eq!((&plain["local_id"], &plain["display_name"]), (&json!("plain"), &json!("plain")));
    assert_eq!((&plain["system_prompt"], &plain["default_response_mode"]), (&json!(""), &json!("streaming")));
    admin.put(&path, &json!({"local_id": "plain"})).refused(409, "SW_SLUG_CONFLICT");
    admin.put(&format!("{PARTICIPANTS}/{}", text(&plain["id"])), &json!({"local_id": "echo"})).answer(200);
    let echo = admin.put("/v1/admin/models/echo/participant", &json!({})).answer(201).data();
    assert!(text(&echo["local_id"]).starts_with("echo-"), "{echo}");
    // It is the first of its model.
    let more = json!({"local_id": "second", "model": "echo", "display_name": "Second"});
    admin.post(&format!("{PARTICIPANTS}/model")).json(&more).answer(201);
    assert_eq!(
        admin.put("/v1/admin/models/echo/participant", &json!({})).answer(200).data()["id"],
        echo["id"]
    );
    server.stop();
}

fn ais_are_added_and_changed(place: &Place) {
    let (server, root, admin) = settled(place);
    let path = format!("{PARTICIPANTS}/model");
    let body = json!({"local_id": "ada.ai", "model": LONG, "display_name": "Ada", "system_prompt": "Hush.",
        "default_response_mode": "conversational", "plugins": [], "temperature": 1.25});
    let made = admin.post(&path).json(&body).answer(201);
    let ai = made.data();
    let own = format!("{PARTICIPANTS}/{}", text(&ai["id"]));
    assert_eq!(made.header("location"), Some(own.as_str()));
    for (name, value) in body.as_object().unwrap() {
        assert_eq!(ai[name], *value, "{name}");
    }
    assert_eq!(
        (&ai["participant_type"], &ai["enabled"], &ai["fqid"]),
        (&json!("model"), &json!(true), &json!("@ada.ai:localhost"))
    );
    assert_eq!(admin.post(&path).json(&body).refused(409, "SW_SLUG_CONFLICT").fields(), ["local_id"]);
    let with = |name: &str, value: Value| {
        let mut body = json!({"local_id": "other", "model": "plain", "display_name": "O"});
        body[name] = value;
        admin.post(&path).json(&body)
    };
    let plugins = |ids: &[&str]| with("plugins", json!(ids));
    for (request, fields) in [
        (with("model", json!("no/such")), vec!["model"]),
        (with("model", json!("a b")), vec!["model"]),
        (with("local_id", json!("Not So")), vec!["local_id"]),
        (with("display_name", json!("")), vec!["display_name"]),
        (with("system_prompt", json!("x".repeat(32 * 1024 + 1))), vec!["system_prompt"]),
        (with("default_response_mode", json!("loud")), vec!["default_response_mode"]),
        (with("temperature", json!(2.01)), vec!["temperature"]),
        (with("temperature", json!(-1)), vec!["temperature"]),
        (with("server_name", json!("x")), vec!["server_name"]),
        (plugins(&["scaiwave.calculator", "nobody.knows-it"]), vec!["plugins[1]"]),
        (plugins(&["scaiwave.calculator", "scaiwave.calculator"]), vec!["plugins[1]"]),
    ] {
        assert_eq!(wrong(&request), fields);
    }
    let many: Vec<String> = (0..65).map(|n| format!("p{n}")).collect();
    assert_eq!(wrong(&with("plugins", json!(many))), ["plugins"]);
    assert_eq!(
        wrong(&admin.post(&path).json(&json!({"display_name": "O"}))).first().map(String::as_str),
        Some("local_id")
    );
    let backend = root.backend("echo", &json!({}));
    let vectors = json!({"slug": "vectors", "display_name": "V", "modality": "embedding", "global": true,
        "backends": [{"backend_id": backend}]});
    root.post("/v1/models").json(&vectors).answer(201);
    assert_eq!(wrong(&with("model", json!("vectors"))), ["model"]);
    admin.put("/v1/admin/models/vectors/participant", &json!({})).refused(409, "SW_CONFLICT");

    let changed =
        admin.put(&own, &json!({"display_name": "Ada L.", "plugins": null})).header("If-Match", &etag(&made));
    let changed = changed.answer(200);
    let now = changed.data();
    assert_eq!(
        (&now["display_name"], &now["plugins"], &now["system_prompt"]),
        (&json!("Ada L."), &Value::Null, &json!("Hush."))
    );
    admin
        .put(&own, &json!({"enabled": false}))
        .header("If-Match", &etag(&made))
        .refused(412, "SW_PRECONDITION_FAILED");
    let before = records(&admin, "participant.update").len();
    assert_eq!(etag(&admin.put(&own, &json!({"display_name": "Ada L."})).answer(200)), etag(&changed));
    assert_eq!(records(&admin, "participant.update").len(), before);
    assert_eq!(wrong(&admin.put(&own, &json!({"model": "plain"}))), ["model"]);
    assert_eq!(wrong(&admin.put(&own, &json!({"plugins": ["nobody.knows-it"]}))), ["plugins[0]"]);
    let nobody = format!("{PARTICIPANTS}/par_01JZ8QZ5T0000000000000000A");
    admin.get(&nobody).refused(404, "SW_PARTICIPANT_NOT_FOUND");
    admin.put(&nobody, &json!({"nonsense": 1})).refused(404, "SW_PARTICIPANT_NOT_FOUND");
    admin.get(&format!("{PARTICIPANTS}/nonsense")).refused(404, "SW_PARTICIPANT_NOT_FOUND");
    server.stop();
}

fn people_and_ais_are_listed_together(place: &Place) {
    let server = place.launch().set("SCAIGRID_PUBLIC_URL", "https://grid.example:8443/").start();
    let root = server.admin();
    root.tenant("acme");
    let (_, key) = root.in_tenant("acme").user("boss@acme.example", &["tenant_admin"]);
    let admin = server.client(&key);
    let (ada, _) = admin.user("ada@acme.example", &["tenant_user"]);
    admin.put("/v1/admin/models/echo/participant", &json!({"local_id": "helper"})).answer(201);
    let all = listed(&admin, PARTICIPANTS, 1);
    let names: Vec<String> = all.iter().map(|one| text(&one["fqid"])).collect();
    assert_eq!(names, ["@boss:grid.example", "@ada:grid.example", "@helper:grid.example"]);
    let person = &all[1];
    assert_eq!((&person["participant_type"], &person["user_id"]), (&json!("human"), &json!(ada)));
    for absent in
        ["model", "system_prompt", "default_response_mode", "plugins", "temperature", "helper", "avatar_url"]
    {
        assert!(person[absent].is_null(), "{absent}");
    }
    let of = |filter: &str| listed(&admin, &format!("{PARTICIPANTS}?{filter}"), 10).len();
    assert_eq!(
        (of("participant_type=human"), of("participant_type=model"), of("participant_type=bridge")),
        (2, 1, 0)
    );
    assert_eq!((of("model=echo"), of("model=no/such"), of("model=echo&participant_type=human")), (1, 0, 0));
    admin.get(&format!("{PARTICIPANTS}?participant_type=dog")).refused(422, "SW_VALIDATION_ERROR");
    admin.get(&format!("{PARTICIPANTS}?cursor=x")).refused(422, "SW_VALIDATION_ERROR");
    // A person is what their user is.
    let own = format!("{PARTICIPANTS}/{}", text(&person["id"]));
    admin.put(&own, &json!({"display_name": "Ada"})).refused(409, "SW_CONFLICT");
    admin
        .put(&format!("/v1/users/{ada}"), &json!({"display_name": "Ada L.", "status": "suspended"}))
        .answer(200);
    let now = admin.get(&own).answer(200).data();
    assert_eq!((&now["display_name"], &now["enabled"]), (&json!("Ada L."), &json!(false)));
    admin.delete(&format!("/v1/users/{ada}")).answer(204);
    assert_eq!(listed(&admin, PARTICIPANTS, 10).len(), 2);
    server.stop();
}

fn no_more_participants_than_the_limit(place: &Place) {
    let (server, root, admin) = settled(place);
    let tenant = text(&admin.get("/v1/me").answer(200).data()["tenant"]["id"]);
    let limit = |most: u32| {
        root.put(&format!("/v1/admin/tenants/{tenant}"), &json!({"limits": {"max_participants": most}}))
            .answer(200);
    };
    // The admin is one of them. People and AIs come at once.
    limit(4);
    let rivals: Vec<_> = (0..9)
        .map(|n| {
            let request = match n % 3 {
                0 => {
                    let body = json!({"email": format!("u{n}@acme.example"), "roles": []});
                    admin.post("/v1/users").json(&body)
                }
                1 => {
                    let body = json!({"local_id": format!("ai-{n}"), "model": "echo", "display_name": "A"});
                    admin.post(&format!("{PARTICIPANTS}/model")).json(&body)
                }
                _ => {
                    let slug = ["echo", LONG, "plain"][n / 3];
                    admin.put(
                        &format!("/v1/admin/models/{slug}/participant"),
                        &json!({"local_id": format!("own-{n}")}),
                    )
                }
            };
            std::thread::spawn(move || request.exchange())
        })
        .collect();
    let answers: Vec<_> = rivals.into_iter().map(|rival| rival.join().unwrap()).collect();
    assert_eq!(listed(&admin, PARTICIPANTS, 10).len(), 4, "{answers:?}");
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status >= 400).collect();
    assert!(!refused.is_empty());
    for answer in refused {
        assert_eq!(answer.status, 409, "{answer}");
        assert!(["SW_TENANT_CAPACITY", "TENANT_CAPACITY"].contains(&answer.code().as_str()), "{answer}");
    }
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 3, "{answers:?}");
    let body = json!({"email": "late@acme.example", "roles": []});
    admin.post("/v1/users").json(&body).refused(409, "TENANT_CAPACITY");
    // What is there can be changed all the same, and who leaves makes room.
    limit(1);
    let ai = json!({"local_id": "late-ai", "model": "echo", "display_name": "A"});
    admin.post(&format!("{PARTICIPANTS}/model")).json(&ai).refused(409, "SW_TENANT_CAPACITY");
    limit(5);
    let late = text(&admin.post("/v1/users").json(&body).answer(201).data()["id"]);
    admin.post(&format!("{PARTICIPANTS}/model")).json(&ai).refused(409, "SW_TENANT_CAPACITY");
    admin.delete(&format!("/v1/users/{late}")).answer(204);
    admin.post(&format!("{PARTICIPANTS}/model")).json(&ai).answer(201);
    server.stop();
}

fn people_who_come_by_token_are_counted_too(place: &Place) {
    let Some(provider) = Provider::start() else { return };
    let setting = format!("{} audience=other,grid", provider.issuer);
    let server = place.launch().set("SCAIGRID_OIDC_ISSUERS", &setting).start();
    let root = server.admin();
    let tenant = root.tenant("acme");
    let limits = json!({"limits": {"max_participants": 2}});
    root.put(&format!("/v1/admin/tenants/{tenant}"), &limits).answer(200);
    root.in_tenant("acme").put("/v1/admin/models/echo/participant", &json!({})).answer(201);
    for name in ["ada", "eve"] {
        provider.subject(name, "RS256", &json!({"tenant_id": "acme"}));
    }
    let (ada, eve) = (provider.token("ada", ""), provider.token("eve", ""));
    server.client(&ada).get("/v1/me").answer(200);
    server.client(&eve).get("/v1/me").refused(409, "TENANT_CAPACITY");
    server.client(&ada).get("/v1/me").answer(200);
    assert_eq!(listed(&root.in_tenant("acme"), PARTICIPANTS, 10).len(), 2);
    server.stop();
}
