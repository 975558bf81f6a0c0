//! The life of a node: its lease, the executions it takes, the Cores it sees through, its end.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_recursion::async_recursion as boxed;
use metrics::gauge;
use scaigrid_bus::{Heard, Signal};
use scaigrid_persistence::commit::{Change, Unit};
use scaigrid_persistence::{self as persistence, Connection, leases};
use scaigrid_scope::{ExecutionId, TenantScope};
use tokio::task::JoinSet;

use crate::calls::CALLING;
use crate::lease::LEASE;
use crate::places::Place;
use crate::{Engine, Error};

/// How often the lease is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// How soon that is tried again where it went wrong, and how long it may take.
const RENEW_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));
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
    #[boxed]
    pub async fn register(&self) -> Result<(), Error> {
        let mut transaction = self.0.database.begin().await?;
        self.agree(&mut transaction).await?;
        let (asked_at, now) = (Instant::now(), self.0.clock.now());
        if !self.0.database.is_shared() {
            leases::forget_others(&mut transaction, self.0.node).await?;
        }
        leases::register(&mut transaction, self.0.node, now, now.plus(LEASE)).await?;
        transaction.commit().await?;
        self.0.lease.renewed(asked_at, true);
        Ok(())
    }

    /// Has this node's clock tell the time of the database, where several nodes share one.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn agree_on_time(&self) -> Result<(), Error> {
        let mut connection = self.0.database.read().await?;
        self.agree(&mut connection).await
    }

    async fn agree(&self, connection: &mut Connection) -> Result<(), Error> {
        if let Some((theirs, within)) = leases::time(connection).await? {
            self.0.clock.agree(theirs, within);
        }
        Ok(())
    }

    /// Works until told to stop, then lets go of everything so that others can take it at once.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let (mut tasks, mut renewing) = (JoinSet::new(), JoinSet::new());
        let engine = self.clone();
        renewing.spawn(async move { engine.keep_lease().await });
        let engine = self.clone();
        tasks.spawn(async move { engine.take_work().await });
        let engine = self.clone();
        tasks.spawn(async move { engine.watch_timers().await });
        let engine = self.clone();
        tasks.spawn(async move { engine.hear().await });
        let engine = self.clone();
        tasks.spawn(async move { engine.pick_up_dropped().await });
        let (models, system) = (self.0.models.clone(), self.0.system.clone());
        tasks.spawn(async move { models.settle_for_the_dead(system).await });
        stop.await;
        // What goes on from here begins no calls.
        self.0.stopping.store(true, Ordering::SeqCst);
        tasks.shutdown().await;
        self.say_farewell(renewing).await;
    }

    /// Waits for what is under way, whose lease is renewed meanwhile: nobody takes a call for one of a dead node.
    async fn say_farewell(&self, mut renewing: JoinSet<()>) {
        // All permits are free once nothing is under way any more.
        let all = |permits: usize| u32::try_from(permits).unwrap_or(u32::MAX);
        let quiet = async {
            let calling = self.0.calling.acquire_many(all(CALLING)).await;
            self.0.background.close();
            self.0.background.quiet().await;
            drop(calling);
        };
        if tokio::time::timeout(FAREWELL, quiet).await.is_err() {
            tracing::warn!("executions are under way still; another node goes on with them");
        }
        // What is under way still is others' from here on.
        renewing.shutdown().await;
        self.0.lease.end();
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
        let mut pause = RENEW_EVERY;
        loop {
            tokio::time::sleep(pause).await;
            pause = match self.renew().await {
                Ok(()) => RENEW_EVERY,
                Err(error) => {
                    tracing::warn!(%error, "the lease was not renewed");
                    RENEW_AGAIN.0
                }
            };
        }
    }

    /// Renews the lease. A connection over which nothing comes back is given up and another one is tried.
    ///
    /// # Errors
    /// The database's, or the node is to end.
    pub(crate) async fn renew(&self) -> Result<(), Error> {
        if !self.0.database.is_shared() {
            // Nobody else can take anything; and who goes away in a queue of writers comes last.
            return self.renew_once().await;
        }
        let late = || persistence::Error::Unavailable("the lease was not renewed in time".into());
        tokio::time::timeout(RENEW_AGAIN.1, self.renew_once()).await.map_err(|_| late())?
    }

    async fn renew_once(&self) -> Result<(), Error> {
        if self.0.lease.has_ended() {
            return Err(Error::ShuttingDown);
        }
        // In one transaction, whose connection is closed where it is given up.
        let mut transaction = self.0.database.begin().await?;
        self.agree(&mut transaction).await?;
        let (asked_at, now) = (Instant::now(), self.0.clock.now());
        let taken_anew = !leases::renew(&mut transaction, self.0.node, now.plus(LEASE)).await?;
        if taken_anew {
            // Others took this node for dead. What it held is theirs now; it goes on with what comes.
            tracing::warn!("the lease had ended; this node takes a new one");
            leases::register(&mut transaction, self.0.node, now, now.plus(LEASE)).await?;
        }
        let long_ago = scaigrid_scope::Instant::from_micros(now.micros() - 3_600_000_000);
        leases::forget(&mut transaction, long_ago).await?;
        transaction.commit().await?;
        self.0.lease.renewed(asked_at, taken_anew);
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
        if self.0.lease.term().is_none() {
            // What it took now, others would take from it at once.
            return Ok(0);
        }
        let room = self.0.background.free();
        if room == 0 {
            // Whoever ends rings the bell by returning a permit; a moment's sleep is as good.
            tokio::time::sleep(Duration::from_millis(5)).await;
            return Ok(0);
        }
        let most = i64::try_from(room).unwrap_or(TAKE).min(TAKE);
        let mut connection = self.0.database.read().await?;
        let waiting = leases::waiting(&mut connection, &self.0.system, self.0.node).await?;
        let in_turn = self.cores_in_turn(&mut connection).await?;
        drop(connection);
        gauge!("scaigrid_executions_waiting").set(if waiting { 1.0 } else { 0.0 });
        // While both kinds wait, either gets half, and what cannot be halved goes to each in turns: neither waits behind all of
        // the other.
        let first = if waiting && !in_turn.is_empty() {
            (self.0.any_first.fetch_xor(true, Ordering::Relaxed), (most + 1) / 2)
        } else {
            (waiting, most)
        };
        let mut claimed = Vec::new();
        for (of_any, most_of_it) in [first, (!first.0, most)] {
            let left = (most - i64::try_from(claimed.len()).unwrap_or(most)).min(most_of_it);
            if left <= 0 {
                continue;
            }
            let taken = if of_any {
                if waiting { self.take(left).await } else { Ok(Vec::new()) }
            } else {
                self.take_in_turn(&in_turn, left).await
            };
            match taken {
                Ok(taken) => claimed.extend(taken),
                // What was taken is run, and the others are, whatever becomes of these.
                Err(error) => tracing::warn!(%error, "some executions cannot be taken"),
            }
        }
        let taken = claimed.len();
        for one in claimed {
            let place = self.0.background.take(one.tenant_id, Some(one.core_id)).await;
            let engine = self.clone();
            let scope = self.0.system.tenant(one.tenant_id);
            tokio::spawn(async move {
                engine.see_through_safely(scope, one.id, place).await;
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
                let place = engine.0.background.take(scope.tenant_id(), None).await;
                // What the caller had brought to be committed comes first.
                let nothing = Unit::new(scope.tenant_id(), engine.0.clock.now(), Change::Keep { id });
                if let Err(error) = engine.0.committer.commit(nothing).await {
                    tracing::warn!(%error, execution = %id, "the committer did not answer");
                }
                engine.see_through_safely(scope, id, place).await;
            });
        }
    }

    /// Sees an execution through; should that panic, the execution fails and the node lives.
    async fn see_through_safely(&self, scope: TenantScope, id: ExecutionId, place: Place) {
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
                Heard::Signal(Signal::CoreFollowed(core)) => self.0.watched.add(core),
                Heard::Signal(Signal::ExecutionFollowed(id)) => self.0.watched_executions.add(id),
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
