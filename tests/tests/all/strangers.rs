//! The walk of the strangers: every operation that the document lists is called without credentials, by another tenant's
//! admin, by somebody with too few rights, with a wrong method and with a broken body.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use scaigrid_tests::{CORES, Client, Place, Request, on_both_databases, programs, run};
use serde_json::{Value, json};

on_both_databases!(no_route_opens_for_strangers);

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// Operations that belong to the caller alone or to everybody, so that no permission can be lacking.
const WITHOUT_PERMISSION: [&str; 6] = [
    "get_me",
    "get_auth_me",
    "list_my_delegations",
    "revoke_my_delegation",
    "list_permissions",
    "list_roles",
];

/// What is passed on to remote modules: the body is theirs to judge, and there is no wrong method.
pub(crate) const PASSED_ON: &str = "/v1/modules/{module_id}/{path}";

/// The API of a Core: which methods and bodies it takes is its program's affair.
const OF_CORE: &str = "/v1/modules/scaicore/cores/{core_id}/api/invoke/{path}";

pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) public: bool,
    body: Option<String>,
    /// The statuses that the document says it answers.
    pub(crate) statuses: BTreeSet<u16>,
}

pub(crate) fn operations(document: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in METHODS {
            let operation = &item[method.to_lowercase()];
            if operation.is_null() {
                continue;
            }
            let content = operation["requestBody"]["content"].as_object();
            found.push(Operation {
                id: operation["operationId"].as_str().unwrap_or_default().to_owned(),
                method,
                path: path.clone(),
                public: operation["security"] == json!([]),
                body: content.and_then(|content| content.keys().next().cloned()),
                statuses: operation["responses"]
                    .as_object()
                    .unwrap()
                    .keys()
                    .map(|it| it.parse().unwrap())
                    .collect(),
            });
        }
    }
    found
}

