//! Which headers go on when a message is passed on, and which do not.

use http::header::{
    ALT_SVC, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap,
    HeaderName, SET_COOKIE, STRICT_TRANSPORT_SECURITY, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

/// What concerns one connection only (RFC 9110 section 7.6.1), beside what `Connection` names.
const HOP_BY_HOP: [HeaderName; 6] =
    [CONNECTION, HeaderName::from_static("keep-alive"), TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// What is the platform's to say to a module, or between the caller and the platform alone.
const KEPT_FROM_MODULES: [HeaderName; 10] = [
    AUTHORIZATION,
    COOKIE,
    HOST,
    // The framing is made anew, from the body.
    CONTENT_LENGTH,
    // The platform has answered that already.
    EXPECT,
    FORWARDED,
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// What a module must not say in the platform's name: cookies and rules for its whole origin.
const KEPT_FROM_CALLERS: [HeaderName; 7] = [
    SET_COOKIE,
    STRICT_TRANSPORT_SECURITY,
    ALT_SVC,
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("service-worker-allowed"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("set-cookie2"),
];

/// The headers of a request that a module is to see. `Host`, the framing, and what the platform says of the caller are not
/// among them; nor is anything that a module could take for it, `X_Scaigrid_User` say, which some frameworks do not tell
/// from `X-Scaigrid-User`.
pub fn for_module(inbound: &HeaderMap) -> HeaderMap {
    kept(inbound, |name| {
        let read = name.as_str().replace('_', "-");
        read.starts_with("x-scaigrid-")
            || read.starts_with("x-forwarded-")
            || KEPT_FROM_MODULES.iter().any(|own| own.as_str() == read)
    })
}

/// The headers of a module's answer that the caller is to see. `Content-Length` stays, for whoever frames the answer.
pub fn for_caller(inbound: &HeaderMap) -> HeaderMap {
    kept(inbound, |name| {
        let text = name.as_str();
        text.starts_with("x-scaigrid-")
            || text.starts_with("access-control-")
            || KEPT_FROM_CALLERS.contains(name)
    })
}

fn kept(inbound: &HeaderMap, dropped: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let named: Vec<String> = inbound
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let mut headers = HeaderMap::with_capacity(inbound.len());
    for (name, value) in inbound {
        let hop = HOP_BY_HOP.contains(name)
            || name.as_str().starts_with("proxy-")
            || named.iter().any(|other| other == name.as_str());
        if !hop && !dropped(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// Whether a comma-separated header holds a token, in whatever case.
pub(crate) fn holds(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let line =
            |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        lines.iter().map(line).collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        headers.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn what_concerns_one_connection_ends_there() {
        let inbound = headers(&[
            ("connection", "close, X-Private"),
            ("connection", "x-other"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic x"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-private", "1"),
            ("x-other", "1"),
            ("accept", "a"),
        ]);
        assert_eq!(names(&for_module(&inbound)), ["accept"]);
        assert_eq!(names(&for_caller(&inbound)), ["accept"]);
    }

    #[test]
    fn nobody_speaks_in_the_platforms_name() {
        let inbound = headers(&[
            ("authorization", "Bearer sgk_x"),
            ("cookie", "a=b"),
            ("host", "grid.example"),
            ("content-length", "3"),
            ("expect", "100-continue"),
            ("x-scaigrid-user", "usr_1"),
            ("x-scaigrid-identity", "e30"),
            ("x-scaigrid-anything", "1"),
            ("x_scaigrid_user", "usr_1"),
            ("x-scaigrid_tenant", "ten_1"),
            ("x_request_id", "1"),
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x_forwarded_for", "1.2.3.4"),
            ("traceparent", "00"),
            ("via", "1.1 edge"),
            ("accept", "a"),
            ("accept", "b"),
            ("sec-websocket-key", "k"),
        ]);
        let seen = for_module(&inbound);
        assert_eq!(names(&seen), ["via", "accept", "sec-websocket-key"]);
        assert_eq!(seen.get_all("accept").iter().count(), 2);
        let inbound = headers(&[
            ("set-cookie", "a=b"),
            ("strict-transport-security", "max-age=1"),
            ("access-control-allow-origin", "*"),
            ("x-request-id", "theirs"),
            ("x-scaigrid-ratelimit-limit", "9"),
            ("content-length", "3"),
            ("etag", "\"a\""),
        ]);
        assert_eq!(names(&for_caller(&inbound)), ["content-length", "etag"]);
    }
}
