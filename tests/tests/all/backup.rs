//! A backup beside a working server, and a life after it elsewhere.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};

use scaigrid_tests::{Client, Db, Place, on_both_databases, programs, run};
use serde_json::{Value, json};

on_both_databases!(
    what_is_backed_up_under_load_goes_on_elsewhere,
    a_restore_is_all_or_nothing,
    what_is_missing_is_named_by_backup_and_restore,
    a_restore_does_not_mix_two_stores,
);

/// What names an object store.
const MARK: &str = "scaigrid-store";

fn task(place: &Place, arguments: &[&str], more: &[(&str, &str)]) -> Output {
    let own = [("SCAIGRID_DATA_DIR", "data"), ("SCAIGRID_DATABASE_URL", place.database_url())];
    run(place.folder(), &[&["admin"], arguments].concat(), &[&own, more].concat())
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn answer(output: &Output) -> Value {
    assert!(output.status.success(), "{}", told(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn master_key(place: &Place) -> String {
    fs::read_to_string(place.data().join("master.key")).unwrap().trim().to_owned()
}

/// A text that must be escaped wherever it is written as JSON.
const ODD: &str = r#"dom\nick, "the best""#;

/// A group that is made once, however often this is asked for.
fn odd_group(client: &Client) -> Value {
    let asked = client.post("/v1/groups").header("Idempotency-Key", "odd").json(&json!({"name": ODD}));
    asked.answer(201).data()
}

/// Puts a backup back, and starts a server on it.
fn goes_on(from: &Place, to: &Place, file: &str, execution: &str, checkpoint: &str) {
    let key = master_key(from);
    let restored = answer(&task(to, &["restore", file, "--json"], &[("SCAIGRID_MASTER_KEY", &key)]));
    assert_eq!(restored["audit_valid"], true, "{restored}");
    fs::copy(from.data().join("admin.key"), to.data().join("admin.key")).unwrap();
    let server = to.launch().set("SCAIGRID_MASTER_KEY", &key).start();
    let acme = server.admin().in_tenant("acme");
    assert_eq!(acme.pages("/v1/users", "items").len(), 1);
    let again = odd_group(&acme);
    let groups = acme.pages("/v1/groups", "items");
    assert_eq!((groups.len(), &groups[0]["id"], &groups[0]["name"]), (1, &again["id"], &json!(ODD)));
    let waiting = acme.execution(execution);
    assert_eq!(waiting["status"], "suspended");
    assert_eq!(acme.resolve(checkpoint, "yes")["execution"]["status"], "completed");
    let cores = acme.pages(scaigrid_tests::CORES, "items");
    let spare = cores.iter().find(|core| core["slug"] == "spare").unwrap();
    assert_eq!(spare["environment"]["TOKEN"], "***");
    // What is sealed can be opened: the same secret once more is no change.
    let path = format!("{}/{}", scaigrid_tests::CORES, spare["id"].as_str().unwrap());
    let body = json!({"environment": {"TOKEN": {"type": "secret", "value": "hush-hush"}}});
    assert_eq!(acme.put(&path, &body).answer(200).data()["updated_at"], spare["updated_at"]);
    assert_eq!(server.admin().get("/v1/audit/verify").answer(200).data()["valid"], true);
    let busy = cores.iter().find(|core| core["slug"] == "busy").unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(acme.invoke(&busy, "echo", &json!({"value": 1}))["status"], "completed");
    server.stop();
}

fn what_is_backed_up_under_load_goes_on_elsewhere(place: &Place) {
    let server = place.start();
    let root = server.admin();
    root.tenant("acme");
    let acme = root.in_tenant("acme");
    acme.user("ada@acme.example", &["tenant_user"]);
    let spare = acme.host("Spare", &programs::echo(1));
    let body = json!({"environment": {"TOKEN": {"type": "secret", "value": "hush-hush"}}});
    acme.put(&format!("{}/{spare}", scaigrid_tests::CORES), &body).answer(200);
    assert_eq!(odd_group(&acme)["name"], ODD);
    let core = acme.run("Asking", &programs::asking(&json!({"options": ["yes", "no"]})));
    let busy = acme.run("Busy", &programs::echo(1));
    let (execution, checkpoint) = acme.invoke_to_checkpoint(&core, "ask", &json!({}));
    let stop = AtomicBool::new(false);
    let backed_up = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    acme.invoke(&busy, "echo", &json!({"value": "load"}));
                }
            });
        }
        let output = task(place, &["backup", "--output", "all.backup", "--json"], &[]);
        stop.store(true, Ordering::Relaxed);
        answer(&output)
    });
    assert!(backed_up["total_rows"].as_u64().unwrap() > 20, "{backed_up}");
    assert_eq!(backed_up["rows"]["checkpoints"], 1);
    let records = root.pages("/v1/audit/events?action=backup.create", "items");
    assert_eq!(records.len(), 1);
    // It is there already, and is not written over; nor can anybody but a super admin take one.
    assert_eq!(task(place, &["backup", "--output", "all.backup"], &[]).status.code(), Some(2));
    let (_, key) = root.user("boss@example.org", &["tenant_admin"]);
    let refused = task(place, &["backup", "--output", "mine.backup", "--key", &key], &[]);
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(!place.folder().join("mine.backup").exists());
    let left: Vec<_> = fs::read_dir(place.folder()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains(".part-")), "{left:?}");
    let file = place.folder().join("all.backup");
    let bytes = fs::read(&file).unwrap();
    let secret: &[u8] = b"hush-hush";
    assert!(bytes.windows(secret.len()).all(|part| part != secret));
    for db in [Db::Sqlite, Db::Postgres] {
        let Some(elsewhere) = Place::fresh(db) else { continue };
        goes_on(place, &elsewhere, file.to_str().unwrap(), &execution, &checkpoint);
        elsewhere.leave();
    }
    // Where it came from all of it goes on too.
    assert_eq!(acme.resolve(&checkpoint, "no")["execution"]["status"], "completed");
    server.stop();
}

