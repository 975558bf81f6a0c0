//! What a tenant sets of its prompt studio and of the processing of its notes, and what that does.

use std::time::Duration;

use scaigrid_tests::{Client, ModelServer, Place, Server, Told, eventually, on_both_databases};
use serde_json::{Value, json};

on_both_databases!(
    the_studio_is_switched_by_the_tenants_flag,
    the_studio_is_open_to_whom_it_names,
    allow_lists_name_what_there_is,
    settings_are_changed_where_they_were_read,
    notes_are_processed_offline,
    a_model_is_asked_for_what_is_switched_on,
    note_processing_needs_something_to_ask_for_and_somebody_to_ask,
    settings_are_of_one_tenant,
);

const STUDIO: &str = "/v1/admin/prompt-studio";
const ACCESS: &str = "/v1/prompt-studio/access";
const NOTES: &str = "/v1/admin/note-processing";
const PROCESS: &str = "/v1/notes/process";

/// A tenant's admin.
fn boss(server: &Server, tenant: &str) -> Client {
    let (_, key) = server.admin().in_tenant(tenant).user("boss@acme.example", &["tenant_admin"]);
    server.client(&key)
}

fn member(server: &Server, boss: &Client, email: &str) -> (String, Client) {
    let (id, key) = boss.user(email, &["tenant_user"]);
    (id, server.client(&key))
}

fn access(client: &Client) -> (bool, String) {
    let access = client.get(ACCESS).answer(200).data();
    (access["allowed"].as_bool().unwrap(), access["reason"].as_str().unwrap().to_owned())
}

fn open() -> (bool, String) {
    (true, "allowed".to_owned())
}

fn shut(reason: &str) -> (bool, String) {
    (false, reason.to_owned())
}

/// The audit records of an action, newest first.
fn records(boss: &Client, action: &str) -> Vec<Value> {
    let all = boss.pages("/v1/audit/events", "items");
    all.into_iter().filter(|record| record["action"] == action).collect()
}

fn the_studio_is_switched_by_the_tenants_flag(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let tenant = root.tenant("acme");
    let path = format!("/v1/admin/tenants/{tenant}");
    root.put(&path, &json!({"features": {"beta": {"enabled": true}, "prompt_studio": {"limit": 3}}}))
        .answer(200);
    let boss = boss(&server, &tenant);
    let (_, ada) = member(&server, &boss, "ada@acme.example");
    let at_first = json!({"enabled": false, "allowed_roles": [], "allowed_groups": [], "allowed_users": []});
    assert_eq!(boss.get(STUDIO).answer(200).data(), at_first);
    assert_eq!((access(&ada), access(&boss)), (shut("disabled"), shut("disabled")));

    let before = root.get(&path).answer(200);
    let on = boss.put(STUDIO, &json!({"enabled": true})).answer(200).data();
    assert_eq!(on["enabled"], true);
    assert_eq!((access(&ada), access(&boss)), (open(), open()));
    // One truth: the flag. The other flags stay, and whoever changes the tenant notices.
    let flags = json!({"beta": {"enabled": true}, "prompt_studio": {"enabled": true, "limit": 3}});
    assert_eq!(root.get(&path).answer(200).data()["features"], flags);
    let stale = root.put(&path, &json!({"features": {}})).header("If-Match", before.header("etag").unwrap());
    stale.refused(412, "SW_PRECONDITION_FAILED");
    root.put(&path, &json!({"features": {}})).answer(200);
    assert_eq!(boss.get(STUDIO).answer(200).data(), at_first);
    assert_eq!(access(&boss), shut("disabled"));

    let written = records(&boss, "prompt_studio.update");
    assert_eq!(written.len(), 1, "{written:?}");
    assert_eq!(written[0]["changes"], json!({"enabled": {"before": false, "after": true}}));
    // A change that changes nothing writes none.
    boss.put(STUDIO, &json!({"enabled": false, "allowed_users": []})).answer(200);
    assert_eq!(records(&boss, "prompt_studio.update").len(), 1);
    ada.get(STUDIO).refused(403, "SW_AUTH_INSUFFICIENT_PERMISSION");
    ada.put(STUDIO, &json!({"enabled": true})).refused(403, "SW_AUTH_INSUFFICIENT_PERMISSION");
    let odd = boss.put(STUDIO, &json!({"enable": true})).refused(422, "SW_VALIDATION_ERROR");
    assert_eq!(odd.fields(), ["enable"]);
    let (_, key) = boss.user("eve@acme.example", &["tenant_viewer"]);
    server.client(&key).get(ACCESS).refused(403, "AUTHZ_PERMISSION_DENIED");
    server.stop();
}

