//! Iterations that run beside one another, and the ways in which they are interrupted.

use std::collections::BTreeMap;
use std::sync::Arc;

use scaigrid_ir::Value;
use scaigrid_ir::block::OnError;

use super::schedule::Run;
use super::state::{Completion, Fiber, FiberState, Frame, Phase, State};
use super::unwind::collected;
use crate::effect::EffectId;
use crate::failure::Failure;
use crate::limits::{MAX_CONCURRENT, MAX_FIBERS};
use crate::program::ListNo;

/// What becomes of an outside effect after the cancellation.
pub(super) fn refused() -> Failure {
    Failure::new("CANCELLED", "the execution is being cancelled")
}

impl Run<'_> {
    /// Begins a `foreach` over items, of which there is at least one.
    pub(super) fn foreach(&mut self, f: usize, list: ListNo, at: u32, items: Arc<Vec<Value>>) {
        let Some(foreach) = self.program.foreach(list, at) else { return self.lost() };
        let (Some(first), Ok(count)) = (items.first().cloned(), u32::try_from(items.len())) else {
            return self.lost();
        };
        let room = MAX_FIBERS.saturating_sub(self.state.fibers.len());
        let wanted = foreach.max_concurrent.min(MAX_CONCURRENT).min(count);
        let at_once = wanted.min(u32::try_from(room).unwrap_or(u32::MAX));
        let Some(fiber) = self.state.fibers.get_mut(f) else { return };
        if at_once < 2 {
            fiber.frames.push(Frame::Foreach { list, at, items, index: 0, item: first, results: Vec::new() });
            fiber.frames.push(Frame::blocks(foreach.body));
            return;
        }
        fiber.frames.push(Frame::Fork { list, at, items, next: 0, results: BTreeMap::new(), ending: None });
        fiber.state = FiberState::Join;
        for _ in 0..at_once {
            self.spawn(f);
        }
    }

    /// Begins the next iteration of the `foreach` at the top, where there is one left.
    fn spawn(&mut self, parent: usize) {
        let Some(fiber) = self.state.fibers.get_mut(parent) else { return };
        let parent_id = fiber.id;
        let Some(Frame::Fork { list, at, items, next, .. }) = fiber.frames.last_mut() else {
            return self.lost();
        };
        let (list, at, index) = (*list, *at, *next);
        let Some(item) = usize::try_from(index).ok().and_then(|index| items.get(index)).cloned() else {
            return;
        };
        *next = next.saturating_add(1);
        let Some(foreach) = self.program.foreach(list, at) else { return self.lost() };
        let id = self.state.next_fiber;
        self.state.next_fiber = id.saturating_add(1);
        let frames = vec![Frame::Iteration { list, at, index, item }, Frame::blocks(foreach.body)];
        self.state.fibers.push(Fiber::new(id, Some(parent_id), frames));
    }

    /// An iteration that ran beside others has ended: its fiber goes, and its `foreach` takes note.
    pub(super) fn iteration_ended(&mut self, f: usize, index: u32, completion: Completion) {
        let fiber = self.state.fibers.remove(f);
        let completion = match completion {
            Completion::Value(value) => match self.fit(&value) {
                Ok(()) => Completion::Value(value),
                Err(failure) => Completion::Error(failure),
            },
            other => other,
        };
        let Some(parent_id) = fiber.parent else { return self.lost() };
        let Some(parent) = self.state.fiber_index(parent_id) else { return self.lost() };
        let running = self.state.fibers.iter().filter(|other| other.parent == Some(parent_id)).count();
        let program = self.program;
        let Some(above) = self.state.fibers.get_mut(parent) else { return };
        let Some(Frame::Fork { list, at, results, ending, items, next, .. }) = above.frames.last_mut() else {
            return self.lost();
        };
        let Some(foreach) = program.foreach(*list, *at) else { return self.lost() };
        let was_ending = ending.is_some();
        let was_interrupted = matches!(completion, Completion::Cancel);
        match completion {
            Completion::Value(value) => {
                results.insert(index, value);
            }
            Completion::Continue => {
                results.insert(index, Value::Null);
            }
            Completion::Error(failure) => match foreach.on_error {
                OnError::Collect => {
                    results.insert(index, collected(&failure));
                }
                OnError::Skip => {}
                OnError::Fail if was_ending => {}
                OnError::Fail => *ending = Some(Completion::Error(failure)),
            },
            leaving @ (Completion::Break | Completion::Return(_)) if !was_ending => *ending = Some(leaving),
            Completion::Break | Completion::Return(_) | Completion::Cancel => {}
        }
        let begins_to_end = ending.is_some() && !was_ending;
        let goes_on = ending.is_none() && usize::try_from(*next).is_ok_and(|next| next < items.len());

        // What the iteration bound lives where its `foreach` stands, from now on.
        if !was_interrupted {
            let scope = if above.parent.is_some() { &mut above.locals } else { &mut self.state.names };
            scope.extend(fiber.locals);
        }

        if begins_to_end {
            interrupt(self.state, self.abandoned, Some(parent_id));
        } else if goes_on {
            self.spawn(parent);
        }
        if running == 0 && !goes_on {
            self.join(parent);
        }
    }

    /// All iterations have ended: the `foreach` is left.
    fn join(&mut self, f: usize) {
        let frame = self.state.fibers.get_mut(f).and_then(|fiber| fiber.frames.pop());
        let Some(Frame::Fork { results, ending, .. }) = frame else { return self.lost() };
        let completion = match ending {
            None | Some(Completion::Break) => self.list(results.into_values().collect()),
            Some(completion) => completion,
        };
        if let Some(fiber) = self.state.fibers.get_mut(f) {
            fiber.state = FiberState::Leave(completion);
        }
    }
}

