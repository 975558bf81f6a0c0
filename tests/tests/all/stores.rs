//! The object store that belongs to a database: a server that is given another one does not start.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use scaigrid_tests::{
    Db, Harm, ObjectServer, Place, SCAICORE, eventually, on, on_both_databases, programs, run, spawn,
};
use serde_json::json;

on_both_databases!(
    another_store_is_refused,
    a_store_and_a_database_from_before_come_together,
    a_node_with_a_store_of_its_own_does_not_join,
    what_cannot_be_read_is_not_shown_as_nothing,
);

/// What names a store.
const MARK: &str = "scaigrid-store";
/// What does not lie in the database.
const LARGE: usize = 100_000;
const OTHER: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

/// Starts a server that must not start; what it says.
fn refused(place: &Place, more: &[(&str, &str)]) -> String {
    let data = place.data();
    let own = [
        ("SCAIGRID_BIND", "127.0.0.1:0"),
        ("SCAIGRID_DATA_DIR", data.to_str().unwrap()),
        ("SCAIGRID_DATABASE_URL", place.database_url()),
    ];
    let output: Output = run(place.folder(), &["serve"], &[&own, more].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("listens"));
    let line = said.lines().last().unwrap().to_owned();
    assert!(line.starts_with("SCAIGRID_OBJECT_STORE: ") && line.contains(MARK), "{line}");
    line
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let there = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &there);
        } else {
            fs::copy(entry.path(), there).unwrap();
        }
    }
}

fn another_store_is_refused(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Echo", &programs::echo(1));
    let value = "v".repeat(LARGE);
    let ran = admin.invoke(&core, "echo", &json!({"value": value}));
    let id = ran["id"].as_str().unwrap();
    server.stop();

    let other = place.folder().join("other");
    let url = format!("file://{}", other.display());
    let elsewhere = [("SCAIGRID_OBJECT_STORE", url.as_str())];
    let line = refused(place, &elsewhere);
    assert!(line.contains(&url) && line.contains("all nodes need the same"), "{line}");
    // Trying has not made it one.
    assert!(!other.join(MARK).exists());
    // Without its mark a copy is none, and with another's neither.
    copy(&place.data().join("objects"), &other);
    fs::remove_file(other.join(MARK)).unwrap();
    assert!(refused(place, &elsewhere).contains("there is no object"));
    fs::write(other.join(MARK), OTHER).unwrap();
    assert!(refused(place, &elsewhere).contains(OTHER));
    fs::write(other.join(MARK), "something else").unwrap();
    assert!(refused(place, &elsewhere).contains("does not hold the id"));
    fs::copy(place.data().join("objects").join(MARK), other.join(MARK)).unwrap();
    let server = place.launch().set("SCAIGRID_OBJECT_STORE", &url).start();
    assert_eq!(server.admin().execution(id)["input"]["value"], value);
    server.stop();
}

fn a_store_and_a_database_from_before_come_together(place: &Place) {
    let forget = "DELETE FROM platform_facts WHERE name = 'object_store'";
    let mark = place.data().join("objects").join(MARK);
    place.start().stop();
    let first = fs::read_to_string(&mark).unwrap();
    assert_eq!(first.trim().len(), OTHER.len(), "{first}");
    // A version that knew nothing of this has left neither.
    place.run_sql(forget);
    fs::remove_file(&mark).unwrap();
    place.start().stop();
    let second = fs::read_to_string(&mark).unwrap();
    assert_ne!(first, second);
    // A server that died has left one of both.
    place.run_sql(forget);
    place.start().stop();
    assert_eq!(fs::read_to_string(&mark).unwrap(), second);
    place.start().stop();
    fs::remove_file(&mark).unwrap();
    assert!(refused(place, &[]).contains(second.trim()));
}

fn a_node_with_a_store_of_its_own_does_not_join(place: &Place) {
    if place.db() == Db::Sqlite {
        // There are no two nodes on one file.
        return;
    }
    let server = place.start();
    let master = fs::read_to_string(place.data().join("master.key")).unwrap();
    let (second, own) = (place.folder().join("second"), place.folder().join("second/objects"));
    let line = refused(
        place,
        &[("SCAIGRID_DATA_DIR", second.to_str().unwrap()), ("SCAIGRID_MASTER_KEY", master.trim())],
    );
    assert!(line.contains(own.to_str().unwrap()), "{line}");
    // With the wrong key as well it settles nothing, whatever the database knew before.
    place.run_sql("DELETE FROM platform_facts WHERE name = 'object_store'");
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let variables = [
        ("SCAIGRID_BIND", "127.0.0.1:0"),
        ("SCAIGRID_DATA_DIR", second.to_str().unwrap()),
        ("SCAIGRID_DATABASE_URL", place.database_url()),
        ("SCAIGRID_MASTER_KEY", key),
    ];
    assert_eq!(run(place.folder(), &["serve"], &variables).status.code(), Some(2));
    assert!(!own.join(MARK).exists());
    place.further_node("third").start().stop();
    server.stop();
}

