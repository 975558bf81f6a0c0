//! A server on a database of its own, and the Cores that it hosts.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::child::{Child, Plan};
use crate::client::{Connection, Target};
use crate::probe::Probe;
use crate::scratch::Place;

/// How long a Core may take to run.
const CORE_START: Duration = Duration::from_secs(30);

/// A running server.
pub(crate) struct Host {
    /// The process.
    pub(crate) child: Child,
    /// Its address, and the first admin's key.
    pub(crate) target: Target,
    /// From spawn to ready.
    pub(crate) ready: Duration,
}

impl Host {
    /// Starts the server on a place, fresh or not, and waits until it is ready.
    pub(crate) async fn start(server: &Path, place: &Place) -> anyhow::Result<Self> {
        Self::start_with(server, place, Vec::new()).await
    }

    /// The same, with further variables.
    pub(crate) async fn start_with(
        server: &Path,
        place: &Place,
        further: Vec<(&'static str, String)>,
    ) -> anyhow::Result<Self> {
        Self::start_in((server, serve()), place, place.folder(), further).await
    }

    /// The same by another program that runs the server.
    pub(crate) async fn start_by(
        program: &Path,
        arguments: Vec<String>,
        place: &Place,
    ) -> anyhow::Result<Self> {
        Self::start_in((program, arguments), place, place.folder(), Vec::new()).await
    }

    /// Starts a further node on the database of a server that is running.
    pub(crate) async fn join(&self, server: &Path, place: &Place, name: &str) -> anyhow::Result<Self> {
        let master = std::fs::read_to_string(place.folder().join("master.key")).context("no master key")?;
        let folder = place.folder().join(name);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("admin.key"), &self.target.key)?;
        let objects = format!("file://{}", place.folder().join("objects").display());
        let more =
            vec![("SCAIGRID_MASTER_KEY", master.trim().to_owned()), ("SCAIGRID_OBJECT_STORE", objects)];
        Self::start_in((server, serve()), place, &folder, more).await
    }

    async fn start_in(
        (program, arguments): (&Path, Vec<String>),
        place: &Place,
        folder: &Path,
        more: Vec<(&'static str, String)>,
    ) -> anyhow::Result<Self> {
        let mut plan = Plan {
            program: program.to_owned(),
            arguments,
            variables: vec![
                ("SCAIGRID_BIND", "127.0.0.1:0".to_owned()),
                ("SCAIGRID_DATA_DIR", folder.display().to_string()),
                ("SCAIGRID_DATABASE_URL", place.url.clone()),
                ("SCAIGRID_RATE_LIMITS", "off".to_owned()),
                ("SCAIGRID_LOG", "warn".to_owned()),
                // Where the stub is that plugins are measured with.
                ("SCAIGRID_EGRESS_ALLOW", "127.0.0.1".to_owned()),
            ],
            folder: folder.to_owned(),
            log: folder.join("server.log"),
        };
        plan.variables.extend(more);
        let mut child = Child::start(&plan).await?;
        let ready = child.ready().await?;
        let file = folder.join("admin.key");
        let key = std::fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
        let target = Target { address: child.address, key: key.trim().to_owned() };
        Ok(Self { child, target, ready })
    }

    /// Looks at the server's costs.
    pub(crate) async fn probe(&self, place: &Place) -> anyhow::Result<Probe> {
        Ok(Probe::new(self.child.pid, place.counters().await?))
    }

    /// As many connections as there are clients.
    pub(crate) async fn connections(&self, count: usize) -> anyhow::Result<Vec<Connection>> {
        connections(&self.target, count).await
    }

    /// Makes a Core of a program; its id.
    pub(crate) async fn keep(&self, name: &str, program: &str) -> anyhow::Result<String> {
        let source: Value = serde_json::from_str(program)?;
        let core =
            self.post("/v1/modules/scaicore/cores", &json!({ "name": name, "source": source })).await?;
        Ok(core["id"].as_str().context("a Core without an id")?.to_owned())
    }

    /// Makes a Core of a program and starts it; its id.
    pub(crate) async fn host(&self, name: &str, program: &str) -> anyhow::Result<String> {
        let id = self.keep(name, program).await?;
        let path = format!("/v1/modules/scaicore/cores/{id}");
        self.post(&format!("{path}/start"), &json!({})).await?;
        let begun = Instant::now();
        loop {
            let core = self.get(&path).await?;
            match core["status"].as_str() {
                Some("running") => return Ok(id),
                Some("starting") if begun.elapsed() < CORE_START => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                _ => bail!("the Core {name} does not run: {} {}", core["status"], core["last_error"]),
            }
        }
    }

    /// The ids of the modules that there are.
    pub(crate) async fn modules(&self) -> anyhow::Result<Vec<String>> {
        let modules = self.get("/v1/modules").await?;
        let ids = modules.as_array().context("no list of modules")?.iter();
        ids.map(|module| Ok(module["module_id"].as_str().context("a module without an id")?.to_owned()))
            .collect()
    }

    /// The bytes that a path answers a caller with.
    pub(crate) async fn bytes_for(&self, key: &str, path: &str) -> anyhow::Result<Vec<u8>> {
        let mut request = Vec::new();
        Target { key: key.to_owned(), ..self.target.clone() }.get(&mut request, path);
        let mut connection = Connection::open(self.target.address).await?;
        let answer = connection.exchange(&request).await?.expect(200).with_context(|| path.to_owned())?;
        Ok(answer.body.to_vec())
    }

    /// What a path answers the admin.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let bytes = self.bytes_for(&self.target.key, path).await?;
        let mut answer: Value = serde_json::from_slice(&bytes)?;
        Ok(answer["data"].take())
    }

    /// What a path answers the admin who posts there.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let mut request = Vec::new();
        self.target.post(&mut request, path, &serde_json::to_vec(body)?);
        let mut connection = Connection::open(self.target.address).await?;
        let answer = connection.exchange(&request).await?;
        ensure!((200..300).contains(&answer.status), "POST {path}: {} {}", answer.status, answer.excerpt());
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        Ok(answer.json::<Value>()?["data"].take())
    }
}

/// What the server's program is called with.
fn serve() -> Vec<String> {
    vec!["serve".to_owned()]
}

/// As many connections as there are clients.
pub(crate) async fn connections(target: &Target, count: usize) -> anyhow::Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(Connection::open(target.address).await?);
    }
    Ok(connections)
}
