//! What is configured of a module, and changing it.

use actix_web::web;
use scaigrid_app::{App, modules};
use scaigrid_http_macros::{get, put};
use scaigrid_scope::perm;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::auth::AllowedAtLevel;
use crate::body::Body;
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Reply};
use crate::error::Error;
use crate::filters::Filters;
use crate::path::Path;
use crate::request::Origin;

/// A module's configuration, as it stands at the level that the caller acts at. Secrets are shown as `***`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "global_config": {"default_model": "scailabs/poolnoodle-omni"},
    "partner_config": {},
    "scope_config": {"escalation_email": "support@acme.example"},
    "effective_config": {
        "default_model": "scailabs/poolnoodle-omni", "escalation_email": "support@acme.example"
    }
}))]
#[expect(clippy::struct_field_names, reason = "the fields are called so on the wire")]
pub(super) struct ModuleConfig {
    /// What the platform gives. Counts unless a level below gives something else.
    #[schema(value_type = Object)]
    global_config: Value,
    /// What the partner gives; empty at the platform's level.
    #[schema(value_type = Object)]
    partner_config: Value,
    /// What the level gives that the caller acts at.
    #[schema(value_type = Object)]
    scope_config: Value,
    /// What counts: the defaults of the module's schema, and over them the platform's values, the partner's and the
    /// tenant's.
    #[schema(value_type = Object)]
    effective_config: Value,
}

impl From<modules::ConfigView> for ModuleConfig {
    fn from(view: modules::ConfigView) -> Self {
        Self {
            global_config: view.global,
            partner_config: view.partner,
            scope_config: view.scope,
            effective_config: view.effective,
        }
    }
}

/// How a configuration is changed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ConfigQuery {
    /// `true` checks the change and shows what would be, without keeping it.
    #[param(value_type = Option<bool>)]
    dry_run: Option<String>,
}

/// How the document shows the body: a merge patch, whose fields are the module's own.
#[derive(Debug, ToSchema)]
#[schema(
    value_type = Object,
    example = json!({"default_knowledge_top_k": 8, "escalation_email": "new@acme.example"})
)]
#[expect(dead_code, reason = "for the document only")]
pub(super) struct ModuleConfigPatch(Value);

/// Read a module's configuration.
#[utoipa::path(
    tag = "modules",
    operation_id = "get_module_config",
    params(("module_id" = String, Path, example = "scaibot")),
    responses((status = 200, body = DataOf<ModuleConfig>))
)]
#[get("/v1/modules/{module_id}/config")]
pub(super) async fn get_config(
    caller: AllowedAtLevel<perm::ModulesUse>,
    id: Path<String>,
    app: web::Data<App>,
) -> Result<Reply<ModuleConfig>, Error> {
    let view = app.module_config(&caller, &id).await?;
    let revision = view.revision;
    Ok(Reply::ok(view.into()).with_etag(revision))
}

/// Change a module's configuration at the caller's own level, or in the tenant that the request names.
///
/// The body is a merge patch (RFC 7396): fields that it leaves out stay, `null` takes a field back to what the levels above
/// give. What would count then is checked against the module's schema. `***` keeps a secret.
#[utoipa::path(
    tag = "modules",
    operation_id = "put_module_config",
    params(("module_id" = String, Path, example = "scaibot"), ConfigQuery),
    request_body = ModuleConfigPatch,
    responses((status = 200, body = DataOf<ModuleConfig>))
)]
#[put("/v1/modules/{module_id}/config")]
pub(super) async fn put_config(
    caller: AllowedAtLevel<perm::ModulesManage>,
    id: Path<String>,
    condition: IfMatch,
    filters: Filters<ConfigQuery>,
    origin: Origin,
    body: Body<Value>,
    app: web::Data<App>,
) -> Result<Reply<ModuleConfig>, Error> {
    // What is not there is told before what is wrong with the request.
    app.require_module(&id)?;
    let dry_run = match filters.read()?.dry_run.as_deref() {
        None | Some("false") => false,
        Some("true" | "") => true,
        Some(_) => return Err(Error::invalid("dry_run", "must be true or false")),
    };
    let patch = body.read_json().await?;
    let expected = condition.revisions();
    let view = app.configure_module(&caller, &origin.context(), &id, expected, patch, dry_run).await?;
    let revision = view.revision;
    let reply = Reply::ok(ModuleConfig::from(view));
    // What was only tried has no revision.
    Ok(if dry_run { reply } else { reply.with_etag(revision) })
}