/// Ids of things that exist in one tenant, by the names that path parameters have.
pub(crate) struct Existing(BTreeMap<&'static str, String>);

impl Existing {
    pub(crate) fn make(admin: &Client, root: &Client) -> Self {
        let mut asking = programs::asking(&json!({}));
        asking["memory"] = json!({"walked": {"type": "int", "default": 0}});
        let core = admin.run("Walked", &asking);
        let (execution, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
        let (user, _) = admin.user("somebody@walked.example", &[]);
        let me = admin.get("/v1/me").answer(200).data();
        let key = admin.post("/v1/api-keys").json(&json!({"name": "walked"})).answer(201).data();
        let group = json!({"name": "Walked", "members": [user]});
        let group = admin.post("/v1/groups").json(&group).answer(201).data();
        let role = json!({"name": "Walked", "permissions": ["scaicore:view"]});
        let role = admin.post("/v1/iam/custom-roles").json(&role).answer(201).data();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        // A receiver that never is there, and that is told nothing but a test.
        let hook = json!({"url": "https://receiver.invalid/hook", "events": ["*"], "status": "inactive"});
        let hook = text(&admin.post("/v1/webhooks").json(&hook).answer(201).data()["id"]);
        let delivery = admin.post(&format!("/v1/webhooks/{hook}/test")).answer(200).data();
        let entry = json!({"alias": "walked", "plugin": "walked.plugin"});
        admin.post(&format!("/v1/modules/scaicore/cores/{core}/plugins")).json(&entry).answer(201);
        let place = json!({"flow": "ask", "block": "ask", "enabled": false});
        let breakpoint = format!("/v1/modules/scaicore/cores/{core}/debug/breakpoint");
        let breakpoint = admin.post(&breakpoint).json(&place).answer(201).data();
        let trigger = json!({"kind": "webhook", "name": "walked", "flow": "ask"});
        let triggers = format!("/v1/modules/scaicore/cores/{core}/triggers");
        let trigger = admin.post(&triggers).json(&trigger).answer(201).data();
        // A plugin that nobody ever calls.
        let method = json!({"name": "do", "effect": "unsafe", "input_schema": {}});
        let plugin = json!({"plugin": "walked.plugin", "kind": "http", "endpoint": "https://plugin.invalid/",
            "manifest": {"version": "1", "methods": [method]}});
        admin.post("/v1/modules/scaicore/plugins/registry").json(&plugin).answer(201);
        // Made at the platform's level, where models, backends and groups of models are managed.
        let backend = root.backend("echo", &json!({}));
        root.global_model("walked-model", &[json!({"backend_id": backend})]);
        let models = json!({"name": "Walked", "scope": "global", "models": ["walked-model"]});
        let models = root.post("/v1/model-groups").json(&models).answer(201).data();
        let partner =
            root.post("/v1/admin/partners").json(&json!({"slug": "walked", "name": "W"})).answer(201).data();
        // A conversation that waits, as the execution above does.
        admin.post(&format!("/v1/modules/scaicore/cores/{core}/publish")).answer(200);
        admin.post(&format!("{CORES}/{core}/avatar")).form(b"GIF89a", &[]).answer(200);
        let lent = json!({"user_id": me["user"]["id"], "scopes": ["models:use"]});
        admin.post(&format!("{CORES}/{core}/delegate")).json(&lent).answer(200);
        let mine = admin.get("/v1/me/delegations").answer(200).data();
        let delegation = text(&mine["items"][0]["id"]);
        let tenant = text(&me["tenant"]["slug"]);
        let question = scaigrid_tests::ask(&format!("scaicore/{tenant}/walked"), "Hello");
        let answer = admin.post("/v1/inference/chat").json(&question).answer(200).data();
        let conversation = text(&answer["scaicore"]["conversation_id"]);
        let ai = json!({"local_id": "walked", "model": "echo", "display_name": "Walked"});
        let ai = text(&admin.post("/v1/admin/participants/model").json(&ai).answer(201).data()["id"]);
        admin
            .put(&format!("/v1/admin/participants/{ai}/helper"), &json!({"helper_enabled": true}))
            .answer(200);
        let room = json!({"name": "Walked", "participants": [ai]});
        let room = text(&admin.post("/v1/rooms").json(&room).answer(201).data()["id"]);
        Self(BTreeMap::from([
            ("core_id", core),
            ("conversation_id", conversation),
            ("execution_id", execution),
            ("checkpoint_id", checkpoint),
            ("user_id", user.clone()),
            ("user", user),
            ("key", text(&key["id"])),
            ("group", text(&group["id"])),
            ("custom_role", text(&role["id"])),
            ("tenant_id", text(&me["tenant"]["id"])),
            ("partner_id", text(&partner["id"])),
            ("version", "1".to_owned()),
            ("module_id", "scaicore".to_owned()),
            ("path", "nothing".to_owned()),
            ("delivery_id", text(&delivery["delivery_id"])),
            ("webhook_id", hook),
            ("plugin", "walked.plugin".to_owned()),
            ("plugin_alias", "walked".to_owned()),
            ("slug", "walked-model".to_owned()),
            ("backend_id", backend),
            ("model_group_id", text(&models["id"])),
            ("delegation_id", delegation),
            ("breakpoint_id", text(&breakpoint["id"])),
            ("trigger_id", text(&trigger["id"])),
            ("participant_id", ai),
            ("room_id", room),
            ("plugin_id", "walked.plugin".to_owned()),
            ("memory_id", "fact_01JZ8QZ5T0000000000000000A".to_owned()),
            ("target", "walked".to_owned()),
        ]))
    }

    /// The ids, by the names of parameters; what `{id}` names is told by the family: `user`, `group`, `custom_role`, `key`.
    pub(crate) fn ids(&self) -> &BTreeMap<&'static str, String> {
        &self.0
    }

    /// The path with the ids in it.
    pub(crate) fn path(&self, template: &str) -> String {
        let mut path = template.to_owned();
        // What `{id}` names is told by the family.
        let families = [
            ("/v1/users/", "user"),
            ("/v1/groups/", "group"),
            ("/v1/iam/custom-roles/", "custom_role"),
            ("/v1/api-keys/", "key"),
        ];
        let own = families.iter().find(|(family, _)| template.starts_with(family));
        let own = own.map_or("id", |(_, name)| *name);
        while let Some((start, end)) = path.find('{').zip(path.find('}')) {
            let name = &path[start + 1..end];
            let name = if name == "id" { own } else { name };
            let value = self.0.get(name).unwrap_or_else(|| panic!("{template}: no {name} was made"));
            path.replace_range(start..=end, value);
        }
        path
    }
}

/// The request with a body that would do, as far as the route is concerned.
pub(crate) fn plausible(request: Request, operation: &Operation) -> Request {
    match operation.body.as_deref() {
        None => request,
        Some("multipart/form-data") => request.form(b"{}", &[]),
        Some(_) => request.json(&json!({})),
    }
}

/// Whether a path is of what `models:manage` is for, which no role of tenants has.
fn is_catalogue(path: &str) -> bool {
    ["/v1/models", "/v1/backends", "/v1/model-groups"].iter().any(|family| path.starts_with(family))
}

/// Whether a path is of what is above the tenants.
fn is_above_tenants(path: &str) -> bool {
    is_catalogue(path)
        || ["/v1/admin/tenants", "/v1/admin/partners"].iter().any(|family| path.starts_with(family))
}

/// What a public route answers to whoever asks.
fn of_anyone(operation: &Operation) -> u16 {
    match (&*operation.id, &*operation.path) {
        // A message that nobody has signed.
        ("receive_message", _) => 401,
        // A link is there for whoever has its token, and for nobody else.
        (_, "/v1/checkpoint-link") => 404,
        _ => 200,
    }
}

fn no_route_opens_for_strangers(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let here = root.tenant("walked");
    let there = root.tenant("strangers");
    let (_, owner) = root.in_tenant(&here).user("owner@walked.example", &["tenant_admin"]);
    let (_, stranger) = root.in_tenant(&there).user("boss@strangers.example", &["tenant_admin"]);
    let (_, nobody) = root.in_tenant(&here).user("nobody@walked.example", &[]);
    let (owner, stranger) = (server.client(&owner), server.client(&stranger));
    let (nobody, anyone) = (server.client(&nobody), server.anyone());
    let existing = Existing::make(&owner, &root);
    let document = anyone.get("/openapi.json").answer(200).json();
    let operations = operations(&document);
    assert!(operations.len() > 45, "{}", operations.len());
    let names: BTreeSet<&String> = operations.iter().map(|operation| &operation.id).collect();
    assert_eq!(names.len(), operations.len(), "every operation has a name of its own");
    assert!(!names.contains(&String::new()));

    let wrong = RefCell::new(Vec::new());
    let said = |operation: &Operation, who: &str, request: &Request, allowed: &[u16]| {
        let answer = request.exchange();
        let documented = operation.statuses.contains(&answer.status) || matches!(answer.status, 405 | 406);
        if !allowed.contains(&answer.status) || !documented {
            wrong
                .borrow_mut()
                .push(format!("{who}: {} expected {allowed:?}, documented {:?}", answer, operation.statuses));
        }
        answer
    };
    for operation in &operations {
        let path = existing.path(&operation.path);
        let names_something = path.contains("_01") || operation.path.contains("{checkpoint_id}");
        if operation.public {
            said(operation, "anyone", &anyone.request(operation.method, &path), &[of_anyone(operation)]);
            continue;
        }
        // Without credentials, and with wrong ones: nothing but that.
        let request = plausible(anyone.request(operation.method, &path), operation);
        said(operation, "without credentials", &request, &[401]);
        let wrong_key = anyone.with("Authorization", &format!("Bearer sgk_{}", "x".repeat(40)));
        let request = plausible(wrong_key.request(operation.method, &path), operation);
        said(operation, "with a wrong key", &request, &[401]);

        // Another tenant's admin: what is in the path is not there, whatever the body is.
        if names_something {
            let above = is_above_tenants(&operation.path);
            let refused: &[u16] = if above { &[403, 404] } else { &[404] };
            for body in ["plausible", "broken"] {
                let request = stranger.request(operation.method, &path);
                let request = match (body, operation.body.as_deref()) {
                    ("plausible", _) => plausible(request, operation),
                    (_, Some(kind)) => request.body(kind, b"{\"x".to_vec()),
                    (_, None) => continue,
                };
                let answer = said(operation, "a stranger", &request, refused);
                // The same as for what does not exist anywhere.
                let elsewhere = path.replace(|c: char| matches!(c, '2'..='9'), "1");
                let unknown = stranger.request(operation.method, &elsewhere);
                let unknown = plausible(unknown, operation).exchange();
                if unknown.status != 405 {
                    assert_eq!(
                        answer.json()["error"]["code"],
                        unknown.json()["error"]["code"],
                        "{answer} {unknown}"
                    );
                    assert_eq!(answer.json()["error"]["message"], unknown.json()["error"]["message"]);
                }
            }
        }

        // Somebody of the tenant without any right.
        if !WITHOUT_PERMISSION.contains(&operation.id.as_str()) {
            let request = plausible(nobody.request(operation.method, &path), operation);
            said(operation, "without rights", &request, &[403]);
        }

        if [PASSED_ON, OF_CORE].contains(&operation.path.as_str()) {
            continue;
        }

        // A broken body of somebody who may.
        if let Some(kind) = &operation.body {
            let above = is_above_tenants(&operation.path);
            let who = if above { &root } else { &owner };
            for broken in [&b"{\"x"[..], b"", b"[]", b"{\"no_such_field\":1}", b"\xff\xff", b"\0"] {
                let request = who.request(operation.method, &path).body(kind, broken.to_vec());
                said(operation, "a broken body", &request, &[400, 415, 422]);
            }
            let request = who.request(operation.method, &path).body("text/plain", "x");
            said(operation, "a body of the wrong kind", &request, &[415]);
        }

        // Wrong methods, of somebody who may everything.
        // `/cores/parse-bundle` has the form of `/cores/{core_id}` too.
        let fits = |other: &&Operation| {
            let (mut pattern, mut parts) = (other.path.split('/'), path.split('/'));
            other.path != PASSED_ON
                && other.path.split('/').count() == path.split('/').count()
                && pattern.all(|name| parts.next() == Some(name) || name.starts_with('{'))
        };
        let known: Vec<&str> = operations.iter().filter(fits).map(|other| other.method).collect();
        for method in METHODS.iter().filter(|method| !known.contains(method)) {
            let answer = root.request(method, &path).exchange();
            if answer.status != 405 || answer.header("allow").is_none() {
                wrong.borrow_mut().push(format!("a wrong method: {answer}"));
            }
        }
    }
    let wrong = wrong.into_inner();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));

    // Nothing of all this has changed anything.
    assert_eq!(owner.status(&existing.0["core_id"]), "running");
    assert_eq!(owner.checkpoint(&existing.0["checkpoint_id"])["status"], "pending");
    server.stop();
}

#[test]
fn the_document_is_the_one_that_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let printed = run(folder.path(), &["openapi"], &[]);
    assert!(printed.status.success());
    let document: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let committed =
        std::fs::read(&committed).unwrap_or_else(|error| panic!("{}: {error}", committed.display()));
    assert!(committed == printed.stdout, "docs/openapi.json is not what the routes say: run `make docs`");
    for operation in operations(&document) {
        assert!(operation.public || operation.statuses.contains(&401), "{}", operation.id);
        assert!(operation.statuses.iter().any(|status| *status < 300), "{}", operation.id);
    }
}
