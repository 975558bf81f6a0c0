//! The life of a node: its lease, the executions it takes, the Cores it sees through, its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use metrics::gauge;
use scaigrid_bus::{Heard, Signal};
use scaigrid_persistence::commit::{Change, Unit};
use scaigrid_persistence::leases;
use scaigrid_scope::{ExecutionId, TenantScope};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use crate::calls::CALLING;
use crate::{BACKGROUND, Engine, Error};

/// How long a node's lease holds. Others take its executions when it has ended: within ten seconds of its death.
const LEASE: Duration = Duration::from_secs(6);
/// How often it is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// Without a signal, a node looks this often for executions that nobody holds.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Executions that are taken at once.
const TAKE: i64 = 32;
/// How long executions under way may go on once the process is to end.
const FAREWELL: Duration = Duration::from_secs(10);

impl Engine {
    /// Writes this node's lease. Where the database is this process's alone, whatever was running before is taken on at once.
    ///
    /// # Errors
    /// The database's.
    pub async fn register(&self) -> Result<(), Error> {
        let now = self.0.clock.now();
        let mut transaction = self.0.database.begin().await?;
        if !self.0.database.is_shared() {
            leases::forget_others(&mut transaction, self.0.node).await?;
        }
        leases::register(&mut transaction, self.0.node, now, now.plus(LEASE)).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Works until told to stop, then lets go of everything so that others can take it at once.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let mut tasks = JoinSet::new();
        let engine = self.clone();
        tasks.spawn(async move { engine.keep_lease().await });
        let engine = self.clone();
        tasks.spawn(async move { engine.take_work().await });
        let engine = self.clone();
        tasks.spawn(async move { engine.watch_timers().await });
        let engine = self.clone();
        tasks.spawn(async move { engine.hear().await });
        let engine = self.clone();
        tasks.spawn(async move { engine.pick_up_dropped().await });
        stop.await;
        // What goes on from here begins no calls.
        self.0.stopping.store(true, Ordering::SeqCst);
        tasks.shutdown().await;
        self.say_farewell().await;
    }

    async fn say_farewell(&self) {
        // All permits are free once nothing is under way any more.
        let all = |permits: usize| u32::try_from(permits).unwrap_or(u32::MAX);
        let quiet = async {
            (
                self.0.calling.acquire_many(all(CALLING)).await,
                self.0.background.acquire_many(all(BACKGROUND)).await,
            )
        };
        if tokio::time::timeout(FAREWELL, quiet).await.is_err() {
            tracing::warn!("executions are under way still; another node goes on with them");
        }
        let released = async {
            let mut transaction = self.0.database.begin().await?;
            leases::release(&mut transaction, self.0.node).await?;
            transaction.commit().await
        };
        match released.await {
            Ok(()) => self.work_waits(),
            Err(error) => tracing::warn!(%error, "the lease was not released; it ends by itself"),
        }
    }

