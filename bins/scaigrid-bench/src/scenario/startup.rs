//! How long a start takes, and what an idle server needs.

use std::time::Duration;

use super::Bench;
use super::host::Host;
use crate::options::{Engine, Scenario};
use crate::report::Start;
use crate::scratch::Place;

/// Starts the server on empty databases, then several times on the last of them.
pub(crate) async fn measure(bench: &Bench<'_>, engine: Engine) -> anyhow::Result<()> {
    if !bench.options.wants(Scenario::Startup) {
        return Ok(());
    }
    eprintln!("startup on {} …", engine.name());
    let starts = bench.options.starts();
    let rest = |number| (number == starts).then(|| bench.options.rest());
    let mut place = bench.databases.fresh(engine).await?;
    let mut times = Vec::new();
    let mut resident = 0;
    for number in 1..=starts {
        if number > 1 {
            place = bench.databases.fresh(engine).await?;
        }
        let (time, idle) = once(bench, &place, rest(number)).await?;
        times.push(time);
        resident = idle;
    }
    keep(bench, engine, "empty database", times, resident);
    let mut times = Vec::new();
    for number in 1..=starts {
        let (time, idle) = once(bench, &place, rest(number)).await?;
        times.push(time);
        resident = idle;
    }
    keep(bench, engine, Start::EXISTING, times, resident);
    Ok(())
}

/// Starts, rests, reads the memory, stops.
async fn once(bench: &Bench<'_>, place: &Place, rest: Option<Duration>) -> anyhow::Result<(f64, u64)> {
    let host = Host::start(&bench.server, place).await?;
    if let Some(rest) = rest {
        tokio::time::sleep(rest).await;
    }
    let resident = host.probe(place).await?.resident()?;
    let ready = host.ready.as_secs_f64() * 1e3;
    host.child.stop().await?;
    Ok((ready, resident))
}

fn keep(bench: &Bench<'_>, engine: Engine, state: &str, mut times: Vec<f64>, resident: u64) {
    times.sort_by(f64::total_cmp);
    bench.report.borrow_mut().starts.push(Start {
        database: engine,
        state: state.to_owned(),
        ready_ms: times,
        idle_resident_bytes: resident,
    });
}
