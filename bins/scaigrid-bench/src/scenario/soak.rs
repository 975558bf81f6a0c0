//! A mixed load on one node at a pace that it can keep for hours: what grows that should not, and what becomes slower.
//!
//! Everything is an open loop: flows with a checkpoint, flows that call a plugin, reads of a Core, pages of Cores and of executions, and a
//! program that says something, which readers of its log must hear. A wrong answer, a lost entry or a step that fails ends it.

mod kept;
mod mix;

use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::flows::{self, Program};
use super::host::Host;
use super::listening::{self, Heard, Talker, listen};
use super::reads::{self, Reading};
use super::{Bench, effects};
use crate::child::Child;
use crate::load::{Extent, Laps, Work};
use crate::options::{Engine, Scenario};
use crate::probe::Probe;
use crate::report::{Look, Soak};
use crate::scratch::Place;
use mix::Mix;

/// Flows that are due in a second, unless something else is asked for; of all others there are so many for each of them.
const FLOWS: f64 = 50.0;
const READS: f64 = 4.0;
const PAGES: f64 = 0.1;
const CALLS: f64 = 0.2;
/// Entries of a log that are said in a second, and who hears them.
const ENTRIES: f64 = 1.0;
const READERS: u32 = 8;
/// Cores on a page.
const CORES: usize = 50;
/// Flows, and clients that run them, before anything counts: what a busy server keeps for itself is not growth.
const WARM_UP: u64 = 2_000;
const WARM_UP_CLIENTS: usize = 16;
const WARM_UP_LIMIT: Duration = Duration::from_mins(5);

/// Measures, on a server and a database of its own.
pub(crate) async fn measure(bench: &Bench<'_>, engine: Engine) -> anyhow::Result<()> {
    if !bench.options.wants(Scenario::Soak) {
        return Ok(());
    }
    let place = bench.databases.fresh(engine).await?;
    let host = Host::start(&bench.server, &place).await?;
    let measured = async {
        let called = prepare(bench, engine, &host, &place).await?;
        // With the room go those who listen: a server that stops would wait for them.
        LocalSet::new().run_until(run(bench, engine, &host, &place, &called)).await?;
        called.stub.stop().await
    };
    measured.await.with_context(|| format!("the server's log:\n{}", host.child.tail()))?;
    host.child.stop().await
}

/// What is called: a Core whose flows stop for a person, and one whose flows call a stub.
struct Called {
    core: String,
    caller: String,
    stub: Child,
}

async fn prepare(bench: &Bench<'_>, engine: Engine, host: &Host, place: &Place) -> anyhow::Result<Called> {
    let (stub, caller) = effects::prepare(host, place).await?;
    let core = host.host("approval_flow", Program::Approval.document()).await?;
    for number in 1..CORES {
        host.keep(&format!("listed {number}"), Program::Expense.document()).await?;
    }
    let clients = flows::flows(host, Program::Approval, &core, WARM_UP_CLIENTS).await?;
    let extent = Extent::Count { operations: WARM_UP, limit: WARM_UP_LIMIT };
    let load = bench.load("warm_up", Some(engine), clients, extent, &host.probe(place).await?).await?;
    ensure!(load.operations == WARM_UP, "warm_up: {}", load.first_error.unwrap_or_default());
    Ok(Called { core, caller, stub })
}

