//! Cores: parse a bundle, create, list, get, replace, delete.

use std::sync::Arc;

use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::cores::{CoreFilter, GivenAvatar};
use scaigrid_cores::{
    CheckpointMode, ConcurrencyMode, CoreChanges, NewCore, PrivilegeLevel, RuntimeMode, Status,
};
use scaigrid_http_macros::{delete, get, post, put};
use scaigrid_ir::bundle;
use scaigrid_scope::{CoreId, UnknownText, perm};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::forms::{BundleForm, CoreChangesForm, NewCoreForm};
use super::installed::NewEntry;
use super::wire::{CoreView, DiagnosticView};
use crate::Error;
use crate::auth::Allowed;
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Listed, NoContent, PageOf, Reply, Written};
use crate::filters::Filters;
use crate::openapi::kinds;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;
use crate::request::Origin;
use crate::routes::given::given;
use crate::upload::JsonOrForm;

/// What a bundle declares.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SummaryView {
    /// The program's name.
    #[schema(required = true)]
    name: Option<String>,
    /// The program's own version.
    #[schema(required = true)]
    version: Option<String>,
    /// The version of the language.
    #[schema(required = true)]
    schema_version: Option<String>,
    /// The names of its flows.
    flows: Vec<String>,
    /// The models that it names.
    models: Vec<String>,
    /// Who it is when it speaks: `name` and `persona`.
    #[schema(value_type = Object)]
    identity: Value,
    /// Whether it declares triggers.
    has_triggers: bool,
    /// Whether it calls plugins.
    has_plugins: bool,
    /// Its picture: `content_type` and `data_b64`.
    #[schema(required = true, value_type = Option<Object>)]
    avatar: Option<Value>,
    /// What the verifier says of it.
    diagnostics: Vec<DiagnosticView>,
}

/// A bundle, taken apart.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ParsedView {
    /// The program.
    #[schema(value_type = Object)]
    source: Value,
    /// What it declares.
    summary: SummaryView,
}

/// A program to be checked.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct ProgramBody {
    /// The program.
    #[schema(value_type = Object)]
    source: Map<String, Value>,
}

/// Take a bundle apart, or check a program
///
/// As a form whose part `file` is a bundle or JSON, or as JSON. Nothing is kept. The answer's `source` is what `POST /cores`
/// takes, its `diagnostics` are what the verifier says.
#[utoipa::path(
    tag = "cores",
    operation_id = "parse_bundle",
    request_body(content(
        (ProgramBody = "application/json"),
        (BundleForm = "multipart/form-data"),
    )),
    responses((status = 200, description = "What is in it", body = DataOf<ParsedView>))
)]
#[post("/v1/modules/scaicore/cores/parse-bundle")]
pub(super) async fn parse_bundle(
    caller: Allowed<perm::CoresManage>,
    body: JsonOrForm<ProgramBody>,
    app: web::Data<App>,
) -> Result<Reply<ParsedView>, Error> {
    let source = match body {
        JsonOrForm::Json(body) => Value::Object(body.read().await?.source),
        JsonOrForm::Form(upload) => {
            let file = upload.read(bundle::MAX_RECEIVED).await?.only_file()?;
            app.unpack_bundle(&caller, file.content.to_vec()).await?
        }
    };
    let (source, summary) = app.sum_up(&caller, source).await?;
    let summary = SummaryView {
        name: summary.name,
        version: summary.version,
        schema_version: summary.schema_version,
        flows: summary.flows,
        models: summary.models,
        identity: serde_json::json!({"name": summary.identity.name, "persona": summary.identity.persona}),
        has_triggers: summary.has_triggers,
        has_plugins: summary.has_plugins,
        avatar: summary.avatar.map(
            |avatar| serde_json::json!({"content_type": avatar.content_type, "data_b64": avatar.data_b64}),
        ),
        diagnostics: summary.diagnostics.iter().map(Into::into).collect(),
    };
    Ok(Reply::ok(ParsedView { source, summary }))
}

