//! Prometheus' text format (version 0.0.4), read strictly: whatever a scraper might stumble over fails.

use std::collections::{BTreeMap, BTreeSet};

/// What was exposed: the value of each series, by its name and its labels in the order of their names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Exposition {
    series: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
}

impl Exposition {
    /// Reads a text.
    pub fn read(text: &str) -> Self {
        assert!(text.is_empty() || text.ends_with('\n'), "the last line does not end");
        let mut read = Self::default();
        let mut done: BTreeSet<String> = BTreeSet::new();
        let mut family = String::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(
                    is_name(name) && ["counter", "gauge", "histogram", "summary"].contains(&kind),
                    "{line}"
                );
                assert!(done.insert(name.to_owned()), "{name} comes in two places");
                read.types.insert(name.to_owned(), kind.to_owned());
                name.clone_into(&mut family);
                continue;
            }
            if line.starts_with("# HELP ") {
                continue;
            }
            assert!(!line.starts_with('#'), "{line}");
            let (name, labels, value) = sample(line);
            let kind = read.types.get(&family).map(String::as_str).unwrap_or_default();
            let own = match kind {
                "histogram" => {
                    ["_bucket", "_sum", "_count"].iter().any(|end| name == format!("{family}{end}"))
                }
                "summary" => ["", "_sum", "_count"].iter().any(|end| name == format!("{family}{end}")),
                _ => name == family,
            };
            assert!(own, "{name} stands under {family}, a {kind}");
            assert!(kind == "gauge" || value >= 0.0 || kind == "summary", "{line}");
            let before = read.series.insert(key(&name, &labels), value);
            assert!(before.is_none(), "twice: {line}");
        }
        read.check_histograms();
        read
    }

    /// Buckets grow, and the last one holds everything.
    fn check_histograms(&self) {
        for (name, _) in self.types.iter().filter(|(_, kind)| *kind == "histogram") {
            let mut last: BTreeMap<String, (f64, f64)> = BTreeMap::new();
            let mut buckets: Vec<(String, f64, f64)> = Vec::new();
            let start = format!("{name}_bucket{{");
            for (series, value) in self.series.iter().filter(|(key, _)| key.starts_with(&start)) {
                let inside = series.strip_prefix(&start).and_then(|rest| rest.strip_suffix('}')).unwrap();
                // Other labels may end in these two letters.
                let begins = inside.strip_prefix("le=\"").map(|rest| ("", rest));
                let (before, rest) = begins.or_else(|| inside.split_once(",le=\"")).unwrap();
                let (bound, after) = rest.split_once('"').unwrap();
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
                let labels = format!("{before}{after}").trim_start_matches(',').to_owned();
                buckets.push((labels, bound, *value));
            }
            buckets.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
            for (labels, bound, value) in buckets {
                if let Some((_, below)) = last.get(&labels) {
                    assert!(value >= *below, "{name} {labels} falls at {bound}");
                }
                last.insert(labels, (bound, value));
            }
            for (labels, (bound, value)) in last {
                assert!(bound.is_infinite(), "{name} {labels} has no last bucket");
                let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
                assert_eq!(
                    self.series.get(&format!("{name}_count{braces}")),
                    Some(&value),
                    "{name} {labels}"
                );
            }
        }
    }

    /// The value of a series, as `name{label="value"}`; zero where there is none.
    pub fn value(&self, series: &str) -> f64 {
        self.series.get(series).copied().unwrap_or_default()
    }

    /// Whether there is a series.
    pub fn has(&self, series: &str) -> bool {
        self.series.contains_key(series)
    }

    /// The sum of all series of a name.
    pub fn sum(&self, name: &str) -> f64 {
        let own = |key: &str| key == name || key.starts_with(&format!("{name}{{"));
        self.series.iter().filter(|(key, _)| own(key)).map(|(_, value)| value).sum()
    }

    /// Every series.
    pub fn series(&self) -> impl Iterator<Item = &str> {
        self.series.keys().map(String::as_str)
    }
}

fn key(name: &str, labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return name.to_owned();
    }
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    format!("{name}{{{}}}", labels.join(","))
}

fn is_name(text: &str) -> bool {
    let first =
        text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_' || byte == b':');
    first && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
}

/// `name{label="value",…} number`.
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("{line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(label) && !label.contains(':'), "{line}");
            let (value, after) = quoted(after, line);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let number = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    let value = match number {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => panic!("{line}"),
        other => other.parse().unwrap_or_else(|_| panic!("{line}")),
    };
    (name.to_owned(), labels, value)
}

/// A value up to its closing quote, as it is escaped.
fn quoted<'a>(text: &'a str, line: &str) -> (String, &'a str) {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => {
                assert!(matches!(c, '\\' | '"' | 'n'), "{line}");
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (text[..at].to_owned(), &text[at + 1..]),
            _ => {}
        }
    }
    panic!("{line}")
}
