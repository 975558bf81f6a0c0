//! What a model is asked when an AI answers in a room: its prompt, what plugins have to say, where it is, what was said before,
//! and what it answers; as much of it as the model can read.

use std::borrow::Cow;

use serde_json::{Value, json};

scaigrid_scope::text_enum! {
    /// In whose name a part of the question stands.
    pub enum Role {
        /// The platform's, to the model.
        System => "system",
        /// Of whoever the model listens to.
        User => "user",
        /// The model's own.
        Assistant => "assistant",
    }
}

scaigrid_scope::text_enum! {
    /// How long a model thinks before it answers.
    pub enum ReasoningEffort {
        /// Hardly.
        Minimal => "minimal",
        /// Briefly.
        Low => "low",
        /// As usual.
        Medium => "medium",
        /// Thoroughly.
        High => "high",
    }
}

/// How much the participant's prompt counts, and what it answers: they are never left out.
pub const ALWAYS: u8 = 100;
/// How much counts what plugins have to say.
const OF_PLUGINS: u8 = 80;
/// How much counts where it is.
const OF_THE_ROOM: u8 = 60;
/// How much counts what was said before.
const OF_HISTORY: u8 = 40;

/// How many tokens a question may have where the model says nothing of what it can read.
pub const BUDGET_OF_UNKNOWN: u64 = 8_192;
/// What a message costs beside its content, in tokens.
const PER_MESSAGE: u64 = 4;
/// How many bytes make a token.
const BYTES_PER_TOKEN: u64 = 4;

/// How many tokens a question may have: what the model can read without the room for its answer. Where it does not say how much
/// that is, or leaves nothing for the question, a quarter of all is the answer's.
pub fn budget(context_window: Option<u32>, max_output_tokens: Option<u32>) -> u64 {
    let Some(window) = context_window.filter(|window| *window > 0).map(u64::from) else {
        return BUDGET_OF_UNKNOWN;
    };
    let answer = max_output_tokens.map(u64::from).filter(|most| *most < window);
    window - answer.unwrap_or(window / 4)
}

/// How many tokens a message of this content costs, about.
pub fn estimate(content: &str) -> u64 {
    let bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
    bytes.div_ceil(BYTES_PER_TOKEN).saturating_add(PER_MESSAGE)
}

/// Who speaks in a room, as the AI that is asked hears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Speaker {
    /// The AI itself.
    Itself,
    /// Somebody else, by the name that people call them: a person, or another AI.
    Other(String),
}

/// Something that was said in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// By whom.
    pub speaker: Speaker,
    /// What.
    pub text: String,
}

/// What a question is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// The participant's prompt; none where it is empty.
    pub prompt: String,
    /// What plugins have to say: `plugin:<id>` and the text.
    pub contexts: Vec<(String, String)>,
    /// Where the AI is and who is with it.
    pub room: String,
    /// What was said before, the oldest first.
    pub history: Vec<Line>,
    /// What is answered.
    pub trigger: Option<Line>,
    /// Whether there are more in the room than the AI and one other, so that it must be told who speaks.
    pub group: bool,
}

/// A part of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// In whose name it stands.
    pub role: Role,
    /// Where it comes from: `system:participant`, `plugin:<id>`, `system:room`, `history` or `trigger`.
    pub source: Cow<'static, str>,
    /// How much it counts; what counts least is left out first.
    pub priority: u8,
    /// What it says.
    pub content: String,
}

/// A question that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composed {
    /// What the model is asked, in order.
    pub messages: Vec<Part>,
    /// How many tokens that is, about.
    pub estimated_tokens: u64,
    /// How many it may be.
    pub budget: u64,
    /// What had to be left out, in the order that it would have had.
    pub trimmed: Vec<Part>,
}

/// The prompt and what is answered are too long by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the prompt and what is answered are {needed} tokens, and the model reads {budget}")]
pub struct TooLong {
    /// How many tokens they are, about.
    pub needed: u64,
    /// How many there may be.
    pub budget: u64,
}

