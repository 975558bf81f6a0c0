//! What happened to an execution, in order: the truth from which its state can be made again.
//!
//! A driver appends [`Entry`]s before anything shows outside. This module knows how they are encoded and what
//! they mean to a machine ([`replay`]); where they are kept and numbered is the driver's part.

mod codec;
mod history;
mod replay;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::effect::{Effect, EffectId, Outcome};
use crate::machine::{End, Start};

pub use codec::{Chunk, decode_chunk, encode_chunk, encode_chunks};
pub use replay::{Replayed, replay, resume};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// The execution began. Always the first entry, and the only one of its kind.
    #[serde(rename = "s")]
    Started(Box<Start>),
    /// An effect was asked for: inside effects stand here with their outcome, outside ones as an intent.
    #[serde(rename = "e")]
    Effect {
        /// The effect.
        effect: Effect,
        /// Its outcome, for inside effects.
        outcome: Option<Outcome>,
    },
    /// An outside effect ended.
    #[serde(rename = "o")]
    Outcome {
        /// Which.
        id: EffectId,
        /// How.
        outcome: Outcome,
    },
    /// Somebody cancelled the execution.
    #[serde(rename = "c")]
    Cancel {
        /// Why.
        reason: Arc<str>,
        /// [`Machine::steps`](crate::Machine::steps) when it was cancelled.
        steps: u64,
    },
    /// The execution ended.
    #[serde(rename = "z")]
    Ended(End),
}
