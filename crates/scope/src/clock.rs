//! Instants, and where the present one comes from.

use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time, in whole microseconds since the Unix epoch, UTC.
///
/// Microseconds are what both databases keep, so an instant survives storage unchanged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(i64);

impl Instant {
    /// The earliest and the latest instant that RFC 3339 can write (years 0000 to 9999).
    pub const MIN: Self = Self(-62_167_219_200_000_000);
    /// See [`Instant::MIN`].
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// An instant of microseconds since the epoch, held within [`Instant::MIN`] and [`Instant::MAX`].
    pub const fn from_micros(micros: i64) -> Self {
        if micros < Self::MIN.0 {
            Self::MIN
        } else if micros > Self::MAX.0 {
            Self::MAX
        } else {
            Self(micros)
        }
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the Unix epoch, as ULIDs want them; zero before the epoch.
    pub const fn unix_millis(self) -> u64 {
        if self.0 < 0 { 0 } else { self.0.unsigned_abs() / 1000 }
    }

    /// This instant and a duration, held at [`Instant::MAX`].
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_add(micros))
    }

    /// This instant less a duration, held at [`Instant::MIN`].
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_sub(micros))
    }

    /// How long after `earlier` this instant is; zero when it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The instant as a date and time.
    pub fn to_datetime(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// The instant of a date and time, without what is finer than a microsecond.
    pub fn from_datetime(datetime: OffsetDateTime) -> Self {
        let micros = datetime.unix_timestamp_nanos().div_euclid(1000);
        Self::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    /// Reads an RFC 3339 timestamp with any offset.
    pub fn parse(text: &str) -> Option<Self> {
        OffsetDateTime::parse(text, &Rfc3339).ok().map(Self::from_datetime)
    }
}

impl fmt::Display for Instant {
    /// RFC 3339 in UTC with `Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The longest has nine digits behind the second. How much was written is told by what is left: the number that comes back
        // leaves out digits of fractions.
        let mut text = [0; "2000-01-01T00:00:00.000000000Z".len()];
        let mut rest = text.as_mut_slice();
        self.to_datetime().format_into(&mut rest, &Rfc3339).map_err(|_| fmt::Error)?;
        let unused = rest.len();
        f.write_str(std::str::from_utf8(&text[..text.len() - unused]).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Instant {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Instant {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("expected an RFC 3339 timestamp"))
    }
}

/// Where the present instant comes from: the system in a server, a hand-wound clock in a test.
pub trait Clock: Send + Sync + 'static {
    /// The present instant.
    fn now(&self) -> Instant;

    /// Tells the clock what time others have with whom it must agree, and by how much that may be wrong. Clocks that have nobody
    /// to agree with go on as they were.
    fn agree(&self, _theirs: Instant, _within: Duration) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_written_in_utc_and_read_in_any_zone() {
        let instant = Instant::parse("2026-03-29T03:30:00.25+02:00").unwrap();
        assert_eq!(instant.to_string(), "2026-03-29T01:30:00.25Z");
        assert_eq!(Instant::parse(&instant.to_string()), Some(instant));
        assert_eq!(Instant::parse(&Instant::MAX.to_string()), Some(Instant::MAX));
        assert_eq!(Instant::MAX.plus(Duration::MAX), Instant::MAX);
        assert_eq!(Instant::MAX.minus(Duration::MAX), Instant::MIN);
        assert_eq!(instant.plus(Duration::from_secs(1)).minus(Duration::from_secs(1)), instant);
        assert!(Instant::parse("yesterday").is_none());
    }
}
