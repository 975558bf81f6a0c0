//! How long blocks may take, how often they are tried, and what is open beside what fibers wait for.

use std::sync::Arc;
use std::time::Duration;

use scaigrid_ir::Value;
use scaigrid_ir::block::Retry;

use super::fibers::{Reach, interrupt};
use super::schedule::Run;
use super::script::Halt;
use super::state::{Completion, Frame, Open, Role, Spent, Then};
use crate::effect::{Effect, EffectId, EffectKind, TimerRequest};
use crate::failure::Failure;
use crate::program::{BlockNode, ListNo};

impl Run<'_> {
    /// Begins a block that is bounded or tried again: its condition first, once for all attempts.
    pub(super) fn guarded(&mut self, f: usize, node: &BlockNode, list: ListNo, at: u32) {
        if let Some(when) = &node.when {
            let holds = self.evaluate(f, (&node.id, &node.pointer), |script| script.eval(when));
            let Some(holds) = holds else { return };
            if holds != Value::Bool(true) {
                return self.complete(f, Completion::Value(Value::Null));
            }
        }
        if node.retry.is_some() {
            let Some(fiber) = self.state.fibers.get_mut(f) else { return };
            fiber.frames.push(Frame::Retry { list, at, attempt: 0, waiting: false });
        } else {
            self.attempt(f, node, list, at);
        }
    }

    /// Begins one attempt of a block, within its time.
    pub(super) fn attempt(&mut self, f: usize, node: &BlockNode, list: ListNo, at: u32) {
        // After the cancellation nothing outside is asked for, the time neither.
        match node.bound() {
            Some(span) if self.state.cancelled.is_none() => {
                let timer = self.open_timer((&node.id, &node.pointer), span);
                if let Some(fiber) = self.state.fibers.get_mut(f) {
                    fiber.frames.push(Frame::Timed { list, at, timer });
                }
            }
            _ => self.begin(f, node, list, at),
        }
    }

    /// A bounded block is left: its timer goes.
    pub(super) fn untimed(
        &mut self,
        list: ListNo,
        at: u32,
        timer: EffectId,
        completion: Completion,
    ) -> Completion {
        self.close(timer);
        match completion {
            Completion::Expire(expired) if expired == timer => {
                let mut failure = Failure::new("TIMEOUT", "the block took longer than it may");
                if let Some(node) = self.program.block(list, at) {
                    failure = failure.at(&node.id, &node.pointer);
                }
                Completion::Error(failure)
            }
            passing => passing,
        }
    }

    /// An attempt of a block has ended; none where there is another one.
    pub(super) fn retried(
        &mut self,
        f: usize,
        list: ListNo,
        at: u32,
        attempt: u32,
        completion: Completion,
    ) -> Option<Completion> {
        let program = self.program;
        let node = program.block(list, at);
        let Some((node, retry)) = node.and_then(|node| Some((node, node.retry.as_deref()?))) else {
            self.lost();
            return None;
        };
        match completion {
            Completion::Error(failure)
                if attempt < retry.max
                    && self.state.cancelled.is_none()
                    && (retry.on.is_empty() || retry.on.contains(&failure.code)) =>
            {
                self.traces.retried(node, attempt.saturating_add(1), &failure);
                let fiber = self.state.fibers.get_mut(f)?;
                fiber.frames.push(Frame::Retry {
                    list,
                    at,
                    attempt: attempt.saturating_add(1),
                    waiting: true,
                });
                None
            }
            passing => Some(passing),
        }
    }

    /// Waits before the next attempt.
    pub(super) fn back_off(&mut self, f: usize, list: ListNo, at: u32, attempt: u32) {
        let program = self.program;
        let Some(node) = program.block(list, at) else { return self.lost() };
        let Some(retry) = &node.retry else { return self.lost() };
        self.evaluate::<()>(f, (&node.id, &node.pointer), |script| {
            let drawn = if retry.jitter { script.effect(|| EffectKind::Random)?.as_float() } else { None };
            let wait = TimerRequest::After(wait(retry, attempt, drawn));
            Err(Halt::Ask(EffectKind::Timer(wait), Then::Finish))
        });
    }

    /// The wait before the next attempt is over.
    pub(super) fn try_again(&mut self, f: usize) {
        if let Some(fiber) = self.state.fibers.get_mut(f)
            && let Some(Frame::Retry { waiting, .. }) = fiber.frames.last_mut()
        {
            *waiting = false;
        }
    }

    /// What a block's own budget has spent when it begins: nothing, and its time runs.
    pub(super) fn fresh_budget(&mut self, node: &BlockNode, span: Option<Duration>) -> Spent {
        let timer = match span {
            Some(span) if self.state.cancelled.is_none() => {
                Some(self.open_timer((&node.id, &node.pointer), span))
            }
            _ => None,
        };
        Spent { timer, ..Spent::default() }
    }

    fn open_timer(&mut self, place: (&Arc<str>, &Arc<str>), span: Duration) -> EffectId {
        self.open_beside(place, EffectKind::Timer(TimerRequest::After(span)), Role::Bound)
    }

    /// Asks for an effect that no fiber waits for by itself.
    pub(super) fn open_beside(
        &mut self,
        (block, pointer): (&Arc<str>, &Arc<str>),
        kind: EffectKind,
        role: Role,
    ) -> EffectId {
        let effect = self.new_effect(block, pointer, kind);
        let id = effect.id;
        self.state.open.push(Open { effect, role, outcome: None, handle: None });
        id
    }

    /// Numbers an effect, and hands it out.
    pub(super) fn new_effect(&mut self, block: &Arc<str>, pointer: &Arc<str>, kind: EffectKind) -> Effect {
        let flow = self.program.flow(self.state.flow).map(|(flow, _)| Arc::clone(&flow.name));
        let id = EffectId(self.state.next_effect);
        self.state.next_effect = self.state.next_effect.saturating_add(1);
        let effect = Effect {
            id,
            flow: flow.unwrap_or_else(|| "".into()),
            block: Arc::clone(block),
            pointer: Arc::clone(pointer),
            kind,
        };
        self.fresh.push(effect.clone());
        effect
    }

    /// Gives up an effect that is open beside the fibers, where it still is.
    pub(super) fn close(&mut self, id: EffectId) {
        let Ok(index) = self.state.open.binary_search_by_key(&id, |open| open.effect.id) else { return };
        let open = self.state.open.remove(index);
        if open.outcome.is_none() {
            // An outcome that is here already closed what it belongs to.
            if self.state.in_inbox(id) {
                self.state.inbox.retain(|(waiting, _)| *waiting != id);
            } else {
                self.abandoned.push(id);
            }
        }
    }

    /// Gives up whatever is open beside the fibers, since the flow ends.
    pub(super) fn give_up_open(&mut self) {
        let open: Vec<EffectId> = self.state.open.iter().map(|open| open.effect.id).collect();
        for id in open {
            self.close(id);
        }
    }

    /// Lets the outcome that came first take effect; outcomes that nobody waits for any more fall away.
    pub(super) fn take_from_inbox(&mut self) {
        while let Some((id, outcome)) = self.state.inbox.pop_front() {
            let mut fibers = self.state.fibers.iter_mut();
            if let Some(fiber) = fibers.find(|fiber| fiber.waits_for().is_some_and(|effect| effect.id == id))
            {
                return fiber.take(outcome);
            }
            let Ok(index) = self.state.open.binary_search_by_key(&id, |open| open.effect.id) else {
                continue;
            };
            let Some(open) = self.state.open.get_mut(index) else { continue };
            if open.role == Role::Bound {
                self.state.open.remove(index);
                return self.expire(id);
            }
            if open.outcome.is_none() {
                open.outcome = Some(outcome);
                return self.answered(id);
            }
        }
    }

    /// The time of a frame is up.
    fn expire(&mut self, timer: EffectId) {
        let place = self.state.fibers.iter().find_map(|fiber| {
            let level = fiber.frames.iter().position(|frame| match frame {
                Frame::Timed { timer: own, .. } => *own == timer,
                Frame::Budget { spent, .. } => spent.timer == Some(timer),
                _ => false,
            })?;
            Some((fiber.id, level))
        });
        if let Some((fiber, level)) = place {
            interrupt(self.state, self.abandoned, Reach::Within { fiber, level, timer });
        }
    }
}

