//! The figures: what is kept of a measurement, as JSON for programs, and as tables and Markdown for people.

mod computed;
mod counts;
mod lists;
mod load;
mod markdown;
mod nodes;
mod pairs;
mod readers;
mod soak;
mod starts;
mod table;
mod targets;
mod walks;

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use crate::machine::Machine;
use table::Table;
use targets::Target;

pub(crate) use computed::Computed;
pub(crate) use counts::Counts;
pub(crate) use lists::LongList;
pub(crate) use load::Load;
pub(crate) use nodes::{Sleeping, Takeover};
pub(crate) use pairs::Paired;
pub(crate) use readers::Readers;
pub(crate) use soak::{Kept, Look, Soak, Stretch};
pub(crate) use starts::{Start, Suspended};
pub(crate) use walks::Walk;

/// Everything of one run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// When it began (RFC 3339, UTC).
    pub(crate) started_at: String,
    /// How it was called.
    pub(crate) command: Vec<String>,
    /// On what.
    pub(crate) machine: Machine,
    /// The share of the processors that others used just before, 0 to 1; much above 0, the figures mean little.
    pub(crate) busy_before: f64,
    /// Whether the measurements were so short that they only show whether everything works.
    pub(crate) quick: bool,
    /// What could not be measured, and why.
    pub(crate) skipped: Vec<String>,
    /// Why the run ended early, if it did.
    pub(crate) failure: Option<String>,
    /// What was computed in the generator's own process.
    pub(crate) computed: Vec<Computed>,
    /// The loads.
    pub(crate) loads: Vec<Load>,
    /// The loads that were measured in turns.
    pub(crate) paired: Vec<Paired>,
    /// The starts.
    pub(crate) starts: Vec<Start>,
    /// The memory of suspended executions.
    pub(crate) suspended: Vec<Suspended>,
    /// How late sleeping executions woke.
    pub(crate) sleeping: Vec<Sleeping>,
    /// How soon others went on with what a killed node had.
    pub(crate) takeovers: Vec<Takeover>,
    /// How late readers of a log heard of its entries.
    pub(crate) readers: Vec<Readers>,
    /// Lists of many against lists of few.
    pub(crate) lists: Vec<LongList>,
    /// Pages of a very long log.
    pub(crate) walks: Vec<Walk>,
    /// A mixed load that went on for long.
    pub(crate) soaks: Vec<Soak>,
    /// What was to be reached, and what was.
    pub(crate) targets: Vec<Target>,
}

impl Report {
    /// Operations that failed, in all loads.
    pub(crate) fn errors(&self) -> u64 {
        let paired: u64 = self.paired.iter().map(Paired::errors).sum();
        self.loads.iter().map(|load| load.errors).sum::<u64>() + paired
    }

    /// Writes the JSON.
    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        keep(file, &(serde_json::to_string_pretty(self)? + "\n"))
    }

    /// Writes the same for people, as Markdown.
    pub(crate) fn write_markdown(&self, file: &Path) -> anyhow::Result<()> {
        keep(file, &markdown::document(self))
    }

    /// Says which targets are met.
    pub(crate) fn judge(&mut self) {
        self.targets = targets::of(self);
    }

    /// The tables, for a terminal.
    pub(crate) fn table(&self) -> String {
        let judged = targets::table(self.targets.iter().filter(|target| target.is_measured()));
        let tables = self.tables().chain(std::iter::once(judged).filter(|table| !table.is_empty()));
        tables.map(|table| table.aligned()).collect::<Vec<_>>().join("\n")
    }

    /// The tables that have figures.
    fn tables(&self) -> impl Iterator<Item = Table> {
        let all = [
            Table::new("Computed", &Computed::COLUMNS, self.computed.iter().map(Computed::row)),
            Table::new("Loads", &Load::COLUMNS, self.loads.iter().flat_map(Load::rows)),
            Table::new("In turns", &Paired::COLUMNS, self.paired.iter().map(Paired::row)),
            Table::new("Starts", &Start::COLUMNS, self.starts.iter().map(Start::row)),
            Table::new(
                "Suspended executions",
                &Suspended::COLUMNS,
                self.suspended.iter().map(Suspended::row),
            ),
            Table::new("Sleeping executions", &Sleeping::COLUMNS, self.sleeping.iter().map(Sleeping::row)),
            Table::new("Kills of a node", &Takeover::COLUMNS, self.takeovers.iter().map(Takeover::row)),
            Table::new("Readers of a log", &Readers::COLUMNS, self.readers.iter().map(Readers::row)),
            Table::new("Long lists", &LongList::COLUMNS, self.lists.iter().map(LongList::row)),
            Table::new("Administration", &Walk::COLUMNS, self.walks.iter().map(Walk::row)),
            Table::new("Soak", &Soak::COLUMNS, self.soaks.iter().flat_map(Soak::rows)),
        ];
        all.into_iter().filter(|table| !table.is_empty())
    }
}

fn keep(file: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
