//! Tables: aligned for a terminal, or as Markdown, and the figures in their cells.

use std::fmt::Write as _;

/// Some figures of one kind.
#[derive(Debug)]
pub(crate) struct Table {
    /// What they are, as a heading.
    pub(super) title: &'static str,
    columns: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Rows may have fewer cells than there are columns.
    pub(super) fn new(
        title: &'static str,
        columns: &'static [&'static str],
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> Self {
        Self { title, columns, rows: rows.into_iter().collect() }
    }

    /// Whether it has no figures.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// For a terminal: the first two columns to the left, figures to the right. A cell that is longer than all that a row has
    /// (an error) does not widen its column.
    pub(super) fn aligned(&self) -> String {
        let header: Vec<String> = self.columns.iter().map(|&name| name.to_owned()).collect();
        let all = || std::iter::once(&header).chain(&self.rows);
        let mut widths = vec![0; self.columns.len()];
        for row in all().filter(|row| row.len() > 2) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for row in all() {
            let mut line = String::new();
            for (number, (cell, width)) in row.iter().zip(&widths).enumerate() {
                // Writing to a string cannot fail.
                let _ = match number {
                    0 => write!(line, "{cell:<width$}"),
                    1 => write!(line, "  {cell:<width$}"),
                    _ => write!(line, "  {cell:>width$}"),
                };
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }

    /// As Markdown, without its heading.
    pub(super) fn markdown(&self) -> String {
        let mut text = String::new();
        let mut line = |cells: &mut dyn Iterator<Item = String>| {
            for cell in cells {
                text.push_str("| ");
                text.push_str(&cell);
                text.push(' ');
            }
            text.push_str("|\n");
        };
        line(&mut self.columns.iter().map(|&name| escaped(name)));
        let rule = |number| String::from(if number < 2 { "---" } else { "--:" });
        line(&mut (0..self.columns.len()).map(rule));
        for row in &self.rows {
            let empty = self.columns.len().saturating_sub(row.len());
            line(&mut row.iter().map(|cell| escaped(cell)).chain(std::iter::repeat_n(String::new(), empty)));
        }
        text
    }
}

/// What a cell holds, as Markdown: parts of a whole begin with a dash, as what is indented would not be.
fn escaped(cell: &str) -> String {
    let text = cell.replace('\\', "\\\\").replace('|', "\\|").replace(['\r', '\n'], " ");
    match text.strip_prefix("  ") {
        Some(part) => format!("– {part}"),
        None => text,
    }
}

/// Three digits that matter, or all that stand before the point.
pub(super) fn short(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.2}")
    } else if value < 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// A time in milliseconds, to the microsecond below one.
pub(super) fn millis(value: f64) -> String {
    if value < 1.0 { format!("{value:.3}") } else { format!("{value:.2}") }
}

/// Bytes in megabytes of 2^20.
#[expect(clippy::cast_precision_loss, reason = "memory is less than 2^53 bytes")]
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_has_as_many_cells_in_every_row() {
        let rows = [
            vec!["sqlite".to_owned(), "a|b".to_owned(), "1".to_owned()],
            vec![String::new(), "  part".to_owned()],
        ];
        let table = Table::new("Loads", &["database", "scenario", "ops/s"], rows);
        assert_eq!(
            table.markdown(),
            "| database | scenario | ops/s |\n| --- | --- | --: |\n| sqlite | a\\|b | 1 |\n|  | – part |  |\n"
        );
    }
}
