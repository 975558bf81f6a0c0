//! Executions: start one, see how far it has come, what it did, end it.

use std::time::Duration;

use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::executions::{ExecutionFilter, HistoryEntry, Invocation, LONGEST_WAIT};
use scaigrid_cores::execution::ExecutionStatus;
use scaigrid_http_macros::{get, post};
use scaigrid_ir::Value;
use scaigrid_scope::{CoreId, ExecutionId, Instant, perm};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::wire::ExecutionView;
use crate::Error;
use crate::auth::Allowed;
use crate::body::Body;
use crate::envelope::{DataOf, Listed, PageOf, Reply};
use crate::filters::Filters;
use crate::openapi::kinds;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;
use crate::request::Origin;

/// The longest wait, in milliseconds.
pub(super) const LONGEST_WAIT_MS: u64 = 60_000;
const _: () = assert!(LONGEST_WAIT.as_millis() == LONGEST_WAIT_MS as u128);

/// What to start.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct InvokeBody {
    /// The flow; may be left out where the program has one, or one with an API trigger.
    #[validate(length(min = 1, max = 200))]
    #[schema(example = "submit", min_length = 1, max_length = 200)]
    flow: Option<String>,
    /// Its parameters.
    #[serde(default)]
    #[schema(value_type = Object)]
    input: Map<String, Json>,
    /// The instance, for entity Cores.
    #[validate(length(min = 1, max = 512))]
    #[schema(min_length = 1, max_length = 512)]
    instance_key: Option<String>,
    /// How long to wait for the end, or for the first wait for a person: milliseconds, at most 60000. Left out, the
    /// answer comes as soon as the execution is accepted.
    #[validate(range(max = 60_000))]
    #[schema(maximum = 60000)]
    wait_ms: Option<u64>,
}

/// Start a flow
///
/// 200 with the execution when it has ended by then, 202 when it goes on, or waits for a person.
#[utoipa::path(
    tag = "executions",
    operation_id = "invoke_core",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    request_body = InvokeBody,
    responses(
        (status = 200, description = "It has ended", body = DataOf<ExecutionView>),
        (status = 202, description = "It goes on, or waits", body = DataOf<ExecutionView>),
    )
)]
#[post("/v1/modules/scaicore/cores/{core_id}/invoke")]
pub(super) async fn invoke(
    caller: Allowed<perm::CoresInvoke>,
    id: PathId<CoreId>,
    body: Body<InvokeBody>,
    app: web::Data<App>,
) -> Result<Reply<ExecutionView>, Error> {
    app.require_known_core(caller.tenant_scope(), id.0).await?;
    let body = body.read().await?;
    let invocation = Invocation {
        flow: body.flow,
        input: Value::from_json(&Json::Object(body.input)),
        instance_key: body.instance_key,
        wait: body.wait_ms.map(Duration::from_millis),
        by: Some(caller.user_id()),
    };
    let standing = app.invoke(&caller, id.0, invocation).await?;
    let ended = standing.execution.status.is_final();
    let view = ExecutionView::from(standing);
    Ok(if ended { Reply::ok(view) } else { Reply::accepted(view) })
}

/// Which executions are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ExecutionQuery {
    /// In this status.
    #[param(value_type = Option<kinds::ExecutionStatus>)]
    status: Option<String>,
    /// Of this flow.
    flow: Option<String>,
    /// Accepted at or after this instant (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Instant>,
    /// Accepted before this instant (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Instant>,
}

