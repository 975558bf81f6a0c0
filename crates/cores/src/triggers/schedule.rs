//! Schedules: a cron pattern in a time zone, and the instants at which it fires.
//!
//! A pattern has five fields, as in Vixie's cron: minute, hour, day of the month, month, day of the week. Where both days
//! are restricted, one that fits either of them fits.
//!
//! Clocks are put forward and back. A pattern whose minute or hour begins with `*` means every so often: it follows the clock on the wall, leaves
//! out what the clock leaves out, and goes on through the hour that comes twice. Any other means times of the day: one that the clock leaves out is served
//! as soon as the clock has jumped, once however many times of the pattern were jumped over; one that comes twice is
//! served the first time.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use scaigrid_ir::module::CatchUp;
use scaigrid_scope::Instant;
use time::Date;

/// Why a text is no pattern, or no time zone: to be read after the name of the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSchedule(String);

/// A day has so many minutes on the wall.
const DAY: i64 = 24 * 60;
/// How far one looks for the next time: 29 February on a given weekday is never further away than two leap days that miss
/// each other because of a century.
const HORIZON_DAYS: i64 = 41 * 366;
/// A slot that is served this late is on time.
const ON_TIME: Duration = Duration::from_mins(1);
/// Slots that were missed longer ago than this are served in no case.
const OLDEST: Duration = Duration::from_hours(31 * 24);
/// How many missed slots are served at most; the newest.
const MOST: usize = 1_000;
/// The end of time, in seconds: far enough, and small enough to add to.
const END: i64 = Instant::MAX.micros() / 1_000_000;
/// The Julian day of 1 January 1970.
const EPOCH: i64 = 2_440_588;

/// Numbers of a field, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    bits: u64,
    /// Whether it begins with `*`.
    any: bool,
}

impl Field {
    const fn has(self, number: i64) -> bool {
        self.bits >> number & 1 == 1
    }
}

/// A cron pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
    text: String,
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl FromStr for Pattern {
    type Err = BadSchedule;

    fn from_str(text: &str) -> Result<Self, BadSchedule> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(BadSchedule("must have five fields, e.g. 0 9 * * 1-5".into()));
        };
        let mut weekday = field(weekday, "weekday", (0, 7), (0, &WEEKDAYS))?;
        // Sunday has two numbers.
        weekday.bits |= weekday.bits >> 7;
        let pattern = Self {
            minute: field(minute, "minute", (0, 59), (0, &[]))?,
            hour: field(hour, "hour", (0, 23), (0, &[]))?,
            day: field(day, "day of the month", (1, 31), (0, &[]))?,
            month: field(month, "month", (1, 12), (1, &MONTHS))?,
            weekday,
            text: fields.join(" "),
        };
        let longest = (1..=12).filter(|month| pattern.month.has(*month)).map(longest_month).max();
        let possible = (1..=longest.unwrap_or_default()).any(|day| pattern.day.has(day));
        if !possible && pattern.weekday.any {
            return Err(BadSchedule("names no day that there is".into()));
        }
        Ok(pattern)
    }
}

const fn longest_month(month: i64) -> i64 {
    match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// Reads a list of numbers, ranges and steps.
fn field(
    text: &str,
    what: &str,
    (least, most): (i64, i64),
    (first, names): (i64, &[&str]),
) -> Result<Field, BadSchedule> {
    let bad = |part: &str| {
        BadSchedule(format!("has a {what} that cannot be: {part:?} is nothing from {least} to {most}"))
    };
    let number = |part: &str| {
        let spelled = names.iter().zip(first..).find(|(name, _)| part.eq_ignore_ascii_case(name));
        let written = || part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten();
        let found = spelled.map(|(_, number)| number).or_else(written);
        found.filter(|number| (least..=most).contains(number)).ok_or_else(|| bad(part))
    };
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            None => (part, None),
            Some((range, step)) => {
                let step: i64 =
                    step.parse().ok().filter(|step| (1..=most).contains(step)).ok_or_else(|| bad(part))?;
                (range, Some(step))
            }
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (number(from)?, number(to)?),
            // A number with a step is where the steps begin.
            None if step.is_some() => (number(range)?, most),
            None => (number(range)?, number(range)?),
        };
        if from > to {
            return Err(bad(part));
        }
        let mut at = from;
        while at <= to {
            bits |= 1 << at;
            at += step.unwrap_or(1);
        }
    }
    Ok(Field { bits, any: text.starts_with('*') })
}

