//! The trace that a call is a part of (W3C Trace Context, level 1): what the caller began goes on, with a step of its own.

use http::HeaderMap;
use scaigrid_scope::TraceContext;

/// The `traceparent` of a call that is made for one with these headers, and whether its `tracestate` goes on with it.
pub(super) fn parent(headers: &HeaderMap, own: Option<TraceContext>) -> (String, bool) {
    let mut all = headers.get_all("traceparent").iter();
    let given = all.next().filter(|_| all.next().is_none()).and_then(|value| value.to_str().ok());
    let given = given.and_then(|text| text.parse::<TraceContext>().ok());
    // A number that is zero names nothing.
    let span = rand::random_range(1..=u64::MAX);
    let step = own.or_else(|| given.and_then(|given| given.with_span(span)));
    let step = step.or_else(|| TraceContext::new(rand::random_range(1..=u128::MAX), span, false));
    (step.map(|step| step.to_string()).unwrap_or_default(), given.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn each_call_is_a_step_of_its_own() {
        let mut headers = HeaderMap::new();
        let (first, goes_on) = parent(&headers, None);
        assert!(!goes_on && first.parse::<TraceContext>().is_ok());
        headers.insert("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01").parse().unwrap());
        let (second, goes_on) = parent(&headers, None);
        assert!(goes_on && !second.contains("b7ad6b7169203331"));
        assert!(second.starts_with(&format!("00-{TRACE}-")) && second.ends_with("-01"), "{second}");
        // Where spans are recorded, the step is one of them.
        let own = TraceContext::new(7, 9, true).unwrap();
        assert_eq!(parent(&headers, Some(own)), (own.to_string(), true));
    }
}
