//! The methods of dates, instants and durations. Instants are read in UTC.

use std::fmt::Write as _;

use time::{Date, Month, OffsetDateTime};

use super::super::evaluate::{Arg, Eval, fault};
use super::super::operators::{self, date_out_of_range};
use super::{Method, int_arg, text_arg};
use crate::value::Value;
use crate::value::text::{self, DAY, SECOND};

pub(super) static DATE: [Method; 15] = [
    ("add", 1, 1),
    ("add_days", 1, 1),
    ("add_months", 1, 1),
    ("add_years", 1, 1),
    ("day", 0, 0),
    ("end_of_month", 0, 0),
    ("format", 1, 1),
    ("month", 0, 0),
    ("start_of_month", 0, 0),
    ("sub", 1, 1),
    ("to_date", 0, 0),
    ("to_datetime", 0, 0),
    ("weekday", 0, 0),
    ("year", 0, 0),
    ("day_of_year", 0, 0),
];

pub(super) static DATETIME: [Method; 17] = [
    ("add", 1, 1),
    ("add_days", 1, 1),
    ("add_months", 1, 1),
    ("add_years", 1, 1),
    ("day", 0, 0),
    ("format", 1, 1),
    ("hour", 0, 0),
    ("millisecond", 0, 0),
    ("minute", 0, 0),
    ("month", 0, 0),
    ("second", 0, 0),
    ("start_of_day", 0, 0),
    ("sub", 1, 1),
    ("to_date", 0, 0),
    ("unix", 0, 0),
    ("weekday", 0, 0),
    ("year", 0, 0),
];

pub(super) static DURATION: [Method; 6] = [
    ("abs", 0, 0),
    ("days", 0, 0),
    ("hours", 0, 0),
    ("milliseconds", 0, 0),
    ("minutes", 0, 0),
    ("seconds", 0, 0),
];

