//! Checkpoints in the hands of people: reserved, dealt with many at once, followed, and what was decided.

use std::collections::BTreeSet;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use scaigrid_app::App;
use scaigrid_app::checkpoints::{BulkAction, InboxEvent, InboxFollower, InboxPiece, InboxPosition};
use scaigrid_checkpoints::Decision;
use scaigrid_http_macros::{get, post};
use scaigrid_scope::{CheckpointId, perm};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc;
use utoipa::ToSchema;
use validator::Validate;

use super::checkpoint_views::{CheckpointView, DecisionView};
use crate::Error;
use crate::auth::{Allowed, Standing};
use crate::body::Body;
use crate::envelope::{DataOf, Reply};
use crate::error::table;
use crate::openapi::kinds;
use crate::path::PathId;
use crate::request::Origin;
use crate::server::Edge;
use crate::sse::{self, Ending, Listening, Message};

/// The wait before another look where one has failed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Reserve a checkpoint
///
/// Until it is released, handed on or escalated nobody else may act on it. Who holds it already holds it still.
#[utoipa::path(
    tag = "checkpoints",
    operation_id = "claim_checkpoint",
    params(("checkpoint_id" = kinds::CheckpointId, Path, description = "The checkpoint")),
    responses((status = 200, description = "The checkpoint", body = DataOf<CheckpointView>))
)]
#[post("/v1/modules/scaicore/checkpoints/{checkpoint_id}/claim")]
pub(super) async fn claim(
    caller: Allowed<perm::CheckpointsResolve>,
    id: PathId<CheckpointId>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<CheckpointView>, Error> {
    Ok(Reply::ok(app.claim_checkpoint(&caller, &origin.context(), id.0).await?.into()))
}

/// Let a checkpoint go that was reserved
///
/// Those who run the tenant may do so for whoever holds it.
#[utoipa::path(
    tag = "checkpoints",
    operation_id = "release_checkpoint",
    params(("checkpoint_id" = kinds::CheckpointId, Path, description = "The checkpoint")),
    responses((status = 200, description = "The checkpoint", body = DataOf<CheckpointView>))
)]
#[post("/v1/modules/scaicore/checkpoints/{checkpoint_id}/release")]
pub(super) async fn release(
    caller: Allowed<perm::CheckpointsResolve>,
    id: PathId<CheckpointId>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<CheckpointView>, Error> {
    Ok(Reply::ok(app.release_checkpoint(&caller, &origin.context(), id.0).await?.into()))
}

/// Read the record of a decision
///
/// What was shown, who decided what, and what that authorised.
#[utoipa::path(
    tag = "checkpoints",
    operation_id = "get_checkpoint_decision",
    params(("checkpoint_id" = kinds::CheckpointId, Path, description = "The checkpoint")),
    responses((status = 200, description = "The record, as far as a decision was made", body = DataOf<DecisionView>))
)]
#[get("/v1/modules/scaicore/checkpoints/{checkpoint_id}/decision")]
pub(super) async fn decision_record(
    caller: Allowed<perm::CoresView>,
    id: PathId<CheckpointId>,
    app: web::Data<App>,
) -> Result<Reply<DecisionView>, Error> {
    Ok(Reply::ok(app.checkpoint_decision(&caller, id.0).await?.into()))
}

/// The same for many checkpoints.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct BulkBody {
    /// Which, each once.
    #[validate(length(min = 1, max = 100))]
    #[schema(value_type = kinds::CheckpointIds)]
    ids: Vec<String>,
    /// `resolve`, `cancel`, `reassign`, `claim` or `release`.
    #[schema(value_type = kinds::BulkAction)]
    action: String,
    /// What is decided, to resolve them.
    #[validate(length(min = 1, max = 1000))]
    #[schema(min_length = 1, max_length = 1000)]
    decision: Option<String>,
    /// More for the programs, to resolve them.
    response_data: Option<Value>,
    /// A note, to resolve or reassign them.
    #[validate(length(max = 10_000))]
    #[schema(max_length = 10000)]
    comment: Option<String>,
    /// `user:<id or e-mail>`, `group:<id or slug>` or `role:<role>`, to reassign them.
    #[validate(length(min = 1, max = 512))]
    #[schema(value_type = Option<kinds::Assignee>)]
    assignee: Option<String>,
}

impl BulkBody {
    fn ids(&self) -> Result<Vec<CheckpointId>, Error> {
        let mut seen = BTreeSet::new();
        let ids = self.ids.iter().enumerate().map(|(index, text)| {
            let wrong = |message: String| Error::invalid(format!("ids[{index}]"), message);
            let id: CheckpointId =
                text.parse().map_err(|_| wrong("must be the id of a checkpoint".to_owned()))?;
            if seen.insert(id) { Ok(id) } else { Err(wrong("is there twice".to_owned())) }
        });
        ids.collect()
    }

    fn action(self) -> Result<BulkAction, Error> {
        let stray = |allowed: &[&str]| {
            let given = [
                ("decision", self.decision.is_some()),
                ("response_data", self.response_data.is_some()),
                ("comment", self.comment.is_some()),
                ("assignee", self.assignee.is_some()),
            ];
            let stray = given.into_iter().find(|(name, given)| *given && !allowed.contains(name));
            match stray {
                Some((name, _)) => Err(Error::invalid(name, format!("does not go with {}", self.action))),
                None => Ok(()),
            }
        };
        match self.action.as_str() {
            "resolve" => {
                stray(&["decision", "response_data", "comment"])?;
                let decision = self.decision.ok_or_else(|| Error::invalid("decision", "is required"))?;
                let (response_data, comment) = (self.response_data, self.comment);
                Ok(BulkAction::Resolve(Decision { decision, response_data, comment }))
            }
            "reassign" => {
                stray(&["assignee", "comment"])?;
                let assignee = self.assignee.ok_or_else(|| Error::invalid("assignee", "is required"))?;
                Ok(BulkAction::Reassign { assignee, comment: self.comment })
            }
            "cancel" => stray(&[]).map(|()| BulkAction::Cancel),
            "claim" => stray(&[]).map(|()| BulkAction::Claim),
            "release" => stray(&[]).map(|()| BulkAction::Release),
            _ => Err(Error::invalid("action", "must be one of resolve, cancel, reassign, claim, release")),
        }
    }
}

