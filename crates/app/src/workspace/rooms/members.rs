//! Who is in a room: reading it, and people and AIs who come, change and go.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::RequestContext;
use scaigrid_persistence::{Transaction, participants, rooms};
use scaigrid_scope::{Authorized, ParticipantId, RoomId, TenantScope, perm};
use scaigrid_workspace::room::{may_be_lowered, may_go, power_of};
use scaigrid_workspace::{Engagement, Member, Participant, ParticipantRef, Power, Room, Who};
use serde_json::{Map, Value};

use super::{RoomNews, governing, held, meant, member_state, no_participant, seats, seen, usual_engagement};
use crate::page::{Cursor, Page, PageRequest};
use crate::transaction::{Expected, check_expected, ended};
use crate::{App, Error, Resource};

/// A member of a room with who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownMember {
    /// Their being there.
    pub member: Member,
    /// Who they are.
    pub participant: Participant,
}

/// What is to be true of a member; what is left out stays, or is as usual.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemberChanges {
    /// What they may do.
    pub power: Option<Power>,
    /// When they answer by themselves.
    pub engagement: Option<Engagement>,
}

/// A member as the audit log tells of them, in a document of the room.
fn noted(id: ParticipantId, member: Option<&Member>) -> Value {
    let fields: Map<String, Value> =
        member.map(|member| (format!("participants.{id}"), member_state(member))).into_iter().collect();
    Value::Object(fields)
}

/// Whether what is asked for goes with what somebody is: an AI has no power, and a person does not answer by themselves.
fn fitting(participant: &Participant, changes: MemberChanges) -> Result<(), Error> {
    match (&participant.who, changes.power, changes.engagement) {
        (Who::Ai { .. }, Some(power), _) if power > Power::NONE => {
            Err(Error::invalid("power", "must be 0 for an AI"))
        }
        (Who::Ai { .. }, _, Some(Engagement::None)) => {
            Err(Error::invalid("engagement", "must be always or mention for an AI"))
        }
        (Who::Human(_), _, Some(Engagement::Always | Engagement::Mention)) => {
            Err(Error::invalid("engagement", "must be none for a person"))
        }
        _ => Ok(()),
    }
}

impl App {
    /// Who is in a room that the caller is in, by id.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[boxed]
    pub async fn room_members(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        id: RoomId,
        page: &PageRequest,
    ) -> Result<Page<ShownMember>, Error> {
        let scope = caller.tenant_scope();
        let mut connection = self.0.database.read().await?;
        seen(&mut connection, caller, id).await?;
        let rows = rooms::members_after(&mut connection, scope, id, page.after()?, page.rows()).await?;
        let page =
            Page::of_rows(rows, page, |member| Cursor::new([member.participant_id.to_string().into()]));
        let ids: Vec<ParticipantId> = page.items.iter().map(|member| member.participant_id).collect();
        let mut known = participants::several(&mut connection, scope, &ids).await?.into_iter();
        // Both are in the order of ids, and every member is a participant.
        let shown = page.items.into_iter().filter_map(|member| {
            let participant = known.by_ref().find(|one| one.id == member.participant_id)?;
            Some(ShownMember { member, participant })
        });
        Ok(Page { items: shown.collect(), next: page.next })
    }

    /// Has somebody be in a room, or changes what they may do there and when they answer. Says also in which revision the room is
    /// then.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the room, or a participant; [`Error::RoomForbidden`] for who has too little power, or would give or
    /// take more than they have; [`Error::PreconditionFailed`] where the room has changed; [`Error::Invalid`]; [`Error::Conflict`]
    /// when the room is full, or nobody would govern it.
    pub async fn put_room_member(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        request: &RequestContext,
        id: RoomId,
        expected: Expected<'_>,
        (who, changes): (ParticipantId, MemberChanges),
    ) -> Result<(ShownMember, i64), Error> {
        let mut tx = self.0.database.begin().await?;
        let put = self.change_member(&mut tx, caller, request, id, expected, (who, changes)).await;
        let put = ended(tx, put).await?;
        self.tell_room(caller.tenant_scope(), id, RoomNews::Look);
        Ok(put)
    }

    async fn change_member(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::ModelsUse>,
        request: &RequestContext,
        id: RoomId,
        expected: Expected<'_>,
        (who, changes): (ParticipantId, MemberChanges),
    ) -> Result<(ShownMember, i64), Error> {
        let scope = caller.tenant_scope();
        let (room, own) = held(tx, caller, id).await?;
        let seats = seats(tx, scope, id).await?;
        let own_power = governing(&seats, own.participant_id)?;
        check_expected(expected, room.revision)?;
        let participant = participants::lookup(tx, scope, who).await?;
        let participant = participant.ok_or(Error::NotFound(Resource::Participant))?;
        let before = rooms::member(tx, scope, id, who).await?;
        if before.is_none() && !participant.enabled {
            return Err(Error::NotFound(Resource::Participant));
        }
        fitting(&participant, changes)?;
        let present = before.map_or(Power::NONE, |member| member.power);
        let power = changes.power.unwrap_or(present);
        if power != present && (present > own_power || power > own_power) {
            return Err(Error::RoomForbidden("Nobody gives or takes more power than they have"));
        }
        if !power.governs() && !may_be_lowered(&seats, who) {
            return Err(last_governs());
        }
        let usual = before.map_or_else(|| usual_engagement(&participant), |member| member.engagement);
        let member = self.as_member(before, who, power, changes.engagement.unwrap_or(usual));
        let revision = self.put_member(tx, caller, request, &room, (before, member)).await?;
        Ok((ShownMember { member, participant }, revision))
    }

