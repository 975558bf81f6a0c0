//! Budgets: what calls may spend is held before they are asked for, and settled when they are answered.

use rust_decimal::Decimal;
use scaigrid_ir::Value;

use super::Machine;
use super::schedule::Run;
use super::state::{Completion, Fiber, FiberState, Frame, Spent, State};
use crate::effect::{EffectId, EffectKind, ModelAnswer, ModelCallRequest, Outcome};
use crate::failure::Failure;
use crate::program::{ListNo, Program};

/// What a budget says when it is met.
const EXCEEDED: &str = "BUDGET_EXCEEDED";

/// Whether a call may be asked for.
pub(super) enum Verdict {
    Granted,
    /// Calls in flight hold what it needs.
    Turn,
    Refused(Failure),
}

/// What a call holds until it settles.
struct Held {
    tokens: u64,
    cost: Decimal,
}

impl Held {
    fn of(request: &ModelCallRequest) -> Self {
        let tokens = estimate(request).saturating_add(request.max_output_tokens.unwrap_or(0));
        let cost = match &request.max_cost {
            Some(Value::Money(cost)) => *cost,
            _ => Decimal::ZERO,
        };
        Self { tokens, cost }
    }
}

/// The tokens that a request's prompt has, roughly and rather too many than too few: a token for every three bytes of
/// its JSON, and four for each message.
pub(super) fn estimate(request: &ModelCallRequest) -> u64 {
    fn bytes(value: &Value) -> u64 {
        match value {
            Value::String(text) => text.len() as u64 + 2,
            Value::Array(items) => items.iter().map(bytes).fold(2, u64::saturating_add),
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| name.len() as u64 + 4 + bytes(value))
                .fold(2, u64::saturating_add),
            _ => 8,
        }
    }
    let messages = request.messages.as_array().map_or(0, <[Value]>::len) as u64;
    let read = bytes(&request.messages).saturating_add(request.schema.as_ref().map_or(0, bytes));
    read.div_ceil(3).saturating_add(messages.saturating_mul(4))
}

/// The frames of the budgets that a fiber spends from: as fiber and level, the innermost first.
fn budgets(state: &State, f: usize) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = Some(f);
    while let Some((index, fiber)) = at.and_then(|index| Some((index, state.fibers.get(index)?))) {
        for (level, frame) in fiber.frames.iter().enumerate().rev() {
            if matches!(frame, Frame::Budget { spent, .. } if !spent.over) {
                found.push((index, level));
            }
        }
        at = fiber.parent.and_then(|parent| state.fiber_index(parent));
    }
    found
}

fn spent(state: &mut State, (fiber, level): (usize, usize)) -> Option<&mut Spent> {
    match state.fibers.get_mut(fiber)?.frames.get_mut(level)? {
        Frame::Budget { spent, .. } => Some(spent),
        _ => None,
    }
}

impl Machine {
    /// Whether a budget around a call of a model that it waits for says how many tokens, or how much money, there are.
    pub fn is_budgeted(&self, program: &Program, id: EffectId) -> bool {
        let waits = |fiber: &Fiber| fiber.waits_for().is_some_and(|effect| effect.id == id);
        let Some(f) = self.state.fibers.iter().position(waits) else { return false };
        budgets(&self.state, f).into_iter().any(|(fiber, level)| {
            let frame = self.state.fibers.get(fiber).and_then(|fiber| fiber.frames.get(level));
            let Some(Frame::Budget { list, at, .. }) = frame else { return false };
            let limits = program.budget(*list, *at);
            limits.is_some_and(|(limits, _)| limits.max_tokens.is_some() || limits.max_cost.is_some())
        })
    }
}

