//! Configuration in layers: what each level gives, what counts, and why.
//!
//! A level gives values by merge patches (RFC 7396); what counts are the defaults of the module's schema, and over them
//! the platform's values, the partner's and the tenant's. Values that the schema calls `writeOnly` are secret: they are
//! shown as [`MASK`] and kept apart by whoever stores them. Checking values against the schema's rules is for a
//! validator, which is told and asked elsewhere.

mod effective;
mod layer;
mod merge;
mod pointer;
mod schema;

pub use effective::{ConfigSource, Explained, Given, Levels};
pub use layer::{Layer, Origin};
pub use merge::merge_patch;
pub use pointer::field_name;
pub use schema::{ConfigSchema, InvalidSchema};

use std::collections::BTreeSet;

/// What stands for a secret, and keeps it when it is written back.
pub const MASK: &str = "***";

/// Something that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where, as a JSON Pointer; empty for the whole.
    pub pointer: String,
    /// What, and what would be right. Repeats nothing of the configuration's values.
    pub message: String,
    /// Whether it is only that something is not there, which a level below may still give.
    pub missing: bool,
}

impl Finding {
    /// Something that is wrong at a place.
    pub fn new(pointer: &str, message: impl Into<String>) -> Self {
        Self { pointer: pointer.to_owned(), message: message.into(), missing: false }
    }

    /// The finding, told of the secret as a whole when it is about something in it: even the names of its parts are
    /// nobody's business.
    #[must_use]
    pub fn outside(self, secrets: &BTreeSet<String>) -> Self {
        match pointer::covering(secrets, &self.pointer) {
            Some(secret) if secret != self.pointer => Self {
                pointer: secret.to_owned(),
                message: "is not as the module's schema says".to_owned(),
                ..self
            },
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests;
