//! How far somebody has followed an execution.

use std::fmt;
use std::str::FromStr;

use scaigrid_scope::{CheckpointId, Instant};

use crate::debugging::Pause;
use crate::execution::ExecutionStatus;

/// How far an execution was followed: the last entry of its journal that was told, and how it stood when that was told last.
///
/// Entries never change and are told once. A standing is told when it differs from the one told before; so that somebody who comes
/// again is not told the same once more, the position keeps a print of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecutionPosition {
    last: i64,
    standing: Option<u64>,
}

impl Default for ExecutionPosition {
    /// Before everything.
    fn default() -> Self {
        Self { last: -1, standing: None }
    }
}

impl ExecutionPosition {
    /// The number of the first entry that was not told.
    pub const fn next(&self) -> i64 {
        self.last.saturating_add(1)
    }

    /// Notes that the entries up to a number were told.
    pub const fn told(&mut self, last: i64) {
        self.last = last;
    }

    /// Notes that a standing was told, by its [`fingerprint`]; false where it is the one that was told last.
    pub fn told_standing(&mut self, print: u64) -> bool {
        self.standing.replace(print) != Some(print)
    }
}

impl fmt::Display for ExecutionPosition {
    /// `<last>`, or `<last>.<print>`; the last of nothing is `-1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.last)?;
        match self.standing {
            Some(print) => write!(f, ".{print:016x}"),
            None => Ok(()),
        }
    }
}

/// A text that is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be the id of an event of this stream")]
pub struct NotAnExecutionPosition;

impl FromStr for ExecutionPosition {
    type Err = NotAnExecutionPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (last, print) = match text.split_once('.') {
            Some((last, print)) => (last, Some(print)),
            None => (text, None),
        };
        let last = last.parse::<i64>().ok().filter(|last| (-1..i64::MAX).contains(last));
        let print = print.map(|print| {
            let is_print = print.len() == 16 && print.bytes().all(|byte| byte.is_ascii_hexdigit());
            u64::from_str_radix(print, 16).ok().filter(|_| is_print).ok_or(NotAnExecutionPosition)
        });
        Ok(Self { last: last.ok_or(NotAnExecutionPosition)?, standing: print.transpose()? })
    }
}

/// What tells one standing of an execution from another: its status, the checkpoints that it waits at, where a debugger has it stand
/// still, and when it ended. FNV-1a, 64 bits: on every node, and in every version, the same.
pub fn fingerprint(
    status: ExecutionStatus,
    checkpoints: &[CheckpointId],
    pause: Option<&Pause>,
    ended: Option<Instant>,
) -> u64 {
    let mut text = status.as_str().to_owned();
    let mut add = |part: String| {
        text.push(' ');
        text.push_str(&part);
    };
    let mut waited_at: Vec<String> = checkpoints.iter().map(ToString::to_string).collect();
    waited_at.sort_unstable();
    waited_at.into_iter().for_each(&mut add);
    if let Some(pause) = pause {
        add(format!("{}/{}/{}", pause.flow, pause.block, pause.at.micros()));
    }
    if let Some(ended) = ended {
        add(ended.micros().to_string());
    }
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use scaigrid_scope::BreakpointId;

    use super::*;
    use crate::debugging::PauseReason;

    #[test]
    fn a_position_survives_its_text() {
        let mut position = ExecutionPosition::default();
        assert_eq!((position.to_string().as_str(), position.next()), ("-1", 0));
        assert_eq!(position.to_string().parse(), Ok(position));
        position.told(17);
        assert_eq!((position.to_string().as_str(), position.next()), ("17", 18));
        assert_eq!(position.to_string().parse(), Ok(position));
        assert!(position.told_standing(0xab), "it was not told before");
        assert!(!position.told_standing(0xab), "it was told");
        assert_eq!(position.to_string(), "17.00000000000000ab");
        assert_eq!(position.to_string().parse(), Ok(position));
        assert!(position.told_standing(0xac));
        for nonsense in [
            "",
            "x",
            "-2",
            "9223372036854775807",
            "9223372036854775808",
            "1.",
            "1.ab",
            "1.+0000000000000ab",
            "1.00000000000000xy",
            "1.00000000000000ab.",
            "1.00000000000000ab0",
            ".00000000000000ab",
            "1 ",
        ] {
            assert_eq!(nonsense.parse::<ExecutionPosition>(), Err(NotAnExecutionPosition), "{nonsense}");
        }
    }

    #[test]
    fn a_print_tells_standings_apart() {
        let checkpoint = |number: u128| CheckpointId::from_ulid(ulid::Ulid(number));
        let (one, two) = (checkpoint(1), checkpoint(2));
        let pause = |at: i64| Pause {
            reason: PauseReason::Breakpoint(BreakpointId::from_ulid(ulid::Ulid(1))),
            flow: "main".into(),
            block: "ask".into(),
            strand: 0,
            depth: 0,
            steps: 0,
            at: Instant::from_micros(at),
        };
        let (here, later) = (pause(1), pause(2));
        let suspended = ExecutionStatus::Suspended;
        let failed = |at| fingerprint(ExecutionStatus::Failed, &[], None, Some(Instant::from_micros(at)));
        let prints = [
            fingerprint(ExecutionStatus::Queued, &[], None, None),
            fingerprint(ExecutionStatus::Running, &[], None, None),
            fingerprint(suspended, &[], None, None),
            fingerprint(suspended, &[one], None, None),
            fingerprint(suspended, &[two], None, None),
            fingerprint(suspended, &[one, two], None, None),
            fingerprint(suspended, &[], Some(&here), None),
            fingerprint(suspended, &[], Some(&later), None),
            failed(1),
            failed(2),
        ];
        let different: std::collections::BTreeSet<u64> = prints.into_iter().collect();
        assert_eq!(different.len(), prints.len());
        assert_eq!(fingerprint(suspended, &[two, one], None, None), prints[5], "in whatever order they come");
        // Positions are read by other nodes, and later.
        assert_eq!(fingerprint(ExecutionStatus::Running, &[], None, None), fnv("running"));
        assert_eq!(fnv("a"), 0xaf63_dc4c_8601_ec8c);
    }

    fn fnv(text: &str) -> u64 {
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
    }
}
