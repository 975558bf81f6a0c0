//! Whether a module is at work for someone, and why.

use scaigrid_scope::{Instant, text_enum};

use crate::manifest::{Manifest, ModuleId};

text_enum! {
    /// The state of a module as a tenant sees it.
    pub enum ModuleStatus {
        /// It answers requests.
        Active => "active",
        /// It could be enabled.
        Available => "available",
        /// It has failed, or what it depends on is not active.
        Error => "error",
        /// Someone has disabled it.
        Disabled => "disabled",
    }
}

text_enum! {
    /// What someone has said about a module at one level.
    pub enum Enablement {
        /// It shall work here and below.
        Enabled => "enabled",
        /// It shall not, whatever is said below.
        Disabled => "disabled",
    }
}

text_enum! {
    /// A level at which something can be said about a module, from above.
    pub enum SettingLevel {
        /// For everyone.
        Platform => "platform",
        /// For a partner's tenants.
        Partner => "partner",
        /// For one tenant.
        Tenant => "tenant",
    }
}

/// What has been said about a module at the levels that concern someone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// For everyone.
    pub platform: Option<Enablement>,
    /// For the tenants of the partner.
    pub partner: Option<Enablement>,
    /// For the tenant.
    pub tenant: Option<Enablement>,
}

impl Settings {
    /// The settings with their levels, from above.
    pub const fn by_level(self) -> [(SettingLevel, Option<Enablement>); 3] {
        [
            (SettingLevel::Platform, self.platform),
            (SettingLevel::Partner, self.partner),
            (SettingLevel::Tenant, self.tenant),
        ]
    }

    fn first(self, wanted: Enablement) -> Option<SettingLevel> {
        self.by_level().into_iter().find(|(_, said)| *said == Some(wanted)).map(|(level, _)| level)
    }
}

/// A failure of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What happened.
    pub message: String,
    /// When it was noticed.
    pub at: Instant,
}

/// How a module was when last looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Health {
    /// Well. Also a module that no one has looked at yet, so that a start does not begin with errors.
    #[default]
    Well,
    /// It failed to start, or does not answer.
    Failed(Failure),
}

/// Why a module is in the state that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It has failed.
    Failed(Failure),
    /// It would be active, but a module that it depends on is not.
    DependencyNotActive(ModuleId),
    /// It was disabled at this level, the highest where it was.
    DisabledAt(SettingLevel),
    /// It was enabled at this level, the highest where it was.
    EnabledAt(SettingLevel),
    /// No one has said anything, and it is on by default.
    EnabledByDefault,
    /// No one has enabled it.
    NotEnabled,
    /// There is no code behind its manifest.
    NotInstalled,
}

/// The state of a module, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The state.
    pub status: ModuleStatus,
    /// Why.
    pub reason: Reason,
}

impl Effective {
    /// Whether the module answers requests.
    pub const fn is_active(&self) -> bool {
        matches!(self.status, ModuleStatus::Active)
    }
}

/// The state of a module.
///
/// The most restrictive wins: a failure, then a disablement at any level; only then does an enablement at any level,
/// or the default, count. A module that would be active is in error as long as one of its dependencies is not
/// active; `inactive_dependency` is the first such one.
pub fn effective_state(
    manifest: &Manifest,
    settings: Settings,
    health: &Health,
    inactive_dependency: Option<&ModuleId>,
) -> Effective {
    let effective = |status, reason| Effective { status, reason };
    if let Health::Failed(failure) = health {
        return effective(ModuleStatus::Error, Reason::Failed(failure.clone()));
    }
    if let Some(level) = settings.first(Enablement::Disabled) {
        return effective(ModuleStatus::Disabled, Reason::DisabledAt(level));
    }
    if !manifest.is_installed() {
        return effective(ModuleStatus::Available, Reason::NotInstalled);
    }
    let enabled = match settings.first(Enablement::Enabled) {
        Some(level) => Reason::EnabledAt(level),
        None if manifest.default_enabled => Reason::EnabledByDefault,
        None => return effective(ModuleStatus::Available, Reason::NotEnabled),
    };
    match inactive_dependency {
        Some(dependency) => effective(ModuleStatus::Error, Reason::DependencyNotActive(dependency.clone())),
        None => effective(ModuleStatus::Active, enabled),
    }
}

/// Why a module cannot be enabled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotEnable {
    /// There is no code behind its manifest.
    #[error("the module is not installed")]
    NotInstalled,
    /// Modules that it depends on are not active. Never empty.
    #[error("not active: {}", modules.iter().map(ModuleId::as_str).collect::<Vec<_>>().join(", "))]
    DependenciesNotActive {
        /// Those modules.
        modules: Vec<ModuleId>,
    },
}