/// A name in one line.
fn one_line(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The line that tells an AI where it is and who is with it; of a big room the first twenty.
pub fn room_line(room: &str, itself: &str, present: &[String]) -> String {
    const NAMED: usize = 20;
    let here = format!("You are {} in the room \"{}\".", one_line(itself), one_line(room));
    let named: Vec<String> = present.iter().take(NAMED).map(|name| one_line(name)).collect();
    match (named.join(", "), present.len().saturating_sub(NAMED)) {
        (none, _) if none.is_empty() => here,
        (named, 0) => format!("{here} Present: {named}."),
        (named, more) => format!("{here} Present: {named}, and {more} more."),
    }
}

impl Line {
    fn part(self, source: &'static str, priority: u8, group: bool) -> Part {
        let (role, content) = match self.speaker {
            Speaker::Itself => (Role::Assistant, self.text),
            Speaker::Other(name) if group => (Role::User, format!("{}: {}", one_line(&name), self.text)),
            Speaker::Other(_) => (Role::User, self.text),
        };
        Part { role, source: Cow::Borrowed(source), priority, content }
    }
}

impl Parts {
    /// Everything in order.
    fn into_messages(self) -> Vec<Part> {
        let system = |source: Cow<'static, str>, priority, content: String| {
            let part = Part { role: Role::System, source, priority, content };
            (!part.content.trim().is_empty()).then_some(part)
        };
        let mut all = Vec::new();
        all.extend(system(Cow::Borrowed("system:participant"), ALWAYS, self.prompt));
        for (source, text) in self.contexts {
            all.extend(system(Cow::Owned(source), OF_PLUGINS, text));
        }
        all.extend(system(Cow::Borrowed("system:room"), OF_THE_ROOM, self.room));
        let group = self.group;
        all.extend(self.history.into_iter().map(|line| line.part("history", OF_HISTORY, group)));
        all.extend(self.trigger.map(|line| line.part("trigger", ALWAYS, group)));
        all
    }
}

/// Puts a question together that is at most `budget` tokens: what counts least is left out first, and of what counts the same the
/// oldest.
///
/// # Errors
/// [`TooLong`] when even the prompt and what is answered do not fit.
pub fn compose(parts: Parts, budget: u64) -> Result<Composed, TooLong> {
    let all = parts.into_messages();
    let costs: Vec<u64> = all.iter().map(|part| estimate(&part.content)).collect();
    let mut total = costs.iter().fold(0_u64, |sum, cost| sum.saturating_add(*cost));
    let mut expendable: Vec<(u8, usize, u64)> = all
        .iter()
        .zip(&costs)
        .enumerate()
        .filter(|(_, (part, _))| part.priority < ALWAYS)
        .map(|(index, (part, cost))| (part.priority, index, *cost))
        .collect();
    expendable.sort_unstable();
    let mut left_out = vec![false; all.len()];
    for (_, index, cost) in expendable {
        if total <= budget {
            break;
        }
        if let Some(out) = left_out.get_mut(index) {
            *out = true;
        }
        total = total.saturating_sub(cost);
    }
    if total > budget {
        return Err(TooLong { needed: total, budget });
    }
    let (mut messages, mut trimmed) = (Vec::new(), Vec::new());
    for (part, out) in all.into_iter().zip(left_out) {
        if out { trimmed.push(part) } else { messages.push(part) }
    }
    Ok(Composed { messages, estimated_tokens: total, budget, trimmed })
}

impl Composed {
    /// The messages as models take them. What the platform says is one message: some models know no more of them.
    pub fn to_openai(&self) -> Vec<Value> {
        let of_system = |part: &&Part| part.role == Role::System;
        let system: Vec<&str> =
            self.messages.iter().filter(of_system).map(|part| part.content.as_str()).collect();
        let mut all = Vec::with_capacity(self.messages.len());
        if !system.is_empty() {
            all.push(json!({"role": "system", "content": system.join("\n\n")}));
        }
        let said = self.messages.iter().filter(|part| part.role != Role::System);
        all.extend(said.map(|part| json!({"role": part.role.as_str(), "content": part.content})));
        all
    }
}

/// The most messages that an answer is split into.
pub const MAX_MESSAGES: usize = 8;

