//! What can go wrong in a use case, in the domain's words.
//!
//! The text of an error is what the caller may read. What lies behind [`Error::Internal`] is for the log only,
//! and is reached through [`std::error::Error::source`]. Status codes are not decided here.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use scaigrid_cores::Lapse;
use scaigrid_persistence as persistence;
use scaigrid_scope::{Denied, Lacking};

/// A kind of thing that can be asked for and not be there, or not be visible, which is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// A route that the platform does not have.
    Route,
    /// A tenant.
    Tenant,
    /// A partner.
    Partner,
    /// A user.
    User,
    /// An API key.
    ApiKey,
    /// A group of users.
    Group,
    /// A custom role.
    CustomRole,
    /// A module.
    Module,
    /// A hosted Core.
    Core,
    /// A version of a Core's source.
    CoreVersion,
    /// A run of a flow.
    Execution,
    /// A wait for a person's decision.
    Checkpoint,
    /// A link by which a person decides one.
    CheckpointLink,
    /// A conversation with a published Core.
    Conversation,
    /// A place at which executions of a Core stop.
    Breakpoint,
    /// A user's identity, lent to a Core.
    Delegation,
    /// The picture of a Core.
    Avatar,
    /// A trigger of a Core.
    Trigger,
    /// An outgoing webhook.
    Webhook,
    /// A delivery to a webhook.
    Delivery,
    /// A plugin, in the registry or of a Core.
    Plugin,
    /// A model of the catalogue.
    Model,
    /// A backend of models.
    Backend,
    /// A group of models.
    ModelGroup,
    /// A plugin of the workspace.
    WorkspacePlugin,
    /// A participant.
    Participant,
    /// A room.
    Room,
    /// Something that AIs are to remember of a user.
    Memory,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Route => "route",
            Self::Tenant => "tenant",
            Self::Partner => "partner",
            Self::User => "user",
            Self::ApiKey => "API key",
            Self::Group => "group",
            Self::CustomRole => "custom role",
            Self::Module => "module",
            Self::Core => "Core",
            Self::CoreVersion => "version of the Core",
            Self::Execution => "execution",
            Self::Checkpoint => "checkpoint",
            Self::CheckpointLink => "link, or not any more",
            Self::Conversation => "conversation",
            Self::Breakpoint => "breakpoint",
            Self::Delegation => "delegation",
            Self::Avatar => "avatar",
            Self::Trigger => "trigger",
            Self::Webhook => "webhook",
            Self::Delivery => "delivery",
            Self::Plugin | Self::WorkspacePlugin => "plugin",
            Self::Model => "model",
            Self::Backend => "backend",
            Self::ModelGroup => "model group",
            Self::Participant => "participant",
            Self::Room => "room",
            Self::Memory => "memory",
        })
    }
}

