//! Who may do what: keys, users, roles, tenants, partners.

use std::time::Duration;

use scaigrid_tests::{CORES, Client, Place, SCAICORE, eventually, on_both_databases, programs};
use serde_json::{Value, json};

on_both_databases!(
    an_answer_is_not_given_again_to_a_narrower_key,
    a_key_is_shown_once_and_taken_back_at_once,
    a_key_does_no_more_than_its_scopes,
    a_key_ends_when_it_says,
    roles_do_what_they_are_for,
    users_come_and_go,
    nobody_gives_what_they_lack,
    those_above_act_in_tenants_by_header,
    a_suspended_tenant_stands_still,
    a_partner_runs_its_own_and_nothing_else,
    limits_are_kept,
);

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn a_key_is_shown_once_and_taken_back_at_once(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    // Who sends it again gets the same key again, for a day; that must not leave it lying about.
    let request =
        || admin.post("/v1/api-keys").json(&json!({"name": "a"})).header("Idempotency-Key", "make-a");
    let made = request().answer(201).data();
    assert_eq!(request().answer(201).data(), made);
    let key = text(&made["key"]);
    assert!(
        key.starts_with("sgk_") && key.len() >= 36 && key[4..].chars().all(|c| c.is_ascii_alphanumeric())
    );
    assert!(key.starts_with(made["prefix"].as_str().unwrap()));
    let listed = admin.get("/v1/api-keys").answer(200);
    assert!(!listed.text().contains(&key), "shown once");
    assert_eq!(listed.data()["items"].as_array().unwrap().len(), 2);
    let client = server.client(&key);
    client.get("/v1/me").answer(200);
    let id = text(&made["id"]);
    admin.delete(&format!("/v1/api-keys/{id}")).answer(204);
    client.get("/v1/me").refused(401, "AUTH_TOKEN_INVALID");
    admin.delete(&format!("/v1/api-keys/{id}")).refused(404, "API_KEY_NOT_FOUND");
    for wrong in ["", "x", "sgk_", &key[..20], &format!("{key}x"), &key.to_lowercase()] {
        let refusal = server.client(wrong).get("/v1/me").exchange();
        assert_eq!(refusal.status, 401, "{refusal}");
        assert!(refusal.header("www-authenticate").is_some(), "RFC 9110 section 11.6.1");
    }
    let anyone = server.anyone();
    anyone.get("/v1/me").refused(401, "AUTH_TOKEN_MISSING");
    assert_eq!(anyone.get("/v1/me").header("Authorization", "Basic YTpi").exchange().status, 401);
    anyone.get("/v1/admin/tenants").refused(401, "SW_AUTH_INVALID_TOKEN");
    // The file of the database does not hold what would open it.
    server.stop();
    for entry in std::fs::read_dir(place.data()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.file_name().unwrap() != "admin.key" {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(key.len()).any(|window| window == key.as_bytes()), "{}", path.display());
        }
    }
    assert!(!place.log().contains(&key));
}

fn a_key_does_no_more_than_its_scopes(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let body = json!({"name": "narrow", "scopes": ["scaicore:view"]});
    let made = admin.post("/v1/api-keys").json(&body).answer(201).data();
    assert_eq!(made["scopes"], json!(["scaicore:view"]));
    let narrow = server.client(made["key"].as_str().unwrap());
    narrow.get(CORES).answer(200);
    narrow.post(CORES).json(&json!({"name": "x"})).refused(403, "AUTH_INSUFFICIENT_SCOPE");
    narrow.get("/v1/users").refused(403, "AUTH_INSUFFICIENT_SCOPE");
    narrow.get("/v1/admin/tenants").refused(403, "SW_AUTH_INSUFFICIENT_PERMISSION");
    assert_eq!(narrow.get("/v1/me").answer(200).data()["permissions"], json!(["scaicore:view"]));
    // What a key is made with bounds what it makes.
    let body = json!({"name": "maker", "scopes": ["api_keys:manage", "scaicore:view"]});
    let made = admin.post("/v1/api-keys").json(&body).answer(201).data();
    let maker = server.client(made["key"].as_str().unwrap());
    let wide = json!({"name": "wide", "scopes": ["users:manage"]});
    let refusal = maker.post("/v1/api-keys").json(&wide).exchange();
    assert!(matches!(refusal.status, 403 | 422), "{refusal}");
    let inherited = maker.post("/v1/api-keys").json(&json!({"name": "same"})).answer(201).data();
    let inherited = server.client(inherited["key"].as_str().unwrap());
    inherited.get("/v1/users").refused(403, "AUTH_INSUFFICIENT_SCOPE");
    let unknown = json!({"name": "x", "scopes": ["scaicore:fly"]});
    let refusal = admin.post("/v1/api-keys").json(&unknown).refused(422, "VALIDATION_ERROR");
    assert_eq!(refusal.fields(), ["scopes[0]"]);
    server.stop();
}

