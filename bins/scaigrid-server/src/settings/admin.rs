//! The grammar of `scaigrid-server admin`. What the tasks do is decided by the application's use cases.

mod tenancy;

use std::path::PathBuf;

use clap::Subcommand;
use scaigrid_app::audit::AuditAction;
use scaigrid_checkpoints::CheckpointStatus;
use scaigrid_cores::{ConcurrencyMode, RuntimeMode, Status};
use scaigrid_http::export::Format;
use scaigrid_scope::{ApiKeyId, CheckpointId, Email, Instant, Name, PermissionKey, Role, Slug, UserKind};
use serde_json::Value;

use super::refusal::Refusal;
use super::secret::Secret;
use super::sources::{self, Given};
use super::{Surroundings, values};

pub use tenancy::{GroupTask, RoleTask, WebhookTask};

/// How many items a list shows when nobody says.
const SHOWN: u32 = 1000;

/// What to administer.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum AdminTask {
    /// Partners
    #[command(subcommand)]
    Partner(PartnerTask),
    /// Tenants
    #[command(subcommand)]
    Tenant(TenantTask),
    /// The users of a tenant
    User {
        /// The tenant, by slug or id; the key's own if it is left out
        #[arg(long, global = true)]
        tenant: Option<String>,
        /// What to do
        #[command(subcommand)]
        task: UserTask,
    },
    /// The groups of a tenant's users
    Group {
        /// The tenant, by slug or id; the key's own if it is left out
        #[arg(long, global = true)]
        tenant: Option<String>,
        /// What to do
        #[command(subcommand)]
        task: GroupTask,
    },
    /// The custom roles of a tenant
    Role {
        /// The tenant, by slug or id; the key's own if it is left out
        #[arg(long, global = true)]
        tenant: Option<String>,
        /// What to do
        #[command(subcommand)]
        task: RoleTask,
    },
    /// The webhooks of a tenant
    Webhook {
        /// The tenant, by slug or id; the key's own if it is left out
        #[arg(long, global = true)]
        tenant: Option<String>,
        /// What to do
        #[command(subcommand)]
        task: WebhookTask,
    },
    /// API keys
    Key {
        /// The tenant of the key's holder, by slug or id; one's own if it is left out
        #[arg(long, global = true)]
        tenant: Option<String>,
        /// What to do
        #[command(subcommand)]
        task: KeyTask,
    },
    /// Modules, at the level of whoever acts or at the one that is named
    Module {
        /// In this tenant, by slug or id
        #[arg(long, global = true, conflicts_with = "partner")]
        tenant: Option<String>,
        /// At the level of this partner, by slug or id
        #[arg(long, global = true)]
        partner: Option<String>,
        /// What to do
        #[command(subcommand)]
        task: ModuleTask,
    },
    /// The Cores of a tenant
    Core {
        /// The tenant, by slug or id; the key's own if it is left out
        #[arg(long, global = true)]
        tenant: Option<String>,
        /// What to do
        #[command(subcommand)]
        task: CoreTask,
    },
    /// The audit log, at the level of whoever acts or at the one that is named
    Audit {
        /// Of this tenant, by slug or id
        #[arg(long, global = true, conflicts_with = "partner")]
        tenant: Option<String>,
        /// Of this partner and its tenants, by slug or id
        #[arg(long, global = true)]
        partner: Option<String>,
        /// What to do
        #[command(subcommand)]
        task: AuditTask,
    },
    /// What waits for people in a tenant
    Checkpoint {
        /// The tenant, by slug or id; the key's own if it is left out
        #[arg(long, global = true)]
        tenant: Option<String>,
        /// What to do
        #[command(subcommand)]
        task: CheckpointTask,
    },
    /// The keys of the secrets at rest
    #[command(subcommand)]
    Secrets(SecretsTask),
    /// Make things as documents say: partners, tenants, roles, users, groups, modules, webhooks, Cores
    Apply {
        /// A document in YAML, JSON or TOML, or a folder of them; - is standard input; may be given several times
        #[arg(short = 'f', long = "file", required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Show what would be done, without doing it
        #[arg(long)]
        dry_run: bool,
    },
    /// Write all that the platform keeps to a file, beside running servers
    Backup {
        /// The file; must not be there yet
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
        /// Succeed although objects are missing that the database refers to
        #[arg(long)]
        allow_missing: bool,
    },
    /// Fill an empty database with what a backup holds; no server may be running on it
    Restore {
        /// The file that a backup was written to
        file: PathBuf,
    },
}

