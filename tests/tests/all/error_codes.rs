//! The codes of errors: each that the module's reference prints is answered, with the status that it prints, in the one envelope
//! and as the document says; and each that the guide lists is looked for by some test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use scaigrid_tests::{
    Answer, CORES, Client, Db, Place, Request, SCAICORE, eventually, on_both_databases, programs,
};
use serde_json::json;

use crate::matrix::to_nothing;
use crate::strangers::{operations, plausible};

on_both_databases!(
    every_code_of_the_reference_is_answered,
    what_is_not_there_is_told_by_its_kind,
    what_breaks_inside_is_told_to_the_log_alone,
);

/// What the module's reference prints, but for `NOT_IMPLEMENTED`: nothing answers that.
const PRINTED: [(&str, u16); 13] = [
    ("CORE_NOT_FOUND", 404),
    ("INVALID_CORE_TRANSITION", 409),
    ("CHECKPOINT_NOT_FOUND", 404),
    ("CHECKPOINT_ALREADY_RESOLVED", 409),
    ("DELEGATION_NOT_ACTIVE", 403),
    ("DELEGATED_USER_NOT_FOUND", 403),
    ("DELEGATION_VALIDATION_ERROR", 400),
    ("DELEGATION_EXPIRED", 403),
    ("INVALID_FILE_TYPE", 400),
    ("FILE_TOO_LARGE", 400),
    ("STORAGE_ERROR", 502),
    ("NO_AVATAR", 404),
    ("INVALID_SOURCE_IR", 422),
];

const NO_CORE: &str = "core_01J00000000000000000000000";
const NO_CHECKPOINT: &str = "01900000-0000-0000-0000-000000000000";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and so on";

/// Refusals, gathered, and what the document says of each operation.
struct Walk {
    documented: BTreeMap<String, BTreeSet<u16>>,
    met: BTreeSet<(String, u16)>,
}

impl Walk {
    fn of(client: &Client) -> Self {
        let document = client.get("/openapi.json").answer(200).json();
        let documented = operations(&document).into_iter().map(|one| (one.id, one.statuses)).collect();
        Self { documented, met: BTreeSet::new() }
    }

    /// Makes a request that must be refused so, as an operation of this name may be.
    fn refused(&mut self, operation: &str, request: &Request, status: u16, code: &str) -> Answer {
        let answer = request.refused(status, code);
        assert_eq!(answer.header("content-type"), Some("application/json"), "{answer}");
        let said = answer.json();
        let fields: Vec<&String> = said.as_object().unwrap().keys().collect();
        assert!(fields.len() == 3 && said["data"].is_null(), "it is error, meta and status alone: {answer}");
        let known = self.documented.get(operation).unwrap_or_else(|| panic!("no operation {operation}"));
        assert!(known.contains(&status), "{operation} does not say that it may answer {status}: {answer}");
        self.met.insert((code.to_owned(), status));
        answer
    }
}

fn every_code_of_the_reference_is_answered(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let mut walk = Walk::of(&admin);
    of_cores(&mut walk, &admin);
    of_checkpoints(&mut walk, &admin);
    of_delegations(&mut walk, place, &admin);
    of_files(&mut walk, &admin, &server.anyone());
    of_the_store(&mut walk, place, &admin, &server.anyone());
    let printed = PRINTED.map(|(code, status)| (code.to_owned(), status));
    assert_eq!(walk.met, BTreeSet::from(printed));
    server.stop();
}

