//! From a module to numbered lists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use scaigrid_ir::block::{
    AwaitEntry, Awaited, Block, BlockKind, Checkpoint, Generation, Guard, Statement, StatementKind,
};
use scaigrid_ir::expr::{Expr, Limits};
use scaigrid_ir::{Module, Type, Value};

use super::{
    ArmNode, BlockNode, BlockOp, CatchNode, ForeachNode, GenerateNode, List, ListNo, ModelCallNode,
    ParallelNode, Program, StatementNode, StatementOp,
};

/// Lays a module out.
pub(super) fn program(module: Arc<Module>) -> Program {
    let mut layout =
        Layout { module: &module, lists: Vec::new(), filters: BTreeMap::new(), approved: BTreeSet::new() };
    let mut flow_bodies = Vec::with_capacity(module.flows.len());
    let mut approved = Vec::with_capacity(module.flows.len());
    for flow in &module.flows {
        flow_bodies.push(layout.blocks(&flow.body));
        approved.push(std::mem::take(&mut layout.approved));
    }
    let Layout { lists, filters, .. } = layout;
    let reference = Value::Object(Arc::new(module.reference.clone()));
    let identity = identity(&module);
    Program { lists, flow_bodies, limits: Limits::default(), reference, identity, filters, approved, module }
}

/// Where an entry of an `await_responses` stands in the document.
pub(crate) fn entry_pointer(block: &str, index: usize) -> Arc<str> {
    format!("{block}/of/{index}").into()
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
struct Layout<'m> {
    module: &'m Module,
    lists: Vec<List>,
    filters: BTreeMap<Arc<str>, Expr>,
    /// What the present flow's checkpoints allow.
    approved: BTreeSet<(Arc<str>, Arc<str>)>,
}

impl Layout<'_> {
    /// The schema of a model's output; none for plain text.
    fn schema(&self, ty: &Type) -> Option<Value> {
        (*ty != Type::String).then(|| Value::from_json(&ty.to_json_schema(&self.module.types)))
    }

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

    fn statements(&mut self, block: &Block, statements: &[Statement]) -> ListNo {
        let number = self.reserve(List::Statements(Vec::new()));
        let nodes = statements.iter().map(|statement| self.statement(block, statement)).collect();
        self.fill(number, List::Statements(nodes));
        number
    }

    /// Keeps the filters of events that are waited for together.
    fn note_filters(&mut self, pointer: &str, of: &Awaited) {
        let Awaited::Entries(entries) = of else { return };
        for (index, entry) in entries.iter().enumerate() {
            if let AwaitEntry::Event { filter: Some(filter), .. } = entry {
                self.filters.insert(entry_pointer(pointer, index), filter.clone());
            }
        }
    }

    fn generation(&mut self, generation: &Generation) -> GenerateNode {
        let on_invalid = generation.guard.as_ref().and_then(|guard| guard.on_failure.as_ref());
        let on_invalid = on_invalid.map(|body| self.blocks(body));
        // The body is numbered now.
        let guard = generation.guard.as_ref().map(|guard| Guard { on_failure: None, ..guard.clone() });
        GenerateNode {
            schema: self.schema(&generation.output_type),
            on_invalid,
            generation: Generation { guard, ..generation.clone() },
        }
    }

    fn block(&mut self, block: &Block) -> BlockNode {
        let op = match &block.kind {
            BlockKind::Rigid { statements } => {
                BlockOp::Rigid { statements: self.statements(block, statements) }
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
                if let Some(action) = &checkpoint.action {
                    self.approved.insert((Arc::clone(&action.alias), Arc::clone(&action.method)));
                }
                // The bodies are numbered now; a second copy of them would be dead weight.
                let checkpoint = Checkpoint { on_response: Vec::new(), ..(**checkpoint).clone() };
                BlockOp::Checkpoint { checkpoint: Box::new(checkpoint), on_response }
            }
            BlockKind::CoreCall(call) => BlockOp::CoreCall(call.clone()),
            BlockKind::Parallel { branches, max_concurrent, fail_fast } => {
                BlockOp::Parallel(Box::new(ParallelNode {
                    names: Arc::new(
                        branches.iter().map(|branch| Value::String(Arc::clone(&branch.name))).collect(),
                    ),
                    bodies: branches.iter().map(|branch| self.blocks(&branch.body)).collect(),
                    max_concurrent: max_concurrent.unwrap_or(u32::MAX),
                    fail_fast: *fail_fast,
                }))
            }
            BlockKind::AwaitResponses(wait) => {
                self.note_filters(&block.pointer, &wait.of);
                BlockOp::Await(wait.clone())
            }
            BlockKind::ModelCall(call) => BlockOp::ModelCall(Box::new(ModelCallNode {
                schema: call.output_type.as_ref().and_then(|ty| self.schema(ty)),
                call: (**call).clone(),
            })),
            BlockKind::Generate(generation) => BlockOp::Generate(Box::new(self.generation(generation))),
            BlockKind::Budget { limits, body, on_exceeded } => BlockOp::Budget {
                limits: Box::new(limits.clone()),
                body: self.blocks(body),
                on_exceeded: on_exceeded.as_ref().map(|body| self.blocks(body)),
            },
            BlockKind::Debug { statements } => {
                BlockOp::Debug { statements: self.statements(block, statements) }
            }
        };
        BlockNode {
            id: Arc::clone(&block.id),
            pointer: Arc::clone(&block.pointer),
            when: block.when.clone(),
            kind: block.kind.name(),
            result_binding: block.result_binding.clone(),
            label: block.label.clone(),
            op,
            timeout: block.timeout,
            retry: block.retry.clone().map(Box::new),
        }
    }

    fn statement(&mut self, block: &Block, statement: &Statement) -> StatementNode {
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
            StatementKind::PluginCall(call) => {
                StatementOp::PluginCall { call: call.clone(), timeout: block.timeout }
            }
            StatementKind::Sleep(span) => StatementOp::Sleep(span.clone()),
            StatementKind::WaitEvent(wait) => {
                if let Some(filter) = &wait.filter {
                    self.filters.insert(Arc::clone(&statement.pointer), filter.clone());
                }
                StatementOp::WaitEvent(wait.clone())
            }
        };
        StatementNode { block: Arc::clone(&block.id), pointer: Arc::clone(&statement.pointer), op }
    }
}
