//! Backends of models.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_catalog::{
    Backend, BackendChanges, ConnectionConfig, InvalidConfig, ProviderType, UpstreamName,
};
use scaigrid_persistence::{Transaction, audit, backends};
use scaigrid_scope::{AuthorizedAtLevel, BackendId, Name, perm};
use serde_json::{Map, Value, json};

use crate::page::{Cursor, Page, PageRequest};
use crate::transaction::{Expected, check_expected, ended};
use crate::{App, Error, Resource};

/// A backend as it is asked for.
#[derive(Debug, Clone)]
pub struct NewBackend {
    /// What people call it.
    pub name: Name,
    /// How it is spoken to.
    pub provider_type: ProviderType,
    /// What the model is called there.
    pub model: UpstreamName,
    /// How it is reached, as it was written.
    pub config: Map<String, Value>,
}

fn wrong(error: InvalidConfig) -> Error {
    Error::invalid(error.field, error.message)
}

/// A backend as the audit log tells of it.
pub(super) fn state(backend: &Backend) -> Value {
    json!({
        "name": backend.name.as_str(),
        "provider_type": backend.config.provider_type().as_str(),
        "model": backend.model.as_str(),
        "connection_config": backend.config.shown(),
    })
}

/// Whether a backend is changed here: what a published Core stands behind is changed with the Core.
fn is_no_core(backend: &Backend) -> Result<(), Error> {
    match backend.config {
        ConnectionConfig::ScaiCore(_) => {
            Err(Error::Conflict("The backend is a published Core; unpublish the Core instead".to_owned()))
        }
        ConnectionConfig::OpenAi(_) | ConnectionConfig::Echo(_) => Ok(()),
    }
}

impl App {
    /// Whether a backend may be kept: what it names may be called.
    async fn may_be_called(&self, config: &ConnectionConfig) -> Result<(), Error> {
        let ConnectionConfig::OpenAi(config) = config else { return Ok(()) };
        self.0.outbound.guard().examine(&config.base_url).await.map_err(|refusal| Error::EgressDenied {
            field: "connection_config.base_url".into(),
            reason: refusal.to_string(),
            calling: false,
        })
    }

    /// The backends of the caller's level, newest first.
    #[boxed]
    pub async fn backends(
        &self,
        caller: &AuthorizedAtLevel<perm::ModelsManage>,
        page: &PageRequest,
    ) -> Result<Page<Backend>, Error> {
        let mut connection = self.0.database.read().await?;
        let (level, vault) = (caller.level_scope(), &self.0.vault);
        let rows = backends::list(&mut connection, level, page.after()?, page.rows(), vault).await?;
        Ok(Page::of_rows(rows, page, |backend| Cursor::new([backend.id.to_string().into()])))
    }

    /// A backend of the caller's level.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[boxed]
    pub async fn backend(
        &self,
        caller: &AuthorizedAtLevel<perm::ModelsManage>,
        id: BackendId,
    ) -> Result<Backend, Error> {
        let mut connection = self.0.database.read().await?;
        let found = backends::lookup(&mut connection, caller.level_scope(), id, &self.0.vault).await?;
        found.ok_or(Error::NotFound(Resource::Backend))
    }

    /// How many of some backends are asked at present: 1 or 0.
    pub fn is_backend_active(&self, id: BackendId) -> bool {
        self.0.engine.models().active([id]) == 1
    }

