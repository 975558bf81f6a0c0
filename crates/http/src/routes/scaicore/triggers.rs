//! Triggers of Cores: what starts their flows by itself.

use actix_web::web;
use scaigrid_app::cores::{NewTrigger, RegisteredTrigger, RotatedHookSecret, ShownTrigger};
use scaigrid_app::{App, Page};
use scaigrid_cores::triggers::{Kind, Source};
use scaigrid_http_macros::{delete, get, post};
use scaigrid_scope::{CoreId, Name, TriggerId, perm};
use scaigrid_webhooks::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use validator::Validate;

use crate::Error;
use crate::auth::Allowed;
use crate::body::Body;
use crate::envelope::{DataOf, Listed, NoContent, PageOf, Reply};
use crate::openapi::kinds;
use crate::paging::{Bounds, Paging};
use crate::path::{Path, PathId};
use crate::request::Origin;
use crate::routes::given::{Conflict, Problems};

/// What shall start a flow.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"kind": "schedule", "name": "every_morning", "flow": "report",
    "config": {"cron": "0 8 * * *", "timezone": "Europe/Berlin"}}))]
pub(super) struct TriggerBody {
    /// `api`, `webhook`, `schedule` or `event`.
    #[schema(value_type = kinds::TriggerKind)]
    kind: String,
    /// Its name, unlike those of the Core's other triggers.
    #[validate(length(min = 1, max = 200))]
    #[schema(value_type = kinds::Name)]
    name: String,
    /// The flow that it starts.
    #[validate(length(min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    flow: String,
    /// By kind: `{path, method?, public?}`, `{secret?, scheme?}`, `{cron, timezone?, catch_up?}`, `{event, filter?}`.
    #[serde(default)]
    #[schema(value_type = Object)]
    config: Map<String, Value>,
}

impl TriggerBody {
    fn read(self) -> Result<NewTrigger, Error> {
        let mut problems = Problems::default();
        let kind = problems.read::<Kind>("kind", &self.kind);
        let name = match Name::parse(&self.name) {
            Ok(name) => Some(name),
            Err(error) => {
                problems.note("name", error);
                None
            }
        };
        problems.check()?;
        let (Some(kind), Some(name)) = (kind, name) else { return Err(problems.refusal()) };
        Ok(NewTrigger { kind, name, flow: self.flow, config: self.config })
    }
}

/// A trigger.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TriggerView {
    /// Its id.
    #[schema(example = "0197d17f-9740-0000-0000-00000000000a")]
    id: String,
    /// The Core.
    core_id: String,
    /// `api`, `webhook`, `schedule` or `event`.
    kind: String,
    /// Its name.
    name: String,
    /// The flow that it starts.
    flow: String,
    /// What it listens to; without secrets, except in the answer to the call that drew one.
    #[schema(value_type = Object)]
    config: Map<String, Value>,
    /// `program`, which declares it, or `registered`.
    origin: &'static str,
    /// What keeps it from listening.
    #[schema(required = true)]
    problem: Option<String>,
    /// Where messages are sent, or where the Core's API has it.
    #[schema(required = true)]
    url: Option<String>,
    /// The secret that was drawn for it; nowhere else.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// Who registered it.
    #[schema(required = true)]
    created_by: Option<String>,
    /// When (RFC 3339, UTC).
    #[schema(required = true)]
    created_at: Option<String>,
}

impl From<ShownTrigger> for TriggerView {
    fn from(shown: ShownTrigger) -> Self {
        let ShownTrigger { core_id, entry } = shown;
        let url = match entry.kind {
            Kind::Webhook => Some(format!("/v1/hooks/{core_id}/{}", entry.id)),
            Kind::Api => {
                let path = entry.config.get("path").and_then(Value::as_str);
                path.map(|path| format!("/v1/modules/scaicore/cores/{core_id}/api/invoke{path}"))
            }
            Kind::Schedule | Kind::Event => None,
        };
        let problem = entry.problem().map(str::to_owned);
        let (origin, by, at) = match entry.source {
            Source::Program => ("program", None, None),
            Source::Registered { by, at } => ("registered", Some(by.to_string()), Some(at.to_string())),
        };
        Self {
            id: entry.id.to_string(),
            core_id: core_id.to_string(),
            kind: entry.kind.to_string(),
            name: entry.name.to_string(),
            flow: entry.flow.to_string(),
            config: entry.config,
            origin,
            problem,
            url,
            secret: None,
            created_by: by,
            created_at: at,
        }
    }
}

impl From<RegisteredTrigger> for TriggerView {
    fn from(registered: RegisteredTrigger) -> Self {
        let mut view = Self::from(registered.trigger);
        if let Some(secret) = registered.secret {
            view.config.insert("secret".to_owned(), json!(secret));
            view.secret = Some(secret);
        }
        view
    }
}

