//! Spans of time in declarations: `90s`, `1h30m`, `PT1H`.

use std::time::Duration;

/// Ten years: longer waits are a slip of the pen, and a bound keeps sums of times within range.
const LONGEST: u64 = 10 * 366 * 24 * 60 * 60 * 1000;

/// Milliseconds by unit, in the order in which ISO 8601 and the language write them.
const DATE_UNITS: &[(&str, u64)] = &[("w", 604_800_000), ("d", 86_400_000)];
const TIME_UNITS: &[(&str, u64)] = &[("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

/// Reads the language's form (`1d`, `1h30m`, `500ms`; units `w d h m s ms`) or the weeks, days and times of
/// ISO 8601 (`P1D`, `PT1H30M`). Months and years have no fixed length and are refused; so are zero and
/// anything beyond ten years.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let milliseconds = match text.strip_prefix('P') {
        None => parts(text, &[DATE_UNITS, TIME_UNITS].concat())?,
        Some(iso) => {
            let (date, time) = iso.split_once('T').map_or((iso, None), |(date, time)| (date, Some(time)));
            let units = |text: &str, units| parts(&text.to_ascii_lowercase(), units);
            let date = if date.is_empty() { 0 } else { units(date, DATE_UNITS)? };
            let time = time.map_or(Some(0), |time| units(time, &TIME_UNITS[1..]))?;
            date.checked_add(time)?
        }
    };
    (1..=LONGEST).contains(&milliseconds).then(|| Duration::from_millis(milliseconds))
}

fn parts(mut text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let mut sum: u64 = 0;
    if text.is_empty() {
        return None;
    }
    while !text.is_empty() {
        let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
        let count: u64 = text[..digits].parse().ok()?;
        text = &text[digits..];
        let (unit, length) = units.iter().find(|(unit, _)| text.starts_with(unit))?;
        text = &text[unit.len()..];
        sum = sum.checked_add(count.checked_mul(*length)?)?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let seconds = |text| parse(text).map(|span| span.as_secs_f64());
        assert_eq!(seconds("1h"), Some(3600.0));
        assert_eq!(seconds("1h30m"), Some(5400.0));
        assert_eq!(seconds("500ms"), Some(0.5));
        assert_eq!(seconds("2w"), Some(1_209_600.0));
        assert_eq!(seconds("PT1H30M"), Some(5400.0));
        assert_eq!(seconds("P1DT1S"), Some(86_401.0));
        for refused in [
            "",
            "0s",
            "1",
            "h",
            "-1s",
            "1y",
            "P1M",
            "P",
            "PT",
            "PT5",
            "1 h",
            "9999w",
            "99999999999999999999s",
        ] {
            assert_eq!(seconds(refused), None, "{refused}");
        }
    }
}
