//! What can be permitted, and sets of it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::text_enum;

text_enum! {
    /// A permission that this program itself asks for: the fifteen of the platform and those of its own module.
    pub enum Permission {
        /// See the model catalogue.
        ModelsList => "models:list",
        /// Call models.
        ModelsUse => "models:use",
        /// Maintain models, backends and groups.
        ModelsManage => "models:manage",
        /// See how requests are routed.
        RoutingView => "routing:view",
        /// Change how requests are routed.
        RoutingManage => "routing:manage",
        /// See one's own usage.
        AccountingViewOwn => "accounting:view_own",
        /// See a tenant's usage.
        AccountingViewTenant => "accounting:view_tenant",
        /// See a partner's usage.
        AccountingViewPartner => "accounting:view_partner",
        /// Set budgets.
        AccountingManageBudgets => "accounting:manage_budgets",
        /// Maintain users, groups and custom roles.
        UsersManage => "users:manage",
        /// Maintain API keys.
        ApiKeysManage => "api_keys:manage",
        /// Maintain outgoing webhooks.
        WebhooksManage => "webhooks:manage",
        /// See the modules and their state.
        ModulesUse => "modules:use",
        /// Enable, disable and configure modules.
        ModulesManage => "modules:manage",
        /// Administer, and read the audit log.
        AdminAccess => "admin:access",
        /// See Cores, executions, logs and checkpoints.
        ScaicoreView => "scaicore:view",
        /// Create, change, start, stop and delete Cores.
        ScaicoreManage => "scaicore:manage",
        /// Use the debugger.
        ScaicoreDebug => "scaicore:debug",
        /// Resolve, cancel and reassign checkpoints.
        ScaicoreCheckpointResolve => "scaicore:checkpoint_resolve",
        /// Lend a user's identity to a Core, and take it back.
        ScaicoreDelegate => "scaicore:delegate",
        /// Maintain the plugin registry.
        ScaicoreAdmin => "scaicore:admin",
        /// Invoke flows and send events.
        ScaicoreInvoke => "scaicore:invoke",
    }
}

impl Permission {
    /// The fifteen permissions of the platform.
    pub const CORE: &'static [Self] = Self::ALL.split_at(15).0;

    /// The permissions of the built-in module `scaicore`.
    pub const SCAICORE: &'static [Self] = Self::ALL.split_at(15).1;

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// A text that names no permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownPermission {
    /// It is not written like one.
    #[error("expected a permission of the form area:verb")]
    Malformed,
    /// It is written like one of the platform's or of `scaicore`'s, which are all known; the permissions of its area are named.
    #[error("is no permission; there are {}", .0.iter().map(|known| known.as_str()).collect::<Vec<_>>().join(", "))]
    NotOfItsArea(Vec<Permission>),
}

/// A permission of a module that this program knows from its manifest only, e.g. `scaibot:bots:read`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModulePermission(Box<str>);

impl ModulePermission {
    /// The whole key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The module that the key begins with.
    pub fn module(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }
}

/// Any permission, by its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PermissionKey {
    /// One that this program asks for.
    Known(Permission),
    /// One of another module.
    Module(ModulePermission),
}

impl PermissionKey {
    /// Whether it is one of the platform's own, rather than a module's.
    pub fn is_core(&self) -> bool {
        matches!(self, Self::Known(permission) if Permission::CORE.contains(permission))
    }
}

impl fmt::Display for PermissionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Known(permission) => permission.as_str(),
            Self::Module(permission) => permission.as_str(),
        })
    }
}

impl From<Permission> for PermissionKey {
    fn from(permission: Permission) -> Self {
        Self::Known(permission)
    }
}

impl FromStr for PermissionKey {
    type Err = UnknownPermission;

    /// Reads `area:verb`, `module:verb`, `module:noun:verb`, `module:noun.verb` or `module:verb:qualifier`, at most
    /// 128 characters. In the areas of the platform and of `scaicore` only what exists is accepted.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(known) = text.parse() {
            return Ok(Self::Known(known));
        }
        let own_area = |known: &Permission| known.as_str().split(':').next() == text.split(':').next();
        let mut of_its_area = Permission::ALL.iter().copied().filter(own_area).peekable();
        let mut parts = text.split(':');
        let module = parts.next().unwrap_or_default();
        let good_module = module.starts_with(|c: char| c.is_ascii_lowercase())
            && module.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_-".contains(&c));
        let good_part = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_-.".contains(&c))
        };
        let rest: Vec<_> = parts.take(3).collect();
        let good_rest = (1..=2).contains(&rest.len()) && rest.into_iter().all(good_part);
        if text.len() > 128 || !good_module || !good_rest {
            return Err(UnknownPermission::Malformed);
        }
        if of_its_area.peek().is_some() {
            return Err(UnknownPermission::NotOfItsArea(of_its_area.collect()));
        }
        Ok(Self::Module(ModulePermission(text.into())))
    }
}

/// A set of permissions.
///
/// Those that this program asks for are bits; those of other modules are kept by key; and an administrator's
/// hold on every module is one flag, so that it covers modules that are installed later.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permissions {
    known: u32,
    modules: BTreeSet<ModulePermission>,
    every_module: bool,
}

