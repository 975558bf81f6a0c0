//! Authorised reads, and their floor: the same bytes from a bare actix-web.

use anyhow::ensure;

use super::Bench;
use super::flows::Program;
use super::host::{Host, connections};
use crate::client::{Connection, Target};
use crate::load::{Laps, Work};
use crate::options::{Engine, Scenario};
use crate::probe::Probe;
use crate::scratch::Place;

/// A client that reads one path.
struct Read {
    connection: Connection,
    request: Vec<u8>,
    /// How long the body is. Request ids differ from answer to answer, but not in length.
    length: usize,
}

impl Work for Read {
    const PHASES: &'static [&'static str] = &[];

    async fn once(&mut self, _: &mut Laps) -> anyhow::Result<()> {
        let answer = self.connection.exchange(&self.request).await?.expect(200)?;
        ensure!(
            answer.body.len() == self.length && answer.body.starts_with(br#"{"status":"ok""#),
            "expected {} bytes, got {}: {}",
            self.length,
            answer.body.len(),
            answer.excerpt()
        );
        Ok(())
    }
}

async fn clients(target: &Target, path: &str, length: usize, count: usize) -> anyhow::Result<Vec<Read>> {
    let mut request = Vec::new();
    target.get(&mut request, path);
    let connections = connections(target, count).await?.into_iter();
    Ok(connections.map(|connection| Read { connection, request: request.clone(), length }).collect())
}

/// Measures the reads that were asked for.
pub(crate) async fn measure(
    bench: &Bench<'_>,
    engine: Engine,
    host: &Host,
    place: &Place,
) -> anyhow::Result<()> {
    if bench.options.wants(Scenario::CoreGet) {
        let core = host.host("read", Program::Expense.document()).await?;
        let path = format!("/v1/modules/scaicore/cores/{core}");
        one(bench, engine, host, place, "core_get", &path).await?;
    }
    if bench.options.wants(Scenario::ModuleList) {
        one(bench, engine, host, place, "module_list", "/v1/modules").await?;
    }
    Ok(())
}

async fn one(
    bench: &Bench<'_>,
    engine: Engine,
    host: &Host,
    place: &Place,
    name: &str,
    path: &str,
) -> anyhow::Result<()> {
    let body = host.bytes(path).await?;
    let file = place.folder().join(format!("{name}.json"));
    std::fs::write(&file, &body)?;
    let file = file.display().to_string();
    let floor = super::floor(place.folder(), &["floor-http", "--body", &file], Vec::new()).await?;
    let target = Target { address: floor.address, key: host.target.key.clone() };
    let floor_name = format!("floor_http/{name}");
    let probe = host.probe(place).await?;
    let floor_probe = Probe::new(floor.pid, None);
    for &count in &bench.options.clients {
        let count = usize::from(count);
        let readers = clients(&host.target, path, body.len(), count).await?;
        let load = bench.measure(name, Some(engine), readers, &probe).await?;
        let readers = clients(&target, path, body.len(), count).await?;
        let floor = bench.measure(&floor_name, None, readers, &floor_probe).await?;
        bench.keep(load, floor);
    }
    floor.stop().await
}
