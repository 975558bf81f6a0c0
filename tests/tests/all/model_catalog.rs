//! The catalogue of models: who makes them, who sees them, and what becomes of their secrets.

use scaigrid_tests::{Client, ModelServer, Place, ask, on_both_databases};
use serde_json::{Value, json};

on_both_databases!(
    echo_is_there_from_the_first_start,
    a_model_is_shown_by_groups_and_enabled_by_tenants,
    each_level_has_models_of_its_own,
    backends_keep_their_secrets,
    models_are_changed_like_everything_else,
    what_may_not_be_called_cannot_be_kept,
);

const CHAT: &str = "/v1/inference/chat";

fn slugs(client: &Client, path: &str) -> Vec<String> {
    let models = client.pages(path, "items");
    models.iter().map(|model| model["slug"].as_str().unwrap().to_owned()).collect()
}

fn echo_is_there_from_the_first_start(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let echo = root.get("/v1/models/echo").answer(200).data();
    assert_eq!(
        (&echo["global"], &echo["enabled"], &echo["owner"]),
        (&json!(true), &json!(true), &json!("platform"))
    );
    assert_eq!((&echo["health_status"], &echo["total_backend_count"]), (&json!("healthy"), &json!(1)));
    let tenant = root.tenant("acme");
    let (_, user) = root.in_tenant(&tenant).user("ada@acme.example", &["tenant_user"]);
    let (_, admin) = root.in_tenant(&tenant).user("boss@acme.example", &["tenant_admin"]);
    let (user, admin) = (server.client(&user), server.client(&admin));
    assert_eq!(slugs(&user, "/v1/models"), ["echo"]);
    assert!(
        user.get("/v1/models/echo").answer(200).data()["backends"].is_null(),
        "that is for those who manage"
    );
    let answer = user.post(CHAT).json(&ask("echo", "Hello there")).answer(200).data();
    assert_eq!(answer["choices"][0]["message"], json!({"role": "assistant", "content": "Hello there"}));
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["model"], "echo");

    // A tenant that does not want it does not have it, and can have it again.
    admin.delete("/v1/model-access/echo").answer(204);
    assert!(slugs(&user, "/v1/models").is_empty());
    user.get("/v1/models/echo").refused(404, "MODEL_NOT_FOUND");
    user.post(CHAT).json(&ask("echo", "x")).refused(404, "MODEL_NOT_FOUND");
    assert_eq!(admin.get("/v1/models/echo").answer(200).data()["enabled"], false);
    root.post(CHAT).json(&ask("echo", "x")).answer(200);
    user.request("PUT", "/v1/model-access/echo").refused(403, "AUTHZ_PERMISSION_DENIED");
    admin.enable_model("echo");
    user.post(CHAT).json(&ask("echo", "x")).answer(200);
    let log = admin.pages("/v1/audit/events", "items");
    let actions: Vec<&str> = log.iter().map(|record| record["action"].as_str().unwrap()).collect();
    assert!(actions.contains(&"model.disable") && actions.contains(&"model.enable"), "{actions:?}");

    // What was removed stays removed.
    let all = root.get("/v1/models/echo").answer(200).data();
    let backend = all["backends"][0]["backend_id"].as_str().unwrap().to_owned();
    root.delete("/v1/models/echo").refused(409, "CONFLICT");
    root.delete(&format!("/v1/backends/{backend}")).answer(204);
    root.delete("/v1/models/echo").answer(204);
    server.stop();
    let server = place.start();
    server.admin().get("/v1/models/echo").refused(404, "MODEL_NOT_FOUND");
    server.stop();
}

