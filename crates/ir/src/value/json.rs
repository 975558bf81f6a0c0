//! Values to and from JSON, and the text that templates show.

use std::fmt;

use data_encoding::HEXLOWER;
use serde_json::{Map, Number, Value as Json};
use sha2::{Digest as _, Sha256};

use super::{Value, text};

impl Value {
    /// The value of JSON. Integers beyond 64 bits become floats; text stays text, whatever it looks like
    /// ([`crate::Type::admit`] makes dates, durations and amounts of it where a declaration says so).
    pub fn from_json(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(truth) => Self::Bool(*truth),
            Json::Number(number) => match number.as_i64() {
                Some(int) => Self::Int(int),
                None => number.as_f64().map_or(Self::Null, Self::from),
            },
            Json::String(text) => Self::String(text.as_str().into()),
            Json::Array(items) => Self::array(items.iter().map(Self::from_json).collect()),
            Json::Object(fields) => Self::object(
                fields.iter().map(|(name, field)| (name.as_str().into(), Self::from_json(field))).collect(),
            ),
        }
    }

    /// The value as JSON: dates and instants as RFC 3339 text, durations as `1h30m`, money as decimal text.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(truth) => Json::Bool(*truth),
            Self::Int(int) => Json::Number((*int).into()),
            Self::Float(float) => Number::from_f64(*float).map_or(Json::Null, Json::Number),
            Self::Money(amount) => Json::String(amount.to_string()),
            Self::String(text) => Json::String(text.as_ref().to_owned()),
            Self::Date(date) => Json::String(text::format_date(*date)),
            Self::Datetime(micros) => Json::String(text::format_datetime(*micros)),
            Self::Duration(micros) => Json::String(text::format_duration(*micros)),
            Self::Array(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Self::Object(fields) => Json::Object(
                fields
                    .iter()
                    .map(|(name, field)| (name.as_ref().to_owned(), field.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}

impl Value {
    /// The SHA-256 of its JSON in canonical form, in lower-case hexadecimal: keys in bytewise order, no white
    /// space, integers and doubles in their shortest form.
    pub fn sha256(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(self.to_json().to_string()))
    }
}

impl From<&Json> for Value {
    fn from(json: &Json) -> Self {
        Self::from_json(json)
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        value.to_json()
    }
}

/// The value as templates show it: text as it stands, whole floats without a fraction, arrays and objects
/// as JSON.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(truth) => truth.fmt(f),
            Self::Int(int) => int.fmt(f),
            Self::Float(float) => float.fmt(f),
            Self::Money(amount) => amount.fmt(f),
            Self::String(text) => f.write_str(text),
            Self::Date(date) => f.write_str(&text::format_date(*date)),
            Self::Datetime(micros) => f.write_str(&text::format_datetime(*micros)),
            Self::Duration(micros) => f.write_str(&text::format_duration(*micros)),
            Self::Array(_) | Self::Object(_) => self.to_json().fmt(f),
        }
    }
}
