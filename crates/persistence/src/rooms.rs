//! Rooms and who is in them; what was said there is in [`messages`].

mod messages;

use async_recursion::async_recursion as boxed;
use diesel::dsl::count_star;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{Instant, ParticipantId, RoomId, TenantScope};
use scaigrid_workspace::{Member, Power, Room, RoomStatus};

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::schema::{room_members, rooms};

pub use messages::{add_message, answers_pending, messages, messages_after, messages_of_answers};

const TABLE: &str = "rooms";
const MEMBERS: &str = "room_members";

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = rooms)]
struct RoomRow {
    id: String,
    tenant_id: String,
    name: String,
    status: String,
    last_seq: i64,
    created_by: String,
    revision: i64,
    created_at: Stamp,
    updated_at: Stamp,
}

impl TryFrom<RoomRow> for Room {
    type Error = Error;

    fn try_from(row: RoomRow) -> Result<Self> {
        let id = row.id.as_str();
        Ok(Self {
            id: column(TABLE, "id", id, id)?,
            tenant_id: column(TABLE, "tenant_id", id, &row.tenant_id)?,
            name: column(TABLE, "name", id, &row.name)?,
            status: column(TABLE, "status", id, &row.status)?,
            last_seq: row.last_seq,
            created_by: column(TABLE, "created_by", id, &row.created_by)?,
            revision: row.revision,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        })
    }
}

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = room_members)]
struct MemberRow {
    tenant_id: String,
    room_id: String,
    participant_id: String,
    power: i32,
    engagement: String,
    joined_at: Stamp,
}

impl MemberRow {
    fn of(scope: TenantScope, room: RoomId, member: &Member) -> Self {
        Self {
            tenant_id: scope.tenant_id().to_string(),
            room_id: room.to_string(),
            participant_id: member.participant_id.to_string(),
            power: member.power.number().into(),
            engagement: member.engagement.to_string(),
            joined_at: member.joined_at.into(),
        }
    }
}

impl TryFrom<MemberRow> for Member {
    type Error = Error;

    fn try_from(row: MemberRow) -> Result<Self> {
        let id = row.participant_id.as_str();
        let power = Power::of_number(row.power.into());
        Ok(Self {
            participant_id: column(MEMBERS, "participant_id", id, id)?,
            power: power.map_err(|error| Error::inconsistent(MEMBERS, "power", id, error))?,
            engagement: column(MEMBERS, "engagement", id, &row.engagement)?,
            joined_at: row.joined_at.into(),
        })
    }
}

/// A room by its id, whoever is in it.
#[boxed]
pub async fn lookup(c: &mut Connection, scope: TenantScope, id: RoomId) -> Result<Option<Room>> {
    let query = rooms::table.find(id.to_string()).filter(rooms::tenant_id.eq(scope.tenant_id().to_string()));
    let row = with!(c, c => query.select(RoomRow::as_select()).get_result(c).await.optional())?;
    row.map(Room::try_from).transpose()
}

/// A room, held until the transaction ends: nobody says anything there, changes it, or comes or goes before.
#[boxed]
pub async fn lock(tx: &mut Transaction, scope: TenantScope, id: RoomId) -> Result<Option<Room>> {
    // An update that changes nothing takes the row lock in both databases, by the same statement.
    let update = diesel::update(rooms::table.find(id.to_string()))
        .filter(rooms::tenant_id.eq(scope.tenant_id().to_string()))
        .set(rooms::revision.eq(rooms::revision));
    let row = with!(tx, c => update.returning(RoomRow::as_returning()).get_result(c).await.optional())?;
    row.map(Room::try_from).transpose()
}

