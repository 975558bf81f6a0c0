//! Groups, custom roles and direct grants: who has what, from one moment to the next.

use scaigrid_tests::{Client, Place, SCAICORE, on_both_databases, programs};
use serde_json::{Value, json};

on_both_databases!(
    what_has_changed_since_is_not_removed,
    groups_are_made_changed_and_removed,
    a_group_is_asked_together,
    custom_roles_add_what_they_say,
    direct_grants_are_given_and_taken,
    a_helper_does_not_rise,
    what_is_done_at_once_leaves_nothing_behind,
    what_there_is_to_give_is_listed,
    all_that_is_wrong_is_told_at_once,
);

const ROLES: &str = "/v1/iam/custom-roles";

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn inbox(client: &Client) -> Vec<String> {
    let items = client.pages(&format!("{SCAICORE}/checkpoints"), "items");
    items.iter().map(|item| text(&item["id"])).collect()
}

fn resolve_path(checkpoint: &str) -> String {
    format!("{SCAICORE}/checkpoints/{checkpoint}/resolve")
}

/// The actions on something, oldest first.
fn actions(admin: &Client, resource: &str) -> Vec<String> {
    let records = admin.pages(&format!("/v1/audit/events?resource_id={resource}"), "items");
    records.iter().rev().map(|record| text(&record["action"])).collect()
}

fn grant(admin: &Client, user: &str, permissions: &[&str]) {
    let body = json!({"permissions": permissions});
    let granted = admin.put(&format!("/v1/users/{user}/module-permissions"), &body).answer(200).data();
    assert_eq!(granted["permissions"], json!(permissions));
}

fn permissions(client: &Client) -> Vec<String> {
    let me = client.get("/v1/me").answer(200).data();
    me["permissions"].as_array().unwrap().iter().map(text).collect()
}

/// What a refusal says is missing.
fn missing(answer: &scaigrid_tests::Answer) -> String {
    let details = answer.json()["error"]["details"].clone();
    assert_eq!(details[0]["field"], "permission", "{answer}");
    text(&details[0]["message"])
}

