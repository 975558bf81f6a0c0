//! Changing the keys of the secrets at rest, beside running servers.
//!
//! It is done in small transactions, each of which leaves everything readable, so it can be broken off anywhere and begun
//! again: what is done is left alone, and a run that finds nothing to do changes nothing. The record in the audit log,
//! with what the run did, is written at its end.

use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_persistence::cores::{self, Resealed};
use scaigrid_persistence::partners::PartnerFilter;
use scaigrid_persistence::tenants::TenantFilter;
use scaigrid_persistence::{Transaction, audit, data_keys, partners, platform_facts, tenants};
use scaigrid_scope::{
    AuthorizedAtLevel, CoreId, Instant, Level, LevelScope, PartnerId, Permission, TenantId, TenantScope, perm,
};
use serde_json::json;

use crate::bootstrap::MASTER_KEY;
use crate::transaction::ended;
use crate::{App, Error};

/// The fact that tells when a run began that gives every tenant a younger data key, so that it can be gone on with.
const RENEWING_SINCE: &str = "data_keys_renewed_since";
/// How many rows are looked at, and keys wrapped, at once.
const PAGE: i64 = 100;
/// How often it is tried to seal a Core's secrets anew that is changed all the time. Whoever changes it does the same.
const TRIES: u32 = 5;

/// What a run has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Tenants, partners and the platform as far as they got a younger data key.
    pub renewed: u64,
    /// Cores whose secrets were sealed anew.
    pub resealed: u64,
    /// Data keys that were wrapped by the first master key.
    pub wrapped: u64,
    /// Whether the database names another master key now, without which no server starts.
    pub master_key_changed: bool,
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many tenants have been looked at for a younger data key.
    Tenants(u64),
    /// So many Cores have been looked at.
    Cores(u64),
    /// So many data keys have been wrapped.
    Keys(u64),
}

