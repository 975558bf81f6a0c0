//! The statuses of a Core and the one function that moves between them.
//!
//! | action | legal from |
//! |---|---|
//! | start | created, configuring, stopped, error |
//! | stop | running |
//! | restart | any |
//! | pause | running |
//! | resume | paused, suspended |
//! | delete | any |
//!
//! Restart means the same wherever it is legal: whatever the Core is doing, it ends up checked and running. What
//! was alive becomes `restarting` and its executions are held, not drained: they are durable and go on once the
//! start has succeeded. What was not alive becomes `starting`. A start that is under way is left to finish, so
//! restarting twice is restarting once; a stop that is under way is given up.
//!
//! A paused Core that is resumed just goes on; a suspended one is checked again first, since what the platform
//! held it for may be what a start checks.
//!
//! The remaining actions are what the engine and the platform report. They have no endpoint.

use scaigrid_scope::text_enum;

text_enum! {
    /// Where a Core is in its life.
    pub enum Status {
        /// It has a source and was never started.
        Created => "created",
        /// It has no source yet.
        Configuring => "configuring",
        /// It is being checked before it runs.
        Starting => "starting",
        /// It takes work.
        Running => "running",
        /// It takes no more work and finishes what it has.
        Stopping => "stopping",
        /// It does nothing.
        Stopped => "stopped",
        /// Someone holds it.
        Paused => "paused",
        /// The platform holds it: module disabled, tenant suspended, delegation ended, limit hit.
        Suspended => "suspended",
        /// A check or the Core itself failed; its last error says why.
        Error => "error",
        /// The node that ran it is gone.
        Crashed => "crashed",
        /// It was alive and is being checked before it runs again.
        Restarting => "restarting",
    }
}

text_enum! {
    /// What can be done to a Core, or befall it.
    pub enum Action {
        /// Check it and let it run.
        Start => "start",
        /// Let it finish what it does and take no more.
        Stop => "stop",
        /// Have it checked and running, wherever it is.
        Restart => "restart",
        /// Hold it.
        Pause => "pause",
        /// Let it go on.
        Resume => "resume",
        /// Remove it.
        Delete => "delete",
        /// The checks of a start have succeeded.
        Started => "started",
        /// The checks of a start have failed, or the Core cannot go on.
        Fail => "fail",
        /// The last execution of a stopping Core has ended or is parked.
        Stopped => "stopped",
        /// The node that ran the Core is gone.
        Crash => "crash",
        /// A node takes a crashed Core over.
        Recover => "recover",
        /// A source was given to a Core that had none.
        SourceAdded => "source_added",
        /// The source was taken from a Core that is not alive.
        SourceRemoved => "source_removed",
        /// The platform holds the Core.
        PlatformSuspend => "platform_suspend",
        /// The reason for holding it is gone.
        PlatformResume => "platform_resume",
    }
}

impl Action {
    /// Whether someone asks for this, as against something reporting it.
    pub const fn is_request(self) -> bool {
        matches!(self, Self::Start | Self::Stop | Self::Restart | Self::Pause | Self::Resume | Self::Delete)
    }
}

/// What becomes of a Core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It has this status.
    Status(Status),
    /// It is gone.
    Deleted,
}

/// What has to be done because of a transition, after it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowUp {
    /// Nothing.
    Nothing,
    /// Check program, privileges, environment and identity, and report `started` or `fail`.
    CheckAndStart,
    /// Let executions run to their end or to the next wait, and report `stopped`.
    Drain,
    /// Take no further step in any execution.
    Hold,
    /// Go on with the executions that were held.
    Continue,
    /// Drop executions, checkpoints and everything else that belongs to the Core.
    Forget,
}

/// A move that was found legal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The status before. A write must find it unchanged.
    pub from: Status,
    /// What becomes of the Core.
    pub to: Outcome,
    /// What has to be done then.
    pub follow_up: FollowUp,
}

