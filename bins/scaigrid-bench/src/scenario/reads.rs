//! Authorised reads, and their floor: the same bytes from a bare actix-web. Where the server asks the database each time, there is a second
//! one that does so too.

mod selected;

use std::ops::RangeInclusive;
use std::rc::Rc;

use anyhow::ensure;

use super::Bench;
use super::flows::Program;
use super::host::{Host, connections};
use crate::client::{Connection, Target};
use crate::load::{Laps, Work};
use crate::options::{Engine, Scenario};
use crate::probe::Probe;
use crate::scratch::Place;
use selected::Selected;

/// Cores on a page.
const PAGE: usize = 50;
/// The list of Cores, for which the server asks the database each time.
const LIST: &str = "core_list";

/// What is read: one path, by one caller or by many.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    /// What it is called in the report.
    pub(super) name: String,
    /// The path.
    pub(super) path: String,
    /// The callers' keys.
    pub(super) keys: Rc<[String]>,
}

/// A client that reads.
pub(super) struct Read {
    connection: Connection,
    /// One request per caller.
    requests: Rc<[Vec<u8>]>,
    dice: Dice,
    /// How long the body may be. Request ids differ from answer to answer, but not in length.
    length: RangeInclusive<usize>,
}

impl Work for Read {
    const PHASES: &'static [&'static str] = &[];

    async fn once(&mut self, _: &mut Laps) -> anyhow::Result<()> {
        let request = &self.requests[self.dice.roll(self.requests.len())];
        let answer = self.connection.exchange(request).await?.expect(200)?;
        ensure!(
            self.length.contains(&answer.body.len()) && answer.body.starts_with(br#"{"status":"ok""#),
            "expected {:?} bytes, got {}: {}",
            self.length,
            answer.body.len(),
            answer.excerpt()
        );
        Ok(())
    }
}

/// Numbers that look drawn and are the same in every run: xorshift.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    /// The dice of one client.
    pub(super) fn of(client: usize) -> Self {
        Self((client as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// A number below `sides`, each as likely as the others.
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides.max(1) as u64).unwrap_or_default()
    }
}

/// As many clients as that, who expect answers of such lengths.
pub(super) async fn clients(
    target: &Target,
    reading: &Reading,
    length: &RangeInclusive<usize>,
    count: usize,
) -> anyhow::Result<Vec<Read>> {
    let requests = reading.keys.iter().map(|key| {
        let mut request = Vec::new();
        Target { key: key.clone(), ..target.clone() }.get(&mut request, &reading.path);
        request
    });
    let requests: Rc<[Vec<u8>]> = requests.collect();
    let connections = connections(target, count).await?.into_iter().enumerate();
    let clients = connections.map(|(number, connection)| Read {
        connection,
        requests: Rc::clone(&requests),
        dice: Dice::of(number),
        length: length.clone(),
    });
    Ok(clients.collect())
}

/// Measures the reads that were asked for.
pub(crate) async fn measure(
    bench: &Bench<'_>,
    engine: Engine,
    host: &Host,
    place: &Place,
) -> anyhow::Result<()> {
    let wants = |scenario| bench.options.wants(scenario);
    let mut readings = Vec::new();
    if wants(Scenario::CoreGet) {
        let core = host.host("read", Program::Expense.document()).await?;
        readings.push(("core_get", format!("/v1/modules/scaicore/cores/{core}")));
    }
    if wants(Scenario::CoreList) {
        for number in 0..PAGE {
            host.keep(&format!("listed {number}"), Program::Expense.document()).await?;
        }
        readings.push((LIST, format!("/v1/modules/scaicore/cores?limit={PAGE}")));
    }
    if wants(Scenario::ModuleList) {
        readings.push(("module_list", "/v1/modules".to_owned()));
    }
    if wants(Scenario::ModuleGet) {
        readings.push(("module_get", "/v1/modules/scaicore".to_owned()));
    }
    for (name, path) in readings {
        let keys = Rc::from([host.target.key.clone()]);
        let reading = Reading { name: name.to_owned(), path, keys };
        let selects = name == LIST;
        compared(bench, engine, host, place, &reading, selects).await?;
    }
    Ok(())
}

/// Measures a reading and its floor at each number of clients, one right after the other.
pub(super) async fn one(
    bench: &Bench<'_>,
    engine: Engine,
    host: &Host,
    place: &Place,
    reading: &Reading,
) -> anyhow::Result<()> {
    compared(bench, engine, host, place, reading, false).await
}

/// The same, where `selects` also beside a bare program that asks the database.
async fn compared(
    bench: &Bench<'_>,
    engine: Engine,
    host: &Host,
    place: &Place,
    reading: &Reading,
    selects: bool,
) -> anyhow::Result<()> {
    // Tenants may differ in the word for a module's status. A sample of the callers shows how long an answer is.
    let mut bodies = Vec::new();
    for key in reading.keys.iter().take(PAGE) {
        bodies.push(host.bytes_for(key, &reading.path).await?);
    }
    let lengths = || bodies.iter().map(Vec::len);
    let (shortest, longest) = (lengths().min().unwrap_or_default(), lengths().max().unwrap_or_default());
    let length = shortest..=longest;
    let file = place.folder().join("floor.json");
    std::fs::write(&file, bodies.first().map(Vec::as_slice).unwrap_or_default())?;
    let file = file.display().to_string();
    let floor = super::floor(place.folder(), &["floor-http", "--body", &file], Vec::new()).await?;
    let target = Target { address: floor.address, key: String::new() };
    let floor_name = format!("floor_http/{}", reading.name);
    let probe = host.probe(place).await?;
    let floor_probe = Probe::new(floor.pid, None);
    let page = bodies.first().filter(|_| selects);
    let selected = match page {
        Some(page) => Some(Selected::start(place, page).await?),
        None => None,
    };
    for &count in &bench.options.clients {
        let count = usize::from(count);
        let readers = clients(&host.target, reading, &length, count).await?;
        let load = bench.measure(&reading.name, Some(engine), readers, &probe).await?;
        let readers = clients(&target, reading, &length, count).await?;
        let floor = bench.measure(&floor_name, None, readers, &floor_probe).await?;
        let Some(selected) = &selected else {
            bench.keep(load, floor);
            continue;
        };
        let readers = clients(&selected.target, reading, &selected.length, count).await?;
        let name = format!("floor_select/{}", reading.name);
        let second = bench.measure(&name, Some(engine), readers, &selected.probe).await?;
        bench.keep_with(load, floor, vec![second]);
    }
    if let Some(selected) = selected {
        selected.stop().await?;
    }
    floor.stop().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_caller_is_as_likely_as_the_others() {
        let mut counts = [0_u32; 10];
        let mut dice = Dice::of(3);
        for _ in 0..10_000 {
            counts[dice.roll(counts.len())] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
        assert_ne!(Dice::of(0).roll(1 << 20), Dice::of(1).roll(1 << 20));
    }
}
