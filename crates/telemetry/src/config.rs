//! What the environment says of traces, in the words that OpenTelemetry has for it.

mod delivery;

use std::fmt;

use crate::collector::Collector;
use crate::queue::Limits;

/// How traces are recorded and where they go. What the standard says of the process (`OTEL_SERVICE_NAME`,
/// `OTEL_RESOURCE_ATTRIBUTES`) the SDK reads by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Which traces that begin here are recorded.
    pub(crate) sampler: Sampler,
    /// Whether a trace that began elsewhere is recorded where it was there.
    pub(crate) parent_based: bool,
    /// Whether what was said to and by models stands in spans.
    pub(crate) content: bool,
    /// Where they go.
    pub(crate) collector: Collector,
    /// How many wait there for, and how long.
    pub(crate) limits: Limits,
}

/// Which traces are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sampler {
    /// All.
    On,
    /// None.
    Off,
    /// Those the lower half of whose id, halved, is below this.
    Below(u64),
}

/// A variable that cannot be obeyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidConfig {
    variable: &'static str,
    rule: String,
}

impl InvalidConfig {
    const fn new(variable: &'static str, rule: String) -> Self {
        Self { variable, rule }
    }

    /// The variable.
    pub const fn variable(&self) -> &'static str {
        self.variable
    }

    /// The rule that it breaks.
    pub fn rule(&self) -> &str {
        &self.rule
    }
}

impl std::error::Error for InvalidConfig {}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.rule)
    }
}

impl Config {
    /// What the variables say; none where traces are off, which they are unless an exporter or its endpoint is named.
    ///
    /// # Errors
    /// A variable that asks for what there is not.
    pub fn of(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, InvalidConfig> {
        let given =
            |name: &str| variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let yes = |name| given(name).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        if yes("OTEL_SDK_DISABLED") {
            return Ok(None);
        }
        let invalid = InvalidConfig::new;
        let named =
            given("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| given("OTEL_EXPORTER_OTLP_ENDPOINT"));
        match given("OTEL_TRACES_EXPORTER").as_deref() {
            None if named.is_none() => return Ok(None),
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => {
                return Err(invalid("OTEL_TRACES_EXPORTER", format!("expected otlp or none, got {other:?}")));
            }
        }
        for variable in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
            if let Some(other) = given(variable).filter(|text| text != "http/protobuf") {
                return Err(invalid(variable, format!("only http/protobuf is spoken, got {other:?}")));
            }
        }
        let ratio = || match given("OTEL_TRACES_SAMPLER_ARG") {
            None => Ok(Sampler::On),
            Some(text) => match text.parse::<f64>() {
                Ok(share) if (0.0..=1.0).contains(&share) => Ok(Sampler::share(share)),
                _ => Err(invalid(
                    "OTEL_TRACES_SAMPLER_ARG",
                    format!("expected a number from 0 to 1, got {text:?}"),
                )),
            },
        };
        let (parent_based, sampler) = match given("OTEL_TRACES_SAMPLER").as_deref() {
            None | Some("parentbased_always_on") => (true, Sampler::On),
            Some("parentbased_always_off") => (true, Sampler::Off),
            Some("parentbased_traceidratio") => (true, ratio()?),
            Some("always_on") => (false, Sampler::On),
            Some("always_off") => (false, Sampler::Off),
            Some("traceidratio") => (false, ratio()?),
            Some(other) => {
                let rule = format!("expected one of the six that the specification has, got {other:?}");
                return Err(invalid("OTEL_TRACES_SAMPLER", rule));
            }
        };
        let content = yes("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT");
        let collector = delivery::collector(&given)?;
        let limits = delivery::limits(&given)?;
        Ok(Some(Self { sampler, parent_based, content, collector, limits }))
    }
}

impl Sampler {
    /// A share of all traces, from 0 to 1.
    fn share(share: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a share of 2^63, which need not be exact"
        )]
        let bound = (share * (1_u64 << 63) as f64) as u64;
        Self::Below(bound)
    }

    /// Whether a trace is recorded. The same traces on every node.
    pub(crate) fn records(self, trace: u128) -> bool {
        match self {
            Self::On => true,
            Self::Off => false,
            Self::Below(bound) => {
                #[expect(clippy::cast_possible_truncation, reason = "the lower half is what counts")]
                let low = (trace as u64) >> 1;
                low < bound
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Option<Config>, InvalidConfig> {
        Config::of(&|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn traces_are_off_unless_somebody_asks_for_them() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("OTEL_SERVICE_NAME", "x"), ("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), Ok(None));
        let on = of(&[("OTEL_TRACES_EXPORTER", "otlp")]).unwrap().unwrap();
        assert_eq!((on.sampler, on.parent_based, on.content), (Sampler::On, true, false));
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1]:4318");
        let on = of(&[endpoint]).unwrap().unwrap();
        assert_eq!((on.sampler, on.parent_based, on.content), (Sampler::On, true, false));
        assert_eq!(of(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
        assert_eq!(of(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(None));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1]:4318");
        for (variable, value) in [
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ] {
            let ratio = ("OTEL_TRACES_SAMPLER", "traceidratio");
            let error = of(&[endpoint, (variable, value), ratio]).unwrap_err().to_string();
            assert!(error.starts_with(variable) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn a_share_of_traces_is_a_share() {
        let share = Sampler::share(0.25);
        let step = u64::MAX / 1000;
        let kept = (0..1000).filter(|n| share.records(u128::from(n * step))).count();
        assert!((248..=252).contains(&kept), "{kept}");
        assert!(Sampler::share(1.0).records(u128::MAX) && !Sampler::share(0.0).records(2));
    }
}
