//! What a debugger costs that has nothing to do: the flow with a checkpoint of a Core with a breakpoint that never holds, against
//! the same flow of one without, on one server, in turns.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::Bench;
use super::flows::Program;
use super::host::Host;
use super::pairs::{self, Side};
use crate::options::{Engine, Scenario};

/// The block that every flow comes to, and what is never true there.
const BREAKPOINT: (&str, &str, &str) = ("submit", "note", "total < 0");
/// Longer than a breakpoint takes to count everywhere.
const SETTLE: Duration = Duration::from_secs(2);

/// Measures, on a server and a database of its own.
pub(crate) async fn measure(bench: &Bench<'_>, engine: Engine) -> anyhow::Result<()> {
    if !bench.options.wants(Scenario::Debugged) {
        return Ok(());
    }
    let place = bench.databases.fresh(engine).await?;
    let host = Host::start(&bench.server, &place).await?;
    let measured = async {
        let document = Program::Approval.document();
        let plain = host.host("approval_flow", document).await?;
        let watched = host.host("approval_flow watched", document).await?;
        let (flow, block, condition) = BREAKPOINT;
        let path = format!("/v1/modules/scaicore/cores/{watched}/debug/breakpoint");
        let breakpoint = json!({"flow": flow, "block": block, "condition": condition, "enabled": true});
        let made = host.post(&path, &breakpoint).await?;
        ensure!(made["enabled"] == true, "the breakpoint is not on: {made}");
        tokio::time::sleep(SETTLE).await;
        let probe = host.probe(&place).await?;
        let without = Side { name: "approval_flow/undebugged", host: &host, core: &plain, probe: &probe };
        let with = Side { name: "approval_flow/debugged", host: &host, core: &watched, probe: &probe };
        pairs::measure(bench, engine, &with, &without).await
    };
    measured.await.with_context(|| format!("the server's log:\n{}", host.child.tail()))?;
    host.child.stop().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flow_comes_to_the_breakpoint() {
        let document: serde_json::Value = serde_json::from_str(Program::Approval.document()).unwrap();
        let flow = &document["flows"][0];
        let (name, block, _) = BREAKPOINT;
        assert_eq!((&flow["name"], &flow["body"][0]["id"]), (&json!(name), &json!(block)));
    }
}
