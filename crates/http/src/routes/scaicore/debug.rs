//! Debugging: breakpoints, steps, looking into an execution; and going on from the past.

use std::time::Duration;

use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::inside::{Breakpoint, Forked, Inspected, NewBreakpoint, StepMode};
use scaigrid_http_macros::{delete, get, post};
use scaigrid_ir::Value;
use scaigrid_scope::{BreakpointId, CoreId, ExecutionId, perm};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::wire::ExecutionView;
use crate::Error;
use crate::auth::Allowed;
use crate::body::Body;
use crate::envelope::{DataOf, Listed, NoContent, PageOf, Reply};
use crate::filters::Filters;
use crate::openapi::kinds;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;
use crate::request::Origin;
use crate::routes::given::Conflict;

/// How long a step is waited for where the caller does not say.
const STEP_WAIT_MS: u64 = 5_000;

/// Where executions are to stop.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct BreakpointBody {
    /// The flow.
    #[validate(length(min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    flow: String,
    /// The id of the block before which they stop.
    #[validate(length(min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    block: String,
    /// An expression in the names that are known there, judged by the rules for conditions of programs; they stop only where it is
    /// true. It asks for nothing from outside.
    #[validate(length(min = 1, max = 2000))]
    #[schema(example = "amount > 1000", min_length = 1, max_length = 2000)]
    condition: Option<String>,
    /// Whether it counts.
    #[serde(default = "yes")]
    enabled: bool,
}

const fn yes() -> bool {
    true
}

/// A breakpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BreakpointView {
    /// Its id.
    #[schema(example = "bp_01JZ8QZ5T0000000000000000A")]
    id: String,
    /// The Core.
    core_id: String,
    /// The flow.
    flow: String,
    /// The block.
    block: String,
    /// The condition.
    #[schema(required = true)]
    condition: Option<String>,
    /// Whether it counts.
    enabled: bool,
    /// Who set it.
    created_by: String,
    /// When (RFC 3339, UTC).
    created_at: String,
}

impl From<Breakpoint> for BreakpointView {
    fn from(breakpoint: Breakpoint) -> Self {
        Self {
            id: breakpoint.id.to_string(),
            core_id: breakpoint.core_id.to_string(),
            flow: breakpoint.flow,
            block: breakpoint.block,
            condition: breakpoint.condition,
            enabled: breakpoint.enabled,
            created_by: breakpoint.created_by.to_string(),
            created_at: breakpoint.created_at.to_string(),
        }
    }
}

/// Set a breakpoint
///
/// Executions of the Core that come to the block stand still before it, on whichever node, until they are let go on. It counts
/// everywhere within a second. While a Core has one that counts, its new executions run `debug` blocks.
#[utoipa::path(
    tag = "debug",
    operation_id = "set_breakpoint",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    request_body = BreakpointBody,
    responses((status = 201, description = "It is set", body = DataOf<BreakpointView>))
)]
#[post("/v1/modules/scaicore/cores/{core_id}/debug/breakpoint")]
pub(super) async fn set(
    caller: Allowed<perm::CoresDebug>,
    id: PathId<CoreId>,
    origin: Origin,
    body: Body<BreakpointBody>,
    app: web::Data<App>,
) -> Result<Reply<BreakpointView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let body = body.read().await?;
    let BreakpointBody { flow, block, condition, enabled } = body;
    let new = NewBreakpoint { flow, block, condition, enabled };
    let set = app.set_breakpoint(&caller, &origin.context(), id.0, new).await?;
    let location = format!("/v1/modules/scaicore/cores/{}/debug/breakpoint/{}", id.0, set.id);
    Ok(Reply::created(location, set.into()))
}

/// List the breakpoints of a Core
#[utoipa::path(
    tag = "debug",
    operation_id = "list_breakpoints",
    params(("core_id" = kinds::CoreId, Path, description = "The Core"), PageParams),
    responses((status = 200, description = "A page of breakpoints, oldest first", body = PageOf<BreakpointView>))
)]
#[get("/v1/modules/scaicore/cores/{core_id}/debug/breakpoint")]
pub(super) async fn list(
    caller: Allowed<perm::CoresDebug>,
    id: PathId<CoreId>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<BreakpointView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let (page, seal) = paging.read("breakpoints", &id.0.to_string(), &Bounds::LIST)?;
    Ok(Listed::new(app.breakpoints(&caller, id.0, &page).await?, &seal))
}

