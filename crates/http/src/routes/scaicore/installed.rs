//! The plugins of a Core: what it means by an alias.

use actix_web::web;
use scaigrid_app::cores::{Installed, InstalledChanges};
use scaigrid_app::{App, Page};
use scaigrid_cores::plugins::{InstalledPlugin, PluginName};
use scaigrid_http_macros::{delete, get, post, put};
use scaigrid_scope::{CoreId, perm};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use validator::Validate;

use crate::Error;
use crate::auth::Allowed;
use crate::body::Body;
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Listed, NoContent, PageOf, Reply};
use crate::openapi::kinds;
use crate::paging::{Bounds, Paging};
use crate::path::{Path, PathId};
use crate::request::Origin;
use crate::routes::given::{Problems, given, nullable};

/// What a Core means by an alias.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Entry {
    /// What the program calls it.
    #[schema(example = "crm")]
    alias: String,
    /// The plugin in the registry, if it is not the one that the program declares.
    #[schema(required = true, example = "acme.crm")]
    plugin: Option<String>,
    /// What goes with each call.
    #[schema(value_type = Object)]
    config: Value,
    /// Whether it can be called.
    enabled: bool,
}

impl From<Value> for Entry {
    fn from(entry: Value) -> Self {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            alias: text("alias").unwrap_or_default(),
            plugin: text("plugin"),
            config: entry
                .get("config")
                .filter(|config| config.is_object())
                .cloned()
                .unwrap_or_else(|| json!({})),
            enabled: entry.get("enabled").and_then(Value::as_bool).unwrap_or(true),
        }
    }
}

/// A plugin to be installed.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"alias": "crm", "plugin": "acme.crm", "config": {"region": "eu"}}))]
pub(super) struct NewEntry {
    /// What the program calls it.
    #[validate(length(min = 1, max = 200))]
    #[schema(value_type = kinds::Name)]
    alias: String,
    /// The plugin in the registry; left out, the one that the program declares.
    #[schema(value_type = Option<kinds::PluginName>)]
    plugin: Option<String>,
    /// What goes with each call, over what the program declares. May hold `${env.NAME}`.
    #[schema(value_type = Option<Object>)]
    config: Option<Map<String, Value>>,
    /// Whether it can be called; left out, it can.
    enabled: Option<bool>,
}

/// What shall be different about an entry; what is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"config": {"region": "us"}}))]
pub(super) struct EntryUpdate {
    /// The plugin in the registry; null is the one that the program declares.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<kinds::PluginName>)]
    #[expect(clippy::option_option, reason = "absent keeps it, null takes it away")]
    plugin: Option<Option<String>>,
    /// What goes with each call.
    #[schema(value_type = Option<Object>)]
    config: Option<Map<String, Value>>,
    /// Whether it can be called.
    enabled: Option<bool>,
}

impl NewEntry {
    fn read(self) -> Result<InstalledPlugin, Error> {
        let mut problems = Problems::default();
        let alias = problems.read("alias", &self.alias);
        let plugin = problems.maybe::<PluginName>("plugin", self.plugin.as_deref());
        problems.check()?;
        let Some(alias) = alias else { return Err(problems.refusal()) };
        let (config, enabled) = (self.config.unwrap_or_default(), self.enabled.unwrap_or(true));
        Ok(InstalledPlugin { alias, plugin, config, enabled })
    }
}

impl EntryUpdate {
    fn read(self) -> Result<InstalledChanges, Error> {
        let mut problems = Problems::default();
        let plugin = nullable::<PluginName>(&mut problems, "plugin", self.plugin.as_ref());
        problems.check()?;
        Ok(InstalledChanges { plugin, config: self.config, enabled: self.enabled })
    }
}

fn shown(installed: Installed) -> Reply<Entry> {
    let revision = installed.revision.cast_unsigned();
    Reply::ok(Entry::from(installed.value)).with_etag(revision)
}

/// List the plugins of a Core
#[utoipa::path(
    tag = "plugins",
    operation_id = "list_core_plugins",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    responses((status = 200, description = "Its entries, all of them", body = PageOf<Entry>))
)]
#[get("/v1/modules/scaicore/cores/{core_id}/plugins")]
pub(super) async fn list(
    caller: Allowed<perm::CoresView>,
    id: PathId<CoreId>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<Entry>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let (_, seal) = paging.read("core_plugins", &id.0.to_string(), &Bounds::LIST)?;
    let items = app.installed_plugins(&caller, id.0).await?.into_iter().map(Entry::from).collect();
    Ok(Listed::new::<Entry>(Page { items, next: None }, &seal))
}

/// Install a plugin on a Core
#[utoipa::path(
    tag = "plugins",
    operation_id = "install_core_plugin",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    request_body = NewEntry,
    responses((status = 201, description = "The entry", body = DataOf<Entry>))
)]
#[post("/v1/modules/scaicore/cores/{core_id}/plugins")]
pub(super) async fn install(
    caller: Allowed<perm::CoresManage>,
    id: PathId<CoreId>,
    origin: Origin,
    body: Body<NewEntry>,
    app: web::Data<App>,
) -> Result<Reply<Entry>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let entry = body.read().await?.read()?;
    let location = format!("/v1/modules/scaicore/cores/{}/plugins/{}", id.0, spelt(entry.alias.as_str()));
    let made = app.install_plugin(&caller, &origin.context(), id.0, entry).await?;
    let revision = made.revision.cast_unsigned();
    Ok(Reply::created(location, Entry::from(made.value)).with_etag(revision))
}

/// A text as a segment of a path (RFC 3986 section 3.3).
fn spelt(text: &str) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let byte =
        |byte: u8| if unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(byte).collect()
}

/// Change a plugin of a Core
#[utoipa::path(
    tag = "plugins",
    operation_id = "update_core_plugin",
    params(
        ("core_id" = kinds::CoreId, Path, description = "The Core"),
        ("plugin_alias" = kinds::Name, Path, description = "The entry's alias"),
    ),
    request_body = EntryUpdate,
    responses((status = 200, description = "The entry as it is now", body = DataOf<Entry>))
)]
#[put("/v1/modules/scaicore/cores/{core_id}/plugins/{plugin_alias}")]
pub(super) async fn update(
    caller: Allowed<perm::CoresManage>,
    id: PathId<CoreId>,
    path: Path<(String, String)>,
    condition: IfMatch,
    origin: Origin,
    body: Body<EntryUpdate>,
    app: web::Data<App>,
) -> Result<Reply<Entry>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let changes = body.read().await?.read()?;
    let (request, expected) = (origin.context(), condition.revisions());
    Ok(shown(app.change_installed_plugin(&caller, &request, id.0, &path.1, expected, changes).await?))
}

/// Remove a plugin from a Core
#[utoipa::path(
    tag = "plugins",
    operation_id = "uninstall_core_plugin",
    params(
        ("core_id" = kinds::CoreId, Path, description = "The Core"),
        ("plugin_alias" = kinds::Name, Path, description = "The entry's alias"),
        ("If-Match" = Option<String>, Header),
    ),
    responses((status = 204, description = "It is gone"))
)]
#[delete("/v1/modules/scaicore/cores/{core_id}/plugins/{plugin_alias}")]
pub(super) async fn uninstall(
    caller: Allowed<perm::CoresManage>,
    id: PathId<CoreId>,
    path: Path<(String, String)>,
    condition: IfMatch,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    let (request, expected) = (origin.context(), condition.revisions());
    app.uninstall_plugin(&caller, &request, id.0, &path.1, expected).await?;
    Ok(NoContent)
}
