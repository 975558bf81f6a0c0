//! What the process measures of itself and the installation, and where that can be read.

use std::net::TcpListener;
use std::time::Duration;

use actix_web::HttpServer;
use anyhow::Context as _;
use metrics::{counter, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use scaigrid_app::App;
use scaigrid_http::health::{RenderMetrics, metrics_alone};
use tokio::time::MissedTickBehavior;

use crate::files::Unusable;
use crate::settings::Settings;

/// How often the gauges are set, and what was measured is digested.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The bounds of histograms of times, in seconds.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
/// The bounds of histograms of numbers.
const NUMBERS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
/// The kernel counts processor time in hundredths of a second, whatever its own clock is (`USER_HZ`, `proc_pid_stat(5)`).
const TICKS: u64 = 100;

/// Begins to record. A process that records already keeps its recorder.
pub(crate) fn record() -> anyhow::Result<PrometheusHandle> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_units".into()), &NUMBERS)?
        .build_recorder();
    let handle = recorder.handle();
    let _ = metrics::set_global_recorder(recorder);
    Ok(handle)
}

/// Sets the gauges and digests what was measured, for as long as the process lives.
pub(crate) async fn keep(app: App, metrics: PrometheusHandle) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        process();
        if let Err(error) = app.measure().await {
            tracing::debug!(%error, "the gauges of the database were not set");
        }
        metrics.run_upkeep();
    }
}

/// Serves the metrics, and nothing else, on an address of their own.
pub(crate) fn serve_alone(settings: &Settings, render: RenderMetrics) -> anyhow::Result<()> {
    let Some(address) = settings.metrics_bind else { return Ok(()) };
    let listener = TcpListener::bind(address)
        .map_err(|error| Unusable(format!("SCAIGRID_METRICS_BIND: cannot listen on {address}: {error}")))?;
    let address = listener.local_addr()?;
    let server = HttpServer::new(move || {
        let render = render.clone();
        actix_web::App::new().configure(move |config| metrics_alone(config, render))
    });
    let server = server.workers(1).disable_signals().listen(listener).context("metrics cannot be served")?;
    tokio::spawn(server.run());
    println!("metrics on http://{address}/metrics");
    tracing::info!(%address, "metrics");
    Ok(())
}

/// What the kernel says of this process (proc(5)); nothing where there is no such file.
fn process() {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let status = read("status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u32>().ok()
    };
    if let Some(kibibytes) = field("VmRSS:") {
        gauge!("process_resident_memory_bytes").set(f64::from(kibibytes) * 1024.0);
    }
    if let Some(threads) = field("Threads:") {
        gauge!("process_threads").set(f64::from(threads));
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        gauge!("process_open_fds").set(f64::from(u32::try_from(open.count()).unwrap_or(u32::MAX)));
    }
    // The name, in brackets, may hold anything: fields are counted from behind it.
    let stat = read("stat");
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
    if let (Some(user), Some(system)) = (ticks(11), ticks(12)) {
        counter!("process_cpu_seconds_total").absolute((user + system) / TICKS);
    }
}
