//! The plugins of a workspace: those that ship, and those that the tenant has registered; and which of them it has enabled.

use std::collections::{BTreeMap, BTreeSet};

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_cores::plugins::{EffectClass, PluginName};
use scaigrid_engine::plugins::{Offer, OfferedMethod};
use scaigrid_persistence::{Connection, audit, plugins, tenants, workspace_plugins};
use scaigrid_scope::{Authorized, TenantScope, perm};
use scaigrid_workspace::plugin::{PluginManifest, PluginTool, shipped, shipped_as};
use serde_json::json;

use crate::page::{Cursor, Page, PageRequest};
use crate::plugins::PLUGINS_AT_MOST;
use crate::transaction::ended;
use crate::{App, Error, Resource};

pub use scaigrid_workspace::plugin::PluginScope;

/// How many methods of one registered plugin are tools.
const TOOLS_OF_A_PLUGIN: usize = 64;
/// The greatest schema that is told to models, in bytes of JSON.
const SCHEMA_BYTES: usize = 16 * 1024;

/// A plugin as a tenant has it.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkspacePlugin {
    /// What is told of it.
    pub manifest: PluginManifest,
    /// Whether its AIs may use it.
    pub enabled: bool,
    /// Whether the tenant has said so itself.
    pub said: bool,
    /// Whether there is something here that can run it.
    pub installed: bool,
}

/// Whether it is enabled where the tenant has said nothing.
fn by_default(id: &str) -> bool {
    shipped_as(id).is_some_and(|manifest| manifest.default_enabled)
}

/// A method of a registered plugin as a tool, and what a repetition costs; none where its schema is too long for models.
fn tool_of(method: OfferedMethod) -> Option<(PluginTool, EffectClass)> {
    let fits = method.parameters.to_string().len() <= SCHEMA_BYTES;
    let tool = || PluginTool {
        name: method.name.into(),
        description: method.description.into(),
        parameters: (*method.parameters).clone(),
    };
    fits.then(|| (tool(), method.effect))
}

/// The methods of a registered plugin that are tools, in its order.
pub(super) fn tools_of_offer(offer: Offer) -> Vec<(PluginTool, EffectClass)> {
    offer.methods.into_iter().filter_map(tool_of).take(TOOLS_OF_A_PLUGIN).collect()
}

/// What is told of a plugin that the tenant has registered; of one that ships, what is told of it here, with the tools that it
/// really has.
fn registered(id: &str, offer: Offer) -> PluginManifest {
    let (version, kind) = (offer.version.to_string(), offer.kind);
    let tools = tools_of_offer(offer).into_iter().map(|(tool, _)| tool).collect();
    match shipped_as(id) {
        Some(manifest) => PluginManifest { tools, version, ..manifest.clone() },
        None => PluginManifest {
            id: id.to_owned(),
            name: id.to_owned(),
            version,
            description: format!("A plugin of kind {kind} that the tenant has registered."),
            tools,
            permissions: Vec::new(),
            injects_context: false,
            scope: None,
            default_enabled: false,
            built_in: false,
        },
    }
}

impl App {
    /// What the tenant has of a plugin: what is told of it, and whether it is installed; none for one that there is not.
    pub(super) async fn plugin_here(
        &self,
        scope: TenantScope,
        id: &str,
    ) -> Result<Option<(PluginManifest, bool)>, Error> {
        let shipped = shipped_as(id);
        if let Some(manifest) = shipped.filter(|manifest| manifest.built_in) {
            return Ok(Some((manifest.clone(), true)));
        }
        let Ok(name) = id.parse::<PluginName>() else { return Ok(None) };
        let offer = self.0.engine.plugins().offer(scope, &name).await?;
        Ok(match offer {
            Some(offer) => {
                let callable = offer.callable;
                Some((registered(id, offer), callable))
            }
            None => shipped.map(|manifest| (manifest.clone(), false)),
        })
    }

    /// Whether a plugin is enabled in the tenant.
    pub(super) async fn is_plugin_enabled(&self, scope: TenantScope, id: &str) -> Result<bool, Error> {
        let mut connection = self.0.database.read().await?;
        let said = workspace_plugins::said_of(&mut connection, scope, &[id.to_owned()]).await?;
        Ok(said.get(id).copied().unwrap_or_else(|| by_default(id)))
    }

    /// The plugins that are enabled in the tenant, by id: of those that are named, or of all.
    pub(super) async fn enabled_plugins(
        &self,
        scope: TenantScope,
        named: Option<&[String]>,
    ) -> Result<BTreeSet<String>, Error> {
        let mut connection = self.0.database.read().await?;
        let of_itself = shipped().iter().filter(|manifest| manifest.default_enabled);
        let of_itself: Vec<String> = of_itself.map(|manifest| manifest.id.clone()).collect();
        let asked: Vec<String> = if let Some(named) = named {
            // What cannot be a name is none, and not every database takes it.
            named.iter().filter(|id| id.parse::<PluginName>().is_ok()).cloned().collect()
        } else {
            let most = i64::from(PLUGINS_AT_MOST).saturating_add(i64::try_from(shipped().len()).unwrap_or(0));
            let mut all = workspace_plugins::enabled(&mut connection, scope, most).await?;
            all.extend(of_itself);
            all
        };
        let said = workspace_plugins::said_of(&mut connection, scope, &asked).await?;
        let enabled = |id: &String| said.get(id).copied().unwrap_or_else(|| by_default(id));
        Ok(asked.into_iter().filter(enabled).collect())
    }

