//! Bare commits, which flows and changes are held against: this program as `floor-commit`, on a database of its own.

use super::Bench;
use crate::child::Child;
use crate::client::Target;
use crate::options::Engine;
use crate::probe::Probe;
use crate::scratch::Place;

/// Each request's commit is its own, over as many connections as the server has.
///
/// `PostgreSQL` writes its log once for all that commit at the time, so this is what a program comes to that leaves that to the database.
/// `SQLite` has one writer, and would wait for the disk once for each.
pub(super) const APART: [&str; 3] = ["--apart", "--committers", "16"];

/// Such a program while it runs.
pub(super) struct Commits {
    child: Child,
    /// Where it listens, with a key that it does not look at.
    pub(super) target: Target,
    /// What it costs.
    pub(super) probe: Probe,
    _place: Place,
}

impl Commits {
    /// Starts one. Whoever asks it sends the key, so that it reads as many bytes as the server.
    pub(super) async fn start(
        bench: &Bench<'_>,
        engine: Engine,
        key: &str,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let place = bench.databases.fresh(engine).await?;
        let variables = vec![("SCAIGRID_BENCH_FLOOR_DATABASE", place.url.clone())];
        let child = super::floor(place.folder(), &[&["floor-commit"], arguments].concat(), variables).await?;
        let target = Target { address: child.address, key: key.to_owned() };
        let probe = Probe::new(child.pid, place.counters().await?);
        Ok(Self { child, target, probe, _place: place })
    }

    /// Ends it.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.child.stop().await
    }
}
