//! Rooms: who is in one, what is said there, and who is meant by it.

use std::fmt;
use std::str::FromStr;

use scaigrid_scope::{AnswerId, Instant, MessageId, Name, ParticipantId, RoomId, TenantId};

use crate::participant::LocalId;

scaigrid_scope::text_enum! {
    /// Whether something can be said in a room.
    pub enum RoomStatus {
        /// It can.
        Open => "open",
        /// It is kept to be read.
        Archived => "archived",
    }
}

scaigrid_scope::text_enum! {
    /// When somebody in a room answers what is said there by itself.
    pub enum Engagement {
        /// To every message that mentions no AI.
        Always => "always",
        /// To what mentions it.
        Mention => "mention",
        /// Never: a person, who speaks when they like.
        None => "none",
    }
}

scaigrid_scope::text_enum! {
    /// What a message is.
    pub enum MessageKind {
        /// What somebody said.
        Text => "text",
        /// That an AI could not answer.
        Failure => "failure",
    }
}

/// What somebody may do in a room: 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Power(u8);

/// Why a number cannot be a [`Power`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from 0 to 100")]
pub struct InvalidPower;

impl Power {
    /// Of those who joined without anything being said of it.
    pub const NONE: Self = Self(0);
    /// Enough to change the room, and who is in it.
    pub const GOVERNS: Self = Self(50);
    /// Of whoever made the room.
    pub const ALL: Self = Self(100);

    /// Of a number.
    ///
    /// # Errors
    /// [`InvalidPower`].
    pub fn of_number(number: i64) -> Result<Self, InvalidPower> {
        u8::try_from(number).ok().filter(|number| *number <= Self::ALL.0).map(Self).ok_or(InvalidPower)
    }

    /// The number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Whether it is enough to change the room, and who is in it.
    pub const fn governs(self) -> bool {
        self.0 >= Self::GOVERNS.0
    }
}

/// A room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Its identifier.
    pub id: RoomId,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// What people call it.
    pub name: Name,
    /// Whether something can be said there.
    pub status: RoomStatus,
    /// The number of the last message; 0 before the first.
    pub last_seq: i64,
    /// Who made it.
    pub created_by: ParticipantId,
    /// Counts the changes of its name, its status and of who is in it, from 1; what an entity tag is made of.
    pub revision: i64,
    /// When it was made.
    pub created_at: Instant,
    /// When one of these was last changed.
    pub updated_at: Instant,
}

impl Room {
    /// The most members of one.
    pub const MAX_MEMBERS: usize = 500;
}

/// Somebody's being in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub participant_id: ParticipantId,
    /// What they may do there.
    pub power: Power,
    /// When they answer by themselves.
    pub engagement: Engagement,
    /// Since when.
    pub joined_at: Instant,
}

/// What is asked of a member to judge who governs a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Who.
    pub participant_id: ParticipantId,
    /// What they may do there.
    pub power: Power,
    /// Whether it is a person who can act at present: neither an AI, nor suspended, nor deleted.
    pub acts: bool,
}

/// What somebody may do in a room of these members: as much as they were given, or everything where nobody who can act was
/// given enough to govern it. None of whoever is not in it.
pub fn power_of(seats: &[Seat], who: ParticipantId) -> Option<Power> {
    let own = seats.iter().find(|seat| seat.participant_id == who)?;
    let kept = seats.iter().any(|seat| seat.acts && seat.power.governs());
    Some(if own.acts && !kept { Power::ALL } else { own.power })
}

/// Whether somebody may go, or lose their power: not the last who governs, as long as other people are there.
pub fn may_be_lowered(seats: &[Seat], who: ParticipantId) -> bool {
    let others = || seats.iter().filter(|seat| seat.participant_id != who && seat.acts);
    let governs = seats.iter().any(|seat| seat.participant_id == who && seat.acts && seat.power.governs());
    !governs || others().next().is_none() || others().any(|seat| seat.power.governs())
}

/// Whether somebody may go: where [`may_be_lowered`], and not the last person, behind whom nobody could see the room any more.
pub fn may_go(seats: &[Seat], who: ParticipantId) -> bool {
    let acts = |seat: &Seat| seat.acts && (seat.participant_id == who);
    let alone = !seats.iter().any(|seat| seat.acts && seat.participant_id != who);
    may_be_lowered(seats, who) && !(alone && seats.iter().any(acts))
}

/// What a message says: 1 byte to 64 KiB, not blank, without U+0000, which not every database keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageText(Box<str>);

