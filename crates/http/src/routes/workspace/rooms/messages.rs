//! What is said in a room.

use std::time::Duration;

use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::workspace::rooms::{NewPost, Posted, ShownMessage};
use scaigrid_http_macros::{get, post};
use scaigrid_scope::{Instant, RoomId, perm};
use scaigrid_workspace::{MessageText, ParticipantRef};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::members::SpeakerView;
use crate::auth::Allowed;
use crate::body::Body;
use crate::envelope::{DataOf, Listed, PageOf, Reply};
use crate::error::Error;
use crate::filters::Filters;
use crate::openapi::{ServiceConfig, kinds};
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;
use crate::request::Origin;
use crate::routes::given::Problems;

/// The longest that an answer is waited for.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// What is to be said.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"text": "@code-helper What does this do?"}))]
struct NewRoomMessage {
    /// At most 64 KiB, not blank. `@` where a word begins and a local id behind it is a mention.
    #[schema(value_type = kinds::MessageText)]
    text: String,
    /// Who is meant beside those in the text, by id or local id: AIs, or people in the room; at most 50.
    #[validate(length(max = 50))]
    #[serde(default)]
    #[schema(value_type = Vec<kinds::ParticipantRef>, max_items = 50)]
    mentions: Vec<String>,
}

/// Which messages are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct MessageQuery {
    /// Only those behind this number, and in their order rather than newest first.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    after_seq: Option<String>,
}

/// Whether to wait.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct WaitQuery {
    /// How long to wait for the answers that AIs owe: milliseconds, at most 60000. Left out, there is no waiting.
    #[param(value_type = Option<u32>, maximum = 60000)]
    wait_ms: Option<String>,
}

/// What a model was asked and gave.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RoomMessageUsage)]
struct UsageView {
    input_tokens: u64,
    output_tokens: u64,
}

/// A message of a room.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RoomMessage)]
pub(super) struct MessageView {
    #[schema(example = "msg_01JZ8QZ5T0000000000000000A")]
    id: String,
    room_id: String,
    /// Its number in the room, from 1, without gaps.
    seq: i64,
    /// `text`, or `failure`: an AI could not answer.
    #[schema(example = "text")]
    kind: &'static str,
    author: SpeakerView,
    text: String,
    /// The participants who are meant.
    mentions: Vec<String>,
    /// Of an AI's answer its id; long ones may come as several messages.
    #[schema(required = true, example = "ans_01JZ8QZ5T0000000000000000A")]
    answer_id: Option<String>,
    /// The model that gave the answer.
    #[schema(required = true)]
    model: Option<String>,
    /// What it was asked and gave, where a model was.
    #[schema(required = true)]
    usage: Option<UsageView>,
    /// Of a failure its code.
    #[schema(required = true)]
    error: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
}

/// An answer: a message, or what is still owed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = RoomAnswer)]
enum AnswerView {
    Given(Box<MessageView>),
    Owed(PendingView),
}

/// An answer that is still owed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PendingRoomAnswer)]
struct PendingView {
    #[schema(example = "ans_01JZ8QZ5T0000000000000000A")]
    id: String,
    /// Who owes it.
    participant_id: String,
    /// Always `pending`.
    #[schema(example = "pending")]
    status: &'static str,
}

/// A message that was said just now, and what comes of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PostedRoomMessage)]
struct PostedView {
    #[serde(flatten)]
    message: MessageView,
    /// The answers that were waited for, as messages, then those that are still owed.
    answers: Vec<AnswerView>,
}

impl From<ShownMessage> for MessageView {
    fn from(shown: ShownMessage) -> Self {
        let (room_id, seq, said) = (shown.message.room_id, shown.message.seq, shown.message.said);
        let usage =
            UsageView { input_tokens: said.usage.input_tokens, output_tokens: said.usage.output_tokens };
        Self {
            id: said.id.to_string(),
            room_id: room_id.to_string(),
            seq,
            kind: said.kind.as_str(),
            author: shown.author.into(),
            text: said.text.into_string(),
            mentions: said.mentions.iter().map(ToString::to_string).collect(),
            answer_id: said.answer_id.map(|id| id.to_string()),
            usage: said.model.is_some().then_some(usage),
            model: said.model,
            error: said.error,
            created_at: said.created_at,
        }
    }
}

