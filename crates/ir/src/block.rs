//! Blocks and statements: what flows are made of.

mod checkpoint;
mod generation;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use crate::expr::{Expr, Template};
use crate::types::Type;

pub use checkpoint::{Action, Checkpoint, OnTimeout, Priority};
pub use generation::{
    Budget, Example, FailureAction, FailureHandler, FailureKind, Generation, Guard, ModelCall, Person, Prompt,
};
pub use waiting::{Await, AwaitEntry, AwaitMode, Awaited, CoreCall, PluginCall, TimeSpan, WaitEvent};

/// Blocks in their order.
pub type Body = Vec<Block>;

/// One step of a flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Unique in its flow; where the program gives none, one that its place determines.
    pub id: Arc<str>,
    /// What it does.
    pub kind: BlockKind,
    /// The variable that takes its value.
    pub result_binding: Option<Arc<str>>,
    /// The block is skipped unless this is true.
    pub when: Option<Expr>,
    /// How long one attempt may take; for a checkpoint, how long it may wait.
    pub timeout: Option<Duration>,
    /// How often, and upon which errors, it is tried again.
    pub retry: Option<Retry>,
    /// What a person sees in its place.
    pub label: Option<Template>,
    /// Where the program's author wrote it, as the author's tools named it.
    pub source_location: Option<serde_json::Value>,
    /// Where it stands in the document (RFC 6901).
    pub pointer: Arc<str>,
}

/// How often, and upon which errors, a block is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Attempts after the first.
    pub max: u32,
    /// The wait before the second attempt.
    pub initial: Duration,
    /// What each further wait is multiplied with.
    pub factor: f64,
    /// The longest wait.
    pub max_wait: Duration,
    /// Whether waits are drawn at random below their length.
    pub jitter: bool,
    /// The error codes that are worth another attempt; all where empty.
    pub on: Vec<Arc<str>>,
}

/// What a block does.
#[derive(Debug, Clone, PartialEq)]
pub enum BlockKind {
    /// Deterministic statements.
    Rigid {
        /// The statements.
        statements: Vec<Statement>,
    },
    /// The first arm that fits.
    Match {
        /// What the arms look at.
        subject: Expr,
        /// The arms, in order.
        arms: Vec<MatchArm>,
        /// What runs where no arm fits.
        otherwise: Option<Body>,
    },
    /// Once for each item.
    Foreach {
        /// The array.
        items: Expr,
        /// The variable that holds the item.
        var: Arc<str>,
        /// The variable that holds its index.
        index_var: Option<Arc<str>>,
        /// What runs for each.
        body: Body,
        /// How many run at once; one where absent.
        max_concurrent: Option<u32>,
        /// What an error in one of them means.
        on_error: OnError,
    },
    /// As long as a condition holds.
    While {
        /// The condition.
        condition: Expr,
        /// The bound; reaching it is an error.
        max_iterations: u32,
        /// What runs.
        body: Body,
    },
    /// Errors caught.
    Try {
        /// What may fail.
        body: Body,
        /// The handlers, in order.
        catch: Vec<Catch>,
        /// What runs in any case, also upon cancellation.
        finally: Option<Body>,
    },
    /// A durable wait for a person.
    Checkpoint(Box<Checkpoint>),
    /// Another flow, as an execution of its own.
    CoreCall(Box<CoreCall>),
    /// Bodies side by side.
    Parallel {
        /// The branches, in order.
        branches: Vec<Branch>,
        /// How many run at once; all where absent.
        max_concurrent: Option<u32>,
        /// Whether the first error ends the others and fails the block.
        fail_fast: bool,
    },
    /// Answers to calls, events and timers, joined.
    AwaitResponses(Box<Await>),
    /// One call of a model.
    ModelCall(Box<ModelCall>),
    /// Structured generation: `flexible`, and with a guard `guarded`.
    Generate(Box<Generation>),
    /// A bound on what a body spends.
    Budget {
        /// The bounds.
        limits: Budget,
        /// What spends.
        body: Body,
        /// What runs when a bound is met; the block fails where absent.
        on_exceeded: Option<Body>,
    },
    /// Statements that run only while the execution is debugged.
    Debug {
        /// The statements.
        statements: Vec<Statement>,
    },
}

impl BlockKind {
    /// The kind's name in the document.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rigid { .. } => "rigid",
            Self::Match { .. } => "match",
            Self::Foreach { .. } => "foreach",
            Self::While { .. } => "while",
            Self::Try { .. } => "try",
            Self::Checkpoint(_) => "checkpoint",
            Self::CoreCall(_) => "core_call",
            Self::Parallel { .. } => "parallel",
            Self::AwaitResponses(_) => "await_responses",
            Self::ModelCall(_) => "model_call",
            Self::Generate(generation) if generation.guard.is_some() => "guarded",
            Self::Generate(_) => "flexible",
            Self::Budget { .. } => "budget",
            Self::Debug { .. } => "debug",
        }
    }

    /// The bodies within, in the order of the document.
    pub fn bodies(&self) -> Vec<&Body> {
        match self {
            Self::Match { arms, otherwise, .. } => {
                arms.iter().map(|arm| &arm.body).chain(otherwise).collect()
            }
            Self::Foreach { body, .. } | Self::While { body, .. } => vec![body],
            Self::Try { body, catch, finally } => {
                let handlers = catch.iter().map(|handler| &handler.body);
                std::iter::once(body).chain(handlers).chain(finally).collect()
            }
            Self::Checkpoint(checkpoint) => checkpoint.on_response.iter().map(|(_, body)| body).collect(),
            Self::Parallel { branches, .. } => branches.iter().map(|branch| &branch.body).collect(),
            Self::Generate(generation) => {
                generation.guard.iter().filter_map(|guard| guard.on_failure.as_ref()).collect()
            }
            Self::Budget { body, on_exceeded, .. } => std::iter::once(body).chain(on_exceeded).collect(),
            Self::Rigid { .. }
            | Self::Debug { .. }
            | Self::CoreCall(_)
            | Self::AwaitResponses(_)
            | Self::ModelCall(_) => Vec::new(),
        }
    }
}

