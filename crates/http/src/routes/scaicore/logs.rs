//! Logs: what programs, and the runtime about them, have to say.

use std::time::{Duration, Instant as Clock};

use actix_web::{HttpRequest, HttpResponse, web};
use scaigrid_app::App;
use scaigrid_app::inside::{Followed, KeptEntry, Level, LogFollower, LogPosition, LogQuery};
use scaigrid_app::{self as app, Page};
use scaigrid_http_macros::get;
use scaigrid_scope::{CoreId, ExecutionId, Instant, perm};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tokio::sync::mpsc;
use utoipa::{IntoParams, ToSchema};

use crate::Error;
use crate::auth::Allowed;
use crate::envelope::{DataOf, Reply};
use crate::filters::Filters;
use crate::openapi::kinds;
use crate::paging::{Bounds, PageParams, Paging, Seal};
use crate::path::PathId;
use crate::sse::{self, Ending, Listening, Message};

/// The most entries that a stream begins with.
const TAIL_AT_MOST: usize = 1_000;
/// The most characters of a text that is looked for.
const LONGEST_TEXT: usize = 200;
/// The wait before another look where one has failed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often a stream says at most that it has passed over what is not wanted.
const TELL_PASSED: Duration = Duration::from_secs(5);

/// Which entries are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CoreLogsQuery {
    /// Of at least this level: `debug`, `info`, `warn` or `error`.
    #[param(value_type = Option<kinds::LogLevel>)]
    level: Option<String>,
    /// Of this execution.
    #[param(value_type = Option<kinds::ExecutionId>)]
    execution_id: Option<ExecutionId>,
    /// At or after this instant (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Instant>,
    /// Before this instant (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Instant>,
    /// Whose message or fields hold this text, in whatever case.
    #[param(min_length = 1, max_length = 200)]
    q: Option<String>,
}

/// Which entries of an execution are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ExecutionLogsQuery {
    /// Of at least this level: `debug`, `info`, `warn` or `error`.
    #[param(value_type = Option<kinds::LogLevel>)]
    level: Option<String>,
    /// At or after this instant (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Instant>,
    /// Before this instant (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Instant>,
    /// Whose message or fields hold this text, in whatever case.
    #[param(min_length = 1, max_length = 200)]
    q: Option<String>,
}

fn level(text: Option<&str>) -> Result<Option<Level>, Error> {
    let level = text.map(str::parse::<Level>).transpose();
    level.map_err(|error| Error::invalid("level", error.to_string()))
}

fn sought(text: Option<String>) -> Result<Option<String>, Error> {
    match text {
        Some(text) if text.is_empty() || text.chars().count() > LONGEST_TEXT => {
            Err(Error::invalid("q", format!("must be 1 to {LONGEST_TEXT} long")))
        }
        text => Ok(text),
    }
}

/// An entry of a log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LogView {
    /// Its id, unique within the Core.
    id: String,
    /// When (RFC 3339, UTC).
    timestamp: String,
    /// `debug`, `info`, `warn` or `error`.
    level: &'static str,
    /// What a person reads.
    message: String,
    /// What goes with it.
    #[schema(value_type = Object)]
    fields: Json,
    /// The execution that it is about.
    execution_id: String,
    /// The flow.
    #[schema(required = true)]
    flow: Option<String>,
    /// The block.
    #[schema(required = true)]
    block: Option<String>,
    /// `program` or `runtime`.
    source: &'static str,
}

impl From<KeptEntry> for LogView {
    fn from(kept: KeptEntry) -> Self {
        let KeptEntry { place, execution_id, entry } = kept;
        let fields = if entry.fields.is_null() { Json::Object(serde_json::Map::new()) } else { entry.fields };
        Self {
            id: place.to_string(),
            timestamp: entry.at.to_string(),
            level: entry.level.as_str(),
            message: entry.message,
            fields,
            execution_id: execution_id.to_string(),
            flow: entry.flow.map(|flow| flow.to_string()),
            block: entry.block.map(|block| block.to_string()),
            source: entry.source.as_str(),
        }
    }
}

