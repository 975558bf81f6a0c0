//! For whom a plugin is called, and how it is told.

use scaigrid_cores::Core;
use scaigrid_cores::plugins::Registration;
use scaigrid_scope::{ParticipantId, RoomId, TenantScope, UserId};
use serde_json::json;

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

impl Plugins {
    /// Who is calling, in a token of the platform's own for this plugin and this call (RFC 7519). Where a Core acts for a user,
    /// or an AI does, that user is the subject, and the Core or the AI the actor (RFC 8693 section 4.1).
    pub(super) async fn introduce(
        &self,
        scope: TenantScope,
        caller: Caller<'_>,
        registration: &Registration,
        method: &str,
        key: &str,
    ) -> Result<String, CallError> {
        let mut claims = json!({
            "iss": self.0.issuer,
            "aud": registration.plugin.as_str(),
            "sub": caller.to_string(),
            "tenant_id": scope.tenant_id().to_string(),
            "method": method,
            "idempotency_key": key,
            "jti": self.0.ids.draw(self.0.clock.now()).to_string(),
        });
        match caller {
            Caller::User { by, room, .. } => {
                claims["act"] = json!({"sub": by.to_string()});
                if let Some(room) = room {
                    claims["room_id"] = room.to_string().into();
                }
            }
            Caller::Core(core) => {
                claims["core_id"] = core.id.to_string().into();
                claims["core"] = core.slug.as_str().into();
                if let Some(delegation) = core.identity.delegation() {
                    claims["sub"] = delegation.user_id.to_string().into();
                    claims["act"] = json!({"sub": core.id.to_string()});
                    let scopes: Vec<String> =
                        delegation.scopes.iter().map(|scope| scope.to_string()).collect();
                    claims["scope"] = scopes.join(" ").into();
                    if let Some(until) = delegation.expires_at {
                        claims["exp"] = until.micros().div_euclid(1_000_000).into();
                    }
                }
            }
        }
        self.0.tokens.sign(claims).await.map_err(|error| CallError::inside(&error))
    }
}
