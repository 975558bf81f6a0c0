//! Documents that say what is to be there: planned, applied, applied again.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use scaigrid_tests::{CORES, Client, Place, Server, eventually, on_both_databases, programs, run};
use serde_json::{Value, json};

on_both_databases!(
    documents_become_true_and_stay_so,
    what_is_wrong_is_told_before_anything_is_done,
    what_was_broken_off_is_gone_on_with,
    many_appliers_do_each_thing_once,
    people_and_things_are_administered_beside_a_server,
);

const WEBHOOK_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const HUSH: &str = "hush-hush-9";

const DOCUMENT: &str = r#"
api_version: scaigrid/v1
partners:
  - slug: north
    name: North
    contact_email: ops@north.example
    limits: {max_tenants: 5}
tenants:
  - slug: acme
    partner: north
    name: Acme
    features: {rooms: {enabled: true}}
    modules:
      scaicore: {enabled: true}
      scaibot: {config: {default_knowledge_top_k: 8}}
    roles:
      - slug: clerk
        name: Clerk
        permissions: ["scaicore:view", "users:manage"]
    users:
      - email: boss@acme.example
        roles: [tenant_admin]
      - email: ada@acme.example
        display_name: Ada
        roles: [tenant_user]
        custom_roles: [clerk]
    groups:
      - slug: finance
        name: Finance
        members: [ada@acme.example, boss@acme.example]
    webhooks:
      - url: http://127.0.0.1:9/told
        events: ["scaicore.*"]
        secret: ${env:HOOK_SECRET}
    cores:
      - name: Echo
        source: programs/echo.json
        environment:
          TOKEN: {type: secret, value: "${file:token}"}
          REGION: north
        state: running
  - slug: late
    status: suspended
    name: Late
    users: [{email: nobody@late.example}]
"#;

/// `admin apply` on documents, as the operator of a running server calls it.
fn apply(place: &Place, files: &[&str], more: &[&str]) -> Output {
    apply_in(place.folder(), place.database_url(), files, more)
}

