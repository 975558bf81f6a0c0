//! The postman: takes letters out of the outbox, as many at once as is good for everybody, for as long as the process
//! lives.
//!
//! A slow receiver holds up its own letters and no others: each webhook, and each tenant, has only so many under way, and
//! what room there is goes round.

use std::collections::HashMap;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use scaigrid_persistence::webhook_deliveries::{self, Busy, Claimed};
use scaigrid_persistence::{Bell, webhooks};
use scaigrid_scope::{Instant, TenantId, TenantScope, WebhookId};
use scaigrid_webhooks::next;
use tokio::task::{Id, JoinError, JoinSet};

use super::deliveries::CLAIM;
use super::turns::{AT_ONCE, Counts, PER_TENANT, PER_WEBHOOK, Turns};
use crate::{App, Error};

/// Webhooks that are looked after in one round. Where there are more, the next round goes on with those behind.
const ROUND: i64 = 64;
/// Without a signal, the outbox is looked into this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether a node has died with letters in its hands.
const LOOK_FOR_DEAD_EVERY: Duration = Duration::from_secs(2);
/// How long letters under way may take once the process is to end.
const FAREWELL: Duration = Duration::from_secs(11);
/// How long deliveries are kept, whatever became of them.
const KEPT: Duration = Duration::from_hours(30 * 24);
/// Rows that are removed in one transaction, and how many such transactions follow each other at most.
const BATCH: i64 = 500;
const BATCHES: usize = 200;

/// What is under way.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<()>,
    to: HashMap<Id, (TenantId, WebhookId)>,
    counts: Counts,
    turns: Turns,
    /// The last webhook that was looked at, when there were more.
    looked_through: Option<WebhookId>,
    looked_for_dead: Option<std::time::Instant>,
}

impl UnderWay {
    fn begin(
        &mut self,
        tenant: TenantId,
        webhook: WebhookId,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(work);
        self.to.insert(handle.id(), (tenant, webhook));
        self.counts.add(tenant, webhook);
    }

    fn ended(&mut self, result: Result<(Id, ()), JoinError>) {
        let id = match result {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, "a delivery was broken off; it is taken up again");
                error.id()
            }
        };
        if let Some((tenant, webhook)) = self.to.remove(&id) {
            self.counts.remove(tenant, webhook);
        }
    }

    fn busy(&self) -> Busy {
        let full = |count: usize, most| count >= most;
        Busy {
            webhooks: self
                .counts
                .webhooks
                .iter()
                .filter(|(_, n)| full(**n, PER_WEBHOOK))
                .map(|(id, _)| *id)
                .collect(),
            tenants: self
                .counts
                .tenants
                .iter()
                .filter(|(_, n)| full(**n, PER_TENANT))
                .map(|(id, _)| *id)
                .collect(),
        }
    }
}

