//! The statements by which each database writes rows down and reads them back.

use super::Table;
use super::columns::{Column, Kind};
use crate::database::{Connection, Engine};
use crate::error::Result;
use crate::json::OF_BINARY;

/// What has SQLite's `json_valid` look for: text as RFC 8259 has it (1), or JSONB that is exactly as its format demands (8).
const SOUND: u8 = 1 | 8;

/// Whose SQL it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Postgres,
    Sqlite,
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn quoted(column: &Column) -> String {
    format!("\"{}\"", column.name)
}

impl Dialect {
    pub(super) fn of(c: &mut Connection) -> Result<Self> {
        Ok(match c.engine()? {
            Engine::Postgres(_) => Self::Postgres,
            Engine::Sqlite(_) => Self::Sqlite,
        })
    }

    /// Rows of a table as lines, in the order of its key; behind the key that is bound, or from the beginning.
    pub(super) fn select(self, table: &Table, behind: bool, most: usize) -> String {
        let values = joined(table.columns.iter().map(|column| self.written(column)));
        let row = match self {
            Self::Postgres => format!("json_build_array({values})::text"),
            Self::Sqlite => format!("json_array({values})"),
        };
        let keys = || table.key.iter().filter_map(|place| table.columns.get(*place));
        let key = joined(keys().map(quoted));
        // The parameter is spoken of either way: it is always bound.
        let begin = if behind {
            let bound = joined(keys().enumerate().map(|(place, column)| self.read("$1", place, column)));
            format!("({key}) > ({bound})")
        } else {
            match self {
                Self::Postgres => "$1::text IS NOT NULL".to_owned(),
                Self::Sqlite => "$1 IS NOT NULL".to_owned(),
            }
        };
        format!("SELECT {row} AS line FROM {} WHERE {begin} ORDER BY {key} LIMIT {most}", table.name)
    }

    /// Puts the rows of a bound array into a table.
    pub(super) fn insert(self, table: &Table) -> String {
        let columns = joined(table.columns.iter().map(quoted));
        let value = match self {
            Self::Postgres => "element",
            Self::Sqlite => "value",
        };
        let values =
            joined(table.columns.iter().enumerate().map(|(place, column)| self.read(value, place, column)));
        let rows = match self {
            Self::Postgres => "json_array_elements($1::json) AS rows (element)",
            Self::Sqlite => "json_each($1)",
        };
        format!("INSERT INTO {} ({columns}) SELECT {values} FROM {rows}", table.name)
    }

    /// A column's value as it is written down.
    fn written(self, column: &Column) -> String {
        let name = quoted(column);
        match (column.kind, self) {
            (Kind::Text | Kind::Number, _) | (Kind::Moment, Self::Sqlite) => name,
            (Kind::Moment, Self::Postgres) => format!("(EXTRACT(EPOCH FROM {name}) * 1000000)::bigint"),
            (Kind::Json, Self::Postgres) => format!("{name}::text"),
            // Appended to, it is a text like any other and not put in as JSON.
            (Kind::Json, Self::Sqlite) => {
                format!("iif(json_valid({name}, {SOUND}) = 0, {OF_BINARY}({name}), json({name})) || ''")
            }
            (Kind::Bytes, Self::Postgres) => format!("encode({name}, 'hex')"),
            (Kind::Bytes, Self::Sqlite) => format!("iif({name} IS NULL, NULL, hex({name}))"),
        }
    }

    /// A column's value out of a row at a place.
    fn read(self, row: &str, place: usize, column: &Column) -> String {
        match self {
            Self::Postgres => {
                let row = if row == "$1" { "$1::json" } else { row };
                let text = format!("({row} ->> {place})");
                match column.kind {
                    Kind::Text => text,
                    Kind::Number => format!("{text}::bigint"),
                    Kind::Moment => {
                        format!("(timestamptz 'epoch' + {text}::bigint * interval '1 microsecond')")
                    }
                    Kind::Json => format!("{text}::jsonb"),
                    Kind::Bytes => format!("decode({text}, 'hex')"),
                }
            }
            Self::Sqlite => {
                let text = format!("({row} ->> '$[{place}]')");
                match column.kind {
                    Kind::Text | Kind::Number | Kind::Moment => text,
                    Kind::Json => format!("jsonb({text})"),
                    Kind::Bytes => format!("unhex({text})"),
                }
            }
        }
    }
}
