//! What a flow costs where very many executions are stored, against where few are, one run right after the other.
//!
//! Each run is of as many flows, since what is measured is stored too; and the database of few is a new one for each.

mod stock;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::flows::{self, Program};
use super::host::Host;
use super::{Bench, filling};
use crate::load::Extent;
use crate::options::{Engine, Scenario};
use crate::probe::Probe;
use crate::report::{Load, Paired};
use crate::scratch::Place;
use stock::Stock;

/// Executions that are stored where few are.
const FEW: u32 = 1_000;
/// What a variable may hold, so that no run comes to its end.
const MEMORY_ENTRIES: u32 = 1_000_000_000;
/// How long a run may take.
const LIMIT: Duration = Duration::from_mins(5);
/// What the names of runs begin with, before the number of executions.
const NAME: &str = "approval_flow/stored_";

/// How many executions were stored when a run of this name began; nothing for runs of other scenarios.
pub(crate) fn count(scenario: &str) -> Option<u32> {
    scenario.strip_prefix(NAME)?.parse().ok()
}

/// A server with a Core that has run so many flows.
struct Archive {
    host: Host,
    probe: Probe,
    core: String,
    executions: u32,
    _place: Place,
}

/// Measures, with each number of clients.
pub(crate) async fn measure(bench: &Bench<'_>, engine: Engine) -> anyhow::Result<()> {
    if !bench.options.wants(Scenario::Stored) {
        return Ok(());
    }
    let many = Archive::fill(bench, engine, bench.options.stored()).await?;
    for &count in &bench.options.clients {
        let count = usize::from(count);
        let mut runs = Vec::new();
        for pair in 0..bench.options.pairs() {
            let few = Archive::fill(bench, engine, FEW).await?;
            runs.push(if pair % 2 == 0 {
                let against = few.run(bench, engine, count).await?;
                [many.run(bench, engine, count).await?, against]
            } else {
                let own = many.run(bench, engine, count).await?;
                [own, few.run(bench, engine, count).await?]
            });
            few.host.child.stop().await?;
        }
        bench.report.borrow_mut().paired.extend(Paired::of(engine, runs));
    }
    many.host.child.stop().await
}

impl Archive {
    async fn fill(bench: &Bench<'_>, engine: Engine, executions: u32) -> anyhow::Result<Self> {
        let place = bench.databases.fresh(engine).await?;
        let host = Host::start(&bench.server, &place).await?;
        let core = host.host("approval_flow", Program::Approval.document()).await?;
        let template = template(&host, &core).await;
        let template = template.with_context(|| format!("the server's log:\n{}", host.child.tail()))?;
        host.child.stop().await?;
        eprintln!("{executions} executions on {} …", engine.name());
        let stock = Stock::like(&place, template, executions).await?;
        filling::run(&place, stock.statements(engine)).await?;
        // Each execution has left an entry in a variable, and each that is measured adds one.
        let most = vec![("SCAIGRID_MEMORY_ENTRIES", MEMORY_ENTRIES.to_string())];
        let host = Host::start_with(&bench.server, &place, most).await?;
        let probe = host.probe(&place).await?;
        Ok(Self { host, probe, core, executions, _place: place })
    }

    /// Runs flows, after some that only warm up.
    async fn run(&self, bench: &Bench<'_>, engine: Engine, count: usize) -> anyhow::Result<Load> {
        let operations = bench.options.stored_flows();
        self.flows(bench, engine, count, ("warm_up", operations / 4)).await?;
        let name = format!("{NAME}{}", self.executions);
        self.flows(bench, engine, count, (&name, operations)).await
    }

    async fn flows(
        &self,
        bench: &Bench<'_>,
        engine: Engine,
        count: usize,
        (name, operations): (&str, u64),
    ) -> anyhow::Result<Load> {
        let clients = flows::flows(&self.host, Program::Approval, &self.core, count).await?;
        let extent = Extent::Count { operations, limit: LIMIT };
        let load = bench.load(name, Some(engine), clients, extent, &self.probe).await?;
        ensure!(load.operations == operations, "{name}: {}", load.first_error.unwrap_or_default());
        Ok(load)
    }
}

/// Runs one flow to its end; its execution's id.
async fn template(host: &Host, core: &str) -> anyhow::Result<String> {
    let (execution, checkpoint) = suspend(host, core).await?;
    complete(host, &checkpoint).await?;
    Ok(execution)
}

/// Runs one flow, the only one, to its checkpoint; the ids of the execution and the checkpoint.
pub(super) async fn suspend(host: &Host, core: &str) -> anyhow::Result<(String, String)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let path = format!("/v1/modules/scaicore/cores/{core}/invoke");
    let invocation =
        json!({"flow": "submit", "input": {"requester": "erin", "total": 2_001}, "wait_ms": 30_000});
    let execution = host.post(&path, &invocation).await?;
    let execution =
        text(&execution["id"]).with_context(|| format!("an execution without an id: {execution}"))?;
    let waiting = host.get("/v1/modules/scaicore/checkpoints/all?status=pending").await?;
    let checkpoint = text(&waiting["items"][0]["id"]).context("the flow has opened no checkpoint")?;
    Ok((execution, checkpoint))
}

/// Resolves a flow's checkpoint, with which the flow ends.
pub(super) async fn complete(host: &Host, checkpoint: &str) -> anyhow::Result<()> {
    let path = format!("/v1/modules/scaicore/checkpoints/{checkpoint}/resolve");
    let resolved = host.post(&path, &json!({"decision": "approve", "wait_ms": 30_000})).await?;
    ensure!(resolved["execution"]["status"] == "completed", "the flow has not ended: {resolved}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_run_tells_how_many_were_stored() {
        assert_eq!(count(&format!("{NAME}{FEW}")), Some(FEW));
        assert_eq!(count("approval_flow/traced"), None);
    }
}
