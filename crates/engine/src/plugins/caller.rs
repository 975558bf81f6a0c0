//! For whom a plugin is called, and how it is told.

use scaigrid_cores::Core;
use scaigrid_cores::plugins::Registration;
use scaigrid_scope::{CoreId, ParticipantId, RoomId, TenantId, TenantScope, UserId};
use serde::Serialize;

use super::{CallError, Plugins};

/// For whom a plugin is called.
#[derive(Clone, Copy)]
pub(super) enum Caller<'c> {
    /// A Core, whose environment has what credentials refer to.
    Core(&'c Core),
    /// A user, for whom an AI of the workspace calls. Neither has an environment.
    User {
        /// The user.
        id: UserId,
        /// The AI.
        by: ParticipantId,
        /// The room, where it is called for what was said in one.
        room: Option<RoomId>,
    },
}

impl std::fmt::Display for Caller<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Core(core) => core.id.fmt(f),
            Self::User { id, .. } => id.fmt(f),
        }
    }
}

/// What a token says of a call: the names of RFC 7519 section 4.1, `act` and `scope` of RFC 8693 sections 4.1 and 4.2, and the
/// platform's own.
#[derive(Serialize)]
struct Claims<'c> {
    iss: &'c str,
    aud: &'c str,
    sub: Subject,
    tenant_id: TenantId,
    method: &'c str,
    idempotency_key: &'c str,
    jti: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    core_id: Option<CoreId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    core: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_id: Option<RoomId>,
}

/// Whoever acts for the subject.
#[derive(Serialize)]
struct Actor {
    sub: Subject,
}

/// Whom a token is about.
#[derive(Serialize)]
#[serde(untagged)]
enum Subject {
    Core(CoreId),
    User(UserId),
    Participant(ParticipantId),
}

impl Plugins {
    /// Who is calling, in a token of the platform's own for this plugin and this call. Where a Core acts for a user, or an AI does,
    /// that user is the subject, and the Core or the AI the actor; the token is not good for longer than the Core may act.
    pub(super) async fn introduce(
        &self,
        scope: TenantScope,
        caller: Caller<'_>,
        registration: &Registration,
        method: &str,
        key: &str,
    ) -> Result<String, CallError> {
        let jti = self.0.ids.draw(self.0.clock.now()).to_string();
        let (tenant_id, iss, aud) = (scope.tenant_id(), &*self.0.issuer, registration.plugin.as_str());
        let about = |sub, act| Claims {
            iss,
            aud,
            sub,
            act,
            tenant_id,
            method,
            idempotency_key: key,
            jti,
            scope: None,
            core_id: None,
            core: None,
            room_id: None,
        };
        let (claims, until) = match caller {
            Caller::User { id, by, room } => {
                let actor = Actor { sub: Subject::Participant(by) };
                (Claims { room_id: room, ..about(Subject::User(id), Some(actor)) }, None)
            }
            Caller::Core(core) => {
                let lent = core.identity.delegation();
                let (sub, act) = match lent {
                    Some(lent) => (Subject::User(lent.user_id), Some(Actor { sub: Subject::Core(core.id) })),
                    None => (Subject::Core(core.id), None),
                };
                let scopes =
                    lent.map(|lent| lent.scopes.iter().map(|scope| scope.to_string()).collect::<Vec<_>>());
                let claims = Claims {
                    scope: scopes.map(|scopes| scopes.join(" ")),
                    core_id: Some(core.id),
                    core: Some(core.slug.as_str()),
                    ..about(sub, act)
                };
                (claims, lent.and_then(|lent| lent.expires_at))
            }
        };
        self.0.tokens.sign(&claims, until).await.map_err(|error| CallError::inside(&error))
    }
}
