//! What is deleted because its time is over. One node at a time does it, in small transactions, each with its record; whoever comes
//! after one that died finds what is left.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use metrics::counter;
use scaigrid_audit::{Actor, AuditAction, AuditRecord, Outcome, RequestContext, diff};
use scaigrid_engine::Engine;
use scaigrid_persistence::audit;
use scaigrid_persistence::helper_invocations;
use scaigrid_persistence::hook_messages;
use scaigrid_persistence::objects;
use scaigrid_persistence::partings;
use scaigrid_persistence::retention;
use scaigrid_persistence::tenants::{self, TenantFilter};
use scaigrid_scope::{CoreId, Instant, LevelScope, NodeId, TenantScope};
use scaigrid_storage::Key;
use serde_json::{Value, json};

use crate::cores::REMOVED_AT_ONCE;
use crate::{App, Error};

/// Executions, or other rows, that go in one transaction.
const AT_ONCE: i64 = 500;
/// Tenants, or Cores, that are read at once.
const PAGE: i64 = 100;
/// Objects that are removed at once.
const OBJECTS: i64 = 100;
/// How long an object that nothing refers to may be on its way to being referred to.
const UNCLAIMED: Duration = Duration::from_hours(1);
/// How long the ids of messages to webhooks are kept, so that none counts twice.
const MESSAGES_KEPT: Duration = Duration::from_hours(7 * 24);
/// How long it is kept what helpers were asked.
const INVOCATIONS_KEPT: Duration = Duration::from_hours(90 * 24);
/// The name of the duty.
const DUTY: &str = "retention";
/// How long a node has it without saying so again.
const DUTY_HOLDS: Duration = Duration::from_mins(2);
/// How often whoever keeps others from it says so again.
const SAY_AGAIN: Duration = Duration::from_secs(20);
/// How often it is looked whether it is free, and for how long.
const FREE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(10));
/// How long at least the records stay of what was used of models: so far back go the statistics.
const USAGE_KEPT: Duration = Duration::from_hours(400 * 24);

/// What went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Executions, with their journals, checkpoints, what they answered in conversations, and all else of theirs.
    pub executions: u64,
    /// Rows of logs, whose executions may go on.
    pub logs: u64,
    /// Events of Cores.
    pub events: u64,
    /// Records of calls of models.
    pub usage: u64,
    /// Large values that nothing refers to any more.
    pub objects: u64,
}

impl Swept {
    fn any(self) -> bool {
        self != Self::default()
    }
}

/// While there is one nothing is deleted because its time is over, and no object because nothing refers to it.
pub(crate) struct Stillness {
    app: App,
    /// Not the node itself, which may have begun to sweep.
    holder: NodeId,
    said_at: Instant,
}

impl Stillness {
    /// Waits until nobody sweeps.
    ///
    /// # Errors
    /// [`Error::Conflict`] where that takes too long; the database's.
    pub(crate) async fn begin(app: &App) -> Result<Self, Error> {
        let holder = NodeId::from_ulid(app.0.ids.draw(app.now()));
        let begun = std::time::Instant::now();
        loop {
            let said_at = app.now();
            if app.take_duty(holder, DUTY_HOLDS).await? {
                return Ok(Self { app: app.clone(), holder, said_at });
            }
            if begun.elapsed() > FREE.1 {
                return Err(Error::Conflict("What is over is being deleted; try again later".to_owned()));
            }
            tokio::time::sleep(FREE.0).await;
        }
    }

    /// Says again that it lasts, where that is due.
    ///
    /// # Errors
    /// [`Error::Conflict`] where it has not lasted; the database's.
    pub(crate) async fn lasts(&mut self) -> Result<(), Error> {
        let now = self.app.now();
        if now < self.said_at.plus(SAY_AGAIN) {
            return Ok(());
        }
        // One that is taken again after its time may have been another's in between.
        let in_time = now < self.said_at.plus(DUTY_HOLDS);
        if !in_time || !self.app.take_duty(self.holder, DUTY_HOLDS).await? {
            let message = "It took so long that what it refers to may have been deleted; try again";
            return Err(Error::Conflict(message.to_owned()));
        }
        self.said_at = now;
        Ok(())
    }

    /// Lets others sweep.
    pub(crate) async fn end(self) {
        if let Err(error) = self.app.take_duty(self.holder, Duration::ZERO).await {
            tracing::warn!(%error, "retention was not let go; it is free again by itself");
        }
    }
}

