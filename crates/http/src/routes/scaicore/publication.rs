//! Cores in the catalogue.

use actix_web::web;
use scaigrid_app::App;
use scaigrid_http_macros::post;
use scaigrid_scope::{CoreId, perm};
use serde::Deserialize;
use utoipa::ToSchema;
use validator::Validate;

use super::wire::CoreView;
use crate::Error;
use crate::auth::Allowed;
use crate::body::Body;
use crate::envelope::{DataOf, Reply};
use crate::openapi::kinds;
use crate::path::PathId;
use crate::request::Origin;

/// Where a Core is shown.
#[derive(Debug, Default, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"group_ids": ["mg_01JZ8QZ5T0000000000000000A"]}))]
pub(super) struct PublishBody {
    /// Groups of models to show it in, at most 100. Those that there are not, or that the caller may not show it in, are left
    /// out.
    #[serde(default)]
    #[validate(length(max = 100))]
    #[schema(max_items = 100)]
    group_ids: Vec<String>,
}

/// Publish a Core
///
/// As the model `scaicore/{tenant}/{core}`, which the Core's own tenant sees, and the tenants that see the groups. Its status
/// stays what it is.
#[utoipa::path(
    tag = "publication",
    operation_id = "publish_core",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    request_body = PublishBody,
    responses((status = 200, description = "The Core as it is now", body = DataOf<CoreView>))
)]
#[post("/v1/modules/scaicore/cores/{core_id}/publish")]
pub(super) async fn publish(
    caller: Allowed<perm::CoresManage>,
    id: PathId<CoreId>,
    origin: Origin,
    body: Body<PublishBody>,
    app: web::Data<App>,
) -> Result<Reply<CoreView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let body = body.read_or_default().await?;
    let shown = app.publish_core(&caller, &origin.context(), id.0, &body.group_ids).await?;
    let revision = shown.revision.cast_unsigned();
    Ok(Reply::ok(CoreView::whole(shown)).with_etag(revision))
}

/// Take a Core out of the catalogue
///
/// The model, what answers for it, and its places in groups go. Conversations stay in the log.
#[utoipa::path(
    tag = "publication",
    operation_id = "unpublish_core",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    responses((status = 200, description = "The Core as it is now", body = DataOf<CoreView>))
)]
#[post("/v1/modules/scaicore/cores/{core_id}/unpublish")]
pub(super) async fn unpublish(
    caller: Allowed<perm::CoresManage>,
    id: PathId<CoreId>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<CoreView>, Error> {
    let shown = app.unpublish_core(&caller, &origin.context(), id.0).await?;
    let revision = shown.revision.cast_unsigned();
    Ok(Reply::ok(CoreView::whole(shown)).with_etag(revision))
}

/// Bring the catalogue up to date with a published Core
///
/// Name, description and capabilities of its model become what the Core says now.
#[utoipa::path(
    tag = "publication",
    operation_id = "sync_core",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    responses((status = 200, description = "The Core as it is", body = DataOf<CoreView>))
)]
#[post("/v1/modules/scaicore/cores/{core_id}/sync")]
pub(super) async fn sync(
    caller: Allowed<perm::CoresManage>,
    id: PathId<CoreId>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<CoreView>, Error> {
    let shown = app.sync_core(&caller, &origin.context(), id.0).await?;
    let revision = shown.revision.cast_unsigned();
    Ok(Reply::ok(CoreView::whole(shown)).with_etag(revision))
}
