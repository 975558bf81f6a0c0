//! What can be wanted, in values of the domain.

use std::collections::BTreeSet;
use std::fmt;

use scaigrid_cores::{ConcurrencyMode, RuntimeMode};
use scaigrid_modules::ModuleId;
use scaigrid_scope::{
    Description, Email, Features, Name, PartnerLimits, PartnerStatus, Permissions, Roles, Slug, TenantLimits,
    TenantStatus, UserKind, UserStatus,
};
use scaigrid_webhooks::{Retries, Secret, Subscriptions, WebhookStatus, WebhookUrl};
use serde_json::{Map, Value};

/// A level at which something is said of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Level {
    Platform,
    Partner(Slug),
    Tenant(Slug),
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform => f.write_str("platform"),
            Self::Partner(slug) => write!(f, "partner:{slug}"),
            Self::Tenant(slug) => f.write_str(slug.as_str()),
        }
    }
}

/// How a Core is to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CoreState {
    Running,
    Paused,
    Stopped,
}

impl CoreState {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// A partner or tenant as it is wanted.
#[derive(Debug, Clone)]
pub(super) struct PartnerSpec {
    pub(super) slug: Slug,
    pub(super) name: Option<Name>,
    pub(super) contact_email: Option<Email>,
    pub(super) limits: Option<PartnerLimits>,
}

#[derive(Debug, Clone)]
pub(super) struct TenantSpec {
    pub(super) slug: Slug,
    pub(super) partner: Option<Slug>,
    pub(super) name: Option<Name>,
    pub(super) limits: Option<TenantLimits>,
    pub(super) features: Option<Features>,
}

#[derive(Debug, Clone)]
pub(super) struct RoleSpec {
    pub(super) slug: Slug,
    pub(super) name: Option<Name>,
    pub(super) description: Option<Description>,
    pub(super) permissions: Option<Permissions>,
}

#[derive(Debug, Clone)]
pub(super) struct UserSpec {
    pub(super) email: Email,
    pub(super) display_name: Option<Name>,
    pub(super) kind: Option<UserKind>,
    pub(super) status: Option<UserStatus>,
    pub(super) roles: Option<Roles>,
    pub(super) custom_roles: Option<BTreeSet<Slug>>,
}

#[derive(Debug, Clone)]
pub(super) struct GroupSpec {
    pub(super) slug: Slug,
    pub(super) name: Option<Name>,
    pub(super) members: Option<BTreeSet<Email>>,
}

#[derive(Debug, Clone)]
pub(super) struct WebhookSpec {
    pub(super) url: WebhookUrl,
    pub(super) events: Option<Subscriptions>,
    pub(super) secret: Option<Secret>,
    pub(super) status: Option<WebhookStatus>,
    pub(super) max_retries: Option<Retries>,
}

#[derive(Debug, Clone)]
pub(super) struct CoreSpec {
    pub(super) slug: Slug,
    pub(super) name: Name,
    pub(super) source: Option<Value>,
    pub(super) runtime_mode: Option<RuntimeMode>,
    pub(super) concurrency_mode: Option<ConcurrencyMode>,
    pub(super) entity_key_field: Option<String>,
    pub(super) environment: Option<Map<String, Value>>,
    pub(super) plugins: Option<Vec<Value>>,
    pub(super) resource_limits: Option<Map<String, Value>>,
    pub(super) metadata: Option<Map<String, Value>>,
}

/// What is wanted of a thing, in values of the domain.
#[derive(Debug, Clone)]
pub(super) enum Spec {
    Partner(PartnerSpec),
    PartnerStatus(Slug, PartnerStatus),
    Tenant(TenantSpec),
    TenantStatus(Slug, TenantStatus),
    ModuleConfig(Level, ModuleId, Value),
    Module(Level, ModuleId, bool),
    Role(Slug, RoleSpec),
    User(Slug, UserSpec),
    Group(Slug, GroupSpec),
    Webhook(Slug, WebhookSpec),
    Core(Slug, CoreSpec),
    CoreState(Slug, Slug, CoreState),
}

impl Spec {
    /// When its turn is: what others stand on comes first, what shuts the door comes last.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Partner(_) => 0,
            Self::PartnerStatus(_, PartnerStatus::Active) => 1,
            Self::ModuleConfig(Level::Platform | Level::Partner(_), ..)
            | Self::Module(Level::Platform | Level::Partner(_), ..) => 2,
            Self::Tenant(_) => 3,
            Self::TenantStatus(_, TenantStatus::Active) => 4,
            Self::ModuleConfig(..) | Self::Module(..) => 5,
            Self::Role(..) => 6,
            Self::User(..) => 7,
            Self::Group(..) => 8,
            Self::Webhook(..) => 9,
            Self::Core(..) => 10,
            Self::CoreState(..) => 11,
            Self::TenantStatus(..) => 12,
            Self::PartnerStatus(..) => 13,
        }
    }
}
