//! Rooms: who is in them, and what is said there.
//!
//! A room is seen by its members alone; for all others it does not exist. Whoever changes one, or says something there, holds
//! its row to the end of the transaction.

mod follow;
mod members;
mod messages;
mod news;

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_persistence::{Connection, Transaction, audit, participants, rooms, tenants, users};
use scaigrid_scope::{Authorized, Name, ParticipantId, Principal, RoomId, TenantScope, perm};
use scaigrid_workspace::room::{Seat, power_of};
use scaigrid_workspace::{
    Engagement, LocalId, Member, Participant, ParticipantRef, Power, Room, RoomStatus, Who,
};
use serde_json::{Map, Value, json};

use crate::page::{Cursor, Page, PageRequest};
use crate::transaction::{Expected, check_expected, ended};
use crate::{App, Error, Resource};

pub use follow::{RoomEvent, RoomFollower, may_follow};
pub use members::{MemberChanges, ShownMember};
pub use messages::{NewPost, Posted, ShownMessage, Speaker};
pub(crate) use news::{RoomEars, RoomNews};

/// A room as it is asked for.
#[derive(Debug, Clone)]
pub struct NewRoom {
    /// What people call it.
    pub name: Name,
    /// Who is in it beside whoever makes it: people, who have no power there, and AIs, which answer whatever is said.
    pub participants: Vec<ParticipantRef>,
}

impl NewRoom {
    /// The most participants that can be named at once.
    pub const MAX_PARTICIPANTS: usize = 100;
}

/// What is to be changed of a room; what is left out stays.
#[derive(Debug, Clone, Default)]
pub struct RoomChanges {
    /// The new name.
    pub name: Option<Name>,
    /// Whether something can be said there.
    pub status: Option<RoomStatus>,
}

/// The participant that a caller is in their own tenant.
pub(crate) const fn caller_as_participant(caller: &Principal) -> ParticipantId {
    ParticipantId::from_ulid(caller.user_id().ulid())
}

/// When somebody answers of whom nothing is said: an AI always, a person never.
const fn usual_engagement(participant: &Participant) -> Engagement {
    match participant.who {
        Who::Human(_) => Engagement::None,
        Who::Ai { .. } => Engagement::Always,
    }
}

/// A member as the audit log tells of them.
fn member_state(member: &Member) -> Value {
    json!({"power": member.power.number(), "engagement": member.engagement.as_str()})
}

/// A room as the audit log tells of it.
fn state(room: &Room) -> Value {
    json!({"name": room.name.as_str(), "status": room.status.as_str()})
}

/// The participants that some references mean, in their order; none of one that means nobody.
pub(super) async fn meant(
    c: &mut Connection,
    scope: TenantScope,
    references: &[ParticipantRef],
) -> Result<Vec<Option<Participant>>, Error> {
    let ids: Vec<ParticipantId> = references.iter().filter_map(by_id).collect();
    let names: Vec<LocalId> = references.iter().filter_map(by_name).collect();
    let mut found = participants::several(c, scope, &ids).await?;
    found.extend(participants::named(c, scope, &names).await?);
    let find = |one: &ParticipantRef| {
        let is_meant = |participant: &&Participant| match one {
            ParticipantRef::Id(id) => participant.id == *id,
            ParticipantRef::Name(name) => participant.local_id == *name,
        };
        found.iter().find(is_meant).cloned()
    };
    Ok(references.iter().map(find).collect())
}

const fn by_id(reference: &ParticipantRef) -> Option<ParticipantId> {
    match reference {
        ParticipantRef::Id(id) => Some(*id),
        ParticipantRef::Name(_) => None,
    }
}

fn by_name(reference: &ParticipantRef) -> Option<LocalId> {
    match reference {
        ParticipantRef::Id(_) => None,
        ParticipantRef::Name(name) => Some(name.clone()),
    }
}