fn a_restore_is_all_or_nothing(place: &Place) {
    let server = place.start();
    answer(&task(place, &["backup", "--output", "all.backup", "--json"], &[]));
    let file = place.folder().join("all.backup");
    let file = file.to_str().unwrap();
    server.stop();
    let key = master_key(place);
    let key = [("SCAIGRID_MASTER_KEY", key.as_str())];
    let refused = |place: &Place, file: &str, key: &[(&str, &str)], code: i32, expected: &str| {
        let output = task(place, &["restore", file], key);
        assert_eq!(output.status.code(), Some(code), "{}", told(&output));
        assert!(told(&output).contains(expected), "{}", told(&output));
    };
    refused(place, file, &key, 2, "is not empty");
    let elsewhere = Place::fresh(place.db()).unwrap();
    refused(&elsewhere, file, &[], 2, "SCAIGRID_MASTER_KEY");
    let other = [("SCAIGRID_MASTER_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")];
    refused(&elsewhere, file, &other, 2, "SCAIGRID_MASTER_KEY: the backup stands under the master key");
    refused(&elsewhere, "absent", &key, 2, "absent");
    let bytes = fs::read(file).unwrap();
    let broken = elsewhere.folder().join("broken");
    for (what, bytes) in [
        ("cut", bytes[..bytes.len() - 20].to_vec()),
        ("half", bytes[..bytes.len() / 2].to_vec()),
        ("none", Vec::new()),
        ("other", b"something else".to_vec()),
    ] {
        fs::write(&broken, bytes).unwrap();
        let output = task(&elsewhere, &["restore", broken.to_str().unwrap()], &key);
        assert_eq!(output.status.code(), Some(1), "{what}: {}", told(&output));
    }
    // After all that the place is still empty.
    assert_eq!(answer(&task(&elsewhere, &["restore", file, "--json"], &key))["audit_valid"], true);
    elsewhere.leave();
}

/// Removes all files below a folder; how many.
fn remove_files(folder: &Path) -> u64 {
    let mut removed = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            removed += remove_files(&path);
        } else {
            fs::remove_file(path).unwrap();
            removed += 1;
        }
    }
    removed
}

