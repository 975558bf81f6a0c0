//! Instances at work: executions that run in turn are queued, and taken when their instance has a slot.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use scaigrid_cores::execution::{Execution, ExecutionStatus, Standing};
use scaigrid_cores::instances::{IDLE_TIMEOUT, Instances, Place};
use scaigrid_ir::Value;
use scaigrid_ir::module::Overflow;
use scaigrid_persistence::commit::{Change, Progress, Snapshot, Unit, Verdict};
use scaigrid_persistence::events::{self, CoreEvent};
use scaigrid_persistence::instances::{self as stored, Room};
use scaigrid_persistence::leases::Claimed;
use scaigrid_persistence::timers::{self, Owner, Timer};
use scaigrid_persistence::{Connection, Transaction};
use scaigrid_runtime::Program;
use scaigrid_scope::{CoreId, EventId, Instant, TenantId, TenantScope};
use scaigrid_webhooks::{Event, EventType};
use serde_json::json;

use crate::cores::HostedCore;
use crate::invoke::begin;
use crate::traces::{kind, note_begun};
use crate::turns::Last;
use crate::{Engine, Error};

/// Cores that are looked at for executions in turn at once.
const CORES: i64 = 200;

/// How a Core's executions are brought under instances.
pub(crate) fn instances(hosted: &HostedCore, program: &Program) -> Instances {
    Instances::of(&hosted.core.concurrency, &program.module().instance)
}

/// How long an instance of a program stays active without work.
pub(crate) fn idle_timeout(program: &Program) -> Duration {
    program.module().instance.idle_timeout.unwrap_or(IDLE_TIMEOUT)
}

/// The timer of an instance that has just done something.
pub(crate) fn idle(execution: &Execution, timeout: Duration, now: Instant) -> Timer {
    let key = execution.instance_key.as_deref().unwrap_or_default().to_owned();
    let owner = Owner::Instance { core: execution.core_id, key };
    Timer { owner, core_id: execution.core_id, due_at: now.plus(timeout) }
}

/// Cores in the order in which they get their turns: one of each tenant, then the next of each; those behind the tenant, and of a
/// tenant those behind the Core, that had the last turn come first.
fn one_from_each(mut cores: Vec<(TenantId, CoreId)>, last: &Last) -> Vec<(TenantId, CoreId)> {
    cores.sort_unstable_by_key(|(tenant, core)| {
        let had_it = last.core_of(*tenant).is_some_and(|last| *core <= last);
        (last.tenant().is_some_and(|last| *tenant <= last), *tenant, had_it, *core)
    });
    let mut rounds: HashMap<TenantId, usize> = HashMap::new();
    let mut placed: Vec<(usize, (TenantId, CoreId))> = cores
        .into_iter()
        .map(|one| {
            let round = rounds.entry(one.0).or_default();
            *round += 1;
            (*round, one)
        })
        .collect();
    placed.sort_by_key(|(round, _)| *round);
    placed.into_iter().map(|(_, one)| one).collect()
}

impl Engine {
    /// Accepts an execution that runs when it is its turn, and waits for it as long as the caller does.
    pub(crate) async fn enqueue(
        &self,
        scope: TenantScope,
        program: Arc<Program>,
        hosted: &HostedCore,
        execution: Execution,
        wait: Option<Duration>,
    ) -> Result<Standing, Error> {
        let until = wait.map(|wait| Moment::now() + wait);
        // What does not fit is told now, not when it is its turn.
        let instances = instances(hosted, &program);
        drop(begin(scope, program, hosted, execution.clone())?);
        if let Some(bounds) = instances.bounds()
            && bounds.overflow == Overflow::Reject
            && let Some(most) = bounds.max_active
        {
            let key = execution.instance_key.as_deref().unwrap_or_default();
            let mut connection = self.0.database.read().await?;
            let (known, others) = stored::demand(&mut connection, scope, hosted.core.id, key).await?;
            if !known && others >= i64::from(most.get()) {
                return Err(Error::InstancesFull(most));
            }
        }
        self.may_queue(scope, hosted).await?;
        let execution = self.queue(scope, hosted, execution).await?;
        match until {
            None => Ok(Standing { execution, checkpoints: Vec::new() }),
            Some(until) => self.settle(scope, execution, until).await,
        }
    }

