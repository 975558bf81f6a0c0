//! Providers of models.

mod embeddings;
mod openai;

pub use embeddings::Vectors;
pub use openai::{Ask, ModelError, Part, Parts, Reply, Tokens};