/// The rooms that a participant is in, newest first, after the one that the last page ended with.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: TenantScope,
    of: ParticipantId,
    status: Option<RoomStatus>,
    after: Option<RoomId>,
    rows: i64,
) -> Result<Vec<Room>> {
    macro_rules! query {
        () => {{
            let mut query = room_members::table
                .inner_join(rooms::table.on(rooms::id.eq(room_members::room_id)))
                .filter(room_members::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(room_members::participant_id.eq(of.to_string()))
                .order(room_members::room_id.desc())
                .limit(rows)
                .select(RoomRow::as_select())
                .into_boxed();
            if let Some(status) = status {
                query = query.filter(rooms::status.eq(status.as_str()));
            }
            if let Some(after) = after {
                query = query.filter(room_members::room_id.lt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<RoomRow> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(Room::try_from).collect()
}

/// How many rooms the tenant has, in a status or in all.
#[boxed]
pub async fn count(c: &mut Connection, scope: TenantScope, status: Option<RoomStatus>) -> Result<i64> {
    macro_rules! query {
        () => {{
            let mut query = rooms::table
                .filter(rooms::tenant_id.eq(scope.tenant_id().to_string()))
                .select(count_star())
                .into_boxed();
            if let Some(status) = status {
                query = query.filter(rooms::status.eq(status.as_str()));
            }
            query
        }};
    }
    Ok(with!(c, c => query!().get_result(c).await)?)
}

/// Adds a room with its members.
#[boxed]
pub async fn add(tx: &mut Transaction, scope: TenantScope, room: &Room, members: &[Member]) -> Result<()> {
    let row = RoomRow {
        id: room.id.to_string(),
        tenant_id: scope.tenant_id().to_string(),
        name: room.name.to_string(),
        status: room.status.to_string(),
        last_seq: room.last_seq,
        created_by: room.created_by.to_string(),
        revision: room.revision,
        created_at: room.created_at.into(),
        updated_at: room.updated_at.into(),
    };
    let insert = diesel::insert_into(rooms::table).values(row);
    with!(tx, c => insert.execute(c).await)?;
    for member in members {
        put_member(tx, scope, room.id, member).await?;
    }
    Ok(())
}

/// Writes name and status of a room that is held; its revision goes up by one, to what is told.
#[boxed]
pub async fn save(tx: &mut Transaction, scope: TenantScope, room: &Room, at: Instant) -> Result<i64> {
    let update = diesel::update(rooms::table.find(room.id.to_string()))
        .filter(rooms::tenant_id.eq(scope.tenant_id().to_string()))
        .set((
            rooms::name.eq(room.name.to_string()),
            rooms::status.eq(room.status.as_str()),
            rooms::updated_at.eq(Stamp(at)),
            rooms::revision.eq(rooms::revision + 1),
        ))
        .returning(rooms::revision);
    Ok(with!(tx, c => update.get_result(c).await)?)
}

/// All members of a room, by id; there are no more than [`Room::MAX_MEMBERS`].
#[boxed]
pub async fn members(c: &mut Connection, scope: TenantScope, room: RoomId) -> Result<Vec<Member>> {
    members_after(c, scope, room, None, i64::MAX).await
}

/// The members of a room, by id, after the one that the last page ended with.
#[boxed]
pub async fn members_after(
    c: &mut Connection,
    scope: TenantScope,
    room: RoomId,
    after: Option<ParticipantId>,
    rows: i64,
) -> Result<Vec<Member>> {
    let after = after.map_or_else(String::new, |after| after.to_string());
    let query = room_members::table
        .filter(room_members::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(room_members::room_id.eq(room.to_string()))
        .filter(room_members::participant_id.gt(after))
        .order(room_members::participant_id)
        .limit(rows);
    let found: Vec<MemberRow> = with!(c, c => query.select(MemberRow::as_select()).load(c).await)?;
    found.into_iter().map(Member::try_from).collect()
}

/// Somebody's being in a room; none where they are not.
#[boxed]
pub async fn member(
    c: &mut Connection,
    scope: TenantScope,
    room: RoomId,
    who: ParticipantId,
) -> Result<Option<Member>> {
    let query = room_members::table.find((scope.tenant_id().to_string(), room.to_string(), who.to_string()));
    let row = with!(c, c => query.select(MemberRow::as_select()).get_result(c).await.optional())?;
    row.map(Member::try_from).transpose()
}

/// Writes a member of a room that is held: one more, or one that was there with what they may do and when they answer.
#[boxed]
pub async fn put_member(
    tx: &mut Transaction,
    scope: TenantScope,
    room: RoomId,
    member: &Member,
) -> Result<()> {
    let row = MemberRow::of(scope, room, member);
    let again = (room_members::power.eq(row.power), room_members::engagement.eq(row.engagement.clone()));
    let insert = diesel::insert_into(room_members::table)
        .values(row)
        .on_conflict((room_members::tenant_id, room_members::room_id, room_members::participant_id))
        .do_update()
        .set(again);
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// Takes somebody out of a room that is held. What they said stays.
#[boxed]
pub async fn remove_member(
    tx: &mut Transaction,
    scope: TenantScope,
    room: RoomId,
    who: ParticipantId,
) -> Result<bool> {
    let delete = diesel::delete(room_members::table.find((
        scope.tenant_id().to_string(),
        room.to_string(),
        who.to_string(),
    )));
    Ok(with!(tx, c => delete.execute(c).await)? > 0)
}