/// A Core to be made.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct NewCoreBody {
    /// What it is called; its slug is made of it.
    #[validate(length(min = 1, max = 200))]
    #[schema(value_type = kinds::Name)]
    name: String,
    /// `event_driven` (the default), `interactive`, `api` or `model`.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<kinds::RuntimeMode>)]
    runtime_mode: Option<RuntimeMode>,
    /// `stateless` (the default), `entity` or `singleton`.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<kinds::ConcurrencyMode>)]
    concurrency_mode: Option<ConcurrencyMode>,
    /// The input field that is the key; required for entities.
    #[schema(value_type = Option<kinds::FieldName>)]
    entity_key_field: Option<String>,
    /// The program.
    #[schema(value_type = Option<Object>)]
    source: Option<Value>,
    /// Plugin entries.
    #[schema(value_type = Option<Vec<NewEntry>>)]
    plugins: Option<Vec<Value>>,
    /// Environment: plain values, or `{"type": "secret", "value": "…"}`.
    #[schema(value_type = Option<kinds::EnvironmentValues>)]
    environment: Option<Map<String, Value>>,
    /// Limits.
    #[schema(value_type = Option<Object>)]
    resource_limits: Option<Map<String, Value>>,
    /// `auto` (the default), `visual_queue` or `routed`.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<kinds::CheckpointMode>)]
    checkpoint_mode: Option<CheckpointMode>,
    /// `standard` (the default), `elevated` or `admin`.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<kinds::PrivilegeLevel>)]
    privilege_level: Option<PrivilegeLevel>,
    /// Whatever is to be kept there.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// A picture, in base64: PNG, JPEG, GIF, WebP or SVG. Without one the Core has the picture that its program brings.
    #[schema(value_type = Option<kinds::Base64>)]
    avatar_b64: Option<String>,
    /// The media type of the picture.
    #[schema(example = "image/png")]
    avatar_content_type: Option<String>,
}

impl NewCoreBody {
    /// The picture among the fields.
    fn take_avatar(&mut self) -> Result<Option<GivenAvatar>, Error> {
        match (self.avatar_b64.take(), self.avatar_content_type.take()) {
            (Some(text), content_type) => Ok(Some(GivenAvatar::in_base64(&text, content_type)?)),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Error::invalid("avatar_content_type", "is allowed only with avatar_b64")),
        }
    }
}

/// Reads one of the texts of an enumeration of the domain.
fn named<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err = UnknownText>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}

impl From<NewCoreBody> for NewCore {
    fn from(body: NewCoreBody) -> Self {
        let default = Self::named(body.name);
        Self {
            runtime_mode: body.runtime_mode.unwrap_or(default.runtime_mode),
            concurrency_mode: body.concurrency_mode.unwrap_or(default.concurrency_mode),
            entity_key_field: body.entity_key_field,
            source: body.source.unwrap_or(default.source),
            plugins: body.plugins.unwrap_or_default(),
            environment: body.environment.unwrap_or_default(),
            resource_limits: body.resource_limits.unwrap_or_default(),
            checkpoint_mode: body.checkpoint_mode.unwrap_or(default.checkpoint_mode),
            privilege_level: body.privilege_level.unwrap_or(default.privilege_level),
            metadata: body.metadata.unwrap_or_default(),
            name: default.name,
        }
    }
}

