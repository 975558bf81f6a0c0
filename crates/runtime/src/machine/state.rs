//! What a machine's state consists of. Field order and variant names are the state format.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use scaigrid_ir::Value;
use serde::{Deserialize, Serialize};

use super::{End, ExecutionContext, Status};
use crate::effect::{Effect, EffectId, Outcome};
use crate::failure::{Failure, NotWaiting};
use crate::program::{ListNo, Program};

/// Variables by name.
pub(super) type Names = BTreeMap<Arc<str>, Value>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// The flow, by its place in the module.
    pub(super) flow: u32,
    pub(super) input: Value,
    pub(super) config: Value,
    pub(super) env: Value,
    pub(super) context: ExecutionContext,
    /// What the program sees as `execution`; made of the context and the flow's name, so it is not stored.
    #[serde(skip)]
    pub(super) execution: Execution,
    /// The flow's variables. A parameter is here only once it has been changed.
    pub(super) names: Names,
    /// In the order of their numbers; a parent comes before its children.
    pub(super) fibers: Vec<Fiber>,
    pub(super) next_fiber: u32,
    pub(super) next_effect: u32,
    /// Outcomes of outside effects that have not taken effect yet.
    pub(super) inbox: VecDeque<(EffectId, Outcome)>,
    pub(super) steps: u64,
    /// Bytes bound since the state was last measured, and what it measured then.
    pub(super) grown: u64,
    pub(super) measured: u64,
    pub(super) cancelled: Option<Arc<str>>,
    pub(super) end: Option<End>,
}

/// A value derived from the rest of the state; it takes no part in comparisons.
#[derive(Debug, Clone, Default)]
pub(super) struct Execution(pub(super) std::sync::OnceLock<Value>);

impl PartialEq for Execution {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// One strand of control.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Fiber {
    pub(super) id: u32,
    /// The fiber whose `foreach` this is an iteration of.
    pub(super) parent: Option<u32>,
    pub(super) frames: Vec<Frame>,
    pub(super) state: FiberState,
    /// What the step under way has obtained so far.
    pub(super) scratch: Scratch,
    /// What this iteration has bound; empty for the first fiber, which binds in the flow's scope.
    pub(super) locals: Names,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum FiberState {
    /// The step at the top frame is next.
    #[serde(rename = "r")]
    Run,
    /// The top frames are to be left, with this.
    #[serde(rename = "l")]
    Leave(Completion),
    /// An effect is open.
    #[serde(rename = "w")]
    Wait(Box<Wait>),
    /// An effect has its outcome.
    #[serde(rename = "d")]
    Delivered(Box<Wait>, Outcome),
    /// Iterations of the `foreach` at the top run as fibers of their own.
    #[serde(rename = "j")]
    Join,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Wait {
    pub(super) effect: Effect,
    pub(super) then: Then,
}

/// What an outcome is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Then {
    /// It answers a question of the expression under evaluation.
    #[serde(rename = "a")]
    Answer,
    /// The step goes on with it.
    #[serde(rename = "g")]
    Go,
    /// It finishes the step.
    #[serde(rename = "f")]
    Finish,
}

/// What a step has obtained before it had to wait. The step is run again from its beginning, and finds here the
/// values that it computed before.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Scratch {
    /// Values of its expressions, and outcomes of its effects, in order.
    pub(super) values: Vec<Value>,
    /// Answers to the questions of the next expression.
    pub(super) answers: Vec<Value>,
}

impl Scratch {
    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.answers.clear();
    }
}

/// How a body, a block or a statement is left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Completion {
    #[serde(rename = "v")]
    Value(Value),
    #[serde(rename = "b")]
    Break,
    #[serde(rename = "c")]
    Continue,
    #[serde(rename = "r")]
    Return(Value),
    #[serde(rename = "x")]
    Error(Failure),
    #[serde(rename = "k")]
    Cancel,
}

/// A level of a fiber's stack. `list` and `at` are the block that it belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Frame {
    /// A body: the block at `at` is next, or under way.
    #[serde(rename = "b")]
    Blocks { list: ListNo, at: u32, value: Value },
    /// Statements, likewise.
    #[serde(rename = "s")]
    Statements { list: ListNo, at: u32, value: Value },
    /// A `foreach` that runs one iteration after the other.
    #[serde(rename = "e")]
    Foreach { list: ListNo, at: u32, items: Arc<Vec<Value>>, index: u32, item: Value, results: Vec<Value> },
    /// A `foreach` whose iterations run beside one another.
    #[serde(rename = "k")]
    Fork {
        list: ListNo,
        at: u32,
        items: Arc<Vec<Value>>,
        next: u32,
        results: BTreeMap<u32, Value>,
        ending: Option<Completion>,
    },
    /// The bottom of an iteration that runs beside others.
    #[serde(rename = "i")]
    Iteration { list: ListNo, at: u32, index: u32, item: Value },
    /// A `while`: at the top, its condition is next.
    #[serde(rename = "w")]
    While { list: ListNo, at: u32, count: u32, value: Value },
    /// A `try`.
    #[serde(rename = "t")]
    Try { list: ListNo, at: u32, phase: Phase },
    /// What follows upon a decision; the checkpoint's value waits here.
    #[serde(rename = "a")]
    Respond { answer: Value },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Phase {
    #[serde(rename = "b")]
    Body,
    #[serde(rename = "c")]
    Catch,
    /// How the `try` is left when this is done.
    #[serde(rename = "f")]
    Finally(Completion),
}

