//! Conversations with a published Core: which one a request goes on with, and what it waits for.
//!
//! Those who chat send the conversation along each time, as chat completions have it. So it is recognised by what was said
//! up to the last answer; or by a name that the caller gives it. Nothing of this decides who may see a conversation: all
//! look-ups are among those of one caller with one Core.

use scaigrid_scope::{ConversationId, CoreId, ExecutionId, Instant, TenantId, UserId, text_enum};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The most characters of the name that a caller gives a conversation.
pub const KEY_AT_MOST: usize = 200;

text_enum! {
    /// How far a turn of a conversation has come.
    pub enum TurnStatus {
        /// The Core is at it, or nobody has looked since.
        Running => "running",
        /// It waits for a person, and that was told.
        Waiting => "waiting",
        /// It was answered.
        Answered => "answered",
        /// There was no answer.
        Failed => "failed",
    }
}

impl TurnStatus {
    /// Whether the execution behind it still owes an answer.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Waiting)
    }
}

/// Who chats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A user.
    User(UserId),
    /// An execution of a Core, which asks this one as its model.
    Execution(ExecutionId),
}

impl Caller {
    /// As it is kept.
    pub fn text(self) -> String {
        match self {
            Self::User(id) => id.to_string(),
            Self::Execution(id) => id.to_string(),
        }
    }

    /// What was kept.
    pub fn from_text(text: &str) -> Option<Self> {
        let user = || text.parse().ok().map(Self::User);
        user().or_else(|| text.parse().ok().map(Self::Execution))
    }
}

/// A conversation with a published Core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// The tenant of the Core.
    pub tenant_id: TenantId,
    /// The Core.
    pub core_id: CoreId,
    /// The tenant that the caller acts in.
    pub caller_tenant: TenantId,
    /// Who chats.
    pub caller: Caller,
    /// What the caller names it by, where they do.
    pub key: Option<String>,
    /// Whom it is about, where somebody is named.
    pub entity_id: Option<String>,
    /// How far its last turn has come.
    pub status: TurnStatus,
    /// How many turns it has had.
    pub turns: u32,
    /// When it began.
    pub created_at: Instant,
    /// When its last turn began or ended.
    pub updated_at: Instant,
}

/// What was said so far, as far as it tells conversations apart: roles and texts, in their order.
#[derive(Debug, Clone, Default)]
pub struct Transcript(Sha256);

impl Transcript {
    /// What messages say, as chat completions have them. Instructions to the model are left out: applications change them
    /// from one request to the next.
    pub fn of(messages: &[Value]) -> Self {
        messages.iter().fold(Self::default(), |said, message| {
            let role = message["role"].as_str().unwrap_or_default();
            match role {
                "system" | "developer" => said,
                _ => said.and(role, &text_of(&message["content"])),
            }
        })
    }

    /// With something more.
    #[must_use]
    pub fn and(mut self, role: &str, text: &str) -> Self {
        for part in [role, text.trim()] {
            self.0.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            self.0.update(part);
        }
        self
    }

    /// Its fingerprint: SHA-256 in hexadecimal.
    pub fn fingerprint(self) -> String {
        let halves = self.0.finalize().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
        halves.filter_map(|half| char::from_digit(half.into(), 16)).collect()
    }
}

/// The text of a message's content: itself, or its parts of text one after the other.
pub fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// A request as a part of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What was said up to the last answer, that included; none where nothing was answered yet.
    pub head: Option<String>,
    /// All that was said.
    pub whole: String,
    /// Where that begins which came after the last answer.
    pub fresh: usize,
    /// The last thing that the user said; empty where they said nothing.
    pub message: String,
}

impl Request {
    /// Reads the messages of a request.
    pub fn of(messages: &[Value]) -> Self {
        let role = |message: &Value, wanted: &str| message["role"] == wanted;
        let fresh =
            messages.iter().rposition(|message| role(message, "assistant")).map_or(0, |last| last + 1);
        let last = messages.iter().rfind(|message| role(message, "user"));
        Self {
            head: (fresh > 0).then(|| Transcript::of(&messages[..fresh]).fingerprint()),
            whole: Transcript::of(messages).fingerprint(),
            fresh,
            message: last.map(|message| text_of(&message["content"])).unwrap_or_default(),
        }
    }

    /// What the last answer was given to, of the messages that this was made of; none where nothing was answered yet.
    ///
    /// While an answer is owed it may be told in several ways, to whoever asks the same again: the question stays what it is.
    pub fn answered(&self, messages: &[Value]) -> Option<String> {
        let question = messages.get(..self.fresh.checked_sub(1)?)?;
        (!question.is_empty()).then(|| Transcript::of(question).fingerprint())
    }
}

/// How a turn was found that a request may go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// By the same request: it is asked once more.
    Repeated,
    /// By what went before: the request comes after it.
    Before,
}