fn the_studio_is_open_to_whom_it_names(place: &Place) {
    let server = place.start();
    let tenant = server.admin().tenant("acme");
    let boss = boss(&server, &tenant);
    let (ada_id, ada) = member(&server, &boss, "ada@acme.example");
    let (bob_id, bob) = member(&server, &boss, "bob@acme.example");
    let group = json!({"name": "Prompt writers", "members": [ada_id]});
    let group = boss.post("/v1/groups").json(&group).answer(201).data()["id"].clone();
    let role = json!({"name": "Tinkerer", "permissions": ["models:list"]});
    let role = boss.post("/v1/iam/custom-roles").json(&role).answer(201).data()["id"].clone();

    let by_group = boss.put(STUDIO, &json!({"enabled": true, "allowed_groups": ["prompt-writers"]}));
    let shown = by_group.answer(200).data();
    assert_eq!(shown["allowed_groups"], json!([group]));
    assert_eq!((access(&ada), access(&bob), access(&boss)), (open(), shut("not_listed"), open()));
    // What is left out stays; what is said twice is there once.
    let users = json!({"allowed_users": ["bob@acme.example", bob_id]});
    let shown = boss.put(STUDIO, &users).answer(200).data();
    assert_eq!((&shown["allowed_users"], &shown["allowed_groups"]), (&json!([bob_id]), &json!([group])));
    assert_eq!((access(&ada), access(&bob)), (open(), open()));

    let by_role =
        json!({"allowed_users": [], "allowed_groups": [], "allowed_roles": ["tinkerer", "tenant_viewer"]});
    let shown = boss.put(STUDIO, &by_role).answer(200).data();
    assert_eq!(shown["allowed_roles"], json!([role, "tenant_viewer"]));
    assert_eq!((access(&ada), access(&bob)), (shut("not_listed"), shut("not_listed")));
    boss.put(&format!("/v1/users/{bob_id}/roles"), &json!({"custom_role_ids": [role]})).answer(200);
    assert_eq!((access(&ada), access(&bob)), (shut("not_listed"), open()));
    boss.put(STUDIO, &json!({"allowed_roles": ["tenant_user"]})).answer(200);
    assert_eq!(access(&ada), open());
    // Whoever leaves the group is no longer in it.
    let again = json!({"allowed_roles": [], "allowed_groups": [group]});
    boss.put(STUDIO, &again).answer(200);
    assert_eq!(access(&ada), open());
    boss.delete(&format!("/v1/groups/{}/members/{ada_id}", group.as_str().unwrap())).answer(204);
    assert_eq!(access(&ada), shut("not_listed"));
    assert_eq!(records(&boss, "prompt_studio.update").len(), 5);
    // It lasts.
    server.stop();
    let server = place.start();
    assert_eq!(access(&server.of(&ada)), shut("not_listed"));
    assert_eq!(server.of(&boss).get(STUDIO).answer(200).data()["allowed_groups"], json!([group]));
    server.stop();
}

