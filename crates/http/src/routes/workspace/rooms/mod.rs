//! Rooms: where participants talk. Only who is in a room sees it.

mod members;
mod messages;
mod stream;

use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::workspace::rooms;
use scaigrid_http_macros::{get, post, put};
use scaigrid_scope::{Instant, Name, RoomId, perm};
use scaigrid_workspace::{ParticipantRef, Room, RoomStatus};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use crate::auth::Allowed;
use crate::body::Body;
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Listed, PageOf, Reply};
use crate::error::Error;
use crate::filters::Filters;
use crate::openapi::{ServiceConfig, kinds};
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;
use crate::request::Origin;
use crate::routes::given::Problems;

/// A room as it is asked for.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"name": "Release 2.1", "participants": ["ada.lovelace", "code-helper"]}))]
struct NewRoom {
    #[schema(value_type = kinds::Name)]
    name: String,
    /// Who is in it beside the caller, by id or local id: people, who have no power there, and AIs, which answer whatever is said
    /// unless a message mentions an AI.
    #[validate(length(max = 100))]
    #[serde(default)]
    #[schema(value_type = Vec<kinds::ParticipantRef>, max_items = 100)]
    participants: Vec<String>,
}

/// What is to be changed of a room; what is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"status": "archived"}))]
struct RoomUpdate {
    #[schema(value_type = Option<kinds::Name>)]
    name: Option<String>,
    /// `open`, or `archived`: nothing can be said there then.
    #[schema(value_type = Option<kinds::RoomStatus>)]
    status: Option<String>,
}

/// Which rooms are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RoomQuery {
    /// In this status: `open` or `archived`.
    #[param(value_type = Option<kinds::RoomStatus>)]
    status: Option<String>,
}

/// A room.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Room)]
struct RoomView {
    #[schema(example = "room_01JZ8QZ5T0000000000000000A")]
    id: String,
    tenant_id: String,
    name: String,
    /// `open` or `archived`.
    #[schema(example = "open")]
    status: &'static str,
    /// The participant who made it.
    #[schema(example = "par_01JZ8QZ5T0000000000000000A")]
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    /// When its name, its status or who is in it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

impl From<Room> for RoomView {
    fn from(room: Room) -> Self {
        Self {
            id: room.id.to_string(),
            tenant_id: room.tenant_id.to_string(),
            name: room.name.into_string(),
            status: room.status.as_str(),
            created_by: room.created_by.to_string(),
            created_at: room.created_at,
            updated_at: room.updated_at,
        }
    }
}

impl NewRoom {
    fn read(self) -> Result<rooms::NewRoom, Error> {
        let mut problems = Problems::default();
        let name: Option<Name> = problems.read("name", &self.name);
        let participants = problems.each::<ParticipantRef>("participants", &self.participants);
        match (name, participants) {
            (Some(name), Some(participants)) => Ok(rooms::NewRoom { name, participants }),
            _ => Err(problems.refusal()),
        }
    }
}

impl RoomUpdate {
    fn read(self) -> Result<rooms::RoomChanges, Error> {
        let mut problems = Problems::default();
        let name = problems.maybe("name", self.name.as_deref());
        let status = problems.maybe("status", self.status.as_deref());
        problems.check()?;
        Ok(rooms::RoomChanges { name, status })
    }
}

fn shown(room: Room) -> Reply<RoomView> {
    let revision = room.revision.unsigned_abs();
    Reply::ok(RoomView::from(room)).with_etag(revision)
}

/// List the rooms that the caller is in, newest first.
#[utoipa::path(
    tag = "rooms",
    operation_id = "list_rooms",
    params(PageParams, RoomQuery),
    responses((status = 200, body = PageOf<RoomView>))
)]
#[get("/v1/rooms")]
async fn list_rooms(
    caller: Allowed<perm::ModelsUse>,
    paging: Paging,
    filters: Filters<RoomQuery>,
    app: web::Data<App>,
) -> Result<Listed<RoomView>, Error> {
    let (page, seal) = paging.read("rooms", &caller.tenant().id.to_string(), &Bounds::LIST)?;
    let mut problems = Problems::default();
    let status = problems.maybe::<RoomStatus>("status", filters.read()?.status.as_deref());
    problems.check()?;
    Ok(Listed::new(app.rooms(&caller, status, &page).await?, &seal))
}

/// Make a room, in which the caller has a power of 100.
#[utoipa::path(
    tag = "rooms",
    operation_id = "create_room",
    request_body = NewRoom,
    responses((status = 201, body = DataOf<RoomView>))
)]
#[post("/v1/rooms")]
async fn create_room(
    caller: Allowed<perm::ModelsUse>,
    origin: Origin,
    body: Body<NewRoom>,
    app: web::Data<App>,
) -> Result<Reply<RoomView>, Error> {
    let new = body.read().await?.read()?;
    let room = app.create_room(&caller, &origin.context(), new).await?;
    let revision = room.revision.unsigned_abs();
    let room = RoomView::from(room);
    Ok(Reply::created(format!("/v1/rooms/{}", room.id), room).with_etag(revision))
}

/// Get a room that the caller is in.
#[utoipa::path(
    tag = "rooms",
    operation_id = "get_room",
    params(("room_id" = kinds::RoomId, Path, example = "room_01JZ8QZ5T0000000000000000A")),
    responses((status = 200, body = DataOf<RoomView>))
)]
#[get("/v1/rooms/{room_id}")]
async fn get_room(
    caller: Allowed<perm::ModelsUse>,
    id: PathId<RoomId>,
    app: web::Data<App>,
) -> Result<Reply<RoomView>, Error> {
    Ok(shown(app.room(&caller, id.0).await?))
}

/// Change a room's name or status. Takes a power of 50 there.
#[utoipa::path(
    tag = "rooms",
    operation_id = "update_room",
    params(("room_id" = kinds::RoomId, Path, example = "room_01JZ8QZ5T0000000000000000A")),
    request_body = RoomUpdate,
    responses((status = 200, body = DataOf<RoomView>))
)]
#[put("/v1/rooms/{room_id}")]
async fn update_room(
    caller: Allowed<perm::ModelsUse>,
    id: PathId<RoomId>,
    condition: IfMatch,
    origin: Origin,
    body: Body<RoomUpdate>,
    app: web::Data<App>,
) -> Result<Reply<RoomView>, Error> {
    // What is not there is told before what is wrong with the body.
    app.require_room(&caller, id.0).await?;
    let changes = body.read().await?.read()?;
    let expected = condition.revisions();
    Ok(shown(app.update_room(&caller, &origin.context(), id.0, expected, changes).await?))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list_rooms).service(create_room).service(get_room).service(update_room);
    members::routes(config);
    messages::routes(config);
    stream::routes(config);
}
