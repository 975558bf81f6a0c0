//! The way to the collector: OTLP over HTTP, in protobuf.
//!
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, header};
use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource as Described;
use prost::Message as _;
use reqwest::Url;
use tokio::sync::Notify;

use crate::queue::{Batch, Queue};

/// What could not be sent is logged this often.
const SAY_EVERY: Duration = Duration::from_mins(1);
/// The tag of `ExportTraceServiceRequest.resource_spans`: field 1, of a length.
const RESOURCE_SPANS: u8 = 1 << 3 | 2;
/// The tag of `ResourceSpans.scope_spans`: field 2, of a length.
const SCOPE_SPANS: u8 = 2 << 3 | 2;

/// Where spans go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Collector {
    /// Where they are posted to.
    pub(crate) url: Url,
    /// What is said with each request; often who asks.
    pub(crate) headers: HeaderMap,
    /// How long one request may take.
    pub(crate) patience: Duration,
}

/// What sends batches, one request at a time.
#[derive(Debug)]
pub(crate) struct Sender {
    client: reqwest::Client,
    collector: Collector,
    /// What stands in each request beside the spans: who tells them.
    resource: Vec<u8>,
    scope: Vec<u8>,
    trouble: Trouble,
}

impl Sender {
    pub(crate) fn new(
        collector: Collector,
        version: &'static str,
        instance: &str,
    ) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().timeout(collector.patience);
        let client = client.redirect(reqwest::redirect::Policy::none()).build()?;
        let scope = InstrumentationScope {
            name: "scaigrid".to_owned(),
            version: version.to_owned(),
            ..InstrumentationScope::default()
        };
        let scope = ScopeSpans { scope: Some(scope), ..ScopeSpans::default() }.encode_to_vec();
        let resource = resource(version, instance).encode_to_vec();
        Ok(Self { client, collector, resource, scope, trouble: Trouble::default() })
    }

    /// Sends what waits, until told to stop, and then what is left.
    pub(crate) async fn run(mut self, queue: Arc<Queue>, stop: Arc<Notify>) {
        loop {
            let whole = tokio::select! {
                whole = queue.due() => whole,
                () = stop.notified() => break,
            };
            while let Some(batch) = queue.take(whole) {
                self.send(batch).await;
            }
            let dropped = queue.dropped();
            if dropped > 0 {
                self.trouble.say(dropped, &"the queue is full (OTEL_BSP_MAX_QUEUE_SIZE)");
            }
        }
        while let Some(batch) = queue.take(false) {
            self.send(batch).await;
        }
    }

    /// A request of one resource and one scope, with these spans.
    fn body(&self, batch: &Batch) -> Vec<u8> {
        let of_scope = self.scope.len() + batch.bytes.len();
        let of_resource = self.resource.len() + 1 + prost::length_delimiter_len(of_scope) + of_scope;
        let mut body = Vec::with_capacity(1 + prost::length_delimiter_len(of_resource) + of_resource);
        let open = |body: &mut Vec<u8>, tag, length| {
            body.push(tag);
            // The only error is that there is no room, and a vector grows.
            let _ = prost::encode_length_delimiter(length, body);
        };
        open(&mut body, RESOURCE_SPANS, of_resource);
        body.extend_from_slice(&self.resource);
        open(&mut body, SCOPE_SPANS, of_scope);
        body.extend_from_slice(&self.scope);
        body.extend_from_slice(&batch.bytes);
        body
    }

    async fn send(&mut self, batch: Batch) {
        let lost = u64::try_from(batch.spans).unwrap_or(u64::MAX);
        match self.post(self.body(&batch)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(refused)) => self.trouble.say(refused, &"the collector refuses them"),
            Ok(Err(status)) => self.trouble.say(lost, &status),
            Err(error) => self.trouble.say(lost, &error.without_url()),
        }
    }

    /// Posts a request; how many of its spans the collector has refused, or its error's status.
    async fn post(&self, body: Vec<u8>) -> Result<Result<u64, http::StatusCode>, reqwest::Error> {
        let mut request =
            self.client.post(self.collector.url.clone()).headers(self.collector.headers.clone());
        request = request.header(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let answer = request.body(body).send().await?;
        let status = answer.status();
        let said = answer.bytes().await?;
        if !status.is_success() {
            return Ok(Err(status));
        }
        let refused = ExportTraceServiceResponse::decode(said).ok().and_then(|said| said.partial_success);
        Ok(Ok(refused.map_or(0, |refused| u64::try_from(refused.rejected_spans).unwrap_or_default())))
    }
}