fn allow_lists_name_what_there_is(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let (one, two) = (root.tenant("one"), root.tenant("two"));
    let boss = boss(&server, &one);
    let (ada, _) = boss.user("ada@acme.example", &["tenant_user"]);
    let elsewhere = root.in_tenant(&two);
    let (stranger, _) = elsewhere.user("eve@two.example", &["tenant_user"]);
    let group =
        elsewhere.post("/v1/groups").json(&json!({"name": "Theirs"})).answer(201).data()["id"].clone();
    let group = group.as_str().unwrap();
    for (body, fields) in [
        (json!({"allowed_roles": ["tenant_user", "king"]}), vec!["allowed_roles[1]"]),
        (
            json!({"allowed_groups": [group, "theirs", ""]}),
            vec!["allowed_groups[0]", "allowed_groups[1]", "allowed_groups[2]"],
        ),
        (
            json!({"allowed_users": [ada, stranger, "eve@two.example"]}),
            vec!["allowed_users[1]", "allowed_users[2]"],
        ),
        (json!({"allowed_users": vec![ada.as_str(); 201]}), vec!["allowed_users"]),
        (json!({"allowed_users": "ada"}), vec!["allowed_users"]),
    ] {
        let refused = boss.put(STUDIO, &body).refused(422, "SW_VALIDATION_ERROR");
        assert_eq!(refused.fields(), fields, "{body}");
    }
    assert_eq!(boss.get(STUDIO).answer(200).data()["allowed_users"], json!([]));
    assert!(records(&boss, "prompt_studio.update").is_empty());
    // Whoever is deleted cannot be named.
    boss.delete(&format!("/v1/users/{ada}")).answer(204);
    boss.put(STUDIO, &json!({"allowed_users": [ada]})).refused(422, "SW_VALIDATION_ERROR");
    server.stop();
}

fn settings_are_changed_where_they_were_read(place: &Place) {
    let server = place.start();
    let tenant = server.admin().tenant("acme");
    let boss = boss(&server, &tenant);
    for (path, first, second) in [
        (STUDIO, json!({"enabled": true}), json!({"allowed_roles": ["tenant_user"]})),
        (NOTES, json!({"language": "nl"}), json!({"suggest_tags": false})),
    ] {
        let read = boss.get(path).answer(200);
        let old = read.header("etag").unwrap().to_owned();
        boss.get(path).header("If-None-Match", &old).answer(304);
        let changed = boss.put(path, &first).header("If-Match", &old).answer(200);
        let new = changed.header("etag").unwrap().to_owned();
        assert_ne!(old, new);
        assert_eq!(boss.get(path).answer(200).header("etag"), Some(new.as_str()));
        boss.put(path, &second).header("If-Match", &old).refused(412, "SW_PRECONDITION_FAILED");
        assert_eq!(boss.get(path).answer(200).data(), changed.data());
        boss.put(path, &second).header("If-Match", &new).answer(200);
        // Nothing is lost of what was set before.
        let merged = boss.get(path).answer(200).data();
        for (name, value) in first.as_object().unwrap().iter().chain(second.as_object().unwrap()) {
            assert_eq!(&merged[name], value, "{merged}");
        }
    }
    server.stop();
}

fn notes_are_processed_offline(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let tenant = root.tenant("acme");
    let boss = boss(&server, &tenant);
    let (ada_id, ada) = member(&server, &boss, "ada@acme.example");
    let at_first = json!({"enabled": false, "model": null, "organise": true, "summarise": true,
        "extract_todos": true, "suggest_tags": true, "language": null, "prompt_template": null});
    assert_eq!(boss.get(NOTES).answer(200).data(), at_first);
    let note = json!({"text": "Call the plumber on Monday."});
    ada.post(PROCESS).json(&note).refused(403, "NOTE_PROCESSING_DISABLED");

    boss.put(NOTES, &json!({"enabled": true, "model": "echo", "prompt_template": "{{note}}"})).answer(200);
    let done = ada.post(PROCESS).json(&note).answer(200).data();
    assert_eq!((&done["model"], &done["summary"]), (&json!("echo"), &json!("Call the plumber on Monday.")));
    assert!(done["category"].is_string() && done["title"].is_string(), "{done}");
    assert!(done["todos"].is_array() && done["tags"].is_array(), "{done}");
    assert!(done["usage"]["input_tokens"].as_u64().unwrap() > 0, "{done}");
    let usage = &boss.usage()[0];
    assert_eq!((&usage["user_id"], &usage["model"]), (&json!(ada_id), &json!("echo")), "{usage}");

    boss.put(NOTES, &json!({"organise": false, "extract_todos": false})).answer(200);
    let done = ada.post(PROCESS).json(&note).answer(200).data();
    assert_eq!((&done["category"], &done["title"], &done["todos"]), (&Value::Null, &Value::Null, &json!([])));
    assert_eq!(done["summary"], "Call the plumber on Monday.");

    for (body, field) in [
        (json!({"text": ""}), "text"),
        (json!({"text": "x".repeat(64 * 1024 + 1)}), "text"),
        (json!({"text": "x", "language": "in the voice of a pirate"}), "language"),
        (json!({"text": "x", "title": "x".repeat(201)}), "title"),
        (json!({"text": "x", "model": "echo"}), "model"),
        (json!({}), "text"),
    ] {
        let refused = ada.post(PROCESS).json(&body).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), [field]);
    }
    let (_, viewer) = boss.user("eve@acme.example", &["tenant_viewer"]);
    server.client(&viewer).post(PROCESS).json(&note).refused(403, "AUTHZ_PERMISSION_DENIED");

    // The tenant's budget is the gateway's affair, here too.
    let limits = json!({"limits": {"monthly_ai_tokens": 1}});
    root.put(&format!("/v1/admin/tenants/{tenant}"), &limits).answer(200);
    // Limits are believed for a second.
    let spent = || {
        let answer = ada.post(PROCESS).json(&note).exchange();
        (answer.status != 200).then_some(answer)
    };
    let refused = eventually("the limit counts", Duration::from_secs(10), spent);
    assert_eq!((refused.status, refused.code().as_str()), (429, "BUDGET_EXCEEDED"));
    root.put(&format!("/v1/admin/tenants/{tenant}"), &json!({"limits": {}})).answer(200);
    boss.put(NOTES, &json!({"enabled": false})).answer(200);
    ada.post(PROCESS).json(&note).refused(403, "NOTE_PROCESSING_DISABLED");
    let written = records(&boss, "note_processing.update");
    assert_eq!(written.len(), 3, "{written:?}");
    assert_eq!(written[0]["changes"], json!({"enabled": {"before": true, "after": false}}));
    server.stop();
}

