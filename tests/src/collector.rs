//! A collector of traces: what was posted to it over OTLP, decoded.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use prost::Message as _;

use crate::{Launch, Receiver, eventually};

/// A collector on this machine.
#[derive(Debug, Clone)]
pub struct Collector(Receiver);

/// A span, as far as tests ask.
#[derive(Debug, Clone, PartialEq)]
pub struct Traced {
    /// What it is called.
    pub name: String,
    /// Its trace, in hexadecimal digits.
    pub trace: String,
    /// Its number, in hexadecimal digits.
    pub id: String,
    /// The number of the span above it; empty for a root.
    pub parent: String,
    /// Its kind, as the protocol numbers them.
    pub kind: i32,
    /// Its attributes.
    pub attributes: Vec<(String, String)>,
    /// The spans that it is linked to: trace and number.
    pub links: Vec<(String, String)>,
    /// The names of what happened in it.
    pub events: Vec<String>,
    /// Whether it failed.
    pub failed: bool,
    /// How long it lasted.
    pub lasted: Duration,
    /// Which start of the program has told it.
    pub instance: String,
}

impl Traced {
    /// The value of an attribute that must be there.
    pub fn get(&self, key: &str) -> &str {
        let found = self.attributes.iter().find(|(name, _)| name == key);
        found.map_or_else(|| panic!("no {key} in {self:?}"), |(_, value)| value.as_str())
    }

    /// As another span names it above itself in a `traceparent`.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.id)
    }
}

impl Collector {
    /// A collector that takes everything.
    pub fn start() -> Self {
        Self(Receiver::start())
    }

    /// What it receives with.
    pub fn receiver(&self) -> &Receiver {
        &self.0
    }

    /// Has a server tell it of its spans.
    #[must_use]
    pub fn told_by<'a>(&self, launch: Launch<'a>) -> Launch<'a> {
        launch.set("OTEL_EXPORTER_OTLP_ENDPOINT", &self.0.url("")).set("OTEL_BSP_SCHEDULE_DELAY", "100")
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Traced> {
        let mut spans = Vec::new();
        for received in self.0.received() {
            assert_eq!(received.path, "/v1/traces");
            assert_eq!(received.header("content-type"), "application/x-protobuf");
            let request = ExportTraceServiceRequest::decode(received.body.as_slice()).unwrap();
            for of_resource in request.resource_spans {
                let resource = texts(&of_resource.resource.unwrap().attributes);
                let instance = resource.iter().find(|(name, _)| name == "service.instance.id");
                let instance = instance.map(|(_, value)| value.clone()).unwrap_or_default();
                let all = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                spans.extend(all.map(|span| read(span, instance.clone())));
            }
        }
        spans
    }

    /// Waits until there are spans that satisfy somebody.
    pub fn wait_for<T>(&self, what: &str, satisfied: impl Fn(&[Traced]) -> Option<T>) -> T {
        eventually(what, Duration::from_secs(30), || satisfied(&self.spans()))
    }
}

fn read(span: Span, instance: String) -> Traced {
    Traced {
        name: span.name,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        kind: span.kind,
        attributes: texts(&span.attributes),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        events: span.events.into_iter().map(|event| event.name).collect(),
        failed: span.status.is_some_and(|status| status.code == StatusCode::Error as i32),
        lasted: Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano),
        instance,
    }
}

fn texts(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |attribute: &KeyValue| {
        let value = match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(Any::StringValue(text)) => text.clone(),
            Some(Any::IntValue(number)) => number.to_string(),
            Some(Any::DoubleValue(number)) => number.to_string(),
            Some(Any::BoolValue(truth)) => truth.to_string(),
            other => format!("{other:?}"),
        };
        (attribute.key.clone(), value)
    };
    attributes.iter().map(text).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