/// Who tells the spans: the program, this start of it, and what the environment says of it (`OTEL_SERVICE_NAME`,
/// `OTEL_RESOURCE_ATTRIBUTES`).
fn resource(version: &'static str, instance: &str) -> ResourceSpans {
    let given = |name| std::env::var(name).unwrap_or_default();
    let named =
        !given("OTEL_SERVICE_NAME").is_empty() || given("OTEL_RESOURCE_ATTRIBUTES").contains("service.name=");
    let mut described = Described::builder().with_attributes([
        KeyValue::new("service.version", version),
        KeyValue::new("service.instance.id", instance.to_owned()),
    ]);
    if !named {
        described = described.with_service_name("scaigrid");
    }
    let described = ResourceAttributesWithSchema::from(&described.build());
    let resource = Resource { attributes: described.attributes.0, ..Resource::default() };
    ResourceSpans {
        resource: Some(resource),
        schema_url: described.schema_url.unwrap_or_default(),
        ..ResourceSpans::default()
    }
}

/// Spans that were lost, said once in a while.
#[derive(Debug, Default)]
struct Trouble {
    lost: u64,
    said: Option<Instant>,
}

impl Trouble {
    fn say(&mut self, lost: u64, reason: &dyn std::fmt::Display) {
        self.lost += lost;
        if self.said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            tracing::warn!(%reason, lost = self.lost, "spans could not be sent to the collector");
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::Span;

    use super::*;
    use crate::queue::Limits;

    fn span(name: &str) -> Span {
        Span { name: name.to_owned(), trace_id: vec![7; 16], ..Span::default() }
    }

    #[test]
    fn a_request_is_one_resource_and_one_scope_with_the_spans_of_the_batch() {
        let collector = Collector {
            url: Url::parse("http://[::1]:4318/v1/traces").unwrap(),
            headers: HeaderMap::new(),
            patience: Duration::from_secs(1),
        };
        let sender = Sender::new(collector, "1.2.3", "a start").unwrap();
        // So long that the lengths above it take three bytes.
        let long = "x".repeat(20_000);
        let queue = Queue::new(Limits { most: 4, batch: 3, ..Limits::default() });
        for name in ["one", &long] {
            queue.push(span(name));
        }
        assert!(queue.take(true).is_none(), "it is not whole");
        for name in ["three", "four", "dropped"] {
            queue.push(span(name));
        }
        assert_eq!((queue.dropped(), queue.dropped()), (1, 0));
        let batches = [queue.take(true).unwrap(), queue.take(false).unwrap()];
        assert!(queue.take(false).is_none());
        let mut told = Vec::new();
        for batch in batches {
            let body = sender.body(&batch);
            let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
            let [of_resource] = request.resource_spans.as_slice() else { panic!("{request:?}") };
            let described = format!("{:?}", of_resource.resource);
            assert!(described.contains("1.2.3") && described.contains("a start"), "{described}");
            let [of_scope] = of_resource.scope_spans.as_slice() else { panic!("{request:?}") };
            assert_eq!(of_scope.scope.as_ref().unwrap().name, "scaigrid");
            assert_eq!(of_scope.spans.len(), batch.spans);
            assert!(of_scope.spans.iter().all(|span| span.trace_id == [7; 16]));
            told.extend(of_scope.spans.iter().map(|span| span.name.clone()));
        }
        assert_eq!(told, ["one", &long, "three", "four"]);
    }
}
