//! Models of the catalogue.

use std::collections::BTreeSet;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_catalog::{
    Capabilities, InvalidSlug, Mapping, Modality, Model, ModelChanges, ModelSlug, ModelStatus, Parameters,
    Price,
};
use scaigrid_persistence::models::{ModelFilter, ModelRef, SeenModel};
use scaigrid_persistence::{self as persistence, Connection, Transaction, audit, backends, models, partners};
use scaigrid_scope::{
    Authorized, AuthorizedAtLevel, Description, Level, LevelScope, ModelId, Name, Principal, perm,
};
use serde_json::{Value, json};

use super::ListedModel;
use crate::page::{Cursor, Page, PageRequest};
use crate::transaction::{Expected, check_expected, ended};
use crate::{App, Error, FieldError, Resource};

/// How many models a list has that is not paged.
const ANSWERING: i64 = 1_000;

/// A model as it is asked for.
#[derive(Debug, Clone)]
pub struct NewModel {
    /// What callers name it by.
    pub slug: ModelSlug,
    /// What people call it.
    pub display_name: Name,
    /// What it is.
    pub description: Option<Description>,
    /// What it is for.
    pub modality: Modality,
    /// How many tokens it reads and writes in one call.
    pub context_window: Option<u32>,
    /// How many it writes at most.
    pub max_output_tokens: Option<u32>,
    /// What a million tokens cost that it reads.
    pub input_price: Option<Price>,
    /// What a million tokens cost that it writes.
    pub output_price: Option<Price>,
    /// What it is called with where the call does not say otherwise.
    pub default_params: Parameters,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Whether it is to be used.
    pub status: ModelStatus,
    /// Whether every tenant may enable it.
    pub global: bool,
    /// What answers for it.
    pub backends: Vec<Mapping>,
}

/// What is to be changed of a model; what is left out stays.
#[derive(Debug, Clone, Default)]
pub struct ModelEdits {
    /// Of the model itself.
    pub changes: ModelChanges,
    /// What answers for it, all of it.
    pub backends: Option<Vec<Mapping>>,
}

/// A model as the audit log tells of it.
pub(super) fn state(model: &Model, backends: &[Mapping]) -> Value {
    let price = |price: Option<Price>| price.map(|price| price.to_string());
    let backends: Vec<Value> = backends
        .iter()
        .map(|mapping| {
            json!({
                "backend_id": mapping.backend_id,
                "priority": mapping.priority.get(),
                "weight": mapping.weight.get(),
            })
        })
        .collect();
    json!({
        "slug": model.slug.as_str(),
        "display_name": model.display_name.as_str(),
        "description": model.description.as_ref().map(Description::as_str),
        "modality": model.modality.as_str(),
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
        "input_price_per_mtok": price(model.input_price),
        "output_price_per_mtok": price(model.output_price),
        "default_params": model.default_params.as_map(),
        "capabilities": model.capabilities.as_map(),
        "status": model.status.as_str(),
        "global": model.global,
        "backends": backends,
    })
}

/// The refusal of whoever may manage models, but not those of this level.
pub(super) fn of_another_level() -> Error {
    Error::PermissionDenied { permission: "models:manage at the level of its owner".into() }
}

/// A model that the caller sees where they act.
pub(crate) async fn seen(
    c: &mut Connection,
    caller: &Principal,
    level: LevelScope,
    which: &ModelRef,
) -> Result<SeenModel, Error> {
    let found = models::lookup(c, level, caller.tenant().partner_id, which).await?;
    found.ok_or(Error::NotFound(Resource::Model))
}

async fn held(
    tx: &mut Transaction,
    caller: &AuthorizedAtLevel<perm::ModelsManage>,
    which: &ModelRef,
) -> Result<(Model, Vec<Mapping>), Error> {
    let found = seen(tx, caller, caller.level_scope(), which).await?;
    if found.model.owner != caller.level() {
        return Err(of_another_level());
    }
    if found.model.slug.is_of_core() {
        let message = "The model is a published Core; change and sync, or unpublish, the Core instead";
        return Err(Error::Conflict(message.to_owned()));
    }
    let model = models::lock(tx, caller.level_scope(), found.model.id).await?;
    let model = model.ok_or(Error::NotFound(Resource::Model))?;
    let mut mappings = models::mappings(tx, &[model.id]).await?;
    let mappings = mappings.remove(&model.id).unwrap_or_default();
    Ok((model, mappings))
}