    pub(super) fn as_member(
        &self,
        before: Option<Member>,
        participant_id: ParticipantId,
        power: Power,
        engagement: Engagement,
    ) -> Member {
        let joined_at = before.map_or_else(|| self.now(), |member| member.joined_at);
        Member { participant_id, power, engagement, joined_at }
    }

    /// Writes a member as they are to be, with the record of it. In which revision the room is then.
    pub(super) async fn put_member(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::ModelsUse>,
        request: &RequestContext,
        room: &Room,
        (before, after): (Option<Member>, Member),
    ) -> Result<i64, Error> {
        let scope = caller.tenant_scope();
        if before == Some(after) {
            return Ok(room.revision);
        }
        if before.is_none() && rooms::members(tx, scope, room.id).await?.len() >= Room::MAX_MEMBERS {
            return Err(Error::Conflict(format!("A room has at most {} members", Room::MAX_MEMBERS)));
        }
        let who = after.participant_id;
        rooms::put_member(tx, scope, room.id, &after).await?;
        let revision = rooms::save(tx, scope, room, self.now()).await?;
        let (was, is) = (noted(who, before.as_ref()), noted(who, Some(&after)));
        self.note_change(tx, caller, request, room.id, (&was, &is)).await?;
        Ok(revision)
    }

    /// Takes somebody out of a room; everybody may go by themselves. What they said stays.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the room, or somebody who is not in it; [`Error::RoomForbidden`]; [`Error::Conflict`] for the last who
    /// governs the room while other people are there; [`Error::PreconditionFailed`].
    pub async fn remove_room_member(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        request: &RequestContext,
        id: RoomId,
        expected: Expected<'_>,
        who: ParticipantId,
    ) -> Result<(), Error> {
        let mut tx = self.0.database.begin().await?;
        let removed = self.take_out(&mut tx, caller, request, id, expected, who).await;
        ended(tx, removed).await?;
        self.tell_room(caller.tenant_scope(), id, RoomNews::Look);
        Ok(())
    }

    async fn take_out(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::ModelsUse>,
        request: &RequestContext,
        id: RoomId,
        expected: Expected<'_>,
        who: ParticipantId,
    ) -> Result<(), Error> {
        let scope = caller.tenant_scope();
        let (room, own) = held(tx, caller, id).await?;
        let seats = seats(tx, scope, id).await?;
        let member = rooms::member(tx, scope, id, who).await?;
        if who != own.participant_id {
            let own_power = governing(&seats, own.participant_id)?;
            if power_of(&seats, who).is_some_and(|power| power > own_power) {
                return Err(Error::RoomForbidden("Nobody takes out who has more power than they have"));
            }
        }
        let member = member.ok_or(Error::NotFound(Resource::Participant))?;
        check_expected(expected, room.revision)?;
        if !may_go(&seats, who) {
            return Err(last_of_all());
        }
        rooms::remove_member(tx, scope, id, who).await?;
        rooms::save(tx, scope, &room, self.now()).await?;
        let (was, is) = (noted(who, Some(&member)), noted(who, None));
        self.note_change(tx, caller, request, id, (&was, &is)).await
    }

    /// Has an AI take part in a room that the caller is in, or changes when it answers there.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the room, [`Error::Invalid`] for what is no AI that is enabled, [`Error::Conflict`] when the room is
    /// full.
    #[boxed]
    pub async fn engage_ai(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        request: &RequestContext,
        id: RoomId,
        who: &ParticipantRef,
        engagement: Option<Engagement>,
    ) -> Result<ShownMember, Error> {
        let mut tx = self.0.database.begin().await?;
        let engaged = self.add_ai(&mut tx, caller, request, id, who, engagement).await;
        let engaged = ended(tx, engaged).await?;
        self.tell_room(caller.tenant_scope(), id, RoomNews::Look);
        Ok(engaged)
    }

    async fn add_ai(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::ModelsUse>,
        request: &RequestContext,
        id: RoomId,
        who: &ParticipantRef,
        engagement: Option<Engagement>,
    ) -> Result<ShownMember, Error> {
        let scope = caller.tenant_scope();
        let (room, _) = held(tx, caller, id).await?;
        let participant = enabled_ai(tx, scope, who).await?;
        let engagement = engagement.unwrap_or(Engagement::Always);
        fitting(&participant, MemberChanges { power: None, engagement: Some(engagement) })?;
        let before = rooms::member(tx, scope, id, participant.id).await?;
        let member = self.as_member(before, participant.id, Power::NONE, engagement);
        self.put_member(tx, caller, request, &room, (before, member)).await?;
        Ok(ShownMember { member, participant })
    }
}

/// The AI that is to take part.
async fn enabled_ai(
    tx: &mut Transaction,
    scope: TenantScope,
    who: &ParticipantRef,
) -> Result<Participant, Error> {
    let found = meant(tx, scope, std::slice::from_ref(who)).await?.pop().flatten();
    let found = found.filter(|participant| participant.enabled);
    let found = found.ok_or_else(|| no_participant("participant_id"))?;
    match found.who {
        Who::Ai { .. } => Ok(found),
        Who::Human(_) => Err(Error::invalid("participant_id", "must be an AI")),
    }
}

fn last_of_all() -> Error {
    let why = "The last person of a room does not go, nor the last with a power of 50 or more while others are there";
    Error::Conflict(why.to_owned())
}

fn last_governs() -> Error {
    let why = "Nobody else has a power of 50 or more in the room, and other people are there";
    Error::Conflict(why.to_owned())
}
