//! Spans: what is being done, as far as it is recorded.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use scaigrid_scope::TraceContext;

use crate::Inner;

/// The most events of a span.
const EVENTS: usize = 128;
/// The most bytes of a text in a span.
const TEXT: usize = 4 * 1024;

/// What a span stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request that came in.
    Server,
    /// A request that goes out.
    Client,
    /// Anything else.
    Internal,
}

/// Something that is being done. Ends when it is dropped. Where nothing is recorded it is empty, and costs nothing.
#[derive(Debug, Default)]
pub struct Span {
    context: Option<TraceContext>,
    live: Option<Box<Live>>,
}

/// A span that is recorded.
#[derive(Debug)]
pub struct Live {
    inner: Arc<Inner>,
    context: TraceContext,
    parent: Option<u64>,
    kind: Kind,
    name: Cow<'static, str>,
    begun: SystemTime,
    ended: Option<SystemTime>,
    attributes: Vec<KeyValue>,
    events: SpanEvents,
    links: SpanLinks,
    status: Status,
}

impl Span {
    /// No span.
    pub const fn none() -> Self {
        Self { context: None, live: None }
    }

    /// A span that only passes its place on.
    pub(crate) const fn unrecorded(context: TraceContext) -> Self {
        Self { context: Some(context), live: None }
    }

    pub(crate) fn recorded(
        inner: Arc<Inner>,
        context: TraceContext,
        parent: Option<u64>,
        kind: Kind,
        name: Cow<'static, str>,
    ) -> Self {
        let live = Live {
            inner,
            context,
            parent,
            kind,
            name,
            begun: SystemTime::now(),
            ended: None,
            attributes: Vec::with_capacity(8),
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
        };
        Self { context: Some(context), live: Some(Box::new(live)) }
    }

    /// Its place, for what is done under it; none where traces are off.
    pub const fn context(&self) -> Option<TraceContext> {
        self.context
    }

    /// What is recorded of it, to say more; none where nothing is.
    pub fn live(&mut self) -> Option<&mut Live> {
        self.live.as_deref_mut()
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            live.end();
        }
    }
}

/// A text, cut where it is long.
fn cut(mut text: String) -> String {
    if text.len() > TEXT {
        let end = (0..=TEXT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

impl Live {
    /// Says something of it.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) -> &mut Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    /// Says a text of it, which is cut where it is long.
    pub fn text(&mut self, key: &'static str, text: impl Into<String>) -> &mut Self {
        self.set(key, cut(text.into()))
    }

    /// What it is called, where that is known late.
    pub fn rename(&mut self, name: impl Into<Cow<'static, str>>) -> &mut Self {
        self.name = name.into();
        self
    }

    /// Notes what happened in it.
    pub fn event(&mut self, name: impl Into<Cow<'static, str>>, attributes: Vec<KeyValue>) -> &mut Self {
        if self.events.events.len() < EVENTS {
            self.events.events.push(Event::new(name, SystemTime::now(), attributes, 0));
        } else {
            self.events.dropped_count += 1;
        }
        self
    }

    /// Names something in this or another trace that had a part in it.
    pub fn link(&mut self, context: TraceContext) -> &mut Self {
        self.links.links.push(Link::with_context(span_context(context)));
        self
    }

    /// Says that it failed, by the name of the error, which must be one of a few.
    pub fn fail(&mut self, code: impl Into<String>) -> &mut Self {
        self.status = Status::error("");
        self.set("error.type", code.into())
    }

    /// When it began and ended, where that was not now.
    pub fn lasted(&mut self, begun: SystemTime, ended: SystemTime) -> &mut Self {
        self.begun = begun;
        self.ended = Some(ended);
        self
    }

    /// Whether what was said to and by models may stand in it.
    pub fn takes_content(&self) -> bool {
        self.inner.content()
    }

    fn end(self) {
        let data = SpanData {
            span_context: span_context(self.context),
            parent_span_id: SpanId::from(self.parent.unwrap_or_default()),
            parent_span_is_remote: false,
            span_kind: match self.kind {
                Kind::Server => SpanKind::Server,
                Kind::Client => SpanKind::Client,
                Kind::Internal => SpanKind::Internal,
            },
            name: self.name,
            start_time: self.begun,
            end_time: self.ended.unwrap_or_else(SystemTime::now).max(self.begun),
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: self.events,
            links: self.links,
            status: self.status,
            instrumentation_scope: self.inner.scope(),
        };
        self.inner.ended(data);
    }
}

fn span_context(context: TraceContext) -> SpanContext {
    let flags = if context.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace, span) = (TraceId::from(context.trace()), SpanId::from(context.span()));
    SpanContext::new(trace, span, flags, false, TraceState::NONE)
}