/// Checks that backends are there, each once, and keeps them there until the transaction ends.
async fn hold_backends(tx: &mut Transaction, level: LevelScope, wanted: &[Mapping]) -> Result<(), Error> {
    if wanted.len() > Model::MAX_BACKENDS {
        return Err(Error::invalid("backends", format!("must be at most {}", Model::MAX_BACKENDS)));
    }
    let ids: Vec<_> = wanted.iter().map(|mapping| mapping.backend_id).collect();
    let held = backends::hold(tx, level, &ids).await?;
    let mut known = BTreeSet::new();
    let mut problems = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        let problem = if !held.contains(id) {
            "is no backend here"
        } else if known.insert(*id) {
            continue;
        } else {
            "is listed twice"
        };
        problems.push(FieldError::new(format!("backends[{index}].backend_id"), problem));
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::Invalid(problems)) }
}

impl App {
    /// What of models is not in their rows.
    pub(crate) async fn fill_in(
        &self,
        c: &mut Connection,
        level: Level,
        found: Vec<SeenModel>,
    ) -> Result<Vec<ListedModel>, Error> {
        let ids: Vec<ModelId> = found.iter().map(|seen| seen.model.id).collect();
        let mut mappings = models::mappings(c, &ids).await?;
        let each = found.into_iter().map(|SeenModel { model, enabled }| {
            let backends = mappings.remove(&model.id).unwrap_or_default();
            let asked = backends.iter().map(|mapping| mapping.backend_id);
            let active_backends = self.0.engine.models().active(asked);
            let own = model.owner == level;
            ListedModel { model, enabled, backends, active_backends, own }
        });
        Ok(each.collect())
    }

    /// The models that the caller sees where they act, by slug.
    #[boxed]
    pub async fn models(
        &self,
        caller: &AuthorizedAtLevel<perm::ModelsList>,
        filter: &ModelFilter,
        page: &PageRequest,
    ) -> Result<Page<ListedModel>, Error> {
        self.models_at(caller, caller.level_scope(), filter, page).await
    }

    pub(crate) async fn models_at(
        &self,
        caller: &Principal,
        level: LevelScope,
        filter: &ModelFilter,
        page: &PageRequest,
    ) -> Result<Page<ListedModel>, Error> {
        let after = page.after::<ModelSlug>()?;
        let mut connection = self.0.database.read().await?;
        let c = &mut connection;
        let partner = caller.tenant().partner_id;
        let rows = models::list(c, level, partner, filter, after.as_ref(), page.rows()).await?;
        let page = Page::of_rows(rows, page, |seen| Cursor::new([seen.model.slug.as_str().into()]));
        let items = self.fill_in(c, level.level(), page.items).await?;
        Ok(Page { items, next: page.next })
    }

    /// A model that the caller sees where they act. In a tenant, one that is not enabled is seen by those who could enable or
    /// change it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[boxed]
    pub async fn model(
        &self,
        caller: &AuthorizedAtLevel<perm::ModelsList>,
        which: &ModelRef,
    ) -> Result<ListedModel, Error> {
        let mut connection = self.0.database.read().await?;
        let found = seen(&mut connection, caller, caller.level_scope(), which).await?;
        let decides = caller.principal().authorize_at_level::<perm::AdminAccess>().is_ok()
            || caller.principal().authorize_at_level::<perm::ModelsManage>().is_ok();
        if matches!(caller.level(), Level::Tenant(_)) && !found.enabled && !decides {
            return Err(Error::NotFound(Resource::Model));
        }
        let listed = self.fill_in(&mut connection, caller.level(), vec![found]).await?;
        listed.into_iter().next().ok_or(Error::NotFound(Resource::Model))
    }

    /// The models that answer the callers of the tenant, by slug: the first thousand.
    #[boxed]
    pub async fn answering_models(
        &self,
        caller: &Authorized<perm::ModelsList>,
    ) -> Result<Vec<ListedModel>, Error> {
        let scope = caller.tenant_scope();
        let mut connection = self.0.database.read().await?;
        let (c, filter) = (&mut connection, ModelFilter::default());
        let partner = caller.tenant().partner_id;
        let rows = models::list(c, scope.into(), partner, &filter, None, ANSWERING).await?;
        self.fill_in(c, Level::Tenant(scope.tenant_id()), rows).await
    }

