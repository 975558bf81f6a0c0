//! What a definition is known by.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The canonical text of JSON: names in the order of their code units, no white space, numbers as they are written
/// shortest. Equal values have equal texts, whatever order their fields came in.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(item, text);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort_unstable();
            text.push('{');
            for (index, name) in names.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                // Writing to a text cannot fail.
                let _ = write!(text, "{}:", Value::from(name.as_str()));
                if let Some(field) = fields.get(name) {
                    write(field, text);
                }
            }
            text.push('}');
        }
        other => {
            let _ = write!(text, "{other}");
        }
    }
}

/// The SHA-256 (FIPS 180-4) of a definition's canonical text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

impl Pin {
    /// The pin of a definition.
    pub fn of(definition: &Value) -> Self {
        Self(Sha256::digest(canonical(definition).as_bytes()).into())
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be sha256: and 64 hexadecimal digits")]
pub struct InvalidPin;

impl FromStr for Pin {
    type Err = InvalidPin;

    fn from_str(text: &str) -> Result<Self, InvalidPin> {
        let digits = text.strip_prefix("sha256:").ok_or(InvalidPin)?;
        let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map_err(|_| InvalidPin)?;
        bytes.try_into().map(Self).map_err(|_| InvalidPin)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(".{0,5}", inner, 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// The same value, its fields put in the other way round.
    fn turned(value: &Value) -> Value {
        match value {
            Value::Array(items) => items.iter().map(turned).collect(),
            Value::Object(fields) => Value::Object(
                fields.iter().rev().map(|(name, field)| (name.clone(), turned(field))).collect(),
            ),
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn equal_values_have_equal_texts_and_texts_say_everything(value in values(), other in values()) {
            prop_assert_eq!(canonical(&value), canonical(&turned(&value)));
            let read: Value = serde_json::from_str(&canonical(&value)).unwrap();
            prop_assert_eq!(canonical(&read), canonical(&value));
            prop_assert_eq!(value == other, canonical(&value) == canonical(&other));
        }
    }

    #[test]
    fn a_pin_is_the_hash_that_anybody_computes() {
        assert_eq!(canonical(&json!({"b": [1, "é\n"], "a": null})), "{\"a\":null,\"b\":[1,\"é\\n\"]}");
        let pin = Pin::of(&json!({}));
        let text = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(pin.to_string(), text);
        assert_eq!(text.parse(), Ok(pin));
        for bad in ["", "sha256:", &text[..70], &text.replace('4', "g"), &text.replace("44", "é")] {
            assert_eq!(bad.parse::<Pin>(), Err(InvalidPin), "{bad}");
        }
    }
}
