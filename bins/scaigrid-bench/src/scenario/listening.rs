//! Readers of a log, who must hear every entry once and in order, and the program that says what they hear.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use hdrhistogram::Histogram;
use serde::Deserialize;
use time::OffsetDateTime;

use super::host::Host;
use crate::client::{Connection, Events, Target, put};
use crate::report::Stretch;

/// The program: it says the number that it is given.
pub(super) const PROGRAM: &str = include_str!("../../programs/talker.json");
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
pub(super) struct Heard {
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
    /// Nothing yet.
    pub(super) fn new() -> anyhow::Result<Self> {
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

    /// How many entries have come, to all readers together.
    pub(super) fn count(&self) -> u64 {
        self.count.get()
    }

    /// From the entries' own times to their arrival: the median, the 99th percentile and the longest, in milliseconds.
    pub(super) fn since_said_ms(&self) -> [f64; 3] {
        percentiles(&self.since_said.borrow())
    }

    /// The same from the requests that made the program say them.
    pub(super) fn since_asked_ms(&self) -> [f64; 3] {
        percentiles(&self.since_asked.borrow())
    }

    /// What was heard since the last time, from the entries' own times on.
    pub(super) fn take(&self, name: &'static str) -> Stretch {
        let [p50_ms, p99_ms, max_ms] = self.since_said_ms();
        let mut since_said = self.since_said.borrow_mut();
        let operations = since_said.len();
        since_said.reset();
        Stretch { name, operations, p50_ms, p99_ms, max_ms }
    }

    /// Streams may end from now on.
    pub(super) fn end(&self) {
        self.over.set(true);
    }

    /// Fails if a reader has.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.failure.borrow_mut().take().map_or(Ok(()), Err)
    }
}

/// One who listens until it is over.
pub(super) async fn listen(mut events: Events, heard: Rc<Heard>, reader: u32) {
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

/// Listens to a stream of a log, from now on.
pub(super) async fn open(target: &Target, path: &str) -> anyhow::Result<Events> {
    let mut events = Events::open(target, path).await?;
    // Who has been told where the stream begins hears all that comes after it.
    let mut placed = false;
    while !placed {
        let on = events.next(|event| {
            placed |= event.id.is_some();
            ensure!(event.data.is_none(), "the stream does not begin now");
            Ok(())
        });
        ensure!(on.await?, "the stream ended at once");
    }
    Ok(events)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of less than five minutes")]
fn percentiles(micros: &Histogram<u64>) -> [f64; 3] {
    [0.5, 0.99, 1.0].map(|quantile| micros.value_at_quantile(quantile) as f64 / 1e3)
}

/// Who makes the program say something.
pub(super) struct Talker {
    connection: Connection,
    target: Target,
    path: String,
    body: Vec<u8>,
    request: Vec<u8>,
}

impl Talker {
    /// A connection of its own.
    pub(super) async fn new(host: &Host, core: &str) -> anyhow::Result<Self> {
        Ok(Self {
            connection: Connection::open(host.target.address).await?,
            target: host.target.clone(),
            path: format!("/v1/modules/scaicore/cores/{core}/invoke"),
            body: Vec::new(),
            request: Vec::new(),
        })
    }

    /// Has a number said; it is durable in the log when the answer is here.
    pub(super) async fn say(&mut self, number: u64) -> anyhow::Result<()> {
        self.body.clear();
        put(
            &mut self.body,
            format_args!(r#"{{"flow":"say","input":{{"number":{number}}},"wait_ms":30000}}"#),
        );
        self.target.post(&mut self.request, &self.path, &self.body);
        self.connection.exchange(&self.request).await?.expect(200).context("invoke").map(drop)
    }

    /// Has a number said that readers wait for.
    pub(super) async fn say_to(&mut self, heard: &Heard, number: u64) -> anyhow::Result<()> {
        heard.asked.borrow_mut().push(Instant::now());
        self.say(number).await
    }
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
        assert_eq!([heard.take("heard").operations, heard.take("heard").operations], [2, 0]);
        assert!(heard.note(&entry(1), 2).is_err(), "twice");
        assert!(heard.note(&entry(1), 0).is_err(), "lost");
        assert!(heard.note(&entry(2), 2).is_err(), "never asked for");
    }
}
