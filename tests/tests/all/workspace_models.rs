//! What tenants set of their AI: the configuration, and the catalogue with what is enabled of it.

use std::time::Duration;

use scaigrid_tests::{Answer, Client, Place, Request, Server, eventually, on_both_databases};
use serde_json::{Value, json};

on_both_databases!(
    the_configuration_is_merged_and_its_key_masked,
    the_configuration_and_the_catalogue_say_the_same,
    the_default_model_stays_enabled,
    a_changed_configuration_is_not_overwritten_unseen,
    the_catalogue_shows_what_can_be_enabled,
    each_tenant_has_its_own,
    models_are_called_in_the_name_that_is_set,
);

const CONFIG: &str = "/v1/admin/ai-config";
pub(crate) const PARTICIPANTS: &str = "/v1/admin/participants";
/// A model whose slug has slashes.
pub(crate) const LONG: &str = "mistralai/voxtral/small-latest";
const KEY: &str = "sgk_0123456789ABCDEFGHIJ0123456789ABCDEFwxyz";

/// A tenant `acme` with an admin, and two models that it may enable.
pub(crate) fn settled(place: &Place) -> (Server, Client, Client) {
    let server = place.start();
    let root = server.admin();
    root.tenant("acme");
    let (_, key) = root.in_tenant("acme").user("boss@acme.example", &["tenant_admin"]);
    let backend = root.backend("echo", &json!({}));
    for slug in [LONG, "plain"] {
        root.global_model(slug, &[json!({"backend_id": backend})]);
    }
    let admin = server.client(&key);
    (server, root, admin)
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A list of the administration, page by page.
pub(crate) fn listed(client: &Client, path: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let joint = if path.contains('?') { '&' } else { '?' };
        let page = client.get(&format!("{path}{joint}limit={limit}{cursor}")).answer(200).json();
        let items = page["data"].as_array().unwrap();
        assert!(items.len() <= limit);
        all.extend(items.iter().cloned());
        assert_eq!(page["meta"]["has_more"], page["meta"]["next_cursor"].is_string());
        match page["meta"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

pub(crate) fn records(client: &Client, action: &str) -> Vec<Value> {
    client.pages(&format!("/v1/audit/events?action={action}"), "items")
}

/// What is wrong with a body, by the names of its fields.
pub(crate) fn wrong(request: &Request) -> Vec<String> {
    request.refused(422, "SW_VALIDATION_ERROR").fields()
}

pub(crate) fn etag(answer: &Answer) -> String {
    answer.header("etag").unwrap().to_owned()
}

fn the_configuration_is_merged_and_its_key_masked(place: &Place) {
    let (server, _, admin) = settled(place);
    let fresh = json!({"default_model": null, "enabled_models": ["echo"], "system_prompt_templates": [],
        "scaigrid_auth_mode": "per_user_exchange", "scaigrid_api_key": null});
    assert_eq!(admin.get(CONFIG).answer(200).data(), fresh);
    let templates = json!([{"name": "Friendly", "prompt": "You are a friendly assistant."}]);
    admin.put(CONFIG, &json!({"system_prompt_templates": templates, "scaigrid_api_key": KEY})).answer(200);
    let set = admin.put(CONFIG, &json!({"scaigrid_auth_mode": "service_token"})).answer(200);
    let expected = json!({"default_model": null, "enabled_models": ["echo"], "system_prompt_templates": templates,
        "scaigrid_auth_mode": "service_token", "scaigrid_api_key": "sgk_…wxyz"});
    assert_eq!(set.data(), expected);
    let shown = admin.get(CONFIG).answer(200);
    assert_eq!((shown.data(), etag(&shown)), (expected.clone(), etag(&set)));
    admin.get(CONFIG).header("If-None-Match", &etag(&set)).answer(304);

    // Written back as it is shown nothing is different, and nothing is recorded.
    assert_eq!(records(&admin, "ai_config.update").len(), 2);
    let same = admin.put(CONFIG, &expected).answer(200);
    assert_eq!((same.data(), etag(&same)), (expected, etag(&set)));
    assert_eq!(admin.put(CONFIG, &json!({})).answer(200).header("etag"), set.header("etag"));
    let told = records(&admin, "ai_config.update");
    assert_eq!(told.len(), 2);
    assert_eq!(told[1]["changes"]["scaigrid_api_key"], json!({"before": null, "after": "***"}));
    assert_eq!(told[1]["resource_type"], "ai_config");
    let log = admin.get("/v1/audit/events?limit=1000").answer(200).text();
    assert!(!log.contains("wxyz"), "{log}");

    // Another key that looks the same is another one.
    let alike = "sgk_abcdefghijABCDEFGHIJ0123456789ABCDEFwxyz";
    let other = admin.put(CONFIG, &json!({"scaigrid_api_key": alike})).answer(200);
    assert_eq!(other.data()["scaigrid_api_key"], "sgk_…wxyz");
    assert_ne!(etag(&other), etag(&set));
    for bad in ["sgk_short", "***", "sgk_…abcd", "", &KEY.replace('0', "-")] {
        assert_eq!(
            wrong(&admin.put(CONFIG, &json!({"scaigrid_api_key": bad}))),
            ["scaigrid_api_key"],
            "{bad}"
        );
    }
    let gone = admin.put(CONFIG, &json!({"scaigrid_api_key": null})).answer(200).data();
    assert_eq!(
        (&gone["scaigrid_api_key"], &gone["scaigrid_auth_mode"]),
        (&Value::Null, &json!("service_token"))
    );
    assert_eq!(wrong(&admin.put(CONFIG, &json!({"scaigrid_api_key": "sgk_…wxyz"}))), ["scaigrid_api_key"]);

    for (body, field) in [
        (json!({"scaigrid_auth_mode": "both"}), "scaigrid_auth_mode"),
        (
            json!({"system_prompt_templates": [{"name": " ", "prompt": ""}]}),
            "system_prompt_templates[0].name",
        ),
        (
            json!({"system_prompt_templates": [{"name": "a", "prompt": ""}, {"name": "a ", "prompt": "x"}]}),
            "system_prompt_templates[1].name",
        ),
        (
            json!({"system_prompt_templates": [{"name": "a", "prompt": "x".repeat(32 * 1024 + 1)}]}),
            "system_prompt_templates[0].prompt",
        ),
        (
            json!({"system_prompt_templates": (0..51).map(|n| json!({"name": n.to_string(), "prompt": ""}))
                .collect::<Vec<_>>()}),
            "system_prompt_templates",
        ),
        (json!({"models": []}), "models"),
    ] {
        assert_eq!(wrong(&admin.put(CONFIG, &body)), [field]);
    }
    let (_, user) = admin.user("ada@acme.example", &["tenant_user"]);
    let user = server.client(&user);
    user.get(CONFIG).refused(403, "SW_AUTH_INSUFFICIENT_PERMISSION");
    user.put(CONFIG, &json!({"models": []})).refused(403, "SW_AUTH_INSUFFICIENT_PERMISSION");
    server.anyone().get(CONFIG).refused(401, "SW_AUTH_INVALID_TOKEN");
    assert!(!server.log().contains("wxyz"));
    server.stop();
}

fn the_configuration_and_the_catalogue_say_the_same(place: &Place) {
    let (server, _, admin) = settled(place);
    let enabled = || admin.get(CONFIG).answer(200).data()["enabled_models"].clone();
    admin.post(&format!("/v1/admin/models/{LONG}/enable")).answer(200);
    assert_eq!(enabled(), json!(["echo", LONG]));
    admin.put(CONFIG, &json!({"enabled_models": ["plain", LONG, "plain"]})).answer(200);
    assert_eq!(enabled(), json!([LONG, "plain"]));
    let catalog = listed(&admin, "/v1/admin/models/catalog", 2);
    let states: Vec<_> =
        catalog.iter().map(|entry| (text(&entry["slug"]), entry["enabled"] == true)).collect();
    assert_eq!(states, [("echo".to_owned(), false), (LONG.to_owned(), true), ("plain".to_owned(), true)]);
    // A record for each model that was switched, and none for the configuration, which says what it said.
    assert_eq!((records(&admin, "model.enable").len(), records(&admin, "model.disable").len()), (2, 1));
    assert!(records(&admin, "ai_config.update").is_empty());
    let refused = admin.put(CONFIG, &json!({"enabled_models": ["echo", "nobody/has-it", "a b", "plain"]}));
    assert_eq!(wrong(&refused), ["enabled_models[2]"]);
    let refused =
        admin.put(CONFIG, &json!({"enabled_models": ["echo", "nobody/has-it", "plain", "nor/this"]}));
    assert_eq!(wrong(&refused), ["enabled_models[1]", "enabled_models[3]"]);
    assert_eq!(enabled(), json!([LONG, "plain"]), "all of it or nothing");
    // What is asked for takes effect for those who call.
    let (_, user) = admin.user("ada@acme.example", &["tenant_user"]);
    let user = server.client(&user);
    user.get("/v1/models/echo").refused(404, "MODEL_NOT_FOUND");
    user.get("/v1/models/plain").answer(200);
    admin.put(CONFIG, &json!({"enabled_models": []})).answer(200);
    user.get("/v1/models/plain").refused(404, "MODEL_NOT_FOUND");
    server.stop();
}

fn the_default_model_stays_enabled(place: &Place) {
    let (server, root, admin) = settled(place);
    assert_eq!(wrong(&admin.put(CONFIG, &json!({"default_model": "plain"}))), ["default_model"]);
    assert_eq!(wrong(&admin.put(CONFIG, &json!({"default_model": "no/such"}))), ["default_model"]);
    assert_eq!(wrong(&admin.put(CONFIG, &json!({"default_model": 1}))), ["default_model"]);
    // Both at once.
    let both = json!({"default_model": "plain", "enabled_models": ["plain"]});
    assert_eq!(admin.put(CONFIG, &both).answer(200).data()["default_model"], "plain");
    admin.post("/v1/admin/models/plain/disable").refused(409, "SW_CONFLICT");
    admin.delete("/v1/model-access/plain").refused(409, "CONFLICT");
    admin.put(CONFIG, &json!({"enabled_models": ["echo"]})).refused(409, "SW_CONFLICT");
    let refused = admin.put(CONFIG, &json!({"enabled_models": ["echo"], "default_model": "plain"}));
    assert_eq!(wrong(&refused), ["default_model"]);
    assert_eq!(admin.get(CONFIG).answer(200).data()["enabled_models"], json!(["plain"]));
    // Another default frees it.
    let next = json!({"enabled_models": ["echo"], "default_model": "echo"});
    admin.put(CONFIG, &next).answer(200);
    admin.delete("/v1/model-access/plain").answer(204);
    admin.put(CONFIG, &json!({"default_model": null})).answer(200);
    admin.post("/v1/admin/models/echo/disable").answer(200);
    // One that is no model for chat is none to begin with.
    let backend = root.backend("echo", &json!({}));
    let body = json!({"slug": "vectors", "display_name": "V", "modality": "embedding", "global": true,
        "backends": [{"backend_id": backend}]});
    root.post("/v1/models").json(&body).answer(201);
    let refused = admin.put(CONFIG, &json!({"enabled_models": ["vectors"], "default_model": "vectors"}));
    assert_eq!(wrong(&refused), ["default_model"]);
    // A default that the platform has taken away does not stand in the way of other changes.
    admin.put(CONFIG, &both).answer(200);
    root.put("/v1/models/plain", &json!({"global": false})).answer(200);
    let told = admin.put(CONFIG, &json!({"enabled_models": ["echo"]})).answer(200).data();
    assert_eq!((&told["default_model"], &told["enabled_models"]), (&json!("plain"), &json!(["echo"])));
    server.stop();
}

fn a_changed_configuration_is_not_overwritten_unseen(place: &Place) {
    let (server, _, admin) = settled(place);
    let first = etag(&admin.get(CONFIG).answer(200));
    let mode = |mode: &str| admin.put(CONFIG, &json!({"scaigrid_auth_mode": mode}));
    let second = etag(&mode("service_token").header("If-Match", &first).answer(200));
    assert_ne!(first, second);
    mode("per_user_exchange").header("If-Match", &first).refused(412, "SW_PRECONDITION_FAILED");
    // What is enabled elsewhere is a change of what is shown.
    admin.enable_model("plain");
    mode("per_user_exchange").header("If-Match", &second).refused(412, "SW_PRECONDITION_FAILED");
    mode("per_user_exchange").header("If-Match", "*").answer(200);
    // Of many who have seen the same one gets through.
    let seen = etag(&admin.get(CONFIG).answer(200));
    let rivals: Vec<_> = (0..6)
        .map(|n| {
            let body = json!({"system_prompt_templates": [{"name": format!("of {n}"), "prompt": "x"}]});
            let request = admin.put(CONFIG, &body).header("If-Match", &seen);
            std::thread::spawn(move || request.exchange())
        })
        .collect();
    let mut statuses: Vec<u16> = rivals.into_iter().map(|rival| rival.join().unwrap().status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412]);
    server.stop();
}

fn the_catalogue_shows_what_can_be_enabled(place: &Place) {
    let (server, root, admin) = settled(place);
    let backend = root.backend("echo", &json!({}));
    let hidden = json!({"slug": "hidden", "display_name": "H", "modality": "chat", "backends": [{"backend_id": backend}]});
    root.post("/v1/models").json(&hidden).answer(201);
    let catalog = listed(&admin, "/v1/admin/models/catalog", 1);
    let slugs: Vec<String> = catalog.iter().map(|entry| text(&entry["slug"])).collect();
    assert_eq!(slugs, ["echo", LONG, "plain"]);
    for (name, value) in [
        ("enabled", json!(false)),
        ("participant", Value::Null),
        ("modality", json!("chat")),
        ("health_status", json!("healthy")),
        ("display_name", json!("plain")),
    ] {
        assert_eq!(catalog[2][name], value, "{name}");
    }
    assert!(catalog[2]["backends"].is_null());
    assert!(listed(&admin, "/v1/admin/models/catalog?modality=image", 10).is_empty());
    admin.get("/v1/admin/models/catalog?modality=smell").refused(422, "SW_VALIDATION_ERROR");

    // Slashes stand as they are, or encoded.
    let path = |slug: &str, verb: &str| format!("/v1/admin/models/{slug}/{verb}");
    let entry = admin.post(&path(LONG, "enable")).answer(200).data();
    assert_eq!(
        (&entry["slug"], &entry["enabled"], &entry["participant"]),
        (&json!(LONG), &json!(true), &Value::Null)
    );
    let encoded = LONG.replace('/', "%2F");
    assert_eq!(admin.post(&path(&encoded, "enable")).answer(200).data(), entry, "once is enough");
    assert_eq!(admin.post(&path(&encoded, "disable")).answer(200).data()["enabled"], false);
    assert_eq!(admin.post(&path(LONG, "disable")).answer(200).data()["enabled"], false);
    assert_eq!(records(&admin, "model.enable").len(), 1);
    assert_eq!(records(&admin, "model.disable").len(), 1);
    for verb in ["enable", "disable"] {
        admin.post(&path("hidden", verb)).refused(404, "SW_MODEL_NOT_FOUND");
        admin.post(&path("no/such/model", verb)).refused(404, "SW_MODEL_NOT_FOUND");
        admin.post(&path("a b", verb).replace(' ', "%20")).refused(404, "SW_MODEL_NOT_FOUND");
    }
    admin.put(&path("hidden", "participant"), &json!({"nonsense": 1})).refused(404, "SW_MODEL_NOT_FOUND");
    let (_, user) = admin.user("ada@acme.example", &["tenant_user"]);
    let user = server.client(&user);
    user.get("/v1/admin/models/catalog").refused(403, "SW_AUTH_INSUFFICIENT_PERMISSION");
    user.post(&path("plain", "enable")).refused(403, "SW_AUTH_INSUFFICIENT_PERMISSION");
    server.stop();
}

fn each_tenant_has_its_own(place: &Place) {
    let (server, root, admin) = settled(place);
    root.tenant("other");
    let (_, key) = root.in_tenant("other").user("boss@other.example", &["tenant_admin"]);
    let other = server.client(&key);
    let body = json!({"local_id": "helper", "model": "echo", "display_name": "H"});
    let ai = admin.post(&format!("{PARTICIPANTS}/model")).json(&body).answer(201).data();
    let path = format!("{PARTICIPANTS}/{}", text(&ai["id"]));
    other.get(&path).refused(404, "SW_PARTICIPANT_NOT_FOUND");
    other.put(&path, &json!({"enabled": false})).refused(404, "SW_PARTICIPANT_NOT_FOUND");
    assert_eq!(listed(&other, PARTICIPANTS, 10).len(), 1, "only the admin");
    // The name is free there.
    other.post(&format!("{PARTICIPANTS}/model")).json(&body).answer(201);
    admin.put(CONFIG, &json!({"scaigrid_api_key": KEY, "enabled_models": []})).answer(200);
    let theirs = other.get(CONFIG).answer(200).data();
    assert_eq!((&theirs["scaigrid_api_key"], &theirs["enabled_models"]), (&Value::Null, &json!(["echo"])));
    assert!(records(&other, "ai_config.update").is_empty());
    // Who may act in both does.
    assert_eq!(root.in_tenant("acme").get(CONFIG).answer(200).data()["scaigrid_api_key"], "sgk_…wxyz");
    server.stop();
}

fn models_are_called_in_the_name_that_is_set(place: &Place) {
    let (server, _, admin) = settled(place);
    let (ada, key) = admin.user("ada@acme.example", &["tenant_user"]);
    let (service, token) = admin.user("service@acme.example", &["tenant_user"]);
    let user = server.client(&key);
    admin.put("/v1/admin/models/echo/participant", &json!({})).answer(201);
    let room = json!({"name": "Atelier", "participants": ["echo"]});
    let room = text(&user.post("/v1/rooms").json(&room).answer(201).data()["id"]);
    let mut asked = 0;
    let mut in_whose_name = |setting: Value| {
        admin.put(CONFIG, &setting).answer(200);
        asked += 1;
        let said = json!({"text": format!("number {asked}")});
        user.post(&format!("/v1/rooms/{room}/messages")).json(&said).answer(201);
        let all = eventually("the model was called", Duration::from_secs(30), || {
            Some(admin.usage()).filter(|all| all.len() == asked)
        });
        all[0]["user_id"].clone()
    };
    assert_eq!(
        in_whose_name(json!({"scaigrid_api_key": token})),
        json!(ada),
        "of whoever asks, unless told otherwise"
    );
    assert_eq!(in_whose_name(json!({"scaigrid_auth_mode": "service_token"})), json!(service));
    // A key that is no longer good, or of another place, is nobody's.
    admin.put(&format!("/v1/users/{service}"), &json!({"status": "suspended"})).answer(200);
    assert_eq!(in_whose_name(json!({})), Value::Null);
    let root_key = place.admin_key();
    assert_eq!(in_whose_name(json!({"scaigrid_api_key": root_key})), Value::Null);
    assert_eq!(in_whose_name(json!({"scaigrid_api_key": null})), Value::Null);
    assert_eq!(in_whose_name(json!({"scaigrid_auth_mode": "per_user_exchange"})), json!(ada));
    server.stop();
}
