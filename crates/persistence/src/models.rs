//! Models of the catalogue, which backends they have, and what tenants say of them.
//!
//! Which of them a level sees is the domain's to say ([`scaigrid_catalog::visibility`]); lists say the same in SQL, and a
//! test compares the two.

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use diesel::dsl::{exists, not};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_catalog::visibility::{self, Shown, Viewer};
use scaigrid_catalog::{
    Backend, Capabilities, Mapping, Modality, Model, ModelSlug, ModelStatus, Parameters, Priority, Weight,
};
use scaigrid_scope::{Instant, Level, LevelScope, ModelId, PartnerId, TenantScope};
use serde_json::{Map, Value};

use crate::backends::{self as backend_rows, BackendRow};
use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::json::storable;
use crate::module_settings::{level_at, place};
use crate::schema::{backends, model_backends, model_group_members, model_groups, models, tenant_models};
use crate::sealing::Vault;

const TABLE: &str = "models";
const GLOBAL: &str = "global";
const GIVEN: &str = "given";
const ENABLED: &str = "enabled";
const DISABLED: &str = "disabled";

#[derive(Debug, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = models)]
#[diesel(treat_none_as_default_value = false)]
#[diesel(treat_none_as_null = true)]
struct ModelRow {
    id: String,
    level: String,
    scope_id: String,
    slug: String,
    display_name: String,
    description: Option<String>,
    modality: String,
    context_window: Option<i64>,
    max_output_tokens: Option<i64>,
    input_price: Option<String>,
    output_price: Option<String>,
    default_params: Value,
    capabilities: Value,
    status: String,
    reach: String,
    default_state: String,
    revision: i64,
    created_at: Stamp,
    updated_at: Stamp,
    avatar_url: Option<String>,
}

fn state(enabled: bool) -> &'static str {
    if enabled { ENABLED } else { DISABLED }
}

fn enabled(table: &'static str, id: &str, text: &str) -> Result<bool> {
    match text {
        ENABLED => Ok(true),
        DISABLED => Ok(false),
        _ => Err(Error::inconsistent(table, "state", id, "there is no such state")),
    }
}

impl ModelRow {
    fn of(scope: LevelScope, model: &Model) -> Self {
        let (level, scope_id) = place(scope.level());
        Self {
            id: model.id.to_string(),
            level: level.to_owned(),
            scope_id,
            slug: model.slug.to_string(),
            display_name: model.display_name.to_string(),
            description: model.description.as_ref().map(ToString::to_string),
            modality: model.modality.to_string(),
            context_window: model.context_window.map(i64::from),
            max_output_tokens: model.max_output_tokens.map(i64::from),
            input_price: model.input_price.map(|price| price.to_string()),
            output_price: model.output_price.map(|price| price.to_string()),
            default_params: storable(model.default_params.as_map().clone().into()),
            capabilities: storable(model.capabilities.as_map().clone().into()),
            status: model.status.to_string(),
            reach: if model.global { GLOBAL } else { GIVEN }.to_owned(),
            default_state: state(model.default_enabled).to_owned(),
            revision: model.revision,
            created_at: model.created_at.into(),
            updated_at: model.updated_at.into(),
            avatar_url: model.avatar_url.clone(),
        }
    }
}

fn object(id: &str, column: &'static str, value: Value) -> Result<Map<String, Value>> {
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(Error::inconsistent(TABLE, column, id, "it is no object")),
    }
}

impl TryFrom<ModelRow> for Model {
    type Error = Error;

