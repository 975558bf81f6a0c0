//! The process: settings, first and second start, the end, and what keeps two of them apart.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::time::{Duration, Instant};

use scaigrid_tests::{CORES, Db, Place, on_both_databases, programs, run};
use serde_json::json;

on_both_databases!(
    a_second_start_changes_nothing,
    a_server_tells_which_process_it_is,
    an_end_that_is_asked_for_waits_for_requests,
    another_master_key_is_refused,
    a_refused_start_leaves_no_key,
    a_variable_that_is_no_setting_is_named,
    migrations_run_alone_too,
    a_key_of_the_operators_own_is_the_first_admins,
);

fn a_variable_that_is_no_setting_is_named(place: &Place) {
    let server = place.launch().set("SCAIGRID_RATE_LIMIT", "hush").set("SCAIGRID_COLOUR", "hush").start();
    let log = server.log();
    assert!(
        log.contains("SCAIGRID_RATE_LIMIT: there is no such setting; did you mean SCAIGRID_RATE_LIMITS?"),
        "{log}"
    );
    assert!(log.contains("SCAIGRID_COLOUR: there is no such setting"), "{log}");
    assert!(!log.contains("hush") && log.matches("no such setting").count() == 2, "{log}");
    server.stop();
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

#[test]
fn a_bad_setting_is_one_line_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let file = file.to_str().unwrap();
    let below = format!("{file}/below");
    for (name, value) in [
        ("SCAIGRID_BIND", "nowhere"),
        ("SCAIGRID_BIND", "127.0.0.1:99999"),
        ("SCAIGRID_BIND", &taken),
        ("SCAIGRID_DATABASE_URL", "mysql://localhost/x"),
        ("SCAIGRID_DATABASE_URL", "postgres://nobody:hunter2@127.0.0.1:1/none"),
        ("SCAIGRID_DATABASE_URL", "sqlite:///proc/none/such.db"),
        ("SCAIGRID_REDIS_URL", "http://localhost"),
        ("SCAIGRID_MASTER_KEY", "short"),
        ("SCAIGRID_BOOTSTRAP_KEY", "sgk_short"),
        ("SCAIGRID_BOOTSTRAP_KEY", "no key at all"),
        ("SCAIGRID_RATE_LIMITS", "key=many"),
        ("SCAIGRID_RATE_LIMITS", "planet=5"),
        ("SCAIGRID_LOG_FORMAT", "xml"),
        ("SCAIGRID_LOG", "scaigrid=shouting"),
        ("SCAIGRID_DATA_DIR", &below),
        ("SCAIGRID_OBJECT_STORE", "s3://x"),
        ("SCAIGRID_OBJECT_STORE", "gs://bucket"),
        ("SCAIGRID_OBJECT_STORE", "file:///proc/none/such"),
        ("SCAIGRID_S3_ENDPOINT", "http://u:hunter2@127.0.0.1"),
        ("SCAIGRID_S3_ACCESS_KEY_ID", "half-a-pair"),
        ("SCAIGRID_S3_SECRET_ACCESS_KEY", "hunter2"),
    ] {
        let data = folder.path().join("data");
        let mut variables =
            vec![("SCAIGRID_BIND", "127.0.0.1:0"), ("SCAIGRID_DATA_DIR", data.to_str().unwrap())];
        variables.push((name, value));
        let output = run(folder.path(), &[], &variables);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{name}={value}: {said}");
        assert_eq!(said.lines().count(), 1, "{name}={value}: {said}");
        assert!(said.contains(name), "{name}={value}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("listens"), "{name}");
        for key in ["master.key", "admin.key"] {
            assert!(!data.join(key).exists(), "{name}={value} has left {key} behind");
        }
    }
    for arguments in [&["--no-such-flag"][..], &["dance"], &["--bind"], &["--bind", "x"]] {
        let output = run(folder.path(), arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
    }
    let help = run(folder.path(), &["--help"], &[]);
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.status.success());
    for name in [
        "SCAIGRID_BIND",
        "SCAIGRID_DATABASE_URL",
        "SCAIGRID_MASTER_KEY",
        "SCAIGRID_RATE_LIMITS",
        "--log-format",
    ] {
        assert!(text.contains(name), "{name} is not in the help:\n{text}");
    }
}

#[test]
fn flags_come_before_variables_and_variables_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("scaigrid.toml"), "bind = \"from-the-file\"\n").unwrap();
    let said =
        |arguments: &[&str], variables: &[(&str, &str)]| stderr(&run(folder.path(), arguments, variables));
    assert!(said(&[], &[]).contains("from-the-file"), "{}", said(&[], &[]));
    let both = said(&[], &[("SCAIGRID_BIND", "from-the-variable")]);
    assert!(both.contains("from-the-variable"), "{both}");
    let all = said(&["--bind", "from-the-flag"], &[("SCAIGRID_BIND", "from-the-variable")]);
    assert!(all.contains("from-the-flag"), "{all}");
    std::fs::write(folder.path().join("scaigrid.toml"), "colour = \"red\"\n").unwrap();
    assert!(said(&[], &[]).contains("colour"), "{}", said(&[], &[]));
}

