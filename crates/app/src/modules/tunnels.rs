//! The tunnels that are open on this node: how many there may be, and their end when the node ends.

use async_recursion::async_recursion as boxed;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::gauge;
use scaigrid_scope::TenantId;
use tokio::sync::watch;

/// The most tunnels of a node, and of one tenant's on it.
const MOST: usize = 1024;
const MOST_OF_A_TENANT: usize = 256;

/// The tunnels of a node.
pub(crate) struct Tunnels {
    open: Arc<Mutex<HashMap<TenantId, usize>>>,
    ending: watch::Sender<bool>,
}

/// A tunnel's place among them. Dropped, it is free for another.
pub struct TunnelPlace {
    tenant: TenantId,
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

fn tell(open: &HashMap<TenantId, usize>) {
    let count: usize = open.values().sum();
    gauge!("scaigrid_module_tunnels").set(u32::try_from(count).unwrap_or(u32::MAX));
}

impl Tunnels {
    pub(crate) fn new() -> Self {
        Self { open: Arc::default(), ending: watch::Sender::new(false) }
    }

    /// A place for one more tunnel of a tenant; none where there are enough.
    pub(crate) fn place(&self, tenant: TenantId) -> Option<TunnelPlace> {
        let mut open = lock(&self.open);
        let own = open.get(&tenant).copied().unwrap_or_default();
        if own >= MOST_OF_A_TENANT || open.values().sum::<usize>() >= MOST || *self.ending.borrow() {
            return None;
        }
        open.insert(tenant, own + 1);
        tell(&open);
        Some(TunnelPlace { tenant, open: Arc::clone(&self.open), ending: self.ending.subscribe() })
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
        tell(&open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tenant_cannot_take_all_places_and_a_node_that_ends_has_none() {
        let tunnels = Tunnels::new();
        let tenant = |n: u128| TenantId::from_ulid(ulid::Ulid(n));
        let mut own: Vec<_> = (0..MOST_OF_A_TENANT).map(|_| tunnels.place(tenant(1)).unwrap()).collect();
        assert!(tunnels.place(tenant(1)).is_none());
        let others: Vec<_> = (MOST_OF_A_TENANT..MOST)
            .map(|n| tunnels.place(tenant(2 + (n / MOST_OF_A_TENANT) as u128)).unwrap())
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
