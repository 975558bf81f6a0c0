//! An `OpenID` provider as a child process; see `tests/provider/provider.mjs`.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::{Client, database};

/// A running provider. Dropped, it is killed.
#[derive(Debug)]
pub struct Provider {
    child: Child,
    /// Its name, as in `iss`.
    pub issuer: String,
    client: Client,
}

impl Provider {
    /// A provider of the test's own; none where its package is not there, which is said.
    pub fn start() -> Option<Self> {
        let folder = database::service("SCAIGRID_TEST_OIDC_PROVIDER", "folder of the OpenID provider")?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("provider/provider.mjs");
        let setpriv = Path::new("/usr/bin/setpriv");
        let mut command = if setpriv.is_file() {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--", "node"]);
            command
        } else {
            Command::new("node")
        };
        let mut child = command
            .arg(script)
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let issuer = lines.find_map(|line| line.strip_prefix("issuer ").map(str::to_owned));
        let issuer = issuer.unwrap_or_else(|| panic!("the provider did not start"));
        // Read to the end: a pipe that nobody reads would stop the program one day.
        std::thread::spawn(move || lines.for_each(drop));
        let address: SocketAddr = issuer.trim_start_matches("http://").parse().unwrap();
        Some(Self { child, issuer, client: Client::new(address, None) })
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
