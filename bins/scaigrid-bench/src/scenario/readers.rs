//! Many readers of the log of one Core: a connection each, over which the server tells every entry.
//!
//! An open loop: the program is made to say something at a fixed pace, whether or not all have heard what it said before. Every
//! reader must hear every number once and in order.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use hdrhistogram::Histogram;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::task::LocalSet;

use super::Bench;
use super::host::Host;
use crate::client::{Connection, Events, Target, put};
use crate::options::{Engine, Scenario};
use crate::probe::Probe;
use crate::report::Readers;

const PROGRAM: &str = include_str!("../../programs/talker.json");
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
/// The longest delay that is recorded; longer ones count as this.
const LONGEST_US: u64 = 300_000_000;

/// An entry of the log, as the stream tells it.
#[derive(Deserialize)]
struct Entry {
    #[serde(with = "time::serde::rfc3339")]
    timestamp: OffsetDateTime,
    message: String,
}

/// What all readers have heard.
struct Heard {
    /// When each entry was asked for.
    asked: RefCell<Vec<Instant>>,
    /// Entries that have come, to all readers together.
    count: Cell<u64>,
    /// From the entry's own time to its arrival, in microseconds.
    since_said: RefCell<Histogram<u64>>,
    /// From the request that makes it to its arrival.
    since_asked: RefCell<Histogram<u64>>,
    /// What went wrong first.
    failure: RefCell<Option<anyhow::Error>>,
    over: Cell<bool>,
}

impl Heard {
    fn new() -> anyhow::Result<Self> {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, 3).context("the histogram's bounds")?;
        Ok(Self {
            asked: RefCell::default(),
            count: Cell::new(0),
            since_said: RefCell::new(histogram.clone()),
            since_asked: RefCell::new(histogram),
            failure: RefCell::default(),
            over: Cell::new(false),
        })
    }

    /// Takes an entry that a reader has heard, who waited for the one of this number.
    fn note(&self, text: &str, expected: u64) -> anyhow::Result<()> {
        let (now, instant) = (OffsetDateTime::now_utc(), Instant::now());
        let entry: Entry = serde_json::from_str(text).with_context(|| format!("no entry: {text}"))?;
        let number: u64 = entry.message.parse().with_context(|| format!("no number: {text}"))?;
        ensure!(number == expected, "heard {number} instead of {expected}");
        let asked = self.asked.borrow().get(usize::try_from(number)?).copied();
        let asked = asked.with_context(|| format!("heard {number}, which nobody has asked for"))?;
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(LONGEST_US);
        // Both clocks are this machine's; its time may be set back a little all the same.
        let said = Duration::try_from(now - entry.timestamp).unwrap_or_default();
        self.since_said.borrow_mut().saturating_record(micros(said));
        self.since_asked.borrow_mut().saturating_record(micros(instant.duration_since(asked)));
        self.count.set(self.count.get() + 1);
        Ok(())
    }

    /// Fails if a reader has.
    fn check(&self) -> anyhow::Result<()> {
        self.failure.borrow_mut().take().map_or(Ok(()), Err)
    }
}

