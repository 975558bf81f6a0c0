//! Following an execution as it goes on, on whichever node.
//!
//! What is told is its journal, entry by entry, and how it stands, where that has changed since it was told. A follower asks the
//! database one short question, once a second by itself and at once when the bus says that the execution has moved; more is read
//! only where the answer is a new one. Nodes say so of executions that somebody follows: whoever does tells the others every few
//! seconds. How far somebody has heard goes with everything that is told, so that they can go on from there anywhere.
//!
//! How an execution stands is told behind the entries that have led there and before those that lead on. What has come and gone
//! between two looks is not told of it: the journal has what happened.

use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use scaigrid_bus::{Heard, Listener, Signal};
use scaigrid_cores::debugging::{Debugging, Pause};
use scaigrid_cores::execution::ExecutionStatus;
use scaigrid_cores::progress::{ExecutionPosition, fingerprint};
use scaigrid_ir::Value;
use scaigrid_persistence::executions::{self, Reached};
use scaigrid_scope::{CheckpointId, ExecutionId, Instant, TenantScope};
use serde_json::Value as Json;
use tokio::time::Instant as Moment;

use super::follow::SAY_EVERY;
use crate::journal::entries;
use crate::plugins::Masked;
use crate::{Engine, Error, HistoryEntry};

/// Without a signal, it is looked whether an execution has moved this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// While an execution waits, it is asked this often at what checkpoints, though nothing says that it has moved: what it called may
/// have.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Entries that are told at once: what a slow reader has in memory.
const PIECE: usize = 200;
/// How often it is looked again at once where an execution has moved on meanwhile.
const ROUNDS: usize = 4;

/// Something that is told of an execution.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// An entry of its journal; secrets of its Core are masked.
    Entry(HistoryEntry),
    /// Entries that are not kept any more.
    Gap {
        /// The number of the first of them.
        from: i64,
        /// The number of the last.
        to: i64,
    },
    /// How it stands.
    Standing(Box<StatusReport>),
}

/// How an execution stands.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusReport {
    /// How far it has come.
    pub status: ExecutionStatus,
    /// The checkpoints at which it, or what it called, waits.
    pub checkpoints: Vec<CheckpointId>,
    /// Where a debugger has it stand still.
    pub pause: Option<Pause>,
    /// What it returned; secrets of its Core are masked.
    pub output: Option<Json>,
    /// Why it failed; secrets of its Core are masked.
    pub error: Option<Json>,
    /// When it ended.
    pub finished_at: Option<Instant>,
}

/// Something that is told, and how far somebody has heard with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reported {
    /// What is told.
    pub what: Happening,
    /// Where to go on after it.
    pub position: ExecutionPosition,
}

/// Somebody who follows an execution.
pub struct ExecutionFollower {
    engine: Engine,
    scope: TenantScope,
    id: ExecutionId,
    position: ExecutionPosition,
    listener: Listener,
    /// When the others were told last that it is followed.
    said: Option<Moment>,
    /// Whether there is more to tell than was told last.
    due: bool,
    /// How far it was when its standing was looked at last.
    known: Option<Known>,
    ended: Option<ExecutionStatus>,
}

/// What is known of an execution whose standing was looked at.
struct Known {
    reached: Reached,
    /// Those whose checkpoints it waits at: itself, and what it called.
    family: Vec<ExecutionId>,
    /// When they were asked.
    at: Moment,
}

impl Engine {
    /// Follows an execution from its beginning, or from a position on; none where that is a position of another one.
    ///
    /// # Errors
    /// There is no such execution, or the database.
    #[boxed]
    pub async fn follow_execution(
        &self,
        scope: TenantScope,
        id: ExecutionId,
        from: Option<ExecutionPosition>,
    ) -> Result<Option<ExecutionFollower>, Error> {
        // Before the first look: what comes after it is heard of.
        let listener = self.0.bus.listen();
        let position = from.unwrap_or_default();
        let mut follower = ExecutionFollower {
            engine: self.clone(),
            scope,
            id,
            position,
            listener,
            said: None,
            due: true,
            known: None,
            ended: None,
        };
        let reached = follower.reach().await?;
        if position.next() > reached.next_seq {
            return Ok(None);
        }
        follower.say();
        Ok(Some(follower))
    }
}

impl ExecutionFollower {
    /// How far it has been told.
    pub const fn position(&self) -> ExecutionPosition {
        self.position
    }

    /// How the execution ended, once all was told.
    pub const fn ended(&self) -> Option<ExecutionStatus> {
        self.ended
    }

    /// What comes next; waits for it for about a second, and then there may be nothing.
    ///
    /// # Errors
    /// The database's; [`Error::NoExecution`] or [`Error::NoCore`] once it is gone.
    #[boxed]
    pub async fn next(&mut self) -> Result<Vec<Reported>, Error> {
        if !self.due {
            self.say();
            let family = self.known.as_ref().map(|known| known.family.as_slice()).unwrap_or_default();
            let moved = has_moved(&mut self.listener, self.id, family);
            // Whether a signal came or the time is up, one looks.
            if tokio::time::timeout(LOOK_EVERY, moved).await.is_ok() {
                self.known = None;
            }
        }
        // Where looking fails, all is still to be told.
        self.due = true;
        self.look().await
    }

