//! Declared types: their text, the check of values against them, and their JSON Schema.
//!
//! Types are declared at a program's borders (parameters, results, memory, configuration); expressions
//! themselves are checked by what their values are, when they are evaluated.

mod admit;
mod parse;
mod schema;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use admit::TypeError;

/// A declared type.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// Text.
    String,
    /// A 64-bit integer.
    Int,
    /// A double.
    Float,
    /// Truth.
    Bool,
    /// A calendar date.
    Date,
    /// An instant.
    Datetime,
    /// A span of time.
    Duration,
    /// An exact decimal amount.
    Money,
    /// Text that is an e-mail address.
    Email,
    /// Text that is an absolute URL.
    Url,
    /// Text that is a UUID.
    Uuid,
    /// Anything that JSON can hold.
    Json,
    /// Only null.
    Null,
    /// A list.
    Array(Box<Type>),
    /// Entries by text keys.
    Map(Box<Type>),
    /// These fields.
    Object(BTreeMap<Arc<str>, Type>),
    /// Null, or the type.
    Optional(Box<Type>),
    /// One of these.
    Union(Vec<Type>),
    /// One of these texts.
    Enum(Vec<Arc<str>>),
    /// The type that the module declares under this name.
    Named(Arc<str>),
}

impl Type {
    /// Whether null is among its values, as far as the type itself says (a named type is not looked up).
    pub fn is_optional(&self) -> bool {
        match self {
            Self::Null | Self::Optional(_) | Self::Json => true,
            Self::Union(members) => members.iter().any(Self::is_optional),
            _ => false,
        }
    }

    /// The names of the declared types it refers to, itself excluded.
    pub fn named(&self) -> Vec<&Arc<str>> {
        let mut names = Vec::new();
        self.collect_named(&mut names);
        names
    }

    fn collect_named<'a>(&'a self, names: &mut Vec<&'a Arc<str>>) {
        match self {
            Self::Named(name) => names.push(name),
            Self::Array(inner) | Self::Map(inner) | Self::Optional(inner) => inner.collect_named(names),
            Self::Object(fields) => fields.values().for_each(|field| field.collect_named(names)),
            Self::Union(members) => members.iter().for_each(|member| member.collect_named(names)),
            _ => {}
        }
    }
}

/// The type as declarations write it.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn listed<T: fmt::Display>(
            f: &mut fmt::Formatter<'_>,
            items: impl Iterator<Item = T>,
            separator: &str,
        ) -> fmt::Result {
            for (index, item) in items.enumerate() {
                if index > 0 {
                    f.write_str(separator)?;
                }
                item.fmt(f)?;
            }
            Ok(())
        }
        match self {
            Self::Array(inner) => write!(f, "array[{inner}]"),
            Self::Map(inner) => write!(f, "map[string, {inner}]"),
            Self::Object(fields) if fields.is_empty() => f.write_str("{}"),
            Self::Object(fields) => {
                f.write_str("{ ")?;
                listed(f, fields.iter().map(|(name, ty)| format!("{}: {ty}", parse::Word(name))), ", ")?;
                f.write_str(" }")
            }
            Self::Optional(inner) => match **inner {
                Self::Union(_) => write!(f, "({inner})?"),
                _ => write!(f, "{inner}?"),
            },
            Self::Union(members) => listed(f, members.iter(), " | "),
            Self::Enum(members) => {
                f.write_str("enum[")?;
                listed(f, members.iter().map(|member| parse::Word(member)), ", ")?;
                f.write_str("]")
            }
            Self::Named(name) => f.write_str(name),
            plain => f.write_str(parse::plain_name(plain)),
        }
    }
}