/// List the executions of a Core
///
/// Newest first.
#[utoipa::path(
    tag = "executions",
    operation_id = "list_executions",
    params(("core_id" = kinds::CoreId, Path, description = "The Core"), PageParams, ExecutionQuery),
    responses((status = 200, description = "A page of executions", body = PageOf<ExecutionView>))
)]
#[get("/v1/modules/scaicore/cores/{core_id}/executions")]
pub(super) async fn list(
    caller: Allowed<perm::CoresView>,
    id: PathId<CoreId>,
    paging: Paging,
    filters: Filters<ExecutionQuery>,
    app: web::Data<App>,
) -> Result<Listed<ExecutionView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let (page, seal) = paging.read("executions", &id.0.to_string(), &Bounds::LIST)?;
    let query = filters.read()?;
    let status = query.status.map(|text| text.parse::<ExecutionStatus>()).transpose();
    let filter = ExecutionFilter {
        core_id: None,
        status: status.map_err(|error| Error::invalid("status", error.to_string()))?,
        flow: query.flow,
        since: query.since,
        until: query.until,
    };
    Ok(Listed::new(app.executions(&caller, id.0, filter, &page).await?, &seal))
}

/// Get an execution
#[utoipa::path(
    tag = "executions",
    operation_id = "get_execution",
    params(("execution_id" = kinds::ExecutionId, Path, description = "The execution")),
    responses((status = 200, description = "The execution", body = DataOf<ExecutionView>))
)]
#[get("/v1/modules/scaicore/executions/{execution_id}")]
pub(super) async fn get(
    caller: Allowed<perm::CoresView>,
    id: PathId<ExecutionId>,
    app: web::Data<App>,
) -> Result<Reply<ExecutionView>, Error> {
    let view = ExecutionView::from(app.execution(&caller, id.0).await?);
    let used = app.execution_usage(&caller, id.0).await?;
    Ok(Reply::ok(ExecutionView { usage: Some(used.into()), ..view }))
}

/// Cancel an execution
///
/// Its `finally` bodies run; nothing new starts. 202 where another node has to do it.
#[utoipa::path(
    tag = "executions",
    operation_id = "cancel_execution",
    params(("execution_id" = kinds::ExecutionId, Path, description = "The execution")),
    responses(
        (status = 200, description = "It is cancelled", body = DataOf<ExecutionView>),
        (status = 202, description = "It will be", body = DataOf<ExecutionView>),
    )
)]
#[post("/v1/modules/scaicore/executions/{execution_id}/cancel")]
pub(super) async fn cancel(
    caller: Allowed<perm::CoresManage>,
    id: PathId<ExecutionId>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<ExecutionView>, Error> {
    let standing = app.cancel_execution(&caller, &origin.context(), id.0).await?;
    let ended = standing.execution.status.is_final();
    let view = ExecutionView::from(standing);
    Ok(if ended { Reply::ok(view) } else { Reply::accepted(view) })
}

/// An entry of a journal.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EntryView {
    /// Its number; entries of an execution are numbered from 0 without gaps.
    seq: i64,
    /// `started`, `effect`, `outcome`, `cancel`, `completed`, `failed` or `cancelled`, with its particulars. A first one that is
    /// `cut` stands for as many `entries`, up to its own number, which are not kept any more.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    entry: Json,
}

impl From<HistoryEntry> for EntryView {
    fn from(entry: HistoryEntry) -> Self {
        Self { seq: entry.seq, entry: entry.entry }
    }
}

/// Read an execution's journal
///
/// Everything that it did and that came of it, in order.
#[utoipa::path(
    tag = "executions",
    operation_id = "get_execution_history",
    params(("execution_id" = kinds::ExecutionId, Path, description = "The execution"), PageParams),
    responses((status = 200, description = "A page of entries", body = PageOf<EntryView>))
)]
#[get("/v1/modules/scaicore/executions/{execution_id}/history")]
pub(super) async fn history(
    caller: Allowed<perm::CoresView>,
    id: PathId<ExecutionId>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<EntryView>, Error> {
    let (page, seal) = match paging.read("history", &id.0.to_string(), &Bounds::LIST) {
        Ok(read) => read,
        // What is not there is told before what is wrong with the question.
        Err(error) => {
            app.require_known_execution(&caller, id.0).await?;
            return Err(error);
        }
    };
    Ok(Listed::new(app.execution_history(&caller, id.0, &page).await?, &seal))
}