impl From<Posted> for PostedView {
    fn from(posted: Posted) -> Self {
        let given = posted.answers.into_iter().map(|said| AnswerView::Given(Box::new(said.into())));
        let owed = posted.pending.into_iter().map(|owed| {
            let (id, participant_id) = (owed.id.to_string(), owed.participant_id.to_string());
            AnswerView::Owed(PendingView { id, participant_id, status: "pending" })
        });
        Self { message: posted.message.into(), answers: given.chain(owed).collect() }
    }
}

impl NewRoomMessage {
    fn read(self) -> Result<NewPost, Error> {
        let mut problems = Problems::default();
        let text: Option<MessageText> = problems.read("text", &self.text);
        let mentions = problems.each::<ParticipantRef>("mentions", &self.mentions);
        match (text, mentions) {
            (Some(text), Some(mentions)) => Ok(NewPost { text, mentions }),
            _ => Err(problems.refusal()),
        }
    }
}

fn number(field: &'static str, text: Option<&str>, most: i64) -> Result<Option<i64>, Error> {
    let Some(text) = text else { return Ok(None) };
    let number = text.parse().ok().filter(|number| (0..=most).contains(number));
    let refused = || match most {
        i64::MAX => Error::invalid(field, "must be a whole number from 0 on"),
        most => Error::invalid(field, format!("must be a whole number from 0 to {most}")),
    };
    number.map(Some).ok_or_else(refused)
}

/// List what was said in a room that the caller is in
///
/// Newest first; with `after_seq` in the room's order.
#[utoipa::path(
    tag = "rooms",
    operation_id = "list_room_messages",
    params(("room_id" = kinds::RoomId, Path, example = "room_01JZ8QZ5T0000000000000000A"), PageParams, MessageQuery),
    responses((status = 200, body = PageOf<MessageView>))
)]
#[get("/v1/rooms/{room_id}/messages")]
async fn list_messages(
    caller: Allowed<perm::ModelsUse>,
    id: PathId<RoomId>,
    paging: Paging,
    filters: Filters<MessageQuery>,
    app: web::Data<App>,
) -> Result<Listed<MessageView>, Error> {
    app.require_room(&caller, id.0).await?;
    let after = number("after_seq", filters.read()?.after_seq.as_deref(), i64::MAX)?;
    let list = if after.is_some() { "room messages in order" } else { "room messages" };
    let (page, seal) = paging.read(list, &id.0.to_string(), &Bounds::LIST)?;
    Ok(Listed::new(app.room_messages(&caller, id.0, after, &page).await?, &seal))
}

/// Say something in a room
///
/// AIs that are mentioned take part from then on, and answer; else those that answer whatever is said, else the AI of the tenant's
/// default model. With `wait_ms` the call waits for the answers.
#[utoipa::path(
    tag = "rooms",
    operation_id = "post_room_message",
    params(("room_id" = kinds::RoomId, Path, example = "room_01JZ8QZ5T0000000000000000A"), WaitQuery),
    request_body = NewRoomMessage,
    responses((status = 201, body = DataOf<PostedView>))
)]
#[post("/v1/rooms/{room_id}/messages")]
async fn post_message(
    caller: Allowed<perm::ModelsUse>,
    id: PathId<RoomId>,
    filters: Filters<WaitQuery>,
    origin: Origin,
    body: Body<NewRoomMessage>,
    app: web::Data<App>,
) -> Result<Reply<PostedView>, Error> {
    app.require_room(&caller, id.0).await?;
    let longest = i64::try_from(LONGEST_WAIT.as_millis()).unwrap_or(i64::MAX);
    let wait = number("wait_ms", filters.read()?.wait_ms.as_deref(), longest)?;
    let wait = wait.map(|wait| Duration::from_millis(wait.unsigned_abs()));
    let post = body.read().await?.read()?;
    let posted = app.post_message(&caller, &origin.context(), id.0, post, wait).await?;
    let place = format!("/v1/rooms/{}/messages?after_seq={}", id.0, posted.message.message.seq - 1);
    Ok(Reply::created(place, posted.into()))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list_messages).service(post_message);
}