/// The wait before an attempt: `initial * factor^(attempt - 1)`, at most the longest; with a number from 0 to below 1
/// that part of it.
fn wait(retry: &Retry, attempt: u32, drawn: Option<f64>) -> Duration {
    let longest = retry.max_wait.as_secs_f64();
    let mut seconds = retry.initial.as_secs_f64().min(longest);
    for _ in 1..attempt {
        // Multiplication gives the same on every machine; powers need not.
        seconds = (seconds * retry.factor).min(longest);
    }
    let drawn = drawn.filter(|drawn| (0.0..=1.0).contains(drawn));
    Duration::try_from_secs_f64(seconds * drawn.unwrap_or(1.0)).unwrap_or(retry.max_wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_chance_shortens_them() {
        let retry = Retry {
            max: 9,
            initial: Duration::from_secs(1),
            factor: 3.0,
            max_wait: Duration::from_secs(10),
            jitter: false,
            on: Vec::new(),
        };
        let waits: Vec<u64> = (1..6).map(|attempt| wait(&retry, attempt, None).as_secs()).collect();
        assert_eq!(waits, [1, 3, 9, 10, 10]);
        assert_eq!(wait(&retry, 4, Some(0.25)), Duration::from_millis(2500));
        assert_eq!(wait(&retry, 4, Some(0.0)), Duration::ZERO);
    }
}
