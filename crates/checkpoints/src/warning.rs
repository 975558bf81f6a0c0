//! What may keep a question from being answered.

use scaigrid_scope::text_enum;

use crate::assignee::{InvalidAssignee, Routing};

text_enum! {
    /// What a warning is about.
    pub enum WarningCode {
        /// Nobody whom the checkpoint asks can decide it.
        NobodyCanDecide => "NOBODY_CAN_DECIDE",
        /// Nobody whom it asks once its time is up can.
        EscalationReachesNobody => "ESCALATION_REACHES_NOBODY",
        /// What the program wrote can name nobody, so that those who run the tenant are asked instead.
        AssigneeUnreadable => "ASSIGNEE_UNREADABLE",
    }
}

/// When an assignee is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Now.
    Now,
    /// Once the time is up.
    Escalated,
}

/// Why an assignee leads to nobody who can decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// The text names nobody that could exist.
    Unreadable(InvalidAssignee),
    /// The tenant has no such user or group.
    Missing,
    /// Nobody is in the group, or holds the role.
    Empty,
    /// There is somebody, and none of them may decide.
    Powerless,
}

/// Something that whoever looks after a checkpoint should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What it is about.
    pub code: WarningCode,
    /// What a person reads.
    pub message: String,
}

impl Warning {
    /// The warning that an assignee leads to nobody.
    pub fn of(turn: Turn, routing: &Routing, why: Unreachable) -> Self {
        let when = match turn {
            Turn::Now => "",
            Turn::Escalated => " once its time is up",
        };
        let asked = &routing.assignee;
        let reason = match why {
            Unreachable::Unreadable(error) => {
                let raw = routing.raw.as_deref().unwrap_or_default();
                let message = format!(
                    "{raw:?} names nobody whom the checkpoint could ask{when} ({error}), so it asks those who run the tenant"
                );
                return Self { code: WarningCode::AssigneeUnreadable, message };
            }
            Unreachable::Missing => format!("the tenant has no {asked}"),
            Unreachable::Empty => format!("nobody is meant by {asked}"),
            Unreachable::Powerless => {
                format!(
                    "of {asked} nobody is active, may resolve checkpoints and is not kept from deciding this one"
                )
            }
        };
        let code = match turn {
            Turn::Now => WarningCode::NobodyCanDecide,
            Turn::Escalated => WarningCode::EscalationReachesNobody,
        };
        let message = format!(
            "nobody whom the checkpoint asks{when} can decide it: {reason}. Those who run the tenant can, or ask somebody else"
        );
        Self { code, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_says_whom_it_is_about_and_why() {
        let asks = |raw: &str| Routing::of_program(Some(raw), None);
        let group = asks("group:approvers");
        let found = Warning::of(Turn::Now, &group, Unreachable::Empty);
        assert_eq!(found.code.as_str(), "NOBODY_CAN_DECIDE");
        assert!(found.message.contains("group:approvers"), "{}", found.message);
        let found = Warning::of(Turn::Escalated, &group, Unreachable::Missing);
        assert_eq!(found.code, WarningCode::EscalationReachesNobody);
        let king = asks("role:king");
        let found =
            king.unreadable().map(|error| Warning::of(Turn::Now, &king, Unreachable::Unreadable(error)));
        let found = found.unwrap();
        assert_eq!(found.code, WarningCode::AssigneeUnreadable);
        assert!(
            found.message.contains("role:king") && found.message.contains("built-in role"),
            "{}",
            found.message
        );
        // Nobody in particular was meant.
        assert_eq!(asks("the boss").unreadable(), None);
        assert_eq!(group.unreadable(), None);
    }
}
