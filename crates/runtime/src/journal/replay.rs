//! From a journal to the machine that it tells of.
//!
//! The machine takes only the steps that an entry needs, so that it is never ahead of what was recorded. Each
//! effect that it asks for must be the one that is recorded; no effect is performed again.

use super::{Entry, effective};
use crate::effect::{Effect, EffectId, Outcome};
use crate::failure::ReplayError;
use crate::machine::{Machine, Status, Step};
use crate::program::Program;

/// A machine that was kept beside a journal: whoever has it need not follow the journal from its beginning.
///
/// It must have been taken when everything that it had handed out was recorded, and no retry behind it may go back to before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Base {
    /// The machine.
    pub machine: Machine,
    /// The number of the entry that comes after it.
    pub seq: usize,
}

impl Base {
    /// The number of the first entry to be followed.
    pub(super) fn first(base: Option<&Self>) -> usize {
        base.map_or(0, |base| base.seq)
    }
}

/// A machine made again of a journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// The machine as it stood when the last entry was recorded; advance it to go on. Effects that it had
    /// asked for by then, and that the journal does not have, it asks for again, under the same numbers.
    pub machine: Machine,
    /// The numbers of those that it had already asked for, where only a later one's record is there. They come
    /// first when it is advanced.
    pub unrecorded: Vec<EffectId>,
}

/// The machine that a whole journal leads to.
///
/// # Errors
/// The journal has no start, or tells of something that the program does not do.
pub fn replay(program: &Program, entries: &[Entry]) -> Result<Machine, ReplayError> {
    resume(program, None, entries).map(|replayed| replayed.machine)
}

/// The machine that a journal leads to, from a machine that was kept before the first of these entries, or from the start.
///
/// # Errors
/// The journal does not begin where it should, or tells of something that the program does not do.
pub fn resume(program: &Program, base: Option<&Base>, entries: &[Entry]) -> Result<Replayed, ReplayError> {
    let first = Base::first(base);
    let mut replayer = Replayer::follow(program, base, &effective(first, entries))?;
    // An effect without a record may be one that the machine gave up in the same breath, some steps on.
    while !replayer.open.is_empty() && replayer.machine.status() == Status::Runnable {
        let nothing_more = || "nothing more".to_owned();
        replayer.one_step().map_err(|wrong| wrong.at(first + entries.len(), nothing_more))?;
    }
    // What was given up on the way was closed on the way, or is not in `pending`.
    let Replayer { mut machine, open, .. } = replayer;
    machine.take_abandoned();
    machine.take_traces();
    let unrecorded = open.iter().map(|effect| effect.id).collect();
    machine.hand_out_again(open);
    Ok(Replayed { machine, unrecorded })
}

/// An entry and its number.
type Numbered<'e> = (usize, &'e Entry);

pub(super) enum Wrong {
    SecondStart,
    Other(String),
}

impl Wrong {
    pub(super) fn at(self, seq: usize, recorded: impl FnOnce() -> String) -> ReplayError {
        match self {
            Self::SecondStart => ReplayError::NoStart { seq },
            Self::Other(found) => ReplayError::Diverged { seq, recorded: recorded(), found },
        }
    }
}

pub(super) struct Replayer<'p> {
    pub(super) program: &'p Program,
    pub(super) machine: Machine,
    /// Effects that the machine has asked for and whose record has not come yet.
    pub(super) open: Vec<Effect>,
}

