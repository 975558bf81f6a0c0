//! What those on this node hear who follow a room: that there is something to look at, and what an AI is just saying.
//!
//! Nothing here is kept. That something was said is known to the database; whoever misses a hint finds it there a moment later.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scaigrid_bus::Signal;
use scaigrid_scope::{AnswerId, ParticipantId, RoomId, TenantId, TenantScope};
use tokio::sync::broadcast;

use crate::App;

/// How much a slow listener may lag behind before it misses something.
const BACKLOG: usize = 256;

/// Something that happens in a room.
#[derive(Debug, Clone)]
pub(crate) enum RoomNews {
    /// There is something new to be read, or somebody came or went.
    Look,
    /// An AI says a bit more of an answer that is not a message yet.
    Piece {
        /// The answer.
        answer_id: AnswerId,
        /// Who gives it.
        participant_id: ParticipantId,
        /// What comes next in it.
        text: Arc<str>,
        /// Whether it begins the answer: what was heard of it before is void.
        first: bool,
    },
}

type Open = HashMap<RoomId, (TenantId, broadcast::Sender<RoomNews>)>;

/// Those who listen on this node, by room.
#[derive(Debug, Clone, Default)]
pub(crate) struct RoomEars(Arc<Mutex<Open>>);

/// Somebody who listens.
#[derive(Debug)]
pub(super) struct Ear {
    ears: RoomEars,
    room: RoomId,
    news: broadcast::Receiver<RoomNews>,
}

impl RoomEars {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to listen.
    pub(super) fn listen(&self, scope: TenantScope, room: RoomId) -> Ear {
        let mut open = self.open();
        let (_, told) =
            open.entry(room).or_insert_with(|| (scope.tenant_id(), broadcast::Sender::new(BACKLOG)));
        Ear { ears: self.clone(), room, news: told.subscribe() }
    }

    /// Has all who listen to a room look at it.
    pub(crate) fn look(&self, room: RoomId) {
        if let Some((_, told)) = self.open().get(&room) {
            // Nobody listening is nobody to tell.
            let _ = told.send(RoomNews::Look);
        }
    }

    /// Has all who listen look.
    pub(crate) fn look_at_all(&self) {
        for (_, told) in self.open().values() {
            let _ = told.send(RoomNews::Look);
        }
    }

    fn tell(&self, scope: TenantScope, room: RoomId, news: RoomNews) {
        if let Some((tenant, told)) = self.open().get(&room)
            && *tenant == scope.tenant_id()
        {
            let _ = told.send(news);
        }
    }
}

impl Ear {
    /// What comes next; that there is something to look at where something was missed, and then `true` beside it.
    pub(super) async fn next(&mut self) -> (RoomNews, bool) {
        heard(self.news.recv().await.map_err(|error| matches!(error, broadcast::error::RecvError::Lagged(_))))
    }

    /// What has come already, if anything.
    pub(super) fn already(&mut self) -> Option<(RoomNews, bool)> {
        match self.news.try_recv() {
            Err(broadcast::error::TryRecvError::Empty) => None,
            Err(error) => Some(heard(Err(matches!(error, broadcast::error::TryRecvError::Lagged(_))))),
            Ok(news) => Some(heard(Ok(news))),
        }
    }
}

fn heard(news: Result<RoomNews, bool>) -> (RoomNews, bool) {
    news.map_or_else(|missed| (RoomNews::Look, missed), |news| (news, false))
}

impl Drop for Ear {
    fn drop(&mut self) {
        let mut open = self.ears.open();
        // Gone before it is counted, and while nobody else counts: of two that go at once one is the last.
        drop(std::mem::replace(&mut self.news, broadcast::Sender::new(1).subscribe()));
        if open.get(&self.room).is_some_and(|(_, told)| told.receiver_count() == 0) {
            open.remove(&self.room);
        }
    }
}

impl App {
    /// Tells those who follow a room: on every node that there is something to look at, after the commit that made it so; on
    /// this node alone what an AI is just saying.
    pub(crate) fn tell_room(&self, scope: TenantScope, room: RoomId, news: RoomNews) {
        match news {
            RoomNews::Look => self.0.bus.publish(Signal::RoomChanged(room)),
            piece @ RoomNews::Piece { .. } => self.0.rooms.tell(scope, room, piece),
        }
    }
}

#[cfg(test)]
mod tests {
    use scaigrid_scope::SystemScope;
    use ulid::Ulid;

    use super::*;

    #[tokio::test]
    async fn who_listens_hears_and_leaves_nothing_behind() {
        let scope = SystemScope::for_the_process().tenant(TenantId::from_ulid(Ulid(1)));
        let (ears, room) = (RoomEars::default(), RoomId::from_ulid(Ulid(1)));
        ears.look(room);
        let (mut one, mut two) = (ears.listen(scope, room), ears.listen(scope, room));
        assert!(one.already().is_none());
        ears.look(room);
        ears.look(RoomId::from_ulid(Ulid(2)));
        assert!(matches!(one.next().await, (RoomNews::Look, false)));
        assert!(matches!(two.next().await, (RoomNews::Look, false)));
        assert!(one.already().is_none() && two.already().is_none());
        for _ in 0..=BACKLOG {
            ears.look(room);
        }
        assert!(matches!(one.next().await, (RoomNews::Look, true)));
        drop(one);
        assert_eq!(ears.open().len(), 1);
        drop(two);
        assert!(ears.open().is_empty());
    }
}