/// What is known of the execution behind a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// There is none: the node died before it began.
    Nothing,
    /// It is at work, or waits for something other than people.
    AtWork,
    /// It waits for people.
    AtCheckpoint,
    /// It has ended with an answer.
    Ended,
    /// It has ended without one: it failed, or was cancelled.
    Failed,
}

/// Whether a request gets what the execution of an earlier turn has to say, rather than an execution of its own.
///
/// An answer is given once. Who asks the same again while it is owed gets it; so does whoever goes on talking after having
/// been told that it waits for a person. Who says something else while the Core is at work is not kept waiting for that.
pub const fn joins(found: Found, status: TurnStatus, behind: Behind) -> bool {
    match (found, status, behind) {
        (_, TurnStatus::Answered | TurnStatus::Failed, _) | (_, _, Behind::Nothing) => false,
        (Found::Repeated, ..) | (Found::Before, TurnStatus::Waiting, _) => true,
        (Found::Before, TurnStatus::Running, behind) => matches!(behind, Behind::AtCheckpoint),
    }
}

/// Whether a program's call of a Core gets what the execution of an earlier turn has to say, rather than an execution of its
/// own. Such a call is named by its effect, and has one answer however often it is made.
///
/// Whoever takes over from a node that died makes the same call, and gets its answer whatever that is. Made once more for
/// another reason, since somebody has the calling execution tried again, it is answered anew where it had failed.
pub const fn has_one(status: TurnStatus, behind: Behind, in_doubt: bool) -> bool {
    match behind {
        Behind::Nothing => false,
        _ if in_doubt => true,
        Behind::Failed => false,
        // Nobody waited for it any longer: it is being cancelled.
        Behind::AtWork | Behind::AtCheckpoint | Behind::Ended => !matches!(status, TurnStatus::Failed),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn say(role: &str, text: &str) -> Value {
        json!({"role": role, "content": text})
    }

    #[test]
    fn a_conversation_is_known_by_what_was_said() {
        let first = [say("system", "Be kind."), say("user", "Hello")];
        let request = Request::of(&first);
        assert_eq!((request.head.as_deref(), request.fresh, request.message.as_str()), (None, 0, "Hello"));
        let after = Transcript::of(&first).and("assistant", "Hi!\n").fingerprint();
        // As clients send it back: with other instructions, in parts, and with fields of their own.
        let second = [
            say("user", "Hello"),
            json!({"role": "assistant", "content": [{"type": "text", "text": "Hi!"}], "refusal": null}),
            say("user", "And?"),
        ];
        let next = Request::of(&second);
        assert_eq!((next.head, next.fresh, next.message.as_str()), (Some(after), 2, "And?"));
        assert_ne!(next.whole, request.whole);
    }

    #[test]
    fn what_differs_has_another_fingerprint() {
        let of = |messages: &[Value]| Transcript::of(messages).fingerprint();
        let all = [
            of(&[]),
            of(&[say("user", "ab")]),
            of(&[say("user", "a"), say("user", "b")]),
            of(&[say("assistant", "ab")]),
            of(&[say("usera", "b")]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(all.iter().skip(index + 1).all(|other| other != one), "{index}");
        }
        assert_eq!(of(&[say("user", " ab\n")]), all[1]);
    }

    #[test]
    fn an_answer_that_is_owed_goes_to_who_asks_for_it() {
        use Behind::{AtCheckpoint, AtWork, Ended, Failed, Nothing};
        let of = |found, status| {
            [Nothing, AtWork, AtCheckpoint, Ended, Failed].map(|behind| joins(found, status, behind))
        };
        assert_eq!(of(Found::Repeated, TurnStatus::Running), [false, true, true, true, true]);
        assert_eq!(of(Found::Before, TurnStatus::Waiting), [false, true, true, true, true]);
        assert_eq!(of(Found::Before, TurnStatus::Running), [false, false, true, false, false]);
        for found in [Found::Repeated, Found::Before] {
            assert_eq!(of(found, TurnStatus::Answered), [false; 5]);
            assert_eq!(of(found, TurnStatus::Failed), [false; 5]);
        }
    }

    #[test]
    fn a_programs_call_has_one_answer_until_it_is_tried_again() {
        use Behind::{AtCheckpoint, AtWork, Ended, Failed, Nothing};
        let all = [Nothing, AtWork, AtCheckpoint, Ended, Failed];
        for status in TurnStatus::ALL.iter().copied() {
            let in_doubt = all.map(|behind| has_one(status, behind, true));
            assert_eq!(in_doubt, [false, true, true, true, true], "{status}");
            let again = all.map(|behind| has_one(status, behind, false));
            let gone_on = status != TurnStatus::Failed;
            assert_eq!(again, [false, gone_on, gone_on, gone_on, false], "{status}");
        }
    }

    #[test]
    fn callers_are_kept_as_texts() {
        for text in ["usr_01J00000000000000000000000", "exec_01J00000000000000000000000"] {
            assert_eq!(Caller::from_text(text).map(Caller::text).as_deref(), Some(text));
        }
        assert_eq!(Caller::from_text("core_01J00000000000000000000000"), None);
    }
}
