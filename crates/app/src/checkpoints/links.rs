//! Links by which one person decides one checkpoint without logging in.
//!
//! A link is bound to a checkpoint and to a person, ends with either of them, and is good for one decision. Its token is signed
//! under a key of the platform; of it only the hash is kept. Whoever shows it is that person, with no more rights than to
//! look at checkpoints and decide them, and everything that keeps them from deciding otherwise keeps them from it here.

use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit as _, Mac as _};
use scaigrid_audit::{AuditAction, AuditRecord, diff};
use scaigrid_checkpoints::{Access, Checkpoint, Decision};
use scaigrid_persistence::checkpoints::{self, StoredCheckpoint, links, links::Link};
use scaigrid_persistence::{audit, grants, groups, tenants, users};
use scaigrid_scope::{
    Authorized, CheckpointId, Credential, Identity, Instant, Permission, Place, Principal, TenantId,
    TenantScope, UserId, UserStatus, perm,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{Decided, Way};
use crate::{App, Error, RequestContext, Resource};

/// How long a link is good at most.
const LINK_LIFE: Duration = Duration::from_hours(7 * 24);
/// The longest token that is looked at.
const LONGEST_TOKEN: usize = 200;
/// What tokens begin with.
const MARK: &str = "cpl_";
/// What the keys of the tokens are derived for.
const PURPOSE: &str = "checkpoint links";
/// Who says who the person is.
const ISSUER: &str = "scaigrid:checkpoint-link";

/// A link that was just made.
#[derive(Clone, PartialEq, Eq)]
pub struct MadeLink {
    /// The token, which is shown once.
    pub token: String,
    /// The address to open; a path where the platform does not know its own.
    pub url: String,
    /// From when on it is of no use.
    pub expires_at: Instant,
}

impl std::fmt::Debug for MadeLink {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MadeLink").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// What a link leads to.
#[derive(Debug)]
pub struct OpenedLink {
    /// The checkpoint.
    pub checkpoint: StoredCheckpoint,
    /// Whether the link has decided already.
    pub used: bool,
    /// The person.
    principal: Arc<Principal>,
    link: Link,
}

impl App {
    /// Makes a link by which the caller, and nobody else, decides a checkpoint, if its Core allows that.
    ///
    /// # Errors
    /// There is no checkpoint that the caller may see, or they may not decide it; its Core allows no links; the caller is no user of
    /// the tenant.
    #[boxed]
    pub async fn link_checkpoint(
        &self,
        by: &Authorized<perm::CheckpointsResolve>,
        request: &RequestContext,
        id: CheckpointId,
    ) -> Result<MadeLink, Error> {
        let now = self.now();
        let mut tx = self.0.database.begin().await?;
        let scope = by.tenant_scope();
        let stored =
            checkpoints::lock(&mut tx, scope, id).await?.ok_or(Error::NotFound(Resource::Checkpoint))?;
        let checkpoint = &stored.checkpoint;
        checkpoint.may_act(by.principal(), now)?;
        if !checkpoint.rules.links {
            return Err(Error::Conflict("The Core allows no links to its checkpoints".to_owned()));
        }
        if by.identity().home.id != scope.tenant_id() {
            return Err(Error::Conflict("Links are for users of the tenant".to_owned()));
        }
        let (token, link) = self.new_link(scope.tenant_id(), checkpoint, by.user_id(), now)?;
        // One for each person: however often they ask, there is one that they could lose.
        links::remove_unused(&mut tx, scope, checkpoint, link.user).await?;
        links::add(&mut tx, scope, checkpoint, &link).await?;
        let after = json!({"user_id": link.user, "expires_at": link.expires_at});
        let changes = diff(&json!({}), &after, &[]);
        let action = AuditAction::CheckpointLink;
        let record = AuditRecord::in_tenant(
            self.audit_stamp(now),
            by.principal(),
            request,
            action,
            id.to_string(),
            changes,
        );
        audit::add(&mut tx, &record.of_module("scaicore")).await?;
        tx.commit().await?;
        Ok(MadeLink { url: self.link_url(&token), token, expires_at: link.expires_at })
    }

    /// A link to a checkpoint, yet to be kept, and its token.
    fn new_link(
        &self,
        tenant: TenantId,
        checkpoint: &Checkpoint,
        user: UserId,
        now: Instant,
    ) -> Result<(String, Link), Error> {
        let latest = now.plus(LINK_LIFE);
        let expires_at = checkpoint.expiry.as_ref().map_or(latest, |expiry| expiry.at.min(latest));
        let mut link = Link {
            id: self.0.ids.draw(now),
            hash: String::new(),
            checkpoint: checkpoint.id,
            user,
            created_at: now,
            expires_at,
            used_at: None,
        };
        let token = self.token_of(tenant, &link)?;
        link.hash = hash_of(&token);
        Ok((token, link))
    }

    /// The token of a link: its id, and what vouches for all that it is bound to.
    fn token_of(&self, tenant: TenantId, link: &Link) -> Result<String, Error> {
        let key = self.0.vault.derive(PURPOSE).map_err(Error::internal)?;
        signed(&key, tenant, link)
    }

    /// The tokens that a link may have, by each of the master keys: it may have been made when another one was the first.
    fn tokens_of(&self, tenant: TenantId, link: &Link) -> Result<Vec<String>, Error> {
        let keys = self.0.vault.derive_each(PURPOSE).map_err(Error::internal)?;
        keys.iter().map(|(_, key)| signed(key, tenant, link)).collect()
    }

    fn link_url(&self, token: &str) -> String {
        let base = self.0.remote.public_url.as_ref().map(|url| url.as_str().trim_end_matches('/'));
        format!("{}/v1/checkpoint-link?token={token}", base.unwrap_or_default())
    }

    /// The address of the link in a mail, which is the same however often the mail is sent; none where the checkpoint is gone.
    pub(crate) async fn link_in_mail(
        &self,
        scope: TenantScope,
        mail: &scaigrid_persistence::mails::Pending,
    ) -> Result<Option<String>, Error> {
        let mut tx = self.0.database.begin().await?;
        // Locked, so that it does not go in between and leave the link behind.
        let Some(stored) = checkpoints::lock(&mut tx, scope, mail.checkpoint).await? else {
            return Ok(None);
        };
        let known = links::lookup(&mut tx, scope, mail.id).await?;
        let token = if let Some(link) = known {
            let tokens = self.tokens_of(scope.tenant_id(), &link)?;
            if let Some(token) = tokens.into_iter().find(|token| hash_of(token) == link.hash) {
                token
            } else {
                // The key that it was made with is gone.
                let token = self.token_of(scope.tenant_id(), &link)?;
                links::renew(&mut tx, scope, link.id, &hash_of(&token)).await?;
                token
            }
        } else {
            let now = self.now();
            let (_, link) = self.new_link(scope.tenant_id(), &stored.checkpoint, mail.user, now)?;
            let mut link = Link { id: mail.id, ..link };
            let token = self.token_of(scope.tenant_id(), &link)?;
            link.hash = hash_of(&token);
            links::add(&mut tx, scope, &stored.checkpoint, &link).await?;
            token
        };
        tx.commit().await?;
        Ok(Some(self.link_url(&token)))
    }

    /// What a link leads to. Nothing changes.
    ///
    /// # Errors
    /// There is no such link, or its time is up; the person may not decide the checkpoint, or not any more; the module is off.
    #[boxed]
    pub async fn open_link(&self, token: &str) -> Result<OpenedLink, Error> {
        let none = || Error::NotFound(Resource::CheckpointLink);
        if token.len() > LONGEST_TOKEN || !token.starts_with(MARK) {
            return Err(none());
        }
        let mut connection = self.0.database.read().await?;
        let found = links::find_by_hash(&mut connection, &self.0.system, &hash_of(token)).await?;
        let (tenant, link) = found.ok_or_else(none)?;
        let known = self.tokens_of(tenant, &link)?.iter().any(|known| known == token);
        if link.expires_at <= self.now() || !known {
            return Err(none());
        }
        let scope = self.0.system.tenant(tenant);
        let stored = checkpoints::lookup(&mut connection, scope, link.checkpoint).await?.ok_or_else(none)?;
        drop(connection);
        let principal = self.person_of(scope, link.user).await?.ok_or_else(none)?;
        self.check_module(&principal, "scaicore").await?;
        let checkpoint = &stored.checkpoint;
        match checkpoint.access(&principal) {
            Access::Act => {}
            Access::Hidden => return Err(none()),
            // They may have been kept out since.
            Access::See if checkpoint.rules.excluded.contains(&link.user) => {
                return Err(Error::RequesterExcluded);
            }
            Access::See => return Err(Error::NotAssignee),
        }
        Ok(OpenedLink { used: link.used_at.is_some(), checkpoint: stored, principal, link })
    }

    /// Decides a checkpoint by a link, once.
    ///
    /// # Errors
    /// As for [`App::open_link`] and [`App::resolve_checkpoint`]; or the link has decided already.
    #[boxed]
    pub async fn resolve_by_link(
        &self,
        request: &RequestContext,
        token: &str,
        decision: Decision,
    ) -> Result<Decided, Error> {
        let opened = self.open_link(token).await?;
        if opened.used {
            return Err(Error::Conflict("The link was used already".to_owned()));
        }
        let by = opened.principal.authorize::<perm::CheckpointsResolve>()?;
        let way = Way { by: &by, request, id: opened.link.checkpoint, link: true };
        // Whoever comes with the same link at the same time is the same person, of whom one decision counts.
        let decided = Box::pin(self.resolve_by(way, decision, None)).await?;
        let mut tx = self.0.database.begin().await?;
        links::mark_used(&mut tx, by.tenant_scope(), opened.link.id, self.now()).await?;
        tx.commit().await?;
        Ok(decided)
    }

    /// A user of a tenant as they are now, who may do no more than look at checkpoints and decide them; none where they may do
    /// nothing.
    pub(crate) async fn person_of(
        &self,
        scope: TenantScope,
        id: UserId,
    ) -> Result<Option<Arc<Principal>>, Error> {
        let mut connection = self.0.database.read().await?;
        let c = &mut connection;
        let Some(home) = tenants::reference(c, &self.0.system, scope.tenant_id()).await? else {
            return Ok(None);
        };
        let user = users::lookup(c, scope, id).await?;
        let Some(user) = user.filter(|user| user.status == UserStatus::Active) else { return Ok(None) };
        let scopes = [Permission::ScaicoreView, Permission::ScaicoreCheckpointResolve].into_iter().collect();
        let identity = Identity {
            user_id: user.id,
            display_name: user.shown_name(),
            kind: user.kind,
            status: user.status,
            home,
            roles: user.roles,
            groups: groups::of_user(c, scope, id).await?,
            grants: grants::held(c, scope, id).await?,
            credential: Credential::Token { issuer: ISSUER.into(), actor: None, scopes: Some(scopes) },
            email: user.email,
        };
        Ok(identity.act(Place::Own).ok().map(Arc::new))
    }
}

fn signed(key: &[u8], tenant: TenantId, link: &Link) -> Result<String, Error> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(Error::internal)?;
    let bound =
        format!("{}\n{tenant}\n{}\n{}\n{}", link.id, link.checkpoint, link.user, link.expires_at.micros());
    mac.update(bound.as_bytes());
    let seal = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    Ok(format!("{MARK}{}_{seal}", link.id))
}

fn hash_of(token: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(token.as_bytes()))
}
