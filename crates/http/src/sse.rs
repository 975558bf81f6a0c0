//! Streams of server-sent events (WHATWG HTML, 9.2) that go on until somebody leaves: logs, and whatever else is followed.
//!
//! Whoever has something to tell is asked for the next piece only when the one before is on its way: a slow reader makes the
//! source wait and takes no memory. A stream says something every fifteen seconds at least, ends with an event `end` that says
//! why, and can be taken up again after the last `id` that was heard. It begins with one: an `id` without data sets what a
//! reader comes again with and tells it nothing, so that who is cut off before the first event misses none.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::HttpResponse;
use actix_web::body::BodyStream;
use actix_web::http::header;
use actix_web::web::Bytes;
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt as _};
use scaigrid_app::App;
use scaigrid_app::modules::TunnelPlace;
use scaigrid_app::workspace::rooms::may_follow;
use scaigrid_cores::execution::ExecutionStatus;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::auth::{Standing, is_over};
use crate::error::Error;
use crate::server::Edge;

/// How long nothing is said at most.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often it is asked whether the caller may still listen.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// How long a reader waits before it comes again, in milliseconds.
const COME_AGAIN_MS: u32 = 1_000;
/// The longest `Last-Event-ID` that is read.
const LONGEST_ID: usize = 2_048;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    /// What kind of event it is, where a stream has several.
    name: Option<&'static str>,
    /// Where to go on after it; none of what passes and is never told again.
    id: Option<String>,
    /// What it tells; none where there is nothing to tell but how far has been looked.
    data: Option<Value>,
}

impl Message {
    /// An event, after which one can go on.
    pub(crate) const fn new(id: String, data: Value) -> Self {
        Self { name: None, id: Some(id), data: Some(data) }
    }

    /// An event of a kind, after which one can go on.
    pub(crate) const fn of_kind(name: &'static str, id: String, data: Value) -> Self {
        Self { name: Some(name), id: Some(id), data: Some(data) }
    }

    /// An event of a kind that passes: who comes again is not told of it.
    pub(crate) const fn passing(name: &'static str, data: Value) -> Self {
        Self { name: Some(name), id: None, data: Some(data) }
    }

    /// Nothing but how far has been looked.
    pub(crate) const fn looked(id: String) -> Self {
        Self { name: None, id: Some(id), data: None }
    }

    /// Whether one can go on after it from there.
    pub(crate) fn is_at(&self, place: &str) -> bool {
        self.id.as_deref() == Some(place)
    }
}

/// Why a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// What was followed has come to its end, and all of it was told.
    Over(ExecutionStatus),
    /// What was followed is gone.
    Deleted,
    /// The caller may not listen any more.
    Forbidden,
    /// The node ends; another one goes on.
    Shutdown,
}

impl Ending {
    const fn reason(self) -> &'static str {
        match self {
            Self::Over(status) => status.as_str(),
            Self::Deleted => "deleted",
            Self::Forbidden => "forbidden",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What is told, piece by piece: events that belong together, or why there will be no more.
pub(crate) type Pieces = mpsc::Receiver<Result<Vec<Message>, Ending>>;

/// The id after which a caller wants to go on: `Last-Event-ID`.
pub(crate) fn last_event_id(request: &HttpRequest) -> Result<Option<&str>, Error> {
    let Some(value) = request.headers().get("last-event-id") else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| text.len() <= LONGEST_ID);
    let text =
        text.ok_or_else(|| Error::invalid("Last-Event-ID", "must be the id of an event of this stream"))?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// A stream to its caller.
pub(crate) struct Listening {
    standing: Standing,
    edge: Arc<Edge>,
    app: App,
    to: ListensTo,
}

/// What is listened to, for who may is not the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListensTo {
    Core,
    Room,
}

impl Listening {
    /// Whoever asks, of a Core.
    pub(crate) fn of(request: &HttpRequest, app: &App) -> Result<Self, Error> {
        let (standing, edge) = (Standing::of_request(request), Edge::of(request)?);
        Ok(Self { standing, edge, app: app.clone(), to: ListensTo::Core })
    }

