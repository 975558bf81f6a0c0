//! Bundles that are taken apart: received, decoded, verified, and answered as JSON. Nothing is kept, so no database has a part in
//! it. Two floors, in the generator's own process and in one thread: the decoder alone, and everything that is computed.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use scaigrid_ir::bundle::{self, MAX_RECEIVED};
use scaigrid_ir::load;
use serde_json::{Value, json};

use super::Bench;
use super::host::Host;
use crate::client::{Connection, Target};
use crate::load::{Extent, Laps, Work};
use crate::options::{Engine, Scenario};
use crate::probe::Probe;
use crate::report::Load;

const PATH: &str = "/v1/modules/scaicore/cores/parse-bundle";
/// What the bundles are called, and how many bytes they have at most; the last is close to the largest that is taken.
const SIZES: [(&str, usize); 3] = [("10kB", 10_000), ("1MB", 1_000_000), ("10MiB", MAX_RECEIVED)];
/// Numbers of clients. Not those of the other scenarios: each has a program of ten megabytes under way.
const CLIENTS: [usize; 2] = [1, 4];
/// Statements of a block.
const STATEMENTS: usize = 8;

/// A client that has bundles taken apart.
struct Upload {
    connection: Connection,
    request: Rc<[u8]>,
    /// How long an answer is. Request ids differ from answer to answer, but not in length.
    length: usize,
}

impl Work for Upload {
    const PHASES: &'static [&'static str] = &[];

    async fn once(&mut self, _: &mut Laps) -> anyhow::Result<()> {
        let answer = self.connection.exchange(&self.request).await?.expect(200)?;
        let length = answer.body.len();
        ensure!(length == self.length, "expected {} bytes, got {length}: {}", self.length, answer.excerpt());
        Ok(())
    }
}

/// The decoder, and perhaps what follows it, without a server.
struct Decode {
    bundle: Rc<[u8]>,
    /// Whether the program is verified and written as well.
    whole: bool,
}

impl Work for Decode {
    const PHASES: &'static [&'static str] = &[];

    async fn once(&mut self, _: &mut Laps) -> anyhow::Result<()> {
        let source = bundle::decode(&self.bundle)?;
        if self.whole {
            let summary = load::summary(&source, load::check(&source).1);
            ensure!(summary.diagnostics.is_empty(), "{:?}", summary.diagnostics);
            let written = serde_json::to_vec(&source)?.len() + serde_json::to_vec(&summary)?.len();
            ensure!(written > self.bundle.len() / 2, "only {written} bytes were written");
        }
        // Whoever watches the time gets a chance.
        tokio::task::yield_now().await;
        Ok(())
    }
}

/// Measures, on a server of its own.
pub(crate) async fn measure(bench: &Bench<'_>, engine: Engine) -> anyhow::Result<()> {
    if !bench.options.wants(Scenario::ParseBundle) {
        return Ok(());
    }
    let place = bench.databases.fresh(engine).await?;
    let host = Host::start(&bench.server, &place).await?;
    let measured = async {
        // PostgreSQL's counters would only tell what others do.
        let probe = Probe::new(host.child.pid, None);
        for (name, size) in SIZES {
            one(bench, &host, &probe, name, &program_of(size)?).await?;
        }
        anyhow::Ok(())
    };
    measured.await.with_context(|| format!("the server's log:\n{}", host.child.tail()))?;
    host.child.stop().await
}

/// Measures one bundle with each number of clients, then its floors.
async fn one(
    bench: &Bench<'_>,
    host: &Host,
    probe: &Probe,
    name: &str,
    program: &[u8],
) -> anyhow::Result<()> {
    let mut request = Vec::new();
    host.target.upload(&mut request, PATH, program);
    let request: Rc<[u8]> = request.into();
    let length = sample(&host.target, &request).await?;
    let mut loads = Vec::new();
    for count in CLIENTS {
        let connections = host.connections(count).await?.into_iter();
        let clients =
            connections.map(|connection| Upload { connection, request: Rc::clone(&request), length });
        loads.push(bench.measure(&format!("parse_bundle/{name}"), None, clients.collect(), probe).await?);
    }
    let [decoder, everything] = floors(bench, name, program).await?;
    for load in &mut loads {
        load.takes_in(program.len());
        load.compare(&decoder);
        load.compare_further(&everything);
    }
    loads.extend([decoder, everything]);
    bench.report.borrow_mut().loads.extend(loads);
    Ok(())
}

