//! Going another way from a point of the past: the same execution once more from where it failed, or a new one that shares
//! what was recorded up to a point.

use std::collections::BTreeSet;

use scaigrid_ir::Value;
use scaigrid_ir::block::MemoryOp;

use super::replay::{Base, Replayer};
use super::{Entry, effective, resume, tell};
use crate::effect::{Effect, EffectId, EffectKind, Outcome};
use crate::failure::{Failure, ReplayError};
use crate::machine::{End, ExecutionContext, Machine, Start, Step, Traced};
use crate::program::Program;

/// The most steps that a machine takes to come to a standstill when it is only looked at.
const STEPS_AT_MOST: u32 = 200_000;

/// What a call of a plugin fails with when it may have been carried out all the same.
const IN_DOUBT: [&str; 3] = ["PLUGIN_TIMEOUT", "PLUGIN_UNREACHABLE", "PLUGIN_RESULT_INVALID"];

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
    /// It lies before the entries that there are.
    #[error("that lies before entry {first}, and what came before that entry is not kept")]
    Before {
        /// The number of the first entry that there is.
        first: usize,
    },
    /// It had been cancelled by then.
    #[error("the execution had been cancelled by then")]
    Cancelled,
    /// Memory had been read for an update that was not written yet.
    #[error("the entry is the first half of an update of memory; take the one before it, or the next")]
    InUpdate,
    /// Somebody had allowed a call by then that was still to be made.
    #[error(
        "somebody had allowed a call by then that was still to be made, and they allowed it once; take an entry before \
         {}, so that they are asked again",
        .answered.map_or_else(|| "their answer".to_owned(), |seq| format!("{seq}, which is their answer"))
    )]
    Allowed {
        /// The entry with which they did, where it is there.
        answered: Option<usize>,
    },
    /// What the new execution is given cannot be another input, as the beginning is not there.
    #[error("the beginning of the journal is not kept, so the input must be the same")]
    InputGone,
    /// It did not fail.
    #[error("the execution has not failed")]
    NotFailed,
    /// A call would be made again that somebody had allowed once.
    #[error(
        "{tool} would be called again, which somebody had allowed once; fork the execution at an entry before their \
         answer, so that they are asked again"
    )]
    AllowedOnce {
        /// The plugin and its method.
        tool: String,
    },
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

/// Where a failed execution goes on: as [`Entry::Retried`] records it.
#[derive(Debug, Clone, PartialEq)]
pub struct Cut {
    /// The number of the first entry that does not count any more.
    pub from: u64,
    /// Effects that are asked for once more.
    pub again: Vec<EffectId>,
    /// The number from which on effects are numbered.
    pub next: u32,
}

impl From<Cut> for Entry {
    fn from(cut: Cut) -> Self {
        Self::Retried { from: cut.from, again: cut.again, next: Some(cut.next) }
    }
}

/// Where a failed execution goes on: before the outcome that made it fail, where there was one, and otherwise before the last
/// values that it only read. Whatever it wrote or told before stays, and is not done again. What else it had open when it
/// failed was closed then, and is opened once more.
///
/// Calls are another matter, for what was called knows them by their numbers. One that was refused for good is made anew,
/// under a new number: under the old one a plugin would only repeat itself. One that may have been carried out (it took too
/// long, broke off, or was torn when the execution failed) keeps its number, and is *in doubt*: what may be done about it depends on
/// what a repeat costs. And one that a person had allowed once is not made anew.
///
/// # Errors
/// It did not fail; the journal cannot be followed; a call would be made twice that was allowed once; or
/// [`BranchError::Before`] where the failure arose before the base.
pub fn retry(program: &Program, base: Option<&Base>, entries: &[Entry]) -> Result<Cut, BranchError> {
    let first = Base::first(base);
    let counting = effective(first, entries);
    let (body, failure) = match counting.split_last() {
        Some(((_, Entry::Ended(End::Failed(failure))), body)) => (body, Some(failure)),
        Some(((_, Entry::Ended(_)), _)) => return Err(BranchError::NotFailed),
        None if base.is_none() => return Err(BranchError::NotFailed),
        // One that could not go on failed without a word in its journal.
        _ => (counting.as_slice(), None),
    };
    let kept = match failure {
        Some(failure) => kept(program, base, entries, body, failure)?,
        None => body.len(),
    };
    let from = counting.get(kept).map_or(first + entries.len(), |(seq, _)| *seq);
    let (before, after) = counting.split_at(kept.min(counting.len()));
    let approved = after.iter().find_map(|(_, entry)| match entry {
        Entry::Effect { effect, .. } => allowed_tool(effect),
        _ => None,
    });
    if let Some(tool) = approved {
        return Err(BranchError::AllowedOnce { tool });
    }
    let mut replayer = Replayer::follow(program, base, before)?;
    replayer.settle().map_err(|wrong| wrong.at(from, || "nothing more".to_owned()))?;
    let mut again = Vec::new();
    for effect in replayer.machine.open() {
        let was_made = replayer.open.iter().all(|open| open.id != effect.id) || is_recorded(entries, effect);
        match (is_call(&effect.kind) && was_made).then(|| refused(entries, effect)) {
            // It may have been carried out.
            Some(false) => continue,
            Some(true) => {
                if let Some(tool) = allowed_tool(effect) {
                    return Err(BranchError::AllowedOnce { tool });
                }
            }
            None => {}
        }
        again.push(effect.id);
    }
    let seen = entries.iter().filter_map(|entry| match entry {
        Entry::Effect { effect, .. } => Some(effect.id.0.saturating_add(1)),
        Entry::Retried { next, .. } => *next,
        _ => None,
    });
    let next = seen.chain([replayer.machine.next_effect().0]).max().unwrap_or_default();
    Ok(Cut { from: u64::try_from(from).unwrap_or(u64::MAX), again, next })
}