/// What became of one of many.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BulkResultView {
    /// The checkpoint.
    id: String,
    /// How it stands: `pending`, `resolved`, `expired` or `cancelled`; `error` where it was not done.
    status: String,
    /// Why it was not done, by the code that it would be answered with by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "CHECKPOINT_ALREADY_RESOLVED")]
    code: Option<&'static str>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// What became of many.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BulkView {
    /// One for each, in the order of the request.
    results: Vec<BulkResultView>,
}

/// Do the same to many checkpoints
///
/// Each is done by itself, under the same rules as by its own route: what is refused for one holds up no other. At most a hundred.
#[utoipa::path(
    tag = "checkpoints",
    operation_id = "act_on_checkpoints",
    request_body = BulkBody,
    responses((status = 200, description = "What became of each", body = DataOf<BulkView>))
)]
#[post("/v1/modules/scaicore/checkpoints/bulk")]
pub(super) async fn bulk(
    caller: Allowed<perm::CheckpointsResolve>,
    origin: Origin,
    body: Body<BulkBody>,
    app: web::Data<App>,
) -> Result<Reply<BulkView>, Error> {
    let body = body.read().await?;
    let ids = body.ids()?;
    let action = body.action()?;
    let done = Box::pin(app.act_on_checkpoints(&caller, &origin.context(), &ids, &action)).await;
    let results = done.into_iter().map(|(id, done)| match done {
        Ok(stored) => {
            let status = stored.checkpoint.status().to_string();
            BulkResultView { id: id.to_string(), status, code: None, message: None }
        }
        Err(error) => {
            if let scaigrid_app::Error::Internal(source) = &error {
                tracing::error!(error = %source, checkpoint = %id, "one of many failed inside");
            }
            let error = Error::App(error);
            let (code, message) = (table::row(&error).grid, error.to_string());
            BulkResultView {
                id: id.to_string(),
                status: "error".into(),
                code: Some(code),
                message: Some(message),
            }
        }
    });
    Ok(Reply::ok(BulkView { results: results.collect() }))
}

/// Follow the caller's inbox
///
/// Server-sent events: `{"event": "open" | "closed", "checkpoint": {…}}` as `data`, with an `id`. A stream begins with what waits for
/// the caller; then it tells of every checkpoint that changes and asks them, or did: `open` where it waits for them, `closed` where
/// it does not any more. After the event that `Last-Event-ID` names nothing is left out and nothing told twice, on whichever node.
/// It says something every 15 s, and `event: end` with a `reason` when it ends: `forbidden` or `shutdown`.
#[utoipa::path(
    tag = "checkpoints",
    operation_id = "stream_checkpoints",
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was heard")),
    responses(
        (status = 200, description = "Events, until one side leaves", body = String, content_type = "text/event-stream"),
        (status = 422, description = "`Last-Event-ID` names no event of such a stream")
    )
)]
#[get("/v1/modules/scaicore/checkpoints/stream")]
pub(super) async fn stream(
    caller: Allowed<perm::CoresView>,
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, Error> {
    let from = sse::last_event_id(&request)?.map(str::parse::<InboxPosition>).transpose();
    let from = from.map_err(|error| Error::invalid("Last-Event-ID", error.to_string()))?;
    let listening = Listening::of(&request, &app)?;
    let (standing, edge) = (Standing::of_request(&request), Edge::of(&request)?);
    // Where nothing was told yet, whoever comes again begins anew.
    let start = from.as_ref().map(ToString::to_string).unwrap_or_default();
    let (follower, place) = app.follow_inbox(&caller, from)?;
    let (tell, told) = mpsc::channel(1);
    // In a task of its own: the caller may leave at any moment, a question to SQLite may not be dropped in the middle.
    actix_web::rt::spawn(follow(follower, standing, edge, tell));
    Ok(sse::respond(start, told, place, listening))
}

async fn follow(
    mut follower: InboxFollower,
    standing: Standing,
    edge: Arc<Edge>,
    tell: mpsc::Sender<Result<Vec<Message>, Ending>>,
) {
    while !tell.is_closed() {
        // What is theirs is told by who they are now. Whether they may listen at all is asked elsewhere.
        let found = match standing.principal(&edge).await {
            Ok(principal) => follower.next(&principal).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(InboxPiece { events, looked }) => {
                let looked = looked.map(|position| Message::looked(position.to_string()));
                let messages: Vec<Message> = events.into_iter().map(message).chain(looked).collect();
                if !messages.is_empty() && tell.send(Ok(messages)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "an inbox cannot be followed just now");
                actix_web::rt::time::sleep(LOOK_AGAIN).await;
            }
        }
    }
}

fn message(event: InboxEvent) -> Message {
    let id = event.position.map(|position| position.to_string()).unwrap_or_default();
    let kind = if event.waits { "open" } else { "closed" };
    let view = CheckpointView::from(event.checkpoint);
    Message::new(id, json!({ "event": kind, "checkpoint": view }))
}
