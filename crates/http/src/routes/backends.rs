//! Backends of models, at the caller's level.
use scaigrid_http_macros::{delete, get, post, put};

use crate::openapi::{ServiceConfig, kinds};
use actix_web::web;
use scaigrid_app::{App, catalog};
use scaigrid_catalog::{BackendChanges, ProviderType, UpstreamName};
use scaigrid_scope::{BackendId, Instant, perm};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use validator::Validate;

use super::given::Problems;
use crate::auth::AllowedAtLevel;
use crate::body::Body;
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Listed, NoContent, PageOf, Reply};
use crate::error::Error;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;
use crate::request::Origin;

/// A backend as it is asked for.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"name": "OpenAI", "provider_type": "openai", "model": "gpt-4o",
    "connection_config": {"base_url": "https://api.openai.com/v1", "api_key": "sk-…"}}))]
struct NewBackend {
    #[schema(value_type = kinds::Name)]
    name: String,
    /// `openai`: any server that speaks as OpenAI's chat completions do. `echo`: built in, offline, always the same.
    #[schema(value_type = kinds::ProviderType)]
    provider_type: String,
    /// What the model is called there.
    #[schema(value_type = kinds::UpstreamName)]
    model: String,
    /// For `openai`: `base_url`, `api_key`, `headers`, `timeout_ms`, `max_tokens_param`; a secret may be `${env.NAME}`, one
    /// of the environment of the Core that calls. For `echo`: `script`, `chunk_chars`, `delay_ms`. Kept encrypted.
    #[schema(value_type = Object)]
    #[serde(default)]
    connection_config: Map<String, Value>,
}

/// What is to be changed of a backend; what is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"model": "gpt-4o-mini"}))]
struct BackendUpdate {
    #[schema(value_type = Option<kinds::Name>)]
    name: Option<String>,
    #[schema(value_type = Option<kinds::UpstreamName>)]
    model: Option<String>,
    /// All of it; `***` keeps a secret, for the same server.
    #[schema(value_type = Option<Object>)]
    connection_config: Option<Map<String, Value>>,
}

/// A backend. Its secrets are not shown.
#[derive(Debug, Serialize, ToSchema)]
struct Backend {
    #[schema(example = "be_01JZ8QZ5T0000000000000000A")]
    id: String,
    name: String,
    /// `openai` or `echo`.
    provider_type: &'static str,
    model: String,
    #[schema(value_type = Object)]
    connection_config: Map<String, Value>,
    /// `healthy`, or `unavailable` while it is left alone because it kept failing; as far as this node has found.
    health_status: &'static str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

/// How a backend is.
#[derive(Debug, Serialize, ToSchema)]
struct BackendHealth {
    #[schema(example = "be_01JZ8QZ5T0000000000000000A")]
    id: String,
    /// `healthy`, or `unavailable` while it is left alone because it kept failing; as far as this node has found.
    status: &'static str,
}

const fn health(active: bool) -> &'static str {
    if active { "healthy" } else { "unavailable" }
}

impl Backend {
    fn of(backend: &scaigrid_catalog::Backend, app: &App) -> Self {
        Self {
            id: backend.id.to_string(),
            name: backend.name.to_string(),
            provider_type: backend.config.provider_type().as_str(),
            model: backend.model.to_string(),
            connection_config: backend.config.shown(),
            health_status: health(app.is_backend_active(backend.id)),
            created_at: backend.created_at,
            updated_at: backend.updated_at,
        }
    }
}

fn provider(problems: &mut Problems, text: &str) -> Option<ProviderType> {
    if text == "scaicore" {
        problems.note("provider_type", "scaicore cannot be made by hand: publish a Core");
        return None;
    }
    problems.read("provider_type", text)
}

impl NewBackend {
    fn read(self) -> Result<catalog::NewBackend, Error> {
        let mut problems = Problems::default();
        let name = problems.read("name", &self.name);
        let provider_type = provider(&mut problems, &self.provider_type);
        let model = problems.read::<UpstreamName>("model", &self.model);
        problems.check()?;
        let (Some(name), Some(provider_type), Some(model)) = (name, provider_type, model) else {
            return Err(problems.refusal());
        };
        Ok(catalog::NewBackend { name, provider_type, model, config: self.connection_config })
    }
}

impl BackendUpdate {
    fn read(self) -> Result<BackendChanges, Error> {
        let mut problems = Problems::default();
        let changes = BackendChanges {
            name: problems.maybe("name", self.name.as_deref()),
            model: problems.maybe("model", self.model.as_deref()),
            config: self.connection_config,
        };
        problems.check()?;
        Ok(changes)
    }
}