/// The paragraphs of an answer, each a message of its own; what is more than [`MAX_MESSAGES`] stays together in the last. Blocks of
/// code are not torn. Never empty for a text that is not blank.
pub fn paragraphs(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let (mut open, mut in_code) = (String::new(), false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        let last = found.len() + 1 >= MAX_MESSAGES;
        if line.trim().is_empty() && !in_code && !last {
            if !open.trim().is_empty() {
                found.push(open.trim().to_owned());
                open.clear();
            }
        } else {
            open.push_str(line);
            open.push('\n');
        }
    }
    if !open.trim().is_empty() {
        found.push(open.trim().to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn said(name: &str, text: &str) -> Line {
        Line { speaker: Speaker::Other(name.into()), text: text.into() }
    }

    fn itself(text: &str) -> Line {
        Line { speaker: Speaker::Itself, text: text.into() }
    }

    fn parts() -> Parts {
        Parts {
            prompt: "Be brief.".into(),
            contexts: vec![("plugin:clock".into(), "It is noon.".into())],
            room: room_line("Atelier", "Ada", &["Grace".into(), "Alan".into()]),
            history: vec![said("Grace", "Hello"), itself("Good day"), said("Alan", "Hi")],
            trigger: Some(said("Grace", "What now?")),
            group: true,
        }
    }

    #[test]
    fn a_question_has_its_parts_in_order_and_says_who_speaks() {
        let composed = compose(parts(), 1000).unwrap();
        let seen: Vec<(&str, &str, u8)> =
            composed.messages.iter().map(|part| (part.role.as_str(), &*part.source, part.priority)).collect();
        assert_eq!(
            seen,
            [
                ("system", "system:participant", 100),
                ("system", "plugin:clock", 80),
                ("system", "system:room", 60),
                ("user", "history", 40),
                ("assistant", "history", 40),
                ("user", "history", 40),
                ("user", "trigger", 100),
            ]
        );
        let asked = composed.to_openai();
        assert_eq!(
            asked[0]["content"],
            "Be brief.\n\nIt is noon.\n\nYou are Ada in the room \"Atelier\". Present: Grace, Alan."
        );
        assert_eq!(asked[1]["content"], "Grace: Hello");
        assert_eq!(asked[2], json!({"role": "assistant", "content": "Good day"}));
        assert_eq!(asked[4]["content"], "Grace: What now?");
        let alone = compose(Parts { group: false, ..parts() }, 1000).unwrap();
        assert_eq!(alone.to_openai()[4]["content"], "What now?");
    }

    #[test]
    fn the_oldest_goes_first_and_the_prompt_never() {
        let whole = compose(parts(), 1000).unwrap();
        let less = compose(parts(), whole.estimated_tokens - 1).unwrap();
        assert_eq!(less.trimmed, [whole.messages[3].clone()]);
        let needed = estimate("Be brief.") + estimate("Grace: What now?");
        let least = compose(parts(), needed).unwrap();
        let sources: Vec<&str> = least.messages.iter().map(|part| &*part.source).collect();
        assert_eq!((sources, least.estimated_tokens), (vec!["system:participant", "trigger"], needed));
        let too_long = compose(parts(), needed - 1).unwrap_err();
        assert_eq!(too_long, TooLong { needed, budget: needed - 1 });
    }

    #[test]
    fn a_budget_leaves_room_for_the_answer() {
        assert_eq!(budget(None, Some(100)), 8_192);
        assert_eq!(budget(Some(1000), Some(100)), 900);
        assert_eq!(budget(Some(1000), None), 750);
        assert_eq!(budget(Some(1000), Some(1000)), 750);
    }

    #[test]
    fn paragraphs_are_messages_and_code_is_whole() {
        assert_eq!(paragraphs("one\n\n\ntwo\nmore\n"), ["one", "two\nmore"]);
        assert_eq!(paragraphs("```\na\n\nb\n```\n\nend"), ["```\na\n\nb\n```", "end"]);
        assert!(paragraphs(" \n\n").is_empty());
        let many = (0..20).map(|n| n.to_string()).collect::<Vec<_>>().join("\n\n");
        let split = paragraphs(&many);
        assert_eq!(split.len(), MAX_MESSAGES);
        assert!(split[7].starts_with("7\n\n8") && split[7].ends_with("19"), "{split:?}");
    }

    proptest! {
        #[test]
        fn whatever_fits_is_within_the_budget_in_order_and_has_what_is_answered(
            prompt in ".{0,60}",
            contexts in vec(".{1,60}", 0..4),
            history in vec((any::<bool>(), ".{0,80}"), 0..20),
            trigger in ".{0,80}",
            group: bool,
            budget in 0_u64..300,
        ) {
            let history = history.into_iter().map(|(own, text)| if own { itself(&text) } else { said("G", &text) });
            let parts = Parts {
                prompt,
                contexts: contexts.into_iter().map(|text| ("plugin:x".to_owned(), text)).collect(),
                room: "You are here.".into(),
                history: history.collect(),
                trigger: Some(said("G", &trigger)),
                group,
            };
            let all = parts.clone().into_messages();
            match compose(parts, budget) {
                Ok(composed) => {
                    let sum: u64 = composed.messages.iter().map(|part| estimate(&part.content)).sum();
                    prop_assert_eq!(sum, composed.estimated_tokens);
                    prop_assert!(sum <= budget);
                    prop_assert_eq!(composed.messages.last(), all.last());
                    let prompt = |part: &&Part| part.source == "system:participant";
                    prop_assert_eq!(composed.messages.iter().find(prompt), all.iter().find(prompt));
                    // Both are what there was, in its order, and together all of it. Of two that say the same, the older is out.
                    let (mut kept, mut out) = (composed.messages.iter().peekable(), composed.trimmed.iter().peekable());
                    for part in &all {
                        prop_assert!(out.next_if_eq(&part).is_some() || kept.next_if_eq(&part).is_some());
                    }
                    prop_assert!(kept.next().is_none() && out.next().is_none());
                    // What was said last is kept longest.
                    let least = composed.messages.iter().map(|part| part.priority).min();
                    let dearest = composed.trimmed.iter().map(|part| part.priority).max();
                    prop_assert!(dearest.is_none_or(|dearest| least.is_none_or(|least| dearest <= least)));
                }
                Err(TooLong { needed, .. }) => prop_assert!(needed > budget),
            }
        }
    }
}