    /// A model that answers the callers of the tenant.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[boxed]
    pub async fn answering_model(
        &self,
        caller: &Authorized<perm::ModelsList>,
        which: &ModelRef,
    ) -> Result<ListedModel, Error> {
        let scope = caller.tenant_scope();
        let mut connection = self.0.database.read().await?;
        let found = seen(&mut connection, caller, scope.into(), which).await?;
        if !found.enabled {
            return Err(Error::NotFound(Resource::Model));
        }
        let listed = self.fill_in(&mut connection, Level::Tenant(scope.tenant_id()), vec![found]).await?;
        listed.into_iter().next().ok_or(Error::NotFound(Resource::Model))
    }

    /// Puts a model into the catalogue, at the caller's level.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a slug that models of this level cannot have, and for backends that there are not;
    /// [`Error::SlugConflict`].
    #[boxed]
    pub async fn create_model(
        &self,
        caller: &AuthorizedAtLevel<perm::ModelsManage>,
        request: &RequestContext,
        new: NewModel,
    ) -> Result<ListedModel, Error> {
        let mut tx = self.0.database.begin().await?;
        let made = self.add_model(&mut tx, caller, request, new).await;
        let made = ended(tx, made).await?;
        self.catalog_changed();
        Ok(made)
    }

    async fn add_model(
        &self,
        tx: &mut Transaction,
        caller: &AuthorizedAtLevel<perm::ModelsManage>,
        request: &RequestContext,
        new: NewModel,
    ) -> Result<ListedModel, Error> {
        let (now, level) = (self.now(), caller.level_scope());
        let fits = match level {
            LevelScope::Platform(_) => new.slug.fits_platform(),
            LevelScope::Partner(own) => {
                let partner = partners::lookup(tx, own).await?.ok_or(Error::NotFound(Resource::Partner))?;
                new.slug.fits_partner(&partner.slug)
            }
            LevelScope::Tenant(_) => new.slug.fits_tenant(&caller.tenant().slug),
        };
        fits.map_err(|error: InvalidSlug| Error::invalid("slug", error.to_string()))?;
        check_global(level, new.global)?;
        hold_backends(tx, level, &new.backends).await?;
        let taken = || Error::slug_taken(&new.slug);
        if models::is_taken(tx, &new.slug).await? {
            return Err(taken());
        }
        let model = Model {
            id: ModelId::from_ulid(self.0.ids.draw(now)),
            owner: caller.level(),
            slug: new.slug.clone(),
            display_name: new.display_name,
            description: new.description,
            modality: new.modality,
            context_window: new.context_window,
            max_output_tokens: new.max_output_tokens,
            input_price: new.input_price,
            output_price: new.output_price,
            default_params: new.default_params,
            capabilities: new.capabilities,
            avatar_url: None,
            status: new.status,
            global: new.global,
            default_enabled: false,
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        models::add(tx, level, &model).await.map_err(|error| match error {
            persistence::Error::Duplicate(_) => taken(),
            other => other.into(),
        })?;
        models::set_mappings(tx, model.id, &new.backends).await?;
        let changes = diff(&Value::Null, &state(&model, &new.backends), &[]);
        let (stamp, action) = (self.audit_stamp(now), AuditAction::ModelCreate);
        let id = model.id.to_string();
        audit::add(tx, &AuditRecord::at_level(stamp, caller, request, action, id, changes)).await?;
        self.shown(tx, caller, model.id).await
    }

    async fn shown(
        &self,
        tx: &mut Transaction,
        caller: &AuthorizedAtLevel<perm::ModelsManage>,
        id: ModelId,
    ) -> Result<ListedModel, Error> {
        let found = seen(tx, caller, caller.level_scope(), &ModelRef::Id(id)).await?;
        let listed = self.fill_in(tx, caller.level(), vec![found]).await?;
        listed.into_iter().next().ok_or(Error::NotFound(Resource::Model))
    }

    /// Whether there is such a model that the caller may change, to be told before anything is said of what is asked of it.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::PermissionDenied`] for one of another level.
    #[boxed]
    pub async fn require_own_model(
        &self,
        caller: &AuthorizedAtLevel<perm::ModelsManage>,
        which: &ModelRef,
    ) -> Result<(), Error> {
        let mut connection = self.0.database.read().await?;
        let found = seen(&mut connection, caller, caller.level_scope(), which).await?;
        if found.model.owner == caller.level() { Ok(()) } else { Err(of_another_level()) }
    }

    /// Changes a model of the caller's level. Calls that have begun go on as they were.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PermissionDenied`] for one of another level, [`Error::PreconditionFailed`],
    /// [`Error::Invalid`] for backends that there are not.
    pub async fn update_model(
        &self,
        caller: &AuthorizedAtLevel<perm::ModelsManage>,
        request: &RequestContext,
        which: &ModelRef,
        expected: Expected<'_>,
        edits: ModelEdits,
    ) -> Result<ListedModel, Error> {
        let mut tx = self.0.database.begin().await?;
        let after = self.change_model(&mut tx, caller, request, which, expected, edits).await;
        let after = ended(tx, after).await?;
        self.catalog_changed();
        Ok(after)
    }

    async fn change_model(
        &self,
        tx: &mut Transaction,
        caller: &AuthorizedAtLevel<perm::ModelsManage>,
        request: &RequestContext,
        which: &ModelRef,
        expected: Expected<'_>,
        edits: ModelEdits,
    ) -> Result<ListedModel, Error> {
        let (now, level) = (self.now(), caller.level_scope());
        let (before, mappings) = held(tx, caller, which).await?;
        check_expected(expected, before.revision)?;
        let mut after = edits.changes.applied_to(before.clone());
        check_global(level, after.global)?;
        let mut wanted = edits.backends.unwrap_or_else(|| mappings.clone());
        wanted.sort_by_key(|mapping| (mapping.priority, mapping.backend_id));
        if after == before && wanted == mappings {
            return self.shown(tx, caller, before.id).await;
        }
        if wanted != mappings {
            hold_backends(tx, level, &wanted).await?;
            models::set_mappings(tx, before.id, &wanted).await?;
        }
        (after.revision, after.updated_at) = (before.revision + 1, now);
        models::save(tx, level, &after).await?;
        let changes = diff(&state(&before, &mappings), &state(&after, &wanted), &[]);
        let (stamp, action) = (self.audit_stamp(now), AuditAction::ModelUpdate);
        let id = after.id.to_string();
        audit::add(tx, &AuditRecord::at_level(stamp, caller, request, action, id, changes)).await?;
        self.shown(tx, caller, after.id).await
    }

    /// Takes a model of the caller's level out of the catalogue. What its calls have used stays in the accounts.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PermissionDenied`] for one of another level, [`Error::PreconditionFailed`],
    /// [`Error::Conflict`] while it has backends.
    pub async fn delete_model(
        &self,
        caller: &AuthorizedAtLevel<perm::ModelsManage>,
        request: &RequestContext,
        which: &ModelRef,
        expected: Expected<'_>,
    ) -> Result<(), Error> {
        let mut tx = self.0.database.begin().await?;
        let gone = async {
            let (before, mappings) = held(&mut tx, caller, which).await?;
            check_expected(expected, before.revision)?;
            if !mappings.is_empty() {
                let message = "The model has backends; take them from it first";
                return Err(Error::Conflict(message.to_owned()));
            }
            models::remove(&mut tx, caller.level_scope(), before.id).await?;
            let changes = diff(&state(&before, &mappings), &Value::Null, &[]);
            let (stamp, action) = (self.audit_stamp(self.now()), AuditAction::ModelDelete);
            let id = before.id.to_string();
            audit::add(&mut tx, &AuditRecord::at_level(stamp, caller, request, action, id, changes)).await?;
            Ok(())
        };
        let gone = gone.await;
        ended(tx, gone).await?;
        self.catalog_changed();
        Ok(())
    }
}

fn check_global(level: LevelScope, global: bool) -> Result<(), Error> {
    if global && !matches!(level, LevelScope::Platform(_)) {
        return Err(Error::invalid("global", "can be true at the platform's level only"));
    }
    Ok(())
}