fn groups_are_made_changed_and_removed(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let (ada, _) = admin.user("ada@example.org", &[]);
    let (bob, bob_key) = admin.user("bob@example.org", &[]);
    let bob_client = server.client(&bob_key);
    let made = admin.post("/v1/groups").json(&json!({"name": "Große Prüfer", "members": [ada]})).answer(201);
    let group = made.data();
    let id = text(&group["id"]);
    let path = format!("/v1/groups/{id}");
    assert_eq!(made.header("location"), Some(path.as_str()));
    assert_eq!((&group["slug"], &group["members"]), (&json!("grosse-pruefer"), &json!([ada])));
    for (body, status, code, fields) in [
        (json!({"name": "Grosse Pruefer"}), 409, "SLUG_CONFLICT", vec!["slug"]),
        (json!({"name": "x", "slug": "grosse-pruefer"}), 409, "SLUG_CONFLICT", vec!["slug"]),
        (json!({"name": "!?"}), 422, "VALIDATION_ERROR", vec!["slug"]),
        (json!({"name": " ", "slug": "A"}), 422, "VALIDATION_ERROR", vec!["name", "slug"]),
        (json!({"name": "x", "color": 1}), 422, "VALIDATION_ERROR", vec!["color"]),
        (
            json!({"name": "x", "members": [ada, "usr_01J00000000000000000000000"]}),
            422,
            "VALIDATION_ERROR",
            vec!["members[1]"],
        ),
    ] {
        let refusal = admin.post("/v1/groups").json(&body).refused(status, code);
        assert_eq!(refusal.fields(), fields, "{body}");
    }
    let many: Vec<&String> = std::iter::repeat_n(&ada, 1001).collect();
    let refusal = admin.post("/v1/groups").json(&json!({"name": "x", "members": many})).exchange();
    assert_eq!((refusal.status, refusal.fields()), (422, vec!["members".to_owned()]));

    // Membership, one by one and all at once.
    let etag = text(&json!(made.header("etag").unwrap()));
    let member = format!("{path}/members/{bob}");
    let with_bob = admin.request("PUT", &member).answer(200);
    assert_eq!(with_bob.data()["member_count"], 2);
    assert_eq!(bob_client.get("/v1/me").answer(200).data()["groups"], json!([id]));
    assert_ne!(with_bob.header("etag"), Some(etag.as_str()));
    assert_eq!(admin.request("PUT", &member).answer(200).header("etag"), with_bob.header("etag"));
    let rename = json!({"name": "Prüfer"});
    admin.put(&path, &rename).header("If-Match", &etag).refused(412, "PRECONDITION_FAILED");
    let now = with_bob.header("etag").unwrap();
    let renamed = admin.put(&path, &rename).header("If-Match", now).answer(200).data();
    assert_eq!((&renamed["name"], &renamed["member_count"]), (&json!("Prüfer"), &json!(2)));
    let refusal = admin.put(&path, &json!({"slug": "other"})).refused(422, "VALIDATION_ERROR");
    assert_eq!(refusal.fields(), ["slug"]);
    admin.put(&path, &json!({})).answer(200);
    admin.delete(&member).answer(204);
    admin.delete(&member).answer(204);
    assert_eq!(bob_client.get("/v1/me").answer(200).data()["groups"], json!([]));
    let unknown = format!("{path}/members/usr_01J00000000000000000000000");
    admin.request("PUT", &unknown).refused(404, "USER_NOT_FOUND");
    admin.delete(&unknown).refused(404, "USER_NOT_FOUND");
    assert_eq!(admin.put(&path, &json!({"members": [bob]})).answer(200).data()["members"], json!([bob]));

    // Who is removed is a member no more.
    admin.delete(&format!("/v1/users/{bob}")).answer(204);
    assert_eq!(admin.get(&path).answer(200).data()["members"], json!([]));

    for n in 0..3 {
        admin.post("/v1/groups").json(&json!({"name": format!("Group {n}")})).answer(201);
    }
    let first = admin.get("/v1/groups?limit=2").answer(200).json();
    assert_eq!(first["data"]["items"].as_array().unwrap().len(), 2);
    assert_eq!(first["pagination"]["has_more"], true);
    let all = admin.pages("/v1/groups", "items");
    let slugs: Vec<String> = all.iter().map(|group| text(&group["slug"])).collect();
    assert_eq!(slugs, ["group-2", "group-1", "group-0", "grosse-pruefer"]);
    admin.delete(&path).answer(204);
    admin.get(&path).refused(404, "GROUP_NOT_FOUND");
    let told =
        ["group.create", "group.update", "group.update", "group.update", "group.update", "group.delete"];
    assert_eq!(actions(&admin, &id), told, "what changes nothing leaves no record");
    server.stop();
}

fn a_group_is_asked_together(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let people: Vec<(String, Client)> = ["in@example.org", "out@example.org"]
        .iter()
        .map(|email| {
            let (id, key) = admin.user(email, &["tenant_user"]);
            grant(&admin, &id, &["scaicore:view", "scaicore:checkpoint_resolve"]);
            (id, server.client(&key))
        })
        .collect();
    let [(inside_id, inside), (_, outside)] = &people[..] else { panic!("two") };

    // A program may name the group before there is one: those who run the tenant find the question meanwhile.
    let early = admin.run("Early", &programs::asking(&json!({"assignee": "group:approvers"})));
    let (execution, checkpoint) = admin.invoke_to_checkpoint(&early, "ask", &json!({}));
    assert_eq!(
        admin.checkpoint(&checkpoint)["assignee_resolved"],
        json!({"type": "group", "value": "approvers"})
    );
    assert!(inbox(inside).is_empty());
    let all = admin.pages(&format!("{SCAICORE}/checkpoints/all"), "items");
    assert!(all.iter().any(|item| item["id"] == json!(checkpoint)));
    let group = json!({"name": "Approvers", "members": [inside_id]});
    let group = text(&admin.post("/v1/groups").json(&group).answer(201).data()["id"]);
    assert_eq!(inbox(inside), [checkpoint.as_str()]);
    assert!(inbox(outside).is_empty());
    let body = json!({"decision": "yes"});
    outside.post(&resolve_path(&checkpoint)).json(&body).refused(403, "AUTHZ_PERMISSION_DENIED");
    assert_eq!(inside.resolve(&checkpoint, "yes")["resolved_by"], json!(inside_id));
    admin.execution_becomes(&execution, "completed");

    // By id, and taken away at once.
    let by_id = admin.run("By id", &programs::asking(&json!({"assignee": format!("group:{group}")})));
    let (_, checkpoint) = admin.invoke_to_checkpoint(&by_id, "ask", &json!({}));
    assert_eq!(inbox(inside), [checkpoint.as_str()]);
    admin.delete(&format!("/v1/groups/{group}/members/{inside_id}")).answer(204);
    assert!(inbox(inside).is_empty());
    inside.post(&resolve_path(&checkpoint)).json(&body).refused(403, "AUTHZ_PERMISSION_DENIED");
    admin.request("PUT", &format!("/v1/groups/{group}/members/{inside_id}")).answer(200);
    assert_eq!(inbox(inside), [checkpoint.as_str()]);

    // Without the group nobody is asked but those who run the tenant.
    admin.delete(&format!("/v1/groups/{group}")).answer(204);
    assert!(inbox(inside).is_empty());
    inside.post(&resolve_path(&checkpoint)).json(&body).refused(403, "AUTHZ_PERMISSION_DENIED");
    admin.resolve(&checkpoint, "yes");

    // A group of the same slug elsewhere is another group.
    let elsewhere = admin.in_tenant(&admin.tenant("elsewhere"));
    let (stranger, _) = elsewhere.user("boss@elsewhere.example", &["tenant_admin"]);
    let body = json!({"name": "Approvers", "members": [stranger]});
    elsewhere.post("/v1/groups").json(&body).answer(201);
    let refusal = admin.post("/v1/groups").json(&body).refused(422, "VALIDATION_ERROR");
    assert_eq!(refusal.fields(), ["members[0]"]);
    server.stop();
}

