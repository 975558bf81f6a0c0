//! Several nodes on one PostgreSQL: what a second one brings, and what happens when one is killed.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Bench;
use super::effects::start_stub;
use super::flows::{self, Program};
use super::host::Host;
use crate::child::Child;
use crate::options::{Engine, Scenario};
use crate::report::Takeover;
use crate::stub;

const HELD: &str = include_str!("../../programs/held.json");
/// Within this time everything must go on elsewhere.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs flows on one node, then on two, with as many clients in all.
pub(crate) async fn two(bench: &Bench<'_>, engine: Engine) -> anyhow::Result<()> {
    if !bench.options.wants(Scenario::TwoNodes) || engine != Engine::Postgres {
        return Ok(());
    }
    let place = bench.databases.fresh(engine).await?;
    let first = Host::start(&bench.server, &place).await?;
    let second = first.join(&bench.server, &place, "second").await?;
    let core = first.host("approval", Program::Approval.document()).await?;
    // Whoever does it, the cost is of both: the one that is not asked has its own to do, too.
    let probe = first.probe(&place).await?.and(second.child.pid);
    for &count in &bench.options.clients {
        let count = usize::from(count);
        let clients = flows::flows(&first, Program::Approval, &core, count).await?;
        let one = bench.measure("two_nodes/one", Some(engine), clients, &probe).await?;
        let mut clients = flows::flows(&first, Program::Approval, &core, count.div_ceil(2)).await?;
        clients.extend(flows::flows(&second, Program::Approval, &core, count / 2).await?);
        let mut two = bench.measure("two_nodes/both", Some(engine), clients, &probe).await?;
        // Not a floor, but what it is compared with.
        two.compare(&one);
        bench.report.borrow_mut().loads.extend([one, two]);
    }
    second.child.stop().await?;
    first.child.stop().await
}

/// Kills a node that has executions under way, and looks when the other has brought them to their end.
pub(crate) async fn takeover(bench: &Bench<'_>, engine: Engine) -> anyhow::Result<()> {
    if !bench.options.wants(Scenario::Takeover) || engine != Engine::Postgres {
        return Ok(());
    }
    let place = bench.databases.fresh(engine).await?;
    let staying = Host::start(&bench.server, &place).await?;
    let stub = start_stub(place.folder()).await?;
    staying
        .post("/v1/modules/scaicore/plugins/registry", &registration(&stub))
        .await
        .context("the plugin")?;
    let core = staying.host("held", HELD).await?;
    let executions = bench.options.taken();
    let (mut first_ms, mut last_ms) = (Vec::new(), Vec::new());
    for kill in 0..bench.options.kills() {
        eprintln!("kill {} of a node with {executions} executions …", kill + 1);
        let going = staying.join(&bench.server, &place, &format!("going-{kill}")).await?;
        let mut begun = Vec::new();
        for number in 0..executions {
            let body = json!({"flow": "call", "input": {"number": number}});
            let path = format!("/v1/modules/scaicore/cores/{core}/invoke");
            let execution = going.post(&path, &body).await?;
            begun.push(execution["id"].as_str().context("an execution without an id")?.to_owned());
        }
        // Longer than it takes to have all of them under way.
        tokio::time::sleep(bench.options.rest()).await;
        let killed = OffsetDateTime::now_utc();
        going.child.kill().await?;
        let mut ended = Vec::new();
        for id in begun {
            ended.push((end(&staying, &id).await? - killed).as_seconds_f64() * 1e3);
        }
        ended.sort_by(f64::total_cmp);
        first_ms.extend(ended.first());
        last_ms.extend(ended.last());
    }
    first_ms.sort_by(f64::total_cmp);
    last_ms.sort_by(f64::total_cmp);
    bench.report.borrow_mut().takeovers.push(Takeover { database: engine, executions, first_ms, last_ms });
    stub.stop().await?;
    staying.child.stop().await
}

/// When an execution has ended.
async fn end(host: &Host, id: &str) -> anyhow::Result<OffsetDateTime> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let execution = host.get(&format!("/v1/modules/scaicore/executions/{id}")).await?;
        if let Some(finished) = execution["finished_at"].as_str() {
            ensure!(execution["status"] == "completed", "{execution}");
            return Ok(OffsetDateTime::parse(finished, &Rfc3339)?);
        }
        ensure!(tokio::time::Instant::now() < deadline, "nobody went on: {execution}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The stub, as a plugin whose calls are held.
fn registration(stub: &Child) -> serde_json::Value {
    let number = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    json!({
        "plugin": "holding",
        "kind": "http",
        "endpoint": format!("http://{}", stub.address),
        "manifest": {"version": "1.0.0", "methods": [{
            "name": stub::HOLD,
            "description": "Answers the second call of each key.",
            "effect": "keyed",
            "input_schema": number,
            "output_schema": number
        }]}
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_calls_what_is_held() {
        let document: serde_json::Value = serde_json::from_str(HELD).unwrap();
        let statement = &document["flows"][0]["body"][0]["statements"][0];
        assert_eq!(statement["method"], stub::HOLD);
    }
}