fn a_key_ends_when_it_says(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let past = json!({"name": "past", "expires_at": "2020-01-01T00:00:00Z"});
    assert_eq!(
        admin.post("/v1/api-keys").json(&past).refused(422, "VALIDATION_ERROR").fields(),
        ["expires_at"]
    );
    let vague = json!({"name": "vague", "expires_at": "tomorrow"});
    assert_eq!(
        admin.post("/v1/api-keys").json(&vague).refused(422, "VALIDATION_ERROR").fields(),
        ["expires_at"]
    );
    // The server's own clock says what is soon.
    let now = text(&admin.get("/health/detailed").answer(200).data()["now"]);
    let soon = format!("{}{:02}Z", &now[..17], now[17..19].parse::<u32>().unwrap());
    let soon = later(&soon, 2);
    let made =
        admin.post("/v1/api-keys").json(&json!({"name": "soon", "expires_at": soon})).answer(201).data();
    let client = server.client(made["key"].as_str().unwrap());
    client.get("/v1/me").answer(200);
    eventually("the key ends", Duration::from_secs(5), || {
        (client.get("/v1/me").exchange().status == 401).then_some(())
    });
    client.get("/v1/me").refused(401, "AUTH_TOKEN_INVALID");
    client.get("/v1/admin/tenants").refused(401, "SW_AUTH_EXPIRED_TOKEN");
    server.stop();
}

/// An instant of the form `2026-11-21T01:02:03Z`, some seconds later; the day's end is not minded.
fn later(instant: &str, seconds: u32) -> String {
    let part = |from: usize| instant[from..from + 2].parse::<u32>().unwrap();
    let total = part(11) * 3600 + part(14) * 60 + part(17) + seconds;
    if total >= 86_400 {
        // Rarely: wait until tomorrow has begun.
        std::thread::sleep(Duration::from_secs(u64::from(seconds)));
    }
    let total = total.min(86_399);
    format!("{}T{:02}:{:02}:{:02}Z", &instant[..10], total / 3600, total / 60 % 60, total % 60)
}

fn roles_do_what_they_are_for(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let partner =
        admin.post("/v1/admin/partners").json(&json!({"slug": "p", "name": "P"})).answer(201).data();
    let body = json!({"slug": "t", "name": "T", "partner_id": partner["id"]});
    let tenant = text(&admin.post("/v1/admin/tenants").json(&body).answer(201).data()["id"]);
    let inside = admin.in_tenant(&tenant);
    let core = inside.run("Core", &programs::asking(&json!({})));
    let me = "/v1/me".to_owned();
    let (cores, core_path) = (CORES.to_owned(), format!("{CORES}/{core}"));
    // What each role may read, in this order: me, modules, Cores, users, keys, audit, tenants, partners.
    let reads = [
        me,
        "/v1/modules".to_owned(),
        cores,
        "/v1/users".to_owned(),
        "/v1/api-keys".to_owned(),
        "/v1/audit/events".to_owned(),
        "/v1/admin/tenants".to_owned(),
        "/v1/admin/partners".to_owned(),
    ];
    let table: [(&str, [u16; 8]); 7] = [
        ("super_admin", [200, 200, 200, 200, 200, 200, 200, 200]),
        ("partner_admin", [200, 200, 200, 200, 200, 200, 200, 200]),
        ("partner_viewer", [200, 403, 403, 403, 403, 403, 403, 403]),
        ("tenant_admin", [200, 200, 200, 200, 200, 200, 403, 403]),
        ("tenant_user", [200, 200, 403, 403, 200, 403, 403, 403]),
        ("tenant_viewer", [200, 403, 200, 403, 403, 403, 403, 403]),
        ("", [200, 403, 403, 403, 403, 403, 403, 403]),
    ];
    for (role, expected) in table {
        let roles: Vec<&str> = if role.is_empty() { Vec::new() } else { vec![role] };
        let (_, key) = inside.user(&format!("u{}@example.org", role.replace('_', "-")), &roles);
        let client = server.client(&key);
        let statuses: Vec<u16> = reads.iter().map(|path| client.get(path).exchange().status).collect();
        assert_eq!(statuses, expected, "{role:?} reads {reads:?}");
        let may_manage = matches!(role, "super_admin" | "partner_admin" | "tenant_admin");
        let changed = client.put(&core_path, &json!({"metadata": {"by": role}})).exchange();
        assert_eq!(changed.status, if may_manage { 200 } else { 403 }, "{role}: {changed}");
        let invoked = client.post(&format!("{core_path}/invoke")).json(&json!({"flow": "ask"})).exchange();
        assert_eq!(invoked.status, if may_manage { 202 } else { 403 }, "{role}: {invoked}");
        let shown = client.get("/v1/me").answer(200).data();
        assert_eq!(shown["roles"], json!(roles));
        assert_eq!(shown["tenant"]["id"], json!(tenant));
    }
    server.stop();
}