fn custom_roles_add_what_they_say(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let (_, boss_key) = root.user("boss@example.org", &["tenant_admin"]);
    let boss = server.client(&boss_key);
    let handler = json!({
        "name": "Escalation handler", "description": "Answers.",
        "module_permissions": ["scaicore:view", "scaicore:checkpoint_resolve"],
    });
    let made = boss.post(ROLES).json(&handler).answer(201);
    let role = made.data();
    let id = text(&role["id"]);
    let path = format!("{ROLES}/{id}");
    assert!(id.starts_with("role_") && role["slug"] == "escalation-handler");
    assert_eq!(role["permissions"], json!(["scaicore:view", "scaicore:checkpoint_resolve"]));
    assert_eq!((&role["core_permissions"], &role["module_permissions"]), (&json!([]), &role["permissions"]));
    boss.post(ROLES).json(&handler).refused(409, "SLUG_CONFLICT");
    for (body, fields) in [
        (json!({"name": "x", "permissions": ["scaicore:fly", "models:list"]}), vec!["permissions[0]"]),
        (json!({"name": "x", "core_permissions": ["scaicore:view"]}), vec!["core_permissions[0]"]),
        (json!({"name": "x", "module_permissions": ["models:list"]}), vec!["module_permissions[0]"]),
        (json!({"name": "x", "permissions": [], "core_permissions": []}), vec!["permissions"]),
        (json!({"name": "x", "perms": []}), vec!["perms"]),
    ] {
        let refusal = boss.post(ROLES).json(&body).refused(422, "VALIDATION_ERROR");
        assert_eq!(refusal.fields(), fields, "{body}");
    }
    let many: Vec<String> = (0..200).map(|n| format!("module-{n}:use")).collect();
    let full = json!({"name": "Full", "module_permissions": many});
    let full = text(&boss.post(ROLES).json(&full).answer(201).data()["id"]);
    let refusal = boss.put(&format!("{ROLES}/{full}"), &json!({"core_permissions": ["models:list"]}));
    assert_eq!(refusal.refused(422, "VALIDATION_ERROR").fields(), ["permissions"]);
    boss.delete(&format!("{ROLES}/{full}")).answer(204);
    // Nobody puts in what they lack.
    let mighty = json!({"name": "Mighty", "permissions": ["models:list", "models:manage"]});
    let refusal = boss.post(ROLES).json(&mighty).refused(403, "AUTHZ_PERMISSION_DENIED");
    assert_eq!(missing(&refusal), "models:manage");
    let refusal = boss.put(&path, &json!({"core_permissions": ["routing:manage"]}));
    assert_eq!(missing(&refusal.refused(403, "AUTHZ_PERMISSION_DENIED")), "routing:manage");
    let mighty = text(&root.post(ROLES).json(&mighty).answer(201).data()["id"]);

    // A user who is made with a role has what it gives, and what it gives from then on.
    let body = json!({"email": "eve@example.org", "roles": ["tenant_user"], "custom_role_ids": [id]});
    let eve = boss.post("/v1/users").json(&body).answer(201).data();
    assert_eq!(eve["custom_role_ids"], json!([id]));
    let eve_id = text(&eve["id"]);
    let key = json!({"name": "eve's", "assigned_user_id": eve_id});
    let key = text(&boss.post("/v1/api-keys").json(&key).answer(201).data()["key"]);
    let eve = server.client(&key);
    let me = eve.get("/v1/me").answer(200).data();
    assert_eq!(
        me["custom_roles"],
        json!([{"id": id, "slug": "escalation-handler", "name": "Escalation handler"}])
    );
    assert!(permissions(&eve).contains(&"scaicore:checkpoint_resolve".to_owned()));
    eve.get(&format!("{SCAICORE}/cores")).answer(200);
    let etag = made.header("etag").unwrap();
    let changed = boss.put(&path, &json!({"core_permissions": ["webhooks:manage"], "description": null}));
    let changed = changed.header("If-Match", etag).answer(200).data();
    assert_eq!(
        changed["permissions"],
        json!(["webhooks:manage", "scaicore:view", "scaicore:checkpoint_resolve"])
    );
    assert_eq!(changed["description"], Value::Null);
    boss.put(&path, &json!({})).header("If-Match", etag).refused(412, "PRECONDITION_FAILED");
    assert!(permissions(&eve).contains(&"webhooks:manage".to_owned()));
    // A key of hers may be limited to what a role gives her.
    let narrow = json!({"name": "narrow", "scopes": ["scaicore:view"]});
    let narrow = text(&eve.post("/v1/api-keys").json(&narrow).answer(201).data()["key"]);
    assert_eq!(permissions(&server.client(&narrow)), ["scaicore:view"]);

    // Roles are given by whoever could have made them.
    let roles = format!("/v1/users/{eve_id}/roles");
    let refusal = boss.put(&roles, &json!({"custom_role_ids": [id, mighty]}));
    assert_eq!(missing(&refusal.refused(403, "AUTHZ_PERMISSION_DENIED")), "models:manage");
    let unknown = json!({"custom_role_ids": [id, "role_01J00000000000000000000000"]});
    assert_eq!(boss.put(&roles, &unknown).refused(422, "VALIDATION_ERROR").fields(), ["custom_role_ids[1]"]);
    let both = root.put(&roles, &json!({"custom_role_ids": [mighty, id, id]})).answer(200).data();
    assert_eq!(both["custom_role_ids"], json!([id, mighty]));
    assert_eq!(both["roles"], json!(["tenant_user"]), "what is left out stays");
    // From now on she may do more than the boss could give, so she is not the boss's to change, nor the role.
    for (method, path, body) in [
        ("PUT", roles.clone(), json!({"roles": []})),
        ("PUT", format!("/v1/users/{eve_id}"), json!({"status": "suspended"})),
        ("PUT", format!("/v1/users/{eve_id}/module-permissions"), json!({"permissions": []})),
        ("POST", "/v1/api-keys".to_owned(), json!({"name": "stolen", "assigned_user_id": eve_id})),
        ("PUT", format!("{ROLES}/{mighty}"), json!({"name": "Mine"})),
    ] {
        let refusal = boss.request(method, &path).json(&body).refused(403, "AUTHZ_PERMISSION_DENIED");
        assert_eq!(missing(&refusal), "models:manage", "{refusal}");
    }
    boss.delete(&format!("/v1/users/{eve_id}")).refused(403, "AUTHZ_PERMISSION_DENIED");
    boss.delete(&format!("{ROLES}/{mighty}")).refused(403, "AUTHZ_PERMISSION_DENIED");

    // A role that is removed is taken from all who hold it.
    let before = boss.get(&format!("/v1/users/{eve_id}")).answer(200);
    boss.delete(&path).answer(204);
    boss.get(&path).refused(404, "CUSTOM_ROLE_NOT_FOUND");
    let after = boss.get(&format!("/v1/users/{eve_id}")).answer(200);
    assert_eq!(after.data()["custom_role_ids"], json!([mighty]));
    assert_ne!(before.header("etag"), after.header("etag"));
    eve.get(&format!("{SCAICORE}/cores")).refused(403, "AUTHZ_PERMISSION_DENIED");
    assert_eq!(actions(&root, &id), ["custom_role.create", "custom_role.update", "custom_role.delete"]);
    let of_eve = ["user.create", "user.role_updated", "user.role_updated"];
    assert_eq!(actions(&root, &eve_id), of_eve);
    let listed = root.pages(ROLES, "items");
    assert_eq!(listed.iter().map(|role| text(&role["slug"])).collect::<Vec<_>>(), ["mighty"]);
    server.stop();
}

