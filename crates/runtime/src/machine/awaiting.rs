//! Answers to calls, events and timers, joined.

use std::sync::Arc;
use std::time::Duration;

use scaigrid_ir::Value;
use scaigrid_ir::block::{Await, AwaitEntry, AwaitMode, Awaited};
use scaigrid_ir::expr::Expr;
use scaigrid_ir::value::text;

use super::schedule::{Run, carried};
use super::script::{Halt, Script, mismatch};
use super::state::{Completion, FiberState, Frame, Open, Role, State};
use super::unwind::collected;
use crate::effect::{EffectId, EffectKind, Outcome, TimerRequest, WaitEventRequest};
use crate::failure::Failure;
use crate::program::{BlockNode, ListNo, entry_pointer};

/// The longest wait that a program may ask for: ten years, as in declarations.
const LONGEST: i64 = 10 * 366 * 24 * 60 * 60 * 1_000_000;

/// One thing that is waited for.
pub(super) enum Entry {
    /// An asynchronous call that is open, or has its answer.
    Call(EffectId),
    /// An event or a time that is asked for now, at this place of the document.
    Asked(EffectKind, Arc<str>),
}

/// What an `await_responses` waits for, and how many answers are enough.
pub(super) struct Wanted {
    entries: Vec<Entry>,
    enough: u32,
}

/// Computes what an `await_responses` waits for.
pub(super) fn wanted(script: &mut Script<'_>, wait: &Await, node: &BlockNode) -> Result<Wanted, Halt> {
    let entries = match &wait.of {
        Awaited::Handles(handles) => match script.eval(handles)? {
            Value::Array(handles) => {
                handles.iter().map(|value| handle(script.state, value)).collect::<Result<Vec<_>, _>>()?
            }
            other => return Err(mismatch("what is waited for should be an array of handles", &other).into()),
        },
        Awaited::Entries(entries) => {
            let mut computed = Vec::with_capacity(entries.len());
            for (index, entry) in entries.iter().enumerate() {
                let pointer = || entry_pointer(&node.pointer, index);
                computed.push(match entry {
                    AwaitEntry::Handle(expr) => {
                        let value = script.eval(expr)?;
                        handle(script.state, &value)?
                    }
                    AwaitEntry::Event { name, filter } => {
                        let name = script.render(name)?;
                        let request = event(script, name, filter.as_ref(), None);
                        Entry::Asked(EffectKind::WaitEvent(Box::new(request)), pointer())
                    }
                    AwaitEntry::Timer(expr) => {
                        Entry::Asked(EffectKind::Timer(timer(script.eval(expr)?)?), pointer())
                    }
                });
            }
            computed
        }
    };
    let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    let enough = match wait.mode {
        AwaitMode::All => count,
        AwaitMode::Any => 1,
        AwaitMode::Count(count) => count,
    };
    if enough > count {
        let message = format!("{count} entries can never give {enough} answers");
        return Err(Failure::new("INVALID_VALUE", message).into());
    }
    Ok(Wanted { entries, enough })
}

fn handle(state: &State, value: &Value) -> Result<Entry, Failure> {
    let id = match value.get("handle") {
        Some(Value::Int(id)) => u32::try_from(*id).ok().map(EffectId),
        _ => None,
    };
    let open = id.and_then(|id| called(state, id));
    match open {
        Some(open) => Ok(Entry::Call(open.effect.id)),
        // The cancellation gives up the calls that are open.
        None if state.cancelled.is_some() && id.is_some() => Err(super::fibers::refused()),
        None => {
            Err(Failure::new("HANDLE_UNKNOWN", "this is no handle of an asynchronous call of this execution"))
        }
    }
}

/// The asynchronous call that a handle means.
fn called(state: &State, handle: EffectId) -> Option<&Open> {
    // One that a retry has asked for again has another number than its handle.
    let renamed = state.open.iter().find(|open| open.handle == Some(handle));
    renamed.or_else(|| find(state, handle).filter(|open| open.role == Role::Handle && open.handle.is_none()))
}

fn find(state: &State, id: EffectId) -> Option<&Open> {
    let index = state.open.binary_search_by_key(&id, |open| open.effect.id).ok()?;
    state.open.get(index)
}

/// The request of a wait for an event.
pub(super) fn event(
    script: &Script<'_>,
    name: Arc<str>,
    filter: Option<&Expr>,
    timeout: Option<Duration>,
) -> WaitEventRequest {
    let captured = filter.map_or(Value::Null, |filter| script.captured(filter));
    WaitEventRequest { name, filtered: filter.is_some(), captured, timeout }
}

