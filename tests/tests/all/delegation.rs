//! Users' identities that Cores act under: who lends what, what it is worth in each moment, and how it ends.

use std::time::Duration;

use scaigrid_tests::{
    CORES, Client, Db, Place, Plugin, SCAICORE, Server, eventually, on, on_both_databases, programs,
};
use serde_json::{Value, json};

use crate::remote::{key_set, verified};

on_both_databases!(
    what_is_lent_is_shown_changed_and_taken_back,
    what_is_wrong_with_a_delegation_is_told,
    nobody_lends_what_they_lack,
    calls_name_the_user_and_what_was_lent,
    what_is_taken_back_ends_what_was_begun,
    what_a_user_takes_back_is_for_nobody,
    what_is_set_off_for_nobody_any_more_does_nothing,
    what_the_user_loses_the_core_loses,
    what_is_over_suspends_the_core,
    calls_of_models_and_cores_need_what_the_user_needs,
    who_has_lent_is_asked,
    a_delegation_goes_with_its_core,
);

const SOON: Duration = Duration::from_secs(20);
const MINE: &str = "/v1/me/delegations";

fn start(place: &Place) -> Server {
    place.launch().set("SCAIGRID_EGRESS_ALLOW", "127.0.0.1").start()
}

/// A server, its admin, and a plugin that is registered there.
fn settle(place: &Place) -> (Server, Client, Plugin) {
    let server = start(place);
    let admin = server.admin();
    let plugin = Plugin::start();
    let entry = json!({"plugin": "acme/stub", "kind": "http", "endpoint": plugin.http(), "manifest": Plugin::manifest()});
    admin.post(&format!("{SCAICORE}/plugins/registry")).json(&entry).answer(201);
    (server, admin, plugin)
}

fn returns(value: &str) -> Value {
    json!({"kind": "rigid", "statements": [{"kind": "return", "value": value}]})
}

/// Flows that call the plugin: `go` at once, `late` after a checkpoint; `careful` is `late` and returns the code of the error.
fn caller() -> Value {
    let call = json!({"kind": "rigid", "id": "calls", "statements": [
        {"kind": "plugin_call", "alias": "stub", "method": "echo", "args": {}, "result_binding": "got"},
        {"kind": "return", "value": "'called'"},
    ]});
    let careful = json!({"kind": "try", "id": "try", "body": [call],
        "catch": [{"as": "problem", "body": [returns("problem.code")]}]});
    let ask = programs::checkpoint(&json!({"assignee": "role:tenant_admin"}));
    json!({
        "schema_version": "0.2", "name": "Caller", "version": "1.0.0",
        "plugins": [{"alias": "stub", "plugin": "acme/stub", "config": {}, "required": true}],
        "flows": [
            {"name": "go", "params": [], "body": [call]},
            {"name": "late", "params": [], "body": [ask, call]},
            {"name": "careful", "params": [], "body": [ask, careful]},
        ],
    })
}

fn lend(client: &Client, core: &str, user: &str, scopes: &[&str]) -> Value {
    let body = json!({"user_id": user, "scopes": scopes});
    client.post(&format!("{CORES}/{core}/delegate")).json(&body).answer(200).data()
}

fn identity(client: &Client, core: &str) -> Value {
    client.get(&format!("{CORES}/{core}/delegation")).answer(200).data()
}

/// Records of changes of identities, newest first.
fn records(client: &Client, core: &str) -> Vec<Value> {
    let all = client.pages(&format!("/v1/audit/events?resource_id={core}"), "items");
    all.into_iter().filter(|one| one["action"].as_str().unwrap().contains("delegat")).collect()
}

