//! Giving what is owed, as many answers at once as is good for everybody, for as long as the process lives.

use std::collections::HashMap;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use scaigrid_persistence::Bell;
use scaigrid_persistence::room_answers::{self, OwedAnswer};
use scaigrid_scope::{Instant, TenantId, TenantScope};
use tokio::task::{Id, JoinError, JoinSet};

use crate::{App, Error};

/// Answers that this node gives at once: in all, and to the rooms of one tenant.
const AT_ONCE: usize = 16;
const PER_TENANT: usize = 8;
/// Tenants that are looked after in one round. Where there are more, the next round goes on with those behind.
const ROUND: i64 = 64;
/// Without a signal, it is looked this often whether something is owed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether a node has died with answers in its hands.
const LOOK_FOR_DEAD_EVERY: Duration = Duration::from_secs(2);
/// How long is waited when the database could not be asked.
const BREATHE: Duration = Duration::from_secs(1);
/// How long answers are remembered that were given, or failed.
const KEPT: Duration = Duration::from_hours(30 * 24);
/// Rows that are removed in one transaction, and how many such transactions follow each other at most.
const BATCH: i64 = 500;
const BATCHES: usize = 200;

/// What is under way.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<()>,
    to: HashMap<Id, (TenantScope, OwedAnswer)>,
    looked_through: Option<TenantId>,
    looked_for_dead: Option<std::time::Instant>,
}

impl UnderWay {
    /// How many of a tenant's are.
    fn of(&self, tenant: TenantId) -> usize {
        self.to.values().filter(|(scope, _)| scope.tenant_id() == tenant).count()
    }

    /// The tenants that have enough.
    fn busy(&self) -> Vec<TenantId> {
        let mut tenants: Vec<TenantId> = self.to.values().map(|(scope, _)| scope.tenant_id()).collect();
        tenants.sort_unstable();
        tenants.dedup();
        tenants.retain(|tenant| self.of(*tenant) >= PER_TENANT);
        tenants
    }

    /// How many each of some tenants may begin: in turns, one at a time.
    fn share(&self, waiting: &[TenantId]) -> Vec<(TenantId, usize)> {
        let mut shares: Vec<(TenantId, usize)> = waiting.iter().map(|tenant| (*tenant, 0)).collect();
        let mut left = AT_ONCE.saturating_sub(self.to.len());
        for _ in 0..PER_TENANT {
            for (tenant, share) in &mut shares {
                if left > 0 && self.of(*tenant) + *share < PER_TENANT {
                    *share += 1;
                    left -= 1;
                }
            }
        }
        shares.retain(|(_, share)| *share > 0);
        shares
    }

    fn begin(&mut self, app: &App, scope: TenantScope, answer: OwedAnswer) {
        let (app, given) = (app.clone(), answer.clone());
        let handle = self.tasks.spawn(async move { app.see_answer_through(scope, &given).await });
        self.to.insert(handle.id(), (scope, answer));
    }

    /// What a task leaves behind that broke off: an answer that is still in this node's hands.
    fn ended(&mut self, result: Result<(Id, ()), JoinError>) -> Option<(TenantScope, OwedAnswer)> {
        match result {
            Ok((id, ())) => {
                self.to.remove(&id);
                None
            }
            Err(error) => {
                tracing::error!(%error, "an answer was broken off");
                self.to.remove(&error.id())
            }
        }
    }
}

