//! What can be permitted, and what the built-in roles bundle: what whoever appoints others chooses from.
use scaigrid_http_macros::get;

use crate::openapi::ServiceConfig;
use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::permissions::KnownPermission;
use scaigrid_scope::{Role, RoleLevel};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::envelope::{DataOf, Reply};
use crate::error::Error;

/// A built-in role.
#[derive(Debug, Serialize, ToSchema)]
struct BuiltInRole {
    /// Its name, as users have it in `roles`.
    #[schema(example = "tenant_admin")]
    role: &'static str,
    /// What it is for.
    description: &'static str,
    /// How far it reaches: `platform`, `partner` or `tenant`.
    #[schema(example = "tenant")]
    reach: &'static str,
    /// Whether it holds every permission of every module, those to come included.
    every_module: bool,
    /// What it permits within its reach, as far as it can be listed.
    permissions: Vec<String>,
}

impl From<Role> for BuiltInRole {
    fn from(role: Role) -> Self {
        Self {
            role: role.as_str(),
            description: role.meaning(),
            reach: match role.level() {
                RoleLevel::Platform => "platform",
                RoleLevel::Partner => "partner",
                RoleLevel::Tenant => "tenant",
            },
            every_module: role.holds_every_module_permission(),
            permissions: role.permissions().iter().map(|key| key.to_string()).collect(),
        }
    }
}

/// Something that can be permitted.
#[derive(Debug, Serialize, ToSchema)]
struct PermissionView {
    /// Its key, as custom roles, grants, API keys and delegations name it.
    #[schema(example = "scaicore:view")]
    permission: String,
    /// The module that asks for it; null for one of the platform.
    #[schema(required = true, example = "scaicore")]
    module_id: Option<String>,
    /// What it allows.
    description: String,
    /// Whether the caller holds it, with the credentials that they use.
    held: bool,
}

impl From<KnownPermission> for PermissionView {
    fn from(known: KnownPermission) -> Self {
        Self {
            permission: known.key.to_string(),
            module_id: known.module.map(|module| module.to_string()),
            description: known.description,
            held: known.held,
        }
    }
}

/// List the built-in roles, from the one that reaches farthest
#[utoipa::path(
    tag = "custom roles",
    operation_id = "list_roles",
    responses((status = 200, body = DataOf<Vec<BuiltInRole>>))
)]
#[get("/v1/iam/roles")]
async fn list_roles(_: Caller) -> Result<Reply<Vec<BuiltInRole>>, Error> {
    Ok(Reply::ok(Role::ALL.iter().copied().map(BuiltInRole::from).collect()))
}

/// List what can be permitted: the platform's permissions, then those of each module
///
/// Modules that are off are among them: what is given of theirs counts once they are on.
#[utoipa::path(
    tag = "custom roles",
    operation_id = "list_permissions",
    responses((status = 200, body = DataOf<Vec<PermissionView>>))
)]
#[get("/v1/iam/permissions")]
async fn list_permissions(caller: Caller, app: web::Data<App>) -> Result<Reply<Vec<PermissionView>>, Error> {
    Ok(Reply::ok(app.known_permissions(&caller).into_iter().map(PermissionView::from).collect()))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list_roles).service(list_permissions);
}
