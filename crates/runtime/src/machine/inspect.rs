//! Looking into a machine without moving it: where its strands stand, what they see, what an expression would be there.

use std::sync::Arc;

use scaigrid_ir::Value;
use scaigrid_ir::expr::{self, EvalError, Expr, MemoryRead, Question, Stop};
use serde_json::{Value as Json, json};

use super::Machine;
use super::scope::{View, loop_variables};
use super::state::{Fiber, FiberState, Frame, State};
use crate::failure::Failure;
use crate::program::Program;

/// A strand of control that stands before a block.
pub struct Stand<'a> {
    program: &'a Program,
    state: &'a State,
    fiber: usize,
    /// The strand's number; that of the flow itself is 0.
    pub strand: u32,
    /// How many levels the strand has: a block within another one's body has more.
    pub depth: usize,
    /// The flow.
    pub flow: &'a Arc<str>,
    /// The block.
    pub block: &'a Arc<str>,
    /// [`Machine::steps`], here.
    pub steps: u64,
}

impl Stand<'_> {
    /// Whether an expression is true here. One that fails, is no bool or needs anything from outside is not.
    pub fn holds(&self, condition: &Expr) -> bool {
        let view = View { program: self.program, state: self.state, fiber: self.fiber, bound: &[] };
        matches!(expr::evaluate(condition, &view, &[], self.program.limits()), Ok(Value::Bool(true)))
    }

    /// Whether a strand is this one or one of those that wait for it.
    pub fn is_within(&self, strand: u32) -> bool {
        let mut fiber = self.state.fibers.get(self.fiber);
        while let Some(one) = fiber {
            if one.id == strand {
                return true;
            }
            fiber = one.parent.and_then(|id| self.state.fibers.get(self.state.fiber_index(id)?));
        }
        false
    }

    /// Whether there is still such a strand.
    pub fn has_strand(&self, strand: u32) -> bool {
        self.state.fiber_index(strand).is_some()
    }
}

/// The block before which a fiber stands; none where it is in the middle of something.
pub(super) fn stand<'a>(program: &'a Program, state: &'a State, fiber: usize) -> Option<Stand<'a>> {
    let strand = state.fibers.get(fiber)?;
    if !matches!(strand.state, FiberState::Run) || !strand.scratch.is_empty() {
        return None;
    }
    let Some(Frame::Blocks { list, at, .. }) = strand.frames.last() else { return None };
    let (flow, _) = program.flow(state.flow)?;
    Some(Stand {
        program,
        state,
        fiber,
        strand: strand.id,
        depth: strand.frames.len(),
        flow: &flow.name,
        block: &program.block(*list, *at)?.id,
        steps: state.steps,
    })
}

/// A strand of control, to be looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct StrandView {
    /// Its number.
    pub id: u32,
    /// The strand whose iteration or branch it is.
    pub parent: Option<u32>,
    /// `runnable`, `waiting` or `joining`.
    pub state: &'static str,
    /// The number of the effect that it waits for.
    pub waits_for: Option<u32>,
    /// The blocks that it is in, the innermost first.
    pub frames: Vec<FrameView>,
    /// What this iteration or branch has bound for itself, and the variables of the loops that it is in, as an object.
    pub locals: Value,
}

/// A block that a strand is in.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameView {
    /// The block.
    pub block: Arc<str>,
    /// Its kind, as the document names it.
    pub kind: &'static str,
    /// Where it stands in the document (RFC 6901).
    pub pointer: Arc<str>,
    /// The loop variable and the index of a loop that this block is in the body of.
    pub iteration: Option<u32>,
}

impl StrandView {
    /// The strand as the API shows it.
    pub fn to_json(&self) -> Json {
        let frames = self.frames.iter().map(|frame| {
            let mut json = json!({ "block": &*frame.block, "kind": frame.kind, "pointer": &*frame.pointer });
            if let Some(index) = frame.iteration {
                json["iteration"] = index.into();
            }
            json
        });
        let mut json = json!({
            "strand": self.id,
            "parent": self.parent,
            "state": self.state,
            "frames": frames.collect::<Vec<_>>(),
            "locals": self.locals.to_json(),
        });
        if let Some(effect) = self.waits_for {
            json["waits_for"] = effect.into();
        }
        json
    }
}

/// What an expression came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// A value.
    Value(Value),
    /// It needs to know what persistent memory holds: it is evaluated again with one answer more.
    Memory(MemoryRead),
}

impl Machine {
    /// Where its strands stand; none once it has ended.
    pub fn strands(&self, program: &Program) -> Vec<StrandView> {
        self.state.fibers.iter().map(|fiber| strand(program, fiber)).collect()
    }

    /// The value of an expression as the strand at `index` of [`Machine::strands`] sees the names; once it has ended, as
    /// the flow does. Nothing changes by it.
    ///
    /// # Errors
    /// What the evaluation fails with: `EVALUATION_LIMIT` where it would take too long, `NOT_RECORDED` where it asks for
    /// the time, or for chance.
    pub fn evaluate(
        &self,
        program: &Program,
        index: usize,
        expression: &Expr,
        answers: &[Value],
    ) -> Result<Asked, Failure> {
        let view = View { program, state: &self.state, fiber: index, bound: &[] };
        match expr::evaluate(expression, &view, answers, program.limits()) {
            Ok(value) => Ok(Asked::Value(value)),
            Err(Stop::Error(EvalError { code, message })) => Err(Failure::new(code, message)),
            Err(Stop::Asks(Question::Memory(read))) => Ok(Asked::Memory(read)),
            Err(Stop::Asks(Question::Now | Question::Uuid | Question::Random)) => {
                let message =
                    "the time and chance are recorded when a program asks for them, and are not asked here";
                Err(Failure::new("NOT_RECORDED", message))
            }
        }
    }
}

fn strand(program: &Program, fiber: &Fiber) -> StrandView {
    let mut iteration = None;
    let mut frames: Vec<FrameView> = Vec::new();
    for frame in &fiber.frames {
        match frame {
            Frame::Foreach { index, .. } | Frame::Iteration { index, .. } => iteration = Some(*index),
            Frame::While { count, .. } => iteration = Some(count.saturating_sub(1)),
            Frame::Blocks { list, at, .. } => {
                if let Some(node) = program.block(*list, *at) {
                    frames.push(FrameView {
                        block: Arc::clone(&node.id),
                        kind: node.kind,
                        pointer: Arc::clone(&node.pointer),
                        iteration: iteration.take(),
                    });
                }
            }
            _ => {}
        }
    }
    frames.reverse();
    let (state, waits_for) = match &fiber.state {
        FiberState::Wait(wait) => ("waiting", Some(wait.effect.id.0)),
        FiberState::Await | FiberState::Turn(_) => ("waiting", None),
        FiberState::Join => ("joining", None),
        FiberState::Run | FiberState::Leave(_) | FiberState::Delivered(..) | FiberState::Ask(_) => {
            ("runnable", None)
        }
    };
    let mut locals = fiber.locals.clone();
    locals.extend(loop_variables(program, fiber));
    let locals = Value::Object(Arc::new(locals));
    StrandView { id: fiber.id, parent: fiber.parent, state, waits_for, frames, locals }
}