impl Frame {
    pub(super) fn blocks(list: ListNo) -> Self {
        Self::Blocks { list, at: 0, value: Value::Null }
    }

    pub(super) fn statements(list: ListNo) -> Self {
        Self::Statements { list, at: 0, value: Value::Null }
    }
}

impl Fiber {
    pub(super) fn new(id: u32, parent: Option<u32>, frames: Vec<Frame>) -> Self {
        Self { id, parent, frames, state: FiberState::Run, scratch: Scratch::default(), locals: Names::new() }
    }

    pub(super) fn is_runnable(&self) -> bool {
        matches!(self.state, FiberState::Run | FiberState::Leave(_) | FiberState::Delivered(..))
    }

    /// The effect that it waits for.
    pub(super) fn waits_for(&self) -> Option<&Effect> {
        match &self.state {
            FiberState::Wait(wait) => Some(&wait.effect),
            _ => None,
        }
    }

    /// The ids of the blocks that it is in, the innermost first.
    pub(super) fn blocks(&self, program: &Program) -> Vec<Arc<str>> {
        let ids = self.frames.iter().rev().filter_map(|frame| match frame {
            Frame::Blocks { list, at, .. } => program.block(*list, *at).map(|block| Arc::clone(&block.id)),
            _ => None,
        });
        ids.collect()
    }
}

impl State {
    pub(super) fn fiber_index(&self, id: u32) -> Option<usize> {
        self.fibers.binary_search_by_key(&id, |fiber| fiber.id).ok()
    }

    fn in_inbox(&self, id: EffectId) -> bool {
        self.inbox.iter().any(|(waiting, _)| *waiting == id)
    }

    /// The outside effects that have no outcome yet.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Effect> {
        let mut effects: Vec<&Effect> = self
            .fibers
            .iter()
            .filter_map(Fiber::waits_for)
            .filter(|effect| !effect.kind.is_inside() && !self.in_inbox(effect.id))
            .collect();
        effects.sort_by_key(|effect| effect.id);
        effects.into_iter()
    }

    /// The inside effect that is open: there is at most one.
    pub(super) fn answering(&self) -> Option<EffectId> {
        self.fibers
            .iter()
            .filter_map(Fiber::waits_for)
            .find(|effect| effect.kind.is_inside())
            .map(|effect| effect.id)
    }

    pub(super) fn deliver(&mut self, id: EffectId, outcome: Outcome) -> Result<(), NotWaiting> {
        let answered = self.in_inbox(id);
        let waiting =
            self.fibers.iter_mut().find(|fiber| fiber.waits_for().is_some_and(|effect| effect.id == id));
        match waiting {
            Some(fiber) if fiber.waits_for().is_some_and(|effect| effect.kind.is_inside()) => {
                fiber.take(outcome);
                Ok(())
            }
            Some(_) if !answered => {
                self.inbox.push_back((id, outcome));
                Ok(())
            }
            _ => Err(NotWaiting { effect: id }),
        }
    }

    /// Lets the outcome that came first take effect; outcomes that nobody waits for any more fall away.
    pub(super) fn take_from_inbox(&mut self) {
        while let Some((id, outcome)) = self.inbox.pop_front() {
            let waiting =
                self.fibers.iter_mut().find(|fiber| fiber.waits_for().is_some_and(|effect| effect.id == id));
            if let Some(fiber) = waiting {
                fiber.take(outcome);
                return;
            }
        }
    }

    pub(super) fn status(&self) -> Status {
        match &self.end {
            Some(End::Completed(_)) => Status::Completed,
            Some(End::Failed(_)) => Status::Failed,
            Some(End::Cancelled) => Status::Cancelled,
            None => {
                if let Some(id) = self.answering() {
                    Status::Answering(id)
                } else if self.fibers.iter().any(Fiber::is_runnable) || !self.inbox.is_empty() {
                    Status::Runnable
                } else {
                    Status::Suspended { pending: self.pending().count() }
                }
            }
        }
    }
}

impl Fiber {
    fn take(&mut self, outcome: Outcome) {
        self.state = match std::mem::replace(&mut self.state, FiberState::Run) {
            FiberState::Wait(wait) => FiberState::Delivered(wait, outcome),
            other => other,
        };
    }
}