/// What a task prints although it has failed.
fn failed(output: &Output, expected: &str) -> Value {
    assert_eq!(output.status.code(), Some(1), "{}", told(output));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains(expected), "{complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn what_is_missing_is_named_by_backup_and_restore(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Echo", &programs::echo(1));
    // More than are named: a picture, and inputs and outputs that all differ.
    admin.post(&format!("{}/{core}/avatar", scaigrid_tests::CORES)).form(b"GIF89a", &[]).answer(200);
    for number in 0..6 {
        let value = format!("{number}{}", "v".repeat(100_000));
        admin.invoke(&core, "echo", &json!({"value": value}));
    }
    let whole = answer(&task(place, &["backup", "--output", "whole.backup", "--json"], &[]));
    assert_eq!(whole["missing_objects"], json!({"count": 0, "first": []}));
    let objects = place.data().join("objects");
    let removed = remove_files(&objects.join("tenants")) + remove_files(&objects.join("scaicore"));
    assert!(removed > 10, "{removed}");
    // With its mark.
    assert_eq!(whole["objects"], json!(removed + 1));
    let lacking = task(place, &["backup", "--output", "lacking.backup", "--json"], &[]);
    let lacking = failed(&lacking, "the backup is written, but not whole");
    let count = lacking["missing_objects"]["count"].as_u64().unwrap();
    assert!(count > 10 && count <= removed, "{lacking}");
    let named = lacking["missing_objects"]["first"].as_array().unwrap();
    assert_eq!(named.len(), 10);
    assert!(named[0].as_str().unwrap().ends_with("/avatar"), "{named:?}");
    let accepted = ["backup", "--output", "accepted.backup", "--allow-missing", "--json"];
    assert_eq!(answer(&task(place, &accepted, &[]))["missing_objects"], lacking["missing_objects"]);
    // Of a picture that went with its Core nothing is missed.
    admin.act(&core, "stop");
    admin.status_becomes(&core, "stopped");
    admin.delete(&format!("{}/{core}?force=true", scaigrid_tests::CORES)).answer(204);
    let less = task(place, &["backup", "--output", "less.backup", "--json"], &[]);
    if !less.status.success() {
        let less: Value = serde_json::from_slice(&less.stdout).unwrap();
        let named = less["missing_objects"]["first"].to_string();
        assert!(!named.contains("avatar"), "{named}");
    }
    server.stop();

    let key = master_key(place);
    let key = [("SCAIGRID_MASTER_KEY", key.as_str())];
    let elsewhere = Place::fresh(place.db()).unwrap();
    let file = place.folder().join("accepted.backup");
    let restored = task(&elsewhere, &["restore", file.to_str().unwrap(), "--json"], &key);
    let restored = failed(&restored, "everything that is in it was put back, but");
    assert_eq!(restored["missing_objects"], lacking["missing_objects"]);
    fs::copy(place.data().join("admin.key"), elsewhere.data().join("admin.key")).unwrap();
    let server = elsewhere.launch().set("SCAIGRID_MASTER_KEY", key[0].1).start();
    assert_eq!(server.admin().pages(scaigrid_tests::CORES, "items").len(), 1, "the rest is there");
    server.stop();
    elsewhere.leave();
}

fn a_restore_does_not_mix_two_stores(place: &Place) {
    let server = place.start();
    answer(&task(place, &["backup", "--output", "all.backup", "--json"], &[]));
    server.stop();
    let file = place.folder().join("all.backup");
    let file = file.to_str().unwrap();
    let own = fs::read_to_string(place.data().join("objects").join(MARK)).unwrap();
    let key = master_key(place);
    let key = [("SCAIGRID_MASTER_KEY", key.as_str())];
    let elsewhere = Place::fresh(place.db()).unwrap();
    let objects = elsewhere.data().join("objects");
    fs::create_dir(&objects).unwrap();
    fs::write(objects.join(MARK), "01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap();
    let refused = task(&elsewhere, &["restore", file], &key);
    assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
    assert!(told(&refused).contains("SCAIGRID_OBJECT_STORE: "), "{}", told(&refused));
    fs::remove_file(objects.join(MARK)).unwrap();
    // What is broken off leaves no mark; what is whole has that of the backup.
    let bytes = fs::read(file).unwrap();
    let cut = elsewhere.folder().join("cut");
    fs::write(&cut, &bytes[..bytes.len() - 20]).unwrap();
    assert_eq!(task(&elsewhere, &["restore", cut.to_str().unwrap()], &key).status.code(), Some(1));
    assert!(!objects.join(MARK).exists());
    answer(&task(&elsewhere, &["restore", file, "--json"], &key));
    assert_eq!(fs::read_to_string(objects.join(MARK)).unwrap(), own);
    // A backup of what lies in another store is none.
    fs::write(objects.join(MARK), "01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap();
    fs::copy(place.data().join("admin.key"), elsewhere.data().join("admin.key")).unwrap();
    let refused = task(&elsewhere, &["backup", "--output", "other.backup"], &key);
    assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
    assert!(told(&refused).contains("is not the object store of this database"), "{}", told(&refused));
    assert!(!elsewhere.folder().join("other.backup").exists());
    elsewhere.leave();
}
