//! What is said in rooms.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::RequestContext;
use scaigrid_persistence::room_answers::OwedAnswer;
use scaigrid_persistence::{Connection, Transaction, participants, rooms};
use scaigrid_scope::{Authorized, MessageId, ParticipantId, RoomId, TenantScope, perm};
use scaigrid_workspace::room::MAX_MENTIONS;
use scaigrid_workspace::{
    Engagement, LocalId, Message, MessageKind, MessageText, MessageUsage, NewMessage, Participant,
    ParticipantKind, ParticipantRef, Power, Room, RoomStatus, Who, mentioned,
};
use tokio::time::{Instant, timeout_at};

use super::news::Ear;
use super::{RoomNews, caller_as_participant, held, meant, seen};
use crate::modules::TunnelPlace;
use crate::page::{Cursor, Page, PageRequest};
use crate::transaction::ended;
use crate::{App, Error, FieldError};

/// How often it is looked whether what is waited for has come.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The messages that are shown of the answers that were waited for.
const ANSWERS_SHOWN: i64 = 100;

/// The AIs that one message has come into the room at most: as many as answer it.
const AT_ONCE: usize = 5;

/// What somebody says.
#[derive(Debug, Clone)]
pub struct NewPost {
    /// The text.
    pub text: MessageText,
    /// Whom they mean, beside those whom the text mentions.
    pub mentions: Vec<ParticipantRef>,
}

impl NewPost {
    /// The most participants that can be named beside the text.
    pub const MAX_MENTIONS: usize = MAX_MENTIONS;
}

/// Who has said something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// Their id.
    pub id: ParticipantId,
    /// The name to mention them by.
    pub local_id: LocalId,
    /// What people call them.
    pub display_name: String,
    /// What kind they are.
    pub kind: ParticipantKind,
}

impl From<&Participant> for Speaker {
    fn from(participant: &Participant) -> Self {
        Self {
            id: participant.id,
            local_id: participant.local_id.clone(),
            display_name: participant.display_name.to_string(),
            kind: participant.kind,
        }
    }
}

/// A message with who has said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownMessage {
    /// The message.
    pub message: Message,
    /// Who has said it.
    pub author: Speaker,
}

/// A message that was said just now, and what is owed for it.
#[derive(Debug, Clone)]
pub struct Posted {
    /// The message.
    pub message: ShownMessage,
    /// The answers that have come while it was waited for them.
    pub answers: Vec<ShownMessage>,
    /// Those that are still owed.
    pub pending: Vec<OwedAnswer>,
}

/// Messages with those who have said them.
pub(super) async fn shown(
    c: &mut Connection,
    scope: TenantScope,
    messages: Vec<Message>,
) -> Result<Vec<ShownMessage>, Error> {
    let mut authors: Vec<ParticipantId> = messages.iter().map(|message| message.author_id).collect();
    authors.sort_unstable();
    authors.dedup();
    let known = participants::several(c, scope, &authors).await?;
    let known: BTreeMap<ParticipantId, Speaker> = known.iter().map(|one| (one.id, one.into())).collect();
    let shown = messages.into_iter().map(|message| {
        let author = known.get(&message.author_id).cloned();
        let author = author.ok_or_else(|| Error::internal("a message was said by nobody"))?;
        Ok(ShownMessage { message, author })
    });
    shown.collect()
}

impl App {
    /// What was said in a room that the caller is in: newest first, or in its order behind a number.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[boxed]
    pub async fn room_messages(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        id: RoomId,
        after_seq: Option<i64>,
        page: &PageRequest,
    ) -> Result<Page<ShownMessage>, Error> {
        let scope = caller.tenant_scope();
        let mut connection = self.0.database.read().await?;
        let c = &mut connection;
        seen(c, caller, id).await?;
        let from = page.cursor.as_ref().and_then(|cursor| cursor.int(0));
        let rows = match after_seq {
            None => rooms::messages(c, scope, id, from, page.rows()).await?,
            Some(after) => rooms::messages_after(c, scope, id, from.unwrap_or(after), page.rows()).await?,
        };
        let page = Page::of_rows(rows, page, |message| Cursor::new([message.seq.into()]));
        Ok(Page { items: shown(c, scope, page.items).await?, next: page.next })
    }

    /// Says something in a room that the caller is in, and waits a while for the answers that are owed for it, if that is wanted.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::RoomArchived`], [`Error::Invalid`] for mentions of nobody; [`Error::Unavailable`] when too many
    /// wait on this node.
    #[boxed]
    pub async fn post_message(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        request: &RequestContext,
        id: RoomId,
        post: NewPost,
        wait: Option<Duration>,
    ) -> Result<Posted, Error> {
        let scope = caller.tenant_scope();
        // Before anything is said: who waits hears all that comes of it.
        let waiting = match wait {
            Some(wait) if !wait.is_zero() => {
                let place = self.stream_place(caller)?;
                Some((place, self.0.rooms.listen(scope, id), Instant::now() + wait))
            }
            _ => None,
        };
        let mut tx = self.0.database.begin().await?;
        let said = self.speak(&mut tx, caller, request, id, post).await;
        let (message, owed) = ended(tx, said).await?;
        self.tell_room(scope, id, RoomNews::Look);
        let posted = Posted { message, answers: Vec::new(), pending: owed };
        let Some(waiting) = waiting.filter(|_| !posted.pending.is_empty()) else { return Ok(posted) };
        match self.await_answers(scope, posted.clone(), waiting).await {
            Ok(answered) => Ok(answered),
            // It was said, whatever becomes of the waiting.
            Err(error) => {
                tracing::warn!(%error, "the answers to a message cannot be waited for just now");
                Ok(posted)
            }
        }
    }

