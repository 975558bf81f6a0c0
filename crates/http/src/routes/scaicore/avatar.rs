//! Pictures of Cores: given by those who manage them, shown to everybody.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use scaigrid_app::App;
use scaigrid_app::cores::{GivenAvatar, ShownAvatar};
use scaigrid_cores::Avatar;
use scaigrid_http_macros::{get, post};
use scaigrid_scope::{CoreId, perm};
use utoipa::ToSchema;

use super::wire::CoreView;
use crate::Error;
use crate::auth::Allowed;
use crate::envelope::{DataOf, Reply};
use crate::openapi::kinds;
use crate::path::PathId;
use crate::request::Origin;
use crate::upload::Upload;

/// How long a picture may be kept by whoever got it.
const CACHE_CONTROL: &str = "public, max-age=3600";
/// What a picture may do where it is opened as a document, as SVG can be: nothing but be looked at. No script runs, nothing is
/// fetched, and it has an origin of its own (Content Security Policy Level 3).
const CSP: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";

/// A picture as a form.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it only describes the form")]
pub(super) struct AvatarForm {
    /// The picture: PNG, JPEG, GIF, WebP or SVG, at most 2 MiB.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// The bytes of a picture.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "it only describes the answer")]
struct Picture(Vec<u8>);

/// Give a Core a picture
///
/// PNG, JPEG, GIF, WebP or SVG, told by its first bytes, at most 2 MiB. What the form says of its media type must be so.
#[utoipa::path(
    tag = "cores",
    operation_id = "set_avatar",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    request_body(content = AvatarForm, content_type = "multipart/form-data"),
    responses((status = 200, description = "The Core", body = DataOf<CoreView>))
)]
#[post("/v1/modules/scaicore/cores/{core_id}/avatar")]
pub(super) async fn set(
    caller: Allowed<perm::CoresManage>,
    id: PathId<CoreId>,
    origin: Origin,
    upload: Upload,
    app: web::Data<App>,
) -> Result<Reply<CoreView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let file = upload.read(Avatar::MAX_BYTES).await?.only_file()?;
    let given = GivenAvatar { bytes: file.content, content_type: file.content_type };
    let shown = app.set_avatar(&caller, &origin.context(), id.0, given).await?;
    let revision = shown.revision.cast_unsigned();
    Ok(Reply::ok(CoreView::whole(shown)).with_etag(revision))
}

/// The picture of a Core
///
/// For everybody, without credentials. It may be kept for an hour.
#[utoipa::path(
    tag = "cores",
    operation_id = "get_avatar",
    security(()),
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    responses(
        (status = 200, description = "The picture", body = Picture, content_type = "image/*"),
        (status = 304, description = "The caller has it"),
    )
)]
#[get("/v1/modules/scaicore/cores/{core_id}/avatar")]
pub(super) async fn get(
    id: PathId<CoreId>,
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, Error> {
    let ShownAvatar { media_type, hash, bytes } = app.avatar(id.0).await?;
    let tag = format!("\"{hash}\"");
    let known = is_known(&request, &tag);
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((header::ETAG, tag))
        .insert_header((header::CACHE_CONTROL, CACHE_CONTROL))
        // It is the same for everybody.
        .insert_header((header::VARY, "Accept-Encoding"))
        .insert_header((header::CONTENT_SECURITY_POLICY, CSP))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header(("cross-origin-resource-policy", "cross-origin"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"));
    if known {
        return Ok(response.finish());
    }
    Ok(response.content_type(media_type.as_str()).body(bytes))
}

/// Whether whoever asks has it already (RFC 9110, section 13.1.2).
fn is_known(request: &HttpRequest, tag: &str) -> bool {
    let lines = request.headers().get_all(header::IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(|one| one.trim().trim_start_matches("W/"))
        .any(|one| one == tag || one == "*")
}
