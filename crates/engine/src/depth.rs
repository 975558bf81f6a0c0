//! How many executions may wait to run.
//!
//! What comes from outside is refused when there are too many, with the time when it is worth asking again. What the platform
//! has accepted already, such as an event that a program publishes, a slot of a schedule or a call of another Core, is never
//! dropped: it waits all the same, and is counted.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use metrics::counter;
use scaigrid_persistence::{leases, tenants};
use scaigrid_scope::{CoreId, TenantId, TenantScope};
use tokio::sync::Mutex;

use crate::cores::HostedCore;
use crate::{Engine, Error};

/// How long a count is believed. What this node accepts meanwhile is added to it.
const BELIEVED: Duration = Duration::from_secs(1);
/// Tenants and Cores whose counts are remembered.
const REMEMBERED: usize = 10_000;
/// The field of a Core's resource limits.
const OF_CORE: &str = "max_queued_executions";

/// Counts of what waits.
pub(crate) struct Depths {
    /// How many of a tenant may wait where nothing else is said.
    default: u64,
    known: Mutex<HashMap<(TenantId, Option<CoreId>), Known>>,
}

#[derive(Clone, Copy)]
struct Known {
    counted_at: Instant,
    queued: u64,
    limit: u64,
}

impl Depths {
    pub(crate) fn new(default: u64) -> Self {
        Self { default, known: Mutex::default() }
    }
}

impl Engine {
    /// Whether one more execution of a Core may wait to run, which is then counted.
    ///
    /// Between two counts, a second apart, other nodes may accept as many again.
    ///
    /// # Errors
    /// [`Error::QueueFull`], and the database's.
    pub(crate) async fn may_queue(&self, scope: TenantScope, hosted: &HostedCore) -> Result<(), Error> {
        let limit = hosted.core.resource_limits.get(OF_CORE).and_then(serde_json::Value::as_u64);
        if let Some(limit) = limit {
            self.count_in(scope, Some(hosted.core.id), Some(limit)).await?;
        }
        self.count_in(scope, None, None).await
    }

    async fn count_in(
        &self,
        scope: TenantScope,
        core: Option<CoreId>,
        limit: Option<u64>,
    ) -> Result<(), Error> {
        let key = (scope.tenant_id(), core);
        let known = self.0.depths.known.lock().await.get(&key).copied();
        let known = match known {
            Some(known)
                if known.counted_at.elapsed() < BELIEVED
                    && limit.is_none_or(|limit| limit == known.limit) =>
            {
                known
            }
            _ => self.count_anew(scope, core, limit).await?,
        };
        if known.queued >= known.limit {
            counter!("scaigrid_queue_refusals_total", "of" => if core.is_some() { "core" } else { "tenant" })
                .increment(1);
            let of = if core.is_some() { "Core" } else { "tenant" };
            return Err(Error::QueueFull { of, limit: known.limit });
        }
        if let Some(known) = self.0.depths.known.lock().await.get_mut(&key) {
            known.queued += 1;
        }
        Ok(())
    }

    async fn count_anew(
        &self,
        scope: TenantScope,
        core: Option<CoreId>,
        limit: Option<u64>,
    ) -> Result<Known, Error> {
        let counted_at = Instant::now();
        let mut connection = self.0.database.read().await?;
        let limit = if let Some(limit) = limit {
            limit
        } else {
            let tenant = tenants::lookup(&mut connection, scope.into(), scope.tenant_id()).await?;
            let own = tenant.and_then(|tenant| tenant.limits.max_queued_executions);
            own.map_or(self.0.depths.default, |own| self.0.depths.default.min(u64::from(own)))
        };
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let queued = leases::count_queued(&mut connection, scope, core, most).await?;
        drop(connection);
        let known = Known { counted_at, queued: u64::try_from(queued).unwrap_or_default(), limit };
        let mut all = self.0.depths.known.lock().await;
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert((scope.tenant_id(), core), known);
        Ok(known)
    }
}