impl Pattern {
    /// Whether it means every so often, as against times of the day.
    const fn is_interval(&self) -> bool {
        self.minute.any || self.hour.any
    }

    fn has_day(&self, day: i64) -> bool {
        let Ok(julian) = i32::try_from(day + EPOCH) else { return false };
        let Ok(date) = Date::from_julian_day(julian) else { return false };
        let of_month = self.day.has(i64::from(date.day()));
        let of_week = self.weekday.has(i64::from(date.weekday().number_days_from_sunday()));
        let fits = match (self.day.any, self.weekday.any) {
            (false, false) => of_month || of_week,
            _ => of_month && of_week,
        };
        fits && self.month.has(i64::from(u8::from(date.month())))
    }

    /// The first minute on the wall, counted from 1970, that fits: at or after `from` and before `until`.
    fn first(&self, from: i64, until: i64) -> Option<i64> {
        let mut day = from.div_euclid(DAY);
        let mut earliest = from.rem_euclid(DAY);
        while day * DAY < until {
            if self.has_day(day) {
                let fits = |minute: &i64| self.hour.has(minute / 60) && self.minute.has(minute % 60);
                if let Some(minute) = (earliest..DAY).find(fits) {
                    let found = day * DAY + minute;
                    return (found < until).then_some(found);
                }
            }
            earliest = 0;
            day += 1;
        }
        None
    }
}

/// The slots of a schedule that are due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    /// Those to serve, in order.
    pub due: Vec<Instant>,
    /// How many were missed and are not served; at least so many.
    pub left_out: usize,
}

/// A pattern in a zone, with what becomes of points that were missed.
#[derive(Debug, Clone)]
pub struct Schedule {
    pattern: Pattern,
    zone: TimeZone,
    zone_name: String,
    /// What becomes of points that were missed.
    pub catch_up: CatchUp,
}

impl Schedule {
    /// Reads a pattern and the name of a zone of the IANA database.
    ///
    /// # Errors
    /// The field that is wrong (`cron` or `timezone`), and why.
    pub fn parse(cron: &str, timezone: &str, catch_up: CatchUp) -> Result<Self, (&'static str, BadSchedule)> {
        let pattern = cron.parse().map_err(|error| ("cron", error))?;
        let unknown = |_| ("timezone", BadSchedule(format!("is not a known time zone: {timezone}")));
        let zone = TimeZone::get(timezone).map_err(unknown)?;
        Ok(Self { pattern, zone, zone_name: timezone.to_owned(), catch_up })
    }

    /// The pattern.
    pub fn cron(&self) -> &Pattern {
        &self.pattern
    }

    /// The name of the zone.
    pub fn timezone(&self) -> &str {
        &self.zone_name
    }

    /// The slots to serve of those from `first`, which is one, to `now`, that are later than the last one `served`.
    ///
    /// One that is served within a minute of its time is on time; the others were missed, and `catch_up` says what becomes
    /// of them.
    pub fn slots(&self, (first, now): (Instant, Instant), served: Option<Instant>) -> Slots {
        let from = now.minus(OLDEST);
        let (mut at, mut due, mut left_out) = (Some(first), VecDeque::new(), 0);
        if first < from {
            // How many there were before nobody knows: one stands for them.
            left_out += 1;
            at = self.next_after(from);
        }
        let most = if self.catch_up == CatchUp::All { MOST } else { 1 };
        while let Some(slot) = at.filter(|slot| *slot <= now) {
            if served.is_none_or(|served| slot > served) {
                due.push_back(slot);
                if due.len() > most {
                    due.pop_front();
                    left_out += 1;
                }
            }
            at = self.next_after(slot);
        }
        if self.catch_up == CatchUp::Skip {
            let late = due.iter().filter(|slot| now.since(**slot) >= ON_TIME).count();
            due.drain(..late);
            left_out += late;
        }
        Slots { due: due.into(), left_out }
    }