fn users_come_and_go(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let (id, key) = admin.user("ada@example.org", &["tenant_user"]);
    let client = server.client(&key);
    let body = json!({"email": "ada@EXAMPLE.org", "roles": []});
    assert_eq!(admin.post("/v1/users").json(&body).refused(409, "CONFLICT").fields(), ["email"]);
    let shown = client.get(&format!("/v1/users/{id}")).answer(200);
    assert_eq!(shown.data()["email"], "ada@example.org");
    let me = text(&admin.get("/v1/me").answer(200).data()["user"]["id"]);
    client.get(&format!("/v1/users/{me}")).refused(403, "AUTHZ_PERMISSION_DENIED");

    let path = format!("/v1/users/{id}/roles");
    let etag = shown.header("etag").unwrap();
    let changed = admin.put(&path, &json!({"roles": ["tenant_admin"]})).header("If-Match", etag).answer(200);
    assert_eq!(changed.data()["roles"], json!(["tenant_admin"]));
    admin.put(&path, &json!({"roles": []})).header("If-Match", etag).refused(412, "PRECONDITION_FAILED");
    eventually("the role counts", Duration::from_secs(2), || {
        (client.get("/v1/users").exchange().status == 200).then_some(())
    });
    assert_eq!(
        admin.put(&path, &json!({"roles": ["king"]})).refused(422, "VALIDATION_ERROR").fields(),
        ["roles[0]"]
    );

    admin.delete(&format!("/v1/users/{me}")).refused(409, "CONFLICT");
    admin.delete(&format!("/v1/users/{id}")).answer(204);
    client.get("/v1/me").refused(401, "AUTH_TOKEN_INVALID");
    admin.get(&format!("/v1/users/{id}")).refused(404, "USER_NOT_FOUND");
    let emails = |query: &str| -> Vec<String> {
        admin.pages(&format!("/v1/users{query}"), "items").iter().map(|user| text(&user["email"])).collect()
    };
    assert_eq!(emails("?kind=human"), ["admin@scaigrid.local"]);
    assert_eq!(emails("?status=deleted"), ["ada@example.org"]);
    // The address is free again.
    admin.user("ada@example.org", &[]);
    let actions: Vec<String> = admin
        .pages(&format!("/v1/audit/events?resource_id={id}"), "items")
        .iter()
        .map(|record| text(&record["action"]))
        .collect();
    assert_eq!(actions.first().map(String::as_str), Some("user.delete"), "{actions:?}");
    assert_eq!(actions.last().map(String::as_str), Some("user.create"), "{actions:?}");
    assert_eq!(actions.len(), 3, "what was refused is no change: {actions:?}");
    server.stop();
}

fn nobody_gives_what_they_lack(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let (boss, boss_key) = admin.user("boss@example.org", &["tenant_admin"]);
    let (other, _) = admin.user("other@example.org", &["tenant_user"]);
    let root = text(&admin.get("/v1/me").answer(200).data()["user"]["id"]);
    let client = server.client(&boss_key);
    for role in ["super_admin", "partner_admin", "partner_viewer"] {
        let body = json!({"email": "x@example.org", "roles": [role]});
        client.post("/v1/users").json(&body).refused(403, "AUTHZ_PERMISSION_DENIED");
        for id in [&boss, &other] {
            let path = format!("/v1/users/{id}/roles");
            client.put(&path, &json!({"roles": [role]})).refused(403, "AUTHZ_PERMISSION_DENIED");
        }
    }
    // Nor is somebody above them taken down, or a key of theirs made.
    client.delete(&format!("/v1/users/{root}")).refused(403, "AUTHZ_PERMISSION_DENIED");
    client
        .put(&format!("/v1/users/{root}/roles"), &json!({"roles": []}))
        .refused(403, "AUTHZ_PERMISSION_DENIED");
    let body = json!({"name": "stolen", "assigned_user_id": root});
    let refusal = client.post("/v1/api-keys").json(&body).exchange();
    assert_eq!(refusal.status, 403, "a key for somebody above: {refusal}");
    client.post("/v1/users").json(&json!({"email": "y@example.org", "roles": ["tenant_admin"]})).answer(201);
    // A plain user makes keys for themselves only.
    let (_, user_key) = admin.user("plain@example.org", &["tenant_user"]);
    let plain = server.client(&user_key);
    plain.post("/v1/api-keys").json(&json!({"name": "mine"})).answer(201);
    let body = json!({"name": "theirs", "assigned_user_id": other});
    plain.post("/v1/api-keys").json(&body).refused(403, "AUTHZ_PERMISSION_DENIED");
    let refusal =
        plain.post("/v1/api-keys").json(&json!({"name": "wide", "scopes": ["users:manage"]})).exchange();
    assert!(matches!(refusal.status, 403 | 422), "{refusal}");
    server.stop();
}

