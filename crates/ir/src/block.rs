//! Blocks and statements: what flows are made of.

use std::sync::Arc;
use std::time::Duration;

use crate::expr::{Expr, Template};
use crate::types::Type;

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
    /// How long it may take.
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
    /// A kind of the language that this version of the platform does not run yet; the verifier refuses it.
    NotYet {
        /// The kind.
        kind: Arc<str>,
        /// The variables that it would bind, so that what follows can be checked all the same.
        binds: Vec<Arc<str>>,
    },
}

impl BlockKind {
    /// The kind's name in the document.
    pub fn name(&self) -> &str {
        match self {
            Self::Rigid { .. } => "rigid",
            Self::Match { .. } => "match",
            Self::Foreach { .. } => "foreach",
            Self::While { .. } => "while",
            Self::Try { .. } => "try",
            Self::Checkpoint(_) => "checkpoint",
            Self::CoreCall(_) => "core_call",
            Self::NotYet { kind, .. } => kind,
        }
    }
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

/// A durable wait for a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The program's own word for what is asked: `approval`, `choice`, `freeform`, …
    pub checkpoint_type: Arc<str>,
    /// The question.
    pub prompt: Template,
    /// What the person needs to see to answer.
    pub payload: Option<Expr>,
    /// The allowed decisions; any where empty.
    pub options: Vec<Arc<str>>,
    /// Who may answer: `user:…`, `group:…`, `role:…`, or a text without a prefix.
    pub assignee: Option<Template>,
    /// How urgent it is.
    pub priority: Priority,
    /// How long it may wait.
    pub timeout: Option<Duration>,
    /// What happens then.
    pub on_timeout: OnTimeout,
    /// Who is asked next, for [`OnTimeout::Escalate`].
    pub escalation_target: Option<Template>,
    /// What runs upon a decision, by option, before the flow goes on.
    pub on_response: Vec<(Arc<str>, Body)>,
}

/// How urgent a checkpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// Whenever there is time.
    Low,
    /// As usual.
    #[default]
    Normal,
    /// Before the usual.
    High,
    /// At once.
    Critical,
}

/// What happens when a checkpoint's time is up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OnTimeout {
    /// The flow gets the error `CHECKPOINT_EXPIRED`, which it can catch.
    #[default]
    Expire,
    /// The escalation target is asked.
    Escalate,
    /// The option is taken as if a person had decided so.
    Resolve(Arc<str>),
}

/// Another flow, as an execution of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct CoreCall {
    /// `core://tenant/slug`, or `core://self`.
    pub target: Arc<str>,
    /// The flow.
    pub flow_name: Arc<str>,
    /// Its input, by parameter.
    pub input_bindings: Vec<(Arc<str>, Expr)>,
    /// The instance, for entity Cores.
    pub instance_key: Option<Expr>,
    /// The target's version; its newest where absent.
    pub version: Option<u32>,
    /// Whether the flow goes on without waiting; the value is then a handle.
    pub is_async: bool,
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
    /// A statement of the language that this version of the platform does not run yet; the verifier refuses it.
    NotYet {
        /// Its kind.
        kind: Arc<str>,
        /// The variables that it would bind, so that what follows can be checked all the same.
        binds: Vec<Arc<str>>,
    },
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
