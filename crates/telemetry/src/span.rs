//! Spans: what is being done, as far as it is recorded. They are kept in the protocol's own types, so that nothing is
//! rewritten when they end.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span as Told, SpanFlags, Status};
use scaigrid_scope::TraceContext;

use crate::{Inner, Value};

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
    told: Told,
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
        let kind = match kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Internal => SpanKind::Internal,
        };
        let told = Told {
            trace_id: context.trace().to_be_bytes().to_vec(),
            span_id: context.span().to_be_bytes().to_vec(),
            parent_span_id: parent.map(|span| span.to_be_bytes().to_vec()).unwrap_or_default(),
            flags: flags(context),
            name: name.into_owned(),
            kind: kind.into(),
            start_time_unix_nano: nanos(SystemTime::now()),
            attributes: Vec::with_capacity(8),
            ..Told::default()
        };
        Self { context: Some(context), live: Some(Box::new(Live { inner, told })) }
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
        self.told.attributes.push(attribute(key, value.into()));
        self
    }

    /// Says a text of it, which is cut where it is long.
    pub fn text(&mut self, key: &'static str, text: impl Into<String>) -> &mut Self {
        self.set(key, cut(text.into()))
    }

    /// What it is called, where that is known late.
    pub fn rename(&mut self, name: impl Into<String>) -> &mut Self {
        self.told.name = name.into();
        self
    }

    /// Notes what happened in it, and to what: one attribute.
    pub fn event(&mut self, name: &str, key: &'static str, value: impl Into<Value>) -> &mut Self {
        if self.told.events.len() < EVENTS {
            self.told.events.push(Event {
                time_unix_nano: nanos(SystemTime::now()),
                name: name.to_owned(),
                attributes: vec![attribute(key, value.into())],
                dropped_attributes_count: 0,
            });
        } else {
            self.told.dropped_events_count += 1;
        }
        self
    }

    /// Names something in this or another trace that had a part in it.
    pub fn link(&mut self, context: TraceContext) -> &mut Self {
        self.told.links.push(Link {
            trace_id: context.trace().to_be_bytes().to_vec(),
            span_id: context.span().to_be_bytes().to_vec(),
            flags: flags(context),
            ..Link::default()
        });
        self
    }

    /// Says that it failed, by the name of the error, which must be one of a few.
    pub fn fail(&mut self, code: impl Into<String>) -> &mut Self {
        self.told.status = Some(Status { message: String::new(), code: StatusCode::Error.into() });
        self.set("error.type", code.into())
    }

    /// When it began and ended, where that was not now.
    pub fn lasted(&mut self, begun: SystemTime, ended: SystemTime) -> &mut Self {
        self.told.start_time_unix_nano = nanos(begun);
        self.told.end_time_unix_nano = nanos(ended);
        self
    }

    /// Whether what was said to and by models may stand in it.
    pub fn takes_content(&self) -> bool {
        self.inner.content()
    }

    fn end(mut self) {
        if self.told.end_time_unix_nano == 0 {
            self.told.end_time_unix_nano = nanos(SystemTime::now());
        }
        // Clocks are set back.
        self.told.end_time_unix_nano = self.told.end_time_unix_nano.max(self.told.start_time_unix_nano);
        self.inner.ended(self.told);
    }
}

fn attribute(key: &'static str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value.0) }), key_strindex: 0 }
}

/// Nanoseconds since 1970, as the protocol counts.
fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The flags of W3C Trace Context, and that the span above is of this platform.
fn flags(context: TraceContext) -> u32 {
    let local = SpanFlags::ContextHasIsRemoteMask as u32;
    local | u32::from(context.is_sampled())
}
