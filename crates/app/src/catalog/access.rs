//! What a tenant has enabled of the models that it may use.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_persistence::models::{ModelFilter, ModelRef, SeenModel};
use scaigrid_persistence::{Transaction, audit, models, tenants};
use scaigrid_scope::{Authorized, Instant, Level, Principal, perm};
use serde_json::json;

use super::ListedModel;
use super::models::seen;
use crate::page::{Page, PageRequest};
use crate::transaction::ended;
use crate::workspace::ai_config;
use crate::{App, Error, Resource};

impl App {
    /// The models that the tenant may use, enabled or not, by slug.
    #[boxed]
    pub async fn model_access(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        page: &PageRequest,
    ) -> Result<Page<ListedModel>, Error> {
        let filter = ModelFilter { not_enabled_too: true, ..ModelFilter::default() };
        self.models_at(caller, caller.tenant_scope().into(), &filter, page).await
    }

    /// Enables a model in the tenant, or disables it. One that is so already changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one that the tenant may not use, [`Error::Conflict`] where its default would be disabled.
    #[boxed]
    pub async fn set_model_access(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        request: &RequestContext,
        which: &ModelRef,
        enabled: bool,
    ) -> Result<ListedModel, Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        let mut tx = self.0.database.begin().await?;
        let after = async {
            // One at a time in a tenant, so that each record tells what was.
            tenants::lock(&mut tx, scope).await?.ok_or(Error::NotFound(Resource::Tenant))?;
            let mut found = seen(&mut tx, caller, scope.into(), which).await?;
            if found.enabled != enabled {
                if !enabled {
                    ai_config::check_disabling(&mut tx, scope, &found.model.slug).await?;
                }
                self.say_access(&mut tx, caller, request, &mut found, enabled, now).await?;
            }
            let level = Level::Tenant(scope.tenant_id());
            let listed = self.fill_in(&mut tx, level, vec![found]).await?;
            listed.into_iter().next().ok_or(Error::NotFound(Resource::Model))
        };
        let after = after.await;
        let after = ended(tx, after).await?;
        self.catalog_changed();
        Ok(after)
    }

    /// Writes that a tenant, which is held, enables a model or disables it, with the record of that.
    pub(crate) async fn say_access(
        &self,
        tx: &mut Transaction,
        caller: &Principal,
        request: &RequestContext,
        found: &mut SeenModel,
        enabled: bool,
        now: Instant,
    ) -> Result<(), Error> {
        models::say(tx, caller.tenant_scope(), found.model.id, enabled, now).await?;
        let slug = found.model.slug.as_str();
        let was = json!({"model": slug, "enabled": found.enabled});
        let changes = diff(&was, &json!({"model": slug, "enabled": enabled}), &[]);
        let action = if enabled { AuditAction::ModelEnable } else { AuditAction::ModelDisable };
        let (stamp, id) = (self.audit_stamp(now), found.model.id.to_string());
        audit::add(tx, &AuditRecord::in_tenant(stamp, caller, request, action, id, changes)).await?;
        found.enabled = enabled;
        Ok(())
    }
}
