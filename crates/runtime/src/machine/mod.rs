//! The machine: one execution of one flow, as a value.
//!
//! The state is a set of fibers, each a stack of frames; positions are numbers into the [`Program`]. A fiber runs
//! until it wants an effect; a `foreach` with concurrency has a fiber for each iteration under way, a `parallel`
//! one for each branch. Timers of bounded blocks, asynchronous calls and what `await_responses` joins are open
//! beside the fibers. Which fiber runs, and when an outcome takes effect, is decided by the state alone, so the
//! same deliveries in the same order give the same state, however much fuel each call had:
//!
//! - the runnable fiber with the lowest number runs;
//! - while an inside effect is open nothing else runs (so there is at most one);
//! - outcomes of outside effects wait in line and take effect one by one, when no fiber can run.
//!
//! # Cancellation
//! Every fiber leaves what it was doing and unwinds through its `finally` bodies. These run whole: inside effects
//! are answered as ever, outside effects are refused with the error `CANCELLED`, which a `try` inside the body
//! may catch. A `finally` body already under way goes on under the same rule. No outside effect is asked for
//! after [`Machine::cancel`].
//!
//! # Time
//! A bounded block has a timer that is open beside what its insides wait for. When its outcome takes effect, everything
//! inside is left through its `finally` bodies, which run whole and may ask for outside effects, and the block fails with
//! `TIMEOUT`; no `try` inside catches that. Where two bounds are met, the outer one has the last word.
//!
//! # Names
//! Names bound in a block live in the flow's scope; loop variables live in their loop. An iteration that runs
//! beside others binds into a scope of its own, which is poured into the flow's when the iteration ends, so
//! iterations do not see each other's half-made values; what it *assigns* to an older name changes that.

use std::sync::Arc;

use scaigrid_ir::Value;
use serde::{Deserialize, Serialize};

use crate::effect::{Effect, EffectId, Outcome};
use crate::failure::{Failure, NotWaiting, StateError};
use crate::program::Program;

mod approval;
mod assign;
mod awaiting;
mod block;
mod bounds;
mod budget;
mod codec;
mod fibers;
mod generate;
mod inspect;
mod judge;
mod pattern;
mod renew;
mod schedule;
mod scope;
mod script;
mod start;
mod state;
mod statement;
mod trace;
mod unwind;

pub(crate) use codec::read as read_versioned;
pub use inspect::{Asked, FrameView, Stand, StrandView};
use state::State;
pub use trace::Traced;
use trace::Traces;

/// What an execution begins with. It is the first entry of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The flow.
    pub flow: Arc<str>,
    /// Its parameters, as an object. Checked, converted and completed by [`Machine::start`].
    pub input: Value,
    /// The configuration, as an object, as [`Module::configured`](scaigrid_ir::module::Module::configured) gives it. It is not
    /// looked at again: a journal is replayed as it was recorded. Parameters that it lacks take their declared default; secret
    /// ones are left out.
    pub config: Value,
    /// What the program sees as `execution`.
    pub context: ExecutionContext,
    /// The environment's values that are not secret, as an object.
    pub env: Value,
    /// Whether `debug` blocks run.
    #[serde(default)]
    pub debug: bool,
}

/// What the program sees as `execution`, beside the flow's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutionContext {
    /// `execution.id`
    pub execution_id: Arc<str>,
    /// `execution.core_id`
    pub core_id: Arc<str>,
    /// `execution.trigger`: what started it.
    pub trigger: Value,
    /// `execution.started_at`, in microseconds since the Unix epoch, UTC.
    pub started_at: i64,
}

/// What [`Machine::advance`] came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// New effects, in the order of their numbers; each is handed out exactly once. Inside effects are answered
    /// at once with [`Machine::deliver`]; outside effects are made durable first. Then advance again.
    Effects(Vec<Effect>),
    /// Nothing to do until an outcome of a pending effect is delivered.
    Suspended,
    /// The fuel is used up; advance again with more.
    OutOfFuel,
    /// The flow has ended with this value. Advancing again says the same.
    Completed(Value),
    /// The flow has ended with an error that nothing caught.
    Failed(Failure),
    /// The execution was cancelled, and all its `finally` bodies have run.
    Cancelled,
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum End {
    /// With a value.
    #[serde(rename = "v")]
    Completed(Value),
    /// With an error that nothing caught.
    #[serde(rename = "x")]
    Failed(Failure),
    /// By [`Machine::cancel`].
    #[serde(rename = "c")]
    Cancelled,
}

