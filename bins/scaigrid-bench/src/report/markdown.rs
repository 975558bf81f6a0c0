//! The report as a document: on what was measured, by which command, what was to be reached, and all figures.

use std::fmt::Write as _;

use super::{Report, targets};
use crate::machine::Machine;

/// The whole document.
pub(super) fn document(report: &Report) -> String {
    let mut text = format!("# Figures of {}\n\n", report.started_at);
    let mut put = |line: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = text.write_fmt(line);
    };
    for (name, value) in facts(&report.machine) {
        put(format_args!("- {name}: {value}\n"));
    }
    put(format_args!("- in use by others just before: {:.0} %\n", report.busy_before * 100.0));
    for reason in &report.skipped {
        put(format_args!("- left out: {reason}\n"));
    }
    put(format_args!("\n    {}\n", report.command.join(" ")));
    if report.quick {
        put(format_args!(
            "\nShort measurements, which show whether everything works; the figures mean little.\n"
        ));
    }
    if let Some(failure) = &report.failure {
        put(format_args!("\nThe run ended early:\n\n"));
        for line in failure.lines() {
            put(format_args!("    {line}\n"));
        }
    }
    put(format_args!(
        "\nMegabytes of memory are of 2^20 bytes. `of floor` is the share of the operations per second of the bare program \
         named `floor_…` below it, and in the rows of parts a multiple of its median time.\n\n## Targets\n\n{}\n## Tables\n",
        targets::table(report.targets.iter()).markdown()
    ));
    for table in report.tables() {
        put(format_args!("\n### {}\n\n{}", table.title, table.markdown()));
    }
    text
}

/// What is known of the machine and the versions.
fn facts(machine: &Machine) -> impl Iterator<Item = (&'static str, String)> {
    let Machine { processors, processor, memory_bytes, kernel, file_system, .. } = machine;
    let (gigabytes, durability) = (memory_bytes >> 30, machine.postgres_settings.join(", "));
    let postgres = machine.postgres.as_ref().map(|version| format!("{version} ({durability})"));
    [
        ("machine", format!("{processors} processors ({processor}), {gigabytes} GB")),
        ("kernel and file system", format!("Linux {kernel}, {file_system}")),
        ("server", machine.server.clone()),
        ("commit", machine.commit.clone()),
        ("compiler", machine.rustc.clone()),
        ("SQLite", machine.sqlite.clone()),
        ("PostgreSQL", postgres.unwrap_or_default()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::load::sample;

    #[test]
    fn the_document_tells_what_was_measured_and_what_was_not() {
        let machine = Machine { processors: 2, commit: "0123456789ab".to_owned(), ..Machine::default() };
        let mut report = Report { machine, loads: vec![sample(70, 1.0)], ..Report::default() };
        report.judge();
        let text = document(&report);
        assert!(text.contains("- commit: 0123456789ab\n") && !text.contains("- PostgreSQL:"), "{text}");
        assert!(
            text.contains("\n### Loads\n\n| database | scenario |") && !text.contains("### Starts"),
            "{text}"
        );
        assert_eq!(text.matches("| not measured |").count(), report.targets.len());
    }
}
