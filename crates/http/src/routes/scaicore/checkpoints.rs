//! Checkpoints: what waits for a person, and deciding it.

use std::time::Duration;

use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::checkpoints::{CheckpointFilter, Decided};
use scaigrid_checkpoints::{Assignee, CheckpointStatus, Decision, Priority};
use scaigrid_http_macros::{get, post};
use scaigrid_scope::{CheckpointId, CoreId, perm};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::checkpoint_views::{CheckpointEventView, CheckpointView};
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

/// Which checkpoints are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct InboxQuery {
    /// Of this Core.
    #[param(value_type = Option<kinds::CoreId>)]
    core_id: Option<CoreId>,
    /// `low`, `normal`, `high` or `critical`.
    #[param(value_type = Option<kinds::CheckpointPriority>)]
    priority: Option<String>,
    /// Of this type.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<String>,
}

impl InboxQuery {
    fn filter(self) -> Result<CheckpointFilter, Error> {
        Ok(CheckpointFilter {
            core_id: self.core_id,
            priority: read::<Priority>("priority", self.priority.as_deref())?,
            checkpoint_type: self.kind,
            ..CheckpointFilter::default()
        })
    }
}

/// Reads a parameter by its text.
fn read<T>(name: &str, text: Option<&str>) -> Result<Option<T>, Error>
where
    T: std::str::FromStr,
    T::Err: ToString,
{
    text.map(str::parse).transpose().map_err(|error: T::Err| Error::invalid(name, error.to_string()))
}

/// List what waits for the caller
///
/// Pending checkpoints that ask the caller, one of their groups or one of their roles, and that they may decide; for those who run
/// the tenant also those that ask nobody. Newest first.
#[utoipa::path(
    tag = "checkpoints",
    operation_id = "list_checkpoints",
    params(PageParams, InboxQuery),
    responses((status = 200, description = "A page of checkpoints", body = PageOf<CheckpointView>))
)]
#[get("/v1/modules/scaicore/checkpoints")]
pub(super) async fn inbox(
    caller: Allowed<perm::CoresView>,
    paging: Paging,
    filters: Filters<InboxQuery>,
    app: web::Data<App>,
) -> Result<Listed<CheckpointView>, Error> {
    let whose = format!("{} {}", caller.tenant().id, caller.user_id());
    let (page, seal) = paging.read("inbox", &whose, &Bounds::LIST)?;
    let filter = filters.read()?.filter()?;
    Ok(Listed::new(app.inbox(&caller, filter, &page).await?, &seal))
}

/// Which of all checkpoints are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AllQuery {
    /// Of this Core.
    #[param(value_type = Option<kinds::CoreId>)]
    core_id: Option<CoreId>,
    /// `low`, `normal`, `high` or `critical`.
    #[param(value_type = Option<kinds::CheckpointPriority>)]
    priority: Option<String>,
    /// Of this type.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<String>,
    /// `pending`, `resolved`, `expired` or `cancelled`.
    #[param(value_type = Option<kinds::CheckpointStatus>)]
    status: Option<String>,
    /// Asking this one: `user:…`, `group:…` or `role:…`.
    assignee: Option<String>,
}

/// List every checkpoint of the tenant
///
/// For those who run the tenant. Newest first.
#[utoipa::path(
    tag = "checkpoints",
    operation_id = "list_all_checkpoints",
    params(PageParams, AllQuery),
    responses((status = 200, description = "A page of checkpoints", body = PageOf<CheckpointView>))
)]
#[get("/v1/modules/scaicore/checkpoints/all")]
pub(super) async fn all(
    caller: Allowed<perm::CoresView>,
    paging: Paging,
    filters: Filters<AllQuery>,
    app: web::Data<App>,
) -> Result<Listed<CheckpointView>, Error> {
    app.require_tenant_admin(&caller)?;
    let (page, seal) = paging.read("checkpoints", &caller.tenant().id.to_string(), &Bounds::LIST)?;
    let query = filters.read()?;
    let assignee = query.assignee.as_deref().map(|text| Assignee::parse(Some(text), None)).transpose();
    let assignee = assignee.map_err(|error| Error::invalid("assignee", error.to_string()))?;
    let filter = CheckpointFilter {
        status: read::<CheckpointStatus>("status", query.status.as_deref())?,
        assignees: assignee.map(|assignee| vec![assignee]),
        ..InboxQuery { core_id: query.core_id, priority: query.priority, kind: query.kind }.filter()?
    };
    Ok(Listed::new(app.all_checkpoints(&caller, filter, &page).await?, &seal))
}

/// Get a checkpoint
#[utoipa::path(
    tag = "checkpoints",
    operation_id = "get_checkpoint",
    params(("checkpoint_id" = kinds::CheckpointId, Path, description = "The checkpoint")),
    responses((status = 200, description = "The checkpoint", body = DataOf<CheckpointView>))
)]
#[get("/v1/modules/scaicore/checkpoints/{checkpoint_id}")]
pub(super) async fn get(
    caller: Allowed<perm::CoresView>,
    id: PathId<CheckpointId>,
    app: web::Data<App>,
) -> Result<Reply<CheckpointView>, Error> {
    let stored = app.checkpoint(&caller, id.0).await?;
    let warnings = app.checkpoint_warnings(&caller, &stored.checkpoint).await?;
    Ok(Reply::ok(CheckpointView::from(stored).with_warnings(warnings)))
}

fn decided(decided: Decided) -> Reply<CheckpointView> {
    let execution = ExecutionView::from(decided.standing);
    let view = CheckpointView::from(decided.checkpoint);
    Reply::ok(CheckpointView { execution: Some(execution), ..view })
}