/// Where a machine stands, at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// [`Machine::advance`] has something to do.
    Runnable,
    /// It waits for the answer to an inside effect.
    Answering(EffectId),
    /// It waits for outside effects, this many.
    Suspended {
        /// How many.
        pending: usize,
    },
    /// It has completed.
    Completed,
    /// It has failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// The whole state of one execution. Stored as bytes ([`Machine::encode`]), and in no other way.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    state: State,
    /// Effects given up since the driver last asked. Not part of the stored state: after a restart, whatever
    /// is open in the world and not in [`Machine::pending`] was given up.
    abandoned: Vec<EffectId>,
    /// Effects that a replay found to be open and without a record; they are handed out once more. Not stored
    /// either: a driver that has replayed advances before it stores anything.
    unrecorded: Vec<Effect>,
    /// What happened to blocks since the driver last asked. Not part of the stored state, nor of what tells two apart.
    traces: Traces,
}

impl Machine {
    /// A machine at the beginning of a flow.
    ///
    /// # Errors
    /// `FLOW_NOT_FOUND`; or `INPUT_INVALID` with what does not fit the flow's parameters.
    pub fn start(program: &Program, start: Start) -> Result<Self, Failure> {
        start::state(program, start).map(|state| Self {
            state,
            abandoned: Vec::new(),
            unrecorded: Vec::new(),
            traces: Traces::default(),
        })
    }

    /// Runs until something is wanted, nothing can be done, the end, or until `fuel` is used up. Each statement,
    /// block, iteration and delivery takes one unit of it.
    pub fn advance(&mut self, program: &Program, fuel: &mut u32) -> Step {
        match self.asked_again() {
            Some(step) => step,
            None => schedule::Run::new(program, self, None).advance(fuel),
        }
    }