    /// Tells the nodes that somebody follows, now and then.
    fn say(&mut self) {
        let now = Moment::now();
        if self.said.is_none_or(|said| now.duration_since(said) >= SAY_EVERY) {
            self.said = Some(now);
            self.engine.0.watched_executions.add(self.id);
            self.engine.0.bus.publish(Signal::ExecutionFollowed(self.id));
        }
    }

    /// How far the execution is.
    async fn reach(&self) -> Result<Reached, Error> {
        let mut connection = self.engine.0.database.read().await?;
        executions::reached(&mut connection, self.scope, self.id).await?.ok_or(Error::NoExecution)
    }

    /// What was not told yet. Nothing is noted as told before all of it has been read.
    async fn look(&mut self) -> Result<Vec<Reported>, Error> {
        let (mut position, mut reports) = (self.position, Vec::new());
        let mut reached = self.reach().await?;
        let mut settled = None;
        for _ in 0..ROUNDS {
            if position.next() < reached.next_seq {
                if self.read(&reached, &mut position, &mut reports).await? {
                    break;
                }
                reached = self.reach().await?;
                continue;
            }
            if self.known.as_ref().is_some_and(|known| known.holds(&reached)) {
                settled = self.known.take();
                break;
            }
            let (report, family) = self.report(&reached).await?;
            // It was put together of several answers, which are of one moment where nothing has moved meanwhile.
            let now = self.reach().await?;
            if now == reached {
                let pause = report.pause.as_ref();
                let print = fingerprint(report.status, &report.checkpoints, pause, report.finished_at);
                if position.told_standing(print) {
                    reports.push(Reported { what: Happening::Standing(Box::new(report)), position });
                }
                settled = Some(Known { reached: now, family, at: Moment::now() });
                break;
            }
            reached = now;
        }
        // One that does not hold still long enough is looked at again after a while.
        self.due = settled.is_none() && !reports.is_empty();
        self.position = position;
        self.ended = settled.as_ref().map(|known| known.reached.status).filter(|status| status.is_final());
        self.known = settled;
        Ok(reports)
    }

    /// Reads entries up to where the execution is, and at most a piece of them; whether there are more.
    async fn read(
        &self,
        reached: &Reached,
        position: &mut ExecutionPosition,
        reports: &mut Vec<Reported>,
    ) -> Result<bool, Error> {
        let masked = self.masked(reached).await?;
        let mut connection = self.engine.0.database.read().await?;
        let page = entries(&mut connection, self.scope, self.id, position.next(), PIECE).await?;
        drop(connection);
        let mut tell = |what: Option<HistoryEntry>, last: i64| {
            let from = position.next();
            position.told(last);
            let what = what.map_or(Happening::Gap { from, to: last }, Happening::Entry);
            reports.push(Reported { what, position: *position });
            last + 1
        };
        let mut next = None;
        for (index, HistoryEntry { seq, entry }) in page.entries.into_iter().enumerate() {
            if index == 0 && page.cut {
                next = Some(tell(None, seq));
                continue;
            }
            // The journal may be cut while it is read.
            if next.is_some_and(|next| next < seq) {
                tell(None, seq - 1);
            }
            next = Some(tell(Some(HistoryEntry { seq, entry: masked.value(entry) }), seq));
        }
        if next.is_none() {
            // Nothing is left of it.
            tell(None, reached.next_seq - 1);
        }
        Ok(page.more)
    }

    /// How the execution stands, and whose checkpoints it waits at.
    async fn report(&self, reached: &Reached) -> Result<(StatusReport, Vec<ExecutionId>), Error> {
        let mut report = StatusReport {
            status: reached.status,
            checkpoints: Vec::new(),
            pause: reached.debugging.as_ref().and_then(Debugging::pause).cloned(),
            output: None,
            error: None,
            finished_at: reached.finished_at,
        };
        let mut family = Vec::new();
        if reached.status == ExecutionStatus::Suspended {
            (report.checkpoints, family) = self.engine.waited_at(self.scope, self.id).await?;
        }
        if reached.status.is_final() {
            let masked = self.masked(reached).await?;
            let mut connection = self.engine.0.database.read().await?;
            let execution = executions::lookup(&mut connection, self.scope, self.id).await?;
            let execution = execution.ok_or(Error::NoExecution)?;
            let shown = |value: Value| masked.value(value.to_json());
            report.output = execution.output.map(shown);
            report.error = execution.error.map(shown);
        }
        Ok((report, family))
    }

    async fn masked(&self, reached: &Reached) -> Result<Arc<Masked>, Error> {
        let hosted = self.engine.hosted(self.scope, reached.core_id).await?;
        Ok(Arc::clone(&hosted.inside.masked))
    }
}

impl Known {
    /// Whether the standing needs no other look.
    fn holds(&self, reached: &Reached) -> bool {
        self.reached == *reached
            && (reached.status != ExecutionStatus::Suspended || self.at.elapsed() < ASK_EVERY)
    }
}

/// Waits until an execution, or one of those that it waits for, may have moved.
async fn has_moved(listener: &mut Listener, id: ExecutionId, family: &[ExecutionId]) {
    loop {
        match listener.next().await {
            Heard::Signal(Signal::ExecutionMoved(moved)) if moved == id || family.contains(&moved) => return,
            Heard::Signal(_) => {}
            Heard::Missed => return,
            Heard::Closed => std::future::pending().await,
        }
    }
}
