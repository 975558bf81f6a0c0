//! Idempotency keys, kept in the database, so that every node knows them.
//!
//! An answer may hold what is shown once, such as a new API key, so it is kept sealed.

use async_recursion::async_recursion as boxed;
use scaigrid_persistence::idempotency::{self, KeyedRequest};
use scaigrid_persistence::{Transaction, data_keys};
use scaigrid_scope::{Instant, TenantId, TenantScope};

use crate::{App, Error};

pub use scaigrid_persistence::idempotency::{Answer, Begun};

/// How many expired keys go in one transaction.
const PURGED_AT_ONCE: i64 = 1000;

/// A request that carries a key.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The tenant that its caller acts in.
    pub tenant: TenantId,
    /// The method and the path.
    pub endpoint: &'a str,
    /// The key.
    pub key: &'a str,
    /// The digest of who asks for what.
    pub fingerprint: [u8; 32],
    /// When it was made.
    pub begun_at: Instant,
}

fn place(claim: &Claim<'_>) -> String {
    idempotency::sealing_place(claim.endpoint, claim.key)
}

impl App {
    fn keyed<'a>(&self, claim: &Claim<'a>) -> KeyedRequest<'a> {
        let node = self.0.engine.node();
        KeyedRequest {
            endpoint: claim.endpoint,
            key: claim.key,
            body_hash: claim.fingerprint,
            node,
            begun_at: claim.begun_at,
        }
    }

    /// Claims a key, or tells what it was used for. Of two claims at once exactly one is fresh.
    pub async fn begin_idempotent(&self, claim: &Claim<'_>) -> Result<Begun, Error> {
        let scope = self.0.system.tenant(claim.tenant);
        let mut tx = self.0.database.begin().await?;
        let begun = idempotency::begin(&mut tx, scope, &self.keyed(claim)).await?;
        let begun = match begun {
            Begun::Answered(answer) => {
                Begun::Answered(self.open_answer(&mut tx, scope, claim, answer).await?)
            }
            begun => begun,
        };
        tx.commit().await?;
        Ok(begun)
    }

    async fn seal_answer(
        &self,
        tx: &mut Transaction,
        scope: TenantScope,
        claim: &Claim<'_>,
        answer: &Answer,
    ) -> Result<Answer, Error> {
        let body = str::from_utf8(&answer.body).map_err(Error::internal)?;
        let sealer = data_keys::sealer(tx, scope, &self.0.vault, self.now()).await?;
        let text = sealer.seal(&place(claim), body).map_err(Error::internal)?;
        Ok(Answer { body: text.into_bytes(), ..answer.clone() })
    }

    async fn open_answer(
        &self,
        tx: &mut Transaction,
        scope: TenantScope,
        claim: &Claim<'_>,
        answer: Answer,
    ) -> Result<Answer, Error> {
        let sealed = str::from_utf8(&answer.body).map_err(Error::internal)?;
        let opener = data_keys::opener(tx, scope, &self.0.vault, [sealed]).await?;
        let body = opener.open(&place(claim), sealed).map_err(Error::internal)?;
        Ok(Answer { body: body.into_bytes(), ..answer })
    }

    /// Keeps the answer of a claim that was fresh.
    pub async fn finish_idempotent(&self, claim: &Claim<'_>, answer: &Answer) -> Result<(), Error> {
        let scope = self.0.system.tenant(claim.tenant);
        let mut tx = self.0.database.begin().await?;
        let sealed = self.seal_answer(&mut tx, scope, claim, answer).await?;
        let kept = idempotency::finish(&mut tx, scope, &self.keyed(claim), &sealed).await?;
        tx.commit().await?;
        if !kept {
            tracing::warn!(
                endpoint = claim.endpoint,
                "the key of this request was taken over before its answer came"
            );
        }
        Ok(())
    }

    /// Frees the key of a claim that was fresh and came to nothing.
    pub async fn abandon_idempotent(&self, claim: &Claim<'_>) -> Result<(), Error> {
        let scope = self.0.system.tenant(claim.tenant);
        let mut tx = self.0.database.begin().await?;
        idempotency::abandon(&mut tx, scope, &self.keyed(claim)).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Removes some of the keys that have expired, and says how many. To be called now and then.
    #[boxed]
    pub async fn purge_idempotency_keys(&self) -> Result<usize, Error> {
        let mut tx = self.0.database.begin().await?;
        let purged = idempotency::purge_expired(&mut tx, &self.0.system, self.now(), PURGED_AT_ONCE).await?;
        tx.commit().await?;
        Ok(purged)
    }
}