    /// As [`Machine::advance`], and asks before each block that begins whether to stop there; none where it stands before
    /// such a block. Standing there changes nothing: a machine that is advanced further takes the steps that it would have
    /// taken anyway.
    pub fn advance_until(
        &mut self,
        program: &Program,
        fuel: &mut u32,
        stop: &mut dyn FnMut(&Stand<'_>) -> bool,
    ) -> Option<Step> {
        match self.asked_again() {
            Some(asked) => Some(asked),
            None => schedule::Run::new(program, self, Some(stop)).advance_until(fuel),
        }
    }

    fn asked_again(&mut self) -> Option<Step> {
        if self.unrecorded.is_empty() {
            return None;
        }
        let mut again = std::mem::take(&mut self.unrecorded);
        again.retain(|effect| self.waits_for(effect.id));
        (!again.is_empty()).then_some(Step::Effects(again))
    }

    /// Whether it asks for effects once more that a replay found without a record. One that does must be advanced before
    /// it is stored: what it asks for again is not part of its state.
    pub fn asks_again(&self) -> bool {
        !self.unrecorded.is_empty()
    }

    /// Gives the outcome of an effect. It takes effect with the next [`Machine::advance`] at the earliest.
    ///
    /// # Errors
    /// The machine does not wait for that effect.
    pub fn deliver(&mut self, effect: EffectId, outcome: Outcome) -> Result<(), NotWaiting> {
        self.state.deliver(effect, outcome)
    }

    /// Begins to end the execution; see the module's text for what still runs. Advance until
    /// [`Step::Cancelled`]. An execution that has ended, or is being cancelled, stays as it is. Returns whether
    /// this call changed anything.
    pub fn cancel(&mut self, reason: impl Into<Arc<str>>) -> bool {
        let reason = reason.into();
        if self.state.end.is_some() || self.state.cancelled.is_some() {
            return false;
        }
        self.state.cancelled = Some(reason);
        fibers::interrupt(&mut self.state, &mut self.abandoned, fibers::Reach::All);
        true
    }

    /// Why it was cancelled, where it was.
    pub fn cancel_reason(&self) -> Option<&Arc<str>> {
        self.state.cancelled.as_ref()
    }

    /// The outside effects that it waits for, in the order of their numbers.
    pub fn pending(&self) -> Vec<&Effect> {
        self.state.pending().collect()
    }

    /// Has the next advance hand these out before it does anything else.
    pub(crate) fn hand_out_again(&mut self, effects: Vec<Effect>) {
        self.unrecorded = effects;
    }

    /// Whether it waits for the effect's outcome, inside or outside.
    pub(crate) fn waits_for(&self, id: EffectId) -> bool {
        self.asked(id).is_some()
    }

    /// The effect, where its outcome is waited for, inside or outside.
    pub(crate) fn asked(&self, id: EffectId) -> Option<&Effect> {
        self.state.asked(id)
    }

    /// The effects whose outcomes it waits for, inside or outside, in the order of their numbers.
    pub(crate) fn open(&self) -> Vec<&Effect> {
        let mut open = self.pending();
        open.extend(self.state.answering().and_then(|id| self.state.asked(id)));
        open.sort_by_key(|effect| effect.id);
        open
    }

    /// Gives effects that are open numbers that none has had, from `next` on. Gives them as they are afterwards.
    pub(crate) fn renew(&mut self, again: &[EffectId], next: u32) -> Vec<Effect> {
        self.state.next_effect = self.state.next_effect.max(next);
        let mut again = again.to_vec();
        again.sort_unstable();
        again.into_iter().filter_map(|id| self.state.renew(id)).collect()
    }

    /// The checkpoint whose answer may still let a call out, where there is one.
    pub(crate) fn permits(&self) -> Option<EffectId> {
        approval::outstanding(&self.state)
    }

    /// What the program sees as `execution`.
    pub(crate) fn context(&self) -> &ExecutionContext {
        &self.state.context
    }

    /// The same state, of another execution.
    pub(crate) fn in_context(mut self, context: ExecutionContext) -> Self {
        self.state.context = context;
        self.state.execution = state::Execution::default();
        self
    }

    /// The effects that it has asked for and no longer waits for, since this was last called. What they opened
    /// outside (a checkpoint, a call) should be closed.
    pub fn take_abandoned(&mut self) -> Vec<EffectId> {
        std::mem::take(&mut self.abandoned)
    }

    /// Notes from now on what happens to every block; without this, only what fails and what is tried again.
    pub fn trace(&mut self) {
        self.traces.all = true;
    }

    /// What happened to blocks since this was last called, in order.
    pub fn take_traces(&mut self) -> Vec<Traced> {
        self.traces.take()
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        self.state.status()
    }

    /// How it ended, where it has.
    pub fn end(&self) -> Option<&End> {
        self.state.end.as_ref()
    }

    /// How many steps it has taken. With the deliveries, this determines the state: a cancellation is journaled
    /// with it.
    pub fn steps(&self) -> u64 {
        self.state.steps
    }

    /// The number that the next effect will have.
    pub fn next_effect(&self) -> EffectId {
        EffectId(self.state.next_effect)
    }

    /// The flow's input as it was admitted: checked, converted, with defaults.
    pub fn input(&self) -> &Value {
        &self.state.input
    }

    /// The variables of the flow, parameters among them, as an object.
    pub fn variables(&self, program: &Program) -> Value {
        scope::variables(program, &self.state)
    }

    /// The block that each fiber is at, by id, the innermost first in each; for inspection.
    pub fn positions(&self, program: &Program) -> Vec<Vec<Arc<str>>> {
        self.state.fibers.iter().map(|fiber| fiber.blocks(program)).collect()
    }

    /// The state as bytes: a version and MessagePack. The same state always gives the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(&self.state)
    }

    /// The machine of [`Machine::encode`].
    ///
    /// # Errors
    /// The bytes are too many, of an unknown version, or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        codec::decode(bytes).map(|state| Self {
            state,
            abandoned: Vec::new(),
            unrecorded: Vec::new(),
            traces: Traces::default(),
        })
    }
}
