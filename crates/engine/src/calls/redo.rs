//! Doing an execution again from what is durable, around its calls.
//!
//! A commit can be refused, as somebody else has changed the same memory, or fail with the database. What the machine did since
//! the last one is worth nothing then; what calls gave in the meantime is, and so are those that are under way.

use std::time::Duration;

use scaigrid_cores::execution::ExecutionStatus;

use super::attend::deliver;
use crate::run::{Done, Run};
use crate::{Engine, Error};

/// The pause before another look at a database that fails, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));
/// How long a database may be away before the calls are given up.
const PATIENCE: Duration = Duration::from_mins(10);

impl Engine {
    /// Puts an execution back to where it is durable, and gives it again what its calls gave. False when it is not this node's any more.
    pub(crate) async fn redo(&self, run: &mut Run) -> Result<bool, Error> {
        run.calls.redone += 1;
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..=u64::from(run.calls.redone)))).await;
        let (begun, mut pause) = (tokio::time::Instant::now(), PAUSES.0);
        loop {
            match self.put_back(run).await {
                Err(error) if error.is_passing() && begun.elapsed() < PATIENCE => {
                    tracing::warn!(%error, execution = %run.execution.id, "an execution waits for the database");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
                other => return other,
            }
        }
    }

    async fn put_back(&self, run: &mut Run) -> Result<bool, Error> {
        let Some(stored) = self.load(run.scope, run.execution.id).await? else { return Ok(false) };
        let ours = stored.execution.status == ExecutionStatus::Running
            && stored.owner == Some(self.node())
            && stored.epoch == run.epoch;
        if !ours {
            return Ok(false);
        }
        let Some(durable) = self.restore(run.scope, stored).await? else { return Ok(false) };
        run.machine = durable.machine;
        run.timed = durable.timed;
        run.execution = durable.execution;
        run.next_seq = durable.next_seq;
        run.unsnapped = durable.unsnapped;
        run.done = Done::default();
        // What was asked for since is asked for again.
        run.calls.wanted.retain(|wanted| wanted.durable);
        run.calls.held_back = false;
        for (id, outcome) in run.calls.fresh.clone() {
            deliver(run, id, outcome);
        }
        self.take_inbox(run).await?;
        // What the undone steps had given up is in doubt.
        run.unrecorded = durable.unrecorded;
        self.recover_calls(run).await?;
        Ok(true)
    }
}