/// A move that is not legal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a Core that is {from} cannot {attempted}")]
pub struct InvalidTransition {
    /// The status of the Core.
    pub from: Status,
    /// What was attempted.
    pub attempted: Action,
    /// What would have been legal: requests if a request was attempted, else reports.
    pub legal: Vec<Action>,
}

impl Status {
    /// The status of a new Core.
    pub const fn at_creation(has_source: bool) -> Self {
        if has_source { Self::Created } else { Self::Configuring }
    }

    /// The status after an action, and what follows from it.
    pub fn apply(self, action: Action) -> Result<Transition, InvalidTransition> {
        self.next(action).map(|(to, follow_up)| Transition { from: self, to, follow_up }).ok_or_else(|| {
            let same_kind = |legal: &Action| legal.is_request() == action.is_request();
            let legal = Action::ALL.iter().copied().filter(same_kind).filter(|legal| self.allows(*legal));
            InvalidTransition { from: self, attempted: action, legal: legal.collect() }
        })
    }

    /// Whether an action is legal.
    pub const fn allows(self, action: Action) -> bool {
        self.next(action).is_some()
    }

    /// Whether new work (invocations, events, triggers) is taken.
    pub const fn can_accept_work(self) -> bool {
        matches!(self, Self::Running)
    }

    /// Whether executions that have begun may take steps. A stopping Core finishes what it has.
    pub const fn can_run(self) -> bool {
        matches!(self, Self::Running | Self::Stopping)
    }

    /// Whether the Core is meant to be alive, so that taking away its source would break it.
    pub const fn is_alive(self) -> bool {
        matches!(
            self,
            Self::Starting
                | Self::Running
                | Self::Stopping
                | Self::Paused
                | Self::Suspended
                | Self::Crashed
                | Self::Restarting
        )
    }

