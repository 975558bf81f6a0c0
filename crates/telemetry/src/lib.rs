//! Traces: who did what under whose request, told to a collector over OTLP.
//!
//! [`Tracing`] is off unless the environment asks for it, and then every [`Span`] is empty: nothing is allocated, no clock is
//! read. When it is on, spans that end go into a bounded queue; where the queue is full they are dropped, and whoever ended
//! them never waits. What spans are about is decided where they are made; secrets are no part of any, and what is said to and
//! by models only where the operator wants it.
//!
//! A place in a trace ([`TraceContext`]) is a value of the domain: it is stored with what outlives a process. While a
//! request is answered, its place is [`current`] in the task that answers.

mod collector;
mod config;
mod queue;
mod span;
mod value;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span as Told;
use scaigrid_scope::{TraceContext, TracedSpan};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub use config::{Config, InvalidConfig};
pub use span::{Kind, Live, Span};
pub use value::Value;

use crate::collector::Sender;
use crate::queue::Queue;

/// What waits to be sent when the process ends has this long.
const FAREWELL: Duration = Duration::from_secs(5);

tokio::task_local! {
    static CURRENT: Option<TraceContext>;
}

/// Why traces cannot be recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

/// What records traces. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tracing(Option<Arc<Inner>>);

#[derive(Debug)]
pub(crate) struct Inner {
    queue: Arc<Queue>,
    stop: Arc<Notify>,
    sending: Mutex<Option<JoinHandle<()>>>,
    config: Config,
}

impl Inner {
    fn ended(&self, span: Told) {
        self.queue.push(span);
    }

    fn content(&self) -> bool {
        self.config.content
    }
}

impl Tracing {
    /// What records nothing.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Begins to record, for a program of this version, under the name of this start of it. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// There is no client for the collector's address: no TLS, say.
    pub fn start(config: Config, version: &'static str, instance: &str) -> Result<Self, StartError> {
        let sender = Sender::new(config.collector.clone(), version, instance);
        let sender = sender.map_err(|error| StartError(error.to_string()))?;
        let (queue, stop) = (Arc::new(Queue::new(config.limits.clone())), Arc::new(Notify::new()));
        let sending = tokio::spawn(sender.run(Arc::clone(&queue), Arc::clone(&stop)));
        Ok(Self(Some(Arc::new(Inner { queue, stop, sending: Mutex::new(Some(sending)), config }))))
    }

    /// Whether anything is recorded at all.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Sends what waits to be sent, and ends; what ends later is lost. Takes five seconds at most.
    pub async fn finish(&self) {
        let Some(inner) = &self.0 else { return };
        let sending = inner.sending.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(sending) = sending else { return };
        inner.stop.notify_one();
        if tokio::time::timeout(FAREWELL, sending).await.is_err() {
            tracing::warn!("the last spans could not be sent");
        }
    }

    /// A span under another one, or the root of a trace.
    pub fn span(
        &self,
        kind: Kind,
        parent: Option<TraceContext>,
        name: impl FnOnce() -> Cow<'static, str>,
    ) -> Span {
        let Some(inner) = &self.0 else { return Span::none() };
        match self.reserve(parent) {
            None => Span::none(),
            Some(place) if !place.context.is_sampled() => Span::unrecorded(place.context),
            Some(place) => Span::recorded(Arc::clone(inner), place.context, place.parent, kind, name()),
        }
    }

    /// The place of a span that will be recorded later, perhaps by another process: under another one, or as the root of a
    /// trace. None where traces are off.
    pub fn reserve(&self, parent: Option<TraceContext>) -> Option<TracedSpan> {
        let inner = self.0.as_ref()?;
        let span = rand::random_range(1..=u64::MAX);
        let config = &inner.config;
        match parent {
            Some(parent) if config.parent_based => {
                Some(TracedSpan { context: parent.with_span(span)?, parent: Some(parent.span()) })
            }
            Some(parent) => {
                let context =
                    TraceContext::new(parent.trace(), span, config.sampler.records(parent.trace()))?;
                Some(TracedSpan { context, parent: Some(parent.span()) })
            }
            None => {
                let trace = rand::random_range(1..=u128::MAX);
                let context = TraceContext::new(trace, span, config.sampler.records(trace))?;
                Some(TracedSpan { context, parent: None })
            }
        }
    }

    /// A span whose place was reserved.
    pub fn reserved(
        &self,
        place: Option<TracedSpan>,
        kind: Kind,
        name: impl FnOnce() -> Cow<'static, str>,
    ) -> Span {
        match (&self.0, place) {
            (Some(inner), Some(place)) if place.context.is_sampled() => {
                Span::recorded(Arc::clone(inner), place.context, place.parent, kind, name())
            }
            _ => Span::none(),
        }
    }
}

/// The place in a trace of what this task is doing.
pub fn current() -> Option<TraceContext> {
    CURRENT.try_with(|context| *context).ok().flatten()
}

/// Does something under a place in a trace, where there is one. Costs no room beside what is done.
pub fn under<T>(context: Option<TraceContext>, work: impl Future<Output = T>) -> impl Future<Output = T> {
    CURRENT.scope(context, work)
}
