//! Following a room.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use scaigrid_app::workspace::rooms::{RoomEvent, RoomFollower};
use scaigrid_app::{self as app, App};
use scaigrid_http_macros::get;
use scaigrid_scope::{RoomId, perm};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use utoipa::IntoParams;

use super::messages::MessageView;
use crate::auth::Allowed;
use crate::error::Error;
use crate::filters::Filters;
use crate::openapi::{ServiceConfig, kinds};
use crate::path::PathId;
use crate::sse::{self, Ending, Listening, Message};

/// The wait before another look where one has failed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What a stream begins with.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct StreamQuery {
    /// Begin with so many of the last messages, at most 200; without `Last-Event-ID` only.
    #[param(value_type = Option<u32>, maximum = 200)]
    tail: Option<String>,
}

/// Follow a room that the caller is in
///
/// Server-sent events. `message`: a message, whose `seq` is the event's `id`; the stream begins now, or after the message that
/// `Last-Event-ID` names: then none is left out and none told twice, on whichever node. `delta`, without an `id`: what comes next in
/// an answer that is not a message yet, `{answer_id, participant_id, text, first}`; `first` begins the answer anew. Of an answer come
/// all pieces from the first on, or no more of them, and always the message. It says something every 15 s, and `event: end` with a
/// `reason` when it ends: `forbidden`, as when the caller is in the room no more, or `shutdown`.
#[utoipa::path(
    tag = "rooms",
    operation_id = "stream_room",
    params(
        ("room_id" = kinds::RoomId, Path, example = "room_01JZ8QZ5T0000000000000000A"),
        StreamQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was heard"),
    ),
    responses((status = 200, description = "Events, until one side leaves", body = String, content_type = "text/event-stream"))
)]
#[get("/v1/rooms/{room_id}/stream")]
async fn stream(
    caller: Allowed<perm::ModelsUse>,
    id: PathId<RoomId>,
    filters: Filters<StreamQuery>,
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, Error> {
    app.require_room(&caller, id.0).await?;
    let tail = match filters.read()?.tail.as_deref() {
        None => 0,
        Some(text) => {
            text.parse().ok().filter(|tail| (0..=App::ROOM_TAIL_AT_MOST).contains(tail)).ok_or_else(|| {
                Error::invalid("tail", format!("must be a whole number from 0 to {}", App::ROOM_TAIL_AT_MOST))
            })?
        }
    };
    let from = sse::last_event_id(&request)?.map(|text| text.parse().ok().filter(|from: &i64| *from >= 0));
    let from = from.map(|from| {
        from.ok_or_else(|| Error::invalid("Last-Event-ID", "must be the id of an event of this stream"))
    });
    let from = from.transpose()?;
    let listening = Listening::to_room(&request, &app)?;
    let (follower, place) = app.follow_room(&caller, id.0, from, tail).await?;
    let (begin, (tell, told)) = (follower.position().to_string(), mpsc::channel(1));
    // In a task of its own: the caller may leave at any moment, a question to SQLite may not be dropped in the middle.
    actix_web::rt::spawn(follow(follower, tell));
    Ok(sse::respond(begin, told, place, listening))
}

async fn follow(mut follower: RoomFollower, tell: mpsc::Sender<Result<Vec<Message>, Ending>>) {
    while !tell.is_closed() {
        let piece = match follower.next().await {
            Ok(events) if events.is_empty() => continue,
            Ok(events) => Ok(events.into_iter().map(message).collect()),
            // Whoever is in it no more may not listen to it.
            Err(app::Error::NotFound(_)) => Err(Ending::Forbidden),
            Err(error) => {
                tracing::warn!(%error, "a room cannot be followed just now");
                actix_web::rt::time::sleep(LOOK_AGAIN).await;
                continue;
            }
        };
        let ends = piece.is_err();
        if tell.send(piece).await.is_err() || ends {
            return;
        }
    }
}

fn message(event: RoomEvent) -> Message {
    match event {
        RoomEvent::Message(said) => {
            let id = said.message.seq.to_string();
            let data = serde_json::to_value(MessageView::from(*said)).unwrap_or_default();
            Message::of_kind("message", id, data)
        }
        RoomEvent::Delta { answer_id, participant_id, text, first } => {
            let data = json!({
                "answer_id": answer_id, "participant_id": participant_id, "text": text, "first": first,
            });
            Message::passing("delta", data)
        }
    }
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(stream);
}