impl App {
    /// Posts what is in the outbox until told to stop, then lets go of what is not posted yet.
    pub async fn deliver_webhooks(&self, stop: impl Future<Output = ()>) {
        let mut under_way = UnderWay::default();
        tokio::pin!(stop);
        loop {
            let pause = match self.post_some(&mut under_way).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be looked into");
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = &mut stop => break,
                () = self.0.database.written(Bell::Outbox) => {}
                Some(ended) = under_way.tasks.join_next_with_id() => under_way.ended(ended),
                () = tokio::time::sleep(pause) => {}
            }
        }
        let last = async { while under_way.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, last).await.is_err() {
            tracing::info!("deliveries are under way still; they are posted again");
        }
        if let Err(error) = self.let_go_of_letters().await {
            tracing::warn!(%error, "deliveries were not let go of; their claims run out by themselves");
        }
    }

    async fn let_go_of_letters(&self) -> Result<(), Error> {
        let mut tx = self.0.database.begin().await?;
        let node = self.0.engine.node();
        webhook_deliveries::release(&mut tx, &self.0.system, node, self.now()).await?;
        Ok(tx.commit().await?)
    }

    /// Takes up what is due and there is room for; says how long nothing else will be.
    async fn post_some(&self, under_way: &mut UnderWay) -> Result<Duration, Error> {
        let now = self.now();
        if under_way.looked_for_dead.is_none_or(|at| at.elapsed() >= LOOK_FOR_DEAD_EVERY) {
            self.take_from_the_dead(now).await?;
            under_way.looked_for_dead = Some(std::time::Instant::now());
        }
        if under_way.to.len() >= AT_ONCE {
            return Ok(LOOK_EVERY);
        }
        let system = &self.0.system;
        let mut connection = self.0.database.read().await?;
        match webhook_deliveries::next_due(&mut connection, system).await? {
            None => return Ok(LOOK_EVERY),
            Some(due) if due > now => return Ok(due.since(now).clamp(Duration::from_millis(1), LOOK_EVERY)),
            Some(_) => {}
        }
        let (busy, behind) = (under_way.busy(), under_way.looked_through);
        let due = webhook_deliveries::due(&mut connection, system, now, &busy, behind, ROUND).await?;
        drop(connection);
        let all = i64::try_from(due.len()).is_ok_and(|count| count < ROUND);
        under_way.looked_through = due.last().map(|(_, webhook)| *webhook).filter(|_| !all);
        if due.is_empty() {
            return Ok(LOOK_EVERY);
        }
        let taken = self.take_letters(under_way, &due, now).await?;
        // There may be more. Where another node was faster, it is given a moment.
        Ok(if taken > 0 { Duration::ZERO } else { Duration::from_millis(50) })
    }

    async fn take_letters(
        &self,
        under_way: &mut UnderWay,
        due: &[(TenantId, WebhookId)],
        now: Instant,
    ) -> Result<usize, Error> {
        let mut tx = self.0.database.begin().await?;
        let node = self.0.engine.node();
        let mut claimed: Vec<(TenantScope, Claimed)> = Vec::new();
        for (tenant, webhook, most) in under_way.turns.share(under_way.counts.clone(), due) {
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let scope = self.0.system.tenant(tenant);
            let times = (now, now.plus(CLAIM));
            let letters = webhook_deliveries::claim(&mut tx, scope, webhook, node, times, most).await?;
            claimed.extend(letters.into_iter().map(|letter| (scope, letter)));
        }
        tx.commit().await?;
        let taken = claimed.len();
        for (scope, letter) in claimed {
            let app = self.clone();
            under_way.begin(scope.tenant_id(), letter.delivery.webhook_id, async move {
                let id = letter.delivery.id;
                if let Err(error) = app.see_off(scope, letter).await {
                    tracing::warn!(%error, delivery = %id, "a delivery is posted again");
                }
            });
        }
        Ok(taken)
    }

    /// Posts a letter and writes down what became of it.
    async fn see_off(&self, scope: TenantScope, letter: Claimed) -> Result<(), Error> {
        let mut connection = self.0.database.read().await?;
        let to = webhooks::addressee(&mut connection, scope, letter.delivery.webhook_id).await?;
        drop(connection);
        let Some(to) = to else {
            // It was switched off or removed a moment ago.
            let mut tx = self.0.database.begin().await?;
            webhook_deliveries::put_back(&mut tx, scope, &letter, self.now()).await?;
            return Ok(tx.commit().await?);
        };
        let posted = self.post(&to, &letter).await;
        let (number, retries) = (letter.delivery.attempts, to.webhook.max_retries);
        let then = next(posted.attempt.verdict(), number, retries, posted.retry_after, self.now());
        self.settle(scope, &to, &letter, &posted, then).await
    }

    /// Frees what nodes held that are no more.
    async fn take_from_the_dead(&self, now: Instant) -> Result<(), Error> {
        let mut connection = self.0.database.read().await?;
        let dead = webhook_deliveries::dead_claimants(&mut connection, &self.0.system, now).await?;
        drop(connection);
        for node in dead {
            let mut tx = self.0.database.begin().await?;
            let freed = webhook_deliveries::release(&mut tx, &self.0.system, node, now).await?;
            tx.commit().await?;
            tracing::info!(%node, freed, "a node has gone; its deliveries are taken up");
        }
        Ok(())
    }

    /// Removes deliveries that are old, those of webhooks that are no more, and secrets that count no more, in small steps.
    /// How many rows went.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn purge_webhook_deliveries(&self) -> Result<usize, Error> {
        let before =
            Instant::from_micros(self.now().micros() - i64::try_from(KEPT.as_micros()).unwrap_or(i64::MAX));
        let mut all = 0;
        for _ in 0..BATCHES {
            let mut tx = self.0.database.begin().await?;
            let mut gone = webhook_deliveries::purge(&mut tx, &self.0.system, before, BATCH).await?;
            gone += webhooks::sweep(&mut tx, &self.0.system, BATCH).await?;
            gone += webhooks::forget_secrets(&mut tx, &self.0.system, self.now()).await?;
            tx.commit().await?;
            all += gone;
            if gone == 0 {
                break;
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_ends_makes_room_again() {
        let tenant = |n| TenantId::from_ulid(ulid::Ulid(n));
        let webhook = |n| WebhookId::from_ulid(ulid::Ulid(n));
        let mut under_way = UnderWay::default();
        for _ in 0..PER_WEBHOOK {
            under_way.begin(tenant(1), webhook(1), std::future::pending());
        }
        assert_eq!(under_way.busy(), Busy { webhooks: vec![webhook(1)], tenants: Vec::new() });
        for n in 0..PER_TENANT - PER_WEBHOOK {
            under_way.begin(tenant(1), webhook(2 + n as u128), async {});
        }
        assert_eq!(under_way.busy().tenants, [tenant(1)]);
        while under_way.to.len() > PER_WEBHOOK {
            let ended = under_way.tasks.join_next_with_id().await.unwrap();
            under_way.ended(ended);
        }
        assert_eq!(under_way.busy(), Busy { webhooks: vec![webhook(1)], tenants: Vec::new() });
        assert_eq!((under_way.counts.all, under_way.counts.webhooks.len()), (PER_WEBHOOK, 1));
    }
}