/// One who listens until it is over.
async fn listen(mut events: Events, heard: Rc<Heard>, reader: u32) {
    let mut expected = 0;
    let error = loop {
        let listened = events.next(|event| {
            if let Some(name) = event.name {
                bail!("the stream ended: {name} {}", event.data.unwrap_or_default());
            }
            if let Some(data) = event.data {
                heard.note(data, expected)?;
                expected += 1;
            }
            Ok(())
        });
        match listened.await {
            Ok(true) => {}
            Ok(false) => break anyhow!("the stream ended"),
            Err(error) => break error,
        }
    };
    let mut failure = heard.failure.borrow_mut();
    if failure.is_none() && !heard.over.get() {
        *failure = Some(error.context(format!("reader {reader}")));
    }
}

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
        let core = host.host("talker", PROGRAM).await?;
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
        let mut events =
            Events::open(&host.target, &path).await.with_context(|| format!("reader {reader}"))?;
        // Who has been told where the stream begins hears all that comes after it.
        let mut placed = false;
        while !placed {
            let on = events.next(|event| {
                placed |= event.id.is_some();
                ensure!(event.data.is_none(), "the stream does not begin now");
                Ok(())
            });
            ensure!(on.await?, "the stream of reader {reader} ended at once");
        }
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
        heard.asked.borrow_mut().push(Instant::now());
        talker.say(entries).await?;
        entries += 1;
        heard.check()?;
    }
    let (all, deadline) = (entries * u64::from(*readers), Instant::now() + GRACE);
    while heard.count.get() < all {
        heard.check()?;
        let count = heard.count.get();
        ensure!(Instant::now() < deadline, "{count} of {all} entries were heard {} s later", GRACE.as_secs());
        tokio::time::sleep(GLANCE).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let loud = probe.sample().await?.process - loud_before.process;
    // Whatever is told twice would have to come by now.
    tokio::time::sleep(rest).await;
    heard.check()?;
    heard.over.set(true);
    bench.report.borrow_mut().readers.push(Readers {
        database: *engine,
        connections: *readers,
        entries,
        since_said_ms: percentiles(&heard.since_said.borrow()),
        since_asked_ms: percentiles(&heard.since_asked.borrow()),
        resident_bytes: [before, with, probe.resident()?],
        quiet_processors: quiet / bench.options.window().as_secs_f64(),
        loud_processors: loud / seconds,
    });
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of less than five minutes")]
fn percentiles(micros: &Histogram<u64>) -> [f64; 3] {
    [0.5, 0.99, 1.0].map(|quantile| micros.value_at_quantile(quantile) as f64 / 1e3)
}

/// Who makes the program say something.
struct Talker {
    connection: Connection,
    target: Target,
    path: String,
    body: Vec<u8>,
    request: Vec<u8>,
}

impl Talker {
    async fn new(host: &Host, core: &str) -> anyhow::Result<Self> {
        Ok(Self {
            connection: Connection::open(host.target.address).await?,
            target: host.target.clone(),
            path: format!("/v1/modules/scaicore/cores/{core}/invoke"),
            body: Vec::new(),
            request: Vec::new(),
        })
    }

    /// Has a number said; it is durable in the log when the answer is here.
    async fn say(&mut self, number: u64) -> anyhow::Result<()> {
        self.body.clear();
        put(
            &mut self.body,
            format_args!(r#"{{"flow":"say","input":{{"number":{number}}},"wait_ms":30000}}"#),
        );
        self.target.post(&mut self.request, &self.path, &self.body);
        self.connection.exchange(&self.request).await?.expect(200).context("invoke").map(drop)
    }
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

    fn entry(number: u64) -> String {
        format!(r#"{{"timestamp":"2026-01-01T00:00:00.5Z","message":"{number}","level":"warn"}}"#)
    }

    #[test]
    fn the_program_is_sound() {
        let document = serde_json::from_str(PROGRAM).unwrap();
        let (module, diagnostics) = scaigrid_ir::check(&document);
        assert!(module.is_some() && diagnostics.is_empty(), "{diagnostics:?}");
    }

    #[test]
    fn what_is_lost_or_told_twice_is_noticed() {
        let heard = Heard::new().unwrap();
        heard.asked.borrow_mut().extend([Instant::now(); 2]);
        heard.note(&entry(0), 0).unwrap();
        heard.note(&entry(1), 1).unwrap();
        assert_eq!(heard.count.get(), 2);
        assert_eq!(heard.since_said.borrow().len(), 2);
        assert!(heard.note(&entry(1), 2).is_err(), "twice");
        assert!(heard.note(&entry(1), 0).is_err(), "lost");
        assert!(heard.note(&entry(2), 2).is_err(), "never asked for");
    }

    #[test]
    fn what_is_allowed_already_is_not_asked_for() {
        allow_files(1).unwrap();
        let error = allow_files(u64::MAX - 1);
        // Where there is no bound at all, this is within it.
        assert!(error.is_err() || getrlimit(Resource::Nofile).maximum.is_none());
    }
}
