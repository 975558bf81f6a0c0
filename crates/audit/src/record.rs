//! The audit record.

use std::net::IpAddr;

use scaigrid_scope::{
    AuditId, Instant, Level, PartnerId, Principal, TenantId, User, UserId, UserKind, text_enum,
};

use crate::action::AuditAction;
use crate::diff::Changes;

text_enum! {
    /// What kind of actor it was.
    pub enum ActorKind {
        /// A person.
        User => "user",
        /// A program with an account of its own.
        Service => "service",
        /// A message from outside.
        Webhook => "webhook",
        /// The platform itself.
        System => "system",
    }
}

/// Who did it. A name, not a reference: it stays when the account is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// What kind.
    pub kind: ActorKind,
    /// The user, or what else is known of the actor.
    pub id: Option<String>,
    /// The user's address.
    pub email: Option<String>,
}

impl Actor {
    /// The platform itself.
    pub const SYSTEM: Self = Self { kind: ActorKind::System, id: None, email: None };

    /// A principal.
    pub fn of(principal: &Principal) -> Self {
        let user: UserId = principal.user_id();
        let kind = Self::kind(principal.identity().kind);
        Self { kind, id: Some(user.to_string()), email: Some(principal.email().to_string()) }
    }

    /// A user by whose word it was done, before they could act.
    pub fn user(user: &User) -> Self {
        Self {
            kind: Self::kind(user.kind),
            id: Some(user.id.to_string()),
            email: Some(user.email.to_string()),
        }
    }

    const fn kind(kind: UserKind) -> ActorKind {
        match kind {
            UserKind::Human => ActorKind::User,
            UserKind::Service => ActorKind::Service,
        }
    }
}

text_enum! {
    /// How it ended.
    pub enum Outcome {
        /// It was done.
        Success => "SUCCESS",
        /// It was attempted.
        Failure => "FAILURE",
    }
}

/// What is known of the request that led to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestContext {
    request_id: Option<String>,
    ip_address: Option<IpAddr>,
    user_agent: Option<String>,
}

impl RequestContext {
    /// The greatest number of characters of a user agent that is kept.
    pub const MAX_USER_AGENT_CHARS: usize = 512;
    /// The greatest number of characters of a request id that is kept.
    pub const MAX_REQUEST_ID_CHARS: usize = 128;

    /// What is known of a request. Texts that are too long are cut.
    pub fn new(request_id: Option<&str>, ip_address: Option<IpAddr>, user_agent: Option<&str>) -> Self {
        let cut = |text: &str, max| text.chars().take(max).collect();
        Self {
            request_id: request_id.map(|text| cut(text, Self::MAX_REQUEST_ID_CHARS)),
            ip_address,
            user_agent: user_agent.map(|text| cut(text, Self::MAX_USER_AGENT_CHARS)),
        }
    }

    /// The request's id.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// Where it came from.
    pub const fn ip_address(&self) -> Option<IpAddr> {
        self.ip_address
    }

    /// What sent it, in its own words.
    pub fn user_agent(&self) -> Option<&str> {
        self.user_agent.as_deref()
    }
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRecord {
    /// The entry.
    pub id: AuditId,
    /// When it was done.
    pub at: Instant,
    /// What was done.
    pub action: AuditAction,
    /// Who did it.
    pub actor: Actor,
    /// The tenant that it was done in; none above the tenants.
    pub tenant_id: Option<TenantId>,
    /// The partner of that tenant, or the one at whose level it was done; none for the platform.
    pub partner_id: Option<PartnerId>,
    /// To what. Its type is that of the action.
    pub resource_id: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was different afterwards.
    pub changes: Changes,
    /// The request that led to it.
    pub request: RequestContext,
    /// The module that it was done in; none for the platform's own affairs.
    pub module: Option<String>,
}

impl AuditRecord {
    /// The record of something that a principal did, successfully, in the tenant that they act in.
    pub fn in_tenant(
        (id, at): (AuditId, Instant),
        principal: &Principal,
        request: &RequestContext,
        action: AuditAction,
        resource_id: impl Into<String>,
        changes: Changes,
    ) -> Self {
        let tenant = principal.tenant();
        Self {
            id,
            at,
            action,
            actor: Actor::of(principal),
            tenant_id: Some(tenant.id),
            partner_id: Some(tenant.partner_id),
            resource_id: resource_id.into(),
            outcome: Outcome::Success,
            changes,
            request: request.clone(),
            module: None,
        }
    }

