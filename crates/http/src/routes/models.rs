//! Models of the catalogue, and which of them a tenant has enabled.
use scaigrid_http_macros::{delete, get, post, put};

use crate::openapi::{ServiceConfig, kinds};
use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::catalog::{self, ListedModel, ModelEdits, ModelFilter};
use scaigrid_catalog::{
    Capabilities, Mapping, Modality, ModelChanges, ModelStatus, Parameters, Price, Priority, Weight,
};
use scaigrid_scope::{Description, Instant, Level, perm};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::given::{Conflict, Problems, given, nullable};
use crate::auth::{Allowed, AllowedAtLevel};
use crate::body::{AsObject, Body};
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Listed, NoContent, PageOf, Reply};
use crate::error::Error;
use crate::filters::Filters;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathModel;
use crate::request::Origin;

/// A backend of a model.
#[derive(Debug, Clone, Serialize, Deserialize, Validate, ToSchema)]
struct ModelBackend {
    #[schema(value_type = kinds::BackendId)]
    backend_id: String,
    /// The lowest is asked first, from 0 to 1000; left out, 100.
    #[schema(minimum = 0, maximum = 1000)]
    priority: Option<i64>,
    /// How often it is asked before others of the same priority, from 1 to 1000; left out, 1.
    #[schema(minimum = 1, maximum = 1000)]
    weight: Option<i64>,
}

/// A model as it is asked for.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"slug": "openai/gpt-4o", "display_name": "GPT-4o", "modality": "chat", "context_window": 128_000,
    "input_price_per_mtok": "2.50", "output_price_per_mtok": "10.00",
    "backends": [{"backend_id": "be_01JZ8QZ5T0000000000000000A", "priority": 1}]}))]
struct NewModel {
    /// What callers name it by. At a partner's level it begins with `partner/{slug}/`, in a tenant with `tenant/{slug}/`.
    #[schema(value_type = kinds::ModelSlug)]
    slug: String,
    #[schema(value_type = kinds::Name)]
    display_name: String,
    #[schema(value_type = Option<kinds::Description>)]
    description: Option<String>,
    /// `chat`, `embedding`, `image` or `audio`.
    #[schema(value_type = kinds::Modality)]
    modality: String,
    /// How many tokens it reads and writes in one call.
    #[validate(range(min = 1, max = 1_000_000_000))]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    context_window: Option<u32>,
    /// How many it writes at most.
    #[validate(range(min = 1, max = 1_000_000_000))]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    max_output_tokens: Option<u32>,
    /// What a million tokens cost that it reads: a decimal number, as a text or as a number.
    #[schema(value_type = Option<kinds::Price>)]
    input_price_per_mtok: Option<Value>,
    /// What a million tokens cost that it writes.
    #[schema(value_type = Option<kinds::Price>)]
    output_price_per_mtok: Option<Value>,
    /// What it is called with where the call does not say otherwise, e.g. `{"temperature": 0.2}`.
    #[schema(value_type = Option<Object>)]
    default_params: Option<Map<String, Value>>,
    /// What it can do, in a free form.
    #[schema(value_type = Option<Object>)]
    capabilities: Option<Map<String, Value>>,
    /// `active`, or `deprecated`.
    #[schema(value_type = Option<kinds::ModelStatus>)]
    status: Option<String>,
    /// Whether every tenant may enable it. At the platform's level only.
    #[serde(default)]
    global: bool,
    #[serde(default)]
    #[validate(nested)]
    #[schema(value_type = Vec<ModelBackend>, max_items = 20)]
    backends: Vec<AsObject<ModelBackend>>,
}

/// What is to be changed of a model; what is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"status": "deprecated"}))]
#[expect(clippy::option_option, reason = "left out, null and a value are three things")]
struct ModelUpdate {
    #[schema(value_type = Option<kinds::Name>)]
    display_name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<kinds::Description>)]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000_000)]
    context_window: Option<Option<u32>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000_000)]
    max_output_tokens: Option<Option<u32>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<kinds::Price>)]
    input_price_per_mtok: Option<Option<Value>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<kinds::Price>)]
    output_price_per_mtok: Option<Option<Value>>,
    /// All of them.
    #[schema(value_type = Option<Object>)]
    default_params: Option<Map<String, Value>>,
    /// All of them.
    #[schema(value_type = Option<Object>)]
    capabilities: Option<Map<String, Value>>,
    #[schema(value_type = Option<kinds::ModelStatus>)]
    status: Option<String>,
    global: Option<bool>,
    /// All of them.
    #[validate(nested)]
    #[schema(value_type = Option<Vec<ModelBackend>>, max_items = 20)]
    backends: Option<Vec<AsObject<ModelBackend>>>,
}

