//! What is cheaply known of types: kinds, fields, and whether one can fit another.
//!
//! Everything here errs on the side of silence. A type that is not known, or that may be several things, fits
//! everywhere; execution still checks every value.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::types::Type;
use crate::value::Value;

type Types = BTreeMap<Arc<str>, Type>;

/// How far names and nested types are followed.
const MAX_STEPS: usize = 16;
/// How many parts of two types are compared.
const MAX_COMPARED: usize = 200;

/// What a value is, as far as operators care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int,
    Float,
    Money,
    Bool,
    /// A date, an instant or a span.
    Time,
    List,
    Map,
    Null,
}

impl Kind {
    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Money)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Int => "an integer",
            Self::Float => "a float",
            Self::Money => "an amount",
            Self::Bool => "a truth value",
            Self::Time => "a date or time",
            Self::List => "an array",
            Self::Map => "an object",
            Self::Null => "null",
        }
    }
}

/// The type behind names, as far as they are declared.
pub(super) fn resolve<'t>(ty: &'t Type, types: &'t Types) -> &'t Type {
    let mut ty = ty;
    for _ in 0..MAX_STEPS {
        match ty {
            Type::Named(name) => match types.get(name) {
                Some(declared) => ty = declared,
                None => return ty,
            },
            _ => return ty,
        }
    }
    ty
}

/// The type without the possibility of null.
pub(super) fn present<'t>(ty: &'t Type, types: &'t Types) -> &'t Type {
    let mut ty = resolve(ty, types);
    for _ in 0..MAX_STEPS {
        let Type::Optional(inner) = ty else { break };
        ty = resolve(inner, types);
    }
    ty
}

/// The kind of the values, null aside; nothing where it may be several.
pub(super) fn kind(ty: &Type, types: &Types) -> Option<Kind> {
    Some(match present(ty, types) {
        Type::String | Type::Email | Type::Url | Type::Uuid | Type::Enum(_) => Kind::Text,
        Type::Int => Kind::Int,
        Type::Float => Kind::Float,
        Type::Money => Kind::Money,
        Type::Bool => Kind::Bool,
        Type::Date | Type::Datetime | Type::Duration => Kind::Time,
        Type::Array(_) => Kind::List,
        Type::Map(_) | Type::Object(_) => Kind::Map,
        Type::Null => Kind::Null,
        Type::Json | Type::Optional(_) | Type::Union(_) | Type::Named(_) => return None,
    })
}

/// The type of a literal.
pub(super) fn of_value(value: &Value) -> Option<Type> {
    Some(match value {
        Value::Bool(_) => Type::Bool,
        Value::Int(_) => Type::Int,
        Value::Float(_) => Type::Float,
        Value::Money(_) => Type::Money,
        Value::String(_) => Type::String,
        Value::Date(_) => Type::Date,
        Value::Datetime(_) => Type::Datetime,
        Value::Duration(_) => Type::Duration,
        Value::Null => Type::Null,
        Value::Array(_) => Type::Array(Box::new(Type::Json)),
        Value::Object(_) => return None,
    })
}

/// A part of a type that is worth remembering inside a larger one. Anything structured is forgotten, so that
/// types cannot grow with the number of statements that build on each other.
pub(super) fn leaf(ty: Option<&Type>) -> Type {
    match ty {
        Some(
            ty @ (Type::String
            | Type::Int
            | Type::Float
            | Type::Bool
            | Type::Date
            | Type::Datetime
            | Type::Duration
            | Type::Money
            | Type::Email
            | Type::Url
            | Type::Uuid
            | Type::Named(_)),
        ) => ty.clone(),
        _ => Type::Json,
    }
}

/// A copy of a type that is small enough to be copied wherever it is mentioned.
pub(super) fn remembered(ty: &Type) -> Option<Type> {
    fn spend(ty: &Type, left: &mut usize) -> bool {
        let Some(rest) = left.checked_sub(1) else { return false };
        *left = rest;
        match ty {
            Type::Array(inner) | Type::Map(inner) | Type::Optional(inner) => spend(inner, left),
            Type::Object(fields) => fields.values().all(|field| spend(field, left)),
            Type::Union(members) => members.iter().all(|member| spend(member, left)),
            Type::Enum(members) => members.len() <= *left,
            _ => true,
        }
    }
    spend(ty, &mut 200).then(|| ty.clone())
}

/// Whether no value of the known type can be taken where the other is wanted. Borders turn integers into floats
/// and amounts, and texts into anything that is written as text.
pub(super) fn cannot_fit(known: &Type, wanted: &Type, types: &Types) -> Option<String> {
    mismatch(known, wanted, types, &mut MAX_COMPARED.clone())
}

fn mismatch(known: &Type, wanted: &Type, types: &Types, left: &mut usize) -> Option<String> {
    // Types that name each other can be unfolded without end.
    *left = left.checked_sub(1)?;
    let (inner_known, inner_wanted) = (present(known, types), present(wanted, types));
    let (have, want) = (kind(inner_known, types)?, kind(inner_wanted, types)?);
    if have == Kind::Null {
        let takes_null = matches!(resolve(wanted, types), Type::Optional(_)) || want == Kind::Null;
        return (!takes_null).then(|| format!("it is null, but must be {}", want.name()));
    }
    let fits = have == want
        || (have.is_number() && want.is_number())
        || (have == Kind::Text && matches!(want, Kind::Time | Kind::Money))
        || (have == Kind::Time && want == Kind::Time);
    if !fits {
        return Some(format!("it is {}, but must be {}", have.name(), want.name()));
    }
    match (inner_known, inner_wanted) {
        (Type::Array(known), Type::Array(wanted)) => {
            mismatch(known, wanted, types, left).map(|inner| format!("in its elements: {inner}"))
        }
        (Type::Object(known), Type::Object(wanted)) => wanted.iter().find_map(|(name, wanted)| {
            let reason = if let Some(known) = known.get(name) {
                mismatch(known, wanted, types, left)
            } else {
                let optional =
                    matches!(resolve(wanted, types), Type::Optional(_) | Type::Json | Type::Union(_));
                (!optional).then(|| "the field is missing".to_owned())
            };
            reason.map(|inner| format!("in the field {name:?}: {inner}"))
        }),
        _ => None,
    }
}
