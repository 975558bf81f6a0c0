//! JSON that both databases take and give back: `jsonb` on PostgreSQL, [JSONB](https://sqlite.org/jsonb.html) on SQLite.
//!
//! Until its [pull request 5203](https://github.com/diesel-rs/diesel/pull/5203) is released, diesel writes JSONB in which quotes and
//! backslashes are not escaped. It reads that itself; SQLite's own functions take it for malformed, or for other text. So SQL is
//! given diesel's way to read it.

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::sql_types::{self, Binary};
use diesel::sqlite::{Sqlite, SqliteValue};
use serde_json::Value;

#[diesel::declare_sql_function]
extern "SQL" {
    /// The text of JSON that diesel has written as JSONB.
    fn json_of_binary(json: Binary) -> diesel::sql_types::Text;
}

/// The name of that function.
pub(crate) const OF_BINARY: &str = "json_of_binary";

/// JSON out of JSONB.
#[derive(Debug, FromSqlRow)]
struct OfBinary(Value);

impl FromSql<Binary, Sqlite> for OfBinary {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        <Value as FromSql<sql_types::Jsonb, Sqlite>>::from_sql(value).map(Self)
    }
}

/// Has a connection know the function.
pub(crate) fn register(connection: &mut diesel::SqliteConnection) -> diesel::QueryResult<()> {
    json_of_binary_utils::register_impl(connection, |OfBinary(json): OfBinary| json.to_string())
}

/// The value as both databases can keep it.
///
/// PostgreSQL refuses U+0000 in texts, which becomes U+FFFD. What is written to SQLite as an integer beyond 63 bits could
/// not be read again, so it becomes the nearest floating-point number, as in programs (RFC 8259, section 6, warns of
/// both). The depth is that of JSON that was read, which the reader bounds.
pub fn storable(value: Value) -> Value {
    match value {
        Value::String(text) => text_storable(text).into(),
        Value::Number(number) if number.is_u64() && !number.is_i64() => number.as_f64().into(),
        Value::Array(items) => items.into_iter().map(storable).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (text_storable(name), storable(value))).collect()
        }
        other => other,
    }
}

/// The text as both databases can keep it.
pub(crate) fn text_storable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_cannot_be_kept_changes() {
        let good = json!({"a": [i64::MAX, i64::MIN, 0.5, "\u{1}", null, true, {}], "b": {"c": []}});
        assert_eq!(storable(good.clone()), good);
        let odd = json!({"a\0": ["\0", {"b": u64::MAX}]});
        assert_eq!(
            storable(odd),
            json!({"a\u{fffd}": ["\u{fffd}", {"b": 18_446_744_073_709_551_615.0_f64}]})
        );
    }
}
