//! Following a Core's log as it is written, on whichever node.
//!
//! A follower looks into the database, once a second by itself and at once when the bus says that something was written. Nodes
//! say so only of Cores that somebody follows: whoever does tells the others every few seconds.

use async_recursion::async_recursion as boxed;
use std::hash::Hash;
use std::time::Duration;

use moka::sync::Cache;
use scaigrid_bus::{Heard, Listener, Signal};
use scaigrid_cores::logs::{KeptEntry, LogPlace, LogPosition};
use scaigrid_persistence::logs;
use scaigrid_scope::{CoreId, TenantScope};

use super::LogQuery;
use crate::{Engine, Error};

/// Without a signal, the log is looked into this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long something counts as followed after somebody has said so, and how often that is said.
const FOLLOWED: Duration = Duration::from_secs(15);
pub(super) const SAY_EVERY: Duration = Duration::from_secs(5);
/// Rows of a lane that are read at once: what a slow reader has in memory.
const ROWS: i64 = 4;
/// The most entries that a stream begins with.
const TAIL_AT_MOST: usize = 1_000;

/// What somebody follows, here or elsewhere: the logs of Cores, or executions.
pub(crate) struct Watched<Id>(Cache<Id, ()>);

impl<Id: Hash + Eq + Copy + Send + Sync + 'static> Watched<Id> {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().max_capacity(10_000).time_to_live(FOLLOWED).build())
    }

    pub(crate) fn add(&self, id: Id) {
        self.0.insert(id, ());
    }

    pub(crate) fn has(&self, id: Id) -> bool {
        self.0.contains_key(&id)
    }
}

/// An entry, and how far the log has been read with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Followed {
    /// The entry.
    pub kept: KeptEntry,
    /// Where to go on after it.
    pub position: LogPosition,
}

/// Somebody who follows a log.
pub struct LogFollower {
    engine: Engine,
    scope: TenantScope,
    core: CoreId,
    position: LogPosition,
    listener: Listener,
    /// When the others were told last.
    said: Option<tokio::time::Instant>,
}

impl Engine {
    /// Follows a Core's log from a position on; without one from its end, or from so many entries before it.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn follow_logs(
        &self,
        scope: TenantScope,
        core: CoreId,
        from: Option<LogPosition>,
        tail: usize,
    ) -> Result<LogFollower, Error> {
        // Before the first look: what is written after it is heard of.
        let listener = self.0.bus.listen();
        let position = match from {
            Some(position) => position,
            None => self.end_of_log(scope, core, tail.min(TAIL_AT_MOST)).await?,
        };
        let mut follower = LogFollower { engine: self.clone(), scope, core, position, listener, said: None };
        follower.say();
        Ok(follower)
    }

    /// The position before the last entries.
    async fn end_of_log(&self, scope: TenantScope, core: CoreId, tail: usize) -> Result<LogPosition, Error> {
        let mut connection = self.0.database.read().await?;
        let ends = logs::lanes(&mut connection, scope, core).await?;
        drop(connection);
        let mut position = LogPosition::new(ends.iter().copied());
        if tail == 0 {
            return Ok(position);
        }
        let before = ends.iter().map(|end| LogPlace { number: end.number + 1, ..*end });
        let (last, _) =
            self.logs(scope, core, &LogQuery::default(), Some(LogPosition::new(before)), tail).await?;
        for kept in last {
            if kept.place.number <= position.of(kept.place.lane) {
                position.set(LogPlace { number: kept.place.number - 1, ..kept.place });
            }
        }
        Ok(position)
    }
}

impl LogFollower {
    /// Where it stands.
    pub fn position(&self) -> &LogPosition {
        &self.position
    }

    /// The next entries; waits for them for about a second, and then there may be none.
    ///
    /// # Errors
    /// The database's; [`Error::NoCore`] once the Core is gone.
    #[boxed]
    pub async fn next(&mut self) -> Result<Vec<Followed>, Error> {
        let found = self.look().await?;
        if !found.is_empty() {
            return Ok(found);
        }
        self.say();
        let (listener, core) = (&mut self.listener, self.core);
        let written = async {
            loop {
                match listener.next().await {
                    Heard::Signal(Signal::CoreLogged(id) | Signal::CoreChanged(id)) if id == core => return,
                    Heard::Signal(_) => {}
                    Heard::Missed => return,
                    Heard::Closed => std::future::pending().await,
                }
            }
        };
        // Whether a signal came or the time is up, one looks.
        let _ = tokio::time::timeout(LOOK_EVERY, written).await;
        let found = self.look().await?;
        if found.is_empty() {
            self.engine.require_core(self.scope, self.core).await?;
        }
        Ok(found)
    }

    /// Tells the nodes that somebody follows, now and then.
    fn say(&mut self) {
        let now = tokio::time::Instant::now();
        if self.said.is_none_or(|said| now.duration_since(said) >= SAY_EVERY) {
            self.said = Some(now);
            self.engine.0.watched.add(self.core);
            self.engine.0.bus.publish(Signal::CoreFollowed(self.core));
        }
    }

    /// What has been written since the last look. The lanes are read each as far as it was when one looked: within a lane
    /// nothing can come before what is there.
    async fn look(&mut self) -> Result<Vec<Followed>, Error> {
        let mut connection = self.engine.0.database.read().await?;
        let mut found: Vec<KeptEntry> = Vec::new();
        for end in logs::lanes(&mut connection, self.scope, self.core).await? {
            let read = self.position.of(end.lane);
            if end.number <= read {
                continue;
            }
            let place = LogPlace { lane: end.lane, number: read };
            let chunks = logs::after(&mut connection, self.scope, self.core, place, ROWS).await?;
            if chunks.is_empty() {
                // What was there has been deleted.
                self.position.set(end);
            }
            let entries = chunks.into_iter().flat_map(|chunk| chunk.entries);
            found.extend(entries.filter(|kept| kept.place.number > read));
        }
        drop(connection);
        // Each lane is in order; the sort keeps it, also where a clock went back.
        let mut latest = std::collections::HashMap::new();
        let mut keyed: Vec<_> = found
            .into_iter()
            .map(|kept| {
                let at = latest.entry(kept.place.lane).or_insert(kept.entry.at);
                *at = (*at).max(kept.entry.at);
                (*at, kept)
            })
            .collect();
        keyed.sort_by_key(|(at, _)| *at);
        let followed = keyed.into_iter().map(|(_, kept)| {
            self.position.set(kept.place);
            Followed { kept, position: self.position.clone() }
        });
        Ok(followed.collect())
    }
}
