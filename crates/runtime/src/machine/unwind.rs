//! How a completion travels down the stack until a frame takes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use scaigrid_ir::Value;
use scaigrid_ir::block::OnError;

use super::End;
use super::schedule::Run;
use super::state::{Completion, Frame, Phase};
use crate::failure::Failure;
use crate::program::{BlockOp, ListNo};

impl Run<'_> {
    /// Gives a completion to the top frame, and what that makes of it to the next, until one goes on with it.
    pub(super) fn complete(&mut self, f: usize, completion: Completion) {
        let mut completion = completion;
        loop {
            let Some(fiber) = self.state.fibers.get_mut(f) else { return };
            let Some(frame) = fiber.frames.pop() else { return self.ended(completion) };
            match self.receive(f, frame, completion) {
                Some(next) => completion = next,
                None => return,
            }
        }
    }

    fn push(&mut self, f: usize, frame: Frame) {
        if let Some(fiber) = self.state.fibers.get_mut(f) {
            fiber.frames.push(frame);
        }
    }

    /// What a frame that was popped makes of a completion; none where it took it, and is on the stack again.
    fn receive(&mut self, f: usize, frame: Frame, completion: Completion) -> Option<Completion> {
        match (frame, completion) {
            (Frame::Blocks { list, at, .. }, Completion::Value(value)) => {
                let Some(node) = self.program.block(list, at) else {
                    self.lost();
                    return None;
                };
                if let Some(name) = &node.result_binding
                    && let Err(failure) = self.bind(f, name, value.clone())
                {
                    let failure = failure.at(&node.id, &node.pointer);
                    self.traces.failed(node, &failure);
                    return Some(Completion::Error(failure));
                }
                self.traces.exited(node, &value);
                self.push(f, Frame::Blocks { list, at: at.saturating_add(1), value });
                None
            }
            (Frame::Blocks { list, at, .. }, leaving) => {
                if let Some(node) = self.program.block(list, at) {
                    self.traces.left(node, &leaving);
                }
                Some(leaving)
            }
            (Frame::Statements { list, at, .. }, Completion::Value(value)) => {
                self.push(f, Frame::Statements { list, at: at.saturating_add(1), value });
                None
            }
            (Frame::While { list, at, count, .. }, Completion::Value(value)) => {
                self.push(f, Frame::While { list, at, count, value });
                None
            }
            (Frame::While { list, at, count, .. }, Completion::Continue) => {
                self.push(f, Frame::While { list, at, count, value: Value::Null });
                None
            }
            (Frame::While { value, .. }, Completion::Break) => Some(Completion::Value(value)),
            (Frame::Respond { answer }, Completion::Value(_)) => Some(Completion::Value(answer)),
            (Frame::Foreach { list, at, items, index, results, .. }, completion) => {
                self.iterated(f, (list, at), items, index, results, completion)
            }
            (Frame::Iteration { index, .. }, completion) => {
                self.iteration_ended(f, index, completion);
                None
            }
            (Frame::Try { list, at, phase }, completion) => self.tried(f, (list, at), phase, completion),
            (Frame::Timed { list, at, timer }, completion) => Some(self.untimed(list, at, timer, completion)),
            (Frame::Retry { list, at, attempt, .. }, completion) => {
                self.retried(f, list, at, attempt, completion)
            }
            (Frame::Budget { list, at, spent }, completion) => {
                self.unbudgeted(f, list, at, &spent, completion)
            }
            (Frame::Await { entries, .. }, passing) => {
                self.close_entries(&entries);
                Some(passing)
            }
            // A fiber whose iterations run beside it is never asked to leave before they have ended.
            (Frame::Fork { .. }, _) => {
                self.lost();
                None
            }
            (
                Frame::Statements { .. }
                | Frame::While { .. }
                | Frame::Respond { .. }
                | Frame::Generate { .. }
                | Frame::Invalid { .. },
                passing,
            ) => Some(passing),
        }
    }

    /// An iteration of a `foreach` without concurrency has ended.
    fn iterated(
        &mut self,
        f: usize,
        (list, at): (ListNo, u32),
        items: Arc<Vec<Value>>,
        index: u32,
        mut results: Vec<Value>,
        completion: Completion,
    ) -> Option<Completion> {
        let Some(foreach) = self.program.foreach(list, at) else {
            self.lost();
            return None;
        };
        if let Completion::Value(value) = &completion
            && let Err(failure) = self.fit(value)
        {
            return Some(Completion::Error(failure));
        }
        match completion {
            Completion::Value(value) => results.push(value),
            Completion::Continue => results.push(Value::Null),
            Completion::Break => return Some(self.list(results)),
            Completion::Error(failure) => match foreach.on_error {
                OnError::Fail => return Some(Completion::Error(failure)),
                OnError::Collect => results.push(collected(&failure)),
                OnError::Skip => {}
            },
            passing @ (Completion::Return(_) | Completion::Cancel | Completion::Expire(_)) => {
                return Some(passing);
            }
        }
        let next = index.saturating_add(1);
        let item = usize::try_from(next).ok().and_then(|next| items.get(next)).cloned();
        match item {
            Some(item) => {
                self.push(f, Frame::Foreach { list, at, items, index: next, item, results });
                self.push(f, Frame::blocks(foreach.body));
                None
            }
            None => Some(self.list(results)),
        }
    }

    /// A list of results.
    pub(super) fn list(&mut self, results: Vec<Value>) -> Completion {
        self.whole(Value::Array(Arc::new(results)))
    }

    /// Results together, which are checked as a whole: it is a level deeper than they are.
    pub(super) fn whole(&mut self, value: Value) -> Completion {
        match self.fit(&value) {
            Ok(()) => Completion::Value(value),
            Err(failure) => Completion::Error(failure),
        }
    }

    fn tried(
        &mut self,
        f: usize,
        (list, at): (ListNo, u32),
        phase: Phase,
        completion: Completion,
    ) -> Option<Completion> {
        let Some(node) = self.program.block(list, at) else {
            self.lost();
            return None;
        };
        let BlockOp::Try { catch, finally, .. } = &node.op else {
            self.lost();
            return None;
        };
        let left = match (phase, completion) {
            (Phase::Body, Completion::Error(failure)) => {
                let handler = catch
                    .iter()
                    .find(|handler| handler.code.as_ref().is_none_or(|code| *code == failure.code));
                match handler {
                    Some(handler) => {
                        let bound = match &handler.bind {
                            Some(name) => self.bind(f, name, failure.to_value()),
                            None => Ok(()),
                        };
                        match bound {
                            Ok(()) => {
                                self.push(f, Frame::Try { list, at, phase: Phase::Catch });
                                self.push(f, Frame::blocks(handler.body));
                                return None;
                            }
                            Err(failure) => Completion::Error(failure.at(&node.id, &node.pointer)),
                        }
                    }
                    None => Completion::Error(failure),
                }
            }
            (Phase::Body | Phase::Catch, completion) => completion,
            // A `finally` that ends well leaves things as they were; one that leaves otherwise has the last
            // word, except about a cancellation or a time that is up.
            (Phase::Finally(before), Completion::Value(_)) => return Some(before),
            (Phase::Finally(mut before @ (Completion::Cancel | Completion::Expire(_))), final_word) => {
                before.supersede(&final_word);
                return Some(before);
            }
            (Phase::Finally(_), completion) => return Some(completion),
        };
        match finally {
            Some(body) => {
                self.push(f, Frame::Try { list, at, phase: Phase::Finally(left) });
                self.push(f, Frame::blocks(*body));
                None
            }
            None => Some(left),
        }
    }

    /// The flow has ended.
    fn ended(&mut self, completion: Completion) {
        let end = match completion {
            _ if self.state.cancelled.is_some() => End::Cancelled,
            Completion::Value(value) | Completion::Return(value) => match self.admit_output(value) {
                Ok(value) => End::Completed(value),
                Err(failure) => End::Failed(failure),
            },
            Completion::Error(failure) => End::Failed(failure),
            Completion::Break | Completion::Continue => {
                End::Failed(Failure::new("OUTSIDE_LOOP", "break and continue belong in a loop"))
            }
            Completion::Cancel | Completion::Expire(_) => End::Cancelled,
        };
        self.give_up_open();
        self.state.fibers.clear();
        self.state.inbox.clear();
        self.state.end = Some(end);
    }

    fn admit_output(&mut self, value: Value) -> Result<Value, Failure> {
        self.fit(&value)?;
        let Some((flow, _)) = self.program.flow(self.state.flow) else { return Ok(value) };
        let Some(returns) = &flow.returns else { return Ok(value) };
        returns
            .admit(value, &self.program.module().types)
            .map_err(|errors| Failure::mismatch("OUTPUT_INVALID", "the output", errors))
    }
}

/// What stands in an item's place where its error was collected: `{error: {code, message}}`.
pub(super) fn collected(failure: &Failure) -> Value {
    let mut error = BTreeMap::new();
    error.insert("code".into(), Value::String(Arc::clone(&failure.code)));
    error.insert("message".into(), Value::String(Arc::clone(&failure.message)));
    let mut place = BTreeMap::new();
    place.insert("error".into(), Value::Object(Arc::new(error)));
    Value::Object(Arc::new(place))
}
