//! Participants: everybody who can be in a room.
//!
//! A person is one by being a user; an AI is bound to a model and has a profile. An AI can also work as a *helper*, asked by
//! others as a tool.

use std::fmt;
use std::str::FromStr;

use scaigrid_catalog::ModelSlug;
use scaigrid_scope::{Instant, Name, ParticipantId, TenantId, UserId};

scaigrid_scope::text_enum! {
    /// What kind of participant it is.
    pub enum ParticipantKind {
        /// A user.
        Human => "human",
        /// An AI that is bound to a model.
        Model => "model",
        /// An AI at work on a task in a room of its own.
        Agent => "agent",
        /// A specialist that others call as a tool.
        Helper => "helper",
        /// The shadow of somebody on another network.
        Bridge => "bridge",
        /// A user of another tenant.
        Federated => "federated",
    }
}

scaigrid_scope::text_enum! {
    /// How an AI gives its answers.
    pub enum ResponseMode {
        /// One message, which grows while it is made.
        Streaming => "streaming",
        /// Whole, a message for each paragraph.
        Conversational => "conversational",
    }
}

/// The name by which a participant is mentioned, without the `@`: 1 to 64 of `a-z`, `0-9`, and inner `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalId(Box<str>);

/// Why a text cannot be a [`LocalId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 of a-z, 0-9 and inner dots, underscores and hyphens")]
pub struct InvalidLocalId;

impl LocalId {
    /// The greatest number of characters.
    pub const MAX_CHARS: usize = 64;

    /// Whether a character can stand in one.
    pub const fn takes(c: char) -> bool {
        c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-')
    }

    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidLocalId`].
    pub fn parse(text: &str) -> Result<Self, InvalidLocalId> {
        let outer = |c: char| matches!(c, '.' | '_' | '-');
        let good = (1..=Self::MAX_CHARS).contains(&text.len())
            && text.chars().all(Self::takes)
            && !text.starts_with(outer)
            && !text.ends_with(outer);
        if good { Ok(Self(text.into())) } else { Err(InvalidLocalId) }
    }

    /// The one that an e-mail address or another text suggests; none where nothing of it can stand in one.
    pub fn suggested_by(text: &str) -> Option<Self> {
        let before = text.split('@').next().unwrap_or_default().to_ascii_lowercase();
        let fit: String = before.chars().map(|c| if Self::takes(c) { c } else { '-' }).collect();
        let outer = |c: char| matches!(c, '.' | '_' | '-');
        let cut: String = fit.trim_matches(outer).chars().take(Self::MAX_CHARS - 16).collect();
        Self::parse(cut.trim_end_matches(outer)).ok()
    }

    /// The same with something behind it that makes it unlike others.
    #[must_use]
    pub fn told_apart(&self, by: &str) -> Option<Self> {
        Self::parse(&format!("{}-{}", self.0, by.to_ascii_lowercase())).ok()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LocalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for LocalId {
    type Err = InvalidLocalId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// What an AI is told before all else: up to 32 KiB, without U+0000, which not every database keeps. May be empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prompt(Box<str>);

/// Why a text cannot be a [`Prompt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrompt {
    /// It is too long.
    #[error("must be at most {} bytes", Prompt::MAX_BYTES)]
    TooLong,
    /// It holds U+0000.
    #[error("must not contain the character U+0000")]
    NulCharacter,
}

impl Prompt {
    /// The most bytes.
    pub const MAX_BYTES: usize = 32 * 1024;

    /// Checks a text.
    ///
    /// # Errors
    /// [`InvalidPrompt`].
    pub fn parse(text: &str) -> Result<Self, InvalidPrompt> {
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidPrompt::TooLong);
        }
        if text.contains('\0') { Err(InvalidPrompt::NulCharacter) } else { Ok(Self(text.into())) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.0.trim().is_empty()
    }
}

impl FromStr for Prompt {
    type Err = InvalidPrompt;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// How freely a model answers, in hundredths: 0 to 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Temperature(u8);

impl Temperature {
    /// Of hundredths; none beyond 200.
    pub const fn of_hundredths(hundredths: i64) -> Option<Self> {
        if hundredths >= 0 && hundredths <= 200 {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 0 to 200")]
            let small = hundredths as u8;
            Some(Self(small))
        } else {
            None
        }
    }

    /// Of a number from 0 to 2, to the nearest hundredth.
    pub fn of_number(number: f64) -> Option<Self> {
        if !(0.0..=2.0).contains(&number) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "it is 0 to 200")]
        let hundredths = (number * 100.0).round() as i64;
        Self::of_hundredths(hundredths)
    }

    /// In hundredths.
    pub const fn hundredths(self) -> u8 {
        self.0
    }

    /// As models take it.
    pub fn number(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

/// How an AI answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AiProfile {
    /// What it is told before all else.
    pub system_prompt: Prompt,
    /// How it gives its answers.
    pub response_mode: ResponseMode,
    /// The plugins that it may use, by id; none for all that the tenant has enabled.
    pub plugins: Option<Vec<String>>,
    /// How freely it answers; none for the model's own way.
    pub temperature: Option<Temperature>,
}