fn a_model_is_shown_by_groups_and_enabled_by_tenants(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let backend = root.backend("echo", &json!({"script": "from the script"}));
    let body = json!({"slug": "vendor/family/model-1", "display_name": "One", "modality": "chat",
        "input_price_per_mtok": 2.5, "output_price_per_mtok": "10.00", "backends": [{"backend_id": backend}]});
    let made = root.post("/v1/models").json(&body).answer(201);
    assert_eq!(made.header("location"), Some("/v1/models/vendor/family/model-1"));
    let made = made.data();
    assert_eq!(
        (&made["input_price_per_mtok"], &made["output_price_per_mtok"]),
        (&json!("2.5"), &json!("10"))
    );
    assert_eq!(made["backends"], json!([{"backend_id": backend, "priority": 100, "weight": 1}]));
    for path in ["vendor/family/model-1", "vendor%2Ffamily%2fmodel-1", made["id"].as_str().unwrap()] {
        assert_eq!(root.get(&format!("/v1/models/{path}")).answer(200).data(), made);
    }

    let (one, two) = (root.tenant("one"), root.tenant("two"));
    let admin = |tenant: &str| {
        let (_, key) = root.in_tenant(tenant).user(&format!("{tenant}@x.example"), &["tenant_admin"]);
        server.client(&key)
    };
    let (first, second) = (admin(&one), admin(&two));
    let access = "/v1/model-access/vendor/family/model-1";
    // Nobody is shown it yet.
    first.request("PUT", access).refused(404, "MODEL_NOT_FOUND");
    let group = json!({"name": "For one", "scope": "tenant", "models": ["vendor/family/model-1"]});
    root.post("/v1/model-groups").json(&group).refused(422, "VALIDATION_ERROR");
    root.in_tenant(&one).post("/v1/model-groups").json(&group).refused(422, "VALIDATION_ERROR");
    let group = json!({"name": "For all", "scope": "global"});
    let group = root.post("/v1/model-groups").json(&group).answer(201).data();
    let group = format!("/v1/model-groups/{}", group["id"].as_str().unwrap());
    let held = root.request("PUT", &format!("{group}/models/vendor/family/model-1")).answer(200).data();
    assert_eq!(held["models"], json!(["vendor/family/model-1"]));
    assert_eq!((&held["slug"], &held["scope"]), (&json!("for-all"), &json!("global")));
    first.post(CHAT).json(&ask("vendor/family/model-1", "x")).refused(404, "MODEL_NOT_FOUND");
    assert_eq!(slugs(&first, "/v1/model-access"), ["echo", "vendor/family/model-1"]);
    first.enable_model("vendor/family/model-1");
    assert_eq!(slugs(&first, "/v1/models"), ["echo", "vendor/family/model-1"]);
    assert_eq!(slugs(&second, "/v1/models"), ["echo"]);
    let answer = first.post(CHAT).json(&ask("vendor/family/model-1", "x")).answer(200).data();
    assert_eq!(answer["choices"][0]["message"]["content"], "from the script");
    second.post(CHAT).json(&ask("vendor/family/model-1", "x")).refused(404, "MODEL_NOT_FOUND");
    assert_eq!(slugs(&first, "/v1/models?modality=embedding"), [""; 0]);

    // Taken out of the group it is gone for them, whatever they have enabled.
    root.delete(&format!("{group}/models/vendor%2Ffamily%2Fmodel-1")).answer(204);
    root.delete(&format!("{group}/models/vendor/family/model-1")).refused(404, "MODEL_NOT_FOUND");
    first.post(CHAT).json(&ask("vendor/family/model-1", "x")).refused(404, "MODEL_NOT_FOUND");
    root.put("/v1/models/vendor/family/model-1", &json!({"global": true})).answer(200);
    first.post(CHAT).json(&ask("vendor/family/model-1", "x")).answer(200);
    root.delete(&group).answer(204);
    root.get(&group).refused(404, "MODEL_GROUP_NOT_FOUND");
    server.stop();
}

