//! Many executions that sleep, some of which wake at every moment: an open loop, whose pace the generator sets beforehand.
//!
//! How late each woke is told by the server: from the instant that it was to wake at to `finished_at`. The commit that makes the end
//! visible comes after that.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use time::format_description::well_known::Rfc3339;
use time::{Duration as Span, OffsetDateTime};

use super::Bench;
use super::host::Host;
use crate::client::{Connection, Target, put};
use crate::load::{Extent, Laps, Work};
use crate::options::{Engine, Scenario};
use crate::report::Sleeping;

const PROGRAM: &str = include_str!("../../programs/sleeper.json");
/// Clients that put executions to sleep.
const CLIENTS: usize = 64;
/// The slowest pace at which that is waited for, per second.
const LEAST_PER_SECOND: u32 = 50;
/// The pace that is counted on when it is said when the first is to wake.
const LIKELY_PER_SECOND: u32 = 400;
/// How long after the last was due everything must have woken.
const GRACE: Duration = Duration::from_mins(5);
/// Between two looks whether everything has.
const GLANCE: Duration = Duration::from_secs(1);

/// A client that puts executions to sleep.
struct Lull {
    target: Target,
    connection: Connection,
    path: String,
    /// When the next one is to wake, and how much later each further one.
    until: OffsetDateTime,
    step: Span,
    body: Vec<u8>,
    request: Vec<u8>,
}

