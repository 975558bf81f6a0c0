//! Which fiber runs next, and what its next step is.

use std::sync::Arc;

use scaigrid_ir::Value;

use super::budget::Verdict;
use super::inspect::{Stand, stand};
use super::script::{Halt, Script};
use super::state::{
    Asked, Completion, Fiber, FiberState, Frame, Names, Open, Phase, Role, State, Then, Wait,
};
use super::trace::Traces;
use super::{End, Machine, Step, scope};
use crate::effect::{Effect, EffectId, EffectKind, Outcome};
use crate::failure::Failure;
use crate::limits::{MAX_STATE_BYTES, MAX_STEPS, MEASURE_EVERY};
use crate::program::Program;

/// One call of `advance`: the machine's parts, and the effects that it will hand out.
pub(super) struct Run<'a> {
    pub(super) program: &'a Program,
    pub(super) state: &'a mut State,
    pub(super) abandoned: &'a mut Vec<EffectId>,
    pub(super) fresh: Vec<Effect>,
    pub(super) traces: &'a mut Traces,
    /// What is asked before each block.
    stop: Option<&'a mut dyn FnMut(&Stand<'_>) -> bool>,
    /// Whether it said so.
    stopped: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        program: &'a Program,
        machine: &'a mut Machine,
        stop: Option<&'a mut dyn FnMut(&Stand<'_>) -> bool>,
    ) -> Self {
        let Machine { state, abandoned, traces, .. } = machine;
        Self { program, state, abandoned, fresh: Vec::new(), traces, stop, stopped: false }
    }

    /// None where it stands before a block at which it is to stop, and has nothing to tell.
    pub(super) fn advance_until(mut self, fuel: &mut u32) -> Option<Step> {
        let step = self.go(fuel);
        if self.stopped && step == Step::OutOfFuel { None } else { Some(step) }
    }

    pub(super) fn advance(mut self, fuel: &mut u32) -> Step {
        self.go(fuel)
    }

    fn go(&mut self, fuel: &mut u32) -> Step {
        let stopped = self.run(fuel);
        self.withdraw();
        match &self.state.end {
            Some(End::Completed(value)) => Step::Completed(value.clone()),
            Some(End::Failed(failure)) => Step::Failed(failure.clone()),
            Some(End::Cancelled) => Step::Cancelled,
            None if self.fresh.is_empty() => stopped,
            None => Step::Effects(std::mem::take(&mut self.fresh)),
        }
    }

    /// Runs until the end, an inside effect, a standstill, or until the fuel is used up. Every change of the
    /// state is one step, so the number of steps and the deliveries determine the state.
    fn run(&mut self, fuel: &mut u32) -> Step {
        loop {
            if self.state.end.is_some() || self.state.answering().is_some() {
                return Step::Suspended;
            }
            let runnable = self.state.fibers.iter().position(Fiber::is_runnable);
            if runnable.is_none() && self.state.inbox.is_empty() {
                return Step::Suspended;
            }
            let id = runnable.and_then(|index| self.state.fibers.get(index)).map(|fiber| fiber.id);
            // A step can make a fiber runnable that comes before this one only by ending or parking this one.
            loop {
                if *fuel == 0 {
                    return Step::OutOfFuel;
                }
                if let (Some(stop), Some(index)) = (self.stop.as_mut(), runnable)
                    && stand(self.program, self.state, index).is_some_and(|stand| stop(&stand))
                {
                    self.stopped = true;
                    return Step::OutOfFuel;
                }
                *fuel -= 1;
                self.state.steps = self.state.steps.saturating_add(1);
                if self.state.steps > MAX_STEPS {
                    self.fatal(Failure::new("EXECUTION_LIMIT", "the execution has taken too many steps"));
                    break;
                }
                let Some(index) = runnable else {
                    self.take_from_inbox();
                    break;
                };
                self.step(index);
                if self.state.grown > MEASURE_EVERY {
                    self.measure();
                }
                let goes_on = self.state.fibers.get(index);
                if !goes_on.is_some_and(|fiber| Some(fiber.id) == id && fiber.is_runnable()) {
                    break;
                }
            }
        }
    }

    /// Takes back effects that were given up before anybody saw them.
    fn withdraw(&mut self) {
        let Self { state, abandoned, fresh, .. } = self;
        fresh.retain(|effect| {
            let open = state.asked(effect.id).is_some();
            if !open {
                abandoned.retain(|id| *id != effect.id);
            }
            open
        });
    }

    fn step(&mut self, f: usize) {
        let Some(fiber) = self.state.fibers.get_mut(f) else { return };
        match std::mem::replace(&mut fiber.state, FiberState::Run) {
            FiberState::Run => self.top(f),
            FiberState::Leave(completion) => self.complete(f, completion),
            FiberState::Delivered(wait, outcome) => self.delivered(f, *wait, outcome),
            FiberState::Ask(asked) => {
                let Asked { block, pointer, kind, then } = *asked;
                self.ask(f, (&block, &pointer), kind, then);
            }
            parked @ (FiberState::Wait(_) | FiberState::Join | FiberState::Await | FiberState::Turn(_)) => {
                fiber.state = parked;
            }
        }
    }

    /// The step that the top frame is at.
    fn top(&mut self, f: usize) {
        let program = self.program;
        let Some(frame) = self.state.fibers.get_mut(f).and_then(|fiber| fiber.frames.last_mut()) else {
            return self.lost();
        };
        match frame {
            Frame::Blocks { list, at, value } => {
                let (list, at) = (*list, *at);
                if let Some(node) = program.block(list, at) {
                    if self.traces.all
                        && self.state.fibers.get(f).is_some_and(|fiber| fiber.scratch.is_empty())
                    {
                        self.traces.entered(node);
                    }
                    self.block(f, node, list, at);
                } else if program.blocks(list).is_some() {
                    let value = std::mem::take(value);
                    self.leave(f, value);
                } else {
                    self.lost();
                }
            }
            Frame::Statements { list, at, value } => {
                let (list, at) = (*list, *at);
                if let Some(node) = program.statement(list, at) {
                    self.statement(f, node);
                } else if program.statements(list).is_some() {
                    let value = std::mem::take(value);
                    self.leave(f, value);
                } else {
                    self.lost();
                }
            }
            Frame::While { list, at, count, .. } => {
                let (list, at, count) = (*list, *at, *count);
                self.condition(f, list, at, count);
            }
            Frame::Timed { list, at, .. } => {
                let (list, at) = (*list, *at);
                match program.block(list, at) {
                    Some(node) => self.begin(f, node, list, at),
                    None => self.lost(),
                }
            }
            Frame::Retry { list, at, attempt, waiting } => {
                let (list, at, attempt, waiting) = (*list, *at, *attempt, *waiting);
                match program.block(list, at) {
                    Some(_) if waiting => self.back_off(f, list, at, attempt),
                    Some(node) => self.attempt(f, node, list, at),
                    None => self.lost(),
                }
            }
            Frame::Await { .. } => self.collect(f),
            Frame::Generate { list, at, .. } => {
                let (list, at) = (*list, *at);
                self.generate(f, list, at);
            }
            _ => self.lost(),
        }
    }

    /// Leaves a body that has come to its end.
    fn leave(&mut self, f: usize, value: Value) {
        if let Some(fiber) = self.state.fibers.get_mut(f) {
            fiber.frames.pop();
        }
        self.complete(f, Completion::Value(value));
    }

    /// Runs the expressions of a step; none where it does not go on now.
    pub(super) fn evaluate<T>(
        &mut self,
        f: usize,
        place: (&Arc<str>, &Arc<str>),
        script: impl FnOnce(&mut Script<'_>) -> Result<T, Halt>,
    ) -> Option<T> {
        let mut scratch = std::mem::take(&mut self.state.fibers.get_mut(f)?.scratch);
        let result = script(&mut Script::new(self.program, self.state, f, &mut scratch));
        if let Err(Halt::Ask(_, Then::Answer | Then::Go)) = &result {
            let bytes: usize = scratch.values.iter().map(Value::approximate_size).sum();
            self.grow(bytes);
        } else {
            scratch.clear();
        }
        self.state.fibers.get_mut(f)?.scratch = scratch;
        match result {
            Ok(value) => Some(value),
            Err(Halt::Ask(kind, then)) => {
                self.ask(f, place, kind, then);
                None
            }
            Err(Halt::Fail(failure)) => {
                self.complete(f, Completion::Error(failure.at(place.0, place.1)));
                None
            }
            Err(Halt::Lost) => {
                self.lost();
                None
            }
        }
    }

    /// Opens an effect.
    pub(super) fn ask(
        &mut self,
        f: usize,
        (block, pointer): (&Arc<str>, &Arc<str>),
        kind: EffectKind,
        then: Then,
    ) {
        if self.state.cancelled.is_some() && !kind.is_inside() {
            return self.fail(f, super::fibers::refused().at(block, pointer));
        }
        let mut kind = kind;
        match self.reserve(f, &mut kind) {
            Verdict::Granted => {}
            Verdict::Refused(failure) => return self.fail(f, failure.at(block, pointer)),
            Verdict::Turn => {
                let (block, pointer) = (Arc::clone(block), Arc::clone(pointer));
                if let Some(fiber) = self.state.fibers.get_mut(f) {
                    fiber.state = FiberState::Turn(Box::new(Asked { block, pointer, kind, then }));
                }
                return;
            }
        }
        for value in carried(&kind) {
            if let Err(failure) = self.fit(value) {
                super::budget::settle(self.state, f, &kind, Some(&Outcome::Error(failure.clone())));
                return self.fail(f, failure.at(block, pointer));
            }
        }
        if let EffectKind::PluginCall(request) = &kind
            && let Some(checkpoint) = request.approved_by
        {
            super::approval::use_up(self.state, checkpoint);
        }
        if then == Then::Handle {
            let handle = handle(EffectId(self.state.next_effect), &kind);
            self.open_beside((block, pointer), kind, Role::Handle);
            return self.complete(f, Completion::Value(handle));
        }
        let effect = self.new_effect(block, pointer, kind);
        if let Some(fiber) = self.state.fibers.get_mut(f) {
            fiber.state = FiberState::Wait(Box::new(Wait { effect, then }));
        }
    }

    /// Leaves the step under way with a failure.
    fn fail(&mut self, f: usize, failure: Failure) {
        if let Some(fiber) = self.state.fibers.get_mut(f) {
            fiber.scratch.clear();
        }
        self.complete(f, Completion::Error(failure));
    }

    /// Goes on with the outcome of an effect.
    fn delivered(&mut self, f: usize, wait: Wait, outcome: Outcome) {
        let Wait { effect, then } = wait;
        super::budget::settle(self.state, f, &effect.kind, Some(&outcome));
        let value = match outcome {
            Outcome::Value(value) => self.completed_read(&effect.kind, value),
            Outcome::Error(failure) => return self.fail(f, failure.at(&effect.block, &effect.pointer)),
        };
        if let Err(failure) = self.fit(&value) {
            return self.fail(f, failure.at(&effect.block, &effect.pointer));
        }
        let Some(fiber) = self.state.fibers.get_mut(f) else { return };
        match then {
            Then::Answer => fiber.scratch.answers.push(value),
            Then::Go => fiber.scratch.values.push(value),
            Then::Handle => self.lost(),
            Then::Finish => {
                fiber.scratch.clear();
                self.finish(f, effect, value);
            }
        }
    }

    /// Finishes the step at the top with the value of its effect.
    fn finish(&mut self, f: usize, effect: Effect, value: Value) {
        let program = self.program;
        match self.state.fibers.get(f).and_then(|fiber| fiber.frames.last()) {
            Some(Frame::Statements { list, at, .. }) => match program.statement(*list, *at) {
                Some(node) => self.finish_statement(f, node, effect.kind, value),
                None => self.lost(),
            },
            Some(Frame::Retry { waiting: true, .. }) => self.try_again(f),
            Some(
                Frame::Blocks { list, at, .. }
                | Frame::Timed { list, at, .. }
                | Frame::Retry { list, at, .. },
            ) => match program.block(*list, *at) {
                Some(node) => self.finish_block(f, node, &effect, value),
                None => self.lost(),
            },
            Some(Frame::Generate { list, at, .. }) => {
                let (list, at) = (*list, *at);
                self.generated(f, list, at, &effect.kind, value);
            }
            _ => self.lost(),
        }
    }

    /// A scalar that was never set holds its declared default.
    fn completed_read(&self, kind: &EffectKind, value: Value) -> Value {
        match kind {
            EffectKind::Memory(request)
                if value.is_null()
                    && request.key.is_none()
                    && request.op == scaigrid_ir::block::MemoryOp::Get =>
            {
                let decl = self.program.module().memory.get(&request.target);
                decl.and_then(|decl| decl.default.clone()).unwrap_or_default()
            }
            _ => value,
        }
    }

    /// Binds a name, within the bounds of the state.
    pub(super) fn bind(&mut self, f: usize, name: &Arc<str>, value: Value) -> Result<(), Failure> {
        self.fit(&value)?;
        scope::bind(self.program, self.state, f, name, value)
    }

    /// Checks that a value is one that a state can hold, and counts it.
    pub(super) fn fit(&mut self, value: &Value) -> Result<(), Failure> {
        let bound = usize::try_from(MAX_STATE_BYTES).unwrap_or(usize::MAX);
        match value.extent(bound) {
            Some(extent) => {
                self.grow(extent.size);
                Ok(())
            }
            None => Err(Failure::new("EVALUATION_LIMIT", "the value is too large, or nested too deeply")),
        }
    }

    pub(super) fn grow(&mut self, bytes: usize) {
        self.state.grown = self.state.grown.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Adds up what the state holds, and ends an execution that holds too much.
    fn measure(&mut self) {
        let measured = u64::try_from(self.state.size()).unwrap_or(u64::MAX);
        self.state.measured = measured;
        self.state.grown = 0;
        if measured > MAX_STATE_BYTES {
            self.fatal(Failure::new(
                "STATE_TOO_LARGE",
                format!("the execution holds {measured} bytes; {MAX_STATE_BYTES} are the bound"),
            ));
        }
    }

    /// Ends the execution where it stands; nothing of the program runs any more.
    pub(super) fn fatal(&mut self, failure: Failure) {
        for fiber in self.state.fibers.drain(..) {
            if let FiberState::Wait(wait) = &fiber.state
                && !wait.effect.kind.is_inside()
            {
                self.abandoned.push(wait.effect.id);
            }
        }
        let open = self.state.open.drain(..).filter(|open| open.outcome.is_none());
        self.abandoned.extend(open.map(|open| open.effect.id));
        self.state.inbox.clear();
        self.state.end = Some(End::Failed(failure));
    }

    /// Ends an execution whose position leads nowhere: its state was made with another program, or is damaged.
    pub(super) fn lost(&mut self) {
        self.fatal(Failure::new("STATE_MISMATCH", "the state does not belong to this program"));
    }
}

/// The value by which the answer to an asynchronous call is waited for.
fn handle(id: EffectId, kind: &EffectKind) -> Value {
    let mut fields = Names::new();
    fields.insert("handle".into(), Value::Int(i64::from(id.0)));
    if let EffectKind::CoreCall(request) = kind {
        fields.insert("target".into(), Value::String(Arc::clone(&request.target)));
        fields.insert("flow_name".into(), Value::String(Arc::clone(&request.flow_name)));
    }
    Value::object(fields)
}

/// The values that an effect carries.
pub(super) fn carried(kind: &EffectKind) -> impl Iterator<Item = &Value> {
    let values = match kind {
        EffectKind::Memory(request) => [request.value.as_ref(), None, None],
        EffectKind::Emit { data, .. } => [Some(data), None, None],
        EffectKind::Log { fields, .. } => [Some(fields), None, None],
        EffectKind::Checkpoint(request) => [
            Some(&request.payload),
            request.form.as_ref(),
            request.action.as_ref().map(|action| &action.args),
        ],
        EffectKind::CoreCall(request) => [Some(&request.input), None, None],
        EffectKind::PluginCall(request) => [Some(&request.args), None, None],
        EffectKind::ModelCall(request) => {
            [Some(&request.messages), request.schema.as_ref(), Some(&request.params)]
        }
        EffectKind::WaitEvent(request) => [Some(&request.captured), None, None],
        EffectKind::Now | EffectKind::Uuid | EffectKind::Random | EffectKind::Timer(_) => [None, None, None],
    };
    values.into_iter().flatten()
}

impl State {
    /// Roughly the bytes that the state holds. Parts that values share are counted wherever they appear, as they
    /// would be in its encoding.
    fn size(&self) -> usize {
        fn of<'v>(values: impl Iterator<Item = &'v Value>) -> usize {
            values.map(Value::approximate_size).fold(0, usize::saturating_add)
        }
        fn frame(frame: &Frame) -> usize {
            match frame {
                Frame::Blocks { value, .. }
                | Frame::Statements { value, .. }
                | Frame::While { value, .. }
                | Frame::Try {
                    phase: Phase::Finally(Completion::Value(value) | Completion::Return(value)),
                    ..
                } => value.approximate_size(),
                Frame::Foreach { items, item, results, .. } => {
                    of(items.iter().chain(results).chain(std::iter::once(item)))
                }
                Frame::Fork { items, results, .. } => of(items.iter().chain(results.values())),
                Frame::Iteration { item, .. } => item.approximate_size(),
                Frame::Respond { answer } => answer.approximate_size(),
                Frame::Invalid { output, violation } => of([output, violation].into_iter()),
                Frame::Await { entries, .. } => size_of_val(entries.as_slice()),
                Frame::Generate { state, .. } => {
                    let inputs = state.inputs.iter().map(|(_, value)| value);
                    of(inputs.chain([&state.messages]).chain(&state.again).chain(&state.answer))
                }
                Frame::Try { .. } | Frame::Timed { .. } | Frame::Retry { .. } | Frame::Budget { .. } => {
                    size_of::<Frame>()
                }
            }
        }
        fn fiber(fiber: &Fiber) -> usize {
            let open = match &fiber.state {
                FiberState::Wait(wait) | FiberState::Delivered(wait, _) => of(carried(&wait.effect.kind)),
                FiberState::Turn(asked) | FiberState::Ask(asked) => of(carried(&asked.kind)),
                _ => 0,
            };
            let frames = fiber.frames.iter().map(frame).fold(0, usize::saturating_add);
            let scratch = of(fiber.scratch.values.iter().chain(&fiber.scratch.answers));
            size_of::<Fiber>() + open + frames + scratch + of(fiber.locals.values())
        }
        fn open(open: &Open) -> usize {
            let kept = match &open.outcome {
                Some(Outcome::Value(value)) => value.approximate_size(),
                _ => 0,
            };
            size_of::<Open>() + of(carried(&open.effect.kind)) + kept
        }
        let inbox = self.inbox.iter().filter_map(|(_, outcome)| match outcome {
            Outcome::Value(value) => Some(value),
            Outcome::Error(_) => None,
        });
        let given = [&self.input, &self.config, &self.env, &self.context.trigger];
        of(self.names.values().chain(given).chain(inbox))
            .saturating_add(self.fibers.iter().map(fiber).fold(0, usize::saturating_add))
            .saturating_add(self.open.iter().map(open).fold(0, usize::saturating_add))
            .saturating_add(self.grants.len().saturating_mul(256))
    }
}