    #[expect(clippy::match_same_arms, reason = "one line for each row of the table")]
    const fn next(self, action: Action) -> Option<(Outcome, FollowUp)> {
        use FollowUp::{CheckAndStart, Continue, Drain, Forget, Hold, Nothing};
        use Status::{
            Configuring, Crashed, Created, Error, Paused, Restarting, Running, Starting, Stopped, Stopping,
            Suspended,
        };
        let (to, follow_up) = match (action, self) {
            (Action::Start, Created | Configuring | Stopped | Error) => (Starting, CheckAndStart),
            (Action::Stop, Running) => (Stopping, Drain),
            (Action::Restart, Created | Configuring | Stopped | Error) => (Starting, CheckAndStart),
            (Action::Restart, Running | Stopping | Paused | Suspended | Crashed) => {
                (Restarting, CheckAndStart)
            }
            (Action::Restart, Starting) => (Starting, Nothing),
            (Action::Restart, Restarting) => (Restarting, Nothing),
            (Action::Pause, Running) => (Paused, Hold),
            (Action::Resume, Paused) => (Running, Continue),
            // The platform may have taken hold before the start's checks were through, or because of what they check.
            (Action::Resume, Suspended) => (Restarting, CheckAndStart),
            (Action::Delete, _) => return Some((Outcome::Deleted, Forget)),

            (Action::Started, Starting | Restarting) => (Running, Continue),
            (Action::Fail, Starting | Restarting | Running) => (Error, Hold),
            (Action::Stopped, Stopping) => (Stopped, Nothing),
            // What was paused or stopping is so durably, and another node simply goes on with that.
            (Action::Crash, Starting | Running | Restarting) => (Crashed, Nothing),
            (Action::Recover, Crashed) => (Restarting, CheckAndStart),
            (Action::SourceAdded, Configuring) => (Created, Nothing),
            (Action::SourceRemoved, Created | Stopped | Error) => (Configuring, Nothing),
            // A paused Core stays paused: when the platform lets go, it must not run against its holder's will.
            (Action::PlatformSuspend, Starting | Running | Restarting | Crashed) => (Suspended, Hold),
            (Action::PlatformResume, Suspended) => (Restarting, CheckAndStart),
            _ => return None,
        };
        Some((Outcome::Status(to), follow_up))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    /// The published table, as it is printed: endpoint and where it is legal from.
    const TABLE: [(&str, &str); 5] = [
        ("start", "created, configuring, stopped, error"),
        ("stop", "running"),
        ("restart", "any"),
        ("pause", "running"),
        ("resume", "paused, suspended"),
    ];

    fn legal_by_table(action: Action, status: Status) -> bool {
        // Deletion is unconditional.
        let (_, from) = TABLE
            .iter()
            .copied()
            .find(|(endpoint, _)| *endpoint == action.as_str())
            .unwrap_or(("delete", "any"));
        from == "any" || from.split(", ").any(|from| from == status.as_str())
    }

    #[test]
    fn the_requests_lead_where_the_table_says() {
        let to = |status: Status, action| status.apply(action).unwrap().to;
        assert_eq!(to(Status::Created, Action::Start), Outcome::Status(Status::Starting));
        assert_eq!(to(Status::Starting, Action::Started), Outcome::Status(Status::Running));
        assert_eq!(to(Status::Running, Action::Stop), Outcome::Status(Status::Stopping));
        assert_eq!(to(Status::Stopping, Action::Stopped), Outcome::Status(Status::Stopped));
        assert_eq!(to(Status::Running, Action::Pause), Outcome::Status(Status::Paused));
        assert_eq!(to(Status::Paused, Action::Resume), Outcome::Status(Status::Running));
        assert_eq!(to(Status::Suspended, Action::Resume), Outcome::Status(Status::Restarting));
        assert_eq!(to(Status::Crashed, Action::Recover), Outcome::Status(Status::Restarting));
        assert_eq!(to(Status::Restarting, Action::Started), Outcome::Status(Status::Running));
        assert_eq!(to(Status::Running, Action::Delete), Outcome::Deleted);
    }

    #[test]
    fn a_refusal_names_the_legal_moves() {
        let refusal = Status::Stopped.apply(Action::Pause).unwrap_err();
        assert_eq!(refusal.legal, [Action::Start, Action::Restart, Action::Delete]);
        assert_eq!(refusal.to_string(), "a Core that is stopped cannot pause");
    }

    #[test]
    fn exactly_the_requests_of_the_table_are_legal() {
        for status in Status::ALL {
            for action in Action::ALL.iter().filter(|action| action.is_request()) {
                let legal = legal_by_table(*action, *status);
                assert_eq!(status.apply(*action).is_ok(), legal, "{action} of a Core that is {status}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_sequence_of_moves_gets_stuck_or_skips_the_checks(
            actions in prop::collection::vec(select(Action::ALL), 0..60), has_source: bool
        ) {
            let mut status = Status::at_creation(has_source);
            let mut checked = false;
            for action in actions {
                match status.apply(action) {
                    Ok(Transition { to: Outcome::Status(to), from, .. }) => {
                        prop_assert_eq!(from, status);
                        checked |= action == Action::Started;
                        prop_assert!(to != Status::Running || checked);
                        checked &= to.is_alive();
                        status = to;
                    }
                    Ok(Transition { to: Outcome::Deleted, .. }) => break,
                    Err(refusal) => {
                        prop_assert_eq!(refusal.from, status);
                        prop_assert!(!refusal.legal.contains(&action));
                        prop_assert!(refusal.legal.iter().all(|legal| status.allows(*legal)));
                    }
                }
                prop_assert!(status.allows(Action::Restart) && status.allows(Action::Delete));
                prop_assert!(!status.can_accept_work() || status.can_run());
            }
        }
    }

    #[test]
    fn texts_are_read_as_written() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(*status));
        }
        for action in Action::ALL {
            assert_eq!(action.as_str().parse(), Ok(*action));
        }
    }
}