    /// Makes a backend at the caller's level.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a configuration that cannot be one, [`Error::EgressDenied`] for a place that may not be called.
    #[boxed]
    pub async fn create_backend(
        &self,
        caller: &AuthorizedAtLevel<perm::ModelsManage>,
        request: &RequestContext,
        new: NewBackend,
    ) -> Result<Backend, Error> {
        if new.provider_type == ProviderType::ScaiCore {
            let message = "scaicore cannot be made by hand: publish a Core";
            return Err(Error::invalid("provider_type", message));
        }
        let config = ConnectionConfig::read(new.provider_type, &new.config, None).map_err(wrong)?;
        self.may_be_called(&config).await?;
        let now = self.now();
        let backend = Backend {
            id: BackendId::from_ulid(self.0.ids.draw(now)),
            owner: caller.level(),
            name: new.name,
            model: new.model,
            config,
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        let mut tx = self.0.database.begin().await?;
        let added = async {
            backends::add(&mut tx, caller.level_scope(), &backend, &self.0.vault, now).await?;
            let changes = diff(&Value::Null, &state(&backend), &[]);
            let (stamp, action) = (self.audit_stamp(now), AuditAction::BackendCreate);
            let id = backend.id.to_string();
            audit::add(&mut tx, &AuditRecord::at_level(stamp, caller, request, action, id, changes)).await?;
            Ok(())
        };
        let added = added.await;
        ended(tx, added).await?;
        Ok(backend)
    }

    /// Changes a backend of the caller's level. Calls that have begun go on as they were.
    ///
    /// # Errors
    /// As [`App::create_backend`], [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn update_backend(
        &self,
        caller: &AuthorizedAtLevel<perm::ModelsManage>,
        request: &RequestContext,
        id: BackendId,
        expected: Expected<'_>,
        changes: BackendChanges,
    ) -> Result<Backend, Error> {
        // Before the transaction: a name may take long to be resolved.
        let seen = self.backend(caller, id).await?;
        is_no_core(&seen)?;
        let wanted = changes.clone().applied_to(seen.clone()).map_err(wrong)?;
        if wanted.config != seen.config {
            self.may_be_called(&wanted.config).await?;
        }
        let mut tx = self.0.database.begin().await?;
        let after = self.change_backend(&mut tx, caller, request, id, expected, changes).await;
        let after = ended(tx, after).await?;
        self.catalog_changed();
        Ok(after)
    }

    async fn change_backend(
        &self,
        tx: &mut Transaction,
        caller: &AuthorizedAtLevel<perm::ModelsManage>,
        request: &RequestContext,
        id: BackendId,
        expected: Expected<'_>,
        changes: BackendChanges,
    ) -> Result<Backend, Error> {
        let (now, level, vault) = (self.now(), caller.level_scope(), &self.0.vault);
        let before = backends::lock(tx, level, id, vault).await?;
        let before = before.ok_or(Error::NotFound(Resource::Backend))?;
        check_expected(expected, before.revision)?;
        let mut after = changes.applied_to(before.clone()).map_err(wrong)?;
        if after == before {
            return Ok(before);
        }
        (after.revision, after.updated_at) = (before.revision + 1, now);
        backends::save(tx, level, &after, vault, now).await?;
        let (mut was, mut is) = (state(&before), state(&after));
        if was == is {
            // Only a secret is another one.
            (was["secrets"], is["secrets"]) = ("before".into(), "after".into());
        }
        let changes = diff(&was, &is, &["/secrets"]);
        let (stamp, action) = (self.audit_stamp(now), AuditAction::BackendUpdate);
        let record = AuditRecord::at_level(stamp, caller, request, action, id.to_string(), changes);
        audit::add(tx, &record).await?;
        Ok(after)
    }

    /// Removes a backend of the caller's level, and takes it from its models.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn delete_backend(
        &self,
        caller: &AuthorizedAtLevel<perm::ModelsManage>,
        request: &RequestContext,
        id: BackendId,
        expected: Expected<'_>,
    ) -> Result<(), Error> {
        let mut tx = self.0.database.begin().await?;
        let gone = async {
            let level = caller.level_scope();
            let before = backends::lock(&mut tx, level, id, &self.0.vault).await?;
            let before = before.ok_or(Error::NotFound(Resource::Backend))?;
            is_no_core(&before)?;
            check_expected(expected, before.revision)?;
            backends::remove(&mut tx, level, id).await?;
            let changes = diff(&state(&before), &Value::Null, &[]);
            let (stamp, action) = (self.audit_stamp(self.now()), AuditAction::BackendDelete);
            let record = AuditRecord::at_level(stamp, caller, request, action, id.to_string(), changes);
            audit::add(&mut tx, &record).await?;
            Ok(())
        };
        let gone = gone.await;
        ended(tx, gone).await?;
        self.catalog_changed();
        Ok(())
    }
}
