//! What a program, and the runtime about it, has to say to whoever watches.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use scaigrid_scope::{ExecutionId, Instant};
use serde_json::Value;

/// How much an entry matters; greater is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For whoever debugs the program.
    Debug,
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
}

impl Level {
    /// Every level, the least first.
    pub const ALL: [Self; 4] = [Self::Debug, Self::Info, Self::Warn, Self::Error];

    /// The level as it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// Its place in [`Level::ALL`].
    pub const fn rank(self) -> u8 {
        match self {
            Self::Debug => 0,
            Self::Info => 1,
            Self::Warn => 2,
            Self::Error => 3,
        }
    }

    /// The level at a place; what is beyond the last is the last.
    pub fn of_rank(rank: u8) -> Self {
        Self::ALL.into_iter().find(|level| level.rank() == rank).unwrap_or(Self::Error)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be one of debug, info, warn, error")]
pub struct UnknownLevel;

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|level| level.as_str() == text).ok_or(UnknownLevel)
    }
}

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    /// The program, by a `log` statement.
    Program,
    /// The runtime, about the program.
    Runtime,
}

impl LogSource {
    /// The source as it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Runtime => "runtime",
        }
    }
}

/// One thing that is said.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEntry {
    /// When.
    pub at: Instant,
    /// How much it matters.
    pub level: Level,
    /// Who says it.
    pub source: LogSource,
    /// The flow that it is about.
    pub flow: Option<Arc<str>>,
    /// The block.
    pub block: Option<Arc<str>>,
    /// What a person reads.
    pub message: String,
    /// What goes with it, as an object; null where there is nothing.
    pub fields: Value,
}

/// Where an entry stands in the log of its Core: the lane that it was written in, and its number there. Of two entries of one
/// lane the one with the lower number was there first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogPlace {
    /// The lane.
    pub lane: u16,
    /// The number, from 1 on, without gaps.
    pub number: i64,
}

impl fmt::Display for LogPlace {
    /// `<lane>-<number>`: the id of an entry within its Core.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.lane, self.number)
    }
}

/// An entry that is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptEntry {
    /// Where it stands.
    pub place: LogPlace,
    /// The execution that it is about.
    pub execution_id: ExecutionId,
    /// The entry.
    pub entry: LogEntry,
}

/// How far a log has been read: in each lane up to a number, which is read. A lane that is not named has not been begun.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogPosition(Vec<LogPlace>);

impl LogPosition {
    /// The most lanes that a text may name.
    const LANES: usize = 64;

    /// A position of its lanes.
    pub fn new(places: impl IntoIterator<Item = LogPlace>) -> Self {
        let mut position = Self::default();
        places.into_iter().for_each(|place| position.set(place));
        position
    }

    /// The number up to which a lane has been read; 0 where it has not been begun.
    pub fn of(&self, lane: u16) -> i64 {
        self.0.iter().find(|place| place.lane == lane).map_or(0, |place| place.number)
    }

    /// Reads on, or back.
    pub fn set(&mut self, place: LogPlace) {
        match self.0.binary_search_by_key(&place.lane, |known| known.lane) {
            Ok(index) => {
                if let Some(known) = self.0.get_mut(index) {
                    *known = place;
                }
            }
            Err(index) => self.0.insert(index, place),
        }
    }
}

impl fmt::Display for LogPosition {
    /// `<lane>-<number>`, joined by dots; `0` where nothing has been read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("0");
        }
        for (index, place) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            write!(f, "{place}")?;
        }
        Ok(())
    }
}

/// A text that is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be the id of an entry of this stream")]
pub struct NotAPosition;

impl FromStr for LogPosition {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "0" {
            return Ok(Self::default());
        }
        let mut position = Self::default();
        for part in text.split('.') {
            let (lane, number) = part.split_once('-').ok_or(NotAPosition)?;
            let place = LogPlace {
                lane: lane.parse().map_err(|_| NotAPosition)?,
                number: number.parse().ok().filter(|number| *number >= 0).ok_or(NotAPosition)?,
            };
            if position.0.len() >= Self::LANES {
                return Err(NotAPosition);
            }
            position.set(place);
        }
        Ok(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_in_order_and_survive_their_text() {
        assert!(Level::ALL.is_sorted());
        for level in Level::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
            assert_eq!(Level::of_rank(level.rank()), level);
        }
        assert!("loud".parse::<Level>().is_err());
    }

    #[test]
    fn a_position_survives_its_text() {
        let mut position = LogPosition::default();
        assert_eq!(position.to_string().parse(), Ok(position.clone()));
        position.set(LogPlace { lane: 7, number: 3 });
        position.set(LogPlace { lane: 2, number: 9 });
        position.set(LogPlace { lane: 7, number: 4 });
        assert_eq!(position.to_string(), "2-9.7-4");
        assert_eq!(position.to_string().parse(), Ok(position.clone()));
        assert_eq!((position.of(2), position.of(7), position.of(1)), (9, 4, 0));
        for nonsense in ["", "1", "a-1", "1-", "1--1", "1-1.", "70000-1"] {
            assert_eq!(nonsense.parse::<LogPosition>(), Err(NotAPosition), "{nonsense}");
        }
    }
}