/// What to do about the keys of the secrets at rest.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum SecretsTask {
    /// Bring everything under the first of the master keys; can be broken off and begun again
    Rotate {
        /// Also give every tenant a new data key, and seal its secrets under that
        #[arg(long)]
        data_keys: bool,
        /// Also have the tokens that remote modules get signed by a new key
        #[arg(long)]
        signing_keys: bool,
    },
}

/// What to do about partners.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum PartnerTask {
    /// Create a partner
    Create {
        /// Its name in URLs and headers
        slug: Slug,
        /// Its name for people; the slug if it is left out
        #[arg(long)]
        name: Option<Name>,
        /// Where its operator is reached
        #[arg(long)]
        contact_email: Option<Email>,
    },
    /// List the partners, newest first
    List {
        /// At most so many
        #[arg(long, default_value_t = SHOWN)]
        limit: u32,
    },
    /// Show a partner
    Show {
        /// The partner, by slug or id
        name: String,
    },
    /// Refuse the calls of all tenants of a partner and hold their Cores
    Suspend {
        /// The partner, by slug or id
        name: String,
    },
    /// Let the tenants of a suspended partner work again
    Resume {
        /// The partner, by slug or id
        name: String,
    },
}

/// What to do about tenants.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum TenantTask {
    /// Create a tenant
    Create {
        /// Its name in URLs and headers
        slug: Slug,
        /// Its name for people; the slug if it is left out
        #[arg(long)]
        name: Option<Name>,
        /// The partner it belongs to, by slug or id; one's own, or the platform's, if it is left out
        #[arg(long)]
        partner: Option<String>,
    },
    /// List the tenants, newest first
    List {
        /// At most so many
        #[arg(long, default_value_t = SHOWN)]
        limit: u32,
    },
    /// Show a tenant
    Show {
        /// The tenant, by slug or id
        name: String,
    },
    /// Refuse a tenant's calls and hold its Cores
    Suspend {
        /// The tenant, by slug or id
        name: String,
    },
    /// Let a suspended tenant work again
    Resume {
        /// The tenant, by slug or id
        name: String,
    },
}

/// What to do about users.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum UserTask {
    /// Create a user
    Create {
        /// Their mail address
        email: Email,
        /// Their name for people
        #[arg(long)]
        display_name: Option<Name>,
        /// A role they hold; may be given several times
        #[arg(long = "role")]
        roles: Vec<Role>,
        /// human, or service for a program
        #[arg(long, default_value_t = UserKind::Human)]
        kind: UserKind,
    },
    /// List the users, newest first
    List {
        /// At most so many
        #[arg(long, default_value_t = SHOWN)]
        limit: u32,
    },
    /// Show a user
    Show {
        /// The user, by id or mail address
        user: String,
    },
    /// Give a user other roles; those that are not named are taken away
    Role {
        /// The user, by id or mail address
        user: String,
        /// All built-in roles that they hold from now on
        #[arg(required_unless_present = "custom_roles")]
        roles: Vec<Role>,
        /// A custom role that they hold from now on, by id or slug; may be given several times; custom roles stay as they
        /// are where none is given
        #[arg(long = "custom-role")]
        custom_roles: Vec<String>,
    },
    /// Suspend a user: they and their keys are refused
    Suspend {
        /// The user, by id or mail address
        user: String,
    },
    /// Let a suspended user in again
    Resume {
        /// The user, by id or mail address
        user: String,
    },
}

/// What to do about API keys.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum KeyTask {
    /// Create a key and show it, once
    Create {
        /// What the key is called
        name: Name,
        /// Whose key it is, by id or mail address; one's own if it is left out
        #[arg(long)]
        user: Option<String>,
        /// When it ends (RFC 3339); never if it is left out
        #[arg(long, value_parser = instant)]
        expires_at: Option<Instant>,
        /// A permission that it is limited to; may be given several times
        #[arg(long = "scope")]
        scopes: Vec<PermissionKey>,
    },
    /// List keys, newest first, without those that were taken back
    List {
        /// Of this user, by id or mail address; of everybody in the tenant if it is left out
        #[arg(long)]
        user: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = SHOWN)]
        limit: u32,
    },
    /// Revoke a key at once
    Revoke {
        /// The key's id
        id: ApiKeyId,
    },
}

