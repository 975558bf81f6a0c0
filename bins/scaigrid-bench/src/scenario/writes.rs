//! Changes of a module's configuration, and their floor: bare durable commits of as many rows.

use std::rc::Rc;

use anyhow::ensure;

use super::Bench;
use super::commits::{APART, Commits};
use super::host::{Host, connections};
use super::reads::Dice;
use crate::client::{Connection, Target, put};
use crate::load::{Laps, Work};
use crate::options::Engine;
use crate::scratch::Place;

/// The module that is configured.
pub(super) const MODULE: &str = "scaibot";
/// Rows that a change writes: the configuration, the audit record, and its place in the sealer's queue.
const ROWS: &str = "3";

/// A client that changes configurations, each time to something new.
struct Configure {
    target: Target,
    path: &'static str,
    /// Whether it asks the server, whose answer is checked, or the floor.
    server: bool,
    connection: Connection,
    keys: Rc<[String]>,
    dice: Dice,
    number: usize,
    serial: u64,
    body: Vec<u8>,
    request: Vec<u8>,
}

impl Work for Configure {
    const PHASES: &'static [&'static str] = &[];

    async fn once(&mut self, _: &mut Laps) -> anyhow::Result<()> {
        self.serial += 1;
        self.target.key.clone_from(&self.keys[self.dice.roll(self.keys.len())]);
        let given = format!("c{}-{}@bench.example", self.number, self.serial);
        self.body.clear();
        put(&mut self.body, format_args!(r#"{{"escalation_email":"{given}"}}"#));
        self.target.put(&mut self.request, self.path, &self.body);
        let answer = self.connection.exchange(&self.request).await?.expect(200)?;
        if self.server {
            let kept = answer.body.windows(given.len()).any(|window| window == given.as_bytes());
            ensure!(kept, "the answer does not have {given}: {}", answer.excerpt());
        }
        Ok(())
    }
}

async fn clients(
    target: &Target,
    path: &'static str,
    keys: &Rc<[String]>,
    server: bool,
    count: usize,
) -> anyhow::Result<Vec<Configure>> {
    let connections = connections(target, count).await?.into_iter().enumerate();
    let clients = connections.map(|(number, connection)| Configure {
        target: target.clone(),
        path,
        server,
        connection,
        keys: Rc::clone(keys),
        dice: Dice::of(number),
        number,
        // What another measurement gave before is not given again.
        serial: u64::try_from(count).unwrap_or_default() << 32,
        body: Vec::new(),
        request: Vec::new(),
    });
    Ok(clients.collect())
}

/// Measures changes in the tenants of these keys, and their floor, at each number of clients.
pub(super) async fn measure(
    bench: &Bench<'_>,
    engine: Engine,
    host: &Host,
    place: &Place,
    keys: &Rc<[String]>,
    name: &str,
) -> anyhow::Result<()> {
    const PATH: &str = "/v1/modules/scaibot/config";
    let commits = Commits::start(bench, engine, "", &[&["--rows", ROWS], &APART[..]].concat()).await?;
    let floor_name = format!("floor_commit/{name}");
    let probe = host.probe(place).await?;
    for &count in &bench.options.clients {
        let count = usize::from(count);
        let writers = clients(&host.target, PATH, keys, true, count).await?;
        let load = bench.measure(name, Some(engine), writers, &probe).await?;
        let writers = clients(&commits.target, "/commit", keys, false, count).await?;
        let floor = bench.measure(&floor_name, Some(engine), writers, &commits.probe).await?;
        bench.keep(load, floor);
    }
    commits.stop().await
}