    /// Keeps an execution that runs when it is taken.
    pub(crate) async fn queue(
        &self,
        scope: TenantScope,
        hosted: &HostedCore,
        mut execution: Execution,
    ) -> Result<Execution, Error> {
        execution.status = ExecutionStatus::Queued;
        let progress = Progress { snapshot: Snapshot::Drop, next_seq: 0, owner: None, epoch: 0 };
        let change = Change::Begin { execution: Box::new(execution.clone()), progress };
        match self.commit_and_tell(Unit::new(scope.tenant_id(), self.0.clock.now(), change), None).await? {
            Verdict::Done | Verdict::Awaited => {}
            _ => return Err(Error::NotRunning(self.status_now(scope, hosted.core.id).await?)),
        }
        note_begun(kind(&execution.origin));
        self.work_waits();
        Ok(execution)
    }

    /// Cores with executions whose turn it may be.
    pub(crate) async fn cores_in_turn(&self, c: &mut Connection) -> Result<Vec<(TenantId, CoreId)>, Error> {
        Ok(stored::with_work(c, &self.0.system, self.0.clock.now(), CORES).await?)
    }

    /// Takes executions of these Cores whose turn it is.
    pub(crate) async fn take_in_turn(
        &self,
        cores: &[(TenantId, CoreId)],
        most: i64,
    ) -> Result<Vec<Claimed>, Error> {
        let mut last = self.0.last_in_turn.lock().await;
        // Nobody takes all the room while others wait.
        let share = most / i64::try_from(cores.len()).unwrap_or(most).clamp(1, most.max(1));
        let share = share.max(1);
        let mut claimed = Vec::new();
        for (tenant, core) in one_from_each(cores.to_vec(), &last) {
            let left = most - i64::try_from(claimed.len()).unwrap_or(most);
            if left <= 0 {
                break;
            }
            let scope = self.0.system.tenant(tenant);
            match self.take_of_core(scope, core, left.min(share)).await {
                Ok(taken) if taken.is_empty() => {}
                Ok(taken) => {
                    last.note(tenant, core);
                    claimed.extend(taken);
                }
                // One Core must not hold up the others.
                Err(error) => tracing::warn!(%error, %core, "executions cannot be taken"),
            }
        }
        Ok(claimed)
    }

    async fn take_of_core(&self, scope: TenantScope, core: CoreId, most: i64) -> Result<Vec<Claimed>, Error> {
        let now = self.0.clock.now();
        let mut connection = self.0.database.read().await?;
        let ready = stored::ready(&mut connection, scope, core, now, most).await?;
        drop(connection);
        if ready.is_empty() {
            return Ok(Vec::new());
        }
        let room = self.room(scope, core).await?;
        let mut transaction = self.0.database.begin().await?;
        let node = (self.0.node, now);
        let taken = stored::take(&mut transaction, scope, core, ready, room, node).await?;
        if taken == stored::Taken::default() {
            transaction.rollback().await?;
            return Ok(Vec::new());
        }
        for key in &taken.passivated {
            self.note(&mut transaction, scope, core, (key, EventType::InstancePassivated, "overflow"))
                .await?;
        }
        for key in &taken.activated {
            self.note(&mut transaction, scope, core, (key, EventType::InstanceActivated, "work")).await?;
        }
        transaction.commit().await?;
        let claimed = |id| Claimed { tenant_id: scope.tenant_id(), core_id: core, id };
        Ok(taken.executions.into_iter().map(claimed).collect())
    }

