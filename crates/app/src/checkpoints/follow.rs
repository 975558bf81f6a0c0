//! Following one's inbox, on whichever node.
//!
//! A follower looks once a second for checkpoints of the tenant that were changed. What becomes durable late may bear an instant
//! that has passed; so what has changed within the last half minute is looked at again, and a position remembers what of that
//! was told. It goes with every event, and whoever comes back with it misses nothing and hears nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use scaigrid_checkpoints::{Access, Checkpoint, CheckpointStatus, assignees_of};
use scaigrid_persistence::checkpoints::changes::{self, Changed};
use scaigrid_persistence::checkpoints::{self, CheckpointFilter, StoredCheckpoint};
use scaigrid_scope::{Authorized, CheckpointId, Instant, Principal, TenantScope, perm};

use crate::modules::TunnelPlace;
use crate::{App, Error};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How late something may become durable after the instant that it bears.
const LATE: Duration = Duration::from_secs(30);
/// Changes that are looked at, and told, at once.
const LOOKED_AT: i64 = 500;
const TOLD_AT_ONCE: usize = 50;
/// How often it is looked in a row while there is more to look at and nothing to tell; and the pause behind that.
const LOOKS: usize = 8;
const BREATH: Duration = Duration::from_millis(100);
/// How long a follower is told nothing of how far was looked: whoever comes back after a quiet month need not begin there.
const SILENCE: Duration = Duration::from_mins(1);
/// What a position remembers at most: it goes in a header. Where more is changed, less late news is waited for.
const REMEMBERED: usize = 100;
/// What waits already, when a stream begins: the newest of it.
const WAITING: i64 = 200;

/// How far an inbox was followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxPosition {
    /// What was changed before this instant was told.
    until: Instant,
    /// Of what was changed at that very instant, what comes up to this in the order of ids was told as well.
    behind: Option<CheckpointId>,
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
        if let Some(behind) = self.behind {
            write!(f, "-{behind}")?;
        }
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
        let mark = parts.next().unwrap_or_default();
        let (until, behind) = mark.split_once('-').map_or((mark, None), |(until, id)| (until, Some(id)));
        let until = until.parse::<i64>().ok().filter(|until| *until >= 0);
        let behind = behind.map(str::parse::<CheckpointId>).transpose().map_err(|_| UnknownPosition)?;
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
        Ok(Self { until: Instant::from_micros(until.ok_or(UnknownPosition)?), behind, told })
    }
}

impl InboxPosition {
    fn at(until: Instant) -> Self {
        Self { until, behind: None, told: BTreeSet::new() }
    }

    /// From where on changes are looked for.
    const fn mark(&self) -> (Instant, Option<CheckpointId>) {
        (self.until, self.behind)
    }

    fn place(&self, id: CheckpointId, at: Instant) -> (i64, u32) {
        (at.micros().saturating_sub(self.until.micros()), print(id))
    }

    fn has(&self, id: CheckpointId, at: Instant) -> bool {
        let passed = at == self.until && self.behind.is_some_and(|behind| id <= behind);
        at < self.until || passed || self.told.contains(&self.place(id, at))
    }

    /// Notes that something was told, and all that is to be seen of what comes before it. What is settled cannot become durable
    /// late, so that nothing of it has to be remembered one by one.
    fn remember(&mut self, (id, at): (CheckpointId, Instant), settled: Instant) {
        self.move_to(at.min(settled));
        if self.has(id, at) {
            return;
        }
        self.told.insert(self.place(id, at));
        while self.told.len() > REMEMBERED {
            let place = self.place(id, at).0;
            if let Some(after) = self.told.first().map(|(after, _)| *after).filter(|after| *after < place) {
                let next = self.until.micros().saturating_add(after).saturating_add(1);
                self.move_to(Instant::from_micros(next));
            } else {
                // So much at one instant: what comes behind this is yet to be told.
                self.pass(id, at);
                self.told.retain(|(after, _)| *after > 0);
            }
        }
    }

    /// Forgets what was told before an instant: nothing from before it is looked at again.
    fn move_to(&mut self, until: Instant) {
        let by = until.micros().saturating_sub(self.until.micros());
        if by <= 0 {
            return;
        }
        self.until = until;
        self.behind = None;
        let told = std::mem::take(&mut self.told).into_iter();
        self.told =
            told.filter(|(after, _)| *after >= by).map(|(after, print)| (after - by, print)).collect();
    }