impl App {
    /// Brings everything under the first master key: wraps the data keys by it, and seals anew what is not sealed under its
    /// tenant's youngest data key, as texts of earlier versions. With `renew` every tenant that has a data key gets a
    /// younger one before. Afterwards the other master keys are needed no more.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] for all but super admins at the platform's level. A secret that does not open is
    /// [`Error::Internal`]; everything done before stays done.
    pub async fn rotate_secrets(
        &self,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        request: &RequestContext,
        renew: bool,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Rotation, Error> {
        if caller.level() != Level::Platform {
            return Err(Error::PermissionDenied { permission: Permission::AdminAccess.as_str().into() });
        }
        let mut done = Rotation::default();
        if renew {
            done.renewed = self.renew_data_keys(progress).await?;
        }
        done.resealed = self.reseal_cores(progress).await?;
        done.wrapped = self.wrap_data_keys(progress).await?;
        let mut tx = self.0.database.begin().await?;
        let closed = self.close_rotation(&mut tx, caller, request, renew, &mut done).await;
        ended(tx, closed).await?;
        Ok(done)
    }

    /// Has the tokens that remote modules get signed by a new key, from a minute later on, and gives its name. What the old
    /// key has signed stays good for as long as it would have been.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] for all but super admins at the platform's level; [`Error::Conflict`] when somebody else
    /// does the same in this moment.
    pub async fn rotate_signing_keys(
        &self,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        request: &RequestContext,
    ) -> Result<String, Error> {
        if caller.level() != Level::Platform {
            return Err(Error::PermissionDenied { permission: Permission::AdminAccess.as_str().into() });
        }
        let mut tx = self.0.database.begin().await?;
        let renewed = self.renew_signing_key(&mut tx, caller, request).await;
        let key = ended(tx, renewed).await?;
        self.0.engine.caller_tokens().forget();
        Ok(key)
    }

    async fn renew_signing_key(
        &self,
        tx: &mut Transaction,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        request: &RequestContext,
    ) -> Result<String, Error> {
        let made = self.0.engine.caller_tokens().renew(tx).await?;
        let key =
            made.ok_or_else(|| Error::Conflict("Somebody else makes a signing key just now".to_owned()))?;
        let changes = diff(&json!({"signing_key": null}), &json!({"signing_key": key}), &[]);
        let (stamp, action) = (self.audit_stamp(self.now()), AuditAction::SecretsRotate);
        let record = AuditRecord::at_level(stamp, caller, request, action, key.clone(), changes);
        audit::add(tx, &record).await?;
        Ok(key)
    }

    /// The public keys by which modules and plugins know the platform's word, as a JWK set (RFC 7517).
    ///
    /// # Errors
    /// The database's.
    pub async fn key_set(&self) -> Result<serde_json::Value, Error> {
        Ok(self.0.engine.caller_tokens().key_set().await?)
    }

    async fn renew_data_keys(&self, progress: &(dyn Fn(Progress) + Sync)) -> Result<u64, Error> {
        let mut tx = self.0.database.begin().await?;
        let now = self.now().micros().to_string();
        let since = platform_facts::put_if_absent(&mut tx, RENEWING_SINCE, &now).await?;
        tx.commit().await?;
        let since = since.parse().map(Instant::from_micros).map_err(Error::internal)?;
        let platform = LevelScope::Platform(self.0.system.platform());
        let mut renewed = u64::from(self.renew_data_key(platform, since).await?);
        let mut after: Option<PartnerId> = None;
        loop {
            let mut connection = self.0.database.read().await?;
            let all = PartnerFilter::default();
            let page = partners::list(&mut connection, self.0.system.platform(), &all, after, PAGE).await?;
            drop(connection);
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for partner in &page {
                let scope = LevelScope::Partner(self.0.system.partner(partner.id));
                renewed += u64::from(self.renew_data_key(scope, since).await?);
            }
        }
        let mut seen = 0;
        let mut after: Option<TenantId> = None;
        loop {
            let mut connection = self.0.database.read().await?;
            let page =
                tenants::list(&mut connection, platform, &TenantFilter::default(), after, PAGE).await?;
            drop(connection);
            let Some(last) = page.last() else { return Ok(renewed) };
            after = Some(last.id);
            for tenant in &page {
                let scope = self.0.system.tenant(tenant.id);
                renewed += u64::from(self.renew_data_key(scope.into(), since).await?);
                seen += 1;
            }
            progress(Progress::Tenants(seen));
        }
    }

    async fn renew_data_key(&self, scope: LevelScope, since: Instant) -> Result<bool, Error> {
        let mut tx = self.0.database.begin().await?;
        let made = data_keys::renew(&mut tx, scope, &self.0.vault, since, self.now()).await?;
        tx.commit().await?;
        Ok(made)
    }

    async fn reseal_cores(&self, progress: &(dyn Fn(Progress) + Sync)) -> Result<u64, Error> {
        let (mut resealed, mut seen) = (0, 0);
        let mut after: Option<CoreId> = None;
        loop {
            let mut connection = self.0.database.read().await?;
            let page = cores::environments(&mut connection, &self.0.system, after, PAGE).await?;
            drop(connection);
            let Some(last) = page.last() else { return Ok(resealed) };
            let first = after;
            after = Some(last.core);
            for environment in &page {
                seen += 1;
                if !environment.has_secrets() {
                    continue;
                }
                let scope = self.0.system.tenant(environment.tenant);
                let mut outcome = self.reseal(scope, environment).await?;
                for _ in 1..TRIES {
                    if outcome != Resealed::Changed {
                        break;
                    }
                    outcome = self.reseal_again(scope, first, environment.core).await?;
                }
                resealed += u64::from(outcome == Resealed::Done);
            }
            progress(Progress::Cores(seen));
        }
    }

    async fn reseal(
        &self,
        scope: TenantScope,
        environment: &cores::SealedEnvironment,
    ) -> Result<Resealed, Error> {
        let mut tx = self.0.database.begin().await?;
        let outcome = cores::reseal(&mut tx, scope, environment, &self.0.vault, self.now()).await;
        ended(tx, outcome.map_err(Error::from)).await
    }

    /// Looks again at a Core that was changed meanwhile.
    async fn reseal_again(
        &self,
        scope: TenantScope,
        before: Option<CoreId>,
        core: CoreId,
    ) -> Result<Resealed, Error> {
        let mut connection = self.0.database.read().await?;
        let page = cores::environments(&mut connection, &self.0.system, before, PAGE).await?;
        drop(connection);
        match page.iter().find(|environment| environment.core == core) {
            Some(environment) => self.reseal(scope, environment).await,
            None => Ok(Resealed::Needless),
        }
    }

    async fn wrap_data_keys(&self, progress: &(dyn Fn(Progress) + Sync)) -> Result<u64, Error> {
        let mut wrapped = 0;
        loop {
            let mut tx = self.0.database.begin().await?;
            let some = data_keys::wrap_some(&mut tx, &self.0.system, &self.0.vault, PAGE).await;
            let some = ended(tx, some.map_err(Error::from)).await?;
            if some == 0 {
                return Ok(wrapped);
            }
            wrapped += some as u64;
            progress(Progress::Keys(wrapped));
        }
    }

    /// Names the first master key as the one that is needed, if nothing stands under another, and writes the record.
    async fn close_rotation(
        &self,
        tx: &mut Transaction,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        request: &RequestContext,
        renew: bool,
        done: &mut Rotation,
    ) -> Result<(), Error> {
        let (now, own) = (self.now(), self.0.vault.key_ids().next().unwrap_or_default().to_owned());
        let named = platform_facts::lookup(tx, MASTER_KEY).await?;
        let all_wrapped = data_keys::count_to_wrap(tx, &self.0.system, &self.0.vault).await? == 0;
        if all_wrapped && named.as_deref() != Some(&own) {
            platform_facts::put(tx, MASTER_KEY, &own).await?;
            done.master_key_changed = true;
        }
        if renew {
            platform_facts::remove(tx, RENEWING_SINCE).await?;
        }
        if *done == Rotation::default() {
            return Ok(());
        }
        let before = json!({"master_key": named});
        let after = json!({
            "master_key": own, "renewed": done.renewed, "resealed": done.resealed, "wrapped": done.wrapped,
        });
        let changes = diff(&before, &after, &[]);
        let stamp = self.audit_stamp(now);
        let action = AuditAction::SecretsRotate;
        audit::add(tx, &AuditRecord::at_level(stamp, caller, request, action, own, changes)).await?;
        Ok(())
    }
}