    async fn speak(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::ModelsUse>,
        request: &RequestContext,
        id: RoomId,
        post: NewPost,
    ) -> Result<(ShownMessage, Vec<OwedAnswer>), Error> {
        let (now, scope, who) = (self.now(), caller.tenant_scope(), caller_as_participant(caller));
        let (room, _) = held(tx, caller, id).await?;
        if room.status == RoomStatus::Archived {
            return Err(Error::RoomArchived);
        }
        let mentioned = meant_by(tx, scope, id, &post).await?;
        self.bring_in(tx, caller, request, &room, &mentioned).await?;
        let said = NewMessage {
            id: MessageId::from_ulid(self.0.ids.draw(now)),
            kind: MessageKind::Text,
            author_id: who,
            text: post.text,
            mentions: mentioned.iter().map(|one| one.id).collect(),
            answer_id: None,
            model: None,
            usage: MessageUsage::default(),
            error: None,
            created_at: now,
        };
        let message = rooms::add_message(tx, scope, id, said).await?;
        let owed = self.owe_answers(tx, scope, caller.user_id(), &message).await?;
        let message = shown(tx, scope, vec![message]).await?.pop();
        let message = message.ok_or_else(|| Error::internal("a message was not said"))?;
        Ok((message, owed))
    }

    /// Has AIs that are mentioned take part, as everybody in the room may have them, while there are places.
    async fn bring_in(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::ModelsUse>,
        request: &RequestContext,
        room: &Room,
        mentioned: &[Participant],
    ) -> Result<(), Error> {
        let scope = caller.tenant_scope();
        let ais = mentioned.iter().filter(|one| one.enabled && matches!(one.who, Who::Ai { .. }));
        let mut present = None;
        for ai in ais.take(AT_ONCE) {
            if rooms::member(tx, scope, room.id, ai.id).await?.is_some() {
                continue;
            }
            let there = match present {
                Some(present) => present,
                None => rooms::members(tx, scope, room.id).await?.len(),
            };
            if there >= Room::MAX_MEMBERS {
                return Ok(());
            }
            let member = self.as_member(None, ai.id, Power::NONE, Engagement::Mention);
            self.put_member(tx, caller, request, room, (None, member)).await?;
            present = Some(there + 1);
        }
        Ok(())
    }

    /// Waits until what is owed for a message was given, or the time is up, or the node ends.
    async fn await_answers(
        &self,
        scope: TenantScope,
        mut posted: Posted,
        (mut place, mut ear, until): (TunnelPlace, Ear, Instant),
    ) -> Result<Posted, Error> {
        let (room, seq) = (posted.message.message.room_id, posted.message.message.seq);
        let asked: Vec<_> = posted.pending.iter().map(|owed| owed.id).collect();
        loop {
            let mut connection = self.0.database.read().await?;
            let open = rooms::answers_pending(&mut connection, scope, &asked).await?;
            if open.is_empty() || Instant::now() >= until {
                let c = &mut connection;
                let given = rooms::messages_of_answers(c, scope, room, seq, &asked, ANSWERS_SHOWN).await?;
                posted.answers = shown(c, scope, given).await?;
                posted.pending.retain(|owed| open.contains(&owed.id));
                return Ok(posted);
            }
            drop(connection);
            let look = until.min(Instant::now() + LOOK_EVERY);
            tokio::select! {
                () = place.ended() => return Ok(posted),
                // Whether there is something to look at or the time is up, one looks.
                _ = timeout_at(look, something(&mut ear)) => {}
            }
        }
    }
}

/// Waits until there is something to look at.
async fn something(ear: &mut Ear) {
    while !matches!(ear.next().await, (RoomNews::Look, _)) {}
}

/// Whom a message means: those who are named beside the text, who must be AIs or in the room, then those in the text who are.
async fn meant_by(
    tx: &mut Transaction,
    scope: TenantScope,
    room: RoomId,
    post: &NewPost,
) -> Result<Vec<Participant>, Error> {
    let named = meant(tx, scope, &post.mentions).await?;
    let in_text = mentioned(post.text.as_str());
    if named.is_empty() && in_text.is_empty() {
        return Ok(Vec::new());
    }
    let members = rooms::members(tx, scope, room).await?;
    let is_there = |one: &Participant| members.iter().any(|member| member.participant_id == one.id);
    let can_be_meant = |one: &Participant| matches!(one.who, Who::Ai { .. }) || is_there(one);
    let (mut found, mut wrong): (Vec<Participant>, Vec<FieldError>) = (Vec::new(), Vec::new());
    for (index, participant) in named.into_iter().enumerate() {
        match participant.filter(can_be_meant) {
            Some(one) => found.push(one),
            None => wrong.push(nobody_to_mention(index)),
        }
    }
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    let mut of_text = participants::named(tx, scope, &in_text).await?;
    of_text.sort_by_key(|one| in_text.iter().position(|name| *name == one.local_id));
    found.extend(of_text.into_iter().filter(can_be_meant));
    let mut told = BTreeSet::new();
    found.retain(|one| told.insert(one.id));
    found.truncate(MAX_MENTIONS);
    Ok(found)
}

fn nobody_to_mention(index: usize) -> FieldError {
    let field = format!("mentions[{index}]");
    FieldError::new(field, "must be the id or the local id of an AI, or of a person in the room")
}
