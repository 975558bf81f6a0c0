//! Schemathesis over the whole document: whatever it sends, the server answers as the document says.
//!
//! The examples are drawn by a number, so a finding is found again. `cargo xtask conformance` makes more of them. What is let
//! pass, and why, stands in `tests/conformance`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use scaigrid_tests::{Client, Place, Server, on_both_databases, service};
use serde_json::{Value, json};

use crate::strangers::Existing;

on_both_databases!(the_server_does_what_its_document_says);

/// How many examples are made for each operation in the short form, and by what they are drawn.
const EXAMPLES: &str = "2";
const SEED: &str = "8";
/// How long it may take at most for each example: the short form takes a fraction of this.
const PATIENCE: Duration = Duration::from_mins(10);

fn setting(name: &str, otherwise: &str) -> String {
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| otherwise.to_owned())
}

/// Two who must not see what is the other's: the first admin, and the admin of another tenant.
fn write_credentials(folder: &Path, admin: &str, stranger: &str) -> String {
    let known = |name: &str, key: &str| {
        let header = json!({"name": "Authorization", "value": format!("Bearer {key}")});
        json!({"name": name, "fixedHeaders": [header]})
    };
    let file = folder.join("credentials.json");
    let text = json!({"auth": [known("admin", admin), known("stranger", stranger)]}).to_string();
    std::fs::write(&file, text).unwrap();
    file.to_string_lossy().into_owned()
}

/// What must stay as it is for answers to mean anything.
fn kept(root: &Client, key: &str) -> String {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let me = root.get("/v1/me").answer(200).data();
    let own_tenant = text(&me["tenant"]["id"]);
    let tenant = root.get(&format!("/v1/admin/tenants/{own_tenant}")).answer(200).data();
    let keys = root.pages("/v1/api-keys", "items");
    let own_key = keys.iter().find(|known| key.starts_with(known["prefix"].as_str().unwrap())).unwrap();
    [
        text(&me["user"]["id"]),
        own_tenant,
        text(&tenant["partner_id"]),
        text(&own_key["id"]),
        "scaicore".to_owned(),
    ]
    .join(" ")
}

fn the_server_does_what_its_document_says(place: &Place) {
    let Some(environment) = service("SCAIGRID_TEST_SCHEMATHESIS", "folder with Schemathesis for Python")
    else {
        return;
    };
    // What programs are asked for with garbage fails as it should.
    let server = place.start();
    let root = server.admin();
    let world = place.folder().join("world.json");
    std::fs::write(&world, Existing::make(&root, &root).ids().to_string()).unwrap();
    let there = root.tenant("strangers");
    let (_, stranger) = root.in_tenant(&there).user("boss@strangers.example", &["tenant_admin"]);
    let (examples, seed) =
        (setting("SCAIGRID_CONFORMANCE_EXAMPLES", EXAMPLES), setting("SCAIGRID_CONFORMANCE_SEED", SEED));
    let credentials = write_credentials(place.folder(), &place.admin_key(), &stranger);

    let told = place.folder().join("schemathesis.txt");
    let mut child = schemathesis(&environment, &server, place.folder())
        .args(["--max-examples", &examples, "--seed", &seed])
        .env("CONFORMANCE_CREDENTIALS", credentials)
        .env("CONFORMANCE_WORLD", world)
        .env("CONFORMANCE_KEPT", kept(&root, &place.admin_key()))
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&told).unwrap())
        .stderr(std::fs::File::create(place.folder().join("schemathesis.err")).unwrap())
        .spawn()
        .unwrap();
    let patience = PATIENCE * examples.parse::<u32>().unwrap().max(1);
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
    let read = |file: &str| std::fs::read_to_string(place.folder().join(file)).unwrap_or_default();
    let said = read("schemathesis.txt");
    assert!(
        status.is_some_and(|status| status.success()),
        "{status:?}\n{said}\n{}",
        read("schemathesis.err")
    );
    // A run that had nothing to call is no proof.
    assert!(root.get("/v1/me").answer(200).data()["user"].is_object());
    server.stop();
}

/// The call, without what the examples are drawn by. It ends with the thread that makes it, where there is `setpriv`.
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
        .env("SCHEMATHESIS_HOOKS", files.join("hooks.py"));
    command
}