    /// The plugins of a workspace, by id, for those who decide which of them are enabled.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn workspace_plugins(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        page: &PageRequest,
    ) -> Result<Page<WorkspacePlugin>, Error> {
        self.page_of_plugins(caller.tenant_scope(), page).await
    }

    /// The plugins of a workspace, by id, for those whose AIs may use them.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn usable_plugins(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        page: &PageRequest,
    ) -> Result<Page<WorkspacePlugin>, Error> {
        self.page_of_plugins(caller.tenant_scope(), page).await
    }

    async fn page_of_plugins(
        &self,
        scope: TenantScope,
        page: &PageRequest,
    ) -> Result<Page<WorkspacePlugin>, Error> {
        let after = page.after::<String>()?;
        let mut connection = self.0.database.read().await?;
        let rows = usize::try_from(page.rows()).unwrap_or(usize::MAX);
        let names = plugins::names(&mut connection, scope, i64::from(PLUGINS_AT_MOST)).await?;
        let mut ids: BTreeSet<String> = names.iter().map(ToString::to_string).collect();
        ids.extend(shipped().iter().map(|manifest| manifest.id.clone()));
        let further = |id: &String| after.as_ref().is_none_or(|after| id > after);
        let ids: Vec<String> = ids.into_iter().filter(further).take(rows).collect();
        let said = workspace_plugins::said_of(&mut connection, scope, &ids).await?;
        drop(connection);
        let shown = Page::of_rows(ids, page, |id| Cursor::new([id.as_str().into()]));
        let mut items = Vec::with_capacity(shown.items.len());
        for id in shown.items {
            // One that was removed a moment ago is left out.
            items.extend(self.with_state(scope, &id, &said).await?);
        }
        Ok(Page { items, next: shown.next })
    }

    async fn with_state(
        &self,
        scope: TenantScope,
        id: &str,
        said: &BTreeMap<String, bool>,
    ) -> Result<Option<WorkspacePlugin>, Error> {
        let here = self.plugin_here(scope, id).await?;
        Ok(here.map(|(manifest, installed)| {
            let said = said.get(id).copied();
            let enabled = said.unwrap_or_else(|| by_default(id));
            WorkspacePlugin { manifest, enabled, said: said.is_some(), installed }
        }))
    }

    /// Enables a plugin in the workspace, or disables it. One that is so already changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one that neither ships nor is registered.
    #[boxed]
    pub async fn set_workspace_plugin(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        request: &RequestContext,
        id: &str,
        enabled: bool,
    ) -> Result<WorkspacePlugin, Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        let missing = || Error::NotFound(Resource::WorkspacePlugin);
        let mut tx = self.0.database.begin().await?;
        let done = async {
            // One at a time in a tenant, so that each record tells what was.
            tenants::lock(&mut tx, scope).await?.ok_or(Error::NotFound(Resource::Tenant))?;
            if !self.unknown_plugins(&mut tx, scope, &[id.to_owned()]).await?.is_empty() {
                return Err(missing());
            }
            let said = workspace_plugins::said_of(&mut tx, scope, &[id.to_owned()]).await?;
            let said = said.get(id).copied();
            let before = said.unwrap_or_else(|| by_default(id));
            if said != Some(enabled) {
                workspace_plugins::say(&mut tx, scope, id, enabled, now).await?;
                let state = |said: Option<bool>, enabled: bool| {
                    let source = if said.is_some() { "tenant" } else { "default" };
                    json!({"enabled": enabled, "source": source})
                };
                let changes = diff(&state(said, before), &state(Some(enabled), enabled), &[]);
                let action = if enabled {
                    AuditAction::WorkspacePluginEnable
                } else {
                    AuditAction::WorkspacePluginDisable
                };
                let stamp = self.audit_stamp(now);
                let record = AuditRecord::in_tenant(stamp, caller, request, action, id.to_owned(), changes);
                audit::add(&mut tx, &record).await?;
            }
            Ok(())
        };
        let done = done.await;
        ended(tx, done).await?;
        let said = BTreeMap::from([(id.to_owned(), enabled)]);
        if let Some(plugin) = self.with_state(scope, id, &said).await? {
            return Ok(plugin);
        }
        // It was registered a moment ago, and this node still believes that it is not there.
        self.0.engine.plugins().forget();
        self.with_state(scope, id, &said).await?.ok_or_else(missing)
    }

    /// The places in a list of those plugins that neither ship nor are registered in the tenant.
    pub(crate) async fn unknown_plugins(
        &self,
        c: &mut Connection,
        scope: TenantScope,
        ids: &[String],
    ) -> Result<Vec<usize>, Error> {
        let mut unknown = Vec::new();
        for (index, id) in ids.iter().enumerate() {
            if shipped_as(id).is_some() {
                continue;
            }
            let registered = match id.parse::<PluginName>() {
                Ok(name) => plugins::mark(c, scope, &name).await?.is_some(),
                Err(_) => false,
            };
            if !registered {
                unknown.push(index);
            }
        }
        Ok(unknown)
    }
}