fn what_is_lent_is_shown_changed_and_taken_back(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let (ada, key) = admin.user("ada@example.org", &["tenant_user"]);
    let (eve, eves_key) = admin.user("eve@example.org", &["tenant_user"]);
    let (adas, eves) = (server.client(&key), server.client(&eves_key));
    let core = admin.host("Helper", &programs::echo(1));
    let (delegate, delegation, revoke) = (
        format!("{CORES}/{core}/delegate"),
        format!("{CORES}/{core}/delegation"),
        format!("{CORES}/{core}/revoke-delegation"),
    );
    let nobody = json!({"identity_mode": "service_account", "delegated_user_id": null, "delegation_scopes": [],
        "delegation_expires_at": null, "delegation_granted_by": null, "delegation_revoked_at": null});
    assert_eq!(identity(&admin, &core), nobody);
    admin.post(&revoke).refused(403, "DELEGATION_NOT_ACTIVE");
    admin.put(&delegation, &json!({"scopes": ["models:use"]})).refused(400, "DELEGATION_VALIDATION_ERROR");

    let body = json!({"user_id": ada, "scopes": ["models:use", "models:list"], "expires_at": "2999-01-01T00:00:00Z"});
    let shown = admin.post(&delegate).json(&body).answer(200).data();
    let me = admin.get("/v1/me").answer(200).data();
    let lent = json!({"identity_mode": "user_delegated", "delegated_user_id": ada,
        "delegation_scopes": ["models:list", "models:use"], "delegation_expires_at": "2999-01-01T00:00:00Z",
        "delegation_granted_by": me["user"]["id"], "delegation_revoked_at": null});
    for (name, value) in lent.as_object().unwrap() {
        assert_eq!(&shown[name], value, "{name}");
    }
    let got = admin.get(&delegation).answer(200);
    assert_eq!(got.data(), lent);
    let told = records(&admin, &core);
    assert_eq!((told.len(), &told[0]["action"]), (1, &json!("core.delegate")));
    assert_eq!(told[0]["changes"]["delegated_user_id"]["after"], json!(ada), "{}", told[0]);
    // The same once more is the same, and no news.
    admin.post(&delegate).json(&body).answer(200);
    assert_eq!(admin.get(&delegation).answer(200).header("etag"), got.header("etag"));
    assert_eq!(records(&admin, &core).len(), 1);

    // She sees it, though she may not look at the Core; nobody else does.
    adas.get(&delegation).refused(403, "AUTHZ_PERMISSION_DENIED");
    let mine = adas.get(MINE).answer(200).json();
    let one = &mine["data"]["items"][0];
    assert_eq!(
        (&one["core_id"], &one["core_slug"], &one["status"]),
        (&json!(core), &json!("helper"), &json!("active"))
    );
    assert_eq!((&one["scopes"], &one["granted_by"]), (&lent["delegation_scopes"], &me["user"]["id"]));
    assert_eq!(one["effective_scopes"], lent["delegation_scopes"]);
    assert!(eves.pages(MINE, "items").is_empty());
    assert!(admin.pages(MINE, "items").is_empty());

    // Changed in part, and under its condition.
    let changes = json!({"scopes": ["models:use"]});
    admin.put(&delegation, &changes).header("If-Match", "\"r1\"").refused(412, "PRECONDITION_FAILED");
    admin.put(&delegation, &json!({"user_id": eve})).refused(400, "DELEGATION_VALIDATION_ERROR");
    admin.put(&delegation, &json!({"scopes": ["users:manage"]})).refused(400, "DELEGATION_VALIDATION_ERROR");
    let answered =
        admin.put(&delegation, &changes).header("If-Match", got.header("etag").unwrap()).answer(200);
    assert_eq!(answered.data()["delegation_scopes"], json!(["models:use"]));
    assert_eq!(answered.data()["delegation_expires_at"], lent["delegation_expires_at"]);
    let endless = admin.put(&delegation, &json!({"expires_at": null})).answer(200).data();
    assert_eq!(endless["delegation_expires_at"], Value::Null);
    assert_eq!(records(&admin, &core)[0]["action"], "core.delegation_update");
    let id = adas.pages(MINE, "items")[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(one["id"], json!(id), "it is the same delegation");

    // Taken back by her, who may do nothing with the Core, and by nobody else.
    let own = format!("{MINE}/{id}");
    eves.delete(&own).refused(404, "DELEGATION_NOT_FOUND");
    adas.post(&revoke).refused(403, "AUTHZ_PERMISSION_DENIED");
    adas.delete(&own).answer(204);
    adas.delete(&own).refused(404, "DELEGATION_NOT_FOUND");
    let over = identity(&admin, &core);
    assert_eq!((&over["identity_mode"], &over["delegated_user_id"]), (&json!("user_delegated"), &json!(ada)));
    let at = &over["delegation_revoked_at"];
    assert!(at.is_string(), "{over}");
    let told = records(&admin, &core);
    assert_eq!(told[0]["action"], "core.delegation_revoke");
    assert_eq!(
        (&told[0]["actor_id"], &told[0]["changes"]["delegation_revoked_at"]),
        (&json!(ada), &json!({"before": null, "after": at}))
    );
    // For whom it acts now is said by whoever manages it; her scopes are not theirs to change.
    let refused = admin.put(&delegation, &changes).refused(400, "DELEGATION_VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["core_id"], "{refused}");
    admin.post(&revoke).answer(200);
    assert_eq!(identity(&admin, &core), nobody);

    // It is theirs to take back, too.
    lend(&admin, &core, &eve, &["models:use"]);
    let shown = admin.post(&revoke).answer(200).data();
    assert_eq!(shown["identity_mode"], "service_account");
    assert!(eves.pages(MINE, "items").is_empty());
    server.stop();
}

fn what_is_wrong_with_a_delegation_is_told(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let (ada, _) = admin.user("ada@example.org", &["tenant_user"]);
    let core = admin.host("Helper", &programs::echo(1));
    let delegate = format!("{CORES}/{core}/delegate");
    // What is wrong is told by field, under a code of its own.
    for (body, fields) in [
        (json!({}), vec!["user_id"]),
        (json!({"user_id": "", "scopes": ["models:use"]}), vec!["user_id"]),
        (json!({"user_id": ada}), vec!["scopes"]),
        (json!({"user_id": ada, "scopes": []}), vec!["scopes"]),
        (json!({"user_id": ada, "scopes": ["models:use", "models:fly"]}), vec!["scopes[1]"]),
        (json!({"user_id": ada, "scopes": ["users:manage"]}), vec!["scopes"]),
        (
            json!({"user_id": ada, "scopes": ["models:use"], "expires_at": "2020-01-01T00:00:00Z"}),
            vec!["expires_at"],
        ),
        (json!({"user_id": ada, "scopes": ["models:use"], "until": "never"}), vec!["until"]),
    ] {
        let refused = admin.post(&delegate).json(&body).refused(400, "DELEGATION_VALIDATION_ERROR");
        assert!(
            fields.iter().all(|field| refused.fields().contains(&(*field).to_owned())),
            "{body}: {refused}"
        );
    }
    let there = admin.in_tenant(&admin.tenant("there"));
    let (stranger, _) = there.user("stranger@example.org", &["tenant_user"]);
    for unknown in ["usr_01J00000000000000000000000", "nobody", &stranger] {
        let body = json!({"user_id": unknown, "scopes": ["models:use"]});
        admin.post(&delegate).json(&body).refused(403, "DELEGATED_USER_NOT_FOUND");
    }
    assert!(records(&admin, &core).is_empty());
    assert_eq!(identity(&admin, &core)["identity_mode"], "service_account");
    server.stop();
}

fn nobody_lends_what_they_lack(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.host("Helper", &programs::echo(1));
    let role = json!({"name": "Lender", "permissions": ["scaicore:delegate", "scaicore:view", "models:use"]});
    let role = admin.post("/v1/iam/custom-roles").json(&role).answer(201).data();
    let (lender, key) = admin.user("lender@example.org", &[]);
    let held = json!({"custom_role_ids": [role["id"]]});
    admin.put(&format!("/v1/users/{lender}/roles"), &held).answer(200);
    let (boss, _) = admin.user("boss@example.org", &["tenant_admin"]);
    let lenders = server.client(&key);
    let delegate = format!("{CORES}/{core}/delegate");
    let body = json!({"user_id": boss, "scopes": ["models:use", "users:manage"]});
    let refused = lenders.post(&delegate).json(&body).refused(403, "AUTHZ_PERMISSION_DENIED");
    assert!(refused.text().contains("users:manage"), "{refused}");
    lend(&lenders, &core, &boss, &["models:use"]);
    let wider = json!({"scopes": ["users:manage"]});
    lenders.put(&format!("{CORES}/{core}/delegation"), &wider).refused(403, "AUTHZ_PERMISSION_DENIED");
    // A key that is good for less lends less, be it an admin's.
    let confined = json!({"name": "confined", "scopes": ["scaicore:delegate", "scaicore:view"]});
    let confined = admin.post("/v1/api-keys").json(&confined).answer(201).data();
    let confined = server.client(confined["key"].as_str().unwrap());
    let body = json!({"user_id": boss, "scopes": ["models:use"]});
    confined.post(&delegate).json(&body).refused(403, "AUTHZ_PERMISSION_DENIED");
    assert_eq!(records(&admin, &core).len(), 1);
    server.stop();
}

fn calls_name_the_user_and_what_was_lent(place: &Place) {
    let (server, admin, plugin) = settle(place);
    let (ada, _) = admin.user("ada@example.org", &["tenant_admin"]);
    let core = admin.run("caller", &caller());
    let keys = key_set(&server.anyone());
    let claims = || {
        let call = plugin.calls().last().unwrap().clone();
        verified(&keys, &call.headers["x-scaigrid-identity"], "acme/stub")
    };
    assert_eq!(admin.invoke(&core, "go", &json!({}))["output"], "called");
    assert_eq!((&claims()["sub"], &claims()["act"]), (&json!(core), &Value::Null));
    // It takes effect without a restart, for what begins from now on.
    let (begun, checkpoint) = admin.invoke_to_checkpoint(&core, "late", &json!({}));
    lend(&admin, &core, &ada, &["users:manage", "models:use"]);
    assert_eq!(admin.invoke(&core, "go", &json!({}))["output"], "called");
    assert_eq!(claims()["sub"], json!(ada));
    assert_eq!((&claims()["act"], &claims()["core_id"]), (&json!({"sub": core}), &json!(core)));
    assert_eq!(claims()["scope"], "models:use users:manage");
    // What was begun for the tenant goes on for the tenant.
    admin.resolve(&checkpoint, "yes");
    assert_eq!(admin.execution_becomes(&begun, "completed")["output"], "called");
    assert_eq!((&claims()["sub"], &claims()["scope"]), (&json!(core), &Value::Null));
    // What is changed counts for what has begun.
    let (begun, checkpoint) = admin.invoke_to_checkpoint(&core, "late", &json!({}));
    admin.put(&format!("{CORES}/{core}/delegation"), &json!({"scopes": ["models:use"]})).answer(200);
    admin.resolve(&checkpoint, "yes");
    admin.execution_becomes(&begun, "completed");
    assert_eq!((&claims()["sub"], &claims()["scope"]), (&json!(ada), &json!("models:use")));
    // So does what she holds.
    admin
        .put(&format!("{CORES}/{core}/delegation"), &json!({"scopes": ["models:use", "users:manage"]}))
        .answer(200);
    admin.put(&format!("/v1/users/{ada}/roles"), &json!({"roles": ["tenant_user"]})).answer(200);
    assert_eq!(admin.invoke(&core, "go", &json!({}))["output"], "called");
    assert_eq!(claims()["scope"], "models:use");
    server.stop();
}

fn what_is_taken_back_ends_what_was_begun(place: &Place) {
    let (server, admin, plugin) = settle(place);
    let (ada, _) = admin.user("ada@example.org", &["tenant_user"]);
    let core = admin.run("caller", &caller());
    lend(&admin, &core, &ada, &["models:use"]);
    let (caught, first) = admin.invoke_to_checkpoint(&core, "careful", &json!({}));
    let (uncaught, second) = admin.invoke_to_checkpoint(&core, "late", &json!({}));
    let (another, third) = admin.invoke_to_checkpoint(&core, "late", &json!({}));
    admin.post(&format!("{CORES}/{core}/revoke-delegation")).answer(200);
    admin.resolve(&first, "yes");
    assert_eq!(admin.execution_becomes(&caught, "completed")["output"], "DELEGATION_NOT_ACTIVE");
    assert_eq!(admin.status(&core), "running", "what is caught suspends nothing");
    // Lent again it is another delegation: who acted for her before does not come back to life.
    lend(&admin, &core, &ada, &["models:use"]);
    admin.resolve(&second, "yes");
    let ended = admin.execution_becomes(&uncaught, "failed");
    assert_eq!(ended["error"]["code"], "DELEGATION_NOT_ACTIVE", "{ended}");
    assert!(plugin.calls().is_empty(), "nothing went out");
    admin.status_becomes(&core, "suspended");
    let shown = admin.get(&format!("{CORES}/{core}")).answer(200).data();
    assert_eq!(shown["last_error"]["code"], "DELEGATION_NOT_ACTIVE");
    let told = admin.pages(&format!("/v1/audit/events?resource_id={core}"), "items");
    assert_eq!((&told[0]["action"], &told[0]["actor_type"]), (&json!("core.suspend"), &json!("system")));
    assert_eq!(admin.act(&core, "resume"), "running");
    // Those that waited with it end in the same way, and do not stop what goes well.
    admin.resolve(&third, "yes");
    assert_eq!(admin.execution_becomes(&another, "failed")["error"]["code"], "DELEGATION_NOT_ACTIVE");
    assert_eq!(admin.invoke(&core, "go", &json!({}))["output"], "called");
    assert_eq!(admin.status(&core), "running");
    server.stop();
}

fn what_a_user_takes_back_is_for_nobody(place: &Place) {
    let (server, admin, plugin) = settle(place);
    let (ada, key) = admin.user("ada@example.org", &["tenant_user"]);
    let core = admin.run("caller", &caller());
    lend(&admin, &core, &ada, &["models:use"]);
    let (caught, waiting) = admin.invoke_to_checkpoint(&core, "careful", &json!({}));
    let adas = server.client(&key);
    let id = adas.pages(MINE, "items")[0]["id"].as_str().unwrap().to_owned();
    adas.delete(&format!("{MINE}/{id}")).answer(204);
    assert!(adas.pages(MINE, "items").is_empty());
    admin.resolve(&waiting, "yes");
    assert_eq!(admin.execution_becomes(&caught, "completed")["output"], "DELEGATION_NOT_ACTIVE");
    // What is begun now does not go on for the tenant.
    let (asks, question) = admin.invoke_to_checkpoint(&core, "late", &json!({}));
    let ended = admin.invoke(&core, "go", &json!({}));
    assert_eq!(ended["error"]["code"], "DELEGATION_NOT_ACTIVE", "{ended}");
    admin.status_becomes(&core, "suspended");
    admin.post(&format!("{CORES}/{core}/resume")).refused(403, "DELEGATION_NOT_ACTIVE");
    assert_eq!(admin.status(&core), "error");
    assert!(plugin.calls().is_empty(), "nothing went out");
    // Whoever may delegate says for whom it acts; what was begun before stays what it was.
    admin.post(&format!("{CORES}/{core}/revoke-delegation")).answer(200);
    assert_eq!(admin.act(&core, "start"), "running");
    assert_eq!(admin.invoke(&core, "go", &json!({}))["output"], "called");
    admin.resolve(&question, "yes");
    assert_eq!(admin.execution_becomes(&asks, "failed")["error"]["code"], "DELEGATION_NOT_ACTIVE");
    assert_eq!(plugin.calls().len(), 1);
    // Lent to her anew it is another delegation, also where she has taken back the same a moment ago.
    lend(&admin, &core, &ada, &["models:use"]);
    let id = adas.pages(MINE, "items")[0]["id"].as_str().unwrap().to_owned();
    adas.delete(&format!("{MINE}/{id}")).answer(204);
    lend(&admin, &core, &ada, &["models:use"]);
    assert_ne!(adas.pages(MINE, "items")[0]["id"], json!(id));
    assert_eq!(admin.invoke(&core, "go", &json!({}))["output"], "called");
    server.stop();
}

fn what_is_set_off_for_nobody_any_more_does_nothing(place: &Place) {
    let (server, admin, plugin) = settle(place);
    let (ada, _) = admin.user("ada@example.org", &["tenant_user"]);
    let mut program = caller();
    let ask = programs::checkpoint(&json!({"assignee": "role:tenant_admin"}));
    let tell = programs::rigid("tell", &json!([{"kind": "emit", "event": "told", "data": "{n: 1}"}]));
    let flows = program["flows"].as_array_mut().unwrap();
    flows.push(json!({"name": "tell", "params": [], "body": [ask, tell]}));
    program["subscriptions"] = json!([{"event": "told", "flow": "go"}]);
    let core = admin.run("caller", &program);
    lend(&admin, &core, &ada, &["models:use"]);
    let (execution, checkpoint) = admin.invoke_to_checkpoint(&core, "tell", &json!({}));
    admin.post(&format!("{CORES}/{core}/revoke-delegation")).answer(200);
    admin.resolve(&checkpoint, "yes");
    admin.execution_becomes(&execution, "completed");
    let path = format!("{CORES}/{core}/executions?flow=go");
    let begun = eventually("it is heard", SOON, || admin.pages(&path, "items").first().cloned());
    let ended = admin.execution_becomes(begun["id"].as_str().unwrap(), "failed");
    assert_eq!(ended["error"]["code"], "DELEGATION_NOT_ACTIVE", "{ended}");
    assert!(plugin.calls().is_empty(), "it does not go on for the tenant");
    server.stop();
}

fn what_the_user_loses_the_core_loses(place: &Place) {
    let (server, admin, plugin) = settle(place);
    let (ada, key) = admin.user("ada@example.org", &["tenant_user"]);
    let core = admin.run("caller", &caller());
    lend(&admin, &core, &ada, &["models:use"]);
    let (caught, first) = admin.invoke_to_checkpoint(&core, "careful", &json!({}));
    let path = format!("/v1/users/{ada}");
    admin.put(&path, &json!({"status": "suspended"})).answer(200);
    admin.resolve(&first, "yes");
    assert_eq!(admin.execution_becomes(&caught, "completed")["output"], "DELEGATED_USER_NOT_FOUND");
    assert!(plugin.calls().is_empty());
    // Nor does it start.
    admin.post(&format!("{CORES}/{core}/restart")).refused(403, "DELEGATED_USER_NOT_FOUND");
    assert_eq!(admin.status(&core), "error");
    let shown = admin.get(&format!("{CORES}/{core}")).answer(200).data();
    assert_eq!(shown["last_error"]["code"], "DELEGATED_USER_NOT_FOUND");
    admin
        .put(&format!("{CORES}/{core}/delegation"), &json!({"scopes": ["models:list"]}))
        .refused(403, "DELEGATED_USER_NOT_FOUND");
    // Back again, she is whom it acts for.
    admin.put(&path, &json!({"status": "active"})).answer(200);
    assert_eq!(admin.act(&core, "start"), "running");
    assert_eq!(admin.invoke(&core, "go", &json!({}))["output"], "called");
    // What she holds no more is shown to her as what it is worth.
    admin.put(&format!("/v1/users/{ada}/roles"), &json!({"roles": []})).answer(200);
    let mine = server.client(&key).pages(MINE, "items");
    assert_eq!((&mine[0]["scopes"], &mine[0]["effective_scopes"]), (&json!(["models:use"]), &json!([])));
    // Deleted she is gone, and nothing acts for her.
    admin.delete(&path).answer(204);
    let ended = admin.invoke(&core, "go", &json!({}));
    assert_eq!(ended["error"]["code"], "DELEGATED_USER_NOT_FOUND", "{ended}");
    admin.status_becomes(&core, "suspended");
    server.stop();
}

/// Has all delegations be over since a while.
fn let_time_pass(place: &Place) {
    place.run_sql(match place.db() {
        Db::Sqlite => "UPDATE delegations SET expires_at = 1000000",
        Db::Postgres => "UPDATE delegations SET expires_at = '1970-01-01T00:00:01Z'",
    });
}

fn what_is_over_suspends_the_core(place: &Place) {
    let (server, admin, plugin) = settle(place);
    let (ada, key) = admin.user("ada@example.org", &["tenant_user"]);
    let core = admin.run("caller", &caller());
    let body = json!({"user_id": ada, "scopes": ["models:use"], "expires_at": "2999-01-01T00:00:00Z"});
    admin.post(&format!("{CORES}/{core}/delegate")).json(&body).answer(200);
    assert_eq!(admin.invoke(&core, "go", &json!({}))["output"], "called");
    let (waiting, checkpoint) = admin.invoke_to_checkpoint(&core, "careful", &json!({}));
    let_time_pass(place);
    let ended = admin.invoke(&core, "go", &json!({}));
    assert_eq!(ended["error"]["code"], "DELEGATION_EXPIRED", "{ended}");
    assert_eq!(plugin.calls().len(), 1);
    admin.status_becomes(&core, "suspended");
    let mine = server.client(&key).pages(MINE, "items");
    assert_eq!((&mine[0]["status"], &mine[0]["effective_scopes"]), (&json!("expired"), &json!([])));
    // It is checked before it runs again.
    admin.post(&format!("{CORES}/{core}/resume")).refused(403, "DELEGATION_EXPIRED");
    assert_eq!(admin.status(&core), "error");
    admin
        .put(&format!("{CORES}/{core}/delegation"), &json!({"expires_at": "2999-01-01T00:00:00Z"}))
        .answer(200);
    assert_eq!(admin.act(&core, "start"), "running");
    // It is the same delegation, so what waited goes on under it.
    admin.resolve(&checkpoint, "yes");
    assert_eq!(admin.execution_becomes(&waiting, "completed")["output"], "called");
    server.stop();
}

fn calls_of_models_and_cores_need_what_the_user_needs(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let (ada, _) = admin.user("ada@example.org", &["tenant_admin"]);
    let echo = json!({"name": "add", "params": [], "body": [returns("'added'")]});
    admin.run("callee", &programs::program("Callee", &[echo]));
    let caught = |body: Value| {
        json!([{"kind": "try", "id": "try", "body": body,
        "catch": [{"as": "problem", "body": [returns("problem.code")]}]}])
    };
    let model = json!({"kind": "model_call", "id": "asks", "role": "primary", "prompt": "Tell me", "result_binding": "said"});
    let call = json!({"kind": "core_call", "id": "call", "target": "core://default/callee", "flow_name": "add",
        "input_bindings": {}, "result_binding": "got"});
    let own = json!({"kind": "core_call", "id": "own", "target": "core://self", "flow_name": "inner",
        "input_bindings": {}, "result_binding": "got"});
    let mut program = programs::program(
        "Caller",
        &[
            programs::flow("inner", &json!([]), &json!([returns("'inside'")])),
            programs::flow("model", &json!([]), &caught(json!([model, returns("'asked'")]))),
            programs::flow("core", &json!([]), &caught(json!([call, returns("got")]))),
            programs::flow("own", &json!([]), &caught(json!([own, returns("got")]))),
        ],
    );
    program["models"] = json!([{"role": "primary", "provider": "scaigrid", "model": "echo"}]);
    let core = admin.run("caller", &program);
    let output = |flow: &str| admin.invoke(&core, flow, &json!({}))["output"].clone();
    assert_eq!((output("model"), output("core")), (json!("asked"), json!("added")));
    assert_eq!(admin.usage()[0]["user_id"], Value::Null);
    lend(&admin, &core, &ada, &["scaicore:view"]);
    assert_eq!(output("model"), "AUTHZ_PERMISSION_DENIED");
    assert_eq!(output("core"), "AUTHZ_PERMISSION_DENIED");
    assert_eq!(output("own"), "inside", "what is the Core's own is not outside");
    assert_eq!(admin.status(&core), "running", "that is no end of the delegation");
    let wider = json!({"scopes": ["models:use", "scaicore:invoke"]});
    admin.put(&format!("{CORES}/{core}/delegation"), &wider).answer(200);
    assert_eq!((output("model"), output("core")), (json!("asked"), json!("added")));
    let usage = eventually("it is counted", SOON, || {
        let newest = admin.usage().first().cloned()?;
        (newest["user_id"] == json!(ada)).then_some(newest)
    });
    assert_eq!(usage["core_id"], json!(core));
    server.stop();
}

fn who_has_lent_is_asked(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let (ada, key) = admin.user("ada@example.org", &["tenant_admin"]);
    let adas = server.client(&key);
    let core = admin.run("asking", &programs::asking(&json!({})));
    let (_, before) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    assert_eq!(admin.checkpoint(&before)["assignee_type"], "unrouted");
    lend(&admin, &core, &ada, &["models:use"]);
    let (execution, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    assert_eq!(admin.checkpoint(&checkpoint)["assignee_type"], "delegated_user");
    let inbox = adas.pages(&format!("{SCAICORE}/checkpoints"), "items");
    assert!(inbox.iter().any(|one| one["id"] == json!(checkpoint)), "{inbox:?}");
    adas.resolve(&checkpoint, "yes");
    adas.execution_becomes(&execution, "completed");
    // Who has taken it back is not asked any more.
    let id = adas.pages(MINE, "items")[0]["id"].as_str().unwrap().to_owned();
    adas.delete(&format!("{MINE}/{id}")).answer(204);
    let (_, after) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    assert_eq!(admin.checkpoint(&after)["assignee_type"], "unrouted");
    server.stop();
}

fn a_delegation_goes_with_its_core(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let (ada, key) = admin.user("ada@example.org", &["tenant_user"]);
    let adas = server.client(&key);
    let core = admin.host("Helper", &programs::echo(1));
    lend(&admin, &core, &ada, &["models:use"]);
    let id = adas.pages(MINE, "items")[0]["id"].as_str().unwrap().to_owned();
    admin.delete(&format!("{CORES}/{core}")).answer(204);
    assert!(adas.pages(MINE, "items").is_empty(), "nothing acts for her any more");
    adas.delete(&format!("{MINE}/{id}")).refused(404, "DELEGATION_NOT_FOUND");
    server.stop();
}

/// What is lent, or taken back, at one node counts at once at another, without Redis between them.
#[test]
fn what_is_taken_back_counts_on_every_node() {
    on(Db::Postgres, |place| {
        let (first, admin, plugin) = settle(place);
        let second = place.further_node("second").set("SCAIGRID_EGRESS_ALLOW", "127.0.0.1").start();
        let two = second.client(&place.admin_key());
        let (ada, key) = admin.user("ada@example.org", &["tenant_user"]);
        let core = admin.run("caller", &caller());
        let keys = key_set(&first.anyone());
        for user in [None, Some(&ada)] {
            if let Some(user) = user {
                lend(&admin, &core, user, &["models:use"]);
            }
            assert_eq!(two.invoke(&core, "go", &json!({}))["output"], "called");
            let identity = plugin.calls().last().unwrap().headers["x-scaigrid-identity"].clone();
            let sub = verified(&keys, &identity, "acme/stub")["sub"].clone();
            assert_eq!(sub, json!(user.unwrap_or(&core)), "what begins acts for whom it was lent by");
        }
        let (execution, checkpoint) = admin.invoke_to_checkpoint(&core, "careful", &json!({}));
        let adas = first.client(&key);
        let id = adas.pages(MINE, "items")[0]["id"].as_str().unwrap().to_owned();
        adas.delete(&format!("{MINE}/{id}")).answer(204);
        two.resolve(&checkpoint, "yes");
        assert_eq!(two.execution_becomes(&execution, "completed")["output"], "DELEGATION_NOT_ACTIVE");
        assert_eq!(plugin.calls().len(), 2);
        second.stop();
        first.stop();
    });
}