fn direct_grants_are_given_and_taken(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let (id, key) = admin.user("ada@example.org", &["tenant_user"]);
    let ada = server.client(&key);
    let path = format!("/v1/users/{id}/module-permissions");
    assert_eq!(admin.get(&path).answer(200).data(), json!({"permissions": []}));
    ada.get(&format!("{SCAICORE}/cores")).refused(403, "AUTHZ_PERMISSION_DENIED");
    grant(&admin, &id, &["scaicore:view", "scaibot:bots:create"]);
    ada.get(&format!("{SCAICORE}/cores")).answer(200);
    assert!(permissions(&ada).contains(&"scaibot:bots:create".to_owned()));
    let shown = admin.get(&path).answer(200);
    assert_eq!(shown.data()["permissions"], json!(["scaicore:view", "scaibot:bots:create"]));
    grant(&admin, &id, &["scaicore:view", "scaibot:bots:create"]);
    let refusal = admin.put(&path, &json!({"permissions": ["scaicore:view", "models:use"]}));
    assert_eq!(refusal.refused(422, "VALIDATION_ERROR").fields(), ["permissions[1]"]);
    let refusal = admin.put(&path, &json!({"permissions": ["x", "scaicore:fly"]}));
    assert_eq!(refusal.refused(422, "VALIDATION_ERROR").fields(), ["permissions[0]", "permissions[1]"]);
    ada.get(&path).refused(403, "AUTHZ_PERMISSION_DENIED");
    let stale = shown.header("etag").unwrap();
    grant(&admin, &id, &[]);
    let refusal = admin.put(&path, &json!({"permissions": ["scaicore:view"]})).header("If-Match", stale);
    refusal.refused(412, "PRECONDITION_FAILED");
    ada.get(&format!("{SCAICORE}/cores")).refused(403, "AUTHZ_PERMISSION_DENIED");
    assert_eq!(actions(&admin, &id), ["user.create", "user.role_updated", "user.role_updated"]);
    let records = admin.pages(&format!("/v1/audit/events?resource_id={id}"), "items");
    let told = &records[0]["changes"]["module_permissions"];
    assert_eq!(told, &json!({"before": ["scaicore:view", "scaibot:bots:create"], "after": []}));
    server.stop();
}

