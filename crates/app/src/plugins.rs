//! The registry of plugins: what a tenant's Cores may call, and what of it was accepted.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, Changes, RequestContext, diff};
use scaigrid_cores::FieldProblem;
use scaigrid_cores::plugins::{Credentials, Endpoint, Manifest, PluginKind, PluginName, Registration};
use scaigrid_engine::plugins::{Plugins, ReadFault};
use scaigrid_outbound::Refusal;
use scaigrid_persistence::{
    Error as DatabaseError, Revised, Transaction, audit, plugins, tenants, workspace_plugins,
};
use scaigrid_scope::{Authorized, Principal, TenantScope, perm};
use scaigrid_workspace::plugin::shipped_as;
use serde_json::{Value, json};
use url::Url;

use crate::cores::MODULE;
use crate::page::{Cursor, Page, PageRequest};
use crate::transaction::{Expected, check_expected, ended, written};
use crate::{App, Error, FieldError, Resource};

/// A registration, and its revision.
pub type Registered = Revised<Registration>;

/// How many plugins a tenant may register.
pub const PLUGINS_AT_MOST: u32 = 200;

/// A plugin as it is asked for.
#[derive(Debug, Clone)]
pub struct NewPlugin {
    /// What Cores call it by.
    pub plugin: PluginName,
    /// How it is spoken to.
    pub kind: PluginKind,
    /// Where it is.
    pub endpoint: Endpoint,
    /// What it is shown, as it was written.
    pub credentials: Option<Value>,
    /// What it offers, as it was written; for plugins that do not tell it themselves.
    pub manifest: Option<Value>,
}

/// What shall be different about a plugin; `None` keeps what is there.
#[derive(Debug, Clone, Default)]
pub struct PluginChanges {
    /// Where it is.
    pub endpoint: Option<Endpoint>,
    /// What it is shown, as it was written; `Some(None)` is nothing.
    pub credentials: Option<Option<Value>>,
    /// What it offers, as it was written.
    pub manifest: Option<Value>,
}

impl From<Vec<FieldProblem>> for Error {
    fn from(problems: Vec<FieldProblem>) -> Self {
        Self::Invalid(
            problems.into_iter().map(|problem| FieldError::new(problem.field, problem.message)).collect(),
        )
    }
}

fn denied(refusal: Refusal) -> Error {
    Error::EgressDenied { field: "endpoint".into(), reason: refusal.to_string(), calling: false }
}

fn unread(fault: ReadFault) -> Error {
    match fault {
        ReadFault::Denied(reason) => Error::EgressDenied { field: "endpoint".into(), reason, calling: true },
        ReadFault::Unreachable(reason) => Error::PluginUnreachable { reason },
    }
}

/// A manifest that somebody gives, for a kind of plugin that does not tell it itself.
fn given(kind: PluginKind, manifest: Option<Value>) -> Result<Option<Manifest>, Error> {
    const FIELD: &str = "manifest";
    match (kind.tells_its_manifest(), manifest) {
        (true, Some(_)) => {
            Err(Error::invalid(FIELD, format!("is read from the endpoint of a plugin of kind {kind}")))
        }
        (_, None) => Ok(None),
        (false, Some(manifest)) => {
            let manifest = Manifest::parse(manifest, FIELD)?;
            Plugins::check_manifest(&manifest, FIELD)?;
            let segments = manifest.methods().iter().position(|method| !method.name.is_segment());
            if let Some(position) = segments {
                let field = format!("{FIELD}.methods[{position}].name");
                return Err(Error::invalid(field, "must not hold a /: it is a segment of a path"));
            }
            Ok(Some(manifest))
        }
    }
}

