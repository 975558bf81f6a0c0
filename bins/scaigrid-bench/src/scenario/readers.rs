//! Many readers of the log of one Core: a connection each, over which the server tells every entry.
//!
//! An open loop: the program is made to say something at a fixed pace, whether or not all have heard what it said before. Every
//! reader must hear every number once and in order.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::LocalSet;

use super::Bench;
use super::host::Host;
use super::listening::{self, Heard, Talker, listen};
use crate::options::{Engine, Scenario};
use crate::probe::Probe;
use crate::report::Readers;

/// Between two entries.
const PACE: Duration = Duration::from_millis(500);
/// Entries before anybody listens, so that what a busy server keeps for itself is not blamed on readers.
const WARM_UP: u64 = 50;
/// How long after the last entry everybody must have heard it.
const GRACE: Duration = Duration::from_mins(2);
/// Between two looks whether everybody has.
const GLANCE: Duration = Duration::from_millis(50);
/// Files that the server and the generator have open beside the connections of readers.
const FURTHER_FILES: u64 = 200;

/// Measures, on a server and a database of its own.
pub(crate) async fn measure(bench: &Bench<'_>, engine: Engine) -> anyhow::Result<()> {
    if !bench.options.wants(Scenario::LogReaders) {
        return Ok(());
    }
    let readers = bench.options.readers();
    // Before the server is started, which gets the same bound.
    allow_files(u64::from(readers) + FURTHER_FILES)?;
    let place = bench.databases.fresh(engine).await?;
    let host = Host::start(&bench.server, &place).await?;
    let measured = async {
        let core = host.host("talker", listening::PROGRAM).await?;
        let probe = host.probe(&place).await?;
        let room = LocalSet::new();
        let (heard, row) = (Rc::new(Heard::new()?), Row { engine, readers, core });
        room.run_until(run(bench, &host, &probe, &row, &heard)).await
    };
    measured.await.with_context(|| format!("the server's log:\n{}", host.child.tail()))?;
    host.child.stop().await
}

/// Who reads what.
struct Row {
    engine: Engine,
    readers: u32,
    core: String,
}

async fn run(
    bench: &Bench<'_>,
    host: &Host,
    probe: &Probe,
    row: &Row,
    heard: &Rc<Heard>,
) -> anyhow::Result<()> {
    let Row { engine, readers, core } = row;
    let (rest, name) = (bench.options.rest(), engine.name());
    let mut talker = Talker::new(host, core).await?;
    for number in 0..WARM_UP {
        talker.say(number).await?;
    }
    tokio::time::sleep(rest).await;
    let before = probe.resident()?;

    eprintln!("{readers} readers of one log on {name} …");
    let path = format!("/v1/modules/scaicore/cores/{core}/logs/stream?level=warn");
    for reader in 0..*readers {
        let events =
            listening::open(&host.target, &path).await.with_context(|| format!("reader {reader}"))?;
        tokio::task::spawn_local(listen(events, Rc::clone(heard), reader));
    }
    tokio::time::sleep(rest).await;
    let with = probe.resident()?;
    let quiet_before = probe.sample().await?;
    tokio::time::sleep(bench.options.window()).await;
    let quiet = probe.sample().await?.process - quiet_before.process;
    heard.check()?;

    // The first connection may have been closed meanwhile, as nothing was asked over it.
    let mut talker = Talker::new(host, core).await?;
    let loud_before = probe.sample().await?;
    let begun = Instant::now();
    let mut pace = tokio::time::interval(PACE);
    let mut entries = 0;
    while begun.elapsed() < bench.options.window() {
        pace.tick().await;
        talker.say_to(heard, entries).await?;
        entries += 1;
        heard.check()?;
    }
    let (all, deadline) = (entries * u64::from(*readers), Instant::now() + GRACE);
    while heard.count() < all {
        heard.check()?;
        let count = heard.count();
        ensure!(Instant::now() < deadline, "{count} of {all} entries were heard {} s later", GRACE.as_secs());
        tokio::time::sleep(GLANCE).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let loud = probe.sample().await?.process - loud_before.process;
    // Whatever is told twice would have to come by now.
    tokio::time::sleep(rest).await;
    heard.check()?;
    heard.end();
    bench.report.borrow_mut().readers.push(Readers {
        database: *engine,
        connections: *readers,
        entries,
        since_said_ms: heard.since_said_ms(),
        since_asked_ms: heard.since_asked_ms(),
        resident_bytes: [before, with, probe.resident()?],
        quiet_processors: quiet / bench.options.window().as_secs_f64(),
        loud_processors: loud / seconds,
    });
    Ok(())
}

/// Lets this process, and those that it starts, have so many files open.
fn allow_files(wanted: u64) -> anyhow::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None is no bound.
    if current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if let Some(maximum) = maximum.filter(|maximum| *maximum < wanted) {
        bail!(
            "{wanted} open files are needed and {maximum} are allowed here: allow more (ulimit -Hn), or ask for fewer \
             --readers"
        );
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
        .context("cannot have more files open")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_already_is_not_asked_for() {
        allow_files(1).unwrap();
        let error = allow_files(u64::MAX - 1);
        // Where there is no bound at all, this is within it.
        assert!(error.is_err() || getrlimit(Resource::Nofile).maximum.is_none());
    }
}
