//! What happened to an execution, in order: the truth from which its state can be made again.
//!
//! A driver appends [`Entry`]s before anything shows outside. This module knows how they are encoded and what
//! they mean to a machine ([`replay`]); where they are kept and numbered is the driver's part.

mod branch;
mod codec;
mod history;
mod replay;
mod tell;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::effect::{Effect, EffectId, Outcome};
use crate::machine::{End, Start};

pub use branch::{BranchError, Cut, fork, retry, standing};
pub use codec::{Chunk, decode_chunk, encode_chunk, encode_chunks};
pub use replay::{Replayed, replay, resume};
pub use tell::{Told, tell};

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
    /// Somebody had a failed execution go on from where it stood before it failed: what stands in the journal from `from` on
    /// does not count any more, and the effects of `again` are asked for once more.
    #[serde(rename = "r")]
    Retried {
        /// The number of the first entry that does not count.
        from: u64,
        /// Effects before it whose intents do not count either.
        again: Vec<EffectId>,
    },
}

/// The entries that count: without those that a retry took back, and without the retries. Gives their numbers with them.
pub(crate) fn effective(entries: &[Entry]) -> Vec<(usize, &Entry)> {
    let mut counting: Vec<(usize, &Entry)> = Vec::with_capacity(entries.len());
    for (seq, entry) in entries.iter().enumerate() {
        match entry {
            Entry::Retried { from, again } => {
                let from = usize::try_from(*from).unwrap_or(usize::MAX);
                counting.retain(|(seq, entry)| {
                    let taken_back =
                        matches!(entry, Entry::Effect { effect, outcome: None } if again.contains(&effect.id));
                    *seq < from && !taken_back
                });
            }
            entry => counting.push((seq, entry)),
        }
    }
    counting
}
