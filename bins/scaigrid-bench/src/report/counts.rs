//! Instructions of operations, as they are written down with a release.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::table::{Table, short};

/// By how much an operation may have more instructions than were written down, in hundredths.
const MORE: f64 = 5.0;

/// How many instructions each operation takes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// What counted them.
    valgrind: String,
    /// The compiler of the program; another one compiles otherwise.
    rustc: String,
    /// The operations.
    instructions: BTreeMap<String, u64>,
}

impl Counts {
    const COLUMNS: [&str; 5] = ["database", "operation", "instructions", "written down", "more, %"];

    /// None yet.
    pub(crate) fn new(valgrind: String) -> Self {
        Self { valgrind, rustc: crate::machine::rustc(), instructions: BTreeMap::new() }
    }

    /// Keeps those of an operation.
    pub(crate) fn keep(&mut self, operation: &str, instructions: u64) {
        self.instructions.insert(operation.to_owned(), instructions);
    }

    /// What was written down.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read(file).with_context(|| format!("{}: nothing is written down", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", file.display()))
    }

    /// Writes them down.
    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        super::keep(file, &(serde_json::to_string_pretty(self)? + "\n"))
    }

    /// The operations that take more than they may, or of which nothing was written down.
    pub(crate) fn more_than(&self, before: &Self) -> Vec<String> {
        let more = self.instructions.keys().filter_map(|operation| match self.growth(before, operation) {
            Some(growth) if growth <= MORE => None,
            Some(growth) => Some(format!("{operation} (+{growth:.1} %)")),
            None => Some(format!("{operation} (new)")),
        });
        more.collect()
    }

    /// A table for a terminal, with those that were written down where there are any.
    pub(crate) fn table(&self, before: Option<&Self>) -> String {
        let rows = self.instructions.iter().map(|(operation, count)| {
            let written = before.and_then(|before| before.instructions.get(operation));
            let growth = before.and_then(|before| self.growth(before, operation));
            vec![
                "sqlite".to_owned(),
                operation.clone(),
                count.to_string(),
                written.map(u64::to_string).unwrap_or_default(),
                growth.map(signed).unwrap_or_default(),
            ]
        });
        let mut text = Table::new("Instructions", &Self::COLUMNS, rows).aligned();
        if let Some(before) =
            before.filter(|before| (&before.valgrind, &before.rustc) != (&self.valgrind, &self.rustc))
        {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "what is written down is of {} and {}, this of {} and {}",
                before.valgrind, before.rustc, self.valgrind, self.rustc
            );
        }
        text
    }

    /// By how much an operation takes more than it did, in hundredths.
    #[expect(clippy::cast_precision_loss, reason = "no operation has 2^53 instructions")]
    fn growth(&self, before: &Self, operation: &str) -> Option<f64> {
        let (own, before) = (self.instructions.get(operation)?, before.instructions.get(operation)?);
        Some((*own as f64 / (*before).max(1) as f64 - 1.0) * 100.0)
    }
}

fn signed(growth: f64) -> String {
    if growth < 0.0 { format!("-{}", short(-growth)) } else { format!("+{}", short(growth)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, u64)]) -> Counts {
        let instructions = of.iter().map(|(operation, count)| ((*operation).to_owned(), *count)).collect();
        Counts { valgrind: "v".to_owned(), rustc: "r".to_owned(), instructions }
    }

    #[test]
    fn five_hundredths_more_are_let_pass_and_no_more() {
        let before = counts(&[("flow", 1_000_000), ("list", 100_000), ("read", 10_000)]);
        let after = counts(&[("flow", 1_049_999), ("list", 105_100), ("new", 1), ("read", 2)]);
        assert_eq!(after.more_than(&before), ["list (+5.1 %)", "new (new)"]);
        assert!(before.more_than(&before).is_empty());
        let table = after.table(Some(&before));
        assert!(table.lines().any(|line| line.ends_with("105100        100000    +5.10")), "{table}");
        assert!(table.lines().any(|line| line.ends_with("10000   -100.0")), "{table}");
    }

    #[test]
    fn what_is_written_down_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("instructions.json");
        assert!(Counts::read(&file).unwrap_err().to_string().contains("nothing is written down"));
        counts(&[("flow", 7)]).write(&file).unwrap();
        assert!(counts(&[("flow", 7)]).more_than(&Counts::read(&file).unwrap()).is_empty());
    }
}