fn a_second_start_changes_nothing(place: &Place) {
    let server = place.start();
    let key = place.admin_key();
    let secret = place.data().join("master.key");
    let master = std::fs::read(&secret).unwrap();
    let mut own = vec![place.data().join("admin.key"), secret.clone()];
    if place.db() == Db::Sqlite {
        own.extend(["scaigrid.db", "scaigrid.db-wal"].map(|name| place.data().join(name)));
    }
    for file in &own {
        let mode = std::fs::metadata(file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.display());
    }
    let me = server.admin().get("/v1/me").answer(200).data();
    assert_eq!(me["partner"]["slug"], "internal");
    assert_eq!(me["tenant"]["slug"], "default");
    assert_eq!(me["roles"], json!(["super_admin"]));
    let audit = server.admin().pages("/v1/audit/events", "items");
    server.stop();

    let server = place.start();
    assert_eq!(place.admin_key(), key);
    assert_eq!(std::fs::read(&secret).unwrap(), master);
    assert_eq!(server.admin().get("/v1/me").answer(200).data(), me);
    assert_eq!(server.admin().pages("/v1/audit/events", "items"), audit);
    server.stop();
    // The key's file is the operator's to take away; it does not come back.
    std::fs::remove_file(place.data().join("admin.key")).unwrap();
    let output = run(place.folder(), &["migrate"], &variables(place));
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!place.data().join("admin.key").exists());
}

fn a_server_tells_which_process_it_is(place: &Place) {
    let file = place.data().join("server.pid");
    let told = || std::fs::read_to_string(&file).unwrap();
    let server = place.start();
    let number = format!("{}\n", server.pid());
    assert_eq!(told(), number);
    // What is no server, and what is none any more, leaves the file of the one that is.
    let output = run(place.folder(), &["admin", "tenant", "list"], &variables(place));
    assert!(output.status.success(), "{}", stderr(&output));
    if place.db() == Db::Sqlite {
        assert_eq!(run(place.folder(), &[], &variables(place)).status.code(), Some(2));
    }
    assert_eq!(told(), number);
    server.kill();
    assert_eq!(told(), number, "nobody was there to remove it");
    let server = place.start();
    assert_eq!(told(), format!("{}\n", server.pid()));
    server.stop();
    assert!(!file.exists());
    // A node that ends does not take the file of the one that came after it into the same folder.
    if place.db() == Db::Postgres {
        let (first, second) = (place.start(), place.start());
        first.stop();
        assert_eq!(told(), format!("{}\n", second.pid()));
        second.stop();
        assert!(!file.exists());
    }
}

fn variables(place: &Place) -> Vec<(&'static str, &str)> {
    vec![
        ("SCAIGRID_DATA_DIR", "data"),
        ("SCAIGRID_DATABASE_URL", place.database_url()),
        ("SCAIGRID_BIND", "127.0.0.1:0"),
    ]
}

