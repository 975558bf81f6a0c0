//! Going another way from a point of the past: the same execution once more from where it failed, or a new one that shares
//! what was recorded up to a point.

use std::collections::BTreeSet;

use scaigrid_ir::Value;
use scaigrid_ir::block::MemoryOp;

use super::{Entry, effective, resume, tell};
use crate::effect::{EffectId, EffectKind, Outcome};
use crate::failure::{Failure, ReplayError};
use crate::machine::{End, ExecutionContext, Machine, Start, Step, Traced};
use crate::program::Program;

/// The most steps that a machine takes to come to a standstill when it is only looked at.
const STEPS_AT_MOST: u32 = 200_000;

/// Why there is no way from there.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BranchError {
    /// The journal cannot be followed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// There is no such entry.
    #[error("the journal has {entries} entries")]
    NoEntry {
        /// How many there are; their numbers begin at 0.
        entries: usize,
    },
    /// It had been cancelled by then.
    #[error("the execution had been cancelled by then")]
    Cancelled,
    /// Memory had been read for an update that was not written yet.
    #[error("the entry is the first half of an update of memory; take the one before it, or the next")]
    InUpdate,
    /// It did not fail.
    #[error("the execution has not failed")]
    NotFailed,
    /// With what is different in the new execution, the program does something else than what is recorded.
    #[error(
        "with this input the program does not come to entry {seq}: recorded is {recorded}, and it came to {found}"
    )]
    OtherWay {
        /// The entry.
        seq: usize,
        /// What it says.
        recorded: String,
        /// What the program did.
        found: String,
    },
}

/// Where a failed execution goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Cut {
    /// The number of the first entry that does not count any more.
    pub from: u64,
    /// Effects before it that are asked for once more.
    pub again: Vec<EffectId>,
}

/// Where a failed execution goes on: before the outcome that made it fail, where there was one, and otherwise before the last
/// values that it only read. Whatever it wrote or told before stays, and is not done again. What else it had open when it
/// failed was closed then, and is opened once more, but for calls, of which nobody knows what became.
///
/// # Errors
/// It did not fail, or the journal cannot be followed.
pub fn retry(program: &Program, entries: &[Entry]) -> Result<Cut, BranchError> {
    let counting = effective(entries);
    let (body, failure) = match counting.split_last() {
        Some(((_, Entry::Ended(End::Failed(failure))), body)) => (body, Some(failure)),
        Some(((_, Entry::Ended(_)), _)) | None => return Err(BranchError::NotFailed),
        // One that could not go on failed without a word in its journal.
        Some(_) => (counting.as_slice(), None),
    };
    let kept = match failure {
        Some(failure) => kept(program, entries, body, failure)?,
        None => body.len(),
    };
    let from = counting.get(kept).map_or(entries.len(), |(seq, _)| *seq);
    let answered = match body.get(kept) {
        Some((_, Entry::Outcome { id, .. })) => Some(*id),
        _ => None,
    };
    let before: Vec<Entry> = body.iter().take(kept).map(|(_, entry)| (*entry).clone()).collect();
    let machine = resume(program, None, &before)?.machine;
    let is_call = |kind: &EffectKind| matches!(kind, EffectKind::PluginCall(_) | EffectKind::ModelCall(_));
    let again =
        machine.pending().into_iter().filter(|effect| !is_call(&effect.kind) || Some(effect.id) == answered);
    let again = again.map(|effect| effect.id).collect();
    Ok(Cut { from: u64::try_from(from).unwrap_or(u64::MAX), again })
}

