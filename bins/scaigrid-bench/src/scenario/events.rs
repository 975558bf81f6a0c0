//! Events that start a flow: from the event to the end of the execution that it started.
//!
//! Nobody waits on the server for an execution that an event started, so the client looks until it has ended: for the
//! first time after half of what it took before, then after an eighth of the time that has passed. It sees the end late by
//! that much at most, unless it came sooner than the first look. The server's own times, from taking the event to the last
//! step, are beside it; they are too short, by the commit that makes the end visible.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::commits::Commits;
use super::host::{Host, connections};
use super::{Bench, Envelope};
use crate::client::{Connection, Target, put};
use crate::load::{Laps, Work};
use crate::options::{Engine, Scenario};
use crate::scratch::Place;

/// The program that listens.
const PROGRAM: &str = include_str!("../../programs/event.json");
/// How long an execution may take to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// The timer cannot wait for less; below it the client looks again at once.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

#[derive(Deserialize)]
struct Taken {
    executions: Vec<String>,
}

#[derive(Deserialize)]
struct Execution {
    status: String,
    output: Option<Output>,
    started_at: String,
    finished_at: Option<String>,
}

#[derive(Deserialize, PartialEq, Eq, Debug)]
struct Output {
    number: i64,
}

/// A client that sends events and waits for what they start.
struct Order {
    target: Target,
    connection: Connection,
    path: String,
    number: i64,
    likely: Likely,
    body: Vec<u8>,
    request: Vec<u8>,
}

impl Order {
    async fn send(&mut self) -> anyhow::Result<String> {
        self.number = self.number.wrapping_add(1);
        order(&mut self.body, self.number);
        self.target.post(&mut self.request, &self.path, &self.body);
        let answer = self.connection.exchange(&self.request).await?.expect(202).context("event")?;
        let Envelope { data } = answer.json::<Envelope<Taken>>().context("event")?;
        let [execution] = data.executions.as_slice() else {
            bail!("event: expected one execution: {}", answer.excerpt());
        };
        Ok(execution.clone())
    }

    /// The execution if it has ended, and ended well; none while it has not.
    async fn look(&mut self) -> anyhow::Result<Option<Execution>> {
        let answer = self.connection.exchange(&self.request).await?.expect(200).context("look")?;
        let Envelope { data } = answer.json::<Envelope<Execution>>().context("look")?;
        match data.status.as_str() {
            "completed" => {
                let expected = Output { number: self.number };
                ensure!(
                    data.output.as_ref() == Some(&expected),
                    "expected {expected:?}: {}",
                    answer.excerpt()
                );
                Ok(Some(data))
            }
            "queued" | "running" => Ok(None),
            _ => bail!("it did not end well: {}", answer.excerpt()),
        }
    }

    async fn wait(&mut self, execution: &str) -> anyhow::Result<Execution> {
        let path = format!("/v1/modules/scaicore/executions/{execution}");
        self.target.get(&mut self.request, &path);
        let begun = Instant::now();
        let mut pause = self.likely.first_look();
        loop {
            if pause >= SHORTEST_PAUSE {
                tokio::time::sleep(pause).await;
            }
            if let Some(ended) = self.look().await? {
                self.likely.took(begun.elapsed());
                return Ok(ended);
            }
            ensure!(begun.elapsed() < PATIENCE, "the execution {execution} does not end");
            pause = begun.elapsed() / 8;
        }
    }
}

/// How long an execution is likely to take, from those before it.
#[derive(Debug, Default)]
struct Likely(Option<Duration>);

impl Likely {
    /// When it is worth looking for the first time.
    fn first_look(&self) -> Duration {
        self.0.unwrap_or_default() / 2
    }

    fn took(&mut self, time: Duration) {
        self.0 = Some(self.0.map_or(time, |before| (before * 7 + time) / 8));
    }
}

