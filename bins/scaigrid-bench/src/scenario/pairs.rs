//! The same flow in two ways, in turns: one run of each after the other, and the first of a pair is each by turns. What the
//! machine does meanwhile, and what a database becomes by being used, meets both alike.

use super::Bench;
use super::flows::{self, Program};
use super::host::Host;
use crate::options::Engine;
use crate::probe::Probe;
use crate::report::{Load, Paired};

/// One of the two.
pub(super) struct Side<'a> {
    /// What it is called.
    pub(super) name: &'static str,
    /// Where it runs.
    pub(super) host: &'a Host,
    /// The Core with the flow.
    pub(super) core: &'a str,
    /// What it costs there.
    pub(super) probe: &'a Probe,
}

impl Side<'_> {
    async fn run(&self, bench: &Bench<'_>, engine: Engine, count: usize) -> anyhow::Result<Load> {
        let clients = flows::flows(self.host, Program::Approval, self.core, count).await?;
        bench.measure(self.name, Some(engine), clients, self.probe).await
    }
}

/// Measures them, with each number of clients.
pub(super) async fn measure(
    bench: &Bench<'_>,
    engine: Engine,
    own: &Side<'_>,
    other: &Side<'_>,
) -> anyhow::Result<()> {
    for &count in &bench.options.clients {
        let count = usize::from(count);
        let mut runs = Vec::new();
        for pair in 0..bench.options.pairs() {
            runs.push(if pair % 2 == 0 {
                let without = other.run(bench, engine, count).await?;
                [own.run(bench, engine, count).await?, without]
            } else {
                let with = own.run(bench, engine, count).await?;
                [with, other.run(bench, engine, count).await?]
            });
        }
        bench.report.borrow_mut().paired.extend(Paired::of(engine, runs));
    }
    Ok(())
}
