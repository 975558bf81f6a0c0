//! The aggregate and the values that it is made of.

use std::fmt;
use std::sync::Arc;

use scaigrid_scope::{CoreId, Instant, Name, Slug, TenantId, UserId};
use serde_json::{Map, Value};

use crate::avatar::Avatar;
use crate::delegation::Delegation;
use crate::environment::Environment;
use crate::lifecycle::{Action, InvalidTransition, Outcome, Status, Transition};
use crate::modes::{CheckpointMode, Concurrency, IdentityMode, PrivilegeLevel, RuntimeMode};
use crate::publication::Publication;
use crate::triggers::Trigger;

/// Something that is wrong with a field of what a client wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldProblem {
    /// The field, with dots down to the value in question.
    pub field: String,
    /// What is wrong with it, to be read after the name of the field.
    pub message: String,
}

impl FieldProblem {
    /// A problem of a field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// What can go wrong with a Core.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoreError {
    /// Fields hold what they cannot hold. Never empty.
    #[error("{}", list(problems))]
    Invalid {
        /// Every problem that was found.
        problems: Vec<FieldProblem>,
    },
    /// The move is not legal.
    #[error(transparent)]
    InvalidTransition(#[from] InvalidTransition),
}

fn list(problems: &[FieldProblem]) -> String {
    let each = problems.iter().map(|problem| format!("{} {}", problem.field, problem.message));
    each.collect::<Vec<_>>().join("; ")
}

/// The name of the input field whose value names the entity: 1 to 128 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityKeyField(Box<str>);

impl EntityKeyField {
    /// Checks a field name; `None` if it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let good = (1..=128).contains(&text.chars().count())
            && text.trim() == text
            && !text.chars().any(char::is_control);
        good.then(|| Self(text.into()))
    }

    /// The field name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntityKeyField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The program of a Core as it was given, in its JSON form. `{}` is no program.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The program.
    pub program: Arc<Value>,
    /// 0 before there was any program, then one more for every change.
    pub version: u32,
}

impl Source {
    /// The greatest size of a program as JSON text, in bytes.
    pub const MAX_BYTES: usize = 16 * 1024 * 1024;

    /// The source of a new Core.
    pub fn first(program: Value) -> Self {
        let version = u32::from(!is_no_program(&program));
        Self { program: Arc::new(program), version }
    }

    /// Whether there is no program.
    pub fn is_empty(&self) -> bool {
        is_no_program(&self.program)
    }
}

pub(crate) fn is_no_program(program: &Value) -> bool {
    program.as_object().is_some_and(Map::is_empty)
}

/// A program that a Core has, or had.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceVersion {
    /// The Core.
    pub core_id: CoreId,
    /// The program and its number.
    pub source: Source,
    /// Who gave it.
    pub created_by: UserId,
    /// When.
    pub created_at: Instant,
}

/// Whose identity a Core acts under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CoreIdentity {
    /// The tenant's service account.
    ServiceAccount,
    /// A user's.
    UserDelegated(Delegation),
}

impl CoreIdentity {
    /// The mode alone.
    pub const fn mode(&self) -> IdentityMode {
        match self {
            Self::ServiceAccount => IdentityMode::ServiceAccount,
            Self::UserDelegated(_) => IdentityMode::UserDelegated,
        }
    }

    /// The delegation, if there is one.
    pub const fn delegation(&self) -> Option<&Delegation> {
        match self {
            Self::ServiceAccount => None,
            Self::UserDelegated(delegation) => Some(delegation),
        }
    }
}

/// Why a Core is, or last was, in `error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// The error code, as the HTTP interface spells it.
    pub code: String,
    /// What happened, for people.
    pub message: String,
    /// When.
    pub at: Instant,
}

