//! Debugging: where executions of a Core stop, and what a debugger has made of one that did.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use scaigrid_scope::{BreakpointId, CoreId, Instant, TenantId, UserId};
use serde_json::{Value, json};

/// The longest condition, in characters.
pub const CONDITION_AT_MOST: usize = 2_000;
/// The most breakpoints of a Core.
pub const BREAKPOINTS_AT_MOST: usize = 100;

/// A place at which executions stop.
#[derive(Debug, Clone, PartialEq)]
pub struct Breakpoint {
    /// Its id.
    pub id: BreakpointId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The Core.
    pub core_id: CoreId,
    /// The flow.
    pub flow: String,
    /// The block before which they stop.
    pub block: String,
    /// An expression in the names that are known there; they stop only where it is true.
    pub condition: Option<String>,
    /// Whether it counts.
    pub enabled: bool,
    /// Who set it.
    pub created_by: UserId,
    /// When.
    pub created_at: Instant,
}

/// Why an execution stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseReason {
    /// It has come to a breakpoint.
    Breakpoint(BreakpointId),
    /// It has gone as far as it was told to.
    Step,
}

/// An execution that stands before a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Why.
    pub reason: PauseReason,
    /// The flow.
    pub flow: Arc<str>,
    /// The block that is next.
    pub block: Arc<str>,
    /// The strand of control that stands there.
    pub strand: u32,
    /// How deep that is nested.
    pub depth: u32,
    /// How many steps it had taken.
    pub steps: u64,
    /// Since when.
    pub at: Instant,
}

/// How far an execution is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepMode {
    /// To the next block of the same body, or the one after its end.
    Over,
    /// To the next block, wherever it is.
    Into,
    /// To the next block after the end of the body.
    Out,
    /// To the next breakpoint.
    Continue,
}

impl StepMode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Over, Self::Into, Self::Out, Self::Continue];

    /// The mode as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Over => "over",
            Self::Into => "into",
            Self::Out => "out",
            Self::Continue => "continue",
        }
    }
}

impl fmt::Display for StepMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no way to go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be one of over, into, out, continue")]
pub struct UnknownStepMode;

impl FromStr for StepMode {
    type Err = UnknownStepMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text).ok_or(UnknownStepMode)
    }
}

/// What a debugger has made of an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Debugging {
    /// It stands still until it is told to go on.
    Paused(Pause),
    /// It has been told to go on from there, this far.
    Stepping {
        /// How far.
        mode: StepMode,
        /// From where.
        from: Pause,
    },
}

impl Debugging {
    /// Where it stands still, where it does.
    pub const fn pause(&self) -> Option<&Pause> {
        match self {
            Self::Paused(pause) => Some(pause),
            Self::Stepping { .. } => None,
        }
    }
}

impl fmt::Display for Debugging {
    /// The form in which it is stored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mode, pause) = match self {
            Self::Paused(pause) => (None, pause),
            Self::Stepping { mode, from } => (Some(mode.as_str()), from),
        };
        let breakpoint = match pause.reason {
            PauseReason::Breakpoint(id) => Some(id.to_string()),
            PauseReason::Step => None,
        };
        let json = json!({
            "mode": mode,
            "breakpoint": breakpoint,
            "flow": &*pause.flow,
            "block": &*pause.block,
            "strand": pause.strand,
            "depth": pause.depth,
            "steps": pause.steps,
            "at": pause.at.micros(),
        });
        write!(f, "{json}")
    }
}

/// A text that tells of no debugging.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must tell where an execution stands, or how far it goes")]
pub struct NotDebugging;

impl FromStr for Debugging {
    type Err = NotDebugging;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let json: Value = serde_json::from_str(text).map_err(|_| NotDebugging)?;
        let text = |name: &str| json[name].as_str().ok_or(NotDebugging);
        let short = |name: &str| {
            json[name].as_u64().and_then(|number| u32::try_from(number).ok()).ok_or(NotDebugging)
        };
        let reason = match &json["breakpoint"] {
            Value::Null => PauseReason::Step,
            Value::String(id) => PauseReason::Breakpoint(id.parse().map_err(|_| NotDebugging)?),
            _ => return Err(NotDebugging),
        };
        let pause = Pause {
            reason,
            flow: text("flow")?.into(),
            block: text("block")?.into(),
            strand: short("strand")?,
            depth: short("depth")?,
            steps: json["steps"].as_u64().ok_or(NotDebugging)?,
            at: Instant::from_micros(json["at"].as_i64().ok_or(NotDebugging)?),
        };
        Ok(match &json["mode"] {
            Value::Null => Self::Paused(pause),
            Value::String(mode) => {
                Self::Stepping { mode: mode.parse().map_err(|_| NotDebugging)?, from: pause }
            }
            _ => return Err(NotDebugging),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_again() {
        let pause = Pause {
            reason: PauseReason::Breakpoint("bp_00000000000000000000000001".parse().unwrap()),
            flow: "main".into(),
            block: "a \"b\"".into(),
            strand: 3,
            depth: 5,
            steps: u64::from(u32::MAX) + 7,
            at: Instant::from_micros(17),
        };
        let paused = Debugging::Paused(pause.clone());
        assert_eq!(paused.to_string().parse(), Ok(paused));
        for mode in StepMode::ALL {
            let from = Pause { reason: PauseReason::Step, ..pause.clone() };
            let stepping = Debugging::Stepping { mode, from };
            assert_eq!(stepping.to_string().parse(), Ok(stepping));
        }
        for nonsense in ["", "{}", "null", "{\"flow\": 1}"] {
            assert_eq!(nonsense.parse::<Debugging>(), Err(NotDebugging));
        }
    }
}