impl App {
    /// Deletes what has been over for longer than the platform, or its tenant, keeps it; the shorter time counts. Does nothing while
    /// another node is at it.
    ///
    /// # Errors
    /// The database's. What was deleted until then stays so.
    #[boxed]
    pub async fn sweep(&self, platform: Option<Duration>) -> Result<Swept, Error> {
        let mut all = Swept::default();
        if !self.hold_duty().await? {
            return Ok(all);
        }
        self.remove_leftovers().await?;
        self.forget_messages().await?;
        self.forget_invocations().await?;
        let everything = LevelScope::Platform(self.0.system.platform());
        let mut after = None;
        loop {
            let mut connection = self.0.database.read().await?;
            let filter = TenantFilter::default();
            let page = tenants::list(&mut connection, everything, &filter, after, PAGE).await?;
            drop(connection);
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for tenant in page {
                let own = tenant.limits.execution_retention_days;
                let own = own.map(|days| Duration::from_hours(u64::from(days.max(1)) * 24));
                let kept = match (own, platform) {
                    (Some(own), Some(platform)) => own.min(platform),
                    (Some(one), None) | (None, Some(one)) => one,
                    (None, None) => continue,
                };
                let scope = self.0.system.tenant(tenant.id);
                let swept = self.sweep_tenant(scope, kept).await?;
                all.executions += swept.executions;
                all.logs += swept.logs;
                all.events += swept.events;
                all.usage += swept.usage;
            }
        }
        all.objects = self.sweep_objects().await? + self.sweep_avatars(UNCLAIMED).await?;
        self.hold_duty_for(Duration::ZERO).await?;
        Ok(all)
    }

    /// Forgets messages to webhooks that have been here so long ago that they do not come again.
    async fn forget_messages(&self) -> Result<(), Error> {
        let before = self.now().minus(MESSAGES_KEPT);
        loop {
            let mut tx = self.0.database.begin().await?;
            let gone = hook_messages::purge(&mut tx, &self.0.system, before, AT_ONCE).await?;
            tx.commit().await?;
            if i64::try_from(gone).is_ok_and(|gone| gone < AT_ONCE) || !self.hold_duty().await? {
                return Ok(());
            }
        }
    }

    /// Forgets what helpers were asked so long ago.
    async fn forget_invocations(&self) -> Result<(), Error> {
        let before = self.now().minus(INVOCATIONS_KEPT);
        loop {
            let mut tx = self.0.database.begin().await?;
            let gone = helper_invocations::purge(&mut tx, &self.0.system, before, AT_ONCE).await?;
            tx.commit().await?;
            if i64::try_from(gone).is_ok_and(|gone| gone < AT_ONCE) || !self.hold_duty().await? {
                return Ok(());
            }
        }
    }

    async fn hold_duty(&self) -> Result<bool, Error> {
        self.hold_duty_for(DUTY_HOLDS).await
    }

    /// With no time at all, the next one who looks gets it.
    async fn hold_duty_for(&self, time: Duration) -> Result<bool, Error> {
        self.take_duty(self.0.engine.node(), time).await
    }

    async fn take_duty(&self, holder: NodeId, time: Duration) -> Result<bool, Error> {
        let now = self.now();
        let mut tx = self.0.database.begin().await?;
        let who = (holder, now, now.plus(time));
        let held = retention::take_duty(&mut tx, &self.0.system, DUTY, who).await?;
        tx.commit().await?;
        Ok(held)
    }

    async fn sweep_tenant(&self, scope: TenantScope, kept: Duration) -> Result<Swept, Error> {
        let before = self.now().minus(kept);
        let mut all = Swept::default();
        loop {
            let (swept, more) = self.sweep_some(scope, before).await?;
            all.executions += swept.executions;
            all.logs += swept.logs;
            all.usage += swept.usage;
            if swept.any() {
                tracing::info!(tenant = %scope.tenant_id(), executions = all.executions, "executions whose time is over are deleted");
            }
            if !more || !self.hold_duty().await? {
                break;
            }
        }
        let mut after = None;
        loop {
            let mut connection = self.0.database.read().await?;
            let cores = retention::cores_of(&mut connection, scope, after, PAGE).await?;
            drop(connection);
            let Some(last) = cores.last() else { return Ok(all) };
            after = Some(*last);
            for core in cores {
                all.events += self.sweep_events(scope, core, before).await?;
            }
        }
    }

    /// One transaction's worth; whether there is more.
    async fn sweep_some(&self, scope: TenantScope, before: Instant) -> Result<(Swept, bool), Error> {
        let usage_before = before.min(self.now().minus(USAGE_KEPT));
        let mut tx = self.0.database.begin().await?;
        let executions = retention::purge_executions(&mut tx, scope, before, AT_ONCE).await?;
        let logs = retention::purge_logs(&mut tx, scope, before, AT_ONCE).await?;
        let usage = retention::purge_usage(&mut tx, scope, usage_before, AT_ONCE).await?;
        let swept = Swept {
            executions: executions as u64,
            logs: logs as u64,
            usage: usage as u64,
            ..Swept::default()
        };
        let at_once = usize::try_from(AT_ONCE).unwrap_or(usize::MAX);
        self.keep_record(tx, scope, before, swept).await?;
        Ok((swept, [executions, logs, usage].contains(&at_once)))
    }

