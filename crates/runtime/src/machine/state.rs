//! What a machine's state consists of. Field order and variant names are the state format.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rust_decimal::Decimal;
use scaigrid_ir::Value;
use serde::{Deserialize, Serialize};

use super::{End, ExecutionContext, Status};
use crate::effect::{Effect, EffectId, EffectKind, Outcome};
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
    /// Effects that are open beside those that fibers wait for, in the order of their numbers.
    #[serde(default)]
    pub(super) open: Vec<Open>,
    /// Plugin calls that people have allowed.
    #[serde(default)]
    pub(super) grants: Vec<Grant>,
    /// Whether `debug` blocks run.
    #[serde(default)]
    pub(super) debug: bool,
}

/// An effect that is open without a fiber that waits for nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) effect: Effect,
    pub(super) role: Role,
    /// What came of it, where that is kept.
    pub(super) outcome: Option<Outcome>,
    /// The number that its handle has, where it was asked for once more under another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) handle: Option<EffectId>,
}

/// What an open effect is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Role {
    /// The time of a frame: [`Frame::Timed`], [`Frame::Budget`].
    #[serde(rename = "b")]
    Bound,
    /// An asynchronous call; its outcome is kept until the flow ends.
    #[serde(rename = "h")]
    Handle,
    /// An event or a time that a [`Frame::Await`] waits for; it ends with the frame.
    #[serde(rename = "e")]
    Entry,
}

/// A plugin call that somebody has allowed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Grant {
    /// The checkpoint.
    pub(super) checkpoint: EffectId,
    pub(super) alias: Arc<str>,
    pub(super) method: Arc<str>,
    pub(super) hash: Arc<str>,
    /// The last instant at which it holds, in microseconds since the Unix epoch, UTC.
    pub(super) until: Option<i64>,
    pub(super) used: bool,
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
    /// Iterations of the `foreach` at the top, or branches of the `parallel`, run as fibers of their own.
    #[serde(rename = "j")]
    Join,
    /// The [`Frame::Await`] at the top has not enough answers yet.
    #[serde(rename = "q")]
    Await,
    /// What an effect would spend is held by calls in flight; it is asked for when one of them has settled.
    #[serde(rename = "t")]
    Turn(Box<Asked>),
    /// An effect is to be asked for.
    #[serde(rename = "k")]
    Ask(Box<Asked>),
}

/// An effect that has not been asked for yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) block: Arc<str>,
    pub(super) pointer: Arc<str>,
    pub(super) kind: EffectKind,
    pub(super) then: Then,
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
    /// The step is finished with a handle at once; the outcome is waited for by it.
    #[serde(rename = "h")]
    Handle,
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
    /// Whether the step under way has obtained nothing so far: it is about to begin.
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.answers.is_empty()
    }

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
    /// The time that this effect was is up: everything above its frame is left.
    #[serde(rename = "t")]
    Expire(EffectId),
}

impl Completion {
    /// Takes the place of another reason to leave, unless that leads further out.
    pub(super) fn supersede(&mut self, new: &Self) {
        let stays = match (&*self, new) {
            (Self::Cancel, _) => true,
            // Outer times were opened earlier.
            (Self::Expire(old), Self::Expire(new)) => old <= new,
            (Self::Expire(_), new) => !matches!(new, Self::Cancel),
            _ => false,
        };
        if !stays {
            *self = new.clone();
        }
    }
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
    /// A block whose time is bounded: at the top, the block is next.
    #[serde(rename = "m")]
    Timed { list: ListNo, at: u32, timer: EffectId },
    /// A block that is tried again: at the top, its next attempt is next, or the wait before it.
    #[serde(rename = "r")]
    Retry { list: ListNo, at: u32, attempt: u32, waiting: bool },
    /// What a body may spend.
    #[serde(rename = "u")]
    Budget { list: ListNo, at: u32, spent: Box<Spent> },
    /// Answers that are joined, by their effects.
    #[serde(rename = "q")]
    Await { list: ListNo, at: u32, entries: Vec<EffectId>, enough: u32 },
    /// A generation: at the top, the model is asked next, or its answer is judged.
    #[serde(rename = "g")]
    Generate { list: ListNo, at: u32, state: Box<Generating> },
    /// What runs where a condition of a `guarded` does not hold; these names are in scope.
    #[serde(rename = "v")]
    Invalid { output: Value, violation: Value },
}

/// What has been spent of a budget.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Spent {
    pub(super) calls: u32,
    pub(super) tokens: u64,
    pub(super) cost: Decimal,
    /// What calls in flight may yet spend.
    pub(super) held_tokens: u64,
    pub(super) held_cost: Decimal,
    /// Whether it has refused something.
    pub(super) exceeded: bool,
    /// Whether it bounds nothing any more, since what follows upon its end runs.
    pub(super) over: bool,
    pub(super) timer: Option<EffectId>,
}

/// Where a generation stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Generating {
    /// Its inputs, which conditions see.
    pub(super) inputs: Vec<(Arc<str>, Value)>,
    /// The prompt: an array of messages.
    pub(super) messages: Value,
    /// The last answer that would not do, and what the model was told of it.
    pub(super) again: Vec<Value>,
    /// How often the model was asked again.
    pub(super) retries: u32,
    /// The same, by handler.
    pub(super) tried: BTreeMap<u32, u32>,
    /// The answer to be judged.
    pub(super) answer: Option<Value>,
    /// What is wrong with it: the code and the message of the failure that it is.
    pub(super) flaw: Option<(Arc<str>, Arc<str>)>,
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
        matches!(
            self.state,
            FiberState::Run | FiberState::Leave(_) | FiberState::Delivered(..) | FiberState::Ask(_)
        )
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

    pub(super) fn in_inbox(&self, id: EffectId) -> bool {
        self.inbox.iter().any(|(waiting, _)| *waiting == id)
    }

    /// The effects that are open beside those that fibers wait for, and have no outcome yet.
    fn beside(&self) -> impl Iterator<Item = &Effect> {
        self.open.iter().filter(|open| open.outcome.is_none()).map(|open| &open.effect)
    }

    /// The effect, where it was asked for and has not been answered or given up.
    pub(super) fn asked(&self, id: EffectId) -> Option<&Effect> {
        let mut all = self.fibers.iter().filter_map(Fiber::waits_for).chain(self.beside());
        all.find(|effect| effect.id == id)
    }

    /// The outside effects that have no outcome yet.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Effect> {
        let mut effects: Vec<&Effect> = self
            .fibers
            .iter()
            .filter_map(Fiber::waits_for)
            .chain(self.beside())
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
        let beside = self.beside().any(|effect| effect.id == id);
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
            None if !answered && beside => {
                self.inbox.push_back((id, outcome));
                Ok(())
            }
            _ => Err(NotWaiting { effect: id }),
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
    pub(super) fn take(&mut self, outcome: Outcome) {
        self.state = match std::mem::replace(&mut self.state, FiberState::Run) {
            FiberState::Wait(wait) => FiberState::Delivered(wait, outcome),
            other => other,
        };
    }
}
