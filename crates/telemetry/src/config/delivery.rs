//! Where spans go, and how many wait for that.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::InvalidConfig;
use crate::collector::Collector;
use crate::queue::Limits;

/// Where a collector listens where nothing says it.
const HERE: &str = "http://localhost:4318";
/// The path under a collector's address at which it takes traces.
const PATH: &str = "v1/traces";
/// How long one request to the collector may take where nothing says it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest time that can be given, an hour.
const LONGEST_MS: u64 = 3_600_000;
/// The most spans that may wait: some hundred megabytes.
const MOST_SPANS: u64 = 262_144;

/// Reads a variable; none where it is empty.
type Given<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The collector of `OTEL_EXPORTER_OTLP_*`; what is said of traces alone counts before what is said of everything.
pub(super) fn collector(given: Given<'_>) -> Result<Collector, InvalidConfig> {
    let mut patience = PATIENCE;
    for variable in
        ["OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_BSP_EXPORT_TIMEOUT"]
    {
        if let Some(millis) = number(given, variable, LONGEST_MS, "milliseconds")? {
            let given = Duration::from_millis(millis);
            // The processor's bounds the exporter's.
            patience = if variable.starts_with("OTEL_BSP") { patience.min(given) } else { given };
        }
    }
    let mut headers = HeaderMap::new();
    for variable in ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"] {
        for pair in given(variable).unwrap_or_default().split(',').filter(|pair| !pair.trim().is_empty()) {
            // What stands there is often a secret, so that it is not said again.
            let rule = || "expected name=value pairs, separated by commas, as headers can be".to_owned();
            let (name, value) = header(pair).ok_or_else(|| InvalidConfig::new(variable, rule()))?;
            headers.insert(name, value);
        }
    }
    Ok(Collector { url: url(given)?, headers, patience })
}

/// The address for traces is taken as it is; of the one for everything the path is said by the standard.
fn url(given: Given<'_>) -> Result<Url, InvalidConfig> {
    const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let (variable, text) = if let Some(text) = given(TRACES) {
        (TRACES, text)
    } else {
        let base = given(ALL).unwrap_or_else(|| HERE.to_owned());
        (ALL, format!("{}/{PATH}", base.trim_end_matches('/')))
    };
    let rule = || InvalidConfig::new(variable, "expected an address with http:// or https://".to_owned());
    let url = Url::parse(&text).map_err(|_| rule())?;
    if matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err(rule()) }
}

/// A header as the standard writes them, with what is not plain in the value percent-encoded.
fn header(pair: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = pair.split_once('=')?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
    let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

/// The queue of `OTEL_BSP_*`.
pub(super) fn limits(given: Given<'_>) -> Result<Limits, InvalidConfig> {
    let default = Limits::default();
    let spans = |variable| number(given, variable, MOST_SPANS, "spans");
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let most = spans("OTEL_BSP_MAX_QUEUE_SIZE")?.map_or(default.most, size);
    let batch = spans("OTEL_BSP_MAX_EXPORT_BATCH_SIZE")?.map_or(default.batch, size);
    let delay = number(given, "OTEL_BSP_SCHEDULE_DELAY", LONGEST_MS, "milliseconds")?;
    let delay = delay.map_or(default.delay, Duration::from_millis);
    Ok(Limits { most, batch: batch.min(most), delay })
}

fn number(
    given: Given<'_>,
    variable: &'static str,
    most: u64,
    unit: &str,
) -> Result<Option<u64>, InvalidConfig> {
    let Some(text) = given(variable) else { return Ok(None) };
    match text.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(Some(number)),
        _ => {
            let rule = format!("expected a number of {unit} from 1 to {most}, got {text:?}");
            Err(InvalidConfig::new(variable, rule))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn the_path_is_added_to_what_is_said_of_everything() {
        let url = |pairs: &[(&str, &str)]| url(&given(pairs)).map(|url| url.to_string());
        let (all, traces) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        assert_eq!(url(&[]).unwrap(), "http://localhost:4318/v1/traces");
        assert_eq!(url(&[(all, "http://[::1]:1/otel/")]).unwrap(), "http://[::1]:1/otel/v1/traces");
        assert_eq!(url(&[(all, "http://a"), (traces, "https://b/in")]).unwrap(), "https://b/in");
        let error = url(&[(all, "localhost:4318")]).unwrap_err().to_string();
        assert!(error.starts_with(all), "{error}");
    }

    #[test]
    fn headers_are_decoded_and_never_shown() {
        let of = |text| collector(&given(&[("OTEL_EXPORTER_OTLP_HEADERS", text)]));
        let headers = of("Authorization=Bearer%20very-secret, x-tenant = a ,").unwrap().headers;
        assert_eq!(headers["authorization"], "Bearer very-secret");
        assert_eq!(headers["x-tenant"], "a");
        assert!(!format!("{headers:?}").contains("very-secret"));
        for wrong in ["very-secret", "a b=very-secret", "a=very-secret%0A"] {
            let error = of(wrong).unwrap_err().to_string();
            assert!(error.starts_with("OTEL_EXPORTER_OTLP_HEADERS") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_batch_is_no_more_than_the_queue() {
        let of = |pairs: &[(&str, &str)]| limits(&given(pairs));
        assert_eq!(of(&[]).unwrap(), Limits::default());
        let small = of(&[("OTEL_BSP_MAX_QUEUE_SIZE", "10"), ("OTEL_BSP_SCHEDULE_DELAY", "20")]).unwrap();
        assert_eq!(small, Limits { most: 10, batch: 10, delay: Duration::from_millis(20) });
        let error = of(&[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0")]).unwrap_err().to_string();
        assert!(error.starts_with("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"), "{error}");
    }
}