    /// The record of something that a principal did, successfully, at the level that they act at.
    pub fn at_level(
        (id, at): (AuditId, Instant),
        principal: &Principal,
        request: &RequestContext,
        action: AuditAction,
        resource_id: impl Into<String>,
        changes: Changes,
    ) -> Self {
        let record = Self::in_tenant((id, at), principal, request, action, resource_id, changes);
        match principal.level() {
            Level::Platform => Self { tenant_id: None, partner_id: None, ..record },
            Level::Partner(partner) => Self { tenant_id: None, partner_id: Some(partner), ..record },
            Level::Tenant(_) => record,
        }
    }

    /// The record of something that the platform did by itself in a tenant.
    pub fn by_the_system(
        (id, at): (AuditId, Instant),
        (tenant_id, partner_id): (TenantId, Option<PartnerId>),
        action: AuditAction,
        resource_id: impl Into<String>,
        changes: Changes,
    ) -> Self {
        Self {
            id,
            at,
            action,
            actor: Actor::SYSTEM,
            tenant_id: Some(tenant_id),
            partner_id,
            resource_id: resource_id.into(),
            outcome: Outcome::Success,
            changes,
            request: RequestContext::default(),
            module: None,
        }
    }

    /// The record, as one of a module's affairs.
    #[must_use]
    pub fn of_module(mut self, module: &str) -> Self {
        self.module = Some(module.to_owned());
        self
    }
}

#[cfg(test)]
mod tests {
    use scaigrid_scope::{
        ApiKeyId, Credential, Email, Identity, Name, Permissions, Place, Role, Slug, TenantRef, TenantStatus,
        UserStatus,
    };
    use ulid::Ulid;

    use super::*;

    #[test]
    fn a_record_stands_where_its_actor_acted() {
        let partner_id = PartnerId::from_ulid(Ulid(1));
        let identity = Identity {
            user_id: UserId::from_ulid(Ulid(1)),
            email: Email::parse("ada@acme").unwrap(),
            display_name: Name::parse("Ada").unwrap(),
            kind: UserKind::Service,
            status: UserStatus::Active,
            home: TenantRef {
                id: TenantId::from_ulid(Ulid(1)),
                slug: Slug::parse("acme").unwrap(),
                partner_id,
                status: TenantStatus::Active,
            },
            roles: [Role::PartnerAdmin].into_iter().collect(),
            groups: Vec::new(),
            grants: Permissions::default(),
            credential: Credential::ApiKey { id: ApiKeyId::from_ulid(Ulid(1)), scopes: None },
        };
        let home = identity.home.clone();
        let request = RequestContext::new(Some("req-12345678"), None, Some(&"x".repeat(1000)));
        let id = (AuditId::from_ulid(Ulid(1)), Instant::from_micros(1));
        let record = |place| {
            let who = identity.clone().act(place).unwrap();
            AuditRecord::at_level(
                id,
                &who,
                &request,
                AuditAction::ModuleEnable,
                "scaicore",
                Changes::default(),
            )
        };
        let own = record(Place::Own);
        assert_eq!(
            (own.tenant_id, own.partner_id, own.actor.kind),
            (None, Some(partner_id), ActorKind::Service)
        );
        assert_eq!(own.request.user_agent().map(str::len), Some(RequestContext::MAX_USER_AGENT_CHARS));
        assert_eq!(record(Place::Tenant(home.clone())).tenant_id, Some(home.id));
    }
}
