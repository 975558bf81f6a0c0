//! Identifiers in paths, and other parameters.
//!
//! A text that is no identifier names nothing, so it is answered like a thing that does not exist. The
//! extractor stands behind the caller's in a handler's arguments, so missing rights are told first.

use std::future::{Ready, ready};
use std::ops::Deref;
use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use scaigrid_app::Resource;
use scaigrid_app::catalog::ModelRef;
use scaigrid_scope as scope;

use crate::dispatch::Found;
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
        let text = parameter(request, T::PARAMETER).or_else(|| parameter(request, "id"));
        ready(id(&text.unwrap_or_default(), T::RESOURCE).map(Self))
    }
}

/// The model of a path: its slug, whose slashes may be written as `%2F`, or its identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathModel(pub(crate) ModelRef);

impl FromRequest for PathModel {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let text = parameter(request, "slug").unwrap_or_default();
        let by_id = text.parse().map(ModelRef::Id);
        let found = by_id.or_else(|_| text.parse().map(ModelRef::Slug));
        ready(found.map(Self).map_err(|_| Error::not_found(Resource::Model)))
    }
}

/// A parameter of the path, decoded.
pub(crate) fn parameter(request: &HttpRequest, name: &str) -> Option<String> {
    request.extensions().get::<Found>()?.parameter(name).map(str::to_owned)
}

/// What can be made of a path's parameters, in their order.
pub trait FromParameters: Sized {
    /// It, or nothing where they are others.
    fn from_parameters<'a>(parameters: impl Iterator<Item = &'a str>) -> Option<Self>;
}

impl FromParameters for String {
    fn from_parameters<'a>(mut parameters: impl Iterator<Item = &'a str>) -> Option<Self> {
        let only = parameters.next()?.to_owned();
        parameters.next().is_none().then_some(only)
    }
}

impl FromParameters for (String, String) {
    fn from_parameters<'a>(mut parameters: impl Iterator<Item = &'a str>) -> Option<Self> {
        let pair = (parameters.next()?.to_owned(), parameters.next()?.to_owned());
        parameters.next().is_none().then_some(pair)
    }
}

/// The parameters of a path as texts, decoded: one, or a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path<T>(T);

impl<T> Path<T> {
    /// What they are.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Path<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: FromParameters> FromRequest for Path<T> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let extensions = request.extensions();
        let found = extensions.get::<Found>();
        let made = found.and_then(|found| T::from_parameters(found.parameters())).map(Self);
        ready(made.ok_or_else(|| Error::not_found(Resource::Route)))
    }
}

/// An identifier that a text spells, or the answer that there is no such thing.
pub fn id<T: FromStr>(text: &str, resource: Resource) -> Result<T, Error> {
    text.parse().map_err(|_| Error::not_found(resource))
}
