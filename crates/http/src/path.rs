//! Identifiers in paths.
//!
//! A text that is no identifier names nothing, so it is answered like a thing that does not exist. The
//! extractor stands behind the caller's in a handler's arguments, so missing rights are told first.

use std::future::{Ready, ready};
use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use scaigrid_app::Resource;
use scaigrid_app::catalog::ModelRef;
use scaigrid_scope as scope;

use crate::error::Error;

/// An identifier that stands in paths.
pub trait InPath: FromStr {
    /// What it names.
    const RESOURCE: Resource;
    /// The path parameter that holds it, where it is not plainly `id`.
    const PARAMETER: &'static str;
}

macro_rules! in_path {
    ($($id:ident $resource:ident $parameter:literal),* $(,)?) => {$(
        impl InPath for scope::$id {
            const RESOURCE: Resource = Resource::$resource;
            const PARAMETER: &'static str = $parameter;
        }
    )*};
}

in_path! {
    TenantId Tenant "tenant_id",
    PartnerId Partner "partner_id",
    UserId User "user_id",
    GroupId Group "group_id",
    CustomRoleId CustomRole "custom_role_id",
    ApiKeyId ApiKey "api_key_id",
    CoreId Core "core_id",
    ExecutionId Execution "execution_id",
    CheckpointId Checkpoint "checkpoint_id",
    ConversationId Conversation "conversation_id",
    BreakpointId Breakpoint "breakpoint_id",
    DelegationId Delegation "delegation_id",
    TriggerId Trigger "trigger_id",
    WebhookId Webhook "webhook_id",
    DeliveryId Delivery "delivery_id",
    BackendId Backend "backend_id",
    ModelGroupId ModelGroup "model_group_id",
    ParticipantId Participant "participant_id",
    RoomId Room "room_id",
    FactId Memory "memory_id",
}

/// The identifier of a path: of its parameter named for the kind (`user_id`), else of `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathId<T>(pub T);

impl<T: InPath> FromRequest for PathId<T> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let path = request.match_info();
        let text = path.get(T::PARAMETER).or_else(|| path.get("id")).unwrap_or_default();
        ready(id(text, T::RESOURCE).map(Self))
    }
}

/// The model of a path: its slug, whose slashes may be written as `%2F`, or its identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathModel(pub(crate) ModelRef);

impl FromRequest for PathModel {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let text = request.match_info().get("slug").unwrap_or_default();
        let text = text.replace("%2F", "/").replace("%2f", "/");
        let by_id = text.parse().map(ModelRef::Id);
        let found = by_id.or_else(|_| text.parse().map(ModelRef::Slug));
        ready(found.map(Self).map_err(|_| Error::not_found(Resource::Model)))
    }
}

/// An identifier that a text spells, or the answer that there is no such thing.
pub fn id<T: FromStr>(text: &str, resource: Resource) -> Result<T, Error> {
    text.parse().map_err(|_| Error::not_found(resource))
}