/// A decision.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct ResolveBody {
    /// What is decided: one of the checkpoint's options, if it has any.
    #[validate(length(min = 1, max = 1000))]
    #[schema(example = "approve", min_length = 1, max_length = 1000)]
    decision: String,
    /// More for the program.
    response_data: Option<Value>,
    /// A note for people; the program sees it too.
    #[validate(length(max = 10_000))]
    #[schema(max_length = 10000)]
    comment: Option<String>,
    /// How long to wait for the execution's end, or for its next wait: milliseconds, at most 60000.
    #[validate(range(max = 60_000))]
    #[schema(maximum = 60000)]
    wait_ms: Option<u64>,
}

/// Decide a checkpoint
///
/// Exactly one decision is taken; whoever comes later is told that it was decided already. The execution goes on at once; the
/// answer shows it as it stands then. Where several must decide alike, the answer is pending until the last of them has.
#[utoipa::path(
    tag = "checkpoints",
    operation_id = "resolve_checkpoint",
    params(("checkpoint_id" = kinds::CheckpointId, Path, description = "The checkpoint")),
    request_body = ResolveBody,
    responses((status = 200, description = "The checkpoint, and its execution", body = DataOf<CheckpointView>))
)]
#[post("/v1/modules/scaicore/checkpoints/{checkpoint_id}/resolve")]
pub(super) async fn resolve(
    caller: Allowed<perm::CheckpointsResolve>,
    id: PathId<CheckpointId>,
    origin: Origin,
    body: Body<ResolveBody>,
    app: web::Data<App>,
) -> Result<Reply<CheckpointView>, Error> {
    let body = match body.read().await {
        Ok(body) => body,
        Err(error) => {
            app.checkpoint(&caller, id.0).await?;
            return Err(error);
        }
    };
    let wait = body.wait_ms.map(Duration::from_millis);
    let decision =
        Decision { decision: body.decision, response_data: body.response_data, comment: body.comment };
    // In a box: what goes on with an execution is large.
    let context = origin.context();
    let taken = Box::pin(app.resolve_checkpoint(&caller, &context, id.0, decision, wait)).await?;
    Ok(decided(taken))
}

/// Cancel a checkpoint
///
/// No decision is made; the execution ends as cancelled.
#[utoipa::path(
    tag = "checkpoints",
    operation_id = "cancel_checkpoint",
    params(("checkpoint_id" = kinds::CheckpointId, Path, description = "The checkpoint")),
    responses((status = 200, description = "The checkpoint, and its execution", body = DataOf<CheckpointView>))
)]
#[post("/v1/modules/scaicore/checkpoints/{checkpoint_id}/cancel")]
pub(super) async fn cancel(
    caller: Allowed<perm::CheckpointsResolve>,
    id: PathId<CheckpointId>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<CheckpointView>, Error> {
    Ok(decided(app.cancel_checkpoint(&caller, &origin.context(), id.0).await?))
}

/// Who is to be asked.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct ReassignBody {
    /// `user:<id or e-mail>`, `group:<id or slug>` or `role:<role>`.
    #[validate(length(min = 1, max = 512))]
    #[schema(value_type = kinds::Assignee)]
    assignee: String,
    /// Why.
    #[validate(length(max = 10_000))]
    #[schema(max_length = 10000)]
    comment: Option<String>,
}

/// Ask somebody else
#[utoipa::path(
    tag = "checkpoints",
    operation_id = "reassign_checkpoint",
    params(("checkpoint_id" = kinds::CheckpointId, Path, description = "The checkpoint")),
    request_body = ReassignBody,
    responses((status = 200, description = "The checkpoint", body = DataOf<CheckpointView>))
)]
#[post("/v1/modules/scaicore/checkpoints/{checkpoint_id}/reassign")]
pub(super) async fn reassign(
    caller: Allowed<perm::CheckpointsResolve>,
    id: PathId<CheckpointId>,
    origin: Origin,
    body: Body<ReassignBody>,
    app: web::Data<App>,
) -> Result<Reply<CheckpointView>, Error> {
    app.checkpoint(&caller, id.0).await?;
    let body = body.read().await?;
    let context = origin.context();
    let comment = body.comment.as_deref();
    let moved = Box::pin(app.reassign_checkpoint(&caller, &context, id.0, &body.assignee, comment)).await?;
    let warnings = app.checkpoint_warnings(&caller, &moved.checkpoint.checkpoint).await?;
    Ok(Reply::ok(CheckpointView::from(moved.checkpoint).with_warnings(warnings)))
}

/// What happened to a checkpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HistoryView {
    /// In order.
    items: Vec<CheckpointEventView>,
}

/// Read a checkpoint's history
#[utoipa::path(
    tag = "checkpoints",
    operation_id = "get_checkpoint_history",
    params(("checkpoint_id" = kinds::CheckpointId, Path, description = "The checkpoint")),
    responses((status = 200, description = "What happened to it", body = DataOf<HistoryView>))
)]
#[get("/v1/modules/scaicore/checkpoints/{checkpoint_id}/history")]
pub(super) async fn history(
    caller: Allowed<perm::CoresView>,
    id: PathId<CheckpointId>,
    app: web::Data<App>,
) -> Result<Reply<HistoryView>, Error> {
    let events = app.checkpoint_history(&caller, id.0).await?;
    Ok(Reply::ok(HistoryView { items: events.into_iter().map(Into::into).collect() }))
}
