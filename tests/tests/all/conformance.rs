//! Schemathesis over the whole document: whatever it sends, the server answers as the document says.
//!
//! The examples are drawn by a number, so a finding is found again. The short form shares the work between the databases; told
//! how many examples to make, as `cargo xtask conformance` does, both get all of it. What is let pass, and why, stands in
//! `tests/conformance`.

use std::fs::File;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use scaigrid_tests::{Client, Db, Place, Server, on_both_databases, service};
use serde_json::{Value, json};

use crate::strangers::Existing;

on_both_databases!(the_server_does_what_its_document_says);

/// How many examples are made for each operation in the short form, and by what they are drawn.
const EXAMPLES: u32 = 3;
const SEED: &str = "8";
/// How long it may take at most, and how much longer for each example: a fraction of this is enough.
const PATIENCE: Duration = Duration::from_mins(10);
const PATIENCE_FOR_ONE: Duration = Duration::from_mins(1);

/// Which examples are made: those of the document, those at the bounds of schemas, any, and what follows from answers.
fn phases(place: &Place, short: bool) -> &'static str {
    match (short, place.db()) {
        (false, _) => "examples,coverage,fuzzing,stateful",
        (true, Db::Sqlite) => "examples,coverage",
        (true, Db::Postgres) => "examples,fuzzing,stateful",
    }
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn write(folder: &Path, name: &str, content: &Value) -> String {
    let file = folder.join(name);
    std::fs::write(&file, content.to_string()).unwrap();
    file.to_string_lossy().into_owned()
}

/// Who calls: the first admin, and the admin of another tenant, who must not see what is the other's.
fn credentials(admin: &str, stranger: &str) -> Value {
    let known = |name: &str, key: &str| {
        let header = json!({"name": "Authorization", "value": format!("Bearer {key}")});
        json!({"name": name, "fixedHeaders": [header]})
    };
    json!({"auth": [known("admin", admin), known("stranger", stranger)]})
}

/// What must stay as it is for answers to mean anything: whom the key is of, where they act, and the module that most is of.
fn kept(root: &Client, key: &str) -> String {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let me = root.get("/v1/me").answer(200).data();
    let tenant = text(&me["tenant"]["id"]);
    let partner = root.get(&format!("/v1/admin/tenants/{tenant}")).answer(200).data();
    let keys = root.pages("/v1/api-keys", "items");
    let own = keys.iter().find(|known| key.starts_with(known["prefix"].as_str().unwrap())).unwrap();
    let module = "scaicore".to_owned();
    [text(&me["user"]["id"]), tenant, text(&partner["partner_id"]), text(&own["id"]), module].join(" ")
}

fn the_server_does_what_its_document_says(place: &Place) {
    let Some(environment) = service("SCAIGRID_TEST_SCHEMATHESIS", "folder with Schemathesis for Python")
    else {
        return;
    };
    let server = place.start();
    let root = server.admin();
    let existing = Existing::make(&root, &root);
    root.put("/v1/admin/prompt-studio", &json!({"enabled": true})).answer(200);
    let there = root.tenant("strangers");
    let (_, stranger) = root.in_tenant(&there).user("boss@strangers.example", &["tenant_admin"]);

    let (folder, key) = (place.folder(), place.admin_key());
    let wanted = setting("SCAIGRID_CONFORMANCE_EXAMPLES");
    let phases = phases(place, wanted.is_none());
    let examples = wanted.map_or(EXAMPLES, |text| text.parse().unwrap());
    let mut command = schemathesis(&environment, &server, folder);
    command
        .args(["--phases", phases, "--max-examples", &examples.to_string(), "--seed"])
        .arg(setting("SCAIGRID_CONFORMANCE_SEED").as_deref().unwrap_or(SEED))
        .env("CONFORMANCE_CREDENTIALS", write(folder, "credentials.json", &credentials(&key, &stranger)))
        .env("CONFORMANCE_WORLD", write(folder, "world.json", &json!(existing.ids())))
        .env("CONFORMANCE_KEPT", kept(&root, &key));
    let (status, said) = run(&mut command, folder, PATIENCE + PATIENCE_FOR_ONE * examples);
    assert!(status.is_some_and(|status| status.success()), "{status:?}\n{said}");
    // Whoever has lost their rights on the way has proved nothing.
    assert_eq!(root.get("/v1/me").answer(200).data()["tenant"]["id"], existing.ids()["tenant_id"].as_str());
    assert!(said.contains("passed"), "{said}");
    server.stop();
}

/// The call, without what is wanted of it. It ends with the thread that makes it, where there is `setpriv`.
fn schemathesis(environment: &str, server: &Server, folder: &Path) -> Command {
    let program = Path::new(environment).join("bin").join("schemathesis");
    let setpriv = Path::new("/usr/bin/setpriv");
    let mut command = if setpriv.is_file() {
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    let url = format!("http://{}", server.address());
    command
        .current_dir(folder)
        .arg("--config-file")
        .arg(files.join("schemathesis.toml"))
        .args(["run", &format!("{url}/openapi.json"), "--url", &url])
        .env("NO_PROXY", "127.0.0.1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", files.join("hooks.py"));
    command
}

/// Runs it to its end, which must come in time; what it has said.
fn run(command: &mut Command, folder: &Path, patience: Duration) -> (Option<ExitStatus>, String) {
    let told = ["schemathesis.out", "schemathesis.err"].map(|name| folder.join(name));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(File::create(&told[0]).unwrap())
        .stderr(File::create(&told[1]).unwrap())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if begun.elapsed() > patience {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let said = told.map(|file| std::fs::read_to_string(file).unwrap_or_default()).concat();
    (status, said)
}