/// Why a text cannot be a [`MessageText`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMessageText {
    /// There is nothing in it.
    #[error("must not be blank")]
    Blank,
    /// It is too long.
    #[error("must be at most {} bytes", MessageText::MAX_BYTES)]
    TooLong,
    /// It holds U+0000.
    #[error("must not contain the character U+0000")]
    NulCharacter,
}

impl MessageText {
    /// The most bytes.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// Checks a text.
    ///
    /// # Errors
    /// [`InvalidMessageText`].
    pub fn parse(text: &str) -> Result<Self, InvalidMessageText> {
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidMessageText::TooLong);
        }
        if text.contains('\0') {
            return Err(InvalidMessageText::NulCharacter);
        }
        if text.trim().is_empty() { Err(InvalidMessageText::Blank) } else { Ok(Self(text.into())) }
    }

    /// As much of a text as fits, for what was not written by hand: cut at its end, U+0000 replaced. None of one that is blank.
    pub fn fitted(text: &str) -> Option<Self> {
        let text = text.replace('\0', "\u{fffd}");
        let cut = text.floor_char_boundary(Self::MAX_BYTES);
        Self::parse(text.get(..cut).unwrap_or_default()).ok()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, owned.
    pub fn into_string(self) -> String {
        self.0.into()
    }
}

impl fmt::Display for MessageText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for MessageText {
    type Err = InvalidMessageText;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// What a model was asked and gave for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MessageUsage {
    /// The tokens that it was asked.
    pub input_tokens: u64,
    /// The tokens that it gave.
    pub output_tokens: u64,
}

/// A message as it is to be said; the room gives it its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Its identifier.
    pub id: MessageId,
    /// What it is.
    pub kind: MessageKind,
    /// Who says it.
    pub author_id: ParticipantId,
    /// What it says; of a failure, what people read of it.
    pub text: MessageText,
    /// Who is meant, each once.
    pub mentions: Vec<ParticipantId>,
    /// The answer that it is, or is part of.
    pub answer_id: Option<AnswerId>,
    /// The model that gave it.
    pub model: Option<String>,
    /// What the model was asked and gave; nothing where no model was.
    pub usage: MessageUsage,
    /// Of a failure, its code.
    pub error: Option<String>,
    /// When it is said.
    pub created_at: Instant,
}

/// A message of a room. It never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its room.
    pub room_id: RoomId,
    /// Its number in the room: from 1, without gaps.
    pub seq: i64,
    /// What was said.
    pub said: NewMessage,
}

impl std::ops::Deref for Message {
    type Target = NewMessage;

    fn deref(&self) -> &NewMessage {
        &self.said
    }
}

/// A participant as somebody names them: by id, or by the name to mention them by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ParticipantRef {
    /// By their id.
    Id(ParticipantId),
    /// By the name to mention them by.
    Name(LocalId),
}

/// A text that names no participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the id or the local id of a participant")]
pub struct InvalidParticipantRef;

impl FromStr for ParticipantRef {
    type Err = InvalidParticipantRef;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let name = text.strip_prefix('@').unwrap_or(text);
        LocalId::parse(name).map(Self::Name).map_err(|_| InvalidParticipantRef)
    }
}

/// How many names a message can mention; those behind are words like others.
pub const MAX_MENTIONS: usize = 50;

/// Whom a text mentions, each once, in its order, and no more than [`MAX_MENTIONS`]: an `@` where a word begins, and a name
/// behind it. What stands in an e-mail address is no mention; a dot, hyphen or underscore at the end is none of the name's.
pub fn mentioned(text: &str) -> Vec<LocalId> {
    let mut found: Vec<LocalId> = Vec::new();
    let mut before = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
        if c == '@' && begins_word(before) {
            let end = rest.find(|c: char| !is_named(c)).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            let name = named(word).filter(|_| !goes_on(behind));
            if let Some(name) = name.filter(|name| !found.contains(name)) {
                found.push(name);
                if found.len() == MAX_MENTIONS {
                    break;
                }
            }
            before = word.chars().last().or(Some('@'));
            rest = behind;
        } else {
            before = Some(c);
        }
    }
    found
}

/// Whether an `@` behind this begins a word.
fn begins_word(before: Option<char>) -> bool {
    before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '.' | '_' | '-' | '+' | '%' | '@'))
}