/// Host a program
///
/// As JSON, or as a form whose part `file` is the bundle and whose other parts are the same fields. Any source is kept; the
/// answer's `diagnostics` say whether it would start.
#[utoipa::path(
    tag = "cores",
    operation_id = "create_core",
    request_body(content(
        (NewCoreBody = "application/json"),
        (NewCoreForm = "multipart/form-data"),
    )),
    responses((status = 201, description = "The Core", body = DataOf<CoreView>))
)]
#[post("/v1/modules/scaicore/cores")]
pub(super) async fn create(
    caller: Allowed<perm::CoresManage>,
    origin: Origin,
    body: JsonOrForm<NewCoreBody>,
    app: web::Data<App>,
) -> Result<Reply<CoreView>, Error> {
    let (new, avatar): (NewCore, _) = match body {
        JsonOrForm::Json(body) => {
            let mut body = body.read().await?;
            let avatar = body.take_avatar()?;
            (body.into(), avatar)
        }
        JsonOrForm::Form(upload) => {
            let form = upload.read(bundle::MAX_RECEIVED).await?;
            let mut fields = form.fields::<NewCoreBody>()?;
            let avatar = fields.take_avatar()?;
            let mut new: NewCore = fields.into();
            let file = form.require_file()?;
            new.source = app.unpack_bundle(&caller, file.content.to_vec()).await?;
            (new, avatar)
        }
    };
    let shown = app.create_core_with_avatar(&caller, &origin.context(), new, avatar).await?;
    let revision = shown.revision.cast_unsigned();
    let view = CoreView::with_diagnostics(shown);
    let location = format!("/v1/modules/scaicore/cores/{}", view.id);
    Ok(Reply::created(location, view).with_etag(revision))
}

/// Which Cores are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CoreQuery {
    /// In this status.
    #[serde(default, deserialize_with = "named")]
    #[param(value_type = Option<kinds::CoreStatus>)]
    status: Option<Status>,
    /// Whose name or slug contains this text.
    q: Option<String>,
}

/// List Cores
///
/// Newest first, without their programs.
#[utoipa::path(
    tag = "cores",
    operation_id = "list_cores",
    params(PageParams, CoreQuery),
    responses((status = 200, description = "A page of Cores", body = PageOf<CoreView>))
)]
#[get("/v1/modules/scaicore/cores")]
pub(super) async fn list(
    caller: Allowed<perm::CoresView>,
    paging: Paging,
    filters: Filters<CoreQuery>,
    app: web::Data<App>,
) -> Result<Listed<CoreView>, Error> {
    let (page, seal) = paging.read("cores", &caller.tenant().id.to_string(), &Bounds::LIST)?;
    let query = filters.read()?;
    let filter = CoreFilter { status: query.status, q: query.q };
    Ok(Listed::new(app.cores(&caller, &filter, &page).await?, &seal))
}

/// Get a Core
#[utoipa::path(
    tag = "cores",
    operation_id = "get_core",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    responses((status = 200, description = "The Core", body = DataOf<CoreView>))
)]
#[get("/v1/modules/scaicore/cores/{core_id}")]
pub(super) async fn get(
    caller: Allowed<perm::CoresView>,
    id: PathId<CoreId>,
    app: web::Data<App>,
) -> Result<Written<Arc<[u8]>>, Error> {
    let write = |shown| serde_json::to_vec(&CoreView::whole(shown)).map_err(scaigrid_app::Error::internal);
    let written = app.written_core(&caller, id.0, write).await?;
    Ok(Written::ok(written.text).with_etag(written.revision.cast_unsigned()))
}

/// What of a Core is to be replaced; what is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct CoreChangesBody {
    /// What it is called; the slug stays.
    #[validate(length(min = 1, max = 200))]
    #[schema(value_type = Option<kinds::Name>)]
    name: Option<String>,
    /// `event_driven`, `interactive`, `api` or `model`.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<kinds::RuntimeMode>)]
    runtime_mode: Option<RuntimeMode>,
    /// `stateless`, `entity` or `singleton`.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<kinds::ConcurrencyMode>)]
    concurrency_mode: Option<ConcurrencyMode>,
    /// The input field that is the key of an entity; null takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<kinds::FieldName>)]
    #[expect(clippy::option_option, reason = "absent keeps it, null takes it away")]
    entity_key_field: Option<Option<String>>,
    /// The program; another one is a new version.
    #[schema(value_type = Option<Object>)]
    source: Option<Value>,
    /// Plugin entries.
    #[schema(value_type = Option<Vec<NewEntry>>)]
    plugins: Option<Vec<Value>>,
    /// Environment; `***` keeps the stored secret.
    #[schema(value_type = Option<kinds::EnvironmentValues>)]
    environment: Option<Map<String, Value>>,
    /// Limits.
    #[schema(value_type = Option<Object>)]
    resource_limits: Option<Map<String, Value>>,
    /// `auto`, `visual_queue` or `routed`.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<kinds::CheckpointMode>)]
    checkpoint_mode: Option<CheckpointMode>,
    /// `standard`, `elevated` or `admin`.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<kinds::PrivilegeLevel>)]
    privilege_level: Option<PrivilegeLevel>,
    /// Whatever is to be kept there.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
}

