//! The serde form of values, made for MessagePack: compact, and it keeps every type.
//!
//! What MessagePack has of its own is written as that. The four types it lacks are maps of one entry whose key
//! is a number; an object's keys are always text, so the two cannot be confused. JSON for people comes from
//! [`Value::to_json`], never from here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use time::Date;

use super::{MAX_DEPTH, Value, text};

const DATE: u8 = 0;
const DATETIME: u8 = 1;
const DURATION: u8 = 2;
const MONEY: u8 = 3;

/// What a declared length may reserve before the elements have come.
const MAX_RESERVED: usize = 256;

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn tagged<S: Serializer>(serializer: S, tag: u8, value: &impl Serialize) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry(&tag, value)?;
            map.end()
        }
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Int(int) => serializer.serialize_i64(*int),
            Self::Float(float) => serializer.serialize_f64(*float),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(items) => serializer.collect_seq(items.iter()),
            Self::Object(fields) => serializer.collect_map(fields.iter()),
            Self::Date(date) => tagged(serializer, DATE, &date.to_julian_day()),
            Self::Datetime(micros) => tagged(serializer, DATETIME, micros),
            Self::Duration(micros) => tagged(serializer, DURATION, micros),
            Self::Money(amount) => tagged(serializer, MONEY, &amount.to_string()),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Nested { level: 0 }.deserialize(deserializer)
    }
}

/// A value at a level of nesting, which must not pass [`MAX_DEPTH`].
#[derive(Clone, Copy)]
struct Nested {
    level: usize,
}

impl Nested {
    fn inner<E: Error>(self) -> Result<Self, E> {
        if self.level >= MAX_DEPTH {
            return Err(E::custom("a value is nested too deeply"));
        }
        Ok(Self { level: self.level + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E: Error>(self, int: i64) -> Result<Value, E> {
        Ok(Value::Int(int))
    }

    fn visit_u64<E: Error>(self, int: u64) -> Result<Value, E> {
        i64::try_from(int).map(Value::Int).map_err(|_| E::custom("an integer is out of range"))
    }

    fn visit_f64<E: Error>(self, float: f64) -> Result<Value, E> {
        if float.is_finite() { Ok(Value::Float(float)) } else { Err(E::custom("a float is not finite")) }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.into()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut items = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(MAX_RESERVED));
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut fields = BTreeMap::new();
        while let Some(key) = map.next_key()? {
            match key {
                Key::Name(name) => {
                    fields.insert(name, map.next_value_seed(inner)?);
                }
                Key::Tag(tag) if fields.is_empty() => {
                    let value = tagged(tag, &mut map)?;
                    return match map.next_key::<Key>()? {
                        None => Ok(value),
                        Some(_) => Err(A::Error::custom("a tagged value has more than one entry")),
                    };
                }
                Key::Tag(_) => return Err(A::Error::custom("an object has a number for a key")),
            }
        }
        Ok(Value::object(fields))
    }
}

fn tagged<'de, A: MapAccess<'de>>(tag: u64, map: &mut A) -> Result<Value, A::Error> {
    match u8::try_from(tag) {
        Ok(DATE) => Date::from_julian_day(map.next_value()?)
            .map(Value::Date)
            .map_err(|_| A::Error::custom("a date is out of range")),
        Ok(DATETIME) => Ok(Value::Datetime(map.next_value()?)),
        Ok(DURATION) => Ok(Value::Duration(map.next_value()?)),
        Ok(MONEY) => {
            let amount: String = map.next_value()?;
            text::parse_money(&amount)
                .map(Value::Money)
                .ok_or_else(|| A::Error::custom("an amount is no decimal number"))
        }
        _ => Err(A::Error::custom("a value has an unknown tag")),
    }
}

enum Key {
    Name(Arc<str>),
    Tag(u64),
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl Visitor<'_> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field's name or a type's tag")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Key, E> {
                Ok(Key::Name(name.into()))
            }

            fn visit_u64<E: Error>(self, tag: u64) -> Result<Key, E> {
                Ok(Key::Tag(tag))
            }
        }

        deserializer.deserialize_any(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values_take_few_bytes() {
        let bytes = |value: &Value| rmp_serde::to_vec(value).unwrap();
        assert_eq!(bytes(&Value::Null), [0xc0]);
        assert_eq!(bytes(&Value::Int(7)), [7]);
        assert_eq!(bytes(&Value::Duration(5)), [0x81, DURATION, 5]);
        assert_eq!(bytes(&Value::from([("a", Value::Int(1))])), [0x81, 0xa1, b'a', 1]);
    }

    #[test]
    fn hostile_bytes_are_errors() {
        let deep = [vec![0x91; 5000], vec![0xc0]].concat();
        for bytes in [
            &[0x81, 9, 5][..],                     // an unknown tag
            &[0x82, 1, 5, 0xa1, b'a', 1],          // a tag beside a name
            &[0x82, 0xa1, b'a', 1, 1, 5],          // a name beside a tag
            &[0x81, 3, 0xa1, b'x'],                // no amount
            &[0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0], // infinite
            &[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0xdd, 0xff, 0xff, 0xff, 0xff], // four billion elements that do not come
            &deep,
        ] {
            assert!(rmp_serde::from_slice::<Value>(bytes).is_err());
        }
    }
}