fn each_level_has_models_of_its_own(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let partner = root.post("/v1/admin/partners").json(&json!({"slug": "p", "name": "P"})).answer(201).data();
    let tenant = json!({"slug": "mine", "name": "M", "partner_id": partner["id"]});
    root.post("/v1/admin/tenants").json(&tenant).answer(201);
    let (mine, at_partner) = (root.in_tenant("mine"), root.with("X-Scaigrid-Partner", "p"));
    let backend = |client: &Client| client.backend("echo", &json!({}));
    let model = |slug: &str, backend: &str| json!({"slug": slug, "display_name": "X", "modality": "chat", "backends": [{"backend_id": backend}]});
    let (own, theirs) = (backend(&mine), backend(&at_partner));
    for (client, slug) in [
        (&root, "tenant/mine/x"),
        (&root, "scaicore/mine/x"),
        (&mine, "x"),
        (&mine, "tenant/default/x"),
        (&at_partner, "tenant/mine/x"),
        (&mine, "a b"),
    ] {
        let refused = client.post("/v1/models").json(&model(slug, &own)).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), ["slug"], "{refused}");
    }
    // A backend of another level is none here.
    let refused =
        mine.post("/v1/models").json(&model("tenant/mine/x", &theirs)).refused(422, "VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["backends[0].backend_id"]);
    mine.get(&format!("/v1/backends/{theirs}")).refused(404, "BACKEND_NOT_FOUND");

    mine.post("/v1/models").json(&model("tenant/mine/x", &own)).answer(201);
    mine.post("/v1/models").json(&model("tenant/mine/x", &own)).refused(409, "SLUG_CONFLICT");
    at_partner.post("/v1/models").json(&model("partner/p/y", &theirs)).answer(201);
    let (_, user) = mine.user("ada@mine.example", &["tenant_user"]);
    let user = server.client(&user);
    // Its own is enabled at once; what the partner has is to be enabled.
    assert_eq!(slugs(&user, "/v1/models"), ["echo", "tenant/mine/x"]);
    user.post(CHAT).json(&ask("tenant/mine/x", "x")).answer(200);
    mine.enable_model("partner/p/y");
    user.post(CHAT).json(&ask("partner/p/y", "x")).answer(200);
    root.post(CHAT).json(&ask("tenant/mine/x", "x")).refused(404, "MODEL_NOT_FOUND");
    root.in_tenant("default").get("/v1/models/tenant/mine/x").refused(404, "MODEL_NOT_FOUND");

    // What is seen of another level cannot be changed from here.
    mine.put("/v1/models/echo", &json!({"display_name": "Mine"})).refused(403, "AUTHZ_PERMISSION_DENIED");
    mine.delete("/v1/models/partner/p/y").refused(403, "AUTHZ_PERMISSION_DENIED");
    let refused = mine
        .post("/v1/models")
        .json(&json!({"slug": "tenant/mine/z", "display_name": "Z", "modality": "chat",
        "global": true}));
    assert_eq!(refused.refused(422, "VALIDATION_ERROR").fields(), ["global"]);
    user.post("/v1/models").json(&model("tenant/mine/z", &own)).refused(403, "AUTHZ_PERMISSION_DENIED");
    assert_eq!(slugs(&at_partner, "/v1/models"), ["echo", "partner/p/y"]);
    assert_eq!(slugs(&root, "/v1/models"), ["echo", "partner/p/y", "tenant/mine/x"]);
    server.stop();
}

fn backends_keep_their_secrets(place: &Place) {
    let upstream = ModelServer::start();
    let server = place.launch().set("SCAIGRID_EGRESS_ALLOW", &upstream.address().to_string()).start();
    let root = server.admin();
    let config = json!({"base_url": upstream.base_url(), "api_key": "sk-very-secret", "headers": {"X-Org": "org-secret"}});
    let id = root.backend("openai", &config);
    let path = format!("/v1/backends/{id}");
    let shown = root.get(&path).answer(200);
    assert!(!shown.text().contains("secret"), "{shown}");
    let etag = shown.header("etag").unwrap().to_owned();
    assert_eq!(shown.data()["connection_config"]["api_key"], "***");
    root.global_model("m", &[json!({"backend_id": id})]);
    root.enable_model("m");
    let call = |expected: &str| {
        root.post(CHAT).json(&ask("m", "x")).answer(200);
        let asked = upstream.asked().pop().unwrap();
        assert_eq!(asked.path, "/v1/chat/completions");
        assert_eq!(asked.headers["authorization"], format!("Bearer {expected}"));
        assert_eq!(asked.headers["x-org"], "org-secret");
        assert_eq!(asked.body["model"], "upstream");
    };
    call("sk-very-secret");
    // The mask keeps what is there, for the same server only.
    let mut kept = shown.data()["connection_config"].clone();
    kept["timeout_ms"] = 5000.into();
    root.put(&path, &json!({"connection_config": kept})).header("If-Match", &etag).answer(200);
    call("sk-very-secret");
    root.put(&path, &json!({"name": "C"})).header("If-Match", &etag).refused(412, "PRECONDITION_FAILED");
    kept["base_url"] = "https://elsewhere.invalid/v1".into();
    let refused = root.put(&path, &json!({"connection_config": kept})).refused(422, "VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["connection_config.api_key"]);
    let other =
        json!({"base_url": upstream.base_url(), "api_key": "sk-other-secret", "headers": {"X-Org": "***"}});
    root.put(&path, &json!({"connection_config": other})).answer(200);
    call("sk-other-secret");
    let health = root.get(&format!("{path}/health")).answer(200).data();
    assert_eq!(health, json!({"id": id, "status": "healthy"}));

    let log = root.get("/v1/audit/events?limit=1000").answer(200);
    assert!(log.text().contains("backend.update") && !log.text().contains("-secret"), "{log}");
    assert!(!server.log().contains("-secret"));
    for (body, field) in [
        (json!({"name": "A", "provider_type": "scaicore", "model": "m"}), "provider_type"),
        (json!({"name": "A", "provider_type": "magic", "model": "m"}), "provider_type"),
        (json!({"name": "A", "provider_type": "openai", "model": "m"}), "connection_config.base_url"),
        (
            json!({"name": "A", "provider_type": "echo", "model": "m", "connection_config": {"x": 1}}),
            "connection_config.x",
        ),
        (json!({"name": "A", "provider_type": "echo", "model": "m", "key": 1}), "key"),
    ] {
        let refused = root.post("/v1/backends").json(&body).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), [field], "{refused}");
    }
    server.stop();
    // What lies in the database lies sealed, and opens after a restart.
    let server = place.launch().set("SCAIGRID_EGRESS_ALLOW", &upstream.address().to_string()).start();
    let root = server.admin();
    root.post(CHAT).json(&ask("m", "x")).answer(200);
    assert_eq!(upstream.asked().pop().unwrap().headers["authorization"], "Bearer sk-other-secret");
    server.stop();
}

