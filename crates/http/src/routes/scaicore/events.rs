//! Events: send one to a Core, see those that were.

use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::executions::{CoreEvent, EventFilter};
use scaigrid_app::inside::Happened;
use scaigrid_http_macros::{get, post};
use scaigrid_ir::Value;
use scaigrid_scope::{CoreId, ExecutionId, Instant, perm};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use crate::Error;
use crate::auth::Allowed;
use crate::body::Body;
use crate::envelope::{DataOf, Reply};
use crate::filters::Filters;
use crate::openapi::kinds;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;

/// An event.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct EventBody {
    /// Its name.
    #[validate(length(min = 1, max = 200))]
    #[schema(example = "expense.submitted", min_length = 1, max_length = 200)]
    event_name: String,
    /// What it carries.
    #[serde(default)]
    #[schema(value_type = Value)]
    data: Json,
}

/// An event that was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TakenView {
    /// The event.
    event_id: String,
    /// The executions that it started.
    executions: Vec<String>,
}

/// Send an event to a Core
///
/// Every flow that listens to it gets an execution of its own.
#[utoipa::path(
    tag = "events",
    operation_id = "send_event",
    params(("core_id" = kinds::CoreId, Path, description = "The Core")),
    request_body = EventBody,
    responses((status = 202, description = "It was taken", body = DataOf<TakenView>))
)]
#[post("/v1/modules/scaicore/cores/{core_id}/events")]
pub(super) async fn send(
    caller: Allowed<perm::CoresInvoke>,
    id: PathId<CoreId>,
    body: Body<EventBody>,
    app: web::Data<App>,
) -> Result<Reply<TakenView>, Error> {
    app.require_known_core(caller.tenant_scope(), id.0).await?;
    let body = body.read().await?;
    let taken = app.send_event(&caller, id.0, &body.event_name, Value::from_json(&body.data)).await?;
    let executions = taken.executions.iter().map(ToString::to_string).collect();
    Ok(Reply::accepted(TakenView { event_id: taken.event_id.to_string(), executions }))
}

/// Which events are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EventQuery {
    /// Of this name.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<String>,
    /// Published by this execution, or told of it.
    #[param(value_type = Option<kinds::ExecutionId>)]
    execution_id: Option<ExecutionId>,
    /// At or after this instant (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Instant>,
    /// Before this instant (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Instant>,
}

/// An event of a Core.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventView {
    /// Its id.
    id: String,
    /// Its name.
    #[serde(rename = "type")]
    kind: String,
    /// The Core.
    core_id: String,
    /// When (RFC 3339, UTC).
    timestamp: String,
    /// What it carried, and which execution published it.
    #[schema(value_type = Value)]
    payload: Json,
    /// What became of it with each who listens to its name: `listener` (`trigger:<name>`, `subscription`, `wait`), `core_id`, `flow`, and
    /// `result`: `started` or `woke` with `execution_id`, `filter_false`, `filter_error` with `reason`, `core_not_running` with
    /// `status`, `unfit` or `broken` with `reason`, `duplicate`. At most 100 of them, then how many `more`. Left out of what the
    /// runtime tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    listeners: Option<Json>,
}

impl From<Happened> for EventView {
    fn from(happened: Happened) -> Self {
        match happened {
            Happened::Event(event) => event.into(),
            Happened::Runtime(event) => Self {
                id: format!("run_{}", event.place),
                kind: event.kind,
                core_id: String::new(),
                timestamp: event.at.to_string(),
                payload: event.payload,
                listeners: None,
            },
        }
    }
}

impl From<CoreEvent> for EventView {
    fn from(event: CoreEvent) -> Self {
        let execution = event.execution_id.map(|id| id.to_string());
        Self {
            id: event.id.to_string(),
            kind: event.name,
            core_id: event.core_id.to_string(),
            timestamp: event.at.to_string(),
            payload: serde_json::json!({"execution_id": execution, "data": event.data.to_json()}),
            listeners: Some(event.heard.unwrap_or_else(|| Json::Array(Vec::new()))),
        }
    }
}

/// Events of a Core, and where the next page begins.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventsView {
    /// Newest first.
    events: Vec<EventView>,
    /// Whether more may follow; a page may be short, or empty, before the list is at its end.
    has_more: bool,
    /// The cursor of the next page.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// List the events of a Core
///
/// Those that were sent to it, those that its flows published, and what the runtime tells of its executions and their blocks
/// (`scaicore.runtime.invocation.started`, `….completed`, `….failed`, `scaicore.runtime.block.entered`, `….exited`, `….failed`),
/// newest first. What the runtime tells has the time at which it became durable.
#[utoipa::path(
    tag = "events",
    operation_id = "list_events",
    params(("core_id" = kinds::CoreId, Path, description = "The Core"), PageParams, EventQuery),
    responses((status = 200, description = "A page of events", body = DataOf<EventsView>))
)]
#[get("/v1/modules/scaicore/cores/{core_id}/events/history")]
pub(super) async fn history(
    caller: Allowed<perm::CoresView>,
    id: PathId<CoreId>,
    paging: Paging,
    filters: Filters<EventQuery>,
    app: web::Data<App>,
) -> Result<Reply<EventsView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let (page, seal) = paging.read("events", &id.0.to_string(), &Bounds::LIST)?;
    let query = filters.read()?;
    let filter = EventFilter {
        name: query.kind,
        execution_id: query.execution_id,
        since: query.since,
        until: query.until,
    };
    let found = app.core_history(&caller, id.0, &filter, &page).await?;
    let next_cursor = found.next.map(|cursor| seal.close(&cursor));
    let core_id = id.0.to_string();
    let events = found.items.into_iter().map(|item| EventView { core_id: core_id.clone(), ..item.into() });
    let events = events.collect();
    Ok(Reply::ok(EventsView { events, has_more: next_cursor.is_some(), next_cursor }))
}