/// What to do about modules.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum ModuleTask {
    /// List the modules and how they stand
    List,
    /// Show a module and how it stands
    Show {
        /// The module's id
        module: String,
    },
    /// Switch a module on
    Enable {
        /// The module's id
        module: String,
    },
    /// Switch a module off, for everyone below too
    Disable {
        /// The module's id
        module: String,
    },
    /// Take back what was said of a module, so that the other levels alone decide
    Reset {
        /// The module's id
        module: String,
    },
    /// Show what is configured of a module, or change it
    Config {
        /// The module's id
        module: String,
        /// A JSON merge patch (RFC 7396) to change it by; - reads it from standard input, @FILE from a file
        #[arg(long, value_name = "JSON")]
        patch: Option<String>,
        /// Check the change and show what would be, without keeping it
        #[arg(long, requires = "patch")]
        dry_run: bool,
    },
    /// Tell where each configured value of a module comes from
    Explain {
        /// The module's id
        module: String,
    },
}

/// What to do about Cores.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum CoreTask {
    /// List the Cores, newest first
    List {
        /// Those in this status only
        #[arg(long)]
        status: Option<Status>,
        /// At most so many
        #[arg(long, default_value_t = SHOWN)]
        limit: u32,
    },
    /// Check a Core's program and let it take work
    Start {
        /// The Core, by id or slug
        id: String,
    },
    /// Let a Core finish what it does and take no more
    Stop {
        /// The Core, by id or slug
        id: String,
        /// Cancel what it does
        #[arg(long)]
        force: bool,
    },
    /// Host the program of a file as a new Core
    Import {
        /// A bundle, or the program as JSON
        file: PathBuf,
        /// What the Core is called; what the program calls itself if it is left out
        #[arg(long)]
        name: Option<Name>,
        /// What starts its flows
        #[arg(long, default_value_t = RuntimeMode::EventDriven)]
        runtime_mode: RuntimeMode,
        /// How its executions share memory
        #[arg(long, default_value_t = ConcurrencyMode::Stateless)]
        concurrency_mode: ConcurrencyMode,
        /// The input field that names the entity, with and only with the mode entity
        #[arg(long)]
        entity_key_field: Option<String>,
    },
    /// Write a Core's present program as a bundle, or with --json as JSON
    Export {
        /// The Core, by id or slug
        id: String,
        /// The file to write the bundle to; standard output if it is left out
        #[arg(long)]
        output: Option<PathBuf>,
    },
}

/// What to do about the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum AuditTask {
    /// Check that the log is what was written; the exit code is 1 if it is not
    Verify,
    /// Write the records to a file, newest first
    Export {
        /// How the file is written
        #[arg(long, default_value_t = Format::Json)]
        format: Format,
        /// The file; standard output if it is left out
        #[arg(long)]
        output: Option<PathBuf>,
        /// Those of this action only
        #[arg(long)]
        action: Option<AuditAction>,
        /// Those of this actor only
        #[arg(long)]
        actor: Option<String>,
        /// Those on this resource only
        #[arg(long)]
        resource: Option<String>,
        /// Those from this time on (RFC 3339)
        #[arg(long, value_parser = instant)]
        since: Option<Instant>,
        /// Those before this time (RFC 3339)
        #[arg(long, value_parser = instant)]
        until: Option<Instant>,
    },
}

/// What to do about checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum CheckpointTask {
    /// List checkpoints
    List {
        /// Those in this status
        #[arg(long, default_value_t = CheckpointStatus::Pending, conflicts_with = "mine")]
        status: CheckpointStatus,
        /// Only what waits for whoever asks, instead of for anyone in the tenant
        #[arg(long)]
        mine: bool,
        /// At most so many
        #[arg(long, default_value_t = SHOWN)]
        limit: u32,
    },
    /// Decide a checkpoint; its execution goes on
    Resolve {
        /// The checkpoint's id
        id: CheckpointId,
        /// The decision: one of the options, where there are any
        decision: String,
        /// More for the program, as JSON
        #[arg(long, value_parser = json)]
        data: Option<Value>,
        /// A note for people; the program sees it too
        #[arg(long)]
        comment: Option<String>,
    },
}

fn instant(text: &str) -> Result<Instant, &'static str> {
    Instant::parse(text).ok_or("expected an RFC 3339 timestamp, such as 2030-01-31T12:00:00Z")
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("expected JSON: {error}"))
}

/// The key to act with: the one of the flag, else of the variable.
pub(super) fn key(flag: Option<Secret>, surroundings: &Surroundings<'_>) -> Result<Option<Secret>, Refusal> {
    let given = match flag {
        Some(key) => Some(Given { text: key.reveal().to_owned(), origin: "--key".to_owned() }),
        None => sources::variable("admin_key", surroundings)?,
    };
    let read =
        |Given { text, origin }| values::api_key(text.trim()).map_err(|rule| Refusal::new(origin, rule));
    given.map(read).transpose()
}