fn shown(backend: &scaigrid_catalog::Backend, app: &App) -> Reply<Backend> {
    Reply::ok(Backend::of(backend, app)).with_etag(backend.revision.unsigned_abs())
}

/// List the backends of the caller's level, newest first.
#[utoipa::path(
    tag = "models",
    operation_id = "list_backends",
    params(PageParams),
    responses((status = 200, body = PageOf<Backend>))
)]
#[get("/v1/backends")]
async fn list_backends(
    caller: AllowedAtLevel<perm::ModelsManage>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<Backend>, Error> {
    let (page, seal) = paging.read("backends", &format!("{:?}", caller.level()), &Bounds::LIST)?;
    let page = app.backends(&caller, &page).await?;
    Ok(Listed::new(page.map(|backend| Backend::of(&backend, &app)), &seal))
}

/// Make a backend at the caller's level.
#[utoipa::path(
    tag = "models",
    operation_id = "create_backend",
    request_body = NewBackend,
    responses((status = 201, body = DataOf<Backend>))
)]
#[post("/v1/backends")]
async fn create_backend(
    caller: AllowedAtLevel<perm::ModelsManage>,
    origin: Origin,
    body: Body<NewBackend>,
    app: web::Data<App>,
) -> Result<Reply<Backend>, Error> {
    let new = body.read().await?.read()?;
    let made = app.create_backend(&caller, &origin.context(), new).await?;
    let location = format!("/v1/backends/{}", made.id);
    Ok(Reply::created(location, Backend::of(&made, &app)).with_etag(made.revision.unsigned_abs()))
}

/// Get a backend of the caller's level.
#[utoipa::path(
    tag = "models",
    operation_id = "get_backend",
    params(("backend_id" = kinds::BackendId, Path, example = "be_01JZ8QZ5T0000000000000000A")),
    responses((status = 200, body = DataOf<Backend>))
)]
#[get("/v1/backends/{backend_id}")]
async fn get_backend(
    caller: AllowedAtLevel<perm::ModelsManage>,
    id: PathId<BackendId>,
    app: web::Data<App>,
) -> Result<Reply<Backend>, Error> {
    Ok(shown(&app.backend(&caller, id.0).await?, &app))
}

/// Tell how a backend of the caller's level is.
#[utoipa::path(
    tag = "models",
    operation_id = "get_backend_health",
    params(("backend_id" = kinds::BackendId, Path, example = "be_01JZ8QZ5T0000000000000000A")),
    responses((status = 200, body = DataOf<BackendHealth>))
)]
#[get("/v1/backends/{backend_id}/health")]
async fn get_backend_health(
    caller: AllowedAtLevel<perm::ModelsManage>,
    id: PathId<BackendId>,
    app: web::Data<App>,
) -> Result<Reply<BackendHealth>, Error> {
    let backend = app.backend(&caller, id.0).await?;
    let status = health(app.is_backend_active(backend.id));
    Ok(Reply::ok(BackendHealth { id: backend.id.to_string(), status }))
}

/// Change a backend of the caller's level.
#[utoipa::path(
    tag = "models",
    operation_id = "update_backend",
    params(("backend_id" = kinds::BackendId, Path, example = "be_01JZ8QZ5T0000000000000000A")),
    request_body = BackendUpdate,
    responses((status = 200, body = DataOf<Backend>))
)]
#[put("/v1/backends/{backend_id}")]
async fn update_backend(
    caller: AllowedAtLevel<perm::ModelsManage>,
    id: PathId<BackendId>,
    condition: IfMatch,
    origin: Origin,
    body: Body<BackendUpdate>,
    app: web::Data<App>,
) -> Result<Reply<Backend>, Error> {
    // What is not there is told before what is wrong with the body.
    app.backend(&caller, id.0).await?;
    let changes = body.read().await?.read()?;
    let (request, expected) = (origin.context(), condition.revisions());
    Ok(shown(&app.update_backend(&caller, &request, id.0, expected, changes).await?, &app))
}

/// Remove a backend of the caller's level, and take it from its models.
#[utoipa::path(
    tag = "models",
    operation_id = "delete_backend",
    params(
        ("backend_id" = kinds::BackendId, Path, example = "be_01JZ8QZ5T0000000000000000A"),
        ("If-Match" = Option<String>, Header),
    ),
    responses((status = 204))
)]
#[delete("/v1/backends/{backend_id}")]
async fn delete_backend(
    caller: AllowedAtLevel<perm::ModelsManage>,
    id: PathId<BackendId>,
    condition: IfMatch,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    app.delete_backend(&caller, &origin.context(), id.0, condition.revisions()).await?;
    Ok(NoContent)
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list_backends)
        .service(create_backend)
        .service(get_backend)
        .service(get_backend_health)
        .service(update_backend)
        .service(delete_backend);
}