fn of_cores(walk: &mut Walk, admin: &Client) {
    let nowhere = format!("{CORES}/{NO_CORE}");
    walk.refused("get_core", &admin.get(&nowhere), 404, "CORE_NOT_FOUND");
    let core = admin.host("Resting", &programs::echo(1));
    let there = admin.in_tenant(&admin.tenant("there"));
    walk.refused("get_core", &there.get(&format!("{CORES}/{core}")), 404, "CORE_NOT_FOUND");
    walk.refused("delete_core", &there.delete(&format!("{CORES}/{core}")), 404, "CORE_NOT_FOUND");
    let act = |core: &str, action: &str| admin.post(&format!("{CORES}/{core}/{action}"));
    for (operation, action) in [("pause_core", "pause"), ("resume_core", "resume"), ("stop_core", "stop")] {
        let refused = walk.refused(operation, &act(&core, action), 409, "INVALID_CORE_TRANSITION").json();
        let detail = &refused["error"]["details"][0];
        assert_eq!(detail["status"], "created", "{refused}");
        assert_eq!(detail["legal_actions"], json!(["start", "restart", "delete"]), "{refused}");
    }
    let broken = admin.host("Broken", &programs::broken());
    let refused = walk.refused("start_core", &act(&broken, "start"), 422, "INVALID_SOURCE_IR").json();
    let finding = &refused["error"]["details"][0];
    assert!(finding["code"].is_string() && finding["pointer"].is_string(), "{refused}");
    walk.refused("restart_core", &act(&broken, "restart"), 422, "INVALID_SOURCE_IR");
}

fn of_checkpoints(walk: &mut Walk, admin: &Client) {
    let at = |id: &str, what: &str| format!("{SCAICORE}/checkpoints/{id}/{what}");
    let core = admin.run("Asking", &programs::asking(&json!({})));
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let there = admin.in_tenant("there");
    for (client, id) in [(admin, NO_CHECKPOINT), (&there, checkpoint.as_str())] {
        let path = format!("{SCAICORE}/checkpoints/{id}");
        walk.refused("get_checkpoint", &client.get(&path), 404, "CHECKPOINT_NOT_FOUND");
        let resolve = client.post(&at(id, "resolve")).json(&json!({"decision": "yes"}));
        walk.refused("resolve_checkpoint", &resolve, 404, "CHECKPOINT_NOT_FOUND");
    }
    admin.resolve(&checkpoint, "yes");
    for (operation, what, body) in [
        ("resolve_checkpoint", "resolve", json!({"decision": "no"})),
        ("reassign_checkpoint", "reassign", json!({"assignee": "role:tenant_admin"})),
        ("cancel_checkpoint", "cancel", json!(null)),
        ("claim_checkpoint", "claim", json!(null)),
        ("release_checkpoint", "release", json!(null)),
    ] {
        let request = admin.post(&at(&checkpoint, what));
        let request = if body.is_null() { request } else { request.json(&body) };
        walk.refused(operation, &request, 409, "CHECKPOINT_ALREADY_RESOLVED");
    }
}