fn an_end_that_is_asked_for_waits_for_requests(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Spin", &programs::spinning());
    let body = json!({"flow": "spin", "input": {"rounds": 20_000}, "wait_ms": 30_000});
    let request = admin.post(&format!("{CORES}/{core}/invoke")).json(&body);
    let client = std::thread::spawn(move || request.exchange());
    scaigrid_tests::eventually("it runs", Duration::from_secs(5), || {
        (admin.pages(&format!("{CORES}/{core}/executions"), "items").len() == 1).then_some(())
    });
    let begun = Instant::now();
    server.terminate();
    let status = server.ended();
    assert!(status.success(), "{status}");
    assert!(begun.elapsed() < Duration::from_secs(35), "{:?}", begun.elapsed());
    let answer = client.join().unwrap();
    assert!(matches!(answer.status, 200 | 202), "the request got its answer: {answer}");
    let id = answer.data()["id"].as_str().unwrap().to_owned();
    // What had not ended goes on with the next start, at once: it was let go of.
    let server = place.start();
    let begun = Instant::now();
    assert_eq!(server.admin().execution_becomes(&id, "completed")["output"], 20_000);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    server.stop();
}

fn another_master_key_is_refused(place: &Place) {
    let server = place.start();
    server.stop();
    let other = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let mut with_another = variables(place);
    with_another.push(("SCAIGRID_MASTER_KEY", other));
    let output = run(place.folder(), &[], &with_another);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("SCAIGRID_MASTER_KEY"), "{}", stderr(&output));
    assert!(!stderr(&output).contains(other));
    place.start().stop();
}

/// On a database of others a node without their master key makes one, which opens nothing: it must not be found by the next start.
fn a_refused_start_leaves_no_key(place: &Place) {
    place.start().stop();
    let folder = place.folder().join("empty");
    let objects = format!("file://{}", place.data().join("objects").display());
    let variables = [
        ("SCAIGRID_DATA_DIR", folder.to_str().unwrap()),
        ("SCAIGRID_DATABASE_URL", place.database_url()),
        ("SCAIGRID_OBJECT_STORE", &objects),
        ("SCAIGRID_BIND", "127.0.0.1:0"),
    ];
    for _ in 0..2 {
        let output = run(place.folder(), &[], &variables);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("SCAIGRID_MASTER_KEY"), "{}", stderr(&output));
        assert!(!folder.join("master.key").exists() && !folder.join("admin.key").exists());
    }
    // With theirs it starts, and needs no file.
    let output = run(place.folder(), &["migrate"], &variables);
    assert!(output.status.success(), "{}", stderr(&output));
    let master = std::fs::read_to_string(place.data().join("master.key")).unwrap();
    std::fs::write(folder.join("admin.key"), place.admin_key()).unwrap();
    let launch = place.launch().set("SCAIGRID_DATA_DIR", folder.to_str().unwrap());
    let launch = launch.set("SCAIGRID_OBJECT_STORE", &objects).set("SCAIGRID_MASTER_KEY", master.trim());
    launch.start().stop();
    assert!(!folder.join("master.key").exists());
}

fn migrations_run_alone_too(place: &Place) {
    let output = run(place.folder(), &["migrate"], &variables(place));
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!place.data().join("admin.key").exists(), "nobody is made before the first start");
    let again = run(place.folder(), &["migrate"], &variables(place));
    assert!(again.status.success(), "{}", stderr(&again));
    let server = place.start();
    assert_eq!(server.admin().get("/v1/me").answer(200).data()["level"], "platform");
    server.stop();
}

fn a_key_of_the_operators_own_is_the_first_admins(place: &Place) {
    let key = format!("sgk_{}", "Ab3".repeat(12));
    std::fs::write(place.data().join("admin.key"), &key).unwrap();
    let server = place.launch().set("SCAIGRID_BOOTSTRAP_KEY", &key).start();
    assert_eq!(server.client(&key).get("/v1/me").answer(200).data()["roles"], json!(["super_admin"]));
    server.stop();
}

#[test]
fn two_servers_do_not_share_a_file() {
    scaigrid_tests::on(Db::Sqlite, |place| {
        let server = place.start();
        let output = run(place.folder(), &[], &variables(place));
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        server.admin().get("/v1/me").answer(200);
        // However the first one ends, its place is free.
        server.kill();
        place.start().stop();
    });
}
