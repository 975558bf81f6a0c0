//! The versions of a Core's program.

use actix_web::web;
use scaigrid_app::{App, Resource};
use scaigrid_http_macros::{get, post};
use scaigrid_scope::{CoreId, perm};
use serde::Deserialize;
use utoipa::ToSchema;
use validator::Validate;

use super::wire::{CoreView, VersionView};
use crate::Error;
use crate::auth::Allowed;
use crate::body::Body;
use crate::envelope::{DataOf, Listed, PageOf, Reply};
use crate::openapi::kinds;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::{self, Path, PathId};
use crate::request::Origin;

/// List the versions of a Core's program
///
/// Newest first, without the programs.
#[utoipa::path(
    tag = "versions",
    operation_id = "list_core_versions",
    params(("core_id" = kinds::CoreId, Path, description = "The Core"), PageParams),
    responses((status = 200, description = "A page of versions", body = PageOf<VersionView>))
)]
#[get("/v1/modules/scaicore/cores/{core_id}/versions")]
pub(super) async fn list(
    caller: Allowed<perm::CoresView>,
    id: PathId<CoreId>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<VersionView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let (page, seal) = paging.read("versions", &id.0.to_string(), &Bounds::LIST)?;
    Ok(Listed::new(app.core_versions(&caller, id.0, &page).await?, &seal))
}

/// Get a version of a Core's program
#[utoipa::path(
    tag = "versions",
    operation_id = "get_core_version",
    params(
        ("core_id" = kinds::CoreId, Path, description = "The Core"),
        ("version" = u32, Path, description = "The version's number"),
    ),
    responses((status = 200, description = "The version, with the program", body = DataOf<VersionView>))
)]
#[get("/v1/modules/scaicore/cores/{core_id}/versions/{version}")]
pub(super) async fn get(
    caller: Allowed<perm::CoresView>,
    id: PathId<CoreId>,
    parameters: Path<(String, String)>,
    app: web::Data<App>,
) -> Result<Reply<VersionView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let version = path::id(&parameters.1, Resource::CoreVersion)?;
    let found = app.core_version(&caller, id.0, version).await?;
    let source = (*found.source.program).clone();
    Ok(Reply::ok(VersionView { source: Some(source), ..VersionView::from(found) }))
}

/// Which version to go back to.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct RollbackBody {
    /// The version's number.
    #[validate(range(min = 1))]
    #[schema(minimum = 1)]
    version: u32,
}

/// Go back to an earlier program
///
/// That makes a new version of it: history is not rewritten.
#[utoipa::path(
    tag = "versions",
    operation_id = "roll_back_core",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    request_body = RollbackBody,
    responses((status = 200, description = "The Core as it is now", body = DataOf<CoreView>))
)]
#[post("/v1/modules/scaicore/cores/{core_id}/rollback")]
pub(super) async fn roll_back(
    caller: Allowed<perm::CoresManage>,
    id: PathId<CoreId>,
    origin: Origin,
    body: Body<RollbackBody>,
    app: web::Data<App>,
) -> Result<Reply<CoreView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let version = body.read().await?.version;
    let shown = app.roll_back_core(&caller, &origin.context(), id.0, version).await?;
    let revision = shown.revision.cast_unsigned();
    Ok(Reply::ok(CoreView::with_diagnostics(shown)).with_etag(revision))
}