/// Remove a breakpoint
///
/// What stands still at it goes on standing still.
#[utoipa::path(
    tag = "debug",
    operation_id = "remove_breakpoint",
    params(
        ("core_id" = kinds::CoreId, Path, description = "The Core"),
        ("breakpoint_id" = kinds::BreakpointId, Path, description = "The breakpoint"),
    ),
    responses((status = 204, description = "It is gone"))
)]
#[delete("/v1/modules/scaicore/cores/{core_id}/debug/breakpoint/{breakpoint_id}")]
pub(super) async fn remove(
    caller: Allowed<perm::CoresDebug>,
    id: PathId<CoreId>,
    breakpoint: PathId<BreakpointId>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    app.remove_breakpoint(&caller, &origin.context(), id.0, breakpoint.0).await?;
    Ok(NoContent)
}

/// How far an execution is to go.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct StepBody {
    /// The execution, which stands still.
    #[schema(value_type = kinds::ExecutionId)]
    execution_id: ExecutionId,
    /// `over`: to the next block of the same body, or the one after its end. `into`: to the next block, wherever it is. `out`: to
    /// the next block after the end of the body. `continue`: to the next breakpoint.
    #[schema(value_type = kinds::StepMode)]
    mode: String,
    /// How long to wait for where it comes to: milliseconds, at most 60000; 5000 where left out.
    #[validate(range(max = 60_000))]
    #[schema(maximum = 60000)]
    wait_ms: Option<u64>,
}

/// Let an execution go on that stands still
///
/// Answers how it stands after that; `paused` says where it stands still again.
#[utoipa::path(
    tag = "debug",
    operation_id = "step_execution",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    request_body = StepBody,
    responses((status = 200, description = "The execution", body = DataOf<ExecutionView>))
)]
#[post("/v1/modules/scaicore/cores/{core_id}/debug/step")]
pub(super) async fn step(
    caller: Allowed<perm::CoresDebug>,
    id: PathId<CoreId>,
    origin: Origin,
    body: Body<StepBody>,
    app: web::Data<App>,
) -> Result<Reply<ExecutionView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let body = body.read().await?;
    let mode: StepMode = body.mode.parse().map_err(|error: scaigrid_cores::debugging::UnknownStepMode| {
        Error::invalid("mode", error.to_string())
    })?;
    let wait = Duration::from_millis(body.wait_ms.unwrap_or(STEP_WAIT_MS));
    let standing = app.step(&caller, &origin.context(), id.0, body.execution_id, mode, wait).await?;
    Ok(Reply::ok(standing.into()))
}

/// What is to be looked at.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct InspectBody {
    /// The execution.
    #[schema(value_type = kinds::ExecutionId)]
    execution_id: ExecutionId,
    /// An expression in the names that are known where it stands, `memory` among them. Nothing changes by it.
    #[validate(length(min = 1, max = 2000))]
    #[schema(min_length = 1, max_length = 2000)]
    expression: Option<String>,
    /// After which entry of its journal; left out for how it stands.
    at: Option<i64>,
}

/// An execution, looked into.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InspectedView {
    /// The execution.
    execution_id: String,
    /// The last entry of its journal that counted.
    at: i64,
    /// How it stood then: of the past, as far as its journal tells.
    status: String,
    /// Its strands of control: `strand`, `parent`, `state`, `waits_for`, `locals`, and `frames`, the blocks that it is in, the
    /// innermost first, each with `block`, `kind`, `pointer` and `iteration`.
    #[schema(value_type = Vec<Object>)]
    frames: Vec<Json>,
    /// The flow's variables, parameters among them.
    #[schema(value_type = Object)]
    variables: Json,
    /// What memory holds, as the program sees it, of a map or an array the first 100 entries; of the past, as far as the execution
    /// had seen it by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    memory: Option<Json>,
    /// The value of the expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    value: Option<Json>,
    /// What kept the expression from having one: `code` and `message`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    error: Option<Json>,
}

impl From<Inspected> for InspectedView {
    fn from(inspected: Inspected) -> Self {
        let (value, error) = match inspected.value {
            None => (None, None),
            Some(Ok(value)) => (Some(value), None),
            Some(Err(error)) => (None, Some(error)),
        };
        Self {
            execution_id: inspected.execution.id.to_string(),
            at: inspected.at,
            status: inspected.status.to_string(),
            frames: inspected.frames,
            variables: inspected.variables,
            memory: inspected.memory,
            value,
            error,
        }
    }
}

