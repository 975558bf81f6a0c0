//! A loaded module, laid out for running: every list of blocks or statements has a number.
//!
//! Positions in a stored state are a list's number and an index into it. Lists are numbered in the order in
//! which a reader of the document meets them, flow by flow; that order is part of the state format. A state
//! belongs to the one module it was made with; with another its positions mean nothing, and the machine fails
//! where one leads nowhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use scaigrid_ir::block::{
    AssignTarget, Block, BlockKind, Checkpoint, CoreCall, LogLevel, MemoryStatement, OnError, Pattern,
    Statement, StatementKind,
};
use scaigrid_ir::expr::{Expr, Limits, Template};
use scaigrid_ir::{Flow, Module, Value};

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
    pub(crate) when: Option<Expr>,
    pub(crate) result_binding: Option<Arc<str>>,
    pub(crate) label: Option<Template>,
    pub(crate) op: BlockOp,
    pub(crate) timeout: Option<std::time::Duration>,
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
    NotYet { kind: Arc<str> },
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
    NotYet { kind: Arc<str> },
}

impl Program {
    /// Lays a module out.
    pub fn new(module: Arc<Module>) -> Self {
        let mut layout = Layout { lists: Vec::new() };
        let flow_bodies = module.flows.iter().map(|flow| layout.blocks(&flow.body)).collect();
        let reference = Value::Object(Arc::new(module.reference.clone()));
        let identity = identity(&module);
        Self { lists: layout.lists, flow_bodies, limits: Limits::default(), reference, identity, module }
    }

    /// The module.
    pub fn module(&self) -> &Module {
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

/// What the program sees as `identity`; null where it declares none.
fn identity(module: &Module) -> Value {
    let Some(identity) = &module.identity else { return Value::Null };
    let mut fields = BTreeMap::new();
    fields.insert("name".into(), Value::String(Arc::clone(&identity.name)));
    fields.insert("persona".into(), identity.persona.clone().map_or(Value::Null, Value::String));
    let languages = identity.languages.iter().cloned().map(Value::String).collect();
    fields.insert("languages".into(), Value::Array(Arc::new(languages)));
    Value::Object(Arc::new(fields))
}

/// Numbers the lists. Recursion is bounded by the nesting that documents may have.
struct Layout {
    lists: Vec<List>,
}

impl Layout {
    /// Takes the next number, before the lists inside take theirs.
    fn reserve(&mut self, list: List) -> ListNo {
        self.lists.push(list);
        // A document is at most 64 MB, so it has fewer lists than this.
        u32::try_from(self.lists.len() - 1).unwrap_or(u32::MAX)
    }

    fn fill(&mut self, number: ListNo, list: List) {
        if let Some(place) = usize::try_from(number).ok().and_then(|number| self.lists.get_mut(number)) {
            *place = list;
        }
    }

    fn blocks(&mut self, body: &[Block]) -> ListNo {
        let number = self.reserve(List::Blocks(Vec::new()));
        let nodes = body.iter().map(|block| self.block(block)).collect();
        self.fill(number, List::Blocks(nodes));
        number
    }

    fn statements(&mut self, block: &Arc<str>, statements: &[Statement]) -> ListNo {
        let number = self.reserve(List::Statements(Vec::new()));
        let nodes = statements.iter().map(|statement| self.statement(block, statement)).collect();
        self.fill(number, List::Statements(nodes));
        number
    }

    fn block(&mut self, block: &Block) -> BlockNode {
        let op = match &block.kind {
            BlockKind::Rigid { statements } => {
                BlockOp::Rigid { statements: self.statements(&block.id, statements) }
            }
            BlockKind::Match { subject, arms, otherwise } => BlockOp::Match {
                subject: subject.clone(),
                arms: arms
                    .iter()
                    .map(|arm| ArmNode {
                        pattern: arm.pattern.clone(),
                        guard: arm.guard.clone(),
                        body: self.blocks(&arm.body),
                    })
                    .collect(),
                otherwise: otherwise.as_ref().map(|body| self.blocks(body)),
            },
            BlockKind::Foreach { items, var, index_var, body, max_concurrent, on_error } => {
                BlockOp::Foreach(Box::new(ForeachNode {
                    items: items.clone(),
                    var: Arc::clone(var),
                    index_var: index_var.clone(),
                    body: self.blocks(body),
                    max_concurrent: max_concurrent.unwrap_or(1),
                    on_error: *on_error,
                }))
            }
            BlockKind::While { condition, max_iterations, body } => BlockOp::While {
                condition: condition.clone(),
                max_iterations: *max_iterations,
                body: self.blocks(body),
            },
            BlockKind::Try { body, catch, finally } => BlockOp::Try {
                body: self.blocks(body),
                catch: catch
                    .iter()
                    .map(|handler| CatchNode {
                        code: handler.code.clone(),
                        bind: handler.bind.clone(),
                        body: self.blocks(&handler.body),
                    })
                    .collect(),
                finally: finally.as_ref().map(|body| self.blocks(body)),
            },
            BlockKind::Checkpoint(checkpoint) => {
                let on_response = checkpoint
                    .on_response
                    .iter()
                    .map(|(option, body)| (Arc::clone(option), self.blocks(body)))
                    .collect();
                // The bodies are numbered now; a second copy of them would be dead weight.
                let checkpoint = Checkpoint { on_response: Vec::new(), ..(**checkpoint).clone() };
                BlockOp::Checkpoint { checkpoint: Box::new(checkpoint), on_response }
            }
            BlockKind::CoreCall(call) => BlockOp::CoreCall(call.clone()),
            BlockKind::NotYet { kind, .. } => BlockOp::NotYet { kind: Arc::clone(kind) },
        };
        BlockNode {
            id: Arc::clone(&block.id),
            pointer: Arc::clone(&block.pointer),
            when: block.when.clone(),
            result_binding: block.result_binding.clone(),
            label: block.label.clone(),
            op,
            timeout: block.timeout,
        }
    }

    fn statement(&mut self, block: &Arc<str>, statement: &Statement) -> StatementNode {
        let op = match &statement.kind {
            StatementKind::Let { name, value } => {
                StatementOp::Let { name: Arc::clone(name), value: value.clone() }
            }
            StatementKind::Assign { target, value } => {
                StatementOp::Assign { target: target.clone(), value: value.clone() }
            }
            StatementKind::Expression { value } => StatementOp::Expression { value: value.clone() },
            StatementKind::If { condition, then, otherwise } => StatementOp::If {
                condition: condition.clone(),
                then: self.statements(block, then),
                otherwise: self.statements(block, otherwise),
            },
            StatementKind::Return { value } => StatementOp::Return { value: value.clone() },
            StatementKind::Break => StatementOp::Break,
            StatementKind::Continue => StatementOp::Continue,
            StatementKind::Emit { event, data } => {
                StatementOp::Emit { event: event.clone(), data: data.clone() }
            }
            StatementKind::Log { level, message, fields } => {
                StatementOp::Log { level: *level, message: message.clone(), fields: fields.clone() }
            }
            StatementKind::Memory(memory) => StatementOp::Memory(memory.clone()),
            StatementKind::Fail { code, message } => {
                StatementOp::Fail { code: code.clone(), message: message.clone() }
            }
            StatementKind::NotYet { kind, .. } => StatementOp::NotYet { kind: Arc::clone(kind) },
        };
        StatementNode { block: Arc::clone(block), pointer: Arc::clone(&statement.pointer), op }
    }
}
