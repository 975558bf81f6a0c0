//! What is told.

use std::fmt;
use std::str::FromStr;

use scaigrid_scope::{CoreId, ExecutionId, RoomId};

/// One hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// There are executions that nobody holds.
    WorkWaits,
    /// An execution ended, or waits.
    ExecutionMoved(ExecutionId),
    /// Something has come for an execution that is running.
    ExecutionAwaited(ExecutionId),
    /// A Core, its source or its status changed.
    CoreChanged(CoreId),
    /// Users, keys, tenants or partners changed: authentication must look again.
    PeopleChanged,
    /// A module was switched.
    ModulesChanged,
    /// A webhook was made, changed or removed.
    WebhooksChanged,
    /// A plugin was registered, changed, accepted or removed.
    PluginsChanged,
    /// The catalogue of models changed.
    CatalogChanged,
    /// Something was written to a Core's log that somebody follows.
    CoreLogged(CoreId),
    /// Somebody follows a Core's log.
    CoreFollowed(CoreId),
    /// Somebody follows an execution.
    ExecutionFollowed(ExecutionId),
    /// Something was said in a room, or somebody came or went.
    RoomChanged(RoomId),
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorkWaits => f.write_str("work"),
            Self::ExecutionMoved(id) => write!(f, "execution {id}"),
            Self::ExecutionAwaited(id) => write!(f, "awaited {id}"),
            Self::CoreChanged(id) => write!(f, "core {id}"),
            Self::PeopleChanged => f.write_str("people"),
            Self::ModulesChanged => f.write_str("modules"),
            Self::WebhooksChanged => f.write_str("webhooks"),
            Self::PluginsChanged => f.write_str("plugins"),
            Self::CatalogChanged => f.write_str("catalog"),
            Self::CoreLogged(id) => write!(f, "logged {id}"),
            Self::CoreFollowed(id) => write!(f, "followed {id}"),
            Self::ExecutionFollowed(id) => write!(f, "execution-followed {id}"),
            Self::RoomChanged(id) => write!(f, "room {id}"),
        }
    }
}

/// A text that is no signal of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a signal of this version")]
pub struct UnknownSignal;

impl FromStr for Signal {
    type Err = UnknownSignal;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(' ') {
            None => match text {
                "work" => Ok(Self::WorkWaits),
                "people" => Ok(Self::PeopleChanged),
                "modules" => Ok(Self::ModulesChanged),
                "webhooks" => Ok(Self::WebhooksChanged),
                "plugins" => Ok(Self::PluginsChanged),
                "catalog" => Ok(Self::CatalogChanged),
                _ => Err(UnknownSignal),
            },
            Some(("execution", id)) => id.parse().map(Self::ExecutionMoved).map_err(|_| UnknownSignal),
            Some(("awaited", id)) => id.parse().map(Self::ExecutionAwaited).map_err(|_| UnknownSignal),
            Some(("logged", id)) => id.parse().map(Self::CoreLogged).map_err(|_| UnknownSignal),
            Some(("followed", id)) => id.parse().map(Self::CoreFollowed).map_err(|_| UnknownSignal),
            Some(("execution-followed", id)) => {
                id.parse().map(Self::ExecutionFollowed).map_err(|_| UnknownSignal)
            }
            Some(("room", id)) => id.parse().map(Self::RoomChanged).map_err(|_| UnknownSignal),
            Some(("core", id)) => id.parse().map(Self::CoreChanged).map_err(|_| UnknownSignal),
            Some(_) => Err(UnknownSignal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_survive_their_text() {
        let core = "core_00000000000000000000000001".parse().unwrap();
        let execution = "exec_00000000000000000000000001".parse().unwrap();
        let room = "room_00000000000000000000000001".parse().unwrap();
        for signal in [
            Signal::WorkWaits,
            Signal::ExecutionMoved(execution),
            Signal::ExecutionAwaited(execution),
            Signal::CoreChanged(core),
            Signal::PeopleChanged,
            Signal::ModulesChanged,
            Signal::WebhooksChanged,
            Signal::PluginsChanged,
            Signal::CatalogChanged,
            Signal::CoreLogged(core),
            Signal::CoreFollowed(core),
            Signal::ExecutionFollowed(execution),
            Signal::RoomChanged(room),
        ] {
            assert_eq!(signal.to_string().parse(), Ok(signal));
        }
        assert_eq!("core exec_1".parse::<Signal>(), Err(UnknownSignal));
    }
}