impl<'p> Replayer<'p> {
    /// One that stands before the first of entries that count, or behind it where that is the start; and the rest of them.
    pub(super) fn begin<'j, 'e>(
        program: &'p Program,
        base: Option<&Base>,
        counting: &'j [Numbered<'e>],
    ) -> Result<(Self, &'j [Numbered<'e>]), ReplayError> {
        let (machine, rest) = match (base, counting) {
            (Some(base), rest) => {
                let early = |from: u64| usize::try_from(from).is_ok_and(|from| from < base.seq);
                let too_far = rest
                    .iter()
                    .find(|(_, entry)| matches!(entry, Entry::Retried { from, .. } if early(*from)));
                if let Some((seq, entry)) = too_far {
                    let found = format!("a state that does not count before entry {}", base.seq);
                    return Err(Wrong::Other(found).at(*seq, || told(entry)));
                }
                (base.machine.clone(), rest)
            }
            (None, [(_, Entry::Started(start)), rest @ ..]) => {
                let machine = Machine::start(program, (**start).clone())
                    .map_err(|failure| ReplayError::StartRefused { seq: 0, failure })?;
                (machine, rest)
            }
            (None, _) => return Err(ReplayError::NoStart { seq: 0 }),
        };
        Ok((Self { program, machine, open: Vec::new() }, rest))
    }

    /// One that has followed all of these entries, which count.
    pub(super) fn follow(
        program: &'p Program,
        base: Option<&Base>,
        counting: &[Numbered<'_>],
    ) -> Result<Self, ReplayError> {
        let (mut replayer, rest) = Self::begin(program, base, counting)?;
        for (seq, entry) in rest {
            replayer.take(entry).map_err(|wrong| wrong.at(*seq, || told(entry)))?;
        }
        Ok(replayer)
    }

    pub(super) fn take(&mut self, entry: &Entry) -> Result<(), Wrong> {
        match entry {
            Entry::Started(_) => Err(Wrong::SecondStart),
            Entry::Retried { again, next, .. } => self.take_up(again, *next),
            Entry::Effect { effect, outcome } => {
                let asked = self.asked(effect.id)?;
                if asked != *effect {
                    return Err(Wrong::Other(format!("effect {} is {}", asked.id.0, asked.to_json())));
                }
                match outcome {
                    Some(outcome) => self.deliver(effect.id, outcome),
                    None => Ok(()),
                }
            }
            Entry::Outcome { id, outcome } => self.deliver(*id, outcome),
            Entry::Cancel { reason, steps } => {
                while self.machine.steps() < *steps {
                    self.one_step()?;
                }
                if self.machine.steps() > *steps || !self.machine.cancel(reason.clone()) {
                    return Err(Wrong::Other(format!(
                        "{:?}, {} steps",
                        self.machine.status(),
                        self.machine.steps()
                    )));
                }
                self.withdraw();
                Ok(())
            }
            Entry::Ended(end) => {
                while self.machine.end().is_none() {
                    self.one_step()?;
                }
                if self.machine.end() == Some(end) {
                    Ok(())
                } else {
                    Err(Wrong::Other(format!("the end {:?}", self.machine.status())))
                }
            }
        }
    }

    /// Goes on where a retry does: effects are asked for once more.
    fn take_up(&mut self, again: &[EffectId], next: Option<u32>) -> Result<(), Wrong> {
        let Some(next) = next else {
            for id in again {
                let is_open = self.open.iter().any(|effect| effect.id == *id);
                self.open.extend(self.machine.asked(*id).filter(|_| !is_open).cloned());
            }
            return Ok(());
        };
        // Wherever this began: a machine that was kept is ahead of one that takes only the steps that an entry needs, and
        // what is asked for on the way has its number by then.
        self.settle()?;
        self.open = self.machine.renew(again, next);
        Ok(())
    }

    /// Goes on to where the machine can do nothing without an outcome.
    pub(super) fn settle(&mut self) -> Result<(), Wrong> {
        while self.machine.status() == Status::Runnable {
            self.one_step()?;
        }
        Ok(())
    }

    /// The effect of that number, for which the machine runs as far as it must.
    fn asked(&mut self, id: EffectId) -> Result<Effect, Wrong> {
        loop {
            if let Some(index) = self.open.iter().position(|effect| effect.id == id) {
                return Ok(self.open.remove(index));
            }
            self.one_step()?;
        }
    }

    fn one_step(&mut self) -> Result<(), Wrong> {
        let before = self.machine.steps();
        let mut fuel = 1;
        match self.machine.advance(self.program, &mut fuel) {
            Step::Effects(effects) => self.open.extend(effects),
            Step::OutOfFuel => {}
            // A step may also have been the last one before a standstill or the end.
            Step::Suspended | Step::Completed(_) | Step::Failed(_) | Step::Cancelled
                if self.machine.steps() > before => {}
            Step::Suspended => return Err(Wrong::Other("a standstill".to_owned())),
            Step::Completed(_) | Step::Failed(_) | Step::Cancelled => {
                return Err(Wrong::Other(format!("the end: {:?}", self.machine.status())));
            }
        }
        self.withdraw();
        Ok(())
    }

    /// Forgets effects that the machine gave up. One that was given up in the same advance in which it was
    /// asked for has no record, and nobody ever saw it.
    fn withdraw(&mut self) {
        let Self { machine, open, .. } = self;
        open.retain(|effect| machine.waits_for(effect.id));
    }

    fn deliver(&mut self, id: EffectId, outcome: &Outcome) -> Result<(), Wrong> {
        self.machine.deliver(id, outcome.clone()).map_err(|refused| Wrong::Other(refused.to_string()))
    }
}

/// An entry in a few words, for an error.
pub(super) fn told(entry: &Entry) -> String {
    match entry {
        Entry::Effect { effect, .. } => format!("effect {} as {}", effect.id.0, effect.to_json()),
        Entry::Outcome { id, .. } => format!("the outcome of effect {}", id.0),
        Entry::Cancel { steps, .. } => format!("a cancellation after {steps} steps"),
        Entry::Started(_) | Entry::Ended(_) | Entry::Retried { .. } => format!("\"{}\"", entry.name()),
    }
}