    /// How the executions of a Core are brought under instances now; none where its program cannot be read.
    async fn instances_of(&self, scope: TenantScope, core: CoreId) -> Result<Option<Instances>, Error> {
        let hosted = self.hosted(scope, core).await?;
        match self.program(scope, core, hosted.core.source.version).await {
            Ok(program) => Ok(Some(instances(&hosted, &program))),
            // What began with an older program goes on.
            Err(Error::BadProgram(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many instances of a Core may be active, where that is bounded.
    async fn room(&self, scope: TenantScope, core: CoreId) -> Result<Option<Room>, Error> {
        let instances = self.instances_of(scope, core).await?;
        Ok(instances.as_ref().and_then(Instances::bounds).and_then(|bounds| {
            let deactivate = bounds.overflow == Overflow::DeactivateLru;
            bounds.max_active.map(|most| Room { max_active: most.get(), deactivate })
        }))
    }

    /// Where an execution of a Core belongs that no entity is named for.
    pub(crate) async fn place_of_all(&self, scope: TenantScope, core: CoreId) -> Result<Place, Error> {
        let instances = self.instances_of(scope, core).await?;
        Ok(instances.map(|instances| instances.place_of_all()).unwrap_or_default())
    }

    /// Makes an instance passive that has been idle for long enough.
    pub(crate) async fn let_rest(
        &self,
        scope: TenantScope,
        timer: &Timer,
        (core, key): (CoreId, &str),
    ) -> Result<(), Error> {
        let mut transaction = self.0.database.begin().await?;
        // One that is at work sets its timer anew when it has done it.
        let rests = stored::rest(&mut transaction, scope, core, key).await?;
        if !timers::take(&mut transaction, scope, timer).await? {
            return Ok(transaction.rollback().await?);
        }
        if rests {
            self.note(&mut transaction, scope, core, (key, EventType::InstancePassivated, "idle")).await?;
        }
        transaction.commit().await?;
        if rests {
            // There may be room for another one now.
            self.work_waits();
        }
        Ok(())
    }

    /// Notes in a Core's history what became of an instance, and tells webhooks.
    async fn note(
        &self,
        tx: &mut Transaction,
        scope: TenantScope,
        core: CoreId,
        (key, event_type, reason): (&str, EventType, &str),
    ) -> Result<(), Error> {
        let now = self.0.clock.now();
        let key = (!key.is_empty()).then_some(key);
        let event = CoreEvent {
            id: EventId::from_ulid(self.0.ids.draw(now)),
            core_id: core,
            execution_id: None,
            name: event_type.as_str().to_owned(),
            data: Value::from_json(&json!({"instance_key": key, "reason": reason})),
            at: now,
            heard: None,
        };
        events::add(tx, scope, &event, &[]).await?;
        let listeners = self.listening_webhooks_through(tx, scope.tenant_id()).await?;
        if listeners.iter().any(|wishes| wishes.want(event_type)) {
            let told = Event {
                id: EventId::from_ulid(self.0.ids.draw(now)),
                event_type,
                tenant_id: scope.tenant_id(),
                at: now,
                source: "scaicore".to_owned(),
                payload: json!({"core_id": core, "instance_key": key, "reason": reason}),
            };
            events::tell(tx, &[told]).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    #[test]
    fn nobody_gets_two_turns_while_another_waits() {
        let of =
            |tenant: u128, core: u128| (TenantId::from_ulid(Ulid(tenant)), CoreId::from_ulid(Ulid(core)));
        // Tenant 1 has many; their oldest executions are older than those of all others.
        let waiting = vec![of(1, 1), of(1, 2), of(1, 3), of(2, 4), of(3, 5)];
        let mut last = Last::default();
        // With room for one at a time, whoever comes first gets it.
        let turns: Vec<_> = (0..6)
            .map(|_| {
                let (tenant, core) = one_from_each(waiting.clone(), &last)[0];
                last.note(tenant, core);
                (tenant, core)
            })
            .collect();
        assert_eq!(turns, [of(1, 1), of(2, 4), of(3, 5), of(1, 2), of(2, 4), of(3, 5)]);
        let round = one_from_each(waiting, &last);
        assert_eq!(round, [of(1, 3), of(2, 4), of(3, 5), of(1, 1), of(1, 2)]);
    }
}
