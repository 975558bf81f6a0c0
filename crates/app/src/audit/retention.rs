//! Records whose time is over.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::chain::Chain;
use scaigrid_audit::{Actor, AuditAction, AuditRecord, Outcome, RequestContext, diff};
use scaigrid_persistence::audit::heads::{self, ChainScope};
use scaigrid_persistence::audit::purge::{self, Purged};
use scaigrid_persistence::audit::{self, links};
use scaigrid_persistence::{self as persistence, Transaction, tenants};
use scaigrid_scope::{Instant, LevelScope, PartnerId, TenantId};
use serde_json::{Value, json};

use crate::transaction::ended;
use crate::{App, Error};

/// The most records that go in one transaction.
const AT_ONCE: i64 = 500;
/// Chains that are looked at in one go.
const CHAINS: i64 = 500;
/// A chain is left alone until its oldest record is overdue by so much, so that it is cut once a day and not with
/// every record.
const GATHER: Duration = Duration::from_hours(24);

impl App {
    /// Removes the records that are older than `keep`, and says how many went. To be called now and then.
    ///
    /// Each chain keeps, under the key, how many went and what the rest hangs on; what was removed in one
    /// transaction has one record. A chain that does not verify loses nothing, for what is left of it shows what was done.
    ///
    /// # Errors
    /// The database's. What was removed until then stays removed.
    #[boxed]
    pub async fn purge_audit(&self, keep: Duration) -> Result<u64, Error> {
        let before = self.now().minus(keep);
        let everything = LevelScope::Platform(self.0.system.platform());
        let (mut after, mut purged) = (None, 0);
        loop {
            let mut connection = self.0.database.read().await?;
            let chains = heads::list(&mut connection, everything, after, CHAINS).await?;
            drop(connection);
            let Some(last) = chains.last() else { return Ok(purged) };
            after = Some(*last);
            for chain in chains {
                let mut connection = self.0.database.read().await?;
                let oldest = links::oldest(&mut connection, chain).await?;
                drop(connection);
                if oldest.is_none_or(|oldest| oldest >= before.minus(GATHER)) {
                    continue;
                }
                while let Some(removed) = self.purge_some(chain, before).await? {
                    purged += removed;
                }
            }
        }
    }

    async fn purge_some(&self, chain: ChainScope, before: Instant) -> Result<Option<u64>, Error> {
        let (keys, now) = (self.audit_keys()?, self.now());
        let mut tx = self.0.database.begin().await?;
        let nonce = Self::audit_nonce();
        let outcome =
            purge::purge(&mut tx, &self.0.system, chain, (&keys, nonce), (now, before), AT_ONCE).await;
        let recorded = match outcome {
            Ok(Purged::Records { removed, through }) => match self.place_of(&mut tx, chain.chain()).await {
                Ok(place) => {
                    let record = self.purge_record((chain.chain(), place), now, before, removed, through);
                    audit::add(&mut tx, &record).await.map(|()| Some(removed))
                }
                Err(error) => Err(error),
            },
            Ok(Purged::Nothing) => Ok(None),
            Ok(Purged::Refused) => {
                tracing::error!(chain = %chain.chain(), "the audit chain does not verify, so its oldest records stay");
                Ok(None)
            }
            Err(error) => Err(error),
        };
        ended(tx, recorded.map_err(Error::from)).await
    }

    /// The tenant and the partner that a chain is about.
    async fn place_of(
        &self,
        tx: &mut Transaction,
        chain: Chain,
    ) -> Result<(Option<TenantId>, Option<PartnerId>), persistence::Error> {
        Ok(match chain {
            Chain::Platform => (None, None),
            Chain::Partner(partner) => (None, Some(partner)),
            Chain::Tenant(id) => {
                let tenant = tenants::reference(tx, &self.0.system, id).await?;
                (Some(id), tenant.map(|tenant| tenant.partner_id))
            }
        })
    }

    fn purge_record(
        &self,
        (chain, (tenant_id, partner_id)): (Chain, (Option<TenantId>, Option<PartnerId>)),
        now: Instant,
        before: Instant,
        removed: u64,
        through: u64,
    ) -> AuditRecord {
        let (id, at) = self.audit_stamp(now);
        let what = json!({"records": removed, "through": through, "older_than": before});
        AuditRecord {
            id,
            at,
            action: AuditAction::AuditPurge,
            actor: Actor::SYSTEM,
            tenant_id,
            partner_id,
            resource_id: chain.to_string(),
            outcome: Outcome::Success,
            changes: diff(&Value::Null, &what, &[]),
            request: RequestContext::default(),
            module: None,
        }
    }
}
