//! What helpers are asked, and how much of it they may answer on a day.

use scaigrid_scope::{Instant, InvocationId, ParticipantId, UserId};

use crate::participant::HelperConfig;

scaigrid_scope::text_enum! {
    /// What has become of a question to a helper.
    pub enum InvocationStatus {
        /// It is being answered.
        Running => "running",
        /// It was answered.
        Completed => "completed",
        /// It could not be answered.
        Failed => "failed",
    }
}

/// A question that a helper was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Its identifier.
    pub id: InvocationId,
    /// The helper.
    pub helper: ParticipantId,
    /// Who has asked: mostly another AI.
    pub asked_by: ParticipantId,
    /// The user in whose name it was asked.
    pub user_id: UserId,
    /// How the question begins.
    pub question: String,
    /// What has become of it. It stays `running` where it was broken off, as when the node died that had it answered.
    pub status: InvocationStatus,
    /// What it has used of models, read and written; an estimate until it has ended.
    pub tokens: u64,
    /// When it was asked.
    pub created_at: Instant,
    /// When it ended.
    pub finished_at: Option<Instant>,
}

/// The most characters that are kept of a question.
pub const MAX_EXCERPT: usize = 500;
/// The most bytes of a question.
pub const MAX_QUERY: usize = 16 * 1024;
/// How many questions may come one out of the other: a helper that asks a helper that asks a helper.
pub const MAX_DEPTH: u8 = 3;
/// What an answer is taken to have until it is known.
const EXPECTED_ANSWER: u64 = 512;

/// How a question begins, as it is kept.
pub fn excerpt(question: &str) -> String {
    question.chars().filter(|c| *c != '\0').take(MAX_EXCERPT).collect()
}

/// How many tokens a question is taken to need until it is known: one for four bytes of what is said, and some for the
/// answer.
pub fn estimate(texts: &[&str]) -> u64 {
    let bytes = texts.iter().map(|text| text.len()).fold(0_usize, usize::saturating_add);
    u64::try_from(bytes.div_ceil(4)).unwrap_or(u64::MAX).saturating_add(EXPECTED_ANSWER)
}

/// What a helper is told before its question: what it is here for, after its own prompt.
pub fn briefing(prompt: &str, helper: &HelperConfig) -> String {
    const MANNER: &str = "You are asked as a helper. Answer the one question that follows, completely and by itself: whoever \
                          asks cannot ask back, and you cannot either.";
    let role = helper.role_description.trim();
    let role = if role.is_empty() { String::new() } else { format!("Your role: {role}") };
    let parts = [prompt.trim(), role.as_str(), MANNER];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
}

/// The day in UTC that an instant is in, as `2026-11-21`.
pub fn day_of(at: Instant) -> String {
    at.to_string().chars().take(10).collect()
}

impl HelperConfig {
    /// Whether it may be asked once more on a day on which it has used so many tokens. Its last answer may go past the cap.
    pub fn has_tokens_left(&self, used: u64) -> bool {
        self.daily_token_cap.is_none_or(|cap| used < cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_question_a_beginning_is_kept() {
        assert_eq!(excerpt("a\0b"), "ab");
        assert_eq!(excerpt(&"é".repeat(MAX_EXCERPT + 1)), "é".repeat(MAX_EXCERPT));
    }

    #[test]
    fn an_estimate_grows_with_what_is_said() {
        assert_eq!(estimate(&[]), EXPECTED_ANSWER);
        assert_eq!(estimate(&["12345", "678"]), EXPECTED_ANSWER + 2);
    }

    #[test]
    fn a_cap_is_reached_by_what_was_used() {
        let capped = |cap| HelperConfig { daily_token_cap: cap, ..HelperConfig::default() };
        assert!(capped(None).has_tokens_left(u64::MAX));
        assert!(capped(Some(10)).has_tokens_left(9));
        assert!(!capped(Some(10)).has_tokens_left(10));
        assert!(!capped(Some(0)).has_tokens_left(0));
    }

    #[test]
    fn a_briefing_leaves_out_what_is_empty() {
        let of = |role: &str| HelperConfig { role_description: role.to_owned(), ..HelperConfig::default() };
        let full = briefing("Be brief.", &of("Knows law."));
        assert!(full.starts_with("Be brief.\n\nYour role: Knows law.\n\nYou are asked"), "{full}");
        assert!(briefing(" ", &of("")).starts_with("You are asked"));
    }

    #[test]
    fn a_day_is_that_of_utc() {
        let at = Instant::parse("2026-11-22T01:30:00+02:00").unwrap();
        assert_eq!(day_of(at), "2026-11-21");
    }
}
