//! Following an execution: what it does, and how it stands.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use scaigrid_app::executions::{ExecutionFollower, ExecutionPosition, Happening, Reported, StatusReport};
use scaigrid_app::{self as app, App};
use scaigrid_http_macros::get;
use scaigrid_scope::{ExecutionId, perm};
use serde::Serialize;
use serde_json::Value as Json;
use tokio::sync::mpsc;

use super::executions::EntryView;
use super::wire::PausedView;
use crate::Error;
use crate::auth::Allowed;
use crate::openapi::kinds;
use crate::path::PathId;
use crate::sse::{self, Ending, Listening, Message};

/// The wait before another look where one has failed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What an event tells.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum EventView {
    /// An entry of the journal.
    Entry { entry: EntryView },
    /// Entries that are not kept any more, by the numbers of the first and the last.
    Gap { from: i64, to: i64 },
    /// How the execution stands.
    Status(Box<StatusView>),
}

/// How an execution stands, by the names that it has where the execution is shown whole.
#[derive(Debug, Serialize)]
struct StatusView {
    status: &'static str,
    checkpoints: Vec<String>,
    paused: Option<PausedView>,
    output: Option<Json>,
    error: Option<Json>,
    finished_at: Option<String>,
}

impl From<StatusReport> for StatusView {
    fn from(report: StatusReport) -> Self {
        Self {
            status: report.status.as_str(),
            checkpoints: report.checkpoints.iter().map(ToString::to_string).collect(),
            paused: report.pause.as_ref().map(Into::into),
            output: report.output,
            error: report.error,
            finished_at: report.finished_at.map(|at| at.to_string()),
        }
    }
}

impl From<Happening> for EventView {
    fn from(what: Happening) -> Self {
        match what {
            Happening::Entry(entry) => Self::Entry { entry: entry.into() },
            Happening::Gap { from, to } => Self::Gap { from, to },
            Happening::Standing(report) => Self::Status(Box::new((*report).into())),
        }
    }
}

/// Follow an execution
///
/// Server-sent events, each with an `id`: `{"event": "entry", "entry": {…}}` for each entry of its journal from the first on, as the
/// history shows them; `{"event": "status", "status", "checkpoints", "paused", "output", "error", "finished_at"}` where it stands
/// otherwise than was told before; `{"event": "gap", "from", "to"}` for entries that are not kept any more. After the event that
/// `Last-Event-ID` names nothing is left out and nothing told twice, on whichever node. It says something every 15 s, and
/// `event: end` with a `reason` when it ends: `completed`, `failed` or `cancelled` when the execution has ended and all was told;
/// `deleted`, `forbidden` or `shutdown`.
#[utoipa::path(
    tag = "executions",
    operation_id = "stream_execution",
    params(
        ("execution_id" = kinds::ExecutionId, Path, description = "The execution"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was heard"),
    ),
    responses(
        (status = 200, description = "Events, until the execution has ended or one side leaves", body = String, content_type = "text/event-stream"),
        (status = 422, description = "`Last-Event-ID` names no event of this stream")
    )
)]
#[get("/v1/modules/scaicore/executions/{execution_id}/stream")]
pub(super) async fn stream(
    caller: Allowed<perm::CoresView>,
    id: PathId<ExecutionId>,
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, Error> {
    let from = match last_position(&request) {
        Ok(from) => from,
        // What is not there is told before what is wrong with the question.
        Err(error) => {
            app.require_known_execution(&caller, id.0).await?;
            return Err(error);
        }
    };
    let listening = Listening::of(&request, &app)?;
    let (follower, place) = app.follow_execution(&caller, id.0, from).await?;
    let (start, (tell, told)) = (follower.position().to_string(), mpsc::channel(1));
    // In a task of its own: the caller may leave at any moment, a question to SQLite may not be dropped in the middle.
    actix_web::rt::spawn(follow(follower, tell));
    Ok(sse::respond(start, told, place, listening))
}

fn last_position(request: &HttpRequest) -> Result<Option<ExecutionPosition>, Error> {
    let from = sse::last_event_id(request)?.map(str::parse::<ExecutionPosition>).transpose();
    from.map_err(|error| Error::invalid("Last-Event-ID", error.to_string()))
}

async fn follow(mut follower: ExecutionFollower, tell: mpsc::Sender<Result<Vec<Message>, Ending>>) {
    while !tell.is_closed() {
        let piece: Option<Result<Vec<Message>, Ending>> = match follower.next().await {
            Ok(reports) if reports.is_empty() => None,
            Ok(reports) => Some(Ok(reports.into_iter().map(message).collect())),
            Err(error) => match app::Error::from(error) {
                app::Error::NotFound(_) => Some(Err(Ending::Deleted)),
                error => {
                    tracing::debug!(%error, "an execution cannot be followed just now");
                    actix_web::rt::time::sleep(LOOK_AGAIN).await;
                    None
                }
            },
        };
        let ended = follower.ended().map(|status| Err(Ending::Over(status)));
        for piece in piece.into_iter().chain(ended) {
            let ends = piece.is_err();
            if tell.send(piece).await.is_err() || ends {
                return;
            }
        }
    }
}

fn message(reported: Reported) -> Message {
    let data = serde_json::to_value(EventView::from(reported.what)).unwrap_or_default();
    Message::new(reported.position.to_string(), data)
}