async fn run(
    bench: &Bench<'_>,
    engine: Engine,
    host: &Host,
    place: &Place,
    cores: &Called,
) -> anyhow::Result<()> {
    let (core, caller) = (&cores.core, &cores.caller);
    let heard = Rc::new(Heard::new()?);
    let talker = listeners(host, &heard).await?;
    let rate = bench.options.rate.map_or(FLOWS, f64::from);
    let mut mix = Mix::default();
    mix.add("approval_flow", rate, async |count| flows::flows(host, Program::Approval, core, count).await)
        .await?;
    mix.add("effects", rate * CALLS, async |count| effects::flows(host, caller, count).await).await?;
    let own = format!("/v1/modules/scaicore/cores/{core}");
    for (name, pace, path) in [
        ("core_get", READS, own.clone()),
        ("core_list", PAGES, format!("/v1/modules/scaicore/cores?limit={CORES}")),
        ("execution_list", PAGES, format!("{own}/executions?limit={CORES}")),
    ] {
        let reading = Reading { name: name.to_owned(), path, keys: Rc::from([host.target.key.clone()]) };
        let length = length(host, &reading.path).await?;
        let readers = async |count| reads::clients(&host.target, &reading, &length, count).await;
        mix.add(name, rate * pace, readers).await?;
    }
    mix.add("log entry", ENTRIES, async |_| Ok(vec![talker])).await?;

    let probe = host.probe(place).await?;
    watch(bench, engine, &probe, place, &mix, &heard).await?;
    mix.end().await?;
    heard.check()?;
    heard.end();
    Ok(())
}

/// Looks once a minute, and keeps what it sees at once: a run that is interrupted tells what there is.
async fn watch(
    bench: &Bench<'_>,
    engine: Engine,
    probe: &Probe,
    place: &Place,
    mix: &Mix,
    heard: &Heard,
) -> anyhow::Result<()> {
    let (period, minutes) = (bench.options.period(), bench.options.minutes());
    let soak = Soak {
        database: engine,
        period_seconds: period.as_secs_f64(),
        paces: mix.paces(),
        looks: Vec::new(),
    };
    bench.report.borrow_mut().soaks.push(soak);
    eprintln!("a mixed load on {}, for {minutes} × {} s …", engine.name(), period.as_secs());
    let begun = Instant::now();
    // What it took to begin is left out.
    mix.take()?;
    heard.take("begun");
    let mut before = probe.sample().await?;
    for minute in 1..=minutes {
        tokio::time::sleep_until(begun + period * u32::from(minute)).await;
        let mut stretches = mix.take()?;
        heard.check()?;
        stretches.push(heard.take("said→heard"));
        let after = probe.sample().await?;
        let look = Look {
            resident_bytes: after.resident,
            descriptors: probe.descriptors()?,
            processors: (after.process - before.process) / period.as_secs_f64(),
            kept: kept::look(place).await?,
            stretches,
        };
        before = after;
        eprintln!("  {minute} of {minutes}: {} MB", look.resident_bytes >> 20);
        if let Some(soak) = bench.report.borrow_mut().soaks.last_mut() {
            soak.looks.push(look);
        }
    }
    Ok(())
}

/// How long an answer may be: what is listed becomes longer and shorter by what happens meanwhile.
async fn length(host: &Host, path: &str) -> anyhow::Result<RangeInclusive<usize>> {
    let length = host.bytes_for(&host.target.key, path).await?.len();
    Ok(length / 2..=length * 2)
}

/// Has readers listen to a program, and who makes it say what they hear.
async fn listeners(host: &Host, heard: &Rc<Heard>) -> anyhow::Result<Saying> {
    let core = host.host("talker", listening::PROGRAM).await?;
    let path = format!("/v1/modules/scaicore/cores/{core}/logs/stream?level=warn");
    for reader in 0..READERS {
        let events = listening::open(&host.target, &path).await?;
        tokio::task::spawn_local(listen(events, Rc::clone(heard), reader));
    }
    Ok(Saying { talker: Talker::new(host, &core).await?, heard: Rc::clone(heard), number: 0 })
}

/// A client that has numbers said, one after the other.
struct Saying {
    talker: Talker,
    heard: Rc<Heard>,
    number: u64,
}

impl Work for Saying {
    const PHASES: &'static [&'static str] = &[];

    async fn once(&mut self, _: &mut Laps) -> anyhow::Result<()> {
        let number = self.number;
        self.number += 1;
        self.talker.say_to(&self.heard, number).await
    }
}