/// Somebody who may manage users and nothing else cannot make more of themselves, or of others, than they are.
fn a_helper_does_not_rise(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let (boss, _) = admin.user("boss@example.org", &["tenant_admin"]);
    let (id, key) = admin.user("helper@example.org", &["tenant_user"]);
    let desk = json!({"name": "Help desk", "permissions": ["users:manage"]});
    let desk = text(&admin.post(ROLES).json(&desk).answer(201).data()["id"]);
    admin.put(&format!("/v1/users/{id}/roles"), &json!({"custom_role_ids": [desk]})).answer(200);
    let helper = server.client(&key);
    let before = permissions(&helper);
    let own = format!("/v1/users/{id}");
    for (method, path, body) in [
        ("PUT", format!("{own}/roles"), json!({"roles": ["tenant_admin"]})),
        ("PUT", format!("{own}/module-permissions"), json!({"permissions": ["scaicore:manage"]})),
        ("PUT", format!("{ROLES}/{desk}"), json!({"permissions": ["users:manage", "modules:manage"]})),
        ("POST", ROLES.to_owned(), json!({"name": "x", "permissions": ["scaicore:view"]})),
        ("POST", "/v1/users".to_owned(), json!({"email": "x@example.org", "roles": ["tenant_admin"]})),
        ("POST", "/v1/api-keys".to_owned(), json!({"name": "x", "assigned_user_id": boss})),
        ("PUT", format!("/v1/users/{boss}"), json!({"status": "suspended"})),
        ("PUT", format!("/v1/users/{boss}/roles"), json!({"roles": []})),
    ] {
        helper.request(method, &path).json(&body).refused(403, "AUTHZ_PERMISSION_DENIED");
    }
    assert_eq!(permissions(&helper), before);
    // Nor does the helper lock themselves out.
    helper.put(&own, &json!({"status": "suspended"})).refused(409, "CONFLICT");
    helper.put(&format!("{own}/roles"), &json!({"custom_role_ids": []})).refused(409, "CONFLICT");
    helper.put(&format!("{ROLES}/{desk}"), &json!({"permissions": []})).refused(409, "CONFLICT");
    helper.delete(&format!("{ROLES}/{desk}")).refused(409, "CONFLICT");
    assert_eq!(permissions(&helper), before);
    // What they have they may give.
    let body = json!({"email": "next@example.org", "roles": ["tenant_user"], "custom_role_ids": [desk]});
    helper.post("/v1/users").json(&body).answer(201);
    server.stop();
}

