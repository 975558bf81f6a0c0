//! The plugins of a workspace, and which of them the tenant has enabled.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use scaigrid_app::App;
use scaigrid_app::workspace::plugins::{PluginScope, WorkspacePlugin as Plugin};
use scaigrid_http_macros::{get, post};
use scaigrid_scope::perm;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::auth::Allowed;
use crate::envelope::{DataOf, Listed, PageOf, Reply, WorkspacePageOf};
use crate::error::Error;
use crate::openapi::ServiceConfig;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::parameter;
use crate::request::Origin;

/// Something that a plugin does when an AI calls it.
#[derive(Debug, Serialize, ToSchema)]
struct PluginTool {
    #[schema(example = "calculate")]
    name: String,
    description: String,
    /// What it takes: a JSON Schema of an object.
    #[schema(value_type = Object)]
    parameters: Value,
}

/// A plugin of a workspace.
#[derive(Debug, Serialize, ToSchema)]
struct WorkspacePlugin {
    #[schema(example = "scaiwave.calculator")]
    id: String,
    name: String,
    version: String,
    description: String,
    /// What AIs can call of it; of a registered plugin the methods that are as they were accepted.
    tools: Vec<PluginTool>,
    /// What it touches.
    permissions: Vec<String>,
    /// Whether AIs are told something by it before they answer.
    injects_context: bool,
    /// `private` where it works on the data of the user who asks alone.
    #[schema(required = true)]
    scope: Option<&'static str>,
    /// Whether the tenant's AIs may use it.
    enabled: bool,
    /// Who has said whether it is enabled: `tenant`, or `default`.
    source: &'static str,
    /// Whether there is something that runs it: the platform, or a plugin of that name in the tenant's registry. One that is not
    /// installed offers nothing, enabled or not.
    installed: bool,
}

impl From<Plugin> for WorkspacePlugin {
    fn from(plugin: Plugin) -> Self {
        let Plugin { manifest, enabled, said, installed } = plugin;
        let tools = manifest.tools.into_iter().map(|tool| PluginTool {
            name: tool.name,
            description: tool.description,
            parameters: tool.parameters,
        });
        Self {
            id: manifest.id,
            name: manifest.name,
            version: manifest.version,
            description: manifest.description,
            tools: tools.collect(),
            permissions: manifest.permissions,
            injects_context: manifest.injects_context,
            scope: manifest.scope.map(PluginScope::as_str),
            enabled,
            source: if said { "tenant" } else { "default" },
            installed,
        }
    }
}

/// The plugin of a path, whose slashes may be written as `%2F`.
struct PathPlugin(String);

impl FromRequest for PathPlugin {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(parameter(request, "plugin_id").unwrap_or_default())))
    }
}

/// List the plugins of the workspace, enabled or not, by id: those that ship, and those that the tenant has registered.
#[utoipa::path(
    tag = "workspace",
    operation_id = "list_workspace_plugins",
    params(PageParams),
    responses((status = 200, body = WorkspacePageOf<WorkspacePlugin>))
)]
#[get("/v1/admin/plugins")]
async fn list_workspace_plugins(
    caller: Allowed<perm::AdminAccess>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<WorkspacePlugin>, Error> {
    let (page, seal) = paging.read("workspace-plugins", &caller.tenant().id.to_string(), &Bounds::LIST)?;
    Ok(Listed::workspace(app.workspace_plugins(&caller, &page).await?, &seal))
}

/// Enable a plugin: the tenant's AIs may use it, as far as they are not confined to others.
#[utoipa::path(
    tag = "workspace",
    operation_id = "enable_workspace_plugin",
    params(("plugin_id" = String, Path, example = "scaiwave.web")),
    responses((status = 200, body = DataOf<WorkspacePlugin>))
)]
#[post("/v1/admin/plugins/{plugin_id}/enable")]
async fn enable_workspace_plugin(
    caller: Allowed<perm::AdminAccess>,
    which: PathPlugin,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<WorkspacePlugin>, Error> {
    let plugin = app.set_workspace_plugin(&caller, &origin.context(), &which.0, true).await?;
    Ok(Reply::ok(plugin.into()))
}

/// Disable a plugin: no AI of the tenant calls it any more, from this moment on.
#[utoipa::path(
    tag = "workspace",
    operation_id = "disable_workspace_plugin",
    params(("plugin_id" = String, Path, example = "scaiwave.web")),
    responses((status = 200, body = DataOf<WorkspacePlugin>))
)]
#[post("/v1/admin/plugins/{plugin_id}/disable")]
async fn disable_workspace_plugin(
    caller: Allowed<perm::AdminAccess>,
    which: PathPlugin,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<WorkspacePlugin>, Error> {
    let plugin = app.set_workspace_plugin(&caller, &origin.context(), &which.0, false).await?;
    Ok(Reply::ok(plugin.into()))
}

/// List the plugins of the workspace, by id, for those whose AIs may use them.
#[utoipa::path(
    tag = "workspace",
    operation_id = "list_usable_plugins",
    params(PageParams),
    responses((status = 200, body = PageOf<WorkspacePlugin>))
)]
#[get("/v1/plugins")]
async fn list_usable_plugins(
    caller: Allowed<perm::ModelsUse>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<WorkspacePlugin>, Error> {
    let (page, seal) = paging.read("usable-plugins", &caller.tenant().id.to_string(), &Bounds::LIST)?;
    Ok(Listed::new(app.usable_plugins(&caller, &page).await?, &seal))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list_workspace_plugins)
        .service(enable_workspace_plugin)
        .service(disable_workspace_plugin)
        .service(list_usable_plugins);
}
