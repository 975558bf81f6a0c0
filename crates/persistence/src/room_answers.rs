//! Answers that AIs owe to rooms: what is owed, who is giving it, and what became of it.
//!
//! An answer is in the hands of one node at a time, for as long as that node lives. Taking it counts its attempts up, so that
//! whoever was given up finds, when they come back with it, that it is not theirs any more.

use async_recursion::async_recursion as boxed;
use diesel::dsl::{exists, sql};
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{
    AnswerId, Instant, NodeId, ParticipantId, RoomId, SystemScope, TenantId, TenantScope, UserId,
};

use crate::database::{Bell, Connection, Engine, Transaction, with};
use crate::error::{Result, column};
use crate::instant::Stamp;
use crate::schema::{nodes, partners, room_answers, tenants};

const TABLE: &str = "room_answers";
const PENDING: &str = "pending";

/// Those that are still owed, in the words of the partial index: a planner does not find it by a parameter.
fn owed() -> SqlLiteral<Bool> {
    sql("room_answers.status = 'pending'")
}

#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = room_answers)]
struct AnswerRow {
    id: String,
    tenant_id: String,
    room_id: String,
    asked_seq: i64,
    participant_id: String,
    user_id: String,
    attempts: i32,
    created_at: Stamp,
}

/// An answer that an AI owes to a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwedAnswer {
    /// Its identifier.
    pub id: AnswerId,
    /// Whose room it is.
    pub tenant_id: TenantId,
    /// The room.
    pub room_id: RoomId,
    /// The number of the message that is answered.
    pub asked_seq: i64,
    /// Who answers.
    pub participant_id: ParticipantId,
    /// Who has asked, in whose name it is answered.
    pub user_id: UserId,
    /// How often somebody has begun to give it, with the present attempt.
    pub attempts: u32,
    /// When it was asked for.
    pub created_at: Instant,
}

impl TryFrom<AnswerRow> for OwedAnswer {
    type Error = crate::Error;

    fn try_from(row: AnswerRow) -> Result<Self> {
        let id = row.id.as_str();
        Ok(Self {
            id: column(TABLE, "id", id, id)?,
            tenant_id: column(TABLE, "tenant_id", id, &row.tenant_id)?,
            room_id: column(TABLE, "room_id", id, &row.room_id)?,
            asked_seq: row.asked_seq,
            participant_id: column(TABLE, "participant_id", id, &row.participant_id)?,
            user_id: column(TABLE, "user_id", id, &row.user_id)?,
            attempts: row.attempts.cast_unsigned(),
            created_at: row.created_at.into(),
        })
    }
}

/// Writes down that an answer is owed, from now on. Whoever gives answers in this process is told when that is durable.
#[boxed]
pub async fn owe(tx: &mut Transaction, scope: TenantScope, answer: &OwedAnswer) -> Result<()> {
    let row = (
        room_answers::id.eq(answer.id.to_string()),
        room_answers::tenant_id.eq(scope.tenant_id().to_string()),
        room_answers::room_id.eq(answer.room_id.to_string()),
        room_answers::asked_seq.eq(answer.asked_seq),
        room_answers::participant_id.eq(answer.participant_id.to_string()),
        room_answers::user_id.eq(answer.user_id.to_string()),
        room_answers::status.eq(PENDING),
        room_answers::attempts.eq(0),
        room_answers::next_at.eq(Stamp(answer.created_at)),
        room_answers::created_at.eq(Stamp(answer.created_at)),
        room_answers::updated_at.eq(Stamp(answer.created_at)),
    );
    with!(tx, c => diesel::insert_into(room_answers::table).values(row).execute(c).await)?;
    tx.note(Bell::Answers);
    Ok(())
}

/// The tenants to whose rooms something is owed that nobody is giving, while they are active: from the one behind `behind` on
/// round to it again, without those that have enough under way.
#[boxed]
pub async fn waiting(
    c: &mut Connection,
    _system: &SystemScope,
    now: Instant,
    busy: &[TenantId],
    behind: Option<TenantId>,
    most: i64,
) -> Result<Vec<TenantId>> {
    let behind = behind.map(|id| id.to_string()).unwrap_or_default();
    let busy: Vec<String> = busy.iter().map(ToString::to_string).collect();
    let answer = room_answers::table
        .filter(owed())
        .filter(room_answers::tenant_id.eq(tenants::id))
        .filter(room_answers::owner.is_null())
        .filter(room_answers::next_at.le(Stamp(now)));
    let partners = partners::table.filter(partners::status.eq("active")).select(partners::id);
    let query = tenants::table
        .filter(tenants::status.eq("active"))
        .filter(tenants::partner_id.eq_any(partners))
        .filter(tenants::id.ne_all(busy))
        .filter(exists(answer))
        .order((tenants::id.le(behind), tenants::id))
        .limit(most)
        .select(tenants::id);
    let found: Vec<String> = with!(c, c => query.load(c).await)?;
    found.iter().map(|id| column("tenants", "id", id, id)).collect()
}

/// When the next answer is due that nobody is giving, if any is owed; a cheap look.
#[boxed]
pub async fn next_due(c: &mut Connection, _system: &SystemScope) -> Result<Option<Instant>> {
    let query = room_answers::table
        .filter(owed())
        .filter(room_answers::owner.is_null())
        .order(room_answers::next_at)
        .limit(1)
        .select(room_answers::next_at);
    let found: Option<Stamp> = with!(c, c => query.get_result(c).await.optional())?;
    Ok(found.map(Instant::from))
}

