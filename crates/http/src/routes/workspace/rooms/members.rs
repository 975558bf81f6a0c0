//! Who is in a room.

use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::workspace::rooms::{MemberChanges, ShownMember, Speaker};
use scaigrid_http_macros::{delete, get, post, put};
use scaigrid_scope::{Instant, ParticipantId, RoomId, perm};
use scaigrid_workspace::{Engagement, ParticipantRef, Power};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use crate::auth::Allowed;
use crate::body::Body;
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Listed, NoContent, PageOf, Reply};
use crate::error::Error;
use crate::openapi::{ServiceConfig, kinds};
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;
use crate::request::Origin;
use crate::routes::given::{Conflict, Problems};

/// What is to be true of a member; what is left out stays, or is as usual: no power, and an AI answers whatever is said.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"power": 50}))]
struct RoomMemberUpdate {
    /// What they may do: 0 to 100, of which 50 are needed to change the room; 0 for an AI.
    #[schema(minimum = 0, maximum = 100)]
    power: Option<i64>,
    /// When an AI answers by itself: `always`, or `mention`; `none` for a person.
    #[schema(value_type = Option<kinds::Engagement>)]
    engagement: Option<String>,
}

/// An AI that is to take part.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"participant_id": "code-helper", "mode": "mention"}))]
struct Engage {
    /// Its id or local id.
    #[schema(value_type = kinds::ParticipantRef)]
    participant_id: String,
    /// `always`: it answers whatever is said, unless a message mentions an AI; `mention`: only what mentions it. Left out,
    /// `always`.
    #[schema(value_type = Option<kinds::AiEngagement>)]
    mode: Option<String>,
}

/// A participant, as shown beside what they say and where they are.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RoomParticipant)]
pub(super) struct SpeakerView {
    #[schema(example = "par_01JZ8QZ5T0000000000000000A")]
    id: String,
    /// The name to mention them by.
    #[schema(example = "code-helper")]
    local_id: String,
    display_name: String,
    /// `human`, `model`, `agent`, `helper`, `bridge` or `federated`.
    #[schema(example = "model")]
    participant_type: &'static str,
}

/// A member of a room.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RoomMember)]
struct MemberView {
    participant_id: String,
    /// What they may do: 0 to 100.
    power: u8,
    /// When they answer by themselves: `always`, `mention` or `none`.
    #[schema(example = "always")]
    engagement: &'static str,
    #[schema(value_type = String, format = DateTime)]
    joined_at: Instant,
    participant: SpeakerView,
}

impl From<Speaker> for SpeakerView {
    fn from(speaker: Speaker) -> Self {
        Self {
            id: speaker.id.to_string(),
            local_id: speaker.local_id.to_string(),
            display_name: speaker.display_name,
            participant_type: speaker.kind.as_str(),
        }
    }
}

impl From<ShownMember> for MemberView {
    fn from(shown: ShownMember) -> Self {
        Self {
            participant_id: shown.member.participant_id.to_string(),
            power: shown.member.power.number(),
            engagement: shown.member.engagement.as_str(),
            joined_at: shown.member.joined_at,
            participant: Speaker::from(&shown.participant).into(),
        }
    }
}

impl RoomMemberUpdate {
    fn read(self) -> Result<MemberChanges, Error> {
        let mut problems = Problems::default();
        let power = self.power.and_then(|power| match Power::of_number(power) {
            Ok(power) => Some(power),
            Err(error) => {
                problems.note("power", error);
                None
            }
        });
        let engagement = problems.maybe("engagement", self.engagement.as_deref());
        problems.check()?;
        Ok(MemberChanges { power, engagement })
    }
}

impl Engage {
    fn read(self) -> Result<(ParticipantRef, Option<Engagement>), Error> {
        let mut problems = Problems::default();
        let who = problems.read("participant_id", &self.participant_id);
        let mode = problems.maybe::<Engagement>("mode", self.mode.as_deref());
        if mode == Some(Engagement::None) {
            problems.note("mode", "must be always or mention");
        }
        problems.check()?;
        let Some(who) = who else { return Err(problems.refusal()) };
        Ok((who, mode))
    }
}