    /// The first instant after `after` at which it fires; none where there is none within a lifetime.
    pub fn next_after(&self, after: Instant) -> Option<Instant> {
        // Whole seconds are enough: patterns know minutes, and zones seconds.
        let after = after.micros().div_euclid(1_000_000);
        let mut period = Period::around(&self.zone, after)?;
        let last = after + HORIZON_DAYS * DAY * 60;
        loop {
            if let Some(found) = self.next_within(&period, after, last) {
                return Some(instant(found));
            }
            if period.until >= last {
                return None;
            }
            period = period.next(&self.zone)?;
        }
    }

    /// The first time after `after`, in seconds, within a period in which the clock runs evenly.
    fn next_within(&self, period: &Period, after: i64, last: i64) -> Option<i64> {
        let begun = period.since.saturating_add(period.offset);
        let mut from = period.since.max(after + 1) + period.offset;
        if !self.pattern.is_interval()
            && let Some(before) = period.offset_before
        {
            let shown = period.since + before;
            if shown < begun && period.since > after && self.first(shown, begun).is_some() {
                return Some(period.since);
            }
            // What the clock showed before it was put back has been served.
            from = from.max(shown);
        }
        let until = period.until.min(last).saturating_add(period.offset);
        self.first(from, until).map(|shown| shown - period.offset)
    }

    /// The first fitting time on the wall, all in seconds: at or after `from` and before `until`.
    fn first(&self, from: i64, until: i64) -> Option<i64> {
        let minute = |seconds: i64| seconds.div_euclid(60) + i64::from(seconds.rem_euclid(60) > 0);
        self.pattern.first(minute(from), minute(until)).map(|minute| minute * 60)
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        (&self.pattern, &self.zone_name, self.catch_up) == (&other.pattern, &other.zone_name, other.catch_up)
    }
}

fn instant(seconds: i64) -> Instant {
    Instant::from_micros(seconds.saturating_mul(1_000_000))
}

/// A span of time in which a zone's clock runs evenly. In seconds since 1970, UTC.
struct Period {
    since: i64,
    until: i64,
    /// What the clock is ahead of UTC.
    offset: i64,
    /// What it was ahead before; none at the beginning of time.
    offset_before: Option<i64>,
}

impl Period {
    fn around(zone: &TimeZone, at: i64) -> Option<Self> {
        let behind = Timestamp::from_second(at + 1).ok()?;
        let since = zone.preceding(behind).next().map(|change| change.timestamp().as_second());
        Some(Self::beginning(zone, since, Timestamp::from_second(at).ok()?))
    }

    fn next(&self, zone: &TimeZone) -> Option<Self> {
        let at = Timestamp::from_second(self.until).ok()?;
        Some(Self::beginning(zone, Some(self.until), at))
    }

    fn beginning(zone: &TimeZone, since: Option<i64>, at: Timestamp) -> Self {
        let offset = |at: Timestamp| i64::from(zone.to_offset(at).seconds());
        let offset_before = since.and_then(|since| Timestamp::from_second(since - 1).ok()).map(offset);
        let until = zone.following(at).next().map(|change| change.timestamp().as_second());
        Self { since: since.unwrap_or(-END), until: until.unwrap_or(END), offset: offset(at), offset_before }
    }
}

#[cfg(test)]
mod tests;
