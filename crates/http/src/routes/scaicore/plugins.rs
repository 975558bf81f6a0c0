//! The registry of plugins.

use actix_web::web;
use scaigrid_app::plugins::{NewPlugin, PluginChanges};
use scaigrid_app::{App, Resource};
use scaigrid_cores::plugins::{Drift, Endpoint, MethodName, PluginKind, PluginName, Registration, Standing};
use scaigrid_http_macros::{delete, get, post, put};
use scaigrid_scope::perm;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Response};
use validator::Validate;

use crate::Error;
use crate::auth::Allowed;
use crate::body::Body;
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Listed, NoContent, PageOf, Reply};
use crate::openapi::kinds;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::Path;
use crate::request::Origin;
use crate::routes::given::{Problems, given};

/// A plugin that Cores can call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AvailablePlugin {
    /// What Cores call it by.
    #[schema(example = "acme.crm")]
    plugin: String,
    /// `http`, `openapi` or `mcp`.
    kind: &'static str,
    /// Its own version.
    version: String,
    /// `ready`, or `drifted` while something that it offers is not what was accepted.
    status: &'static str,
    /// What was accepted of what it offers: `name`, `description`, `effect`, `input_schema`, `output_schema`,
    /// `query_method`, the `pin` of all that, and whether it is still so: `accepted`, `changed` or `removed`.
    #[schema(value_type = Vec<Object>)]
    methods: Vec<Value>,
    /// The hosts that it says it is at.
    hosts: Vec<String>,
}

/// What is otherwise than it was accepted.
#[derive(Debug, Serialize, ToSchema)]
struct DriftView {
    /// Methods that are new, as they were found.
    #[schema(value_type = Vec<Object>)]
    added: Vec<Value>,
    /// Methods that are not what they were, as they were found.
    #[schema(value_type = Vec<Object>)]
    changed: Vec<Value>,
    /// The names of methods that are gone.
    removed: Vec<String>,
}

/// A plugin as it is registered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PluginView {
    #[serde(flatten)]
    about: AvailablePlugin,
    /// Where it is: what methods are below, the OpenAPI document, or the MCP server.
    endpoint: String,
    /// What it is shown, without the secrets.
    #[schema(required = true, value_type = Option<Object>)]
    credentials: Option<Value>,
    /// What it offers beside, with the reason why that cannot be called from here.
    left_out: Vec<String>,
    /// What waits to be accepted; until then it is not called.
    #[schema(required = true)]
    drift: Option<DriftView>,
    /// When what it offers was last read from it (RFC 3339, UTC).
    #[schema(required = true)]
    read_at: Option<String>,
    /// When it was registered (RFC 3339, UTC).
    created_at: String,
    /// When it last changed (RFC 3339, UTC).
    updated_at: String,
}

impl From<Registration> for AvailablePlugin {
    fn from(registration: Registration) -> Self {
        let drift = registration.drift();
        let accepted = &registration.accepted;
        let methods = accepted.methods().iter().map(|method| {
            let name = method.name.as_str();
            let mut shown = method.shown();
            shown["pin"] = method.pin().to_string().into();
            shown["status"] = match Standing::of(name, accepted, &drift) {
                Standing::Accepted(_) => "accepted",
                _ if drift.removed.contains(&method.name) => "removed",
                _ => "changed",
            }
            .into();
            shown
        });
        Self {
            plugin: registration.plugin.to_string(),
            kind: registration.kind.as_str(),
            version: accepted.version().to_owned(),
            status: if drift.is_empty() { "ready" } else { "drifted" },
            methods: methods.collect(),
            hosts: accepted.hosts().map(str::to_owned).collect(),
        }
    }
}

impl From<Registration> for PluginView {
    fn from(registration: Registration) -> Self {
        let drift = registration.found.as_ref().map(|found| {
            let Drift { added, removed, changed } = registration.drift();
            let shown = |names: &[MethodName]| -> Vec<Value> {
                let found = names.iter().filter_map(|name| found.method(name.as_str()));
                let pinned = found.map(|method| {
                    let mut shown = method.shown();
                    shown["pin"] = method.pin().to_string().into();
                    shown
                });
                pinned.collect()
            };
            DriftView {
                added: shown(&added),
                changed: shown(&changed),
                removed: removed.iter().map(ToString::to_string).collect(),
            }
        });
        Self {
            endpoint: registration.endpoint.to_string(),
            credentials: registration.credentials.as_ref().map(scaigrid_cores::plugins::Credentials::shown),
            left_out: registration.accepted.left_out().map(str::to_owned).collect(),
            drift,
            read_at: registration.read_at.map(|at| at.to_string()),
            created_at: registration.created_at.to_string(),
            updated_at: registration.updated_at.to_string(),
            about: registration.into(),
        }
    }
}

