//! What happened to blocks, for whoever tells of it. It changes nothing about how a program runs.

use std::sync::Arc;

use scaigrid_ir::Value;

use super::state::Completion;
use crate::failure::Failure;
use crate::program::BlockNode;

/// The most that is noted of failures between two questions; a loop may fail and go on for a long time.
const FAILURES_AT_MOST: usize = 200;

/// Something that happened to a block.
#[derive(Debug, Clone, PartialEq)]
pub enum Traced {
    /// It is about to begin. A block whose condition does not hold is entered and exited without a value.
    Entered {
        /// The block.
        block: Arc<str>,
        /// Its kind, as the document names it.
        kind: &'static str,
    },
    /// It was left, well.
    Exited {
        /// The block.
        block: Arc<str>,
        /// The name that its value was bound to.
        binding: Option<Arc<str>>,
        /// The value; none where the block was left by `return`, `break` or `continue`.
        value: Option<Value>,
    },
    /// It failed, or was interrupted.
    Failed {
        /// The block.
        block: Arc<str>,
        /// Its kind.
        kind: &'static str,
        /// How.
        failure: Failure,
    },
    /// It failed and is tried again.
    Retried {
        /// The block.
        block: Arc<str>,
        /// Which attempt comes next, from 1 for the first repeat.
        attempt: u32,
        /// How the last one failed.
        failure: Failure,
    },
}

/// What is noted. Two machines are the same whatever was noted of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Traces {
    /// Whether everything is noted, or failures only.
    pub(super) all: bool,
    noted: Vec<Traced>,
}

impl PartialEq for Traces {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Traces {
    pub(super) fn take(&mut self) -> Vec<Traced> {
        std::mem::take(&mut self.noted)
    }

    pub(super) fn entered(&mut self, node: &BlockNode) {
        if self.all {
            self.noted.push(Traced::Entered { block: Arc::clone(&node.id), kind: node.kind });
        }
    }

    pub(super) fn exited(&mut self, node: &BlockNode, value: &Value) {
        if self.all {
            self.noted.push(Traced::Exited {
                block: Arc::clone(&node.id),
                binding: node.result_binding.clone(),
                value: Some(value.clone()),
            });
        }
    }

    /// A block was left otherwise than with its value.
    pub(super) fn left(&mut self, node: &BlockNode, completion: &Completion) {
        match completion {
            Completion::Error(failure) => self.failed(node, failure),
            Completion::Value(_) | Completion::Return(_) | Completion::Break | Completion::Continue => {
                if self.all {
                    let block = Arc::clone(&node.id);
                    self.noted.push(Traced::Exited { block, binding: None, value: None });
                }
            }
            Completion::Cancel | Completion::Expire(_) => {
                if self.all {
                    let failure = Failure::new("INTERRUPTED", "the block was interrupted");
                    self.failed(node, &failure.at(&node.id, &node.pointer));
                }
            }
        }
    }

    pub(super) fn failed(&mut self, node: &BlockNode, failure: &Failure) {
        if self.has_room() {
            let block = Arc::clone(&node.id);
            self.noted.push(Traced::Failed { block, kind: node.kind, failure: failure.clone() });
        }
    }

    pub(super) fn retried(&mut self, node: &BlockNode, attempt: u32, failure: &Failure) {
        if self.has_room() {
            let block = Arc::clone(&node.id);
            self.noted.push(Traced::Retried { block, attempt, failure: failure.clone() });
        }
    }

    fn has_room(&self) -> bool {
        self.all || self.noted.len() < FAILURES_AT_MOST
    }
}
