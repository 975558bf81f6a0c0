//! Audit records as a file: one JSON array, JSON lines, or CSV.
//!
//! A file is written piece by piece, so that it may be longer than memory: [`Writer::begin`], then records in any number of
//! pieces, then [`Writer::end`].

use std::io::Write as _;

use scaigrid_app as app;
use scaigrid_scope::text_enum;

use crate::routes::AuditRecord;

text_enum! {
    /// How a file is written.
    pub enum Format {
        /// One array (RFC 8259).
        Json => "json",
        /// An object per line.
        Ndjson => "ndjson",
        /// RFC 4180, with a line of names. Cells that a spreadsheet would take for a formula begin with `'`.
        Csv => "csv",
    }
}

impl Format {
    /// The media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }
}

/// The columns of a CSV file.
const COLUMNS: [&str; 16] = [
    "id",
    "timestamp",
    "action",
    "actor_id",
    "actor_email",
    "actor_type",
    "tenant_id",
    "partner_id",
    "resource_type",
    "resource_id",
    "status",
    "changes",
    "request_id",
    "ip_address",
    "user_agent",
    "module",
];

/// Writes a file.
#[derive(Debug, Clone, Copy)]
pub struct Writer {
    format: Format,
    written: bool,
}

impl Writer {
    /// A file that nothing was written to.
    pub const fn new(format: Format) -> Self {
        Self { format, written: false }
    }

    /// What comes before the first record.
    pub fn begin(&self, out: &mut Vec<u8>) {
        match self.format {
            Format::Json => out.push(b'['),
            Format::Ndjson => {}
            Format::Csv => line(out, COLUMNS.into_iter()),
        }
    }

    /// Writes a record.
    ///
    /// # Errors
    /// [`app::Error::Internal`] when it cannot be written as JSON, which cannot be.
    pub fn write(&mut self, out: &mut Vec<u8>, record: app::audit::AuditRecord) -> Result<(), app::Error> {
        let record = AuditRecord::from(record);
        match self.format {
            Format::Json => {
                out.extend_from_slice(if self.written { b",\n" } else { b"\n" });
                serde_json::to_writer(out, &record).map_err(app::Error::internal)?;
            }
            Format::Ndjson => {
                serde_json::to_writer(&mut *out, &record).map_err(app::Error::internal)?;
                out.push(b'\n');
            }
            Format::Csv => {
                let serde_json::Value::Object(fields) =
                    serde_json::to_value(&record).map_err(app::Error::internal)?
                else {
                    return Err(app::Error::internal("a record is no object"));
                };
                let cells = COLUMNS.map(|column| match fields.get(column) {
                    None | Some(serde_json::Value::Null) => String::new(),
                    Some(serde_json::Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                });
                line(out, cells.iter().map(String::as_str));
            }
        }
        self.written = true;
        Ok(())
    }

    /// What comes after the last record.
    pub fn end(&self, out: &mut Vec<u8>) {
        if self.format == Format::Json {
            out.extend_from_slice(b"\n]\n");
        }
    }
}

fn line<'a>(out: &mut Vec<u8>, cells: impl Iterator<Item = &'a str>) {
    for (index, text) in cells.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        cell(out, text);
    }
    out.extend_from_slice(b"\r\n");
}

/// A cell. What quotes from outside, as a user agent does, may begin like a formula, which a spreadsheet would carry out.
fn cell(out: &mut Vec<u8>, text: &str) {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { "'" } else { "" };
    if text.contains(['"', ',', '\r', '\n']) {
        // Writing to memory cannot fail.
        let _ = write!(out, "\"{guard}{}\"", text.replace('"', "\"\""));
    } else {
        let _ = write!(out, "{guard}{text}");
    }
}

#[cfg(test)]
mod tests {
    use scaigrid_app::RequestContext;
    use scaigrid_app::audit::{Actor, ActorKind, AuditAction, Changes};
    use scaigrid_scope::{AuditId, Instant, TenantId};
    use serde_json::{Value, json};
    use ulid::Ulid;

    use super::*;

    fn record(number: u128, agent: &str) -> app::audit::AuditRecord {
        let changes = Changes::from_json(&json!({"name": {"before": "a,\"b\"", "after": null}})).unwrap();
        let record = app::audit::AuditRecord::by_the_system(
            (AuditId::from_ulid(Ulid(number)), Instant::from_micros(1_776_868_201_000_000)),
            (TenantId::from_ulid(Ulid(1)), None),
            AuditAction::CoreUpdate,
            "=1+1",
            changes,
        );
        let actor = Actor { kind: ActorKind::User, id: Some("@x".to_owned()), email: None };
        app::audit::AuditRecord { actor, request: RequestContext::new(None, None, Some(agent)), ..record }
    }

    fn file(format: Format, records: Vec<app::audit::AuditRecord>) -> String {
        let (mut writer, mut out) = (Writer::new(format), Vec::new());
        writer.begin(&mut out);
        for record in records {
            writer.write(&mut out, record).unwrap();
        }
        writer.end(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_json_file_is_one_array_however_long() {
        for count in 0..4 {
            let records: Vec<_> = (0..count).map(|number| record(number, "x")).collect();
            let whole: Value = serde_json::from_str(&file(Format::Json, records.clone())).unwrap();
            assert_eq!(whole.as_array().unwrap().len(), records.len());
            let lines = file(Format::Ndjson, records);
            let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(Value::from(lines), whole);
        }
    }

    #[test]
    fn cells_are_quoted_and_no_formula_is_left() {
        let text = file(Format::Csv, vec![record(1, "a\r\n\"b\""), record(2, "-1"), record(3, "curl")]);
        let (names, rest) = text.split_once("\r\n").unwrap();
        assert_eq!(names, COLUMNS.join(","));
        assert_eq!(
            rest.split_once("\r\naudit_").unwrap().0,
            "audit_00000000000000000000000001,2026-04-22T14:30:01Z,core.update,'@x,,user,\
             ten_00000000000000000000000001,,core,'=1+1,SUCCESS,\
             \"{\"\"name\"\":{\"\"after\"\":null,\"\"before\"\":\"\"a,\\\"\"b\\\"\"\"\"}}\",,,\"a\r\n\"\"b\"\"\","
        );
        assert!(text.contains(",,,'-1,\r\n") && text.ends_with(",,,curl,\r\n"), "{text}");
    }
}