    fn try_from(row: ModelRow) -> Result<Self> {
        let id = row.id.as_str();
        let count = |name, number: Option<i64>| {
            let number = number.map(u32::try_from).transpose();
            number.map_err(|_| Error::inconsistent(TABLE, name, id, "it is no such number"))
        };
        let price = |name, text: Option<String>| text.map(|text| column(TABLE, name, id, &text)).transpose();
        let impossible =
            |name: &'static str, error: &dyn std::fmt::Display| Error::inconsistent(TABLE, name, id, error);
        Ok(Self {
            id: column(TABLE, "id", id, id)?,
            owner: level_at(TABLE, id, &row.level, &row.scope_id)?,
            slug: column(TABLE, "slug", id, &row.slug)?,
            display_name: column(TABLE, "display_name", id, &row.display_name)?,
            description: row
                .description
                .as_deref()
                .map(|text| column(TABLE, "description", id, text))
                .transpose()?,
            modality: column(TABLE, "modality", id, &row.modality)?,
            context_window: count("context_window", row.context_window)?,
            max_output_tokens: count("max_output_tokens", row.max_output_tokens)?,
            input_price: price("input_price", row.input_price)?,
            output_price: price("output_price", row.output_price)?,
            default_params: Parameters::new(object(id, "default_params", row.default_params)?)
                .map_err(|error| impossible("default_params", &error))?,
            capabilities: Capabilities::new(object(id, "capabilities", row.capabilities)?)
                .map_err(|error| impossible("capabilities", &error))?,
            status: column(TABLE, "status", id, &row.status)?,
            global: row.reach == GLOBAL,
            default_enabled: enabled(TABLE, id, &row.default_state)?,
            revision: row.revision,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
            avatar_url: row.avatar_url,
        })
    }
}

/// What a model is asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelRef {
    /// Its identifier.
    Id(ModelId),
    /// Its slug.
    Slug(ModelSlug),
}

/// A model as a level sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenModel {
    /// The model.
    pub model: Model,
    /// Whether the tenant has enabled it; above the tenants, whether it is enabled where one has not said otherwise.
    pub enabled: bool,
}

/// Which models a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelFilter {
    /// For this.
    pub modality: Option<Modality>,
    /// In this status.
    pub status: Option<ModelStatus>,
    /// In a tenant also those that it may enable, and has not.
    pub not_enabled_too: bool,
}

fn viewer(scope: LevelScope, its_partner: PartnerId) -> Option<Viewer> {
    match scope {
        LevelScope::Tenant(scope) => Some(Viewer { tenant: scope.tenant_id(), partner: its_partner }),
        LevelScope::Platform(_) | LevelScope::Partner(_) => None,
    }
}

fn seen(
    model: Model,
    groups: &[Level],
    said: Option<bool>,
    scope: LevelScope,
    its_partner: PartnerId,
) -> Option<SeenModel> {
    let (owner, global, default_enabled) = (model.owner, model.global, model.default_enabled);
    let shown = Shown { owner, global, default_enabled, groups, said };
    let available = match (scope, viewer(scope, its_partner)) {
        (LevelScope::Partner(scope), _) => visibility::is_available_to_partner(&shown, scope.partner_id()),
        (_, Some(viewer)) => visibility::is_available(&shown, viewer),
        _ => true,
    };
    let enabled =
        viewer(scope, its_partner).map_or(default_enabled, |viewer| visibility::is_enabled(&shown, viewer));
    available.then_some(SeenModel { model, enabled })
}

async fn groups_of(c: &mut Connection, model: ModelId) -> Result<Vec<Level>> {
    let query = model_group_members::table
        .inner_join(model_groups::table.on(model_groups::id.eq(model_group_members::group_id)))
        .filter(model_group_members::model_id.eq(model.to_string()))
        .select((model_groups::id, model_groups::level, model_groups::scope_id))
        .distinct();
    let found: Vec<(String, String, String)> = with!(c, c => query.load(c).await)?;
    found.iter().map(|(id, level, scope)| level_at("model_groups", id, level, scope)).collect()
}

async fn said(c: &mut Connection, scope: LevelScope, model: ModelId) -> Result<Option<bool>> {
    let LevelScope::Tenant(scope) = scope else { return Ok(None) };
    let query = tenant_models::table
        .find((scope.tenant_id().to_string(), model.to_string()))
        .select(tenant_models::state);
    let found: Option<String> = with!(c, c => query.get_result(c).await.optional())?;
    found.map(|text| enabled("tenant_models", &model.to_string(), &text)).transpose()
}

