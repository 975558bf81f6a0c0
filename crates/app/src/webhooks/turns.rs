//! Whose turn it is: which webhooks get the room that there is for deliveries.
//!
//! Whoever has the least under way comes first, tenants before their webhooks; among equals, whoever has waited longest.
//! So a long queue costs nobody else more than the wait for the next place.

use std::collections::HashMap;
use std::hash::Hash;

use scaigrid_scope::{TenantId, WebhookId};

/// Deliveries under way on this node at once: of all, of one tenant, of one webhook.
pub(super) const AT_ONCE: usize = 32;
pub(super) const PER_TENANT: usize = 8;
pub(super) const PER_WEBHOOK: usize = 4;
/// Of how many it is remembered at most when their last turn was. Whoever is forgotten comes first again.
const REMEMBERED: usize = 4096;

/// How many deliveries are under way, of all and of each.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) all: usize,
    pub(super) tenants: HashMap<TenantId, usize>,
    pub(super) webhooks: HashMap<WebhookId, usize>,
}

impl Counts {
    pub(super) fn add(&mut self, tenant: TenantId, webhook: WebhookId) {
        self.all += 1;
        *self.tenants.entry(tenant).or_default() += 1;
        *self.webhooks.entry(webhook).or_default() += 1;
    }

    pub(super) fn remove(&mut self, tenant: TenantId, webhook: WebhookId) {
        self.all -= 1;
        one_less(&mut self.tenants, &tenant);
        one_less(&mut self.webhooks, &webhook);
    }

    /// How many a tenant and a webhook have under way, where both may have one more.
    fn room(&self, tenant: TenantId, webhook: WebhookId) -> Option<(usize, usize)> {
        let of_tenant = self.tenants.get(&tenant).copied().unwrap_or_default();
        let of_webhook = self.webhooks.get(&webhook).copied().unwrap_or_default();
        (self.all < AT_ONCE && of_tenant < PER_TENANT && of_webhook < PER_WEBHOOK)
            .then_some((of_tenant, of_webhook))
    }
}

/// Takes one off what is counted of somebody, and forgets whom nothing is left of.
pub(super) fn one_less<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// When the last turn of each was.
#[derive(Debug, Default)]
pub(super) struct Turns {
    now: u64,
    tenants: HashMap<TenantId, u64>,
    webhooks: HashMap<WebhookId, u64>,
}

impl Turns {
    /// Shares the room that is left among webhooks that something is due for: how many deliveries each may begin.
    pub(super) fn share(
        &mut self,
        mut counts: Counts,
        due: &[(TenantId, WebhookId)],
    ) -> Vec<(TenantId, WebhookId, usize)> {
        let mut shares = vec![0; due.len()];
        loop {
            let last = |turn: Option<&u64>| turn.copied().unwrap_or_default();
            let candidates = due.iter().enumerate().filter_map(|(index, (tenant, webhook))| {
                let (of_tenant, of_webhook) = counts.room(*tenant, *webhook)?;
                let turns = (last(self.tenants.get(tenant)), last(self.webhooks.get(webhook)));
                Some(((of_tenant, turns.0, of_webhook, turns.1, index), (*tenant, *webhook)))
            });
            let Some(((.., index), (tenant, webhook))) = candidates.min_by_key(|(order, _)| *order) else {
                break;
            };
            shares[index] += 1;
            counts.add(tenant, webhook);
            self.now += 1;
            self.tenants.insert(tenant, self.now);
            self.webhooks.insert(webhook, self.now);
        }
        forget(&mut self.tenants);
        forget(&mut self.webhooks);
        due.iter()
            .zip(shares)
            .filter(|(_, share)| *share > 0)
            .map(|((tenant, webhook), share)| (*tenant, *webhook, share))
            .collect()
    }
}

