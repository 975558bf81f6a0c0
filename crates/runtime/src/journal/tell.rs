//! What happened to blocks, told from a journal: the program is run again along it.

use super::replay::{Replayer, Wrong, told};
use super::{Entry, effective};
use crate::failure::ReplayError;
use crate::machine::{Machine, Traced};
use crate::program::Program;

/// Something that happened to a block, and the entry by which it had.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The number of the entry.
    pub seq: usize,
    /// What happened.
    pub traced: Traced,
}

/// What happened to blocks between the entry `from` and the end of a whole journal, in order. What happened after the last
/// entry has left no mark yet, and is told with the next one.
///
/// # Errors
/// The journal has no start, or tells of something that the program does not do.
pub fn tell(program: &Program, entries: &[Entry], from: usize) -> Result<Vec<Told>, ReplayError> {
    // What a retry took back has happened all the same: each stretch up to a retry is told as it was.
    let ends = entries.iter().enumerate().filter(|(_, entry)| matches!(entry, Entry::Retried { .. }));
    let ends: Vec<usize> = ends.map(|(seq, _)| seq).chain([entries.len()]).collect();
    let mut told = Vec::new();
    let mut begin = 0;
    for end in ends {
        if end > from {
            stretch(program, entries.get(..end).unwrap_or(entries), begin, from, &mut told)?;
        }
        begin = end + 1;
    }
    Ok(told)
}

/// Tells of the entries from `begin` on; those before it are gone over in silence.
fn stretch(
    program: &Program,
    entries: &[Entry],
    begin: usize,
    from: usize,
    told_of: &mut Vec<Told>,
) -> Result<(), ReplayError> {
    let counting = effective(entries);
    let (machine, rest) = match counting.as_slice() {
        [(_, Entry::Started(start)), rest @ ..] => {
            let machine = Machine::start(program, (**start).clone())
                .map_err(|failure| ReplayError::StartRefused { seq: 0, failure })?;
            (machine, rest)
        }
        _ => return Err(ReplayError::NoStart { seq: 0 }),
    };
    let mut replayer = Replayer { program, machine, open: Vec::new() };
    let mut tracing = false;
    for (seq, entry) in rest {
        if !tracing && *seq >= begin {
            drop(replayer.machine.take_traces());
            replayer.machine.trace();
            tracing = true;
        }
        replayer.take(entry).map_err(|wrong| {
            let found = match wrong {
                Wrong::SecondStart => String::new(),
                Wrong::Other(found) => found,
            };
            ReplayError::Diverged { seq: *seq, recorded: told(entry), found }
        })?;
        let traces = replayer.machine.take_traces();
        if tracing && *seq >= from {
            told_of.extend(traces.into_iter().map(|traced| Told { seq: *seq, traced }));
        }
    }
    Ok(())
}
