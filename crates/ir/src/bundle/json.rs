//! JSON text to document, within the same bounds as a bundle.

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::budget::Budget;
use super::{BundleError, MAX_DEPTH};

/// Reads a text that is one JSON object.
pub(super) fn read(bytes: &[u8]) -> Result<Value, BundleError> {
    let state = RefCell::new(State { budget: Budget::default(), length: bytes.len(), bound: None });
    let mut input = serde_json::Deserializer::from_slice(bytes);
    let result = Node { state: &state, level: 1 }.deserialize(&mut input).and_then(|value| {
        input.end()?;
        Ok(value)
    });
    result.map_err(|error| {
        if let Some(bound) = state.borrow_mut().bound.take() {
            return bound;
        }
        let text = error.to_string();
        // The library says the place in the text too; here it has fields of its own.
        let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_owned();
        BundleError::Json { line: error.line(), column: error.column(), message }
    })
}

struct State {
    budget: Budget,
    /// The text is in memory as a whole, so all of it counts as read.
    length: usize,
    bound: Option<BundleError>,
}

impl State {
    fn take<E: de::Error>(
        &mut self,
        charge: impl FnOnce(&mut Budget, usize) -> Result<(), BundleError>,
    ) -> Result<(), E> {
        charge(&mut self.budget, self.length).map_err(|error| {
            let message = error.to_string();
            self.bound = Some(error);
            E::custom(message)
        })
    }
}

#[derive(Clone, Copy)]
struct Node<'s> {
    state: &'s RefCell<State>,
    level: usize,
}

impl Node<'_> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.level < MAX_DEPTH {
            return Ok(Self { level: self.level + 1, ..self });
        }
        let bound = BundleError::TooLarge { what: "the nesting in levels", limit: MAX_DEPTH };
        self.state.borrow_mut().bound = Some(bound);
        Err(E::custom("nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.state.borrow_mut().take(|budget, read| budget.text(value.len(), read))?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            self.state.borrow_mut().take(|budget, read| budget.element(&mut list, read))?;
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                let key: String = key.chars().take(64).collect();
                return Err(de::Error::custom(format!("the key {key:?} stands twice")));
            }
            self.state.borrow_mut().take(|budget, read| {
                budget.text(key.len(), read)?;
                budget.entry(map.len(), read)
            })?;
            map.insert(key, entries.next_value_seed(inner)?);
        }
        Ok(Value::Object(map))
    }
}
