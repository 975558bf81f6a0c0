//! Which events a webhook wants.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::EventType;

/// A wish for events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subscription {
    /// All of them, also those of later versions: `*`.
    All,
    /// Those of a family, e.g. `scaicore.*`.
    Family(&'static str),
    /// Those of one type.
    Only(EventType),
}

/// A text that is no wish for events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be *, a type of event (scaicore.checkpoint_pending) or a family of them (scaicore.*)")]
pub struct InvalidSubscription;

impl Subscription {
    /// Whether an event of this type is wanted.
    pub fn wants(self, event: EventType) -> bool {
        match self {
            Self::All => true,
            Self::Family(family) => {
                event.as_str().strip_prefix(family).is_some_and(|rest| rest.starts_with('.'))
            }
            Self::Only(only) => only == event,
        }
    }
}

impl fmt::Display for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Family(family) => write!(f, "{family}.*"),
            Self::Only(event) => event.fmt(f),
        }
    }
}

impl FromStr for Subscription {
    type Err = InvalidSubscription;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::All);
        }
        if let Some(family) = text.strip_suffix(".*") {
            let known = EventType::ALL.iter().map(|event| event.as_str());
            // A family is a beginning of a type that is known, up to one of its dots.
            let found = known.filter(|name| *name != EventType::WebhookTest.as_str()).find_map(|name| {
                let rest = name.strip_prefix(family)?;
                rest.starts_with('.').then(|| name.get(..family.len())).flatten()
            });
            return found.map(Self::Family).ok_or(InvalidSubscription);
        }
        match text.parse() {
            Ok(EventType::WebhookTest) | Err(_) => Err(InvalidSubscription),
            Ok(event) => Ok(Self::Only(event)),
        }
    }
}

/// All wishes of a webhook: at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriptions(BTreeSet<Subscription>);

impl Subscriptions {
    /// The most wishes of one webhook.
    pub const MAX: usize = 50;

    /// The wishes, each once; `None` when there is none, or too many.
    pub fn new(wishes: impl IntoIterator<Item = Subscription>) -> Option<Self> {
        let wishes: BTreeSet<_> = wishes.into_iter().collect();
        (1..=Self::MAX).contains(&wishes.len()).then_some(Self(wishes))
    }

    /// Whether an event of this type is wanted. A test is told to whoever is tested.
    pub fn want(&self, event: EventType) -> bool {
        event != EventType::WebhookTest && self.0.iter().any(|wish| wish.wants(event))
    }

    /// The wishes.
    pub fn iter(&self) -> impl Iterator<Item = Subscription> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_texts() {
        for text in [
            "*",
            "scaicore.*",
            "scaikey.*",
            "scaikey.user.*",
            "scaicore.checkpoint_pending",
            "module.enabled",
        ] {
            assert_eq!(text.parse::<Subscription>().unwrap().to_string(), text);
        }
        for event in EventType::ALL.iter().filter(|event| **event != EventType::WebhookTest) {
            assert_eq!(event.as_str().parse(), Ok(Subscription::Only(*event)));
        }
        for text in [
            "",
            "**",
            ".*",
            "scaicore",
            "scaicore.",
            "scai.*",
            "scaicore.checkpoint_*",
            "scaicore.checkpoint_pending.*",
            "user.created",
            "webhook.test",
            "webhook.*",
            "*.*",
        ] {
            assert!(text.parse::<Subscription>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_webhook_gets_what_it_wants() {
        let wishes = |texts: &[&str]| Subscriptions::new(texts.iter().map(|text| text.parse().unwrap()));
        let some = wishes(&["scaicore.*", "module.enabled", "module.enabled"]).unwrap();
        assert_eq!(some.iter().count(), 2);
        assert!(some.want(EventType::CheckpointPending) && some.want(EventType::ModuleEnabled));
        assert!(!some.want(EventType::ModuleDisabled) && !some.want(EventType::UserCreated));
        let all = wishes(&["*"]).unwrap();
        assert!(EventType::ALL.iter().all(|event| all.want(*event) == (*event != EventType::WebhookTest)));
        assert_eq!(wishes(&[]), None);
    }
}
