//! When a backend is asked again.

use std::time::Duration;

/// How often a backend is asked at most, the first time included.
pub const ATTEMPTS: u32 = 3;
/// The pause before the second attempt, at most; it doubles with each.
pub const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause of our own choosing.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// The longest pause that a backend may ask for. One that wants more is left for the next one.
pub const LONGEST_ASKED: Duration = Duration::from_secs(10);

/// The pause before the next attempt, after `failed` of them; none when there is to be no other. `asked` is what the
/// backend asks for (`Retry-After`), `lot` a number from 0 to below 1: between half of the pause and all of it is waited,
/// so that those who failed together do not come back together.
pub fn pause(failed: u32, asked: Option<Duration>, lot: f64) -> Option<Duration> {
    if failed >= ATTEMPTS {
        return None;
    }
    let doubled = FIRST_PAUSE.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
    let own = doubled.mul_f64(0.5 + lot.clamp(0.0, 1.0) / 2.0);
    match asked {
        Some(asked) if asked > LONGEST_ASKED => None,
        Some(asked) => Some(asked.max(own)),
        None => Some(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        assert_eq!(pause(1, None, 0.0), Some(Duration::from_millis(125)));
        assert_eq!(pause(1, None, 1.0), Some(Duration::from_millis(250)));
        assert_eq!(pause(2, None, 1.0), Some(Duration::from_millis(500)));
        assert_eq!(pause(3, None, 0.5), None);
        assert_eq!(pause(1, Some(Duration::from_secs(2)), 0.5), Some(Duration::from_secs(2)));
        assert_eq!(pause(1, Some(Duration::ZERO), 0.0), Some(Duration::from_millis(125)));
        assert_eq!(pause(1, Some(Duration::from_secs(11)), 0.5), None);
    }
}
