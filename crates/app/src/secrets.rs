//! Changing the keys of the secrets at rest, beside running servers.
//!
//! It is done in small transactions, each of which leaves everything readable, so it can be broken off anywhere and begun
//! again: what is done is left alone, and a run that finds nothing to do changes nothing. Those who write meanwhile seal
//! under the youngest data key themselves, so one pass is enough. The record in the audit log,
//! with what the run did, is written at its end.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_persistence::partners::PartnerFilter;
use scaigrid_persistence::sealed::{self, Position};
use scaigrid_persistence::tenants::TenantFilter;
use scaigrid_persistence::{Transaction, audit, data_keys, partners, platform_facts, tenants};
use scaigrid_scope::{AuthorizedAtLevel, Instant, Level, LevelScope, PartnerId, Permission, TenantId, perm};
use serde_json::json;

use crate::bootstrap::MASTER_KEY;
use crate::transaction::ended;
use crate::{App, Error};

pub use scaigrid_persistence::sealed::Store;

/// The fact that tells when a run began that gives every tenant a younger data key, so that it can be gone on with.
const RENEWING_SINCE: &str = "data_keys_renewed_since";
/// How many rows are looked at, and keys wrapped, at once.
const PAGE: i64 = 100;
/// How long a reader may take between a sealed text and its key. Who takes longer is told of a fault, and tries again.
const READERS: Duration = Duration::from_secs(1);

/// What a run has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Tenants, partners and the platform as far as they got a younger data key.
    pub renewed: u64,
    /// Cores whose secrets were sealed anew.
    pub cores: u64,
    /// Configurations of modules whose secrets were.
    pub module_configs: u64,
    /// Webhooks, outgoing and incoming, whose secrets were.
    pub webhooks: u64,
    /// Answers kept for idempotency keys that were.
    pub answers: u64,
    /// Signing keys whose private halves were.
    pub signing_keys: u64,
    /// Plugins whose credentials were sealed anew.
    pub plugins: u64,
    /// Backends of models whose configurations were.
    pub backends: u64,
    /// Settings of tenants' workspaces whose secrets were.
    pub settings: u64,
    /// Data keys that were removed, since nothing lay under them any more.
    pub removed: u64,
    /// Data keys that are not the youngest of their owner and stay, since something still lies under them.
    pub left: u64,
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
    /// So many things of a kind have been looked at.
    Rows(Store, u64),
    /// So many data keys have been wrapped.
    Keys(u64),
}

impl App {
    /// Brings everything under the first master key: wraps the data keys by it, and seals anew what is not sealed under its
    /// tenant's youngest data key, as texts of earlier versions. With `renew` every tenant that has a data key gets a
    /// younger one before. Data keys under which nothing lies any more are removed. Afterwards the other master keys are
    /// needed no more.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] for all but super admins at the platform's level. A secret that does not open is
    /// [`Error::Internal`]; everything done before stays done.
    #[boxed]
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
        for store in Store::ALL {
            let resealed = self.reseal(store, progress).await?;
            match store {
                Store::Environments => done.cores = resealed,
                Store::ModuleConfigs => done.module_configs = resealed,
                Store::Webhooks | Store::Triggers => done.webhooks += resealed,
                Store::Answers => done.answers = resealed,
                Store::SigningKeys => done.signing_keys = resealed,
                Store::Plugins => done.plugins = resealed,
                Store::Backends => done.backends = resealed,
                Store::Settings => done.settings = resealed,
            }
        }
        (done.removed, done.left) = self.remove_data_keys().await?;
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
    #[boxed]
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
    #[boxed]
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

