//! The prompt studio: whether it is switched on, who may use it, and whether the caller does.
use scaigrid_http_macros::{get, put};

use crate::openapi::ServiceConfig;
use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::workspace::studio::{PromptStudio, StudioEdits};
use scaigrid_scope::perm;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use crate::auth::Allowed;
use crate::body::Body;
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Reply};
use crate::error::Error;
use crate::request::Origin;

/// What is to be changed of the prompt studio; what is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"enabled": true, "allowed_roles": ["tenant_admin"], "allowed_groups": ["prompt-writers"]}))]
struct PromptStudioUpdate {
    /// Whether it is switched on: the feature flag `prompt_studio.enabled` of the tenant.
    enabled: Option<bool>,
    /// The roles that open it, all of them: built-in ones by name, the tenant's own by id or slug.
    #[schema(max_items = 200)]
    allowed_roles: Option<Vec<String>>,
    /// The groups, all of them, by id or slug.
    #[schema(max_items = 200)]
    allowed_groups: Option<Vec<String>>,
    /// The users, all of them, by id or e-mail address.
    #[schema(max_items = 200)]
    allowed_users: Option<Vec<String>>,
}

/// The prompt studio as the tenant has set it. Where all lists are empty, it is open to everybody who may use models.
#[derive(Debug, Serialize, ToSchema)]
struct PromptStudioSettings {
    /// Whether it is switched on.
    enabled: bool,
    /// The roles that open it: built-in ones by name, the tenant's own by id.
    allowed_roles: Vec<String>,
    /// The groups, by id.
    #[schema(example = json!(["grp_01JZ8QZ5T0000000000000000A"]))]
    allowed_groups: Vec<String>,
    /// The users, by id.
    #[schema(example = json!(["usr_01JZ8QZ5T0000000000000000A"]))]
    allowed_users: Vec<String>,
}

/// Whether the prompt studio is open to the caller.
#[derive(Debug, Serialize, ToSchema)]
struct StudioAccess {
    allowed: bool,
    /// `allowed`; `disabled` where it is switched off; `not_listed` where neither the caller nor a group or role of theirs is
    /// listed.
    #[schema(example = "allowed")]
    reason: &'static str,
}

impl From<PromptStudio> for PromptStudioSettings {
    fn from(studio: PromptStudio) -> Self {
        let allowed = studio.allowed;
        Self {
            enabled: studio.enabled,
            allowed_roles: allowed.roles.iter().map(ToString::to_string).collect(),
            allowed_groups: allowed.groups.iter().map(ToString::to_string).collect(),
            allowed_users: allowed.users.iter().map(ToString::to_string).collect(),
        }
    }
}

fn shown((studio, revision): (PromptStudio, u64)) -> Reply<PromptStudioSettings> {
    Reply::ok(PromptStudioSettings::from(studio)).with_etag(revision)
}

/// Get the settings of the prompt studio.
#[utoipa::path(
    tag = "workspace",
    operation_id = "get_prompt_studio",
    responses((status = 200, body = DataOf<PromptStudioSettings>))
)]
#[get("/v1/admin/prompt-studio")]
async fn get_prompt_studio(
    caller: Allowed<perm::AdminAccess>,
    app: web::Data<App>,
) -> Result<Reply<PromptStudioSettings>, Error> {
    Ok(shown(app.prompt_studio(&caller).await?))
}

/// Switch the prompt studio, and say who may use it. With all lists empty it is open to everybody who may use models; who is
/// listed, by themselves, a group or a role, may use it otherwise. The tenant's admins may in any case.
#[utoipa::path(
    tag = "workspace",
    operation_id = "update_prompt_studio",
    request_body = PromptStudioUpdate,
    responses((status = 200, body = DataOf<PromptStudioSettings>))
)]
#[put("/v1/admin/prompt-studio")]
async fn update_prompt_studio(
    caller: Allowed<perm::AdminAccess>,
    condition: IfMatch,
    origin: Origin,
    body: Body<PromptStudioUpdate>,
    app: web::Data<App>,
) -> Result<Reply<PromptStudioSettings>, Error> {
    let PromptStudioUpdate { enabled, allowed_roles, allowed_groups, allowed_users } = body.read().await?;
    let edits = StudioEdits { enabled, allowed_roles, allowed_groups, allowed_users };
    let (request, expected) = (origin.context(), condition.revisions());
    Ok(shown(app.update_prompt_studio(&caller, &request, expected, edits).await?))
}

/// Say whether the prompt studio is open to the caller.
#[utoipa::path(
    tag = "workspace",
    operation_id = "get_prompt_studio_access",
    responses((status = 200, body = DataOf<StudioAccess>))
)]
#[get("/v1/prompt-studio/access")]
async fn get_prompt_studio_access(
    caller: Allowed<perm::ModelsUse>,
    app: web::Data<App>,
) -> Result<Reply<StudioAccess>, Error> {
    let access = app.studio_access(&caller).await?;
    Ok(Reply::ok(StudioAccess { allowed: access.allowed, reason: access.reason.as_str() }))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(get_prompt_studio).service(update_prompt_studio).service(get_prompt_studio_access);
}