fn a_model_is_asked_for_what_is_switched_on(place: &Place) {
    let upstream = ModelServer::start();
    let allowed = upstream.address().to_string();
    let server = place.launch().set("SCAIGRID_EGRESS_ALLOW", &allowed).start();
    let root = server.admin();
    let backend = root.backend("openai", &json!({"base_url": upstream.base_url()}));
    root.global_model("m", &[json!({"backend_id": backend})]);
    root.enable_model("m");
    let settings = json!({"enabled": true, "model": "m", "organise": false, "language": "nl",
        "prompt_template": "[{{language}}] {{title}}: {{note}}"});
    root.put(NOTES, &settings).answer(200);

    let said = "Gladly:\n```json\n{\"summary\": \" Milk. \", \"todos\": [\"buy milk\", {\"task\": \"pay\"}, 3], \
                \"tags\": [\"#Food\", \"food\"], \"title\": \"not asked for\"}\n```";
    upstream.then([Told::Text(said.to_owned())]);
    let note = json!({"text": "Buy {{title}} and milk.", "title": "Shopping"});
    let done = root.post(PROCESS).json(&note).answer(200).data();
    assert_eq!(
        (&done["summary"], &done["title"], &done["category"]),
        (&json!("Milk."), &Value::Null, &Value::Null)
    );
    assert_eq!((&done["todos"], &done["tags"]), (&json!(["buy milk", "pay"]), &json!(["Food"])));
    assert_eq!((&done["model"], &done["usage"]["input_tokens"]), (&json!("m"), &json!(10)));

    let asked = &upstream.asked()[0].body;
    assert_eq!(asked["messages"][0]["role"], "system");
    let system = asked["messages"][0]["content"].as_str().unwrap();
    assert!(system.contains("\"summary\"") && !system.contains("\"category\""), "{system}");
    // The note is put in once, and not looked at again.
    let user = json!({"role": "user", "content": "[nl] Shopping: Buy {{title}} and milk."});
    assert_eq!(asked["messages"][1], user);
    let format = &asked["response_format"];
    assert_eq!(format["type"], "json_schema");
    assert_eq!(format["json_schema"]["schema"]["required"], json!(["summary", "todos", "tags"]));
    upstream.then([Told::Text(said.to_owned())]);
    let german = json!({"text": "Milch", "language": "de"});
    root.post(PROCESS).json(&german).answer(200);
    assert_eq!(upstream.asked()[1].body["messages"][1]["content"], "[de] none: Milch");

    upstream.then([Told::Text(said.to_owned())]);
    root.post(PROCESS).json(&json!({"text": "x".repeat(64 * 1024)})).answer(200);
    for garbage in ["I would rather not.", "[1, 2]", "{\"summary\": ", "{\"title\": \"not asked for\"}"] {
        upstream.then([Told::Text(garbage.to_owned())]);
        let refused = root.post(PROCESS).json(&note).refused(502, "BACKEND_ERROR");
        let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("JSON object"), "{message}");
    }
    server.stop();
}