async fn floors(bench: &Bench<'_>, name: &str, program: &[u8]) -> anyhow::Result<[Load; 2]> {
    let own = Probe::new(std::process::id(), None);
    let floor = async |kind: &str, whole: bool| {
        let work = Decode { bundle: program.into(), whole };
        let (warm_up, window) = (Duration::from_millis(500), bench.options.window());
        let extent = Extent::Time { warm_up, window };
        let mut load = bench.load(&format!("{kind}/{name}"), None, vec![work], extent, &own).await?;
        load.takes_in(program.len());
        anyhow::Ok(load)
    };
    Ok([floor("floor_decode", false).await?, floor("floor_parse", true).await?])
}

/// Looks closely at one answer; its length.
async fn sample(target: &Target, request: &[u8]) -> anyhow::Result<usize> {
    let mut connection = Connection::open(target.address).await?;
    let answer = connection.exchange(request).await?.expect(200).context("parse-bundle")?;
    let body: Value = answer.json()?;
    let summary = &body["data"]["summary"];
    ensure!(summary["name"] == "Long" && summary["diagnostics"] == json!([]), "{summary}");
    ensure!(body["data"]["source"]["flows"][0]["body"].is_array(), "an answer without the program");
    Ok(answer.body.len())
}

/// The bundle of a sound program that is a little smaller than a bound.
fn program_of(bound: usize) -> anyhow::Result<Vec<u8>> {
    let (none, few) = (bundle::encode(&document(0)).len(), bundle::encode(&document(64)).len());
    // Later blocks have longer names.
    let each = (few - none) / 64 + 8;
    let program = bundle::encode(&document(bound.saturating_sub(none) / each));
    ensure!(program.len() <= bound && program.len() >= bound / 2, "{} of {bound} bytes", program.len());
    Ok(program)
}

/// A program of so many blocks between its first and its last.
fn document(blocks: usize) -> Value {
    let figures: Vec<String> = (1_000..1_040).map(|number: u32| number.to_string()).collect();
    let sum = format!("total + [{}].sum()", figures.join(", "));
    let words = "what a program says of itself while it runs, so that people can follow it ".repeat(4);
    let statements: Vec<Value> = (0..STATEMENTS)
        .map(|number| match number % 2 {
            0 => json!({"kind": "assign", "target": "total", "value": sum}),
            _ => json!({"kind": "log", "level": "info", "message": words}),
        })
        .collect();
    let first = json!({"kind": "rigid", "id": "first", "statements": [
        {"kind": "let", "name": "total", "value": "0"}]});
    let last = json!({"kind": "rigid", "id": "last", "statements": [
        {"kind": "return", "value": "total"}]});
    let between = (0..blocks)
        .map(|number| json!({"kind": "rigid", "id": format!("block_{number}"), "statements": statements}));
    let body: Vec<Value> = std::iter::once(first).chain(between).chain([last]).collect();
    json!({
        "schema_version": "0.2",
        "name": "Long",
        "version": "1.0.0",
        "flows": [{"name": "run", "params": [], "returns": "int", "body": body}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_all_sizes_are_sound() {
        // The larger ones are only decoded here: verifying them takes its time in a build for debugging.
        for (name, size) in SIZES {
            let program = program_of(size).unwrap();
            let source = bundle::decode(&program).unwrap_or_else(|error| panic!("{name}: {error}"));
            if size <= 10_000 {
                let summary = load::summary(&source, load::check(&source).1);
                assert!(summary.diagnostics.is_empty(), "{name}: {:?}", summary.diagnostics);
            }
        }
    }
}