/// A plugin as it is asked for.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"plugin": "acme.crm", "kind": "mcp", "endpoint": "https://crm.example.org/mcp", "credentials": {"type": "bearer", "token": "${env.CRM_TOKEN}"}}))]
pub(super) struct NewPluginBody {
    /// What Cores call it by: 1 to 100 of `A-Z a-z 0-9 . _ - / @`.
    #[schema(value_type = kinds::PluginName)]
    plugin: String,
    /// `http`: `POST {endpoint}/{method}`, JSON in and out. `openapi`: the endpoint is an OpenAPI document, whose operations
    /// are called. `mcp`: a server of the Model Context Protocol, over streamable HTTP.
    #[schema(value_type = kinds::PluginKind)]
    kind: String,
    /// An `https` URL without credentials, at a public address.
    #[schema(value_type = kinds::TargetUrl)]
    endpoint: String,
    /// What it is shown: `{"type": "bearer", "token"}`, `{"type": "basic", "username", "password"}` or `{"type": "header",
    /// "name", "value"}`. The secrets may hold `${env.NAME}`, which is taken from the environment of the Core that calls.
    #[schema(value_type = Option<Object>)]
    credentials: Option<Value>,
    /// What it offers, for `http`: `{version, methods: [{name, description, effect, input_schema, output_schema?,
    /// query_method?}], hosts?}`. An effect is `idempotent`, `keyed`, `queryable` or `unsafe`.
    #[schema(value_type = Option<Object>)]
    manifest: Option<Value>,
}

/// What shall be different about a plugin; what is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"endpoint": "https://crm.example.org/v2/mcp"}))]
pub(super) struct PluginUpdate {
    /// Where it is. What it offers there is read at once, and accepted as far as it is what was accepted before.
    #[schema(value_type = Option<kinds::TargetUrl>)]
    endpoint: Option<String>,
    /// What it is shown; `***` keeps a secret, null takes all of it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Object>)]
    #[expect(clippy::option_option, reason = "absent keeps them, null takes them away")]
    credentials: Option<Option<Value>>,
    /// What it offers, for `http`.
    #[schema(value_type = Option<Object>)]
    manifest: Option<Value>,
}

impl NewPluginBody {
    fn read(self) -> Result<NewPlugin, Error> {
        let mut problems = Problems::default();
        let plugin = problems.read::<PluginName>("plugin", &self.plugin);
        let kind = problems.read::<PluginKind>("kind", &self.kind);
        let endpoint = problems.read::<Endpoint>("endpoint", &self.endpoint);
        match (plugin, kind, endpoint) {
            (Some(plugin), Some(kind), Some(endpoint)) => Ok(NewPlugin {
                plugin,
                kind,
                endpoint,
                credentials: self.credentials,
                manifest: self.manifest,
            }),
            _ => Err(problems.refusal()),
        }
    }
}

impl PluginUpdate {
    fn read(self) -> Result<PluginChanges, Error> {
        let mut problems = Problems::default();
        let endpoint = problems.maybe::<Endpoint>("endpoint", self.endpoint.as_deref());
        problems.check()?;
        Ok(PluginChanges { endpoint, credentials: self.credentials, manifest: self.manifest })
    }
}

/// The plugin that a path names. What cannot be a name names nothing.
fn named(path: &Path<String>) -> Result<PluginName, Error> {
    path.parse().map_err(|_| Error::not_found(Resource::Plugin))
}

fn shown(found: scaigrid_app::plugins::Registered) -> Reply<PluginView> {
    let revision = found.revision.cast_unsigned();
    Reply::ok(PluginView::from(found.value)).with_etag(revision)
}

macro_rules! shared_answer {
    ($name:ident, $text:literal) => {
        /// A shared answer of the document.
        pub(super) struct $name;

        impl<'r> utoipa::ToResponse<'r> for $name {
            fn response() -> (&'r str, RefOr<Response>) {
                (stringify!($name), Response::new($text).into())
            }
        }
    };
}

shared_answer!(PluginUnreachable, "The plugin does not tell what it offers, or may not be called");

/// List the plugins that Cores can call
///
/// By name, with what was accepted of what they offer.
#[utoipa::path(
    tag = "plugins",
    operation_id = "list_available_plugins",
    params(PageParams),
    responses((status = 200, description = "A page of plugins", body = PageOf<AvailablePlugin>))
)]
#[get("/v1/modules/scaicore/plugins/available")]
pub(super) async fn available(
    caller: Allowed<perm::CoresView>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<AvailablePlugin>, Error> {
    let (page, seal) = paging.read("plugins", &caller.tenant().id.to_string(), &Bounds::LIST)?;
    Ok(Listed::new(app.plugins(&caller, &page).await?.map(|found| found.value), &seal))
}

/// List the registry
#[utoipa::path(
    tag = "plugins",
    operation_id = "list_plugins",
    params(PageParams),
    responses((status = 200, description = "A page of plugins", body = PageOf<PluginView>))
)]
#[get("/v1/modules/scaicore/plugins/registry")]
pub(super) async fn list(
    caller: Allowed<perm::CoresView>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<PluginView>, Error> {
    let (page, seal) = paging.read("plugin_registry", &caller.tenant().id.to_string(), &Bounds::LIST)?;
    Ok(Listed::new(app.plugins(&caller, &page).await?.map(|found| found.value), &seal))
}

/// Register a plugin
///
/// What one of kind `openapi` or `mcp` offers is read from it now, and accepted.
#[utoipa::path(
    tag = "plugins",
    operation_id = "register_plugin",
    request_body = NewPluginBody,
    responses(
        (status = 201, description = "The plugin", body = DataOf<PluginView>),
        (status = 502, response = PluginUnreachable),
    )
)]
#[post("/v1/modules/scaicore/plugins/registry")]
pub(super) async fn register(
    caller: Allowed<perm::CoresAdmin>,
    origin: Origin,
    body: Body<NewPluginBody>,
    app: web::Data<App>,
) -> Result<Reply<PluginView>, Error> {
    let new = body.read().await?.read()?;
    let made = app.register_plugin(&caller, &origin.context(), new).await?;
    let name = made.value.plugin.as_str().replace('/', "%2F");
    let location = format!("/v1/modules/scaicore/plugins/registry/{name}");
    let revision = made.revision.cast_unsigned();
    Ok(Reply::created(location, PluginView::from(made.value)).with_etag(revision))
}