/// A model.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Model {
    #[schema(example = "mdl_01JZ8QZ5T0000000000000000A")]
    id: String,
    #[schema(example = "openai/gpt-4o")]
    slug: String,
    display_name: String,
    #[schema(required = true)]
    description: Option<String>,
    /// `chat`, `embedding`, `image` or `audio`.
    modality: &'static str,
    #[schema(required = true)]
    context_window: Option<u32>,
    #[schema(required = true)]
    max_output_tokens: Option<u32>,
    #[schema(required = true, example = "2.5")]
    input_price_per_mtok: Option<String>,
    #[schema(required = true, example = "10")]
    output_price_per_mtok: Option<String>,
    #[schema(value_type = Object)]
    default_params: Map<String, Value>,
    #[schema(value_type = Object)]
    capabilities: Map<String, Value>,
    /// Its picture: of a published Core, that of the Core.
    #[schema(required = true)]
    avatar_url: Option<String>,
    /// `active`, or `deprecated`.
    status: &'static str,
    /// Whether every tenant may enable it.
    global: bool,
    /// The level that it was made at: `platform`, `partner` or `tenant`.
    owner: &'static str,
    /// Whether the tenant has enabled it.
    enabled: bool,
    /// `healthy`, `degraded` or `unavailable`, as far as this node has found.
    health_status: &'static str,
    active_backend_count: usize,
    total_backend_count: usize,
    /// What answers for it; where the caller may change it.
    #[serde(skip_serializing_if = "Option::is_none")]
    backends: Option<Vec<ModelBackend>>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

/// Which models a list shows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ModelQuery {
    /// For this: `chat`, `embedding`, `image` or `audio`.
    #[param(value_type = Option<kinds::Modality>)]
    modality: Option<String>,
    /// In this status: `active` or `deprecated`.
    #[param(value_type = Option<kinds::ModelStatus>)]
    status: Option<String>,
}

impl ModelQuery {
    pub(super) fn read(&self) -> Result<ModelFilter, Error> {
        let mut problems = Problems::default();
        let filter = ModelFilter {
            modality: problems.maybe("modality", self.modality.as_deref()),
            status: problems.maybe("status", self.status.as_deref()),
            not_enabled_too: false,
        };
        problems.check()?;
        Ok(filter)
    }
}

impl Model {
    /// As one sees it who may change it, or may not.
    pub(super) fn of(listed: ListedModel, manages: bool) -> Self {
        let ListedModel { model, enabled, backends, active_backends, own } = listed;
        let health_status = match (active_backends, backends.len()) {
            (0, _) => "unavailable",
            (active, all) if active < all => "degraded",
            _ => "healthy",
        };
        let price = |price: Option<Price>| price.map(|price| price.to_string());
        let backend = |mapping: &Mapping| ModelBackend {
            backend_id: mapping.backend_id.to_string(),
            priority: Some(mapping.priority.get().into()),
            weight: Some(mapping.weight.get().into()),
        };
        Self {
            id: model.id.to_string(),
            slug: model.slug.to_string(),
            display_name: model.display_name.to_string(),
            description: model.description.as_ref().map(ToString::to_string),
            modality: model.modality.as_str(),
            context_window: model.context_window,
            max_output_tokens: model.max_output_tokens,
            input_price_per_mtok: price(model.input_price),
            output_price_per_mtok: price(model.output_price),
            default_params: model.default_params.as_map().clone(),
            capabilities: model.capabilities.as_map().clone(),
            avatar_url: model.avatar_url.clone(),
            status: model.status.as_str(),
            global: model.global,
            owner: match model.owner {
                Level::Platform => "platform",
                Level::Partner(_) => "partner",
                Level::Tenant(_) => "tenant",
            },
            enabled,
            health_status,
            active_backend_count: active_backends,
            total_backend_count: backends.len(),
            backends: (manages && own).then(|| backends.iter().map(backend).collect()),
            created_at: model.created_at,
            updated_at: model.updated_at,
        }
    }
}

fn price(problems: &mut Problems, field: &str, value: Option<&Value>) -> Option<Price> {
    match value.map(Price::of_json)? {
        Ok(price) => Some(price),
        Err(error) => {
            problems.note(field, error);
            None
        }
    }
}

fn object<T, E: std::fmt::Display>(
    problems: &mut Problems,
    field: &str,
    fields: Option<Map<String, Value>>,
    check: impl Fn(Map<String, Value>) -> Result<T, E>,
) -> Option<T> {
    match check(fields?) {
        Ok(checked) => Some(checked),
        Err(error) => {
            problems.note(field, error);
            None
        }
    }
}

