//! The tunnels and streams that are open on this node: how many there may be, and their end when the node ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_recursion::async_recursion as boxed;
use metrics::gauge;
use scaigrid_scope::TenantId;
use tokio::sync::watch;

/// What is bounded, how many of it a node has at most, and how many of one tenant's.
#[derive(Debug, Clone, Copy)]
struct Kind {
    most: usize,
    most_of_a_tenant: usize,
    gauge: &'static str,
}

/// Web sockets to modules: each takes two connections, and what is under way on both.
const TUNNELS: Kind = Kind { most: 1_024, most_of_a_tenant: 256, gauge: "scaigrid_module_tunnels" };
/// Streams of events: each takes a connection, and asks for the next piece only when the one before is on its way.
const STREAMS: Kind = Kind { most: 16_384, most_of_a_tenant: 4_096, gauge: "scaigrid_streams" };

/// The tunnels of a node, or its streams.
pub(crate) struct Tunnels {
    kind: Kind,
    open: Arc<Mutex<HashMap<TenantId, usize>>>,
    ending: watch::Sender<bool>,
}

/// A tunnel's place among them. Dropped, it is free for another.
pub struct TunnelPlace {
    tenant: TenantId,
    kind: Kind,
    open: Arc<Mutex<HashMap<TenantId, usize>>>,
    ending: watch::Receiver<bool>,
}

impl std::fmt::Debug for TunnelPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TunnelPlace").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

fn lock(open: &Mutex<HashMap<TenantId, usize>>) -> MutexGuard<'_, HashMap<TenantId, usize>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tell(kind: Kind, open: &HashMap<TenantId, usize>) {
    let count: usize = open.values().sum();
    gauge!(kind.gauge).set(u32::try_from(count).unwrap_or(u32::MAX));
}

impl Tunnels {
    /// Those to modules.
    pub(crate) fn new() -> Self {
        Self::of(TUNNELS)
    }

    /// Those of events.
    pub(crate) fn streams() -> Self {
        Self::of(STREAMS)
    }

    fn of(kind: Kind) -> Self {
        Self { kind, open: Arc::default(), ending: watch::Sender::new(false) }
    }

    /// A place for one more tunnel of a tenant; none where there are enough.
    pub(crate) fn place(&self, tenant: TenantId) -> Option<TunnelPlace> {
        let mut open = lock(&self.open);
        let own = open.get(&tenant).copied().unwrap_or_default();
        let Kind { most, most_of_a_tenant, .. } = self.kind;
        if own >= most_of_a_tenant || open.values().sum::<usize>() >= most || *self.ending.borrow() {
            return None;
        }
        open.insert(tenant, own + 1);
        tell(self.kind, &open);
        let (open, ending) = (Arc::clone(&self.open), self.ending.subscribe());
        Some(TunnelPlace { tenant, kind: self.kind, open, ending })
    }

    /// Ends all of them.
    pub(crate) fn end(&self) {
        self.ending.send_replace(true);
    }
}

impl TunnelPlace {
    /// Waits until the node ends.
    #[boxed]
    pub async fn ended(&mut self) {
        // A node that is gone has ended too.
        let _ = self.ending.wait_for(|ending| *ending).await;
    }
}

impl Drop for TunnelPlace {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        match open.get_mut(&self.tenant) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.remove(&self.tenant)),
        }
        tell(self.kind, &open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tenant_cannot_take_all_places_and_a_node_that_ends_has_none() {
        for tunnels in [Tunnels::new(), Tunnels::streams()] {
            let Kind { most, most_of_a_tenant, .. } = tunnels.kind;
            let tenant = |n: u128| TenantId::from_ulid(ulid::Ulid(n));
            let mut own: Vec<_> = (0..most_of_a_tenant).map(|_| tunnels.place(tenant(1)).unwrap()).collect();
            assert!(tunnels.place(tenant(1)).is_none());
            let others: Vec<_> = (most_of_a_tenant..most)
                .map(|n| tunnels.place(tenant(2 + (n / most_of_a_tenant) as u128)).unwrap())
                .collect();
            assert!(tunnels.place(tenant(9)).is_none());
            own.pop();
            let mut place = tunnels.place(tenant(9)).unwrap();
            drop((own, others));
            assert_eq!(lock(&tunnels.open).len(), 1);
            tunnels.end();
            place.ended().await;
            assert!(tunnels.place(tenant(1)).is_none());
        }
    }
}