/// A room that the caller is in, and their being there.
///
/// # Errors
/// [`Error::NotFound`] when there is none, or they are not in it.
pub(super) async fn seen(
    c: &mut Connection,
    caller: &Principal,
    id: RoomId,
) -> Result<(Room, Member), Error> {
    let scope = caller.tenant_scope();
    let member = rooms::member(c, scope, id, caller_as_participant(caller)).await?;
    let room = rooms::lookup(c, scope, id).await?;
    room.zip(member).ok_or(Error::NotFound(Resource::Room))
}

/// The same, with the room held until the transaction ends.
async fn held(tx: &mut Transaction, caller: &Principal, id: RoomId) -> Result<(Room, Member), Error> {
    let scope = caller.tenant_scope();
    let room = rooms::lock(tx, scope, id).await?;
    let member = rooms::member(tx, scope, id, caller_as_participant(caller)).await?;
    room.zip(member).ok_or(Error::NotFound(Resource::Room))
}

/// Who is in a room, as far as it matters for who governs it.
async fn seats(c: &mut Connection, scope: TenantScope, id: RoomId) -> Result<Vec<Seat>, Error> {
    let members = rooms::members(c, scope, id).await?;
    let ids: Vec<ParticipantId> = members.iter().map(|member| member.participant_id).collect();
    let known = participants::several(c, scope, &ids).await?;
    let acting: BTreeMap<ParticipantId, bool> =
        known.iter().map(|one| (one.id, one.enabled && matches!(one.who, Who::Human(_)))).collect();
    let seat = |member: &Member| Seat {
        participant_id: member.participant_id,
        power: member.power,
        acts: acting.get(&member.participant_id).copied().unwrap_or_default(),
    };
    Ok(members.iter().map(seat).collect())
}

/// What the caller may do in a room that they are in, which must be enough to change it.
fn governing(seats: &[Seat], who: ParticipantId) -> Result<Power, Error> {
    let power = power_of(seats, who).ok_or(Error::NotFound(Resource::Room))?;
    let enough = power.governs();
    enough.then_some(power).ok_or(Error::RoomForbidden("A power of 50 or more is needed to change the room"))
}

impl App {
    /// The rooms that the caller is in, newest first.
    #[boxed]
    pub async fn rooms(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        status: Option<RoomStatus>,
        page: &PageRequest,
    ) -> Result<Page<Room>, Error> {
        let (scope, who) = (caller.tenant_scope(), caller_as_participant(caller));
        let mut connection = self.0.database.read().await?;
        let rows = rooms::list(&mut connection, scope, who, status, page.after()?, page.rows()).await?;
        Ok(Page::of_rows(rows, page, |room| Cursor::new([room.id.to_string().into()])))
    }

    /// A room that the caller is in.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[boxed]
    pub async fn room(&self, caller: &Authorized<perm::ModelsUse>, id: RoomId) -> Result<Room, Error> {
        let mut connection = self.0.database.read().await?;
        Ok(seen(&mut connection, caller, id).await?.0)
    }

    /// Makes a room, in which the caller may do everything.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a caller who is no participant of the tenant, [`Error::Invalid`] for participants that there are
    /// not, [`Error::Capacity`] when the tenant has as many rooms as it may.
    #[boxed]
    pub async fn create_room(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        request: &RequestContext,
        new: NewRoom,
    ) -> Result<Room, Error> {
        let mut tx = self.0.database.begin().await?;
        let room = self.add_room(&mut tx, caller, request, new).await;
        ended(tx, room).await
    }