/// A branch of a `parallel`.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// Its name in the result.
    pub name: Arc<str>,
    /// What runs.
    pub body: Body,
}

/// One arm of a `match`.
#[derive(Debug, Clone, PartialEq)]
pub struct MatchArm {
    /// What the subject must look like.
    pub pattern: Pattern,
    /// What must also hold.
    pub guard: Option<Expr>,
    /// What runs.
    pub body: Body,
}

/// What a value must look like.
#[derive(Debug, Clone, PartialEq)]
pub enum Pattern {
    /// Anything.
    Wildcard,
    /// This value; strings stand for enum members too.
    Literal(crate::Value),
    /// A value of this type.
    Type(Type),
    /// An object whose fields match; other fields are not looked at.
    Object(Vec<(Arc<str>, Pattern)>),
    /// Any of these.
    Any(Vec<Pattern>),
    /// Anything, bound to a variable.
    Bind(Arc<str>),
}

/// What an error in one iteration means for a `foreach`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// The block fails; iterations under way are cancelled.
    #[default]
    Fail,
    /// The result holds `{error: {code, message}}` in the item's place.
    Collect,
    /// The result leaves the item out.
    Skip,
}

/// A handler of a `try`.
#[derive(Debug, Clone, PartialEq)]
pub struct Catch {
    /// The error code it takes; any where absent.
    pub code: Option<Arc<str>>,
    /// The variable that takes the error as `{code, message, block}`.
    pub bind: Option<Arc<str>>,
    /// What runs.
    pub body: Body,
}

/// One deterministic statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// What it does.
    pub kind: StatementKind,
    /// Where it stands in the document (RFC 6901).
    pub pointer: Arc<str>,
}

/// What a statement does.
#[derive(Debug, Clone, PartialEq)]
pub enum StatementKind {
    /// Binds a name.
    Let {
        /// The name.
        name: Arc<str>,
        /// Its value.
        value: Expr,
    },
    /// Changes a variable, or a part of one.
    Assign {
        /// The variable, with the members and indices that lead to the part.
        target: AssignTarget,
        /// The new value.
        value: Expr,
    },
    /// Evaluates; the value is the block's when it is the last.
    Expression {
        /// What is evaluated.
        value: Expr,
    },
    /// One of two ways.
    If {
        /// Which.
        condition: Expr,
        /// Where it is true.
        then: Vec<Statement>,
        /// Where it is false.
        otherwise: Vec<Statement>,
    },
    /// Ends the flow.
    Return {
        /// With this value; null where absent.
        value: Option<Expr>,
    },
    /// Ends the innermost loop.
    Break,
    /// Ends the innermost loop's present iteration.
    Continue,
    /// Publishes an event.
    Emit {
        /// Its name.
        event: Template,
        /// What it carries.
        data: Option<Expr>,
    },
    /// Writes to the Core's log.
    Log {
        /// How grave.
        level: LogLevel,
        /// The text.
        message: Template,
        /// Further fields.
        fields: Option<Expr>,
    },
    /// Reads or writes a persistent variable.
    Memory(Box<MemoryStatement>),
    /// Fails with a code of the program's own.
    Fail {
        /// The code, for `catch`.
        code: Template,
        /// What a person reads.
        message: Option<Template>,
    },
    /// Calls a method of a plugin.
    PluginCall(Box<PluginCall>),
    /// Waits for a span of time, or until an instant.
    Sleep(TimeSpan),
    /// Waits for an event.
    WaitEvent(Box<WaitEvent>),
}

/// A variable, or a part of one, that is assigned to.
#[derive(Debug, Clone, PartialEq)]
pub struct AssignTarget {
    /// The variable.
    pub name: Arc<str>,
    /// What leads to the part: member names and index expressions.
    pub path: Vec<AssignStep>,
}

/// One step towards a part of a variable.
#[derive(Debug, Clone, PartialEq)]
pub enum AssignStep {
    /// A field.
    Member(Arc<str>),
    /// An element, or a key.
    Index(Expr),
}

/// How grave a log entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// For whoever debugs the program.
    Debug,
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
}

/// A read or a write of a persistent variable.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryStatement {
    /// Which operation.
    pub op: MemoryOp,
    /// The variable.
    pub target: Arc<str>,
    /// The entry, for maps.
    pub key: Option<Expr>,
    /// What is written. For `update` a lambda gets the present value and gives the new one.
    pub value: Option<Expr>,
    /// Keys must begin with this, for `list`.
    pub prefix: Option<Expr>,
    /// The text to find, for `search`.
    pub query: Option<Expr>,
    /// How well entries must fit at least, from 0 to 1, for `search`.
    pub min_similarity: Option<Expr>,
    /// How many at most, for `list`, `search` and `last`.
    pub limit: Option<Expr>,
    /// Whether `list` begins at the end.
    pub descending: bool,
    /// The variable that takes the value.
    pub result_binding: Option<Arc<str>>,
}

/// The operations on persistent variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryOp {
    /// The value, or an entry's; null where there is none.
    Get,
    /// Sets it.
    Set,
    /// Changes it in one atomic step.
    Update,
    /// Removes it.
    Delete,
    /// Appends to an array.
    Add,
    /// The entries, in key order.
    List,
    /// The entries whose text fits a query.
    Search,
    /// The newest elements of an array, oldest first.
    Last,
    /// How many entries there are; expressions ask for it as `length`, statements do not.
    Count,
}
