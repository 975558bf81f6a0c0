//! A loaded module, laid out for running: every list of blocks or statements has a number.
//!
//! Positions in a stored state are a list's number and an index into it. Lists are numbered in the order in
//! which a reader of the document meets them, flow by flow; that order is part of the state format. A state
//! belongs to the one module it was made with; with another its positions mean nothing, and the machine fails
//! where one leads nowhere.

mod filters;
mod layout;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use scaigrid_ir::block::{
    AssignTarget, Await, Budget, Checkpoint, CoreCall, Generation, LogLevel, MemoryStatement, ModelCall,
    OnError, Pattern, PluginCall, Retry, TimeSpan, WaitEvent,
};
use scaigrid_ir::expr::{Expr, Limits, Template};
use scaigrid_ir::{Flow, Module, Value};

pub(crate) use filters::captured;
pub(crate) use layout::entry_pointer;

/// The number of a list of blocks or statements.
pub(crate) type ListNo = u32;

/// A program, ready to run. Cheap to share between threads behind an `Arc`; holds no state of any execution.
#[derive(Debug)]
pub struct Program {
    module: Arc<Module>,
    lists: Vec<List>,
    flow_bodies: Vec<ListNo>,
    limits: Limits,
    reference: Value,
    identity: Value,
    /// The filters of waits for events, by the pointer of the place that waits.
    filters: BTreeMap<Arc<str>, Expr>,
    /// By flow, the plugin methods that run only with an approval.
    approved: Vec<BTreeSet<(Arc<str>, Arc<str>)>>,
}

#[derive(Debug)]
enum List {
    Blocks(Vec<BlockNode>),
    Statements(Vec<StatementNode>),
}

/// A block, with its bodies by number.
#[derive(Debug)]
pub(crate) struct BlockNode {
    pub(crate) id: Arc<str>,
    pub(crate) pointer: Arc<str>,
    /// Its kind's name in the document.
    pub(crate) kind: &'static str,
    pub(crate) when: Option<Expr>,
    pub(crate) result_binding: Option<Arc<str>>,
    pub(crate) label: Option<Template>,
    pub(crate) op: BlockOp,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry: Option<Box<Retry>>,
}

impl BlockNode {
    /// How long an attempt may take; the time of a checkpoint is kept where people are asked.
    pub(crate) fn bound(&self) -> Option<Duration> {
        self.timeout.filter(|_| !matches!(self.op, BlockOp::Checkpoint { .. }))
    }
}

#[derive(Debug)]
pub(crate) enum BlockOp {
    Rigid { statements: ListNo },
    Match { subject: Expr, arms: Vec<ArmNode>, otherwise: Option<ListNo> },
    Foreach(Box<ForeachNode>),
    While { condition: Expr, max_iterations: u32, body: ListNo },
    Try { body: ListNo, catch: Vec<CatchNode>, finally: Option<ListNo> },
    Checkpoint { checkpoint: Box<Checkpoint>, on_response: Vec<(Arc<str>, ListNo)> },
    CoreCall(Box<CoreCall>),
    Parallel(Box<ParallelNode>),
    Await(Box<Await>),
    ModelCall(Box<ModelCallNode>),
    Generate(Box<GenerateNode>),
    Budget { limits: Box<Budget>, body: ListNo, on_exceeded: Option<ListNo> },
    Debug { statements: ListNo },
}

