//! An `OpenID` provider as a child process; see `tests/provider/provider.mjs`.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Client, database};

/// How long it may take to say where it is.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often one is started: now and then Node.js stands still for ever where it exports a key that it has made.
const ATTEMPTS: usize = 3;

/// A running provider. Dropped, it is killed.
#[derive(Debug)]
pub struct Provider {
    child: Child,
    /// Its name, as in `iss`.
    pub issuer: String,
    client: Client,
}

/// A script that dies with the test.
fn node(arguments: [&OsStr; 2]) -> Child {
    let setpriv = Path::new("/usr/bin/setpriv");
    let mut command = if setpriv.is_file() {
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", "--", "node"]);
        command
    } else {
        Command::new("node")
    };
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// The name that a provider says; none where it says none in time.
fn issuer(child: &mut Child) -> Option<String> {
    let stdout = child.stdout.take().unwrap();
    let (said, heard) = mpsc::channel();
    std::thread::spawn(move || {
        // Read to the end: a pipe that nobody reads would stop the program one day.
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(issuer) = line.strip_prefix("issuer ") {
                let _ = said.send(issuer.to_owned());
            }
        }
    });
    heard.recv_timeout(PATIENCE).ok()
}

impl Provider {
    /// A provider of the test's own; none where its package is not there, which is said.
    pub fn start() -> Option<Self> {
        let folder = database::service("SCAIGRID_TEST_OIDC_PROVIDER", "folder of the OpenID provider")?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("provider/provider.mjs");
        let script = script.as_os_str();
        for _ in 0..ATTEMPTS {
            let mut child = node([script, folder.as_ref()]);
            let Some(issuer) = issuer(&mut child) else {
                child.kill().unwrap();
                child.wait().unwrap();
                continue;
            };
            let address: SocketAddr = issuer.trim_start_matches("http://").parse().unwrap();
            return Some(Self { child, issuer, client: Client::new(address, None) });
        }
        panic!("the provider did not start");
    }

    /// Says what the tokens of a subject hold from now on; `alg` is RS256 or ES256.
    pub fn subject(&self, name: &str, alg: &str, claims: &Value) {
        let body = json!({"alg": alg, "claims": claims});
        self.client.put(&format!("/test/clients/{name}"), &body).answer(204);
    }

    /// A token for a subject, limited to scopes if there are any.
    pub fn token(&self, name: &str, scope: &str) -> String {
        let scope =
            if scope.is_empty() { String::new() } else { format!("&scope={}", scope.replace(' ', "+")) };
        let form = format!("grant_type=client_credentials&client_id={name}&client_secret={name}{scope}");
        let answer = self.client.post("/token").body("application/x-www-form-urlencoded", form).answer(200);
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// Gives the provider other keys, and takes the old ones out of its key set.
    pub fn rotate(&self) {
        self.client.post("/test/rotate").answer(204);
    }

    /// Makes it answer nothing but 503, or again.
    pub fn away(&self, away: bool) {
        self.client.post(if away { "/test/away" } else { "/test/back" }).answer(204);
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // Failing means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