impl AiProfile {
    /// The most plugins that one can name.
    pub const MAX_PLUGINS: usize = 64;
}

impl Default for AiProfile {
    fn default() -> Self {
        Self {
            system_prompt: Prompt::default(),
            response_mode: ResponseMode::Streaming,
            plugins: None,
            temperature: None,
        }
    }
}

/// The work of an AI as a helper: others ask it as a tool, once at a time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HelperConfig {
    /// Whether it can be asked.
    pub enabled: bool,
    /// What it is good for, as those who may ask it are told.
    pub role_description: String,
    /// How freely it answers then.
    pub temperature: Option<Temperature>,
    /// How many tokens it may use on a day (UTC); none for no cap of its own.
    pub daily_token_cap: Option<u64>,
    /// Whether it may be asked by plans.
    pub planner_enabled: bool,
    /// Whether it is offered by the general tool alone, and has none of its own.
    pub dispatcher_only: bool,
}

impl HelperConfig {
    /// The most characters of a role's description.
    pub const MAX_DESCRIPTION: usize = 2_000;
}

/// What a participant is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A user, whose name and status are theirs.
    Human(UserId),
    /// An AI.
    Ai {
        /// The model that answers.
        model: ModelSlug,
        /// How it answers.
        profile: AiProfile,
        /// Its work as a helper, if it has been given one.
        helper: Option<HelperConfig>,
    },
}

/// A participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    /// Its identifier.
    pub id: ParticipantId,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// What kind it is.
    pub kind: ParticipantKind,
    /// The name by which it is mentioned.
    pub local_id: LocalId,
    /// What people call it: of a user their name, or their address where they gave none.
    pub display_name: Name,
    /// What it is.
    pub who: Who,
    /// Whether it takes part at present: an AI that is enabled, a user who is active.
    pub enabled: bool,
    /// Counts the changes, from 1; what an entity tag is made of.
    pub revision: i64,
    /// When it was added.
    pub created_at: Instant,
    /// When it was last changed.
    pub updated_at: Instant,
}

impl Participant {
    /// The name that is unique on all servers: `@local_id:server`.
    pub fn full_name(&self, server: &str) -> String {
        format!("@{}:{server}", self.local_id)
    }
}

/// What is to be changed of an AI; what is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AiChanges {
    /// The new name to mention it by.
    pub local_id: Option<LocalId>,
    /// What people call it from now on.
    pub display_name: Option<Name>,
    /// What it is told before all else.
    pub system_prompt: Option<Prompt>,
    /// How it gives its answers.
    pub response_mode: Option<ResponseMode>,
    /// The plugins that it may use, or all that the tenant has enabled.
    pub plugins: Option<Option<Vec<String>>>,
    /// How freely it answers, or the model's own way.
    pub temperature: Option<Option<Temperature>>,
    /// Whether it takes part.
    pub enabled: Option<bool>,
}

impl AiChanges {
    /// A participant with these changes; its revision and times are whoever writes it to set. A person stays as they are.
    pub fn applied_to(&self, mut participant: Participant) -> Participant {
        let Who::Ai { profile, .. } = &mut participant.who else { return participant };
        let Self { local_id, display_name, system_prompt, response_mode, plugins, temperature, enabled } =
            self.clone();
        profile.system_prompt = system_prompt.unwrap_or_else(|| std::mem::take(&mut profile.system_prompt));
        profile.response_mode = response_mode.unwrap_or(profile.response_mode);
        profile.plugins = plugins.unwrap_or_else(|| profile.plugins.take());
        profile.temperature = temperature.unwrap_or(profile.temperature);
        participant.local_id = local_id.unwrap_or(participant.local_id);
        participant.display_name = display_name.unwrap_or(participant.display_name);
        participant.enabled = enabled.unwrap_or(participant.enabled);
        participant
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn local_ids_are_what_one_can_mention() {
        for good in ["a", "code-helper", "ada.lovelace", "x_1", &"a".repeat(64)] {
            assert!(LocalId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a.", "A", "a b", "a@b", "é", &"a".repeat(65)] {
            assert!(LocalId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn temperatures_are_hundredths() {
        assert_eq!(Temperature::of_number(0.7).map(Temperature::hundredths), Some(70));
        assert_eq!(Temperature::of_hundredths(30).map(Temperature::number), Some(0.3));
        for bad in [-0.1, 2.01, f64::NAN, f64::INFINITY] {
            assert_eq!(Temperature::of_number(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_suggested_can_be_told_apart(text: String) {
            if let Some(id) = LocalId::suggested_by(&text) {
                prop_assert!(id.told_apart("01JZ8QZ5T00000").is_some());
            }
        }
    }
}
