//! The trace that a call is a part of (W3C Trace Context, level 1): what the caller began goes on, with a step of its own.

use http::HeaderMap;

/// The `traceparent` of a call that is made for one with these headers, and whether its `tracestate` goes on with it.
pub(super) fn parent(headers: &HeaderMap) -> (String, bool) {
    let mut all = headers.get_all("traceparent").iter();
    let given = all.next().filter(|_| all.next().is_none()).and_then(|value| value.to_str().ok());
    // A number that is zero names nothing.
    let span = rand::random_range(1..=u64::MAX);
    match given.and_then(read) {
        Some((trace, flags)) => (format!("00-{trace}-{span:016x}-{flags}"), true),
        None => (format!("00-{:032x}-{span:016x}-00", rand::random_range(1..=u128::MAX)), false),
    }
}

/// The trace and its flags. Of versions to come, what they have in common with the first counts.
fn read(text: &str) -> Option<(&str, &str)> {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    let mut parts = text.splitn(5, '-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let sizes = [version.len(), trace.len(), span.len(), flags.len()] == [2, 32, 16, 2];
    let known = version != "ff" && (version != "00" || parts.next().is_none());
    let good =
        sizes && known && [version, trace, span, flags].into_iter().all(hex) && !zero(trace) && !zero(span);
    good.then_some((trace, flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn what_is_no_trace_is_not_gone_on_with() {
        let good = format!("00-{TRACE}-b7ad6b7169203331-01");
        assert_eq!(read(&good), Some((TRACE, "01")));
        assert_eq!(read(&format!("cc{}-more", &good[2..])), Some((TRACE, "01")));
        for bad in [
            good.to_uppercase(),
            format!("{good}-more"),
            format!("ff{}", &good[2..]),
            good.replace(TRACE, &"0".repeat(32)),
            good.replace("b7ad6b7169203331", &"0".repeat(16)),
            good[..54].to_owned(),
            String::new(),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn each_call_is_a_step_of_its_own() {
        let mut headers = HeaderMap::new();
        let (first, goes_on) = parent(&headers);
        assert!(!goes_on && read(&first).is_some());
        headers.insert("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01").parse().unwrap());
        let (second, goes_on) = parent(&headers);
        assert!(goes_on && !second.contains("b7ad6b7169203331"));
        assert_eq!(read(&second), Some((TRACE, "01")));
    }
}
