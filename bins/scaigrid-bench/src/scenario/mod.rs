//! What is measured: one file per kind of scenario, and what they share.

pub(crate) mod administration;
pub(crate) mod bundles;
mod callgrind;
mod commits;
pub(crate) mod crowd;
pub(crate) mod debugged;
pub(crate) mod effects;
pub(crate) mod events;
pub(crate) mod expressions;
mod filling;
pub(crate) mod flows;
pub(crate) mod functions;
pub(crate) mod host;
pub(crate) mod instructions;
mod listening;
pub(crate) mod lists;
pub(crate) mod nodes;
mod pairs;
pub(crate) mod readers;
pub(crate) mod reads;
pub(crate) mod sleepers;
pub(crate) mod soak;
pub(crate) mod startup;
pub(crate) mod stored;
pub(crate) mod suspended;
pub(crate) mod tenants;
pub(crate) mod traced;
pub(crate) mod writes;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::child::{Child, Plan};
use crate::load::{self, Extent, Work};
use crate::options::{Engine, Measure};
use crate::probe::Probe;
use crate::report::{Load, Report};
use crate::scratch::Databases;

/// What the server's answers are wrapped in.
#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

/// What every scenario works with.
pub(crate) struct Bench<'a> {
    /// What was asked for.
    pub(crate) options: &'a Measure,
    /// Where databases come from.
    pub(crate) databases: &'a Databases,
    /// Where the figures go.
    pub(crate) report: &'a RefCell<Report>,
    /// The server's program.
    pub(crate) server: PathBuf,
}

impl Bench<'_> {
    /// Loads a server for the usual time.
    async fn measure<W: Work>(
        &self,
        scenario: &str,
        database: Option<Engine>,
        clients: Vec<W>,
        probe: &Probe,
    ) -> anyhow::Result<Load> {
        let extent = Extent::Time { warm_up: self.options.warm_up(), window: self.options.window() };
        self.load(scenario, database, clients, extent, probe).await
    }

    async fn load<W: Work>(
        &self,
        scenario: &str,
        database: Option<Engine>,
        clients: Vec<W>,
        extent: Extent,
        probe: &Probe,
    ) -> anyhow::Result<Load> {
        let count = clients.len();
        let on = database.map(|engine| format!(" on {}", engine.name())).unwrap_or_default();
        let title = format!("{scenario}{on}, {count} {}", if count == 1 { "client" } else { "clients" });
        let outcome = load::run(&title, clients, extent, probe).await?;
        Ok(Load::of(scenario, database, count, outcome))
    }

    /// The same at a pace that is given beforehand.
    async fn measure_paced<W: Work>(
        &self,
        scenario: &str,
        engine: Engine,
        clients: Vec<W>,
        per_second: f64,
        probe: &Probe,
    ) -> anyhow::Result<Load> {
        let extent = Extent::Time { warm_up: self.options.warm_up(), window: self.options.window() };
        let count = clients.len();
        let title = format!("{scenario} on {}, {per_second:.0} due in a second", engine.name());
        let outcome = load::run_paced(&title, clients, per_second, extent, probe).await?;
        let mut load = Load::of(scenario, Some(engine), count, outcome);
        load.due_per_second = Some(per_second);
        Ok(load)
    }

    /// Keeps a load and its floor.
    fn keep(&self, load: Load, floor: Load) {
        self.keep_with(load, floor, Vec::new());
    }

    /// The same with further floors.
    fn keep_with(&self, mut load: Load, floor: Load, further: Vec<Load>) {
        load.compare(&floor);
        for other in &further {
            load.compare_further(other);
        }
        let mut report = self.report.borrow_mut();
        report.loads.extend([load, floor]);
        report.loads.extend(further);
    }
}

/// Starts this program as a floor.
async fn floor(
    folder: &Path,
    arguments: &[&str],
    variables: Vec<(&'static str, String)>,
) -> anyhow::Result<Child> {
    bare(folder, arguments, variables, "floor.log").await
}

/// Starts this program as one of its bare programs.
async fn bare(
    folder: &Path,
    arguments: &[&str],
    variables: Vec<(&'static str, String)>,
    log: &str,
) -> anyhow::Result<Child> {
    Child::start(&Plan {
        program: std::env::current_exe()?,
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        variables,
        folder: folder.to_owned(),
        log: folder.join(log),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// A scenario whose program does not start is found out here, not after minutes of building.
    #[test]
    fn every_program_can_be_started() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let programs: Vec<_> =
            files.filter(|file| file.extension().is_some_and(|end| end == "json")).collect();
        assert!(programs.len() >= 4, "{programs:?}");
        for program in programs {
            let document = serde_json::from_slice(&std::fs::read(&program).unwrap()).unwrap();
            let (module, findings) = scaigrid_ir::check(&document);
            assert!(module.is_some(), "{}: {findings:?}", program.display());
            let wrong: Vec<_> = findings.iter().filter(|finding| finding.is_error()).collect();
            assert!(wrong.is_empty(), "{}: {wrong:?}", program.display());
        }
    }
}
