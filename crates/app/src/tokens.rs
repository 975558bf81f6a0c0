//! Callers who present a token of a trusted issuer: which of the users they are, and what becomes of those who are new.
//!
//! Someone whom an issuer names for the first time is made a user of the tenant that the token, or the issuer's setting,
//! names. From then on issuer and subject say who they are, whatever else changes. Where tokens carry roles, the youngest
//! token decides about those that its issuer may give; the others are left alone. With groups it is the same; see
//! [`groups`](self::groups).

mod groups;

use std::time::Duration;

use data_encoding::HEXLOWER;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use scaigrid_audit::{AuditAction, AuditRecord, diff};
use scaigrid_oidc::{Issuers, TokenRefused};
use scaigrid_persistence::external_identities::{self, KnownSubject, Subject};
use scaigrid_persistence::users::UserFilter;
use scaigrid_persistence::{
    self as persistence, Connection, Transaction, api_keys, audit, grants, partners, tenants, users,
};
use scaigrid_scope::token::{BearerToken, TokenClaims, VerifiedToken};
use scaigrid_scope::{
    Credential, Email, Identity, Instant, Role, Tenant, TenantRef, TenantStatus, User, UserChanges, UserId,
    UserStatus,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::rights::{comes_to_govern, lose_keys};
use crate::transaction::{ended, written};
use crate::users::{state, user_limit};
use crate::workspace::participants::check_place;
use crate::{App, Error, Resource};

/// When a token whose issuer has never answered may be tried again.
const NO_KEYS: Duration = Duration::from_secs(10);

/// Knows which tokens are good.
pub trait TokenVerifier: Send + Sync + 'static {
    /// What a token says, if it is good at `now`.
    fn verify<'a>(
        &'a self,
        token: BearerToken<'a>,
        now: Instant,
    ) -> BoxFuture<'a, Result<VerifiedToken, TokenRefused>>;
}

impl TokenVerifier for Issuers {
    fn verify<'a>(
        &'a self,
        token: BearerToken<'a>,
        now: Instant,
    ) -> BoxFuture<'a, Result<VerifiedToken, TokenRefused>> {
        Self::verify(self, token, now).boxed()
    }
}

impl App {
    /// Whom a token stands for, and until when it is to be remembered.
    pub(crate) async fn by_token(
        &self,
        token: BearerToken<'_>,
        now: Instant,
    ) -> Result<(Identity, Option<Instant>), Error> {
        let judge = self.0.tokens.as_ref().ok_or(Error::TokenInvalid)?;
        let verified = judge.verify(token, now).await.map_err(|refused| match refused {
            TokenRefused::Invalid(reason) => {
                tracing::info!(reason, "a token was refused");
                Error::TokenInvalid
            }
            TokenRefused::Expired => Error::TokenExpired,
            TokenRefused::NoKeys => Error::Unavailable { retry_after: NO_KEYS },
        })?;
        let claims = &verified.claims;
        let (home, known) = {
            let mut connection = self.0.database.read().await?;
            let home = self.home(&mut connection, &verified).await?;
            let scope = self.0.system.tenant(home.id);
            (home, external_identities::find(&mut connection, scope, subject(claims)).await?)
        };
        let user = match known {
            // Someone new gets no place in a tenant that stands still.
            None if home.status == TenantStatus::Suspended => return Err(Error::TenantSuspended),
            Some(known) if !has_news(&known, &verified, &home) => known.user,
            _ => self.receive(&verified, &home, now).await?,
        };
        let (groups, grants) = {
            let mut connection = self.0.database.read().await?;
            let scope = self.0.system.tenant(home.id);
            let groups = persistence::groups::of_user(&mut connection, scope, user.id).await?;
            (groups, grants::held(&mut connection, scope, user.id).await?)
        };
        let identity = Identity {
            user_id: user.id,
            display_name: user.shown_name(),
            kind: user.kind,
            status: user.status,
            home,
            roles: user.roles,
            groups,
            grants,
            credential: Credential::Token {
                issuer: verified.claims.issuer.clone(),
                actor: verified.claims.actor.clone(),
                scopes: verified.claims.scopes.clone(),
            },
            email: user.email,
        };
        Ok((identity, Some(verified.claims.expires_at)))
    }

