//! What a task answers: a table for people, or one JSON document for programs.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde_json::Value;

use super::Listed;

/// The most characters of a cell of a table.
const CELL: usize = 60;

/// The fields of an item that a table shows, in order.
pub(super) type Columns = &'static [&'static str];

/// What a task answers.
#[derive(Debug)]
pub(super) struct Answer {
    /// An item, or a list of items. Nothing where the task has written its own output.
    document: Option<Value>,
    columns: Columns,
    /// What people read instead of a table.
    told: Option<String>,
    /// Said to people after the table.
    remarks: Vec<String>,
    /// Said on standard error, to people and programs alike.
    warning: Option<String>,
    /// Why the task has failed although it has an answer.
    failure: Option<String>,
}

impl Answer {
    /// One item.
    pub(super) const fn one(item: Value, columns: Columns) -> Self {
        Self { document: Some(item), columns, told: None, remarks: Vec::new(), warning: None, failure: None }
    }

    /// A document that is JSON for people too.
    pub(super) const fn document(item: Value) -> Self {
        Self::one(item, &[])
    }

    /// A list.
    pub(super) fn list<T>(listed: Listed<T>, columns: Columns, view: impl Fn(T) -> Value) -> Self {
        let shown = listed.items.len();
        let warning = listed.more.then(|| format!("only the first {shown} are shown; --limit shows more"));
        let items = listed.items.into_iter().map(view).collect();
        let document = Some(Value::Array(items));
        Self { document, columns, told: None, remarks: Vec::new(), warning, failure: None }
    }

    /// Nothing to print: the output is there already.
    pub(super) const fn written() -> Self {
        Self { document: None, columns: &[], told: None, remarks: Vec::new(), warning: None, failure: None }
    }

    /// The same, which people read as this text.
    pub(super) fn told_as(self, text: String) -> Self {
        Self { told: Some(text), ..self }
    }

    /// The same, with more to say to people.
    pub(super) fn with_remarks(self, remarks: impl IntoIterator<Item = String>) -> Self {
        Self { remarks: remarks.into_iter().collect(), ..self }
    }

    /// The same, as the answer of a task that has failed.
    pub(super) fn of_failure(self, reason: impl Into<String>) -> Self {
        Self { failure: Some(reason.into()), ..self }
    }

    /// Whether the task has done what it should.
    pub(super) fn outcome(&self) -> anyhow::Result<()> {
        self.failure.as_ref().map_or(Ok(()), |reason| Err(anyhow::anyhow!(reason.clone())))
    }

    /// Prints it.
    pub(super) fn print(&self, json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if let Some(document) = &self.document {
            let text = if json { format!("{document:#}\n") } else { self.text(document) };
            out.write_all(text.as_bytes())?;
            out.flush()?;
        }
        if let Some(warning) = &self.warning {
            eprintln!("{warning}");
        }
        Ok(())
    }

    fn text(&self, document: &Value) -> String {
        if let Some(told) = &self.told {
            return told.clone();
        }
        if self.columns.is_empty() {
            return format!("{document:#}\n");
        }
        let items = match document {
            Value::Array(items) => items.as_slice(),
            item => std::slice::from_ref(item),
        };
        let mut text = table(self.columns, items);
        for remark in &self.remarks {
            text.push_str(remark);
            text.push('\n');
        }
        text
    }
}

/// An aligned table with a line of headings.
fn table(columns: Columns, items: &[Value]) -> String {
    let headings = columns.iter().map(|column| column.replace('_', " ").to_uppercase()).collect();
    let rows = items.iter().map(|item| columns.iter().map(|column| cell(&item[*column])).collect());
    let lines: Vec<Vec<String>> = std::iter::once(headings).chain(rows).collect();
    let mut widths = vec![0; columns.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for line in &lines {
        let mut row = String::new();
        for (width, cell) in widths.iter().zip(line) {
            // Writing to a text cannot fail.
            let _ = write!(row, "{cell:width$}  ");
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// A value in a table: on one line, and not too long for it.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => return "-".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    };
    let visible = |letter: char| if letter.is_control() { ' ' } else { letter };
    match text.char_indices().nth(CELL) {
        None => text.chars().map(visible).collect(),
        Some(_) => text.chars().take(CELL - 1).map(visible).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_is_aligned_and_each_item_has_one_line() {
        let items = [
            json!({"id": "a", "display_name": "Ärger", "roles": ["x", "y"], "more": 1}),
            json!({"id": "long-id", "display_name": null, "roles": []}),
            json!({"id": "b", "display_name": "two\nlines", "roles": null}),
        ];
        assert_eq!(
            table(&["id", "display_name", "roles"], &items),
            "ID       DISPLAY NAME  ROLES\n\
             a        Ärger         x,y\n\
             long-id  -             -\n\
             b        two lines     -\n"
        );
        assert_eq!(table(&["id"], &[]), "ID\n");
    }

    #[test]
    fn a_cell_is_cut_by_characters() {
        let just = "ä".repeat(CELL);
        assert_eq!(cell(&json!(just)), just);
        let cut = cell(&json!("ä".repeat(CELL + 1)));
        assert_eq!(cut.chars().count(), CELL);
        assert!(cut.ends_with("ä…"));
    }

    #[test]
    fn a_list_that_was_cut_says_so() {
        let answer = |more| Answer::list(Listed { items: vec![1, 2], more }, &["n"], |n| json!({"n": n}));
        assert_eq!(answer(false).warning, None);
        let cut = answer(true);
        assert_eq!(cut.warning.as_deref(), Some("only the first 2 are shown; --limit shows more"));
        assert_eq!(cut.document, Some(json!([{"n": 1}, {"n": 2}])));
    }

    #[test]
    fn remarks_follow_the_table() {
        let answer = Answer::one(json!({"key": "k"}), &["key"]).with_remarks(["Keep it.".to_owned()]);
        assert_eq!(answer.text(&json!({"key": "k"})), "KEY\nk\nKeep it.\n");
    }
}