    /// Whoever asks, of a room.
    pub(crate) fn to_room(request: &HttpRequest, app: &App) -> Result<Self, Error> {
        Ok(Self { to: ListensTo::Room, ..Self::of(request, app)? })
    }

    async fn may_go_on(&self) -> bool {
        let asked = match (self.standing.principal(&self.edge).await, self.to) {
            (Ok(principal), ListensTo::Core) => self.app.may_follow(&principal).await,
            (Ok(principal), ListensTo::Room) => Ok(may_follow(&principal)),
            (Err(error), _) => Err(error),
        };
        match asked {
            Ok(may) => may,
            Err(error) => !is_over(&error),
        }
    }

    /// Comes to its end when the caller may not go on.
    fn still(self) -> Pin<Box<dyn Future<Output = ()>>> {
        let asker = Rc::new(self);
        Box::pin(async move {
            loop {
                actix_web::rt::time::sleep(ASK_AGAIN).await;
                // In a task of its own: a stream may end at any moment, a question to SQLite may not be dropped in the middle.
                let asker = Rc::clone(&asker);
                let may = actix_web::rt::spawn(async move { asker.may_go_on().await }).await;
                if !may.unwrap_or(false) {
                    return;
                }
            }
        })
    }
}

/// The answer that tells all that comes behind a place, for as long as the caller listens and may, and the node lives.
pub(crate) fn respond(
    from: String,
    pieces: Pieces,
    place: TunnelPlace,
    listening: Listening,
) -> HttpResponse {
    let stream = told(from, pieces, place, listening.still(), HEARTBEAT);
    HttpResponse::Ok()
        .content_type("text/event-stream; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .body(BodyStream::new(stream.map(Ok::<Bytes, Infallible>)))
}

struct State {
    pieces: Pieces,
    place: TunnelPlace,
    still: Pin<Box<dyn Future<Output = ()>>>,
    /// Where it begins, until that was said.
    from: Option<String>,
}

fn told(
    from: String,
    pieces: Pieces,
    place: TunnelPlace,
    still: Pin<Box<dyn Future<Output = ()>>>,
    heartbeat: Duration,
) -> impl Stream<Item = Bytes> {
    let state = Some(State { pieces, place, still, from: Some(from) });
    unfold(state, move |state| async move {
        let mut state = state?;
        if let Some(from) = state.from.take() {
            // Something at once, so that the caller knows that it is heard.
            let first = format!("retry: {COME_AGAIN_MS}\nid: {from}\n\n");
            return Some((Bytes::from(first), Some(state)));
        }
        let ending = tokio::select! {
            biased;
            () = state.place.ended() => Ending::Shutdown,
            () = &mut state.still => Ending::Forbidden,
            piece = state.pieces.recv() => match piece {
                Some(Ok(messages)) => {
                    let text: String = messages.iter().map(event).collect();
                    return Some((Bytes::from(text), Some(state)));
                }
                Some(Err(ending)) => ending,
                // Whoever told has stopped without a word; the caller comes again.
                None => Ending::Shutdown,
            },
            () = actix_web::rt::time::sleep(heartbeat) => {
                return Some((Bytes::from_static(b": still here\n\n"), Some(state)));
            }
        };
        let data = json!({ "reason": ending.reason() });
        Some((Bytes::from(format!("event: end\ndata: {data}\n\n")), None))
    })
}

fn event(message: &Message) -> String {
    // JSON has no line breaks, and ids and names are of our own making.
    let name = message.name.map(|name| format!("event: {name}\n")).unwrap_or_default();
    let id = message.id.as_ref().map(|id| format!("id: {id}\n")).unwrap_or_default();
    let data = message.data.as_ref().map(|data| format!("data: {data}\n")).unwrap_or_default();
    format!("{name}{id}{data}\n")
}