    /// Goes on behind something: nothing up to it is looked at again.
    fn pass(&mut self, id: CheckpointId, at: Instant) {
        self.move_to(at);
        if self.until == at {
            self.behind = self.behind.max(Some(id));
        }
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

/// What a follower is told at once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InboxPiece {
    /// What has happened.
    pub events: Vec<InboxEvent>,
    /// How far was looked, where that is worth saying though nothing has happened.
    pub looked: Option<InboxPosition>,
}

/// Somebody who follows their inbox.
pub struct InboxFollower {
    app: App,
    scope: TenantScope,
    position: InboxPosition,
    /// What waits already, yet to be told.
    begun: bool,
    /// When they were last told anything.
    told_at: Instant,
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
        let told_at = self.now();
        let position = from.unwrap_or_else(|| InboxPosition::at(before(told_at)));
        let scope = by.tenant_scope();
        Ok((InboxFollower { app: self.clone(), scope, position, begun, told_at }, place))
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
    pub async fn next(&mut self, principal: &Principal) -> Result<InboxPiece, Error> {
        if !self.begun {
            let waiting = self.begin(principal).await?;
            self.begun = true;
            if !waiting.is_empty() {
                return Ok(self.piece(waiting));
            }
        }
        for _ in 0..LOOKS {
            let (found, more) = self.look(principal).await?;
            if !found.is_empty() {
                return Ok(self.piece(found));
            }
            if !more {
                tokio::time::sleep(LOOK_EVERY).await;
                let found = self.look(principal).await?.0;
                return Ok(self.piece(found));
            }
        }
        // Much has changed that is none of theirs: whoever leaves now need not look through it again, and others have their turn.
        tokio::time::sleep(BREATH).await;
        self.told_at = self.app.now();
        Ok(InboxPiece { events: Vec::new(), looked: Some(self.position.clone()) })
    }

    fn piece(&mut self, events: Vec<InboxEvent>) -> InboxPiece {
        let now = self.app.now();
        let silent = events.is_empty();
        if silent && now < self.told_at.plus(SILENCE) {
            return InboxPiece::default();
        }
        self.told_at = now;
        InboxPiece { events, looked: silent.then(|| self.position.clone()) }
    }