/// Keeps the later half of the turns when there are too many.
fn forget<K: Hash + Eq>(turns: &mut HashMap<K, u64>) {
    if turns.len() > REMEMBERED {
        let mut order: Vec<u64> = turns.values().copied().collect();
        let (_, middle, _) = order.select_nth_unstable(REMEMBERED / 2);
        let middle = *middle;
        turns.retain(|_, turn| *turn >= middle);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn tenant(number: u128) -> TenantId {
        TenantId::from_ulid(ulid::Ulid(number))
    }

    fn webhook(number: u128) -> WebhookId {
        WebhookId::from_ulid(ulid::Ulid(number))
    }

    /// Webhooks by number, of the tenant that the hundreds are.
    fn due(numbers: impl IntoIterator<Item = u128>) -> Vec<(TenantId, WebhookId)> {
        numbers.into_iter().map(|number| (tenant(number / 100), webhook(number))).collect()
    }

    fn under_way(numbers: impl IntoIterator<Item = u128>) -> Counts {
        let mut counts = Counts::default();
        for (tenant, webhook) in due(numbers) {
            counts.add(tenant, webhook);
        }
        counts
    }

    #[test]
    fn who_has_nothing_under_way_gets_the_next_place() {
        // Four tenants have everything but one place.
        let full = (1..=4_u128).flat_map(|tenant| [1, 2].map(|hook| tenant * 100 + hook));
        let busy = full.clone().flat_map(|hook| [hook; PER_WEBHOOK]).skip(1);
        let waiting = full.chain([501]);
        let shares = Turns::default().share(under_way(busy), &due(waiting));
        assert_eq!(shares, [(tenant(5), webhook(501), 1)]);
    }

    #[test]
    fn the_webhooks_of_a_tenant_share_its_room_with_what_is_under_way() {
        let shares = Turns::default().share(under_way([101; 4]), &due([101, 102, 103]));
        assert_eq!(shares, [(tenant(1), webhook(102), 2), (tenant(1), webhook(103), 2)]);
        let alone = Turns::default().share(Counts::default(), &due([101]));
        assert_eq!(alone, [(tenant(1), webhook(101), PER_WEBHOOK)]);
    }

    #[test]
    fn everybody_has_their_turn() {
        let all = due((0..40).map(|hook| 100 + hook).chain((0..40).map(|hook| 200 + hook)));
        let (mut turns, mut served) = (Turns::default(), BTreeMap::new());
        // One place at a time, and what gets it is quick.
        for _ in 0..all.len() {
            let mut counts = Counts::default();
            (0..AT_ONCE as u128 - 1).for_each(|n| counts.add(tenant(9), webhook(900 + n)));
            for (_, hook, share) in turns.share(counts, &all) {
                *served.entry(hook).or_insert(0) += share;
            }
        }
        assert_eq!(served.len(), all.len(), "{served:?}");
        assert!(served.values().all(|count| *count == 1));
    }

    #[test]
    fn turns_are_forgotten_in_time() {
        let mut turns: HashMap<u64, u64> = (0..=REMEMBERED as u64).map(|n| (n, n)).collect();
        forget(&mut turns);
        assert!(turns.len() <= REMEMBERED / 2 + 1 && turns.contains_key(&(REMEMBERED as u64)));
    }

    proptest! {
        #[test]
        fn the_bounds_hold_and_no_room_is_wasted(
            busy in prop::collection::vec((1..6_u128, 0..4_u128), 0..20), waiting in prop::collection::btree_set((1..9_u128, 0..6_u128), 0..30)
        ) {
            let number = |(tenant, hook): (u128, u128)| tenant * 100 + hook;
            let mut counts = Counts::default();
            for (tenant, webhook) in due(busy.into_iter().map(number)) {
                if counts.room(tenant, webhook).is_some() {
                    counts.add(tenant, webhook);
                }
            }
            let waiting = due(waiting.into_iter().map(number));
            for (tenant, webhook, share) in Turns::default().share(counts.clone(), &waiting) {
                for _ in 0..share {
                    prop_assert!(counts.room(tenant, webhook).is_some());
                    counts.add(tenant, webhook);
                }
            }
            for (tenant, webhook) in waiting {
                prop_assert!(counts.room(tenant, webhook).is_none());
            }
        }
    }
}