fn of_delegations(walk: &mut Walk, place: &Place, admin: &Client) {
    let core = admin.host("Helper", &programs::echo(1));
    let path = |what: &str| format!("{CORES}/{core}/{what}");
    let (ada, _) = admin.user("ada@example.org", &["tenant_user"]);
    let revoke = admin.post(&path("revoke-delegation"));
    walk.refused("revoke_delegation", &revoke, 403, "DELEGATION_NOT_ACTIVE");
    let scopes = json!({"scopes": ["models:use"]});
    let changed = admin.put(&path("delegation"), &scopes);
    walk.refused("replace_delegation", &changed, 400, "DELEGATION_VALIDATION_ERROR");
    let empty = admin.post(&path("delegate")).json(&json!({"user_id": ada, "scopes": []}));
    let refused = walk.refused("delegate_core", &empty, 400, "DELEGATION_VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["scopes"]);
    let nobody = json!({"user_id": "usr_01J00000000000000000000000", "scopes": ["models:use"]});
    let nobody = admin.post(&path("delegate")).json(&nobody);
    walk.refused("delegate_core", &nobody, 403, "DELEGATED_USER_NOT_FOUND");
    let lent = json!({"user_id": ada, "scopes": ["models:use"], "expires_at": "2999-01-01T00:00:00Z"});
    admin.post(&path("delegate")).json(&lent).answer(200);
    place.run_sql(match place.db() {
        Db::Sqlite => "UPDATE delegations SET expires_at = 1000000",
        Db::Postgres => "UPDATE delegations SET expires_at = '1970-01-01T00:00:01Z'",
    });
    walk.refused("start_core", &admin.post(&path("start")), 403, "DELEGATION_EXPIRED");
    let shown = admin.get(&format!("{CORES}/{core}")).answer(200).data();
    assert_eq!(
        (&shown["status"], &shown["last_error"]["code"]),
        (&json!("error"), &json!("DELEGATION_EXPIRED"))
    );
}

fn of_files(walk: &mut Walk, admin: &Client, anyone: &Client) {
    let core = admin.host("Plain", &programs::echo(1));
    let path = format!("{CORES}/{core}/avatar");
    walk.refused("get_avatar", &anyone.get(&path), 404, "NO_AVATAR");
    let upload = |bytes: &[u8]| admin.post(&path).form(bytes, &[]);
    walk.refused("set_avatar", &upload(b"MZ"), 400, "INVALID_FILE_TYPE");
    let mut large = PNG.to_vec();
    large.resize(2 * 1024 * 1024 + 1, 0);
    walk.refused("set_avatar", &upload(&large), 400, "FILE_TOO_LARGE");
    walk.refused("get_avatar", &anyone.get(&path), 404, "NO_AVATAR");
    // A bundle that is too large, however it comes.
    let bundle = vec![b' '; 10 * 1024 * 1024 + 1];
    let parsed = admin.post(&format!("{CORES}/parse-bundle")).form(&bundle, &[]);
    walk.refused("parse_bundle", &parsed, 400, "FILE_TOO_LARGE");
    let before = admin.pages(CORES, "items").len();
    let made = admin.post(CORES).form(&bundle, &[("name", "Large")]);
    walk.refused("create_core", &made, 400, "FILE_TOO_LARGE");
    assert_eq!(admin.pages(CORES, "items").len(), before, "nothing was made");
}

fn of_the_store(walk: &mut Walk, place: &Place, admin: &Client, anyone: &Client) {
    let core = admin.host("Pictured", &programs::echo(1));
    let path = format!("{CORES}/{core}/avatar");
    admin.post(&path).form(PNG, &[]).answer(200);
    let (folder, aside) = (place.data().join("objects"), place.folder().join("aside"));
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "no folder").unwrap();
    place.allow_in_log("a picture is missing from the object store");
    walk.refused("set_avatar", &admin.post(&path).form(b"GIF89a", &[]), 502, "STORAGE_ERROR");
    walk.refused("get_avatar", &anyone.get(&path), 502, "STORAGE_ERROR");
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    assert_eq!(anyone.get(&path).answer(200).body, PNG, "what was refused has changed nothing");
}

/// What is told of things that there are not, by the parameter of a path that names them.
const NOT_THERE: [(&str, u16, &str); 8] = [
    ("core_id", 404, "CORE_NOT_FOUND"),
    ("execution_id", 404, "EXECUTION_NOT_FOUND"),
    ("checkpoint_id", 404, "CHECKPOINT_NOT_FOUND"),
    ("conversation_id", 404, "CONVERSATION_NOT_FOUND"),
    ("version", 404, "CORE_VERSION_NOT_FOUND"),
    ("trigger_id", 404, "TRIGGER_NOT_FOUND"),
    ("breakpoint_id", 404, "BREAKPOINT_NOT_FOUND"),
    ("plugin_alias", 404, "PLUGIN_NOT_FOUND"),
];