    /// Seals anew what is not sealed under the youngest data key of its owner; each row in a transaction of its own, so that
    /// nobody waits for long.
    async fn reseal(&self, store: Store, progress: &(dyn Fn(Progress) + Sync)) -> Result<u64, Error> {
        let (mut resealed, mut seen) = (0, 0);
        let mut after: Option<Position> = None;
        loop {
            let mut connection = self.0.database.read().await?;
            let system = &self.0.system;
            let page = sealed::page(&mut connection, system, store, None, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(resealed) };
            after = Some(last.position.clone());
            seen += page.len() as u64;
            let mut youngest: HashMap<Level, Option<String>> = HashMap::new();
            for level in page.iter().map(|found| found.level) {
                if let Entry::Vacant(unknown) = youngest.entry(level) {
                    unknown.insert(data_keys::youngest_id(&mut connection, self.scope_of(level)).await?);
                }
            }
            drop(connection);
            let of = |level: Level| youngest.get(&level).and_then(Option::as_deref);
            for found in page.iter().filter(|found| !found.is_under(of(found.level))) {
                let scope = self.scope_of(found.level);
                let mut tx = self.0.database.begin().await?;
                let vault = &self.0.vault;
                let done = sealed::reseal(&mut tx, scope, store, &found.position, vault, self.now()).await;
                resealed += u64::from(ended(tx, done.map_err(Error::from)).await?);
            }
            progress(Progress::Rows(store, seen));
        }
    }

    fn scope_of(&self, level: Level) -> LevelScope {
        match level {
            Level::Platform => LevelScope::Platform(self.0.system.platform()),
            Level::Partner(id) => LevelScope::Partner(self.0.system.partner(id)),
            Level::Tenant(id) => LevelScope::Tenant(self.0.system.tenant(id)),
        }
    }

    /// Removes the data keys that are not the youngest of their owner, as far as nothing lies under them any more; and
    /// counts those that stay.
    async fn remove_data_keys(&self) -> Result<(u64, u64), Error> {
        let (mut removed, mut left) = (0, 0);
        let mut after: Option<Level> = None;
        loop {
            let mut connection = self.0.database.read().await?;
            let page = data_keys::old(&mut connection, &self.0.system, after, PAGE).await?;
            drop(connection);
            if after.is_none() && !page.is_empty() {
                // Whoever has read a text that has been sealed anew since is about to look for its key.
                tokio::time::sleep(READERS).await;
            }
            let Some(last) = page.last() else { return Ok((removed, left)) };
            after = Some(last.level);
            for old in &page {
                let needed = self.needed(old.level).await?;
                let (still, gone): (Vec<_>, Vec<_>) =
                    old.ids.iter().cloned().partition(|id| needed.contains(id));
                left += still.len() as u64;
                if gone.is_empty() {
                    continue;
                }
                let mut tx = self.0.database.begin().await?;
                let count = data_keys::remove(&mut tx, self.scope_of(old.level), &gone).await;
                removed += ended(tx, count.map_err(Error::from)).await? as u64;
            }
        }
    }

    /// The data keys that something of a level lies under.
    async fn needed(&self, level: Level) -> Result<HashSet<String>, Error> {
        let mut needed = HashSet::new();
        for store in Store::ALL {
            let mut after: Option<Position> = None;
            loop {
                let mut connection = self.0.database.read().await?;
                let (system, of) = (&self.0.system, Some(level));
                let page = sealed::page(&mut connection, system, store, of, after.as_ref(), PAGE).await?;
                needed.extend(page.iter().flat_map(sealed::Found::keys).map(str::to_owned));
                let Some(last) = page.into_iter().next_back() else { break };
                after = Some(last.position);
            }
        }
        Ok(needed)
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
        if (Rotation { left: 0, ..*done }) == Rotation::default() {
            return Ok(());
        }
        let before = json!({"master_key": named});
        let after = json!({
            "master_key": own, "renewed": done.renewed, "wrapped": done.wrapped, "removed": done.removed,
            "resealed": done.cores
                + done.module_configs
                + done.webhooks
                + done.answers
                + done.signing_keys
                + done.plugins
                + done.backends
                + done.settings,
        });
        let changes = diff(&before, &after, &[]);
        let stamp = self.audit_stamp(now);
        let action = AuditAction::SecretsRotate;
        audit::add(tx, &AuditRecord::at_level(stamp, caller, request, action, own, changes)).await?;
        Ok(())
    }
}