/// Makes fibers leave what they do: those of one `foreach` (the fibers below `below`), or all of them upon the
/// execution's cancellation.
///
/// A fiber in a `finally` body, and every fiber that runs for one, goes on to that body's end. Upon the
/// cancellation the outside effects that these wait for fail.
pub(super) fn interrupt(state: &mut State, abandoned: &mut Vec<EffectId>, below: Option<u32>) {
    // For every fiber that is meant: whether it runs in or for a `finally` body.
    let mut meant: BTreeMap<u32, bool> = BTreeMap::new();
    let mut given_up = Vec::new();
    for fiber in &mut state.fibers {
        let above = fiber.parent.and_then(|parent| meant.get(&parent)).copied();
        if above.is_none() && below.is_some_and(|below| fiber.parent != Some(below)) {
            continue;
        }
        let runs_for_one = above.unwrap_or(false);
        let outermost = fiber.frames.iter_mut().find_map(|frame| match frame {
            Frame::Try { phase: Phase::Finally(before), .. } => Some(before),
            _ => None,
        });
        let in_one = outermost.is_some();
        meant.insert(fiber.id, runs_for_one || in_one);
        if let Some(before) = outermost
            && !runs_for_one
        {
            *before = Completion::Cancel;
        }
        if runs_for_one || in_one {
            let refused = match &fiber.state {
                FiberState::Wait(wait) if below.is_none() && !wait.effect.kind.is_inside() => {
                    given_up.push(wait.effect.id);
                    refused().at(&wait.effect.block, &wait.effect.pointer)
                }
                _ => continue,
            };
            fiber.scratch.clear();
            fiber.state = FiberState::Leave(Completion::Error(refused));
            continue;
        }
        if matches!(fiber.state, FiberState::Join)
            && let Some(Frame::Fork { ending, .. }) = fiber.frames.last_mut()
        {
            *ending = Some(Completion::Cancel);
            continue;
        }
        if let FiberState::Wait(wait) = &fiber.state {
            given_up.push(wait.effect.id);
        }
        fiber.scratch.clear();
        fiber.state = FiberState::Leave(Completion::Cancel);
    }
    // An outcome that is here already closed what it belongs to; nothing is left to give up.
    let answered: Vec<EffectId> = state.inbox.iter().map(|(id, _)| *id).collect();
    state.inbox.retain(|(id, _)| !given_up.contains(id));
    abandoned.extend(given_up.into_iter().filter(|id| !answered.contains(id)));
}
