//! Following a Core's log as it is written, on whichever node.
//!
//! A follower looks into the database, once a second by itself and at once when the bus says that something was written; those
//! of one log on one node together ([`super::audience`]). Nodes say so only of Cores that somebody follows: whoever does tells
//! the others every few seconds.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use moka::sync::Cache;
use scaigrid_bus::Signal;
use scaigrid_cores::logs::{KeptEntry, LogPlace, LogPosition};
use scaigrid_persistence::logs;
use scaigrid_scope::{CoreId, TenantScope};
use tokio::sync::watch;

use super::LogQuery;
use super::audience::Audience;
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
    /// All who follow it on this node.
    audience: Arc<Audience>,
    news: watch::Receiver<()>,
    /// Whether it has looked.
    looked: bool,
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
        let audience = self.0.audiences.of(self, scope, core);
        let news = audience.news();
        let position = match from {
            Some(position) => position,
            None => self.end_of_log(scope, core, tail.min(TAIL_AT_MOST)).await?,
        };
        let follower =
            LogFollower { engine: self.clone(), scope, core, position, audience, news, looked: false };
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
        // What has been written before it began is not heard of.
        let found = self.look(!self.looked).await?;
        self.looked = true;
        if !found.is_empty() {
            return Ok(found);
        }
        self.say();
        // Whether there are news or the time is up, one looks.
        let news = tokio::time::timeout(LOOK_EVERY, self.news.changed()).await;
        let found = self.look(news.is_ok()).await?;
        if found.is_empty() {
            self.engine.require_core(self.scope, self.core).await?;
        }
        Ok(found)
    }

    /// Tells the nodes that somebody follows, now and then.
    fn say(&self) {
        if self.audience.is_to_say(SAY_EVERY) {
            self.engine.0.watched.add(self.core);
            self.engine.0.bus.publish(Signal::CoreFollowed(self.core));
        }
    }

    /// What has been written since the last look. The lanes are read each as far as it was when one looked: within a lane
    /// nothing can come before what is there.
    async fn look(&mut self, fresh: bool) -> Result<Vec<Followed>, Error> {
        let mut found: Vec<KeptEntry> = Vec::new();
        for (end, entries) in self.audience.beyond(&self.engine, &self.position, fresh, ROWS).await? {
            if entries.is_empty() {
                // What was there has been deleted.
                self.position.set(end);
            }
            found.extend(entries.iter().cloned());
        }
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