/// A model that a level sees: in a tenant, one that it has enabled or may enable.
#[boxed]
pub async fn lookup(
    c: &mut Connection,
    scope: LevelScope,
    its_partner: PartnerId,
    which: &ModelRef,
) -> Result<Option<SeenModel>> {
    macro_rules! query {
        () => {{
            let query = models::table.select(ModelRow::as_select()).into_boxed();
            match which {
                ModelRef::Id(id) => query.filter(models::id.eq(id.to_string())),
                ModelRef::Slug(slug) => query.filter(models::slug.eq(slug.to_string())),
            }
        }};
    }
    let row: Option<ModelRow> = with!(c, c => query!().get_result(c).await.optional())?;
    let Some(row) = row else { return Ok(None) };
    let model = Model::try_from(row)?;
    let groups = groups_of(c, model.id).await?;
    let said = said(c, scope, model.id).await?;
    Ok(seen(model, &groups, said, scope, its_partner))
}

/// Whether any level has a model of a slug.
#[boxed]
pub async fn is_taken(c: &mut Connection, slug: &ModelSlug) -> Result<bool> {
    let query = models::table.filter(models::slug.eq(slug.to_string())).select(models::id);
    let found: Option<String> = with!(c, c => query.get_result(c).await.optional())?;
    Ok(found.is_some())
}

/// The pictures of some models, of those that have one, by slug: for what already names the models.
#[boxed]
pub async fn avatars(c: &mut Connection, slugs: &[ModelSlug]) -> Result<BTreeMap<ModelSlug, String>> {
    if slugs.is_empty() {
        return Ok(BTreeMap::new());
    }
    let slugs: Vec<String> = slugs.iter().map(ToString::to_string).collect();
    let query = models::table
        .filter(models::slug.eq_any(slugs))
        .filter(models::avatar_url.is_not_null())
        .select((models::slug, models::avatar_url.assume_not_null()));
    let found: Vec<(String, String)> = with!(c, c => query.load(c).await)?;
    found.into_iter().map(|(slug, url)| Ok((column(TABLE, "slug", &slug, &slug)?, url))).collect()
}