fn mappings(problems: &mut Problems, backends: &[AsObject<ModelBackend>]) -> Vec<Mapping> {
    let each = backends.iter().enumerate().filter_map(|(index, given)| {
        let field = |name: &str| format!("backends[{index}].{name}");
        let backend_id = problems.read(&field("backend_id"), &given.backend_id);
        let priority = given.priority.map_or(Some(Priority::default()), Priority::new);
        if priority.is_none() {
            problems.note(&field("priority"), "must be a whole number from 0 to 1000");
        }
        let weight = given.weight.map_or(Some(Weight::default()), Weight::new);
        if weight.is_none() {
            problems.note(&field("weight"), "must be a whole number from 1 to 1000");
        }
        Some(Mapping { backend_id: backend_id?, priority: priority?, weight: weight? })
    });
    each.collect()
}

impl NewModel {
    fn read(self) -> Result<catalog::NewModel, Error> {
        let mut problems = Problems::default();
        let p = &mut problems;
        let slug = p.read("slug", &self.slug);
        let display_name = p.read("display_name", &self.display_name);
        let description = p.maybe("description", self.description.as_deref());
        let modality = p.read::<Modality>("modality", &self.modality);
        let input_price = price(p, "input_price_per_mtok", self.input_price_per_mtok.as_ref());
        let output_price = price(p, "output_price_per_mtok", self.output_price_per_mtok.as_ref());
        let default_params = object(p, "default_params", self.default_params, Parameters::new);
        let capabilities = object(p, "capabilities", self.capabilities, Capabilities::new);
        let status = p.maybe("status", self.status.as_deref()).unwrap_or(ModelStatus::Active);
        let backends = mappings(p, &self.backends);
        problems.check()?;
        let (Some(slug), Some(display_name), Some(modality)) = (slug, display_name, modality) else {
            return Err(problems.refusal());
        };
        Ok(catalog::NewModel {
            slug,
            display_name,
            description,
            modality,
            context_window: self.context_window,
            max_output_tokens: self.max_output_tokens,
            input_price,
            output_price,
            default_params: default_params.unwrap_or_default(),
            capabilities: capabilities.unwrap_or_default(),
            status,
            global: self.global,
            backends,
        })
    }
}

impl ModelUpdate {
    fn read(self) -> Result<ModelEdits, Error> {
        let mut problems = Problems::default();
        let p = &mut problems;
        let count = |p: &mut Problems, field: &str, number: Option<Option<u32>>| {
            if matches!(number, Some(Some(number)) if !(1..=1_000_000_000).contains(&number)) {
                p.note(field, "must be a whole number from 1 to 1000000000");
            }
            number
        };
        let changed_price = |p: &mut Problems, field: &str, value: Option<Option<Value>>| {
            value.map(|value| price(p, field, value.as_ref()))
        };
        let changes = ModelChanges {
            display_name: p.maybe("display_name", self.display_name.as_deref()),
            description: nullable::<Description>(p, "description", self.description.as_ref()),
            context_window: count(p, "context_window", self.context_window),
            max_output_tokens: count(p, "max_output_tokens", self.max_output_tokens),
            input_price: changed_price(p, "input_price_per_mtok", self.input_price_per_mtok),
            output_price: changed_price(p, "output_price_per_mtok", self.output_price_per_mtok),
            default_params: object(p, "default_params", self.default_params, Parameters::new),
            capabilities: object(p, "capabilities", self.capabilities, Capabilities::new),
            status: p.maybe("status", self.status.as_deref()),
            global: self.global,
        };
        let backends = self.backends.as_ref().map(|backends| mappings(p, backends));
        problems.check()?;
        Ok(ModelEdits { changes, backends })
    }
}

fn shown(listed: ListedModel, manages: bool) -> Reply<Model> {
    let revision = listed.model.revision.unsigned_abs();
    Reply::ok(Model::of(listed, manages)).with_etag(revision)
}

/// List the models that the caller sees, by slug. In a tenant those that it has enabled; see `/v1/model-access` for the
/// others.
#[utoipa::path(
    tag = "models",
    operation_id = "list_models",
    params(ModelQuery, PageParams),
    responses((status = 200, body = PageOf<Model>))
)]
#[get("/v1/models")]
async fn list_models(
    caller: AllowedAtLevel<perm::ModelsList>,
    filters: Filters<ModelQuery>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<Model>, Error> {
    let filter = filters.read()?.read()?;
    let (page, seal) = paging.read("models", &format!("{:?}", caller.level()), &Bounds::LIST)?;
    let manages = caller.principal().authorize_at_level::<perm::ModelsManage>().is_ok();
    let page = app.models(&caller, &filter, &page).await?;
    Ok(Listed::new(page.map(|listed| Model::of(listed, manages)), &seal))
}

/// Put a model into the catalogue, at the caller's level.
#[utoipa::path(
    tag = "models",
    operation_id = "create_model",
    request_body = NewModel,
    responses((status = 201, body = DataOf<Model>))
)]
#[post("/v1/models")]
async fn create_model(
    caller: AllowedAtLevel<perm::ModelsManage>,
    origin: Origin,
    body: Body<NewModel>,
    app: web::Data<App>,
) -> Result<Reply<Model>, Error> {
    let new = body.read().await?.read()?;
    let made = app.create_model(&caller, &origin.context(), new).await?;
    let revision = made.model.revision.unsigned_abs();
    let model = Model::of(made, true);
    Ok(Reply::created(format!("/v1/models/{}", model.slug), model).with_etag(revision))
}