    /// What waits, oldest first. What was changed lately has been told with it.
    async fn begin(&mut self, principal: &Principal) -> Result<Vec<InboxEvent>, Error> {
        let mut connection = self.app.0.database.read().await?;
        // Before the list: what is changed in between is in it, and is told once more.
        let lately = changes::since(&mut connection, self.scope, self.position.mark(), LOOKED_AT).await?;
        let filter = CheckpointFilter {
            status: Some(CheckpointStatus::Pending),
            assignees: Some(assignees_of(principal)),
            open_to: Some(principal.user_id()),
            ..CheckpointFilter::default()
        };
        let mut waiting = checkpoints::list(&mut connection, self.scope, &filter, None, WAITING).await?;
        drop(connection);
        let mine = spelled(principal);
        for one in lately.iter().filter(|one| may_concern(&mine, one)) {
            self.position.remember((one.id, one.at), self.position.until);
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
        let changed = changes::since(&mut connection, self.scope, self.position.mark(), LOOKED_AT).await?;
        let full = i64::try_from(changed.len()).is_ok_and(|count| count >= LOOKED_AT);
        let mine = spelled(principal);
        let fresh =
            changed.iter().filter(|one| may_concern(&mine, one) && !self.position.has(one.id, one.at));
        let fresh: Vec<(CheckpointId, Instant)> =
            fresh.take(TOLD_AT_ONCE).map(|one| (one.id, one.at)).collect();
        let ids: Vec<CheckpointId> = fresh.iter().map(|(id, _)| *id).collect();
        let found = changes::named(&mut connection, self.scope, &ids).await?;
        drop(connection);
        let mut found: BTreeMap<CheckpointId, StoredCheckpoint> =
            found.into_iter().map(|stored| (stored.checkpoint.id, stored)).collect();
        let mut events = Vec::new();
        for (id, at) in fresh.iter().copied() {
            self.position.remember((id, at), settled);
            // What was changed once more in between is told when its turn comes.
            let stored = found.remove(&id).filter(|stored| stored.checkpoint.updated_at == at);
            let Some(stored) = stored.filter(|stored| concerns(principal, stored)) else { continue };
            let waits = waits_for(principal, &stored.checkpoint);
            let position = Some(self.position.clone());
            events.push(InboxEvent { checkpoint: stored, waits, position });
        }
        let all = fresh.len() < TOLD_AT_ONCE;
        match changed.last().filter(|_| full) {
            _ if !all => {}
            // Where there is more than one look shows, it goes on behind that.
            Some(last) => self.position.pass(last.id, last.at),
            None => self.position.move_to(settled),
        }
        Ok((events, full || !all))
    }
}

/// Everybody that somebody is, as checkpoints spell whom they ask.
fn spelled(principal: &Principal) -> BTreeSet<String> {
    assignees_of(principal).iter().map(ToString::to_string).collect()
}

/// Whether a change can concern one of those, as far as that is seen without reading the checkpoint.
fn may_concern(mine: &BTreeSet<String>, changed: &Changed) -> bool {
    changed.moved || mine.contains(&changed.asks)
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
        position.remember((id(1), at(5)), at(0));
        position.remember((id(2), at(7)), at(0));
        assert!(position.has(id(1), at(5)) && !position.has(id(2), at(5)) && !position.has(id(1), at(6)));
        assert_eq!(position.to_string().parse(), Ok(position.clone()));
        position.move_to(at(6));
        assert!(position.has(id(9), at(5)) && position.has(id(2), at(7)) && !position.has(id(9), at(7)));
        position.move_to(at(3));
        assert_eq!(position.until, at(6), "it does not go back");
        for text in ["", "x", "-1", "1-", "1-x", "1.", "1.5", "1.-5-1", "1.5-x", "1.5-1-"] {
            assert_eq!(text.parse::<InboxPosition>(), Err(UnknownPosition), "{text}");
        }
    }

    #[test]
    fn of_many_changes_at_one_instant_each_is_told_once() {
        let at = |micros: i64| Instant::from_micros(1_000_000 + micros);
        let changed = (1..=350).map(|number| (id(number), at(5)));
        let changed: Vec<_> = changed.chain((1..=70).map(|number| (id(number), at(6)))).collect();
        let mut position = InboxPosition::at(at(0));
        let mut told = Vec::new();
        loop {
            let fresh = changed.iter().copied().filter(|(id, at)| !position.has(*id, *at));
            let fresh: Vec<_> = fresh.take(TOLD_AT_ONCE).collect();
            if fresh.is_empty() {
                break;
            }
            for one in fresh {
                position.remember(one, at(0));
                told.push(one);
                // Whoever comes back with any of the ids goes on in the same way.
                position = position.to_string().parse().unwrap();
            }
        }
        assert_eq!(told, changed);
    }

    #[test]
    fn what_is_settled_is_not_remembered_one_by_one() {
        let begun = 1_800_000_000_000_000;
        let mut position = InboxPosition::at(Instant::from_micros(0));
        for number in 0..100 {
            let at = Instant::from_micros(begun + i64::try_from(number).unwrap() * 1_000_000);
            position.remember((id(number), at), Instant::from_micros(begun + 500_000_000));
            assert!(position.has(id(number), at) && position.told.len() == 1);
        }
        assert!(position.to_string().len() < 100, "{position}");
    }

    proptest! {
        #[test]
        fn a_position_fits_a_header_and_tells_nothing_twice(times in prop::collection::vec((0..30_000_000_i64, 0..500_u128), 0..400)) {
            let begun = Instant::from_micros(1_800_000_000_000_000);
            let mut position = InboxPosition::at(begun);
            for (after, number) in times {
                let at = Instant::from_micros(begun.micros() + after);
                position.remember((id(number), at), begun);
                prop_assert!(position.has(id(number), at));
            }
            let text = position.to_string();
            prop_assert!(text.len() <= 2_048, "{}", text.len());
            prop_assert_eq!(text.parse(), Ok(position));
        }
    }
}