    async fn keep_lease(&self) {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            if let Err(error) = self.renew().await {
                tracing::warn!(%error, "the lease was not renewed");
            }
        }
    }

    async fn renew(&self) -> Result<(), Error> {
        let now = self.0.clock.now();
        let mut transaction = self.0.database.begin().await?;
        if !leases::renew(&mut transaction, self.0.node, now.plus(LEASE)).await? {
            // Others took this node for dead. What it held is theirs now; it goes on with what comes.
            tracing::warn!("the lease had ended; this node takes a new one");
            leases::register(&mut transaction, self.0.node, now, now.plus(LEASE)).await?;
        }
        let long_ago = scaigrid_scope::Instant::from_micros(now.micros() - 3_600_000_000);
        leases::forget(&mut transaction, long_ago).await?;
        transaction.commit().await?;
        let at = Duration::from_millis(now.unix_millis()).as_secs_f64();
        gauge!("scaigrid_lease_renewed_timestamp_seconds").set(at);
        Ok(())
    }

    async fn take_work(&self) {
        loop {
            match self.take_some().await {
                // There may be more.
                Ok(taken) if taken > 0 => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "no work can be taken"),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.0.work.notified() => {}
            }
        }
    }

    /// Takes as many executions as there is room for, and runs each beside the others.
    async fn take_some(&self) -> Result<usize, Error> {
        let room = self.0.background.available_permits();
        if room == 0 {
            // Whoever ends rings the bell by returning a permit; a moment's sleep is as good.
            tokio::time::sleep(Duration::from_millis(5)).await;
            return Ok(0);
        }
        let most = i64::try_from(room).unwrap_or(TAKE).min(TAKE);
        let mut connection = self.0.database.read().await?;
        let waiting = leases::waiting(&mut connection, &self.0.system, self.0.node).await?;
        drop(connection);
        gauge!("scaigrid_executions_waiting").set(if waiting { 1.0 } else { 0.0 });
        let mut claimed = if waiting { self.take(most).await? } else { Vec::new() };
        let left = most - i64::try_from(claimed.len()).unwrap_or(most);
        if left > 0 {
            // What was taken is run, whatever becomes of the rest.
            match self.take_in_turn(left).await {
                Ok(more) => claimed.extend(more),
                Err(error) => tracing::warn!(%error, "no work of instances can be taken"),
            }
        }
        let taken = claimed.len();
        for one in claimed {
            let Ok(permit) = Arc::clone(&self.0.background).acquire_owned().await else { break };
            let engine = self.clone();
            let scope = self.0.system.tenant(one.tenant_id);
            tokio::spawn(async move {
                engine.see_through_safely(scope, one.id, permit).await;
                engine.0.work.notify_one();
            });
        }
        Ok(taken)
    }

    /// Goes on with runs whose caller went away before they came to a rest.
    async fn pick_up_dropped(&self) {
        let Some(mut dropped) = self.0.dropped_runs.lock().await.take() else { return };
        while let Some((scope, id)) = dropped.recv().await {
            let engine = self.clone();
            tokio::spawn(async move {
                let Ok(permit) = Arc::clone(&engine.0.background).acquire_owned().await else { return };
                // What the caller had brought to be committed comes first.
                let nothing = Unit::new(scope.tenant_id(), engine.0.clock.now(), Change::Keep { id });
                if let Err(error) = engine.0.committer.commit(nothing).await {
                    tracing::warn!(%error, execution = %id, "the committer did not answer");
                }
                engine.see_through_safely(scope, id, permit).await;
            });
        }
    }

    /// Sees an execution through; should that panic, the execution fails and the node lives.
    async fn see_through_safely(&self, scope: TenantScope, id: ExecutionId, place: OwnedSemaphorePermit) {
        let engine = self.clone();
        let seen = tokio::spawn(async move { engine.see_through(scope, id, place).await }).await;
        if seen.is_err_and(|error| error.is_panic()) {
            tracing::error!(execution = %id, "an execution made the engine panic");
            let reason = "the engine met a fault of its own".to_owned();
            self.give_up(scope, id, &Error::Journal { id, reason }).await;
        }
    }

    /// Whether the process is to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::SeqCst)
    }

    /// Listens to the other nodes.
    async fn hear(&self) {
        let mut listener = self.0.bus.listen();
        loop {
            match listener.next().await {
                Heard::Signal(Signal::WorkWaits) => self.0.work.notify_one(),
                Heard::Signal(Signal::ExecutionAwaited(id)) => self.0.awaited.tell(id),
                Heard::Signal(Signal::CoreChanged(core)) => {
                    self.0.hosted.forget(core);
                    self.0.work.notify_one();
                }
                Heard::Signal(Signal::WebhooksChanged) => self.forget_listeners(),
                Heard::Signal(Signal::PluginsChanged) => self.0.plugins.forget(),
                Heard::Signal(Signal::CatalogChanged) => self.0.models.forget(),
                Heard::Signal(_) => {}
                Heard::Missed => {
                    self.0.models.forget();
                    self.0.hosted.forget_all();
                    self.0.awaited.tell_all();
                    self.0.plugins.forget();
                    self.forget_listeners();
                    self.0.work.notify_one();
                }
                Heard::Closed => break,
            }
        }
    }
}
