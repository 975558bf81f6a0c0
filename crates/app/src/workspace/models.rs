//! The catalogue as the tenant's admins see it: which models there are, which are enabled, and the AI that each has.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::RequestContext;
use scaigrid_catalog::ModelSlug;
use scaigrid_persistence::models::{ModelFilter, ModelRef};
use scaigrid_persistence::{Connection, participants};
use scaigrid_scope::{Authorized, TenantScope, perm};

use super::participants::ListedParticipant;
use crate::catalog::{ListedModel, seen};
use crate::page::{Page, PageRequest};
use crate::{App, Error, Resource};

/// A model that the tenant may use.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogEntry {
    /// The model, and whether the tenant has enabled it.
    pub listed: ListedModel,
    /// The AI that is the model's own, if one was set up.
    pub participant: Option<ListedParticipant>,
}

async fn entries(
    c: &mut Connection,
    scope: TenantScope,
    listed: Vec<ListedModel>,
) -> Result<Vec<CatalogEntry>, Error> {
    let slugs: Vec<ModelSlug> = listed.iter().map(|listed| listed.model.slug.clone()).collect();
    let mut own = participants::of_models(c, scope, &slugs).await?;
    let each = listed.into_iter().map(|listed| {
        let participant = own.remove(&listed.model.slug).map(|participant| ListedParticipant {
            participant,
            avatar_url: listed.model.avatar_url.clone(),
        });
        CatalogEntry { listed, participant }
    });
    Ok(each.collect())
}

impl App {
    /// The models that the tenant may use, enabled or not, by slug.
    #[boxed]
    pub async fn workspace_catalog(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        filter: &ModelFilter,
        page: &PageRequest,
    ) -> Result<Page<CatalogEntry>, Error> {
        let (scope, filter) = (caller.tenant_scope(), ModelFilter { not_enabled_too: true, ..*filter });
        let page = self.models_at(caller, scope.into(), &filter, page).await?;
        let mut connection = self.0.database.read().await?;
        Ok(Page { items: entries(&mut connection, scope, page.items).await?, next: page.next })
    }

    /// Whether the tenant may use a model, to be told before anything is said of what is asked of it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[boxed]
    pub async fn require_model(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        which: &ModelRef,
    ) -> Result<(), Error> {
        let mut connection = self.0.database.read().await?;
        seen(&mut connection, caller, caller.tenant_scope().into(), which).await.map(|_| ())
    }

    /// Enables a model in the tenant, or disables it. One that is so already changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one that the tenant may not use, [`Error::Conflict`] where its default would be disabled.
    #[boxed]
    pub async fn switch_model(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        request: &RequestContext,
        which: &ModelRef,
        enabled: bool,
    ) -> Result<CatalogEntry, Error> {
        let listed = self.set_model_access(caller, request, which, enabled).await?;
        let mut connection = self.0.database.read().await?;
        let entries = entries(&mut connection, caller.tenant_scope(), vec![listed]).await?;
        entries.into_iter().next().ok_or(Error::NotFound(Resource::Model))
    }
}
