//! Executions that run in a task of their own while their caller waits.

use std::time::Instant;

use scaigrid_cores::execution::{Execution, ExecutionStatus};
use scaigrid_telemetry::{current, under};
use tokio::sync::oneshot;

use crate::drive::Committed;
use crate::run::Run;
use crate::{Engine, Error};

/// Somebody who waits for an execution that runs in a task of its own.
pub(crate) struct Caller {
    /// Until when.
    pub(crate) until: Instant,
    answer: oneshot::Sender<Result<Driven, Error>>,
}

/// How far an execution came while its caller waited.
pub(crate) enum Driven {
    /// It has come to a rest, or was refused.
    Rested(Box<Run>, Committed),
    /// It is durable and goes on.
    GoesOn(Box<Execution>),
}

impl Engine {
    /// Runs an execution while its caller waits. Where its program makes calls, it runs in a task of its own.
    pub(crate) async fn drive_for(&self, mut run: Run, until: Instant) -> Result<Driven, Error> {
        if !run.program.calls_outside() {
            run.patience = Some(until);
            let committed = self.drive(&mut run).await?;
            return Ok(Driven::Rested(Box::new(run), committed));
        }
        let (answer, answered) = oneshot::channel();
        run.caller = Some(Caller { until, answer });
        let engine = self.clone();
        let request = current();
        self.0.runtime.spawn(under(request, async move {
            let (tenant, core) = (run.execution.tenant_id, run.execution.core_id);
            run.place = Some(engine.0.background.take(tenant, Some(core)).await);
            let result = engine.drive(&mut run).await;
            run.place = None;
            match run.caller.take() {
                // One that went away drops the run, which hands on what has not come to a rest.
                Some(caller) => {
                    drop(
                        caller.answer.send(result.map(|committed| Driven::Rested(Box::new(run), committed))),
                    );
                }
                None => engine.0.bus.publish(scaigrid_bus::Signal::ExecutionMoved(run.execution.id)),
            }
        }));
        answered.await.map_err(|_| Error::ShuttingDown)?
    }
}

/// Lets a caller go whose time is up, once what they asked for is durable.
pub(crate) fn tell_caller(run: &mut Run) {
    let late = run.caller.as_ref().is_some_and(|caller| caller.until <= Instant::now());
    if late
        && run.is_durable()
        && let Some(caller) = run.caller.take()
    {
        let execution = Execution { status: ExecutionStatus::Running, ..run.execution.clone() };
        drop(caller.answer.send(Ok(Driven::GoesOn(Box::new(execution)))));
    }
}