fn is_call(kind: &EffectKind) -> bool {
    matches!(kind, EffectKind::PluginCall(_) | EffectKind::ModelCall(_))
}

/// What an effect calls, where somebody had to allow it.
fn allowed_tool(effect: &Effect) -> Option<String> {
    match &effect.kind {
        EffectKind::PluginCall(request) if request.approved_by.is_some() => {
            Some(format!("{}.{}", request.alias, request.method))
        }
        _ => None,
    }
}

fn is_recorded(entries: &[Entry], effect: &Effect) -> bool {
    entries.iter().any(|entry| matches!(entry, Entry::Effect { effect: known, .. } if known == effect))
}

/// Whether it is known of a call that it was not carried out. Of a model's, whatever failed may be asked for anew.
fn refused(entries: &[Entry], call: &Effect) -> bool {
    let outcome = entries.iter().rev().find_map(|entry| match entry {
        Entry::Outcome { id, outcome } if *id == call.id => Some(outcome),
        _ => None,
    });
    match outcome {
        Some(Outcome::Error(failure)) => {
            matches!(call.kind, EffectKind::ModelCall(_)) || !IN_DOUBT.contains(&&*failure.code)
        }
        _ => false,
    }
}

/// How many of the entries stay.
fn kept(
    program: &Program,
    base: Option<&Base>,
    entries: &[Entry],
    body: &[(usize, &Entry)],
    failure: &Failure,
) -> Result<usize, BranchError> {
    let first = Base::first(base);
    let told = tell(program, base, entries, first)?;
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
        // A failure that knows its block arose there; where that is not seen, it was earlier.
        None if base.is_some() && failure.block.is_some() => return Err(BranchError::Before { first }),
        None => body.len(),
    };
    let body = body.get(..before).unwrap_or(body);
    let place = |id: EffectId| {
        let recorded = body.iter().find_map(|(_, entry)| match entry {
            Entry::Effect { effect, .. } if effect.id == id => Some(&effect.pointer),
            _ => None,
        });
        recorded.or_else(|| base.and_then(|base| base.machine.asked(id)).map(|effect| &effect.pointer))
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

/// What a new execution begins with.
#[derive(Debug, Clone, PartialEq)]
pub struct Forked {
    /// The machine that its entries begin behind, where they do not begin with its start.
    pub base: Option<Base>,
    /// The entries.
    pub entries: Vec<Entry>,
}

/// What a new execution begins with when it branches off after the entry `at`: what was recorded by then, under the new
/// execution's own name. Effects that had no outcome by then are asked for anew.
///
/// What a person has allowed once is not shared: where somebody had allowed a call that was still to be made by then, there is no
/// fork, only before their answer.
///
/// # Errors
/// There is no such entry, or no way from there; or the program does something else with the new input.
pub fn fork(
    program: &Program,
    base: Option<&Base>,
    entries: &[Entry],
    at: usize,
    input: Option<Value>,
    context: impl FnOnce(&ExecutionContext) -> ExecutionContext,
) -> Result<Forked, BranchError> {
    let first = Base::first(base);
    let count = at.saturating_add(1).checked_sub(first).ok_or(BranchError::Before { first })?;
    let no_entry = || BranchError::NoEntry { entries: first + entries.len() };
    let prefix = entries.get(..count).ok_or_else(no_entry)?;
    let mut counting: Vec<Entry> =
        effective(first, prefix).into_iter().map(|(_, entry)| entry.clone()).collect();
    counting.pop_if(|entry| matches!(entry, Entry::Ended(_)));
    let was_cancelled = base.is_some_and(|base| base.machine.cancel_reason().is_some());
    if was_cancelled || counting.iter().any(|entry| matches!(entry, Entry::Cancel { .. })) {
        return Err(BranchError::Cancelled);
    }
    if let Some(Entry::Effect { effect, .. }) = counting.last()
        && let EffectKind::Memory(request) = &effect.kind
        && request.op == MemoryOp::Get
        && request.for_update
    {
        return Err(BranchError::InUpdate);
    }
    close_up(first, &mut counting);
    let stands = resume(program, base, &counting)?;
    let unrecorded: BTreeSet<EffectId> = stands.unrecorded.into_iter().collect();
    let pending = stands.machine.pending().into_iter().map(|effect| effect.id);
    let open: BTreeSet<EffectId> = pending.filter(|id| !unrecorded.contains(id)).collect();
    if let Some(checkpoint) = stand(program, stands.machine).permits() {
        let answered = |entry: &Entry| matches!(entry, Entry::Outcome { id, .. } if *id == checkpoint);
        let answered = prefix.iter().rposition(answered).map(|index| first + index);
        return Err(BranchError::Allowed { answered });
    }
    let is_plain = base.is_none() && !counting.iter().any(|entry| matches!(entry, Entry::Retried { .. }));
    if is_plain {
        counting.retain(
            |entry| !matches!(entry, Entry::Effect { effect, outcome: None } if open.contains(&effect.id)),
        );
    } else if !open.is_empty() {
        let from = u64::try_from(first + counting.len()).unwrap_or(u64::MAX);
        counting.push(Entry::Retried { from, again: open.into_iter().collect(), next: None });
    }
    let base = match (base, counting.first_mut()) {
        (Some(_), _) if input.is_some() => return Err(BranchError::InputGone),
        (Some(base), _) => {
            let machine = base.machine.clone();
            let context = context(machine.context());
            Some(Base { machine: machine.in_context(context), seq: base.seq })
        }
        (None, Some(Entry::Started(start))) => {
            **start = Start {
                context: context(&start.context),
                input: input.unwrap_or_else(|| start.input.clone()),
                ..(**start).clone()
            };
            None
        }
        (None, _) => return Err(ReplayError::NoStart { seq: 0 }.into()),
    };
    match resume(program, base.as_ref(), &counting) {
        Ok(_) => Ok(Forked { base, entries: counting }),
        Err(ReplayError::Diverged { seq, recorded, found }) => {
            Err(BranchError::OtherWay { seq, recorded, found })
        }
        Err(error) => Err(error.into()),
    }
}

/// Has retries among entries of which some were left out take back nothing more.
fn close_up(first: usize, entries: &mut [Entry]) {
    for (seq, entry) in (first..).zip(entries) {
        if let Entry::Retried { from, .. } = entry {
            *from = u64::try_from(seq).unwrap_or(u64::MAX);
        }
    }
}

/// The machine that entries lead to, gone on to where it can do nothing without an outcome.
///
/// # Errors
/// The journal does not begin where it should, or tells of something that the program does not do.
pub fn standing(program: &Program, base: Option<&Base>, entries: &[Entry]) -> Result<Machine, ReplayError> {
    Ok(stand(program, resume(program, base, entries)?.machine))
}

fn stand(program: &Program, mut machine: Machine) -> Machine {
    let mut fuel = STEPS_AT_MOST;
    while let Step::Effects(effects) = machine.advance(program, &mut fuel) {
        // Only inside effects keep the others from running.
        if effects.iter().any(|effect| effect.kind.is_inside()) {
            break;
        }
    }
    machine.take_abandoned();
    machine.take_traces();
    machine
}