/// A hosted program.
#[derive(Debug, Clone, PartialEq)]
pub struct Core {
    /// The Core.
    pub id: CoreId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// What people call it.
    pub name: Name,
    /// Its address within the tenant; it never changes.
    pub slug: Slug,
    /// Where it is in its life.
    pub status: Status,
    /// Why it is, or last was, in `error`. A successful start clears it.
    pub last_error: Option<LastError>,
    /// What starts its flows.
    pub runtime_mode: RuntimeMode,
    /// How its executions share memory.
    pub concurrency: Concurrency,
    /// The program.
    pub source: Source,
    /// Plugin entries: objects with an `alias` of their own each.
    pub plugins: Arc<Vec<Value>>,
    /// Named values, some of them secret.
    pub environment: Environment,
    /// Limits, in a free form.
    pub resource_limits: Arc<Map<String, Value>>,
    /// Which waits for a person become checkpoints that people see.
    pub checkpoint_mode: CheckpointMode,
    /// How much it is trusted with.
    pub privilege_level: PrivilegeLevel,
    /// Anything else, in a free form.
    pub metadata: Arc<Map<String, Value>>,
    /// Whose identity it acts under.
    pub identity: CoreIdentity,
    /// Its picture, if it has one.
    pub avatar: Option<Avatar>,
    /// What it is in the catalogue, where it is published.
    pub publication: Option<Publication>,
    /// What was registered to start its flows, oldest first; what its program declares is not among them.
    pub triggers: Arc<Vec<Trigger>>,
    /// Who made it.
    pub created_by: UserId,
    /// When it was made.
    pub created_at: Instant,
    /// When it was last changed, its status included.
    pub updated_at: Instant,
}

impl Core {
    /// The name under which what was registered to start flows is shown in the environment.
    pub const TRIGGERS: &'static str = "triggers";

    /// The environment as it is shown: secrets masked, and with the triggers that were registered, where there are any.
    pub fn shown_environment(&self) -> Map<String, Value> {
        let mut shown = self.environment.shown();
        if !self.triggers.is_empty() {
            shown.insert(Self::TRIGGERS.to_owned(), self.triggers.iter().map(Trigger::shown).collect());
        }
        shown
    }

    /// Moves the Core: its status, and with it `last_error` and `updated_at`, as the lifecycle says.
    ///
    /// The Core comes back unchanged by a deletion; the transition's outcome says that it is to be removed.
    pub fn apply(mut self, action: Action, now: Instant) -> Result<(Self, Transition), InvalidTransition> {
        let transition = self.status.apply(action)?;
        if let Outcome::Status(status) = transition.to {
            self.status = status;
            self.updated_at = now;
            if action == Action::Started {
                self.last_error = None;
            }
        }
        Ok((self, transition))
    }

    /// Where anybody gets its picture, if it has one.
    pub fn avatar_url(&self) -> Option<String> {
        self.avatar.is_some().then(|| Avatar::url(self.id))
    }

    /// The Core as it acts in one moment: for this user, or else for its tenant.
    #[must_use]
    pub fn acting_for(self: &Arc<Self>, delegation: Option<Delegation>) -> Arc<Self> {
        let identity = delegation.map_or(CoreIdentity::ServiceAccount, CoreIdentity::UserDelegated);
        if self.identity == identity {
            return Arc::clone(self);
        }
        Arc::new(Self { identity, ..(**self).clone() })
    }

    /// Records that the checks of a start have failed, or that the Core cannot go on.
    pub fn fail(self, error: LastError) -> Result<(Self, Transition), InvalidTransition> {
        let (mut core, transition) = self.apply(Action::Fail, error.at)?;
        core.last_error = Some(error);
        Ok((core, transition))
    }
}

/// The size of a value as JSON text, in bytes; near enough for a limit, and found without writing it.
///
/// Escapes in texts are not counted, separators are counted once too often.
pub(crate) fn json_size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 6,
        Value::Number(number) => {
            if number.is_f64() {
                25
            } else {
                21
            }
        }
        Value::String(text) => text.len() + 3,
        Value::Array(items) => 3 + items.iter().map(json_size).sum::<usize>(),
        Value::Object(fields) => {
            3 + fields.iter().map(|(name, value)| name.len() + 3 + json_size(value)).sum::<usize>()
        }
    }
}