/// A duration to wait for, an instant or a date to wait until; also as text.
pub(super) fn timer(value: Value) -> Result<TimerRequest, Failure> {
    let value = match value {
        Value::String(written) => text::parse_duration(&written)
            .map(Value::Duration)
            .or_else(|| text::parse_datetime(&written).map(Value::Datetime))
            .or_else(|| text::parse_date(&written).map(Value::Date))
            .ok_or_else(|| {
                Failure::new("INVALID_VALUE", format!("{written:?} is neither a span of time nor an instant"))
            })?,
        other => other,
    };
    match value {
        Value::Duration(span) if span > LONGEST => {
            Err(Failure::new("INVALID_VALUE", "the wait is longer than ten years"))
        }
        // What is over already is waited for not at all.
        Value::Duration(span) => Ok(TimerRequest::After(Duration::from_micros(span.max(0).unsigned_abs()))),
        Value::Datetime(instant) => Ok(TimerRequest::Until(instant)),
        Value::Date(date) => Ok(TimerRequest::Until(text::midnight(date))),
        other => Err(mismatch("a time to wait for should be a duration or an instant", &other)),
    }
}

impl Run<'_> {
    /// Begins to wait.
    pub(super) fn wait_for(&mut self, f: usize, node: &BlockNode, list: ListNo, at: u32, wanted: Wanted) {
        let asks = wanted.entries.iter().any(|entry| matches!(entry, Entry::Asked(..)));
        if asks && self.state.cancelled.is_some() {
            let refused = super::fibers::refused().at(&node.id, &node.pointer);
            return self.complete(f, Completion::Error(refused));
        }
        for entry in &wanted.entries {
            let Entry::Asked(kind, _) = entry else { continue };
            for value in carried(kind) {
                if let Err(failure) = self.fit(value) {
                    return self.complete(f, Completion::Error(failure.at(&node.id, &node.pointer)));
                }
            }
        }
        let mut entries = Vec::with_capacity(wanted.entries.len());
        for entry in wanted.entries {
            entries.push(match entry {
                Entry::Call(id) => id,
                Entry::Asked(kind, pointer) => self.open_beside((&node.id, &pointer), kind, Role::Entry),
            });
        }
        self.grow(entries.len().saturating_mul(size_of::<EffectId>()));
        if let Some(fiber) = self.state.fibers.get_mut(f) {
            fiber.frames.push(Frame::Await { list, at, entries, enough: wanted.enough });
        }
        self.look(f);
    }

    /// Parks a fiber that has not enough answers yet; lets one that has them go on.
    fn look(&mut self, f: usize) {
        let Some(fiber) = self.state.fibers.get(f) else { return };
        let Some(Frame::Await { entries, enough, .. }) = fiber.frames.last() else { return };
        let here =
            entries.iter().filter(|id| find(self.state, **id).is_none_or(|open| open.outcome.is_some()));
        let enough = usize::try_from(*enough).is_ok_and(|enough| here.count() >= enough);
        if let Some(fiber) = self.state.fibers.get_mut(f) {
            fiber.state = if enough { FiberState::Run } else { FiberState::Await };
        }
    }

    /// An effect beside the fibers has its answer: whoever waits for it may go on.
    pub(super) fn answered(&mut self, id: EffectId) {
        let waiting: Vec<usize> = self
            .state
            .fibers
            .iter()
            .enumerate()
            .filter(|(_, fiber)| {
                matches!(fiber.state, FiberState::Await)
                    && matches!(fiber.frames.last(), Some(Frame::Await { entries, .. }) if entries.contains(&id))
            })
            .map(|(f, _)| f)
            .collect();
        for f in waiting {
            self.look(f);
        }
    }

    /// Enough answers are here: the list of them, in the order of what was waited for.
    pub(super) fn collect(&mut self, f: usize) {
        let Some(Frame::Await { entries, .. }) =
            self.state.fibers.get_mut(f).and_then(|fiber| fiber.frames.pop())
        else {
            return self.lost();
        };
        let answers =
            entries.iter().map(|id| match find(self.state, *id).and_then(|open| open.outcome.as_ref()) {
                Some(Outcome::Value(value)) => value.clone(),
                Some(Outcome::Error(failure)) => collected(failure),
                None => Value::Null,
            });
        let completion = Value::array(answers.collect());
        self.close_entries(&entries);
        let completion = self.whole(completion);
        self.complete(f, completion);
    }

    /// Gives up the events and times of a wait that is over; calls stay open.
    pub(super) fn close_entries(&mut self, entries: &[EffectId]) {
        for id in entries {
            if find(self.state, *id).is_some_and(|open| open.role == Role::Entry) {
                self.close(*id);
            }
        }
    }
}