fn models_are_changed_like_everything_else(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let backend = root.backend("echo", &json!({}));
    let made = root.global_model("m", &[json!({"backend_id": backend, "priority": 3, "weight": 7})]);
    assert_eq!(made["backends"][0]["priority"], 3);
    let etag = root.get("/v1/models/m").answer(200).header("etag").unwrap().to_owned();
    let change = json!({"display_name": "New", "input_price_per_mtok": null, "status": "deprecated"});
    let changed = root.put("/v1/models/m", &change).header("If-Match", &etag).answer(200);
    assert_eq!(changed.data()["input_price_per_mtok"], Value::Null);
    assert_eq!(changed.data()["output_price_per_mtok"], "10");
    root.put("/v1/models/m", &change).header("If-Match", &etag).refused(412, "PRECONDITION_FAILED");
    // A change that changes nothing is none.
    let before = root.pages("/v1/audit/events", "items").len();
    let again = root.put("/v1/models/m", &change).answer(200);
    assert_eq!(again.header("etag"), changed.header("etag"));
    assert_eq!(root.pages("/v1/audit/events", "items").len(), before);
    assert_eq!(slugs(&root, "/v1/models?status=deprecated"), ["m"]);
    for (change, field) in [
        (json!({"slug": "n"}), "slug"),
        (json!({"status": "gone"}), "status"),
        (json!({"input_price_per_mtok": "-1"}), "input_price_per_mtok"),
        (json!({"default_params": {"model": "x"}}), "default_params"),
        (json!({"backends": [{"backend_id": backend}, {"backend_id": backend}]}), "backends[1].backend_id"),
        (json!({"backends": [{"backend_id": backend, "weight": 0}]}), "backends[0].weight"),
    ] {
        let refused = root.put("/v1/models/m", &change).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), [field], "{refused}");
    }
    root.delete("/v1/models/m").refused(409, "CONFLICT");
    root.put("/v1/models/m", &json!({"backends": []})).answer(200);
    root.post(CHAT).json(&ask("m", "x")).refused(404, "MODEL_NOT_FOUND");
    root.enable_model("m");
    root.post(CHAT).json(&ask("m", "x")).refused(503, "MODEL_UNAVAILABLE");
    root.delete("/v1/models/m").answer(204);
    root.get("/v1/models/m").refused(404, "MODEL_NOT_FOUND");
    server.stop();
}

fn what_may_not_be_called_cannot_be_kept(place: &Place) {
    let upstream = ModelServer::start();
    let server = place.start();
    let root = server.admin();
    let backend = |url: &str| json!({"name": "B", "provider_type": "openai", "model": "m", "connection_config": {"base_url": url}});
    for url in
        [upstream.base_url().as_str(), "https://127.0.0.1/v1", "http://example.org/v1", "https://10.0.0.1"]
    {
        let refused = root.post("/v1/backends").json(&backend(url)).refused(422, "EGRESS_DENIED");
        assert_eq!(refused.fields(), ["connection_config.base_url"]);
    }
    // What was allowed once and is not any more is not called.
    server.stop();
    let server = place.launch().set("SCAIGRID_EGRESS_ALLOW", &upstream.address().to_string()).start();
    let id = server.admin().backend("openai", &json!({"base_url": upstream.base_url()}));
    server.admin().global_model("m", &[json!({"backend_id": id})]);
    server.admin().enable_model("m");
    server.stop();
    let server = place.start();
    let refused = server.admin().post(CHAT).json(&ask("m", "x")).refused(502, "BACKEND_ERROR");
    assert!(!refused.text().contains(&upstream.address().port().to_string()), "{refused}");
    assert!(upstream.asked().is_empty());
    server.stop();
}