/// Puts the body of an event into `body`.
fn order(body: &mut Vec<u8>, number: i64) {
    body.clear();
    put(body, format_args!(r#"{{"event_name":"bench.ordered","data":{{"number":{number}}}}}"#));
}

/// What the server says it took from taking the event to the end of the execution.
fn told(execution: &Execution) -> anyhow::Result<Duration> {
    let at =
        |text: &str| OffsetDateTime::parse(text, &Rfc3339).with_context(|| format!("no instant: {text}"));
    let finished = execution.finished_at.as_deref().context("an end without an instant")?;
    let took = at(finished)? - at(&execution.started_at)?;
    // The clock may have been set back in between.
    Ok(took.try_into().unwrap_or_default())
}

impl Work for Order {
    const PHASES: &'static [&'static str] = &["event→taken", "taken→completed", "(by the server's times)"];

    async fn once(&mut self, laps: &mut Laps) -> anyhow::Result<()> {
        let begun = Instant::now();
        let execution = self.send().await?;
        let taken = Instant::now();
        laps.add(taken - begun);
        let ended = self.wait(&execution).await?;
        laps.add(taken.elapsed());
        laps.add(told(&ended)?);
        Ok(())
    }
}

/// A client of the floor: the same body, and two commits before the answer.
struct Commit {
    target: Target,
    connection: Connection,
    number: i64,
    body: Vec<u8>,
    request: Vec<u8>,
}

impl Work for Commit {
    const PHASES: &'static [&'static str] = &[];

    async fn once(&mut self, _: &mut Laps) -> anyhow::Result<()> {
        self.number = self.number.wrapping_add(1);
        order(&mut self.body, self.number);
        self.target.post(&mut self.request, "/flow", &self.body);
        self.connection.exchange(&self.request).await?.expect(200).map(drop)
    }
}

/// Measures events and their floor at each number of clients.
pub(crate) async fn measure(
    bench: &Bench<'_>,
    engine: Engine,
    host: &Host,
    place: &Place,
) -> anyhow::Result<()> {
    if !bench.options.wants(Scenario::EventStart) {
        return Ok(());
    }
    let core = host.host("event_start", PROGRAM).await?;
    let probe = host.probe(place).await?;
    let commits = Commits::start(bench, engine, &host.target.key, &[]).await?;
    for &count in &bench.options.clients {
        let count = usize::from(count);
        let clients = host.connections(count).await?.into_iter().map(|connection| Order {
            target: host.target.clone(),
            connection,
            path: format!("/v1/modules/scaicore/cores/{core}/events"),
            number: 0,
            likely: Likely::default(),
            body: Vec::new(),
            request: Vec::new(),
        });
        let load = bench.measure("event_start", Some(engine), clients.collect(), &probe).await?;
        let clients = connections(&commits.target, count).await?.into_iter().map(|connection| Commit {
            target: commits.target.clone(),
            connection,
            number: 0,
            body: Vec::new(),
            request: Vec::new(),
        });
        let name = "floor_commit/event_start";
        let floor = bench.measure(name, Some(engine), clients.collect(), &commits.probe).await?;
        bench.keep(load, floor);
    }
    commits.stop().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_sound_and_listens_to_what_is_sent() {
        let document: serde_json::Value = serde_json::from_str(PROGRAM).unwrap();
        let (module, diagnostics) = scaigrid_ir::check(&document);
        assert!(module.is_some() && diagnostics.is_empty(), "{diagnostics:?}");
        let mut body = Vec::new();
        order(&mut body, 7);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["event_name"], document["subscriptions"][0]["event"]);
        assert_eq!(body["data"]["number"], 7);
    }

    #[test]
    fn the_first_look_comes_before_the_end_is_likely() {
        let mut likely = Likely::default();
        assert_eq!(likely.first_look(), Duration::ZERO);
        likely.took(Duration::from_millis(8));
        assert_eq!(likely.first_look(), Duration::from_millis(4));
        likely.took(Duration::from_millis(16));
        assert_eq!(likely.first_look(), Duration::from_micros(4500));
    }

    #[test]
    fn the_servers_times_are_taken_at_their_word() {
        let execution = |finished: Option<&str>| Execution {
            status: "completed".to_owned(),
            output: None,
            started_at: "2026-01-31T10:00:00Z".to_owned(),
            finished_at: finished.map(str::to_owned),
        };
        assert_eq!(told(&execution(Some("2026-01-31T10:00:00.0025Z"))).unwrap(), Duration::from_micros(2500));
        assert_eq!(told(&execution(Some("2026-01-31T09:59:59Z"))).unwrap(), Duration::ZERO);
        assert!(told(&execution(None)).is_err());
    }
}