/// Takes up to `most` answers of a tenant that are due and in nobody's hands, the oldest first. Two nodes never get the same one.
#[boxed]
pub async fn take(
    tx: &mut Transaction,
    scope: TenantScope,
    node: NodeId,
    now: Instant,
    most: i64,
) -> Result<Vec<OwedAnswer>> {
    macro_rules! query {
        () => {
            room_answers::table
                .filter(owed())
                .filter(room_answers::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(room_answers::owner.is_null())
                .filter(room_answers::next_at.le(Stamp(now)))
                .order((room_answers::next_at, room_answers::id))
                .limit(most)
                .select(room_answers::id)
        };
    }
    let ids: Vec<String> = match tx.engine()? {
        Engine::Postgres(c) => query!().for_update().skip_locked().load(c).await?,
        Engine::Sqlite(c) => query!().load(c).await?,
    };
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let update = diesel::update(room_answers::table.filter(room_answers::id.eq_any(ids))).set((
        room_answers::owner.eq(Some(node.to_string())),
        room_answers::attempts.eq(room_answers::attempts + 1),
        room_answers::updated_at.eq(Stamp(now)),
    ));
    let mut found: Vec<AnswerRow> =
        with!(tx, c => update.returning(AnswerRow::as_returning()).get_results(c).await)?;
    found.sort_by(|one, other| one.id.cmp(&other.id));
    found.into_iter().map(OwedAnswer::try_from).collect()
}

/// What became of an answer that somebody tried to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It was given.
    Given,
    /// It cannot be given, and the room was told why.
    Failed {
        /// The code of the failure.
        code: &'static str,
    },
    /// It is tried again.
    Again {
        /// When.
        at: Instant,
        /// The code of the failure.
        code: &'static str,
    },
}

/// Writes down what became of an answer that a node has taken. False when it is not that node's any more, or not by that attempt:
/// nothing may be said then.
#[boxed]
pub async fn settle(
    tx: &mut Transaction,
    scope: TenantScope,
    answer: &OwedAnswer,
    node: NodeId,
    settled: Settled,
    now: Instant,
) -> Result<bool> {
    let (status, error, next_at) = match settled {
        Settled::Given => ("given", None, now),
        Settled::Failed { code } => ("failed", Some(code), now),
        Settled::Again { at, code } => (PENDING, Some(code), at),
    };
    let update = diesel::update(room_answers::table.find(answer.id.to_string()))
        .filter(room_answers::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(room_answers::owner.eq(Some(node.to_string())))
        .filter(room_answers::attempts.eq(answer.attempts.cast_signed()))
        .filter(owed())
        .set((
            room_answers::status.eq(status),
            room_answers::owner.eq(None::<String>),
            room_answers::error.eq(error),
            room_answers::next_at.eq(Stamp(next_at)),
            room_answers::updated_at.eq(Stamp(now)),
        ));
    Ok(with!(tx, c => update.execute(c).await)? == 1)
}

/// The nodes that have answers in their hands and whose lease has ended.
#[boxed]
pub async fn dead_owners(c: &mut Connection, _system: &SystemScope, now: Instant) -> Result<Vec<NodeId>> {
    let alive = nodes::table
        .filter(nodes::id.nullable().eq(room_answers::owner))
        .filter(nodes::lease_until.ge(Stamp(now)));
    let query = room_answers::table
        .filter(owed())
        .filter(room_answers::owner.is_not_null())
        .filter(diesel::dsl::not(exists(alive)))
        .select(room_answers::owner)
        .distinct()
        .limit(100);
    let found: Vec<Option<String>> = with!(c, c => query.load(c).await)?;
    found.iter().flatten().map(|id| column(TABLE, "owner", id, id)).collect()
}

/// Has a node let go of what it is giving, so that others take it at once. What it began counts as an attempt.
#[boxed]
pub async fn release(
    tx: &mut Transaction,
    _system: &SystemScope,
    node: NodeId,
    now: Instant,
) -> Result<usize> {
    let held = room_answers::table.filter(owed()).filter(room_answers::owner.eq(Some(node.to_string())));
    let free = (room_answers::owner.eq(None::<String>), room_answers::next_at.eq(Stamp(now)));
    Ok(with!(tx, c => diesel::update(held).set(free).execute(c).await)?)
}

/// Removes at most `most` answers that were given, or failed, before an instant.
#[boxed]
pub async fn purge(tx: &mut Transaction, _system: &SystemScope, before: Instant, most: i64) -> Result<usize> {
    // Ids ascend with time.
    let first = AnswerId::from_ulid(ulid::Ulid::from_parts(before.unix_millis(), 0));
    let old = room_answers::table
        .filter(room_answers::id.lt(first.to_string()))
        .filter(room_answers::status.ne(PENDING))
        .order(room_answers::id)
        .limit(most)
        .select(room_answers::id);
    let old: Vec<String> = with!(tx, c => old.load(c).await)?;
    if old.is_empty() {
        return Ok(0);
    }
    let remove = room_answers::table.filter(room_answers::id.eq_any(old));
    Ok(with!(tx, c => diesel::delete(remove).execute(c).await)?)
}
