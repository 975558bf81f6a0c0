//! The way to the collector: the SDK batches on a thread of its own, and the requests go over the house's HTTP client.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanProcessor as _};
use tokio::runtime::Handle;

use crate::StartError;

/// What could not be sent is logged this often.
const SAY_EVERY: Duration = Duration::from_mins(1);

/// Starts what sends spans to the collector. Must be called inside a Tokio runtime.
pub(crate) fn start(
    version: &'static str,
    instance: &str,
    patience: Duration,
) -> Result<BatchSpanProcessor, StartError> {
    let failed = |error: &dyn std::error::Error| StartError(error.to_string());
    let client = reqwest::Client::builder().timeout(patience).redirect(reqwest::redirect::Policy::none());
    let client = client.build().map_err(|error| failed(&error))?;
    let client = Collector { client, runtime: Handle::current(), trouble: Trouble::default() };
    let exporter = SpanExporter::builder().with_http().with_http_client(client).build();
    let mut processor = BatchSpanProcessor::builder(exporter.map_err(|error| failed(&error))?).build();
    let mut resource = Resource::builder()
        .with_attribute(KeyValue::new("service.version", version))
        .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()));
    if !named_by_environment() {
        resource = resource.with_service_name("scaigrid");
    }
    processor.set_resource(&resource.build());
    Ok(processor)
}

/// Whether the operator says what the service is called.
fn named_by_environment() -> bool {
    let given = |name| std::env::var(name).unwrap_or_default();
    !given("OTEL_SERVICE_NAME").is_empty() || given("OTEL_RESOURCE_ATTRIBUTES").contains("service.name=")
}

/// The collector, as the SDK speaks to it from its own thread: the request is made on the runtime.
#[derive(Debug)]
struct Collector {
    client: reqwest::Client,
    runtime: Handle,
    trouble: Trouble,
}

impl HttpClient for Collector {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let client = self.client.clone();
            let sent = self.runtime.spawn(async move {
                let answer = client.execute(request.try_into()?).await?;
                let mut whole = Response::builder().status(answer.status());
                if let Some(headers) = whole.headers_mut() {
                    headers.clone_from(answer.headers());
                }
                Ok::<_, HttpError>(whole.body(answer.bytes().await?)?)
            });
            let answer = sent.await.map_err(HttpError::from).and_then(|answer| answer);
            match &answer {
                Ok(answer) if answer.status().is_success() => {}
                Ok(answer) => self.trouble.say(&answer.status()),
                Err(error) => self.trouble.say(error),
            }
            answer
        })
    }
}

/// What could not be sent, said once in a while.
#[derive(Debug, Default)]
struct Trouble {
    failed: AtomicU64,
    said: Mutex<Option<Instant>>,
}

impl Trouble {
    fn say(&self, error: &dyn std::fmt::Display) {
        let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            *said = Some(Instant::now());
            tracing::warn!(%error, failed, "spans could not be sent to the collector");
        }
    }
}
