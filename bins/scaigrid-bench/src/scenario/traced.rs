//! What traces cost: the flow with a checkpoint on a server that tells a collector of every span, against the same flow on one
//! that records nothing, one right after the other. The collector is a stub on this machine that takes everything.

use anyhow::Context as _;

use super::flows::Program;
use super::host::Host;
use super::pairs::{self, Side};
use super::{Bench, bare};
use crate::options::{Engine, Scenario};

/// Measures, on two servers with a database each.
pub(crate) async fn measure(bench: &Bench<'_>, engine: Engine) -> anyhow::Result<()> {
    if !bench.options.wants(Scenario::Traced) {
        return Ok(());
    }
    let (off, on) = (bench.databases.fresh(engine).await?, bench.databases.fresh(engine).await?);
    let collector = bare(on.folder(), &["stub"], Vec::new(), "collector.log").await?;
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", collector.address));
    let silent = Host::start(&bench.server, &off).await?;
    let telling = Host::start_with(&bench.server, &on, vec![endpoint]).await?;
    let measured = async {
        let document = Program::Approval.document();
        let cores =
            (silent.host("approval_flow", document).await?, telling.host("approval_flow", document).await?);
        let probes = (silent.probe(&off).await?, telling.probe(&on).await?);
        let without =
            Side { name: "approval_flow/untraced", host: &silent, core: &cores.0, probe: &probes.0 };
        let with = Side { name: "approval_flow/traced", host: &telling, core: &cores.1, probe: &probes.1 };
        pairs::measure(bench, engine, &with, &without).await
    };
    measured.await.with_context(|| format!("the server's log:\n{}", telling.child.tail()))?;
    telling.child.stop().await?;
    silent.child.stop().await?;
    collector.stop().await
}