    /// The tenant that a token's subject lives in. An issuer that speaks for one tenant may leave it out, but not name
    /// another.
    async fn home(&self, c: &mut Connection, verified: &VerifiedToken) -> Result<TenantRef, Error> {
        let (claims, trust) = (&verified.claims, &verified.trust);
        let refused = |reason| {
            let (issuer, tenant) = (&*claims.issuer, claims.tenant.as_deref());
            tracing::info!(issuer, tenant, reason, "a token was refused");
            Error::TokenInvalid
        };
        let named = match &claims.tenant {
            Some(name) => Some(self.meant(c, name).await?.ok_or_else(|| refused("there is no such tenant"))?),
            None => None,
        };
        let own = match &trust.tenant {
            // The operator names it by what nobody else can take.
            Some(name) => {
                let own = self.named_tenant(c, name).await?;
                Some(own.ok_or_else(|| refused("its issuer's tenant is not there"))?)
            }
            None => None,
        };
        let home = match (named, own) {
            (Some(named), Some(own)) if named.id != own.id => {
                return Err(refused("its issuer does not speak for that tenant"));
            }
            (Some(home), _) | (None, Some(home)) => home,
            (None, None) => return Err(refused("it names no tenant")),
        };
        if let Some(partner) = &claims.partner
            && self.named_partner(c, partner).await? != Some(home.partner_id)
        {
            return Err(refused("the tenant is not that partner's"));
        }
        Ok(home)
    }

    /// The tenant of an id, a slug, or else a name that its issuer is said to know it by. A name that two have is none.
    async fn meant(&self, c: &mut Connection, name: &str) -> Result<Option<TenantRef>, Error> {
        if let Some(tenant) = self.named_tenant(c, name).await? {
            return Ok(Some(tenant));
        }
        let mut found = tenants::references_by_name(c, &self.0.system, name).await?;
        Ok(if found.len() == 1 { found.pop() } else { None })
    }

    /// Takes in what a token says that is new: somebody, their roles, or their groups.
    async fn receive(&self, verified: &VerifiedToken, home: &TenantRef, now: Instant) -> Result<User, Error> {
        let mut tx = self.0.database.begin().await?;
        let received = self.take_in(&mut tx, verified, home, now).await;
        let (user, changed) = ended(tx, received).await?;
        if changed {
            self.people_changed();
        }
        Ok(user)
    }

    /// The user, and whether anything about them is new.
    async fn take_in(
        &self,
        tx: &mut Transaction,
        verified: &VerifiedToken,
        home: &TenantRef,
        now: Instant,
    ) -> Result<(User, bool), Error> {
        let scope = self.0.system.tenant(home.id);
        // Whoever adds a user holds the tenant meanwhile: of two requests that bring somebody new, the second finds them.
        let tenant = tenants::lock(tx, scope).await?.ok_or(Error::TokenInvalid)?;
        let known = external_identities::find(tx, scope, subject(&verified.claims)).await?;
        let (user, changed) = match known {
            Some(known) => self.heed(tx, verified, home, known.user.id, now).await?,
            None => self.welcome(tx, verified, (home, &tenant), now).await?,
        };
        let moved = self.follow_groups(tx, verified, home, &user, now).await?;
        Ok((user, changed || moved))
    }

