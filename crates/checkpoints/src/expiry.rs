//! What happens to a question that no one answers in time.

use scaigrid_scope::{Instant, text_enum};

use crate::assignee::Routing;

text_enum! {
    /// What happens when the time is up, without the particulars.
    pub enum ExpiryKind {
        /// The flow gets an error that it can catch.
        Expire => "expire",
        /// Someone else is asked, and may take as long as they like.
        Escalate => "escalate",
        /// An option is taken as if a person had decided so.
        Resolve => "resolve",
    }
}

/// What happens when the time is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpiryAction {
    /// See [`ExpiryKind::Expire`].
    Expire,
    /// See [`ExpiryKind::Escalate`].
    Escalate {
        /// Who is asked then.
        to: Routing,
    },
    /// See [`ExpiryKind::Resolve`].
    Resolve {
        /// The option that is taken.
        option: String,
    },
}

impl ExpiryAction {
    /// The kind alone.
    pub const fn kind(&self) -> ExpiryKind {
        match self {
            Self::Expire => ExpiryKind::Expire,
            Self::Escalate { .. } => ExpiryKind::Escalate,
            Self::Resolve { .. } => ExpiryKind::Resolve,
        }
    }

    /// The stored and sent form: `expire`, `escalate` or `resolve:<option>`. The target of an escalation stands
    /// beside it.
    pub fn text(&self) -> String {
        match self {
            Self::Resolve { option } => format!("{}:{option}", ExpiryKind::Resolve),
            other => other.kind().to_string(),
        }
    }

    /// Reads the stored form together with the target of an escalation, which must be there if, and only if, there
    /// is an escalation.
    pub fn from_stored(text: &str, target: Option<Routing>) -> Option<Self> {
        match (text, target) {
            ("expire", None) => Some(Self::Expire),
            ("escalate", Some(to)) => Some(Self::Escalate { to }),
            (text, None) => {
                text.strip_prefix("resolve:").map(|option| Self::Resolve { option: option.to_owned() })
            }
            _ => None,
        }
    }

    /// Who is asked upon an escalation.
    pub const fn escalation_target(&self) -> Option<&Routing> {
        match self {
            Self::Escalate { to } => Some(to),
            Self::Expire | Self::Resolve { .. } => None,
        }
    }
}

/// When the time is up, and what happens then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// The first instant that is too late.
    pub at: Instant,
    /// What happens then.
    pub action: ExpiryAction,
}

impl Expiry {
    /// Whether the time is up.
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_reads_back() {
        let to = Routing::of_program(Some("role:tenant_admin"), None);
        for action in [
            ExpiryAction::Expire,
            ExpiryAction::Escalate { to: to.clone() },
            ExpiryAction::Resolve { option: "reject: late".into() },
        ] {
            let read = ExpiryAction::from_stored(&action.text(), action.escalation_target().cloned());
            assert_eq!(read, Some(action));
        }
        assert_eq!(ExpiryAction::from_stored("escalate", None), None);
        assert_eq!(ExpiryAction::from_stored("expire", Some(to)), None);
        assert_eq!(ExpiryAction::from_stored("explode", None), None);
    }
}
