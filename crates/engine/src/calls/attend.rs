//! Making calls and waiting for what comes of them.

use std::sync::Arc;
use std::time::Duration;

use scaigrid_cores::execution::ExecutionStatus;
use scaigrid_persistence::leases;
use scaigrid_runtime::journal::Entry;
use scaigrid_runtime::{Effect, EffectId, EffectKind, Outcome};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::apart::tell_caller;
use super::perform::{Call, unavailable};
use super::{Ended, Wanted};
use crate::drive::Committed;
use crate::run::Run;
use crate::{Engine, Error};

/// Without news, the inbox is looked into this often while calls are under way.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl Engine {
    /// Notes a call, which begins once that is durable; leaves it to others where the Core is held by now.
    pub(crate) async fn want(&self, run: &mut Run, effect: Effect) -> Result<(), Error> {
        let hosted = self.hosted(run.scope, run.execution.core_id).await?;
        if !hosted.core.status.can_run() || self.is_stopping() {
            run.calls.hold_back();
            return Ok(());
        }
        run.done.entries.push(Entry::Effect { effect: effect.clone(), outcome: None });
        run.calls.want(effect);
        if run.news.is_none() {
            run.news = Some(self.0.awaited.listen(run.execution.id));
        }
        Ok(())
    }

    /// For a machine that can do nothing until a call ends: makes durable what was done, begins what is wanted, and waits
    /// for the first news. None when the machine may go on.
    pub(crate) async fn attend(&self, run: &mut Run) -> Result<Option<Committed>, Error> {
        if !run.calls.in_hand() {
            // All that is left was held back.
            return self.commit(run, ExecutionStatus::Queued).await.map(Some);
        }
        let done = &run.done;
        // An answer that was taken from the inbox counts: it must not have the same call made twice.
        let nothing = done.entries.is_empty() && done.taken.is_empty() && done.opened.is_empty();
        if !nothing || !run.is_durable() {
            match self.commit(run, ExecutionStatus::Running).await? {
                Committed::Yes => {}
                Committed::AndAwaited => {
                    // It may be the wish to cancel: that is heard before anything begins.
                    self.take_inbox(run).await?;
                    return Ok(None);
                }
                other => return Ok(Some(other)),
            }
        }
        tell_caller(run);
        self.begin_calls(run).await?;
        let ours = self.await_news(run).await?;
        Ok((!ours).then_some(Committed::Overtaken))
    }

    async fn begin_calls(&self, run: &mut Run) -> Result<(), Error> {
        if run.calls.wanted.is_empty() {
            return Ok(());
        }
        let hosted = self.hosted(run.scope, run.execution.core_id).await?;
        for Wanted { effect, in_doubt, .. } in std::mem::take(&mut run.calls.wanted) {
            let id = effect.id;
            let budgeted = run.machine.is_budgeted(&run.program, id);
            let call = Call {
                engine: self.clone(),
                scope: run.scope,
                hosted: Arc::clone(&hosted),
                program: Arc::clone(&run.program),
                execution: run.execution.id,
                delegation: run.execution.delegation,
                epoch: run.epoch,
                ours_in: run.calls.ours_in,
                effect,
                in_doubt,
                budgeted,
                said: Arc::clone(&run.calls.said),
                parent: run.span.context(),
            };
            // Boxed, since its 12 kB would be copied six times on their way.
            let abort = run.calls.under_way.spawn_on(Box::pin(call.outcome()), &self.0.runtime);
            run.calls.effects.insert(abort.id(), (id, abort));
        }
        Ok(())
    }

    /// Waits until a call has ended or something else has come. Others may run in the meantime. False when the execution is in
    /// other hands.
    async fn await_news(&self, run: &mut Run) -> Result<bool, Error> {
        let aside = self.step_aside(run);
        let came = self.first_news(run).await;
        self.step_back(run, aside).await;
        for what in run.calls.take_said() {
            run.say(&*self.masked(run).await?, self.0.clock.now(), what);
        }
        match came {
            Some(first) => {
                let mut next = Some(first);
                while let Some((id, ended)) = next {
                    match ended {
                        Ended::With(outcome) => answered(run, id, outcome),
                        // Models are asked once more by programs; what they were asked before costs, and does no more.
                        Ended::Broken if is_for_a_model(run, id) => answered(run, id, unavailable()),
                        Ended::InDoubt | Ended::Broken => self.ask_a_person(run, id),
                        Ended::NotOurs => return Ok(false),
                    }
                    next = run.calls.next_ready();
                }
            }
            // It may have been deleted, with its Core: what is under way is torn then.
            None if !self.is_there(run).await? => return Ok(false),
            None => self.take_inbox(run).await?,
        }
        Ok(true)
    }

    /// Gives an execution's place to others while it waits for something that takes long.
    pub(crate) fn step_aside(&self, run: &mut Run) -> Aside<'_> {
        let room = self.0.calling.try_acquire().ok();
        // Where very many wait already, this one keeps its place among those that run.
        let left = room.is_some() && run.place.take().is_some();
        Aside { left, _room: room }
    }

    /// Waits for a place among those that run, where the execution had one before.
    pub(crate) async fn step_back(&self, run: &mut Run, aside: Aside<'_>) {
        if aside.left {
            let (tenant, core) = (run.execution.tenant_id, run.execution.core_id);
            run.place = Some(self.0.background.take(tenant, Some(core)).await);
        }
        // Only now does it count no more: at the node's farewell, those that wait for calls are waited for first.
        drop(aside);
    }

    /// Whether an execution that waits for calls is this node's still, as the database says.
    async fn is_there(&self, run: &Run) -> Result<bool, Error> {
        let mut connection = self.0.database.read().await?;
        let (scope, id) = (run.scope, run.execution.id);
        Ok(leases::holds(&mut connection, scope, self.node(), id, run.epoch).await?)
    }

    async fn first_news(&self, run: &mut Run) -> Option<(EffectId, Ended)> {
        loop {
            let late = run.caller.as_ref().map(|caller| tokio::time::Instant::from_std(caller.until));
            let late = async {
                match late {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            let news = run.news.as_ref();
            let news = async {
                match news {
                    Some(news) => news.come().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                ended = run.calls.next() => return Some(ended),
                () = news => return None,
                () = late => {}
                () = tokio::time::sleep(LOOK_EVERY) => return None,
            }
            tell_caller(run);
        }
    }
}

/// What an execution has while it waits aside.
pub(crate) struct Aside<'e> {
    /// Whether it had a place among those that run.
    left: bool,
    _room: Option<SemaphorePermit<'e>>,
}

/// Notes a call's outcome and gives it to the machine, where it is waited for still.
fn answered(run: &mut Run, id: EffectId, outcome: Outcome) {
    run.calls.fresh.push((id, outcome.clone()));
    deliver(run, id, outcome);
}

fn is_for_a_model(run: &Run, id: EffectId) -> bool {
    let pending = run.machine.pending();
    pending.iter().any(|effect| effect.id == id && matches!(effect.kind, EffectKind::ModelCall(_)))
}

pub(super) fn deliver(run: &mut Run, id: EffectId, outcome: Outcome) {
    if is_for_a_model(run, id) {
        // What a model answers lies in the inbox as well, until the journal has it.
        run.done.taken.push(id.0);
    }
    if run.machine.deliver(id, outcome.clone()).is_ok() {
        run.done.entries.push(Entry::Outcome { id, outcome });
    }
}

/// How many executions of a node may wait for calls beside those that run.
pub(crate) fn calling() -> Semaphore {
    Semaphore::new(CALLING)
}

/// See [`calling`].
pub(crate) const CALLING: usize = 4_096;