/// The models that a level sees, by slug, after the one that the last page ended with; the whole platform sees all.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: LevelScope,
    its_partner: PartnerId,
    filter: &ModelFilter,
    after: Option<&ModelSlug>,
    rows: i64,
) -> Result<Vec<SeenModel>> {
    // The levels that bear on the one that asks. An id tells its level by its prefix.
    let above: Vec<Level> = match scope {
        LevelScope::Platform(_) => vec![],
        LevelScope::Partner(own) => vec![Level::Platform, Level::Partner(own.partner_id())],
        LevelScope::Tenant(own) => {
            vec![Level::Platform, Level::Partner(its_partner), Level::Tenant(own.tenant_id())]
        }
    };
    let (levels, ids): (Vec<&str>, Vec<String>) = above.iter().copied().map(place).unzip();
    let tenant = match scope {
        LevelScope::Tenant(own) => Some(own.tenant_id().to_string()),
        _ => None,
    };
    macro_rules! query {
        () => {{
            let mut query =
                models::table.order(models::slug).limit(rows).select(ModelRow::as_select()).into_boxed();
            if !matches!(scope, LevelScope::Platform(_)) {
                let in_group = exists(
                    model_group_members::table
                        .inner_join(
                            model_groups::table.on(model_groups::id.eq(model_group_members::group_id)),
                        )
                        .filter(model_group_members::model_id.eq(models::id))
                        .filter(model_groups::level.eq_any(levels.clone()))
                        .filter(model_groups::scope_id.eq_any(ids.clone())),
                );
                let owned = models::level
                    .ne("platform")
                    .and(models::level.eq_any(levels.clone()))
                    .and(models::scope_id.eq_any(ids.clone()));
                query = query.filter(models::reach.eq(GLOBAL).or(owned).or(in_group));
            }
            if let Some(tenant) = tenant.clone().filter(|_| !filter.not_enabled_too) {
                let word = tenant_models::table
                    .filter(tenant_models::model_id.eq(models::id))
                    .filter(tenant_models::tenant_id.eq(tenant.clone()));
                let own = models::level.eq("tenant").and(models::scope_id.eq(tenant));
                query = query.filter(
                    exists(word.clone().filter(tenant_models::state.eq(ENABLED)))
                        .or(not(exists(word)).and(models::default_state.eq(ENABLED).or(own))),
                );
            }
            if let Some(modality) = filter.modality {
                query = query.filter(models::modality.eq(modality.as_str()));
            }
            if let Some(status) = filter.status {
                query = query.filter(models::status.eq(status.as_str()));
            }
            if let Some(after) = after {
                query = query.filter(models::slug.gt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<ModelRow> = with!(c, c => query!().load(c).await)?;
    let words = match scope {
        LevelScope::Tenant(own) => {
            let ids: Vec<String> = found.iter().map(|row| row.id.clone()).collect();
            let query = tenant_models::table
                .filter(tenant_models::tenant_id.eq(own.tenant_id().to_string()))
                .filter(tenant_models::model_id.eq_any(ids))
                .select((tenant_models::model_id, tenant_models::state));
            let words: Vec<(String, String)> = with!(c, c => query.load(c).await)?;
            words.into_iter().collect()
        }
        _ => BTreeMap::new(),
    };
    let each = found.into_iter().map(|row| {
        let word = words.get(&row.id).map(|text| enabled("tenant_models", &row.id, text)).transpose()?;
        let model = Model::try_from(row)?;
        let own = tenant.is_some() && model.owner == scope.level();
        let enabled = word.unwrap_or(model.default_enabled || own);
        Ok(SeenModel { model, enabled })
    });
    each.collect()
}

fn mapping(model: &str, backend: &str, priority: i32, weight: i32) -> Result<Mapping> {
    let impossible = |name| Error::inconsistent("model_backends", name, model, "it is no such number");
    Ok(Mapping {
        backend_id: column("model_backends", "backend_id", model, backend)?,
        priority: Priority::new(priority.into()).ok_or_else(|| impossible("priority"))?,
        weight: Weight::new(weight.into()).ok_or_else(|| impossible("weight"))?,
    })
}

/// The backends of some models that the caller sees, by priority.
#[boxed]
pub async fn mappings(c: &mut Connection, ids: &[ModelId]) -> Result<BTreeMap<ModelId, Vec<Mapping>>> {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let query = model_backends::table
        .filter(model_backends::model_id.eq_any(ids))
        .order((model_backends::model_id, model_backends::priority, model_backends::backend_id))
        .select((
            model_backends::model_id,
            model_backends::backend_id,
            model_backends::priority,
            model_backends::weight,
        ));
    let found: Vec<(String, String, i32, i32)> = with!(c, c => query.load(c).await)?;
    let mut all: BTreeMap<ModelId, Vec<Mapping>> = BTreeMap::new();
    for (model, backend, priority, weight) in found {
        let id = column("model_backends", "model_id", &model, &model)?;
        all.entry(id).or_default().push(mapping(&model, &backend, priority, weight)?);
    }
    Ok(all)
}

/// A model that answers a tenant's callers, and what answers for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// The model.
    pub model: Model,
    /// Its backends.
    pub backends: Vec<(Mapping, Backend)>,
}

/// The model that a tenant's callers mean by a slug, if they see it.
#[boxed]
pub async fn route(
    c: &mut Connection,
    scope: TenantScope,
    its_partner: PartnerId,
    slug: &ModelSlug,
    vault: &Vault,
) -> Result<Option<Route>> {
    let found = lookup(c, scope.into(), its_partner, &ModelRef::Slug(slug.clone())).await?;
    let Some(SeenModel { model, enabled: true }) = found else { return Ok(None) };
    let query = model_backends::table
        .inner_join(backends::table.on(backends::id.eq(model_backends::backend_id)))
        .filter(model_backends::model_id.eq(model.id.to_string()));
    let rows: Vec<(i32, i32, BackendRow)> = with!(c, c => query
        .select((model_backends::priority, model_backends::weight, BackendRow::as_select()))
        .load(c)
        .await)?;
    let id = model.id.to_string();
    let mut found = Vec::with_capacity(rows.len());
    for (priority, weight, row) in rows {
        let backend = backend_rows::read(c, row, vault).await?;
        found.push((mapping(&id, &backend.id.to_string(), priority, weight)?, backend));
    }
    Ok(Some(Route { model, backends: found }))
}

/// Adds a model at a level.
///
/// # Errors
/// [`Error::Duplicate`] when the slug is taken; the transaction is of no use then.
#[boxed]
pub async fn add(tx: &mut Transaction, scope: LevelScope, model: &Model) -> Result<()> {
    let insert = diesel::insert_into(models::table).values(ModelRow::of(scope, model));
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// A model of a level, held until the transaction ends.
#[boxed]
pub async fn lock(tx: &mut Transaction, scope: LevelScope, id: ModelId) -> Result<Option<Model>> {
    let (level, owner) = place(scope.level());
    let update = diesel::update(models::table.find(id.to_string()))
        .filter(models::level.eq(level).and(models::scope_id.eq(owner)))
        .set(models::revision.eq(models::revision));
    let row = with!(tx, c => update.returning(ModelRow::as_returning()).get_result(c).await.optional())?;
    row.map(Model::try_from).transpose()
}

/// Writes a model that is held, its revision included.
#[boxed]
pub async fn save(tx: &mut Transaction, scope: LevelScope, model: &Model) -> Result<()> {
    let row = ModelRow::of(scope, model);
    let update = diesel::update(models::table.find(model.id.to_string()))
        .filter(models::level.eq(row.level.clone()).and(models::scope_id.eq(row.scope_id.clone())))
        .set(row);
    with!(tx, c => update.execute(c).await)?;
    Ok(())
}

/// Gives a model that is held these backends, and no others.
#[boxed]
pub async fn set_mappings(tx: &mut Transaction, id: ModelId, mappings: &[Mapping]) -> Result<()> {
    let before = diesel::delete(model_backends::table.filter(model_backends::model_id.eq(id.to_string())));
    with!(tx, c => before.execute(c).await)?;
    for mapping in mappings {
        let insert = diesel::insert_into(model_backends::table).values((
            model_backends::model_id.eq(id.to_string()),
            model_backends::backend_id.eq(mapping.backend_id.to_string()),
            model_backends::priority.eq(i32::from(mapping.priority.get())),
            model_backends::weight.eq(i32::from(mapping.weight.get())),
        ));
        with!(tx, c => insert.execute(c).await)?;
    }
    Ok(())
}

/// Removes a model that is held and has no backends, takes it out of its groups, and forgets what tenants have said of it.
#[boxed]
pub async fn remove(tx: &mut Transaction, scope: LevelScope, id: ModelId) -> Result<bool> {
    let (level, owner) = place(scope.level());
    let members =
        diesel::delete(model_group_members::table.filter(model_group_members::model_id.eq(id.to_string())));
    with!(tx, c => members.execute(c).await)?;
    let words = diesel::delete(tenant_models::table.filter(tenant_models::model_id.eq(id.to_string())));
    with!(tx, c => words.execute(c).await)?;
    let model = diesel::delete(models::table.find(id.to_string()))
        .filter(models::level.eq(level).and(models::scope_id.eq(owner)));
    Ok(with!(tx, c => model.execute(c).await)? > 0)
}

/// Says for a tenant whether a model is enabled.
#[boxed]
pub async fn say(
    tx: &mut Transaction,
    scope: TenantScope,
    id: ModelId,
    is_enabled: bool,
    at: Instant,
) -> Result<()> {
    let row = (
        tenant_models::tenant_id.eq(scope.tenant_id().to_string()),
        tenant_models::model_id.eq(id.to_string()),
        tenant_models::state.eq(state(is_enabled)),
        tenant_models::changed_at.eq(Stamp(at)),
    );
    let insert = diesel::insert_into(tenant_models::table)
        .values(row)
        .on_conflict((tenant_models::tenant_id, tenant_models::model_id))
        .do_update()
        .set((tenant_models::state.eq(state(is_enabled)), tenant_models::changed_at.eq(Stamp(at))));
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}
