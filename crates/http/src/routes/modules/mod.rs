//! Modules: which there are, how they stand for the caller, and switching them on and off.

pub(crate) mod call;
mod config;
mod explain;
mod texts;
use scaigrid_http_macros::{delete, get, post};

use crate::openapi::ServiceConfig;
use crate::path::Path;
use std::rc::Rc;

use actix_web::web;
use scaigrid_app::{App, modules};
use scaigrid_scope::{Instant, perm};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::AllowedAtLevel;
use crate::envelope::{DataOf, NoContent, Reply, Written};
use crate::error::Error;
use crate::request::Origin;

use texts::Texts;

/// A module, as it stands at the level that the caller acts at.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "mod_scaicore", "module_id": "scaicore", "display_name": "ScaiCore Runtime", "version": "1.0.0",
    "description": "Hosts agent programs durably, with human checkpoints.", "status": "active",
    "admin_pages": [{
        "page_id": "scaicore-cores", "title": "Cores", "icon": "cpu", "path": "/scaicore/cores",
        "parent_nav": "ScaiCore", "permission": "scaicore:view"
    }],
    "dependencies": [],
    "permissions": [{"key": "scaicore:view", "display_name": "View Cores", "description": "See Cores."}],
    "frontend_url": null
}))]
#[expect(clippy::struct_field_names, reason = "the fields are called so on the wire")]
struct Module {
    /// `mod_` and the module's id.
    id: String,
    module_id: String,
    display_name: String,
    version: String,
    description: String,
    /// `active`, `available`, `error` or `disabled`.
    status: &'static str,
    /// The pages that it adds to the administration.
    admin_pages: Vec<ModulePage>,
    /// The modules that it cannot do without.
    dependencies: Vec<String>,
    /// The permissions that it asks for.
    permissions: Vec<ModulePermission>,
    /// A script for its users' pages.
    #[schema(required = true)]
    frontend_url: Option<String>,
    /// What is wrong with it, when its status is `error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<ModuleFailure>,
}

/// A page that a module adds to the administration.
#[derive(Debug, Serialize, ToSchema)]
struct ModulePage {
    page_id: String,
    title: String,
    #[schema(required = true)]
    icon: Option<String>,
    path: String,
    #[schema(required = true)]
    parent_nav: Option<String>,
    /// What one needs to see it.
    #[schema(required = true)]
    permission: Option<String>,
}

/// A permission that a module asks for.
#[derive(Debug, Serialize, ToSchema)]
struct ModulePermission {
    key: String,
    display_name: String,
    description: String,
}

/// What is wrong with a module.
#[derive(Debug, Serialize, ToSchema)]
struct ModuleFailure {
    message: String,
    /// When it was noticed.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Instant,
}

impl From<modules::ModuleView> for Module {
    fn from(view: modules::ModuleView) -> Self {
        let manifest = &view.manifest;
        let pages = manifest.admin_pages.iter().map(|page| ModulePage {
            page_id: page.page_id.clone(),
            title: page.title.clone(),
            icon: page.icon.clone(),
            path: page.path.clone(),
            parent_nav: page.parent_nav.clone(),
            permission: page.permission.as_ref().map(ToString::to_string),
        });
        let permissions = manifest.permissions.iter().map(|permission| ModulePermission {
            key: permission.key.to_string(),
            display_name: permission.display_name.clone(),
            description: permission.description.clone(),
        });
        Self {
            id: format!("mod_{}", manifest.module_id),
            module_id: manifest.module_id.to_string(),
            display_name: manifest.display_name.to_string(),
            version: manifest.version.to_string(),
            description: manifest.description.clone(),
            status: view.effective.status.as_str(),
            admin_pages: pages.collect(),
            dependencies: manifest.dependencies.iter().map(ToString::to_string).collect(),
            permissions: permissions.collect(),
            frontend_url: manifest.frontend_url.clone(),
            last_error: view
                .last_error
                .map(|failure| ModuleFailure { message: failure.message, timestamp: failure.at }),
        }
    }
}

/// List the modules and how they stand for the caller.
#[utoipa::path(
    tag = "modules",
    operation_id = "list_modules",
    responses((status = 200, body = DataOf<Vec<Module>>))
)]
#[get("/v1/modules")]
async fn list_modules(
    caller: AllowedAtLevel<perm::ModulesUse>,
    app: web::Data<App>,
    texts: web::Data<Texts>,
) -> Result<Written<Rc<[u8]>>, Error> {
    let states = app.module_states(&caller).await?;
    if let Some(text) = texts.known_list(&states) {
        return Ok(Written::ok(text));
    }
    Ok(Written::ok(texts.list(&states, app.views(&states))?))
}

/// Get one module.
#[utoipa::path(
    tag = "modules",
    operation_id = "get_module",
    params(("module_id" = String, Path, example = "scaicore")),
    responses((status = 200, body = DataOf<Module>))
)]
#[get("/v1/modules/{module_id}")]
async fn get_module(
    caller: AllowedAtLevel<perm::ModulesUse>,
    id: Path<String>,
    app: web::Data<App>,
    texts: web::Data<Texts>,
) -> Result<Written<Rc<[u8]>>, Error> {
    Ok(Written::ok(texts.one(app.module(&caller, &id).await?)?))
}

/// Enable a module at the caller's own level, or in the tenant that the request names.
#[utoipa::path(
    tag = "modules",
    operation_id = "enable_module",
    params(("module_id" = String, Path, example = "scaicore")),
    responses((status = 200, body = DataOf<Module>))
)]
#[post("/v1/modules/{module_id}/enable")]
async fn enable_module(
    caller: AllowedAtLevel<perm::ModulesManage>,
    id: Path<String>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<Module>, Error> {
    Ok(Reply::ok(app.enable_module(&caller, &origin.context(), &id).await?.into()))
}

/// Disable a module at the caller's own level, or in the tenant that the request names. What it keeps stays.
#[utoipa::path(
    tag = "modules",
    operation_id = "disable_module",
    params(("module_id" = String, Path, example = "scaicore")),
    responses((status = 200, body = DataOf<Module>))
)]
#[post("/v1/modules/{module_id}/disable")]
async fn disable_module(
    caller: AllowedAtLevel<perm::ModulesManage>,
    id: Path<String>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<Module>, Error> {
    Ok(Reply::ok(app.disable_module(&caller, &origin.context(), &id).await?.into()))
}

/// Take back what the caller's own level, or the tenant that the request names, says of a module.
///
/// What the other levels say, and the module's default, count alone then.
#[utoipa::path(
    tag = "modules",
    operation_id = "reset_module",
    params(("module_id" = String, Path, example = "scaicore")),
    responses((status = 204, description = "It says nothing of the module any more"))
)]
#[delete("/v1/modules/{module_id}/enablement")]
async fn reset_module(
    caller: AllowedAtLevel<perm::ModulesManage>,
    id: Path<String>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    app.reset_module(&caller, &origin.context(), &id).await?;
    Ok(NoContent)
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    // Every worker has texts of its own: the function is called for each.
    config
        .app_data(web::Data::new(Texts::default()))
        .service(list_modules)
        .service(get_module)
        .service(enable_module)
        .service(disable_module)
        .service(reset_module)
        .service(config::get_config)
        .service(config::put_config)
        .service(explain::explain_module);
}
