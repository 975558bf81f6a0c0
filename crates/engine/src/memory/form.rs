//! How a variable is kept: entry by entry, or as one value.

use std::collections::BTreeMap;
use std::sync::Arc;

use scaigrid_ir::module::MemoryDecl;
use scaigrid_ir::{Module, Type, Value};

/// Names of types that are followed at most; they may lead to one another without end.
const NAMES_AT_MOST: usize = 32;

/// How a variable is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// By key.
    Map,
    /// Elements under keys that order them.
    Array,
    /// As one value: scalars, objects with fields, and what may be several things.
    Single,
}

impl Form {
    /// The form of a declared variable.
    pub(super) fn of(module: &Module, name: &str) -> Self {
        let Some(declared) = declaration(module, name) else { return Self::Single };
        let mut ty = &declared.ty;
        for _ in 0..NAMES_AT_MOST {
            ty = match ty {
                Type::Map(_) => return Self::Map,
                Type::Array(_) => return Self::Array,
                Type::Optional(inner) => inner,
                Type::Named(name) => match module.types.get(name) {
                    Some(named) => named,
                    None => return Self::Single,
                },
                _ => return Self::Single,
            };
        }
        Self::Single
    }

    /// The value of the whole variable, of its entries in key order.
    pub(super) fn whole(self, entries: Vec<(String, Value)>) -> Value {
        if self == Self::Array {
            Value::Array(Arc::new(entries.into_iter().map(|(_, value)| value).collect()))
        } else {
            let fields = entries.into_iter().map(|(key, value)| (Arc::from(key), value));
            Value::Object(Arc::new(fields.collect()))
        }
    }
}

/// The declaration of a variable.
pub(super) fn declaration<'m>(module: &'m Module, name: &str) -> Option<&'m MemoryDecl> {
    module.memory.get(name)
}

/// The parts of a value that is to be kept entry by entry; elements of an array have no keys yet. Null has none.
pub(super) fn parts(value: &Value) -> Vec<(Option<Arc<str>>, Value)> {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (Some(Arc::clone(key)), value.clone())).collect()
        }
        Value::Array(items) => items.iter().map(|value| (None, value.clone())).collect(),
        _ => Vec::new(),
    }
}

/// What a map or an array holds where nothing was ever written, under the keys that it gets with the first write.
pub(super) fn initial(module: &Module, name: &str) -> BTreeMap<String, Value> {
    let default = declaration(module, name).and_then(|declared| declared.default.as_ref());
    let parts = default.map(parts).unwrap_or_default();
    let keyed = parts.into_iter().enumerate().map(|(place, (key, value))| {
        // Before every key of an element that was added, which are ULIDs of our time.
        (key.map_or_else(|| format!("{place:026}"), |key| key.to_string()), value)
    });
    keyed.collect()
}
