//! All who follow the log of one Core on this node, together: what one of them finds out, the others need not ask for.
//!
//! One task listens to the bus for all of them. Of those who are woken at the same time one asks the database how far the log
//! goes, and one reads what is new; the others wait for it. Nobody is told what was found before they wanted to know, unless
//! they look without having been woken: then it may be a moment old.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use scaigrid_bus::{Heard, Listener, Signal};
use scaigrid_cores::logs::{KeptEntry, LogPlace, LogPosition};
use scaigrid_persistence::logs;
use scaigrid_scope::{CoreId, TenantId, TenantScope};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{Engine, Error};

/// How old what is known may be for whoever was not woken.
const RECENT: Duration = Duration::from_millis(500);
/// How long entries are kept for others, who are about to read them too. What is deleted is told nobody after that.
const KEPT: Duration = Duration::from_secs(3);
/// How many pieces of the log are kept.
const PIECES: usize = 4;
/// How soon a listener notices that nobody follows any more.
const LEFT_ALONE: Duration = Duration::from_secs(5);

/// The audiences of this node.
#[derive(Default)]
pub(crate) struct Audiences(Mutex<HashMap<(TenantId, CoreId), Weak<Audience>>>);

/// All who follow one log.
pub(super) struct Audience {
    scope: TenantScope,
    core: CoreId,
    /// How often somebody has wanted to look.
    asked: AtomicU64,
    known: tokio::sync::Mutex<Known>,
    /// Changed when something was written.
    news: watch::Sender<()>,
    /// When other nodes were told last that somebody follows.
    said: Mutex<Option<Instant>>,
}

/// What was found last.
#[derive(Default)]
struct Known {
    /// Whoever had wanted to look by then is answered by it.
    covers: u64,
    looked: Option<Instant>,
    /// The lanes, each with its last number.
    ends: Vec<LogPlace>,
    pieces: VecDeque<Piece>,
}

/// Entries that follow a place in their lane.
struct Piece {
    from: LogPlace,
    read: Instant,
    entries: Arc<[KeptEntry]>,
}

impl Known {
    fn answers(&self, ticket: u64, fresh: bool) -> bool {
        let recent = || self.looked.is_some_and(|looked| looked.elapsed() < RECENT);
        self.covers >= ticket || (!fresh && recent())
    }

    fn piece(&self, from: LogPlace) -> Option<Arc<[KeptEntry]>> {
        let piece = self.pieces.iter().find(|piece| piece.from == from && piece.read.elapsed() < KEPT)?;
        Some(Arc::clone(&piece.entries))
    }

    fn keep(&mut self, from: LogPlace, entries: &Arc<[KeptEntry]>) {
        self.pieces.retain(|piece| piece.from != from && piece.read.elapsed() < KEPT);
        self.pieces.truncate(PIECES - 1);
        if !entries.is_empty() {
            self.pieces.push_front(Piece { from, read: Instant::now(), entries: Arc::clone(entries) });
        }
    }
}

impl Audiences {
    /// Those who follow the log of a Core; what is written from now on wakes them.
    pub(super) fn of(&self, engine: &Engine, scope: TenantScope, core: CoreId) -> Arc<Audience> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (scope.tenant_id(), core);
        if let Some(audience) = open.get(&key).and_then(Weak::upgrade) {
            return audience;
        }
        open.retain(|_, audience| audience.strong_count() > 0);
        let audience = Arc::new(Audience {
            scope,
            core,
            asked: AtomicU64::new(0),
            known: tokio::sync::Mutex::default(),
            news: watch::Sender::new(()),
            said: Mutex::new(None),
        });
        open.insert(key, Arc::downgrade(&audience));
        engine.0.runtime.spawn(listen(engine.0.bus.listen(), core, Arc::downgrade(&audience)));
        audience
    }
}

