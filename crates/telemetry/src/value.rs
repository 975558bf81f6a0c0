//! Values of attributes.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;

/// What can be said under a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Value(pub(crate) Any);

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self(Any::StringValue(text))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self(Any::StringValue(text.to_owned()))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self(Any::IntValue(number))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self(Any::DoubleValue(number))
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self(Any::BoolValue(truth))
    }
}
