//! One run: what was asked for, on each database, with everything tidied up at the end however it ends.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::machine::Machine;
use crate::options::{Engine, Functions, Instructions, Measure, Scenario};
use crate::probe;
use crate::report::Report;
use crate::scenario::flows::Program;
use crate::scenario::host::Host;
use crate::scenario::{
    Bench, administration, bundles, debugged, effects, events, expressions, flows, functions, instructions,
    lists, nodes, readers, reads, sleepers, soak, startup, stored, suspended, tenants, traced,
};
use crate::scratch::Databases;

/// The share of the processors that others may use without a warning.
const BUSY: f64 = 0.1;

/// Measures, prints the tables and writes both reports. An error if anything failed.
pub(crate) fn main(options: &Measure) -> anyhow::Result<()> {
    runtime()?.block_on(run(options))
}

/// Counts instructions. An error if there are more than were written down.
pub(crate) fn count(options: &Instructions) -> anyhow::Result<()> {
    runtime()?.block_on(unless_interrupted(Box::pin(instructions::measure(options))))
}

/// Writes the names of functions down.
pub(crate) fn list(options: &Functions) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let databases = Databases::new(&options.given.scratch, options.given.postgres.as_deref())?;
        let outcome = unless_interrupted(Box::pin(functions::list(options, &databases))).await;
        databases.drop_all().await;
        outcome
    })
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn run(options: &Measure) -> anyhow::Result<()> {
    let server = program(options)?;
    let (engines, skipped) = engines(options)?;
    let databases = Databases::new(&options.given.scratch, options.given.postgres.as_deref())?;
    let postgres = options.given.postgres.as_deref().filter(|_| engines.contains(&Engine::Postgres));
    for reason in &skipped {
        eprintln!("skipped: {reason}");
    }
    let busy_before = probe::busy(Duration::from_secs(2)).await?;
    if busy_before > BUSY {
        let percent = busy_before * 100.0;
        eprintln!(
            "warning: others use {percent:.0} % of this machine's processors; the figures will be worth little"
        );
    }
    let report = RefCell::new(Report {
        started_at: OffsetDateTime::now_utc().format(&Rfc3339)?,
        command: std::env::args().collect(),
        machine: Machine::look(&server, &options.given.scratch, postgres).await,
        busy_before,
        quick: options.quick,
        skipped,
        ..Report::default()
    });
    let bench = Bench { options, databases: &databases, report: &report, server };
    // Whichever way this ends, the children are dropped, which kills them, before their databases are.
    let outcome = unless_interrupted(Box::pin(measure(&bench, &engines))).await;
    databases.drop_all().await;
    drop(bench);

    let mut report = report.into_inner();
    report.failure = outcome.as_ref().err().map(|error| format!("{error:#}"));
    report.judge();
    print!("{}", report.table());
    report.write(&options.json)?;
    report.write_markdown(&options.markdown)?;
    println!("written: {}, {}", options.json.display(), options.markdown.display());
    outcome?;
    ensure!(report.errors() == 0, "{} operations failed", report.errors());
    Ok(())
}

async fn measure(bench: &Bench<'_>, engines: &[Engine]) -> anyhow::Result<()> {
    expressions::measure(bench).await?;
    if let Some(&engine) = engines.first() {
        // No database has a part in it.
        bundles::measure(bench, engine).await?;
    }
    for &engine in engines {
        on(bench, engine).await.with_context(|| format!("on {}", engine.name()))?;
    }
    Ok(())
}

async fn on(bench: &Bench<'_>, engine: Engine) -> anyhow::Result<()> {
    startup::measure(bench, engine).await?;
    let shared = [
        Scenario::ApprovalFlow,
        Scenario::ExpenseApproval,
        Scenario::CoreGet,
        Scenario::CoreList,
        Scenario::ModuleList,
        Scenario::ModuleGet,
        Scenario::EventStart,
        Scenario::Effects,
        Scenario::FanOut,
    ];
    if shared.iter().any(|&scenario| bench.options.wants(scenario)) {
        let place = bench.databases.fresh(engine).await?;
        let host = Host::start(&bench.server, &place).await?;
        let measured = async {
            flows::measure(bench, engine, &host, &place, Program::Approval).await?;
            flows::measure(bench, engine, &host, &place, Program::Expense).await?;
            reads::measure(bench, engine, &host, &place).await?;
            events::measure(bench, engine, &host, &place).await?;
            effects::measure(bench, engine, &host, &place).await
        };
        let measured = measured.await;
        // What the server said is worth more than what its client noticed.
        measured.with_context(|| format!("the server's log:\n{}", host.child.tail()))?;
        host.child.stop().await?;
    }
    traced::measure(bench, engine).await?;
    debugged::measure(bench, engine).await?;
    stored::measure(bench, engine).await?;
    tenants::measure(bench, engine).await?;
    suspended::measure(bench, engine).await?;
    sleepers::measure(bench, engine).await?;
    readers::measure(bench, engine).await?;
    lists::measure(bench, engine).await?;
    administration::measure(bench, engine).await?;
    nodes::two(bench, engine).await?;
    nodes::takeover(bench, engine).await?;
    soak::measure(bench, engine).await
}

fn program(options: &Measure) -> anyhow::Result<PathBuf> {
    let server = &options.given.server;
    if !options.wants_server() {
        return Ok(server.clone());
    }
    server.canonicalize().with_context(|| format!("no server's program at {}", server.display()))
}

/// The databases to measure on, and what is left out.
fn engines(options: &Measure) -> anyhow::Result<(Vec<Engine>, Vec<String>)> {
    if !options.wants_server() {
        return Ok((Vec::new(), Vec::new()));
    }
    let named = !options.databases.is_empty();
    let mut engines = if named { options.databases.clone() } else { vec![Engine::Sqlite, Engine::Postgres] };
    let mut skipped = Vec::new();
    if options.given.postgres.is_none() && engines.contains(&Engine::Postgres) {
        ensure!(!named, "postgres was asked for, but SCAIGRID_TEST_POSTGRES_URL is not set");
        engines.retain(|&engine| engine != Engine::Postgres);
        skipped.push("measurements on PostgreSQL (SCAIGRID_TEST_POSTGRES_URL is not set)".to_owned());
    }
    Ok((engines, skipped))
}

async fn unless_interrupted(work: impl Future<Output = anyhow::Result<()>> + Unpin) -> anyhow::Result<()> {
    tokio::select! {
        outcome = work => outcome,
        name = interrupted() => name.and_then(|name| bail!("interrupted by {name}")),
    }
}

/// Ends when somebody wants the run to end; with the signal's name.
async fn interrupted() -> anyhow::Result<&'static str> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
        _ = hangup.recv() => "SIGHUP",
    })
}