/// How many of the entries stay.
fn kept(
    program: &Program,
    entries: &[Entry],
    body: &[(usize, &Entry)],
    failure: &Failure,
) -> Result<usize, BranchError> {
    let told = tell(program, entries, 0)?;
    let arose = told.iter().rev().find_map(|told| match &told.traced {
        Traced::Failed { block, failure: with, .. }
            if with == failure && Some(block) == with.block.as_ref() =>
        {
            Some(told.seq)
        }
        _ => None,
    });
    let before = match arose {
        Some(seq) => body.iter().position(|(at, _)| *at >= seq).unwrap_or(body.len()),
        None => body.len(),
    };
    let body = body.get(..before).unwrap_or(body);
    let place = |id: EffectId| {
        body.iter().find_map(|(_, entry)| match entry {
            Entry::Effect { effect, .. } if effect.id == id => Some(&effect.pointer),
            _ => None,
        })
    };
    let is_it = |error: &Failure| error.code == failure.code && error.message == failure.message;
    let cause = body.iter().rposition(|(_, entry)| match entry {
        Entry::Outcome { id, outcome: Outcome::Error(error) } => {
            is_it(error) && place(*id) == failure.pointer.as_ref()
        }
        Entry::Effect { effect, outcome: Some(Outcome::Error(error)) } => {
            is_it(error) && Some(&effect.pointer) == failure.pointer.as_ref()
        }
        _ => false,
    });
    if let Some(cause) = cause {
        return Ok(cause);
    }
    // What was only read may be different now.
    let only_read = body.iter().rev().take_while(|(_, entry)| match entry {
        Entry::Effect { effect, outcome: Some(_) } => is_read(&effect.kind),
        _ => false,
    });
    Ok(body.len() - only_read.count())
}

fn is_read(kind: &EffectKind) -> bool {
    match kind {
        EffectKind::Now | EffectKind::Uuid | EffectKind::Random | EffectKind::Log { .. } => true,
        EffectKind::Memory(request) => matches!(
            request.op,
            MemoryOp::Get | MemoryOp::List | MemoryOp::Search | MemoryOp::Last | MemoryOp::Count
        ),
        _ => false,
    }
}

/// The journal that a new execution begins with when it branches off after the entry `at`: what was recorded by then, under
/// the new execution's own name. Effects that had no outcome by then are asked for anew.
///
/// # Errors
/// There is no such entry, or no way from there; or the program does something else with the new input.
pub fn fork(
    program: &Program,
    entries: &[Entry],
    at: usize,
    input: Option<Value>,
    context: impl FnOnce(&ExecutionContext) -> ExecutionContext,
) -> Result<Vec<Entry>, BranchError> {
    let prefix = entries.get(..at.saturating_add(1)).filter(|prefix| prefix.len() == at.saturating_add(1));
    let prefix = prefix.ok_or(BranchError::NoEntry { entries: entries.len() })?;
    let mut counting: Vec<Entry> = effective(prefix).into_iter().map(|(_, entry)| entry.clone()).collect();
    counting.pop_if(|entry| matches!(entry, Entry::Ended(_)));
    if counting.iter().any(|entry| matches!(entry, Entry::Cancel { .. })) {
        return Err(BranchError::Cancelled);
    }
    if let Some(Entry::Effect { effect, .. }) = counting.last()
        && let EffectKind::Memory(request) = &effect.kind
        && request.op == MemoryOp::Get
        && request.for_update
    {
        return Err(BranchError::InUpdate);
    }
    let open: BTreeSet<EffectId> =
        resume(program, None, &counting)?.machine.pending().into_iter().map(|effect| effect.id).collect();
    counting.retain(
        |entry| !matches!(entry, Entry::Effect { effect, outcome: None } if open.contains(&effect.id)),
    );
    let Some(Entry::Started(start)) = counting.first_mut() else {
        return Err(ReplayError::NoStart { seq: 0 }.into());
    };
    **start = Start {
        context: context(&start.context),
        input: input.unwrap_or_else(|| start.input.clone()),
        ..(**start).clone()
    };
    match resume(program, None, &counting) {
        Ok(_) => Ok(counting),
        Err(ReplayError::Diverged { seq, recorded, found }) => {
            Err(BranchError::OtherWay { seq, recorded, found })
        }
        Err(error) => Err(error.into()),
    }
}

/// The machine that entries lead to, gone on to where it can do nothing without an outcome.
///
/// # Errors
/// The journal does not begin where it should, or tells of something that the program does not do.
pub fn standing(
    program: &Program,
    snapshot: Option<Machine>,
    entries: &[Entry],
) -> Result<Machine, ReplayError> {
    let mut machine = resume(program, snapshot, entries)?.machine;
    let mut fuel = STEPS_AT_MOST;
    while let Step::Effects(effects) = machine.advance(program, &mut fuel) {
        // Only inside effects keep the others from running.
        if effects.iter().any(|effect| effect.kind.is_inside()) {
            break;
        }
    }
    machine.take_abandoned();
    machine.take_traces();
    Ok(machine)
}