impl Run<'_> {
    /// Whether the budgets around a fiber have room for a call; if so it is counted, what it may spend is held, and
    /// the request says how much that is.
    pub(super) fn reserve(&mut self, f: usize, kind: &mut EffectKind) -> Verdict {
        if !matches!(kind, EffectKind::ModelCall(_) | EffectKind::PluginCall(_)) {
            return Verdict::Granted;
        }
        let places = budgets(self.state, f);
        if places.is_empty() {
            return Verdict::Granted;
        }
        let mut turn = false;
        let mut most_tokens: Option<u64> = None;
        let mut most_cost: Option<Decimal> = None;
        for place in &places {
            let Some(room) = self.room(*place, kind) else {
                self.lost();
                return Verdict::Granted;
            };
            match room {
                Ok(room) => {
                    turn |= room.turn;
                    most_tokens = least(most_tokens, room.output_tokens);
                    most_cost = least(most_cost, room.cost);
                }
                Err(what) => {
                    if let Some(spent) = spent(self.state, *place) {
                        spent.exceeded = true;
                    }
                    return Verdict::Refused(Failure::new(EXCEEDED, what));
                }
            }
        }
        if turn {
            return Verdict::Turn;
        }
        let mut held = Held { tokens: 0, cost: Decimal::ZERO };
        if let EffectKind::ModelCall(request) = kind {
            request.max_output_tokens = least(request.max_output_tokens, most_tokens);
            request.max_cost = match (&request.max_cost, most_cost) {
                (Some(Value::Money(own)), Some(most)) => Some(Value::Money(most.min(*own))),
                (None, Some(most)) => Some(Value::Money(most)),
                (own, _) => own.clone(),
            };
            held = Held::of(request);
        }
        for place in places {
            if let Some(spent) = spent(self.state, place) {
                spent.calls = spent.calls.saturating_add(1);
                spent.held_tokens = spent.held_tokens.saturating_add(held.tokens);
                spent.held_cost = spent.held_cost.saturating_add(held.cost);
            }
        }
        Verdict::Granted
    }

    /// What one budget leaves a call; an error where it will never be enough, none where there is no budget.
    fn room(&self, (fiber, level): (usize, usize), kind: &EffectKind) -> Option<Result<Room, &'static str>> {
        let Frame::Budget { list, at, spent } = self.state.fibers.get(fiber)?.frames.get(level)? else {
            return None;
        };
        let (limits, _) = self.program.budget(*list, *at)?;
        if limits.max_calls.is_some_and(|most| spent.calls >= most) {
            return Some(Err("the budget has no further call"));
        }
        let mut room = Room::default();
        let EffectKind::ModelCall(request) = kind else { return Some(Ok(room)) };
        if let Some(most) = limits.max_tokens {
            let read = estimate(request);
            let best = most.saturating_sub(spent.tokens).saturating_sub(read);
            if best == 0 {
                return Some(Err("the budget has too few tokens left"));
            }
            let wanted = request.max_output_tokens.unwrap_or(best).min(best);
            room.turn |= spent.held_tokens > 0 && best.saturating_sub(spent.held_tokens) < wanted;
            room.output_tokens = Some(wanted);
        }
        if let Some(most) = limits.max_cost {
            let best = most.saturating_sub(spent.cost);
            if best <= Decimal::ZERO {
                return Some(Err("the budget has no money left"));
            }
            let wanted = match &request.max_cost {
                Some(Value::Money(own)) => best.min(*own),
                _ => best,
            };
            room.turn |= spent.held_cost > Decimal::ZERO && best.saturating_sub(spent.held_cost) < wanted;
            room.cost = Some(wanted);
        }
        Some(Ok(room))
    }

    /// A body with a budget is left, or what follows upon the budget's end is; none where that goes on.
    pub(super) fn unbudgeted(
        &mut self,
        f: usize,
        list: ListNo,
        at: u32,
        spent: &Spent,
        completion: Completion,
    ) -> Option<Completion> {
        if spent.over {
            return Some(completion);
        }
        if let Some(timer) = spent.timer {
            self.close(timer);
        }
        let failure = match completion {
            Completion::Expire(timer) if spent.timer == Some(timer) => {
                let mut failure = Failure::new(EXCEEDED, "the budget has no time left");
                if let Some(node) = self.program.block(list, at) {
                    failure = failure.at(&node.id, &node.pointer);
                }
                failure
            }
            Completion::Error(failure) if spent.exceeded && &*failure.code == EXCEEDED => failure,
            passing => return Some(passing),
        };
        let Some((_, Some(instead))) = self.program.budget(list, at) else {
            return Some(Completion::Error(failure));
        };
        let over = Box::new(Spent { over: true, timer: None, ..spent.clone() });
        let fiber = self.state.fibers.get_mut(f)?;
        fiber.frames.push(Frame::Budget { list, at, spent: over });
        fiber.frames.push(Frame::blocks(instead));
        None
    }
}

/// What one budget leaves a call.
#[derive(Default)]
struct Room {
    turn: bool,
    output_tokens: Option<u64>,
    cost: Option<Decimal>,
}

fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Settles a call: what it has spent is known from its answer, or, where it failed, from its failure, which names nothing if
/// nothing came back; of one that was given up nobody knows, so everything that it held is taken as spent. Calls that wait
/// their turn look again.
pub(super) fn settle(state: &mut State, f: usize, kind: &EffectKind, outcome: Option<&Outcome>) {
    let EffectKind::ModelCall(request) = kind else { return };
    let places = budgets(state, f);
    if places.is_empty() {
        return;
    }
    let held = Held::of(request);
    let (tokens, cost, refused) = match outcome {
        Some(Outcome::Value(value)) => match ModelAnswer::of_value(value) {
            Some(answer) => (answer.input_tokens.saturating_add(answer.output_tokens), answer.cost, false),
            None => (0, Decimal::ZERO, false),
        },
        Some(Outcome::Error(failure)) => {
            let (tokens, cost) =
                failure.spent.as_ref().map_or((0, Decimal::ZERO), |spent| (spent.tokens, spent.cost));
            (tokens, cost, &*failure.code == EXCEEDED)
        }
        None => (held.tokens, held.cost, false),
    };
    for place in places {
        if let Some(spent) = spent(state, place) {
            spent.held_tokens = spent.held_tokens.saturating_sub(held.tokens);
            spent.held_cost = spent.held_cost.saturating_sub(held.cost).max(Decimal::ZERO);
            spent.tokens = spent.tokens.saturating_add(tokens);
            spent.cost = spent.cost.saturating_add(cost);
            // Whoever makes the calls keeps to the bounds that the request carries.
            spent.exceeded |= refused && (request.max_cost.is_some() || request.max_output_tokens.is_some());
        }
    }
    for fiber in &mut state.fibers {
        fiber.state = match std::mem::replace(&mut fiber.state, FiberState::Run) {
            FiberState::Turn(asked) => FiberState::Ask(asked),
            other => other,
        };
    }
}
