//! The plugins of a Core: what it means by an alias, whatever its program declares.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, RequestContext};
use scaigrid_cores::CoreChanges;
use scaigrid_cores::plugins::{InstalledPlugin, PluginName};
use scaigrid_persistence::Revised;
use scaigrid_scope::{Authorized, CoreId, perm};
use serde_json::{Map, Value};

use crate::{App, Error, Resource};

/// How often a change is tried again because somebody else changed the same Core in between.
const ATTEMPTS: u32 = 10;

/// What shall be different about an entry; `None` keeps what is there.
#[derive(Debug, Clone, Default)]
pub struct InstalledChanges {
    /// The plugin in the registry; `Some(None)` is the one that the program declares.
    pub plugin: Option<Option<PluginName>>,
    /// What goes with each call.
    pub config: Option<Map<String, Value>>,
    /// Whether it can be called.
    pub enabled: Option<bool>,
}

/// An entry, and the revision of its Core.
pub type Installed = Revised<Value>;

fn alias_of(entry: &Value) -> Option<&str> {
    entry.get("alias").and_then(Value::as_str)
}

impl App {
    /// The entries of a Core.
    ///
    /// # Errors
    /// There is no such Core.
    #[boxed]
    pub async fn installed_plugins(
        &self,
        by: &Authorized<perm::CoresView>,
        id: CoreId,
    ) -> Result<Vec<Value>, Error> {
        Ok(self.find_core(by.tenant_scope(), id).await?.value.plugins.to_vec())
    }

    /// Installs a plugin on a Core.
    ///
    /// # Errors
    /// There is no such Core, or it has an entry of that alias.
    #[boxed]
    pub async fn install_plugin(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        id: CoreId,
        entry: InstalledPlugin,
    ) -> Result<Installed, Error> {
        let alias = entry.alias.to_string();
        self.edit_plugins(by, request, id, None, |entries| {
            if entries.iter().any(|other| alias_of(other) == Some(alias.as_str())) {
                let message = format!("The Core has a plugin {alias} already");
                return Err(Error::Taken { field: "alias", message });
            }
            entries.push(entry.to_json());
            Ok(entry.to_json())
        })
        .await
    }

    /// Changes an entry of a Core.
    ///
    /// # Errors
    /// There is no such Core or entry, or the Core changed since `expected`.
    #[boxed]
    pub async fn change_installed_plugin(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        id: CoreId,
        alias: &str,
        expected: Option<&[u64]>,
        changes: InstalledChanges,
    ) -> Result<Installed, Error> {
        self.edit_plugins(by, request, id, expected, |entries| {
            let found = entries.iter_mut().find(|entry| alias_of(entry) == Some(alias));
            let found = found.ok_or(Error::NotFound(Resource::Plugin))?;
            let mut entry = InstalledPlugin::parse(found.clone(), "")?;
            if let Some(plugin) = &changes.plugin {
                entry.plugin.clone_from(plugin);
            }
            if let Some(config) = &changes.config {
                entry.config.clone_from(config);
            }
            entry.enabled = changes.enabled.unwrap_or(entry.enabled);
            *found = entry.to_json();
            Ok(found.clone())
        })
        .await
    }

    /// Removes an entry of a Core.
    ///
    /// # Errors
    /// There is no such Core or entry, or the Core changed since `expected`.
    #[boxed]
    pub async fn uninstall_plugin(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        id: CoreId,
        alias: &str,
        expected: Option<&[u64]>,
    ) -> Result<(), Error> {
        let edited = self.edit_plugins(by, request, id, expected, |entries| {
            let found = entries.iter().position(|entry| alias_of(entry) == Some(alias));
            Ok(entries.remove(found.ok_or(Error::NotFound(Resource::Plugin))?))
        });
        edited.await.map(drop)
    }

    async fn edit_plugins(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        id: CoreId,
        expected: Option<&[u64]>,
        edit: impl Fn(&mut Vec<Value>) -> Result<Value, Error>,
    ) -> Result<Installed, Error> {
        for _ in 0..ATTEMPTS {
            let found = self.find_core(by.tenant_scope(), id).await?;
            super::check_revision(found.revision, expected)?;
            let mut entries = found.value.plugins.to_vec();
            let entry = edit(&mut entries)?;
            let changes = CoreChanges { plugins: Some(entries), ..CoreChanges::default() };
            let after = found.value.change(changes, self.now())?;
            match self.save_changed(by, request, AuditAction::CoreUpdate, found, after).await {
                // Somebody else was first; whoever named no revision does not mind.
                Err(Error::PreconditionFailed) if expected.is_none() => {}
                saved => return saved.map(|shown| Revised { value: entry, revision: shown.revision }),
            }
        }
        Err(Error::core_contended())
    }
}