fn note_processing_needs_something_to_ask_for_and_somebody_to_ask(place: &Place) {
    let server = place.start();
    let tenant = server.admin().tenant("acme");
    let boss = boss(&server, &tenant);
    let nothing =
        json!({"organise": false, "summarise": false, "extract_todos": false, "suggest_tags": false});
    for (body, field) in [
        (json!({"enabled": true}), "model"),
        (json!({"model": "no/such"}), "model"),
        (json!({"model": "no such"}), "model"),
        (json!({"language": "x"}), "language"),
        (json!({"prompt_template": "{{title}}"}), "prompt_template"),
        (json!({"prompt_template": "{{note}} by {{author}}"}), "prompt_template"),
        (json!({"prompt_template": format!("{{{{note}}}}{}", "x".repeat(16 * 1024))}), "prompt_template"),
        (json!({"organize": true}), "organize"),
    ] {
        let refused = boss.put(NOTES, &body).refused(422, "SW_VALIDATION_ERROR");
        assert_eq!(refused.fields(), [field], "{body}");
    }
    boss.put(NOTES, &json!({"model": "echo"})).answer(200);
    boss.put(NOTES, &nothing).answer(200);
    let refused = boss.put(NOTES, &json!({"enabled": true})).refused(422, "SW_VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["enabled"]);
    boss.put(NOTES, &json!({"enabled": true, "summarise": true})).answer(200);
    let refused = boss.put(NOTES, &json!({"summarise": false})).refused(422, "SW_VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["enabled"]);

    // A model that is disabled is not asked, and does not keep anybody from switching off.
    boss.delete("/v1/model-access/echo").answer(204);
    boss.post(PROCESS).json(&json!({"text": "x"})).refused(404, "MODEL_NOT_FOUND");
    let refused = boss.put(NOTES, &json!({"language": "nl"})).refused(422, "SW_VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["model"]);
    boss.put(NOTES, &json!({"enabled": false})).answer(200);
    boss.enable_model("echo");
    // Without a model of its own it is the tenant's default that is asked.
    boss.put(NOTES, &json!({"model": null})).answer(200);
    boss.put("/v1/admin/ai-config", &json!({"default_model": "echo"})).answer(200);
    boss.put(NOTES, &json!({"enabled": true})).answer(200);
    let done = boss.post(PROCESS).json(&json!({"text": "x"})).answer(200).data();
    assert_eq!(done["model"], "echo");
    boss.put("/v1/admin/ai-config", &json!({"default_model": null})).answer(200);
    boss.post(PROCESS).json(&json!({"text": "x"})).refused(409, "CONFLICT");
    server.stop();
}

fn settings_are_of_one_tenant(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let (one, two) = (root.tenant("one"), root.tenant("two"));
    let (first, second) = (boss(&server, &one), boss(&server, &two));
    first.put(STUDIO, &json!({"enabled": true})).answer(200);
    first.put(NOTES, &json!({"enabled": true, "model": "echo"})).answer(200);
    assert_eq!(access(&second), shut("disabled"));
    assert_eq!(second.get(NOTES).answer(200).data()["enabled"], false);
    second.post(PROCESS).json(&json!({"text": "x"})).refused(403, "NOTE_PROCESSING_DISABLED");
    assert!(records(&second, "prompt_studio.update").is_empty());
    // From above one sees what one names.
    assert_eq!(root.in_tenant(&one).get(NOTES).answer(200).data()["enabled"], true);
    assert_eq!(root.in_tenant(&two).get(NOTES).answer(200).data()["enabled"], false);
    second.in_tenant(&one).get(STUDIO).refused(404, "SW_TENANT_NOT_FOUND");
    server.stop();
}
