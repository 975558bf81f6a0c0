//! What a run has come to, for people and for programs.

use std::any::Any;
use std::collections::BTreeMap;
use std::io::Write as _;

use scaigrid_tests::Db;
use serde_json::json;

use super::fault::Kind;

/// Names a file that reports are appended to, a line of JSON each.
const VARIABLE: &str = "SCAIGRID_CHAOS_REPORT";

/// The account of a run.
pub(super) struct Report {
    database: &'static str,
    nodes: usize,
    seed: u64,
    faults: BTreeMap<&'static str, usize>,
    /// How many executions were accepted.
    pub(super) executions: usize,
}

impl Report {
    /// That of a run that begins.
    pub(super) fn new(db: Db, nodes: usize, seed: u64) -> Self {
        let database = match db {
            Db::Sqlite => "sqlite",
            Db::Postgres => "postgresql",
        };
        Self { database, nodes, seed, faults: BTreeMap::new(), executions: 0 }
    }

    /// A fault has been, and all has recovered from it.
    pub(super) fn count(&mut self, kind: Kind) {
        *self.faults.entry(kind.name()).or_default() += 1;
    }

    /// The run has ended: well, or with what should never be.
    pub(super) fn end(&self, violation: Option<&Box<dyn Any + Send>>) {
        let violations: Vec<String> = violation.map(|panic| said(panic.as_ref())).into_iter().collect();
        let report = json!({
            "database": self.database, "nodes": self.nodes, "seed": self.seed, "faults": self.faults,
            "executions": self.executions, "violations": violations,
        });
        println!("{report}");
        if let Some(path) = std::env::var_os(VARIABLE) {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
            writeln!(file, "{report}").unwrap();
        }
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}