/// Every operation of the module names what is missing: first what stands first in its path, then what stands second.
fn what_is_not_there_is_told_by_its_kind(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let document = admin.get("/openapi.json").answer(200).json();
    let hosted = admin.host("There", &programs::echo(1));
    let mut seen = BTreeSet::new();
    for operation in operations(&document).iter().filter(|one| one.path.starts_with(SCAICORE) && !one.public)
    {
        let there = operation.path.replace("{core_id}", &hosted);
        for template in [&operation.path, &there] {
            let Some((_, rest)) = template.split_once('{') else { continue };
            let (name, _) = rest.split_once('}').unwrap();
            let Some((_, status, code)) = NOT_THERE.iter().find(|(known, ..)| *known == name) else {
                continue;
            };
            let request = plausible(admin.request(operation.method, &to_nothing(template)), operation);
            let refused = request.refused(*status, code);
            assert!(operation.statuses.contains(status), "{} does not say so: {refused}", operation.id);
            seen.insert(name.to_owned());
        }
    }
    assert_eq!(seen.len(), NOT_THERE.len(), "{seen:?}");

    // A delivery that there is not, of a webhook that there is and that is told nothing.
    let hook = json!({"url": "https://receiver.invalid/hook", "events": ["*"], "status": "inactive"});
    let hook = admin.post("/v1/webhooks").json(&hook).answer(201).data();
    let id = hook["id"].as_str().unwrap();
    let again = format!("/v1/webhooks/{id}/deliveries/del_01J00000000000000000000000/redeliver");
    admin.post(&again).refused(404, "DELIVERY_NOT_FOUND");
    server.stop();
}

fn what_breaks_inside_is_told_to_the_log_alone(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let mut walk = Walk::of(&admin);
    let core = admin.host("Odd", &json!({}));
    place.allow_in_log("the request failed inside");
    // A row that cannot be.
    place.run_sql("UPDATE cores SET runtime_mode = 'sideways'");
    let request = admin.get(&format!("{CORES}/{core}"));
    eventually("what was remembered is forgotten", Duration::from_secs(15), || {
        (request.exchange().status == 500).then_some(())
    });
    let refused = walk.refused("get_core", &request, 500, "INTERNAL_ERROR");
    let said = refused.text();
    for inside in ["sideways", "runtime_mode", "cores", &core] {
        assert!(!said.contains(inside), "{inside} is told: {said}");
    }
    assert!(refused.json()["error"].get("details").is_none(), "{said}");
    let id = refused.header("x-request-id").unwrap().to_owned();
    eventually("the log has what the request's id leads to", Duration::from_secs(15), || {
        place.log().lines().any(|line| line.contains(&id) && line.contains("runtime_mode")).then_some(())
    });
    // Others are not concerned, and nothing has to be started again once it is mended.
    let there = admin.in_tenant(&admin.tenant("there"));
    there.get(CORES).answer(200);
    place.run_sql("UPDATE cores SET runtime_mode = 'api'");
    assert_eq!(request.answer(200).data()["runtime_mode"], "api");
    server.stop();
}

/// The text of every test.
fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// The rows of the guide's table, `| 404, 422 | `CODE`, `CODE` | …`, as pairs.
fn listed(guide: &str) -> Vec<(u16, &str)> {
    let mut found = Vec::new();
    for row in guide.lines() {
        let mut cells = row.split('|').skip(1).map(str::trim);
        let (Some(statuses), Some(codes)) = (cells.next(), cells.next()) else { continue };
        let statuses: Result<Vec<u16>, _> = statuses.split(", ").map(str::parse).collect();
        let Ok(statuses) = statuses else { continue };
        let codes = codes.split('`').skip(1).step_by(2);
        found.extend(codes.flat_map(|code| statuses.iter().map(move |status| (*status, code))));
    }
    found
}

#[test]
fn every_code_of_the_guide_is_looked_for_by_a_test() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = std::fs::read_to_string(here.join("../docs/api.md")).unwrap();
    let mut text = String::new();
    sources(&here.join("tests/all"), &mut text);
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let listed = listed(&guide);
    assert!(listed.len() > 60, "{listed:?}");
    for (code, status) in PRINTED {
        assert!(listed.contains(&(status, code)), "the guide does not list {code} {status}");
    }
    let missing: Vec<_> = listed
        .into_iter()
        .filter(|(status, code)| !text.contains(&format!("{status}, \"{code}\"")))
        .collect();
    assert!(missing.is_empty(), "no test looks for {missing:?}");
}
