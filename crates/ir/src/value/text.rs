//! Dates, instants, durations and amounts as text: RFC 3339 for the first two, `1h30m` for durations,
//! plain decimal notation for money.

use std::fmt::Write as _;

use rust_decimal::Decimal;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, Time};

/// Microseconds in a second.
pub const SECOND: i64 = 1_000_000;
/// Microseconds in a day.
pub const DAY: i64 = 86_400 * SECOND;

/// The earliest instant that RFC 3339 can write: the first moment of the year 0.
pub const MIN_DATETIME: i64 = -62_167_219_200_000_000;
/// The latest instant that RFC 3339 can write: the last microsecond of the year 9999.
pub const MAX_DATETIME: i64 = 253_402_300_799_999_999;

/// Units in the order in which a duration is written, with their length in microseconds.
const UNITS: [(&str, i64); 6] =
    [("d", DAY), ("h", 3600 * SECOND), ("m", 60 * SECOND), ("s", SECOND), ("ms", 1000), ("us", 1)];

/// The date of `2026-01-31`; none for other text and for years before 0.
pub fn parse_date(text: &str) -> Option<Date> {
    let date = Date::parse(text, format_description!("[year]-[month]-[day]")).ok()?;
    // The format takes signs and missing zeros nowhere but in the year.
    (text.len() == 10 && date.year() >= 0).then_some(date)
}

/// A date as `2026-01-31`.
pub fn format_date(date: Date) -> String {
    format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
}

/// The instant of an RFC 3339 date-time, in microseconds since the epoch; what is finer is cut off.
pub fn parse_datetime(text: &str) -> Option<i64> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let micros = i64::try_from(moment.unix_timestamp_nanos().div_euclid(1000)).ok()?;
    (MIN_DATETIME..=MAX_DATETIME).contains(&micros).then_some(micros)
}

/// An instant as an RFC 3339 date-time in UTC. Instants outside the years 0 to 9999 are written as the
/// nearest that is inside.
pub fn format_datetime(micros: i64) -> String {
    let moment = to_offset_datetime(micros);
    let mut text = String::with_capacity(27);
    text.push_str(&format_date(moment.date()));
    let _ = write!(text, "T{:02}:{:02}:{:02}", moment.hour(), moment.minute(), moment.second());
    let fraction = moment.microsecond();
    if fraction != 0 {
        let _ = write!(text, ".{fraction:06}");
        text.truncate(text.trim_end_matches('0').len());
    }
    text.push('Z');
    text
}

/// An instant as a date and time in UTC, held within the years 0 to 9999.
pub fn to_offset_datetime(micros: i64) -> OffsetDateTime {
    let micros = micros.clamp(MIN_DATETIME, MAX_DATETIME);
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// The first moment of a date, UTC, in microseconds since the epoch.
pub fn midnight(date: Date) -> i64 {
    date.with_time(Time::MIDNIGHT).assume_utc().unix_timestamp() * SECOND
}

/// The microseconds of a duration such as `1h30m`, `250ms`, `-2d` or `2w`; none for other text.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut total: i64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let unit = unit(&rest[..letters])?;
        rest = &rest[letters..];
        total = total.checked_add(number.checked_mul(unit)?)?;
    }
    Some(if negative { -total } else { total })
}

/// The microseconds of a unit of duration, by its name.
pub(crate) fn unit(name: &str) -> Option<i64> {
    if name == "w" {
        return Some(7 * DAY);
    }
    UNITS.iter().find(|(unit, _)| *unit == name).map(|(_, micros)| *micros)
}

/// A duration as text, largest unit first: `1d2h`, `1h30m`, `250ms`, `0s`.
pub fn format_duration(micros: i64) -> String {
    let mut text = String::new();
    let mut rest = micros.unsigned_abs();
    if rest == 0 {
        return "0s".to_owned();
    }
    if micros < 0 {
        text.push('-');
    }
    for (name, unit) in UNITS {
        let unit = unit.unsigned_abs();
        if rest >= unit {
            let _ = write!(text, "{}{name}", rest / unit);
            rest %= unit;
        }
    }
    text
}

/// The amount of a decimal text such as `12.50` or `-3`; none for other text and for more than 28 digits.
pub fn parse_money(text: &str) -> Option<Decimal> {
    let plain = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'))
        && text.bytes().any(|byte| byte.is_ascii_digit());
    if plain { Decimal::from_str_exact(text).ok() } else { None }
}

/// The decimal that a double's shortest notation writes; none past the range of decimals.
///
/// `0.1` thus becomes exactly 0.1, which is what whoever wrote it meant. Whole doubles beyond 2^53 are taken
/// for the integers they are.
pub fn money_of_float(float: f64) -> Option<Decimal> {
    const RANGE: f64 = 7.9e28;
    if !float.is_finite() || float.abs() >= RANGE {
        return None;
    }
    if float.fract() == 0.0 {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within the range")]
        return Decimal::try_from_i128_with_scale(float as i128, 0).ok();
    }
    let text = float.to_string();
    // Digits past the 28th are rounded off: they are below what a decimal can hold.
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_written() {
        for (text, micros, canonical) in [
            ("30s", 30 * SECOND, "30s"),
            ("90m", 5400 * SECOND, "1h30m"),
            ("2w", 14 * DAY, "14d"),
            ("250ms", 250_000, "250ms"),
            ("7us", 7, "7us"),
            ("0s", 0, "0s"),
            ("-1h", -3600 * SECOND, "-1h"),
        ] {
            assert_eq!(parse_duration(text), Some(micros), "{text}");
            assert_eq!(format_duration(micros), canonical);
        }
        for text in ["", "-", "5", "h", "5y", "5 m", "99999999999w", "1h-5m", "é"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        // The one duration whose amount has no positive counterpart is written, though not read.
        assert!(format_duration(i64::MIN).starts_with('-'));
    }

    #[test]
    fn instants_are_rfc_3339() {
        let micros = parse_datetime("2026-01-31T10:00:00.250+02:00").unwrap();
        assert_eq!(format_datetime(micros), "2026-01-31T08:00:00.25Z");
        assert_eq!(parse_datetime(&format_datetime(MAX_DATETIME)), Some(MAX_DATETIME));
        assert_eq!(parse_datetime(&format_datetime(MIN_DATETIME)), Some(MIN_DATETIME));
        assert_eq!(format_datetime(i64::MAX), format_datetime(MAX_DATETIME));
        assert_eq!(parse_datetime("2026-01-31"), None);
    }

    #[test]
    fn dates_are_strict() {
        assert_eq!(format_date(parse_date("2026-01-31").unwrap()), "2026-01-31");
        for text in ["2026-02-30", "2026-1-31", "+2026-01-31", "-0001-01-01", "", "2026-01-31T"] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }

    #[test]
    fn floats_become_the_decimals_they_show() {
        assert_eq!(money_of_float(0.1), parse_money("0.1"));
        assert_eq!(money_of_float(9_007_199_254_740_993_000.0), parse_money("9007199254740993024"));
        assert_eq!(money_of_float(1e300), None);
    }
}
