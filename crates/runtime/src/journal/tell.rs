//! What happened to blocks, told from a journal: the program is run again along it.

use super::replay::{Base, Replayer, told};
use super::{Entry, effective};
use crate::failure::ReplayError;
use crate::machine::Traced;
use crate::program::Program;

/// Something that happened to a block, and the entry by which it had.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The number of the entry.
    pub seq: usize,
    /// What happened.
    pub traced: Traced,
}

/// What happened to blocks between the entry `from` and the end of a journal, in order; the journal is followed from a machine
/// that was kept, or from its start. What happened after the last entry has left no mark yet, and is told with the next one.
///
/// # Errors
/// The journal has no start, or tells of something that the program does not do.
pub fn tell(
    program: &Program,
    base: Option<&Base>,
    entries: &[Entry],
    from: usize,
) -> Result<Vec<Told>, ReplayError> {
    let first = Base::first(base);
    // What a retry took back has happened all the same: each stretch up to a retry is told as it was.
    let ends = entries.iter().enumerate().filter(|(_, entry)| matches!(entry, Entry::Retried { .. }));
    let ends: Vec<usize> = ends.map(|(index, _)| index).chain([entries.len()]).collect();
    let mut told = Vec::new();
    let mut begin = first;
    for end in ends {
        if first + end > from {
            let counting = effective(first, entries.get(..end).unwrap_or(entries));
            stretch(program, base, &counting, begin.max(from), begin, &mut told)?;
        }
        // The steps up to where it goes on have been told of.
        begin = first + end + 1;
    }
    Ok(told)
}

/// Tells of the entries from `from` on. Listening begins with the entry `begin`; those before are gone over in silence.
fn stretch(
    program: &Program,
    base: Option<&Base>,
    counting: &[(usize, &Entry)],
    from: usize,
    begin: usize,
    told_of: &mut Vec<Told>,
) -> Result<(), ReplayError> {
    let (mut replayer, rest) = Replayer::begin(program, base, counting)?;
    let mut tracing = false;
    for (seq, entry) in rest {
        if !tracing && *seq >= begin {
            drop(replayer.machine.take_traces());
            replayer.machine.trace();
            tracing = true;
        }
        replayer.take(entry).map_err(|wrong| wrong.at(*seq, || told(entry)))?;
        let traces = replayer.machine.take_traces();
        if tracing && *seq >= from {
            told_of.extend(traces.into_iter().map(|traced| Told { seq: *seq, traced }));
        }
    }
    Ok(())
}