/// Wakes an audience when something was written, for as long as there is one.
async fn listen(mut listener: Listener, core: CoreId, audience: Weak<Audience>) {
    loop {
        let heard = tokio::time::timeout(LEFT_ALONE, listener.next()).await;
        let Some(audience) = audience.upgrade() else { return };
        match heard {
            Ok(Heard::Signal(Signal::CoreLogged(id) | Signal::CoreChanged(id))) if id == core => {
                audience.news.send_replace(());
            }
            Ok(Heard::Missed) => {
                audience.news.send_replace(());
            }
            Ok(Heard::Closed) => return,
            Ok(Heard::Signal(_)) | Err(_) => {}
        }
    }
}

impl Audience {
    /// What tells of news from now on.
    pub(super) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// Whether it is time to tell other nodes that somebody follows; whoever asks does.
    pub(super) fn is_to_say(&self, every: Duration) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = said.is_none_or(|said| said.elapsed() >= every);
        if is_time {
            *said = Some(Instant::now());
        }
        is_time
    }

    /// The lanes that go on behind a position: how far, and the next entries there, of so many rows; none where they have been
    /// deleted. What is `fresh` was asked for after this was called.
    pub(super) async fn beyond(
        &self,
        engine: &Engine,
        position: &LogPosition,
        fresh: bool,
        rows: i64,
    ) -> Result<Vec<(LogPlace, Arc<[KeptEntry]>)>, Error> {
        let ticket = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut known = self.known.lock().await;
        let mut connection = None;
        if !known.answers(ticket, fresh) {
            // Whoever has come by now is answered by what is asked from here on.
            let (covers, looked) = (self.asked.load(Ordering::SeqCst), Instant::now());
            let c = connection.insert(engine.0.database.read().await?);
            known.ends = logs::lanes(c, self.scope, self.core).await?;
            (known.covers, known.looked) = (covers, Some(looked));
        }
        let ends: Vec<LogPlace> =
            known.ends.iter().filter(|end| end.number > position.of(end.lane)).copied().collect();
        let mut found = Vec::with_capacity(ends.len());
        for end in ends {
            let from = LogPlace { lane: end.lane, number: position.of(end.lane) };
            if let Some(entries) = known.piece(from) {
                found.push((end, entries));
                continue;
            }
            if connection.is_none() {
                connection = Some(engine.0.database.read().await?);
            }
            let Some(c) = connection.as_mut() else { continue };
            let chunks = logs::after(c, self.scope, self.core, from, rows).await?;
            let entries = chunks.into_iter().flat_map(|chunk| chunk.entries);
            let entries: Arc<[KeptEntry]> = entries.filter(|kept| kept.place.number > from.number).collect();
            known.keep(from, &entries);
            found.push((end, entries));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ago(span: Duration) -> Instant {
        Instant::now().checked_sub(span).unwrap()
    }

    #[test]
    fn nobody_is_answered_with_what_was_found_before_they_asked() {
        let mut known = Known::default();
        assert!(!known.answers(1, true) && !known.answers(1, false));
        known.covers = 2;
        known.looked = Some(ago(RECENT));
        assert!(known.answers(1, true) && known.answers(2, true));
        assert!(!known.answers(3, true), "they came later");
        assert!(!known.answers(3, false), "it is old");
        // Not to be met by a machine that stands still for so long.
        known.looked = Some(Instant::now() + RECENT);
        assert!(!known.answers(3, true));
        assert!(known.answers(3, false), "they were not woken");
    }

    #[test]
    fn entries_are_kept_for_a_moment() {
        let mut known = Known::default();
        let place = |number| LogPlace { lane: 0, number };
        let none: Arc<[KeptEntry]> = Arc::new([]);
        known.keep(place(1), &none);
        assert!(known.pieces.is_empty(), "there may be something the next time");
        let piece = |number, read| Piece { from: place(number), read, entries: Arc::clone(&none) };
        known.pieces.push_front(piece(1, Instant::now() + KEPT));
        known.pieces.push_front(piece(2, ago(KEPT)));
        assert!(known.piece(place(1)).is_some());
        assert!(known.piece(place(2)).is_none(), "it may have been deleted");
        assert!(known.piece(place(3)).is_none());
        (3..20).for_each(|number| known.pieces.push_front(piece(number, Instant::now() + KEPT)));
        known.keep(place(20), &none);
        assert!(known.pieces.len() < PIECES);
    }
}
