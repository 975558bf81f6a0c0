//! Following one's inbox, on whichever node.
//!
//! A follower looks once a second for checkpoints of the tenant that were changed. What becomes durable late may bear an instant
//! that has passed; so what has changed within the last half minute is looked at again, and a position remembers what of that
//! was told. It goes with every event, and whoever comes back with it misses nothing and hears nothing twice.

use async_recursion::async_recursion as boxed;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use scaigrid_checkpoints::{Access, Checkpoint, CheckpointStatus, assignees_of};
use scaigrid_persistence::checkpoints::{self, CheckpointFilter, StoredCheckpoint, changes};
use scaigrid_scope::{Authorized, CheckpointId, Instant, Principal, TenantScope, perm};

use crate::modules::TunnelPlace;
use crate::{App, Error};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How late something may become durable after the instant that it bears.
const LATE: Duration = Duration::from_secs(30);
/// Changes that are looked at, and told, at once.
const CHANGES: i64 = 200;
const TOLD_AT_ONCE: usize = 50;
/// What a position remembers at most: it goes in a header. Where more is changed, less late news is waited for.
const REMEMBERED: usize = 100;
/// What waits already, when a stream begins: the newest of it.
const WAITING: i64 = 200;

/// How far an inbox was followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxPosition {
    /// What was changed before this instant was told.
    until: Instant,
    /// What was changed since, and was told: when, in microseconds after it, and which.
    told: BTreeSet<(i64, u32)>,
}

/// A text that is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be the id of an event of this stream")]
pub struct UnknownPosition;

impl fmt::Display for InboxPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.until.micros())?;
        for (after, print) in &self.told {
            write!(f, ".{after:x}-{print:x}")?;
        }
        Ok(())
    }
}

impl FromStr for InboxPosition {
    type Err = UnknownPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.');
        let until = parts.next().and_then(|until| until.parse::<i64>().ok()).filter(|until| *until >= 0);
        let told = parts.map(|part| {
            let (after, print) = part.split_once('-').ok_or(UnknownPosition)?;
            let after = i64::from_str_radix(after, 16).ok().filter(|after| *after >= 0);
            let print = u32::from_str_radix(print, 16).ok();
            Ok((after.ok_or(UnknownPosition)?, print.ok_or(UnknownPosition)?))
        });
        let told = told.collect::<Result<BTreeSet<_>, UnknownPosition>>()?;
        if told.len() > REMEMBERED {
            return Err(UnknownPosition);
        }
        Ok(Self { until: Instant::from_micros(until.ok_or(UnknownPosition)?), told })
    }
}

impl InboxPosition {
    fn at(until: Instant) -> Self {
        Self { until, told: BTreeSet::new() }
    }

    fn place(&self, id: CheckpointId, at: Instant) -> (i64, u32) {
        (at.micros().saturating_sub(self.until.micros()), print(id))
    }

    fn has(&self, id: CheckpointId, at: Instant) -> bool {
        at < self.until || self.told.contains(&self.place(id, at))
    }

    fn remember(&mut self, id: CheckpointId, at: Instant) {
        if at >= self.until {
            self.told.insert(self.place(id, at));
        }
        while self.told.len() > REMEMBERED {
            let Some((after, _)) = self.told.pop_first() else { break };
            self.move_to(Instant::from_micros(self.until.micros().saturating_add(after).saturating_add(1)));
        }
    }

    /// Forgets what was told before an instant: nothing from before it is looked at again.
    fn move_to(&mut self, until: Instant) {
        let by = until.micros().saturating_sub(self.until.micros());
        if by <= 0 {
            return;
        }
        self.until = until;
        let told = std::mem::take(&mut self.told).into_iter();
        self.told =
            told.filter(|(after, _)| *after >= by).map(|(after, print)| (after - by, print)).collect();
    }
}