fn those_above_act_in_tenants_by_header(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let acme = admin.tenant("acme");
    let core = admin.in_tenant(&acme).host("Acme's", &programs::echo(1));
    for name in [acme.as_str(), "acme"] {
        assert_eq!(admin.in_tenant(name).get("/v1/me").answer(200).data()["tenant"]["slug"], "acme");
        admin.in_tenant(name).get(&format!("{CORES}/{core}")).answer(200);
    }
    admin.get(&format!("{CORES}/{core}")).refused(404, "CORE_NOT_FOUND");
    for name in ["nobody", "ten_01J00000000000000000000000", "ten_x", "", "ACME ", &"x".repeat(300)] {
        let refusal = admin.in_tenant(name).get("/v1/me").exchange();
        let accepted = name.trim().is_empty() && refusal.status == 200;
        let said = (refusal.status, refusal.code());
        assert!(accepted || said == (404, "TENANT_NOT_FOUND".to_owned()), "{name:?}: {refusal}");
    }
    // A tenant's own people reach their own only.
    let (_, key) = admin.in_tenant(&acme).user("boss@acme.example", &["tenant_admin"]);
    let boss = server.client(&key);
    boss.in_tenant("acme").get("/v1/me").answer(200);
    let foreign = boss.in_tenant("default").get("/v1/me").refused(404, "TENANT_NOT_FOUND");
    let unknown = boss.in_tenant("nobody").get("/v1/me").refused(404, "TENANT_NOT_FOUND");
    assert_eq!(foreign.json()["error"], unknown.json()["error"], "nothing tells the two apart");
    let tenant = admin.get("/v1/me").answer(200).data()["tenant"]["id"].as_str().unwrap().to_owned();
    boss.in_tenant(&tenant).get("/v1/me").refused(404, "TENANT_NOT_FOUND");
    server.stop();
}

fn a_suspended_tenant_stands_still(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let acme = admin.tenant("acme");
    let inside = admin.in_tenant(&acme);
    let (_, key) = inside.user("boss@acme.example", &["tenant_admin"]);
    let boss = server.client(&key);
    let core = boss.run("Ask", &programs::asking(&json!({"timeout": "1h"})));
    let (execution, checkpoint) = boss.invoke_to_checkpoint(&core, "ask", &json!({}));
    let path = format!("/v1/admin/tenants/{acme}");
    assert_eq!(admin.put(&path, &json!({"status": "suspended"})).answer(200).data()["status"], "suspended");
    boss.get("/v1/me").refused(403, "TENANT_SUSPENDED");
    boss.post(&format!("{SCAICORE}/checkpoints/{checkpoint}/resolve"))
        .json(&json!({"decision": "x"}))
        .refused(403, "TENANT_SUSPENDED");
    admin.get("/v1/me").answer(200);
    assert_eq!(admin.put(&path, &json!({"status": "active"})).answer(200).data()["status"], "active");
    boss.get("/v1/me").answer(200);
    boss.status_becomes(&core, "running");
    boss.resolve(&checkpoint, "go on");
    boss.execution_becomes(&execution, "completed");
    let actions: Vec<String> = boss
        .pages(&format!("/v1/audit/events?resource_id={core}"), "items")
        .iter()
        .map(|record| text(&record["action"]))
        .collect();
    assert_eq!(actions, ["core.resume", "core.suspend", "core.start", "core.create"]);
    server.stop();
}

