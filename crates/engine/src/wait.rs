//! Waiting for an execution, and where it stands.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use async_recursion::async_recursion as boxed;
use scaigrid_bus::{Heard, Signal};
use scaigrid_cores::debugging::Debugging;
use scaigrid_cores::execution::{Execution, ExecutionStatus, Standing};
use scaigrid_persistence::{checkpoints, executions};
use scaigrid_scope::{CheckpointId, ExecutionId, TenantScope};

use crate::drive::Committed;
use crate::run::Run;
use crate::{Engine, Error};

/// Without a signal, an execution is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How many executions below one are looked at for checkpoints.
const FAMILY_AT_MOST: usize = 100;

impl Engine {
    /// An execution and the checkpoints that it, or what it called, waits at.
    ///
    /// # Errors
    /// There is no such execution, or the database.
    #[boxed]
    pub async fn standing(&self, scope: TenantScope, id: ExecutionId) -> Result<Standing, Error> {
        let mut connection = self.0.database.read().await?;
        let execution = executions::lookup(&mut connection, scope, id).await?.ok_or(Error::NoExecution)?;
        drop(connection);
        self.with_checkpoints(scope, execution).await
    }

    /// The same without what is large of the execution, for whoever looks again and again.
    ///
    /// # Errors
    /// There is no such execution, or the database.
    pub(crate) async fn glance(&self, scope: TenantScope, id: ExecutionId) -> Result<Standing, Error> {
        let mut connection = self.0.database.read().await?;
        let execution = executions::glance(&mut connection, scope, id).await?.ok_or(Error::NoExecution)?;
        drop(connection);
        self.with_checkpoints(scope, execution).await
    }

    async fn with_checkpoints(&self, scope: TenantScope, execution: Execution) -> Result<Standing, Error> {
        let checkpoints = if execution.status == ExecutionStatus::Suspended {
            self.waited_at(scope, execution.id).await?.0
        } else {
            Vec::new()
        };
        Ok(Standing { execution, checkpoints })
    }

    /// The checkpoints that an execution, or what it called, waits at; and those that were asked: itself and what it called.
    pub(crate) async fn waited_at(
        &self,
        scope: TenantScope,
        id: ExecutionId,
    ) -> Result<(Vec<CheckpointId>, Vec<ExecutionId>), Error> {
        let mut connection = self.0.database.read().await?;
        let (mut found, mut asked) = (Vec::new(), Vec::new());
        let mut family = VecDeque::from([id]);
        for _ in 0..FAMILY_AT_MOST {
            let Some(member) = family.pop_front() else { break };
            asked.push(member);
            let pending = checkpoints::pending_of(&mut connection, scope, member).await?;
            found.extend(pending.into_iter().map(|stored| stored.checkpoint.id));
            let called = executions::children_at_work(&mut connection, scope, member).await?;
            family.extend(called.into_iter().map(|(id, ..)| id));
        }
        Ok((found, asked))
    }

    /// As [`Engine::settle`], for a run that has just come to a rest: where it plainly waits for people, or has ended, nothing
    /// needs to be looked up.
    pub(crate) async fn settle_run(
        &self,
        run: Run,
        committed: Committed,
        until: Instant,
    ) -> Result<Standing, Error> {
        let status = run.execution.status;
        if status.is_final() {
            return Ok(Standing { execution: run.execution, checkpoints: Vec::new() });
        }
        let checkpoints = run.waits_at().unwrap_or_default().to_vec();
        if status == ExecutionStatus::Suspended && (!checkpoints.is_empty() || stands_still(&run.execution)) {
            let execution = run.execution.clone();
            // One that is awaited is queued: whoever takes it next finds what it waits for.
            if matches!(committed, Committed::Yes) {
                self.0.rested.keep(run);
            }
            return Ok(Standing { execution, checkpoints });
        }
        let (scope, execution) = (run.scope, run.execution.clone());
        // What is not at rest is handed on by being dropped.
        drop(run);
        self.settle(scope, execution, until).await
    }

    /// Waits until an execution has ended or waits for a person, but not for ever.
    pub(crate) async fn settle(
        &self,
        scope: TenantScope,
        execution: Execution,
        until: Instant,
    ) -> Result<Standing, Error> {
        let mut listener = self.0.bus.listen();
        let mut standing = self.with_checkpoints(scope, execution).await?;
        while !has_settled(&standing) && Instant::now() < until {
            let id = standing.execution.id;
            loop {
                let moved = async {
                    loop {
                        match listener.next().await {
                            Heard::Signal(Signal::ExecutionMoved(_)) | Heard::Missed => break,
                            Heard::Signal(_) => {}
                            Heard::Closed => std::future::pending().await,
                        }
                    }
                };
                // Whether a signal came or the time is up, one looks.
                let left = until.saturating_duration_since(Instant::now());
                let _ = tokio::time::timeout(left.min(LOOK_EVERY), moved).await;
                if Instant::now() >= until || has_settled(&self.glance(scope, id).await?) {
                    break;
                }
            }
            // What is large is read once, when it is told.
            standing = self.standing(scope, id).await?;
        }
        Ok(standing)
    }
}

/// Whether an execution has ended, or waits for a person.
fn has_settled(Standing { execution, checkpoints }: &Standing) -> bool {
    let rests = execution.status == ExecutionStatus::Suspended
        && (!checkpoints.is_empty() || stands_still(execution));
    execution.status.is_final() || rests
}

/// Whether a debugger has an execution stand still.
fn stands_still(execution: &Execution) -> bool {
    execution.debugging.as_ref().and_then(Debugging::pause).is_some()
}