/// Whether a character can stand in a name as people write it.
const fn is_named(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// Whether what stands behind a name makes it a part of something else: of a longer word, or of an address.
fn goes_on(behind: &str) -> bool {
    behind.starts_with(|c: char| c == '@' || c.is_alphanumeric())
}

/// The name that a word behind an `@` spells; capitals are taken for small letters.
fn named(word: &str) -> Option<LocalId> {
    let word = word.trim_end_matches(['.', '_', '-']);
    LocalId::parse(&word.to_ascii_lowercase()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ulid::Ulid;

    use super::*;

    fn names(text: &str) -> Vec<String> {
        mentioned(text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_are_found_where_words_begin() {
        assert_eq!(names("@ada"), ["ada"]);
        assert_eq!(names("Hi @Ada, and (@code-helper)! Not you, @x_1."), ["ada", "code-helper", "x_1"]);
        assert_eq!(names("@ada: @ada @ADA"), ["ada"]);
        assert_eq!(names("first\n@ada.lovelace...\n\"@b\""), ["ada.lovelace", "b"]);
        assert_eq!(names("ünter @ünter @a"), ["a"]);
    }

    #[test]
    fn what_only_looks_like_a_mention_is_none() {
        for text in [
            "",
            "@",
            "@@ada",
            "@ ada",
            "ada@example.com",
            "ada.x@example.com",
            "@ada@example.com",
            "@adaé",
            "@-ada",
            &format!("@{}", "a".repeat(65)),
        ] {
            assert_eq!(names(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn texts_are_bounded() {
        assert!(MessageText::parse(&"a".repeat(MessageText::MAX_BYTES)).is_ok());
        let long = "é".repeat(MessageText::MAX_BYTES / 2 + 1);
        assert_eq!(MessageText::parse(&long), Err(InvalidMessageText::TooLong));
        assert_eq!(MessageText::parse(" \n\t"), Err(InvalidMessageText::Blank));
        assert_eq!(MessageText::parse("a\0"), Err(InvalidMessageText::NulCharacter));
        assert_eq!(MessageText::fitted(&long).unwrap().as_str().len(), MessageText::MAX_BYTES);
        assert_eq!(MessageText::fitted("a\0").unwrap().as_str(), "a\u{fffd}");
        assert_eq!(MessageText::fitted("  "), None);
    }

    #[test]
    fn power_is_bounded() {
        assert!(Power::of_number(50).unwrap().governs());
        assert!(!Power::of_number(49).unwrap().governs());
        assert!([-1, 101, i64::MAX].into_iter().all(|bad| Power::of_number(bad).is_err()));
    }

    fn seat(id: u128, power: i64, acts: bool) -> Seat {
        let participant_id = ParticipantId::from_ulid(Ulid(id));
        Seat { participant_id, power: Power::of_number(power).unwrap(), acts }
    }

    #[test]
    fn whoever_is_left_governs_when_nobody_else_can() {
        let who = |id| ParticipantId::from_ulid(Ulid(id));
        let seats = [seat(1, 100, true), seat(2, 0, true)];
        assert_eq!(power_of(&seats, who(1)), Some(Power::ALL));
        assert_eq!(power_of(&seats, who(2)), Some(Power::NONE));
        assert_eq!(power_of(&seats, who(3)), None);
        let seats = [seat(1, 100, false), seat(2, 0, true), seat(3, 0, false)];
        assert_eq!(power_of(&seats, who(2)), Some(Power::ALL));
        assert_eq!(power_of(&seats, who(3)), Some(Power::NONE));
    }

    #[test]
    fn the_last_who_governs_stays_while_others_are_there() {
        let who = ParticipantId::from_ulid(Ulid(1));
        assert!(!may_be_lowered(&[seat(1, 100, true), seat(2, 49, true)], who));
        assert!(may_be_lowered(&[seat(1, 100, true), seat(2, 50, true)], who));
        assert!(may_be_lowered(&[seat(1, 100, true), seat(2, 0, false)], who));
        assert!(may_be_lowered(&[seat(1, 0, true), seat(2, 50, true)], who));
        assert!(!may_go(&[seat(1, 100, true), seat(2, 0, false)], who));
        assert!(may_go(&[seat(2, 100, true), seat(1, 0, false)], who));
        assert!(may_go(&[seat(1, 0, true), seat(2, 50, true)], who));
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_in_bounds(text in "[@a-zA-Z0-9é ._\\n-]{0,300}") {
            let found = mentioned(&text);
            prop_assert!(found.len() <= MAX_MENTIONS);
            for (index, name) in found.iter().enumerate() {
                let spelled = format!("@{name}");
                prop_assert!(text.to_ascii_lowercase().contains(&spelled));
                prop_assert!(!found.iter().take(index).any(|before| before == name));
            }
        }

        #[test]
        fn a_name_between_words_is_found(
            name in "[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?",
            before in "[a-z !,(]*",
            after in "[!,);: ]?",
        ) {
            let text = format!("{before} @{name}{after}");
            prop_assert_eq!(names(&text), vec![name]);
        }
    }
}
