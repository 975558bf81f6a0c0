//! Document to `MessagePack`, in the one canonical way.

use rmp::encode;
use serde_json::{Number, Value};

/// The canonical bytes of a document.
pub(super) fn write(document: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    value(&mut bytes, document);
    bytes
}

// Writing into a `Vec` cannot fail, so the results of `rmp` carry nothing. Lengths beyond 32 bits would need a
// document of 4 GiB, which no reader accepts; they saturate instead of wrapping.
fn value(out: &mut Vec<u8>, document: &Value) {
    match document {
        Value::Null => drop(encode::write_nil(out)),
        Value::Bool(truth) => drop(encode::write_bool(out, *truth)),
        Value::Number(number) => self::number(out, number),
        Value::String(text) => drop(encode::write_str(out, text)),
        Value::Array(list) => {
            drop(encode::write_array_len(out, length(list.len())));
            for item in list {
                value(out, item);
            }
        }
        Value::Object(map) => {
            drop(encode::write_map_len(out, length(map.len())));
            // The map may be in the order in which it was written, depending on how `serde_json` was built.
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| key.as_bytes());
            for (key, item) in entries {
                drop(encode::write_str(out, key));
                value(out, item);
            }
        }
    }
}

fn number(out: &mut Vec<u8>, number: &Number) {
    if let Some(integer) = number.as_u64() {
        drop(encode::write_uint(out, integer));
    } else if let Some(integer) = number.as_i64() {
        drop(encode::write_sint(out, integer));
    } else {
        drop(encode::write_f64(out, number.as_f64().unwrap_or_default()));
    }
}

fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