/// Get a model. Its slug may have any number of segments; its id does, too.
#[utoipa::path(
    tag = "models",
    operation_id = "get_model",
    params(("slug" = String, Path, example = "openai/gpt-4o")),
    responses((status = 200, body = DataOf<Model>))
)]
#[get("/v1/models/{slug}")]
async fn get_model(
    caller: AllowedAtLevel<perm::ModelsList>,
    which: PathModel,
    app: web::Data<App>,
) -> Result<Reply<Model>, Error> {
    let manages = caller.principal().authorize_at_level::<perm::ModelsManage>().is_ok();
    Ok(shown(app.model(&caller, &which.0).await?, manages))
}

/// Change a model of the caller's level.
#[utoipa::path(
    tag = "models",
    operation_id = "update_model",
    params(("slug" = String, Path, example = "openai/gpt-4o")),
    request_body = ModelUpdate,
    responses((status = 200, body = DataOf<Model>))
)]
#[put("/v1/models/{slug}")]
async fn update_model(
    caller: AllowedAtLevel<perm::ModelsManage>,
    which: PathModel,
    condition: IfMatch,
    origin: Origin,
    body: Body<ModelUpdate>,
    app: web::Data<App>,
) -> Result<Reply<Model>, Error> {
    // What is not there is told before what is wrong with the body.
    app.require_own_model(&caller, &which.0).await?;
    let edits = body.read().await?.read()?;
    let (request, expected) = (origin.context(), condition.revisions());
    Ok(shown(app.update_model(&caller, &request, &which.0, expected, edits).await?, true))
}

/// Take a model of the caller's level, which has no backends any more, out of the catalogue.
#[utoipa::path(
    tag = "models",
    operation_id = "delete_model",
    params(("slug" = String, Path, example = "openai/gpt-4o"), ("If-Match" = Option<String>, Header)),
    responses((status = 204), (status = 409, response = Conflict))
)]
#[delete("/v1/models/{slug}")]
async fn delete_model(
    caller: AllowedAtLevel<perm::ModelsManage>,
    which: PathModel,
    condition: IfMatch,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    app.delete_model(&caller, &origin.context(), &which.0, condition.revisions()).await?;
    Ok(NoContent)
}

/// List the models that the tenant may use, enabled or not, by slug.
#[utoipa::path(
    tag = "models",
    operation_id = "list_model_access",
    params(PageParams),
    responses((status = 200, body = PageOf<Model>))
)]
#[get("/v1/model-access")]
async fn list_model_access(
    caller: Allowed<perm::AdminAccess>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<Model>, Error> {
    let (page, seal) = paging.read("model-access", &caller.tenant().id.to_string(), &Bounds::LIST)?;
    let page = app.model_access(&caller, &page).await?;
    Ok(Listed::new(page.map(|listed| Model::of(listed, false)), &seal))
}

/// Enable a model in the tenant.
#[utoipa::path(
    tag = "models",
    operation_id = "enable_model",
    params(("slug" = String, Path, example = "openai/gpt-4o")),
    responses((status = 200, body = DataOf<Model>))
)]
#[put("/v1/model-access/{slug}")]
async fn enable_model(
    caller: Allowed<perm::AdminAccess>,
    which: PathModel,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<Model>, Error> {
    let listed = app.set_model_access(&caller, &origin.context(), &which.0, true).await?;
    Ok(Reply::ok(Model::of(listed, false)))
}

/// Disable a model in the tenant: its callers do not see it any more. The tenant's default model cannot be disabled.
#[utoipa::path(
    tag = "models",
    operation_id = "disable_model",
    params(("slug" = String, Path, example = "openai/gpt-4o")),
    responses((status = 204), (status = 409, response = Conflict))
)]
#[delete("/v1/model-access/{slug}")]
async fn disable_model(
    caller: Allowed<perm::AdminAccess>,
    which: PathModel,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    app.set_model_access(&caller, &origin.context(), &which.0, false).await?;
    Ok(NoContent)
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list_models)
        .service(create_model)
        .service(list_model_access)
        .service(get_model)
        .service(update_model)
        .service(delete_model)
        .service(enable_model)
        .service(disable_model);
}