    async fn sweep_events(&self, scope: TenantScope, core: CoreId, before: Instant) -> Result<u64, Error> {
        let mut all = 0;
        loop {
            let mut tx = self.0.database.begin().await?;
            let events = retention::purge_events(&mut tx, scope, core, before, AT_ONCE).await?;
            self.keep_record(tx, scope, before, Swept { events: events as u64, ..Swept::default() }).await?;
            all += events as u64;
            if i64::try_from(events).is_ok_and(|events| events < AT_ONCE) || !self.hold_duty().await? {
                return Ok(all);
            }
        }
    }

    /// Ends a transaction with the record of what was deleted in it.
    async fn keep_record(
        &self,
        mut tx: scaigrid_persistence::Transaction,
        scope: TenantScope,
        before: Instant,
        swept: Swept,
    ) -> Result<(), Error> {
        if !swept.any() {
            return Ok(tx.rollback().await?);
        }
        let Swept { executions, logs, events, usage, .. } = swept;
        let after = json!({"before": before, "executions": executions, "log_rows": logs, "events": events,
            "usage_records": usage});
        let (id, at) = self.audit_stamp(self.now());
        let record = AuditRecord {
            id,
            at,
            action: AuditAction::ExecutionPurge,
            actor: Actor::SYSTEM,
            tenant_id: Some(scope.tenant_id()),
            partner_id: None,
            resource_id: scope.tenant_id().to_string(),
            outcome: Outcome::Success,
            changes: diff(&Value::Null, &after, &[]),
            request: RequestContext::default(),
            module: Some("scaicore".into()),
        };
        audit::add(&mut tx, &record).await?;
        tx.commit().await?;
        counter!("scaigrid_retention_deleted_total", "what" => "executions").increment(executions);
        counter!("scaigrid_retention_deleted_total", "what" => "logs").increment(logs);
        counter!("scaigrid_retention_deleted_total", "what" => "events").increment(events);
        counter!("scaigrid_retention_deleted_total", "what" => "usage").increment(usage);
        Ok(())
    }

    /// Removes objects that nothing refers to any more.
    async fn sweep_objects(&self) -> Result<u64, Error> {
        let system = &self.0.system;
        loop {
            let mut tx = self.0.database.begin().await?;
            let released = objects::release(&mut tx, system).await?;
            tx.commit().await?;
            if released == 0 || !self.hold_duty().await? {
                break;
            }
        }
        let mut after = None;
        loop {
            let mut tx = self.0.database.begin().await?;
            let (_, last) = objects::release_memory(&mut tx, system, after.as_ref()).await?;
            tx.commit().await?;
            after = last;
            if after.is_none() || !self.hold_duty().await? {
                break;
            }
        }
        let mut all = 0;
        loop {
            let mut tx = self.0.database.begin().await?;
            objects::doom(&mut tx, system, self.now().minus(UNCLAIMED), OBJECTS).await?;
            tx.commit().await?;
            let mut connection = self.0.database.read().await?;
            let doomed = objects::marked(&mut connection, system, OBJECTS).await?;
            drop(connection);
            if doomed.is_empty() || !self.hold_duty().await? {
                return Ok(all);
            }
            for gone in &doomed {
                let key = Key::new(gone.object.key(gone.tenant_id)).map_err(Error::internal)?;
                if let Err(error) = self.0.objects.delete(&key).await {
                    tracing::warn!(%error, "objects that nothing refers to stay for now");
                    return Ok(all);
                }
            }
            let mut tx = self.0.database.begin().await?;
            objects::forget(&mut tx, system, &doomed).await?;
            tx.commit().await?;
            all += doomed.len() as u64;
            counter!("scaigrid_retention_deleted_total", "what" => "objects").increment(doomed.len() as u64);
        }
    }

    /// Deletes what is left of Cores that were deleted when a node died.
    async fn remove_leftovers(&self) -> Result<(), Error> {
        loop {
            let mut connection = self.0.database.read().await?;
            let removed = retention::removed(&mut connection, &self.0.system, PAGE).await?;
            drop(connection);
            if removed.is_empty() {
                return Ok(());
            }
            for (tenant, core) in removed {
                self.remove_the_rest(self.0.system.tenant(tenant), core).await?;
            }
        }
    }

    /// Deletes what is left of a Core that was deleted, piece by piece.
    pub(crate) async fn remove_the_rest(&self, scope: TenantScope, core: CoreId) -> Result<(), Error> {
        loop {
            let mut tx = self.0.database.begin().await?;
            partings::tell_others(&mut tx, scope, core, REMOVED_AT_ONCE, &Engine::parting()).await?;
            let all = retention::remove_rows(&mut tx, scope, core, REMOVED_AT_ONCE).await?;
            tx.commit().await?;
            if all {
                return Ok(());
            }
        }
    }
}
