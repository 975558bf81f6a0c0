//! What can be permitted at all: the platform's permissions, and what modules declare that they ask for.

use scaigrid_modules::ModuleId;
use scaigrid_scope::{Permission, PermissionKey, Principal};

use crate::App;

/// Something that can be permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPermission {
    /// Its key.
    pub key: PermissionKey,
    /// The module that asks for it; none where the platform does.
    pub module: Option<ModuleId>,
    /// What it allows.
    pub description: String,
    /// Whether the caller holds it.
    pub held: bool,
}

impl App {
    /// All that can be permitted: the platform's first, then each module's, be it on or off.
    pub fn known_permissions(&self, caller: &Principal) -> Vec<KnownPermission> {
        let holds = |key: &PermissionKey| caller.permissions().contains_key(key);
        let own = Permission::CORE.iter().map(|permission| {
            let key = PermissionKey::Known(*permission);
            let held = holds(&key);
            KnownPermission { key, module: None, description: permission.meaning().to_owned(), held }
        });
        let of_modules = self.0.catalogue.iter().flat_map(|manifest| {
            manifest.permissions.iter().map(|declared| KnownPermission {
                key: declared.key.clone(),
                module: Some(manifest.module_id.clone()),
                description: declared.description.clone(),
                held: holds(&declared.key),
            })
        });
        own.chain(of_modules).collect()
    }
}
