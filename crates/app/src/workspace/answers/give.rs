//! Giving one answer: asking the AI, saying in its room what it says, and settling what was owed, all in one transaction.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use metrics::counter;
use scaigrid_persistence::room_answers::{self, OwedAnswer, Settled};
use scaigrid_persistence::{Transaction, participants, rooms};
use scaigrid_scope::{MessageId, ParticipantId, TenantScope};
use scaigrid_workspace::compose::{TooLong, compose, paragraphs};
use scaigrid_workspace::{
    Message, MessageKind, MessageText, MessageUsage, NewMessage, ResponseMode, Room, RoomStatus, Who,
};
use serde_json::Map;

use crate::transaction::ended;
use crate::workspace::ask::{Manner, Said};
use crate::workspace::rooms::RoomNews;
use crate::workspace::tools::Asker;
use crate::{App, Error, Resource};

/// How often it is tried to give an answer.
const ATTEMPTS: u32 = 3;
/// How long is waited before the next attempt, unless the model says when it is worth one.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Why an answer is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The code that the room is told.
    code: &'static str,
    /// What the room is told. Says nothing of where models are and what they say.
    text: &'static str,
    /// In how long it is worth trying again, where it is.
    again: Option<Duration>,
}

const fn for_good(code: &'static str, text: &'static str) -> Trouble {
    Trouble { code, text, again: None }
}

fn for_now(code: &'static str, text: &'static str, again: Option<Duration>) -> Trouble {
    Trouble { code, text, again: Some(again.unwrap_or_default()) }
}

impl From<&Error> for Trouble {
    fn from(error: &Error) -> Self {
        match error {
            Error::BudgetExceeded { .. } => {
                for_good("AI_BUDGET_EXCEEDED", "The tokens that may be spent on AI this month are used up.")
            }
            Error::NotFound(Resource::Model) => for_good(
                "MODEL_NOT_FOUND",
                "The model of this AI is not enabled, or does not exist any more.",
            ),
            Error::ModelUnavailable { retry_after, .. } => {
                for_now("MODEL_UNAVAILABLE", "The model of this AI cannot be reached just now.", *retry_after)
            }
            Error::BackendRateLimited { retry_after, .. } => for_now(
                "BACKEND_RATE_LIMITED",
                "The model of this AI is asked too often just now.",
                *retry_after,
            ),
            Error::BackendTimeout { .. } => {
                for_now("BACKEND_TIMEOUT", "The model of this AI does not answer in time.", None)
            }
            Error::BackendFailed { .. } | Error::Invalid(_) => {
                for_good("BACKEND_ERROR", "The model of this AI has failed.")
            }
            _ => for_now("INTERNAL_ERROR", "The answer could not be given.", None),
        }
    }
}

impl From<TooLong> for Trouble {
    fn from(_: TooLong) -> Self {
        for_good("CONTENT_TOO_LARGE", "The message is longer than the model of this AI can read.")
    }
}

/// What became of asking an AI.
enum Asked {
    /// What it has said, as the messages that it is said in.
    Said(Vec<String>, Said),
    /// Why it has said nothing.
    Trouble(Trouble),
    /// It does not take part any more, nor does who has asked, or its room is closed: nothing is said.
    Silent(&'static str),
}

impl App {
    /// Gives an answer that this node has taken, or says in its room why not; where it is worth it, leaves it for later.
    ///
    /// # Errors
    /// The database's: nothing has been said then, and the answer is still this node's.
    #[boxed]
    pub(super) async fn give_answer(&self, scope: TenantScope, answer: &OwedAnswer) -> Result<(), Error> {
        let asked = if answer.attempts > ATTEMPTS {
            // Whoever had it in their hands died each time.
            Asked::Trouble(for_good("INTERNAL_ERROR", "The answer could not be given."))
        } else {
            match self.ask_for(scope, answer).await {
                Ok(asked) => asked,
                Err(error) => {
                    tracing::info!(%error, answer = %answer.id, attempt = answer.attempts, "an AI does not answer");
                    Asked::Trouble(Trouble::from(&error))
                }
            }
        };
        self.settle_answer(scope, answer, asked).await
    }

    async fn ask_for(&self, scope: TenantScope, answer: &OwedAnswer) -> Result<Asked, Error> {
        let mut connection = self.0.database.read().await?;
        let c = &mut connection;
        let Some(room) = rooms::lookup(c, scope, answer.room_id).await? else {
            return Ok(Asked::Silent("ROOM_NOT_FOUND"));
        };
        let participant = participants::lookup(c, scope, answer.participant_id).await?;
        let Some(participant) = participant.filter(|participant| participant.enabled) else {
            return Ok(Asked::Silent("PARTICIPANT_NOT_FOUND"));
        };
        let user = participants::lookup(c, scope, ParticipantId::from_ulid(answer.user_id.ulid())).await?;
        if user.is_none_or(|user| !user.enabled) {
            // Nothing is done in the name of somebody who may do nothing themselves.
            return Ok(Asked::Silent("USER_NOT_FOUND"));
        }
        let message = rooms::messages_after(c, scope, room.id, answer.asked_seq - 1, 1).await?.pop();
        drop(connection);
        let (Some(message), RoomStatus::Open) = (message, room.status) else {
            return Ok(Asked::Silent("ROOM_ARCHIVED"));
        };
        let again = answer.attempts > 1;
        let (user_id, room_id) = (answer.user_id, Some(room.id));
        let answer_id = Some(answer.id);
        let asker = Asker { scope, user_id, participant, room_id, depth: 0, answer_id, again };
        self.ask_in_room(&asker, &room, &message, answer).await
    }