pub(super) fn date(date: Date, name: &str, args: &[Arg<'_>]) -> Eval<Option<Value>> {
    Ok(Some(match (name, args) {
        ("year", []) => date.year().into(),
        ("month", []) => u32::from(u8::from(date.month())).into(),
        ("day", []) => u32::from(date.day()).into(),
        ("day_of_year", []) => u32::from(date.ordinal()).into(),
        ("weekday", []) => u32::from(date.weekday().number_from_monday()).into(),
        ("add", [span]) => operators::moved_date(date, span_arg(span)?)?,
        ("sub", [other]) => operators::subtract(&Value::Date(date), other.value()?)?,
        ("add_days", [days]) => operators::moved_date(date, days_arg(days)?)?,
        ("add_months", [months]) => Value::Date(add_months(date, int_arg(months)?)?),
        ("add_years", [years]) => Value::Date(add_years(date, int_arg(years)?)?),
        ("start_of_month", []) => Value::Date(date.replace_day(1).unwrap_or(date)),
        ("end_of_month", []) => {
            let last = date.month().length(date.year());
            Value::Date(date.replace_day(last).unwrap_or(date))
        }
        ("to_date", []) => Value::Date(date),
        ("to_datetime", []) => Value::Datetime(text::midnight(date)),
        ("format", [pattern]) => format(text::to_offset_datetime(text::midnight(date)), text_arg(pattern)?)?,
        _ => return Ok(None),
    }))
}

pub(super) fn datetime(micros: i64, name: &str, args: &[Arg<'_>]) -> Eval<Option<Value>> {
    let moment = text::to_offset_datetime(micros);
    let date = moment.date();
    // The time of day stays where the date moves.
    let of_day = micros.rem_euclid(DAY);
    let at = |date: Date| operators::moved(text::midnight(date), of_day);
    Ok(Some(match (name, args) {
        ("year", []) => date.year().into(),
        ("month", []) => u32::from(u8::from(date.month())).into(),
        ("day", []) => u32::from(date.day()).into(),
        ("weekday", []) => u32::from(date.weekday().number_from_monday()).into(),
        ("hour", []) => u32::from(moment.hour()).into(),
        ("minute", []) => u32::from(moment.minute()).into(),
        ("second", []) => u32::from(moment.second()).into(),
        ("millisecond", []) => u32::from(moment.millisecond()).into(),
        ("unix", []) => Value::Int(micros.div_euclid(SECOND)),
        ("add", [span]) => operators::moved(micros, span_arg(span)?)?,
        ("sub", [other]) => operators::subtract(&Value::Datetime(micros), other.value()?)?,
        ("add_days", [days]) => operators::moved(micros, days_arg(days)?)?,
        ("add_months", [months]) => at(add_months(date, int_arg(months)?)?)?,
        ("add_years", [years]) => at(add_years(date, int_arg(years)?)?)?,
        ("start_of_day", []) => Value::Datetime(text::midnight(date)),
        ("to_date", []) => Value::Date(date),
        ("format", [pattern]) => format(moment, text_arg(pattern)?)?,
        _ => return Ok(None),
    }))
}

#[expect(clippy::cast_precision_loss, reason = "a duration in a unit is a float")]
pub(super) fn duration(micros: i64, name: &str, args: &[Arg<'_>]) -> Eval<Option<Value>> {
    let unit = match (name, args) {
        ("abs", []) => {
            return micros
                .checked_abs()
                .map(|micros| Some(Value::Duration(micros)))
                .ok_or_else(operators::overflow);
        }
        ("milliseconds", []) => 1000,
        ("seconds", []) => SECOND,
        ("minutes", []) => 60 * SECOND,
        ("hours", []) => 3600 * SECOND,
        ("days", []) => DAY,
        _ => return Ok(None),
    };
    operators::float(micros as f64 / unit as f64).map(Some)
}

fn span_arg(arg: &Arg<'_>) -> Eval<i64> {
    let value = arg.value()?;
    value
        .as_duration()
        .ok_or_else(|| fault("TYPE_MISMATCH", format!("a duration is expected, not {}", value.type_name())))
}

fn days_arg(arg: &Arg<'_>) -> Eval<i64> {
    int_arg(arg)?.checked_mul(DAY).ok_or_else(date_out_of_range)
}

/// The same day some months later or earlier; the month's last where it has no such day.
fn add_months(date: Date, months: i64) -> Eval<Date> {
    let moved = || {
        let month = i64::from(date.year()) * 12 + i64::from(u8::from(date.month())) - 1;
        let month = month.checked_add(months)?;
        let year = i32::try_from(month.div_euclid(12)).ok().filter(|year| (0..=9999).contains(year))?;
        let month = Month::try_from(u8::try_from(month.rem_euclid(12) + 1).ok()?).ok()?;
        Date::from_calendar_date(year, month, date.day().min(month.length(year))).ok()
    };
    moved().ok_or_else(date_out_of_range)
}

fn add_years(date: Date, years: i64) -> Eval<Date> {
    add_months(date, years.checked_mul(12).ok_or_else(date_out_of_range)?)
}

/// Text after a pattern with the usual `%` letters of `strftime`, in English.
fn format(moment: OffsetDateTime, pattern: &str) -> Eval {
    if pattern.len() > 1024 {
        return Err(fault("INVALID_VALUE", "the pattern is longer than 1024 bytes"));
    }
    let mut text = String::new();
    let mut rest = pattern.chars();
    while let Some(character) = rest.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let letter = rest.next().unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = match letter {
            'Y' => write!(text, "{:04}", moment.year()),
            'y' => write!(text, "{:02}", moment.year().rem_euclid(100)),
            'm' => write!(text, "{:02}", u8::from(moment.month())),
            'd' => write!(text, "{:02}", moment.day()),
            'e' => write!(text, "{}", moment.day()),
            'j' => write!(text, "{:03}", moment.ordinal()),
            'H' => write!(text, "{:02}", moment.hour()),
            'I' => write!(text, "{:02}", (moment.hour() + 11) % 12 + 1),
            'M' => write!(text, "{:02}", moment.minute()),
            'S' => write!(text, "{:02}", moment.second()),
            'f' => write!(text, "{:06}", moment.microsecond()),
            'p' => write!(text, "{}", if moment.hour() < 12 { "AM" } else { "PM" }),
            'A' => write!(text, "{}", moment.weekday()),
            'a' => write!(text, "{:.3}", moment.weekday().to_string()),
            'B' => write!(text, "{}", moment.month()),
            'b' => write!(text, "{:.3}", moment.month().to_string()),
            'F' => write!(text, "{}", text::format_date(moment.date())),
            'T' => write!(text, "{:02}:{:02}:{:02}", moment.hour(), moment.minute(), moment.second()),
            'u' => write!(text, "{}", moment.weekday().number_from_monday()),
            'V' => write!(text, "{:02}", moment.iso_week()),
            'z' => write!(text, "+0000"),
            'Z' => write!(text, "UTC"),
            '%' => write!(text, "%"),
            _ => return Err(fault("INVALID_VALUE", format!("`%{letter}` is no part of a pattern"))),
        };
    }
    Ok(Value::from(text))
}
