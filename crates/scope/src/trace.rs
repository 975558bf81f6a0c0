//! Trace context: what a piece of work is a part of, as W3C Trace Context names it (level 1, `traceparent`).

use std::fmt;
use std::str::FromStr;

/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

/// A place in a trace. Neither of its numbers is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    flags: u8,
}

impl TraceContext {
    /// The place of a span in a trace; none where a number is zero, which names nothing.
    pub const fn new(trace: u128, span: u64, sampled: bool) -> Option<Self> {
        if trace == 0 || span == 0 {
            return None;
        }
        Some(Self { trace, span, flags: if sampled { SAMPLED } else { 0 } })
    }

    /// The trace.
    pub const fn trace(&self) -> u128 {
        self.trace
    }

    /// The span.
    pub const fn span(&self) -> u64 {
        self.span
    }

    /// Whether whoever began the trace records it.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Another span of the same trace; none where the number is zero.
    #[must_use]
    pub const fn with_span(self, span: u64) -> Option<Self> {
        if span == 0 { None } else { Some(Self { span, ..self }) }
    }
}

impl fmt::Display for TraceContext {
    /// A `traceparent` of version `00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// A text that is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent (W3C Trace Context)")]
pub struct InvalidTraceContext;

impl FromStr for TraceContext {
    type Err = InvalidTraceContext;

    /// Reads a `traceparent`. Of versions to come, what they have in common with the first counts.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = |text: &str, digits: usize| {
            let own = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            (text.len() == digits && text.bytes().all(own)).then_some(())
        };
        let read = || {
            let mut parts = text.splitn(5, '-');
            let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
            hex(version, 2).and(hex(trace, 32)).and(hex(span, 16)).and(hex(flags, 2))?;
            if version == "ff" || (version == "00" && parts.next().is_some()) {
                return None;
            }
            let trace = u128::from_str_radix(trace, 16).ok()?;
            let span = u64::from_str_radix(span, 16).ok()?;
            let flags = u8::from_str_radix(flags, 16).ok()?;
            (trace != 0 && span != 0).then_some(Self { trace, span, flags })
        };
        read().ok_or(InvalidTraceContext)
    }
}

/// The span of something that outlives whoever began it: its own place in a trace, and the span that it belongs under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TracedSpan {
    /// Its place.
    pub context: TraceContext,
    /// The number of the span above it, in the same trace; none for the root of a trace.
    pub parent: Option<u64>,
}

impl fmt::Display for TracedSpan {
    /// The stored form: the `traceparent`, and the parent after a space.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parent {
            Some(parent) => write!(f, "{} {parent:016x}", self.context),
            None => self.context.fmt(f),
        }
    }
}

impl FromStr for TracedSpan {
    type Err = InvalidTraceContext;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (context, parent) = match text.split_once(' ') {
            Some((context, parent)) => (context, Some(parent)),
            None => (text, None),
        };
        let parent = parent.map(|parent| u64::from_str_radix(parent, 16)).transpose();
        Ok(Self { context: context.parse()?, parent: parent.map_err(|_| InvalidTraceContext)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn what_is_no_trace_is_not_gone_on_with() {
        let good = format!("00-{TRACE}-b7ad6b7169203331-01");
        let context: TraceContext = good.parse().unwrap();
        assert_eq!((context.to_string(), context.is_sampled()), (good.clone(), true));
        let later: TraceContext = format!("cc{}-more", &good[2..]).parse().unwrap();
        assert_eq!(later, context);
        for bad in [
            good.to_uppercase(),
            format!("{good}-more"),
            format!("ff{}", &good[2..]),
            good.replace(TRACE, &"0".repeat(32)),
            good.replace("b7ad6b7169203331", &"0".repeat(16)),
            good[..54].to_owned(),
            good.replace("0af", "+af"),
            String::new(),
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(InvalidTraceContext), "{bad}");
        }
        assert_eq!(TraceContext::new(0, 1, true), None);
        assert_eq!(context.with_span(0), None);
    }

    #[test]
    fn what_is_stored_is_read_again() {
        let context = TraceContext::new(7, 9, false).unwrap();
        for parent in [None, Some(0x0123)] {
            let span = TracedSpan { context, parent };
            assert_eq!(span.to_string().parse(), Ok(span));
        }
        assert!("00".parse::<TracedSpan>().is_err() && format!("{context} x").parse::<TracedSpan>().is_err());
    }
}