impl App {
    /// Gives the answers that AIs owe to rooms until told to stop, then lets go of those that are not given yet: another node, or
    /// the next start, takes them at once.
    pub async fn keep_answering(&self, stop: impl Future<Output = ()>) {
        let mut under_way = UnderWay::default();
        tokio::pin!(stop);
        loop {
            let pause = match self.answer_some(&mut under_way).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(%error, "it cannot be looked what is owed to rooms");
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = &mut stop => break,
                () = self.0.database.written(Bell::Answers) => {}
                Some(ended) = under_way.tasks.join_next_with_id() => {
                    if let Some((scope, answer)) = under_way.ended(ended) {
                        under_way.tasks.spawn(self.clone().hand_back(scope, answer));
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
        under_way.tasks.shutdown().await;
        if let Err(error) = self.let_go_of_answers().await {
            tracing::warn!(%error, "answers were not let go of; they are taken once this node's lease has ended");
        }
    }

    async fn let_go_of_answers(&self) -> Result<(), Error> {
        let mut tx = self.0.database.begin().await?;
        room_answers::release(&mut tx, &self.0.system, self.0.engine.node(), self.now()).await?;
        Ok(tx.commit().await?)
    }

    /// Takes what is owed and there is room for; says how long nothing else will be due.
    async fn answer_some(&self, under_way: &mut UnderWay) -> Result<Duration, Error> {
        let now = self.now();
        if under_way.looked_for_dead.is_none_or(|at| at.elapsed() >= LOOK_FOR_DEAD_EVERY) {
            self.take_answers_from_the_dead(now).await?;
            under_way.looked_for_dead = Some(std::time::Instant::now());
        }
        if under_way.to.len() >= AT_ONCE {
            return Ok(LOOK_EVERY);
        }
        let system = &self.0.system;
        let mut connection = self.0.database.read().await?;
        match room_answers::next_due(&mut connection, system).await? {
            None => return Ok(LOOK_EVERY),
            Some(due) if due > now => return Ok(due.since(now).clamp(Duration::from_millis(1), LOOK_EVERY)),
            Some(_) => {}
        }
        let (busy, behind) = (under_way.busy(), under_way.looked_through);
        let waiting = room_answers::waiting(&mut connection, system, now, &busy, behind, ROUND).await?;
        drop(connection);
        let shares = under_way.share(&waiting);
        // Who got nothing in this round comes first in the next.
        under_way.looked_through = shares.last().map(|(tenant, _)| *tenant).or(behind);
        if shares.is_empty() {
            return Ok(LOOK_EVERY);
        }
        let taken = self.take_answers(under_way, &shares, now).await?;
        // There may be more. Where another node was faster, it is given a moment.
        Ok(if taken > 0 { Duration::ZERO } else { Duration::from_millis(50) })
    }

    async fn take_answers(
        &self,
        under_way: &mut UnderWay,
        shares: &[(TenantId, usize)],
        now: Instant,
    ) -> Result<usize, Error> {
        let mut tx = self.0.database.begin().await?;
        let node = self.0.engine.node();
        let mut taken: Vec<(TenantScope, OwedAnswer)> = Vec::new();
        for (tenant, most) in shares {
            let most = i64::try_from(*most).unwrap_or(i64::MAX);
            let scope = self.0.system.tenant(*tenant);
            let answers = room_answers::take(&mut tx, scope, node, now, most).await?;
            taken.extend(answers.into_iter().map(|answer| (scope, answer)));
        }
        tx.commit().await?;
        let count = taken.len();
        for (scope, answer) in taken {
            under_way.begin(self, scope, answer);
        }
        Ok(count)
    }

    /// Gives an answer, however long the database cannot be asked. What it says meanwhile is asked for anew.
    async fn see_answer_through(&self, scope: TenantScope, answer: &OwedAnswer) {
        if let Err(error) = self.give_answer(scope, answer).await {
            tracing::warn!(%error, answer = %answer.id, "an answer is given again");
            self.clone().hand_back(scope, answer.clone()).await;
        }
    }

    /// Lets go of an answer that came to nothing for reasons of this node's.
    async fn hand_back(self, scope: TenantScope, answer: OwedAnswer) {
        loop {
            tokio::time::sleep(BREATHE).await;
            match self.put_answer_back(scope, &answer).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, answer = %answer.id, "an answer is not let go of yet"),
            }
        }
    }

    async fn put_answer_back(&self, scope: TenantScope, answer: &OwedAnswer) -> Result<(), Error> {
        let (now, node) = (self.now(), self.0.engine.node());
        let mut tx = self.0.database.begin().await?;
        let again = room_answers::Settled::Again { at: now, code: "INTERNAL_ERROR" };
        room_answers::settle(&mut tx, scope, answer, node, again, now).await?;
        Ok(tx.commit().await?)
    }

    /// Frees what nodes had in their hands that are no more.
    async fn take_answers_from_the_dead(&self, now: Instant) -> Result<(), Error> {
        let mut connection = self.0.database.read().await?;
        let dead = room_answers::dead_owners(&mut connection, &self.0.system, now).await?;
        drop(connection);
        for node in dead {
            let mut tx = self.0.database.begin().await?;
            let freed = room_answers::release(&mut tx, &self.0.system, node, now).await?;
            tx.commit().await?;
            tracing::info!(%node, freed, "a node has gone; the answers that it was giving are taken up");
        }
        Ok(())
    }

    /// Forgets answers that were given, or failed, a month ago; their messages stay. How many rows went.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn purge_room_answers(&self) -> Result<usize, Error> {
        let before =
            Instant::from_micros(self.now().micros() - i64::try_from(KEPT.as_micros()).unwrap_or(i64::MAX));
        let mut all = 0;
        for _ in 0..BATCHES {
            let mut tx = self.0.database.begin().await?;
            let gone = room_answers::purge(&mut tx, &self.0.system, before, BATCH).await?;
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
    use scaigrid_scope::{AnswerId, ParticipantId, RoomId, SystemScope, UserId};
    use ulid::Ulid;

    use super::*;

    fn tenant(n: u128) -> TenantId {
        TenantId::from_ulid(Ulid(n))
    }

    fn busy_with(under_way: &mut UnderWay, of: TenantId, count: usize) {
        let scope = SystemScope::for_the_process().tenant(of);
        for _ in 0..count {
            let answer = OwedAnswer {
                id: AnswerId::from_ulid(Ulid(1)),
                tenant_id: of,
                room_id: RoomId::from_ulid(Ulid(1)),
                asked_seq: 1,
                participant_id: ParticipantId::from_ulid(Ulid(1)),
                user_id: UserId::from_ulid(Ulid(1)),
                attempts: 1,
                created_at: Instant::from_micros(0),
            };
            let id = under_way.tasks.spawn(std::future::pending()).id();
            under_way.to.insert(id, (scope, answer));
        }
    }

    #[tokio::test]
    async fn one_tenant_does_not_take_all_the_room() {
        let mut under_way = UnderWay::default();
        let all = [tenant(1), tenant(2), tenant(3)];
        assert_eq!(under_way.share(&all), [(tenant(1), 6), (tenant(2), 5), (tenant(3), 5)]);
        assert_eq!(under_way.share(&all[..1]), [(tenant(1), PER_TENANT)]);
        busy_with(&mut under_way, tenant(1), PER_TENANT);
        assert_eq!(under_way.busy(), [tenant(1)]);
        assert_eq!(under_way.share(&all), [(tenant(2), 4), (tenant(3), 4)]);
        busy_with(&mut under_way, tenant(2), PER_TENANT);
        assert!(under_way.share(&all).is_empty());
    }

    #[tokio::test]
    async fn what_breaks_off_is_left_in_ones_hands() {
        let mut under_way = UnderWay::default();
        busy_with(&mut under_way, tenant(1), 1);
        under_way.tasks.abort_all();
        let ended = under_way.tasks.join_next_with_id().await.unwrap();
        assert!(under_way.ended(ended).is_some_and(|(scope, _)| scope.tenant_id() == tenant(1)));
        assert!(under_way.to.is_empty());
    }
}
