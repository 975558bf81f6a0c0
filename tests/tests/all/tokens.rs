//! Callers who present a token of a trusted issuer, whose tokens a certified provider makes.

use std::time::Duration;

use scaigrid_tests::{CORES, Client, Db, Place, Provider, Server, eventually, on_both_databases};
use serde_json::{Value, json};

on_both_databases!(
    somebody_new_becomes_a_user,
    somebody_who_comes_twice_at_once_is_one,
    roles_follow_the_youngest_token,
    groups_follow_the_youngest_token,
    groups_made_by_many_at_once_are_made_once,
    only_a_good_token_makes_groups,
    a_token_does_no_more_than_its_scope,
    a_token_counts_no_longer_than_its_user,
    an_issuer_speaks_for_its_own_tenant,
    a_user_is_linked_where_that_is_wished,
    other_keys_are_found,
    a_token_that_was_tampered_with_opens_nothing,
);

/// A server that trusts a provider, with more said about it; and a tenant `acme` there.
fn trusting(place: &Place, provider: &Provider, more: &str) -> (Server, Client) {
    let setting = format!("{} audience=other,grid {more}", provider.issuer);
    let server = place.launch().set("SCAIGRID_OIDC_ISSUERS", &setting).start();
    let admin = server.admin();
    if admin.in_tenant("acme").get("/v1/me").exchange().status == 404 {
        admin.tenant("acme");
    }
    (server, admin)
}

fn me(server: &Server, token: &str) -> Value {
    server.client(token).get("/v1/me").answer(200).data()
}

fn somebody_new_becomes_a_user(place: &Place) {
    let Some(provider) = Provider::start() else { return };
    let (server, admin) = trusting(place, &provider, "");
    for (name, alg) in [("ada", "RS256"), ("eve", "ES256")] {
        let claims = json!({"tenant_id": "acme", "role": "tenant_admin", "email": format!("{name}@acme.example"),
            "name": "Somebody", "client_id": "console", "act": {"sub": "agent-7"}});
        provider.subject(name, alg, &claims);
        let token = provider.token(name, "");
        let shown = me(&server, &token);
        assert_eq!(shown["user"]["email"], format!("{name}@acme.example"));
        assert_eq!(
            (&shown["user"]["display_name"], &shown["user"]["kind"]),
            (&json!("Somebody"), &json!("human"))
        );
        assert_eq!((&shown["tenant"]["slug"], &shown["roles"]), (&json!("acme"), &json!(["tenant_admin"])));
        let credential = json!({"kind": "token", "issuer": provider.issuer, "actor": "agent-7"});
        assert_eq!(shown["credential"], credential);
        // Once and for all.
        assert_eq!(me(&server, &provider.token(name, ""))["user"]["id"], shown["user"]["id"]);
        server.client(&token).post(CORES).json(&json!({"name": format!("{name}'s")})).answer(201);
        let id = shown["user"]["id"].as_str().unwrap();
        let records = admin.in_tenant("acme").pages(&format!("/v1/audit/events?resource_id={id}"), "items");
        assert_eq!(records.len(), 1, "{records:?}");
        assert_eq!(
            (&records[0]["action"], &records[0]["actor_type"]),
            (&json!("user.create"), &json!("system"))
        );
        assert_eq!(records[0]["changes"]["issuer"]["after"], json!(provider.issuer));
        assert_eq!(records[0]["changes"]["subject"]["after"], json!(name));
    }
    // A program that logs in as itself, without an address or a role.
    provider.subject("robot", "RS256", &json!({"tenant_id": "acme"}));
    let robot = me(&server, &provider.token("robot", ""));
    assert_eq!((&robot["user"]["kind"], &robot["roles"]), (&json!("service"), &json!(["tenant_user"])));
    assert!(robot["user"]["email"].as_str().unwrap().ends_with("@subject.invalid"));
    // What a token must say.
    for claims in [
        json!({}),
        json!({"tenant_id": "nowhere"}),
        json!({"tenant_id": "acme", "partner_id": "nobody"}),
        json!({"tenant_id": "acme", "aud": "somebody-else"}),
        json!({"tenant_id": "acme", "iss": "http://127.0.0.1:1"}),
        json!({"tenant_id": "acme", "exp": 1_700_000_000}),
        json!({"tenant_id": "acme", "nbf": 4_000_000_000_u64}),
    ] {
        provider.subject("odd", "RS256", &claims);
        let refused =
            server.client(&provider.token("odd", "")).get("/v1/me").refused(401, "AUTH_TOKEN_INVALID");
        assert!(refused.header("www-authenticate").is_some(), "{claims}");
    }
    // Nobody who was refused is a user now: the two and the robot.
    assert_eq!(admin.in_tenant("acme").pages("/v1/users", "items").len(), 3);
    server.stop();
}