/// Get a plugin
///
/// A `/` in its name is spelt `%2F`.
#[utoipa::path(
    tag = "plugins",
    operation_id = "get_plugin",
    params(("plugin" = kinds::PluginName, Path, description = "The plugin's name", example = "acme.crm")),
    responses((status = 200, description = "The plugin", body = DataOf<PluginView>))
)]
#[get("/v1/modules/scaicore/plugins/registry/{plugin}")]
pub(super) async fn get(
    caller: Allowed<perm::CoresView>,
    plugin: Path<String>,
    app: web::Data<App>,
) -> Result<Reply<PluginView>, Error> {
    Ok(shown(app.plugin(&caller, &named(&plugin)?).await?))
}

/// Change a plugin
#[utoipa::path(
    tag = "plugins",
    operation_id = "update_plugin",
    params(("plugin" = kinds::PluginName, Path, description = "The plugin's name", example = "acme.crm")),
    request_body = PluginUpdate,
    responses(
        (status = 200, description = "The plugin as it is now", body = DataOf<PluginView>),
        (status = 502, response = PluginUnreachable),
    )
)]
#[put("/v1/modules/scaicore/plugins/registry/{plugin}")]
pub(super) async fn update(
    caller: Allowed<perm::CoresAdmin>,
    plugin: Path<String>,
    condition: IfMatch,
    origin: Origin,
    body: Body<PluginUpdate>,
    app: web::Data<App>,
) -> Result<Reply<PluginView>, Error> {
    let plugin = named(&plugin)?;
    // What is not there is told before what is wrong with the body.
    app.plugin(&caller, &plugin).await?;
    let changes = body.read().await?.read()?;
    let expected = condition.revisions();
    Ok(shown(app.change_plugin(&caller, &origin.context(), &plugin, expected, changes).await?))
}

/// Remove a plugin
///
/// Cores that mean it cannot call it any more.
#[utoipa::path(
    tag = "plugins",
    operation_id = "remove_plugin",
    params(
        ("plugin" = kinds::PluginName, Path, description = "The plugin's name", example = "acme.crm"),
        ("If-Match" = Option<String>, Header),
    ),
    responses((status = 204, description = "It is gone"))
)]
#[delete("/v1/modules/scaicore/plugins/registry/{plugin}")]
pub(super) async fn remove(
    caller: Allowed<perm::CoresAdmin>,
    plugin: Path<String>,
    condition: IfMatch,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    app.remove_plugin(&caller, &origin.context(), &named(&plugin)?, condition.revisions()).await?;
    Ok(NoContent)
}

/// Read again what a plugin offers
///
/// What is otherwise than it was accepted is not called until it is accepted.
#[utoipa::path(
    tag = "plugins",
    operation_id = "refresh_plugin",
    params(("plugin" = kinds::PluginName, Path, description = "The plugin's name", example = "acme.crm")),
    responses(
        (status = 200, description = "The plugin as it is now", body = DataOf<PluginView>),
        (status = 502, response = PluginUnreachable),
    )
)]
#[post("/v1/modules/scaicore/plugins/registry/{plugin}/refresh")]
pub(super) async fn refresh(
    caller: Allowed<perm::CoresAdmin>,
    plugin: Path<String>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<PluginView>, Error> {
    Ok(shown(app.refresh_plugin(&caller, &origin.context(), &named(&plugin)?).await?))
}

/// Accept what a plugin was last found to offer
///
/// With `If-Match`, only if that is what the caller has seen.
#[utoipa::path(
    tag = "plugins",
    operation_id = "accept_plugin",
    params(
        ("plugin" = kinds::PluginName, Path, description = "The plugin's name", example = "acme.crm"),
        ("If-Match" = Option<String>, Header),
    ),
    responses((status = 200, description = "The plugin as it is now", body = DataOf<PluginView>))
)]
#[post("/v1/modules/scaicore/plugins/registry/{plugin}/accept")]
pub(super) async fn accept(
    caller: Allowed<perm::CoresAdmin>,
    plugin: Path<String>,
    condition: IfMatch,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<PluginView>, Error> {
    let expected = condition.revisions();
    Ok(shown(app.accept_plugin(&caller, &origin.context(), &named(&plugin)?, expected).await?))
}
