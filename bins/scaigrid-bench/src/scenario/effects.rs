//! Flows that call a plugin: three times in a row, or for each of many items with 64 under way. The plugin is a stub on this
//! machine that answers at once.
//!
//! The floor makes the calls itself, each between two durable commits, and commits once before and once after all of them:
//! eight commits for three calls. Where calls follow each other a stricter floor commits what one gave together with what is
//! called next, as the engine does: four commits for three calls. On `PostgreSQL` there is one whose eight commits are each its own.

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::json;

use super::commits::{APART, Commits};
use super::host::{Host, connections};
use super::{Bench, Envelope};
use crate::child::Child;
use crate::client::{Connection, Target, put};
use crate::load::{Laps, Work};
use crate::options::{Engine, Scenario};
use crate::scratch::Place;
use crate::stub;

/// The program that calls.
const PROGRAM: &str = include_str!("../../programs/effects.json");
/// Calls under way at once in a flow that fans out, as the program has it.
const AT_ONCE: u16 = 64;

/// A flow of the program.
#[derive(Debug, Clone, Copy)]
enum Flow {
    /// Three calls, one after the other.
    Three,
    /// A call for each of so many items.
    Each(u32),
}

impl Flow {
    const fn name(self) -> &'static str {
        match self {
            Self::Three => "three",
            Self::Each(_) => "each",
        }
    }

    /// Calls of one execution.
    const fn calls(self) -> u32 {
        match self {
            Self::Three => 3,
            Self::Each(items) => items,
        }
    }

    const fn at_once(self) -> u16 {
        match self {
            Self::Three => 1,
            Self::Each(_) => AT_ONCE,
        }
    }

    /// The number that an invocation gives, and the sum of what the plugin then answers.
    fn input(self, serial: u64) -> (i64, i64) {
        match self {
            Self::Three => {
                let number = i64::try_from(serial % 1_000_000).unwrap_or_default();
                (number, 3 * number + 3)
            }
            Self::Each(items) => {
                let items = i64::from(items);
                (items, items * (items - 1) / 2)
            }
        }
    }

    /// Puts the body of an invocation into `body`; the sum that the flow must answer.
    fn invocation(self, body: &mut Vec<u8>, serial: u64) -> i64 {
        let (number, sum) = self.input(serial);
        body.clear();
        put(
            body,
            format_args!(r#"{{"flow":"{}","input":{{"number":{number}}},"wait_ms":60000}}"#, self.name()),
        );
        sum
    }
}

#[derive(Deserialize)]
struct Invoked {
    status: String,
    output: Option<Output>,
}

#[derive(Deserialize, PartialEq, Eq, Debug)]
struct Output {
    sum: i64,
}

/// A client that runs flows to their end, on the server or on the floor.
pub(super) struct Caller {
    flow: Flow,
    target: Target,
    connection: Connection,
    path: String,
    /// Whether it asks the server, whose answer is checked, or the floor, which checks what it calls.
    server: bool,
    serial: u64,
    body: Vec<u8>,
    request: Vec<u8>,
}

impl Work for Caller {
    const PHASES: &'static [&'static str] = &[];

    async fn once(&mut self, _: &mut Laps) -> anyhow::Result<()> {
        self.serial = self.serial.wrapping_add(1);
        let sum = self.flow.invocation(&mut self.body, self.serial);
        self.target.post(&mut self.request, &self.path, &self.body);
        let answer = self.connection.exchange(&self.request).await?.expect(200).context("invoke")?;
        if self.server {
            let Envelope { data } = answer.json::<Envelope<Invoked>>().context("invoke")?;
            let expected = Output { sum };
            ensure!(
                data.status == "completed" && data.output.as_ref() == Some(&expected),
                "invoke: expected {expected:?}: {}",
                answer.excerpt()
            );
        }
        Ok(())
    }
}

async fn callers(
    flow: Flow,
    target: &Target,
    path: &str,
    server: bool,
    count: usize,
) -> anyhow::Result<Vec<Caller>> {
    let connections = connections(target, count).await?.into_iter().zip((0..).step_by(37));
    let callers = connections.map(|(connection, serial)| Caller {
        flow,
        target: target.clone(),
        connection,
        path: path.to_owned(),
        server,
        serial,
        body: Vec::new(),
        request: Vec::new(),
    });
    Ok(callers.collect())
}

/// The stub as a tenant registers it.
fn registration(stub: &Child) -> serde_json::Value {
    let number = json!({
        "type": "object",
        "properties": { "n": { "type": "integer" } },
        "required": ["n"],
        "additionalProperties": false
    });
    json!({
        "plugin": "stub",
        "kind": "http",
        "endpoint": format!("http://{}", stub.address),
        "manifest": {
            "version": "1.0.0",
            "methods": [{
                "name": stub::METHOD,
                "description": "Answers with what it got.",
                "effect": "idempotent",
                "input_schema": number,
                "output_schema": number
            }]
        }
    })
}

