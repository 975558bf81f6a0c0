//! Values: what expressions compute and variables hold.
//!
//! Here are their conversions (JSON, MessagePack, text) and their order. What operators and methods do with
//! them is the matter of [`crate::expr`], whether they fit a declaration that of [`crate::types`].

mod codec;
mod json;
mod order;
pub mod text;

use std::collections::BTreeMap;
use std::sync::Arc;

use rust_decimal::Decimal;

/// How deeply values may be nested in one another.
///
/// Everything that walks values does so by recursion, so whatever builds a value must hold this bound.
pub const MAX_DEPTH: usize = 128;

/// A value of the language. Cheap to clone: everything large is shared.
///
/// `==` in Rust compares structure, so that `Int(1)` and `Float(1.0)` differ; the language's own equality is
/// [`Value::equals`].
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// Nothing.
    #[default]
    Null,
    /// Truth.
    Bool(bool),
    /// A checked 64-bit integer.
    Int(i64),
    /// A finite IEEE 754 double.
    Float(f64),
    /// An exact decimal amount.
    Money(Decimal),
    /// Text; e-mails, URLs, UUIDs and enum members are texts too.
    String(Arc<str>),
    /// A calendar date.
    Date(time::Date),
    /// An instant, in microseconds since the Unix epoch, UTC.
    Datetime(i64),
    /// A span of time in microseconds.
    Duration(i64),
    /// A list.
    Array(Arc<Vec<Value>>),
    /// Fields or entries, in key order.
    Object(Arc<BTreeMap<Arc<str>, Value>>),
}

/// How large a value is, shared parts counted wherever they appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Bytes, roughly.
    pub size: usize,
    /// Levels of arrays and objects; zero for a scalar.
    pub depth: usize,
    /// Values in all.
    pub nodes: usize,
}

impl Value {
    /// An array of these.
    pub fn array(items: Vec<Self>) -> Self {
        Self::Array(Arc::new(items))
    }

    /// An object of these fields.
    pub fn object(fields: BTreeMap<Arc<str>, Self>) -> Self {
        Self::Object(Arc::new(fields))
    }

    /// The name of its type, as declarations write it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Money(_) => "money",
            Self::String(_) => "string",
            Self::Date(_) => "date",
            Self::Datetime(_) => "datetime",
            Self::Duration(_) => "duration",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Its truth, where it is a bool.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// Its integer: an int, or a float that is whole and in range.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(int) => Some(*int),
            Self::Float(float) => whole(*float),
            _ => None,
        }
    }

    /// Its number as a double: an int or a float.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "a double is what is asked for")]
            Self::Int(int) => Some(*int as f64),
            Self::Float(float) => Some(*float),
            _ => None,
        }
    }

    /// Its text, where it is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Its text, shared, where it is a string.
    pub fn as_text(&self) -> Option<&Arc<str>> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Its elements, where it is an array.
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// Its fields, where it is an object.
    pub fn as_object(&self) -> Option<&BTreeMap<Arc<str>, Self>> {
        match self {
            Self::Object(fields) => Some(fields),
            _ => None,
        }
    }

    /// Its length in microseconds, where it is a duration.
    pub fn as_duration(&self) -> Option<i64> {
        match self {
            Self::Duration(micros) => Some(*micros),
            _ => None,
        }
    }

    /// Its microseconds since the Unix epoch, where it is a datetime.
    pub fn as_datetime(&self) -> Option<i64> {
        match self {
            Self::Datetime(micros) => Some(*micros),
            _ => None,
        }
    }

    /// A field of an object; none where it has none, or is no object.
    pub fn get(&self, field: &str) -> Option<&Self> {
        self.as_object()?.get(field)
    }

    /// Roughly how many bytes it takes, shared parts counted wherever they appear.
    pub fn approximate_size(&self) -> usize {
        self.extent(usize::MAX).map_or(usize::MAX, |extent| extent.size)
    }

    /// How large it is; none where it is larger than `max_size` bytes or deeper than [`MAX_DEPTH`].
    ///
    /// The walk ends at the first excess, so it costs no more than the bound even where a value holds the
    /// same part exponentially often.
    pub fn extent(&self, max_size: usize) -> Option<Extent> {
        let mut extent = Extent { size: 0, depth: 0, nodes: 0 };
        self.measure(0, max_size, &mut extent).then_some(extent)
    }

    fn measure(&self, level: usize, max_size: usize, extent: &mut Extent) -> bool {
        extent.nodes += 1;
        extent.size = extent.size.saturating_add(size_of::<Self>());
        match self {
            Self::String(text) => extent.size = extent.size.saturating_add(text.len()),
            Self::Array(items) => {
                extent.depth = extent.depth.max(level + 1);
                return level < MAX_DEPTH
                    && items.iter().all(|item| item.measure(level + 1, max_size, extent))
                    && extent.size <= max_size;
            }
            Self::Object(fields) => {
                extent.depth = extent.depth.max(level + 1);
                return level < MAX_DEPTH
                    && fields.iter().all(|(name, field)| {
                        extent.size = extent.size.saturating_add(size_of::<Arc<str>>() + name.len());
                        field.measure(level + 1, max_size, extent)
                    })
                    && extent.size <= max_size;
            }
            _ => {}
        }
        extent.size <= max_size
    }
}

/// The integer that a double is, where it is one.
pub(crate) fn whole(float: f64) -> Option<i64> {
    // 2^63 itself is representable as a double but not as an i64, hence the half-open range.
    let in_range = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&float);
    #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
    (in_range && float.fract() == 0.0).then_some(float as i64)
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<i64> for Value {
    fn from(int: i64) -> Self {
        Self::Int(int)
    }
}

impl From<i32> for Value {
    fn from(int: i32) -> Self {
        Self::Int(int.into())
    }
}

impl From<u32> for Value {
    fn from(int: u32) -> Self {
        Self::Int(int.into())
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Self {
        Self::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Value {
    /// Null for what is not finite, as JSON has it.
    fn from(float: f64) -> Self {
        if float.is_finite() { Self::Float(float) } else { Self::Null }
    }
}

impl From<Decimal> for Value {
    fn from(money: Decimal) -> Self {
        Self::Money(money)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl From<Arc<str>> for Value {
    fn from(text: Arc<str>) -> Self {
        Self::String(text)
    }
}

impl From<time::Date> for Value {
    fn from(date: time::Date) -> Self {
        Self::Date(date)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<Vec<Self>> for Value {
    fn from(items: Vec<Self>) -> Self {
        Self::array(items)
    }
}

impl From<BTreeMap<Arc<str>, Self>> for Value {
    fn from(fields: BTreeMap<Arc<str>, Self>) -> Self {
        Self::object(fields)
    }
}

impl<const N: usize> From<[(&str, Self); N]> for Value {
    /// An object of these fields.
    fn from(fields: [(&str, Self); N]) -> Self {
        Self::object(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}