/// Look into an execution
///
/// As it stands, or as it stood after an entry of its journal. Secrets of the Core are masked; what is longer than a megabyte is
/// shown as `{"truncated": true}`.
#[utoipa::path(
    tag = "debug",
    operation_id = "inspect_execution",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    request_body = InspectBody,
    responses((status = 200, description = "What is there", body = DataOf<InspectedView>))
)]
#[post("/v1/modules/scaicore/cores/{core_id}/debug/inspect")]
pub(super) async fn inspect(
    caller: Allowed<perm::CoresDebug>,
    id: PathId<CoreId>,
    body: Body<InspectBody>,
    app: web::Data<App>,
) -> Result<Reply<InspectedView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let body = body.read().await?;
    let expression = body.expression.as_deref();
    Ok(Reply::ok(app.inspect(&caller, id.0, body.execution_id, body.at, expression).await?.into()))
}

/// Which state.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StateQuery {
    /// After which entry of the journal; left out for how it stands.
    #[param(value_type = Option<i64>)]
    at: Option<String>,
}

/// Get an execution's state at a step
///
/// Where it stood, and its variables, after an entry of its journal. Secrets of the Core are masked.
#[utoipa::path(
    tag = "executions",
    operation_id = "get_execution_state",
    params(("execution_id" = kinds::ExecutionId, Path, description = "The execution"), StateQuery),
    responses(
        (status = 200, description = "Its state", body = DataOf<InspectedView>),
        (status = 409, response = Conflict),
    )
)]
#[get("/v1/modules/scaicore/executions/{execution_id}/state")]
pub(super) async fn state(
    caller: Allowed<perm::CoresView>,
    id: PathId<ExecutionId>,
    filters: Filters<StateQuery>,
    app: web::Data<App>,
) -> Result<Reply<InspectedView>, Error> {
    app.require_known_execution(&caller, id.0).await?;
    let at = match filters.read()?.at {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| Error::invalid("at", "must be the number of an entry"))?),
    };
    Ok(Reply::ok(app.execution_state(&caller, id.0, at).await?.into()))
}

/// Retry a failed execution
///
/// It goes on from where it failed. What was recorded before that stays, and is not done again.
#[utoipa::path(
    tag = "executions",
    operation_id = "retry_execution",
    params(("execution_id" = kinds::ExecutionId, Path, description = "The execution")),
    responses((status = 202, description = "It goes on", body = DataOf<ExecutionView>))
)]
#[post("/v1/modules/scaicore/executions/{execution_id}/retry")]
pub(super) async fn retry(
    caller: Allowed<perm::CoresManage>,
    id: PathId<ExecutionId>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<ExecutionView>, Error> {
    Ok(Reply::accepted(app.retry_execution(&caller, &origin.context(), id.0).await?.into()))
}

/// Where to branch off.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct ForkBody {
    /// The last entry of the journal that the new execution shares.
    #[validate(range(min = 0))]
    #[schema(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    at: i64,
    /// What the new one is given; left out, the same. It must lead to the same steps up to there.
    #[schema(value_type = Option<Object>)]
    input: Option<Map<String, Json>>,
}

/// Fork an execution
///
/// A new execution that shares what this one has recorded up to an entry: nothing of that is done again. Checkpoints, timers and
/// calls that had no outcome by then are asked for anew.
#[utoipa::path(
    tag = "executions",
    operation_id = "fork_execution",
    params(("execution_id" = kinds::ExecutionId, Path, description = "The execution")),
    request_body = ForkBody,
    responses((status = 202, description = "The new execution", body = DataOf<ExecutionView>))
)]
#[post("/v1/modules/scaicore/executions/{execution_id}/fork")]
pub(super) async fn fork(
    caller: Allowed<perm::CoresManage>,
    id: PathId<ExecutionId>,
    origin: Origin,
    body: Body<ForkBody>,
    app: web::Data<App>,
) -> Result<Reply<ExecutionView>, Error> {
    app.require_known_execution(&caller, id.0).await?;
    let body = body.read().await?;
    let input = body.input.map(|input| Value::from_json(&Json::Object(input)));
    let forked = Forked { at: body.at, input, by: caller.user_id() };
    Ok(Reply::accepted(app.fork_execution(&caller, &origin.context(), id.0, forked).await?.into()))
}
