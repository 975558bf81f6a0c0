//! Taking queued executions: round robin by tenant, then by Core, then the oldest first.

use std::collections::{BTreeMap, VecDeque};

use scaigrid_persistence::Connection;
use scaigrid_persistence::leases::{self, Claimed};
use scaigrid_scope::{CoreId, TenantId};

use crate::{Engine, Error};

/// Tenants that are looked at for one.
const TENANTS: i64 = 32;
/// Cores of a tenant that are looked at for one.
const CORES: i64 = 8;
/// How many times so many tenants are looked at whose Cores let nothing go on.
const LOOKS: usize = 64;
/// Tenants for whom it is remembered which of their Cores came last.
const REMEMBERED: usize = 10_000;

/// Whose turn it was last.
#[derive(Default)]
pub(crate) struct Last {
    tenant: Option<TenantId>,
    cores: BTreeMap<TenantId, CoreId>,
}

impl Last {
    /// The tenant whose turn it was.
    pub(crate) fn tenant(&self) -> Option<TenantId> {
        self.tenant
    }

    /// The Core of a tenant whose turn it was, where that is remembered.
    pub(crate) fn core_of(&self, tenant: TenantId) -> Option<CoreId> {
        self.cores.get(&tenant).copied()
    }

    /// It was this one's turn.
    pub(crate) fn note(&mut self, tenant: TenantId, core: CoreId) {
        self.tenant = Some(tenant);
        if self.cores.len() >= REMEMBERED && !self.cores.contains_key(&tenant) {
            self.cores.pop_first();
        }
        self.cores.insert(tenant, core);
    }
}

impl Engine {
    /// Takes executions that nobody holds: first what dead nodes left behind, then what is queued, in turns.
    pub(crate) async fn take(&self, most: i64) -> Result<Vec<Claimed>, Error> {
        let now = self.0.clock.now();
        // Looking takes no lock; what somebody else takes meanwhile is left out below.
        let mut connection = self.0.database.read().await?;
        let mut wanted = leases::orphans(&mut connection, &self.0.system, now, most).await?;
        let room = usize::try_from(most).unwrap_or_default();
        if wanted.len() < room {
            let left = room - wanted.len();
            wanted.extend(self.in_turns(&mut connection, left).await?);
        }
        drop(connection);
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut transaction = self.0.database.begin().await?;
        let claimed = leases::claim(&mut transaction, &self.0.system, self.0.node, now, &wanted).await?;
        if claimed.is_empty() {
            transaction.rollback().await?;
        } else {
            transaction.commit().await?;
        }
        Ok(claimed)
    }

    /// Queued executions whose turn it is.
    async fn in_turns(&self, c: &mut Connection, room: usize) -> Result<Vec<Claimed>, Error> {
        let mut last = self.0.last_taken.lock().await;
        let mut found: Vec<(TenantId, VecDeque<VecDeque<Claimed>>)> = Vec::new();
        let (begun_at, mut after, mut wrapped) = (last.tenant, last.tenant, last.tenant.is_none());
        for _ in 0..LOOKS {
            let tenants = leases::queued_tenants(c, &self.0.system, after, TENANTS).await?;
            let ended = i64::try_from(tenants.len()).is_ok_and(|len| len < TENANTS);
            after = tenants.last().copied().or(after);
            for tenant in tenants {
                // There is enough, or all have been looked at.
                if found.len() >= room || (wrapped && begun_at.is_some_and(|begun_at| tenant > begun_at)) {
                    break;
                }
                let cores = self.of_tenant(c, &last, tenant, room).await?;
                if !cores.is_empty() {
                    found.push((tenant, cores));
                }
            }
            let around = wrapped && (ended || begun_at.is_some_and(|begun_at| after >= Some(begun_at)));
            if found.len() >= room || around {
                break;
            }
            if ended {
                (after, wrapped) = (None, true);
            }
        }
        if found.is_empty() {
            // Where all of these can go on with nothing, the next look begins behind them.
            last.tenant = after;
        }
        Ok(shared_out(found, room, &mut last))
    }

    /// What a tenant has queued, by Core: that whose turn it is comes first.
    async fn of_tenant(
        &self,
        c: &mut Connection,
        last: &Last,
        tenant: TenantId,
        room: usize,
    ) -> Result<VecDeque<VecDeque<Claimed>>, Error> {
        let scope = self.0.system.tenant(tenant);
        let after = last.core_of(tenant);
        let mut cores = leases::queued_cores(c, scope, after, CORES).await?;
        let left = CORES - i64::try_from(cores.len()).unwrap_or(CORES);
        if left > 0 && after.is_some() {
            let first = leases::queued_cores(c, scope, None, left).await?;
            let again: Vec<CoreId> = first.into_iter().filter(|core| !cores.contains(core)).collect();
            cores.extend(again);
        }
        let mut found = VecDeque::with_capacity(cores.len());
        for core in cores {
            let most = i64::try_from(room).unwrap_or(i64::MAX);
            let queued = leases::queued(c, scope, core, most).await?;
            if !queued.is_empty() {
                found.push_back(queued.into());
            }
        }
        Ok(found)
    }
}

/// One from each tenant in turn, and of a tenant one from each Core in turn, as long as there is room.
fn shared_out(
    found: Vec<(TenantId, VecDeque<VecDeque<Claimed>>)>,
    room: usize,
    last: &mut Last,
) -> Vec<Claimed> {
    let mut turns: VecDeque<_> = found.into();
    let mut taken = Vec::new();
    while taken.len() < room
        && let Some((tenant, mut cores)) = turns.pop_front()
    {
        let Some(mut queued) = cores.pop_front() else { continue };
        if let Some(one) = queued.pop_front() {
            last.note(tenant, one.core_id);
            taken.push(one);
        }
        if !queued.is_empty() {
            cores.push_back(queued);
        }
        if !cores.is_empty() {
            turns.push_back((tenant, cores));
        }
    }
    taken
}
