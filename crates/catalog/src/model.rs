//! Models, as callers know them.

use scaigrid_scope::{BackendId, Description, Instant, Level, ModelId, Name, text_enum};
use serde_json::{Map, Value};

use crate::price::{Price, cost};
use crate::slug::ModelSlug;

text_enum! {
    /// What a model is for.
    pub enum Modality {
        /// Conversations.
        Chat => "chat",
        /// Vectors of texts.
        Embedding => "embedding",
        /// Pictures.
        Image => "image",
        /// Speech.
        Audio => "audio",
    }
}

text_enum! {
    /// Whether a model is to be used.
    pub enum ModelStatus {
        /// It is.
        Active => "active",
        /// It still answers, but something else should be used.
        Deprecated => "deprecated",
    }
}

/// Why a JSON object cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidObject {
    /// It takes more room than it may.
    #[error("must be at most {} bytes of JSON", Parameters::MAX_BYTES)]
    TooLarge,
    /// It holds the character U+0000, which not every database keeps.
    #[error("must not contain the character U+0000")]
    NulCharacter,
    /// It names what only a call can say.
    #[error("must not name {0}")]
    NotADefault(&'static str),
}

fn check(fields: &Map<String, Value>) -> Result<(), InvalidObject> {
    let written = serde_json::to_string(fields).map_err(|_| InvalidObject::TooLarge)?;
    if written.len() > Parameters::MAX_BYTES {
        return Err(InvalidObject::TooLarge);
    }
    // What is written as an escape, but not what only looks like one behind another backslash.
    let escape = written.match_indices("\\u0000").any(|(at, _)| {
        let before = written.as_bytes()[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        before % 2 == 0
    });
    if escape { Err(InvalidObject::NulCharacter) } else { Ok(()) }
}

/// Parameters that a model is called with where the call does not say otherwise.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parameters(Map<String, Value>);

impl Parameters {
    /// The greatest size, written as JSON.
    pub const MAX_BYTES: usize = 16 * 1024;

    /// Checks parameters.
    pub fn new(fields: Map<String, Value>) -> Result<Self, InvalidObject> {
        check(&fields)?;
        let named = ["model", "messages", "stream", "stream_options"];
        match named.into_iter().find(|name| fields.contains_key(*name)) {
            Some(name) => Err(InvalidObject::NotADefault(name)),
            None => Ok(Self(fields)),
        }
    }

    /// The parameters by name.
    pub const fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// What a model can do, in a free form such as `{"tool_use": true, "streaming": true}`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Capabilities(Map<String, Value>);

impl Capabilities {
    /// Checks capabilities.
    pub fn new(fields: Map<String, Value>) -> Result<Self, InvalidObject> {
        check(&fields).map(|()| Self(fields))
    }

    /// The capabilities by name.
    pub const fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// The turn that a backend is asked in: the lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(u16);

/// How often a backend is asked before those of the same priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u16);

macro_rules! bounded {
    ($name:ident, $from:literal, $default:literal) => {
        impl $name {
            #[doc = concat!("From ", stringify!($from), " to 1000; none for other numbers.")]
            pub fn new(number: i64) -> Option<Self> {
                u16::try_from(number).ok().filter(|number| ($from..=1000).contains(number)).map(Self)
            }

            /// The number.
            pub const fn get(self) -> u16 {
                self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self($default)
            }
        }
    };
}

bounded!(Priority, 0, 100);
bounded!(Weight, 1, 1);

/// A backend of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// The backend.
    pub backend_id: BackendId,
    /// In which turn it is asked.
    pub priority: Priority,
    /// How often before others of that turn.
    pub weight: Weight,
}

/// A model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Its identifier.
    pub id: ModelId,
    /// At which level it was made, and is changed.
    pub owner: Level,
    /// What callers name it by.
    pub slug: ModelSlug,
    /// What people call it.
    pub display_name: Name,
    /// What it is.
    pub description: Option<Description>,
    /// What it is for.
    pub modality: Modality,
    /// How many tokens it reads and writes in one call.
    pub context_window: Option<u32>,
    /// How many it writes at most.
    pub max_output_tokens: Option<u32>,
    /// What a million tokens cost that it reads.
    pub input_price: Option<Price>,
    /// What a million tokens cost that it writes.
    pub output_price: Option<Price>,
    /// What it is called with where the call does not say otherwise.
    pub default_params: Parameters,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Where its picture is, if it has one.
    pub avatar_url: Option<String>,
    /// Whether it is to be used.
    pub status: ModelStatus,
    /// Whether every tenant may enable it.
    pub global: bool,
    /// Whether it is enabled where a tenant that sees it has not said otherwise.
    pub default_enabled: bool,
    /// Counts the changes, from 1.
    pub revision: i64,
    /// When it was made.
    pub created_at: Instant,
    /// When it was last changed.
    pub updated_at: Instant,
}

impl Model {
    /// The most backends that one may have.
    pub const MAX_BACKENDS: usize = 20;

    /// What a call costs.
    pub fn cost(&self, input_tokens: u64, output_tokens: u64) -> rust_decimal::Decimal {
        cost(self.input_price, self.output_price, input_tokens, output_tokens)
    }
}

/// What is to be changed of a model; what is left out stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelChanges {
    /// What people call it.
    pub display_name: Option<Name>,
    /// What it is.
    pub description: Option<Option<Description>>,
    /// How many tokens it reads and writes in one call.
    pub context_window: Option<Option<u32>>,
    /// How many it writes at most.
    pub max_output_tokens: Option<Option<u32>>,
    /// What a million tokens cost that it reads.
    pub input_price: Option<Option<Price>>,
    /// What a million tokens cost that it writes.
    pub output_price: Option<Option<Price>>,
    /// What it is called with where the call does not say otherwise.
    pub default_params: Option<Parameters>,
    /// What it can do.
    pub capabilities: Option<Capabilities>,
    /// Whether it is to be used.
    pub status: Option<ModelStatus>,
    /// Whether every tenant may enable it.
    pub global: Option<bool>,
}

impl ModelChanges {
    /// The model with the changes.
    #[must_use]
    pub fn applied_to(self, mut model: Model) -> Model {
        macro_rules! take {
            ($($field:ident),+) => { $(if let Some(value) = self.$field { model.$field = value; })+ };
        }
        take!(display_name, description, context_window, max_output_tokens, input_price, output_price);
        take!(default_params, capabilities, status, global);
        model
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn defaults_are_what_a_call_may_leave_out() {
        assert!(Parameters::new(map(json!({"temperature": 0.2, "stop": ["\\u0000"]}))).is_ok());
        assert_eq!(
            Parameters::new(map(json!({"messages": []}))),
            Err(InvalidObject::NotADefault("messages"))
        );
        assert_eq!(Parameters::new(map(json!({"stop": ["\0"]}))), Err(InvalidObject::NulCharacter));
        assert_eq!(Capabilities::new(map(json!({"\\\0": 1}))), Err(InvalidObject::NulCharacter));
        let large = map(json!({"x": "x".repeat(17_000)}));
        assert_eq!(Capabilities::new(large), Err(InvalidObject::TooLarge));
    }

    #[test]
    fn priorities_and_weights_are_bounded() {
        assert_eq!(Priority::new(0).map(Priority::get), Some(0));
        assert_eq!(Weight::new(0), None);
        assert_eq!(Weight::new(1001), None);
        assert_eq!(Priority::new(-1), None);
        assert_eq!((Priority::default().get(), Weight::default().get()), (100, 1));
    }
}