    /// Finds out who somebody is whom an issuer names for the first time: somebody new, or a user whom it may link.
    async fn welcome(
        &self,
        tx: &mut Transaction,
        verified: &VerifiedToken,
        (home, tenant): (&TenantRef, &Tenant),
        now: Instant,
    ) -> Result<(User, bool), Error> {
        let (claims, scope) = (&verified.claims, self.0.system.tenant(home.id));
        let email = claims.email.clone().map_or_else(|| stand_in(claims), Ok)?;
        if let Some(user) = users::find_by_email(tx, scope, &email).await? {
            let granted = grants::held(tx, scope, user.id).await?;
            if !claims.email_verified || !verified.trust.may_link(&user, &granted) {
                let (issuer, subject) = (&*claims.issuer, &*claims.subject);
                tracing::warn!(
                    issuer, subject, user = %user.id,
                    "a token was refused: another user has the address, and the issuer may not say who they are"
                );
                return Err(Error::TokenInvalid);
            }
            external_identities::add(tx, scope, subject(claims), user.id, Instant::MIN, now).await?;
            let mut after = state(&user);
            name_subject(&mut after, claims);
            self.record(tx, home, AuditAction::UserUpdate, &user, (&state(&user), &after), now).await?;
            let (user, _) = self.heed(tx, verified, home, user.id, now).await?;
            return Ok((user, true));
        }
        let partner = partners::lookup(tx, self.0.system.partner(tenant.partner_id)).await?;
        let partners_limit = partner.and_then(|partner| partner.limits.max_users_per_tenant);
        if let Some(limit) = user_limit(tenant.limits.max_users, partners_limit)
            && users::count(tx, scope, &UserFilter::default()).await? >= i64::from(limit)
        {
            return Err(Error::Capacity { what: "users".into(), limit: limit.into() });
        }
        check_place(tx, scope, &tenant.limits).await?;
        let user = User {
            id: UserId::from_ulid(self.0.ids.draw(now)),
            tenant_id: home.id,
            email,
            display_name: claims.name.clone(),
            kind: claims.kind,
            status: UserStatus::Active,
            roles: verified.trust.first_roles(claims.roles),
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        users::add(tx, scope, &user).await?;
        external_identities::add(tx, scope, subject(claims), user.id, claims.issued_at, now).await?;
        let mut after = state(&user);
        name_subject(&mut after, claims);
        self.record(tx, home, AuditAction::UserCreate, &user, (&Value::Null, &after), now).await?;
        Ok((user, true))
    }

    /// Gives a user the roles that a token names, unless a younger one has been heard.
    async fn heed(
        &self,
        tx: &mut Transaction,
        verified: &VerifiedToken,
        home: &TenantRef,
        id: UserId,
        now: Instant,
    ) -> Result<(User, bool), Error> {
        let (claims, scope) = (&verified.claims, self.0.system.tenant(home.id));
        let user = users::lock(tx, scope, id).await?.ok_or(Error::TokenInvalid)?;
        let mut roles = verified.trust.roles_after(user.roles, claims.roles);
        if claims.roles.is_none()
            || user.status == UserStatus::Deleted
            || !external_identities::hear(tx, scope, subject(claims), claims.issued_at).await?
            || roles == user.roles
        {
            return Ok((user, false));
        }
        if user.roles.contains(Role::SuperAdmin) && !roles.contains(Role::SuperAdmin) {
            match self.keep_a_super_admin(tx, &user).await {
                Err(Error::Conflict(reason)) => {
                    tracing::warn!(user = %user.id, reason, "a token would have taken a role and did not");
                    roles = roles.with(Role::SuperAdmin);
                }
                asked => asked?,
            }
            if roles == user.roles {
                return Ok((user, false));
            }
        }
        let changes = UserChanges { roles: Some(roles), ..UserChanges::default() };
        written(users::update(tx, scope, id, None, &changes, now).await?, Resource::User)?;
        let granted = grants::held(tx, scope, id).await?;
        let lost = if comes_to_govern(user.roles, &granted, roles, &granted) {
            api_keys::revoke_made_by_others(tx, scope, &[id], None, now).await?
        } else {
            Vec::new()
        };
        let after = User { roles, revision: user.revision + 1, updated_at: now, ..user.clone() };
        let (mut was, mut is) = (state(&user), state(&after));
        lose_keys(&mut was, &mut is, &lost);
        self.record(tx, home, AuditAction::UserRoleUpdated, &after, (&was, &is), now).await?;
        Ok((after, true))
    }

    async fn record(
        &self,
        tx: &mut Transaction,
        home: &TenantRef,
        action: AuditAction,
        user: &User,
        (before, after): (&Value, &Value),
        now: Instant,
    ) -> Result<(), persistence::Error> {
        let place = (home.id, Some(home.partner_id));
        let changes = diff(before, after, &[]);
        let stamp = self.audit_stamp(now);
        let record = AuditRecord::by_the_system(stamp, place, action, user.id.to_string(), changes);
        audit::add(tx, &record).await
    }
}

fn subject(claims: &TokenClaims) -> Subject<'_> {
    Subject { issuer: &claims.issuer, name: &claims.subject }
}

/// Whether a token is younger than what was heard of its subject's roles or groups.
fn has_news(known: &KnownSubject, verified: &VerifiedToken, home: &TenantRef) -> bool {
    let claims = &verified.claims;
    claims.roles.is_some() && claims.issued_at > known.heard_at
        || groups::heard(verified, &known.user, home).is_some() && claims.issued_at > known.groups_heard_at
}

/// An address for those who have none: no mail can be sent there (RFC 2606), and no two subjects have the same.
fn stand_in(claims: &TokenClaims) -> Result<Email, Error> {
    let digest = Sha256::digest(format!("{}\n{}", claims.issuer, claims.subject).as_bytes());
    let name = HEXLOWER.encode(&digest[..16]);
    Email::parse(&format!("{name}@subject.invalid")).map_err(Error::internal)
}

fn name_subject(state: &mut Value, claims: &TokenClaims) {
    state["issuer"] = (*claims.issuer).into();
    state["subject"] = (*claims.subject).into();
}