fn what_cannot_be_read_is_not_shown_as_nothing(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let ask = programs::flow(
        "ask",
        &json!([{"name": "value", "type": "string"}]),
        &json!([
            programs::checkpoint(&json!({})),
            programs::rigid("end", &json!([{"kind": "return", "value": "7"}]))
        ]),
    );
    let core = admin.run("Asking", &programs::program("Asking", &[ask]));
    let value = "v".repeat(LARGE);
    let (id, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({"value": value}));
    let (objects, aside) = (place.data().join("objects"), place.folder().join("aside"));
    let unread = || {
        let answer = admin.get(&format!("{SCAICORE}/executions/{id}")).refused(502, "STORAGE_ERROR");
        answer.json()["error"]["message"].as_str().unwrap().to_owned()
    };
    // The store is away, or it is there and what was put into it is not.
    fs::rename(&objects, &aside).unwrap();
    fs::write(&objects, "no folder").unwrap();
    assert!(unread().contains("does not do its work"), "{}", unread());
    fs::remove_file(&objects).unwrap();
    fs::create_dir(&objects).unwrap();
    assert!(unread().contains("is missing in the object store"), "{}", unread());
    // The decision needs nothing of it, and is told with what is not.
    let decided = admin.resolve(&checkpoint, "approved")["execution"].clone();
    assert_eq!((&decided["status"], &decided["output"]), (&json!("completed"), &json!(7)), "{decided}");
    let shown = &decided["input"];
    assert!(shown["omitted"] == true && shown["bytes"].as_u64().unwrap() > LARGE as u64, "{decided}");
    fs::remove_dir_all(&objects).unwrap();
    fs::rename(&aside, &objects).unwrap();
    assert_eq!(admin.execution(&id)["input"]["value"], value);
    server.stop();
}

/// A place whose objects lie in a bucket; nothing where there is no server for it.
fn with_bucket(test: impl Fn(&Place, &ObjectServer, &Path)) {
    let Some(program) = ObjectServer::program() else { return };
    on(Db::Sqlite, |place| {
        let folder = place.folder().join("buckets");
        let bucket = ObjectServer::start(&program, &folder);
        test(place, &bucket, &folder.join("objects"));
    });
}

#[test]
fn a_bucket_that_was_away_at_the_start_proves_itself_later() {
    with_bucket(|place, bucket, files| {
        let settings = bucket.settings();
        let launch = || settings.iter().fold(place.launch(), |launch, (name, value)| launch.set(name, value));
        bucket.harm(Harm::Failing);
        let server = std::thread::scope(|scope| {
            scope.spawn(|| {
                // It is asked in vain, and nothing is settled.
                std::thread::sleep(Duration::from_secs(5));
                assert!(bucket.harmed() > 0 && !files.join(MARK).exists());
                bucket.harm(Harm::None);
            });
            launch().start()
        });
        assert!(server.log().contains("is not known yet"), "{}", server.log());
        assert!(files.join(MARK).exists());
        let admin = server.admin();
        let core = admin.run("Echo", &programs::echo(1));
        let value = "v".repeat(LARGE);
        assert_eq!(admin.invoke(&core, "echo", &json!({"value": value}))["input"]["value"], value);
        server.stop();
    });
}

#[test]
fn a_bucket_that_turns_out_to_be_another_ends_the_server() {
    with_bucket(|place, bucket, files| {
        let settings = bucket.settings();
        let launch = settings.iter().fold(place.launch(), |launch, (name, value)| launch.set(name, value));
        launch.start().stop();
        fs::write(files.join(MARK), OTHER).unwrap();
        bucket.harm(Harm::Failing);
        let data = place.data();
        let mut variables = vec![
            ("SCAIGRID_BIND", "127.0.0.1:0"),
            ("SCAIGRID_DATA_DIR", data.to_str().unwrap()),
            ("SCAIGRID_DATABASE_URL", place.database_url()),
        ];
        variables.extend(settings.iter().map(|(name, value)| (*name, value.as_str())));
        let mut child = spawn(place.folder(), &["serve"], &variables);
        std::thread::sleep(Duration::from_secs(6));
        assert!(
            child.try_wait().unwrap().is_none(),
            "a store that is away does not keep a server from its start"
        );
        bucket.harm(Harm::None);
        let ended = eventually("it ends", Duration::from_mins(1), || child.try_wait().unwrap());
        assert_eq!(ended.code(), Some(2));
    });
}
