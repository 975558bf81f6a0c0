//! The watch over timers: each is fired once, on whichever node is first, in the transaction that does what it says.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use scaigrid_ir::Value;
use scaigrid_persistence::commit::{Change, Delivery, Unit, Verdict};
use scaigrid_persistence::timers::{self, Owner, Timer};
use scaigrid_runtime::{Failure, Outcome};
use scaigrid_scope::{ExecutionId, TenantScope};
use tokio::task::JoinSet;

use crate::drive::encode_outcome;
use crate::{Engine, Error};

/// The longest sleep between two looks; another node may have set a nearer timer.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How soon one looks again after a timer could not be fired.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How often a timer is tried again at once; after that it lets the others go first, at least as long as the first of these and
/// at most as long as the second, so that those that fail for good stand in nobody's way.
const AT_ONCE_AGAIN: u32 = 5;
const HELD_BACK: (u64, u64) = (1, 300);
/// Timers that are taken up at one look.
const AT_ONCE: i64 = 256;
/// Timers that are fired side by side, so that their commits go together.
const SIDE_BY_SIDE: usize = 16;

impl Engine {
    /// Watches the timers for as long as the process lives.
    pub(crate) async fn watch_timers(&self) {
        loop {
            let sleep = match self.fire_what_is_due().await {
                Ok(sleep) => sleep,
                Err(error) => {
                    tracing::warn!(%error, "the timers cannot be looked at");
                    LOOK_EVERY
                }
            };
            self.0.rested.tidy();
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                () = self.0.timers.notified() => {}
            }
        }
    }

    /// Fires what is due; says how long nothing else will be.
    ///
    /// # Errors
    /// The database's. A timer that cannot be fired is tried again.
    #[boxed]
    pub async fn fire_what_is_due(&self) -> Result<Duration, Error> {
        let now = self.0.clock.now();
        let mut connection = self.0.database.read().await?;
        let due = timers::due(&mut connection, &self.0.system, now, AT_ONCE).await?;
        if due.is_empty() {
            let next = timers::next(&mut connection, &self.0.system).await?;
            let until = next.map_or(LOOK_EVERY, |next| next.since(self.0.clock.now()));
            return Ok(until.clamp(Duration::from_millis(1), LOOK_EVERY));
        }
        drop(connection);
        let mut failed = false;
        let mut due = due.into_iter();
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < SIDE_BY_SIDE
                && let Some((tenant, timer)) = due.next()
            {
                let engine = self.clone();
                let scope = self.0.system.tenant(tenant);
                under_way.spawn(async move { engine.fire_safely(scope, timer).await });
            }
            match under_way.join_next().await {
                Some(Ok(fired)) => failed |= !fired,
                Some(Err(_)) => failed = true,
                None => break,
            }
        }
        // What was fired may have set the next one.
        Ok(if failed { AGAIN_AFTER } else { Duration::ZERO })
    }

    async fn fire_safely(&self, scope: TenantScope, timer: Timer) -> bool {
        match self.fire(scope, &timer).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, timer = ?timer.owner, "a timer is tried again");
                if let Err(error) = self.hold_back(scope, &timer).await {
                    tracing::warn!(%error, "it cannot be noted that a timer failed");
                }
                false
            }
        }
    }

    /// Has a timer that failed again and again let others go first.
    async fn hold_back(&self, scope: TenantScope, timer: &Timer) -> Result<(), Error> {
        let now = self.0.clock.now();
        let mut transaction = self.0.database.begin().await?;
        timers::hold_back(&mut transaction, scope, timer, |failures| Some(now.plus(held_back(failures)?)))
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Does what a timer says. One that somebody else was faster with, or that says nothing any more, is left alone.
    async fn fire(&self, scope: TenantScope, timer: &Timer) -> Result<(), Error> {
        match &timer.owner {
            Owner::Sleep { execution, effect } => {
                let due_at = Outcome::Value(Value::Datetime(timer.due_at.micros()));
                self.answer_timed(scope, timer, (*execution, *effect), &due_at).await
            }
            Owner::EventWait { execution, effect } => {
                let failure = Failure::new("WAIT_TIMEOUT", "the event did not come in time");
                self.answer_timed(scope, timer, (*execution, *effect), &Outcome::Error(failure)).await
            }
            Owner::Checkpoint(id) => {
                self.expire(scope, *id).await?;
                self.drop_if_spent(scope, timer).await
            }
            Owner::Reminder(id) => self.remind(scope, timer, *id).await,
            Owner::Notice(id) => self.announce(scope, timer, *id).await,
            Owner::Schedule { core, name } => self.serve(scope, timer, (*core, name)).await,
            Owner::Instance { core, key } => self.let_rest(scope, timer, (*core, key)).await,
        }
    }

    /// Gives an execution what its timer says. One that has ended waits for nothing.
    async fn answer_timed(
        &self,
        scope: TenantScope,
        timer: &Timer,
        (to, effect): (ExecutionId, u32),
        outcome: &Outcome,
    ) -> Result<(), Error> {
        let mut unit = Unit::new(scope.tenant_id(), self.0.clock.now(), Change::Keep { id: to });
        unit.delivered.push(Delivery { to, effect, outcome: encode_outcome(outcome) });
        unit.fired = Some(timer.clone());
        if matches!(timer.owner, Owner::EventWait { .. }) {
            unit.unwaited.push((to, effect));
        }
        match self.commit_and_tell(unit, None).await? {
            Verdict::Done | Verdict::Awaited => self.work_waits(),
            Verdict::Fenced => self.drop_timer(scope, timer).await?,
            _ => {}
        }
        Ok(())
    }

    /// Removes the timer of a checkpoint that nobody waits at any more; one that moved its deadline has set it anew.
    async fn drop_if_spent(&self, scope: TenantScope, timer: &Timer) -> Result<(), Error> {
        let Owner::Checkpoint(id) = &timer.owner else { return Ok(()) };
        let mut connection = self.0.database.read().await?;
        if timers::lookup(&mut connection, scope, &timer.owner).await? != Some(timer.due_at) {
            return Ok(());
        }
        let stored = scaigrid_persistence::checkpoints::lookup(&mut connection, scope, *id).await?;
        drop(connection);
        let waits = stored.is_some_and(|stored| {
            stored.checkpoint.status() == scaigrid_checkpoints::CheckpointStatus::Pending
        });
        if waits { Err(Error::Contended) } else { self.drop_timer(scope, timer).await }
    }

    /// Removes a timer that still stands as it was seen.
    pub(crate) async fn drop_timer(&self, scope: TenantScope, timer: &Timer) -> Result<(), Error> {
        let mut transaction = self.0.database.begin().await?;
        timers::take(&mut transaction, scope, timer).await?;
        Ok(transaction.commit().await?)
    }
}

/// How long a timer lets others go first that failed so often.
fn held_back(failures: u32) -> Option<Duration> {
    let doublings = failures.checked_sub(AT_ONCE_AGAIN)?;
    let (least, most) = HELD_BACK;
    Some(Duration::from_secs(least.saturating_mul(2_u64.saturating_pow(doublings)).min(most)))
}
