//! Sealing: what has been recorded is linked into the chains, right after and beside the changes.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use metrics::counter;
use scaigrid_audit::chain::{Digest, Keys};
use scaigrid_persistence::Bell;
use scaigrid_persistence::audit::heads;
use scaigrid_persistence::audit::seal::{self, Sealed};

use crate::transaction::ended;
use crate::{App, Error};

/// What the keys of the chains are derived for.
const PURPOSE: &str = "audit chains";
/// The most records that are sealed in one transaction: few enough that nobody waits long for the one writer of SQLite.
const AT_ONCE: i64 = 500;
/// How long records are left to gather once there is one, so that a commit of the sealer stands for many of theirs.
const GATHER: Duration = Duration::from_millis(200);
/// How often the queue is looked at without a signal: another process may have written, or died.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl App {
    /// The keys that heads are sealed with.
    pub(super) fn audit_keys(&self) -> Result<Keys, Error> {
        let derived = self.0.vault.derive_each(PURPOSE).map_err(Error::internal)?;
        Keys::new(derived).ok_or_else(|| Error::internal("there is no key for the audit chains"))
    }

    /// 32 bytes that were never drawn before.
    pub(super) fn audit_nonce() -> Digest {
        Digest(rand::random())
    }

    /// Keeps the audit log sealed for as long as it is polled. Of several nodes one does it at a time.
    #[boxed]
    pub async fn keep_audit_sealed(&self) {
        while let Err(error) = self.rekey_audit().await {
            tracing::warn!(%error, "the audit chains cannot be taken over");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        loop {
            match self.seal_audit().await {
                // There may be more.
                Ok(sealed) if sealed > 0 && i64::try_from(sealed).is_ok_and(|sealed| sealed >= AT_ONCE) => {
                    continue;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "audit records cannot be sealed"),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.0.database.written(Bell::Audit) => tokio::time::sleep(GATHER).await,
            }
        }
    }

    /// Seals some of what waits for it, and says how much left the queue.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn seal_audit(&self) -> Result<usize, Error> {
        let mut connection = self.0.database.read().await?;
        let waits = seal::waits(&mut connection, &self.0.system).await?;
        drop(connection);
        if !waits {
            return Ok(0);
        }
        let (keys, now) = (self.audit_keys()?, self.now());
        let mut tx = self.0.database.begin().await?;
        let sealed = seal::seal(&mut tx, &self.0.system, &keys, Self::audit_nonce(), now, AT_ONCE).await;
        match ended(tx, sealed.map_err(Error::from)).await? {
            Sealed::ByAnother => Ok(0),
            Sealed::Records(count) => {
                counter!("scaigrid_audit_sealed_total").increment(u64::try_from(count).unwrap_or(u64::MAX));
                Ok(count)
            }
        }
    }

    /// Puts the chains under the first of the master keys, if they stand under another one.
    async fn rekey_audit(&self) -> Result<(), Error> {
        let keys = self.audit_keys()?;
        let mut tx = self.0.database.begin().await?;
        let done = heads::rekey(&mut tx, &self.0.system, &keys, Self::audit_nonce()).await;
        if ended(tx, done.map_err(Error::from)).await? {
            tracing::info!(key = keys.sealing(), "the audit chains stand under another master key now");
        }
        Ok(())
    }
}