/// Replace fields of a Core
///
/// As JSON, or as a form whose part `file` is the bundle of another program and whose other parts are the same fields. Executions
/// that have begun stay on the program that they began with; new ones take the new one at once.
#[utoipa::path(
    tag = "cores",
    operation_id = "replace_core",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    request_body(content(
        (CoreChangesBody = "application/json"),
        (CoreChangesForm = "multipart/form-data"),
    )),
    responses((status = 200, description = "The Core as it is now", body = DataOf<CoreView>))
)]
#[put("/v1/modules/scaicore/cores/{core_id}")]
pub(super) async fn replace(
    caller: Allowed<perm::CoresManage>,
    id: PathId<CoreId>,
    condition: IfMatch,
    origin: Origin,
    body: JsonOrForm<CoreChangesBody>,
    app: web::Data<App>,
) -> Result<Reply<CoreView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let body = match body {
        JsonOrForm::Json(body) => body.read().await?,
        JsonOrForm::Form(upload) => {
            let form = upload.read(bundle::MAX_RECEIVED).await?;
            let fields = form.fields::<CoreChangesBody>()?;
            let file = form.require_file()?;
            let source = app.unpack_bundle(&caller, file.content.to_vec()).await?;
            CoreChangesBody { source: Some(source), ..fields }
        }
    };
    let changes = CoreChanges {
        name: body.name,
        runtime_mode: body.runtime_mode,
        concurrency_mode: body.concurrency_mode,
        entity_key_field: body.entity_key_field,
        source: body.source,
        plugins: body.plugins,
        environment: body.environment,
        resource_limits: body.resource_limits,
        checkpoint_mode: body.checkpoint_mode,
        privilege_level: body.privilege_level,
        metadata: body.metadata,
    };
    let expected = condition.revisions();
    let shown = app.change_core(&caller, &origin.context(), id.0, expected, changes).await?;
    let revision = shown.revision.cast_unsigned();
    Ok(Reply::ok(CoreView::with_diagnostics(shown)).with_etag(revision))
}

/// How a Core is deleted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeletionQuery {
    /// `true` deletes executions that have not ended with it, instead of refusing.
    #[param(value_type = Option<bool>)]
    force: Option<String>,
}

/// Delete a Core
///
/// With everything that belongs to it: versions, executions, checkpoints, memory, events, what it is in the catalogue, its
/// picture. While executions have not ended, those that wait included, it is refused without `force`.
#[utoipa::path(
    tag = "cores",
    operation_id = "delete_core",
    params(
        ("core_id" = kinds::CoreId, Path, description = "The Core"),
        ("If-Match" = Option<String>, Header),
        DeletionQuery,
    ),
    responses((status = 204, description = "It is gone"))
)]
#[delete("/v1/modules/scaicore/cores/{core_id}")]
pub(super) async fn delete(
    caller: Allowed<perm::CoresManage>,
    id: PathId<CoreId>,
    condition: IfMatch,
    filters: Filters<DeletionQuery>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let force = match filters.read()?.force.as_deref() {
        None | Some("false") => false,
        Some("true" | "") => true,
        Some(_) => return Err(Error::invalid("force", "must be true or false")),
    };
    app.delete_core(&caller, &origin.context(), id.0, condition.revisions(), force).await?;
    Ok(NoContent)
}