/// Entries of a log, and where the next page begins.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LogsView {
    /// Newest first.
    logs: Vec<LogView>,
    /// Whether more may follow; a page may be short, or empty, before the list is at its end.
    has_more: bool,
    /// The cursor of the next page.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

impl LogsView {
    fn of(page: Page<KeptEntry>, seal: &Seal) -> Self {
        let next_cursor = page.next.map(|cursor| seal.close(&cursor));
        let logs = page.items.into_iter().map(Into::into).collect();
        Self { logs, has_more: next_cursor.is_some(), next_cursor }
    }
}

/// List the log of a Core
///
/// What its program says, and the runtime about it, newest first. Secrets of the Core are masked.
#[utoipa::path(
    tag = "logs",
    operation_id = "list_core_logs",
    params(("core_id" = kinds::CoreId, Path, description = "The Core"), PageParams, CoreLogsQuery),
    responses((status = 200, description = "A page of entries", body = DataOf<LogsView>))
)]
#[get("/v1/modules/scaicore/cores/{core_id}/logs")]
pub(super) async fn of_core(
    caller: Allowed<perm::CoresView>,
    id: PathId<CoreId>,
    paging: Paging,
    filters: Filters<CoreLogsQuery>,
    app: web::Data<App>,
) -> Result<Reply<LogsView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let (page, seal) = paging.read("logs", &id.0.to_string(), &Bounds::LIST)?;
    let wanted = filters.read()?;
    let query = LogQuery {
        level: level(wanted.level.as_deref())?,
        execution_id: wanted.execution_id,
        since: wanted.since,
        until: wanted.until,
        q: sought(wanted.q)?,
    };
    Ok(Reply::ok(LogsView::of(app.core_logs(&caller, id.0, &query, &page).await?, &seal)))
}

/// List what is said of an execution
///
/// Newest first. Secrets of the Core are masked.
#[utoipa::path(
    tag = "logs",
    operation_id = "list_execution_logs",
    params(("execution_id" = kinds::ExecutionId, Path, description = "The execution"), PageParams, ExecutionLogsQuery),
    responses((status = 200, description = "A page of entries", body = DataOf<LogsView>))
)]
#[get("/v1/modules/scaicore/executions/{execution_id}/logs")]
pub(super) async fn of_execution(
    caller: Allowed<perm::CoresView>,
    id: PathId<ExecutionId>,
    paging: Paging,
    filters: Filters<ExecutionLogsQuery>,
    app: web::Data<App>,
) -> Result<Reply<LogsView>, Error> {
    app.require_known_execution(&caller, id.0).await?;
    let (page, seal) = paging.read("execution-logs", &id.0.to_string(), &Bounds::LIST)?;
    let wanted = filters.read()?;
    let query = LogQuery {
        level: level(wanted.level.as_deref())?,
        execution_id: None,
        since: wanted.since,
        until: wanted.until,
        q: sought(wanted.q)?,
    };
    Ok(Reply::ok(LogsView::of(app.execution_logs(&caller, id.0, &query, &page).await?, &seal)))
}

/// What a stream tells.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamQuery {
    /// Begin with so many of the last entries, at most 1000; without `Last-Event-ID` only.
    #[param(value_type = Option<u32>, maximum = 1000)]
    tail: Option<String>,
    /// Of at least this level: `debug`, `info`, `warn` or `error`.
    #[param(value_type = Option<kinds::LogLevel>)]
    level: Option<String>,
    /// Of this execution.
    #[param(value_type = Option<kinds::ExecutionId>)]
    execution_id: Option<ExecutionId>,
}

