//! JSON that both databases take and give back.

use serde_json::Value;

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