/// Bodies that run side by side.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ForkNode<'p> {
    Foreach(&'p ForeachNode),
    Parallel(&'p ParallelNode),
}

#[derive(Debug)]
pub(crate) struct ParallelNode {
    /// The branches' names, as texts.
    pub(crate) names: Arc<Vec<Value>>,
    pub(crate) bodies: Vec<ListNo>,
    pub(crate) max_concurrent: u32,
    pub(crate) fail_fast: bool,
}

#[derive(Debug)]
pub(crate) struct ModelCallNode {
    pub(crate) call: ModelCall,
    /// The JSON Schema of the output type, where there is one.
    pub(crate) schema: Option<Value>,
}

#[derive(Debug)]
pub(crate) struct GenerateNode {
    pub(crate) generation: Generation,
    /// The JSON Schema of the output type; none where it is plain text.
    pub(crate) schema: Option<Value>,
    /// What runs where a condition does not hold.
    pub(crate) on_invalid: Option<ListNo>,
}

#[derive(Debug)]
pub(crate) struct ForeachNode {
    pub(crate) items: Expr,
    pub(crate) var: Arc<str>,
    pub(crate) index_var: Option<Arc<str>>,
    pub(crate) body: ListNo,
    pub(crate) max_concurrent: u32,
    pub(crate) on_error: OnError,
}

#[derive(Debug)]
pub(crate) struct ArmNode {
    pub(crate) pattern: Pattern,
    pub(crate) guard: Option<Expr>,
    pub(crate) body: ListNo,
}

#[derive(Debug)]
pub(crate) struct CatchNode {
    pub(crate) code: Option<Arc<str>>,
    pub(crate) bind: Option<Arc<str>>,
    pub(crate) body: ListNo,
}

/// A statement, with the lists of its branches by number.
#[derive(Debug)]
pub(crate) struct StatementNode {
    /// The block that it stands in.
    pub(crate) block: Arc<str>,
    pub(crate) pointer: Arc<str>,
    pub(crate) op: StatementOp,
}

#[derive(Debug)]
pub(crate) enum StatementOp {
    Let { name: Arc<str>, value: Expr },
    Assign { target: AssignTarget, value: Expr },
    Expression { value: Expr },
    If { condition: Expr, then: ListNo, otherwise: ListNo },
    Return { value: Option<Expr> },
    Break,
    Continue,
    Emit { event: Template, data: Option<Expr> },
    Log { level: LogLevel, message: Template, fields: Option<Expr> },
    Memory(Box<MemoryStatement>),
    Fail { code: Template, message: Option<Template> },
    PluginCall { call: Box<PluginCall>, timeout: Option<Duration> },
    Sleep(TimeSpan),
    WaitEvent(Box<WaitEvent>),
}

impl Program {
    /// Lays a module out.
    pub fn new(module: Arc<Module>) -> Self {
        layout::program(module)
    }

    /// The checkpoints of its flows, each with where it stands in the document (RFC 6901).
    pub fn checkpoints(&self) -> impl Iterator<Item = (&str, &Checkpoint)> {
        self.all_blocks().filter_map(|block| match &block.op {
            BlockOp::Checkpoint { checkpoint, .. } => Some((&*block.pointer, &**checkpoint)),
            _ => None,
        })
    }

    /// Whether any of its flows calls plugins or models, or may have texts compared by one.
    pub fn calls_outside(&self) -> bool {
        self.module.embedding().is_some()
            || self.asks_models()
            || self.lists.iter().any(|list| match list {
                List::Blocks(_) => false,
                List::Statements(statements) => {
                    statements.iter().any(|statement| matches!(statement.op, StatementOp::PluginCall { .. }))
                }
            })
    }

    /// Whether any of its flows asks a model.
    pub fn asks_models(&self) -> bool {
        self.all_blocks().any(|block| matches!(block.op, BlockOp::ModelCall(_) | BlockOp::Generate(_)))
    }

    /// The calls of flows that its flows make, each with where it stands in the document (RFC 6901).
    pub fn core_calls(&self) -> impl Iterator<Item = (&str, &CoreCall)> {
        self.all_blocks().filter_map(|block| match &block.op {
            BlockOp::CoreCall(call) => Some((&*block.pointer, &**call)),
            _ => None,
        })
    }

    fn all_blocks(&self) -> impl Iterator<Item = &BlockNode> {
        let blocks = self.lists.iter().filter_map(|list| match list {
            List::Blocks(blocks) => Some(blocks),
            List::Statements(_) => None,
        });
        blocks.flatten()
    }

    /// The module.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// The module, to be kept.
    pub const fn shared_module(&self) -> &Arc<Module> {
        &self.module
    }

    /// A flow by its place in the module, and the number of its body.
    pub(crate) fn flow(&self, index: u32) -> Option<(&Flow, ListNo)> {
        let index = usize::try_from(index).ok()?;
        Some((self.module.flows.get(index)?, *self.flow_bodies.get(index)?))
    }

    pub(crate) fn blocks(&self, list: ListNo) -> Option<&[BlockNode]> {
        match self.lists.get(usize::try_from(list).ok()?)? {
            List::Blocks(blocks) => Some(blocks),
            List::Statements(_) => None,
        }
    }

    pub(crate) fn statements(&self, list: ListNo) -> Option<&[StatementNode]> {
        match self.lists.get(usize::try_from(list).ok()?)? {
            List::Statements(statements) => Some(statements),
            List::Blocks(_) => None,
        }
    }

    pub(crate) fn block(&self, list: ListNo, at: u32) -> Option<&BlockNode> {
        self.blocks(list)?.get(usize::try_from(at).ok()?)
    }

    pub(crate) fn foreach(&self, list: ListNo, at: u32) -> Option<&ForeachNode> {
        match &self.block(list, at)?.op {
            BlockOp::Foreach(foreach) => Some(foreach),
            _ => None,
        }
    }

    /// What forks at a block.
    pub(crate) fn fork(&self, list: ListNo, at: u32) -> Option<ForkNode<'_>> {
        match &self.block(list, at)?.op {
            BlockOp::Foreach(foreach) => Some(ForkNode::Foreach(foreach)),
            BlockOp::Parallel(parallel) => Some(ForkNode::Parallel(parallel)),
            _ => None,
        }
    }

    /// The budget of a block, and what runs once it is met.
    pub(crate) fn budget(&self, list: ListNo, at: u32) -> Option<(&Budget, Option<ListNo>)> {
        match &self.block(list, at)?.op {
            BlockOp::Budget { limits, on_exceeded, .. } => Some((limits, *on_exceeded)),
            BlockOp::Generate(node) => Some((node.generation.budget.as_ref()?, None)),
            _ => None,
        }
    }

    pub(crate) fn generate(&self, list: ListNo, at: u32) -> Option<(&BlockNode, &GenerateNode)> {
        let node = self.block(list, at)?;
        match &node.op {
            BlockOp::Generate(generate) => Some((node, generate)),
            _ => None,
        }
    }

    /// Whether a plugin's method runs only with an approval in this flow.
    pub(crate) fn needs_approval(&self, flow: u32, alias: &Arc<str>, method: &Arc<str>) -> bool {
        let bound = usize::try_from(flow).ok().and_then(|flow| self.approved.get(flow));
        bound.is_some_and(|bound| {
            !bound.is_empty() && bound.contains(&(Arc::clone(alias), Arc::clone(method)))
        })
    }

    pub(crate) fn statement(&self, list: ListNo, at: u32) -> Option<&StatementNode> {
        self.statements(list)?.get(usize::try_from(at).ok()?)
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn reference(&self) -> &Value {
        &self.reference
    }

    pub(crate) fn identity(&self) -> &Value {
        &self.identity
    }
}