    async fn add_room(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::ModelsUse>,
        request: &RequestContext,
        new: NewRoom,
    ) -> Result<Room, Error> {
        let (now, scope, who) = (self.now(), caller.tenant_scope(), caller_as_participant(caller));
        let tenant = tenants::lock(tx, scope).await?.ok_or(Error::NotFound(Resource::Tenant))?;
        if participants::lookup(tx, scope, who).await?.is_none() {
            // During an upgrade, a node of a version that knows no participants may have added them as a user.
            let maker = users::lookup(tx, scope, caller.user_id()).await?;
            let maker = maker.ok_or(Error::NotFound(Resource::Participant))?;
            participants::add_user(tx, scope, &maker).await?;
        }
        if let Some(limit) = tenant.limits.max_rooms
            && rooms::count(tx, scope, None).await? >= i64::from(limit)
        {
            return Err(Error::Capacity { what: "rooms".into(), limit: limit.into() });
        }
        let room = Room {
            id: RoomId::from_ulid(self.0.ids.draw(now)),
            tenant_id: scope.tenant_id(),
            name: new.name,
            status: RoomStatus::Open,
            last_seq: 0,
            created_by: who,
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        let first =
            Member { participant_id: who, power: Power::ALL, engagement: Engagement::None, joined_at: now };
        let mut members = BTreeMap::from([(who, first)]);
        for participant in invited(tx, scope, &new.participants).await? {
            let engagement = usual_engagement(&participant);
            let guest =
                Member { participant_id: participant.id, power: Power::NONE, engagement, joined_at: now };
            members.entry(participant.id).or_insert(guest);
        }
        let members: Vec<Member> = members.into_values().collect();
        rooms::add(tx, scope, &room, &members).await?;
        let mut made = state(&room);
        let each = members.iter().map(|member| (member.participant_id.to_string(), member_state(member)));
        made["participants"] = Value::Object(each.collect::<Map<String, Value>>());
        let changes = diff(&Value::Null, &made, &[]);
        let stamp = self.audit_stamp(now);
        let action = AuditAction::RoomCreate;
        let record = AuditRecord::in_tenant(stamp, caller, request, action, room.id.to_string(), changes);
        audit::add(tx, &record).await?;
        Ok(room)
    }

    /// Changes a room's name or status.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::RoomForbidden`], [`Error::PreconditionFailed`].
    pub async fn update_room(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        request: &RequestContext,
        id: RoomId,
        expected: Expected<'_>,
        changes: RoomChanges,
    ) -> Result<Room, Error> {
        let mut tx = self.0.database.begin().await?;
        let room = self.change_room(&mut tx, caller, request, id, expected, changes).await;
        ended(tx, room).await
    }

    async fn change_room(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::ModelsUse>,
        request: &RequestContext,
        id: RoomId,
        expected: Expected<'_>,
        changes: RoomChanges,
    ) -> Result<Room, Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        let (before, own) = held(tx, caller, id).await?;
        governing(&seats(tx, scope, id).await?, own.participant_id)?;
        check_expected(expected, before.revision)?;
        let mut after = before.clone();
        after.name = changes.name.unwrap_or(after.name);
        after.status = changes.status.unwrap_or(after.status);
        if after == before {
            return Ok(before);
        }
        after.revision = rooms::save(tx, scope, &after, now).await?;
        after.updated_at = now;
        self.note_change(tx, caller, request, id, (&state(&before), &state(&after))).await?;
        Ok(after)
    }

    /// Writes the audit record of a change of a room.
    async fn note_change(
        &self,
        tx: &mut Transaction,
        caller: &Principal,
        request: &RequestContext,
        id: RoomId,
        (before, after): (&Value, &Value),
    ) -> Result<(), Error> {
        let stamp = self.audit_stamp(self.now());
        let changes = diff(before, after, &[]);
        let action = AuditAction::RoomUpdate;
        let record = AuditRecord::in_tenant(stamp, caller, request, action, id.to_string(), changes);
        Ok(audit::add(tx, &record).await?)
    }
}

/// The participants that are to be in a room, each of whom must be there and take part.
async fn invited(
    tx: &mut Transaction,
    scope: TenantScope,
    named: &[ParticipantRef],
) -> Result<Vec<Participant>, Error> {
    let found = meant(tx, scope, named).await?;
    let found = found.into_iter().enumerate().map(|(index, participant)| {
        let here = participant.filter(|participant| participant.enabled);
        here.ok_or_else(|| no_participant(&format!("participants[{index}]")))
    });
    found.collect()
}

/// A field names nobody who could be in a room.
fn no_participant(field: &str) -> Error {
    Error::invalid(field, "must be the id or the local id of a participant of the tenant who is enabled")
}