impl Permissions {
    /// Whether the set holds a permission that this program asks for.
    pub const fn contains(&self, permission: Permission) -> bool {
        self.known & permission.bit() != 0
    }

    /// Whether the set holds a permission, whoever asks for it.
    pub fn contains_key(&self, key: &PermissionKey) -> bool {
        match key {
            PermissionKey::Known(permission) => self.contains(*permission),
            PermissionKey::Module(permission) => self.every_module || self.modules.contains(permission),
        }
    }

    /// Whether this set holds all that `other` holds.
    pub fn covers(&self, other: &Self) -> bool {
        self.known & other.known == other.known
            && (self.every_module
                || !other.every_module && other.modules.iter().all(|key| self.modules.contains(key)))
    }

    /// The set with every permission of every module added.
    #[must_use]
    pub fn with_every_module(mut self) -> Self {
        self.every_module = true;
        self.known |= Permission::SCAICORE.iter().fold(0, |bits, permission| bits | permission.bit());
        self
    }

    /// Whether the set holds every permission of every module.
    pub const fn has_every_module(&self) -> bool {
        self.every_module
    }

    /// Adds one permission.
    pub fn insert(&mut self, key: PermissionKey) {
        match key {
            PermissionKey::Known(permission) => self.known |= permission.bit(),
            PermissionKey::Module(permission) => {
                self.modules.insert(permission);
            }
        }
    }

    /// What either set holds.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self {
            known: self.known | other.known,
            modules: self.modules.union(&other.modules).cloned().collect(),
            every_module: self.every_module || other.every_module,
        }
    }

    /// What this set holds and `other` does not. Only for sets that can be listed: a hold on every module is kept as it is
    /// unless the other has it too.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self {
            known: self.known & !other.known,
            modules: self
                .modules
                .iter()
                .filter(|key| !other.every_module && !other.modules.contains(key))
                .cloned()
                .collect(),
            every_module: self.every_module && !other.every_module,
        }
    }

    /// What both sets hold.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mine = self.modules.iter().filter(|key| other.every_module || other.modules.contains(key));
        let theirs = other.modules.iter().filter(|_| self.every_module);
        Self {
            known: self.known & other.known,
            modules: mine.chain(theirs).cloned().collect(),
            every_module: self.every_module && other.every_module,
        }
    }

    /// The platform's own permissions of the set, and those of modules.
    pub fn split(&self) -> (Self, Self) {
        let own: Self =
            Permission::CORE.iter().copied().filter(|permission| self.contains(*permission)).collect();
        (own.clone(), self.without(&own))
    }

    /// Whether the set holds nothing.
    pub fn is_empty(&self) -> bool {
        self.known == 0 && self.modules.is_empty() && !self.every_module
    }

    /// The permissions that can be listed: the hold on every module shows as the keys that this program knows.
    pub fn iter(&self) -> impl Iterator<Item = PermissionKey> {
        let known = Permission::ALL.iter().copied().filter(|permission| self.contains(*permission));
        known.map(PermissionKey::Known).chain(self.modules.iter().cloned().map(PermissionKey::Module))
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<T: IntoIterator<Item = Permission>>(permissions: T) -> Self {
        permissions.into_iter().map(PermissionKey::Known).collect()
    }
}

impl FromIterator<PermissionKey> for Permissions {
    fn from_iter<T: IntoIterator<Item = PermissionKey>>(keys: T) -> Self {
        let mut permissions = Self::default();
        keys.into_iter().for_each(|key| permissions.insert(key));
        permissions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(keys: &[&str]) -> Permissions {
        keys.iter().map(|key| key.parse::<PermissionKey>().unwrap()).collect()
    }

    #[test]
    fn keys_are_read_and_written_alike() {
        for key in ["models:list", "scaicore:invoke", "scaibot:bots:read", "scaispeak:voice.read", "a-b_1:x"]
        {
            assert_eq!(key.parse::<PermissionKey>().unwrap().to_string(), key);
        }
        let long = format!("scaibot:{}", "x".repeat(128));
        for key in ["", "models", "models:fly", "scaicore:fly", "x:", ":x", "x:y:z:w", "X:y", "x y:z", &long]
        {
            assert!(key.parse::<PermissionKey>().is_err(), "{key}");
        }
        let told = |key: &str| key.parse::<PermissionKey>().unwrap_err().to_string();
        assert_eq!(told("models"), "expected a permission of the form area:verb");
        assert_eq!(told("models:fly"), "is no permission; there are models:list, models:use, models:manage");
        assert_eq!((Permission::CORE.len(), Permission::SCAICORE.len()), (15, 7));
    }

    #[test]
    fn a_key_of_an_administrator_keeps_only_its_scopes() {
        let admin = set(&["modules:manage"]).with_every_module();
        let scopes = set(&["scaicore:view", "scaibot:bots:read", "models:use"]);
        let held = admin.intersection(&scopes);
        assert_eq!(held, set(&["scaicore:view", "scaibot:bots:read"]));
        assert_eq!(held, scopes.intersection(&admin));
        assert!(admin.covers(&held) && !held.covers(&admin) && !scopes.covers(&admin));
        assert!(admin.union(&scopes).covers(&scopes));
    }
}