impl Work for Lull {
    const PHASES: &'static [&'static str] = &[];

    async fn once(&mut self, _: &mut Laps) -> anyhow::Result<()> {
        let until = self.until.format(&Rfc3339)?;
        self.until += self.step;
        self.body.clear();
        put(&mut self.body, format_args!(r#"{{"flow":"sleep","input":{{"until":"{until}"}},"wait_ms":1}}"#));
        self.target.post(&mut self.request, &self.path, &self.body);
        self.connection.exchange(&self.request).await?.expect(202).context("invoke").map(drop)
    }
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Slept>,
}

#[derive(Deserialize)]
struct Paged {
    data: Page,
    pagination: Option<Paging>,
}

#[derive(Deserialize)]
struct Paging {
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Slept {
    status: String,
    input: Input,
    #[serde(default, with = "time::serde::rfc3339::option")]
    finished_at: Option<OffsetDateTime>,
}

#[derive(Deserialize)]
struct Input {
    #[serde(with = "time::serde::rfc3339")]
    until: OffsetDateTime,
}

/// Puts executions to sleep, has some of them wake one after the other, and looks how late they were.
pub(crate) async fn measure(bench: &Bench<'_>, engine: Engine) -> anyhow::Result<()> {
    if !bench.options.wants(Scenario::Suspended) {
        return Ok(());
    }
    let place = bench.databases.fresh(engine).await?;
    let host = Host::start(&bench.server, &place).await?;
    let asleep = host.host("asleep", PROGRAM).await?;
    let waking = host.host("waking", PROGRAM).await?;
    let probe = host.probe(&place).await?;

    let rate = bench.options.waking();
    let window = u32::try_from(bench.options.window().as_secs()).unwrap_or(u32::MAX);
    let woken = rate.saturating_mul(window);
    let sleepers = bench.options.suspended().saturating_sub(woken);
    // What a busy server keeps for itself is not blamed on those that sleep.
    let tomorrow = OffsetDateTime::now_utc() + Span::days(1);
    lull(bench, engine, &host, &asleep, (tomorrow, Span::ZERO), CLIENTS as u64 * 16, "warm_up").await?;
    tokio::time::sleep(bench.options.rest()).await;
    let before = probe.resident()?;
    lull(bench, engine, &host, &asleep, (tomorrow, Span::ZERO), sleepers.into(), "put_to_sleep").await?;

    let lead = Duration::from_secs(u64::from(woken / LIKELY_PER_SECOND)) + 2 * bench.options.rest();
    let first = OffsetDateTime::now_utc() + lead;
    let step = Span::SECOND / i32::try_from(rate).unwrap_or(i32::MAX);
    lull(bench, engine, &host, &waking, (first, step), woken.into(), "put_to_short_sleep").await?;
    let left = first - OffsetDateTime::now_utc();
    ensure!(left.is_positive(), "the first were to wake before the last had gone to sleep");
    let with = probe.resident()?;
    eprintln!("{woken} of {} sleeping executions wake on {} …", sleepers + woken, engine.name());
    tokio::time::sleep(left.unsigned_abs()).await;
    let cost_before = probe.sample().await?;
    tokio::time::sleep(bench.options.window()).await;
    let deadline = tokio::time::Instant::now() + GRACE;
    let slept = loop {
        // Looking costs the server something too; so it is looked seldom.
        tokio::time::sleep(GLANCE).await;
        let path = format!("/v1/modules/scaicore/cores/{waking}/executions?status=suspended&limit=1");
        let unended = host.get(&path).await?;
        if unended["items"].as_array().is_none_or(Vec::is_empty) {
            let slept = all(&host, &waking).await?;
            if slept.iter().all(|one| one.finished_at.is_some()) {
                break slept;
            }
        }
        ensure!(tokio::time::Instant::now() < deadline, "not all woke within {} s", GRACE.as_secs());
    };
    let cost_after = probe.sample().await?;
    ensure!(slept.len() == woken as usize, "{} of {woken} went to sleep", slept.len());
    ensure!(slept.iter().all(|one| one.status == "completed"), "not all came to a good end");
    let mut late: Vec<f64> = slept
        .iter()
        .filter_map(|one| Some((one.finished_at? - one.input.until).as_seconds_f64() * 1e3))
        .collect();
    late.sort_by(f64::total_cmp);
    let at =
        |share: usize| late.get((late.len() * share / 100).min(late.len() - 1)).copied().unwrap_or_default();
    let due_first = slept.iter().map(|one| one.input.until).min().context("none")?;
    let last = slept.iter().filter_map(|one| one.finished_at).max().context("none")?;
    let count = f64::from(woken);
    bench.report.borrow_mut().sleeping.push(Sleeping {
        database: engine,
        executions: u64::from(sleepers) + u64::from(woken) + CLIENTS as u64 * 16,
        woken: woken.into(),
        due_per_second: rate,
        woken_per_second: count / (last - due_first).as_seconds_f64().max(1e-3),
        late_ms: [at(50), at(99), at(100)],
        resident_bytes: [before, with, probe.resident()?],
        processor_us: (cost_after.process - cost_before.process) * 1e6 / count,
    });
    host.child.stop().await
}

async fn lull(
    bench: &Bench<'_>,
    engine: Engine,
    host: &Host,
    core: &str,
    (first, step): (OffsetDateTime, Span),
    operations: u64,
    name: &str,
) -> anyhow::Result<()> {
    if operations == 0 {
        return Ok(());
    }
    let stride = i32::try_from(CLIENTS).unwrap_or(i32::MAX);
    let clients =
        host.connections(CLIENTS).await?.into_iter().zip(0..stride).map(|(connection, number)| Lull {
            target: host.target.clone(),
            connection,
            path: format!("/v1/modules/scaicore/cores/{core}/invoke"),
            until: first + step * number,
            step: step * stride,
            body: Vec::new(),
            request: Vec::new(),
        });
    let least = operations / u64::from(LEAST_PER_SECOND);
    let extent = Extent::Count { operations, limit: Duration::from_secs(least.max(60)) };
    let probe = crate::probe::Probe::new(host.child.pid, None);
    let load = bench.load(name, Some(engine), clients.collect(), extent, &probe).await?;
    ensure!(load.errors == 0, "{name}: {}", load.first_error.unwrap_or_default());
    Ok(())
}

/// All executions of a Core.
async fn all(host: &Host, core: &str) -> anyhow::Result<Vec<Slept>> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/modules/scaicore/cores/{core}/executions?limit=100{cursor}");
        let bytes = host.bytes_for(&host.target.key, &path).await?;
        let Paged { data, pagination } = serde_json::from_slice(&bytes).context("executions")?;
        found.extend(data.items);
        match pagination.and_then(|paging| paging.next_cursor) {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_sound() {
        let document = serde_json::from_str(PROGRAM).unwrap();
        let (module, diagnostics) = scaigrid_ir::check(&document);
        assert!(module.is_some() && diagnostics.is_empty(), "{diagnostics:?}");
    }
}