/// Register a trigger
///
/// It starts a flow of the Core by itself, from now on where the Core runs. The secret of a webhook that names none is drawn, and
/// shown in this answer only.
#[utoipa::path(
    tag = "triggers",
    operation_id = "register_trigger",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    request_body = TriggerBody,
    responses((status = 201, description = "It is registered", body = DataOf<TriggerView>))
)]
#[post("/v1/modules/scaicore/cores/{core_id}/triggers")]
pub(super) async fn register(
    caller: Allowed<perm::CoresManage>,
    id: PathId<CoreId>,
    origin: Origin,
    body: Body<TriggerBody>,
    app: web::Data<App>,
) -> Result<Reply<TriggerView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let new = body.read().await?.read()?;
    let registered = app.register_trigger(&caller, &origin.context(), id.0, new).await?;
    let location = format!("/v1/modules/scaicore/cores/{}/triggers/{}", id.0, registered.trigger.entry.id);
    Ok(Reply::created(location, registered.into()))
}

/// List the triggers of a Core
///
/// What its program declares, then what was registered.
#[utoipa::path(
    tag = "triggers",
    operation_id = "list_triggers",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    responses((status = 200, description = "Its triggers, all of them", body = PageOf<TriggerView>))
)]
#[get("/v1/modules/scaicore/cores/{core_id}/triggers")]
pub(super) async fn list(
    caller: Allowed<perm::CoresView>,
    id: PathId<CoreId>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<TriggerView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let (_, seal) = paging.read("core_triggers", &id.0.to_string(), &Bounds::LIST)?;
    let items = app.triggers(&caller, id.0).await?;
    Ok(Listed::new(Page { items, next: None }, &seal))
}

/// Get a trigger
#[utoipa::path(
    tag = "triggers",
    operation_id = "get_trigger",
    params(
        ("core_id" = kinds::CoreId, Path, description = "The Core"),
        ("trigger_id" = kinds::TriggerId, Path, description = "The trigger"),
    ),
    responses((status = 200, description = "The trigger", body = DataOf<TriggerView>))
)]
#[get("/v1/modules/scaicore/cores/{core_id}/triggers/{trigger_id}")]
pub(super) async fn get(
    caller: Allowed<perm::CoresView>,
    id: PathId<CoreId>,
    path: Path<(String, String)>,
    app: web::Data<App>,
) -> Result<Reply<TriggerView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let trigger = crate::path::id(&path.1, scaigrid_app::Resource::Trigger)?;
    Ok(Reply::ok(app.trigger(&caller, id.0, trigger).await?.into()))
}

/// Remove a trigger
///
/// What it has started goes on. What the program declares cannot be removed so.
#[utoipa::path(
    tag = "triggers",
    operation_id = "remove_trigger",
    params(
        ("core_id" = kinds::CoreId, Path, description = "The Core"),
        ("trigger_id" = kinds::TriggerId, Path, description = "The trigger"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, response = Conflict),
    )
)]
#[delete("/v1/modules/scaicore/cores/{core_id}/triggers/{trigger_id}")]
pub(super) async fn remove(
    caller: Allowed<perm::CoresManage>,
    id: PathId<CoreId>,
    path: Path<(String, String)>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let trigger: TriggerId = crate::path::id(&path.1, scaigrid_app::Resource::Trigger)?;
    app.remove_trigger(&caller, &origin.context(), id.0, trigger).await?;
    Ok(NoContent)
}

/// Another secret for a webhook.
#[derive(Debug, Default, Deserialize, Validate, ToSchema)]
pub(super) struct HookSecretBody {
    /// `whsec_` and the base64 of 24 to 64 bytes, or 16 to 256 visible ASCII characters; drawn where it is left out.
    #[schema(value_type = Option<kinds::SigningSecret>)]
    secret: Option<String>,
}

/// A webhook's new secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HookSecretView {
    /// The secret; shown in this answer only.
    secret: String,
    /// Until when messages are verified with the one before, too (RFC 3339, UTC).
    #[schema(required = true)]
    previous_until: Option<String>,
}

impl From<RotatedHookSecret> for HookSecretView {
    fn from(rotated: RotatedHookSecret) -> Self {
        let previous_until = rotated.previous_until.map(|until| until.to_string());
        Self { secret: rotated.secret, previous_until }
    }
}

/// Give a webhook another secret
///
/// For a day messages are verified with either.
#[utoipa::path(
    tag = "triggers",
    operation_id = "rotate_trigger_secret",
    params(
        ("core_id" = kinds::CoreId, Path, description = "The Core"),
        ("trigger_id" = kinds::TriggerId, Path, description = "The trigger, a webhook that keeps its own secret"),
    ),
    request_body = HookSecretBody,
    responses((status = 200, description = "It has another one", body = DataOf<HookSecretView>))
)]
#[post("/v1/modules/scaicore/cores/{core_id}/triggers/{trigger_id}/secret")]
pub(super) async fn rotate_secret(
    caller: Allowed<perm::CoresManage>,
    id: PathId<CoreId>,
    path: Path<(String, String)>,
    origin: Origin,
    body: Body<HookSecretBody>,
    app: web::Data<App>,
) -> Result<Reply<HookSecretView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let trigger: TriggerId = crate::path::id(&path.1, scaigrid_app::Resource::Trigger)?;
    app.trigger_to_change(&caller, id.0, trigger).await?;
    let body = body.read().await?;
    let secret = body.secret.as_deref().map(Secret::parse).transpose();
    let secret = secret.map_err(|error| Error::invalid("secret", error.to_string()))?;
    Ok(Reply::ok(app.rotate_trigger_secret(&caller, &origin.context(), id.0, trigger, secret).await?.into()))
}
