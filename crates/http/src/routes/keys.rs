//! API keys.
use scaigrid_http_macros::{delete, get, post};

use crate::openapi::{ServiceConfig, kinds};
use actix_web::web;
use scaigrid_app::{App, api_keys};
use scaigrid_scope::{ApiKeyId, Instant, perm};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::Problems;
use crate::auth::Allowed;
use crate::body::Body;
use crate::envelope::{DataOf, Listed, NoContent, PageOf, Reply};
use crate::error::Error;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;
use crate::request::Origin;

/// An API key as it is asked for.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"name": "nightly import", "expires_at": "2027-01-01T00:00:00Z", "scopes": ["scaicore:invoke"]}))]
struct NewApiKey {
    /// What its holder calls it.
    #[schema(value_type = kinds::Name)]
    name: String,
    /// From when on it counts no more; never when left out.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Instant>,
    /// What it is limited to: permissions that both the author and the holder have. Left out, it can do what its holder
    /// may, or what the key can that it is made with.
    #[validate(length(max = 200))]
    #[schema(value_type = Option<Vec<kinds::Permission>>, max_items = 200)]
    scopes: Option<Vec<String>>,
    /// Whose it will be, with `users:manage`; the caller's own when left out.
    #[schema(value_type = Option<kinds::UserId>)]
    assigned_user_id: Option<String>,
}

/// An API key, without the key.
#[derive(Debug, Serialize, ToSchema)]
struct ApiKey {
    #[schema(example = "apikey_01JZ8QZ5T0000000000000000A")]
    id: String,
    name: String,
    /// Whose it is.
    user_id: String,
    /// How the key begins, to tell keys apart.
    #[schema(example = "sgk_1a2b3c4d")]
    prefix: String,
    /// What it is limited to; `null` for all that its holder may do.
    #[schema(required = true)]
    scopes: Option<Vec<String>>,
    /// From when on it counts no more.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    expires_at: Option<Instant>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
}

/// An API key that was just made, with the key: it is shown this once.
#[derive(Debug, Serialize, ToSchema)]
struct CreatedApiKey {
    #[serde(flatten)]
    about: ApiKey,
    /// What to present as the bearer token.
    #[schema(example = "sgk_1a2b3c4d5e6f7g8h9i0jklmnopqrstuvwxyzABCD")]
    key: String,
}

impl From<scaigrid_scope::ApiKey> for ApiKey {
    fn from(key: scaigrid_scope::ApiKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name.into_string(),
            user_id: key.user_id.to_string(),
            prefix: key.prefix,
            scopes: key.scopes.map(|scopes| scopes.iter().map(|key| key.to_string()).collect()),
            expires_at: key.expires_at,
            created_at: key.created_at,
        }
    }
}

impl NewApiKey {
    fn read(self) -> Result<api_keys::NewApiKey, Error> {
        let mut problems = Problems::default();
        let name = problems.read("name", &self.name);
        let scopes = self.scopes.as_ref().and_then(|scopes| problems.each("scopes", scopes));
        let assigned_user_id = problems.maybe("assigned_user_id", self.assigned_user_id.as_deref());
        problems.check()?;
        let Some(name) = name else { return Err(problems.refusal()) };
        Ok(api_keys::NewApiKey { name, expires_at: self.expires_at, scopes, assigned_user_id })
    }
}

/// List the caller's own API keys, newest first.
#[utoipa::path(
    tag = "api keys",
    operation_id = "list_api_keys",
    params(PageParams),
    responses((status = 200, body = PageOf<ApiKey>))
)]
#[get("/v1/api-keys")]
async fn list_api_keys(
    caller: Allowed<perm::ApiKeysManage>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<ApiKey>, Error> {
    let scope = format!("{} {}", caller.tenant().id, caller.user_id());
    let (page, seal) = paging.read("api keys", &scope, &Bounds::LIST)?;
    Ok(Listed::new(app.api_keys(&caller, &page).await?, &seal))
}

/// Make an API key. The key is in this answer and nowhere else.
#[utoipa::path(
    tag = "api keys",
    operation_id = "create_api_key",
    request_body = NewApiKey,
    responses((status = 201, body = DataOf<CreatedApiKey>))
)]
#[post("/v1/api-keys")]
async fn create_api_key(
    caller: Allowed<perm::ApiKeysManage>,
    origin: Origin,
    body: Body<NewApiKey>,
    app: web::Data<App>,
) -> Result<Reply<CreatedApiKey>, Error> {
    let new = body.read().await?.read()?;
    let created = app.create_api_key(&caller, &origin.context(), new).await?;
    let about = ApiKey::from(created.key);
    let key = created.plaintext.reveal().to_owned();
    Ok(Reply::created(format!("/v1/api-keys/{}", about.id), CreatedApiKey { about, key }))
}

/// Take an API key back. It counts no more at once.
#[utoipa::path(
    tag = "api keys",
    operation_id = "revoke_api_key",
    params(("id" = kinds::ApiKeyId, Path, example = "apikey_01JZ8QZ5T0000000000000000A")),
    responses((status = 204))
)]
#[delete("/v1/api-keys/{id}")]
async fn revoke_api_key(
    caller: Allowed<perm::ApiKeysManage>,
    id: PathId<ApiKeyId>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    app.revoke_api_key(&caller, &origin.context(), id.0).await?;
    Ok(NoContent)
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list_api_keys).service(create_api_key).service(revoke_api_key);
}