/// List who is in a room that the caller is in.
#[utoipa::path(
    tag = "rooms",
    operation_id = "list_room_members",
    params(("room_id" = kinds::RoomId, Path, example = "room_01JZ8QZ5T0000000000000000A"), PageParams),
    responses((status = 200, body = PageOf<MemberView>))
)]
#[get("/v1/rooms/{room_id}/participants")]
async fn list_members(
    caller: Allowed<perm::ModelsUse>,
    id: PathId<RoomId>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<MemberView>, Error> {
    app.require_room(&caller, id.0).await?;
    let (page, seal) = paging.read("room members", &id.0.to_string(), &Bounds::LIST)?;
    Ok(Listed::new(app.room_members(&caller, id.0, &page).await?, &seal))
}

/// Put somebody into a room, or change what they may do there
///
/// Takes a power of 50 there; nobody gives or takes more power than they have. `ETag` and `If-Match` are the room's.
#[utoipa::path(
    tag = "rooms",
    operation_id = "put_room_member",
    params(
        ("room_id" = kinds::RoomId, Path, example = "room_01JZ8QZ5T0000000000000000A"),
        ("participant_id" = kinds::ParticipantId, Path, example = "par_01JZ8QZ5T0000000000000000A"),
    ),
    request_body = RoomMemberUpdate,
    responses((status = 200, body = DataOf<MemberView>), (status = 409, response = Conflict))
)]
#[put("/v1/rooms/{room_id}/participants/{participant_id}")]
async fn put_member(
    caller: Allowed<perm::ModelsUse>,
    (id, who): (PathId<RoomId>, PathId<ParticipantId>),
    condition: IfMatch,
    origin: Origin,
    body: Body<RoomMemberUpdate>,
    app: web::Data<App>,
) -> Result<Reply<MemberView>, Error> {
    app.require_room(&caller, id.0).await?;
    let changes = body.read().await?.read()?;
    let (expected, context) = (condition.revisions(), origin.context());
    let put = app.put_room_member(&caller, &context, id.0, expected, (who.0, changes)).await?;
    Ok(Reply::ok(put.0.into()).with_etag(put.1.unsigned_abs()))
}

/// Take somebody out of a room
///
/// Takes a power of 50 there, and no less than theirs; everybody may go by themselves. The last with a power of 50 stays while other
/// people are there. What they said stays.
#[utoipa::path(
    tag = "rooms",
    operation_id = "remove_room_member",
    params(
        ("room_id" = kinds::RoomId, Path, example = "room_01JZ8QZ5T0000000000000000A"),
        ("participant_id" = kinds::ParticipantId, Path, example = "par_01JZ8QZ5T0000000000000000A"),
        ("If-Match" = Option<String>, Header),
    ),
    responses((status = 204), (status = 409, response = Conflict))
)]
#[delete("/v1/rooms/{room_id}/participants/{participant_id}")]
async fn remove_member(
    caller: Allowed<perm::ModelsUse>,
    (id, who): (PathId<RoomId>, PathId<ParticipantId>),
    condition: IfMatch,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    let expected = condition.revisions();
    app.remove_room_member(&caller, &origin.context(), id.0, expected, who.0).await?;
    Ok(NoContent)
}

/// Have an AI take part in a room, or change when it answers there
///
/// Everybody in the room may.
#[utoipa::path(
    tag = "rooms",
    operation_id = "engage_room_ai",
    params(("room_id" = kinds::RoomId, Path, example = "room_01JZ8QZ5T0000000000000000A")),
    request_body = Engage,
    responses((status = 200, body = DataOf<MemberView>))
)]
#[post("/v1/rooms/{room_id}/ai/engage")]
async fn engage(
    caller: Allowed<perm::ModelsUse>,
    id: PathId<RoomId>,
    origin: Origin,
    body: Body<Engage>,
    app: web::Data<App>,
) -> Result<Reply<MemberView>, Error> {
    app.require_room(&caller, id.0).await?;
    let (who, mode) = body.read().await?.read()?;
    Ok(Reply::ok(app.engage_ai(&caller, &origin.context(), id.0, &who, mode).await?.into()))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list_members).service(put_member).service(remove_member).service(engage);
}
