//! Spans that have ended and wait to be sent: each is written in the protocol's encoding by whoever ends it, so that a
//! batch is bytes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span};
use prost::Message as _;
use tokio::sync::Notify;

/// How many wait, and how long (`OTEL_BSP_*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The most spans that wait; what ends beyond that is dropped.
    pub(crate) most: usize,
    /// The most spans of a request, which is sent as soon as there are so many.
    pub(crate) batch: usize,
    /// How long a span waits where there are fewer.
    pub(crate) delay: Duration,
}

impl Default for Limits {
    /// The specification's.
    fn default() -> Self {
        Self { most: 2048, batch: 512, delay: Duration::from_secs(5) }
    }
}

/// What waits.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    full: Notify,
    limits: Limits,
}

#[derive(Debug, Default)]
struct Waiting {
    batches: VecDeque<Batch>,
    spans: usize,
    dropped: u64,
}

/// Spans for one request.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// How many.
    pub(crate) spans: usize,
    /// They, as the repeated field `spans` of a `ScopeSpans`.
    pub(crate) bytes: Vec<u8>,
}

impl Queue {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { waiting: Mutex::default(), full: Notify::new(), limits }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a span that has ended, or drops it where the queue is full. Never waits for the collector.
    pub(crate) fn push(&self, span: Span) {
        // Encoded messages one after the other are their repeated fields one after the other.
        let one = ScopeSpans { spans: vec![span], ..ScopeSpans::default() };
        let mut waiting = self.waiting();
        if waiting.spans >= self.limits.most {
            waiting.dropped += 1;
            return;
        }
        waiting.spans += 1;
        if waiting.batches.back().is_none_or(|last| last.spans >= self.limits.batch) {
            waiting.batches.push_back(Batch::default());
        }
        let Some(last) = waiting.batches.back_mut() else { return };
        last.spans += 1;
        // The only error is that there is no room, and a vector grows.
        let _ = one.encode(&mut last.bytes);
        if last.spans == self.limits.batch {
            self.full.notify_one();
        }
    }

    /// The oldest batch; only one that has all that it may have, where `whole`.
    pub(crate) fn take(&self, whole: bool) -> Option<Batch> {
        let mut waiting = self.waiting();
        waiting.batches.front().filter(|first| !whole || first.spans >= self.limits.batch)?;
        let batch = waiting.batches.pop_front()?;
        waiting.spans -= batch.spans;
        Some(batch)
    }

    /// Waits until a batch is whole, or so long as a span waits at most; whether one is whole.
    pub(crate) async fn due(&self) -> bool {
        tokio::time::timeout(self.limits.delay, self.full.notified()).await.is_ok()
    }

    /// How many were dropped since this was asked last.
    pub(crate) fn dropped(&self) -> u64 {
        std::mem::take(&mut self.waiting().dropped)
    }
}