/// FNV-1a, 32 bits: tells the few checkpoints that were changed in the same microsecond from each other.
fn print(id: CheckpointId) -> u32 {
    let bytes = id.ulid().0.to_be_bytes();
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Something that happened to an inbox.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxEvent {
    /// The checkpoint as it stands.
    pub checkpoint: StoredCheckpoint,
    /// Whether it waits for the follower.
    pub waits: bool,
    /// Where to go on after it; none within what a stream begins with, which is told anew to whoever comes back from there.
    pub position: Option<InboxPosition>,
}

/// Somebody who follows their inbox.
pub struct InboxFollower {
    app: App,
    scope: TenantScope,
    position: InboxPosition,
    /// What waits already, yet to be told.
    begun: bool,
}

impl App {
    /// Follows the caller's inbox from a position on; without one it begins with what waits.
    ///
    /// # Errors
    /// Too many streams are open.
    pub fn follow_inbox(
        &self,
        by: &Authorized<perm::CoresView>,
        from: Option<InboxPosition>,
    ) -> Result<(InboxFollower, TunnelPlace), Error> {
        let place = self.stream_place(by)?;
        let begun = from.is_some();
        let position = from.unwrap_or_else(|| InboxPosition::at(before(self.now())));
        Ok((InboxFollower { app: self.clone(), scope: by.tenant_scope(), position, begun }, place))
    }
}

/// The instant before which nothing more becomes durable.
fn before(now: Instant) -> Instant {
    Instant::from_micros(now.micros().saturating_sub(i64::try_from(LATE.as_micros()).unwrap_or(i64::MAX)))
}

impl InboxFollower {
    /// The next events; waits for them for about a second, and then there may be none. Whoever follows is asked for each time,
    /// for what they may do changes.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn next(&mut self, principal: &Principal) -> Result<Vec<InboxEvent>, Error> {
        if !self.begun {
            let waiting = self.begin(principal).await?;
            self.begun = true;
            if !waiting.is_empty() {
                return Ok(waiting);
            }
        }
        loop {
            let (found, more) = self.look(principal).await?;
            if !found.is_empty() {
                return Ok(found);
            }
            if !more {
                break;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(self.look(principal).await?.0)
    }

    /// What waits, oldest first. What was changed lately has been told with it.
    async fn begin(&mut self, principal: &Principal) -> Result<Vec<InboxEvent>, Error> {
        let mut connection = self.app.0.database.read().await?;
        // Before the list: what is changed in between is in it, and is told once more.
        let mut lately = changes::since(&mut connection, self.scope, self.position.until, CHANGES).await?;
        let filter = CheckpointFilter {
            status: Some(CheckpointStatus::Pending),
            assignees: Some(assignees_of(principal)),
            open_to: Some(principal.user_id()),
            ..CheckpointFilter::default()
        };
        let mut waiting = checkpoints::list(&mut connection, self.scope, &filter, None, WAITING).await?;
        drop(connection);
        lately.truncate(usize::try_from(CHANGES).unwrap_or(usize::MAX));
        for (id, at) in lately {
            self.position.remember(id, at);
        }
        waiting.reverse();
        let last = waiting.len().saturating_sub(1);
        let events = waiting.into_iter().enumerate().map(|(index, checkpoint)| InboxEvent {
            checkpoint,
            waits: true,
            position: (index == last).then(|| self.position.clone()),
        });
        Ok(events.collect())
    }

    /// What has changed, and whether there is more to look at.
    async fn look(&mut self, principal: &Principal) -> Result<(Vec<InboxEvent>, bool), Error> {
        let settled = before(self.app.now());
        let mut connection = self.app.0.database.read().await?;
        let changed = changes::since(&mut connection, self.scope, self.position.until, CHANGES).await?;
        let full = i64::try_from(changed.len()).is_ok_and(|count| count >= CHANGES);
        let fresh = changed.iter().filter(|(id, at)| !self.position.has(*id, *at));
        let fresh: Vec<(CheckpointId, Instant)> = fresh.take(TOLD_AT_ONCE).copied().collect();
        let ids: Vec<CheckpointId> = fresh.iter().map(|(id, _)| *id).collect();
        let found = changes::named(&mut connection, self.scope, &ids).await?;
        drop(connection);
        let mut events = Vec::new();
        for stored in found {
            let checkpoint = &stored.checkpoint;
            // As it stands now, which may be later than what was seen of it.
            self.position.remember(checkpoint.id, checkpoint.updated_at);
            if !concerns(principal, &stored) {
                continue;
            }
            let waits = waits_for(principal, checkpoint);
            let position = Some(self.position.clone());
            events.push(InboxEvent { checkpoint: stored, waits, position });
        }
        for (id, at) in fresh.iter().copied() {
            self.position.remember(id, at);
        }
        let all = ids.len() < TOLD_AT_ONCE;
        if all {
            // All of it was told. Where there is more than one look shows, it goes on behind that.
            let seen = changed.last().map(|(_, at)| *at).filter(|_| full);
            self.position.move_to(seen.map_or(settled, |seen| seen.max(settled)));
        }
        Ok((events, full || !all))
    }
}

/// Whether a checkpoint asks somebody, or once did.
fn concerns(principal: &Principal, stored: &StoredCheckpoint) -> bool {
    let mine = assignees_of(principal);
    let asked = |text: &str| mine.iter().any(|assignee| assignee.to_string() == text);
    mine.contains(&stored.checkpoint.routing.assignee)
        || stored
            .between
            .iter()
            .any(|event| event.details.get("from").and_then(|it| it.as_str()).is_some_and(asked))
}

/// Whether a checkpoint is in somebody's inbox.
fn waits_for(principal: &Principal, checkpoint: &Checkpoint) -> bool {
    let user = principal.user_id();
    checkpoint.status() == CheckpointStatus::Pending
        && checkpoint.access(principal) != Access::Hidden
        && !checkpoint.rules.excluded.contains(&user)
        && checkpoint.votes.iter().all(|vote| vote.by != user)
        && assignees_of(principal).contains(&checkpoint.routing.assignee)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u128) -> CheckpointId {
        CheckpointId::from_ulid(ulid::Ulid(number))
    }

    #[test]
    fn a_position_remembers_what_was_told_of_late() {
        let at = |micros: i64| Instant::from_micros(1_000_000 + micros);
        let mut position = InboxPosition::at(at(0));
        assert!(position.has(id(1), at(-1)) && !position.has(id(1), at(0)));
        position.remember(id(1), at(5));
        position.remember(id(2), at(7));
        assert!(position.has(id(1), at(5)) && !position.has(id(2), at(5)) && !position.has(id(1), at(6)));
        assert_eq!(position.to_string().parse(), Ok(position.clone()));
        position.move_to(at(6));
        assert!(position.has(id(9), at(5)) && position.has(id(2), at(7)) && !position.has(id(9), at(7)));
        position.move_to(at(3));
        assert_eq!(position.until, at(6), "it does not go back");
        for text in ["", "x", "-1", "1.", "1.5", "1.-5-1", "1.5-x", "1.5-1-"] {
            assert_eq!(text.parse::<InboxPosition>(), Err(UnknownPosition), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_position_fits_a_header_and_tells_nothing_twice(times in prop::collection::vec((0..30_000_000_i64, 0..500_u128), 0..400)) {
            let begun = Instant::from_micros(1_800_000_000_000_000);
            let mut position = InboxPosition::at(begun);
            for (after, number) in times {
                let at = Instant::from_micros(begun.micros() + after);
                position.remember(id(number), at);
                prop_assert!(position.has(id(number), at));
            }
            let text = position.to_string();
            prop_assert!(text.len() <= 2_048, "{}", text.len());
            prop_assert_eq!(text.parse(), Ok(position));
        }
    }
}
