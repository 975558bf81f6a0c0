//! Iterations and branches that run beside one another, and the ways in which fibers are interrupted.

use std::collections::BTreeMap;
use std::sync::Arc;

use scaigrid_ir::Value;
use scaigrid_ir::block::OnError;

use super::schedule::Run;
use super::state::{Completion, Fiber, FiberState, Frame, Phase, State, Wait};
use super::unwind::collected;
use super::budget;
use crate::effect::EffectId;
use crate::failure::Failure;
use crate::limits::{MAX_CONCURRENT, MAX_FIBERS};
use crate::program::{ForkNode, ListNo, ParallelNode};

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

    /// Begins the branches of a `parallel`, of which there is at least one.
    pub(super) fn parallel(&mut self, f: usize, list: ListNo, at: u32, node: &ParallelNode) {
        let room = MAX_FIBERS.saturating_sub(self.state.fibers.len()).max(1);
        let wanted = node.max_concurrent.min(MAX_CONCURRENT);
        let at_once = wanted.min(u32::try_from(room).unwrap_or(u32::MAX));
        let Some(fiber) = self.state.fibers.get_mut(f) else { return };
        let items = Arc::clone(&node.names);
        fiber.frames.push(Frame::Fork { list, at, items, next: 0, results: BTreeMap::new(), ending: None });
        fiber.state = FiberState::Join;
        for _ in 0..at_once {
            self.spawn(f);
        }
    }

    /// Begins the next iteration or branch of the fork at the top, where there is one left.
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
        let body = match self.program.fork(list, at) {
            Some(ForkNode::Foreach(foreach)) => Some(foreach.body),
            Some(ForkNode::Parallel(parallel)) => {
                usize::try_from(index).ok().and_then(|index| parallel.bodies.get(index)).copied()
            }
            None => None,
        };
        let Some(body) = body else { return self.lost() };
        *next = next.saturating_add(1);
        let id = self.state.next_fiber;
        self.state.next_fiber = id.saturating_add(1);
        let frames = vec![Frame::Iteration { list, at, index, item }, Frame::blocks(body)];
        self.state.fibers.push(Fiber::new(id, Some(parent_id), frames));
    }

    /// An iteration or branch that ran beside others has ended: its fiber goes, and its fork takes note.
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
        let Some(fork) = program.fork(*list, *at) else { return self.lost() };
        let on_error = match fork {
            ForkNode::Foreach(foreach) => foreach.on_error,
            ForkNode::Parallel(parallel) if parallel.fail_fast => OnError::Fail,
            ForkNode::Parallel(_) => OnError::Collect,
        };
        // A loop around the branches is not theirs to leave; the verifier says so.
        let completion = match (fork, completion) {
            (ForkNode::Parallel(_), Completion::Break | Completion::Continue) => {
                Completion::Error(Failure::new("OUTSIDE_LOOP", "break and continue belong in a loop"))
            }
            (_, other) => other,
        };
        let was_ending = ending.is_some();
        let was_interrupted = matches!(completion, Completion::Cancel | Completion::Expire(_));
        match completion {
            Completion::Value(value) => {
                results.insert(index, value);
            }
            Completion::Continue => {
                results.insert(index, Value::Null);
            }
            Completion::Error(failure) => match on_error {
                OnError::Collect => {
                    results.insert(index, collected(&failure));
                }
                OnError::Skip => {}
                OnError::Fail if was_ending => {}
                OnError::Fail => *ending = Some(Completion::Error(failure)),
            },
            leaving @ (Completion::Break | Completion::Return(_)) if !was_ending => *ending = Some(leaving),
            Completion::Break
            | Completion::Return(_)
            | Completion::Cancel
            | Completion::Expire(_) => {}
        }
        let begins_to_end = ending.is_some() && !was_ending;
        let goes_on = ending.is_none() && usize::try_from(*next).is_ok_and(|next| next < items.len());

        // What an iteration bound lives where its `foreach` stands, from now on; a branch keeps what it bound.
        if !was_interrupted && matches!(fork, ForkNode::Foreach(_)) {
            let scope = if above.parent.is_some() { &mut above.locals } else { &mut self.state.names };
            scope.extend(fiber.locals);
        }

        if begins_to_end {
            interrupt(self.state, self.abandoned, Reach::Below(parent_id));
        } else if goes_on {
            self.spawn(parent);
        }
        if running == 0 && !goes_on {
            self.join(parent);
        }
    }

    /// All iterations or branches have ended: the fork is left.
    fn join(&mut self, f: usize) {
        let frame = self.state.fibers.get_mut(f).and_then(|fiber| fiber.frames.pop());
        let Some(Frame::Fork { list, at, items, results, ending, .. }) = frame else { return self.lost() };
        let completion = match (ending, self.program.fork(list, at)) {
            (None, Some(ForkNode::Parallel(_))) => {
                let named = items.iter().zip(0_u32..).filter_map(|(name, index)| {
                    Some((name.as_text()?.clone(), results.get(&index)?.clone()))
                });
                self.whole(Value::object(named.collect()))
            }
            (None | Some(Completion::Break), _) => self.list(results.into_values().collect()),
            (Some(completion), _) => completion,
        };
        if let Some(fiber) = self.state.fibers.get_mut(f) {
            fiber.state = FiberState::Leave(completion);
        }
    }
}

