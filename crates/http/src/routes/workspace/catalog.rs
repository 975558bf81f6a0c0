//! The models of the catalogue as the tenant's admins see them, and the AI that each has.

use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::workspace::models::CatalogEntry as Entry;
use scaigrid_http_macros::{get, post, put};
use scaigrid_scope::perm;
use serde::Serialize;
use utoipa::ToSchema;

use super::participants::{AiUpdate, Participant, of_listed};
use crate::auth::Allowed;
use crate::body::Body;
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Listed, Reply, WorkspacePageOf};
use crate::error::Error;
use crate::filters::Filters;
use crate::openapi::ServiceConfig;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathModel;
use crate::request::Origin;
use crate::routes::given::Conflict;
use crate::routes::models::{Model, ModelQuery};

/// A model that the tenant may use, whether it has enabled it, and the AI that is the model's own.
#[derive(Debug, Serialize, ToSchema)]
struct CatalogEntry {
    #[serde(flatten)]
    model: Model,
    /// `null` where none was set up.
    #[schema(required = true)]
    participant: Option<Participant>,
}

impl CatalogEntry {
    fn of(entry: Entry, server: &str) -> Self {
        Self {
            model: Model::of(entry.listed, false),
            participant: entry.participant.map(|listed| Participant::of(listed, server)),
        }
    }
}

/// List the models that the tenant may use, enabled or not, by slug.
#[utoipa::path(
    tag = "workspace",
    operation_id = "list_catalog",
    params(ModelQuery, PageParams),
    responses((status = 200, body = WorkspacePageOf<CatalogEntry>))
)]
#[get("/v1/admin/models/catalog")]
async fn list_catalog(
    caller: Allowed<perm::AdminAccess>,
    filters: Filters<ModelQuery>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<CatalogEntry>, Error> {
    let filter = filters.read()?.read()?;
    let (page, seal) = paging.read("catalog", &caller.tenant().id.to_string(), &Bounds::LIST)?;
    let page = app.workspace_catalog(&caller, &filter, &page).await?;
    Ok(Listed::workspace(page.map(|entry| CatalogEntry::of(entry, app.server_name())), &seal))
}

/// Enable a model in the tenant. The slashes of its slug need not be encoded.
#[utoipa::path(
    tag = "workspace",
    operation_id = "enable_catalog_model",
    params(("slug" = String, Path, example = "openai/gpt-4o")),
    responses((status = 200, body = DataOf<CatalogEntry>))
)]
#[post("/v1/admin/models/{slug}/enable")]
async fn enable_catalog_model(
    caller: Allowed<perm::AdminAccess>,
    which: PathModel,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<CatalogEntry>, Error> {
    let entry = app.switch_model(&caller, &origin.context(), &which.0, true).await?;
    Ok(Reply::ok(CatalogEntry::of(entry, app.server_name())))
}

/// Disable a model in the tenant: its callers do not see it any more, and AIs of it do not answer. The default model cannot be
/// disabled.
#[utoipa::path(
    tag = "workspace",
    operation_id = "disable_catalog_model",
    params(("slug" = String, Path, example = "openai/gpt-4o")),
    responses((status = 200, body = DataOf<CatalogEntry>))
)]
#[post("/v1/admin/models/{slug}/disable")]
async fn disable_catalog_model(
    caller: Allowed<perm::AdminAccess>,
    which: PathModel,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<CatalogEntry>, Error> {
    let entry = app.switch_model(&caller, &origin.context(), &which.0, false).await?;
    Ok(Reply::ok(CatalogEntry::of(entry, app.server_name())))
}

/// Set up the AI that is a model's own: make it, or change it. What is left out stays, or begins as the model suggests.
#[utoipa::path(
    tag = "workspace",
    operation_id = "put_model_participant",
    params(("slug" = String, Path, example = "openai/gpt-4o")),
    request_body = AiUpdate,
    responses(
        (status = 200, body = DataOf<Participant>),
        (status = 201, body = DataOf<Participant>),
        (status = 409, response = Conflict)
    )
)]
#[put("/v1/admin/models/{slug}/participant")]
async fn put_model_participant(
    caller: Allowed<perm::AdminAccess>,
    which: PathModel,
    condition: IfMatch,
    origin: Origin,
    body: Body<AiUpdate>,
    app: web::Data<App>,
) -> Result<Reply<Participant>, Error> {
    // What is not there is told before what is wrong with the body.
    app.require_model(&caller, &which.0).await?;
    let changes = body.read().await?.read()?;
    let (request, expected) = (origin.context(), condition.revisions());
    let (listed, made) = app.put_model_participant(&caller, &request, &which.0, expected, changes).await?;
    Ok(of_listed(listed, app.server_name(), made))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list_catalog)
        .service(enable_catalog_model)
        .service(disable_catalog_model)
        .service(put_model_participant);
}
