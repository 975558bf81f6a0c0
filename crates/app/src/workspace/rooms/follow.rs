//! Following a room, on whichever node.
//!
//! What was said is read from the database behind the last number that was told: at once when there is a hint, and once a second
//! anyway. What an AI is just saying is heard on the node where it is asked, and is in no database until it is a message.

use std::collections::BTreeSet;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use scaigrid_persistence::rooms;
use scaigrid_scope::{AnswerId, Authorized, ParticipantId, Permission, Principal, RoomId, TenantScope, perm};
use tokio::time::{Instant, timeout_at};

use super::messages::shown;
use super::news::Ear;
use super::{RoomNews, ShownMessage, caller_as_participant, seen};
use crate::modules::TunnelPlace;
use crate::{App, Error, Resource};

/// Without a hint, it is looked this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Messages that are read, and pieces that are told, at once.
const MESSAGES: i64 = 20;
const PIECES: usize = 64;
/// The answers whose pieces are told at a time; more are told as messages only.
const ANSWERS: usize = 100;
/// The most messages that a stream begins with.
const TAIL_AT_MOST: i64 = 200;

/// Something that a follower is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomEvent {
    /// Something was said.
    Message(Box<ShownMessage>),
    /// An AI says a bit more of an answer that is not a message yet.
    Delta {
        /// The answer.
        answer_id: AnswerId,
        /// Who gives it.
        participant_id: ParticipantId,
        /// What comes next in it.
        text: String,
        /// Whether it begins the answer: what was told of it before is void.
        first: bool,
    },
}

/// Somebody who follows a room.
pub struct RoomFollower {
    app: App,
    scope: TenantScope,
    room: RoomId,
    who: ParticipantId,
    /// The number of the last message that was told.
    position: i64,
    ear: Ear,
    /// The answers that were heard from their first piece on.
    begun: BTreeSet<AnswerId>,
    /// Whether there may be something that was not looked at.
    unseen: bool,
    looked_at: Instant,
}

/// Whether somebody may go on with following a room, as far as their permissions go.
pub fn may_follow(principal: &Principal) -> bool {
    principal.permissions().contains(Permission::ModelsUse)
}

impl App {
    /// The most messages that a stream can begin with.
    pub const ROOM_TAIL_AT_MOST: i64 = TAIL_AT_MOST;

    /// Follows a room that the caller is in behind the message of a number; without one from now on, or from so many messages
    /// before.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for a number that the room has not come to; too many streams are open.
    #[boxed]
    pub async fn follow_room(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        id: RoomId,
        from: Option<i64>,
        tail: i64,
    ) -> Result<(RoomFollower, TunnelPlace), Error> {
        let scope = caller.tenant_scope();
        // Before the first look: what is said after it is heard of.
        let ear = self.0.rooms.listen(scope, id);
        let mut connection = self.0.database.read().await?;
        let (room, member) = seen(&mut connection, caller, id).await?;
        drop(connection);
        if from.is_some_and(|from| from > room.last_seq) {
            return Err(Error::invalid("Last-Event-ID", "must be the id of an event of this stream"));
        }
        let begin = room.last_seq.saturating_sub(tail.clamp(0, TAIL_AT_MOST)).max(0);
        let place = self.stream_place(caller)?;
        let follower = RoomFollower {
            app: self.clone(),
            scope,
            room: id,
            who: member.participant_id,
            position: from.unwrap_or(begin),
            ear,
            begun: BTreeSet::new(),
            unseen: true,
            looked_at: Instant::now(),
        };
        Ok((follower, place))
    }

    /// Whether a caller is in a room.
    ///
    /// # Errors
    /// [`Error::NotFound`] when they are not, or there is none.
    #[boxed]
    pub async fn require_room(&self, caller: &Authorized<perm::ModelsUse>, id: RoomId) -> Result<(), Error> {
        let (scope, who) = (caller.tenant_scope(), caller_as_participant(caller));
        let mut connection = self.0.database.read().await?;
        let member = rooms::member(&mut connection, scope, id, who).await?;
        member.map(|_| ()).ok_or(Error::NotFound(Resource::Room))
    }
}

impl RoomFollower {
    /// The number of the last message that was told, or behind which it begins.
    pub const fn position(&self) -> i64 {
        self.position
    }

    /// What comes next; waits for it for about a second, and then there may be nothing.
    ///
    /// # Errors
    /// The database's; [`Error::NotFound`] once whoever follows is not in the room any more.
    #[boxed]
    pub async fn next(&mut self) -> Result<Vec<RoomEvent>, Error> {
        // Also while there is much to hear.
        let until = self.looked_at + LOOK_EVERY;
        if !self.unseen && Instant::now() < until {
            let mut told = Vec::new();
            match timeout_at(until, self.ear.next()).await {
                Err(_) => self.unseen = true,
                Ok(news) => self.hear(news, &mut told),
            }
            for _ in 0..PIECES {
                if self.unseen {
                    break;
                }
                let Some(news) = self.ear.already() else { break };
                self.hear(news, &mut told);
            }
            // What was heard before a message is told before it.
            if !told.is_empty() || !self.unseen {
                return Ok(told);
            }
        }
        self.look().await
    }

    /// Takes note of something that was heard, and has it told if it is a piece that can be told.
    fn hear(&mut self, (news, missed): (RoomNews, bool), told: &mut Vec<RoomEvent>) {
        if missed {
            // Of what was being said there may be a piece too few: the whole of it comes as a message.
            self.begun.clear();
        }
        let RoomNews::Piece { answer_id, participant_id, text, first } = news else {
            self.unseen = true;
            return;
        };
        if first && self.begun.len() < ANSWERS {
            self.begun.insert(answer_id);
        }
        if !self.begun.contains(&answer_id) {
            return;
        }
        match told.last_mut() {
            Some(RoomEvent::Delta { answer_id: last, text: before, .. }) if *last == answer_id && !first => {
                before.push_str(&text);
            }
            _ => told.push(RoomEvent::Delta { answer_id, participant_id, text: text.to_string(), first }),
        }
    }

    /// What was said since the last look.
    async fn look(&mut self) -> Result<Vec<RoomEvent>, Error> {
        self.looked_at = Instant::now();
        let mut connection = self.app.0.database.read().await?;
        let c = &mut connection;
        let member = rooms::member(c, self.scope, self.room, self.who).await?;
        member.ok_or(Error::NotFound(Resource::Room))?;
        let found = rooms::messages_after(c, self.scope, self.room, self.position, MESSAGES).await?;
        let found = shown(c, self.scope, found).await?;
        drop(connection);
        self.unseen = i64::try_from(found.len()).is_ok_and(|count| count >= MESSAGES);
        for said in &found {
            self.position = said.message.seq;
            if let Some(answer) = &said.message.answer_id {
                self.begun.remove(answer);
            }
        }
        Ok(found.into_iter().map(|said| RoomEvent::Message(Box::new(said))).collect())
    }
}
