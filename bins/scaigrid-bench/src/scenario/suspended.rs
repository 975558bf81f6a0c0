//! What many suspended executions cost: memory, speed of others, and the next start.

use std::time::Duration;

use super::Bench;
use super::flows::{self, Program};
use super::host::Host;
use crate::load::Extent;
use crate::options::{Engine, Scenario};
use crate::report::{Load, Suspended};

/// Clients that suspend executions.
const CLIENTS: usize = 64;
/// The slowest that is waited for.
const LEAST_PER_SECOND: u32 = 50;

/// Runs flows, leaves many at their checkpoint, runs flows again, and starts the server anew.
pub(crate) async fn measure(bench: &Bench<'_>, engine: Engine) -> anyhow::Result<()> {
    if !bench.options.wants(Scenario::SuspendedMemory) {
        return Ok(());
    }
    let place = bench.databases.fresh(engine).await?;
    let host = Host::start(&bench.server, &place).await?;
    let core = host.host("approval", Program::Approval.document()).await?;
    let probe = host.probe(&place).await?;

    // Before the first reading, so that what a busy server keeps for itself is not blamed on suspended executions.
    let before = run_flows(bench, engine, &host, &core, &probe, "flows_before_suspended").await?;
    let flows_per_second_before = before.per_second;
    bench.report.borrow_mut().loads.push(before);
    tokio::time::sleep(bench.options.rest()).await;
    let resident_before_bytes = probe.resident()?;

    let operations = bench.options.suspended();
    let limit = Duration::from_secs(u64::from(operations / LEAST_PER_SECOND).max(60));
    let extent = Extent::Count { operations: operations.into(), limit };
    let clients = flows::suspensions(&host, &core, CLIENTS).await?;
    let load = bench.load("suspend", Some(engine), clients, extent, &probe).await?;
    let executions = load.operations;
    bench.report.borrow_mut().loads.push(load);
    tokio::time::sleep(bench.options.rest()).await;
    let resident_after_bytes = probe.resident()?;

    let after = run_flows(bench, engine, &host, &core, &probe, "flows_with_suspended").await?;
    let flows_per_second_after = after.per_second;
    bench.report.borrow_mut().loads.push(after);
    host.child.stop().await?;

    eprintln!("restart on {} with {executions} suspended executions …", engine.name());
    let host = Host::start(&bench.server, &place).await?;
    let restart_ready_ms = host.ready.as_secs_f64() * 1e3;
    tokio::time::sleep(bench.options.rest()).await;
    let restart_resident_bytes = host.probe(&place).await?.resident()?;
    host.child.stop().await?;

    bench.report.borrow_mut().suspended.push(Suspended {
        database: engine,
        executions,
        resident_before_bytes,
        resident_after_bytes,
        flows_per_second_before,
        flows_per_second_after,
        restart_ready_ms,
        restart_resident_bytes,
    });
    Ok(())
}

async fn run_flows(
    bench: &Bench<'_>,
    engine: Engine,
    host: &Host,
    core: &str,
    probe: &crate::probe::Probe,
    name: &str,
) -> anyhow::Result<Load> {
    let clients = flows::flows(host, Program::Approval, core, CLIENTS).await?;
    bench.measure(name, Some(engine), clients, probe).await
}
