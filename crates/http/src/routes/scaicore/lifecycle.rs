//! The life of a Core: start, stop, restart, pause, resume.

use actix_web::web;
use scaigrid_app::App;
use scaigrid_cores::Action;
use scaigrid_http_macros::{get, post};
use scaigrid_scope::{CoreId, perm};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::wire::CoreView;
use crate::Error;
use crate::auth::Allowed;
use crate::envelope::{DataOf, Reply};
use crate::filters::Filters;
use crate::openapi::kinds;
use crate::path::PathId;
use crate::request::Origin;

async fn act(
    caller: &Allowed<perm::CoresManage>,
    id: PathId<CoreId>,
    origin: &Origin,
    app: &App,
    action: Action,
    force: bool,
) -> Result<Reply<CoreView>, Error> {
    let shown = app.move_core(caller, &origin.context(), id.0, action, force).await?;
    let revision = shown.revision.cast_unsigned();
    let view = match action {
        Action::Start | Action::Restart => CoreView::with_diagnostics(shown),
        _ => CoreView::whole(shown),
    };
    Ok(Reply::ok(view).with_etag(revision))
}

macro_rules! move_route {
    ($(#[$doc:meta])* $name:ident, $path:literal, $operation:literal, $action:expr) => {
        $(#[$doc])*
        #[utoipa::path(
            tag = "lifecycle",
            operation_id = $operation,
            params(("core_id" = kinds::CoreId, Path, description = "The Core")),
            responses((status = 200, description = "The Core as it is now", body = DataOf<CoreView>))
        )]
        #[post($path)]
        pub(super) async fn $name(
            caller: Allowed<perm::CoresManage>,
            id: PathId<CoreId>,
            origin: Origin,
            app: web::Data<App>,
        ) -> Result<Reply<CoreView>, Error> {
            act(&caller, id, &origin, &app, $action, false).await
        }
    };
}

move_route!(
    /// Start a Core
    ///
    /// Its program is checked, and whether what it needs is there: its plugins, its models, and of a Core that acts for a user the
    /// permissions. What does not pass leaves the Core in `error` and is told. Calls of other Cores that nothing would answer at
    /// present are told in `diagnostics`, as warnings.
    start, "/v1/modules/scaicore/cores/{core_id}/start", "start_core", Action::Start
);
move_route!(
    /// Restart a Core
    ///
    /// Legal in every status. Executions go on afterwards. `diagnostics` is as of a start.
    restart, "/v1/modules/scaicore/cores/{core_id}/restart", "restart_core", Action::Restart
);
move_route!(
    /// Pause a Core
    ///
    /// It takes no work and its executions take no step until it is resumed.
    pause, "/v1/modules/scaicore/cores/{core_id}/pause", "pause_core", Action::Pause
);
move_route!(
    /// Resume a Core
    ///
    /// After a pause, or after the platform has held it.
    resume, "/v1/modules/scaicore/cores/{core_id}/resume", "resume_core", Action::Resume
);

/// How a Core is stopped.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StopQuery {
    /// `true` cancels what is under way instead of waiting for it.
    #[param(value_type = Option<bool>)]
    force: Option<String>,
}

/// Stop a Core
///
/// It takes no more work; what is under way runs to its end, and the status is `stopping` until then. What waits for a
/// person is not waited for: it goes on after the next start.
#[utoipa::path(
    tag = "lifecycle",
    operation_id = "stop_core",
    params(("core_id" = kinds::CoreId, Path, description = "The Core"), StopQuery),
    responses((status = 200, description = "The Core as it is now", body = DataOf<CoreView>))
)]
#[post("/v1/modules/scaicore/cores/{core_id}/stop")]
pub(super) async fn stop(
    caller: Allowed<perm::CoresManage>,
    id: PathId<CoreId>,
    filters: Filters<StopQuery>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<CoreView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let force = match filters.read()?.force.as_deref() {
        None | Some("false") => false,
        Some("true" | "") => true,
        Some(_) => return Err(Error::invalid("force", "must be true or false")),
    };
    act(&caller, id, &origin, &app, Action::Stop, force).await
}

/// How a Core is run.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StateView {
    /// The Core.
    core_id: String,
    /// Where it is in its life.
    status: String,
    /// How it is started.
    runtime_mode: String,
    /// How its executions share its memory.
    concurrency_mode: String,
    /// What went wrong last, where something did: `code`, `message` and `timestamp`.
    #[schema(required = true, value_type = Option<Object>)]
    last_error: Option<serde_json::Value>,
    /// How many executions are in each status, of the newest 10,000.
    #[schema(value_type = Object)]
    executions: serde_json::Value,
    /// Whether there are more executions than were counted.
    executions_more: bool,
    /// How many instances are active.
    instances: i64,
    /// How many timers are set: sleeps, deadlines, slots of schedules.
    timers: i64,
}

/// Get how a Core is run, and how much it has to do
#[utoipa::path(
    tag = "lifecycle",
    operation_id = "get_core_state",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    responses((status = 200, description = "Status and modes", body = DataOf<StateView>))
)]
#[get("/v1/modules/scaicore/cores/{core_id}/state")]
pub(super) async fn state(
    caller: Allowed<perm::CoresView>,
    id: PathId<CoreId>,
    app: web::Data<App>,
) -> Result<Reply<StateView>, Error> {
    let core = app.core(&caller, id.0).await?.core;
    let counts = app.core_counts(&caller, id.0).await?;
    let executions = counts.executions.iter().map(|(status, count)| (status.to_string(), (*count).into()));
    Ok(Reply::ok(StateView {
        last_error: core.last_error.as_ref().map(|error| {
            serde_json::json!({ "code": error.code, "message": error.message, "timestamp": error.at.to_string() })
        }),
        executions: serde_json::Value::Object(executions.collect()),
        executions_more: counts.more,
        instances: counts.instances,
        timers: counts.timers,
        core_id: core.id.to_string(),
        status: core.status.to_string(),
        runtime_mode: core.runtime_mode.to_string(),
        concurrency_mode: core.concurrency.mode().to_string(),
    }))
}