/// One field that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where the field is, e.g. `roles[1]`; `body` when it is the whole.
    pub field: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl FieldError {
    /// A finding about one field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// Why a use case did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request names nobody.
    #[error("The request carries no credentials")]
    TokenMissing,
    /// The credentials are unknown, revoked or malformed.
    #[error("The credentials are not valid")]
    TokenInvalid,
    /// The credentials were valid once.
    #[error("The credentials have expired")]
    TokenExpired,
    /// A message to a webhook is not from whom it says. What is wrong with it is not told.
    #[error("The message could not be verified")]
    WebhookSignature,
    /// The caller lacks a permission.
    #[error("The permission {permission} is missing")]
    PermissionDenied {
        /// The permission's key, e.g. `users:manage`.
        permission: Cow<'static, str>,
    },
    /// The caller holds the permission, but the credentials are confined to scopes without it.
    #[error("The credentials are not valid for {permission}")]
    InsufficientScope {
        /// The permission's key.
        permission: Cow<'static, str>,
    },
    /// The tenant is suspended, and its calls with it.
    #[error("The tenant is suspended")]
    TenantSuspended,
    /// There is no such thing, or none that the caller may see.
    #[error("No such {0}")]
    NotFound(Resource),
    /// The request breaks rules, field by field.
    #[error("The request is not valid")]
    Invalid(Vec<FieldError>),
    /// The program of a Core does not pass verification; the findings as JSON objects.
    #[error("The program does not pass verification")]
    InvalidSource(Vec<serde_json::Value>),
    /// The lifecycle has no such move.
    #[error("A Core that is {from} cannot {attempted}")]
    InvalidTransition {
        /// The present status.
        from: Cow<'static, str>,
        /// The action that was asked for.
        attempted: Cow<'static, str>,
        /// The actions that are possible now.
        legal: Vec<Cow<'static, str>>,
    },
    /// Work was sent to a Core that takes none now.
    #[error("The Core is {status} and takes no work")]
    CoreNotRunning {
        /// The present status.
        status: Cow<'static, str>,
    },
    /// The slug is taken.
    #[error("The slug {slug} is taken")]
    SlugConflict {
        /// The field that holds it.
        field: &'static str,
        /// The slug.
        slug: String,
    },
    /// There is one already that has the same in a field in which each has its own.
    #[error("{message}")]
    Taken {
        /// The field.
        field: &'static str,
        /// Which one there is.
        message: String,
    },
    /// Somebody, or the clock, has decided already.
    #[error("The checkpoint is already {status}")]
    CheckpointAlreadyResolved {
        /// What became of it.
        status: Cow<'static, str>,
    },
    /// The caller may see the checkpoint but is not who is asked.
    #[error("The checkpoint is assigned to somebody else")]
    NotAssignee,
    /// Whoever started the execution may not decide what it asks.
    #[error("Whoever started the execution may not act on its checkpoint")]
    RequesterExcluded,
    /// Somebody else has reserved the checkpoint.
    #[error("Somebody else has claimed the checkpoint")]
    CheckpointClaimed,
    /// Several people must decide alike, and the caller has decided.
    #[error("You have decided already; other people are asked now")]
    CheckpointAlreadyVoted,
    /// The tenant does not let prompts be tried out.
    #[error("The prompt studio is not enabled in the tenant")]
    StudioDisabled,
    /// The caller is not among those who may try out prompts.
    #[error("The prompt studio is not open to you")]
    StudioForbidden,
    /// There is no AI in the room whose prompt could be tried out.
    #[error("No AI participant of the room is meant")]
    StudioNoParticipant,
    /// The tenant does not let its notes be processed.
    #[error("The processing of notes is not enabled in the tenant")]
    NotesDisabled,
    /// The caller is in the room, but has too little power there.
    #[error("{0}")]
    RoomForbidden(&'static str),
    /// Nothing is said in a room that is archived.
    #[error("The room is archived")]
    RoomArchived,
    /// The present state does not allow it; the text says why.
    #[error("{0}")]
    Conflict(String),
    /// The thing has changed since the caller read it.
    #[error("The resource has changed since it was read")]
    PreconditionFailed,
    /// The module is off for the caller.
    #[error("The module {module} is not enabled")]
    ModuleNotEnabled {
        /// The module's id.
        module: String,
    },
    /// The module stands on one that is not active. Using it must wait; enabling it is refused.
    #[error("The module {module} depends on {dependency}, which is not active")]
    ModuleDependencyUnavailable {
        /// The module's id.
        module: String,
        /// The id of the module it stands on.
        dependency: String,
        /// Whether the caller tried to enable the module, rather than to use it.
        enabling: bool,
    },
    /// The module is known to be ill: it has not answered its last probes.
    #[error("The module {module} does not work at present")]
    ModuleFailed {
        /// The module's id.
        module: String,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The module gave no answer that could be passed on.
    #[error("The module {module} cannot be reached, or gives no answer")]
    ModuleUnreachable {
        /// The module's id.
        module: String,
    },
    /// The module gave no answer in time.
    #[error("The module {module} does not answer in time")]
    ModuleTimeout {
        /// The module's id.
        module: String,
    },
    /// The catalogue knows the module, but nothing here can run it.
    #[error("The module is not installed")]
    ModuleNotInstalled,
    /// A file is bigger than it may be.
    #[error("The file is larger than {limit} bytes")]
    FileTooLarge {
        /// The most bytes that are taken.
        limit: usize,
    },
    /// A file is not of a kind that is taken here.
    #[error("The file {reason}")]
    InvalidFileType {
        /// What is wrong, to be read after the word for it.
        reason: String,
    },
    /// What is said of a delegation breaks rules, field by field.
    #[error("The delegation is not valid")]
    DelegationInvalid(Vec<FieldError>),
    /// A Core may not act for a user.
    #[error("{}", .0.message())]
    Delegation(Lapse),
    /// The guard of the way out does not let a call go there. The text says nothing of what is inside.
    #[error("The target may not be called: {reason}")]
    EgressDenied {
        /// The field that names the target.
        field: Cow<'static, str>,
        /// Why not.
        reason: String,
        /// Whether it was to be called, rather than to be kept.
        calling: bool,
    },
    /// The plugin does not tell what it offers.
    #[error("The plugin cannot be reached, or does not tell what it offers: {reason}")]
    PluginUnreachable {
        /// What went wrong.
        reason: String,
    },
    /// A Core cannot start without plugins that are not there.
    #[error("Plugins that the program requires are missing")]
    PluginsMissing(Vec<FieldError>),
    /// A Core cannot start without models that are not there, or that its tenant has not enabled; by role.
    #[error("Models that the program names are missing")]
    ModelsMissing(Vec<FieldError>),
    /// No backend of a model can be asked just now.
    #[error("The model {model} cannot be reached just now")]
    ModelUnavailable {
        /// The model's slug.
        model: String,
        /// When it is worth trying again.
        retry_after: Option<Duration>,
    },
    /// The backends of a model ask for fewer calls.
    #[error("The model {model} is asked too often just now")]
    BackendRateLimited {
        /// The model's slug.
        model: String,
        /// When it is worth trying again.
        retry_after: Option<Duration>,
    },
    /// A model does not answer in time.
    #[error("The model {model} does not answer in time")]
    BackendTimeout {
        /// The model's slug.
        model: String,
    },
    /// A backend of a model has failed.
    #[error("The model {model} failed: {reason}")]
    BackendFailed {
        /// The model's slug.
        model: String,
        /// In which way. Says nothing of where the backend is.
        reason: String,
    },
    /// What may be spent on models is spent.
    #[error("The budget of {of} is used up")]
    BudgetExceeded {
        /// Whose budget.
        of: &'static str,
    },
    /// One of the tenant's limits is reached.
    #[error("The tenant's limit of {limit} {what} is reached")]
    Capacity {
        /// What is counted, e.g. `cores`.
        what: Cow<'static, str>,
        /// How many there may be.
        limit: u64,
    },
    /// As many executions wait to run as may.
    #[error("{limit} executions of the {of} are waiting to run already")]
    QueueFull {
        /// Whose: `tenant` or `Core`.
        of: &'static str,
        /// How many may.
        limit: u64,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The idempotency key has served another request.
    #[error("The idempotency key was used for another request")]
    IdempotencyKeyReused,
    /// The request that came first with the idempotency key is still running.
    #[error("A request with this idempotency key is still running")]
    IdempotencyKeyInUse,
    /// The caller asks too often.
    #[error("Rate limit exceeded")]
    RateLimited {
        /// When the next request can pass.
        retry_after: Duration,
    },
    /// The object store does not take, or give, what it should.
    #[error("The object store does not do its work just now")]
    Storage,
    /// What is asked for should lie in the object store, and does not.
    #[error("What was asked for is missing in the object store, or is not what was put there")]
    Lost,
    /// The platform cannot do it just now.
    #[error("The service cannot answer just now")]
    Unavailable {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// Something broke inside. The text says nothing of it.
    #[error("Something went wrong inside")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Something broke inside.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }

    /// Others changed a Core each time that it was about to be written.
    pub(crate) fn core_contended() -> Self {
        Self::Conflict("The Core is being changed by others; try again".into())
    }

    /// The slug that the field `slug` gives, or a name suggests, is taken.
    pub fn slug_taken(slug: &impl ToString) -> Self {
        Self::SlugConflict { field: "slug", slug: slug.to_string() }
    }

    /// One field is not as it must be.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(field, message)])
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        Self::PermissionDenied { permission: denied.permission.as_str().into() }
    }
}

impl From<Lacking> for Error {
    fn from(lacking: Lacking) -> Self {
        Self::PermissionDenied { permission: lacking.permission.to_string().into() }
    }
}

/// A database that is away may be back in a moment. Everything else that it says is a fault of ours, unless the use
/// case has foreseen it, as that a slug is taken.
impl From<persistence::Error> for Error {
    fn from(error: persistence::Error) -> Self {
        if error.is_passing() {
            tracing::warn!(error = %error, "the database did not answer");
            Self::Unavailable { retry_after: Duration::from_secs(1) }
        } else if let persistence::Error::Objects(reason) = &error {
            tracing::warn!(%reason, "a large value cannot be read");
            Self::Storage
        } else if let persistence::Error::Lost(reason) = &error {
            tracing::warn!(%reason, "a large value is lost");
            Self::Lost
        } else {
            Self::internal(error)
        }
    }
}