fn apply_in(folder: &Path, database: &str, files: &[&str], more: &[&str]) -> Output {
    let variables = [
        ("SCAIGRID_DATA_DIR", "data"),
        ("SCAIGRID_DATABASE_URL", database),
        ("SCAIGRID_EGRESS_ALLOW", "127.0.0.1:9"),
        ("HOOK_SECRET", WEBHOOK_SECRET),
    ];
    let mut arguments = vec!["admin", "apply"];
    for file in files {
        arguments.extend(["-f", file]);
    }
    arguments.extend(more);
    run(folder, &arguments, &variables)
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn applied(place: &Place, files: &[&str], more: &[&str]) -> Value {
    let output = apply(place, files, &[&["--json"], more].concat());
    assert!(output.status.success(), "{}", told(&output));
    assert!(!told(&output).contains(HUSH) && !told(&output).contains("whsec_"), "{}", told(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Created, updated, unchanged.
fn counts(answer: &Value) -> (u64, u64, u64) {
    let count = |name: &str| answer["summary"][name].as_u64().unwrap();
    (count("create"), count("update"), count("unchanged"))
}

fn write(place: &Place, document: &str) {
    let folder = place.folder().join("wanted");
    fs::create_dir_all(folder.join("programs")).unwrap();
    fs::write(folder.join("all.yaml"), document).unwrap();
    fs::write(folder.join("programs/echo.json"), programs::echo(1).to_string()).unwrap();
    fs::write(folder.join("token"), format!("{HUSH}\n")).unwrap();
}

fn start(place: &Place) -> Server {
    place.launch().set("SCAIGRID_EGRESS_ALLOW", "127.0.0.1:9").start()
}

fn records(root: &Client) -> usize {
    let of = |client: &Client| client.pages("/v1/audit/events", "items").len();
    let inside = root.get("/v1/admin/tenants?limit=100").answer(200).json();
    let slugs = inside["data"].as_array().unwrap().iter().map(|tenant| tenant["slug"].as_str().unwrap());
    let slugs = slugs.filter(|slug| *slug != "late");
    of(root) + slugs.map(|slug| of(&root.in_tenant(slug))).sum::<usize>()
}

fn documents_become_true_and_stay_so(place: &Place) {
    let server = start(place);
    let root = server.admin();
    write(place, DOCUMENT);
    let before = records(&root);
    let planned = applied(place, &["wanted/all.yaml"], &["--dry-run"]);
    assert_eq!(planned["dry_run"], true);
    assert!(counts(&planned).0 >= 11, "{planned}");
    assert_eq!(records(&root), before, "a plan writes nothing");

    let done = applied(place, &["wanted/all.yaml"], &[]);
    assert_eq!(done["refused"], Value::Null);
    let acme = root.in_tenant("acme");
    let core = eventually("the server knows of the Core", Duration::from_secs(5), || {
        let found = acme.pages(CORES, "items").into_iter().find(|core| core["slug"] == "echo")?;
        (found["status"] == "running").then_some(found)
    });
    let id = core["id"].as_str().unwrap();
    assert_eq!(core["environment"], json!({"TOKEN": "***", "REGION": "north"}));
    assert_eq!(acme.invoke(id, "echo", &json!({"value": 7}))["output"], json!({"version": 1, "value": 7}));
    let users = acme.pages("/v1/users", "items");
    let ada = users.iter().find(|user| user["email"] == "ada@acme.example").unwrap();
    let role = &acme.pages("/v1/iam/custom-roles", "items")[0];
    assert_eq!((&ada["display_name"], &ada["custom_role_ids"]), (&json!("Ada"), &json!([role["id"]])));
    assert_eq!(acme.pages("/v1/groups", "items")[0]["member_count"], 2);
    assert_eq!(acme.pages("/v1/webhooks", "items")[0]["events"], json!(["scaicore.*"]));
    let config = acme.get("/v1/modules/scaibot/config").answer(200).data();
    assert_eq!(config["scope_config"], json!({"default_knowledge_top_k": 8}));
    let tenants = root.get("/v1/admin/tenants?limit=100").answer(200).json();
    let late = tenants["data"].as_array().unwrap().iter().find(|tenant| tenant["slug"] == "late").unwrap();
    assert_eq!(late["status"], "suspended");

    // Again: nothing is done, and nothing recorded.
    write(place, &DOCUMENT.replace("    users: [{email: nobody@late.example}]\n", ""));
    let (settled, before) = (applied(place, &["wanted"], &[]), records(&root));
    assert_eq!(counts(&settled).0 + counts(&settled).1, 0, "{settled}");
    assert_eq!(records(&root), before, "{settled}");

    // One thing changes, and a secret: only they are dealt with.
    let changed = DOCUMENT
        .replace("    users: [{email: nobody@late.example}]\n", "")
        .replace("members: [ada@acme.example, boss@acme.example]", "members: [ada@acme.example]");
    write(place, &changed);
    fs::write(place.folder().join("wanted/token"), format!("{HUSH}-new")).unwrap();
    let planned = applied(place, &["wanted"], &["--dry-run"]);
    let touched: Vec<&str> = planned["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["action"] != "unchanged")
        .map(|step| step["kind"].as_str().unwrap())
        .collect();
    assert_eq!(touched, ["group", "core"], "{planned}");
    assert_eq!(counts(&applied(place, &["wanted"], &[])).1, 2);
    assert_eq!(counts(&applied(place, &["wanted"], &[])).1, 0);
    server.stop();
}

fn what_is_wrong_is_told_before_anything_is_done(place: &Place) {
    let server = start(place);
    let root = server.admin();
    let before = records(&root);
    let refused = |document: &str, code: i32, expected: &[&str]| {
        write(place, document);
        let output = apply(place, &["wanted/all.yaml"], &[]);
        let text = told(&output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
        for part in expected {
            assert!(text.contains(part), "{part}: {text}");
        }
    };
    let colour = DOCUMENT.replace("    name: Acme\n", "    name: Acme\n    colour: red\n");
    refused(&colour, 2, &["all.yaml", "colour", "line 12"]);
    refused(&DOCUMENT.replace("scaigrid/v1", "scaigrid/v9"), 2, &["api_version must be scaigrid/v1"]);
    let several = DOCUMENT.replace("ops@north.example", "nowhere").replace("[tenant_admin]", "[king]");
    refused(&several, 2, &["partners[0].contact_email", "tenants[0].users[0].roles[0]"]);
    refused(&DOCUMENT.replace("HOOK_SECRET", "UNSET_9"), 2, &["webhooks[0].secret", "UNSET_9"]);
    refused(&DOCUMENT.replace("programs/echo.json", "absent.json"), 2, &["cores[0].source", "absent.json"]);
    refused(&DOCUMENT.replace("slug: late", "slug: acme"), 2, &["tenants[1]", "speaks of tenant acme"]);
    refused(
        &DOCUMENT.replace("custom_roles: [clerk]", "custom_roles: [chief]"),
        1,
        &["no custom role chief"],
    );
    refused(
        &DOCUMENT.replace("[ada@acme.example, boss", "[eve@acme.example, boss"),
        1,
        &["no user eve@acme.example"],
    );
    refused(&DOCUMENT.replace("partner: north", "partner: south"), 1, &["tenant acme", "No such partner"]);
    refused(&DOCUMENT.replace("scaicore: {enabled", "scainone: {enabled"), 1, &["nothing was changed"]);
    assert_eq!(records(&root), before, "something was written");
    // Whoever lacks the right is told so, too.
    let (_, key) = root.user("boss@example.org", &["tenant_admin"]);
    write(place, DOCUMENT);
    let output = apply(place, &["wanted/all.yaml"], &["--key", &key]);
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("The permission admin:access at the level of the"), "{}", told(&output));
    server.stop();
}

fn what_was_broken_off_is_gone_on_with(place: &Place) {
    let server = start(place);
    let root = server.admin();
    // That a target may not be called is found when the webhook is made.
    write(place, &DOCUMENT.replace("http://127.0.0.1:9/told", "http://127.0.0.1:10/told"));
    let output = apply(place, &["wanted"], &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["refused"]["kind"], "webhook", "{answer}");
    assert!(answer["summary"]["left"].as_u64().unwrap() >= 3, "{answer}");
    let acme = root.in_tenant("acme");
    assert_eq!(acme.pages("/v1/groups", "items").len(), 1, "what came before is done");
    assert_eq!(acme.pages(CORES, "items").len(), 0, "what comes after is not");
    write(place, DOCUMENT);
    let done = applied(place, &["wanted"], &[]);
    assert_eq!(acme.pages(CORES, "items").len(), 1);
    assert!(counts(&done).2 >= 7, "what was done is left alone: {done}");
    server.stop();
}

fn many_appliers_do_each_thing_once(place: &Place) {
    let server = start(place);
    let root = server.admin();
    write(place, &DOCUMENT.replace("    users: [{email: nobody@late.example}]\n", ""));
    let (folder, database) = (place.folder(), place.database_url());
    std::thread::scope(|scope| {
        let rivals: Vec<_> =
            (0..3).map(|_| scope.spawn(|| apply_in(folder, database, &["wanted"], &[]))).collect();
        for rival in rivals {
            let output = rival.join().unwrap();
            assert!(output.status.success(), "{}", told(&output));
        }
    });
    let acme = root.in_tenant("acme");
    for (client, action) in [
        (&root, "partner.create"),
        (&acme, "user.create"),
        (&acme, "group.create"),
        (&acme, "custom_role.create"),
        (&acme, "webhook.create"),
        (&acme, "core.create"),
        (&acme, "core.start"),
    ] {
        let records = client.pages(&format!("/v1/audit/events?action={action}"), "items");
        let ours = records.iter().filter(|record| record["user_agent"] == "scaigrid-server admin").count();
        assert_eq!(ours, if action == "user.create" { 2 } else { 1 }, "{action}");
    }
    assert_eq!(counts(&applied(place, &["wanted"], &[])).1, 0);
    server.stop();
}

fn people_and_things_are_administered_beside_a_server(place: &Place) {
    let server = start(place);
    let root = server.admin();
    let variables = [
        ("SCAIGRID_DATA_DIR", "data"),
        ("SCAIGRID_DATABASE_URL", place.database_url()),
        ("SCAIGRID_EGRESS_ALLOW", "127.0.0.1:9"),
    ];
    let task = |arguments: &[&str]| -> Value {
        let output = run(place.folder(), &[&["admin"], arguments, &["--json"]].concat(), &variables);
        assert!(output.status.success(), "{arguments:?}: {}", told(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    task(&["partner", "create", "north"]);
    task(&["tenant", "create", "acme", "--partner", "north"]);
    task(&["user", "create", "ada@acme.example", "--tenant", "acme", "--role", "tenant_user"]);
    let role = task(&["role", "create", "Clerk", "--tenant", "acme", "--permission", "scaicore:view"]);
    assert_eq!(role["slug"], "clerk");
    let group = task(&["group", "create", "Finance", "--tenant", "acme", "--member", "ada@acme.example"]);
    assert_eq!(group["members"].as_array().unwrap().len(), 1);
    let ada = task(&["user", "role", "ada@acme.example", "--custom-role", "clerk", "--tenant", "acme"]);
    assert_eq!((&ada["roles"], &ada["custom_role_ids"]), (&json!(["tenant_user"]), &json!([role["id"]])));
    let key = task(&["key", "create", "one", "--user", "ada@acme.example", "--tenant", "acme"]);
    let keys = task(&["key", "list", "--tenant", "acme"]);
    assert_eq!((&keys[0]["id"], &keys[0]["key"]), (&key["id"], &Value::Null));
    fs::write(place.folder().join("secret"), WEBHOOK_SECRET).unwrap();
    let hook =
        ["webhook", "create", "http://127.0.0.1:9/", "--event", "scaicore.*", "--secret-file", "secret"];
    let hook = task(&[&hook[..], &["--tenant", "acme"]].concat());
    let id = hook["id"].as_str().unwrap();
    assert_eq!(task(&["webhook", "status", id, "inactive", "--tenant", "acme"])["status"], "inactive");
    assert_eq!(task(&["module", "show", "scaicore", "--tenant", "acme"])["module_id"], "scaicore");

    // The running server hears of it within a second or so.
    let client = server.client(key["key"].as_str().unwrap());
    eventually("the key counts", Duration::from_secs(3), || {
        (client.get("/v1/me").exchange().status == 200).then_some(())
    });
    assert_eq!(task(&["partner", "suspend", "north"])["status"], "suspended");
    eventually("the partner is suspended", Duration::from_secs(3), || {
        (client.get("/v1/me").exchange().status == 403).then_some(())
    });
    assert_eq!(task(&["partner", "resume", "north"])["status"], "active");
    eventually("the partner works again", Duration::from_secs(3), || {
        (client.get("/v1/me").exchange().status == 200).then_some(())
    });
    assert_eq!(
        task(&["group", "remove", "finance", "ada@acme.example", "--tenant", "acme"])["members"],
        json!([])
    );
    assert_eq!(task(&["group", "delete", "finance", "--tenant", "acme"])["deleted"], true);
    assert_eq!(task(&["role", "delete", "clerk", "--tenant", "acme"])["deleted"], true);
    assert_eq!(task(&["webhook", "delete", id, "--tenant", "acme"])["deleted"], true);
    let acme = root.in_tenant("acme");
    assert_eq!(acme.pages("/v1/groups", "items").len() + acme.pages("/v1/webhooks", "items").len(), 0);
    // Who is not there is told as such, by name; what is wrong on the command line is another exit code.
    let core = "core_01JZ8QZ5T0000000000000000A";
    for (arguments, code, line) in [
        (&["user", "show", "eve@acme.example", "--tenant", "acme"][..], 1, "No such user: eve@acme.example"),
        (&["group", "show", "nobody", "--tenant", "acme"], 1, "No such group: nobody"),
        (&["core", "start", "nope"], 1, "No such Core: nope"),
        (&["core", "stop", core], 1, "No such Core: core_01JZ8QZ5T0000000000000000A"),
        (&["core", "list", "--tenant", "nowhere"], 1, "No such tenant: nowhere"),
        (&["module", "show", "scainone"], 1, "No such module: scainone"),
        (&["role", "create"], 2, "command line: "),
        (&["role", "creat", "x"], 2, "did you mean create?"),
        (&["webhook", "create", "no-url", "--event", "scaicore.*"], 2, "command line: "),
    ] {
        let output = run(place.folder(), &[&["admin"], arguments].concat(), &variables);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", told(&output));
        assert_eq!(told(&output).trim_end().lines().count(), 1, "{}", told(&output));
        assert!(told(&output).contains(line), "{arguments:?}: {}", told(&output));
    }
    server.stop();
}
