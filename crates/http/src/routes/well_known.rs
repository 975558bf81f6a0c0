//! What is found at well-known places (RFC 8615).

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scaigrid_app::{self as app, App};
use scaigrid_http_macros::get;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::error::Error;
use crate::openapi::ServiceConfig;

/// Public keys (RFC 7517).
#[derive(Serialize, ToSchema)]
struct KeySet {
    keys: Vec<PublicKey>,
}

/// A public key of Ed25519 (RFC 8037).
#[derive(Serialize, ToSchema)]
struct PublicKey {
    /// Its name, which tokens carry in their head.
    #[schema(example = "5f0c1b2a3d4e5f60")]
    kid: String,
    /// `OKP`.
    kty: String,
    /// `Ed25519`.
    crv: String,
    /// `EdDSA`.
    alg: String,
    /// `sig`.
    r#use: String,
    /// The key, in base64url.
    x: String,
}

/// The keys by which remote modules know the platform's word
///
/// They may be kept for a minute. A new key is published a minute before it signs, and an old one until nothing that it has
/// signed can be good any more.
#[utoipa::path(
    tag = "modules",
    operation_id = "get_key_set",
    security(()),
    responses((status = 200, body = KeySet, content_type = "application/jwk-set+json"), (status = 304, description = "The caller has it"))
)]
#[get("/.well-known/jwks.json")]
async fn get_key_set(request: HttpRequest, app: web::Data<App>) -> Result<HttpResponse, Error> {
    let text = serde_json::to_vec(&app.key_set().await?).map_err(app::Error::internal)?;
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(&text)[..12]));
    let known = request.headers().get_all(header::IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    let known = known
        .flat_map(|value| value.split(','))
        .map(|one| one.trim().trim_start_matches("W/"))
        .any(|one| one == tag || one == "*");
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((header::ETAG, tag))
        .insert_header((header::CACHE_CONTROL, "public, max-age=60"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"));
    if known {
        return Ok(response.finish());
    }
    Ok(response.content_type("application/jwk-set+json").body(text))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(get_key_set);
}