fn what_there_is_to_give_is_listed(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let (_, key) = admin.user("ada@example.org", &["tenant_viewer"]);
    let viewer = server.client(&key);
    let roles = viewer.get("/v1/iam/roles").answer(200).data();
    let viewers = roles.as_array().unwrap().iter().find(|role| role["role"] == "tenant_viewer").unwrap();
    assert_eq!(roles[0]["role"], "super_admin");
    assert_eq!((&viewers["reach"], &viewers["every_module"]), (&json!("tenant"), &json!(false)));
    assert_eq!(viewers["description"], "Looks on in a tenant.");
    let held: Vec<String> = viewers["permissions"].as_array().unwrap().iter().map(text).collect();
    assert_eq!(held, permissions(&viewer));

    let there = viewer.get("/v1/iam/permissions").answer(200).data();
    let of = |key: &str| there.as_array().unwrap().iter().find(|one| one["permission"] == key).unwrap();
    assert_eq!(
        (&of("users:manage")["module_id"], &of("users:manage")["held"]),
        (&Value::Null, &json!(false))
    );
    assert_eq!(of("users:manage")["description"], "Maintain users, groups and custom roles.");
    assert_eq!(
        (&of("scaicore:view")["module_id"], &of("scaicore:view")["held"]),
        (&json!("scaicore"), &json!(true))
    );
    assert_eq!(of("scaibot:bots:read")["module_id"], "scaibot");
    // Each of them can be given, and what is not among them is told with those that are.
    let all: Vec<&Value> = there.as_array().unwrap().iter().map(|one| &one["permission"]).collect();
    admin.post(ROLES).json(&json!({"name": "All", "permissions": all})).answer(201);
    let refused = admin.post(ROLES).json(&json!({"name": "None", "permissions": ["models:fly"]}));
    let told = refused.refused(422, "VALIDATION_ERROR").json()["error"]["details"][0].clone();
    assert_eq!(told["message"], "is no permission; there are models:list, models:use, models:manage");
    server.stop();
}