/// Measures what was asked for, with one stub for the server and the floors.
pub(crate) async fn measure(
    bench: &Bench<'_>,
    engine: Engine,
    host: &Host,
    place: &Place,
) -> anyhow::Result<()> {
    let (three, each) = (Scenario::Effects, Scenario::FanOut);
    if !bench.options.wants(three) && !bench.options.wants(each) {
        return Ok(());
    }
    let (stub, core) = prepare(host, place).await?;
    let subject = Subject { engine, host, place, core, stub };
    if bench.options.wants(three) {
        subject.measure(bench, "effects", Flow::Three, &bench.options.clients).await?;
    }
    if bench.options.wants(each) {
        // One flow keeps as much under way as many clients do.
        subject.measure(bench, "fan_out", Flow::Each(bench.options.items()), &[1]).await?;
    }
    subject.stub.stop().await
}

/// Starts the stub, registers it, and hosts the program that calls it; the stub, and the Core's id.
pub(super) async fn prepare(host: &Host, place: &Place) -> anyhow::Result<(Child, String)> {
    let stub = start_stub(place.folder()).await?;
    host.post("/v1/modules/scaicore/plugins/registry", &registration(&stub)).await.context("the plugin")?;
    let core = host.host("effects", PROGRAM).await?;
    Ok((stub, core))
}

/// So many clients that run flows of three calls of such a Core.
pub(super) async fn flows(host: &Host, core: &str, count: usize) -> anyhow::Result<Vec<Caller>> {
    callers(Flow::Three, &host.target, &path(core), true, count).await
}

fn path(core: &str) -> String {
    format!("/v1/modules/scaicore/cores/{core}/invoke")
}

pub(crate) async fn start_stub(folder: &Path) -> anyhow::Result<Child> {
    super::bare(folder, &["stub"], Vec::new(), "stub.log").await
}

/// A Core that calls a stub.
struct Subject<'a> {
    engine: Engine,
    host: &'a Host,
    place: &'a Place,
    core: String,
    stub: Child,
}

impl Subject<'_> {
    async fn measure(&self, bench: &Bench<'_>, name: &str, flow: Flow, counts: &[u16]) -> anyhow::Result<()> {
        let probe = self.host.probe(self.place).await?;
        let at_once = flow.at_once().to_string();
        let floor = self.floor(bench, flow, &["--at-once", &at_once]).await?;
        let mut further = Vec::new();
        if matches!(flow, Flow::Three) {
            further.push(("floor_joined", self.floor(bench, flow, &["--joined"]).await?));
            if self.engine == Engine::Postgres {
                further.push(("floor_apart", self.floor(bench, flow, &APART).await?));
            }
        }
        let path = path(&self.core);
        for &count in counts {
            let count = usize::from(count);
            let clients = callers(flow, &self.host.target, &path, true, count).await?;
            let mut load = bench.measure(name, Some(self.engine), clients, &probe).await?;
            load.consists_of("calls", flow.calls());
            let bare = async |kind: &str, commits: &Commits| {
                let clients = callers(flow, &commits.target, "/flow", false, count).await?;
                let name = format!("{kind}/{name}");
                let mut load = bench.measure(&name, Some(self.engine), clients, &commits.probe).await?;
                load.consists_of("calls", flow.calls());
                anyhow::Ok(load)
            };
            let least = bare("floor_commit", &floor).await?;
            let mut others = Vec::new();
            for (kind, commits) in &further {
                others.push(bare(kind, commits).await?);
            }
            bench.keep_with(load, least, others);
        }
        for (_, commits) in further {
            commits.stop().await?;
        }
        floor.stop().await
    }

    /// A bare program that makes the flow's calls, with commits before and behind each.
    async fn floor(&self, bench: &Bench<'_>, flow: Flow, how: &[&str]) -> anyhow::Result<Commits> {
        let (calls, stub) = (flow.calls().to_string(), self.stub.address.to_string());
        let arguments = [&["--calls", &calls, "--stub", &stub], how].concat();
        Commits::start(bench, self.engine, &self.host.target.key, &arguments).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invocations_are_json_for_flows_of_the_program() {
        let document: serde_json::Value = serde_json::from_str(PROGRAM).unwrap();
        let flows = document["flows"].as_array().unwrap();
        for (flow, sum) in [(Flow::Three, 24), (Flow::Each(1_000), 499_500)] {
            let mut body = Vec::new();
            assert_eq!(flow.invocation(&mut body, 7), sum);
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let found = flows.iter().find(|known| known["name"] == body["flow"]).unwrap();
            assert!(body["input"].get(found["params"][0]["name"].as_str().unwrap()).is_some());
        }
    }

    #[test]
    fn the_program_does_what_the_floor_does() {
        let document: serde_json::Value = serde_json::from_str(PROGRAM).unwrap();
        let calls = |flow: usize| document["flows"][flow].to_string().matches("\"plugin_call\"").count();
        assert_eq!((calls(0), calls(1)), (3, 1));
        assert_eq!(document["flows"][1]["body"][0]["max_concurrent"], AT_ONCE);
        let methods = PROGRAM.matches(&format!(r#""method": "{}""#, stub::METHOD)).count();
        assert_eq!(methods, 4);
    }
}
