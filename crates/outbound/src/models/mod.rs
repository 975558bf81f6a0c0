//! Providers of models.

mod openai;

pub use openai::{Ask, ModelError, Part, Parts, Reply, Tokens};