/// Which fibers are interrupted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reach {
    /// All, upon the execution's cancellation.
    All,
    /// Those below this fiber's fork.
    Below(u32),
    /// This one, as far as it is above this frame, whose time is up; and those below it.
    Within { fiber: u32, level: usize, timer: EffectId },
}

/// Makes fibers leave what they do.
///
/// A fiber in a `finally` body, and every fiber that runs for one, goes on to that body's end. Upon the
/// cancellation the outside effects that these wait for fail.
pub(super) fn interrupt(state: &mut State, abandoned: &mut Vec<EffectId>, reach: Reach) {
    // For every fiber that is meant: whether it runs in or for a `finally` body.
    let mut meant: BTreeMap<u32, bool> = BTreeMap::new();
    let mut given_up: Vec<(usize, Box<Wait>)> = Vec::new();
    let all = matches!(reach, Reach::All);
    for (f, fiber) in state.fibers.iter_mut().enumerate() {
        let above = fiber.parent.and_then(|parent| meant.get(&parent)).copied();
        let (level, leaving) = match reach {
            _ if above.is_some() => (0, Completion::Cancel),
            Reach::All => (0, Completion::Cancel),
            Reach::Below(parent) if fiber.parent == Some(parent) => (0, Completion::Cancel),
            Reach::Within { fiber: id, level, timer } if fiber.id == id => {
                (level.saturating_add(1), Completion::Expire(timer))
            }
            Reach::Below(_) | Reach::Within { .. } => continue,
        };
        let runs_for_one = above.unwrap_or(false);
        let outermost = fiber.frames.iter_mut().skip(level).find_map(|frame| match frame {
            Frame::Try { phase: Phase::Finally(before), .. } => Some(before),
            _ => None,
        });
        let in_one = outermost.is_some();
        meant.insert(fiber.id, runs_for_one || in_one);
        if let Some(before) = outermost
            && !runs_for_one
        {
            before.supersede(&leaving);
        }
        if runs_for_one || in_one {
            if all && let Some(refused) = fiber.refuse(f, &mut given_up) {
                fiber.scratch.clear();
                fiber.state = FiberState::Leave(Completion::Error(refused));
            }
            continue;
        }
        fiber.scratch.clear();
        match std::mem::replace(&mut fiber.state, FiberState::Run) {
            FiberState::Join => {
                if let Some(Frame::Fork { ending, .. }) = fiber.frames.last_mut() {
                    match ending {
                        Some(before) => before.supersede(&leaving),
                        None => *ending = Some(leaving),
                    }
                }
                fiber.state = FiberState::Join;
            }
            FiberState::Leave(mut before) => {
                before.supersede(&leaving);
                fiber.state = FiberState::Leave(before);
            }
            FiberState::Wait(wait) => {
                given_up.push((f, wait));
                fiber.state = FiberState::Leave(leaving);
            }
            _ => fiber.state = FiberState::Leave(leaving),
        }
    }
    // What calls that are given up may have spent is spent, unless it is known already.
    for (f, wait) in &given_up {
        let answer = state.inbox.iter().find(|(id, _)| *id == wait.effect.id).map(|(_, outcome)| outcome.clone());
        budget::settle(state, *f, &wait.effect.kind, answer.as_ref());
    }
    let mut given_up: Vec<EffectId> = given_up.into_iter().map(|(_, wait)| wait.effect.id).collect();
    if all {
        given_up.extend(state.open.extract_if(.., |open| open.outcome.is_none()).map(|open| open.effect.id));
    }
    // An outcome that is here already closed what it belongs to; nothing is left to give up.
    let answered: Vec<EffectId> = state.inbox.iter().map(|(id, _)| *id).collect();
    state.inbox.retain(|(id, _)| !given_up.contains(id));
    abandoned.extend(given_up.into_iter().filter(|id| !answered.contains(id)));
}

impl Fiber {
    /// What becomes of a fiber in a `finally` body upon the cancellation, where it waits for something outside.
    fn refuse(&mut self, f: usize, given_up: &mut Vec<(usize, Box<Wait>)>) -> Option<Failure> {
        match std::mem::replace(&mut self.state, FiberState::Run) {
            FiberState::Wait(wait) if !wait.effect.kind.is_inside() => {
                let failure = refused().at(&wait.effect.block, &wait.effect.pointer);
                given_up.push((f, wait));
                Some(failure)
            }
            FiberState::Turn(asked) | FiberState::Ask(asked) => {
                Some(refused().at(&asked.block, &asked.pointer))
            }
            FiberState::Await => Some(refused()),
            other => {
                self.state = other;
                None
            }
        }
    }
}
