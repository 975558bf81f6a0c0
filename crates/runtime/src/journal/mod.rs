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

pub use branch::{BranchError, Cut, Forked, fork, retry, standing};
pub use codec::{Chunk, decode_chunk, encode_chunk, encode_chunks};
pub use replay::{Base, Replayed, replay, resume};
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
        /// Effects that are open there and asked for once more. What else is open is waited for as before.
        again: Vec<EffectId>,
        /// The number from which on effects are numbered afterwards, those of `again` first: none that has been seen outside,
        /// in what does not count either, is ever given to another one. Entries from before this was recorded lack it; what
        /// they ask for again keeps its number, and so it does in the journal of a fork, whose effects have other names.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<u32>,
    },
}

/// The entries that count, of those from the number `first` on: without those that a retry took back, and with the retries
/// themselves, where they were not taken back by a later one. Gives their numbers with them.
pub(crate) fn effective(first: usize, entries: &[Entry]) -> Vec<(usize, &Entry)> {
    let mut counting: Vec<(usize, &Entry)> = Vec::with_capacity(entries.len());
    for (seq, entry) in (first..).zip(entries) {
        if let Entry::Retried { from, .. } = entry {
            let from = usize::try_from(*from).unwrap_or(usize::MAX);
            counting.truncate(counting.partition_point(|(seq, _)| *seq < from));
        }
        counting.push((seq, entry));
    }
    counting
}