fn all_that_is_wrong_is_told_at_once(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let refused = admin.post("/v1/users").json(&json!({})).refused(422, "VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["email", "roles"]);
    let body = json!({"display_name": 7, "roles": "tenant_user", "nickname": "x"});
    let refused = admin.post("/v1/users").json(&body).refused(422, "VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["display_name", "email", "nickname", "roles"]);
    let details = refused.json()["error"]["details"].clone();
    let said = |field: &str| {
        details.as_array().unwrap().iter().find(|one| one["field"] == field).unwrap()["message"].clone()
    };
    assert_eq!(
        (said("roles"), said("display_name")),
        (json!("must be an array, not a string"), json!("must be a string, not a number"))
    );
    // A condition that cannot be read is no condition that fails.
    let group = admin.post("/v1/groups").json(&json!({"name": "Readers"})).answer(201);
    let (path, tag) =
        (format!("/v1/groups/{}", text(&group.data()["id"])), group.header("etag").unwrap().to_owned());
    let renamed = json!({"name": "Writers"});
    let bare = tag.trim_matches('"');
    assert_eq!(
        admin.put(&path, &renamed).header("If-Match", bare).refused(422, "VALIDATION_ERROR").fields(),
        ["If-Match"]
    );
    admin.delete(&path).header("If-Match", bare).refused(422, "VALIDATION_ERROR");
    admin.put(&path, &renamed).header("If-Match", &tag).answer(200);
    server.stop();
}

/// Somebody is put into a group and given a role while they, or the role, are removed: whoever comes first, nothing is left
/// over, and nobody is told that something broke.
fn what_is_done_at_once_leaves_nothing_behind(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let group = text(&admin.post("/v1/groups").json(&json!({"name": "Group"})).answer(201).data()["id"]);
    for round in 0..6 {
        let (user, _) = admin.user(&format!("u{round}@example.org"), &[]);
        let (stays, _) = admin.user(&format!("s{round}@example.org"), &[]);
        let role = json!({"name": format!("Role {round}"), "permissions": ["models:list"]});
        let role = text(&admin.post(ROLES).json(&role).answer(201).data()["id"]);
        let given = json!({"custom_role_ids": [role]});
        let requests = [
            admin.delete(&format!("/v1/users/{user}")),
            admin.request("PUT", &format!("/v1/groups/{group}/members/{user}")),
            admin.put(&format!("/v1/users/{user}/roles"), &given),
            admin.put(&format!("/v1/users/{stays}/roles"), &given),
            admin.delete(&format!("{ROLES}/{role}")),
            admin.request("PUT", &format!("/v1/groups/{group}/members/{stays}")),
        ];
        let running = requests.map(|request| std::thread::spawn(move || request.exchange()));
        for answer in running.map(|request| request.join().unwrap()) {
            assert!(answer.status < 300 || matches!(answer.status, 404 | 409 | 422), "{answer}");
        }
        let members = admin.get(&format!("/v1/groups/{group}")).answer(200).data();
        let expected: Vec<String> = vec![stays.clone()];
        assert_eq!(members["members"], json!(expected), "who is gone is no member, who stays is");
        assert_eq!(admin.get(&format!("/v1/users/{stays}")).answer(200).data()["custom_role_ids"], json!([]));
        admin.get(&format!("{ROLES}/{role}")).refused(404, "CUSTOM_ROLE_NOT_FOUND");
        admin.delete(&format!("/v1/groups/{group}/members/{stays}")).answer(204);
    }
    server.stop();
}

fn what_has_changed_since_is_not_removed(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let tag = |path: &str| admin.get(path).answer(200).header("etag").unwrap().to_owned();
    let (user, _) = admin.user("ada@example.org", &[]);
    let user = format!("/v1/users/{user}");
    let made = |path: &str, body: &Value| {
        let answer = admin.post(path).json(body).answer(201);
        answer.header("location").unwrap().to_owned()
    };
    let group = made("/v1/groups", &json!({"name": "Desk"}));
    let role = made("/v1/iam/custom-roles", &json!({"name": "Help", "permissions": ["users:manage"]}));
    let member = format!("{group}/members/{}", user.rsplit('/').next().unwrap());

    let stale = tag(&group);
    admin.put(&group, &json!({"name": "Desks"})).answer(200);
    for method in ["PUT", "DELETE"] {
        let refused = admin.request(method, &member).header("If-Match", &stale);
        refused.refused(412, "PRECONDITION_FAILED");
    }
    assert_eq!(admin.get(&group).answer(200).data()["members"], json!([]));
    admin.request("PUT", &member).header("If-Match", &tag(&group)).answer(200);
    admin.delete(&member).header("If-Match", &tag(&group)).answer(204);

    for (path, body) in [
        (&user, json!({"display_name": "Ada L."})),
        (&group, json!({"name": "Desk again"})),
        (&role, json!({"name": "Helper"})),
    ] {
        let stale = tag(path);
        admin.put(path, &body).answer(200);
        admin.delete(path).header("If-Match", &stale).refused(412, "PRECONDITION_FAILED");
        admin.get(path).answer(200);
        admin.delete(path).header("If-Match", &tag(path)).answer(204);
        // What is not there is told before.
        assert_eq!(admin.delete(path).header("If-Match", &stale).exchange().status, 404);
    }
    server.stop();
}