impl App {
    /// The tenant's plugins, by name.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn plugins(
        &self,
        by: &Authorized<perm::CoresView>,
        page: &PageRequest,
    ) -> Result<Page<Revised<Registration>>, Error> {
        let after = page.after::<PluginName>()?;
        let mut connection = self.0.database.read().await?;
        let scope = by.tenant_scope();
        let rows = plugins::list(&mut connection, scope, after.as_ref(), page.rows(), &self.0.vault).await?;
        Ok(Page::of_rows(rows, page, |row| Cursor::new([row.value.plugin.to_string().into()])))
    }

    /// One plugin.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[boxed]
    pub async fn plugin(&self, by: &Principal, plugin: &PluginName) -> Result<Revised<Registration>, Error> {
        self.find_plugin(by.tenant_scope(), plugin).await
    }

    async fn find_plugin(
        &self,
        scope: TenantScope,
        plugin: &PluginName,
    ) -> Result<Revised<Registration>, Error> {
        let mut connection = self.0.database.read().await?;
        let found = plugins::lookup(&mut connection, scope, plugin, &self.0.vault).await?;
        found.ok_or(Error::NotFound(Resource::Plugin))
    }

    /// Registers a plugin. What it offers, as far as it tells that itself, is read now, and accepted.
    ///
    /// # Errors
    /// [`Error::EgressDenied`] when it may not be called, [`Error::PluginUnreachable`] when it does not tell what it offers,
    /// [`Error::Conflict`] when there is one of that name, [`Error::Capacity`].
    #[boxed]
    pub async fn register_plugin(
        &self,
        by: &Authorized<perm::CoresAdmin>,
        request: &RequestContext,
        new: NewPlugin,
    ) -> Result<Revised<Registration>, Error> {
        let NewPlugin { plugin, kind, endpoint, credentials, manifest } = new;
        let credentials =
            credentials.map(|written| Credentials::parse(written, "credentials", None)).transpose()?;
        let manifest = given(kind, manifest)?;
        if manifest.is_none() && !kind.tells_its_manifest() {
            return Err(Error::invalid("manifest", format!("is required for a plugin of kind {kind}")));
        }
        // Nobody is asked anything for what cannot be kept.
        let scope = by.tenant_scope();
        match self.find_plugin(scope, &plugin).await {
            Ok(_) => return Err(taken()),
            Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        // Others are waited for before the transaction, which must not wait for them.
        self.examine_endpoint(endpoint.url()).await?;
        let read = self.read_manifest(kind, &endpoint, credentials.as_ref()).await?;
        let now = self.now();
        let read_at = read.as_ref().map(|_| now);
        let accepted = read.or(manifest).ok_or_else(|| Error::invalid("manifest", "is required"))?;
        let registration = Registration {
            tenant_id: scope.tenant_id(),
            plugin,
            kind,
            endpoint,
            credentials,
            accepted,
            found: None,
            read_at,
            created_at: now,
            updated_at: now,
        };
        let mut tx = self.0.database.begin().await?;
        let added = self.add_plugin(&mut tx, by, request, &registration).await;
        ended(tx, added).await?;
        self.0.engine.plugins().changed();
        Ok(Revised { value: registration, revision: 1 })
    }

    async fn add_plugin(
        &self,
        tx: &mut Transaction,
        by: &Authorized<perm::CoresAdmin>,
        request: &RequestContext,
        registration: &Registration,
    ) -> Result<(), Error> {
        let scope = by.tenant_scope();
        // Whoever adds a plugin holds the tenant meanwhile, so that two do not both take the last place.
        tenants::lock(tx, scope).await?.ok_or(Error::NotFound(Resource::Tenant))?;
        if plugins::lookup(tx, scope, &registration.plugin, &self.0.vault).await?.is_some() {
            return Err(taken());
        }
        if plugins::count(tx, scope).await? >= i64::from(PLUGINS_AT_MOST) {
            return Err(Error::Capacity { what: "plugins".into(), limit: PLUGINS_AT_MOST.into() });
        }
        match plugins::add(tx, scope, registration, &self.0.vault).await {
            Err(DatabaseError::Duplicate(_)) => return Err(taken()),
            other => other?,
        }
        let changes = diff(&Value::Null, &registration.described(), &[]);
        self.note_plugin(tx, by, request, AuditAction::PluginCreate, &registration.plugin, changes).await
    }

    /// Changes a plugin. Where it tells what it offers and may be another one now, that is read again; what is otherwise
    /// than it was accepted waits to be accepted.
    ///
    /// # Errors
    /// As [`App::register_plugin`], [`Error::NotFound`] and [`Error::PreconditionFailed`].
    pub async fn change_plugin(
        &self,
        by: &Authorized<perm::CoresAdmin>,
        request: &RequestContext,
        plugin: &PluginName,
        expected: Expected<'_>,
        changes: PluginChanges,
    ) -> Result<Revised<Registration>, Error> {
        let before = self.find_plugin(by.tenant_scope(), plugin).await?;
        check_expected(expected, before.revision)?;
        let mut after = before.value.clone();
        let (mut was, mut secret) = (before.value.described(), false);
        if let Some(written) = changes.credentials {
            let stored = before.value.credentials.as_ref();
            let credentials = written.map(|written| Credentials::parse(written, "credentials", stored));
            after.credentials = credentials.transpose()?;
            secret = after.credentials != before.value.credentials;
        }
        if let Some(manifest) = given(after.kind, changes.manifest)? {
            after.accepted = manifest;
        }
        let moved = changes.endpoint.filter(|endpoint| *endpoint != before.value.endpoint);
        let asked = moved.is_some() || secret;
        if let Some(endpoint) = moved {
            self.examine_endpoint(endpoint.url()).await?;
            after.endpoint = endpoint;
        }
        if asked
            && let Some(found) =
                self.read_manifest(after.kind, &after.endpoint, after.credentials.as_ref()).await?
        {
            after = after.after_reading(found, self.now());
        }
        if secret {
            // The audit shows that they changed, and neither of the two.
            was["credentials"] = "old".into();
        }
        let mut is = after.described();
        if secret {
            is["credentials"] = "new".into();
        }
        self.save_plugin(by, request, AuditAction::PluginUpdate, (&before, after), (&was, &is)).await
    }

    /// Reads again what a plugin offers. What is otherwise than it was accepted waits to be accepted.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] for a plugin that does not tell what it offers; [`Error::EgressDenied`],
    /// [`Error::PluginUnreachable`].
    #[boxed]
    pub async fn refresh_plugin(
        &self,
        by: &Authorized<perm::CoresAdmin>,
        request: &RequestContext,
        plugin: &PluginName,
    ) -> Result<Revised<Registration>, Error> {
        let before = self.find_plugin(by.tenant_scope(), plugin).await?;
        let stored = &before.value;
        let read = self.read_manifest(stored.kind, &stored.endpoint, stored.credentials.as_ref()).await?;
        let Some(found) = read else {
            let text = "A plugin of kind http does not tell what it offers: its manifest is changed by PUT";
            return Err(Error::Conflict(text.to_owned()));
        };
        let after = stored.clone().after_reading(found, self.now());
        let sides = (stored.described(), after.described());
        self.save_plugin(by, request, AuditAction::PluginRefresh, (&before, after), (&sides.0, &sides.1))
            .await
    }

    /// Accepts what a plugin was last found to offer. Nothing changes where nothing waits for that.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::PreconditionFailed`] when it is not what the caller has seen.
    pub async fn accept_plugin(
        &self,
        by: &Authorized<perm::CoresAdmin>,
        request: &RequestContext,
        plugin: &PluginName,
        expected: Expected<'_>,
    ) -> Result<Revised<Registration>, Error> {
        let before = self.find_plugin(by.tenant_scope(), plugin).await?;
        check_expected(expected, before.revision)?;
        let after = before.value.clone().accepting();
        let sides = (before.value.described(), after.described());
        self.save_plugin(by, request, AuditAction::PluginAccept, (&before, after), (&sides.0, &sides.1)).await
    }

    /// Removes a plugin. Cores that mean it cannot call it any more.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn remove_plugin(
        &self,
        by: &Authorized<perm::CoresAdmin>,
        request: &RequestContext,
        plugin: &PluginName,
        expected: Expected<'_>,
    ) -> Result<(), Error> {
        let before = self.find_plugin(by.tenant_scope(), plugin).await?;
        check_expected(expected, before.revision)?;
        let mut tx = self.0.database.begin().await?;
        let removed = async {
            // Nobody enables it meanwhile.
            tenants::lock(&mut tx, by.tenant_scope()).await?.ok_or(Error::NotFound(Resource::Tenant))?;
            let deleted = plugins::delete(&mut tx, by.tenant_scope(), plugin, before.revision).await?;
            written(deleted, Resource::Plugin)?;
            // Another of this name is another one: that this one was enabled for rooms says nothing of it.
            if !shipped_as(plugin.as_str()).is_some_and(|manifest| manifest.built_in) {
                workspace_plugins::forget(&mut tx, by.tenant_scope(), plugin.as_str()).await?;
            }
            let changes = diff(&before.value.described(), &json!({}), &[]);
            self.note_plugin(&mut tx, by, request, AuditAction::PluginDelete, plugin, changes).await
        };
        let removed = removed.await;
        ended(tx, removed).await?;
        self.0.engine.plugins().changed();
        Ok(())
    }

    /// Writes a plugin that says something else than before, with the record of it.
    async fn save_plugin(
        &self,
        by: &Authorized<perm::CoresAdmin>,
        request: &RequestContext,
        action: AuditAction,
        (before, mut after): (&Revised<Registration>, Registration),
        (was, is): (&Value, &Value),
    ) -> Result<Revised<Registration>, Error> {
        if after.says_the_same_as(&before.value) {
            // That it was read is no change; when, is told to whoever asked.
            return Ok(Revised { value: after, revision: before.revision });
        }
        after.updated_at = self.now();
        let mut tx = self.0.database.begin().await?;
        let saved = async {
            let saved =
                plugins::save(&mut tx, by.tenant_scope(), &after, before.revision, &self.0.vault).await?;
            written(saved, Resource::Plugin)?;
            self.note_plugin(&mut tx, by, request, action, &after.plugin, diff(was, is, &[])).await
        };
        let saved = saved.await;
        ended(tx, saved).await?;
        self.0.engine.plugins().changed();
        Ok(Revised { value: after, revision: before.revision + 1 })
    }

    async fn note_plugin(
        &self,
        tx: &mut Transaction,
        by: &Principal,
        request: &RequestContext,
        action: AuditAction,
        plugin: &PluginName,
        changes: Changes,
    ) -> Result<(), Error> {
        let stamp = self.audit_stamp(self.now());
        let record = AuditRecord::in_tenant(stamp, by, request, action, plugin.to_string(), changes);
        Ok(audit::add(tx, &record.of_module(MODULE)).await?)
    }

    async fn examine_endpoint(&self, url: &Url) -> Result<(), Error> {
        self.0.outbound.guard().examine(url).await.map_err(denied)
    }

    /// What a plugin tells of what it offers, and that all of that may be called.
    async fn read_manifest(
        &self,
        kind: PluginKind,
        endpoint: &Endpoint,
        credentials: Option<&Credentials>,
    ) -> Result<Option<Manifest>, Error> {
        let read = self.0.engine.plugins().read(kind, endpoint, credentials).await.map_err(unread)?;
        let Some(read) = read else { return Ok(None) };
        let mut bases: Vec<&str> = read
            .methods()
            .iter()
            .filter_map(|method| method.binding.as_ref())
            .map(|binding| &*binding.base)
            .collect();
        bases.sort_unstable();
        bases.dedup();
        for base in bases {
            let base = Url::parse(base)
                .map_err(|_| Error::PluginUnreachable { reason: format!("{base} is no URL") })?;
            self.examine_endpoint(&base).await?;
        }
        Ok(Some(read))
    }
}

fn taken() -> Error {
    Error::Taken { field: "plugin", message: "There is a plugin of this name already".to_owned() }
}