/// Follow the log of a Core
///
/// Server-sent events: each entry as `data`, with an `id`. A stream begins now, or after the entry that `Last-Event-ID` names:
/// then nothing is left out and nothing told twice, on whichever node. At its beginning, and now and then where entries do not
/// fit, comes an `id` alone. It says something every 15 s, and `event: end` with a
/// `reason` when it ends: `deleted`, `forbidden` or `shutdown`.
#[utoipa::path(
    tag = "logs",
    operation_id = "stream_core_logs",
    params(
        ("core_id" = kinds::CoreId, Path, description = "The Core"),
        StreamQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was heard"),
    ),
    responses((status = 200, description = "Events, until one side leaves", body = String, content_type = "text/event-stream"))
)]
#[get("/v1/modules/scaicore/cores/{core_id}/logs/stream")]
pub(super) async fn stream(
    caller: Allowed<perm::CoresView>,
    id: PathId<CoreId>,
    filters: Filters<StreamQuery>,
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let wanted = filters.read()?;
    let tail = match wanted.tail.as_deref() {
        None => 0,
        Some(text) => text.parse().ok().filter(|tail| *tail <= TAIL_AT_MOST).ok_or_else(|| {
            Error::invalid("tail", format!("must be a whole number from 0 to {TAIL_AT_MOST}"))
        })?,
    };
    let query = LogQuery {
        level: level(wanted.level.as_deref())?,
        execution_id: wanted.execution_id,
        ..LogQuery::default()
    };
    let from = sse::last_event_id(&request)?.map(str::parse::<LogPosition>).transpose();
    let from = from.map_err(|error| Error::invalid("Last-Event-ID", error.to_string()))?;
    let listening = Listening::of(&request, &app)?;
    let (follower, place) = app.follow_logs(&caller, id.0, from, tail).await?;
    let (from, (tell, told)) = (follower.position().to_string(), mpsc::channel(1));
    // In a task of its own: the caller may leave at any moment, a question to SQLite may not be dropped in the middle.
    actix_web::rt::spawn(follow(follower, query, tell));
    Ok(sse::respond(from, told, place, listening))
}

async fn follow(
    mut follower: LogFollower,
    query: LogQuery,
    tell: mpsc::Sender<Result<Vec<Message>, Ending>>,
) {
    let mut passed = Passed::default();
    while !tell.is_closed() {
        let piece = match follower.next().await {
            Ok(entries) => {
                let last = entries.last().map(|followed| followed.position.to_string());
                let wanted = entries.into_iter().filter(|followed| query.fits(&followed.kept));
                let mut messages: Vec<Message> = wanted.map(message).collect();
                messages.extend(passed.over(last, messages.last()));
                if messages.is_empty() {
                    continue;
                }
                Ok(messages)
            }
            Err(error) => match app::Error::from(error) {
                app::Error::NotFound(_) => Err(Ending::Deleted),
                error => {
                    tracing::warn!(%error, "a log cannot be followed just now");
                    actix_web::rt::time::sleep(LOOK_AGAIN).await;
                    continue;
                }
            },
        };
        let ends = piece.is_err();
        if tell.send(piece).await.is_err() || ends {
            return;
        }
    }
}

/// How far a log has been read of which nothing was wanted.
#[derive(Default)]
struct Passed {
    place: Option<String>,
    told_at: Option<Clock>,
}

impl Passed {
    /// Takes note of the last entry that was read and of the last one that is told; now and then there is something to tell of it,
    /// so that who comes again need not have all of it read once more, or not find it any more.
    fn over(&mut self, read: Option<String>, told: Option<&Message>) -> Option<Message> {
        if let Some(read) = read {
            self.place = Some(read).filter(|read| told.is_none_or(|told| !told.is_at(read)));
        }
        if self.told_at.is_some_and(|at| at.elapsed() < TELL_PASSED) {
            return None;
        }
        let id = self.place.take()?;
        self.told_at = Some(Clock::now());
        Some(Message::looked(id))
    }
}

fn message(followed: Followed) -> Message {
    let data = serde_json::to_value(LogView::from(followed.kept)).unwrap_or_default();
    Message::new(followed.position.to_string(), data)
}