fn a_partner_runs_its_own_and_nothing_else(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let body = json!({"slug": "north", "name": "North", "limits": {"max_tenants": 2}});
    let north = text(&admin.post("/v1/admin/partners").json(&body).answer(201).data()["id"]);
    admin.post("/v1/admin/partners").json(&body).refused(409, "SW_SLUG_CONFLICT");
    let body = json!({"slug": "home", "name": "Home", "partner_id": north});
    let home = text(&admin.post("/v1/admin/tenants").json(&body).answer(201).data()["id"]);
    let (_, key) = admin.in_tenant(&home).user("pa@north.example", &["partner_admin"]);
    let partner = server.client(&key);
    let foreign = admin.tenant("foreign");

    // Their own partner and tenants, and nobody else's.
    let listed = partner.get("/v1/admin/partners").answer(200).json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    let tenants = partner.get("/v1/admin/tenants").answer(200).json();
    assert_eq!(tenants["data"].as_array().unwrap().len(), 1);
    partner.get(&format!("/v1/admin/tenants/{foreign}")).refused(404, "SW_TENANT_NOT_FOUND");
    partner
        .put(&format!("/v1/admin/tenants/{foreign}"), &json!({"name": "x"}))
        .refused(404, "SW_TENANT_NOT_FOUND");
    let internal = admin.get("/v1/me").answer(200).data()["partner"]["id"].as_str().unwrap().to_owned();
    partner.get(&format!("/v1/admin/partners/{internal}")).refused(404, "SW_PARTNER_NOT_FOUND");
    partner.in_tenant("foreign").get("/v1/me").refused(404, "TENANT_NOT_FOUND");
    partner
        .post("/v1/admin/partners")
        .json(&json!({"slug": "x", "name": "X"}))
        .refused(403, "SW_AUTH_INSUFFICIENT_PERMISSION");

    // One more tenant, and then the limit.
    let second = partner.tenant("second");
    assert_eq!(partner.in_tenant(&second).get("/v1/me").answer(200).data()["tenant"]["slug"], "second");
    partner
        .post("/v1/admin/tenants")
        .json(&json!({"slug": "third", "name": "T"}))
        .refused(409, "SW_TENANT_CAPACITY");
    // Name and contact are theirs to change, limits and status are not.
    let own = format!("/v1/admin/partners/{north}");
    assert_eq!(partner.put(&own, &json!({"name": "Nord"})).answer(200).data()["name"], "Nord");
    for body in [json!({"status": "suspended"}), json!({"limits": {"max_tenants": 99}})] {
        partner.put(&own, &body).refused(403, "SW_AUTH_INSUFFICIENT_PERMISSION");
    }
    // A suspended partner's tenants are refused.
    admin.put(&own, &json!({"status": "suspended"})).answer(200);
    partner.get("/v1/me").refused(403, "TENANT_SUSPENDED");
    admin.put(&own, &json!({"status": "active"})).answer(200);
    partner.get("/v1/me").answer(200);
    server.stop();
}

fn limits_are_kept(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let body = json!({"slug": "small", "name": "Small", "limits": {"max_users": 2, "max_cores": 1}});
    let small = text(&admin.post("/v1/admin/tenants").json(&body).answer(201).data()["id"]);
    let inside = admin.in_tenant(&small);
    inside.host("One", &json!({}));
    inside.post(CORES).json(&json!({"name": "Two"})).refused(409, "TENANT_CAPACITY");
    // Many at once do not get past it either.
    let rivals: Vec<_> = (0..8)
        .map(|n| {
            let body = json!({"email": format!("u{n}@example.org"), "roles": []});
            let request = inside.post("/v1/users").json(&body);
            std::thread::spawn(move || request.exchange())
        })
        .collect();
    let answers: Vec<_> = rivals.into_iter().map(|rival| rival.join().unwrap()).collect();
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 2, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!((answer.status, answer.code().as_str()), (409, "TENANT_CAPACITY"), "{answer}");
    }
    server.stop();
}

fn an_answer_is_not_given_again_to_a_narrower_key(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let key = |scopes: Value| {
        let body = json!({"name": "k", "scopes": scopes});
        let made = admin.post("/v1/api-keys").json(&body).answer(201).data();
        server.client(made["key"].as_str().unwrap())
    };
    let (narrow, same) = (key(json!(["users:manage"])), key(Value::Null));
    let ask = |client: &Client| {
        let body = json!({"url": "https://8.8.8.8/hook", "events": ["*"], "status": "inactive"});
        client.post("/v1/webhooks").json(&body).header("Idempotency-Key", "one")
    };
    narrow.post("/v1/webhooks").json(&json!({})).refused(403, "AUTH_INSUFFICIENT_SCOPE");
    let first = ask(&admin).answer(201);
    assert!(first.data()["secret"].is_string());
    ask(&narrow).refused(422, "IDEMPOTENCY_KEY_REUSED");
    for client in [&admin, &same] {
        let again = ask(client).answer(201);
        assert_eq!((again.header("idempotency-replayed"), again.data()), (Some("true"), first.data()));
    }
    server.stop();
}
