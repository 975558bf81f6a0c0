//! What was said in rooms.
//!
//! A message gets its number by counting up the room's, whose row is locked from then to the commit. So whoever sees a number
//! sees all lower ones, and who reads on behind the last number that they have seen skips nothing.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{AnswerId, ParticipantId, RoomId, TenantScope};
use scaigrid_workspace::{Message, MessageUsage, NewMessage};
use serde_json::Value;

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::json::text_storable;
use crate::schema::{room_answers, room_messages, rooms};

const TABLE: &str = "room_messages";

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = room_messages)]
#[diesel(treat_none_as_default_value = false)]
struct MessageRow {
    tenant_id: String,
    room_id: String,
    seq: i64,
    id: String,
    kind: String,
    author_id: String,
    body: String,
    mentions: Value,
    answer_id: Option<String>,
    model: Option<String>,
    input_tokens: i64,
    output_tokens: i64,
    error: Option<String>,
    created_at: Stamp,
}

fn row(scope: TenantScope, room: RoomId, seq: i64, said: &NewMessage) -> MessageRow {
    let tokens = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    MessageRow {
        tenant_id: scope.tenant_id().to_string(),
        room_id: room.to_string(),
        seq,
        id: said.id.to_string(),
        kind: said.kind.to_string(),
        author_id: said.author_id.to_string(),
        body: said.text.to_string(),
        mentions: said.mentions.iter().map(ToString::to_string).collect(),
        answer_id: said.answer_id.map(|id| id.to_string()),
        model: said.model.clone().map(text_storable),
        input_tokens: tokens(said.usage.input_tokens),
        output_tokens: tokens(said.usage.output_tokens),
        error: said.error.clone().map(text_storable),
        created_at: said.created_at.into(),
    }
}

fn mentions(id: &str, stored: Value) -> Result<Vec<ParticipantId>> {
    let bad = |error: serde_json::Error| Error::inconsistent(TABLE, "mentions", id, error);
    let texts: Vec<String> = serde_json::from_value(stored).map_err(bad)?;
    texts.iter().map(|text| column(TABLE, "mentions", id, text)).collect()
}

impl TryFrom<MessageRow> for Message {
    type Error = Error;

    fn try_from(row: MessageRow) -> Result<Self> {
        let id = row.id.as_str();
        let answer = row.answer_id.as_deref();
        Ok(Self {
            room_id: column(TABLE, "room_id", id, &row.room_id)?,
            seq: row.seq,
            said: NewMessage {
                id: column(TABLE, "id", id, id)?,
                kind: column(TABLE, "kind", id, &row.kind)?,
                author_id: column(TABLE, "author_id", id, &row.author_id)?,
                text: column(TABLE, "body", id, &row.body)?,
                mentions: mentions(id, row.mentions)?,
                answer_id: answer.map(|answer| column(TABLE, "answer_id", id, answer)).transpose()?,
                model: row.model,
                usage: MessageUsage {
                    input_tokens: row.input_tokens.unsigned_abs(),
                    output_tokens: row.output_tokens.unsigned_abs(),
                },
                error: row.error,
                created_at: row.created_at.into(),
            },
        })
    }
}

/// What of a room's messages is read.
macro_rules! of_room {
    ($scope:expr, $room:expr) => {
        room_messages::table
            .filter(room_messages::tenant_id.eq($scope.tenant_id().to_string()))
            .filter(room_messages::room_id.eq($room.to_string()))
    };
}

/// The messages of a room, newest first, from before a number; without one from the last.
#[boxed]
pub async fn messages(
    c: &mut Connection,
    scope: TenantScope,
    room: RoomId,
    before: Option<i64>,
    rows: i64,
) -> Result<Vec<Message>> {
    let query = of_room!(scope, room)
        .filter(room_messages::seq.lt(before.unwrap_or(i64::MAX)))
        .order(room_messages::seq.desc())
        .limit(rows);
    let found: Vec<MessageRow> = with!(c, c => query.select(MessageRow::as_select()).load(c).await)?;
    found.into_iter().map(Message::try_from).collect()
}

/// The messages of a room behind a number, in their order.
#[boxed]
pub async fn messages_after(
    c: &mut Connection,
    scope: TenantScope,
    room: RoomId,
    after: i64,
    rows: i64,
) -> Result<Vec<Message>> {
    let query =
        of_room!(scope, room).filter(room_messages::seq.gt(after)).order(room_messages::seq).limit(rows);
    let found: Vec<MessageRow> = with!(c, c => query.select(MessageRow::as_select()).load(c).await)?;
    found.into_iter().map(Message::try_from).collect()
}

/// Of the messages behind a number those that are some answers, or parts of them, in their order.
#[boxed]
pub async fn messages_of_answers(
    c: &mut Connection,
    scope: TenantScope,
    room: RoomId,
    after: i64,
    answers: &[AnswerId],
    rows: i64,
) -> Result<Vec<Message>> {
    let answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
    let query = of_room!(scope, room)
        .filter(room_messages::seq.gt(after))
        .filter(room_messages::answer_id.eq_any(answers))
        .order(room_messages::seq)
        .limit(rows);
    let found: Vec<MessageRow> = with!(c, c => query.select(MessageRow::as_select()).load(c).await)?;
    found.into_iter().map(Message::try_from).collect()
}

/// Those of some answers that are still owed, by id.
#[boxed]
pub async fn answers_pending(
    c: &mut Connection,
    scope: TenantScope,
    answers: &[AnswerId],
) -> Result<Vec<AnswerId>> {
    let answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
    let query = room_answers::table
        .filter(room_answers::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(room_answers::id.eq_any(answers))
        .filter(room_answers::status.eq("pending"))
        .order(room_answers::id)
        .select(room_answers::id);
    let found: Vec<String> = with!(c, c => query.load(c).await)?;
    found.iter().map(|id| column("room_answers", "id", id, id)).collect()
}

/// Says something in a room of the scope, which gives it the next number.
///
/// # Errors
/// [`Error::Query`] where there is no such room, which has been looked up before in this transaction.
#[boxed]
pub async fn add_message(
    tx: &mut Transaction,
    scope: TenantScope,
    room: RoomId,
    said: NewMessage,
) -> Result<Message> {
    let update = diesel::update(rooms::table.find(room.to_string()))
        .filter(rooms::tenant_id.eq(scope.tenant_id().to_string()))
        .set(rooms::last_seq.eq(rooms::last_seq + 1))
        .returning(rooms::last_seq);
    let seq: i64 = with!(tx, c => update.get_result(c).await)?;
    let insert = diesel::insert_into(room_messages::table).values(row(scope, room, seq, &said));
    with!(tx, c => insert.execute(c).await)?;
    Ok(Message { room_id: room, seq, said })
}