fn somebody_who_comes_twice_at_once_is_one(place: &Place) {
    let Some(provider) = Provider::start() else { return };
    let (server, admin) = trusting(place, &provider, "");
    provider.subject("ada", "ES256", &json!({"tenant_id": "acme", "email": "ada@acme.example"}));
    let tokens: Vec<String> = (0..8).map(|_| provider.token("ada", "")).collect();
    let ids: Vec<Value> = std::thread::scope(|scope| {
        let asking: Vec<_> =
            tokens.iter().map(|token| scope.spawn(|| me(&server, token)["user"]["id"].clone())).collect();
        asking.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(admin.in_tenant("acme").pages("/v1/users", "items").len(), 1);
    let id = ids[0].as_str().unwrap();
    let records = admin.in_tenant("acme").pages(&format!("/v1/audit/events?resource_id={id}"), "items");
    assert_eq!(records.len(), 1, "{records:?}");
    server.stop();
}

fn roles_follow_the_youngest_token(place: &Place) {
    let Some(provider) = Provider::start() else { return };
    let (server, admin) = trusting(place, &provider, "");
    let token = |role: &Value| {
        // Tokens are issued in whole seconds.
        std::thread::sleep(Duration::from_millis(1100));
        provider.subject("ada", "RS256", &json!({"tenant_id": "acme", "role": role}));
        provider.token("ada", "")
    };
    let first = token(&json!(["tenant_admin", "super_admin", "partner_admin", "king"]));
    assert_eq!(me(&server, &first)["roles"], json!(["tenant_admin"]), "no more than an issuer may give");
    let second = token(&json!("tenant_viewer"));
    assert_eq!(me(&server, &second)["roles"], json!(["tenant_viewer"]));
    // The older token is good still, but what it says of roles is old.
    assert_eq!(me(&server, &first)["roles"], json!(["tenant_viewer"]));
    // The same word again changes nothing and leaves no record, but makes what is older older.
    let between = token(&json!("tenant_admin"));
    let third = token(&json!("tenant_viewer"));
    let id = me(&server, &third)["user"]["id"].as_str().unwrap().to_owned();
    assert_eq!(me(&server, &between)["roles"], json!(["tenant_viewer"]));
    let records = admin.in_tenant("acme").pages(&format!("/v1/audit/events?resource_id={id}"), "items");
    let actions: Vec<_> = records.iter().map(|record| record["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["user.role_updated", "user.create"]);
    // What was given here and is beyond the issuer stays.
    let roles = json!({"roles": ["partner_viewer", "tenant_viewer"]});
    admin.in_tenant("acme").put(&format!("/v1/users/{id}/roles"), &roles).answer(200);
    let fourth = token(&json!("tenant_user"));
    assert_eq!(me(&server, &fourth)["roles"], json!(["partner_viewer", "tenant_user"]));
    server.stop();

    // An operator may trust an issuer with more.
    let (server, _) = trusting(place, &provider, "roles=super_admin,tenant_admin default_role=none");
    let root = token(&json!("super_admin"));
    assert_eq!(me(&server, &root)["level"], "platform");
    provider.subject("plain", "RS256", &json!({"tenant_id": "acme"}));
    assert_eq!(me(&server, &provider.token("plain", ""))["roles"], json!([]));
    server.stop();
}

/// The groups of `acme` by slug, each with its name and revision, and how many are in it.
fn groups(admin: &Client) -> Value {
    let all = admin.in_tenant("acme").pages("/v1/groups", "items");
    let each = all.iter().map(|group| {
        let slug = group["slug"].as_str().unwrap().to_owned();
        (slug, json!([group["name"], group["member_count"]]))
    });
    Value::Object(each.collect())
}

/// The slugs of the groups that somebody is told they are in.
fn slugs(admin: &Client, me: &Value) -> Vec<String> {
    let all = admin.in_tenant("acme").pages("/v1/groups", "items");
    let mine = all.iter().filter(|group| me["groups"].as_array().unwrap().contains(&group["id"]));
    let mut slugs: Vec<String> = mine.map(|group| group["slug"].as_str().unwrap().to_owned()).collect();
    slugs.sort();
    slugs
}

/// The records about groups, the oldest first.
fn told(admin: &Client) -> Vec<Value> {
    let mut records = admin.in_tenant("acme").pages("/v1/audit/events?resource_type=group", "items");
    records.reverse();
    records
}

fn groups_follow_the_youngest_token(place: &Place) {
    let Some(provider) = Provider::start() else { return };
    let (server, admin) = trusting(place, &provider, "");
    let acme = admin.in_tenant("acme");
    let token = |groups: &Value| {
        // Tokens are issued in whole seconds.
        std::thread::sleep(Duration::from_millis(1100));
        provider.subject("ada", "RS256", &json!({"tenant_id": "acme", "groups": groups}));
        provider.token("ada", "")
    };
    let by_hand = acme.post("/v1/groups").json(&json!({"name": "By Hand"})).answer(201).data();
    let first = token(&json!(["/Sales/EMEA", "Ops", "ops", "!?"]));
    let shown = me(&server, &first);
    assert_eq!(slugs(&admin, &shown), ["ops", "sales-emea"]);
    let id = shown["user"]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        groups(&admin),
        json!({"by-hand": ["By Hand", 0], "sales-emea": ["/Sales/EMEA", 1], "ops": ["Ops", 1]})
    );
    let records = told(&admin);
    assert_eq!(records.len(), 3, "{records:?}");
    for (record, slug) in records[1..].iter().zip(["sales-emea", "ops"]) {
        assert_eq!((&record["action"], &record["actor_type"]), (&json!("group.create"), &json!("service")));
        assert_eq!(record["actor_id"], json!(id));
        assert_eq!(record["changes"]["slug"]["after"], slug);
        assert_eq!(record["changes"]["issuer"]["after"], json!(provider.issuer));
        assert_eq!(record["changes"]["members"]["after"], json!({id.clone(): true}));
    }
    assert!(place.log().contains("groups of a token were left out"), "of !?");

    // Seen again, here and on a token of the same words, it changes nothing.
    let again = token(&json!(["Ops", "/Sales/EMEA"]));
    for token in [&first, &again, &again] {
        assert_eq!(slugs(&admin, &me(&server, token)), ["ops", "sales-emea"]);
    }
    assert_eq!(told(&admin).len(), 3);

    // Made by hand, a membership is not the issuer's to take, whether it names the group or not.
    acme.put(&format!("/v1/groups/{}/members/{id}", by_hand["id"].as_str().unwrap()), &json!({})).answer(200);
    let all = token(&json!(["Ops", "By Hand"]));
    assert_eq!(slugs(&admin, &me(&server, &all)), ["by-hand", "ops"]);
    let records = told(&admin);
    assert_eq!(records.len(), 5, "{records:?}");
    let left = records.last().unwrap();
    assert_eq!((&left["action"], &left["actor_id"]), (&json!("group.update"), &json!(id)));
    assert_eq!(left["changes"]["members"], json!({"before": {id.clone(): true}, "after": {}}));
    assert_eq!(left["changes"]["issuer"]["before"], json!(provider.issuer));
    assert_eq!(groups(&admin)["sales-emea"], json!(["/Sales/EMEA", 0]), "what was made stays");
    // The older token is good still, but what it says of groups is old.
    assert_eq!(slugs(&admin, &me(&server, &first)), ["by-hand", "ops"]);
    // A token that says nothing about groups says nothing about groups.
    provider.subject("ada", "RS256", &json!({"tenant_id": "acme"}));
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(slugs(&admin, &me(&server, &provider.token("ada", ""))), ["by-hand", "ops"]);
    assert_eq!(slugs(&admin, &me(&server, &token(&json!([])))), ["by-hand"]);
    assert_eq!(told(&admin).len(), 6);
    server.stop();

    let (server, admin) = trusting(place, &provider, "groups=ignore");
    assert_eq!(slugs(&admin, &me(&server, &token(&json!(["Ops", "New"])))), ["by-hand"]);
    server.stop();
}

fn groups_made_by_many_at_once_are_made_once(place: &Place) {
    let Some(provider) = Provider::start() else { return };
    let (server, admin) = trusting(place, &provider, "");
    // Two nodes where that can be.
    let setting = format!("{} audience=grid", provider.issuer);
    let further = (place.db() == Db::Postgres)
        .then(|| place.further_node("second").set("SCAIGRID_OIDC_ISSUERS", &setting).start());
    let second = further.as_ref().unwrap_or(&server);
    let tokens: Vec<String> = (0..8)
        .map(|number| {
            let name = format!("user-{}", number / 2);
            provider.subject(&name, "ES256", &json!({"tenant_id": "acme", "groups": ["Sales", "Ops"]}));
            provider.token(&name, "")
        })
        .collect();
    std::thread::scope(|scope| {
        for (number, token) in tokens.iter().enumerate() {
            let (server, admin) = (if number % 2 == 0 { &server } else { second }, &admin);
            scope.spawn(move || assert_eq!(slugs(admin, &me(server, token)), ["ops", "sales"]));
        }
    });
    assert_eq!(groups(&admin), json!({"sales": ["Sales", 4], "ops": ["Ops", 4]}));
    let actions: Vec<_> = told(&admin).iter().map(|record| record["action"].clone()).collect();
    let made = actions.iter().filter(|action| **action == json!("group.create")).count();
    assert_eq!((made, actions.len()), (2, 8), "{actions:?}");
    if let Some(further) = further {
        further.stop();
    }
    server.stop();
}

fn only_a_good_token_makes_groups(place: &Place) {
    let Some(provider) = Provider::start() else { return };
    let (server, admin) = trusting(place, &provider, "");
    let with = |more: Value| {
        let mut claims = json!({"tenant_id": "acme", "groups": ["Sales"]});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        provider.subject("ada", "RS256", &claims);
        provider.token("ada", "")
    };
    let good = with(json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let forged = format!("{}.{}.{}", parts[0], parts[1], "A".repeat(parts[2].len()));
    let expired = with(json!({"exp": 1_700_000_000}));
    let odd = with(json!({"groups": {"sales": true}}));
    for token in [&forged, &expired, &odd] {
        server.client(token).get("/v1/me").refused(401, "AUTH_TOKEN_INVALID");
    }
    assert_eq!((groups(&admin), told(&admin).len()), (json!({}), 0));
    // Nor does one of a suspended tenant or user; they are heard as soon as they are let in again.
    let tenant = admin.in_tenant("acme").get("/v1/me").answer(200).data()["tenant"]["id"].clone();
    provider.subject("eve", "RS256", &json!({"tenant_id": "acme"}));
    let id = me(&server, &provider.token("eve", ""))["user"]["id"].as_str().unwrap().to_owned();
    std::thread::sleep(Duration::from_millis(1100));
    provider.subject("eve", "RS256", &json!({"tenant_id": "acme", "groups": ["Ops"]}));
    let eve = provider.token("eve", "");
    let tenant = format!("/v1/admin/tenants/{}", tenant.as_str().unwrap());
    admin.put(&tenant, &json!({"status": "suspended"})).answer(200);
    server.client(&eve).get("/v1/me").refused(403, "TENANT_SUSPENDED");
    admin.put(&tenant, &json!({"status": "active"})).answer(200);
    let user = format!("/v1/users/{id}");
    admin.in_tenant("acme").put(&user, &json!({"status": "suspended"})).answer(200);
    server.client(&eve).get("/v1/me").refused(401, "AUTH_TOKEN_INVALID");
    assert_eq!(groups(&admin), json!({}));
    admin.in_tenant("acme").put(&user, &json!({"status": "active"})).answer(200);
    assert_eq!(slugs(&admin, &me(&server, &eve)), ["ops"]);
    server.stop();
}

fn a_token_does_no_more_than_its_scope(place: &Place) {
    let Some(provider) = Provider::start() else { return };
    let (server, _) = trusting(place, &provider, "");
    provider.subject("ada", "RS256", &json!({"tenant_id": "acme", "role": "tenant_admin"}));
    let narrow = server.client(&provider.token("ada", "scaicore:view models:list"));
    narrow.get(CORES).answer(200);
    narrow.post(CORES).json(&json!({"name": "x"})).refused(403, "AUTH_INSUFFICIENT_SCOPE");
    narrow.get("/v1/users").refused(403, "AUTH_INSUFFICIENT_SCOPE");
    let me = narrow.get("/v1/me").answer(200).data();
    assert_eq!(me["permissions"], json!(["models:list", "scaicore:view"]));
    // Words that are no permissions limit nothing.
    provider.subject(
        "eve",
        "RS256",
        &json!({"tenant_id": "acme", "role": "tenant_admin", "scope": "openid email"}),
    );
    server.client(&provider.token("eve", "")).get("/v1/users").answer(200);
    server.stop();
}

fn a_token_counts_no_longer_than_its_user(place: &Place) {
    let Some(provider) = Provider::start() else { return };
    let (server, admin) = trusting(place, &provider, "");
    provider.subject("ada", "RS256", &json!({"tenant_id": "acme"}));
    let token = provider.token("ada", "");
    let client = server.client(&token);
    let id = me(&server, &token)["user"]["id"].as_str().unwrap().to_owned();
    let tenant = me(&server, &token)["tenant"]["id"].as_str().unwrap().to_owned();
    let status = |status: &str| {
        admin.put(&format!("/v1/admin/tenants/{tenant}"), &json!({"status": status})).answer(200);
    };
    status("suspended");
    client.get("/v1/me").refused(403, "TENANT_SUSPENDED");
    // Nobody new gets in meanwhile.
    provider.subject("new", "RS256", &json!({"tenant_id": "acme"}));
    let new = provider.token("new", "");
    server.client(&new).get("/v1/me").refused(403, "TENANT_SUSPENDED");
    status("active");
    client.get("/v1/me").answer(200);
    admin.in_tenant("acme").delete(&format!("/v1/users/{id}")).answer(204);
    client.get("/v1/me").refused(401, "AUTH_TOKEN_INVALID");
    // Nor does a new token bring back who was removed.
    std::thread::sleep(Duration::from_millis(1100));
    provider.subject("ada", "RS256", &json!({"tenant_id": "acme", "role": "tenant_admin"}));
    server.client(&provider.token("ada", "")).get("/v1/me").refused(401, "AUTH_TOKEN_INVALID");
    // A full tenant takes nobody new.
    admin.put(&format!("/v1/admin/tenants/{tenant}"), &json!({"limits": {"max_users": 1}})).answer(200);
    me(&server, &new);
    provider.subject("late", "RS256", &json!({"tenant_id": "acme"}));
    server.client(&provider.token("late", "")).get("/v1/me").refused(409, "TENANT_CAPACITY");
    server.stop();
}

fn an_issuer_speaks_for_its_own_tenant(place: &Place) {
    let Some(provider) = Provider::start() else { return };
    let (server, admin) = trusting(place, &provider, "tenant=acme");
    provider.subject("ada", "RS256", &json!({}));
    assert_eq!(me(&server, &provider.token("ada", ""))["tenant"]["slug"], "acme");
    provider.subject("eve", "RS256", &json!({"tenant_id": "default"}));
    server.client(&provider.token("eve", "")).get("/v1/me").refused(401, "AUTH_TOKEN_INVALID");
    // By the issuer's own name for the tenant, as long as it is one tenant's.
    let other = json!({"slug": "other", "name": "Other", "scaikey_tenant_id": "tnt_42"});
    admin.post("/v1/admin/tenants").json(&other).answer(201);
    server.stop();
    let (server, admin) = trusting(place, &provider, "");
    provider.subject("bob", "RS256", &json!({"tenant_id": "tnt_42"}));
    assert_eq!(me(&server, &provider.token("bob", ""))["tenant"]["slug"], "other");
    let copy = json!({"slug": "copy", "name": "Copy", "scaikey_tenant_id": "tnt_42"});
    admin.post("/v1/admin/tenants").json(&copy).answer(201);
    eventually("two of a name are none", Duration::from_secs(3), || {
        let answer = server.client(&provider.token("bob", "")).get("/v1/me").exchange();
        (answer.status == 401).then_some(())
    });
    server.stop();
}

fn a_user_is_linked_where_that_is_wished(place: &Place) {
    let Some(provider) = Provider::start() else { return };
    let claims = json!({"tenant_id": "acme", "email": "ada@acme.example", "role": "tenant_user"});
    let root = json!({"tenant_id": "default", "email": "admin@scaigrid.local", "email_verified": true});
    provider.subject("ada", "RS256", &claims);
    provider.subject("eve", "RS256", &root);
    let (server, admin) = trusting(place, &provider, "");
    let (id, _) = admin.in_tenant("acme").user("ada@acme.example", &["tenant_viewer"]);
    server.client(&provider.token("ada", "")).get("/v1/me").refused(401, "AUTH_TOKEN_INVALID");
    server.stop();
    let (server, _) = trusting(place, &provider, "link=email");
    // An address that the provider does not vouch for is anybody's.
    server.client(&provider.token("ada", "")).get("/v1/me").refused(401, "AUTH_TOKEN_INVALID");
    let mut vouched = claims.clone();
    vouched["email_verified"] = json!(true);
    provider.subject("ada", "RS256", &vouched);
    let shown = me(&server, &provider.token("ada", ""));
    assert_eq!((&shown["user"]["id"], &shown["roles"]), (&json!(id), &json!(["tenant_user"])));
    // Nobody becomes the super admin by saying so.
    server.client(&provider.token("eve", "")).get("/v1/me").refused(401, "AUTH_TOKEN_INVALID");
    let mut unverified = claims.clone();
    unverified["email_verified"] = json!(false);
    provider.subject("mallory", "RS256", &unverified);
    assert_ne!(me(&server, &provider.token("mallory", ""))["user"]["id"], json!(id));
    server.stop();
}

fn other_keys_are_found(place: &Place) {
    let Some(provider) = Provider::start() else { return };
    provider.subject("ada", "ES256", &json!({"tenant_id": "acme"}));
    let (old, first) = (provider.token("ada", ""), provider.token("ada", ""));
    provider.away(true);
    let (server, _) = trusting(place, &provider, "");
    let refused = server.client(&old).get("/v1/me").refused(503, "SERVICE_UNAVAILABLE");
    assert!(refused.header("retry-after").is_some());
    provider.away(false);
    let patience = Duration::from_secs(25);
    let works = |token: &str| (server.client(token).get("/v1/me").exchange().status == 200).then_some(());
    eventually("the provider is found", patience, || works(&first));
    provider.rotate();
    let new = provider.token("ada", "");
    eventually("the new keys are found", patience, || works(&new));
    // The old ones are not believed any more, as soon as nobody remembers the caller.
    eventually("the old keys are gone", patience, || works(&old).is_none().then_some(()));
    provider.away(true);
    std::thread::sleep(Duration::from_millis(1200));
    works(&new).unwrap();
    server.stop();
}

fn a_token_that_was_tampered_with_opens_nothing(place: &Place) {
    let Some(provider) = Provider::start() else { return };
    let (server, admin) = trusting(place, &provider, "");
    provider.subject("ada", "RS256", &json!({"tenant_id": "acme", "role": "tenant_user"}));
    provider.subject("eve", "RS256", &json!({"tenant_id": "acme", "role": "tenant_admin"}));
    let (ada, eve) = (provider.token("ada", ""), provider.token("eve", ""));
    let parts: Vec<&str> = ada.split('.').collect();
    let others: Vec<&str> = eve.split('.').collect();
    // {"alg":"none","kid":"RS256-0"}
    let none = "eyJhbGciOiJub25lIiwia2lkIjoiUlMyNTYtMCJ9";
    for token in [
        format!("{}.{}.{}", parts[0], others[1], parts[2]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{none}.{}.", parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.{}A", parts[0], parts[1], parts[2]),
        format!("{ada}.{}", parts[2]),
        format!("{}.{}.{}", parts[0], "A".repeat(9000), parts[2]),
    ] {
        server.client(&token).get("/v1/me").refused(401, "AUTH_TOKEN_INVALID");
    }
    assert_eq!(admin.in_tenant("acme").pages("/v1/users", "items").len(), 0);
    me(&server, &ada);
    assert!(!place.log().contains(parts[2]), "no token is written to the log");
    server.stop();
}