    async fn ask_in_room(
        &self,
        asker: &Asker,
        room: &Room,
        message: &Message,
        answer: &OwedAnswer,
    ) -> Result<Asked, Error> {
        let Who::Ai { profile, .. } = &asker.participant.who else {
            return Ok(Asked::Silent("PARTICIPANT_NOT_FOUND"));
        };
        let trigger = (message.author_id, message.text.to_string());
        let question = self.question(asker, room, message.seq, trigger).await?;
        let composed = match compose(question.parts, question.budget) {
            Ok(composed) => composed,
            Err(too_long) => return Ok(Asked::Trouble(too_long.into())),
        };
        let mut params = Map::new();
        if let Some(temperature) = profile.temperature {
            params.insert("temperature".into(), temperature.number().into());
        }
        let tell = |piece: &str, first: bool| self.tell_piece(asker.scope, answer, piece, first);
        let streaming = profile.response_mode == ResponseMode::Streaming;
        let manner = Manner {
            params,
            tools: true,
            on_piece: if streaming { Some(&tell) } else { None },
            ..Manner::default()
        };
        let said = self.ask_ai(asker, composed.to_openai(), manner).await?;
        let texts = if streaming { vec![said.text.clone()] } else { paragraphs(&said.text) };
        Ok(Asked::Said(texts, said))
    }

    fn tell_piece(&self, scope: TenantScope, answer: &OwedAnswer, piece: &str, first: bool) {
        let (answer_id, participant_id) = (answer.id, answer.participant_id);
        let piece = RoomNews::Piece { answer_id, participant_id, text: piece.into(), first };
        self.tell_room(scope, answer.room_id, piece);
    }

    /// Says what there is to say and settles the answer, if it is still this node's.
    async fn settle_answer(
        &self,
        scope: TenantScope,
        answer: &OwedAnswer,
        asked: Asked,
    ) -> Result<(), Error> {
        let mut tx = self.0.database.begin().await?;
        let settled = self.settle_in(&mut tx, scope, answer, asked).await;
        let Some(result) = ended(tx, settled).await? else {
            tracing::debug!(answer = %answer.id, "somebody else has taken the answer up");
            return Ok(());
        };
        counter!("scaigrid_room_answers_total", "result" => result).increment(1);
        self.tell_room(scope, answer.room_id, RoomNews::Look);
        Ok(())
    }

    /// How it was settled; none where it was not, because the answer is somebody else's now.
    async fn settle_in(
        &self,
        tx: &mut Transaction,
        scope: TenantScope,
        answer: &OwedAnswer,
        asked: Asked,
    ) -> Result<Option<&'static str>, Error> {
        let (now, node) = (self.now(), self.0.engine.node());
        // Held first, as by whoever speaks there.
        let room = rooms::lock(tx, scope, answer.room_id).await?;
        let closed = room.is_none_or(|room| room.status == RoomStatus::Archived);
        let asked = match asked {
            _ if closed => Asked::Silent("ROOM_ARCHIVED"),
            // What is blank can be no message.
            Asked::Said(texts, _) if texts.iter().all(|text| MessageText::fitted(text).is_none()) => {
                Asked::Silent("EMPTY")
            }
            asked => asked,
        };
        let settled = match &asked {
            Asked::Said(..) => Settled::Given,
            Asked::Trouble(Trouble { code, again: Some(pause), .. }) if answer.attempts < ATTEMPTS => {
                let own = PAUSE.saturating_mul(1 << answer.attempts.min(8));
                Settled::Again { at: now.plus((*pause).max(own).min(LONGEST_PAUSE)), code }
            }
            Asked::Trouble(Trouble { code, .. }) | Asked::Silent(code) => Settled::Failed { code },
        };
        if !room_answers::settle(tx, scope, answer, node, settled, now).await? {
            return Ok(None);
        }
        match (settled, asked) {
            (Settled::Given, Asked::Said(texts, said)) => {
                self.say_answer(tx, scope, answer, texts, &said).await?;
                Ok(Some("given"))
            }
            (Settled::Failed { code }, Asked::Trouble(trouble)) => {
                let text = MessageText::fitted(trouble.text);
                if let Some(text) = text {
                    let message = self.spoken(answer, MessageKind::Failure, text);
                    let message = NewMessage { error: Some(code.to_owned()), ..message };
                    rooms::add_message(tx, scope, answer.room_id, message).await?;
                }
                Ok(Some("failed"))
            }
            (Settled::Again { .. }, _) => Ok(Some("again")),
            _ => Ok(Some("silent")),
        }
    }

    /// Says an answer, in one message or several; what was used stands at the first.
    async fn say_answer(
        &self,
        tx: &mut Transaction,
        scope: TenantScope,
        answer: &OwedAnswer,
        texts: Vec<String>,
        said: &Said,
    ) -> Result<(), Error> {
        let mut usage = MessageUsage { input_tokens: said.input_tokens, output_tokens: said.output_tokens };
        for text in texts {
            let Some(text) = MessageText::fitted(&text) else { continue };
            let message = self.spoken(answer, MessageKind::Text, text);
            let model = Some(said.model.to_string());
            let message = NewMessage { model, usage: std::mem::take(&mut usage), ..message };
            rooms::add_message(tx, scope, answer.room_id, message).await?;
        }
        Ok(())
    }

    fn spoken(&self, answer: &OwedAnswer, kind: MessageKind, text: MessageText) -> NewMessage {
        let now = self.now();
        NewMessage {
            id: MessageId::from_ulid(self.0.ids.draw(now)),
            kind,
            author_id: answer.participant_id,
            text,
            mentions: Vec::new(),
            answer_id: Some(answer.id),
            model: None,
            usage: MessageUsage::default(),
            error: None,
            created_at: now,
        }
    }
}
